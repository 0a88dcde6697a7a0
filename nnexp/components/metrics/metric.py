"""Scores of a set of predictions, one a member.

A metric sees all examples of a split at once: network outputs, targets, and each example's loss.
Those by class are in `class_metrics`, those that need probabilities in `probability_metrics`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

from nnexp.components.losses.loss import Task
from nnexp.lazy import torch
from nnexp.registry import Spec, param


@dataclass(frozen=True)
class Scored:
    """Predictions of M members for N examples.

    losses: `[M, N]`, each example's loss without penalties.
    prediction: class index `[M, N]`, labels 0 or 1 `[M, N, K]`, or values `[M, N, K]` in the
        target's own units.
    target: likewise.
    outputs: the network's `[M, N, K]`; of a regression in the target's own units.
    probabilities: of each class or label, `[M, N, C]`; None for losses that mean none, and where
        no metric asks for them.
    is_dense: whether there is a class at each of P positions of an example: then prediction and
        target are `[M, N, P]`, the target −1 where it has none, and outputs `[M, N, P, K]`.
    """

    losses: torch.Tensor
    prediction: torch.Tensor
    target: torch.Tensor
    outputs: torch.Tensor
    probabilities: torch.Tensor | None = None
    is_dense: bool = False

    @property
    def classes(self) -> int:
        """How many classes or labels there are."""
        return max(self.outputs.shape[-1], 1 if self.is_multilabel else 2)

    @property
    def is_multilabel(self) -> bool:
        """Whether an example has labels of 0 or 1 each; only asked of classes and labels."""
        return self.target.dim() == 3 and not self.is_dense


class Metric(Spec, family="metric"):
    """A score of a set of predictions."""

    tasks: ClassVar[tuple[Task, ...]] = get_args(Task)
    higher_is_better: ClassVar[bool] = False
    bounds: ClassVar[tuple[float, float] | None] = None
    """What it can't leave, if anything."""
    needs_probabilities: ClassVar[bool] = False
    """Whether the loss must give probabilities."""

    def compute(self, scored: Scored) -> torch.Tensor:
        """float64 `[M]`; NaN where it is not defined, which is null in JSON."""
        raise AssertionError(f"{type(self).__name__} has no compute")


class Averaged(Metric):
    """A mean over the examples."""

    is_column: ClassVar[bool] = False
    """Whether predictions.csv has a column of that name with each example's: what target and
    prediction don't tell, and paired comparison needs."""

    def per_example(self, scored: Scored) -> torch.Tensor:
        """float64 `[M, N]`"""
        raise AssertionError(f"{type(self).__name__} has no per_example")

    def compute(self, scored: Scored) -> torch.Tensor:
        return self.per_example(scored).mean(1)


class LossMetric(Averaged):
    """Mean loss an example, without penalties.

    Use: always recorded; it shows what is minimized, but is only comparable between runs that
    have the same loss.
    """

    name: Literal["loss"] = "loss"
    is_column = True

    def per_example(self, scored: Scored) -> torch.Tensor:
        return scored.losses.double()


class Accuracy(Averaged):
    """Share of examples whose class is predicted; of several labels, the share that is right.

    Of a class at every position (pixel accuracy, token accuracy) the share of an example's
    positions, averaged over the examples.

    Use: when classes are of similar size and every mistake costs the same; where one class is
    rare, `balanced_accuracy`, `f1` or `pr_auc` tell more.
    """

    name: Literal["accuracy"] = "accuracy"
    also = ("acc", "pixel_accuracy", "token_accuracy")
    tasks = ("classification", "multilabel", "dense")
    higher_is_better = True
    bounds = (0.0, 1.0)

    def per_example(self, scored: Scored) -> torch.Tensor:
        right = (scored.prediction == scored.target).double()
        if scored.is_dense:  # an example without any target counts as right
            there = (scored.target >= 0).double()
            return 1.0 - ((1.0 - right) * there).sum(-1) / there.sum(-1).clamp_min(1.0)
        return right.mean(-1) if scored.is_multilabel else right


class Error(Averaged):
    """Share of examples whose class (of several labels: share of labels) is missed: 1 − accuracy.

    Use: in place of accuracy when it is near 1, as 0.02 against 0.01 is told apart more easily.
    """

    name: Literal["error"] = "error"
    also = ("error_rate", "hamming_loss")
    tasks = ("classification", "multilabel", "dense")
    bounds = (0.0, 1.0)

    def per_example(self, scored: Scored) -> torch.Tensor:
        return 1.0 - Accuracy().per_example(scored)


class Perplexity(Metric):
    """e to the mean loss: among how many equally likely classes one would have to guess.

    Use: with cross_entropy, for models of text: C for chance, 1 for certainty.
    """

    name: Literal["perplexity"] = "perplexity"
    also = ("ppl",)
    tasks = ("classification", "dense", "words")
    bounds = (1.0, math.inf)

    def compute(self, scored: Scored) -> torch.Tensor:
        return scored.losses.double().mean(1).exp()


