"""Drawing of the rows of a figure with Matplotlib."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from mixup_jax.plot._kinds import Show, bounds, curves, image, is_colored
from mixup_jax.plot._maps import draw_maps
from mixup_jax.plot._rows import Row
from mixup_jax.plot._scales import SMALL, common, marked, of_weights, tidied

_TITLE = 8  # points
_WIDTH, _WIDE = 1.6, 2.4  # inches; the latter for curves


def draw(
    figure: Any,
    rows: Sequence[Row],
    show: Show,
    dtype: Any,
    classes: Sequence[str] | None,
) -> None:
    """Draw the rows on an empty figure, and resize the figure to fit them.

    Args:
      figure: an empty Matplotlib figure with a constrained layout.
      rows: the rows; the first one shows contents, not weights.
      show: draws an example.
      dtype: dtype of the inputs in the batch.
      classes: names of the classes of label maps, or ``None``.
    """
    beside = 1 if rows[0].maps is None else 2
    columns = beside * len(rows[0].values)
    figure.set_size_inches(*_size(rows, columns, show))
    every = figure.subplots(len(rows), columns, squeeze=False)
    held = [row.values for row in rows if not row.is_weight]
    limits = bounds(held, dtype)
    broken = sum(int(np.sum(~np.isfinite(each))) for each in held)
    notes = [f"{broken} values are not finite"] if broken else []
    if is_colored(show, rows[0].values):
        rows = [_colored(row, *limits) for row in rows]
        if limits not in ((0, 1), (0, 255)):
            notes.append("colors are scaled from [{:.3g}, {:.3g}]".format(*limits))
    if notes:
        figure.suptitle("; ".join(notes), fontsize=SMALL)
    panels = every[:, ::beside]
    weights = [row.values for row in rows if row.is_weight]
    # Weights of examples that move away from their partners are outside [0, 1].
    low = min([0.0, *(float(each.min()) for each in weights)])
    high = max([1.0, *(float(each.max()) for each in weights)])
    for row, line in zip(rows, panels):
        values = (row.values - low) / (high - low) if row.is_weight else row.values
        for value, title, axes in zip(values, row.titles, line):
            show(axes, value)
            axes.set_title(title, fontsize=_TITLE, parse_math=False)
        line[0].set_ylabel(row.name, fontsize=_TITLE + 1, parse_math=False)
    contents = [line for row, line in zip(rows, panels) if not row.is_weight]
    common(contents, limits if show is image else None)
    marked(figure, every[: len(rows) - len(weights)])
    of_weights([line for row, line in zip(rows, panels) if row.is_weight], low, high)
    for line in (line for row, line in zip(rows, every) if row.is_weight):
        marked(figure, [line], "weight")
    if beside == 2:
        draw_maps(figure, rows, every[:, 1::2], classes)
    for (row, column), axes in np.ndenumerate(every):
        tidied(axes, is_first=column < beside, is_last=row == len(rows) - 1)


def _size(rows: Sequence[Row], columns: int, show: Show) -> tuple[float, float]:
    """Return the size in inches, with room for the titles and the color bars."""
    width, height = (_WIDE, 1.0) if show is curves else (_WIDTH, _WIDTH)
    if show is image:
        tall, wide = rows[0].values.shape[1:3]
        height = float(np.clip(width * tall / wide, width / 3, 2 * width))
    lines = sum(1 + row.titles[0].count("\n") for row in rows)
    inches = len(rows) * (height + 0.15) + 0.14 * lines + 0.3
    return columns * (width + 0.1) + 1.0, inches


def _colored(row: Row, low: float, high: float) -> Row:
    """Return a row with its colors scaled to [0, 1], as Matplotlib requires."""
    if row.is_weight:
        return row
    values = np.nan_to_num((row.values - low) / ((high - low) or 1.0))
    return row._replace(values=values.clip(0, 1))
