"""What is suspicious about a split: examples in two parts, and parts that are not alike."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from nnexp.components.table import Features, Table
from nnexp.data.splitter import Splitter
from nnexp.errors import count
from nnexp.stats import holm

ROWS = 20_000
"""Most rows of a part that are looked at, evenly spaced."""
NUMBERS = 4_000_000
"""About as many numbers of a part are compared with another's."""
COLUMNS = 1_000
"""Most columns that are compared, evenly spaced."""
LEVEL = 0.001
"""Below this, corrected for the number of columns, parts are said to differ."""

_COMMON = 0.5
"""Where more of the training examples than this repeat another, equal ones are no surprise."""


def split_notes(split: Splitter, table: Table, parts: Mapping[str, np.ndarray]) -> list[str]:
    """A line for everything that is suspicious; quick on large data, of which it looks at a part.

    Whether dev and test are alike is asked only where chance did not see to it.
    """
    notes = list(_repeats(table.features, parts))
    if {"dev", "test"} <= parts.keys() and not split.is_random(table):
        notes += _shifts(table, parts["dev"], parts["test"], getattr(split, "by", None))
    return notes


# -- one example in two parts ----------------------------------------------------------------------


def _repeats(features: Features, parts: Mapping[str, np.ndarray]) -> Iterator[str]:
    """Tells of examples whose features are those of an example in another part."""
    seen = {part: _digests(features, _spread(rows, ROWS)) for part, rows in parts.items()}
    train = seen["train"]
    looked_at = min(len(parts["train"]), ROWS)
    if len(train) < (1 - _COMMON) * looked_at:
        return
    names = list(parts)
    for i, one in enumerate(names):
        for other in names[i + 1 :]:
            common = [(row, seen[one][key]) for key, row in seen[other].items() if key in seen[one]]
            if common:
                row, same = min(common)
                yield (
                    f"split: {count(len(common), 'example')} of {other} "
                    f"{'has' if len(common) == 1 else 'have'} the very features of one in {one}, "
                    f"such as row {row} and row {same}: scores on {other} may flatter"
                )


def _digests(features: Features, rows: np.ndarray) -> dict[int, int]:
    """The first row with each combination of values, by a hash of them."""
    first: dict[int, int] = {}
    for piece in features.chunks(rows):
        block = features.rows(piece)
        numeric = np.ascontiguousarray(block.numeric).reshape(len(piece), -1)
        if numeric.dtype.kind == "f":
            numeric = numeric + 0.0  # −0 is 0
        for row, numbers, text in zip(piece.tolist(), numeric, block.categorical, strict=True):
            first.setdefault(hash((numbers.tobytes(), *text)), row)
    return first


# -- parts that are not alike ----------------------------------------------------------------------


def _shifts(table: Table, dev: np.ndarray, test: np.ndarray, by: str | None) -> Iterator[str]:
    """Tells of columns that are distributed differently in dev and test.

    Numbers by Kolmogorov and Smirnov's test, each category's frequency by the χ² of its 2 × 2
    table, and Holm's correction over all. by: the column that the split is made by, which differs.
    """
    tests = [(n, p) for n, p in _p_values(table, dev, test) if n != by]
    corrected = holm([p for _, p in tests])
    told = dict.fromkeys(
        name for (name, _), p in zip(tests, corrected, strict=True) if p is not None and p < LEVEL
    )
    if told:
        names = list(told)
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        yield (
            f"split: dev and test are not alike in {', '.join(names[:3])}{more} (p < {LEVEL:g} "
            "each): what does best on dev may not on test"
        )


def _p_values(table: Table, dev: np.ndarray, test: np.ndarray) -> Iterator[tuple[str, float]]:
    """(what is compared, p) for columns and the target."""
    features = table.features
    columns = _spread(np.arange(features.width), COLUMNS)
    most = min(ROWS, max(200, NUMBERS // max(len(columns), 1)))
    dev, test = _spread(dev, most), _spread(test, most)
    ours, theirs = (_numbers(features, rows, columns) for rows in (dev, test))
    for i, column in enumerate(columns.tolist()):
        yield features.labels[column], kolmogorov_smirnov(ours[:, i], theirs[:, i])
    for i, name in enumerate(features.categorical_names):
        texts = features.categorical[:, i]
        yield from ((name, p) for p in _frequencies(texts[dev].tolist(), texts[test].tolist()))
    if table.codes is not None:
        name = f"the target {table.target_names[0]}"
        codes = table.codes[dev].tolist(), table.codes[test].tolist()
        yield from ((name, p) for p in _frequencies(*codes))
    elif table.classes is None:
        for i, name in enumerate(table.target_names):
            p = kolmogorov_smirnov(table.target[dev, i], table.target[test, i])
            yield f"the target {name}", p


def _numbers(features: Features, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    pieces = [
        np.asarray(features.numeric[piece], np.float64).reshape(len(piece), -1)[:, columns]
        for piece in features.chunks(rows)
    ]
    return np.concatenate(pieces)


def kolmogorov_smirnov(a: np.ndarray, b: np.ndarray) -> float:
    """p that two samples are from one distribution, by the limit law with Stephens' (1970)
    correction for small samples; NaN is left out. Where values repeat, p is too large.
    """
    a, b = np.sort(a[~np.isnan(a)]), np.sort(b[~np.isnan(b)])
    if not (len(a) and len(b)):
        return 1.0
    both = np.concatenate([a, b])
    below = np.searchsorted(a, both, "right") / len(a), np.searchsorted(b, both, "right") / len(b)
    root = math.sqrt(len(a) * len(b) / (len(a) + len(b)))
    x = (root + 0.12 + 0.11 / root) * float(np.abs(below[0] - below[1]).max())
    if x < 0.2:  # where the series does not converge, and p is 1 to twelve digits
        return 1.0
    terms = ((-1.0) ** (k - 1) * math.exp(-2.0 * (k * x) ** 2) for k in range(1, 101))
    return min(1.0, max(0.0, 2.0 * math.fsum(terms)))


def _frequencies(a: Sequence[object], b: Sequence[object]) -> Iterator[float]:
    """p for each value (None: missing) that is frequent enough to ask, from its counts."""
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
            yield math.erfc(abs(x - t * n / (n + m)) / math.sqrt(2.0 * variance))


def _spread(rows: np.ndarray, most: int) -> np.ndarray:
    """At most so many of the rows, evenly spaced."""
    if len(rows) <= most:
        return rows
    return np.asarray(rows[np.arange(most) * len(rows) // most])
