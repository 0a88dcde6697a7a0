"""How much each searched key matters to the score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from nnexp.components.searching.space import Parameter, Space

FEWEST = 10
"""Trials below which nothing is said."""
BINS = 8


def importance(
    space: Space, draws: Sequence[Mapping[str, float]], values: Sequence[float]
) -> dict[str, float]:
    """The share of the scores' differences that each parameter explains by itself, the largest
    first; {} for few trials.

    It is ω² (Hays 1963) of the scores' ranks over the parameter's choices, or over ranges of its
    scale: the share of variance between them, less what chance would give. Ranks, so that a few
    trials that failed do not decide. What only two keys together explain is in no share.
    """
    if len(draws) < FEWEST:
        return {}
    ranks = np.argsort(np.argsort(values)).astype(np.float64)
    shares = {one.name: _omega_squared(_levels(one, draws), ranks) for one in space.parameters}
    return dict(sorted(shares.items(), key=lambda item: -item[1]))


def _levels(one: Parameter, draws: Sequence[Mapping[str, float]]) -> np.ndarray:
    """In which group each trial is: a choice, a range of a scale, or the trials without the key."""
    u = np.array([draw.get(one.name, -1.0) for draw in draws])
    if one.domain.count is None:
        bins = min(BINS, max(2, len(draws) // 5))
        u = np.where(u < 0, -1, np.minimum(np.floor(u * bins), bins - 1))
    return u


def _omega_squared(levels: np.ndarray, values: np.ndarray) -> float:
    groups = [values[levels == level] for level in np.unique(levels)]
    total = float(((values - values.mean()) ** 2).sum())
    between = sum(len(g) * float((g.mean() - values.mean()) ** 2) for g in groups)
    spare, free = len(groups) - 1, len(values) - len(groups)
    if not spare or free <= 0 or total == 0:
        return 0.0
    within = (total - between) / free
    return round(max(0.0, (between - spare * within) / (total + within)), 4)
