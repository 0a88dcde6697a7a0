"""Splits of members, absent parts, and changed data, from a config to a finished run."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nnexp.cli.app import run as cli
from nnexp.config.experiment import Experiment
from nnexp.config.rules import without_data
from nnexp.errors import DataError, UsageError
from nnexp.runs import plan as planning
from nnexp.runs.execute import Order, Reporter, start
from nnexp.runs.plan import plan_members
from nnexp.runs.resume import resume
from nnexp.runs.rundir import RunDir
from nnexp.runs.score import evaluate_run


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def config(**data: Any) -> dict[str, Any]:
    return {
        "name": "small",
        "data": {"source": "iris", **data},
        "model": {"name": "mlp", "hidden": [5]},
        "training": {"epochs": 3, "batch_size": 16, "checkpoint_seconds": 0},
    }


def experiment(**data: Any) -> Experiment:
    return Experiment.model_validate(config(**data))


def trained(folder: Path, **data: Any) -> RunDir:
    return start(Order(experiment(**data), "as written\n", Path.cwd()), folder, Reporter())


class TestMembers:
    def test_folds_are_numbered_and_then_repeated(self) -> None:
        found = plan_members(experiment(split={"name": "k_fold", "folds": 3}), Path(), 7, True)
        splits = [member.data.split.dump() for member in found.members]
        assert [(s["seed"], s["fold"]) for s in splits] == [
            (0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2), (2, 0),
        ]  # fmt: skip
        assert found.split_of == list(range(7))
        tested = [set(t.parts["test"].tolist()) for t in found.tables]
        assert set.union(*tested[:3]) == set.union(*tested[3:6]) == set(range(150))
        assert tested[0] != tested[3]
        assert [m.seed for m in found.members] == list(range(7))

    def test_seeds_share_a_split(self) -> None:
        found = plan_members(experiment(split={"name": "k_fold", "fold": 1}), Path(), 3, False)
        assert (len(found.tables), found.split_of) == (1, [0, 0, 0])

    def test_an_ordered_split_has_no_other(self) -> None:
        ordered = experiment(split={"name": "ordered", "by": "sepal length (cm)"})
        assert len(plan_members(ordered, Path(), 1, True).members) == 1
        with pytest.raises(UsageError, match="--splits: an ordered split is the only one"):
            plan_members(ordered, Path(), 2, True)

    def test_a_fold_beyond_the_last_is_placed(self) -> None:
        wrong = experiment(split={"name": "k_fold", "folds": 3, "fold": 3})
        (problem,) = without_data(wrong)
        assert problem.path == "data.split.fold"

    def test_a_column_that_is_not_there(self) -> None:
        wrong = experiment(split={"name": "grouped", "by": "sepal lenth (cm)"})
        with pytest.raises(DataError, match=r"data.split.by: there is no column .* did you mean"):
            plan_members(wrong, Path(), 1, False)

    def test_suspicions_are_notes_of_the_plan(self) -> None:
        found = plan_members(experiment(split={"name": "ordered"}), Path(), 1, False)
        assert any(
            "1 example of test has the very features of one in dev" in note for note in found.notes
        )


class TestAbsentParts:
    SPLITS: tuple[dict[str, float], ...] = (
        {"train": 0.8, "dev": 0.2},
        {"train": 0.8, "test": 0.2},
        {"train": 1.0},
    )

    def write(self, folder: Path, split: dict[str, float], name: str) -> Path:
        path = folder / f"{name}.yaml"
        path.write_text(json.dumps(config(split=split) | {"name": name}))
        return path

    @pytest.mark.parametrize("split", SPLITS)
    @pytest.mark.parametrize("group", [[], ["--seeds", "2"], ["--splits", "2"]])
    def test_everything_uses_what_is_there(
        self,
        tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
        split: dict[str, float],
        group: list[str],
    ) -> None:
        runs = []
        for name in ("a", "b"):
            path = self.write(tmp_path, split, name)
            out = ["--out", str(tmp_path / "runs")]
            assert cli(["train", str(path), *group, *out]) == 0
            runs.append(Path(capsys.readouterr().out.splitlines()[-1]))
        summary = json.loads((runs[0] / "summary.json").read_text())
        assert {"train", "dev", "test"} & summary.keys() == split.keys()
        assert cli(["show", str(runs[0])]) == 0
        capsys.readouterr()
        for part in ("train", "dev", "test"):
            there = part in split
            assert cli(["eval", str(runs[0]), "--split", part]) == (0 if there else 2)
            told = capsys.readouterr()
            assert there or f"has no {part} split; it has {', '.join(split)}" in told.err
        code = cli(["compare", *map(str, runs)])
        told = capsys.readouterr()
        if split.keys() == {"train"}:
            assert code == 3
            assert "no results on test" in told.err
        else:
            assert code == 0
            assert "test" in split or "dev" in told.out

    @pytest.mark.parametrize("split", [s for s in SPLITS if "dev" not in s])
    def test_what_needs_dev_is_refused(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str], split: dict[str, float]
    ) -> None:
        path = self.write(tmp_path, split, "a")
        for choice in ("training.early_stopping={}", "schedule=newbob"):
            assert cli(["train", str(path), "--set", choice, "--out", str(tmp_path)]) == 2
            assert "needs a dev split" in capsys.readouterr().err

    def test_folds_without_dev_too(self) -> None:
        early = {"training": {"epochs": 2, "early_stopping": {}}}
        for split, fine in (({}, False), ({"dev": 0.2}, True), ({"holds": "dev"}, True)):
            asked = config(split={"name": "k_fold", **split}) | early
            assert (without_data(Experiment.model_validate(asked)) == []) is fine


CHANGES: dict[str, Any] = {
    "subset": 50,
    "label_noise": 0.2,
    "corruption": {"gaussian": 0.3, "mask": 0.1},
}


class TestChangedData:
    def test_what_is_trained_on(self) -> None:
        (table,) = plan_members(experiment(**CHANGES), Path(), 1, False).tables
        clean = planning.load(experiment())
        assert len(table.parts["train"]) == 50
        different = np.flatnonzero(table.targets != clean.target)
        assert len(different) == 10
        assert set(different) <= set(table.parts["train"])
        assert sum(table.pipeline.class_counts or ()) == 50

    def test_notes(self) -> None:
        notes = plan_members(experiment(**CHANGES), Path(), 1, False).notes
        assert "subset: 50 of 90 training examples are used" in notes
        assert "label_noise: 10 of 50 training examples have a wrong target" in notes

    @pytest.mark.parametrize("more", [{}, {"shuffle_labels": True}])
    def test_evaluation_gives_what_training_ended_with(
        self, tmp_path: Path, more: dict[str, Any]
    ) -> None:
        run = trained(tmp_path, **CHANGES, **more)
        for part in ("train", "dev", "test"):
            (scores,) = evaluate_run(run.path, part)
            assert scores.notes == []
            assert scores.metrics == scores.recorded

    def test_dev_and_test_are_held_against_the_true_labels(self, tmp_path: Path) -> None:
        run = trained(tmp_path, label_noise=1.0)
        clean = planning.load(experiment())
        assert clean.classes is not None
        with run.predictions.open() as file:
            rows = list(csv.DictReader(file))
        assert {row["split"] for row in rows} == {"dev", "test"}
        for row in rows:
            assert row["target"] == clean.classes[clean.target[int(row["id"])]]

    def test_new_data_are_taken_as_they_are(self, tmp_path: Path) -> None:
        rng = np.random.default_rng(0)
        x = rng.normal(size=(60, 2))
        lines = [f"{a},{b},{'yes' if a > b else 'no'}" for a, b in x]
        path = tmp_path / "rows.csv"
        path.write_text("\n".join(["a,b,y", *lines]))
        source = {"name": "csv", "path": str(path), "target": "y"}
        plain, noisy = (
            trained(tmp_path / name, source=source, **how)
            for name, how in (
                ("plain", {}),
                ("noisy", {"corruption": {"shift": 100.0, "on": ["eval"]}, "subset": 1.0 - 1e-9}),
            )
        )
        (clean,), (found,) = (evaluate_run(run.path, data=path) for run in (plain, noisy))
        assert found.examples == 60
        assert found.metrics == clean.metrics
        (shifted,) = evaluate_run(noisy.path, "test")
        assert shifted.metrics != evaluate_run(plain.path, "test")[0].metrics

    def test_data_that_are_read_as_needed_give_the_same_run(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        resident = trained(tmp_path / "a", **CHANGES)
        monkeypatch.setattr(planning, "RESIDENT_BYTES", 0)
        streamed = trained(tmp_path / "b", **CHANGES)
        assert any(
            "read as they are needed" in line for line in streamed.log.read_text().splitlines()
        )
        for name in ("model.safetensors", "metrics.csv", "predictions.csv", "summary.json"):
            assert (resident.path / name).read_bytes() == (streamed.path / name).read_bytes()

    def test_a_longer_run_goes_on_with_the_same_data(self, tmp_path: Path) -> None:
        """Five epochs at once, and three with two more."""
        longer = config(**CHANGES)
        longer["training"]["epochs"] = 5
        order = Order(Experiment.model_validate(longer), "as written\n", Path.cwd())
        whole = start(order, tmp_path / "a", Reporter())
        begun = trained(tmp_path / "b", **CHANGES)
        resume(begun.path, Reporter(), epochs=5)
        for name in ("model.safetensors", "metrics.csv", "predictions.csv"):
            assert (whole.path / name).read_bytes() == (begun.path / name).read_bytes()
