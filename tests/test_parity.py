"""Parity: given their lam, box and partner, the results equal other libraries'.

The formulas are those of timm (``timm/data/mixup.py``), torchvision
(``transforms/v2/_augment.py``) and big_vision (``utils.get_mixup``), in NumPy. The
expected numbers were computed by hand, for examples 0, 4, 8, 16 of classes 0, 1, 2, 0.
"""
# pyright: reportArgumentType=false

from functools import partial

import jax
import numpy as np
import pytest

import mixup_jax as mx

KEY = jax.random.key(0)
X = np.array([[0], [4], [8], [16]], np.float32)
LABELS = np.array([0, 1, 2, 0])
FLIPPED = np.array([3, 2, 1, 0])
ROLLED = np.array([3, 0, 1, 2])


def blended(values, lam, partner):
    """Return the blend of values with their partners', as all three libraries do."""
    lam = np.reshape(lam, (-1,) + (1,) * (values.ndim - 1))
    return values * lam + values[partner] * (1 - lam)


def ours(lam, partner):
    return mx.Mix.from_pairs(np.broadcast_to(lam, (4,)), partner)


MIXUP = {
    # timm flips the batch; one lam for all, one for each, or one for each pair
    "timm batch": (0.75, FLIPPED, [4, 5, 7, 12]),
    "timm elem": ([1, 0.5, 0.25, 0.75], FLIPPED, [0, 6, 5, 12]),
    "timm pair": ([0.75, 0.5, 0.5, 0.75], FLIPPED, [4, 6, 6, 12]),
    # torchvision rolls the batch by one
    "torchvision": (0.75, ROLLED, [4, 3, 7, 14]),
    # so does big_vision, with the larger of lam and 1 - lam
    "big_vision": (max(0.25, 1 - 0.25), ROLLED, [4, 3, 7, 14]),
}


@pytest.mark.parametrize("peer", MIXUP)
def test_mixup_of_inputs(peer):
    lam, partner, golden = MIXUP[peer]
    golden = np.array(golden, np.float32)[:, None]
    np.testing.assert_array_equal(blended(X, lam, partner), golden)
    np.testing.assert_array_equal(ours(lam, partner).inputs(X), golden)


@pytest.mark.parametrize(
    ("peer", "options"),
    [
        ("timm batch", {"pairing": mx.pairings.reverse}),
        ("torchvision", {"pairing": mx.pairings.roll}),
        ("big_vision", {"pairing": mx.pairings.roll}),
    ],
)
def test_mixup_as_a_mixer(peer, options):
    lam, _, golden = MIXUP[peer]
    ratio = mx.ratios.folded(mx.ratios.constant(1 - lam))
    mixer = jax.jit(partial(mx.mixup, ratio=ratio, **options))
    (x, _), _ = mixer(KEY, (X, None))
    np.testing.assert_array_equal(x, np.array(golden, np.float32)[:, None])


def test_targets_of_timm_with_label_smoothing():
    # off = 0.3 / 3, on = 1 - 0.3 + off
    golden = [
        [0.8, 0.1, 0.1],
        [0.1, 0.625, 0.275],
        [0.1, 0.275, 0.625],
        [0.8, 0.1, 0.1],
    ]
    smooth = np.where(np.eye(3)[LABELS] > 0, 0.8, 0.1)
    np.testing.assert_allclose(blended(smooth, 0.75, FLIPPED), golden, rtol=1e-12)
    targets = mx.losses.one_hot(LABELS, 3, smoothing=0.3)
    mixed = ours(0.75, FLIPPED).targets(targets)
    np.testing.assert_allclose(mixed, golden, rtol=1e-6)


def test_targets_of_torchvision():
    golden = [
        [1, 0, 0],
        [0.25, 0.75, 0],
        [0, 0.25, 0.75],
        [0.75, 0, 0.25],
    ]
    hot = np.eye(3)[LABELS]
    np.testing.assert_array_equal(blended(hot, 0.75, ROLLED), golden)
    mixed = ours(0.75, ROLLED).targets(mx.losses.one_hot(LABELS, 3))
    np.testing.assert_array_equal(mixed, golden)


