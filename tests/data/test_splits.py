import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import StratifiedShuffleSplit

from nnexp.components.datasets import Digits, Iris
from nnexp.components.table import Features, Table
from nnexp.data.splits import PARTS, Split, Splitter, allocate, assign, read_index
from nnexp.errors import DataError
from nnexp.registry import choose


def labelled(counts, parts=None):
    """A table with so many examples of each class, shuffled."""
    codes = np.repeat(np.arange(len(counts)), counts)
    target = np.random.default_rng(0).permutation(codes).astype(np.int64)
    names = tuple(f"c{i}" for i in range(len(counts)))
    n = len(target)
    return Table(
        Features.of(np.zeros((n, 1))), target, names, ("y",), np.arange(n), dict(parts or {})
    )


def real(n, parts=None):
    target = np.linspace(0, 1, n)[:, None]
    return Table(
        Features.of(np.zeros((n, 1))), target, None, ("y",), np.arange(n), dict(parts or {})
    )


def sizes(parts):
    return {part: len(rows) for part, rows in parts.items()}


shares = st.tuples(st.integers(1, 98), st.integers(1, 98), st.integers(1, 98)).map(
    lambda t: [v / max(100, sum(t)) for v in t]
)


class TestShares:
    def test_default_is_60_20_20(self):
        assert sizes(assign(Split(), real(100))) == {"train": 60, "dev": 20, "test": 20}
        assert sizes(assign(Split(), labelled([50, 50]))) == {"train": 60, "dev": 20, "test": 20}

    @pytest.mark.parametrize(
        ("fields", "expected"),
        [
            ({"train": 0.7, "test": 0.3}, {"train": 700, "test": 300}),
            ({"train": 0.98, "dev": 0.01, "test": 0.01}, {"train": 980, "dev": 10, "test": 10}),
            ({"dev": 0.25}, {"train": 750, "dev": 250}),
            ({"train": 1.0}, {"train": 1000}),
            ({"train": 0.5, "dev": 0.1}, {"train": 500, "dev": 100}),
            ({"train": 0.995, "dev": 0.0025, "test": 0.0025}, {"train": 995, "dev": 3, "test": 2}),
        ],
    )
    def test_sizes(self, fields, expected):
        found = assign(Split(**fields), real(1000))
        assert sizes(found) == expected
        assert list(found) == [part for part in PARTS if part in expected]
        unused = 1000 - sum(expected.values())
        assert found.notes == ((f"split: {unused} of 1000 examples are in no part",) * bool(unused))

    @settings(deadline=None)
    @given(shares=shares, n=st.integers(300, 400), seed=st.integers(0, 10))
    def test_parts_are_disjoint_sorted_and_repeatable(self, shares, n, seed):
        split = Split(**dict(zip(PARTS, shares, strict=True)), seed=seed)
        found, again = assign(split, real(n)), assign(split, real(n))
        union = np.concatenate(list(found.values()))
        assert len(np.unique(union)) == len(union)
        for part, rows in found.items():
            np.testing.assert_array_equal(rows, np.sort(rows))
            np.testing.assert_array_equal(rows, again[part])
            assert rows.dtype == np.int64

    def test_the_seed_decides_and_the_result_never_changes(self):
        found = assign(Split(), real(10))
        assert {k: v.tolist() for k, v in found.items()} == PINNED
        assert assign(Split(seed=1), real(10))["test"].tolist() != found["test"].tolist()

    def test_bad_shares(self):
        for wrong in (0.0, -0.1, 1.1, ""):
            with pytest.raises(ValueError, match=r"a share is above 0|file name is empty"):
                Split(dev=wrong)
        with pytest.raises(DataError, match=r"add up to 1\.1, more than 1"):
            assign(Split(train=0.6, dev=0.3, test=0.2), real(10))
        with pytest.raises(DataError, match="leave nothing to train on"):
            assign(Split(dev=0.5, test=0.5), real(10))
        assert Split(train=0.7, dev=0.2, test=0.1).conflicts() == []
        with pytest.raises(DataError, match=r"data.split.test: would be empty \(0.2 of 2 ex"):
            assign(Split(), real(2))

    def test_has_dev(self):
        assert Split().has_dev
        assert Split(dev=0.1).has_dev
        assert not Split(train=0.7, test=0.3).has_dev

    def test_resolved_has_every_default_and_means_the_same(self):
        table = Iris().load()
        resolved = Split(seed=4).resolved(table)
        assert (resolved.train, resolved.dev, resolved.test) == (0.6, 0.2, 0.2)
        assert resolved.stratify is True
        for part, rows in assign(Split(seed=4), table).items():
            np.testing.assert_array_equal(assign(resolved, table)[part], rows)

    def test_a_mapping_without_name_is_this_split(self):
        assert choose(Splitter, {"train": 0.5, "test": 0.5}) == Split(train=0.5, test=0.5)
        assert choose(Splitter, Split(seed=2).dump()) == Split(seed=2)


