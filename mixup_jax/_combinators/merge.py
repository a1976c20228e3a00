"""Several mixes merged into one that selects among them for each example."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from mixup_jax._core import arrays, blend, checks
from mixup_jax._core.mesh import alike
from mixup_jax._core.mix import Mix
from mixup_jax._core.move import Move
from mixup_jax._core.moves import Gather, Stay
from mixup_jax._core.region import Untouched
from mixup_jax._core.source import Source
from mixup_jax._core.types import Partners
from mixup_jax.regions._chosen import select_region


class Wanted(NamedTuple):
    """What a mixer that is a single function must return, for error messages.

    Attributes:
      by: name of the function that raises.
      structure: description of the expected structure of the batch.
      like: description of the expected arrays.
      advice: what to do otherwise.
    """

    by: str
    structure: str
    like: str
    advice: str


def rows_of(own: Array, result: Any, other: Any, mixer: Any, wanted: Wanted) -> Any:
    """Return ``other`` with the rows ``own`` replaced by those in ``result``.

    Raises:
      TypeError: If the dtypes of the two differ.
      ValueError: If their structures or shapes differ.
    """
    found, expected = jax.tree.structure(result), jax.tree.structure(other)
    if found != expected:
        raise ValueError(
            f"{wanted.by}: expected {arrays.describe(mixer)} to return a batch "
            f"{wanted.structure}, {expected}; got {found}. Return all given entries."
        )

    def of_leaf(path: Any, row: Any, other: Any) -> Array:
        where = "batch" + jax.tree_util.keystr(path)
        arrays.array_of_numbers(row, where)
        row, other = (arrays.exact(x, where) for x in (row, other))
        for kind, got, expected in (
            (TypeError, row.dtype, other.dtype),
            (ValueError, row.shape, other.shape),
        ):
            if got != expected:
                raise kind(
                    f"{wanted.by}: {where}: expected an array {other.dtype}"
                    f"{list(other.shape)} from {arrays.describe(mixer)}, "
                    f"{wanted.like}; got {arrays.describe(row)}. {wanted.advice}"
                )
        return blend.rows_from(own, row, other)

    return jax.tree.map_with_path(of_leaf, result, other)


def of_one_dtype(mix: Mix, size: int) -> Mix:
    """Return a mix, possibly of a user-defined mixer, in canonical dtypes."""
    mix = mix.drawn()
    advice = "Return the mix of the given batch."
    checks.shaped(mix.lam, "mix: lam", [(size,)], advice)
    return mix


def _moving(sources: Sequence[Source]) -> Sequence[Source]:
    """Return the sources that have partners, or the first one if none has."""
    return [each for each in sources if not each.move.stays] or sources[:1]


def _move(sources: Sequence[Source]) -> Move:
    """Return the move that works for all of these sources."""
    moves = {source.move for source in _moving(sources)}
    if len(moves) == 1:
        return moves.pop()
    if any(move.crosses for move in moves):
        raise ValueError(
            "choose: expected mixers with partners in the given batch; got the moves "
            f"{sorted(map(str, moves))}. Put whole_batch and per_device outermost: "
            "whole_batch(choose(...), axis_name)."
        )
    return Gather()


def partners_here(mixes: Sequence[Mix]) -> Partners:
    """Return the partners that ``by`` compares, as indices into the current batch."""
    first = [mix.sources[0] for mix in mixes]
    partner, move = _moving(first)[0].partner, _move(first)
    if move.structural:  # with per_device, indices count over all devices
        partner = jax.lax.rem(partner, jnp.int32(partner.shape[0]))
    return Partners(partner, move)


def merged(mixes: Sequence[Mix], index: Array) -> Mix:
    """Return one mix that is, for each example, the mix selected by ``index``."""
    weights = [
        mix.lam if mix.mixes_targets else jnp.ones_like(mix.lam) for mix in mixes
    ]
    depth = max(len(mix.sources) for mix in mixes)
    slots = [[_slot(mix, k) for mix in mixes] for k in range(depth)]
    sources = tuple(_merged_source(slot, index) for slot in slots)
    mixes_targets = any(mix.mixes_targets for mix in mixes)
    return Mix(select(index, weights), sources, mixes_targets)


def _slot(mix: Mix, k: int) -> Source:
    """Return the k-th source of a mix, or one that shows nothing behind it."""
    if k < len(mix.sources):
        return mix.sources[k]
    return Source(mix.partner, jnp.ones_like(mix.lam), Untouched(), Stay())


def _merged_source(sources: Sequence[Source], index: Array) -> Source:
    # Examples that are not mixed keep a partner, with lam = 1: only per_device and
    # whole_batch know their own indices in the batch of all devices.
    move, first = _move(sources), _moving(sources)[0].partner
    partners = [first if each.move.stays else each.partner for each in sources]
    return Source(
        first if move.structural else select(index, partners),
        select(index, [source.lam for source in sources]),
        select_region(index, [source.region for source in sources]),
        move,
    )


def select(index: Array, values: Sequence[Array]) -> Array:
    """Return for each example the value selected by ``index``, ``[B]``."""
    index, found, *others = alike(index, *values)
    for k, value in enumerate(others, start=1):
        found = jnp.where(index == k, value, found)
    return found
