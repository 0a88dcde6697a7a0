"""Missing values filled."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import ClassVar, Literal

import numpy as np

from nnexp.components.preprocessing.columns import BOTH, Kinds, shown
from nnexp.components.preprocessing.step import State, Step, TrainingRows
from nnexp.components.table import Features
from nnexp.errors import DataError
from nnexp.registry import param


class Impute(Step):
    """Fills missing values with the column's median, mean or most frequent training value.

    Text columns are filled with their most frequent value. Of training rows larger than 256 MB as
    float64, the median and the most frequent value are those of evenly spaced rows.

    Use: wherever numbers are missing, before the other steps; with `indicator` where it may mean
    something that a value is missing.
    """

    name: Literal["impute"] = "impute"
    also = ("imputer", "fill_missing", "simple_imputer")
    suits: ClassVar[tuple[str, ...]] = BOTH
    strategy: Literal["median", "mean", "most_frequent"] = param(
        "median", "what numeric columns are filled with"
    )
    indicator: bool = param(
        False, "add a 0/1 column for each numeric column that has missing values in training"
    )

    def _problem(self, kinds: Kinds) -> str | None:
        if self.indicator and kinds.image:
            return "`indicator` adds columns, and images have none"
        return None

    def _after(self, kinds: Kinds) -> Kinds:
        made = ("* is missing*",) if self.indicator and kinds.missing else ()
        return replace(kinds, missing=frozenset(), made=(*kinds.made, *made))

    def _fit(self, rows: TrainingRows) -> State:
        first = next(iter(rows))
        absent = np.zeros(first.width, dtype=np.int64)
        total = np.zeros(first.width)
        texts: list[Counter[str | None]] = [Counter() for _ in first.categorical_names]
        for piece in rows:
            x = piece.flat()
            absent += np.isnan(x).sum(axis=0)
            total += np.nansum(x, axis=0)
            for count, column in zip(texts, piece.categorical.T, strict=True):
                count.update(column.tolist())
        empty = [n for n, count in zip(first.labels, absent, strict=True) if count == len(rows)]
        empty += [
            name
            for name, count in zip(first.categorical_names, texts, strict=True)
            if count[None] == len(rows)
        ]
        if empty:
            it = "it" if len(empty) == 1 else "them"
            raise DataError(
                f"preprocessing: impute: no value in any training row: {shown(empty)}; `drop` {it}"
            )
        fill, notes = self._fill(rows, total / (len(rows) - absent))
        gaps = {n: int(c) for n, c in zip(first.labels, absent, strict=True) if c}
        gaps |= {n: c[None] for n, c in zip(first.categorical_names, texts, strict=True) if c[None]}
        if gaps:
            listed = shown([f"{name} ({count})" for name, count in gaps.items()])
            notes.append(f"impute: filled training values of {listed}")
        return {
            "fill": fill.reshape(first.shape),
            "text": [_most_frequent(count) for count in texts],
            "indicated": np.flatnonzero(absent).tolist() if self.indicator else [],
            "notes": notes,
        }

    def _fill(self, rows: TrainingRows, means: np.ndarray) -> tuple[np.ndarray, list[str]]:
        if self.strategy == "mean" or not len(means):
            return means, []
        x, complete = rows.sample()
        if np.isnan(x).all(axis=0).any():  # a column whose few values lie between the sampled rows
            raise DataError("impute: too few values for a median of so many rows; use `mean`")
        best = _mode if self.strategy == "most_frequent" else np.median
        fill = np.array([best(column[~np.isnan(column)]) for column in x.T])
        return fill, [] if complete else [
            f"impute: {self.strategy} of {len(x)} rows of {len(rows)}"
        ]

    def _apply(self, features: Features, state: State) -> Features:
        x = np.asarray(features.numeric[:], np.float64)
        gaps = np.isnan(x)
        filled, names = np.where(gaps, state["fill"], x), features.names
        if state["indicated"]:
            filled = np.concatenate([filled, gaps[:, state["indicated"]]], axis=1)
            names += tuple(f"{names[i]} is missing" for i in state["indicated"])
        text = features.categorical.copy()
        for place, value in enumerate(state["text"]):
            column = text[:, place]
            column[column == None] = value  # noqa: E711
        return replace(features.with_numeric(filled, names), categorical=text)


def _mode(values: np.ndarray) -> float:
    distinct, counts = np.unique(values, return_counts=True)
    return float(distinct[np.argmax(counts)])


def _most_frequent(counts: Counter[str | None]) -> str:
    """The most frequent text; of equally frequent ones the first in order."""
    texts = [(-count, value) for value, count in counts.items() if value is not None]
    return min(texts)[1]
