"""Pictures of a sweep: its trials as lines over all keys, and the score against each key."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from nnexp.errors import UsageError
from nnexp.report.figures.style import INK, Figure, new_figure, shorten, style
from nnexp.report.sweep_table import Axis, axis_of, number

_DOT, _BEST, _BAD = "#0072B2", "#D55E00", "#CC3311"
_ASIDE = ("trial", "state", "sd", "epochs", "seconds")
_ABSENT = -0.09
"""Where a line passes an axis whose key its trial does not have."""
_TOP = 5
"""Trials drawn thick."""

Trials = Sequence[Mapping[str, str]]
"""The rows of trials.csv."""


def parallel_coordinates(
    trials: Trials,
    metric: str,
    higher_is_better: bool,
    scales: Mapping[str, str] | None = None,
    shares: Mapping[str, float] | None = None,
) -> Figure:
    """A line a trial over the searched keys, each on its scale, to the score on the right.

    Colours go by the score's rank, best trials on top; trials that were pruned or diverged stand
    faint behind. A line passes below the axis of a key that its trial does not have.
    scales: "linear", "log", "one_minus_log" or "choice" by key; told from the values without.
    shares: importance by key, written under the keys.

    Raises UsageError if there is nothing to draw or no matplotlib.
    """
    axes = _axes(trials, metric, scales or {})
    good, rest = _ranked(trials, metric, higher_is_better)
    score = _score_axis(good, metric)
    columns = [*axes, score]
    figure = new_figure(max(6.4, 1.45 * len(columns)), 5.0)
    plane = figure.subplots()
    plane.set_axis_off()
    plane.set_xlim(-0.25, len(columns) - 1 + 0.45)
    plane.set_ylim(-0.16, 1.2)
    places = range(len(columns))
    for row in rest:
        plane.plot(places, _heights(row, columns), color="#BBBBBB", lw=0.6, alpha=0.5, zorder=1)
    colours = _colours(len(good))
    for rank in reversed(range(len(good))):
        look = {"color": colours[rank], "zorder": 3 - rank / (len(good) + 1)}
        width, alpha = (2.0, 1.0) if rank < _TOP else (0.8, 0.65)
        plane.plot(places, _heights(good[rank], columns), lw=width, alpha=alpha, **look)
    for place, axis in enumerate(columns):
        absent = axis is not score and not all(row[axis.key] for row in trials)
        best = good[0][metric] if axis is score and good else ""
        _upright(plane, place, axis, absent, (shares or {}).get(axis.key), best)
    told = f"colour: rank by {metric}, dark is best; thick: the best {min(_TOP, len(good))}"
    if rest:
        told += f"; grey: {len(rest)} pruned or diverged"
    figure.supxlabel(told, fontsize=8, color=INK, parse_math=False)
    return figure


def slices(
    trials: Trials,
    metric: str,
    higher_is_better: bool,
    scales: Mapping[str, str] | None = None,
    shares: Mapping[str, float] | None = None,
) -> Figure:
    """The score against each searched key on the key's scale, a panel each.

    A ring marks the best trial; strokes at the bottom are values of trials that diverged.
    scales, shares: as for `parallel_coordinates`; the panels with the largest shares come first.

    Raises UsageError if there is nothing to draw or no matplotlib.
    """
    given = shares or {}
    axes = sorted(_axes(trials, metric, scales or {}), key=lambda axis: -given.get(axis.key, 0.0))
    good, rest = _ranked(trials, metric, higher_is_better)
    score = _score_axis(good, metric)
    across = min(len(axes), 4 if len(axes) != 6 else 3)
    down = -(-len(axes) // across)
    figure = new_figure(max(2.9 * across, 4.5), 2.5 * down + 0.6)
    panels = figure.subplots(down, across, squeeze=False)
    for panel in panels.flat[len(axes) :]:
        panel.set_visible(False)
    for i, (panel, axis) in enumerate(zip(panels.flat, axes, strict=False)):
        _panel(panel, axis, score, good, rest)
        title = axis.key + (f" ({given[axis.key]:.0%})" if axis.key in given else "")
        panel.set_title(shorten(title, 34), fontsize=9, color=INK, parse_math=False)
        if i % across == 0:
            panel.set_ylabel(metric, fontsize=8, color=INK, parse_math=False)
        else:
            panel.tick_params(labelleft=False)
    parts = ["ring: the best trial", "light: pruned", "strokes: diverged"]
    states = {row["state"] for row in rest}
    there = [parts[0], *(p for p in parts[1:] if p.rpartition(" ")[2] in states)]
    there += ["percent: importance"] if given else []
    figure.supxlabel("; ".join(there), fontsize=8, color=INK)
    return figure


# -- what is drawn ---------------------------------------------------------------------------------


def _axes(trials: Trials, metric: str, scales: Mapping[str, str]) -> list[Axis]:
    """The searched keys' axes. Raises UsageError if no trial has a score."""
    if not any(math.isfinite(number(row[metric])) for row in trials):
        raise UsageError("no trial has a score: there is nothing to draw")
    keys = [key for key in trials[0] if key not in (*_ASIDE, metric)]
    return [axis_of(key, [row[key] for row in trials], scales.get(key)) for key in keys]