PINNED = {"train": [0, 1, 3, 5, 6, 9], "dev": [4, 8], "test": [2, 7]}


class TestStratified:
    @settings(deadline=None)
    @given(counts=st.lists(st.integers(0, 60), min_size=1, max_size=12).filter(sum), shares=shares)
    def test_counts_are_proportional_and_no_class_is_left_out(self, counts, shares):
        every = [*shares, max(0.0, 1 - sum(shares))]
        table = allocate(counts, shares)
        for count, row in zip(counts, table, strict=True):
            assert sum(row) == count
            for size, share in zip(row, every, strict=True):
                assert abs(size - count * share) < 1 + 1e-6
            gaps = sum(size == 0 for size in row[:3])
            floors = sum(int(round(count * s, 9)) == 0 for s in shares)
            seats = count - sum(int(round(count * s, 9)) for s in every)
            if count >= 3:  # as many parts get one as rounding allows
                assert gaps == max(0, floors - seats)

    def test_totals_stay_proportional_over_many_classes(self):
        totals = np.sum(allocate([8] * 100, [0.6, 0.2, 0.2]), axis=0)
        np.testing.assert_allclose(totals, [480, 160, 160, 0], atol=1)

    def test_class_proportions_are_scikit_learns(self):
        table = Digits().load()
        found = assign(Split(train=0.8, test=0.2), table)
        splitter = StratifiedShuffleSplit(1, test_size=0.2, random_state=0)
        train, test = next(splitter.split(np.zeros(len(table)), table.target))
        for part, reference in (("train", train), ("test", test)):
            ours, theirs = (np.bincount(table.target[r]) for r in (found[part], reference))
            assert np.abs(ours - theirs).max() <= 1

    def test_small_classes_are_in_all_parts(self):
        table = labelled([100, 3, 4])
        for seed in range(5):
            found = assign(Split(seed=seed), table)
            for rows in found.values():
                assert set(table.target[rows]) == {0, 1, 2}

    def test_absent_classes_are_told(self):
        found = assign(Split(), labelled([50, 1, 50]))
        assert sum("has no example of class c1" in note for note in found.notes) == 2

    def test_can_be_switched_off_and_needs_classes(self):
        table = labelled([90, 10])
        unstratified = [assign(Split(stratify=False, seed=s), table)["test"] for s in range(10)]
        counts = {int((table.target[rows] == 1).sum()) for rows in unstratified}
        assert len(counts) > 1
        with pytest.raises(DataError, match="needs one class"):
            assign(Split(stratify=True), real(10))


