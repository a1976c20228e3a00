"""What a move is asked: how partners travel.

The moves there are stand in `moves`; a user's own works like these.
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

        Raises:
          ValueError: If ``x`` has a part of a block.
        """
        places = self.places()
        if places is not None and x.shape[0] % len(places):
            raise ValueError(
                f"mix: expected examples in blocks of {len(places)}, among whom "
                f"partners were drawn; got {x.shape[0]}. Apply a mix to all of the "
                "batch that it was drawn for, or draw where the batch is divided: "
                "mixup_jax.per_device(mixer, axis_name)."
            )
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


def parts_of_move(value: Any) -> tuple[str, dict[str, Any]] | None:
    """Return the name of the class of a move and its fields, None if it is no move.

    Raises:
      TypeError: If it is a move, and not a dataclass.
    """
    if not isinstance(value, Move):
        return None
    if not dataclasses.is_dataclass(value):
        raise TypeError(
            "move: expected a frozen dataclass of numbers, which can be serialised; "
            f"got {arrays.describe(value)}. Decorate its class: "
            "dataclasses.dataclass(frozen=True)."
        )
    names = _fields_of(type(value))
    return public_name(type(value)), {name: getattr(value, name) for name in names}


def move_from(name: str, parts: Mapping[str, Any]) -> Move:
    """Return the move of the class of that name that has these fields.

    Raises:
      ValueError: If no class of this process has that name, or it has other fields.
    """
    found = [kind for kind in _kinds_of(Move) if public_name(kind) == name]
    if not found:
        raise ValueError(
            f"move: expected the name of a subclass of mixup_jax.Move; got {name!r}, "
            "which this process has not defined. Import the module that defines it, "
            "then deserialise again."
        )
    kind = found[-1]  # the last, where a notebook defined it anew
    if sorted(_fields_of(kind)) != sorted(parts):
        raise ValueError(
            f"move: expected the fields of {name}, {_fields_of(kind)}; got "
            f"{sorted(parts)}. Export again with the class as it is now."
        )
    return kind(**parts)


def _kinds_of(kind: type) -> Iterator[type]:
    for each in kind.__subclasses__():
        yield each
        yield from _kinds_of(each)


def _fields_of(kind: Any) -> list[str]:
    return [field.name for field in dataclasses.fields(kind) if field.init]
