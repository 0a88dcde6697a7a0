"""Update rules: gradient descent and its velocities, and rules with a scale for each parameter."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from nnexp import streams
from nnexp.components.optimizers.optimizer import (
    Moment,
    Optimizer,
    State,
    add_square,
    fade,
    one_kernel,
    subtract,
    weight_of,
)
from nnexp.components.regularizers import decay
from nnexp.lazy import torch
from nnexp.registry import param


class _Descent(Optimizer):
    """What follows the gradient at its own scale, and so needs larger rates."""

    lr: float = param(
        1e-2, "learning rate", gt=0, le=1000, per_member=True, search="log",
        also=("learning_rate", "eta", "alpha"),
    )  # fmt: skip


class Sgd(_Descent):
    """Gradient descent: θ ← θ − ηg.

    Use: as the plainest rule to compare with; with a good rate and schedule often hard to beat.

    Source: Robbins & Monro (1951), "A stochastic approximation method".
    """

    name: Literal["sgd"] = "sgd"
    also = ("gd", "gradient_descent")

    def update(self, params: torch.Tensor, grads: torch.Tensor, state: State, now: Moment) -> None:
        subtract(params, grads, now.lr)


class _Velocity(_Descent):
    """What keeps a velocity."""

    momentum_field = "momentum"
    momentum: float = param(
        0.9, "share μ of the velocity that is kept", ge=0, lt=1, per_member=True, search="log1m"
    )

    def init(self, params: torch.Tensor) -> State:
        return {"velocity": torch.zeros_like(params)}


class Momentum(_Velocity):
    """Heavy ball: the velocity is a sum of past gradients, older ones fading.

    Three forms agree at a constant rate, `average` with η/(1 − μ) in place of η; when the rate
    changes, `velocity` keeps the steps that were taken, the others rescale them.

    Formula: torch: v ← μv + g, θ ← θ − ηv;
    velocity: v ← μv − ηg, θ ← θ + v;
    average: v ← μv + (1 − μ)g, θ ← θ − ηv

    Use: with convolutional networks and a schedule; the usual alternative to adam.

    Source: Polyak (1964); Sutskever, Martens, Dahl & Hinton (2013).
    """

    name: Literal["momentum"] = "momentum"
    also = ("heavy_ball", "sgd_momentum")
    form: Literal["torch", "velocity", "average"] = param(
        "torch", "where the rate and the share 1 − μ stand; see the formula"
    )
    start: Literal["zero", "gradient"] = param(
        "zero", "the velocity before the first update: 0, or (with `average`) the first gradient"
    )

    def update(self, params: torch.Tensor, grads: torch.Tensor, state: State, now: Moment) -> None:
        velocity, momentum = state["velocity"], now.hyper["momentum"]
        if self.form == "velocity":
            subtract(fade(velocity, momentum), grads, now.lr)
            params.add_(velocity)
            return
        if self.form == "average":
            if self.start == "gradient" and now.step == 1:
                velocity.copy_(grads)
            grads = grads.mul_(weight_of(1.0 - momentum, grads))
        subtract(params, fade(velocity, momentum).add_(grads), now.lr)


class Nesterov(_Velocity):
    """Nesterov's momentum: the gradient where the velocity leads.

    torch's form keeps the point ahead as its parameters: θ_torch = θ_lookahead − ημv.

    Formula: torch: v ← μv + g, θ ← θ − η(g + μv);
    lookahead: v ← μv − η·g(θ + μv), θ ← θ + v

    Use: in place of momentum; a little steadier at high μ.

    Source: Nesterov (1983); Sutskever, Martens, Dahl & Hinton (2013).
    """

    name: Literal["nesterov"] = "nesterov"
    also = ("nag",)
    form: Literal["torch", "lookahead"] = param(
        "torch", "what is kept as the parameters: the point ahead, or the one it is seen from"
    )

    def ahead(self, params: torch.Tensor, state: State, hyper: Mapping[str, Any]) -> Any:
        if self.form != "lookahead":
            return None
        velocity = state["velocity"]
        return params + velocity * weight_of(hyper["momentum"], velocity)

    def update(self, params: torch.Tensor, grads: torch.Tensor, state: State, now: Moment) -> None:
        momentum, velocity = now.hyper["momentum"], state["velocity"]
        if self.form == "lookahead":
            subtract(fade(velocity, momentum), grads, now.lr)
            params.add_(velocity)
            return
        fade(velocity, momentum).add_(grads)
        subtract(params, grads + velocity * weight_of(momentum, velocity), now.lr)


class ErrorAdaptive(_Descent):
    """Gradient descent whose rate follows the error: large while it is, smaller as it falls.

    The schedule and `layers` multiply the rate that the rule arrives at; it starts at `lr`.

    Formula: η ← η + αη(βÊ − η), θ ← θ − ηg; Ê the loss averaged over recent updates
    Use: for targets that change while they are learnt; the rate settles at β times the loss.

    Source: Sompolinsky, Barkai & Seung (1995), "On-line learning of dichotomies: algorithms and
    learning curves"; Murata, Müller, Ziehe & Amari (1997) for networks.
    """

    name: Literal["error_adaptive"] = "error_adaptive"
    also = ("sompolinsky",)
    gain: float = param(0.1, "α: how quickly the rate follows", gt=0, le=1, per_member=True)
    share: float = param(
        0.1, "β: the rate that a loss of 1 asks for", gt=0, le=1000, per_member=True, search="log"
    )
    memory: float = param(
        0.9, "share of the average loss that is kept", ge=0, lt=1, per_member=True, search="log1m"
    )
    max_lr: float = param(1.0, "the rate goes no higher", gt=0, le=1000, search="log")

    def init(self, params: torch.Tensor) -> State:
        alone = torch.zeros(len(params), 1, dtype=torch.float64, device=params.device)
        return {"rate": alone.clone(), "error": alone.clone(), "weight": alone}

    def update(self, params: torch.Tensor, grads: torch.Tensor, state: State, now: Moment) -> None:
        assert now.batch is not None
        hyper, rate = now.hyper, state["rate"]
        if now.step == 1:
            rate.copy_(rate + hyper["lr"])
        memory = hyper["memory"]
        state["error"].mul_(memory).add_((1.0 - memory) * now.batch.losses.double()[:, None])
        state["weight"].mul_(memory).add_(1.0 - memory)
        error = state["error"] / state["weight"]  # corrects the start from 0
        rate.add_(hyper["gain"] * rate * (hyper["share"] * error - rate))
        rate.clamp_(0.0, self.max_lr)
        subtract(params, grads, rate * (now.lr / hyper["lr"]))


class Evolution(_Descent):
    """Evolution of the weights: a population about θ, and a step towards those that do better.

    Each generation tries `population` sets of weights θ ± σε on the batch and ranks their losses;
    no gradient is computed. Penalties count as part of the loss.

    Formula: θ ← θ − η/(nσ) Σ u_i ε_i, u_i the rank of the loss at θ + σε_i, from −½ to ½
    Use: for small nets (some hundred weights) and functions without a useful gradient, such as
    `step` activations; gradients are far cheaper wherever there are any.

    Source: Wierstra et al. (2014), "Natural evolution strategies"; Salimans et al. (2017).
    """

    name: Literal["evolution"] = "evolution"
    also = ("es", "evolution_strategies", "neuroevolution", "genetic")
    uses_gradient = False
    population: int = param(
        32, "sets of weights that are tried an update, in mirrored pairs", ge=2, le=100_000,
        multiple_of=2,
    )  # fmt: skip
    sigma: float = param(
        0.05, "σ: how far from θ they are", gt=0, le=100, per_member=True, search="log"
    )

    def update(self, params: torch.Tensor, grads: torch.Tensor, state: State, now: Moment) -> None:
        assert now.batch is not None
        sigma, losses = now.hyper["sigma"], list[torch.Tensor]()
        for pair in range(self.population // 2):
            away = self._away(params, now, pair).mul_(weight_of(sigma, params))
            losses += [now.batch.evaluate(params + away), now.batch.evaluate(params - away)]
        values = torch.stack(losses, 1).double().nan_to_num(nan=torch.inf)  # [M, population]
        ranks = (
            values.argsort(dim=1, stable=True).argsort(dim=1).double() / (self.population - 1) - 0.5
        )
        direction = torch.zeros_like(params)
        for pair in range(self.population // 2):
            weight = ranks[:, 2 * pair] - ranks[:, 2 * pair + 1]
            direction.addcmul_(self._away(params, now, pair), weight[:, None].to(params.dtype))
        scale = 1.0 / (self.population * sigma)
        subtract(params, direction.mul_(weight_of(scale, params)), now.lr)

    @staticmethod
    def _away(params: torch.Tensor, now: Moment, pair: int) -> torch.Tensor:
        """A pair's ε, `[M, P]`: drawn again rather than kept, so that memory stays small."""
        assert now.batch is not None
        drawn = streams.normals(now.batch.keys, now.step, pair, 1, params.shape[1])
        return drawn[:, 0].to(params.dtype)


