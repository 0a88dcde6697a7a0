"""From a config to a finished run, and exactly on after an interruption or a fault."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nnexp.config.experiment import Experiment
from nnexp.errors import (
    ConfigError,
    DataError,
    Diverged,
    Interrupted,
    LockedRun,
    NnexpError,
    RunError,
    Terminated,
    UsageError,
)
from nnexp.runs import execute, files
from nnexp.runs.execute import Order, Reporter, start
from nnexp.runs.resume import resume
from nnexp.runs.rundir import RunDir
from nnexp.runs.score import evaluate_run
from nnexp.train.device import choose_device
from nnexp.train.state import TrainState

EXACT = ("model.safetensors", "last.safetensors", "metrics.csv", "predictions.csv", "summary.json")
SMALL: dict[str, Any] = {
    "name": "small",
    "data": {"source": "iris"},
    "model": {"name": "mlp", "hidden": [6], "batch_norm": True, "dropout": 0.2},
    "training": {"epochs": 4, "batch_size": 16, "checkpoint_seconds": 0},
}
IMAGES: dict[str, Any] = {
    "name": "images",
    "data": {"source": "digits", "split": {"train": 0.1, "dev": 0.1, "test": 0.1}},
    "model": {"name": "cnn", "channels": [3], "hidden": [6], "dropout": 0.2},
    "training": {"epochs": 3, "batch_size": 64, "checkpoint_seconds": 0},
}


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def order(config: dict[str, Any], **keys: Any) -> Order:
    return Order(Experiment.model_validate(config), "as written\n", Path.cwd(), **keys)


def contents(run: RunDir) -> dict[str, bytes]:
    """The files that must not depend on interruptions, of a run or of a group's members."""
    homes = run.members() if run.read_manifest()["kind"] == "group" else [run]
    return {f"{h.path.name}/{n}": (h.path / n).read_bytes() for h in homes for n in EXACT} | {
        "summary": run.summary.read_bytes()
    }


def same(a: RunDir, b: RunDir) -> bool:
    one, two = contents(a), contents(b)
    if a.read_manifest()["kind"] == "run":
        one, two = ({k.split("/")[-1]: v for k, v in d.items()} for d in (one, two))
    return one == two


class StopsAt(Reporter):
    """Sends the process a signal at the end of an epoch."""

    def __init__(self, epoch: int, number: int = signal.SIGINT) -> None:
        self.left, self.number, self.notes = epoch, number, list[str]()

    def note(self, text: str) -> None:
        self.notes.append(text)

    def epoch(self, now: TrainState) -> None:
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), self.number)


def test_what_a_run_leaves(tmp_path: Path) -> None:
    run = start(order(SMALL), tmp_path, Reporter())
    manifest, summary = run.read_manifest(), run.read_json("summary.json")
    assert manifest["status"] == summary["status"] == "finished"
    assert (manifest["kind"], manifest["seed"], manifest["split_seed"]) == ("run", 0, 0)
    assert manifest["parameters"] == 4 * 6 + 12 + 6 * 3 + 3
    assert set(summary["test"]) == {"accuracy", "loss", "error"}
    assert summary["test"]["accuracy"] == pytest.approx(1 - summary["test"]["error"])
    assert (summary["epochs"], summary["best_epoch"]) == (4, 4)
    run.verify(manifest["files"])
    rows = run.read_text("metrics.csv").splitlines()
    assert len(rows) == 5
    assert rows[0].startswith("epoch,step,lr,train/accuracy")
    lines = run.read_text("predictions.csv").splitlines()
    assert lines[0] == "split,id,target,prediction,loss,output_0,output_1,output_2"
    counts = manifest["split"]["counts"]
    assert len(lines) == 1 + counts["dev"] + counts["test"]
    right = [line.split(",")[2] == line.split(",")[3] for line in lines if line.startswith("test")]
    assert np.mean(right) == pytest.approx(summary["test"]["accuracy"])
    assert run.config.read_text() == "as written\n"


def test_resolved_trains_the_same_run_again(tmp_path: Path) -> None:
    run = start(order(SMALL), tmp_path, Reporter())
    again = start(order(run.read_yaml("resolved.yaml")), tmp_path, Reporter())
    assert same(run, again)


