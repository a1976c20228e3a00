"""One draw for the whole batch, as in most other libraries."""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any, cast, overload

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from mixup_jax._core import checks
from mixup_jax._core.halves import Halves, Mixer, Scheduled, combinator, draw_of, halves
from mixup_jax._core.made import made
from mixup_jax._core.mesh import laid_like, rows_for_all, whole
from mixup_jax._core.mix import Mix
from mixup_jax._core.mixer import method
from mixup_jax._core.source import Source
from mixup_jax._core.types import Batch
from mixup_jax._core.words import drawn


@overload
def once_per_batch(mixer: Scheduled) -> Scheduled: ...


@overload
def once_per_batch(mixer: Mixer) -> Mixer: ...


@made
def once_per_batch(mixer: Any) -> Any:
    """Return a mixer that draws once per batch: one ``lam``, box, choice and layer.

    ::

        lam[i] = lam[first],  first = min {j: partner(j) != j}

    The draw of the first example with a partner is used for every example with a
    partner; the others keep ``lam = 1``. Partners are still drawn for each example.
    This is the batch mode of timm, and the only mode of torchvision, big_vision and
    scenic.

    For a combinator, this returns the same combinator of such mixers: ``choose`` makes
    one choice for the batch, ``per_device`` draws once per device.

    It costs as much as the mixer, since all draws are made. If only ``lam`` is to be
    shared, ``ratios.per_batch`` draws just one.

    Args:
      mixer: a mixer with two halves, or one marked ``scheduled``.

    Returns:
      The mixer.

    Raises:
      TypeError: If ``mixer`` is not callable, or is a single function (``gaussian``, a
        jitted mixer), whose draws are not accessible; for ``scheduled`` and ``using``,
        whose mixers are made later, the latter is raised when called. If, when called,
        a region was drawn from the content of an example or its partner
        (``saliencymix``).

    Example:
      >>> from functools import partial
      >>> import jax, mixup_jax as mx
      >>> mixer = mx.once_per_batch(partial(mx.mixup, pairing=mx.pairings.roll))
      >>> _, mix = mixer(jax.random.key(0), (jax.numpy.ones((4, 3)), None))
      >>> bool((mix.lam == mix.lam[0]).all())
      True
    """
    checks.function(mixer, "once_per_batch: mixer", "mixup_jax.mixup")
    made_of_mixers = combinator(mixer)
    if made_of_mixers is not None:
        return made_of_mixers.once()
    draw_of(mixer)  # raises for a mixer without halves

    @method
    def once(key: Array, batch: Batch) -> Mix:
        own = cast(Halves, halves(mixer, batch))
        plan = own.planned(batch)
        of = plan.of
        return drawn(key, plan._replace(of=lambda numbers: _first_for_all(of(numbers))))

    return once


@made
def each_once(mixer_of: Callable[[Any], Mixer]) -> Callable[[Any], Mixer]:
    """Return ``mixer_of`` with its mixers drawing once per batch."""
    return lambda value: once_per_batch(mixer_of(value))


def _first_for_all(mix: Mix) -> Mix:
    """Return ``mix`` with the draw of the first example with a partner used for all."""
    for source in mix.sources:
        if source.region.of_example:
            raise TypeError(
                "once_per_batch: expected regions that all examples can share; got "
                f"{type(source.region).__name__}, which was drawn from the content of "
                "an example or its partner. Draw it for each example."
            )
    has_partner = [_has_partner(source) for source in mix.sources]
    first = jnp.argmax(has_partner[0]).astype(jnp.int32)[None]

    def for_all(mixes: Array, leaf: ArrayLike) -> Array:
        leaf = jnp.asarray(leaf)
        row = rows_for_all(leaf, first)
        mixes = mixes.reshape(-1, *[1] * (leaf.ndim - 1))
        row = jnp.broadcast_to(row, leaf.shape)
        return jnp.where(laid_like(mixes, leaf), laid_like(row, leaf), leaf)

    def of_first(mixes: Array, source: Source) -> Source:
        lam, region = jax.tree.map(partial(for_all, mixes), (source.lam, source.region))
        return dataclasses.replace(source, lam=lam, region=region)

    return dataclasses.replace(
        mix,
        lam=for_all(has_partner[0], mix.lam),
        sources=tuple(map(of_first, has_partner, mix.sources)),
    )


def _has_partner(source: Source) -> Array:
    """Return, on every device, which examples have a partner other than themselves."""
    partner = jnp.asarray(source.partner, jnp.int32)  # user-defined: maybe NumPy
    partner = whole(partner)
    return partner != jnp.arange(partner.shape[0], dtype=jnp.int32)
