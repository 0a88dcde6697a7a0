"""Every check is silent on sound configs: deep, residual and recurrent ones are among them."""

from __future__ import annotations

from pathlib import Path

import pytest

from nnexp.checks.check import check
from nnexp.checks.verdict import Verdict
from nnexp.config.load import load_config
from tests.checks.conftest import Checks

CONFIGS = Path(__file__).parents[2] / "configs"
ELSEWHERE = {"concrete", "concrete-linear", "litbank", "mnist"}
"""Configs whose data are not here."""
HEALTHY = sorted({path.stem for path in CONFIGS.glob("*.yaml")} - ELSEWHERE)

DIGITS = "data: {source: digits}\npreprocessing: [{name: min_max, per: global}]\n"
LAMP = (
    f"data: {{source: {{name: sequences, path: {CONFIGS / 'data' / 'lamp.csv'}, "
    "text: commands, target: end, unit: token}}\n"
)
ADAM = "optimizer: {name: adam, lr: 5e-3}\n"
MORE = {
    "30 layers of tanh, orthogonal": DIGITS
    + f"model: {{name: mlp, hidden: {[32] * 30}, activation: tanh}}\n"
    + "initialization: orthogonal\noptimizer: {name: adam, lr: 1e-3}\n",
    "20 layers of relu, normalized": DIGITS
    + f"model: {{name: mlp, hidden: {[32] * 20}, batch_norm: true}}\n",
    "20 layers of selu": DIGITS + f"model: {{name: mlp, hidden: {[32] * 20}, activation: selu}}\n",
    "sigmoids": DIGITS + "model: {name: mlp, hidden: [64], activation: sigmoid}\n" + ADAM,
    "residual, normalized": "data: {source: wine}\n"
    "model: {name: residual, blocks: 10, width: 32, batch_norm: true}\n",
    "rnn": LAMP + "model: {name: rnn, units: 24}\n" + ADAM,
    "lstm, both ways": LAMP + "model: {name: lstm, units: 16, bidirectional: true}\n" + ADAM,
    "two layers of gru": LAMP + "model: {name: gru, units: 16, layers: 2}\n" + ADAM,
    "balanced weights": "data: {source: breast_cancer}\nmodel: {name: mlp, hidden: [16]}\n"
    "loss: {name: cross_entropy, class_weights: balanced}\n" + ADAM,
    "hinge": "data: {source: wine}\nmodel: linear\nloss: squared_hinge\n" + ADAM,
    "scaled before pca": "data: {source: wine}\nmodel: {name: mlp, hidden: [16]}\n"
    "preprocessing: [standardize, {name: pca, components: 5}]\n" + ADAM,
    "several targets": "data: {source: linnerud}\nmodel: {name: mlp, hidden: [8]}\n" + ADAM,
    "one example an update": "data: {source: iris}\nmodel: {name: mlp, hidden: [8]}\n"
    "training: {batch_size: 1}\n",
    "no gradient": "data: {source: iris}\nmodel: {name: mlp, hidden: [4]}\noptimizer: evolution\n",
    "bf16": DIGITS + "model: {name: mlp, hidden: [32]}\ntraining: {precision: bf16}\n",
}


def _loud(verdicts: list[Verdict]) -> list[Verdict]:
    """Those that say something; whether a few examples are learnt in a second says the machine."""
    timed = ("overfitting a few", "look")
    return [v for v in verdicts if v.verdict != "pass" and (v.name, v.verdict) != timed]


def test_there_are_at_least_twenty() -> None:
    assert len(HEALTHY) >= 20
    assert {"deep-tanh", "residual", "resnet-digits", "next-character"} <= set(HEALTHY)


@pytest.mark.parametrize("name", HEALTHY)
def test_an_example_config_passes_every_check(name: str) -> None:
    found = check(load_config(CONFIGS / f"{name}.yaml", []).experiment, CONFIGS)
    assert found.verdicts
    assert _loud(found.verdicts) == []


@pytest.mark.parametrize("name", MORE)
def test_a_sound_config_passes_every_check(checks: Checks, name: str) -> None:
    assert _loud(list(checks(MORE[name]).values())) == []
