"""What a step of preprocessing is, and what steps share."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from nnexp.components.preprocessing.columns import (
    NUMERIC,
    TEXT,
    Kinds,
    Places,
    chosen,
    joined,
    may_match,
    part,
    placed,
)
from nnexp.components.table import Features
from nnexp.errors import DataError
from nnexp.registry import Spec, param

State = dict[str, Any]
"""What a fit found: float64 arrays, and plain data that JSON can hold. The key "notes" holds what
the user should be told of the fit."""

SAMPLE_BYTES = 256 * 2**20
"""Medians and most frequent values are exact for training rows up to this size as float64."""


@dataclass(frozen=True)
class Affine:
    """The map y = A x + b of flat features x `[F]`.

    weight: A as `[K, F]`, or its diagonal as `[F]`. shift: b, `[K]`.
    """

    weight: np.ndarray
    shift: np.ndarray

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Map rows `[n, F]` to `[n, K]`."""
        linear = x * self.weight if self.weight.ndim == 1 else x @ self.weight.T
        return np.asarray(linear + self.shift)

    def then(self, after: Affine) -> Affine:
        """The map that does this one first, `after` next."""
        shift = after(self.shift)
        if after.weight.ndim == 1:
            weight = after.weight if self.weight.ndim == 1 else after.weight[:, None]
            return Affine(weight * self.weight, shift)
        if self.weight.ndim == 1:
            return Affine(after.weight * self.weight, shift)
        return Affine(after.weight @ self.weight, shift)


