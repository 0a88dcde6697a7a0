"""Several groups over the same seeds, or splits: weighted sums of their scores, with intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from nnexp.analysis.comparing.findings import (
    DATA,
    SPLIT,
    Finding,
    by_split,
    doubt,
    evaluated_ratio,
    matrix,
    shared,
    statistic_of,
)
from nnexp.analysis.results import Result
from nnexp.errors import RunError
from nnexp.stats import FloatArray, corrected_paired, two_way

MEMBERS = 2
"""So few seeds or splits, at least, tell a difference from luck."""


@dataclass(frozen=True)
class Crossed:
    """What several groups came to, seed by seed or split by split.

    values `[groups, members]`: a metric of the members whose seed (split) all groups have.
    examples `[groups, members, m]`: the same by test example; None where it is no mean of them.
    ratio: evaluated examples per training example, over splits; None over seeds.
    """

    values: FloatArray
    examples: FloatArray | None
    ratio: float | None
    notes: tuple[str, ...]

    def contrast(self, weights: Sequence[float]) -> Finding:
        """Σ weight·score over the groups, paired by member: one matrix of contrasts, seed by
        example, whose mean has the two-way variance of its seeds and examples (see `two_way`).
        """
        w = np.asarray(weights, dtype=np.float64)
        by_member = w @ self.values
        if self.ratio is not None:
            return Finding(corrected_paired(by_member, self.ratio), DATA)
        if self.examples is None:
            over_seeds = replace(corrected_paired(by_member, 0.0), test="paired t over seeds")
            return Finding(over_seeds, SPLIT)
        scores = np.tensordot(w, self.examples, axes=1)
        return Finding(two_way(np.zeros_like(scores), scores), DATA)


def read_crossed(groups: Sequence[Result], split: str, metric: str) -> Crossed:
    """The groups' scores, brought to the same seeds (splits) and test examples.

    Raises RunError where fewer than two members are in all groups.
    """
    notes: list[str] = []
    if groups[0].manifest.get("varies") == "split":
        tables = [by_split(group, split, metric) for group in groups]
        keys = _common(tables, notes, "splits", metric)
        values = np.array([[table[key] for key in keys] for table in tables])
        ratio = max(evaluated_ratio(group, split) for group in groups)
        return Crossed(values, None, ratio, tuple(notes))
    members = [
        {
            str(run.manifest.get("seed")): run
            for run in group.runs
            if math.isfinite(run.value(split, metric))
        }
        for group in groups
    ]
    keys = _common(members, notes, "seeds", metric)
    runs = [[table[key] for key in keys] for table in members]
    values = np.array([[run.value(split, metric) for run in row] for row in runs])
    return Crossed(values, _examples(groups, runs, split, metric, notes), None, tuple(notes))


def _common(
    tables: Sequence[dict[str, float]] | Sequence[dict[str, Result]],
    notes: list[str],
    what: str,
    metric: str,
) -> list[str]:
    """The seeds (splits) that all groups have a number for."""
    known = list(dict.fromkeys(key for table in tables for key in table))
    common = [key for key in known if all(key in table for table in tables)]
    if len(common) < MEMBERS:
        raise RunError(
            f"only {len(common)} {what} have a number for {metric} in every cell, and {MEMBERS} "
            "are needed: the others diverged in some"
        )
    if len(common) < len(known):
        notes.append(
            f"{len(known) - len(common)} of {len(known)} {what} are left out, because a cell has "
            f"no {metric} there: what diverges looks better here than it is."
        )
    return common


def _examples(
    groups: Sequence[Result],
    runs: Sequence[Sequence[Result]],
    split: str,
    metric: str,
    notes: list[str],
) -> FloatArray | None:
    by_examples = statistic_of(groups[0], metric)
    if by_examples is None:
        notes.append(
            f"{metric} is not an average over examples, so the examples' chance is left out."
        )
        return None
    flat = [run for row in runs for run in row]
    predictions = [run.predictions(split) for run in flat]
    if reason := doubt(flat, predictions, split, metric):
        notes.append(reason)
        return None
    aligned = shared(predictions)
    if len(aligned[0]) < MEMBERS or not all(p.agrees(aligned[0]) for p in aligned):
        notes.append("The cells' test examples differ, so the examples' chance is left out.")
        return None
    scores = matrix(by_examples, aligned)
    return scores.reshape(len(runs), len(runs[0]), -1)
