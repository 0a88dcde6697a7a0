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
    Words for which earlier ones leave no room keep a dot only. Raises UsageError without
    matplotlib.
    """
    figure = new_figure(9.0, 7.2)
    axes = figure.subplots()
    axes.scatter(places[:, 0], places[:, 1], s=7, color=COLOURS[0], alpha=0.6, linewidths=0)
    x, y = (
        f"direction {i + 1} ({100 * share:.0f} % of the variance)" for i, share in enumerate(shares)
    )
    style(axes, x, y, title, grid="both")
    axes.margins(0.06)
    figure.draw_without_rendering()
    spots = axes.transData.transform(places)
    taken = [(x - 2.0, y - 2.0, x + 2.0, y + 2.0) for x, y in spots.tolist()]
    for place, (across, up), name in zip(places, spots.tolist(), names, strict=True):
        width, height = 6.4 * len(name) * figure.dpi / 100, 12.0 * figure.dpi / 100
        side = _free(across, up, width, height, taken)
        if side is None:
            continue
        right, above = side
        label = axes.annotate(
            name, place, xytext=(3 if right else -3, 3 if above else -3),
            textcoords="offset points", ha="left" if right else "right",
            va="bottom" if above else "top", fontsize=7.5,
        )  # fmt: skip
        label.set(color=INK, parse_math=False)
    return figure


Box = tuple[float, float, float, float]


def _free(
    across: float, up: float, width: float, height: float, taken: list[Box]
) -> tuple[bool, bool] | None:
    """Whether a word goes to the right of its dot, and above it, so that it covers no other; it
    takes that place. None if there is no room.
    """
    for right, above in ((True, True), (False, True), (True, False), (False, False)):
        left, low = across if right else across - width, up if above else up - height
        left, low = left + (3 if right else -3), low + (3 if above else -3)
        box = (left, low, left + width, low + height)
        if not any(_overlap(box, other) for other in taken):
            taken.append(box)
            return right, above
    return None


def _overlap(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


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
