"""`nnexp eval` with views and samples: the run's own, others, or none."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from nnexp.cli.app import run
from nnexp.cli.scoring import asked_for
from nnexp.config.experiment import TestTime
from nnexp.errors import UsageError
from nnexp.runs.apply import apply_run

CONFIG = """\
data: {source: digits, split: {train: 0.6, dev: 0.2, test: 0.2}}
model: {name: mlp, hidden: [16], dropout: 0.3}
augmentation: [{name: rotate, degrees: 10}, noise]
test_time: {angles: [-10, 0, 10]}
optimizer: {name: adam, lr: 0.01}
training: {epochs: 4, batch_size: 64}
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("augmented")
    config = folder / "views.yaml"
    config.write_text(CONFIG)
    assert run(["train", str(config), "--out", str(folder / "runs")]) == 0
    (found,) = (folder / "runs" / "views").iterdir()
    return found


def scores(capsys: pytest.CaptureFixture[str], *given: Any) -> dict[str, Any]:
    capsys.readouterr()
    assert run(["eval", *map(str, given), "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_the_runs_own_views_hold_in_summary_eval_and_predict(
    trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = scores(capsys, trained)
    summary = json.loads((trained / "summary.json").read_text())
    assert own["metrics"] == pytest.approx(own["recorded"])
    assert own["metrics"] == pytest.approx(summary["test"])
    assert len(own["spread"]) == own["examples"]
    assert min(own["spread"]) > 0
    plain = scores(capsys, trained, "--plain")
    assert plain["spread"] is None
    assert plain["recorded"] is None
    assert plain["metrics"]["loss"] != own["metrics"]["loss"]
    same = scores(capsys, trained, "--angles=-10,0,10")
    assert same["metrics"] == own["metrics"]
    assert same["spread"] == own["spread"]


def test_samples_are_the_same_again_and_have_a_spread(
    trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, again = (scores(capsys, trained, "--mc-dropout", 5) for _ in range(2))
    assert one == again
    assert np.mean(one["spread"]) > 0
    more = scores(capsys, trained, "--mc-dropout", 5, "--flip", "--sizes", "8,10")
    assert more["metrics"]["loss"] > one["metrics"]["loss"]  # a mirrored digit is none
    assert run(["eval", str(trained), "--mc-dropout", "5"]) == 0
    assert "passes lie apart by" in capsys.readouterr().out


def test_predict_averages_them_too(trained: Path, tmp_path: Path) -> None:
    from nnexp.components.datasets import Dataset
    from nnexp.registry import choose

    source = choose(Dataset, "digits")
    assert isinstance(source, Dataset)
    answers = apply_run(trained, source)
    assert answers.probabilities is not None
    plain = apply_run(_without_views(trained, tmp_path), source)
    assert plain.probabilities is not None
    np.testing.assert_allclose(answers.probabilities.sum(-1), 1.0, atol=1e-5)
    assert np.abs(answers.probabilities - plain.probabilities).max() > 0.01


def _without_views(trained: Path, folder: Path) -> Path:
    """The same network, told to make one pass."""
    copy = folder / "plain"
    shutil.copytree(trained, copy)
    config = yaml.safe_load((copy / "resolved.yaml").read_text())
    config["test_time"] = None
    (copy / "resolved.yaml").write_text(yaml.safe_dump(config))
    manifest = json.loads((copy / "manifest.json").read_text())
    digest = hashlib.sha256((copy / "resolved.yaml").read_bytes()).hexdigest()
    manifest["files"]["resolved.yaml"] = digest
    (copy / "manifest.json").write_text(json.dumps(manifest))
    return copy


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (["--angles", "1,x"], "--angles: '1,x' is not numbers with commas between"),
        (["--sizes", "8.5"], "--sizes: '8.5' is not whole numbers"),
        (["--mc-dropout", "-1"], "--mc-dropout: should be greater than or equal to 0; it is -1"),
        (["--angles", "999"], "--angles: "),
        (["--angles", "nan"], "--angles: "),
        (["--plain", "--flip"], "--plain is one pass"),
    ],
)
def test_bad_options_are_refused(
    trained: Path, capsys: pytest.CaptureFixture[str], given: list[str], why: str
) -> None:
    assert run(["eval", str(trained), *given]) == 2
    assert why in capsys.readouterr().err


def test_what_does_not_suit_the_run_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "rows.yaml"
    config.write_text("data: {source: iris}\nmodel: linear\ntraining: {epochs: 1}\n")
    assert run(["train", str(config), "--out", str(tmp_path / "runs")]) == 0
    (found,) = (tmp_path / "runs" / "rows").iterdir()
    capsys.readouterr()
    assert run(["eval", str(found), "--flip"]) == 2
    assert capsys.readouterr().err.startswith("error: views need images")
    assert run(["eval", str(found), "--mc-dropout", "3"]) == 2
    assert "error: --mc-dropout: the model has no dropout layer" in capsys.readouterr().err


def test_a_config_that_needs_images_is_refused_before_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "rows.yaml"
    config.write_text("data: {source: iris}\nmodel: linear\naugmentation:\n  - rotate\n")
    assert run(["train", str(config), "--out", str(tmp_path / "runs")]) == 2
    told = capsys.readouterr().err
    assert "rows.yaml:4:5" in told
    assert "rotate needs images, of shape (channels, height, width)" in told


def test_what_options_ask_for() -> None:
    assert asked_for(None, None, False, None, False) is None
    assert asked_for(None, None, False, None, True) == TestTime()
    found = asked_for("-15,0,15", "224,256", True, 4, False)
    assert found == TestTime(angles=[-15.0, 0.0, 15.0], sizes=[224, 256], flip=True, mc_dropout=4)
    with pytest.raises(UsageError, match="--angles"):
        asked_for("", None, False, None, False)
