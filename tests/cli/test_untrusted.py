"""A run directory from a stranger: refused with a reason, and nothing in it is executed."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch

from nnexp.cli.app import run
from nnexp.config.experiment import Experiment
from nnexp.runs.checkpoint import Checkpoints
from nnexp.runs.execute import Order, Reporter, start


class Bomb:
    """A pickle that leaves a canary when it is read."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return Path.touch, (self.canary,)


@pytest.fixture(scope="module")
def strangers(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
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


def edited_summary(case: Case) -> None:
    file = case.path / "summary.json"
    file.write_text(file.read_text().replace("0.", "0.9", 1))


def edited_config(case: Case) -> None:
    file = case.path / "resolved.yaml"
    file.write_text(file.read_text().replace("batch_size: 64", "batch_size: 65"))


def nested(case: Case) -> None:
    (case.path / "manifest.json").write_text('{"a":' * 100_000)


def strange_manifest(case: Case) -> None:
    change(case, threads="all of them")


def pipe(case: Case) -> None:
    os.mkfifo(case.path / "events.out")


def pickle_as_log(case: Case) -> None:
    (case.path / "log.txt").write_bytes(pickle.dumps(Bomb(case.canary)))


def climbing_name(case: Case) -> None:
    files = json.loads((case.path / "manifest.json").read_text())["files"]
    change(case, files={f"../../{k}": v for k, v in files.items()})


def change(case: Case, **entries: Any) -> None:
    """Other entries in the manifest."""
    manifest = json.loads((case.path / "manifest.json").read_text())
    (case.path / "manifest.json").write_text(json.dumps(manifest | entries))


def seal(case: Case) -> None:
    """Makes the manifest fit the files, as one who knows the format can."""
    sealed = json.loads((case.path / "manifest.json").read_text())["files"]
    hashes = {k: sha256((case.path / k).read_bytes()).hexdigest() for k in sealed}
    change(case, files=hashes)


TAMPERED = [
    pickle_beside, pickle_as_weights, pickle_as_log, tag, link_out, swapped_weights,
    swapped_preprocessing, edited_summary, edited_config, climbing_name, nested, strange_manifest,
    pipe,
]  # fmt: skip

Refused = Callable[..., str]


@pytest.fixture
def case(strangers: tuple[Path, Path], tmp_path: Path) -> Case:
    path = tmp_path / "run"
    shutil.copytree(strangers[0], path)
    return Case(path, tmp_path / "canary", strangers[1])


@pytest.fixture
def refused(case: Case, capsys: pytest.CaptureFixture[str]) -> Refused:
    """Runs a command, which must refuse with a reason; the reason."""

    def refused(*command: object) -> str:
        capsys.readouterr()
        assert run(list(map(str, command))) == 3
        told = capsys.readouterr().err
        assert "Traceback" not in told
        assert 0 < len(told.strip().splitlines()) <= 3
        assert not case.canary.exists()
        return told

    return refused


def test_the_canary_is_alive_and_the_run_is_sound(case: Case) -> None:
    pickle.loads(pickle.dumps(Bomb(case.canary)))
    assert case.canary.exists()
    path = str(case.path)
    for command in (["eval", path], ["show", path], ["compare", path, str(case.other)]):
        assert run(command) == 0


@pytest.mark.parametrize("tamper", TAMPERED, ids=lambda function: function.__name__)
def test_a_tampered_run_is_refused(
    tamper: Callable[[Case], None], case: Case, refused: Refused
) -> None:
    tamper(case)
    refused("eval", case.path)
    refused("show", case.path)
    refused("compare", case.path, case.other)
    refused("train", "--resume", case.path, "--epochs", 3)


@pytest.mark.parametrize("tamper", [pickle_as_weights, tag, swapped_preprocessing])
def test_a_tampered_run_is_refused_when_its_manifest_was_tampered_with_too(
    tamper: Callable[[Case], None], case: Case, refused: Refused
) -> None:
    tamper(case)
    seal(case)
    refused("eval", case.path)


@pytest.mark.parametrize("name", ["manifest.json", "summary.json", "preprocessing.json"])
def test_json_of_any_content(name: str, case: Case, capsys: pytest.CaptureFixture[str]) -> None:
    """Every entry in turn is replaced or left out: refused with a reason, or of no consequence."""
    original = (case.path / name).read_text()
    # every third, for time: each kind of change meets most entries of every kind
    for number, change_entry in enumerate(islice(changes(json.loads(original)), 0, None, 3)):
        (case.path / name).write_text(json.dumps(change_entry))
        if name != "manifest.json":
            seal(case)
        for command in ("eval", "show"):
            assert run([command, str(case.path)]) in (0, 3), (number, change_entry)
        (case.path / name).write_text(original)
    assert "Traceback" not in capsys.readouterr().err


def changes(data: Any) -> Iterator[Any]:
    """The same data with one entry, at any depth, replaced or left out."""
    yield from (None, "../../x", -1, [], {"a": [1]}, 10**400)
    if isinstance(data, dict):
        for key, value in data.items():
            yield {k: v for k, v in data.items() if k != key}
            yield from ({**data, key: changed} for changed in changes(value))
    elif isinstance(data, list):
        for i, value in enumerate(data[:2]):
            yield from ([*data[:i], changed, *data[i + 1 :]] for changed in changes(value))


def test_a_checkpoint_of_another_run(case: Case, refused: Refused) -> None:
    shutil.rmtree(case.path / "checkpoint")
    shutil.copytree(case.other / "checkpoint", case.path / "checkpoint")
    assert "is not this run's" in refused("train", "--resume", case.path, "--epochs", 3)


def test_another_config_on_the_way(case: Case, refused: Refused) -> None:
    edited_config(case)
    change(case, status="interrupted")
    assert "is not this run's" in refused("train", "--resume", case.path)


def test_a_checkpoint_of_any_content(case: Case, capsys: pytest.CaptureFixture[str]) -> None:
    change(case, status="interrupted")
    checkpoints = Checkpoints(case.path / "checkpoint", prefix="pack0-")
    loaded = checkpoints.load("torch")
    assert loaded is not None
    checkpoints.save(loaded.tensors, loaded.state, loaded.number)
    states = [state for state in changes(loaded.state) if isinstance(state, dict)]
    tensors = [{k: v for k, v in loaded.tensors.items() if k != name} for name in loaded.tensors]
    tensors += [
        {**loaded.tensors, name: t[:, :-1]} for name, t in loaded.tensors.items() if t.ndim > 1
    ]
    cases = [(loaded.tensors, state) for state in states[::3]] + [
        (t, loaded.state) for t in tensors
    ]
    for number, (some, state) in enumerate(cases):
        checkpoints.save(some, state, loaded.number)
        assert run(["train", "--resume", str(case.path), "-q"]) in (0, 3), number
        change(case, status="interrupted")
    assert "Traceback" not in capsys.readouterr().err


def test_a_member_that_is_not_the_groups(
    group: Path, single: Path, tmp_path: Path, refused: Refused
) -> None:
    whole = tmp_path / "group"
    shutil.copytree(group, whole)
    shutil.rmtree(whole / "s1")
    assert "s1 is missing" in refused("eval", whole)
    shutil.copytree(single, whole / "s1")
    assert "is not a member" in refused("eval", whole)
    shutil.rmtree(whole / "s1")
    (whole / "s1").symlink_to("s0")
    assert "is not a member" in refused("eval", whole)
    assert "is not a member" in refused("compare", whole, group)
