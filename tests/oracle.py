"""The one equation in NumPy float64, and the batches on which it is checked."""

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np

HEIGHT, WIDTH, CLASSES = 6, 5, 3
EPS = float(jnp.finfo(jnp.float32).eps)


def batch(method: Any, size: int, seed: int = 0) -> tuple[Any, Any]:
    """Return a batch with leaves of every dtype that the method takes, some of NumPy.

    Magnitudes differ between examples, so that a weight that was rounded too early is
    noticed. Class 2 has a single example among the first eight.
    """
    rng = np.random.default_rng(seed)
    scale = 10 ** rng.uniform(-2, 2, size)

    def normal(*shape):
        return (rng.normal(size=(size, *shape)).T * scale).T.astype(np.float32)

    image, plane = (HEIGHT, WIDTH, 3), (HEIGHT, WIDTH)
    inputs: dict[str, Any] = {
        "x": jnp.asarray(normal(*image)),
        "half": (
            jnp.asarray(normal(*plane, 2)).astype(jnp.bfloat16),
            normal(*plane).astype(np.float16),
        ),
        "wave": [(normal(*plane, 1) + 1j * normal(*plane, 1)).astype(np.complex64)],
    }
    if method.pastes:
        inputs["byte"] = jnp.asarray(rng.integers(0, 256, (size, *image)), jnp.uint8)
        inputs["id"] = rng.integers(-(2**31), 2**31, (size, *plane)).astype(np.int32)
        inputs["mask"] = jnp.asarray(rng.integers(0, 2, (size, *plane, 1)), bool)
    label = np.asarray([0, 1, 0, 2, 1, 0, 1, 0] * size)[:size]
    one_hot = np.eye(CLASSES, dtype=np.float32)[label]
    if method.classes:
        return inputs, one_hot
    soft = np.asarray(rng.dirichlet(np.ones(CLASSES), size), np.float32)
    targets = {
        "label": one_hot,
        "soft": (jnp.asarray(soft), jnp.asarray(soft).astype(jnp.bfloat16)),
        "value": normal(),
    }
    return inputs, targets


def images(size: int, seed: int = 0) -> tuple[Any, Any]:
    """Return a small batch for programs that are compiled often."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(size, HEIGHT, WIDTH, 2)).astype(np.float32)
    return x, np.eye(CLASSES, dtype=np.float32)[rng.integers(0, CLASSES, size)]


def double(x: Any) -> np.ndarray:
    """Return ``x`` in float64 or complex128."""
    x = np.asarray(x)
    return x.astype(np.complex128 if x.dtype.kind == "c" else np.float64)


def column(w: Any, x: Any) -> np.ndarray:
    """Return ``w [B]`` with axes of size 1 added, so that it broadcasts with ``x``."""
    return double(w).reshape(-1, *[1] * (np.ndim(x) - 1))


# The expected result of each method, from the formula of its paper. An expectation
# takes the mix that the method drew, the key and the batch. It reads only arrays, and
# calls no method of the library's objects.


# The terms that a leaf is the sum of: float64 weights that broadcast with the content,
# and the content in its own dtype. The example's own content comes first.
Terms = list[tuple[np.ndarray, np.ndarray]]


@dataclasses.dataclass(frozen=True)
class Expected:
    """The terms of which each leaf of a batch should be the sum.

    Attributes:
      inputs: returns the terms of a leaf of the inputs.
      targets: returns the terms of a leaf of the targets.
      slack: tolerance of a float32 weight that the method computes instead of drawing.
      maps: returns the terms of label maps; None means the same as the inputs.
    """

    inputs: Callable[[Any], Terms]
    targets: Callable[[Any], Terms]
    slack: float = 0.0
    maps: Callable[[Any], Terms] | None = None

    @property
    def dense(self) -> Callable[[Any], Terms]:
        """Return the function that gives the terms of label maps."""
        return self.maps or self.inputs

    def shares(self, size: int) -> np.ndarray:
        """Return the share of each label, float64 ``[terms, B]``."""
        terms = self.targets(np.arange(size))
        return np.stack([np.broadcast_to(w, size) for w, _ in terms])

    def own(self, sizes: tuple[int, ...]) -> np.ndarray:
        """Return the weight of each example's own content at ``[B, *sizes]``."""
        w, x = self.inputs(np.zeros(sizes))[0]
        return np.broadcast_to(w, x.shape)


