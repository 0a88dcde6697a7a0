"""A fault at every single write, sync and rename; then, real kills.

What must hold after each: a file under its final name is whole, and is the one from before or
after the call that failed.
"""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nnexp.errors import OutOfResources, RunError
from nnexp.runs import files
from nnexp.runs.checkpoint import Checkpoints
from nnexp.runs.files import remove_leftovers, write_json, writing

STEPS = 4
FAULTS = ["error", "full", "kill", "kill after", "torn write", "power cut"]


class Killed(BaseException):
    """The process is gone: nothing handles this, and no operation works after it."""


class Disk:
    """The operations of `files`, of which number `at` goes wrong.

    Syncing is only noted: "power cut" empties, wholly or by half, whatever was not synced.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, at: int, fault: str) -> None:
        self.at, self.fault = at, fault
        self.count, self.dead = 0, False
        self.unsynced: set[Path] = set()
        self._real = {n: getattr(files, n) for n in ("_create", "_write", "_rename", "_remove")}
        self._real["_sync"] = self.unsynced.discard
        for name in self._real:
            monkeypatch.setattr(files, name, self._wrap(name))

    def _wrap(self, name: str) -> Callable[..., Any]:
        def operation(*args: Any) -> Any:
            if self.dead:
                raise Killed
            self.count += 1
            if self.count - 1 == self.at:
                self._fail(name, args)
            return self._do(name, args)

        return operation

    def _do(self, name: str, args: tuple[Any, ...]) -> Any:
        result = self._real[name](*args)
        if name == "_create":
            self.unsynced.add(args[0])
        if name == "_rename" and args[0] in self.unsynced:
            self.unsynced.add(args[1])
        return result

    def _fail(self, name: str, args: tuple[Any, ...]) -> None:
        if self.fault == "error":
            raise OSError(errno.EIO, "Input/output error")
        if self.fault == "full":
            raise OSError(errno.ENOSPC, "No space left on device")
        if self.fault == "kill after":
            self._do(name, args)
        if self.fault == "torn write" and name == "_write":
            self._do(name, (args[0], args[1][: len(args[1]) // 2]))
        if self.fault == "power cut":
            for path in filter(Path.exists, self.unsynced):
                os.truncate(path, path.stat().st_size // 2 * (self.at % 2))
        self.dead = True
        raise Killed


def tensors(n: int) -> dict[str, np.ndarray]:
    return {"w": np.full((3, 5), n, np.float32), "step": np.array(n)}


def state(n: int) -> dict[str, Any]:
    return {"epoch": n, "loss": 0.1 * n}


def script(folder: Path, progress: dict[str, int]) -> None:
    """Saves STEPS times; `progress` holds the last step of each kind that was done."""
    checkpoints = Checkpoints(folder / "checkpoint")
    for n in range(1, STEPS + 1):
        for kind in ("checkpoint", "summary", "batch"):
            try:
                if kind == "checkpoint":
                    checkpoints.save(tensors(n), state(n), n)
                elif kind == "summary":
                    write_json(folder / "summary.json", {"n": n})
                else:
                    with writing() as batch:
                        batch.add_tensors(folder / "model.safetensors", tensors(n))
                        batch.add_text(folder / "model.txt", str(n) * 1000)
            except (RunError, OutOfResources) as error:
                progress["errors"] += 1
                progress["full"] += isinstance(error, OutOfResources)
            else:
                progress[kind] = n


def run_with(
    fault: str, at: int, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[Disk, dict[str, int]]:
    progress = dict.fromkeys(("checkpoint", "summary", "batch", "errors", "full"), 0)
    with monkeypatch.context() as patch:
        disk = Disk(patch, at, fault)
        try:
            script(folder, progress)
        except Killed:
            assert disk.dead
    return disk, progress


def check(folder: Path, progress: dict[str, int]) -> None:
    loaded = Checkpoints(folder / "checkpoint").load()
    found = 0
    if loaded is not None:
        found = loaded.number
        assert loaded.notes == []
        assert loaded.state == state(found)
        assert loaded.tensors.keys() == tensors(found).keys()
        for name, value in tensors(found).items():
            np.testing.assert_array_equal(loaded.tensors[name], value)
    assert found in (progress["checkpoint"], progress["checkpoint"] + 1)
    for path in (folder / "checkpoint").glob("0*"):
        number = int(path.stem)
        assert Checkpoints(folder / "checkpoint")._read(number, "numpy")[1] == state(number)

    for kind, name in (("summary", "summary.json"), ("batch", "model.safetensors")):
        path, n = folder / name, 0
        if path.exists():
            if kind == "summary":
                n = json.loads(path.read_text())["n"]
            else:
                n = int(files.decode(path.read_bytes(), path)["step"])
        assert n in (progress[kind], progress[kind] + 1), kind
    if (folder / "model.txt").exists():
        text = (folder / "model.txt").read_text()
        n = int(text[0])
        assert text == str(n) * 1000
        assert n in (progress["batch"], progress["batch"] + 1)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_at_any_operation(
    fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "whole").mkdir()
    disk, progress = run_with(fault, 10**9, tmp_path / "whole", monkeypatch)
    assert progress == {
        "checkpoint": STEPS,
        "summary": STEPS,
        "batch": STEPS,
        "errors": 0,
        "full": 0,
    }
    operations = disk.count
    assert operations > 15 * STEPS
    for at in range(operations):
        folder = tmp_path / str(at)
        folder.mkdir()
        disk, progress = run_with(fault, at, folder, monkeypatch)
        alive = fault in ("error", "full")
        assert disk.dead == (not alive)
        assert progress["errors"] == alive
        assert progress["full"] == (fault == "full")
        if alive:  # the process cleaned up after itself, and went on
            assert list(folder.rglob(".tmp-*")) == []
        check(folder, progress)
        remove_leftovers(folder)
        assert list(folder.rglob(".*")) == []
        after = Checkpoints(folder / "checkpoint")
        after.save(tensors(9), state(9), 9)
        loaded = after.load()
        assert loaded is not None
        assert loaded.number == 9
        assert len(after.numbers()) <= 2


KILLS = 12
SAVE_UNTIL_KILLED = r"""
import json, os, random, signal, struct, sys, time
from pathlib import Path
import numpy as np
from nnexp.runs.checkpoint import Checkpoints
from nnexp.runs.files import write_json
from nnexp.runs.rundir import RunDir

