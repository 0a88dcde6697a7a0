"""Files of a run, written whole or not at all, and read without trusting them.

Writing: `with writing() as files:` collects any number of files under temporary names. At the end
of the block all are synced, then renamed, then their folders are synced, so a process that is
killed, or a machine that loses power, leaves under each name either the old file or the new one.

Reading: JSON, YAML without tags, and safetensors, of bounded size, in ordinary files that stand
inside the run. Nothing here unpickles or builds an object from a name found in a file.

Tensors are in the safetensors format (https://github.com/huggingface/safetensors): the length of
the header, the header in JSON, the raw bytes. It is written here, so that equal tensors give equal
files, and read by the library, which checks every length and offset of a header.
"""

from __future__ import annotations

import errno
import hashlib
import io
import json
import math
import os
import secrets
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal

import numpy as np

from nnexp.errors import DamagedRun, OutOfResources, RunError, UntrustedRun
from nnexp.lazy import torch

LEFTOVER = ".tmp-"
"""How the temporary names begin; a process that was killed may leave such files."""
TEXT_LIMIT = 64 << 20
"""Bytes; a longer JSON file is refused."""
YAML_LIMIT = 4 << 20
"""Bytes; a longer YAML file is refused."""

Framework = Literal["numpy", "torch"]

_YAML_DEPTH = 100
_JOIN_BELOW = 64 << 20
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_PICKLES = tuple(bytes([0x80, protocol]) for protocol in range(2, 6))
_ARCHIVE = b"PK\x03\x04"
_CODES = {
    "float64": "F64",
    "float32": "F32",
    "float16": "F16",
    "bfloat16": "BF16",
    "int64": "I64",
    "int32": "I32",
    "int16": "I16",
    "int8": "I8",
    "uint64": "U64",
    "uint32": "U32",
    "uint16": "U16",
    "uint8": "U8",
    "bool": "BOOL",
}
_NAMES = {code: name for name, code in _CODES.items()}


# -- the system calls that writing consists of -----------------------------------------------------


def _create(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)


def _write(descriptor: int, data: memoryview) -> int:
    return os.write(descriptor, data)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _rename(source: Path, target: Path) -> None:
    os.replace(source, target)


def _remove(path: Path) -> None:
    os.unlink(path)


# -- writing ---------------------------------------------------------------------------------------


class Writer:
    """The files of one `writing()` block; a path is where the file will stand in the end."""

    def __init__(self) -> None:
        self._pending: list[tuple[Path, Path]] = []

    def add_bytes(self, path: Path, *parts: Any) -> None:
        """A file of the parts (bytes, or contiguous arrays of bytes) one after another."""
        temporary = path.with_name(f"{LEFTOVER}{os.getpid()}-{secrets.token_hex(4)}-{path.name}")
        self._pending.append((temporary, path))
        with explained(path):
            _store(_create(temporary), parts)

    def add_text(self, path: Path, text: str) -> None:
        self.add_bytes(path, text.encode())

    def add_json(self, path: Path, data: Any) -> None:
        """Strict JSON: NaN and infinities become null."""
        self.add_text(path, json.dumps(_strict(data), indent=2, ensure_ascii=False) + "\n")

    def add_tensors(
        self, path: Path, tensors: Mapping[str, Any], metadata: Mapping[str, str] | None = None
    ) -> None:
        """A safetensors file of numpy arrays or torch tensors."""
        self.add_bytes(path, *encode(tensors, metadata or {}))

    def commit(self) -> None:
        """Makes the files appear under their names, in the order they were added."""
        for temporary, path in self._pending:
            with explained(path):
                _sync(temporary)
        for temporary, path in self._pending:
            with explained(path):
                _rename(temporary, path)
        for folder in dict.fromkeys(path.parent for _, path in self._pending):
            sync_folder(folder)

    def discard(self) -> None:
        """Removes what has not appeared under its name yet."""
        for temporary, _ in self._pending:
            with suppress(OSError):
                _remove(temporary)


@contextmanager
def writing() -> Iterator[Writer]:
    """Files that appear together at the end of the block; none of them if the block raises.

    Raises OutOfResources when the disk is full, RunError when writing fails otherwise.
    """
    writer = Writer()
    try:
        yield writer
        writer.commit()
    except BaseException:
        writer.discard()
        raise


def write_bytes(path: Path, data: bytes) -> None:
    with writing() as files:
        files.add_bytes(path, data)


def write_text(path: Path, text: str) -> None:
    with writing() as files:
        files.add_text(path, text)


def write_json(path: Path, data: Any) -> None:
    """See `Writer.add_json`."""
    with writing() as files:
        files.add_json(path, data)


