"""Predictions as a DataFrame."""

from __future__ import annotations

from typing import Any

import numpy as np

from nnexp.api.data import Frame
from nnexp.runs.apply import Answers


def answers_frame(answers: Answers, classes: np.ndarray, index: Any) -> Frame:
    """A row an example; see `Run.predict`. classes: what the classes are called."""
    import pandas as pd

    if answers.task == "classification":
        columns = _classes(answers, classes)
    else:
        columns = (_labels if answers.task == "multilabel" else _values)(answers)
    return pd.DataFrame(columns, index=answers.ids if index is None else index)


def _classes(answers: Answers, names: np.ndarray) -> dict[str, np.ndarray]:
    """The class whose mean probability is the highest, or reaches its threshold; or else the one
    that most models predict.
    """
    votes = np.stack([(answers.predictions == i).mean(0) for i in range(len(answers.names))], 1)
    chances = None if answers.probabilities is None else answers.probabilities.mean(0)
    best, several = answers.predictions[0], len(answers.predictions) > 1
    if several:
        best = (votes if chances is None else chances).argmax(1)
    if chances is not None:
        for place, threshold in answers.thresholds.items():
            best = np.where(chances[:, place] >= threshold, place, 1 - place)
    columns = {"prediction": names[best]}
    if several:
        columns["agreement"] = votes[np.arange(len(best)), best]
    if chances is not None:
        columns |= {f"p({name})": chances[:, i] for i, name in enumerate(answers.names)}
    return columns


def _labels(answers: Answers) -> dict[str, np.ndarray]:
    """Of several models the labels that at least half of them predict, or whose mean probability
    reaches its threshold.
    """
    columns = {}
    for i, name in enumerate(answers.names):
        columns[name] = (answers.predictions[:, :, i].mean(0) >= 0.5).astype(int)
    if answers.probabilities is not None:
        chances = answers.probabilities.mean(0)
        for i, threshold in answers.thresholds.items():
            columns[answers.names[i]] = (chances[:, i] >= threshold).astype(int)
        columns |= {f"p({name})": chances[:, i] for i, name in enumerate(answers.names)}
    return columns


def _values(answers: Answers) -> dict[str, np.ndarray]:
    columns = {}
    for i, name in enumerate(answers.names):
        columns[name] = answers.predictions[:, :, i].mean(0)
    if len(answers.predictions) > 1:
        spread = answers.predictions.std(0, ddof=1)
        columns |= {f"sd {name}": spread[:, i] for i, name in enumerate(answers.names)}
    return columns
