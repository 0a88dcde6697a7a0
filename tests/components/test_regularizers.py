"""Every penalty against its formula and autograd, and its step against what it should find."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import ElasticNet, Lasso, Ridge

from nnexp.components.layer import Slot
from nnexp.components.layout import Entry, Layout, Scope
from nnexp.components.optimizers.optimizer import Batch, Moment, Optimizer
from nnexp.components.optimizers.rules import Momentum, Sgd
from nnexp.components.regularizers import Regularizer, Sizes, decay, sparsity
from nnexp.registry import stack

M, P, W = 3, 9, 6  # members, parameters, weights among them (the rest are biases)
SIZES = Sizes(batch=32, train=500)
LAYOUT = Layout(
    (
        Entry("0.linear.weight", 0, Slot("weight", (2, 3), "weight", 2, 3), 0, W),
        Entry("0.linear.bias", 0, Slot("bias", (1, 3), "bias"), W, P),
    ),
    P,
)
WEIGHTS = Scope((torch.arange(P) < W).double(), LAYOUT)

Value = Callable[[torch.Tensor, float], torch.Tensor]

REFERENCES: dict[str, list[tuple[dict[str, Any], Value]]] = {
    "l2": [
        ({}, lambda w, c: 0.5 * c * (w**2).sum()),
        ({"per_example": "batch"}, lambda w, c: c / (2 * 32) * (w**2).sum()),
        ({"per_example": "train"}, lambda w, c: c / (2 * 500) * (w**2).sum()),
    ],
    "l1": [
        ({"step": "subgradient"}, lambda w, c: 0.5 * c * w.abs().sum()),
        (
            {"step": "subgradient", "per_example": "batch"},
            lambda w, c: c / (2 * 32) * w.abs().sum(),
        ),
        (
            {"step": "subgradient", "per_example": "train"},
            lambda w, c: c / (2 * 500) * w.abs().sum(),
        ),
    ],
    "weight_decay": [({}, lambda w, _: 0.0 * w.sum())],
    "max_norm": [({}, lambda w, _: 0.0 * w.sum())],
}
"""Options, and the penalty of one member's weights at coefficient C."""

CASES = [(n, options, value) for n, cases in REFERENCES.items() for options, value in cases]
Every = pytest.mark.parametrize(("name", "options", "value"), CASES)
Acting = pytest.mark.parametrize(
    ("name", "options"), [*(case[:2] for case in CASES), ("l1", {"step": "proximal"})]
)
Coefficients = pytest.mark.parametrize(
    "coefficients", [[0.3] * M, [0.3, 0.0, 7.0]], ids=["same", "different"]
)


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=draw, dtype=torch.float64)


def make(name: str, coefficients: list[float], **options: Any) -> tuple[Regularizer, Any]:
    """A regularizer, and its per-member fields as the engine gives them: floats or `[M]`."""
    cls = Regularizer.registered[name]
    if name == "max_norm":  # a bound of 0 is none
        coefficients = [c or 2.0 for c in coefficients]
    specs = [cls.model_validate({"coefficient": c, **options}) for c in coefficients]
    hyper = {
        key: torch.as_tensor(v) if isinstance(v, np.ndarray) else v
        for key, v in stack(specs).items()
    }
    assert isinstance(specs[0], Regularizer)
    return specs[0], hyper


def test_every_regularizer_has_a_reference() -> None:
    assert set(REFERENCES) == set(Regularizer.registered)


# -- values and gradients --------------------------------------------------------------------------


@Every
@Coefficients
def test_the_penalty_is_the_formula(
    name: str, options: dict[str, Any], value: Value, coefficients: list[float]
) -> None:
    spec, hyper = make(name, coefficients, **options)
    params = random(M, P)
    found = spec.penalty(params, WEIGHTS, hyper, SIZES) + torch.zeros(M).double()
    for member, c in enumerate(coefficients):
        expected = value(params[member, :W], c)
        torch.testing.assert_close(found[member], expected, rtol=1e-13, atol=0)


