"""Data sources: what `data.source` may be."""

from __future__ import annotations

import gzip
import importlib.util
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

import numpy as np
from pydantic import Field, field_validator

from nnexp.components.arrays import examples_of, labels_of, read_idx, read_npy
from nnexp.components.delimited import Columns, ColumnType, Form, position, read_columns
from nnexp.components.table import (
    Features,
    FileInfo,
    Located,
    Table,
    TargetType,
    as_target,
    existing_file,
    file_info,
    stack,
)
from nnexp.errors import DataError, count
from nnexp.registry import param, rule


class Dataset(Located, family="dataset"):
    """A source of examples."""

    @abstractmethod
    def load(self, root: Path = Path(), *, labelled: bool = True) -> Table:
        """Read the data; DataError if that can't be done.

        root: the folder that relative file names are relative to.
        labelled: False to predict: the target may be absent, and is not read from files.
        """

    def resolved(self, table: Table) -> Self:
        """The same source with what was inferred from `table` filled in, so that another file
        of the same kind is read the same way."""
        return self


# -- what scikit-learn ships -----------------------------------------------------------------------


class _Builtin(Dataset):
    """A data set that scikit-learn ships; its file is read without importing scikit-learn."""

    file: ClassVar[str]
    columns: ClassVar[tuple[str, ...]]

    def load(self, root: Path = Path(), *, labelled: bool = True) -> Table:
        lines, info = _shipped(self.file)
        head, body = lines.split(b"\n", 1)
        classes = head.decode().strip().split(",")[2:]
        values = _numbers(body, len(self.columns) + 1)
        return Table(
            features=Features.of(values[:, :-1], self.columns),
            target=values[:, -1].astype(np.int64),
            classes=tuple(classes),
            target_names=("target",),
            ids=np.arange(len(values)),
            files=(info,),
        )


class Digits(Dataset):
    """Digits: 1,797 handwritten digits, 8 × 8 grey levels 0 … 16, 10 classes (UCI test set)."""

    name: Literal["digits"] = "digits"

    def load(self, root: Path = Path(), *, labelled: bool = True) -> Table:
        lines, info = _shipped("digits.csv.gz")
        values = _numbers(lines, 65)
        return Table(
            features=Features.of(values[:, :-1].astype(np.uint8).reshape(-1, 1, 8, 8)),
            target=values[:, -1].astype(np.int64),
            classes=tuple("0123456789"),
            target_names=("digit",),
            ids=np.arange(len(values)),
            files=(info,),
        )


class Iris(_Builtin):
    """Iris: 150 flowers, 4 lengths in cm, 3 species (Fisher 1936)."""

    name: Literal["iris"] = "iris"
    file = "iris.csv"
    columns = ("sepal length (cm)", "sepal width (cm)", "petal length (cm)", "petal width (cm)")


class Wine(_Builtin):
    """Wine: 178 wines, 13 chemical measurements, 3 cultivars."""

    name: Literal["wine"] = "wine"
    file = "wine_data.csv"
    columns = (
        *("alcohol", "malic_acid", "ash", "alcalinity_of_ash", "magnesium", "total_phenols"),
        *("flavanoids", "nonflavanoid_phenols", "proanthocyanins", "color_intensity", "hue"),
        *("od280/od315_of_diluted_wines", "proline"),
    )


class BreastCancer(_Builtin):
    """Breast cancer Wisconsin (diagnostic): 569 tumours, 30 measurements, malignant or benign."""

    name: Literal["breast_cancer"] = "breast_cancer"
    file = "breast_cancer.csv"
    columns = tuple(
        form.format(what)
        for form in ("mean {}", "{} error", "worst {}")
        for what in (
            *("radius", "texture", "perimeter", "area", "smoothness", "compactness"),
            *("concavity", "concave points", "symmetry", "fractal dimension"),
        )
    )


class Diabetes(Dataset):
    """Diabetes: 442 patients, 10 measurements, disease progression after a year (regression).

    The columns are in their own units, as `load_diabetes(scaled=False)` gives them: scaling over
    all rows would tell the training rows something about the test rows.
    """

    name: Literal["diabetes"] = "diabetes"

    def load(self, root: Path = Path(), *, labelled: bool = True) -> Table:
        columns = ("age", "sex", "bmi", "bp", "s1", "s2", "s3", "s4", "s5", "s6")
        data, data_info = _shipped("diabetes_data_raw.csv.gz")
        target, target_info = _shipped("diabetes_target.csv.gz")
        values = _numbers(data.replace(b" ", b","), len(columns))
        return Table(
            features=Features.of(values, columns),
            target=_numbers(target, 1),
            classes=None,
            target_names=("progression",),
            ids=np.arange(len(values)),
            files=(data_info, target_info),
        )


