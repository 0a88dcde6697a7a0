"""What a look at a run finds: one remark a topic, each with what to do next."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np

from nnexp.errors import count

Grade = Literal["good", "look", "bad", "unknown"]


@dataclass(frozen=True)
class Remark:
    """What was found about one topic.

    verdict: in a few words; text: the numbers it rests on; advice: one concrete next step, empty
    where nothing need be done; step, command: the same in a few words, and as a command where it
    is one. grade: how bad that is. numbers: the same for programs.
    """

    topic: str
    verdict: str
    grade: Grade
    text: str
    advice: str = ""
    step: str = ""
    command: str = ""
    numbers: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def unknown(topic: str, why: str, advice: str = "", step: str = "", command: str = "") -> Remark:
    """A topic about which nothing can be told."""
    return Remark(topic, "can't be told", "unknown", why, advice, step, command)


def share(x: float) -> str:
    """A share as per cent with two digits, more of a large one: `0.35 %`, `4.4 %`, `96.4 %`."""
    points = 100 * x
    if points == 0:
        return "0 %"
    if abs(points) < 0.95:
        return f"{points:.2g} %"
    return f"{points:.1f} %"


def majority(verdicts: Sequence[str]) -> str:
    """The verdict that most members have; of equally many the first."""
    return Counter(verdicts).most_common(1)[0][0]


def votes(verdicts: Sequence[str]) -> str:
    """How the members' verdicts divide: `flat (3 of 5), still improving (2)`; empty if they agree
    or there is only one.
    """
    kinds = Counter(verdicts).most_common()
    if len(kinds) < 2:
        return ""
    (first, most), *others = kinds
    told = [f"{first} ({most} of {len(verdicts)})", *(f"{name} ({n})" for name, n in others)]
    return ", ".join(told)


def over(values: Sequence[float], form: str = ".3g") -> str:
    """The median of the members' values, and their range where there are several."""
    low, middle, high = (float(f(values)) for f in (np.min, np.median, np.max))
    if len(values) < 2 or low == high:
        return f"{middle:{form}}"
    return f"{middle:{form}} ({low:{form}} to {high:{form}})"


def of_members(number: int, members: int) -> str:
    """`3 of 5 models`"""
    return f"{number} of {count(members, 'model')}"
