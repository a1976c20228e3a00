"""The sources of a mix: what is behind the content in front."""

import dataclasses
import functools

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from mixup_jax._core import arrays, checks
from mixup_jax._core.blend import Link
from mixup_jax._core.move import Move, move_of
from mixup_jax._core.moves import Gather
from mixup_jax._core.region import Everywhere, Region, region_of, through
from mixup_jax._core.register import pytree

SHARE = "It is the share of the example's own content."
PLACE = "Partners count from 0, in the batch that they were drawn for."


@pytree
@dataclasses.dataclass(frozen=True, eq=False)
class Source:
    """The partners behind the content in front, and how much of that is kept.

    Attributes:
      partner: int32 ``[B]``, the example that shows where the content in front leaves
        room.
      lam: float32 ``[B]``, the share that the content in front keeps; for the first
        source, the weight of the example's own content in the inputs.
      region: where the content in front stays; its window shows the partner's content.
      move: how partners travel.
    """

    partner: Array
    lam: Array
    region: Region = dataclasses.field(default_factory=Everywhere)
    move: Move = dataclasses.field(default=Gather(), metadata={"static": True})


def checked(
    lam: ArrayLike, sources: tuple[Source, ...]
) -> tuple[Array, tuple[Source, ...]]:
    """Return the weights of a mix in float32, and its sources with int32 partners.

    Raises:
      TypeError: If a weight is not real, or the partners are not integers.
      ValueError: If there are no sources, shapes differ, or concrete values are out of
        range.
    """
    found = sources if isinstance(sources, tuple) else ()
    if not found or not all(isinstance(each, Source) for each in found):
        raise ValueError(
            "mix: expected a tuple of sources; got "
            f"{arrays.describe(sources)}. Make a mix of pairs with "
            "mixup_jax.Mix.from_pairs(lam, partner)."
        )
    for weight in (lam, *(each.lam for each in sources)):
        checks.real(weight, "mix: lam", SHARE)
    weights = [jnp.asarray(each.lam) for each in sources]
    own_label = jnp.asarray(lam)
    own = [own_label, *weights]
    partners = [arrays.array(source.partner) for source in sources]
    shapes = [each.shape for each in (*own, *partners)]
    if own_label.ndim != 1 or len(set(shapes)) > 1:
        others = {shape: None for shape in shapes[1:] if shape != own_label.shape}
        got = " and ".join(map(str, [own_label.shape, *(others or shapes[-1:])]))
        raise ValueError(
            f"mix: expected lam [B] and partner [B]; got shapes {got}. Apply a mix "
            "that came out of vmap or pmap under vmap or pmap."
        )
    checks.known(own_label.shape, "mix: lam", "number of examples")
    cast = []
    for k, source in enumerate(sources):
        weight, partner = weights[k], partners[k]
        region_of(source.region)
        if not jnp.issubdtype(partner.dtype, jnp.integer):
            raise TypeError(
                "mix: expected integer partners, indices of examples; got "
                f"{arrays.describe(partner)}. Cast them with partner.astype(int)."
            )
        # Other moves fix the partners, and reading values waits for the device.
        if move_of(source.move).by_index and not source.move.crosses:
            kept = source.lam if k else lam  # the weight of the inputs may exceed 1
            checks.number(kept, "mix: lam", 0, 1, SHARE)
            checks.number(partner, "mix: partner", 0, len(partner) - 1, PLACE)
        index = jnp.asarray(partner, jnp.int32)
        weight = weight.astype(jnp.float32)
        cast.append(dataclasses.replace(source, partner=index, lam=weight))
    return own_label.astype(jnp.float32), tuple(cast)


def seen(sources: tuple[Source, ...]) -> tuple[Source, ...]:
    """Return the sources in front of the first one whose region is an identity."""
    hides = [k for k, each in enumerate(sources) if each.region.identity]
    return sources[: hides[0]] if hides else sources


def link_of(w: Array, source: Source) -> Link:
    """Return the link of a chain for a source, for one leaf."""
    view = functools.partial(through, source.region) if source.region.windows else None
    return Link(w, source.move, source.partner, view)
