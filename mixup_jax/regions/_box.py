"""A box of the partner, in its own place."""

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
    """The partner's content inside a box, the own content outside.

    Attributes:
      start: int32 ``[B, S]``, the first position inside, on each of S spatial axes.
      stop: int32 ``[B, S]``, the first position behind the box.
      grid: the positions that the box was drawn for.
      of_example: whether it was drawn from what an example or its partner holds.
    """

    start: Array
    stop: Array
    grid: Grid = dataclasses.field(metadata={"static": True})  # type: ignore[misc]
    of_example: bool = dataclasses.field(  # type: ignore[misc]
        default=False, metadata={"static": True}
    )
    pastes = True

    def weights(self, lam: Array, x: Array) -> Array:
        """Return bool ``[B, ..., 1]``, True where the own content stays."""
        inside = per_example(lam, x) < 1  # examples that are not mixed have no box
        axes = self.grid.axes_of(x)
        for corner in (self.start, self.stop):
            advice = "Give a corner of each example's box, on each spatial axis."
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
    """Count the positions along ``axis`` in elements of the axes from it to ``end``.

    A mask that differs from one channel to the next, if only formally, is a vector
    select in XLA's loops; one that is constant over the channels is a branch a pixel.
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
    """Draw one box per example that covers about ``1 - lam`` of the positions.

    On each of S spatial axes of size n::

        side   = round(n * clip((1 - lam)^(1/S), min_size, max_size))
        centre ~ Uniform{0, ..., n - 1}, the box clipped at the borders
        lam    = 1 - (positions in the clipped box) / (all positions)

    Where ``min_size`` is given, the centre is drawn such that at least so much of the
    side stays inside. ``lam = 1`` has no box.

    The ``lam`` that is counted differs from the one that was drawn: a side is rounded
    to whole positions, either way, and clipping makes the box smaller. So it may leave
    the range of a ``ratios.folded`` or ``ratios.truncated`` ratio; the labels keep to
    it with ``share=as_drawn``. The gradient of the box, and of a ``lam`` that is
    counted, by the ``lam`` that was drawn is 0.

    Args:
      key: PRNG key.
      lam: float32 ``[B]``, as the ratio drew it.
      inputs: pytree of arrays with the same spatial sizes.
      partners: whose valid positions count; otherwise not used.
      spatial: the axis numbers of the spatial axes, as in ``grid``.
      min_size: the smallest side, as a share of the axis, in [0, 1].
      max_size: the largest side, as a share of the axis, in [0, 1].
      share: what the labels use, from the drawn share and that of the pixels:
        ``from_pixels`` or ``as_drawn``.
      valid: bool ``[B, *sizes]``, which positions hold something and are not padding,
        or of size 1 along an axis; None is all. Of those that are seen ``lam`` is the
        own content's share: 1 if there are none.

    Raises:
      TypeError: If ``valid`` is not of bools.
      ValueError: If a range lies outside [0, 1], inputs do not say which axes
        are spatial, or ``valid`` has other sizes.

    Example:
      >>> from functools import partial
      >>> import jax, mixup_jax as mx
      >>> region = partial(mx.regions.box, min_size=0.25, max_size=0.5)
      >>> images = jax.numpy.ones((2, 8, 8, 3))
      >>> _, mix = mx.cutmix(jax.random.key(0), (images, None), region=region)
      >>> bool((mix.lam >= 0.75).all())
      True

    Source: Yun et al., "CutMix", ICCV 2019, arXiv:1905.04899.
    """
    if not 0 <= min_size <= max_size <= 1:
        raise ValueError(
            "box: expected 0 <= min_size <= max_size <= 1; got min_size="
            f"{min_size}, max_size={max_size}. Give sizes as shares of an axis."
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
    """Draw the box of ``box`` around the peak of the partner's saliency.

    On each of S spatial axes of size n::

        side   = round(n * (1 - lam)^(1/S))
        centre = argmax of the partner's saliency, the box clipped at the borders
        lam    = 1 - (positions in the clipped box) / (all positions)

    Args:
      key: not used; the peak says where.
      lam: float32 ``[B]``, as the ratio drew it.
      inputs: pytree of arrays with the same spatial sizes.
      partners: whose peak it is.
      saliency: floating ``[B, *sizes]``, how much each position matters, in any units.
        A NaN is below every number; of equal peaks the first counts.
      spatial: the axis numbers of the spatial axes, as in ``grid``.
      share: as in ``box``.
      valid: as in ``box``. It does not keep the peak from padding, where ``saliency``
        should be low.

    Raises:
      TypeError: If ``saliency`` is not floating, or ``valid`` not of bools.
      ValueError: If ``saliency`` or ``valid`` has another shape, or inputs do not
        say which axes are spatial.

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
      Uddin et al., "SaliencyMix", ICLR 2021, arXiv:2006.01791.
    """
    del key
    advice = "Give a number for each position, such as the norm of a gradient."
    checks.floating(saliency, "saliency", "to compare positions by", advice)
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
