"""Sweeps on a Ray cluster of this machine, against the processes of the embedded engine."""

from __future__ import annotations

import contextlib
import csv
import importlib.util
import os
import signal
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nnexp.config.load import load_config
from nnexp.errors import UsageError
from nnexp.search import ray_engine
from nnexp.search.engine import Setting
from nnexp.search.folder import SweepDir
from nnexp.search.progress import Progress
from nnexp.search.ray_engine import RayEngine, Trainer, connected
from nnexp.search.sweep import Choices, make_engine, start

CONFIG = """
name: small
data: {source: digits}
model: {name: mlp, hidden: [8]}
optimizer: {name: momentum, lr: 0.1}
training: {epochs: 25, batch_size: 64, checkpoint_seconds: 0.1}
sweep:
  trials: 8
  fresh_seeds: 2
  search: {optimizer.lr: {log_uniform: [1e-3, 1]}}
"""

SETTING = Setting(workers=1, threads=1, memory=10**9)


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """One cluster of this machine for all tests: it takes seconds to start."""
    pytest.importorskip("ray")
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(connected(None, 2))
        except UsageError as error:
            pytest.skip(str(error))
        yield


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return numbers(searched(tmp_path_factory.mktemp("local"), "local"))


def searched(folder: Path, engine: Any) -> SweepDir:
    path = folder / "small.yaml"
    path.write_text(CONFIG)
    choices = Choices(workers=2, device="cpu", engine=engine)
    return start(load_config(path, []), folder / "runs", choices, Progress())


def numbers(sweep: SweepDir) -> dict[str, Any]:
    """Everything that training came to."""
    found: dict[str, Any] = {
        str(path.relative_to(sweep.path)): path.read_bytes()
        for path in sorted(sweep.path.rglob("metrics.csv"))
    }
    with sweep.table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    found["trials"] = [{k: v for k, v in row.items() if k != "seconds"} for row in rows]
    assert len(rows) == 8
    assert len(found) >= 8 + 1 + 2
    return found


def test_nobody_at_the_address() -> None:  # before `cluster` connects this process
    pytest.importorskip("ray")
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # nobody listens
        address = f"127.0.0.1:{unused.getsockname()[1]}"
        engine = RayEngine(SETTING, address)
        with pytest.raises(UsageError, match=f"no Ray cluster at {address}"):
            engine.start()
        engine.close()


@pytest.mark.usefixtures("cluster")
def test_same_numbers_as_embedded(embedded: dict[str, Any], tmp_path: Path) -> None:
    sweep = searched(tmp_path, "ray")
    assert numbers(sweep) == embedded
    assert sweep.state()["engine"] == "ray"


@pytest.mark.usefixtures("cluster")
def test_a_killed_worker_changes_nothing(
    embedded: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begun, killed = list[int](), list[Any]()
    give, ask = RayEngine._give, RayEngine._ask

    def noted(engine: RayEngine, worker: Any, path: Path, pack: int) -> None:
        begun.append(pack)
        give(engine, worker, path, pack)

    def kill(engine: RayEngine) -> None:
        ask(engine)
        for worker in engine._workers:
            if not killed and next(tmp_path.rglob(f"checkpoint/pack{worker.pack}-*"), None):
                killed.append(worker.pack)
                os.kill(engine._ray.get(worker.actor.pid.remote()), signal.SIGKILL)

    monkeypatch.setattr(RayEngine, "_give", noted)
    monkeypatch.setattr(RayEngine, "_ask", kill)
    monkeypatch.setattr(ray_engine, "BREATH", 0.0)
    assert numbers(searched(tmp_path, "ray")) == embedded
    assert begun.count(killed[0]) == 2


def test_a_machine_that_does_not_see_the_sweep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_engine, "PATIENCE", 0.0)
    answer = Trainer(SETTING, tmp_path).train(tmp_path / "elsewhere", 3)
    assert answer is not None
    assert answer["failed"] == 3
    assert f"does not see {tmp_path / 'elsewhere'}" in answer["error"]
    assert "file system that all machines of the cluster share" in answer["error"]


def test_without_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(UsageError, match=r"needs Ray: pip install 'nnexp\[ray\]'"):
        make_engine(SETTING, Choices(engine="ray"))


def test_an_address_is_for_ray() -> None:
    with pytest.raises(UsageError, match="needs --engine ray"):
        make_engine(SETTING, Choices(address="auto"))


def test_a_bad_plugin_is_told(tmp_path: Path) -> None:
    answer = Trainer(replace(SETTING, plugins=[tmp_path / "none.py"]), tmp_path).ready()
    assert "can't be read" in answer["unready"]
