"""Whether dev and test are of one distribution: can a classifier tell which an example is of?"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from nnexp import streams
from nnexp.checks.subject import CHECKS
from nnexp.checks.verdict import Verdict, judged
from nnexp.components.preprocessing.columns import shown
from nnexp.components.table import Features, Table
from nnexp.data.prepare import Prepared
from nnexp.data.splitter import Splitter
from nnexp.data.suspicions import evenly, shifts

_LEVEL = 1e-3
_DIRECTIONS = 50
_MOST = 4_000
_LEAST = 30


def alike(split: Splitter, table: Table, prepared: Prepared) -> Verdict:
    """A verdict by a two-sample classifier: a linear one, of the inputs and their squares.

    Its area under the ROC curve, on halves that it was not fitted on, is ½ where both are drawn
    from one distribution. The columns that differ by themselves are named.

    Source: Lopez-Paz & Oquab (2017), "Revisiting classifier two-sample tests".
    """
    name, dev, test = "dev against test", prepared.parts["dev"], prepared.parts["test"]
    if min(len(dev), len(test)) < _LEAST:
        return Verdict(name, "pass", f"fewer than {_LEAST} examples: not to be told")
    columns = [] if split.is_random(table) else shifts(split, table, dev, test)
    dev, test = evenly(dev, _MOST), evenly(test, _MOST)
    by = getattr(split, "by", None)  # this differs by itself
    x = np.concatenate([_inputs(prepared, table.features, rows, by) for rows in (dev, test)])
    area = area_of(x.astype(np.float64), np.repeat([0, 1], [len(dev), len(test)]))
    spread = math.sqrt((len(x) + 1) / (12 * len(dev) * len(test)))
    sure = math.erfc((area - 0.5) / spread / math.sqrt(2.0)) / 2 < _LEVEL
    text = f"a classifier tells them apart with an area of {area:.2f} (½: not at all)"
    if columns:
        text += f", most by {shown([s.name for s in sorted(columns, key=lambda s: -s.distance)])}"
    return judged(
        name,
        text,
        look=bool(columns) or (sure and area > 0.6),
        fail=sure and area > 0.8 and split.component != "ordered",
        advice="what is best on dev may not be on test: draw both from the data you will meet",
    )


def _inputs(prepared: Prepared, features: Features, rows: np.ndarray, by: str | None) -> np.ndarray:
    """Inputs as training has them, flat, the column `by` set to one value."""
    if by is None or by not in (*features.names, *features.categorical_names):
        return np.asarray(prepared.gather(rows)).reshape(len(rows), -1)
    block, first = features.rows(rows), features.rows(np.zeros(1, np.int64))
    numbers, texts = np.array(block.numeric), block.categorical.copy()
    if by in features.names:
        place = features.names.index(by)
        numbers[:, place] = np.asarray(first.numeric)[0, place]
    else:
        place = features.categorical_names.index(by)
        texts[:, place] = first.categorical[0, place]
    same = replace(block, numeric=numbers, categorical=texts)
    return prepared.pipeline.apply(same).reshape(len(rows), -1)


def area_of(x: np.ndarray, labels: np.ndarray) -> float:
    """The area under the ROC curve of a ridge classifier, by two halves in turn."""
    x = x[:, x.std(0) > 0]
    if not x.shape[1]:
        return 0.5
    x = (x - x.mean(0)) / x.std(0)
    width = x.shape[1]
    if width > _DIRECTIONS:
        drawn = streams.normal(streams.key(0, CHECKS, 0), width * _DIRECTIONS)
        x = x @ drawn.reshape(width, _DIRECTIONS) / math.sqrt(width)
    x = np.clip(x, -5.0, 5.0)
    x = np.concatenate([np.ones((len(x), 1)), x, x * x - 1.0], 1)
    half = np.zeros(len(x), np.int64)
    for label in (0, 1):
        rows = np.flatnonzero(labels == label)
        order = streams.permutation(streams.key(0, CHECKS, 1 + label), len(rows))
        half[rows[order]] = np.arange(len(rows)) % 2
    areas = []
    for here in (0, 1):
        fit, asked = half == here, half != here
        centre = labels[fit] - labels[fit].mean()
        square = x[fit].T @ x[fit] + 0.1 * fit.sum() * np.eye(x.shape[1])
        areas.append(
            rank_area(x[asked] @ np.linalg.solve(square, x[fit].T @ centre), labels[asked])
        )
    return float(np.mean(areas))


def rank_area(scores: np.ndarray, labels: np.ndarray) -> float:
    """The probability that one of class 1 has a higher score than one of class 0."""
    low, high = np.sort(scores[labels == 0]), scores[labels == 1]
    below = np.searchsorted(low, high, "left") + np.searchsorted(low, high, "right")
    return float(below.sum()) / (2 * len(low) * len(high))
