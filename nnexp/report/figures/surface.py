"""Paths of optimizers over a loss of two parameters, as a picture and as an animation."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import numpy as np

from nnexp.analysis.landscapes import Landscape
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

FRAMES, MILLISECONDS, HOLD = 80, 60, 1500
"""Of an animation: how many pictures, for how long each, and for how long the last one."""
_PALE = 0.35
"""How strong that is drawn which is still to come."""


def surface(landscape: Landscape, paths: Mapping[str, Array]) -> Figure:
    """Draw the loss as heights, the paths on it, and below them how the loss falls.

    paths: `[T, 2]` by title, from the common start on. Raises UsageError without matplotlib.
    """
    figure, axes, fall = _ground(landscape)
    for number, places in enumerate(paths.values()):
        look, head = _look(number)
        axes.plot(places[:, 0], places[:, 1], linewidth=1.5, zorder=3, **look)
        axes.plot(*places[-1], markersize=7, zorder=4, markeredgecolor="white", **head)
        fall.plot(_height(landscape, places), linewidth=1.6, **look)
    _legend(figure, landscape, paths)
    return figure


def animation(landscape: Landscape, paths: Mapping[str, Array]) -> bytes:
    """The paths as they grow: a GIF, which repeats itself. Raises UsageError without matplotlib."""
    figure, axes, fall = _ground(landscape)
    figure.set_dpi(80)
    longest = max(len(places) for places in paths.values())
    trails = []
    for number, places in enumerate(paths.values()):
        look, point = _look(number)
        heights = _height(landscape, places)
        fall.plot(heights, linewidth=0.9, alpha=_PALE, **look)
        (trail,) = axes.plot([], [], linewidth=1.8, zorder=3, **look)
        (head,) = axes.plot([], [], markersize=8, markeredgecolor="white", zorder=4, **point)
        (under,) = fall.plot([], [], linewidth=1.8, **look)
        trails.append((places, heights, trail, head, under))
    _legend(figure, landscape, paths)
    clock = fall.text(0.99, 0.95, "", transform=fall.transAxes, ha="right", va="top", fontsize=9, color=INK)  # fmt: skip  # noqa: E501
    # Quick progress at the start is to be followed: early updates have more pictures.
    times = np.unique((np.linspace(0, 1, FRAMES) ** 2 * (longest - 1)).round().astype(int))
    return _gif(_frames(figure, trails, clock, times))


def _look(number: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Of a path's line and of its end: a colour, and where these are used up another dash."""
    again, place = divmod(number, len(COLOURS))
    dash = ("-", (0, (4, 1.5)), (0, (1, 1)))[again % 3]
    marker = MARKERS[(place + again) % len(MARKERS)]
    colour = {"color": COLOURS[place]}
    return {**colour, "linestyle": dash}, {**colour, "linestyle": "", "marker": marker}


def _ground(landscape: Landscape) -> tuple[Figure, Any, Any]:
    """The figure with the landscape in its axes, and those for the fall of the loss."""
    figure = new_figure(6.6, 7.4)
    axes, fall = figure.subplots(2, 1, height_ratios=[3.2, 1])
    left, right, low, high = landscape.box
    x, y = np.linspace(left, right, 300), np.linspace(low, high, 300)
    heights = _above(landscape, *np.meshgrid(x, y))
    levels = np.linspace(np.log10(heights.min()), np.log10(heights.max()), 18)
    axes.contourf(x, y, np.log10(heights), levels=levels, cmap="Greys", alpha=0.4)
    lines = {"colors": "#888888", "linewidths": 0.4, "linestyles": "solid"}
    axes.contour(x, y, np.log10(heights), levels=levels, **lines)
    axes.plot(*landscape.start, marker="o", color=INK, markersize=6, zorder=5)
    for place in landscape.minima:
        axes.plot(*place, marker="*", color="#FFD700", markeredgecolor=INK, markersize=15, zorder=2.5)  # fmt: skip  # noqa: E501
    axes.set_xlim(left, right)
    axes.set_ylim(low, high)
    style(axes, "x", "y", grid="")
    axes.set_title(f"{landscape.name}: {landscape.formula}", color=INK, fontsize=10, parse_math=False)  # fmt: skip  # noqa: E501
    fall.set_yscale("log")
    style(fall, "update", "loss above\nits minimum")
    return figure, axes, fall


FLOOR = 1e-12
"""The least height that is drawn."""


def _above(landscape: Landscape, x: Array, y: Array) -> Array:
    """Heights above the minimum."""
    lowest = landscape.value(*landscape.minima[0])
    spread = landscape.value(x, y) - lowest
    return np.asarray(np.maximum(spread, 3e-3))


def _height(landscape: Landscape, places: Array) -> Array:
    lowest = landscape.value(*landscape.minima[0])
    return np.asarray(np.maximum(landscape.value(places[:, 0], places[:, 1]) - lowest, FLOOR))


def _legend(figure: Figure, landscape: Landscape, paths: Mapping[str, Array]) -> None:
    handles = []
    for number, title in enumerate(paths):
        look, head = _look(number)
        colour = look.pop("color")
        handles.append((line(colour, marker=head["marker"], **look), title))
    star = {"marker": "*", "markersize": 12, "markerfacecolor": "#FFD700", "linestyle": ""}
    handles.append((line(INK, marker="o", linestyle=""), "start"))
    handles.append((line(INK, **star), "minima" if len(landscape.minima) > 1 else "minimum"))
    legend(figure, handles, loc="outside lower left", ncols=3, handlelength=3.5)


def _frames(figure: Figure, trails: list[Any], clock: Any, times: Array) -> list[Array]:
    """The picture at each time, `[H, W, 3]`; what does not move is drawn once."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    still = canvas.copy_from_bbox(figure.bbox)
    found = []
    for time in times.tolist():
        canvas.restore_region(still)
        for places, heights, trail, head, under in trails:
            gone = places[: time + 1]
            trail.set_data(gone[:, 0], gone[:, 1])
            head.set_data(gone[-1:, 0], gone[-1:, 1])
            under.set_data(np.arange(len(gone)), heights[: time + 1])
            for artist in (trail, head, under):
                artist.axes.draw_artist(artist)
        clock.set_text(f"update {time}")
        clock.axes.draw_artist(clock)
        found.append(np.array(canvas.buffer_rgba())[..., :3])
    return found


def _gif(frames: list[Array]) -> bytes:
    from matplotlib.colors import to_rgb
    from PIL import Image  # matplotlib brings it

    # Thin lines are few pixels: a palette of the most frequent colours would lack theirs.
    usual = Image.fromarray(frames[-1]).quantize(200).getpalette() or []
    shades = (1.0, 0.65, _PALE)
    own = [
        round(255 * (1 - shade * (1 - part)))
        for shade in shades
        for colour in COLOURS
        for part in to_rgb(colour)
    ]
    palette = Image.new("P", (1, 1))
    palette.putpalette(usual[: 3 * 200] + own)
    images = [
        Image.fromarray(frame).quantize(palette=palette, dither=Image.Dither.NONE)
        for frame in frames
    ]
    buffer = io.BytesIO()
    times = [MILLISECONDS] * (len(images) - 1) + [HOLD]
    images[0].save(
        buffer, "GIF", save_all=True, append_images=images[1:], duration=times, loop=0
    )  # fmt: skip
    return buffer.getvalue()
