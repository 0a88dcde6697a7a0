"""Whether a model underfits or overfits: its errors on train and dev against the best possible.

With E the best possible error (Bayes' error; 0 if nothing is known), the avoidable bias is the
training error − E, and the variance the dev error − the training error (Ng 2018, "Machine learning
yearning", chapters 20 to 23).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nnexp.analysis.findings import counted, evaluated_ratio, shared, statistic_of
from nnexp.analysis.remark import Grade, Remark, share, unknown
from nnexp.analysis.remedies import against_bias, against_variance
from nnexp.analysis.results import Result, as_number
from nnexp.components.metrics.metric import Metric
from nnexp.errors import NnexpError
from nnexp.stats import Bounds, Estimate, FloatArray, corrected_paired

TOPIC = "bias and variance"
HIGH = 0.02
"""A gap from so large a share on counts as high: 2 percentage points of error, or 2 % of the error
of the mean of the targets."""

LOW_BOTH = "low bias and low variance"
HIGH_BIAS, HIGH_VARIANCE = "high bias", "high variance"
HIGH_BOTH = "high bias and high variance"


def verdict(bias: float, variance: float, high: float = HIGH) -> str:
    """Which of the two gaps are high; they are rounded where numbers are only nearly equal."""
    if _is_high(bias, high):
        return HIGH_BOTH if _is_high(variance, high) else HIGH_BIAS
    return HIGH_VARIANCE if _is_high(variance, high) else LOW_BOTH


def _is_high(gap: float, high: float = HIGH) -> bool:
    return round(gap, 12) >= high


def four_verdicts(train: float, dev: float, best_possible: float = 0.0) -> str:
    """The verdict on two errors that are shares, such as 0.01 and 0.11, whatever their chance."""
    return verdict(train - best_possible, dev - train)


@dataclass(frozen=True)
class Measure:
    """A metric read as an error, which is 0 at best.

    label: what the error is called. scale: the error that counts as 1. complement: whether the
    error is 1 − the metric.
    """

    metric: str
    label: str
    scale: float = 1.0
    complement: bool = False

    @property
    def is_share(self) -> bool:
        """Whether it is a share of examples (or of variance), shown in per cent."""
        return self.metric not in ("rmse", "mae")

    def error(self, value: float) -> float:
        return 1.0 - value if self.complement else value

    def text(self, value: float) -> str:
        return share(value) if self.is_share else f"{value:.4g}"


def measure(result: Result, split: str) -> Measure | None:
    """The primary metric if it can be read as an error, else another that can; None without."""
    known = result.part("train")
    for name in (str(result.summary.get("primary")), "error", "accuracy", "r2", "rmse", "mae"):
        cls = Metric.registered.get(name)
        if name not in known or cls is None or not issubclass(cls, Metric):
            continue
        if cls.bounds == (0.0, 1.0) or name == "r2":
            complement = cls.higher_is_better
            return Measure(name, f"1 − {name}" if complement else name, complement=complement)
        if name in ("rmse", "mae") and (scale := _trivial(result, split, name)) > 0:
            return Measure(name, name, scale)
    return None


def _trivial(result: Result, split: str, metric: str) -> float:
    """The error of predicting every target's mean; 0 if it can't be told."""
    try:
        apart = result.runs[0].predictions(split).numbers("target")
    except NnexpError:
        return 0.0
    if len(apart) < 2:
        return 0.0
    apart = apart - apart.mean(axis=0)
    return float(np.sqrt((apart**2).mean()) if metric == "rmse" else np.abs(apart).mean())


# -- a run or a group ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Best:
    """The best possible error, and where it is from."""

    value: float
    source: str


def best_error(result: Result, split: str, by: Measure, train: float, given: float | None) -> Best:
    """The user's; else that of the best baseline, if it beats the network on its own training
    examples (else it says nothing of what is possible); else 0.
    """
    if given is not None:
        return Best(given, "as given")
    found: list[tuple[float, str]] = []
    for name, scores in (result.summary.get("baselines") or {}).items():
        value = as_number((scores.get(split) or {}).get(by.metric))
        if value is not None:
            found.append((by.error(value), name))
    error, name = min(found, default=(math.inf, ""))
    return Best(error, f"what {name} has on {split}") if error < train else Best(0.0, "assumed")


@dataclass(frozen=True)
class Gaps:
    """The errors of the members `[M]`, and what they say of bias and variance."""

    by: Measure
    split: str
    train: FloatArray
    dev: FloatArray
    best: Best
    bias: Estimate
    variance: Estimate

    @property
    def shares(self) -> tuple[float, float]:
        """Bias and variance as shares."""
        return self.bias.difference / self.by.scale, self.variance.difference / self.by.scale

    @property
    def sure(self) -> tuple[float, float]:
        """Likewise, but 0 where chance may have made them."""
        pairs = zip(self.shares, (self.bias, self.variance), strict=True)
        bias, variance = (share if _is_sure(gap) else 0.0 for share, gap in pairs)
        return bias, variance

    @property
    def verdict(self) -> str:
        """One of the four; or which gap is only perhaps high."""
        sure, plain = verdict(*self.sure), verdict(*self.shares)
        if sure == plain:
            return plain
        told = []
        pairs = zip((HIGH_BIAS, HIGH_VARIANCE), self.sure, self.shares, strict=True)
        for name, certain, seen in pairs:
            if _is_high(certain):
                told.append(name)
            else:
                told.append(f"perhaps {name}" if _is_high(seen) else name.replace("high", "low"))
        return ", ".join(told)

    def to_json(self) -> dict[str, Any]:
        return {
            "metric": self.by.metric,
            "error": self.by.label,
            "split": self.split,
            "train_error": float(self.train.mean()),
            "dev_error": float(self.dev.mean()),
            "best_possible": self.best.value,
            "best_possible_source": self.best.source,
            "bias": self.bias.difference,
            "bias_interval": self.bias.interval(),
            "variance": self.variance.difference,
            "variance_interval": self.variance.interval(),
            "high_from": HIGH * self.by.scale,
            "members": [
                {"train_error": float(t), "dev_error": float(d)}
                for t, d in zip(self.train, self.dev, strict=True)
            ],
        }


def gaps(result: Result, split: str, given: float | None = None) -> Gaps | str:
    """Bias and variance of a run, or over a group's members; else why they can't be told.

    given: the best possible error, in the units of the error.
    """
    by = measure(result, split)
    if by is None:
        return f"its metrics can't be read as an error (the first: {result.summary['primary']})"
    runs = [r for r in counted(result, split, by.metric) if _is_finite(r, by.metric)]
    if not runs:
        return f"no model has a {by.metric} on train and {split}"
    train = np.array([by.error(run.value("train", by.metric)) for run in runs])
    dev = np.array([by.error(run.value(split, by.metric)) for run in runs])
    best = best_error(result, split, by, float(train.mean()), given)
    bias = _bias(result, by, train, best.value)
    variance = _variance(result, split, by, runs, dev - train)
    return Gaps(by, split, train, dev, best, bias, variance)


def bias_variance(
    result: Result, split: str, given: float | None = None, still_improving: bool = False
) -> Remark:
    """Which of bias and variance is high.

    A gap is surely high from `HIGH` on if its 95 % interval is above 0, else chance would do.
    given: the best possible error. still_improving: whether the training was not over, which is
    the first thing to mend of a high bias.
    """
    found = gaps(result, split, given)
    if isinstance(found, str):
        return unknown(TOPIC, found)
    told, sure = found.verdict, verdict(*found.sure)
    text = _text(found)
    if found.best.source == "assumed" and sure in (HIGH_BIAS, HIGH_BOTH):
        text += " If noise in the targets leaves no way to 0, say so with --best-possible."
    grade: Grade = "bad" if sure == HIGH_BOTH else "good" if told == LOW_BOTH else "look"
    advice = _advice(sure, result, still_improving)
    if sure == LOW_BOTH and told != LOW_BOTH:
        advice = "Chance may have made this gap: more --seeds, or a larger dev split, would tell."
    return Remark(TOPIC, told, grade, text, advice, found.to_json())


def _is_finite(run: Result, metric: str) -> bool:
    return math.isfinite(run.value("train", metric))


def _is_sure(gap: Estimate) -> bool:
    """Whether the gap is above 0 beyond chance; where that has no measure, as it is."""
    interval = gap.interval()
    return interval is None or interval[0] > 0


def _bias(result: Result, by: Measure, train: FloatArray, best: float) -> Estimate:
    """The mean training error − the best possible one, with the chance of members and examples."""
    parts = _members_part(train)
    mean = float(train.mean())
    counts = (result.runs[0].manifest.get("split") or {}).get("counts") or {}
    size = as_number(counts.get("train")) or 0
    if by.metric in ("accuracy", "error") and size > 1:
        parts.append((mean * (1 - mean) / size, size - 1))
    return _estimate(mean - best, parts)


def _variance(
    result: Result, split: str, by: Measure, runs: Sequence[Result], apart: FloatArray
) -> Estimate:
    """The mean of dev error − training error `[M]`; the training examples are taken as they are."""
    if result.manifest.get("varies") == "split" and len(apart) > 1:
        return corrected_paired(apart, evaluated_ratio(result, split))
    parts = [*_members_part(apart), *_examples_part(runs, split, by)]
    return _estimate(float(apart.mean()), parts)


def _members_part(values: FloatArray) -> list[tuple[float, float]]:
    """The squared error of the members' mean and its degrees of freedom, if there are several."""
    if len(values) < 2:
        return []
    return [(float(values.var(ddof=1)) / len(values), len(values) - 1.0)]


