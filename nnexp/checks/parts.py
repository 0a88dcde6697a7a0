"""Whether train, dev and test are apart, and alike."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from nnexp import streams
from nnexp.checks.verdict import Verdict, judged
from nnexp.components.table import Features, Table
from nnexp.data.prepare import Prepared
from nnexp.data.splitter import Splitter

CHECKS = 1001
"""The purpose of random streams that checks draw from, and nothing else does."""

_OVERLAP = 0.1
_LEVEL = 1e-3
_DIRECTIONS = 50
_MOST = 4_000
_COLUMNS = 500
_LEAST = 30


def twins(features: Features, parts: Mapping[str, np.ndarray]) -> Verdict:
    """Whether examples of one part have, in all their features, a twin in another part."""
    keys = {part: _keys(features, rows) for part, rows in parts.items()}
    shares = {}
    for part, others in (("dev", ("train",)), ("test", ("train", "dev"))):
        for other in others:
            if part in keys and other in keys:
                there = set(keys[other])
                share = sum(key in there for key in keys[part]) / len(keys[part])
                shares[f"{share:.1%} of {part} is in {other}, too"] = share
    natural = _few_values(features, parts["train"])
    worst = max(shares.values(), default=0.0)
    text = "; ".join(said for said, share in shares.items() if share) or "none"
    if worst and natural:
        text += " (columns of few values, which repeat by themselves)"
    return judged(
        "same example in two splits",
        text,
        look=worst > 0 and not natural,
        fail=worst >= _OVERLAP and not natural,
        advice="remove repeated rows before splitting, or keep them together (`split: grouped`): "
        "as it is, scores flatter",
    )


def _keys(features: Features, rows: np.ndarray) -> list[int]:
    found = []
    for piece in features.chunks(rows):
        block = features.rows(piece)
        numbers = np.ascontiguousarray(block.numeric).reshape(len(piece), -1) + 0  # −0 is 0
        texts = block.categorical
        found += [hash((x.tobytes(), *t)) for x, t in zip(numbers, texts, strict=True)]
    return found


def _few_values(features: Features, rows: np.ndarray) -> bool:
    """Whether examples may be equal by chance: no image, and every column with few values."""
    if features.is_image:
        return False
    block = features.rows(rows)
    columns = [*np.asarray(block.numeric).T, *block.categorical.T]
    return all(len(set(column.tolist())) < 0.1 * len(rows) for column in columns)


def alike(
    split: Splitter, table: Table, prepared: Prepared, dev: np.ndarray, test: np.ndarray
) -> Verdict:
    """Whether a classifier can tell dev from test: a linear one, of the inputs and their squares.

    dev, test: rows that are looked at. Its area under the ROC curve, on halves that it was not
    fitted on, is ½ where both are drawn from one distribution.
    """
    name = "dev against test"
    if min(len(dev), len(test)) < _LEAST:
        return Verdict(name, "pass", f"fewer than {_LEAST} examples: not to be told")
    dev, test = _some(dev), _some(test)
    by = getattr(split, "by", None)  # this differs by itself
    x = np.concatenate([_inputs(prepared, table.features, rows, by) for rows in (dev, test)])
    is_test = np.repeat([0, 1], [len(dev), len(test)])
    area = _area(x.astype(np.float64), is_test)
    spread = math.sqrt((len(x) + 1) / (12 * len(dev) * len(test)))
    sure = math.erfc((area - 0.5) / spread / math.sqrt(2.0)) / 2 < _LEVEL
    text = f"a classifier tells them apart with an area of {area:.2f} (½: not at all)"
    if not sure or area <= 0.6:
        return Verdict(name, "pass", text)
    return judged(
        name,
        f"{text}, most by {_telling(table.features, dev, test, by)}",
        look=True,
        fail=area > 0.8 and split.component != "ordered",
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


def _telling(features: Features, dev: np.ndarray, test: np.ndarray, by: str | None) -> str:
    """The column that alone differs most between dev and test, as far as columns do."""
    columns = [features.rows(rows) for rows in (dev, test)]
    most, found = 0.0, "several together"
    numbers = [block.flat()[:, :_COLUMNS] for block in columns]
    for i, name in enumerate(features.labels[: numbers[0].shape[1]]):
        there = [x[:, i][~np.isnan(x[:, i])] for x in numbers]
        if name == by or not (len(there[0]) and len(there[1])):
            continue
        scores = np.concatenate(there)
        area = _rank_area(scores, np.repeat([0, 1], [len(x) for x in there]))
        if abs(area - 0.5) > most:
            most, found = abs(area - 0.5), name
    for i, name in enumerate(features.categorical_names):
        ours, theirs = (Counter(block.categorical[:, i].tolist()) for block in columns)
        values = ours.keys() | theirs.keys()
        apart = sum(abs(ours[v] / len(dev) - theirs[v] / len(test)) for v in values) / 2
        if name != by and apart / 2 > most:
            most, found = apart / 2, name
    return found


def _some(rows: np.ndarray) -> np.ndarray:
    return rows if len(rows) <= _MOST else rows[np.arange(_MOST) * len(rows) // _MOST]


def _area(x: np.ndarray, labels: np.ndarray) -> float:
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
            _rank_area(x[asked] @ np.linalg.solve(square, x[fit].T @ centre), labels[asked])
        )
    return float(np.mean(areas))


def _rank_area(scores: np.ndarray, labels: np.ndarray) -> float:
    """The probability that one of class 1 has a higher score than one of class 0."""
    low, high = np.sort(scores[labels == 0]), scores[labels == 1]
    below = np.searchsorted(low, high, "left") + np.searchsorted(low, high, "right")
    return float(below.sum()) / (2 * len(low) * len(high))
