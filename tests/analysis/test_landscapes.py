"""Optimizers on surfaces, against torch's on the same function."""

from __future__ import annotations

import numpy as np
import pytest

from nnexp.analysis.landscapes import LANDSCAPES, RATES, descend, paths
from nnexp.components.optimizers.optimizer import Optimizer
from nnexp.components.optimizers.rules import (
    Adadelta,
    Adagrad,
    Adam,
    AdamW,
    Momentum,
    Nesterov,
    Rmsprop,
    Sgd,
)
from nnexp.errors import UsageError
from nnexp.lazy import torch


@pytest.mark.parametrize("name", LANDSCAPES)
@pytest.mark.parametrize(
    ("own", "other"),
    [
        (Sgd(lr=1e-3), lambda p: torch.optim.SGD(p, lr=1e-3)),
        (Momentum(lr=1e-4, momentum=0.8), lambda p: torch.optim.SGD(p, lr=1e-4, momentum=0.8)),
        (
            Nesterov(lr=1e-4, momentum=0.8),
            lambda p: torch.optim.SGD(p, lr=1e-4, momentum=0.8, nesterov=True),
        ),
        (Adagrad(lr=0.1), lambda p: torch.optim.Adagrad(p, lr=0.1)),
        (Adadelta(lr=1.0), lambda p: torch.optim.Adadelta(p, lr=1.0)),
        (Rmsprop(lr=0.01), lambda p: torch.optim.RMSprop(p, lr=0.01, alpha=0.9)),
        (Adam(lr=0.05), lambda p: torch.optim.Adam(p, lr=0.05)),
        (AdamW(lr=0.05), lambda p: torch.optim.AdamW(p, lr=0.05)),
    ],
)
def test_paths_are_torchs(name: str, own, other) -> None:  # type: ignore[no-untyped-def]
    landscape = LANDSCAPES[name]
    point = torch.tensor(landscape.start, dtype=torch.float64, requires_grad=True)
    optimizer, wanted = other([point]), [point.detach().numpy().copy()]
    for _ in range(50):
        optimizer.zero_grad()
        landscape.value(point[0], point[1]).backward()
        optimizer.step()
        wanted.append(point.detach().numpy().copy())
    np.testing.assert_allclose(descend(landscape, [own], 50)[0], wanted, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", LANDSCAPES)
def test_minima_are_minima(name: str) -> None:
    landscape = LANDSCAPES[name]
    left, right, low, high = landscape.box
    grid = landscape.value(*np.meshgrid(np.linspace(left, right, 301), np.linspace(low, high, 301)))
    for x, y in landscape.minima:
        assert left < x < right
        assert low < y < high
        assert landscape.value(x, y) <= grid.min() + 1e-12


def test_rates_are_chosen_or_given() -> None:
    landscape = LANDSCAPES["beale"]
    found = paths(landscape, ["adam", "sgd=0.01"], 60)
    assert found["adam"].tuned
    assert found["adam"].lr in RATES
    assert (found["sgd"].lr, found["sgd"].tuned) == (0.01, False)
    heights = {k: landscape.value(*path.places[-1]) for k, path in found.items()}
    start = landscape.value(*landscape.start)
    assert all(height < start for height in heights.values())
    for lr in RATES:
        end = descend(landscape, [Adam(lr=lr)], 60)[0]
        inside = np.abs(end).max() < 1.9
        assert not inside or landscape.value(*end[-1]) >= heights["adam"]


def test_members_with_many_rates_go_as_each_alone() -> None:
    landscape = LANDSCAPES["rosenbrock"]
    together = descend(landscape, [Adam(lr=lr) for lr in (0.01, 0.1)], 30)
    alone = [descend(landscape, [Adam(lr=lr)], 30)[0] for lr in (0.01, 0.1)]
    np.testing.assert_allclose(together, alone, rtol=1e-9)


@pytest.mark.parametrize("name", sorted(Optimizer.registered))
def test_every_optimizer_walks_down_or_says_why_not(name: str) -> None:
    landscape = LANDSCAPES["beale"]
    if name == "gauss_newton":
        with pytest.raises(UsageError, match="needs a network's loss"):
            paths(landscape, [name], 10)
        return
    places = paths(landscape, [name], 30)[name].places
    heights = landscape.value(*places.T)
    assert heights[-1] < heights[0]


def test_a_path_ends_where_it_leaves_the_box() -> None:
    found = paths(LANDSCAPES["rosenbrock"], ["sgd=1"], 30)["sgd"]
    assert 2 <= len(found.places) < 31


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("adamm", "did you mean adam"),
        ("sgd=fast", "should be a number"),
        ("sgd=-1", "greater than 0"),
    ],
)
def test_wrong_optimizers(given: str, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        paths(LANDSCAPES["beale"], [given], 5)
    with pytest.raises(UsageError, match="twice"):
        paths(LANDSCAPES["beale"], ["sgd=0.1", "sgd"], 5)
