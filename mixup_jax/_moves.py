"""How rows lie on a mesh, and how partners travel to each other.

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
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jax import Array
from jax.core import Tracer

from mixup_jax._types import Move, RowFunction

_LARGEST_PRODUCT = 1024  # examples; the work of a product grows with their square
_MOST_SHIFTS = 32  # of several partners in one pass; each is one more read of a block
_INFINITY_CODE = 2.0**127 * (1 + 2.0**-13)
_NAN_CODE = 2.0**127 * (1 + 2.0**-12)


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
        narrow = jnp.issubdtype(x.dtype, jnp.floating) and x.dtype.itemsize == 2
        if narrow and _together(x) == x.shape[0] <= _LARGEST_PRODUCT:
            rows = jax.lax.platform_dependent(
                x, partner, tpu=rows_by_product, default=_rows_by_index
            )
        else:
            rows = _rows_by_index(x, partner)
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
        if not _splits(x, self.block):
            return Gather().bring(function, x, partner, w)

        def flipped(x: Array, w: Any) -> Array:
            def reverse(rows: Array) -> list[Array]:
                return [jax.lax.rev(rows, (1,))]

            return _in_blocks(self.block, function, reverse, x, w)

        def shifted(x: Array, w: Any) -> Array:
            return _in_blocks(_together(x), function, _swapped, x, w)

        if self.block != 2 or _together(x) % 2:
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
        if not _splits(x, self.block):
            return Gather().bring(function, x, partner, w)
        cut = self.block - self.shift

        def sliced(rows: Array) -> list[Array]:
            return [jnp.concatenate([rows[:, cut:], rows[:, :cut]], axis=1)]

        def shifted(rows: Array) -> list[Array]:
            first = _places(rows) < self.shift
            return [_where(first, _shift(rows, cut), _shift(rows, -self.shift))]

        # Two slices are one collective between devices, two shifts fuse on one.
        mesh = jax.typeof(x).sharding.mesh
        roll = sliced if mesh.auto_axes else shifted
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
        if not _splits(x, len(self.places())):
            return Gather().bring(function, x, partner, w)
        return _in_one_view(function, x, [self.places()], w)


def brought(
    function: RowFunction,
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
    if not fits or not _splits(x, math.lcm(*map(len, blocks))):
        return function(w, x, *map(Move.take, moves, [x] * len(moves), partners))
    return _in_one_view(function, x, blocks, w)


def _in_one_view(
    function: RowFunction, x: Array, blocks: Sequence[Sequence[int]], w: Any
) -> Array:
    """Return ``function`` of ``x`` and its rows moved to the places in ``blocks``."""
    block = math.lcm(*map(len, blocks))

    def rows_of(rows: Array) -> list[Array]:
        return [_stepped(rows, places) for places in blocks]

    def together(x: Array, w: Any) -> Array:
        return _in_blocks(share, function, rows_of, x, w)

    def apart(x: Array, w: Any) -> Array:
        return _in_blocks(block, function, rows_of, x, w)

    share = _together(x)
    if share % block or x.shape[0] % share:
        return apart(x, w)
    return jax.lax.platform_dependent(x, w, tpu=together, default=apart)


def _steps(places: Sequence[int]) -> list[int]:
    """Return how far the rows of a block travel, each distance once."""
    return sorted({place - k for k, place in enumerate(places)})


def _stepped(rows: Array, places: Sequence[int]) -> Array:
    """Return the partners of ``rows`` along axis 1, by shifts, which fuse."""
    at = jax.lax.rem(_places(rows), jnp.int32(len(places)))
    first, *others = _steps(places)
    moved = _shift(rows, first)
    for step in others:
        here = [k for k, place in enumerate(places) if place - k == step]
        chosen = functools.reduce(jnp.logical_or, (at == k for k in here))
        moved = _where(chosen, _shift(rows, step), moved)
    return moved


def rows_by_product(x: Array, index: Array) -> Array:
    """Return ``x[index]`` as a product with a one-hot matrix: bfloat16 and float16.

    On a TPU a gather of rows costs most of a train step's memory traffic, a product
    next to none. What is not finite would spread through its sums, so it travels in
    codes: float32 numbers that no narrower float can hold. Equal to ``x[index]`` but
    for the signs of zeros and the subnormals of bfloat16, which become zeros.
    """
    wide = x.astype(jnp.float32)
    code = jnp.where(jnp.isnan(wide), _NAN_CODE, jnp.sign(wide) * _INFINITY_CODE)
    coded = jnp.where(jnp.isfinite(wide), wide, code)
    one_hot = index[:, None] == jnp.arange(x.shape[0], dtype=index.dtype)[None]
    rows = jax.lax.dot_general(
        one_hot.astype(jnp.float32),
        coded,
        (((1,), (0,)), ((), ())),
        precision=jax.lax.Precision.HIGH,
        preferred_element_type=jnp.float32,
    )
    rows = jnp.where(jnp.abs(rows) == _INFINITY_CODE, jnp.sign(rows) * jnp.inf, rows)
    return jnp.where(rows == _NAN_CODE, jnp.nan, rows).astype(x.dtype)


def _rows_by_index(x: Array, index: Array) -> Array:
    sharding = jax.typeof(x).sharding
    return x.at[index].get(
        mode="promise_in_bounds",
        out_sharding=sharding if sharding.mesh.explicit_axes else None,
    )


def per_example(w: Array, x: Array) -> Array:
    """Return ``w``, ``[B]``, with an axis of size 1 for each further axis of ``x``."""
    return laid_like(w.reshape(w.shape + (1,) * (x.ndim - w.ndim)), x)


def normal_rows(key: Array, shape: tuple[int, ...], x: Array) -> Array:
    """Draw standard normals, float32 ``shape``, each device the rows it has of ``x``.

    On an Explicit mesh every device would draw those of all others as well.
    """
    sharding = jax.typeof(x).sharding
    rows = None
    if sharding.mesh.explicit_axes and shape[0] == x.shape[0]:
        rows = jax.NamedSharding(sharding.mesh, jax.P(sharding.spec[0]))
    return jax.random.normal(key, shape, jnp.float32, out_sharding=rows)


def laid_like(w: Array, x: Array) -> Array:
    """Return ``w`` laid out over the mesh as ``x`` is, which costs a slice at most.

    Only axes of an Explicit mesh are in the types; elsewhere nothing is to be done.
    """
    axes = jax.typeof(x).sharding.spec
    spec = (axis if n > 1 else None for axis, n in zip(axes, w.shape))
    return laid_out(w, x, jax.P(*spec))


def alike(*arrays: Array) -> tuple[Array, ...]:
    """Return arrays with the examples on axis 0, laid out as the most divided of them.

    Draws from the batch are divided as the batch is, draws from a key are whole on each
    device, and an Explicit mesh selects from arrays that are laid out alike.
    """
    most = max(arrays, key=shards)
    spec = jax.P(*jax.typeof(most).sharding.spec[:1])
    return tuple(x if x is most else laid_out(x, most, spec) for x in arrays)


def laid_out(w: Array, x: Array, spec: jax.P) -> Array:
    """Return ``w`` laid out by ``spec`` over the mesh of ``x``, if that is Explicit."""
    mesh = jax.typeof(x).sharding.mesh
    if not mesh.explicit_axes:
        return w
    if not isinstance(x, Tracer):  # outside jit there need be no mesh in the context
        there = x.sharding
        assert isinstance(there, jax.NamedSharding)
        return jax.device_put(w, jax.NamedSharding(there.mesh, spec))
    return jax.sharding.reshard(w, jax.NamedSharding(mesh, spec))


def _in_blocks(
    block: int,
    function: RowFunction,
    move: Callable[[Array], list[Array]],
    x: Array,
    w: Any,
) -> Array:
    def view(rows: Array) -> Array:
        return rows.reshape(rows.shape[0] // block, block, *rows.shape[1:])

    if x.shape[0] == block:
        w, x = jax.tree.map(lambda leaf: leaf[None], (w, x))
        return function(w, x, *move(x))[0]
    if _fits(x, block):
        # XLA fuses the movement into the arithmetic if the reshape comes after both.
        seen = jax.tree.map(view, w)
        return function(seen, view(x), *move(view(x))).reshape(x.shape)
    # What is made in a view that cuts through shares comes out whole on every device.
    return function(w, x, *(rows.reshape(x.shape) for rows in move(view(x))))


def _swapped(rows: Array) -> list[Array]:
    """Swap neighbours along axis 1 by two shifts, which keep a TPU's layout."""
    even = jax.lax.rem(_places(rows), jnp.int32(2)) == 0
    return [_where(even, _shift(rows, 1), _shift(rows, -1))]


