import gzip
import struct
import subprocess
import sys
from contextlib import suppress

import numpy as np
import pytest
import sklearn.datasets
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from nnexp.components.datasets import (
    Corpus,
    Csv,
    Dataset,
    Idx,
    Npy,
    Npz,
    Sequences,
    Text,
    delimited,
)
from nnexp.components.datasets.arrays import read_idx
from nnexp.components.table import Table
from nnexp.errors import DataError
from nnexp.registry import choose

ALL = {n: c for n, c in Dataset.registered.items() if c.__module__.startswith("nnexp.")}
ELSEWHERE = ("parquet", "memory", "image_folder")
"""test_files.py, as it needs pyarrow; test_memory.py; test_images.py, as it needs Pillow."""
OURS = {n: c for n, c in ALL.items() if n not in ELSEWHERE}


def csv(tmp_path, text, encoding="utf-8", **fields):
    path = tmp_path / "data.csv"
    path.write_bytes(text.encode(encoding))
    return Csv(path="data.csv", **{"target": "y", "encoding": encoding, **fields}).load(tmp_path)


def write_idx(path, array, pack=False):
    codes = {"u1": 8, "i1": 9, "i2": 11, "i4": 12, "f4": 13, "f8": 14}
    big = array.astype(array.dtype.newbyteorder(">"))
    head = bytes([0, 0, codes[array.dtype.str[1:]], array.ndim])
    head += struct.pack(f">{array.ndim}I", *array.shape)
    content = head + big.tobytes()
    path.write_bytes(gzip.compress(content) if pack else content)
    return content


def sources(tmp_path):
    """One working source of every kind that reads files."""
    (tmp_path / "a.csv").write_text("a,c,y\n1,u,p\n2,v,q\n3,u,p\n")
    (tmp_path / "a.txt").write_text("a quick brown fox " * 6)
    write_idx(tmp_path / "images", np.arange(12, dtype=np.uint8).reshape(3, 2, 2))
    write_idx(tmp_path / "labels", np.array([0, 1, 0], np.uint8))
    np.save(tmp_path / "x.npy", np.arange(6.0).reshape(3, 2))
    np.save(tmp_path / "y.npy", np.array([0.5, 1.5, 0.5]))
    np.savez(tmp_path / "a.npz", x=np.arange(6.0).reshape(3, 2), y=np.array([0, 1, 0]))
    return {
        "corpus": Corpus(path="a.txt", min_count=1, length=4),
        "csv": Csv(path="a.csv", target="y"),
        "idx": Idx(images="images", labels="labels"),
        "npy": Npy(features="x.npy", targets="y.npy"),
        "npz": Npz(path="a.npz"),
        "sequences": Sequences(path="a.csv", text="c"),
        "text": Text(path="a.txt", length=4),
    }


class TestContract:
    """What every source does."""

    def source(self, name, tmp_path):
        return sources(tmp_path).get(name) or choose(Dataset, name)

    @pytest.mark.parametrize("name", OURS)
    def test_gives_a_sound_table(self, name, tmp_path):
        table = self.source(name, tmp_path).load(tmp_path)
        assert isinstance(table, Table)
        n = len(table)
        assert len(table.features) == n
        assert len(np.unique(table.ids)) == n
        if table.classes is None:
            assert table.target.dtype == np.float64
            assert table.target.shape == (n, len(table.target_names))
        else:
            assert table.target.dtype == np.int64
            none = {-1} if table.task == "dense" else set()
            assert set(table.target.flat) <= set(range(len(table.classes))) | none
        assert len(table.files) >= 1
        assert all(len(file.sha256) == 64 for file in table.files)

    @pytest.mark.parametrize("name", OURS)
    def test_reads_the_same_again_and_when_resolved(self, name, tmp_path):
        source = self.source(name, tmp_path)
        first = source.load(tmp_path)
        second = source.resolved(first).with_paths(tmp_path).load()
        assert first.fingerprint == second.fingerprint
        assert first.classes == second.classes
        np.testing.assert_array_equal(first.features.flat(), second.features.flat())
        np.testing.assert_array_equal(first.target, second.target)

    @pytest.mark.parametrize("name", OURS)
    def test_has_the_same_features_without_labels(self, name, tmp_path):
        source = self.source(name, tmp_path)
        table = source.load(tmp_path, labelled=False)
        np.testing.assert_array_equal(table.features.flat(), source.load(tmp_path).features.flat())

    @pytest.mark.parametrize("name", OURS)
    def test_comes_back_from_its_dump(self, name, tmp_path):
        source = self.source(name, tmp_path)
        assert choose(Dataset, source.dump()) == source


