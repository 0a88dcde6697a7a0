"""Every activation against torch's function, its gradient against two-sided differences."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from nnexp import streams
from nnexp.components.inits import GlorotNormal, GlorotSigmoid, HeNormal, LecunNormal
from nnexp.components.layer import Context
from nnexp.components.layers.activations import (
    Activation,
    NoisyRelu,
    Prelu,
    RationalTanh,
    Relu,
    ScaledTanh,
    Selu,
    Sigmoid,
    Softmax,
    Step,
    Swish,
    Tanh,
)
from nnexp.registry import stack

Function = Callable[[torch.Tensor], torch.Tensor]

REFERENCES: dict[str, Callable[[], Function]] = {
    "identity": torch.nn.Identity,
    "step": lambda: lambda x: torch.heaviside(x, torch.zeros((), dtype=x.dtype)),
    "relu": torch.nn.ReLU,
    "leaky_relu": torch.nn.LeakyReLU,
    "prelu": lambda: lambda x: functional.prelu(x, torch.tensor(0.25, dtype=x.dtype)),
    "noisy_relu": torch.nn.ReLU,  # in evaluation
    "softplus": torch.nn.Softplus,
    "sigmoid": torch.nn.Sigmoid,
    "tanh": torch.nn.Tanh,
    "scaled_tanh": lambda: lambda x: (1.7159 * torch.tanh(2 * x.double() / 3)).to(x.dtype),
    "rational_tanh": lambda: lambda x: lambert(x.double()).to(x.dtype),
    "tanh_linear": lambda: lambda x: torch.tanh(x) + 0.01 * x,
    "swish": torch.nn.SiLU,
    "gelu": torch.nn.GELU,
    "elu": torch.nn.ELU,
    "selu": torch.nn.SELU,
    "softmax": lambda: torch.nn.Softmax(dim=2),
}
"""torch's module, or the formula."""


def lambert(x: torch.Tensor) -> torch.Tensor:
    """tanh's continued fraction x/(1 + x²/(3 + x²/(5 + …))) down to 13, between ±1."""
    found = torch.full_like(x, 13.0)
    for odd in (11, 9, 7, 5, 3, 1):
        found = odd + x * x / found
    inside = (x / found).clamp(-1.0, 1.0)
    return torch.where(x.abs() < 5.0, inside, x.sign())


STARTS = {
    **dict.fromkeys(["identity", "step", "tanh", "rational_tanh", "tanh_linear"], GlorotNormal()),
    **dict.fromkeys(["relu", "leaky_relu", "prelu", "noisy_relu", "softplus"], HeNormal()),
    **dict.fromkeys(["swish", "gelu", "elu"], HeNormal()),
    **dict.fromkeys(["scaled_tanh", "selu"], LecunNormal()),
    "sigmoid": GlorotSigmoid(),
    "softmax": GlorotNormal(),
}
"""How the layer before starts: He for ReLU-like, Glorot for tanh, glorot_sigmoid for sigmoid."""

SLOPES = {"prelu": ["slope"]}
"""Activations that are trained themselves, and their tensors."""

EVALUATION = Context(training=False)

Every = pytest.mark.parametrize(
    "spec", [cls() for cls in Activation.registered.values()], ids=Activation.registered
)


def apply(spec: Any, x: torch.Tensor, **hyper: Any) -> torch.Tensor:
    slots = spec.declare(tuple(x.shape[2:])).slots
    own = {s.name: torch.full((len(x), *s.shape), s.fill, dtype=x.dtype) for s in slots}
    return spec.forward(x, own, {**stack([spec]), **hyper}, EVALUATION)


def scalar(spec: Any, x: float, **hyper: Any) -> float:
    return float(apply(spec, torch.tensor([[[x]]], dtype=torch.float64), **hyper))


def test_every_activation_has_a_reference() -> None:
    assert set(REFERENCES) == set(STARTS) == set(Activation.registered)


