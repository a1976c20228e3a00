"""One trace for each shape, under every driver and through every combinator."""

from functools import partial
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType

import mixup_jax as mx
from tests import oracle

DEVICES, SHARE = 4, 4
NAMES = {"inputs": "x", "targets": "y"}


@pytest.fixture(autouse=True)
def _from_zero():
    chex.clear_trace_counter()


def counted() -> mx.Mixer:
    """Return a Mixup that fails if it is traced a second time."""

    def mixing(key, batch):
        return mx.draw_of(partial(mx.mixup, alpha=0.2))(key, batch)

    once: Any = chex.assert_max_traces(mixing, 1)
    return mx.mixer(once)


def by_name(batch):
    return {"x": batch[0], "y": batch[1], "label": np.argmax(batch[1], axis=1)}


COMBINATORS = {
    "alone": lambda m: m,
    "choose": lambda m: mx.choose([m, mx.cutmix], [0.5, 0.5]),
    "with_probability": lambda m: mx.with_probability(0.5, m),
    "once_per_batch": mx.once_per_batch,
    "scheduled": lambda m: mx.scheduled(lambda step: m)(0),
    "until": lambda m: mx.until(jnp.int32(9), m)(jnp.int32(0)),
    "on_keys": lambda m: mx.on_keys(m, **NAMES),
    "using": lambda m: mx.using("label", lambda _: mx.on_keys(m, **NAMES)),
    "all": lambda m: mx.on_keys(
        mx.once_per_batch(mx.with_probability(0.5, mx.choose([m], [1]))), **NAMES
    ),
}
OF_NAMES = {"on_keys", "using", "all"}


def mesh(kind):
    kinds = {"auto": AxisType.Auto, "explicit": AxisType.Explicit}
    devices = jax.devices()[:DEVICES]
    return jax.make_mesh((DEVICES,), ("data",), (kinds[kind],), devices=devices)


def on_mesh(mixer, kind):
    at = mesh(kind)
    jitted = jax.jit(mixer)

    def run(key, batch):
        batch = jax.device_put(batch, jax.NamedSharding(at, jax.P("data")))
        with jax.set_mesh(at):
            return jitted(key, batch)

    return run


def on_shares(mixer, place):
    run = jax.jit(jax.vmap(place(mixer, "data"), in_axes=(None, 0), axis_name="data"))
    return lambda key, batch: run(key, divided(batch))


def on_rows(mixer):
    run = jax.jit(jax.vmap(mixer, (None, 0)))
    return lambda key, batch: run(key, divided(batch))


def mapped(mixer):
    placed = mx.per_device(mixer, "data")
    run = jax.pmap(placed, "data", in_axes=(None, 0), devices=jax.devices()[:DEVICES])
    return lambda key, batch: run(key, divided(batch))


def in_shards(mixer):
    at = mesh("auto")
    specs = {"in_specs": (jax.P(), jax.P("data")), "out_specs": jax.P("data")}
    placed = mx.per_device(mixer, "data")
    run = jax.jit(jax.shard_map(placed, mesh=at, **specs))

    def spread(key, batch):
        return run(key, jax.device_put(batch, jax.NamedSharding(at, jax.P("data"))))

    return spread


def divided(batch):
    return jax.tree.map(lambda x: x.reshape(DEVICES, SHARE, *x.shape[1:]), batch)


DRIVERS: dict[str, Any] = {
    "jit": jax.jit,
    "vmap": on_rows,
    "auto": partial(on_mesh, kind="auto"),
    "explicit": partial(on_mesh, kind="explicit"),
    "per_device": partial(on_shares, place=mx.per_device),
    "whole_batch": partial(on_shares, place=mx.whole_batch),
    "pmap": mapped,
    "shard_map": in_shards,
}


@pytest.mark.parametrize(
    ("driver", "combinator"),
    [("jit", name) for name in COMBINATORS]
    + [(name, "choose") for name in DRIVERS if name != "jit"]
    + [("whole_batch", "using"), ("per_device", "once_per_batch")],
)
def test_one_trace_for_each_shape(driver, combinator):
    run = DRIVERS[driver](COMBINATORS[combinator](counted()))
    batch = oracle.images(DEVICES * SHARE)
    if combinator in OF_NAMES:
        batch = by_name(batch)
    for seed in (0, 1):
        run(jax.random.key(seed), batch)


@pytest.mark.parametrize("driver", ["jit", "pmapped", "auto", "explicit"])
@pytest.mark.parametrize("micro_batches", [1, 2])
def test_one_trace_in_a_train_step(driver, micro_batches):
    @partial(chex.assert_max_traces, n=1)
    def loss(params, batch, mix):
        x, y = batch
        return jnp.mean((jnp.mean(x, axis=(1, 2)) @ params - y) ** 2), {}

    drivers = {"jit": jax.jit, "pmapped": mx.training.pmapped}
    mixing = counted()
    mixer = mx.scheduled(lambda step: mx.choose([mixing, mx.cutmix], [0.5, 0.5]))
    chexed: Any = loss  # chex leaves it untyped
    step = mx.training.train_step(chexed, mixer, micro_batches=micro_batches)
    if driver in ("auto", "explicit"):
        run = mx.training.sharded(step, mesh(driver))
    else:
        run = drivers[driver](step)
    state = mx.training.TrainState.create(jnp.zeros((2, 3)), optax.sgd(0.1))
    for _ in range(3):
        state, _ = run(state, jax.random.key(0), oracle.images(DEVICES * SHARE * 2))
    assert int(state.step) == 3


def test_a_second_trace_would_be_seen():
    run = jax.jit(counted())
    run(jax.random.key(0), oracle.images(4))
    with pytest.raises(AssertionError, match="traced > 1 times"):
        run(jax.random.key(0), oracle.images(6))
