"""Extrapolation: away from the partner, with the example's own label."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mixup_jax as mx
from tests import oracle

KEY = jax.random.key(0)
X = jnp.asarray(np.random.default_rng(0).normal(size=(6, 5)), jnp.float32)
LABELS = jnp.array([0, 1, 0, 2, 1, 0])


def test_the_formula_and_the_own_integer_label():
    (x, y), mix = mx.extrapolate(KEY, (X, LABELS), by=0.5)
    partner = np.asarray(mix.partner)
    np.testing.assert_array_equal(LABELS[partner], LABELS)
    want = np.asarray(X) + 0.5 * (np.asarray(X) - np.asarray(X)[partner])
    np.testing.assert_allclose(x, want, rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(y, LABELS)
    np.testing.assert_array_equal(mix.lam, 1)


def test_examples_without_a_partner_keep_even_an_infinity():
    bad = X.at[3].set(jnp.inf)  # the only example of its class
    (x, _), _ = mx.extrapolate(KEY, (bad, LABELS), by=0.5)
    np.testing.assert_array_equal(x[3], jnp.inf)
    assert np.isfinite(np.delete(np.asarray(x), 3, axis=0)).all()


def test_interpolation_and_extrapolation_lie_on_one_line():
    pairing = mx.pairings.neighbour
    (far, _), _ = mx.extrapolate(KEY, (X, None), by=0.25, pairing=pairing)
    ratio = mx.ratios.constant(0.75)
    (near, _), _ = mx.mixup(KEY, (X, None), ratio=ratio, pairing=pairing)
    oracle.assert_close((far + near) / 2, X)


def test_by_may_be_one_for_each_and_traced():
    by = jnp.linspace(0, 1, 6)
    pairing = mx.pairings.neighbour
    run = jax.jit(lambda by: mx.extrapolate(KEY, (X, None), by=by, pairing=pairing))
    (x, _), _ = run(by)
    away = X - X[jnp.array([1, 0, 3, 2, 5, 4])]
    oracle.assert_close(x, X + by[:, None] * away)
    np.testing.assert_array_equal(x[0], X[0])


def test_chosen_for_some_it_leaves_the_others():
    away = partial(mx.extrapolate, by=1.0, pairing=mx.pairings.neighbour)
    mixer = mx.choose([away, mx.erm], [0.5, 0.5])
    x = jnp.asarray(np.random.default_rng(1).normal(size=(400, 2)), jnp.float32)
    (mixed, _), _ = mixer(KEY, (x, None))
    partner = np.arange(400) ^ 1
    (all_mixed, _), _ = away(KEY, (x, None))
    same = (np.asarray(mixed) == np.asarray(x)).all(axis=1)
    moved = np.isclose(mixed, all_mixed, rtol=1e-6).all(axis=1)
    assert (same ^ moved).all()
    assert abs(same.mean() - 0.5) < 4 * 0.5 / np.sqrt(400)
    np.testing.assert_allclose(all_mixed, 2 * x - x[partner], rtol=1e-5, atol=1e-5)


NEIGHBOURS = partial(mx.extrapolate, pairing=mx.pairings.neighbour)


@pytest.mark.parametrize(
    ("mixer", "share"),
    [
        (mx.with_probability(0.2, mx.choose([NEIGHBOURS, mx.mixup], [0.5, 0.5])), 0.2),
        (mx.with_probability(0.1, mx.with_probability(0.5, NEIGHBOURS)), 0.05),
        (mx.choose([mx.erm, mx.with_probability(0.5, NEIGHBOURS)], [0.9, 0.1]), 0.05),
    ],
)
def test_nested_choices_of_it_multiply(mixer, share):
    size = 20_000
    x = np.arange(size, dtype=np.float32)[:, None]
    (mixed, _), mix = jax.jit(mixer)(KEY, (x, None))
    moved = np.asarray(mixed != x)[:, 0]
    assert abs(moved.mean() - share) < 5 * np.sqrt(share * (1 - share) / size)
    np.testing.assert_allclose(mixed, mix.inputs(x), rtol=1e-6)


@pytest.mark.parametrize(
    "mixer",
    [
        mx.with_probability(0.5, mx.extrapolate),
        mx.with_probability(0.5, mx.with_probability(0.5, mx.extrapolate)),
        mx.choose([mx.erm, mx.extrapolate, NEIGHBOURS], [0.2, 0.4, 0.4]),
    ],
)
def test_chosen_it_still_takes_integer_labels(mixer):
    (_, y), mix = jax.jit(mixer)(KEY, (X, LABELS))
    np.testing.assert_array_equal(y, LABELS)
    assert y.dtype == LABELS.dtype
    np.testing.assert_array_equal(mix.lam, 1)


def test_beside_a_mixer_of_labels_integers_are_refused():
    mixer = mx.choose([NEIGHBOURS, mx.mixup], [0.5, 0.5])
    with pytest.raises(TypeError, match="targets: expected a floating"):
        mixer(KEY, (X, LABELS))


@pytest.mark.parametrize("by", [-0.1, 1.5, float("nan")])
def test_a_bad_distance_is_refused(by):
    with pytest.raises(ValueError, match=r"extrapolate: by: .*in \[0, 1\]"):
        mx.extrapolate(KEY, (X, LABELS), by=by)
