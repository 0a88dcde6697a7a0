"""Scores of a pack's members on a part of the data, in evaluation mode."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from nnexp.components.layer import Context
from nnexp.components.metrics.metric import Metric, Scored
from nnexp.components.regularizers import Sizes
from nnexp.lazy import torch
from nnexp.train import passes
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

    tensors: `params` and `buffers`, `[M, …]`. Over all views and samples that `test_time` asks
    for, see `passes.averaged`.
    """
    if program.test_time is None:
        return _plain(program, tensors, feed, rows)
    return _averaged(program, tensors, feed, rows)[:3]


def spread(
    program: Program,
    tensors: Mapping[str, torch.Tensor],
    feed: Feed,
    rows: torch.Tensor,
) -> torch.Tensor | None:
    """How far the passes of `test_time` lie apart: of probabilities, or else outputs, `[M, N, C]`.

    The standard deviation over passes; None if there is one pass only.
    """
    if program.test_time is None or program.test_time.passes == 1:
        return None
    return _averaged(program, tensors, feed, rows)[3]


def _averaged(
    program: Program,
    tensors: Mapping[str, torch.Tensor],
    feed: Feed,
    rows: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """What `outputs` gives over all passes, and `spread`."""
    asked = program.test_time
    assert asked is not None
    params = program.layout.views(tensors["params"].to(program.compute_dtype))
    buffers = program.buffer_layout.views(tensors["buffers"])
    size = max(1, min(rows.shape[1], CHUNK // max(program.widest * program.size, 1)))
    found = []
    with torch.inference_mode():
        for start in range(0, rows.shape[1], size):
            x, y = feed.gather(rows[:, start : start + size], program.size)
            out, apart = passes.averaged(program, params, buffers, x, start, asked)
            found.append((out, y, program.losses(out, y), apart))
        out, y, losses, apart = (torch.cat(pieces, 1) for pieces in zip(*found, strict=True))
        return out, y, losses, apart


def _plain(
    program: Program,
    tensors: Mapping[str, torch.Tensor],
    feed: Feed,
    rows: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """What `outputs` gives from one pass without dropout."""
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
        each = out.flatten(1, 2)
        guess = program.loss.decide(each).view(target.shape)
        scores = program.loss.scores(each).view(*target.shape, -1)
        return Scored(losses, guess, target, scores, is_dense=True)
    if target.is_floating_point():  # labels, each 0 or 1
        target = target.long()
    asked = any(metric.needs_probabilities for metric in program.metrics)
    probabilities = program.loss.probabilities(out) if asked else None
    scores = program.loss.scores(out)
    return Scored(losses, program.loss.decide(out), target, scores, probabilities)


def evaluate(
    program: Program,
    tensors: Mapping[str, torch.Tensor],
    feed: Feed,
    part: str | torch.Tensor,
    members: Sequence[int],
) -> dict[str, list[float]]:
    """Each metric's value a member, on a part (or on rows `[M or 1, N]`), without `test_time`."""
    rows = feed.rows(part, members) if isinstance(part, str) else part
    with torch.inference_mode():
        found = scored(program, *_plain(program, tensors, feed, rows), feed, rows, members)
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
