"""Pictures. matplotlib is used through its objects only, so no state outlives a call."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from nnexp.errors import UsageError, nearest
from nnexp.runs.files import write_bytes

History: TypeAlias = Mapping[str, np.ndarray]
"""A run's metrics.csv: values of each column by epoch, NaN where there is none."""

SUFFIXES = (".pdf", ".png", ".svg")

# Okabe & Ito (2008): told apart with every kind of colour vision, and in grey.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_INK, _FAINT = "#333333", "#DDDDDD"
_DASHES = {"train": (0, (4, 2)), "dev": "solid"}
LONG = 60
"""Epochs from which curves are smoothed, with the raw ones thin behind."""
_HIGHER = ("accuracy", "auc", "exact_match", "f1", "iou", "precision", "r2", "recall", "top_k")
_RC = {"svg.hashsalt": "nnexp", "svg.fonttype": "path", "pdf.fonttype": 42}


def learning_curves(
    named_histories: Mapping[str, Sequence[History]], metric: str, path: Path
) -> None:
    """Draws a metric against the epoch, on train (dashed) and dev (solid), into one picture.

    named_histories: the histories of each run (one) or group (several) by its title. Of a group
    the mean is drawn, over the members still training, in a band from the lowest to the highest.
    Long curves are smoothed by a running mean; the raw ones stand thin behind. A ring marks the
    best epoch: of dev, or of train where there is no dev.
    path: ends in .png, .svg or .pdf.

    Raises UsageError if there is no such metric, no such format, or no matplotlib.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise UsageError(
            f"{path}: a picture's name should end in {', '.join(SUFFIXES)} (received: '{suffix}')"
        )
    if not any(_columns(histories, metric) for histories in named_histories.values()):
        raise UsageError(_no_metric(named_histories, metric))
    try:
        from matplotlib import rc_context
        from matplotlib.figure import Figure
    except ImportError:
        raise UsageError("pictures need matplotlib: pip install 'nnexp[plot]'") from None
    buffer = io.BytesIO()
    with rc_context(_RC):
        figure = Figure(figsize=(8, 4.8), dpi=160, layout="constrained")
        axes = figure.subplots()
        _style(axes, metric)
        for i, histories in enumerate(named_histories.values()):
            _draw(axes, histories, metric, _COLOURS[i % len(_COLOURS)])
        if _wants_log(named_histories, metric):
            _logarithmic(axes)
        _legends(axes, list(named_histories), _groups(named_histories))
        metadata = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}.get(suffix)
        figure.savefig(buffer, format=suffix[1:], metadata=metadata)
    write_bytes(path, buffer.getvalue())


def _columns(histories: Sequence[History], metric: str) -> list[str]:
    """Which of train and dev have a value of the metric."""
    return [
        split
        for split in _DASHES
        if any(np.isfinite(history.get(f"{split}/{metric}", np.nan)).any() for history in histories)
    ]


def _no_metric(named_histories: Mapping[str, Sequence[History]], metric: str) -> str:
    columns = {c for histories in named_histories.values() for h in histories for c in h}
    known = sorted({c.partition("/")[2] for c in columns if c.partition("/")[0] in _DASHES})
    close = nearest(metric, known)
    return f"no run has a curve of '{metric}' (there are: {', '.join(known) or 'none'})" + (
        f"; did you mean '{close}'?" if close else ""
    )


def _draw(axes: Any, histories: Sequence[History], metric: str, colour: str) -> None:
    columns = _columns(histories, metric)
    for split in columns:
        epoch, values = _aligned(histories, f"{split}/{metric}")
        mean = _over_members(np.nanmean, values)
        shown = smooth(mean) if len(epoch) >= LONG else mean
        look = {"color": colour, "linestyle": _DASHES[split]}
        if len(values) > 1:
            low, high = (_over_members(f, values) for f in (np.nanmin, np.nanmax))
            alpha = 0.16 if split == "dev" else 0.08
            axes.fill_between(epoch, low, high, color=colour, alpha=alpha, linewidth=0)
        elif shown is not mean:
            axes.plot(epoch, mean, color=colour, linewidth=0.7, alpha=0.35)
        marker = "o" if len(epoch) == 1 else None
        width = 2.0 if split == "dev" else 1.4
        axes.plot(epoch, shown, linewidth=width, marker=marker, solid_capstyle="round", **look)
        if split == columns[-1]:
            best = _best(mean, metric)
            height = shown[best] if len(values) > 1 else mean[best]
            ring = {"facecolor": "white", "edgecolor": colour, "linewidth": 1.8}
            axes.scatter(epoch[best], height, s=46, zorder=5, **ring)


def _aligned(histories: Sequence[History], column: str) -> tuple[np.ndarray, np.ndarray]:
    """Epochs and values `[members, epochs]`, NaN after a member stopped."""
    there = [history for history in histories if column in history]
    length = max(len(history[column]) for history in there)
    values = np.full((len(there), length), np.nan)
    for row, history in zip(values, there, strict=True):
        row[: len(history[column])] = history[column]
    values[~np.isfinite(values)] = np.nan
    longest = max(there, key=lambda history: len(history[column]))
    return np.asarray(longest.get("epoch", np.arange(1, length + 1))), values


def _over_members(function: Any, values: np.ndarray) -> np.ndarray:
    """By epoch, over the members that have a value; NaN where none has."""
    result = np.full(values.shape[1], np.nan)
    some = np.isfinite(values).any(axis=0)
    result[some] = function(values[:, some], axis=0)
    return result


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


def _best(mean: np.ndarray, metric: str) -> int:
    return int(np.nanargmax(mean) if _higher_is_better(metric) else np.nanargmin(mean))


def _higher_is_better(metric: str) -> bool:
    return any(word in metric for word in _HIGHER)


def _wants_log(named_histories: Mapping[str, Sequence[History]], metric: str) -> bool:
    """Whether the values are positive and span more than a factor of 30, as falling losses do."""
    values = np.concatenate([np.zeros(0), *_values(named_histories, metric)])
    values = values[np.isfinite(values)]
    positive = len(values) > 0 and bool(values.min() > 0)
    return positive and not _higher_is_better(metric) and values.max() > 30 * values.min()


def _values(named: Mapping[str, Sequence[History]], metric: str) -> Iterator[np.ndarray]:
    for histories in named.values():
        for history in histories:
            for split in _DASHES:
                if f"{split}/{metric}" in history:
                    yield history[f"{split}/{metric}"]


def _groups(named_histories: Mapping[str, Sequence[History]]) -> bool:
    return any(len(histories) > 1 for histories in named_histories.values())


def _style(axes: Any, metric: str) -> None:
    from matplotlib.ticker import MaxNLocator

    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(_INK)
    axes.grid(axis="y", color=_FAINT, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors=_INK, labelsize=9)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("epoch", color=_INK)
    axes.set_ylabel(metric, color=_INK, parse_math=False)
    axes.margins(x=0.015)


def _logarithmic(axes: Any) -> None:
    """A log scale whose ticks are plain numbers: 0.1, 0.2, 0.5, 1, …"""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:g}"))


def _legends(axes: Any, names: Sequence[str], groups: bool) -> None:
    """Above the axes the runs by colour, below what the strokes mean: where no curve is."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    runs: list[tuple[Any, str]] = [
        (Line2D([], [], color=_COLOURS[i % len(_COLOURS)], linewidth=3), _short(name))
        for i, name in enumerate(names)
    ]
    strokes: list[tuple[Any, str]] = [
        (Line2D([], [], color=_INK, linestyle=dash, linewidth=1.6), split)
        for split, dash in _DASHES.items()
    ]
    ring = Line2D([], [], color=_INK, linestyle="", marker="o", markersize=7, markeredgewidth=1.6)
    ring.set_markerfacecolor("white")
    strokes.append((ring, "best epoch"))
    if groups:
        strokes.append((Patch(color=_INK, alpha=0.16, linewidth=0), "lowest to highest member"))
    for entries, place, columns in ((runs, "upper", 3), (strokes, "lower", len(strokes))):
        legend = axes.figure.legend(
            [handle for handle, _ in entries],
            ["x"] * len(entries),
            loc=f"outside {place} left",
            ncols=columns,
            frameon=False,
            fontsize=9 if place == "upper" else 8,
        )
        # Set now, as a label with a leading _ would be left out, and $…$ be read as mathematics.
        for text, (_, name) in zip(legend.get_texts(), entries, strict=True):
            text.set_parse_math(False)
            text.set(text=name, color=_INK)


def _short(name: str, limit: int = 40) -> str:
    return name if len(name) <= limit else name[: limit - 1] + "…"
