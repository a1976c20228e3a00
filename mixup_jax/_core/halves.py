"""The two halves of a mixer: one draws a mix, the other applies it.

::

    draw(key, batch) -> mix           random
    apply(mix, batch) -> batch        deterministic

Calling a mixer does both, ``(key, batch) -> (batch, mix)``. Code that needs the halves
gets them from ``halves``: ``choose`` merges draws and applies once, ``whole_batch``
cuts a draw to the shard of a device. A mixer has halves if it is a combinator, or the
very function that ``mixer`` returned: ``functools.wraps`` copies a function's
attributes to functions that do more. Any other callable is a single function, run as a
whole.
"""

import dataclasses
import functools
import typing
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax
from jax import Array
from jax.typing import ArrayLike

from mixup_jax._core import arrays, checks
from mixup_jax._core.made import called, made
from mixup_jax._core.mix import Mix
from mixup_jax._core.words import Plan

Draw = Callable[[Array, Any], Mix]
_PARTIAL = "functools.partial(mixup_jax.mixup, alpha=0.2)"
NO_MIXER = (
    "mixup_jax.erm, which mixes nothing, or mixup_jax.until(step, mixer), which stops "
    "at a step"
)


class Mixer(Protocol):
    """A callable that mixes a batch and returns the mix along with it.

    The batch is a ``Batch``, unless a wrapper such as ``on_keys`` extracts it from a
    dict. Key and batch are passed by position, so a user-defined mixer may name them
    freely.
    """

    def __call__(self, key: Array, batch: Any, /) -> tuple[Any, Mix]: ...


class Halves(NamedTuple):
    """The two functions that make up a mixer."""

    draw: Draw
    apply: Callable[[Mix, Any], Any]
    plan: Callable[[Any], Plan[Mix]] | None = None

    def planned(self, batch: Any) -> Plan[Mix]:
        """Return the plan of the draw, or one that takes a key if there is none."""
        if self.plan is not None:
            return self.plan(batch)
        size = checks.examples(batch)
        return Plan(None, size, lambda key: self.draw(key, batch))


class Kept(NamedTuple):
    """What ``mixer`` attaches to the function ``of`` that it made from ``draw``."""

    draw: Callable[..., Mix]
    of: Callable[..., Any]
    plan: Callable[..., Plan[Mix]] | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class Combinator:
    """A mixer made of mixers, which has halves if all of them have.

    Attributes:
      halves: returns the halves for the batch to draw for, or ``None`` if the mixer is
        a single function.
      whole: runs the mixer as a single function.
      once: returns the mixer with one draw for the batch, see ``once_per_batch``.
    """

    halves: Callable[[Any], Halves | None]
    whole: Callable[[Array, Any], tuple[Any, Mix]]
    once: Callable[[], Any]

    def __call__(self, key: Array, batch: Any) -> tuple[Any, Mix]:
        own = self.halves(batch)
        if own is None:
            return self.whole(key, batch)
        mix = own.draw(key, batch)
        return own.apply(mix, batch), mix


@dataclasses.dataclass(frozen=True, eq=False)
class Scheduled:
    """A mixer that depends on the step: ``scheduled(f)(step)`` is the mixer."""

    mixer_at: Callable[[Array], Mixer]
    once: Callable[[], Any]

    def __call__(self, step: ArrayLike, *batch: Any) -> Mixer:
        if batch:
            raise TypeError(
                "scheduled: expected only the step; got a key and a batch. Call it as "
                "f(step)(key, batch), or let mixup_jax.training call it, and schedule "
                "outermost: mixup_jax.until(step, on_keys(mixer, ...)), "
                "scheduled(lambda step: on_keys(mixer_at(step), ...))."
            )
        try:
            mixer = self.mixer_at(typing.cast(Array, step))  # traced, in a train step
        except TypeError as error:
            _pointed_on(error)
            raise
        checks.function(mixer, "scheduled: what mixer_at returned", NO_MIXER)
        return mixer