def _shipped(name: str) -> tuple[bytes, FileInfo]:
    found = importlib.util.find_spec("sklearn")
    folders = (found.submodule_search_locations if found else None) or []
    for folder in folders:
        path = Path(folder) / "datasets" / "data" / name
        if path.is_file():
            content = path.read_bytes()
            info = replace(file_info(path), path=f"scikit-learn/{name}")
            return (gzip.decompress(content) if name.endswith(".gz") else content), info
    raise DataError(f"{name}: the installed scikit-learn does not bring this file")


def _numbers(content: bytes, width: int) -> np.ndarray:
    """Comma-separated numbers as float64 `[n, width]`; ten times quicker than np.loadtxt."""
    text = content.strip().replace(b"\r", b"").replace(b"\n", b",")
    return np.fromstring(text.decode(), dtype=np.float64, sep=",").reshape(-1, width)


# -- csv -------------------------------------------------------------------------------------------


class Csv(Dataset):
    """A file of delimited text, gzip too; columns with text become categorical."""

    name: Literal["csv"] = "csv"
    paths = ("path",)
    path: str = param(..., "the file", min_length=1)
    target: int | str | Annotated[list[int | str], Field(min_length=1)] = param(
        ..., "column(s) to predict, by name or number (−1: the last)", also=("label", "y")
    )
    separator: str | None = param(
        None,
        'the character between fields; " " is any white space',
        when="null: the first of tab ; | , and white space that splits the lines alike",
        min_length=1,
        max_length=1,
        also=("sep", "delimiter"),
    )
    header: bool | None = param(
        None,
        "whether the first line names the columns (otherwise they are called 0, 1, …)",
        when="null: yes if none of its fields is a number",
    )
    decimal: Literal[".", ","] | None = param(
        None, "the decimal sign", when="null: a comma if the first lines have only such numbers"
    )
    encoding: str = param("utf-8", "how characters are encoded; utf-8 may begin with a mark")
    missing: list[str] = param(
        ["", "NA", "N/A", "n/a", "#N/A", "<NA>", "NaN", "nan", "null", "NULL", "?"],
        "fields that stand for no value",
        also=("na_values",),
    )
    drop: list[int | str] = param([], "columns to leave out, by name or number")
    id: int | str | None = param(None, "column that identifies the examples", also=("index",))
    types: dict[int | str, ColumnType] = param(
        {}, "columns to read as numeric or categorical", when="otherwise: text is categorical"
    )
    target_type: TargetType | None = param(
        None,
        "what the target is",
        when="null: classes if text, or whole numbers of which few differ; else regression",
    )

    @field_validator("encoding")
    @classmethod
    def _known_encoding(cls, value: str) -> str:
        try:
            "".encode(value)  # some codecs, such as base64, are not for text
        except (LookupError, UnicodeError):
            raise rule("there is no such encoding", allowed="utf-8, latin-1, utf-16, …") from None
        return value

    def load(self, root: Path = Path(), *, labelled: bool = True) -> Table:
        path = existing_file(root, self.path)
        form = Form(self.separator, self.header, self.decimal, self.encoding, self.missing)
        columns = read_columns(path, form, self.types, strict=labelled)
        target = self._targets(path, columns.names, required=labelled)
        drop = [key for key in self.drop if labelled or key in columns.names]
        dropped = {position(path, key, columns.names, "drop") for key in drop}
        known = [self.id] if self.id is not None and (labelled or self.id in columns.names) else []
        identity = {position(path, key, columns.names, "id") for key in known}
        kept = [i for i in range(len(columns.names)) if i not in {*target, *dropped, *identity}]
        if not kept:
            raise DataError(f"{path}: there is no column beside the target")
        table = Table(
            features=_features(columns, kept),
            target=np.empty((len(columns.lines), 0)),
            classes=None,
            target_names=tuple(columns.names[i] for i in target),
            ids=_identities(path, columns, identity),
            files=(file_info(path),),
            notes=columns.notes,
        )
        return self._with_target(path, table, columns, target) if labelled else table

    def resolved(self, table: Table) -> Self:
        types = dict(self.types)
        for column in table.features.categorical_names:
            types[column] = "categorical"
        return self.model_copy(update={"types": types, "target_type": _kind(table)})

    def _targets(self, path: Path, names: Sequence[str], required: bool) -> list[int]:
        keys = self.target if isinstance(self.target, list) else [self.target]
        if not required:  # a file to predict on need not have the target column
            keys = [key for key in keys if key in names]
        return [position(path, key, names, "target") for key in keys]

    def _with_target(self, path: Path, table: Table, columns: Columns, target: list[int]) -> Table:
        values = [columns.values[i] for i in target]
        for name, column in zip(table.target_names, values, strict=True):
            absent = column == None if column.dtype == object else ~np.isfinite(column)  # noqa: E711
            if absent.any():
                lines = ", ".join(map(str, columns.lines[absent][:5]))
                rows = count(int(absent.sum()), "row")
                where = f"{rows} (line {lines}{', …' if absent.sum() > 5 else ''})"
                what = "value" if column.dtype == object else "finite value"
                raise DataError(f"{path}: target {name} has no {what} in {where}")
            if column.dtype == object and len(target) > 1:
                raise DataError(f"{path}: target {name} holds text; several targets are numbers")
        stacked = values[0] if len(values) == 1 else np.stack(values, axis=1)
        found = as_target(stacked, ", ".join(table.target_names), self.target_type)
        notes = (*table.notes, *([found.note] if found.note else []))
        return replace(table, target=found.values, classes=found.classes, notes=notes)


