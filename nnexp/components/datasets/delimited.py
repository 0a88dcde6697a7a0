"""Reading delimited text into columns of numbers or text, a block of lines at a time.

pandas is not used: importing it takes longer than reading most files, it pads short rows in
silence, and its messages are not ours.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import re
import zlib
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import BinaryIO, Literal, TextIO, cast

import numpy as np

from nnexp.errors import DataError, nearest

ColumnType = Literal["numeric", "categorical", "date"]

_BLOCK = 10_000
_SAMPLE = 100
_SEPARATORS = ("\t", ";", "|", ",")


@dataclass(frozen=True)
class Form:
    """How a file is written. None: to be inferred. A separator of " " is any white space."""

    separator: str | None = None
    header: bool | None = None
    decimal: str | None = None
    encoding: str | None = None
    missing: Collection[str] = ()


@dataclass(frozen=True)
class Columns:
    """A file's columns: float64 (NaN: missing) or object arrays of str (None: missing).

    lines: the line in the file of each row, for messages.
    form: how the file is written, with nothing left open.
    place: what `lines` counts.
    """

    names: tuple[str, ...]
    values: tuple[np.ndarray, ...]
    lines: np.ndarray
    form: Form
    notes: tuple[str, ...]
    place: str = "line"


def read_columns(
    path: Path, form: Form, types: Mapping[int | str, ColumnType], strict: bool = True
) -> Columns:
    """Read a file whose rows have one length; `types` (by name or number) overrides inference.

    A column is text as soon as one of its values is neither a number nor a missing marker.
    strict: DataError for `types` of columns that the file does not have; else they are ignored.
    DataError with the line where the file can't be read so.
    """
    form, names = read_names(path, form)
    wanted = {
        position(path, key, names, "types"): kind
        for key, kind in types.items()
        if strict or key in names
    }
    text = {i for i, kind in wanted.items() if kind != "numeric"}
    examples: dict[int, str] = {}
    while True:
        with _opened(path, form.encoding) as file:
            reading = _Reading(path, form, names, form.header is True, frozenset(text))
            reading.run(file)
        examples |= reading.examples
        for i in sorted(examples):
            if wanted.get(i) == "numeric":
                raise DataError(f"{path}: column {names[i]} is not numeric: {examples[i]}")
        if not reading.mixed:
            return reading.columns(examples)
        text |= reading.mixed  # their first blocks were read as numbers: again, as text


def read_names(path: Path, form: Form) -> tuple[Form, tuple[str, ...]]:
    """The form of a file, with nothing left open, and the names of its columns. DataError."""
    form = replace(form, encoding=form.encoding or _encoding(path))
    with _opened(path, form.encoding) as file:
        form, first = _inferred(path, file, form)
    names, named = _header(path, first, form)
    return replace(form, header=named), names


class _Reading:
    """One pass over a file, with the columns in `text` kept as text."""

    def __init__(
        self, path: Path, form: Form, names: tuple[str, ...], named: bool, text: frozenset[int]
    ) -> None:
        self.path, self.form, self.names, self.named, self.text = path, form, names, named, text
        self.blocks: list[list[np.ndarray]] = [[] for _ in names]
        self.lines: list[np.ndarray] = []
        self.examples: dict[int, str] = {}  # what made a column text
        self.mixed: set[int] = set()  # text, but its first blocks were read as numbers
        self.shared: dict[str, str] = {}
        self.missing = frozenset(form.missing)
        self.plain = not any(_is_number(marker, form.decimal) for marker in self.missing)

    def run(self, file: TextIO) -> None:
        rows = _rows(self.path, file, self.form)
        if self.named:
            next(rows)
        while block := list(islice(rows, _BLOCK)):
            for line, row in block:
                if len(row) != len(self.names):
                    raise DataError(
                        f"{self.path}:{line}: has {len(row)} fields where the first row has "
                        f"{len(self.names)}"
                    )
            self.lines.append(np.array([line for line, _ in block], np.int64))
            for i, cells in enumerate(zip(*(row for _, row in block), strict=True)):
                self.blocks[i].append(self.convert(i, cells))
        if not self.lines:
            raise DataError(f"{self.path}: has a header but no rows")

    def convert(self, i: int, cells: Sequence[str]) -> np.ndarray:
        joined = "".join(cells)
        if "\0" in joined:
            line = next(n for n, cell in zip(self.lines[-1], cells, strict=True) if "\0" in cell)
            raise _nul(self.path, line)
        # Python reads 1_000 as a number
        if i not in self.text and i not in self.examples and "_" not in joined:
            numbers = self.numbers(cells)
            if numbers is not None:
                return numbers
            self.examples[i] = self.example(cells)
            if self.blocks[i]:
                self.mixed.add(i)
        share, missing = self.shared.setdefault, self.missing
        texts = (cell.strip() for cell in cells)
        return np.array([None if t in missing else share(t, t) for t in texts], dtype=object)

    def numbers(self, cells: Sequence[str]) -> np.ndarray | None:
        """The cells as float64, or None if one of them is neither a number nor missing."""
        if self.form.decimal == ",":
            cells = [cell.replace(",", ".") for cell in cells]
        if self.plain:
            try:
                return np.array(cells, dtype=np.float64)
            except ValueError:
                pass
        texts = [cell.strip() for cell in cells]
        known = (
            self.missing
            if self.form.decimal != ","
            else {marker.replace(",", ".") for marker in self.missing}
        )
        try:
            return np.array(["nan" if t in known else t for t in texts], dtype=np.float64)
        except ValueError:
            return None

    def example(self, cells: Sequence[str]) -> str:
        for line, cell in zip(self.lines[-1], cells, strict=True):
            if cell.strip() not in self.missing and not _is_number(cell, self.form.decimal):
                return f"{cell.strip()!r} in line {line}"
        raise AssertionError("a column that isn't numeric has such a cell")

    def columns(self, examples: Mapping[int, str]) -> Columns:
        values = [np.concatenate(blocks) for blocks in self.blocks]
        names, notes = list(self.names), []
        last = values[-1]
        if names[-1] == str(len(names) - 1) and last.dtype.kind == "f" and np.isnan(last).all():
            names, values = names[:-1], values[:-1]  # the rows end in a separator
        for i, example in sorted(examples.items()):
            counts = Counter(values[i].tolist())
            del counts[None]
            words = sum(n for v, n in counts.items() if not _is_number(v, self.form.decimal))
            if words <= 0.1 * counts.total():
                are = "1 value is not a number" if words == 1 else f"{words} values are not numbers"
                notes.append(
                    f"column {names[i]} is text because {are} (first: {example}); what means "
                    "nothing should be added to `missing`"
                )
        lines = np.concatenate(self.lines)
        return Columns(tuple(names), tuple(values), lines, self.form, tuple(notes))


# -- form ------------------------------------------------------------------------------------------


def _inferred(path: Path, file: TextIO, form: Form) -> tuple[Form, list[list[str]]]:
    """The form with nothing left open, and the first rows."""
    with _readable(path, form.encoding):
        sample = [line for line in islice(file, _SAMPLE) if line.strip()]
    if not sample:
        raise DataError(f"{path}: is empty")
    separator = form.separator or _separator(sample)
    with _opened(path, form.encoding) as again:
        form = replace(form, separator=separator)
        rows = [row for _, row in islice(_rows(path, again, form), _SAMPLE)]
    if not rows:
        raise DataError(f"{path}: has no field that isn't blank")
    return replace(form, decimal=form.decimal or _decimal(rows, separator)), rows


def _separator(sample: list[str]) -> str:
    """The first separator by which nearly all lines have the same number of fields, two or more."""
    for separator in (*_SEPARATORS, " "):
        widths = _widths(sample, separator)
        width, count = widths.most_common(1)[0] if widths else (0, 0)
        if width > 1 and count >= 0.8 * widths.total():
            return separator
    return ","


def _widths(sample: list[str], separator: str) -> Counter[int]:
    """How many lines have how many fields; none if they can't be read with this separator."""
    if separator == " ":
        return Counter(len(line.split()) for line in sample)
    try:
        return Counter(len(row) for row in csv.reader(sample, delimiter=separator) if row)
    except csv.Error:
        return Counter()


