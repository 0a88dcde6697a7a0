"""The steps of preprocessing: scaling, principal directions, categories, missing values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Literal, cast

import numpy as np
from pydantic import ValidationInfo, field_validator

from nnexp.components.steps import (
    SAMPLE_BYTES,
    Affine,
    Kinds,
    Moments,
    State,
    Step,
    TrainingRows,
    shown,
)
from nnexp.components.table import Features
from nnexp.errors import DataError, nearest
from nnexp.registry import param, rule

__all__ = ["Impute", "MinMax", "OneHot", "Pca", "PcaWhiten", "Standardize", "Step"]

# -- scaling ---------------------------------------------------------------------------------------

Per = Literal["feature", "channel", "global"]


class _Scaling(Step):
    """y = (x − centre) / scale + low, elementwise; the state's arrays have an example's shape."""

    per: Per = param(
        "feature", "what shares one centre and scale: a feature, an image channel, or everything"
    )

    def problem(self, kinds: Kinds) -> str | None:
        if self.per == "channel" and not kinds.image:
            return "`per: channel` needs images; a table has `feature` or `global`"
        return super().problem(kinds)

    def apply(self, features: Features, state: State) -> Features:
        x = np.asarray(features.numeric[:], np.float64)
        return features.with_numeric((x - state["centre"]) / state["scale"] + state["low"])

    def affine(self, state: State) -> Affine:
        weight = 1.0 / state["scale"].reshape(-1)
        return Affine(weight, state["low"] - state["centre"].reshape(-1) * weight)

    def _moments(self, rows: TrainingRows) -> tuple[Moments, Features]:
        moments = Moments()
        for piece in rows:
            moments.add(_grouped(piece, self.per))
        return moments, piece

    def _state(
        self,
        like: Features,
        centre: np.ndarray,
        scale: np.ndarray,
        constant: np.ndarray,
        low: float,
    ) -> State:
        shape = {"feature": like.shape, "channel": (-1, 1, 1), "global": (1,) * len(like.shape)}
        groups = {
            "feature": like.labels,
            "channel": [f"channel {i}" for i in range(like.shape[0])],
            "global": ["everything"],
        }
        names = [name for name, same in zip(groups[self.per], constant, strict=True) if same]
        note = f"{self.component}: constant in training, so only centred: {shown(names)}"
        return {
            "centre": _spread(centre.reshape(shape[self.per]), like.shape),
            "scale": _spread(np.where(constant, 1.0, scale).reshape(shape[self.per]), like.shape),
            "low": low,
            "notes": [note] if names else [],
        }


class Standardize(_Scaling):
    """(x − μ) / σ, with σ² over 1/m."""

    name: Literal["standardize"] = "standardize"
    also = ("standard_scaler", "zscore", "normalize")
    factors: dict[str, float] = param(
        {}, "column: factor afterwards, below 1 for columns known to matter less"
    )

    @field_validator("factors")
    @classmethod
    def _not_zero(cls, value: dict[str, float]) -> dict[str, float]:
        for column, factor in value.items():
            if factor == 0:
                raise rule(f"{column}: 0 would delete it; drop it instead")
        return value

    def fit(self, rows: TrainingRows) -> State:
        moments, like = self._moments(rows)
        mean = np.where(moments.constant, moments.low, moments.mean)  # exactly its value
        std = np.sqrt(moments.m2 / moments.count)
        state = self._state(like, mean, std, moments.constant, 0.0)
        for column, factor in self.factors.items():
            if column not in like.names:
                close = nearest(column, like.names)
                hint = f"; did you mean {close}?" if close else ""
                raise DataError(f"standardize: factors: there is no column {column}{hint}")
            state["scale"][like.names.index(column)] /= factor
        return state


class MinMax(_Scaling):
    """To the range [low, high]: (x − min) / (max − min) · (high − low) + low."""

    name: Literal["min_max"] = "min_max"
    also = ("minmax", "min_max_scaler", "rescale")
    low: float = param(0.0, "what the smallest training value becomes", ge=-1e6, le=1e6)
    high: float = param(1.0, "what the largest training value becomes", ge=-1e6, le=1e6)

    @field_validator("high")
    @classmethod
    def _above_low(cls, value: float, info: ValidationInfo) -> float:
        low = info.data.get("low")
        if low is not None and value <= low:
            raise rule("must be above `low`", allowed=f"> {low:g}")
        return value

    def fit(self, rows: TrainingRows) -> State:
        moments, like = self._moments(rows)
        scale = (moments.high - moments.low) / (self.high - self.low)
        return self._state(like, moments.low, scale, moments.constant, self.low)


def _grouped(features: Features, per: Per) -> np.ndarray:
    """The values as columns of what is scaled together, float64."""
    if per == "feature":
        return features.flat()
    if per == "global":
        return features.flat().reshape(-1, 1)
    x = np.asarray(features.numeric[:], np.float64)
    return np.moveaxis(x, 1, -1).reshape(-1, x.shape[1])


def _spread(values: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    return np.array(np.broadcast_to(values, shape))


# -- projections -----------------------------------------------------------------------------------


class _Projection(Step):
    """Principal directions of the training rows; images are flattened first."""

    components: int | float | None = param(
        None,
        "how many: a count from 1, or the share of variance to keep, above 0 and below 1",
        when="null: all directions that have variance",
        also=("n_components", "k"),
    )

    @field_validator("components")
    @classmethod
    def _count_or_share(cls, value: int | float | None) -> int | float | None:
        if isinstance(value, float) and value == 1.0:
            raise rule(
                "1.0 could mean one component or all of the variance",
                allowed="1 (one component), a share such as 0.99, or null (all of them)",
            )
        if value is not None and (value <= 0 or (isinstance(value, float) and value > 1)):
            raise rule("is neither a count nor a share", "a count from 1, or 0 < share < 1")
        return value

    def after(self, kinds: Kinds) -> Kinds:
        return replace(kinds, image=False)

    def apply(self, features: Features, state: State) -> Features:
        with one_blas_thread():
            scores = (features.flat() - state["mean"]) @ state["directions"].T / state["scale"]
        return features.with_numeric(scores, [f"pc{i + 1}" for i in range(scores.shape[1])])

    def affine(self, state: State) -> Affine:
        weight = state["directions"] / state["scale"][:, None]
        return Affine(weight, -weight @ state["mean"])

    def _project(self, rows: TrainingRows) -> tuple[State, float]:
        """The state with scale 1, and the mean variance of a direction."""
        with one_blas_thread():
            mean, variances, directions, width = _principal(rows, self.component)
        if not len(variances):
            raise DataError(f"{self.component}: no feature varies in training")
        kept = self._kept(variances, width)
        share = variances[:kept].sum() / variances.sum()
        notes = [f"{self.component}: {kept} of {width} directions, {share:.2%} of the variance"]
        nothing = min(len(rows) - 1, width) - len(variances)
        if nothing:
            notes.append(f"{self.component}: {nothing} directions without variance are dropped")
        state = {
            "mean": mean,
            "directions": directions[:kept],
            "variances": variances[:kept],
            "scale": np.ones(kept),
            "notes": notes,
        }
        return state, float(variances.sum() / width)

    def _kept(self, variances: np.ndarray, width: int) -> int:
        wanted = self.components
        if wanted is None:
            return len(variances)
        if isinstance(wanted, int):
            if wanted > width:
                raise DataError(
                    f"{self.component}: components is {wanted}, but there are {width} features"
                )
            return min(wanted, len(variances))
        shares = np.cumsum(variances) / variances.sum()
        return min(int(np.searchsorted(shares, wanted, side="right")) + 1, len(variances))


class Pca(_Projection):
    """Principal components: rotated so that features are uncorrelated, Eᵀ(x − μ)."""

    name: Literal["pca"] = "pca"

    def fit(self, rows: TrainingRows) -> State:
        return self._project(rows)[0]


class PcaWhiten(_Projection):
    """Principal components scaled to variance 1: D^(−1/2) Eᵀ(x − μ)."""

    name: Literal["pca_whiten"] = "pca_whiten"
    also = ("whiten", "whitening")
    eps: float | None = param(
        None,
        "added to the variances, so that directions with nearly none do not explode on new data",
        when="null: 0 if components are limited, else 1e-5 of the mean variance",
        ge=0,
        le=1e6,
    )

    def fit(self, rows: TrainingRows) -> State:
        state, mean_variance = self._project(rows)
        eps = self.eps
        if eps is None:
            eps = 1e-5 * mean_variance if self.components is None else 0.0
        state["scale"] = np.sqrt(state["variances"] + eps)
        return state


def one_blas_thread() -> AbstractContextManager[object]:
    """Keeps products on one thread, so that their last bits do not depend on how many there are."""
    from threadpoolctl import threadpool_limits

    return cast(AbstractContextManager[object], threadpool_limits(limits=1, user_api="blas"))


NULL_DIRECTION = 1e-10
"""A direction has no variance if it has less than this share of the largest one's."""
WIDEST = 16_384
"""Most features for which the covariance matrix (2 GB at that width) is formed."""


