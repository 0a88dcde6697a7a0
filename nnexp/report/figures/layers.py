"""How outputs and gradients of the layers are spread, over the course of training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from nnexp.report.figures.style import (
    COLOURS,
    INK,
    Array,
    Figure,
    logarithmic,
    new_figure,
    shorten,
    style,
)

MOST = 12
"""Layers that are drawn, at most: of more ones evenly spread from the first to the last."""
_LEAST = 1e-12
"""As a share of the largest gradient, the least that is drawn."""

Table = Mapping[str, Sequence[Mapping[str, float]]]
"""The recordings of each layer by its name, in the order of the network: `epoch` and numbers."""

_TOLD = "median, the middle half, and 5 to 95 %"


def layers(table: Table, title: str = "") -> Figure:
    """Draw a panel a layer: quantiles of its outputs, and below of its gradient's coordinates.

    table: the columns p05, p25, p50, p75, p95 of outputs and g05 … g95 of the sizes of gradients;
    without these mean ± standard deviation, and the gradient's norm. Gradients have one log scale
    in all panels, so that they can be compared; a layer without parameters has none.
    Raises UsageError without matplotlib.
    """
    blocks = [block for block in (_outputs(table), _gradients(table)) if block[1]]
    counts = [min(len(found), MOST) for _, found in blocks]
    across = min((4, 3), key=lambda width: sum(-count % width for count in counts))
    across = min(across, max(counts, default=1))
    heights = [0.55 + 1.5 * -(-count // across) for count in counts]
    figure = new_figure(max(2.4 * across, 5.0), sum(heights) + 0.4)
    figure.suptitle(shorten(title, 80), fontsize=10, color=INK, parse_math=False)
    for part, (told, found) in zip(_parts(figure, heights), blocks, strict=True):
        some = f"; {MOST} of {len(found)} layers" if len(found) > MOST else ""
        part.suptitle(told + some, fontsize=9, color=INK, x=0.01, ha="left")
        is_gradient = told.startswith("gradient")
        colour = COLOURS[1] if is_gradient else COLOURS[0]
        _panels(part, found, across, colour, is_gradient)
    return figure


def _parts(figure: Figure, heights: Sequence[float]) -> list[Any]:
    if not heights:
        return []
    return list(np.atleast_1d(figure.subfigures(len(heights), 1, height_ratios=heights)))


Bands = tuple[Array, Array]
"""Epochs `[T]`, and values in rising order, `[5, T]`, `[3, T]` or `[1, T]`."""
Block = tuple[str, dict[str, Bands]]
"""A heading, and what is drawn of each layer that has it."""


def _outputs(table: Table) -> Block:
    if found := _bands(table, ["p05", "p25", "p50", "p75", "p95"]):
        return f"outputs: {_TOLD}", found
    moments = _bands(table, ["mean", "std"])
    found = {
        layer: (epochs, np.stack([mean - std, mean, mean + std]))
        for layer, (epochs, (mean, std)) in moments.items()
    }
    return "outputs: mean ± standard deviation", found


def _gradients(table: Table) -> Block:
    if found := _bands(table, ["g05", "g25", "g50", "g75", "g95"]):
        return f"gradient by each weight, its size: {_TOLD}; one log scale", found
    return "gradient's norm, on one log scale", _bands(table, ["gradient"])


def _bands(table: Table, names: Sequence[str]) -> dict[str, Bands]:
    """Some columns of the layers that have them."""
    found = {}
    for layer, rows in table.items():
        values = np.array([[row.get(name, np.nan) for row in rows] for name in names])
        if np.isfinite(values).any():
            found[layer] = (np.array([row["epoch"] for row in rows]), values)
    return found


def _panels(part: Any, found: Mapping[str, Bands], across: int, colour: str, is_log: bool) -> None:
    places = np.unique(np.linspace(0, len(found) - 1, min(len(found), MOST)).round().astype(int))
    shown = [list(found.items())[place] for place in places]
    down = -(-len(shown) // across)
    grid = part.subplots(down, across, squeeze=False, sharex=True, sharey=is_log)
    limits = _limits([bands for _, (_, bands) in shown]) if is_log else None
    for panel in grid.ravel()[len(shown) :]:
        panel.set_visible(False)
    for number, (name, (epochs, values)) in enumerate(shown):
        panel = grid.ravel()[number]
        if limits:
            panel.set_ylim(*limits)
            logarithmic(panel.yaxis)
            values = np.maximum(values, limits[0])
        _spread(panel, epochs, values, colour)
        last = number + across >= len(shown)
        style(panel, "epoch" if last else "", "")
        panel.tick_params(labelsize=7.5, labelbottom=last)
        panel.xaxis.label.set_size(8)
        panel.set_title(shorten(name, 26), fontsize=8.5, color=INK, parse_math=False)
    _whole_epochs(grid[0, 0], shown[0][1][0])


def _limits(values: Sequence[Array]) -> tuple[float, float]:
    """Of a log scale that holds all that is above 0."""
    every = np.concatenate([one.ravel() for one in values])
    positive = every[np.isfinite(every) & (every > 0)]
    if not len(positive):
        return 1e-3, 1.0
    return max(positive.min() / 2, positive.max() * _LEAST), 2 * positive.max()


def _spread(panel: Any, epochs: Array, values: Array, colour: str) -> None:
    if len(epochs) == 1:  # a moment has no width: one is given to it
        epochs, values = epochs[0] + np.array([-0.4, 0.4]), np.repeat(values, 2, axis=1)
    middle = len(values) // 2
    for outer in range(middle):
        panel.fill_between(
            epochs, values[outer], values[-1 - outer], color=colour, alpha=0.22, linewidth=0
        )
    panel.plot(epochs, values[middle], color=colour, linewidth=1.5)


def _whole_epochs(panel: Any, epochs: Array) -> None:
    from matplotlib.ticker import FixedLocator, MaxNLocator

    whole = MaxNLocator(5, integer=True)
    panel.xaxis.set_major_locator(whole if len(epochs) > 1 else FixedLocator(epochs.tolist()))