def _examples_part(runs: Sequence[Result], split: str, by: Measure) -> list[tuple[float, float]]:
    """Likewise of the split's examples, where the metric is a mean over them."""
    by_examples = statistic_of(runs[0], by.metric)
    if by_examples is None:
        return []
    try:
        rows = shared([run.predictions(split) for run in runs])
        each = np.mean([by_examples.influence(by_examples.moments(p)) for p in rows], axis=0)
    except NnexpError:  # a run that kept no predictions
        return []
    return [(float(each.var(ddof=1)) / len(each), len(each) - 1.0)] if len(each) > 1 else []


def _estimate(gap: float, parts: Sequence[tuple[float, float]]) -> Estimate:
    """With Satterthwaite's degrees of freedom."""
    variance = sum(v for v, _ in parts)
    spread = sum(v * v / df for v, df in parts)
    if not spread > 0:
        return Estimate("none", gap, math.nan, math.nan)
    return Estimate("members and examples", gap, math.sqrt(variance), variance**2 / spread)


# -- words -----------------------------------------------------------------------------------------


def _text(found: Gaps) -> str:
    by, split = found.by, found.split
    pairs = (("train", found.train), (split, found.dev))
    errors = ", ".join(f"{name} {_spread(by, x)}" for name, x in pairs)
    text = (
        f"error ({by.label}): {errors}, best possible {by.text(found.best.value)} "
        f"({found.best.source}). Avoidable bias {_gap(by, found.bias)}, variance "
        f"{_gap(by, found.variance)}; high from {by.text(HIGH * by.scale)} on."
    )
    if split == "test":
        text += " There is no dev split, so test stands in: what is decided by it, flatters it."
    return text


def _spread(by: Measure, values: FloatArray) -> str:
    mean = by.text(float(values.mean()))
    return mean if len(values) < 2 else f"{mean} ± {by.text(float(values.std(ddof=1)))}"


def _gap(by: Measure, gap: Estimate) -> str:
    interval: Bounds | None = gap.interval()
    if interval is None:
        return by.text(gap.difference)
    low, high = map(by.text, interval)
    return f"{by.text(gap.difference)} (95 %: {low} to {high})"


def _advice(found: str, result: Result, still_improving: bool) -> str:
    if found == LOW_BOTH:
        return "Score it once on test (nnexp eval); better than this takes other data or features."
    if found == HIGH_VARIANCE:
        return against_variance(result)
    first = "Train longer first (see below)." if still_improving else against_bias(result)
    return first if found == HIGH_BIAS else f"Bias first, then look at this again. {first}"
