"""Whole files, and tensors in safetensors, against the safetensors library."""

from __future__ import annotations

import errno
import json
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
import safetensors.torch
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from nnexp.errors import DamagedRun, OutOfResources, RunError, UntrustedRun
from nnexp.runs import files
from nnexp.runs.files import (
    append_text,
    decode,
    encode,
    parse_json,
    parse_yaml,
    write_bytes,
    write_json,
    write_tensors,
    write_text,
    writing,
)

WHAT = Path("file")
KINDS = ["f8", "f4", "f2", "i8", "i4", "i2", "i1", "u8", "u4", "u2", "u1", "?"]
arrays = st.sampled_from(KINDS).flatmap(
    lambda kind: hnp.arrays(np.dtype(kind), hnp.array_shapes(min_dims=0, min_side=0, max_side=4))
)
named = st.dictionaries(st.text(min_size=1, max_size=5), arrays, max_size=5)


def same(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> bool:
    return a.keys() == b.keys() and all(
        a[k].dtype == b[k].dtype and a[k].shape == b[k].shape and a[k].tobytes() == b[k].tobytes()
        for k in a
    )


# -- tensors ---------------------------------------------------------------------------------------


@given(named)
def test_the_library_reads_what_is_written_here(tensors: dict[str, np.ndarray]) -> None:
    data = b"".join(encode(tensors, {"format": "pt"}))
    assert same(safetensors.numpy.load(data), tensors)
    assert same(decode(data, WHAT), tensors)


@given(named)
def test_what_the_library_writes_is_read_here(tensors: dict[str, np.ndarray]) -> None:
    assert same(decode(safetensors.numpy.save(tensors, {"a": "b"}), WHAT), tensors)


def test_bytes_are_the_library_s_and_do_not_depend_on_the_order_of_the_tensors() -> None:
    tensors = {
        "b": np.arange(6, dtype=np.float32).reshape(2, 3),
        "a": np.ones(3, np.int8),
        "c": np.array(2.5),
    }
    data = b"".join(encode(tensors, {"k": "v"}))
    assert data == safetensors.numpy.save(tensors, {"k": "v"})
    assert data == b"".join(encode(dict(reversed(tensors.items())), {"k": "v"}))


def test_strides_and_byte_order_do_not_matter() -> None:
    x = np.arange(12, dtype=np.int32).reshape(3, 4)
    tensors: dict[str, Any] = {
        "t": x.T,
        "every": x[:, ::2],
        "big": x.astype(">i4"),
        "scalar": np.float64(1.5),
    }
    found = decode(b"".join(encode(tensors, {})), WHAT)
    for name, value in tensors.items():
        np.testing.assert_array_equal(found[name], value)
        assert found[name].shape == value.shape


TORCH = {
    "bf16": torch.tensor([1.0, -2.5, 3e38, 0.1], dtype=torch.bfloat16).reshape(2, 2),
    "f32": torch.arange(6.0).reshape(2, 3).T,
    "f64": torch.tensor(0.1, dtype=torch.float64, requires_grad=True),
    "bool": torch.tensor([True, False]),
    "none": torch.empty(0, 3, dtype=torch.int64),
}


def test_torch_tensors_come_back_as_they_were() -> None:
    data = b"".join(encode({**TORCH, "numpy": np.arange(3)}, {}))
    for found in (decode(data, WHAT, "torch"), safetensors.torch.load(data)):
        assert torch.equal(found.pop("numpy"), torch.arange(3))
        assert found.keys() == TORCH.keys()
        for name, tensor in TORCH.items():
            assert found[name].dtype == tensor.dtype
            assert torch.equal(found[name], tensor)


def test_numpy_reads_bfloat16_as_float32_with_the_same_values() -> None:
    found = decode(b"".join(encode(TORCH, {})), WHAT)["bf16"]
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, TORCH["bf16"].to(torch.float32).numpy())


def test_tied_weights_are_written_twice() -> None:
    weight = torch.ones(2)
    found = decode(b"".join(encode({"a": weight, "b": weight}, {})), WHAT, "torch")
    found["a"].add_(1)
    assert found["b"].tolist() == [1, 1]