def two(w: Any, x: Any, partner: Any) -> Terms:
    """Return the terms of ``w x + (1 - w) x[partner]``."""
    x = np.asarray(x)
    return [(w, x), (1 - w, x[np.asarray(partner)])]


def _paired(
    mix: Any,
    own: Callable[[np.ndarray], np.ndarray],
    labels: Any = None,
    shown: Callable[[np.ndarray], np.ndarray] | None = None,
    slack: float = 0.0,
) -> Expected:
    """Return the terms of one partner, without mixing examples paired with themselves.

    Args:
      mix: the mix that the method drew.
      own: returns the weights of the example's own content in a leaf.
      labels: the weights of the examples' own labels, ``[B]``; None is ``mix.lam``.
      shown: returns the visible content of the partners; None leaves it in place.
      slack: as in ``Expected``.
    """
    partner = np.asarray(mix.partner)
    alone = partner == np.arange(len(partner))
    lam = np.asarray(mix.lam if labels is None else labels)

    def inputs(x: Any) -> Terms:
        x = np.asarray(x)
        w = np.where(column(alone, x) == 1, 1.0, own(x))
        return [(w, x), (1 - w, shown(x) if shown else x[partner])]

    def targets(y: Any) -> Terms:
        return two(column(np.where(alone, 1.0, lam), y), y, partner)

    return Expected(inputs, targets, slack)


def untouched(*_: Any) -> Expected:
    """Identity: nothing is mixed."""

    def alone(x: Any) -> Terms:
        return [(np.ones(1), np.asarray(x))]

    return Expected(alone, alone)


def blend(mix: Any, *_: Any) -> Expected:
    """``lam x + (1 - lam) x[partner]`` at every position (Mixup)."""
    return _paired(mix, lambda x: column(mix.lam, x))


def extrapolation(by: Any) -> Callable[..., Expected]:
    """``x + by (x - x[partner])``, and the example's own label (DeVries & Taylor)."""

    def moved_away(mix: Any, *_: Any) -> Expected:
        found = _paired(
            mix,
            lambda x: 1 + column(np.broadcast_to(by, len(x)), x),
            labels=np.ones(len(mix.partner)),
        )
        return dataclasses.replace(found, maps=found.targets)

    return moved_away


def box(mix: Any, *_: Any) -> Expected:
    """The partner inside a box, the example's own content outside (CutMix)."""
    corners = np.asarray(mix.region.start), np.asarray(mix.region.stop)
    return _paired(mix, lambda x: _outside(*corners, x))


def field(mix: Any, *_: Any) -> Expected:
    """The example's own content where a field is True (FMix)."""
    own = double(mix.region.own)

    def weights(x: np.ndarray) -> np.ndarray:
        return own.reshape(*own.shape, *[1] * (x.ndim - own.ndim))

    return _paired(mix, weights)


def layer(mix: Any, *_: Any) -> Expected:
    """``lam`` in the layer that was drawn; the inputs are layer 0 (Manifold Mixup)."""
    lam = np.where(np.asarray(mix.region.drawn) == 0, np.asarray(mix.lam), 1)
    found = _paired(mix, lambda x: column(lam, x))
    # Labels are mixed no matter which layer was drawn.
    return dataclasses.replace(found, maps=found.targets)


