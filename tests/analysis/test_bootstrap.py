"""The bootstrap against theory and scipy, and metrics against scikit-learn."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats as reference
from sklearn import metrics as sklearn

from nnexp.analysis import bootstrap
from nnexp.analysis.comparing import findings
from nnexp.analysis.results import Predictions
from nnexp.analysis.scores import bounds_of, difference_bounds, statistic
from nnexp.analysis.statistic import Statistic
from nnexp.components.metrics.metric import Averaged, Metric, Scored
from nnexp.errors import DamagedRun
from nnexp.stats import mcnemar_exact

RNG = np.random.default_rng(0)
TARGET = RNG.normal(20, 3, (80, 2))
GUESS = TARGET + RNG.normal(0, 1, (80, 2)) * [1, 2]


def known(metric: str) -> Statistic:
    found = statistic(metric)
    assert found is not None
    return found


def table(**columns: object) -> Predictions:
    return Predictions(Path("p.csv"), {k: tuple(map(str, v)) for k, v in columns.items()})  # type: ignore[call-overload]


def regression(outputs: int) -> tuple[Predictions, np.ndarray, np.ndarray]:
    if outputs == 1:
        return table(target=TARGET[:, 0], prediction=GUESS[:, 0]), TARGET[:, 0], GUESS[:, 0]
    columns = {f"target_{i}": TARGET[:, i] for i in (0, 1)}
    columns |= {f"prediction_{i}": GUESS[:, i] for i in (0, 1)}
    return table(**columns), TARGET, GUESS


@pytest.mark.parametrize("outputs", [1, 2])
def test_metrics_of_regression_are_scikit_learns(outputs: int) -> None:
    predictions, target, guess = regression(outputs)
    expected = {
        "mae": sklearn.mean_absolute_error(target, guess),
        "rmse": np.sqrt(sklearn.mean_squared_error(target, guess)),
        "r2": sklearn.r2_score(target, guess),
    }
    for name, value in expected.items():
        metric = known(name)
        moments = metric.moments(predictions)
        assert float(metric.combine(moments.mean(axis=0))) == pytest.approx(value)
        assert metric.influence(moments).mean() == pytest.approx(value)


def test_metrics_of_classification() -> None:
    predictions = table(target="abca", prediction="abba", loss=[0.1, 0.2, 3.0, ""])
    for name, expected in {"accuracy": [1, 1, 0, 1], "error": [0, 0, 1, 0]}.items():
        moments = known(name).moments(predictions)
        np.testing.assert_array_equal(known(name).influence(moments), expected)
    np.testing.assert_array_equal(known("loss").moments(predictions)[:, 0], [0.1, 0.2, 3.0, np.nan])
    assert statistic("roc_auc") is None


@pytest.mark.parametrize("name", ["rmse", "r2", "mae"])
def test_influence_is_the_derivative_by_an_examples_weight(name: str) -> None:
    metric = known(name)
    moments = metric.moments(regression(2)[0])
    mean, tiny = moments.mean(axis=0), 1e-6
    moved = [metric.combine(mean + e * (moments - mean)) for e in (tiny, -tiny)]
    expected = metric.combine(mean) + (moved[0] - moved[1]) / (2 * tiny)
    np.testing.assert_allclose(metric.influence(moments), expected, rtol=1e-6, atol=1e-8)


def guesses(task: str) -> tuple[Predictions, Scored]:
    """A model's predictions as predictions.csv has them and as metrics get them."""
    losses, shape = RNG.random(80), (80, 3) if task == "multilabel" else (80,)
    predictions, target, guess = regression(2)
    p = np.zeros((80, 3))
    if task != "regression":
        target, guess = RNG.integers(0, 2 if task == "multilabel" else 3, (2, *shape))
        p = RNG.dirichlet([1, 1, 1], 80)
        columns = {"target": target, "prediction": guess}
        if task == "multilabel":
            columns = {f"{k}_{i}": v[:, i] for k, v in columns.items() for i in range(3)}
        predictions = table(**columns)
    losses_, guess_, target_, p_ = (torch.tensor(x)[None] for x in (losses, guess, target, p))
    scored = Scored(losses_, guess_, target_, p_, None if task == "regression" else p_)
    columns = {"loss": losses}
    for name, cls in Metric.registered.items():
        if issubclass(cls, Averaged) and cls.is_column and task in cls.tasks:
            columns[name] = cls().per_example(scored)[0].numpy()
    extra = table(**columns).columns
    return Predictions(Path("p.csv"), {**predictions.columns, **extra}), scored


