"""Small charts as SVG, in the page's colours."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

import numpy as np

from nnexp.report.figures.style import shorten
from nnexp.report.html.markup import Content, Html, join, tag
from nnexp.report.sweep_table import LOG_FROM, Axis
from nnexp.stats import FloatArray

_Place = TypeVar("_Place")

COLOURS = 7
"""Colours that are told apart; beyond them they come again."""
WIDTH, LEFT = 420.0, 64.0
_RIGHT, _TOP, _BOTTOM = 12.0, 10.0, 40.0
_DIGIT = 8.0
"""Room for a character of a tick, on a phone too."""
_UNNAMED = 16.0
"""How much less room an axis takes that has no name."""


def colour(number: int) -> str:
    """The class of the number-th colour."""
    return f"c{number % COLOURS}"


def blend(share: float) -> str:
    """A colour between the two ends of an ordered row: 0 is the most conspicuous."""
    return f"--c:color-mix(in oklch,var(--to) {100 * share:.0f}%,var(--from))"


def scale_of(values: Sequence[float] | FloatArray, log: bool | None = None) -> Axis:
    """An axis that holds all finite values with a little room.

    log: whether it is logarithmic; None: if positive values span more than a factor of 30.
    """
    x = np.asarray(values, np.float64)
    x = x[np.isfinite(x)]
    low, high = (float(x.min()), float(x.max())) if len(x) else (0.0, 1.0)
    if log is None:
        log = 0 < low * LOG_FROM < high
    if log and low > 0:
        return Axis("", "log", low / 1.1, high * 1.1)
    if low == high == 0:
        return Axis("", "linear", 0.0, 1.0)
    room = 0.04 * (high - low) or 0.05 * abs(high)
    return Axis("", "linear", low - room, high + room)


class Chart:
    """Axes with what is drawn between them, from the back to the front.

    labels: names of the axes, "" for none. rows, columns: places from 0 to 1 and texts, in place of
    the ticks of y and x. left: room for the rows' texts.
    """

    def __init__(
        self,
        x: Axis,
        y: Axis,
        labels: tuple[str, str],
        height: float = 270.0,
        rows: Sequence[tuple[float, str]] | None = None,
        columns: Sequence[tuple[float, str]] | None = None,
        left: float | None = None,
        width: float = WIDTH,
    ) -> None:
        self.x, self.y, self.labels = x, y, labels
        self.width, self.height = width, height
        self.bottom = height - _BOTTOM + (0 if labels[0] else _UNNAMED)
        self.rows = y.ticks() if rows is None else rows
        widest = max((len(words) for _, words in self.rows), default=0)
        self.left = max(LEFT, _DIGIT * widest + 24) - (0 if labels[1] else _UNNAMED)
        self.left = self.left if left is None else left
        self.columns = x.ticks() if columns is None else columns
        self._drawn: list[Html] = []

    def across(self, x: float) -> float:
        """Pixels from the left."""
        return self.left + self.x.at(x) * (self.width - self.left - _RIGHT)

    def down(self, y: float) -> float:
        """Pixels from the top."""
        return _TOP + (1.0 - self.y.at(y)) * (self.bottom - _TOP)

    def line(
        self, x: FloatArray, y: FloatArray, class_: str, style: str | None = None, title: str = ""
    ) -> None:
        """A line, with gaps where it has no value; a value alone between gaps is a dot."""
        points = zip(map(self.across, x.tolist()), map(self.down, y.tolist()), strict=True)
        places = [(a, b) if math.isfinite(a + b) else None for a, b in points]
        for run in _runs(places):
            name = tag("title", title) if title else None
            if len(run) == 1:
                (a, b), *_ = run
                dot = class_.replace("curve", "dot").replace("thin", "dot")
                self._drawn.append(tag("circle", name, cx=a, cy=b, r=3, class_=dot, style=style))
            else:
                d = "M" + "L".join(f"{a:.1f} {b:.1f}" for a, b in run)
                self._drawn.append(tag("path", name, d=d, class_=class_, style=style))

    def band(self, x: FloatArray, low: FloatArray, high: FloatArray, class_: str) -> None:
        """The area between two lines where both have a value."""
        sides = (map(self._held, side.tolist()) for side in (low, high))
        rows = zip(map(self.across, x.tolist()), *sides, strict=True)
        places = [(a, b, c) if math.isfinite(a + b + c) else None for a, b, c in rows]
        for run in _runs(places):
            there = [f"{a:.1f} {c:.1f}" for a, _, c in run]
            back = [f"{a:.1f} {b:.1f}" for a, b, _ in reversed(run)]
            self._drawn.append(
                tag("path", d="M" + "L".join([*there, *back]) + "Z", class_=f"area {class_}")
            )

    def _held(self, y: float) -> float:
        """Pixels from the top, within the axes; what a log scale has no place for is below."""
        bottom, place = self.bottom, self.down(y)
        if math.isnan(place):
            return math.nan if math.isnan(y) else bottom
        return min(max(place, _TOP), bottom)

    def dot(
        self,
        x: float,
        y: float,
        class_: str,
        radius: float = 3.0,
        title: str = "",
        style: str | None = None,
    ) -> None:
        name = tag("title", title) if title else None
        a, b = round(self.across(x), 1), round(self.down(y), 1)
        self._drawn.append(tag("circle", name, cx=a, cy=b, r=radius, class_=class_, style=style))

    def segment(self, start: tuple[float, float], end: tuple[float, float], class_: str) -> None:
        """A straight line between two points in the units of the axes."""
        (a, b), (c, d) = start, end
        self._drawn.append(
            tag("line", x1=self.across(a), y1=self.down(b), x2=self.across(c), y2=self.down(d),
                class_=class_)
        )  # fmt: skip

    def words(self, x: float, y: float, text: str, class_: str | None = None) -> None:
        """A text beside a place."""
        self._drawn.append(label(self.across(x) + 4, self.down(y) - 3, text, class_=class_))

    def image(self, source: str, box: tuple[float, float, float, float]) -> None:
        """Pixels over left, right, low and high. source: see `pixels.data_uri`."""
        left, right, low, high = box
        x, y = self.across(left), self.down(high)
        size = {"width": self.across(right) - x, "height": self.down(low) - y}
        self._drawn.append(tag("image", href=source, x=x, y=y, preserveAspectRatio="none", **size))

    def segments(self, ends: Iterable[Sequence[float]], class_: str) -> None:
        """Many straight lines (x, y, x, y) as one."""
        d = "".join(
            f"M{self.across(a):.1f} {self.down(b):.1f}L{self.across(c):.1f} {self.down(d):.1f}"
            for a, b, c, d in ends
        )
        if d:
            self._drawn.append(tag("path", d=d, class_=class_))

    def draw(self, title: str) -> Html:
        """The whole picture. title: what it shows, for those who can't see it."""
        return picture((self.width, self.height), title, *self._frame(), *self._drawn)

    def _frame(self) -> Iterator[Html]:
        bottom, right = self.bottom, self.width - _RIGHT
        for place, words in self.rows:
            y = _TOP + (1.0 - place) * (bottom - _TOP)
            yield tag("line", x1=self.left, x2=right, y1=y, y2=y, class_="grid")
            yield label(self.left - 6, y + 4, words, "end", "tick")
        for place, words in _spaced(self.columns, right - self.left):
            x = self.left + place * (right - self.left)
            yield tag("line", x1=x, x2=x, y1=bottom, y2=bottom + 4, class_="axis")
            yield label(x, bottom + 16, shorten(words, 12), "middle", "tick")
        yield tag("path", d=f"M{self.left} {_TOP}V{bottom}H{right}", class_="axis")
        if self.labels[0]:
            yield label((self.left + right) / 2, self.height - 6, self.labels[0], "middle")
        if self.labels[1]:
            middle = (_TOP + bottom) / 2
            turned = f"rotate(-90 12 {middle:.1f})"
            yield label(12, middle, self.labels[1], "middle", transform=turned)


