"""Penalties and decay of the weights (biases and the scales of norms only on request).

Parameters are `[M, P]`, one row a member; a `Scope` says where one acts, and how strongly.
A penalty's gradient is added to the loss's analytically; its value is reported apart.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field

from nnexp.components.layer import Hyper
from nnexp.components.layout import Scope
from nnexp.lazy import torch
from nnexp.registry import Spec, param


@dataclass(frozen=True)
class Sizes:
    """What a penalty may be divided by: examples in this batch and in the training split."""

    batch: int
    train: int


Strength = Annotated[float, Field(ge=0, le=1e6)]
PerExample = Literal["batch", "train"] | None
PER_EXAMPLE = "divide by the examples in the `batch`, or in the `train` split; null: by nothing"


class Regularizer(Spec, family="regularization"):
    """A pull on the weights. A bare number in the config is its `coefficient`."""

    shorthand = "coefficient"
    coefficient: float = param(
        ..., "strength", ge=0, le=1e6, per_member=True, search="log", also=("lambd", "lambda")
    )
    layers: dict[str, Strength] = param(
        {}, "layer: factor on the strength there (0: none); see `nnexp explain layers`"
    )
    biases: bool = param(False, "act on biases and the scales of norms, too")

    def penalty(self, params: torch.Tensor, scope: Scope, hyper: Hyper, sizes: Sizes) -> Any:
        """Its value a member, `[M]` float64 (0 where it is no penalty)."""
        return 0.0

    def add_gradient(
        self,
        grads: torch.Tensor,
        params: torch.Tensor,
        scope: Scope,
        hyper: Hyper,
        sizes: Sizes,
    ) -> None:
        """Add the penalty's gradient to `grads`, in place."""

    def before_update(self, params: torch.Tensor, scope: Scope, hyper: Hyper, lr: Any) -> None:
        """Change the parameters, in place, between gradient and update (at rate `lr`)."""

    def after_update(
        self, params: torch.Tensor, scope: Scope, hyper: Hyper, lr: Any, sizes: Sizes
    ) -> None:
        """Change the parameters, in place, after an update at rate `lr`."""


class L2(Regularizer):
    """½·C·Σw²: small weights.

    `per_example` divides C by the examples in the batch, or in the training split.

    Use: against overfitting, the first thing to try; with adam weight_decay does it better.

    Source: Krogh & Hertz (1992), "A simple weight decay can improve generalization".
    """

    name: Literal["l2"] = "l2"
    also = ("ridge", "lambd")
    per_example: PerExample = param(None, PER_EXAMPLE)

    def penalty(self, params: torch.Tensor, scope: Scope, hyper: Hyper, sizes: Sizes) -> Any:
        share = _share(hyper["coefficient"], self.per_example, sizes)
        return 0.5 * share * (params.double().square() * scope.factor).sum(1)

    def add_gradient(
        self,
        grads: torch.Tensor,
        params: torch.Tensor,
        scope: Scope,
        hyper: Hyper,
        sizes: Sizes,
    ) -> None:
        share = _share(hyper["coefficient"], self.per_example, sizes)
        _add(grads, params * scope.factor, share)


class L1(Regularizer):
    """½·C·Σ|w|: few weights.

    `proximal` soft-thresholds after each update by ½·η·C, which gives real zeros;
    `subgradient` adds ½·C·sign(w) to the gradient. `per_example` divides C as l2's does.

    Use: to find out which inputs matter: proximal sets the weights of the others to exactly 0.

    Source: Tibshirani (1996), "Regression shrinkage and selection via the lasso".
    """

    name: Literal["l1"] = "l1"
    also = ("lasso",)
    step: Literal["proximal", "subgradient"] | None = param(
        None, "how it acts", when="null: proximal for sgd and momentum, else subgradient"
    )
    per_example: PerExample = param(None, PER_EXAMPLE)

    def penalty(self, params: torch.Tensor, scope: Scope, hyper: Hyper, sizes: Sizes) -> Any:
        share = _share(hyper["coefficient"], self.per_example, sizes)
        return 0.5 * share * (params.double().abs() * scope.factor).sum(1)

    def add_gradient(
        self,
        grads: torch.Tensor,
        params: torch.Tensor,
        scope: Scope,
        hyper: Hyper,
        sizes: Sizes,
    ) -> None:
        if self.step == "subgradient":
            share = _share(hyper["coefficient"], self.per_example, sizes)
            _add(grads, params.sign().mul_(scope.factor), 0.5 * share)

    def after_update(
        self, params: torch.Tensor, scope: Scope, hyper: Hyper, lr: Any, sizes: Sizes
    ) -> None:
        if self.step == "proximal":
            share = _share(hyper["coefficient"], self.per_example, sizes)
            threshold = _column(0.5 * share) * lr * scope.factor
            params.copy_(params.sign() * (params.abs() - threshold).clamp_min_(0.0))


