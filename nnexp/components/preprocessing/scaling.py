"""Steps that shift and scale: y = (x − centre) / scale + low, elementwise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from pydantic import ValidationInfo, field_validator

from nnexp.components.preprocessing.columns import Kinds, may_match, shown
from nnexp.components.preprocessing.step import Affine, Moments, State, Step, TrainingRows
from nnexp.components.table import Features
from nnexp.errors import DataError, nearest
from nnexp.registry import param, rule

Per = Literal["feature", "channel", "global"]


class _Scaling(Step):
    """y = (x − centre) / scale + low, elementwise; the state's arrays have an example's shape."""

    per: Per = param(
        "feature", "what shares one centre and scale: a feature, an image channel, or everything"
    )

    def _problem(self, kinds: Kinds) -> str | None:
        if self.per == "channel" and not kinds.image:
            return "`per: channel` needs images; a table has `feature` or `global`"
        return super()._problem(kinds)

    def _apply(self, features: Features, state: State) -> Features:
        x = np.asarray(features.numeric[:], np.float64)
        return features.with_numeric((x - state["centre"]) / state["scale"] + state["low"])

    def _affine(self, state: State) -> Affine:
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
        constant = constant | (scale < np.finfo(np.float64).tiny)  # 1 / scale would be infinite
        ones = (1,) * len(like.shape)
        shape = {"feature": like.shape, "channel": (-1, *ones[1:]), "global": ones}
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
    """(x − μ) / σ, with σ² over 1/m.

    A column that is constant in training is only centred, and reported.

    Use: the usual choice for real-valued columns; min_max where a range is natural, as for pixels.

    Source: LeCun, Bottou, Orr & Müller (1998), "Efficient BackProp", section 4.3.
    """

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
            if abs(factor) > 1e6:
                raise rule(f"{column}: {factor:g} is no factor between −1e6 and 1e6")
        return value

    def _problem(self, kinds: Kinds) -> str | None:
        for column in () if kinds.image else self.factors:
            if column not in kinds.numeric and not any(may_match(column, g) for g in kinds.made):
                return self._no_column(column, kinds.numeric)
        return super()._problem(kinds)

    def _no_column(self, column: str, names: Sequence[str]) -> str:
        close = nearest(column, names)
        hint = f"; did you mean {close}?" if close else ""
        return f"factors: there is no column {column}{hint}"

    def _fit(self, rows: TrainingRows) -> State:
        moments, like = self._moments(rows)
        mean = np.where(moments.constant, moments.low, moments.mean)  # exactly its value
        std = np.sqrt(moments.m2 / moments.count)
        state = self._state(like, mean, std, moments.constant, 0.0)
        for column, factor in self.factors.items():
            if column not in like.names:
                raise DataError(f"standardize: {self._no_column(column, like.names)}")
            state["scale"][like.names.index(column)] /= factor
        return state


class Center(_Scaling):
    """Zero mean: x − μ.

    Use: when the columns' scales mean something, as for one quantity measured at several places.

    Source: LeCun, Bottou, Orr & Müller (1998), "Efficient BackProp", section 4.3.
    """

    name: Literal["center"] = "center"
    also = ("centre", "demean", "zero_mean")

    def _fit(self, rows: TrainingRows) -> State:
        moments, like = self._moments(rows)
        mean = np.where(moments.constant, moments.low, moments.mean)
        state = self._state(like, mean, np.ones(mean.shape), moments.constant, 0.0)
        return {**state, "notes": []}


class MinMax(_Scaling):
    """To the range [low, high]: (x − min) / (max − min) · (high − low) + low.

    New data may lie outside the range. A column that is constant in training is only centred.

    Use: for values with natural ends, such as pixels; one outlier squeezes all the others together.
    """

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

    def _fit(self, rows: TrainingRows) -> State:
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
