import hashlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnexp.components import table
from nnexp.components.datasets import Csv
from nnexp.components.table import (
    Features,
    Stacked,
    as_target,
    existing_file,
    file_info,
    stack,
)
from nnexp.errors import DataError


@given(
    sizes=st.lists(st.integers(0, 5), min_size=1, max_size=4).filter(lambda s: sum(s) > 0),
    data=st.data(),
)
def test_stacked_reads_as_the_concatenation(sizes, data):
    pieces = [np.arange(3 * n).reshape(n, 3) + 100 * i for i, n in enumerate(sizes)]
    whole, stacked = np.concatenate(pieces), Stacked(pieces)
    index = np.array(data.draw(st.lists(st.integers(0, len(whole) - 1))), dtype=np.int64)
    assert stacked.shape == whole.shape
    assert len(stacked) == len(whole)
    np.testing.assert_array_equal(stacked[index], whole[index])
    np.testing.assert_array_equal(stacked[1:-1], whole[1:-1])


def test_stack_copies_small_arrays_only(monkeypatch):
    pieces = [np.zeros((2, 3)), np.ones((4, 3))]
    assert isinstance(stack(pieces), np.ndarray)
    monkeypatch.setattr(table, "CHUNK_BYTES", 1)
    assert isinstance(stack(pieces), Stacked)
    assert stack(pieces[:1]) is pieces[0]


def test_features_of_an_image_have_no_names_but_labels():
    features = Features.of(np.zeros((5, 1, 2, 2), np.uint8))
    assert (features.names, features.labels) == ((), ("#0", "#1", "#2", "#3"))
    assert features.flat().shape == (5, 4)
    assert Features.of(np.zeros((5, 2))).labels == ("x0", "x1")


def test_chunks_cover_all_rows_in_bounded_pieces(monkeypatch):
    monkeypatch.setattr(table, "CHUNK_BYTES", 8 * 10 * 3)
    pieces = list(Features.of(np.zeros((8, 10))).chunks(np.arange(8)))
    assert [len(p) for p in pieces] == [3, 3, 2]
    np.testing.assert_array_equal(np.concatenate(pieces), np.arange(8))
    assert len(next(Features.of(np.zeros((2, 1000))).chunks(np.arange(2)))) == 1


class TestFiles:
    def test_small_files_are_hashed_whole(self, tmp_path):
        path = tmp_path / "a"
        path.write_bytes(b"hello")
        info = file_info(path)
        assert (info.size, info.sha256) == (5, hashlib.sha256(b"hello").hexdigest())

    def test_large_files_are_sampled_at_both_ends_and_between(self, tmp_path, monkeypatch):
        monkeypatch.setattr(table, "SAMPLED_ABOVE", 1000)
        content = bytearray(3 * 2**20)
        path = tmp_path / "a"
        digests = set()
        for changed in (None, 0, len(content) // 2, len(content) - 1):
            found = bytearray(content)
            if changed is not None:
                found[changed] = 1
            path.write_bytes(found)
            digests.add(file_info(path).sha256)
        assert len(digests) == 4
        assert all(d.startswith("sampled:") for d in digests)

    def test_a_missing_file_names_the_nearest(self, tmp_path):
        (tmp_path / "adult.csv").write_text("a")
        with pytest.raises(DataError, match=r"adlut.csv: no such file; did you mean adult.csv\?"):
            existing_file(tmp_path, "adlut.csv")
        with pytest.raises(DataError, match="is not a file"):
            existing_file(tmp_path, ".")
        with pytest.raises(DataError, match=r"can't be read \(file name too long\)"):
            existing_file(tmp_path, "x" * 300)

    def test_with_paths_makes_names_absolute_once(self, tmp_path):
        found = Csv(path="a/b.csv", target="y").with_paths(tmp_path)
        assert Path(found.path) == tmp_path / "a" / "b.csv"
        assert found.with_paths(Path("/elsewhere")) == found


class TestTarget:
    def test_text_and_booleans_are_classes(self):
        found = as_target(np.array(["b", "a", "b"], object), "y", None)
        assert (found.values.tolist(), found.classes) == ([1, 0, 1], ("a", "b"))
        assert found.values.dtype == np.int64
        assert as_target(np.array([True, False]), "y", None).classes == ("0", "1")

    @pytest.mark.parametrize(
        ("values", "classes"),
        [
            ([0.0, 1.0, 1.0], ("0", "1")),
            ([-1.0, 1.0], ("-1", "1")),
            ([3.0, 4.0, 5.0] * 5, ("3", "4", "5")),
            ([3.0, 4.0, 5.0], None),
            ([1.5, 2.5] * 10, None),
            (list(map(float, range(21))) * 50, None),
            ([7.0] * 5, ("7",)),
        ],
    )
    def test_whole_numbers_of_which_few_differ_are_classes(self, values, classes):
        found = as_target(np.array(values), "y", None)
        assert found.classes == classes
        if classes is None:
            np.testing.assert_array_equal(found.values, np.array(values)[:, None])
            assert found.values.dtype == np.float64

    def test_the_guess_is_told_and_can_be_overridden(self):
        values = np.array([0.0, 1.0, 2.0] * 10)
        assert "`target_type: regression`" in as_target(values, "y", None).note
        assert as_target(values, "y", "regression").classes is None
        assert as_target(values, "y", "classification").note == ""
        assert as_target(np.array([0.5, 1.0]), "y", "classification").classes == ("0.5", "1")

    def test_impossible_targets_are_errors(self):
        with pytest.raises(DataError, match=r"holds text, such as 'a'"):
            as_target(np.array(["a"], object), "y", "regression")
        with pytest.raises(DataError, match="several columns can't be one class"):
            as_target(np.zeros((3, 2)), "y", "classification")
        assert as_target(np.zeros((3, 2), int), "y", None).values.dtype == np.float64
