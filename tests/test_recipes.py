"""The recipes of the documentation are those of timm, torchvision and big_vision.

The definitions on their pages are run as they are. Images have a channel for each
example, so what was mixed can be read off the result: how much of each example is seen
at each position. That is compared with the formulas of the three libraries, for the
``lam``, box and partner that were drawn, and their moments with those of the
distributions.
"""

import functools
import re
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import pytest

COMING = Path(__file__).parents[1] / "docs" / "coming"
PAGES = [COMING / f"{name}.md" for name in ("timm", "torchvision", "big_vision")]
DEFINITIONS = [
    block
    for page in PAGES
    for block in re.findall(r"^```python\n(.*?)^```", page.read_text(), re.S | re.M)
]
DRAWS, SIZE, SIDES, CLASSES = 3000, 4, (8, 6), 3
LABELS = np.array([0, 1, 2, 0])
FLIPPED, ROLLED = np.array([3, 2, 1, 0]), np.array([3, 0, 1, 2])
PROB, SWITCH = 0.8, 0.3


def relaxed():
    """Return a context in which JAX promotes as it does for users by default."""
    return jax.numpy_dtype_promotion("standard")


@pytest.fixture(scope="module")
def page():
    """Return the names that the pages define, and the targets beside each recipe."""
    names: dict[str, Any] = {}
    targets = {}
    with relaxed(), jax.numpy_rank_promotion("allow"):
        for block in DEFINITIONS:
            exec(block, names)
            for name in re.findall(r"^def (\w+)", block, re.M):
                targets[name] = names.get("targets")
    return names, targets


def smoothed(labels, classes, smoothing):
    """timm's ``mixup_target`` without a mix, and PyTorch's ``label_smoothing``."""
    off = smoothing / classes
    return np.where(np.eye(classes)[labels] > 0, 1 - smoothing + off, off)


class Drawn(NamedTuple):
    """What was drawn, by call and example.

    Attributes:
      lam: ``[N, B]``, the weight of the own label.
      w: ``[N, B, H, W]``, how much of the own content is seen.
      pasted: ``[N, B]``, whether a box of the partner is seen.
    """

    lam: np.ndarray
    w: np.ndarray
    pasted: np.ndarray


def drawn(mixer: Any, partner: np.ndarray) -> Drawn:
    """Return what a mixer drew, which is Mixup, CutMix or nothing with ``partner``."""
    own = np.eye(SIZE, dtype=np.float32)[:, None, None]
    images = np.broadcast_to(own, (SIZE, *SIDES, SIZE))
    targets = smoothed(LABELS, CLASSES, 0.1)
    keys = jax.random.split(jax.random.key(0), DRAWS)
    with relaxed():
        of_keys = jax.jit(jax.vmap(mixer, in_axes=(0, None)))
        (x, y), mix = of_keys(keys, (images, targets.astype(np.float32)))
    x, lam, each = np.asarray(x), np.asarray(mix.lam), np.arange(SIZE)
    w, theirs = (np.moveaxis(x[:, each, :, :, k], 0, 1) for k in (each, partner))
    weight = lam[..., None]
    mixed = weight * targets + (1 - weight) * targets[partner]
    np.testing.assert_allclose(y, mixed, atol=1e-6)
    np.testing.assert_allclose(theirs, 1 - w, atol=1e-6)
    pasted = np.ptp(w, axis=(2, 3)) > 0
    # Mixup: every position weighs lam. CutMix: lam is recounted from the clipped box.
    np.testing.assert_allclose(w[~pasted].mean(axis=(1, 2)), lam[~pasted], atol=1e-6)
    inside = w[pasted] == 0
    np.testing.assert_array_equal(w[pasted], ~inside)
    rows, columns = inside.any(axis=2), inside.any(axis=1)
    np.testing.assert_array_equal(inside, rows[:, :, None] & columns[:, None])
    for side in (rows, columns):
        assert (np.abs(np.diff(side, axis=1)).sum(axis=1) <= 2).all()  # one run
    area = rows.sum(axis=1) * columns.sum(axis=1)
    np.testing.assert_allclose(lam[pasted], 1 - area / np.prod(SIDES), atol=1e-6)
    return Drawn(lam, w, pasted)


def mean_is(values: np.ndarray, wanted: float, groups: int = 1) -> None:
    """Assert a mean within 4.5 standard errors; ``groups`` equal values count once."""
    error = values.std() / np.sqrt(values.size / groups)
    assert abs(values.mean() - wanted) < 4.5 * error, (values.mean(), wanted, error)


def is_beta(lam: np.ndarray, alpha: float, groups: int = 1) -> None:
    """Assert the variance of ``Beta(alpha, alpha)``, about its mean of a half."""
    mean_is((lam - 0.5) ** 2, 1 / (4 * (2 * alpha + 1)), groups)


