"""What is suspicious about a split: examples in two parts, and parts that are not alike."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from nnexp.components.table import Features, Table
from nnexp.data.splitter import Splitter
from nnexp.errors import count
from nnexp.stats import holm

ROWS = 20_000
"""Most rows of a part that are asked about, evenly spaced."""
KNOWN, KNOWN_NUMBERS = 500_000, 200_000_000
"""Most rows, and about as many numbers, of a part in which they are looked up."""
NUMBERS = 4_000_000
"""About as many numbers of a part are compared with another's."""
COLUMNS = 1_000
"""Most columns that are compared, evenly spaced."""
LEVEL = 0.001
"""Below this, corrected for the number of columns, parts are said to differ."""
APART = 0.1
"""If at least so far apart, that is: with enough examples everything differs a little."""

_FEW, _FEW_OF = 0.1, 2_000


def split_notes(split: Splitter, table: Table, parts: Mapping[str, np.ndarray]) -> list[str]:
    """A line for everything that is suspicious; quick on large data, of which it looks at a part.

    Whether dev and test are alike is asked only where chance did not see to it.
    """
    notes = [] if table.task == "words" else list(_repeats(table.features, parts))
    if {"dev", "test"} <= parts.keys() and not split.is_random(table):
        names = [s.name for s in shifts(split, table, parts["dev"], parts["test"])]
        if names:
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            notes.append(
                f"split: dev and test are not alike in {', '.join(names[:3])}{more} (p < "
                f"{LEVEL:g} each): what does best on dev may not on test"
            )
    return notes


# -- one example in two parts ----------------------------------------------------------------------


@dataclass(frozen=True)
class Repeat:
    """Examples of part `other` whose features are those of an example in part `one`.

    share: of `other`, and whether that is exact, or estimated from some of the examples. row, same:
    the first of them, and its twin in `one`.
    """

    one: str
    other: str
    share: float
    exact: bool
    row: int
    same: int