def _principal(rows: TrainingRows, step: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """Mean `[F]`, variances over 1/(m − 1) `[K]` falling, directions `[K, F]`, and F.

    Directions without variance are left out. The sign is such that the entry of largest size is
    positive. Few rows of many features go through the singular values of the rows themselves.
    """
    width = next(iter(rows)).width
    if len(rows) < 2:
        raise DataError(f"{step}: needs two training rows or more; there are {len(rows)}")
    if len(rows) <= width and 8 * len(rows) * width <= SAMPLE_BYTES:
        x = np.concatenate([piece.flat() for piece in rows])
        mean = x.mean(axis=0)
        _, singular, vectors = np.linalg.svd(x - mean, full_matrices=False)
        variances = singular**2 / (len(rows) - 1)
    elif width <= WIDEST:
        moments = Moments(products=True)
        for piece in rows:
            moments.add(piece.flat())
        mean = moments.mean
        values, columns = np.linalg.eigh(moments.m2 / (len(rows) - 1))
        variances, vectors = values[::-1], columns.T[::-1]
    else:
        raise DataError(f"{step}: {width} features are too many; at most {WIDEST} can be handled")
    real = (variances > NULL_DIRECTION * variances[0]) & (variances > 0)
    variances, vectors = variances[real], vectors[real]
    largest = np.argmax(np.abs(vectors), axis=1)
    signs = np.sign(vectors[np.arange(len(vectors)), largest])
    return mean, variances, vectors * signs[:, None], width


# -- text and gaps ---------------------------------------------------------------------------------


class OneHot(Step):
    """A 0/1 column for each category seen in training; a missing value is a category of its own.

    Categories that are rarer than `min_frequency` share one column; unseen ones become zeros.
    """

    name: Literal["one_hot"] = "one_hot"
    also = ("onehot", "one_hot_encoder", "dummies")
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

    def problem(self, kinds: Kinds) -> str | None:
        return None if kinds.text else "there is no text column"

    def after(self, kinds: Kinds) -> Kinds:
        return replace(kinds, numeric=True, text=False)

    def fit(self, rows: TrainingRows) -> State:
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

    def apply(self, features: Features, state: State) -> Features:
        blocks, names = [features.flat()], list(features.names)
        for place, column in enumerate(features.categorical_names):
            kept, rare = state["categories"][place], state["rare"][place]
            codes = _codes(features.categorical[:, place], kept, rare)
            width = len(kept) + bool(rare)
            blocks.append((codes[:, None] == np.arange(width)).astype(np.float64))
            names += [f"{column}={'(missing)' if v is None else v}" for v in kept]
            names += [f"{column}=(rare)"] if rare else []
        n = len(features)
        return Features(np.concatenate(blocks, axis=1), tuple(names), np.empty((n, 0), object), ())

    def unusual(self, features: Features, state: State) -> dict[str, int]:
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


class Impute(Step):
    """Fills missing values with the column's median, mean or most frequent training value.

    Text columns are filled with their most frequent value. Of training rows larger than 256 MB as
    float64, the median and the most frequent value are those of evenly spaced rows.
    """

    name: Literal["impute"] = "impute"
    also = ("imputer", "fill_missing", "simple_imputer")
    strategy: Literal["median", "mean", "most_frequent"] = param(
        "median", "what numeric columns are filled with"
    )
    indicator: bool = param(
        False, "add a 0/1 column for each numeric column that has missing values in training"
    )

    def problem(self, kinds: Kinds) -> str | None:
        if self.indicator and kinds.image:
            return "`indicator` adds columns, and images have none"
        return None

    def after(self, kinds: Kinds) -> Kinds:
        return replace(kinds, missing=False)

    def fit(self, rows: TrainingRows) -> State:
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
            raise DataError(f"impute: no value in any training row: {shown(empty)}; `drop` them")
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

    def apply(self, features: Features, state: State) -> Features:
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
