"""Whether a model underfits or overfits: its errors on train and dev against the best possible.

With E the best possible error (Bayes' error; 0 if nothing is known), the avoidable bias is the
training error − E, and the variance the dev error − the training error (Ng 2018, "Machine learning
yearning", chapters 20 to 23). Errors are shares: of examples, or of the targets' variance.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from nnexp.analysis.comparing.findings import counted, evaluated_ratio, shared, statistic_of
from nnexp.analysis.diagnosing.measure import Measure, given_error, measure
from nnexp.analysis.diagnosing.remark import Grade, Remark, share, unknown
from nnexp.analysis.diagnosing.remedies import (
    Advice,
    against_bias,
    against_variance,
    check_first,
    longer,
    more_splits,
)
from nnexp.analysis.results import Result, as_number
from nnexp.errors import NnexpError
from nnexp.stats import Bounds, Estimate, FloatArray, corrected_paired

TOPIC = "bias and variance"
HIGH = 0.02
"""A gap from so large a share on counts as high: 2 percentage points of error, or 2 % of the
targets' variance."""

LOW_BOTH = "low bias and low variance"
HIGH_BIAS, HIGH_VARIANCE = "high bias", "high variance"
HIGH_BOTH = "high bias and high variance"
GUESSING = "no better than guessing"


def verdict(bias: float, variance: float, high: float = HIGH) -> str:
    """Which of the two gaps are high; they are rounded where numbers are only nearly equal."""
    if _is_high(bias, high):
        return HIGH_BOTH if _is_high(variance, high) else HIGH_BIAS
    return HIGH_VARIANCE if _is_high(variance, high) else LOW_BOTH


def _is_high(gap: float, high: float = HIGH) -> bool:
    return round(gap, 12) >= high


@dataclass(frozen=True)
class Best:
    """The best possible error, and where it is from."""

    value: float
    source: str


def best_error(
    result: Result, split: str, by: Measure, train: float, given: str | float | None
) -> Best:
    """The user's; else that of the best baseline, if it beats the network on its own training
    examples (else it says nothing of what is possible); else 0.
    """
    if given is not None:
        return Best(given_error(given, by), "as given")
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
    raw: dict[str, float] = field(default_factory=dict)
    """On train and dev what is known in the targets' units."""

    @property
    def shares(self) -> tuple[float, float]:
        """Bias and variance."""
        return self.bias.difference, self.variance.difference

    @property
    def sure(self) -> tuple[float, float]:
        """Likewise, but 0 where chance may have made them."""
        pairs = zip(self.shares, (self.bias, self.variance), strict=True)
        bias, variance = (share if _is_sure(gap) else 0.0 for share, gap in pairs)
        return bias, variance

    @property
    def clear(self) -> tuple[float, float]:
        """Likewise, but 0 where chance may have made them high."""
        pairs = zip(self.shares, (self.bias, self.variance), strict=True)
        bias, variance = (share if _is_sure(gap, HIGH) else 0.0 for share, gap in pairs)
        return bias, variance

    @property
    def verdict(self) -> str:
        """One of the four; or which gap is only perhaps high."""
        sure, plain = verdict(*self.clear), verdict(*self.shares)
        if sure == plain:
            return plain
        told = []
        pairs = zip((HIGH_BIAS, HIGH_VARIANCE), self.clear, self.shares, strict=True)
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
            "high_from": HIGH,
            "members": [
                {"train_error": float(t), "dev_error": float(d)}
                for t, d in zip(self.train, self.dev, strict=True)
            ],
        }