def _where(chosen: Array, these: Array, others: Array) -> Array:
    # An Explicit mesh wants all of them laid out alike.
    return jnp.where(laid_like(chosen, these), these, others)


def _places(rows: Array) -> Array:
    """Count along axis 1, one number a row."""
    shape = (1, rows.shape[1]) + (1,) * (rows.ndim - 2)
    return jax.lax.broadcasted_iota(jnp.int32, shape, 1)


def _shift(rows: Array, by: int) -> Array:
    """Return ``rows[:, i + by]``, zeros behind the ends."""
    padding = [(-by, by, 0) if axis == 1 else (0, 0, 0) for axis in range(rows.ndim)]
    return jax.lax.pad(rows, jnp.zeros((), rows.dtype), padding)


def _together(x: Array) -> int:
    """Return how many examples surely lie on one device, in order."""
    mesh = jax.typeof(x).sharding.mesh
    if len(mesh.manual_axes) == len(mesh.axis_names) > 0:
        return x.shape[0]
    if mesh.empty:
        # Shardings that only jit's in_shardings knows are not in the types.
        return x.shape[0] if jax.device_count() == 1 else 2
    return x.shape[0] // mesh.size if x.shape[0] % mesh.size == 0 else 2


def _fits(x: Array, block: int) -> bool:
    """Whether blocks surely end where the shares of the devices end."""
    mesh = jax.typeof(x).sharding.mesh
    if len(mesh.manual_axes) == len(mesh.axis_names) > 0:
        return True
    devices = jax.device_count() if mesh.empty else mesh.size
    return x.shape[0] % (devices * block) == 0


def _splits(x: Array, block: int) -> bool:
    """Whether blocks of ``block`` end where the shares of an Explicit mesh end."""
    share = x.shape[0] // shards(x)
    return share == block == x.shape[0] or share % block == 0


def shards(x: Any) -> int:
    """Return into how many shares an Explicit mesh divides the examples of ``x``."""
    sharding = jax.typeof(x).sharding
    if not sharding.mesh.explicit_axes:
        return 1
    return x.shape[0] // sharding.shard_shape(x.shape)[0]