def window(mix: Any, *_: Any) -> Expected:
    """A box of the partner, resized into a box of the example (ResizeMix).

    Labels count the positions of the box.
    """
    region, partner = mix.region, np.asarray(mix.partner)
    start, stop, first, extent = (
        np.asarray(corner)
        for corner in (region.start, region.stop, region.first, region.extent)
    )

    def shown(x: np.ndarray) -> np.ndarray:
        seen, dims = x.copy(), start.shape[1]
        for i in range(len(x)):
            ranges = [range(a, b) for a, b in zip(start[i], stop[i])]
            for place in itertools.product(*ranges):
                there = [
                    first[i, s]
                    + ((2 * (place[s] - start[i, s]) + 1) * extent[i, s])
                    // (2 * (stop[i, s] - start[i, s]))
                    for s in range(dims)
                ]
                seen[(i, *place)] = x[(partner[i], *there)]
        return seen

    positions = np.prod(region.grid.sizes)
    outside = positions - np.prod(stop - start, axis=1)
    lam = outside.astype(np.float32) / np.float32(positions)
    return _paired(mix, lambda x: _outside(start, stop, x), lam, shown)


def bell(mix: Any, *_: Any) -> Expected:
    """``w[q] = 1 - exp(-|(q - center) / n|^2 / (2 width^2))`` (SmoothMix).

    Labels are weighted by the mean of ``w``.
    """
    centre, width = np.asarray(mix.region.centre), double(mix.region.width)

    def own(x: np.ndarray) -> np.ndarray:
        w = np.ones(x.shape)
        for i in range(len(x)):
            for place in np.ndindex(*x.shape[1 : 1 + centre.shape[1]]):
                away = (place - centre[i]) / x.shape[1 : 1 + centre.shape[1]]
                w[(i, *place)] = 1 - np.exp(-np.sum(away**2) / (2 * width[i] ** 2))
        return w

    lam = own(np.zeros((len(width), *mix.region.grid.sizes)))
    lam = lam.reshape(len(width), -1).mean(axis=1)
    return _paired(mix, own, lam, slack=4 * EPS)


def broken_stick(mix: Any, *_: Any) -> Expected:
    """Stick-breaking shares: ``share_k`` is ``lam_k`` of the remainder (Dirichlet).

    Inputs and targets have the same shares. An example without a k-th partner stops
    there.
    """
    partners = [np.asarray(source.partner) for source in mix.sources]
    shares, left = [], np.ones(len(mix.lam))
    for source, partner in zip(mix.sources, partners):
        kept = np.where(partner == np.arange(len(partner)), 1.0, double(source.lam))
        shares.append(left * kept)
        left = left * (1 - kept)
    shares.append(left)

    def terms(x: Any) -> Terms:
        x = np.asarray(x)
        contents = [x, *(x[partner] for partner in partners)]
        return [(column(share, x), each) for share, each in zip(shares, contents)]

    return Expected(terms, terms)


def picked(index: np.ndarray, each: Sequence[Expected]) -> Expected:
    """Return expectation ``index[i]`` for row ``i``; terms that it lacks weigh 0."""

    def of(leaf: Any, every: Sequence[Terms]) -> Terms:
        x, rows = np.asarray(leaf), np.arange(len(index))
        depth = max(map(len, every))
        padded = [[*terms, *[(np.zeros(1), x)] * depth][:depth] for terms in every]
        return [
            (
                np.stack([np.broadcast_to(w, x.shape) for w, _ in slot])[index, rows],
                np.stack([content for _, content in slot])[index, rows],
            )
            for slot in zip(*padded)
        ]

    return Expected(
        lambda x: of(x, [one.inputs(x) for one in each]),
        lambda y: of(y, [one.targets(y) for one in each]),
        max(one.slack for one in each),
        lambda y: of(y, [one.dense(y) for one in each]),
    )


