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


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("dtype", ["uint8", "int8", "int32", "int64"])
def test_labels_of_any_width_give_float32(dtype, wide):
    labels = np.asarray(LABELS).astype(dtype)
    with jax.enable_x64(wide):
        found = {
            "accuracy": mx.metrics.accuracy(LOGITS, labels),
            "two_term": mx.metrics.two_term_accuracy(LOGITS, labels, MIX),
            "nll": mx.metrics.nll(LOGITS, labels),
            "brier": mx.metrics.brier(LOGITS, labels),
            "reliability": mx.metrics.reliability(LOGITS, labels),
        }
    assert {leaf.dtype for leaf in jax.tree.leaves(found)} == {jnp.dtype("float32")}
    np.testing.assert_array_equal(found["accuracy"], [1, 0, 0, 1])
    np.testing.assert_array_equal(found["two_term"], EXPECTED)
    np.testing.assert_allclose(found["brier"], mx.metrics.brier(LOGITS, LABELS))


def test_targets_that_are_no_ids():
    with pytest.raises(TypeError, match=r"accuracy: targets: .* got .*bool\[4\]"):
        mx.metrics.accuracy(LOGITS, LABELS > 0)


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


# Calibration: against sums written as loops.


def predictions(size=500, classes=4, seed=0):
    rng = np.random.default_rng(seed)
    logits = jnp.asarray(3 * rng.normal(size=(size, classes)), jnp.float32)
    return logits, jnp.asarray(rng.integers(0, classes, size), jnp.int32)


def softmax(logits):
    e = np.exp(np.asarray(logits, np.float64))
    return e / e.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("bins", [1, 2, 15])
def test_ece_is_the_sum_over_bins(bins):
    logits, labels = predictions()
    p = softmax(logits)
    sure, hit = p.max(axis=1), p.argmax(axis=1) == np.asarray(labels)
    want = 0.0
    for m in range(bins):
        inside = (sure > m / bins) & (sure <= (m + 1) / bins)
        if inside.any():
            want += inside.mean() * abs(hit[inside].mean() - sure[inside].mean())
    found = mx.metrics.reliability(logits, labels, bins=bins)
    np.testing.assert_allclose(mx.metrics.ece(found), want, rtol=1e-4)
    assert int(found.count.sum()) == len(labels)


def test_reliability_of_parts_adds_up():
    logits, labels = predictions()
    whole = mx.metrics.reliability(logits, labels)
    parts = [mx.metrics.reliability(logits[k::3], labels[k::3]) for k in range(3)]
    total = jax.tree.map(lambda *each: sum(each), *parts)
    for got, want in zip(jax.tree.leaves(total), jax.tree.leaves(whole)):
        np.testing.assert_allclose(got, want, rtol=1e-5)


def test_who_is_as_sure_as_right_has_no_error():
    logits = jnp.log(jnp.tile(jnp.array([[0.75, 0.25]]), (4, 1)))
    found = mx.metrics.reliability(logits, jnp.array([0, 0, 0, 1]))
    np.testing.assert_allclose(mx.metrics.ece(found), 0, atol=1e-6)


def test_the_surest_prediction_has_a_bin():
    logits = jnp.array([[100.0, 0.0]])
    assert float(mx.metrics.reliability(logits, jnp.array([0])).count[-1]) == 1


def test_nll_and_brier_are_what_they_say():
    logits, labels = predictions()
    p, rows = softmax(logits), np.arange(len(labels))
    hot = np.eye(4)[np.asarray(labels)]
    np.testing.assert_allclose(
        mx.metrics.nll(logits, labels), -np.log(p[rows, labels]), rtol=1e-4, atol=1e-5
    )
    np.testing.assert_allclose(
        mx.metrics.brier(logits, labels), ((p - hot) ** 2).sum(axis=1), atol=1e-5
    )


def test_a_class_ruled_out_costs_infinitely_much_and_nothing_elsewhere():
    logits = jnp.array([[0.0, -jnp.inf]] * 2)
    np.testing.assert_array_equal(
        mx.metrics.nll(logits, jnp.array([0, 1])), [0, np.inf]
    )


@pytest.mark.parametrize(
    "metric", [mx.metrics.nll, mx.metrics.brier, mx.metrics.reliability]
)
def test_calibration_is_measured_on_labels(metric):
    with pytest.raises(TypeError, match="labels: expected integer class ids; got"):
        metric(LOGITS, jnp.eye(4, 3))
    with pytest.raises(ValueError, match=r"logits \[B, K\] and labels \[B\]"):
        metric(LOGITS, LABELS[:3])


def test_there_are_bins():
    with pytest.raises(ValueError, match="at least 1 bin; got 0"):
        mx.metrics.reliability(LOGITS, LABELS, bins=0)
