"""Metrics as functions of means over examples, which is what comparing them honestly needs.

A `Statistic` says what is averaged over the examples (`moments`), how the averages become the
metric (`combine`), and each example's share in it (`influence`: linearized, with mean equal to the
metric). So a bootstrap resamples the moments, and the two-way interval works on the influences.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from nnexp.analysis.results import Predictions
from nnexp.stats import FloatArray


@dataclass(frozen=True)
class Statistic:
    """A metric as a function of means over examples.

    moments: predictions of m examples → `[m, k]`.
    combine: means `[…, k]` → the metric `[…]`.
    influence: moments `[m, k]` → `[m]`, whose mean is the metric: value + derivative of `combine`
        at the means · (moments − means), the infinitesimal jackknife (Jaeckel 1972).
    """

    moments: Callable[[Predictions], FloatArray]
    combine: Callable[[FloatArray], FloatArray]
    influence: Callable[[FloatArray], FloatArray]
