"""Checkpoints: exact, self-checking, the newest few kept."""

from __future__ import annotations

import math
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nnexp.errors import DamagedRun, UntrustedRun
from nnexp.runs.checkpoint import Checkpoints

TENSORS = {"w": np.arange(6, dtype=np.float32).reshape(2, 3), "n": np.array(7)}


def saved(directory: Path, *numbers: int, **options: Any) -> Checkpoints:
    checkpoints = Checkpoints(directory, **options)
    for number in numbers:
        checkpoints.save(TENSORS, {"epoch": number}, number)
    return checkpoints


def file(directory: Path, number: int) -> Path:
    return directory / f"{number:08d}.safetensors"


def test_none_is_none(tmp_path: Path) -> None:
    assert Checkpoints(tmp_path / "checkpoint").load() is None
    assert not (tmp_path / "checkpoint").exists()


def test_the_newest_comes_back_and_the_last_two_stay(tmp_path: Path) -> None:
    checkpoints = saved(tmp_path / "checkpoint", 1, 2, 5, 9)
    assert sorted(p.name for p in (tmp_path / "checkpoint").iterdir()) == [
        "00000005.safetensors",
        "00000009.safetensors",
    ]
    loaded = checkpoints.load()
    assert loaded is not None
    assert (loaded.number, loaded.state, loaded.notes) == (9, {"epoch": 9}, [])
    assert loaded.tensors.keys() == TENSORS.keys()
    for name, value in TENSORS.items():
        np.testing.assert_array_equal(loaded.tensors[name], value)
        assert loaded.tensors[name].dtype == value.dtype
        assert loaded.tensors[name].flags.writeable


@pytest.mark.parametrize("keep", [1, 3])
def test_keep(tmp_path: Path, keep: int) -> None:
    assert saved(tmp_path, 1, 2, 3, 4, keep=keep).numbers() == [1, 2, 3, 4][-keep:]


def test_packs_share_a_directory(tmp_path: Path) -> None:
    packs = [saved(tmp_path, *range(1, 5 + k), prefix=f"pack{k}-") for k in (0, 1, 10)]
    assert [pack.numbers() for pack in packs] == [[3, 4], [4, 5], [13, 14]]
    assert (tmp_path / "pack10-00000014.safetensors").exists()
    assert Checkpoints(tmp_path).load() is None


def test_torch_tensors_come_back_bit_for_bit(tmp_path: Path) -> None:
    tensors = {
        "master": torch.randn(3, 4).T,
        "half": torch.randn(5).to(torch.bfloat16),
        "odd": torch.tensor([math.nan, math.inf, -0.0], dtype=torch.float64),
        "stopped": torch.tensor([True, False]),
        "empty": torch.empty(0, 2),
    }
    Checkpoints(tmp_path).save(tensors, {}, 0)
    loaded = Checkpoints(tmp_path).load("torch")
    assert loaded is not None
    assert loaded.tensors.keys() == tensors.keys()
    for name, tensor in tensors.items():
        found = loaded.tensors[name]
        assert found.dtype == tensor.dtype
        assert found.shape == tensor.shape
        bits = [t.contiguous().reshape(-1).view(torch.uint8) for t in (found, tensor)]
        assert torch.equal(bits[0], bits[1])


@given(st.lists(st.floats(width=64)))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
def test_floats_of_the_state_come_back_exactly(tmp_path: Path, values: list[float]) -> None:
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save({}, {"é": values, "none": None}, 1)
    loaded = checkpoints.load()
    assert loaded is not None
    assert loaded.state["none"] is None
    for found, value in zip(loaded.state["é"], values, strict=True):
        if math.isnan(value):
            assert math.isnan(found)
        else:
            assert struct.pack("d", found) == struct.pack("d", value)


def test_equal_content_gives_equal_files_that_the_library_reads(tmp_path: Path) -> None:
    saved(tmp_path / "a", 1)
    saved(tmp_path / "b", 1)
    assert file(tmp_path / "a", 1).read_bytes() == file(tmp_path / "b", 1).read_bytes()
    found = safetensors.numpy.load_file(file(tmp_path / "a", 1))
    np.testing.assert_array_equal(found["w"], TENSORS["w"])


