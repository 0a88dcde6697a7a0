"""Damaged run directories give errors that name the file, never a traceback."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnexp.analysis.comparing.compare import compare
from nnexp.analysis.diagnosing.diagnosis import diagnose
from nnexp.analysis.diagnosing.mistakes import predictions_of
from nnexp.analysis.pictures import members_of
from nnexp.analysis.precision_recall import precision_recall
from nnexp.analysis.results import as_number, read_result
from nnexp.errors import DamagedRun, NnexpError, RunError
from nnexp.runs.score import usable_members

Write = Callable[..., Path]
ROWS: list[dict[str, Any]] = [
    {"split": split, "id": f"{split}{i}", "target": "a", "prediction": "ab"[i % 2], "loss": i}
    for split in ("dev", "test")
    for i in range(6)
]
SCORES = {"accuracy": 0.5, "loss": 2.5}
SUMMARY = (
    '{"status": "finished", "task": "classification", "primary": "accuracy", "test": {}, '
    '"train": {"accuracy": 1}, "best_epoch": 1, "epochs": 1, "steps": 1}'
)


def test_predictions_of_one_split(run: Write) -> None:
    result = read_result(run("a", ROWS, SCORES))
    found = result.predictions("test")
    assert found.ids == tuple(f"test{i}" for i in range(6))
    np.testing.assert_array_equal(found.numbers("loss")[:, 0], np.arange(6))
    assert len(result.predictions("train")) == 0


def test_history(run: Write) -> None:
    history = read_result(run("a", ROWS, SCORES)).history()
    np.testing.assert_array_equal(history["train/loss"], [2.0, 1.0])
    np.testing.assert_array_equal(history["dev/loss"], [2.5, np.nan])


def test_history_of_no_epoch(run: Write) -> None:
    path = run("a", ROWS, SCORES)
    (path / "metrics.csv").write_text("epoch,train/loss\n")
    assert [len(column) for column in read_result(path).history().values()] == [0, 0]
    (path / "metrics.csv").write_text("")
    assert read_result(path).history() == {}


def test_quoted_cells_are_read(run: Write) -> None:
    odd = [row | {"target": 'a "b",\nc\u2028', "prediction": 'a "b",\nc\u2028'} for row in ROWS]
    found = read_result(run("a", odd, SCORES)).predictions("test")
    assert (found.texts("target") == found.texts("prediction")).all()
    assert found.texts("target")[0] == 'a "b",\nc\u2028'


def test_no_run(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="there is no run at"):
        read_result(tmp_path / "nowhere")
    with pytest.raises(RunError, match=r"is not a run: it has no manifest\.json"):
        read_result(tmp_path)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("manifest.json", "{", "manifest.json"),
        ("manifest.json", "[]", "manifest.json"),
        ("manifest.json", '{"kind": "zoo"}', "kind should be 'run' or 'group'"),
        (
            "manifest.json",
            '{"kind": "group", "status": "finished", "members": "two"}',
            "members should be a valid integer",
        ),
        (
            "manifest.json",
            '{"kind": "group", "status": "finished", "members": 2}',
            "s0 is missing: the group has 2 members",
        ),
        ("summary.json", None, "summary.json"),
        ("summary.json", "\xff", "summary.json"),
        ("summary.json", SUMMARY, "no results on test"),
        ("summary.json", SUMMARY.replace('"test": {}', '"test": [1]'), "test should be a valid"),
        ("summary.json", "{}", "status is missing"),
        ("resolved.yaml", None, "resolved.yaml"),
        ("resolved.yaml", "a: [", "resolved.yaml"),
        ("resolved.yaml", "just text", "should hold a mapping"),
        ("resolved.yaml", "!!python/object/apply:os.getcwd []", "resolved.yaml"),
        ("predictions.csv", None, "predictions.csv"),
        ("predictions.csv", "", "begin with a header"),
        ("predictions.csv", "split,split\n", "begin with a header whose names differ"),
        ("predictions.csv", "split,target\n", "no column 'id'"),
        ("predictions.csv", "split,id\ntest\n", "row 2 has 1 cells, and the header 2"),
        ("predictions.csv", "split,id\ntest,1\ntest,1\n", "an id stands there twice"),
        ("predictions.csv", 'split,id\ntest,"1\n', "is not CSV"),
        ("predictions.csv", "split,id,loss\ntest,1,2\n", "no column 'target'"),
    ],
)
def test_damage_is_named(run: Write, file: str, content: str | None, message: str) -> None:
    good, bad = run("good", ROWS, SCORES), run("bad", ROWS, SCORES)
    if content is None:
        (bad / file).unlink()
    else:
        (bad / file).write_bytes(content.encode("latin-1"))
    with pytest.raises(NnexpError, match=message) as caught:
        compare([good, bad])
    assert caught.value.exit_code == 3


def test_metrics_that_are_no_numbers(run: Write) -> None:
    bad = run("bad", ROWS, SCORES)
    text = (bad / "summary.json").read_text().replace("0.5", '"high"')
    (bad / "summary.json").write_text(text)
    with pytest.raises(RunError, match="accuracy should be a valid number"):
        compare([run("good", ROWS, SCORES), bad])


def test_unknown_direction_of_a_metric(run: Write) -> None:
    paths = [run(name, ROWS, SCORES, higher_is_better={"loss": False}) for name in "ab"]
    with pytest.raises(RunError, match="does not say which way accuracy goes"):
        compare(paths)


def test_as_number() -> None:
    assert as_number(3) == 3.0
    assert as_number(math.inf) == math.inf
    for value in (True, None, "3", [3], 10**400):
        assert as_number(value) is None


@given(text=st.text(max_size=60), file=st.sampled_from(["predictions.csv", "summary.json"]))
def test_any_text_is_read_or_is_damage(
    tmp_path_factory: pytest.TempPathFactory, text: str, file: str
) -> None:
    folder = tmp_path_factory.mktemp("run")
    (folder / "manifest.json").write_text('{"kind": "run", "status": "finished"}')
    (folder / file).write_bytes(text.encode("utf-8", "surrogatepass"))
    result = read_result(folder)
    with suppress(DamagedRun):
        if file == "summary.json":
            result.value("test", "accuracy")
        else:
            result.predictions("test")


def test_members_that_count(group: Callable[..., Path]) -> None:
    """Those that did not diverge, and those of which early stopping kept weights with scores:
    wherever members are put together.
    """
    rows = [
        {"split": "test", "id": i, "target": t, "prediction": "no", "loss": 0.5}
        | {"output_0": 0.1 * i, "output_1": 1.0}
        for i, t in enumerate(["no", "yes", "no", "yes"])
    ]
    lost = {"manifest": {"status": "diverged"}, "status": "diverged", "epochs": 2}
    members = [
        {"rows": rows, "test": {"accuracy": None}} | lost,  # lost altogether
        {"rows": rows, "test": {"accuracy": 0.5}} | lost,  # best weights from before
        {"rows": rows, "test": {"accuracy": 0.5}},
    ]
    path = group("g", members)
    for member in path.glob("s?"):
        (member / "preprocessing.json").write_text(json.dumps({"classes": ["no", "yes"]}))
    result = read_result(path)
    kept = [path / "s1", path / "s2"]
    assert [run.path for run in result.alive] == kept
    assert [run.path for run in members_of(path)] == kept
    usable, notes = usable_members(path)
    assert [run.path for run in usable] == kept
    assert notes == ["1 of 3 members diverged: left out"]
    curves = precision_recall(result)
    assert (len(curves.curves), curves.left_out) == (2, 1)
    assert [rows.path.parent for rows in predictions_of(result, "test")] == kept
    text = diagnose(path).remarks[0].text
    assert text.startswith("2 of 3 models diverged")
    assert text.endswith("What follows counts weights from before, which early stopping kept.")
    (path / "s1" / "summary.json").unlink()
    assert [run.path for run in read_result(path).alive] == [path / "s2"]
