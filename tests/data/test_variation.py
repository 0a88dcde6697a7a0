"""Fewer examples, wrong labels, corrupted inputs: counts, distributions, and that they stay."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from nnexp.components.datasets import Diabetes, Digits, Iris
from nnexp.components.preprocessing import Standardize
from nnexp.components.table import Features, Table
from nnexp.config.experiment import Data
from nnexp.data.prepare import prepare
from nnexp.data.splits import Split, assign
from nnexp.data.variation import Corruption, corrupted, varied
from nnexp.errors import DataError


def labelled(counts):
    codes = np.repeat(np.arange(len(counts)), counts)
    target = np.random.default_rng(0).permutation(codes).astype(np.int64)
    names, n = tuple(f"c{i}" for i in range(len(counts))), len(target)
    return Table(Features.of(np.zeros((n, 1))), target, names, ("y",), np.arange(n))


def changed(table, parts, **how):
    """The rows of the training part whose target is another, of all rows."""
    after, parts = varied(table, parts, 0, **how)
    different = after.target != table.target
    return np.flatnonzero(different.reshape(len(table), -1).any(axis=1)), after, parts


class TestSubset:
    @settings(deadline=None)
    @given(
        counts=st.lists(st.integers(1, 60), min_size=1, max_size=6).filter(lambda c: sum(c) > 9),
        data=st.data(),
        seed=st.integers(0, 2**53),
    )
    def test_exactly_so_many_and_each_class_its_share(self, counts, data, seed):
        table = labelled(counts)
        parts = assign(Split(train=1.0, stratify=False), table)
        n = data.draw(st.integers(1, len(table)))
        after, found = varied(table, parts, seed, subset=n)
        assert after is table
        assert len(found["train"]) == len(set(found["train"])) == n
        np.testing.assert_array_equal(found["train"], np.sort(found["train"]))
        took = np.bincount(table.target[found["train"]], minlength=len(counts))
        assert np.abs(took - np.array(counts) * n / len(table)).max() < 1

    def test_shares_and_the_note(self):
        table = Iris().load()
        parts = assign(Split(), table)
        _, found = varied(table, parts, 0, subset=0.25)
        assert len(found["train"]) == 22  # round(0.25 · 90)
        assert found.notes == ("subset: 22 of 90 training examples are used",)
        for part in ("dev", "test"):
            np.testing.assert_array_equal(found[part], parts[part])
        assert len(varied(table, parts, 0, subset=0.0001)[1]["train"]) == 1

    def test_the_seed_decides_and_smaller_ones_are_within_larger(self):
        table = Diabetes().load()
        parts = assign(Split(), table)
        small, large = (set(varied(table, parts, 3, subset=n)[1]["train"]) for n in (30, 100))
        assert small < large < set(parts["train"])
        assert small != set(varied(table, parts, 4, subset=30)[1]["train"])

    def test_more_than_there_are(self):
        table = Iris().load()
        with pytest.raises(DataError, match=r"data.subset: 91 are more than the 90 training exam"):
            varied(table, assign(Split(), table), 0, subset=91)

    def test_values(self):
        for wrong in (0, -3, 0.0, -0.1, 1.5):
            with pytest.raises(ValueError, match="neither a count nor a share"):
                Data(source=Iris(), subset=wrong)
        with pytest.raises(ValueError, match=r"1.0 could mean one example or all"):
            Data(source=Iris(), subset=1.0)
        assert Data(source=Iris(), subset=1).subset == 1
        assert Data(source=Iris(), subset=0.5).subset == 0.5


class TestLabels:
    @settings(deadline=None)
    @given(
        counts=st.lists(st.integers(3, 60), min_size=2, max_size=6),
        share=st.floats(0.01, 1.0),
        seed=st.integers(0, 2**53),
    )
    def test_exactly_a_share_gets_another_class(self, counts, share, seed):
        table = labelled(counts)
        parts = assign(Split(), table)
        after, _ = varied(table, parts, seed, label_noise=share)
        wrong = np.flatnonzero(after.target != table.target)
        assert len(wrong) == round(share * len(parts["train"]))
        assert set(wrong) <= set(parts["train"])
        assert after.target.min() >= 0
        assert after.target.max() < len(counts)

    def test_the_other_classes_are_alike_likely(self):
        table = labelled([4000] * 4)
        rows, after, _ = changed(table, assign(Split(train=1.0), table), label_noise=0.9)
        steps = (after.target[rows] - table.target[rows]) % 4
        assert stats.chisquare(np.bincount(steps, minlength=4)[1:]).pvalue > 1e-3

    @pytest.mark.parametrize("share", [0.3, 1.0])
    def test_real_values_change_places(self, share):
        table = Diabetes().load()
        distinct = np.arange(len(table), dtype=float)[:, None]
        table = Table(table.features, distinct, None, ("y",), table.ids)
        parts = assign(Split(), table)
        rows, after, _ = changed(table, parts, label_noise=share)
        assert len(rows) == round(share * len(parts["train"]))
        assert set(rows) <= set(parts["train"])
        np.testing.assert_array_equal(np.sort(after.target, 0), np.sort(distinct, 0))

    def test_shuffled_labels_are_those_of_the_training_part(self):
        table = Digits().load()
        parts = assign(Split(), table)
        rows, after, found = changed(table, parts, shuffle_labels=True)
        train = parts["train"]
        assert set(rows) <= set(train)
        assert 0.85 < len(rows) / len(train) < 0.95  # one in ten keeps its class by chance
        counts = [np.bincount(t.target[train]).tolist() for t in (after, table)]
        assert counts[0] == counts[1]
        assert found.notes == (
            "shuffle_labels: the training targets are permuted and mean nothing",
        )

    def test_after_a_subset_and_told(self):
        table = Iris().load()
        rows, after, parts = changed(table, assign(Split(), table), subset=40, label_noise=0.1)
        assert len(rows) == 4
        assert set(rows) <= set(parts["train"])
        assert parts.notes[1] == "label_noise: 4 of 40 training examples have a wrong target"
        assert table.target.tolist() == Iris().load().target.tolist()  # the table is left alone
        assert after is not table


class TestCorruption:
    def data(self, resident=True, **fields):
        """The prepared table, clean and corrupted."""
        table = Digits().load()
        parts = assign(Split(), table)
        bytes_ = 2**30 if resident else 0
        clean = prepare(table, parts, [Standardize()], "float64", resident_bytes=bytes_)
        return clean, corrupted(clean, Corruption(**fields), 5)

    def test_gaussian_and_shift(self):
        clean, found = self.data(gaussian=0.5, shift=2.0)
        noise = (found.inputs - clean.inputs - 2.0).ravel() / 0.5
        assert stats.kstest(noise[:50_000], "norm").pvalue > 1e-3
        assert abs(np.corrcoef(noise[:-1], noise[1:])[0, 1]) < 0.01
        assert abs(noise.mean()) < 0.01

    def test_mask(self):
        clean, found = self.data(mask=0.3, shift=10.0)
        zero = found.inputs == 0
        assert abs(zero.mean() - 0.3) < 0.005
        np.testing.assert_allclose(found.inputs[~zero], clean.inputs[~zero] + 10.0)

    @pytest.mark.parametrize(
        ("on", "parts"),
        [(["train"], {"train"}), (["eval"], {"dev", "test"}), (None, {"train", "dev", "test"})],
    )
    def test_only_where_it_is_asked(self, on, parts):
        clean, found = self.data(shift=1.0, **({"on": on} if on else {}))
        for part, rows in clean.parts.items():
            change = found.gather(rows) - clean.gather(rows)
            np.testing.assert_allclose(change, 1.0 if part in parts else 0.0)

    @settings(deadline=None, max_examples=20)
    @given(index=st.lists(st.integers(0, 1796), min_size=1, max_size=40))
    def test_an_example_is_corrupted_alike_however_it_is_read(self, index):
        _, resident = self.data(gaussian=0.3, mask=0.2, on=["train"])
        _, streamed = self.data(False, gaussian=0.3, mask=0.2, on=["train"])
        assert streamed.inputs is None
        rows = np.array(index)
        np.testing.assert_array_equal(streamed.gather(rows), resident.inputs[rows])
        np.testing.assert_array_equal(resident.gather(rows), resident.inputs[rows])

    def test_the_seed_decides(self):
        clean, found = self.data(gaussian=1.0)
        other = corrupted(clean, Corruption(gaussian=1.0), 6)
        noise = [(x.inputs - clean.inputs).ravel() for x in (found, other)]
        assert abs(np.corrcoef(*noise)[0, 1]) < 0.01

    def test_none_changes_nothing(self):
        clean, found = self.data()
        np.testing.assert_array_equal(found.inputs, clean.inputs)
        assert corrupted(clean, None, 0) is clean

    def test_bounds(self):
        for wrong in (
            {"mask": 1.1},
            {"gaussian": -1.0},
            {"shift": 1e9},
            {"on": []},
            {"on": ["dev"]},
        ):
            with pytest.raises(ValueError, match=next(iter(wrong))):
                Corruption(**wrong)


@pytest.mark.parametrize("how", [{"label_noise": 0.5}, {"shuffle_labels": True}])
def test_positions_without_a_class_stay_so(how):
    target = np.random.default_rng(0).integers(0, 5, (40, 7))
    target[np.arange(7) >= np.random.default_rng(1).integers(1, 7, 40)[:, None]] = -1
    names = tuple("abcde")
    table = Table(Features.of(np.zeros((40, 7))), target, names, ("y",), np.arange(40))
    parts = assign(Split(), table)
    rows, after, _ = changed(table, parts, **how)
    assert len(rows) > 5
    assert set(rows) <= set(parts["train"])
    np.testing.assert_array_equal(after.target < 0, target < 0)
    assert sorted(after.target[target >= 0]) == sorted(target[target >= 0])
