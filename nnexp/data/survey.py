"""What a data file holds, as one would look at it before writing a first config.

Names and counts decide here which column is predicted, which identify the rows, and which say
nothing. All of it is a guess, with a reason that can be told.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from nnexp.components.datasets import Csv, Dataset, Parquet
from nnexp.components.datasets.dates import as_days
from nnexp.components.datasets.delimited import Columns, ColumnType, position
from nnexp.components.table import existing_file
from nnexp.data.formats import arrays_beside, encoding_of, format_of
from nnexp.errors import DataError, UsageError, count, nearest

Role = Literal["feature", "target", "id", "drop"]

_TARGETS = (
    *("target", "label", "labels", "class", "y", "outcome", "response", "output"),
    *("species", "diagnosis", "survived", "churn", "fraud", "saleprice"),
)
"""Names of the column to predict, the surest first."""
_NUMBERED = re.compile(r"(target|label|class|output|y)[ _.-]?\d+", re.IGNORECASE)
_IDENTITY = re.compile(r"(.*[\W_])?(id|uuid|guid|key|index|idx|row|unnamed: 0)")
_MARKERS = {"-", "--", ".", "*", "none", "missing", "unknown", "n.a.", "n.d.", "nil", "#value!"}
"""Words among numbers that mean that there is no value."""
_INFINITE = "it holds infinite values"
_MARGIN = 0.1
"""The largest share of a column's values that may be such words."""


@dataclass(frozen=True)
class Column:
    """A column of a table.

    key: how a config names it. missing, distinct: how many values are missing, how many of the
    others differ. reason: why it is no feature, or why it is the target.
    """

    name: str
    key: int | str
    kind: ColumnType
    missing: int
    distinct: int
    role: Role = "feature"
    reason: str = ""


@dataclass(frozen=True)
class Relation:
    """Something that rows have in common, so that a random split may flatter.

    split: the splitter that heeds it, by the values of `column`. note: what the user should know.
    """

    split: Literal["grouped", "ordered"]
    column: str
    note: str


@dataclass(frozen=True)
class Survey:
    """What was found in a data file.

    source: what `data.source` should say; relative names are relative to the file's folder.
    form: how the file is written, in words. columns: of a table; () where there are arrays.
    notes: what the user should know.
    """

    source: dict[str, Any]
    form: str
    columns: tuple[Column, ...] = ()
    notes: tuple[str, ...] = ()
    relations: tuple[Relation, ...] = ()

    def having(self, role: Role) -> list[Column]:
        return [column for column in self.columns if column.role == role]


def survey(path: Path, targets: Sequence[str] = ()) -> Survey:
    """Look at a file, or at a data set that nnexp knows by name.

    targets: the columns to predict, by name or number, as the user gave them; the file or array of
    the targets where features are one. DataError if the file can't be used so.
    """
    if not path.exists() and (builtin := _builtin(path)):
        if targets:
            raise UsageError(f"{builtin} has a target of its own: --target does not go with it")
        return Survey({"name": builtin}, "a data set that nnexp knows by its name")
    _check_exists(path)
    if (kind := format_of(path)) in ("csv", "parquet"):
        try:
            return _table(path, kind, targets)
        except DataError as error:
            if path.suffix.lower() not in (".txt", ".text", ".md"):
                raise
            hint = "of running text a config says data.source: {name: text, path: …}, or corpus"
            raise DataError(f"{error} ({hint})") from None
    source, form = arrays_beside(path, kind, targets)
    return Survey(source, form)


def _builtin(path: Path) -> str:
    """The data set of that name that needs nothing else; "" if there is none."""
    known = Dataset.registered.get(str(path))
    fields = known.model_fields.values() if known else ()
    return str(path) if known and not any(field.is_required() for field in fields) else ""


def _check_exists(path: Path) -> None:
    """DataError if there is no such file; a bare word may have been meant for a data set's name."""
    if not path.exists() and re.fullmatch(r"\w+", str(path)):
        close = nearest(path, [name for name in Dataset.registered if _builtin(Path(name))])
        hint = f"; did you mean {close}?" if close else ""
        raise DataError(f"{path}: no such file, and no data set has that name{hint}")
    if path.is_dir():
        raise DataError(
            f"{path}: is a folder; init looks at one file (folders of images: `image_folder`)"
        )
    existing_file(Path(), str(path))


# -- tables ----------------------------------------------------------------------------------------


