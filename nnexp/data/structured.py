"""Splits that heed what rows have in common: folds, groups, and the order of time."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

import numpy as np

from nnexp.components.table import Table
from nnexp.data.splitter import (
    PARTS,
    ByShare,
    Parts,
    Splitter,
    as_parts,
    check_not_brought,
    deal_groups,
    draw,
    groups_of,
    pool_of,
    shuffled,
    times_of,
)
from nnexp.errors import DataError, UsageError, count
from nnexp.registry import param


class KFold(Splitter):
    """Cross-validation: the examples are dealt into folds, each of which is held out once.

    A run holds one `fold` out and trains on the others; `--splits K` trains member i on fold i, and
    beyond the last fold repeats all of them, dealt anew (repeated k-fold). The held-out fold is the
    test part, and `dev` a share of the other folds, so that whatever is chosen on dev does not
    touch it. `holds: dev` makes it the dev part instead, for choosing by folds: then only a source
    with a test part of its own has one. With classes each fold has their proportions.

    Use: with few examples, as every one is tested once; not where one training takes long.
    Source: Stone (1974), "Cross-validatory choice and assessment of statistical predictions".
    """

    name: Literal["k_fold"] = "k_fold"
    also = ("kfold", "cv", "cross_validation", "stratified_k_fold", "repeated_k_fold")
    folds: int = param(5, "number of folds", ge=2, le=100_000, also=("k", "n_splits"))
    fold: int = param(0, "the fold that is held out, from 0", ge=0, le=99_999)
    holds: Literal["test", "dev"] = param("test", "what the held-out fold is")
    dev: float | None = param(
        None,
        "share of the examples in the other folds; absent: there is no dev split",
        gt=0,
        lt=1,
        also=("val", "valid", "validation"),
    )
    by: str | None = param(
        None, "a column whose equal values stay in one fold", max_length=1000, also=("groups",)
    )
    stratify: bool | None = param(
        None,
        "keep the classes' proportions in all folds",
        when="null: yes for classification without `by`",
    )

    @property
    def has_dev(self) -> bool:
        return self.holds == "dev" or self.dev is not None

    def conflicts(self) -> list[tuple[str, str]]:
        found = []
        if self.fold >= self.folds:
            found.append(("fold", f"folds are 0 to {self.folds - 1}, and this is {self.fold}"))
        if self.holds == "dev" and self.dev is not None:
            found.append(("dev", "the held-out fold is the dev part already (`holds: dev`)"))
        if self.by is not None and self.stratify:
            found.append(("stratify", "with `by`, groups stay whole, whatever their classes"))
        return found

    def numbered(self, number: int) -> Self:
        again, fold = divmod(self.fold + number, self.folds)
        return self.model_copy(update={"fold": fold, "seed": self.seed + again})

    def resolved(self, table: Table) -> Self:
        suits = table.codes is not None and self.by is None
        stratify = suits if self.stratify is None else self.stratify
        return self.model_copy(update={"stratify": stratify})

    def is_random(self, table: Table) -> bool:
        return self.by is None and "test" not in table.parts

    def assign(self, table: Table, root: Path) -> Parts:
        for _, message in self.conflicts():
            raise DataError(f"data.split: {message}")
        split = self.resolved(table)
        if split.stratify and table.codes is None:
            raise DataError("data.split.stratify: needs one class an example, and there is none")
        if self.holds == "test" and "test" in table.parts:
            raise DataError(
                "data.split: the source brings its own test part: with `holds: dev` the folds are "
                "of the rest"
            )
        check_not_brought(table, ["dev"] if self.has_dev else [])
        fixed = dict(table.parts)
        pool = pool_of(table, fixed)
        order = shuffled(pool, len(table), self.seed)
        codes = table.codes if split.stratify else None
        codes = np.zeros(len(table), np.int64) if codes is None else codes
        groups = None if self.by is None else groups_of(table, self.by)
        fold = self._folds(order, codes, groups)
        held, rest = pool[fold == self.fold], pool[fold != self.fold]
        found = {**fixed, "train": rest, self.holds: held}
        if self.dev is not None:
            again = shuffled(rest, len(table), self.seed, self.fold + 1)
            shares = {"train": 1 - self.dev, "dev": self.dev}
            found |= draw(again, codes, shares) if groups is None else _whole(again, groups, shares)
        size = {part: f"{count(len(rest), 'example')} for train and dev" for part in PARTS}
        return as_parts(table, found, size, _small_classes(table, pool, split))

    def _folds(self, order: np.ndarray, codes: np.ndarray, groups: np.ndarray | None) -> np.ndarray:
        """The fold of each row of the pool, `[n]` in rising order of the rows."""
        what, there = "examples", len(order)
        if groups is not None:
            what, there = f"different values of {self.by}", len(np.unique(groups[order]))
        if there < self.folds:
            raise DataError(f"data.split.folds: there are {there} {what} for {self.folds} folds")
        if groups is not None:
            dealt = deal_groups(order, groups, [1 / self.folds] * self.folds)[groups[order]]
        else:  # class by class, going on where the last one ended: sizes differ by one at most
            dealt = np.empty(there, np.int64)
            dealt[np.argsort(codes[order], kind="stable")] = np.arange(there) % self.folds
        return np.asarray(dealt[np.argsort(order)])


def _small_classes(table: Table, pool: np.ndarray, split: KFold) -> list[str]:
    """A note if a class has fewer examples than there are folds."""
    if table.codes is None or table.classes is None:
        return []
    sizes = np.bincount(table.codes[pool], minlength=len(table.classes))
    few = [i for i in np.flatnonzero(sizes) if sizes[i] < split.folds]
    if not few:
        return []
    more = f" and {len(few) - 1} more" if len(few) > 1 else ""
    return [
        f"split: class {table.classes[few[0]]}{more} has fewer examples ({sizes[few[0]]}) than "
        f"there are folds ({split.folds}): not every fold has one"
    ]


class _Shares(ByShare):
    """Parts that are shares and nothing else."""

    train: float | None = param(
        None, "share of the examples", when="null: what dev and test leave over", gt=0, le=1
    )
    dev: float | None = param(
        None,
        "share; absent: there is no dev split",
        when="null: 0.2 if nothing is given, else absent",
        gt=0,
        le=1,
        also=("val", "valid", "validation"),
    )
    test: float | None = param(
        None,
        "share; absent: there is no test split",
        when="null: the source's own, 0.2 if nothing is given, else absent",
        gt=0,
        le=1,
    )


class Grouped(_Shares):
    """Parts by share of the examples, with all rows of one group in one part.

    Rows with one value in the column `by` are a group. Groups are taken in a random order, and the
    shares are met as nearly as whole groups allow. Without shares, dev and test are 0.2 each.

    Use: when rows of one patient, user or machine are alike and new data bring others; a random
    split would then flatter, as it tests on groups that it trained on.
    """

    name: Literal["grouped"] = "grouped"
    also = ("group", "by_group", "group_shuffle_split")
    by: str = param(
        ..., "the column that names the group", min_length=1, max_length=1000, also=("groups",)
    )

    def assign(self, table: Table, root: Path) -> Parts:
        self.check()
        split = self.resolved(table)
        check_not_brought(table, [part for part in PARTS if split._asked(part) is not None])
        groups, fixed = groups_of(table, self.by), dict(table.parts)
        pool = pool_of(table, fixed)
        there = len(np.unique(groups[pool]))
        found = fixed | _whole(shuffled(pool, len(table), self.seed), groups, split.shares())
        size = dict.fromkeys(PARTS, f"column {self.by} has {count(there, 'different value')}")
        parts = as_parts(table, found, size)
        return Parts(parts.rows, (*parts.notes, *_divided(parts, groups, self.by)))


def _whole(
    order: np.ndarray, groups: np.ndarray, shares: dict[str, float]
) -> dict[str, np.ndarray]:
    """As `draw`, with no group in two parts."""
    part = deal_groups(order, groups, list(shares.values()))[groups[order]]
    return {name: order[part == number] for number, name in enumerate(shares)}


def _divided(parts: Parts, groups: np.ndarray, by: str) -> list[str]:
    """A note if the source's own parts divide a group."""
    of_part = [np.unique(groups[rows]) for rows in parts.values()]
    several = int((np.bincount(np.concatenate(of_part)) > 1).sum())
    if not several:
        return []
    said = f"1 value of {by} is" if several == 1 else f"{several} values of {by} are"
    return [f"split: {said} in two parts, as the source itself divides them"]


