"""Methods of a mix: terms, coverage, unions, label weights and losses."""

import dataclasses
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType

import mixup_jax as mx
from tests import painter

SIZE, SIDE, CLASSES = 4, 4, 5
KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
X = RNG.normal(size=(SIZE, SIDE, SIDE, 2)).astype(np.float32)
LABELS = np.array([4, 1, 0, 3], np.int32)
MAPS = RNG.integers(0, CLASSES, (SIZE, SIDE, SIDE)).astype(np.int32)
FIRST, SECOND = np.array([1, 0, 3, 2]), np.array([2, 3, 0, 1])
LAM, BEHIND = (np.array(v, np.float32) for v in ((0.75, 1, 0, 0.3), (0.6, 0.2, 1, 0)))
GRID = mx.regions.grid(X)
START = np.array([[0, 0], [1, 1], [0, 0], [2, 1]], np.int32)
STOP = np.array([[2, 3], [3, 2], [4, 4], [4, 3]], np.int32)
BOX = mx.regions.Box(jnp.asarray(START), jnp.asarray(STOP), GRID)
WEIGHTS = RNG.uniform(size=(SIZE, SIDE, SIDE)).astype(np.float32)
WEIGHTS[:, 0, 0], WEIGHTS[:, 1, 2] = 0, 1
FADE = mx.regions.Field(jnp.asarray(WEIGHTS), GRID)
# The left half of the partner, in the lower half of the example.
CORNERS = ([2, 0], [4, 4], [0, 0], [4, 2])
CORNER, STOPS, ZERO, SHOWN = (
    jnp.tile(jnp.asarray([corner], jnp.int32), (SIZE, 1)) for corner in CORNERS
)
WINDOW = mx.regions.Window(CORNER, STOPS, ZERO, SHOWN, GRID)
pairs = mx.Mix.from_pairs


def outside() -> np.ndarray:
    """Return 0 inside the boxes and 1 outside; examples with ``lam = 1`` have none."""
    w = np.ones((SIZE, SIDE, SIDE))
    for i in range(SIZE):
        if LAM[i] < 1:
            w[i, START[i, 0] : STOP[i, 0], START[i, 1] : STOP[i, 1]] = 0
    return w


def above() -> np.ndarray:
    w = np.ones((SIZE, SIDE, SIDE))
    w[LAM < 1, 2:] = 0
    return w


def shown(rows: np.ndarray) -> np.ndarray:
    """Return the partner's content, with the windows resized in place."""
    seen = rows.copy()
    for row in (2, 3):
        for column in range(SIDE):
            # Sides of 2 and 4 show extents of 4 and 2: the nearest position.
            at = ((row - 2) * 2 + 1, int((column + 0.5) / 2))
            seen[:, row, column] = rows[:, at[0], at[1]]
    return seen


def everywhere(lam: np.ndarray) -> np.ndarray:
    return np.broadcast_to(lam.astype(np.float64)[:, None, None], (SIZE, SIDE, SIDE))


def chosen() -> mx.Mix:
    """Return a mix of a blend, a box, a window and a field, one for each example."""
    four = [mixer_of(region) for region in (None, BOX, WINDOW, FADE)]
    u = mx.ratios.constant((np.arange(4, dtype=np.float32) + 0.5) / 4)
    draw = mx.draw_of(mx.choose(four, [0.25] * 4, by=u))
    return draw(KEY, (X, None))


def mixer_of(region: Any) -> mx.Mixer:
    @mx.mixer
    def fixed(key, batch):
        return pairs(jnp.full(SIZE, 0.25), FIRST, region=region)

    return fixed


def several(*sources: tuple[Any, np.ndarray, Any]) -> mx.Mix:
    """Return the mix of these partners, shares and regions."""
    found = tuple(
        mx.Source(jnp.asarray(index), jnp.asarray(lam), region)
        for index, lam, region in sources
    )
    return mx.Mix(found[0].lam, found)


