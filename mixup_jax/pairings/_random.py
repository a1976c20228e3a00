"""Pairings drawn from one random permutation."""

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
    """Return the number of sort keys per example, as in ``jax.random.permutation``."""
    del draw
    return Whole(
        max(1, math.ceil(3 * math.log(checks.examples(batch)) / math.log(2**32)))
    )


@reads(_rounds)
def permutation(key: Array, batch: Batch) -> Partners:
    """Pair examples by a uniformly random permutation, which may have fixed points.

    On average, one example of a batch is its own partner and is not mixed. This is the
    pairing of the original Mixup code; use ``derangement`` to mix all examples.

    On a sharded batch, the whole batch is gathered. Inside ``per_device``, no
    communication is needed.

    Args:
      key: PRNG key.
      batch: pair ``(inputs, targets)``.

    Returns:
      The partners.

    Raises:
      ValueError: If the batch is empty or its leaves disagree on the batch size.

    Example:
      >>> import jax, mixup_jax as mx
      >>> batch = (jax.numpy.zeros((4, 3)), None)
      >>> jax.numpy.sort(mx.pairings.permutation(jax.random.key(0), batch).index)
      Array([0, 1, 2, 3], dtype=int32)
    """
    return Partners(_shuffled(key, batch), Gather())


@reads(_rounds)
def derangement(key: Array, batch: Batch) -> Partners:
    """Pair examples along a random ring through the whole batch, without fixed points.

    Each other example is equally likely to be the partner. The cost on a sharded batch
    is as for ``permutation``.

    Args:
      key: PRNG key.
      batch: pair ``(inputs, targets)``.

    Returns:
      The partners.

    Raises:
      ValueError: If the batch is empty or its leaves disagree on the batch size.

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
    """Return the positions of the examples, sorted by random words."""
    rounds, size = _rounds(None, batch), checks.examples(batch)
    rows = words(key, (rounds, size))
    return jax.lax.sort([*rows, positions(size)], num_keys=rounds)[-1]
