"""Whether what is said with 80 % is right four times of five."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

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

BINS = 15


@dataclass(frozen=True)
class Reliability:
    """Answers by how sure they were.

    edges: of the bins, `[B + 1]`. counts, said, came: for each bin how many answers, their mean
    probability, and the share that was right; NaN in empty bins. low, high: Wilson's 95 % interval
    of `came`. error: the expected calibration error. labels: whether these are probabilities of
    labels, not confidences in a class.
    """

    edges: Array
    counts: Array
    said: Array
    came: Array
    low: Array
    high: Array
    error: float
    labels: bool


def reliability(
    probabilities: Array, targets: Array, bins: int = BINS, members: int = 1
) -> Reliability:
    """Put answers into bins of equal width, a bin holding (low, high].

    probabilities: `[N, C]`. targets: class numbers `[N]`; of labels 0 and 1 `[N, C]`, then every
    label's probability is an answer of its own. members: so many models answered the same examples,
    one after the other: their answers hang together, so intervals count every example once.
    """
    labels = targets.ndim == 2
    if labels:
        sure, right = probabilities.ravel(), targets.ravel() > 0
    else:
        sure, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == targets
    place = np.clip(np.ceil(sure * bins).astype(int) - 1, 0, bins - 1)
    counts = np.bincount(place, minlength=bins).astype(float)
    with np.errstate(invalid="ignore", divide="ignore"):
        said = np.bincount(place, sure, bins) / counts
        came = np.bincount(place, right, bins) / counts
        low, high = _wilson(came, counts / members)
    apart = np.nansum(counts * np.abs(came - said)) / max(len(sure), 1)
    edges = np.linspace(0, 1, bins + 1)
    return Reliability(edges, counts, said, came, low, high, float(apart), labels)


def calibration(
    probabilities: Array, targets: Array, title: str = "", bins: int = BINS, members: int = 1
) -> Figure:
    """Draw a reliability diagram; arguments as for `reliability`.

    Points are the bins with Wilson's 95 % interval, the larger the more answers; below, how the
    answers are spread. Raises UsageError without matplotlib.
    """
    found = reliability(probabilities, targets, bins, members)
    figure = new_figure(5.2, 5.6)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[4, 1])
    _diagram(upper, found)
    said, came = "confidence: probability of what is predicted", "accuracy"
    if found.labels:
        said, came = "probability", "share that came"
    told = f"calibration error {found.error:.3f}"
    style(upper, "", came, f"{title}\n{told}" if title else told, grid="")
    middle, width = (found.edges[1:] + found.edges[:-1]) / 2, 1 / bins
    lower.bar(middle, found.counts, width=0.9 * width, color=COLOURS[0], alpha=0.6)
    style(lower, said, "answers")
    figure.align_ylabels([upper, lower])
    return figure


def _diagram(axes: Any, found: Reliability) -> None:
    there = found.counts > 0
    axes.plot([0, 1], [0, 1], color=INK, linewidth=1, linestyle=(0, (4, 3)))
    axes.grid(color=FAINT, linewidth=0.7)
    said, came = found.said[there], found.came[there]
    reach = np.stack([came - found.low[there], found.high[there] - came]).clip(0)
    axes.errorbar(said, came, yerr=reach, fmt="none", ecolor=COLOURS[0], elinewidth=1.2, alpha=0.6)
    axes.plot(said, came, color=COLOURS[0], linewidth=1.2, alpha=0.5)
    share = found.counts[there] / found.counts.max()
    axes.scatter(said, came, s=14 + 70 * share, color=COLOURS[0], zorder=3, linewidths=0)
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(-0.02, 1.02)
    handles = [
        (line(INK, linewidth=1, linestyle=(0, (4, 3))), "perfect"),
        (line(COLOURS[0], marker="o", linewidth=1.2), "bin, with its 95 % interval"),
    ]
    legend(axes, handles, loc="upper left")


def _wilson(share: Array, count: Array) -> tuple[Array, Array]:
    """Wilson's (1927) 95 % interval of a share of so many."""
    z = 1.959963984540054
    middle = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z / (1 + z**2 / count)
    half = half * np.sqrt(share * (1 - share) / count + z**2 / (4 * count**2))
    return middle - half, middle + half