class WeightDecay(Regularizer):
    """θ ← (1 − ηλ)θ beside each update, decoupled from the gradient.

    For plain SGD the same as l2; where the optimizer rescales gradients it is not.

    Use: with momentum or rmsprop, as the decay that the update rule does not distort.

    Source: Loshchilov & Hutter (2019), "Decoupled weight decay regularization".
    """

    name: Literal["weight_decay"] = "weight_decay"
    also = ("decay", "wd")

    def before_update(self, params: torch.Tensor, scope: Scope, hyper: Hyper, lr: Any) -> None:
        decay(params, scope.factor, hyper["coefficient"], lr)


class MaxNorm(Regularizer):
    """‖w‖ ≤ C for the incoming weights of each unit, restored after every update.

    C is the `coefficient`; a layer's factor multiplies it (0: no bound there). Biases stand apart.

    Formula: w ← w · min(1, C / ‖w‖)
    Use: beside dropout, where it allows large learning rates; 3 or 4 is usual.

    Source: Srivastava et al. (2014), "Dropout: a simple way to prevent neural networks from
    overfitting", section 5.1.
    """

    name: Literal["max_norm"] = "max_norm"
    also = ("maxnorm", "max_norm_constraint")
    coefficient: float = param(
        ..., "largest norm of a unit's weights", gt=0, le=1e6, per_member=True, search="log"
    )
    biases: Literal[False] = param(False, "a unit's bias has no part in the norm")

    def after_update(
        self, params: torch.Tensor, scope: Scope, hyper: Hyper, lr: Any, sizes: Sizes
    ) -> None:
        for entry, weight in zip(scope.layout.entries, scope.layout.views(params), strict=True):
            if entry.slot.role != "weight":
                continue
            # units are the columns of a matrix, and come first in a kernel
            units = weight.movedim(2 if weight.ndim == 3 else 1, 1)
            flat = units.flatten(2) if units.ndim > 2 else units[..., None]
            bound = _column(hyper["coefficient"]) * scope.factor[entry.start]
            if isinstance(lr, torch.Tensor) and lr.shape[1] > 1:  # by layer, where 0 is frozen
                bound = bound * (lr[:, entry.start, None] > 0)
            norms = torch.linalg.vector_norm(flat, dim=2)
            shrink = torch.where((norms > bound) & (bound > 0), bound / norms, 1.0)
            units.mul_(shrink.to(params.dtype).view(*shrink.shape, *[1] * (units.ndim - 2)))


def sparsity(params: torch.Tensor, scope: Scope) -> tuple[torch.Tensor, torch.Tensor]:
    """Shares of the weights in scope that are exactly 0, and below 1e-3 in size, `[M]` each."""
    inside = scope.factor > 0
    sizes = params.abs()
    count = inside.sum().clamp_min(1)
    return (
        ((sizes == 0) & inside).sum(1).double() / count,
        ((sizes < 1e-3) & inside).sum(1).double() / count,
    )


def decay(params: torch.Tensor, factor: torch.Tensor, coefficient: Any, lr: Any) -> None:
    """θ ← (1 − ηλ·factor)θ in place; coefficient and lr are floats, `[M]` or `[M, 1 or P]`."""
    rate = _column(coefficient) * lr
    rate = rate.to(params.dtype) if isinstance(rate, torch.Tensor) else rate
    params.mul_(1.0 - rate * factor)


def _share(coefficient: Any, per_example: PerExample, sizes: Sizes) -> Any:
    return coefficient / {"batch": sizes.batch, "train": sizes.train, None: 1}[per_example]


def _add(grads: torch.Tensor, direction: torch.Tensor, share: Any) -> None:
    if isinstance(share, torch.Tensor):
        grads.addcmul_(direction, _column(share).to(grads.dtype))
    else:
        grads.add_(direction, alpha=share)


def _column(value: Any) -> Any:
    return value[:, None] if isinstance(value, torch.Tensor) and value.ndim == 1 else value
