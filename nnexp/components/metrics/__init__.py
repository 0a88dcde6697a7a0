"""Scores of a set of predictions."""

from nnexp.components.metrics import by_class, metric, probabilities

__all__ = [
    "by_class",
    "metric",
    "probabilities",
]
