"""Drawing of one example, as far as the shape of the batch determines it."""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np

Show: TypeAlias = Callable[[Any, np.ndarray], Any]
"""Draws one example on Matplotlib axes."""

CHANNELS = 4  # the most that images and recordings usually have
_COLORS = 3, 4  # with alpha or without


def curves(axes: Any, example: np.ndarray) -> None:
    """Draw ``[T]`` or ``[T, C]``, one curve per channel."""
    axes.plot(example, linewidth=0.8)


def image(axes: Any, example: np.ndarray) -> None:
    """Draw ``[H, W]`` or ``[H, W, C]`` with 1, 3 or 4 channels."""
    axes.imshow(example, cmap="gray")


def spectrogram(axes: Any, example: np.ndarray) -> None:
    """Draw ``[F, T]`` or ``[F, T, 1]``, the lowest frequency at the bottom."""
    axes.imshow(example, cmap="magma", origin="lower", aspect="auto")


def show_for(shape: Sequence[int]) -> Show:
    """Return the function that draws an example of a batch of this shape.

    Raises:
      ValueError: If the shape does not determine it.
    """
    match tuple(shape)[1:]:
        case (_,):
            return curves
        case (_, channels) if channels <= CHANNELS:
            return curves
        case (rows, _) if rows > CHANNELS:
            return image
        case (_, _, 1 | 3 | 4):
            return image
        case (_, _):
            advice = "axes.plot(x.T)"
        case (1 | 3 | 4, _, _):
            advice = "axes.imshow(x.transpose(1, 2, 0))"
        case _:
            advice = "axes.imshow(x[..., 0])"
    raise ValueError(
        "plot: expected curves [B, T] or [B, T, C] with at most 4 channels, or images "
        f"[B, H, W] or [B, H, W, C] with 1, 3 or 4; got shape {tuple(shape)}. Pass a "
        "function that draws one example on Matplotlib's axes, such as "
        f"show=lambda axes, x: {advice}."
    )


def is_colored(show: Show, values: np.ndarray) -> bool:
    """Return whether the values of a pixel are the channels of a color."""
    return show is image and values.ndim == 4 and values.shape[-1] in _COLORS


def bounds(values: Sequence[np.ndarray], dtype: Any) -> tuple[float, float]:
    """Return the values that are drawn darkest and brightest.

    For uint8, and for floating-point values in [0, 1], these are the bounds of the
    format, so that figures are comparable. Otherwise they are the smallest and the
    largest value.
    """
    if np.dtype(dtype) == np.uint8:
        return 0.0, 255.0
    finite = [each[np.isfinite(each)] for each in values]
    low = min((float(each.min()) for each in finite if each.size), default=0.0)
    high = max((float(each.max()) for each in finite if each.size), default=1.0)
    return (0.0, 1.0) if low >= 0 and high <= 1 else (low, high)
