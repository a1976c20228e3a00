"""FMix: blobs that cover exactly the share in the labels, on any number of axes."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mixup_jax as mx
from mixup_jax.regions import _blob, _lowest
from tests.test_compiled import loops


def zeros_and_ones(shape):
    """Return inputs in which example ``i`` is ``i % 2``, so that the mask shows."""
    return np.broadcast_to(
        (np.arange(shape[0]) % 2).reshape(-1, *[1] * (len(shape) - 1)), shape
    ).astype(np.uint8)


def fmix(key, batch, **options):
    """Mix in one compiled program, as a train step would."""
    return jax.jit(partial(mx.fmix, **options))(key, batch)


def own_share(mixed, original):
    """Return the fraction of each example's values that are still its own."""
    own = (np.asarray(mixed) == original).reshape(len(original), -1)
    return own.sum(axis=1).astype(np.float32) / np.float32(own.shape[1])


def edges(images):
    """Return how many horizontal neighbors differ, averaged over the examples."""
    return np.mean(np.abs(np.diff(np.asarray(images, int), axis=2)))


@pytest.mark.parametrize(
    ("shape", "spatial"),
    [
        ((4, 37, 1), None),  # audio
        ((4, 6, 5, 3), None),  # images, odd and not square
        ((4, 3, 5, 6), (2, 3)),  # channels first
        ((4, 3, 4, 5, 1), None),  # video
        ((4, 12), (1,)),  # no channels
    ],
)
def test_the_partner_covers_the_share_of_the_labels(shape, spatial):
    images = zeros_and_ones(shape)
    targets = np.eye(4, dtype=np.float32)
    (mixed, soft), mix = fmix(
        jax.random.key(0), (images, targets), spatial=spatial, alpha=1.0
    )
    lam = np.asarray(mix.lam)
    assert mixed.dtype == jnp.uint8
    np.testing.assert_array_equal(own_share(mixed, images), lam)
    np.testing.assert_array_equal(np.diag(np.asarray(soft)), lam)
    assert np.unique(lam).size > 1


def test_positions_are_rounded_to_the_nearest():
    images = zeros_and_ones((5, 5, 6, 1))
    pairing = mx.pairings.given(np.array([1, 0, 3, 2, 1]))
    lam = mx.ratios.constant(np.array([0, 0.5, 0.51, 0.52, 1], np.float32))
    (mixed, _), mix = fmix(
        jax.random.key(1), (images, None), ratio=lam, pairing=pairing
    )
    covered = np.array([30, 15, 15, 14, 0])
    changed = (np.asarray(mixed) != images).sum(axis=(1, 2, 3))
    np.testing.assert_array_equal(changed, covered)
    np.testing.assert_allclose(mix.lam, 1 - covered / 30, rtol=1e-6)


def test_every_example_has_a_mask_of_its_own():
    _, mix = fmix(
        jax.random.key(2),
        (np.zeros((8, 8, 8, 1), np.uint8), None),
        ratio=mx.ratios.constant(0.5),
    )
    masks = np.asarray(mix.region.own).reshape(8, -1)
    assert len(np.unique(masks, axis=0)) == 8


def test_blobs_grow_with_the_decay():
    images = zeros_and_ones((8, 32, 32, 1))
    rough, paper, smooth = (
        edges(
            fmix(
                jax.random.key(3),
                (images, None),
                ratio=mx.ratios.constant(0.5),
                region=partial(mx.regions.blob, decay=decay),
            )[0][0]
        )
        for decay in (0, 3, jnp.float32(6))
    )
    # White noise: half of all neighbors differ.
    np.testing.assert_allclose(rough, 0.5, atol=0.05)
    assert smooth < paper < rough / 4


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "int32"])
def test_the_decay_may_have_any_dtype(dtype):
    batch = (zeros_and_ones((4, 6, 5, 1)), None)

    @jax.jit
    def mixed(decay):
        region = partial(mx.regions.blob, decay=decay)
        return mx.fmix(jax.random.key(3), batch, region=region)[0][0]

    narrow, wide = mixed(jnp.asarray(3, dtype)), mixed(jnp.float32(3))
    np.testing.assert_array_equal(narrow, wide)


def test_what_was_drawn_stays_the_share_where_asked_for():
    region = partial(mx.regions.blob, share=mx.regions.as_drawn)
    _, mix = fmix(
        jax.random.key(5),
        (np.zeros((2, 3, 3, 1)), None),
        ratio=mx.ratios.constant(0.7),
        region=region,
    )
    np.testing.assert_array_equal(mix.lam, np.full(2, np.float32(0.7)))


def test_the_mask_is_drawn_and_ranked_without_a_loop():
    images = jax.ShapeDtypeStruct((4, 8, 8, 3), jnp.bfloat16)
    key, batch = jax.random.key(0), (images, None)
    assert not loops(mx.fmix, key, batch)
    program = str(jax.make_jaxpr(mx.fmix)(key, batch))
    assert "fft[" not in program
    assert "sort[" not in program


