"""Mixed dense targets and two terms on integer labels give the same loss."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import mixup_jax as mx

entropy = optax.losses.softmax_cross_entropy_with_integer_labels
soft_entropy = optax.losses.softmax_cross_entropy

LOGITS = jnp.array(
    [[2.0, -1.0, 0.5], [0.0, 1.0, 3.0], [1.5, 1.5, -2.0], [-0.5, 0.25, 0.0]]
)
LABELS = jnp.array([0, 2, 1, 1])


def mixed_accuracy(logits, labels, mix):
    return mx.metrics.accuracy(logits, labels, mix=mix)


MIX = mx.Mix.from_pairs(jnp.array([0.75, 0.5, 1.0, 0.0]), jnp.array([1, 0, 3, 2]))


def smoothed(logits, labels, smoothing=0.1):
    """Return label-smoothed cross-entropy of integer labels, without one-hot rows."""
    uniform = -jnp.mean(jax.nn.log_softmax(logits), axis=-1)
    return (1 - smoothing) * entropy(logits, labels) + smoothing * uniform


def poly(logits, labels):
    hot = jax.nn.one_hot(labels, logits.shape[-1], dtype=logits.dtype)
    return optax.losses.poly_loss_cross_entropy(logits, hot)


def sigmoid(logits, labels):
    hot = jax.nn.one_hot(labels, logits.shape[-1], dtype=logits.dtype)
    return jnp.sum(optax.losses.sigmoid_binary_cross_entropy(logits, hot), axis=-1)


def sigmoid_of_targets(logits, targets):
    return jnp.sum(optax.losses.sigmoid_binary_cross_entropy(logits, targets), axis=-1)


LOSSES = {
    "softmax": (entropy, soft_entropy, 0.0),
    "label smoothing": (smoothed, soft_entropy, 0.1),
    "poly": (poly, optax.losses.poly_loss_cross_entropy, 0.0),
    "sigmoid": (sigmoid, sigmoid_of_targets, 0.0),
}


@pytest.mark.parametrize("name", LOSSES)
def test_two_terms_are_the_loss_on_mixed_targets(name):
    loss, soft_loss, smoothing = LOSSES[name]

    def two(logits, lam):
        mix = mx.Mix.from_pairs(lam, MIX.partner)
        return mx.losses.termwise(loss)(logits, LABELS, mix)

    def dense(logits, lam):
        mix = mx.Mix.from_pairs(lam, MIX.partner)
        targets = mx.losses.one_hot(LABELS, 3, smoothing=smoothing)
        return soft_loss(logits, mix.targets(targets))

    for function in (lambda f: f, lambda f: jax.jacobian(f, argnums=(0, 1))):
        found, expected = (jax.jit(function(f))(LOGITS, MIX.lam) for f in (two, dense))
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-6, atol=1e-6),
            found,
            expected,
        )


def test_a_loss_that_is_not_linear_is_another_number():
    # The equality above holds for linear losses; a useful check must reject this one.
    def focal(logits, targets):
        return jnp.sum(optax.losses.sigmoid_focal_loss(logits, targets), axis=-1)

    two = mx.losses.termwise(lambda x, y: focal(x, mx.losses.one_hot(y, 3)))
    dense = focal(LOGITS, MIX.targets(mx.losses.one_hot(LABELS, 3)))
    assert not np.allclose(two(LOGITS, LABELS, MIX), dense, rtol=1e-3)


def test_two_terms_by_hand():
    # log 2 for even odds; log(1 + 3) - log 3 and - log 1 for odds of 3 : 1.
    logits = jnp.log(jnp.array([[1.0, 1.0], [3.0, 1.0]]))
    mix = mx.Mix.from_pairs(jnp.array([0.25, 0.75]), jnp.array([1, 0]))
    found = mx.losses.termwise(entropy)(logits, jnp.array([0, 1]), mix)
    expected = [np.log(2), 0.75 * np.log(4) + 0.25 * np.log(4 / 3)]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_the_partner_is_moved_as_the_mix_moves():
    batch = (jnp.zeros((4, 2)), None)
    for pairing in (mx.pairings.neighbour, mx.pairings.roll, mx.pairings.derangement):
        _, mix = mx.mixup(jax.random.key(0), batch, pairing=pairing)
        lam, partner = np.asarray(mix.lam), np.asarray(mix.partner)
        found = mx.losses.termwise(entropy)(LOGITS, LABELS, mix)
        own, other = entropy(LOGITS, LABELS), entropy(LOGITS, LABELS[partner])
        expected = lam * own + (1 - lam) * other
        np.testing.assert_allclose(found, expected, rtol=1e-6)


def log_likelihood(probabilities, labels):
    return -jnp.log(jnp.take_along_axis(probabilities, labels[:, None], axis=1)[:, 0])


def test_a_term_of_weight_0_reaches_neither_value_nor_gradient():
    # The partner's class 1 is impossible for the first example.
    probabilities = jnp.array([[1.0, 0.0], [0.5, 0.5]])
    labels = jnp.array([0, 1])
    mix = mx.Mix.from_pairs(jnp.array([1.0, 0.0]), jnp.array([1, 0]))

    def total(probabilities, mix):
        return jnp.sum(mx.losses.termwise(log_likelihood)(probabilities, labels, mix))

    value, gradient = jax.value_and_grad(total)(probabilities, mix)
    np.testing.assert_allclose(value, np.log(2), rtol=1e-6)
    np.testing.assert_allclose(gradient, [[-1, 0], [-2, 0]], rtol=1e-6)
    # With a nonzero weight the loss is infinite, as it should be.
    mixed = mx.Mix.from_pairs(jnp.array([0.5, 0.0]), mix.partner)
    assert np.isinf(total(probabilities, mixed))


def mean_by_hand(losses, labels, lam, partner, weights=None, ignored=-1):
    """Return the mean over the terms that count, computed one by one in float64."""
    total = left = 0.0
    for i, j in enumerate(partner):
        for share, k in ((lam[i], i), (1 - lam[i], j)):
            if labels[k] != ignored:
                weight = share * (1 if weights is None else weights[k])
                total += weight * losses[i, labels[k]]
                left += weight
    return total / left if left else 0.0


@pytest.mark.parametrize(
    "labels", [[0, 2, 1, 1], [0, -1, 1, 1], [-1, 2, -1, 1], [-1, -1, 0, -1], [-1] * 4]
)
@pytest.mark.parametrize("weights", [None, [1.0, 0.5, 2.0, 0.0]])
def test_the_mean_divides_by_the_weight_that_is_left(labels, weights):
    lam, partner = np.array([0.75, 0.5, 1.0, 0.125]), np.array([1, 0, 3, 2])
    mix = mx.Mix.from_pairs(jnp.asarray(lam, jnp.float32), jnp.asarray(partner))
    mean = mx.losses.termwise_mean(entropy)
    # Exact losses: -log softmax of each class.
    losses = -np.asarray(jax.nn.log_softmax(LOGITS), np.float64)
    given = None if weights is None else jnp.array(weights)
    found, gradient = jax.value_and_grad(mean)(LOGITS, jnp.array(labels), mix, given)
    expected = mean_by_hand(losses, labels, lam, partner, weights)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-7)
    assert np.all(np.isfinite(gradient))


def test_another_label_can_be_the_ignored_one():
    mean = mx.losses.termwise_mean(entropy, ignored=lambda labels: labels == 255)
    labels = jnp.array([0, 255, 1, 255], jnp.uint8)
    alone = mx.Mix.from_pairs(jnp.ones(4), jnp.arange(4))
    expected = jnp.mean(entropy(LOGITS[::2], labels[::2].astype(jnp.int32)))
    np.testing.assert_allclose(mean(LOGITS, labels, alone), expected, rtol=1e-6)


def test_an_ignored_label_reaches_no_gradient():
    probabilities = jnp.array([[0.0, 1.0], [0.5, 0.5]])
    mix = mx.Mix.from_pairs(jnp.array([0.5, 0.5]), jnp.array([1, 0]))
    mean = partial(mx.losses.termwise_mean(log_likelihood), mix=mix)

    def total(probabilities, labels):
        return mean(probabilities, labels)

    # Class 0, which an ignored label could be mistaken for, is impossible here.
    gradient = jax.grad(total)(probabilities, jnp.array([-1, 1]))
    np.testing.assert_allclose(gradient, [[0, -0.5], [0, -1]], rtol=1e-6)


@pytest.mark.parametrize("explicit", [False, True])
@pytest.mark.parametrize("function", [jax.grad, jax.jacfwd])
def test_of_two_ignored_labels_none_reaches_a_gradient(function, explicit):
    # All classes of the first two examples are impossible, and both are ignored.
    probabilities = jnp.array([[0.0, 0.0], [0.0, 0.0], [0.5, 0.5], [0.25, 0.75]])
    labels, lam = jnp.array([-1, -1, 0, 1]), jnp.array([0.5, 1.0, 1.0, 0.75])
    kinds = jax.sharding.AxisType
    kind = kinds.Explicit if explicit else kinds.Auto
    mesh = jax.make_mesh((2,), ("data",), axis_types=(kind,))

    def total(probabilities, lam, labels):
        mix = mx.Mix.from_pairs(lam, jnp.array([1, 0, 3, 2]))
        mean = mx.losses.termwise_mean(log_likelihood)
        if not explicit:
            return mean(probabilities, labels, mix)
        return mx.losses.termwise_mean(hot_likelihood)(probabilities, labels, mix)

    with jax.set_mesh(mesh):
        rows = jax.NamedSharding(mesh, jax.P("data"))
        given = jax.device_put((probabilities, lam, labels), rows)
        found, of_lam = jax.jit(function(total, argnums=(0, 1)))(*given)
    by_hand = [[0, 0], [0, 0], [-1, 0], [-0.5, -0.5]]
    np.testing.assert_allclose(found, by_hand, rtol=1e-6)
    # log(1/4) - log(3/4) for the last example, half of which counts.
    by_hand = [0, 0, 0, -np.log(3) / 2]
    np.testing.assert_allclose(of_lam, by_hand, rtol=1e-6, atol=1e-7)


def hot_likelihood(probabilities, labels):
    """Return the same values as ``log_likelihood``, without a gather."""
    hot = jax.nn.one_hot(labels, 2, dtype=bool)
    return -jnp.log(jnp.sum(jnp.where(hot, probabilities, 0), axis=1))


def test_an_example_with_no_label_left_reaches_no_gradient():
    # Two labels per example; only a single term of the last ones is left.
    probabilities = jnp.array([[[0.0, 1.0]] * 2] * 2 + [[[0.5, 0.5]] * 2] * 2)
    labels = jnp.array([[-1, -1], [-1, -1], [-1, 1], [-1, -1]])
    mix = mx.Mix.from_pairs(jnp.array([0.5, 0.5, 0.5, 0.5]), jnp.array([1, 0, 3, 2]))

    def each(probabilities, labels):
        picked = jnp.take_along_axis(probabilities, labels[..., None], axis=2)
        return -jnp.log(picked[..., 0])

    gradient = jax.grad(mx.losses.termwise_mean(each))(probabilities, labels, mix)
    expected = np.zeros((4, 2, 2))
    expected[2:, 1, 1] = -1
    np.testing.assert_allclose(gradient, expected, rtol=1e-6)


def test_example_weights_are_mixed_like_targets():
    # 0.75 of an example with weight 2 and 0.25 of one with weight 1, and so on.
    weights, lam = jnp.array([2.0, 1.0]), jnp.array([0.75, 0.5])
    mix = mx.Mix.from_pairs(lam, jnp.array([1, 0]))
    targets = jax.nn.one_hot(LABELS[:2], 3) * weights[:, None]
    dense = jnp.sum(soft_entropy(LOGITS[:2], mix.targets(targets)))
    expected = dense / jnp.sum(mix.targets(weights))
    found = mx.losses.termwise_mean(entropy)(LOGITS[:2], LABELS[:2], mix, weights)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_weights_for_another_batch_are_refused():
    with pytest.raises(ValueError, match=r"weights: expected 4 examples .* got 3"):
        mx.losses.termwise_mean(entropy)(LOGITS, LABELS, MIX, jnp.ones(3))


@pytest.mark.parametrize("wrap", [mx.losses.termwise, mx.losses.termwise_mean])
@pytest.mark.parametrize(
    ("reduced", "got"), [(jnp.mean, "got a scalar"), (lambda x: x[:1], r"shape \(1,\)")]
)
def test_a_loss_that_leaves_less_than_one_value_an_example(wrap, reduced, got):
    two = wrap(lambda logits, labels: reduced(entropy(logits, labels)))
    with pytest.raises(ValueError, match=f"one loss per example.*{got}.*the mean"):
        two(LOGITS, LABELS, MIX)


IGNORED = 200  # not a class, nor one as a negative index


def two_terms_by_hand(losses, labels, lam, partner, ignored):
    """Return the two-term loss without ignored terms, one by one in float64."""
    found = np.zeros(len(lam))
    for i, j in enumerate(partner):
        for share, k in ((lam[i], i), (1 - lam[i], j)):
            if share and labels[k] != ignored:
                found[i] += share * losses[i, labels[k]]
    return found


@pytest.mark.parametrize(
    ("dtype", "wide"),
    [
        ("uint8", False),
        ("int16", False),
        ("int32", False),
        ("uint32", False),
        ("int64", False),
        ("int32", True),
        ("int64", True),
        ("uint64", True),
    ],
)
@pytest.mark.parametrize("run", [lambda f: f, jax.jit], ids=["eager", "jit"])
def test_the_terms_of_ignored_labels_are_dropped(run, dtype, wide):
    lam, partner = np.array([0.75, 0.5, 1.0, 0.125]), np.array([1, 0, 3, 2])
    mix = mx.Mix.from_pairs(
        jnp.asarray(lam, jnp.float32), jnp.asarray(partner, jnp.int32)
    )
    losses = -np.asarray(jax.nn.log_softmax(LOGITS), np.float64)
    uniform = np.exp(-losses)

    def total(logits, y):
        two = mx.losses.termwise(entropy, ignored=lambda y: y == IGNORED)
        each = two(logits, y, mix)
        return jnp.sum(each), each

    both = run(jax.value_and_grad(total, has_aux=True))
    for ids in ([0, 2, 1, 1], [0, IGNORED, 1, IGNORED], [IGNORED, 2, 0, IGNORED]):
        with jax.enable_x64(wide):
            (_, each), gradient = both(LOGITS, np.array(ids, dtype))
        assert each.dtype == jnp.float32
        expected = two_terms_by_hand(losses, ids, lam, partner, IGNORED)
        np.testing.assert_allclose(each, expected, rtol=1e-6, atol=1e-7)
        # The gradient of each term is the probabilities minus the target.
        slopes = np.zeros((4, 3))
        for i, j in enumerate(partner):
            for share, k in ((lam[i], i), (1 - lam[i], j)):
                if ids[k] != IGNORED:
                    slopes[i] += share * (uniform[i] - np.eye(3)[ids[k]])
        np.testing.assert_allclose(gradient, slopes, rtol=1e-5, atol=1e-6)


def test_a_loss_never_sees_what_is_ignored():
    seen = []

    def loss(logits, labels):
        seen.append(np.asarray(labels))
        return jnp.where(labels == 1, jnp.inf, entropy(logits, labels))

    labels = jnp.array([IGNORED, 2, IGNORED, IGNORED])
    mix = mx.Mix.from_pairs(jnp.array([0.75, 0.5, 1.0, 0.5]), jnp.array([1, 0, 3, 2]))
    each = mx.losses.termwise(loss, ignored=lambda y: y == IGNORED)(LOGITS, labels, mix)
    mean = mx.losses.termwise_mean(loss, ignored=lambda y: y == IGNORED)
    assert np.isfinite(mean(LOGITS, labels, mix))
    assert len(seen) == 4
    assert set(np.concatenate(seen)) <= {0, 2}
    np.testing.assert_array_equal(each[2:], np.zeros(2))


@pytest.mark.parametrize("run", [lambda f: f, jax.jit], ids=["eager", "jit"])
def test_a_label_of_weight_0_may_be_no_class(run):
    # Wherever the invalid labels 7 and -3 occur, their share or weight is 0.
    labels = jnp.array([1, 7, 0, -3])
    mix = mx.Mix.from_pairs(jnp.array([1.0, 0.0, 1.0, 1.0]), jnp.array([1, 0, 3, 2]))
    weights = jnp.array([1.0, 1.0, 1.0, 0.0])
    found = run(mx.losses.termwise_mean(mx.metrics.nll, ignored=None))(
        LOGITS, labels, mix, weights
    )
    p = np.exp(np.asarray(LOGITS, np.float64))
    p /= p.sum(axis=1, keepdims=True)
    expected = -np.log([p[0, 1], p[1, 1], p[2, 0]]).mean()
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    hits = run(mixed_accuracy)(LOGITS[:3], labels[:3], first(mix, 3))
    np.testing.assert_array_equal(hits, [0, 0, 1])


def first(mix, size):
    return mx.Mix.from_pairs(mix.lam[:size], jnp.minimum(mix.partner[:size], size - 1))


def test_what_optax_takes_labels_for_that_no_class_has():
    # As documented in ``termwise``.
    labels = jnp.array([-1, -2, 3, -4])
    found = mx.losses.termwise(entropy)(
        LOGITS, labels, mx.Mix.from_pairs(jnp.ones(4), MIX.partner)
    )
    last = entropy(LOGITS[:2], jnp.array([2, 1]))
    np.testing.assert_allclose(found, [*last, np.nan, np.nan], rtol=1e-6)


@pytest.mark.parametrize("wide", [False, True])
def test_ids_that_agree_modulo_2_to_the_32_are_other_classes(wide):
    ids = np.array([2**32 + 1, 1, 2**33])
    with jax.enable_x64(wide):
        with pytest.raises(ValueError, match=r"in \[0, 3\]; got 4294967297\."):
            mx.losses.one_hot(ids, 4)
        if not wide:
            for call in (
                lambda: mx.losses.one_hot(ids, 4, ignored=mx.losses.negative),
                lambda: mx.losses.termwise(entropy)(LOGITS[:3], ids, first(MIX, 3)),
                lambda: mx.losses.termwise_mean(entropy)(
                    LOGITS[:3], ids.tolist(), first(MIX, 3)
                ),
            ):
                with pytest.raises(ValueError, match=r"fit int32; got 4294967297\."):
                    call()
            return
        rows = jax.jit(lambda y: mx.losses.one_hot(y, 4))(ids)
        np.testing.assert_array_equal(rows[1], [0, 1, 0, 0])
        assert np.all(np.isnan(rows[np.array([0, 2])]))

        def given(logits, labels):
            # The labels that it receives are exact.
            return (labels == 2**32 + 1).astype(jnp.float32)

        alone = mx.Mix.from_pairs(jnp.full(3, 0.5), jnp.array([1, 0, 2], jnp.int32))
        for run in (lambda f: f, jax.jit):
            found = run(mx.losses.termwise(given))(LOGITS[:3], ids, alone)
            np.testing.assert_array_equal(found, [0.5, 0.5, 0])


def test_an_ignored_row_drops_the_term_of_a_linear_loss():
    labels = jnp.array([0, 255, 1, 255])
    rows = mx.losses.one_hot(labels, 3, smoothing=0.1, ignored=lambda y: y == 255)
    two = mx.losses.termwise(smoothed, ignored=lambda y: y == 255)
    dense = soft_entropy(LOGITS, MIX.targets(rows))
    np.testing.assert_allclose(two(LOGITS, labels, MIX), dense, rtol=1e-5, atol=1e-7)
    assert np.all(rows[1] == 0)


@pytest.mark.parametrize("wrap", [mx.losses.termwise, mx.losses.termwise_mean])
def test_labels_that_are_added_up_cannot_be_ignored(wrap):
    # As many labels as examples, so that broadcasting would not fail.
    def of_sequence(logits, labels):
        return jnp.sum(entropy(logits, labels), axis=1)

    logits, labels = LOGITS.reshape(2, 2, 3), LABELS.reshape(2, 2)
    mix = mx.Mix.from_pairs(jnp.array([0.75, 0.5]), jnp.array([1, 0]))
    with pytest.raises(
        ValueError, match=r"one loss per label.*\[2, 2, ...\]; got shape \(2,\).*the su"
    ):
        wrap(of_sequence, ignored=mx.losses.negative)(logits, labels, mix)


@pytest.mark.parametrize(
    ("ignored", "kind", "said"),
    [
        (255, TypeError, "ignored: expected a function; got 255"),
        (lambda y: jnp.minimum(y, 1), TypeError, "from labels to bools; got .*int32"),
        (lambda y: True, TypeError, "from labels to bools; got .*True"),
        (lambda y: y[:1] > 0, ValueError, r"ignored: expected shape \(4,\); got .*1"),
    ],
)
def test_ignored_tells_of_each_label(ignored, kind, said):
    for call in (
        lambda: mx.losses.one_hot(LABELS, 3, ignored=ignored),
        lambda: mx.losses.termwise(entropy, ignored=ignored)(LOGITS, LABELS, MIX),
        lambda: mx.losses.termwise_mean(entropy, ignored=ignored)(LOGITS, LABELS, MIX),
        lambda: mx.metrics.nll(LOGITS, LABELS, ignored=ignored),
        lambda: mx.metrics.accuracy(LOGITS, LABELS, ignored=ignored),
    ):
        with pytest.raises(kind, match=said):
            call()


def test_segmentation_labels():
    # A label for each pixel, one of them ignored, and logits for each pixel.
    logits = jnp.stack([jnp.tile(LOGITS[:2, None], (1, 2, 1))] * 3, axis=1)
    assert logits.shape == (2, 3, 2, 3)
    labels = np.array([[[0, 1], [2, 0], [1, -1]], [[2, 2], [1, 0], [0, 1]]])
    lam, partner = np.array([0.75, 0.5]), np.array([1, 0])
    mix = mx.Mix.from_pairs(jnp.asarray(lam, jnp.float32), jnp.asarray(partner))
    kept = np.where(labels < 0, 0, labels)
    found = mx.losses.termwise(entropy)(logits, jnp.asarray(kept), mix)
    targets = mx.losses.one_hot(kept, 3)
    expected = soft_entropy(logits, mix.targets(targets))
    assert found.shape == (2, 3, 2)
    np.testing.assert_allclose(found, expected, rtol=1e-6)

    losses = -np.asarray(jax.nn.log_softmax(logits), np.float64)
    total = left = 0.0
    for pixel in np.ndindex(3, 2):
        at = (slice(None), *pixel)
        size = np.sum(np.where(labels[at] < 0, 0, lam))
        size += np.sum(np.where(labels[at][partner] < 0, 0, 1 - lam))
        total += size * mean_by_hand(losses[at], labels[at], lam, partner)
        left += size
    mean = mx.losses.termwise_mean(entropy)(logits, jnp.asarray(labels), mix)
    np.testing.assert_allclose(mean, total / left, rtol=1e-6)


def test_a_loss_that_adds_up_the_labels_of_an_example():
    def of_sequence(logits, labels):
        return jnp.sum(entropy(logits, labels), axis=1)

    logits, labels = LOGITS.reshape(2, 2, 3), LABELS.reshape(2, 2)
    mix = mx.Mix.from_pairs(jnp.array([0.75, 0.5]), jnp.array([1, 0]))
    found = mx.losses.termwise(of_sequence)(logits, labels, mix)
    expected = jnp.sum(mx.losses.termwise(entropy)(logits, labels, mix), axis=1)
    assert found.shape == (2,)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def shapes(program):
    """Yield the shape of each value that a program computes, also within calls."""
    for equation in program.eqns:
        inner = [v for v in equation.params.values() if hasattr(v, "jaxpr")]
        for closed in inner:
            yield from shapes(closed.jaxpr)
        if not inner:
            yield from (out.aval.shape for out in equation.outvars)


def dense_arrays(function, *args):
    size = (4, 1000)
    found = list(shapes(jax.make_jaxpr(function)(*args).jaxpr))
    return sum(shape[-2:] == size for shape in found)


@pytest.mark.parametrize("wrap", [mx.losses.termwise, mx.losses.termwise_mean])
def test_no_dense_targets_are_made(wrap):
    logits = jnp.zeros((4, 1000))

    def two_losses(logits, labels):
        return entropy(logits, labels), entropy(logits, labels[::-1])

    def dense(logits, labels):
        return soft_entropy(logits, MIX.targets(mx.losses.one_hot(labels, 1000)))

    two_terms = dense_arrays(lambda x, y: wrap(entropy)(x, y, MIX), logits, LABELS)
    assert two_terms == dense_arrays(two_losses, logits, LABELS)
    # The count does notice dense targets.
    one = dense_arrays(soft_entropy, logits, logits)
    assert dense_arrays(dense, logits, LABELS) > one


@pytest.mark.parametrize("devices", [2, 8])
def test_integer_labels_on_an_explicit_mesh(devices):
    kind = jax.sharding.AxisType.Explicit
    mesh = jax.make_mesh((devices,), ("data",), axis_types=(kind,))
    rows = jax.NamedSharding(mesh, jax.P("data"))
    logits = jnp.tile(LOGITS, (4, 1))
    labels = jnp.tile(LABELS, 4)
    _, mix = mx.mixup(jax.random.key(0), (logits, None), pairing=mx.pairings.roll)
    mean = mx.losses.termwise_mean(entropy)
    expected = mean(logits, labels, mix)

    @jax.jit
    def step(logits, labels):
        batch = (logits, None)
        _, mix = mx.mixup(jax.random.key(0), batch, pairing=mx.pairings.roll)
        each = mx.losses.termwise(entropy)(logits, labels, mix)
        return mean(logits, labels, mix), jnp.mean(each)

    with jax.set_mesh(mesh):
        found = step(jax.device_put(logits, rows), jax.device_put(labels, rows))
    np.testing.assert_allclose(found, [expected, expected], rtol=1e-5)


def test_bfloat16():
    logits = LOGITS.astype(jnp.bfloat16)
    each = mx.losses.termwise(entropy)(logits, LABELS, MIX)
    assert each.dtype == jnp.float32
    exact = mx.losses.termwise(entropy)(logits.astype(jnp.float32), LABELS, MIX)
    np.testing.assert_allclose(each, exact, rtol=0.02)
    mean = mx.losses.termwise_mean(entropy)(logits, LABELS, MIX)
    assert mean.dtype == jnp.float32
    np.testing.assert_allclose(mean, np.mean(exact), rtol=0.01)


def test_one_hot_by_hand():
    found = mx.losses.one_hot(jnp.array([[0, 3]]), 4, smoothing=0.2)
    expected = [[[0.85, 0.05, 0.05, 0.05], [0.05, 0.05, 0.05, 0.85]]]
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert mx.losses.one_hot(LABELS, 3, dtype=jnp.bfloat16).dtype == jnp.bfloat16


@pytest.mark.parametrize(
    ("dtype", "classes", "label"),
    [(jnp.uint8, 1000, 3), (jnp.int8, 600, 88), (jnp.int8, 600, 127)],
)
def test_ids_of_few_bits_stand_for_one_class_each(dtype, classes, label):
    hot = mx.losses.one_hot(jnp.array([label], dtype), classes)
    np.testing.assert_array_equal(np.flatnonzero(hot), [label])
    found = mx.losses.termwise(lambda _, ids: mx.losses.one_hot(ids, classes))(
        hot,
        jnp.array([label], dtype),
        mx.Mix.from_pairs(jnp.ones(1), jnp.zeros(1, jnp.int32)),
    )
    np.testing.assert_array_equal(found, hot)


@pytest.mark.parametrize("dtype", [jnp.int32, jnp.bool_, "uint8"])
def test_only_floating_targets_can_be_smooth(dtype):
    with pytest.raises(
        TypeError, match=r"dtype: expected a floating-point .* got (int|bool|ui)"
    ):
        mx.losses.one_hot(LABELS, 3, smoothing=0.3, dtype=dtype)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_smoothing_makes_no_class_positive(dtype):
    with jax.enable_x64(True):
        for smoothing in (0.0, 0.01, 0.1, 1 / 3, 0.5):
            for classes in (2, 3, 7, 10, 100, 1000):
                y = mx.losses.one_hot(
                    jnp.array([0, 1]), classes, smoothing=smoothing, dtype=dtype
                )
                expected = np.eye(2, classes)
                # Mixing with other weights changes the smoothing by rounding.
                alone = mx.Mix.from_pairs(
                    jnp.array([0.3, 0.7]), jnp.array([0, 1])
                ).targets(y)
                for targets in (y, alone):
                    found = mx.losses.binary_targets(targets, smoothing=smoothing)
                    assert found.dtype == dtype
                    np.testing.assert_array_equal(found.astype(float), expected)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.5])
def test_binary_targets_survive_smoothing(dtype, smoothing):
    targets = mx.losses.one_hot(LABELS, 3, smoothing=smoothing, dtype=dtype)
    mixed = MIX.targets(targets)
    expected = [[1, 0, 1], [1, 0, 1], [0, 1, 0], [0, 1, 0]]
    binary = mx.losses.binary_targets(mixed, smoothing=smoothing)
    assert binary.dtype == dtype
    np.testing.assert_array_equal(binary.astype(jnp.float32), expected)
    if smoothing:  # a plain ``> 0`` would make every class positive
        assert np.all(mixed > 0)
    # Class 0 has 3/4 of the first example, and half of the second.
    most = mx.losses.binary_targets(mixed, threshold=0.6, smoothing=smoothing)
    expected = [[1, 0, 0], [0, 0, 0], [0, 1, 0], [0, 1, 0]]
    np.testing.assert_array_equal(most.astype(jnp.float32), expected)


def test_binary_targets_with_traced_arguments():
    mixed = MIX.targets(mx.losses.one_hot(LABELS, 3, smoothing=0.1))
    jitted = jax.jit(
        lambda y, t, s: mx.losses.binary_targets(y, threshold=t, smoothing=s)
    )
    expected = mx.losses.binary_targets(mixed, threshold=0.6, smoothing=0.1)
    np.testing.assert_array_equal(jitted(mixed, 0.6, 0.1), expected)


def test_what_is_real_comes_first_and_has_the_label_one():
    real, fake = {"x": jnp.ones((3, 2))}, {"x": jnp.zeros((3, 2))}
    inputs, targets = mx.losses.real_and_fake(real, fake)
    np.testing.assert_array_equal(inputs["x"], [[1, 1]] * 3 + [[0, 0]] * 3)
    np.testing.assert_array_equal(targets, inputs["x"][:, 0])
    assert targets.dtype == jnp.float32
    # For any mix, the label is the share of real content.
    (x, y), _ = mx.mixup(
        jax.random.key(0), (inputs, targets), pairing=mx.pairings.permutation
    )
    np.testing.assert_allclose(x["x"][:, 0], y, rtol=1e-6)


def test_as_many_are_made_as_are_real():
    with pytest.raises(ValueError, match="fake examples with the structure and shapes"):
        mx.losses.real_and_fake(jnp.ones((3, 2)), jnp.ones((4, 2)))
