"""No check fails on the example configs: deep, residual and recurrent ones are among them."""

from __future__ import annotations

from pathlib import Path

import pytest

from nnexp.checks.check import check
from nnexp.config.load import load_config

CONFIGS = Path(__file__).parents[2] / "configs"
ELSEWHERE = {"concrete", "concrete-linear", "litbank", "mnist"}
"""Configs whose data are not here."""
HEALTHY = sorted({path.stem for path in CONFIGS.glob("*.yaml")} - ELSEWHERE)


def test_there_are_at_least_twenty() -> None:
    assert len(HEALTHY) >= 20
    assert {"deep-tanh", "residual", "resnet-digits", "next-character"} <= set(HEALTHY)


@pytest.mark.parametrize("name", HEALTHY)
def test_a_healthy_config_fails_no_check(name: str) -> None:
    found = check(load_config(CONFIGS / f"{name}.yaml", []).experiment, CONFIGS)
    assert found.verdicts
    assert [v for v in found.verdicts if v.verdict == "fail"] == []
