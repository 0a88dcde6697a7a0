"""How the layers are while they learn: activations, gradients and updates, at the ends of epochs.

What is recorded follows from the parameters alone, on a batch of its own in evaluation mode, and
leaves no trace in them: training is the same to the bit with and without it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from nnexp.components.layer import Context, Seen
from nnexp.components.layers.activations import Activation, Softmax
from nnexp.components.layers.recurrent import present
from nnexp.lazy import torch
from nnexp.train.feed import Feed
from nnexp.train.program import Program, Stage
from nnexp.train.quantiles import Sample, at_once, drawn, quantiles

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
    *("p05", "p25", "p50", "p75", "p95"),  # quantiles of its outputs, over the same as the mean
    *("g05", "g25", "g50", "g75", "g95"),  # and of the sizes of that gradient's coordinates
)
SAMPLE = 64
"""Training examples that it is taken on, at most."""
FLAT = 0.01
"""A slope below this lets hardly any gradient through."""

_NUMBERS = 1 << 26
"""Outputs of all layers and members that may be held at once: they bound the sample, too."""
_SHARE = 0.05
"""Of the training, at most so much may go into recording."""
_COSTS, _LARGE = 12.0, 1536.0
"""What a recording costs at most, in updates of a small network: ever fewer from `_LARGE` examples
an update on."""
_COSTS_EXAMPLES = 130.0
"""What it costs at most, in updates of a large network: those that take so many examples."""
_MEASURING = 2.0
"""What an epoch takes at least besides its updates, in updates."""
_BITS = 6
"""As many bits of a recording's number count: later, ever fewer remain."""


