"""What a data source gives: features, a target, and a record of the files they came from."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np

from nnexp.components.tokens import Unit
from nnexp.errors import DataError, nearest
from nnexp.registry import Spec

CHUNK_BYTES = 8 * 2**20
"""Size as float64 of the pieces in which features are read, fitted and transformed."""
CHUNK_ROWS = 16_384
"""Most rows in such a piece, so that a narrow table may still become wide."""
SAMPLED_ABOVE = 64 * 2**20
"""Files larger than this are fingerprinted by blocks spread over them, not as a whole."""

TargetType = Literal["classification", "regression", "multilabel", "dense", "words"]


class Located(Spec):
    """A spec with file names, relative to the config that holds it."""

    paths: ClassVar[tuple[str, ...]] = ()
    """The fields that hold file names."""

    def conflicts(self) -> list[tuple[str, str]]:
        """(field, rule that is broken) for combinations that can't work, whatever the data."""
        return []

    def with_paths(self, root: Path) -> Self:
        """The same spec with absolute file names; `root`: what they are relative to."""
        base = Path(os.path.abspath(root))
        names = {name: getattr(self, name) for name in self.paths}
        found = {k: str(base / v) for k, v in names.items() if isinstance(v, str)}
        return self.model_copy(update=found)


class Stacked:
    """Arrays one after another along the rows; only the rows that are asked for are read."""

    def __init__(self, pieces: Sequence[np.ndarray]) -> None:
        self.pieces = tuple(pieces)
        self.ends = np.cumsum([len(piece) for piece in pieces])
        self.shape = (int(self.ends[-1]), *pieces[0].shape[1:])
        self.dtype = np.result_type(*pieces)

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def __len__(self) -> int:
        return int(self.ends[-1])

    def __getitem__(self, index: np.ndarray | slice) -> np.ndarray:
        rows = np.arange(len(self))[index]
        out = np.empty((len(rows), *self.shape[1:]), self.dtype)
        which = np.searchsorted(self.ends, rows, side="right")
        for number, piece in enumerate(self.pieces):
            here = which == number
            out[here] = piece[rows[here] - (self.ends[number] - len(piece))]
        return out


def stack(pieces: Sequence[np.ndarray]) -> np.ndarray | Stacked:
    """The pieces as one array: copied together when small, else read where they are."""
    if len(pieces) == 1:
        return pieces[0]
    if sum(piece.nbytes for piece in pieces) <= 32 * CHUNK_BYTES:
        return np.concatenate(pieces)
    return Stacked(pieces)


