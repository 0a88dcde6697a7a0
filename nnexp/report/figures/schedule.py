"""Learning rate and momentum over the course of training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from nnexp.report.figures.style import COLOURS, Array, Figure, logarithmic, new_figure, style

LINES = 12
"""Members that are drawn each, at most; of more only those evenly spread among them."""


def schedule(
    epochs: Array,
    values: Mapping[str, Array],
    title: str = "",
    recorded: Mapping[str, tuple[Array, Array]] | None = None,
) -> Figure:
    """Draw learning rate, momentum … against the epoch, a panel each.

    epochs: `[T]`, a time for each value. values: `[T]`, or `[M, T]` of members that differ.
    recorded: what was written down while training, by the same names: epochs, values; as dots.
    Raises UsageError without matplotlib.
    """
    figure = new_figure(6.8, 1.0 + 2.3 * len(values))
    panels = figure.subplots(len(values), 1, sharex=True, squeeze=False)[:, 0]
    for number, (panel, (name, rows)) in enumerate(zip(panels, values.items(), strict=True)):
        _panel(panel, epochs, np.atleast_2d(rows), COLOURS[number % len(COLOURS)])
        if recorded and name in recorded:
            at, seen = recorded[name]
            many = len(at) > 60
            panel.plot(
                at, seen, "o", color=COLOURS[number % len(COLOURS)], markersize=2 if many else 4
            )  # fmt: skip
        style(panel, "epoch" if panel is panels[-1] else "", name, title if number == 0 else "")
        low, middle, top = np.nanmin(rows), np.nanmedian(rows), np.nanmax(rows)
        if name == "learning rate" and low > 0 and top > 20 * middle:
            logarithmic(panel.yaxis)
        elif name == "learning rate":
            panel.set_ylim(bottom=0)
        elif low == top:
            panel.set_ylim(0, 1)
        panel.margins(x=0.015)
    return figure


def _panel(axes: Any, epochs: Array, rows: Array, colour: str) -> None:
    distinct = np.unique(rows, axis=0)
    if len(distinct) > LINES:
        distinct = distinct[np.linspace(0, len(distinct) - 1, LINES).round().astype(int)]
    alpha = 1.0 if len(distinct) == 1 else 0.55
    for row in distinct:
        axes.plot(epochs, row, color=colour, linewidth=1.8, alpha=alpha, drawstyle="steps-post")
