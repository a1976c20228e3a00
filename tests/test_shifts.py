"""Shifted rows where the trace does not know the devices that hold them.

Only a TPU moves rows this way. Here that path is forced on the CPU to check values, and
programs are lowered and compiled for meshes that are unknown when tracing.
"""

from functools import partial

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AbstractMesh, AxisType

import mixup_jax as mx
from benchmarks._programs import sent
from mixup_jax._core import cut as cut_
from mixup_jax._core import shifts
from mixup_jax._core.cut import cut

KEY = jax.random.key(3)
SIZE = 24
X = np.arange(SIZE * 6, dtype=np.float32).reshape(SIZE, 3, 2) ** 2
PLACES = {"neighbour": [1, 0], "nth, 2": [2, 3, 0, 1], "to one": [1, 1, 3, 1]}
LAM = np.linspace(0, 1, SIZE, dtype=np.float32)
mixup = partial(mx.mixup, ratio=mx.ratios.constant(LAM))
MIXERS = {"mixup": mixup, "dirichlet": partial(mx.dirichlet, partners=3)}


@pytest.fixture
def as_on_a_tpu(monkeypatch):
    def run(*given, tpu=None, default, **others):
        return (tpu or default)(*given)

    monkeypatch.setattr(jax.lax, "platform_dependent", run)


def over(count):
    auto = (AxisType.Auto,)
    at = jax.make_mesh((count,), ("data",), auto, devices=jax.devices()[:count])
    return jax.NamedSharding(at, jax.P("data"))


def stepped(x, places):
    def run(size, x):
        rows = x.reshape(-1, size, *x.shape[1:])
        return [shifts.stepped(rows, places).reshape(x.shape)]

    return cut(run, SIZE, len(places), x)[0]


def wanted(x, places):
    block = len(places)
    return x.reshape(-1, block, *x.shape[1:])[:, places].reshape(x.shape)


def mixed(mixer):
    return lambda x: mixer(KEY, (x, None))[0][0]


WANT = wanted(X, [1, 0]) * (1 - LAM)[:, None, None] + X * LAM[:, None, None]


@pytest.mark.parametrize("places", PLACES.values(), ids=PLACES)
@pytest.mark.parametrize("count", [1, 2, 8])  # three rows on each of eight
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
    pushed = jax.jvp(run, (x,), (slope,))[1]
    np.testing.assert_array_equal(pushed, want(slope))
    (pulled,) = jax.jit(jax.linear_transpose(run, x))(slope)
    (expected,) = jax.linear_transpose(want, x)(slope)
    np.testing.assert_allclose(pulled, expected, rtol=1e-6)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_of_many_batches_each_is_moved(axis):
    many = np.stack([X, -X], axis)
    run = jax.jit(jax.vmap(partial(stepped, places=[1, 0]), axis, axis))
    want = np.stack([wanted(X, [1, 0]), wanted(-X, [1, 0])], axis)
    np.testing.assert_array_equal(run(many), want)


def test_one_trace_is_lowered_for_any_number_of_devices():
    """The blocks are the shards of the devices that a program is lowered for."""
    run = partial(stepped, places=[1, 0])
    x = jax.ShapeDtypeStruct(X.shape, X.dtype)
    for count in (1, 2, 4, 8, 64):
        at = jax.NamedSharding(AbstractMesh((count,), ("data",)), jax.P("data"))
        jitted = jax.jit(run, in_shardings=at) if SIZE % count == 0 else jax.jit(run)
        text = jitted.trace(x).lower(lowering_platforms=("tpu",)).as_text()
        share = SIZE // count
        block = share if share and share % 2 == 0 else 2
        block = SIZE if count == 64 else block  # no mesh: a single device
        pads = [line for line in text.splitlines() if "stablehlo.pad" in line]
        assert len(pads) == 2
        assert all(f"tensor<{SIZE // block}x{block}x3x2xf32>" in p for p in pads)


# Whole mixers


@pytest.fixture
def host_of_one(monkeypatch):
    monkeypatch.setattr(jax, "device_count", lambda *_: 1)


def on_devices(function, count):
    """Compile ``function`` for ``count`` devices, known only from ``in_shardings``."""
    at = over(count)
    return jax.jit(function, in_shardings=at, out_shardings=at)


@pytest.mark.usefixtures("as_on_a_tpu", "host_of_one")
@pytest.mark.parametrize("mixer", MIXERS.values(), ids=MIXERS)
def test_values_are_those_of_one_device_and_nothing_is_sent(mixer):
    x = X[:16] if mixer is not mixup else X
    count = 4 if mixer is mixup else 2  # blocks of two, and of four
    want = WANT if mixer is mixup else jax.jit(mixed(mixer))(x)
    program = on_devices(mixed(mixer), count).lower(x).compile()
    assert sent(program) == []
    got = program(jax.device_put(x, over(count)))
    np.testing.assert_allclose(got, want, rtol=2e-6)


@pytest.mark.usefixtures("as_on_a_tpu", "host_of_one")
def test_what_would_be_sent_is_seen(monkeypatch):
    monkeypatch.setattr(cut_, "devices_lowered_for", lambda _: 1)
    program = on_devices(mixed(mixup), 4).lower(X).compile()
    assert {each.kind for each in sent(program)} == {"collective-permute"}


@pytest.mark.usefixtures("as_on_a_tpu", "host_of_one")
@pytest.mark.parametrize("count", [4, 8])
def test_exported_on_a_host_of_one_it_runs_on_more(count):
    at = jax.NamedSharding(AbstractMesh((count,), ("data",)), jax.P("data"))
    jitted = jax.jit(mixed(mixup), in_shardings=at, out_shardings=at)
    described = jax.ShapeDtypeStruct(X.shape, X.dtype)
    blob = jax.export.export(jitted, platforms=("cpu", "tpu"))(described).serialize()
    exported = jax.export.deserialize(blob)
    run = jax.jit(exported.call, in_shardings=over(count))
    given = jax.device_put(X, over(count))
    np.testing.assert_allclose(run(given), WANT, rtol=2e-6)
    if count == 4:  # each of eight has three rows
        assert sent(run.lower(given).compile()) == []


@pytest.mark.usefixtures("as_on_a_tpu", "host_of_one")
def test_exported_for_one_device_it_is_right_on_more():
    described = jax.ShapeDtypeStruct(X.shape, X.dtype)
    exported = jax.export.export(jax.jit(mixed(mixup)))(described)
    got = jax.jit(exported.call)(jax.device_put(X, over(4)))
    np.testing.assert_allclose(got, WANT, rtol=2e-6)


@pytest.mark.usefixtures("as_on_a_tpu")
def test_gradients_go_through_a_step_under_in_shardings_alone():
    def loss(scale, x):
        return jnp.mean(mixed(mixup)(jnp.sin(scale * x)) ** 3)

    at = over(4)
    whole = jax.NamedSharding(at.mesh, jax.P())
    slope = jax.jit(jax.grad(loss), in_shardings=(whole, at))(0.1, X)
    np.testing.assert_allclose(slope, jax.jit(jax.grad(loss))(0.1, X), rtol=1e-5)


@pytest.mark.usefixtures("as_on_a_tpu")
def test_a_function_may_close_over_what_is_traced():
    def run(scale, x):
        move = mx.draw_of(mixup)(KEY, (x, None)).move
        return move.bring(lambda w, x, y: x + scale * y, x, jnp.arange(SIZE), ())

    np.testing.assert_allclose(jax.jit(run)(2.0, X), X + 2 * wanted(X, [1, 0]))
