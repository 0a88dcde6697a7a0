"""Architectures for images: residual networks, U-Net, very deep plain networks."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator

from nnexp.components.inits import DeltaOrthogonal
from nnexp.components.layer import Layer, Shape
from nnexp.components.layers.activations import Activation, Relu, Tanh
from nnexp.components.layers.basic import Dropout, Flatten, Linear
from nnexp.components.layers.convolution import Conv2d, ConvTranspose2d
from nnexp.components.layers.joining import Concat, Swap
from nnexp.components.layers.normalization import BatchNorm
from nnexp.components.layers.pooling import GlobalAvgPool, MaxPool2d, Upsample
from nnexp.components.layers.residual import Fork, Join, silenced
from nnexp.components.models.model import Model
from nnexp.registry import OneOf, param, rule

Channels = Annotated[int, Field(ge=1, le=65_536)]
Blocks = Annotated[int, Field(ge=1, le=10_000)]


class _Vision(Model):
    """What the architectures for images share."""

    activation: OneOf[Activation] = param(Relu(), "function after the convolutions")
    batch_norm: bool = param(True, "batch normalization, in place of the convolutions' biases")

    def conv(self, channels: int, kernel: int = 3, stride: int = 1) -> Layer:
        """A convolution that keeps the size but for the stride."""
        return Conv2d(channels=channels, kernel=kernel, stride=stride, bias=not self.batch_norm)

    def norm(self) -> list[Layer]:
        return [BatchNorm()] if self.batch_norm else []

    def unit(self, channels: int, kernel: int = 3, stride: int = 1) -> list[Layer]:
        """Convolution, normalization, activation."""
        return [self.conv(channels, kernel, stride), *self.norm(), self.activation]


class ResNet(_Vision):
    """Residual network for images: stages of blocks, each stage half the size of the last.

    A block: convolution, normalization, activation, convolution, normalization, added to its input,
    activation. The first block of each stage but the first has a stride of 2; where it changes the
    shape, its input passes a convolution with a kernel of 1 and a normalization. The last scale of
    a block (without normalization: its last weights) starts at 0.

    Use: for images, as the first deep network to try; the defaults are ResNet-18.

    Source: He, Zhang, Ren & Sun (2016), "Deep residual learning for image recognition"; the start:
    Goyal et al. (2017), "Accurate, large minibatch SGD", section 5.1.
    """

    name: Literal["resnet"] = "resnet"
    also = ("resnet18", "resnet34", "resnet50", "residual_network")
    blocks: list[Blocks] = param([2, 2, 2, 2], "blocks of each stage", min_length=1, max_length=10)
    channels: list[Channels] | None = param(
        None, "channels of each stage", max_length=10, when="null: 64, 128, 256, …"
    )
    bottleneck: bool = param(
        False, "blocks of kernels 1, 3, 1, the last with four times the channels (ResNet-50)"
    )
    stem: Literal["small", "imagenet"] = param(
        "small", "the first layers: a convolution of 3, or of 7 with stride 2 and a pooling"
    )

    @field_validator("channels")
    @classmethod
    def _a_number_a_stage(cls, value: list[int] | None, info: ValidationInfo) -> list[int] | None:
        blocks = info.data.get("blocks")
        if value is not None and blocks is not None and len(value) != len(blocks):
            raise rule("needs one number a stage, as `blocks` has", f"{len(blocks)} numbers")
        return value

    def build(self, inputs: Shape) -> list[Layer]:
        widths = self.channels or [64 * 2**stage for stage in range(len(self.blocks))]
        before = widths[0]
        if self.stem == "imagenet":
            layers = [*self.unit(before, 7, 2), MaxPool2d(size=3, stride=2, padding=1)]
        else:
            layers = self.unit(before)
        for stage, (count, channels) in enumerate(zip(self.blocks, widths, strict=True)):
            after = 4 * channels if self.bottleneck else channels
            for number in range(count):
                stride = 2 if stage and not number else 1
                layers += self._block(channels, stride, project=stride > 1 or before != after)
                before = after
        return [*layers, GlobalAvgPool(), Linear()]

    def _block(self, channels: int, stride: int, project: bool) -> list[Layer]:
        if self.bottleneck:
            last, branch = 4 * channels, [*self.unit(channels, 1), *self.unit(channels, 3, stride)]
            branch += [self.conv(last, 1), *self.norm()]
        else:
            last, branch = channels, self.unit(channels, 3, stride)
            branch += [self.conv(last), *self.norm()]
        shortcut = [Swap(), self.conv(last, 1, stride), *self.norm()] if project else []
        return [Fork(), *silenced(branch), *shortcut, Join(), self.activation]


class WideResNet(_Vision):
    """Wide residual network: few layers with many channels, three stages.

    Blocks of normalization, activation, convolution, normalization, activation, [dropout],
    convolution, added to their input; the last convolution of a block starts at 0. Stages have
    16 k, 32 k and 64 k channels; depth = 6 n + 4 for n blocks a stage.

    Use: for small images (32 × 32) where a deep thin network is slow; depth 28, k = 10 is usual.

    Source: Zagoruyko & Komodakis (2016), "Wide residual networks".
    """

    name: Literal["wide_resnet"] = "wide_resnet"
    also = ("wrn", "wideresnet")
    depth: int = param(16, "number of layers, 6 n + 4", ge=10, le=60_004, also=("layers",))
    widen: int = param(4, "factor k on the channels", ge=1, le=100, also=("width", "widen_factor"))
    dropout: float = param(
        0.0,
        "probability to drop a unit between a block's convolutions",
        ge=0,
        lt=1,
        per_member=True,
        search="linear",
        also=("dropout_rate",),
    )

    @field_validator("depth")
    @classmethod
    def _of_whole_blocks(cls, value: int) -> int:
        if (value - 4) % 6:
            below = value - (value - 4) % 6
            raise rule("must be 6 n + 4 for n blocks a stage", f"such as {below} or {below + 6}")
        return value

    def build(self, inputs: Shape) -> list[Layer]:
        layers, before = [self.conv(16)], 16
        for stage, channels in enumerate((16 * self.widen, 32 * self.widen, 64 * self.widen)):
            for number in range((self.depth - 4) // 6):
                stride = 2 if stage and not number else 1
                layers += self._block(channels, stride, stride > 1 or before != channels)
                before = channels
        return [*layers, *self.norm(), self.activation, GlobalAvgPool(), Linear()]

    def _block(self, channels: int, stride: int, project: bool) -> list[Layer]:
        start: list[Layer] = [*self.norm(), self.activation]
        drop: list[Layer] = [Dropout(rate=self.dropout)] if self.dropout > 0 else []
        branch = [self.conv(channels, 3, stride), *self.norm(), self.activation, *drop]
        branch += silenced([self.conv(channels)])
        if project:  # the shortcut's convolution sees the activated input
            return [*start, Fork(), *branch, Swap(), self.conv(channels, 1, stride), Join()]
        return [Fork(), *start, *branch, Join()]


class UNet(_Vision):
    """U-Net: an encoder, a decoder, and connections between their levels of the same size.

    Each level has two convolutions with activations; between levels, pooling on the way down and an
    up-convolution on the way up, whose output is put beside the level's own. Images may have any
    size of at least 2^(levels − 1) pixels: what an odd size loses in pooling is filled with zeros.

    Use: for a class at every pixel (segmentation).

    Source: Ronneberger, Fischer & Brox (2015), "U-Net: convolutional networks for biomedical image
    segmentation" (here with padded convolutions, so that every pixel gets a class).
    """

    name: Literal["unet"] = "unet"
    also = ("u_net", "segmentation", "encoder_decoder")
    channels: list[Channels] = param(
        [16, 32, 64], "channels of each level, from the image down", min_length=2, max_length=12
    )
    up: Literal["transpose", "upsample"] = param(
        "transpose", "the way up: a transposed convolution, or nearest pixels and a convolution"
    )
    dropout: float = param(
        0.0,
        "probability to drop a unit of the lowest level",
        ge=0,
        lt=1,
        per_member=True,
        search="linear",
        also=("dropout_rate",),
    )

    def build(self, inputs: Shape) -> list[Layer]:
        steps = len(self.channels) - 1
        if len(inputs) == 3 and min(inputs[1:]) < 2**steps:
            size = " × ".join(map(str, inputs[1:]))
            raise ValueError(
                f"unet: {steps + 1} levels need {2**steps} pixels each way, images have {size}: "
                "give fewer `channels`"
            )
        inner = self._level(self.channels[-1])
        if self.dropout > 0:
            inner.append(Dropout(rate=self.dropout))
        for channels in reversed(self.channels[:-1]):
            branch = [MaxPool2d(), *inner, *self._way_up(channels)]
            inner = [*self._level(channels), Concat(layers=branch), *self._level(channels)]
        return [*inner, Conv2d(kernel=1)]

    def _level(self, channels: int) -> list[Layer]:
        return [*self.unit(channels), *self.unit(channels)]

    def _way_up(self, channels: int) -> list[Layer]:
        if self.up == "transpose":
            return [ConvTranspose2d(channels=channels)]
        return [Upsample(), Conv2d(channels=channels)]


class DeepCnn(Model):
    """Plain convolutional network of any depth: no skips, no normalization, no pooling between.

    Every convolution but the first keeps the size; all start orthogonal at the kernel's centre,
    0 elsewhere, so that signals and gradients keep their size through thousands of layers.

    Use: to study depth itself, with rates that shrink with it; for accuracy take `resnet`.

    Source: Xiao et al. (2018), "Dynamical isometry and a mean field theory of CNNs: how to train
    10,000-layer vanilla convolutional neural networks".
    """

    name: Literal["deep_cnn"] = "deep_cnn"
    also = ("vanilla_cnn", "plain_cnn", "deep_tanh")
    depth: int = param(
        100, "number of convolutions", ge=1, le=100_000, also=("layers", "num_layers")
    )
    channels: Channels = param(16, "channels of every layer", also=("width",))
    kernel: int = param(3, "size of the kernels, odd", unit="pixels", ge=1, le=63)
    stride: int = param(1, "step of the first convolution", unit="pixels", ge=1, le=63)
    activation: OneOf[Activation] = param(Tanh(), "function after each convolution")
    gain: float = param(1.0, "factor on the orthogonal start (σ_w)", gt=0, le=100)
    bias: bool = param(True, "whether layers have biases")

    @field_validator("kernel")
    @classmethod
    def _has_a_centre(cls, value: int) -> int:
        if value % 2 == 0:
            raise rule("an even kernel has no centre", "1, 3, 5, …")
        return value

    def build(self, inputs: Shape) -> list[Layer]:
        layers: list[Layer] = [self._conv(self.stride), self.activation]
        layers += [self._conv(1), self.activation] * (self.depth - 1)
        return [*layers, Flatten(), Linear(bias=self.bias)]

    def _conv(self, stride: int) -> Layer:
        start = DeltaOrthogonal(gain=self.gain)
        return Conv2d(
            channels=self.channels, kernel=self.kernel, stride=stride, bias=self.bias, init=start
        )
