"""Every optimizer is torch's own rule in float64, whatever mixture of members it updates."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
import torch

from nnexp.components import optimizers
from nnexp.components.optimizers import Adam, AdamW, Moment, Momentum, Nesterov, Optimizer, Sgd
from nnexp.components.optimizers import Rmsprop as RmsProp
from nnexp.registry import extras, stack

Params = list[torch.nn.Parameter]

REFERENCES: dict[str, Callable[[Any, Params, Params], torch.optim.Optimizer]] = {
    "sgd": lambda s, w, b: torch.optim.SGD([*w, *b], s.lr),
    "momentum": lambda s, w, b: torch.optim.SGD([*w, *b], s.lr, momentum=s.momentum),
    "nesterov": lambda s, w, b: torch.optim.SGD(
        [*w, *b], s.lr, momentum=s.momentum, nesterov=s.momentum > 0
    ),
    "rmsprop": lambda s, w, b: torch.optim.RMSprop([*w, *b], s.lr, alpha=s.decay, eps=s.eps),
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


class Quadratic:
    """½ (θ − c)ᵀ A (θ − c) of each member, with noise on the gradients."""

    def __init__(self, members: int = M) -> None:
        draw = torch.Generator().manual_seed(5)
        root = torch.randn(M, P, P, generator=draw, dtype=torch.float64)
        self.matrix = (root @ root.mT / P)[:members]
        self.centre = torch.randn(M, P, generator=draw, dtype=torch.float64)[:members]
        self.noise = 0.3 * torch.randn(STEPS, M, P, generator=draw, dtype=torch.float64)
        self.start = torch.randn(M, P, generator=draw, dtype=torch.float64)[:members]

    def gradient(self, params: torch.Tensor, step: int, member: int | None = None) -> torch.Tensor:
        pick = slice(None) if member is None else slice(member, member + 1)
        away = (params - self.centre[pick])[..., None]
        clean = (self.matrix[pick] @ away)[..., 0]
        return clean + self.noise[step, : len(self.start)][pick]


PROBLEM = Quadratic()
WEIGHTS = (torch.arange(P) < W).double()


def column(value: Any) -> Any:
    """A stacked field as the engine hands it over: a float, or `[M, 1]`."""
    return value if isinstance(value, float) else torch.as_tensor(value)[:, None]


def hyper_of(specs: Sequence[Optimizer]) -> dict[str, Any]:
    return {name: column(value) for name, value in stack(specs).items()}


def moment(step: int, hyper: Mapping[str, Any]) -> Moment:
    return Moment(step + 1, hyper["lr"], hyper, WEIGHTS)


def descend(specs: Sequence[Optimizer], steps: int = STEPS) -> torch.Tensor:
    """The parameters `[steps, M, P]` after each update of a pack."""
    params, hyper, path = PROBLEM.start.clone(), hyper_of(specs), []
    state = specs[0].init(params)
    for step in range(steps):
        specs[0].update(params, PROBLEM.gradient(params, step), state, moment(step, hyper))
        path.append(params.clone())
    return torch.stack(path)


def torchs(
    spec: Optimizer, member: int, cycle: Callable[[int], float] | None = None
) -> torch.Tensor:
    """The parameters `[STEPS, P]` after each of torch's updates of one member."""
    start = PROBLEM.start[member]
    weight, bias = torch.nn.Parameter(start[:W].clone()), torch.nn.Parameter(start[W:].clone())
    reference = REFERENCES[spec.component](spec, [weight], [bias])
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


def same(actual: torch.Tensor, expected: torch.Tensor, rtol: float = 1e-10) -> None:
    torch.testing.assert_close(actual, expected, rtol=rtol, atol=rtol)


Every = pytest.mark.parametrize("cls", Optimizer.registered.values(), ids=Optimizer.registered)


def test_every_optimizer_has_a_reference() -> None:
    assert set(REFERENCES) == set(Optimizer.registered)


# -- against torch ---------------------------------------------------------------------------------