def write_tensors(
    path: Path, tensors: Mapping[str, Any], metadata: Mapping[str, str] | None = None
) -> None:
    """See `Writer.add_tensors`."""
    with writing() as files:
        files.add_tensors(path, tensors, metadata)


def append_text(path: Path, text: str) -> None:
    """See `append_bytes`."""
    append_bytes(path, text.encode())


def append_bytes(path: Path, data: bytes) -> None:
    """Adds to a log, which is neither synced nor whole while it grows."""
    with explained(path):
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        _store(os.open(path, flags, 0o666), [data])


def sync_folder(folder: Path) -> None:
    """Makes the names that were put into a folder outlast a loss of power."""
    with explained(folder):
        _sync(folder)


def remove(path: Path) -> None:
    """Removes a file; one that is gone already is no error."""
    with explained(path), suppress(FileNotFoundError):
        _remove(path)


def remove_leftovers(folder: Path) -> None:
    """Removes temporary files below a folder that no process writes to any more."""
    for path in folder.rglob(f"{LEFTOVER}*"):
        if path.is_file():
            remove(path)


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turns an OSError while writing `path` into OutOfResources or RunError."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise OutOfResources(
                f"{path} can't be written: the disk is full. Free some space; what was there "
                "before is intact"
            ) from error
        raise RunError(f"{path} can't be written: {error.strerror or error}") from error


def _store(descriptor: int, parts: Sequence[Any]) -> None:
    views = [memoryview(part) for part in parts]
    if sum(map(len, views)) < _JOIN_BELOW:  # many small tensors: one call
        views = [memoryview(b"".join(views))]
    try:
        for view in views:
            while len(view):
                view = view[_write(descriptor, view) :]
    finally:
        os.close(descriptor)