EVERYWHERE = mx.regions.Everywhere()
# The mix, the weights of the content in front of each source, and the source's content.
PLAIN = [(FIRST, None)]
CASES: dict[str, Any] = {
    "blend": (pairs(LAM, FIRST), [everywhere(LAM)], PLAIN),
    "box": (pairs(LAM, FIRST, region=BOX), [outside()], PLAIN),
    "window": (pairs(LAM, FIRST, region=WINDOW), [above()], [(FIRST, shown)]),
    "two": (
        several((FIRST, LAM, EVERYWHERE), (SECOND, BEHIND, EVERYWHERE)),
        [everywhere(LAM), everywhere(BEHIND)],
        [(FIRST, None), (SECOND, None)],
    ),
    "three": (
        several((FIRST, LAM, BOX), (SECOND, BEHIND, EVERYWHERE), (FIRST, LAM, WINDOW)),
        [outside(), everywhere(BEHIND), above()],
        [(FIRST, None), (SECOND, None), (FIRST, shown)],
    ),
    "chosen": (
        chosen(),
        [
            np.stack(
                [
                    np.full((SIDE, SIDE), 0.25),
                    np.where(np.arange(16).reshape(4, 4) == 5, 0, 1)
                    * np.where(np.arange(16).reshape(4, 4) == 9, 0, 1),
                    np.where(np.arange(4)[:, None] < 2, 1.0, 0.0) * np.ones((4, 4)),
                    WEIGHTS[3],
                ]
            )
        ],
        [(FIRST, lambda rows: np.stack([*rows[:2], shown(rows)[2], rows[3]]))],
    ),
}


def seen(show: Any, x: np.ndarray) -> np.ndarray:
    """Return the content of a source, through its window if there is one."""
    index, window = show
    return x[index] if window is None else window(x[index])


@pytest.mark.parametrize("case", CASES)
def test_label_maps_are_mixed_place_by_place(case):
    mix, weights, shows = CASES[case]
    hot = np.eye(CLASSES, dtype=np.float32)[MAPS]
    fronts = [hot, *(seen(show, hot) for show in shows)]
    ws = [w[..., None] for w in weights]
    want = painter.painted(fronts, ws)
    terms = mix.terms(MAPS, like=MAPS)
    got = sum(
        np.asarray(share)[..., None] * np.eye(CLASSES)[np.asarray(ids)]
        for share, ids in terms
    )
    np.testing.assert_allclose(got, want, atol=1e-6)
    for (share, ids), worth, front in zip(
        terms, painter.shares(weights), [MAPS, *(seen(show, MAPS) for show in shows)]
    ):
        assert share.dtype == jnp.float32
        np.testing.assert_allclose(
            np.broadcast_to(share, worth.shape), worth, atol=1e-6
        )
        visible = worth > 0  # elsewhere a window may show anything
        np.testing.assert_array_equal(np.asarray(ids)[visible], front[visible])
    # Inputs are mixed the same way.
    own = [X, *(seen(show, X) for show in shows)]
    painter.assert_painted(mix.inputs(X), own, ws)


