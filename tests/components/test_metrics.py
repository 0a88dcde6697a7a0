"""Every metric is scikit-learn's, for each member, and stays in its bounds."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from nnexp.components.losses.values import Mse
from nnexp.components.metrics.by_class import F1, BalancedAccuracy, ByClass, Precision, Recall
from nnexp.components.metrics.metric import R2, Accuracy, Error, Metric, Rmse, Scored, TopK
from nnexp.components.metrics.probabilities import Brier, CalibrationError, LogLoss, PrAuc, RocAuc

M, N = 3, 40  # members, examples


class One:
    """One member's arrays."""

    def __init__(self, scored: Scored, member: int) -> None:
        self.losses = scored.losses[member].double().numpy()
        self.y, self.q = scored.target[member].numpy(), scored.prediction[member].numpy()
        self.p = np.zeros(0)
        if scored.probabilities is not None:
            self.p = scored.probabilities[member].numpy()

    @property
    def hot(self) -> np.ndarray:
        """Targets as 0 or 1 for each class or label; of two classes only the second."""
        if self.y.ndim == 2:
            return self.y
        hot = np.eye(self.p.shape[1], dtype=int)[self.y]
        return hot[:, 1:] if hot.shape[1] == 2 else hot

    @property
    def scores(self) -> np.ndarray:
        return self.p[:, 1:] if self.y.ndim == 1 and self.p.shape[1] == 2 else self.p


def by_class(function: Callable[..., Any]) -> Callable[[One], float]:
    return lambda one: float(function(one.y, one.q, average="macro", zero_division=0))


def one_by_one(function: Callable[..., float]) -> Callable[[One], float]:
    return lambda one: float(
        np.mean([function(y, p) for y, p in zip(one.hot.T, one.scores.T, strict=True)])
    )


def log_loss(one: One) -> float:
    if one.y.ndim == 2:
        return float(np.mean([sk.log_loss(y, p) for y, p in zip(one.y.T, one.p.T, strict=True)]))
    return float(sk.log_loss(one.y, one.p, labels=range(one.p.shape[1])))


def brier(one: One) -> float:
    if one.y.ndim == 1 and one.p.shape[1] > 2:
        return float(((one.p - one.hot) ** 2).sum(1).mean())
    return one_by_one(sk.brier_score_loss)(one)


def calibration(one: One, bins: int = 15) -> float:
    confidence, total = one.p.max(1), 0.0
    edges = np.arange(bins + 1) / bins
    for low, high in pairwise(edges):
        inside = (confidence > low) & (confidence <= high)
        if inside.any():
            hits = (one.q == one.y)[inside].mean()
            total += inside.mean() * abs(hits - confidence[inside].mean())
    return float(total)


REFERENCES: dict[str, Callable[[One], float]] = {
    "loss": lambda one: one.losses.mean(),
    "perplexity": lambda one: float(np.exp(one.losses.mean())),
    "iou": lambda one: sk.jaccard_score(one.y, one.q, average="macro", zero_division=0),
    "accuracy": lambda one: sk.accuracy_score(one.y.ravel(), one.q.ravel()),
    "error": lambda one: sk.hamming_loss(one.y, one.q),
    "exact_match": lambda one: sk.accuracy_score(one.y, one.q),
    "top_k": lambda one: (
        sk.top_k_accuracy_score(one.y, one.p, k=5, labels=range(8)) if one.p.shape[1] > 5 else 1.0
    ),
    "precision": by_class(sk.precision_score),
    "recall": by_class(sk.recall_score),
    "f1": by_class(sk.f1_score),
    "balanced_accuracy": lambda one: sk.balanced_accuracy_score(one.y, one.q),
    "log_loss": log_loss,
    "brier": brier,
    "calibration_error": calibration,
    "roc_auc": one_by_one(sk.roc_auc_score),
    "pr_auc": one_by_one(sk.average_precision_score),
    "rmse": lambda one: sk.mean_squared_error(one.y.ravel(), one.q.ravel()) ** 0.5,
    "mae": lambda one: sk.mean_absolute_error(one.y, one.q),
    "median_absolute_error": lambda one: sk.median_absolute_error(one.y, one.q),
    "max_error": lambda one: sk.max_error(one.y.ravel(), one.q.ravel()),
    "r2": lambda one: sk.r2_score(one.y, one.q),
}
"""Value from one member's arrays."""