class TestFiles:
    def write(self, tmp_path, **files):
        for name, text in files.items():
            (tmp_path / f"{name}.txt").write_text(text)

    def test_rows_as_listed_with_the_seed_in_the_name(self, tmp_path):
        self.write(
            tmp_path, train_0="0\n2\n4\n", test_0="1 3\n", train_1="1.0e+00 3.0\n", test_1="0"
        )
        split = Split(train="train_{seed}.txt", test="test_{seed}.txt")
        found = assign(split, real(5), tmp_path)
        assert {k: v.tolist() for k, v in found.items()} == {"train": [0, 2, 4], "test": [1, 3]}
        second = assign(split.model_copy(update={"seed": 1}), real(5), tmp_path)
        assert {k: v.tolist() for k, v in second.items()} == {"train": [1, 3], "test": [0]}
        assert second.notes == ("split: 2 of 5 examples are in no part",)
        assert split.with_paths(tmp_path).train == str(tmp_path / "train_{seed}.txt")

    def test_a_share_beside_files_is_of_the_train_files_rows(self, tmp_path):
        self.write(tmp_path, train=" ".join(map(str, range(80))), test="80 81 82")
        found = assign(Split(train="train.txt", dev=0.1, test="test.txt"), real(100), tmp_path)
        assert sizes(found) == {"train": 72, "dev": 8, "test": 3}
        assert set(found["dev"]) | set(found["train"]) == set(range(80))

    def test_a_share_beside_a_test_file_is_of_the_rest(self, tmp_path):
        self.write(tmp_path, test=" ".join(map(str, range(20))))
        found = assign(Split(dev=0.25, test="test.txt"), real(100), tmp_path)
        assert sizes(found) == {"train": 60, "dev": 20, "test": 20}

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("", "is empty"),
            ("1 x 2", "'x' is not a row number"),
            ("1 1.5", r"'1\.5' is not a row number"),
            ("nan", "'nan' is not a row number"),
            ("inf", "'inf' is not a row number"),
            ("1 -1", "row -1 does not exist; rows are 0 to 9"),
            ("10", "row 10 does not exist"),
            ("1 2 1", "row 1 is listed twice"),
        ],
    )
    def test_bad_files(self, tmp_path, text, message):
        self.write(tmp_path, rows=text)
        with pytest.raises(DataError, match=message):
            read_index(tmp_path / "rows.txt", 10)

    def test_other_mistakes(self, tmp_path):
        self.write(tmp_path, a="1 2 3", b="3 4")
        with pytest.raises(DataError, match="1 examples are in both train and test, such as row 3"):
            assign(Split(train="a.txt", test="b.txt"), real(10), tmp_path)
        with pytest.raises(DataError, match="no such file"):
            assign(Split(train="c_{seed}.txt"), real(10), tmp_path)
        (tmp_path / "a.txt").write_bytes(b"\xff\xfe\x00")
        with pytest.raises(DataError, match="is not text"):
            assign(Split(train="a.txt"), real(10), tmp_path)
        self.write(tmp_path, all=" ".join(map(str, range(10))))
        with pytest.raises(DataError, match="no example is left to train on"):
            assign(Split(test="all.txt"), real(10), tmp_path)


class TestSourceParts:
    def test_the_sources_own_test_part_is_kept(self):
        found = assign(Split(), real(100, {"test": np.arange(90, 100)}))
        assert sizes(found) == {"train": 72, "dev": 18, "test": 10}
        assert found["test"].tolist() == list(range(90, 100))
        found = assign(Split(dev=0.1), real(100, {"test": np.arange(50)}))
        assert sizes(found) == {"train": 45, "dev": 5, "test": 50}

    def test_all_parts_from_the_source(self):
        parts = {"test": np.array([1]), "dev": np.array([2]), "train": np.array([5, 3])}
        found = assign(Split(), real(6, parts))
        assert {k: v.tolist() for k, v in found.items()} == {
            "train": [3, 5],
            "dev": [2],
            "test": [1],
        }

    def test_asking_for_another_test_part_is_an_error(self, tmp_path):
        for value in (0.2, "rows.txt"):
            with pytest.raises(DataError, match=r"brings its own test part \(10 examples\)"):
                assign(Split(test=value), real(100, {"test": np.arange(90, 100)}), tmp_path)
