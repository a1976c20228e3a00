"""The pages for newcomers: each row of their tables does what the other library does.

Rows that say "none" have no equivalent; those are listed too, with what comes nearest.

The blocks of a page are run as they are, and then the call in each row of its tables.
What it makes of a batch is compared with the other library's formula, in NumPy. Images
have a channel for each example, so what was mixed can be read off the result: how much
of each example is seen at each position.
"""

import functools
import operator
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import pytest

import mixup_jax as mx

PAGES = Path(__file__).parents[1] / "docs" / "coming"
DRAWS, SIZE, SIDES, CLASSES = 2000, 4, (8, 6), 3
MANY = 20_000  # draws of a formula
LABELS = np.array([0, 1, 2, 0])
PARTNERS = {
    "reverse": np.array([3, 2, 1, 0]),
    "roll": np.array([3, 0, 1, 2]),
    "neighbor": np.array([1, 0, 3, 2]),
}
Draw = np.random.Generator
Lams = Callable[[Draw, int], np.ndarray]


@functools.cache
def page(name: str) -> dict[str, Any]:
    """Return the names that a page defines."""
    names: dict[str, Any] = {}
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        for block in re.findall(r"^```python\n(.*?)^```", text_of(name), re.S | re.M):
            exec(block, names)
    return names


def text_of(name: str) -> str:
    return (PAGES / f"{name}.md").read_text()


def cells_of(name: str) -> list[list[str]]:
    """Return the three cells of each row that translates an option on a page."""
    rows = re.findall(r"^\| (.*) \|$", text_of(name), re.M)
    cells = [row.split(" | ") for row in rows]
    return [row for row in cells if row[1:2] != ["here"] and {*row} != {"---"}]


def rows_of(name: str) -> dict[str, str]:
    """Return the calls in the tables of a page, by what they stand for."""
    return {
        theirs.replace("`", ""): ours.strip("`")
        for theirs, ours, _ in cells_of(name)
        if ours != "none"
    }


def without_equivalent(name: str) -> dict[str, str]:
    """Return the remarks on options that have no equivalent."""
    return {
        theirs.replace("`", ""): remark
        for theirs, ours, remark in cells_of(name)
        if ours == "none"
    }


class Seen(NamedTuple):
    """What a mixer did, by call and example.

    Attributes:
      lam: ``[N, B]``, the weight of the own label.
      partner: ``[N, B]``.
      w: ``[N, B, H, W]``, how much of the own content is seen.
      theirs: ``[N, B, H, W]``, how much of the partner's content is seen.
    """

    lam: np.ndarray
    partner: np.ndarray
    w: np.ndarray
    theirs: np.ndarray


def seen(mixer: Any, draws: int = DRAWS) -> Seen:
    """Return what a mixer made of a batch, whose targets it must have mixed by lam."""
    own = np.eye(SIZE, dtype=np.float32)[:, None, None]
    images = np.broadcast_to(own, (SIZE, *SIDES, SIZE))
    targets = smoothed(LABELS, CLASSES, 0.1).astype(np.float32)
    keys = jax.random.split(jax.random.key(0), draws)
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        run = jax.jit(jax.vmap(mixer, in_axes=(0, None)))
        (x, y), mix = run(keys, (images, targets))
    x, lam, partner = np.asarray(x), np.asarray(mix.lam), np.asarray(mix.partner)
    weight = lam[..., None]
    mixed = weight * targets + (1 - weight) * targets[partner]
    np.testing.assert_allclose(y, mixed, atol=1e-6)
    each = np.broadcast_to(np.arange(SIZE), lam.shape)
    w, theirs = (
        np.take_along_axis(x, index[:, :, None, None, None], axis=4)[..., 0]
        for index in (each, partner)
    )
    return Seen(
        lam, partner, w, np.where(np.equal(partner, each)[..., None, None], 0, theirs)
    )


def smoothed(labels, classes, smoothing):
    """timm's ``mixup_target`` without a mix, and PyTorch's ``label_smoothing``."""
    off = smoothing / classes
    return np.where(np.eye(classes)[labels] > 0, 1 - smoothing + off, off)


