"""The pictures of a report over epochs, and of differences. Each function takes plain data."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from nnexp.analysis.scores import bounds_of
from nnexp.report.figures.curves import aligned, mean_interval
from nnexp.report.figures.style import shorten
from nnexp.report.html.markup import Html, card, table, tag
from nnexp.report.html.svg import Chart, colour, legend, scale_of
from nnexp.report.sweep_table import LOG_FROM, Axis
from nnexp.stats import FloatArray

POINTS, FEWEST, MOST = 8_000, 20, 1_000
"""Points of the lines of a chart together, and at least and at most of each line."""
LINES = 100
"""Members that have a line of their own."""
_FEW = 8
"""Lines that can all be bold."""
Histories = Mapping[str, Sequence[Mapping[str, FloatArray]]]
"""Of each run (one) or group (several) by its title, the values of metrics.csv by epoch."""


# -- over the epochs -------------------------------------------------------------------------------


def curves(histories: Histories, metric: str) -> Html:
    """A metric on train and dev against the epoch: members thin, the mean, its 95 % interval."""
    drawn = [
        (i, split, *aligned(group, f"{split}/{metric}"))
        for i, group in enumerate(histories.values())
        for split in ("train", "dev")
    ]
    drawn = [one for one in drawn if one[3].size]
    if not drawn:
        return Html("")
    values = np.concatenate([values.ravel() for *_, values in drawn])
    chart = by_epoch([epoch for _, _, epoch, _ in drawn], values)
    alone, bounds = len(histories) == 1, bounds_of(metric) or (-math.inf, math.inf)
    for i, split, epoch, values in drawn:
        look = ("c1" if split == "train" else "c0") if alone else colour(i)
        dashed = " dash" if split == "train" else ""
        few = thinned(epoch, len(values))
        if len(values) > 1 and (alone or split == "dev"):
            for number, member in enumerate(values[:LINES]):
                chart.line(epoch[few], member[few], f"thin {look}", title=f"s{number}, {split}")
        mean, *ends = mean_interval(values)
        low, high = (np.clip(end, *bounds)[few] for end in ends)
        chart.band(epoch[few], low, high, look)
        chart.line(epoch[few], mean[few], f"curve {look}{dashed}", title=f"{split}: mean")
    if alone:
        splits = {split for _, split, *_ in drawn}
        below = legend([(c, s) for c, s in (("c0", "dev"), ("c1 dashed", "train")) if s in splits])
    else:
        entries = [(colour(i), name) for i, name in enumerate(histories)]
        below = legend(entries, [("l", "dev"), ("d", "train")])
    note = _what_lines_are([values for *_, values in drawn])
    return card(metric, chart.draw(f"{metric} by epoch"), below, note=note)


def _what_lines_are(drawn: Sequence[FloatArray]) -> str:
    if all(len(values) == 1 for values in drawn):
        return ""
    left = any(np.isnan(values[:, -1]).any() for values in drawn)
    mean = "mean of those still training" if left else "mean"
    return f"thin: members; bold: {mean}; area: its 95 % interval"


def course(histories: Histories, column: str) -> Html:
    """A value that training followed, such as the learning rate, against the epoch; nothing if it
    never changed.
    """
    sides = _sides(histories, column)
    if all(_steady(values) is not None for _, values in sides.values()):
        return Html("")
    values = np.concatenate([values[np.isfinite(values)] for _, values in sides.values()])
    log = float(values.max()) > LOG_FROM * float(np.median(values))  # not for a drop at the end
    chart = by_epoch([epoch for epoch, _ in sides.values()], values, log)
    looks = {name: colour(i) for i, name in enumerate(histories)}
    for name, (epoch, values) in sides.items():
        few = thinned(epoch, len(values))
        different = np.unique(values, axis=0)[:LINES]
        look = "curve" if len(different) <= _FEW else "thin"
        for member in different:
            chart.line(epoch[few], member[few], f"{look} {looks[name]}")
    entries = [(looks[name], name) for name in sides] if len(histories) > 1 else []
    return card(course_name(column), chart.draw(f"{column} by epoch"), legend(entries))


def steady(histories: Histories, column: str) -> str:
    """`learning rate 0.01`, if it never changed; else nothing."""
    found = [_steady(values) for _, values in _sides(histories, column).values()]
    told = [f"{value:.4g}" for value in found if value is not None]
    if len(told) < len(found) or not told:
        return ""
    return f"{course_name(column)} {told[0] if len(set(told)) == 1 else ', '.join(told)}"


def course_name(column: str) -> str:
    return {"lr": "learning rate"}.get(column, column)


def _sides(histories: Histories, column: str) -> dict[str, tuple[FloatArray, FloatArray]]:
    """Epochs and values of each run or group that has any."""
    found = {name: aligned(group, column) for name, group in histories.items()}
    return {name: side for name, side in found.items() if side[1].size}


def _steady(values: FloatArray) -> float | None:
    """The only value there is."""
    known = np.unique(values[np.isfinite(values)])
    return float(known[0]) if len(known) == 1 else None


def thinned(epoch: FloatArray, lines: int) -> np.ndarray:
    """Which epochs are drawn: all, or as many as `POINTS` allows, the first and last among them."""
    most = min(max(POINTS // max(lines, 1), FEWEST), MOST)
    if len(epoch) <= most:
        return np.arange(len(epoch))
    return np.unique(np.linspace(0, len(epoch) - 1, most).round().astype(np.int64))


def by_epoch(epochs: Sequence[FloatArray], values: FloatArray, log: bool | None = None) -> Chart:
    """A chart of values over all the epochs. log: as `scale_of` takes it."""
    across, ticks = epoch_axis(epochs)
    return Chart(across, scale_of(values, log), ("epoch", ""), columns=ticks)


def epoch_axis(epochs: Sequence[FloatArray]) -> tuple[Axis, list[tuple[float, str]]]:
    """The axis of all the epochs, and its ticks, which are whole numbers."""
    first = min(float(epoch.min()) for epoch in epochs)
    last = max(float(epoch.max()) for epoch in epochs)
    across = Axis("", "linear", first, max(last, first + 1))
    return across, [tick for tick in across.ticks() if "." not in tick[1]]


# -- differences -----------------------------------------------------------------------------------


def forest(
    rows: Sequence[tuple[str, float, Sequence[float] | None]], label: str, margin: float | None
) -> Html:
    """Differences with their 95 % intervals, one below the other, and 0 (and ± margin) as lines."""
    ends = [0.0, *(x for _, d, interval in rows for x in (d, *(interval or ())))]
    ends += [margin, -margin] if margin else []
    step = 1.0 / len(rows)
    names = [shorten(name, 20) for name, *_ in rows]
    ups = [1.0 - (i + 0.5) * step for i in range(len(rows))]
    chart = Chart(
        scale_of(ends, log=False),
        Axis("", "linear", 0.0, 1.0),
        (label, ""),
        60.0 + 28 * len(rows),
        list(zip(ups, names, strict=True)),
        left=16.0 + 6.4 * max(map(len, names)),
    )
    chart.segment((0, 0), (0, 1), "axis")
    for edge in (margin, -margin) if margin else ():
        chart.segment((edge, 0), (edge, 1), "thin")
    for up, (name, difference, interval) in zip(ups, rows, strict=True):
        if interval is not None:
            chart.segment((interval[0], up), (interval[1], up), "curve c0")
        chart.dot(difference, up, "dot c0", 5, f"{name}: {difference:+.4g}")
    return chart.draw(label)


def bars(shares: Mapping[str, float]) -> Html:
    """Shares of a whole, the largest first."""
    rows = [
        (name, f"{share:.0%}", tag("span", class_="bar", style=f"width:{160 * share:.0f}px"))
        for name, share in sorted(shares.items(), key=lambda item: -item[1])
    ]
    return table(("", "", ""), rows, left=(0, 2)) if rows else Html("")
