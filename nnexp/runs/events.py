"""TensorBoard's event files: what metrics.csv holds, for those who watch it there.

They are written without TensorBoard, which brings a hundred megabytes and is needed for looking
only. Format: `event.proto`, `summary.proto` and `tensor.proto` of
https://github.com/tensorflow/tensorboard, in protocol buffers' wire format; each message in a
record of its length, a checksum of that, the message, and a checksum of it (TFRecord).
"""

from __future__ import annotations

import math
import struct
import time
from collections.abc import Sequence
from functools import cache

from nnexp.config.experiment import Experiment
from nnexp.config.source import dump
from nnexp.runs.files import append_bytes, write_bytes
from nnexp.runs.rundir import RunDir
from nnexp.train.state import Row, TrainState

_TEXT = 7
"""The type of a tensor of text."""


class Boards:
    """The event file of each member of a pack, which grows while training goes on.

    What is there already is written anew from the history, so that after an interruption no epoch
    stands in it twice.
    """

    def __init__(self, homes: Sequence[RunDir], now: TrainState) -> None:
        self.homes, self.last = homes, time.monotonic()
        self.written = [len(member.history) for member in now.members]
        for home, member in zip(homes, now.members, strict=True):
            write_bytes(home.events, records([_version(), *map(scalars, member.history)]))

    def flush(self, now: TrainState) -> None:
        """Append what is new, at most once a second."""
        if time.monotonic() - self.last >= 1.0:
            self._append(now)

    def close(self, now: TrainState, members: Sequence[Experiment]) -> None:
        """Append what is left, and the members' hyper-parameters as text."""
        self._append(now)
        for home, member, experiment in zip(self.homes, now.members, members, strict=True):
            config = "".join(f"    {line}\n" for line in dump(experiment.dump()).splitlines())
            step = len(member.history)
            append_bytes(home.events, records([text("config", config, step)]))

    def _append(self, now: TrainState) -> None:
        self.last = time.monotonic()
        for number, (home, member) in enumerate(zip(self.homes, now.members, strict=True)):
            if rows := member.history[self.written[number] :]:
                append_bytes(home.events, records(list(map(scalars, rows))))
                self.written[number] = len(member.history)


# -- events ----------------------------------------------------------------------------------------


def scalars(row: Row) -> bytes:
    """The event of an epoch: every column of metrics.csv but `epoch`, which is the event's step."""
    values = [
        _message(1, _message(1, name.encode()) + _key(2, 5) + struct.pack("<f", _float32(value)))
        for name, value in row.items()
        if name != "epoch"
    ]
    return _event(_message(5, b"".join(values)), int(row["epoch"]))


def text(tag: str, content: str, step: int) -> bytes:
    """An event of text in Markdown."""
    tensor = _key(1, 0) + _varint(_TEXT) + _message(2, b"") + _message(8, content.encode())
    metadata = _message(1, _message(1, b"text"))
    value = _message(1, tag.encode()) + _message(8, tensor) + _message(9, metadata)
    return _event(_message(5, _message(1, value)), step)


def _version() -> bytes:
    """The event that a file begins with."""
    return _event(_message(3, b"brain.Event:2"), 0)


def _event(what: bytes, step: int) -> bytes:
    return _key(1, 1) + struct.pack("<d", time.time()) + _key(2, 0) + _varint(step) + what


def _float32(value: float) -> float:
    """The value as a single float holds it: what is too large is infinite there."""
    return math.copysign(math.inf, value) if abs(value) > 3.4028235e38 else value


# -- protocol buffers ------------------------------------------------------------------------------


def _key(field: int, wire: int) -> bytes:
    """A field's number and how its value is written: 0 varint, 1 eight bytes, 2 sized, 5 four."""
    return _varint(field << 3 | wire)


def _varint(number: int) -> bytes:
    """Seven bits a byte, the lowest first; the top bit says that more follow."""
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])


def _message(field: int, content: bytes) -> bytes:
    return _key(field, 2) + _varint(len(content)) + content


# -- records ---------------------------------------------------------------------------------------


def records(events: Sequence[bytes]) -> bytes:
    """The events as a file holds them."""
    parts = []
    for event in events:
        length = struct.pack("<Q", len(event))
        parts += [length, _checksum(length), event, _checksum(event)]
    return b"".join(parts)


def _checksum(content: bytes) -> bytes:
    """CRC-32C, its bits rotated by 15, plus a constant: a checksum of checksums is no constant."""
    crc, table = 0xFFFFFFFF, _table()
    for byte in content:
        crc = crc >> 8 ^ table[(crc ^ byte) & 255]
    crc ^= 0xFFFFFFFF
    masked = (crc >> 15 | crc << 17) + 0xA282EAD8
    return struct.pack("<I", masked & 0xFFFFFFFF)


@cache
def _table() -> tuple[int, ...]:
    """What each byte does to a CRC-32C (Castagnoli's polynomial, its bits reversed)."""
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ 0x82F63B78 * (byte & 1)
        table.append(byte)
    return tuple(table)
