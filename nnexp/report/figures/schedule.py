"""Learning rate and momentum over the course of training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from nnexp.report.figures.style import (
    COLOURS,
    Array,
    Figure,
    legend,
    line,
    logarithmic,
    new_figure,
    style,
)

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
    still = [np.nanmin(rows) == np.nanmax(rows) for rows in values.values()]
    heights = [1.0 if number and is_still else 2.4 for number, is_still in enumerate(still)]
    figure = new_figure(6.8, 1.0 + sum(heights))
    grid = figure.subplots(len(values), 1, sharex=True, squeeze=False, height_ratios=heights)
    panels = grid[:, 0]
    for number, (panel, (name, rows)) in enumerate(zip(panels, values.items(), strict=True)):
        _panel(panel, epochs, np.atleast_2d(rows), COLOURS[number % len(COLOURS)])
        at, seen = (recorded or {}).get(name, ((), ()))
        if len(at):
            colour = COLOURS[number % len(COLOURS)]
            dots = {"marker": "o", "linestyle": "", "markersize": 2 if len(at) > 60 else 4}
            panel.plot(at, seen, color=colour, **dots)
            legend(panel, [(line(colour, **dots), "recorded at the ends of epochs")])
        label = name.replace(" (", "\n(")
        style(panel, "epoch" if panel is panels[-1] else "", label, title if number == 0 else "")
        low, middle, top = np.nanmin(rows), np.nanmedian(rows), np.nanmax(rows)
        if name == "learning rate" and low > 0 and top > 20 * middle:
            logarithmic(panel.yaxis)
        elif name == "learning rate":
            panel.set_ylim(0, 1.06 * top)
        elif low == top:
            panel.set_ylim(0, max(1.0, 1.1 * top))
            panel.locator_params(axis="y", nbins=3)
        panel.margins(x=0.015)
    return figure


def _panel(axes: Any, epochs: Array, rows: Array, colour: str) -> None:
    distinct = np.unique(rows, axis=0)
    if len(distinct) > LINES:
        distinct = distinct[np.linspace(0, len(distinct) - 1, LINES).round().astype(int)]
    alpha = 1.0 if len(distinct) == 1 else 0.55
    for row in distinct:
        axes.plot(epochs, row, color=colour, linewidth=1.8, alpha=alpha, drawstyle="steps-post")
