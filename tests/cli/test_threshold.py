"""`nnexp threshold`, and `nnexp predict --threshold` after it, on runs that were trained here."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from nnexp.cli.app import run

CONFIG = {
    "data": {"source": {"name": "csv", "path": "table.csv", "target": "answer"}},
    "model": {"name": "mlp", "hidden": [4]},
    "optimizer": {"name": "adam", "lr": 0.02},
    "training": {"epochs": 4, "batch_size": 32},
}


def trained(folder: Path, classes: Sequence[str], *options: str) -> Path:
    """A run that finds a class among `classes`, the last of them rare."""
    rng = np.random.default_rng(0)
    shares = [0.2 / (len(classes) - 1)] * (len(classes) - 1)
    target = rng.choice(len(classes), 300, p=[1 - sum(shares), *shares])
    table = pd.DataFrame({"a": rng.normal(size=300) + target, "b": rng.normal(size=300)})
    table["answer"] = np.array(classes)[target]
    table.to_csv(folder / "table.csv", index=False)
    (folder / "config.yaml").write_text(yaml.safe_dump(CONFIG))
    where = ["--out", str(folder / "runs"), "--quiet"]
    assert run(["train", str(folder / "config.yaml"), *where, *options]) == 0
    return next((folder / "runs").glob("*/*"))


@pytest.fixture(scope="module")
def group(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(tmp_path_factory.mktemp("rare"), ["no", "yes indeed"], "--seeds", "3")


def predictions(path: Path, folder: Path, *options: str) -> pd.DataFrame:
    """What a run says of the table that is there beside the `runs` folder."""
    table = next(home / "table.csv" for home in path.parents if (home / "table.csv").exists())
    assert run(["predict", str(path), str(table), "-o", str(folder / "out.csv"), *options]) == 0
    return pd.read_csv(folder / "out.csv", index_col="id")


def test_what_it_tells_to_type_decides_as_it_did(
    group: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    member = group / "s0"
    assert run(["threshold", str(member)]) == 0
    lines = capsys.readouterr().out.splitlines()
    (command,) = [line for line in lines if line.startswith("  nnexp predict")]
    _, _, path, file, option, given = shlex.split(command)
    assert (path, file, option) == (str(member), "FILE", "--threshold")
    assert run(["threshold", str(member), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["predict"] == ["--threshold", given]
    (tuned,) = told["members"][0]
    found = predictions(member, tmp_path, "--threshold", given)
    stored = pd.read_csv(member / "predictions.csv")
    for split in ("dev", "test"):
        mine = stored[stored["split"] == split].set_index("id")
        hit = (found["prediction"] == "yes indeed")[mine.index]
        sought = mine["target"] == "yes indeed"
        score = 2 * (hit & sought).sum() / (hit.sum() + sought.sum())
        assert score == pytest.approx(tuned["after"][split])


def test_predict_decides_where_it_is_told(group: Path, tmp_path: Path) -> None:
    for path in (group / "s0", group):
        found = predictions(path, tmp_path, "--threshold", "0.2")
        said = found["p(yes indeed)"] >= 0.2
        assert (said == (found["prediction"] == "yes indeed")).all()
        assert 0 < said.sum() < len(said)
        other = predictions(path, tmp_path, "--threshold", "no=0.9")
        assert ((other["p(no)"] >= 0.9) == (other["prediction"] == "no")).all()
    assert found["agreement"].between(0, 1).all()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["x"], "'x' is not a probability from 0 to 1"),
        (["1.5"], "'1.5' is not a probability"),
        (["nan"], "'nan' is not a probability"),
        (["yes inded=0.5"], "there is no yes inded (there are: no, yes indeed); did you mean yes"),
        (["no=0.5", "no=0.6"], "no is given twice"),
        (["no=0.5", "0.6"], "of two classes one has it"),
    ],
)
def test_bad_thresholds(
    group: Path, given: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    options = [part for text in given for part in ("--threshold", text)]
    table = group.parents[2] / "table.csv"
    assert run(["predict", str(group / "s0"), str(table), *options]) == 2
    assert message in capsys.readouterr().err


def test_three_classes_have_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = trained(tmp_path, ["a", "b", "c"])
    assert run(["predict", str(path), str(tmp_path / "table.csv"), "--threshold", "0.5"]) == 2
    assert "is for two classes or labels; there are 3" in capsys.readouterr().err


def test_of_a_group_it_names_a_member(group: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["threshold", str(group)]) == 0
    shown = capsys.readouterr().out
    assert "Each member has a threshold of its own" in shown
    assert "nnexp predict" not in shown
