"""How much of a class is found, and how much of what is found is of it."""

from __future__ import annotations

from typing import Any

import numpy as np

from nnexp.analysis.precision_recall import Curve, PrecisionRecall
from nnexp.report.figures.style import (
    COLOURS,
    FAINT,
    INK,
    Array,
    Figure,
    legend,
    line,
    new_figure,
    style,
)

_GREY = "#BBBBBB"
_GRID = np.linspace(0.0, 1.0, 201)[1:]
"""Recalls at which the mean of members is taken."""


def precision_recall(found: PrecisionRecall, title: str = "") -> Figure:
    """Draw precision against recall, as steps whose area is the average precision.

    Of a group every member is a thin line, the mean precision at each recall a thick one. Faint
    lines have the same F1; a square stands where the usual threshold is. Raises UsageError without
    matplotlib.
    """
    figure = new_figure(5.6, 5.6)
    axes = figure.subplots()
    _same_f1(axes)
    axes.axhline(found.share, color=INK, linewidth=1, linestyle=(0, (4, 3)))
    many = len(found.curves) > 1
    for curve in found.curves:
        look = {"linewidth": 0.7, "alpha": 0.5} if many else {"linewidth": 1.8}
        axes.plot(*_steps(curve), color=COLOURS[0], drawstyle="steps-post", **look)
    if many:
        axes.plot(_GRID, found.mean_at(_GRID), color=COLOURS[0], linewidth=2)
    usual = 0.5 if found.is_probability else 0.0
    places = np.array([place for curve in found.curves if (place := _at(curve, usual))])
    if len(places):
        recall, precision = places.mean(axis=0)
        square = {"marker": "s", "color": COLOURS[1], "markeredgewidth": 0.0, "linestyle": ""}
        axes.plot(recall, precision, markersize=8, zorder=4, **square)
    _around(axes, title)
    handles = [(line(COLOURS[0]), _average(found))]
    if many:
        handles.append((line(COLOURS[0], linewidth=0.7, alpha=0.5), "each member"))
    if len(places):
        told = f"threshold {usual:g}" + ", mean of members" * many
        handles.append((line(COLOURS[1], marker="s", markersize=7, linestyle=""), told))
    dashed = line(INK, linewidth=1, linestyle=(0, (4, 3)))
    handles.append((dashed, f"by chance: {found.share:.3g}, the class's share"))
    handles.append((line(_GREY, linewidth=0.8), "the same F1"))
    legend(figure, handles, loc="outside lower left", ncols=2)
    return figure


def _average(found: PrecisionRecall) -> str:
    told = f"average precision {found.average:.3f}"
    if found.interval is None:
        return told
    return f"{told} [{found.interval[0]:.3f}, {found.interval[1]:.3f}]"


def _steps(curve: Curve) -> tuple[Array, Array]:
    """Recall and precision, the recall falling to 0; a precision holds until the next recall."""
    return np.append(curve.recall, 0.0), np.append(curve.precision, curve.precision[-1])


def _at(curve: Curve, threshold: float) -> tuple[float, float] | None:
    """Recall and precision at a threshold; None if nothing reaches it."""
    place = int(np.searchsorted(curve.thresholds, threshold))
    if place == len(curve.thresholds):
        return None
    return float(curve.recall[place]), float(curve.precision[place])


def _same_f1(axes: Any) -> None:
    for f1 in (0.2, 0.4, 0.6, 0.8):
        recall = np.linspace(f1 / (2 - f1), 1, 100)
        axes.plot(recall, f1 * recall / (2 * recall - f1), color=_GREY, linewidth=0.8, zorder=1)
        axes.text(1.015, f1 / (2 - f1), f"F1 {f1:g}", fontsize=7.5, color="#777777", va="center")


def _around(axes: Any, title: str) -> None:
    style(axes, "recall: of the class, the share that is found",
          "precision: of the found, the share that is of the class", title, grid="")  # fmt: skip
    axes.grid(color=FAINT, linewidth=0.7)
    axes.set_xlim(-0.01, 1.01)
    axes.set_ylim(-0.01, 1.02)
