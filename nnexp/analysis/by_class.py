"""Precision, recall and F1, averaged over classes or labels, as functions of means over examples.

Four blocks of moments, a column a class: numerator and denominator of its ratio, whether an example
is of it, and whether the class is there at all (one that is not, is left out of `macro`).
"""

from __future__ import annotations

from functools import partial

import numpy as np

from nnexp.analysis.results import Predictions
from nnexp.analysis.statistic import Statistic
from nnexp.stats import FloatArray

METRICS = ("precision", "recall", "f1", "iou", "balanced_accuracy")


def statistic(metric: str, is_multilabel: bool, average: str) -> Statistic | None:
    """The statistic of one of `METRICS`; None for an average that isn't known."""
    if average not in ("macro", "micro", "weighted"):
        return None
    moments = partial(_moments, metric, is_multilabel)
    return Statistic(moments, partial(_combine, average), partial(_influence, average))


def _moments(metric: str, is_multilabel: bool, predictions: Predictions) -> FloatArray:
    """`[m, 4·classes]`"""
    if is_multilabel:
        target, guess = predictions.numbers("target"), predictions.numbers("prediction")
        there = np.ones_like(target)
    else:
        names, codes = np.unique(
            np.concatenate([predictions.texts("target"), predictions.texts("prediction")]),
            return_inverse=True,
        )
        hot = np.eye(len(names))[codes]
        target, guess = np.split(hot, 2)
        there = target if metric == "balanced_accuracy" else target + guess
    right = target * guess
    blocks = {
        "precision": (right, guess),
        "recall": (right, target),
        "balanced_accuracy": (right, target),
        "f1": (2 * right, target + guess),
        "iou": (right, target + guess - right),
    }
    return np.hstack([*blocks[metric], target, there])


def _combine(average: str, means: FloatArray) -> FloatArray:
    above, below, actual, there = np.split(means, 4, axis=-1)
    if average == "micro":
        return _share(above.sum(axis=-1), below.sum(axis=-1))
    weight = actual if average == "weighted" else (there > 0).astype(np.float64)
    return _share((_share(above, below) * weight).sum(axis=-1), weight.sum(axis=-1))


def _influence(average: str, moments: FloatArray) -> FloatArray:
    means = moments.mean(axis=0)
    value = _combine(average, means)
    above, below, actual, there = np.split(moments, 4, axis=1)
    if average == "micro":
        apart = above.sum(axis=1) - value * below.sum(axis=1)
        return np.asarray(value + _share(apart, below.sum(axis=1).mean()))
    ratio = _share(above.mean(axis=0), below.mean(axis=0))
    change = _share(above - ratio * below, below.mean(axis=0))
    if average == "macro":
        weight = (there > 0).any(axis=0).astype(np.float64)
        return np.asarray(value + _share(change @ weight, weight.sum()))
    weight = actual.mean(axis=0)
    moved = (actual - weight) @ (ratio - value) + change @ weight
    return np.asarray(value + _share(moved, weight.sum()))


def _share(above: FloatArray, below: FloatArray) -> FloatArray:
    """above / below, 0 where below is."""
    positive = np.asarray(below) != 0
    return np.asarray(np.where(positive, above, 0.0) / np.where(positive, below, 1.0))
