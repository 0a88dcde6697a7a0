"""Precision, recall and F1 of each class or label, and their averages (as in scikit-learn)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from nnexp.components.metrics.metric import Metric, Scored
from nnexp.lazy import torch
from nnexp.registry import param

Average = Literal["macro", "micro", "weighted"]


@dataclass(frozen=True)
class Counts:
    """Examples of each class or label, float64 `[M, C]`: right, predicted and actual ones."""

    right: torch.Tensor
    predicted: torch.Tensor
    actual: torch.Tensor
    is_multilabel: bool

    @classmethod
    def of(cls, scored: Scored) -> Counts:
        prediction, target = scored.prediction, scored.target
        if scored.is_multilabel:
            sums = [x.double().sum(1) for x in (prediction * target, prediction, target)]
            return cls(sums[0], sums[1], sums[2], True)
        shape = (target.shape[0], scored.classes)
        ones = torch.ones_like(target, dtype=torch.float64)
        if scored.is_dense:  # every position counts as an example, if it has a target
            ones = (target >= 0).double().flatten(1)
            prediction, target = prediction.flatten(1), target.flatten(1).clamp_min(0)

        def count(classes: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
            zeros = torch.zeros(shape, dtype=torch.float64, device=target.device)
            return zeros.scatter_add_(1, classes, weight)

        hit = (prediction == target).double() * ones
        return cls(count(target, hit), count(prediction, ones), count(target, ones), False)


class ByClass(Metric):
    """A ratio of counts for each class or label, averaged over them."""

    tasks = ("classification", "multilabel", "dense")
    higher_is_better = True
    bounds = (0.0, 1.0)
    average: Average = param(
        "macro",
        "`macro`: every class counts the same; `weighted`: by its number of examples; `micro`: "
        "one ratio of the counts of all (with one class an example, that is accuracy)",
    )

    def ratio(self, counts: Counts) -> tuple[torch.Tensor, torch.Tensor]:
        """Numerator and denominator for each class, `[M, C]`."""
        raise AssertionError(f"{type(self).__name__} has no ratio")

    def compute(self, scored: Scored) -> torch.Tensor:
        counts = Counts.of(scored)
        above, below = self.ratio(counts)
        if self.average == "micro":
            return share(above.sum(1), below.sum(1))
        if self.average == "weighted":
            return share((counts.actual * share(above, below)).sum(1), counts.actual.sum(1))
        there = (counts.predicted + counts.actual > 0) | counts.is_multilabel
        return (share(above, below) * there).sum(1) / there.sum(1)


class Precision(ByClass):
    """Of the examples that are said to be of a class, the share that is; averaged over classes.

    A class that is never predicted counts 0. One that neither targets nor predictions of the part
    have is left out of the average; a label always counts.

    Use: when a false alarm is what costs; read it together with `recall`.
    """

    name: Literal["precision"] = "precision"
    also = ("positive_predictive_value",)

    def ratio(self, counts: Counts) -> tuple[torch.Tensor, torch.Tensor]:
        return counts.right, counts.predicted


class Recall(ByClass):
    """Of the examples of a class, the share that is found; averaged over classes.

    A class without examples that is predicted all the same counts 0. One that neither targets nor
    predictions of the part have is left out of the average; a label always counts.

    Use: when a miss is what costs; read it together with `precision`.
    """

    name: Literal["recall"] = "recall"
    also = ("sensitivity", "true_positive_rate")

    def ratio(self, counts: Counts) -> tuple[torch.Tensor, torch.Tensor]:
        return counts.right, counts.actual


class F1(ByClass):
    """Harmonic mean of a class's precision and recall; averaged over classes.

    A class of which nothing is right counts 0. One that neither targets nor predictions of the
    part have is left out of the average; a label always counts.

    Formula: 2·right / (predicted + actual)

    Use: when some classes are rare and both false alarms and misses cost; the usual score of
    several labels.
    """

    name: Literal["f1"] = "f1"
    also = ("f1_score", "f_score", "dice")

    def ratio(self, counts: Counts) -> tuple[torch.Tensor, torch.Tensor]:
        return 2 * counts.right, counts.predicted + counts.actual


class Iou(ByClass):
    """Intersection over union of where a class is and where it is said to be; mean over classes.

    Of a class at every position all examples are counted together. A class that neither targets
    nor predictions of the part have is left out of the average; a label always counts.

    Formula: right / (predicted + actual − right)
    Use: the usual score of segmentation: background, which is easy and large, counts as one class.
    Source: Jaccard (1912), "The distribution of the flora in the alpine zone".
    """

    name: Literal["iou"] = "iou"
    also = ("jaccard", "mean_iou", "miou")

    def ratio(self, counts: Counts) -> tuple[torch.Tensor, torch.Tensor]:
        return counts.right, counts.predicted + counts.actual - counts.right


class BalancedAccuracy(Metric):
    """Mean over the classes of the share of its examples that is found.

    A class without an example in the part is left out of the mean.

    Use: accuracy as it were with classes of equal size: 1/C is chance, whatever the frequencies.
    """

    name: Literal["balanced_accuracy"] = "balanced_accuracy"
    tasks = ("classification", "dense")
    higher_is_better = True
    bounds = (0.0, 1.0)

    def compute(self, scored: Scored) -> torch.Tensor:
        counts = Counts.of(scored)
        return share(counts.right, counts.actual).sum(1) / (counts.actual > 0).sum(1)


def share(above: torch.Tensor, below: torch.Tensor) -> torch.Tensor:
    """above / below, 0 where below is."""
    return above / torch.where(below > 0, below, 1.0)
