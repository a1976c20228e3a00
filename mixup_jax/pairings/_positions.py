"""The positions of the examples in a batch."""

import jax.numpy as jnp
from jax import Array


def positions(size: int) -> Array:
    """Return ``[0, ..., size - 1]``, int32."""
    return jnp.arange(size, dtype=jnp.int32)