@Every
@Coefficients
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_the_gradient_is_autograds(
    name: str,
    options: dict[str, Any],
    value: Value,
    coefficients: list[float],
    dtype: torch.dtype,
) -> None:
    spec, hyper = make(name, coefficients, **options)
    params, start = random(M, P).to(dtype), random(M, P, seed=1).to(dtype)
    params[:, 0] = 0.0  # where |w| has its kink the subgradient 0 is taken
    grads = start.clone()
    spec.add_gradient(grads, params, Scope(WEIGHTS.factor.to(dtype), LAYOUT), hyper, SIZES)
    assert grads.dtype is dtype
    for member, c in enumerate(coefficients):
        leaf = params[member].double().requires_grad_()
        (expected,) = torch.autograd.grad(value(leaf[:W], c), leaf)
        added = (grads - start)[member].double()
        tolerance = 1e-12 if dtype is torch.float64 else 1e-5
        torch.testing.assert_close(added, expected, rtol=tolerance, atol=tolerance)


@Acting
@Coefficients
def test_biases_are_left_alone(
    name: str, options: dict[str, Any], coefficients: list[float]
) -> None:
    spec, hyper = make(name, coefficients, **options)
    start, slope = random(M, P), random(M, P, seed=1)
    params, grads = _acted(spec, hyper, start, slope, 0.1)
    assert torch.equal(params[:, W:], start[:, W:])
    assert torch.equal(grads[:, W:], slope[:, W:])
    moved = start.clone()
    moved[:, W:] += 100.0
    torch.testing.assert_close(
        spec.penalty(moved, WEIGHTS, hyper, SIZES), spec.penalty(start, WEIGHTS, hyper, SIZES)
    )


@Acting
@pytest.mark.parametrize("rates", [[0.1, 0.1, 0.1], [0.1, 0.01, 0.4]])
def test_a_pack_is_its_members_alone(
    name: str, options: dict[str, Any], rates: list[float]
) -> None:
    coefficients, start, slope = [0.3, 0.0, 2.0], random(M, P), random(M, P, seed=1)
    spec, hyper = make(name, coefficients, **options)
    lr = 0.1 if len(set(rates)) == 1 else torch.tensor(rates, dtype=torch.float64)[:, None]
    params, grads = _acted(spec, hyper, start, slope, lr)
    for member, c in enumerate(coefficients):
        pick = slice(member, member + 1)
        spec, hyper = make(name, [c], **options)
        alone = _acted(spec, hyper, start[pick], slope[pick], rates[member])
        torch.testing.assert_close(params[pick], alone[0], rtol=1e-13, atol=1e-15)
        torch.testing.assert_close(grads[pick], alone[1], rtol=1e-13, atol=1e-15)


def _acted(
    spec: Regularizer, hyper: Any, params: torch.Tensor, grads: torch.Tensor, lr: Any
) -> tuple[torch.Tensor, torch.Tensor]:
    """Parameters and gradients after everything that a regularizer does to them."""
    params, grads = params.clone(), grads.clone()
    spec.add_gradient(grads, params, WEIGHTS, hyper, SIZES)
    spec.before_update(params, WEIGHTS, hyper, lr)
    spec.after_update(params, WEIGHTS, hyper, lr, SIZES)
    return params, grads


@Acting
@pytest.mark.parametrize("pack", [False, True])
def test_float32_parameters_stay_float32_and_in_place(
    name: str, options: dict[str, Any], pack: bool
) -> None:
    spec, hyper = make(name, [0.1, 0.2, 0.3] if pack else [0.1] * M, **options)
    params, weights = random(M, P).float(), Scope(WEIGHTS.factor.float(), LAYOUT)
    where = params.data_ptr()
    lr = torch.full((M, 1), 0.1, dtype=torch.float64) if pack else 0.1
    spec.before_update(params, weights, hyper, lr)
    spec.after_update(params, weights, hyper, lr, SIZES)
    assert params.data_ptr() == where
    assert params.dtype is torch.float32
    if name not in ("weight_decay", "max_norm"):
        assert spec.penalty(params, weights, hyper, SIZES).dtype is torch.float64