HIGHER_IS_BETTER = {
    *("accuracy", "exact_match", "top_k", "precision", "recall", "f1", "balanced_accuracy"),
    *("roc_auc", "pr_auc", "r2", "iou"),
}
ROUGH = {"loss", "perplexity", "calibration_error", "max_error"}
"""Those that better predictions of most examples need not move."""


def scored(task: str, columns: int = 1, members: int = M, seed: int = 0) -> Scored:
    """columns: classes, labels, or target columns."""
    draw = torch.Generator().manual_seed(seed)
    losses = torch.rand(members, N, generator=draw)
    shape = (members, N, columns)
    if task == "regression":
        target = 3 * torch.randn(shape, generator=draw, dtype=torch.float64) + 10
        outputs = target + torch.randn(shape, generator=draw, dtype=torch.float64)
        return Scored(losses, outputs, target, outputs)
    noise = torch.randn(shape, generator=draw, dtype=torch.float64)
    if task == "multilabel":
        target = (torch.rand(shape, generator=draw) < 0.4).long()
        target[:, 0], target[:, 1] = 0, 1
        outputs = 1.5 * (target - 0.5) + noise
        return Scored(losses, (outputs > 0).long(), target, outputs, outputs.sigmoid())
    target = torch.randint(columns, (members, N), generator=draw)
    target[:, :columns] = torch.arange(columns)
    outputs = torch.nn.functional.one_hot(target, columns) + noise
    return Scored(losses, outputs.argmax(-1), target, outputs, outputs.softmax(-1))


def at(found: Scored, member: int) -> Scored:
    """One member's alone."""
    pick = slice(member, member + 1)
    p = found.probabilities
    return Scored(
        found.losses[pick], found.prediction[pick], found.target[pick], found.outputs[pick],
        None if p is None else p[pick],
    )  # fmt: skip


def perfect(found: Scored, share: float = 1.0) -> Scored:
    """The first examples predicted exactly and with certainty."""
    count = int(share * N)
    if found.probabilities is None:
        outputs = found.outputs.clone()
        outputs[:, :count] = found.target[:, :count]
        return replace(found, outputs=outputs, prediction=outputs)
    sure = found.target
    if not found.is_multilabel:
        sure = torch.nn.functional.one_hot(found.target, found.classes)
    p, prediction, outputs = (
        t.clone() for t in (found.probabilities, found.prediction, found.outputs)
    )
    p[:, :count], prediction[:, :count] = sure[:, :count].double(), found.target[:, :count]
    outputs[:, :count] = 100.0 * sure[:, :count]
    return Scored(found.losses, prediction, found.target, outputs, p)


CASES = [
    pytest.param(metric(), task, columns, id=f"{name}-{task}-{columns}")
    for name, metric in Metric.registered.items()
    for task, columns in (
        *(("classification", 2), ("classification", 4), ("classification", 8)),
        *(("regression", 1), ("regression", 3), ("multilabel", 1), ("multilabel", 3)),
    )
    if task in getattr(metric, "tasks")
]
Every = pytest.mark.parametrize(("metric", "task", "columns"), CASES)


def test_every_metric_has_a_reference() -> None:
    assert set(REFERENCES) == set(Metric.registered)


@Every
def test_values_are_sklearns(metric: Any, task: str, columns: int) -> None:
    found = scored(task, columns)
    values = metric.compute(found)
    assert values.shape == (M,)
    assert values.dtype is torch.float64
    for member in range(M):
        one = One(found, member)
        if task == "multilabel" and columns == 1 and isinstance(metric, ByClass):
            one.y, one.q = (np.c_[a, a] for a in (one.y, one.q))  # sklearn takes one for classes
        expected = REFERENCES[metric.component](one)
        assert float(values[member]) == pytest.approx(expected, rel=1e-12)


@Every
@given(st.integers(0, 10**6), st.floats(1e-3, 1e3))
@settings(max_examples=10, deadline=None)
def test_values_stay_in_their_bounds(
    metric: Any, task: str, columns: int, seed: int, scale: float
) -> None:
    found = scored(task, columns, seed=seed)
    if task == "regression":  # from nearly right to far away
        prediction = found.target + scale * (found.prediction - found.target)
        found = replace(found, prediction=prediction, outputs=prediction)
    low, high = metric.bounds or (-np.inf, np.inf)
    values = metric.compute(found)
    assert ((values >= low) & (values <= high)).all()


