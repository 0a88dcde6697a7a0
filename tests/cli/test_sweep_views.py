"""What the commands other than `sweep` make of a sweep, and its pictures."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from nnexp.cli.app import run

SEARCH = {"optimizer.lr": {"log_uniform": [1e-3, 0.3]}, "model.dropout": {"uniform": [0, 0.5]}}
CONFIG: dict[str, Any] = {
    "name": "small",
    "data": {"source": "iris"},
    "model": {"name": "mlp", "hidden": [4]},
    "optimizer": "momentum",
    "training": {"epochs": 2, "batch_size": 32},
    "sweep": {"search": SEARCH, "trials": 8, "fresh_seeds": 2},
}


def make(folder: Path, config: dict[str, Any], *options: str) -> Path:
    path = folder / "small.yaml"
    path.write_text(yaml.safe_dump(config))
    line = ["sweep", str(path), "--out", str(folder / "runs"), "--workers", "1", "--quiet"]
    assert run([*line, *options]) == 0
    (found,) = (folder / "runs" / "small").iterdir()
    return found


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("swept"), CONFIG)


@pytest.fixture(scope="module")
def arms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pair = {"raw": {"preprocessing": []}, "scaled": {"preprocessing": ["standardize"]}}
    config = {**CONFIG, "sweep": {**CONFIG["sweep"], "trials": 3, "arms": pair}}
    return make(tmp_path_factory.mktemp("arms"), config)


@pytest.fixture
def cut(swept: Path, tmp_path: Path) -> Path:
    """A sweep that was killed before it had a winner."""
    path = tmp_path / "runs" / "small" / "killed"
    shutil.copytree(swept, path)
    for name in ("best", "winner"):
        shutil.rmtree(path / name)
    for name in ("summary.json", "best.yaml"):
        (path / name).unlink()
    state = json.loads((path / "sweep.json").read_text())
    (path / "sweep.json").write_text(json.dumps({**state, "status": "running"}))
    return path


def said(capsys: pytest.CaptureFixture[str], *line: object, code: int = 0) -> str:
    capsys.readouterr()
    assert run([str(part) for part in line]) == code
    told = capsys.readouterr()
    return " ".join((told.out + told.err).split())


def as_json(capsys: pytest.CaptureFixture[str], *line: object) -> Any:
    capsys.readouterr()
    assert run([*(str(part) for part in line), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_runs_lists_a_sweep_as_one_line(swept: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (line,) = as_json(capsys, "runs", swept.parents[1])
    best = json.loads((swept / "summary.json").read_text())["best"]["score"]
    expected = {
        "name": "small", "path": str(swept), "kind": "sweep", "status": "finished", "members": 8,
        "primary": "dev/accuracy", "value": best, "problem": "",
    }  # fmt: skip
    assert {key: line[key] for key in expected} == expected
    told = said(capsys, "runs", swept.parents[1])
    assert f"sweep, 8 trials best dev/accuracy {best:.4f}" in told


def test_runs_lists_a_killed_sweep_and_a_damaged_one(
    cut: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (line,) = as_json(capsys, "runs", cut)
    assert (line["status"], line["members"]) == ("interrupted", 8)
    (cut / "trials.csv").write_text("trial,state\n0,finished,1\n")
    assert "trials.csv is damaged: its rows" in said(capsys, "runs", cut)
    (cut / "trials.csv").unlink()
    (line,) = as_json(capsys, "runs", cut)
    assert (line["members"], line["value"]) == (0, None)
    (cut / "sweep.json").write_text("{")
    assert as_json(capsys, "runs", cut)[0]["status"] == "damaged"


def test_show(swept: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = said(capsys, "show", swept)
    for text in (
        "what sweep of 8 trials by random",
        "optimizer.lr log_uniform 0.001 to 0.3",
        "model.dropout uniform 0 to 0.5",
        "selection bias",
        "the winner's config",
    ):
        assert text in told
    assert "go on with" not in told
    data = as_json(capsys, "show", swept)
    assert (data["status"], data["summary"]["trials"]) == ("finished", 8)
    assert "--resolved is for runs" in said(capsys, "show", swept, "--resolved", code=2)


def test_show_of_a_sweep_under_way(cut: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = said(capsys, "show", cut)
    assert "results so far" in told
    assert "8 trials, 1 pack" in told
    assert "the winner's config" not in told
    assert f"go on with: nnexp sweep --resume {cut}" in told.replace("\n", " ")
    (cut / "trials.csv").unlink()
    assert "results" not in said(capsys, "show", cut)
    assert as_json(capsys, "show", cut)["summary"] is None


def test_show_of_arms(arms: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = said(capsys, "show", arms)
    assert "for each of the arms raw, scaled" in told
    assert "tuned against tuned" in told
    (line,) = as_json(capsys, "runs", arms)
    assert line["members"] == 6
    (arms / "summary.json").rename(arms / "aside")
    told = said(capsys, "show", arms)
    (arms / "aside").rename(arms / "summary.json")
    assert "selection bias" in told
    assert "tuned against tuned" not in told


@pytest.mark.parametrize("command", ["eval", "export", "predict", "compare"])
def test_commands_for_runs_say_what_to_take(
    swept: Path, cut: Path, arms: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    options: dict[str, list[object]] = {"predict": ["new.csv"], "compare": [swept / "best"]}
    rest = options.get(command, [])
    told = said(capsys, command, swept, *rest, code=3)
    assert f"{swept} is a sweep, not a run: take {swept / 'best'} (its best config's run)" in told
    assert f"or {swept / 'winner'} (the same on fresh seeds)" in told
    told = said(capsys, command, cut, *rest, code=3)
    assert f"a sweep that is not finished; go on with: nnexp sweep --resume {cut}" in told
    told = said(capsys, command, arms, *rest, code=3)
    assert f"take {arms / 'arms' / 'raw' / 'best'}" in told
    assert "likewise for the other arms" in told


def test_going_on_with_the_other_command(swept: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = said(capsys, "train", "--resume", swept, code=2)
    assert f"is a sweep; go on with: nnexp sweep --resume {swept}" in told
    told = said(capsys, "sweep", "--resume", swept / "best", code=3)
    assert f"go on with a run: nnexp train --resume {swept / 'best'}" in told
    assert "go on with" not in said(capsys, "sweep", "--resume", swept.parent, code=3)


def test_a_light_trial_says_how_to_train_it_again(
    swept: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = swept / "trials" / "0000", swept / "trials" / "0001"
    again = f"to train it again: nnexp train {first / 'resolved.yaml'}"
    told = said(capsys, "eval", first, code=3)
    assert "a trial of a sweep, which kept its scores but no weights" in told
    assert again in told
    told = said(capsys, "compare", first, second, code=3)
    assert "which kept its scores but no predictions" in told
    assert again in told
    assert run(["train", str(first / "resolved.yaml"), "--out", str(tmp_path), "--quiet"]) == 0
    (trained,) = tmp_path.glob("*/*/model.safetensors")
    assert run(["eval", str(trained.parent)]) == 0


def test_a_run_whose_predictions_were_deleted_is_no_trial(
    single: Path, other: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(single, copy)
    (copy / "predictions.csv").unlink()
    told = said(capsys, "compare", copy, other, code=3)
    assert "predictions.csv is missing" in told


def test_pictures_of_a_finished_sweep(
    swept: Path, arms: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "new" / "pictures"
    told = said(capsys, "sweep", "--resume", swept, "--plot", folder)
    assert f"picture: {folder / 'slices.png'}" in told
    assert {path.name for path in folder.iterdir()} == {"parallel.png", "slices.png"}
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in folder.iterdir())
    said(capsys, "sweep", "--resume", arms, "--plot", tmp_path / "arms", "--quiet")
    names = {f"{name}_{arm}.png" for name in ("parallel", "slices") for arm in ("raw", "scaled")}
    assert {path.name for path in (tmp_path / "arms").iterdir()} == names
    state = json.loads((arms / "arms" / "raw" / "sweep.json").read_text())
    assert state["scales"] == {"optimizer.lr": "log", "model.dropout": "linear"}


def test_one_picture_of_a_sweep(
    swept: Path, arms: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for kind in ("parallel", "slices"):
        picture = tmp_path / f"{kind}.svg"
        said(capsys, "plot", kind, swept, "-o", picture)
        said(capsys, "plot", kind, arms, "--arm", "raw", "-o", picture.with_suffix(".png"))
        assert picture.read_bytes().startswith(b"<?xml")
    line = ["plot", "slices", arms, "-o", tmp_path / "a.png"]
    assert "say which arm to draw with --arm; its arms are raw, scaled" in said(
        capsys, *line, code=2
    )
    assert "(received: rew)" in said(capsys, *line, "--arm", "rew", code=2)
    assert "it has no arms" in said(
        capsys, "plot", "slices", swept, "--arm", "raw", "-o", tmp_path / "a.png", code=2
    )


def test_pictures_that_can_not_be_are_refused_before_anything_is_trained(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "small.yaml"
    config.write_text(yaml.safe_dump(CONFIG))
    line = ["sweep", config, "--out", tmp_path / "out", "--plot"]
    assert "is a file; give a folder" in said(capsys, *line, config, code=2)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    told = said(capsys, *line, tmp_path / "pictures", code=2)
    assert "pip install 'nnexp[plot]'" in told
    assert not (tmp_path / "out").exists()


def test_an_ablation_is_told_from_a_sweep(cut: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state = json.loads((cut / "sweep.json").read_text())
    del state["sweep"]
    cells = [{"off": [], "home": "cells/all"}, {"off": [0], "home": "cells/without-dropout"}]
    told = {"factors": ["dropout"], "design": "factorial", "cells": cells, "packs": [0]}
    (cut / "sweep.json").write_text(json.dumps({**state, "ablation": told}))
    (cut / "trials.csv").unlink()
    assert f"go on with: nnexp ablate --resume {cut}" in said(capsys, "eval", cut, code=3)
    (cut / "cells" / "all").mkdir(parents=True)
    (line,) = as_json(capsys, "runs", cut)
    assert (line["kind"], line["members"], line["status"]) == ("ablation", 2, "interrupted")
    shown = said(capsys, "show", cut)
    assert "ablation (factorial) in 2 groups of [dropout]" in shown
    assert f"go on with: nnexp ablate --resume {cut}" in shown
    assert as_json(capsys, "show", cut)["ablation"] == told
    (cut / "ablation.md").write_text("| what | effect |\n")
    assert "| what | effect |" in said(capsys, "show", cut)
    assert f"such as {cut}/cells/all" in said(capsys, "eval", cut, code=3)
    for command, code in (("train", 2), ("sweep", 3)):
        going = said(capsys, command, "--resume", cut, code=code)
        assert f"go on with: nnexp ablate --resume {cut}" in going
