"""Rows that are shifted where nothing tells, while tracing, over which devices they lie.

A TPU alone moves rows so. Here its way is taken on the CPU, for values, and programs are
lowered and compiled for meshes of which the trace knows nothing.
"""

import math
from functools import partial

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AbstractMesh, AxisType

import mixup_jax as mx
from benchmarks._programs import sent
from mixup_jax._core import mesh, shifts

KEY = jax.random.key(3)
SIZE = 24
X = np.arange(SIZE * 6, dtype=np.float32).reshape(SIZE, 3, 2) ** 2
PLACES = {"neighbour": [1, 0], "nth, 2": [2, 3, 0, 1], "to one": [1, 1, 3, 1]}
MIXERS = {
    "mixup": mx.mixup,
    "dirichlet": partial(mx.dirichlet, partners=3),
    "cutmix": partial(mx.cutmix, spatial=(1,)),
}


@pytest.fixture
def as_on_a_tpu(monkeypatch):
    def run(*given, tpu=None, default, **others):
        return (tpu or default)(*given)

    monkeypatch.setattr(jax.lax, "platform_dependent", run)


def over(count, *, auto=True):
    kind = AxisType.Auto if auto else AxisType.Explicit
    at = jax.make_mesh((count,), ("data",), (kind,), devices=jax.devices()[:count])
    return jax.NamedSharding(at, jax.P("data"))


def stepped(x, places):
    return shifts.stepped(x[None], places, untold=True)[0]


def wanted(x, places):
    block = len(places)
    return x.reshape(-1, block, *x.shape[1:])[:, places].reshape(x.shape)


def mixed(mixer, key=KEY):
    return lambda x: mixer(key, (x, None))[0][0]


@pytest.mark.parametrize("places", PLACES.values(), ids=PLACES)
@pytest.mark.parametrize("count", [1, 2, 8])  # eight have three rows each
def test_rows_are_those_of_the_places(places, count):
    at = over(count)
    run = jax.jit(partial(stepped, places=places), in_shardings=at, out_shardings=at)
    np.testing.assert_array_equal(run(X), wanted(X, places))


def test_infinities_and_nan_stay_with_their_pair():
    x = X.copy()
    x[2], x[7] = np.nan, np.inf
    np.testing.assert_array_equal(stepped(x, [1, 0]), wanted(x, [1, 0]))


@pytest.mark.parametrize("places", PLACES.values(), ids=PLACES)
def test_slopes_go_back_where_rows_came_from(places):
    run, want = partial(stepped, places=places), partial(wanted, places=places)
    x, slope = jnp.asarray(X), jnp.sin(jnp.asarray(X))
    for found, expected in (
        (jax.jvp(run, (x,), (slope,)), jax.jvp(want, (x,), (slope,))),
        (jax.vjp(run, x)[1](slope), jax.vjp(want, x)[1](slope)),
    ):
        np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_of_many_batches_each_is_moved(axis):
    many = np.stack([X, -X], axis)
    run = jax.vmap(partial(stepped, places=[1, 0]), axis, axis)
    want = np.stack([wanted(X, [1, 0]), wanted(-X, [1, 0])], axis)
    np.testing.assert_array_equal(run(many), want)


def test_one_trace_is_lowered_for_any_number_of_devices():
    """Blocks are the shares of the devices that a program is lowered for."""
    run = partial(stepped, places=[1, 0])
    x = jax.ShapeDtypeStruct(X.shape, X.dtype)
    for count in (1, 2, 4, 8, 64):
        at = jax.NamedSharding(AbstractMesh((count,), ("data",)), jax.P("data"))
        jitted = jax.jit(run, in_shardings=at) if SIZE % count == 0 else jax.jit(run)
        text = jitted.trace(x).lower(lowering_platforms=("tpu",)).as_text()
        share = SIZE // count
        block = share if share and share % 2 == 0 else 2
        block = SIZE if count == 64 else block  # no mesh at all: one device
        pads = [line for line in text.splitlines() if "stablehlo.pad" in line]
        assert len(pads) == 2
        assert all(f"tensor<1x{SIZE // block}x{block}x3x2xf32>" in p for p in pads)
