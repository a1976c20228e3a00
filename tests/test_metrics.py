"""Accuracy on mixed targets: the label share of the predicted class."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mixup_jax as mx

# The predictions are the classes 0, 2, 1 and 1.
LOGITS = jnp.array([[3.0, 1, 2], [0, 1, 5], [-1, 0, -2], [0.5, 2, 1]])
LABELS = jnp.array([0, 1, 2, 1])


def mixed_accuracy(logits, labels, mix, **options):
    return mx.metrics.accuracy(logits, labels, mix=mix, **options)


MIX = mx.Mix.from_pairs(jnp.array([0.75, 0.25, 0.5, 1.0]), jnp.array([1, 2, 3, 0]))
# Own: hit, miss, miss, hit. Partner's: 1 missed, 2 hit, 1 hit, 0 missed.
EXPECTED = [0.75, 0.75, 0.5, 1.0]


def test_integer_labels():
    found = mx.metrics.accuracy(LOGITS, LABELS)
    assert found.dtype == jnp.float32
    np.testing.assert_array_equal(found, [1, 0, 0, 1])


def test_both_roads_lead_to_the_same_number():
    soft = MIX.targets(mx.losses.one_hot(LABELS, 3))
    np.testing.assert_array_equal(mx.metrics.accuracy(LOGITS, soft), EXPECTED)
    found = mx.metrics.accuracy(LOGITS, LABELS, mix=MIX)
    assert found.dtype == jnp.float32
    np.testing.assert_array_equal(found, EXPECTED)


def test_both_roads_agree_on_what_a_mixer_drew():
    logits = jax.random.normal(jax.random.key(0), (32, 5))
    labels = jnp.arange(32) % 5
    hot = mx.losses.one_hot(labels, 5)
    (_, soft), mix = mx.mixup(jax.random.key(1), (logits, hot), alpha=0.5)
    dense = mx.metrics.accuracy(logits, soft)
    two = mx.metrics.accuracy(logits, labels, mix=mix)
    np.testing.assert_allclose(two, dense, rtol=1e-6)
    assert np.unique(np.asarray(dense)).size > 3


def test_the_heavier_label_is_the_most_there_is():
    lam = jnp.array([0.75, 0.25])
    mix = mx.Mix.from_pairs(lam, jnp.array([1, 0]))
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
            "mixed": mx.metrics.accuracy(LOGITS, labels, mix=MIX),
            "nll": mx.metrics.nll(LOGITS, labels),
            "brier": mx.metrics.brier(LOGITS, labels),
            "reliability": mx.metrics.reliability(LOGITS, labels),
        }
    assert {leaf.dtype for leaf in jax.tree.leaves(found)} == {jnp.dtype("float32")}
    np.testing.assert_array_equal(found["accuracy"], [1, 0, 0, 1])
    np.testing.assert_array_equal(found["mixed"], EXPECTED)
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
    found = mx.metrics.accuracy(LOGITS.astype(dtype), LABELS, mix=MIX)
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
        return dense, mx.metrics.accuracy(logits, labels, mix=mix)

    with jax.set_mesh(mesh):
        for found in both(logits, labels, soft):
            np.testing.assert_array_equal(found, EXPECTED)


# Calibration, against sums written as loops.


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
    found = jax.jit(partial(mx.metrics.reliability, bins=bins))(logits, labels)
    np.testing.assert_allclose(mx.metrics.ece(found), want, rtol=1e-4)
    assert int(found.count.sum()) == len(labels)


def test_reliability_of_parts_adds_up():
    logits, labels = predictions()
    logits, labels = logits[: len(labels) // 3 * 3], labels[: len(labels) // 3 * 3]
    reliability = jax.jit(mx.metrics.reliability)
    whole = reliability(logits, labels)
    parts = [reliability(logits[k::3], labels[k::3]) for k in range(3)]
    total = jax.tree.map(lambda *each: sum(each), *parts)
    for got, want in zip(jax.tree.leaves(total), jax.tree.leaves(whole)):
        np.testing.assert_allclose(got, want, rtol=1e-5)


def test_calibrated_predictions_have_no_error():
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


# Labels that are not a class or are ignored: against float64, one at a time.

COUNT = 5
DTYPES = ["int4", "int8", "uint8", "int16", "uint16"]
DTYPES += ["int32", "uint32", "int64", "uint64"]
# 64-bit types as well, where they make a difference.
CASES = [(dtype, False) for dtype in DTYPES]
CASES += [("int32", True), ("int64", True), ("uint64", True)]
ALONE = mx.Mix.from_pairs(jnp.ones(8), jnp.arange(8))


def labels_of(dtype, wide=True):
    """Return eight labels: classes, some out of range, and the last one to be ignored.

    Out-of-range 64-bit labels are valid classes if truncated to 32 bits.
    """
    limits = jnp.iinfo(dtype)
    others = [COUNT, COUNT + 1, -1 if limits.min < 0 else COUNT]
    if wide and limits.bits == 64:
        others = [2**32 + 1, limits.max - 1, limits.min or 2**33]
    last = int(limits.max) if wide or limits.bits < 64 else 7
    widest = np.uint64 if limits.min == 0 else np.int64
    return np.array([0, COUNT - 1, 2, 1, *others, last], widest).astype(dtype)


def ignores(labels):
    def ignored(traced):
        assert traced.dtype.itemsize >= 4
        return traced == traced.dtype.type(int(labels[-1]))

    return ignored


def scores(logits, labels, ignored):
    """Return the results of each function for each label."""
    metrics, losses = mx.metrics, mx.losses
    termwise = losses.termwise(metrics.nll, ignored=ignored)
    smooth = partial(losses.one_hot, num_classes=COUNT, smoothing=0.25)
    return {
        "accuracy": metrics.accuracy(logits, labels, ignored=ignored),
        "mixed accuracy": metrics.accuracy(logits, labels, mix=ALONE, ignored=ignored),
        "nll": metrics.nll(logits, labels, ignored=ignored),
        "termwise": termwise(logits, labels, ALONE),
        "brier": metrics.brier(logits, labels, ignored=ignored),
        "one_hot": smooth(labels, ignored=ignored),
    }


def scores_by_hand(logits, labels):
    """Return the same results in float64, with the last label ignored."""
    p = softmax(logits)
    ignored = int(labels[-1])

    def each(of_class, nothing: object = 0.0):
        ids = [int(label) for label in labels]
        known = [0 <= k < COUNT for k in ids]
        value = [of_class(q, k) if ok else np.nan for q, k, ok in zip(p, ids, known)]
        return [nothing if k == ignored else v for k, v in zip(ids, value)]

    def row(q, k):
        return 0.75 * np.eye(COUNT)[k] + 0.25 / COUNT

    hits = each(lambda q, k: float(q.argmax() == k))
    entropy = each(lambda q, k: -np.log(q[k]))
    rows = each(row, np.zeros(COUNT))
    return {
        "accuracy": hits,
        "mixed accuracy": hits,
        "nll": entropy,
        "termwise": entropy,
        "brier": each(lambda q, k: ((q - np.eye(COUNT)[k]) ** 2).sum()),
        "one_hot": [r if np.ndim(r) else np.full(COUNT, r) for r in rows],
    }


def scored(found, by_hand):
    assert found.keys() == by_hand.keys()
    for name, value in found.items():
        assert value.dtype == jnp.float32
        np.testing.assert_allclose(
            value, by_hand[name], rtol=1e-5, atol=1e-6, err_msg=name
        )


@pytest.mark.parametrize(("dtype", "wide"), CASES)
def test_a_traced_label_that_no_class_has_is_worth_nan(dtype, wide):
    # Without 64-bit types, JAX itself truncates arguments of a jitted function.
    labels = labels_of(dtype, wide)
    logits, _ = predictions(8, COUNT)
    by_hand = scores_by_hand(logits, labels)
    assert np.isnan(by_hand["nll"]).sum() == 3
    with jax.enable_x64(wide):
        run = jax.jit(lambda logits, y: scores(logits, y, ignores(labels)))
        scored(run(logits, labels), by_hand)


@pytest.mark.parametrize(("dtype", "wide"), CASES)
def test_a_concrete_label_that_no_class_has_is_refused(dtype, wide):
    labels = labels_of(dtype)
    logits, _ = predictions(8, COUNT)
    with jax.enable_x64(wide):
        for bad in labels[4:]:
            given = np.array([*labels[:4], bad, *labels[:3]])
            for call in (
                lambda y: mx.metrics.accuracy(logits, y),
                lambda y: mx.metrics.nll(logits, y),
                lambda y: mx.metrics.brier(logits, y),
                lambda y: mx.metrics.reliability(logits, y),
                lambda y: mx.losses.one_hot(y, COUNT),
            ):
                said = rf"expected a class id in \[0, 4\].*got {bad}\."
                with pytest.raises(ValueError, match=said):
                    call(given)
            two = rf"expected .*(in \[0, 4\]|that fit u?int32).*got {bad}\."
            with pytest.raises(ValueError, match=two):
                mx.metrics.accuracy(logits, given, mix=ALONE)
        if wide or jnp.iinfo(dtype).bits < 64:
            kept = np.array([*labels[:4], *labels[:3], labels[-1]])
            found = scores(logits, kept, ignores(labels))
            scored(found, scores_by_hand(logits, kept))


def test_as_many_classes_as_a_byte_tells():
    logits, _ = predictions(2, 256)
    labels = np.array([255, 0], np.uint8)
    np.testing.assert_allclose(
        mx.metrics.nll(logits, labels),
        -np.log(softmax(logits)[[0, 1], [255, 0]]),
        rtol=1e-5,
    )
    assert mx.losses.one_hot(labels, 256)[0, 255] == 1
    ignored = mx.metrics.nll(logits, labels, ignored=lambda y: y == 255)
    np.testing.assert_array_equal(ignored == 0, [True, False])


@pytest.mark.parametrize("metric", [mx.metrics.nll, mx.metrics.brier])
def test_an_ignored_label_reaches_no_gradient(metric):
    logits, labels = predictions(4)
    bad = logits.at[1].set(jnp.nan).at[2].set(-jnp.inf)
    given = labels.at[1:3].set(-1)

    def total(logits, labels):
        return jnp.sum(metric(logits, labels, ignored=mx.losses.negative))

    value, gradient = jax.value_and_grad(total)(bad, given)
    kept = jnp.array([0, 3])
    expected = jax.value_and_grad(total)(logits[kept], labels[kept])
    np.testing.assert_allclose(value, expected[0], rtol=1e-6)
    np.testing.assert_allclose(gradient[kept], expected[1], rtol=1e-6)
    np.testing.assert_array_equal(gradient[1:3], np.zeros((2, 4)))


def test_the_ignored_are_not_counted_in_the_bins():
    logits, labels = predictions(60)
    given = labels.at[::3].set(255)
    kept = np.arange(60) % 3 > 0
    found = jax.jit(partial(mx.metrics.reliability, ignored=lambda y: y == 255))(
        logits.at[0].set(jnp.nan), given
    )
    expected = jax.jit(mx.metrics.reliability)(logits[kept], labels[kept])
    for got, want in zip(jax.tree.leaves(found), jax.tree.leaves(expected)):
        np.testing.assert_allclose(got, want, rtol=1e-5)
    assert found.count.sum() == 40


def test_what_is_not_known_makes_its_own_bin_nan():
    logits, labels = predictions(60)
    sure = softmax(logits).max(axis=1)
    place = np.ceil(sure * 15).astype(int) - 1
    clean = jax.jit(mx.metrics.reliability)(logits, labels)

    # A label that is not a class: the confidence is known, the hit is not.
    found = jax.jit(mx.metrics.reliability)(logits, labels.at[7].set(4))
    np.testing.assert_array_equal(found.count, clean.count)
    np.testing.assert_allclose(found.confidence, clean.confidence, rtol=1e-6)
    np.testing.assert_array_equal(np.flatnonzero(np.isnan(found.hits)), place[7])
    others = np.arange(15) != place[7]
    np.testing.assert_array_equal(found.hits[others], clean.hits[others])
    assert np.isnan(mx.metrics.ece(found))

    # Logits that are NaN: a miss in the first bin, with unknown confidence.
    found = mx.metrics.reliability(logits.at[7, 1].set(jnp.nan), labels)
    rest = np.arange(60) != 7
    alone = mx.metrics.reliability(logits[rest], labels[rest])
    first = np.eye(15)[0]
    np.testing.assert_array_equal(found.count, alone.count + first)
    np.testing.assert_array_equal(found.hits, alone.hits)
    np.testing.assert_array_equal(np.isnan(found.confidence), first > 0)
    np.testing.assert_allclose(found.confidence[1:], alone.confidence[1:], rtol=1e-6)
    assert np.isnan(mx.metrics.ece(found))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_logits_that_are_none_predict_no_class(dtype):
    nan, least, most = np.nan, -np.inf, np.inf
    rows = [[nan, 1, 2], [5, nan, 0], [nan] * 3, [least] * 3, [0, most, 1]]
    logits = jnp.array(rows).astype(dtype)
    labels = jnp.array([0, 0, 0, 0, 1])
    expected = [0, 0, 0, 0, 1]
    soft = jnp.full((5, 3), 0.5)
    mix = mx.Mix.from_pairs(jnp.full(5, 0.5), jnp.array([1, 2, 3, 0, 4]))
    for run in (lambda f: f, jax.jit):
        accuracy = run(mx.metrics.accuracy)
        np.testing.assert_array_equal(accuracy(logits, labels), expected)
        halves = [0.5 * hit for hit in expected]
        np.testing.assert_array_equal(accuracy(logits, soft), halves)
        two = run(mixed_accuracy)(logits, labels, mix)
        np.testing.assert_array_equal(two, expected)
    # Votes are counted in integers.
    votes = mx.metrics.accuracy(jnp.array([[0, 3, 1]]), jnp.array([1]))
    np.testing.assert_array_equal(votes, [1])


@pytest.mark.parametrize("traced", [False, True])
def test_there_are_classes(traced):
    logits, labels = jnp.zeros((4, 0)), jnp.zeros(4, jnp.int32)
    alone = mx.Mix.from_pairs(jnp.ones(4), jnp.arange(4))
    for call in (
        mx.metrics.accuracy,
        lambda logits, _: mx.metrics.accuracy(logits, logits),
        mx.metrics.nll,
        mx.metrics.brier,
        mx.metrics.reliability,
        lambda logits, y: mx.metrics.accuracy(logits, y, mix=alone),
    ):
        run = partial(jax.eval_shape, call) if traced else call
        with pytest.raises(ValueError, match=r"at least one class.*got shape \(4, 0\)"):
            run(logits, labels)


def test_no_examples_are_no_error():
    logits, labels = jnp.zeros((0, 3)), np.zeros(0, np.int64)
    for metric in (mx.metrics.accuracy, mx.metrics.nll, mx.metrics.brier):
        assert metric(logits, labels).shape == (0,)
    assert mx.metrics.reliability(logits, labels).count.sum() == 0


@pytest.mark.parametrize("explicit", [False, True])
def test_ignored_labels_on_a_mesh(explicit):
    kinds = jax.sharding.AxisType
    kind = kinds.Explicit if explicit else kinds.Auto
    mesh = jax.make_mesh((4,), ("data",), axis_types=(kind,))
    rows = jax.NamedSharding(mesh, jax.P("data"))
    labels = labels_of("int32")
    logits, _ = predictions(8, COUNT)
    found = jax.jit(partial(mx.metrics.reliability, ignored=ignores(labels)))

    @jax.jit
    def run(logits, y):
        bins = mx.metrics.reliability(logits, y, ignored=ignores(labels))
        return scores(logits, y, ignores(labels)), bins

    with jax.set_mesh(mesh):
        each, bins = run(*jax.device_put((logits, jnp.asarray(labels)), rows))
    scored(each, scores_by_hand(logits, labels))
    for got, want in zip(jax.tree.leaves(bins), jax.tree.leaves(found(logits, labels))):
        np.testing.assert_allclose(got, want, rtol=1e-6)
    assert bins.count.sum() == 7


@pytest.mark.parametrize(
    ("logits", "labels"),
    [((4, 3), (4, 1)), ((4, 3), (4, 4)), ((4, 4, 3), (4,)), ((1, 3), (4,))],
)
def test_mixed_labels_of_other_shapes_are_refused(logits, labels):
    with pytest.raises(ValueError, match=r"accuracy: expected int32 targets of shape"):
        mx.metrics.accuracy(jnp.zeros(logits), jnp.zeros(labels, int), mix=MIX)


@pytest.mark.parametrize("size", [3, 5])
def test_a_mix_for_another_batch_is_refused_before_all_else(size):
    logits, labels = jnp.zeros((size, 3)), jnp.zeros(size, jnp.int32)
    for loss in (
        partial(mixed_accuracy, ignored=mx.losses.negative),
        mx.losses.termwise(mx.metrics.nll, ignored=mx.losses.negative),
        mx.losses.termwise_mean(mx.metrics.nll),
    ):
        with pytest.raises(ValueError, match=rf"expected 4 examples.* got {size}\."):
            loss(logits, labels, MIX)
