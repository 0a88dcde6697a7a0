"""What `nnexp eval` shows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from nnexp.analysis.scores import bounds_of
from nnexp.cli import console
from nnexp.cli.console import Cell
from nnexp.config.experiment import TestTime
from nnexp.errors import UsageError
from nnexp.runs.classes import ClassScores, average
from nnexp.runs.score import Scores
from nnexp.stats import describe

SHOWN_CLASSES, WORST_CLASSES, WORST_MISTAKES = 20, 10, 3
"""Up to so many classes all are shown; of more only the worst; and so many kinds of mistakes."""


def asked_for(
    angles: str | None, sizes: str | None, flip: bool, mc_dropout: int | None, plain: bool
) -> TestTime | None:
    """What the options ask for in place of the run's own `test_time`; None if nothing.

    angles, sizes: numbers with commas between. Raises UsageError.
    """
    given: dict[str, Any] = {}
    for option, text, kind in (("angles", angles, float), ("sizes", sizes, int)):
        if text is not None:
            try:
                given[option] = [kind(number) for number in text.split(",")]
            except ValueError:
                what = "numbers" if kind is float else "whole numbers"
                raise UsageError(
                    f"--{option}: {text!r} is not {what} with commas between"
                ) from None
    given |= {"flip": True} if flip else {}
    given |= {} if mc_dropout is None else {"mc_dropout": mc_dropout}
    if plain and given:
        raise UsageError("--plain is one pass over each example: no views or samples go with it")
    if not plain and not given:
        return None
    try:
        return TestTime(**given)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        option = str(first["loc"][0]).replace("_", "-")
        rule = first["msg"].removeprefix("Input ")
        raise UsageError(f"--{option}: {rule}; it is {first['input']}") from None


def scores_to_json(run: Path, found: Sequence[Scores], is_group: bool) -> dict[str, Any]:
    """A run's scores; or a group's, described, with those of each member."""
    if not is_group:
        return {**_one(found[0]), "run": run}
    return {
        "run": run,
        "split": found[0].split,
        "examples": found[0].examples,
        "metrics": _described(found),
        "by_class": _by_class(found),
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
    spreads = [scores.spread for scores in found if scores.spread is not None]
    if spreads:
        apart = console.value(float(np.mean(spreads)))
        console.say(f"  passes lie apart by {apart} on average (--json has each example)", "dim")
    classes = [scores.by_class for scores in found if scores.by_class is not None]
    if classes:
        _show_classes(average(classes))


def _show_classes(found: ClassScores) -> None:
    """Each class, or the worst ones; and of what mistakes there are the most."""
    order, title = np.arange(len(found.names)), "by class"
    if len(order) > SHOWN_CLASSES:
        there = order[found.support > 0]
        order = there[np.argsort(found.f1[there], kind="stable")][:WORST_CLASSES]
        title = f"by class, the {len(order)} worst of {len(found.names)} (--json has all)"
    console.say(title, "bold")
    rows: list[list[Cell]] = [
        [
            (found.names[c], "name"),
            *(console.value(float(x[c])) for x in (found.precision, found.recall, found.f1)),
            f"{found.support[c]:,.6g}",
        ]
        for c in order
    ]
    head = ["", "precision", "recall", "f1", "examples"]
    console.say_table(head, rows, right=range(1, len(head)), indent=2)
    if found.confusion is not None:
        _show_confusion(found, found.confusion)


def _show_confusion(found: ClassScores, confusion: np.ndarray) -> None:
    """The matrix, if it is small; and the most frequent mistakes."""
    if len(found.names) <= SHOWN_CLASSES:
        console.say("predicted (columns) for each class (rows)", "bold")
        rows: list[list[Cell]] = [
            [
                (name, "name"),
                *(
                    (f"{n:.4g}", "bold" if i == k else "dim" if n == 0 else "")
                    for k, n in enumerate(line)
                ),
            ]
            for i, (name, line) in enumerate(zip(found.names, confusion, strict=True))
        ]
        columns = range(1, len(rows) + 1)
        console.say_table(["", *found.names], rows, right=columns, indent=2)
    mistakes = confusion * (1 - np.eye(len(found.names)))
    most = np.argsort(-mistakes, axis=None, kind="stable")[:WORST_MISTAKES]
    told = [
        f"{found.names[row]} as {found.names[column]} ({mistakes[row, column]:.4g})"
        for row, column in zip(*np.unravel_index(most, mistakes.shape), strict=True)
        if mistakes[row, column] > 0
    ]
    if told:
        console.say("  most often mistaken: " + ", ".join(told), "dim")


def _by_class(found: Sequence[Scores]) -> dict[str, Any] | None:
    """The mean over the members."""
    classes = [scores.by_class for scores in found if scores.by_class is not None]
    return average(classes).to_json() if classes else None


def _one(scores: Scores) -> dict[str, Any]:
    return {
        "run": scores.run,
        "split": scores.split,
        "examples": scores.examples,
        "metrics": scores.metrics,
        "by_class": _by_class([scores]),
        "recorded": scores.recorded,
        "spread": None if scores.spread is None else scores.spread.tolist(),
        "notes": scores.notes,
    }


def _described(found: Sequence[Scores]) -> dict[str, Any]:
    return {
        metric: describe([scores.metrics[metric] for scores in found], bounds_of(metric))
        for metric in found[0].metrics
    }


def _same(a: float, b: float) -> bool:
    return math.isclose(a, b, rel_tol=1e-4, abs_tol=1e-6)
