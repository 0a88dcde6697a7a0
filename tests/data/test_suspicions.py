"""What is told of a split, and that nothing is told of a healthy one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from nnexp.components.datasets import BreastCancer, Diabetes, Digits, Wine
from nnexp.components.table import Features, Table
from nnexp.data import suspicions
from nnexp.data.splits import Grouped, KFold, Ordered, Split, assign
from nnexp.data.suspicions import kolmogorov_smirnov, shifts, split_notes


def table(numeric, text=None, names=("city",), target=None, classes=None, **columns):
    n = len(numeric)
    features = Features.of(numeric)
    if text is not None:
        features = replace(features, categorical=text, categorical_names=names)
    target = random(n, 1, 1) if target is None else target
    return Table(features, target, classes, ("y",), np.arange(n), aside=dict(columns))


def told(split, data):
    return split_notes(split, data, assign(split, data))


def random(n, columns=4, seed=0):
    return np.random.default_rng(seed).normal(size=(n, columns))


class TestRepeats:
    def test_healthy_data_is_passed_over_in_silence(self):
        for data in (Digits(), Wine(), BreastCancer(), Diabetes()):
            assert told(Split(), data.load()) == []
            assert told(KFold(dev=0.2), data.load()) == []

    def test_an_example_in_two_parts(self):
        x = random(100)
        x[90], x[95], x[70] = x[10], x[10], x[20]  # train is 0-59, dev 60-79, test 80-99
        assert told(Ordered(), table(x)) == [
            "split: 1 example of dev has the very features of one in train, such as row 70 and row "
            "20: scores on dev may flatter",
            "split: 2 examples of test have the very features of one in train, such as row 90 and "
            "row 10: scores on test may flatter",
        ]

    def test_text_counts_too_and_the_target_does_not(self):
        text = np.array([f"t{i}" for i in range(100)], object)[:, None]
        data = table(np.zeros((100, 1)), text)
        assert told(Ordered(), data) == []
        text[99] = "t0"
        (note,) = told(Ordered(), data)
        assert "1 example of test has the very features of one in train" in note

    def test_missing_values_and_zeros_of_either_sign_are_equal(self):
        x = random(100)
        x[0], x[99] = [0.0, np.nan, 1, 2], [-0.0, np.nan, 1, 2]
        (note,) = told(Ordered(), table(x))
        assert "row 99 and row 0" in note

    def test_few_values_repeat_without_anything_wrong(self):
        x = np.random.default_rng(0).integers(0, 2, (500, 3)).astype(float)
        assert told(Split(), table(x)) == []
        x[::3] = np.nan
        assert told(Split(), table(x)) == []

    @pytest.mark.parametrize(("rows", "known"), [(30, 10**6), (10**6, 150), (30, 150)])
    def test_what_is_told_of_large_data_is_true_of_all(self, monkeypatch, rows, known):
        """Though they are looked at in part: 200 of 400 have a twin, at random places."""
        monkeypatch.setattr(suspicions, "ROWS", rows)
        monkeypatch.setattr(suspicions, "KNOWN", known)
        x, rng = random(1000), np.random.default_rng(5)
        twins = 600 + rng.permutation(400)[:200]
        x[twins] = x[rng.permutation(600)[:200]]
        (note,) = [n for n in told(Ordered(train=0.6, test=0.4), table(x)) if "very" in n]
        assert note.startswith("split: about ")
        assert int(note.split()[2]) == pytest.approx(200, abs=130 if rows < known else 60)

    def test_many_copies_of_an_example_are_told_of(self):
        """Ones that chance does not bring forth."""
        x = np.tile(random(200), (5, 1))
        (note,) = [n for n in told(Ordered(train=0.6, test=0.4), table(x)) if "very" in n]
        assert note.startswith("split: 400 examples of test have the very features")

    def test_words_repeat(self):
        data = table(np.arange(1000)[:, None] % 500)
        assert any("very" in note for note in told(Ordered(), data))
        data = replace(data, word_counts=np.full(500, 2))
        assert told(Ordered(), data) == []


class TestShifts:
    @pytest.mark.parametrize("shift", [0.0, 2.0])
    def test_numbers(self, shift):
        x = random(1000)
        x[800:, 2] += shift
        notes = told(Ordered(test=0.2, dev=0.2), table(x))
        expected = (
            "split: dev and test are not alike in x2 (p < 0.001 each): what does best on dev may "
            "not on test"
        )
        assert notes == ([expected] if shift else [])

    def test_text_and_classes(self):
        rng = np.random.default_rng(0)
        text = rng.choice(["a", "b", "c"], (1000, 1)).astype(object)
        text[800:] = rng.choice(["a", "b"], (200, 1))
        codes = rng.integers(0, 2, 1000)
        codes[800:] = rng.random(200) < 0.8
        data = table(random(1000), text, target=codes, classes=("n", "y"))
        (note,) = told(Ordered(), data)
        assert "not alike in city, the target y (p" in note

    def test_the_column_that_orders_is_not_told(self):
        x = random(1000)
        x[:, 0] = np.arange(1000)
        data = table(x)
        assert told(Ordered(by="x0"), data) == []
        assert "in x0 (" in told(Ordered(), data)[0]

    def test_a_little_is_no_reason_for_a_note_however_sure(self):
        for shift, expected in ((0.15, 0), (0.5, 1)):
            x = random(100_000, 1)
            x[80_000:] += shift
            assert len(told(Ordered(), table(x, target=random(100_000, 1, 1)))) == expected

    def test_how_far_apart(self):
        rng = np.random.default_rng(0)
        x, text = random(1000), rng.choice(["a", "b"], (1000, 1)).astype(object)
        x[800:, 1] += 1
        text[800:] = "a"
        data, split = table(x, text), Ordered()
        parts = assign(split, data)
        found = {s.name: s.distance for s in shifts(split, data, parts["dev"], parts["test"])}
        share = (text[parts["dev"]] == "a").mean()
        exact = stats.ks_2samp(x[parts["dev"], 1], x[parts["test"], 1]).statistic
        assert found == pytest.approx({"x1": exact, "city": 1 - share})

    def test_groups(self):
        groups = np.repeat(np.arange(5), 200)
        x = random(1000) + groups[:, None] * 3
        data = table(x, who=groups)
        assert "not alike in x0, x1, x2 and 1 more" in told(Grouped(by="who"), data)[0]

    def test_files_and_the_sources_parts_are_asked_and_chance_is_not(self, tmp_path):
        x = random(1000)
        x[800:] += 3
        data = table(x)
        own = replace(data, parts={"test": np.arange(800, 1000)})
        assert "not alike" in told(Split(), own)[0]
        (tmp_path / "rows.txt").write_text("\n".join(map(str, range(800, 1000))))
        split = Split(dev=0.1, test=str(tmp_path / "rows.txt"))
        assert "not alike" in told(split, data)[0]
        assert told(Split(), data) == []

    def test_healthy_parts_are_hardly_ever_told_of(self):
        """At 0.1 % for all columns together, 200 tables give none or one."""
        count = 0
        for seed in range(200):
            data = replace(table(random(300, 10, seed)), target=random(300, 1, seed + 1000))
            count += bool(told(Ordered(), data))
        assert count <= 2

    def test_images(self):
        x = np.random.default_rng(0).normal(size=(400, 1, 5, 5))
        x[320:, 0, 0, 3] += 3
        data = replace(table(np.zeros((400, 1))), features=Features.of(x))
        (note,) = told(Ordered(), data)
        assert "not alike in #3 (" in note


class TestKolmogorovSmirnov:
    @settings(deadline=None)
    @given(
        sizes=st.tuples(st.integers(20, 300), st.integers(20, 300)),
        shift=st.floats(0, 1),
        seed=st.integers(0, 1000),
    )
    def test_p_is_scipys(self, sizes, shift, seed):
        rng = np.random.default_rng(seed)
        a, b = rng.normal(size=sizes[0]), rng.normal(shift, 1, sizes[1])
        exact = stats.ks_2samp(a, b, method="exact")
        distance, p = kolmogorov_smirnov(a, b)
        assert distance == pytest.approx(exact.statistic)
        assert p == pytest.approx(exact.pvalue, rel=0.35, abs=0.02)

    def test_its_law(self):
        """With much data it is Kolmogorov's."""
        n = 10**6
        a = np.arange(n) / n
        for shift in (0.0005, 0.001, 0.002, 0.003):
            x = shift * np.sqrt(n / 2)
            expected = stats.kstwobign.sf(x)
            assert kolmogorov_smirnov(a, a + shift)[1] == pytest.approx(expected, rel=0.01)

    def test_ends(self):
        a = np.arange(50.0)
        assert kolmogorov_smirnov(a, a) == (0.0, 1.0)
        assert kolmogorov_smirnov(a, a + 100)[0] == 1.0
        assert kolmogorov_smirnov(a, a + 100)[1] < 1e-20
        assert kolmogorov_smirnov(a, np.full(3, np.nan))[1] == 1.0
        assert kolmogorov_smirnov(np.append(a, np.nan), a)[1] == 1.0


def test_frequencies_are_chi_squared_tests():
    a, b = ["x"] * 30 + ["y"] * 70 + ["z"], ["x"] * 45 + ["y"] * 55
    apart, found = zip(*suspicions._frequencies(a, b), strict=True)
    expected = [
        stats.chi2_contingency([[30, 71], [45, 55]], correction=False).pvalue,
        stats.chi2_contingency([[70, 31], [55, 45]], correction=False).pvalue,
    ]  # z is too rare to ask of
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    np.testing.assert_allclose(apart, [0.45 - 30 / 101, 70 / 101 - 0.55])