CHANCY = {"roc_auc", "pr_auc", "calibration_error", "median_absolute_error", "max_error"}
"""Metrics that are no function of means over examples."""


@pytest.mark.parametrize("task", ["classification", "regression", "multilabel"])
def test_metrics_are_those_that_training_computes(task: str) -> None:
    predictions, scored = guesses(task)
    for name, cls in Metric.registered.items():
        assert issubclass(cls, Metric)
        if cls.bounds is not None:
            assert bounds_of(name) == cls.bounds
        metric = statistic(name, task)
        assert (metric is None) == (name in CHANCY)
        if metric is not None and task in cls.tasks:
            moments = metric.moments(predictions)
            found = float(metric.combine(moments.mean(axis=0)))
            assert found == pytest.approx(float(cls().compute(scored)))
            assert metric.influence(moments).mean() == pytest.approx(found)


@pytest.mark.parametrize("average", ["macro", "micro", "weighted"])
@pytest.mark.parametrize("task", ["classification", "multilabel"])
@pytest.mark.parametrize("name", ["precision", "recall", "f1", "balanced_accuracy"])
def test_metrics_by_class(name: str, task: str, average: str) -> None:
    if name == "balanced_accuracy" and (average != "macro" or task == "multilabel"):
        return
    predictions, scored = guesses(task)
    metric = statistic(name, task, average)
    assert metric is not None
    fields = {} if name == "balanced_accuracy" else {"average": average}
    moments = metric.moments(predictions)
    mean, tiny = moments.mean(axis=0), 1e-6
    value = Metric.registered[name].model_validate(fields).compute(scored)  # type: ignore[attr-defined]
    assert float(metric.combine(mean)) == pytest.approx(float(value))
    moved = [metric.combine(mean + e * (moments - mean)) for e in (tiny, -tiny)]
    expected = metric.combine(mean) + (moved[0] - moved[1]) / (2 * tiny)
    np.testing.assert_allclose(metric.influence(moments), expected, rtol=1e-6, atol=1e-8)


def test_an_average_that_is_not_known_is_left_alone() -> None:
    assert statistic("f1", average="samples") is None


def test_perfect_and_constant_regressions_are_no_trouble() -> None:
    moments = np.zeros((5, 1))
    assert known("rmse").influence(moments).tolist() == [0.0] * 5
    flat = table(target=[1, 1, 1], prediction=[1, 2, 1])
    moments = known("r2").moments(flat)
    assert np.isnan(known("r2").combine(moments.mean(axis=0)))
    assert np.isnan(known("r2").influence(moments)).all()


def test_damaged_columns_are_named() -> None:
    with pytest.raises(DamagedRun, match="column 'loss' should be numbers"):
        known("loss").moments(table(loss=["0.1", "x"]))
    with pytest.raises(DamagedRun, match="no column 'target'"):
        known("rmse").moments(table(prediction=["0.1"]))
    with pytest.raises(DamagedRun, match="no column 'prediction'"):
        known("accuracy").moments(table(target=["a"]))


def test_bounds() -> None:
    assert bounds_of("accuracy") == (0.0, 1.0)
    assert bounds_of("loss") is bounds_of("anything") is None
    assert difference_bounds("error") == (-1.0, 1.0)
    assert difference_bounds("rmse") is difference_bounds("loss") is None


