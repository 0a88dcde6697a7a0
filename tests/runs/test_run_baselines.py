"""Baselines in runs: the same examples and metrics, and refused where they don't suit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from sklearn.linear_model import LogisticRegression, Ridge

from nnexp.cli.app import run
from nnexp.config.experiment import Experiment
from nnexp.errors import DamagedRun
from nnexp.runs.forms import check_summary
from nnexp.runs.plan import plan_members


def config(source: Any = "iris", **keys: Any) -> dict[str, Any]:
    return {
        "data": {"source": source},
        "model": {"name": "mlp", "hidden": [4]},
        "training": {"epochs": 1},
        **keys,
    }


def trained(folder: Path, keys: dict[str, Any], *options: str) -> Path:
    """The run's directory."""
    (folder / "one.yaml").write_text(yaml.dump(keys))
    assert run(["train", str(folder / "one.yaml"), "--out", str(folder), "-q", *options]) == 0
    (found,) = (folder / "one").iterdir()
    return found


def refused(folder: Path, keys: dict[str, Any], capsys: Any) -> str:
    (folder / "one.yaml").write_text(yaml.dump(keys))
    assert run(["train", str(folder / "one.yaml"), "--out", str(folder / "runs")]) in (2, 3)
    assert not (folder / "runs").exists()
    return str(capsys.readouterr().err)


def summary(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((path / "summary.json").read_text())
    return found


def test_logistic_is_fitted_on_what_the_network_gets(tmp_path: Path) -> None:
    keys = config(baselines=["logistic", "majority", {"name": "logistic", "l2": 10.0}])
    keys["data"] |= {"label_noise": 0.2, "subset": 50}
    keys["preprocessing"] = ["standardize"]
    found = summary(trained(tmp_path, keys))["baselines"]
    assert list(found) == ["logistic", "majority", "logistic 2"]
    plan = plan_members(Experiment.model_validate(keys), tmp_path, 1, False)
    table = plan.tables[0]
    rows, test = table.parts["train"], table.parts["test"]
    x, y = np.asarray(table.inputs, np.float64), table.targets
    assert len(rows) == 50
    model = LogisticRegression(max_iter=1000).fit(x[rows], y[rows])
    for part, index in (("train", rows), ("test", test)):
        probabilities = model.predict_proba(x[index])
        expected = -np.log(probabilities[np.arange(len(index)), y[index]]).mean()
        assert found["logistic"][part]["loss"] == pytest.approx(expected, rel=1e-6)
        assert found["logistic"][part]["accuracy"] == pytest.approx(model.score(x[index], y[index]))
    assert found["logistic"]["parameters"] == 15


def test_values_are_scored_in_their_units(tmp_path: Path) -> None:
    keys = config("diabetes", baselines=["linear", "majority"])
    found = summary(trained(tmp_path, keys))["baselines"]
    table = plan_members(Experiment.model_validate(keys), tmp_path, 1, False).tables[0]
    rows, test = table.parts["train"], table.parts["test"]
    x, y = np.asarray(table.inputs, np.float64), table.original.reshape(-1)
    model = Ridge(1.0).fit(x[rows], y[rows])
    expected = np.sqrt(np.square(model.predict(x[test]) - y[test]).mean())
    assert found["linear"]["test"]["rmse"] == pytest.approx(expected, rel=1e-5)
    spread = np.sqrt(np.square(y[rows].mean() - y[test]).mean())
    assert found["majority"]["test"]["rmse"] == pytest.approx(spread, rel=1e-5)


def test_a_group_has_the_means_over_its_splits(tmp_path: Path) -> None:
    home = trained(tmp_path, config(baselines=["logistic"]), "--splits", "2")
    members = [summary(home / f"s{number}") for number in range(2)]
    scores = [m["baselines"]["logistic"]["test"]["loss"] for m in members]
    assert scores[0] != scores[1]
    mean = summary(home)["baselines"]["logistic"]["test"]["loss"]
    assert mean == pytest.approx(np.mean(scores))


def test_a_loss_that_says_nothing_of_others_is_left_out(tmp_path: Path) -> None:
    keys = config(loss="hinge", baselines=["logistic"], metrics=["accuracy", "loss"])
    found = summary(trained(tmp_path, keys))
    assert set(found["baselines"]["logistic"]["test"]) == {"accuracy"}


def test_show_has_them(tmp_path: Path, capsys: Any) -> None:
    home = trained(tmp_path, config(baselines=["majority"]))
    capsys.readouterr()
    assert run(["show", str(home)]) == 0
    assert "majority" in capsys.readouterr().out
    written = summary(home)
    written["baselines"]["majority"]["parameters"] = "x"
    with pytest.raises(DamagedRun, match=r"baselines\.majority\.parameters should be"):
        check_summary(written, home)


@pytest.mark.parametrize(
    ("keys", "why"),
    [
        (config("diabetes", baselines=["logistic"]), "logistic is for classification"),
        (config(baselines=["majority", "linear"]), "linear is for regression"),
        (config(baselines=["majorty"]), "did you mean majority"),
        (
            config(baselines=[{"name": "gaussian_mixture", "components": 900}]),
            "gaussian_mixture: 900 components a class need 900 training examples",
        ),
    ],
)
def test_what_does_not_suit_is_refused(
    tmp_path: Path, capsys: Any, keys: dict[str, Any], why: str
) -> None:
    assert why in " ".join(refused(tmp_path, keys, capsys).split())
