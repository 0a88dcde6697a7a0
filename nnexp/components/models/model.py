"""Architectures: each lists its layers for given inputs and outputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field

from nnexp.components.inits import Initializer, Normal
from nnexp.components.layer import Fit, Layer, Shape
from nnexp.components.layers.activations import Activation, Relu
from nnexp.components.layers.basic import Dropout, Flatten, Linear
from nnexp.components.layers.convolution import Conv1d, Conv2d, Pixels
from nnexp.components.layers.normalization import BatchNorm, LocalResponseNorm
from nnexp.components.layers.pooling import (
    AvgPool1d,
    AvgPool2d,
    GlobalAvgPool,
    MaxPool1d,
    MaxPool2d,
)
from nnexp.components.layers.residual import Residual
from nnexp.registry import OneOf, Spec, param

OUTPUT_INIT: Initializer = Normal(std=0.01)
"""The output layer's start where nothing is chosen: small, so that the first loss is chance."""


class Model(Spec, family="model"):
    """An architecture."""

    def build(self, inputs: Shape) -> list[Layer]:
        """The layers for examples of shape `inputs`; a `linear` with units null is the output."""
        raise AssertionError(f"{type(self).__name__} has no build")

    def layers_for(self, inputs: Shape, fit: Fit) -> list[Layer]:
        """As `build`, for an architecture that depends on more of the task than the inputs."""
        return self.build(inputs)


class LinearModel(Model):
    """One layer from inputs to outputs: linear or logistic regression, a perceptron.

    Use: as the baseline that any deeper network has to beat.
    """

    name: Literal["linear"] = "linear"
    also = ("logistic", "perceptron", "softmax_regression")
    bias: bool = param(True, "whether a bias is added")

    def build(self, inputs: Shape) -> list[Layer]:
        return [*_flat(inputs), Linear(bias=self.bias)]


Width = Annotated[int, Field(ge=1, le=1_000_000)]


class _Hidden(Model):
    """What the presets with hidden layers share."""

    activation: OneOf[Activation] = param(Relu(), "function after each hidden layer")
    batch_norm: bool | Literal["after"] = param(
        False, "batch normalization before each activation, or `after` it"
    )
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
        if self.batch_norm == "after":
            return [self.activation, BatchNorm()]
        return [BatchNorm(), self.activation] if self.batch_norm else [self.activation]


class Mlp(_Hidden):
    """Multilayer perceptron: fully connected layers of any depth and width.

    Use: for tables, and as the first thing to try on small images.

    Source: Rumelhart, Hinton & Williams (1986), "Learning representations by back-propagating
    errors".
    """

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
    """Convolutional network: blocks of convolution, activation and pooling, a dense head.

    For images (C, H, W), and in one dimension for signals (C, L).

    Use: for images and series, where the same feature may be anywhere.

    Source: LeCun, Bottou, Bengio & Haffner (1998), "Gradient-based learning applied to document
    recognition".
    """

    name: Literal["cnn"] = "cnn"
    also = ("convnet",)
    channels: list[Width] = param(
        [16, 32], "output channels of each block, from input to output", min_length=1
    )
    kernel: int = param(3, "size of the kernels in each direction", unit="pixels", ge=1, le=63)
    stride: int = param(1, "step of the kernels", unit="pixels", ge=1, le=63)
    padding: Pixels | Literal["same", "valid"] | None = param(
        None,
        "zeros around each block's input, or a rule: same (output = input / stride), valid (none)",
        when="null: same for odd kernels, else valid",
    )
    dilation: int = param(1, "distance of the kernels' taps", unit="pixels", ge=1, le=63)
    pool: int = param(2, "size of the pooling after each block; 1: none", ge=1, le=64)
    pool_kind: Literal["max", "avg"] = param("max", "largest value or mean of each window")
    local_response_norm: bool = param(False, "normalize over channels after each activation")
    global_pool: bool = param(False, "mean of each channel in place of flattening the last block")
    hidden: list[Width] = param([64], "units of each fully connected layer of the head")

    def build(self, inputs: Shape) -> list[Layer]:
        layers: list[Layer] = []
        for channels in self.channels:
            layers += [self._convolution(channels, len(inputs) == 2), *self.after()]
            if self.local_response_norm:
                layers.append(LocalResponseNorm())
            if self.pool > 1:
                layers.append(self._pooling(len(inputs) == 2))
        last = GlobalAvgPool() if self.global_pool else Flatten()
        return [*layers, last, *self.dense(self.hidden)]

    def _convolution(self, channels: int, signal: bool) -> Layer:
        padding = self.padding
        if padding is None:
            padding = "same" if self.kernel % 2 else "valid"
        return (Conv1d if signal else Conv2d)(
            channels=channels,
            kernel=self.kernel,
            stride=self.stride,
            padding=padding,
            dilation=self.dilation,
            bias=self.bias and not self.batch_norm,
        )

    def _pooling(self, signal: bool) -> Layer:
        if self.pool_kind == "avg":
            return (AvgPool1d if signal else AvgPool2d)(size=self.pool)
        return (MaxPool1d if signal else MaxPool2d)(size=self.pool)


class ResidualNet(_Hidden):
    """Fully connected layers in residual blocks of two, of any depth.

    Each block: [normalization], activation, linear, [normalization], activation, [dropout], linear,
    added to its input; an activation before the output.

    Use: for deep networks on tables: 100 blocks start at chance loss and train.

    Source: He et al. (2016), "Identity mappings in deep residual networks".
    """

    name: Literal["residual"] = "residual"
    also = ("resnet_mlp", "residual_mlp")
    blocks: int = param(4, "number of blocks", ge=1, le=10_000, also=("depth",))
    width: Width = param(64, "units of every layer", also=("units", "hidden"))

    def build(self, inputs: Shape) -> list[Layer]:
        first = Linear(units=self.width, bias=self.bias)
        block = Residual(layers=[*self._half(), *self._half(last=True)])
        end = self.after() if self.batch_norm != "after" else [self.activation]
        return [*_flat(inputs), first, *[block] * self.blocks, *end, Linear(bias=self.bias)]

    def _half(self, last: bool = False) -> list[Layer]:
        drop: list[Layer] = [Dropout(rate=self.dropout)] if last and self.dropout > 0 else []
        return [*self.after(), *drop, Linear(units=self.width, bias=self.bias)]


class Sequential(Model):
    """A list of layers, each by name and parameters, from input to output.

    A `linear` without `units` has as many as the task has outputs.

    Use: to write any other network by hand.
    """

    name: Literal["sequential"] = "sequential"
    layers: list[OneOf[Layer]] = param(..., "the layers", min_length=1, max_length=100_000)

    def build(self, inputs: Shape) -> list[Layer]:
        return list(self.layers)


def _flat(inputs: Shape) -> list[Layer]:
    return [Flatten()] if len(inputs) > 1 else []
