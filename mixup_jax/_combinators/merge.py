"""Several mixes as one, which is another one's for each example."""

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
    """What a mixer of one function has to return, for a message.

    Attributes:
      by: who asks.
      structure: of which structure the batch is to be.
      like: what its arrays are to be like.
      advice: what to do where they are not.
    """

    by: str
    structure: str
    like: str
    advice: str


def rows_of(own: Array, result: Any, other: Any, mixer: Any, wanted: Wanted) -> Any:
    """Return ``other`` with the rows ``own`` of what ``mixer`` returned.

    Raises:
      TypeError: If the dtypes of the two differ.
      ValueError: If their structures or shapes do.
    """
    found, expected = jax.tree.structure(result), jax.tree.structure(other)
    if found != expected:
        raise ValueError(
            f"{wanted.by}: expected {arrays.describe(mixer)} to return a batch "
            f"{wanted.structure}, {expected}; got {found}. Return all that was given."
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
    """Return a mix, which may be of a user's mixer, in the dtypes of all others."""
    mix = mix.drawn()
    advice = "Return the mix of the batch that is given."
    checks.shaped(mix.lam, "mix: lam", [(size,)], advice)
    return mix


def _moving(sources: Sequence[Source]) -> Sequence[Source]:
    """Return the sources that have partners, or one where none has."""
    return [each for each in sources if not each.move.stays] or sources[:1]


def _move(sources: Sequence[Source]) -> Move:
    """Return the move that brings whichever source's partners."""
    moves = {source.move for source in _moving(sources)}
    if len(moves) == 1:
        return moves.pop()
    if any(move.crosses for move in moves):
        raise ValueError(
            "choose: expected mixers that find partners in the batch that they are "
            f"given; got the moves {sorted(map(str, moves))}. Put whole_batch and "
            "per_device outermost: whole_batch(choose(...), axis_name)."
        )
    return Gather()


def partners_here(mixes: Sequence[Mix]) -> Partners:
    """Return partners as ``by`` compares them, with places in the batch at hand."""
    first = [mix.sources[0] for mix in mixes]
    partner, move = _moving(first)[0].partner, _move(first)
    if move.structural:  # those of per_device count over the batches of all devices
        partner = jax.lax.rem(partner, jnp.int32(partner.shape[0]))
    return Partners(partner, move)


def merged(mixes: Sequence[Mix], index: Array) -> Mix:
    """Return one mix that is, for each example, the one that ``index`` names."""
    weights = [
        mix.lam if mix.mixes_targets else jnp.ones_like(mix.lam) for mix in mixes
    ]
    depth = max(len(mix.sources) for mix in mixes)
    slots = [[_slot(mix, k) for mix in mixes] for k in range(depth)]
    sources = tuple(_merged_source(slot, index) for slot in slots)
    mixes_targets = any(mix.mixes_targets for mix in mixes)
    return Mix(select(index, weights), sources, mixes_targets)


def _slot(mix: Mix, k: int) -> Source:
    """Return the k-th source of a mix, or one that shows nothing."""
    if k < len(mix.sources):
        return mix.sources[k]
    return Source(mix.partner, jnp.ones_like(mix.lam), Untouched(), Stay())


def _merged_source(sources: Sequence[Source], index: Array) -> Source:
    # Examples that are not mixed keep a partner, at lam = 1: where they are themselves
    # among all devices' examples is known to per_device and whole_batch alone.
    move, first = _move(sources), _moving(sources)[0].partner
    partners = [first if each.move.stays else each.partner for each in sources]
    return Source(
        first if move.structural else select(index, partners),
        select(index, [source.lam for source in sources]),
        select_region(index, [source.region for source in sources]),
        move,
    )


def select(index: Array, values: Sequence[Array]) -> Array:
    """Return for each example the value that ``index`` names, ``[B]``."""
    index, found, *others = alike(index, *values)
    for k, value in enumerate(others, start=1):
        found = jnp.where(index == k, value, found)
    return found
