"""Muon: orthogonal steps for weight matrices."""

from __future__ import annotations

import math
from typing import Literal

from nnexp.components.layout import Entry
from nnexp.components.optimizers.optimizer import Moment, Optimizer, State, subtract, weight_of
from nnexp.components.regularizers import decay
from nnexp.lazy import torch
from nnexp.registry import param

_QUINTIC = (3.4445, -4.775, 2.0315)
"""Jordan's coefficients: steepest at 0, and singular values end between about 0.7 and 1.2."""


class Muon(Optimizer):
    """Momentum whose step on each weight matrix is orthogonalized by Newton–Schulz iterations.

    Weight matrices of all layers but the output (convolutions as [channels, rest]) take such steps;
    biases, scales and the output layer take adamw's at the rate `adam_lr`, which the schedule
    multiplies, too.

    Formula: m ← μm + (1 − μ)g, u = (1 − μ)g + μm, θ ← (1 − ηλ)θ − η √max(1, out/in) · NS(u);
    NS: X ← aX + (bXXᵀ + c(XXᵀ)²)X, five times, from u/‖u‖

    Use: for wide hidden layers, where it often needs fewer updates than adamw; each costs more.

    Source: Jordan et al. (2024), "Muon: an optimizer for hidden layers in neural networks".
    """

    name: Literal["muon"] = "muon"
    momentum_field = "momentum"
    lr: float = param(
        0.02, "learning rate of the matrices", gt=0, le=1000, per_member=True, search="log",
        also=("learning_rate", "eta", "alpha"),
    )  # fmt: skip
    momentum: float = param(
        0.95, "share μ of the velocity that is kept", ge=0, lt=1, per_member=True, search="log1m"
    )
    weight_decay: float = param(
        0.0, "λ, on weights only", ge=0, le=1000, per_member=True, search="log"
    )
    iterations: int = param(5, "Newton–Schulz iterations", ge=1, le=50, also=("ns_steps",))
    adam_lr: float = param(
        1e-3, "adamw's rate, for all other parameters", gt=0, le=1000, per_member=True, search="log"
    )

    def init(self, params: torch.Tensor) -> State:
        return {name: torch.zeros_like(params) for name in ("velocity", "square")}

    def update(self, params: torch.Tensor, grads: torch.Tensor, state: State, now: Moment) -> None:
        others = torch.ones_like(now.weights)
        for entry in now.layout.entries:
            if _is_hidden_matrix(entry):
                others[entry.start : entry.stop] = 0.0
        share = weight_of(now.hyper["adam_lr"] / now.hyper["lr"], params)
        rates = 1.0 - others + others * share  # in units of `lr`
        decay(params, now.weights * rates, now.hyper["weight_decay"], now.lr)
        step = self._adam(grads, state, now.step, others) * share  # the matrices' follow below
        momentum = weight_of(now.hyper["momentum"], grads)
        for entry in now.layout.entries:
            if _is_hidden_matrix(entry):
                at = slice(entry.start, entry.stop)
                velocity = state["velocity"][:, at]
                velocity.mul_(momentum).add_(grads[:, at] * (1.0 - momentum))
                update = grads[:, at] * (1.0 - momentum) + velocity * momentum
                step[:, at] = self._orthogonal(update, entry)
        subtract(params, step, now.lr)

    @staticmethod
    def _adam(grads: torch.Tensor, state: State, number: int, others: torch.Tensor) -> torch.Tensor:
        """Adam's step at rate 1 with betas 0.9 and 0.999; the matrices' velocities stay."""
        mean, square = state["velocity"], state["square"]
        mean.lerp_(grads, 0.1 * others)
        square.mul_(0.999).addcmul_(grads, grads, value=0.001)
        root = (square / (1.0 - 0.999**number)).sqrt_().add_(1e-8)
        step: torch.Tensor = mean / root / (1.0 - 0.9**number)
        return step

    def _orthogonal(self, flat: torch.Tensor, entry: Entry) -> torch.Tensor:
        """`[M, size]` orthogonalized as matrices of `[outputs, inputs]`, and scaled."""
        shape = entry.slot.shape
        outputs = shape[0] if len(shape) > 2 else shape[1]
        matrix = flat.view(len(flat), shape[0], -1)
        inputs = math.prod(shape) // outputs
        scale = math.sqrt(max(1.0, outputs / inputs))
        return newton_schulz(matrix, self.iterations).mul_(scale).flatten(1)


def newton_schulz(matrix: torch.Tensor, iterations: int) -> torch.Tensor:
    """Each matrix of `[M, r, c]` with its singular values brought near 1 (all zeros stay zeros)."""
    tall = matrix.shape[1] > matrix.shape[2]
    x = matrix.mT if tall else matrix
    x = x / torch.linalg.matrix_norm(x, keepdim=True).clamp(min=1e-7)
    a, b, c = _QUINTIC
    for _ in range(iterations):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT.contiguous() if tall else x


def _is_hidden_matrix(entry: Entry) -> bool:
    slot = entry.slot
    return slot.role == "weight" and len(slot.shape) > 1 and "output" not in entry.aliases