def is_due(epoch: int, steps: int, batch: int) -> bool:
    """Whether the end of an epoch (from 1) of so many updates is recorded: by counts, not by time.

    It is every n-th one, n as small as the share that recording may take allows; and after 64 such
    only every second of them, after 128 every fourth …: a long training leaves some hundreds.
    """
    costs = max(_COSTS / (1 + batch / _LARGE), _COSTS_EXAMPLES / batch)
    every = math.ceil(costs / (_SHARE * (steps + _MEASURING)))
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
    params = tensors["params"]
    passed = _pass(program, params, tensors["buffers"], x, y)
    with torch.no_grad():
        unknown = params.new_full((program.size, 1), math.nan)
        told = [
            number
            for number, stage in enumerate(program.stages)
            if stage.params or isinstance(stage.layer, Activation)
        ]
        few = max(1, at_once(program.size) // 2)
        values = []
        for first in range(0, len(told), few):
            layers = [
                _layer(program, number, passed, params, before, unknown)
                for number in told[first : first + few]
            ]
            values.append(_values(layers, passed.examples))
        found = torch.cat(values, 1).tolist()
    names = [f"{number}.{program.stages[number].layer.component}" for number in told]
    return [
        [[*moment, name, *map(_short, row)] for name, row in zip(names, member, strict=True)]
        for member in found
    ]


@dataclass(frozen=True)
class _Passed:
    """What a pass left behind.

    tape: what every layer got and gave. ctx: which positions of sequences hold something. slopes:
    the gradient by each of the layout's tensors, of the sum of so many `examples`' losses.
    """

    tape: Sequence[Seen]
    ctx: Context
    slopes: Sequence[torch.Tensor]
    examples: int


def _pass(
    program: Program, params: torch.Tensor, buffers: torch.Tensor, x: torch.Tensor, y: torch.Tensor
) -> _Passed:
    leaves = [
        view.detach().requires_grad_()
        for view in program.layout.views(params.to(program.compute_dtype))
    ]
    tape = list[Seen]()
    ctx = Context(training=False)
    with torch.enable_grad():
        found = program.forward(leaves, program.buffer_layout.views(buffers), x, ctx, tape, leaves)
        losses = program.losses(found, y)
        derived = torch.autograd.grad(losses.sum(), leaves, allow_unused=True)
    slopes = [
        torch.zeros_like(leaf) if slope is None else slope
        for slope, leaf in zip(derived, leaves, strict=True)
    ]
    if program.task == "words":
        tape.clear()  # there the layers' outputs are of pairs of words, and of no member
    return _Passed(tape, ctx, slopes, losses.shape[1])


@dataclass(frozen=True)
class _Layer:
    """What is known of a layer, NaN what is not.

    numbers: each `[M]`: mean and variance of its outputs, three shares; norms of the gradient, of
    the last update and of the parameters. outputs: some of them. slopes: some of the gradient's
    coordinates in size.
    """

    numbers: Sequence[torch.Tensor]
    outputs: Sample
    slopes: Sample


def _layer(
    program: Program,
    number: int,
    passed: _Passed,
    params: torch.Tensor,
    before: torch.Tensor | None,
    unknown: torch.Tensor,
) -> _Layer:
    """unknown: NaN, `[M, 1]`."""
    stage, nothing = program.stages[number], unknown[:, 0]
    moments, norms = [nothing] * 5, [nothing] * 3
    outputs = slopes = Sample(unknown)
    if passed.tape:
        y = _exact(passed.tape[number].y)
        where = _where(y, passed.ctx)
        moments = _outputs(stage, passed.tape[number], y, where, nothing)
        outputs = drawn(y, where)
    if stage.params:
        numbers = [at for _, at in stage.params]
        first, last = (program.layout.entries[at] for at in (numbers[0], numbers[-1]))
        own = slice(first.start, last.stop)
        slope = torch.cat([passed.slopes[at].flatten(1) for at in numbers], 1).to(program.dtype)
        norm = torch.linalg.vector_norm
        change = nothing if before is None else norm(params[:, own] - before[:, own], dim=1)
        norms = [norm(slope, dim=1), change, norm(params[:, own], dim=1)]
        slopes = drawn(slope.abs())
    return _Layer([*moments, *norms], outputs, slopes)


def _values(layers: Sequence[_Layer], examples: int) -> torch.Tensor:
    """The columns from `mean` on, `[M, layers, columns]`; examples: whose gradients are summed."""
    columns = [number for layer in layers for number in layer.numbers]
    numbers = torch.stack(columns, 1).double().view(len(columns[0]), len(layers), -1)
    mean, variance, shares, gradient, change, norm = numbers.tensor_split((1, 2, 5, 6, 7), 2)
    spread = quantiles([*(one.outputs for one in layers), *(one.slopes for one in layers)])
    outputs, slopes = spread.chunk(2, 1)
    update = change / norm
    found = [mean, variance.sqrt(), shares, gradient / examples, update, outputs, slopes / examples]
    return torch.cat(found, 2)


def _where(y: torch.Tensor, ctx: Context) -> torch.Tensor | None:
    """Which outputs are of positions that hold something, in the shape of `y`; None: all are."""
    there = present(ctx, y.shape[3]) if y.ndim == 4 else None
    return None if there is None else there[:, :, None].expand(y.shape)


def _exact(y: torch.Tensor) -> torch.Tensor:
    """A layer's output in a precision to take sums in."""
    return y.detach().float() if y.dtype is torch.bfloat16 else y.detach()


def _outputs(
    stage: Stage,
    seen: Seen,
    y: torch.Tensor,
    where: torch.Tensor | None,
    nothing: torch.Tensor,
) -> list[torch.Tensor]:
    """Mean, variance, and shares of zeros, dead units and saturated outputs, each `[M]`.

    where: which outputs count, of the shape of `y`; None: all.
    """
    moments = _moments(y, where)
    if not isinstance(stage.layer, Activation):
        return [*moments, nothing, nothing, nothing]
    zero = y == 0
    still = zero if where is None else zero | ~where
    for axis in range(y.ndim - 1, 2, -1):  # a unit of images and sequences is a channel
        still = still.all(axis)
    found = [*moments, _share(zero, where), _share(still.all(1))]
    if isinstance(stage.layer, Softmax):  # not a function of each unit by itself
        return [*found, nothing]
    x = seen.x.detach().to(y.dtype)
    own = {name: tensor.detach().to(y.dtype) for name, tensor in seen.own.items()}
    change = stage.layer.forward(x + _AHEAD, own, seen.hyper, Context(training=False)) - y
    flat = (change.abs() < FLAT * _AHEAD) & ~zero
    return [*found, _share(flat, where)]


_AHEAD = 2.0**-6
"""How far apart the points are that an activation's slope is taken from."""


def _moments(y: torch.Tensor, where: torch.Tensor | None) -> Sequence[torch.Tensor]:
    """Mean and variance over all but members, `[M]`."""
    flat = y.flatten(1)
    if where is None:
        return torch.var_mean(flat, 1, correction=0)[::-1]
    there = where.flatten(1)
    counts = there.sum(1)
    mean = torch.where(there, flat, 0.0).sum(1) / counts
    squares = torch.where(there, flat - mean[:, None], 0.0).square().sum(1)
    return mean, squares / counts


def _share(found: torch.Tensor, where: torch.Tensor | None = None) -> torch.Tensor:
    """The share, of those that count, `[M]`."""
    if where is None:
        return found.flatten(1).mean(1, dtype=torch.float64)
    return (found & where).flatten(1).sum(1).double() / where.flatten(1).sum(1)


def _short(value: float) -> float | None:
    """Six digits; None for what is not there or not finite, as JSON has it."""
    return float(f"{value:.6g}") if math.isfinite(value) else None