@Every
@pytest.mark.parametrize("member", range(M))
def test_a_pack_that_agrees_is_torchs(cls: type[Any], member: int) -> None:
    """All hyper-parameters are floats: the quick path."""
    spec = cls(**{f: VALUES[f][member] for f in fields_of(cls)})
    path = descend([spec] * M)
    for row in range(M):
        same(path[:, row], torchs(spec, row))


@Every
def test_the_formula_is_torchs_without_the_one_kernel(
    cls: type[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(optimizers, "_one_kernel", lambda *_: False)
    spec = cls(**{f: VALUES[f][2] for f in fields_of(cls)})
    path = descend([spec] * M)
    for row in range(M):
        same(path[:, row], torchs(spec, row))


@Every
def test_members_that_differ_in_everything_are_each_torchs(cls: type[Any]) -> None:
    specs = differing(fields_of(cls), cls)
    path = descend(specs)
    for row, spec in enumerate(specs):
        same(path[:, row], torchs(spec, row))


@pytest.mark.parametrize(
    ("cls", "field"),
    [(cls, field) for cls in Optimizer.registered.values() for field in fields_of(cls)],
    ids=lambda x: x if isinstance(x, str) else x.__name__,
)
def test_members_that_differ_in_one_field_are_each_torchs(cls: type[Any], field: str) -> None:
    specs = differing([field], cls)
    path = descend(specs)
    for row, spec in enumerate(specs):
        same(path[:, row], torchs(spec, row))


@pytest.mark.parametrize(
    "cls", [c for c in Optimizer.registered.values() if getattr(c, "momentum_field")]
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
            spec.update(one, grads[row : row + 1].clone(), own, moment(step, hyper_of([spec])))
            alone.append((one, own))
        specs[0].update(params, grads, state, moment(step, hyper))
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
    exact, exact_state = params.double(), specs[0].init(params.double())
    where = params.data_ptr()
    for step in range(5):
        grads = PROBLEM.noise[step].to(dtype)
        now = Moment(step + 1, (h := hyper_of(specs))["lr"], h, WEIGHTS.to(dtype))
        specs[0].update(params, grads.clone(), state, now)
        specs[0].update(exact, grads.double(), exact_state, moment(step, h))
    assert params.data_ptr() == where
    assert params.dtype is dtype
    assert {name: tensor.data_ptr() for name, tensor in state.items()} == before
    for tensor in state.values():
        assert tensor.shape == (M, P)
        assert tensor.dtype is dtype
    torch.testing.assert_close(params.double(), exact, rtol=1e-5, atol=1e-6)


@Every
@pytest.mark.parametrize("pack", [False, True])
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_member_that_diverges_harms_nobody(cls: type[Any], pack: bool, bad: float) -> None:
    specs = differing(fields_of(cls) if pack else [], cls)
    hyper = hyper_of(specs)
    ends = []
    for poison in (0.0, bad):
        params = PROBLEM.start.clone()
        state = specs[0].init(params)
        for step in range(10):
            grads = PROBLEM.gradient(params, step)
            grads[1] += poison
            specs[0].update(params, grads, state, moment(step, hyper))
        ends.append(params)
    clean, poisoned = ends
    assert torch.equal(clean[[0, 2]], poisoned[[0, 2]])
    assert not poisoned[1].isfinite().any()


@Every
def test_the_momentum_field_is_a_field_that_may_differ(cls: type[Any]) -> None:
    assert cls.momentum_field is None or cls.momentum_field in fields_of(cls)


# -- the documents' own words ----------------------------------------------------------------------


def test_defaults_are_the_fields_usual_ones() -> None:
    assert {name: cls().lr for name, cls in Optimizer.registered.items()} == {  # type: ignore[attr-defined]
        "sgd": 0.01,
        "momentum": 0.01,
        "nesterov": 0.01,
        "rmsprop": 1e-3,
        "adam": 1e-3,
        "adamw": 1e-3,
    }
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
