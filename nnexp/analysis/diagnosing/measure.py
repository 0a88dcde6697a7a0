"""Metrics read as errors: shares that are 0 at best."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from nnexp.analysis.results import Result
from nnexp.components.metrics.metric import Metric
from nnexp.errors import NnexpError, UsageError


@dataclass(frozen=True)
class Measure:
    """A metric read as an error: a share, which is 0 at best.

    label: what the error is called. complement: whether it is 1 − the metric. unit: the metric
    that has the targets' units, trivial: what it is of predicting the targets' mean, by whose
    square its square is a share; "" and 0 of other errors.
    """

    metric: str
    label: str
    complement: bool = False
    unit: str = ""
    trivial: float = 0.0

    def error(self, value: float) -> float:
        if self.complement:
            return 1.0 - value
        return self.share(value) if self.trivial else value

    def share(self, value: float) -> float:
        """What is in the targets' units as a share."""
        return (value / self.trivial) ** 2

    def slope(self, error: float) -> float:
        """|d error / d metric| at an error."""
        return 1.0 if self.complement or not self.trivial else 2.0 * error**0.5 / self.trivial

    def spread(self, error: float) -> float:
        """How much an error's variance over examples depends on how large it is, as a factor."""
        squared = self.trivial or self.metric == "r2"
        return error**2 if squared else error * (1.0 - error)


def measure(result: Result, split: str) -> Measure | None:
    """The primary metric if it can be read as an error, else another that can; None without."""
    known, of_both = result.part("train"), {"rmse", "r2"}
    if of_both <= known.keys() and of_both <= result.part(split).keys():
        # each split by its own variance: targets of train may vary more than those of dev
        return Measure("r2", "1 − r2", True, "rmse", _trivial(result, split, "rmse"))
    for name in (str(result.summary.get("primary")), "error", "accuracy", "rmse", "r2", "mae"):
        cls = Metric.registered.get(name)
        if name not in known or cls is None or not issubclass(cls, Metric):
            continue
        if cls.bounds == (0.0, 1.0) or name == "r2":
            complement = cls.higher_is_better
            return Measure(name, f"1 − {name}" if complement else name, complement)
        if name in ("rmse", "mae") and (trivial := _trivial(result, split, name)) > 0:
            whole = "the variance" if name == "rmse" else "that of the mean"
            return Measure(name, f"{name}² over {whole}", unit=name, trivial=trivial)
    return None


def _trivial(result: Result, split: str, metric: str) -> float:
    """The metric of predicting every target's mean; 0 if it can't be told."""
    try:
        apart = result.alive[0].predictions(split).numbers("target")
    except NnexpError:
        return 0.0
    if len(apart) < 2:
        return 0.0
    apart = apart - apart.mean(axis=0)
    return float(np.sqrt((apart**2).mean()) if metric == "rmse" else np.abs(apart).mean())


def parsed(best: str | float) -> tuple[float, bool]:
    """A best possible error as it was given: a number of 0 or more, and whether it is per cent.

    Raises UsageError.
    """
    text = str(best).strip()
    number = text.removesuffix("%")
    try:
        value = float(number)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise UsageError(
            f"--best-possible: should be an error of 0 or more, such as 0.02 or 2%; got {text}"
        )
    return value, number != text


def given_error(best: str | float, by: Measure) -> float:
    """The best possible error as a share; it is given as that, or in the target's units."""
    value, per_cent = parsed(best)
    if by.trivial and not per_cent:
        return by.share(value)
    value = value / 100 if per_cent else value
    if value > 1:
        raise UsageError(
            f"--best-possible: here an error is a share ({by.label}), from 0 to 1 or with %, such "
            f"as 2%; got {best}"
        )
    return value
