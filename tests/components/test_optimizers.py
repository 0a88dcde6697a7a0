"""Every optimizer is torch's own rule in float64, whatever mixture of members it updates."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from nnexp import streams
from nnexp.components.layer import Slot
from nnexp.components.layout import Entry, Layout
from nnexp.components.optimizers import rules as optimizers
from nnexp.components.optimizers.muon import newton_schulz
from nnexp.components.optimizers.optimizer import Batch, Moment, Optimizer
from nnexp.components.optimizers.rules import (
    Adadelta,
    Adagrad,
    Adam,
    AdamW,
    Lion,
    Momentum,
    Nesterov,
    Sgd,
)
from nnexp.components.optimizers.rules import Rmsprop as RmsProp
from nnexp.registry import extras, stack
from tests.components.second_order import gauss_newton_path, lbfgs_path

Params = list[torch.nn.Parameter]

TORCHS: dict[str, Callable[[Any, Params, Params], torch.optim.Optimizer]] = {
    "sgd": lambda s, w, b: torch.optim.SGD([*w, *b], s.lr),
    "momentum": lambda s, w, b: torch.optim.SGD([*w, *b], s.lr, momentum=s.momentum),
    "nesterov": lambda s, w, b: torch.optim.SGD(
        [*w, *b], s.lr, momentum=s.momentum, nesterov=s.momentum > 0
    ),
    "rmsprop": lambda s, w, b: torch.optim.RMSprop([*w, *b], s.lr, alpha=s.decay, eps=s.eps),
    "adagrad": lambda s, w, b: torch.optim.Adagrad([*w, *b], s.lr, eps=s.eps),
    "adadelta": lambda s, w, b: torch.optim.Adadelta([*w, *b], s.lr, rho=s.rho, eps=s.eps),
    "adam": lambda s, w, b: torch.optim.Adam([*w, *b], s.lr, (s.beta1, s.beta2), s.eps),
    "adamw": lambda s, w, b: torch.optim.AdamW(
        [{"params": w, "weight_decay": s.weight_decay}, {"params": b, "weight_decay": 0.0}],
        s.lr,
        (s.beta1, s.beta2),
        s.eps,
    ),
}
"""torch's optimizer with the same rule, for a spec, its weights and its biases."""

VALUES: dict[str, list[float]] = {
    "lr": [0.01, 0.1, 0.003],
    "momentum": [0.5, 0.0, 0.95],
    "decay": [0.9, 0.5, 0.99],
    "beta1": [0.9, 0.0, 0.99],
    "beta2": [0.999, 0.9, 0.99],
    "weight_decay": [0.1, 0.0, 0.5],
    "rho": [0.9, 0.5, 0.99],
    "adam_lr": [0.01, 0.05, 0.001],
    "gain": [0.1, 0.01, 0.5],
    "share": [0.05, 0.1, 0.01],
    "memory": [0.9, 0.0, 0.99],
    "sigma": [0.05, 0.2, 0.01],
    "damping": [1e-3, 1.0, 0.1],
}
"""Three members' values of every field that may differ between members."""

M, P, W, STEPS = 3, 8, 5, 100  # members, parameters, weights among them, updates


def differing(fields: Sequence[str], cls: type[Any]) -> list[Optimizer]:
    """Three members that differ in some fields; the others are the second value."""
    own = [f for f, info in cls.model_fields.items() if extras(info).get("per_member")]
    common = {f: VALUES[f][0] for f in own}
    return [cls(**{**common, **{f: VALUES[f][m] for f in fields}}) for m in range(M)]


def fields_of(cls: type[Any]) -> list[str]:
    return [f for f, info in cls.model_fields.items() if extras(info).get("per_member")]


def _entry(
    name: str, layer: int, role: Any, shape: tuple[int, ...], start: int, *is_: str
) -> Entry:
    return Entry(name, layer, Slot("w", shape, role), start, start + math.prod(shape), is_)


