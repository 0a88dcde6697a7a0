"""Which columns a step of preprocessing sees, and where those that it gives stand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache

import numpy as np

from nnexp.components.table import Features, TargetType
from nnexp.errors import DataError, nearest

NUMERIC, TEXT = "numeric", "categorical"
"""The words in `columns` that stand for all columns of a kind."""
BOTH = (NUMERIC, TEXT)
HOLDS = {NUMERIC: "numbers", TEXT: "text"}

Places = tuple[tuple[int, ...], tuple[int, ...]]
"""Places of some numeric and of some text columns."""


@dataclass(frozen=True)
class Kinds:
    """What features hold, as far as it decides whether a step can work on them.

    numeric, text: the names of a table's columns; an image has none.
    made: globs of numeric columns that earlier steps make, whose names only the fit will tell.
    missing: labels of the numbers of which some are missing.
    task: what is to be learnt; None where that isn't known.
    """

    numeric: tuple[str, ...] = ()
    text: tuple[str, ...] = ()
    made: tuple[str, ...] = ()
    missing: frozenset[str] = frozenset()
    image: bool = False
    task: TargetType | None = None

    @property
    def has_numbers(self) -> bool:
        return self.image or bool(self.numeric or self.made)

    @property
    def gaps(self) -> str:
        """Where values are missing, as a message says it."""
        where = [name for name in self.numeric if name in self.missing]
        return "there are missing values" + (f" in {shown(where)}" if where else "")


def shown(names: Sequence[str], limit: int = 5) -> str:
    """A list of names that isn't too long for a message."""
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more


@lru_cache(maxsize=64)
def chosen(
    columns: tuple[str, ...],
    suits: tuple[str, ...],
    numeric: tuple[str, ...],
    text: tuple[str, ...],
    made: tuple[str, ...] = (),
) -> Places:
    """Where the columns stand that `columns` means, in the table's order.

    suits: the kinds that the step works on; a glob leaves out columns of another kind.
    made: globs of columns that there will be, too; what may match one of them is let pass.
    DataError if an entry matches nothing, or nothing that suits.
    """
    names = {NUMERIC: numeric, TEXT: text}
    found: dict[str, set[int]] = {NUMERIC: set(), TEXT: set()}
    for entry in columns:
        hits = {kind: _matches(entry, kind, names[kind]) for kind in names}
        exact = entry in numeric or entry in text
        if not any(hits.values()):
            if NUMERIC not in suits or not any(may_match(entry, glob) for glob in made):
                raise DataError(_unmatched(entry, [*numeric, *text]))
        elif not any(hits[kind] for kind in suits):
            other = next(kind for kind in BOTH if hits[kind])
            verb = "holds" if exact else "means columns of"
            raise DataError(f"columns: {entry} {verb} {HOLDS[other]}; it needs {HOLDS[suits[0]]}")
        for kind in suits:
            found[kind].update(hits[kind])
    return tuple(sorted(found[NUMERIC])), tuple(sorted(found[TEXT]))


def _matches(entry: str, kind: str, names: tuple[str, ...]) -> list[int]:
    if entry in BOTH:
        return list(range(len(names))) if entry == kind else []
    if entry in names:  # a name may hold a bracket or a star
        return [names.index(entry)]
    return [place for place, name in enumerate(names) if fnmatchcase(name, entry)]


def _unmatched(entry: str, names: list[str]) -> str:
    if entry in BOTH:
        return f"columns: there is no column that holds {HOLDS[entry]}"
    close = nearest(entry.strip("*?"), names)
    return f"columns: no column matches {entry}" + (f"; did you mean {close}?" if close else "")


def may_match(entry: str, made: str) -> bool:
    """Whether a name or glob may mean columns that the glob `made` describes."""
    if entry == NUMERIC or fnmatchcase(entry, made):
        return True
    ours, theirs = (_start(glob) for glob in (entry, made))
    return ours != entry and (ours.startswith(theirs) or theirs.startswith(ours))


def _start(glob: str) -> str:
    """What stands before the first wildcard."""
    return glob[: min((place for sign in "*?[" if (place := glob.find(sign)) >= 0), default=None)]


@lru_cache(maxsize=64)
def placed(
    names: tuple[str, ...], seen: tuple[str, ...], found: tuple[str, ...]
) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """The columns there are when a step that saw some of `names` gives the columns `found`.

    What it did not see stays. What it gives under the name of a column that it saw takes that
    column's place, the rest stands at the end; a new name that is taken is followed by _2, _3, ….
    Returns each column's number in `[*names, *found]`, and its name.
    """
    given: dict[str, int] = {}
    for number, name in enumerate(found, len(names)):
        given.setdefault(name, number)
    replaced = frozenset(seen)
    order = [
        given[name] if name in replaced else place
        for place, name in enumerate(names)
        if name not in replaced or name in given
    ]
    both = (*names, *found)
    result, at_home = [both[number] for number in order], set(order)
    taken = set(result)
    for number, name in enumerate(found, len(names)):
        if number not in at_home:
            order.append(number)
            result.append(_free(name, taken))
            taken.add(result[-1])
    return tuple(order), tuple(result)


def _free(name: str, taken: set[str]) -> str:
    number, free = 2, name
    while free in taken:
        free, number = f"{name}_{number}", number + 1
    return free


def part(features: Features, places: Places) -> Features:
    """A table of some of the columns."""
    numeric, text = places
    x, names = features.numeric, features.names
    if len(numeric) < len(names):
        x = np.take(x[:], numeric, axis=1)
        names = tuple(names[place] for place in numeric)
    words, word_names = features.categorical, features.categorical_names
    if len(text) < len(word_names):
        words = np.take(words, text, axis=1)
        word_names = tuple(word_names[place] for place in text)
    return Features(x, names, words, word_names)


def joined(features: Features, seen: Features, result: Features) -> Features:
    """The whole table after a step that saw `seen` and gave `result`."""
    order, names = placed(features.names, seen.names, result.names)
    x = result.numeric
    if order != tuple(range(len(features.names), len(features.names) + len(result.names))):
        x = np.take(np.concatenate([features.flat(), result.flat()], axis=1), order, axis=1)
    order, word_names = placed(
        features.categorical_names, seen.categorical_names, result.categorical_names
    )
    words = np.concatenate([features.categorical, result.categorical], axis=1)
    words = np.take(words, order, axis=1)
    return Features(x, names, words, word_names)
