"""Learning curves: every member, their mean, and how sure that is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from nnexp.analysis.scores import bounds_of
from nnexp.errors import UsageError, nearest
from nnexp.report.figures.style import (
    COLOURS,
    INK,
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
from nnexp.report.plots import History
from nnexp.stats import LEVEL, Bounds, t_quantile

DASHES: dict[str, Any] = {"train": (0, (4, 2)), "dev": "solid"}


def curves(histories: Mapping[str, Sequence[History]], metric: str | Sequence[str]) -> Figure:
    """Draw metrics against the epoch, a panel each, on train (dashed) and dev (solid).

    histories: those of each run (one) or group (several) by its title. Of a group every member is
    a thin line, the mean a thick one, in the band of its 95 % t-interval.
    Raises UsageError if there is no such metric, or no matplotlib.
    """
    metrics = [metric] if isinstance(metric, str) else list(metric)
    for name in metrics:
        _check(histories, name)
    figure = new_figure(5.6 * len(metrics) + (1.6 if len(metrics) == 1 else 0), 4.4)
    panels = figure.subplots(1, len(metrics), squeeze=False)[0]
    for panel, name in zip(panels, metrics, strict=True):
        _panel(panel, histories, name)
    groups = any(len(members) > 1 for members in histories.values())
    if len(histories) > 1:
        runs = [(line(COLOURS[i % 7], linewidth=3), title) for i, title in enumerate(histories)]
        legend(figure, runs, loc="outside upper left", ncols=min(len(runs), 3))
    ink = INK if len(histories) > 1 else COLOURS[0]
    strokes = [(line(ink, linestyle=dash), split) for split, dash in DASHES.items()]
    if groups:
        strokes.append((line(ink, linewidth=0.6, alpha=0.5), "each member"))
        strokes.append((patch(ink, 0.2), "95 % interval of the mean"))
    legend(figure, strokes, loc="outside lower left", ncols=4)
    return figure


def _check(histories: Mapping[str, Sequence[History]], metric: str) -> None:
    columns = {c for members in histories.values() for history in members for c in history}
    known = sorted({c.partition("/")[2] for c in columns if c.partition("/")[0] in DASHES})
    if metric not in known:
        close = nearest(metric, known)
        raise UsageError(
            f"no run has a curve of '{metric}' (there are: {', '.join(known) or 'none'})"
            + (f"; did you mean '{close}'?" if close else "")
        )


def _panel(axes: Any, histories: Mapping[str, Sequence[History]], metric: str) -> None:
    from matplotlib.ticker import MaxNLocator

    drawn, bounds = [], bounds_of(metric) or (-np.inf, np.inf)
    for number, members in enumerate(histories.values()):
        for split in DASHES:
            epoch, values = aligned(members, f"{split}/{metric}")
            if len(values):
                _draw(axes, epoch, values, split, COLOURS[number % len(COLOURS)], bounds)
                drawn.append(values.ravel())
    style(axes, "epoch", metric)
    axes.margins(x=0.015)
    if drawn and wants_log(np.concatenate(drawn)):
        logarithmic(axes.yaxis)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def _draw(axes: Any, epoch: Array, values: Array, split: str, colour: str, bounds: Bounds) -> None:
    if len(values) > 1:
        mean, *ends = mean_interval(values)
        low, high = (np.clip(end, *bounds) for end in ends)
        for row in values:
            axes.plot(epoch, row, color=colour, linestyle=DASHES[split], linewidth=0.5, alpha=0.35)
        axes.fill_between(epoch, low, high, color=colour, alpha=0.2, linewidth=0)
    else:
        mean = values[0]
    marker = "o" if len(epoch) == 1 else None
    width = 2.0 if split == "dev" else 1.5
    axes.plot(
        epoch, mean, color=colour, linestyle=DASHES[split], linewidth=width, marker=marker
    )  # fmt: skip


def aligned(members: Sequence[History], column: str) -> tuple[Array, Array]:
    """Epochs `[T]` and values `[M, T]`, NaN after a member stopped; `[0, 0]` if none has any."""
    there = [history for history in members if np.isfinite(history.get(column, np.nan)).any()]
    length = max((len(history[column]) for history in there), default=0)
    values = np.full((len(there), length), np.nan)
    for row, history in zip(values, there, strict=True):
        row[: len(history[column])] = history[column]
    values[~np.isfinite(values)] = np.nan
    longest = max(there, key=lambda history: len(history[column]), default={})
    return np.asarray(longest.get("epoch", np.arange(1, length + 1))), values


def mean_interval(values: Array) -> tuple[Array, Array, Array]:
    """Mean over members of `[M, T]` and its 95 % t-interval, by epoch, of those that have a value.

    NaN where none has; without an interval where one has.
    """
    there = np.isfinite(values)
    count = there.sum(axis=0)
    mean = np.where(there, values, 0.0).sum(axis=0) / np.maximum(count, 1)
    squares = np.where(there, values - mean, 0.0) ** 2
    deviation = np.sqrt(squares.sum(axis=0) / np.maximum(count - 1, 1))
    reach = {n: t_quantile(n - 1.0, (1 + LEVEL) / 2) for n in set(count.tolist()) if n > 1}
    half = np.array([reach.get(n, np.nan) for n in count.tolist()]) * deviation
    half = half / np.sqrt(np.maximum(count, 1))
    mean = np.where(count > 0, mean, np.nan)
    return mean, mean - half, mean + half
