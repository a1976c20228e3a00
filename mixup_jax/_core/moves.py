"""How partners travel to each other.

A move describes a movement that is carried out on one leaf at a time. It is static
data that can be compared and hashed, so it passes through jit in the structure of a
`Mix` and costs nothing there. It becomes a gather only where nothing cheaper does.

`block` is the number of examples that the move was made for. A move acts on each block
of a larger array by itself, so what one device did to its share is the same description
when the shares are read as one array.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, TypeAlias

import jax
import jax.numpy as jnp
from jax import Array

from mixup_jax._core.mesh import (
    as_auto,
    blocks_fit,
    blocks_split,
    is_auto,
    laid_like,
    may_be_auto,
    rows_at,
    rows_together,
)
from mixup_jax._core.move import Move, RowFunction
from mixup_jax._core.products import is_exact, rows_by_product

ManyRows: TypeAlias = Callable[..., Array]  # of w, the own rows, those of each partner

_LARGEST_PRODUCT = 1024  # examples; the work of a product grows with their square
_MOST_SHIFTS = 32  # of several partners in one pass; each is one more read of a block


@dataclasses.dataclass(frozen=True)
class Stay(Move):
    """Identity: each example is its own partner."""

    by_index: ClassVar[bool] = False

    def places(self) -> Sequence[int]:
        """Return ``[0]``."""
        return [0]

    def map(self, function: RowFunction, x: Array, partner: Array, w: Any) -> Array:
        """Return ``function(w, x, x)``."""
        del partner
        return function(w, x, x)


@dataclasses.dataclass(frozen=True)
class Gather(Move):
    """Rows picked by index: any map, and on a sharded axis a collective."""

    def map(self, function: RowFunction, x: Array, partner: Array, w: Any) -> Array:
        """Return ``function(w, x, x[partner])``."""
        if is_exact(x.dtype) and rows_together(x) == x.shape[0] <= _LARGEST_PRODUCT:
            rows = jax.lax.platform_dependent(
                x, partner, tpu=rows_by_product, default=rows_at
            )
        else:
            rows = rows_at(x, partner)
        return function(w, x, rows)


@dataclasses.dataclass(frozen=True)
class Flip(Move):
    """Each block of an even number of examples, in reverse order."""

    block: int
    by_index: ClassVar[bool] = False

    def places(self) -> Sequence[int]:
        """Return the places of a block from the last to the first."""
        return range(self.block - 1, -1, -1)

    def map(self, function: RowFunction, x: Array, partner: Array, w: Any) -> Array:
        """Return ``function(w, x, x[partner])``, in the view ``[B / n, n, ...]``."""
        if not blocks_split(x, self.block):
            return _across(self, function, x, partner, w)

        def flipped(x: Array, w: Any) -> Array:
            def reverse(rows: Array) -> list[Array]:
                return [jax.lax.rev(rows, (1,))]

            return _in_blocks(self.block, function, reverse, x, w)

        def shifted(x: Array, w: Any) -> Array:
            return _in_blocks(rows_together(x), function, _swapped, x, w)

        if self.block != 2 or rows_together(x) % 2:
            return flipped(x, w)
        return jax.lax.platform_dependent(x, w, tpu=shifted, default=flipped)


@dataclasses.dataclass(frozen=True)
class Roll(Move):
    """Each block rolled by ``shift``, the first rows following the last."""

    block: int
    shift: int
    by_index: ClassVar[bool] = False

    def places(self) -> Sequence[int]:
        """Return the places of a block, rolled."""
        cut = self.block - self.shift
        return [*range(cut, self.block), *range(cut)]

    def map(self, function: RowFunction, x: Array, partner: Array, w: Any) -> Array:
        """Return ``function(w, x, x[partner])``, in the view ``[B / n, n, ...]``."""
        if not blocks_split(x, self.block):
            return _across(self, function, x, partner, w)
        cut = self.block - self.shift

        def sliced(rows: Array) -> list[Array]:
            return [jnp.concatenate([rows[:, cut:], rows[:, :cut]], axis=1)]

        def shifted(rows: Array) -> list[Array]:
            first = _row_numbers(rows) < self.shift
            return [_where(first, _shift(rows, cut), _shift(rows, -self.shift))]

        # Two slices are one collective between devices, two shifts fuse on one.
        roll = sliced if is_auto(x) else shifted
        return _in_blocks(self.block, function, roll, x, w)


@dataclasses.dataclass(frozen=True)
class Swap(Move):
    """The bits ``by`` of a place flipped: ``partner(i) = i ^ by``.

    In blocks of the least power of two above ``by``.
    """

    by: int
    by_index: ClassVar[bool] = False

    def places(self) -> Sequence[int]:
        """Return the places of a block, each with these bits flipped."""
        return [place ^ self.by for place in range(1 << self.by.bit_length())]

    def map(self, function: RowFunction, x: Array, partner: Array, w: Any) -> Array:
        """Return ``function(w, x, x[partner])``, in the view ``[B / n, n, ...]``."""
        if not blocks_split(x, len(self.places())):
            return _across(self, function, x, partner, w)
        return _in_one_view(function, x, [self.places()], w)


def brought(
    function: ManyRows,
    x: Array,
    moves: Sequence[Move],
    partners: Sequence[Array],
    w: Any,
) -> Array:
    """Return ``function(w, x, x[partners[0]], x[partners[1]], ...)``, in one pass.

    Several moves by blocks show the function all rows in one view, in blocks of their
    common multiple; otherwise each partner's rows are taken before.
    """
    if len(moves) == 1:
        return moves[0].bring(function, x, partners[0], w)
    blocks = [places for move in moves if (places := move.places()) is not None]
    steps = sum(len(_steps(places)) for places in blocks)
    fits = len(blocks) == len(moves) and steps <= _MOST_SHIFTS
    if not fits or not blocks_split(x, math.lcm(*map(len, blocks))):
        return function(w, x, *map(Move.take, moves, [x] * len(moves), partners))
    return _in_one_view(function, x, blocks, w)


def _across(
    move: Move, function: RowFunction, x: Array, partner: Array, w: Any
) -> Array:
    """Return ``move.map`` where its blocks cut through the shares of an Explicit mesh.

    The types admit no reversed or rolled rows that are divided. A compiler makes one
    collective-permute of them.
    """
    if not may_be_auto(x):
        return Gather().bring(function, x, partner, w)

    def mapped(x: Array, partner: Array, w: Any) -> Array:
        return move.map(function, x, partner, w)

    return as_auto(mapped, x, partner, w)


def _in_one_view(
    function: ManyRows, x: Array, blocks: Sequence[Sequence[int]], w: Any
) -> Array:
    """Return ``function`` of ``x`` and its rows moved to the places in ``blocks``."""
    block = math.lcm(*map(len, blocks))

    def rows_of(rows: Array) -> list[Array]:
        return [_stepped(rows, places) for places in blocks]

    def together(x: Array, w: Any) -> Array:
        return _in_blocks(size, function, rows_of, x, w)

    def apart(x: Array, w: Any) -> Array:
        return _in_blocks(block, function, rows_of, x, w)

    size = rows_together(x)
    if size % block or x.shape[0] % size:
        return apart(x, w)
    return jax.lax.platform_dependent(x, w, tpu=together, default=apart)


def _steps(places: Sequence[int]) -> list[int]:
    """Return how far the rows of a block travel, each distance once."""
    return sorted({place - k for k, place in enumerate(places)})


def _stepped(rows: Array, places: Sequence[int]) -> Array:
    """Return the partners of ``rows`` along axis 1, by shifts, which fuse."""
    place = jax.lax.rem(_row_numbers(rows), jnp.int32(len(places)))
    first, *others = _steps(places)
    found = _shift(rows, first)
    for step in others:
        these = [k for k, there in enumerate(places) if there - k == step]
        travels = functools.reduce(jnp.logical_or, (place == k for k in these))
        found = _where(travels, _shift(rows, step), found)
    return found


def _in_blocks(
    block: int,
    function: ManyRows,
    move: Callable[[Array], list[Array]],
    x: Array,
    w: Any,
) -> Array:
    def view(rows: Array) -> Array:
        return rows.reshape(rows.shape[0] // block, block, *rows.shape[1:])

    if x.shape[0] == block:
        w, x = jax.tree.map(lambda leaf: leaf[None], (w, x))
        return function(w, x, *move(x))[0]
    if blocks_fit(x, block):
        # XLA fuses the movement into the arithmetic if the reshape comes after both.
        seen = jax.tree.map(view, w)
        return function(seen, view(x), *move(view(x))).reshape(x.shape)
    # What is made in a view that cuts through shares comes out whole on every device.
    return function(w, x, *(rows.reshape(x.shape) for rows in move(view(x))))


def _swapped(rows: Array) -> list[Array]:
    """Swap neighbours along axis 1 by two shifts, which keep a TPU's layout."""
    even = jax.lax.rem(_row_numbers(rows), jnp.int32(2)) == 0
    return [_where(even, _shift(rows, 1), _shift(rows, -1))]


def _where(condition: Array, these: Array, others: Array) -> Array:
    # An Explicit mesh wants all of them laid out alike.
    return jnp.where(laid_like(condition, these), these, others)


def _row_numbers(rows: Array) -> Array:
    """Count along axis 1, one number a row."""
    shape = (1, rows.shape[1]) + (1,) * (rows.ndim - 2)
    return jax.lax.broadcasted_iota(jnp.int32, shape, 1)


def _shift(rows: Array, by: int) -> Array:
    """Return ``rows[:, i + by]``, zeros behind the ends."""
    padding = [(-by, by, 0) if axis == 1 else (0, 0, 0) for axis in range(rows.ndim)]
    return jax.lax.pad(rows, jnp.zeros((), rows.dtype), padding)
