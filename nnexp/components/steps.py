"""What a step of preprocessing is, and what steps share."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from nnexp.components.table import Features
from nnexp.registry import Spec

State = dict[str, Any]
"""What a fit found: float64 arrays, and plain data that JSON can hold. The key "notes" holds what
the user should be told of the fit."""

SAMPLE_BYTES = 256 * 2**20
"""Medians and most frequent values are exact for training rows up to this size as float64."""


@dataclass(frozen=True)
class Kinds:
    """What features hold, as far as it decides whether a step can work on them."""

    numeric: bool
    text: bool
    missing: bool
    image: bool


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
    """

    features: Features
    index: np.ndarray
    target: np.ndarray
    earlier: tuple[tuple[Step, State], ...] = ()

    def __len__(self) -> int:
        return len(self.index)

    def __iter__(self) -> Iterator[Features]:
        for piece in self.features.chunks(self.index):
            yield apply_steps(self.earlier, self.features.rows(piece))

    def sample(self) -> tuple[np.ndarray, bool]:
        """The numeric part `[n, F]`, and whether it is all rows, or evenly spaced ones only."""
        width = next(iter(self)).width
        stride = -(-len(self) * width * 8 // SAMPLE_BYTES) or 1
        some = replace(self, index=self.index[::stride])
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

    It keeps no state of its own: `fit` returns it and `apply` takes it, so that it can be stored
    without pickle. Fits read the training rows in pieces, as they may be larger than memory.
    """

    def problem(self, kinds: Kinds) -> str | None:
        """Why it can't work on such features, or None."""
        if not kinds.numeric:
            return "there is no numeric column"
        if kinds.missing:
            return "there are missing values: put `impute` before it"
        return None

    def after(self, kinds: Kinds) -> Kinds:
        """What the features hold after it."""
        return kinds

    @abstractmethod
    def fit(self, rows: TrainingRows) -> State:
        """What has to be known of the training rows; DataError if they don't allow it."""

    @abstractmethod
    def apply(self, features: Features, state: State) -> Features:
        """The transformed features, float64."""

    def affine(self, state: State) -> Affine | None:
        """The step as y = A x + b on flat features; None if it isn't such a map."""
        return None

    def unusual(self, features: Features, state: State) -> dict[str, int]:
        """What is strange about rows it is applied to: a message, and how many rows."""
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


def shown(names: Sequence[str], limit: int = 5) -> str:
    """A list of names that isn't too long for a message."""
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more
