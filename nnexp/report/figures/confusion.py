"""Which classes are taken for which."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nnexp.report.figures.style import INK, Array, Figure, new_figure, shorten

WRITTEN = 24
"""Up to so many classes each cell has its number."""


def confusion(counts: Array, classes: Sequence[str], title: str = "") -> Figure:
    """Draw a confusion matrix: the truth down, the answer across.

    counts: `[C, C]`, of each class (row) how many were taken for each. Shades go by the share of
    the row, so that rare classes show, and by its root, so that rare mistakes do; the cells have
    the counts and, of few classes, the shares.
    Raises UsageError without matplotlib.
    """
    size = len(classes)
    from matplotlib.colors import PowerNorm

    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = min(max(0.52 * size + 1.9, 3.8), 11.0)
    figure = new_figure(side + 0.7, side)
    axes = figure.subplots()
    image = axes.imshow(shares, cmap="Blues", norm=PowerNorm(0.5, 0, 1))
    if size <= WRITTEN:
        _numbers(axes, counts, shares, size)
    names = [shorten(name, 16) for name in classes]
    every = max(1, -(-size // 40))
    places = range(0, size, every)
    long = max(map(len, names), default=0) > 3
    axes.set_xticks(places, names[::every], rotation=45 if long else 0, ha="right" if long else "center")  # fmt: skip  # noqa: E501
    axes.set_yticks(places, names[::every])
    for label in (*axes.get_xticklabels(), *axes.get_yticklabels()):
        label.set(parse_math=False, fontsize=8.5 if size <= WRITTEN else 6.5, color=INK)
        label.set_rotation_mode("anchor")
    axes.tick_params(length=0)
    for side_ in axes.spines.values():
        side_.set_visible(False)
    axes.set_xticks(np.arange(1, size) - 0.5, minor=True)
    axes.set_yticks(np.arange(1, size) - 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=1.0 if size <= WRITTEN else 0.3)
    axes.tick_params(which="minor", length=0)
    axes.set_xlabel("predicted", color=INK)
    axes.set_ylabel("true", color=INK)
    right = counts.trace() / max(counts.sum(), 1)
    told = f"{100 * right:.1f} % right"
    axes.set_title(f"{shorten(title, 50)}\n{told}" if title else told, fontsize=10, color=INK, parse_math=False)  # fmt: skip  # noqa: E501
    bar = figure.colorbar(image, ax=axes, shrink=0.7, aspect=24, pad=0.02)
    bar.set_label("share of the true class", fontsize=8.5, color=INK)
    bar.ax.tick_params(labelsize=8, colors=INK)
    bar.set_ticks([0, 0.01, 0.05, 0.1, 0.2, 0.4, 0.7, 1], labels=[f"{s} %" for s in (0, 1, 5, 10, 20, 40, 70, 100)])  # fmt: skip  # noqa: E501
    bar.outline.set_visible(False)
    return figure


def _numbers(axes: object, counts: Array, shares: Array, size: int) -> None:
    for (row, column), value in np.ndenumerate(counts):
        if value:
            share = shares[row, column]
            text = f"{value:,.0f}" + (f"\n{100 * share:.0f} %" if size <= 8 else "")
            colour = "white" if share > 0.4 else INK
            axes.text(column, row, text, ha="center", va="center", fontsize=8, color=colour)  # type: ignore[attr-defined]
