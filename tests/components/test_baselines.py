"""Baselines are scikit-learn's models used directly, and what they can't be fitted on is told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy.stats import multivariate_normal
from sklearn.datasets import load_diabetes, load_iris
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.mixture import GaussianMixture

from nnexp.components.baselines import (
    LEAST,
    Baseline,
    Examples,
    GaussianMixtures,
    Majority,
    RandomForest,
)
from nnexp.errors import DataError
from nnexp.registry import choose

FLOWERS, KINDS = load_iris(return_X_y=True)
IRIS = Examples(FLOWERS, KINDS, ("a", "b", "c"), 7)
X, Y = load_diabetes(return_X_y=True)
NUMBERS = Examples(X, np.stack([Y, 2 * Y + X[:, 0]], 1), (), 7)

CLASSIFIERS: dict[str, Callable[[], Any]] = {
    "logistic": lambda: LogisticRegression(max_iter=1000),
    "random_forest": lambda: RandomForestClassifier(random_state=7),
    "gradient_boosting": lambda: HistGradientBoostingClassifier(
        early_stopping=False, random_state=7
    ),
}
REGRESSORS: dict[str, Callable[[], Any]] = {
    "linear": lambda: Ridge(1.0),
    "random_forest": lambda: RandomForestRegressor(random_state=7),
    "gradient_boosting": lambda: HistGradientBoostingRegressor(
        early_stopping=False, random_state=7
    ),
}


def made(name: str, **fields: Any) -> Baseline:
    found = choose(Baseline, {"name": name, **fields})
    assert isinstance(found, Baseline)
    return found


def test_every_baseline_has_a_reference() -> None:
    others = {"majority", "gaussian_mixture"}
    assert {*CLASSIFIERS, *REGRESSORS} | others == set(Baseline.registered)


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_classifiers_are_scikit_learns(name: str) -> None:
    outputs = made(name).fit(IRIS).outputs(IRIS.x)
    expected = CLASSIFIERS[name]().fit(IRIS.x, IRIS.y).predict_proba(IRIS.x)
    np.testing.assert_allclose(np.exp(outputs), expected, atol=1e-9)
    np.testing.assert_allclose(np.exp(outputs).sum(1), 1.0)


@pytest.mark.parametrize("name", REGRESSORS)
@pytest.mark.parametrize("targets", [1, 2])
def test_regressors_are_scikit_learns(name: str, targets: int) -> None:
    examples = Examples(X, NUMBERS.y[:, :targets], (), 7)
    outputs = made(name).fit(examples).outputs(X)
    assert outputs.shape == (len(X), targets)
    if name == "gradient_boosting":
        expected = [REGRESSORS[name]().fit(X, column).predict(X) for column in examples.y.T]
        np.testing.assert_allclose(outputs, np.stack(expected, 1))
    else:
        y = examples.y if targets > 1 else examples.y[:, 0]
        expected = REGRESSORS[name]().fit(X, y).predict(X).reshape(len(X), -1)
        np.testing.assert_allclose(outputs, expected)


def test_majority_is_frequencies_and_means() -> None:
    some = Examples(IRIS.x[:120], IRIS.y[:120], IRIS.classes, 0)
    np.testing.assert_allclose(
        np.exp(Majority().fit(some).outputs(IRIS.x[:2])), [[5 / 12, 5 / 12, 2 / 12]] * 2
    )
    np.testing.assert_allclose(Majority().fit(NUMBERS).outputs(X[:1])[0], NUMBERS.y.mean(0))


@pytest.mark.parametrize("covariance", ["spherical", "diagonal", "full"])
def test_one_gaussian_a_class_is_bayes_rule(covariance: str) -> None:
    found = np.exp(made("gaussian_mixture", covariance=covariance).fit(IRIS).outputs(IRIS.x))
    joint = np.empty_like(found)
    for number in range(3):
        own = IRIS.x[IRIS.y == number]
        spread = np.cov(own.T, bias=True)
        if covariance != "full":
            spread = np.diag(np.diag(spread))
        if covariance == "spherical":
            spread = np.eye(4) * np.diag(spread).mean()
        joint[:, number] = multivariate_normal(own.mean(0), spread + 1e-6 * np.eye(4)).pdf(IRIS.x)
    np.testing.assert_allclose(found, joint / joint.sum(1, keepdims=True), atol=1e-6)


def test_mixtures_are_scikit_learns() -> None:
    found = made("gaussian_mixture", components=2).fit(IRIS).outputs(IRIS.x)
    models = [
        GaussianMixture(2, covariance_type="diag", random_state=7).fit(IRIS.x[IRIS.y == number])
        for number in range(3)
    ]
    joint = np.stack([model.score_samples(IRIS.x) for model in models], 1)
    np.testing.assert_array_equal(found.argmax(1), joint.argmax(1))


@pytest.mark.parametrize(
    ("covariance", "components", "expected"),
    [
        ("spherical", 1, 3 * (4 + 1 + 1)),
        ("diagonal", 2, 3 * 2 * (4 + 4 + 1)),
        ("full", 2, 3 * 2 * (4 + 10 + 1)),
    ],
)
def test_parameters_of_mixtures(covariance: Any, components: int, expected: int) -> None:
    one = GaussianMixtures(components=components, covariance=covariance)
    assert one.parameters(4, 3) == one.fit(IRIS).parameters == expected
    model = GaussianMixture(components, covariance_type={"diagonal": "diag"}.get(
        covariance, covariance)).fit(IRIS.x)  # fmt: skip
    assert 3 * (model._n_parameters() + 1) == expected  # its weights sum to 1; ours by class


def test_parameters_of_the_others() -> None:
    assert made("logistic").fit(IRIS).parameters == 3 * (4 + 1)
    assert made("linear").fit(NUMBERS).parameters == 2 * (10 + 1)
    assert RandomForest(trees=1, depth=1).fit(IRIS).parameters == 3
    assert made("gradient_boosting", rounds=1).fit(NUMBERS).parameters > 2


@pytest.mark.parametrize("name", [*CLASSIFIERS, "gaussian_mixture", "majority"])
def test_a_class_that_is_not_there_gets_almost_nothing(name: str) -> None:
    there = IRIS.y != 1
    fitted = made(name).fit(Examples(IRIS.x[there], IRIS.y[there], IRIS.classes, 0))
    outputs = fitted.outputs(IRIS.x)
    assert np.isfinite(outputs).all()
    np.testing.assert_allclose(outputs[:, 1], np.log(LEAST), rtol=1e-6)
    alone = made(name).fit(Examples(IRIS.x[:50], IRIS.y[:50], IRIS.classes, 0))
    assert (alone.outputs(IRIS.x).argmax(1) == 0).all()


def test_thin_components_are_noted() -> None:
    few = np.r_[0:4, 50:90, 100:140]
    one = made("gaussian_mixture", covariance="full")
    (note,) = one.fit(Examples(IRIS.x[few], IRIS.y[few], IRIS.classes, 0)).notes
    assert note.endswith("rest on floor (1e-06): class a (4)")
    assert one.fit(IRIS).notes == ()


def test_more_components_than_examples_are_refused() -> None:
    few = np.r_[0:4, 50:90, 100:140]
    with pytest.raises(DataError, match=r"5 components .* class a has 4$"):
        made("gaussian_mixture", components=5).check(
            Examples(IRIS.x[few], IRIS.y[few], IRIS.classes, 0)
        )


@pytest.mark.parametrize(
    "bad",
    [
        {"name": "gaussian_mixture", "components": 0},
        {"name": "gaussian_mixture", "covariance": "tied"},
        {"name": "logistic", "l2": 0},
        {"name": "random_forest", "trees": 0},
        {"name": "gradient_boosting", "lr": 2},
    ],
)
def test_what_makes_no_sense_is_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="validation error"):
        Baseline.registered[bad["name"]].model_validate(bad)
