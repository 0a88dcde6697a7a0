"""What is drawn below the progress bar of a training: its curves, and where it stands."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from statistics import fmean, stdev

from nnexp.cli.console import Cell, Style, spread, value
from nnexp.cli.curves import Curve, draw
from nnexp.train.health import COLUMNS
from nnexp.train.state import MemberState

_EVERY = 1.0
"""Seconds between two pictures."""
_MEMBERS = 16
"""So many members of a pack are drawn at most, evenly spaced ones."""
_HEIGHT = 8
_GRADIENT = COLUMNS.index("gradient")


class Watching:
    """The picture of a pack in training, drawn anew now and then.

    column: the primary metric as in metrics.csv, whose best value so far is told.
    """

    def __init__(self, column: str, higher_is_better: bool) -> None:
        self.column, self.sign = column, 1.0 if higher_is_better else -1.0
        self._best: list[tuple[float, int]] = []  # of each member: value (larger is better), epoch
        self._scanned: list[int] = []
        self._lines: list[list[Cell]] = []
        self._drawn = -math.inf

    def picture(
        self, members: Sequence[MemberState], width: int, height: int
    ) -> Sequence[Sequence[Cell]]:
        """Lines in pieces of one style; none where there is no room."""
        if not height or not width:
            return ()
        if time.monotonic() - self._drawn >= _EVERY:
            curves = draw(_curves(members, 2 * width), width, min(_HEIGHT, height - 1))
            self._lines = [[(self._standing(members), "dim")], *curves]
            self._drawn = time.monotonic()
        return self._lines

    def _standing(self, members: Sequence[MemberState]) -> str:
        """Learning rate, gradient norm where it is known, and the best so far."""
        last = max(len(member.history) for member in members)
        newest = [member for member in members if len(member.history) == last]
        parts = ["lr " + _spread([float(m.history[-1]["lr"]) for m in newest])]
        norms = [norm for member in newest if (norm := _gradient(member)) is not None]
        if norms:
            when = max(int(str(m.health[-1][0])) for m in newest if m.health)
            parts.append("gradient " + _spread(norms) + f" (epoch {when})" * (when != last))
        self._scan(members)
        found = [(self.sign * best, epoch) for best, epoch in self._best if epoch]
        if found:
            told = f"best {self.column} {_spread([best for best, _ in found])}"
            epochs = sorted({epoch for _, epoch in found})
            where = "–".join(str(epoch) for epoch in dict.fromkeys((epochs[0], epochs[-1])))
            parts.append(f"{told} (epoch {where})")
        return "  ".join(parts)

    def _scan(self, members: Sequence[MemberState]) -> None:
        """Look at the epochs since the last time for better ones."""
        if not self._best:
            self._best = [(-math.inf, 0)] * len(members)
            self._scanned = [0] * len(members)
        for number, member in enumerate(members):
            best, where = self._best[number]
            for at in range(self._scanned[number], len(member.history)):
                found = self.sign * float(member.history[at].get(self.column, math.nan))
                if found > best:
                    best, where = found, at + 1
            self._best[number], self._scanned[number] = (best, where), len(member.history)


def _curves(members: Sequence[MemberState], points: int) -> list[Curve]:
    """The losses by epoch, means over the members; of several also the least and largest on dev."""
    longest = max(members, key=lambda member: len(member.history))
    length = len(longest.history)
    epochs = [length * i // points for i in range(points)] if length > points else range(length)
    count = min(len(members), _MEMBERS)
    shown = [members[len(members) * i // count] for i in range(count)]
    curves: list[Curve] = []
    styles: dict[str, Style] = {"train": "warning", "dev": "name"}
    for part, style in styles.items():
        column = f"{part}/loss"
        if not longest.history or column not in longest.history[0]:
            continue
        values = [
            [v for m in shown if at < len(m.history) and math.isfinite(v := m.history[at][column])]
            for at in epochs
        ]
        if part == "dev" and count > 1:
            curves += [
                Curve([f(v, default=math.nan) for v in values], "", "dim") for f in (min, max)
            ]
        means = [fmean(v) if v else math.nan for v in values]
        curves.append(Curve(means, column, style))
    return curves


def _gradient(member: MemberState) -> float | None:
    """The norm of the whole gradient when it was last recorded; None if it never was."""
    if not member.health:
        return None
    epoch = member.health[-1][0]
    squares = 0.0
    for row in reversed(member.health):
        if row[0] != epoch:
            break
        norm = row[_GRADIENT]
        squares += float(norm) ** 2 if isinstance(norm, float) else 0.0
    return math.sqrt(squares)


def _spread(values: Sequence[float]) -> str:
    if len(set(values)) == 1:
        return value(values[0])
    return spread({"mean": fmean(values), "sd": stdev(values)})
