"""What each part of a config contributes: effects of a factorial or leave-one-out design.

A *factor* is on or off; a *cell* is a group of runs with some factors off. With the scores X_c of
cell c and signs s_A(c) = +1 where A is on and −1 where it is off, in a factorial design of k
factors (Montgomery, "Design and analysis of experiments", chapter 6, the 2^k design):

    main effect of A      Σ_c s_A(c)·X_c / 2^(k−1): the mean with A on minus the mean with A off
    interaction of A, B   Σ_c s_A(c)·s_B(c)·X_c / 2^(k−1): half of how much more A does with B on
                          than with B off

and in the leave-one-out design the effect of A is X_all − X_without A. Each is a contrast Σ w_c·X_c
of groups that share their seeds and test examples, so it is taken seed by seed and example by
example, and the mean of that matrix has the two-way variance of `stats.two_way`. p-values are
Holm's (1979), over all effects of the table.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

from nnexp.analysis.comparing.compare import choose_metric, choose_split
from nnexp.analysis.comparing.crossed import read_crossed
from nnexp.analysis.comparing.findings import DATA, Finding
from nnexp.analysis.comparing.verdict import ALPHA, p_text
from nnexp.analysis.results import Result
from nnexp.analysis.scores import bounds_of, difference_bounds
from nnexp.stats import Bounds, describe, holm

FACTORIAL, LEAVE_ONE_OUT = "factorial", "leave_one_out"
MAIN, INTERACTION = "main", "interaction"

HELPS, HURTS, NOT_SHOWN = "helps", "hurts", "not shown"
STRONGER, WEAKER = "stronger together", "weaker together"


@dataclass(frozen=True)
class Cell:
    """One combination: which factors are off, and what came out (as `describe` gives it)."""

    off: tuple[str, ...]
    path: str
    score: dict[str, Any]
    diverged: int

    @property
    def label(self) -> str:
        """`all`, or what it goes without."""
        return "without " + ", ".join(self.off) if self.off else "all"


@dataclass(frozen=True)
class Effect:
    """What a factor, or two together, do to the metric.

    p_adjusted: Holm's, over all effects; the verdict goes by it. detectable: the true effect that
    would be found with 80 % power.
    """

    factors: tuple[str, ...]
    kind: str
    difference: float
    interval: Bounds | None
    p_value: float | None
    p_adjusted: float | None
    detectable: float | None
    verdict: str
    sentence: str

    @property
    def label(self) -> str:
        return " × ".join(self.factors)


@dataclass(frozen=True)
class Ablation:
    """The table of effects, with the cells it is from.

    varies: what the members of a cell differ in, "seed" or "split". test, scope: the method, and
    what it speaks of.
    """

    design: str
    metric: str
    split: str
    higher_is_better: bool
    varies: str
    members: int
    test: str
    scope: str
    cells: tuple[Cell, ...]
    effects: tuple[Effect, ...]
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        return {
            **asdict(self),
            "cells": [{"label": cell.label, **asdict(cell)} for cell in self.cells],
            "effects": [{"label": effect.label, **asdict(effect)} for effect in self.effects],
        }


def analyse(
    groups: Sequence[tuple[tuple[str, ...], Result]],
    factors: Sequence[str],
    design: str,
    metric: str | None = None,
    split: str = "test",
) -> Ablation:
    """The effects of factors on a metric (the primary one when None).

    groups: what is off in each cell, and its group of runs. Raises UsageError for a metric that
    the cells don't share, RunError and DamagedRun for what can't be read.
    """
    results = [result for _, result in groups]
    split, fallback = choose_split(results, split)
    metric, higher = choose_metric(results, metric, split)
    crossed = read_crossed(results, split, metric)
    offs = [set(off) for off, _ in groups]
    asked = list(_contrasts(factors, offs, design))
    findings = [crossed.contrast(weights) for _, weights in asked]
    adjusted = holm([finding.estimate.p_value for finding in findings])
    effects = tuple(
        _effect(names, finding, p, f"{split} {metric}", metric, higher)
        for (names, _), finding, p in zip(asked, findings, adjusted, strict=True)
    )
    return Ablation(
        design,
        metric,
        split,
        higher,
        str(results[0].manifest.get("varies", "seed")),
        crossed.values.shape[1],
        findings[0].estimate.test,
        findings[0].scope,
        tuple(_cell(off, result, split, metric) for off, result in groups),
        effects,
        (*fallback, *crossed.notes),
    )


def designed(factors: Sequence[str], design: str) -> list[tuple[str, ...]]:
    """What is off in each cell: first nothing, last everything (factorial) or the last factor."""
    if design == LEAVE_ONE_OUT:
        return [(), *((factor,) for factor in factors)]
    return [off for count in range(len(factors) + 1) for off in combinations(factors, count)]


def _contrasts(
    factors: Sequence[str], offs: Sequence[set[str]], design: str
) -> Iterator[tuple[tuple[str, ...], list[float]]]:
    """The factors of each effect and its weights of the cells."""
    if design == LEAVE_ONE_OUT:
        for factor in factors:
            yield (factor,), [1.0 if not off else -1.0 if off == {factor} else 0.0 for off in offs]
        return
    half = 2.0 ** (len(factors) - 1)
    for count in (1, 2):
        for names in combinations(factors, count):
            yield names, [_sign(names, off) / half for off in offs]


def _sign(names: Iterable[str], off: set[str]) -> float:
    return -1.0 if len(off.intersection(names)) % 2 else 1.0


def _cell(off: tuple[str, ...], result: Result, split: str, metric: str) -> Cell:
    values = [run.value(split, metric) for run in result.runs]
    diverged = sum(run.status == "diverged" for run in result.runs)
    return Cell(off, str(result.path), describe(values, bounds_of(metric)), diverged)


def _effect(
    names: tuple[str, ...],
    finding: Finding,
    p_adjusted: float | None,
    words: str,
    metric: str,
    higher: bool,
) -> Effect:
    estimate = finding.estimate
    kind = MAIN if len(names) == 1 else INTERACTION
    verdict = NOT_SHOWN
    if p_adjusted is not None and p_adjusted < ALPHA:
        good = (estimate.difference > 0) == higher
        good_words, bad_words = (HELPS, HURTS) if kind == MAIN else (STRONGER, WEAKER)
        verdict = good_words if good else bad_words
    interval = estimate.interval(bounds=difference_bounds(metric))
    numbers = f"{words} {estimate.difference:+.3g}"
    if interval is not None:
        numbers += f" (95 % interval {interval[0]:.3g} to {interval[1]:.3g}"
        numbers += f"; p {p_text(p_adjusted)} after Holm)" if p_adjusted is not None else ")"
    sentence = f"{_claim(names, verdict)}: {numbers}."
    detectable = estimate.detectable
    if verdict == NOT_SHOWN and detectable is not None:
        sentence += f" An effect of {detectable:.3g} would be found with 80 % power, before Holm."
    if not estimate.testable:
        sentence += " There is no variance, so nothing can be tested."
    return Effect(
        names,
        kind,
        estimate.difference,
        interval,
        estimate.p_value,
        p_adjusted,
        detectable,
        verdict,
        sentence,
    )


def _claim(names: tuple[str, ...], verdict: str) -> str:
    if len(names) == 1:
        return {NOT_SHOWN: f"No effect of {names[0]} is shown"}.get(
            verdict, f"{names[0]} {verdict}"
        )
    both = " and ".join(names)
    return {
        STRONGER: f"{both} do more together than apart",
        WEAKER: f"{both} do less together than apart",
    }.get(verdict, f"No interaction of {both} is shown")


def reach(found: Ablation) -> str:
    """How far the table reaches, as a sentence."""
    if found.varies == "split":
        return "This speaks of new splits of data like this, training sets included."
    if found.scope == DATA:
        return (
            "This speaks of new seeds and new test examples like these; the training set is the "
            "same in all (--splits varies it)."
        )
    return "This speaks of new seeds on this split only."