def _outside(start: np.ndarray, stop: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Return 0 inside the box of each example, 1 outside."""
    w = np.ones(x.shape)
    for i in range(len(x)):
        w[(i, *(slice(a, b) for a, b in zip(start[i], stop[i])))] = 0
    return w


def cells(w: np.ndarray, sizes: Sequence[int]) -> np.ndarray:
    """Return the mean of ``w [B, *positions]`` over each cell of a coarser grid.

    A position that overlaps two cells counts in each by the fraction that is inside.
    """
    for axis, m in enumerate(sizes, start=1):
        n, parts = w.shape[axis], np.zeros((w.shape[axis], m))
        for p, c in np.ndindex(n, m):
            shared = min((p + 1) * m, (c + 1) * n) - max(p * m, c * n)
            parts[p, c] = max(shared, 0) / n  # a cell is n of m parts of a position
        w = np.moveaxis(np.tensordot(w, parts, axes=(axis, 0)), -1, axis)
    return w


def seen(terms: Terms) -> np.ndarray:
    """Return where any content with a nonzero weight is True."""
    return np.any([(w != 0) & (content != 0) for w, content in terms], axis=0)


def finite(terms: Terms) -> np.ndarray:
    """Return where every content with a nonzero weight is finite."""
    return np.all([(w == 0) | np.isfinite(each) for w, each in terms], axis=0)


def bits(x: np.ndarray) -> np.ndarray:
    """Return ``x`` as bytes, so that a NaN equals itself and 0 differs from -0."""
    return np.ascontiguousarray(x).view(np.uint8)


def assert_terms(got: Any, terms: Terms, slack: float = 0.0) -> None:
    """Assert that ``got`` is the sum of the terms.

    Content of weight 1 beside weights of 0 is returned exactly, in any dtype, and
    values that are not finite do not pass a weight of 0. Elsewhere, in float32 and
    wider, each weight, product and sum may be rounded once: one unit in the last place
    per term, for all of them together. Half precision is widened once and rounded once:
    half a unit of the result.
    """
    got, own = np.asarray(got), terms[0][1]
    assert got.dtype == own.dtype
    assert got.shape == own.shape
    weights = np.stack([np.broadcast_to(w, own.shape) for w, _ in terms])
    whole = (weights == 1) & (np.count_nonzero(weights, axis=0) == 1)
    for only, (_, content) in zip(whole, terms):
        np.testing.assert_array_equal(bits(got[only]), bits(content[only]))
    if not jnp.issubdtype(own.dtype, jnp.inexact):
        assert whole.any(axis=0).all()
        return
    inside = finite(terms)
    np.testing.assert_array_equal(np.isfinite(got), inside)
    contents = [
        np.where(inside & (w != 0), double(content), 0)
        for w, (_, content) in zip(weights, terms)
    ]
    exact = sum(w * content for w, content in zip(weights, contents))
    size = sum(np.abs(w * content) for w, content in zip(weights, contents))
    info = jnp.finfo(own.dtype)
    if info.bits <= 16:
        bound = float(info.eps) / 2 * np.abs(exact) * (1 + 1e-3) + 8 * EPS * size
    else:
        bound = max(2, len(terms)) * float(info.eps) * size
    bound += float(info.smallest_subnormal) + slack * sum(map(np.abs, contents))
    error = np.abs(np.where(inside, double(got), 0) - exact)
    assert (error <= bound).all(), error.max()


def assert_mixed(got: Any, w: Any, x: Any, partner: Any) -> None:
    """Assert that ``got`` is ``w x + (1 - w) x[partner]``, as ``assert_terms`` does."""
    assert_terms(got, two(w, x, partner))


def assert_equal(got: Any, want: Any) -> None:
    """Assert that two pytrees are the same, bit for bit."""
    chex.assert_trees_all_equal(got, want, strict=True)


def assert_close(got: Any, want: Any, relative: float = 1e-6) -> None:
    """Assert that two pytrees agree to ``relative`` of their largest value.

    Compilers fuse multiplications with additions differently in every program, which
    changes the last bit. Half precision has fewer bits, so its last one is larger.
    """
    got, want = (jax.tree.map(np.asarray, tree) for tree in (got, want))
    chex.assert_trees_all_equal_shapes_and_dtypes(got, want)
    for g, w in zip(jax.tree.leaves(got), jax.tree.leaves(want)):
        if not jnp.issubdtype(w.dtype, jnp.inexact):
            np.testing.assert_array_equal(g, w)
            continue
        rtol = max(relative, float(jnp.finfo(w.dtype).eps))
        scale = np.max(np.abs(double(w)), initial=0)
        np.testing.assert_allclose(double(g), double(w), rtol=rtol, atol=rtol * scale)