def test_a_group_of_seeds(tmp_path: Path) -> None:
    group = start(order(SMALL, seeds=3), tmp_path, Reporter())
    members = group.members()
    assert [m.read_manifest()["seed"] for m in members] == [0, 1, 2]
    assert len({m.read_manifest()["split"]["test"] for m in members}) == 1
    summary = group.read_json("summary.json")
    values = [m.read_json("summary.json")["test"]["loss"] for m in members]
    found = summary["test"]["loss"]
    assert found["mean"] == pytest.approx(np.mean(values))
    assert found["sd"] == pytest.approx(np.std(values, ddof=1))
    half = 4.302652729911275 * np.std(values, ddof=1) / np.sqrt(3)  # t of 2 degrees of freedom
    assert found["interval"] == pytest.approx([np.mean(values) - half, np.mean(values) + half])
    # a member's own resolved config trains that member again
    alone = start(order(members[2].read_yaml("resolved.yaml")), tmp_path, Reporter())
    assert alone.read_json("summary.json")["test"]["loss"] == pytest.approx(values[2], rel=1e-4)


def test_a_group_of_splits(tmp_path: Path) -> None:
    group = start(
        order({**SMALL, "preprocessing": ["standardize"]}, splits=3), tmp_path, Reporter()
    )
    members = group.members()
    assert [m.read_manifest()["split_seed"] for m in members] == [0, 1, 2]
    assert len({m.read_manifest()["split"]["test"] for m in members}) == 3
    fitted = [m.read_tensors("preprocessing.safetensors") for m in members]
    assert not any(np.array_equal(fitted[0][k], fitted[1][k]) for k in fitted[0] if "mean" in k)
    alone = start(order(members[2].read_yaml("resolved.yaml")), tmp_path, Reporter())
    mine, other = (r.read_json("summary.json")["test"] for r in (members[2], alone))
    assert mine["loss"] == pytest.approx(other["loss"], rel=1e-4)


@pytest.mark.parametrize("seeds", [None, 3])
@pytest.mark.parametrize("config", [SMALL, IMAGES], ids=["mlp", "cnn"])
def test_an_interrupted_run_goes_on_exactly(
    tmp_path: Path, config: dict[str, Any], seeds: int | None
) -> None:
    whole = start(order(config, seeds=seeds), tmp_path / "whole", Reporter())
    with pytest.raises(Interrupted, match="--resume"):
        start(order(config, seeds=seeds), tmp_path / "cut", StopsAt(2))
    (path,) = (tmp_path / "cut" / config["name"]).iterdir()
    assert RunDir(path).read_manifest()["status"] == "interrupted"
    with pytest.raises(Terminated):
        resume(path, StopsAt(1, signal.SIGTERM))
    assert same(whole, resume(path, Reporter()))


def test_a_finished_run_is_left_alone(tmp_path: Path) -> None:
    run = start(order(SMALL), tmp_path, Reporter())
    before = contents(run)
    reporter = StopsAt(0)
    resume(run.path, reporter)
    assert contents(run) == before
    assert "finished" in reporter.notes[0]


def test_more_epochs_are_a_longer_run(tmp_path: Path) -> None:
    short = start(order(SMALL), tmp_path, Reporter())
    training = {**SMALL["training"], "epochs": 6}
    long = start(order({**SMALL, "training": training}), tmp_path, Reporter())
    assert same(resume(short.path, Reporter(), epochs=6), long)
    with pytest.raises(UsageError, match="less than"):
        resume(short.path, Reporter(), epochs=2)


def test_more_seeds_are_recorded_as_an_addition(tmp_path: Path) -> None:
    group = start(order(SMALL, seeds=2), tmp_path, Reporter())
    before = contents(group)
    resume(group.path, Reporter(), seeds=4)
    after, manifest = contents(group), group.read_manifest()
    assert [a["members"] for a in manifest["additions"]] == [2, 4]
    assert len(group.members()) == 4
    assert group.read_json("summary.json")["members"] == 4
    assert all(after[k] == v for k, v in before.items() if k[0] == "s" and "/" in k)
    run = start(order(SMALL), tmp_path, Reporter())
    with pytest.raises(UsageError, match="group"):
        resume(run.path, Reporter(), seeds=4)