def _table(path: Path, kind: str, targets: Sequence[str]) -> Survey:
    read, given, form, notes = _read(path, kind)
    rows = len(read.lines)
    columns = [_column(read, i, rows) for i in range(len(read.names))]
    wanted = list(dict.fromkeys(_found(path, target, read) for target in targets))
    chosen, reason = (wanted, "as you said") if wanted else _guessed(path, columns)
    for i in chosen:
        columns[i] = replace(columns[i], role="target", reason=reason)
    columns = _kept(columns)
    if all(column.role != "feature" for column in columns):
        raise DataError(f"{path}: there is no column beside the target to learn from")
    keys = [columns[i].key for i in chosen]
    source: dict[str, Any] = {"name": kind, "path": path.name, **given}
    source["target"] = keys[0] if len(keys) == 1 else keys
    for column in columns:
        if column.role == "id":
            source["id"] = column.key
    if dropped := [column.key for column in columns if column.role == "drop"]:
        source["drop"] = dropped
    relations = tuple(_relations(columns, rows))
    return Survey(source, form, tuple(columns), tuple(notes), relations)


def _read(path: Path, kind: str) -> tuple[Columns, dict[str, Any], str, list[str]]:
    """The columns, what the source must be told to read them so, that in words, and notes."""
    if kind == "parquet":
        return *Parquet(path=path.name, target=-1).read(path, False), "parquet", []
    given: dict[str, Any] = {}
    if (encoding := encoding_of(path)) is not None:
        given["encoding"] = encoding
    columns, form = _csv(path, given)
    if not form["header"] and (named := _named(path, given, columns)):
        given["header"] = True
        columns, form = named
    notes = []
    if markers := _markers(columns):
        given["missing"] = [*Csv.model_fields["missing"].get_default(call_default_factory=True)]
        given["missing"] += markers
        columns, form = _csv(path, given)
        notes.append(f"{', '.join(markers)} among numbers is taken as a missing value")
    given |= {k: form[k] for k, usual in (("separator", ","), ("decimal", ".")) if form[k] != usual}
    if not form["header"]:
        given["header"] = False
    separators = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars", " ": "white space"}
    said = [f"text in {form['encoding']}", f"fields between {separators[form['separator']]}"]
    said += ["decimal commas"] if form["decimal"] == "," else []
    said += ["a header" if form["header"] else "no header"]
    return columns, given, ", ".join(said), notes


def _csv(path: Path, given: dict[str, Any]) -> tuple[Columns, dict[str, Any]]:
    return Csv(path=path.name, target=-1, **given).read(path, False)


def _named(
    path: Path, given: dict[str, Any], unnamed: Columns
) -> tuple[Columns, dict[str, Any]] | None:
    """The columns by a header that has numbers among its names, such as years.

    That it is a header shows by columns that are numbers but for it. None if it is none.
    """
    try:
        named = _csv(path, {**given, "header": True})
    except DataError:
        return None
    pairs = zip(unnamed.values, named[0].values, strict=False)
    return named if any(u.dtype == object != n.dtype for u, n in pairs) else None


def _markers(columns: Columns) -> list[str]:
    """Words for a missing value that stand in columns of numbers."""
    found: set[str] = set()
    for values in columns.values:
        if values.dtype != object:
            continue
        texts = [text for text in values.tolist() if text is not None]
        words = [text for text in texts if not _is_number(text, columns.form.decimal)]
        if len(words) <= _MARGIN * len(texts) and {word.lower() for word in words} <= _MARKERS:
            found |= set(words)
    return sorted(found)


def _is_number(text: str, decimal: str | None) -> bool:
    try:
        float(text.replace(",", ".") if decimal == "," else text)
    except ValueError:
        return False
    return True


def _column(read: Columns, i: int, rows: int) -> Column:
    """What there is to say about a column, whichever is the target."""
    name, values = read.names[i], read.values[i]
    key: int | str = i if read.form.header is False else name
    kind: ColumnType = "numeric"
    if values.dtype == object:
        kind = "categorical" if as_days(values, None, False)[0] is None else "date"
        present = [value for value in values.tolist() if value is not None]
        different: int = len(set(present))
        column = Column(name, key, kind, rows - len(present), different)
    else:
        numbers = values[~np.isnan(values)]
        different = len(np.unique(numbers))
        column = Column(name, key, kind, rows - len(numbers), different)
        if np.isinf(numbers).any():
            return replace(column, role="drop", reason=_INFINITE)
    role, reason = _role(column, values, rows)
    return replace(column, role=role, reason=reason)


