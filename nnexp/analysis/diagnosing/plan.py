"""What to mend first of all that a diagnosis finds: one step, so that the next run tells."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from shlex import quote
from typing import Any

from nnexp.analysis.diagnosing import bias_variance as gaps
from nnexp.analysis.diagnosing import start
from nnexp.analysis.diagnosing.curves import IMPROVING, OVERFITTING, PROGRESS, WORSENING
from nnexp.analysis.diagnosing.layers import HEALTHY
from nnexp.analysis.diagnosing.layers import TOPIC as LAYERS
from nnexp.analysis.diagnosing.remark import Remark
from nnexp.analysis.results import Result

DIVERGENCE = "divergence"
_BROKEN = ("vanishing gradient", "exploding gradient", "updates too large")


@dataclass(frozen=True)
class Step:
    """What to do first. topic: the finding that asks for it, with its verdict; empty if none does.
    command: which does it, empty where it takes more than one.
    """

    text: str
    command: str = ""
    topic: str = ""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def next_step(result: Result, split: str, remarks: Sequence[Remark]) -> Step:
    """The step that the most basic finding asks for: first that training works at all, then that
    its best weights are kept, then bias, then variance, then what only may help.
    """
    found, path = {remark.topic: remark for remark in remarks}, quote(str(result.path))
    for remark in _by_weight(found):
        if remark.step and remark.grade != "unknown":
            return Step(remark.step, remark.command, f"{remark.topic}: {remark.verdict}")
    if result.summary.get("task") == "words":
        return Step("Ask it about words you know", f"nnexp neighbours {path} WORD")
    # Of too few epochs, or without dev, nothing can be told: then that is what to change.
    rise = found.get(OVERFITTING)
    if rise and rise.step and rise.grade == "unknown":
        return Step(rise.step, rise.command)
    if split == "dev" and result.part("test"):
        text = "Nothing is left to mend by dev: what counts now is the score on test"
        return Step(text, f"nnexp eval {path}")
    return Step("Nothing stands out: compare it with another config (nnexp compare)")


def _by_weight(found: dict[str, Remark]) -> Iterator[Remark]:
    """The findings that ask for something, the most basic first."""
    layers, rise, end = (found.get(topic) for topic in (LAYERS, OVERFITTING, PROGRESS))
    gap = found.get(gaps.TOPIC)
    high = "" if gap is None else gap.verdict
    biased = high.startswith(gaps.HIGH_BIAS) or high == gaps.GUESSING
    if DIVERGENCE in found:
        yield found[DIVERGENCE]
    if (told := found.get(start.TOPIC)) and told.verdict == start.FAILED:
        yield told
    if layers and biased and any(kind in layers.verdict for kind in _BROKEN):
        yield layers
    if high not in (gaps.HIGH_BIAS, gaps.GUESSING):
        if rise and rise.grade == "bad":
            yield rise
        if end and end.verdict == WORSENING:
            yield end
    if gap and gap.grade != "unknown" and high != gaps.LOW_BOTH:
        yield gap
    if layers and biased and layers.verdict != HEALTHY:
        yield layers
    if end and end.verdict == IMPROVING:
        yield end
