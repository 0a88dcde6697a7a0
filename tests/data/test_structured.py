"""Folds, groups and time: held against scikit-learn's splitters and against what they promise."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st
from sklearn.model_selection import GroupKFold, KFold, StratifiedKFold

from nnexp.components.datasets import Digits, Iris
from nnexp.components.table import Features, Table
from nnexp.data import splits
from nnexp.data.splits import PARTS, Grouped, Ordered, Split, Splitter, assign
from nnexp.errors import DataError, UsageError
from nnexp.registry import choose


def table(n, target=None, classes=0, parts=None, **columns):
    """A table of `n` rows with columns beside its features."""
    names = tuple(f"c{i}" for i in range(classes)) if classes else None
    target = np.linspace(0, 1, n)[:, None] if target is None else np.asarray(target, np.int64)
    features = Features.of(np.arange(float(n))[:, None])
    return Table(
        features, target, names, ("y",), np.arange(n), dict(parts or {}), aside=dict(columns)
    )


def folds_of(split, data):
    """The parts of every fold."""
    return [assign(split.numbered(i), data) for i in range(split.folds)]


def check_parts(parts, pool):
    """Parts are disjoint, in rising order, and hold the pool's rows only."""
    together = np.concatenate(list(parts.values()))
    assert len(np.unique(together)) == len(together)
    assert set(together) <= set(pool)
    assert list(parts) == [part for part in PARTS if part in parts]
    for rows in parts.values():
        assert rows.dtype == np.int64
        np.testing.assert_array_equal(rows, np.sort(rows))


def parted(split):
    """What `split` gives; a case that leaves a part empty is another test's."""
    try:
        return split()
    except DataError as error:
        if "would be empty" not in str(error):
            raise
        reject()


seeds = st.integers(0, 2**53 - 100)


