"""What a regression says against what is true."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from nnexp.report.figures.style import COLOURS, INK, Array, Figure, new_figure, shorten, style

MOST = 6
"""Outputs that are drawn."""
POINTS = 20_000
"""Points of a panel, at most: of more every so manieth."""


def residuals(targets: Array, predictions: Array, names: Sequence[str], title: str = "") -> Figure:
    """Draw predicted against true values, and below them what is left over; a column an output.

    targets, predictions: `[N, O]`, in the target's units. names: of the outputs.
    Raises UsageError without matplotlib.
    """
    shown = min(targets.shape[1], MOST)
    figure = new_figure(max(4.2 * shown, 5.0) if shown < 4 else 3.2 * shown, 6.2)
    panels = figure.subplots(2, shown, squeeze=False, height_ratios=[3, 2])
    every = max(1, -(-len(targets) // POINTS))
    for number in range(shown):
        true, said = targets[:, number], predictions[:, number]
        left = true - said
        spread = ((true - true.mean()) ** 2).sum()
        r2 = 1 - (left**2).sum() / spread if spread > 0 else float("nan")
        name = f"column {names[number]}" if names[number].isdecimal() else names[number]
        told = f"{shorten(name, 24)}: R² {r2:.3f}, RMSE {np.sqrt((left**2).mean()):.4g}"
        _against(panels[0, number], true[::every], said[::every])
        style(panels[0, number], "true", "predicted" if number == 0 else "", told, grid="")
        _left(panels[1, number], said[::every], left[::every])
        label = "true − predicted" if number == 0 else ""
        style(panels[1, number], "predicted", label)
    if title:
        figure.suptitle(shorten(title, 70), fontsize=10, color=INK, parse_math=False)
    return figure


def _dots(count: int) -> dict[str, Any]:
    few = count < 400
    return {"s": 16 if few else 7, "alpha": 0.6 if few else 0.3, "linewidths": 0}


def _against(axes: Any, true: Array, said: Array) -> None:
    low, high = min(true.min(), said.min()), max(true.max(), said.max())
    room = 0.04 * (high - low) or 1.0
    axes.plot([low - room, high + room], [low - room, high + room], color=INK, linewidth=1,
              linestyle=(0, (4, 3)))  # fmt: skip
    axes.scatter(true, said, color=COLOURS[0], zorder=2, **_dots(len(true)))
    axes.set_xlim(low - room, high + room)
    axes.set_ylim(low - room, high + room)


def _left(axes: Any, said: Array, left: Array) -> None:
    axes.axhline(0, color=INK, linewidth=1, linestyle=(0, (4, 3)))
    axes.scatter(said, left, color=COLOURS[1], zorder=2, **_dots(len(said)))
