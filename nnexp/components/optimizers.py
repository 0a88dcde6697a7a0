"""Update rules, as functions on stacked parameters.

Parameters, gradients and every state tensor are `[M, P]`: one row a member, one column a
parameter. An update works in place and elementwise, so each member may have its own rates.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from nnexp.components.regularizers import decay
from nnexp.lazy import torch
from nnexp.registry import Spec, param

State = dict[str, "torch.Tensor"]


@dataclass(frozen=True)
class Moment:
    """What an update knows besides parameters, gradients and state.

    step: number of this update, from 1.
    lr: learning rate after the schedule, a float or `[M, 1]`.
    hyper: the other per-member fields, each a float or `[M, 1]`.
    weights: `[P]`, 1 where the column is a weight (not a bias or a norm's), else 0.
    """

    step: int
    lr: Any
    hyper: Mapping[str, Any]
    weights: torch.Tensor


class Optimizer(Spec, family="optimizer"):
    """An update rule. `lr` is the rate that the schedule multiplies."""

    default = "adam"
    momentum_field: ClassVar[str | None] = None
    """The field that a schedule's momentum cycle sets."""

    lr: float = param(
        1e-3,
        "learning rate",
        gt=0,
        le=1000,
        per_member=True,
        search="log",
        also=("learning_rate", "eta", "alpha"),
    )

    def init(self, params: torch.Tensor) -> State:
        """The state before the first update."""
        return {}

    def update(self, params: torch.Tensor, grads: torch.Tensor, state: State, now: Moment) -> None:
        """One update of `params` and `state`, in place; `grads` may be overwritten."""
        raise AssertionError(f"{type(self).__name__} has no update")


class _Descent(Optimizer):
    """What follows the gradient at its own scale, and so needs larger rates."""

    lr: float = param(
        1e-2, "learning rate", gt=0, le=1000, per_member=True, search="log",
        also=("learning_rate", "eta", "alpha"),
    )  # fmt: skip


class Sgd(_Descent):
    """Gradient descent: θ ← θ − ηg."""

    name: Literal["sgd"] = "sgd"
    also = ("gd", "gradient_descent")

    def update(self, params: torch.Tensor, grads: torch.Tensor, state: State, now: Moment) -> None:
        _subtract(params, grads, now.lr)


class _Velocity(_Descent):
    """What keeps a velocity."""

    momentum_field = "momentum"
    momentum: float = param(
        0.9, "share μ of the velocity that is kept", ge=0, lt=1, per_member=True, search="log1m"
    )

    def init(self, params: torch.Tensor) -> State:
        return {"velocity": torch.zeros_like(params)}


class Momentum(_Velocity):
    """Heavy ball as torch has it: v ← μv + g, θ ← θ − ηv (Polyak 1964; Sutskever et al. 2013)."""

    name: Literal["momentum"] = "momentum"
    also = ("heavy_ball", "sgd_momentum")

    def update(self, params: torch.Tensor, grads: torch.Tensor, state: State, now: Moment) -> None:
        velocity = state["velocity"].mul_(now.hyper["momentum"]).add_(grads)
        _subtract(params, velocity, now.lr)


class Nesterov(_Velocity):
    """Nesterov's momentum as torch has it: v ← μv + g, θ ← θ − η(g + μv)."""

    name: Literal["nesterov"] = "nesterov"
    also = ("nag",)

    def update(self, params: torch.Tensor, grads: torch.Tensor, state: State, now: Moment) -> None:
        momentum = now.hyper["momentum"]
        velocity = state["velocity"].mul_(momentum).add_(grads)
        _subtract(params, grads + velocity * momentum, now.lr)


class Rmsprop(Optimizer):
    """θ ← θ − ηg / (√E[g²] + ε), E a running mean (Hinton 2012, lecture 6e)."""

    name: Literal["rmsprop"] = "rmsprop"
    decay: float = param(
        0.9, "share of the running mean that is kept", ge=0, lt=1, per_member=True, search="log1m",
        also=("rho", "alpha"),
    )  # fmt: skip
    eps: float = param(1e-8, "added outside the root", gt=0, le=1, also=("epsilon",))

    def init(self, params: torch.Tensor) -> State:
        return {"square": torch.zeros_like(params)}

    def update(self, params: torch.Tensor, grads: torch.Tensor, state: State, now: Moment) -> None:
        rho = now.hyper["decay"]
        square = state["square"].mul_(rho)
        _add_square(square, grads, 1.0 - rho)
        denominator = square.sqrt().add_(self.eps)
        _subtract(params, grads.div_(denominator), now.lr)


class _Moments(Optimizer):
    """Adam's rule, which adamw shares."""

    momentum_field = "beta1"
    beta1: float = param(
        0.9, "share of the mean gradient that is kept", ge=0, lt=1, per_member=True, search="log1m"
    )
    beta2: float = param(
        0.999, "share of the mean square that is kept", ge=0, lt=1, per_member=True, search="log1m"
    )
    eps: float = param(1e-8, "added outside the root", gt=0, le=1, also=("epsilon",))

    def init(self, params: torch.Tensor) -> State:
        return {"mean": torch.zeros_like(params), "square": torch.zeros_like(params)}

    def update(self, params: torch.Tensor, grads: torch.Tensor, state: State, now: Moment) -> None:
        beta1, beta2 = now.hyper["beta1"], now.hyper["beta2"]
        mean, square = state["mean"], state["square"]
        if _one_kernel(now.lr, beta1, beta2):
            step = torch.full((), float(now.step), device=params.device)
            torch._fused_adam_(  # one pass over memory where the formula below takes seven
                [params], [grads], [mean], [square], [], [step],
                lr=now.lr, beta1=beta1, beta2=beta2, weight_decay=0.0, eps=self.eps,
                amsgrad=False, maximize=False,
            )  # fmt: skip
            return
        mean.lerp_(grads, _weight(1.0 - beta1, mean))
        square.mul_(beta2)
        _add_square(square, grads, 1.0 - beta2)
        root = square.div(1.0 - beta2**now.step).sqrt_().add_(self.eps)
        _subtract(params, mean / root, now.lr / (1.0 - beta1**now.step))


class Adam(_Moments):
    """Adam with bias correction (Kingma & Ba 2015, algorithm 1): θ ← θ − η m̂ / (√v̂ + ε)."""

    name: Literal["adam"] = "adam"


class AdamW(_Moments):
    """Adam with decoupled weight decay: θ ← (1 − ηλ)θ first (Loshchilov & Hutter 2019)."""

    name: Literal["adamw"] = "adamw"
    weight_decay: float = param(
        0.01, "λ, on weights only", ge=0, le=1000, per_member=True, search="log"
    )

    def update(self, params: torch.Tensor, grads: torch.Tensor, state: State, now: Moment) -> None:
        decay(params, now.weights, now.hyper["weight_decay"], now.lr)
        super().update(params, grads, state, now)


def _one_kernel(*values: Any) -> bool:
    return all(isinstance(v, float) for v in values) and hasattr(torch, "_fused_adam_")


def _subtract(params: torch.Tensor, direction: torch.Tensor, lr: Any) -> None:
    """θ ← θ − lr·direction, with lr a float or `[M, 1]`."""
    if isinstance(lr, torch.Tensor):
        params.addcmul_(direction, lr.to(params.dtype), value=-1.0)
    else:
        params.add_(direction, alpha=-lr)


def _add_square(square: torch.Tensor, grads: torch.Tensor, share: Any) -> None:
    """square ← square + share·g², with share a float or `[M, 1]`."""
    if isinstance(share, torch.Tensor):
        square.addcmul_(grads * grads, share.to(grads.dtype))
    else:
        square.addcmul_(grads, grads, value=share)


def _weight(value: Any, like: torch.Tensor) -> Any:
    return value.to(like.dtype) if isinstance(value, torch.Tensor) else value
