"""Losses of numbers: summed over the outputs, in the units of the scaled target."""

from __future__ import annotations

from typing import Literal

from nnexp.components.losses.loss import Loss
from nnexp.lazy import functional, torch
from nnexp.registry import param


class Mse(Loss):
    """½ Σ (y − q)² over the outputs (½·K times torch's MSELoss).

    Use: for numbers whose errors have no long tails; it aims at their mean.
    """

    name: Literal["mse"] = "mse"
    also = ("squared_error", "mean_squared_error")
    tasks = ("regression",)

    def per_example(self, outputs: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return (outputs - target).square().sum(-1).mul(0.5)

    def gradient(
        self, outputs: torch.Tensor, target: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        apart = outputs - target
        return apart.square().sum(-1).mul_(0.5), apart


class L1Loss(Loss):
    """Σ |y − q| over the outputs, with gradient 0 where they are equal.

    Use: for numbers with outliers; it aims at their median.
    """

    name: Literal["l1"] = "l1"
    also = ("mae", "absolute_error", "mean_absolute_error")
    tasks = ("regression",)

    def per_example(self, outputs: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return (outputs - target).abs().sum(-1)

    def gradient(
        self, outputs: torch.Tensor, target: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        apart = outputs - target
        return apart.abs().sum(-1), apart.sign_()


class Huber(Loss):
    """Quadratic for errors up to δ, linear beyond.

    Formula: Σ h(y − q), h(d) = ½d² where |d| ≤ δ, else δ(|d| − ½δ)
    Use: for numbers of which a few are far off; δ is in units of the scaled target.

    Source: Huber (1964), "Robust estimation of a location parameter".
    """

    name: Literal["huber"] = "huber"
    also = ("smooth_l1",)
    tasks = ("regression",)
    delta: float = param(1.0, "error from which on it grows linearly", gt=0, le=1e6, search="log")

    def per_example(self, outputs: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return functional.huber_loss(outputs, target, reduction="none", delta=self.delta).sum(-1)

    def gradient(
        self, outputs: torch.Tensor, target: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        slope = (outputs - target).clamp_(-self.delta, self.delta)
        return self.per_example(outputs, target), slope


class L2Distance(Loss):
    """‖y − q‖: the distance in the target's space, with gradient 0 where it is 0.

    Use: where several numbers are one point, such as a position, and some are far off.
    """

    name: Literal["l2_distance"] = "l2_distance"
    also = ("euclidean",)
    tasks = ("regression",)

    def per_example(self, outputs: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        apart = outputs - target
        # the largest error is taken out first, so that no square overflows
        largest = apart.detach().abs().amax(-1, keepdim=True).clamp_min(_TINY)
        distance: torch.Tensor = torch.linalg.vector_norm(apart / largest, dim=-1)
        return distance * largest.squeeze(-1)

    def gradient(
        self, outputs: torch.Tensor, target: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        distance = self.per_example(outputs, target)
        return distance, (outputs - target) / distance[..., None].clamp_min(_TINY)


_TINY = 1e-37
"""What a length is taken to be at least before it divides; a normal number in float32."""