def test_any_tree_as_in_big_vision():
    tree = {"image": X, "text": {"embedded": X[::-1].copy()}}
    golden = {
        "image": np.float32([[4], [3], [7], [14]]),
        "text": {"embedded": np.float32([[12], [10], [5], [1]])},
    }
    by_formula = jax.tree.map(lambda x: blended(x, 0.75, ROLLED), tree)
    jax.tree.map(np.testing.assert_array_equal, by_formula, golden)
    mixed = ours(0.75, ROLLED).inputs(tree)
    jax.tree.map(np.testing.assert_array_equal, mixed, golden)


HEIGHT, WIDTH = 4, 6


def timm_box(lam, y, x):
    """Return the corners of a box of sides sqrt(1 - lam), rounded down and clipped.

    In timm 1.0.31, odd sides stay odd; older versions round them down to even ones.
    """
    sides = np.array([int(HEIGHT * np.sqrt(1 - lam)), int(WIDTH * np.sqrt(1 - lam))])
    corners = np.array([y, x]) - sides // 2, np.array([y, x]) + (sides + 1) // 2
    return np.clip(corners, 0, [HEIGHT, WIDTH])


def torchvision_box(lam, y, x):
    """Return the corners from half the sides, rounded down."""
    half = (np.array([HEIGHT, WIDTH]) * 0.5 * np.sqrt(1 - lam)).astype(int)
    corners = np.array([y, x]) - half, np.array([y, x]) + half
    return np.clip(corners, 0, [HEIGHT, WIDTH])


CUTMIX = {
    # lam = 0.75: sides 2 and 3, around row 1 and column 4; 6 of 24 positions
    "timm": (
        timm_box(0.75, 1, 4),
        3 / 4,
        FLIPPED,
        """
        ...###
        ...###
        ......
        ......
        """,
        [[1, 0, 0], [0, 0.75, 0.25], [0, 0.25, 0.75], [1, 0, 0]],
    ),
    # lam = 0: half sides 2 and 3, around row 3 and column 1, clipped; 12 of 24
    "torchvision": (
        torchvision_box(0.0, 3, 1),
        1 / 2,
        ROLLED,
        """
        ......
        ####..
        ####..
        ####..
        """,
        [[1, 0, 0], [0.5, 0.5, 0], [0, 0.5, 0.5], [0.5, 0, 0.5]],
    ),
}


@pytest.mark.parametrize("channels", ["first", "last", "none"])
@pytest.mark.parametrize("peer", CUTMIX)
def test_cutmix(peer, channels):
    (start, stop), lam, partner, picture, golden = CUTMIX[peer]
    inside = np.array([[c == "#" for c in row] for row in picture.split()])
    np.testing.assert_array_equal(np.argwhere(inside).min(axis=0), start)
    np.testing.assert_array_equal(np.argwhere(inside).max(axis=0) + 1, stop)
    np.testing.assert_allclose(1 - inside.mean(), lam)

    spatial = {"first": (2, 3), "last": (1, 2), "none": (1, 2)}[channels]
    position = np.arange(HEIGHT * WIDTH).reshape(1, HEIGHT, WIDTH)
    images = (100 * np.arange(4).reshape(4, 1, 1) + position).astype(np.int32)
    expected = np.where(inside, images[partner], images)
    if channels != "none":
        axis = {"first": 1, "last": 3}[channels]
        images, expected = np.expand_dims(images, axis), np.expand_dims(expected, axis)
    start, stop = (np.broadcast_to(corner, (4, 2)) for corner in (start, stop))
    grid = mx.regions.Grid(spatial, (HEIGHT, WIDTH), images.ndim)
    lams = np.full(4, lam, np.float32)
    mix = mx.Mix.from_pairs(lams, partner, region=mx.regions.Box(start, stop, grid))
    np.testing.assert_array_equal(mix.inputs(images), expected)
    mixed = mix.targets(mx.losses.one_hot(LABELS, 3))
    np.testing.assert_allclose(mixed, golden, rtol=1e-6)
