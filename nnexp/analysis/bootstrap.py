"""The bootstrap over test examples, for two models that are there once each."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from nnexp.stats import Estimate, FloatArray, t_cdf, t_quantile

RESAMPLES = 4000
BLOCKS = 2000
"""More examples than this are averaged in as many random blocks before they are resampled: of
independent examples that leaves the variance of a mean as it is, and the time bounded."""

_CHUNK = 1 << 20


class Combined(Protocol):
    """A function of means over examples, such as a `Statistic`."""

    @property
    def combine(self) -> Callable[[FloatArray], FloatArray]: ...


@dataclass(frozen=True)
class Bootstrap(Estimate):
    """A difference with the distribution that resampling gave it.

    draws: sorted differences of the resamples.
    exact_p: the p to report instead of the bootstrap's (McNemar's). least: the smallest true
        difference for which such a p is below 0.05 with 80 % power.

    Quantiles are the expanded percentiles of Hesterberg (2015): Φ(√(n/(n−1))·t_q) in place of q,
    as the plain percentile interval is too narrow for few examples.
    """

    draws: FloatArray = field(default_factory=lambda: np.zeros(0), repr=False, compare=False)
    exact_p: float | None = None
    least: float = 0.0

    def below(self, x: float) -> float:
        return self._confidence(self._count_below(x))

    def above(self, x: float) -> float:
        return self._confidence(len(self.draws) - self._count_below(x))

    def quantile(self, q: float) -> float:
        from scipy.special import ndtr

        wider = math.sqrt((self.df + 1) / self.df)
        return float(np.quantile(self.draws, ndtr(wider * t_quantile(self.df, q))))

    @property
    def p_value(self) -> float | None:
        return super().p_value if self.exact_p is None else self.exact_p

    @property
    def detectable(self) -> float | None:
        found = super().detectable
        return None if found is None else max(found, self.least)

    def _count_below(self, x: float) -> float:
        """Draws below x, those at x counted half; rounding makes no difference of equal draws."""
        slack = 1e-12 * max(abs(x), abs(self.difference), self.error)
        low = np.searchsorted(self.draws, x - slack, "left")
        high = np.searchsorted(self.draws, x + slack, "right")
        return float(low + high) / 2

    def _confidence(self, count: float) -> float:
        from scipy.special import ndtri

        share = (count + 0.5) / (len(self.draws) + 1)
        return t_cdf(self.df, float(ndtri(share)) / math.sqrt((self.df + 1) / self.df))


def paired(metric: Combined, a: FloatArray, b: FloatArray, seed: int = 0) -> Bootstrap:
    """Both models on the same examples: moments a, b `[m, k]`, resampled together."""
    both = _resampled(np.hstack([a, b]), np.random.default_rng(seed))
    draws = metric.combine(both[:, a.shape[1] :]) - metric.combine(both[:, : a.shape[1]])
    return _estimate("paired bootstrap over test examples", metric, (a, b), draws)


def unpaired(metric: Combined, a: FloatArray, b: FloatArray, seed: int = 0) -> Bootstrap:
    """Each model on examples of its own: moments a `[mA, k]`, b `[mB, k]`."""
    rng = np.random.default_rng(seed)
    draws = -metric.combine(_resampled(a, rng)) + metric.combine(_resampled(b, rng))
    return _estimate("unpaired bootstrap over test examples", metric, (a, b), draws)


def shares(a: FloatArray, b: FloatArray, seed: int = 0) -> Bootstrap:
    """Each model right or wrong on examples of its own: hits a `[mA]`, b `[mB]`, 0 or 1.

    Resampling 35 hits of 35 would give 35 each time; so each share is drawn from Jeffreys'
    Beta(k + ½, m − k + ½) instead, whose intervals cover well even there (Brown, Cai & DasGupta
    2001).
    """
    rng = np.random.default_rng(seed)
    drawn = [
        rng.beta(x.sum() + 0.5, len(x) - x.sum() + 0.5, RESAMPLES) for x in map(np.asarray, (a, b))
    ]
    draws = np.sort(drawn[1] - drawn[0])
    spread, df = float(draws.std(ddof=1)), min(len(a), len(b)) - 1.0
    test = "unpaired shares by Jeffreys' intervals over test examples"
    return Bootstrap(test, float(b.mean() - a.mean()), spread, df, draws=draws)


def _estimate(
    test: str, metric: Combined, moments: tuple[FloatArray, FloatArray], draws: FloatArray
) -> Bootstrap:
    a, b = (float(metric.combine(x.mean(axis=0))) for x in moments)
    df = min(map(len, moments)) - 1.0
    draws = np.sort(draws[np.isfinite(draws)])
    error = math.nan
    # A resample whose targets are all equal has no R²; with too few left, nothing is claimed.
    if df > 0 and len(draws) >= 0.99 * RESAMPLES:
        spread = float(draws.std(ddof=1))
        error = spread if spread > 1e-12 * (abs(a) + abs(b)) else 0.0
    return Bootstrap(test, b - a, error, df, draws=draws)


def _resampled(moments: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Means of `RESAMPLES` samples with replacement of the rows: `[RESAMPLES, k]`."""
    rows = _blocks(moments, rng)
    m = len(rows)
    chunk = max(1, _CHUNK // m)
    means = []
    for start in range(0, RESAMPLES, chunk):
        count = min(chunk, RESAMPLES - start)
        drawn = rng.integers(0, m, size=(count, m)) + np.arange(count)[:, None] * m
        weights = np.bincount(drawn.ravel(), minlength=count * m).reshape(count, m)
        sums = weights.astype(np.float64) @ rows
        means.append(sums[:, 1:] / sums[:, :1])
    return np.concatenate(means)


def _blocks(moments: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Each row's weight (its number of examples) and sums of moments: `[≤ BLOCKS, 1 + k]`."""
    rows = np.hstack([np.ones((len(moments), 1)), moments])
    if len(rows) <= BLOCKS:
        return rows
    edges = np.linspace(0, len(rows), BLOCKS, endpoint=False).astype(np.int64)
    return np.asarray(np.add.reduceat(rows[rng.permutation(len(rows))], edges, axis=0))
