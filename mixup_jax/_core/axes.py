"""Spatial axes of inputs whose shape leaves them ambiguous."""

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, cast

Axes = tuple[int, ...]

_CHANNELS = 4  # the usual maximum for images, including depth or alpha
_READINGS = {
    2: {"[B, T]": (1,)},
    3: {"[B, T, C]": (1,), "[B, C, T]": (2,), "[B, H, W]": (1, 2)},
    4: {
        "channels first, [B, C, H, W]": (2, 3),
        "channels last, [B, H, W, C]": (1, 2),
    },
    5: {
        "channels first, [B, C, T, H, W]": (2, 3, 4),
        "channels last, [B, T, H, W, C]": (1, 2, 3),
    },
}


def refuse_unclear(shape: Sequence[int]) -> None:
    """Raise ValueError unless a shape shows that its channels are last.

    Functions that take ``spatial`` themselves call this within ``named_by``, so that
    the message suggests calls of those functions.
    """
    if _why(shape):
        # A plain ValueError, like for any other shape, that carries the shape along.
        error: Any = ValueError()
        error._mixup_jax_shape = tuple(shape)
        _advise(error, lambda axes: f"mixup_jax.regions.grid(inputs, spatial={axes})")
        raise error


@contextlib.contextmanager
def named_by(call_of: Callable[[Axes], str | None]) -> Iterator[None]:
    """Make errors about ambiguous axes suggest the calls that ``call_of`` returns."""
    try:
        yield
    except ValueError as error:
        if hasattr(error, "_mixup_jax_shape"):
            _advise(error, call_of)
        raise


def _advise(error: ValueError, call_of: Callable[[Axes], str | None]) -> None:
    """Rewrite the message to suggest the call for each reading of the shape."""
    shape = cast(Any, error)._mixup_jax_shape
    ndim = len(shape)
    readings = _READINGS.get(ndim) or {
        "channels first": tuple(range(2, ndim)),
        "channels last": tuple(range(1, ndim - 1)),
    }
    calls = {layout: call_of(axes) for layout, axes in readings.items()}
    if None in calls.values():
        return
    lines = [f"\n    {call}  # {layout}" for layout, call in calls.items()]
    error.args = (
        "inputs: expected spatial axes between the first (examples) and the last "
        f"(channels); got shape {shape}, {_why(shape)}. Name the spatial axes:"
        f"{''.join(lines)}\nTo pass a mixer or a region on, bind spatial with "
        "functools.partial.",
    )


def _why(shape: Sequence[int]) -> str:
    """Return why a shape leaves its spatial axes ambiguous, or an empty string."""
    ndim = len(shape)
    if ndim == 2:
        return "with none between them"
    if ndim == 3 and shape[2] >= shape[1]:
        return "whose last axis is no shorter than axis 1"
    if ndim in (4, 5) and shape[1] <= _CHANNELS < shape[-1]:
        return f"whose axis 1 is as short as channels are (at most {_CHANNELS})"
    if ndim > 2 and math.prod(shape[1:-1]) == 1:
        return "with a single position between them"
    return ""
