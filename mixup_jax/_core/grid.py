"""The positions of an example."""

from typing import Any, NamedTuple

import jax
from jax import Array

from mixup_jax._core import checks


class Grid(NamedTuple):
    """The positions of an example: which axes are spatial, and their sizes."""

    axes: tuple[int, ...]
    sizes: tuple[int, ...]
    ndim: int

    def axes_of(self, x: Array) -> tuple[int, ...]:
        """Return the spatial axes of ``x``, which may have lost its channel axes.

        Raises:
          ValueError: ``x`` does not have the sizes of the grid on these axes.
        """
        axes = self.axes if x.ndim == self.ndim else range(1, 1 + len(self.axes))
        fits = x.ndim in (self.ndim, 1 + len(self.axes))
        if not fits or tuple(x.shape[axis] for axis in axes) != self.sizes:
            raise ValueError(
                f"inputs: expected a leaf with the spatial sizes {self.sizes}, as the "
                f"one that the region was drawn for (axes {self.axes} of {self.ndim}, "
                f"or without a channel axis); got shape {tuple(x.shape)}. Resize it, "
                "or leave it out."
            )
        return tuple(axes)


def grid(inputs: Any, *, spatial: tuple[int, ...] | None = None) -> Grid:
    """Return the grid that the leaves of ``inputs`` share.

    Args:
      inputs: any pytree of arrays; the leaf with most axes decides, the others fit it
        with or without a channel axis.
      spatial: the spatial axes of that leaf; None takes all between the first and the
        last (``[B, H, W, C]``). ``(2, 3)`` is NCHW, ``(1,)`` a waveform ``[B, T]``.

    Raises:
      ValueError: there are no spatial axes, or leaves that disagree on their sizes.

    Example:
      >>> import jax.numpy as jnp, mixup_jax as mx
      >>> images, masks = jnp.ones((2, 8, 6, 3)), jnp.ones((2, 8, 6))
      >>> mx.regions.grid((images, masks))
      Grid(axes=(1, 2), sizes=(8, 6), ndim=4)
    """
    leaves = jax.tree.leaves(inputs)
    if not leaves:
        raise ValueError(
            "inputs: expected an array to cut from; got none. Put what is to be mixed "
            "into the first half of the batch."
        )
    leaf = max(leaves, key=lambda x: x.ndim)
    axes = tuple(range(1, leaf.ndim - 1)) if spatial is None else spatial
    if not isinstance(axes, tuple | list) or list(axes) != sorted(set(axes)):
        raise ValueError(
            f"spatial: expected a tuple of rising axis numbers; got {spatial!r}. "
            "Pass (1,) for [B, T], (2, 3) for NCHW."
        )
    if not axes or not all(0 < axis < leaf.ndim for axis in axes):
        raise ValueError(
            "inputs: expected spatial axes between the first (examples) and the last "
            f"(channels); got shape {tuple(leaf.shape)} and spatial={spatial}. Name "
            "them by their numbers: spatial=(1,) for [B, T], (2, 3) for NCHW."
        )
    shared = Grid(tuple(axes), tuple(leaf.shape[axis] for axis in axes), leaf.ndim)
    checks.known(shared.sizes, "inputs", "size of each spatial axis")
    if 0 in shared.sizes:
        raise ValueError(
            "inputs: expected at least one position on each spatial axis; got shape "
            f"{tuple(leaf.shape)}. Drop empty examples in the loader."
        )
    for other in jax.tree.leaves(inputs):
        shared.axes_of(other)
    return shared
