"""TensorBoard's event files: read back by TensorBoard, and without it; no epoch twice."""

from __future__ import annotations

import csv
import os
import signal
import struct
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nnexp.config.experiment import Experiment
from nnexp.config.load import load_config
from nnexp.errors import ConfigError, Interrupted
from nnexp.runs import events
from nnexp.runs.execute import Order, Reporter, start
from nnexp.runs.resume import resume
from nnexp.runs.rundir import RunDir
from nnexp.train.state import TrainState

SMALL: dict[str, Any] = {
    "name": "small",
    "data": {"source": "iris"},
    "model": {"name": "mlp", "hidden": [6]},
    "training": {"epochs": 4, "batch_size": 16, "checkpoint_seconds": 0, "tensorboard": True},
}


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def trained(
    out: Path, reporter: Reporter | None = None, seeds: int | None = None, **training: Any
) -> RunDir:
    config = {**SMALL, "training": {**SMALL["training"], **training}}
    order = Order(Experiment.model_validate(config), "", Path.cwd(), seeds)
    return start(order, out, reporter or Reporter())


class Stops(Reporter):
    """Interrupts training at the end of an epoch, as Ctrl-C does."""

    def __init__(self, epoch: int) -> None:
        self.epochs, self.stop = 0, epoch

    def epoch(self, now: TrainState) -> None:
        self.epochs += 1
        if self.epochs == self.stop:
            os.kill(os.getpid(), signal.SIGINT)


def crc32c(content: bytes) -> int:
    """CRC-32C as RFC 3720 defines it, bit by bit: a polynomial division."""
    remainder = 0xFFFFFFFF
    for byte in content:
        for bit in range(8):
            top = (remainder >> 31) ^ (byte >> bit & 1)
            remainder = (remainder << 1 & 0xFFFFFFFF) ^ (0x1EDC6F41 if top else 0)
    return int(f"{remainder ^ 0xFFFFFFFF:032b}"[::-1], 2)


def read_records(data: bytes) -> Iterator[bytes]:
    """The messages, each checksum held against the definition."""

    def masked(content: bytes) -> int:
        crc = crc32c(content)
        return ((crc >> 15 | crc << 17 & 0xFFFFFFFF) + 0xA282EAD8) % 2**32

    while data:
        (length,), (check,) = struct.unpack("<Q", data[:8]), struct.unpack("<I", data[8:12])
        message, (other,) = data[12 : 12 + length], struct.unpack_from("<I", data, 12 + length)
        assert (check, other) == (masked(data[:8]), masked(message))
        yield message
        data = data[16 + length :]


def fields(message: bytes) -> Iterator[tuple[int, Any]]:
    """The fields of a protocol buffer, by number."""

    def varint() -> int:
        nonlocal message
        value = shift = 0
        while True:
            byte, message = message[0], message[1:]
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while message:
        number, wire = divmod(varint(), 8)
        size = {0: 0, 1: 8, 5: 4}.get(wire)
        value: Any = varint() if wire in (0, 2) else None
        size = value if size is None else size
        taken, message = message[:size], message[size:]
        yield number, value if wire == 0 else taken


def scalars_of(path: Path) -> list[tuple[int, dict[str, float]]]:
    """Each epoch's values by tag, read without TensorBoard."""
    found = []
    for message in read_records(path.read_bytes()):
        event = dict(fields(message))
        values = [dict(fields(v)) for _, v in fields(event.get(5, b""))]
        row = {v[1].decode(): struct.unpack("<f", v[2])[0] for v in values if 2 in v}
        if row:
            found.append((event[2], row))
    return found


def table(run: RunDir) -> list[tuple[int, dict[str, float]]]:
    """The same, from metrics.csv."""
    with run.metrics.open(newline="") as lines:
        rows = [{k: float(v or "nan") for k, v in row.items()} for row in csv.DictReader(lines)]
    return [
        (int(row["epoch"]), {k: float(np.float32(v)) for k, v in row.items() if k != "epoch"})
        for row in rows
    ]


def test_the_checksum_is_the_one_that_the_standard_gives() -> None:
    assert crc32c(b"123456789") == 0xE3069283  # the usual check value
    assert crc32c(bytes(32)) == 0x8A9136AA  # RFC 3720, B.4


@given(st.lists(st.binary(max_size=40), max_size=5))
def test_records_hold_what_was_put_into_them(messages: list[bytes]) -> None:
    assert list(read_records(events.records(messages))) == messages


@given(st.floats(), st.integers(1, 2**40))
def test_any_number_and_epoch_can_be_written(value: float, epoch: int) -> None:
    event = dict(fields(events.scalars({"epoch": epoch, "a/b": value})))
    written = dict(fields(dict(fields(event[5]))[1]))
    assert event[2] == epoch
    assert written[1] == b"a/b"
    with np.errstate(over="ignore"):
        np.testing.assert_equal(struct.unpack("<f", written[2])[0], float(np.float32(value)))


def test_a_run_writes_every_column_of_metrics_csv(tmp_path: Path) -> None:
    run = trained(tmp_path)
    assert scalars_of(run.events) == table(run)
    assert len(table(run)) == 4


def test_every_member_of_a_group_has_its_own(tmp_path: Path) -> None:
    group = trained(tmp_path, seeds=3)
    assert not group.events.exists()
    for member in group.members():
        assert scalars_of(member.events) == table(member)


def test_none_is_written_unless_asked_for(tmp_path: Path) -> None:
    run = trained(tmp_path, tensorboard=False)
    assert not list(run.path.glob("events*"))


def test_an_interruption_leaves_no_epoch_twice(tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        trained(tmp_path, Stops(2))
    (path,) = (tmp_path / "small").iterdir()
    run = resume(path, Reporter())
    assert [epoch for epoch, _ in scalars_of(run.events)] == [1, 2, 3, 4]
    assert scalars_of(run.events) == table(run)


def test_training_longer_goes_on_with_it(tmp_path: Path) -> None:
    run = trained(tmp_path, seeds=2)
    resume(run.path, Reporter(), epochs=6, seeds=3)
    for member in RunDir.open(run.path).members():
        assert scalars_of(member.events) == table(member)
        assert len(table(member)) == 6


def test_it_changes_no_number(tmp_path: Path) -> None:
    with_it, without = trained(tmp_path), trained(tmp_path, tensorboard=False)
    for name in ("metrics.csv", "model.safetensors", "predictions.csv", "summary.json"):
        assert (with_it.path / name).read_bytes() == (without.path / name).read_bytes()


def test_it_is_yes_or_no(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("data: {source: iris}\nmodel: linear\ntraining: {tensorboard: logs}\n")
    with pytest.raises(ConfigError, match=r"training\.tensorboard"):
        load_config(path)


def test_tensorboard_reads_it(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its own imports
        reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
        run = trained(tmp_path)
        found = reader.EventAccumulator(str(run.path)).Reload()
    rows = table(run)
    assert set(found.Tags()["scalars"]) == set(rows[0][1])
    for tag in found.Tags()["scalars"]:
        values = [(event.step, event.value) for event in found.Scalars(tag)]
        assert values == [(epoch, row[tag]) for epoch, row in rows]
    (config,) = found.Tensors("config")
    (shown,) = config.tensor_proto.string_val
    lines = run.resolved.read_text().splitlines()
    assert [line[4:] for line in shown.decode().splitlines()] == lines
    assert found.SummaryMetadata("config").plugin_data.plugin_name == "text"