@dataclass(frozen=True)
class Features:
    """What a model may look at, one row an example.

    numeric: `[n, *shape]` float, integer or memory-mapped; NaN is a missing value; shape is (F,)
        for tables and (C, H, W) for images.
    names: the F column names of a table, () for images.
    categorical: `[n, c]` object array of str, None for a missing value; c may be 0.
    categorical_names: the c column names.
    """

    numeric: np.ndarray | Stacked
    names: tuple[str, ...]
    categorical: np.ndarray
    categorical_names: tuple[str, ...]

    def __post_init__(self) -> None:
        assert len(self.categorical) == len(self.numeric)
        assert self.categorical.shape[1:] == (len(self.categorical_names),)
        assert len(self.names) == (self.shape[0] if len(self.shape) == 1 else 0)

    @classmethod
    def of(cls, numeric: np.ndarray | Stacked, names: Sequence[str] = ()) -> Features:
        """Features without text; a table's columns are called x0, x1, … unless named."""
        if numeric.ndim == 2 and not names:
            names = [f"x{i}" for i in range(numeric.shape[1])]
        return cls(numeric, tuple(names), np.empty((len(numeric), 0), object), ())

    def __len__(self) -> int:
        return len(self.numeric)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one example's numeric part."""
        return tuple(self.numeric.shape[1:])

    @property
    def width(self) -> int:
        """How many numbers an example has."""
        return int(np.prod(self.shape))

    @property
    def is_image(self) -> bool:
        return len(self.shape) > 1

    @property
    def labels(self) -> tuple[str, ...]:
        """A name for each of the `width` numbers, for messages."""
        return self.names if not self.is_image else tuple(f"#{i}" for i in range(self.width))

    def flat(self) -> np.ndarray:
        """The numeric part as float64 `[n, width]`."""
        return np.asarray(self.numeric[:], np.float64).reshape(len(self), self.width)

    def rows(self, index: np.ndarray | slice) -> Features:
        """Some rows, read into memory if `index` is an array."""
        return replace(self, numeric=self.numeric[index], categorical=self.categorical[index])

    def with_numeric(self, numeric: np.ndarray, names: Sequence[str] | None = None) -> Features:
        """The same rows with another numeric part."""
        return replace(self, numeric=numeric, names=self.names if names is None else tuple(names))

    def chunks(self, index: np.ndarray) -> Iterator[np.ndarray]:
        """`index` in pieces whose rows fit in memory comfortably."""
        width = max(1, self.width + len(self.categorical_names))
        size = min(max(1, CHUNK_BYTES // (8 * width)), CHUNK_ROWS)
        for start in range(0, len(index), size):
            yield index[start : start + size]


@dataclass(frozen=True)
class FileInfo:
    """A file that data came from; `sha256` begins with "sampled:" if not all of it was hashed."""

    path: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Table:
    """A data set.

    target: class index int64 `[n]`, or real values float64 `[n, k]` (k = 0: no target was read);
        of a dense task a class index at every position, int64 `[n, *positions]`, −1 for none.
    classes: the class names in the order of their indices; None for real values.
    target_names: the k names; one for classes.
    ids: int64 or str `[n]`, what predictions.csv calls the examples; row numbers by default.
    parts: rows that the source itself assigns to "train", "dev" or "test".
    files, fingerprint: where it came from, and one digest of all their contents.
    notes: what a user should know about how it was read.
    multilabel: whether the real values are labels, each 0 or 1.
    aside: columns that were read but are neither features nor target: dropped ones and the id.
    word_counts: of running text how often it has each of `classes`, the words, int64 `[V]`; an
        example is then a block of word numbers, and the target of no use.
    inferred: fields of the source that its `resolved` fills with what was found.
    sequences: columns of text to be read token by token: the unit, and how many tokens at most.
    """

    features: Features
    target: np.ndarray
    classes: tuple[str, ...] | None
    target_names: tuple[str, ...]
    ids: np.ndarray
    parts: dict[str, np.ndarray] = field(default_factory=dict)
    files: tuple[FileInfo, ...] = ()
    notes: tuple[str, ...] = ()
    multilabel: bool = False
    aside: dict[str, np.ndarray] = field(default_factory=dict)
    word_counts: np.ndarray | None = None
    inferred: dict[str, Any] = field(default_factory=dict)
    sequences: dict[str, tuple[Unit, int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        assert len(self.features) == len(self.target) == len(self.ids)

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def task(self) -> TargetType:
        """What can be learnt."""
        if self.word_counts is not None:
            return "words"
        if self.classes is not None:
            return "classification" if self.target.ndim == 1 else "dense"
        return "multilabel" if self.multilabel else "regression"

    @property
    def codes(self) -> np.ndarray | None:
        """The class index of each example, `[n]`; None if an example is not of one class."""
        return self.target if self.task == "classification" else None

    def column(self, name: str) -> np.ndarray:
        """A column that was read, feature or not: `[n]` numbers (NaN: missing) or text (None)."""
        features = self.features
        if name in self.aside:
            return self.aside[name]
        if name in features.names:
            return np.asarray(features.numeric[:])[:, features.names.index(name)]
        if name in features.categorical_names:
            found: np.ndarray = features.categorical[:, features.categorical_names.index(name)]
            return found
        names = [*features.names, *features.categorical_names, *self.aside]
        shown = ", ".join(names[:20]) + (", …" if len(names) > 20 else "")
        close = nearest(name, names)
        hint = f"; did you mean {close}?" if close else ""
        raise DataError(f"there is no column {name}{hint} (there are: {shown or 'none'})")

    @property
    def fingerprint(self) -> str:
        return hashlib.sha256("\n".join(file.sha256 for file in self.files).encode()).hexdigest()


# -- files -----------------------------------------------------------------------------------------


def existing_file(root: Path, name: str) -> Path:
    """The file that a config names; DataError if there is none that can be read."""
    path = Path(root) / name
    try:
        if path.is_file():
            with path.open("rb") as file:
                file.read(1)
            return path
        if path.exists():
            raise DataError(f"{path}: is not a file")
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise DataError(f"{path}: can't be read ({reason})") from None
    siblings = os.listdir(path.parent) if path.parent.is_dir() else []
    close = nearest(path.name, siblings)
    raise DataError(f"{path}: no such file" + (f"; did you mean {close}?" if close else ""))


def file_info(path: Path) -> FileInfo:
    """Size and digest of a file.

    Up to 64 MB the whole content is hashed; of a larger file its size and 64 blocks of 1 MB: the
    first, the last, and others evenly between. A change elsewhere goes unnoticed.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        if size <= SAMPLED_ABOVE:
            return FileInfo(str(path), size, hashlib.file_digest(file, "sha256").hexdigest())
        block, count = 2**20, 64
        digest = hashlib.sha256(str(size).encode())
        for number in range(count):
            file.seek((size - block) * number // (count - 1))
            digest.update(file.read(block))
    return FileInfo(str(path), size, f"sampled:{digest.hexdigest()}")


# -- target ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Target:
    """A target as `Table` holds it, and how that was decided ("" when there was no doubt)."""

    values: np.ndarray
    classes: tuple[str, ...] | None
    note: str = ""
    multilabel: bool = False


def as_target(values: np.ndarray, name: str, kind: TargetType | None) -> Target:
    """Classes or real values, from text or numbers without missing values.

    Text and booleans are classes. Numbers `[n]` are classes when all are whole and there are two
    different ones, or at most 20 with five examples each on average. Several columns are labels
    when they hold 0 and 1 only, else real values. `kind` overrides that.
    values: object or str `[n]`, numbers `[n]`, or numbers `[n, k]`.
    """
    if kind == "multilabel" or (values.ndim == 2 and values.shape[1] > 1):
        return _several(values, name, kind)
    values = values.reshape(-1)
    if values.dtype.kind in "OUS":
        if kind == "regression":
            raise DataError(
                f"target {name}: holds text, such as {str(values[0])!r}, not numbers to predict"
            )
        return Target(*_encode(values))
    if values.dtype.kind == "b":
        values, kind = values.astype(np.int64), kind or "classification"
    distinct, codes = np.unique(values, return_inverse=True)
    few = len(distinct) == 2 or len(distinct) <= min(20, len(values) / 5)
    taken = kind or ("classification" if few and _whole(distinct) else "regression")
    note = ""
    if kind is None and len(distinct) <= 1000 and _whole(distinct):
        how = ("classes", "numbers") if taken == "classification" else ("numbers", "classes")
        other = "regression" if taken == "classification" else "classification"
        note = (
            f"target {name}: its {len(distinct)} different whole numbers are taken as {how[0]}; "
            f"`target_type: {other}` takes them as {how[1]}"
        )
    if taken == "regression":
        return Target(values.astype(np.float64)[:, None], None, note)
    classes = tuple(str(int(v)) if float(v).is_integer() else f"{v:.12g}" for v in distinct)
    return Target(codes.reshape(-1).astype(np.int64), classes, note)


def _several(values: np.ndarray, name: str, kind: TargetType | None) -> Target:
    """Labels or real values from the columns of a target."""
    if kind == "classification":
        raise DataError(f"target {name}: several columns can't be one class; name one of them")
    if values.dtype.kind in "OUS":
        raise DataError(f"target {name}: labels are columns of 0 and 1, not text")
    numbers = values.reshape(len(values), -1).astype(np.float64)
    wrong = np.flatnonzero(((numbers != 0) & (numbers != 1)).any(axis=1))
    if kind == "multilabel" and len(wrong):
        row = numbers[wrong[0]]
        found = row[(row != 0) & (row != 1)][0]
        raise DataError(f"target {name}: labels are 0 or 1, row {wrong[0]} has {found:g}")
    if kind == "regression" or len(wrong):
        return Target(numbers, None)
    note = (
        ""
        if kind
        else (
            f"target {name}: its columns of 0 and 1 are taken as labels; `target_type: regression` "
            "takes them as numbers"
        )
    )
    return Target(numbers, None, note, multilabel=True)


def _encode(values: np.ndarray) -> tuple[np.ndarray, tuple[str, ...]]:
    texts = [str(value) for value in values]
    classes = tuple(sorted(set(texts)))
    index = {text: i for i, text in enumerate(classes)}
    return np.array([index[text] for text in texts], dtype=np.int64), classes


def _whole(values: np.ndarray) -> bool:
    return bool(np.all(np.isfinite(values)) and np.all(values == np.floor(values)))
