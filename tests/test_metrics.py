"""Accuracy on mixed targets: the share of the label that a prediction names."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mixup_jax as mx

# The predictions are the classes 0, 2, 1 and 1.
LOGITS = jnp.array([[3.0, 1, 2], [0, 1, 5], [-1, 0, -2], [0.5, 2, 1]])
LABELS = jnp.array([0, 1, 2, 1])
MIX = mx.Mix(jnp.array([0.75, 0.25, 0.5, 1.0]), jnp.array([1, 2, 3, 0]))
# Own: hit, miss, miss, hit. Partner's: 1 missed, 2 hit, 1 hit, 0 missed.
EXPECTED = [0.75, 0.75, 0.5, 1.0]


def test_integer_labels():
    found = mx.metrics.accuracy(LOGITS, LABELS)
    assert found.dtype == jnp.float32
    np.testing.assert_array_equal(found, [1, 0, 0, 1])


def test_both_roads_lead_to_the_same_number():
    soft = MIX.targets(mx.losses.one_hot(LABELS, 3))
    np.testing.assert_array_equal(mx.metrics.accuracy(LOGITS, soft), EXPECTED)
    found = mx.metrics.two_term_accuracy(LOGITS, LABELS, MIX)
    assert found.dtype == jnp.float32
    np.testing.assert_array_equal(found, EXPECTED)


def test_both_roads_agree_on_what_a_mixer_drew():
    logits = jax.random.normal(jax.random.key(0), (32, 5))
    labels = jnp.arange(32) % 5
    hot = mx.losses.one_hot(labels, 5)
    (_, soft), mix = mx.mixup(jax.random.key(1), (logits, hot), alpha=0.5)
    dense = mx.metrics.accuracy(logits, soft)
    two = mx.metrics.two_term_accuracy(logits, labels, mix)
    np.testing.assert_allclose(two, dense, rtol=1e-6)
    assert np.unique(np.asarray(dense)).size > 3


def test_the_heavier_label_is_the_most_there_is():
    lam = jnp.array([0.75, 0.25])
    mix = mx.Mix(lam, jnp.array([1, 0]))
    soft = mix.targets(jnp.eye(2))
    found = mx.metrics.accuracy(soft, soft)
    np.testing.assert_array_equal(found, jnp.maximum(lam, 1 - lam))


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_low_precision(dtype):
    soft = MIX.targets(mx.losses.one_hot(LABELS, 3, dtype=dtype))
    found = mx.metrics.accuracy(LOGITS.astype(dtype), soft)
    assert found.dtype == jnp.float32
    np.testing.assert_array_equal(found, EXPECTED)
    found = mx.metrics.two_term_accuracy(LOGITS.astype(dtype), LABELS, MIX)
    np.testing.assert_array_equal(found, EXPECTED)


def test_pixels():
    logits = jnp.stack([LOGITS, LOGITS[::-1]])
    labels = jnp.stack([LABELS, LABELS])
    np.testing.assert_array_equal(
        mx.metrics.accuracy(logits, labels), [[1, 0, 0, 1], [0, 1, 1, 0]]
    )


@pytest.mark.parametrize("explicit", [False, True])
def test_on_a_mesh(explicit):
    kinds = jax.sharding.AxisType
    kind = kinds.Explicit if explicit else kinds.Auto
    mesh = jax.make_mesh((4,), ("data",), axis_types=(kind,))
    rows = jax.NamedSharding(mesh, jax.P("data"))
    soft = MIX.targets(mx.losses.one_hot(LABELS, 3))
    logits, labels, soft = jax.device_put((LOGITS, LABELS, soft), rows)
    mix = MIX

    @jax.jit
    def both(logits, labels, soft):
        dense = mx.metrics.accuracy(logits, soft)
        return dense, mx.metrics.two_term_accuracy(logits, labels, mix)

    with jax.set_mesh(mesh):
        for found in both(logits, labels, soft):
            np.testing.assert_array_equal(found, EXPECTED)
