"""ResizeMix: the whole partner in a box, by nearest neighbor."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mixup_jax as mx
from mixup_jax._core import windows

KEY = jax.random.key(2)
MIXED = jax.jit(lambda mix, x: mix.inputs(x))


def window(start, stop, first, extent, like, **options):
    grid = mx.regions.grid(like, **options)
    a, b, c, d = (jnp.asarray([x], jnp.int32) for x in (start, stop, first, extent))
    return mx.regions.Window(a, b, c, d, grid)


def nearest(x, start, stop):
    """Return ``x`` ``[H, W, ...]`` resized into a box, position by position."""
    shown = np.zeros((stop[0] - start[0], stop[1] - start[1], *x.shape[2:]), x.dtype)
    for i in range(shown.shape[0]):
        for j in range(shown.shape[1]):
            p = int((i + 0.5) * x.shape[0] / shown.shape[0])
            q = int((j + 0.5) * x.shape[1] / shown.shape[1])
            shown[i, j] = x[p, q]
    return shown


def test_a_window_by_hand():
    x = jnp.stack([jnp.zeros((4, 4), jnp.int32), jnp.arange(16).reshape(4, 4)])
    region = window((1, 1), (3, 3), (0, 0), (4, 4), x[..., None])
    region = jax.tree.map(lambda leaf: jnp.repeat(leaf, 2, axis=0), region)
    mix = mx.Mix.from_pairs(12 / 16, jnp.array([1, 0]), region=region)
    want = np.zeros((4, 4), int)
    want[1:3, 1:3] = [[5, 7], [13, 15]]
    np.testing.assert_array_equal(MIXED(mix, x)[0], want)


@pytest.mark.parametrize("dtype", ["uint8", "float32", "bfloat16"])
@pytest.mark.parametrize("sizes", [(9, 14), (16, 5)])
def test_the_whole_partner_is_in_the_box(sizes, dtype):
    rng = np.random.default_rng(0)
    x = np.asarray(jnp.asarray(rng.integers(0, 250, (16, *sizes, 2)), dtype))
    (mixed, _), mix = jax.jit(mx.resizemix)(KEY, (x, None))
    assert isinstance(mix.region, mx.regions.Window)
    start, stop = np.asarray(mix.region.start), np.asarray(mix.region.stop)
    assert ((start >= 0) & (stop <= sizes)).all()
    for i in range(16):
        want = x[i].copy()
        box = tuple(slice(a, b) for a, b in zip(start[i], stop[i]))
        want[box] = nearest(x[i ^ 1], start[i], stop[i])
        np.testing.assert_array_equal(mixed[i], want)
        share = 1 - np.prod(stop[i] - start[i]) / np.prod(sizes)
        np.testing.assert_allclose(mix.lam[i], share, atol=1e-7)


def test_masks_follow_without_a_channel_axis():
    x = np.random.default_rng(1).integers(0, 9, (8, 10, 7, 1))
    batch = (x.astype(np.float32), None)
    (mixed, _), mix = jax.jit(mx.resizemix)(KEY, batch)
    want = np.asarray(mixed)[..., 0].astype(int)
    np.testing.assert_array_equal(MIXED(mix, x[..., 0]), want)


def test_channels_first_and_waveforms():
    x = np.random.default_rng(1).normal(size=(4, 10, 7, 2)).astype(np.float32)
    mixer = jax.jit(mx.resizemix, static_argnames="spatial")
    (last, _), _ = mixer(KEY, (x, None))
    (first, _), _ = mixer(KEY, (np.moveaxis(x, -1, 1), None), spatial=(2, 3))
    np.testing.assert_array_equal(np.moveaxis(np.asarray(first), 1, -1), last)
    wave = np.arange(2 * 160_000, dtype=np.int32).reshape(2, -1)
    (mixed, _), mix = mixer(KEY, (wave, None), spatial=(1,))
    assert isinstance(mix.region, mx.regions.Window)
    for i in range(2):
        a, b = int(mix.region.start[i, 0]), int(mix.region.stop[i, 0])
        place = ((2 * np.arange(b - a) + 1) * 160_000) // (2 * (b - a))
        np.testing.assert_array_equal(mixed[i, a:b], wave[1 - i][place])
        np.testing.assert_array_equal(mixed[i, b:], wave[i, b:])


def test_all_and_nothing():
    x = np.random.default_rng(1).normal(size=(4, 6, 5, 2)).astype(np.float32)
    for tau, want, lam in ((1.0, x[[1, 0, 3, 2]], 0), (0.0, x, 1)):
        mixer = jax.jit(partial(mx.resizemix, tau=mx.ratios.constant(tau)))
        (mixed, _), mix = mixer(KEY, (x, None))
        np.testing.assert_array_equal(mixed, want)
        np.testing.assert_array_equal(mix.lam, lam)


def test_sides_and_places_are_uniform():
    size, n = 20_000, (40, 30)
    inputs = jax.ShapeDtypeStruct((size, *n, 1), jnp.float32)
    mix = jax.jit(lambda key: mx.draw_of(mx.resizemix)(key, (inputs, None)))(KEY)
    assert isinstance(mix.region, mx.regions.Window)
    start, stop = np.asarray(mix.region.start), np.asarray(mix.region.stop)
    side = stop - start
    rng = np.random.default_rng(0)
    tau = rng.uniform(0.1, 0.8, size)
    simulated = np.round(tau[:, None] * n).astype(int)
    lam = 1 - simulated.prod(axis=1) / np.prod(n)
    for got, want in (
        (side[:, 0], simulated[:, 0]),
        (side[:, 1], simulated[:, 1]),
        (np.asarray(mix.lam, np.float64), lam),
        (np.asarray(mix.lam, np.float64) ** 2, lam**2),
    ):
        error = np.sqrt((got.var() + want.var()) / size)
        assert abs(got.mean() - want.mean()) < 5 * error
    # The start, as a fraction of its possible places, has mean 1/2 and the variance of
    # a uniform number, independently for each side.
    places = np.asarray(n) - side + 1
    u = (start + 0.5) / places
    assert (np.abs(u.mean(axis=0) - 0.5) < 5 * np.sqrt(1 / 12 / size)).all()
    variance = ((1 - 1 / places**2) / 12).mean(axis=0)
    assert (np.abs(u.var(axis=0) - variance) < 0.002).all()
    assert abs(np.corrcoef(u[:, 0], u[:, 1])[0, 1]) < 5 / np.sqrt(size)


# A product splits its factors into three parts, which keeps the 24 bits of float32.
@pytest.mark.parametrize(
    "dtype",
    ["float32", "bfloat16", "float16", "uint8", "int8", "uint16", "int16", "bool"],
)
def test_a_product_picks_what_an_index_picks(dtype):
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(3, 9, 7, 2)) * 100).astype(dtype)
    index = jnp.asarray(rng.integers(0, 7, (3, 7)), jnp.int32)
    got = windows._by_product(x, 2, index)
    assert got.dtype == x.dtype
    want = np.take_along_axis(np.asarray(x), np.asarray(index)[:, None, :, None], 2)
    np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("dtype", ["float32", "int32", "complex64"])
def test_on_a_tpu_a_window_is_a_product_where_that_is_exact(dtype):
    batch = jnp.zeros((4, 8, 8, 3), dtype), None
    traced = jax.jit(mx.resizemix).trace(KEY, batch)
    text = traced.lower(lowering_platforms=("tpu",)).as_text()
    assert ("stablehlo.gather" in text) == (dtype != "float32")
    assert ("stablehlo.dot_general" in text) == (dtype == "float32")
    text = traced.lower(lowering_platforms=("cpu",)).as_text()
    assert "stablehlo.gather" in text
    assert "stablehlo.dot_general" not in text


def test_quotients_of_products_over_32_bits():
    rng = np.random.default_rng(0)
    for n in (5, 46_341, 160_000, 20_000_000):
        side, extent = rng.integers(1, n, (2, 1000))
        inside = (rng.random(1000) * side).astype(np.int64)
        want = ((2 * inside + 1) * extent) // (2 * side)
        given = (2 * inside + 1, extent, 2 * side)
        got = windows.divided(*(jnp.asarray(each, jnp.int32) for each in given))
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("kind", ["Auto", "Explicit"])
def test_on_a_mesh_that_divides_the_rows_of_an_image(kind):
    x = np.random.default_rng(1).normal(size=(4, 6, 5, 2)).astype(np.float32)
    axes = (getattr(jax.sharding.AxisType, kind),) * 2
    mesh = jax.make_mesh((2, 2), ("data", "rows"), axes, devices=jax.devices()[:4])
    sharding = jax.NamedSharding(mesh, jax.P("data", "rows"))
    mixer = mx.choose([mx.resizemix, mx.cutmix], [0.7, 0.3])
    run = jax.jit(lambda x: mixer(KEY, (x, None))[0][0])
    with jax.set_mesh(mesh):
        got = run(jax.device_put(x, sharding))
    assert got.sharding.is_equivalent_to(sharding, 4)
    np.testing.assert_array_equal(got, run(x))


def test_what_it_takes():
    x = np.ones((4, 8, 8, 3), np.float32)
    with pytest.raises(TypeError, match=r"tau: expected a function; got 0\.5"):
        mx.resizemix(KEY, (x, None), tau=0.5)  # type: ignore[arg-type]
    for share in (-0.5, 1.5, np.nan):
        with pytest.raises(ValueError, match=r"tau: expected a number in \[0, 1\]"):
            mx.resizemix(
                KEY, (x, None), tau=lambda key, partners, s=share: jnp.full(4, s)
            )
    with pytest.raises(TypeError, match="expected an array with the examples on axis"):
        mx.resizemix(KEY, ([[1, 2], [3, 4]], None))
    with pytest.raises(ValueError, match="spatial axes"):
        mx.resizemix(KEY, (np.ones((4, 3), np.float32), None))
    with pytest.raises(TypeError, match="targets: expected a floating"):
        jax.eval_shape(mx.resizemix, KEY, (x, np.arange(4)))