def repeats(features: Features, parts: Mapping[str, np.ndarray]) -> list[Repeat]:
    """The pairs of parts that share examples, the features' zeros of either sign being equal."""
    width = max(1, features.width + len(features.categorical_names))
    most = min(KNOWN, max(200, KNOWN_NUMBERS // width))
    asked = {part: evenly(rows, min(ROWS, most)) for part, rows in parts.items()}
    keys = {part: list(_keys(features, rows)) for part, rows in asked.items() if part != "train"}
    wanted = set().union(*keys.values())
    found, names = [], list(parts)
    for i, one in enumerate(names[:-1]):
        known = evenly(parts[one], most)
        first: dict[int, int] = {}
        for row, key in zip(known.tolist(), _keys(features, known), strict=True):
            if key in wanted:
                first.setdefault(key, row)
        seen = len(known) / len(parts[one])
        for other in names[i + 1 :]:
            rows = asked[other].tolist()
            common = [
                (r, first[key]) for r, key in zip(rows, keys[other], strict=True) if key in first
            ]
            if common:
                share = min(1.0, len(common) / len(rows) / seen)
                exact = seen == 1 and len(rows) == len(parts[other])
                found.append(Repeat(one, other, share, exact, *min(common)))
    return found


def repeat_by_themselves(features: Features, rows: np.ndarray) -> bool:
    """Whether examples may be equal by chance: no image, and every column with few values."""
    if features.is_image:
        return False
    block = features.rows(evenly(rows, _FEW_OF))
    values = [len(np.unique(column)) for column in np.asarray(block.numeric).T]  # gaps are one
    values += [len(set(column.tolist())) for column in block.categorical.T]
    return all(there < _FEW * len(block) for there in values)


def _repeats(features: Features, parts: Mapping[str, np.ndarray]) -> Iterator[str]:
    if repeat_by_themselves(features, parts["train"]):
        return
    for found in repeats(features, parts):
        some = max(1, round(found.share * len(parts[found.other])))
        yield (
            f"split: {'' if found.exact else 'about '}{count(some, 'example')} of {found.other} "
            f"{'has' if some == 1 else 'have'} the very features of one in {found.one}, such as "
            f"row {found.row} and row {found.same}: scores on {found.other} may flatter"
        )


def _keys(features: Features, rows: np.ndarray) -> Iterator[int]:
    """A hash of each row's values."""
    for piece in features.chunks(rows):
        block = features.rows(piece)
        numeric = np.ascontiguousarray(block.numeric).reshape(len(piece), -1)
        if numeric.dtype.kind == "f":
            numeric = numeric + 0.0  # −0 is 0
        for numbers, text in zip(numeric, block.categorical, strict=True):
            yield hash((numbers.tobytes(), *text))


# -- parts that are not alike ----------------------------------------------------------------------


@dataclass(frozen=True)
class Shift:
    """A column that is distributed differently in dev and test: its name, or `the target …`.

    distance: the largest between the two distribution functions, or a category's two shares.
    """

    name: str
    distance: float


def shifts(split: Splitter, table: Table, dev: np.ndarray, test: np.ndarray) -> list[Shift]:
    """The columns that are distributed differently in dev and test; the one split by apart.

    Numbers by Kolmogorov and Smirnov's test, each category's share by the χ² of its 2 × 2 table,
    and Holm's correction over all. None of text, whose columns are places in it.
    """
    if table.sequences or table.task == "words":
        return []
    by = getattr(split, "by", None)  # this differs by itself
    tests = [test for test in _tests(table, dev, test) if test[0] != by]
    furthest: dict[str, float] = {}
    for (name, distance, _), p in zip(tests, holm([p for *_, p in tests]), strict=True):
        if p is not None and p < LEVEL and distance >= APART:
            furthest[name] = max(distance, furthest.get(name, 0.0))
    return [Shift(name, distance) for name, distance in furthest.items()]


def _tests(table: Table, dev: np.ndarray, test: np.ndarray) -> Iterator[tuple[str, float, float]]:
    """(what is compared, distance, p) for columns and the target."""
    features = table.features
    columns = evenly(np.arange(features.width), COLUMNS)
    most = min(ROWS, max(200, NUMBERS // max(len(columns), 1)))
    dev, test = evenly(dev, most), evenly(test, most)
    ours, theirs = (_numbers(features, rows, columns) for rows in (dev, test))
    for i, column in enumerate(columns.tolist()):
        yield features.labels[column], *kolmogorov_smirnov(ours[:, i], theirs[:, i])
    for i, name in enumerate(features.categorical_names):
        texts = features.categorical[:, i]
        yield from ((name, *t) for t in _frequencies(texts[dev].tolist(), texts[test].tolist()))
    if table.codes is not None:
        name = f"the target {table.target_names[0]}"
        codes = table.codes[dev].tolist(), table.codes[test].tolist()
        yield from ((name, *t) for t in _frequencies(*codes))
    elif table.classes is None:
        for i, name in enumerate(table.target_names):
            values = table.target[dev, i], table.target[test, i]
            yield f"the target {name}", *kolmogorov_smirnov(*values)


def _numbers(features: Features, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    pieces = [
        np.asarray(features.numeric[piece], np.float64).reshape(len(piece), -1)[:, columns]
        for piece in features.chunks(rows)
    ]
    return np.concatenate(pieces)


def kolmogorov_smirnov(a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
    """The distance of two samples' distribution functions, and p that they are from one.

    By the limit law with Stephens' (1970) correction for small samples; NaN is left out. Where
    values repeat, p is too large.
    """
    a, b = np.sort(a[~np.isnan(a)]), np.sort(b[~np.isnan(b)])
    if not (len(a) and len(b)):
        return 0.0, 1.0
    both = np.concatenate([a, b])
    below = np.searchsorted(a, both, "right") / len(a), np.searchsorted(b, both, "right") / len(b)
    root = math.sqrt(len(a) * len(b) / (len(a) + len(b)))
    distance = float(np.abs(below[0] - below[1]).max())
    x = (root + 0.12 + 0.11 / root) * distance
    if x < 0.2:  # where the series does not converge, and p is 1 to twelve digits
        return distance, 1.0
    terms = ((-1.0) ** (k - 1) * math.exp(-2.0 * (k * x) ** 2) for k in range(1, 101))
    return distance, min(1.0, max(0.0, 2.0 * math.fsum(terms)))


def _frequencies(a: Sequence[object], b: Sequence[object]) -> Iterator[tuple[float, float]]:
    """How far apart the two shares are, and p, for each value (None: missing) that is frequent
    enough to ask."""
    values: dict[object, int] = {}
    codes = []
    for value in (*a, *b):
        codes.append(values.setdefault(value, len(values)))
    n, m = len(a), len(b)
    ours = np.bincount(codes[:n], minlength=len(values))
    total = np.bincount(codes, minlength=len(values))
    for x, t in zip(ours.tolist(), total.tolist(), strict=True):
        expected = min(t, n + m - t) * min(n, m) / (n + m)
        if expected >= 5:
            variance = t * (n + m - t) * n * m / (n + m) ** 3
            p = math.erfc(abs(x - t * n / (n + m)) / math.sqrt(2.0 * variance))
            yield abs(x / n - (t - x) / m), p


def evenly(rows: np.ndarray, most: int) -> np.ndarray:
    """At most so many of the rows, evenly spaced."""
    if len(rows) <= most:
        return rows
    return np.asarray(rows[np.arange(most) * len(rows) // most])