@pytest.mark.parametrize("case", CASES)
def test_the_share_of_each_cell(case):
    mix, (w, *_), _ = CASES[case]
    for cells in ((2, 2), (3, 4), (1, 3)):
        want = (
            w if mix.region.grid is not None else np.ones((SIZE, 1, 1)) * w[:, :1, :1]
        )
        rows, columns = cells
        finer = np.repeat(np.repeat(want, rows, axis=1), columns, axis=2)
        size = [n // k for n, k in zip(finer.shape[1:], cells)]
        finer = finer.reshape(SIZE, rows, size[0], columns, size[1])
        got = mix.coverage(cells)
        want = np.broadcast_to(finer.mean(axis=(2, 4)), (SIZE, *cells))
        np.testing.assert_allclose(got, want, atol=1e-6)
        assert got.dtype == jnp.float32


@pytest.mark.parametrize("case", CASES)
def test_a_union_holds_what_is_seen(case):
    mix, weights, shows = CASES[case]
    masks = RNG.integers(0, 3, (SIZE, SIDE, SIDE)) == 0
    want = np.zeros(masks.shape, bool)
    fronts = [masks, *(seen(show, masks) for show in shows)]
    for share, front in zip(painter.shares(weights), fronts):
        want |= (share > 0) & front
    np.testing.assert_array_equal(mix.union(masks), want)
    with pytest.raises(TypeError, match=r"expected bool masks.*mask > 0"):
        mix.union(masks.astype(np.int32))


def test_a_union_of_attention_masks():
    masks = np.arange(5)[None] < np.array([[2], [5], [3], [1]])
    want = masks | masks[FIRST]
    want[1], want[2] = masks[1], masks[3]  # whose weights are 1 and 0
    np.testing.assert_array_equal(pairs(LAM, FIRST).union(masks), want)
    token = {"a": masks, "b": (masks[..., None],)}
    np.testing.assert_array_equal(pairs(LAM, FIRST).union(token)["b"][0][..., 0], want)


@pytest.mark.parametrize("case", ["blend", "two", "three"])
def test_terms_are_the_shares_of_mixed_labels(case):
    mix, _, shows = CASES[case]
    lams = [LAM, BEHIND, LAM][: len(shows)]
    hot = np.eye(CLASSES, dtype=np.float32)[LABELS]
    fronts = [hot, *(hot[index] for index, _ in shows)]
    painter.assert_painted(mix.targets(hot), fronts, [w[:, None] for w in lams])
    terms = mix.terms({"y": LABELS})
    indices = [np.arange(SIZE), *(index for index, _ in shows)]
    for (share, label), worth, index in zip(
        terms, painter.shares(lams), indices, strict=True
    ):
        np.testing.assert_allclose(share, worth, atol=1e-6)
        np.testing.assert_array_equal(label["y"], LABELS[index])


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.int16])
@pytest.mark.parametrize("lam", [0.25, np.float64(0.25), np.full(SIZE, 0.25)])
def test_a_mix_of_pairs_takes_numbers_of_any_kind(lam, dtype):
    mix = pairs(lam, FIRST.astype(dtype))
    assert mix.lam.shape == (SIZE,)
    assert (mix.lam.dtype, mix.partner.dtype) == (jnp.float32, jnp.int32)
    np.testing.assert_array_equal(mix.lam, np.full(SIZE, 0.25))
    painter.assert_painted(mix.inputs(X), [X, X[FIRST]], [0.25])
    raw = mx.Mix(mix.lam, (mx.Source(FIRST.astype(dtype), mix.lam),))  # type: ignore
    np.testing.assert_array_equal(raw.inputs(X), mix.inputs(X))


