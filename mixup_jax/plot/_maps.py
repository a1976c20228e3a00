"""Label maps beside the inputs, with a color for each class and a legend."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from mixup_jax.plot._labels import name_of
from mixup_jax.plot._rows import Row
from mixup_jax.plot._scales import SMALL, common, mappables, marked

_COLORS = 20  # of the map "tab20"


def draw_maps(
    figure: Any, rows: Sequence[Row], lines: Any, classes: Sequence[str] | None
) -> None:
    """Draw the maps of each row on its panels, and hide the panels of other rows."""
    maps = [row.maps for row in rows if row.maps is not None]
    ids = np.unique(np.concatenate([each.ravel() for each in maps]))
    are_named = maps[0].dtype.kind in "iu" and len(ids) <= _COLORS
    held = [line for row, line in zip(rows, lines) if row.maps is not None]
    for line, values in zip(held, maps):
        for axes, value in zip(line, values):
            value = value[..., 0] if value.ndim == 3 else value
            _draw(axes, np.searchsorted(ids, value) if are_named else value, are_named)
            if value.ndim == 1 and are_named:
                names = [name_of(int(k), classes) for k in ids]
                axes.set_yticks(range(len(ids)), names, parse_math=False)
    for axes in (axes for row, line in zip(rows, lines) for axes in line):
        if axes.has_data():
            axes.set_title("map", fontsize=SMALL + 1)
        else:
            axes.set_axis_off()
    common(held, (-0.5, _COLORS - 0.5) if are_named else None)
    if are_named:
        _legend(figure, held[0][0], [name_of(int(k), classes) for k in ids])
    else:
        marked(figure, held)


def _draw(axes: Any, value: np.ndarray, are_named: bool) -> None:
    if value.ndim == 1:
        axes.plot(value, drawstyle="steps-mid", linewidth=0.8)
    else:
        cmap = "tab20" if are_named else "cividis"
        axes.imshow(value, cmap=cmap, interpolation="nearest")


def _legend(figure: Any, axes: Any, names: Sequence[str]) -> None:
    from matplotlib.patches import Patch

    if not (found := mappables(axes)):
        return
    patches = [
        Patch(color=found[0].to_rgba(k), label=name) for k, name in enumerate(names)
    ]
    legend = figure.legend(
        handles=patches,
        loc="outside lower center",
        ncols=min(len(names), 6),
        fontsize=SMALL,
        frameon=False,
    )
    for text in legend.get_texts():
        text.set_parse_math(False)
