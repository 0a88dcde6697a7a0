"""The decision threshold of two classes, or of each label: tuned on dev, judged on test.

A network for two classes says the second where its probability is above a half. Where the classes
are of unequal size, or their mistakes of unequal weight, another threshold does better. It must be
chosen on examples that neither trained the network nor judge it: here on dev.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nnexp.analysis import bootstrap
from nnexp.analysis.precision_recall import (
    BoolArray,
    Curve,
    Scored,
    chosen_name,
    gives_probabilities,
    scored,
    usable,
)
from nnexp.analysis.probabilities import is_multilabel, names_of
from nnexp.analysis.results import Result, read_result
from nnexp.errors import UsageError, nearest
from nnexp.stats import Bounds, FloatArray, describe

# -- metrics ---------------------------------------------------------------------------------------


def _share(above: FloatArray, below: FloatArray) -> FloatArray:
    """above / below, 0 where below is."""
    positive = below != 0
    return np.asarray(np.where(positive, above, 0.0) / np.where(positive, below, 1.0))


def _f1(counts: FloatArray) -> FloatArray:
    hit, false, miss, _ = np.moveaxis(counts, -1, 0)
    return _share(2 * hit, 2 * hit + false + miss)


def _balanced(counts: FloatArray) -> FloatArray:
    """The mean of both classes' recalls; of the one that is there, if the other is not."""
    hit, false, miss, right = np.moveaxis(counts, -1, 0)
    there = np.asarray(hit + miss > 0, float) + np.asarray(right + false > 0, float)
    return _share(_share(hit, hit + miss) + _share(right, right + false), there)


def _accuracy(counts: FloatArray) -> FloatArray:
    return _share(counts[..., 0] + counts[..., 3], counts.sum(axis=-1))


def _mcc(counts: FloatArray) -> FloatArray:
    """Matthews's correlation of prediction and target."""
    hit, false, miss, right = np.moveaxis(counts, -1, 0)
    spread = (hit + false) * (hit + miss) * (right + false) * (right + miss)
    return _share(hit * right - false * miss, np.sqrt(spread))


METRICS: dict[str, Callable[[FloatArray], FloatArray]] = {
    "f1": _f1,
    "balanced_accuracy": _balanced,
    "accuracy": _accuracy,
    "mcc": _mcc,
}
"""From counts or shares `[…, 4]` of hits, false alarms, misses and rightly left ones; higher is
better. F1 is that of the positive class."""
BOUNDS: dict[str, Bounds] = dict.fromkeys(METRICS, (0.0, 1.0)) | {"mcc": (-1.0, 1.0)}


# -- what is found ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Tuned:
    """The threshold of a class or label that is best on dev, and the metric by split with the run's
    own decisions and with it.
    """

    name: str
    threshold: float
    before: Mapping[str, float]
    after: Mapping[str, float]
    parts: Mapping[str, Scored]

    def to_json(self) -> dict[str, Any]:
        told = {"name": self.name, "threshold": self.threshold}
        curves = {split: Curve.of(part).to_json() for split, part in self.parts.items()}
        return {**told, "before": dict(self.before), "after": dict(self.after), "curves": curves}

    def points(self, count: int = 10) -> list[dict[str, float]]:
        """Of the highest threshold that reaches a recall on dev, for `count` recalls up to 1:
        `threshold`, and `dev precision`, `dev recall` and so on by split.
        """
        there = Curve.of(self.parts["dev"])
        steps = np.arange(1, count + 1) / count
        reached = [np.flatnonzero(there.recall >= step - 1e-12)[-1] for step in steps]
        rows = []
        for threshold in np.unique(there.thresholds[reached]):
            row = {"threshold": float(threshold)}
            for split, part in self.parts.items():
                hit, false, miss, _ = _moments(part, part.at(threshold)).sum(0)
                row[f"{split} precision"] = hit / (hit + false) if hit + false else np.nan
                row[f"{split} recall"] = hit / (hit + miss) if hit + miss else np.nan
            rows.append(row)
        return rows


@dataclass(frozen=True)
class Thresholds:
    """The thresholds of a run, or of each member of a group.

    default: the threshold that training has in mind; is_probability: whether scores are
    probabilities. gain: how the metric (the mean over labels) changes on test, as `describe` gives
    it over members, of a single run with a bootstrap interval over test examples; None without one.
    """

    path: Path
    metric: str
    default: float
    is_probability: bool
    members: tuple[tuple[Tuned, ...], ...]
    gain: Mapping[str, Any] | None
    notes: tuple[str, ...]
    is_group: bool = False

    @property
    def options(self) -> tuple[str, ...]:
        """What `nnexp predict` is given to decide so; () where one model's thresholds are not
        another's (a group), or where it shows no probabilities.
        """
        if self.is_group or not self.is_probability:
            return ()
        return tuple(
            part
            for t in self.members[0]
            for part in ("--threshold", f"{t.name}={t.threshold:.16g}")
        )

    def to_json(self) -> dict[str, Any]:
        return {
            "run": self.path,
            "metric": self.metric,
            "default": self.default,
            "is_probability": self.is_probability,
            "gain": self.gain,
            "predict": list(self.options),
            "members": [[one.to_json() for one in tuned] for tuned in self.members],
            "notes": self.notes,
        }


