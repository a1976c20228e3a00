"""What a mix makes of one leaf: blended or pasted, weighed, or what is seen of it."""

from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array

from mixup_jax._core import blend, checks
from mixup_jax._core.blend import Link
from mixup_jax._core.cast import Cast, shape_of
from mixup_jax._core.mesh import per_example
from mixup_jax._core.region import field, gain_of, through
from mixup_jax._core.source import Source, link_of

Advice = str | Callable[[Any], str]


def mixed(
    x: Array,
    sources: tuple[Source, ...],
    where: str,
    advice: Advice,
    cast: Cast | None = None,
) -> Array:
    """Return ``x`` mixed as the inputs are, with the gain of the first region.

    The sources are those that are ``seen``. Raises TypeError, with ``advice``, if what
    ``cast`` makes of ``x`` would be blended and cannot be.
    """
    made = x
    if cast is not None:
        made = shape_of(cast, x, where)
        where = f"{where}, as cast returned it"
    if not sources:
        return x if cast is None else cast(x)
    links = _links(x, sources)
    if any(each.region.gains or not each.region.pastes for each in sources):
        checks.blendable(made, where, advice)
    return blend.chain(x, links, gain_of(sources[0].region, links[0].w), cast)


def placed(x: Array, sources: tuple[Source, ...], where: str, advice: Advice) -> Array:
    """Return ``x`` mixed at each position as the inputs are, without a gain.

    Raises as ``mixed`` does.
    """
    links = _links(x, sources)
    if any(not each.region.pastes for each in sources):
        checks.blendable(x, where, advice)
    return blend.chain(x, links)


def weighed(y: Array, sources: tuple[Source, ...], weights: Sequence[Array]) -> Array:
    """Return ``y`` mixed by one weight for each example."""
    links = [
        Link(per_example(w, y), source.move, source.partner)
        for w, source in zip(weights, sources)
    ]
    return blend.chain(y, links)


def largest_seen(x: Array, sources: tuple[Source, ...]) -> Array:
    """Return, per position, the largest value of any content that is seen there.

    Seen is a source of a weight other than 0, through its window. Of bools this is
    whether any of them is True.
    """
    # Of contents that are not seen the least value there is, which none is below.
    lowest = _lowest(x)
    room, front, largest = jnp.ones_like(x, bool), x, jnp.full_like(x, lowest)
    for source in sources:
        w = field(source.region, source.lam, x).astype(jnp.float32)
        here = jnp.where(room & (w != 0), front, lowest)
        largest = jnp.maximum(largest, here)
        room = room & (w != 1)
        front = through(source.region, source.move.take(x, source.partner))
    return jnp.maximum(largest, jnp.where(room, front, lowest))


def _lowest(x: Array) -> Any:
    if x.dtype == jnp.bool_:
        return False
    if jnp.issubdtype(x.dtype, jnp.integer):
        return jnp.iinfo(x.dtype).min
    lowest = np.asarray(-np.inf).astype(x.dtype)  # NaN in a float8 without infinities
    return jnp.finfo(x.dtype).min if np.isnan(lowest) else lowest


def _links(x: Array, sources: tuple[Source, ...]) -> list[Link]:
    fields = [field(each.region, each.lam, x) for each in sources]
    return list(map(link_of, fields, sources))
