"""The picture of all claims: each gain with its interval, and the published one."""

import itertools
import textwrap
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from benchmarks.claims._engine import statistics
from benchmarks.claims._engine.analysis import Judged

COLORS = {
    statistics.HOLDS: "#176b2c",
    statistics.SMALLER: "#6aa84f",
    statistics.NO_EFFECT: "#555555",
    statistics.CANNOT_TELL: "#b08900",
    statistics.OPPOSITE: "#aa1111",
    statistics.NOT_A_TEST: "#bbbbbb",
}
LINE = 0.34  # inches per statement


def gains(judged: Sequence[Judged]) -> Figure:
    """Return the figure of gains, a panel for each unit, the primary one on top."""
    ordered = sorted(judged, key=lambda each: not each.statement.primary)
    units = list(dict.fromkeys(each.statement.unit for each in ordered))
    groups = [[j for j in ordered if j.statement.unit == unit] for unit in units]
    heights = [len(group) + 2 for group in groups]
    figure = Figure(
        figsize=(10, LINE * sum(heights) + 0.8), dpi=110, layout="constrained"
    )
    axes = figure.subplots(len(groups), 1, height_ratios=heights, squeeze=False)[:, 0]
    for axis, group, unit in zip(axes, groups, units):
        for place, each in zip(itertools.count(len(group), -1), group):
            _one(axis, place, each)
        axis.axvline(0, color="gray", lw=1)
        labels = [
            textwrap.shorten(each.statement.words, 76, placeholder=" ...")
            for each in group
        ]
        axis.set_yticks(range(len(group), 0, -1), labels, fontsize=8)
        for tick, each in zip(axis.get_yticklabels(), group):
            tick.set_fontweight("bold" if each.statement.primary else "normal")
        axis.set(ylim=(0.4, len(group) + 0.6))
        axis.set_xlabel(f"gain in {unit}, right of 0 where the statement holds")
        axis.xaxis.label.set_fontsize(8)
        axis.tick_params(axis="x", labelsize=8)
    given = {each.verdict for each in ordered}
    seen = [verdict for verdict in COLORS if verdict in given]
    marks = [
        Line2D([], [], color=COLORS[name], marker="o", label=name) for name in seen
    ]
    if any(each.statement.published for each in ordered):
        star = {"marker": "*", "ls": "", "color": "black", "ms": 9}
        marks.append(Line2D([], [], label="published", **star))
    figure.legend(
        handles=marks, loc="outside upper center", ncols=len(marks), fontsize=8
    )
    return figure


def _one(axis, place: float, each: Judged) -> None:
    gain, color = each.interval, COLORS[each.verdict]
    if np.isfinite(gain.half):
        axis.plot([gain.low, gain.high], [place, place], color=color, lw=2)
    axis.plot(gain.mean, place, "o", ms=5, color=color)
    if each.statement.published:
        axis.plot(each.statement.published.value, place, "*", ms=9, color="black")
