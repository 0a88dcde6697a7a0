"""Differences between recipes, with intervals that hold what they promise.

A difference is always B − A. An `Estimate` is a confidence distribution (Xie & Singh 2013): from
`below(x)`, the confidence that the true difference is below x, follow the interval, the two-sided
p and the equivalence test. scipy.special is imported inside functions: comparing stays quick.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

FloatArray: TypeAlias = "np.ndarray[Any, np.dtype[np.float64]]"
Bounds: TypeAlias = tuple[float, float]

LEVEL = 0.95
POWER = 0.8
MOST_MEMBERS = 100_000
"""The largest number of seeds or splits that `Estimate.members_needed` names."""


EXACT_RANKS = 60
"""Up to so many values `rank_test` is exact."""


@dataclass(frozen=True)
class Estimate:
    """A difference whose error follows Student's t.

    test: the method, in words.
    error: standard error of the difference; 0 or NaN means that nothing can be tested.
    df: degrees of freedom.
    per_member, floor: the squared error with n members a side is per_member / n + floor;
        None where more members are no option (single runs).
    samples: independent samples of members behind `per_member`: 2, or 1 where they are paired.
    """

    test: str
    difference: float
    error: float
    df: float
    per_member: float | None = None
    floor: float = 0.0
    samples: int = 2

    @property
    def testable(self) -> bool:
        """Whether there is any variance to judge the difference by."""
        # Equal numbers whose mean is rounded have a spread of some 1e-17 of their size.
        return math.isfinite(self.error) and self.error > 1e-13 * abs(self.difference)

    def below(self, x: float) -> float:
        """Confidence that the true difference is less than x."""
        return t_cdf(self.df, (x - self.difference) / self.error)

    def above(self, x: float) -> float:
        """Confidence that the true difference is more than x; exact where it is tiny."""
        return t_cdf(self.df, (self.difference - x) / self.error)

    def quantile(self, q: float) -> float:
        """The x with `below(x)` = q."""
        return self.difference + self.error * t_quantile(self.df, q)

    def interval(self, level: float = LEVEL, bounds: Bounds | None = None) -> Bounds | None:
        """The central interval, cut to `bounds`; None without variance."""
        if not self.testable:
            return None
        return _within(self.quantile((1 - level) / 2), self.quantile((1 + level) / 2), bounds)

    @property
    def p_value(self) -> float | None:
        """Two-sided p of "no difference"; None without variance."""
        if not self.testable:
            return None
        return min(1.0, 2 * min(self.below(0.0), self.above(0.0)))

    def p_equivalent(self, margin: float) -> float | None:
        """p of "the difference is at least the margin" (two one-sided tests, Schuirmann 1987)."""
        if not self.testable:
            return None
        return min(1.0, max(self.below(-margin), self.above(margin)))

    @property
    def detectable(self) -> float | None:
        """The true difference that would be found with 80 % power (Bloom 1995):
        (t_0.975 + t_0.8)·error. It does not depend on the observed difference."""
        return _detectable(self.error, self.df) if self.testable else None

    def members_needed(self, margin: float) -> int | None:
        """Members a side with which a true difference of `margin` is found with 80 % power.

        None if that can't be told, and if no number is enough: more members don't lower `floor`.
        """
        if self.per_member is None or not self.testable:
            return None

        def enough(n: int) -> bool:
            error = math.sqrt(self.per_member / n + self.floor) if self.per_member else 0.0
            return _detectable(error, self.samples * (n - 1)) <= margin

        low, high = 1, 2
        while not enough(high):
            if high >= MOST_MEMBERS:
                return None
            low, high = high, high * 2
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if enough(middle) else (middle, high)
        return high


def describe(values: Sequence[float | None], bounds: Bounds | None = None) -> dict[str, Any]:
    """Mean, standard deviation, 95 % t-interval of the mean, and count of the finite values.

    bounds: what the metric can be, such as (0, 1); the interval is cut to it.
    Without a second value there is no `sd` and no `interval`; without a first, no `mean`.
    """
    x = np.array([v for v in values if v is not None and math.isfinite(v)], dtype=np.float64)
    n = len(x)
    if n == 0:
        return {"mean": None, "sd": None, "interval": None, "n": 0}
    mean = float(x.mean())
    if n == 1:
        return {"mean": mean, "sd": None, "interval": None, "n": 1}
    sd = math.sqrt(_variance(x))
    half = t_quantile(n - 1, (1 + LEVEL) / 2) * sd / math.sqrt(n)
    interval = list(_within(mean - half, mean + half, bounds))
    return {"mean": mean, "sd": sd, "interval": interval, "n": n}


def welch(a: FloatArray, b: FloatArray) -> Estimate:
    """Welch's (1947) t over members: a `[nA]`, b `[nB]`, variances not assumed equal."""
    parts = [(_variance(x) / len(x), len(x) - 1.0) for x in (a, b)]
    variance, df = _satterthwaite(parts)
    return Estimate(
        "Welch's t over seeds",
        float(b.mean() - a.mean()),
        _root(variance),
        df,
        per_member=_variance(a) + _variance(b),
    )


