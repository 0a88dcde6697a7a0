"""Standard models that a network is held against, fitted by scikit-learn on the same examples."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from nnexp.components.losses.loss import Task
from nnexp.errors import DataError
from nnexp.registry import Spec, param

LEAST = 1e-12
"""Smallest probability that is given to a class, so that none costs infinitely much."""


@dataclass(frozen=True)
class Examples:
    """What a baseline is fitted on.

    x: `[n, F]` float64. y: class index `[n]`, or (scaled) values `[n, K]`.
    classes: names of the classes; () for values. seed: start of what is drawn.
    """

    x: np.ndarray
    y: np.ndarray
    classes: tuple[str, ...]
    seed: int

    @property
    def counts(self) -> np.ndarray:
        """Examples of each class, `[C]`."""
        return np.bincount(self.y, minlength=len(self.classes))


@dataclass(frozen=True)
class Fitted:
    """A fitted baseline.

    outputs: log-probabilities `[n, C]`, or values `[n, K]`, for inputs `[n, F]`.
    parameters: numbers that were learnt. notes: what the user should know.
    """

    outputs: Callable[[np.ndarray], np.ndarray]
    parameters: int
    notes: tuple[str, ...] = ()


class Baseline(Spec, family="baseline"):
    """A standard model that is fitted beside the network."""

    tasks: ClassVar[tuple[Task, ...]] = ("classification", "regression")

    def check(self, examples: Examples) -> None:
        """Raises DataError if it can't be fitted on the examples."""

    def fit(self, examples: Examples) -> Fitted:
        """The same to the bit for the same examples."""
        raise AssertionError(f"{type(self).__name__} has no fit")


class Majority(Baseline):
    """The classes' frequencies, whatever the input; of numbers the mean.

    Use: always: whoever does not beat it has learnt nothing from the inputs.
    """

    name: Literal["majority"] = "majority"
    also = ("mean", "constant", "dummy", "chance")

    def fit(self, examples: Examples) -> Fitted:
        if examples.classes:
            answer = _logs(examples.counts / len(examples.y))
        else:
            answer = examples.y.mean(0)
        return Fitted(lambda x: np.tile(answer, (len(x), 1)), len(answer))


class Logistic(Baseline):
    """Logistic regression: multinomial, with an L2 penalty on the weights.

    Formula: minimize Σ −log p(y) + l2 / 2 · ‖W‖²

    Use: as the linear reference for classes; a network should beat it, or a line suffices.
    """

    name: Literal["logistic"] = "logistic"
    also = ("logistic_regression", "softmax_regression")
    tasks: ClassVar[tuple[Task, ...]] = ("classification",)
    l2: float = param(1.0, "coefficient of the penalty", gt=0, le=1e9)

    def fit(self, examples: Examples) -> Fitted:
        from sklearn.linear_model import LogisticRegression

        model = LogisticRegression(C=1.0 / self.l2, max_iter=1000)
        return _classifier(model, examples, lambda: model.coef_.size + model.intercept_.size)


class LinearBaseline(Baseline):
    """Ridge regression: a linear function of the inputs, with an L2 penalty on its weights.

    Formula: minimize Σ ‖y − x W − b‖² + l2 · ‖W‖²

    Use: as the linear reference for numbers; a network should beat it, or a line suffices.

    Source: Hoerl & Kennard (1970), "Ridge regression: biased estimation for nonorthogonal
    problems".
    """

    name: Literal["linear"] = "linear"
    also = ("ridge", "linear_regression")
    tasks: ClassVar[tuple[Task, ...]] = ("regression",)
    l2: float = param(1.0, "coefficient of the penalty", ge=0, le=1e9)

    def fit(self, examples: Examples) -> Fitted:
        from sklearn.linear_model import Ridge

        x, y = examples.x, examples.y
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # columns that depend on each other are no news
            model = Ridge(self.l2).fit(x, y)
        size = (x.shape[1] + 1) * y.shape[1]
        return Fitted(lambda x: np.asarray(model.predict(x)).reshape(len(x), -1), size)


class RandomForest(Baseline):
    """Random forest: the mean answer of trees grown on resampled examples.

    Its parameters are the nodes of all trees.

    Use: on tables: it needs no tuning, and is often hard to beat.

    Source: Breiman (2001), "Random forests".
    """

    name: Literal["random_forest"] = "random_forest"
    also = ("forest", "trees")
    trees: int = param(100, "number of trees", ge=1, le=10_000, also=("n_estimators",))
    depth: int | None = param(
        None, "most levels of a tree", ge=1, le=1000, when="null: as many as it takes"
    )

    def fit(self, examples: Examples) -> Fitted:
        from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

        kind = RandomForestClassifier if examples.classes else RandomForestRegressor
        model = kind(self.trees, max_depth=self.depth, random_state=_seed(examples))

        def nodes() -> int:
            return sum(tree.tree_.node_count for tree in model.estimators_)

        if examples.classes:
            return _classifier(model, examples, nodes)
        y = examples.y
        model.fit(examples.x, y[:, 0] if y.shape[1] == 1 else y)
        return Fitted(lambda x: np.asarray(model.predict(x)).reshape(len(x), -1), nodes())


