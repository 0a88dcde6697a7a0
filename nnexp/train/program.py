"""A pack of experiments compiled into one network whose every tensor has a member axis.

All parameters of a member lie in one flat row, so a pack's parameters are one tensor `[M, P]`:
optimizers, penalties and clipping work on it whole, and members differ by row.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nnexp import streams
from nnexp.components.activations import Activation
from nnexp.components.inits import GlorotNormal, Initializer
from nnexp.components.layer import Context, Declared, Hyper, Layer, Seen, Shape, Slot
from nnexp.components.layers import Linear
from nnexp.components.losses import Loss
from nnexp.components.metrics import Metric
from nnexp.components.models import OUTPUT_INIT
from nnexp.config.experiment import Experiment
from nnexp.errors import ConfigError, Problem
from nnexp.lazy import torch
from nnexp.registry import stack


@dataclass(frozen=True)
class Signature:
    """What a network must fit: the shape of an example, classes or target columns, train rows."""

    inputs: Shape
    targets: int
    train_rows: int


@dataclass(frozen=True)
class Entry:
    """One tensor's place in a flat row."""

    name: str
    layer: int
    slot: Slot
    start: int
    stop: int


@dataclass(frozen=True)
class Layout:
    """Where each tensor of a network lies in a flat row of `size` numbers."""

    entries: tuple[Entry, ...]
    size: int

    def views(self, flat: torch.Tensor) -> list[torch.Tensor]:
        """The tensors inside `flat` `[M, size]`, each `[M, *shape]`, sharing its memory."""
        return [flat[:, e.start : e.stop].view(-1, *e.slot.shape) for e in self.entries]

    def named(self, row: torch.Tensor) -> dict[str, torch.Tensor]:
        """One member's tensors by name, from its row `[size]`."""
        return {e.name: row[e.start : e.stop].reshape(e.slot.shape) for e in self.entries}

    def row(self, named: dict[str, Any]) -> torch.Tensor:
        """The inverse of `named`: a flat row; KeyError for a tensor that is missing."""
        parts = [torch.as_tensor(named[e.name]).flatten() for e in self.entries]
        return torch.cat(parts) if parts else torch.zeros(0)


@dataclass(frozen=True)
class Stage:
    """A layer in its place: its per-member fields, and where its tensors are in the layouts."""

    layer: Layer
    hyper: Hyper
    params: tuple[tuple[str, int], ...]
    buffers: tuple[tuple[str, int], ...]


def build_layers(experiment: Experiment, signature: Signature, loss: Loss) -> list[Layer]:
    """The experiment's layers with the output's width filled in."""
    outputs = loss.outputs(signature.targets)
    layers = experiment.model.build(signature.inputs)
    return [
        layer.model_copy(update={"units": outputs})
        if isinstance(layer, Linear) and layer.units is None
        else layer
        for layer in layers
    ]


def check_shapes(layers: Sequence[Layer], signature: Signature, outputs: int) -> None:
    """Whether the layers fit together, told before torch is imported. Raises ConfigError."""
    shape, trained = signature.inputs, False
    for index, layer in enumerate(layers):
        declared = _declare(index, layer, shape)
        shape, trained = declared.output, trained or bool(declared.slots)
    if not trained:
        raise _unfit("it has no layer with weights: there is nothing to train")
    if shape != (outputs,):
        raise _unfit(f"its last layer gives {shape} an example; the task needs ({outputs},)")


def pack_key(experiment: Experiment, signature: Signature) -> str:
    """Experiments with equal keys can train in one pack."""
    assert experiment.loss is not None
    training = experiment.training
    agreed = {
        "layers": [x.pack_key() for x in build_layers(experiment, signature, experiment.loss)],
        "loss": experiment.loss.pack_key(),
        "regularization": {k: v.pack_key() for k, v in experiment.regularization.items()},
        "optimizer": experiment.optimizer.pack_key(),
        "training": training.pack_key(),
        "clip": [training.clip_grad_norm is None, training.clip_grad_value is None],
        "metrics": [m.pack_key() for m in experiment.metrics or ()],
        "signature": [signature.inputs, signature.targets, signature.train_rows],
    }
    return json.dumps(agreed, sort_keys=True)


