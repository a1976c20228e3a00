"""What a region that pastes leaves of lam."""

import math

import jax
import jax.numpy as jnp
from jax import Array

from mixup_jax._core.grid import Grid


def from_pixels(drawn: Array, pixels: Array) -> Array:
    """Return the share of the positions that the own content kept."""
    del drawn
    return pixels


def as_drawn(drawn: Array, pixels: Array) -> Array:
    """Return ``lam`` as the ratio drew it, whatever the box left of it.

    Labels then no longer say what was pasted; on fine-grained data that was found to
    train better (pytorch-image-models, issue 8). They stay in the range of a
    ``ratios.folded`` or ``ratios.truncated`` ratio, and have a gradient by ``alpha``.
    """
    del pixels
    return drawn


def side_of(
    lam: Array, positions: Grid, min_size: float = 0.0, max_size: float = 1.0
) -> Array:
    """Return the sides of a box of ``1 - lam`` of the positions, int32 ``[B, S]``."""
    n = jnp.asarray([positions.sizes], jnp.float32)
    # Whole positions have no derivative, and that of the power is infinite at lam = 1.
    rest = 1 - jax.lax.stop_gradient(lam)
    sides = jnp.clip(rest ** (1 / len(positions.sizes)), min_size, max_size)
    side = jnp.round(sides[:, None] * n).astype(jnp.int32)
    return jnp.where(lam[:, None] < 1, side, 0)


def outside(start: Array, stop: Array, positions: Grid) -> Array:
    """Return the share of the positions outside a box, float32 ``[B]``."""
    total = math.prod(positions.sizes)
    return own_share(jnp.prod(stop - start, axis=1), total)


def own_share(theirs: Array, total: int) -> Array:
    """Return the share of ``total`` positions that are not the partner's."""
    # XLA would divide by a constant as a product with its inverse, which is rounded.
    whole = jnp.maximum(theirs, total)
    return (total - theirs).astype(jnp.float32) / whole.astype(jnp.float32)
