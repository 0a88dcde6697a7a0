"""Losses of one class an example."""

from __future__ import annotations

import math
from typing import Literal

from nnexp.components.layer import Context
from nnexp.components.losses.loss import Loss
from nnexp.components.windows import Windows
from nnexp.lazy import functional, torch
from nnexp.registry import param


class CrossEntropy(Loss):
    """−log softmax(a)_y: minus the log of the probability given to the right class.

    With label smoothing ε the right class should get 1 − ε + ε/C, and every other one ε/C.

    Formula: −(1 − ε) log p_y − ε/C Σ_c log p_c, p = softmax(a)
    Use: for classes of which an example has exactly one; smoothing where the network is too sure.

    Source: Szegedy et al. (2016), "Rethinking the Inception architecture for computer vision",
    section 7 (the smoothing).
    """

    name: Literal["cross_entropy"] = "cross_entropy"
    also = ("softmax", "nll", "categorical_crossentropy")
    tasks = ("classification", "dense", "words")
    label_smoothing: float = param(
        0.0, "ε: probability spread evenly over all classes", ge=0, lt=1, also=("smoothing",)
    )

    def per_example(self, outputs: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        scores = self._scores(outputs)
        # gather, since nll_loss has no deterministic form on CUDA
        return self._smoothed(scores.gather(1, target[:, None]).squeeze(1).neg(), scores)

    def _smoothed(self, losses: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        smoothing = self.label_smoothing
        return losses if smoothing == 0 else losses.lerp(scores.mean(1).neg(), smoothing)

    def gradient(
        self, outputs: torch.Tensor, target: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        scores, right = self._scores(outputs), target[:, None]
        losses = self._smoothed(scores.gather(1, right).squeeze(1).neg_(), scores)
        apart, smoothing = scores.exp_(), self.label_smoothing
        if smoothing:
            apart.sub_(smoothing / apart.shape[1])
        sure = apart.new_full((1, 1, 1), smoothing - 1.0)
        apart.scatter_add_(1, right, sure.expand(right.shape))
        return losses, apart.transpose(1, 2)

    def of_windows(
        self, hidden: torch.Tensor, windows: Windows, table: torch.Tensor, ctx: Context
    ) -> torch.Tensor:
        members, words = table.shape[:2]
        losses = []
        for member in range(members):  # each has a vocabulary of its own
            mine = torch.nonzero(windows.home // windows.blocks == member).squeeze(1)
            scores = torch.log_softmax(hidden[mine] @ table[member].T, -1)
            right = (windows.targets[mine] - member * words)[:, None].expand(
                -1, scores.shape[1], -1
            )
            losses.append(
                -(scores.gather(2, right) * windows.pairs[mine].to(scores.dtype)).sum((1, 2))
            )
        return windows.mean(torch.cat(losses))

    @staticmethod
    def _scores(outputs: torch.Tensor) -> torch.Tensor:
        """Log-probabilities, classes first: torch's softmax is slow over a short last dimension."""
        return torch.log_softmax(outputs.transpose(1, 2).contiguous(), 1)

    def probabilities(self, outputs: torch.Tensor) -> torch.Tensor:
        return self._scores(outputs).exp().transpose(1, 2)

    def chance(self, targets: int) -> float:
        return math.log(targets)


class BinaryCrossEntropy(Loss):
    """−y log σ(a) − (1 − y) log(1 − σ(a)) of one output for two classes.

    Use: for two classes; cross_entropy does the same with two outputs.
    """

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

    def probabilities(self, outputs: torch.Tensor) -> torch.Tensor:
        return torch.cat([torch.sigmoid(-outputs), torch.sigmoid(outputs)], -1)

    def chance(self, targets: int) -> float:
        return math.log(2.0)


class Hinge(Loss):
    """Σ_{c≠y} max(0, a_c − a_y + 1): every wrong class should score 1 less than the right one.

    Use: for classes when only the decision counts; there are no probabilities.

    Source: Weston & Watkins (1999), "Support vector machines for multi-class pattern recognition".
    """

    name: Literal["hinge"] = "hinge"
    also = ("svm", "multi_margin")

    def per_example(self, outputs: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        # the right class itself contributes max(0, 0 + 1) = 1, a constant
        return torch.relu(_excess(outputs, target)).sum(-1) - 1.0

    def gradient(
        self, outputs: torch.Tensor, target: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        excess = _excess(outputs, target)
        wrong = (excess > 0).to(excess.dtype)
        right = 1.0 - wrong.sum(-1, keepdim=True)
        return torch.relu(excess).sum(-1) - 1.0, wrong.scatter_(-1, target[..., None], right)

    def chance(self, targets: int) -> float:
        return targets - 1.0


class SquaredHinge(Loss):
    """Σ_{c≠y} max(0, a_c − a_y + 1)²: as hinge, but smooth, and harder on bad misses.

    Use: as hinge, where its kink slows training.

    Source: Weston & Watkins (1999), with the squared slack of Chang, Hsieh & Lin (2008).
    """

    name: Literal["squared_hinge"] = "squared_hinge"
    also = ("l2_svm",)

    def per_example(self, outputs: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return torch.relu(_excess(outputs, target)).square().sum(-1) - 1.0

    def gradient(
        self, outputs: torch.Tensor, target: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        over = torch.relu(_excess(outputs, target))
        losses, slope = over.square().sum(-1) - 1.0, 2.0 * over
        right = 2.0 - slope.sum(-1, keepdim=True)
        return losses, slope.scatter_(-1, target[..., None], right)

    def chance(self, targets: int) -> float:
        return targets - 1.0


def _excess(outputs: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """a_c − a_y + 1; of the right class it is 1."""
    return outputs - outputs.gather(-1, target[..., None]) + 1.0
