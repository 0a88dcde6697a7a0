"""Which evidence a pair of runs or groups gives, and how far it reaches."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from nnexp.analysis import bootstrap
from nnexp.analysis.results import Predictions, Result, as_number
from nnexp.analysis.scores import statistic
from nnexp.analysis.statistic import Statistic
from nnexp.errors import RunError, UsageError, count
from nnexp.stats import (
    Estimate,
    FloatArray,
    corrected_paired,
    corrected_welch,
    mcnemar_exact,
    two_way,
    welch,
)

MODELS, THESE = "these two models", "these models"
SPLIT = "this split"
DATA = "data like this"
AGAINST = "data like this and this one model"

_HITS = ("accuracy", "error", "exact_match", "top_k")
"""Means of what an example has or has not; of several labels accuracy and error are shares."""
_FEWEST_DISCORDANT = 7.906
"""McNemar's p is below 0.05 from six examples on that only one model gets right; a Poisson variable
of this mean reaches six with 80 % probability."""


@dataclass(frozen=True)
class Finding:
    """A difference B − A with the methods that judge it.

    estimate: what the verdict is from; scope: what it speaks of, one of the constants above.
    beside: other estimates with their scopes, shown without a verdict.
    notes: what a reader must know to understand it, as sentences.
    """

    estimate: Estimate
    scope: str
    beside: tuple[tuple[Estimate, str], ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Aligned:
    """Predictions of two sides' models, each side's rows in one order.

    paired: the rows of both sides are the same examples in the same order.
    """

    a: tuple[Predictions, ...]
    b: tuple[Predictions, ...]
    paired: bool
    note: str = ""


def find(a: Result, b: Result, split: str, metric: str) -> Finding:
    """What can be said about the difference B − A of two runs, or of two groups; or of a group over
    seeds and one model from elsewhere.

    Raises UsageError when one group varies the seed and the other the split.
    """
    if a.kind == b.kind == "run":
        return _two_runs(a, b, split, metric)
    if a.kind != b.kind:
        return _against_one(a, b, split, metric)
    varies = [result.manifest.get("varies", "seed") for result in (a, b)]
    if varies[0] != varies[1]:
        raise UsageError(
            f"{a.path} varies the {varies[0]}, and {b.path} the {varies[1]}: train both with "
            "--seeds, or both with --splits"
        )
    return (_over_splits if varies[0] == "split" else _over_seeds)(a, b, split, metric)


def settings_of(result: Result, metric: str) -> dict[str, object]:
    """The metric as resolved.yaml has it, such as its average over classes; {} if it hasn't."""
    chosen = result.config.get("metrics")
    for entry in chosen if isinstance(chosen, list) else ():
        if isinstance(entry, dict) and entry.get("name") == metric:
            return {str(key): value for key, value in entry.items()}
    return {}


def statistic_of(result: Result, metric: str) -> Statistic | None:
    average = settings_of(result, metric).get("average", "macro")
    return statistic(metric, str(result.summary.get("task")), str(average))


def counted(result: Result, split: str, metric: str) -> tuple[Result, ...]:
    """The runs whose metric is a number; diverged ones may have none."""
    return tuple(run for run in result.runs if math.isfinite(run.value(split, metric)))


def align(a: Sequence[Predictions], b: Sequence[Predictions]) -> Aligned:
    """Brings both sides' predictions of a split to the same examples where that is sensible.

    Examples are told by id, and by having the same target. Sides that share less than half of the
    smaller one's examples are left unpaired, with all their examples.
    """
    own_a, own_b = shared(a), shared(b)
    both = shared([*own_a, *own_b])
    common, smaller = len(both[0]), min(len(own_a[0]), len(own_b[0]))
    if smaller == 0:
        raise RunError("the members of a group that varies the seed share no examples")
    if common and not both[0].agrees(both[-1]):
        return Aligned(
            own_a, own_b, False, "The test examples' ids agree but their targets don't: not paired."
        )
    if 2 * common < smaller or common == 0:
        note = f"Only {common} of {smaller} examples are in both, so they are not paired."
        return Aligned(own_a, own_b, False, note)
    larger = max(len(own_a[0]), len(own_b[0]))
    note = (
        f"The difference is over the {count(common, 'example')} in both." if common < larger else ""
    )
    return Aligned(both[: len(own_a)], both[len(own_a) :], True, note)


def shared(predictions: Sequence[Predictions]) -> tuple[Predictions, ...]:
    """Each with only the examples that all have, in the order of the first."""
    if all(p.ids == predictions[0].ids for p in predictions):
        return tuple(predictions)
    common = set(predictions[0].ids).intersection(*(p.ids for p in predictions))
    ids = [i for i in predictions[0].ids if i in common]
    return tuple(p.take([p.rows[i] for i in ids]) for p in predictions)


