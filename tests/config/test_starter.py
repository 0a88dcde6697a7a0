"""What a survey sees in a data file, and the config that is written for it."""

from __future__ import annotations

import csv
import gzip
import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nnexp.components.datasets.delimited import Columns, Form
from nnexp.config.load import load_config
from nnexp.config.recipe import Recipe, word
from nnexp.config.starter import Starter, write_starter
from nnexp.data.survey import Column, Survey, survey
from nnexp.errors import DataError, UsageError
from nnexp.runs.plan import Plan, plan_members


def table(path: Path, header: Sequence[str], *columns: Sequence[Any]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(zip(*columns, strict=True))
    return path


def numbers(rows: int, seed: int = 0) -> list[float]:
    return np.random.default_rng(seed).normal(size=rows).round(3).tolist()


def started(path: Path, *targets: str) -> tuple[Survey, Starter, Plan]:
    """A file's survey and config, and what a run would make of that."""
    found = survey(path, targets)
    folder = path.parent if path.parent.is_dir() else Path()
    starter = write_starter(path, found, folder)
    config = folder / "written.yaml"
    config.write_text(starter.text, encoding="utf-8")
    loaded = load_config(config)
    return found, starter, plan_members(loaded.experiment, folder, 1, False)


def columns(found: Survey) -> dict[str, Column]:
    return {column.name: column for column in found.columns}


# -- the file's form -------------------------------------------------------------------------------


def test_a_plain_table(tmp_path: Path) -> None:
    kinds = ["a", "b", "c"] * 20
    path = table(tmp_path / "t.csv", ["u", "v", "kind"], numbers(60), numbers(60, 1), kinds)
    found, starter, plan = started(path)
    assert found.source == {"name": "csv", "path": "t.csv", "target": "kind"}
    assert dict(starter.facts)["features"] == "2 numeric"
    assert dict(starter.facts)["task"] == "classification, 3 classes (a: 20, b: 20, c: 20)"
    assert plan.resolved.task == "classification"
    assert [step.component for step in plan.resolved.preprocessing or []] == ["standardize"]


def test_separator_decimal_sign_and_encoding(tmp_path: Path) -> None:
    lines = ["Größe;Straße: Nr. #;Preis"] + [f"{i},5;{'Köln' if i % 2 else 'Zürich'};{i},25"
                                             for i in range(40)]  # fmt: skip
    (tmp_path / "t.csv").write_bytes("\n".join(lines).encode("latin-1"))
    found, starter, plan = started(tmp_path / "t.csv")
    assert (found.source["separator"], found.source["decimal"]) == (";", ",")
    assert found.source["encoding"] == "cp1252"
    assert "text in cp1252, fields between semicolons, decimal commas, a header" in starter.text
    assert plan.table.target_names == ("Preis",)
    assert plan.table.column("Größe")[3] == 3.5
    assert set(plan.table.column("Straße: Nr. #")) == {"Köln", "Zürich"}


@pytest.mark.parametrize(
    ("content", "encoding"),
    [
        (b"a,b\n\x81,1\n", "latin-1"),  # which cp1252 does not have
        (b"a,b\n\xe9,1\n", "cp1252"),
        ("a,b\né,1\n".encode("utf-8-sig"), None),
        ("a,b\né,1\n".encode("utf-16"), None),
        (gzip.compress(b"a,b\n\xe9,1\n"), "cp1252"),
        (b"a,b\n1,2\n3,\xc3", "cp1252"),  # UTF-8 that breaks off
    ],
)
def test_encodings(tmp_path: Path, content: bytes, encoding: str | None) -> None:
    (tmp_path / "t.csv").write_bytes(content)
    assert survey(tmp_path / "t.csv").source.get("encoding") == encoding


def test_without_a_header_columns_go_by_number(tmp_path: Path) -> None:
    path = table(tmp_path / "t.csv", ["0.5", "7", "1.5"], numbers(40), [7] * 40, numbers(40, 1))
    found, starter, plan = started(path)
    assert found.source["header"] is False
    assert (found.source["target"], found.source["drop"]) == (2, [1])
    assert "no header" in starter.text
    assert plan.table.features.names == ("0",)


def test_a_header_may_have_numbers_among_its_names(tmp_path: Path) -> None:
    columns = [numbers(40, seed) for seed in range(3)]
    path = table(tmp_path / "t.csv", ["age", "2019", "2020"], *columns)
    found, _, plan = started(path)
    assert (found.source["header"], found.source["target"]) == (True, "2020")
    assert plan.table.features.names == ("age", "2019")


def test_words_among_numbers_are_missing_values(tmp_path: Path) -> None:
    values: list[Any] = numbers(60)
    values[3], values[20] = "-", "n.a."
    path = table(tmp_path / "t.csv", ["u", "v", "y"], values, numbers(60, 1), numbers(60, 2))
    found, starter, plan = started(path)
    assert columns(found)["u"] == Column("u", "u", "numeric", 2, len(set(values)) - 2)
    assert "-, n.a. among numbers is taken as a missing value" in starter.notes
    assert plan.resolved.preprocessing is not None
    assert plan.resolved.preprocessing[0].component == "impute"
    values[3] = "enormous"
    table(path, ["u", "v", "y"], values, numbers(60, 1), numbers(60, 2))
    assert "missing" not in survey(path).source


# -- columns ---------------------------------------------------------------------------------------


def test_columns_that_say_nothing_are_left_out(tmp_path: Path) -> None:
    rows = 60
    path = table(
        tmp_path / "t.csv",
        ["id", "code", "same", "empty", "far", "comment", "x", "day", "y"],
        range(100, 100 + 3 * rows, 3),
        [f"k{i}" for i in range(rows)],
        [4] * rows,
        [""] * rows,
        ["inf", *range(rows - 1)],
        [f"text {i % 40}" for i in range(rows)],
        numbers(rows),
        [f"2024-03-{1 + i % 28:02}" for i in range(rows)],
        numbers(rows, 1),
    )
    found, starter, plan = started(path)
    assert found.source["id"] == "id"
    assert found.source["drop"] == ["code", "same", "empty", "far", "comment"]
    assert columns(found)["day"].kind == "date"
    assert any(note.startswith("day tells when") for note in starter.notes)
    assert "identifier: id" in starter.text
    assert plan.table.features.names == ("x", "day")


@pytest.mark.parametrize(
    ("name", "values", "role"),
    [
        ("n", list(range(1, 41)), "id"),
        ("n", list(range(2, 82, 2)), "feature"),
        ("id", list(range(2, 82, 2)), "id"),
        ("userId", list(range(2, 82, 2)), "id"),
        ("row", list(range(2, 82, 2)), "id"),
        ("acid", list(range(2, 82, 2)), "feature"),
        ("id", [i / 4 for i in range(40)], "feature"),
        ("store_id", [i % 30 for i in range(40)], "drop"),
        ("store_id", [i % 4 for i in range(40)], "feature"),
        ("n", [f"{i} km" for i in range(40)], "id"),
        ("n", [f"{i % 25} km" for i in range(40)], "drop"),
        ("n", [f"{i % 20} km" for i in range(40)], "feature"),
    ],
)
def test_identifiers(tmp_path: Path, name: str, values: list[Any], role: str) -> None:
    path = table(tmp_path / "t.csv", [name, "x", "y"], values, numbers(40), numbers(40, 1))
    assert columns(started(path)[0])[name].role == role


def test_a_column_alone_beside_the_target_is_a_feature(tmp_path: Path) -> None:
    path = table(tmp_path / "t.csv", ["x", "y"], range(1, 41), numbers(40))
    found, _, plan = started(path)
    assert columns(found)["x"].role == "feature"
    assert plan.table.features.names == ("x",)


def test_rare_categories_are_pooled(tmp_path: Path) -> None:
    path = table(
        tmp_path / "t.csv", ["c", "y"], [f"c{i % 30}" for i in range(90)], numbers(90)
    )  # fmt: skip
    _, _, plan = started(path)
    (step,) = plan.resolved.preprocessing or []
    assert (step.component, step.dump()["min_frequency"]) == ("one_hot", 2)


@pytest.mark.parametrize(
    ("name", "cells", "split"),
    [
        ("patient_id", [i % 9 for i in range(60)], "grouped"),
        ("patient_id", [i % 29 for i in range(60)], "grouped"),
        ("Site", ["a", "b, c", "d: e", "#", "{"] * 12, "grouped"),
        ("day", [f"2024-03-{1 + i % 28:02}" for i in range(60)], "ordered"),
        ("year", [1960 + i for i in range(60)], "ordered"),
    ],
)
def test_what_rows_have_in_common(tmp_path: Path, name: str, cells: list[Any], split: str) -> None:
    path = table(tmp_path / "t.csv", [name, "x", "y"], cells, numbers(60), numbers(60, 1))
    found, starter, _ = started(path)
    assert [(r.split, r.column) for r in found.relations] == [(split, name)]
    assert starter.notes[0].endswith("; the config has a split for that, as a comment")
    before, _, rest = starter.text.partition("  # split:\n")
    commented, _, after = rest.partition("  split:\n")
    instead = "  split:\n" + commented.replace("  # ", "  ")
    following = after[re.search(r"^\S", after, re.MULTILINE).start() :]
    (tmp_path / "other.yaml").write_text(before + instead + following)
    experiment = load_config(tmp_path / "other.yaml").experiment
    plan = plan_members(experiment, tmp_path, 1, False)
    assert plan.resolved.data.split.dump()["by"] == name


# -- the target ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "target"),
    [
        (["y", "a", "b"], "y"),
        (["class", "Target", "b"], "Target"),
        (["a", "Species", "b"], "Species"),
        (["a", "b", "c"], "c"),
        (["y1", "a", "y2"], ["y1", "y2"]),
    ],
)
def test_the_target_is_guessed(tmp_path: Path, names: list[str], target: Any) -> None:
    path = table(tmp_path / "t.csv", names, *(numbers(40, seed) for seed in range(3)))
    assert started(path)[0].source["target"] == target


