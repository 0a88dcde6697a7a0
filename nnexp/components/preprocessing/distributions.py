"""Steps that change the shape of a column's distribution."""

from __future__ import annotations

from typing import Literal

import numpy as np

from nnexp.components.preprocessing.columns import Kinds, shown
from nnexp.components.preprocessing.step import Moments, State, Step, TrainingRows
from nnexp.components.table import Features
from nnexp.errors import DataError
from nnexp.registry import param

EDGE = 1e-7
"""The normal distribution's quantiles are taken between this and one minus it (±5.2)."""


class Quantile(Step):
    """To a normal (or uniform) distribution by the quantiles of each column: Φ⁻¹(F(x)).

    F is linear between the quantiles. Values beyond those of training go to the ends: 0 and 1, or
    ∓5.2; a constant column becomes the middle, and is reported. Of training rows larger than
    256 MB as float64, the quantiles are those of evenly spaced rows.

    Use: for columns with long tails or outliers that no single formula tames; needs some hundred
    rows, and loses the distances between values.

    Source: van der Waerden (1952), "Order tests for the two-sample problem and their power".
    """

    name: Literal["quantile"] = "quantile"
    also = ("quantile_transformer", "rank_gauss")
    output: Literal["normal", "uniform"] = param("normal", "the distribution that columns get")
    quantiles: int = param(1000, "how many are kept, at most one a training row", ge=2, le=100_000)

    def _problem(self, kinds: Kinds) -> str | None:
        if kinds.image:
            return "is for the columns of a table, and an image has none"
        return super()._problem(kinds)

    def _fit(self, rows: TrainingRows) -> State:
        x, complete = rows.sample()
        levels = np.linspace(0.0, 1.0, max(2, min(self.quantiles, len(x))))
        knots = np.maximum.accumulate(np.quantile(x, levels, axis=0))  # rounding may turn two
        names = next(iter(rows)).names
        same = [
            name for name, column in zip(names, knots.T, strict=True) if column[0] == column[-1]
        ]
        notes = [] if complete else [f"quantile: of {len(x)} rows of {len(rows)}"]
        notes += [f"quantile: constant in training: {shown(same)}"] if same else []
        return {"quantiles": knots, "notes": notes}

    def _apply(self, features: Features, state: State) -> Features:
        x, quantiles = features.flat(), state["quantiles"]
        levels = np.linspace(0.0, 1.0, len(quantiles))
        out = np.empty_like(x)
        for result, column, knots in zip(out.T, x.T, quantiles.T, strict=True):
            # from both sides: the middle of its levels for a value that many rows share
            below = np.interp(column, knots, levels)
            above = np.interp(-column, -knots[::-1], -levels[::-1])
            result[:] = (below - above) / 2
        if self.output == "normal":
            from scipy.special import ndtri

            out = ndtri(np.clip(out, EDGE, 1 - EDGE))
        return features.with_numeric(out)


class Log1p(Step):
    """log(1 + x): brings the long tail of counts nearer.

    Negative training values are an error; in other rows they are taken as 0, and counted in a note.

    Use: for counts and amounts of money, which span decades; standardize afterwards.
    """

    name: Literal["log1p"] = "log1p"
    also = ("log",)

    def _fit(self, rows: TrainingRows) -> State:
        moments = Moments()
        for piece in rows:
            moments.add(piece.flat())
        low = [
            f"{name} (down to {value:g})"
            for name, value in zip(piece.labels, moments.low, strict=True)
            if value < 0
        ]
        if low:
            raise DataError(
                f"log1p: is for values from 0, and there are negative ones in {shown(low)}; choose "
                "others by `columns`"
            )
        return {"notes": []}

    def _apply(self, features: Features, state: State) -> Features:
        x = np.asarray(features.numeric[:], np.float64)
        return features.with_numeric(np.log1p(np.maximum(x, 0.0)))

    def _unusual(self, features: Features, state: State) -> dict[str, int]:
        low = features.flat() < 0
        if features.is_image:
            rows = int(low.any(axis=1).sum())
            return {"negative values, taken as 0 by log1p": rows} if rows else {}
        counts = zip(features.names, low.sum(axis=0), strict=True)
        return {f"{name}: negative, taken as 0 by log1p": int(n) for name, n in counts if n}
