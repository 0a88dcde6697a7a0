"""Times to reach a goal: read, counted, ranked, and said."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nnexp.analysis.comparing.time_to import Goal, compare_times, is_goal, parse, times
from nnexp.analysis.results import read_result
from nnexp.errors import RunError, UsageError

ROWS = [{"split": "test", "id": "a", "target": "x", "prediction": "x", "loss": 0.1}]
MANIFEST = {"split": {"train": "t0", "counts": {"train": 100}}, "seconds": 8.0}


def curve(*accuracies: float | str) -> str:
    lines = [f"{i},{10 * i},{a},{0.5 / i}" for i, a in enumerate(accuracies, 1)]
    return "\n".join(["epoch,step,dev/accuracy,dev/loss", *lines, ""])


@pytest.fixture
def timed(run: Callable[..., Path]) -> Callable[..., Path]:
    def write(name: str, *accuracies: float | str) -> Path:
        path = run(name, ROWS, manifest=MANIFEST)
        (path / "metrics.csv").write_text(curve(*accuracies))
        return path

    return write


@pytest.fixture
def timed_group(group: Callable[..., Path]) -> Callable[..., Path]:
    def write(name: str, arrivals: list[int | None], **manifest: Any) -> Path:
        members = [{"rows": ROWS, "manifest": MANIFEST} for _ in arrivals]
        path = group(name, members, manifest=manifest)
        for i, arrival in enumerate(arrivals):
            accuracies = [0.5 if arrival is None or e < arrival else 0.99 for e in range(1, 21)]
            (path / f"s{i}" / "metrics.csv").write_text(curve(*accuracies))
        return path

    return write


@pytest.mark.parametrize(
    ("text", "goal"),
    [
        ("time_to(dev/accuracy >= 0.95)", Goal("dev/accuracy", ">=", 0.95)),
        ("time_to(dev/loss<=0.3,steps)", Goal("dev/loss", "<=", 0.3, "steps")),
        (" time_to( dev/f1 > 5e-1 , seconds ) ", Goal("dev/f1", ">", 0.5, "seconds")),
        ("time_to(dev/error < .1, examples)", Goal("dev/error", "<", 0.1, "examples")),
    ],
)
def test_goals(text: str, goal: Goal) -> None:
    assert is_goal(text)
    assert parse(text) == goal
    assert parse(str(goal)) == goal


@pytest.mark.parametrize("metric", [None, "accuracy", "dev/loss"])
def test_other_metrics_are_no_goals(metric: str | None) -> None:
    assert not is_goal(metric)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("time_to", "should be written as time_to.*received: time_to"),
        ("time_to(dev/loss)", "should be written as"),
        ("time_to(dev/loss = 0.3)", "'=' is not a relation .allowed: >=, <=, >, <"),
        ("time_to(dev/loss ≤ 0.3)", "'≤' is not a relation"),
        ("time_to(dev/loss <= low)", "'low' is not a number"),
        ("time_to(dev/loss <= nan)", "'nan' is not a number"),
        ("time_to(dev/loss <= 0.3, step)", "'step' is not a unit .*did you mean 'steps'"),
    ],
)
def test_what_is_no_goal_is_told(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse(text)


@pytest.mark.parametrize(
    ("unit", "when"), [("epochs", 3.0), ("steps", 30.0), ("examples", 300.0), ("seconds", 6.0)]
)
def test_units(timed: Callable[..., Path], unit: str, when: float) -> None:
    path = timed("a", 0.5, "", 0.95, 0.9)  # 8 seconds for 4 epochs; an empty cell is no arrival
    found = times(read_result(path), Goal("dev/accuracy", ">=", 0.95, unit))
    assert found.times == (when,)
    assert (found.arrived, found.median) == (1, when)


def test_never_and_the_relations(timed: Callable[..., Path]) -> None:
    result = read_result(timed("a", 0.5, 0.9, 0.95))
    for relation, value, when in (
        *((">=", 0.95, 3.0), (">", 0.95, None), ("<=", 0.5, 1.0), ("<", 0.5, None)),
    ):
        assert times(result, Goal("dev/accuracy", relation, value)).times == (when,)


def test_a_column_that_is_not_there(timed: Callable[..., Path]) -> None:
    result = read_result(timed("a", 0.5))
    with pytest.raises(UsageError, match=r"no column 'dev/acuracy' .*did you mean 'dev/accuracy'"):
        times(result, parse("time_to(dev/acuracy >= 1)"))


def test_files_that_do_not_say(timed: Callable[..., Path], run: Callable[..., Path]) -> None:
    path = timed("a", 0.5)
    (path / "metrics.csv").write_text("epoch,dev/loss\n1,0.5\n")
    with pytest.raises(RunError, match="column 'step' should be"):
        times(read_result(path), parse("time_to(dev/loss < 1, steps)"))
    bare = run("bare", ROWS, manifest={"seconds": None})
    for unit, message in (("seconds", "how many seconds"), ("examples", "how many examples")):
        with pytest.raises(RunError, match=message):
            times(read_result(bare), parse(f"time_to(train/loss < 5, {unit})"))


def test_a_run_without_an_epoch_never_arrives(timed: Callable[..., Path]) -> None:
    path = timed("a", 0.5)
    (path / "metrics.csv").write_text("")
    assert times(read_result(path), parse("time_to(dev/loss < 1)")).times == (None,)


def test_single_runs_get_numbers_and_no_verdict(timed: Callable[..., Path]) -> None:
    found = compare_times(
        [timed("a", 0.5, 0.99), timed("b", 0.5, 0.6)], parse("time_to(dev/accuracy >= 0.95)")
    )
    (pair,) = found.pairs
    assert (pair.p_value, pair.verdict, pair.first) == (None, None, 0.0)
    assert pair.sentence == "dev/accuracy >= 0.95: A in 2 epochs; B never."
    assert "These are single runs" in found.notes[0]


def test_groups_are_ranked_with_never_last(timed_group: Callable[..., Path]) -> None:
    a, b = timed_group("a", [9, 12, None, None, 15]), timed_group("b", [3, 4, 5, 6, None])
    found = compare_times([a, b], parse("time_to(dev/accuracy >= 0.95)"))
    assert [(s.arrived, s.median) for s in found.sides] == [(3, 15.0), (4, 5.0)]
    (pair,) = found.pairs
    # of 25 pairs b is first in 20, and in the 2 of its last run with those of A that tie
    assert pair.first == pytest.approx(21 / 25)
    assert pair.verdict == "no difference shown"
    assert pair.p_value is not None
    assert "3 of 5 of A, the median in 15 epochs; 4 of 5 of B" in pair.sentence
    data = found.to_json()
    assert data["runs"][0]["times"] == (9.0, 12.0, None, None, 15.0)


def test_a_clear_case(timed_group: Callable[..., Path]) -> None:
    a, b = timed_group("a", [None] * 4), timed_group("b", [3, 4, 5, 6])
    goal = parse("time_to(dev/accuracy >= 0.95)")
    (pair,) = compare_times([a, b], goal).pairs
    assert (pair.verdict, pair.first) == ("faster", 1.0)
    assert pair.p_value == pytest.approx(2 / 70)
    assert "0 of 4 of A; 4 of 4 of B, the median in 4.5 epochs" in pair.sentence
    (pair,) = compare_times([b, a], goal).pairs
    assert pair.verdict == "slower"
    c = timed_group("c", [None] * 4)
    first, *_ = compare_times([a, c, b], goal).pairs
    assert (first.p_value, first.verdict) == (None, "no difference shown")
    assert "Nothing can be tested" in first.sentence


def test_few_seeds_and_splits_claim_nothing(timed_group: Callable[..., Path]) -> None:
    a, b = timed_group("a", [10, 11, 12]), timed_group("b", [1, 2, 3])
    goal = parse("time_to(dev/accuracy >= 0.95)")
    (pair,) = compare_times([a, b], goal).pairs
    assert pair.p_value == pytest.approx(0.1)
    assert "With so few seeds no difference could be shown" in pair.sentence
    splits = [timed_group(name, [1, 2], varies="split") for name in "xy"]
    found = compare_times(splits, goal)
    assert (found.pairs[0].p_value, found.pairs[0].verdict) == (None, None)
    assert "overlap" in found.notes[0]


def test_losses_of_different_kinds(run: Callable[..., Path]) -> None:
    a = run("a", ROWS)
    b = run("b", ROWS, config={"loss": {"name": "hinge"}})
    with pytest.raises(UsageError, match="minimize different losses"):
        compare_times([a, b], parse("time_to(dev/loss <= 1)"))