def two_way(a: FloatArray, b: FloatArray, *, paired: bool = True) -> Estimate:
    """Difference of grand means when both the seeds and the test examples were drawn by chance.

    a `[nA, mA]`, b `[nB, mB]`: score of each member on each example; paired: the same examples in
    the same order. Seeds and examples are crossed random effects, recipe r scoring
    μ_r + seed_rs + example_re + residual_rse (residual: their interaction). The variance is
    V_seed + V_example − V_interaction, unbiased, as both first terms hold the last one:

        V_seed        = Σ_r S²_s(mean over e) / n_r
        V_example     = S²_e(mean over B's seeds − mean over A's seeds) / m
        V_interaction = Σ_r MS_residual,r / (n_r·m)

    (the multi-reader multi-case layout: Dorfman, Berbaum & Metz 1992; Gallas 2006), with
    Satterthwaite's degrees of freedom. Neither V_seed nor V_example exceeds the truth in
    expectation, so an estimate below the larger one is raised to it. The training set is the same
    for all, so its chance is not in the interval.
    """
    seed = [(_variance(x.mean(axis=1)) / len(x), len(x) - 1.0) for x in (a, b)]
    mean_a, mean_b = a.mean(axis=0), b.mean(axis=0)
    columns = [mean_b - mean_a] if paired else [mean_a, mean_b]
    example = [(_variance(x) / len(x), len(x) - 1.0) for x in columns]
    interaction = [_interaction(x) for x in (a, b)]
    whole = _satterthwaite([*seed, *example, *((-v, df) for v, df in interaction)])
    variance, df = max(whole, _satterthwaite(seed), _satterthwaite(example))
    floor = sum(v for v, _ in example) - sum(v for v, _ in interaction)
    return Estimate(
        "two-way interval over seeds and test examples",
        float(mean_b.mean() - mean_a.mean()),
        _root(variance),
        df,
        per_member=seed[0][0] * len(a) + seed[1][0] * len(b),
        floor=max(floor, 0.0),
    )


def corrected_paired(differences: FloatArray, ratio: float) -> Estimate:
    """Paired t over splits with Nadeau & Bengio's (2003) variance: S²·(1/K + n_test/n_train).

    differences `[K]`: B − A on each split; ratio: n_test / n_train. The training sets overlap, so
    the K differences are not independent, and S²/K is too small.
    """
    count, variance = len(differences), _variance(differences)
    return Estimate(
        "paired t over splits with Nadeau and Bengio's variance",
        float(differences.mean()),
        _root(variance * (1 / count + ratio)),
        count - 1.0,
        per_member=variance,
        floor=variance * ratio,
        samples=1,
    )


def corrected_welch(a: FloatArray, b: FloatArray, ratios: tuple[float, float]) -> Estimate:
    """Welch's t over splits that don't pair up, each variance corrected as in `corrected_paired`.

    a `[KA]`, b `[KB]`: scores; ratios: n_test / n_train of each.
    """
    spread = [_variance(x) for x in (a, b)]
    parts = [
        (v * (1 / len(x) + ratio), len(x) - 1.0)
        for v, x, ratio in zip(spread, (a, b), ratios, strict=True)
    ]
    variance, df = _satterthwaite(parts)
    return Estimate(
        "Welch's t over splits with Nadeau and Bengio's variance",
        float(b.mean() - a.mean()),
        _root(variance),
        df,
        per_member=sum(spread),
        floor=sum(v * ratio for v, ratio in zip(spread, ratios, strict=True)),
    )


def mcnemar_exact(only_a: int, only_b: int) -> float | None:
    """McNemar's exact two-sided p (1947): the discordant examples are fair coin tosses.

    only_a, only_b: examples that only one of the models gets right; None if there are none.
    """
    from scipy.special import bdtr

    count = only_a + only_b
    return min(1.0, 2 * float(bdtr(min(only_a, only_b), count, 0.5))) if count else None


