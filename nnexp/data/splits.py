"""Which examples train, which choose between models (dev), which are kept for the end (test)."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal, Self

import numpy as np
from pydantic import field_validator

from nnexp import streams
from nnexp.components.table import Located, Table, existing_file
from nnexp.errors import DataError
from nnexp.registry import param, rule

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
    """A way to assign examples to parts. `--splits K` counts `seed` up from the one given here."""

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

    def resolved(self, table: Table) -> Self:
        """The same with every default filled in."""
        return self


class Split(Splitter):
    """Parts by share of the examples, by index files, or as the source itself has them.

    A share is of the rows that no file and not the source has put into another part: of the train
    file's rows where there is one (`train: rows.txt, dev: 0.1`), else of all that remain. Without
    any entry, dev and test are 0.2 each, or what the source brings, and train is the rest.
    """

    paths: ClassVar[tuple[str, ...]] = PARTS
    name: Literal["holdout"] = "holdout"
    train: float | str | None = param(
        None,
        "share of the examples, or a file of row numbers from 0 ({seed} in its name is replaced)",
        when="null: what dev and test leave over",
    )
    dev: float | str | None = param(
        None,
        "share, or a file of row numbers; absent: there is no dev split",
        when="null: 0.2 if nothing is given, else absent",
        also=("val", "valid", "validation"),
    )
    test: float | str | None = param(
        None,
        "share, or a file of row numbers; absent: there is no test split",
        when="null: the source's own, 0.2 if nothing is given, else absent",
    )
    stratify: bool | None = param(
        None, "keep the classes' proportions in all parts", when="null: yes for classification"
    )

    @field_validator(*PARTS)
    @classmethod
    def _share(cls, value: float | str | None) -> float | str | None:
        if isinstance(value, float) and not 0 < value <= 1:
            raise rule("a share is above 0 and at most 1", "0 < share ≤ 1, or a file name")
        if value == "":
            raise rule("the file name is empty", "0 < share ≤ 1, or a file name")
        return value

    @property
    def has_dev(self) -> bool:
        return self.dev is not None or self._is_empty

    @property
    def _is_empty(self) -> bool:
        return self.train is None and self.dev is None and self.test is None

    def conflicts(self) -> list[tuple[str, str]]:
        shares = [v for v in (self.train, self.dev, self.test) if isinstance(v, float)]
        if sum(shares) > 1 + 1e-9:
            return [("", f"the shares add up to {sum(shares):g}, more than 1")]
        if not isinstance(self.train, float) and sum(shares) > 1 - 1e-9:
            return [("", "dev and test leave nothing to train on")]
        return []

    def resolved(self, table: Table) -> Self:
        stratify = table.classes is not None if self.stratify is None else self.stratify
        update: dict[str, float | bool] = {"stratify": stratify}
        if self._is_empty:
            update |= {part: 0.2 for part in ("dev", "test") if part not in table.parts}
            if "train" not in table.parts:
                update["train"] = round(1 - sum(update[p] for p in PARTS if p in update), 9)
        return self.model_copy(update=update)

    def assign(self, table: Table, root: Path) -> Parts:
        for _, message in self.conflicts():
            raise DataError(f"data.split: {message}")
        split = self.resolved(table)
        if split.stratify and table.classes is None:
            raise DataError("data.split.stratify: needs classes, and the target is real-valued")
        fixed = split._fixed(table, root)
        _check_disjoint(fixed)
        pool = fixed.pop("train", None)
        if pool is None:
            pool = np.setdiff1d(np.arange(len(table)), np.concatenate([[], *fixed.values()]))
        if not len(pool):
            raise DataError("data.split: no example is left to train on")
        shares = {p: s for p in PARTS if isinstance(s := getattr(split, p), float)}
        train = shares.pop("train", None)
        rest = 1 - sum(shares.values())
        shares = {"train": rest if train is None else train, **shares}
        codes = table.target if split.stratify else np.zeros(len(table), np.int64)
        drawn = _draw(pool.astype(np.int64), codes, shares, split.seed)
        del drawn["unused"]
        found = {part: np.sort({**fixed, **drawn}[part]) for part in PARTS if part in fixed | drawn}
        for part, rows in found.items():
            if not len(rows):
                size = f"{shares[part]:g} of {len(pool)} examples"
                raise DataError(f"data.split.{part}: would be empty ({size})")
        return Parts(found, tuple(_notes(table, found)))

    def _fixed(self, table: Table, root: Path) -> dict[str, np.ndarray]:
        """The rows of the parts that the source or an index file says."""
        fixed = dict(table.parts)
        for part in PARTS:
            value = getattr(self, part)
            if value is not None and part in table.parts:
                count = len(table.parts[part])
                raise DataError(
                    f"data.split.{part}: the source brings its own {part} part ({count} examples): "
                    f"remove this, or the source's {part} files"
                )
            if isinstance(value, str):
                path = existing_file(root, value.replace("{seed}", str(self.seed)))
                fixed[part] = read_index(path, len(table))
        return fixed


def assign(split: Splitter, table: Table, root: Path = Path()) -> Parts:
    """The rows of each part of a table; see Splitter.assign."""
    return split.assign(table, root)


def read_index(path: Path, count: int) -> np.ndarray:
    """Row numbers from 0 below `count`, written as text between white space; 3 or 3.0e+00."""
    try:
        tokens = path.read_text(encoding="utf-8").split()
    except UnicodeDecodeError:
        raise DataError(f"{path}: is not text with row numbers") from None
    if not tokens:
        raise DataError(f"{path}: is empty")
    values = []
    for token in tokens:
        try:
            value = float(token)
        except ValueError:
            value = np.nan
        if not value.is_integer():
            raise DataError(f"{path}: {token[:40]!r} is not a row number")
        if not 0 <= value < count:
            raise DataError(f"{path}: row {token[:40]} does not exist; rows are 0 to {count - 1}")
        values.append(int(value))
    rows, times = np.unique(np.array(values, np.int64), return_counts=True)
    if (times > 1).any():
        twice = rows[times > 1]
        more = f" (and {len(twice) - 1} more)" if len(twice) > 1 else ""
        raise DataError(f"{path}: row {twice[0]} is listed twice{more}")
    return rows


def _check_disjoint(parts: Mapping[str, np.ndarray]) -> None:
    names = list(parts)
    for i, one in enumerate(names):
        for other in names[i + 1 :]:
            common = np.intersect1d(parts[one], parts[other])
            if len(common):
                raise DataError(
                    f"data.split: {len(common)} examples are in both {one} and {other}, such as "
                    f"row {common[0]}"
                )


def _draw(
    pool: np.ndarray, codes: np.ndarray, shares: Mapping[str, float], seed: int
) -> dict[str, np.ndarray]:
    """Distribute rows at random; "unused" holds those that no share asks for.

    codes: class of every row of the table; the classes are distributed one by one.
    """
    order = streams.permutation(streams.key(seed, streams.SPLIT), len(codes))
    order = order[np.isin(order, pool)]
    counts = np.unique(codes[pool], return_counts=True)[1]
    table = allocate(counts.tolist(), list(shares.values()))
    chosen: list[list[np.ndarray]] = [[] for _ in range(len(shares) + 1)]
    by_class = order[np.argsort(codes[order], kind="stable")]
    for rows, sizes in zip(np.split(by_class, np.cumsum(counts)[:-1]), table, strict=True):
        pieces = np.split(rows, np.cumsum(sizes)[:-1])
        for part, piece in zip(chosen, pieces, strict=True):
            part.append(piece)
    return {
        name: np.concatenate(pieces)
        for name, pieces in zip((*shares, "unused"), chosen, strict=True)
    }


def allocate(counts: Sequence[int], shares: Sequence[float]) -> list[list[int]]:
    """How many of each class go to each part, and (last) to none.

    A count is its proportional value rounded down or up. Up goes first to parts that would get
    nothing of a class that has one for each, then to those that earlier classes left furthest
    behind, so that the parts' totals keep their proportions too.
    """
    every = [*shares, max(0.0, 1 - sum(shares))]
    behind = [0.0] * len(every)
    table = []
    for count in counts:
        exact = [round(count * share, 9) for share in every]
        sizes = [int(value) for value in exact]
        behind = [b + value - size for b, value, size in zip(behind, exact, sizes, strict=True)]
        eligible = [i for i, value in enumerate(exact) if value > sizes[i]]
        scarce = count >= len(shares)
        eligible.sort(
            key=lambda i: (scarce and sizes[i] == 0 and i < len(shares), behind[i]), reverse=True
        )
        for i in eligible[: count - sum(sizes)]:
            sizes[i] += 1
            behind[i] -= 1
        table.append(sizes)
    return table


def _notes(table: Table, parts: Mapping[str, np.ndarray]) -> Iterator[str]:
    if unused := len(table) - sum(map(len, parts.values())):
        yield f"split: {unused} of {len(table)} examples are in no part"
    if table.classes is None:
        return
    for part, rows in parts.items():
        present = np.bincount(table.target[rows], minlength=len(table.classes))
        absent = [name for name, count in zip(table.classes, present, strict=True) if not count]
        if absent:
            more = f" and {len(absent) - 3} more" if len(absent) > 3 else ""
            yield f"split: {part} has no example of class {', '.join(absent[:3])}{more}"
