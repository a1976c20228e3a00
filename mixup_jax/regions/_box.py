"""A box of the partner, pasted in the same place."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from mixup_jax._core import arrays, checks
from mixup_jax._core.grid import Grid, axes_for, grid_for
from mixup_jax._core.mesh import laid_like, per_example
from mixup_jax._core.random import integers_below, uniforms
from mixup_jax._core.region import Region
from mixup_jax._core.register import pytree
from mixup_jax._core.types import Partners
from mixup_jax._core.words import reads
from mixup_jax.regions._share import from_pixels, of_valid, outside, side_of


@pytree
@dataclasses.dataclass(frozen=True, eq=False)
class Box(Region):
    """The partner's content inside a box, the example's own content outside.

    Attributes:
      start: int32 ``[B, S]``, first position inside the box, on each of S spatial axes.
      stop: int32 ``[B, S]``, first position beyond the box.
      grid: the positions that the box was drawn for.
      of_example: whether the draw depended on the content of an example or its partner.
    """

    start: Array
    stop: Array
    grid: Grid = dataclasses.field(metadata={"static": True})  # type: ignore[misc]
    of_example: bool = dataclasses.field(  # type: ignore[misc]
        default=False, metadata={"static": True}
    )
    pastes = True

    def weights(self, lam: Array, x: Array) -> Array:
        """Return bool ``[B, ..., 1]``, True for the example's own content."""
        inside = per_example(lam, x) < 1  # Examples that are not mixed have no box.
        axes = self.grid.axes_of(x)
        for corner in (self.start, self.stop):
            advice = "Pass a corner for each example and each spatial axis."
            checks.shaped(corner, "box: corners", [(x.shape[0], len(axes))], advice)
        for s, axis in enumerate(axes):
            position, unit = _positions_along(
                x, axis, x.ndim if axis == axes[-1] else axis + 1
            )
            start, stop = (
                per_example(corner[:, s] * unit, x)
                for corner in (self.start, self.stop)
            )
            inside = inside & (start <= position) & (position < stop)
        return ~inside


def _positions_along(x: Array, axis: int, end: int) -> tuple[Array, int]:
    """Return positions along ``axis`` in units of elements, and the elements in each.

    The elements are those of the axes from ``axis`` to ``end``.

    A mask that formally differs from one channel to the next compiles to a vector
    select in XLA's loops; one that is constant over the channels, to a branch per
    pixel.
    """
    sizes = x.shape[axis:end]
    places = jnp.arange(math.prod(sizes), dtype=jnp.int32).reshape(
        (1,) * axis + sizes + (1,) * (x.ndim - end)
    )
    return laid_like(places, x), math.prod(sizes[1:])


@reads(axes_for)
def box(
    key: Array,
    lam: Array,
    inputs: Any,
    partners: Partners | None,
    *,
    spatial: tuple[int, ...] | None = None,
    min_size: float = 0.0,
    max_size: float = 1.0,
    share: Callable[[Array, Array], Array] = from_pixels,
    valid: ArrayLike | None = None,
) -> tuple[Box, Array]:
    """Draw a box for each example that covers about ``1 - lam`` of it (CutMix).

    On each of S spatial axes of size n::

        side   = round(n * clip((1 - lam)^(1/S), min_size, max_size))
        center ~ Uniform{0, ..., n - 1}, the box clipped at the borders
        lam    = 1 - (positions in the clipped box) / (all positions)

    With ``min_size``, the center is drawn such that at least this share of each axis
    remains after clipping. Examples with ``lam = 1`` have no box.

    The returned ``lam`` differs from the drawn one: sides are rounded to whole
    positions, and clipping makes the box smaller. Hence ``lam`` may leave the range of
    ``ratios.folded`` or ``ratios.truncated``; with ``share=as_drawn``, the targets keep
    to the range. The box and the returned ``lam`` have a gradient of 0 with respect to
    the drawn ``lam``.

    Args:
      key: PRNG key.
      lam: float32 ``[B]``, as drawn by the ratio.
      inputs: pytree of arrays with the same spatial sizes.
      partners: the drawn partners; only used with ``valid``, and may otherwise be
        ``None``.
      spatial: indices of the spatial axes, as for ``grid``.
      min_size: smallest side, as a share of the axis, in [0, 1].
      max_size: largest side, as a share of the axis, in [0, 1].
      share: computes the ``lam`` of the targets from the drawn one and the share of the
        positions: ``from_pixels`` or ``as_drawn``.
      valid: bool ``[B, *sizes]``, or of size 1 along some of the spatial axes; True for
        positions that are not padding. ``lam`` is then the share of each example's own
        content in the visible valid positions, or 1 if there are none. ``None`` means
        all positions.

    Returns:
      The region, and the share of each example's own content, float32 ``[B]``.

    Raises:
      TypeError: If ``valid`` is not an array of bools, or it is given and ``partners``
        is ``None``.
      ValueError: If ``0 <= min_size <= max_size <= 1`` does not hold. If the shape of
        the inputs does not determine the spatial axes, or ``valid`` has other spatial
        sizes.

    Example:
      >>> from functools import partial
      >>> import jax, mixup_jax as mx
      >>> region = partial(mx.regions.box, min_size=0.25, max_size=0.5)
      >>> images = jax.numpy.ones((2, 8, 8, 3))
      >>> _, mix = mx.cutmix(jax.random.key(0), (images, None), region=region)
      >>> bool((mix.lam >= 0.75).all())
      True

    References:
      Yun et al., "CutMix: Regularization Strategy to Train Strong Classifiers with
      Localizable Features", ICCV 2019, https://arxiv.org/abs/1905.04899.
    """
    if not 0 <= min_size <= max_size <= 1:
        raise ValueError(
            "box: expected 0 <= min_size <= max_size <= 1; got min_size="
            f"{min_size}, max_size={max_size}. Sizes are shares of an axis."
        )
    positions = grid_for(box, inputs, spatial)
    n = jnp.asarray([positions.sizes], jnp.int32)
    side = side_of(lam, positions, min_size, max_size)
    first, count = -(side >> 1), n
    if min_size > 0:
        least = jnp.round(min_size * n.astype(jnp.float32)).astype(jnp.int32)
        seen = jnp.minimum(least, side)
        last = jnp.minimum(first + n - 1, n - seen)
        first = jnp.maximum(first, seen - side)
        count = last - first + 1
    corner = first + integers_below(uniforms(key, side.shape[::-1]).T, count)
    start, stop = jnp.clip(corner, 0, n), jnp.clip(corner + side, 0, n)
    region = Box(start, stop, positions, of_example=valid is not None)
    seen_share = outside(start, stop, positions)
    return region, share(lam, of_valid(seen_share, region, lam, partners, valid))


