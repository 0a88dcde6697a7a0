"""Many passes for one answer: views of an image at test time, and samples of dropout."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from nnexp.components.layer import Context
from nnexp.components.losses.loss import Loss
from nnexp.config.experiment import TestTime
from nnexp.lazy import torch
from nnexp.train import augment
from nnexp.train.program import Program, by_position


def averaged(
    program: Program,
    params: Sequence[torch.Tensor],
    buffers: Sequence[torch.Tensor],
    x: torch.Tensor,
    first: int,
    asked: TestTime,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Outputs of examples `[M, B, …]`, averaged over all passes, and how far the passes spread.

    Probabilities are averaged where the loss means any (the outputs then are those that mean
    their average), else outputs. The spread is the standard deviation of what was averaged (of a
    dense task `[M, B, positions, C]`); 0 for a single pass. first: position of the first example
    among all, so that its samples do not depend on how many are evaluated at once.
    """
    total = squares = torch.zeros((), dtype=torch.float64, device=x.device)
    plain = total
    chances: torch.Tensor | None = None
    for out in _each(program, params, buffers, x, first, asked):
        flat = by_position(out) if program.task == "dense" else out
        chances = _chances(program, flat)
        each = (flat if chances is None else chances).double()
        total, squares, plain = total + each, squares + each * each, plain + flat.double()
    passes = asked.passes
    mean = total / passes
    spread = (squares / passes - mean * mean).clamp(min=0) * (passes / max(passes - 1, 1))
    found = None if chances is None else outputs_meaning(program.loss, mean, flat.shape[-1])
    found = (plain / passes if found is None else found).to(out.dtype)
    if program.task == "dense":
        found = found.transpose(2, 3).reshape(out.shape)
    return found, spread.sqrt()


def _each(
    program: Program,
    params: Sequence[torch.Tensor],
    buffers: Sequence[torch.Tensor],
    x: torch.Tensor,
    first: int,
    asked: TestTime,
) -> Iterator[torch.Tensor]:
    number = 0
    for view in augment.seen(x, asked):
        for _ in range(max(asked.mc_dropout, 1)):
            number += 1  # updates are numbered from 0: negative ones are no update's masks
            ctx = Context(False, program.dropout_keys, -number, first, samples=asked.mc_dropout > 0)
            yield program.forward(params, buffers, view, ctx)


def _chances(program: Program, outputs: torch.Tensor) -> torch.Tensor | None:
    """Probabilities `[M, B, …, C]` from outputs `[M, B, …, K]`, if the loss means any."""
    if program.task in ("regression", "words"):
        return None
    found = program.loss.probabilities(outputs.flatten(1, -2))
    return None if found is None else found.reshape(*outputs.shape[:-1], found.shape[-1])


def outputs_meaning(loss: Loss, chances: torch.Tensor, count: int) -> torch.Tensor | None:
    """`count` outputs an example that the loss takes for these probabilities; None if none is."""
    inside = chances.clamp(1e-300, 1.0)
    odds = inside.log() - (1.0 - chances).clamp(1e-300, 1.0).log()
    for found in (inside.log(), odds, odds[..., 1:] if count == 1 else odds):
        if found.shape[-1] != count:
            continue
        again = loss.probabilities(found.flatten(1, -2))
        if again is None or again.shape[-1] != chances.shape[-1]:
            continue
        if torch.allclose(again.reshape(chances.shape), chances, rtol=0, atol=1e-6):
            return found
    return None
