"""What a model of two inputs answers everywhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nnexp.report.figures.style import (
    COLOURS,
    INK,
    MARKERS,
    Array,
    Figure,
    legend,
    line,
    new_figure,
    style,
)


@dataclass(frozen=True)
class Region:
    """What M models answer on a grid over the plane.

    x: `[W]`, y: `[H]`. values: `[M, H, W, K]`, the probabilities (or shares of votes) of K classes,
    or K values.
    """

    x: Array
    y: Array
    values: Array


def boundary(
    region: Region,
    points: Array,
    targets: Array,
    names: Sequence[str],
    classes: Sequence[str] | None,
    title: str = "",
) -> Figure:
    """Draw the mean answer of the models over the plane, and examples on it.

    points: `[N, 2]`. targets: class numbers `[N]`; values `[N]` if `classes` is None.
    names: of the two inputs. Of classes the shade tells how sure the mean answer is, thin lines are
    the boundaries of the single models; of a regression the first value is drawn.
    Raises UsageError without matplotlib.
    """
    figure = new_figure(6.4, 5.4)
    axes = figure.subplots()
    style(axes, names[0], names[1], title, grid="")
    if classes is None:
        _values(figure, axes, region, points, targets)
    else:
        _classes(axes, region, points, targets, classes)
    axes.set_xlim(region.x[0], region.x[-1])
    axes.set_ylim(region.y[0], region.y[-1])
    return figure


def _classes(
    axes: Any, region: Region, points: Array, targets: Array, classes: Sequence[str]
) -> None:
    from matplotlib.colors import to_rgb

    mean = region.values.mean(axis=0)
    best = mean.argmax(axis=-1)
    sure = mean.max(axis=-1)
    floor = 1.0 / mean.shape[-1]
    depth = 0.08 + 0.37 * np.clip((sure - floor) / (1 - floor), 0, 1)[..., None]
    palette = np.array([to_rgb(COLOURS[k % len(COLOURS)]) for k in range(mean.shape[-1])])
    shades = 1 - depth * (1 - palette[best])
    extent = (region.x[0], region.x[-1], region.y[0], region.y[-1])
    axes.imshow(shades, origin="lower", extent=extent, aspect="auto", interpolation="bilinear")
    if len(region.values) > 1:
        for values in region.values:
            _borders(axes, region, values, 0.6, 0.4)
    _borders(axes, region, mean, 1.6, 0.9)
    handles = []
    for k, name in enumerate(classes):
        look = {"color": COLOURS[k % len(COLOURS)], "marker": MARKERS[k % len(MARKERS)]}
        here = points[targets == k]
        axes.scatter(here[:, 0], here[:, 1], s=18, edgecolors="white", linewidths=0.5, **look)
        told = f"class {name}" if name.isdecimal() else name
        handles.append((line(look["color"], linestyle="", marker=look["marker"]), told))
    if len(region.values) > 1:
        handles.append((line(INK, linewidth=0.6), "each member"))
    handles.append(
        (line(INK, linewidth=1.6), "boundary" + " of the mean" * (len(region.values) > 1))
    )
    legend(axes.figure, handles, loc="outside lower left", ncols=min(len(handles), 5))


def _borders(axes: Any, region: Region, values: Array, width: float, alpha: float) -> None:
    """Where the class changes that has the most."""
    for k in range(values.shape[-1] if values.shape[-1] > 2 else 1):
        others = np.delete(values, k, axis=-1).max(axis=-1)
        lead = values[..., k] - others
        if lead.min() < 0 < lead.max():
            axes.contour(region.x, region.y, lead, levels=[0], colors=INK, linewidths=width, alpha=alpha)  # fmt: skip  # noqa: E501


def _values(figure: Figure, axes: Any, region: Region, points: Array, targets: Array) -> None:
    mean = region.values[..., 0].mean(axis=0)
    low, high = min(mean.min(), targets.min()), max(mean.max(), targets.max())
    levels = np.linspace(low, high, 21) if high > low else [low - 1, low + 1]
    filled = axes.contourf(region.x, region.y, mean, levels=levels, cmap="viridis")
    look = {"vmin": low, "vmax": high, "cmap": "viridis", "edgecolors": "white"}
    axes.scatter(points[:, 0], points[:, 1], c=targets, s=20, linewidths=0.7, **look)
    bar = figure.colorbar(filled, ax=axes, aspect=28, pad=0.02)
    bar.ax.tick_params(labelsize=8, colors=INK)
    bar.set_label("predicted (plane), true (points)", fontsize=8.5, color=INK)
