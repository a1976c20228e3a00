"""Defects that other implementations shipped, each with a test that detects it.

Every test has a check and a formula that is known to be wrong. Ours passes the check,
and the wrong formula, written out here, fails the same check.
"""
# pyright: reportAttributeAccessIssue=false

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import mixup_jax as mx

KEY = jax.random.key(0)
ERRORS = 5  # standard errors within which a mean of draws must be


def numpy_of(tree):
    return jax.tree.map(np.asarray, tree)


def compiled(mixer, inputs, targets=None, **options):
    """Mix in one compiled program, as a train step would."""
    return jax.jit(partial(mixer, **options))(KEY, (inputs, targets))


@cache
def drawn(mixer):
    """Return mixed ``owners``, lam and partners, as NumPy arrays."""
    (mixed, _), mix = compiled(mixer, owners(8, 7, 10), pairing=mx.pairings.roll)
    return numpy_of((mixed, mix.lam, mix.partner))


def has_mean(values, mean):
    """Return whether independent draws have this mean, within statistical error."""
    values = np.asarray(values, np.float64)
    error = np.std(values) / np.sqrt(values.size)
    return abs(np.mean(values) - mean) <= ERRORS * error


def has_beta_variance(lam, alpha):
    return has_mean((np.asarray(lam) - 0.5) ** 2, 1 / (4 * (2 * alpha + 1)))


def owners(size, *sizes):
    """Return inputs whose channels identify the example that each position is from."""
    hot = np.eye(size, dtype=np.float32).reshape(size, *[1] * len(sizes), size)
    return np.broadcast_to(hot, (size, *sizes, size)).copy()


def shares(mixed):
    """Return the fraction of each example's content in each mixed one of ``owners``."""
    mixed = np.asarray(mixed, np.float64)
    return mixed.mean(axis=tuple(range(1, mixed.ndim - 1)))


def says_what_was_mixed(mixed, lam, partner):
    """Return whether ``lam`` and ``partner`` agree with the content of ``owners``."""
    eye = np.eye(len(lam))
    said = lam[:, None] * eye + (1 - lam[:, None]) * eye[partner]
    return np.allclose(shares(mixed), said, atol=1e-6)


def pasted(images, partner, inside):
    return np.where(inside[..., None], images[partner], images)


def inside_boxes(start, stop, sizes):
    """Return where the boxes are; the corners ``[B, 2]`` may be fractional."""
    inside = np.ones((len(start), *sizes), bool)
    for axis, size in enumerate(sizes):
        at = np.arange(size).reshape(-1, *[1] * (1 - axis))
        low, high = (c[:, axis].reshape(-1, 1, 1) for c in (start, stop))
        inside &= (low <= at) & (at < high)
    return inside


def centred_boxes(rng, lam, sizes):
    """Return the corners of boxes with the share ``1 - lam``, before clipping."""
    half = np.sqrt(1 - lam)[:, None] * np.array(sizes) / 2
    centre = rng.uniform(size=half.shape) * np.array(sizes)
    return centre - half, centre + half


def test_1_alpha_shapes_the_ratio():
    """Two Gamma(1, rate=alpha) instead of two Gamma(alpha) give a uniform ratio."""

    def defective(rng, alpha, size):
        own, other = rng.gamma(1, 1 / alpha, (2, size))
        return own / (own + other)

    x, rng = np.zeros((40_000, 1), np.float32), np.random.default_rng(0)
    mixed = jax.jit(lambda alpha: mx.mixup(KEY, (x, None), alpha=alpha)[1].lam)
    for alpha in (0.2, 5.0):
        assert has_beta_variance(mixed(alpha), alpha)
        assert not has_beta_variance(defective(rng, alpha, 40_000), alpha)


def test_2_lam_is_corrected_for_boxes_that_are_clipped():
    """Labels keep the share that was drawn, although the border clipped the box."""

    def defective(rng, images, lam):
        start, stop = np.round(centred_boxes(rng, lam, images.shape[1:3])).astype(int)
        partner = np.arange(len(lam)) ^ 1
        inside = inside_boxes(start, stop, images.shape[1:3])
        return pasted(images, partner, inside), lam, partner

    images, rng = owners(8, 16, 16), np.random.default_rng(0)
    assert says_what_was_mixed(*drawn(mx.cutmix))
    assert not says_what_was_mixed(*defective(rng, images, rng.uniform(size=8)))


