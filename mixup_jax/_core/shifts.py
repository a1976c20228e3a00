"""Rows that are shifted along axis 1, where a compiler fuses no other movement.

A shift that leaves a block is never looked at, so blocks may be joined to longer ones,
up to the share of a device. Where no mesh is in the types only whoever lowers a
program knows the number of devices: tracing on one host for others, or with
``in_shardings`` alone. A shift is then a primitive, whose blocks are chosen while it is
lowered.
"""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.extend
import jax.numpy as jnp
from jax import Array
from jax.interpreters import ad, batching, mlir

from mixup_jax._core.mesh import devices_lowered_for, laid_like


def stepped(rows: Array, places: Sequence[int], *, untold: bool = False) -> Array:
    """Return ``rows`` of the places within each block of axis 1.

    Args:
      rows: ``[N, n * len(places), ...]``.
      places: for each place in a block, the one whose row is brought.
      untold: whether axis 1 may be divided, over devices that no type tells.
    """
    place = jax.lax.rem(row_numbers(rows), jnp.int32(len(places)))
    shift = functools.partial(_untold, block=len(places)) if untold else shifted
    first, *others = steps(places)
    found = shift(rows, by=first)
    for step in others:
        these = [k for k, there in enumerate(places) if there - k == step]
        travels = functools.reduce(jnp.logical_or, (place == k for k in these))
        found = where(travels, shift(rows, by=step), found)
    return found


def steps(places: Sequence[int]) -> list[int]:
    """Return how far the rows of a block travel, each distance once."""
    return sorted({place - k for k, place in enumerate(places)})


def shifted(rows: Array, *, by: int, axis: int = 1) -> Array:
    """Return ``rows[:, i + by]``, zeros behind the ends."""
    padding = [(-by, by, 0) if n == axis else (0, 0, 0) for n in range(rows.ndim)]
    return jax.lax.pad(rows, jnp.zeros((), rows.dtype), padding)


def row_numbers(rows: Array) -> Array:
    """Count along axis 1, one number a row."""
    shape = (1, rows.shape[1]) + (1,) * (rows.ndim - 2)
    return jax.lax.broadcasted_iota(jnp.int32, shape, 1)


def where(condition: Array, these: Array, others: Array) -> Array:
    """Return ``these`` rows where a condition holds, ``others`` elsewhere."""
    # An Explicit mesh wants all of them laid out alike.
    return jnp.where(laid_like(condition, these), these, others)


_shift_p = jax.extend.core.Primitive("shift_within_blocks")


def _untold(rows: Array, *, by: int, block: int, axis: int = 1) -> Array:
    """Return ``shifted(rows)``, of any values where a shift leaves a block."""
    return _shift_p.bind(rows, by=by, block=block, axis=axis)


def _in_shares(
    rows: Array, *, by: int, block: int, axis: int, devices: int | None
) -> Array:
    """Shift in blocks as large as the shares of that many devices, if it is known."""
    size = rows.shape[axis]
    if devices and size % (devices * block) == 0:
        block = size // devices
    cut = rows.shape[:axis], (size // block, block), rows.shape[axis + 1 :]
    return shifted(rows.reshape(sum(cut, ())), by=by, axis=axis + 1).reshape(rows.shape)


def _lowered(ctx: mlir.LoweringRuleContext, rows: Any, **options: int) -> Any:
    run = functools.partial(_in_shares, devices=devices_lowered_for(ctx), **options)
    return mlir.lower_fun(run, multiple_results=False)(ctx, rows)


def _transposed(slope: Array, rows: Any, *, by: int, **options: int) -> list[Array]:
    del rows
    # What was never looked at has a slope of zero, wherever that goes.
    return [_untold(slope, by=-by, **options)]


def _batched(
    operands: Sequence[Array], places: Sequence[int], *, axis: int, **options: int
) -> tuple[Array, int]:
    (rows,), (place,) = operands, places
    return _untold(rows, axis=axis + (place <= axis), **options), place


_shift_p.def_impl(jax.jit(_shift_p.bind, static_argnames=("by", "block", "axis")))
_shift_p.def_abstract_eval(lambda rows, **_: rows)
ad.deflinear2(_shift_p, _transposed)
batching.primitive_batchers[_shift_p] = _batched
mlir.register_lowering(_shift_p, _lowered)
