"""The pages for newcomers: each row of their tables does what the other library does.

The blocks of a page are run as they are, and then the call in each row of its tables.
What it makes of a batch is compared with the other library's formula, in NumPy. Images
have a channel for each example, so what was mixed can be read off the result: how much
of each example is seen at each position.
"""

import functools
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mixup_jax as mx

PAGES = Path(__file__).parents[1] / "docs" / "coming"
DRAWS, SIZE, SIDES, CLASSES = 1000, 4, (12, 10), 3
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


def rows_of(name: str) -> dict[str, str]:
    """Return the calls in the tables of a page, by what they stand for."""
    rows = re.findall(r"^\| (`.*?) \| `(.*?)` \| .* \|$", text_of(name), re.M)
    return {theirs.replace("`", ""): ours for theirs, ours in rows}


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


def seen(mixer: Any) -> Seen:
    """Return what a mixer made of a batch, whose targets it must have mixed by lam."""
    own = np.eye(SIZE, dtype=np.float32)[:, None, None]
    images = np.broadcast_to(own, (SIZE, *SIDES, SIZE))
    targets = smoothed(LABELS, CLASSES, 0.1).astype(np.float32)
    keys = jax.random.split(jax.random.key(0), DRAWS)
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
    lams: Lams,
    partner: str,
    *,
    per: str = "example",
    pastes: bool | None = None,
    recounts: bool = True,
) -> Callable[[Any], None]:
    """Return a check that a mixer does what a formula does.

    Args:
      lams: draws the weight of the own label.
      partner: name of the pairing.
      per: what shares a draw: ``example``, ``pair`` or ``batch``.
      pastes: whether a box is pasted; ``None`` if one draw pastes and another blends.
      recounts: whether the weight is counted from the box.
    """

    def check(mixer: Any) -> None:
        found = seen(mixer)
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
        if pastes is not False:
            are_boxes(found.theirs[box])
        shares(found, per)
        same_distribution(drawn_by(found, per), lams(np.random.default_rng(0), MANY))

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


def drawn_by(found: Seen, per: str) -> np.ndarray:
    """Return each draw once, of examples with a partner."""
    lam = np.where(found.partner == np.arange(SIZE), np.nan, found.lam)
    if per == "batch":
        lam = np.nanmin(lam[~np.isnan(lam).all(axis=1)], axis=1)
    elif per == "pair":
        lam = lam[:, :2]
    return lam[~np.isnan(lam)]


def same_distribution(ours: np.ndarray, theirs: np.ndarray) -> None:
    """Assert that two samples are of one distribution (Kolmogorov and Smirnov)."""
    a, b = (np.sort(np.round(x.astype(np.float64), 5)) for x in (ours, theirs))
    at = np.concatenate([a, b])
    below = [np.searchsorted(x, at, side="right") / len(x) for x in (a, b)]
    furthest = np.abs(below[0] - below[1]).max()
    assert furthest < 2.2 * np.sqrt(1 / len(a) + 1 / len(b)), furthest


# Formulas


def beta(alpha: float) -> Lams:
    return lambda draw, n: draw.beta(alpha, alpha, n)


def rounded(side: np.ndarray) -> np.ndarray:
    return np.round(side).astype(int)


def uncut(lams: Lams = beta(1.0)) -> Lams:
    """Return the weight that a box leaves, recounted after it was clipped."""

    def recounted(draw: Draw, n: int) -> np.ndarray:
        return clipped(draw, np.sqrt(1 - lams(draw, n)))

    return recounted


def clipped(draw: Draw, root: np.ndarray, sides=SIDES, whole=rounded) -> np.ndarray:
    """Return what is left by boxes around a uniform center, clipped at the border."""
    area = np.ones(len(root))
    for n in sides:
        side, center = whole(n * root), draw.integers(0, n, len(root))
        start = center - side // 2
        area *= (np.clip(start + side, 0, n) - np.clip(start, 0, n)) / n
    return 1 - area


def either(first: Lams, second: Lams, p: float) -> Lams:
    """Return the formula that is the second one with probability ``p``."""
    return lambda draw, n: np.where(draw.random(n) < p, second(draw, n), first(draw, n))


def none(draw: Draw, n: int) -> np.ndarray:
    return np.ones(n)


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


def until_step(step: int) -> Callable[[Any], None]:
    def check(scheduled: Any) -> None:
        batch = np.ones((4, 8, 8, 1), np.float32), np.eye(4, dtype=np.float32)
        run = jax.jit(lambda now: scheduled(now)(jax.random.key(0), batch)[1].lam)
        assert (run(step - 1) < 1).any()
        assert (run(step) == 1).all()

    return check


def above(threshold: float) -> Callable[[Any], None]:
    targets = np.float32([[0.85, 0.15, 0], [0.75, 0.25, 0]])
    return lambda binary: np.testing.assert_array_equal(
        binary(targets), targets > threshold
    )


def smooth(labels: Any) -> None:
    np.testing.assert_allclose(labels, smoothed(np.arange(8), 10, 0.1), rtol=1e-6)


BOTH = either(beta(0.8), uncut(), 0.5)
ROWS: dict[str, dict[str, Callable[[Any], None]]] = {
    "timm": {
        "mixup_alpha=0.8": follows(beta(0.8), "reverse", pastes=False),
        "cutmix_alpha=1.0": follows(uncut(), "reverse", pastes=True),
        "cutmix_minmax=(0.2, 0.8)": follows(within, "reverse", pastes=True),
        "correct_lam=False": follows(beta(1.0), "reverse", pastes=True, recounts=False),
        "prob=0.75": follows(either(none, beta(0.8), 0.75), "reverse", pastes=False),
        "switch_prob=0.25": follows(either(beta(0.8), uncut(), 0.25), "reverse"),
        'mode="elem"': follows(BOTH, "reverse"),
        'mode="pair"': follows(BOTH, "reverse", per="pair"),
        'mode="batch"': follows(BOTH, "reverse", per="batch"),
        'mode="half"': half_of_the_batch,
        "label_smoothing=0.1, num_classes=10": smooth,
        "--mixup-off-epoch 280": until_step(280 * 1251),
        "BinaryCrossEntropy(target_threshold=0.2)": above(0.2),
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
