"""When runs reach a goal, such as `time_to(dev/accuracy >= 0.95)`: what "faster" means.

A run that never arrives is known to be later than all that do, and no more (it is censored). So
groups are described by how many arrive and by the median, and compared by ranks.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from nnexp.analysis.comparing.compare import letters, read_all, same_loss
from nnexp.analysis.comparing.verdict import ALPHA, NOT_SHOWN, p_text
from nnexp.analysis.results import Result, as_number
from nnexp.errors import RunError, UsageError, nearest
from nnexp.stats import FloatArray, holm, rank_test

UNITS = ("epochs", "steps", "examples", "seconds")
FASTER, SLOWER = "faster", "slower"
_REACHES: dict[str, Callable[[FloatArray, float], Any]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}
_SPELT = re.compile(r"time_to\(\s*([^\s<>=!≥≤,]+)\s*([<>=!≥≤]+)\s*([^\s,]+)\s*(?:,\s*(\S+)\s*)?\)")


@dataclass(frozen=True)
class Goal:
    """`column` of metrics.csv comes to stand in the relation to `value`; counted in `unit`."""

    column: str
    relation: str
    value: float
    unit: str = "epochs"

    def __str__(self) -> str:
        return f"time_to({self.column} {self.relation} {self.value:g}, {self.unit})"


@dataclass(frozen=True)
class Times:
    """When each run of a side reaches the goal; None for one that never does.

    median: over all runs, those that never arrive being last; None if it is one of these.
    """

    label: str
    name: str
    path: Path
    kind: str
    varies: str | None
    times: tuple[float | None, ...]

    @property
    def arrived(self) -> int:
        return sum(time is not None for time in self.times)

    @property
    def median(self) -> float | None:
        middle = float(np.median(_ranked(self.times)))
        return middle if math.isfinite(middle) else None

    def to_json(self) -> dict[str, Any]:
        data = {**asdict(self), "arrived": self.arrived, "median": self.median}
        return data | {"members": len(self.times)}


@dataclass(frozen=True)
class TimePair:
    """B held against A. first: the chance that a run of B arrives before one of A (ties half).

    p_value: of the rank test, p_adjusted Holm's over all pairs; None where nothing is tested.
    """

    a: str
    b: str
    first: float
    p_value: float | None
    p_adjusted: float | None
    verdict: str | None
    sentence: str


@dataclass(frozen=True)
class TimeComparison:
    """What `nnexp compare --metric "time_to(…)"` shows."""

    goal: Goal
    sides: tuple[Times, ...]
    pairs: tuple[TimePair, ...]
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        return {
            "metric": str(self.goal),
            "unit": self.goal.unit,
            "runs": [side.to_json() for side in self.sides],
            "pairs": [asdict(pair) for pair in self.pairs],
            "notes": list(self.notes),
        }


def is_goal(metric: str | None) -> bool:
    """Whether a metric is a time to reach something."""
    return metric is not None and metric.strip().startswith("time_to")


def parse(text: str) -> Goal:
    """The goal that is written; UsageError if it is none."""
    spelt = _SPELT.fullmatch(text.strip())
    if spelt is None:
        raise UsageError(
            "a time should be written as time_to(COLUMN >= NUMBER) or time_to(COLUMN <= NUMBER, "
            f"UNIT), such as time_to(dev/accuracy >= 0.95) (received: {text})"
        )
    column, relation, number, unit = spelt.groups()
    if relation not in _REACHES:
        raise UsageError(
            f"time_to: '{relation}' is not a relation (allowed: {', '.join(_REACHES)})"
        )
    try:
        value = float(number)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise UsageError(f"time_to: '{number}' is not a number")
    unit = unit or UNITS[0]
    if unit not in UNITS:
        raise UsageError(
            f"time_to: '{unit}' is not a unit (allowed: {', '.join(UNITS)})" + _hint(unit, UNITS)
        )
    return Goal(column, relation, value, unit)


def times(result: Result, goal: Goal, label: str = "A") -> Times:
    """When a run, or each run of a group, reaches the goal. Raises UsageError, RunError."""
    return Times(
        label,
        str(result.config.get("name") or result.path.resolve().name),
        result.path,
        result.kind,
        str(result.manifest.get("varies", "seed")) if result.members else None,
        tuple(_time(run, goal) for run in result.runs),
    )


def compare_times(paths: Sequence[Path], goal: Goal) -> TimeComparison:
    """Compares two or more runs, or two or more groups, by when they reach the goal.

    Raises UsageError for what can't be compared, RunError and DamagedRun for what can't be read.
    """
    results = read_all(paths)
    if goal.column.partition("/")[2] == "loss" and not same_loss(results):
        raise UsageError(
            f"the runs minimize different losses, so {goal.column} can't be compared: choose a "
            "goal in another column"
        )
    sides = tuple(times(result, goal, letters(i)) for i, result in enumerate(results))
    return TimeComparison(goal, sides, _pairs(sides, goal), notes(sides, goal))


def notes(sides: Sequence[Times], goal: Goal) -> tuple[str, ...]:
    """What a reader must know to understand the times."""
    told = []
    if goal.unit == "seconds":
        told.append(
            "Seconds are a run's training time, shared out evenly over its epochs; members that "
            "trained together have an equal share of their time."
        )
    if len(sides) == 1:
        return tuple(told)
    if sides[0].kind == "run":
        told.append(
            "These are single runs: another seed may turn it round. Train groups with --seeds to "
            "compare the recipes."
        )
    elif any(side.varies == "split" for side in sides):
        told.append(
            "Training sets of different splits overlap, so ranks over splits are not tested; "
            "groups that vary the seed are."
        )
    return tuple(told)


def _time(run: Result, goal: Goal) -> float | None:
    if "ensemble" in run.manifest:
        raise UsageError(f"{run.path} is a committee, which has no epochs: compare its members")
    history = run.history()
    if not history:
        return None
    if goal.column not in history:
        columns = [name for name in history if "/" in name]
        raise UsageError(
            f"{run.path / 'metrics.csv'} has no column '{goal.column}' (it has: "
            f"{', '.join(columns)})" + _hint(goal.column, columns)
        )
    there = np.flatnonzero(_REACHES[goal.relation](history[goal.column], goal.value))
    if len(there) == 0:
        return None
    epoch = _column(run, history, "epoch")
    if goal.unit == "steps":
        return float(_column(run, history, "step")[there[0]])
    reached = float(epoch[there[0]])
    if goal.unit == "examples":
        return reached * _examples(run)
    if goal.unit == "seconds":
        seconds = as_number(run.manifest.get("seconds"))
        if seconds is None:
            raise RunError(f"{run.path}: manifest.json does not say how many seconds it took")
        return round(seconds * reached / float(epoch[-1]), 3)  # as exact as the manifest
    return reached


def _column(run: Result, history: dict[str, FloatArray], name: str) -> FloatArray:
    if name not in history or not np.all(history[name] > 0):
        raise RunError(f"{run.path / 'metrics.csv'}: column '{name}' should be numbers above 0")
    return history[name]


def _examples(run: Result) -> float:
    """Training examples an epoch."""
    split = run.manifest.get("split")
    counts = split.get("counts") if isinstance(split, dict) else None
    count = as_number(counts.get("train")) if isinstance(counts, dict) else None
    if count is None:
        raise RunError(f"{run.path}: manifest.json does not say how many examples are in train")
    return count


def _pairs(sides: Sequence[Times], goal: Goal) -> tuple[TimePair, ...]:
    chosen = list(combinations(sides, 2))
    found = [_rank(a, b) for a, b in chosen]
    adjusted = holm([p for _, p in found])
    return tuple(
        TimePair(a.label, b.label, first, p, q, *_words(a, b, goal, first, q))
        for (a, b), (first, p), q in zip(chosen, found, adjusted, strict=True)
    )


def _rank(a: Times, b: Times) -> tuple[float, float | None]:
    """The chance that B is first, and the p of the rank test where there is one."""
    chance, p = rank_test(_ranked(a.times), _ranked(b.times))
    tested = a.varies == b.varies == "seed" and min(len(a.times), len(b.times)) > 1
    return chance, p if tested else None


def _words(a: Times, b: Times, goal: Goal, first: float, p: float | None) -> tuple[str | None, str]:
    """The verdict and the sentence; for what is not tested the numbers only."""
    shown = f"{goal.column} {goal.relation} {goal.value:g}"
    numbers = f"{_told(a, goal)}; {_told(b, goal)}"
    if a.kind == "run" or a.varies == "split" or b.varies == "split":
        return None, f"{shown}: {numbers}."
    test = f"p {p_text(p)}, Mann–Whitney's rank test, runs that never arrive last" if p else ""
    verdict = NOT_SHOWN
    if p is not None and p < ALPHA:
        verdict = FASTER if first > 0.5 else SLOWER
        claim = f"{b.label} is {verdict} than {a.label}"
    else:
        claim = f"No difference between {b.label} and {a.label} is shown"
    text = f"{claim}: {shown} is reached by {numbers}" + (f" ({test})." if test else ".")
    if not test:
        text += " Nothing can be tested: there are too few seeds, or all times are equal."
    elif 2 / math.comb(len(a.times) + len(b.times), len(a.times)) >= ALPHA:
        text += " With so few seeds no difference could be shown."
    return verdict, f"{text} This speaks of new seeds on this split only."


def _told(side: Times, goal: Goal) -> str:
    """`A in 12 epochs`, or `5 of 8 of A, the median in 12 epochs`."""
    if side.kind == "run":
        when = "never" if side.median is None else f"in {side.median:,.6g} {goal.unit}"
        return f"{side.label} {when}"
    text = f"{side.arrived} of {len(side.times)} of {side.label}"
    return text + (f", the median in {side.median:,.6g} {goal.unit}" if side.median else "")


def _ranked(values: Sequence[float | None]) -> FloatArray:
    """Infinite for those that never arrive."""
    return np.array([math.inf if x is None else x for x in values], dtype=np.float64)


def _hint(name: str, allowed: Sequence[str]) -> str:
    close = nearest(name, allowed)
    return f"; did you mean '{close}'?" if close else ""