@Every
def test_better_predictions_score_better(metric: Any, task: str, columns: int) -> None:
    assert metric.higher_is_better is (metric.component in HIGHER_IS_BETTER)
    if metric.component in ROUGH or (metric.component == "top_k" and columns <= 5):
        return
    worse = scored(task, columns)
    gain = metric.compute(perfect(worse, 0.9)) - metric.compute(worse)
    assert ((gain > 0) == metric.higher_is_better).all()
    assert (gain != 0).all()


@Every
def test_perfect_predictions_reach_the_best_bound(metric: Any, task: str, columns: int) -> None:
    if metric.component not in ("loss", "perplexity"):
        best = metric.bounds[1] if metric.higher_is_better else metric.bounds[0]
        assert metric.compute(perfect(scored(task, columns))).tolist() == [best] * M


@Every
def test_a_pack_is_its_members_alone(metric: Any, task: str, columns: int) -> None:
    found = scored(task, columns)
    together = metric.compute(found)
    for member in range(M):
        alone = metric.compute(at(found, member))
        torch.testing.assert_close(alone, together[member : member + 1], rtol=1e-13, atol=0)


@Every
def test_numbers_that_are_nan_are_not_hidden(metric: Any, task: str, columns: int) -> None:
    """A class is a number, whatever the outputs were; all else must show it."""
    found = scored(task, columns)
    for numbers in (found.losses, found.outputs, found.probabilities):
        if numbers is not None:
            numbers[1, 3] = float("nan")
    values = metric.compute(found)
    if task == "regression" or metric.needs_probabilities or metric.component == "loss":
        assert values.isnan().tolist() == [False, True, False]
    elif metric.component == "top_k" and columns > metric.k:  # no place among the first ones, then
        found.outputs[1] = float("nan")
        assert float(metric.compute(found)[1]) == 0.0


def test_accuracy_and_error_are_complements() -> None:
    found = scored("classification", 4)
    total = Accuracy().compute(found) + Error().compute(found)
    assert total.tolist() == pytest.approx([1.0] * M, abs=1e-15)


@pytest.mark.parametrize("average", ["macro", "micro", "weighted"])
@pytest.mark.parametrize("metric", [Precision, Recall, F1])
@pytest.mark.parametrize("task", ["classification", "multilabel"])
@given(st.integers(0, 10**6), st.integers(2, 6))
@settings(max_examples=25, deadline=None)
def test_averages_are_sklearns_with_classes_missing(
    task: str, metric: Any, average: Any, seed: int, classes: int
) -> None:
    """Few examples: some classes are in the targets only, in the predictions only, or nowhere."""
    rng = np.random.default_rng(seed)
    shape = (1, 5, classes) if task == "multilabel" else (1, 5)
    high = 2 if task == "multilabel" else classes
    y, q = rng.integers(high, size=shape), rng.integers(high, size=shape)
    if task == "multilabel":
        y[..., 0] = q[..., 0] = 0
    outputs = torch.zeros(1, 5, classes)
    found = Scored(torch.zeros(1, 5), torch.tensor(q), torch.tensor(y), outputs)
    reference = getattr(sk, f"{metric().component}_score")
    expected = reference(y[0], q[0], average=average, zero_division=0)
    value = float(metric(average=average).compute(found))
    assert value == pytest.approx(expected, abs=1e-12)


def test_balanced_accuracy_leaves_out_a_class_without_examples() -> None:
    y, q = torch.tensor([[0, 0, 1, 1]]), torch.tensor([[0, 2, 1, 1]])
    found = Scored(torch.zeros(1, 4), q, y, torch.zeros(1, 4, 3))
    assert BalancedAccuracy().compute(found).tolist() == [0.75]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # sklearn warns of the class that is predicted only
        assert sk.balanced_accuracy_score(y[0], q[0]) == 0.75


def ranked(y: np.ndarray, p: np.ndarray) -> Scored:
    """Two classes with probability p of the second, for one member."""
    both = torch.tensor(np.stack([1 - p, p], -1))[None]
    target = torch.tensor(y)[None]
    return Scored(torch.zeros(1, len(y)), both.argmax(-1), target, both, both)


