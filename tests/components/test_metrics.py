"""Every metric is scikit-learn's, for each member, and stays in its bounds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from nnexp.components.losses import Mse
from nnexp.components.metrics import R2, Accuracy, Error, Metric, Rmse, Scored

M, N = 3, 40  # members, examples

REFERENCES: dict[str, Callable[[np.ndarray, np.ndarray, np.ndarray], float]] = {
    "loss": lambda losses, _, __: losses.mean(),
    "accuracy": lambda _, y, q: sk.accuracy_score(y, q),
    "error": lambda _, y, q: sk.zero_one_loss(y, q),
    "rmse": lambda _, y, q: sk.mean_squared_error(y.ravel(), q.ravel()) ** 0.5,
    "mae": lambda _, y, q: sk.mean_absolute_error(y, q),
    "r2": lambda _, y, q: sk.r2_score(y, q),
}
"""Value from one member's losses, targets and predictions."""

HIGHER_IS_BETTER = {"accuracy", "r2"}


def scored(task: str, columns: int = 1, members: int = M, seed: int = 0) -> Scored:
    draw = torch.Generator().manual_seed(seed)
    losses = torch.rand(members, N, generator=draw)
    if task == "classification":
        target = torch.randint(4, (members, N), generator=draw)
        wrong = torch.rand(members, N, generator=draw) < 0.3
        guess = torch.randint(4, (members, N), generator=draw)
        return Scored(losses, torch.where(wrong, guess, target), target)
    target = 3 * torch.randn(members, N, columns, generator=draw, dtype=torch.float64) + 10
    noise = torch.randn(members, N, columns, generator=draw, dtype=torch.float64)
    return Scored(losses, target + noise, target)


CASES = [
    (metric(), task, columns)
    for metric in Metric.registered.values()
    for task, columns in (("classification", 1), ("regression", 1), ("regression", 3))
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
        losses, target, prediction = (
            t[member].numpy() for t in (found.losses.double(), found.target, found.prediction)
        )
        expected = REFERENCES[metric.component](losses, target, prediction)
        assert float(values[member]) == pytest.approx(expected, rel=1e-12)


@Every
@given(st.integers(0, 10**6), st.floats(1e-3, 1e3))
@settings(max_examples=20, deadline=None)
def test_values_stay_in_their_bounds(
    metric: Any, task: str, columns: int, seed: int, scale: float
) -> None:
    found = scored(task, columns, seed=seed)
    if task == "regression":  # from nearly right to far away
        prediction = found.target + scale * (found.prediction - found.target)
        found = Scored(found.losses, prediction, found.target)
    low, high = metric.bounds or (-np.inf, np.inf)
    values = metric.compute(found)
    assert ((values >= low) & (values <= high)).all()


@Every
def test_better_predictions_score_better(metric: Any, task: str, columns: int) -> None:
    assert metric.higher_is_better is (metric.component in HIGHER_IS_BETTER)
    if metric.component == "loss":
        return
    worse = scored(task, columns)
    better = worse.prediction.clone()
    better[:, : N // 2] = worse.target[:, : N // 2]
    gain = metric.compute(Scored(worse.losses, better, worse.target)) - metric.compute(worse)
    assert ((gain > 0) == metric.higher_is_better).all()
    assert (gain != 0).all()


@Every
def test_perfect_predictions_reach_the_best_bound(metric: Any, task: str, columns: int) -> None:
    found = scored(task, columns)
    if metric.component != "loss":
        best = metric.bounds[1] if metric.higher_is_better else metric.bounds[0]
        right = Scored(found.losses, found.target, found.target)
        assert metric.compute(right).tolist() == [best] * M


@Every
def test_a_pack_is_its_members_alone(metric: Any, task: str, columns: int) -> None:
    found = scored(task, columns)
    together = metric.compute(found)
    for member in range(M):
        pick = slice(member, member + 1)
        one = Scored(found.losses[pick], found.prediction[pick], found.target[pick])
        torch.testing.assert_close(metric.compute(one), together[pick], rtol=1e-13, atol=0)


@Every
def test_predictions_that_are_nan_are_not_hidden(metric: Any, task: str, columns: int) -> None:
    if task == "classification":  # a class is a number, whatever the outputs were
        return
    found = scored(task, columns)
    found.prediction[1, 3], found.losses[1, 3] = float("nan"), float("nan")
    values = metric.compute(found)
    assert values.isnan().tolist() == [False, True, False]


def test_accuracy_and_error_are_complements() -> None:
    found = scored("classification")
    total = Accuracy().compute(found) + Error().compute(found)
    assert total.tolist() == pytest.approx([1.0] * M, abs=1e-15)


@pytest.mark.parametrize("miss", [0.0, 1.0])
def test_r2_of_a_constant_target_is_sklearns(miss: float) -> None:
    """The mean of 0.1s is not 0.1 in floating point; they are constant all the same."""
    target = np.c_[np.full(N, 0.1), np.arange(N)]
    prediction = target + np.array([miss, 0.5])
    value = R2().compute(
        Scored(torch.zeros(1, N), torch.tensor(prediction)[None], torch.tensor(target)[None])
    )
    second = sk.r2_score(target[:, 1], prediction[:, 1])
    assert float(value) == pytest.approx(((1.0 - miss) + second) / 2, rel=1e-12)


def test_rmse_is_the_root_of_twice_the_mean_loss_of_mse() -> None:
    found = scored("regression", 3)
    losses = Mse().per_example(found.prediction, found.target)
    expected = (2 * losses.mean(1) / 3).sqrt()
    torch.testing.assert_close(Rmse().compute(found), expected)