def _strict(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _strict(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_strict(item) for item in value]
    return value


# -- tensors ---------------------------------------------------------------------------------------


def encode(tensors: Mapping[str, Any], metadata: Mapping[str, str]) -> list[Any]:
    """The parts of a safetensors file: header, then the bytes of each tensor.

    The metadata come first in the header and keep their order; wider types come first in the body,
    as the format advises, so that every tensor is aligned. Equal input gives equal bytes.
    """
    assert "__metadata__" not in tensors
    raw = {name: _raw(name, tensor) for name, tensor in tensors.items()}
    header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    offset, body = 0, []
    for name in sorted(raw, key=lambda name: (-raw[name][1], name)):
        code, _, shape, data = raw[name]
        end = offset + data.nbytes
        header[name] = {"dtype": code, "shape": shape, "data_offsets": [offset, end]}
        offset = end
        body.append(data)
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return [len(text).to_bytes(8, "little") + text, *body]


def decode(data: bytes, what: Path, framework: Framework = "numpy") -> dict[str, Any]:
    """The tensors of a safetensors file, by name, writable and on the CPU.

    numpy has no bfloat16: there such tensors come as float32, which holds their values exactly.
    Raises DamagedRun; UntrustedRun when it is a pickle, or an archive that may hold one.
    """
    import safetensors

    deserialize: Any = safetensors.deserialize
    try:
        views = deserialize(data)
    except safetensors.SafetensorError as error:
        refuse_pickle(data, what)
        reason = str(error).removeprefix("Error while deserializing: ")
        raise DamagedRun(f"{what} is damaged: {reason}") from None
    tensors = {}
    for name, view in sorted(views):
        if view["dtype"] not in _NAMES:
            raise DamagedRun(f"{what}: tensor '{name}' has a type nnexp never writes")
        build = _to_torch if framework == "torch" else _to_numpy
        tensors[name] = build(view["data"], _NAMES[view["dtype"]], view["shape"])
    return tensors


def refuse_pickle(data: bytes, what: Path) -> None:
    """Raises UntrustedRun if the data begin as a pickle does, or an archive that may hold one."""
    if data.startswith((*_PICKLES, _ARCHIVE)):
        raise UntrustedRun(
            f"{what} is a pickle or an archive, which could run code, and no file of a run is one; "
            "it was not opened"
        ) from None


def begins_as_pickle(path: str) -> bool:
    """Whether an ordinary file begins with the mark of a pickle; False if it can't be read.

    A tensor file may begin so, too, by the length of its header.
    """
    with suppress(OSError), open(path, "rb") as file:
        return file.read(2) in _PICKLES
    return False


def _raw(name: str, tensor: Any) -> tuple[str, int, list[int], np.ndarray]:
    """(safetensors' name of the type, bytes an element, shape, the bytes) of one tensor."""
    if isinstance(tensor, np.ndarray | np.generic):
        array = np.asarray(tensor)
        kind = array.dtype.name
        little = np.ascontiguousarray(array.reshape(-1), array.dtype.newbyteorder("<"))
        data = little.view(np.uint8) if kind in _CODES else little
    else:
        array = tensor.detach().cpu().contiguous()
        kind = str(tensor.dtype).removeprefix("torch.")
        data = array.reshape(-1).view(torch.uint8).numpy() if kind in _CODES else array
    if kind not in _CODES:
        raise TypeError(f"tensor '{name}' is {kind}; a file can hold {', '.join(_CODES)}")
    return _CODES[kind], int(array.itemsize), [int(size) for size in array.shape], data


def _to_numpy(data: bytearray, kind: str, shape: list[int]) -> np.ndarray:
    if kind == "bfloat16":
        wide = np.frombuffer(data, "<u2").astype("<u4") << 16
        return wide.view(np.float32).reshape(shape)
    return np.frombuffer(data, np.dtype(kind).newbyteorder("<")).reshape(shape)


def _to_torch(data: bytearray, kind: str, shape: list[int]) -> Any:
    dtype = getattr(torch, kind)
    if not data:  # frombuffer takes no empty buffer
        return torch.empty(shape, dtype=dtype)
    return torch.frombuffer(data, dtype=dtype).reshape(shape)


# -- reading ---------------------------------------------------------------------------------------


def inside(root: Path, name: str) -> Path:
    """Where the file `name` of the run at `root` really stands; UntrustedRun if that is elsewhere.

    name: a path relative to `root`, with forward slashes.
    """
    if "\0" in name or os.path.isabs(name) or ".." in name.split("/"):
        raise UntrustedRun(f"{root} names a file outside itself: {name!r}; it was not opened")
    top = os.path.realpath(root)
    path = os.path.realpath(os.path.join(top, name))
    if os.path.commonpath([top, path]) != top:
        raise UntrustedRun(f"{root / name} is a link that leads out of the run; it was not opened")
    return Path(path)


def read_bytes(root: Path, name: str, limit: int | None = None) -> bytes:
    """A file of a run. Raises UntrustedRun (see `inside`), DamagedRun, RunError."""
    with _opened(root, name) as file:
        size = os.fstat(file.fileno()).st_size
        if limit is not None and size > limit:
            raise DamagedRun(
                f"{root / name} has {size:,} bytes; nnexp writes at most {limit:,} there"
            )
        return file.read()


def file_sha256(root: Path, name: str) -> str:
    """The hexadecimal SHA-256 of a file of a run. Raises as `read_bytes` does."""
    with _opened(root, name) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def _opened(root: Path, name: str) -> Iterator[io.BufferedReader]:
    where, flags = root / name, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        descriptor = os.open(inside(root, name), flags)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise UntrustedRun(f"{where} is not an ordinary file; it was not read")
        with os.fdopen(descriptor, "rb") as file:
            yield file
    except FileNotFoundError:
        raise DamagedRun(f"{where} is missing") from None
    except OSError as error:
        raise RunError(f"{where} can't be read: {error.strerror or error}") from error


def parse_json(data: bytes, what: Path) -> dict[str, Any]:
    """A JSON object. Raises DamagedRun."""
    try:
        value = json.loads(data)
    except RecursionError:
        raise DamagedRun(f"{what} is nested too deeply") from None
    except ValueError as error:
        raise DamagedRun(f"{what} is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise DamagedRun(f"{what} should hold a JSON object, but holds a {type(value).__name__}")
    return value


def parse_yaml(data: bytes, what: Path) -> Any:
    """YAML as nnexp writes it: without tags and aliases. Raises UntrustedRun, DamagedRun.

    A tag may ask for any Python object; an alias can make a small file expand without end.
    """
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    depth = 0
    try:
        text = data.decode()
        for event in yaml.parse(text, Loader=loader):
            tag = getattr(event, "tag", None)
            if tag is not None:
                raise UntrustedRun(f"{what} has the tag {tag!r}, which a run never has")
            if isinstance(event, yaml.AliasEvent):
                raise UntrustedRun(f"{what} has the alias '*{event.anchor}'; a run never has one")
            opens = isinstance(event, yaml.MappingStartEvent | yaml.SequenceStartEvent)
            depth += opens - isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent)
            if depth > _YAML_DEPTH:  # the loader would overflow the stack
                raise UntrustedRun(f"{what} is nested deeper than {_YAML_DEPTH} levels")
        return yaml.load(text, Loader=loader)
    except (yaml.YAMLError, ValueError) as error:
        raise DamagedRun(f"{what} is not YAML: {' '.join(str(error).split())}") from None


def sha256(parts: Iterable[Any]) -> str:
    """The hexadecimal SHA-256 of the parts one after another."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()