def rank_test(a: FloatArray, b: FloatArray) -> tuple[float, float | None]:
    """P(b < a) + ½ P(b = a), and Mann & Whitney's (1947) two-sided p; ∞ is a value like others.

    Ties share their mean rank. p is the permutation distribution's, given the ranks: exact up to
    `EXACT_RANKS` values, beyond that by the normal approximation. None if all values are equal.
    """
    size, count = len(a), len(a) + len(b)
    values = np.concatenate([a, b])
    ordered = np.sort(values)
    left, right = (np.searchsorted(ordered, values, side) for side in ("left", "right"))
    ranks = left + right + 1  # twice the mean rank: whole numbers
    total = int(ranks[:size].sum())
    chance = (total / 2 - size * (size + 1) / 2) / (size * len(b))
    if ordered[0] == ordered[-1]:
        return chance, None
    middle = size * (count + 1)
    if count > EXACT_RANKS:
        variance = size * len(b) * float(((ranks - count - 1.0) ** 2).sum()) / count / (count - 1)
        return chance, math.erfc(abs(total - middle) / math.sqrt(2 * variance))
    sums = np.zeros((size + 1, int(ranks.sum()) + 1))  # ways to draw k ranks with a given sum
    sums[0, 0] = 1.0
    for rank in ranks:
        sums[1:, rank:] += sums[:-1, : sums.shape[1] - rank].copy()
    ways = sums[size]
    far = np.abs(np.arange(len(ways)) - middle) >= abs(total - middle)
    return chance, min(1.0, float(ways[far].sum() / ways.sum()))


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's (1979) adjusted p of each, in the order given; None stays None and isn't counted."""
    known = sorted((p, i) for i, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for rank, (p, i) in enumerate(known):
        largest = max(largest, min(1.0, p * (len(known) - rank)))
        adjusted[i] = largest
    return adjusted


def hedges_g(a: FloatArray, b: FloatArray) -> float | None:
    """Hedges' (1981) g, exactly corrected: Γ(f/2) / (√(f/2)·Γ((f−1)/2)) · (mean b − mean a) / S.

    S is the pooled standard deviation with f = nA + nB − 2. None for f < 2 or without variance.
    """
    f = len(a) + len(b) - 2
    if f < 2 or min(len(a), len(b)) < 2:
        return None
    pooled = ((len(a) - 1) * _variance(a) + (len(b) - 1) * _variance(b)) / f
    if pooled == 0:
        return None
    correction = math.exp(math.lgamma(f / 2) - math.lgamma((f - 1) / 2)) / math.sqrt(f / 2)
    return float(correction * (b.mean() - a.mean()) / math.sqrt(pooled))


def _variance(x: FloatArray) -> float:
    """Unbiased; NaN for fewer than two values, exactly 0 for equal ones."""
    if len(x) < 2:
        return math.nan
    return 0.0 if np.all(x == x[0]) else float(x.var(ddof=1))


def _interaction(scores: FloatArray) -> tuple[float, float]:
    """MS of the seed × example residual over n·m, and its degrees of freedom."""
    n, m = scores.shape
    df = float((n - 1) * (m - 1))
    if df == 0:
        return math.nan, 1.0
    residual = scores - scores.mean(axis=1, keepdims=True) - scores.mean(axis=0) + scores.mean()
    return float((residual**2).sum() / df / (n * m)), df


def _satterthwaite(parts: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Sum of independent variances (v, df), and its degrees of freedom (Satterthwaite 1946)."""
    variance = sum(v for v, _ in parts)
    spread = sum(v * v / df for v, df in parts if df > 0)
    if not variance > 0 or not spread > 0:
        return (math.nan if math.isnan(variance) else 0.0), 1.0
    return variance, variance * variance / spread


def _root(variance: float) -> float:
    return math.sqrt(variance) if variance >= 0 else math.nan


def _detectable(error: float, df: float) -> float:
    return error * (t_quantile(df, (1 + LEVEL) / 2) + t_quantile(df, POWER))


def _within(low: float, high: float, bounds: Bounds | None) -> Bounds:
    if bounds is None:
        return low, high
    return min(max(low, bounds[0]), bounds[1]), max(min(high, bounds[1]), bounds[0])


def t_cdf(df: float, t: float) -> float:
    """P(T ≤ t) of Student's t."""
    from scipy.special import stdtr

    return float(stdtr(df, t))


def t_quantile(df: float, q: float) -> float:
    """The t with P(T ≤ t) = q of Student's t."""
    from scipy.special import stdtrit

    return float(stdtrit(df, q))
