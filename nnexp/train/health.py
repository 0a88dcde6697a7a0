"""How the layers are while they learn: activations, gradients and updates, at the ends of epochs.

What is recorded follows from the parameters alone, on a batch of its own in evaluation mode, and
leaves no trace in them: training is the same to the bit with and without it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeAlias

from nnexp.components.layer import Context, Seen
from nnexp.components.layers.activations import Activation, Softmax
from nnexp.lazy import torch
from nnexp.train.feed import Feed
from nnexp.train.program import Program, Stage

Health: TypeAlias = list[int | float | str | None]
"""One layer at the end of one epoch: a row of health.csv, in the order of `COLUMNS`."""

COLUMNS = (
    "epoch",
    "step",
    "layer",  # its number and component, as in model.safetensors
    "mean",  # of its outputs over the sample's examples and all units
    "std",
    "zero",  # of an activation: the share of outputs that are exactly 0,
    "dead",  # of units (of channels) that are 0 for every example,
    "saturated",  # of outputs other than 0 where its slope is below FLAT in size
    "gradient",  # 2-norm of the mean loss's gradient by its parameters, without penalties
    "update",  # 2-norm of the epoch's last update of its parameters over theirs after it
)
SAMPLE = 64
"""Training examples that it is taken on, at most."""
FLAT = 0.01
"""A slope below this lets hardly any gradient through."""

_NUMBERS = 1 << 26
"""Outputs of all layers and members that may be held at once: they bound the sample, too."""
_SHARE = 0.05
"""Of the training, at most so much may go into recording."""
_COSTS, _COSTS_EXAMPLES = 3.0, 100.0
"""What a recording costs, in updates: so many, and those that take so many examples."""
_MEASURING = 2.0
"""What an epoch takes at least besides its updates, in updates."""
_BITS = 6
"""As many bits of a recording's number count: later, ever fewer remain."""


def is_due(epoch: int, steps: int, batch: int) -> bool:
    """Whether the end of an epoch (from 1) of so many updates is recorded: by counts, not by time.

    It is every n-th one, n as small as the share that recording may take allows; and after 64 such
    only every second of them, after 128 every fourth …: a long training leaves some hundreds.
    """
    every = math.ceil((_COSTS + _COSTS_EXAMPLES / batch) / (_SHARE * (steps + _MEASURING)))
    number, rest = divmod(epoch, every)
    return rest == 0 and number % (1 << max(number.bit_length() - _BITS - 1, 0)) == 0


def examine(
    program: Program,
    tensors: dict[str, torch.Tensor],
    before: torch.Tensor | None,
    feed: Feed,
    rows: torch.Tensor,
    moment: tuple[int, int],
) -> list[list[Health]]:
    """A row a layer for each member.

    tensors: `params` and `buffers`, `[M, …]`. before: the parameters before the last update, None
    if they are not known. rows: the training rows, `[M or 1, N]`. moment: epoch, from 1, and step.
    """
    units = program.size * sum(math.prod(shape) for shape in program.shapes)
    count = min(SAMPLE, rows.shape[1], max(1, _NUMBERS // units))
    spaced = torch.arange(count, device=rows.device) * rows.shape[1] // count
    x, y = feed.gather(rows[:, spaced], program.size)
    tape, slope = _pass(program, tensors, x, y)
    if program.task == "words":
        tape.clear()  # there the layers' outputs are of pairs of words, and of no member
    params = tensors["params"]
    empty = params.new_full((program.size,), math.nan, dtype=torch.float64)
    names, columns = list[str](), list[torch.Tensor]()
    with torch.no_grad():
        for number, stage in enumerate(program.stages):
            if not stage.params and not isinstance(stage.layer, Activation):
                continue
            names.append(f"{number}.{stage.layer.component}")
            columns += _outputs(stage, tape[number : number + 1], empty)
            columns += _parameters(program, number, params, before, slope, empty)
        values = torch.stack(columns, 1).tolist() if columns else []
    width = len(COLUMNS) - 3
    return [
        [
            [*moment, name, *map(_short, row[width * at : width * (at + 1)])]
            for at, name in enumerate(names)
        ]
        for row in values
    ]


def _pass(
    program: Program, tensors: dict[str, torch.Tensor], x: torch.Tensor, y: torch.Tensor
) -> tuple[list[Seen], torch.Tensor]:
    """What every layer got and gave, and the gradient of the mean loss, `[M, P]`."""
    flat = tensors["params"].to(program.compute_dtype)
    leaves = [view.detach().requires_grad_() for view in program.layout.views(flat)]
    buffers = program.buffer_layout.views(tensors["buffers"])
    tape = list[Seen]()
    with torch.enable_grad():
        ctx = Context(training=False)
        losses = program.losses(program.forward(leaves, buffers, x, ctx, tape, leaves), y)
        derived = torch.autograd.grad(losses.sum(), leaves, allow_unused=True)
    found = [
        (torch.zeros_like(leaf) if grad is None else grad).flatten(1)
        for grad, leaf in zip(derived, leaves, strict=True)
    ]
    return tape, torch.cat(found, 1).to(program.dtype).mul_(1.0 / losses.shape[1])


def _outputs(stage: Stage, taped: Sequence[Seen], empty: torch.Tensor) -> Sequence[torch.Tensor]:
    """Mean, standard deviation, and shares of zeros, dead units and saturated outputs, `[M]`."""
    if not taped:
        return [empty] * 5
    (seen,) = taped
    y = seen.y.detach().float() if seen.y.dtype is torch.bfloat16 else seen.y.detach()
    members, examples, channels = (*y.shape, 1)[:3]
    variance, mean = torch.var_mean(y.flatten(1), 1, correction=0)
    moments = [mean.double(), variance.double().sqrt()]
    if not isinstance(stage.layer, Activation):
        return [*moments, empty, empty, empty]
    zero = y == 0
    units = zero.reshape(members, examples, channels, -1).all(3).all(1)
    shares = [_share(zero), _share(units)]
    if isinstance(stage.layer, Softmax):  # not a function of each unit by itself
        return [*moments, *shares, empty]
    x = seen.x.detach().to(y.dtype)
    own = {name: tensor.detach().to(y.dtype) for name, tensor in seen.own.items()}
    change = stage.layer.forward(x + _AHEAD, own, seen.hyper, Context(training=False)) - y
    return [*moments, *shares, _share((change.abs() < FLAT * _AHEAD) & ~zero)]


_AHEAD = 2.0**-6
"""How far apart the points are that an activation's slope is taken from."""


def _parameters(
    program: Program,
    number: int,
    params: torch.Tensor,
    before: torch.Tensor | None,
    slope: torch.Tensor,
    empty: torch.Tensor,
) -> Sequence[torch.Tensor]:
    """Norm of a layer's gradient, and of its last update over that of its parameters, `[M]`."""
    entries = [entry for entry in program.layout.entries if entry.layer == number]
    if not entries:
        return [empty, empty]
    own = slice(entries[0].start, entries[-1].stop)
    norm = torch.linalg.vector_norm
    gradient = norm(slope[:, own], dim=1).double()
    if before is None:
        return [gradient, empty]
    change = norm(params[:, own] - before[:, own], dim=1).double()
    return [gradient, change / norm(params[:, own], dim=1).double()]


def _share(where: torch.Tensor) -> torch.Tensor:
    return where.flatten(1).double().mean(1)


def _short(value: float) -> float | None:
    """Six digits; None for what is not there or not finite, as JSON has it."""
    return float(f"{value:.6g}") if math.isfinite(value) else None