def _ranked(
    trials: Trials, metric: str, higher: bool
) -> tuple[list[Mapping[str, str]], list[Mapping[str, str]]]:
    """Trials that were trained to the end, the best first, and those that were not."""
    good: list[Mapping[str, str]] = []
    rest: list[Mapping[str, str]] = []
    for row in trials:
        scored = math.isfinite(number(row[metric])) and row["state"] == "finished"
        (good if scored else rest).append(row)
    good.sort(key=lambda row: number(row[metric]) * (-1 if higher else 1))
    return good, [row for row in rest if row["state"] != "invalid"]


def _score_axis(good: Trials, metric: str) -> Axis:
    return axis_of(metric, [row[metric] for row in good])


def _heights(row: Mapping[str, str], columns: Sequence[Axis]) -> np.ndarray:
    """The line of a trial, below the axes that it has no value for; it ends before a lost score."""
    found = np.array([axis.place(row[axis.key]) for axis in columns])
    found[:-1][~np.isfinite(found[:-1])] = _ABSENT
    if not 0 <= found[-1] <= 1:  # diverged, or pruned with a score that is off the scale
        found[-1] = np.nan
    return found


def _colours(count: int) -> Any:
    """From dark (the best) to light; no colour so light that it is lost on white."""
    from matplotlib import colormaps

    return colormaps["viridis"](np.linspace(0.0, 0.9, count))


# -- how it is drawn -------------------------------------------------------------------------------


def _upright(
    plane: Any, place: int, axis: Axis, absent: bool, share: float | None, best: str
) -> None:
    """One axis, its name above and its ticks beside it; also for trials without the key."""
    from matplotlib.patheffects import withStroke

    halo = [withStroke(linewidth=2.5, foreground="white")]
    plane.plot([place, place], [0, 1], color=INK, lw=1.1, zorder=4)
    ticks = axis.ticks()
    if best:  # it stands at an end of its axis, where seldom a round number is
        at = axis.place(best)
        ticks = [tick for tick in ticks if abs(tick[0] - at) > 0.05]
        ticks.append((at, f"{number(best):.4g}"))
    if absent:
        ticks.append((_ABSENT, "none"))
    for height, text in ticks:
        plane.plot([place, place + 0.04], [height, height], color=INK, lw=0.9, zorder=4)
        label = plane.text(place + 0.07, height, shorten(text, 15), fontsize=7.5, va="center")
        label.set(color=INK, zorder=5, path_effects=halo, parse_math=False)
    name = "\n".join(shorten(part, 17) for part in _lines(axis.key))
    if share is not None:
        name += f"\n{share:.0%}"
    title = plane.text(place, 1.045, name, fontsize=8.5, ha="center", va="bottom", color=INK)
    title.set(parse_math=False, linespacing=1.15)


def _lines(key: str) -> list[str]:
    """A key on two lines at most, so that it is no wider than it must be."""
    owner, dot, last = key.rpartition(".")
    return [f"{owner}.", last] if dot else [key]


def _panel(panel: Any, axis: Axis, score: Axis, good: Trials, rest: Trials) -> None:
    for row in rest:
        x, y = axis.place(row[axis.key]), score.at(number(row[score.key]))
        if math.isfinite(y) and 0 <= y <= 1:
            panel.scatter(x, y, s=10, color="#BBBBBB", linewidths=0, zorder=1)
        elif row["state"] == "diverged":
            panel.plot([x, x], [-0.1, -0.05], color=_BAD, lw=0.9)
    across = np.array([axis.place(row[axis.key]) for row in good])
    up = np.array([score.at(number(row[score.key])) for row in good])
    if axis.scale == "choice":  # side by side, not all on one spot
        shift = np.random.default_rng(0).uniform(-0.2, 0.2, len(good))
        across += shift / max(len(axis.options), 1)
    panel.scatter(across, up, s=13, color=_DOT, alpha=0.6, linewidths=0, zorder=2)
    if len(good) and math.isfinite(across[0]):
        ring = {"facecolors": "none", "edgecolors": _BEST, "linewidths": 1.6}
        panel.scatter(across[0], up[0], s=55, zorder=3, **ring)
    style(panel, "", "", grid="both")
    panel.tick_params(labelsize=7.5)
    _ticks(panel.xaxis, axis)
    _ticks(panel.yaxis, score)
    panel.set_xlim(-0.06, 1.06)
    panel.set_ylim(-0.12, 1.08)


def _ticks(drawn: Any, axis: Axis) -> None:
    ticks = axis.ticks()
    across = drawn.axis_name == "x"
    labels = [shorten(text, 15) for _, text in ticks]
    drawn.set_ticks([place for place, _ in ticks], labels)
    if across and sum(map(len, labels)) > 24:
        for label in drawn.get_ticklabels():
            label.set(rotation=25, ha="right", rotation_mode="anchor")
    for label in drawn.get_ticklabels():
        label.set_parse_math(False)
