"""The protocol of moves, which describe how partners travel.

The built-in moves are in ``moves``; user-defined moves work the same way.
"""

import abc
import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, TypeAlias, final

import jax
from jax import Array

from mixup_jax._core import arrays
from mixup_jax._core.made import public_name

RowFunction: TypeAlias = Callable[[Any, Array, Array], Array]


class Move(abc.ABC):
    """A movement of partners' rows to each example: static, comparable and hashable.

    A frozen dataclass of numbers satisfies this. A move must implement ``map``. A move
    whose partners are within blocks of the batch should also implement ``places``, from
    which all other properties follow.
    """

    crosses: ClassVar[bool] = False
    """Whether partners are on other devices, whose examples ``map`` does not see."""

    by_index: ClassVar[bool] = True
    """Whether ``map`` reads ``partner``."""

    @abc.abstractmethod
    def map(self, function: RowFunction, x: Array, partner: Array, w: Any) -> Array:
        """Return ``function(w, x, x[partner])``, sharded over the mesh like ``x``.

        The function is elementwise. It may be called on any view of the rows that lets
        the compiler fuse the movement into it.

        Args:
          function: a function of ``w`` and two arrays.
          x: ``[B, ...]``, any dtype except keys.
          partner: int32 ``[B]``, each in [0, B).
          w: pytree of arrays ``[B, ...]``, passed on in the view of ``x``.
        """

    def places(self) -> Sequence[int] | None:
        """Return the place of each partner within a block; ``None`` without blocks.

        ``partner(i) = i - i % n + places[i % n]`` for ``n = len(places)``.
        """
        return None

    @final
    def bring(self, function: RowFunction, x: Array, partner: Array, w: Any) -> Array:
        """Return ``map(function, x, partner, w)`` for indices into any batch.

        The indices of ``per_device`` count over the batches of all devices, while ``x``
        may be the batch of one device.

        Raises:
          ValueError: If ``x`` ends within a block.
        """
        places = self.places()
        if places is not None and x.shape[0] % len(places):
            raise ValueError(
                f"mix: expected examples in blocks of {len(places)}, within which "
                f"partners were drawn; got {x.shape[0]}. Apply a mix to the whole "
                "batch that it was drawn for, or draw where the batch is divided: "
                "mixup_jax.per_device(mixer, axis_name)."
            )
        if self.by_index and not self.crosses:
            partner = jax.lax.rem(partner, jax.numpy.int32(x.shape[0]))
        return self.map(function, x, partner, w)

    @final
    def take(self, x: Array, partner: Array) -> Array:
        """Return ``x[partner]``, of any dtype, including keys."""
        if jax.numpy.issubdtype(x.dtype, jax.dtypes.prng_key):
            words = self.take(jax.random.key_data(x), partner)
            return jax.random.wrap_key_data(words, impl=jax.random.key_impl(x))
        return self.bring(lambda w, x, partner_x: partner_x, x, partner, x)

    @property
    @final
    def structural(self) -> bool:
        """Whether the move alone determines the partners, and so fuses."""
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
        """Return whether partners are within each run of ``size`` examples."""
        places = self.places()
        return places is not None and size % len(places) == 0


def move_of(value: Any) -> Move:
    """Return ``value``; raise TypeError if it is not a move."""
    if not isinstance(value, Move):
        raise TypeError(
            f"move: expected an instance of mixup_jax.Move; got "
            f"{arrays.describe(value)}. Take it from the result of a pairing: "
            "pairing(key, batch).move."
        )
    return value


def parts_of_move(value: Any) -> tuple[str, dict[str, Any]] | None:
    """Return the class name and the fields of a move, or ``None`` for other values.

    Raises:
      TypeError: If ``value`` is a move but not a dataclass.
    """
    if not isinstance(value, Move):
        return None
    if not dataclasses.is_dataclass(value):
        raise TypeError(
            "move: expected a frozen dataclass of numbers, which can be serialized; "
            f"got {arrays.describe(value)}. Decorate its class: "
            "dataclasses.dataclass(frozen=True)."
        )
    names = _fields_of(type(value))
    return public_name(type(value)), {name: getattr(value, name) for name in names}


def move_from(name: str, parts: Mapping[str, Any]) -> Move:
    """Return the move with this class name and these fields.

    Raises:
      ValueError: If no class in this process has that name, or its fields differ.
    """
    found = [kind for kind in _kinds_of(Move) if public_name(kind) == name]
    if not found:
        raise ValueError(
            f"move: expected the name of a subclass of mixup_jax.Move; got {name!r}, "
            "which this process has not defined. Import the module that defines it, "
            "then deserialize again."
        )
    kind = found[-1]  # the last, if a notebook defined it again
    if sorted(_fields_of(kind)) != sorted(parts):
        raise ValueError(
            f"move: expected the fields of {name}, {_fields_of(kind)}; got "
            f"{sorted(parts)}. Export again with the current class."
        )
    return kind(**parts)


def _kinds_of(kind: type) -> Iterator[type]:
    for each in kind.__subclasses__():
        yield each
        yield from _kinds_of(each)


def _fields_of(kind: Any) -> list[str]:
    return [field.name for field in dataclasses.fields(kind) if field.init]
