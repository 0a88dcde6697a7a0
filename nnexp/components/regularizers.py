"""Penalties and decay of the weights (biases and the scales of norms are left alone).

Parameters are `[M, P]`, one row a member; `weights` is 1 where a column is a weight, else 0.
A penalty's gradient is added to the loss's analytically; its value is reported apart.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from nnexp.components.layer import Hyper
from nnexp.lazy import torch
from nnexp.registry import Spec, param


@dataclass(frozen=True)
class Sizes:
    """What a penalty may be divided by: examples in this batch and in the training split."""

    batch: int
    train: int


class Regularizer(Spec, family="regularization"):
    """A pull on the weights. A bare number in the config is its `coefficient`."""

    shorthand = "coefficient"
    coefficient: float = param(
        ..., "strength", ge=0, le=1e6, per_member=True, search="log", also=("lambd", "lambda")
    )

    def penalty(
        self, params: torch.Tensor, weights: torch.Tensor, hyper: Hyper, sizes: Sizes
    ) -> Any:
        """Its value a member, `[M]` float64 (0 where it is no penalty)."""
        return 0.0

    def add_gradient(
        self,
        grads: torch.Tensor,
        params: torch.Tensor,
        weights: torch.Tensor,
        hyper: Hyper,
        sizes: Sizes,
    ) -> None:
        """Add the penalty's gradient to `grads`, in place."""

    def before_update(
        self, params: torch.Tensor, weights: torch.Tensor, hyper: Hyper, lr: Any
    ) -> None:
        """Change the parameters, in place, between gradient and update (at rate `lr`)."""

    def after_update(
        self, params: torch.Tensor, weights: torch.Tensor, hyper: Hyper, lr: Any
    ) -> None:
        """Change the parameters, in place, after an update at rate `lr`."""


class L2(Regularizer):
    """½·C·Σw²: small weights.

    `per_example` divides C by the examples in the batch, or in the training split.
    """

    name: Literal["l2"] = "l2"
    also = ("ridge", "lambd")
    per_example: Literal["batch", "train"] | None = param(
        None, "divide by the examples in the `batch`, or in the `train` split; null: by nothing"
    )

    def penalty(
        self, params: torch.Tensor, weights: torch.Tensor, hyper: Hyper, sizes: Sizes
    ) -> Any:
        return 0.5 * self._share(hyper, sizes) * (params * weights).double().square().sum(1)

    def add_gradient(
        self,
        grads: torch.Tensor,
        params: torch.Tensor,
        weights: torch.Tensor,
        hyper: Hyper,
        sizes: Sizes,
    ) -> None:
        _add(grads, params * weights, self._share(hyper, sizes))

    def _share(self, hyper: Hyper, sizes: Sizes) -> Any:
        divisor = {"batch": sizes.batch, "train": sizes.train, None: 1}[self.per_example]
        return hyper["coefficient"] / divisor


class L1(Regularizer):
    """½·C·Σ|w|: few weights.

    `proximal` soft-thresholds after each update by ½·η·C, which gives real zeros;
    `subgradient` adds ½·C·sign(w) to the gradient.
    """

    name: Literal["l1"] = "l1"
    also = ("lasso",)
    step: Literal["proximal", "subgradient"] | None = param(
        None, "how it acts", when="null: proximal for sgd and momentum, else subgradient"
    )

    def penalty(
        self, params: torch.Tensor, weights: torch.Tensor, hyper: Hyper, sizes: Sizes
    ) -> Any:
        return 0.5 * hyper["coefficient"] * (params * weights).double().abs().sum(1)

    def add_gradient(
        self,
        grads: torch.Tensor,
        params: torch.Tensor,
        weights: torch.Tensor,
        hyper: Hyper,
        sizes: Sizes,
    ) -> None:
        if self.step == "subgradient":
            _add(grads, params.sign().mul_(weights), 0.5 * hyper["coefficient"])

    def after_update(
        self, params: torch.Tensor, weights: torch.Tensor, hyper: Hyper, lr: Any
    ) -> None:
        if self.step == "proximal":
            threshold = _column(0.5 * hyper["coefficient"]) * lr * weights
            params.copy_(params.sign() * (params.abs() - threshold).clamp_min_(0.0))


class WeightDecay(Regularizer):
    """θ ← (1 − ηλ)θ beside each update, decoupled from the gradient (Loshchilov & Hutter 2019)."""

    name: Literal["weight_decay"] = "weight_decay"
    also = ("decay", "wd")

    def before_update(
        self, params: torch.Tensor, weights: torch.Tensor, hyper: Hyper, lr: Any
    ) -> None:
        decay(params, weights, hyper["coefficient"], lr)


def decay(params: torch.Tensor, weights: torch.Tensor, coefficient: Any, lr: Any) -> None:
    """θ ← (1 − ηλ)θ on the weights, in place; coefficient and lr are floats, `[M]` or `[M, 1]`."""
    params.mul_(1.0 - _column(coefficient) * lr * weights)


def _add(grads: torch.Tensor, direction: torch.Tensor, share: Any) -> None:
    if isinstance(share, torch.Tensor):
        grads.addcmul_(direction, _column(share).to(grads.dtype))
    else:
        grads.add_(direction, alpha=share)


def _column(value: Any) -> Any:
    return value[:, None] if isinstance(value, torch.Tensor) and value.ndim == 1 else value