def follows(
    lams: Lams | None,
    partner: str,
    *,
    per: str = "example",
    pastes: bool | None = None,
    recounts: bool = True,
    boxes: bool = True,
    apart: bool = True,
    draws: int = DRAWS,
) -> Callable[[Any], Seen]:
    """Return a check that a mixer does what a formula does, and returns what it did.

    Args:
      lams: draws the weight of the own label; not compared if ``None``.
      partner: name of the pairing.
      per: what shares a draw: ``example``, ``pair`` or ``batch``.
      pastes: whether a box is pasted; ``None`` if one draw pastes and another blends.
      recounts: whether the weight is counted from the box.
      boxes: whether what is pasted is a box.
      apart: whether two examples seldom look alike unless they share a draw.
      draws: how often the mixer is called.
    """

    def check(mixer: Any) -> Seen:
        found = seen(mixer, draws)
        itself = found.partner == np.arange(SIZE)
        if partner in PARTNERS:
            np.testing.assert_array_equal(
                found.partner, PARTNERS[partner] + 0 * found.partner
            )
        elif partner == "permutation":
            assert (np.sort(found.partner) == np.arange(SIZE)).all()
            assert abs(itself.mean() - 1 / SIZE) < 0.03
        else:
            assert not itself.any()
        np.testing.assert_allclose(found.w + found.theirs, 1, atol=1e-6)
        box = np.ptp(found.w, axis=(2, 3)) > 0
        if pastes is not None:
            assert box.any() == pastes
        if recounts:  # that is, the label has the share of the pixels
            np.testing.assert_allclose(found.w.mean(axis=(2, 3)), found.lam, atol=1e-5)
        if boxes and pastes is not False:
            are_boxes(found.theirs[box])
        if apart or per != "example":
            shares(found, per)
        draw = np.random.default_rng(0)
        if lams is not None:
            same_distribution(drawn_by(found.lam, found, per), lams(draw, MANY))
        if isinstance(lams, Either) and pastes is None:
            blended, pasted = (
                drawn_by(np.where(some, found.lam, np.nan), found, per)
                for some in (~box, box)
            )
            same_distribution(blended, lams.first(draw, MANY))
            seen_boxes = lams.second(draw, MANY)
            part = (seen_boxes > 0) & (seen_boxes < 1)
            same_distribution(pasted, seen_boxes[part])
        return found

    return check


def are_boxes(theirs: np.ndarray) -> None:
    """Assert that the partner is seen in one box, and nowhere else."""
    inside = theirs == 1
    np.testing.assert_array_equal(theirs, inside)
    rows, columns = inside.any(axis=2), inside.any(axis=1)
    np.testing.assert_array_equal(inside, rows[:, :, None] & columns[:, None])
    for side in (rows, columns):
        assert (np.abs(np.diff(side, axis=1)).sum(axis=1) <= 2).all()  # one run


def shares(found: Seen, per: str) -> None:
    """Assert which examples share a draw."""
    others = found.partner != np.arange(SIZE)

    def same(first: int, second: int) -> np.ndarray:
        both = others[:, first] & others[:, second]
        return (found.w[:, first] == found.w[:, second]).all(axis=(1, 2))[both]

    if per == "batch":
        assert all(same(0, k).all() for k in range(1, SIZE))
    elif per == "pair":
        assert same(0, 3).all()
        assert same(1, 2).all()
        assert same(0, 1).mean() < 0.5
    else:
        assert same(0, 3).mean() < 0.5


def drawn_by(lam: np.ndarray, found: Seen, per: str) -> np.ndarray:
    """Return each draw once, of examples with a partner; NaN is left out."""
    lam = np.where(found.partner == np.arange(SIZE), np.nan, lam)
    if per == "batch":
        lam = np.nanmin(lam[~np.isnan(lam).all(axis=1)], axis=1)
    elif per == "pair":
        lam = lam[:, :2]
    return lam[~np.isnan(lam)]


def same_distribution(ours: np.ndarray, theirs: np.ndarray) -> None:
    """Assert that two samples are of one distribution (Kolmogorov and Smirnov).

    Their moments tell values of alpha apart that this test does not.
    """
    a, b = (np.sort(np.round(x.astype(np.float64), 5)) for x in (ours, theirs))
    for moment in (lambda x: x, lambda x: (x - 0.5) ** 2):
        error = np.sqrt(sum(moment(x).var() / len(x) for x in (a, b)))
        away = abs(moment(a).mean() - moment(b).mean())
        assert away <= 4.5 * error + 1e-6, (away, error)
    at = np.concatenate([a, b])
    below = [np.searchsorted(x, at, side="right") / len(x) for x in (a, b)]
    furthest = np.abs(below[0] - below[1]).max()
    assert furthest < 2.2 * np.sqrt(1 / len(a) + 1 / len(b)), furthest


# Formulas


def beta(alpha: float) -> Lams:
    return lambda draw, n: draw.beta(alpha, alpha, n)


def rounded(side: np.ndarray) -> np.ndarray:
    return np.round(side).astype(int)


def uncut(alpha: float = 1.0) -> Lams:
    """Return the weight that a box leaves, recounted after it was clipped."""

    def recounted(draw: Draw, n: int) -> np.ndarray:
        return clipped(draw, np.sqrt(1 - draw.beta(alpha, alpha, n)))

    return recounted


def clipped(draw: Draw, root: np.ndarray, sides=SIDES, at: Any = None) -> np.ndarray:
    """Return what is left by boxes around a center, clipped at the border.

    The center is uniform unless it is given.
    """
    area = np.ones(len(root))
    for axis, n in enumerate(sides):
        center = draw.integers(0, n, len(root)) if at is None else at[axis]
        side = rounded(n * root)
        start = center - side // 2
        area *= (np.clip(start + side, 0, n) - np.clip(start, 0, n)) / n
    return 1 - area


class Either(NamedTuple):
    """The formula that is the second one with probability ``p``."""

    first: Lams
    second: Lams
    p: float

    def __call__(self, draw: Draw, n: int) -> np.ndarray:
        first, second = self.first(draw, n), self.second(draw, n)
        return np.where(draw.random(n) < self.p, second, first)


def none(draw: Draw, n: int) -> np.ndarray:
    return np.ones(n)


