"""Whether what is said with 80 % is right four times of five."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from nnexp.analysis.probabilities import BINS, Bins, binned, sureness
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


@dataclass(frozen=True)
class Reliability(Bins):
    """Answers by how sure they were. low, high: Wilson's 95 % interval of `came`."""

    low: Array
    high: Array


def reliability(said: Array, came: Array, bins: int = BINS, times: float = 1.0) -> Reliability:
    """Put answers into bins of equal width, a bin holding (low, high].

    said: probabilities `[N]`. came: 1 where what they speak of came true `[N]`. times: so many
    models answered an example, on average: their answers hang together, so intervals count each
    example once.
    """
    found = binned(said, came, bins)
    ends = _wilson(found.came, found.counts / times)
    return Reliability(found.counts, found.said, found.came, *ends)


def calibration(
    probabilities: Array, targets: Array, title: str = "", bins: int = BINS, times: float = 1.0
) -> Figure:
    """Draw a reliability diagram.

    probabilities: `[N, C]`. targets: class numbers `[N]`; of labels 0 and 1 `[N, C]`, then every
    label's probability is an answer of its own. bins, times: as for `reliability`.
    Points are the bins with Wilson's 95 % interval, the larger the more answers; below, how the
    answers are spread. Raises UsageError without matplotlib.
    """
    found = reliability(*sureness(probabilities, targets), bins=bins, times=times)
    figure = new_figure(5.2, 5.6)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[4, 1])
    _diagram(upper, found)
    said, came = "confidence: probability of what is predicted", "accuracy"
    if targets.ndim == 2:
        said, came = "probability", "share that came"
    told = f"calibration error {found.error:.3f}"
    style(upper, "", came, f"{title}\n{told}" if title else told, grid="")
    middle = (np.arange(bins) + 0.5) / bins
    lower.bar(middle, found.counts, width=0.9 / bins, color=COLOURS[0], alpha=0.6)
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
    with np.errstate(invalid="ignore", divide="ignore"):  # of empty bins
        middle = (share + z**2 / (2 * count)) / (1 + z**2 / count)
        half = z / (1 + z**2 / count)
        half = half * np.sqrt(share * (1 - share) / count + z**2 / (4 * count**2))
    return middle - half, middle + half
