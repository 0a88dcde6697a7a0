"""Effects of designs against least squares and by hand; how often their intervals hold."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats as scipy_stats

from nnexp.analysis.ablation import (
    FACTORIAL,
    LEAVE_ONE_OUT,
    Ablation,
    analyse,
    designed,
    reach,
)
from nnexp.analysis.comparing.crossed import Crossed, read_crossed
from nnexp.analysis.results import Result, read_result
from nnexp.errors import RunError, UsageError
from nnexp.stats import holm

FACTORS = ("a", "b", "c")
EXAMPLES = 40
Group = Callable[..., Path]


def member(hits: np.ndarray[Any, Any], seed: int, **more: Any) -> dict[str, Any]:
    """A run whose predictions are right where `hits` says."""
    rows = [
        {"split": "test", "id": str(i), "target": "x", "prediction": "xy"[not hit], "loss": 0.5}
        for i, hit in enumerate(hits)
    ]
    return {"rows": rows, "manifest": {"seed": seed, **more}}


def cells(
    group: Group, design: str, factors: tuple[str, ...] = FACTORS, seeds: int = 4, **chance: float
) -> list[tuple[tuple[str, ...], Result]]:
    """Groups whose chance to be right falls by `chance[factor]` where the factor is off."""
    draw = np.random.default_rng(0)
    found = []
    for number, off in enumerate(designed(factors, design)):
        p = 0.9 - sum(chance.get(factor, 0.0) for factor in off)
        members = [member(draw.random(EXAMPLES) < p, seed) for seed in range(seeds)]
        found.append((off, read_result(group(f"cell{number}", members))))
    return found


def accuracies(groups: list[tuple[tuple[str, ...], Result]]) -> np.ndarray[Any, Any]:
    return np.array([[run.value("test", "accuracy") for run in r.runs] for _, r in groups])


def effects(found: Ablation) -> dict[str, float]:
    return {effect.label: effect.difference for effect in found.effects}


def test_a_factorial_design_estimates_what_least_squares_does(group: Group) -> None:
    groups = cells(group, FACTORIAL, a=0.5, b=0.2)
    found = analyse(groups, FACTORS, FACTORIAL)
    signs = {
        name: np.array([-1.0 if name in off else 1.0 for off, _ in groups]) for name in FACTORS
    }
    columns = {**signs}
    for x, y in (("a", "b"), ("a", "c"), ("b", "c")):
        columns[f"{x} × {y}"] = signs[x] * signs[y]
    columns["1"] = np.ones(8)
    columns["abc"] = signs["a"] * signs["b"] * signs["c"]
    table = np.stack(list(columns.values()), axis=1)
    scores = accuracies(groups)
    design = np.repeat(table, scores.shape[1], axis=0)
    coefficients, *_ = np.linalg.lstsq(design, scores.ravel(), rcond=None)
    expected = {k: 2 * c for k, c in zip(columns, coefficients, strict=True)}
    assert effects(found) == pytest.approx({k: expected[k] for k in effects(found)})
    assert len(found.effects) == 6


def test_leave_one_out_is_the_whole_minus_each_cell(group: Group) -> None:
    groups = cells(group, LEAVE_ONE_OUT, a=0.5)
    found = analyse(groups, FACTORS, LEAVE_ONE_OUT)
    means = accuracies(groups).mean(axis=1)
    assert list(effects(found).values()) == pytest.approx(list(means[0] - means[1:]))
    assert found.effects[0].verdict == "helps"
    assert found.effects[0].sentence.startswith("a helps: test accuracy +")
    assert [cell.label for cell in found.cells] == ["all", "without a", "without b", "without c"]
    assert found.cells[1].score["mean"] == pytest.approx(means[1])


def test_p_values_are_holms_over_all_effects(group: Group) -> None:
    found = analyse(cells(group, FACTORIAL, a=0.5, b=0.3), FACTORS, FACTORIAL)
    p = [effect.p_value for effect in found.effects]
    assert [effect.p_adjusted for effect in found.effects] == holm(p)
    assert all(q >= p for q, p in zip([e.p_adjusted or 0 for e in found.effects], p, strict=True))


def test_where_lower_is_better_the_same_difference_hurts(group: Group) -> None:
    groups = cells(group, LEAVE_ONE_OUT, a=0.5)
    found = analyse(groups, FACTORS, LEAVE_ONE_OUT, metric="error")
    assert found.effects[0].difference < 0
    assert found.effects[0].verdict == "helps"


def test_an_interaction_is_half_the_difference_of_the_effects(group: Group) -> None:
    draw = np.random.default_rng(1)
    chances = {(): 0.95, ("a",): 0.3, ("b",): 0.3, ("a", "b"): 0.3}  # a helps only together with b
    groups = [
        (off, read_result(group(str(i), [member(draw.random(200) < p, s) for s in range(5)])))
        for i, (off, p) in enumerate(chances.items())
    ]
    found = analyse(groups, ("a", "b"), FACTORIAL)
    full, no_a, no_b, none = accuracies(groups).mean(axis=1)
    interaction = found.effects[-1]
    assert interaction.label == "a × b"
    assert interaction.difference == pytest.approx(((full - no_a) - (no_b - none)) / 2)
    assert interaction.verdict == "stronger together"
    assert "a and b do more together" in interaction.sentence


def test_seeds_that_diverged_anywhere_are_left_out_and_told(group: Group) -> None:
    ok = np.arange(EXAMPLES) % 3 > 0
    lost = {"accuracy": None, "error": None, "loss": None}
    dead = {**member(ok, 2, status="diverged"), "test": lost}
    whole = [member(np.roll(ok, s), s) for s in range(3)]
    rest = [member(np.roll(ok, 2 * s), s) for s in range(2)]
    groups = [
        ((), read_result(group("0", whole))),
        (("a",), read_result(group("1", [*rest, dead]))),
    ]
    found = analyse(groups, ("a",), LEAVE_ONE_OUT)
    assert found.members == 2
    assert found.cells[1].diverged == 1
    assert "1 of 3 seeds are left out" in found.notes[0]
    groups[1] = (("a",), read_result(group("2", [rest[0], {**dead, "manifest": {"seed": 1}}])))
    with pytest.raises(RunError, match="only 1 seeds have a number for accuracy"):
        analyse(groups, ("a",), LEAVE_ONE_OUT)


def test_other_examples_leave_the_seeds_chance_only(group: Group) -> None:
    ok = np.arange(EXAMPLES) % 3 > 0
    groups = [((), [member(np.roll(ok, s), s) for s in range(3)])]
    moved = [member(np.roll(ok, 2 * s), s) for s in range(3)]
    for one in moved:
        for row in one["rows"]:
            row["id"] = "n" + row["id"]
    groups.append((("a",), moved))
    results = [(off, read_result(group(str(len(off)), members))) for off, members in groups]
    found = analyse(results, ("a",), LEAVE_ONE_OUT)
    assert found.test == "paired t over seeds"
    assert "this split only" in reach(found)
    assert "differ" in found.notes[0]


def test_a_metric_that_no_cell_has_is_an_error(group: Group) -> None:
    with pytest.raises(UsageError, match="did you mean 'accuracy'"):
        analyse(cells(group, LEAVE_ONE_OUT, seeds=2), FACTORS, LEAVE_ONE_OUT, metric="acuracy")


def test_without_examples_a_contrast_is_students_paired_t() -> None:
    draw = np.random.default_rng(2)
    values = draw.normal(size=(2, 6))
    estimate = Crossed(values, None, None, ()).contrast([1.0, -1.0]).estimate
    told = scipy_stats.ttest_rel(values[0], values[1])
    assert estimate.p_value == pytest.approx(told.pvalue)
    assert estimate.interval() == pytest.approx(told.confidence_interval())


def test_over_splits_the_variance_is_nadeau_and_bengios() -> None:
    values = np.random.default_rng(3).normal(size=(2, 6))
    estimate = Crossed(values, None, 0.25, ()).contrast([1.0, -1.0]).estimate
    difference = values[0] - values[1]
    assert estimate.error == pytest.approx(np.sqrt(difference.var(ddof=1) * (1 / 6 + 0.25)))


def test_the_intervals_hold_their_level() -> None:
    """Scores with crossed random seeds and examples, those of the examples shared by the cells."""
    draw = np.random.default_rng(4)
    trials, missed = 400, 0
    weights = np.array([0.5, -0.5, 0.5, -0.5])
    truth = 0.3
    for _ in range(trials):
        seed = draw.normal(scale=0.5, size=(4, 8, 1))
        example = draw.normal(size=(1, 1, 30)) + draw.normal(scale=0.5, size=(4, 1, 30))
        scores = (
            seed
            + example
            + draw.normal(size=(4, 8, 30))
            + truth * np.sign(weights)[:, None, None] / 2
        )
        estimate = Crossed(scores.mean(axis=2), scores, None, ()).contrast(list(weights)).estimate
        low, high = estimate.interval() or (0.0, 0.0)
        missed += not low <= truth <= high
    assert missed / trials == pytest.approx(0.05, abs=0.035)


def test_groups_are_read_by_seed_not_by_order(group: Group) -> None:
    ok = np.arange(EXAMPLES) % 3 > 0
    forward = [member(ok & (np.arange(EXAMPLES) > 5 * s), s) for s in range(3)]
    groups = [read_result(group("x", forward)), read_result(group("y", forward[::-1]))]
    crossed = read_crossed(groups, "test", "accuracy")
    assert np.array_equal(crossed.values[0], crossed.values[1])
    assert crossed.examples is not None
    assert np.array_equal(crossed.examples[0], crossed.examples[1])
    assert np.allclose(crossed.examples.mean(axis=2), crossed.values)