def test_one_cycle_cannot_be_trained_longer(tmp_path: Path) -> None:
    run = start(order({**SMALL, "schedule": "one_cycle"}), tmp_path, Reporter())
    with pytest.raises(UsageError, match="one_cycle"):
        resume(run.path, Reporter(), epochs=9)


def test_a_second_writer_is_refused(tmp_path: Path) -> None:
    run = start(order(SMALL), tmp_path, Reporter())
    with run.lock(), pytest.raises(LockedRun):
        resume(run.path, Reporter(), epochs=9)


def test_changed_data_are_not_gone_on_with(tmp_path: Path) -> None:
    table = "a,b,y\n" + "".join(f"{i % 7},{i % 5},{'no' if i % 3 else 'yes'}\n" for i in range(60))
    (tmp_path / "t.csv").write_text(table)
    source = {"name": "csv", "path": str(tmp_path / "t.csv"), "target": "y"}
    with pytest.raises(Interrupted):
        start(order({**SMALL, "data": {"source": source}}), tmp_path / "out", StopsAt(1))
    (path,) = (tmp_path / "out" / "small").iterdir()
    (tmp_path / "t.csv").write_text(table.replace("6,", "5,"))
    with pytest.raises(RunError, match="changed"):
        resume(path, Reporter())


def test_divergence(tmp_path: Path) -> None:
    wild = {
        "optimizer": {"name": "sgd", "lr": 1000.0},
        "loss": "hinge",
        "regularization": {"l2": 1.0},
        "model": {"name": "mlp", "hidden": [6], "activation": "identity"},
        "training": {"epochs": 30},
    }
    with pytest.raises(Diverged, match="lower learning rate"):
        start(order({**SMALL, **wild}, seeds=2), tmp_path, Reporter())
    (path,) = (tmp_path / "small").iterdir()
    group = RunDir(path)
    assert group.read_manifest()["status"] == "diverged"
    assert [m.read_manifest()["status"] for m in group.members()] == ["diverged"] * 2
    assert json.loads(group.summary.read_text())["diverged"] == 2


@pytest.mark.parametrize(
    ("changes", "error", "text"),
    [
        ({"loss": "binary_cross_entropy"}, ConfigError, "2 classes"),
        ({"task": "regression", "loss": "hinge"}, ConfigError, "regression"),
        ({"model": {"name": "cnn"}}, ConfigError, "images"),
        ({"data": {"source": "diabetes"}, "loss": "hinge"}, ConfigError, "real-valued"),
        ({"loss": "mse"}, ConfigError, "3 classes"),
        (
            {"model": {"name": "sequential", "layers": ["flatten", "tanh"]}},
            ConfigError,
            "nothing to train",
        ),
        (
            {"data": {"source": {"name": "csv", "path": "no.csv", "target": "y"}}},
            DataError,
            "no.csv",
        ),
        (
            {"model": {"name": "sequential", "layers": [{"name": "linear", "units": 7}]}},
            ConfigError,
            "(3,)",
        ),
    ],
)
def test_what_does_not_fit_the_data_leaves_nothing(
    tmp_path: Path, changes: dict[str, Any], error: type[NnexpError], text: str
) -> None:
    with pytest.raises(error) as caught:
        start(order({**SMALL, **changes}), tmp_path, Reporter())
    assert text in str(caught.value)
    assert not any(tmp_path.iterdir())


class Faults:
    """Counts operations on files, and fails the one numbered `at`."""

    def __init__(self, at: int, monkeypatch: pytest.MonkeyPatch) -> None:
        self.at, self.count = at, 0
        for name in ("_create", "_write", "_sync", "_rename"):
            monkeypatch.setattr(files, name, self._wrap(getattr(files, name)))

    def _wrap(self, operation: Any) -> Any:
        def run(*args: Any) -> Any:
            self.count += 1
            if self.count == self.at:
                raise OSError(5, "an injected fault")
            return operation(*args)

        return run


