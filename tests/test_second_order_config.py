"""What the comments in configs/second-order.yaml say comes true, and what it must not be made."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import torch

from nnexp.cli.app import run
from nnexp.config.load import load_config
from nnexp.runs.execute import Order, Reporter, start

CONFIG = Path(__file__).parent.parent / "configs" / "second-order.yaml"


def _train(out: Path, optimizer: str) -> list[float]:
    config = load_config(CONFIG, [f"optimizer={optimizer}"])
    made = start(Order(config.experiment, config.text, CONFIG.parent, None, None), out, Reporter())
    with made.metrics.open(newline="") as lines:
        return [float(row["train/loss"]) for row in csv.DictReader(lines)]


def test_second_order_is_far_ahead_after_forty_updates(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    sgd = _train(tmp_path, "sgd")
    for name in ("lbfgs", "gauss_newton"):
        losses = _train(tmp_path, name)
        assert losses[-1] < 0.5 * sgd[-1]
        assert losses[9] < 0.6 * sgd[9]


def test_mini_batches_are_told_before_training(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    options = ["--set", "training.batch_size=64", "--out", str(tmp_path)]
    assert run(["train", str(CONFIG), *options]) == 2
    told = capsys.readouterr().err
    assert "training.batch_size: lbfgs needs every training example at each update" in told
    assert "full" in told
