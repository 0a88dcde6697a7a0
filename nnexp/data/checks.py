"""Whether data and steps of preprocessing suit each other, told before anything is fitted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from nnexp.components.preprocessing.columns import Kinds, shown
from nnexp.components.preprocessing.step import Step
from nnexp.components.table import Features, Table, TargetType
from nnexp.errors import DataError, count


def check_steps(
    steps: Sequence[Step],
    features: Features,
    missing: np.ndarray | None = None,
    task: TargetType | None = None,
) -> list[tuple[int, str]]:
    """(number of the step, reason) for every step that can't work on such features.

    The number is len(steps) for what is lacking at the end. missing: how many values each number
    lacks, `[F]`; None to count.
    """
    if missing is None:
        missing = missing_counts(features, np.arange(len(features)))
    kinds, problems = kinds_of(features, missing, task), list[tuple[int, str]]()
    known = True  # what the features hold after the steps so far
    for number, step in enumerate(steps):
        if (reason := step.problem(kinds)) is not None:
            problems.append((number, reason))
        try:
            kinds = step.after(kinds)
        except DataError:  # columns that aren't there, as was just told
            known = False
    if kinds.missing and not problems:
        problems.append((len(steps), f"{kinds.gaps}: add `impute`"))
    if kinds.text and known:
        problems.append((len(steps), f"columns {shown(kinds.text)} hold text: add `one_hot`"))
    return problems


def kinds_of(features: Features, missing: np.ndarray, task: TargetType | None = None) -> Kinds:
    """What the features hold; missing: how many values each number lacks, `[F]`."""
    labels = features.labels
    return Kinds(
        numeric=features.names,
        text=features.categorical_names,
        missing=frozenset(labels[i] for i in np.flatnonzero(missing)),
        image=features.is_image,
        task=task,
    )


def unrepaired(steps: Sequence[Step], features: Features, missing: np.ndarray) -> frozenset[str]:
    """The numbers whose gaps no step fills."""
    kinds = kinds_of(features, missing)
    for step in steps:
        if not kinds.missing:
            break
        if step.problem(kinds) is not None:
            return kinds.missing
        kinds = step.after(kinds)
    return kinds.missing


def missing_counts(features: Features, rows: np.ndarray) -> np.ndarray:
    """How many values each number lacks, int64 `[F]`; DataError if any is infinite."""
    missing, infinite = np.zeros((2, features.width), np.int64)
    if features.numeric.dtype.kind != "f":
        return missing
    for piece in features.chunks(rows):
        x = np.asarray(features.numeric[piece]).reshape(len(piece), features.width)
        if not np.isfinite(x).all():
            missing += np.isnan(x).sum(axis=0)
            infinite += np.isinf(x).sum(axis=0)
    if infinite.any():
        where = listed(features, infinite)
        raise DataError(
            f"there are infinite values, which no step repairs: {where}; correct them, or leave "
            "the column out"
        )
    return missing


def listed(features: Features, counts: np.ndarray) -> str:
    """The numbers with a count above 0, and it."""
    return shown([f"{counts[i]} in {features.labels[i]}" for i in np.flatnonzero(counts)])


def check_columns(
    trained: tuple[Sequence[str], Sequence[str]],
    numeric: Mapping[str, int],
    text: Mapping[str, int],
) -> None:
    """DataError if columns that training had are missing, or hold the other kind of values.

    trained: the names of its numeric and of its text columns.
    """
    missing = [
        name for names in trained for name in names if name not in numeric and name not in text
    ]
    if missing:
        instead = [name for name in (*numeric, *text) if name not in (*trained[0], *trained[1])]
        others = f"; others are here: {shown(instead)}" if instead else ""
        raise DataError(f"columns are missing that training had: {shown(missing, 10)}{others}")
    for names, here, was, now in (
        (trained[0], text, "numbers", "text"),
        (trained[1], numeric, "text", "numbers"),
    ):
        changed = [name for name in names if name in here]
        if changed:
            raise DataError(f"columns held {was} in training and hold {now} here: {shown(changed)}")


def target_notes(table: Table, train: np.ndarray) -> list[str]:
    """What is odd about the training target; DataError if nothing can be learnt from it."""
    if table.task == "words":
        return []
    target = table.target[train]
    if table.classes is None:
        same = [
            name
            for name, column in zip(table.target_names, target.T, strict=True)
            if column.min() == column.max()
        ]
        what = "label" if table.multilabel else "target"
        return [f"{what} {shown(same)} has one value only in training"] if same else []
    target = target[target >= 0]  # of a dense task not every position has one
    present, name = len(np.unique(target)), f"target {shown(table.target_names)}"
    if present < 2:
        only = f"one class only, {table.classes[int(target[0])]}," if present else "no class"
        raise DataError(
            f"{name}: there is {only} in {count(len(train), 'training example')}: "
            "nothing to tell apart"
        )
    if len(target) < len(table.classes):
        hint = (
            "is it a number to predict (`target_type: regression`)?"
            if all(map(_is_number, table.classes))
            else "does it identify the examples?"
        )
        there = count(len(train), "training example")
        raise DataError(f"{name}: there are {there} for {len(table.classes)} classes; {hint}")
    return []


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
