"""A score against the amount of data, or against the size of the net."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from nnexp.analysis.scores import bounds_of
from nnexp.report.figures.curves import mean_interval
from nnexp.report.figures.style import (
    COLOURS,
    INK,
    MARKERS,
    Array,
    Figure,
    legend,
    line,
    logarithmic,
    new_figure,
    style,
    wants_log,
)

WIDE = 8
"""Points that span more than this factor are on a log scale."""
LABELS = {"data": "training examples", "hidden": "hidden units a layer"}


def learning_curve(
    over: str, values: Array, scores: Mapping[str, Array], metric: str, title: str = ""
) -> Figure:
    """Draw a metric's mean over members with its 95 % t-interval, and each member as a dot.

    over: "data" or "hidden". values: the points, `[P]`. scores: of each split `[P, M]`. The splits
    stand a little beside each other, so that their intervals can be told apart.
    Raises UsageError without matplotlib.
    """
    figure = new_figure(6.8, 4.8)
    axes = figure.subplots()
    style(axes, LABELS.get(over, over), metric, title, grid="y")
    bounds = bounds_of(metric) or (-np.inf, np.inf)
    is_log = max(values) > WIDE * min(values)
    handles = []
    for number, (split, found) in enumerate(scores.items()):
        colour, marker = COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)]
        x = _beside(values, number - (len(scores) - 1) / 2, is_log)
        mean, *ends = mean_interval(found.T)
        low, high = (np.clip(end, *bounds) for end in ends)
        reach = np.nan_to_num(np.stack([mean - low, high - mean])).clip(0)
        axes.errorbar(x, mean, yerr=reach, fmt="none", ecolor=colour, elinewidth=1.4, capsize=3)
        axes.plot(x, mean, color=colour, marker=marker, markersize=5.5, linewidth=1.8)
        across = np.repeat(x[:, None], found.shape[1], axis=1)
        ring = {"facecolors": "white", "edgecolors": colour, "linewidths": 0.8, "zorder": 3}
        axes.scatter(across, found, s=10, **ring)
        handles.append((line(colour, marker=marker), split))
    stroke = line(INK, marker="|", markersize=10, linestyle="")
    handles.append((stroke, "95 % interval of the mean"))
    ring = line(INK, marker="o", markersize=4, markerfacecolor="white", linestyle="")
    handles.append((ring, "each member"))
    if wants_log(np.concatenate([found.ravel() for found in scores.values()])):
        logarithmic(axes.yaxis)
    if is_log:
        axes.set_xscale("log")
    _label(axes, values, is_log)
    legend(figure, handles, loc="outside lower left", ncols=5)
    return figure


def _beside(values: Array, place: float, is_log: bool) -> Array:
    """Where the points of one of several splits stand."""
    scaled = np.log(values) if is_log else np.asarray(values, np.float64)
    moved = scaled + 0.012 * place * np.ptp(scaled)
    return np.asarray(np.exp(moved) if is_log else moved)


def _label(axes: Any, values: Array, is_log: bool) -> None:
    """A mark at each point, and its number unless the one before it is too near."""
    scaled = np.log(values) if is_log else np.asarray(values, np.float64)
    room, last, shown = 0.075 * np.ptp(scaled), -np.inf, list[str]()
    for value, at in zip(np.asarray(values).tolist(), scaled.tolist(), strict=True):
        shown.append(f"{value:,}" if at - last >= room else "")
        last = at if shown[-1] else last
    axes.set_xticks(values, shown, minor=False)
    axes.set_xticks([], minor=True)
