"""Reading arrays of examples and labels from .npy, .npz and IDX files; never pickle."""

from __future__ import annotations

import gzip
import struct
import warnings
import zipfile
import zlib
from pathlib import Path
from tokenize import TokenError
from typing import IO, Any

import numpy as np

from nnexp.errors import DataError, count


def examples_of(path: Path, array: np.ndarray) -> np.ndarray:
    """`[n]` as `[n, 1]`, and `[n, H, W]` as `[n, 1, H, W]`."""
    if array.dtype.kind not in "biuf":
        raise DataError(f"{path}: holds {array.dtype}, not real numbers")
    if array.ndim not in (1, 2, 3, 4):
        raise DataError(f"{path}: has {array.ndim} dimensions; examples have 1 to 3 and rows one")
    if 0 in array.shape:
        raise DataError(f"{path}: is empty (shape {array.shape})")
    if array.ndim == 1:
        return array[:, None]
    return array[:, None] if array.ndim == 3 else array


def labels_of(path: Path, labels: np.ndarray) -> np.ndarray:
    """The labels in memory: `[n]` numbers or text, or `[n, k]` finite numbers."""
    if labels.ndim not in (1, 2) or (labels.dtype.kind == "U" and labels.ndim == 2):
        raise DataError(f"{path}: labels have shape {labels.shape}; [n] or numbers [n, k] expected")
    if labels.dtype.kind not in "biufU":
        raise DataError(f"{path}: holds {labels.dtype}, neither numbers nor text")
    labels = np.array(labels)
    if labels.dtype.kind == "f":
        absent = np.flatnonzero(~np.isfinite(labels).reshape(len(labels), -1).all(axis=1))
        if len(absent):
            where = f"{count(len(absent), 'row')} (first: row {absent[0]})"
            raise DataError(f"{path}: has no finite value in {where}")
    return labels


def read_npy(path: Path) -> np.ndarray:
    """A .npy file, memory-mapped; never pickle. DataError if it is damaged or something else."""
    with path.open("rb") as file:
        head = file.read(6)
    if head[:2] == b"PK":
        raise DataError(f"{path}: is an archive of several arrays (.npz), not .npy")
    if head != b"\x93NUMPY":
        raise DataError(f"{path}: is not a .npy file")
    try:
        with warnings.catch_warnings(), np.errstate(over="ignore"):  # a shape too large to be true
            warnings.simplefilter("error")  # of a garbled header, which numpy would repair
            array = np.lib.format.open_memmap(path, mode="r")
    except _DAMAGED as error:
        raise _damaged(path, error) from None
    if array.ndim == 0:
        raise DataError(f"{path}: holds a single value, not rows")
    return array


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a .npz archive by name, in memory; never pickle."""
    with path.open("rb") as file:
        if file.read(2) != b"PK":
            raise DataError(f"{path}: is not a .npz file")
    try:
        with warnings.catch_warnings(), np.errstate(over="ignore"):
            warnings.simplefilter("error")  # of a garbled header, which numpy would repair
            with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
                arrays = {name: archive[name] for name in archive.files}
    except _DAMAGED as error:
        raise _damaged(path, error) from None
    for name, array in arrays.items():
        if not isinstance(array, np.ndarray):
            raise DataError(f"{path}: {name} is not an array")
    if not arrays:
        raise DataError(f"{path}: holds no array")
    return {name: array for name, array in arrays.items() if array.ndim}


_DAMAGED = (
    *(ValueError, EOFError, OSError, SyntaxError, KeyError, TypeError, RuntimeError, MemoryError),
    *(OverflowError, NotImplementedError, UserWarning, DeprecationWarning, TokenError),
    *(RuntimeWarning, IndexError, struct.error, zipfile.BadZipFile, zlib.error, AttributeError),
)
"""What numpy and zipfile may raise of bytes that they did not write."""


def _damaged(path: Path, error: BaseException) -> DataError:
    if "Object arrays" in str(error) or "Python objects" in str(error):
        return DataError(
            f"{path}: holds Python objects, and reading those could run code; save numbers or text"
        )
    return DataError(f"{path}: is damaged or truncated")


_IDX_TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def read_idx(path: Path) -> np.ndarray:
    """An IDX file, or one packed with gzip; memory-mapped unless packed.

    Layout: two zero bytes, a type code, the number of dimensions, each dimension as a big-endian
    32-bit number, then the values, big-endian, the last dimension running fastest.
    """
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    try:
        with gzip.open(path, "rb") if packed else path.open("rb") as file:
            dtype, shape = _idx_header(path, file.read(4), file)
            size = int(np.prod(shape, dtype=object)) * dtype.itemsize
            if packed:
                content = _at_most(file, size + 1)
                found = len(content)
            else:
                found = path.stat().st_size - 4 - 4 * len(shape)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path}: the gzip file is damaged: {error}") from None
    if found != size:
        how = "truncated" if found < size else "longer than it says"
        raise DataError(f"{path}: is {how}: {' × '.join(map(str, shape))} values take {size} bytes")
    if packed:
        return np.frombuffer(content, dtype).reshape(shape)
    return np.memmap(path, dtype, mode="r", offset=4 + 4 * len(shape), shape=shape)


def _at_most(file: IO[bytes] | gzip.GzipFile, size: int) -> bytes:
    """Up to `size` bytes, without setting that much memory aside: a damaged header may say any."""
    pieces, left = [], size
    while left and (piece := file.read(min(left, 2**20))):
        pieces.append(piece)
        left -= len(piece)
    return b"".join(pieces)


def _idx_header(
    path: Path, magic: bytes, file: IO[bytes] | gzip.GzipFile
) -> tuple[np.dtype[Any], tuple[int, ...]]:
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in _IDX_TYPES or not 0 < magic[3] < 9:
        raise DataError(f"{path}: is not an IDX file (it begins with {magic.hex() or 'nothing'})")
    sizes = file.read(4 * magic[3])
    if len(sizes) < 4 * magic[3]:
        raise DataError(f"{path}: is truncated within its header")
    shape = tuple(int(size) for size in np.frombuffer(sizes, ">u4"))
    if 0 in shape:
        raise DataError(f"{path}: is empty (shape {shape})")
    return np.dtype(_IDX_TYPES[magic[2]]), shape
