"""A class at every pixel, from the config to the stored run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.stats
import torch
import yaml
from safetensors.numpy import load_file
from sklearn.metrics import jaccard_score

from nnexp.cli.app import run
from nnexp.config.experiment import Experiment
from nnexp.train.blueprint import Signature
from nnexp.train.program import Program

CLASSES = ("background", "disc", "square")


def program(**loss: Any) -> Program:
    config = {
        "data": {"source": "shapes"},
        "task": "dense",
        "loss": {"name": "cross_entropy", **loss},
        "metrics": ["loss"],
        "model": {"name": "unet", "channels": [2, 3]},
        "training": {"precision": "float64"},
    }
    signature = Signature((1, 4, 6), 3, 50, CLASSES, (4, 6))
    counts = np.array([[60, 30, 10]])
    return Program([Experiment.model_validate(config)], signature, torch.device("cpu"), counts)


@pytest.mark.parametrize("weights", [None, {"disc": 2.0, "square": 5.0, "background": 0.5}])
def test_losses_are_means_over_the_pixels_with_a_class(weights: dict[str, float] | None) -> None:
    draw = torch.Generator().manual_seed(0)
    outputs = torch.randn(1, 5, 3, 4, 6, generator=draw, dtype=torch.float64)
    target = torch.randint(-1, 3, (1, 5, 4, 6), generator=draw)
    target[0, 4] = -1  # an image without any
    found = program(class_weights=weights).losses(outputs, target)[0]
    factor = torch.tensor([weights[c] if weights else 1.0 for c in CLASSES], dtype=torch.float64)
    each = torch.nn.functional.cross_entropy(
        outputs[0], target[0], factor, ignore_index=-1, reduction="none"
    )
    there = (target[0] >= 0).sum((1, 2))
    torch.testing.assert_close(found, each.sum((1, 2)) / there.clamp_min(1), rtol=1e-12, atol=0)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two dense runs that differ in their seed, just long enough to tell some pixels."""
    folder = tmp_path_factory.mktemp("dense")
    config = {
        "data": {"source": {"name": "shapes", "n": 60, "size": 12}},
        "model": {"name": "unet", "channels": [4, 6]},
        "metrics": ["iou", "accuracy"],
        "optimizer": {"name": "adam", "lr": 0.03},
        "training": {"epochs": 20, "batch_size": 8},
    }
    (folder / "c.yaml").write_text(yaml.safe_dump(config))
    for seed in ("0", "1"):
        keys = ["--set", f"seed={seed}", "--out", str(folder / seed), "--quiet"]
        assert run(["train", str(folder / "c.yaml"), *keys]) == 0
    return sorted(path.parent for path in folder.glob("*/*/*/manifest.json"))


def test_metrics_are_scikit_learns_over_all_pixels(runs: list[Path]) -> None:
    stored = load_file(runs[0] / "predictions.safetensors")
    prediction, target = (stored[f"test.{name}"].ravel() for name in ("prediction", "target"))
    summary = json.loads((runs[0] / "summary.json").read_text())
    overlap = jaccard_score(target, prediction, average="macro", zero_division=0)
    assert summary["test"]["iou"] == pytest.approx(overlap, rel=1e-6)
    assert summary["test"]["accuracy"] == pytest.approx((target == prediction).mean(), rel=1e-6)
    assert (stored["test.outputs"].argmax(1) == stored["test.prediction"]).all()


def test_a_run_is_scored_as_in_training(runs: list[Path], capsys: Any) -> None:
    assert run(["eval", str(runs[0]), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    summary = json.loads((runs[0] / "summary.json").read_text())
    text = json.dumps(found)
    for value in summary["test"].values():
        assert repr(value) in text  # to the bit


def test_two_runs_are_compared_by_their_examples(runs: list[Path], capsys: Any) -> None:
    capsys.readouterr()
    assert run(["compare", *map(str, runs), "--metric", "accuracy", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    rows = [pd.read_csv(one / "predictions.csv").set_index("id") for one in runs]
    a, b = (one.loc[one["split"] == "test", "accuracy"] for one in rows)
    apart = b - a  # by id
    assert len(apart) == 12
    assert found["difference"] == pytest.approx(apart.mean(), rel=1e-6)
    assert found["difference"] != 0
    low, high = found["interval"]
    assert low < found["difference"] < high
    # Student's interval, which a bootstrap of means comes near
    half = scipy.stats.t.ppf(0.975, 11) * apart.std(ddof=1) / np.sqrt(12)
    assert high - low == pytest.approx(2 * half, rel=0.2)