WORD: Any = "a"
REFUSED: dict[str, Any] = {
    "above 1": (lambda: pairs(1.5, FIRST), ValueError, r"lam: expected.*\[0, 1\]"),
    "nan": (lambda: pairs(np.nan, FIRST), ValueError, r"lam: expected.*got nan"),
    "words": (lambda: pairs(WORD, FIRST), TypeError, "lam: expected a real number"),
    "three lams": (lambda: pairs(LAM[:3], FIRST), ValueError, r"expected lam \[B\]"),
    "a column": (lambda: pairs(LAM[:, None], FIRST), ValueError, r"expected lam \[B\]"),
    "partner 4": (
        lambda: pairs(LAM, FIRST + 1),
        ValueError,
        r"partner: expected a number in \[0, 3\]; got 4",
    ),
    "partner -1": (lambda: pairs(LAM, FIRST - 1), ValueError, "partner: expected.*-1"),
    "floats": (
        lambda: pairs(LAM, FIRST.astype(np.float32)),
        TypeError,
        "expected integer partners",
    ),
    "list": (
        lambda: mx.Mix(jnp.ones(1), []).inputs(X[:1]),  # type: ignore
        ValueError,
        "expected a tuple of sources",
    ),
    "others": (lambda: pairs(LAM, FIRST).inputs(X[:3]), ValueError, "expected 4 exam"),
    "integers": (
        lambda: pairs(LAM, FIRST).inputs(MAPS),
        TypeError,
        "Cast or scale integer inputs",
    ),
    "cells": (
        lambda: pairs(LAM, FIRST, region=BOX).coverage((2,)),
        ValueError,
        "number of cells on each spatial axis, 2; got",
    ),
    "half a cell": (
        lambda: pairs(LAM, FIRST).coverage((0.5,)),  # type: ignore
        ValueError,
        "number of cells",
    ),
    "no cell": (lambda: pairs(LAM, FIRST).coverage(()), ValueError, "number of cells"),
    "like others": (
        lambda: pairs(LAM, FIRST).coverage((2,), like=X[:3]),
        ValueError,
        "like: expected 4 examples",
    ),
    "a layer": (
        lambda: pairs(LAM, FIRST).at(WORD),
        ValueError,
        "at: expected the number",
    ),
    "a layer before": (lambda: pairs(LAM, FIRST).at(-1), ValueError, "at: expected"),
    "region 0": (
        lambda: pairs(LAM, FIRST, region=0),  # type: ignore
        TypeError,
        "region: expected",
    ),
    "move 0": (
        lambda: pairs(LAM, FIRST, move=0),  # type: ignore
        TypeError,
        "move: expected",
    ),
    "no lam": (
        lambda: mx.Mix(None, (mx.Source(FIRST, LAM),)).inputs(X),  # type: ignore
        TypeError,
        "lam: expected a real number",
    ),
    "complex": (
        lambda: mx.Mix(LAM, (mx.Source(FIRST, 1j * LAM),)).inputs(X),  # type: ignore
        TypeError,
        "lam: expected a real number",
    ),
    "corners": (
        lambda: pairs(
            LAM,
            FIRST,
            region=mx.regions.Box(
                jnp.zeros((1, 2), jnp.int32), jnp.ones((1, 2), jnp.int32), BOX.grid
            ),
        ).inputs(X),
        ValueError,
        r"box: corners: expected shape \(4, 2\)",
    ),
    "bring": (
        lambda: mx.Partners(jnp.ones(4), pairs(LAM, FIRST).move).bring(X),
        TypeError,
        "partners: expected integer partners",
    ),
    "no mix": (
        lambda: mx.losses.termwise(mx.metrics.nll)(jnp.zeros((4, 3)), FIRST, WORD),
        TypeError,
        "mix: expected the Mix",
    ),
    "negative attention": (
        lambda: mx.losses.by_attention(pairs(LAM, FIRST), -jnp.ones((4, 4)), (2, 2)),
        ValueError,
        "attention: expected a number of at least 0",
    ),
    "labels of others": (
        lambda: pairs(LAM, FIRST).with_label_weight(LAM[:3]),
        ValueError,
        r"lam: expected a scalar or shape \(4,\)",
    ),
    "labels above 1": (
        lambda: pairs(LAM, FIRST).with_label_weight(2.0),
        ValueError,
        r"lam: expected a number in \[0, 1\]",
    ),
    "maps like others": (
        lambda: pairs(LAM, FIRST, region=BOX).terms(MAPS, like=MAPS[:, :3]),
        ValueError,
        "spatial sizes",
    ),
    "one partner": (lambda: pairs(0.5, 1), (TypeError, ValueError), "partner"),
    "none": (lambda: pairs(0.5, None), TypeError, "partner"),  # type: ignore
    "a draw": (
        lambda: pairs(LAM, FIRST, region=mx.regions.box).inputs(X),  # type: ignore
        TypeError,
        "region: expected",
    ),
    "a pairing": (
        lambda: pairs(LAM, FIRST, move=mx.pairings.roll).inputs(X),  # type: ignore
        TypeError,
        "move: expected",
    ),
    "one number of cells": (
        lambda: pairs(LAM, FIRST).coverage(2),  # type: ignore
        (TypeError, ValueError),
        "coverage: sizes: expected",
    ),
    "one number of patches": (
        lambda: mx.losses.by_attention(CASES["box"][0], jnp.ones((SIZE, 4)), 4),  # type: ignore
        (TypeError, ValueError),
        "expected",
    ),
    "terms of another size": (
        lambda: pairs(LAM, FIRST, region=BOX).terms(MAPS[:, :3], like=MAPS),
        ValueError,
        "spatial sizes",
    ),
    "a share above 1": (
        lambda: several((FIRST, LAM, EVERYWHERE), (SECOND, LAM + 1, EVERYWHERE)).inputs(
            X
        ),
        ValueError,
        r"lam: expected a number in \[0, 1\]",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_mix_is_refused(case):
    make, kind, words = REFUSED[case]
    with pytest.raises(kind, match=words):
        make()


@dataclasses.dataclass(frozen=True)
class Itself(mx.Move):
    def places(self):
        return [0]

    def map(self, function, x, partner, w):
        return function(w, x, x)


@pytest.mark.parametrize(
    "move",
    [
        mx.Mix.from_pairs(0.5, FIRST).move,
        Itself(),
    ],
)
def test_the_own_content_may_come_again(move):
    half = jnp.full(SIZE, 0.5)
    own = mx.Source(jnp.arange(SIZE), half, move=move)
    mix = mx.Mix(half, (mx.Source(jnp.asarray(FIRST), half), own))
    want = [X, X[FIRST], X]
    painter.assert_painted(mix.inputs(X), want, [0.5, 0.5])
    painter.assert_painted(mix.targets(X), want, [0.5, 0.5])


def test_labels_of_another_weight():
    mix = pairs(LAM, FIRST, region=BOX)
    soft = np.eye(CLASSES, dtype=np.float32)[LABELS]
    other = mix.with_label_weight(0.2)
    np.testing.assert_array_equal(other.lam, np.array([0.2, 1, 0.2, 0.2], np.float32))
    np.testing.assert_array_equal(other.inputs(X), mix.inputs(X))
    np.testing.assert_array_equal(other.coverage((2, 2)), mix.coverage((2, 2)))
    fronts = [soft, soft[FIRST]]
    painter.assert_painted(
        other.targets(soft), fronts, [np.asarray(other.lam)[:, None]]
    )
    replaced = dataclasses.replace(mix, lam=jnp.full(SIZE, 0.2))
    np.testing.assert_array_equal(replaced.inputs(X), mix.inputs(X))
    painter.assert_painted(replaced.targets(soft), fronts, [np.float32(0.2)])
    # A mix that leaves the targets unchanged.
    alone = dataclasses.replace(mix, lam=jnp.ones(SIZE), mixes_targets=False)
    np.testing.assert_array_equal(alone.targets(LABELS), LABELS)
    assert alone.with_label_weight(0.2).mixes_targets

    def worth(lam):
        return jnp.sum(mix.with_label_weight(lam).targets(soft)[:, 4])

    assert jax.grad(worth)(0.3) == 0
    slope = jax.grad(lambda lam: jnp.sum(pairs(lam, FIRST).targets(soft)[:, 4]))(0.3)
    assert slope == pytest.approx(0, abs=1e-6)  # each label counts once more, once less


# Losses.

entropy = optax.losses.softmax_cross_entropy_with_integer_labels
LOGITS = RNG.normal(size=(SIZE, CLASSES)).astype(np.float32)


@pytest.mark.parametrize("case", ["two", "three"])
def test_terms_add_up_to_the_loss_on_dense_targets(case):
    mix, _, shows = CASES[case]
    lams = [w[:, None] for w in [LAM, BEHIND, LAM][: len(shows)]]
    hot = np.eye(CLASSES)[LABELS]
    dense = painter.painted([hot, *(hot[index] for index, _ in shows)], lams)
    z = LOGITS.astype(np.float64)
    log_p = z - np.log(np.exp(z).sum(axis=1, keepdims=True))
    want = -(dense * log_p).sum(axis=1)
    got = mx.losses.termwise(entropy)(jnp.asarray(LOGITS), LABELS, mix)
    np.testing.assert_allclose(got, want, rtol=1e-5)
    mean = mx.losses.termwise_mean(entropy)
    np.testing.assert_allclose(
        mean(jnp.asarray(LOGITS), LABELS, mix), want.mean(), rtol=1e-5
    )
    hits = mx.metrics.accuracy(jnp.asarray(LOGITS), LABELS, mix=mix)
    np.testing.assert_allclose(
        hits, dense[np.arange(SIZE), LOGITS.argmax(axis=1)], atol=1e-6
    )
    # The weight of the ignored label is removed from the mean.
    some = np.where(LABELS == 1, -1, LABELS)
    left = dense[:, [k for k in range(CLASSES) if k != 1]]
    kept = -(np.delete(dense * log_p, 1, axis=1)).sum() / left.sum()
    np.testing.assert_allclose(mean(jnp.asarray(LOGITS), some, mix), kept, rtol=1e-5)


def test_without_a_mix_nothing_was_mixed():
    each = mx.losses.termwise(entropy)(jnp.asarray(LOGITS), LABELS)
    np.testing.assert_array_equal(each, entropy(jnp.asarray(LOGITS), LABELS))


def test_an_infinite_loss_of_weight_0_leaves_no_trace():
    mix = several(
        (FIRST, np.array([1, 0.5, 0, 0.5], np.float32), EVERYWHERE),
        (SECOND, np.array([0.5, 1, 1, 1], np.float32), EVERYWHERE),
    )
    # Class 0, the label of example 2 alone, has probability 0. Example 2 itself has it
    # with weight 0, example 3 from its first partner, and example 0 from its second,
    # behind a weight of 1.
    logits = jnp.asarray(LOGITS).at[:, 0].set(-jnp.inf)
    value, slope = jax.value_and_grad(
        lambda z: jnp.sum(mx.losses.termwise(entropy)(z, LABELS, mix)[jnp.arange(3)])
    )(logits)
    assert np.isfinite(value)
    assert np.isfinite(slope).all()
    assert mx.losses.termwise(entropy)(logits, LABELS, mix)[3] == np.inf


ATTENTION = jnp.array([[0.4, 0.3, 0.2, 0.1]])
ONE = pairs(
    0.625,
    jnp.array([0]),
    region=mx.regions.Box(
        jnp.array([[0, 0]]), jnp.array([[2, 3]]), mx.regions.grid(X[:1])
    ),
)
by_attention = partial(mx.losses.by_attention, ONE, sizes=(2, 2))


def test_labels_by_attention():
    # The patches keep 0, 1/2, 1, 1: 0.15 + 0.2 + 0.1 of the attention.
    np.testing.assert_allclose(by_attention(ATTENTION).lam, [0.5375], rtol=1e-6)
    alone = by_attention(ATTENTION, combine=lambda area, attention: attention)
    np.testing.assert_allclose(alone.lam, [0.45], rtol=1e-6)
    np.testing.assert_allclose(by_attention(jnp.full((1, 4), 7.0)).lam, [0.625])
    np.testing.assert_allclose(by_attention(jnp.zeros((1, 4))).lam, [0.625])
    heads = jnp.stack([2 * ATTENTION, 0 * ATTENTION], axis=1)
    np.testing.assert_allclose(by_attention(heads).lam, [0.5375], rtol=1e-6)
    np.testing.assert_array_equal(
        by_attention(ATTENTION).inputs(X[:1]), ONE.inputs(X[:1])
    )
    slope = jax.grad(lambda a: by_attention(a).lam.sum())(ATTENTION)
    np.testing.assert_array_equal(slope, np.zeros((1, 4)))
    for wrong in (ATTENTION[:, :3], ATTENTION[0], jnp.ones((2, 4))):
        with pytest.raises(ValueError, match="attention: expected shape"):
            by_attention(wrong)


def test_through_mixup_attention_changes_nothing():
    mix = pairs(LAM, FIRST)
    a = jnp.asarray(RNG.uniform(size=(SIZE, 6)), jnp.float32)
    np.testing.assert_allclose(
        mx.losses.by_attention(mix, a, (2, 3)).lam, LAM, rtol=1e-6
    )


def test_coverage_on_an_explicit_mesh():
    mesh = jax.make_mesh((2,), ("d",), (AxisType.Explicit,), devices=jax.devices()[:2])
    spec = jax.NamedSharding(mesh, jax.P("d"))
    like, a = jax.device_put((X, jnp.ones((SIZE, 4))), spec)
    with jax.set_mesh(mesh):
        for case in ("box", "blend", "chosen"):
            mix = CASES[case][0]
            got = jax.jit(lambda x, mix=mix: mix.coverage((2, 2), like=x))(like)
            assert got.sharding.is_equivalent_to(spec, 3)
            np.testing.assert_allclose(got, mix.coverage((2, 2)), atol=1e-6)
            by = jax.jit(lambda a, m=mix: mx.losses.by_attention(m, a, (2, 2)).lam)(a)
            want = mx.losses.by_attention(mix, jnp.ones((SIZE, 4)), (2, 2)).lam
            np.testing.assert_allclose(by, want, atol=1e-6)


@pytest.mark.parametrize("cells", [(5, 5), (3, 7), (16, 16)])
def test_a_cell_is_covered_at_most_wholly(cells):
    shape = (1, 28, 31)
    grid = mx.regions.grid(jnp.zeros((*shape, 1)))
    none = jnp.zeros((1, 2), jnp.int32)
    mix = mx.Mix.from_pairs(0.5, np.array([0]), region=mx.regions.Box(none, none, grid))
    share = np.asarray(mix.coverage(cells))
    np.testing.assert_array_equal(share, 1)
    alone = mx.losses.by_attention(
        mix,
        jax.nn.one_hot(jnp.array([3]), share.size),
        cells,
        combine=lambda area, attention: attention,
    )
    np.testing.assert_array_equal(alone.lam, 1)


@pytest.mark.parametrize("name", ["mixup", "cutmix"])
def test_labels_by_attention_on_an_explicit_mesh(name):
    kind = (jax.sharding.AxisType.Explicit,)
    mesh = jax.make_mesh((2,), ("data",), kind, devices=jax.devices()[:2])
    sharding = jax.NamedSharding(mesh, jax.P("data"))
    x = np.ones((SIZE, 4, 4, 1), np.float32)
    attention = np.random.default_rng(0).random((SIZE, 4)).astype(np.float32)

    @jax.jit
    def lam(x, attention):
        _, mix = getattr(mx, name)(jax.random.key(0), (x, None))
        return mx.losses.by_attention(mix, attention, (2, 2)).lam

    with jax.set_mesh(mesh):
        got = lam(*jax.device_put((x, attention), sharding))
    np.testing.assert_allclose(got, lam(x, attention), rtol=1e-6)


@pytest.mark.parametrize("dtype", [jnp.int32, jnp.bool_])
def test_hits_of_any_dtype_are_weighed(dtype):
    mix = mx.Mix.from_pairs(np.array([0.75, 0.5]), np.array([1, 0]))
    logits = jnp.zeros((2, 3)).at[:, 1].set(1.0)

    def hits(logits, labels):
        return (logits.argmax(axis=-1) == labels).astype(dtype)

    got = mx.losses.termwise(hits)(logits, np.array([1, 2]), mix)
    np.testing.assert_array_equal(got, [0.75, 0.5])
    mean = mx.losses.termwise_mean(hits)(logits, np.array([1, 2]), mix)
    assert mean == 0.625
    alone = mx.losses.termwise(hits)(logits, np.array([1, 2]))
    assert alone.dtype == jnp.float32


def test_a_weight_that_is_not_a_number_counts_where_its_label_does():
    labels, weights = np.array([1, -1]), np.array([1, np.nan], np.float32)
    logits = jnp.zeros((2, 3))
    loss = mx.losses.termwise_mean(mx.metrics.nll)
    found = jax.jit(lambda weights: loss(logits, labels, None, weights))(weights)
    np.testing.assert_allclose(found, np.log(3), rtol=1e-6)
    with pytest.raises(ValueError, match="weights: expected a number of at least 0"):
        loss(logits, labels, None, -np.ones(2))


@pytest.mark.parametrize("cells", [160_000, 400])
def test_cells_of_a_long_axis_take_no_matrix(cells):
    grid = mx.regions.grid(jnp.zeros((1, 160_000)), spatial=(1,))
    stop = jnp.array([[40_000]])
    region = mx.regions.Box(jnp.zeros_like(stop), stop, grid)
    mix = mx.Mix.from_pairs(0.75, np.array([0]), region=region)
    share = np.asarray(jax.jit(lambda mix: mix.coverage((cells,)))(mix))
    np.testing.assert_array_equal(share[0], np.arange(cells) >= cells // 4)
