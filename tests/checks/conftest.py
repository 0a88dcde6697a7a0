"""Configs written for a test, and what the checks say of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from nnexp.checks import check as every
from nnexp.checks import cost, gradients, learning, rates
from nnexp.checks.subject import Subject
from nnexp.checks.verdict import Verdict
from nnexp.config.load import load_config
from nnexp.runs.plan import load, located, prepared_for, resolved_for

Checks = Callable[[str], dict[str, Verdict]]
Subjects = Callable[[str], Subject]


@pytest.fixture(autouse=True)
def _brief(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """One thread, and small budgets of time: what they change is how exact the figures are."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    monkeypatch.setattr(learning, "SECONDS", 1.0)
    monkeypatch.setattr(rates, "SECONDS", 0.5)
    monkeypatch.setattr(cost, "SECONDS", 0.05)
    monkeypatch.setattr(gradients, "SECONDS", 0.3)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def checks(tmp_path: Path) -> Checks:
    """Runs every check on a config; the verdicts by their names."""

    def run(text: str) -> dict[str, Verdict]:
        path = tmp_path / "config.yaml"
        path.write_text(text)
        found = every.check(load_config(path, []).experiment, tmp_path)
        return {verdict.name: verdict for verdict in found.verdicts}

    return run


@pytest.fixture
def subject(tmp_path: Path) -> Subjects:
    """What is checked, from a config."""

    def make(text: str) -> Subject:
        path = tmp_path / "config.yaml"
        path.write_text(text)
        experiment = located(load_config(path, []).experiment, tmp_path)
        table = load(experiment)
        resolved = resolved_for(experiment, table)
        return Subject(resolved, prepared_for(resolved, table), torch.device("cpu"))

    return make