LAYOUT = Layout(
    (
        _entry("0.linear.weight", 0, "weight", (2, 2), 0, "first", "hidden"),
        _entry("0.linear.bias", 0, "bias", (1, 2), 5),
        _entry("1.linear.weight", 1, "weight", (1, 1), 4, "output"),
        _entry("1.linear.bias", 1, "bias", (1, 1), 7),
    ),
    8,
)
"""A matrix of two by two, another layer's only weight, and three biases."""


class Quadratic:
    """½ (θ − c)ᵀ A (θ − c) of each member, with noise on the gradients."""

    def __init__(self, members: int = M) -> None:
        draw = torch.Generator().manual_seed(5)
        root = torch.randn(M, P, P, generator=draw, dtype=torch.float64)
        self.matrix = (root @ root.mT / P)[:members]
        self.centre = torch.randn(M, P, generator=draw, dtype=torch.float64)[:members]
        self.noise = 0.3 * torch.randn(STEPS, M, P, generator=draw, dtype=torch.float64)
        self.start = torch.randn(M, P, generator=draw, dtype=torch.float64)[:members]

    def value(self, params: torch.Tensor, member: int | None = None) -> torch.Tensor:
        """The function itself, `[M]`, and a constant that keeps it above 0."""
        pick = slice(None) if member is None else slice(member, member + 1)
        away = (params.double() - self.centre[pick])[..., None]
        return 0.5 * (away.mT @ self.matrix[pick] @ away)[:, 0, 0] + 0.1

    def gradient(self, params: torch.Tensor, step: int, member: int | None = None) -> torch.Tensor:
        pick = slice(None) if member is None else slice(member, member + 1)
        away = (params - self.centre[pick])[..., None]
        clean = (self.matrix[pick] @ away)[..., 0]
        return clean + self.noise[step, : len(self.start)][pick]

    def objective(self, params: torch.Tensor, step: int, member: int | None = None) -> torch.Tensor:
        """What `gradient` is the gradient of, `[M]`."""
        noise = self.noise[step % STEPS, : len(self.start)]
        noise = noise if member is None else noise[member : member + 1]
        return self.value(params, member) + (noise * params.double()).sum(1)


PROBLEM = Quadratic()
WEIGHTS = (torch.arange(P) < W).double()


def column(value: Any) -> Any:
    """A stacked field as the engine hands it over: a float, or `[M, 1]`."""
    return value if isinstance(value, float) else torch.as_tensor(value)[:, None]


def hyper_of(specs: Sequence[Optimizer]) -> dict[str, Any]:
    return {name: column(value) for name, value in stack(specs).items()}


def moment(
    step: int, hyper: Mapping[str, Any], params: torch.Tensor = PROBLEM.start, member: Any = None
) -> Moment:
    keys = streams.member_keys(range(M), streams.EVOLUTION, "cpu")
    keys = keys if member is None else keys[member : member + 1]
    losses = PROBLEM.value(params, member)
    some = slice(None) if member is None else slice(member, member + 1)
    batch = Batch(
        losses,
        lambda at: PROBLEM.objective(at, step, member),
        keys,
        lambda at: (
            PROBLEM.objective(at, step, member),
            PROBLEM.gradient(at.double(), step, member).to(at.dtype),
        ),
        lambda members: PROBLEM.matrix[some][members],
    )
    return Moment(step + 1, hyper["lr"], hyper, WEIGHTS.to(params.dtype), LAYOUT, batch)


def descend(specs: Sequence[Optimizer], steps: int = STEPS) -> torch.Tensor:
    """The parameters `[steps, M, P]` after each update of a pack."""
    params, hyper, path = PROBLEM.start.clone(), hyper_of(specs), []
    state = specs[0].init(params)
    for step in range(steps):
        now = moment(step, hyper, params)
        at = specs[0].ahead(params, state, hyper)
        grads = PROBLEM.gradient(params if at is None else at, step)
        specs[0].update(params, grads, state, now)
        path.append(params.clone())
    return torch.stack(path)


