"""What is around the mixers of a choice, and belongs around the choice."""

from collections.abc import Callable, Sequence
from typing import Any

from mixup_jax._combinators.cast import cast_inputs
from mixup_jax._combinators.devices import whole_batch
from mixup_jax._core.halves import Mixer
from mixup_jax._core.made import holds, made_by


def turned_out(
    mixers: Sequence[Any], choice: Callable[[Sequence[Mixer]], Mixer]
) -> Mixer | None:
    """Return ``choice`` within what is around the mixers, or None if nothing is.

    Within ``whole_batch``, since on each device by itself every device would make the
    same choices; within ``cast_inputs`` if that is around all of them alike.
    """
    cast = _cast_outside(mixers, choice)
    if cast is not None:
        return cast
    whole = [made_by(mixer, whole_batch) for mixer in mixers]
    for found, mixer in zip(whole, mixers):
        if not found and holds(mixer, whole_batch):
            raise ValueError(
                "choose: expected whole_batch around a mixer, or around choose; got "
                f"{mixer!r}, in which it is hidden, so that each device would make the "
                "same choices. Put it outermost: whole_batch(choose(mixers, probs), "
                "axis_name)."
            )
    axes = {found.arguments["axis_name"] for found in whole if found}
    if not axes:
        return None
    if len(axes) > 1:
        raise ValueError(
            "choose: expected whole_batch over one axis; got several, "
            f"{', '.join(map(repr, axes))}. Put it outermost: "
            "whole_batch(choose(mixers, probs), axis_name)."
        )
    inside = [
        found.arguments["mixer"] if found else mixer
        for found, mixer in zip(whole, mixers)
    ]
    return whole_batch(choice(inside), axes.pop())


def _cast_outside(
    mixers: Sequence[Any], choice: Callable[[Sequence[Mixer]], Mixer]
) -> Mixer | None:
    """Return ``choice`` within ``cast_inputs`` if that is around each of the mixers."""
    found = [made_by(mixer, cast_inputs) for mixer in mixers]
    alike: set[Any] = {each.arguments["cast"] if each else None for each in found}
    if alike == {None}:
        return None
    if len(alike) > 1:
        raise ValueError(
            "choose: expected cast_inputs around all mixers alike, or around choose; "
            f"got {', '.join(map(repr, mixers))}, of which one would return inputs "
            "of another dtype or scale than the next. Put it outermost: "
            "cast_inputs(choose(mixers, probs), cast)."
        )
    inside = [each.arguments["mixer"] for each in found if each]
    return cast_inputs(choice(inside), alike.pop())
