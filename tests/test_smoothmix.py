"""SmoothMix: a bell of the partner, with its mean in the label."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mixup_jax as mx
from tests import oracle

KEY = jax.random.key(6)
RNG = np.random.default_rng(0)


def own_weight(centre, width, sizes):
    """Return the weight of the example's own content, position by position."""
    w = np.zeros(sizes)
    for place in np.ndindex(*sizes):
        away = sum(((q - c) / n) ** 2 for q, c, n in zip(place, centre, sizes))
        w[place] = 1 - np.exp(-away / (2 * width**2))
    return w


@pytest.mark.parametrize("sizes", [(12,), (9, 6), (4, 5, 6)], ids=str)
def test_the_formula_along_any_number_of_axes(sizes):
    x = RNG.normal(size=(4, *sizes, 2)).astype(np.float32)
    y = np.eye(4, dtype=np.float32)
    (mixed, targets), mix = jax.jit(mx.smoothmix)(KEY, (x, y))
    assert isinstance(mix.region, mx.regions.Bell)
    centre, width = np.asarray(mix.region.centre), np.asarray(mix.region.width)
    partner = np.arange(4) ^ 1
    for i in range(4):
        w = own_weight(centre[i], float(width[i]), sizes)
        want = w[..., None] * x[i] + (1 - w[..., None]) * x[partner[i]]
        np.testing.assert_allclose(mixed[i], want, atol=2e-6)
        # The label keeps what the pixels keep, and not the reverse.
        np.testing.assert_allclose(mix.lam[i], w.mean(), atol=1e-6)
        want = w.mean() * y[i] + (1 - w.mean()) * y[partner[i]]
        np.testing.assert_allclose(targets[i], want, atol=1e-6)


def test_centres_and_widths_are_uniform():
    size, sizes = 20_000, (7, 4)
    inputs = jax.ShapeDtypeStruct((size, *sizes, 1), jnp.float32)
    mix = jax.jit(lambda key: mx.draw_of(mx.smoothmix)(key, (inputs, None)))(KEY)
    assert isinstance(mix.region, mx.regions.Bell)
    for k, n in enumerate(sizes):
        counts = np.bincount(np.asarray(mix.region.centre[:, k]), minlength=n)
        assert len(counts) == n
        error = np.sqrt(size / n * (1 - 1 / n))
        assert (np.abs(counts - size / n) < 5 * error).all()
    width = np.asarray(mix.region.width, np.float64)
    assert ((width >= 0.25) & (width <= 0.5)).all()
    assert abs(width.mean() - 0.375) < 5 * 0.25 / np.sqrt(12 * size)
    assert abs(width.var() - 0.25**2 / 12) < 1e-4
    assert abs(np.corrcoef(width, mix.region.centre[:, 0])[0, 1]) < 5 / np.sqrt(size)


def test_channels_first_and_other_widths():
    x = RNG.normal(size=(4, 9, 6, 2)).astype(np.float32)
    narrow = partial(mx.regions.bell, min_width=0.05, max_width=0.1)
    mixer = jax.jit(partial(mx.smoothmix, region=narrow), static_argnames="spatial")
    (last, _), mix = mixer(KEY, (x, None))
    assert (np.asarray(mix.lam) > 0.9).all()
    (first, _), _ = mixer(KEY, (np.moveaxis(x, -1, 1), None), spatial=(2, 3))
    np.testing.assert_allclose(np.moveaxis(np.asarray(first), 1, -1), last, atol=1e-6)


def test_half_precision_is_rounded_once():
    x = RNG.normal(size=(4, 9, 6, 1)).astype(np.float32)
    half = jnp.asarray(x, jnp.bfloat16)
    (mixed, _), _ = mx.smoothmix(KEY, (half, None))
    (wide, _), _ = mx.smoothmix(KEY, (half.astype(jnp.float32), None))
    np.testing.assert_array_equal(mixed, wide.astype(jnp.bfloat16))


def test_an_example_that_is_its_own_partner_stays():
    x = RNG.normal(size=(3, 4, 4, 1)).astype(np.float32)
    pairing = mx.pairings.given(np.array([1, 0, 2]))
    mixer = jax.jit(partial(mx.smoothmix, pairing=pairing))
    (mixed, _), mix = mixer(KEY, (x, None))
    np.testing.assert_array_equal(mixed[2], x[2])
    assert mix.lam[2] == 1


def test_what_it_takes():
    x = np.ones((4, 8, 8, 3), np.uint8)
    with pytest.raises(TypeError, match="inputs: expected a floating-point or complex"):
        mx.smoothmix(KEY, (x, None))
    with pytest.raises(ValueError, match="spatial axes"):
        mx.smoothmix(KEY, (np.ones((4, 3), np.float32), None))
    region = partial(mx.regions.bell, min_width=0.5, max_width=0.25)
    with pytest.raises(ValueError, match="0 < min_width <= max_width"):
        mx.smoothmix(KEY, (x, None), region=region)
    with pytest.raises(TypeError, match=r"partners, \*, spatial\)"):
        mx.smoothmix(KEY, (x, None), region=mx.regions.everywhere)  # type: ignore


def test_chosen_beside_a_box():
    batch = oracle.images(8)
    mixer = mx.choose([mx.smoothmix, mx.cutmix], [0.5, 0.5])

    @jax.jit
    def covered(key, batch):
        (x, _), mix = mixer(key, batch)
        return x, mix, mix.coverage((6, 5))

    x, mix, own = covered(KEY, batch)
    own = np.asarray(own)
    np.testing.assert_allclose(own.mean(axis=(1, 2)), mix.lam, atol=1e-6)
    partner = np.asarray(mix.partner)
    want = own[..., None] * batch[0] + (1 - own[..., None]) * batch[0][partner]
    np.testing.assert_allclose(x, want, atol=1e-5)