def lion(s: Any, member: int) -> torch.Tensor:
    at, m, path = PROBLEM.start[member].clone(), torch.zeros(P).double(), []
    for step in range(STEPS):
        g = PROBLEM.gradient(at[None], step, member)[0]
        c = s.beta1 * m + (1 - s.beta1) * g
        at = at * (1 - s.lr * s.weight_decay * WEIGHTS) - s.lr * torch.sign(c)
        m = s.beta2 * m + (1 - s.beta2) * g
        path.append(at)
    return torch.stack(path)


def muon(s: Any, member: int) -> torch.Tensor:
    """The matrix by its own formula, in numpy; all else by torch's Adam, with decay."""
    at, m, path = PROBLEM.start[member].clone(), np.zeros((2, 2)), []
    rest = torch.nn.Parameter(at[4:].clone())
    adam = torch.optim.Adam([rest], s.adam_lr)
    for step in range(STEPS):
        g = PROBLEM.gradient(at[None], step, member)[0]
        m = s.momentum * m + (1 - s.momentum) * g[:4].numpy().reshape(2, 2)
        x = s.momentum * m + (1 - s.momentum) * g[:4].numpy().reshape(2, 2)
        x = x / np.sqrt((x**2).sum())
        for _ in range(s.iterations):
            a = x @ x.T
            x = 3.4445 * x + (-4.775 * a + 2.0315 * a @ a) @ x
        rest.grad = g[4:].clone()
        with torch.no_grad():
            rest.mul_(1 - s.adam_lr * s.weight_decay * WEIGHTS[4:])
        adam.step()
        matrix = at[:4] * (1 - s.lr * s.weight_decay) - s.lr * torch.tensor(x.ravel())
        at = torch.cat([matrix, rest.detach()])
        path.append(at)
    return torch.stack(path)


def error_adaptive(s: Any, member: int) -> torch.Tensor:
    at, rate, path = PROBLEM.start[member].clone(), s.lr, []
    losses: list[float] = []
    for step in range(STEPS):
        losses.append(float(PROBLEM.value(at[None], member)))
        weights = (1 - s.memory) * s.memory ** np.arange(len(losses))[::-1]
        error = float((weights * losses).sum() / weights.sum())
        rate = min(rate + s.gain * rate * (s.share * error - rate), s.max_lr)
        at = at - rate * PROBLEM.gradient(at[None], step, member)[0]
        path.append(at)
    return torch.stack(path)


