"""`nnexp eval` and `nnexp predict` on folders of images, from the files to the answers."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from nnexp.cli.app import run as run_command
from nnexp.runs.rundir import RunDir

Image = pytest.importorskip("PIL.Image")
SIZE = [6, 8]
KINDS = ("left", "right")


def picture(path: Path, kind: str, seed: int) -> np.ndarray:
    """A noisy picture, bright at its left or at its right; which pixels are bright."""
    draw = np.random.default_rng(seed)
    pixels = draw.integers(0, 60, (9, 12, 3))
    half = slice(0, 6) if kind == "left" else slice(6, 12)
    pixels[:, half] += 150
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.astype(np.uint8)).save(path)
    bright = np.zeros((9, 12), bool)
    bright[:, half] = True
    return bright


def trained(folder: Path, source: dict[str, Any], **keys: Any) -> Path:
    config = {
        "data": {"source": {"name": "image_folder", "size": SIZE, **source}},
        "model": {"name": "mlp", "hidden": [4]},
        "training": {"epochs": 3, "batch_size": 8},
        **keys,
    }
    (folder / "c.yaml").write_text(yaml.safe_dump(config))
    assert run_command(["train", str(folder / "c.yaml"), "--out", str(folder), "--quiet"]) == 0
    return next(folder.glob("*/*/manifest.json")).parent


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with 40 images in two classes; a run on it; and new images."""
    home = tmp_path_factory.mktemp("photos")
    for number in range(40):
        kind = KINDS[number % 2]
        picture(home / f"known/{kind}/{number}.png", kind, number)
    for number in range(5):
        picture(home / f"new/right/{number}.png", "right", 100 + number)
    return home


@pytest.fixture(scope="module")
def run(photos: Path) -> Path:
    return trained(photos, {"path": str(photos / "known")})


def scored(capsys: Any, *arguments: object) -> dict[str, Any]:
    capsys.readouterr()
    assert run_command(["eval", *map(str, arguments), "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def predicted(capsys: Any, *arguments: object) -> pd.DataFrame:
    capsys.readouterr()
    assert run_command(["predict", *map(str, arguments)]) == 0
    return pd.read_csv(io.StringIO(capsys.readouterr().out)).set_index("id")


def test_a_run_is_scored_as_in_training(run: Path, capsys: Any) -> None:
    summary = json.loads((run / "summary.json").read_text())
    assert scored(capsys, run)["metrics"] == summary["test"]


def test_a_folder_with_a_single_class(run: Path, photos: Path, capsys: Any) -> None:
    found = scored(capsys, run, "--data", photos / "new")
    answers = predicted(capsys, run, photos / "new")
    assert answers.index.tolist() == [f"right/{number}.png" for number in range(5)]
    assert found["examples"] == 5
    right = (answers["prediction"] == "right").mean()
    assert found["metrics"]["accuracy"] == pytest.approx(right)
    loss = -np.log(answers["p(right)"]).mean()
    assert found["metrics"]["loss"] == pytest.approx(loss, rel=1e-4)
    whole = scored(capsys, run, "--data", photos / "known")
    assert whole["examples"] == 40


def test_the_classes_are_those_of_the_run(
    run: Path, photos: Path, tmp_path: Path, capsys: Any
) -> None:
    picture(tmp_path / "middle/a.png", "left", 0)
    assert run_command(["eval", str(run), "--data", str(tmp_path)]) == 3
    told = capsys.readouterr().err
    assert "class middle is unknown; the classes are left, right" in told
    picture(tmp_path / "left/a.png", "left", 0)
    assert run_command(["eval", str(run), "--data", str(tmp_path)]) == 3
    assert run_command(["eval", str(run), "--data", str(photos / "nowhere")]) == 3
    assert "nowhere" in capsys.readouterr().err


def test_classes_from_a_table(tmp_path: Path, capsys: Any) -> None:
    for part, numbers in (("one", range(30)), ("two", range(30, 34))):
        rows = ["file,class"]
        for number in numbers:
            kind = KINDS[number % 2]
            picture(tmp_path / part / f"{number}.png", kind, number)
            rows.append(f"{number}.png,{kind}")
        (tmp_path / part / "labels.csv").write_text("\n".join(rows))
    source = {"path": str(tmp_path / "one"), "labels": "labels.csv"}
    run = trained(tmp_path, source)
    assert RunDir(run).read_json("preprocessing.json")["classes"] == ["left", "right"]
    found = scored(capsys, run, "--data", tmp_path / "two")
    (tmp_path / "two/labels.csv").unlink()
    answers = predicted(capsys, run, tmp_path / "two")
    right = answers["prediction"] == ["left", "right", "left", "right"]
    assert found["metrics"]["accuracy"] == pytest.approx(right.mean())
    assert run_command(["eval", str(run), "--data", str(tmp_path / "two")]) == 3
    assert "labels.csv: no such file" in capsys.readouterr().err


def test_coloured_masks(tmp_path: Path, capsys: Any) -> None:
    def put(part: str, number: int) -> None:
        bright = picture(tmp_path / part / f"images/{number}.png", KINDS[number % 2], number)
        mask = np.where(bright[..., None], [255, 128, 0], [0, 0, 128]).astype(np.uint8)
        (tmp_path / part / "masks").mkdir(exist_ok=True)
        Image.fromarray(mask).save(tmp_path / part / f"masks/{number}.png")

    for number in range(20):
        put("known", number)
    colours = {"dark": [0, 0, 128], "bright": "#ff8000"}
    source = {"path": str(tmp_path / "known/images"), "masks": "../masks", "colours": colours}
    run = trained(
        tmp_path, source, model={"name": "unet", "channels": [3, 4]}, metrics=["accuracy"]
    )
    summary = json.loads((run / "summary.json").read_text())
    assert scored(capsys, run)["metrics"] == summary["test"]
    rows = pd.read_csv(run / "predictions.csv")
    row = rows[rows["split"] == "test"].iloc[0]
    put("again", int(row["id"].removesuffix(".png")))  # the same image in a folder of its own
    found = scored(capsys, run, "--data", tmp_path / "again/images")
    assert found["examples"] == 1
    assert found["metrics"]["accuracy"] == pytest.approx(row["accuracy"], rel=1e-6)
    assert found["metrics"]["loss"] == pytest.approx(row["loss"], rel=1e-4)
    assert run_command(["predict", str(run), str(tmp_path / "again/images")]) == 2
    assert "answers at every pixel" in capsys.readouterr().err