class Ordered(_Shares):
    """Parts by time: train is the earliest, then dev, then test the latest.

    `by` names a column of numbers or dates; null takes the rows as they come. Rows of one time are
    never in two parts. What no share asks for is left out at the beginning, farthest from what is
    predicted. Without shares, dev and test are 0.2 each. There is one such split, so `--splits`
    does not go with it.

    Use: when later rows are to be predicted from earlier ones, as in forecasts.
    """

    name: Literal["ordered"] = "ordered"
    also = ("time", "temporal", "chronological", "time_series", "by_time")
    by: str | None = param(
        None,
        "a column of numbers or dates that tells when; null: the order of the rows",
        max_length=1000,
        also=("time_column",),
    )

    def numbered(self, number: int) -> Self:
        if number == 0:
            return self
        raise UsageError(
            "--splits: an ordered split is the only one of its kind; --seeds N trains N models on "
            "it, and k_fold, grouped or holdout have many splits"
        )

    def assign(self, table: Table, root: Path) -> Parts:
        self.check()
        split = self.resolved(table)
        check_not_brought(table, [part for part in PARTS if split._asked(part) is not None])
        fixed = dict(table.parts)
        pool = pool_of(table, fixed)
        times = times_of(table, self.by)[pool]
        order = np.argsort(times, kind="stable")
        shares = split.shares()
        unused = max(0.0, 1 - sum(shares.values()))
        ends = np.cumsum([unused, *shares.values()])[:-1] * len(pool)
        cuts = [_cut(times[order], round(float(end), 6)) for end in ends]
        pieces = np.split(pool[order], cuts)[1:]
        found = fixed | dict(zip(shares, pieces, strict=True))
        there = len(np.unique(times))
        sizes = {
            part: (
                f"{share:g} of {count(len(pool), 'example')}, at {count(there, 'different time')}"
            )
            for part, share in shares.items()
        }
        return as_parts(table, found, sizes)


def _cut(times: np.ndarray, end: float) -> int:
    """The place nearest to `end` where rising times can be cut without dividing equal ones."""
    starts = np.concatenate([[0], np.flatnonzero(np.diff(times)) + 1, [len(times)]])
    return int(starts[np.argmin(np.abs(starts - end))])
