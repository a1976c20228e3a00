"""Counts for each guarded program: mixing alone, and within a train step.

Counts are per device, from the compiler for CPUs or the one for TPUs, which runs
without a TPU.
"""

import collections
import importlib.metadata
import importlib.util
from collections.abc import Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import topologies

import mixup_jax as mx
from benchmarks import _programs
from benchmarks._cases import widely_scaled
from benchmarks._sharded import AXIS, step_of
from benchmarks.models import CNN, KEY, Model

Counts = dict[str, int]

CPU, TPU = "cpu", "v5e:2x2"
DTYPES = {CPU: jnp.float32, TPU: jnp.bfloat16}
DEVICES = 4
CLASSES = 10
SHAPES = {"32x32": (256, 32, 32, 3), "224x224": (128, 224, 224, 3)}
MODEL = Model(CNN, (32, 32, 3), CLASSES, 8)  # small: compiling for TPUs is slow

_mixup = partial(mx.mixup, alpha=0.2)
STEPS: dict[str, mx.Mixer] = {
    "mixup": _mixup,
    "cutmix": mx.cutmix,
    "mixup or cutmix": mx.choose([_mixup, mx.cutmix], [0.5, 0.5]),
}
CAST = "mixup, of bytes"
ALONE = STEPS | {
    "mixup, permuted": partial(_mixup, pairing=mx.pairings.permutation),
    CAST: _mixup,
    "manifold": partial(mx.manifold, layers=(0, 1)),
    "dirichlet of three": partial(mx.dirichlet, partners=3),
    "resizemix": mx.resizemix,
    "fmix": mx.fmix,
}
LONG = {(TPU, "fmix", "224x224")}  # takes half a minute to compile
# Primitives that hash a key; the library's own hash is a function call.
_HASHES = {"random_bits", "random_split", "random_fold_in", "random_gamma"}


def versions(target: str) -> str:
    """Return the compiler's versions for a target, or "" if it is not installed."""
    parts = ("jax", "jaxlib") if target == CPU else ("jax", "jaxlib", "libtpu")
    if any(importlib.util.find_spec(part) is None for part in parts):
        return ""
    named = [f"{part} {importlib.metadata.version(part)}" for part in parts]
    return ", ".join([target, *named])


def devices(target: str) -> list[Any]:
    """Return the devices to compile for."""
    if target == CPU:
        return jax.devices()[:DEVICES]
    return topologies.get_topology_desc(target, "tpu").devices


def alone(target: str) -> Iterator[tuple[str, Counts]]:
    """Yield the name and the counts of each mixer alone, on one device."""
    dtype, mesh = DTYPES[target], _mesh(devices(target)[:1])
    for name, mixer, size in cases(target):
        given = _batch(SHAPES[size], jnp.uint8 if name == CAST else dtype, mesh)
        run = partial(_mixed, _of_bytes(mixer, dtype) if name == CAST else mixer)
        yield f"{name}, {size}", counts(jax.jit(run), given, mesh)


def cases(target: str) -> list[tuple[str, mx.Mixer, str]]:
    """Return the names, mixers and sizes compiled alone for a target."""
    return [
        (name, mixer, size)
        for size in SHAPES
        for name, mixer in ALONE.items()
        if (target, name, size) not in LONG
    ]


def steps(target: str) -> Iterator[tuple[str, Counts]]:
    """Yield each mixer's name, and the counts that it adds to a small CNN's step."""
    dtype, mesh, base = DTYPES[target], _mesh(devices(target)), Counts()
    for name, mixer in {"none": mx.erm, **STEPS}.items():
        step, given = step_of(MODEL, mixer, mesh, dtype=dtype)
        found = counts(jax.jit(step, donate_argnums=0), given, mesh)
        if base:
            yield (
                f"{name}, in a step",
                {fact: found[fact] - base[fact] for fact in base},
            )
        base = base or found


PARTS = {"alone": alone, "steps": steps}


def _of_bytes(mixer: mx.Mixer, dtype: Any) -> mx.Mixer:
    return mx.cast_inputs(mixer, lambda x: widely_scaled(x).astype(dtype))


def _mixed(mixer: mx.Mixer, key: jax.Array, x: jax.Array, y: jax.Array) -> Any:
    return mixer(key, (x, y))[0]


def _mesh(devices: Any) -> jax.sharding.Mesh:
    auto = (jax.sharding.AxisType.Auto,)
    return jax.sharding.Mesh(np.array(devices), (AXIS,), axis_types=auto)


def _batch(shape: tuple[int, ...], dtype: Any, mesh: jax.sharding.Mesh) -> Any:
    here = jax.NamedSharding(mesh, jax.P())
    kinds = ((), KEY.dtype), (shape, dtype), ((shape[0], CLASSES), jnp.float32)
    return [jax.ShapeDtypeStruct(*kind, sharding=here) for kind in kinds]


def counts(jitted: Any, given: Any, mesh: jax.sharding.Mesh) -> Counts:
    """Count the operations of a function, traced and compiled for a mesh's devices."""
    with jax.set_mesh(mesh):
        traced = jitted.trace(*given)
        program = traced.lower().compile()
    jaxpr, facts = traced.jaxpr.jaxpr, _programs.facts(program)
    kinds = collections.Counter(e.primitive.name for e in _programs.equations(jaxpr))
    return {
        "equations": kinds.total(),
        "hashes": len(_programs.hashes(jaxpr)) + sum(map(kinds.__getitem__, _HASHES)),
        "fusions": program.as_text().count(" fusion("),
        "loops": facts.loops,
        "collectives": sum(facts.collectives.values()),
        "bytes": int(facts.bytes_accessed),
        "temporary": facts.temporary,
    }