def floats(values: Any) -> np.ndarray:
    return np.asarray(values, np.float32)


def equals(wanted: Any) -> Callable[[Any], None]:
    return lambda found: np.testing.assert_allclose(found, wanted, rtol=1e-6)


# timm


def within(draw: Draw, n: int) -> np.ndarray:
    """timm's ``rand_bbox_minmax``: independent sides, a box inside of the image."""
    sides = [draw.integers(int(0.2 * s), int(0.8 * s), n) / s for s in SIDES]
    return 1 - np.prod(sides, axis=0)


def half_of_the_batch(mixer: Any) -> None:
    images = np.broadcast_to(np.eye(8, dtype=np.float32)[:, None, None], (8, 6, 6, 8))
    targets = np.eye(8, dtype=np.float32)
    with jax.numpy_dtype_promotion("standard"):
        (x, y), lam = jax.jit(mixer)(jax.random.key(0), (images, targets))
    assert x.shape == (4, 6, 6, 8)
    own, partner = np.arange(4), 7 - np.arange(4)
    mixed = lam[:, None] * targets[own] + (1 - lam[:, None]) * targets[partner]
    np.testing.assert_allclose(y, mixed, atol=1e-6)
    np.testing.assert_allclose(np.mean(x, axis=(1, 2)), mixed, atol=1e-6)
    assert (lam < 1).any()


def until_step(step: int, before: Any = None) -> Callable[[Any], None]:
    """Return a check that mixing stops there, and of the mixer before."""

    def check(scheduled: Any) -> None:
        if before is not None:
            before(scheduled(0))
        batch = np.ones((4, 8, 8, 1), np.float32), np.eye(4, dtype=np.float32)
        run = jax.jit(lambda now: scheduled(now)(jax.random.key(0), batch)[1].lam)
        assert (run(step - 1) < 1).any()
        assert (run(step) == 1).all()

    return check


def above(threshold: float) -> Callable[[Any], None]:
    targets = floats([[0.85, 0.15, 0], [0.75, 0.25, 0]])
    return lambda binary: np.testing.assert_array_equal(
        binary(targets), targets > threshold
    )


def smooth(smoothing: float) -> Callable[[Any], None]:
    return equals(smoothed(np.arange(8), 10, smoothing))


def toward_a_half(targets: Any) -> None:
    equals(page("timm")["tags"] * (1 - 0.1) + 0.5 * 0.1)(targets)


def named(inputs: str, targets: str, pairing: str) -> Callable[[Any], None]:
    """Return a check that two entries of a dict alone are mixed, by one lam."""

    def check(mixer: Any) -> None:
        x, y = np.arange(4, dtype=np.float32)[:, None], np.eye(4, dtype=np.float32)
        batch = {inputs: x, targets: y, "id": np.arange(4)}
        mixed, mix = jax.jit(mixer)(jax.random.key(1), batch)
        lam, partner = np.asarray(mix.lam)[:, None], np.asarray(mix.partner)
        assert lam[0] < 1
        np.testing.assert_array_equal(lam, lam[:1] + 0 * lam)
        np.testing.assert_array_equal(partner, PARTNERS[pairing])
        for name, before in ((inputs, x), (targets, y)):
            wanted = lam * before + (1 - lam) * before[partner]
            np.testing.assert_allclose(mixed[name], wanted, rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(mixed["id"], batch["id"])

    return check


def modalities(same: bool) -> Callable[[Any], None]:
    """Return a check of two inputs, with one lam or with two, and of their labels."""

    def check(mixer: Any) -> None:
        x, y = np.arange(4, dtype=np.float32)[:, None], np.eye(4, dtype=np.float32)
        inputs = {"rgb": x, "spectrogram": 10 + x}
        mixed = jax.jit(mixer)(jax.random.key(1), {"inputs": inputs, "label": y})
        mixed = mixed[0] if same else mixed
        labels, lams = mixed["label"], []
        for name, before in inputs.items():
            label = np.asarray(labels if same else labels[name])
            lam, partner = label[0, 0], PARTNERS["reverse"]
            assert 0 < lam < 1
            for found, old in ((mixed["inputs"][name], before), (label, y)):
                wanted = lam * old + (1 - lam) * old[partner]
                np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)
            lams.append(lam)
        assert (lams[0] == lams[1]) == same

    return check


def maps_follow(mixer: Any) -> None:
    ids = np.arange(4 * 64).reshape(4, 8, 8)
    batch = {"images": ids[..., None] / 256, "segmentation_masks": ids}
    mixed, _ = jax.jit(mixer)(jax.random.key(1), batch)
    np.testing.assert_array_equal(
        mixed["segmentation_masks"], mixed["images"][..., 0] * 256
    )
    assert (mixed["segmentation_masks"] != ids).any()


def two_terms(loss: Any) -> None:
    """The loss on both labels, weighted by lam."""
    draw = np.random.default_rng(0)
    logits = draw.normal(size=(SIZE, CLASSES)).astype(np.float32)
    mix = mx.Mix.from_pairs(floats([0.7, 1, 0.2, 0.5]), PARTNERS["roll"])
    log = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    own, theirs = (-log[np.arange(SIZE), y] for y in (LABELS, LABELS[PARTNERS["roll"]]))
    wanted = mix.lam * own + (1 - mix.lam) * theirs
    np.testing.assert_allclose(loss(logits, LABELS, mix), wanted, rtol=1e-5)


