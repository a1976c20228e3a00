"""Wrappers of the mixers of a choice that belong outside of the choice."""

from collections.abc import Callable, Sequence
from typing import Any

from mixup_jax._combinators.cast import cast_inputs
from mixup_jax._combinators.devices import whole_batch
from mixup_jax._core.halves import Mixer
from mixup_jax._core.made import holds, made_by


def turned_out(
    mixers: Sequence[Any], choice: Callable[[Sequence[Mixer]], Mixer]
) -> Mixer | None:
    """Return ``choice`` inside the wrappers of the mixers; ``None`` if there are none.

    This applies to ``whole_batch``, since otherwise every device would make the same
    choices, and to ``cast_inputs`` if all mixers are wrapped with the same cast.

    Raises:
      ValueError: If ``whole_batch`` is hidden inside a mixer, or names different axes.
        If only some mixers have ``cast_inputs``, or with different casts.
    """
    cast = _cast_outside(mixers, choice)
    if cast is not None:
        return cast
    whole = [made_by(mixer, whole_batch) for mixer in mixers]
    for found, mixer in zip(whole, mixers):
        if not found and holds(mixer, whole_batch):
            raise ValueError(
                "choose: expected whole_batch around a mixer, or around choose; got "
                f"{mixer!r}, which contains it, so that each device would make the "
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
    """Return ``choice`` inside ``cast_inputs`` if that is around each of the mixers."""
    found = [made_by(mixer, cast_inputs) for mixer in mixers]
    alike: set[Any] = {each.arguments["cast"] if each else None for each in found}
    if alike == {None}:
        return None
    if len(alike) > 1:
        raise ValueError(
            "choose: expected the same cast_inputs around all mixers, or around "
            f"choose; got {', '.join(map(repr, mixers))}, which would return inputs "
            "of different dtypes or scales. Put it outermost: "
            "cast_inputs(choose(mixers, probs), cast)."
        )
    inside = [each.arguments["mixer"] for each in found if each]
    return cast_inputs(choice(inside), alike.pop())
