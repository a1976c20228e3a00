"""What a region that pastes leaves of lam."""

import math

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from mixup_jax._core import arrays
from mixup_jax._core.follow import content
from mixup_jax._core.grid import Grid
from mixup_jax._core.region import Region, field, through
from mixup_jax._core.types import Partners


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
    rest, axes = 1 - jax.lax.stop_gradient(lam), len(positions.sizes)
    root = jnp.sqrt(rest) if axes == 2 else rest ** (1 / axes)  # which compiles faster
    sides = jnp.clip(root, min_size, max_size)
    side = jnp.round(sides[:, None] * n).astype(jnp.int32)
    return jnp.where(lam[:, None] < 1, side, 0)


def outside(start: Array, stop: Array, positions: Grid) -> Array:
    """Return the share of the positions outside a box, float32 ``[B]``."""
    total = math.prod(positions.sizes)
    return own_share(jnp.prod(stop - start, axis=1), total)


def of_valid(
    pixels: Array,
    region: Region,
    lam: Array,
    partners: Partners | None,
    valid: ArrayLike | None,
) -> Array:
    """Return the share of the valid positions seen that are the own content's.

    ::

        kept = sum_q w[q] * valid[q],  shown = sum_q (1 - w[q]) * T(valid of partner)[q]
        lam  = kept / (kept + shown),  1 if nothing is seen

    Args:
      pixels: the share of all positions, which is returned where ``valid`` is None.
      region: what was drawn, of the weights ``w`` and the window ``T``.
      lam: float32 ``[B]``, as the ratio drew it.
      partners: whose content the region shows.
      valid: bool ``[B, *sizes]``, or of size 1 where all positions of an axis are
        alike.
    """
    if valid is None:
        return pixels
    own, sizes = jnp.asarray(arrays.array(content(valid, "valid"))), _sizes_of(region)
    if own.dtype != jnp.bool_:
        raise TypeError(
            "valid: expected bools, True where a position holds something; got "
            f"{arrays.describe(own)}. Compare first: mask > 0."
        )
    fits = own.ndim == 1 + len(sizes) and own.shape[0] == lam.shape[0]
    if not fits or any(n not in (1, m) for n, m in zip(own.shape[1:], sizes)):
        raise ValueError(
            f"valid: expected shape {(lam.shape[0], *sizes)}, a bool for each position "
            f"of each example, or 1 along an axis; got {own.shape}. Give it the "
            "spatial axes alone."
        )
    if partners is None:
        raise TypeError("valid: expected partners, whose positions count; got None.")
    own = jnp.broadcast_to(own, (lam.shape[0], *sizes))
    w, theirs = field(region, lam, own), through(region, partners.bring(own))
    kept, shown = _total(w, own), _total(~w if region.pastes else 1 - w, theirs)
    found = (kept + shown).astype(jnp.float32)
    kept = kept.astype(jnp.float32)
    return jnp.where(found > 0, kept / jnp.where(found > 0, found, 1), 1.0)


def _sizes_of(region: Region) -> tuple[int, ...]:
    assert region.grid is not None
    return region.grid.sizes


def _total(w: Array, among: Array) -> Array:
    """Return the sum of the weights of each example, int32 of bools."""
    counted = jnp.where(among, w, jnp.zeros_like(w))
    dtype = jnp.int32 if w.dtype == jnp.bool_ else w.dtype
    return jnp.sum(counted, axis=tuple(range(1, among.ndim)), dtype=dtype)


def own_share(theirs: Array, total: int) -> Array:
    """Return the share of ``total`` positions that are not the partner's."""
    # XLA would divide by a constant as a product with its inverse, which is rounded.
    whole = jnp.maximum(theirs, total)
    return (total - theirs).astype(jnp.float32) / whole.astype(jnp.float32)