@functools.cache
def boxes() -> tuple[float, float]:
    """Return the moments of what clipped boxes leave, for lam drawn from Beta(1, 1)."""
    draw, count = np.random.default_rng(0), 200_000
    root = np.sqrt(draw.uniform(size=count))
    area = np.ones(count)
    for n in SIDES:
        side, center = np.round(n * root), draw.integers(0, n, count)
        start = center - side // 2
        area *= np.clip(start + side, 0, n) - np.clip(start, 0, n)
    seen = (area > 0) & (area < np.prod(SIDES))
    kept = 1 - area[seen] / np.prod(SIDES)
    return kept.mean(), kept.var()


def is_cutmix(lam: np.ndarray, groups: int = 1) -> None:
    mean, variance = boxes()
    mean_is(lam, mean, groups)
    mean_is((lam - mean) ** 2, variance, groups)


def are_mixup_and_cutmix(found: Drawn, alpha, switch, prob=1.0, groups=1) -> None:
    """Assert how often each is chosen, and how much it mixes."""
    is_cutmix(found.lam[found.pasted], groups)
    left_alone = found.lam == 1
    mean_is(found.pasted.astype(float), prob * switch, groups)
    if prob < 1:
        is_beta(found.lam[~found.pasted & ~left_alone], alpha, groups)
        mean_is(left_alone.astype(float), 1 - prob, groups)
    else:
        is_beta(found.lam[~found.pasted], alpha, groups)


def share(w: np.ndarray, first: int, second: int) -> np.ndarray:
    """Return which calls drew the same for two examples."""
    return (w[:, first] == w[:, second]).all(axis=(1, 2))


def test_one_draw_for_the_batch_as_in_timm(page):
    names, targets = page
    found = drawn(names["timm_batch"](prob=PROB, switch_prob=SWITCH), FLIPPED)
    assert all(share(found.w, 0, k).all() for k in range(1, SIZE))
    are_mixup_and_cutmix(found, 0.8, SWITCH, PROB, groups=SIZE)
    wanted = smoothed(np.arange(8), 10, 0.1)
    np.testing.assert_allclose(targets["timm_batch"], wanted, rtol=1e-6)


def test_a_draw_for_each_example_as_in_timm(page):
    found = drawn(page[0]["timm_elem"](prob=PROB, switch_prob=SWITCH), FLIPPED)
    assert share(found.w, 0, 3).mean() < 0.1  # both left alone
    are_mixup_and_cutmix(found, 0.8, SWITCH, PROB)


def test_a_draw_for_each_pair_as_in_timm(page):
    found = drawn(page[0]["timm_pair"](prob=PROB, switch_prob=SWITCH), FLIPPED)
    assert share(found.w, 0, 3).all()
    assert share(found.w, 1, 2).all()
    assert share(found.w, 0, 1).mean() < 0.1
    are_mixup_and_cutmix(found, 0.8, SWITCH, PROB, groups=2)


@pytest.mark.slow
def test_mixing_stops_at_an_epoch_as_in_timm(page):
    names, _ = page
    last = names["mixup_off_epoch"] * names["steps_per_epoch"]
    assert last == 280 * 1251
    batch = names["images"], names["targets"]
    mixing = jax.jit(lambda key, step: names["mixer"](step)(key, batch)[1].lam)
    with relaxed():
        before, after = (mixing(jax.random.key(1), step) for step in (last - 1, last))
    assert (before < 1).all()
    assert (after == 1).all()


def test_torchvision(page):
    names, targets = page
    found = drawn(names["torchvision"](), ROLLED)
    assert all(share(found.w, 0, k).all() for k in range(1, SIZE))
    are_mixup_and_cutmix(found, 0.2, 0.5, groups=SIZE)
    wanted = smoothed(np.arange(8), 10, 0.1)
    np.testing.assert_allclose(targets["torchvision"], wanted, rtol=1e-6)


def test_big_vision(page):
    names, targets = page
    found = drawn(names["big_vision"](), ROLLED)
    assert not found.pasted.any()
    assert (found.lam == found.lam[:, :1]).all()
    assert (found.lam >= 0.5).all()
    is_beta(found.lam, 0.2, groups=SIZE)
    wanted = smoothed(np.arange(8), 10, 0.0)
    np.testing.assert_allclose(targets["big_vision"], wanted, rtol=1e-6)


def test_big_vision_on_devices(page):
    mixer = page[0]["big_vision_on_devices"]("data")
    images = np.arange(8, dtype=np.float32).reshape(2, 4, 1)
    on_each = jax.jit(jax.vmap(mixer, in_axes=(None, 0), axis_name="data"))
    with relaxed():
        (x, _), mix = on_each(jax.random.key(2), (images, None))
    (lam,) = np.unique(mix.lam)  # one for all devices
    rolled = lam * images + (1 - lam) * np.roll(images, 1, axis=1)
    np.testing.assert_allclose(x, rolled, rtol=1e-6)
