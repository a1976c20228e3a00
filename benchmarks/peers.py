"""Other implementations of Mixup and CutMix, called through their public APIs.

This module has those on JAX, and the tables; those on PyTorch are in ``_torch_peers``.
"""

import importlib.metadata
import os
import warnings
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks._cases import (
    ALPHA,
    Builder,
    Case,
    NotMeasured,
    arrays,
    module,
    on_jax,
    scaled,
)
from benchmarks._measure import Contender, compiled
from benchmarks._torch_peers import (
    kornia,
    kornia_compiled,
    timm,
    timm_compiled,
    torchvision,
    torchvision_compiled,
)

os.environ.setdefault("KERAS_BACKEND", "jax")

# The version that is usually pasted.


def naive(case: Case) -> Contender:
    """Return the naive version: a random permutation and ``jax.random.beta``."""
    shape = {"batch": (), "example": case.shape[:1]}[case.per]
    mix = {"mixup": naive_mixup, "cutmix": naive_cutmix}[case.method]
    return on_jax(lambda key, x, y: mix(key, x, y, shape), case)


def naive_mixup(key, x, y, shape=()):
    """Mix as in most code on the web; ``shape`` is that of lam, ``()`` or ``(B,)``."""
    key_lam, key_perm = jax.random.split(key)
    lam = jax.random.beta(key_lam, ALPHA, ALPHA, shape)
    perm = jax.random.permutation(key_perm, x.shape[0])
    lx = lam.reshape((-1,) + (1,) * (x.ndim - 1)).astype(x.dtype)
    ly = lam.reshape(-1, 1)
    return lx * x + (1 - lx) * x[perm], ly * y + (1 - ly) * y[perm]


def naive_cutmix(key, x, y, shape=()):
    """Paste boxes as in most code on the web."""
    keys = jax.random.split(key, 4)
    lam = jax.random.beta(keys[0], ALPHA, ALPHA, shape).reshape(-1, 1, 1, 1)
    perm = jax.random.permutation(keys[1], x.shape[0])
    inside = True
    area = 1
    for axis, key_axis in ((1, keys[2]), (2, keys[3])):
        n = x.shape[axis]
        half = (jnp.sqrt(1 - lam) * n / 2).astype(jnp.int32)
        centre = jax.random.randint(key_axis, lam.shape, 0, n)
        start, stop = jnp.clip(centre - half, 0, n), jnp.clip(centre + half, 0, n)
        at = jnp.arange(n).reshape([-1 if k == axis else 1 for k in range(4)])
        inside = inside & (start <= at) & (at < stop)
        area = area * (stop - start) / n
    lam = (1 - area).reshape(-1, 1)
    return jnp.where(inside, x[perm], x), lam * y + (1 - lam) * y[perm]


def big_vision(case: Case) -> Contender:
    """Return big_vision's ``get_mixup``: the batch rolled by one, one lam."""
    if case.method != "mixup":
        raise NotMeasured("has no CutMix")
    if case.per != "batch":
        raise NotMeasured("only has one lam per batch")
    return on_jax(rolled_mixup, case)


def rolled_mixup(key, x, y):
    """Mix each example with the one before, with a single lam of at least 0.5."""
    a = jax.random.beta(key, ALPHA, ALPHA)
    a = jnp.maximum(a, 1 - a)
    return jax.tree.map(
        lambda t: (a * t + (1 - a) * jnp.roll(t, shift=1, axis=0)).astype(t.dtype),
        (x, y),
    )


# Keras 3 on JAX.


def keras(case: Case) -> Contender:
    """Return Keras's layers, called eagerly."""
    layer, x, y = _keras(case)
    prepare = jax.jit(scaled) if case.dtype == "uint8" else lambda x: x

    def run():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Keras requests 64-bit integers from JAX
            return layer({"images": prepare(x), "labels": y})

    return Contender(run)


def keras_jit(case: Case) -> Contender:
    """Return Keras's layers within ``jax.jit``, with their random state threaded."""
    layer, x, y = _keras(case)
    k = module("keras", "keras")
    seed = layer.generator.state

    def call(state, x, y):
        with k.StatelessScope(state_mapping=[(seed, state)]) as scope:
            mixed = layer({"images": x, "labels": y})
        return scope.get_current_value(seed), mixed

    function = call
    if case.dtype == "uint8":
        function = lambda state, x, y: call(state, scaled(x), y)  # noqa: E731
    states = [jnp.asarray(seed.value)]
    program = compiled(function, states[0], x, y)

    def run():
        states[0], mixed = program(states[0], x, y)
        return mixed

    return Contender(run, program=program)


def _keras(case: Case) -> Any:
    k = module("keras", "keras")
    if k.backend.backend() != "jax":
        raise NotMeasured("uses another backend; set KERAS_BACKEND=jax")
    if case.per != "example":
        raise NotMeasured("only has one lam per example")
    dtype = "float32" if case.dtype == "float32" else "bfloat16"
    layer = {
        "mixup": lambda: k.layers.MixUp(alpha=ALPHA, dtype=dtype, seed=0),
        "cutmix": lambda: k.layers.CutMix(factor=ALPHA, dtype=dtype, seed=0),
    }[case.method]()
    _, x, y = arrays(case)
    return layer, x, y


def versions() -> dict[str, str]:
    """Return the version of each library, or "not installed"."""
    found = {}
    for name in ("keras", "torch", "timm", "torchvision", "kornia"):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


SHIPPED: Mapping[str, Builder] = {
    "naive JAX": naive,
    "big_vision": big_vision,
    "Keras 3": keras,
    "Keras 3, jit": keras_jit,
    "timm": timm,
    "torchvision": torchvision,
    "kornia": kornia,
}
"""Implementations as shipped, which ours should outperform."""

LIBRARIES = ("Keras 3", "timm", "torchvision", "kornia")
"""Those that are packages, called as documented."""

COMPILED: Mapping[str, Builder] = {
    "timm, compile": timm_compiled,
    "torchvision, compile": torchvision_compiled,
    "kornia, compile": kornia_compiled,
}
"""The same under ``torch.compile``, reported separately."""
