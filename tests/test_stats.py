"""Every statistic against scipy's, or against the case in which it becomes a known one."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as reference
from scipy.optimize import brentq

from nnexp.stats import (
    Estimate,
    corrected_paired,
    corrected_welch,
    describe,
    hedges_g,
    holm,
    mcnemar_exact,
    rank_test,
    two_way,
    welch,
)

RNG = np.random.default_rng(0)
A = RNG.normal(0.90, 0.010, 10)
B = RNG.normal(0.91, 0.020, 7)


def test_describe_is_students_interval() -> None:
    found = describe(A.tolist())
    low, high = reference.t.interval(0.95, 9, A.mean(), reference.sem(A))
    assert found["mean"] == pytest.approx(A.mean())
    assert found["sd"] == pytest.approx(A.std(ddof=1))
    assert found["interval"] == pytest.approx([low, high])
    assert found["n"] == 10


def test_describe_leaves_out_what_is_no_number() -> None:
    assert describe([0.5, None, math.nan, 0.7, math.inf]) == describe([0.5, 0.7])
    assert describe([None]) == {"mean": None, "sd": None, "interval": None, "n": 0}
    assert describe([0.5]) == {"mean": 0.5, "sd": None, "interval": None, "n": 1}


def test_describe_keeps_to_the_bounds() -> None:
    assert describe([0.98, 1.0, 1.0], (0.0, 1.0))["interval"][1] == 1.0
    assert describe([0.0, 0.0, 0.01], (0.0, 1.0))["interval"][0] == 0.0
    assert describe([0.98, 1.0, 1.0])["interval"][1] > 1.0


def test_describe_without_variance() -> None:
    found = describe([0.1] * 7)
    assert found["sd"] == 0
    assert found["interval"] == pytest.approx([0.1, 0.1])


@given(st.lists(st.floats(0, 1), min_size=2, max_size=30))
def test_described_accuracy_stays_in_its_bounds(values: list[float]) -> None:
    low, high = describe(values, (0.0, 1.0))["interval"]
    assert 0 <= low <= np.mean(values) + 1e-12
    assert np.mean(values) - 1e-12 <= high <= 1


def test_welch_is_scipys() -> None:
    found, expected = welch(A, B), reference.ttest_ind(B, A, equal_var=False)
    assert found.p_value == pytest.approx(expected.pvalue, rel=1e-12)
    assert found.df == pytest.approx(expected.df)
    assert found.interval() == pytest.approx(tuple(expected.confidence_interval()))


def test_p_of_a_huge_difference_keeps_its_digits() -> None:
    found, expected = welch(A, A + 5), reference.ttest_ind(A + 5, A, equal_var=False)
    assert expected.pvalue < 1e-20
    assert found.p_value == pytest.approx(expected.pvalue, rel=1e-6)


def test_equivalence_is_two_one_sided_tests() -> None:
    margin = 0.03
    above = reference.ttest_ind(B + margin, A, equal_var=False, alternative="greater").pvalue
    below = reference.ttest_ind(B - margin, A, equal_var=False, alternative="less").pvalue
    assert welch(A, B).p_equivalent(margin) == pytest.approx(max(above, below))


@pytest.mark.parametrize("b", [np.full(5, 0.1), np.full(5, 0.3)])
def test_without_variance_nothing_is_claimed(b: np.ndarray) -> None:
    found = welch(np.full(5, 0.1), b)
    assert not found.testable
    assert found.p_value is found.interval() is found.detectable is None
    assert found.p_equivalent(1.0) is found.members_needed(0.1) is None


def test_equal_differences_are_no_variance_despite_rounding() -> None:
    b = np.array([0.9, 0.7, 0.6])
    assert not corrected_paired(b - (b - 0.1), 0.25).testable


def test_one_member_gives_no_interval() -> None:
    assert welch(A, B[:1]).p_value is None
    assert two_way(RNG.random((1, 20)), RNG.random((3, 20))).p_value is None
    assert corrected_paired(np.array([0.1]), 0.2).p_value is None


def test_interval_of_a_difference_keeps_to_its_bounds() -> None:
    a, b = np.array([0.0, 0.1]), np.array([1.0, 0.8])
    assert welch(a, b).interval(bounds=(-1.0, 1.0))[1] == 1.0  # type: ignore[index]


# -- seeds and test examples -----------------------------------------------------------------------


def test_two_way_without_differences_by_example_is_welch() -> None:
    a, b = (np.repeat(x[:, None], 50, axis=1) for x in (A, B))
    found, expected = two_way(a, b), welch(A, B)
    assert found.error == pytest.approx(expected.error)
    assert found.df == pytest.approx(expected.df)
    assert found.interval() == pytest.approx(expected.interval())


def test_two_way_without_differences_by_seed_is_the_paired_t_over_examples() -> None:
    x, y = RNG.normal(size=(2, 40)) + RNG.normal(size=40)
    found = two_way(np.tile(x, (5, 1)), np.tile(y, (3, 1)))
    assert found.p_value == pytest.approx(reference.ttest_rel(y, x).pvalue)
    alone = two_way(np.tile(x, (5, 1)), np.tile(y, (3, 1)), paired=False)
    assert alone.p_value == pytest.approx(reference.ttest_ind(y, x, equal_var=False).pvalue)


def test_two_way_variance_is_unbiased_for_crossed_effects() -> None:
    """Against the variance of the difference over many worlds, all effects known."""
    rng = np.random.default_rng(1)
    n, m, worlds = (6, 9), 40, 4000
    seed, example, residual = 0.5, 0.8, 2.0
    differences, variances = [], []
    for _ in range(worlds):
        difficulty = 3 * rng.normal(size=m)  # in common, so it cancels
        a, b = (
            difficulty
            + example * rng.normal(size=m)
            + seed * rng.normal(size=(k, 1))
            + residual * rng.normal(size=(k, m))
            for k in n
        )
        found = two_way(a, b)
        differences.append(found.difference)
        variances.append(found.error**2)
    truth = sum(seed**2 / k + residual**2 / (k * m) for k in n) + 2 * example**2 / m
    assert np.var(differences) == pytest.approx(truth, rel=0.1)
    assert np.mean(variances) == pytest.approx(truth, rel=0.03)


def test_two_way_is_never_surer_than_either_way_alone() -> None:
    rng = np.random.default_rng(2)
    for _ in range(200):  # without seed and example effects the unguarded estimate often is
        a, b = rng.normal(size=(2, 4, 10))
        found = two_way(a, b)
        seeds = welch(a.mean(axis=1), b.mean(axis=1)).error
        examples = reference.sem(b.mean(axis=0) - a.mean(axis=0))
        assert found.error >= max(seeds, examples) * (1 - 1e-12)


# -- splits ----------------------------------------------------------------------------------------


def test_corrected_paired_is_the_paired_t_with_a_wider_error() -> None:
    b = A + RNG.normal(0.005, 0.01, 10)
    plain = reference.ttest_rel(b, A)
    assert corrected_paired(b - A, 0.0).p_value == pytest.approx(plain.pvalue)
    # Nadeau & Bengio 2003, equation 8: σ̂²·(1/J + n₂/n₁)
    t = (b - A).mean() / math.sqrt((b - A).var(ddof=1) * (1 / 10 + 0.25))
    assert corrected_paired(b - A, 0.25).p_value == pytest.approx(2 * reference.t.sf(abs(t), 9))


def test_corrected_welch_without_overlap_is_welch() -> None:
    assert corrected_welch(A, B, (0.0, 0.0)).p_value == pytest.approx(welch(A, B).p_value)
    wider = corrected_welch(A, B, (0.25, 0.5)).error
    expected = math.sqrt(A.var(ddof=1) * (0.1 + 0.25) + B.var(ddof=1) * (1 / 7 + 0.5))
    assert wider == pytest.approx(expected)


# -- smaller ones ----------------------------------------------------------------------------------


@given(st.integers(0, 60), st.integers(0, 60))
def test_mcnemar_is_the_binomial_test(only_a: int, only_b: int) -> None:
    found = mcnemar_exact(only_a, only_b)
    if only_a + only_b == 0:
        assert found is None
    else:
        assert found == pytest.approx(reference.binomtest(only_a, only_a + only_b).pvalue)


def test_holm_by_hand() -> None:
    # sorted 0.01·4, 0.02·3, 0.03·2, 0.5·1, each at least the one before
    assert holm([0.03, 0.01, 0.5, 0.02]) == pytest.approx([0.06, 0.04, 0.5, 0.06])
    assert holm([0.04, None, 0.9, 0.6]) == [pytest.approx(0.12), None, 1.0, 1.0]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_rejects_between_bonferroni_and_none(p_values: list[float]) -> None:
    adjusted = holm(p_values)
    for p, q in zip(p_values, adjusted, strict=True):
        assert q is not None
        assert p <= q <= min(1.0, p * len(p_values))
    order = np.argsort(p_values, kind="stable")
    assert all(np.diff([adjusted[i] for i in order]) >= 0)


def test_hedges_g_removes_the_bias_of_cohens_d() -> None:
    rng = np.random.default_rng(3)
    found = [hedges_g(rng.normal(size=5), rng.normal(0.8, 1, size=5)) for _ in range(8_000)]
    assert np.mean(np.array(found, dtype=float)) == pytest.approx(0.8, abs=0.03)
    assert hedges_g(A, np.full(1, 0.9)) is None
    assert hedges_g(np.full(3, 0.9), np.full(3, 0.8)) is None


def test_detectable_effect_has_the_power_of_the_noncentral_t() -> None:
    x = np.linspace(-1, 1, 10)
    found = welch(x, x).detectable
    error, critical = x.std(ddof=1) * math.sqrt(2 / 10), reference.t.ppf(0.975, 18)
    exact = brentq(lambda d: reference.nct.sf(critical, 18, d / error) - 0.8, 0, 10)
    assert found == pytest.approx(exact, rel=0.01)


def test_detectable_effect_and_members_needed_ignore_the_observed_difference() -> None:
    near, far = welch(A, A), welch(A, A + 0.3)
    assert near.detectable == pytest.approx(far.detectable)
    assert near.members_needed(0.004) == far.members_needed(0.004)


@pytest.mark.parametrize("margin", [0.02, 0.01, 0.005, 0.001])
def test_members_needed_is_the_smallest_enough(margin: float) -> None:
    needed = welch(A, B).members_needed(margin)
    assert needed is not None

    def power(n: int) -> float:
        error = math.sqrt((A.var(ddof=1) + B.var(ddof=1)) / n)
        critical = reference.t.ppf(0.975, 2 * n - 2)
        return float(reference.nct.sf(critical, 2 * n - 2, margin / error))

    assert power(needed) == pytest.approx(0.8, abs=0.06)
    assert power(needed) > power(max(2, needed - 1)) or needed == 2


def test_more_members_do_not_help_against_few_examples() -> None:
    assert Estimate("", 0.0, 0.1, 9.0, per_member=0.01, floor=0.01).members_needed(0.05) is None
    assert Estimate("", 0.0, 0.1, 9.0).members_needed(10.0) is None  # single models


@pytest.mark.parametrize(
    ("sizes", "levels"), [((3, 4), 100), ((5, 6), 3), ((2, 7), 4), ((2, 2), 2)]
)
def test_ranks_are_tested_exactly(sizes: tuple[int, int], levels: int) -> None:
    """Against scipy's permutation test of the same statistic, infinities among the values."""
    rng = np.random.default_rng(levels)
    pool = np.append(np.arange(levels - 1.0), np.inf)
    a, b = (rng.choice(pool, size) for size in sizes)
    a[0], b[0] = 0.0, np.inf  # never all equal
    ranks = reference.rankdata(np.append(a, b))

    def apart(x: np.ndarray, _: np.ndarray) -> float:
        return float(abs(x.sum() - len(a) * (len(ranks) + 1) / 2))

    found = reference.permutation_test(
        (ranks[: len(a)], ranks[len(a) :]), apart, alternative="greater", n_resamples=np.inf
    )
    chance, p = rank_test(a, b)
    assert p == pytest.approx(found.pvalue)
    wins = (b[None] < a[:, None]).mean() + (b[None] == a[:, None]).mean() / 2
    assert chance == pytest.approx(wins)


def test_many_ranks_are_tested_by_the_normal_approximation() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 9, 40).astype(float), rng.integers(1, 10, 50).astype(float)
    expected = reference.mannwhitneyu(a, b, use_continuity=False, method="asymptotic")
    chance, p = rank_test(a, b)
    assert p == pytest.approx(expected.pvalue)
    assert chance == pytest.approx(expected.statistic / (40 * 50))


def test_ranks_that_are_all_equal_test_nothing() -> None:
    assert rank_test(np.full(3, np.inf), np.full(4, np.inf)) == (0.5, None)
