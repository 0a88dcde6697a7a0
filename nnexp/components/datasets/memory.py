"""Data that a Python program hands over, as a source like the others."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, Self

import numpy as np
from pydantic import PrivateAttr

from nnexp.components.datasets.arrayfiles import Npz, with_labels
from nnexp.components.datasets.arrays import examples_of, labels_of
from nnexp.components.datasets.dataset import Dataset
from nnexp.components.datasets.delimited import Columns
from nnexp.components.datasets.files import Csv, Parquet, Tabular, as_types
from nnexp.components.table import Features, FileInfo, Table
from nnexp.errors import DataError, UsageError, count
from nnexp.registry import param

PLACE = Path("the data")
"""What messages call data in memory."""


@dataclass(frozen=True, eq=False)
class Held:
    """Data in memory: columns with the target among them, or arrays.

    what: a description in words. columns: named ones; else `inputs` (`[n, F]` to `[n, C, H, W]`)
    and `labels` (`[n]` or `[n, k]`; None: there are none).
    names: the columns of `inputs`, if they are a table. ids: int64 or str `[n]`; None: row numbers.
    parts: rows that are meant for "dev" or "test".
    """

    what: str
    columns: Columns | None = None
    inputs: np.ndarray | None = None
    labels: np.ndarray | None = None
    names: tuple[str, ...] = ()
    ids: np.ndarray | None = None
    parts: Mapping[str, np.ndarray] = field(default_factory=dict)

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """All of them by name."""
        if self.columns is not None:
            return dict(zip(self.columns.names, self.columns.values, strict=True))
        both = {"inputs": self.inputs, "labels": self.labels}
        return {name: array for name, array in both.items() if array is not None}

    @property
    def file(self) -> FileInfo:
        """A record of the contents, as of a file: equal data have the same, wherever they are."""
        digest, size = hashlib.sha256(), 0
        for name, array in {**self.arrays, **self.parts}.items():
            content = _content(array)
            digest.update(f"{name}\0{array.dtype.str}\0{array.shape}\0".encode())
            digest.update(content)
            size += len(content)
        return FileInfo("memory", size, digest.hexdigest())


def _content(array: np.ndarray) -> bytes | memoryview:
    """All that is in an array; numbers are not copied."""
    if array.dtype.kind in "biuf":
        return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
    texts = ("-" if cell is None else f"{len(str(cell))}:{cell}" for cell in array.tolist())
    return "".join(texts).encode(errors="surrogatepass")


class Memory(Tabular):
    """Data that a Python program handed over, `model.fit(X, y)`; they are in no file.

    A run that was trained on them can't read them again: it is scored on data that are handed over
    anew, or on a file with the same columns.

    Use: never in a config, which can't hold data; it is what the Python API leaves in one.
    """

    name: Literal["memory"] = "memory"
    what: str = param("", "what was handed over, in words", max_length=1000)
    parts: list[Literal["dev", "test"]] = param([], "parts that were handed over apart")
    _held: Held | None = PrivateAttr(None)

    @property
    def has_dev(self) -> bool:
        return "dev" in self.parts

    def holding(self, held: Held) -> Self:
        """The same source with data."""
        copy = self.model_copy(update={"what": held.what, "parts": list(held.parts)})
        copy._held = held
        return copy

    def load(self, root: Path = Path(), *, labelled: bool = True) -> Table:
        held = self._held
        if held is None:
            raise DataError(
                "data.source: memory: the data were handed over in Python "
                f"({self.what or 'as model.fit(X, y)'}) and are in no file: hand them over again "
                "there, or score a file with the same columns: nnexp eval RUN --data FILE"
            )
        if held.columns is not None:
            columns = as_types(PLACE, held.columns, self.types, labelled)
            table = self.table(PLACE, columns, (held.file,), {}, labelled)
        else:
            table = self._of_arrays(held, labelled)
        if held.ids is not None and self.id is None:
            table = replace(table, ids=held.ids)
        return replace(table, parts=dict(held.parts))

    def _of_arrays(self, held: Held, labelled: bool) -> Table:
        assert held.inputs is not None
        inputs = examples_of(PLACE, held.inputs)
        table = Table(
            features=Features.of(inputs, held.names),
            target=np.empty((len(inputs), 0)),
            classes=None,
            target_names=(),
            ids=np.arange(len(inputs)),
            files=(held.file,),
        )
        if not labelled or held.labels is None:
            return table
        labels = labels_of(Path(f"{PLACE}: target"), held.labels)
        if len(labels) != len(inputs):
            given = count(len(labels), "target")
            raise DataError(f"{PLACE}: there are {given} for {count(len(inputs), 'example')}")
        table = with_labels(table, labels, str(self.target), self.target_type)
        return replace(table, inferred={"target_type": table.task})

    def at(self, path: Path) -> Dataset:
        shared = {name: getattr(self, name) for name in Tabular.model_fields}
        endings = [ending.lower() for ending in path.suffixes]
        if endings[-1:] == [".parquet"]:
            return Parquet(path=str(path.absolute()), **shared)
        if endings[-1:] == [".npz"]:
            return Npz(path=str(path.absolute()), target_type=self.target_type)
        if {".csv", ".tsv", ".txt"} & set(endings[-2:]):
            return Csv(path=str(path.absolute()), **shared)
        raise UsageError(f"--data {path}: should be a .csv, .tsv, .txt, .parquet or .npz file")
