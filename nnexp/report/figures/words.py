"""A map of words."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nnexp.report.figures.style import COLOURS, INK, Array, Figure, new_figure, style


def words(
    places: Array, names: Sequence[str], shares: tuple[float, float], title: str = ""
) -> Figure:
    """Draw words at their places.

    places: `[V, 2]`, see `main_directions`. shares: of the variance along each direction.
    Words whose places are taken by earlier ones keep a dot only. Raises UsageError without
    matplotlib.
    """
    figure = new_figure(9.0, 7.2)
    axes = figure.subplots()
    axes.scatter(places[:, 0], places[:, 1], s=7, color=COLOURS[0], alpha=0.6, linewidths=0)
    x, y = (f"direction {i + 1} ({share:.0%} of the variance)" for i, share in enumerate(shares))
    style(axes, x, y, title, grid="both")
    axes.margins(0.06)
    figure.draw_without_rendering()
    taken: list[tuple[float, float, float, float]] = []
    for (across, up), name in zip(axes.transData.transform(places), names, strict=True):
        width, height = 6.6 * len(name) * figure.dpi / 100, 13.0 * figure.dpi / 100
        box = (across, up, across + width, up + height)
        if any(box[0] < b[2] and b[0] < box[2] and box[1] < b[3] and b[1] < box[3] for b in taken):
            continue
        taken.append(box)
        x_, y_ = axes.transData.inverted().transform((across, up))
        label = axes.annotate(
            name, (x_, y_), xytext=(2, 2), textcoords="offset points", fontsize=7.5
        )
        label.set(color=INK, parse_math=False)
    return figure


def main_directions(vectors: Array) -> tuple[Array, tuple[float, float]]:
    """Places `[V, 2]` of vectors `[V, D]` along their two main directions, and shares of variance.

    Signs are such that the largest coordinate of each direction is positive.
    """
    centred = np.asarray(vectors, np.float64) - vectors.mean(axis=0)
    left, sizes, right = np.linalg.svd(centred, full_matrices=False)
    places = np.zeros((len(vectors), 2))
    shares = [0.0, 0.0]
    total = float((sizes**2).sum()) or 1.0
    for i in range(min(2, len(sizes))):
        sign = np.sign(right[i, np.abs(right[i]).argmax()]) or 1.0
        places[:, i] = left[:, i] * sizes[i] * sign
        shares[i] = float(sizes[i] ** 2 / total)
    return places, (shares[0], shares[1])
