"""Affinities: log weights of pairs of examples."""

from collections.abc import Callable
from typing import Any, Protocol, TypeAlias, TypeVar

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from mixup_jax._core import checks
from mixup_jax._core.made import made
from mixup_jax._core.types import Batch
from mixup_jax.pairings._classes import class_ids
from mixup_jax.pairings._distances import (
    aligned,
    differences,
    distances_of_rows,
    parts,
    squared_distances,
    taken,
)
from mixup_jax.pairings._positions import positions

Rows: TypeAlias = Callable[[Array], Array]  # from positions [n] to scores [n, B]
A = TypeVar("A", bound=Callable[..., Array])


class Affinity(Protocol):
    """A function that scores candidate partners by log weights.

    A score of -inf excludes a candidate.

    ``weighted`` draws partners from the batch. To draw them from a larger pool instead
    (as C-Mixup does, from the whole training set), append the drawn examples to the
    batch and pair its two halves, as in the example below.

    An affinity may have a method ``rows(batch)``, which makes it possible to compute
    the scores of a batch in blocks of rows. It returns a function from positions, int32
    ``[n]``, to the scores of these examples, float32 ``[n, B]``. The affinities of this
    module have it.

    Example:
      >>> from functools import partial
      >>> import jax, jax.numpy as jnp, mixup_jax as mx
      >>> near = mx.pairings.label_kernel(bandwidth=0.1)
      >>> pool = (jnp.ones((100, 3)), jnp.linspace(0, 1, 100))
      >>> batch = jax.tree.map(lambda leaf: leaf[::25], pool)
      >>> key_pool, key = jax.random.split(jax.random.key(0))
      >>> drawn = jax.random.categorical(key_pool, near(batch, pool), axis=1)
      >>> both = jax.tree.map(
      ...     lambda own, rest: jnp.concatenate([own, rest[drawn]]), batch, pool
      ... )
      >>> halves = partial(mx.pairings.roll, shift=4)
      >>> (x, y), mix = mx.mixup(key, both, pairing=halves)
      >>> mix.partner
      Array([4, 5, 6, 7, 0, 1, 2, 3], dtype=int32)
    """

    def __call__(self, batch: Batch, candidates: Batch | None = None) -> Array:
        """Return scores, float32 ``[A, B]``, for A examples and B candidates.

        Without ``candidates``, the batch itself provides them, and no example is its
        own nearest neighbor.
        """
        ...


def rows_of(affinity: Any) -> Callable[[Batch], Rows] | None:
    """Return the method ``rows`` of an affinity, or ``None`` if it has none."""
    return getattr(affinity, "rows", None)


def _with_rows(rows: Callable[[Batch], Rows] | None) -> Callable[[A], A]:
    """Decorate an affinity to have the method ``rows``."""

    def decorate(affinity: Any) -> Any:
        affinity.rows = rows
        return affinity

    return decorate


@made
def label_kernel(*, bandwidth: ArrayLike) -> Affinity:
    """Return the affinity of similar targets: a Gaussian of their distance (C-Mixup).

    ::

        affinity[i, j] = -|y_i - y_j|^2 / (2 bandwidth^2)

    An example whose targets contain a NaN or an infinity has a score of -inf with every
    other. Integers and float64 are subtracted in full precision; only the difference is
    rounded to float32.

    Args:
      bandwidth: positive scalar in the units of the targets; may be a traced value.

    Returns:
      The affinity.

    Raises:
      TypeError: If ``bandwidth`` is not a real number.
      ValueError: If ``bandwidth`` is not a scalar, or a concrete value is not positive.
        If the batch that the affinity is called with has no targets.

    Example:
      >>> import jax.numpy as jnp, mixup_jax as mx
      >>> batch = (None, jnp.array([0.0, 2.0]))
      >>> mx.pairings.label_kernel(bandwidth=1.0)(batch)
      Array([[-0., -2.],
             [-2., -0.]], dtype=float32)

    References:
      Yao et al., "C-Mixup: Improving Generalization in Regression", NeurIPS 2022,
      https://arxiv.org/abs/2210.05775.
    """
    advice = "Pass the distance within which targets count as similar."
    smallest = float(np.finfo(np.float32).tiny)
    checks.number(bandwidth, "label_kernel: bandwidth", smallest, advice=advice)
    one = "It applies to all targets; scale them to the same spread first."
    checks.shaped(bandwidth, "label_kernel: bandwidth", [()], one)

    def kernel(distances: Array) -> Array:
        width = jnp.asarray(bandwidth, jnp.float32)
        return -distances / (2 * width**2)

    def rows(batch: Batch) -> Rows:
        distances = distances_of_rows(checks.pair(batch)[1], "targets")
        return lambda places: kernel(distances(places))

    @_with_rows(rows)
    def affinity(batch: Batch, candidates: Batch | None = None) -> Array:
        own, others = (checks.pair(b)[1] for b in (batch, candidates or batch))
        return kernel(squared_distances(own, others, "targets"))

    return affinity


