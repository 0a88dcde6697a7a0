"""Parts by share of the examples, by files of row numbers, or as the source has them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Literal, Self

import numpy as np
from pydantic import field_validator

from nnexp.components.table import Table, existing_file
from nnexp.data.splitter import (
    PARTS,
    ByShare,
    Parts,
    as_parts,
    check_not_brought,
    draw,
    pool_of,
    shuffled,
)
from nnexp.errors import DataError, count
from nnexp.registry import param, rule


class Split(ByShare):
    """Parts by share of the examples, by index files, or as the source itself has them.

    A share is of the rows that no file and not the source has put into another part: of the train
    file's rows where there is one (`train: rows.txt, dev: 0.1`), else of all that remain. Without
    any entry, dev and test are 0.2 each, or what the source brings, and train is the rest.
    `--splits` counts `seed` up from the one given here.

    Use: when examples are independent of each other, and many enough that one test part tells.
    """

    paths: ClassVar[tuple[str, ...]] = PARTS
    name: Literal["holdout"] = "holdout"
    also = ("random", "shuffle", "train_test_split", "stratified")
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

    def resolved(self, table: Table) -> Self:
        stratify = table.codes is not None if self.stratify is None else self.stratify
        return super().resolved(table).model_copy(update={"stratify": stratify})

    def is_random(self, table: Table) -> bool:
        split = self.resolved(table)
        return isinstance(split.dev, float) and isinstance(split.test, float)

    def assign(self, table: Table, root: Path) -> Parts:
        self.check()
        split = self.resolved(table)
        if split.stratify and table.codes is None:
            raise DataError("data.split.stratify: needs one class an example, and there is none")
        fixed = split._fixed(table, root)
        _check_disjoint(fixed)
        pool = pool_of(table, fixed)
        shares = split.shares()
        codes = table.codes if split.stratify else None
        codes = np.zeros(len(table), np.int64) if codes is None else codes
        found = fixed | draw(shuffled(pool, len(table), split.seed), codes, shares)
        sizes = {
            part: f"{share:g} of {count(len(pool), 'example')}" for part, share in shares.items()
        }
        return as_parts(table, found, sizes)

    def _fixed(self, table: Table, root: Path) -> dict[str, np.ndarray]:
        """The rows of the parts that the source or an index file says."""
        check_not_brought(table, [part for part in PARTS if self._asked(part) is not None])
        fixed = dict(table.parts)
        for part in PARTS:
            if isinstance(value := self._asked(part), str):
                path = existing_file(root, value.replace("{seed}", str(self.seed)))
                fixed[part] = read_index(path, len(table))
        return fixed


def read_index(path: Path, total: int) -> np.ndarray:
    """Row numbers from 0 below `total`, written as text between white space; 3 or 3.0e+00."""
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
        if not 0 <= value < total:
            raise DataError(f"{path}: row {token[:40]} does not exist; rows are 0 to {total - 1}")
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
