"""Curves in a terminal: braille characters, each a field of 2 × 4 dots."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from nnexp.cli.console import Cell, Style, value

_DOTS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))
"""The bit of each dot of a braille character: left and right column, from the top."""
_BLANK = 0x2800
_LOGARITHMIC = 30.0
"""From this ratio of the largest to the smallest value on, the vertical scale is logarithmic."""


@dataclass(frozen=True)
class Curve:
    """Values at equal distances, gaps where they are not finite. label: written at its end."""

    values: Sequence[float]
    label: str = ""
    style: Style = ""


def draw(curves: Sequence[Curve], width: int, height: int) -> list[list[Cell]]:
    """Lines of characters in pieces of one style, at most `width` wide; later curves lie on top.

    The scale stands at the left; each label at the height where its curve ends. [] if there is
    nothing to draw, or no room.
    """
    known = [v for curve in curves for v in curve.values if math.isfinite(v)]
    if not known or height < 2:
        return []
    low, high = min(known), max(known)
    scale = _Scale(low, high, 4 * height - 1)
    ticks = {0: value(high), height - 1: value(low)} if high > low else {height // 2: value(low)}
    left = max(map(len, ticks.values()))
    right = max(len(curve.label) for curve in curves)
    across = width - left - right - 3
    if across < 4:
        return []
    dots = [[0] * across for _ in range(height)]
    styles: list[list[Style]] = [[""] * across for _ in range(height)]
    for curve in curves:
        for x, y in _strokes(curve.values, scale, 2 * across):
            dots[y // 4][x // 2] |= _DOTS[x % 2][y % 4]
            styles[y // 4][x // 2] = curve.style
    labels = _labels(curves, scale, height)
    lines: list[list[Cell]] = []
    for row in range(height):
        axis = "┤" if row in ticks else "│"
        line: list[Cell] = [(f"{ticks.get(row, ''):>{left}} {axis}", "dim")]
        line += _runs(dots[row], styles[row])
        if row in labels:
            line.append((f" {labels[row].label}", labels[row].style))
        lines.append(line)
    return lines


@dataclass(frozen=True)
class _Scale:
    low: float
    high: float
    steps: int

    def at(self, v: float) -> int:
        """How many dots below the top a value lies."""
        low, high = self.low, self.high
        if low > 0 and high / low >= _LOGARITHMIC:
            v, low, high = math.log(v), math.log(low), math.log(high)
        if not low < high:
            return self.steps // 2
        span = high / 2 - low / 2  # halves: the difference of two large numbers may be infinite
        return round((high / 2 - v / 2) / span * self.steps)


def _strokes(values: Sequence[float], scale: _Scale, across: int) -> Iterator[tuple[int, int]]:
    """The dots of a curve: straight lines between its points, and the vertical way at each dot."""
    before: int | None = None
    for x in range(across if values else 0):
        y = _height(values, scale, x / max(across - 1, 1) * (len(values) - 1))
        if y is None:
            before = None
            continue
        first = y if before is None or before == y else before + (1 if y > before else -1)
        yield from ((x, way) for way in range(min(first, y), max(first, y) + 1))
        before = y


def _height(values: Sequence[float], scale: _Scale, place: float) -> int | None:
    """Where a curve is between two of its points; None in a gap."""
    at = min(int(place), len(values) - 1)
    ends = [values[at], values[min(at + 1, len(values) - 1)]]
    share = place - at
    if share == 0 or not math.isfinite(ends[1]):
        ends[1], share = ends[0], 0.0
    if not math.isfinite(ends[0]):
        return None
    return round((1 - share) * scale.at(ends[0]) + share * scale.at(ends[1]))


def _labels(curves: Sequence[Curve], scale: _Scale, height: int) -> dict[int, Curve]:
    """In which line each curve's label stands: where it ends, or near, in the curves' order."""
    ends = [
        (next((v for v in reversed(curve.values) if math.isfinite(v)), None), curve)
        for curve in reversed(curves)
    ]
    told = [(end, curve) for end, curve in ends if curve.label and end is not None]
    told = sorted(told, key=lambda one: -one[0])[:height]
    rows: list[int] = []
    for number, (end, _) in enumerate(told):
        lowest = height - (len(told) - number)  # leaves a line for each label below
        rows.append(min(max(scale.at(end) // 4, rows[-1] + 1 if rows else 0), lowest))
    return {row: curve for row, (_, curve) in zip(rows, told, strict=True)}


def _runs(dots: Sequence[int], styles: Sequence[Style]) -> Iterator[Cell]:
    """A line's characters, neighbours of one style together."""
    text, style = "", styles[0]
    for bits, own in zip(dots, styles, strict=True):
        if own != style:
            yield text, style
            text, style = "", own
        text += chr(_BLANK + bits) if bits else " "
    yield text, style