class GradientBoosting(Baseline):
    """Gradient boosting: each tree corrects what the ones before got wrong, on binned inputs.

    Its parameters are the nodes of all trees.

    Use: on tables: usually the strongest standard model.

    Source: Friedman (2001), "Greedy function approximation: a gradient boosting machine"; Ke et
    al. (2017), "LightGBM: a highly efficient gradient boosting decision tree".
    """

    name: Literal["gradient_boosting"] = "gradient_boosting"
    also = ("boosting", "hist_gradient_boosting", "xgboost", "lightgbm")
    rounds: int = param(
        100, "trees a class or target", ge=1, le=10_000, also=("trees", "n_estimators", "max_iter")
    )
    lr: float = param(0.1, "share of each tree's correction", gt=0, le=1, also=("learning_rate",))

    def fit(self, examples: Examples) -> Fitted:
        from sklearn.ensemble import (
            HistGradientBoostingClassifier,
            HistGradientBoostingRegressor,
        )

        options: dict[str, Any] = {
            "max_iter": self.rounds,
            "learning_rate": self.lr,
            "early_stopping": False,
            "random_state": _seed(examples),
        }
        if examples.classes:
            model = HistGradientBoostingClassifier(**options)
            return _classifier(model, examples, lambda: _nodes(model))
        models = [
            HistGradientBoostingRegressor(**options).fit(examples.x, column)
            for column in examples.y.T
        ]
        return Fitted(
            lambda x: np.stack([m.predict(x) for m in models], 1), sum(map(_nodes, models))
        )


class GaussianMixtures(Baseline):
    """A mixture of Gaussians for each class, fitted by EM; classes by Bayes' rule.

    A component has d means, a weight, and 1 (spherical), d (diagonal) or d (d + 1) / 2 (full)
    variances and covariances, each counted as a parameter.

    Formula: p(c | x) ∝ p(c) Σ_k π_ck N(x; μ_ck, Σ_ck)

    Use: as the generative reference, with few columns; not on images.

    Source: Dempster, Laird & Rubin (1977), "Maximum likelihood from incomplete data via the EM
    algorithm".
    """

    name: Literal["gaussian_mixture"] = "gaussian_mixture"
    also = ("gmm", "mixture_of_gaussians", "gaussian")
    tasks: ClassVar[tuple[Task, ...]] = ("classification",)
    components: int = param(1, "Gaussians a class", ge=1, le=1000, also=("n_components", "k"))
    covariance: Literal["spherical", "diagonal", "full"] = param(
        "diagonal", "form of the covariance matrices", also=("covariance_type",)
    )
    floor: float = param(
        1e-6, "added to each variance", gt=0, le=1e6, also=("reg_covar", "regularization")
    )

    def parameters(self, inputs: int, classes: int) -> int:
        """How many numbers mixtures of so many inputs and classes have."""
        spread = {"spherical": 1, "diagonal": inputs, "full": inputs * (inputs + 1) // 2}
        return classes * self.components * (inputs + spread[self.covariance] + 1)

    def check(self, examples: Examples) -> None:
        least = max(self.components, 2)
        for name, count in zip(examples.classes, examples.counts, strict=True):
            if 0 < count < least:
                raise DataError(
                    f"gaussian_mixture: {self.components} components a class need {least} training "
                    f"examples of each; class {name} has {count}"
                )

    def fit(self, examples: Examples) -> Fitted:
        from sklearn.mixture import GaussianMixture

        form = {"spherical": "spherical", "diagonal": "diag", "full": "full"}[self.covariance]
        least = examples.x.shape[1] if self.covariance == "full" else 1
        mixtures: dict[int, Any] = {}
        thin: list[str] = []
        for number in np.flatnonzero(examples.counts):
            own = examples.x[examples.y == number]
            mixture = GaussianMixture(
                self.components,
                covariance_type=form,
                reg_covar=self.floor,
                random_state=_seed(examples),
            )
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # EM that has not settled is good enough here
                mixtures[int(number)] = mixture.fit(own)
            held = np.bincount(mixture.predict(own), minlength=self.components).min()
            if held <= least:
                thin.append(f"{examples.classes[number]} ({held})")
        prior = _logs(examples.counts / len(examples.y))

        def outputs(x: np.ndarray) -> np.ndarray:
            joint = np.full((len(x), len(prior)), -np.inf)
            for number, mixture in mixtures.items():
                joint[:, number] = prior[number] + mixture.score_samples(x)
            joint -= joint.max(1, keepdims=True)
            return _logs(np.exp(joint))

        size = self.parameters(examples.x.shape[1], len(mixtures))
        return Fitted(outputs, size, self._notes(thin, least))

    def _notes(self, thin: list[str], least: int) -> tuple[str, ...]:
        if not thin:
            return ()
        shown = ", ".join(thin[:5]) + (", …" if len(thin) > 5 else "")
        return (
            f"gaussian_mixture: a {self.covariance} covariance needs more than {least} examples a "
            f"component; some have fewer, and rest on floor ({self.floor:g}): class {shown}",
        )


def _classifier(model: Any, examples: Examples, parameters: Callable[[], int]) -> Fitted:
    """Fit a classifier; classes that are not there get the least probability."""
    there = np.flatnonzero(examples.counts)
    if len(there) == 1:
        return Majority().fit(examples)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a fit that has not quite settled will do
        model.fit(examples.x, examples.y)

    def outputs(x: np.ndarray) -> np.ndarray:
        found = np.zeros((len(x), len(examples.classes)))
        found[:, there] = model.predict_proba(x)
        return _logs(found)

    return Fitted(outputs, int(parameters()))


def _logs(shares: np.ndarray) -> np.ndarray:
    """Logarithms of shares that need not sum to 1, none below `LEAST`."""
    found = np.maximum(shares / shares.sum(-1, keepdims=True), LEAST)
    return np.asarray(np.log(found / found.sum(-1, keepdims=True)))


def _seed(examples: Examples) -> int:
    return examples.seed % 2**32


def _nodes(model: Any) -> int:
    """Nodes of all trees that a boosting model has grown."""
    return sum(len(tree.nodes) for trees in model._predictors for tree in trees)
