"""Composition of a mix from a ratio, a pairing and a region."""

import functools
import inspect
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, TypeVar, cast

import jax.numpy as jnp
from jax import Array

from mixup_jax._core import arrays, checks
from mixup_jax._core.axes import Axes, named_by
from mixup_jax._core.made import options, written
from mixup_jax._core.mesh import alike
from mixup_jax._core.mix import Mix
from mixup_jax._core.region import RegionDraw, SpatialDraw, region_and_lam
from mixup_jax._core.source import SHARE, Source
from mixup_jax._core.types import Batch, Pairing, Partners, Ratio
from mixup_jax._core.words import LATER, Plan, divided, drawn, words_of

T = TypeVar("T")


def compose(
    key: Array, batch: Batch, *, ratio: Ratio, pairing: Pairing, region: RegionDraw
) -> Mix:
    """Draw a mix for ``batch`` from a ratio, a pairing and a region.

    Methods call this with parts of their own, under the decorator ``mixer``. For
    several sources, build a ``Mix`` from the result of ``draw_source`` for each.

    Args:
      key: PRNG key.
      batch: pair ``(inputs, targets)`` of pytrees with the examples on axis 0.
      ratio: draws ``lam``; see ``mixup_jax.ratios``.
      pairing: draws the partners; see ``mixup_jax.pairings``.
      region: draws where each example is mixed; see ``mixup_jax.regions``.

    Returns:
      The mix. Examples paired with themselves get ``lam = 1``.

    Raises:
      TypeError: If ``key`` is not a PRNG key. If ``ratio``, ``pairing`` or ``region``
        is not callable with its arguments. If the pairing does not return ``Partners``
        with an integer index, or the region does not return ``(region, lam)``.
      ValueError: If the batch is not a pair, is empty, or its leaves disagree on the
        batch size. If the pairing or the ratio draws for another number of examples.

    Example:
      >>> from functools import partial
      >>> import jax, mixup_jax as mx
      >>> of_boxes = partial(
      ...     mx.compose,
      ...     ratio=mx.ratios.beta(1.0),
      ...     pairing=mx.pairings.roll,
      ...     region=mx.regions.box,
      ... )
      >>> images, labels = jax.numpy.ones((4, 8, 8, 3)), jax.numpy.arange(4)
      >>> mix = of_boxes(jax.random.key(0), (images, labels))
      >>> mix.partners(labels)
      Array([3, 0, 1, 2], dtype=int32)
    """
    parts = Parts(ratio, pairing, region)
    return from_sources(key, batch, [parts], lambda source: Mix(source.lam, (source,)))


def draw_source(
    key: Array, batch: Batch, *, ratio: Ratio, pairing: Pairing, region: RegionDraw
) -> Source:
    """Draw one source of a mix, like ``compose``, which draws a mix of one source.

    For methods with several sources::

        Mix(first.lam, (first, second))

    ``second.lam`` is the fraction that the first partner's content keeps of what the
    example's own content leaves. Examples paired with themselves get ``lam = 1``, which
    hides all further sources. Arguments and errors are those of ``compose``.

    Example:
      >>> from functools import partial
      >>> import jax, mixup_jax as mx
      >>> @mx.mixer
      ... def three(key, batch):
      ...     def behind(key, shift):
      ...         return mx.draw_source(
      ...             key,
      ...             batch,
      ...             ratio=mx.ratios.uniform(),
      ...             pairing=partial(mx.pairings.roll, shift=shift),
      ...             region=mx.regions.everywhere,
      ...         )
      ...     keys = jax.random.split(key)
      ...     first, second = behind(keys[0], 1), behind(keys[1], 2)
      ...     return mx.Mix(first.lam, (first, second))
      >>> _, mix = three(jax.random.key(0), (jax.numpy.eye(4), None))
      >>> [source.partner.tolist() for source in mix.sources]
      [[3, 0, 1, 2], [2, 3, 0, 1]]
    """
    return from_sources(
        key, batch, [Parts(ratio, pairing, region)], lambda found: found
    )


class Parts(NamedTuple):
    """The parts from which a source is drawn."""

    ratio: Ratio
    pairing: Pairing
    region: RegionDraw