def on_devices(same: bool, pairing: str, axis: str) -> Callable[[Any], None]:
    """Return a check of pairs within each device, and of whether all draw the same."""

    def check(mixer: Any) -> None:
        x = np.arange(8, dtype=np.float32).reshape(2, 4, 1)
        run = jax.vmap(mixer, (None, 0), axis_name=axis)
        on_each = jax.jit(run)
        (mixed, _), mix = on_each(jax.random.key(2), (x, None))
        lam = np.asarray(mix.lam)[..., None]
        theirs = x[:, PARTNERS[pairing]]
        np.testing.assert_allclose(mixed, lam * x + (1 - lam) * theirs, rtol=1e-5)
        assert len(np.unique(lam)) == (1 if same else 2)

    return check


def erases(lams: Lams) -> Callable[[Any], None]:
    def check(erase: Any) -> None:
        images = np.ones((4, 20, 20, 1), np.float32)
        keys = jax.random.split(jax.random.key(0), DRAWS)
        kept = np.asarray(jax.jit(jax.vmap(erase, (0, None)))(keys, images))[..., 0]
        kept = kept.reshape(-1, 20, 20)
        are_boxes(1 - kept)
        same_distribution(kept.mean(axis=(1, 2)), lams(np.random.default_rng(0), MANY))

    return check


def of_length(draw: Draw, n: int) -> np.ndarray:
    """Cutout's square, of half a side and clipped at the border."""
    return clipped(draw, np.full(n, 0.5), (20, 20))


def erasing(draw: Draw, n: int) -> np.ndarray:
    """torchvision's ``RandomErasing`` of squares: round(sqrt(area)), inside."""
    side = rounded(np.sqrt(draw.uniform(0.02, 0.33, n) * 400))
    return np.where(draw.random(n) < 0.5, 1 - side**2 / 400, 1.0)


def folded(alpha: float) -> Lams:
    def larger(draw: Draw, n: int) -> np.ndarray:
        lam = draw.beta(alpha, alpha, n)
        return np.maximum(lam, 1 - lam)

    return larger


def not_cut(lams: Lams) -> Lams:
    """Return what a box leaves that is not clipped, with sides of whole positions."""

    def left(draw: Draw, n: int) -> np.ndarray:
        root = np.sqrt(1 - lams(draw, n))
        return 1 - np.prod([rounded(side * root) / side for side in SIDES], axis=0)

    return left


def keras_factor(draw: Draw, n: int) -> np.ndarray:
    alpha = draw.uniform(size=n) + 1e-6
    return np.where(alpha < 1e-3, draw.random(n) < 0.5, draw.beta(alpha, alpha))


def clamped(draw: Draw, n: int) -> np.ndarray:
    return np.clip(draw.uniform(size=n), 0.2, 0.9)


def uniform(low: float, high: float) -> Lams:
    return lambda draw, n: draw.uniform(low, high, n)


def resized(draw: Draw, n: int) -> np.ndarray:
    """mmpretrain's ``ResizeMix``, without the border."""
    return 0.1 + 0.7 * draw.beta(1.0, 1.0, n)


def scope(draw: Draw, n: int) -> np.ndarray:
    return 1 - draw.uniform(0.1, 0.8, n) ** 2


def counted(alpha: float) -> Lams:
    """Return FMix's lam, rounded to whole positions."""
    total = np.prod(SIDES)
    return lambda draw, n: np.round(draw.beta(alpha, alpha, n) * total) / total


def bells(draw: Draw, n: int) -> np.ndarray:
    """SmoothMix: one minus the mean of a bell, a quarter to a half of a side wide."""
    width, w = draw.uniform(0.25, 0.5, (n, 1)), 1
    for axis, side in enumerate(SIDES):
        away = (np.arange(side) - draw.integers(0, side, (n, 1))) / side
        w = w * np.expand_dims(np.exp(-(away**2) / (2 * width**2)), 2 - axis)
    return 1 - np.mean(w, axis=(1, 2))


def salient(mixer: Any) -> None:
    """Boxes are around the peak of the partner's saliency, clipped at the border."""
    peaks = np.array([[1, 1], [6, 0], [3, 4], [7, 5]])
    saliency = np.zeros((SIZE, *SIDES), np.float32)
    saliency[np.arange(SIZE), *peaks.T] = 1
    check = permuted(None, pastes=True)
    found = check(partial(mixer, saliency=saliency))
    inside, others = found.theirs > 0, found.partner != np.arange(SIZE)
    around = peaks[found.partner]
    shown = inside.any(axis=(2, 3))
    at = np.asarray(np.ravel_multi_index(tuple(np.moveaxis(around, 2, 0)), SIDES))
    np.testing.assert_array_equal(
        np.take_along_axis(
            inside.reshape(*shown.shape, -1),
            at[..., None],
            axis=2,
        )[..., 0],
        shown,
    )
    draw = np.random.default_rng(0)
    for k, peak in enumerate(peaks):
        theirs = clipped(draw, np.sqrt(draw.random(MANY)), at=peak)
        same_distribution(found.lam[others & (found.partner == k)], theirs)


