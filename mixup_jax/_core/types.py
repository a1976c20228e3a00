"""The words of the house: what each part takes and what it hands on.

A batch is a pair `(inputs, targets)`. Each half is any pytree of arrays with the
examples on axis 0, and `targets` may be None.
"""

import abc
import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Protocol, TypeAlias, final

import jax
from jax import Array

from mixup_jax._core import arrays, checks

# Not `tuple[Any, Any]`, which a type checker takes for a pair of anything and a mix: a
# mixer that forgot to return its mix would pass. Whoever reads targets sees an array.
Batch: TypeAlias = tuple[Any, Array | Any]

Mixed: TypeAlias = tuple[Any, Any]
"""A batch that came back mixed, of the types that its caller put in."""

RowFunction: TypeAlias = Callable[[Any, Array, Array], Array]


class Move(abc.ABC):
    """Brings to each example what its partner has: static, comparable, hashable.

    A frozen dataclass of numbers is one that does. A move has to say ``map``. One whose
    partners lie within blocks of the batch also says ``places``, from which everything
    else that is asked of it follows.
    """

    crosses: ClassVar[bool] = False
    """Whether partners are on other devices, of whose examples ``map`` sees none."""

    by_index: ClassVar[bool] = True
    """Whether ``map`` reads ``partner``."""

    @abc.abstractmethod
    def map(self, function: RowFunction, x: Array, partner: Array, w: Any) -> Array:
        """Return ``function(w, x, x[partner])``, laid out over the mesh as ``x``.

        The function is elementwise. It may be called on whatever view of the rows lets
        the compiler fuse the movement into it.

        Args:
          function: of ``w`` and two arrays.
          x: ``[B, ...]``, any dtype but keys.
          partner: int32 ``[B]``, each in [0, B).
          w: pytree of arrays ``[B, ...]``, handed on in the view of ``x``.
        """

    def places(self) -> Sequence[int] | None:
        """Return, for each place in a block, its partner's; None if not by blocks.

        ``partner(i) = i - i % n + places[i % n]`` for ``n = len(places)``.
        """
        return None

    @final
    def bring(self, function: RowFunction, x: Array, partner: Array, w: Any) -> Array:
        """Return ``map(function, x, partner, w)``, wherever partners are counted.

        Those of ``per_device`` count over the batches of all devices, and ``x`` may be
        one device's.
        """
        if self.by_index and not self.crosses:
            partner = jax.lax.rem(partner, jax.numpy.int32(x.shape[0]))
        return self.map(function, x, partner, w)

    @final
    def take(self, x: Array, partner: Array) -> Array:
        """Return ``x[partner]``, of any dtype, keys included."""
        if jax.numpy.issubdtype(x.dtype, jax.dtypes.prng_key):
            words = self.take(jax.random.key_data(x), partner)
            return jax.random.wrap_key_data(words, impl=jax.random.key_impl(x))
        return self.bring(lambda w, x, partner_x: partner_x, x, partner, x)

    @property
    @final
    def structural(self) -> bool:
        """Whether the move alone says who the partner is, and so fuses."""
        return self.places() is not None

    @property
    @final
    def stays(self) -> bool:
        """Whether each example is its own partner."""
        places = self.places()
        return places is not None and all(k == place for k, place in enumerate(places))

    @property
    @final
    def pairs_off(self) -> bool:
        """Whether the partner of each example's partner is that example."""
        places = self.places()
        return places is not None and all(
            places[place] == k for k, place in enumerate(places)
        )

    @final
    def within(self, size: int) -> bool:
        """Whether partners lie within each run of ``size`` examples, alike in all."""
        places = self.places()
        return places is not None and size % len(places) == 0


def move_of(value: Any) -> Move:
    """Return ``value``, or raise TypeError if it is not a move."""
    if not isinstance(value, Move):
        raise TypeError(
            f"move: expected a subclass of mixup_jax.Move; got "
            f"{arrays.describe(value)}. Take that of what a pairing draws: "
            "pairing(key, batch).move."
        )
    return value


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

    def bring(self, tree: Any) -> Any:
        """Return what the partners have of ``tree``, any dtype: ``tree[index]``.

        Raises:
          TypeError: If the index is not of integers, or the move not a ``Move``.
          ValueError: If a leaf has another number of examples.
        """
        checks.no_list(tree, "partners.bring")
        advice = "Bring what the examples of the batch have."
        size = len(arrays.array(self.index))
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
