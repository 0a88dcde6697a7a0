"""Metrics of predicted probabilities: how good they are as numbers, and as an order."""

from __future__ import annotations

import math
from typing import Literal

from nnexp.components.metrics.metric import Averaged, Metric, Scored
from nnexp.lazy import torch
from nnexp.registry import param


class LogLoss(Averaged):
    """−log of the probability given to what is right; of several labels their mean.

    Probabilities below the rounding unit of their type count as that (as in scikit-learn), so
    that it is finite.

    Use: to compare probabilities of runs whose losses differ (label smoothing, class weights).
    """

    name: Literal["log_loss"] = "log_loss"
    also = ("nll", "negative_log_likelihood")
    tasks = ("classification", "multilabel")
    bounds = (0.0, math.inf)
    needs_probabilities = True
    is_column = True

    def per_example(self, scored: Scored) -> torch.Tensor:
        p = _probabilities(scored)
        unit = torch.finfo(p.dtype).eps
        p = p.double()
        if scored.is_multilabel:
            right = torch.where(scored.target > 0, p, 1.0 - p)
            return right.clamp(unit, 1.0).log().neg().mean(-1)
        return p.gather(-1, scored.target[..., None]).squeeze(-1).clamp(unit, 1.0).log().neg()


class Brier(Averaged):
    """Squared distance of the probabilities from what came: Σ_c (p_c − 1[y = c])².

    Of two classes half of that, (p − y)², as is usual; of several labels (p − y)², averaged.

    Use: like `log_loss`, but bounded: one confident mistake does not outweigh everything else.
    Source: Brier (1950), "Verification of forecasts expressed in terms of probability".
    """

    name: Literal["brier"] = "brier"
    also = ("brier_score",)
    tasks = ("classification", "multilabel")
    bounds = (0.0, 2.0)
    needs_probabilities = True
    is_column = True

    def per_example(self, scored: Scored) -> torch.Tensor:
        p = _probabilities(scored).double()
        if scored.is_multilabel:
            return (p - scored.target).square().mean(-1)
        one = torch.ones_like(scored.target, dtype=p.dtype)[..., None]
        squares = p.scatter_add(-1, scored.target[..., None], -one).square().sum(-1)
        return squares / 2 if scored.classes == 2 else squares


class CalibrationError(Metric):
    """How far confidence and accuracy are apart, in bins of equal width of confidence (ECE).

    Confidence is the highest probability; a bin holds (low, high].

    Formula: Σ_bins n_b/N · |accuracy_b − confidence_b|

    Use: when probabilities are acted upon: 0 means that of what is said with 80 % one in five is
    wrong. It does not tell whether predictions are good, and depends on the bins.
    Source: Guo, Pleiss, Sun & Weinberger (2017), "On calibration of modern neural networks".
    """

    name: Literal["calibration_error"] = "calibration_error"
    also = ("ece", "expected_calibration_error")
    tasks = ("classification",)
    bounds = (0.0, 1.0)
    needs_probabilities = True
    bins: int = param(15, "how many bins", unit="bins", ge=1, le=1000)

    def compute(self, scored: Scored) -> torch.Tensor:
        confidence = _probabilities(scored).double().amax(-1)
        apart = (scored.prediction == scored.target).double() - confidence
        bins = (confidence * self.bins).ceil().nan_to_num(1.0).long() - 1
        sums = torch.zeros(len(apart), self.bins, dtype=apart.dtype, device=apart.device)
        sums.scatter_add_(1, bins.clamp(0, self.bins - 1), apart)
        return sums.abs().sum(1) / apart.shape[1]


class RocAuc(Metric):
    """Chance that an example of a class scores higher than one that is not (area under the ROC).

    Ties count half. Of more than two classes each against the rest, of several labels each, and
    the mean over them; a class or label that no example of the part has, or all, is left out, and
    without any left it is NaN.

    Use: when it is the order that matters, or the threshold is chosen later; 0.5 is chance. Where
    what is sought is rare, `pr_auc` tells more.
    Source: Hanley & McNeil (1982), "The meaning and use of the area under a ROC curve".
    """

    name: Literal["roc_auc"] = "roc_auc"
    also = ("auc", "auroc", "area_under_curve")
    tasks = ("classification", "multilabel")
    higher_is_better = True
    bounds = (0.0, 1.0)
    needs_probabilities = True

    def compute(self, scored: Scored) -> torch.Tensor:
        scores, positive = _one_against_rest(scored)
        ordered = scores.sort(-1).values
        below = torch.searchsorted(ordered, scores)
        rank = (below + torch.searchsorted(ordered, scores, right=True) + 1).double() / 2
        count, others = positive.sum(-1), (1 - positive).sum(-1)
        wins = (rank * positive).sum(-1) - count * (count + 1) / 2
        return _mean_where((count > 0) & (others > 0), wins / (count * others), scores)


class PrAuc(Metric):
    """Average precision: the precision at each example's score, averaged over those of the class.

    This is the area under the precision–recall curve as steps, as in scikit-learn. Of two classes
    it is the second one's; of more each against the rest, of several labels each, and the mean
    over them. A class or label that no example of the part has is left out, and without any left
    it is NaN.

    Use: when what is sought is rare: chance is its share, so a small value may be a good one.
    """

    name: Literal["pr_auc"] = "pr_auc"
    also = ("average_precision", "auprc", "map")
    tasks = ("classification", "multilabel")
    higher_is_better = True
    bounds = (0.0, 1.0)
    needs_probabilities = True

    def compute(self, scored: Scored) -> torch.Tensor:
        scores, positive = _one_against_rest(scored)
        ordered, order = scores.sort(-1)
        below = torch.searchsorted(ordered, scores).clamp_(max=scores.shape[-1] - 1)  # of a NaN
        found = positive.gather(-1, order).flip(-1).cumsum(-1).flip(-1).gather(-1, below)
        precision = found / (scores.shape[-1] - below)
        count = positive.sum(-1)
        return _mean_where(count > 0, (precision * positive).sum(-1) / count, scores)


def _probabilities(scored: Scored) -> torch.Tensor:
    assert scored.probabilities is not None, "config.rules refuses losses that mean none"
    return scored.probabilities


def _one_against_rest(scored: Scored) -> tuple[torch.Tensor, torch.Tensor]:
    """Scores, and float64 1 for the examples of the class or label: `[M, C, N]`.

    Of two classes only the second one.
    """
    p = _probabilities(scored).transpose(1, 2)
    if scored.is_multilabel:
        return p.contiguous(), scored.target.transpose(1, 2).double()
    classes = torch.arange(scored.classes, device=p.device)
    if len(classes) == 2:
        p, classes = p[:, 1:], classes[1:]
    return p.contiguous(), (scored.target[:, None] == classes[:, None]).double()


def _mean_where(defined: torch.Tensor, values: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
    """Mean of values `[M, C]` where they are defined; NaN if none is, or a score is NaN."""
    mean = torch.where(defined, values, 0.0).sum(1) / defined.sum(1)
    return torch.where(scores.isnan().flatten(1).any(1), torch.nan, mean)