@Acting
def test_a_member_that_diverges_harms_nobody(name: str, options: dict[str, Any]) -> None:
    spec, hyper = make(name, [0.1, 0.2, 0.3], **options)
    clean, slope = random(M, P), random(M, P, seed=1)
    poisoned, bad_slope = clean.clone(), slope.clone()
    poisoned[1], bad_slope[1] = float("nan"), float("nan")
    expected, found = (
        _acted(spec, hyper, p, g, 0.1) for p, g in ((clean, slope), (poisoned, bad_slope))
    )
    for a, b in zip(expected, found, strict=True):
        assert torch.equal(a[[0, 2]], b[[0, 2]])
        assert b[1].isnan().all()


# -- decay -----------------------------------------------------------------------------------------


BATCH = Batch(torch.zeros(1), lambda params: params.sum(1), torch.zeros(1, dtype=torch.int32))


def _descend(
    optimizer: Optimizer,
    regularizers: list[tuple[Regularizer, Any]],
    gradient: Callable[[torch.Tensor], torch.Tensor],
    params: torch.Tensor,
    scope: Scope,
    steps: int,
) -> torch.Tensor:
    """What the engine does in an update, for a gradient function."""
    params, hyper = params.clone(), stack([optimizer])
    state = optimizer.init(params)
    for step in range(steps):
        grads = gradient(params)
        for spec, own in regularizers:
            spec.add_gradient(grads, params, scope, own, SIZES)
        for spec, own in regularizers:
            spec.before_update(params, scope, own, optimizer.lr)
        now = Moment(step + 1, optimizer.lr, hyper, scope.factor, scope.layout, BATCH)
        optimizer.update(params, grads, state, now)
        for spec, own in regularizers:
            spec.after_update(params, scope, own, optimizer.lr, SIZES)
    return params


def test_weight_decay_equals_l2_for_plain_sgd() -> None:
    target = random(M, P, seed=4)
    ends = [
        _descend(
            Sgd(lr=0.1),
            [make(name, [0.3, 0.0, 2.0])],
            lambda p: p - target,
            random(M, P),
            WEIGHTS,
            50,
        )
        for name in ("l2", "weight_decay")
    ]
    torch.testing.assert_close(ends[0], ends[1], rtol=1e-12, atol=0)
    momentum = [
        _descend(
            Momentum(lr=0.1),
            [make(name, [0.3] * M)],
            lambda p: p - target,
            random(M, P),
            WEIGHTS,
            5,
        )
        for name in ("l2", "weight_decay")
    ]
    assert not torch.allclose(momentum[0], momentum[1], rtol=1e-3)


@pytest.mark.parametrize("coefficients", [[0.5, 0.5, 0.5], [0.5, 0.0, 1.0]])
@pytest.mark.parametrize("rates", [[0.1, 0.1, 0.1], [0.1, 0.2, 0.3]])
def test_decay_multiplies_weights_by_one_minus_rate_times_coefficient(
    coefficients: list[float], rates: list[float]
) -> None:
    params = random(M, P)
    decayed = params.clone()
    c, lr = (
        v[0] if len(set(v)) == 1 else torch.tensor(v, dtype=torch.float64)
        for v in (coefficients, rates)
    )
    decay(decayed, WEIGHTS.factor, c, lr[:, None] if isinstance(lr, torch.Tensor) else lr)
    for member, share in enumerate(np.multiply(coefficients, rates)):
        expected = params[member, :W] * (1 - share)
        torch.testing.assert_close(decayed[member, :W], expected, rtol=1e-14, atol=0)
    assert torch.equal(decayed[:, W:], params[:, W:])


# -- what they find --------------------------------------------------------------------------------


