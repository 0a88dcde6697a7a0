"""The start of layers that start from what they are to see, such as centres of clusters."""

from __future__ import annotations

from nnexp import streams
from nnexp.components.layer import Context, Layer
from nnexp.lazy import torch
from nnexp.train.program import Program

SAMPLE = 10_000
"""Training examples, evenly spaced, that such a layer starts from."""


def takes_data(program: Program) -> bool:
    """Whether any layer starts from data."""
    return bool(_places(program))


def start_from_data(program: Program, params: torch.Tensor, x: torch.Tensor) -> None:
    """Set, in `params` `[1, P]`, how one member's layers start that take data.

    program: the member's alone. x: training examples `[1, B, *shape]`. A layer gets what the
    layers before make of them, without dropout; what is loaded from a run stays.
    Raises DataError.
    """
    places, member = _places(program), program.members[0]
    own, buffers = (
        program.layout.views(params),
        program.buffer_layout.views(program.initial_buffers()),
    )
    ctx, start = Context(training=False), member.initialization
    x = x.to(program.dtype)
    with torch.no_grad():
        for index, stage in enumerate(program.stages[: places[-1] + 1]):
            if index in places:
                seen = x[0].double().cpu().numpy()
                key = streams.key(member.seed, streams.INITIALIZATION, index, len(seen))
                found = stage.layer.from_data(seen, key)
                for name, at in stage.params:
                    entry = program.layout.entries[at]
                    if name in found and start.stored(entry.name, entry.slot.shape) is None:
                        own[at][0].copy_(torch.as_tensor(found[name]))
            tensors = {name: own[at] for name, at in stage.params}
            tensors |= {name: buffers[at] for name, at in stage.buffers}
            ctx.layer = index
            x = stage.layer.forward(x, tensors, stage.hyper, ctx)


def _places(program: Program) -> list[int]:
    """Numbers of the layers that start from data."""
    layers = [type(stage.layer) for stage in program.stages]
    return [i for i, kind in enumerate(layers) if kind.from_data is not Layer.from_data]
