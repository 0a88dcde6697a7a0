"""Scores of a set of predictions, one a member.

A metric sees all examples of a split at once: network outputs, targets, and each example's loss.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

from nnexp.components.losses import Task
from nnexp.lazy import torch
from nnexp.registry import Spec


@dataclass(frozen=True)
class Scored:
    """Predictions of M members for N examples.

    losses: `[M, N]`, each example's loss without penalties.
    prediction: class index `[M, N]`, or values `[M, N, K]` in the target's own units.
    target: likewise.
    """

    losses: torch.Tensor
    prediction: torch.Tensor
    target: torch.Tensor


class Metric(Spec, family="metric"):
    """A score of a set of predictions."""

    tasks: ClassVar[tuple[Task, ...]] = ("classification", "regression")
    higher_is_better: ClassVar[bool] = False
    bounds: ClassVar[tuple[float, float] | None] = None
    """What it can't leave, if anything."""

    def compute(self, scored: Scored) -> torch.Tensor:
        """float64 `[M]`."""
        raise AssertionError(f"{type(self).__name__} has no compute")


class LossMetric(Metric):
    """Mean loss an example, without penalties."""

    name: Literal["loss"] = "loss"

    def compute(self, scored: Scored) -> torch.Tensor:
        return scored.losses.double().mean(1)


class Accuracy(Metric):
    """Share of examples whose class is predicted."""

    name: Literal["accuracy"] = "accuracy"
    also = ("acc",)
    tasks = ("classification",)
    higher_is_better = True
    bounds = (0.0, 1.0)

    def compute(self, scored: Scored) -> torch.Tensor:
        return (scored.prediction == scored.target).double().mean(1)


class Error(Metric):
    """Share of examples whose class is missed: 1 − accuracy."""

    name: Literal["error"] = "error"
    also = ("error_rate",)
    tasks = ("classification",)
    bounds = (0.0, 1.0)

    def compute(self, scored: Scored) -> torch.Tensor:
        return (scored.prediction != scored.target).double().mean(1)


class Rmse(Metric):
    """Root of the mean squared error, in the target's units (over all target columns)."""

    name: Literal["rmse"] = "rmse"
    tasks = ("regression",)
    bounds = (0.0, math.inf)

    def compute(self, scored: Scored) -> torch.Tensor:
        return _residuals(scored).square().mean((1, 2)).sqrt()


class Mae(Metric):
    """Mean absolute error, in the target's units."""

    name: Literal["mae"] = "mae"
    tasks = ("regression",)
    bounds = (0.0, math.inf)

    def compute(self, scored: Scored) -> torch.Tensor:
        return _residuals(scored).abs().mean((1, 2))


class R2(Metric):
    """1 − Σ(y − q)² / Σ(y − ȳ)²: the share of variance explained, averaged over columns.

    A column that is constant counts 1 if predicted exactly, else 0 (as in scikit-learn).
    """

    name: Literal["r2"] = "r2"
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
