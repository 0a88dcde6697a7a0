"""Scores by class, and times to reach a goal, on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from nnexp.cli.app import run
from nnexp.cli.comparing import amount
from nnexp.cli.scoring import show_scores
from nnexp.runs.classes import ClassScores
from nnexp.runs.score import Scores

GOAL = "time_to(train/loss < 5)"


def output(capsys: pytest.CaptureFixture[str], *line: object) -> str:
    capsys.readouterr()
    assert run([str(part) for part in line]) == 0
    return capsys.readouterr().out


def test_eval_tells_each_class(single: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = output(capsys, "eval", single)
    for text in ("by class", "precision", "setosa", "versicolor", "predicted (columns)"):
        assert text in told
    data = json.loads(output(capsys, "eval", single, "--json"))["by_class"]
    assert [row["class"] for row in data["classes"]] == ["setosa", "versicolor", "virginica"]
    assert np.sum(data["confusion"]) == sum(row["support"] for row in data["classes"]) == 30


def test_eval_of_a_group_tells_the_mean(group: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = json.loads(output(capsys, "eval", group, "--json"))
    members = [member["by_class"]["confusion"] for member in data["members"]]
    np.testing.assert_allclose(data["by_class"]["confusion"], np.mean(members, axis=0))


def many(count: int) -> ClassScores:
    """Class i is predicted with an F1 of i / count; the first one has no example."""
    ratios, support = np.arange(count) / count, np.ones(count)
    support[0] = 0.0
    confusion = np.eye(count)
    confusion[3, 5] = 7.0
    names = tuple(f"class{i}" for i in range(count))
    return ClassScores(names, ratios, ratios, ratios, support, confusion)


def test_of_many_classes_the_worst_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    show_scores([Scores(Path("r"), "test", {"accuracy": 0.5}, 9, [], None, many(40))], False)
    told = capsys.readouterr().out
    assert "the 10 worst of 40" in told
    assert "class10 " in told
    assert "class11 " not in told
    assert "class0 " not in told
    assert "most often mistaken: class3 as class5 (7)" in told
    assert "predicted (columns)" not in told


def test_regressions_have_no_classes(capsys: pytest.CaptureFixture[str]) -> None:
    show_scores([Scores(Path("r"), "test", {"rmse": 0.5}, 9, [], None)], False)
    assert "by class" not in capsys.readouterr().out


def test_times_of_a_run(single: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = output(capsys, "show", single, "--metric", GOAL)
    assert "time_to(train/loss < 5, epochs)" in told
    assert "1 of 1" in told
    data = json.loads(output(capsys, "show", single, "--metric", GOAL, "--json"))
    assert data["runs"][0]["times"] == [1.0]
    assert (data["unit"], data["pairs"], data["notes"]) == ("epochs", [], [])


def test_times_of_groups(
    group: Path, other_group: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    never = "time_to(train/loss <= -1, seconds)"
    told = output(capsys, "compare", group, other_group, "--metric", never)
    assert "0 of 3" in told
    assert "never, never, never" in told
    assert "Nothing can be tested" in told
    assert "Seconds are" in told
    data = json.loads(output(capsys, "compare", group, other_group, "--metric", GOAL, "--json"))
    assert data["pairs"][0]["verdict"] == "no difference shown"
    assert data["runs"][1]["median"] == 1.0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--metric", "time_to(dev/los < 1)"], "did you mean 'dev/loss'?"),
        (["--metric", "time_to dev/loss"], "should be written as time_to"),
        (["--metric", GOAL, "--margin", "1"], "don't go with a time_to"),
    ],
)
def test_wrong_goals(
    single: Path,
    other: Path,
    options: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(["compare", str(single), str(other), *options]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("number", "text"),
    [(None, "–"), (20, "20"), (12.5, "12.5"), (17418.0, "17,418"), (2998600, "2,998,600")],
)
def test_counts_are_written_out(number: float | None, text: str) -> None:
    assert amount(number) == text
