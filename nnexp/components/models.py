"""Architectures: each lists its layers for given inputs and outputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field

from nnexp.components.activations import Activation, Relu
from nnexp.components.inits import Initializer, Normal
from nnexp.components.layer import Layer, Shape
from nnexp.components.layers import BatchNorm, Conv2d, Dropout, Flatten, Linear, MaxPool2d
from nnexp.registry import OneOf, Spec, param

OUTPUT_INIT: Initializer = Normal(std=0.01)
"""The output layer's start where nothing is chosen: small, so that the first loss is chance."""


class Model(Spec, family="model"):
    """An architecture."""

    def build(self, inputs: Shape) -> list[Layer]:
        """The layers for examples of shape `inputs`; a `linear` with units null is the output."""
        raise AssertionError(f"{type(self).__name__} has no build")


class LinearModel(Model):
    """One layer from inputs to outputs: linear or logistic regression, a perceptron."""

    name: Literal["linear"] = "linear"
    also = ("logistic", "perceptron", "softmax_regression")
    bias: bool = param(True, "whether a bias is added")

    def build(self, inputs: Shape) -> list[Layer]:
        return [*_flat(inputs), Linear(bias=self.bias)]


Width = Annotated[int, Field(ge=1, le=1_000_000)]


class _Hidden(Model):
    """What the presets with hidden layers share."""

    activation: OneOf[Activation] = param(Relu(), "function after each hidden layer")
    batch_norm: bool = param(False, "batch normalization before each activation")
    dropout: float = param(
        0.0,
        "probability to drop a hidden unit",
        ge=0,
        lt=1,
        per_member=True,
        search="linear",
        also=("keep_prob", "dropout_rate"),
    )
    bias: bool = param(True, "whether layers have biases (hidden ones drop it under batch norm)")

    def dense(self, hidden: Sequence[int]) -> list[Layer]:
        """Fully connected hidden layers and the output."""
        layers: list[Layer] = []
        for units in hidden:
            layers.append(Linear(units=units, bias=self.bias and not self.batch_norm))
            layers += self.after()
            if self.dropout > 0:
                layers.append(Dropout(rate=self.dropout))
        return [*layers, Linear(bias=self.bias)]

    def after(self) -> list[Layer]:
        """What follows each weighted hidden layer."""
        return [BatchNorm(), self.activation] if self.batch_norm else [self.activation]


class Mlp(_Hidden):
    """Multilayer perceptron: fully connected layers of any depth and width."""

    name: Literal["mlp"] = "mlp"
    hidden: list[Width] = param(
        [64], "units of each hidden layer, from input to output", min_length=1, max_length=10_000
    )
    input_dropout: float = param(
        0.0, "probability to drop an input", ge=0, lt=1, per_member=True, search="linear"
    )

    def build(self, inputs: Shape) -> list[Layer]:
        first: list[Layer] = [Dropout(rate=self.input_dropout)] if self.input_dropout > 0 else []
        return [*_flat(inputs), *first, *self.dense(self.hidden)]


class Cnn(_Hidden):
    """Convolutional network: blocks of convolution, activation and max pooling, a dense head."""

    name: Literal["cnn"] = "cnn"
    also = ("convnet",)
    channels: list[Width] = param(
        [16, 32], "output channels of each block, from input to output", min_length=1
    )
    kernel: int = param(3, "height and width of the kernels", unit="pixels", ge=1, le=63)
    pool: int = param(2, "size of the max pooling after each block; 1: none", ge=1, le=64)
    hidden: list[Width] = param([64], "units of each fully connected layer of the head")

    def build(self, inputs: Shape) -> list[Layer]:
        layers: list[Layer] = []
        padding: Literal["same", "valid"] = "same" if self.kernel % 2 else "valid"
        bias = self.bias and not self.batch_norm
        for channels in self.channels:
            conv = Conv2d(channels=channels, kernel=self.kernel, padding=padding, bias=bias)
            layers += [conv, *self.after()]
            if self.pool > 1:
                layers.append(MaxPool2d(size=self.pool))
        return [*layers, Flatten(), *self.dense(self.hidden)]


class Sequential(Model):
    """A list of layers, each by name and parameters, from input to output.

    A `linear` without `units` has as many as the task has outputs.
    """

    name: Literal["sequential"] = "sequential"
    layers: list[OneOf[Layer]] = param(..., "the layers", min_length=1, max_length=100_000)

    def build(self, inputs: Shape) -> list[Layer]:
        return list(self.layers)


def _flat(inputs: Shape) -> list[Layer]:
    return [Flatten()] if len(inputs) > 1 else []
