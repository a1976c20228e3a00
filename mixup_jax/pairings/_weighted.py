"""Pairings drawn in proportion to a weight of each pair."""

from collections.abc import Callable
from typing import Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from mixup_jax._core import checks
from mixup_jax._core.made import made
from mixup_jax._core.moves import Gather
from mixup_jax._core.types import Batch, Pairing, Partners
from mixup_jax.pairings._classes import class_ids
from mixup_jax.pairings._distances import aligned, differences, parts, squared_distances
from mixup_jax.pairings._positions import positions


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
    """

    def __call__(self, batch: Batch, candidates: Batch | None = None) -> Array:
        """Return float32 ``[A, B]`` for A examples and B candidates.

        Without candidates they are the batch itself, and nobody is its own neighbour.
        """
        ...


@made
def weighted(affinity: Callable[[Batch], Array]) -> Pairing:
    """Return the pairing that draws partners in proportion to a weight.

    ``P(partner(i) = j) = exp(affinity[i, j]) / sum_k exp(affinity[i, k])``, k != i

    The map need not be a permutation. Who has no candidate of weight above 0 keeps
    itself, with ``lam = 1``: so does who is infinitely far from everybody, because what
    is compared of it holds a NaN or an infinity, and nobody draws it. A score of NaN is
    a weight of 0.

    Cost: scores of every pair, B x B. On a sharded batch what the affinity compares and
    the batch are gathered; on each device by itself (``per_device``) nothing is.

    Args:
      affinity: ``batch -> [B, B]``, floating, -inf for a weight of 0:
        ``label_kernel``, ``nearest``, ``of_same_class``, or a sum of such.

    Raises:
      ValueError: the scores are not ``[B, B]``.

    Example:
      >>> import jax, mixup_jax as mx
      >>> pairing = mx.pairings.weighted(mx.pairings.label_kernel(bandwidth=0.1))
      >>> y = jax.numpy.array([0.0, 5.0, 0.1, 5.2])
      >>> pairing(jax.random.key(0), (jax.numpy.ones((4, 3)), y)).index
      Array([2, 3, 0, 1], dtype=int32)

    Source: Yao et al., "C-Mixup", NeurIPS 2022, arXiv:2210.05775.
    """
    checks.function(affinity, "weighted: affinity", "label_kernel(bandwidth=1.0)")

    def pairing(key: Array, batch: Batch) -> Partners:
        size = checks.examples(batch)
        scores = affinity(batch)
        checks.shaped(scores, "affinity", [(size, size)], "Score every pair.")
        none = jnp.eye(size, dtype=bool) | jnp.isnan(scores)
        scores = jnp.where(none, -jnp.inf, scores)
        drawn = jax.random.categorical(key, scores, axis=1).astype(jnp.int32)
        anybody = jnp.max(scores, axis=1) > -jnp.inf
        return Partners(jnp.where(anybody, drawn, positions(size)), Gather())

    return pairing


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

    def affinity(batch: Batch, candidates: Batch | None = None) -> Array:
        width = jnp.asarray(bandwidth, jnp.float32)
        own, others = (checks.pair(b)[1] for b in (batch, candidates or batch))
        distances = squared_distances(own, others, "targets")
        return -distances / (2 * width**2)

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

    def affinity(batch: Batch, candidates: Batch | None = None) -> Array:
        own, others = (checks.pair(b)[0] for b in (batch, candidates or batch))
        distances = squared_distances(own, others, "inputs")
        if candidates is None:
            itself = jnp.eye(distances.shape[0], dtype=bool)
            distances = jnp.where(itself, jnp.inf, distances)
        if among is not None:
            included = among(batch, candidates) > -jnp.inf
            distances = jnp.where(included, distances, jnp.inf)
        last = min(k, distances.shape[1]) - 1
        kth = jnp.sort(distances, axis=1)[:, last][:, None]
        near = (distances <= kth) & (distances < jnp.inf)
        return _log(near)

    return affinity


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
    a, b = aligned(parts(own), parts(other))
    return _log(differences(a, b)[:, :, 0] == 0)


def _log(allowed: Array) -> Array:
    """Return log weights: 0 where allowed, -inf elsewhere."""
    return jnp.where(allowed, jnp.float32(0), jnp.float32(-jnp.inf))