def _decimal(rows: list[list[str]], separator: str) -> str:
    cells = [cell.strip() for row in rows for cell in row]
    commas = any(re.fullmatch(r"[-+]?\d+,\d+", cell) for cell in cells)
    points = any(re.fullmatch(r"[-+]?\d+\.\d+", cell) for cell in cells)
    return "," if commas and not points and separator != "," else "."


def _header(path: Path, rows: list[list[str]], form: Form) -> tuple[tuple[str, ...], bool]:
    """The column names, and whether the file gives them (no cell of its first row is a number)."""
    first = [cell.strip() for cell in rows[0]]
    named = form.header
    if named is None:
        named = not any(_is_number(c, form.decimal) for c in first if c not in form.missing)
    numbers = tuple(str(i) for i in range(len(first)))
    if any("\0" in name for name in first):
        raise _nul(path, 1)
    if not named:
        return numbers, False
    names = tuple(name or number for name, number in zip(first, numbers, strict=True))
    repeated = [name for name, count in Counter(names).items() if count > 1]
    if repeated:
        hint = "" if form.header else "; if there are no names, set `header: false`"
        shown = ", ".join(repeated[:10]) + (", …" if len(repeated) > 10 else "")
        raise DataError(f"{path}:1: column names are repeated: {shown}{hint}")
    return names, True


