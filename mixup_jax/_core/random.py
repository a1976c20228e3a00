"""Random numbers in the shapes that draws need."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from mixup_jax._core.mesh import sharding_of_rows
from mixup_jax._core.threefry import bits
from mixup_jax._core.words import Words


def words(key: Any, shape: tuple[int, ...]) -> Array:
    """Return uint32 ``shape``: rows of examples, one row, or one word for all."""
    if not isinstance(key, Words):
        return bits(key, shape)
    n, size = (1, 1, *shape)[-2:]
    return jax.lax.slice(key.rows, (key.first, 0), (key.first + n, size)).reshape(shape)


def uniforms(key: Any, shape: tuple[int, ...]) -> Array:
    """Draw from [0, 1), float32, as ``jax.random.uniform`` does; of words too."""
    fraction = (words(key, shape) >> 9) | 0x3F800000  # of a float in [1, 2)
    return jax.lax.bitcast_convert_type(fraction, jnp.float32) - 1


def integers_below(u: Array, count: Array) -> Array:
    """Return one of ``count`` integers from 0, each equally likely; -1 of none.

    Args:
      u: float32 uniform numbers.
      count: int32, of the same shape.
    """
    drawn = jnp.floor(u * count.astype(jnp.float32)).astype(jnp.int32)
    return jnp.minimum(drawn, count - 1)


def normal_rows(key: Array, shape: tuple[int, ...], x: Array) -> Array:
    """Draw standard normals, float32 ``shape``, each device the rows it has of ``x``.

    On an Explicit mesh every device would draw those of all others as well.
    """
    rows = sharding_of_rows(x, shape[0])
    return jax.random.normal(key, shape, jnp.float32, out_sharding=rows)