class Adagrad(_Descent):
    """Each parameter's rate falls with the sum of its squared gradients, the newest included.

    Formula: G ← G + g², θ ← θ − ηg / (√G + ε)
    Use: for sparse features, where rare ones keep large steps; its rate only ever falls.

    Source: Duchi, Hazan & Singer (2011), "Adaptive subgradient methods for online learning and
    stochastic optimization".
    """

    name: Literal["adagrad"] = "adagrad"
    eps: float = param(1e-10, "added outside the root", gt=0, le=1, also=("epsilon",))

    def init(self, params: torch.Tensor) -> State:
        return {"square": torch.zeros_like(params)}

    def update(self, params: torch.Tensor, grads: torch.Tensor, state: State, now: Moment) -> None:
        square = state["square"].addcmul_(grads, grads)
        subtract(params, grads.div_(square.sqrt().add_(self.eps)), now.lr)


class Adadelta(Optimizer):
    """Steps in the parameters' own units: the gradient times RMS of past steps over RMS of past g.

    Formula: E[g²] ← ρE[g²] + (1 − ρ)g², Δ = g·√(E[Δ²] + ε) / √(E[g²] + ε),
    E[Δ²] ← ρE[Δ²] + (1 − ρ)Δ², θ ← θ − ηΔ

    Use: where no rate is to be chosen (η = 1); adam is usually quicker.

    Source: Zeiler (2012), "ADADELTA: an adaptive learning rate method".
    """

    name: Literal["adadelta"] = "adadelta"
    lr: float = param(
        1.0, "learning rate", gt=0, le=1000, per_member=True, search="log",
        also=("learning_rate", "eta", "alpha"),
    )  # fmt: skip
    rho: float = param(
        0.9, "share of the running means that is kept", ge=0, lt=1, per_member=True,
        search="log1m", also=("decay",),
    )  # fmt: skip
    eps: float = param(1e-6, "added inside the roots", gt=0, le=1, also=("epsilon",))

    def init(self, params: torch.Tensor) -> State:
        return {"square": torch.zeros_like(params), "steps": torch.zeros_like(params)}

    def update(self, params: torch.Tensor, grads: torch.Tensor, state: State, now: Moment) -> None:
        rho, square, steps = now.hyper["rho"], state["square"], state["steps"]
        add_square(fade(square, rho), grads, 1.0 - rho)
        delta = grads.mul_(steps.add(self.eps).div_(square + self.eps).sqrt_())
        add_square(fade(steps, rho), delta, 1.0 - rho)
        subtract(params, delta, now.lr)