def test_the_last_column_is_passed_over_where_it_cannot_be_the_target(tmp_path: Path) -> None:
    gaps: list[Any] = ["", *numbers(39, 5)]
    days = [f"2024-03-{1 + i % 28:02}" for i in range(40)]
    path = table(
        tmp_path / "t.csv",
        ["a", "b", "gaps", "day", "same", "nr"],
        numbers(40),
        numbers(40, 1),
        gaps,
        days,
        [1] * 40,
        range(40),
    )
    found = started(path)[0]
    assert found.source["target"] == "b"
    assert columns(found)["b"].reason.startswith("the last column that could be a target")


def test_the_target_is_what_the_user_says(tmp_path: Path) -> None:
    path = table(tmp_path / "t.csv", ["a", "3", "y"], *(numbers(40, seed) for seed in range(3)))
    assert started(path, "a")[0].source["target"] == "a"
    assert started(path, "0")[0].source["target"] == "a"
    assert started(path, "-2")[0].source["target"] == "3"
    assert started(path, "3")[0].source["target"] == "3"  # a name before a number
    assert started(path, "a", "y")[0].source["target"] == ["a", "y"]
    with pytest.raises(DataError, match="--target: there is no column 7; there are 3"):
        survey(path, ["7"])
    with pytest.raises(DataError, match=re.escape("--target: there is no column b (there are")):
        survey(path, ["b"])


