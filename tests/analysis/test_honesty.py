"""Smaller runs of scripts/honesty; the full ones are its own business.

The bounds are those promised, widened by three standard errors of the smaller count.
"""

from __future__ import annotations

import importlib.util
import math
import sys
from collections.abc import Callable
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "honesty"
COUNT = 400


@pytest.fixture(scope="module")
def honesty() -> ModuleType:
    loader = SourceFileLoader("honesty", str(SCRIPT))
    spec = importlib.util.spec_from_loader("honesty", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["honesty"] = module  # dataclasses look their module up
    written, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        loader.exec_module(module)
    finally:
        sys.dont_write_bytecode = written
    return module


@pytest.mark.parametrize(
    "name",
    [
        "seeds_equal",
        "seeds_planted",
        "seeds_interval",
        "seeds_detectable",
        "two_way_equal",
        "two_way_planted",
        "models_accuracy",
        "models_rmse",
        "splits",
    ],
)
def test_promises_are_kept(honesty: ModuleType, name: str) -> None:
    measure: Callable[..., list[Any]] = getattr(honesty, name)
    count = COUNT // 4 if name.startswith("models") else COUNT
    for figure in measure(np.random.default_rng(1), count):
        for bound, sign in ((figure.low, 1), (figure.high, -1)):
            if bound is not None:
                slack = 3 * math.sqrt(max(bound, 1) * (100 - min(bound, 99)) / count)
                assert sign * (figure.measured - bound) >= -slack, figure


def test_simpler_tests_reject_equal_recipes_too_often(honesty: ModuleType) -> None:
    """Why the two-way interval and Nadeau and Bengio's variance are there."""
    rates = {
        figure.what: figure.measured
        for measure in (honesty.two_way_equal, honesty.splits)
        for figure in measure(np.random.default_rng(2), COUNT)
    }
    seeds = [v for k, v in rates.items() if "Welch" in k and "differing by" in k]
    naive = [v for k, v in rates.items() if "naive" in k]
    assert 15 - 5 < seeds[0] < 23 + 6
    assert naive[0] > 15


def test_looking_four_times_rejects_too_often(honesty: ModuleType) -> None:
    (figure,) = honesty.looks(np.random.default_rng(3), 1000)
    assert figure.measured == pytest.approx(14.6, abs=3.4)


def test_script_writes_its_table(
    honesty: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setattr(honesty, "MEASUREMENTS", (honesty.looks,))
    target = tmp_path / "h.json"
    monkeypatch.setattr(sys, "argv", ["honesty", "--comparisons", "20", "--json", str(target)])
    assert honesty.main() == 0
    assert "looks at 5, 10, 20, 40 seeds" in capsys.readouterr().out
    assert '"comparisons": 20' in target.read_text()
    monkeypatch.setattr(honesty, "measure", lambda *_: [honesty.Figure("x", 90.0, 93.5, 96.5)])
    assert honesty.main() == 1
    assert "NOT KEPT" in capsys.readouterr().out