def constant(lam: float) -> Lams:
    return lambda draw, n: np.full(n, lam)


def ratio_is(lams: Lams) -> Callable[[Any], None]:
    def check(ratio: Any) -> None:
        follows(lams, "roll", per="batch", pastes=False)(
            partial(mx.mixup, ratio=ratio, pairing=mx.pairings.roll)
        )

    return check


def positive(binary: Any) -> None:
    """Classes with a share of the label are positive, whether smoothed or not."""
    hot = floats([[1, 0, 0], [0.7, 0.3, 0]])
    np.testing.assert_array_equal(binary(0.9 * hot + 0.1 / 3), hot > 0)


def both_boxes(all_boxes: Any) -> None:
    boxes = np.arange(4 * 2 * 4, dtype=np.float32).reshape(4, 2, 4)
    valid = np.array([[True, False], [True, True], [False, False], [True, True]])
    mix = mx.Mix.from_pairs(floats([0.5, 1, 0.5, 0.5]), PARTNERS["neighbor"])
    found, kept = all_boxes(mix, boxes, valid)
    theirs = boxes[PARTNERS["neighbor"]], valid[PARTNERS["neighbor"]]
    np.testing.assert_array_equal(found, np.concatenate([boxes, theirs[0]], axis=1))
    mixed = np.array([True, False, True, True])[:, None]
    np.testing.assert_array_equal(kept, np.concatenate([valid, theirs[1] & mixed], 1))


def all_of_both(all_boxes: Any) -> None:
    boxes = np.arange(4 * 2 * 4, dtype=np.float32).reshape(4, 2, 4)
    valid = np.array([[True, False], [True, True], [False, False], [True, True]])
    mix = mx.Mix.from_pairs(0.5, PARTNERS["roll"])
    for found, own in zip(all_boxes(mix, boxes, valid), (boxes, valid)):
        both = np.concatenate([own, own[PARTNERS["roll"]]], axis=1)
        np.testing.assert_array_equal(found, both)


def at_snr(p: float = 1.0, union: bool = True) -> Callable[[Any], None]:
    """Return a check of torch-audiomentations' ``Mix``."""

    def check(mixer: Any) -> None:
        draw = np.random.default_rng(0)
        waves = (draw.normal(size=(64, 50)) * draw.uniform(1, 9, (64, 1))).astype("f")
        labels = (draw.random((64, 5)) < 0.5).astype("f")
        (mixed, targets), mix = jax.jit(mixer)(jax.random.key(0), (waves, labels))
        partner, on = np.asarray(mix.partner), np.asarray(mix.lam) < 1
        assert abs(on.mean() - p) < 0.2
        decibels = -20 * np.log10(1 / np.asarray(mix.lam, np.float64)[on] - 1)
        assert decibels.min() > -1e-3
        assert decibels.max() < 5.001
        assert abs(decibels.mean() - 2.5) < 1
        level = np.sqrt((waves**2).mean(axis=1, keepdims=True))
        theirs = waves[partner] / level[partner]
        noise = level[on] / 10 ** (decibels[:, None] / 20) * theirs[on]
        np.testing.assert_allclose(mixed[on], waves[on] + noise, rtol=1e-3, atol=1e-3)
        np.testing.assert_allclose(mixed[~on], waves[~on], rtol=1e-5)
        both = np.maximum(labels, labels[partner]) if union else labels
        np.testing.assert_array_equal(targets, np.where(on[:, None], both, labels))

    return check


def kernel(pairing: Any) -> None:
    """Partners are drawn by a Gaussian of the distance of targets, without oneself."""
    y = floats([0, 0.3, 1, 2])
    keys = jax.random.split(jax.random.key(0), 4000)
    draw = jax.jit(jax.vmap(lambda key: pairing(key, (y[:, None], y)).index))
    found = np.asarray(draw(keys))
    weights = np.exp(-((y[:, None] - y) ** 2) / (2 * 0.5**2)) * (1 - np.eye(4))
    wanted = weights / weights.sum(axis=1, keepdims=True)
    seen = np.stack([(found == k).mean(axis=0) for k in range(4)], axis=1)
    np.testing.assert_allclose(seen, wanted, atol=0.04)


def near_and_one_lam(wanted: list[int]) -> Callable[[Any], None]:
    """Return a check of one lam for the batch, for targets in two distant groups."""

    def check(mixer: Any) -> None:
        x, y = np.arange(4, dtype=np.float32), floats([0, 9, 0.1, 9.1])
        keys = jax.random.split(jax.random.key(0), DRAWS)
        mixed, mix = jax.jit(jax.vmap(mixer, (0, None)))(keys, (x, y))
        lam, partner = np.asarray(mix.lam), np.array(wanted)
        np.testing.assert_array_equal(mix.partner, np.tile(partner, (DRAWS, 1)))
        assert (lam == lam[:, :1]).all()
        same_distribution(lam[:, 0], beta(2.0)(np.random.default_rng(0), MANY))
        for after, before in zip(mixed, (x, y)):
            blend = lam * before + (1 - lam) * before[partner]
            np.testing.assert_allclose(after, blend, rtol=1e-4, atol=1e-5)

    return check


