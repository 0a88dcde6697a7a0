"""Every activation against torch's function, its gradient against two-sided differences."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nnexp.components.activations import Activation, Relu, Sigmoid, Swish, Tanh
from nnexp.components.inits import GlorotNormal, GlorotSigmoid, HeNormal
from nnexp.components.layer import Context
from nnexp.registry import stack

REFERENCES: dict[str, Callable[[], torch.nn.Module]] = {
    "identity": torch.nn.Identity,
    "relu": torch.nn.ReLU,
    "sigmoid": torch.nn.Sigmoid,
    "tanh": torch.nn.Tanh,
    "swish": torch.nn.SiLU,
}
"""torch's module."""

STARTS = {
    "identity": GlorotNormal(),
    "relu": HeNormal(),
    "sigmoid": GlorotSigmoid(),
    "tanh": GlorotNormal(),
    "swish": HeNormal(),
}
"""How the layer before starts: He for ReLU-like, Glorot for tanh, glorot_sigmoid for sigmoid."""

EVALUATION = Context(training=False)

Every = pytest.mark.parametrize(
    "spec", [cls() for cls in Activation.registered.values()], ids=Activation.registered
)


def apply(spec: Any, x: torch.Tensor, **hyper: Any) -> torch.Tensor:
    return spec.forward(x, {}, {**stack([spec]), **hyper}, EVALUATION)


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


@Every
def test_gradients_are_two_sided_differences(spec: Any) -> None:
    x = torch.linspace(-6.03, 6.03, 200, dtype=torch.float64).view(1, 1, -1)  # not 0, a kink
    leaf, eps = x.clone().requires_grad_(), 1e-5
    (found,) = torch.autograd.grad(apply(spec, leaf).sum(), leaf)
    expected = (apply(spec, x + eps) - apply(spec, x - eps)) / (2 * eps)
    torch.testing.assert_close(found, expected, rtol=1e-7, atol=1e-10)


@Every
def test_the_shape_stays_and_nothing_is_declared(spec: Any) -> None:
    for shape in ((7,), (3, 4, 5)):
        assert spec.declare(shape).output == shape
        assert spec.declare(shape).slots == ()


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
