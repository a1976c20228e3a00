"""The built-in moves, which describe how partners travel.

A move describes a movement that is carried out on one leaf at a time. It is static data
that can be compared and hashed, so it passes through jit in the structure of a ``Mix``
at no cost. It becomes a gather only where nothing cheaper will do.

``block`` is the number of examples that the move was made for. A move acts on each
block of a larger array separately, so the move that one device applied to its shard
also describes the movement of the concatenated shards.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, TypeAlias

import jax
import jax.numpy as jnp
from jax import Array

from mixup_jax._core import shifts
from mixup_jax._core.cut import cut
from mixup_jax._core.mesh import (
    are_untold,
    as_auto,
    blocks_fit,
    blocks_split,
    is_auto,
    may_be_auto,
    rows_at,
    rows_together,
)
from mixup_jax._core.move import Move, RowFunction
from mixup_jax._core.products import is_exact, rows_by_product

ManyRows: TypeAlias = Callable[..., Array]  # (w, rows, rows of each partner)

_LARGEST_PRODUCT = 1024  # examples; the cost of a product is quadratic in them
_MOST_SHIFTS = 32  # in one pass; each shift reads the block once more


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
    """Rows gathered by index: any pairing, and a collective on a sharded axis."""

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
        """Return the places of a block in reverse order."""
        return range(self.block - 1, -1, -1)

    def map(self, function: RowFunction, x: Array, partner: Array, w: Any) -> Array:
        """Return ``function(w, x, x[partner])``, in the view ``[B / n, n, ...]``."""
        if not blocks_split(x, self.block):
            return _across(self, function, x, partner, w)

        def flipped(x: Array, w: Any) -> Array:
            def reverse(rows: Array) -> list[Array]:
                return [jax.lax.rev(rows, (1,))]

            return _in_blocks(self.block, function, reverse, x, w)

        # On a TPU two shifts keep the layout of the rows.
        together = _in_shares(function, x, [self.places()])
        if self.block != 2 or together is None:
            return flipped(x, w)
        return jax.lax.platform_dependent(x, w, tpu=together, default=flipped)


@dataclasses.dataclass(frozen=True)
class Roll(Move):
    """Each block rolled by ``shift``: the last rows become the first."""

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
            first = shifts.row_numbers(rows) < self.shift
            here, behind = (shifts.shifted(rows, by=n) for n in (cut, -self.shift))
            return [shifts.where(first, here, behind)]

        # Across devices two slices are one collective; on one device two shifts fuse.
        roll = sliced if is_auto(x) else shifted
        return _in_blocks(self.block, function, roll, x, w)


@dataclasses.dataclass(frozen=True)
class Swap(Move):
    """The bits ``by`` of each place flipped: ``partner(i) = i ^ by``.

    The size of a block is the smallest power of two above ``by``.
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
    """Return ``function(w, x, x[partners[0]], x[partners[1]], ...)`` in one pass.

    If all moves act on blocks, the function receives all rows in one view, in blocks of
    their least common multiple; otherwise the rows of each partner are gathered first.
    """
    if len(moves) == 1:
        return moves[0].bring(function, x, partners[0], w)
    blocks = [places for move in moves if (places := move.places()) is not None]
    steps = sum(len(shifts.steps(places)) for places in blocks)
    fits = len(blocks) == len(moves) and steps <= _MOST_SHIFTS
    if not fits or not blocks_split(x, math.lcm(*map(len, blocks))):
        return function(w, x, *map(Move.take, moves, [x] * len(moves), partners))
    return _in_one_view(function, x, blocks, w)


def _across(
    move: Move, function: RowFunction, x: Array, partner: Array, w: Any
) -> Array:
    """Return ``move.map`` where its blocks cross the shards of an Explicit mesh.

    The types do not admit reversing or rolling a divided axis, but a compiler turns it
    into one collective-permute.
    """
    if not may_be_auto(x):
        return Gather().bring(function, x, partner, w)

    def mapped(x: Array, partner: Array, w: Any) -> Array:
        return move.map(function, x, partner, w)

    return as_auto(mapped, x, partner, w)


def _in_one_view(
    function: ManyRows, x: Array, blocks: Sequence[Sequence[int]], w: Any
) -> Array:
    """Return ``function`` of ``x`` and its rows moved by each of ``blocks``."""
    block = math.lcm(*map(len, blocks))

    def apart(x: Array, w: Any) -> Array:
        def rows_of(rows: Array) -> list[Array]:
            return [shifts.stepped(rows, places) for places in blocks]

        return _in_blocks(block, function, rows_of, x, w)

    together = _in_shares(function, x, blocks)
    if together is None:
        return apart(x, w)
    return jax.lax.platform_dependent(x, w, tpu=together, default=apart)


def _in_shares(
    function: ManyRows, x: Array, blocks: Sequence[Sequence[int]]
) -> Callable[[Array, Any], Array] | None:
    """Return ``map`` on rows moved within whole shards; ``None`` if uneven."""
    untold = are_untold(x)
    size, block = rows_together(x), math.lcm(*map(len, blocks))
    if x.shape[0] % block or (not untold and (size % block or x.shape[0] % size)):
        return None

    def rows_of(rows: Array) -> list[Array]:
        return [shifts.stepped(rows, places) for places in blocks]

    def together(x: Array, w: Any) -> Array:
        return _in_blocks(size, function, rows_of, x, w)

    def in_shares(x: Array, w: Any) -> Array:
        leaves, structure = jax.tree.flatten(w)

        def run(size: int, x: Array, *leaves: Array) -> list[Array]:
            w = jax.tree.unflatten(structure, leaves)
            return [_in_blocks(size, function, rows_of, x, w)]

        return cut(run, x.shape[0], block, x, *leaves)[0]

    return in_shares if untold else together


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
        # XLA fuses the movement into the arithmetic if the reshape follows both.
        seen = jax.tree.map(view, w)
        return function(seen, view(x), *move(view(x))).reshape(x.shape)
    # The result of a view that crosses shards would be replicated on every device.
    return function(w, x, *(rows.reshape(x.shape) for rows in move(view(x))))
