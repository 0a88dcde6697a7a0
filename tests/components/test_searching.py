"""Domains, spaces and search methods: scales, conditions, going on, and that methods search."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nnexp.components.searching.domain import (
    Choice,
    Domain,
    Int,
    LogUniform,
    Numbers,
    OneMinusLog,
    Uniform,
)
from nnexp.components.searching.method import Grid, Method, RandomSearch, Searcher, drawn
from nnexp.components.searching.space import Draw, Parameter, Space
from nnexp.errors import UsageError
from nnexp.registry import choose

SPACE = Space(
    (
        Parameter("a", "a", LogUniform(range=[1e-4, 1.0])),
        Parameter("b", "b", OneMinusLog(range=[0.9, 0.999])),
        Parameter("c", "c", Choice(options=["x", "y", "z"])),
        Parameter("d", "c.d", Uniform(range=[-1.0, 1.0]), ("c", frozenset({1}))),
    )
)
NUMBERS = Space(tuple(one for one in SPACE.parameters if one.name in "ab"))
NEEDS_OPTUNA = ("tpe", "gp", "cma_es", "genetic")
METHODS = sorted(set(Method.registered) - {"grid"})


def bowl(draw: Draw) -> float:
    """Least, 0, at a = 0.3, b = 0.7, c = 1 and d = 0.2."""
    wrong = 0.0 if draw.get("c", 1) == 1 else 0.3
    return (draw["a"] - 0.3) ** 2 + (draw["b"] - 0.7) ** 2 + wrong + (draw.get("d", 0.2) - 0.2) ** 2


def slope(draw: Draw) -> dict[str, float]:
    """The bowl's derivative by the values of a and b, as training would give it."""
    found = {}
    for one, least in zip(NUMBERS.parameters, (0.3, 0.7), strict=True):
        assert isinstance(one.domain, Numbers)
        found[one.path] = 2 * (draw[one.name] - least) / one.domain.slope(draw[one.name])
    return found


def make(name: str, space: Space, trials: int, seed: int = 0) -> Searcher:
    if name in NEEDS_OPTUNA:
        pytest.importorskip("optuna")
    method = choose(Method, name)
    assert isinstance(method, Method)
    return method.searcher(space, trials, seed)


def search(searcher: Searcher, trials: int) -> list[tuple[int, list[Draw], list[float]]]:
    batches: list[tuple[int, list[Draw], list[float]]] = []
    done = 0
    while done < trials and (draws := searcher.ask(done, min(searcher.batch, trials - done))):
        values = [bowl(draw) for draw in draws]
        searcher.slopes([slope(draw) for draw in draws])
        searcher.tell(draws, values)
        batches.append((done, draws, values))
        done += len(draws)
    return batches


# -- domains ---------------------------------------------------------------------------------------


@given(st.floats(0, 1))
def test_numbers_are_on_their_scales(u: float) -> None:
    low, high = 1e-4, 0.5
    expected = {
        Uniform: low + u * (high - low),
        LogUniform: 10 ** (math.log10(low) + u * (math.log10(high) - math.log10(low))),
        OneMinusLog: 1 - (1 - low) ** (1 - u) * (1 - high) ** u,
    }
    for kind, value in expected.items():
        domain = kind(range=[low, high])
        assert domain.between(u) == pytest.approx(value, rel=1e-9)
        assert domain.at(u) == pytest.approx(value, rel=1e-5)
        assert low <= domain.at(u) <= high


@given(st.integers(1, 50), st.integers(1, 50), st.booleans())
def test_whole_numbers_are_all_there_and_no_others(low: int, more: int, log: bool) -> None:
    domain = Int(range=[low, low + more], log=log)
    found = {domain.at(u) for u in np.linspace(0, 1, 20_000)}
    assert found == set(range(low, low + more + 1))


def test_slopes_are_derivatives() -> None:
    domain = LogUniform(range=[1e-3, 1.0])
    assert domain.slope(0.5) == pytest.approx(domain.between(0.5) * math.log(1e3), rel=1e-6)


