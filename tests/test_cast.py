"""Inputs that are cast within the pass are mixed as if they were cast beforehand."""

import pickle
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mixup_jax as mx
from mixup_jax._core.products import rows_by_product
from tests import oracle
from tests.methods import KINDS, METHODS

SIZE, KEY = 8, jax.random.key(3)
PERMUTED = partial(mx.mixup, pairing=mx.pairings.permutation)


def scaled(x):
    """Convert uint8 to bfloat16 without rounding; leave floating-point inputs as is."""
    return x.astype(jnp.bfloat16) / 256 if x.dtype == jnp.uint8 else x


def standardised(x):
    """Subtract a mean image, and divide each example by a power of two."""
    mean = jnp.arange(oracle.HEIGHT * oracle.WIDTH, dtype=jnp.float32)
    x = x.astype(jnp.float32) - mean.reshape(1, oracle.HEIGHT, oracle.WIDTH, 1)
    return x / 2 ** jnp.floor(jnp.log2(1 + x.max((1, 2, 3), keepdims=True)))


def images(size=SIZE):
    shape = (size, oracle.HEIGHT, oracle.WIDTH, 3)
    return np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)


def pair():
    x = {"x": images(), "map": oracle.images(SIZE)[0]}
    return x | {"mask": mx.follow.masks(images() > 99)}, oracle.images(SIZE)[1]


def cast_before(cast, batch):
    (inputs, targets), plain = batch, ("x", "map")
    return inputs | {name: cast(jnp.asarray(inputs[name])) for name in plain}, targets


def assert_same(got, want):
    assert jax.tree.structure(got) == jax.tree.structure(want)
    for mine, other in zip(jax.tree.leaves(got), jax.tree.leaves(want)):
        assert mine.dtype == other.dtype
        np.testing.assert_array_equal(mine, other)


# By default one row for each way of moving rows, and for blends, pastes and windows.
FEW = ["mixup-permutation", "cutmix", "dirichlet", "choose-two-pairings"]


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=[] if n in FEW else pytest.mark.slow) for n in KINDS],
)
def test_cast_within_is_cast_before(name):
    mixer, x, (_, y) = METHODS[name].mixer, images(), oracle.images(SIZE)
    want, _ = mixer(KEY, (scaled(jnp.asarray(x)), y))
    assert want[0].dtype == jnp.bfloat16
    assert_same(mx.cast_inputs(mixer, scaled)(KEY, (x, y))[0], want)


def test_leaves_are_cast_and_what_follows_is_not():
    before = cast_before(scaled, pair())
    want, mix = mx.mixup(KEY, before)
    assert_same(mix.inputs(pair()[0], cast=scaled), want[0])
    assert_same(mix.batch(pair(), cast=scaled), want)


# Neither elementwise nor the same at each position: applied as is, wherever rows move.
@pytest.mark.parametrize("mixer", [mx.mixup, mx.cutmix, mx.resizemix])
def test_a_cast_of_each_example_by_itself(mixer):
    x = images()
    mix = mx.draw_of(mixer)(KEY, (x, None))
    want = mix.inputs(standardised(jnp.asarray(x)))
    np.testing.assert_array_equal(mix.inputs(x, cast=standardised), want)


@pytest.mark.parametrize("mixer", [mx.mixup, PERMUTED], ids=["mixup", "permuted"])
def test_bytes_travel(mixer):
    x = jnp.asarray(images())
    mix = mx.draw_of(mixer)(KEY, (x, None))
    run = jax.jit(partial(mix.inputs, cast=scaled)).lower(x)
    lines = run.as_text().splitlines()
    moved = [s for s in lines if "stablehlo.reverse" in s or '"stablehlo.gather"' in s]
    assert moved
    assert all("x3xui8>" in line for line in moved)


@pytest.mark.parametrize("dtype", [np.uint8, np.int8])
def test_rows_of_bytes_by_a_product(dtype):
    info = jnp.iinfo(dtype)
    x = np.arange(info.min, info.max + 1).astype(dtype).reshape(8, 32)
    index = np.array([3, 0, 7, 7, 1, 2, 6, 5], np.int32)
    rows = rows_by_product(jnp.asarray(x), jnp.asarray(index))
    assert rows.dtype == dtype
    np.testing.assert_array_equal(rows, x[index])


