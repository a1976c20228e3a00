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

_MOST_AT_ONCE = 4096  # examples, whose scores take 64 MB
_MOST_IN_BLOCK = 2**23  # scores


@made
def weighted(affinity: Callable[[Batch], Array]) -> Pairing:
    """Return the pairing that draws partners in proportion to a weight.

    ::

        P(partner(i) = j) = exp(affinity[i, j]) / sum_{k != i} exp(affinity[i, k])

    The result need not be a permutation. An example without candidates of positive
    weight is its own partner, with ``lam = 1``. Among these are examples whose compared
    values contain a NaN or an infinity, which are never drawn as partners either. A
    score of NaN is a weight of 0.

    Scoring all pairs takes an array of shape ``[B, B]``. For more than 4096 examples,
    scores are computed in a loop over blocks of rows, with at most 2^23 scores at a
    time, if the affinity has a method ``rows`` (see ``Affinity``). A sum of affinities
    does not have it.

    On a sharded batch, the values that the affinity compares and the batch are gathered
    once each, or once in all if they are the same. Inputs that are sharded within
    examples are gathered once to be compared and once to be mixed. On an Explicit mesh,
    and in blocks, each device computes all scores. Inside ``per_device``, nothing is
    gathered.

    Args:
      affinity: function from a batch to scores, floating-point ``[B, B]``, with -inf
        for a weight of 0: ``label_kernel``, ``nearest``, ``of_same_class``, or a
        function that returns their sum.

    Returns:
      The pairing.

    Raises:
      TypeError: If ``affinity`` is not callable.
      ValueError: If, when called with a batch, the scores are not of shape ``[B, B]``.

    Example:
      >>> import jax, mixup_jax as mx
      >>> pairing = mx.pairings.weighted(mx.pairings.label_kernel(bandwidth=0.1))
      >>> y = jax.numpy.array([0.0, 5.0, 0.1, 5.2])
      >>> pairing(jax.random.key(0), (jax.numpy.ones((4, 3)), y)).index
      Array([2, 3, 0, 1], dtype=int32)

    References:
      Yao et al., "C-Mixup: Improving Generalization in Regression", NeurIPS 2022,
      https://arxiv.org/abs/2210.05775.
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
    checks.shaped(scores, "affinity", [(size, size)], "Score each pair.")
    scores = _allowed(scores, jnp.eye(size, dtype=bool))
    drawn = jax.random.categorical(key, scores, axis=1).astype(jnp.int32)
    return jnp.where(_has_partner(scores), drawn, positions(size))


def _by_blocks(key: Array, batch: Batch, affinity: Any, size: int) -> Array:
    """Draw as ``_at_once``, with a key for each row, so that blocks do not matter."""
    rows = affinity.rows(batch)
    keys = jax.random.split(key, size)

    def drawn_for(places: Array) -> Array:
        scores = rows(places)
        shape = (places.shape[0], size)
        checks.shaped(scores, "affinity: rows", [shape], "Score each candidate.")
        scores = _allowed(scores, places[:, None] == positions(size)[None])
        drawn = jax.vmap(jax.random.categorical)(keys[places], scores)
        return jnp.where(_has_partner(scores), drawn.astype(jnp.int32), places)

    block = max(1, _MOST_IN_BLOCK // size)
    count = -(-size // block)
    # The last block is padded with the last example.
    places = jnp.minimum(positions(count * block), size - 1).reshape(count, block)
    # If the rows of a block were sharded, each iteration would need a gather.
    return replicated(jax.lax.map(drawn_for, places).reshape(-1)[:size])


def _allowed(scores: Array, itself: Array) -> Array:
    return jnp.where(itself | jnp.isnan(scores), -jnp.inf, scores)


def _has_partner(scores: Array) -> Array:
    return jnp.max(scores, axis=1) > -jnp.inf