def _role(column: Column, values: np.ndarray, rows: int) -> tuple[Role, str]:
    present = rows - column.missing
    if column.distinct < 2:
        return "drop", "it says nothing: " + ("one value only" if column.distinct else "no value")
    named = _names_identity(column.name)
    if column.distinct == rows and column.kind != "date":
        if column.kind == "categorical":
            if named or rows >= 10:
                return "id", "its text is another in every row"
        elif (
            _whole(values)
            and not _tells_when(column)
            and (named or (rows >= 10 and (np.diff(values) == 1).all()))
        ):
            return "id", "it numbers the rows"
    if column.kind == "categorical" and column.distinct > max(20, present / 2):
        return "drop", f"its text hardly repeats ({column.distinct:,} different ones)"
    if named and column.kind == "numeric" and column.distinct > 20 and _whole(values):
        return "drop", "its numbers name something and measure nothing"
    return "feature", ""


def _names_identity(name: str) -> bool:
    return bool(_IDENTITY.fullmatch(name.casefold()) or re.search(r"[a-z]I[dD]$", name))


def _whole(values: np.ndarray) -> bool:
    known = values[~np.isnan(values)]
    return bool((known == np.floor(known)).all())


def _kept(columns: list[Column]) -> list[Column]:
    """The columns with one `id` only; and with features, of what else would be left out if need be.

    A table of one more column than the target says something by that one, whatever it looks like.
    """
    if not any(column.role == "feature" for column in columns):
        usable = [c.role != "target" and c.reason != _INFINITE for c in columns]
        for least in (2, 1):
            again = [use and c.distinct >= least for use, c in zip(usable, columns, strict=True)]
            if any(again):
                return [
                    replace(c, role="feature", reason="") if use else c
                    for use, c in zip(again, columns, strict=True)
                ]
    first = next((i for i, column in enumerate(columns) if column.role == "id"), None)
    return [
        replace(c, role="drop") if c.role == "id" and i != first else c
        for i, c in enumerate(columns)
    ]


# -- the target ------------------------------------------------------------------------------------


def _found(path: Path, target: str, read: Columns) -> int:
    """Where the column is that a user named, or numbered."""
    numbered = target not in read.names and re.fullmatch(r"-?\d{1,9}", target)
    return position(path, int(target) if numbered else target, read.names, "--target")


def _guessed(path: Path, columns: Sequence[Column]) -> tuple[list[int], str]:
    """Which columns are to be predicted, and why these."""
    lower = {column.name.casefold(): i for i, column in enumerate(columns)}
    named = [lower[name] for name in _TARGETS if name in lower]
    if named and (columns[named[0]].distinct > 1 or len(columns) == 1):
        _check_complete(path, columns[named[0]])
        return named[:1], "by its name"
    several = [
        i
        for i, column in enumerate(columns)
        if _NUMBERED.fullmatch(column.name) and column.kind == "numeric" and _is_target(column)
    ]
    if 1 < len(several) < len(columns):
        return several, "by their names"
    for suits in (
        lambda c: _is_target(c) and c.role == "feature" and c.kind != "date",
        lambda c: _is_target(c) and c.role != "id",
        _is_target,
        lambda c: not c.missing and c.reason != _INFINITE,
    ):
        fit = [i for i, column in enumerate(columns) if suits(column)]
        if fit:
            is_last = fit[-1] == len(columns) - 1
            why = "the last column" if is_last else "the last column that could be a target"
            return fit[-1:], f"{why}; `--target` takes another"
    raise DataError(f"{path}: every column has missing values, so that none can be the target")


def _is_target(column: Column) -> bool:
    return not column.missing and column.distinct > 1 and column.reason != _INFINITE


def _check_complete(path: Path, column: Column) -> None:
    if column.missing:
        rows = count(column.missing, "row")
        raise DataError(
            f"{path}: the target {column.name} has no value in {rows}: remove these rows to train, "
            "or choose another column with --target"
        )


# -- what else to think of -------------------------------------------------------------------------

_GROUPS = re.compile(
    r"(?:.*[\W_])?(patient|subject|person|user|customer|client|student|group|family|household|"
    r"site|session|device|machine|batch)(?:[\W_]?(?:id|no|nr|name))?"
)
_TIMES = re.compile(r"(?:.*[\W_])?(date|time|timestamp|datetime|year)")


def _tells_when(column: Column) -> bool:
    return bool(_TIMES.fullmatch(column.name.casefold())) and column.distinct > 1


def _relations(columns: Sequence[Column], rows: int) -> Iterator[Relation]:
    for column in columns:
        name = column.name.casefold()
        repeats = 1 < column.distinct <= rows / 2
        if column.role == "target":
            continue
        if repeats and column.kind != "date" and _GROUPS.fullmatch(name):
            note = (
                f"rows of one {column.name} may be alike: if new data bring others, no "
                f"{column.name} should be in two parts"
            )
            yield Relation("grouped", column.name, note)
        elif column.kind == "date" or (column.kind == "numeric" and _tells_when(column)):
            note = f"{column.name} tells when: to predict later rows, the latest should be the test"
            yield Relation("ordered", column.name, note)
