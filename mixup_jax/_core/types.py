"""The types that parts take and return.

A batch is a pair ``(inputs, targets)``. Each half is any pytree of arrays with the
examples on axis 0, and ``targets`` may be ``None``.
"""

import dataclasses
from typing import Any, Protocol, TypeAlias

import jax
from jax import Array

from mixup_jax._core import arrays, checks
from mixup_jax._core.move import Move, move_of
from mixup_jax._core.register import pytree

# Not ``tuple[Any, Any]``, which a type checker would accept for ``(batch, mix)``, so
# that a mixer that forgot to return its mix would pass. To readers, targets are arrays.
Batch: TypeAlias = tuple[Any, Array | Any]

Mixed: TypeAlias = tuple[Any, Any]
"""A mixed batch, of the same types as the batch that was passed in."""


@pytree
@dataclasses.dataclass(frozen=True, eq=False)
class Partners:
    """The partner of each example, and how the partners travel.

    User-defined pairings that compute indices return
    ``pairings.given(index)(key, batch)``, whose move gathers rows by index.

    Attributes:
      index: int32 ``[B]``, the partner of each example.
      move: how the rows of a leaf travel to the examples whose partners they are.

    Example:
      >>> import jax, jax.numpy as jnp, mixup_jax as mx
      >>> def crosswise(key, batch):
      ...     index = (jnp.arange(4) + 2) % 4
      ...     return mx.pairings.given(index)(key, batch)
      >>> x = jnp.zeros((4, 3))
      >>> _, mix = mx.mixup(jax.random.key(0), (x, None), pairing=crosswise)
      >>> mix.partner
      Array([2, 3, 0, 1], dtype=int32)
    """

    index: Array
    move: Move = dataclasses.field(metadata={"static": True})

    def bring(self, tree: Any) -> Any:
        """Return values gathered from each example's partner, any dtype.

        Args:
          tree: pytree of arrays with the examples on axis 0.

        Returns:
          ``tree[index]``, leaf by leaf.

        Raises:
          TypeError: If the index does not consist of integers, or ``move`` is not a
            ``Move``.
          ValueError: If a leaf has another batch size.
        """
        checks.no_list(tree, "partners.bring")
        advice = "Pass arrays with one row for each example of the batch."
        size = arrays.array(self.index).shape[0]
        checks.sized(tree, size, "partners.bring", advice)

        own_index, move = arrays.array(self.index), move_of(self.move)
        if not jax.numpy.issubdtype(own_index.dtype, jax.numpy.integer):
            raise TypeError(
                "partners: expected integer partners, indices of examples; got "
                f"{arrays.describe(self.index)}. Cast them with index.astype(int)."
            )
        index = jax.numpy.asarray(own_index, jax.numpy.int32)

        def brought(path: Any, leaf: Any) -> Array:
            where = "partners.bring" + jax.tree_util.keystr(path)
            return move.take(arrays.exact(leaf, where), index)

        return jax.tree.map_with_path(brought, tree)


class Ratio(Protocol):
    """A draw of ``lam``, float32 ``[B]``, the weight of each example's own content."""

    def __call__(self, key: Array, partners: Partners, /) -> Array: ...


class Pairing(Protocol):
    """A draw of the partners of a batch."""

    def __call__(self, key: Array, batch: Batch, /) -> Partners: ...
