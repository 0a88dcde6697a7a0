"""A pack of experiments compiled into one network whose every tensor has a member axis.

All parameters of a member lie in one flat row, so a pack's parameters are one tensor `[M, P]`:
optimizers, penalties and clipping work on it whole, and members differ by row.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from nnexp import streams
from nnexp.components.inits import Auto, GlorotNormal, Initializer
from nnexp.components.layer import Context, Hyper, Layer, Seen
from nnexp.components.layers.activations import Activation
from nnexp.components.layers.basic import Dropout, Linear
from nnexp.components.layout import Entry, Layout, Scope, chosen
from nnexp.components.metrics.metric import Metric
from nnexp.components.models.model import OUTPUT_INIT
from nnexp.components.regularizers import Regularizer
from nnexp.config.experiment import Experiment
from nnexp.lazy import torch
from nnexp.registry import stack
from nnexp.train.augment import Augmenter
from nnexp.train.blueprint import Signature, build_layers, declare, lay_out
from nnexp.train.checkpointing import bounds, checkpointed, pieces

Views: TypeAlias = "Sequence[torch.Tensor] | Mapping[int, torch.Tensor]"
"""Tensors by their number in a layout: all of them, or some."""


@dataclass(frozen=True)
class Stage:
    """A layer in its place: its per-member fields, and where its tensors are in the layouts.

    frozen: whether it stays as it is: its statistics, too, so it runs as in evaluation.
    """

    layer: Layer
    hyper: Hyper
    params: tuple[tuple[str, int], ...]
    buffers: tuple[tuple[str, int], ...]
    frozen: bool


class Program:
    """The compiled pack: layouts, stages and per-member constants on one device."""

    def __init__(
        self,
        members: Sequence[Experiment],
        signature: Signature,
        device: torch.device,
        class_counts: np.ndarray | None = None,
    ) -> None:
        """class_counts: training examples of each class, `[M, C]`; None if there are no classes."""
        first = members[0]
        assert first.loss is not None
        self.members = tuple(members)
        self.schedules = _numbered([repr(member.schedule) for member in members])
        """For each member a number that members with an equal schedule share."""
        self.signature = signature
        self.device = device
        self.loss = first.loss
        if class_counts is not None:
            self.loss = first.loss.knowing(signature.classes, class_counts)
        self.metrics: tuple[Metric, ...] = tuple(first.metrics or ())
        precision = first.training.precision
        self.dtype = torch.float64 if precision == "float64" else torch.float32
        self.compute_dtype = torch.bfloat16 if precision == "bf16" else self.dtype
        self._compile([build_layers(m, signature, self.loss) for m in members])
        self.task = first.task
        self.sampler = first.sampler
        self.optimizer = first.optimizer
        self.optimizer_hyper = self._hyper([m.optimizer for m in members])
        self.regularizers = [
            (spec, self._hyper([m.regularization[name] for m in members]), self._scope(spec))
            for name, spec in first.regularization.items()
        ]
        changes = zip(*[m.augmentation for m in members], strict=True)
        self.augmenter = Augmenter(members, [self._hyper(same) for same in changes], device)
        self.test_time = first.test_time
        self.clip = self._hyper([m.training for m in members])
        self.weights = self._weights()
        self.rate_factors = self._rate_factors()
        self.class_weights = self._class_weights(class_counts)
        self.counts = self._word_counts(class_counts)
        self.dropout_keys = streams.member_keys([m.seed for m in members], streams.DROPOUT, device)
        self.optimizer_keys = streams.member_keys(
            [m.seed for m in members], streams.EVOLUTION, device
        )

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
        rows = torch.zeros(self.size, self.buffer_layout.size, dtype=self.dtype, device=self.device)
        for row, member in zip(rows, self.members, strict=True):
            for entry in self.buffer_layout.entries:
                known = member.initialization.stored(entry.name, entry.slot.shape)
                start = torch.as_tensor(entry.slot.fill if known is None else known).flatten()
                row[entry.start : entry.stop] = start
        return rows

    def forward(
        self,
        params: Sequence[torch.Tensor],
        buffers: Sequence[torch.Tensor],
        x: torch.Tensor,
        ctx: Context,
        tape: list[Seen] | None = None,
        grads: Sequence[torch.Tensor] = (),
        checkpoint: bool = False,
    ) -> torch.Tensor:
        """Outputs `[M, B, K]` for examples `[M, B, *shape]`; params and buffers as `views`.

        tape: gets what `backward` needs. grads: where that will write, as `views`.
        checkpoint: whether activations may be computed again for the gradient.
        """
        training, ctx.counts = ctx.training, self.counts
        if not self.stages[0].layer.takes_codes:
            x = x.to(self.compute_dtype)
        if self.pieces > 1 and training and checkpoint and torch.is_grad_enabled():
            for first, end in bounds(len(self.stages), self.pieces):
                x = self._checkpointed(params, buffers, x, ctx, range(first, end))
        else:
            everything = range(len(self.stages))
            x = self._through(params, buffers, x, ctx, everything, tape, grads)
        ctx.training = training
        return x.float() if x.dtype is torch.bfloat16 else x

    def _through(
        self,
        params: Views,
        buffers: Views,
        x: torch.Tensor,
        ctx: Context,
        layers: range,
        tape: list[Seen] | None = None,
        grads: Sequence[torch.Tensor] = (),
    ) -> torch.Tensor:
        """`forward` through some of the layers."""
        training = ctx.training
        for index in layers:
            stage = self.stages[index]
            samples = ctx.samples and isinstance(stage.layer, Dropout)
            ctx.training = samples or (training and not stage.frozen)
            own = {name: params[at] for name, at in stage.params}
            for name, at in stage.buffers:
                own[name] = buffers[at]
            ctx.layer = index
            if self.task == "words" and index == len(self.stages) - 1:
                assert ctx.words is not None
                return self.loss.of_windows(x, ctx.words, own["weight"], ctx)[..., None]
            if ctx.target is not None and index == len(self.stages) - 1:
                bias = own.get("bias")
                return self.loss.of_head(x, own["weight"], bias, ctx.target)[..., None]
            y = stage.layer.forward(x, own, stage.hyper, ctx)
            if tape is not None:
                into = {name: grads[at] for name, at in stage.params}
                tape.append(Seen(x, y, own, stage.hyper, into, index > self._first))
            x = y
        ctx.training = training
        return x

    def _checkpointed(
        self, params: Views, buffers: Views, x: torch.Tensor, ctx: Context, layers: range
    ) -> torch.Tensor:
        """`_through`, keeping for the gradient only what goes in."""
        uses = [at for index in layers for _, at in self.stages[index].params]
        state = [at for index in layers for _, at in self.stages[index].buffers]
        before = {at: buffers[at].clone() for at in state}  # as the second pass is to find them
        count, entered = len(ctx.skips), copy.copy(ctx)

        def piece(tensors: Sequence[torch.Tensor], again: bool) -> tuple[torch.Tensor, ...]:
            own = dict(zip(uses, tensors[count + 1 :], strict=True))
            at_hand = {at: old.clone() for at, old in before.items()} if again else buffers
            inside = copy.copy(entered)
            inside.kept, inside.skips = {}, list(tensors[1 : count + 1])
            y = self._through(own, at_hand, tensors[0], inside, layers)
            if not again:
                ctx.there, ctx.words = inside.there, inside.words
            return (y, *inside.skips)

        y, *skips = checkpointed(piece, [x, *ctx.skips, *(params[at] for at in uses)])
        ctx.skips[:] = skips
        return y

    def backward(self, dy: torch.Tensor, tape: list[Seen], ctx: Context) -> None:
        """Write each parameter's gradient where the tape says, in closed form.

        dy: the gradient by the outputs. tape: what `forward` left there.
        """
        for index in range(len(self.stages) - 1, self._first - 1, -1):
            ctx.layer = index
            dx = self.stages[index].layer.pull(dy, tape[index], ctx)
            if dx is not None:
                dy = dx

    def training_losses(
        self,
        params: Sequence[torch.Tensor],
        buffers: Sequence[torch.Tensor],
        x: torch.Tensor,
        target: torch.Tensor,
        ctx: Context,
    ) -> torch.Tensor:
        """Each example's loss `[M, B]`, of as few of the outputs as it needs; see `forward`."""
        if not self.is_narrow:
            return self.losses(self.forward(params, buffers, x, ctx, checkpoint=True), target)
        ctx.target = target
        narrow = self.forward(params, buffers, x, ctx, checkpoint=True)
        return self._weighed(narrow[..., 0], target)

    def _weighed(self, losses: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        weights = self.weights_of(target)
        return losses if weights is None else losses * weights.to(losses.dtype)

    def losses(self, outputs: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Each example's loss `[M, B]`, class weights included.

        Of a dense task (outputs `[M, B, K, *positions]`) the mean over positions with a target.
        """
        if self.task == "dense":
            return self._dense_losses(by_position(outputs), target.flatten(2))
        if self.task == "words":  # then `forward` has come to the losses already
            return outputs[..., 0]
        return self._weighed(self.loss.per_example(outputs, target), target)

    def _dense_losses(self, outputs: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """From outputs `[M, B, P, K]` and targets `[M, B, P]`."""
        there = target >= 0
        right = target.clamp_min(0).flatten(1)
        losses = self._weighed(self.loss.per_example(outputs.flatten(1, 2), right), right)
        losses = torch.where(there, losses.view(there.shape), 0.0)
        return losses.sum(2) / there.sum(2).clamp_min(1)

    def weights_of(self, target: torch.Tensor) -> torch.Tensor | None:
        """The weight of each example's class, `[M, B]`; None if all weigh the same."""
        if self.class_weights is None:
            return None
        return self.class_weights.expand(target.shape[0], -1).gather(1, target)

    def _compile(self, layers_of: Sequence[Sequence[Layer]]) -> None:
        layers = layers_of[0]
        declared = declare(layers, self.signature.inputs)
        self.layout, self.buffer_layout = lay_out(layers, declared)
        shapes = [self.signature.inputs, *(one.output for one in declared)]
        assert shapes[-1] == (self.outputs, *self.signature.positions), "see check_model"
        self.shapes = tuple(shapes)
        self.widest = max(math.prod(shape) for shape in shapes)
        still = dict.fromkeys(self.members[0].initialization.frozen, True)
        entries = (*self.layout.entries, *self.buffer_layout.entries)
        self.frozen = {entry.layer for entry in entries if chosen(entry, still)}
        params, buffers = _by_layer(self.layout), _by_layer(self.buffer_layout)
        self.stages = tuple(
            Stage(
                same[0],
                self._hyper(list(same)),
                params.get(i, ()),
                buffers.get(i, ()),
                i in self.frozen,
            )
            for i, same in enumerate(zip(*layers_of, strict=True))
        )
        self.pieces = self._pieces(len(layers_of))
        self._first = next(i for i, stage in enumerate(self.stages) if stage.params)
        is_flat = not self.signature.positions
        few, last = self.loss.narrow_from, self.stages[-1].layer
        self.is_narrow = (
            few is not None
            and self.outputs >= few
            and self.members[0].task == "classification"
            and isinstance(last, Linear)
        )
        self.closed_form = (
            is_flat
            and not self.is_narrow
            and self.loss.closed_form()
            and all(
                stage.layer.closed_form() and not (stage.frozen and stage.buffers)
                for stage in self.stages
            )
        )

    def _pieces(self, members: int) -> int:
        """In how many pieces the layers' activations are kept, or computed again."""
        training, rows = self.members[0].training, self.signature.train_rows
        batch = rows if training.batch_size == "full" else min(training.batch_size, rows)
        units = sum(math.prod(shape) for shape in self.shapes)
        held = members * batch * units * torch.finfo(self.compute_dtype).bits // 8
        return pieces(training.activation_checkpointing, len(self.stages), held)

    def _weights(self) -> torch.Tensor:
        """`[P]`: 1 where a parameter is a weight, 0 for biases and the scales of norms."""
        return self._by_entry(lambda entry: float(entry.slot.role == "weight"))

    def _scope(self, spec: Regularizer) -> Scope:
        def strength(entry: Entry) -> float:
            acts = entry.slot.role == "weight" or spec.biases
            by_layer = chosen(entry, spec.layers)
            return (1.0 if by_layer is None else by_layer) if acts else 0.0

        return Scope(self._by_entry(strength), self.layout)

    def _rate_factors(self) -> torch.Tensor | None:
        """`[1, P]`: each parameter's factor on the learning rate; None if all are 1."""
        optimizer = self.optimizer

        def factor(entry: Entry) -> float:
            by_layer = chosen(entry, optimizer.layers)
            shared = entry.slot.shared if optimizer.rate_rule == "sqrt_connections" else 1
            still = entry.layer in self.frozen
            return 0.0 if still else (1.0 if by_layer is None else by_layer) * math.sqrt(shared)

        if all(factor(entry) == 1.0 for entry in self.layout.entries):
            return None
        return self._by_entry(factor)[None]

    def _by_entry(self, value: Callable[[Entry], float]) -> torch.Tensor:
        row = torch.zeros(self.layout.size, dtype=self.dtype, device=self.device)
        for entry in self.layout.entries:
            row[entry.start : entry.stop] = value(entry)
        return row

    def _word_counts(self, counts: np.ndarray | None) -> torch.Tensor | None:
        """How often each word is there, `[M or 1, V]` float64; None if it isn't running text."""
        if self.task != "words" or counts is None:
            return None
        same = bool((counts == counts[0]).all())
        return torch.tensor(counts[:1] if same else counts, dtype=torch.float64, device=self.device)

    def _class_weights(self, counts: np.ndarray | None) -> torch.Tensor | None:
        """`[M, C]`, or None where every class weighs the same."""
        if self.loss.class_weights is None:
            return None
        assert counts is not None
        weights = [self.loss.weigh(self.signature.classes, row) for row in counts]
        return torch.tensor(np.stack(weights), dtype=torch.float64, device=self.device)

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
        last = max(i for i, e in enumerate(self.layout.entries) if e.slot.role == "weight")
        layers = build_layers(member, self.signature, self.loss)
        declared = declare(layers, self.signature.inputs)
        own = lay_out(layers, declared)[0].entries  # how they start is the member's own
        for index, entry in enumerate(own):
            slot, start = entry.slot, member.initialization
            known = start.stored(entry.name, slot.shape)
            if known is not None:
                row[entry.start : entry.stop] = known.ravel()
                continue
            if slot.role != "weight":
                row[entry.start : entry.stop] = slot.fill
                continue
            how = slot.init or chosen(entry, start.layers) or start.fresh
            if isinstance(how, Auto):
                how = slot.suits or (OUTPUT_INIT if index == last else self._suits(entry.layer))
            stream = streams.key(member.seed, streams.INITIALIZATION, index)
            sampled = how.sample(slot.shape, slot.fan_in, slot.fan_out, stream)
            row[entry.start : entry.stop] = sampled.ravel()
        return row

    def _suits(self, layer: int) -> Initializer:
        """The start that suits the next activation after a layer."""
        for stage in self.stages[layer + 1 :]:
            if isinstance(stage.layer, Activation):
                return stage.layer.initialization
        return GlorotNormal()


def _numbered(texts: Sequence[str]) -> list[int]:
    """Each text's place among the different ones."""
    places = {text: place for place, text in enumerate(dict.fromkeys(texts))}
    return [places[text] for text in texts]


def by_position(outputs: torch.Tensor) -> torch.Tensor:
    """Outputs `[M, B, K, *positions]` as `[M, B, P, K]`."""
    return outputs.flatten(3).transpose(2, 3).contiguous()


def _by_layer(layout: Layout) -> dict[int, tuple[tuple[str, int], ...]]:
    """For each layer the names of its tensors, and their numbers in the layout."""
    found: dict[int, tuple[tuple[str, int], ...]] = {}
    for number, entry in enumerate(layout.entries):
        found[entry.layer] = (*found.get(entry.layer, ()), (entry.slot.name, number))
    return found
