"""A soft bell of the partner."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from mixup_jax._core.grid import Grid, axes_for, grid_for
from mixup_jax._core.mesh import divided_as
from mixup_jax._core.random import integers_below, uniforms
from mixup_jax._core.region import Region
from mixup_jax._core.register import pytree
from mixup_jax._core.types import Partners
from mixup_jax._core.words import reads
from mixup_jax.regions._share import of_valid


@pytree
@dataclasses.dataclass(frozen=True, eq=False)
class Bell(Region):
    """A bell of the partner's content, strongest at its center.

    ::

        w[q] = 1 - exp(-|(q - centre) / n|^2 / (2 width^2))

    for position ``q`` on sides of size ``n``.

    Attributes:
      centre: int32 ``[B, S]``, a position on each of S spatial axes.
      width: float32 ``[B]``, as a share of each side.
      grid: the positions that the bell was drawn for.
      of_example: whether the draw depended on the content of an example or its partner.
    """

    centre: Array
    width: Array
    grid: Grid = dataclasses.field(metadata={"static": True})  # type: ignore[misc]
    of_example: bool = dataclasses.field(  # type: ignore[misc]
        default=False, metadata={"static": True}
    )

    def weights(self, lam: Array, x: Array) -> Array:
        """Return float32 ``[B, ..., 1]``."""

        # Broadcast to the whole leaf at once: factors with axes of size 1 are laid out
        # on a TPU in memory that is mostly padding.
        def over(factor: Array, *axes: int) -> Array:
            return jax.lax.broadcast_in_dim(divided_as(factor, x), x.shape, axes)

        theirs = over(jnp.where(lam == 1, 0.0, 1.0), 0)
        for s, axis in enumerate(self.grid.axes_of(x)):
            position = jnp.arange(x.shape[axis], dtype=jnp.int32)[None]
            theirs *= over(self.along(s, position), 0, axis)
        return 1 - theirs

    def along(self, s: int, position: Array) -> Array:
        """Return the factor ``[B, n]`` of axis ``s`` at ``position``, ``[1, n]``."""
        away = (position - self.centre[:, s][:, None]).astype(jnp.float32)
        return jnp.exp(-0.5 * (away / self.grid.sizes[s] / self.width[:, None]) ** 2)


@reads(lambda *asked, **options: axes_for(*asked, **options) + 1)
def bell(
    key: Array,
    lam: Array,
    inputs: Any,
    partners: Partners | None,
    *,
    spatial: tuple[int, ...] | None = None,
    min_width: float = 0.25,
    max_width: float = 0.5,
    valid: ArrayLike | None = None,
) -> tuple[Bell, Array]:
    """Draw a bell for each example that shows its partner (SmoothMix).

    ::

        center ~ Uniform{0, ..., n - 1} on each spatial axis of size n
        width  ~ Uniform(min_width, max_width)
        lam    = mean over positions of 1 - exp(-|(q - center) / n|^2 / (2 width^2))

    Args:
      key: PRNG key.
      lam: float32 ``[B]``, as drawn by the ratio. Examples with ``lam = 1`` are not
        mixed; other values are not used.
      inputs: pytree of arrays with the same spatial sizes.
      partners: the drawn partners; only used with ``valid``, and may otherwise be
        ``None``.
      spatial: indices of the spatial axes, as for ``grid``.
      min_width: smallest width, as a share of each side; above 0.
      max_width: largest width, as a share of each side.
      valid: as for ``box``; each position counts by its weight.

    Returns:
      The region, and the share of each example's own content, float32 ``[B]``.

    Raises:
      TypeError: If ``valid`` is not an array of bools, or it is given and ``partners``
        is ``None``.
      ValueError: If ``0 < min_width <= max_width`` does not hold. If the shape of the
        inputs does not determine the spatial axes, or ``valid`` has other spatial
        sizes.

    Example:
      >>> import jax, mixup_jax as mx
      >>> images, lam = jax.numpy.ones((2, 8, 8, 3)), jax.numpy.zeros(2)
      >>> bell, lam = mx.regions.bell(jax.random.key(0), lam, images, None)
      >>> field = bell.weights(lam, images)
      >>> bool((abs(field.mean(axis=(1, 2, 3)) - lam) < 1e-6).all())
      True

    References:
      Lee et al., "SmoothMix: A Simple Yet Effective Data Augmentation to Train Robust
      Classifiers", CVPR Workshops 2020,
      https://openaccess.thecvf.com/content_CVPRW_2020/html/w45/Lee_SmoothMix_A_Simple_Yet_Effective_Data_Augmentation_to_Train_Robust_CVPRW_2020_paper.html.
    """
    if not 0 < min_width <= max_width:
        raise ValueError(
            "bell: expected 0 < min_width <= max_width; got min_width="
            f"{min_width}, max_width={max_width}. Widths are shares of a side."
        )
    positions = grid_for(bell, inputs, spatial)
    *u, u_width = uniforms(key, (len(positions.sizes) + 1, *lam.shape))
    centre = integers_below(jnp.stack(u, 1), jnp.asarray([positions.sizes], jnp.int32))
    width = min_width + (max_width - min_width) * u_width
    region = Bell(centre, width, positions, of_example=valid is not None)
    theirs = jnp.ones_like(lam)
    for s, n in enumerate(positions.sizes):
        position = jnp.arange(n, dtype=jnp.int32)[None]
        theirs *= region.along(s, position).mean(axis=1)
    share = jnp.where(lam == 1, 1.0, 1 - theirs)
    return region, of_valid(share, region, lam, partners, valid)
