"""A score against the amount of data, or against the size of the net."""

from __future__ import annotations

from collections.abc import Mapping

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
    patch,
    style,
    wants_log,
)

LABELS = {"data": "training examples", "hidden": "hidden units a layer"}


def learning_curve(
    over: str, values: Array, scores: Mapping[str, Array], metric: str, title: str = ""
) -> Figure:
    """Draw a metric's mean over members with its 95 % t-interval, and each member as a dot.

    over: "data" or "hidden". values: the points, `[P]`. scores: of each split `[P, M]`.
    Raises UsageError without matplotlib.
    """
    figure = new_figure(6.8, 4.8)
    axes = figure.subplots()
    style(axes, LABELS.get(over, over), metric, title, grid="both")
    bounds = bounds_of(metric) or (-np.inf, np.inf)
    handles = []
    for number, (split, found) in enumerate(scores.items()):
        colour, marker = COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)]
        mean, *ends = mean_interval(found.T)
        low, high = (np.clip(end, *bounds) for end in ends)
        axes.fill_between(values, low, high, color=colour, alpha=0.18, linewidth=0)
        axes.plot(values, mean, color=colour, marker=marker, markersize=5, linewidth=1.8)
        across = np.repeat(np.asarray(values)[:, None], found.shape[1], axis=1)
        axes.scatter(across, found, s=7, color=colour, alpha=0.35, linewidths=0)
        handles.append((line(colour, marker=marker), split))
    handles.append((patch(INK, 0.18), "95 % interval of the mean"))
    handles.append((line(INK, marker="o", markersize=2.5, linestyle="", alpha=0.5), "each member"))
    if wants_log(np.concatenate([found.ravel() for found in scores.values()])):
        logarithmic(axes.yaxis)
    if max(values) > 8 * min(values):
        axes.set_xscale("log")
    axes.set_xticks(values, [f"{value:,}" for value in values], minor=False)
    axes.set_xticks([], minor=True)
    legend(figure, handles, loc="outside lower left", ncols=5)
    return figure
