"""Losses: what is minimized, summed over an example's outputs and averaged over examples.

A loss also says how many outputs a network needs and how outputs become a prediction. With class
weights the mean is still over the examples, not over their weights (torch divides by the latter).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

import numpy as np
from pydantic import Field

from nnexp.components.layer import Context
from nnexp.components.windows import Windows
from nnexp.errors import nearest
from nnexp.lazy import functional, torch
from nnexp.registry import Spec, gives_both, param

Task = Literal["classification", "regression", "multilabel", "dense", "words"]


class Loss(Spec, family="loss"):
    """How wrong an output is, an example: what training minimizes."""

    # Outputs are `[M, B, K]`, its values `[M, B]`.

    tasks: ClassVar[tuple[Task, ...]] = ("classification", "dense")
    # A dense task has a class at every position; each is an example to the loss.
    class_weights: Literal["balanced"] | dict[str, Annotated[float, Field(ge=0, le=1e6)]] | None = (
        param(
            None,
            "class: weight of its examples' losses (others 1); `balanced`: one over its frequency",
        )
    )

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

    narrow_from: ClassVar[int | None] = None
    """From so many outputs on training takes `of_head`, which computes only those it needs."""

    def of_head(
        self,
        hidden: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        target: torch.Tensor,
    ) -> torch.Tensor:
        """`per_example` of the outputs hidden · weight + bias, `[M, B]`.

        hidden: `[M, B, H]`. weight: `[M, H, K]`. bias: `[M, 1, K]`. target: `[M, B]`.
        """
        raise AssertionError(f"{type(self).__name__} has no of_head")

    def of_windows(
        self, hidden: torch.Tensor, windows: Windows, table: torch.Tensor, ctx: Context
    ) -> torch.Tensor:
        """Of running text: the mean over each block's pairs, `[M, B]`.

        hidden: `[N, C, D]`, see `Windows`. table: the last layer's rows, `[M, K, D]`.
        """
        raise AssertionError(f"{type(self).__name__} has no of_windows")

    def gradient(
        self, outputs: torch.Tensor, target: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """`per_example`, and its derivative by the outputs, `[M, B, K]`."""
        raise AssertionError(f"{type(self).__name__} has no gradient")

    def with_paths(self, root: Path) -> Self:
        """The same with what its files say; `root`: what their names are relative to."""
        return self

    def knowing(self, classes: Sequence[str], counts: np.ndarray) -> Self:
        """The same for data with these classes, of each so many training examples, `[M, C]`."""
        return self

    def decide(self, outputs: torch.Tensor) -> torch.Tensor:
        """The predicted class `[M, B]`, int64 (classification)."""
        return outputs.argmax(-1)

    def scores(self, outputs: torch.Tensor) -> torch.Tensor:
        """What is highest for the predicted class, `[M, B, C]`; outputs that are so already."""
        return outputs

    def probabilities(self, outputs: torch.Tensor) -> torch.Tensor | None:
        """Of each class or label, `[M, B, C]` from outputs; None if the loss means none."""
        return None

    def weigh(self, classes: Sequence[str], counts: np.ndarray) -> np.ndarray:
        """Each class's weight, `[C]` float64, for so many training examples of each.

        ValueError with a sentence if `class_weights` names a class that is not there.
        """
        weights = self.class_weights
        if weights is None:
            return np.ones(len(classes))
        if weights == "balanced":
            present = counts > 0
            return np.where(present, counts.sum() / present.sum() / np.maximum(counts, 1), 0.0)
        assert not isinstance(weights, str)
        for name in weights:
            if name not in classes:
                close = nearest(name, classes)
                hint = f"; did you mean {close}?" if close else ""
                raise ValueError(f"class_weights: there is no class {name}{hint}")
        return np.array([weights.get(name, 1.0) for name in classes])

    def chance(self, targets: int) -> float | None:
        """Expected loss of outputs that are all 0, where it does not depend on the data."""
        return None


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