def _two_runs(a: Result, b: Result, split: str, metric: str) -> Finding:
    difference = b.value(split, metric) - a.value(split, metric)
    scope = THESE if any(run.manifest.get("elsewhere") for run in (a, b)) else MODELS
    untested = Estimate("none", difference, math.nan, math.nan)
    by_examples = statistic_of(a, metric)
    if by_examples is None:
        note = f"{metric} is not an average over examples: no interval for two single runs."
        return Finding(untested, scope, notes=(note,))
    predictions = [run.predictions(split) for run in (a, b)]
    reason = doubt((a, b), predictions, split, metric)
    if reason:
        return Finding(untested, scope, notes=(reason,))
    aligned = align(predictions[:1], predictions[1:])
    x, y = by_examples.moments(aligned.a[0]), by_examples.moments(aligned.b[0])
    estimate = (bootstrap.paired if aligned.paired else bootstrap.unpaired)(by_examples, x, y)
    if metric in _HITS and all(np.isin(hits, (0, 1)).all() for hits in (x, y)):
        if aligned.paired:
            p = mcnemar_exact(int((x > y).sum()), int((y > x).sum()))
            test = "McNemar's exact test, with a paired bootstrap interval over test examples"
            least = _FEWEST_DISCORDANT / len(x)
            estimate = replace(estimate, exact_p=p, test=test, least=least)
        else:
            estimate = bootstrap.shares(x[:, 0], y[:, 0])
    return Finding(estimate, scope, notes=_told(aligned.note))


def _over_seeds(a: Result, b: Result, split: str, metric: str) -> Finding:
    runs_a, runs_b = counted(a, split, metric), counted(b, split, metric)
    on_split = welch(_values(runs_a, split, metric), _values(runs_b, split, metric))
    if min(len(runs_a), len(runs_b)) < 2:
        note = "At least two seeds of each are needed to tell a difference from luck."
        return Finding(on_split, SPLIT, notes=(note,))
    by_examples = statistic_of(a, metric)
    if by_examples is None:
        note = f"{metric} is not an average over examples, so the examples' chance is left out."
        return Finding(on_split, SPLIT, notes=(note,))
    predictions = [run.predictions(split) for run in (*runs_a, *runs_b)]
    reason = doubt((*runs_a, *runs_b), predictions, split, metric)
    if reason:
        return Finding(on_split, SPLIT, notes=(reason,))
    aligned = align(predictions[: len(runs_a)], predictions[len(runs_a) :])
    estimate = two_way(
        matrix(by_examples, aligned.a), matrix(by_examples, aligned.b), paired=aligned.paired
    )
    return Finding(estimate, DATA, ((on_split, SPLIT),), _told(aligned.note))


@dataclass(frozen=True)
class _Mean:
    """The mean over examples of a single column, for the bootstrap."""

    def combine(self, means: FloatArray) -> FloatArray:
        return means[..., 0]


def _against_one(a: Result, b: Result, split: str, metric: str) -> Finding:
    """A group over seeds and a single model, in either order: that model's own seed, or whatever
    chance there was in its training, is not to be seen.
    """
    runs_a, runs_b = counted(a, split, metric), counted(b, split, metric)
    values_a, values_b = _values(runs_a, split, metric), _values(runs_b, split, metric)
    if not len(values_a) or not len(values_b):
        return Finding(Estimate("none", math.nan, math.nan, math.nan), SPLIT)
    on_split = _over_one(values_b - values_a)
    by_examples = statistic_of(a, metric)
    if by_examples is None:
        note = f"{metric} is not an average over examples, so the examples' chance is left out."
        return Finding(on_split, SPLIT, notes=(note,))
    predictions = [run.predictions(split) for run in (*runs_a, *runs_b)]
    if reason := doubt((*runs_a, *runs_b), predictions, split, metric):
        return Finding(on_split, SPLIT, notes=(reason,))
    aligned = align(predictions[: len(runs_a)], predictions[len(runs_a) :])
    x, y = matrix(by_examples, aligned.a), matrix(by_examples, aligned.b)
    draw = bootstrap.paired if aligned.paired else bootstrap.unpaired
    these: Estimate = draw(_Mean(), x.mean(axis=0)[:, None], y.mean(axis=0)[:, None])
    these = replace(these, test=f"{these.test}, of the members' mean")
    if not aligned.paired or max(len(x), len(y)) < 2:
        return Finding(these, THESE, notes=_told(aligned.note))
    # What differs, seed by example, has their variance alone: the one model adds none.
    difference = y - x
    on_split = _over_one(difference.mean(axis=1))  # on the examples in both
    estimate = replace(two_way(np.zeros_like(difference), difference), per_member=None)
    beside = ((on_split, SPLIT), (these, THESE))
    return Finding(estimate, AGAINST, beside, _told(aligned.note))


