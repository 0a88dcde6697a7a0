"""Which `Statistic` each metric is, and what the metric can be."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from nnexp.analysis import by_class
from nnexp.analysis.results import Predictions
from nnexp.analysis.statistic import Statistic
from nnexp.components.metrics.metric import Averaged, Metric
from nnexp.stats import Bounds, FloatArray


def bounds_of(metric: str) -> Bounds | None:
    """What the metric can be, for `stats.describe`; None for anything."""
    known = Metric.registered.get(metric)
    return known.bounds if known is not None and issubclass(known, Metric) else None


def difference_bounds(metric: str) -> Bounds | None:
    """The bounds of a difference of two values of the metric."""
    low, high = bounds_of(metric) or (-np.inf, np.inf)
    return (low - high, high - low) if np.isfinite(high - low) else None


def statistic(metric: str, task: str = "", average: str = "macro") -> Statistic | None:
    """The statistic of that name; None for one that isn't a function of means over examples.

    task: as in summary.json. average: that of a metric by class.
    """
    cls = Metric.registered.get(metric)
    column = _mean_of(lambda predictions: predictions.numbers(metric)[:, 0])
    if metric == "perplexity":
        return _PERPLEXITY
    if task == "dense":  # then every mean over the examples is a column
        return column if cls is not None and issubclass(cls, Averaged) else None
    if metric in by_class.METRICS:
        return by_class.statistic(metric, task == "multilabel", average)
    if (known := _STATISTICS.get(metric)) is not None:
        return known
    if cls is None or not issubclass(cls, Averaged) or not cls.is_column:
        return None
    return column


def _mean_of(column: Callable[[Predictions], FloatArray]) -> Statistic:
    return Statistic(lambda p: column(p)[:, None], lambda means: means[..., 0], lambda x: x[:, 0])


def _hits(predictions: Predictions) -> FloatArray:
    """1 where the class, or a label, is right: `[m, 1 or labels]`."""
    if "target_0" in predictions.columns:
        hit = predictions.numbers("target") == predictions.numbers("prediction")
    else:
        hit = (predictions.texts("target") == predictions.texts("prediction"))[:, None]
    return np.asarray(hit, dtype=np.float64)


def _correct(predictions: Predictions) -> FloatArray:
    return np.asarray(_hits(predictions).mean(axis=1))


def _wrong(predictions: Predictions) -> FloatArray:
    return 1.0 - _correct(predictions)


def _exact(predictions: Predictions) -> FloatArray:
    return np.asarray(_hits(predictions).min(axis=1))


def _absolute(predictions: Predictions) -> FloatArray:
    return np.asarray(abs(_residuals(predictions)).mean(axis=1))


def _squared(predictions: Predictions) -> FloatArray:
    return np.asarray((_residuals(predictions) ** 2).mean(axis=1))


def _residuals(predictions: Predictions) -> FloatArray:
    """`[m, outputs]`"""
    return predictions.numbers("prediction") - predictions.numbers("target")


def _root_influence(moments: FloatArray) -> FloatArray:
    squares = moments[:, 0]
    root = np.sqrt(squares.mean())
    if root == 0:
        return np.zeros(len(squares))
    return np.asarray(root + (squares - root**2) / (2 * root))


def _r2_moments(predictions: Predictions) -> FloatArray:
    """Squared residual, target and squared target of each output, `[m, 3·outputs]`.

    Targets are centred first: R² does not change, and nothing cancels.
    """
    target = predictions.numbers("target")
    target = target - target.mean(axis=0)
    return np.hstack([_residuals(predictions) ** 2, target, target**2])


def _r2_combine(means: FloatArray) -> FloatArray:
    residual, target, square = np.split(means, 3, axis=-1)
    variance = square - target**2
    positive = variance > 0
    ratio = np.where(positive, residual, np.nan) / np.where(positive, variance, 1.0)
    return np.asarray((1.0 - ratio).mean(axis=-1))


def _r2_influence(moments: FloatArray) -> FloatArray:
    squares, target, square = np.split(moments, 3, axis=1)
    target_mean = target.mean(axis=0)
    residual, variance = squares.mean(axis=0), square.mean(axis=0) - target_mean**2
    if not np.all(variance > 0):
        return np.full(len(moments), np.nan)
    deviation = (target - target_mean) ** 2 - variance
    share = -(squares - residual) / variance + residual * deviation / variance**2
    return np.asarray((1.0 - residual / variance + share).mean(axis=1))


def _perplexity_influence(moments: FloatArray) -> FloatArray:
    losses = moments[:, 0]
    mean = losses.mean()
    return np.asarray(np.exp(mean) * (1.0 + losses - mean))


_PERPLEXITY = Statistic(
    lambda p: p.numbers("loss"), lambda means: np.exp(means[..., 0]), _perplexity_influence
)
_STATISTICS: dict[str, Statistic] = {
    "accuracy": _mean_of(_correct),
    "error": _mean_of(_wrong),
    "exact_match": _mean_of(_exact),
    "mae": _mean_of(_absolute),
    "rmse": Statistic(
        lambda p: _squared(p)[:, None], lambda means: np.sqrt(means[..., 0]), _root_influence
    ),
    "r2": Statistic(_r2_moments, _r2_combine, _r2_influence),
}