@pytest.mark.parametrize(
    ("name", "given", "said"),
    [
        ("uniform", {"range": [1, 1]}, "lowest, highest"),
        ("log_uniform", {"range": [0, 1]}, "no 0"),
        ("one_minus_log", {"range": [0.5, 1]}, "no logarithm"),
        ("int", {"range": [5, 3]}, "lowest, highest"),
        ("int", {"range": [0, 3], "log": True}, "no 0"),
        ("uniform", {"range": [1]}, "at least 2"),
        ("choice", {"options": []}, "at least 1"),
    ],
)
def test_bad_domains_are_refused(name: str, given: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        choose(Domain, {"name": name, **given})


# -- spaces ----------------------------------------------------------------------------------------


def test_a_key_is_there_with_its_choice_only() -> None:
    draw = {"a": 0.5, "b": 0.5, "c": 1, "d": 0.75}
    assert SPACE.values(draw)["c.d"] == 0.5
    assert set(SPACE.reduced({**draw, "c": 0})) == {"a", "b", "c"}
    assert list(SPACE.values({**draw, "c": 2})) == ["a", "b", "c"]


# -- methods ---------------------------------------------------------------------------------------


def test_a_grid_has_every_combination_once() -> None:
    draws = Grid(points=3).draws(SPACE)
    values = [json.dumps(SPACE.values(draw)) for draw in draws]
    assert len(set(values)) == len(values) == 3 * 3 * (2 + 3)
    whole = Space((Parameter("n", "n", Int(range=[1, 2])),))
    assert [whole.values(d)["n"] for d in Grid(points=7).draws(whole)] == [1, 2]
    many = Space(tuple(Parameter(str(i), str(i), Uniform(range=[0, 1])) for i in range(20)))
    with pytest.raises(UsageError, match="more than 100,000 points"):
        Grid().draws(many)


@settings(max_examples=20)
@given(st.integers(0, 1000))
def test_random_draws_follow_from_seed_and_trial_only(seed: int) -> None:
    searcher = RandomSearch().searcher(SPACE, 50, seed)
    whole = searcher.ask(0, 50)
    assert whole == searcher.ask(0, 20) + searcher.ask(20, 30)
    assert whole[7] == SPACE.reduced(drawn(SPACE, seed, 7))
    assert whole != RandomSearch().searcher(SPACE, 50, seed + 1).ask(0, 50)


def test_random_draws_are_even() -> None:
    draws = RandomSearch().searcher(SPACE, 3000, 0).ask(0, 3000)
    counts = np.bincount([int(draw["c"]) for draw in draws])
    assert counts.min() > 900
    assert abs(np.mean([draw["a"] for draw in draws]) - 0.5) < 0.02


@pytest.mark.parametrize("name", METHODS)
def test_a_method_goes_on_as_if_it_had_not_stopped(name: str) -> None:
    space = NUMBERS if name == "hypergradient" else SPACE
    batches = search(make(name, space, 30), 30)
    again = make(name, space, 30)
    for first, draws, values in batches[:-1]:
        again.slopes([slope(draw) for draw in draws])
        assert again.replay(first, draws, values)
    first, draws, _ = batches[-1]
    assert again.ask(first, len(draws)) == draws


@pytest.mark.parametrize("name", METHODS)
def test_adaptive_methods_are_asked_for_a_tenth_at_a_time(name: str) -> None:
    method = choose(Method, name)
    assert isinstance(method, Method)
    space = NUMBERS if name == "hypergradient" else SPACE
    assert make(name, space, 60).batch == (6 if method.adaptive else 60)


@pytest.mark.parametrize("name", ["coarse_to_fine", "tpe", "cma_es", "hypergradient"])
def test_what_learns_beats_chance(name: str) -> None:
    def best(which: str, seed: int) -> float:
        batches = search(make(which, NUMBERS, 60, seed), 60)
        return min(value for _, _, values in batches for value in values)

    found = [best(name, seed) for seed in range(9)]
    chance = [best("random", seed) for seed in range(9)]
    assert np.median(found) < np.median(chance)


def test_a_changed_sampler_is_noticed() -> None:
    batches = search(make("cma_es", NUMBERS, 30), 30)
    first, draws, values = batches[0]
    changed = [{**draws[0], "a": draws[0]["a"] / 2}, *draws[1:]]
    assert not make("cma_es", NUMBERS, 30).replay(first, changed, values)


def test_trials_that_failed_are_told_as_such() -> None:
    for name in METHODS:
        space = NUMBERS if name == "hypergradient" else SPACE
        searcher = make(name, space, 40)
        for first in range(0, 12, 4):
            draws = searcher.ask(first, 4)
            searcher.slopes([{} for _ in draws])
            searcher.tell(draws, [math.inf] * len(draws))


def test_a_generation_that_does_not_improve_ends_it() -> None:
    pytest.importorskip("optuna")
    method = choose(Method, {"name": "genetic", "patience": 2})
    assert isinstance(method, Method)
    searcher, done = method.searcher(NUMBERS, 1000, 0), 0
    while draws := searcher.ask(done, searcher.batch):
        searcher.tell(draws, [1.0] * len(draws))
        done += len(draws)
    assert done == 300


def test_hypergradient_needs_numbers() -> None:
    only = Space((Parameter("c", "c", Choice(options=[1, 2])),))
    with pytest.raises(UsageError, match="needs a number"):
        make("hypergradient", only, 10)
