"""Presets of recurrent networks, for sequences of tokens and for series."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from nnexp.components.layer import Fit, Layer, Shape
from nnexp.components.layers.basic import Dropout, Linear, Reshape
from nnexp.components.layers.convolution import Conv1d
from nnexp.components.layers.embedding import Embedding
from nnexp.components.layers.recurrent import Gru, Lstm, Rnn
from nnexp.components.models.model import Model, Width
from nnexp.registry import param


class _RecurrentNet(Model):
    """What the presets share.

    Codes, as `tokenize` makes them, pass an embedding first; a row of numbers is a series with one
    channel; (channels, length) is taken as it is. Of an image each column of pixels is a step, as
    files of arrays [n, channels, length] are read as grey images.
    """

    layer: ClassVar[type[Rnn] | type[Lstm] | type[Gru]]

    units: Width = param(64, "size of the state, in each direction", also=("hidden", "hidden_size"))
    layers: int = param(1, "recurrent layers, one on the other", ge=1, le=100, also=("num_layers",))
    bidirectional: bool = param(False, "read backwards, too; not where the future is to be told")
    embedding: Width | None = param(
        None,
        "numbers a token",
        when="null: 1.6 · codes^0.56, at most 50",
        also=("embedding_dim", "embedding_width"),
    )
    dropout: float = param(
        0.0,
        "probability to drop a unit between recurrent layers and before the output",
        ge=0,
        lt=1,
        per_member=True,
        search="linear",
        also=("keep_prob", "dropout_rate"),
    )
    output: Literal["all", "last"] | None = param(
        None,
        "an answer at every position, or one after the last",
        when="null: all where the task has a class at every position, else last",
        also=("returns", "return_sequences"),
    )

    def build(self, inputs: Shape) -> list[Layer]:
        return self.layers_for(inputs, Fit(1))

    def layers_for(self, inputs: Shape, fit: Fit) -> list[Layer]:
        output = self.output or ("all" if fit.positions else "last")
        layers = self._first(inputs, fit)
        for number in range(self.layers):
            last = number == self.layers - 1
            layers.append(self._recurrent(output if last else "all"))
            if self.dropout > 0:
                layers.append(Dropout(rate=self.dropout))
        return [*layers, Linear() if output == "last" else Conv1d(kernel=1)]

    def _first(self, inputs: Shape, fit: Fit) -> list[Layer]:
        """What makes a sequence `(C, T)` of an example."""
        if len(inputs) == 2:
            return []
        if len(inputs) == 3:
            return [Reshape(shape=[inputs[0] * inputs[1], inputs[2]])]
        return (
            [Embedding(width=self.embedding)] if any(fit.codes) else [Reshape(shape=[1, *inputs])]
        )

    def _recurrent(self, returns: Literal["all", "last"]) -> Layer:
        return self.layer(units=self.units, bidirectional=self.bidirectional, returns=returns)


class RnnNet(_RecurrentNet):
    """Recurrent network: layers of `rnn` with an output at every position or after the last.

    Use: to see what gates are good for; it forgets what is more than some ten positions away.

    Source: Elman (1990), "Finding structure in time".
    """

    layer = Rnn
    name: Literal["rnn"] = "rnn"
    also = ("simple_rnn", "recurrent")
    activation: Literal["tanh", "relu"] = param("tanh", "function of the state")

    def _recurrent(self, returns: Literal["all", "last"]) -> Layer:
        how: dict[str, Any] = {"activation": self.activation, "returns": returns}
        return Rnn(units=self.units, bidirectional=self.bidirectional, **how)


class LstmNet(_RecurrentNet):
    """Recurrent network of `lstm` layers, with an output at every position or after the last.

    Use: for text and series where something long ago matters; clip gradients
    (`training.clip_grad_norm`), as they may explode.

    Source: Hochreiter & Schmidhuber (1997), "Long short-term memory".
    """

    layer = Lstm
    name: Literal["lstm"] = "lstm"
    also = ("long_short_term_memory",)


class GruNet(_RecurrentNet):
    """Recurrent network of `gru` layers, with an output at every position or after the last.

    Use: as `lstm`, with a quarter fewer weights.

    Source: Cho et al. (2014), "Learning phrase representations using RNN encoder–decoder".
    """

    layer = Gru
    name: Literal["gru"] = "gru"
    also = ("gated_recurrent_unit",)
