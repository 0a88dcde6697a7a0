"""What a split is, and what all ways to make one share."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from nnexp import streams
from nnexp.components.datasets.dates import as_days
from nnexp.components.table import Located, Table
from nnexp.errors import DataError, count
from nnexp.registry import param

PARTS = ("train", "dev", "test")


@dataclass(frozen=True)
class Parts(Mapping[str, np.ndarray]):
    """The rows of each part, int64 in rising order; keys in the order of PARTS.

    "train" is always there and none is empty. notes: what a user should know about the split.
    """

    rows: dict[str, np.ndarray]
    notes: tuple[str, ...] = ()

    def __getitem__(self, part: str) -> np.ndarray:
        return self.rows[part]

    def __iter__(self) -> Iterator[str]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)


class Splitter(Located, family="split"):
    """A way to assign examples to parts. `--splits K` trains on the first K that it has."""

    default = "holdout"
    seed: int = param(0, "start of the split's own randomness", ge=0, le=2**53)

    @property
    @abstractmethod
    def has_dev(self) -> bool:
        """Whether there is a dev part (that the source may bring one is not known yet)."""

    @abstractmethod
    def assign(self, table: Table, root: Path) -> Parts:
        """The rows of each part; DataError if they can't be formed as asked.

        root: the folder that relative file names are relative to.
        """

    def numbered(self, number: int) -> Self:
        """The split that member `number` of `--splits` gets; 0 gets this one.

        UsageError if there is no other split of this kind.
        """
        return self.model_copy(update={"seed": self.seed + number})

    def resolved(self, table: Table) -> Self:
        """The same with every default filled in."""
        return self

    def is_random(self, table: Table) -> bool:
        """Whether dev and test are drawn at random from the same examples, one by one."""
        return False


class ByShare(Splitter):
    """Parts by their shares `train`, `dev` and `test`, of which any may be absent."""

    @property
    def has_dev(self) -> bool:
        return self._asked("dev") is not None or self._is_empty

    def _asked(self, part: str) -> Any:
        return getattr(self, part)

    @property
    def _is_empty(self) -> bool:
        return all(self._asked(part) is None for part in PARTS)

    def conflicts(self) -> list[tuple[str, str]]:
        shares = [v for v in map(self._asked, PARTS) if isinstance(v, float)]
        if sum(shares) > 1 + 1e-9:
            return [("", f"the shares add up to {sum(shares):g}, more than 1")]
        if not isinstance(self._asked("train"), float) and sum(shares) > 1 - 1e-9:
            return [("", "dev and test leave nothing to train on")]
        return []

    def resolved(self, table: Table) -> Self:
        if not self._is_empty:
            return self
        update = {part: 0.2 for part in ("dev", "test") if part not in table.parts}
        if "train" not in table.parts:
            update["train"] = round(1.0 - sum(update.values()), 9)
        return self.model_copy(update=update)

    def shares(self) -> dict[str, float]:
        """The share of each part that is not fixed by a file; train's is what the others leave."""
        shares = {p: s for p in PARTS if isinstance(s := self._asked(p), float)}
        train = shares.pop("train", None)
        rest = 1 - sum(shares.values())
        return {"train": rest if train is None else train, **shares}

    def check(self) -> None:
        """DataError if the fields can't go together."""
        for _, message in self.conflicts():
            raise DataError(f"data.split: {message}")


# -- what the source brings ------------------------------------------------------------------------


def check_not_brought(table: Table, parts: Sequence[str]) -> None:
    """DataError if the source itself brings one of the parts that the split should form."""
    for part in parts:
        if part in table.parts:
            examples = count(len(table.parts[part]), "example")
            raise DataError(
                f"data.split.{part}: the source brings its own {part} part ({examples}): "
                f"remove this, or the source's {part} files"
            )


def pool_of(table: Table, fixed: dict[str, np.ndarray]) -> np.ndarray:
    """The rows that are still to be distributed: those of a fixed train part (which is taken out
    of `fixed`), else all that are in no fixed part. DataError if there are none.
    """
    pool = fixed.pop("train", None)
    if pool is None:
        free = np.ones(len(table), bool)
        for rows in fixed.values():
            free[rows] = False
        pool = np.flatnonzero(free)
    if not len(pool):
        raise DataError("data.split: no example is left to train on")
    return np.sort(pool.astype(np.int64))


def as_parts(
    table: Table,
    found: Mapping[str, np.ndarray],
    size: Mapping[str, str],
    notes: Sequence[str] = (),
) -> Parts:
    """The parts in their order; DataError if one is empty, with `size` in words of what it is."""
    rows = {part: np.sort(found[part]) for part in PARTS if part in found}
    for part, members in rows.items():
        if not len(members):
            raise DataError(f"data.split.{part}: would be empty ({size.get(part, 'no example')})")
    return Parts(rows, (*_notes(table, rows), *notes))