@pytest.mark.parametrize("bad", [np.array(["text"]), np.array([None]), torch.ones(1) * 1j])
def test_types_that_the_format_lacks_are_named(bad: Any) -> None:
    with pytest.raises(TypeError, match=r"tensor 'x' is .*; a file can hold float64, "):
        encode({"x": bad}, {})


GOOD = b"".join(encode({"a": np.arange(4.0), "b": np.ones(3, np.int8)}, {"k": "v"}))


def header(text: str, body: bytes = b"") -> bytes:
    return len(text).to_bytes(8, "little") + text.encode() + body


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0" * 7,
        b"garbage" * 20,
        GOOD + b"x",
        (10**8 + 1).to_bytes(8, "little") + b"{" + b" " * 100,
        (2**63).to_bytes(8, "little") + b"{}",
        header("[" * 100_000),
        header('{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}', b"123"),
        header('{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}', b"1234"),
        header('{"a":{"dtype":"F32","shape":[4611686018427387905,4],"data_offsets":[0,16]}}', GOOD),
        header('{"a":{"dtype":"F4","shape":[2],"data_offsets":[0,1]}}', b"1"),
        *(GOOD[:length] for length in range(len(GOOD))),
    ],
)
def test_what_is_no_safetensors_file_is_damaged(data: bytes) -> None:
    with pytest.raises(DamagedRun, match=r"^file"):
        decode(data, WHAT)


# -- JSON and YAML ---------------------------------------------------------------------------------


def test_json_is_strict_keeps_its_order_and_ends_in_a_newline(tmp_path: Path) -> None:
    data = {
        "z": [1, math.nan, math.inf, (np.float64(0.1), np.float32("nan"))],
        "a": np.array([[1.5, -math.inf]]),
        "n": np.int64(3),
        "s": "é",
    }
    write_json(tmp_path / "x.json", data)
    text = (tmp_path / "x.json").read_text()
    assert text.endswith("}\n")
    assert text.startswith('{\n  "z": [')
    assert json.loads(text, parse_constant=pytest.fail) == {
        "z": [1, None, None, [0.1, None]],
        "a": [[1.5, None]],
        "n": 3,
        "s": "é",
    }


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_json_floats_come_back_exactly(value: float) -> None:
    assert parse_json(json.dumps({"x": files._strict([value])}).encode(), WHAT)["x"] == [value]


@pytest.mark.parametrize(
    "data", [b"", b"{", b"\xff\xfe{}", b"[" * 100_000, b'{"a": ' + b"9" * 5000 + b"}", b"[1]", b"3"]
)
def test_broken_json_is_damaged(data: bytes) -> None:
    with pytest.raises(DamagedRun, match=r"^file "):
        parse_json(data, WHAT)


def test_yaml_is_read() -> None:
    assert parse_yaml(b"a: 1\nb: [x, 'y', {c: 1.0e-05}]\n", WHAT) == {
        "a": 1,
        "b": ["x", "y", {"c": 1e-5}],
    }


@pytest.mark.parametrize(
    "data", [b"a: [", b"a: 1\n b: 2", b"\xff", b"a: 2020-13-45", b"? [1]\n: 2"]
)
def test_broken_yaml_is_damaged(data: bytes) -> None:
    with pytest.raises(DamagedRun, match=r"^file is not YAML"):
        parse_yaml(data, WHAT)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"a: !!python/name:os.system x", "has the tag 'tag:yaml.org,2002:python/name:os.system'"),
        (b"!!str a", "has the tag 'tag:yaml.org,2002:str'"),
        (b"a: !own [1]", "has the tag '!own'"),
        (b"a: &x [1]\nb: *x", r"has the alias '\*x'"),
        (b"[" * 100_000, "is nested deeper than 100 levels"),
        (b"- " * 100_000, "is nested deeper than 100 levels"),
    ],
)
def test_yaml_with_more_than_plain_data_is_refused(data: bytes, reason: str) -> None:
    with pytest.raises(UntrustedRun, match=f"^file {reason}"):
        parse_yaml(data, WHAT)


# -- writing ---------------------------------------------------------------------------------------