def test_3_lam_is_counted_from_whole_pixels():
    """Labels use the area of the real-valued box, images its whole pixels."""

    def defective(rng, images, lam):
        sizes = images.shape[1:3]
        start, stop = np.clip(centred_boxes(rng, lam, sizes), 0, sizes)
        lam = 1 - np.prod(stop - start, axis=1) / np.prod(sizes)
        partner = np.arange(len(lam)) ^ 1
        inside = inside_boxes(start, stop, sizes)
        return pasted(images, partner, inside), lam, partner

    images, rng = owners(8, 7, 10), np.random.default_rng(0)
    assert says_what_was_mixed(*drawn(mx.cutmix))
    assert not says_what_was_mixed(*defective(rng, images, rng.uniform(size=8)))


def test_4_masks_and_boxes_keep_their_shape():
    """One lam per example broadcasts against the channels of a mask, and adds some."""

    def defective_blend(lam, y, partner):
        return lam * y + (1 - lam) * y[partner]

    def defective_paste(images, inside, masks, partner):
        inside = np.broadcast_to(inside[..., None], images.shape)
        return np.where(inside, masks[partner], masks)

    def keeps_shape(function, leaf):
        try:
            return function(leaf).shape == leaf.shape
        except ValueError:
            return False

    def ours(mixer):
        def follow(leaf):
            return mixer(KEY, (images, None))[1].inputs(leaf)

        return partial(jax.eval_shape, follow)

    images = np.ones((4, 8, 8, 3), np.float32)
    masks = np.ones((4, 8, 8, 1), np.float32)
    one_hot, boxes = np.ones((4, 8, 8, 5)), np.ones((4, 6, 4))
    for leaf in (masks, masks[..., 0], one_hot, boxes):
        assert keeps_shape(ours(mx.mixup), leaf.astype(np.float32))
    for leaf in (masks, masks[..., 0], masks.astype(np.int32)):
        assert keeps_shape(ours(mx.cutmix), leaf)

    lam, partner = np.array([0.5, 0.25, 0.125, 1.0]), np.arange(4) ^ 1
    inside = np.ones((4, 8, 8), bool)
    assert not keeps_shape(partial(defective_blend, lam, partner=partner), masks)
    assert not keeps_shape(partial(defective_blend, lam, partner=partner), one_hot)
    assert not keeps_shape(
        partial(defective_paste, images, inside, partner=partner), masks
    )


def test_5_a_compiled_step_draws_anew_each_time():
    """A layer that keeps its key as a constant of the program always mixes the same."""

    class Defective:
        def __init__(self):
            self.key = KEY

        def __call__(self, x):
            self.key, key = jax.random.split(self.key)
            return jax.random.uniform(key, x.shape[:1])

    def differ(draw):
        return not np.array_equal(draw(), draw())

    x = np.ones((8, 2), np.float32)
    keys = iter(jax.random.split(KEY, 2))
    step = jax.jit(lambda key, x: mx.mixup(key, (x, None))[1].lam)
    assert differ(lambda: step(next(keys), x))
    layer = jax.jit(Defective())
    assert not differ(lambda: layer(x))


def test_6_cutmix_draws_lam_from_the_distribution_it_was_given():
    """Alpha itself is drawn from U(0, alpha) before lam is."""

    def defective(rng, alpha, size):
        alpha = np.maximum(rng.uniform(0, alpha, size), 1e-3)
        return rng.beta(alpha, alpha)

    images = np.zeros((20_000, 1, 1, 1), np.uint8)
    region = partial(mx.regions.box, share=mx.regions.as_drawn)
    _, mix = compiled(mx.cutmix, images, alpha=1.0, region=region, spatial=(1, 2))
    assert has_beta_variance(mix.lam, 1.0)
    lam = defective(np.random.default_rng(0), 1.0, 20_000)
    assert not has_beta_variance(lam, 1.0)


def test_7_small_integers_never_wrap_round():
    """In uint8, ``p + lam * (a - p)`` takes 10 - 200 for 66."""

    def defective(a, p, lam):
        return p + lam * (a - p)

    def ours(a, p, lam):
        mix = mx.Mix.from_pairs(jnp.array([lam, 1.0]), jnp.array([1, 0]))
        return mix.inputs(np.stack([a, p]))[0]

    def is_right(formula, dtype):
        try:
            mixed = formula(np.array([10], dtype), np.array([200], dtype), 0.5)
        except TypeError as error:
            return "Cast or scale" in str(error)
        return mixed.item() == 105

    assert is_right(ours, np.uint8)
    assert is_right(ours, np.float32)
    assert is_right(defective, np.float32)
    assert not is_right(defective, np.uint8)


