"""A loss, an activation and a schedule of one's own: `nnexp --plugin extras.py …`."""

from __future__ import annotations

from typing import Any, Literal

from nnexp.plugins import (
    Activation,
    Context,
    Hyper,
    Loss,
    Progress,
    Schedule,
    Tensors,
    functional,
    param,
    torch,
)


class Focal(Loss):
    """−(1 − p)^γ log p, p being the probability of the right class: easy examples count less.

    Use: where most examples are easy, and the few hard ones get lost among them.

    Source: Lin et al. (2017), "Focal loss for dense object detection".
    """

    name: Literal["focal"] = "focal"
    gamma: float = param(2.0, "γ: how much less; 0 is cross-entropy", ge=0, le=10)

    def per_example(self, outputs: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """`[M, B]` from outputs `[M, B, K]` and classes `[M, B]`: members, examples, classes."""
        scores = functional.log_softmax(outputs, dim=-1).gather(-1, target[..., None])[..., 0]
        return -((1.0 - scores.exp()) ** self.gamma) * scores

    def probabilities(self, outputs: torch.Tensor) -> torch.Tensor:
        """What metrics such as log_loss and roc_auc ask for."""
        return outputs.softmax(-1)


class SquaredRelu(Activation):
    """max(0, x)²: as relu, but smooth at 0.

    Source: So et al. (2021), "Primer: searching for efficient transformers".
    """

    name: Literal["squared_relu"] = "squared_relu"
    also = ("relu2",)

    def forward(self, x: torch.Tensor, own: Tensors, hyper: Hyper, ctx: Context) -> torch.Tensor:
        return torch.relu(x).square()


class PolynomialFloor(Schedule):
    """η₀·(floor + (1 − floor)·(1 − t/T)^power), T being all of training."""

    name: Literal["polynomial_floor"] = "polynomial_floor"
    uses_total = True  # so that a run is not trained longer: its course would have been another
    power: float = param(2.0, "exponent", gt=0, le=10)
    floor: float = param(0.05, "share of the rate that is left at the end", ge=0, le=1)

    def at(self, t: float, now: Progress, state: dict[str, Any]) -> float:
        left = 1.0 - now.step / now.total
        return float(self.floor + (1.0 - self.floor) * left**self.power)