@given(st.integers(0, 10**6), st.integers(1, 6))
@settings(max_examples=60, deadline=None)
def test_areas_are_sklearns_with_ties(seed: int, levels: int) -> None:
    rng = np.random.default_rng(seed)
    y, p = rng.integers(2, size=20), rng.integers(levels, size=20) / levels
    y[:2] = 0, 1
    found = ranked(y, p)
    assert float(RocAuc().compute(found)) == pytest.approx(sk.roc_auc_score(y, p), rel=1e-12)
    expected = sk.average_precision_score(y, p)
    assert float(PrAuc().compute(found)) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("y", "roc", "pr"), [(0, np.nan, np.nan), (1, np.nan, 1.0)])
def test_areas_of_a_part_with_one_class(y: int, roc: float, pr: float) -> None:
    found = ranked(np.full(4, y), np.array([0.1, 0.2, 0.3, 0.4]))
    assert float(RocAuc().compute(found)) == pytest.approx(roc, nan_ok=True)
    assert float(PrAuc().compute(found)) == pytest.approx(pr, nan_ok=True)


def test_areas_leave_out_a_class_without_examples() -> None:
    found = scored("classification", 4)
    target = found.target % 3  # the last class never comes
    assert found.probabilities is not None
    some, y, p = replace(found, target=target), target[0].numpy(), found.probabilities[0].numpy()
    roc = np.mean([sk.roc_auc_score(y == c, p[:, c]) for c in range(3)])
    pr = np.mean([sk.average_precision_score(y == c, p[:, c]) for c in range(3)])
    assert float(RocAuc().compute(some)[0]) == pytest.approx(roc, rel=1e-12)
    assert float(PrAuc().compute(some)[0]) == pytest.approx(pr, rel=1e-12)


def test_log_loss_of_a_certain_mistake_is_finite() -> None:
    found = ranked(np.array([0, 1]), np.array([1.0, 1.0]))
    expected = -np.log(np.finfo(float).eps) / 2
    assert float(LogLoss().compute(found)) == pytest.approx(expected, rel=1e-12)


def test_brier_at_its_worst() -> None:
    assert Brier().compute(ranked(np.array([0, 1]), np.array([1.0, 0.0]))).tolist() == [1.0]
    p = torch.eye(3, dtype=torch.float64)[None]
    found = Scored(torch.zeros(1, 3), p.argmax(-1), torch.tensor([[1, 2, 0]]), p, p)
    assert Brier().compute(found).tolist() == [2.0]


@pytest.mark.parametrize("bins", [1, 3, 100])
def test_calibration_by_any_number_of_bins(bins: int) -> None:
    found = scored("classification", 4)
    value = float(CalibrationError(bins=bins).compute(found)[0])
    assert value == pytest.approx(calibration(One(found, 0), bins), rel=1e-12)


@pytest.mark.parametrize("k", [1, 2, 7])
def test_the_first_k(k: int) -> None:
    found = scored("classification", 8)
    assert found.probabilities is not None
    reference = sk.top_k_accuracy_score(
        found.target[0], found.probabilities[0], k=k, labels=range(8)
    )
    assert float(TopK(k=k).compute(found)[0]) == pytest.approx(reference, rel=1e-12)
    without = replace(found, probabilities=None)  # scores are enough
    assert float(TopK(k=k).compute(without)[0]) == pytest.approx(reference, rel=1e-12)


def test_constant_scores_name_no_class() -> None:
    found = replace(scored("classification", 8), outputs=torch.zeros(M, N, 8))
    assert TopK(k=7).compute(found).tolist() == [0.0] * M


@pytest.mark.parametrize("miss", [0.0, 1.0])
def test_r2_of_a_constant_target_is_sklearns(miss: float) -> None:
    """The mean of 0.1s is not 0.1 in floating point; they are constant all the same."""
    target = np.c_[np.full(N, 0.1), np.arange(N)]
    prediction = target + np.array([miss, 0.5])
    q, y = torch.tensor(prediction)[None], torch.tensor(target)[None]
    value = R2().compute(Scored(torch.zeros(1, N), q, y, q))
    second = sk.r2_score(target[:, 1], prediction[:, 1])
    assert float(value) == pytest.approx(((1.0 - miss) + second) / 2, rel=1e-12)


def test_rmse_is_the_root_of_twice_the_mean_loss_of_mse() -> None:
    found = scored("regression", 3)
    losses = Mse().per_example(found.prediction, found.target)
    expected = (2 * losses.mean(1) / 3).sqrt()
    torch.testing.assert_close(Rmse().compute(found), expected)
