"""Rules that know how the slope changes: L-BFGS, and Gauss–Newton steps for small networks.

Both judge a step by what the loss is after it, so the loss must be the same from step to step:
`nnexp.config.second_order` refuses what changes it. Sums over parameters are taken in float64.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from nnexp.components.optimizers.line_search import AT, SLOPE, VALUE, Wolfe, search
from nnexp.components.optimizers.optimizer import Moment, Optimizer, State
from nnexp.lazy import torch
from nnexp.registry import param


class Lbfgs(Optimizer):
    """Quasi-Newton steps from the last gradients, each as long as a line search finds best.

    The line search ends at a step that satisfies the strong Wolfe conditions; each member has its
    own, and waits for the others. `lr` is the step that is tried first. It needs the whole training
    split (`batch_size: full`) and a loss without noise.

    Formula: θ ← θ + td, d = −Hg, H from the last `history` pairs s = Δθ, y = Δg by the two-loop
    recursion, from H₀ = sᵀy/yᵀy; t with f(θ + td) ≤ f + c₁t gᵀd and |g(θ + td)ᵀd| ≤ c₂|gᵀd|

    Use: for small data sets, where it takes far fewer updates than gradient descent and needs no
    rate; not where mini-batches would do, or with dropout.

    Source: Nocedal & Wright (2006), "Numerical optimization", algorithms 7.4, 7.5, 3.5 and 3.6.
    """

    name: Literal["lbfgs"] = "lbfgs"
    also = ("l_bfgs", "bfgs", "quasi_newton")
    judges = True
    full_batch = True
    lr: float = param(
        1.0, "step that the line search tries first", gt=0, le=1000, per_member=True, search="log",
        also=("learning_rate", "eta", "alpha"),
    )  # fmt: skip
    history: int = param(
        10, "pairs of steps and gradients that are kept", ge=1, le=1000, also=("m", "history_size")
    )
    iterations: int = param(
        1, "steps, each with its line search, an update", ge=1, le=10_000, also=("max_iter",)
    )
    evaluations: int = param(
        25, "most points that a line search tries", ge=2, le=1000, also=("max_eval", "max_ls")
    )
    c1: float = param(1e-4, "share of the predicted decrease that is demanded", gt=0, lt=0.1)
    c2: float = param(0.9, "share of the slope that may be left", ge=0.1, lt=1)

    def init(self, params: torch.Tensor) -> State:
        pairs = params.new_zeros(len(params), self.history, params.shape[1])
        return {"steps": pairs, "changes": pairs.clone()}

    def update(self, params: torch.Tensor, grads: torch.Tensor, state: State, now: Moment) -> None:
        batch = now.batch
        assert batch is not None
        assert batch.slope is not None
        moves, first = _moves(now, params)
        value, grads = batch.evaluate(params).double()[:, None], grads * moves
        for _ in range(self.iterations):
            value, grads = self._iterate(params, grads, state, value, first, moves, batch.slope)

    def _iterate(
        self,
        params: torch.Tensor,
        grads: torch.Tensor,
        state: State,
        value: torch.Tensor,
        first: torch.Tensor,
        moves: torch.Tensor,
        slope_at: Any,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """One step of every member; the values `[M, 1]` and gradients after it."""
        steps, changes = state["steps"], state["changes"]
        direction, known = two_loops(grads, steps, changes)
        slope = dot(grads, direction)
        rounding = torch.finfo(params.dtype).eps
        # Where even the predicted decrease is below the rounding of the loss, a member has arrived.
        slope = torch.where(slope.abs() > rounding * value.abs(), slope, 0.0 * slope)
        shrunk = (1.0 / grads.abs().sum(1, keepdim=True, dtype=torch.float64)).clamp(max=1.0)
        first = torch.where(known, first, first * shrunk)  # a gradient's size is no step's size
        here = params.clone()

        def along(at: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            found, gradient = slope_at(here + direction * at.to(here.dtype))
            gradient = gradient * moves
            found = found.double()[:, None]
            return torch.cat([at, found, dot(gradient, direction)], 1), gradient

        start = torch.cat([torch.zeros_like(value), value, slope], 1)
        rule = Wolfe(self.c1, self.c2, self.evaluations, rounding)
        end, new = search(along, start, grads, first, rule)
        moved = end[:, AT] > 0
        step = direction * end[:, AT].to(params.dtype)
        params.copy_(torch.where(moved, params + step, params))
        params.masked_fill_(~(slope + value).isfinite(), torch.nan)  # so that it shows
        remember(state, step, new - grads, moved, forget=~moved & (start[:, SLOPE] < 0))
        return end[:, VALUE], new


def two_loops(
    grads: torch.Tensor, steps: torch.Tensor, changes: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The direction −Hg `[M, P]`, and whether a member knows of any step, `[M, 1]`.

    steps, changes: `[M, history, P]`, the newest first; zeros where there is none yet.
    """
    products = (steps * changes).sum(2, dtype=torch.float64)
    inverse = torch.where(products > 0, 1.0 / products, 0.0)
    known = products[:, :1] > 0
    rest, shares = grads.neg(), list[torch.Tensor]()
    for i in range(steps.shape[1]):
        shares.append(inverse[:, i, None] * dot(steps[:, i], rest))
        rest = rest - changes[:, i] * shares[i].to(rest.dtype)
    scale = torch.where(known, products[:, :1] / dot(changes[:, 0], changes[:, 0]), 1.0)
    rest = rest * scale.to(rest.dtype)
    for i in reversed(range(steps.shape[1])):
        back = inverse[:, i, None] * dot(changes[:, i], rest)
        rest = rest + steps[:, i] * (shares[i] - back).to(rest.dtype)
    # rounding may have spoilt the history: then, as at the start, straight down
    falls = known & (dot(grads, rest) < 0)
    return torch.where(falls, rest, -grads), falls


