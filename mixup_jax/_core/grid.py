"""The grid of positions of an example."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.export
from jax import Array

from mixup_jax._core import checks
from mixup_jax._core.axes import named_by, refuse_unclear
from mixup_jax._core.follow import blended

_SIZES = "size of each spatial axis"


class Grid(NamedTuple):
    """Positions of an example: its spatial axes and their sizes."""

    axes: tuple[int, ...]
    sizes: tuple[int, ...]
    ndim: int

    def axes_of(self, x: Array) -> tuple[int, ...]:
        """Return the spatial axes of ``x``, which may lack its channel axis.

        Raises:
          ValueError: If ``x`` does not have the sizes of the grid on these axes.
        """
        axes = self._found_in(x.shape)
        if axes is None:
            raise ValueError(
                f"inputs: expected a leaf with the spatial sizes {self.sizes} of the "
                f"leaf that the region was drawn for (axes {self.axes} of {self.ndim}, "
                f"or without a channel axis); got shape {tuple(x.shape)}. Resize it, "
                "or leave it out."
            )
        return axes

    def covers(self, shape: tuple[int, ...]) -> bool:
        """Return whether ``shape`` is certain to contain the positions of this grid.

        With one spatial axis the sizes may agree by chance: ``[B, 10, C]`` inputs and
        ``[B, 10]`` labels of 10 classes.
        """
        begins = tuple(shape[1 : 1 + len(self.sizes)]) == self.sizes
        found = begins or self._found_in(tuple(shape)) is not None
        return found and len(self.sizes) > 1

    def _found_in(self, shape: tuple[int, ...]) -> tuple[int, ...] | None:
        """Return the spatial axes in an array of this shape, or ``None``.

        They are the same axes, in an array with or without the channel axis; or the
        first axes after the examples, with or without a channel axis behind them.
        """
        count, ndim = 1 + len(self.axes), len(shape)
        first = tuple(range(1, count))
        tried = [first] if ndim in (count, count + 1) else []
        same = ndim == self.ndim or (self.axes != first and abs(ndim - self.ndim) == 1)
        if same and ndim != count:
            tried = [self.axes, *tried]
        for axes in tried:
            if tuple(shape[axis] for axis in axes if axis < len(shape)) == self.sizes:
                return axes
        return None


def grid(inputs: Any, *, spatial: tuple[int, ...] | None = None) -> Grid:
    """Return the grid that the leaves of ``inputs`` share.

    Args:
      inputs: pytree of arrays. The leaf with the most axes determines the grid; the
        others must match it, with or without a channel axis.
      spatial: indices of the spatial axes of that leaf. ``None`` takes all axes between
        the first and the last (``[B, H, W, C]``). ``(2, 3)`` is NCHW, ``(1,)`` a
        waveform ``[B, T]``.

    Returns:
      The ``Grid``.

    Raises:
      ValueError: If there are no spatial axes, or leaves disagree on their sizes. If
        ``spatial`` is ``None`` and the channels of the leaf may be elsewhere: it has 4
        or 5 axes with at most 4 values on axis 1 and more on the last, 3 axes of which
        the last is not the shorter one, or a single position. The message lists the
        calls that resolve the ambiguity.

    Example:
      >>> import jax.numpy as jnp, mixup_jax as mx
      >>> images, masks = jnp.ones((2, 8, 6, 3)), jnp.ones((2, 8, 6))
      >>> mx.regions.grid((images, masks))
      Grid(axes=(1, 2), sizes=(8, 6), ndim=4)
    """
    leaves = blended(inputs)
    if not leaves:
        raise ValueError(
            "inputs: expected an array with positions; got none. Put the arrays to be "
            "mixed into the first half of the batch."
        )
    leaf = max(leaves, key=lambda x: x.ndim)
    if spatial is None:
        checks.known(leaf.shape[1:-1], "inputs", _SIZES)
        *known, channels = leaf.shape
        symbolic = jax.export.is_symbolic_dim(channels)
        refuse_unclear((*known, 1 if symbolic else channels))
    axes = tuple(range(1, leaf.ndim - 1)) if spatial is None else spatial
    if not isinstance(axes, tuple | list) or list(axes) != sorted(set(axes)):
        raise ValueError(
            f"spatial: expected a tuple of increasing axes; got {spatial!r}. "
            "Pass (1,) for [B, T], (2, 3) for NCHW."
        )
    if not axes or not all(0 < axis < leaf.ndim for axis in axes):
        raise ValueError(
            "inputs: expected spatial axes between the first (examples) and the last "
            f"(channels); got shape {tuple(leaf.shape)} and spatial={spatial}. Name "
            "them by their indices: spatial=(1,) for [B, T], (2, 3) for NCHW."
        )
    shared = Grid(tuple(axes), tuple(leaf.shape[axis] for axis in axes), leaf.ndim)
    checks.known(shared.sizes, "inputs", _SIZES)
    if 0 in shared.sizes:
        raise ValueError(
            "inputs: expected at least one position on each spatial axis; got shape "
            f"{tuple(leaf.shape)}. Drop empty examples in the loader."
        )
    for other in leaves:
        shared.axes_of(other)
    return shared


def axes_for(
    draw: Callable[..., Any],
    inputs: Any,
    *,
    spatial: tuple[int, ...] | None = None,
    **options: Any,
) -> int:
    """Return the number of spatial axes that a draw with these options uses."""
    del options
    return len(grid_for(draw, inputs, spatial).sizes)


def grid_for(
    draw: Callable[..., Any], inputs: Any, spatial: tuple[int, ...] | None
) -> Grid:
    """Return ``grid`` for a draw in ``mixup_jax.regions``, which errors then name."""
    name = f"mixup_jax.regions.{draw.__name__}"
    with named_by(lambda axes: f"functools.partial({name}, spatial={axes})"):
        return grid(inputs, spatial=spatial)