def test_every_source_has_a_reference():
    builtin = {"digits", "iris", "wine", "breast_cancer", "diabetes", "linnerud"}
    drawn = {"moons", "circles", "spirals", "blobs", "correlated_gaussians", "pure_noise"}
    files = {"csv", "parquet", "idx", "npy", "npz", "text", "sequences", "corpus"}
    files.add("image_folder")
    assert set(ALL) == builtin | drawn | {"friedman1", "shapes", "memory"} | files


def test_nothing_heavy_is_imported():
    code = (
        "import sys; from nnexp.components.datasets import Digits; Digits().load();"
        "import nnexp.data.prepare, nnexp.data.splits;"
        "print([m for m in ('torch', 'pandas', 'sklearn', 'scipy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


class TestBuiltin:
    @pytest.mark.parametrize("name", ["iris", "wine", "breast_cancer"])
    def test_equals_scikit_learns(self, name):
        table = choose(Dataset, name).load()
        reference = getattr(sklearn.datasets, f"load_{name}")()
        np.testing.assert_array_equal(table.features.numeric, reference.data)
        np.testing.assert_array_equal(table.target, reference.target)
        assert table.features.names == tuple(reference.feature_names)
        assert table.classes == tuple(reference.target_names)

    def test_digits(self):
        table = choose(Dataset, "digits").load()
        reference = sklearn.datasets.load_digits()
        np.testing.assert_array_equal(table.features.numeric[:, 0], reference.images)
        np.testing.assert_array_equal(table.target, reference.target)
        assert table.features.numeric.dtype == np.uint8

    def test_linnerud(self):
        table = choose(Dataset, "linnerud").load()
        reference = sklearn.datasets.load_linnerud()
        np.testing.assert_array_equal(table.features.numeric, reference.data)
        np.testing.assert_array_equal(table.target, reference.target)
        assert table.features.names == tuple(reference.feature_names)
        assert table.target_names == tuple(reference.target_names)

    def test_diabetes_is_unscaled(self):
        table = choose(Dataset, "diabetes").load()
        reference = sklearn.datasets.load_diabetes(scaled=False)
        np.testing.assert_array_equal(table.features.numeric, reference.data)
        np.testing.assert_array_equal(table.target[:, 0], reference.target)
        assert table.features.names == tuple(reference.feature_names)


class TestCsv:
    def test_columns_by_kind(self, tmp_path):
        table = csv(tmp_path, "a,colour,b,y\n1,red,0.5,p\n,blue,-1e3,q\n3,NA,2,p\n")
        features = table.features
        assert features.names == ("a", "b")
        np.testing.assert_array_equal(features.numeric, [[1, 0.5], [np.nan, -1e3], [3, 2]])
        assert features.categorical_names == ("colour",)
        assert features.categorical[:, 0].tolist() == ["red", "blue", None]
        assert (table.classes, table.target.tolist()) == (("p", "q"), [0, 1, 0])

    @pytest.mark.parametrize(
        "text",
        [
            "a,b,y\n1.5,2,3.5\n4.5,5,6.5\n",
            "a;b;y\n1,5;2;3,5\n4,5;5;6,5\n",
            "a\tb\ty\r\n1.5\t2\t3.5\r\n4.5\t5\t6.5\r\n",
            "a|b|y\n1.5|2|3.5\n\n4.5|5|6.5",
            "  a  b y\n1.5   2  3.5 \n 4.5 5 6.5\n",
            '"a","b","y"\n"1.5","2","3.5"\n"4.5","5","6.5"\n',
            "\ufeffa,b,y\n1.5,2,3.5\n4.5,5,6.5\n",
            "a,b,y,\n1.5,2,3.5,\n4.5,5,6.5,\n",
        ],
    )
    def test_separator_decimal_and_ends_are_inferred(self, tmp_path, text):
        table = csv(tmp_path, text)
        assert table.features.names == ("a", "b")
        np.testing.assert_array_equal(table.features.numeric, [[1.5, 2], [4.5, 5]])
        np.testing.assert_array_equal(table.target, [[3.5], [6.5]])

    @pytest.mark.parametrize("target", [2, -1, "2"])
    def test_without_header_columns_are_numbered(self, tmp_path, target):
        table = csv(tmp_path, "1 2 3.5 \n4 5 6.5 \n", target=target)
        assert table.features.names == ("0", "1")
        np.testing.assert_array_equal(table.target, [[3.5], [6.5]])
        assert table.ids.tolist() == [0, 1]

    def test_header_can_be_stated(self, tmp_path):
        assert csv(tmp_path, "1,2\n3,4\n", target=1, header=True).features.names == ("1",)
        table = csv(tmp_path, "a,b\nc,d\n", target=1, header=False)
        assert len(table) == 2

    def test_several_targets(self, tmp_path):
        table = csv(tmp_path, "a,u,v\n1,2.5,3\n4,5.5,6\n", target=["u", "v"])
        assert table.target_names == ("u", "v")
        np.testing.assert_array_equal(table.target, [[2.5, 3], [5.5, 6]])

    def test_drop_id_and_types(self, tmp_path):
        text = "k,zip,junk,a,y\nr1,100,9,1,p\nr2,200,9,2,q\n"
        table = csv(tmp_path, text, drop=["junk"], id="k", types={"zip": "categorical"})
        assert table.ids.tolist() == ["r1", "r2"]
        assert table.features.names == ("a",)
        assert table.features.categorical.tolist() == [["100"], ["200"]]

    def test_own_missing_markers(self, tmp_path):
        table = csv(tmp_path, "a,y\n-999,1.5\n3,2.5\n-999.0,4\n", missing=["-999"])
        np.testing.assert_array_equal(table.features.numeric[:, 0], [np.nan, 3, -999])

    def test_other_encodings(self, tmp_path):
        table = csv(tmp_path, "å,y\nä,p\nö,q\n", encoding="latin-1")
        assert table.features.categorical.tolist() == [["ä"], ["ö"]]
        assert csv(tmp_path, "å,y\n1,p\n2,q\n", encoding="utf-16").features.names == ("å",)

    def test_gzip(self, tmp_path):
        (tmp_path / "a.csv.gz").write_bytes(gzip.compress(b"a,y\n1,p\n2,q\n"))
        assert len(Csv(path="a.csv.gz", target="y").load(tmp_path)) == 2
        (tmp_path / "a.csv.gz").write_bytes(gzip.compress(b"a,y\n1,p\n2,q\n" * 99)[:-20])
        with pytest.raises(DataError, match="gzip file is damaged"):
            Csv(path="a.csv.gz", target="y").load(tmp_path)

    def test_a_column_that_turns_to_text_late_keeps_its_text(self, tmp_path, monkeypatch):
        monkeypatch.setattr(delimited, "_BLOCK", 2)
        rows = ["007,1", "008,2", "9,3", "x,4", "10,5", "oops,6"]
        table = csv(tmp_path, "a,b,y\n" + "".join(f"{r},p\n" for r in rows) + "1,9,q\n")
        assert table.features.categorical[:, 0].tolist() == [
            "007",
            "008",
            "9",
            "x",
            "10",
            "oops",
            "1",
        ]
        assert table.features.names == ("b",)

    def test_few_words_among_numbers_are_told(self, tmp_path):
        text = "a,y\n" + "".join(f"{i},{i % 2}\n" for i in range(30)) + "none,1\n"
        assert "because 1 value is not a number (first: 'none' in line 32)" in "".join(
            csv(tmp_path, text).notes
        )

    def test_to_predict_the_target_may_be_absent(self, tmp_path):
        (tmp_path / "new.csv").write_text("a,b\n1,2\n3,4\n")
        source = Csv(path="new.csv", target="y", id="k", drop=["z"], types={"y": "numeric"})
        table = source.load(tmp_path, labelled=False)
        assert table.features.names == ("a", "b")
        assert table.target.shape == (2, 0)
        (tmp_path / "new.csv").write_text("a,y\n1,2\n3,\n")
        assert source.load(tmp_path, labelled=False).features.names == ("a",)

    @pytest.mark.parametrize(
        ("text", "fields", "message"),
        [
            ("", {}, "is empty"),
            ("\n \n", {}, "is empty"),
            ("a,y\n", {}, "has a header but no rows"),
            ("a,b,y\n1,2,3\n1,2\n", {}, r"data.csv:3: has 2 fields where the first row has 3"),
            ("a,b,y\n1,2,3\n\n1,2,3,4\n", {}, r"data.csv:4: has 4 fields where"),
            ("a,yy\n1,2\n", {}, r"target: there is no column y; did you mean yy\?"),
            ("a,y\n1,2\n", {"target": 2}, "target: there is no column 2; there are 2"),
            ("a,y\n1,2\n", {"drop": ["b"]}, "drop: there is no column b"),
            ("a,y\n1,2\n", {"types": {"b": "numeric"}}, "types: there is no column b"),
            ("a,y\nu,2\n", {"types": {"a": "numeric"}}, r"a is not numeric: 'u' in line 2"),
            ("a,a,y\n1,2,3\n", {}, "column names are repeated: a"),
            ("a,y\n1,p\n2,\n3,?\n", {}, r"target y has no value in 2 rows \(line 3, 4\)"),
            ("a,y\n1,1.5\n2,inf\n", {}, r"target y has no finite value in 1 row \(line 3\)"),
            ("y\n1\n2\n", {}, "no column beside the target"),
            ("a,y\n1,p\n", {"target_type": "regression"}, "holds text, such as 'p'"),
            ("a,u,v\n1,2,p\n", {"target": ["u", "v"]}, "target v holds text"),
            ("k,a,y\n1,1,2\n1,2,3\n", {"id": "k"}, "id k is not unique: 1 is repeated"),
            ('a,y\n1,"2\n', {"separator": ";", "target": 0}, "no column beside"),
        ],
    )
    def test_bad_files_are_told_with_their_place(self, tmp_path, text, fields, message):
        with pytest.raises(DataError, match=message):
            csv(tmp_path, text, **fields)

    def test_wrong_encoding(self, tmp_path):
        for text in ("å,y\n1,2\n", "a,y\n" + "1,2\n" * 5000 + "å,3\n"):
            (tmp_path / "a.csv").write_bytes(text.encode("latin-1"))
            with pytest.raises(DataError, match=r"is not utf-8 text .* set `encoding`"):
                Csv(path="a.csv", target="y").load(tmp_path)
        for unusable in ("utf-99", "base64", "rot13"):
            with pytest.raises(ValueError, match="no such encoding"):
                Csv(path="a.csv", target="y", encoding=unusable)

    @settings(max_examples=60, deadline=None)
    @given(
        values=hnp.arrays(
            np.float64,
            st.tuples(st.integers(1, 6), st.integers(1, 4)),
            elements=st.floats(allow_infinity=False),
        ),
        separator=st.sampled_from([",", ";", "\t", "|", " "]),
    )
    def test_numbers_come_back_exactly(self, tmp_path_factory, values, separator):
        path = tmp_path_factory.mktemp("csv") / "a.csv"
        lines = [[*map(repr, row.tolist()), "0.5"] for row in values]
        lines.insert(0, [*(f"c{i}" for i in range(values.shape[1])), "y"])
        path.write_text("\n".join(separator.join(line) for line in lines))
        table = Csv(path=str(path), target="y").load()
        np.testing.assert_array_equal(table.features.numeric, values)


class TestGarbage:
    """Whatever a file holds, it is read or refused with DataError."""

    def attempt(self, tmp_path_factory, content, source):
        folder = tmp_path_factory.mktemp("garbage")
        (folder / "f").write_bytes(content)
        with suppress(DataError):
            assert isinstance(source.load(folder), Table)

    @settings(max_examples=300, deadline=None)
    @given(
        content=st.one_of(
            st.binary(max_size=60),
            st.binary(max_size=60).map(gzip.compress),
            st.binary(max_size=60).map(lambda b: b"\x1f\x8b" + b),
            st.text(st.sampled_from('a,;1."\n\r \t|-e_\0ä'), max_size=60).map(str.encode),
        )
    )
    def test_csv(self, tmp_path_factory, content):
        self.attempt(tmp_path_factory, content, Csv(path="f", target=0))

    @settings(max_examples=300, deadline=None)
    @given(
        head=st.sampled_from([b"", b"\0\0\x08\x01", b"\0\0\x08\x03", b"\0\0\x0d\x02", b"\x1f\x8b"]),
        body=st.one_of(
            st.binary(max_size=40),
            st.lists(st.integers(0, 3), max_size=12).map(
                lambda v: b"".join(struct.pack(">I", i) for i in v)
            ),
        ),
        pack=st.booleans(),
    )
    def test_idx(self, tmp_path_factory, head, body, pack):
        content = gzip.compress(head + body) if pack else head + body
        self.attempt(tmp_path_factory, content, Idx(images="f", labels="f"))

    @settings(max_examples=150, deadline=None)
    @given(
        content=st.one_of(
            st.binary(max_size=60), st.binary(max_size=90).map(lambda b: b"\x93NUMPY\x01\x00" + b)
        )
    )
    def test_npy(self, tmp_path_factory, content):
        self.attempt(tmp_path_factory, content, Npy(features="f", targets="f"))


class TestIdx:
    @pytest.mark.parametrize("pack", [False, True])
    @pytest.mark.parametrize("dtype", ["u1", "i1", "i2", "i4", "f4", "f8"])
    @pytest.mark.parametrize("shape", [(3,), (3, 2), (2, 3, 2), (2, 1, 2, 3)])
    def test_all_types_and_dimensions(self, tmp_path, dtype, shape, pack):
        array = (np.arange(np.prod(shape)) * 7 - 5).reshape(shape).astype(dtype)
        write_idx(tmp_path / "a", array, pack)
        np.testing.assert_array_equal(read_idx(tmp_path / "a"), array)

    def test_images_keep_their_type_and_the_test_part_its_rows(self, tmp_path):
        rng = np.random.default_rng(0)
        train, test = (rng.integers(0, 256, (n, 4, 5), dtype=np.uint8) for n in (6, 3))
        write_idx(tmp_path / "a", train)
        write_idx(tmp_path / "b", np.arange(6, dtype=np.uint8) % 3)
        write_idx(tmp_path / "c", test, pack=True)
        write_idx(tmp_path / "d", np.array([2, 1, 0], np.uint8))
        table = Idx(images="a", labels="b", test_images="c", test_labels="d").load(tmp_path)
        assert table.features.numeric.dtype == np.uint8
        np.testing.assert_array_equal(table.features.numeric[:, 0], np.concatenate([train, test]))
        assert table.parts["test"].tolist() == [6, 7, 8]
        assert table.classes == ("0", "1", "2")
        assert table.target.tolist() == [0, 1, 2, 0, 1, 2, 2, 1, 0]

    def test_many_whole_labels_are_classes_and_real_ones_are_not(self, tmp_path):
        write_idx(tmp_path / "a", np.zeros((50, 2, 2), np.uint8))
        write_idx(tmp_path / "b", np.arange(50, dtype=np.uint8))
        write_idx(tmp_path / "c", np.linspace(0, 1, 50))
        assert len(Idx(images="a", labels="b").load(tmp_path).classes) == 50
        assert Idx(images="a", labels="c").load(tmp_path).classes is None

    @pytest.mark.parametrize("pack", [False, True])
    def test_damaged_files(self, tmp_path, pack):
        good = write_idx(tmp_path / "a", np.arange(12, dtype=np.uint8).reshape(3, 2, 2))
        cases = {
            "truncated": good[:-1],
            "longer than it says": good + b"x",
            "is truncated within its header": good[:9],
            r"is not an IDX file \(it begins with 0000": b"\0\0\x07\x01" + good[4:],
            r"is not an IDX file \(it begins with 89504e47\)": b"\x89PNG\r\n",
            "it begins with nothing": b"",
            r"is empty \(shape \(0,\)\)": b"\0\0\x08\x01\0\0\0\0",
        }
        for message, content in cases.items():
            (tmp_path / "a").write_bytes(gzip.compress(content) if pack else content)
            with pytest.raises(DataError, match=message):
                read_idx(tmp_path / "a")

    def test_damaged_gzip_and_mismatches(self, tmp_path):
        content = write_idx(tmp_path / "a", np.zeros((3, 2, 2), np.uint8))
        write_idx(tmp_path / "l", np.zeros(2, np.uint8))
        with pytest.raises(DataError, match="has 2 labels for 3 examples"):
            Idx(images="a", labels="l").load(tmp_path)
        with pytest.raises(DataError, match="go together"):
            Idx(images="a", labels="l", test_images="a").load(tmp_path)
        write_idx(tmp_path / "b", np.zeros((2, 3, 3), np.uint8))
        with pytest.raises(DataError, match="have shape"):
            Idx(images="a", labels="l", test_images="b", test_labels="l").load(tmp_path)
        packed = bytearray(gzip.compress(content * 50))
        packed[20] ^= 0xFF
        (tmp_path / "a").write_bytes(packed)
        with pytest.raises(DataError, match="gzip file is damaged"):
            read_idx(tmp_path / "a")
        (tmp_path / "a").write_bytes(b"\x1f\x8b\x08")
        with pytest.raises(DataError, match="gzip file is damaged"):
            read_idx(tmp_path / "a")


class TestNpy:
    def load(self, tmp_path, x, y, **fields):
        np.save(tmp_path / "x.npy", x)
        np.save(tmp_path / "y.npy", y)
        return Npy(features="x.npy", targets="y.npy", **fields).load(tmp_path)

    def test_features_stay_in_their_file(self, tmp_path):
        x = np.arange(8.0).reshape(4, 2)
        table = self.load(tmp_path, x, [0.5, 1.5, 2.5, 3.5])
        assert isinstance(table.features.numeric, np.memmap)
        np.testing.assert_array_equal(table.features.numeric, x)
        assert table.features.names == ("x0", "x1")
        np.testing.assert_array_equal(table.target[:, 0], [0.5, 1.5, 2.5, 3.5])

    @pytest.mark.parametrize(
        ("shape", "expected"), [((4,), (1,)), ((4, 2, 3), (1, 2, 3)), ((4, 3, 2, 2), (3, 2, 2))]
    )
    def test_shapes(self, tmp_path, shape, expected):
        table = self.load(tmp_path, np.zeros(shape, np.float32), np.zeros(4, int))
        assert table.features.shape == expected

    def test_targets(self, tmp_path):
        x = np.zeros((4, 1))
        assert self.load(tmp_path, x, np.array(["b", "a", "b", "a"])).classes == ("a", "b")
        assert self.load(tmp_path, x, np.zeros((4, 2))).target_names == ("target0", "target1")
        assert self.load(tmp_path, x, [0, 1, 0, 1], target_type="regression").classes is None

    def test_a_test_part(self, tmp_path):
        np.save(tmp_path / "tx.npy", np.ones((2, 1)))
        np.save(tmp_path / "ty.npy", np.ones(2, int))
        table = self.load(
            tmp_path,
            np.zeros((3, 1)),
            np.zeros(3, int),
            test_features="tx.npy",
            test_targets="ty.npy",
        )
        assert table.parts["test"].tolist() == [3, 4]
        assert table.target.tolist() == [0, 0, 0, 1, 1]

    @pytest.mark.parametrize(
        ("x", "y", "message"),
        [
            (np.zeros((3, 2)), np.zeros(4), "has 4 labels for 3 examples"),
            (np.zeros((3, 2), complex), np.zeros(3), "holds complex128"),
            (np.zeros((3, 2, 1, 1, 1)), np.zeros(3), "has 5 dimensions"),
            (np.zeros((0, 2)), np.zeros(0), "is empty"),
            (np.float64(3), np.zeros(3), "holds a single value"),
            (np.zeros((3, 2)), np.array([1, np.nan, np.inf]), r"no finite value in 2 rows"),
            (np.zeros((3, 2)), np.zeros((3, 1, 1)), "labels have shape"),
            (np.zeros((3, 2)), np.zeros(3, "M8[s]"), "neither numbers nor text"),
        ],
    )
    def test_unusable_arrays(self, tmp_path, x, y, message):
        with pytest.raises(DataError, match=message):
            self.load(tmp_path, x, y)

    def test_pickles_archives_and_damage_are_refused(self, tmp_path):
        path = tmp_path / "x.npy"
        np.save(tmp_path / "y.npy", np.zeros(3))
        source = Npy(features="x.npy", targets="y.npy")
        np.save(path, np.array([{}, {}, {}], object), allow_pickle=True)
        with pytest.raises(DataError, match="Python objects, and reading those could run code"):
            source.load(tmp_path)
        np.save(path, np.zeros((3, 1000)))
        content = path.read_bytes()
        call = b"{'descr': print(1), 'fortran_order': False, 'shape': (1,)}"
        size = b"{'descr': '<f8', 'fortran_order': False, 'shape': (99999999999, 99999999)}"
        evil = [content[:8] + b"v\0" + text.ljust(117) + b"\n" for text in (call, size)]
        for damaged in (content[:-8], content[:40], *evil):
            path.write_bytes(damaged)
            with pytest.raises(DataError, match="is damaged or truncated"):
                source.load(tmp_path)
        for other in (b"", b"garbage" * 9):
            path.write_bytes(other)
            with pytest.raises(DataError, match=r"is not a \.npy file"):
                source.load(tmp_path)
        np.savez(tmp_path / "x.npz", a=np.zeros(3))
        (tmp_path / "x.npz").rename(path)
        with pytest.raises(DataError, match="archive of several arrays"):
            source.load(tmp_path)