@pytest.mark.parametrize("seeds", [None, 2])
def test_a_fault_at_any_write_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seeds: int | None
) -> None:
    config = {**SMALL, "training": {**SMALL["training"], "epochs": 2, "batch_size": 90}}
    with monkeypatch.context() as patch:
        counter = Faults(0, patch)
        whole = start(order(config, seeds=seeds), tmp_path / "whole", Reporter())
    assert counter.count > 30
    for at in range(1, counter.count + 1):
        out = tmp_path / str(at)
        with monkeypatch.context() as patch:
            Faults(at, patch)
            with pytest.raises(NnexpError, match="injected"):
                start(order(config, seeds=seeds), out, Reporter())
        (path,) = (out / "small").iterdir()
        if not (path / "manifest.json").exists():  # it failed before there was a run
            with pytest.raises(RunError, match="not a run"):
                resume(path, Reporter())
            continue
        run = resume(path, Reporter())
        assert same(whole, run), at
        assert run.read_manifest()["status"] == "finished"


def test_device_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UsageError, match="CUDA"):
        choose_device("cuda")
    assert choose_device("auto").type == "cpu"


def test_a_pack_that_does_not_fit_is_split_and_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = start(order(SMALL, seeds=5), tmp_path / "whole", Reporter())
    monkeypatch.setattr(execute, "members_that_fit", lambda *_: 2)
    reporter = StopsAt(3)
    with pytest.raises(Interrupted):
        start(order(SMALL, seeds=5), tmp_path / "split", reporter)
    assert any("2 train at a time" in note for note in reporter.notes)
    (path,) = (tmp_path / "split" / "small").iterdir()
    monkeypatch.undo()  # what was formed stays, whatever fits now
    group = resume(path, Reporter())
    assert group.read_manifest()["packs"] == [[0, 1], [2, 3], [4]]
    mean = [r.read_json("summary.json")["test"]["loss"]["mean"] for r in (whole, group)]
    assert mean[0] == pytest.approx(mean[1], rel=1e-5)


def table(path: Path, rows: int = 90) -> dict[str, Any]:
    """A small csv of two columns and two classes, as a source."""
    lines = [f"{i % 13},{i % 7},{'no' if i % 3 else 'yes'}" for i in range(rows)]
    path.write_text("a,b,y\n" + "\n".join(lines) + "\n")
    return {"name": "csv", "path": str(path), "target": "y"}


def index(path: Path, rows: range) -> str:
    path.write_text("\n".join(map(str, rows)))
    return str(path)


def test_split_files_that_changed_are_noticed(tmp_path: Path) -> None:
    source = table(tmp_path / "t.csv")
    split = {
        "train": index(tmp_path / "train.txt", range(60)),
        "test": index(tmp_path / "test.txt", range(60, 90)),
    }
    run = start(order({**SMALL, "data": {"source": source, "split": split}}), tmp_path, Reporter())
    assert evaluate_run(run.path)[0].notes == []
    index(tmp_path / "train.txt", range(40))
    index(tmp_path / "test.txt", range(50, 90))
    (scores,) = evaluate_run(run.path)
    assert "changed since training" in scores.notes[0]
    with pytest.raises(RunError, match="split"):
        resume(run.path, Reporter(), epochs=9)


def test_splits_of_different_size_train_in_packs_of_their_own(tmp_path: Path) -> None:
    source = table(tmp_path / "t.csv")
    for number in range(3):
        index(tmp_path / f"train{number}.txt", range(60 - number % 2))
        index(tmp_path / f"test{number}.txt", range(60 + number % 2, 90))
    split = {"train": f"{tmp_path}/train{{seed}}.txt", "test": f"{tmp_path}/test{{seed}}.txt"}
    config = {**SMALL, "data": {"source": source, "split": split}}
    group = start(order(config, splits=3), tmp_path, Reporter())
    assert group.read_manifest()["packs"] == [[0, 2], [1]]
    assert [m.read_manifest()["split"]["counts"]["test"] for m in group.members()] == [30, 29, 30]