class LeastSquares:
    """½·mean (y − Xw − b)², with few weights that matter; parameters are w then b."""

    def __init__(self) -> None:
        draw = np.random.default_rng(3)
        self.x = draw.standard_normal((60, 8))
        self.y = self.x @ [3.0, -2.0, 0, 0, 0.5, 0, 0, 0] + 1.5 + 0.3 * draw.standard_normal(60)
        self.design = torch.tensor(np.c_[self.x, np.ones(60)])
        self.scope = Scope((torch.arange(9) < 8).double(), Layout())

    def gradient(self, params: torch.Tensor) -> torch.Tensor:
        left = params @ self.design.T - torch.tensor(self.y)
        return left @ self.design / 60

    def solve(self, regularizers: list[tuple[Regularizer, Any]], members: int = 1) -> np.ndarray:
        start = torch.zeros(members, 9, dtype=torch.float64)
        found = _descend(Sgd(lr=0.3), regularizers, self.gradient, start, self.scope, 2000)
        return found.numpy()

    def matches(self, found: np.ndarray, model: Any) -> None:
        model.fit(self.x, self.y)
        expected = np.r_[model.coef_, model.intercept_]
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-8)
        assert ((found == 0) == (expected == 0)).all()


SQUARES = LeastSquares()


@pytest.mark.parametrize("c", [0.1, 0.8, 3.0])
def test_the_proximal_step_finds_lassos_weights_and_exact_zeros(c: float) -> None:
    """½·mean r² + ½·C·Σ|w| is sklearn's objective with alpha = C/2."""
    found = SQUARES.solve([make("l1", [c], step="proximal")])[0]
    SQUARES.matches(found, Lasso(alpha=c / 2, tol=1e-12, max_iter=100_000))
    assert (found[:8] == 0).any()


def test_members_have_a_lasso_of_their_own() -> None:
    coefficients = [0.1, 0.8, 3.0]
    found = SQUARES.solve([make("l1", coefficients, step="proximal")], members=3)
    for row, c in zip(found, coefficients, strict=True):
        SQUARES.matches(row, Lasso(alpha=c / 2, tol=1e-12, max_iter=100_000))


def test_the_subgradient_gives_no_exact_zeros() -> None:
    found = SQUARES.solve([make("l1", [0.8], step="subgradient")])[0]
    assert (found != 0).all()


def test_l2_finds_ridges_weights() -> None:
    found = SQUARES.solve([make("l2", [0.7])])[0]
    SQUARES.matches(found, Ridge(alpha=0.7 * 60, tol=1e-14))


def test_l1_and_l2_together_find_the_elastic_nets_weights() -> None:
    c1, c2 = 0.6, 0.4
    both = [make("l2", [c2]), make("l1", [c1], step="proximal")]
    alpha = c1 / 2 + c2
    net = ElasticNet(alpha=alpha, l1_ratio=c1 / 2 / alpha, tol=1e-12, max_iter=100_000)
    SQUARES.matches(SQUARES.solve(both)[0], net)


def test_the_soft_threshold_by_hand() -> None:
    """½·η·C = 0.5·0.1·4 = 0.2 is taken off every |w|, no further than 0."""
    params = torch.tensor([[1.0, -1.0, 0.2, -0.1, 0.0, 0.3]], dtype=torch.float64)
    spec, hyper = make("l1", [4.0], step="proximal")
    scope = Scope(torch.tensor([1.0, 1, 1, 1, 1, 0]).double(), Layout())
    spec.after_update(params, scope, hyper, 0.1, SIZES)
    assert params[0].tolist() == pytest.approx([0.8, -0.8, 0.0, 0.0, 0.0, 0.3], abs=1e-15)


def test_proximal_adds_no_gradient() -> None:
    spec, hyper = make("l1", [4.0], step="proximal")
    grads = torch.zeros(1, P)
    spec.add_gradient(grads, torch.ones(1, P), WEIGHTS, hyper, SIZES)
    assert (grads == 0).all()


