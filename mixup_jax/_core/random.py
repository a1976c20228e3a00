"""Random numbers in the shapes that draws need."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from mixup_jax._core.mesh import sharding_of_rows
from mixup_jax._core.threefry import bits
from mixup_jax._core.words import Words


def words(key: Any, shape: tuple[int, ...]) -> Array:
    """Return uint32 words of ``shape``: ``[n, B]``, ``[B]``, or a scalar for all."""
    if not isinstance(key, Words):
        return bits(key, shape)
    n, size = (1, 1, *shape)[-2:]
    return jax.lax.slice(key.rows, (key.first, 0), (key.first + n, size)).reshape(shape)


def uniforms(key: Any, shape: tuple[int, ...]) -> Array:
    """Draw float32 uniform numbers in [0, 1) from a key, or convert them from words."""
    fraction = (words(key, shape) >> 9) | 0x3F800000  # the bits of a float in [1, 2)
    return jax.lax.bitcast_convert_type(fraction, jnp.float32) - 1


def integers_below(u: Array, count: Array) -> Array:
    """Return integers in [0, count), each equally likely; -1 where ``count`` is 0.

    Args:
      u: float32 uniform numbers in [0, 1).
      count: int32, of the same shape.
    """
    drawn = jnp.floor(u * count.astype(jnp.float32)).astype(jnp.int32)
    return jnp.minimum(drawn, count - 1)


def normal_rows(key: Array, shape: tuple[int, ...], x: Array) -> Array:
    """Draw float32 standard normal numbers, sharded like the rows of ``x``.

    Otherwise every device of an Explicit mesh would draw the rows of all devices.
    """
    rows = sharding_of_rows(x, shape[0])
    return jax.random.normal(key, shape, jnp.float32, out_sharding=rows)
