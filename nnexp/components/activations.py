"""Activation functions: layers without weights that act on each unit."""

from __future__ import annotations

from typing import ClassVar, Literal, cast

from nnexp.components.inits import GlorotNormal, GlorotSigmoid, HeNormal, Initializer
from nnexp.components.layer import Context, Hyper, Layer, Seen, Tensors, per_member
from nnexp.lazy import functional, torch
from nnexp.registry import param


class Activation(Layer, family="activation"):
    """A function of each unit."""

    initialization: ClassVar[Initializer] = GlorotNormal()
    """How the layer before it starts when the config does not say."""


class Identity(Activation):
    """The unit itself: x."""

    name: Literal["identity"] = "identity"
    also = ("none",)

    def forward(self, x: torch.Tensor, own: Tensors, hyper: Hyper, ctx: Context) -> torch.Tensor:
        return x

    def pull(self, dy: torch.Tensor, seen: Seen, ctx: Context) -> torch.Tensor | None:
        return dy


class Relu(Activation):
    """Rectified linear unit: max(0, x), with gradient 0 at 0 (Nair & Hinton 2010)."""

    name: Literal["relu"] = "relu"
    initialization = HeNormal()

    def forward(self, x: torch.Tensor, own: Tensors, hyper: Hyper, ctx: Context) -> torch.Tensor:
        return torch.relu(x)

    def pull(self, dy: torch.Tensor, seen: Seen, ctx: Context) -> torch.Tensor | None:
        return cast("torch.Tensor", torch.ops.aten.threshold_backward(dy, seen.y, 0))


class Sigmoid(Activation):
    """Logistic function: 1 / (1 + e^(−x))."""

    name: Literal["sigmoid"] = "sigmoid"
    also = ("logistic",)
    initialization = GlorotSigmoid()

    def forward(self, x: torch.Tensor, own: Tensors, hyper: Hyper, ctx: Context) -> torch.Tensor:
        return torch.sigmoid(x)

    def pull(self, dy: torch.Tensor, seen: Seen, ctx: Context) -> torch.Tensor | None:
        return cast("torch.Tensor", torch.ops.aten.sigmoid_backward(dy, seen.y))


class Tanh(Activation):
    """Hyperbolic tangent: tanh(x)."""

    name: Literal["tanh"] = "tanh"

    def forward(self, x: torch.Tensor, own: Tensors, hyper: Hyper, ctx: Context) -> torch.Tensor:
        return torch.tanh(x)

    def pull(self, dy: torch.Tensor, seen: Seen, ctx: Context) -> torch.Tensor | None:
        return cast("torch.Tensor", torch.ops.aten.tanh_backward(dy, seen.y))


class Swish(Activation):
    """x·sigmoid(βx) (Ramachandran et al. 2017); with β = 1 its minimum is −0.2785 at −1.2785."""

    name: Literal["swish"] = "swish"
    also = ("silu",)
    initialization = HeNormal()
    beta: float = param(1.0, "slope inside the sigmoid", gt=0, le=100, per_member=True)

    def forward(self, x: torch.Tensor, own: Tensors, hyper: Hyper, ctx: Context) -> torch.Tensor:
        beta = hyper["beta"]
        if isinstance(beta, float) and beta == 1.0:
            return functional.silu(x)  # the same function, one kernel
        if isinstance(beta, torch.Tensor):
            beta = per_member(beta, x.ndim).to(x.dtype)
        return x * torch.sigmoid(x * beta)
