"""One update of every member in the working set."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from nnexp.components.layer import Context, Seen
from nnexp.components.optimizers.optimizer import Batch, Moment
from nnexp.components.regularizers import Sizes
from nnexp.components.schedules import Progress
from nnexp.lazy import torch
from nnexp.train.curvature import gauss_newton
from nnexp.train.feed import Feed
from nnexp.train.parallel import Ranks
from nnexp.train.program import Program
from nnexp.train.state import MemberState


class Working:
    """The members that are still in training, and their tensors, which updates change in place."""

    def __init__(
        self, program: Program, tensors: dict[str, torch.Tensor], ranks: Ranks | None = None
    ) -> None:
        """ranks: the processes that share each batch; None: this one alone."""
        self.program = program
        self.ranks = ranks or Ranks()
        self.tensors = tensors
        self.params = tensors["params"]
        self.buffers = program.buffer_layout.views(tensors["buffers"])
        self.optimizer_state = _with_prefix(tensors, "optimizer.")
        self.sampler_state = _with_prefix(tensors, "sampler.")
        self._grads = torch.empty_like(self.params)  # written anew by every closed-form step
        self._grad_views = program.layout.views(self._grads)
        self._leaves = self._new_leaves() if program.compute_dtype is program.dtype else None

    def step(
        self,
        x: torch.Tensor,
        y: torch.Tensor,
        step: int,
        lr: Any,
        momentum: Any,
        first: int = 0,
        rows: int | None = None,
    ) -> torch.Tensor:
        """The update numbered `step` (from 0) on examples `[M, B, …]` with targets `[M, B, …]`.

        Gives the examples' losses before it, `[M, B]`. lr, momentum: floats or `[M, 1]`; momentum
        None leaves the optimizer's own. first, rows: where the examples begin in the whole batch,
        and how many that has, if they are a share of it; the losses are those of the whole.
        """
        program = self.program
        rows = x.shape[1] if rows is None else rows
        x, y = program.augmenter.transform(x, y, step, first)
        hyper = {name: _column(value) for name, value in program.optimizer_hyper.items()}
        if momentum is not None and program.optimizer.momentum_field is not None:
            hyper[program.optimizer.momentum_field] = momentum
        losses, grads = self.ranks.joined(*self._slope(x, y, step, hyper, first), rows)
        each = losses.mean(1)
        self.tensors["loss_sum"].add_(each)
        with torch.no_grad():
            sizes = Sizes(rows, program.signature.train_rows)
            for spec, own, scope in program.regularizers:
                spec.add_gradient(grads, self.params, scope, own, sizes)
            clip(grads, program.clip["clip_grad_norm"], program.clip["clip_grad_value"])
            if program.rate_factors is not None:
                lr = lr * program.rate_factors
            batch = Batch(
                each,
                partial(self._objective, x, y, step),
                program.optimizer_keys,
                partial(self._objective_slope, x, y, step),
                partial(self._curvature, x, y),
            )
            now = Moment(step + 1, lr, hyper, program.weights, program.layout, batch)
            for spec, own, scope in program.regularizers:
                spec.before_update(self.params, scope, own, lr)
            program.optimizer.update(self.params, grads, self.optimizer_state, now)
            for spec, own, scope in program.regularizers:
                spec.after_update(self.params, scope, own, lr, sizes)
        return losses

    def _slope(
        self, x: torch.Tensor, y: torch.Tensor, step: int, hyper: dict[str, Any], first: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Losses and gradient as `gradients`, where and if the optimizer wants them."""
        optimizer = self.program.optimizer
        if not optimizer.uses_gradient:
            return self.losses(self.params, x, y, step), torch.zeros_like(self.params)
        ahead = optimizer.ahead(self.params, self.optimizer_state, hyper)
        if ahead is None:
            return self.gradients(x, y, step, first)
        here = self.params.clone()
        self.params.copy_(ahead)
        found = self.gradients(x, y, step, first)
        self.params.copy_(here)
        return found

    def order(self, feed: Feed, epoch: int, members: Sequence[int], batch: int) -> torch.Tensor:
        """The positions among the training rows that an epoch visits, `[M or 1, draws]`."""
        seeds = [m.seed for m in self.program.members]
        return feed.order(self.program.sampler, epoch, seeds, members, self.sampler_state, batch)

    def gradients(
        self, x: torch.Tensor, y: torch.Tensor, step: int, first: int = 0
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The examples' losses `[M, B]`, and the gradient of their mean `[M, P]`; no penalties."""
        program = self.program
        leaves = self._new_leaves() if self._leaves is None else self._leaves
        ctx = Context(training=True, members=program.dropout_keys, step=step, first=first)
        if program.closed_form:
            return self._closed_form(leaves, x, y, ctx)
        losses = program.training_losses(leaves, self.buffers, x, y, ctx)
        # The mean over examples is taken afterwards: one node fewer in a small graph. (Giving
        # its gradient to `grad` would be none more, but that imports sympy, for 0.3 s.)
        derived = torch.autograd.grad(losses.sum(), leaves)
        flat = torch.cat([g.flatten(1) for g in derived], 1).to(program.dtype)
        return losses.detach(), flat.mul_(1.0 / losses.shape[1])

    def losses(
        self, params: torch.Tensor, x: torch.Tensor, y: torch.Tensor, step: int
    ) -> torch.Tensor:
        """The examples' losses `[M, B]` at some parameters `[M, P]`, as in training."""
        program = self.program
        with torch.no_grad():
            views = program.layout.views(params.to(program.compute_dtype))
            ctx = Context(training=True, members=program.dropout_keys, step=step)
            return program.training_losses(views, self.buffers, x, y, ctx)

    def _objective(
        self, x: torch.Tensor, y: torch.Tensor, step: int, params: torch.Tensor
    ) -> torch.Tensor:
        """Each member's mean loss and penalties at some parameters, `[M]`."""
        return self._total(self._elsewhere(params).losses(params, x, y, step), params)

    def _objective_slope(
        self, x: torch.Tensor, y: torch.Tensor, step: int, params: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """What `_objective` gives, and its gradient `[M, P]`."""
        with torch.enable_grad():
            losses, grads = self._elsewhere(params).gradients(x, y, step)
        sizes = Sizes(x.shape[1], self.program.signature.train_rows)
        for spec, hyper, scope in self.program.regularizers:
            spec.add_gradient(grads, params, scope, hyper, sizes)
        return self._total(losses, params), grads

    def _curvature(self, x: torch.Tensor, y: torch.Tensor, members: slice) -> torch.Tensor:
        """Gauss–Newton matrices `[m, P, P]` of some members' objectives."""
        with torch.enable_grad():
            buffers = self.tensors["buffers"]
            found = gauss_newton(self.program, self.params, buffers, x, y, members)
        # The only penalties here are quadratic and act on each weight by itself, so that their
        # gradient at 1 is their second derivative.
        ones = torch.ones_like(self.params)
        bent = torch.zeros_like(ones)
        sizes = Sizes(x.shape[1], self.program.signature.train_rows)
        for spec, hyper, scope in self.program.regularizers:
            spec.add_gradient(bent, ones, scope, hyper, sizes)
        found.diagonal(dim1=1, dim2=2).add_(bent[members])
        return found

    def _elsewhere(self, params: torch.Tensor) -> Working:
        """The same members at other parameters: what is computed there leaves no trace here."""
        buffers = self.tensors["buffers"].clone()
        return Working(self.program, {"params": params, "buffers": buffers})

    def _total(self, losses: torch.Tensor, params: torch.Tensor) -> torch.Tensor:
        """The mean of losses `[M, B]`, and the penalties at some parameters, `[M]`."""
        total = losses.double().mean(1)
        sizes = Sizes(losses.shape[1], self.program.signature.train_rows)
        for spec, hyper, scope in self.program.regularizers:
            total = total + spec.penalty(params, scope, hyper, sizes)
        return total

    def _closed_form(
        self, leaves: Sequence[torch.Tensor], x: torch.Tensor, y: torch.Tensor, ctx: Context
    ) -> tuple[torch.Tensor, torch.Tensor]:
        program, tape = self.program, list[Seen]()
        with torch.no_grad():
            outputs = program.forward(leaves, self.buffers, x, ctx, tape, self._grad_views)
            losses, dy = program.loss.gradient(outputs, y)
            weights = program.weights_of(y)
            if weights is not None:
                weights = weights.to(losses.dtype)
                losses, dy = losses * weights, dy * weights[..., None]
            dy = dy.mul_(1.0 / losses.shape[1]).to(program.compute_dtype)
            program.backward(dy, tape, ctx)
            return losses, self._grads

    def _new_leaves(self) -> list[torch.Tensor]:
        """The parameters as leaves of the gradient, in the precision that the network runs in."""
        flat = self.params.to(self.program.compute_dtype)
        return [view.detach().requires_grad_() for view in self.program.layout.views(flat)]


def _with_prefix(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def clip(grads: torch.Tensor, norm: Any, value: Any) -> None:
    """Clip each member's gradient `[M, P]` in place: entries to ±value, then the 2-norm to norm."""
    if value is not None:
        bound = _column(value)
        if isinstance(bound, torch.Tensor):
            bound = bound.to(grads.dtype)
            torch.minimum(torch.maximum(grads, -bound, out=grads), bound, out=grads)
        else:
            grads.clamp_(-bound, bound)
    if norm is not None:
        size = torch.linalg.vector_norm(grads, dim=1, keepdim=True)
        grads.mul_((_column(norm) / (size + 1e-6)).clamp(max=1.0).to(grads.dtype))


def rates(program: Program, members: Sequence[MemberState], now: Progress) -> tuple[Any, Any]:
    """Learning rate and momentum for the next update: floats where members agree, else `[M, 1]`."""
    factors, shared = list[float](), dict[int, float]()
    for kind, member, state in zip(program.schedules, program.members, members, strict=True):
        if state.schedule:  # it has reacted to the member's own course
            factors.append(member.schedule.factor(now, state.schedule))
            continue
        if kind not in shared:
            shared[kind] = member.schedule.factor(now, {})
        factors.append(shared[kind])
    lr = _merge(
        [f * m.optimizer.lr for f, m in zip(factors, program.members, strict=True)], program
    )
    field = program.optimizer.momentum_field
    if field is None:
        return lr, None
    first = {kind: m.schedule for kind, m in zip(program.schedules, program.members, strict=True)}
    momenta = {kind: schedule.momentum(now) for kind, schedule in first.items()}
    cycled = [momenta[kind] for kind in program.schedules]
    if all(c is None for c in cycled):
        return lr, None
    own = [getattr(m.optimizer, field) for m in program.members]
    return lr, _merge([o if c is None else c for o, c in zip(own, cycled, strict=True)], program)


def _merge(values: list[float], program: Program) -> Any:
    if all(value == values[0] for value in values):
        return values[0]
    return torch.tensor(values, dtype=torch.float64, device=program.device)[:, None]


def _column(value: Any) -> Any:
    return value[:, None] if isinstance(value, torch.Tensor) else value