def on_hidden(mixer: Any) -> None:
    """The inputs are left alone, and what comes after the first block is mixed."""
    x, y = np.arange(4, dtype=np.float32)[:, None], floats([0, 9, 0.1, 9.1])
    (same, targets), mix = jax.jit(mixer)(jax.random.key(0), (x, y))
    lam, partner = np.asarray(mix.lam), np.array([2, 3, 0, 1])
    np.testing.assert_array_equal(same, x)
    np.testing.assert_array_equal(mix.partner, partner)
    for found, before in ((mix.at(1).inputs(x)[:, 0], x[:, 0]), (targets, y)):
        wanted = lam * before + (1 - lam) * before[partner]
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


def all_or_none(p: float) -> Callable[[Any], None]:
    """Return a check that the whole batch is mixed, with a probability."""

    def check(mixer: Any) -> None:
        found = permuted(None, pastes=False, apart=False)(mixer)
        mixed: Any = found.lam < 1
        on = mixed.any(axis=1)
        assert abs(on.mean() - p) < 0.06
        itself = found.partner == np.arange(SIZE)
        assert (mixed | itself)[on].all()
        draw = np.random.default_rng(0)
        same_distribution(found.lam[mixed & ~itself], draw.random(MANY))

    return check


def one_method(mixer: Any) -> None:
    """A batch is either blended or pasted, each example with its own lam."""
    found = permuted(None)(mixer)
    blends: Any = ((found.w > 1e-4) & (found.w < 1 - 1e-4)).all(axis=(2, 3))
    pastes: Any = np.ptp(found.w, axis=(2, 3)) > 0
    assert not (blends.any(axis=1) & pastes.any(axis=1)).any()
    assert abs(pastes.any(axis=1).mean() - 0.5) < 0.1
    others, draw = found.partner != np.arange(SIZE), np.random.default_rng(0)
    pasted = pastes.any(axis=1, keepdims=True)
    same_distribution(found.lam[others & pasted], uncut()(draw, MANY))
    same_distribution(found.lam[others & ~pasted], beta(0.2)(draw, MANY))