def test_8_the_blobs_of_fmix_have_no_direction():
    """Real and imaginary parts come from two rows of frequencies, not the last axis."""

    def defective(rng, size, height, width, whole=False):
        rows, columns = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)
        frequency = np.maximum(np.hypot(rows, columns), 1 / max(height, width))
        noise = rng.normal(size=(size, *frequency.shape, 2))
        spectrum = noise / frequency[..., None] ** 3
        if whole:  # from the last axis, but the edges lose half their power
            spectrum = spectrum[..., 0] + 1j * spectrum[..., 1]
        else:
            spectrum = spectrum[:, 0] + 1j * spectrum[:, 1]
        field = np.fft.irfftn(spectrum, (height, width), axes=(1, 2))
        return field > np.median(field, axis=(1, 2), keepdims=True)

    def is_isotropic(masks):
        power = np.abs(np.fft.fft2(np.asarray(masks, np.float64))) ** 2
        turned = power - power.swapaxes(1, 2)
        return all(has_mean(turned[:, i, j], 0) for i in range(4) for j in range(i))

    size, sides = 512, (16, 16)
    half = jnp.full(size, 0.5, jnp.float32)
    inputs = np.zeros((size, *sides, 1), np.uint8)
    region, _ = jax.jit(mx.regions.blob)(KEY, half, inputs, None)
    rng = np.random.default_rng(0)
    assert is_isotropic(region.own)
    assert not is_isotropic(defective(rng, size, *sides))
    assert not is_isotropic(defective(rng, size, *sides, whole=True))


def test_9_a_probability_counts_once():
    """Whether to mix is decided for the batch and again for each example: p * p."""

    def defective(rng, p, size):
        return (rng.uniform(size=size) < p) & (rng.uniform(size=size) < p)

    mixer = mx.with_probability(0.5, partial(mx.mixup, ratio=mx.ratios.constant(0.25)))
    _, mix = compiled(mixer, np.zeros((10_000, 1), np.float32))
    assert has_mean(np.asarray(mix.lam) < 1, 0.5)
    assert not has_mean(defective(np.random.default_rng(0), 0.5, 10_000), 0.5)


@pytest.mark.parametrize("mixer", [mx.mixup, mx.cutmix, mx.fmix])
def test_10_lam_is_always_the_weight_of_the_own_content(mixer):
    """One method returns the share of the example's own content, another the rest."""

    def defective(mixed, lam, partner):
        return mixed, 1 - lam, partner

    assert says_what_was_mixed(*drawn(mixer))
    assert not says_what_was_mixed(*defective(*drawn(mixer)))


@pytest.mark.parametrize("mixer", [mx.mixup, mx.cutmix, mx.fmix])
def test_11_lam_region_and_partner_belong_to_the_same_example(mixer):
    """With a draw per example, the values of one are read for another."""
    mixed, lam, partner = drawn(mixer)
    assert len(np.unique(lam)) > 1
    assert says_what_was_mixed(mixed, lam, partner)
    assert not says_what_was_mixed(mixed, np.roll(lam, 1), partner)
    assert not says_what_was_mixed(mixed, lam, np.roll(partner, 1))
    assert not says_what_was_mixed(np.roll(mixed, 1, axis=0), lam, partner)


def test_12_inputs_and_labels_have_the_same_partners():
    """Images and labels are permuted by two different draws."""

    def defective(rng, x, y, lam):
        x_partner, y_partner = (rng.permutation(len(x)) for _ in range(2))
        lam = lam[:, None]
        mixed = lam * x + (1 - lam) * x[x_partner]
        return mixed, lam * y + (1 - lam) * y[y_partner]

    def agree(x, y):
        return np.allclose(x, y, atol=1e-6)

    eye, rng = np.eye(8, dtype=np.float32), np.random.default_rng(0)
    for pairing in (mx.pairings.permutation, mx.pairings.derangement):
        (x, y), _ = compiled(mx.mixup, eye, eye, pairing=pairing)
        assert agree(x, y)
    assert not agree(*defective(rng, eye, eye, np.full(8, 0.5)))


