"""Data that a Python program hands over, as a source."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from nnexp.components.datasets import Csv, Dataset, Digits, Iris, Memory, Npz, Parquet
from nnexp.components.datasets.delimited import Columns, Form
from nnexp.components.datasets.memory import Held
from nnexp.errors import DataError, UsageError
from nnexp.registry import choose

X = np.arange(12.0).reshape(6, 2)
Y = np.array([0, 1, 0, 1, 1, 0])


def columns(**values: list[Any]) -> Columns:
    found = tuple(
        np.array(v, object) if any(isinstance(c, str) for c in v) else np.array(v, float)
        for v in values.values()
    )
    return Columns(tuple(values), found, np.arange(len(found[0])), Form(), (), "row")


def frame(**values: list[Any]) -> Memory:
    return Memory(target="y").holding(Held("a table", columns(**values)))


def arrays(inputs: np.ndarray, labels: np.ndarray | None = None, **fields: Any) -> Memory:
    return Memory(target="y", **fields).holding(Held("arrays", None, inputs, labels))


def test_a_table_is_what_a_file_with_the_same_content_gives(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(
        "a,when,c,y\n1,2024-01-02,u,p\n,2024-01-03,,q\n3,2024-01-05,u,p\n"
    )
    there = Csv(path=str(tmp_path / "a.csv"), target="y").load()
    days = ["2024-01-02", "2024-01-03", "2024-01-05"]
    here = frame(a=[1, np.nan, 3], when=days, c=["u", None, "u"], y=["p", "q", "p"]).load()
    assert here.classes == there.classes == ("p", "q")
    assert here.features.names == there.features.names == ("a", "when")
    np.testing.assert_array_equal(here.features.numeric[:], there.features.numeric[:])
    np.testing.assert_array_equal(here.features.categorical, there.features.categorical)
    np.testing.assert_array_equal(here.target, there.target)
    shared = ("types", "target_type", "date_order")
    assert {k: here.inferred.get(k) for k in shared} == {k: there.inferred.get(k) for k in shared}


def test_arrays_are_what_they_are() -> None:
    table = arrays(X, Y).load()
    assert table.task == "classification"
    assert table.features.names == ("x0", "x1")
    np.testing.assert_array_equal(table.features.numeric[:], X)
    np.testing.assert_array_equal(table.target, Y)
    images = Digits().load()
    same = arrays(np.asarray(images.features.numeric)[:, 0], images.target).load()
    np.testing.assert_array_equal(same.features.numeric[:], images.features.numeric[:])
    assert arrays(X, X[:, :1] / 7).load().task == "regression"
    assert arrays(X, np.eye(6)[:, :3]).load().task == "multilabel"


def test_it_survives_copies_and_what_is_inferred(tmp_path: Path) -> None:
    source = frame(a=[1, 2, 3], c=["u", "v", "u"], y=[0.5, 1.5, 2.5])
    table = source.load()
    resolved = source.resolved(table).with_paths(tmp_path)
    assert resolved.load().fingerprint == table.fingerprint
    assert resolved.types == {"c": "categorical"}
    assert resolved.target_type == "regression"


def test_no_value_of_it_is_written_down() -> None:
    source = arrays(X, Y)
    dumped = source.dump()
    assert set(dumped) == set(Memory.model_fields)
    assert dumped["what"] == "arrays"
    again = choose(Dataset, dumped)
    with pytest.raises(DataError, match=r"handed over in Python \(arrays\) and are in no file"):
        again.load()


def test_a_config_can_not_have_it() -> None:
    with pytest.raises(DataError, match="in no file: hand them over again there, or score a file"):
        choose(Dataset, {"name": "memory", "target": "y"}).load()


def test_without_labels_there_is_no_target() -> None:
    for source in (arrays(X, Y), arrays(X), frame(a=[1, 2], y=["p", "q"]), frame(a=[1, 2])):
        table = source.load(labelled=False)
        assert table.target.shape == (len(table), 0)


def test_ids_and_parts_are_kept() -> None:
    held = Held("", columns(a=[1, 2, 3], y=[0, 1, 0]), ids=np.array([7, 5, 9]))
    assert Memory(target="y").holding(held).load().ids.tolist() == [7, 5, 9]
    named = Memory(target="y", id="a").holding(
        Held("", columns(a=[4, 2, 3], b=[1, 1, 1], y=[0, 1, 0]), ids=np.arange(3))
    )
    assert named.load().ids.tolist() == [4, 2, 3]
    parts = {"test": np.array([2])}
    table = Memory(target="y").holding(Held("", None, X[:3], Y[:3], parts=parts)).load()
    assert table.parts.keys() == {"test"}


@given(hnp.arrays(np.float64, (4, 2), elements=st.floats()), st.integers(0, 7))
def test_the_fingerprint_follows_the_values(array: np.ndarray, place: int) -> None:
    before = arrays(array, Y[:4]).load().fingerprint
    assert arrays(array.copy(order="F"), Y[:4].copy()).load().fingerprint == before
    changed = array.copy()
    changed.flat[place] = 1.0 if changed.flat[place] != 1.0 else 2.0
    assert arrays(changed, Y[:4]).load().fingerprint != before


@given(st.lists(st.one_of(st.none(), st.text(max_size=3)), min_size=2, max_size=4))
def test_the_fingerprint_tells_texts_apart(texts: list[str | None]) -> None:
    def fingerprint(cells: list[str | None]) -> str:
        held = np.array(cells, object)
        return Held("", Columns(("c",), (held,), np.arange(len(held)), Form(), ())).file.sha256

    assert fingerprint(texts) == fingerprint(list(texts))
    for i, cell in enumerate(texts):
        for other in (None, "", "-", (cell or "") + "x"):
            if other != cell:
                assert fingerprint([*texts[:i], other, *texts[i + 1 :]]) != fingerprint(texts)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (lambda: arrays(X, Y[:5]), "there are 5 targets for 6 examples"),
        (lambda: arrays(X, np.array([1.0, np.nan, 2, 3, 4, 5])), "no finite value in 1 row"),
        (lambda: arrays(np.empty((0, 2)), Y[:0]), "is empty"),
        (lambda: arrays(np.zeros((2, 1, 2, 2, 2)), Y[:2]), "5 dimensions"),
        (
            lambda: frame(a=[1, 2, 3], y=[1.5, np.nan, 2]),
            "target y has no finite value in 1 row (row 1)",
        ),
        (lambda: frame(a=[1, 2], y=["p", None]), "target y has no value in 1 row (row 1)"),
        (lambda: frame(a=[1, 2], target=[1, 2]), "target: there is no column y"),
        (lambda: frame(y=[1, 2]), "there is no column beside the target"),
    ],
)
def test_bad_data_are_refused(source: Any, message: str) -> None:
    with pytest.raises(DataError) as caught:
        source().load()
    assert str(caught.value).startswith("the data: ")
    assert message in str(caught.value)


def test_it_can_stand_in_a_file_later() -> None:
    source = Memory(target="y", types={"c": "categorical"}, target_type="regression")
    kinds = {
        "a.csv": Csv,
        "a.tsv": Csv,
        "a.csv.gz": Csv,
        "b.TXT": Csv,
        "a.parquet": Parquet,
        "a.npz": Npz,
    }
    for name, kind in kinds.items():
        found = source.at(Path(name))
        assert type(found) is kind
        assert getattr(found, "path") == str(Path(name).absolute())
        assert getattr(found, "target_type") == "regression"
    with pytest.raises(UsageError, match=r"should be a \.csv, \.tsv, \.txt, \.parquet or \.npz"):
        source.at(Path("a.png"))
    with pytest.raises(UsageError, match="trained on a builtin data set"):
        Iris().at(Path("a.csv"))
