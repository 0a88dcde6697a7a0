"""Which metrics a run records, and which ones it can't."""

from __future__ import annotations

from pathlib import Path

import pytest

from nnexp.components.table import Table
from nnexp.config.experiment import Experiment
from nnexp.config.load import load_config
from nnexp.config.resolve import resolve
from nnexp.config.rules import with_data
from nnexp.errors import ConfigError, Problem

STOPPING = "training: {early_stopping: {monitor: dev/%s}}\n"


def experiment(folder: Path, *lines: str, source: str = "iris") -> Experiment:
    path = folder / "some.yaml"
    path.write_text("\n".join([f"data: {{source: {source}}}", "model: mlp", *lines, ""]))
    return load_config(path, ()).experiment


def problem(folder: Path, *lines: str) -> Problem:
    with pytest.raises(ConfigError) as caught:
        experiment(folder, *lines)
    (found,) = caught.value.problems
    return found


def names(found: Experiment) -> list[str]:
    return [metric.component for metric in found.metrics or ()]


def resolved(found: Experiment) -> tuple[Experiment, Table]:
    table = found.data.source.load()
    return resolve(found, table, []), table


def test_defaults_of_each_task(tmp_path: Path) -> None:
    found, _ = resolved(experiment(tmp_path))
    assert names(found) == ["accuracy", "loss", "error"]
    found, _ = resolved(experiment(tmp_path, source="diabetes"))
    assert names(found) == ["rmse", "loss", "mae", "r2"]


@pytest.mark.parametrize("monitor", ["f1", "roc_auc", "log_loss", "accuracy"])
def test_what_is_watched_is_recorded(tmp_path: Path, monitor: str) -> None:
    found, table = resolved(experiment(tmp_path, "metrics: [error]", STOPPING % monitor))
    assert names(found) == ["error", "loss", monitor]
    assert not with_data(found, table)


def test_a_monitor_of_another_task_is_told_when_the_data_tell(tmp_path: Path) -> None:
    (found,) = with_data(*resolved(experiment(tmp_path, STOPPING % "rmse")))
    assert found.path == "training.early_stopping.monitor"
    assert "not a dev metric of such a run" in found.message
    assert "dev/balanced_accuracy" in found.allowed


def test_a_metric_stands_there_once(tmp_path: Path) -> None:
    found = problem(tmp_path, "metrics: [f1, loss, {name: f1, average: micro}]")
    assert (found.path, found.message) == ("metrics.2", "stands there twice")


def test_probabilities_are_needed(tmp_path: Path) -> None:
    found = problem(tmp_path, "loss: hinge", "metrics: [f1, log_loss]")
    assert found.path == "metrics.1"
    assert found.message == "needs probabilities, and hinge gives none"
    assert "top_k" in found.allowed
    assert "brier" not in found.allowed
    assert "cross_entropy" in found.hint
    found = problem(tmp_path, "loss: hinge", STOPPING % "pr_auc")
    assert found.path == "training.early_stopping.monitor"
    assert "dev/f1" in found.allowed
    assert "dev/roc_auc" not in found.allowed


def test_a_metric_of_another_task(tmp_path: Path) -> None:
    found = problem(tmp_path, "task: regression", "metrics: [roc_auc]")
    assert (found.path, found.message) == ("metrics.0", "is not a metric for regression")
    assert "max_error" in found.allowed
