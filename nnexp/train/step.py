"""One update of every member in the working set."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nnexp.components.layer import Context, Seen
from nnexp.components.optimizers import Moment
from nnexp.components.regularizers import Sizes
from nnexp.components.schedules import Progress
from nnexp.lazy import torch
from nnexp.train.program import Program
from nnexp.train.state import MemberState


class Working:
    """The members that are still in training, and their tensors, which updates change in place."""

    def __init__(self, program: Program, tensors: dict[str, torch.Tensor]) -> None:
        self.program = program
        self.tensors = tensors
        self.params = tensors["params"]
        self.buffers = program.buffer_layout.views(tensors["buffers"])
        self.optimizer_state = {
            name.removeprefix("optimizer."): tensor
            for name, tensor in tensors.items()
            if name.startswith("optimizer.")
        }
        self._grads = torch.empty_like(self.params)  # written anew by every closed-form step
        self._grad_views = program.layout.views(self._grads)
        self._leaves = self._new_leaves() if program.compute_dtype is program.dtype else None

    def step(self, x: torch.Tensor, y: torch.Tensor, step: int, lr: Any, momentum: Any) -> None:
        """The update numbered `step` (from 0) on examples `[M, B, …]` with targets `[M, B, …]`.

        lr, momentum: floats or `[M, 1]`; momentum None leaves the optimizer's own.
        """
        program = self.program
        losses, grads = self.gradients(x, y, step)
        self.tensors["loss_sum"].add_(losses)
        with torch.no_grad():
            sizes = Sizes(x.shape[1], program.signature.train_rows)
            for spec, hyper in program.regularizers:
                spec.add_gradient(grads, self.params, program.weights, hyper, sizes)
            clip(grads, program.clip["clip_grad_norm"], program.clip["clip_grad_value"])
            hyper = {name: _column(value) for name, value in program.optimizer_hyper.items()}
            if momentum is not None and program.optimizer.momentum_field is not None:
                hyper[program.optimizer.momentum_field] = momentum
            now = Moment(step + 1, lr, hyper, program.weights)
            for spec, own in program.regularizers:
                spec.before_update(self.params, program.weights, own, lr)
            program.optimizer.update(self.params, grads, self.optimizer_state, now)
            for spec, own in program.regularizers:
                spec.after_update(self.params, program.weights, own, lr)

    def gradients(
        self, x: torch.Tensor, y: torch.Tensor, step: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Each member's mean loss `[M]` and its gradient `[M, P]`, penalties apart."""
        program = self.program
        leaves = self._new_leaves() if self._leaves is None else self._leaves
        ctx = Context(training=True, members=program.dropout_keys, step=step)
        if program.closed_form:
            return self._closed_form(leaves, x, y, ctx)
        outputs = program.forward(leaves, self.buffers, x, ctx)
        losses = program.loss.per_example(outputs, y)
        # The mean over examples is taken afterwards: one node fewer in a small graph. (Giving
        # its gradient to `grad` would be none more, but that imports sympy, for 0.3 s.)
        derived = torch.autograd.grad(losses.sum(), leaves)
        flat = torch.cat([g.flatten(1) for g in derived], 1).to(program.dtype)
        return losses.detach().mean(1), flat.mul_(1.0 / losses.shape[1])

    def _closed_form(
        self, leaves: Sequence[torch.Tensor], x: torch.Tensor, y: torch.Tensor, ctx: Context
    ) -> tuple[torch.Tensor, torch.Tensor]:
        program, tape = self.program, list[Seen]()
        with torch.no_grad():
            outputs = program.forward(leaves, self.buffers, x, ctx, tape, self._grad_views)
            losses, dy = program.loss.gradient(outputs, y)
            dy = dy.mul_(1.0 / losses.shape[1]).to(program.compute_dtype)
            program.backward(dy, tape, ctx)
            return losses.mean(1), self._grads

    def _new_leaves(self) -> list[torch.Tensor]:
        """The parameters as leaves of the gradient, in the precision that the network runs in."""
        flat = self.params.to(self.program.compute_dtype)
        return [view.detach().requires_grad_() for view in self.program.layout.views(flat)]


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
    factors = [
        m.schedule.factor(now, s.schedule) for m, s in zip(program.members, members, strict=True)
    ]
    lr = _merge(
        [f * m.optimizer.lr for f, m in zip(factors, program.members, strict=True)], program
    )
    field = program.optimizer.momentum_field
    if field is None:
        return lr, None
    cycled = [m.schedule.momentum(now) for m in program.members]
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
