"""Experiments on the data themselves: fewer examples, wrong labels, corrupted inputs.

Everything is a function of the split's seed and an example's row, so that it is the same in every
epoch, after an interruption, and when a finished run is evaluated.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Literal

import numpy as np

from nnexp import streams
from nnexp.components.table import CHUNK_ROWS, Table
from nnexp.data.prepare import Prepared
from nnexp.data.splitter import Parts
from nnexp.errors import DataError, count
from nnexp.registry import Spec, param


class Corruption(Spec):
    """Inputs made worse, after preprocessing and so in its units, the same in every epoch.

    An input x becomes x + shift + gaussian · N(0, 1), and then 0 with probability `mask`. Metrics
    on the parts that it is `on` are those of corrupted examples; new data (`eval --data`) stay as
    they are.
    """

    gaussian: float = param(
        0.0, "standard deviation of what is added to each input", ge=0, le=1e6, also=("sigma",)
    )
    mask: float = param(0.0, "probability that an input is set to 0", ge=0, le=1)
    shift: float = param(0.0, "what is added to every input", ge=-1e6, le=1e6)
    on: list[Literal["train", "eval"]] = param(
        ["train", "eval"], "where: in training, and on dev and test", min_length=1, max_length=2
    )

    def apply(self, inputs: np.ndarray, rows: np.ndarray, seed: int) -> np.ndarray:
        """Corrupted copies of the inputs `[n, …]` of some rows."""
        width = int(np.prod(inputs.shape[1:]))
        place = rows.astype(np.int64)[:, None] * width + np.arange(width)
        found = inputs.reshape(len(rows), width) + self.shift
        if self.gaussian:
            radius = np.sqrt(-2 * np.log(_uniform(place, seed, 0)))
            found = found + self.gaussian * radius * np.cos(2 * np.pi * _uniform(place, seed, 1))
        if self.mask:
            found = np.where(_uniform(place, seed, 2) < self.mask, 0.0, found)
        return np.asarray(found.reshape(inputs.shape), inputs.dtype)


def _uniform(place: np.ndarray, seed: int, number: int) -> np.ndarray:
    """A float64 in (0, 1) for each place of one of several streams."""
    stream = np.int64(streams.key(seed, streams.CORRUPTION, number))
    bits = streams.mix64(streams.mix64(place) ^ stream)
    return np.asarray((((bits >> 12) & ((1 << 52) - 1)) + 0.5) * 2.0**-52)


@dataclass(frozen=True)
class Corrupted(Prepared):
    """Prepared data of which some rows are corrupted when they are read.

    here: which rows, `[n]`.
    """

    corruption: Corruption
    seed: int
    here: np.ndarray

    def gather(self, index: np.ndarray) -> np.ndarray:
        found = super().gather(index)
        if self.inputs is None:
            change = np.flatnonzero(self.here[index])
            found[change] = self.corruption.apply(found[change], index[change], self.seed)
        return found


def corrupted(prepared: Prepared, corruption: Corruption | None, seed: int) -> Prepared:
    """The data with the inputs of the parts that are to be corrupted changed."""
    if corruption is None:
        return prepared
    here = np.zeros(len(prepared.targets), bool)
    for part, rows in prepared.parts.items():
        here[rows] = ("train" if part == "train" else "eval") in corruption.on
    inputs = prepared.inputs
    if inputs is not None:
        inputs, rows = inputs.copy(), np.flatnonzero(here)
        for start in range(0, len(rows), CHUNK_ROWS):
            piece = rows[start : start + CHUNK_ROWS]
            inputs[piece] = corruption.apply(inputs[piece], piece, seed)
    known = {field.name: getattr(prepared, field.name) for field in fields(prepared)}
    return Corrupted(**(known | {"inputs": inputs}), corruption=corruption, seed=seed, here=here)


def varied(
    table: Table,
    parts: Parts,
    seed: int,
    subset: int | float | None = None,
    shuffle_labels: bool = False,
    label_noise: float = 0.0,
) -> tuple[Table, Parts]:
    """The table with other training targets, and the parts with fewer training examples.

    seed: the split's. The notes of what was done are added to the parts'. DataError if the subset
    is larger than what there is.
    """
    notes, before = list(parts.notes), len(parts["train"])
    if subset is not None:
        parts = Parts({**parts, "train": _subset(parts["train"], table, subset, seed)})
        notes.append(f"subset: {len(parts['train']):,} of {before:,} training examples are used")
    train = parts["train"]
    if shuffle_labels:
        if table.task == "dense":
            targets = _rearranged(table, train, seed, 0)
        else:
            targets = table.target[_shuffled(train, seed, streams.LABELS, 0)]
        table = _relabelled(table, train, targets)
        notes.append("shuffle_labels: the training targets are permuted and mean nothing")
    if label_noise:
        rows = _shuffled(train, seed, streams.LABELS, 1)[: round(label_noise * len(train))]
        table = _relabelled(table, rows, _wrong(table, rows, seed))
        there = count(len(train), "training example")
        notes.append(f"label_noise: {len(rows):,} of {there} have a wrong target")
    return table, Parts(parts.rows, tuple(notes))


def _subset(train: np.ndarray, table: Table, subset: int | float, seed: int) -> np.ndarray:
    """So many training rows, or a share of them, drawn at random.

    Each class gives its share, by the largest remainders; a larger subset holds nearly all of a
    smaller one with the same seed.
    """
    wanted = subset if isinstance(subset, int) else max(1, round(subset * len(train)))
    if wanted > len(train):
        there = count(len(train), "training example")
        raise DataError(f"data.subset: {wanted:,} are more than the {there} there are")
    order = _shuffled(train, seed, streams.SUBSET)
    codes = np.zeros(len(order), np.int64) if table.codes is None else table.codes[order]
    exact = np.bincount(codes) * wanted / len(train)
    take = np.floor(exact).astype(np.int64)
    behind = np.argsort(take - exact, kind="stable")
    take[behind[: wanted - int(take.sum())]] += 1
    chosen = [order[codes == code][:size] for code, size in enumerate(take.tolist())]
    return np.sort(np.concatenate(chosen))


def _wrong(table: Table, rows: np.ndarray, seed: int) -> np.ndarray:
    """Another target for each row: another class, all alike likely; where an example is not of one
    class, and so of no "another", the target of the row before. Where there is a class at each
    position, the classes of the rows' positions change places.
    """
    if table.task == "dense":
        return _rearranged(table, rows, seed, 2)
    if table.codes is None or table.classes is None:
        return np.asarray(table.target[np.roll(rows, 1)])
    others = len(table.classes) - 1
    u = streams.uniform(streams.key(seed, streams.LABELS, 2), len(rows))
    steps = 1 + np.minimum((u * others).astype(np.int64), others - 1)
    return np.asarray((table.target[rows] + steps) % len(table.classes))


def _rearranged(table: Table, rows: np.ndarray, seed: int, number: int) -> np.ndarray:
    """The rows' targets with the classes of all positions permuted; those without one stay."""
    target = table.target[rows]
    there = target >= 0
    target[there] = _shuffled(target[there], seed, streams.LABELS, number)
    return np.asarray(target)


def _relabelled(table: Table, rows: np.ndarray, targets: np.ndarray) -> Table:
    target = table.target.copy()
    target[rows] = targets
    return replace(table, target=target)


def _shuffled(rows: np.ndarray, seed: int, *purpose: int) -> np.ndarray:
    return np.asarray(rows[streams.permutation(streams.key(seed, *purpose), len(rows))])
