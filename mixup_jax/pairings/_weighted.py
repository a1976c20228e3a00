"""Pairings drawn in proportion to a weight of each pair."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from mixup_jax._core import checks
from mixup_jax._core.made import made
from mixup_jax._core.mesh import replicated
from mixup_jax._core.moves import Gather
from mixup_jax._core.types import Batch, Pairing, Partners
from mixup_jax.pairings._affinities import rows_of
from mixup_jax.pairings._positions import positions

_MOST_AT_ONCE = 4096  # examples, of which scores take 64 MB
_MOST_IN_BLOCK = 2**23  # scores


@made
def weighted(affinity: Callable[[Batch], Array]) -> Pairing:
    """Return the pairing that draws partners in proportion to a weight.

    ``P(partner(i) = j) = exp(affinity[i, j]) / sum_k exp(affinity[i, k])``, k != i

    The map need not be a permutation. Who has no candidate of weight above 0 keeps
    itself, with ``lam = 1``: so does who is infinitely far from everybody, because what
    is compared of it holds a NaN or an infinity, and nobody draws it. A score of NaN is
    a weight of 0.

    Cost: scores of every pair, B x B. Of more than 4096 examples they are made and
    drawn from in blocks of rows, in a loop, if the affinity has a method ``rows`` (see
    ``Affinity``): no more than 2^23 scores are held at once. A sum of affinities has
    none. On a sharded batch what the affinity compares and the batch are gathered once,
    in one where they are the same; inputs of which an example is divided are gathered
    whole to be compared, and once more to be mixed. On an Explicit mesh, and in blocks,
    each device makes all scores. On each device by itself (``per_device``) nothing is
    gathered.

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
        rows = rows_of(affinity)
        index = _at_once if size <= _MOST_AT_ONCE or rows is None else _by_blocks
        return Partners(index(key, batch, affinity, size), Gather())

    return pairing


def _at_once(
    key: Array, batch: Batch, affinity: Callable[[Batch], Array], size: int
) -> Array:
    scores = affinity(batch)
    checks.shaped(scores, "affinity", [(size, size)], "Score every pair.")
    scores = _allowed(scores, jnp.eye(size, dtype=bool))
    drawn = jax.random.categorical(key, scores, axis=1).astype(jnp.int32)
    return jnp.where(_anybody(scores), drawn, positions(size))


def _by_blocks(key: Array, batch: Batch, affinity: Any, size: int) -> Array:
    """Draw as ``_at_once`` does, each row by a key of its own, whatever its block."""
    rows = affinity.rows(batch)
    keys = jax.random.split(key, size)

    def drawn_for(places: Array) -> Array:
        scores = rows(places)
        shape = (places.shape[0], size)
        checks.shaped(scores, "affinity: rows", [shape], "Score every candidate.")
        scores = _allowed(scores, places[:, None] == positions(size)[None])
        drawn = jax.vmap(jax.random.categorical)(keys[places], scores)
        return jnp.where(_anybody(scores), drawn.astype(jnp.int32), places)

    block = max(1, _MOST_IN_BLOCK // size)
    count = -(-size // block)
    # The last block ends with the last example again, until it is full.
    places = jnp.minimum(positions(count * block), size - 1).reshape(count, block)
    # A compiler that divided the rows of a block would gather in each turn of the loop.
    return replicated(jax.lax.map(drawn_for, places).reshape(-1)[:size])


def _allowed(scores: Array, itself: Array) -> Array:
    return jnp.where(itself | jnp.isnan(scores), -jnp.inf, scores)


def _anybody(scores: Array) -> Array:
    return jnp.max(scores, axis=1) > -jnp.inf