def evolution(s: Any, member: int) -> torch.Tensor:
    at, path = PROBLEM.start[member].clone(), []
    key = streams.member_keys([member], streams.EVOLUTION, "cpu")
    for step in range(STEPS):
        away = []
        for pair in range(s.population // 2):
            drawn = streams.normals(key, step + 1, pair, 1, P)[0, 0]
            away += [drawn, -drawn]
        losses = [float(PROBLEM.objective((at + s.sigma * e)[None], step, member)) for e in away]
        place = {i: rank for rank, i in enumerate(np.argsort(losses, kind="stable"))}
        u = [place[i] / (s.population - 1) - 0.5 for i in range(s.population)]
        step_ = sum(u_i * e for u_i, e in zip(u, away, strict=True)) / (s.population * s.sigma)
        at = at - s.lr * step_
        path.append(at)
    return torch.stack(path)


def _second_order(s: Any, member: int, path: Callable[..., list[np.ndarray]]) -> torch.Tensor:
    def at(x: np.ndarray, step: int) -> tuple[float, np.ndarray]:
        point = torch.tensor(x)[None]
        value = float(PROBLEM.objective(point, step, member))
        return value, PROBLEM.gradient(point, step, member)[0].numpy()

    found = path(s, PROBLEM.start[member].numpy(), at, PROBLEM.matrix[member].numpy(), STEPS)
    return torch.tensor(np.array(found))


FORMULAS: dict[str, Callable[[Any, int], torch.Tensor]] = {
    "lion": lion,
    "muon": muon,
    "error_adaptive": error_adaptive,
    "evolution": evolution,
    "lbfgs": lambda s, member: _second_order(s, member, lbfgs_path),
    "gauss_newton": lambda s, member: _second_order(s, member, gauss_newton_path),
}
"""The path `[STEPS, P]` of one member by the rule's own formula, where torch has no such rule."""


def torchs(
    spec: Optimizer, member: int, cycle: Callable[[int], float] | None = None
) -> torch.Tensor:
    """The parameters `[STEPS, P]` after each of torch's updates of one member."""
    if spec.component in FORMULAS and cycle is None:
        return FORMULAS[spec.component](spec, member)
    start = PROBLEM.start[member]
    weight, bias = torch.nn.Parameter(start[:W].clone()), torch.nn.Parameter(start[W:].clone())
    reference = TORCHS[spec.component](spec, [weight], [bias])
    path = []
    for step in range(STEPS):
        grads = PROBLEM.gradient(torch.cat([weight, bias]).detach()[None], step, member)[0]
        weight.grad, bias.grad = grads[:W].clone(), grads[W:].clone()
        for group in reference.param_groups if cycle else ():
            if "betas" in group:
                group["betas"] = (cycle(step), group["betas"][1])
            else:
                group["momentum"] = cycle(step)
        reference.step()
        path.append(torch.cat([weight, bias]).detach().clone())
    return torch.stack(path)


TOLERANCE = {"muon": 1e-8, "lbfgs": 1e-7}
"""Where rounding is enlarged on the way: Newton–Schulz multiplies small singular values by 3.4,
and L-BFGS divides by small changes of the gradient."""


def same(actual: torch.Tensor, expected: torch.Tensor, rtol: float = 1e-10) -> None:
    torch.testing.assert_close(actual, expected, rtol=rtol, atol=rtol)


Every = pytest.mark.parametrize("cls", Optimizer.registered.values(), ids=Optimizer.registered)


def test_every_optimizer_has_a_reference() -> None:
    assert {*TORCHS, *FORMULAS} == set(Optimizer.registered)


# -- against torch ---------------------------------------------------------------------------------


@Every
@pytest.mark.parametrize("member", range(M))
def test_a_pack_that_agrees_is_torchs(cls: type[Any], member: int) -> None:
    """All hyper-parameters are floats: the quick path."""
    spec = cls(**{f: VALUES[f][member] for f in fields_of(cls)})
    path = descend([spec] * M)
    for row in range(M):
        same(path[:, row], torchs(spec, row), TOLERANCE.get(spec.component, 1e-10))


@Every
def test_the_formula_is_torchs_without_the_one_kernel(
    cls: type[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(optimizers, "one_kernel", lambda *_: False)
    spec = cls(**{f: VALUES[f][2] for f in fields_of(cls)})
    path = descend([spec] * M)
    for row in range(M):
        same(path[:, row], torchs(spec, row), TOLERANCE.get(spec.component, 1e-10))


@Every
def test_members_that_differ_in_everything_are_each_torchs(cls: type[Any]) -> None:
    specs = differing(fields_of(cls), cls)
    path = descend(specs)
    for row, spec in enumerate(specs):
        same(path[:, row], torchs(spec, row), TOLERANCE.get(spec.component, 1e-10))


@pytest.mark.parametrize(
    ("cls", "field"),
    [(cls, field) for cls in Optimizer.registered.values() for field in fields_of(cls)],
    ids=lambda x: x if isinstance(x, str) else x.__name__,
)
def test_members_that_differ_in_one_field_are_each_torchs(cls: type[Any], field: str) -> None:
    specs = differing([field], cls)
    path = descend(specs)
    for row, spec in enumerate(specs):
        same(path[:, row], torchs(spec, row), TOLERANCE.get(spec.component, 1e-10))


@pytest.mark.parametrize(
    "cls", [c for n, c in Optimizer.registered.items() if n in TORCHS and c.momentum_field]
)
@pytest.mark.parametrize("pack", [False, True])
def test_a_cycling_momentum_is_torchs(cls: type[Any], pack: bool) -> None:
    """A schedule sets the optimizer's momentum_field through `hyper`, anew for each update."""

    def cycle(step: int) -> float:
        return 0.95 - 0.1 * abs(step - STEPS / 2) / STEPS

    params, spec = PROBLEM.start.clone(), cls()
    state = spec.init(params)
    for step in range(STEPS):
        momentum = torch.full((M, 1), cycle(step), dtype=torch.float64) if pack else cycle(step)
        now = moment(step, {**hyper_of([spec]), cls.momentum_field: momentum})
        spec.update(params, PROBLEM.gradient(params, step), state, now)
    for row in range(M):
        same(params[row], torchs(spec, row, cycle)[-1])


# -- the contract ----------------------------------------------------------------------------------


@Every
def test_one_update_in_a_pack_is_the_update_alone(cls: type[Any]) -> None:
    specs = differing(fields_of(cls), cls)
    params, hyper = PROBLEM.start.clone(), hyper_of(specs)
    state = cls().init(params)
    for step in range(30):
        grads = PROBLEM.gradient(params, step)
        alone = []
        for row, spec in enumerate(specs):
            one = params[row : row + 1].clone()
            own = {name: tensor[row : row + 1].clone() for name, tensor in state.items()}
            now = moment(step, hyper_of([spec]), one, row)
            spec.update(one, grads[row : row + 1].clone(), own, now)
            alone.append((one, own))
        specs[0].update(params, grads, state, moment(step, hyper, params))
        same(params, torch.cat([one for one, _ in alone]), rtol=1e-12)
        for name, tensor in state.items():
            same(tensor, torch.cat([own[name] for _, own in alone]), rtol=1e-12)


@Every
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("pack", [False, True])
def test_updates_are_in_place_and_keep_shape_and_type(
    cls: type[Any], dtype: torch.dtype, pack: bool
) -> None:
    specs = differing(fields_of(cls) if pack else [], cls)
    params = PROBLEM.start.to(dtype)
    state = specs[0].init(params)
    before = {name: tensor.data_ptr() for name, tensor in state.items()}
    exact = params.double()
    exact_state = specs[0].init(exact)
    where = params.data_ptr()
    for step in range(5):
        grads, exact_grads = PROBLEM.noise[step].to(dtype), PROBLEM.noise[step].to(dtype).double()
        if cls.judges:  # it compares the gradient with the function
            grads = PROBLEM.gradient(params.double(), step).to(dtype)
            exact_grads = PROBLEM.gradient(exact, step)
        h = hyper_of(specs)
        specs[0].update(params, grads.clone(), state, moment(step, h, params))
        specs[0].update(exact, exact_grads, exact_state, moment(step, h, exact))
    assert params.data_ptr() == where
    assert params.dtype is dtype
    assert {name: tensor.data_ptr() for name, tensor in state.items()} == before
    for tensor in state.values():
        assert len(tensor) == M
        assert tensor.shape[-1] in (P, 1)
        assert tensor.dtype is (dtype if tensor.shape[-1] == P else torch.float64)
    torch.testing.assert_close(params.double(), exact, rtol=2e-5, atol=2e-6)


@Every
@pytest.mark.parametrize("pack", [False, True])
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_member_that_diverges_harms_nobody(cls: type[Any], pack: bool, bad: float) -> None:
    specs = differing(fields_of(cls) if pack else [], cls)
    hyper = hyper_of(specs)
    ends: list[torch.Tensor] = []
    for poison in (0.0, bad):
        params = PROBLEM.start.clone()
        state = specs[0].init(params)
        for step in range(10):
            grads = PROBLEM.gradient(params, step)
            grads[1] += poison
            now = moment(step, hyper, params)
            if not cls.uses_gradient:
                params[1] += poison
            specs[0].update(params, grads, state, now)
        ends.append(params)
    clean, poisoned = ends
    assert torch.equal(clean[[0, 2]], poisoned[[0, 2]])
    if cls is not Lion:  # the sign of an infinite gradient is 1; the loss tells of divergence
        assert not poisoned[1].isfinite().all()


@Every
def test_the_momentum_field_is_a_field_that_may_differ(cls: type[Any]) -> None:
    assert cls.momentum_field is None or cls.momentum_field in fields_of(cls)


# -- the documents' own words ----------------------------------------------------------------------


def test_defaults_are_the_fields_usual_ones() -> None:
    assert {name: cls().lr for name, cls in Optimizer.registered.items()} == {  # type: ignore[attr-defined]
        "sgd": 0.01,
        "momentum": 0.01,
        "nesterov": 0.01,
        "error_adaptive": 0.01,
        "evolution": 0.01,
        "adagrad": 0.01,
        "adadelta": 1.0,
        "rmsprop": 1e-3,
        "adam": 1e-3,
        "adamw": 1e-3,
        "lion": 1e-4,
        "muon": 0.02,
        "lbfgs": 1.0,
        "gauss_newton": 1.0,
    }
    assert (Adagrad().eps, Adadelta().rho, Adadelta().eps) == (1e-10, 0.9, 1e-6)
    assert Momentum().momentum == Nesterov().momentum == 0.9
    assert (RmsProp().decay, RmsProp().eps) == (0.9, 1e-8)
    assert (Adam().beta1, Adam().beta2, Adam().eps) == (0.9, 0.999, 1e-8)


def one_step(spec: Optimizer, grads: Sequence[float], lr: float, at: float = 0.0) -> list[float]:
    """The parameter after each update by the given gradients."""
    params = torch.tensor([[at]], dtype=torch.float64)
    state, hyper, path = spec.init(params), {**hyper_of([spec]), "lr": lr}, []
    for step, grad in enumerate(grads):
        now = Moment(step + 1, lr, hyper, torch.ones(1, dtype=torch.float64))
        spec.update(params, torch.tensor([[grad]], dtype=torch.float64), state, now)
        path.append(float(params))
    return path


def test_gradient_descent_finds_the_minimum_of_a_parabola() -> None:
    """w² − 10w + 25 from 0 with η = 0.01 (the documents' example): 5 after 1000 steps."""
    params = torch.zeros(1, 1, dtype=torch.float64)
    for step in range(1000):
        now = Moment(step + 1, 0.01, {"lr": 0.01}, torch.ones(1, dtype=torch.float64))
        Sgd().update(params, 2 * params - 10, {}, now)
    assert float(params) == pytest.approx(5.0, abs=1e-7)
    assert float(params) == pytest.approx(5 * (1 - 0.98**1000), rel=1e-12)


def test_momentum_keeps_the_velocity_not_the_parameter() -> None:
    """θ = 7 must not enter: μ multiplies the velocity (one document prints γθ)."""
    path = one_step(Momentum(momentum=0.5), [1.0, 0.0, 0.0], lr=1.0, at=7.0)
    assert path == pytest.approx([6.0, 5.5, 5.25], rel=1e-15)


def test_nesterov_looks_ahead() -> None:
    """θ = W + μV, where V ← μV − η∇f(W + μV), W ← W + V: the gradient is taken ahead."""
    mu, lr = 0.8, 0.1
    place, velocity = torch.tensor(3.0, dtype=torch.float64), torch.zeros((), dtype=torch.float64)
    params = place.clone().view(1, 1)
    spec = Nesterov(momentum=mu)
    state = spec.init(params)
    for step in range(50):
        velocity = mu * velocity - lr * torch.cos(place + mu * velocity)  # f = sin
        place = place + velocity
        now = Moment(step + 1, lr, {"lr": lr, "momentum": mu}, torch.ones(1))
        spec.update(params, torch.cos(params), state, now)
        same(params[0, 0], place + mu * velocity, rtol=1e-12)


def test_adams_step_is_the_corrected_one() -> None:
    """The first step is η·sign(g); uncorrected moments would make it 3.16 times as long."""
    for grad in (2.0, -1e-3):
        assert one_step(Adam(), [grad], lr=0.1)[0] == pytest.approx(
            -0.1 * grad / (abs(grad) + 1e-8), rel=1e-12
        )


def test_adam_divides_by_the_root_of_the_mean_square() -> None:
    """By hand from Kingma & Ba's algorithm 1 with gradients 1 and 3."""
    mean, square = 0.1 * (0.9 * 1 + 3) / (1 - 0.81), 0.001 * (0.999 + 9) / (1 - 0.999**2)
    second = -0.1 * (1 / (1 + 1e-8) + mean / (square**0.5 + 1e-8))
    assert one_step(Adam(), [1.0, 3.0], lr=0.1)[1] == pytest.approx(second, rel=1e-12)


def test_eps_stands_outside_the_root() -> None:
    step = one_step(RmsProp(decay=0.75, eps=0.5), [2.0], lr=1.0)[0]
    assert step == pytest.approx(-2.0 / (1.0 + 0.5), rel=1e-12)
    assert one_step(Adam(eps=0.5), [2.0], lr=1.0)[0] == pytest.approx(-2.0 / 2.5, rel=1e-12)


def test_adamw_decays_weights_only() -> None:
    params = torch.ones(1, P, dtype=torch.float64)
    spec = AdamW(lr=0.1, weight_decay=0.5)
    spec.update(params, torch.zeros_like(params), spec.init(params), moment(0, hyper_of([spec])))
    assert params[0, :W].tolist() == [0.95] * W
    assert params[0, W:].tolist() == [1.0] * (P - W)


# -- forms -----------------------------------------------------------------------------------------


def test_the_three_forms_of_momentum_agree_at_a_constant_rate() -> None:
    plain = descend([Momentum(lr=0.05)] * M)
    same(descend([Momentum(lr=0.05, form="velocity")] * M), plain)
    same(descend([Momentum(lr=0.5, form="average")] * M), plain)  # η / (1 − μ)


def test_an_average_may_start_from_the_first_gradient() -> None:
    spec = Momentum(form="average", start="gradient", momentum=0.9)
    path = one_step(spec, [2.0, 0.0], lr=1.0)
    assert path == pytest.approx([-2.0, -2.0 - 0.9 * 2.0])
    zero = one_step(Momentum(form="average", momentum=0.9), [2.0, 0.0], lr=1.0)
    assert zero == pytest.approx([-0.2, -0.2 - 0.18])


def test_nesterovs_lookahead_keeps_the_point_that_it_looks_from() -> None:
    """θ_torch = W + μV at a constant rate, V the velocity that is added."""
    spec = Nesterov(lr=0.05, form="lookahead")
    params, velocity = PROBLEM.start.clone(), None
    state, hyper = spec.init(params), hyper_of([spec])
    torchs_ = descend([Nesterov(lr=0.05)] * M)
    for step in range(STEPS):
        ahead = spec.ahead(params, state, hyper)
        spec.update(params, PROBLEM.gradient(ahead, step), state, moment(step, hyper))
        velocity = state["velocity"]
        same(torchs_[step], params + 0.9 * velocity)
    assert velocity is not None


# -- rules with more to tell -----------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(4, 7), (7, 4), (5, 5), (1, 6)])
def test_newton_schulz_brings_singular_values_near_1(shape: tuple[int, int]) -> None:
    draw = torch.Generator().manual_seed(1)
    matrix = torch.randn(3, *shape, generator=draw, dtype=torch.float64)
    values = torch.linalg.svdvals(newton_schulz(matrix, 5))
    assert float(values.min()) > 0.3
    assert float(values.max()) < 1.3
    u, _, v = torch.linalg.svd(matrix, full_matrices=False)
    for one, a, b in zip(newton_schulz(matrix, 5), u, v, strict=True):  # the same directions
        rotated = a.T @ one @ b.T
        same(rotated, torch.diag(rotated.diagonal()), rtol=1e-9)


@pytest.mark.parametrize("shape", [(4, 6), (6, 4)])
def test_muon_is_torchs_but_for_its_rounding(shape: tuple[int, int]) -> None:
    """torch iterates in bfloat16."""
    from nnexp.components.optimizers.muon import Muon

    inputs, outputs = shape
    draw = torch.Generator().manual_seed(2)
    start = torch.randn(inputs, outputs, generator=draw)
    theirs = torch.nn.Parameter(start.T.clone())
    spec = Muon(lr=0.1, weight_decay=0.3)
    reference = torch.optim.Muon([theirs], lr=0.1, weight_decay=0.3, momentum=0.95)
    params = start.reshape(1, -1).clone()
    size = inputs * outputs
    layout = Layout((_entry("0.linear.weight", 0, "weight", shape, 0, "hidden"),), size)
    state, hyper = spec.init(params), hyper_of([spec])
    for step in range(5):
        grads = torch.randn(inputs, outputs, generator=draw)
        theirs.grad = grads.T.clone()
        reference.step()
        now = Moment(step + 1, 0.1, hyper, torch.ones(size), layout)
        spec.update(params, grads.reshape(1, -1).clone(), state, now)
    torch.testing.assert_close(params.view(shape), theirs.detach().T, atol=0.03, rtol=0.03)


def test_evolution_finds_a_minimum_without_a_gradient() -> None:
    from nnexp.components.optimizers.rules import Evolution

    spec = Evolution(lr=0.05, sigma=0.1)
    params = PROBLEM.start.clone()
    first = PROBLEM.value(params)
    for step in range(300):
        now = moment(step, hyper_of([spec]), params)
        assert now.batch is not None
        now = replace(now, batch=replace(now.batch, evaluate=PROBLEM.value))
        spec.update(params, torch.zeros_like(params), {}, now)
    assert (PROBLEM.value(params) - 0.1 < 0.05 * (first - 0.1)).all()


def test_the_rate_of_error_adaptive_settles_at_its_share_of_the_loss() -> None:
    from nnexp.components.optimizers.rules import ErrorAdaptive

    spec = ErrorAdaptive(lr=0.5, gain=1.0, share=0.2)
    params = torch.zeros(1, 1, dtype=torch.float64)
    state, hyper = spec.init(params), hyper_of([spec])
    for step in range(2000):
        batch = Batch(torch.tensor([1.5]), lambda at: at[:, 0], torch.zeros(1, dtype=torch.int32))
        now = Moment(step + 1, 0.5, hyper, torch.ones(1).double(), LAYOUT, batch)
        spec.update(params, torch.zeros_like(params), state, now)
    assert float(state["rate"]) == pytest.approx(0.2 * 1.5, rel=1e-6)


@Every
def test_a_rate_by_parameter_is_honoured(cls: type[Any]) -> None:
    """Where the factor is 0 nothing moves; where it is 2 all is as with twice the rate."""
    spec = cls()
    factor = torch.full((1, P), 2.0, dtype=torch.float64)
    factor[0, :4] = 0.0
    ends = []
    for by_parameter in (False, True):
        params = PROBLEM.start.clone()
        state, hyper = spec.init(params), hyper_of([spec])
        for step in range(5):
            now = moment(step, hyper, params if cls.judges else PROBLEM.start)
            now = replace(now, lr=now.lr * (factor if by_parameter else 2.0))
            noise = PROBLEM.noise[step].clone()
            grads = PROBLEM.gradient(params, step) if cls.judges else noise
            spec.update(params, grads, state, now)
        ends.append(params)
    assert torch.equal(ends[1][:, :4], PROBLEM.start[:, :4])
    if cls.uses_gradient and not cls.judges:  # others judge the parameters together
        same(ends[1][:, 4:], ends[0][:, 4:])
    assert not torch.equal(ends[0][:, :4], PROBLEM.start[:, :4])