def from_sources(
    key: Array, batch: Batch, parts: Sequence[Parts], mix_of: Callable[..., T]
) -> T:
    """Draw a source from each of ``parts`` and return ``mix_of`` applied to them."""
    if key is not LATER:
        checks.prng_key(key)
    inputs, _ = checks.pair(batch)
    size, counts = checks.examples(batch), list[int | None]()
    for ratio, pairing, region in parts:
        checks.function(ratio, "ratio", "mixup_jax.ratios.constant(0.5)")
        checks.function(pairing, "pairing", "mixup_jax.pairings.roll")
        _takes(region, "mixup_jax.regions.everywhere")
        with named_by(functools.partial(_call_with, region)):
            counts += (
                words_of(pairing, batch),
                words_of(ratio),
                words_of(region, inputs),
            )

    def of(numbers: Any) -> T:
        each = iter(divided(numbers, counts))
        found = [_source(each, batch, size, part) for part in parts]
        return mix_of(*found)

    known = [count for count in counts if count is not None]
    words = sum(known) if len(known) == len(counts) else None
    return drawn(key, Plan(words, size, of))


def _source(numbers: Iterator[Any], batch: Batch, size: int, parts: Parts) -> Source:
    ratio, pairing, region = parts
    inputs, _ = batch
    partners = _for_examples(size, pairing(next(numbers), batch))
    lam = ratio(next(numbers), partners)
    shape = getattr(lam, "shape", None)
    if shape != (size,):
        raise ValueError(
            f"ratio: expected lam with shape ({size},), one for each example; got "
            f"{arrays.describe(lam) if shape is None else shape}. Return "
            "values of shape partners.index.shape, as mixup_jax.ratios do."
        )
    checks.real(lam, "ratio: lam", SHARE)
    with named_by(functools.partial(_call_with, region)):
        drawn = region(next(numbers), lam.astype(jnp.float32), inputs, partners)
    where, lam = region_and_lam(size, drawn)
    alone = partners.index == jnp.arange(size, dtype=jnp.int32)
    alone, lam = alike(alone, lam)
    lam = jnp.where(alone, 1.0, lam)
    return Source(partners.index, lam, where, partners.move)


def along(spatial: tuple[int, ...] | None, region: SpatialDraw) -> RegionDraw:
    """Return ``region`` drawn along the ``spatial`` axes.

    Raises:
      TypeError: If ``region`` is not callable, or does not take ``spatial``.
    """
    if spatial is None and "spatial" in getattr(region, "keywords", {}):
        return cast(RegionDraw, region)  # a partial that binds ``spatial``
    advice = (
        "Pass one such as mixup_jax.regions.box; one weight for all positions is "
        "mixup_jax.mixup."
    )
    _takes(region, "mixup_jax.regions.box", advice, spatial=spatial)
    return functools.partial(region, spatial=spatial)


def _takes(region: Any, example: str, advice: str = "", **options: Any) -> None:
    """Raise TypeError unless ``region`` can be called as a region draw."""
    checks.function(region, "region", example)
    try:
        signature = inspect.signature(region)
    except ValueError:  # callables not written in Python may lack a signature
        return
    try:
        signature.bind(None, None, None, None, **options)
    except TypeError as error:
        names = ", ".join(
            ["key", "lam", "inputs", "partners", *(["*"] if options else []), *options]
        )
        advice = advice or (
            f"Pass one such as {example}. A draw takes the partners even if it does "
            "not use them."
        )
        raise TypeError(
            f"region: expected a function ({names}); got {arrays.describe(region)}: "
            f"{error}. {advice}"
        ) from None


def _call_with(region: Any, axes: Axes) -> str | None:
    """Return Python code that binds ``spatial`` of ``region``, or ``None``."""
    try:
        asked = inspect.signature(region).parameters.get("spatial")
    except ValueError:
        return None
    if asked is None or asked.default is not None:
        return None
    bound = functools.partial(region, spatial=axes)
    draw = functools.partial(bound.func, *bound.args) if bound.args else bound.func
    name = getattr(draw, "__name__", "")
    name = written(draw, name if name.isidentifier() else "region")
    return f"functools.partial({name}, {options(bound.keywords)})"


def _for_examples(size: int, drawn: Any) -> Partners:
    """Return the partners that a pairing drew, with an int32 index."""
    if not isinstance(drawn, Partners):
        raise TypeError(
            f"pairing: expected Partners; got {arrays.describe(drawn)}. Make them "
            "from indices with mixup_jax.pairings.given(index)(key, batch)."
        )
    advice = "Draw one partner for each example of the given batch."
    checks.shaped(drawn.index, "pairing: index", [(size,)], advice)
    index = arrays.array(drawn.index)
    if not jnp.issubdtype(index.dtype, jnp.integer):
        raise TypeError(
            "pairing: expected integer partners, indices of examples; got "
            f"{arrays.describe(drawn.index)}. Cast them with index.astype(int)."
        )
    if index.dtype != jnp.int32:  # otherwise the conversion may wrap into the range
        advice = "Partners count from 0, in the given batch."
        checks.number(index, "pairing: index", 0, size - 1, advice)
    return Partners(jnp.asarray(index, jnp.int32), drawn.move)