def test_on_shares_of_devices_and_an_explicit_mesh():
    x = jnp.asarray(images())
    mixer = mx.choose(
        [mx.mixup, partial(mx.cutmix, pairing=mx.pairings.roll)], [0.5] * 2
    )
    want = mixer(KEY, (scaled(x), None))[0][0]
    # Nested either way around, and sharded.
    for whole in (
        mx.whole_batch(mx.cast_inputs(mixer, scaled), "data"),
        mx.cast_inputs(mx.whole_batch(mixer, "data"), scaled),
    ):
        on_shares = jax.jit(jax.vmap(whole, in_axes=(None, 0), axis_name="data"))
        got = on_shares(KEY, (x.reshape(2, -1, *x.shape[1:]), None))[0][0]
        np.testing.assert_array_equal(got.reshape(want.shape), want)
    explicit = (jax.sharding.AxisType.Explicit,)
    mesh = jax.make_mesh((2,), ("data",), explicit, devices=jax.devices()[:2])
    spread = jax.device_put(x, jax.NamedSharding(mesh, jax.P("data")))
    with jax.set_mesh(mesh):
        run = jax.jit(mx.cast_inputs(mixer, scaled))
        got = run(KEY, (spread, None))[0][0]
    np.testing.assert_array_equal(got, want)
    assert got.sharding.is_equivalent_to(spread.sharding, got.ndim)


def test_within_other_combinators():
    cast, both = mx.cast_inputs(mx.mixup, scaled), [mx.mixup, mx.cutmix]
    cast_each = [mx.cast_inputs(mixer, scaled) for mixer in both]
    noise = partial(mx.gaussian, sigma=1.0)
    (_, y), x = oracle.images(SIZE), images()
    before = scaled(jnp.asarray(x)), y
    for mixer, plain in (
        (mx.choose(cast_each, [0.5, 0.5]), mx.choose(both, [0.5, 0.5])),
        (mx.with_probability(0.5, cast), mx.with_probability(0.5, mx.mixup)),
        (mx.once_per_batch(cast), mx.once_per_batch(mx.mixup)),
        (mx.cast_inputs(noise, scaled), noise),
    ):
        assert_same(mixer(KEY, (x, y))[0], plain(KEY, before)[0])
    named, _ = mx.on_keys(cast, inputs="image")(KEY, {"image": x, "label": y})
    assert_same(named["image"], mx.mixup(KEY, before)[0][0])
    # Inputs are cast whether or not anything is mixed.
    assert_same(mx.until(3, cast)(3)(KEY, (x, y))[0], before)
    assert_same(mx.cast_inputs(mx.erm, scaled)(KEY, (x, y))[0], before)


def test_pairings_that_look_at_inputs_see_what_is_mixed():
    seen = []

    def looking(key, batch):
        seen.append(batch[0].dtype)
        return mx.pairings.roll(key, batch)

    mx.cast_inputs(partial(mx.mixup, pairing=looking), scaled)(KEY, (images(), None))
    assert seen == [jnp.bfloat16]


def test_pickles_and_compares():
    mixer = mx.cast_inputs(mx.mixup, scaled)
    assert pickle.loads(pickle.dumps(mixer)) == mixer
    assert mixer == mx.cast_inputs(mx.mixup, scaled)
    assert mixer != mx.cast_inputs(mx.mixup, standardised)


def test_keys_are_cast_before_their_words_are_mixed():
    mix = mx.Mix.from_pairs(0.5, jnp.array([1, 0]))
    got = mix.inputs(jax.random.split(KEY), cast=lambda x: jnp.array([0.0, 8.0]))
    np.testing.assert_array_equal(got, [4, 4])


@pytest.mark.parametrize(
    ("cast", "error", "words"),
    [
        (lambda x: x.mean(), ValueError, r"shape of inputs\['x'\].*got \(\)"),
        (lambda x: x[..., None], ValueError, "returns leaves"),
        (lambda x: x.astype(jnp.int32), TypeError, "as cast returned it.*int32"),
        (lambda x: (x, x), TypeError, "an array.*got a tuple"),
        ("bfloat16", TypeError, "expected a function"),
    ],
)
def test_a_cast_that_is_none_is_refused(cast: Any, error, words):
    mix = mx.draw_of(mx.mixup)(KEY, (images(), None))
    with pytest.raises(error, match=words):
        mix.inputs({"x": images()}, cast=cast)
    if words != "expected a function":  # that error is raised on construction
        with pytest.raises(error, match=words):
            mx.cast_inputs(mx.mixup, cast)(KEY, ({"x": images()}, None))


def test_what_blends_no_bytes_names_the_cast():
    with pytest.raises(TypeError, match=r"cast=lambda x: x / 255\), or .*cast_inputs"):
        mx.mixup(KEY, (images(), None))


def test_a_choice_of_several_casts_is_refused():
    cast = mx.cast_inputs(mx.mixup, scaled)
    for other in (mx.erm, mx.cast_inputs(mx.cutmix, standardised)):
        with pytest.raises(ValueError, match=r"outermost: cast_inputs\(choose"):
            mx.choose([cast, other], [0.5, 0.5])