@Every
@pytest.mark.parametrize("shape", [(3, 5, 4), (2, 3, 4, 5, 6)])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_values_are_torchs(spec: Any, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    x = (4 * torch.randn(shape, generator=torch.Generator().manual_seed(1))).to(dtype)
    found = apply(spec, x)
    assert found.dtype is dtype
    rtol = {torch.float64: 1e-14, torch.float32: 1e-6, torch.bfloat16: 1e-2}[dtype]
    expected = REFERENCES[spec.component]()(x)
    torch.testing.assert_close(found, expected, rtol=rtol, atol=rtol)


@pytest.mark.parametrize("spec", [c() for n, c in Activation.registered.items() if n != "step"])
def test_gradients_are_two_sided_differences(spec: Any) -> None:
    x = torch.linspace(-6.03, 6.03, 200, dtype=torch.float64).view(1, 1, -1)  # not 0, a kink
    leaf, eps = x.clone().requires_grad_(), 1e-5
    (found,) = torch.autograd.grad(apply(spec, leaf).sum(), leaf)
    expected = (apply(spec, x + eps) - apply(spec, x - eps)) / (2 * eps)
    torch.testing.assert_close(found, expected, rtol=1e-7, atol=1e-10)


@Every
def test_the_shape_stays(spec: Any) -> None:
    for shape in ((7,), (3, 4, 5)):
        assert spec.declare(shape).output == shape
        assert [s.name for s in spec.declare(shape).slots] == SLOPES.get(spec.component, [])


@Every
def test_the_layer_before_starts_as_suits(spec: Any) -> None:
    assert spec.initialization == STARTS[spec.component]


@Every
def test_extreme_inputs_do_not_overflow(spec: Any) -> None:
    for dtype, far in ((torch.float32, 1e30), (torch.float64, 1e300)):
        x = torch.tensor([-far, -1e3, 0.0, 1e3, far], dtype=dtype).view(1, 1, -1).requires_grad_()
        value = apply(spec, x)
        assert value.isfinite().all()
        (grads,) = torch.autograd.grad(value.sum(), x)
        assert grads.isfinite().all()


def test_saturation() -> None:
    for far in (50.0, 1e6, 1e300):
        assert scalar(Sigmoid(), far) == pytest.approx(1.0, abs=1e-15)
        assert scalar(Sigmoid(), -far) == pytest.approx(0.0, abs=1e-15)
        assert scalar(Tanh(), far) == 1.0
        assert scalar(Tanh(), -far) == -1.0


def test_relu_has_gradient_zero_at_zero() -> None:
    x = torch.tensor([[[-1.0, 0.0, -0.0, 1.0]]], requires_grad=True)
    (grads,) = torch.autograd.grad(apply(Relu(), x).sum(), x)
    assert grads.tolist() == [[[0.0, 0.0, 0.0, 1.0]]]


def test_the_sigmoid_is_one_over_one_plus_e_to_the_minus_x() -> None:
    """One document prints e^x: the sigmoid rises, and σ(0) = 1/2."""
    assert scalar(Sigmoid(), 0.0) == 0.5
    assert scalar(Sigmoid(), 1.0) == pytest.approx(1 / (1 + 2.718281828459045**-1), rel=1e-15)


# -- swish -----------------------------------------------------------------------------------------


def test_the_minimum_of_swish() -> None:
    """−0.2785 at −1.2785 (one document calls it nonnegative)."""
    x = torch.linspace(-5, 5, 1_000_001, dtype=torch.float64).view(1, 1, -1)
    values = apply(Swish(), x)
    assert float(values.min()) == pytest.approx(-0.2785, abs=5e-5)
    assert float(x[0, 0, values.argmin()]) == pytest.approx(-1.2785, abs=5e-5)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(3, 5, 4), (3, 2, 4, 3, 3)])
