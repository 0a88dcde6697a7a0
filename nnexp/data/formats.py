"""Which format a data file has, by its first bytes; and the files that belong to it."""

from __future__ import annotations

import codecs
import gzip
import os
import re
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any, Literal

from nnexp.errors import DataError, UsageError

Format = Literal["csv", "parquet", "npy", "npz", "idx"]

_BLOCK = 2**20
_SHEETS = {".xlsx", ".xlsm", ".xls", ".ods"}
_IDX = re.compile(rb"\0\0[\x08\x09\x0b-\x0e][\x01-\x08]", re.DOTALL)
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_DAMAGED = (EOFError, gzip.BadGzipFile, zlib.error)
_LABELS = (
    *(("x", "y"), ("features", "targets"), ("features", "labels"), ("inputs", "targets")),
    *(("images", "labels"), ("data", "target"), ("data", "labels"), ("idx3", "idx1")),
)
"""What a file of examples may have in its name where the file of their labels has the other."""


def format_of(path: Path) -> Format:
    """What the bytes are, whatever the name says; text of any form is `csv`."""
    if path.suffix.lower() in _SHEETS:
        raise DataError(f"{path}: is a spreadsheet; save the sheet as .csv")
    head = next(_blocks(path, 4), b"")
    if head == b"PAR1":
        return "parquet"
    if head == b"\x93NUM":
        return "npy"
    if head[:2] == b"PK":
        return "npz"
    return "idx" if _IDX.fullmatch(head) else "csv"


def encoding_of(path: Path) -> str | None:
    """How text is encoded if a csv source would not find that out itself, else None.

    Bytes that are no UTF-8 are Windows' Western European letters, or Latin-1 where those have none.
    DataError if the file holds no text.
    """
    utf8, cp1252 = (codecs.getincrementaldecoder(name)() for name in ("utf-8", "cp1252"))
    is_utf8 = is_cp1252 = is_first = True
    for block in _blocks(path, _BLOCK):
        if is_first and block[:2] in _UTF16:
            return None
        is_first = False
        if b"\0" in block:
            raise DataError(f"{path}: is not text, nor another kind of data that can be read")
        is_utf8 = is_utf8 and _decodes(utf8, block)
        is_cp1252 = is_cp1252 and _decodes(cp1252, block)
    if is_utf8 and _decodes(utf8, b"", final=True):
        return None
    return "cp1252" if is_cp1252 else "latin-1"


def _decodes(decoder: codecs.IncrementalDecoder, block: bytes, final: bool = False) -> bool:
    try:
        decoder.decode(block, final)
    except UnicodeDecodeError:
        return False
    return True


def _blocks(path: Path, size: int) -> Iterator[bytes]:
    """The file's content, unpacked if it is gzip."""
    with path.open("rb") as raw:
        packed = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        file: IO[bytes] | gzip.GzipFile = gzip.GzipFile(fileobj=raw) if packed else raw
        try:
            while block := file.read(size):
                yield block
        except _DAMAGED as error:
            raise DataError(f"{path}: the gzip file is damaged ({error})") from None


# -- arrays ----------------------------------------------------------------------------------------


def arrays_beside(path: Path, kind: Format, targets: Sequence[str]) -> tuple[dict[str, Any], str]:
    """What `data.source` should say for a file of arrays, and that in words.

    targets: the file of the targets, or the array in an archive, as the user gave it; otherwise
    the file beside it whose name tells.
    """
    if len(targets) > 1:
        raise UsageError(f"{path} holds arrays: give --target once")
    if kind == "npz":
        chosen = {"targets": targets[0]} if targets else {}
        return {"name": "npz", "path": path.name, **chosen}, "an archive of arrays"
    examples, labels = ("images", "labels") if kind == "idx" else ("features", "targets")
    found = _given(path, targets[0]) if targets else _labels(path)
    if found is None:
        raise UsageError(
            f"{path} holds examples only, and no file beside it looks like their {labels}: name "
            "that with --target"
        )
    source = {"name": kind, examples: path.name, labels: found}
    test, test_labels = _test(path, path.name), _test(path, found)
    if test and test_labels:
        source |= {f"test_{examples}": test, f"test_{labels}": test_labels}
    form = "MNIST's format" if kind == "idx" else "an array"
    return source, f"{form}, with {found}" + (f", {test} and {test_labels}" if test else "")


def _given(path: Path, name: str) -> str:
    """A file that the user names, relative to the folder of the examples or to here."""
    beside = (path.parent / name).exists() or not Path(name).exists()
    return name if beside else os.path.relpath(name, path.parent)


def _labels(path: Path) -> str | None:
    """The name of the file of labels beside a file of examples."""
    replaced = [path.name]
    for examples, labels in _LABELS:
        pattern = re.compile(rf"(?<![a-z]){examples}(?![a-z])", re.IGNORECASE)
        replaced += [pattern.sub(labels, name) for name in replaced]
    return _existing(path, [name for name in replaced if name != path.name])


def _test(path: Path, name: str) -> str | None:
    """The name of the test part's file that goes with one of the training part."""
    return _existing(
        path, [name.replace("train", word) for word in ("test", "t10k") if "train" in name]
    )


def _existing(path: Path, names: Sequence[str]) -> str | None:
    there = {other.name.casefold(): other.name for other in path.parent.iterdir()}
    return next((there[n.casefold()] for n in names if n.casefold() in there), None)