@made
def draw_of(mixer: Mixer) -> Draw:
    """Return the random half of a mixer, ``(key, batch) -> Mix``.

    The other half is ``mix.batch(batch)``; for a dict batch, apply ``mix.inputs`` and
    ``mix.targets`` to its entries.

    Args:
      mixer: a mixer with two halves: any of this library except ``gaussian``, one made
        by ``mixer``, a partial of one, or a combinator of such mixers.

    Returns:
      A function ``(key, batch) -> Mix``.

    Raises:
      TypeError: If ``mixer`` is not callable, or is a single function without halves.
        For a combinator the latter is raised when the draw is called.

    Example:
      >>> from functools import partial
      >>> import jax, mixup_jax as mx
      >>> draw = mx.draw_of(partial(mx.mixup, alpha=0.2))
      >>> mix = draw(jax.random.key(0), (jax.numpy.ones((4, 3)), None))
      >>> mix.partner
      Array([1, 0, 3, 2], dtype=int32)
    """
    checks.function(mixer, "draw_of: mixer", _PARTIAL)
    if combinator(mixer) is None and halves(mixer, None) is None:
        raise _no_halves(mixer)

    def draw(key: Array, batch: Any) -> Mix:
        own = halves(mixer, batch)
        if own is None:
            raise _no_halves(mixer)
        return own.draw(key, batch)

    return draw


def halves(mixer: Any, batch: Any) -> Halves | None:
    """Return the halves of a mixer for a batch, or ``None`` if it is a single function.

    The draw must be called with that batch: mixers made by ``using`` depend on it.
    """
    *_, mixer = called(mixer)
    if isinstance(mixer, Combinator):
        return mixer.halves(batch)
    partly = type(mixer) is functools.partial
    kept = kept_with(mixer.func if partly else mixer)
    if kept is None:
        return None
    draw, plan = kept.draw, kept.plan
    if partly:
        draw = functools.partial(draw, *mixer.args, **mixer.keywords)
        if plan is not None:
            plan = functools.partial(plan, **mixer.keywords) if not mixer.args else None
    return Halves(draw, Mix.batch, plan)


def combinator(mixer: Any) -> Combinator | Scheduled | None:
    """Return the combinator behind ``mixer``; ``None`` if it is not made of mixers."""
    *_, mixer = called(mixer)
    return mixer if isinstance(mixer, Combinator | Scheduled) else None


def kept_with(function: Any) -> Kept | None:
    """Return what ``mixer`` attached to this very function, or ``None``."""
    kept = getattr(function, "_mixup_jax_draw", None)
    return kept if isinstance(kept, Kept) and kept.of is function else None


def _no_halves(mixer: Any) -> TypeError:
    if isinstance(combinator(mixer), Scheduled):
        return TypeError(
            f"mixer: expected one that takes a key and a batch; got {mixer!r}. Call it "
            "with the step first."
        )
    return TypeError(
        "mixer: expected one with two halves, a draw and its application; got "
        f"{arrays.describe(mixer)}, which is a single function. Decorate its draw, "
        "(key, batch) -> Mix, with mixup_jax.mixer; bind options with "
        "functools.partial, and jit the function that calls the mixer."
    )


def run(mixer: Mixer, key: Array, batch: Any) -> tuple[Any, Mix]:
    """Return ``mixer(key, batch)``.

    Raises:
      TypeError: If the result is not a batch and a ``Mix``.
    """
    try:
        result = mixer(key, batch)
    except TypeError as error:
        unknown = isinstance(error, jax.errors.TracerBoolConversionError)
        if unknown or "branch outputs must" in str(error):  # of jax.lax.cond
            _pointed_on(error)
        raise
    if isinstance(result, tuple | list) and len(result) == 2:
        mixed, mix = result
        if isinstance(mix, Mix):
            return mixed, mix
        got = f"a pair whose second element is {arrays.describe(mix)}"
    else:
        got = arrays.describe(result)
    raise TypeError(
        f"mixer: expected (batch, mix) from {arrays.describe(mixer)}; got {got}. "
        "Return the Mix that was applied; if nothing was mixed, that of "
        f"mixup_jax.erm(key, batch). {checks.STOPS}"
    )


def _pointed_on(error: TypeError) -> None:
    """Note how to stop mixing at a step, unless the error already does."""
    if "mixup_jax.until(" not in str(error):
        error.add_note(checks.STOPS)