def _notes(table: Table, parts: Mapping[str, np.ndarray]) -> Iterator[str]:
    if unused := len(table) - sum(map(len, parts.values())):
        yield f"split: {unused} of {len(table)} examples are in no part"
    if table.classes is None or table.task == "words":
        return
    for part, rows in parts.items():
        found = table.target[rows]
        present = np.bincount(found[found >= 0], minlength=len(table.classes))
        absent = [name for name, n in zip(table.classes, present, strict=True) if not n]
        if absent:
            more = f" and {len(absent) - 3} more" if len(absent) > 3 else ""
            yield f"split: {part} has no example of class {', '.join(absent[:3])}{more}"


# -- columns ---------------------------------------------------------------------------------------


def groups_of(table: Table, by: str) -> np.ndarray:
    """The number of each row's group, `[n]`; DataError if a row has none."""
    values = _column(table, by)
    if values.dtype == object:
        values = np.array([str(value) for value in values.tolist()])
    return np.asarray(np.unique(values, return_inverse=True)[1]).reshape(-1)


def times_of(table: Table, by: str | None) -> np.ndarray:
    """What rows are ordered by, `[n]` numbers: a column of numbers or dates, else their order."""
    if by is None:
        return np.arange(len(table))
    values = _column(table, by)
    if values.dtype.kind not in "OUS":
        return values
    days, _, why = as_days(values.astype(object), None, stated=True)
    if days is None:
        raise DataError(f"data.split.by: column {by} holds neither numbers nor dates ({why})")
    return days


def _column(table: Table, by: str) -> np.ndarray:
    """A column `[n]` without missing values."""
    try:
        values = table.column(by)
    except DataError as error:
        raise DataError(f"data.split.by: {error}") from None
    if values.dtype.kind == "f":
        missing = np.isnan(values)
    else:
        missing = np.array([value is None for value in values.tolist()], bool)
    if missing.any():
        rows = count(int(missing.sum()), "row")
        raise DataError(
            f"data.split.by: column {by} has no value in {rows}, such as {np.argmax(missing)}"
        )
    return values


# -- drawing ---------------------------------------------------------------------------------------


def shuffled(pool: np.ndarray, rows: int, *of: int) -> np.ndarray:
    """The pool in a random order; rows: of the table. `of`: the seed, and what else it is for."""
    seed, *rest = of
    order = streams.permutation(streams.key(seed, streams.SPLIT, *rest), rows)
    wanted = np.zeros(rows, bool)
    wanted[pool] = True
    return np.asarray(order[wanted[order]])


def draw(
    order: np.ndarray, codes: np.ndarray, shares: Mapping[str, float]
) -> dict[str, np.ndarray]:
    """Distribute rows that come in a random order; those that no share asks for are in no part.

    codes: class of every row of the table; the classes are distributed one by one.
    """
    counts = np.unique(codes[order], return_counts=True)[1]
    table = allocate(counts.tolist(), list(shares.values()))
    chosen: list[list[np.ndarray]] = [[] for _ in shares]
    by_class = order[np.argsort(codes[order], kind="stable")]
    for rows, sizes in zip(np.split(by_class, np.cumsum(counts)[:-1]), table, strict=True):
        pieces = np.split(rows, np.cumsum(sizes)[:-1])
        for part, piece in zip(chosen, pieces[:-1], strict=True):
            part.append(piece)
    return {name: np.concatenate(pieces) for name, pieces in zip(shares, chosen, strict=True)}


def allocate(counts: Sequence[int], shares: Sequence[float]) -> list[list[int]]:
    """How many of each class go to each part, and (last) to none.

    A count is its proportional value rounded down or up. Up goes first to parts that would get
    nothing of a class that has one for each, then to those that earlier classes left furthest
    behind, so that the parts' totals keep their proportions too.
    """
    every = [*shares, max(0.0, 1 - sum(shares))]
    behind = [0.0] * len(every)
    table = []
    for size in counts:
        exact = [round(size * share, 9) for share in every]
        sizes = [int(value) for value in exact]
        behind = [b + value - n for b, value, n in zip(behind, exact, sizes, strict=True)]
        eligible = [i for i, value in enumerate(exact) if value > sizes[i]]
        scarce = size >= len(shares)
        eligible.sort(
            key=lambda i: (scarce and sizes[i] == 0 and i < len(shares), behind[i]), reverse=True
        )
        for i in eligible[: size - sum(sizes)]:
            sizes[i] += 1
            behind[i] -= 1
        table.append(sizes)
    return table


def deal_groups(order: np.ndarray, groups: np.ndarray, shares: Sequence[float]) -> np.ndarray:
    """The part of each group, `[g]` from 0, so that no group is in two; −1 for no part.

    Groups are taken as they come in a random order of rows, and each goes to the part that has the
    least of what its share asks for: none is empty while there are groups, and the sizes come as
    near to the shares as whole groups allow.
    """
    sizes = np.bincount(groups[order], minlength=int(groups.max()) + 1)
    _, first = np.unique(groups[order], return_index=True)
    every = [*shares, 1 - sum(shares)] if sum(shares) < 1 - 1e-9 else list(shares)
    wanted = np.array(every) * len(order)
    have = np.zeros(len(every))
    part = np.full(len(sizes), -1)
    for group in groups[order][np.sort(first)].tolist():
        chosen = int(np.argmin(have / wanted))
        have[chosen] += sizes[group]
        part[group] = chosen if chosen < len(shares) else -1
    return part
