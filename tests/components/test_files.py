"""What csv and parquet infer, and what damaged files give."""

import importlib.machinery
import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

from nnexp.components.datasets import Csv, Npz, Parquet
from nnexp.errors import DataError


def csv(tmp_path, text, encoding="utf-8", **fields):
    (tmp_path / "data.csv").write_bytes(text.encode(encoding))
    return Csv(path="data.csv", **{"target": "y", **fields}).load(tmp_path)


class TestDates:
    @pytest.mark.parametrize(
        ("cells", "days"),
        [
            (["1970-01-02", "", "2024-02-29"], [1, np.nan, 19782]),
            (
                ["1970-01-02T12:00", "1970-01-01 06:00:00Z", "1970-01-01T00:00+06:00"],
                [1.5, 0.25, -0.25],
            ),
            (["13/1/1970", "2/1/1970", "1/2/1970"], [12, 1, 31]),
            (["1/13/1970", "1/2/1970", "2/1/1970"], [12, 1, 31]),
            (["2.1.1970", "1.2.1970", "3.1.1970"], [1, 31, 2]),
            (["1970/01/02", "1970/2/1", "1970/01/03"], [1, 31, 2]),
        ],
    )
    def test_become_days(self, tmp_path, cells, days):
        table = csv(tmp_path, "d,y\n" + "".join(f"{c},{i}.5\n" for i, c in enumerate(cells)))
        np.testing.assert_array_equal(table.column("d"), days)
        assert "read as dates" in table.notes[0]

    def test_are_read_alike_when_resolved(self, tmp_path):
        text = "d,y\n13/1/1970,1.5\n2/1/1970,2.5\n"
        source = Csv(path="data.csv", target="y")
        resolved = source.resolved(csv(tmp_path, text))
        assert (resolved.types, resolved.date_order) == ({"d": "date"}, "day_first")
        (tmp_path / "data.csv").write_text("d,y\n1/2/1970,1.5\n2/1/1970,2.5\n")
        np.testing.assert_array_equal(resolved.load(tmp_path).column("d"), [31, 1])
        (tmp_path / "data.csv").write_text("d,y\n1/2/1970,1.5\nsoon,2.5\n")
        with pytest.raises(DataError, match="column d is not dates: 'soon' is no date"):
            resolved.load(tmp_path)

    def test_whose_order_cannot_be_told_stay_text(self, tmp_path):
        text = "d,y\n1/2/1970,1.5\n2/3/1970,2.5\n"
        table = csv(tmp_path, text)
        assert table.features.categorical_names == ("d",)
        assert "set `date_order`" in table.notes[0]
        with pytest.raises(DataError, match="set `date_order`"):
            csv(tmp_path, text, types={"d": "date"})
        assert csv(tmp_path, text, date_order="month_first").column("d").tolist() == [1, 33]
        assert csv(tmp_path, text, types={"d": "categorical"}).notes == ()

    def test_compact_ones_are_dates_when_that_is_stated(self, tmp_path):
        text = "d,y\n19700102,1.5\n19700201,2.5\n"
        assert csv(tmp_path, text).column("d").tolist() == [19700102, 19700201]
        assert csv(tmp_path, text, types={"d": "date"}).column("d").tolist() == [1, 31]


class TestMultilabel:
    text = "a,u,v\n1,0,1\n2,1,1\n"

    def test_columns_of_0_and_1_are_labels(self, tmp_path):
        table = csv(tmp_path, self.text, target=["u", "v"])
        assert (table.task, table.multilabel, table.classes) == ("multilabel", True, None)
        np.testing.assert_array_equal(table.target, [[0, 1], [1, 1]])
        assert "`target_type: regression`" in table.notes[0]
        again = csv(tmp_path, self.text, target=["u", "v"], target_type="regression")
        assert (again.task, again.notes) == ("regression", ())

    def test_yes_and_no(self, tmp_path):
        table = csv(tmp_path, "a,u,v\n1,yes,no\n2,No,Yes\n", target=["u", "v"])
        np.testing.assert_array_equal(table.target, [[1, 0], [0, 1]])

    def test_what_is_no_label_is_told_with_its_line(self, tmp_path):
        text = self.text + "3,0,2\n"
        assert csv(tmp_path, text, target=["u", "v"]).task == "regression"
        with pytest.raises(DataError, match=r"target v .* neither 0 nor 1 in 1 row \(line 4\)"):
            csv(tmp_path, text, target=["u", "v"], target_type="multilabel")


