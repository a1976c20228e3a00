"""Application of a mix to one leaf: mixing, weighting, and the union of contents."""

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
    """Return ``x`` mixed like the inputs, with the gain of the first region.

    The sources are those returned by ``seen``.

    Raises:
      TypeError: If ``x``, or the result of ``cast``, would be blended but is neither
        floating-point nor complex; ``advice`` ends the message.
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
    """Return ``x`` mixed at each position like the inputs, without a gain.

    Raises:
      TypeError: If ``x`` would be blended but is neither floating-point nor complex.
    """
    links = _links(x, sources)
    if any(not each.region.pastes for each in sources):
        checks.blendable(x, where, advice)
    return blend.chain(x, links)


def weighed(y: Array, sources: tuple[Source, ...], weights: Sequence[Array]) -> Array:
    """Return ``y`` mixed with one weight per example."""
    links = [
        Link(per_example(w, y), source.move, source.partner)
        for w, source in zip(weights, sources)
    ]
    return blend.chain(y, links)


def largest_seen(x: Array, sources: tuple[Source, ...]) -> Array:
    """Return, for each position, the largest value among the visible contents.

    Content is visible, through its window, where its weight is not 0. For bools the
    result is True where any visible content is True.
    """
    # Content that is not visible counts as the lowest value of the dtype.
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