def picture(size: tuple[float, float], title: str, *content: Content) -> Html:
    """An SVG of so many units that takes the width it is given."""
    box = f"0 0 {size[0]:g} {size[1]:g}"
    return tag("svg", *content, viewBox=box, role="img", aria_label=title)


def label(
    x: float,
    y: float,
    words: str,
    anchor: str = "start",
    class_: str | None = None,
    transform: str | None = None,
) -> Html:
    """A line of text. anchor: "start", "middle" or "end"."""
    return tag("text", words, x=x, y=y, text_anchor=anchor, class_=class_, transform=transform)


def legend(entries: Sequence[tuple[str, str]], strokes: Sequence[tuple[str, str]] = ()) -> Html:
    """What colours, and strokes, mean. entries: class or style of a colour, and its name."""
    spans = []
    for look, name in entries:
        style = {"style": look} if look.startswith("--") else {"class_": look}
        spans.append(tag("span", tag("i", **style), name))
    spans += [tag("span", tag("i", class_=kind), name) for kind, name in strokes]
    return tag("div", *spans, class_="legend") if spans else join([])


def _runs(places: Sequence[_Place | None]) -> Iterator[list[_Place]]:
    """The stretches between gaps."""
    run: list[_Place] = []
    for place in [*places, None]:
        if place is not None:
            run.append(place)
        elif run:
            yield run
            run = []


def _spaced(ticks: Sequence[tuple[float, str]], width: float) -> list[tuple[float, str]]:
    """Ticks on the axis whose texts don't touch: where need be every second, or fourth, …"""
    ticks = [tick for tick in ticks if 0 <= tick[0] <= 1]
    while len(ticks) > 2 and sum(7.0 * min(len(t), 12) + 8 for _, t in ticks) > width:
        ticks = ticks[::2]
    return ticks