class Rmsprop(Optimizer):
    """Each parameter's step is divided by the running RMS of its gradient.

    Formula: E ← ρE + (1 − ρ)g², θ ← θ − ηg / (√E + ε)
    Use: with recurrent networks and noisy targets; adam adds momentum and a corrected start.

    Source: Hinton (2012), "Neural networks for machine learning", lecture 6e.
    """

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
        square = fade(state["square"], rho)
        add_square(square, grads, 1.0 - rho)
        denominator = square.sqrt().add_(self.eps)
        subtract(params, grads.div_(denominator), now.lr)


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
        if one_kernel(now.lr, beta1, beta2):
            step = torch.full((), float(now.step), device=params.device)
            torch._fused_adam_(  # one pass over memory where the formula below takes seven
                [params], [grads], [mean], [square], [], [step],
                lr=now.lr, beta1=beta1, beta2=beta2, weight_decay=0.0, eps=self.eps,
                amsgrad=False, maximize=False,
            )  # fmt: skip
            return
        mean.lerp_(grads, weight_of(1.0 - beta1, mean))
        fade(square, beta2)
        add_square(square, grads, 1.0 - beta2)
        root = square.div(1.0 - beta2**now.step).sqrt_().add_(self.eps)
        subtract(params, mean / root, now.lr / (1.0 - beta1**now.step))