def _features(columns: Columns, kept: Sequence[int]) -> Features:
    numeric = [i for i in kept if columns.values[i].dtype != object]
    text = [i for i in kept if columns.values[i].dtype == object]
    n = len(columns.lines)
    numbers, texts = np.empty((n, len(numeric))), np.empty((n, len(text)), dtype=object)
    for place, i in enumerate(numeric):
        numbers[:, place] = columns.values[i]
    for place, i in enumerate(text):
        texts[:, place] = columns.values[i]
    names = columns.names
    return Features(numbers, tuple(names[i] for i in numeric), texts, tuple(names[i] for i in text))


def _identities(path: Path, columns: Columns, identity: set[int]) -> np.ndarray:
    if not identity:
        return np.arange(len(columns.lines))
    (column,) = identity
    values = columns.values[column]
    if values.dtype != object and np.all(values == np.floor(values)):
        values = values.astype(np.int64)
    ids = values if values.dtype == np.int64 else np.array([str(v) for v in values])
    distinct, counts = np.unique(ids, return_counts=True)
    if len(distinct) < len(ids):
        again = distinct[counts > 1][0]
        raise DataError(f"{path}: id {columns.names[column]} is not unique: {again} is repeated")
    return ids


# -- arrays ----------------------------------------------------------------------------------------


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
        for path, piece in zip(paths, pieces, strict=True):
            if piece.shape[1:] != pieces[0].shape[1:]:
                shapes = f"{piece.shape[1:]}, the others {pieces[0].shape[1:]}"
                raise DataError(f"{path}: examples have shape {shapes}")
        found = []
        for path, piece in zip(label_paths, pieces, strict=labelled):
            found.append(labels_of(path, read(path)))
            if len(found[-1]) != len(piece):
                raise DataError(f"{path}: has {len(found[-1])} labels for {len(piece)} examples")
        numeric = stack(pieces)
        table = Table(
            features=Features.of(numeric),
            target=np.empty((len(numeric), 0)),
            classes=None,
            target_names=(),
            ids=np.arange(len(numeric)),
            parts={"test": np.arange(len(pieces[0]), len(numeric))} if len(pieces) > 1 else {},
            files=tuple(file_info(path) for path in (*paths, *label_paths)),
        )
        return table, np.concatenate(found) if found else None


class Idx(_Arrays):
    """MNIST's file format (IDX), gzip too; labels that are whole numbers are classes."""

    name: Literal["idx"] = "idx"
    paths = ("images", "labels", "test_images", "test_labels")
    images: str = param(..., "file of the images", min_length=1)
    labels: str = param(..., "file of the labels", min_length=1)
    test_images: str | None = param(None, "file of the images of the test part", min_length=1)
    test_labels: str | None = param(None, "file of their labels", min_length=1)

    def load(self, root: Path = Path(), *, labelled: bool = True) -> Table:
        table, labels = self._read(root, read_idx, labelled)
        whole = labels is not None and labels.dtype.kind in "iu"
        return _with_labels(table, labels, "label", "classification" if whole else None)


class Npy(_Arrays):
    """NumPy's .npy files, memory-mapped: features `[n, F]`, `[n, H, W]` or `[n, C, H, W]`."""

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
        return _with_labels(table, labels, "target", self.target_type)

    def resolved(self, table: Table) -> Self:
        return self.model_copy(update={"target_type": _kind(table)})


def _kind(table: Table) -> TargetType:
    return "regression" if table.classes is None else "classification"


def _with_labels(
    table: Table, labels: np.ndarray | None, name: str, kind: TargetType | None
) -> Table:
    if labels is None:
        return table
    found = as_target(labels, name, kind)
    outputs = 1 if found.values.ndim == 1 else found.values.shape[1]
    names = (name,) if outputs == 1 else tuple(f"{name}{i}" for i in range(outputs))
    notes = (found.note,) if found.note else ()
    return replace(
        table, target=found.values, classes=found.classes, target_names=names, notes=notes
    )
