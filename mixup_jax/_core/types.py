"""What each part takes and what it hands on.

A batch is a pair `(inputs, targets)`. Each half is any pytree of arrays with the
examples on axis 0, and `targets` may be None.
"""

import dataclasses
from typing import Any, Protocol, TypeAlias

import jax
from jax import Array

from mixup_jax._core import arrays, checks
from mixup_jax._core.move import Move, move_of
from mixup_jax._core.register import pytree

# Not `tuple[Any, Any]`, which a type checker takes for a pair of anything and a mix: a
# mixer that forgot to return its mix would pass. Whoever reads targets sees an array.
Batch: TypeAlias = tuple[Any, Array | Any]

Mixed: TypeAlias = tuple[Any, Any]
"""A batch that came back mixed, of the types that its caller put in."""


@pytree
@dataclasses.dataclass(frozen=True, eq=False)
class Partners:
    """Who is mixed with whom, and how the partners travel.

    A pairing of your own that works out indices returns those of ``pairings.given``,
    whose move picks rows by index.

    Attributes:
      index: int32 ``[B]``, the partner of each example.
      move: how to bring a leaf's rows to the partners' places.

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
        """Return what the partners have of ``tree``, any dtype: ``tree[index]``.

        Raises:
          TypeError: If the index is not of integers, or the move not a ``Move``.
          ValueError: If a leaf has another number of examples.
        """
        checks.no_list(tree, "partners.bring")
        advice = "Bring what the examples of the batch have."
        size = arrays.array(self.index).shape[0]
        checks.sized(tree, size, "partners.bring", advice)

        own_index, move = arrays.array(self.index), move_of(self.move)
        if not jax.numpy.issubdtype(own_index.dtype, jax.numpy.integer):
            raise TypeError(
                "partners: expected an integer index; got "
                f"{arrays.describe(self.index)}. Cast it with index.astype(int)."
            )
        index = jax.numpy.asarray(own_index, jax.numpy.int32)

        def brought(path: Any, leaf: Any) -> Array:
            where = "partners.bring" + jax.tree_util.keystr(path)
            return move.take(arrays.exact(leaf, where), index)

        return jax.tree.map_with_path(brought, tree)


class Ratio(Protocol):
    """How much: draws ``lam``, float32 ``[B]``, the weight of each own content."""

    def __call__(self, key: Array, partners: Partners, /) -> Array: ...


class Pairing(Protocol):
    """With whom: draws the partners of a batch."""

    def __call__(self, key: Array, batch: Batch, /) -> Partners: ...
