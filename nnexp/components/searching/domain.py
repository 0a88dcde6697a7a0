"""Domains: which values a search may try for a key, and on what scale."""

from __future__ import annotations

import math
from typing import Any, Literal

from pydantic import field_validator, model_validator

from nnexp.registry import Spec, param, rule

DIGITS = 6
"""Significant digits of the numbers that are tried: a config that wins is to be readable."""


class Domain(Spec, family="domain"):
    """Values to try for a key. A position u, 0 ≤ u ≤ 1, stands for each: equal steps of u are equal
    steps on the domain's scale.
    """

    @property
    def count(self) -> int | None:
        """How many values there are to choose from; None for numbers on a scale."""
        return None

    @property
    def scale(self) -> str:
        """On which equal steps are equal: linear, log, one_minus_log, or choice for none."""
        return "linear"

    def at(self, u: float | int) -> Any:
        """The value at a position (of a choice: with a number)."""
        raise NotImplementedError


class Choice(Domain):
    """One of the values that are listed: numbers, texts, lists, or whole components.

    A component may hold domains of its own: `[constant, {name: one_cycle, pct_start: {uniform:
    [0.1, 0.5]}}]`.

    Use: for what has no scale, such as an activation, a schedule, or the sizes of layers.
    """

    name: Literal["choice"] = "choice"
    also = ("categorical", "values", "one_of", "options")
    shorthand = "options"
    options: list[Any] = param(..., "the values", min_length=1, max_length=1000)

    @property
    def count(self) -> int | None:
        return len(self.options)

    @property
    def scale(self) -> str:
        return "choice"

    def at(self, u: float | int) -> Any:
        return self.options[int(u)]


class Numbers(Domain):
    """Numbers between two ends."""

    shorthand = "range"
    range: list[float] | None = param(
        None, "lowest and highest value", min_length=2, max_length=2, when="null: the key's own"
    )

    @field_validator("range")
    @classmethod
    def _ascending(cls, value: list[float] | None) -> list[float] | None:
        if value is not None and not value[0] < value[1]:
            raise rule("should be [lowest, highest]", allowed="two numbers, the second larger")
        return value

    @property
    def ends(self) -> tuple[float, float]:
        """Lowest and highest value."""
        assert self.range is not None, "the key's own range is filled in before"
        low, high = self.range
        return low, high

    def at(self, u: float | int) -> Any:
        low, high = self.ends
        return min(max(float(f"{self.between(u):.{DIGITS}g}"), low), high)

    def between(self, u: float) -> float:
        """The number at a position, with all its digits."""
        raise NotImplementedError

    def slope(self, u: float) -> float:
        """How fast the number changes with its position."""
        low, high = max(u - 1e-4, 0.0), min(u + 1e-4, 1.0)
        return (self.between(high) - self.between(low)) / (high - low)


class Uniform(Numbers):
    """Numbers on a linear scale: x = low + u (high − low).

    Use: for shares and angles, such as dropout.
    """

    name: Literal["uniform"] = "uniform"
    also = ("linear", "float")

    def between(self, u: float) -> float:
        low, high = self.ends
        return low + u * (high - low)


class LogUniform(Numbers):
    """Numbers on a logarithmic scale: x = low (high / low)^u.

    Use: for what matters by its order of magnitude: learning rates, penalties, widths of noise.
    """

    name: Literal["log_uniform"] = "log_uniform"
    also = ("log", "loguniform", "log10")

    @property
    def scale(self) -> str:
        return "log"

    @field_validator("range")
    @classmethod
    def _positive(cls, value: list[float] | None) -> list[float] | None:
        if value is not None and value[0] <= 0:
            raise rule("a logarithmic scale has no 0", allowed="numbers above 0")
        return value

    def between(self, u: float) -> float:
        low, high = self.ends
        return math.exp(math.log(low) + u * (math.log(high) - math.log(low)))


class OneMinusLog(Numbers):
    """Numbers whose distance from 1 is on a logarithmic scale: 1 − x = (1 − low) ((1 − high) /
    (1 − low))^u.

    Use: for momentum and other shares that are kept, where 0.9, 0.99, 0.999 are equal steps.
    """

    name: Literal["one_minus_log"] = "one_minus_log"
    also = ("log1m", "one_minus_log_uniform", "log_one_minus")

    @property
    def scale(self) -> str:
        return "one_minus_log"

    @field_validator("range")
    @classmethod
    def _below_one(cls, value: list[float] | None) -> list[float] | None:
        if value is not None and value[1] >= 1:
            raise rule("the distance from 1 has no logarithm there", allowed="numbers below 1")
        return value

    def between(self, u: float) -> float:
        low, high = (math.log(1.0 - end) for end in self.ends)
        return 1.0 - math.exp(low + u * (high - low))


class Int(Domain):
    """Whole numbers between two ends, both among them.

    Use: for units, layers, batch sizes (`log: true` makes 16 → 32 as large a step as 64 → 128).
    """

    name: Literal["int"] = "int"
    also = ("integer", "randint", "int_uniform")
    shorthand = "range"
    range: list[int] | None = param(
        None, "lowest and highest value", min_length=2, max_length=2, when="null: the key's own"
    )
    log: bool = param(False, "on a logarithmic scale")

    @property
    def scale(self) -> str:
        return "log" if self.log else "linear"

    @model_validator(mode="after")
    def _ordered(self) -> Int:
        if self.range is not None:
            if not self.range[0] < self.range[1]:
                raise rule("should be [lowest, highest]", allowed="two numbers, the second larger")
            if self.log and self.range[0] < 1:
                raise rule("a logarithmic scale has no 0", allowed="numbers from 1")
        return self

    @property
    def ends(self) -> tuple[int, int]:
        """Lowest and highest value."""
        assert self.range is not None, "the key's own range is filled in before"
        low, high = self.range
        return low, high

    def at(self, u: float | int) -> int:
        low, high = self.ends
        if self.log:
            found = math.exp(math.log(low) + u * (math.log(high + 1) - math.log(low)))
        else:
            found = low + u * (high + 1 - low)
        return min(max(math.floor(found), low), high)
