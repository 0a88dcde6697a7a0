"""Learning curves: every member, their mean, and how sure that is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from nnexp.analysis.scores import bounds_of, difference_bounds
from nnexp.components.metrics.metric import Metric
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
    shorten,
    style,
    wants_log,
)
from nnexp.stats import LEVEL, Bounds, t_quantile

History: TypeAlias = Mapping[str, np.ndarray]
"""A run's metrics.csv: values of each column by epoch, NaN where there is none."""

LONG = 60
"""Epochs from which curves are smoothed, with the raw ones thin behind."""
SPLIT_COLOURS = {"train": COLOURS[1], "dev": COLOURS[0]}
"""Where one run, or one group, is drawn alone; of several each has a colour."""
DASHES: dict[str, Any] = {"train": (0, (4, 2)), "dev": "solid"}


def curves(
    histories: Mapping[str, Sequence[History]], metric: str | Sequence[str], gap: bool = False
) -> Figure:
    """Draw metrics against the epoch, a panel each, on train (dashed) and dev (solid).

    histories: those of each run (one) or group (several) by its title. Of a group every member is
    a thin line, the mean a thick one, in the band of its 95 % t-interval; a long single curve is
    smoothed, and the raw one is thin. gap: another row shows dev − train.
    A single run or group has a title, and its splits have colours.
    Raises UsageError if there is no such metric, or no matplotlib.
    """
    metrics = [metric] if isinstance(metric, str) else list(metric)
    for name in metrics:
        _check(histories, name)
    rows = 1 + gap
    width = 5.6 * len(metrics) + (1.6 if len(metrics) == 1 else 0)
    figure = new_figure(width, 4.4 + 2.2 * gap)
    panels = figure.subplots(
        rows, len(metrics), squeeze=False, sharex="col", height_ratios=[2, 1][:rows]
    )
    for column, name in zip(panels.T, metrics, strict=True):
        _panel(column[0], histories, name)
        for below in column[1:]:
            _gap_panel(below, histories, name)
        column[-1].set_xlabel("epoch")
    _legends(figure, histories)
    return figure


def _legends(figure: Figure, histories: Mapping[str, Sequence[History]]) -> None:
    alone = len(histories) == 1
    if alone:
        ((title, members),) = histories.items()
        told = f"{title} ({len(members)} members)" if len(members) > 1 else title
        figure.suptitle(shorten(told, 80), fontsize=10, color=INK, parse_math=False)
    else:
        runs = [(line(COLOURS[i % 7], linewidth=3), title) for i, title in enumerate(histories)]
        legend(figure, runs, loc="outside upper left", ncols=min(len(runs), 3))
    strokes = [
        (line(SPLIT_COLOURS[split] if alone else INK, linestyle=dash), split)
        for split, dash in DASHES.items()
    ]
    thin = line(INK, linewidth=0.6, alpha=0.5)
    if any(len(members) > 1 for members in histories.values()):
        strokes.append((thin, "each member"))
        strokes.append((patch(INK, 0.2), "95 % interval of the mean"))
    elif any(len(one["epoch"]) >= LONG for (one,) in histories.values() if "epoch" in one):
        strokes.append((thin, "as measured; thick: smoothed"))
    ring = line(INK, linestyle="", marker="o", markersize=6, markeredgewidth=1.4)
    ring.set_markerfacecolor("white")
    strokes.append((ring, "best epoch"))
    legend(figure, strokes, loc="outside lower left", ncols=5)


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
    drawn, bounds = [], bounds_of(metric) or (-np.inf, np.inf)
    for number, members in enumerate(histories.values()):
        ends: dict[str, tuple[tuple[Array, Array, Array], str]] = {}
        for split in DASHES:
            alone = SPLIT_COLOURS[split] if len(histories) == 1 else None
            epoch, values = aligned(members, f"{split}/{metric}")
            if len(values):
                colour = alone or COLOURS[number % len(COLOURS)]
                shown = _draw(axes, epoch, values, split, colour, bounds)
                drawn.append(values.ravel())
                judged = values[0] if len(values) == 1 else shown
                ends[split] = (epoch, judged, shown), colour
        if ends:
            _ring(axes, metric, *ends["dev" if "dev" in ends else "train"])
    _axes(axes, metric)
    if drawn and wants_log(np.concatenate(drawn)):
        logarithmic(axes.yaxis)


def _gap_panel(axes: Any, histories: Mapping[str, Sequence[History]], metric: str) -> None:
    """How far dev is above train: overfitting, if it grows."""
    bounds = difference_bounds(metric) or (-np.inf, np.inf)
    axes.axhline(0, color=INK, linewidth=0.8)
    for number, members in enumerate(histories.values()):
        both = [h for h in members if {f"dev/{metric}", f"train/{metric}"} <= set(h)]
        apart = [{**h, "gap": h[f"dev/{metric}"] - h[f"train/{metric}"]} for h in both]
        epoch, values = aligned(apart, "gap")
        if len(values):
            _draw(axes, epoch, values, "dev", COLOURS[number % len(COLOURS)], bounds)
    _axes(axes, f"{metric}: dev − train")


def _axes(axes: Any, label: str) -> None:
    from matplotlib.ticker import MaxNLocator

    style(axes, "", label)
    axes.margins(x=0.015)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def _draw(axes: Any, epoch: Array, values: Array, split: str, colour: str, bounds: Bounds) -> Array:
    """Draws one split, and gives the thick line `[T]`."""
    look: dict[str, Any] = {"color": colour, "linestyle": DASHES[split]}
    if len(values) > 1:
        mean, *ends = mean_interval(values)
        low, high = (np.clip(end, *bounds) for end in ends)
        for row in values:
            axes.plot(epoch, row, linewidth=0.5, alpha=0.35, **look)
        axes.fill_between(epoch, low, high, color=colour, alpha=0.2, linewidth=0)
    elif len(epoch) >= LONG:
        axes.plot(epoch, values[0], color=colour, linewidth=0.6, alpha=0.4)
        mean = smooth(values[0])
    else:
        mean = values[0]
    look["marker"] = "o" if len(epoch) == 1 else None
    axes.plot(epoch, mean, linewidth=2.0 if split == "dev" else 1.5, **look)
    return mean


def _ring(axes: Any, metric: str, curve: tuple[Array, Array, Array], colour: str) -> None:
    """Marks the best epoch as it was measured. curve: epochs, values, and the thick line."""
    epoch, values, shown = curve
    best = int(np.nanargmax(values) if higher_is_better(metric) else np.nanargmin(values))
    look = {"facecolor": "white", "edgecolor": colour, "linewidth": 1.6}
    axes.scatter(epoch[best], shown[best], s=40, zorder=5, **look)


def higher_is_better(metric: str) -> bool:
    """Whether larger values of a metric, named as in metrics.csv, are better."""
    known = Metric.registered.get(metric)
    return known is not None and issubclass(known, Metric) and known.higher_is_better


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


def smooth(values: np.ndarray) -> np.ndarray:
    """Centred running mean over about a thirtieth of the curve, shorter at its ends; keeps gaps."""
    half = max(2, len(values) // 60)
    known = np.isfinite(values)
    sums = np.concatenate([[0.0], np.cumsum(np.where(known, values, 0.0))])
    counts = np.concatenate([[0], np.cumsum(known)])
    place = np.arange(len(values))
    reach = np.minimum(half, np.minimum(place, len(values) - 1 - place))
    low, high = place - reach, place + reach + 1
    mean = (sums[high] - sums[low]) / np.maximum(counts[high] - counts[low], 1)
    return np.where(known, mean, np.nan)