def test_beta_may_differ_between_members(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    betas = [0.5, 1.0, 7.0]
    x = (3 * torch.randn(shape, generator=torch.Generator().manual_seed(2))).to(dtype)
    stacked = torch.as_tensor(stack([Swish(beta=b) for b in betas])["beta"])
    found = apply(Swish(), x, beta=stacked)
    assert found.dtype is dtype
    tolerance = {torch.float64: 1e-14, torch.float32: 1e-6, torch.bfloat16: 1e-2}[dtype]
    for member, beta in enumerate(betas):
        alone = apply(Swish(beta=beta), x[member : member + 1])
        torch.testing.assert_close(
            found[member : member + 1], alone, rtol=tolerance, atol=tolerance
        )
        exact = x[member].double() / (1 + (-beta * x[member].double()).exp())
        torch.testing.assert_close(
            found[member].double(), exact, rtol=2 * tolerance, atol=2 * tolerance
        )


@given(st.floats(1e-3, 100), st.floats(-50, 50))
@settings(max_examples=50, deadline=None)
def test_swish_scales_with_beta(beta: float, x: float) -> None:
    """x·σ(βx) = silu(βx)/β, never above relu, never below the minimum's share."""
    value = scalar(Swish(beta=beta), x)
    assert value == pytest.approx(scalar(Swish(), beta * x) / beta, rel=1e-12, abs=1e-300)
    assert -0.27847 / beta <= value <= max(x, 0.0)


# -- the documents' own numbers --------------------------------------------------------------------


def test_backpropagation_through_the_documents_neuron() -> None:
    """f = σ(w₀x₀ + w₁x₁ + w₂) with w = (2, −3, −3), x = (−1, −2)."""
    w = torch.tensor([2.0, -3.0, -3.0], dtype=torch.float64, requires_grad=True)
    x = torch.tensor([-1.0, -2.0], dtype=torch.float64, requires_grad=True)
    f = apply(Sigmoid(), (w[0] * x[0] + w[1] * x[1] + w[2]).view(1, 1, 1)).sum()
    dw, dx = torch.autograd.grad(f, (w, x))
    assert f.item() == pytest.approx(0.7311, abs=5e-5)
    assert dw.tolist() == pytest.approx([-0.1966, -0.3932, 0.1966], abs=5e-5)
    assert dx.tolist() == pytest.approx([0.3932, -0.5898], abs=5e-5)


# -- the others ------------------------------------------------------------------------------------


def test_the_ratio_of_polynomials_stays_within_its_bound() -> None:
    x = torch.linspace(-20, 20, 2_000_001, dtype=torch.float64).view(1, 1, -1)
    found = apply(RationalTanh(), x)
    assert float((found - x.tanh()).abs().max()) < 1e-4
    assert float(found.abs().max()) <= 1.0
    single = apply(RationalTanh(), x.float()).double()
    assert float((single - x.tanh()).abs().max()) < 1e-4


def test_a_steps_gradient_passes_straight_through() -> None:
    x = torch.tensor([[[-2.0, -0.4, 0.0, 0.3, 0.6]]], dtype=torch.float64, requires_grad=True)
    y = apply(Step(), x)
    assert y.tolist() == [[[0, 0, 0, 1, 1]]]
    (grads,) = torch.autograd.grad(y.sum(), x)
    assert grads.tolist() == [[[0, 1, 1, 1, 0]]]


def test_scaled_tanh_keeps_one_at_one() -> None:
    assert scalar(ScaledTanh(), 1.0) == pytest.approx(1.0, abs=1e-4)
    assert scalar(ScaledTanh(), -1.0) == pytest.approx(-1.0, abs=1e-4)


def test_the_noise_of_noisy_relu_has_the_sigmoid_for_its_variance() -> None:
    keys = streams.member_keys([0], streams.DROPOUT, "cpu")
    for at in (2.0, 5.0):  # far enough from 0 that hardly any draw is cut off at 5
        x = torch.full((1, 400, 250), at, dtype=torch.float64)
        y = NoisyRelu().forward(x, {}, {}, Context(training=True, members=keys))
        variance = torch.sigmoid(torch.tensor(at)).item()
        expected = torch.relu(at + variance**0.5 * torch.randn(10**6, dtype=torch.float64))
        assert float(y.mean()) == pytest.approx(float(expected.mean()), abs=0.02)
        assert float(y.var()) == pytest.approx(float(expected.var()), rel=0.02)
    again = NoisyRelu().forward(x, {}, {}, Context(training=True, members=keys))
    assert torch.equal(again, y)


def test_prelu_has_one_slope_or_one_a_channel() -> None:
    assert Prelu().declare((3, 4, 4)).slots[0].shape == (1, 1, 1)
    (slot,) = Prelu(shared=False, start=0.1).declare((3, 4, 4)).slots
    assert (slot.shape, slot.role, slot.fill) == ((3, 1, 1), "norm", 0.1)
    x = torch.randn(2, 5, 3, 4, 4, dtype=torch.float64)
    slopes = torch.randn(2, 3, 1, 1, dtype=torch.float64)
    found = Prelu(shared=False).forward(x, {"slope": slopes}, {}, EVALUATION)
    for member in range(2):
        expected = functional.prelu(x[member], slopes[member].flatten())
        torch.testing.assert_close(found[member], expected)


def test_prelu_has_its_slope_for_a_gradient_at_zero() -> None:
    x = torch.zeros(1, 1, 1, requires_grad=True)
    own = {"slope": torch.tensor([[0.25]], requires_grad=True)}
    found = torch.autograd.grad(Prelu().forward(x, own, {}, EVALUATION), (x, own["slope"]))
    y = functional.prelu(x, own["slope"][0])
    expected = torch.autograd.grad(y, (x, own["slope"]))
    assert [float(f) for f in found] == [float(e) for e in expected] == [0.25, 0.0]


def test_a_trainable_swish() -> None:
    (slot,) = Swish(trainable=True, beta=1.5).declare((6,)).slots
    assert (slot.shape, slot.role, slot.fill) == ((1,), "norm", 1.5)
    x = torch.randn(2, 5, 6, dtype=torch.float64)
    beta = torch.tensor([[0.5], [2.0]], dtype=torch.float64)
    found = Swish(trainable=True).forward(x, {"beta": beta}, {"beta": 1.0}, EVALUATION)
    torch.testing.assert_close(found[1], x[1] * torch.sigmoid(2.0 * x[1]))


def test_selu_keeps_mean_and_variance() -> None:
    draw = torch.Generator().manual_seed(3)
    x = torch.randn(1, 1000, 300, generator=draw, dtype=torch.float64)
    for _ in range(10):
        weight = torch.randn(1, 300, 300, generator=draw, dtype=torch.float64) / 300**0.5
        x = apply(Selu(), x @ weight)
    assert float(x.mean()) == pytest.approx(0.0, abs=0.15)
    assert float(x.var()) == pytest.approx(1.0, abs=0.25)


def test_the_documents_softmax() -> None:
    x = torch.tensor([[[5.0, 2.0, -1.0, 3.0]]], dtype=torch.float64)
    assert apply(Softmax(), x)[0, 0].tolist() == pytest.approx(
        [0.842, 0.042, 0.002, 0.114], abs=5e-4
    )