class ExactMatch(Averaged):
    """Share of examples all of whose labels (or positions) are right.

    Use: when an answer with one wrong label is of no use; it falls quickly with the number of
    labels.
    """

    name: Literal["exact_match"] = "exact_match"
    also = ("subset_accuracy",)
    tasks = ("multilabel", "dense")
    higher_is_better = True
    bounds = (0.0, 1.0)

    def per_example(self, scored: Scored) -> torch.Tensor:
        right = scored.prediction == scored.target
        if scored.is_dense:
            right = right | (scored.target < 0)
        return right.all(-1).double()


class TopK(Averaged):
    """Share of examples whose class is among the k with the highest scores.

    A class that ties with the k-th one counts as missed. With k classes or fewer it is 1.

    Use: with very many classes, some of them nearly alike, or when a person chooses from a list.
    """

    name: Literal["top_k"] = "top_k"
    also = ("top_k_accuracy", "top5", "top_5")
    tasks = ("classification",)
    higher_is_better = True
    bounds = (0.0, 1.0)
    is_column = True
    k: int = param(5, "how many classes may be named", unit="classes", ge=1, le=10_000)

    def per_example(self, scored: Scored) -> torch.Tensor:
        scores, target = scored.outputs, scored.target[..., None]
        if scores.shape[-1] == 1:  # the second class's, against 0 for the first
            scores = torch.cat([torch.zeros_like(scores), scores], -1)
        # "not below" counts ties and NaN against the prediction; the class itself is one of them.
        above = (~(scores < scores.gather(-1, target))).sum(-1)
        return (above <= self.k).double()


class Rmse(Metric):
    """Root of the mean squared error, in the target's units (over all target columns).

    Use: when large mistakes are worse than many small ones; `mae` weighs them by their size.
    """

    name: Literal["rmse"] = "rmse"
    tasks = ("regression",)
    bounds = (0.0, math.inf)

    def compute(self, scored: Scored) -> torch.Tensor:
        return _residuals(scored).square().mean((1, 2)).sqrt()


class Mae(Metric):
    """Mean absolute error, in the target's units.

    Use: when a mistake of twice the size costs twice as much; outliers move it less than `rmse`.
    """

    name: Literal["mae"] = "mae"
    also = ("mean_absolute_error",)
    tasks = ("regression",)
    bounds = (0.0, math.inf)

    def compute(self, scored: Scored) -> torch.Tensor:
        return _residuals(scored).abs().mean((1, 2))


class MedianAbsoluteError(Metric):
    """Median of the absolute errors, in the target's units, averaged over columns.

    Of an even number of examples it is the mean of the two in the middle.

    Use: what a typical mistake is, whatever a few outliers do.
    """

    name: Literal["median_absolute_error"] = "median_absolute_error"
    also = ("median_ae", "medae")
    tasks = ("regression",)
    bounds = (0.0, math.inf)

    def compute(self, scored: Scored) -> torch.Tensor:
        errors = _residuals(scored).abs()
        middle = errors.sort(1).values[:, (errors.shape[1] - 1) // 2 : errors.shape[1] // 2 + 1]
        median = middle.mean(1)  # sort puts NaN last, where the median would not see it
        return torch.where(errors.isnan().any(1), torch.nan, median).mean(1)


class MaxError(Metric):
    """The largest absolute error, in the target's units (over all target columns).

    Use: when the worst case is what counts; it grows with the number of examples.
    """

    name: Literal["max_error"] = "max_error"
    tasks = ("regression",)
    bounds = (0.0, math.inf)

    def compute(self, scored: Scored) -> torch.Tensor:
        return _residuals(scored).abs().amax((1, 2))


class R2(Metric):
    """1 − Σ(y − q)² / Σ(y − ȳ)²: the share of variance explained, averaged over columns.

    A column that is constant counts 1 if predicted exactly, else 0 (as in scikit-learn).

    Use: to judge a regression without knowing the target's units: 0 is no better than its mean.
    """

    name: Literal["r2"] = "r2"
    also = ("r_squared", "explained_variance")
    tasks = ("regression",)
    higher_is_better = True
    bounds = (-math.inf, 1.0)

    def compute(self, scored: Scored) -> torch.Tensor:
        target = scored.target.double()
        left = _residuals(scored).square().sum(1)
        total = (target - target.mean(1, keepdim=True)).square().sum(1)
        varies = target.amax(1) > target.amin(1)
        return (1.0 - torch.where(varies, left / total, left.sign())).mean(1)


def _residuals(scored: Scored) -> torch.Tensor:
    return scored.target.double() - scored.prediction.double()
