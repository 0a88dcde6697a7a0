"""Checkpoints: one self-checking file each, the newest few kept.

A checkpoint is a safetensors file. Its state, JSON, is a tensor of bytes beside the others. The
first entry of its header is the SHA-256 of the whole file, taken with zeros in the digest's place;
so a single rename makes a checkpoint complete, and any byte that changes later is noticed.
The digest finds damage; it does not prove who wrote the file.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nnexp.errors import DamagedRun
from nnexp.runs.files import (
    Framework,
    decode,
    encode,
    explained,
    parse_json,
    read_bytes,
    remove,
    sha256,
    sync_folder,
    writing,
)

_STATE = "__state__"
_ZEROS = "0" * 64
_MARK = b'{"__metadata__":{"sha256":"'
_START = 8 + len(_MARK)
_END = _START + len(_ZEROS)


@dataclass(frozen=True)
class Loaded:
    """A checkpoint that was read.

    notes: what the user should be told: each damaged checkpoint that was passed over.
    """

    tensors: dict[str, Any]
    state: dict[str, Any]
    number: int
    notes: list[str]


class Checkpoints:
    """The checkpoints of one run or pack.

    directory: where they stand; it is made when the first is saved.
    keep: how many stay; two, so that there is another when the newest proves damaged.
    prefix: tells packs that share a directory apart ("pack0-").
    """

    def __init__(self, directory: Path, keep: int = 2, prefix: str = "") -> None:
        assert keep >= 1
        self.directory = directory
        self.keep = keep
        self.prefix = prefix
        self._damaged: set[int] = set()

    def save(self, tensors: Mapping[str, Any], state: Mapping[str, Any], number: int) -> None:
        """Writes checkpoint `number`; then keeps it and the `keep` − 1 sound ones before it.

        tensors: numpy arrays or torch tensors, by name.
        state: JSON; its floats, NaN and infinities too, come back exactly.
        Raises OutOfResources or RunError; the checkpoints that were there are then intact.
        """
        assert number >= 0
        assert _STATE not in tensors
        text = json.dumps(state, separators=(",", ":")).encode()
        parts = encode({**tensors, _STATE: np.frombuffer(text, np.uint8)}, {"sha256": _ZEROS})
        head = parts[0]
        assert head[8:_START] == _MARK
        parts[0] = head[:_START] + sha256(parts).encode() + head[_END:]
        if not self.directory.is_dir():
            with explained(self.directory):
                self.directory.mkdir(parents=True, exist_ok=True)
            sync_folder(self.directory.parent)
        with writing() as files:
            files.add_bytes(self.path(number), *parts)
        self._damaged.discard(number)
        self._prune(number)

    def load(self, framework: Framework = "numpy") -> Loaded | None:
        """The newest sound checkpoint; None when none was ever written.

        framework: what the tensors come as; only "torch" gives back bfloat16 as it was.
        Raises DamagedRun when there are some, but all are damaged.
        """
        notes: list[str] = []
        for number in sorted(self.numbers(), reverse=True):
            try:
                tensors, state = self._read(number, framework)
            except DamagedRun as error:
                self._damaged.add(number)
                notes.append(str(error))
                continue
            notes = [f"{note}; going on from {self.path(number).name}" for note in notes]
            return Loaded(tensors, state, number, notes)
        if notes:
            raise DamagedRun("no checkpoint can be used: " + "; ".join(reversed(notes)))
        return None

    def numbers(self) -> list[int]:
        """The numbers of all checkpoints that are there, ascending, sound or not."""
        pattern = re.compile(re.escape(self.prefix) + r"([0-9]{8,})\.safetensors")
        if not self.directory.is_dir():
            return []
        found = (pattern.fullmatch(path.name) for path in self.directory.iterdir())
        return sorted(int(match[1]) for match in found if match)

    def path(self, number: int) -> Path:
        """Where a checkpoint stands."""
        return self.directory / f"{self.prefix}{number:08d}.safetensors"

    def _prune(self, number: int) -> None:
        there = self.numbers()
        sound = [n for n in there if n <= number and n not in self._damaged]
        for other in set(there) - set(sound[-self.keep :]):
            remove(self.path(other))

    def _read(self, number: int, framework: Framework) -> tuple[dict[str, Any], dict[str, Any]]:
        path = self.path(number)
        data = read_bytes(self.directory, path.name)
        view = memoryview(data)
        if view[8:_START] != _MARK:
            raise DamagedRun(f"{path} is damaged: it does not begin as a checkpoint does")
        if view[_START:_END] != sha256([view[:_START], _ZEROS.encode(), view[_END:]]).encode():
            raise DamagedRun(f"{path} is damaged: its checksum does not fit its contents")
        tensors = decode(data, path, framework)
        state = tensors.pop(_STATE, None)
        if state is None or state.dtype.itemsize != 1:
            raise DamagedRun(f"{path} is damaged: it has no state")
        return tensors, parse_json(np.asarray(state).tobytes(), path)
