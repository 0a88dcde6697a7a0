"""Scores of a pack's members on a part of the data, in evaluation mode."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from nnexp.components.layer import Context
from nnexp.components.metrics.metric import Metric, Scored
from nnexp.components.regularizers import Sizes
from nnexp.lazy import torch
from nnexp.train.feed import Feed
from nnexp.train.program import Program, by_position

CHUNK = 1 << 20
"""Numbers in the widest layer that are evaluated at once: bounds memory, whatever the part."""


def outputs(
    program: Program,
    tensors: Mapping[str, torch.Tensor],
    feed: Feed,
    rows: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Network outputs `[M, N, K]`, targets `[M, N, …]` and losses `[M, N]` on rows `[M or 1, N]`.

    tensors: `params` and `buffers`, `[M, …]`.
    """
    params = program.layout.views(tensors["params"].to(program.compute_dtype))
    buffers = program.buffer_layout.views(tensors["buffers"])
    ctx = Context(training=False)
    width = program.widest * program.size
    size = max(1, min(rows.shape[1], CHUNK // max(width, 1)))
    found = []
    with torch.inference_mode():
        for start in range(0, rows.shape[1], size):
            x, y = feed.gather(rows[:, start : start + size], program.size)
            out = program.forward(params, buffers, x, ctx)
            found.append((out, y, program.losses(out, y)))
        if len(found) == 1:
            return found[0]
        out, y, losses = (torch.cat(pieces, 1) for pieces in zip(*found, strict=True))
        return out, y, losses


def scored(
    program: Program,
    out: torch.Tensor,
    target: torch.Tensor,
    losses: torch.Tensor,
    feed: Feed,
    rows: torch.Tensor,
    members: Sequence[int],
) -> Scored:
    """What metrics are computed from; targets and predictions in the targets' own units."""
    if program.task == "regression":
        out = out.double()
        if (scale := feed.scales(members)) is not None:
            out = out * scale[1] + scale[0]
        if feed.original is not None:  # not scaled back, which would round them
            target = feed.original[rows].expand(out.shape)
        return Scored(losses, out, target.double(), out)
    if program.task == "words":  # each example is its loss and nothing else
        none = target.new_zeros((*losses.shape, 0))
        return Scored(losses, none, none, none, is_dense=True)
    if program.task == "dense":
        out, target = by_position(out), target.flatten(2)
        return Scored(losses, program.loss.decide(out), target, out, is_dense=True)
    if target.is_floating_point():  # labels, each 0 or 1
        target = target.long()
    asked = any(metric.needs_probabilities for metric in program.metrics)
    probabilities = program.loss.probabilities(out) if asked else None
    return Scored(losses, program.loss.decide(out), target, out, probabilities)


def evaluate(
    program: Program,
    tensors: Mapping[str, torch.Tensor],
    feed: Feed,
    part: str | torch.Tensor,
    members: Sequence[int],
) -> dict[str, list[float]]:
    """Each metric's value a member, on a part (or on rows `[M or 1, N]`)."""
    rows = feed.rows(part, members) if isinstance(part, str) else part
    with torch.inference_mode():
        found = scored(program, *outputs(program, tensors, feed, rows), feed, rows, members)
        return compute(program.metrics, found)


def compute(metrics: Sequence[Metric], found: Scored) -> dict[str, list[float]]:
    """Each metric's value a member."""
    return {m.component: m.compute(found).tolist() for m in metrics}


def penalty(program: Program, params: torch.Tensor, batch: int) -> list[float]:
    """Each member's sum of penalties, for batches of `batch` examples."""
    total = torch.zeros(program.size, dtype=torch.float64, device=program.device)
    sizes = Sizes(batch, program.signature.train_rows)
    with torch.inference_mode():
        for spec, hyper, scope in program.regularizers:
            total = total + spec.penalty(params, scope, hyper, sizes)
        return list(total.tolist())