BOTH = Either(beta(0.8), uncut(), 0.5)
permuted = partial(follows, partner="permutation")
reversed_once = partial(follows, partner="reverse", per="batch")
rolled_once = partial(follows, partner="roll", per="batch")
permuted_once = partial(follows, partner="permutation", per="batch")
ROWS: dict[str, dict[str, Callable[[Any], Any]]] = {
    "timm": {
        "mixup_alpha=0.8": follows(beta(0.8), "reverse", pastes=False),
        "cutmix_alpha=1.0": follows(uncut(), "reverse", pastes=True),
        "cutmix_minmax=(0.2, 0.8)": follows(within, "reverse", pastes=True),
        "correct_lam=False": follows(beta(1.0), "reverse", pastes=True, recounts=False),
        "prob=0.75": follows(Either(none, beta(0.8), 0.75), "reverse", pastes=False),
        "switch_prob=0.25": follows(Either(beta(0.8), uncut(), 0.25), "reverse"),
        'mode="elem"': follows(BOTH, "reverse"),
        'mode="pair"': follows(BOTH, "reverse", per="pair"),
        'mode="batch"': reversed_once(BOTH),
        'mode="half"': half_of_the_batch,
        "label_smoothing=0.1, num_classes=10": smooth(0.1),
        "multi_label=True, label_smoothing=0.1": toward_a_half,
        "--mixup-off-epoch 280": until_step(280 * 1251, follows(BOTH, "reverse")),
        "BinaryCrossEntropy(target_threshold=0.2)": above(0.2),
    },
    "torchvision": {
        "MixUp(alpha=0.2)": rolled_once(beta(0.2), pastes=False),
        "CutMix(alpha=1.0)": rolled_once(uncut(), pastes=True),
        "RandomChoice([mixup, cutmix])": rolled_once(Either(beta(0.2), uncut(), 0.5)),
        "RandomChoice([mixup, cutmix], p=[0.25, 0.75])": rolled_once(
            Either(beta(0.2), uncut(), 0.75)
        ),
        "RandomApply([mixup], p=0.5)": rolled_once(
            Either(none, beta(0.2), 0.5), pastes=False
        ),
        "num_classes=10": smooth(0.0),
        'labels_getter=lambda batch: batch["label"]': named("image", "label", "roll"),
        "CrossEntropyLoss(label_smoothing=0.1)": smooth(0.1),
        "Cutout(length=16)": erases(of_length),
        "RandomErasing(p=0.5, ratio=(1, 1))": erases(erasing),
    },
    "big_vision": {
        "get_mixup(rng, 0.2)": rolled_once(folded(0.2), pastes=False),
        "get_mixup(rng, 0.2) in shard_map": on_devices(True, "roll", "data"),
        "mixup.p=0.2 in the configuration": ratio_is(folded(0.2)),
    },
    "scenic": {
        "mixup(batch, alpha=0.2, rng=rng)": named("inputs", "label", "reverse"),
        'input_key="rgb", label_key="class"': named("rgb", "class", "reverse"),
        "mixup_cutmix(batch, rng, 0.8, 1.0)": reversed_once(BOTH),
        "mixup_modalities(batch, 0.2, rng=rng)": modalities(same=True),
        "mixup_modalities(batch, 0.2, mixmod=True, rng=rng)": modalities(same=False),
        "switch_prob=0.25": reversed_once(Either(beta(0.8), uncut(), 0.25)),
        "label_smoothing=0.1": smooth(0.1),
        'bind_to="device"': on_devices(False, "reverse", "batch"),
        "bind_to=None": on_devices(True, "reverse", "batch"),
    },
    "deit3_jax": {
        "Mixup(0.8, 1.0)": permuted_once(BOTH),
        "Mixup(0.8, 0)": permuted_once(beta(0.8), pastes=False),
        "Mixup(0, 1.0)": permuted_once(uncut(), pastes=True),
        'criterion="bce"': positive,
    },
    "keras": {
        "MixUp(alpha=0.2)": permuted(beta(0.2), pastes=False),
        "CutMix(factor=1.0)": permuted(not_cut(keras_factor), pastes=True),
        "CutMix(factor=(1.0, 1.0))": permuted(not_cut(beta(1.0)), pastes=True),
        "segmentation_masks": maps_follow,
        "keras_cv.layers.CutMix(alpha=1.0)": permuted(uncut(), pastes=True),
        "keras_cv.layers.FourierMix(alpha=0.5)": permuted(counted(0.5), boxes=False),
        "keras_cv.layers.RandomChoice([cutmix, mixup], batchwise=True)": one_method,
    },
    "kornia": {
        "RandomMixUpV2()": permuted(uniform(0, 1), pastes=False),
        "RandomMixUpV2(lambda_val=(0.0, 0.4))": permuted(uniform(0.6, 1), pastes=False),
        "RandomMixUpV2(same_on_batch=True)": permuted_once(uniform(0, 1), pastes=False),
        "RandomMixUpV2(p=0.5)": all_or_none(0.5),
        "RandomCutMixV2(use_correct_lambda=True)": permuted(
            not_cut(beta(1.0)), pastes=True
        ),
        "RandomCutMixV2(beta=0.5)": permuted(not_cut(beta(0.5)), pastes=True),
        "RandomCutMixV2(cut_size=(0.2, 0.9))": permuted(not_cut(clamped), pastes=True),
        'data_keys=["input", "class"]': two_terms,
    },
    "fastai": {
        "MixUp(0.4)": permuted(folded(0.4), pastes=False),
        "CutMix(1.0)": permuted_once(uncut(), pastes=True),
        "stack_y=True": two_terms,
    },
    "ultralytics": {
        "mixup=0.1": follows(
            Either(none, beta(32.0), 0.1), "neighbor", pastes=False, apart=False
        ),
        "MixUp.apply_instances": both_boxes,
        "close_mosaic=10": until_step(90 * 500),
    },
    "openmmlab": {
        "Mixup(alpha=0.8)": permuted_once(beta(0.8), pastes=False),
        "CutMix(alpha=1.0)": permuted_once(uncut(), pastes=True),
        "CutMix(alpha=1.0, correct_lam=False)": permuted_once(
            beta(1.0), pastes=True, recounts=False
        ),
        "ResizeMix(alpha=1.0)": permuted_once(not_cut(resized), pastes=True),
        "RandomBatchAugment([cutmix, mixup], probs=[0.5, 0.3])": permuted_once(
            Either(Either(none, beta(0.8), 0.3 / 0.5), uncut(), 0.5)
        ),
        "SwitchRecipeHook": until_step(280 * 1251),
        'mix_mode="mixup", alpha=0.8': permuted_once(beta(0.8), pastes=False),
        'mix_mode="cutmix", alpha=1.0': follows(
            uncut(), "another", per="batch", pastes=True
        ),
        'mix_mode="resizemix", scope=(0.1, 0.8)': permuted_once(
            not_cut(scope), pastes=True
        ),
        "lam=0.7": permuted_once(constant(0.7), pastes=False),
        'mix_mode=["mixup", "cutmix"], mix_prob=[0.5, 0.5]': permuted_once(BOTH),
        'mix_mode="fmix", alpha=1.0': follows(
            counted(1.0), "another", per="batch", pastes=True, boxes=False
        ),
        'mix_mode="smoothmix"': permuted_once(bells, pastes=True, boxes=False),
        'mix_mode="saliencymix", alpha=1.0': salient,
        "lam * loss(y_a) + (1 - lam) * loss(y_b)": two_terms,
    },
    "lightly": {
        "MixUp(beta_range=(0.45, 0.55))": rolled_once(
            uniform(0.45, 0.55), pastes=False
        ),
        "boxes of MixUp": all_of_both,
        'method="distillation"': permuted_once(uniform(0, 1), pastes=False),
    },
    "torch_audiomentations": {
        "Mix(0.0, 5.0, p=1.0)": at_snr(),
        "p=0.5": at_snr(p=0.5),
        'mix_target="original"': at_snr(union=False),
        'mix_target="union"': at_snr(),
    },
    "c_mixup": {
        "mixtype=kde, kde_bandwidth=0.5": kernel,
        "mix_alpha=2.0": near_and_one_lam([2, 3, 0, 1]),
        "mixtype=random": near_and_one_lam([1, 0, 3, 2]),
        "use_manifold=1": on_hidden,
    },
}


