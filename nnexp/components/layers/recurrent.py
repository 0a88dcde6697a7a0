"""Recurrent layers over sequences `(C, T)`: Elman's, LSTM and GRU.

Weights, biases and the order of gates are torch's: `weight_ih` is `[gates·H, C]`, `weight_hh`
`[gates·H, H]`, each with a bias, and the weights that read backwards end in `_reverse`. Members of
a pack step through time together, by one product for all; a member alone runs on torch's kernels.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from nnexp import streams
from nnexp.components.inits import GlorotUniform, Initializer, Orthogonal
from nnexp.components.layer import Context, Declared, Hyper, Layer, Shape, Slot, Tensors
from nnexp.lazy import torch
from nnexp.registry import OneOf, param


class ByGate(Initializer):
    """Each gate's part of a weight drawn by itself: an orthogonal matrix a gate, say."""

    each: Initializer
    gates: int

    @property
    def component(self) -> str:
        return "by_gate"

    def draw(self, shape: tuple[int, ...], fan_in: int, fan_out: int, stream: int) -> np.ndarray:
        one = (shape[0] // self.gates, *shape[1:])
        keys = [streams.key(stream, gate) for gate in range(self.gates)]
        return np.concatenate([self.each.sample(one, fan_in, fan_out, key) for key in keys])


@dataclass(frozen=True)
class Weights:
    """The weights of one direction, each `[M, …]`; no biases: None."""

    ih: torch.Tensor
    hh: torch.Tensor
    bias_ih: torch.Tensor | None
    bias_hh: torch.Tensor | None

    def alone(self) -> list[torch.Tensor]:
        """The tensors of the first member, as torch's kernels take them."""
        every = (self.ih, self.hh, self.bias_ih, self.bias_hh)
        return [tensor[0] for tensor in every if tensor is not None]


class _Recurrent(Layer):
    """What the recurrent layers share."""

    gates: ClassVar[int]

    units: int = param(64, "size of the state, in each direction", ge=1, le=65536)
    bidirectional: bool = param(
        False, "read backwards, too, with weights of its own; the states stand one after the other"
    )
    returns: Literal["all", "last"] = param(
        "all",
        "the state after every position, (units, T), or after the last that holds something, "
        "(units,)",
        also=("return_sequences",),
    )
    bias: bool = param(True, "whether biases are added")
    init: OneOf[Initializer] | None = param(
        None,
        "how the weights of the inputs start",
        when="null: the experiment's `initialization`; where that is auto, glorot_uniform",
    )
    recurrent_init: OneOf[Initializer] | None = param(
        None,
        "how the weights of the state start",
        when="null: the experiment's `initialization`; where that is auto, each gate orthogonal",
    )

    def declare(self, shape: Shape) -> Declared:
        if len(shape) != 2:
            raise ValueError(f"{self.component} needs sequences (channels, length), not {shape}")
        slots = [slot for end in self._ends() for slot in self._slots(*shape, end)]
        width = self.units * (2 if self.bidirectional else 1)
        return Declared((width, shape[1]) if self.returns == "all" else (width,), tuple(slots))

    def forward(self, x: torch.Tensor, own: Tensors, hyper: Hyper, ctx: Context) -> torch.Tensor:
        steps = x.transpose(2, 3)  # [M, B, T, C]
        there = present(ctx, x.shape[3])
        if there is not None:
            there = there.expand(x.shape[0], x.shape[1], -1)
        found = []
        for end in self._ends():
            weights = Weights(
                own[f"weight_ih{end}"],
                own[f"weight_hh{end}"],
                own.get(f"bias_ih{end}"),
                own.get(f"bias_hh{end}"),
            )
            order = None if there is None else reading_order(there, backwards=bool(end))
            found.append(self._read(steps, weights, order, there, backwards=bool(end)))
        states = found[0] if len(found) == 1 else torch.cat(found, -1)
        return states if self.returns == "last" else states.transpose(2, 3)

    def _read(
        self,
        steps: torch.Tensor,
        weights: Weights,
        order: torch.Tensor | None,
        there: torch.Tensor | None,
        backwards: bool,
    ) -> torch.Tensor:
        """The states `[M, B, T, H]` at their positions, or the last ones `[M, B, H]`.

        order: in which the positions are read; None: one after the other.
        """
        if order is not None:
            steps = _taken(steps, order)
        elif backwards:
            steps = steps.flip(2)
        states = self._states(steps, weights)
        if self.returns == "last":
            if there is None:
                return states[:, :, -1]
            length = there.sum(2)
            last = _taken(states, (length - 1).clamp_min(0)[..., None])[:, :, 0]
            return torch.where(length[..., None] > 0, last, 0.0)
        if order is not None and there is not None:
            states = _taken(states, order.argsort(2))
            return torch.where(there[..., None], states, 0.0)
        return states.flip(2) if backwards else states

    def _states(self, steps: torch.Tensor, weights: Weights) -> torch.Tensor:
        """The state after each step `[M, B, T, H]`, of steps `[M, B, T, C]`."""
        members, rows, length, channels = steps.shape
        if members == 1:
            return self._kernel(steps[0], weights)[None]
        inputs = steps.reshape(members, rows * length, channels)
        projected = torch.bmm(inputs, weights.ih.transpose(1, 2))
        if weights.bias_ih is not None:
            projected = projected + weights.bias_ih[:, None]
        each = projected.view(members, rows, length, -1).unbind(2)
        return torch.stack(list(self._walk(each, weights)), 2)

    def _kernel(self, steps: torch.Tensor, weights: Weights) -> torch.Tensor:
        """The states `[B, T, H]` of one member by torch's kernel."""
        raise AssertionError(f"{type(self).__name__} has no kernel")

    def _walk(self, inputs: tuple[torch.Tensor, ...], weights: Weights) -> Iterator[torch.Tensor]:
        """The state `[M, B, H]` after each step, of what the inputs give the gates."""
        raise AssertionError(f"{type(self).__name__} has no walk")

    def _start(self, like: torch.Tensor, members: int, rows: int) -> torch.Tensor:
        return like.new_zeros(members, rows, self.units)

    def _ends(self) -> tuple[str, ...]:
        """What the names of each direction's weights end in."""
        return ("", "_reverse") if self.bidirectional else ("",)

    def _slots(self, channels: int, length: int, end: str) -> list[Slot]:
        height = self.gates * self.units
        orthogonal = ByGate(each=Orthogonal(), gates=self.gates)
        weights = [
            Slot(
                f"weight_{kind}{end}",
                (height, inputs),
                "weight",
                inputs,
                self.units,
                init=init,
                suits=suits,
                shared=length,
            )
            for kind, inputs, init, suits in (
                ("ih", channels, self.init, GlorotUniform()),
                ("hh", self.units, self.recurrent_init, orthogonal),
            )
        ]
        fills = {"ih": self._bias_start(), "hh": 0.0}
        biases = [
            Slot(f"bias_{kind}{end}", (height,), "bias", fill=fill, shared=length)
            for kind, fill in fills.items()
        ]
        return [*weights, *biases] if self.bias else weights

    def _bias_start(self) -> float | tuple[float, ...]:
        """What the input's bias starts at."""
        return 0.0


class Rnn(_Recurrent):
    """Recurrent layer: the state is a function of the input and the state before.

    Formula: h_t = tanh(W_ih x_t + b_ih + W_hh h_{t−1} + b_hh), h_0 = 0.

    Use: for short sequences and to see what gates are good for; `lstm` or `gru` remember longer.

    Source: Elman (1990), "Finding structure in time".
    """

    name: Literal["rnn"] = "rnn"
    also = ("simple_rnn", "elman", "recurrent")
    gates = 1
    activation: Literal["tanh", "relu"] = param(
        "tanh", "function of the state", also=("nonlinearity",)
    )

    def _kernel(self, steps: torch.Tensor, weights: Weights) -> torch.Tensor:
        run = torch.rnn_tanh if self.activation == "tanh" else torch.rnn_relu
        start = self._start(steps, 1, len(steps))
        return run(steps, start, weights.alone(), self.bias, 1, 0.0, True, False, True)[0]

    def _walk(self, inputs: tuple[torch.Tensor, ...], weights: Weights) -> Iterator[torch.Tensor]:
        state = self._start(inputs[0], *inputs[0].shape[:2])
        for given in inputs:
            total = given + _from_state(state, weights)
            state = total.tanh() if self.activation == "tanh" else total.relu()
            yield state


class Lstm(_Recurrent):
    """Long short-term memory: gates decide what a cell keeps, takes in and shows.

    The gates stand in torch's order: input, forget, cell, output. The forget gates start open, by
    their bias, so that what is far away is felt from the beginning.

    Formula: c_t = σ(f_t) ⊙ c_{t−1} + σ(i_t) ⊙ tanh(g_t), h_t = σ(o_t) ⊙ tanh(c_t), where each of
    i, f, g, o is W_ih x_t + b_ih + W_hh h_{t−1} + b_hh with rows of its own.

    Use: for text, series and signals where something long ago matters.

    Source: Hochreiter & Schmidhuber (1997), "Long short-term memory"; Gers, Schmidhuber & Cummins
    (2000), "Learning to forget"; Jozefowicz, Zaremba & Sutskever (2015), "An empirical exploration
    of recurrent network architectures", for the forget gate's bias of 1.
    """

    name: Literal["lstm"] = "lstm"
    also = ("long_short_term_memory",)
    gates = 4
    forget_bias: float = param(1.0, "what the forget gate's bias starts at", ge=-10, le=10)

    def _kernel(self, steps: torch.Tensor, weights: Weights) -> torch.Tensor:
        start = self._start(steps, 1, len(steps))
        found = torch.lstm(
            steps, [start, start], weights.alone(), self.bias, 1, 0.0, True, False, True
        )
        return found[0]

    def _walk(self, inputs: tuple[torch.Tensor, ...], weights: Weights) -> Iterator[torch.Tensor]:
        state = cell = self._start(inputs[0], *inputs[0].shape[:2])
        for given in inputs:
            total = given + _from_state(state, weights)
            take, keep, new, show = total.chunk(4, -1)
            cell = keep.sigmoid() * cell + take.sigmoid() * new.tanh()
            state = show.sigmoid() * cell.tanh()
            yield state

    def _bias_start(self) -> float | tuple[float, ...]:
        parts = (0.0, self.forget_bias, 0.0, 0.0)
        return tuple(value for value in parts for _ in range(self.units))


class Gru(_Recurrent):
    """Gated recurrent unit: as good as an LSTM on much, with three gates and no cell.

    The gates stand in torch's order: reset, update, new. The reset gate acts after the product with
    W_hn, as in torch and cuDNN (the paper has it before).

    Formula: h_t = (1 − σ(z_t)) ⊙ n_t + σ(z_t) ⊙ h_{t−1}, n_t = tanh(W_in x_t + b_in + σ(r_t) ⊙
    (W_hn h_{t−1} + b_hn)).

    Use: as `lstm`, with a quarter fewer weights.

    Source: Cho et al. (2014), "Learning phrase representations using RNN encoder–decoder for
    statistical machine translation".
    """

    name: Literal["gru"] = "gru"
    also = ("gated_recurrent_unit",)
    gates = 3

    def _kernel(self, steps: torch.Tensor, weights: Weights) -> torch.Tensor:
        start = self._start(steps, 1, len(steps))
        return torch.gru(steps, start, weights.alone(), self.bias, 1, 0.0, True, False, True)[0]

    def _walk(self, inputs: tuple[torch.Tensor, ...], weights: Weights) -> Iterator[torch.Tensor]:
        state = self._start(inputs[0], *inputs[0].shape[:2])
        for given in inputs:
            reset, update, new = given.chunk(3, -1)
            reset_h, update_h, new_h = _from_state(state, weights).chunk(3, -1)
            fresh = (new + (reset + reset_h).sigmoid() * new_h).tanh()
            state = torch.lerp(fresh, state, (update + update_h).sigmoid())
            yield state


class MeanOverTime(Layer):
    """The mean of each channel over the positions that hold something: (C, T) to (C,).

    Padding is left out, as `embedding` marks it; of an empty sequence the mean is 0.

    Use: in place of the last state, or on embeddings alone, which makes a bag of words.
    """

    name: Literal["mean_over_time"] = "mean_over_time"
    also = ("mean_pool", "average_over_time")

    def declare(self, shape: Shape) -> Declared:
        if len(shape) != 2:
            raise ValueError(f"mean_over_time needs sequences (channels, length), not {shape}")
        return Declared(shape[:1])

    def forward(self, x: torch.Tensor, own: Tensors, hyper: Hyper, ctx: Context) -> torch.Tensor:
        there = present(ctx, x.shape[3])
        if there is None:
            return x.mean(3)
        total = torch.where(there[:, :, None], x, 0.0).sum(3)
        return total / there.sum(2).clamp_min(1)[..., None].to(x.dtype)


def present(ctx: Context, length: int) -> torch.Tensor | None:
    """Which of so many positions hold something, `[M, B, T]`; None: all.

    Where layers have made the sequences shorter, a position holds something if the first did that
    it stands for.
    """
    there = ctx.there
    if there is None or there.shape[2] == length:
        return there
    before: int = there.shape[2]
    return there[:, :, torch.arange(length, device=there.device) * before // length]


def reading_order(there: torch.Tensor, backwards: bool) -> torch.Tensor:
    """The positions `[M, B, T]` as they are read: those that hold something first, in their order.

    backwards: the last of them first, so that each sequence is reversed by its own length.
    """
    forwards = (~there).to(torch.uint8).argsort(stable=True, dim=2)
    if not backwards:
        return forwards
    place = torch.arange(there.shape[2], device=there.device)
    length = there.sum(2, keepdim=True)
    return forwards.gather(2, torch.where(place < length, length - 1 - place, place))


def _taken(x: torch.Tensor, order: torch.Tensor) -> torch.Tensor:
    """`[M, B, T, F]` with other positions, `[M, B, S]`."""
    return x.gather(2, order[..., None].expand(-1, -1, -1, x.shape[3]))


def _from_state(state: torch.Tensor, weights: Weights) -> torch.Tensor:
    """What the state gives the gates, `[M, B, gates·H]`."""
    across = weights.hh.transpose(1, 2)
    if weights.bias_hh is None:
        return torch.bmm(state, across)
    return torch.baddbmm(weights.bias_hh[:, None], state, across)
