"""The places of a batch."""

import jax.numpy as jnp
from jax import Array


def positions(size: int) -> Array:
    return jnp.arange(size, dtype=jnp.int32)
