"""The share of its own content that a pasting region leaves to each example."""

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
    """Return the share of the positions that the example's own content kept.

    Args:
      drawn: ``lam`` as drawn by the ratio, float32 ``[B]``; not used.
      pixels: share of the positions, float32 ``[B]``.

    Returns:
      ``pixels``.
    """
    del drawn
    return pixels


def as_drawn(drawn: Array, pixels: Array) -> Array:
    """Return ``lam`` as drawn by the ratio, regardless of what the region pasted.

    The targets then no longer match the content exactly, which was reported to train
    better on fine-grained data [1]. They stay in the range of ``ratios.folded`` or
    ``ratios.truncated``, and have a gradient with respect to ``alpha``.

    Args:
      drawn: ``lam`` as drawn by the ratio, float32 ``[B]``.
      pixels: share of the positions, float32 ``[B]``; not used.

    Returns:
      ``drawn``.

    References:
      [1] https://github.com/huggingface/pytorch-image-models/issues/8
    """
    del pixels
    return drawn


def side_of(
    lam: Array, positions: Grid, min_size: float = 0.0, max_size: float = 1.0
) -> Array:
    """Return the sides of a box of ``1 - lam`` of the positions, int32 ``[B, S]``."""
    n = jnp.asarray([positions.sizes], jnp.float32)
    # Rounding has no gradient, and that of the power is infinite at lam = 1.
    rest, axes = 1 - jax.lax.stop_gradient(lam), len(positions.sizes)
    root = jnp.sqrt(rest) if axes == 2 else rest ** (1 / axes)  # sqrt compiles faster
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
    """Return the own share of the visible valid positions, float32 ``[B]``.

    ::

        kept = sum_q w[q] * valid[q],  shown = sum_q (1 - w[q]) * T(valid of partner)[q]
        lam  = kept / (kept + shown),  1 if no valid position is visible

    Args:
      pixels: share of all positions, which is returned if ``valid`` is ``None``.
      region: the drawn region, with weights ``w`` and window ``T``.
      lam: float32 ``[B]``, as drawn by the ratio.
      partners: the partners, whose content the region shows.
      valid: bool ``[B, *sizes]``, or of size 1 along axes on which it is constant.

    Raises:
      TypeError: If ``valid`` is not an array of bools, or ``partners`` is ``None``.
      ValueError: If ``valid`` has another shape.
    """
    if valid is None:
        return pixels
    own, sizes = jnp.asarray(arrays.array(content(valid, "valid"))), _sizes_of(region)
    if own.dtype != jnp.bool_:
        raise TypeError(
            "valid: expected bools, True for positions that are not padding; got "
            f"{arrays.describe(own)}. Pass a comparison, such as mask > 0."
        )
    fits = own.ndim == 1 + len(sizes) and own.shape[0] == lam.shape[0]
    if not fits or any(n not in (1, m) for n, m in zip(own.shape[1:], sizes)):
        raise ValueError(
            f"valid: expected shape {(lam.shape[0], *sizes)}, or size 1 along spatial "
            f"axes; got shape {own.shape}. Pass a bool for each position of each "
            "example, without a channel axis."
        )
    if partners is None:
        raise TypeError(
            "valid: expected partners, whose valid positions count too; got None. Pass "
            "what the pairing returns."
        )
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
    """Return the sum of each example's weights, int32 for bools."""
    counted = jnp.where(among, w, jnp.zeros_like(w))
    dtype = jnp.int32 if w.dtype == jnp.bool_ else w.dtype
    return jnp.sum(counted, axis=tuple(range(1, among.ndim)), dtype=dtype)


def own_share(theirs: Array, total: int) -> Array:
    """Return the share of ``total`` positions that is not the partner's."""
    # XLA replaces division by a constant with a product by its rounded inverse.
    whole = jnp.maximum(theirs, total)
    return (total - theirs).astype(jnp.float32) / whole.astype(jnp.float32)
