"""Precision and recall of a class or label at every threshold, and the average precision.

A class of two, one class of many held against all the others, or a label: each example has a score
for it, and wherever the score reaches the threshold the class is predicted. Where what is sought is
rare this tells more than the ROC curve: a random score has a precision of just the class's share.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nnexp.analysis.bootstrap import Bootstrap
from nnexp.analysis.probabilities import (
    LOG_ODDS,
    check_width,
    is_multilabel,
    loss_name,
    means_probabilities,
    names_of,
    outputs_of,
    probabilities,
)
from nnexp.analysis.results import Result, read_result
from nnexp.errors import DamagedRun, RunError, UsageError, nearest
from nnexp.stats import Bounds, FloatArray, describe

BoolArray = np.ndarray[Any, np.dtype[np.bool_]]

SCORES = ("hinge", "squared_hinge", "multilabel_hinge")
"""Losses whose outputs are scores and no probabilities: 0 is the usual threshold."""

RESAMPLES, FEWEST = 1000, 200
"""How often examples are drawn again, and at least where there are very many of them."""
_CHUNK, _MOST = 1 << 21, 20_000_000
"""Weights that are held at once while resampling, and in all."""


@dataclass(frozen=True)
class Scored:
    """Examples of one split and one class or label.

    scores: `[N]`, higher for the class; target: whether it is there; decided: what the run says.
    """

    scores: FloatArray
    target: BoolArray
    decided: BoolArray

    def at(self, threshold: float) -> BoolArray:
        """Whether the class is predicted."""
        return np.asarray(self.scores >= threshold)

    def counts(self, thresholds: FloatArray) -> FloatArray:
        """Hits, false alarms, misses and rightly left ones at each threshold, `[T, 4]`."""
        order = np.argsort(self.scores, kind="stable")
        below = np.searchsorted(self.scores[order], thresholds, side="left")
        missed = np.concatenate([[0.0], np.cumsum(self.target[order])])[below]
        hit = self.target.sum() - missed
        false = len(order) - below - hit
        return np.stack([hit, false, missed, below - missed], axis=-1)


@dataclass(frozen=True)
class Curve:
    """Precision and recall where every score in turn is the threshold: `[T]` each, the thresholds
    rising. Without any example of the class recall is 1, and the average precision 0.
    """

    thresholds: FloatArray
    precision: FloatArray
    recall: FloatArray

    @classmethod
    def of(cls, part: Scored) -> Curve:
        thresholds = np.unique(part.scores)
        hit, false, miss, _ = np.moveaxis(part.counts(thresholds), -1, 0)
        recall = np.where(hit + miss > 0, hit / np.maximum(hit + miss, 1.0), 1.0)
        return cls(thresholds, hit / (hit + false), recall)

    @property
    def average_precision(self) -> float:
        """Σ (R_k − R_k₊₁) · P_k over the thresholds: the area under the steps."""
        if not self.precision.any():
            return 0.0
        return float(-np.diff(self.recall, append=0.0) @ self.precision)

    def at_recalls(self, recalls: FloatArray) -> FloatArray:
        """Precision at the highest threshold that reaches each recall."""
        reached = np.searchsorted(-self.recall, -recalls + 1e-12, side="right") - 1
        return np.asarray(self.precision[reached])

    def to_json(self) -> dict[str, Any]:
        names = ("thresholds", "precision", "recall")
        told = {name: getattr(self, name).tolist() for name in names}
        return {"average_precision": self.average_precision, **told}


@dataclass(frozen=True)
class PrecisionRecall:
    """The curve of a run, or of each member of a group.

    name: the class or label. share: of its examples among all, the precision of chance. average:
    the average precision, the mean over members. interval: 95 %, over the members of a group or,
    of a single run, over test examples (a bootstrap); None where there is none. is_probability:
    whether thresholds are probabilities. left_out: members that diverged.
    """

    path: Path
    split: str
    name: str
    share: float
    curves: tuple[Curve, ...]
    average: float
    interval: Bounds | None
    is_probability: bool
    left_out: int = 0

    @property
    def over(self) -> str:
        """What the interval is over."""
        return "members" if len(self.curves) > 1 else f"{self.split} examples"

    def mean_at(self, recalls: FloatArray) -> FloatArray:
        """Mean precision of the members at given recalls, for a curve of a group."""
        return np.asarray(np.mean([curve.at_recalls(recalls) for curve in self.curves], axis=0))

    def to_json(self) -> dict[str, Any]:
        return {
            "run": self.path,
            "split": self.split,
            "class": self.name,
            "share": self.share,
            "average_precision": self.average,
            "interval": self.interval,
            "over": self.over,
            "is_probability": self.is_probability,
            "left_out": self.left_out,
            "curves": [curve.to_json() for curve in self.curves],
        }


def precision_recall(
    run: Result | Path, split: str = "test", name: str | None = None
) -> PrecisionRecall:
    """Precision and recall of a class or label by threshold, from the stored predictions.

    name: the class or label; None: the second of two classes, or the only label.
    Raises UsageError for a run or a class that has no such curve, RunError and DamagedRun for what
    can't be read.
    """
    result = read_result(run) if isinstance(run, Path) else run
    is_probability = gives_probabilities(result)
    chosen = chosen_name(result.runs[0], name)
    runs = usable(result, split)
    parts = [scored(one, split, chosen) for one in runs]
    curves = tuple(map(Curve.of, parts))
    averages = [curve.average_precision for curve in curves]
    interval: Bounds | None
    if len(curves) > 1:
        low, high = describe(averages, (0.0, 1.0))["interval"]
        interval = (low, high)
    else:
        interval = average_interval(parts[0])
    share = float(np.mean([part.target.mean() for part in parts]))
    return PrecisionRecall(
        result.path,
        split,
        chosen,
        share,
        curves,
        float(np.mean(averages)),
        interval,
        is_probability,
        len(result.runs) - len(runs),
    )


def average_interval(part: Scored, seed: int = 0) -> Bounds | None:
    """95 % for the average precision, by resampling examples; None with fewer than two of the
    class or of the others.
    """
    if min(part.target.sum(), (~part.target).sum()) < 2:
        return None
    order = np.argsort(-part.scores, kind="stable")
    scores, target = part.scores[order], part.target[order].astype(np.float64)
    starts = np.flatnonzero(np.diff(scores, prepend=np.inf))  # equal scores fall together
    rng, count = np.random.default_rng(seed), len(scores)
    resamples = int(np.clip(_MOST // count, FEWEST, RESAMPLES))
    chunk, draws, even = max(1, _CHUNK // count), list[FloatArray](), np.full(count, 1.0 / count)
    for start in range(0, resamples, chunk):
        times = rng.multinomial(count, even, min(chunk, resamples - start)).astype(np.float64)
        hits = np.add.reduceat(times * target, starts, axis=1)
        every = np.add.reduceat(times, starts, axis=1).cumsum(axis=1)
        precision = hits.cumsum(axis=1) / np.maximum(every, 1.0)
        whole = hits.sum(axis=1)
        draws.append(((hits * precision).sum(axis=1) / np.maximum(whole, 1.0))[whole > 0])
    drawn = np.sort(np.concatenate(draws))
    average = Curve.of(part).average_precision
    error, df = float(drawn.std(ddof=1)), count - 1.0
    found = Bootstrap("bootstrap over examples", average, error, df, draws=drawn)
    return found.interval(bounds=(0.0, 1.0))


# -- reading ---------------------------------------------------------------------------------------


def gives_probabilities(result: Result) -> bool:
    """Whether scores are probabilities; UsageError if its outputs are no score of a class or label.

    Without probabilities the usual threshold is 0.
    """
    task = result.summary.get("task")
    if task not in ("classification", "multilabel"):
        raise UsageError(f"{result.path}: thresholds are for classes or labels; this is {task}")
    if means_probabilities(result):
        return True
    if (loss := loss_name(result)) not in SCORES:
        known = ", ".join((*LOG_ODDS, *SCORES))
        raise UsageError(f"{result.path}: what {loss} gives has no threshold (these do: {known})")
    return False


def chosen_name(run: Result, name: str | None) -> str:
    """The class or label that is meant; UsageError if it is none or has to be chosen."""
    names = names_of(run)
    kind, kinds, most = ("label", "labels", 1) if is_multilabel(run) else ("class", "classes", 2)
    shown = ", ".join(names[:10]) + (", …" if len(names) > 10 else "")
    if name is None and len(names) > most:
        raise UsageError(f"{run.path}: choose one of its {len(names)} {kinds}: {shown}")
    if name is not None and name not in names:
        close = nearest(name, names)
        hint = f"; did you mean {close}?" if close else ""
        raise UsageError(f"{run.path}: {name!r} is no {kind} of it (there are: {shown}){hint}")
    return names[-1] if name is None else name


def usable(result: Result, split: str) -> tuple[Result, ...]:
    """The runs that have scores on the split; RunError if there is none."""
    if not result.part(split):
        there = ", ".join(part for part in ("dev", "test") if result.part(part)) or "neither"
        raise RunError(f"{result.path} has no predictions on {split} (of dev and test: {there})")
    if not result.alive:
        raise RunError(f"{result.path} diverged and left no predictions of any use")
    return result.alive


def scored(run: Result, split: str, name: str) -> Scored:
    """The examples of a split with their scores for a class or label."""
    names = names_of(run)
    scores = probabilities(run, split)
    scores = _scores(run, split, names) if scores is None else scores
    rows, place = run.predictions(split), names.index(name)
    if not is_multilabel(run):
        target, decided = (rows.texts(column) == name for column in ("target", "prediction"))
        return Scored(scores[:, place], target, decided)
    target, decided = (rows.numbers(column) for column in ("target", "prediction"))
    if not scores.shape == target.shape == decided.shape:
        raise DamagedRun(f"{rows.path}: should have {len(names)} columns of each kind")
    return Scored(scores[:, place], target[:, place] > 0.5, decided[:, place] > 0.5)


def _scores(run: Result, split: str, names: Sequence[str]) -> FloatArray:
    """Outputs that are no probabilities, `[N, C]`; of two classes what they differ by."""
    outputs = outputs_of(run, split)
    if not is_multilabel(run) and len(names) == 2 and outputs.shape[1] in (1, 2):
        odds = outputs[:, 1:] - outputs[:, :1] if outputs.shape[1] == 2 else outputs
        outputs = np.hstack([-odds, odds])
    check_width(run, outputs, names)
    return outputs
