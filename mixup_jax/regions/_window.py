"""A box of the partner, shown in a box of the example."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from mixup_jax._core import windows
from mixup_jax._core.grid import Grid, axes_for, grid_for
from mixup_jax._core.mesh import laid_like
from mixup_jax._core.random import integers_below, uniforms
from mixup_jax._core.region import Region
from mixup_jax._core.register import pytree
from mixup_jax._core.types import Partners
from mixup_jax._core.words import reads
from mixup_jax.regions._box import Box
from mixup_jax.regions._share import from_pixels, of_valid, outside, side_of


@pytree
@dataclasses.dataclass(frozen=True, eq=False)
class Window(Region):
    """A box of the partner, resized to fit a box of the example.

    Position ``q`` of a side from ``start`` to ``stop`` shows the nearest position of
    the partner's box::

        first + floor((q - start + 1/2) * extent / (stop - start))

    This is integer arithmetic, so any dtype can be resized, and masks the same way.

    Attributes:
      start: int32 ``[B, S]``, first position inside the box, on each of S spatial axes.
      stop: int32 ``[B, S]``, first position beyond the box.
      first: int32 ``[B, S]``, first position of the partner that is shown.
      extent: int32 ``[B, S]``, number of positions of the partner that are shown.
      grid: the positions that the boxes were drawn for.
      of_example: whether the draw depended on the content of an example or its partner.
    """

    start: Array
    stop: Array
    first: Array
    extent: Array
    grid: Grid = dataclasses.field(metadata={"static": True})  # type: ignore[misc]
    of_example: bool = dataclasses.field(  # type: ignore[misc]
        default=False, metadata={"static": True}
    )
    pastes = True
    windows = True

    def weights(self, lam: Array, x: Array) -> Array:
        """Return bool ``[B, ..., 1]``, True outside the box."""
        return Box(self.start, self.stop, self.grid).weights(lam, x)

    def view(self, rows: Array) -> Array:
        """Return the partners' content, resized into the boxes; unspecified outside."""
        for s, axis in enumerate(self.grid.axes_of(rows)):
            rows = windows.shown(rows, axis, self._shown_at(s, rows.shape[axis]))
        return rows

    def _shown_at(self, s: int, size: int) -> Array:
        """Return the position shown at each position, int32 ``[B, size]``."""
        start, stop, first, extent = (
            corner[:, s][:, None]
            for corner in (self.start, self.stop, self.first, self.extent)
        )
        place = laid_like(jnp.arange(size, dtype=jnp.int32)[None], start)
        inside = jnp.clip(place - start, 0, jnp.maximum(stop - start - 1, 0))
        side = jnp.maximum(stop - start, 1)
        shown = first + windows.divided(2 * inside + 1, extent, 2 * side)
        return jnp.clip(shown, 0, size - 1)


@reads(axes_for)
def resized(
    key: Array,
    lam: Array,
    inputs: Any,
    partners: Partners | None,
    *,
    spatial: tuple[int, ...] | None = None,
    share: Callable[[Array, Array], Array] = from_pixels,
    valid: ArrayLike | None = None,
) -> tuple[Window, Array]:
    """Draw a box for each example that shows its whole partner, resized (ResizeMix).

    On each of S spatial axes of size n::

        side  = round(n * (1 - lam)^(1/S))
        start ~ Uniform{0, ..., n - side}
        lam   = 1 - (positions in the box) / (all positions)

    Args:
      key: PRNG key.
      lam: float32 ``[B]``, as drawn by the ratio.
      inputs: pytree of arrays with the same spatial sizes.
      partners: the drawn partners; only used with ``valid``, and may otherwise be
        ``None``.
      spatial: indices of the spatial axes, as for ``grid``.
      share: as for ``box``.
      valid: as for ``box``; that of the partner is resized too.

    Returns:
      The region, and the share of each example's own content, float32 ``[B]``.

    Raises:
      TypeError: If ``valid`` is not an array of bools, or it is given and ``partners``
        is ``None``.
      ValueError: If the shape of the inputs does not determine the spatial axes, or
        ``valid`` has other spatial sizes.

    Example:
      >>> import jax, mixup_jax as mx
      >>> images = jax.numpy.ones((2, 8, 8, 3))
      >>> lam = jax.numpy.full(2, 0.75)
      >>> window, lam = mx.regions.resized(jax.random.key(0), lam, images, None)
      >>> (window.stop - window.start).tolist(), lam
      ([[4, 4], [4, 4]], Array([0.75, 0.75], dtype=float32))

    References:
      Qin et al., "ResizeMix: Mixing Data with Preserved Object Information and True
      Labels", 2020, https://arxiv.org/abs/2012.11101.
    """
    positions = grid_for(resized, inputs, spatial)
    n = jnp.asarray([positions.sizes], jnp.int32)
    side = side_of(lam, positions)
    start = integers_below(uniforms(key, side.shape[::-1]).T, n - side + 1)
    stop, whole = start + side, jnp.broadcast_to(n, side.shape)
    none, of_example = jnp.zeros_like(start), valid is not None
    region = Window(start, stop, none, whole, positions, of_example=of_example)
    seen = of_valid(outside(start, stop, positions), region, lam, partners, valid)
    return region, share(lam, seen)
