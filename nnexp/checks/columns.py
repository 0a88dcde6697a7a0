"""What columns have in common with each other and with the target."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

NEAR = 0.999
"""Correlations from here on are told."""

_TOLD = 0.97
_LEAST = 40


def repeated(numbers: np.ndarray, texts: np.ndarray, names: Sequence[str]) -> list[tuple[str, str]]:
    """The pairs of columns that hold the same values throughout, constant ones apart.

    numbers: `[n, f]`, NaN where there is none; texts: `[n, c]`. names: of all of them.
    """
    first: dict[object, str] = {}
    found = []
    for name, column in zip(names, [*numbers.T, *texts.T], strict=True):
        is_text = column.dtype == object
        if (column == column[:1]).all() or not (is_text or (~np.isnan(column)).any()):
            continue
        key: object = tuple(column.tolist()) if is_text else np.ascontiguousarray(column).tobytes()
        if key in first:
            found.append((first[key], name))
        first.setdefault(key, name)
    return found


def correlated(numbers: np.ndarray, names: Sequence[str]) -> list[tuple[str, str, float]]:
    """The pairs of columns `[n, f]` with a correlation of at least `NEAR` in size, and it."""
    gaps = np.isnan(numbers)
    centred = np.where(gaps, 0.0, numbers - _means(numbers, gaps))
    size = np.sqrt(np.square(centred).sum(0))
    largest = np.abs(np.where(gaps, 0.0, numbers)).max(0, initial=0.0)
    varies = np.flatnonzero(size > 1e-9 * largest)
    unit = centred[:, varies] / size[varies]
    r = unit.T @ unit
    pairs = np.argwhere(np.triu(np.abs(r) >= NEAR, 1))
    return [(names[varies[i]], names[varies[j]], float(r[i, j])) for i, j in pairs.tolist()]


def counting(numbers: np.ndarray, rows: np.ndarray) -> list[int]:
    """The columns `[n, f]` that rise or fall by the same amount from row to row of the table.

    rows: where the examples stand in it, `[n]`.
    """
    if len(rows) < _LEAST:
        return []
    first, last = int(rows.argmin()), int(rows.argmax())
    step = (numbers[last] - numbers[first]) / (rows[last] - rows[first])
    apart = numbers - numbers[first] - np.outer(rows - rows[first], step)
    found = (step != 0) & (np.abs(apart) <= 1e-6 * np.abs(step)).all(0)
    return [int(place) for place in np.flatnonzero(found)]


def _means(numbers: np.ndarray, gaps: np.ndarray) -> np.ndarray:
    return np.asarray(np.where(gaps, 0.0, numbers).sum(0) / np.maximum((~gaps).sum(0), 1))


def giveaways(
    numbers: np.ndarray, texts: np.ndarray, targets: np.ndarray, is_class: bool
) -> list[tuple[int, float]]:
    """(column, share of the target that it tells) where that is nearly all; columns of text last.

    The target of every second example is guessed from those examples of the other half that are
    nearest in the column. What one guess for all leaves as errors, or as variance, is compared
    with what this leaves. targets: classes or values `[n, k]`.
    """
    if len(targets) < 2 * _LEAST:
        return []
    columns = itertools.chain(map(_filled, numbers.T), map(_of_text, texts.T))
    found = []
    for place, values in enumerate(columns):
        told = max(_told(values, target, is_class) for target in targets.T)
        if told >= _TOLD:
            found.append((place, told))
    return found


def _filled(values: np.ndarray) -> np.ndarray:
    """The values; those that are missing are one more, far from the others."""
    gaps = np.isnan(values)
    if not gaps.any() or gaps.all():
        return np.asarray(np.nan_to_num(values))
    low, high = np.nanmin(values), np.nanmax(values)
    return np.where(gaps, low - (high - low) - 1.0, values)


def _of_text(values: np.ndarray) -> np.ndarray:
    codes = np.unique(values.astype(str), return_inverse=True)[1]
    return np.asarray(codes.reshape(-1), np.float64)


def _told(values: np.ndarray, target: np.ndarray, is_class: bool) -> float:
    """The share of the second half's target that the first half's nearest values tell, up to 1."""
    known, group = np.unique(values[::2], return_inverse=True)
    asked, seen, true = values[1::2], target[::2], target[1::2]
    if not is_class:
        means = np.bincount(group, seen) / np.bincount(group)
        errors = np.square(true - np.interp(asked, known, means))
        return 1.0 - _ratio(errors, np.square(true - seen.mean()))
    codes = np.unique(target, return_inverse=True)[1]
    table = np.zeros((len(known), codes.max() + 1))
    np.add.at(table, (group, codes[::2]), 1.0)
    right = np.searchsorted((known[1:] + known[:-1]) / 2, asked)
    wrong = table.argmax(1)[right] != codes[1::2]
    return 1.0 - _ratio(wrong, codes[1::2] != table.sum(0).argmax())


def _ratio(errors: np.ndarray, before: np.ndarray) -> float:
    """What is left of the errors; 1 where there are too few to tell."""
    enough = np.count_nonzero(before) >= _LEAST // 4
    return float(errors.sum()) / float(before.sum()) if enough else 1.0
