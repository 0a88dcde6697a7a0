"""Data sources of arrays: IDX, .npy and .npz files."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np

from nnexp.components.datasets.arrays import examples_of, labels_of, read_idx, read_npy, read_npz
from nnexp.components.datasets.dataset import Dataset
from nnexp.components.table import (
    Features,
    FileInfo,
    Table,
    TargetType,
    as_target,
    existing_file,
    file_info,
    stack,
)
from nnexp.errors import DataError, nearest
from nnexp.registry import param


class _Arrays(Dataset):
    """Files of examples and of their labels, and perhaps such files of the test part.

    `paths` are the fields for examples, labels, the test part's examples, its labels.
    """

    def conflicts(self) -> list[tuple[str, str]]:
        test = self.paths[2:]
        given = [field for field in test if getattr(self, field) is not None]
        if len(given) == 1:
            return [(given[0], f"{' and '.join(test)} go together; only one is given")]
        return []

    def _read(
        self, root: Path, read: Callable[[Path], np.ndarray], labelled: bool
    ) -> tuple[Table, np.ndarray | None]:
        """A table without target, and the labels."""
        for field, message in self.conflicts() if labelled else ():
            raise DataError(f"data.source.{field}: {message}")
        names = [getattr(self, field) for field in self.paths]
        paths = [existing_file(root, name) for name in names[::2] if name]
        label_paths = [existing_file(root, name) for name in names[1::2] if name and labelled]
        pieces = [examples_of(path, read(path)) for path in paths]
        labels = [labels_of(path, read(path)) for path in label_paths]
        files = tuple(file_info(path) for path in (*paths, *label_paths))
        return _joined(paths, pieces, files), _paired(label_paths, labels, pieces)


def _joined(
    paths: Sequence[Path], pieces: Sequence[np.ndarray], files: tuple[FileInfo, ...]
) -> Table:
    """A table without target; a second piece is the test part."""
    for path, piece in zip(paths, pieces, strict=True):
        if piece.shape[1:] != pieces[0].shape[1:]:
            shapes = f"{piece.shape[1:]}, the others {pieces[0].shape[1:]}"
            raise DataError(f"{path}: examples have shape {shapes}")
    numeric = stack(pieces)
    return Table(
        features=Features.of(numeric),
        target=np.empty((len(numeric), 0)),
        classes=None,
        target_names=(),
        ids=np.arange(len(numeric)),
        parts={"test": np.arange(len(pieces[0]), len(numeric))} if len(pieces) > 1 else {},
        files=files,
    )


def _paired(
    paths: Sequence[Path], labels: Sequence[np.ndarray], pieces: Sequence[np.ndarray]
) -> np.ndarray | None:
    """All labels, each piece's as many as its examples; None if none were read."""
    for path, given, piece in zip(paths, labels, pieces, strict=False):
        if len(given) != len(piece):
            raise DataError(f"{path}: has {len(given)} labels for {len(piece)} examples")
        if given.shape[1:] != labels[0].shape[1:] or (given.dtype.kind == "U") != (
            labels[0].dtype.kind == "U"
        ):
            raise DataError(f"{path}: labels are of another kind than the training part's")
    return np.concatenate(labels) if labels else None


class Idx(_Arrays):
    """MNIST's file format (IDX), gzip too; labels that are whole numbers are classes.

    Use: for MNIST and the many sets that come in its format.

    Source: LeCun, Cortes & Burges, "The MNIST database of handwritten digits".
    """

    name: Literal["idx"] = "idx"
    paths = ("images", "labels", "test_images", "test_labels")
    images: str = param(..., "file of the images", min_length=1)
    labels: str = param(..., "file of the labels", min_length=1)
    test_images: str | None = param(None, "file of the images of the test part", min_length=1)
    test_labels: str | None = param(None, "file of their labels", min_length=1)

    def load(self, root: Path = Path(), *, labelled: bool = True) -> Table:
        table, labels = self._read(root, read_idx, labelled)
        whole = labels is not None and labels.dtype.kind in "iu"
        return with_labels(table, labels, "label", "classification" if whole else None)


class Npy(_Arrays):
    """NumPy's .npy files, memory-mapped: features `[n, F]`, `[n, H, W]` or `[n, C, H, W]`.

    Use: for arrays that are large, larger than memory even: only the rows in use are read.
    """

    name: Literal["npy"] = "npy"
    paths = ("features", "targets", "test_features", "test_targets")
    features: str = param(..., "file of the features", min_length=1, also=("x", "path", "inputs"))
    targets: str = param(..., "file of the targets", min_length=1, also=("y", "labels", "target"))
    test_features: str | None = param(None, "file of the features of the test part", min_length=1)
    test_targets: str | None = param(None, "file of their targets", min_length=1)
    target_type: TargetType | None = param(
        None,
        "what the target is",
        when="null: classes if text, or whole numbers of which few differ; else regression",
    )

    def load(self, root: Path = Path(), *, labelled: bool = True) -> Table:
        table, labels = self._read(root, read_npy, labelled)
        table = with_labels(table, labels, "target", self.target_type)
        return replace(table, inferred={"target_type": _kind(table, labels, self.target_type)})


