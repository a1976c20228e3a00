"""Our contenders: the whole call, the draw alone, the pass alone; and the copy."""

import functools
from typing import Any

import jax

import mixup_jax as mx
from benchmarks import _cases, _measure
from benchmarks._cases import Case
from benchmarks._measure import Contender


def ours(case: Case) -> Contender:
    """Return ``mixup_jax`` with its default pairing."""
    mixer = _mixer(case)
    if case.dtype != "uint8":
        return _cases.on_jax(lambda key, x, y: mixer(key, (x, y))[0], case)
    mixer = mx.cast_inputs(mixer, _cases.widely_scaled)

    def mixed(key: jax.Array, x: jax.Array, y: jax.Array) -> Any:
        (x, y), _ = mixer(key, (x, y))
        return x.astype(jax.numpy.bfloat16), y

    return _cases.on_bytes(mixed, case)


def drawing(case: Case) -> Contender:
    """Return our draw alone, without applying it."""
    mixer = _mixer(case)
    return _cases.on_jax(lambda key, x, y: mixer(key, (x, y))[1], case)


def passing(case: Case) -> Contender:
    """Return our pass over the batch alone, which applies an existing mix."""
    _, x, y = _cases.arrays(case)
    mix = drawing(case).run()

    def apply(mix: mx.Mix, x: jax.Array, y: jax.Array) -> Any:
        if case.dtype != "uint8":
            return mix.batch((x, y))
        x, y = mix.batch((x, y), cast=_cases.widely_scaled)
        return x.astype(jax.numpy.bfloat16), y

    program = _measure.compiled(apply, mix, x, y)
    return Contender(lambda: program(mix, x, y), program=program)


def _mixer(case: Case) -> mx.Mixer:
    per = {"batch": mx.ratios.per_batch, "example": lambda ratio: ratio}[case.per]
    ratio = per(mx.ratios.beta(_cases.ALPHA))
    method = {"mixup": mx.mixup, "cutmix": mx.cutmix}[case.method]
    mixer = functools.partial(method, ratio=ratio)
    one_box = case.method == "cutmix" and case.per == "batch"
    return mx.once_per_batch(mixer) if one_box else mixer


def copy(case: Case) -> Contender:
    """Return the limit: every byte is read once and written once."""
    if case.dtype == "uint8":
        return _cases.on_jax(lambda key, x, y: x, case)
    return _cases.on_jax(lambda key, x, y: x + 1, case)
