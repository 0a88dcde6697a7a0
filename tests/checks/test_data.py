"""Faults planted in data are found, and sound data pass."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from nnexp.checks.check import check
from nnexp.checks.columns import correlated, giveaways, repeated
from nnexp.checks.data import check_data
from nnexp.checks.parts import check_parts
from nnexp.checks.quick import check_start
from nnexp.checks.shift import area_of, rank_area
from nnexp.checks.subject import Subject
from nnexp.checks.verdict import Verdict
from nnexp.config.load import load_config
from nnexp.data import suspicions
from nnexp.runs.plan import load, located, plan_members, prepared_for, resolved_for

ROWS = 400


def _columns(seed: int = 0, rows: int = ROWS) -> dict[str, np.ndarray]:
    """A table of three numbers, a text and a target that depends on two of the numbers."""
    random = np.random.default_rng(seed)
    a, b, c = random.normal(size=(3, rows))
    noise = random.normal(size=rows)
    return {
        "a": a,
        "b": b,
        "c": c,
        "town": random.choice(["Ulm", "Bonn", "Kiel"], rows),
        "y": np.where(a + b + noise > 0, "yes", "no"),
    }


def _write(path: Path, columns: dict[str, np.ndarray]) -> None:
    lines = [",".join(columns)]
    lines += [",".join(map(str, row)) for row in zip(*columns.values(), strict=True)]
    path.write_text("\n".join(lines).replace("nan", "") + "\n")


def _verdicts(folder: Path, columns: dict[str, np.ndarray], more: str = "") -> dict[str, Verdict]:
    _write(folder / "data.csv", columns)
    path = folder / "config.yaml"
    path.write_text(
        "data:\n  source: {name: csv, path: data.csv, target: y}\n"
        + "model: {name: mlp, hidden: [4]}\n"
        + more
    )
    experiment = located(load_config(path, []).experiment, folder)
    table = load(experiment)
    resolved = resolved_for(experiment, table)
    prepared = prepared_for(resolved, table)
    found = check_data(resolved, table, prepared)
    found += check_parts(resolved.data.split, table, prepared)
    return {verdict.name: verdict for verdict in found}


@pytest.mark.parametrize("seed", range(5))
def test_sound_data_pass(tmp_path: Path, seed: int) -> None:
    found = _verdicts(tmp_path, _columns(seed))
    assert {v.verdict for v in found.values()} == {"pass"}, found
    assert not any(v.advice for v in found.values())
    assert len(found) == 10


def test_columns_with_gaps(tmp_path: Path) -> None:
    columns = _columns()
    columns["a"][::10] = np.nan
    found = _verdicts(tmp_path, columns)["missing values"]
    assert found.verdict == "pass"
    assert found.text.endswith("% of a")
    columns["b"][: ROWS * 4 // 5] = np.nan
    found = _verdicts(tmp_path, columns)["missing values"]
    assert found.verdict == "look"
    assert found.advice.startswith("b: hardly anything")


def test_a_gap_that_nothing_fills_fails(tmp_path: Path) -> None:
    """It is refused as a mistake in the config, or told as one of the data."""
    columns = _columns()
    columns["a"][3] = np.inf
    _write(tmp_path / "data.csv", columns)
    path = tmp_path / "config.yaml"
    path.write_text(
        "data: {source: {name: csv, path: data.csv, target: y}}\n"
        "model: {name: mlp, hidden: [4]}\npreprocessing: [standardize, one_hot]\n"
    )
    found = check(load_config(path, []).experiment, tmp_path).verdicts
    assert [v.verdict for v in found] == ["fail"]
    assert "infinite values" in found[0].text


def test_constant_repeated_and_correlated_columns(tmp_path: Path) -> None:
    columns = _columns()
    columns |= {"same": np.full(ROWS, 7.0), "again": columns["a"], "city": columns["town"]}
    columns["nearly"] = 3 * columns["b"] + 0.01 * columns["c"]
    found = _verdicts(tmp_path, columns)
    assert found["constant columns"].verdict == "look"
    assert found["constant columns"].text == "same (1 of 8)"
    assert found["duplicated columns"].verdict == "look"
    assert found["duplicated columns"].text == "a = again, town = city"
    assert found["correlated columns"].verdict == "look"
    assert found["correlated columns"].text.startswith("b and nearly (1.0000)")


@pytest.mark.parametrize("kind", ["number", "text", "regression"])
def test_a_column_that_gives_the_target_away(tmp_path: Path, kind: str) -> None:
    columns = _columns()
    if kind == "number":
        columns["paid"] = np.where(columns["y"] == "yes", 3.0, -1.0) + 0.1 * columns["c"]
    elif kind == "text":
        columns["paid"] = np.where(columns["y"] == "yes", "Z", "F")
    else:
        columns["y"] = columns["a"] + columns["b"]
        columns["paid"] = 2 * columns["y"] + 0.01 * columns["c"]
    found = _verdicts(tmp_path, columns)["target in a column"]
    assert found.verdict == "fail"
    assert found.text.startswith("told by paid (")


def test_row_numbers(tmp_path: Path) -> None:
    columns = _columns()
    assert _verdicts(tmp_path, columns)["row numbers"].verdict == "pass"
    columns["n"] = 1000 - 3 * np.arange(len(columns["a"]))
    found = _verdicts(tmp_path, columns)["row numbers"]
    assert found.verdict == "look"
    assert found.text.startswith("n: ")
    columns["n"][17] += 1
    assert _verdicts(tmp_path, columns)["row numbers"].verdict == "pass"


def test_rows_that_are_there_twice(tmp_path: Path) -> None:
    columns = {name: np.tile(values, 2) for name, values in _columns().items()}
    found = _verdicts(tmp_path, columns)["same example in two splits"]
    assert found.verdict == "fail"
    assert "of test is in train, too" in found.text
    few = _columns()
    few |= {name: np.round(few[name]) for name in "abc"}  # equal by nature
    assert _verdicts(tmp_path, few)["same example in two splits"].verdict == "pass"


def _share(verdict: Verdict, parts: str) -> float:
    """The share that it tells of `dev is in train`, say."""
    (told,) = (part for part in verdict.text.split("; ") if f" of {parts}" in part)
    return float(told.split("%")[0]) / 100


def test_the_share_of_rows_that_are_there_twice_is_true_of_large_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever part of the data is looked at."""
    columns = {name: np.tile(values, 2) for name, values in _columns(rows=2000).items()}
    exact = _verdicts(tmp_path, columns)["same example in two splits"]
    config = load_config(tmp_path / "config.yaml", []).experiment
    parts = plan_members(config, tmp_path, 1, False).tables[0].parts
    monkeypatch.setattr(suspicions, "ROWS", 200)
    some = _verdicts(tmp_path, columns)["same example in two splits"]
    monkeypatch.setattr(suspicions, "KNOWN", len(parts["train"]) // 2)
    fewer = _verdicts(tmp_path, columns)["same example in two splits"]
    for other, one in (("dev", "train"), ("test", "train"), ("test", "dev")):
        true = float(np.isin((parts[other] + 2000) % 4000, parts[one]).mean())
        for found, error in ((exact, 6e-4), (some, 0.1), (fewer, 0.15)):
            assert found.verdict == "fail"
            assert _share(found, f"{other} is in {one}") == pytest.approx(true, abs=error)


def test_training_tells_of_the_split_once(tmp_path: Path) -> None:
    """As a note of its plan, which its line of checks leaves out."""
    columns = {name: np.tile(values, 2) for name, values in _columns().items()}
    _write(tmp_path / "data.csv", columns)
    path = tmp_path / "config.yaml"
    path.write_text("data:\n  source: {name: csv, path: data.csv, target: y}\nmodel: linear\n")
    plan = plan_members(load_config(path, []).experiment, tmp_path, 1, False)
    assert sum("the very features of one in train" in note for note in plan.notes) == 2
    prepared = plan.tables[0]
    pack = Subject(plan.members[0], prepared, torch.device("cpu")).pack
    found = check_start(plan.table, pack, pack.start().tensors["params"])
    assert "same example in two splits" not in [verdict.name for verdict in found]
    assert all(verdict.verdict == "pass" for verdict in found)


@pytest.mark.parametrize("change", ["mean", "spread"])
def test_dev_and_test_from_different_places(tmp_path: Path, change: str) -> None:
    columns, half = _columns(), np.arange(ROWS) >= 300
    columns["a"] = np.where(half, columns["a"] * 5 + 15 * (change == "mean"), columns["a"])
    for part, rows in {
        "train": range(200),
        "dev": range(200, 300),
        "test": range(300, 400),
    }.items():
        (tmp_path / f"{part}.txt").write_text("\n".join(map(str, rows)))
    split = "data:\n  split: {train: train.txt, dev: dev.txt, test: test.txt}\n"
    path = tmp_path / "config.yaml"
    _write(tmp_path / "data.csv", columns)
    path.write_text(
        split
        + "  source: {name: csv, path: data.csv, target: y}\nmodel: {name: mlp, hidden: [4]}\n"
    )
    experiment = located(load_config(path, []).experiment, tmp_path)
    table = load(experiment)
    resolved = resolved_for(experiment, table)
    found = check_parts(resolved.data.split, table, prepared_for(resolved, table))
    (told,) = (v for v in found if v.name == "dev against test")
    assert told.verdict == ("fail" if change == "mean" else "look")
    if change == "mean":
        assert told.text.endswith(", most by a")


def test_a_split_by_a_column_is_not_told_by_that_column(tmp_path: Path) -> None:
    columns = _columns() | {"day": np.arange(ROWS)}
    split = "  split: {name: ordered, by: day, train: 0.5, dev: 0.25, test: 0.25}\n"
    head = "data:\n  source: {name: csv, path: data.csv, target: y}\n"
    for drifts in (False, True):
        if drifts:
            columns["b"] = columns["b"] + np.arange(ROWS) / 40
        _write(tmp_path / "data.csv", columns)
        path = tmp_path / "config.yaml"
        path.write_text(head + split + "model: {name: mlp, hidden: [4]}\n")
        found = check(load_config(path, []).experiment, tmp_path).verdicts
        (told,) = (v for v in found if v.name == "dev against test")
        assert told.verdict == ("look" if drifts else "pass")
        assert told.text.endswith("most by b") == drifts


@pytest.mark.parametrize(
    ("steps", "verdict"),
    [("pca", "look"), ("standardize, pca", "pass"), ("{name: pca, columns: [b, c]}", "pass")],
)
def test_columns_of_different_scales_before_pca(tmp_path: Path, steps: str, verdict: str) -> None:
    columns = _columns()
    columns["a"] = columns["a"] * 4.0
    del columns["town"]
    found = _verdicts(tmp_path, columns, f"preprocessing: [{steps}]\n")["scale before pca"]
    assert found.verdict == verdict
    if verdict == "look":
        variances = {name: np.asarray(columns[name]).var() for name in "abc"}
        apart = variances["a"] / min(variances.values())
        assert float(found.text.split("differ ")[1].split("-fold")[0]) == pytest.approx(apart, 0.2)
        assert found.text.split("from ")[1].split(" to ")[1] == "a"


def test_rare_and_absent_classes(tmp_path: Path) -> None:
    columns = _columns()
    columns["y"] = np.where(np.arange(ROWS) % 80 == 0, "rare", "usual")
    found = _verdicts(tmp_path, columns)["class balance"]
    assert found.verdict == "look"
    assert "few of rare (3)" in found.text


def test_inputs_and_targets_of_a_wrong_scale(tmp_path: Path) -> None:
    columns = _columns()
    columns["a"] = columns["a"] * 1e5
    raw = "preprocessing: [one_hot]\n"
    assert _verdicts(tmp_path, columns, raw)["input scale"].verdict == "fail"
    assert _verdicts(tmp_path, columns)["input scale"].verdict == "pass"
    columns["y"] = 1e4 * columns["b"]
    path = "task: regression\n"
    assert _verdicts(tmp_path, columns, path)["target scale"].verdict == "pass"
    raw = path + "data: {source: {name: csv, path: data.csv, target: y}, scale_target: false}\n"
    raw += "model: linear\n"
    for size, verdict in ((1.0, "pass"), (1e2, "look"), (1e4, "fail")):
        columns["y"] = size * columns["b"]
        _write(tmp_path / "data.csv", columns)
        (tmp_path / "raw.yaml").write_text(raw)
        every = check(load_config(tmp_path / "raw.yaml", []).experiment, tmp_path).verdicts
        assert {v.name: v.verdict for v in every}["target scale"] == verdict
    columns["y"] = np.full(ROWS, 5.5)
    constant = _verdicts(tmp_path, columns, path)["target scale"]
    assert (constant.verdict, constant.advice) == (
        "fail",
        "y is constant: there is nothing to learn",
    )


def test_some_examples_in_two_splits_are_worth_a_look_many_a_failure(tmp_path: Path) -> None:
    for again, verdict in ((8, "look"), (24, "fail")):
        columns = {n: np.concatenate([v, v[:again]]) for n, v in _columns().items()}
        found = _verdicts(tmp_path, columns)["same example in two splits"]
        assert found.verdict == verdict, found


# -- parts of it against references ----------------------------------------------------------------


def test_correlations_are_numpy_s() -> None:
    random = np.random.default_rng(1)
    x = random.normal(size=(50, 4))
    x[:, 2] = -x[:, 0] + 1e-3 * x[:, 1]
    x[:, 3] = 4.0
    ((first, second, r),) = correlated(x, "abcd")
    assert (first, second) == ("a", "c")
    assert r == pytest.approx(np.corrcoef(x[:, 0], x[:, 2])[0, 1])


def test_repeated_takes_gaps_for_equal_and_leaves_constants_out() -> None:
    x = np.array([[1.0, 1.0, 5.0], [np.nan, np.nan, 5.0], [2.0, 2.0, 5.0]])
    text = np.array([["u"], [None], ["v"]], object)
    assert repeated(x, np.hstack([text, text]), ["a", "b", "c", "d", "e"]) == [
        ("a", "b"),
        ("d", "e"),
    ]


def test_giveaways_ask_for_enough_examples_and_more_than_chance() -> None:
    random = np.random.default_rng(2)
    x, none = random.normal(size=(500, 6)), np.empty((500, 0), object)
    target = (x[:, :1] > 0).astype(np.int64)
    assert [place for place, _ in giveaways(x, none, target, True)] == [0]
    assert giveaways(x[:60], none[:60], target[:60], True) == []
    lone = np.zeros((500, 1), np.int64)
    lone[7] = 1
    assert giveaways(x, none, lone, True) == []


def test_the_area_under_the_curve_is_scikit_learn_s() -> None:
    random = np.random.default_rng(3)
    scores, labels = random.integers(0, 9, 200).astype(float), random.integers(0, 2, 200)
    assert rank_area(scores, labels) == pytest.approx(roc_auc_score(labels, scores))


def test_a_classifier_sees_what_no_column_shows_alone() -> None:
    random = np.random.default_rng(5)
    x = random.normal(size=(4000, 20))
    is_test = np.repeat([0, 1], 2000)
    assert area_of(x, is_test) == pytest.approx(0.5, abs=0.04)
    x[2000:] += 0.15  # each column by far less than its deviation
    assert area_of(x, is_test) > 0.62  # the best possible is 0.68