def gaps(result: Result, split: str, given: str | float | None = None) -> Gaps | str:
    """Bias and variance of a run, or over a group's members; else why they can't be told.

    given: the best possible error: a share, per cent, or in the units of an rmse or mae.
    """
    by = measure(result, split)
    if by is None:
        return f"Its metrics can't be read as an error (the first: {result.summary['primary']})."
    runs = [r for r in counted(result, split, by.metric) if _is_finite(r, by.metric)]
    if not runs:
        return f"No model has a {by.metric} on train and {split}."
    train = np.array([by.error(run.value("train", by.metric)) for run in runs])
    dev = np.array([by.error(run.value(split, by.metric)) for run in runs])
    best = best_error(result, split, by, float(train.mean()), given)
    examples = _examples_part(runs, split, by, float(dev.mean()))
    own = _training_part(result, by, float(train.mean()), float(dev.mean()), examples)
    bias = _estimate(float(train.mean()) - best.value, [*_members_part(train), *own])
    variance = _variance(result, split, dev - train, [*examples, *own])
    raw = {
        name: float(np.mean([run.value(name, by.unit) for run in runs]))
        for name in ("train", split)
        if by.unit
    }
    return Gaps(by, split, train, dev, best, bias, variance, raw)


def bias_variance(
    result: Result,
    split: str,
    given: str | float | None = None,
    past_best: bool = False,
    improving: bool = False,
) -> Remark:
    """Which of bias and variance is high.

    A gap is surely high from `HIGH` on if its 95 % interval is above 0, else chance would do.
    given: the best possible error. past_best: whether weights were kept that are worse than earlier
    ones; improving: whether the training loss still fell: these are to be mended first.
    """
    found = gaps(result, split, given)
    if isinstance(found, str):
        return unknown(TOPIC, found)
    told, sure = found.verdict, verdict(*found.sure)
    text = _text(found)
    guess = _guessing(result, split, found.by)
    if found.train.mean() >= 0.98 * guess:
        text += f" Always saying the same has {share(guess)}."
        return Remark(TOPIC, GUESSING, "bad", text, *check_first(result), found.to_json())
    if found.best.source == "assumed" and sure in (HIGH_BIAS, HIGH_BOTH):
        text += " If noise in the targets leaves no way to 0, say so with --best-possible."
    grade: Grade = "bad" if told == HIGH_BOTH else "good" if told == LOW_BOTH else "look"
    advice = _advice(sure, result, past_best, improving, found.shares)
    if sure == LOW_BOTH and float(found.dev.mean()) == 0.0:
        advice = Advice("", "")
    if sure == LOW_BOTH and told != LOW_BOTH:
        advice = more_splits(result)
    most = found.variance.interval()
    if found.verdict in (LOW_BOTH, HIGH_BIAS) and most and most[1] >= 2 * HIGH:
        text += f" So few examples leave room for a variance of {share(most[1])}."
    if found.best.source == "as given" and found.bias.difference < 0:
        text += " What was given is above the training error: better than that is possible."
    return Remark(TOPIC, told, grade, text, *advice, found.to_json())


def _guessing(result: Result, split: str, by: Measure) -> float:
    """The error of the best answer that is always the same; infinite if it can't be told."""
    if by.trivial or by.metric == "r2":
        return 1.0
    try:
        targets = result.alive[0].predictions(split).columns["target"]
    except (NnexpError, KeyError):  # none are kept, or there are several columns
        return math.inf
    if by.metric not in ("accuracy", "error") or len(set(targets)) < 2:
        return math.inf
    return 1.0 - Counter(targets).most_common(1)[0][1] / len(targets)


def _is_finite(run: Result, metric: str) -> bool:
    return math.isfinite(run.value("train", metric))


def _is_sure(gap: Estimate, least: float = 0.0) -> bool:
    """Whether the gap is above so much beyond chance; where that has no measure, as it is."""
    interval = gap.interval()
    return interval is None or interval[0] > least


def _variance(
    result: Result, split: str, apart: FloatArray, examples: Sequence[tuple[float, float]]
) -> Estimate:
    """The mean of dev error − training error `[M]`, with the chance of members and examples."""
    if result.manifest.get("varies") == "split" and len(apart) > 1:
        return corrected_paired(apart, evaluated_ratio(result, split))
    return _estimate(float(apart.mean()), [*_members_part(apart), *examples])