NONE = {  # by page: options that have no equivalent, and the nearest function
    "kornia": {"RandomCutMixV2(num_mix=2)": "dirichlet"},
    "ultralytics": {
        "cutmix=0.1": "cutmix",
        "mosaic=1.0": "resizemix",
        "copy_paste=0.1": "cutmix",
    },
    "openmmlab": {
        'mix_mode="attentivemix"': "saliencymix",
        'mix_mode="puzzlemix"': "saliencymix",
        'mix_mode="snapmix"': "Mix.with_label_weight",
        'mix_mode="transmix"': "Mix.with_label_weight",
        'mix_mode="alignmix"': "manifold",
        'mix_mode="gridmix"': "fmix",
    },
}


@pytest.mark.parametrize(
    ("name", "row"), [(name, row) for name, rows in ROWS.items() for row in rows]
)
def test_a_row_does_what_the_other_library_does(name, row):
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        ours = eval(rows_of(name)[row], dict(page(name)))
        ROWS[name][row](ours)


@pytest.mark.parametrize("name", ROWS)
def test_every_row_has_a_check(name):
    assert rows_of(name).keys() == ROWS[name].keys()


@pytest.mark.parametrize("name", ROWS)
def test_a_row_without_an_equivalent_names_what_comes_nearest(name):
    found = without_equivalent(name)
    nearest = {
        theirs: re.findall(r"`~mixup_jax\.([\w.]+)`", remark)
        for theirs, remark in found.items()
    }
    assert nearest == {theirs: [ours] for theirs, ours in NONE.get(name, {}).items()}
    for (ours,) in nearest.values():
        assert callable(operator.attrgetter(ours)(mx))


@pytest.mark.parametrize("n", [10, 32, 33, 224])
def test_sides_of_boxes_differ_by_at_most_two_positions(n):
    root = np.linspace(0, 1, 1001)
    sides = {
        "timm": (n * root).astype(int),
        "scenic, mmpretrain, older timm": 2 * ((n * root).astype(int) // 2),
        "torchvision": 2 * (n / 2 * root).astype(int),
        "fastai": 2 * (rounded(n * root) // 2),
        "kornia": np.floor(n * root).astype(int),
    }
    for theirs in sides.values():
        more = rounded(n * root) - theirs
        assert more.min() >= 0
        assert more.max() <= 2


# The recipes side by side

RECIPES = {
    "timm": "timm_batch",
    "torchvision": "torchvision",
    "big-vision": "big_vision",
}
ORDERS = {
    "the batch reversed": "reverse",
    "the batch rolled by one": "roll",
    "each device's batch rolled by one": "roll",
}
OFTEN = 4 * DRAWS  # a batch has one draw
# Of timm's options prob=0.8 and switch_prob=0.3.
LESS = Either(Either(none, beta(0.8), 0.56 / 0.76), uncut(), 0.24)


def numbers_in(cell: str) -> list[float]:
    return [float(x) for x in re.findall(r"\d+\.\d+", cell)]


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_that_of_its_row(name):
    (row,) = re.findall(rf"^\|.*<{name}>` \| (.*) \|$", text_of("published"), re.M)
    mixup, cutmix, draws, partner, smoothing = row.split(" | ")
    names = page(name.replace("-", "_"))
    (alpha,) = numbers_in(mixup)
    lams: Any = folded(alpha) if mixup.endswith("`lam` at least 1/2") else beta(alpha)
    if cutmix != "none":
        assert cutmix.endswith("in half of the draws")
        lams = Either(lams, uncut(*numbers_in(cutmix)), 0.5)
    assert draws in ("one for the batch", "one for all devices")
    pastes = False if cutmix == "none" else None
    check = follows(lams, ORDERS[partner], per="batch", pastes=pastes, draws=OFTEN)
    with jax.numpy_dtype_promotion("standard"):
        check(names[RECIPES[name]]())
    smooth(sum(numbers_in(smoothing)))(names["targets"])


@pytest.mark.parametrize(
    ("mode", "per"), [("batch", "batch"), ("elem", "example"), ("pair", "pair")]
)
def test_a_mode_of_timm_takes_its_options(mode, per):
    mixer = page("timm")[f"timm_{mode}"](prob=0.8, switch_prob=0.3)
    with jax.numpy_dtype_promotion("standard"):
        follows(LESS, "reverse", per=per, apart=False)(mixer)


@pytest.mark.parametrize("name", ["timm", "published"])
def test_the_mixer_of_a_page_stops_at_its_epoch(name):
    with jax.numpy_dtype_promotion("standard"):
        before = reversed_once(BOTH, draws=OFTEN)
        until_step(280 * 1251, before)(page(name)["mixer"])


def test_the_recipe_in_a_step_smooths_labels_as_timm_does():
    names = page("published")
    with jax.numpy_dtype_promotion("standard"):
        (_, targets), _ = names["mixed"](names["key"], 280 * 1251)
    smooth(0.1)(targets)
