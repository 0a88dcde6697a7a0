"""Data sources of one table in one file: delimited text and parquet."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, field_validator

from nnexp.components.datasets.dataset import Dataset
from nnexp.components.datasets.dates import DateOrder, as_days
from nnexp.components.datasets.delimited import Columns, ColumnType, Form, position, read_columns
from nnexp.components.datasets.parquet import read_parquet
from nnexp.components.table import (
    Features,
    FileInfo,
    Table,
    TargetType,
    as_target,
    existing_file,
    file_info,
)
from nnexp.errors import DataError, count
from nnexp.registry import param, rule

_TRUTH = {"true": 1.0, "false": 0.0, "yes": 1.0, "no": 0.0}


class Tabular(Dataset):
    """Named columns, some of which are the target."""

    target: int | str | Annotated[list[int | str], Field(min_length=1)] = param(
        ..., "column(s) to predict, by name or number (−1: the last)", also=("label", "y")
    )
    drop: list[int | str] = param([], "columns to leave out, by name or number")
    id: int | str | None = param(None, "column that identifies the examples", also=("index",))
    types: dict[int | str, ColumnType] = param(
        {},
        "columns to read as numeric, categorical or date (days since 1970-01-01)",
        when="otherwise: text is categorical, or dates if all of it is",
    )
    date_order: DateOrder | None = param(
        None, "how 1/2/2024 is meant", when="null: the only order that suits all of a column"
    )
    target_type: TargetType | None = param(
        None,
        "what the target is",
        when="null: classes if text, or whole numbers of which few differ; labels if several "
        "columns of 0 and 1; else regression",
    )

    def table(
        self,
        path: Path,
        columns: Columns,
        files: tuple[FileInfo, ...],
        inferred: dict[str, Any],
        labelled: bool,
    ) -> Table:
        """The columns as a table.

        path: where they are from, for messages. inferred: fields of this source that were inferred
        for it. labelled: as in `load`.
        """
        target = self._targets(path, columns.names, required=labelled)
        drop = [key for key in self.drop if labelled or key in columns.names]
        dropped = {position(path, key, columns.names, "drop") for key in drop}
        known = [self.id] if self.id is not None and (labelled or self.id in columns.names) else []
        identity = {position(path, key, columns.names, "id") for key in known}
        unused = {*target, *dropped, *identity}
        kept = [i for i in range(len(columns.names)) if i not in unused]
        if not kept:
            raise DataError(f"{path}: there is no column beside the target")
        columns, found = self._dated(path, columns, identity)
        features = _features(columns, kept)
        table = Table(
            features=features,
            target=np.empty((len(columns.lines), 0)),
            classes=None,
            target_names=tuple(columns.names[i] for i in target),
            ids=_identities(path, columns, identity),
            files=files,
            notes=columns.notes,
            aside={columns.names[i]: columns.values[i] for i in sorted(dropped | identity)},
        )
        if labelled:
            table = self._with_target(path, table, columns, target)
        types: dict[int | str, ColumnType] = dict(self.types)
        types |= dict.fromkeys(features.categorical_names, "categorical")
        types |= found.pop("types")
        kind = table.task if labelled else self.target_type
        return replace(table, inferred={**inferred, **found, "types": types, "target_type": kind})

    def _dated(
        self, path: Path, columns: Columns, identity: set[int]
    ) -> tuple[Columns, dict[str, Any]]:
        """The columns with dates as days, and what was inferred of them."""
        stated = {
            position(path, key, columns.names, "types"): kind
            for key, kind in self.types.items()
            if isinstance(key, int) or key in columns.names
        }
        values, notes = list(columns.values), list(columns.notes)
        types, orders = {}, {self.date_order} - {None}
        for i, name in enumerate(columns.names):
            kind = stated.get(i)
            text = values[i].dtype == object
            if not text or i in identity or kind in ("numeric", "categorical"):
                continue
            days, order, reason = as_days(values[i], self.date_order, kind == "date")
            if days is None:
                if kind == "date":
                    raise DataError(f"{path}: column {name} is not dates: {reason}")
                if "date_order" in reason:
                    notes.append(f"column {name} looks like dates, but {reason}; it is text here")
                continue
            values[i] = days
            types[name] = "date"
            orders |= {order} - {None}
            if kind is None:
                notes.append(
                    f"column {name} is read as dates, in days since 1970-01-01; "
                    f"`types: {{{name}: categorical}}` keeps it as text"
                )
        found: dict[str, Any] = {"types": types}
        if len(orders) == 1:
            found["date_order"] = orders.pop()
        gone = tuple(f"column {name} is text because" for name in types)
        kept = tuple(note for note in notes if not note.startswith(gone)) if gone else tuple(notes)
        return replace(columns, values=tuple(values), notes=kept), found

    def _targets(self, path: Path, names: Sequence[str], required: bool) -> list[int]:
        keys = self.target if isinstance(self.target, list) else [self.target]
        if not required:  # a file to predict on need not have the target column
            keys = [key for key in keys if key in names]
        return [position(path, key, names, "target") for key in keys]

    def _with_target(self, path: Path, table: Table, columns: Columns, target: list[int]) -> Table:
        several = len(target) > 1 or self.target_type == "multilabel"
        values = []
        for name, i in zip(table.target_names, target, strict=True):
            column = columns.values[i]
            absent = column == None if column.dtype == object else ~np.isfinite(column)  # noqa: E711
            what = "has no value" if column.dtype == object else "has no finite value"
            _refuse(path, f"target {name} {what}", absent, columns)
            if several and column.dtype == object:
                column = _truth(path, name, column)
            if self.target_type == "multilabel":
                wrong = (column != 0) & (column != 1)
                _refuse(path, f"target {name} is a label but neither 0 nor 1", wrong, columns)
            values.append(column)
        stacked = values[0] if len(values) == 1 else np.stack(values, axis=1)
        found = as_target(stacked, ", ".join(table.target_names), self.target_type)
        return replace(
            table,
            target=found.values,
            classes=found.classes,
            multilabel=found.multilabel,
            notes=(*table.notes, *([found.note] if found.note else [])),
        )


class _OneFile(Dataset):
    """A single file."""

    paths = ("path",)
    path: str = param(..., "the file", min_length=1)


class _TableFile(Tabular, _OneFile):
    """A file of named columns."""

    @abstractmethod
    def read(self, path: Path, strict: bool) -> tuple[Columns, dict[str, Any]]:
        """The columns, and the fields of this source that were inferred for it.

        strict: whether `types` must name columns that the file has.
        """

    def load(self, root: Path = Path(), *, labelled: bool = True) -> Table:
        path = existing_file(root, self.path)
        columns, inferred = self.read(path, labelled)
        return self.table(path, columns, (file_info(path),), inferred, labelled)


class Csv(_TableFile):
    """A file of delimited text, gzip too; columns with text become categorical.

    Dates become days since 1970-01-01, if all values of a column are dates of one kind.

    Use: for whatever a spreadsheet or database exports; above a gigabyte, `parquet` or `npy`.
    """

    name: Literal["csv"] = "csv"
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
    encoding: str | None = param(
        None,
        "how characters are encoded; utf-8 may begin with a mark",
        when="null: utf-16 if the file begins with its mark, else utf-8",
    )
    missing: list[str] = param(
        ["", "NA", "N/A", "n/a", "#N/A", "<NA>", "NaN", "nan", "null", "NULL", "?"],
        "fields that stand for no value",
        also=("na_values",),
    )

    @field_validator("encoding")
    @classmethod
    def _known_encoding(cls, value: str | None) -> str | None:
        try:
            "".encode(value or "utf-8")  # some codecs, such as base64, are not for text
        except (LookupError, UnicodeError, ValueError):
            raise rule("there is no such encoding", allowed="utf-8, latin-1, utf-16, …") from None
        return value

    def read(self, path: Path, strict: bool) -> tuple[Columns, dict[str, Any]]:
        form = Form(self.separator, self.header, self.decimal, self.encoding, self.missing)
        columns = read_columns(path, form, self.types, strict=strict)
        fields = ("separator", "header", "decimal", "encoding")
        return columns, {field: getattr(columns.form, field) for field in fields}


class Parquet(_TableFile):
    """A parquet file, such as pandas, Spark and DuckDB write; needs pyarrow.

    Columns of numbers and booleans are numeric, dates and times are days since 1970-01-01, text
    is categorical.

    Use: for large tables: quicker to read than csv, and with types that need no guess.
    """

    name: Literal["parquet"] = "parquet"

    def read(self, path: Path, strict: bool) -> tuple[Columns, dict[str, Any]]:
        return as_types(path, read_parquet(path), self.types, strict), {}


def as_types(
    path: Path, columns: Columns, types: Mapping[int | str, ColumnType], strict: bool
) -> Columns:
    """Columns that come with types of their own, in those that a source states.

    strict: whether `types` must name columns that there are.
    """
    wanted = {key: kind for key, kind in types.items() if strict or key in columns.names}
    values = list(columns.values)
    for key, kind in wanted.items():
        i = position(path, key, columns.names, "types")
        text = values[i].dtype == object
        if kind == "numeric" and text:
            raise DataError(f"{path}: column {columns.names[i]} is not numeric: it holds text")
        if kind == "categorical" and not text:
            texts = [None if np.isnan(v) else f"{v:.17g}" for v in values[i].tolist()]
            values[i] = np.array(texts, dtype=object)
    return replace(columns, values=tuple(values))


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
    if values.dtype != object and np.all((values == np.floor(values)) & (abs(values) < 2**53)):
        values = values.astype(np.int64)
    ids = values if values.dtype == np.int64 else np.array([str(v) for v in values])
    distinct, counts = np.unique(ids, return_counts=True)
    if len(distinct) < len(ids):
        again = distinct[counts > 1][0]
        raise DataError(f"{path}: id {columns.names[column]} is not unique: {again} is repeated")
    return ids


def _truth(path: Path, name: str, column: np.ndarray) -> np.ndarray:
    """yes and no, true and false as 1 and 0."""
    texts = [str(value).lower() for value in column]
    if not set(texts) <= set(_TRUTH):
        raise DataError(f"{path}: target {name} holds text; several targets are numbers or yes/no")
    return np.array([_TRUTH[text] for text in texts])


def _refuse(path: Path, what: str, wrong: np.ndarray, columns: Columns) -> None:
    """DataError that names the first lines which are wrong, if any is."""
    if wrong.any():
        lines = ", ".join(map(str, columns.lines[wrong][:5]))
        more = ", …" if wrong.sum() > 5 else ""
        rows = count(int(wrong.sum()), "row")
        raise DataError(f"{path}: {what} in {rows} ({columns.place} {lines}{more})")
