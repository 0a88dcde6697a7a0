"""The Gauss–Newton matrices of a pack's members, formed whole.

Schraudolph (2002): the mean over examples of JᵀLJ, with J the derivative of an example's outputs
by the parameters and L the second derivative of its loss by the outputs.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace

from nnexp.components.layer import Context
from nnexp.lazy import torch
from nnexp.train.program import Program

ENTRIES = 2**23
"""Derivatives are taken of so many examples at once that J has at most so many entries."""


def gauss_newton(
    program: Program,
    params: torch.Tensor,
    buffers: torch.Tensor,
    x: torch.Tensor,
    y: torch.Tensor,
    members: slice,
) -> torch.Tensor:
    """`[m, P, P]` float64 of some of the members, without penalties.

    params `[M, P]`, buffers `[M, Q]`, x `[M, B, …]` and y `[M, B, …]` are of all members.
    """
    params, x = params[members], x[members]
    bent = _loss_curvature(program, params, buffers[members], x, y, members)
    count, examples, outputs = bent.shape[:3]
    size = params.shape[1]
    found = torch.zeros(count, size, size, dtype=torch.float64, device=params.device)
    at_once = max(1, ENTRIES // (count * outputs * size))
    for first in range(0, examples, at_once):
        some = slice(first, first + at_once)
        jacobian = _jacobian(program, params, buffers[members], x[:, some], members).double()
        weighted = (bent[:, some] @ jacobian).flatten(1, 2)
        found.baddbmm_(jacobian.flatten(1, 2).mT, weighted, alpha=1.0 / examples)
    return found


def _loss_curvature(
    program: Program,
    params: torch.Tensor,
    buffers: torch.Tensor,
    x: torch.Tensor,
    y: torch.Tensor,
    members: slice,
) -> torch.Tensor:
    """L of every example, `[m, B, K, K]` float64, class weights included."""
    own = _repeated(program, list(range(program.size))[members], 1)
    with torch.no_grad():
        outputs = _forward(own, params, buffers, x)
    at = outputs.double().requires_grad_()
    target = y[members]
    target = target.double() if target.is_floating_point() else target
    (first,) = torch.autograd.grad(own.losses(at, target).sum(), at, create_graph=True)
    rows = [
        torch.autograd.grad(first[..., k].sum(), at, retain_graph=True)[0]
        for k in range(at.shape[-1])
    ]
    return torch.stack(rows, 2)


def _jacobian(
    program: Program,
    params: torch.Tensor,
    buffers: torch.Tensor,
    x: torch.Tensor,
    members: slice,
) -> torch.Tensor:
    """`[m, B, K, P]`: every example as a member of its own, so a backward pass an output does."""
    count, examples = x.shape[:2]
    own = _repeated(program, list(range(program.size))[members], examples)
    spread = params.repeat_interleave(examples, 0)
    leaves = [v.detach().requires_grad_() for v in program.layout.views(spread)]
    state = program.buffer_layout.views(buffers.repeat_interleave(examples, 0))
    context = Context(training=True, members=own.dropout_keys)
    outputs = own.forward(leaves, state, x.flatten(0, 1)[:, None], context)[:, 0]
    rows = []
    for k in range(outputs.shape[1]):
        derived = torch.autograd.grad(outputs[:, k].sum(), leaves, retain_graph=True)
        rows.append(torch.cat([one.flatten(1) for one in derived], 1))
    return torch.stack(rows, 1).view(count, examples, len(rows), -1)


def _forward(
    program: Program, params: torch.Tensor, buffers: torch.Tensor, x: torch.Tensor
) -> torch.Tensor:
    context = Context(training=True, members=program.dropout_keys)
    state = program.buffer_layout.views(buffers.clone())
    return program.forward(program.layout.views(params), state, x, context)


def _repeated(program: Program, members: Sequence[int], times: int) -> Program:
    """The program of some members, each of them so many times over; for `forward` and `losses`."""
    index = torch.tensor(members, device=program.device).repeat_interleave(times)
    own = copy.copy(program)
    own.stages = tuple(
        replace(
            stage,
            hyper={
                name: value[index] if isinstance(value, torch.Tensor) else value
                for name, value in stage.hyper.items()
            },
        )
        for stage in program.stages
    )
    own.dropout_keys = program.dropout_keys[index]
    if program.class_weights is not None:
        own.class_weights = program.class_weights[index]
    return own
