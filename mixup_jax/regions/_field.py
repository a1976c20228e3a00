"""A weight for each position."""

import dataclasses

import jax.numpy as jnp
from jax import Array

from mixup_jax._core import checks
from mixup_jax._core.grid import Grid
from mixup_jax._core.mesh import laid_like, per_example
from mixup_jax._core.region import Region
from mixup_jax._core.register import pytree


@pytree
@dataclasses.dataclass(frozen=True, eq=False)
class Field(Region):
    """A weight for each position.

    Attributes:
      own: weights of the example's own content, ``[B, *sizes]``; float32, or bool for a
        region that pastes.
      grid: the positions that the field covers.
      of_example: whether the draw depended on the content of an example or its partner.
    """

    own: Array
    grid: Grid = dataclasses.field(metadata={"static": True})  # type: ignore[misc]
    of_example: bool = dataclasses.field(  # type: ignore[misc]
        default=False, metadata={"static": True}
    )

    @property
    def pastes(self) -> bool:  # type: ignore[override]
        """Whether the field is bool."""
        return self.own.dtype == jnp.bool_

    def weights(self, lam: Array, x: Array) -> Array:
        """Return the field, ``[B, ..., 1]``, in its dtype."""
        axes = self.grid.axes_of(x)
        advice = "Pass a weight for each position of the grid."
        wanted = (x.shape[0], *self.grid.sizes)
        checks.shaped(self.own, "field: own", [wanted], advice)
        shape = tuple(n if k in (0, *axes) else 1 for k, n in enumerate(x.shape))
        own, alone = laid_like(self.own.reshape(shape), x), per_example(lam, x) == 1
        return own | alone if self.pastes else jnp.where(alone, 1.0, own)
