"""Losses of several labels an example, each 0 or 1."""

from __future__ import annotations

import math
from typing import Literal

from nnexp.components.losses.loss import Loss
from nnexp.lazy import functional, torch


class MultilabelBce(Loss):
    """Σ_k −y_k log σ(a_k) − (1 − y_k) log(1 − σ(a_k)): each label by itself.

    Use: for labels of which an example may have several, or none; the default there.
    """

    name: Literal["multilabel_bce"] = "multilabel_bce"
    also = ("multilabel_cross_entropy", "bce_with_logits")
    tasks = ("multilabel",)

    def per_example(self, outputs: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return functional.binary_cross_entropy_with_logits(
            outputs, target.to(outputs.dtype), reduction="none"
        ).sum(-1)

    def gradient(
        self, outputs: torch.Tensor, target: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        apart = torch.sigmoid(outputs) - target.to(outputs.dtype)
        return self.per_example(outputs, target), apart

    def decide(self, outputs: torch.Tensor) -> torch.Tensor:
        """Which labels are predicted, `[M, B, K]`, int64 0 or 1."""
        return (outputs > 0).long()

    def probabilities(self, outputs: torch.Tensor) -> torch.Tensor:
        return torch.sigmoid(outputs)

    def chance(self, targets: int) -> float:
        return targets * math.log(2.0)


class MultilabelHinge(Loss):
    """Σ_k max(0, 1 − s_k a_k), s_k = 1 for a label that is there, else −1.

    Use: for several labels an example when only the decisions count.
    """

    name: Literal["multilabel_hinge"] = "multilabel_hinge"
    tasks = ("multilabel",)

    def per_example(self, outputs: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return torch.relu(1.0 - _signs(outputs, target) * outputs).sum(-1)

    def gradient(
        self, outputs: torch.Tensor, target: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        signs = _signs(outputs, target)
        short = torch.relu(1.0 - signs * outputs)
        return short.sum(-1), -signs * (short > 0)

    def decide(self, outputs: torch.Tensor) -> torch.Tensor:
        """Which labels are predicted, `[M, B, K]`, int64 0 or 1."""
        return (outputs > 0).long()

    def chance(self, targets: int) -> float:
        return float(targets)


def _signs(outputs: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    return target.to(outputs.dtype) * 2.0 - 1.0
