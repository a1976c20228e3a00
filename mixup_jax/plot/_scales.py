"""Common scales for panels that are compared, with ticks and color bars."""

from collections.abc import Sequence
from typing import Any

import numpy as np

SMALL = 7  # points


def mappables(axes: Any) -> list[Any]:
    """Return the artists on these axes that map numbers to colors."""
    found = [(each, each.get_array()) for each in (*axes.images, *axes.collections)]
    return [each for each, array in found if array is not None and array.ndim < 3]


def common(
    lines: Sequence[Sequence[Any]], limits: tuple[float, float] | None = None
) -> None:
    """Give all panels common limits: those that fit each, or given color limits."""
    panels = [axes for line in lines for axes in line]
    mapped = [each for axes in panels for each in mappables(axes)]
    lined = [axes for axes in panels if axes.lines]
    low, high = limits or _hull([each.get_clim() for each in mapped])
    for each in mapped:
        each.set_clim(low, high)
    low, high = _hull([axes.get_ylim() for axes in lined])
    for axes in lined:
        axes.set_ylim(low, high)


def _hull(limits: Sequence[tuple[float, float]]) -> tuple[float, float]:
    lows, highs = zip(*limits) if limits else ((0.0,), (1.0,))
    return min(lows), max(highs)


def of_weights(lines: Sequence[Sequence[Any]], low: float, high: float) -> None:
    """Show what was drawn in [0, 1] as weights from ``low`` to ``high``."""
    for axes in (axes for line in lines for axes in line):
        for drawn in axes.images:
            values = np.asarray(drawn.get_array())
            # All channels of a position have one weight.
            drawn.set_data(values[..., 0] if values.ndim == 3 else values)
        for each in mappables(axes):
            each.set_array(low + (high - low) * np.asarray(each.get_array()))
            each.set_cmap("viridis")
            each.set_clim(low, high)
        for curve in axes.lines:
            curve.set_ydata(low + (high - low) * np.asarray(curve.get_ydata()))
        if axes.lines:
            room = 0.05 * (high - low)
            axes.set_ylim(low - room, high + room)


def marked(figure: Any, lines: Sequence[Sequence[Any]], label: str = "") -> None:
    """Add a color bar beside rows of panels, if they map numbers to colors."""
    panels = [axes for line in lines for axes in line]
    if found := mappables(panels[0]):
        bar = figure.colorbar(found[0], ax=panels, aspect=15 * len(lines), pad=0.01)
        bar.ax.tick_params(labelsize=SMALL)
        bar.set_label(label, fontsize=SMALL)


def tidied(axes: Any, *, is_first: bool, is_last: bool) -> None:
    """Keep the ticks of curves at the left and bottom edges, and none of images."""
    if axes.lines:
        axes.tick_params(labelsize=SMALL, labelleft=is_first, labelbottom=is_last)
    else:
        axes.set(xticks=[], yticks=[])
