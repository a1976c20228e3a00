"""Affinities: log weights of each pair of examples."""

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

Rows: TypeAlias = Callable[[Array], Array]  # of places [n]: their scores [n, B]
A = TypeVar("A", bound=Callable[..., Array])


class Affinity(Protocol):
    """Scores partners by log weights: -inf for who is none.

    ``weighted`` draws from the batch. To draw from a pool (C-Mixup: from the whole
    training set), put what was drawn behind the batch, and pair the halves:

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

    One that has a method ``rows(batch)`` can be asked for some rows of the scores of a
    batch: it returns a function of their places, int32 ``[n]``, which returns float32
    ``[n, B]``. Those of this module have one.
    """

    def __call__(self, batch: Batch, candidates: Batch | None = None) -> Array:
        """Return float32 ``[A, B]`` for A examples and B candidates.

        Without candidates they are the batch itself, and nobody is its own neighbour.
        """
        ...


def rows_of(affinity: Any) -> Callable[[Batch], Rows] | None:
    """Return what an affinity is asked for some rows by; None if it has no such."""
    return getattr(affinity, "rows", None)


def _asked_by(rows: Callable[[Batch], Rows] | None) -> Callable[[A], A]:
    """Give an affinity the method ``rows``."""

    def with_rows(affinity: Any) -> Any:
        affinity.rows = rows
        return affinity

    return with_rows


@made
def label_kernel(*, bandwidth: ArrayLike) -> Affinity:
    """Return the affinity of near targets: a Gaussian of their distance (C-Mixup).

    ``affinity[i, j] = -|y_i - y_j|^2 / (2 bandwidth^2)``

    Who holds a NaN or an infinity is infinitely far from everybody: -inf. Integers and
    float64 are subtracted as they are, and only the difference is rounded to float32.

    Args:
      bandwidth: scalar above 0, in the units of the targets, may be traced.

    Raises:
      ValueError: If ``bandwidth`` is no scalar, or a concrete one not above 0; (when
        called) if there are no targets.

    Example:
      >>> import jax.numpy as jnp, mixup_jax as mx
      >>> batch = (None, jnp.array([0.0, 2.0]))
      >>> mx.pairings.label_kernel(bandwidth=1.0)(batch)
      Array([[-0., -2.],
             [-2., -0.]], dtype=float32)
    """
    advice = "A wide one is a random permutation; give the spread of a neighbourhood."
    smallest = float(np.finfo(np.float32).tiny)
    checks.number(bandwidth, "label_kernel: bandwidth", smallest, advice=advice)
    one = "One serves all; divide targets of different spread by theirs."
    checks.shaped(bandwidth, "label_kernel: bandwidth", [()], one)

    def kernel(distances: Array) -> Array:
        width = jnp.asarray(bandwidth, jnp.float32)
        return -distances / (2 * width**2)

    def rows(batch: Batch) -> Rows:
        distances = distances_of_rows(checks.pair(batch)[1], "targets")
        return lambda places: kernel(distances(places))

    @_asked_by(rows)
    def affinity(batch: Batch, candidates: Batch | None = None) -> Array:
        own, others = (checks.pair(b)[1] for b in (batch, candidates or batch))
        return kernel(squared_distances(own, others, "targets"))

    return affinity


@made
def nearest(k: int, *, among: Affinity | None = None) -> Affinity:
    """Return the affinity of the ``k`` nearest inputs: 0 for them, -inf for others.

    By Euclidean distance over all leaves, in float32; integers and float64 are
    subtracted as they are. Nobody is its own neighbour; who is as far as the k-th
    counts too. Who holds a NaN or an infinity is nobody's neighbour, and has none.

    Of a large leaf, more than 2^24 numbers to be subtracted (examples x candidates x
    features), distances come from a matrix product. Its error is that of the squared
    distance from the mean: neighbours much nearer to each other than to the mean, 1000
    times and more, are then told apart badly.

    Args:
      k: how many, at least 1. With fewer candidates all are taken.
      among: only candidates to which this gives a weight: ``of_same_class``.

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
            f"nearest: expected at least 1 neighbour; got {k}. Mix nothing with "
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

    @_asked_by(rows if among is None or rows_among else None)
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


@_asked_by(_rows_of_classes)
def of_same_class(batch: Batch, candidates: Batch | None = None) -> Array:
    """Return 0 for candidates of the same class, -inf for others, float32 ``[A, B]``.

    Targets tell the class, as for ``same_class``, those of the candidates in any dtype.
    To be added to another affinity, or handed to ``nearest``.

    Example:
      >>> import jax.numpy as jnp, mixup_jax as mx
      >>> batch = (None, jnp.array([0, 1, 0]))
      >>> mx.pairings.of_same_class(batch)[0]
      Array([  0., -inf,   0.], dtype=float32)
    """
    own = other = class_ids(batch, None)
    if candidates is not None:
        other = class_ids(candidates, None, nobody=-1 - own.shape[0])
    return _same(*aligned(parts(own), parts(other)))


def _same(a: list[Array], b: list[Array]) -> Array:
    return _log(differences(a, b)[:, :, 0] == 0)


def _log(allowed: Array) -> Array:
    """Return log weights: 0 where allowed, -inf elsewhere."""
    return jnp.where(allowed, jnp.float32(0), jnp.float32(-jnp.inf))
