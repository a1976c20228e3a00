"""Gaussian noise: its moments, what it leaves unchanged, and that none is lost."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mixup_jax as mx

KEY = jax.random.key(0)


def test_the_noise_has_the_moments_that_it_says():
    x = jnp.full((64, 500), 3.0)
    (noisy, _), _ = mx.gaussian(KEY, (x, None), sigma=0.5)
    eps = (np.asarray(noisy, np.float64) - 3) / 0.5
    n = eps.size
    assert abs(eps.mean()) < 4 / np.sqrt(n)
    assert abs((eps**2).mean() - 1) < 4 * np.sqrt(2 / n)
    assert abs((eps**4).mean() - 3) < 4 * np.sqrt(96 / n)


def test_leaves_and_calls_have_noise_of_their_own():
    x = jnp.zeros((8, 100))
    ((a, b), _), _ = mx.gaussian(KEY, ((x, x), None), sigma=1.0)
    ((c, _), _), _ = mx.gaussian(jax.random.key(1), ((x, x), None), sigma=1.0)
    for one, other in ((a, b), (a, c), (a[:4], a[4:])):
        r = np.corrcoef(np.ravel(one), np.ravel(other))[0, 1]
        assert abs(r) < 4 / np.sqrt(one.size)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.float16])
def test_dtype_and_targets_stay(dtype):
    x, labels = jnp.ones((4, 3), dtype), jnp.arange(4)
    (noisy, same), mix = jax.jit(mx.gaussian)(KEY, (x, labels), sigma=0.1)
    assert noisy.dtype == dtype
    assert not np.array_equal(noisy, x)
    np.testing.assert_array_equal(same, labels)
    np.testing.assert_array_equal(mix.lam, 1)
    np.testing.assert_array_equal(mix.partner, jnp.arange(4))
    np.testing.assert_array_equal(mix.inputs(x), x)


def test_no_sigma_is_no_noise_and_it_may_be_traced():
    x = jnp.linspace(-1, 1, 12).reshape(4, 3)
    run = jax.jit(lambda sigma: mx.gaussian(KEY, (x, None), sigma=sigma)[0][0])
    np.testing.assert_array_equal(run(0.0), x)
    twice = (run(0.2) - x) / (run(0.1) - x)
    np.testing.assert_allclose(twice, 2, rtol=1e-5)


@pytest.mark.parametrize(
    "kind", [jax.sharding.AxisType.Auto, jax.sharding.AxisType.Explicit]
)
def test_on_a_mesh_the_noise_is_the_same_and_nothing_is_sent(kind):
    mesh = jax.make_mesh((8,), ("data",), axis_types=(kind,))
    x = jnp.ones((16, 6))
    placed = jax.device_put(x, jax.NamedSharding(mesh, jax.P("data")))
    run = jax.jit(lambda key, x: mx.gaussian(key, (x, None), sigma=1.0)[0][0])
    with jax.set_mesh(mesh):
        noisy = run(KEY, placed)
        text = run.lower(KEY, placed).compile().as_text() or ""
    assert noisy.sharding.is_equivalent_to(placed.sharding, x.ndim)
    np.testing.assert_allclose(noisy, run(KEY, x), rtol=1e-6)
    assert not any(word in text for word in ("all-gather", "all-reduce", "permute("))


@pytest.mark.parametrize(
    ("x", "sigma", "kind", "said"),
    [
        (jnp.ones((4, 3)), -1.0, ValueError, "of at least 0; got -1"),
        (jnp.ones((4, 3)), float("nan"), ValueError, "of at least 0; got nan"),
        (jnp.ones((4, 3)), np.ones(4), ValueError, "expected a scalar"),
        (jnp.ones((4, 3), jnp.uint8), 1.0, TypeError, r"inputs: .*got uint8\[4, 3\]"),
        (jnp.ones((4, 3), jnp.complex64), 1.0, TypeError, "expected a floating"),
    ],
)
def test_bad_input_is_refused(x, sigma, kind, said):
    with pytest.raises(kind, match=said):
        mx.gaussian(KEY, (x, None), sigma=sigma)