@pytest.mark.parametrize("divisor", ["batch", "train"])
def test_the_proximal_threshold_a_example(divisor: str) -> None:
    spec, hyper = make("l1", [4.0], step="proximal", per_example=divisor)
    plain, own = make("l1", [4.0 / getattr(SIZES, divisor)], step="proximal")
    found, expected = random(1, P), random(1, P)
    spec.after_update(found, WEIGHTS, hyper, 0.1, SIZES)
    plain.after_update(expected, WEIGHTS, own, 0.1, SIZES)
    torch.testing.assert_close(found, expected, rtol=1e-15, atol=0)
    assert not torch.equal(found, random(1, P))


# -- the norm of a unit's weights ------------------------------------------------------------------


@pytest.mark.parametrize("coefficients", [[0.8] * M, [0.5, 1.0, 100.0]])
def test_max_norm_is_torchs_renorm_of_the_columns(coefficients: list[float]) -> None:
    spec, hyper = make("max_norm", coefficients)
    start = random(M, P)
    params = start.clone()
    spec.after_update(params, WEIGHTS, hyper, 0.1, SIZES)
    for member, c in enumerate(coefficients):
        expected = torch.renorm(start[member, :W].view(2, 3), 2, 1, c)
        torch.testing.assert_close(params[member, :W].view(2, 3), expected, rtol=1e-6, atol=0)
        norms = params[member, :W].view(2, 3).norm(dim=0)
        assert (norms <= c * (1 + 1e-14)).all()
    assert torch.equal(params[:, W:], start[:, W:])
    assert not torch.equal(params, start)


def test_max_norm_of_kernels_by_layer_and_of_frozen_layers() -> None:
    shapes = {"0.conv2d": (4, 3, 2, 2), "1.conv2d": (2, 4, 1, 1), "2.conv2d": (2, 2, 1, 1)}
    entries, at = list[Entry](), 0
    for layer, (name, shape) in enumerate(shapes.items()):
        stop = at + int(np.prod(shape))
        entries.append(Entry(f"{name}.weight", layer, Slot("weight", shape, "weight"), at, stop))
        at = stop
    layout = Layout(tuple(entries), at)
    factor, rate = torch.ones(at).double(), torch.full((1, at), 0.1)
    factor[:48] = 2.0
    factor[48:56] = 0.0  # left alone
    rate[:, 56:] = 0.0  # frozen
    spec, hyper = make("max_norm", [0.3])
    start = random(1, at)
    params = start.clone()
    spec.after_update(params, Scope(factor, layout), hyper, rate, SIZES)
    expected = torch.renorm(start[0, :48].view(4, 3, 2, 2), 2, 0, 0.6)
    torch.testing.assert_close(params[0, :48].view(4, 3, 2, 2), expected, rtol=1e-6, atol=0)
    assert torch.equal(params[:, 48:], start[:, 48:])


def test_sparsity_counts_zeros_and_small_weights() -> None:
    params = torch.tensor(
        [[0.0, 5e-4, -5e-4, 1e-3, 1.0, -0.0, 0.0, 0.0, 0.0], [1.0] * 9], dtype=torch.float64
    )
    zeros, small = sparsity(params, WEIGHTS)
    assert zeros.tolist() == pytest.approx([2 / 6, 0.0])
    assert small.tolist() == pytest.approx([4 / 6, 0.0])


@pytest.mark.parametrize(
    "bad",
    [
        {"name": "l2", "coefficient": -1},
        {"name": "l2"},
        {"name": "l2", "coefficient": 1, "per_example": "all"},
        {"name": "l1", "coefficient": 1, "step": "hard"},
        {"name": "weight_decay", "coefficient": float("inf")},
        {"name": "max_norm", "coefficient": 0},
        {"name": "max_norm", "coefficient": 1, "biases": True},
    ],
)
def test_what_makes_no_sense_is_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="validation error"):
        Regularizer.registered[bad["name"]].model_validate(bad)