@dataclass(frozen=True)
class TrainingRows:
    """The rows that steps are fitted on; iterating gives them in pieces, as often as needed.

    target: the rows' targets, in their order.
    earlier: fitted steps that are applied to each piece first.
    step: gives the columns that this step sees, and no other.
    """

    features: Features
    index: np.ndarray
    target: np.ndarray
    earlier: tuple[tuple[Step, State], ...] = ()
    step: Step | None = None

    def __len__(self) -> int:
        return len(self.index)

    def __iter__(self) -> Iterator[Features]:
        for piece in self.features.chunks(self.index):
            rows = apply_steps(self.earlier, self.features.rows(piece))
            yield rows if self.step is None else self.step.view(rows)

    def sample(self) -> tuple[np.ndarray, bool]:
        """The numeric part `[n, F]`, and whether it is all rows, or evenly spaced ones only."""
        width = next(iter(self)).width
        stride = -(-len(self) * width * 8 // SAMPLE_BYTES) or 1
        some = replace(self, index=self.index[::stride], target=self.target[::stride])
        x, start = np.empty((len(some), width)), 0
        for piece in some:
            x[start : start + len(piece)] = piece.flat()
            start += len(piece)
        return x, stride == 1


def apply_steps(fitted: Sequence[tuple[Step, State]], features: Features) -> Features:
    for step, state in fitted:
        features = step.apply(features, state)
    return features


class Step(Spec, family="preprocessing"):
    """One step of preprocessing, fitted on the training rows and applied unchanged to all others.

    `columns` chooses what it sees and changes; other columns pass through untouched. A column that
    it gives under its old name keeps its place; new ones, such as pc1, stand at the end.
    """

    # It keeps no state of its own: `fit` returns it and `apply` takes it, so that it can be stored
    # without pickle. Fits read the training rows in pieces, as they may be larger than memory.
    #
    # A component gives the methods that begin with _, which know of the columns it sees only.

    suits: ClassVar[tuple[str, ...]] = (NUMERIC,)
    """The kinds of columns that it works on."""

    columns: list[str] | None = param(
        None,
        "what it sees and changes: names, globs such as temp_*, `numeric`, `categorical`",
        when="null: all columns that it suits",
        also=("cols", "features"),
        min_length=1,
    )

    def problem(self, kinds: Kinds) -> str | None:
        """Why it can't work on such features, or None."""
        if self.columns is not None and kinds.image:
            return "`columns` chooses from the columns of a table, and an image has none"
        try:
            seen = self._seen(kinds)
        except DataError as error:
            return str(error)
        if not seen.text and not (NUMERIC in self.suits and seen.has_numbers):
            words = {NUMERIC: "numeric", TEXT: "text"}
            return f"there is no {' or '.join(words[kind] for kind in self.suits)} column"
        return self._problem(seen)

    def after(self, kinds: Kinds) -> Kinds:
        """What the features hold after it, if there is no problem."""
        seen = self._seen(kinds)
        left = self._after(seen)
        if kinds.image:
            return left
        some = self.columns is not None and NUMERIC not in self.columns
        made = [glob for glob in kinds.made if some or glob not in seen.made]
        return replace(
            kinds,
            numeric=placed(kinds.numeric, seen.numeric, left.numeric)[1],
            text=placed(kinds.text, seen.text, left.text)[1],
            made=tuple(dict.fromkeys([*made, *left.made])),
            missing=(kinds.missing - seen.missing) | left.missing,
        )

    def fit(self, rows: TrainingRows) -> State:
        """What has to be known of the training rows; DataError if they don't allow it."""
        return self._fit(replace(rows, step=self))

    def apply(self, features: Features, state: State) -> Features:
        """The transformed features, float64."""
        seen = self.view(features)
        result = self._apply(seen, state)
        return result if features.is_image else joined(features, seen, result)

    def affine(self, like: Features, state: State) -> Affine | None:
        """The step as y = A x + b on flat features with the columns of `like`, or None."""
        inner = self._affine(state)
        if inner is None or like.is_image:
            return inner
        width, seen = len(like.names), self.view(like)
        places = [like.names.index(name) for name in seen.names]
        if inner.weight.ndim == 1:
            weight, shift = np.ones(width), np.zeros(width)
            weight[places], shift[places] = inner.weight, inner.shift
            return Affine(weight, shift)
        order, _ = placed(like.names, seen.names, self._apply(seen, state).names)
        weight, shift = np.zeros((len(order), width)), np.zeros(len(order))
        for row, number in enumerate(order):
            if number < width:
                weight[row, number] = 1.0
            else:
                weight[row, places] = inner.weight[number - width]
                shift[row] = inner.shift[number - width]
        return Affine(weight, shift)

    def codes(self, state: State) -> Mapping[str, int]:
        """Columns that it makes of codes, whole numbers 0 … count − 1, by name with that count.

        0 stands for what is missing, 1 for what training did not have. An embedding takes them.
        """
        return {}

    def unusual(self, features: Features, state: State) -> dict[str, int]:
        """What is strange about rows it is applied to: a message, and how many rows."""
        return self._unusual(self.view(features), state)

    def view(self, features: Features) -> Features:
        """The columns that it sees."""
        if features.is_image:
            return features
        try:
            return part(features, self._places(features.names, features.categorical_names))
        except DataError as error:
            raise DataError(f"{self.component}: {error}") from None

    def _places(
        self, numeric: tuple[str, ...], text: tuple[str, ...], made: tuple[str, ...] = ()
    ) -> Places:
        if self.columns is not None:
            return chosen(tuple(self.columns), self.suits, numeric, text, made)
        return (
            tuple(range(len(numeric))) if NUMERIC in self.suits else (),
            tuple(range(len(text))) if TEXT in self.suits else (),
        )

    def _seen(self, kinds: Kinds) -> Kinds:
        """What the columns hold that it sees."""
        if kinds.image:
            return kinds if NUMERIC in self.suits else Kinds(task=kinds.task)
        numbers, words = self._places(kinds.numeric, kinds.text, kinds.made)
        numeric = tuple(kinds.numeric[place] for place in numbers)
        some = self.columns
        made = [glob for glob in kinds.made if NUMERIC in self.suits]
        return replace(
            kinds,
            numeric=numeric,
            text=tuple(kinds.text[place] for place in words),
            made=tuple(g for g in made if some is None or any(may_match(e, g) for e in some)),
            missing=kinds.missing & set(numeric),
        )

    def _problem(self, kinds: Kinds) -> str | None:
        """Why it can't work on such columns, or None."""
        return f"{kinds.gaps}: put `impute` before it" if kinds.missing else None

    def _after(self, kinds: Kinds) -> Kinds:
        """What the columns that it gives hold."""
        return kinds

    @abstractmethod
    def _fit(self, rows: TrainingRows) -> State:
        """As `fit`, of the columns that it sees."""

    @abstractmethod
    def _apply(self, features: Features, state: State) -> Features:
        """As `apply`, of the columns that it sees; one that it changes in place keeps its name."""

    def _affine(self, state: State) -> Affine | None:
        """As `affine`, of the columns that it sees."""
        return None

    def _unusual(self, features: Features, state: State) -> dict[str, int]:
        """As `unusual`, of the columns that it sees."""
        return {}


class Moments:
    """Count, mean, squared deviations `m2` and range of columns, merged piece by piece.

    The merge is Chan, Golub & LeVeque's (1979), which does not cancel as Σx² − (Σx)²/n does.
    products: keep the products of deviations of all pairs of columns, `[F, F]`, as `m2`.
    """

    def __init__(self, products: bool = False) -> None:
        self.products = products
        self.count = 0
        self.mean: np.ndarray = np.zeros(())
        self.m2: np.ndarray = np.zeros(())
        self.low: np.ndarray = np.array(np.inf)
        self.high: np.ndarray = np.array(-np.inf)

    def add(self, x: np.ndarray) -> None:
        """Take in rows `[n, F]`, float64."""
        count = self.count + len(x)
        mean = x.mean(axis=0)
        deviations = x - mean
        step = mean - self.mean
        weight = self.count * len(x) / count
        if self.products:
            self.m2 = self.m2 + deviations.T @ deviations + weight * np.outer(step, step)
        else:
            self.m2 = self.m2 + np.einsum("nf,nf->f", deviations, deviations) + weight * step**2
        self.mean = self.mean + step * (len(x) / count)
        self.low = np.minimum(self.low, x.min(axis=0))
        self.high = np.maximum(self.high, x.max(axis=0))
        self.count = count

    @property
    def constant(self) -> np.ndarray:
        """Which columns have one value only; by their range, as rounding leaves m2 above 0."""
        return np.asarray(self.low == self.high)
