"""Several mixes as one, which is another one's for each example."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import Array

from mixup_jax._core import checks
from mixup_jax._core.mesh import alike
from mixup_jax._core.mix import Mix
from mixup_jax._core.move import Move
from mixup_jax._core.moves import Gather, Stay
from mixup_jax._core.region import Untouched
from mixup_jax._core.source import Source
from mixup_jax._core.types import Partners
from mixup_jax.regions._chosen import select_region


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