def _members_part(values: FloatArray) -> list[tuple[float, float]]:
    """The squared error of the members' mean and its degrees of freedom, if there are several."""
    if len(values) < 2:
        return []
    return [(float(values.var(ddof=1)) / len(values), len(values) - 1.0)]


def _examples_part(
    runs: Sequence[Result], split: str, by: Measure, dev: float
) -> list[tuple[float, float]]:
    """Likewise of the split's examples, where the metric is a mean over them."""
    by_examples = statistic_of(runs[0], by.metric)
    if by_examples is None:
        return []
    try:
        rows = shared([run.predictions(split) for run in runs])
        each = np.mean([by_examples.influence(by_examples.moments(p)) for p in rows], axis=0)
    except NnexpError:  # a run that kept no predictions
        return []
    if len(each) < 2:
        return []
    variance = float(each.var(ddof=1)) / len(each)
    if np.isin(each, (0, 1)).all():
        variance = _of_share(float(each.sum()), len(each))
    return [(by.slope(dev) ** 2 * variance, len(each) - 1.0)]


def _of_share(hits: float, count: float) -> float:
    """The squared error of a share, after Agresti and Coull (1998): two hits and two misses more,
    so that none of 57 is not taken for certain."""
    p = (hits + 2) / (count + 4)
    return p * (1 - p) / (count + 4)


def _training_part(
    result: Result, by: Measure, train: float, dev: float, examples: Sequence[tuple[float, float]]
) -> list[tuple[float, float]]:
    """Likewise of the training examples, of which no predictions are kept: their errors vary as
    those of dev do, for the size of the error; where that tells nothing, as hits and misses do.
    """
    counts = (result.alive[0].manifest.get("split") or {}).get("counts") or {}
    size = as_number(counts.get("train")) or 0.0
    if size < 2:
        return []
    if examples and (usual := by.spread(dev)) > 0:
        ((variance, df),) = examples
        return [(by.spread(train) / usual * variance * (df + 1.0) / size, size - 1.0)]
    if by.metric in ("accuracy", "error"):
        return [(_of_share(train * size, size), size - 1.0)]
    return []


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
    errors = ", ".join(f"{name} {_spread(x)}{_raw(found, name)}" for name, x in pairs)
    text = (
        f"error ({by.label}): {errors}, best possible {share(found.best.value)} "
        f"({found.best.source}). Avoidable bias {_gap(found.bias)}, variance "
        f"{_gap(found.variance)}; high from {share(HIGH)} on."
    )
    if split == "test":
        text += " There is no dev split, so test stands in: what is decided by it, flatters it."
    return text


def _spread(values: FloatArray) -> str:
    mean = share(float(values.mean()))
    return mean if len(values) < 2 else f"{mean} ± {share(float(values.std(ddof=1)))}"


def _raw(found: Gaps, split: str) -> str:
    """The error in the targets' units, where it is not that itself."""
    return f" ({found.by.unit} {found.raw[split]:.4g})" if split in found.raw else ""


def _gap(gap: Estimate) -> str:
    interval: Bounds | None = gap.interval()
    if interval is None:
        return share(gap.difference)
    low, high = map(share, interval)
    return f"{share(gap.difference)} (95 %: {low} to {high})"


def _advice(
    found: str, result: Result, past_best: bool, improving: bool, shares: tuple[float, float]
) -> Advice:
    if found == LOW_BOTH:
        return Advice("Better than this takes other data or features.", "")
    bias, variance = shares
    if found == HIGH_VARIANCE or (found == HIGH_BOTH and variance > 2 * bias and not past_best):
        return against_variance(result)
    if past_best and found == HIGH_BOTH:
        return Advice("Keep the best weights first (see below), then look at this again.", "")
    first = longer(result) if improving else against_bias(result)
    return first if found == HIGH_BIAS else first._replace(text=f"Bias first. {first.text}")
