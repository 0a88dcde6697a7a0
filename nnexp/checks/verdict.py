"""What a check finds."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, get_args

Judgement = Literal["pass", "look", "fail"]


@dataclass(frozen=True)
class Verdict:
    """What one check finds: nothing, something worth a look, or a mistake.

    text: what was seen. advice: what to do about it; "" if nothing is to be done.
    """

    name: str
    verdict: Judgement
    text: str
    advice: str = ""


def judged(name: str, text: str, *, look: bool, fail: bool = False, advice: str = "") -> Verdict:
    """A verdict from what speaks for `fail`, and for `look` if nothing does; advice if it isn't
    `pass`."""
    verdict: Judgement = "fail" if fail else "look" if look else "pass"
    return Verdict(name, verdict, text, "" if verdict == "pass" else advice)


def counted(verdicts: Iterable[Verdict]) -> str:
    """How many there are of each judgement: `11 pass, 1 look`."""
    found = [verdict.verdict for verdict in verdicts]
    there = [judgement for judgement in get_args(Judgement) if judgement in found]
    return ", ".join(f"{found.count(judgement)} {judgement}" for judgement in there)