def _nul(path: Path, line: int) -> DataError:
    return DataError(
        f"{path}:{line}: holds a NUL character: is it damaged, or written in another `encoding`, "
        "such as utf-16?"
    )


def position(path: Path, key: int | str, names: Sequence[str], what: str) -> int:
    """Where a column is, given by name or by number (negative: from the end)."""
    if isinstance(key, int):
        if -len(names) <= key < len(names):
            return key % len(names)
        raise DataError(f"{path}: {what}: there is no column {key}; there are {len(names)}")
    if key in names:
        return names.index(key)
    close = nearest(key, names)
    shown = ", ".join(names[:20]) + (", …" if len(names) > 20 else "")
    hint = f"; did you mean {close}?" if close else ""
    raise DataError(f"{path}: {what}: there is no column {key}{hint} (there are: {shown})")


def _is_number(text: str, decimal: str | None) -> bool:
    try:
        float(text.replace(",", ".") if decimal == "," else text)
    except ValueError:
        return False
    return "_" not in text


# -- lines -----------------------------------------------------------------------------------------


def _encoding(path: Path) -> str:
    """utf-16 if the file begins with its mark, else utf-8."""
    with _readable(path, "utf-8"), path.open("rb") as raw:
        packed = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        mark = gzip.GzipFile(fileobj=raw).read(2) if packed else raw.read(2)
    return "utf-16" if mark in (b"\xff\xfe", b"\xfe\xff") else "utf-8"


def read_text(path: Path, encoding: str | None) -> tuple[str, str]:
    """A whole file of text, gzip too, with lines that end in "\\n"; and its encoding.

    encoding: None: utf-16 if the file begins with its mark, else utf-8. DataError if it isn't that.
    """
    encoding = encoding or _encoding(path)
    with _readable(path, encoding), _opened(path, encoding) as file:
        text = file.read()
    if "\0" in text:
        raise _nul(path, text[: text.index("\0")].count("\n") + 1)
    return text.replace("\r\n", "\n").replace("\r", "\n"), encoding


@contextmanager
def _opened(path: Path, encoding: str | None) -> Iterator[TextIO]:
    """The file as text; gzip is recognized by its first two bytes."""
    with path.open("rb") as raw:
        packed = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        binary = cast(BinaryIO, gzip.GzipFile(fileobj=raw)) if packed else raw
        assert encoding is not None
        name = "utf-8-sig" if encoding.lower().replace("_", "-") in ("utf-8", "utf8") else encoding
        with io.TextIOWrapper(binary, encoding=name, newline="") as file:
            yield file


@contextmanager
def _readable(path: Path, encoding: str | None) -> Iterator[None]:
    """Turns what reading text may raise into DataError."""
    try:
        yield
    except UnicodeError as error:
        where, why = _undecodable(path, encoding) or (path, str(error))
        raise DataError(
            f"{where}: is not {encoding} text ({why}); set `encoding`, such as cp1252 or latin-1"
        ) from None
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path}: the gzip file is damaged ({error})") from None


def _undecodable(path: Path, encoding: str | None) -> tuple[str, str] | None:
    """`file:line` of the first byte that is no utf-8, and what it is; None in other encodings."""
    if encoding is None or codecs.lookup(encoding).name not in ("utf-8", "utf-8-sig", "ascii"):
        return None
    with path.open("rb") as raw:
        packed = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        lines = cast(BinaryIO, gzip.GzipFile(fileobj=raw)) if packed else raw
        for number, line in enumerate(lines, start=1):
            try:
                line.decode(encoding)
            except UnicodeDecodeError as error:
                return f"{path}:{number}", f"byte {line[error.start]:#04x}"
    return None


def _rows(path: Path, file: TextIO, form: Form) -> Iterator[tuple[int, list[str]]]:
    """(line number, fields) of every line that isn't blank."""
    with _readable(path, form.encoding):
        if form.separator == " ":
            for number, line in enumerate(file, start=1):
                if fields := line.split():
                    yield number, fields
            return
        reader = csv.reader(file, delimiter=cast(str, form.separator))
        try:
            for row in reader:
                if len(row) > 1 or (row and row[0].strip()):
                    yield reader.line_num, row
        except csv.Error as error:
            raise DataError(f"{path}:{reader.line_num}: {error}") from None
