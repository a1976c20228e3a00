"""The own share of each cell of a grid that is coarser than the positions."""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jax import Array

from mixup_jax._core.mesh import divided_as, per_example
from mixup_jax._core.region import Region, field


def cell_shares(
    region: Region, lam: Array, cells: Sequence[int], layout: Array
) -> Array:
    """Return the mean own weight in each cell, float32 ``[B, *cells]``.

    Args:
      region: where each example's own content stays.
      lam: float32 ``[B]``.
      cells: number of cells on each spatial axis of the region's grid, if it has one.
      layout: an array with the examples on axis 0; the result is divided over the mesh
        like it.
    """
    grid, batch = region.grid, lam.shape[0]
    positions = cells if grid is None else grid.sizes
    x = divided_as(jnp.zeros((batch, *positions), jnp.bool_), layout)
    own = field(region, lam, x).astype(jnp.float32)
    own = jnp.broadcast_to(own, x.shape)
    if grid is None:
        return own
    least, most = (
        own.reshape(batch, -1).min(axis=1),
        own.reshape(batch, -1).max(axis=1),
    )
    for n, m in zip(positions, cells):
        # The averaged axis moves to the end, so the order is restored after the last.
        own = jnp.moveaxis(own, 1, -1)
        if n % m == 0:  # the matrix of the parts would be as large as n * m
            own = own.reshape(*own.shape[:-1], m, n // m).mean(axis=-1)
        else:
            parts = jnp.asarray(_parts(n, m))
            own = jnp.tensordot(own, parts, axes=1, precision="highest")
    # A mean may leave the range of its values by rounding.
    return jnp.clip(own, per_example(least, own), per_example(most, own))


def _parts(positions: int, cells: int) -> np.ndarray:
    """Return the fraction of each cell that each position covers.

    Returns:
      float32 ``[positions, cells]``.
    """
    place = np.arange(positions, dtype=np.float64)[:, None]
    start = np.arange(cells, dtype=np.float64)[None] * positions / cells
    stop = start + positions / cells
    shared = np.minimum(place + 1, stop) - np.maximum(place, start)
    return (np.clip(shared, 0, None) * cells / positions).astype(np.float32)