def remember(
    state: State,
    step: torch.Tensor,
    change: torch.Tensor,
    moved: torch.Tensor,
    forget: torch.Tensor,
) -> None:
    """Put a pair before the others where a member has moved and its slope has risen; in place.

    forget: whose history goes, `[M, 1]`, because no step along its direction was any good.
    """
    rounding = torch.finfo(step.dtype).eps
    size = (dot(step, step) * dot(change, change)).sqrt()
    good = moved & (dot(step, change) > rounding * size)
    for name, new in (("steps", step), ("changes", change)):
        pairs = state[name]
        pushed = torch.cat([new[:, None], pairs[:, :-1]], 1)
        pairs.copy_(torch.where(good[..., None], pushed, pairs))
        pairs.masked_fill_(forget[..., None], 0.0)


class GaussNewton(Optimizer):
    """Newton steps with the Gauss–Newton matrix, damped as much as proves necessary.

    Each member has its own damping λ: smaller after a step that lowered the loss as the quadratic
    model predicted, larger after one that did not, which is taken back and tried again. The matrix
    is formed whole, so a network may have at most 5,000 parameters. Mini-batches work, too.

    Formula: θ ← θ − η(H + λI)⁻¹g, H = mean of JᵀLJ, J the outputs' derivative by the parameters, L
    the loss's second derivative by the outputs; λ ← λ·max(⅓, 1 − (2ρ − 1)³) after a step with gain
    ratio ρ > 0, else λ·2, ·4, ·8 …

    Use: for nets of some hundred weights, above all in regression to high precision; every update
    costs a system of as many equations as there are parameters.

    Source: Levenberg (1944); Marquardt (1963); Schraudolph (2002), "Fast curvature matrix-vector
    products" (the matrix for any loss); Nielsen (1999), "Damping parameter in Marquardt's method".
    """

    name: Literal["gauss_newton"] = "gauss_newton"
    also = ("levenberg_marquardt", "lm", "newton", "marquardt")
    judges = True
    curved = (
        *("mse", "huber", "cross_entropy", "binary_cross_entropy"),
        *("multilabel_bce", "squared_hinge"),
    )
    most_parameters = 5_000
    lr: float = param(
        1.0, "share η of the step that is taken", gt=0, le=1, per_member=True, search="log",
        also=("learning_rate", "eta", "alpha"),
    )  # fmt: skip
    damping: float = param(
        1e-3, "λ before the first update; 0: plain Gauss–Newton steps until one fails",
        ge=0, le=1e9, per_member=True, search="log", also=("lambda", "mu", "lambd"),
    )  # fmt: skip
    tries: int = param(
        10, "most values of λ that an update tries; then it stays where it was", ge=1, le=50
    )

    def init(self, params: torch.Tensor) -> State:
        return {"damping": torch.zeros(len(params), 1, dtype=torch.float64, device=params.device)}

    def update(self, params: torch.Tensor, grads: torch.Tensor, state: State, now: Moment) -> None:
        batch, damping = now.batch, state["damping"]
        assert batch is not None
        assert batch.curvature is not None
        evaluate = batch.evaluate
        if now.step == 1:
            damping.copy_(damping + now.hyper["damping"])
        moves, rate = _moves(now, params)
        moves = moves.expand_as(params).double()
        value, slope = evaluate(params).double()[:, None], grads * moves
        step, together = torch.zeros_like(slope), max(1, _ENTRIES // params.shape[1] ** 2)
        for first in range(0, len(params), together):
            some = slice(first, first + together)
            still = moves[some]
            matrix = batch.curvature(some) * still[:, :, None] * still[:, None, :]

            def after(tried: torch.Tensor, some: slice = some) -> torch.Tensor:
                at = params.clone()
                at[some] += tried.to(at.dtype)
                return evaluate(at).double()[some, None]

            rounding = torch.finfo(params.dtype).eps * value[some].abs()
            model = Model(value[some], slope[some], matrix, rate[some], rounding)
            step[some], damping[some] = self._damped(model, damping[some], after)
        broken = ~slope.isfinite().all(1, keepdim=True)
        params.add_(step.to(params.dtype)).masked_fill_(broken, torch.nan)  # so that it shows

    def _damped(
        self, model: Model, damping: torch.Tensor, after: Callable[[torch.Tensor], torch.Tensor]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Members' steps `[M, P]`, 0 where none lowers the objective, and their next dampings.

        after: the objectives `[M, 1]` after steps.
        """
        least = (1e-8 * model.matrix.diagonal(dim1=1, dim2=2).mean(1, keepdim=True)).clamp_min(1e-9)
        found, growth = torch.zeros_like(model.slope), 2.0
        done = ~model.slope.isfinite().all(1, keepdim=True)
        for _ in range(self.tries):
            if done.all():
                break
            tried, solved = model.step(damping)
            predicted = model.decrease(tried)
            ratio = (model.value - after(tried)) / predicted
            # a decrease below the loss's rounding can't be judged, and need not be
            settled = solved & (predicted <= model.rounding)
            good = solved & ~settled & (ratio > 0)
            shrink = (1.0 - (2.0 * ratio - 1.0) ** 3).clamp(min=1 / 3)
            grown = torch.maximum(damping * growth, least)
            new = torch.where(good, damping * shrink, torch.where(settled, damping, grown))
            found = torch.where(~done & (good | settled), tried, found)
            damping = torch.where(done, damping, new.clamp(max=1e15))
            done, growth = done | good | settled, 2.0 * growth
        return found, damping


@dataclass(frozen=True)
class Model:
    """The quadratic models of some members' objectives, in float64.

    value: `[M, 1]`. slope: `[M, P]`. matrix: `[M, P, P]`. rate: the share of a step that is taken.
    rounding: what of the values can't be relied on, `[M, 1]`.
    """

    value: torch.Tensor
    slope: torch.Tensor
    matrix: torch.Tensor
    rate: torch.Tensor
    rounding: torch.Tensor

    def step(self, damping: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """−η(H + λI)⁻¹g, and where that could be solved, `[M, 1]`; 0 elsewhere."""
        ridge = torch.diag_embed(damping.expand_as(self.slope))
        factor, info = torch.linalg.cholesky_ex(self.matrix + ridge)
        step = torch.cholesky_solve(self.slope[..., None], factor)[..., 0].mul_(-self.rate)
        solved = (info == 0)[:, None]
        return torch.where(solved, step, 0.0), solved

    def decrease(self, step: torch.Tensor) -> torch.Tensor:
        """By how much the models fall over a step, `[M, 1]`."""
        return -dot(self.slope + 0.5 * (self.matrix @ step[..., None])[..., 0], step)


_ENTRIES = 2**24
"""Members' matrices are formed together up to so many entries (134 MB)."""


def dot(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Each member's aᵀb, `[M, 1]` float64."""
    return (a * b).sum(1, keepdim=True, dtype=torch.float64)


def _moves(now: Moment, params: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """1 where a parameter may move, else 0 (`[M, 1 or P]`); and each member's rate `[M, 1]`."""
    rate = torch.as_tensor(now.lr, dtype=torch.float64, device=params.device)
    rate = rate.expand(len(params), -1) if rate.ndim else rate.expand(len(params), 1)
    return (rate > 0).to(params.dtype), rate.amax(1, keepdim=True)