class TestKFold:
    @settings(deadline=None, max_examples=50)
    @given(n=st.integers(10, 80), folds=st.integers(2, 10), seed=seeds)
    def test_folds_are_scikit_learns_in_size_and_cover_all_once(self, n, folds, seed):
        found = folds_of(splits.KFold(folds=folds, seed=seed), table(n))
        for parts in found:
            check_parts(parts, range(n))
            assert set(parts) == {"train", "test"}
            assert len(parts["train"]) + len(parts["test"]) == n
        held = np.concatenate([parts["test"] for parts in found])
        np.testing.assert_array_equal(np.sort(held), np.arange(n))
        theirs = [len(test) for _, test in KFold(folds).split(np.zeros(n))]
        assert sorted(len(parts["test"]) for parts in found) == sorted(theirs)

    @settings(deadline=None, max_examples=50)
    @given(
        counts=st.lists(st.integers(5, 30), min_size=2, max_size=5),
        folds=st.integers(2, 5),
        seed=seeds,
    )
    def test_classes_are_dealt_as_scikit_learn_does(self, counts, folds, seed):
        codes = np.repeat(np.arange(len(counts)), counts)
        found = folds_of(
            splits.KFold(folds=folds, seed=seed), table(len(codes), codes, len(counts))
        )
        ours = [np.bincount(codes[parts["test"]], minlength=len(counts)) for parts in found]
        theirs = [
            np.bincount(codes[test], minlength=len(counts))
            for _, test in StratifiedKFold(folds).split(codes, codes)
        ]
        for i in range(len(counts)):
            assert sorted(c[i] for c in ours) == sorted(c[i] for c in theirs)
        assert np.ptp([c.sum() for c in ours]) <= 1

    @settings(deadline=None, max_examples=50)
    @given(
        sizes=st.lists(st.integers(1, 12), min_size=6, max_size=25),
        folds=st.integers(2, 6),
        seed=seeds,
        dev=st.none() | st.just(0.3),
    )
    def test_groups_stay_whole(self, sizes, folds, seed, dev):
        groups = np.random.default_rng(0).permutation(np.repeat(np.arange(len(sizes)), sizes))
        words = np.array([f"g{g}" for g in groups], object)
        split = splits.KFold(folds=folds, seed=seed, by="who", dev=dev)
        found = parted(lambda: folds_of(split, table(len(groups), who=words)))
        for parts in found:
            check_parts(parts, range(len(groups)))
            seen = [g for rows in parts.values() for g in np.unique(groups[rows])]
            assert len(seen) == len(set(seen)) == len(sizes)
        held = np.concatenate([parts["test"] for parts in found])
        np.testing.assert_array_equal(np.sort(held), np.arange(len(groups)))
        # At most one group apart, where scikit-learn, largest first, is at most that, too.
        assert np.ptp([len(parts["test"]) for parts in found]) <= max(sizes)
        theirs = [len(t) for _, t in GroupKFold(folds).split(groups, groups=groups)]
        assert np.ptp(theirs) <= max(sizes)

    def test_dev_is_a_share_of_the_other_folds(self):
        data = Digits().load()
        for parts in folds_of(splits.KFold(folds=4, dev=0.2), data):
            check_parts(parts, range(len(data)))
            rest = len(data) - len(parts["test"])
            assert abs(len(parts["dev"]) - 0.2 * rest) <= 1
            share = np.bincount(data.target[parts["dev"]]) / np.bincount(data.target)
            np.testing.assert_allclose(share, 0.15, atol=0.01)

    def test_the_fold_may_be_dev(self):
        split = splits.KFold(folds=3, holds="dev")
        assert split.has_dev
        assert set(assign(split, Iris().load())) == {"train", "dev"}
        own = table(30, parts={"test": np.arange(25, 30)})
        parts = assign(split, own)
        assert {k: len(v) for k, v in parts.items()} == {"train": 16, "dev": 9, "test": 5}
        with pytest.raises(DataError, match=r"own test part: with `holds: dev` the folds are of"):
            assign(splits.KFold(folds=3), own)
        with pytest.raises(DataError, match=r"data.split.dev: the source brings its own dev part"):
            assign(split, table(30, parts={"dev": np.arange(5)}))

    def test_members_get_the_folds_and_then_all_dealt_anew(self):
        split = splits.KFold(folds=3, fold=1, seed=7)
        found = [split.numbered(i) for i in range(6)]
        assert [(s.seed, s.fold) for s in found] == [(7, 1), (7, 2), (8, 0), (8, 1), (8, 2), (9, 0)]
        data = table(30)
        first, again = assign(found[0], data)["test"], assign(found[3], data)["test"]
        assert set(first) != set(again)
        base = splits.KFold(folds=3)
        for start in (0, 3):  # each repeat tests every example once
            held = [assign(base.numbered(start + i), data)["test"] for i in range(3)]
            np.testing.assert_array_equal(np.sort(np.concatenate(held)), np.arange(30))

    def test_the_result_never_changes(self):
        found = assign(splits.KFold(folds=3, dev=0.5), table(9))
        assert {k: v.tolist() for k, v in found.items()} == PINNED

    def test_rules(self):
        assert splits.KFold(folds=3, fold=3).conflicts() == [
            ("fold", "folds are 0 to 2, and this is 3")
        ]
        assert splits.KFold(holds="dev", dev=0.1).conflicts()[0][0] == "dev"
        assert splits.KFold(by="x", stratify=True).conflicts()[0][0] == "stratify"
        assert splits.KFold(by="x", dev=0.1).conflicts() == []
        with pytest.raises(DataError, match="folds are 0 to 2, and this is 3"):
            assign(splits.KFold(folds=3, fold=3), table(9))
        with pytest.raises(DataError, match="there are 4 examples for 5 folds"):
            assign(splits.KFold(), table(4))
        with pytest.raises(DataError, match="there are 2 different values of who for 5 folds"):
            assign(splits.KFold(by="who"), table(20, who=np.arange(20) % 2))
        with pytest.raises(DataError, match="needs one class"):
            assign(splits.KFold(stratify=True), table(9))
        with pytest.raises(DataError, match=r"dev: would be empty \(1 example for train and dev"):
            assign(splits.KFold(folds=2, dev=0.1), table(2))

    def test_small_classes_are_told(self):
        codes = np.repeat([0, 1, 2], [20, 3, 2])
        notes = assign(splits.KFold(), table(25, codes, 3)).notes
        assert (
            "split: class c1 and 1 more has fewer examples (3) than there are folds (5): not every "
            "fold has one"
        ) in notes
        assert assign(splits.KFold(), table(25, np.arange(25) % 2, 2)).notes == ()

    def test_resolved_and_names(self):
        assert splits.KFold().resolved(Iris().load()).stratify is True
        assert splits.KFold(by="x").resolved(Iris().load()).stratify is False
        assert splits.KFold().resolved(table(9)).stratify is False
        assert choose(Splitter, {"name": "k_fold", "folds": 3}) == splits.KFold(folds=3)
        assert not splits.KFold().has_dev


