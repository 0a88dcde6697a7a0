"""Residual blocks: what a branch computes is added to what it was given."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from nnexp.components.inits import Constant
from nnexp.components.layer import Context, Declared, Hyper, Layer, Seen, Shape, Slot, Tensors
from nnexp.components.layers.basic import Linear
from nnexp.components.layers.convolution import Conv1d, Conv2d, ConvTranspose2d
from nnexp.components.layers.normalization import BatchNorm, LayerNorm
from nnexp.lazy import functional, torch
from nnexp.registry import OneOf, param


class Residual(Layer):
    """A branch of layers around which the input passes: y = x + branch(x).

    The branch's last weighted layer (or the scale of the normalization after it) starts at 0, so
    that a block is the identity before training and a network of any depth starts at chance. Where
    the branch changes the shape, the input passes through a linear map (of images and signals: a
    convolution with a kernel of 1).

    Use: to make networks deep; two weighted layers a block are usual.

    Source: He et al. (2016), "Deep residual learning for image recognition"; Zhang, Dauphin & Ma
    (2019), "Fixup initialization", for the start.
    """

    name: Literal["residual"] = "residual"
    also = ("skip", "resblock", "residual_block")
    layers: list[OneOf[Layer]] = param(..., "the branch", min_length=1, max_length=1000)
    zero: bool = param(True, "start the branch at 0; false: as its layers start elsewhere")

    def parts(self) -> Sequence[Layer]:
        branch = silenced(self.layers) if self.zero else self.layers
        return (Fork(), *branch, Join())


def silenced(layers: Sequence[Layer]) -> list[Layer]:
    """The layers with the last one that has a scale or weights starting at 0."""
    found = list(layers)
    for place in reversed(range(len(found))):
        layer = found[place]
        if isinstance(layer, BatchNorm | LayerNorm):
            found[place] = layer.model_copy(update={"scale_start": 0.0})
            return found
        if isinstance(layer, Linear | Conv1d | Conv2d | ConvTranspose2d):
            if layer.init is None:
                found[place] = layer.model_copy(update={"init": Constant(value=0.0)})
            return found
    return found


class Fork(Layer):
    """Puts its input aside for the `Join` that closes the block."""

    @property
    def component(self) -> str:
        return "fork"

    def trace(self, shape: Shape, skips: list[Shape]) -> Declared:
        skips.append(shape)
        return Declared(shape)

    def forward(self, x: torch.Tensor, own: Tensors, hyper: Hyper, ctx: Context) -> torch.Tensor:
        ctx.skips.append(x)
        return x

    def pull(self, dy: torch.Tensor, seen: Seen, ctx: Context) -> torch.Tensor | None:
        skipped: torch.Tensor = ctx.skips.pop()
        return dy + skipped


class Join(Layer):
    """Adds what the `Fork` put aside, through a linear map if the shapes differ."""

    @property
    def component(self) -> str:
        return "join"

    def trace(self, shape: Shape, skips: list[Shape]) -> Declared:
        before = skips.pop()
        if before == shape:
            return Declared(shape)
        inputs, outputs = before[0], shape[0]
        if len(before) == len(shape) == 1:
            weight = Slot("weight", (inputs, outputs), "weight", inputs, outputs)
        elif len(before) == len(shape) and _step(before, shape):
            one, area = [1] * (len(shape) - 1), math.prod(shape[1:])
            kernel = (outputs, inputs, *one)
            weight = Slot("weight", kernel, "weight", inputs, outputs, shared=area)
        else:
            raise ValueError(f"the block turns {before} into {shape}; they can't be added")
        return Declared(shape, (weight,))

    def forward(self, x: torch.Tensor, own: Tensors, hyper: Hyper, ctx: Context) -> torch.Tensor:
        skip: torch.Tensor = ctx.skips.pop()
        ctx.kept[ctx.layer] = skip
        if not own:
            return x + skip
        weight = own["weight"]
        if skip.ndim == 3:
            return torch.baddbmm(x, skip, weight)
        step = _step(tuple(skip.shape[2:]), tuple(x.shape[2:]))
        convolve = functional.conv1d if skip.ndim == 4 else functional.conv2d
        each = [
            convolve(a, w, stride=step)
            for a, w in zip(skip.unbind(0), weight.unbind(0), strict=True)
        ]
        return x + torch.stack(each)

    def pull(self, dy: torch.Tensor, seen: Seen, ctx: Context) -> torch.Tensor | None:
        skip = ctx.kept[ctx.layer]
        if not seen.own:
            ctx.skips.append(dy)
            return dy
        assert skip.ndim == 3, "networks with convolutions are left to autograd"
        seen.grads["weight"].copy_(torch.bmm(skip.transpose(1, 2), dy))
        ctx.skips.append(torch.bmm(dy, seen.own["weight"].transpose(1, 2)))
        return dy


def _step(before: Shape, after: Shape) -> int:
    """The stride that takes one image's or signal's size to the other's; 0 if there is none."""
    step = -(-before[1] // after[1])
    fits = all(-(-b // step) == a for b, a in zip(before[1:], after[1:], strict=True))
    return step if fits else 0