def _over_one(differences: FloatArray) -> Estimate:
    """From one model to each member of a group: new seeds of the group, and that one model."""
    return replace(corrected_paired(differences, 0.0), test="t over seeds", per_member=None)


def mean_score(result: Result, split: str, metric: str) -> Estimate:
    """A group's mean metric, as an estimate of the config's on data like these: with the chance of
    its seeds and, where the metric is a mean over examples, of these.
    """
    runs = counted(result, split, metric)
    values = _values(runs, split, metric)
    by_examples = statistic_of(result, metric)
    if len(runs) > 1 and by_examples is not None:
        predictions = [run.predictions(split) for run in runs]
        if not doubt(runs, predictions, split, metric):
            scores = matrix(by_examples, predictions)
            found = two_way(np.zeros_like(scores), scores)
            return replace(found, difference=float(values.mean()))
    return welch(np.zeros(2), values)


def _over_splits(a: Result, b: Result, split: str, metric: str) -> Finding:
    scores_a, scores_b = by_split(a, split, metric), by_split(b, split, metric)
    ratios = evaluated_ratio(a, split), evaluated_ratio(b, split)
    common = [key for key in scores_a if key in scores_b]
    if len(common) < 2:
        values_a, values_b = np.array(list(scores_a.values())), np.array(list(scores_b.values()))
        note = "They were trained on different splits, so these are not paired."
        if min(len(scores_a), len(scores_b)) < 2:
            note = "At least two splits of each are needed to tell a difference from luck."
        return Finding(corrected_welch(values_a, values_b, ratios), DATA, notes=(note,))
    differences = np.array([scores_b[key] - scores_a[key] for key in common])
    whole = len(common) == len(scores_a) == len(scores_b)
    note = "" if whole else f"The difference is over the {len(common)} splits in both."
    return Finding(corrected_paired(differences, max(ratios)), DATA, notes=_told(note))


def by_split(result: Result, split: str, metric: str) -> dict[str, float]:
    """Mean metric of the runs on each split, by the hashes of its training and scored examples."""
    scores: dict[str, list[float]] = {}
    for run in counted(result, split, metric):
        parts = run.manifest.get("split")
        known = (parts.get("train"), parts.get(split)) if isinstance(parts, dict) else run.path
        scores.setdefault(str(known), []).append(run.value(split, metric))
    return {key: float(np.mean(values)) for key, values in scores.items()}


def evaluated_ratio(result: Result, split: str) -> float:
    """Evaluated examples per training example, for Nadeau and Bengio's variance."""
    parts, data = result.runs[0].manifest.get("split"), result.config.get("data")
    counts = parts.get("counts") if isinstance(parts, dict) else None
    shares = data.get("split") if isinstance(data, dict) else None
    for sizes in (counts, shares):
        if isinstance(sizes, dict):
            train, test = as_number(sizes.get("train")), as_number(sizes.get(split))
            if train and test:
                return test / train
    raise RunError(
        f"{result.path}: neither manifest.json (split.counts) nor resolved.yaml (data.split) says "
        f"how many examples are in train and {split}, which the interval over splits needs"
    )


def _values(runs: Sequence[Result], split: str, metric: str) -> FloatArray:
    return np.array([run.value(split, metric) for run in runs], dtype=np.float64)


def matrix(metric: Statistic, predictions: Sequence[Predictions]) -> FloatArray:
    return np.stack([metric.influence(metric.moments(p)) for p in predictions])


def doubt(
    runs: Sequence[Result], predictions: Sequence[Predictions], split: str, metric: str
) -> str:
    """Why the metric can't be taken from the predictions; empty if it can."""
    by_examples = statistic_of(runs[0], metric)
    assert by_examples is not None
    for run, rows in zip(runs, predictions, strict=True):
        told = run.value(split, metric)
        found = math.nan
        if len(rows):
            found = float(by_examples.combine(by_examples.moments(rows).mean(axis=0)))
        if not math.isclose(told, found, rel_tol=1e-3, abs_tol=1e-6):
            return (
                f"{rows.path} gives a {split} {metric} of {found:.6g}, and summary.json "
                f"{told:.6g}: the predictions are not used."
            )
    return ""


def _told(note: str) -> tuple[str, ...]:
    return (note,) if note else ()
