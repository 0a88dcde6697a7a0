"""Timings in rounds, and the figures that follow from them."""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from rich.console import Console
from rich.progress import track


@dataclass(frozen=True)
class Timing:
    """What one contender took: `seconds`, one a round (a step and member, or a whole process)."""

    case: str
    who: str
    seconds: tuple[float, ...]

    def to_json(self) -> dict[str, Any]:
        return {"case": self.case, "who": self.who, "seconds": list(self.seconds)}


@dataclass(frozen=True)
class Figure:
    """A measured quantity, and what is promised of it.

    values: one a round. unit: "×" for a ratio, "s", "GB".
    bound: the largest median that keeps the promise (None: none is made). goal: what is hoped for.
    problem: why there is no value, if so.
    """

    case: str
    what: str
    values: tuple[float, ...]
    unit: str = "×"
    bound: float | None = None
    goal: float | None = None
    problem: str = ""

    @property
    def value(self) -> float:
        """The median over rounds."""
        return median(self.values)

    @property
    def missed(self) -> bool:
        """Whether a promise is broken, or could not be measured."""
        return self.bound is not None and (bool(self.problem) or self.value > self.bound)

    @property
    def verdict(self) -> str:
        if self.problem:
            return self.problem
        if self.bound is None:
            return ""
        if self.missed:
            return "MISSED"
        return "goal met" if self.goal is not None and self.value <= self.goal else "kept"

    def to_json(self) -> dict[str, Any]:
        measured = {}
        if self.values:
            measured = {"median": self.value, "low": min(self.values), "high": max(self.values)}
        return {
            **{"case": self.case, "what": self.what, "unit": self.unit, **measured},
            **{"values": list(self.values), "bound": self.bound, "goal": self.goal},
            **{"missed": self.missed, "problem": self.problem},
        }


@dataclass
class Found:
    """What a section found."""

    timings: list[Timing]
    figures: list[Figure]
    notes: list[str]


def interleave(
    contenders: Mapping[str, Callable[[], float]], rounds: int, what: str
) -> dict[str, tuple[float, ...]]:
    """Each contender's measurements, taken in turn (A B C, A B C, …) after a warm-up of each.

    So a change in the machine's load meets all of them alike. Garbage is collected before each,
    and not during it.
    """
    taken: dict[str, list[float]] = {name: [] for name in contenders}
    console = Console(stderr=True)
    for turn in track(
        range(rounds + 1), what, console=console, transient=True, disable=not console.is_terminal
    ):
        for name, run in contenders.items():
            gc.collect()
            gc.freeze()  # what is there now (modules, data) need not be looked through again
            gc.disable()
            try:
                seconds = run()
            finally:
                gc.enable()
            if turn:  # the first is the warm-up
                taken[name].append(seconds)
    gc.unfreeze()
    return {name: tuple(values) for name, values in taken.items()}


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> tuple[float, ...]:
    """Ours over theirs, within each round."""
    return tuple(a / b for a, b in zip(ours, theirs, strict=True))
