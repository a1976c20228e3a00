"""Which axes of an example are spatial, where its shape does not say."""

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, cast

Axes = tuple[int, ...]

_CHANNELS = 4  # the most that images, depth or alpha included, usually have
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
    """Raise ValueError unless a shape says that its channels are last.

    Who calls on behalf of a function that takes ``spatial`` as well does so within
    ``named_by``, for the message to advise calls of that function.
    """
    if _why(shape):
        # Users get a ValueError, as of any other shape; what was refused goes with it.
        error: Any = ValueError()
        error._mixup_jax_shape = tuple(shape)
        _advise(error, lambda axes: f"mixup_jax.regions.grid(inputs, spatial={axes})")
        raise error


@contextlib.contextmanager
def named_by(call_of: Callable[[Axes], str | None]) -> Iterator[None]:
    """Have errors by unclear axes advise the calls that ``call_of`` writes, if any."""
    try:
        yield
    except ValueError as error:
        if hasattr(error, "_mixup_jax_shape"):
            _advise(error, call_of)
        raise


def _advise(error: ValueError, call_of: Callable[[Axes], str | None]) -> None:
    """Make the message of the calls that ``call_of`` writes, one for each reading."""
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
        f"{''.join(lines)}\nWhere a mixer or a region is handed on, functools.partial "
        "binds spatial.",
    )


def _why(shape: Sequence[int]) -> str:
    """Return why a shape does not say which axes are spatial, or nothing if it does."""
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