def tune(path: Path, metric: str = "f1", positive: str | None = None) -> Thresholds:
    """Tune the thresholds of a run or of each member of a group on dev.

    positive: which of two classes is looked for; None: the second.
    Raises UsageError for a run of another kind, RunError and DamagedRun for what can't be read.
    """
    if metric not in METRICS:
        close = nearest(metric, METRICS)
        hint = f"; did you mean {close}?" if close else ""
        raise UsageError(f"--metric: there is no {metric} (there are: {', '.join(METRICS)}){hint}")
    result = read_result(path)
    is_probability = gives_probabilities(result)
    default = 0.5 if is_probability else 0.0
    runs, notes = _usable(result)
    members = tuple(_tuned(run, default, metric, positive) for run in runs)
    return Thresholds(
        path,
        metric,
        default,
        is_probability,
        members,
        _gain(members, metric),
        tuple(notes),
        bool(result.members),
    )


def _moments(part: Scored, decided: BoolArray) -> FloatArray:
    """`[N, 4]`: a 1 for what each example is, in the order of `Scored.counts`."""
    target = part.target
    kinds = [target & decided, ~target & decided, target & ~decided, ~target & ~decided]
    return np.stack(kinds, axis=-1).astype(np.float64)


def _best(part: Scored, metric: str, default: float) -> float:
    """Of the default, of halfway between neighbours, and of below and above all scores, the
    threshold with the best metric; of equal ones the nearest to the default.
    """
    distinct = np.unique(part.scores)
    ends = distinct[0], np.nextafter(distinct[-1], np.inf)
    halfway = distinct[:-1] + (distinct[1:] - distinct[:-1]) / 2
    candidates = np.array([default, *ends, *halfway])
    values = METRICS[metric](part.counts(candidates))
    best = candidates[values >= values.max() - 1e-12]
    return _shortened(float(best[np.argmin(abs(best - default))]), distinct)


def _shortened(threshold: float, distinct: FloatArray) -> float:
    """The shortest decimal that decides alike, not much nearer to a score: it is to be typed."""
    room = float(abs(distinct - threshold).min()) / 2
    tried = (float(f"{threshold:.{digits}g}") for digits in range(1, 17))
    return next((one for one in tried if abs(one - threshold) <= room), threshold)


def _tuned(run: Result, default: float, metric: str, positive: str | None) -> tuple[Tuned, ...]:
    names, parts = _parts(run, positive)
    tuned = []
    for k, name in enumerate(names):
        mine = {split: part[k] for split, part in parts.items()}
        threshold = _best(mine["dev"], metric, default)
        score = METRICS[metric]
        before = {s: float(score(_moments(p, p.decided).sum(0))) for s, p in mine.items()}
        after = {s: float(score(_moments(p, p.at(threshold)).sum(0))) for s, p in mine.items()}
        tuned.append(Tuned(name, threshold, before, after, mine))
    return tuple(tuned)


@dataclass(frozen=True)
class _MeanOver:
    """The mean over labels of a metric, from means over examples `[…, labels · 4]`."""

    metric: str

    def combine(self, means: FloatArray) -> FloatArray:
        blocks = means.reshape(*means.shape[:-1], -1, 4)
        return np.asarray(METRICS[self.metric](blocks).mean(axis=-1))


def _gain(members: Sequence[tuple[Tuned, ...]], metric: str) -> dict[str, Any] | None:
    if any("test" not in one.parts for tuned in members for one in tuned):
        return None
    gains = [float(np.mean([t.after["test"] - t.before["test"] for t in m])) for m in members]
    low, high = BOUNDS[metric]
    told = describe(gains, (low - high, high - low))
    if len(members) == 1:
        parts = [(one.parts["test"], one.threshold) for one in members[0]]
        before = np.hstack([_moments(part, part.decided) for part, _ in parts])
        after = np.hstack([_moments(part, part.at(threshold)) for part, threshold in parts])
        found = bootstrap.paired(_MeanOver(metric), before, after)
        told["interval"] = found.interval(bounds=(low - high, high - low))
    return told


# -- reading ---------------------------------------------------------------------------------------


def _usable(result: Result) -> tuple[tuple[Result, ...], list[str]]:
    if not result.part("dev"):
        raise UsageError(f"{result.path} has no dev split, and a threshold is tuned on dev")
    runs = usable(result, "dev")
    lost = len(result.runs) - len(runs)
    return runs, [f"{lost} of {len(result.runs)} members diverged: left out"] if lost else []


def _parts(run: Result, positive: str | None) -> tuple[tuple[str, ...], dict[str, list[Scored]]]:
    """The names of what is decided, and for dev and test the examples of each."""
    names = names_of(run)
    if is_multilabel(run):
        if positive is not None:
            raise UsageError("--positive is for two classes; of labels each has its threshold")
    elif len(names) != 2:
        raise UsageError(
            f"{run.path}: a threshold is for two classes, and it has {len(names)} (nnexp plot pr "
            "draws precision and recall of one of them)"
        )
    else:
        names = (chosen_name(run, positive),)
    splits = [split for split in ("dev", "test") if run.part(split) and len(run.predictions(split))]
    found = {split: [scored(run, split, name) for name in names] for split in splits}
    return names, found