def test_13_class_ids_are_never_averaged():
    """Labels 2 and 8 become class 5."""

    def defective(labels, lam, partner):
        return lam * labels + (1 - lam) * labels[partner]

    def ours(labels, lam, partner):
        return mx.Mix.from_pairs(jnp.asarray(lam), jnp.asarray(partner)).targets(labels)

    def refuses(formula):
        labels, lam, partner = np.array([2, 8]), np.full(2, 0.5), np.array([1, 0])
        try:
            formula(labels, lam, partner)
        except TypeError as error:
            return "one_hot" in str(error)
        return False

    assert refuses(ours)
    assert not refuses(defective)


def test_14_three_of_anything_are_three():
    """A target of length 3 is mistaken for (y_a, y_b, lam)."""
    entropy = optax.losses.softmax_cross_entropy_with_integer_labels

    def defective(logits, target):
        if len(target) == 3:
            own, partner, lam = target
            return lam * entropy(logits, own) + (1 - lam) * entropy(logits, partner)
        return entropy(logits, target)

    @jax.jit
    def ours(logits, labels):
        mix = mx.Mix.from_pairs(jnp.ones(len(labels)), jnp.arange(len(labels)))
        return mx.losses.termwise(entropy)(logits, labels, mix)

    def is_right(loss, size):
        logits = np.arange(4 * size, dtype=np.float32).reshape(size, 4) % 5
        labels = np.arange(size, dtype=np.int32) % 4
        expected = entropy(logits, labels)
        try:
            found = loss(logits, labels)
        except (ValueError, TypeError):
            return False
        return found.shape == expected.shape and np.allclose(found, expected)

    assert is_right(ours, 3)
    assert is_right(defective, 4)
    assert not is_right(defective, 3)

    # A tree of three leaves is also treated as three leaves.
    eye = np.eye(3, dtype=np.float32)
    (x, (a, b, c)), mix = compiled(mx.mixup, eye, [eye, eye, np.ones(3, np.float32)])
    assert says_what_was_mixed(x, *numpy_of((mix.lam, mix.partner)))
    for leaf in (a, b):
        np.testing.assert_array_equal(leaf, x)
    np.testing.assert_allclose(c, np.ones(3), rtol=1e-6)


def test_15_boxes_have_the_proportions_of_the_image():
    """The width of the box is computed from the height of the image."""

    def defective(rng, lam, height, width):
        side = np.sqrt(1 - lam) * height
        centre = rng.uniform(size=(len(lam), 2)) * [height, width]
        corners = centre - side[:, None] / 2, centre + side[:, None] / 2
        return np.round(np.clip(corners, 0, [height, width])).astype(int)

    def fits(start, stop, sides):
        """Return whether the boxes that are inside the image have these sides."""
        largest = np.max(np.asarray(stop) - np.asarray(start), axis=0)
        return np.array_equal(largest, sides)

    images, lam = np.zeros((64, 8, 32, 1), np.uint8), 0.75
    _, mix = compiled(mx.cutmix, images, ratio=mx.ratios.constant(lam))
    assert fits(mix.region.start, mix.region.stop, (4, 16))
    rng = np.random.default_rng(0)
    start, stop = defective(rng, np.full(64, lam), 8, 32)
    assert not fits(start, stop, (4, 16))


def test_16_ids_and_coordinates_are_moved_whole():
    """Token ids, class ids or corners of boxes are multiplied by lam."""

    def defective(tokens, lam, partner):
        mixed = lam[:, None] * tokens + (1 - lam[:, None]) * tokens[partner]
        return mixed.astype(tokens.dtype)

    def are_tokens(mixed, tokens, partner):
        mixed = np.asarray(mixed)
        return np.all((mixed == tokens) | (mixed == tokens[partner]))

    tokens = np.array([[11, 12, 13, 14], [901, 902, 903, 904]], np.int32)
    with pytest.raises(TypeError, match="Cast or scale"):
        compiled(mx.mixup, tokens)
    (mixed, _), mix = compiled(
        mx.cutmix, tokens, spatial=(1,), ratio=mx.ratios.constant(0.5)
    )
    partner = np.asarray(mix.partner)
    assert mixed.dtype == tokens.dtype
    assert np.any(np.asarray(mixed) != tokens)
    assert are_tokens(mixed, tokens, partner)
    np.testing.assert_array_equal(mix.partners(tokens), tokens[partner])
    assert not are_tokens(defective(tokens, np.full(2, 0.5), partner), tokens, partner)
