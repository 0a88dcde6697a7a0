"""What `nnexp eval` shows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nnexp.analysis.scores import bounds_of
from nnexp.cli import console
from nnexp.cli.console import Cell
from nnexp.runs.score import Scores
from nnexp.stats import describe


def scores_to_json(run: Path, found: Sequence[Scores], is_group: bool) -> dict[str, Any]:
    """A run's scores; or a group's, described, with those of each member."""
    if not is_group:
        return {**_one(found[0]), "run": run}
    return {
        "run": run,
        "split": found[0].split,
        "examples": found[0].examples,
        "metrics": _described(found),
        "members": [_one(scores) for scores in found],
    }


def show_scores(found: Sequence[Scores], is_group: bool) -> None:
    """The metrics, of a group with their spread; and whatever differs from what training wrote."""
    for text in dict.fromkeys(note for scores in found for note in scores.notes):
        console.warn(text)
    for scores in found:
        for metric, recorded in (scores.recorded or {}).items():
            now = scores.metrics.get(metric)
            if now is not None and recorded is not None and not _same(now, recorded):
                console.warn(f"{scores.run}: summary.json says {metric} {recorded:.6g}")
    examples = console.count(found[0].examples, "example")
    console.say(f"{found[0].split}: {examples}", "bold")
    rows: list[list[Cell]]
    if is_group:
        head = ["", "mean ± sd", "95 % interval", "models"]
        rows = [
            [metric, console.spread(x), console.interval(x["interval"]), str(x["n"])]
            for metric, x in _described(found).items()
        ]
    else:
        head = ["", ""]
        rows = [[metric, console.value(x)] for metric, x in found[0].metrics.items()]
    console.say_table(head, rows, right=range(1, len(head)), indent=2)


def _one(scores: Scores) -> dict[str, Any]:
    return {
        "run": scores.run,
        "split": scores.split,
        "examples": scores.examples,
        "metrics": scores.metrics,
        "recorded": scores.recorded,
        "notes": scores.notes,
    }


def _described(found: Sequence[Scores]) -> dict[str, Any]:
    return {
        metric: describe([scores.metrics[metric] for scores in found], bounds_of(metric))
        for metric in found[0].metrics
    }


def _same(a: float, b: float) -> bool:
    return math.isclose(a, b, rel_tol=1e-4, abs_tol=1e-6)
