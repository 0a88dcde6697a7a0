"""`torchrun … -m nnexp train`: one run by two processes, its interruption, and what is refused."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file

from nnexp.cli.app import run
from nnexp.train.parallel import Ranks

CONFIG = {
    "data": {"source": "iris"},
    "model": {"name": "mlp", "hidden": [5], "dropout": 0.2},
    "optimizer": {"name": "momentum", "lr": 0.05},
    "schedule": "cosine",
    "training": {"epochs": 3, "batch_size": 16, "precision": "float64"},
}


def torchrun(*arguments: str | Path) -> list[str]:
    start = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", "0"]
    return [sys.executable, *start, "--standalone", "-m", "nnexp", "train", *map(str, arguments)]


def start(*arguments: str | Path) -> subprocess.Popen[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        torchrun(*arguments), env=environment, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip


def write(folder: Path, **changes: object) -> Path:
    path = folder / "c.yaml"
    path.write_text(yaml.safe_dump({**CONFIG, **changes}))
    return path


def only(out: Path) -> Path:
    (found,) = (out / "c").iterdir()
    return found


@given(st.integers(1, 40), st.integers(1, 9), st.integers(0, 100))
def test_each_example_is_in_one_share(rows: int, size: int, begin: int) -> None:
    taken: list[int] = []
    for rank in range(size):
        first, end = Ranks(rank, size).share(begin, begin + rows)
        assert end - first in (rows // size, rows // size + 1) or (end - first == 1 and rows < size)
        empty = rows * rank // size == rows * (rank + 1) // size  # its example counts for nothing
        taken += [] if empty else range(first, end)
    assert taken == list(range(begin, begin + rows))


def test_two_processes_train_as_one(tmp_path: Path) -> None:
    config = write(tmp_path)
    assert run(["train", str(config), "--out", str(tmp_path / "one"), "--quiet"]) == 0
    process = start(config, "--out", tmp_path / "two", "--quiet")
    told, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    one, two = only(tmp_path / "one"), only(tmp_path / "two")
    assert told.strip() == str(two)  # the second process keeps quiet
    expected = load_file(one / "last.safetensors")
    for name, found in load_file(two / "last.safetensors").items():
        assert abs(found - expected[name]).max() < 1e-6
    assert run(["eval", str(two)]) == 0


def test_an_interrupted_run_goes_on_with_as_many_processes(tmp_path: Path, capsys: object) -> None:
    training = {"epochs": 300, "batch_size": 8, "checkpoint_seconds": 0.1}
    config = write(tmp_path, training=training)
    whole = start(config, "--out", tmp_path / "whole", "--quiet")
    whole.communicate(timeout=120)
    assert whole.returncode == 0
    stopped = start(config, "--out", tmp_path / "out", "--quiet")
    while stopped.poll() is None and not list(tmp_path.glob("out/c/*/checkpoint/*")):
        time.sleep(0.02)
    os.killpg(stopped.pid, signal.SIGTERM)
    stopped.communicate(timeout=60)
    assert stopped.returncode != 0
    found = only(tmp_path / "out")
    assert not (found / "model.safetensors").exists()
    assert run(["train", "--resume", str(found)]) == 3  # by one process it would not be exact
    assert "torchrun --nproc-per-node 2 -m nnexp train" in capsys.readouterr().err  # type: ignore[attr-defined]
    again = start("--resume", found, "--quiet")
    _, errors = again.communicate(timeout=120)
    assert again.returncode == 0, errors
    for name in ("last.safetensors", "metrics.csv"):
        assert (found / name).read_bytes() == (only(tmp_path / "whole") / name).read_bytes()


@pytest.mark.parametrize(
    ("changes", "options", "said"),
    [
        ({"model": {"name": "mlp", "hidden": [4], "batch_norm": True}}, [], "batch_norm would"),
        ({}, ["--seeds", "2"], "several processes train one run: leave out --seeds"),
    ],
)
def test_what_several_can_not_do_is_refused(
    tmp_path: Path, changes: dict[str, object], options: list[str], said: str
) -> None:
    process = start(write(tmp_path, **changes), "--out", tmp_path / "out", *options)
    _, errors = process.communicate(timeout=120)
    assert process.returncode != 0
    assert errors.count(said) == 1
    assert not (tmp_path / "out").exists()
