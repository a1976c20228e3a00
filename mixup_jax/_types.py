"""The words of the house: what each part takes and what it hands on.

A batch is a pair `(inputs, targets)`. Each half is any pytree of arrays with the
examples on axis 0, and `targets` may be None.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar, Protocol, TypeAlias

import jax
from jax import Array

Batch: TypeAlias = tuple[Any, Any]


RowFunction: TypeAlias = Callable[[Array, Array, Array], Array]


class Move(Protocol):
    """Brings to each example what its partner has: static, comparable, hashable."""

    pairs_off: ClassVar[bool]
    """Whether the partner of every example's partner is that example."""

    structural: ClassVar[bool]
    """Whether the move alone says who the partner is."""

    fuses: ClassVar[bool]
    """Whether compilers fuse the movement into the arithmetic that follows."""

    def map(self, function: RowFunction, x: Array, partner: Array, w: Array) -> Array:
        """Return ``function(w, x, x[partner])``, laid out over the mesh as ``x``.

        The function is elementwise. It is called on whatever view of the rows lets the
        compiler fuse the movement into it.
        """
        ...


@jax.tree_util.register_dataclass
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


class Ratio(Protocol):
    """How much: draws ``lam``, float32 ``[B]``, the weight of each own content."""

    def __call__(self, key: Array, partners: Partners) -> Array: ...


class Pairing(Protocol):
    """With whom: draws the partners of a batch."""

    def __call__(self, key: Array, batch: Batch) -> Partners: ...


class Region(Protocol):
    """Where: a pytree, examples on axis 0, that holds what was drawn."""

    def weights(self, lam: Array, x: Array) -> Array:
        """Return the weight field ``w`` of the own content, to broadcast with ``x``.

        Float32, or bool where the region pastes. Where ``lam`` is 1, ``w`` is 1.
        """
        ...


class RegionDraw(Protocol):
    """Draws a region that leaves the share ``lam``, and the share it really left."""

    def __call__(self, key: Array, lam: Array, inputs: Any) -> tuple[Region, Array]: ...
