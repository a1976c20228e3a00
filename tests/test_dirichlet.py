"""Mixup of several partners, with shares from a Dirichlet distribution."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import mixup_jax as mx
from tests import oracle

KEY = jax.random.key(5)


def shares_of(mix):
    return np.stack([share for share, _ in mix.terms(np.arange(len(mix.lam)))])


@pytest.mark.parametrize("alpha", [0.3, 1.0, 4.0])
@pytest.mark.parametrize("partners", [1, 2, 3])
def test_moments(partners, alpha):
    size = 100_000
    batch = (jax.ShapeDtypeStruct((size, 1), jnp.float32), None)
    mixer = partial(mx.dirichlet, alpha=alpha, partners=partners)
    mix = jax.jit(lambda key: mx.draw_of(mixer)(key, batch))(KEY)
    shares = shares_of(mix).astype(np.float64)
    k, total = partners + 1, alpha * (partners + 1)
    np.testing.assert_allclose(shares.sum(axis=0), 1, atol=1e-6)
    mean, variance = 1 / k, (k - 1) / k**2 / (total + 1)
    assert (np.abs(shares.mean(axis=1) - mean) < 5 * np.sqrt(variance / size)).all()
    centred = shares - mean
    for a in range(k):
        for b in range(a + 1):
            product = centred[a] * centred[b]
            want = variance if a == b else -1 / k**2 / (total + 1)
            assert abs(product.mean() - want) < 5 * product.std() / np.sqrt(size)
    third = centred**3
    skew = alpha * (alpha + 1) * (alpha + 2) / total / (total + 1) / (total + 2)
    skew += -3 * mean * (variance + mean**2) + 2 * mean**3
    error = third.std(axis=1) / np.sqrt(size)
    assert (np.abs(third.mean(axis=1) - skew) < 5 * error).all()


@pytest.mark.parametrize("size", [4, 5])
def test_with_one_partner_it_is_mixup(size):
    batch = oracle.images(size)
    got = jax.jit(partial(mx.dirichlet, alpha=0.4, partners=1))(KEY, batch)
    want = jax.jit(partial(mx.mixup, alpha=0.4))(KEY, batch)
    oracle.assert_equal(got[0], want[0])
    oracle.assert_equal((got[1].lam, got[1].partner), (want[1].lam, want[1].partner))


@pytest.mark.parametrize(
    ("size", "partners"),
    [(1, 2), (2, 2), (3, 2), (4, 2), (5, 2), (6, 2), (4, 3), (6, 3), (5, 5), (8, 5)],
)
def test_batches_of_any_size(size, partners):
    x, y = oracle.images(size)
    mixer = jax.jit(partial(mx.dirichlet, partners=partners))
    (mixed, targets), mix = mixer(KEY, (x, y))
    shares = shares_of(mix).astype(np.float64)
    np.testing.assert_allclose(shares.sum(axis=0), 1, atol=1e-6)
    everyone = [np.arange(size), *(each.partner for each in mix.sources)]
    others = min(partners, size - 1)
    for i in range(size):
        seen = {int(partner[i]) for partner, s in zip(everyone, shares) if s[i] > 0}
        assert len(seen) == 1 + others  # distinct examples
        for got, given in ((mixed[i], x), (targets[i], y)):
            want = sum(
                s[i] * np.float64(given[partner[i]])
                for partner, s in zip(everyone, shares)
            )
            np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)


def test_a_batch_that_is_too_small_has_the_shares_of_fewer_partners():
    batch = oracle.images(3)
    mixer = jax.jit(mx.dirichlet, static_argnames="partners")
    _, mix = mixer(KEY, batch, alpha=0.5, partners=5)
    _, fewer = mixer(KEY, batch, alpha=0.5, partners=2)
    oracle.assert_equal(shares_of(mix), shares_of(fewer))


def test_the_first_partner_is_that_of_mixup_and_no_row_is_gathered():
    batch = oracle.images(8)
    mixer = mx.choose([mx.mixup, partial(mx.dirichlet, partners=3)], [0.5, 0.5])
    assert "gather" not in str(jax.make_jaxpr(mixer)(KEY, batch))
    # If the blocks do not divide the batch, the ring is not Mixup's pairing.
    assert "gather" in str(jax.make_jaxpr(mixer)(KEY, oracle.images(6)))


def test_terms_of_integer_labels_are_the_soft_loss():
    labels = np.arange(8) % 3
    logits = np.random.default_rng(0).normal(size=(8, 3)).astype(np.float32)
    _, mix = jax.jit(partial(mx.dirichlet, partners=3))(KEY, (logits, None))
    entropy = optax.losses.softmax_cross_entropy_with_integer_labels
    terms = mx.losses.termwise(entropy)(logits, labels, mix)
    targets = mix.targets(np.eye(3, dtype=np.float32)[labels])
    oracle.assert_close(terms, optax.losses.softmax_cross_entropy(logits, targets))


def test_the_gradient_by_alpha_is_that_of_the_shares():
    def own(alpha):
        _, mix = mx.dirichlet(KEY, (jnp.ones((4096, 1)), None), alpha=alpha)
        return jnp.mean(mix.lam**2)

    # The second moment of a share of 3 is (alpha + 1) / (3 (3 alpha + 1)).
    alpha = 1.5
    want = ((3 * alpha + 1) - 3 * (alpha + 1)) / 3 / (3 * alpha + 1) ** 2
    slope = jax.jit(jax.jacfwd(own))(alpha)
    assert abs(float(slope) - want) < 0.01


def test_parameters_of_any_kind():
    batch = oracle.images(4)
    _, want = jax.jit(partial(mx.dirichlet, alpha=200.0))(KEY, batch)
    two: Any = np.int64(2)
    for alpha in (np.uint8(200), jnp.float16(200), [200.0] * 4, np.full(4, 200)):
        given: Any = alpha
        mixer = partial(mx.dirichlet, alpha=given, partners=two)
        _, mix = jax.jit(mixer)(KEY, batch)
        oracle.assert_close(mix.lam, want.lam)


def test_what_it_takes():
    x = np.ones((4, 3), np.float32)
    with pytest.raises(ValueError, match=r"partners: expected .* at least 1; got 0"):
        mx.dirichlet(KEY, (x, None), partners=0)
    with pytest.raises(TypeError, match="partners: expected an integer"):
        mx.dirichlet(KEY, (x, None), partners=1.5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="at least 0"):
        mx.dirichlet(KEY, (x, None), alpha=-1.0)
    for alpha in (None, "a"):
        with pytest.raises(TypeError, match="alpha: expected a real number"):
            mx.dirichlet(KEY, (x, None), alpha=alpha)  # type: ignore[arg-type]
    for n, of in ((1.5, 2), ("1", 2), (1, 2.0)):
        with pytest.raises(TypeError, match=r"nth: .*: expected an integer; got"):
            mx.pairings.nth(KEY, (x, None), n=n, of=of)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="roll: expected an integer shift"):
        mx.pairings.roll(KEY, (x, None), shift=1.5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"nth: expected a number from 1 to of=2"):
        mx.pairings.nth(KEY, (x, None), n=3, of=2)
