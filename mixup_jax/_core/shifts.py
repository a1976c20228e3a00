"""Rows moved by shifts along axis 1, for compilers that fuse no other movement.

Rows shifted out of their block are never used, so blocks may be joined to longer ones.
"""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import Array

from mixup_jax._core.mesh import laid_like


def stepped(rows: Array, places: Sequence[int]) -> Array:
    """Return ``rows`` moved by ``places`` within each block of axis 1.

    Args:
      rows: ``[N, n * block, ...]``.
      places: for each place in a block, the place that its row comes from.
    """
    place = jax.lax.rem(row_numbers(rows), jnp.int32(len(places)))
    first, *others = steps(places)
    found = shifted(rows, by=first)
    for step in others:
        these = [k for k, there in enumerate(places) if there - k == step]
        travels = functools.reduce(jnp.logical_or, (place == k for k in these))
        found = where(travels, shifted(rows, by=step), found)
    return found


def steps(places: Sequence[int]) -> list[int]:
    """Return the distinct distances that the rows of a block travel."""
    return sorted({place - k for k, place in enumerate(places)})


def shifted(rows: Array, *, by: int) -> Array:
    """Return ``rows[:, i + by]``, with zeros beyond the ends."""
    padding = [(-by, by, 0) if n == 1 else (0, 0, 0) for n in range(rows.ndim)]
    return jax.lax.pad(rows, jnp.zeros((), rows.dtype), padding)


def row_numbers(rows: Array) -> Array:
    """Return the index of each row along axis 1, int32 ``[1, N, 1, ...]``."""
    shape = (1, rows.shape[1]) + (1,) * (rows.ndim - 2)
    return jax.lax.broadcasted_iota(jnp.int32, shape, 1)


def where(condition: Array, these: Array, others: Array) -> Array:
    """Return the rows in ``these`` where a condition holds, otherwise in ``others``."""
    # An Explicit mesh requires all of them to have the same sharding.
    return jnp.where(laid_like(condition, these), these, others)