def test_a_member_is_not_resumed_without_its_group(tmp_path: Path) -> None:
    group = start(order(SMALL, seeds=2), tmp_path, Reporter())
    before = contents(group)
    with pytest.raises(RunError, match="member of a group"):
        resume(group.path / "s0", Reporter(), epochs=9)
    assert contents(group) == before


def test_other_versions_and_a_lost_checkpoint_are_refused(tmp_path: Path) -> None:
    run = start(order(SMALL), tmp_path, Reporter())
    manifest = run.read_manifest()
    changed = {**manifest, "versions": {**manifest["versions"], "torch": "1.0"}}
    files.write_json(run.manifest, changed)
    with pytest.raises(RunError, match="versions"):
        resume(run.path, Reporter(), epochs=9)
    files.write_json(run.manifest, manifest)
    for path in run.checkpoints.iterdir():
        path.unlink()
    with pytest.raises(RunError, match="checkpoint"):
        resume(run.path, Reporter(), epochs=9)


def test_a_run_that_diverged_at_once_is_not_scored(tmp_path: Path) -> None:
    wild = {
        "optimizer": {"name": "sgd", "lr": 1000.0},
        "loss": "hinge",
        "regularization": {"l2": 1.0},
        "model": {"name": "mlp", "hidden": [6], "activation": "identity"},
        "training": {"epochs": 30},
    }
    with pytest.raises(Diverged):
        start(order({**SMALL, **wild}), tmp_path, Reporter())
    (path,) = (tmp_path / "small").iterdir()
    assert set(RunDir(path).read_json("summary.json")["test"].values()) == {None}
    with pytest.raises(RunError, match="diverged"):
        evaluate_run(path)


def test_scores_are_those_of_the_summary_wherever_the_run_is(tmp_path: Path) -> None:
    source = table(tmp_path / "t.csv")
    run = start(order({**SMALL, "data": {"source": source}}), tmp_path / "runs", Reporter())
    moved = tmp_path / "elsewhere" / "run"
    moved.parent.mkdir()
    run.path.rename(moved)
    (tmp_path / "data").mkdir()
    (tmp_path / "t.csv").rename(tmp_path / "data" / "t.csv")
    for split in ("train", "dev", "test"):
        (scores,) = evaluate_run(moved, split, data_root=tmp_path / "data")
        assert scores.metrics == scores.recorded
        assert scores.notes == []
    (scores,) = evaluate_run(moved, data=tmp_path / "data" / "t.csv")
    assert (scores.split, scores.examples) == ("data", 90)
    with (tmp_path / "data" / "t.csv").open("a") as file:
        file.write("1,1,no\n")
    (scores,) = evaluate_run(moved, data_root=tmp_path / "data")
    assert "changed since training" in scores.notes[0]


def test_regression_targets_are_written_as_they_are(tmp_path: Path) -> None:
    config = {"name": "d", "data": {"source": "diabetes"}, "model": "linear"}
    run = start(order({**config, "training": {"epochs": 1}}), tmp_path, Reporter())
    lines = [line.split(",") for line in run.read_text("predictions.csv").splitlines()[1:]]
    assert all(line[2] == str(float(line[2])) and float(line[2]).is_integer() for line in lines)


def test_newbob_watches_the_error_whatever_is_recorded(tmp_path: Path) -> None:
    config = {**SMALL, "schedule": "newbob", "metrics": ["accuracy"]}
    run = start(order(config), tmp_path, Reporter())
    assert "dev/error" in run.read_text("metrics.csv").splitlines()[0]


def test_the_last_weights_are_scored_too(tmp_path: Path) -> None:
    stopping = {"monitor": "dev/loss", "patience": 0}
    training = {**SMALL["training"], "epochs": 60, "early_stopping": stopping}
    optimizer = {"name": "adam", "lr": 0.1}
    config = {**SMALL, "training": training, "optimizer": optimizer}
    summary = start(order(config), tmp_path, Reporter()).read_json("summary.json")
    assert summary["best_epoch"] == summary["epochs"] - 1
    assert summary["last"]["dev"]["loss"] > summary["dev"]["loss"]
