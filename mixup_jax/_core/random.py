"""Random numbers in the shapes that draws need."""

import jax
import jax.numpy as jnp
from jax import Array

from mixup_jax._core.mesh import sharding_of_rows


def uniform_below(key: Array, count: Array) -> Array:
    """Draw one of ``count`` integers from 0, each equally likely; -1 of none.

    Args:
      key: PRNG key.
      count: int32, of any shape, which is that of the result.
    """
    u = jax.random.uniform(key, count.shape, jnp.float32)
    drawn = jnp.floor(u * count.astype(jnp.float32)).astype(jnp.int32)
    return jnp.minimum(drawn, count - 1)


def normal_rows(key: Array, shape: tuple[int, ...], x: Array) -> Array:
    """Draw standard normals, float32 ``shape``, each device the rows it has of ``x``.

    On an Explicit mesh every device would draw those of all others as well.
    """
    rows = sharding_of_rows(x, shape[0])
    return jax.random.normal(key, shape, jnp.float32, out_sharding=rows)