class Adam(_Moments):
    """Adam with bias correction: a velocity, and a scale for each parameter.

    Formula: m ← β₁m + (1 − β₁)g, v ← β₂v + (1 − β₂)g², m̂ = m/(1 − β₁ᵗ), v̂ = v/(1 − β₂ᵗ),
    θ ← θ − η m̂ / (√v̂ + ε)

    Use: the default: works at the same rate for most networks.

    Source: Kingma & Ba (2015), "Adam: a method for stochastic optimization", algorithm 1.
    """

    name: Literal["adam"] = "adam"


class AdamW(_Moments):
    """Adam with decoupled weight decay: θ ← (1 − ηλ)θ first.

    Formula: adam's, after θ ← (1 − ηλ)θ on the weights
    Use: in place of adam with l2, whose pull adam scales away where gradients are large.

    Source: Loshchilov & Hutter (2019), "Decoupled weight decay regularization".
    """

    name: Literal["adamw"] = "adamw"
    weight_decay: float = param(
        0.01, "λ, on weights only", ge=0, le=1000, per_member=True, search="log"
    )

    def update(self, params: torch.Tensor, grads: torch.Tensor, state: State, now: Moment) -> None:
        decay(params, now.weights, now.hyper["weight_decay"], now.lr)
        super().update(params, grads, state, now)


class Lion(Optimizer):
    """The sign of a mean gradient: every parameter moves by η, whatever its gradient's size.

    Formula: c = β₁m + (1 − β₁)g, θ ← (1 − ηλ)θ − η·sign(c), m ← β₂m + (1 − β₂)g
    Use: as adamw with a third to a tenth of its rate and as much more decay; large batches.

    Source: Chen et al. (2023), "Symbolic discovery of optimization algorithms", algorithm 2.
    """

    name: Literal["lion"] = "lion"
    momentum_field = "beta1"
    lr: float = param(
        1e-4, "learning rate", gt=0, le=1000, per_member=True, search="log",
        also=("learning_rate", "eta", "alpha"),
    )  # fmt: skip
    beta1: float = param(
        0.9, "share of the mean in the direction", ge=0, lt=1, per_member=True, search="log1m"
    )
    beta2: float = param(
        0.99, "share of the mean that is kept", ge=0, lt=1, per_member=True, search="log1m"
    )
    weight_decay: float = param(
        0.0, "λ, on weights only", ge=0, le=1000, per_member=True, search="log"
    )

    def init(self, params: torch.Tensor) -> State:
        return {"mean": torch.zeros_like(params)}

    def update(self, params: torch.Tensor, grads: torch.Tensor, state: State, now: Moment) -> None:
        mean = state["mean"]
        decay(params, now.weights, now.hyper["weight_decay"], now.lr)
        direction = torch.lerp(mean, grads, weight_of(1.0 - now.hyper["beta1"], mean)).sign_()
        subtract(params, direction, now.lr)
        mean.lerp_(grads, weight_of(1.0 - now.hyper["beta2"], mean))