def test_labels(tmp_path: Path) -> None:
    labels = [[(i // 2**k) % 2 for i in range(60)] for k in range(2)]
    path = table(tmp_path / "t.csv", ["x", "label_1", "label_2"], numbers(60), *labels)
    _, starter, plan = started(path)
    assert plan.resolved.task == "multilabel"
    assert dict(starter.facts)["target"] == "label_1, label_2 (by their names)"


def test_whole_numbers_are_explained(tmp_path: Path) -> None:
    path = table(tmp_path / "t.csv", ["x", "y"], numbers(60), [i % 3 for i in range(60)])
    _, starter, plan = started(path)
    assert "target_type: classification" in starter.text
    assert "# its 3 different whole numbers are taken as classes" in starter.text
    assert not any("whole numbers" in note for note in starter.notes)
    assert plan.table.task == "classification"


def test_a_target_with_gaps_is_refused(tmp_path: Path) -> None:
    path = table(tmp_path / "t.csv", ["x", "y"], numbers(40), ["", *numbers(39, 1)])
    with pytest.raises(DataError, match="target y has no value in 1 row: remove"):
        survey(path)
    with pytest.raises(DataError, match=r"target y has no finite value in 1 row \(line 2\)"):
        started(path, "y")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty"),
        ("a\n1\n2\n", "there is no column beside the target"),
        ("a,b\n1,\n,2\n", "every column has missing values"),
        ("a,b\n", "has a header but no rows"),
        ("a,a\n1,2\n", "column names are repeated"),
        ("a,b\n1,2\n3\n", "has 1 fields where the first row has 2"),
        ("a,b\n1,\0\n", "is not text"),
    ],
)
def test_files_that_cannot_be_used(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "t.csv").write_text(content)
    with pytest.raises(DataError, match=message):
        started(tmp_path / "t.csv")


# -- other sources ---------------------------------------------------------------------------------


def test_a_builtin_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    _, starter, plan = started(Path("digits"))
    assert "  source: digits\n" in starter.text
    assert plan.resolved.model.component == "cnn"
    assert dict(starter.facts)["examples"] == "1 × 8 × 8 numbers each"
    with pytest.raises(UsageError, match="a target of its own"):
        survey(Path("iris"), ["species"])
    with pytest.raises(DataError, match="no such file"):
        survey(Path("csv"))


def test_arrays(tmp_path: Path) -> None:
    x, y = np.array(numbers(80)).reshape(40, 2), np.array(numbers(40, 1))
    for name, array in (("X_train", x), ("y_train", y), ("X_test", x), ("y_test", y)):
        np.save(tmp_path / f"{name}.npy", array)
    found, _, plan = started(tmp_path / "X_train.npy")
    assert found.source == {
        "name": "npy",
        "features": "X_train.npy",
        "targets": "y_train.npy",
        "test_features": "X_test.npy",
        "test_targets": "y_test.npy",
    }
    assert plan.resolved.data.split.dump()["test"] is None
    assert len(plan.tables[0].parts["test"]) == 40
    np.save(tmp_path / "other.npy", x)
    with pytest.raises(UsageError, match="no file beside it looks like their targets"):
        survey(tmp_path / "other.npy")
    assert started(tmp_path / "other.npy", "y_test.npy")[0].source["targets"] == "y_test.npy"
    with pytest.raises(UsageError, match="give --target once"):
        survey(tmp_path / "other.npy", ["a", "b"])
    with pytest.raises(DataError, match="no such file"):
        started(tmp_path / "other.npy", "nowhere.npy")


def test_targets_in_another_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
    np.save(tmp_path / "a" / "x.npy", np.array(numbers(80)).reshape(40, 2))
    np.save(tmp_path / "b" / "t.npy", np.array(numbers(40, 1)))
    monkeypatch.chdir(tmp_path)
    found, starter, _ = started(Path("a/x.npy"), "b/t.npy")
    assert found.source["targets"] == "../b/t.npy"
    assert write_starter(Path("a/x.npy"), found, tmp_path).text.count("targets: b/t.npy") == 1
    assert "targets: ../b/t.npy" in starter.text


def test_an_archive_of_arrays(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.array(numbers(80)).reshape(40, 2), y=[0, 1] * 20, z=[1] * 40)
    assert started(tmp_path / "a.npz")[2].table.task == "classification"
    assert started(tmp_path / "a.npz", "y")[0].source["targets"] == "y"


def test_parquet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = (np.array(numbers(40)), np.array(["a", "b"] * 20, dtype=object))
    read = Columns(("x", "7"), values, np.arange(40), Form(), (), "row")
    monkeypatch.setattr("nnexp.components.datasets.files.read_parquet", lambda _: read)
    (tmp_path / "t.bin").write_bytes(b"PAR1")
    found, starter, plan = started(tmp_path / "t.bin")
    assert found.source == {"name": "parquet", "path": "t.bin", "target": "7"}
    assert "target: '7'" in starter.text
    assert plan.table.classes == ("a", "b")


def test_idx(tmp_path: Path) -> None:
    images = bytes([0, 0, 8, 3, 0, 0, 0, 40, 0, 0, 0, 9, 0, 0, 0, 9]) + bytes(range(81)) * 40
    (tmp_path / "train-images-idx3-ubyte").write_bytes(images)
    with gzip.open(tmp_path / "train-labels-idx1-ubyte", "wb") as file:
        file.write(bytes([0, 0, 8, 1, 0, 0, 0, 40]) + bytes([0, 1] * 20))
    found, _, plan = started(tmp_path / "train-images-idx3-ubyte")
    assert found.source["labels"] == "train-labels-idx1-ubyte"
    assert [step.component for step in plan.resolved.preprocessing or []] == ["min_max"]


def test_a_spreadsheet_is_told(tmp_path: Path) -> None:
    (tmp_path / "t.xlsx").write_bytes(b"PK\x03\x04")
    with pytest.raises(DataError, match=r"is a spreadsheet; save the sheet as \.csv"):
        survey(tmp_path / "t.xlsx")


# -- the recipe ------------------------------------------------------------------------------------


def recipe(path: Path) -> Recipe:
    found, starter, _ = started(path)
    return Recipe(starter.table, found)


def test_few_rows_are_not_held_back(tmp_path: Path) -> None:
    few = table(tmp_path / "t.csv", ["x", "y"], numbers(9), numbers(9, 1))
    assert recipe(few).split == {"train": 1.0}
    more = table(tmp_path / "t.csv", ["x", "y"], numbers(60), numbers(60, 1))
    assert recipe(more).split == {"train": 0.6, "dev": 0.2, "test": 0.2}
    enough = table(tmp_path / "t.csv", ["x", "y"], numbers(100), numbers(100, 1))
    assert recipe(enough).split == {"train": 0.7, "dev": 0.1, "test": 0.2}


def test_uneven_classes_are_weighed(tmp_path: Path) -> None:
    kinds = ["rare" if i % 8 == 0 else "usual" for i in range(160)]
    path = table(tmp_path / "t.csv", ["x", "y"], numbers(160), kinds)
    _, starter, plan = started(path)
    assert plan.resolved.loss is not None
    assert plan.resolved.loss.class_weights == "balanced"
    assert plan.resolved.metrics is not None
    assert plan.resolved.metrics[0].component == "balanced_accuracy"
    assert any("the largest has 140 rows, the smallest 20" in note for note in starter.notes)


def test_more_columns_than_rows_need_more_dropout(tmp_path: Path) -> None:
    names = [f"x{i}" for i in range(150)]
    path = table(
        tmp_path / "t.csv", [*names, "y"], *(numbers(120, i) for i in range(151))
    )  # fmt: skip
    assert started(path)[2].resolved.model.dump()["dropout"] == 0.5


def test_every_section_has_a_reason(tmp_path: Path) -> None:
    path = table(tmp_path / "t.csv", ["x", "y"], numbers(300), numbers(300, 1))
    text = started(path)[1].text
    keys = [line.partition(":")[0] for line in text.splitlines() if re.match(r"[a-z]", line)]
    assert keys == [
        *("name", "seed", "data", "preprocessing", "model", "loss", "regularization"),
        *("optimizer", "schedule", "training"),
    ]
    assert max(map(len, text.splitlines())) <= 100
    for key in keys[3:]:
        section = text.partition(f"\n{key}:")
        above = section[0].splitlines()[-1]
        within = re.split(r"\n(?=[a-z])", section[2])[0]
        assert above.startswith("#") or "# " in within, key


# -- any table -------------------------------------------------------------------------------------

LETTERS = st.sampled_from(
    [*"abY01 .,;:#'\"{}[]&*!|>%@`-?~\\/=\t", "é", "ß", "漢", "😀", "\x85", "\n"]
)
NAMES = st.one_of(
    st.text(LETTERS, min_size=1, max_size=6),
    st.sampled_from(
        ["1", "1e3", "null", "true", "yes", "~", "id", "y", "0x1F", "NaN", "- a", "a: b"]
    ),
)
CELLS = {
    "numbers": st.one_of(st.integers(-9, 9).map(str), st.floats(-1e6, 1e6).map(str)),
    "gaps": st.sampled_from(["", "NA", "1", "2.5", "-"]),
    "few": st.sampled_from(["0", "1"]),
    "words": st.text(LETTERS, max_size=4),
    "kinds": st.sampled_from(["red", "green", "#1", "yes"]),
    "days": st.dates().map(str),
}


@st.composite
def tables(draw: st.DrawFn) -> bytes:
    rows = draw(st.integers(1, 30))
    names = draw(st.lists(NAMES, min_size=1, max_size=5))
    kinds = [draw(st.sampled_from(sorted(CELLS))) for _ in names]
    file = io.StringIO()
    writer = csv.writer(file, delimiter=draw(st.sampled_from(",;\t|")))
    if draw(st.booleans()):
        writer.writerow(names)
    for _ in range(rows):
        writer.writerow([draw(CELLS[kind]) for kind in kinds])
    encoding = draw(st.sampled_from(["utf-8", "utf-16", "cp1252"]))
    return file.getvalue().encode(encoding, errors="replace")


REFUSED = re.compile(
    r"is empty|no column beside the target|every column has missing values|is not text|"
    r"has a header but no rows|names are repeated|fields where the first row has|"
    r"no field that isn't blank|has no value in|there is one class only, |"
    r"training examples for \d+ classes|no value in any training row|not unique"
)


def refusal(path: Path) -> str:
    """Why no config can be written for a file, or trained; empty if it can."""
    try:
        started(path)
    except DataError as error:
        return str(error)
    return ""


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(content=tables())
def test_what_is_written_can_be_trained(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    """A config that is written is right; a file that is refused is so for a reason that is told."""
    path = tmp_path_factory.mktemp("any") / "t.csv"
    path.write_bytes(content)
    reason = refusal(path)
    assert not reason or REFUSED.search(reason)


def test_words_from_files_are_shortened() -> None:
    assert word("a\nb\x1b[0m") == "a�b�[0m"
    assert word("x" * 50) == "x" * 39 + "…"