class Program:
    """The compiled pack: layouts, stages and per-member constants on one device."""

    def __init__(
        self, members: Sequence[Experiment], signature: Signature, device: torch.device
    ) -> None:
        first = members[0]
        assert first.loss is not None
        self.members = tuple(members)
        self.signature = signature
        self.device = device
        self.loss: Loss = first.loss
        self.metrics: tuple[Metric, ...] = tuple(first.metrics or ())
        precision = first.training.precision
        self.dtype = torch.float64 if precision == "float64" else torch.float32
        self.compute_dtype = torch.bfloat16 if precision == "bf16" else self.dtype
        self._compile([build_layers(m, signature, self.loss) for m in members])
        self.optimizer = first.optimizer
        self.optimizer_hyper = self._hyper([m.optimizer for m in members])
        self.regularizers = [
            (spec, self._hyper([m.regularization[name] for m in members]))
            for name, spec in first.regularization.items()
        ]
        self.clip = self._hyper([m.training for m in members])
        self.weights = torch.zeros(self.layout.size, dtype=self.dtype, device=device)
        for entry in self.layout.entries:
            if entry.slot.role == "weight":
                self.weights[entry.start : entry.stop] = 1.0
        self.dropout_keys = streams.member_keys([m.seed for m in members], streams.DROPOUT, device)

    @property
    def size(self) -> int:
        """Number of members M."""
        return len(self.members)

    @property
    def outputs(self) -> int:
        """Number of network outputs K."""
        return self.loss.outputs(self.signature.targets)

    @property
    def joins_last(self) -> bool:
        """Whether a last batch of one example must join the one before."""
        return any(e.slot.role == "buffer" for e in self.buffer_layout.entries)

    def initial_params(self) -> torch.Tensor:
        """`[M, P]`: every member's start, from its own seed; sampled on the host in float64."""
        rows = [self._initial_row(m, member) for m, member in enumerate(self.members)]
        return torch.tensor(np.array(rows), dtype=self.dtype, device=self.device)

    def initial_buffers(self) -> torch.Tensor:
        """`[M, Q]`: running statistics before training."""
        row = torch.zeros(self.buffer_layout.size, dtype=self.dtype, device=self.device)
        for entry in self.buffer_layout.entries:
            row[entry.start : entry.stop] = entry.slot.fill
        return row.repeat(self.size, 1)

    def forward(
        self,
        params: Sequence[torch.Tensor],
        buffers: Sequence[torch.Tensor],
        x: torch.Tensor,
        ctx: Context,
        tape: list[Seen] | None = None,
        grads: Sequence[torch.Tensor] = (),
    ) -> torch.Tensor:
        """Outputs `[M, B, K]` for examples `[M, B, *shape]`; params and buffers as `views`.

        tape: gets what `backward` needs. grads: where that will write, as `views`.
        """
        x = x.to(self.compute_dtype)
        for index, stage in enumerate(self.stages):
            own = {name: params[at] for name, at in stage.params}
            for name, at in stage.buffers:
                own[name] = buffers[at]
            ctx.layer = index
            y = stage.layer.forward(x, own, stage.hyper, ctx)
            if tape is not None:
                into = {name: grads[at] for name, at in stage.params}
                tape.append(Seen(x, y, own, stage.hyper, into, index > self._first))
            x = y
        return x.float() if x.dtype is torch.bfloat16 else x

    def backward(self, dy: torch.Tensor, tape: list[Seen], ctx: Context) -> None:
        """Write each parameter's gradient where the tape says, in closed form.

        dy: the gradient by the outputs. tape: what `forward` left there.
        """
        for index in range(len(self.stages) - 1, self._first - 1, -1):
            ctx.layer = index
            dx = self.stages[index].layer.pull(dy, tape[index], ctx)
            if dx is not None:
                dy = dx

    def _compile(self, layers_of: Sequence[Sequence[Layer]]) -> None:
        shape, stages = self.signature.inputs, []
        self.widest = math.prod(shape)
        entries: dict[bool, list[Entry]] = {False: [], True: []}
        sizes = {False: 0, True: 0}
        for index, same in enumerate(zip(*layers_of, strict=True)):
            layer = same[0]
            declared = _declare(index, layer, shape)
            places: dict[bool, list[tuple[str, int]]] = {False: [], True: []}
            for slot in declared.slots:
                kind = slot.role == "buffer"
                start, stop = sizes[kind], sizes[kind] + math.prod(slot.shape)
                name = f"{index}.{layer.component}.{slot.name}"
                places[kind].append((slot.name, len(entries[kind])))
                entries[kind].append(Entry(name, index, slot, start, stop))
                sizes[kind] = stop
            hyper = self._hyper(list(same))
            stages.append(Stage(layer, hyper, tuple(places[False]), tuple(places[True])))
            shape = declared.output
            self.widest = max(self.widest, math.prod(shape))
        assert shape == (self.outputs,), "see check_shapes"
        self.stages = tuple(stages)
        self._first = next(i for i, stage in enumerate(stages) if stage.params)
        self.closed_form = self.loss.closed_form() and all(s.layer.closed_form() for s in stages)
        self.layout = Layout(tuple(entries[False]), sizes[False])
        self.buffer_layout = Layout(tuple(entries[True]), sizes[True])

    def _hyper(self, specs: Sequence[Any]) -> dict[str, Any]:
        stacked = stack(specs)
        return {
            field: torch.tensor(value, dtype=torch.float64, device=self.device)
            if isinstance(value, np.ndarray)
            else value
            for field, value in stacked.items()
        }

    def _initial_row(self, number: int, member: Experiment) -> np.ndarray:
        row = np.zeros(self.layout.size)
        weights = [e for e in self.layout.entries if e.slot.role == "weight"]
        own = self._slots(build_layers(member, self.signature, self.loss))
        for index, (entry, slot) in enumerate(zip(self.layout.entries, own, strict=True)):
            if slot.role != "weight":
                row[entry.start : entry.stop] = slot.fill
                continue
            how = slot.init or member.initialization
            if how is None:
                how = OUTPUT_INIT if entry is weights[-1] else self._suits(entry.layer)
            stream = streams.key(member.seed, streams.INITIALIZATION, index)
            sampled = how.sample(slot.shape, slot.fan_in, slot.fan_out, stream)
            row[entry.start : entry.stop] = sampled.ravel()
        return row

    def _slots(self, layers: Sequence[Layer]) -> list[Slot]:
        """One member's parameters in the layout's order: how they start is the member's own."""
        shape, slots = self.signature.inputs, list[Slot]()
        for index, layer in enumerate(layers):
            declared = _declare(index, layer, shape)
            slots += [slot for slot in declared.slots if slot.role != "buffer"]
            shape = declared.output
        return slots

    def _suits(self, layer: int) -> Initializer:
        """The start that suits the next activation after a layer."""
        for stage in self.stages[layer + 1 :]:
            if isinstance(stage.layer, Activation):
                return stage.layer.initialization
        return GlorotNormal()


def _declare(index: int, layer: Layer, shape: Shape) -> Declared:
    try:
        return layer.declare(shape)
    except ValueError as error:
        raise _unfit(f"layer {index}, {layer.component}: {error}") from None


def _unfit(message: str) -> ConfigError:
    return ConfigError([Problem("", "model", message)])