assert "torch" not in sys.modules
run, kills = RunDir(Path(sys.argv[1])), int(sys.argv[2])
saved = {"checkpoint": 0, "summary": 0}
rng, torn = random.Random(5), 0

def save(pipe):
    n = saved["checkpoint"]
    with run.lock():
        while True:
            n += 1
            Checkpoints(run.checkpoints).save({"w": np.full(20_000, n)}, {"n": n}, n)
            os.write(pipe, struct.pack("ci", b"c", n))
            write_json(run.summary, {"n": n, "long": ["x" * 20] * 1000})
            os.write(pipe, struct.pack("ci", b"s", n))

for _ in range(kills):
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        save(writing)
    os.close(writing)
    first = os.read(reading, 8)  # it saves by now
    time.sleep(rng.uniform(0, 0.02))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    told = first
    while more := os.read(reading, 4096):
        told += more
    os.close(reading)
    for kind, n in struct.iter_unpack("ci", told):
        saved["checkpoint" if kind == b"c" else "summary"] = n
    torn += bool(list(run.path.rglob(".tmp-*")))
    assert not run.is_locked()
    with run.lock():
        assert not list(run.path.rglob(".tmp-*"))
    loaded = Checkpoints(run.checkpoints).load()
    assert loaded.notes == []
    assert loaded.number in (saved["checkpoint"], saved["checkpoint"] + 1)
    assert loaded.state == {"n": loaded.number}
    assert (loaded.tensors["w"] == loaded.number).all() and loaded.tensors["w"].shape == (20_000,)
    if run.summary.exists():
        summary = run.read_json("summary.json")
        assert summary["n"] in (saved["summary"], loaded.number), (summary["n"], saved)
        assert len(summary["long"]) == 1000
        saved["summary"] = summary["n"]  # it may be killed between writing and telling
    saved["checkpoint"] = loaded.number
print(json.dumps({"saved": saved["checkpoint"], "torn": torn}))
"""


def test_real_kills_while_saving(tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-c", SAVE_UNTIL_KILLED, str(tmp_path), str(KILLS)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
    )
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["saved"] >= KILLS
