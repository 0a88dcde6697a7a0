"""A finding in words: one of four verdicts, and sentences that say how far it reaches."""

from __future__ import annotations

import math
from dataclasses import dataclass

from nnexp.analysis.comparing.findings import AGAINST, DATA, MODELS, SPLIT, THESE, Finding
from nnexp.stats import LEVEL, Bounds, Estimate

BETTER, WORSE = "better", "worse"
NOT_SHOWN, EQUIVALENT = "no difference shown", "equivalent"

ALPHA = 1 - LEVEL

_REACH = {
    (MODELS, "run"): "This speaks of these two models, not of the two recipes: another seed may "
    "turn it round. Train both with --seeds to compare the recipes.",
    (
        THESE,
        "run",
    ): "This speaks of these two models: another training of either may turn it round. "
    "Train the run with --seeds, and compare the group with the file.",
    (THESE, "seed"): "This speaks of these models on examples like these, not of new seeds.",
    (
        AGAINST,
        "seed",
    ): "This speaks of new seeds and new test examples like these, against this one "
    "model from elsewhere: how another training of it would do is not in it, nor what another "
    "training set would change.",
    (SPLIT, "seed"): "This speaks of new seeds on this split only: other test examples may turn it "
    "round.",
    (
        DATA,
        "seed",
    ): "This speaks of new seeds and new test examples like these; the training set is "
    "the same in all, so what another one would change is not in it (--splits tells).",
    (DATA, "split"): "This speaks of new splits of data like this, training sets included.",
}


@dataclass(frozen=True)
class Words:
    """How sentences name what is compared: labels, `test accuracy`, and what the groups vary."""

    a: str
    b: str
    metric: str
    varies: str
    """ "run" (two single runs), "seed" or "split"."""


def decide(
    finding: Finding, p_value: float | None, p_equivalent: float | None, higher_is_better: bool
) -> str:
    """B in relation to A. Both p may be adjusted for the number of pairs.

    With a margin, a difference that is surely within it is "equivalent", even if it isn't zero.
    """
    if p_equivalent is not None and p_equivalent < ALPHA:
        return EQUIVALENT
    if p_value is not None and p_value < ALPHA:
        return BETTER if (finding.estimate.difference > 0) == higher_is_better else WORSE
    return NOT_SHOWN


def sentence(
    verdict: str,
    finding: Finding,
    words: Words,
    interval: Bounds | None,
    p_value: float | None,
    margin: float | None,
) -> str:
    """The verdict with its numbers, the notes, and what it speaks of.

    p_value: as it was decided by, so adjusted where there are several pairs.
    """
    d = finding.estimate.difference
    numbers = f"{words.metric} differs by {d:+.3g} ({words.b} − {words.a}"
    if interval is not None:
        numbers += f"; 95 % interval {interval[0]:.3g} to {interval[1]:.3g}"
    if p_value is not None:
        numbers += f"; p {p_text(p_value)}, {finding.estimate.test}"
    numbers += ")"
    parts = [f"{_claim(verdict, words, margin)}: {numbers}.", *_why_untested(finding, words)]
    if verdict == EQUIVALENT and p_value is not None and p_value < ALPHA:
        parts.append("There is a difference, but it is smaller than the margin.")
    if verdict == NOT_SHOWN:
        parts += _sensitivity(finding, words)
    parts += finding.notes
    parts.append(_REACH[finding.scope, words.varies])
    return " ".join(parts)


def members_sentence(estimate: Estimate, words: Words, margin: float) -> str:
    """How many seeds or splits find a true difference as large as the margin; may be empty."""
    if estimate.per_member is None or not estimate.testable:
        return ""
    needed = estimate.members_needed(margin)
    found = f"a true difference of {margin:.4g} with 80 % power"
    if needed is None:
        what = "test examples" if words.varies == "seed" else "examples"
        return f"No number of {words.varies}s finds {found}: more {what} are needed."
    return f"About {needed} {words.varies}s of each find {found}."


def p_text(p: float) -> str:
    """`= 0.013`: two digits, and no more precision than anyone needs."""
    return "< 0.0001" if p < 1e-4 else f"= {p:.2g}"


def _claim(verdict: str, words: Words, margin: float | None) -> str:
    if verdict in (BETTER, WORSE):
        return f"{words.b} is {verdict} than {words.a}"
    if verdict == EQUIVALENT:
        return f"{words.b} and {words.a} are equivalent within the margin of {margin:.4g}"
    return f"No difference between {words.b} and {words.a} is shown"


def _why_untested(finding: Finding, words: Words) -> list[str]:
    if finding.estimate.testable or math.isnan(finding.estimate.error):
        return []  # what is missing stands in a note
    what = {"run": "test example", "seed": "seed and example", "split": "split"}[words.varies]
    return [f"There is no variance: every {what} says the same, so nothing can be tested."]


def _sensitivity(finding: Finding, words: Words) -> list[str]:
    detectable = finding.estimate.detectable
    if detectable is None:
        return []
    given = "test examples" if words.varies == "run" else f"{words.varies}s"
    return [
        "That does not mean that there is none: with these "
        f"{given} a difference of {detectable:.3g} would be found with 80 % power."
    ]