@reads(0)
def salient(
    key: Array,
    lam: Array,
    inputs: Any,
    partners: Partners,
    *,
    saliency: ArrayLike,
    spatial: tuple[int, ...] | None = None,
    share: Callable[[Array, Array], Array] = from_pixels,
    valid: ArrayLike | None = None,
) -> tuple[Box, Array]:
    """Draw a box for each example around its partner's saliency peak (SaliencyMix).

    On each of S spatial axes of size n::

        side   = round(n * (1 - lam)^(1/S))
        center = argmax of the partner's saliency, the box clipped at the borders
        lam    = 1 - (positions in the clipped box) / (all positions)

    Args:
      key: PRNG key; not used.
      lam: float32 ``[B]``, as drawn by the ratio.
      inputs: pytree of arrays with the same spatial sizes.
      partners: the drawn partners.
      saliency: floating-point ``[B, *sizes]``, how much each position of each example
        matters, in any units. A NaN is below all numbers. Among equal peaks, the first
        is taken.
      spatial: indices of the spatial axes, as for ``grid``.
      share: as for ``box``.
      valid: as for ``box``. The peak may still be at a position that is not valid
        unless ``saliency`` is low there.

    Returns:
      The region, and the share of each example's own content, float32 ``[B]``.

    Raises:
      TypeError: If ``saliency`` is not floating-point, or ``valid`` is not an array of
        bools.
      ValueError: If the shape of the inputs does not determine the spatial axes, or
        ``saliency`` or ``valid`` has other spatial sizes.

    Example:
      >>> from functools import partial
      >>> import jax, mixup_jax as mx
      >>> images = jax.numpy.ones((2, 8, 8, 3))
      >>> saliency = jax.numpy.zeros((2, 8, 8)).at[1, 4, 4].set(1.0)
      >>> partners = mx.pairings.neighbour(jax.random.key(0), (images, None))
      >>> lam = jax.numpy.full(2, 0.75)
      >>> box, lam = mx.regions.salient(
      ...     jax.random.key(0), lam, images, partners, saliency=saliency
      ... )
      >>> box.start.tolist(), box.stop.tolist(), lam
      ([[2, 2], [0, 0]], [[6, 6], [2, 2]], Array([0.75  , 0.9375], dtype=float32))

    References:
      Uddin et al., "SaliencyMix: A Saliency Guided Data Augmentation Strategy for
      Better Regularization", ICLR 2021, https://arxiv.org/abs/2006.01791.
    """
    del key
    advice = "Pass a number for each position, such as the norm of a gradient."
    checks.floating(saliency, "saliency", "so that positions can be compared", advice)
    positions = grid_for(salient, inputs, spatial)
    checks.shaped(saliency, "saliency", [(lam.shape[0], *positions.sizes)], advice)
    rows = arrays.exact(arrays.array(saliency), "saliency").reshape(lam.shape[0], -1)
    peak = jnp.argmax(jnp.where(jnp.isnan(rows), -jnp.inf, rows), axis=1)
    theirs = partners.bring(peak.astype(jnp.int32))
    centre = jnp.stack(jnp.unravel_index(theirs, positions.sizes), axis=1)
    n = jnp.asarray([positions.sizes], jnp.int32)
    side = laid_like(side_of(lam, positions), centre)
    corner = centre - side // 2
    start, stop = jnp.clip(corner, 0, n), jnp.clip(corner + side, 0, n)
    region = Box(start, stop, positions, of_example=True)
    seen = of_valid(outside(start, stop, positions), region, lam, partners, valid)
    return region, share(lam, seen)
