"""Attacks: for a linear model the sign of the gradient is known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mixup_jax as mx

W = jnp.array([2.0, -0.5, 0.0])
X = jnp.array([[0.5, 0.5, 0.5], [0.02, 0.98, 0.5]])


def linear(x):
    return x @ W


def bent(x):
    """Return a loss whose gradient changes sign at 0.6."""
    return -jnp.sum((x - 0.6) ** 2, axis=-1)


def test_one_step_along_the_sign():
    got = mx.attacks.fgsm(linear, X, epsilon=0.1)
    np.testing.assert_allclose(got, X + 0.1 * jnp.array([[1.0, -1, 0]]), rtol=1e-6)


def test_bounds_hold():
    got = mx.attacks.fgsm(lambda x: -linear(x), X, epsilon=0.1, bounds=(0, 1))
    np.testing.assert_allclose(got[1], [0, 1, 0.5])


def test_a_sum_is_as_good_as_one_loss_for_each():
    each = mx.attacks.fgsm(linear, X, epsilon=0.1)
    total = mx.attacks.fgsm(lambda x: linear(x).sum(), X, epsilon=0.1)
    np.testing.assert_array_equal(each, total)


def test_one_step_iterated_is_one_step():
    once = mx.attacks.fgsm(bent, X, epsilon=0.1)
    same = mx.attacks.iterated_fgsm(bent, X, epsilon=0.1, step=0.1, steps=1)
    np.testing.assert_allclose(once, same, rtol=1e-6)


def test_steps_stay_in_the_ball_and_follow_the_gradient():
    for steps in (1, 3, 10):
        got = mx.attacks.iterated_fgsm(
            bent, X, epsilon=0.125, step=0.04, steps=steps, bounds=(0, 1)
        )
        assert float(jnp.abs(got - X).max()) <= 0.125
        assert (bent(got) >= bent(X)).all()
        assert ((got >= 0) & (got <= 1)).all()
    # A single step as long as the radius would overshoot the maximum at 0.6.
    once = mx.attacks.fgsm(bent, X, epsilon=0.125)
    assert float(bent(got)[0]) > float(bent(once)[0])


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_any_pytree_keeps_its_dtypes(dtype):
    x = {"a": X.astype(dtype), "b": (X[:, 0].astype(dtype),)}
    loss = lambda x: x["a"].sum(axis=1) - x["b"][0]  # noqa: E731
    for got in (
        mx.attacks.fgsm(loss, x, epsilon=0.25),
        mx.attacks.iterated_fgsm(loss, x, epsilon=0.25, step=0.25, steps=2),
    ):
        assert jax.tree.map(jnp.shape, got) == jax.tree.map(jnp.shape, x)
        assert {leaf.dtype for leaf in jax.tree.leaves(got)} == {jnp.dtype(dtype)}
        np.testing.assert_allclose(
            np.asarray(got["b"][0], np.float32),
            np.asarray(x["b"][0], np.float32) - 0.25,
            rtol=1e-2,
        )


def test_epsilon_may_be_traced_and_mapped():
    sizes = jnp.array([0.0, 0.1, 0.2])
    run = jax.vmap(lambda epsilon: mx.attacks.fgsm(linear, X, epsilon=epsilon))
    far = jnp.abs(run(sizes) - X[None]).max(axis=(1, 2))
    np.testing.assert_allclose(far, sizes, rtol=1e-5)


def test_each_example_may_have_its_own_distance():
    # As many examples as coordinates: the two axes must not be confused.
    x = jnp.tile(X[:1], (3, 1))
    sizes = jnp.array([0.0, 0.125, 0.25])
    expected = x + sizes[:, None] * jnp.sign(W)[None]
    once = mx.attacks.fgsm(linear, x, epsilon=sizes)
    np.testing.assert_allclose(once, expected, rtol=1e-6)
    # Half of the radius per step: the boundary is reached by the second.
    often = mx.attacks.iterated_fgsm(linear, x, epsilon=sizes, step=sizes / 2, steps=3)
    np.testing.assert_allclose(often, expected, rtol=1e-6)


def test_float64_of_numpy_is_what_jax_makes_of_it():
    x = np.asarray(X, np.float64)
    for got in (
        mx.attacks.fgsm(linear, x, epsilon=0.1),
        mx.attacks.iterated_fgsm(linear, x, epsilon=0.1, step=0.1, steps=2),
    ):
        assert got.dtype == jnp.float32
        np.testing.assert_allclose(got[:, 0], X[:, 0] + 0.1, rtol=1e-6)


@pytest.mark.parametrize(
    ("call", "kind", "said"),
    [
        (lambda: mx.attacks.fgsm(linear, X, epsilon=-1), ValueError, "epsilon: "),
        (
            lambda: mx.attacks.fgsm(linear, X, epsilon=jnp.ones(3)),
            ValueError,
            r"epsilon: expected a scalar or shape \(2,\); got shape \(3,\)",
        ),
        (
            lambda: mx.attacks.iterated_fgsm(linear, X, epsilon=1, step=jnp.ones(3)),
            ValueError,
            r"step: expected a scalar or shape \(2,\); got shape \(3,\)",
        ),
        (
            lambda: mx.attacks.fgsm(linear, X, epsilon=1, bounds=(1, 0)),
            ValueError,
            "bounds: expected the smallest",
        ),
        (
            lambda: mx.attacks.fgsm(linear, X.astype(jnp.int32), epsilon=1),
            TypeError,
            "x: expected a floating-point dtype",
        ),
        (
            lambda: mx.attacks.iterated_fgsm(linear, X, epsilon=1, step=1, steps=0),
            ValueError,
            "at least 1 step; got 0",
        ),
        (
            lambda: mx.attacks.iterated_fgsm(linear, X, epsilon=1, step=-1),
            ValueError,
            "step: ",
        ),
    ],
)
def test_bad_input_is_refused(call, kind, said):
    with pytest.raises(kind, match=said):
        call()
