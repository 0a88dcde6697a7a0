"""How well each class or label is told, and which classes are taken for which others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nnexp.components.metrics.by_class import F1, Counts, Precision, Recall, share
from nnexp.components.metrics.metric import Scored

MOST_CLASSES = 256
"""With more classes than this there is no confusion matrix: it would be mostly empty."""


@dataclass(frozen=True)
class ClassScores:
    """Scores of each class or label `[C]`; a ratio without any example in it is 0.

    support: how many examples are of it. confusion: examples of the class of the row that are taken
    for that of the column, `[C, C]`; None for labels, and for very many classes.
    """

    names: tuple[str, ...]
    precision: np.ndarray
    recall: np.ndarray
    f1: np.ndarray
    support: np.ndarray
    confusion: np.ndarray | None

    def to_json(self) -> dict[str, Any]:
        """`classes`: a mapping for each one, with its name; and the confusion matrix."""
        columns = ("precision", "recall", "f1", "support")
        rows = zip(*(getattr(self, name).tolist() for name in columns), strict=True)
        classes = [
            {"class": name, **dict(zip(columns, row, strict=True))}
            for name, row in zip(self.names, rows, strict=True)
        ]
        confusion = self.confusion.tolist() if self.confusion is not None else None
        return {"classes": classes, "confusion": confusion}


def class_scores(scored: Scored, names: Sequence[str]) -> ClassScores:
    """The scores of a single member's classes or labels, in the order of their names."""
    counts = Counts.of(scored)
    ratios = [
        share(*metric.ratio(counts))[0].cpu().numpy() for metric in (Precision(), Recall(), F1())
    ]
    support = counts.actual[0].cpu().numpy()
    confusion = None
    if not scored.is_multilabel and len(names) <= MOST_CLASSES:
        target, guess = (x[0].flatten().cpu().numpy() for x in (scored.target, scored.prediction))
        target, guess = target[target >= 0], guess[target >= 0]
        size = len(names)
        pairs = np.bincount(target * size + guess, minlength=size * size)
        confusion = pairs.reshape(size, size).astype(np.float64)
    return ClassScores(tuple(names), ratios[0], ratios[1], ratios[2], support, confusion)


def average(found: Sequence[ClassScores]) -> ClassScores:
    """The means over the members of a group."""
    first = found[0]

    def mean(field: str) -> np.ndarray:
        return np.asarray(np.mean([getattr(one, field) for one in found], axis=0))

    return ClassScores(
        first.names,
        mean("precision"),
        mean("recall"),
        mean("f1"),
        mean("support"),
        mean("confusion") if first.confusion is not None else None,
    )
