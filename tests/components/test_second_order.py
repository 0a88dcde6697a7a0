"""L-BFGS and Gauss–Newton against scipy and torch, and their line search against its definition."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import least_squares, minimize

from nnexp.components.optimizers.line_search import AT, SLOPE, VALUE, Wolfe, search
from nnexp.components.optimizers.optimizer import Batch, Moment
from nnexp.components.optimizers.second_order import GaussNewton, Lbfgs

Function = Callable[[torch.Tensor], torch.Tensor]
"""From `[M, P]` to `[M]`."""


def rosenbrock(x: torch.Tensor) -> torch.Tensor:
    return (100 * (x[:, 1:] - x[:, :-1] ** 2) ** 2 + (1 - x[:, :-1]) ** 2).sum(1)


def logistic(x: torch.Tensor) -> torch.Tensor:
    draw = np.random.default_rng(3)
    inputs = torch.tensor(draw.standard_normal((60, x.shape[1])))
    signs = torch.tensor(np.sign(draw.standard_normal(60) + inputs.numpy()[:, 0]))
    losses = torch.nn.functional.softplus(-signs * (x @ inputs.T)).mean(1)
    return losses + 0.005 * x.square().sum(1)


class Counted:
    """A function with its gradient, and how often that was asked for."""

    def __init__(self, function: Function) -> None:
        self.function, self.asked = function, 0

    def __call__(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        self.asked += 1
        at = x.detach().requires_grad_()
        value = self.function(at)
        return value.detach(), torch.autograd.grad(value.sum(), at)[0]

    def numpy(self, x: np.ndarray) -> tuple[float, np.ndarray]:
        value, grads = self(torch.tensor(x)[None])
        return float(value), grads[0].numpy()


def train(
    spec: Any, start: torch.Tensor, slope: Any, updates: int, curvature: Any = None
) -> list[torch.Tensor]:
    params, state, path = start.clone(), spec.init(start), [start.clone()]
    hyper = {"lr": spec.lr, "damping": getattr(spec, "damping", 0.0)}
    for number in range(updates):
        value, grads = slope(params)
        batch = Batch(
            value,
            slope.function,
            torch.zeros(len(params), dtype=torch.int32),
            slope,
            lambda some: curvature(params[some]),
        )
        now = Moment(number + 1, spec.lr, hyper, torch.ones(params.shape[1]).double(), batch=batch)
        spec.update(params, grads, state, now)
        path.append(params.clone())
    return path


# -- lbfgs -----------------------------------------------------------------------------------------


STARTS: dict[str, tuple[Function, list[list[float]]]] = {
    "rosenbrock": (rosenbrock, [[-1.2, 1.0], [0.0, 2.0], [1.5, -0.5]]),
    "logistic": (logistic, [[0.0] * 5, [3.0, -2, 1, 0, 4], [-1.0] * 5]),
}


@pytest.mark.parametrize("name", STARTS)
def test_lbfgs_finds_scipys_and_torchs_minimum(name: str) -> None:
    """All members of a pack, in a comparable number of evaluations."""
    function, starts = STARTS[name]
    ours = Counted(function)
    end = train(Lbfgs(iterations=60), torch.tensor(starts).double(), ours, 1)[-1]
    slowest = 0
    for row, start in zip(end, starts, strict=True):
        theirs = Counted(function)
        found = minimize(
            theirs.numpy, start, jac=True, method="L-BFGS-B", options={"gtol": 1e-10, "ftol": 1e-15}
        )
        slowest = max(slowest, theirs.asked)
        np.testing.assert_allclose(row.numpy(), found.x, atol=1e-6)
        point = torch.nn.Parameter(torch.tensor([start]).double())
        reference = torch.optim.LBFGS([point], max_iter=200, line_search_fn="strong_wolfe",
                                      tolerance_grad=1e-10, tolerance_change=1e-14)  # fmt: skip

        def closure(reference: Any = reference, point: Any = point) -> torch.Tensor:
            reference.zero_grad()
            value = function(point).sum()
            value.backward()
            return value.detach()

        reference.step(closure)
        np.testing.assert_allclose(row.numpy(), point.detach().numpy()[0], atol=1e-5)
    assert ours.asked <= 2 * slowest


def test_lbfgs_needs_far_fewer_updates_than_gradient_descent() -> None:
    slope = Counted(logistic)
    start = torch.zeros(1, 5).double()
    best = float(logistic(train(Lbfgs(), start, slope, 60)[-1]))
    after_ten = float(logistic(train(Lbfgs(), start, slope, 10)[-1]))
    plain = start.clone()
    for _ in range(10):
        plain -= slope(plain)[1]
    assert after_ten - best < 0.01 * (float(logistic(plain)) - best)


def test_a_member_that_has_arrived_stays() -> None:
    slope = Counted(rosenbrock)
    start = torch.tensor([[1.0, 1.0], [-1.2, 1.0]]).double()
    path = train(Lbfgs(), start, slope, 5)
    assert torch.equal(path[-1][0], start[0])
    assert not torch.equal(path[-1][1], start[1])


def test_it_goes_on_from_its_state_and_forgets_bad_pairs() -> None:
    spec, start = Lbfgs(history=3), torch.tensor([[-1.2, 1.0]]).double()
    state = spec.init(start)
    assert {k: v.shape for k, v in state.items()} == {"steps": (1, 3, 2), "changes": (1, 3, 2)}
    assert all(torch.equal(v, torch.zeros_like(v)) for v in state.values())


Waves = st.lists(
    st.tuples(st.floats(-2, 2), st.floats(0.2, 3), st.floats(-3, 3)), min_size=1, max_size=4
)


@given(st.lists(Waves, min_size=1, max_size=4), st.floats(0.01, 30.0), st.floats(0.15, 0.9))
def test_every_accepted_step_satisfies_the_strong_wolfe_conditions(
    members: Sequence[Sequence[tuple[float, float, float]]], first: float, c2: float
) -> None:
    """On random smooth functions a sin(bt + c) + t²/50, one a member."""
    width = max(len(m) for m in members)
    padded = [[*m, *[(0.0, 1.0, 0.0)] * (width - len(m))] for m in members]
    a, b, c = torch.tensor(padded).double().unbind(2)

    def along(t: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        value = (a * torch.sin(b * t + c)).sum(1, keepdim=True) + t * t / 50
        slope = (a * b * torch.cos(b * t + c)).sum(1, keepdim=True) + t / 25
        return torch.cat([t, value, slope], 1), slope

    start, grads = along(torch.zeros(len(members), 1).double())
    rule = Wolfe(1e-4, c2, 60, 1e-15)
    tried = torch.full((len(members), 1), first).double()
    end, at_end = search(along, start, grads, tried, rule)
    falls = start[:, SLOPE] < 0
    assert torch.equal(end[~falls.squeeze(1)], start[~falls.squeeze(1)])
    steep = falls & (start[:, SLOPE] < -1e-6)  # else all is rounding
    bound = start[:, VALUE] + 1e-4 * end[:, AT] * start[:, SLOPE] + 1e-14
    assert (end[:, VALUE] <= bound)[steep].all()
    assert (end[:, SLOPE].abs() <= c2 * start[:, SLOPE].abs() + 1e-12)[steep].all()
    assert (end[:, AT] > 0)[steep].all()
    torch.testing.assert_close(along(end[:, AT])[1], at_end)


# -- gauss_newton ----------------------------------------------------------------------------------


X = torch.linspace(0, 2, 15).double()
Y = 2.0 * torch.exp(-1.5 * X) + 0.3


def residuals(p: torch.Tensor) -> torch.Tensor:
    return p[:, :1] * torch.exp(p[:, 1:2] * X) + p[:, 2:3] - Y


def jacobian(p: torch.Tensor) -> torch.Tensor:
    wave = torch.exp(p[:, 1:2] * X)
    return torch.stack([wave, p[:, :1] * X * wave, torch.ones_like(wave)], 2)


def squares(p: torch.Tensor) -> torch.Tensor:
    return 0.5 * residuals(p).square().sum(1)


def curvature(p: torch.Tensor) -> torch.Tensor:
    j = jacobian(p)
    return j.mT @ j


def test_an_undamped_step_solves_linear_least_squares() -> None:
    draw = torch.Generator().manual_seed(1)
    inputs = torch.randn(2, 20, 4, generator=draw).double()
    target = torch.randn(2, 20, generator=draw).double()

    def function(p: torch.Tensor) -> torch.Tensor:
        return 0.5 * ((inputs @ p[..., None])[..., 0] - target).square().sum(1)

    start = torch.randn(2, 4, generator=draw).double()
    gram = inputs.mT @ inputs
    end = train(GaussNewton(damping=0.0), start, Counted(function), 1, lambda _: gram)[-1]
    for row in range(2):
        exact = np.linalg.lstsq(inputs[row].numpy(), target[row].numpy(), rcond=None)[0]
        np.testing.assert_allclose(end[row].numpy(), exact, rtol=1e-12)


def test_it_converges_quadratically_to_scipys_minimum() -> None:
    start = torch.tensor([[1.5, -1.0, 0.0], [2.5, -2.0, 0.5]]).double()
    path = train(GaussNewton(damping=0.0), start, Counted(squares), 9, curvature)
    for row in range(2):
        found = least_squares(
            lambda p: residuals(torch.tensor(p)[None])[0].numpy(), start[row].numpy(),
            method="lm", xtol=1e-15, ftol=1e-15, gtol=1e-15,
        )  # fmt: skip
        np.testing.assert_allclose(path[-1][row].numpy(), found.x, rtol=1e-9)
        apart = [
            float((p[row] - torch.tensor([2.0, -1.5, 0.3], dtype=X.dtype)).norm()) for p in path
        ]
        near = [(e, after) for e, after in pairwise(apart) if 1e-7 < e < 0.3]
        assert len(near) >= 2
        for e, after in near:
            assert after <= 5 * e * e


def test_damping_finds_the_minimum_from_afar_and_never_climbs() -> None:
    start = torch.tensor([[-3.0, 2.0, 5.0], [10.0, -0.1, -5.0]]).double()
    path = train(GaussNewton(), start, Counted(squares), 60, curvature)
    values = torch.stack([squares(p) for p in path])
    assert (values[1:] <= values[:-1] * (1 + 1e-12)).all()
    assert (values[-1] < 1e-3 * values[0]).all()


def test_a_singular_matrix_is_damped() -> None:
    def function(p: torch.Tensor) -> torch.Tensor:
        return 0.5 * (p.sum(1) - 3.0) ** 2

    start = torch.zeros(1, 3).double()
    ones = torch.ones(1, 3, 3).double()
    path = train(GaussNewton(damping=0.0), start, Counted(function), 4, lambda _: ones)
    torch.testing.assert_close(path[-1], torch.ones(1, 3).double(), rtol=1e-6, atol=1e-6)
