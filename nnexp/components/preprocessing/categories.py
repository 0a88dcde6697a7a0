"""Columns of text as numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from glob import escape
from typing import ClassVar, Literal

import numpy as np
from pydantic import field_validator

from nnexp.components.preprocessing.columns import TEXT, Kinds
from nnexp.components.preprocessing.step import State, Step, TrainingRows
from nnexp.components.table import Features
from nnexp.registry import param, rule


class OneHot(Step):
    """A 0/1 column for each category seen in training; a missing value is a category of its own.

    Categories that are rarer than `min_frequency` share one column; unseen ones become zeros, and
    are counted in a note. The columns are called city=Paris, city=(missing) and city=(rare).

    Use: for every column of text, with `min_frequency` where there are many categories.
    """

    name: Literal["one_hot"] = "one_hot"
    also = ("onehot", "one_hot_encoder", "dummies")
    suits: ClassVar[tuple[str, ...]] = (TEXT,)
    min_frequency: int | float | None = param(
        None,
        "categories rarer than this count (from 1), or share of the rows (below 1), are pooled",
        le=10**9,
    )

    @field_validator("min_frequency")
    @classmethod
    def _count_or_share(cls, value: int | float | None) -> int | float | None:
        if value is not None and (value <= 0 or (isinstance(value, float) and value >= 1)):
            raise rule("is neither a count nor a share", "a count from 1, or 0 < share < 1")
        return value

    def _problem(self, kinds: Kinds) -> str | None:
        return None

    def _after(self, kinds: Kinds) -> Kinds:
        return replace(kinds, text=(), made=tuple(f"{escape(name)}=*" for name in kinds.text))

    def _fit(self, rows: TrainingRows) -> State:
        counts: list[Counter[str | None]] = []
        for piece in rows:
            counts = counts or [Counter() for _ in piece.categorical_names]
            for count, column in zip(counts, piece.categorical.T, strict=True):
                count.update(column.tolist())
        names = piece.categorical_names
        least = self.min_frequency or 0
        least = least * len(rows) if isinstance(least, float) else least
        notes = [
            f"one_hot: {name} has {len(count)} categories in {len(rows)} rows: does it identify "
            "the rows? `drop` it, or set `min_frequency`"
            for name, count in zip(names, counts, strict=True)
            if len(count) > max(20, len(rows) / 2)
        ]
        return {
            "categories": [_ordered(v for v, n in count.items() if n >= least) for count in counts],
            "rare": [_ordered(v for v, n in count.items() if n < least) for count in counts],
            "notes": notes,
        }

    def _apply(self, features: Features, state: State) -> Features:
        blocks: list[np.ndarray] = []
        names: list[str] = []
        for place, column in enumerate(features.categorical_names):
            kept, rare = state["categories"][place], state["rare"][place]
            codes = _codes(features.categorical[:, place], kept, rare)
            width = len(kept) + bool(rare)
            blocks.append((codes[:, None] == np.arange(width)).astype(np.float64))
            names += [f"{column}={'(missing)' if v is None else v}" for v in kept]
            names += [f"{column}=(rare)"] if rare else []
        n = len(features)
        return Features(np.concatenate(blocks, axis=1), tuple(names), np.empty((n, 0), object), ())

    def _unusual(self, features: Features, state: State) -> dict[str, int]:
        found = {}
        for place, column in enumerate(features.categorical_names):
            known = {*state["categories"][place], *state["rare"][place]}
            count = sum(value not in known for value in features.categorical[:, place])
            if count:
                found[f"{column}: category unseen in training, taken as none"] = count
        return found


def _ordered(values: Iterator[str | None]) -> list[str | None]:
    """Sorted, a missing value last."""
    return sorted(values, key=lambda value: (value is None, value or ""))


def _codes(
    values: np.ndarray, kept: Sequence[str | None], rare: Sequence[str | None]
) -> np.ndarray:
    index = {value: place for place, value in enumerate(kept)}
    index |= dict.fromkeys(rare, len(kept))
    return np.array([index.get(value, -1) for value in values], dtype=np.int64)
