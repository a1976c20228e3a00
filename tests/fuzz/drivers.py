"""The drivers: each runs a mixer on one or two batches and returns the runs."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType

import mixup_jax as mx
from tests.fuzz.law import Run, has_slope, parts, weighed

Batches = Callable[[int], Any]
Driver = Callable[[Any, jax.Array, Batches, Callable[[Any], Any]], list[Run]]


def _run(key: Any, batch: Any, result: Any, pair: Any, slopes: Any = None) -> Run:
    mixed, mix = jax.tree.map(_host, result)
    return Run(key, pair(batch), pair(mixed), mix, slopes)


def _host(x: Any) -> np.ndarray:
    # JAX cannot read an empty sharded array that it computed.
    return np.asarray(x) if x.size else np.zeros(x.shape, x.dtype)


def eager(mixer: Any, key: Any, batches: Batches, pair: Any) -> list[Run]:
    batch = batches(0)
    return [_run(key, batch, mixer(key, batch), pair)]


def traced(mixer: Any, key: Any, batches: Batches, pair: Any) -> list[Run]:
    """Trace only, which is nearly free: every refusal is raised while tracing."""
    batch = batches(0)
    mixed, mix = jax.eval_shape(mixer, key, batch)
    return [Run(key, pair(batch), pair(mixed), mix)]


def x64(mixer: Any, key: Any, batches: Batches, pair: Any) -> list[Run]:
    with jax.enable_x64(True):
        return eager(mixer, key, batches, pair)


def jit(mixer: Any, key: Any, batches: Batches, pair: Any) -> list[Run]:
    return eager(jax.jit(mixer), key, batches, pair)


def _two(key: Any, batches: Batches, join: Any) -> tuple[Any, Any, Any]:
    both = batches(0), batches(1)
    return jax.random.split(key), both, jax.tree.map(lambda *x: join(x), *both)


def _stack(leaves: Any) -> Any:
    return np.stack(leaves)


def _side_by_side(leaves: Any) -> Any:
    return np.concatenate(leaves)


def _each(keys: Any, both: Any, results: Any, pair: Any) -> list[Run]:
    first, second = (jax.tree.map(lambda x, k=k: x[k], results) for k in (0, 1))
    return [_run(*each, pair) for each in zip(keys, both, (first, second))]


def vmap(mixer: Any, key: Any, batches: Batches, pair: Any) -> list[Run]:
    keys, both, stacked = _two(key, batches, _stack)
    return _each(keys, both, jax.vmap(mixer)(keys, stacked), pair)


def scan(mixer: Any, key: Any, batches: Batches, pair: Any) -> list[Run]:
    keys, both, stacked = _two(key, batches, _stack)

    def step(carried: Any, given: Any) -> Any:
        return carried, mixer(*given)

    _, results = jax.lax.scan(step, None, (keys, stacked))
    return _each(keys, both, results, pair)


def grad(mixer: Any, key: Any, batches: Batches, pair: Any) -> list[Run]:
    batch = batches(0)
    leaves, structure = jax.tree.flatten(batch)
    asked = [jax.numpy.asarray(x) for x in _asked(pair(batch))]
    known = {id(x): k for k, x in enumerate(_asked(pair(batch)))}

    def total(asked: Any) -> Any:
        traced = [asked[known[id(x)]] if id(x) in known else x for x in leaves]
        result = mixer(key, jax.tree.unflatten(structure, traced))
        return weighed(pair(result[0])), result

    slopes, result = jax.grad(total, has_aux=True)(asked)
    count = len(_asked((pair(batch)[0], None)))
    return [_run(key, batch, result, pair, (slopes[:count], slopes[count:]))]


def _asked(batch: Any) -> list[Any]:
    found = [each for half in batch for each in parts(half)]
    return [x for rule, x in found if rule in ("plain", "Maps") and has_slope(x)]


def remat(mixer: Any, key: Any, batches: Batches, pair: Any) -> list[Run]:
    return grad(jax.checkpoint(mixer), key, batches, pair)


@functools.cache
def mesh(kind: AxisType) -> jax.sharding.Mesh:
    return jax.make_mesh((2,), ("data",), (kind,), devices=jax.devices()[:2])


def _on_shares(mixer: Any) -> Any:
    specs = {"in_specs": (jax.P(), jax.P("data")), "out_specs": jax.P("data")}
    return jax.jit(jax.shard_map(mixer, mesh=mesh(AxisType.Auto), **specs))


def shard_map(mixer: Any, key: Any, batches: Batches, pair: Any) -> list[Run]:
    _, both, joined = _two(key, batches, _side_by_side)
    size = len(jax.tree.leaves(both[0])[0])
    shares = _on_shares(mx.per_device(mixer, "data"))(key, joined)
    runs = []
    for k, (own, batch) in enumerate(zip(jax.random.split(key), both)):
        here = slice(k * size, (k + 1) * size)
        result = jax.tree.map(lambda x, here=here: _host(x)[here], shares)
        run = _run(own, batch, result, pair)
        counted = tuple(
            dataclasses.replace(source, partner=source.partner - k * size)
            for source in run.mix.sources
        )
        mix = dataclasses.replace(run.mix, sources=counted)
        runs.append(dataclasses.replace(run, mix=mix))
    return runs


def shard_map_whole(mixer: Any, key: Any, batches: Batches, pair: Any) -> list[Run]:
    _, _, joined = _two(key, batches, _side_by_side)
    result = _on_shares(mx.whole_batch(mixer, "data"))(key, joined)
    return [_run(key, joined, result, pair)]


def _on_mesh(kind: AxisType, jitted: Any) -> Driver:
    def driver(mixer: Any, key: Any, batches: Batches, pair: Any) -> list[Run]:
        _, _, joined = _two(key, batches, _side_by_side)
        layout = jax.NamedSharding(mesh(kind), jax.P("data"))
        with jax.set_mesh(mesh(kind)):
            placed = jax.device_put(joined, layout)
            mixed, mix = jitted(mixer)(key, placed)
        for got, x in zip(jax.tree.leaves(mixed), jax.tree.leaves(placed)):
            same = got.sharding.is_equivalent_to(x.sharding, x.ndim)
            assert same or not got.size, (got.sharding, x.sharding)
        return [_run(key, joined, (mixed, mix), pair)]

    return driver


DRIVERS: dict[str, Driver] = {
    "eager": eager,
    "traced": traced,
    "jit": jit,
    "vmap": vmap,
    "grad": grad,
    "scan": scan,
    "remat": remat,
    "shard_map, per_device": shard_map,
    "shard_map, whole_batch": shard_map_whole,
    "Auto mesh": _on_mesh(AxisType.Auto, jax.jit),
    "Explicit mesh": _on_mesh(AxisType.Explicit, jax.jit),
    "Explicit mesh, eager": _on_mesh(AxisType.Explicit, lambda mixer: mixer),
    "x64": x64,
}

# How many of two hundred cases each driver runs. Tracing is enough to see a refusal.
# Values need compiled programs: one per operation and shape outside of ``jit``, one per
# case inside it.
SHARES = {
    "traced": 170,
    "eager": 12,
    "vmap": 3,
    "grad": 3,
    "remat": 2,
    "x64": 2,
    "Explicit mesh, eager": 2,
    "jit": 1,
    "scan": 1,
    "shard_map, per_device": 1,
    "shard_map, whole_batch": 1,
    "Auto mesh": 1,
    "Explicit mesh": 1,
}