def test_files_appear_together_at_the_end_of_the_block(tmp_path: Path) -> None:
    (tmp_path / "s0").mkdir()
    write_text(tmp_path / "old.txt", "old")
    with writing() as batch:
        batch.add_text(tmp_path / "old.txt", "new")
        batch.add_bytes(tmp_path / "s0" / "b", b"12", b"", np.arange(3, dtype=np.uint8))
        batch.add_tensors(tmp_path / "t.safetensors", {"x": np.ones(2)}, {"made": "here"})
        assert (tmp_path / "old.txt").read_text() == "old"
        assert not (tmp_path / "t.safetensors").exists()
    assert (tmp_path / "old.txt").read_text() == "new"
    assert (tmp_path / "s0" / "b").read_bytes() == b"12\0\1\2"
    with safetensors.safe_open(tmp_path / "t.safetensors", "numpy") as file:
        assert file.metadata() == {"made": "here"}
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["b", "old.txt", "s0", "t.safetensors"]


def test_a_block_that_raises_writes_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), writing() as batch:  # noqa: PT012
        batch.add_text(tmp_path / "a", "a")
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_every_file_and_folder_is_synced_before_its_name_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "s0").mkdir()
    real_sync, real_rename, events = os.fsync, os.replace, list[tuple[str, int]]()

    def sync(descriptor: int) -> None:
        events.append(("sync", os.fstat(descriptor).st_ino))
        real_sync(descriptor)

    def rename(source: Path, target: Path) -> None:
        events.append(("rename", source.stat().st_ino))
        real_rename(source, target)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(os, "replace", rename)
    with writing() as batch:
        for name in ("a", "b", "s0/c"):
            batch.add_text(tmp_path / name, name)
    inodes = [(tmp_path / name).stat().st_ino for name in ("a", "b", "s0/c")]
    folders = [tmp_path.stat().st_ino, (tmp_path / "s0").stat().st_ino]
    assert events == (
        [("sync", i) for i in inodes]
        + [("rename", i) for i in inodes]
        + [("sync", i) for i in folders]
    )


def test_short_writes_are_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_write", lambda fd, view: os.write(fd, view[:7]))
    write_tensors(tmp_path / "t", {"x": np.arange(100.0)})
    assert decode((tmp_path / "t").read_bytes(), WHAT)["x"].tolist() == list(range(100))


def test_files_beyond_the_joining_size_are_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tensors = {"x": np.arange(100.0), "none": np.empty((0, 2)), "y": np.ones(3, np.int8)}
    write_tensors(tmp_path / "joined", tensors)
    monkeypatch.setattr(files, "_JOIN_BELOW", 0)
    write_tensors(tmp_path / "apart", tensors)
    assert (tmp_path / "joined").read_bytes() == (tmp_path / "apart").read_bytes()


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_full_disk_is_exit_code_6(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    write_text(tmp_path / "a", "old")

    def full(*_: object) -> int:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(files, "_write", full)
    with pytest.raises(OutOfResources, match="a can't be written: the disk is full") as caught:
        write_text(tmp_path / "a", "new")
    assert caught.value.exit_code == 6
    with pytest.raises(OutOfResources, match=r"log\.txt can't be written"):
        append_text(tmp_path / "log.txt", "line\n")
    assert (tmp_path / "a").read_text() == "old"
    assert sorted(os.listdir(tmp_path)) == ["a", "log.txt"]


def test_other_failures_are_run_errors(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="b can't be written: No such file or directory"):
        write_bytes(tmp_path / "none" / "b", b"")
    (tmp_path / "folder").mkdir()
    with pytest.raises(RunError, match="folder can't be written: Is a directory"):
        write_bytes(tmp_path / "folder", b"")
    assert os.listdir(tmp_path) == ["folder"]


def test_appending(tmp_path: Path) -> None:
    append_text(tmp_path / "log.txt", "ä\n")
    append_text(tmp_path / "log.txt", "b\n")
    assert (tmp_path / "log.txt").read_text() == "ä\nb\n"


def test_appending_does_not_follow_a_link(tmp_path: Path) -> None:
    (tmp_path / "log.txt").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(RunError, match=r"log\.txt can't be written"):
        append_text(tmp_path / "log.txt", "x")
    assert not (tmp_path / "elsewhere").exists()