def damages(good: bytes) -> list[bytes]:
    """Every byte changed, every length, and some strangers."""
    flipped = [
        good[:at] + bytes([good[at] ^ 1 << at % 8]) + good[at + 1 :] for at in range(len(good))
    ]
    cut = [good[:length] for length in range(len(good))]
    blank = [good[:at] + b"\0" * (len(good) - at) for at in range(0, len(good), 64)]
    other = [good + b"\0", b"\0" * len(good), b"PK\x03\x04" + good, good * 2]
    return [*flipped, *cut, *blank, *other, safetensors.numpy.save({"w": np.ones(3)})]


def test_any_damage_is_noticed_the_other_is_used_and_that_is_said(tmp_path: Path) -> None:
    saved(tmp_path, 1, 2)
    newest, good = file(tmp_path, 2), file(tmp_path, 2).read_bytes()
    bad = damages(good)
    assert len(bad) > 2 * len(good)
    for data in bad:
        newest.write_bytes(data)
        loaded = Checkpoints(tmp_path).load()
        assert loaded is not None
        assert (loaded.number, loaded.state) == (1, {"epoch": 1})
        (note,) = loaded.notes
        assert note.startswith(f"{newest} is damaged: ")
        assert note.endswith("; going on from 00000001.safetensors")


def test_damage_of_the_older_does_not_matter(tmp_path: Path) -> None:
    saved(tmp_path, 1, 2)
    file(tmp_path, 1).write_bytes(b"")
    loaded = Checkpoints(tmp_path).load()
    assert loaded is not None
    assert (loaded.number, loaded.notes) == (2, [])


def test_all_damaged_is_an_error_that_names_each(tmp_path: Path) -> None:
    saved(tmp_path, 1, 2)
    for number in (1, 2):
        file(tmp_path, number).write_bytes(b"x")
    with pytest.raises(DamagedRun) as caught:
        Checkpoints(tmp_path).load()
    message = str(caught.value)
    assert message.startswith("no checkpoint can be used: ")
    assert message.index("00000001") < message.index("00000002")


def test_a_damaged_one_does_not_count_as_one_of_the_two(tmp_path: Path) -> None:
    checkpoints = saved(tmp_path, 1, 2, 3)
    file(tmp_path, 3).write_bytes(b"x")
    loaded = checkpoints.load()
    assert loaded is not None
    assert loaded.number == 2
    checkpoints.save(TENSORS, {}, 4)
    assert checkpoints.numbers() == [2, 4]
    checkpoints.save(TENSORS, {}, 5)
    assert checkpoints.numbers() == [4, 5]


def test_going_back_removes_what_came_later(tmp_path: Path) -> None:
    assert saved(tmp_path, 5, 6, 2).numbers() == [2]


def test_a_damaged_one_that_is_written_again_is_sound(tmp_path: Path) -> None:
    checkpoints = saved(tmp_path, 1, 2)
    file(tmp_path, 2).write_bytes(b"x")
    checkpoints.load()
    checkpoints.save(TENSORS, {"again": True}, 2)
    checkpoints.save(TENSORS, {}, 3)
    assert checkpoints.numbers() == [2, 3]


def test_a_failed_save_leaves_the_others(tmp_path: Path) -> None:
    checkpoints = saved(tmp_path, 1, 2)
    with pytest.raises(TypeError):
        checkpoints.save({"w": np.array(["text"])}, {}, 3)
    with pytest.raises(TypeError):
        checkpoints.save(TENSORS, {"not JSON": object()}, 3)
    assert checkpoints.numbers() == [1, 2]


def test_other_files_are_left_alone(tmp_path: Path) -> None:
    for name in (
        "notes.txt",
        "1.safetensors",
        "pack0-00000001.safetensors",
        "0000000a.safetensors",
    ):
        (tmp_path / name).write_text("mine")
    saved(tmp_path, 1, 2, 3)
    assert len(list(tmp_path.iterdir())) == 6


def test_a_checkpoint_that_is_a_link_out_is_refused(tmp_path: Path) -> None:
    saved(tmp_path / "elsewhere", 3)
    saved(tmp_path / "here", 1)
    file(tmp_path / "here", 3).symlink_to(file(tmp_path / "elsewhere", 3))
    with pytest.raises(UntrustedRun, match="leads out"):
        Checkpoints(tmp_path / "here").load()