def test_bootstrap_of_a_mean_is_students_interval() -> None:
    """With expanded percentiles the two agree where the data are normal (Hesterberg 2015)."""
    x, y = RNG.normal(size=(2, 25, 1)) + RNG.normal(size=(25, 1))
    found = bootstrap.paired(known("loss"), x, y)
    expected = reference.ttest_rel(y[:, 0], x[:, 0])
    low, high = expected.confidence_interval()
    assert found.difference == pytest.approx((y - x).mean())
    assert found.interval() == pytest.approx((low, high), abs=0.06 * (high - low))
    assert found.p_value == pytest.approx(expected.pvalue, abs=0.03)


def test_bootstrap_is_scipys() -> None:
    x, y = ((GUESS[:, [i]] - TARGET[:, [i]]) ** 2 for i in (0, 1))
    metric = known("rmse")
    found = bootstrap.paired(metric, x, y)
    expected = reference.bootstrap(
        (x[:, 0], y[:, 0]),
        lambda a, b, axis: np.sqrt(b.mean(axis=axis)) - np.sqrt(a.mean(axis=axis)),
        paired=True,
        method="percentile",
        rng=np.random.default_rng(5),
    )
    assert found.error == pytest.approx(expected.standard_error, rel=0.05)
    wide = expected.confidence_interval.high - expected.confidence_interval.low
    assert found.interval() == pytest.approx(tuple(expected.confidence_interval), abs=0.08 * wide)


def test_what_mcnemar_can_find_with_few_examples() -> None:
    found = np.random.default_rng(0).poisson(findings._FEWEST_DISCORDANT, 20_000)
    significant = [(mcnemar_exact(0, int(k)) or 1.0) < 0.05 for k in range(60)]
    assert np.mean([significant[k] for k in found]) == pytest.approx(0.8, abs=0.01)
    estimate = bootstrap.paired(known("accuracy"), *np.eye(2)[[0, 0, 1, 1]].T[:, :, None])
    assert replace(estimate, least=9.0).detectable == 9.0
    assert replace(estimate, least=1e-3).detectable == estimate.detectable


def test_shares_of_all_right_are_not_taken_for_certain() -> None:
    a, b = np.repeat([1.0, 0.0], [109, 5]), np.ones(35)
    found = bootstrap.shares(a, b)
    assert found.difference == pytest.approx(5 / 114)
    p = found.p_value
    assert p is not None
    assert 0.1 < p < 0.9  # Fisher's exact p is 0.59
    random, inside = np.random.default_rng(0), 0
    for _ in range(200):
        x, y = (random.random(size) < 0.96 for size in (114, 60))
        low, high = bootstrap.shares(x * 1.0, y * 1.0).interval() or (0.0, 0.0)
        inside += low <= 0 <= high
    assert inside >= 184


def test_unpaired_bootstrap_adds_the_variances() -> None:
    x, y = RNG.normal(size=(300, 1)), RNG.normal(0.2, 2, size=(200, 1))
    found = bootstrap.unpaired(known("loss"), x, y)
    assert found.error == pytest.approx(np.sqrt(x.var() / 300 + y.var() / 200), rel=0.05)


def test_many_examples_in_blocks_keep_their_variance() -> None:
    x = RNG.exponential(size=(50_001, 1))
    y = x + RNG.normal(0.01, 1, size=x.shape)
    found = bootstrap.paired(known("loss"), x, y)
    assert found.difference == pytest.approx((y - x).mean())
    assert found.error == pytest.approx((y - x).std() / np.sqrt(len(x)), rel=0.08)


def test_equal_models_give_no_p() -> None:
    x = RNG.normal(size=(30, 1)) ** 2
    found = bootstrap.paired(known("rmse"), x, x.copy())
    assert found.difference == 0
    assert found.p_value is found.interval() is None


def test_bootstrap_is_the_same_every_time() -> None:
    x, y = RNG.normal(size=(2, 50, 1))
    first, second = (bootstrap.paired(known("loss"), x, y) for _ in range(2))
    assert first.interval() == second.interval()


def test_nan_scores_give_no_interval() -> None:
    x = np.array([[0.1], [np.nan], [0.3]])
    found = bootstrap.paired(known("loss"), x, x + 1)
    assert found.p_value is found.interval() is None
