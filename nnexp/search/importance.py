"""How much each searched key matters to the score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from nnexp.components.searching.space import Space

FEWEST = 10
"""Trials below which nothing is said."""


def importance(
    space: Space, draws: Sequence[Mapping[str, float]], values: Sequence[float]
) -> dict[str, float]:
    """Each parameter's share, the largest first: how much worse a random forest predicts the
    scores' ranks once the parameter's column is permuted (Breiman 2001). {} for few trials.
    """
    if len(draws) < FEWEST:
        return {}
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.inspection import permutation_importance

    names = [one.name for one in space.parameters]
    table = np.array([[draw.get(name, -1.0) for name in names] for draw in draws])
    ranks = np.argsort(np.argsort(values)).astype(np.float64)  # one bad trial is not to decide
    forest = RandomForestRegressor(n_estimators=100, min_samples_leaf=2, random_state=0)
    forest.fit(table, ranks)
    found = permutation_importance(forest, table, ranks, n_repeats=10, random_state=0)
    shares = np.maximum(found.importances_mean, 0.0)
    shares = shares / shares.sum() if shares.sum() > 0 else shares
    order = np.argsort(-shares, kind="stable")
    return {names[i]: round(float(shares[i]), 4) for i in order}
