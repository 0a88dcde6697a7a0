"""A committee answers the mean of what its members answer, and is a run like others."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from sklearn.datasets import load_iris

import nnexp
from nnexp.analysis.comparing.compare import compare
from nnexp.analysis.comparing.time_to import compare_times, parse
from nnexp.cli.app import run
from nnexp.components.losses.loss import Loss
from nnexp.errors import DamagedRun, RunError, UsageError
from nnexp.registry import choose
from nnexp.runs import score
from nnexp.runs.apply import apply_run
from nnexp.runs.committee import mean_outputs
from nnexp.runs.ensemble import ensemble
from nnexp.runs.rundir import RunDir
from nnexp.runs.score import evaluate_run


def trained(folder: Path, *options: str, **keys: Any) -> Path:
    config = {
        "data": {"source": "iris"},
        "model": {"name": "mlp", "hidden": [4]},
        "training": {"epochs": 4, "precision": "float64"},
        **keys,
    }
    folder.mkdir(exist_ok=True)
    (folder / "one.yaml").write_text(yaml.dump(config))
    before = set(folder.glob("one/*"))
    assert run(["train", str(folder / "one.yaml"), "--out", str(folder), "-q", *options]) == 0
    (found,) = set(folder.glob("one/*")) - before
    return found


def table(path: Path) -> list[dict[str, str]]:
    with (path / "predictions.csv").open() as file:
        return list(csv.DictReader(file))


def outputs(path: Path) -> np.ndarray:
    """The outputs in predictions.csv, `[N, K]` float64."""
    rows = table(path)
    names = [name for name in rows[0] if name.startswith("output_")]
    return np.array([[float(row[name]) for name in names] for row in rows])


def softmax(x: np.ndarray) -> np.ndarray:
    powers = np.exp(x - x.max(-1, keepdims=True))
    return np.asarray(powers / powers.sum(-1, keepdims=True))


def test_probabilities_are_averaged(tmp_path: Path) -> None:
    group = trained(tmp_path, "--seeds", "3")
    made, notes = ensemble([group], tmp_path)
    assert notes == []
    members = [outputs(group / f"s{number}") for number in range(3)]
    mean = np.mean([softmax(one) for one in members], axis=0)
    np.testing.assert_allclose(softmax(outputs(made.path)), mean, rtol=1e-12)
    summary = made.read_summary()
    rows = table(made.path)
    right = [-np.log(p[int(row["target"])]) for p, row in zip(mean, rows, strict=True)
             if row["split"] == "test"] if rows[0]["target"].isdigit() else None  # fmt: skip
    if right is not None:
        assert summary["test"]["loss"] == pytest.approx(np.mean(right), rel=1e-9)
    hit = [row["prediction"] == row["target"] for row in rows if row["split"] == "test"]
    assert summary["test"]["accuracy"] == pytest.approx(np.mean(hit))


def test_values_are_averaged_in_their_units(tmp_path: Path) -> None:
    paths = [trained(tmp_path, data={"source": "diabetes"}, seed=seed) for seed in (0, 1)]
    made, _ = ensemble(paths, tmp_path)
    guess = [np.array([float(row["prediction"]) for row in table(p)]) for p in (*paths, made.path)]
    np.testing.assert_allclose(guess[2], (guess[0] + guess[1]) / 2, rtol=1e-9)
    test = [row["split"] == "test" for row in table(made.path)]
    target = np.array([float(row["target"]) for row in table(made.path)])
    expected = np.sqrt(np.square(guess[2] - target)[test].mean())
    assert made.read_summary()["test"]["rmse"] == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(
    ("loss", "columns"),
    [
        ("cross_entropy", 4),
        ("binary_cross_entropy", 1),
        ("multilabel_bce", 3),
        ("hinge", 3),
    ],
)
def test_outputs_give_the_mean_probability(loss: str, columns: int) -> None:
    spec = choose(Loss, loss)
    assert isinstance(spec, Loss)
    draw = torch.Generator().manual_seed(1)
    each = torch.randn(5, 20, columns, generator=draw, dtype=torch.float64)
    found, chances = mean_outputs(spec, each), spec.probabilities(each)
    if chances is None:
        torch.testing.assert_close(found, each.mean(0))
    else:
        again = spec.probabilities(found[None])
        assert again is not None
        torch.testing.assert_close(again[0], chances.mean(0), rtol=1e-9, atol=1e-12)


def test_it_is_better_than_its_mean_member(tmp_path: Path) -> None:
    group = trained(tmp_path, "--seeds", "5", data={"source": "digits"})
    made, _ = ensemble([group], tmp_path)
    summary = json.loads((group / "summary.json").read_text())
    assert made.read_summary()["test"]["loss"] < summary["test"]["loss"]["mean"]
    assert made.read_summary()["test"]["accuracy"] > summary["test"]["accuracy"]["mean"]


def test_it_is_a_run_that_can_be_moved(tmp_path: Path, capsys: Any) -> None:
    group = trained(tmp_path / "old", "--seeds", "2")
    made, _ = ensemble([group], tmp_path, "both")
    shutil.rmtree(tmp_path / "old")
    home = tmp_path / "elsewhere"
    shutil.move(made.path, home)
    (scores,) = evaluate_run(home)
    assert scores.recorded == scores.metrics
    assert scores.notes == []
    (scores,) = evaluate_run(home, "dev")
    assert scores.recorded == scores.metrics
    for command in (["eval"], ["show"], ["runs"]):
        capsys.readouterr()
        assert run([*command, str(home)]) == 0
        assert capsys.readouterr().out
    assert run(["train", "--resume", str(home), "--epochs", "9"]) != 0
    assert "can't be trained on" in capsys.readouterr().err


def test_it_can_be_compared(tmp_path: Path) -> None:
    group = trained(tmp_path, "--seeds", "2")
    made, _ = ensemble([group], tmp_path)
    found = compare([made.path, group / "s0"]).to_json()
    assert found["config"] == [{"path": "committee", "values": ["of 2 models", None]}]
    goal = parse("time_to(dev/loss <= 9)")
    with pytest.raises(UsageError, match="is a committee, which has no epochs"):
        compare_times([made.path, group / "s0"], goal)


def test_new_examples_get_each_members_answer(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(90, 2))
    lines = [f"{a},{b},{'yes' if a > b else 'no'}" for a, b in x]
    file = tmp_path / "data.csv"
    file.write_text("\n".join(["a,b,y", *lines, ""]))
    data = {"source": {"name": "csv", "path": str(file), "target": "y"}}
    group = trained(tmp_path, "--seeds", "2", data=data)
    made, _ = ensemble([group], tmp_path)
    answers = apply_run(made.path, file)
    assert answers.probabilities is not None
    assert answers.probabilities.shape == (2, 90, 2)
    (scores,) = evaluate_run(made.path, data=file)
    mean = answers.probabilities.mean(0)
    codes = np.array([line.endswith("yes") for line in lines], int)
    assert scores.metrics["accuracy"] == pytest.approx(np.mean(mean.argmax(1) == codes))
    assert scores.metrics["loss"] == pytest.approx(-np.log(mean[np.arange(90), codes]).mean())


def test_python_reads_it_as_any_run(tmp_path: Path) -> None:
    group = trained(tmp_path, "--seeds", "2")
    made, _ = ensemble([group], tmp_path)
    run_of_it = nnexp.load(made.path)
    assert set(run_of_it.predictions["prediction"]) <= {"setosa", "versicolor", "virginica"}
    x = load_iris().data[:5]
    found, expected = run_of_it.predict(x), nnexp.load(group).predict(x)
    np.testing.assert_array_equal(found["p(setosa)"], expected["p(setosa)"])
    assert len(run_of_it.evaluate(x, ["setosa"] * 5)) == 1
    with pytest.raises(RunError, match="is a committee: it can't be trained on"):
        run_of_it.resume(epochs=9)


def test_a_changed_member_is_refused(tmp_path: Path, capsys: Any) -> None:
    made, _ = ensemble([trained(tmp_path, "--seeds", "2")], tmp_path)
    weights = made.path / "m1" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    assert run(["eval", str(made.path)]) != 0
    assert "was changed since" in capsys.readouterr().err


def test_splits_that_differ_elsewhere_are_left_out(tmp_path: Path) -> None:
    one = trained(tmp_path)
    other = trained(tmp_path, data={"source": "iris", "subset": 30})
    made, _ = ensemble([one, other], tmp_path)
    assert set(made.read_summary()) >= {"dev", "test"}
    assert made.read_summary()["train"] == {}
    with pytest.raises(UsageError, match="train splits differ"):
        evaluate_run(made.path, "train")
    assert run(["show", str(made.path)]) == 0


@pytest.mark.parametrize(
    ("keys", "what"),
    [
        ({"data": {"source": "wine"}}, "classes|target|data"),
        ({"data": {"source": "diabetes"}}, "task"),
        ({"data": {"source": "iris", "split": {"seed": 5}}}, "test split"),
        ({"loss": "hinge"}, "loss"),
    ],
)
def test_members_must_answer_one_question(
    tmp_path: Path, capsys: Any, keys: dict[str, Any], what: str
) -> None:
    paths = [trained(tmp_path), trained(tmp_path, **keys)]
    with pytest.raises(UsageError, match=rf"differ in their ({what}), which a committee's"):
        ensemble(paths, tmp_path)
    capsys.readouterr()
    assert run(["ensemble", *map(str, paths), "-o", str(tmp_path)]) == 2
    assert not (tmp_path / "ensemble").exists()


def test_one_run_is_no_committee(tmp_path: Path, capsys: Any) -> None:
    path = trained(tmp_path)
    assert run(["ensemble", str(path)]) == 2
    assert "needs two runs or more" in capsys.readouterr().err


def test_the_command_prints_its_path_last(tmp_path: Path, capsys: Any) -> None:
    group = trained(tmp_path, "--seeds", "2")
    capsys.readouterr()
    assert run(["ensemble", str(group), "-o", str(tmp_path), "--name", "two"]) == 0
    path = Path(capsys.readouterr().out.strip().splitlines()[-1])
    assert path.parent == tmp_path / "two"
    assert run(["ensemble", str(group), "-o", str(tmp_path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["status"] == "finished"


def test_a_run_given_twice_would_weigh_double(tmp_path: Path) -> None:
    one = trained(tmp_path)
    with pytest.raises(UsageError, match="is given twice"):
        ensemble([one, one], tmp_path)
    group = trained(tmp_path, "--seeds", "2")
    with pytest.raises(UsageError, match="s1 is given twice"):
        ensemble([group, group / "s1"], tmp_path)


def test_show_says_whose_mean_it_is(tmp_path: Path, capsys: Any) -> None:
    one, other = trained(tmp_path), trained(tmp_path, seed=1)
    made, _ = ensemble([one, other], tmp_path)
    capsys.readouterr()
    assert run(["show", str(made.path)]) == 0
    text = capsys.readouterr().out
    assert "committee of 2 models" in text
    assert "the mean of 2 models" in text
    assert "config of m0" in text
    assert "epochs, " not in text.partition("results")[2]
    assert one.name in text
    assert other.name in text
    with pytest.raises(
        UsageError, match=r"take one of its networks, --member \(in Python member=\) 0 or 1"
    ):
        nnexp.load_module(made.path)


def test_members_of_other_classes_are_damage(tmp_path: Path, monkeypatch: Any) -> None:
    made, _ = ensemble([trained(tmp_path, "--seeds", "2")], tmp_path)
    real = score.read_pipeline

    def forged(run: RunDir) -> Any:
        found = real(run)
        return replace(found, classes=("a", "b", "c")) if run.path.name == "m1" else found

    monkeypatch.setattr(score, "read_pipeline", forged)
    with pytest.raises(DamagedRun, match="its classes are others than those of"):
        evaluate_run(made.path)


def test_show_tells_what_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = trained(tmp_path)
    (path / "model.safetensors").unlink()
    capsys.readouterr()
    assert run(["show", str(path)]) == 0
    shown = capsys.readouterr()
    assert "missing: model.safetensors" in shown.out + shown.err