@made
def nearest(k: int, *, among: Affinity | None = None) -> Affinity:
    """Return the affinity of the ``k`` nearest neighbors: 0 for them, -inf for others.

    Inputs are compared by Euclidean distance over all leaves, in float32; integers and
    float64 are subtracted in full precision. No example is its own neighbor. Candidates
    at the same distance as the k-th are included. An example that contains a NaN or an
    infinity neither has neighbors nor is one.

    For leaves of which more than 2^24 numbers would be subtracted (examples x
    candidates x features), distances are computed by a matrix product. Its error is
    relative to the squared distance from the mean, so examples that are 1000 times
    closer to each other than to the mean are not reliably told apart.

    Args:
      k: number of neighbors, at least 1. If there are fewer candidates, all are taken.
      among: affinity that restricts the candidates to those it does not score as -inf,
        such as ``of_same_class``. ``None`` admits all.

    Returns:
      The affinity.

    Raises:
      ValueError: If ``k`` is less than 1.

    Example:
      >>> import jax, mixup_jax as mx
      >>> nearest = mx.pairings.nearest(1, among=mx.pairings.of_same_class)
      >>> x = jax.numpy.array([[0.0], [1.0], [3.0], [4.5]])
      >>> batch = (x, jax.numpy.array([0, 1, 0, 1]))
      >>> mx.pairings.weighted(nearest)(jax.random.key(0), batch).index
      Array([2, 3, 0, 1], dtype=int32)
    """
    if k < 1:
        raise ValueError(
            f"nearest: expected at least 1 neighbor; got {k}. To disable mixing, use "
            "mixup_jax.erm."
        )

    def near(distances: Array, included: Array | None) -> Array:
        if included is not None:
            distances = jnp.where(included > -jnp.inf, distances, jnp.inf)
        last = min(k, distances.shape[1]) - 1
        kth = jnp.sort(distances, axis=1)[:, last][:, None]
        return _log((distances <= kth) & (distances < jnp.inf))

    rows_among = None if among is None else rows_of(among)

    def rows(batch: Batch) -> Rows:
        of_batch = distances_of_rows(checks.pair(batch)[0], "inputs")
        included = None if rows_among is None else rows_among(batch)

        def scores(places: Array) -> Array:
            distances = of_batch(places)
            itself = places[:, None] == positions(distances.shape[1])[None]
            distances = jnp.where(itself, jnp.inf, distances)
            return near(distances, None if included is None else included(places))

        return scores

    @_with_rows(rows if among is None or rows_among else None)
    def affinity(batch: Batch, candidates: Batch | None = None) -> Array:
        own, others = (checks.pair(b)[0] for b in (batch, candidates or batch))
        distances = squared_distances(own, others, "inputs")
        if candidates is None:
            itself = jnp.eye(distances.shape[0], dtype=bool)
            distances = jnp.where(itself, jnp.inf, distances)
        return near(distances, None if among is None else among(batch, candidates))

    return affinity


def _rows_of_classes(batch: Batch) -> Rows:
    ids = parts(class_ids(batch, None))
    return lambda places: _same(taken(ids, places), ids)


@_with_rows(_rows_of_classes)
def of_same_class(batch: Batch, candidates: Batch | None = None) -> Array:
    """Return 0 for candidates of the same class, and -inf for all others.

    The targets determine the classes, as for ``same_class``; those of the candidates
    may have any dtype. This affinity is meant to be added to another, or passed to
    ``nearest``.

    Args:
      batch: pair ``(inputs, targets)``.
      candidates: pair ``(inputs, targets)``; ``None`` takes the batch itself.

    Returns:
      Scores, float32 ``[A, B]``, for A examples and B candidates.

    Raises:
      ValueError: If the targets are not a single array of class ids ``[B]`` or class
        weights ``[B, K]``.

    Example:
      >>> import jax.numpy as jnp, mixup_jax as mx
      >>> batch = (None, jnp.array([0, 1, 0]))
      >>> mx.pairings.of_same_class(batch)[0]
      Array([  0., -inf,   0.], dtype=float32)
    """
    own = other = class_ids(batch, None)
    if candidates is not None:
        other = class_ids(candidates, None, unknown=-1 - own.shape[0])
    return _same(*aligned(parts(own), parts(other)))


def _same(a: list[Array], b: list[Array]) -> Array:
    return _log(differences(a, b)[:, :, 0] == 0)


def _log(allowed: Array) -> Array:
    """Return log weights: 0 where allowed, -inf elsewhere."""
    return jnp.where(allowed, jnp.float32(0), jnp.float32(-jnp.inf))