class Npz(Dataset):
    """NumPy's .npz archive of named arrays, a test part among them or not; read into memory.

    Arrays called x_train and y_train, x_test and y_test; or x and y, features and targets, data
    and labels … are found by their names.

    Use: for arrays saved together; what is larger than memory belongs in `npy`.
    """

    name: Literal["npz"] = "npz"
    paths = ("path",)
    path: str = param(..., "the file", min_length=1)
    features: str | None = param(
        None, "array of the features", when="null: by its name", also=("x", "inputs")
    )
    targets: str | None = param(
        None, "array of the targets", when="null: by its name", also=("y", "labels", "target")
    )
    test_features: str | None = param(
        None, "array of the features of the test part", when="null: x_test or the like, if any"
    )
    test_targets: str | None = param(
        None, "array of their targets", when="null: y_test or the like, if any"
    )
    target_type: TargetType | None = param(
        None,
        "what the target is",
        when="null: classes if text, or whole numbers of which few differ; else regression",
    )

    def load(self, root: Path = Path(), *, labelled: bool = True) -> Table:
        path = existing_file(root, self.path)
        arrays = read_npz(path)
        names = {field: self._array(path, field, arrays, labelled) for field in _NPZ_NAMES}
        known = {field: name for field, name in names.items() if name is not None}
        if labelled and ("test_features" in known) != ("test_targets" in known):
            raise DataError(f"{path}: features and targets of the test part go together")
        pieces = [(known[f], known.get(t)) for f, t in _NPZ_PAIRS if f in known]
        parts = [examples_of(path / f, arrays[f]) for f, _ in pieces]
        labels = [labels_of(path / t, arrays[t]) for _, t in pieces if labelled and t]
        table = _joined([path / f for f, _ in pieces], parts, (file_info(path),))
        found = _paired([path / t for _, t in pieces if labelled and t], labels, parts)
        table = with_labels(table, found, "target", self.target_type)
        kind = _kind(table, found, self.target_type)
        return replace(table, inferred={**known, "target_type": kind})

    def _array(
        self, path: Path, field: str, arrays: dict[str, np.ndarray], labelled: bool
    ) -> str | None:
        """The name of an array; None for what the file does not have and need not have."""
        stated = getattr(self, field)
        needed = field == "features" or (labelled and field == "targets")
        shown = ", ".join(list(arrays)[:20])
        if stated is not None:
            if stated in arrays:
                return str(stated)
            if not labelled and field != "features":
                return None
            close = _near(stated, arrays)
            raise DataError(f"{path}: there is no array {stated}{close}; it has {shown}")
        lower = {name.lower(): name for name in arrays}
        found = next((lower[name] for name in _NPZ_NAMES[field] if name in lower), None)
        if found is None and needed:
            raise DataError(f"{path}: set `{field}`: which array is it? The file has {shown}")
        return found


_NPZ_NAMES = {
    "features": ("x_train", "train_x", "x", "features", "data", "inputs", "images", "train_images"),
    "targets": ("y_train", "train_y", "y", "targets", "target", "labels", "label", "train_labels"),
    "test_features": ("x_test", "test_x", "test_features", "test_images"),
    "test_targets": ("y_test", "test_y", "test_targets", "test_labels"),
}
_NPZ_PAIRS = (("features", "targets"), ("test_features", "test_targets"))


def _near(name: str, names: Iterable[str]) -> str:
    close = nearest(name, names)
    return f"; did you mean {close}?" if close else ""


def _kind(table: Table, labels: np.ndarray | None, stated: TargetType | None) -> TargetType | None:
    """What the target is, for the resolved config; as stated if it was not read."""
    return stated if labels is None else table.task


def with_labels(
    table: Table, labels: np.ndarray | None, name: str, kind: TargetType | None
) -> Table:
    """The table with labels as its target, if there are any."""
    if labels is None:
        return table
    found = as_target(labels, name, kind)
    outputs = 1 if found.values.ndim == 1 else found.values.shape[1]
    names = (name,) if outputs == 1 else tuple(f"{name}{i}" for i in range(outputs))
    notes = (found.note,) if found.note else ()
    return replace(
        table,
        target=found.values,
        classes=found.classes,
        target_names=names,
        notes=notes,
        multilabel=found.multilabel,
    )