def test_every_column_can_be_looked_up(tmp_path):
    table = csv(tmp_path, "k,a,c,z,y\n1,2,u,7,1.5\n5,3,v,8,2.5\n", id="k", drop=["z"])
    found = {name: table.column(name).tolist() for name in ("k", "a", "c", "z")}
    assert found == {"k": [1, 5], "a": [2, 3], "c": ["u", "v"], "z": [7, 8]}
    with pytest.raises(
        DataError, match=r"no column zz; did you mean z\? \(there are: a, c, k, z\)"
    ):
        table.column("zz")


def test_utf_16_is_known_by_its_mark_and_the_form_is_resolved(tmp_path):
    table = csv(tmp_path, "å;y\n1,5;p\n2,5;q\n", encoding="utf-16")
    source = Csv(path="data.csv", target="y").resolved(table)
    assert table.features.names == ("å",)
    assert (source.encoding, source.separator, source.decimal, source.header) == (
        "utf-16",
        ";",
        ",",
        True,
    )


def test_ten_thousand_columns(tmp_path):
    names = ",".join(f"c{i}" for i in range(10_000))
    row = ",".join(["0.5"] * 10_000)
    table = csv(tmp_path, f"{names},y\n{row},1.5\n{row},2.5\n")
    assert table.features.shape == (10_000,)


class TestNpz:
    def write(self, tmp_path, **arrays):
        np.savez(tmp_path / "a.npz", **arrays)
        return tmp_path

    def test_a_test_part_by_its_names(self, tmp_path):
        x, y = np.arange(8.0).reshape(4, 2), np.array([0, 1, 0, 1])
        folder = self.write(tmp_path, x_train=x, y_train=y, x_test=x[:2], y_test=y[:2])
        table = Npz(path="a.npz").load(folder)
        assert table.parts["test"].tolist() == [4, 5]
        assert table.target.tolist() == [0, 1, 0, 1, 0, 1]
        assert Npz(path="a.npz").resolved(table).test_features == "x_test"

    def test_what_cannot_be_used(self, tmp_path):
        folder = self.write(tmp_path, a=np.zeros((3, 2)), b=np.zeros(3))
        with pytest.raises(DataError, match="set `features`: which array is it"):
            Npz(path="a.npz").load(folder)
        with pytest.raises(DataError, match="there is no array c; it has a, b"):
            Npz(path="a.npz", features="c", targets="b").load(folder)
        self.write(tmp_path, x=np.array([{}], object), y=np.zeros(1))
        with pytest.raises(DataError, match="holds Python objects"):
            Npz(path="a.npz").load(folder)
        (tmp_path / "a.npz").write_bytes(b"garbage")
        with pytest.raises(DataError, match=r"is not a \.npz file"):
            Npz(path="a.npz").load(folder)


class TestParquet:
    def test_equals_the_frame(self, tmp_path):
        pytest.importorskip("pyarrow")
        pd = pytest.importorskip("pandas")
        frame = pd.DataFrame(
            {
                "a": [1.5, None],
                "n": [1, 2],
                "b": [True, False],
                "c": ["u", None],
                "d": pd.to_datetime(["1970-01-02T00:00", "1970-01-03T12:00"]),
                "y": ["p", "q"],
            }
        )
        frame.to_parquet(tmp_path / "a.parquet")
        source = Parquet(path="a.parquet", target="y")
        table = source.load(tmp_path)
        assert table.features.names == ("a", "n", "b", "d")
        np.testing.assert_array_equal(table.features.numeric, [[1.5, 1, 1, 1], [np.nan, 2, 0, 2.5]])
        assert table.features.categorical.tolist() == [["u"], [None]]
        assert table.classes == ("p", "q")
        again = source.resolved(table).load(tmp_path)
        np.testing.assert_array_equal(again.features.numeric, table.features.numeric)
        (tmp_path / "a.parquet").write_bytes((tmp_path / "a.parquet").read_bytes()[:-9])
        with pytest.raises(DataError, match="can't be read as parquet"):
            source.load(tmp_path)

    def test_without_pyarrow_says_what_to_install(self, tmp_path, monkeypatch):
        (tmp_path / "a.parquet").write_bytes(b"PAR1")
        monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
        with pytest.raises(DataError, match=r'pip install "nnexp\[parquet\]"'):
            Parquet(path="a.parquet", target="y").load(tmp_path)


def test_damaged_files_are_read_or_refused(tmp_path, monkeypatch):
    script = Path(__file__).parents[2] / "scripts" / "mutate-data"
    loader = importlib.machinery.SourceFileLoader("mutate_data", str(script))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("mutate_data", loader))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # beside the script
    loader.exec_module(module)
    found = module.survey(350, 1, tmp_path)
    assert {outcome for _, outcome in found} == {"read", "refused"}
    assert {kind for kind, outcome in found if outcome == "read"} == set(module.samples())