@pytest.mark.parametrize("sizes", [(9,), (6, 5), (8, 8), (3, 4, 5)])
def test_the_field_has_the_power_of_its_frequencies(sizes):
    noise, decay = jax.random.normal(jax.random.key(6), (4000, *sizes)), 1.5
    field = np.asarray(_blob._low_pass(noise, decay))
    axes = tuple(range(1, 1 + len(sizes)))
    power = np.abs(np.fft.fftn(field, axes=axes)) ** 2 / np.prod(sizes) ** 2
    each = np.meshgrid(*map(np.fft.fftfreq, sizes), indexing="ij")
    frequency = np.maximum(np.sqrt(sum(f**2 for f in each)), 1 / max(sizes))
    wanted = (frequency * max(sizes)) ** (-2 * decay)
    # Exponentially distributed where real and imaginary parts are independent; where
    # one of them is 0, the variance is 2.
    error = wanted * np.sqrt(2 / len(field))
    np.testing.assert_array_less(np.abs(power.mean(axis=0) - wanted), 5 * error)
    # Frequencies are independent of each other, except for mirror images up to a phase.
    flat = np.fft.fftn(field, axes=axes).reshape(len(field), -1)
    flat /= np.sqrt((np.abs(flat) ** 2).mean(axis=0))
    with_first = np.abs((flat[:, 1:2].conj() * flat).mean(axis=0))
    assert np.sum(with_first > 6 / np.sqrt(len(field))) == 1


def test_long_axes_are_transformed_alike(monkeypatch):
    x = jax.random.normal(jax.random.key(7), (3, 12, 7))
    product = _blob._hartley(x)
    monkeypatch.setattr(_blob, "_LONGEST_PRODUCT", 8)
    np.testing.assert_allclose(_blob._hartley(x), product, atol=1e-5)
    images = zeros_and_ones((4, 20, 1))
    mixed, mix = fmix(jax.random.key(8), (images, None))
    np.testing.assert_array_equal(own_share(mixed[0], images), mix.lam)


SEARCHES = [_lowest.above_lowest, _lowest._in_few_passes]  # here, and on a GPU


@pytest.mark.parametrize("search", SEARCHES)
@pytest.mark.parametrize("total", [13, 48])
def test_the_lowest_values_are_those_of_a_sort(search, total):
    key_x, key_sign = jax.random.split(jax.random.key(9))
    x = np.array(jax.random.normal(key_x, (total + 1, total)))
    # Also rows of a single sign, and magnitudes that differ only in the last bits.
    x[0], x[1] = np.abs(x[0]), -np.abs(x[1])
    x[2] = np.nextafter(np.float32(-3), np.float32(0)) + np.arange(total) * 2.0**-22
    count = np.asarray(jax.random.permutation(key_sign, total + 1), np.int32)
    own = jax.jit(search)(x, count)
    rank = x.argsort(axis=1).argsort(axis=1)
    np.testing.assert_array_equal(own, rank >= count[:, None])


@pytest.mark.slow
@pytest.mark.parametrize("search", SEARCHES)
@settings(max_examples=50, deadline=None)
@given(data=st.data(), total=st.integers(1, 40))
def test_the_lowest_values_are_found(search, data, total):
    # Floats that a processor may flush to 0 are ordered only as integers.
    numbers = st.floats(
        width=32, allow_nan=False, allow_infinity=False, allow_subnormal=False
    )
    rows = st.lists(numbers, min_size=total, max_size=total, unique=True)
    x = np.array([data.draw(rows), data.draw(rows)], np.float32)
    count = np.array([data.draw(st.integers(0, total)) for _ in x], np.int32)
    own = search(jnp.asarray(x), jnp.asarray(count))
    rank = x.argsort(axis=1).argsort(axis=1)
    np.testing.assert_array_equal(own, rank >= count[:, None])


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda key, x: mx.fmix(key, (x, None)), "one to three spatial axes; got 4"),
        (
            lambda key, x: fmix(
                key, (x[0], None), region=partial(mx.regions.blob, decay=-1.0)
            ),
            "decay: expected a number of at least 0; got -1",
        ),
    ],
)
def test_what_fmix_cannot_do_is_refused(call, said):
    with pytest.raises(ValueError, match=said):
        jax.eval_shape(call, jax.random.key(0), jnp.zeros((2, 2, 2, 2, 2, 2)))


@pytest.mark.parametrize(
    ("mixer", "region"), [(mx.cutmix, mx.regions.box), (mx.fmix, mx.regions.blob)]
)
def test_the_axes_may_be_named_in_the_region(mixer, region):
    images = zeros_and_ones((4, 3, 6, 5))
    key = jax.random.key(9)
    there = partial(mixer, region=partial(region, spatial=(2, 3)))
    here = partial(mixer, region=region, spatial=(2, 3))
    (got, _), mix = there(key, (images, None))
    np.testing.assert_array_equal(got, here(key, (images, None))[0][0])
    np.testing.assert_array_equal(own_share(got, images), mix.lam)
