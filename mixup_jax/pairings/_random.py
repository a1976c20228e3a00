"""Pairings by one random permutation."""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from mixup_jax._core import checks
from mixup_jax._core.moves import Gather
from mixup_jax._core.random import words
from mixup_jax._core.types import Batch, Partners
from mixup_jax._core.words import Whole, reads
from mixup_jax.pairings._positions import positions


def _rounds(draw: Any, batch: Batch) -> int:
    """Return how many words tell examples apart, as many as ``jax.random`` takes."""
    del draw
    return Whole(
        max(1, math.ceil(3 * math.log(checks.examples(batch)) / math.log(2**32)))
    )


@reads(_rounds)
def permutation(key: Array, batch: Batch) -> Partners:
    """Pair by a uniformly random permutation, which may leave fixed points.

    One example in a batch is its own partner on average, and is not mixed. This is the
    pairing of the paper's code; ``derangement`` leaves nobody out.

    Cost on a sharded batch: the whole batch is gathered. On each device by itself
    (``per_device``): none.

    Example:
      >>> import jax, mixup_jax as mx
      >>> batch = (jax.numpy.zeros((4, 3)), None)
      >>> jax.numpy.sort(mx.pairings.permutation(jax.random.key(0), batch).index)
      Array([0, 1, 2, 3], dtype=int32)
    """
    return Partners(_shuffled(key, batch), Gather())


@reads(_rounds)
def derangement(key: Array, batch: Batch) -> Partners:
    """Pair along one random ring through the whole batch, so without fixed points.

    Everybody else is equally likely to be the partner.

    Cost on a sharded batch: as ``permutation``.

    Example:
      >>> import jax, mixup_jax as mx
      >>> batch = (jax.numpy.zeros((4, 3)), None)
      >>> jax.numpy.sort(mx.pairings.derangement(jax.random.key(0), batch).index)
      Array([0, 1, 2, 3], dtype=int32)
    """
    ring = _shuffled(key, batch)
    index = jnp.zeros_like(ring).at[ring].set(jnp.roll(ring, 1))
    return Partners(index, Gather())


def _shuffled(key: Array, batch: Batch) -> Array:
    """Return the places of the examples in the order of random words."""
    rounds, size = _rounds(None, batch), checks.examples(batch)
    rows = words(key, (rounds, size))
    return jax.lax.sort([*rows, positions(size)], num_keys=rounds)[-1]
