"""Losses: what is minimized, summed over an example's outputs and averaged over examples.

A loss also says how many outputs a network needs and how outputs become a prediction.
"""

from __future__ import annotations

import math
from typing import ClassVar, Literal

from nnexp.lazy import functional, torch
from nnexp.registry import Spec, gives_both

Task = Literal["classification", "regression"]


class Loss(Spec, family="loss"):
    """A loss; outputs are `[M, B, K]`, its value an example `[M, B]`."""

    tasks: ClassVar[tuple[Task, ...]] = ("classification",)

    @classmethod
    def closed_form(cls) -> bool:
        """Whether it has a `gradient` that belongs to its `per_example`, for `Layer.pull`."""
        return gives_both(cls, "per_example", "gradient", Loss)

    def outputs(self, targets: int) -> int:
        """Network outputs for so many classes (classification) or target columns (regression).

        Raises ValueError with a sentence when the loss does not suit that many.
        """
        return targets

    def per_example(self, outputs: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """`[M, B]` from outputs `[M, B, K]` and targets `[M, B]` (class) or `[M, B, K]`."""
        raise AssertionError(f"{type(self).__name__} has no per_example")

    def gradient(
        self, outputs: torch.Tensor, target: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """`per_example`, and its derivative by the outputs, `[M, B, K]`."""
        raise AssertionError(f"{type(self).__name__} has no gradient")

    def decide(self, outputs: torch.Tensor) -> torch.Tensor:
        """The predicted class `[M, B]`, int64 (classification)."""
        return outputs.argmax(-1)

    def chance(self, targets: int) -> float | None:
        """Expected loss of outputs that are all 0, where it does not depend on the data."""
        return None


class CrossEntropy(Loss):
    """−log softmax(a)_y: minus the log of the probability given to the right class."""

    name: Literal["cross_entropy"] = "cross_entropy"
    also = ("softmax", "nll", "categorical_crossentropy")

    def per_example(self, outputs: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        # gather, since nll_loss has no deterministic form on CUDA
        return self._scores(outputs).gather(1, target[:, None]).squeeze(1).neg()

    def gradient(
        self, outputs: torch.Tensor, target: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        scores, right = self._scores(outputs), target[:, None]
        losses = scores.gather(1, right).squeeze(1).neg_()
        softmax = scores.exp_()
        softmax.scatter_add_(1, right, softmax.new_full((1, 1, 1), -1.0).expand(right.shape))
        return losses, softmax.transpose(1, 2)

    @staticmethod
    def _scores(outputs: torch.Tensor) -> torch.Tensor:
        """Log-probabilities, classes first: torch's softmax is slow over a short last dimension."""
        return torch.log_softmax(outputs.transpose(1, 2).contiguous(), 1)

    def chance(self, targets: int) -> float:
        return math.log(targets)


class BinaryCrossEntropy(Loss):
    """−y log σ(a) − (1 − y) log(1 − σ(a)) of one output for two classes."""

    name: Literal["binary_cross_entropy"] = "binary_cross_entropy"
    also = ("bce", "log_loss")

    def outputs(self, targets: int) -> int:
        if targets != 2:
            raise ValueError(f"binary_cross_entropy is for 2 classes; the data has {targets}")
        return 1

    def per_example(self, outputs: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        logit = outputs.squeeze(-1)
        return functional.binary_cross_entropy_with_logits(
            logit, target.to(logit.dtype), reduction="none"
        )

    def gradient(
        self, outputs: torch.Tensor, target: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        apart = torch.sigmoid(outputs) - target[..., None].to(outputs.dtype)
        return self.per_example(outputs, target), apart

    def decide(self, outputs: torch.Tensor) -> torch.Tensor:
        return (outputs.squeeze(-1) > 0).long()

    def chance(self, targets: int) -> float:
        return math.log(2.0)


class Mse(Loss):
    """½ Σ (y − q)² over the outputs (½·K times torch's MSELoss)."""

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


class Hinge(Loss):
    """Σ_{c≠y} max(0, a_c − a_y + 1): every wrong class should score 1 less than the right one."""

    name: Literal["hinge"] = "hinge"
    also = ("svm", "multi_margin")

    def per_example(self, outputs: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        right = outputs.gather(-1, target[..., None])
        # the right class itself contributes max(0, 0 + 1) = 1, a constant
        return torch.relu(outputs - right + 1.0).sum(-1) - 1.0

    def chance(self, targets: int) -> float:
        return targets - 1.0
