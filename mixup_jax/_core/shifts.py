"""Rows that are shifted along axis 1, where a compiler fuses no other movement.

A shift that leaves a block is never looked at, so blocks may be joined to longer ones.
"""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import Array

from mixup_jax._core.mesh import laid_like


def stepped(rows: Array, places: Sequence[int]) -> Array:
    """Return ``rows`` of the places within each block of axis 1, ``[N, n * block]``."""
    place = jax.lax.rem(row_numbers(rows), jnp.int32(len(places)))
    first, *others = steps(places)
    found = shifted(rows, by=first)
    for step in others:
        these = [k for k, there in enumerate(places) if there - k == step]
        travels = functools.reduce(jnp.logical_or, (place == k for k in these))
        found = where(travels, shifted(rows, by=step), found)
    return found


def steps(places: Sequence[int]) -> list[int]:
    """Return how far the rows of a block travel, each distance once."""
    return sorted({place - k for k, place in enumerate(places)})


def shifted(rows: Array, *, by: int) -> Array:
    """Return ``rows[:, i + by]``, zeros behind the ends."""
    padding = [(-by, by, 0) if n == 1 else (0, 0, 0) for n in range(rows.ndim)]
    return jax.lax.pad(rows, jnp.zeros((), rows.dtype), padding)


def row_numbers(rows: Array) -> Array:
    """Count along axis 1, one number a row."""
    shape = (1, rows.shape[1]) + (1,) * (rows.ndim - 2)
    return jax.lax.broadcasted_iota(jnp.int32, shape, 1)


def where(condition: Array, these: Array, others: Array) -> Array:
    """Return ``these`` rows where a condition holds, ``others`` elsewhere."""
    # An Explicit mesh wants all of them laid out alike.
    return jnp.where(laid_like(condition, these), these, others)
