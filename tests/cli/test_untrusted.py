"""A run directory from a stranger: refused with a reason, and nothing in it is executed."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from nnexp.cli.app import run
from nnexp.config.experiment import Experiment
from nnexp.runs.execute import Order, Reporter, start


class Bomb:
    """A pickle that leaves a canary when it is read."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return Path.touch, (self.canary,)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two finished runs of one shape."""
    torch.set_num_threads(1)
    runs = []
    for seed in (0, 1):
        config = {
            "name": "iris",
            "seed": seed,
            "data": {"source": "iris"},
            "model": {"name": "mlp", "hidden": [4]},
            "training": {"epochs": 2},
        }
        order = Order(Experiment.model_validate(config), "model: mlp\n", Path.cwd())
        runs.append(start(order, tmp_path_factory.mktemp("runs"), Reporter()).path)
    return runs[0], runs[1]


@dataclass(frozen=True)
class Case:
    """A copy of a run to tamper with, a file that must not appear, and another run."""

    path: Path
    canary: Path
    other: Path


def pickle_beside(case: Case) -> None:
    (case.path / "extra.pkl").write_bytes(pickle.dumps(Bomb(case.canary)))


def pickle_as_weights(case: Case) -> None:
    (case.path / "model.safetensors").write_bytes(pickle.dumps(Bomb(case.canary)))


def tag(case: Case) -> None:
    file = case.path / "resolved.yaml"
    bomb = f"!!python/object/apply:os.mknod ['{case.canary}']"
    file.write_text(file.read_text().replace("seed: 0", f"seed: {bomb}", 1))


def link_out(case: Case) -> None:
    (case.path / "model.safetensors").unlink()
    (case.path / "model.safetensors").symlink_to(case.other / "model.safetensors")


def swapped_weights(case: Case) -> None:
    shutil.copy(case.other / "model.safetensors", case.path / "model.safetensors")


def swapped_preprocessing(case: Case) -> None:
    (case.path / "preprocessing.json").write_text("{}")


def climbing_name(case: Case) -> None:
    manifest = json.loads((case.path / "manifest.json").read_text())
    manifest["files"] = {f"../../{k}": v for k, v in manifest["files"].items()}
    (case.path / "manifest.json").write_text(json.dumps(manifest))


TAMPERED = [
    pickle_beside, pickle_as_weights, tag, link_out, swapped_weights, swapped_preprocessing,
    climbing_name,
]  # fmt: skip


@pytest.mark.parametrize("tamper", TAMPERED, ids=lambda function: function.__name__)
def test_a_tampered_run_is_refused(
    trained: tuple[Path, Path],
    tamper: Callable[[Case], None],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path, canary = tmp_path / "run", tmp_path / "canary"
    shutil.copytree(trained[0], path)
    assert run(["eval", str(path)]) == 0
    tamper(Case(path, canary, trained[1]))
    capsys.readouterr()
    assert run(["eval", str(path)]) == 3
    told = capsys.readouterr().err
    assert "Traceback" not in told
    assert 0 < len(told.strip().splitlines()) <= 3
    for command in (["show", str(path)], ["compare", str(path), str(trained[1])]):
        assert run(command) in (0, 3)  # they read less than eval does
    assert run(["train", "--resume", str(path), "--epochs", "3"]) in (0, 3)
    assert not canary.exists()
