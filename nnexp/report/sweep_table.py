"""The trials of a sweep as positions on axes: what its pictures are drawn from."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

LOG_FROM = 30.0
"""Positive numbers that span more than this factor are on a log scale if nobody says which."""
_MOST_TICKS = 6


@dataclass(frozen=True)
class Axis:
    """A scale from 0 to 1 with ticks.

    scale: "linear", "log", "one_minus_log" or "choice".
    options: of a choice, the texts in trials.csv, one beside the other.
    """

    key: str
    scale: str
    low: float = 0.0
    high: float = 1.0
    options: tuple[str, ...] = ()

    def place(self, text: str) -> float:
        """The position of a cell of trials.csv; NaN for an empty one."""
        if self.scale == "choice":
            if text not in self.options:
                return math.nan
            return (self.options.index(text) + 0.5) / len(self.options)
        return self.at(number(text))

    def at(self, x: float) -> float:
        """The position of a number; NaN where the scale has none."""
        low, high = self._bent(self.low), self._bent(self.high)
        bent = self._bent(x)
        return 0.5 if low == high and math.isfinite(bent) else (bent - low) / ((high - low) or 1.0)

    def _bent(self, x: float) -> float:
        x = 1.0 - x if self.scale == "one_minus_log" else x
        if self.scale in ("log", "one_minus_log"):
            bent = math.log(x) if x > 0 else math.nan
            return -bent if self.scale == "one_minus_log" else bent
        return x

    def ticks(self) -> list[tuple[float, str]]:
        """Positions and texts of a few round values."""
        if self.scale == "choice":
            places = map(self.place, self.options)
            return list(zip(places, titles(self.options), strict=True))
        if self.scale == "log":
            values = _decades(self.low, self.high)
        elif self.scale == "one_minus_log":
            values = [1.0 - x for x in _decades(1.0 - self.high, 1.0 - self.low)]
        else:
            values = _steps(self.low, self.high)
        return [(self.at(x), f"{x:.6g}") for x in values]


def axis_of(key: str, cells: Sequence[str], scale: str | None = None) -> Axis:
    """The axis on which a column's cells all have a place.

    scale: what the sweep searched on; without one it is told from the values.
    """
    there = [cell for cell in cells if cell]
    numbers = np.array([number(cell) for cell in there])
    if scale == "choice" or not len(numbers) or not np.isfinite(numbers).all():
        return Axis(key, "choice", options=tuple(sorted(set(there), key=_order)))
    low, high = float(numbers.min()), float(numbers.max())
    if scale is None:
        scale = "log" if 0 < low * LOG_FROM < high else "linear"
    fits = {"log": low > 0, "one_minus_log": high < 1}
    return Axis(key, scale if fits.get(scale, True) else "linear", low, high)


def number(text: str) -> float:
    """NaN if it is none."""
    try:
        return float(text)
    except ValueError:
        return math.nan


def titles(options: Sequence[str]) -> list[str]:
    """Short texts for the values of a choice: a component's name, if that tells them apart."""
    names = [_name(option) for option in options]
    return [
        name if names.count(name) == 1 else option
        for name, option in zip(names, options, strict=True)
    ]


def _name(option: str) -> str:
    try:
        found = json.loads(option)
    except ValueError:
        return option
    return str(found["name"]) if isinstance(found, Mapping) and "name" in found else option


def _order(text: str) -> tuple[bool, float, str]:
    value = number(text)
    return (True, 0.0, text) if math.isnan(value) else (False, value, text)


def _decades(low: float, high: float) -> list[float]:
    """Powers of ten between two positive ends, with 2 and 5 of each if there is room."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    for factors, step in (((1, 2, 5), 1), ((1, 3), 1), ((1,), 1), ((1,), 2), ((1,), 3), ((1,), 6)):
        found = [f * 10.0**e for e in range(first, last + 1, step) for f in factors]
        inside = [x for x in found if low * (1 - 1e-9) <= x <= high * (1 + 1e-9)]
        if len(inside) <= _MOST_TICKS:
            return inside if len(inside) > 1 else _steps(low, high)
    return [low, high]


def _steps(low: float, high: float) -> list[float]:
    """Round numbers between two ends: about four equal steps."""
    if low == high:
        return [low]
    rough = (high - low) / 4
    unit = 10.0 ** math.floor(math.log10(rough))
    step = min((f * unit for f in (1, 2, 2.5, 5, 10)), key=lambda s: abs(math.log(s / rough)))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [n * step for n in range(first, last + 1)]
