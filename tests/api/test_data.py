"""A DataFrame says what its file says; equal data in other forms are equal."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nnexp.api.data import class_names, described, to_fit, to_score
from nnexp.components.datasets import Csv, Memory
from nnexp.components.table import Table
from nnexp.errors import DataError, UsageError

NUMBERS = st.one_of(st.integers(-1000, 1000), st.floats(-1e6, 1e6), st.just(math.nan))
WORDS = st.one_of(st.sampled_from(["red", "green", "blue light"]), st.none())
ROWS = st.lists(st.tuples(NUMBERS, WORDS, NUMBERS, st.floats(-9, 9)), min_size=2, max_size=12)


def table(X: Any, y: Any = None, target: Any = None, **parts: Any) -> Table:
    held, known = to_fit(X, y, target, parts)
    return Memory.model_validate(described(held, known, {})).holding(held).load()


def assert_equal(one: Table, two: Table) -> None:
    assert one.features.names == two.features.names
    assert one.features.categorical_names == two.features.categorical_names
    np.testing.assert_array_equal(one.features.numeric[:], two.features.numeric[:])
    np.testing.assert_array_equal(one.features.categorical, two.features.categorical)
    np.testing.assert_array_equal(one.target, two.target)
    assert one.classes == two.classes
    assert one.task == two.task


@given(ROWS)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_a_frame_is_what_its_csv_file_is(tmp_path: Path, rows: list[tuple[Any, ...]]) -> None:
    if all(row[1] is None for row in rows):
        rows = [(*rows[0][:1], "red", *rows[0][2:]), *rows[1:]]
    frame = pd.DataFrame(rows, columns=["a", "word", "b", "y"])
    frame.to_csv(tmp_path / "a.csv", index=False)
    expected = Csv(path=str(tmp_path / "a.csv"), target="y", header=True).load()
    assert_equal(table(frame, target="y"), expected)
    assert_equal(table(frame.drop(columns="y"), frame["y"]), expected)
    assert_equal(table(frame.to_dict("list"), target="y"), expected)
    assert_equal(table(frame.convert_dtypes(), target="y"), expected)


@given(st.lists(st.tuples(st.floats(-9, 9), st.floats(-9, 9)), min_size=4, max_size=9))
@settings(deadline=None)
def test_parts_are_the_rows_that_were_handed_over(rows: list[tuple[float, float]]) -> None:
    X, y = np.array(rows), np.arange(len(rows)) / 7
    whole = table(X[:-3], y[:-3], dev=(X[-3:-1], y[-3:-1]), test=(X[-1:], y[-1:]))
    assert_equal(whole, table(X, y))
    found = {part: indices.tolist() for part, indices in whole.parts.items()}
    n = len(rows)
    assert found == {"dev": [n - 3, n - 2], "test": [n - 1]}


def test_dates_and_durations_become_days() -> None:
    when = pd.to_datetime(["1970-01-02", "2024-01-01"])
    frame = pd.DataFrame({"when": when, "took": when - when[0], "zone": when.tz_localize("UTC")})
    found = table(frame, [0.5, 1.5]).features
    assert found.names == ("when", "took", "zone")
    np.testing.assert_array_equal(found.numeric[:, 0], [1, 19723])
    np.testing.assert_array_equal(found.numeric[:, 1], [0, 19722])
    np.testing.assert_array_equal(found.numeric[:, 2], [1, 19723])


def test_other_columns_of_pandas() -> None:
    frame = pd.DataFrame(
        {
            "flag": [True, False, True],
            "maybe": pd.array([1, None, 3], dtype="Int64"),
            "kind": pd.Categorical(["u", None, "v"]),
            5: [1.0, 2.0, 3.0],
        }
    )
    found = table(frame, ["p", "q", "p"])
    assert found.features.names == ("flag", "maybe", "5")
    np.testing.assert_array_equal(found.features.numeric[:, 1], [1, np.nan, 3])
    assert found.features.categorical[:, 0].tolist() == ["u", None, "v"]
    assert found.classes == ("p", "q")


def test_a_target_is_named_after_its_series() -> None:
    X = pd.DataFrame({"a": [1.0, 2.0]})
    assert table(X, pd.Series([0.5, 1.5], name="rent")).target_names == ("rent",)
    assert table(X, [0.5, 1.5]).target_names == ("target",)
    assert table(X.to_numpy(), pd.Series([0.5, 1.5], name="rent")).target_names == ("rent",)
    assert table(X, np.array([[0.5, 1], [2, 3]])).target_names == ("target0", "target1")
    assert table(X, pd.DataFrame({"u": [0.5, 1], "v": [2.5, 3]})).target_names == ("u", "v")
    assert table(X, pd.Series([0.5, 1.5], index=[9, 8])).target[:, 0].tolist() == [0.5, 1.5]


def test_ids_are_an_index_that_tells_rows_apart() -> None:
    def ids(index: Any) -> list[Any]:
        return list(table(pd.DataFrame({"a": [1.0, 2.0]}, index=index), [0.5, 1.5]).ids.tolist())

    assert ids(["u", "v"]) == ["u", "v"]
    assert ids([7, 3]) == [7, 3]
    assert ids(pd.to_datetime(["2024-01-01", "2024-01-02"])) == [
        "2024-01-01 00:00:00",
        "2024-01-02 00:00:00",
    ]
    for counts_only in (None, [5, 5], ["u", None], pd.MultiIndex.from_tuples([(1, 2), (1, 3)])):
        assert ids(counts_only) == [0, 1]


def test_new_data_take_their_names_from_the_run() -> None:
    X = np.arange(6.0).reshape(3, 2)
    held = to_score(X, None, ("length", "width"), ("kind",))
    assert held.names == ("length", "width")
    assert to_score(X, None, ("length",), ("kind",)).names == ()
    frame = pd.DataFrame(X, columns=["length", "width"])
    held = to_score(frame, [1, 2, 3], ("length", "width"), ("kind",))
    assert held.columns is not None
    assert held.columns.names == ("length", "width", "kind")
    held = to_score(frame.assign(kind=0), pd.Series([1, 2, 3], name="x"), (), ("kind",))
    assert held.columns is not None
    assert held.columns.names == ("length", "width", "kind")
    assert held.arrays["kind"].tolist() == [1, 2, 3]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["0", "1", "10"], [0, 1, 10]),
        (["-1", "1"], [-1, 1]),
        (["0.5", "1", "2.25"], [0.5, 1.0, 2.25]),
        (["01", "1"], ["01", "1"]),
        (["1e5", "2"], ["1e5", "2"]),
        (["nan", "no"], ["nan", "no"]),
        (["1_0", "2"], ["1_0", "2"]),
        (["a"], ["a"]),
    ],
)
def test_names_of_classes_that_were_numbers_are_numbers(names: Any, expected: Any) -> None:
    assert class_names(names, {}, "y").tolist() == expected
    assert class_names(names, {"types": {"y": "categorical"}}, "y").tolist() == names
    assert class_names(names, {"types": {"x": "categorical"}}, "y").tolist() == expected


def test_what_can_be_no_table() -> None:
    from scipy.sparse import csr_array

    with pytest.raises(DataError, match=r"sparse matrix: hand over X.toarray\(\)"):
        table(csr_array(np.eye(3)), [0, 1, 2])
    with pytest.raises(DataError, match="column names are repeated: a"):
        table(pd.DataFrame([[1, 2], [3, 4]], columns=["a", "a"]), [0, 1])
    with pytest.raises(DataError, match=r"X can't be made an array"):
        table(torch.ones(2, 2, requires_grad=True), [0, 1])
    with pytest.raises(UsageError, match="X has no columns that could be the target"):
        table(np.zeros((4, 2, 2)), target=0)
    with pytest.raises(DataError, match="complex"):
        table(pd.DataFrame({"a": [1j, 2j]}), [0, 1])