PINNED = {"train": [2, 4, 5], "dev": [1, 6, 7], "test": [0, 3, 8]}


class TestGrouped:
    @settings(deadline=None, max_examples=60)
    @given(
        sizes=st.lists(st.integers(1, 30), min_size=3, max_size=40),
        shares=st.sampled_from(
            [{}, {"test": 0.3}, {"dev": 0.1, "test": 0.1}, {"train": 0.5, "dev": 0.2, "test": 0.2}]
        ),
        seed=seeds,
    )
    def test_no_group_is_in_two_parts_and_shares_are_met(self, sizes, shares, seed):
        groups = np.random.default_rng(0).permutation(np.repeat(np.arange(len(sizes)), sizes))
        split = Grouped(by="who", seed=seed, **shares)
        data = table(len(groups), who=groups.astype(float))
        found, again = assign(split, data), assign(split, data)
        check_parts(found, range(len(groups)))
        seen = [g for rows in found.values() for g in np.unique(groups[rows])]
        assert len(seen) == len(set(seen))
        wanted = shares or {"train": 0.6, "dev": 0.2, "test": 0.2}
        assert set(found) == {"train", *wanted}
        for part, rows in found.items():
            share = wanted.get(part, 1 - sum(wanted.values()))
            # A part is passed over once it has its share: it is above by less than a group.
            assert 0 < len(rows) < share * len(groups) + max(sizes)
            np.testing.assert_array_equal(rows, again[part])

    def test_many_small_groups_meet_the_shares(self):
        groups = np.arange(3000) // 3
        found = assign(Grouped(by="who"), table(3000, who=groups))
        assert {k: len(v) // 10 for k, v in found.items()} == {"train": 180, "dev": 60, "test": 60}
        other = assign(Grouped(by="who").numbered(1), table(3000, who=groups))
        assert set(found["test"]) != set(other["test"])
        assert Grouped(by="who", seed=3).numbered(2).seed == 5

    def test_parts_of_the_source(self):
        groups = np.repeat(np.arange(10), 3)
        data = table(30, parts={"test": np.array([27, 28])}, who=groups)
        found = assign(Grouped(by="who"), data)
        assert found["test"].tolist() == [27, 28]
        assert found.notes[-1] == (
            "split: 1 value of who is in two parts, as the source itself divides them"
        )
        with pytest.raises(DataError, match="brings its own test part"):
            assign(Grouped(by="who", test=0.1), data)

    def test_bad_columns(self):
        words = np.array(["a", "b", None] * 5, object)
        with pytest.raises(DataError, match=r"by: column who has no value in 5 rows, such as 2"):
            assign(Grouped(by="who"), table(15, who=words))
        with pytest.raises(DataError, match=r"by: column who has no value in 1 row, such as 4"):
            assign(Grouped(by="who"), table(15, who=np.where(np.arange(15) == 4, np.nan, 1.0)))
        with pytest.raises(DataError, match=r"by: there is no column whom; did you mean who\?"):
            assign(Grouped(by="whom"), table(15, who=words))
        with pytest.raises(DataError, match=r"test: would be empty \(column who has 2 different"):
            assign(Grouped(by="who"), table(15, who=np.arange(15) % 2))
        assert Grouped(by="x", dev=0.6, test=0.5).conflicts() != []

    def test_resolved(self):
        resolved = Grouped(by="who").resolved(table(9))
        assert (resolved.train, resolved.dev, resolved.test) == (0.6, 0.2, 0.2)
        assert Grouped(by="who").has_dev
        assert not Grouped(by="who", test=0.3).has_dev


class TestOrdered:
    @settings(deadline=None, max_examples=100)
    @given(
        times=st.lists(st.integers(0, 30), min_size=10, max_size=80),
        shares=st.sampled_from(
            [{}, {"test": 0.3}, {"dev": 0.2, "test": 0.2}, {"train": 0.4, "dev": 0.2, "test": 0.2}]
        ),
    )
    def test_later_parts_are_later_and_equal_times_stay_together(self, times, shares):
        times = np.array(times, np.float64)
        split = Ordered(by="when", **shares)
        found = parted(lambda: assign(split, table(len(times), when=times)))
        check_parts(found, range(len(times)))
        spans = [(times[rows].min(), times[rows].max()) for rows in found.values()]
        for (_, before), (after, _) in pairwise(spans):
            assert before < after
        used = np.isin(np.arange(len(times)), np.concatenate(list(found.values())))
        if not used.all():  # what is left out is the oldest
            assert times[~used].max() < times[used].min()
        wanted = shares or {"train": 0.6, "dev": 0.2, "test": 0.2}
        most = np.unique(times, return_counts=True)[1].max()
        for part in wanted:  # each end is moved by half a block of equal times at most
            assert abs(len(found[part]) - wanted[part] * len(times)) <= most

    def test_row_order(self):
        found = assign(Ordered(), table(10))
        assert {k: v.tolist() for k, v in found.items()} == {
            "train": [0, 1, 2, 3, 4, 5],
            "dev": [6, 7],
            "test": [8, 9],
        }
        found = assign(Ordered(train=0.5, test=0.2), table(10))
        assert {k: v.tolist() for k, v in found.items()} == {
            "train": [3, 4, 5, 6, 7],
            "test": [8, 9],
        }
        assert found.notes == ("split: 3 of 10 examples are in no part",)

    def test_dates(self):
        days = np.array(["2024-03-01", "2023-12-31", "2024-01-15", "2024-02-01", "2022-05-05"])
        found = assign(Ordered(by="when"), table(5, when=days.astype(object)))
        assert {k: v.tolist() for k, v in found.items()} == {
            "train": [1, 2, 4],
            "dev": [3],
            "test": [0],
        }

    def test_parts_of_the_source(self):
        found = assign(Ordered(dev=0.25), table(10, parts={"test": np.array([0, 1])}))
        assert {k: v.tolist() for k, v in found.items()} == {
            "train": [2, 3, 4, 5, 6, 7],
            "dev": [8, 9],
            "test": [0, 1],
        }

    def test_bad_columns(self):
        words = np.array(["soon", "late"] * 5, object)
        with pytest.raises(DataError, match=r"when holds neither numbers nor dates \('soon' is no"):
            assign(Ordered(by="when"), table(10, when=words))
        with pytest.raises(DataError, match=r"has no value in 1 row"):
            assign(Ordered(by="when"), table(2, when=np.array([1.0, np.nan])))
        with pytest.raises(
            DataError, match=r"test: would be empty \(0.2 of 10 examples, at 2 diff"
        ):
            assign(Ordered(by="when"), table(10, when=np.arange(10) % 2))

    def test_there_is_one_only(self):
        split = Ordered()
        assert split.numbered(0) is split
        with pytest.raises(UsageError, match=r"--splits: an ordered split is the only one"):
            split.numbered(1)


def test_chance_only_makes_parts_alike():
    data, own = Iris().load(), replace(Iris().load(), parts={"test": np.arange(30)})
    assert Split().is_random(data)
    assert not Split().is_random(own)
    assert not Split(dev="rows.txt", test=0.2).is_random(data)
    assert splits.KFold(dev=0.2).is_random(data)
    assert not splits.KFold(dev=0.2, by="x").is_random(data)
    assert not splits.KFold(holds="dev").is_random(own)
    assert not Grouped(by="x").is_random(data)
    assert not Ordered().is_random(data)
