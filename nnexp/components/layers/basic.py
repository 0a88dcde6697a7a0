"""The basic layers: flatten, reshape, fully connected, dropout."""

from __future__ import annotations

import math
from typing import Annotated, Literal, Self

from pydantic import Field

from nnexp.components.inits import Initializer
from nnexp.components.layer import (
    Context,
    Declared,
    Fit,
    Hyper,
    Layer,
    Seen,
    Shape,
    Slot,
    Tensors,
    per_member,
)
from nnexp.lazy import torch
from nnexp.registry import OneOf, param


class Flatten(Layer):
    """Turns an image (C, H, W) into a row of C·H·W features.

    Use: between convolutions and fully connected layers; presets put it there by themselves.
    """

    name: Literal["flatten"] = "flatten"

    def declare(self, shape: Shape) -> Declared:
        return Declared((math.prod(shape),))

    def forward(self, x: torch.Tensor, own: Tensors, hyper: Hyper, ctx: Context) -> torch.Tensor:
        return x.flatten(2)

    def pull(self, dy: torch.Tensor, seen: Seen, ctx: Context) -> torch.Tensor | None:
        return dy.view_as(seen.x)


Size = Annotated[int, Field(ge=1, le=2**24)]


class Reshape(Layer):
    """The same numbers in another shape, such as a table's row as channels and time.

    Use: before conv1d or conv2d, when columns are steps of a series or pixels of an image.
    """

    name: Literal["reshape"] = "reshape"
    also = ("view", "unflatten")
    shape: list[Size] = param(
        ..., "shape of an example, row by row: [channels, length], …", min_length=1, max_length=5
    )

    def declare(self, shape: Shape) -> Declared:
        if math.prod(shape) != math.prod(self.shape):
            wanted = " × ".join(map(str, self.shape))
            raise ValueError(f"reshape: {math.prod(shape)} numbers an example are not {wanted}")
        return Declared(tuple(self.shape))

    def forward(self, x: torch.Tensor, own: Tensors, hyper: Hyper, ctx: Context) -> torch.Tensor:
        return x.reshape(*x.shape[:2], *self.shape)

    def pull(self, dy: torch.Tensor, seen: Seen, ctx: Context) -> torch.Tensor | None:
        return dy.reshape(seen.x.shape)


class Linear(Layer):
    """Fully connected layer: y = x W + b, with W of shape [inputs, units].

    Use: for rows of features; without `units` it is the output layer.
    """

    name: Literal["linear"] = "linear"
    also = ("dense", "fully_connected")
    units: int | None = param(
        None, "number of units", ge=1, le=1_000_000, when="null: as many as the task has outputs"
    )
    bias: bool = param(True, "whether a bias is added")
    init: OneOf[Initializer] | None = param(
        None, "how the weight starts", when="null: the experiment's `initialization`"
    )

    def fitted(self, fit: Fit) -> Self:
        return self.model_copy(update={"units": fit.outputs}) if self.units is None else self

    def declare(self, shape: Shape) -> Declared:
        assert self.units is not None, "the program fills in the outputs"
        if len(shape) != 1:
            raise ValueError(
                f"linear needs a row of features, not {shape}: put `flatten` before it"
            )
        inputs, units = shape[0], self.units
        weight = Slot("weight", (inputs, units), "weight", inputs, units, init=self.init)
        bias = (Slot("bias", (1, units), "bias"),) if self.bias else ()
        return Declared((units,), (weight, *bias))

    def forward(self, x: torch.Tensor, own: Tensors, hyper: Hyper, ctx: Context) -> torch.Tensor:
        weight = own["weight"]
        if weight.shape[2] < _NARROW:  # the same product, transposed, is several times as quick
            flat, across = weight.transpose(1, 2), x.transpose(1, 2)
            if self.bias:
                return torch.baddbmm(own["bias"].transpose(1, 2), flat, across).transpose(1, 2)
            return torch.bmm(flat, across).transpose(1, 2)
        if self.bias:
            return torch.baddbmm(own["bias"], x, weight)
        return torch.bmm(x, weight)

    def pull(self, dy: torch.Tensor, seen: Seen, ctx: Context) -> torch.Tensor | None:
        x, weight, grad = seen.x, seen.own["weight"], seen.grads["weight"]
        if weight.shape[2] < _NARROW:
            grad.copy_(torch.bmm(dy.transpose(1, 2), x).transpose(1, 2))
        elif grad.is_contiguous() and grad.dtype is x.dtype:
            torch.bmm(x.transpose(1, 2), dy, out=grad)
        else:  # a product into strided memory is slower than one and a copy
            grad.copy_(torch.bmm(x.transpose(1, 2), dy))
        if self.bias:
            seen.grads["bias"].copy_(dy.sum(1, keepdim=True))
        return torch.bmm(dy, weight.transpose(1, 2)) if seen.wants_input else None


_NARROW = 16
"""Layers with fewer units are computed transposed."""


Axis = Annotated[int, Field(ge=0, le=8)]


class Dropout(Layer):
    """Inverted dropout (Srivastava et al. 2014).

    Each unit is zeroed with probability `rate` in training, the rest divided by 1 − rate.

    Use: against overfitting, in wide layers; 0.5 for hidden units and 0.2 for inputs are usual.

    Source: Srivastava et al. (2014), "Dropout: a simple way to prevent neural networks from
    overfitting".
    """

    name: Literal["dropout"] = "dropout"
    rate: float = param(
        0.5,
        "probability to drop a unit",
        ge=0,
        lt=1,
        per_member=True,
        search="linear",
        also=("keep_prob", "p", "probability"),
    )
    shared: list[Axis] = param(
        [],
        "axes of an example along which units share a mask: [1, 2] drops whole channels of images",
        also=("noise_shape",),
    )

    def declare(self, shape: Shape) -> Declared:
        if any(axis >= len(shape) for axis in self.shared):
            raise ValueError(f"dropout: an example of shape {shape} has axes 0 to {len(shape) - 1}")
        return Declared(shape)

    def forward(self, x: torch.Tensor, own: Tensors, hyper: Hyper, ctx: Context) -> torch.Tensor:
        rate = hyper["rate"]
        if not ctx.training or (isinstance(rate, float) and rate == 0.0):
            return x
        own_axes = tuple(1 if i in self.shared else n for i, n in enumerate(x.shape[2:]))
        keep = ctx.keep_mask((*x.shape[:2], *own_axes), per_member(rate, 3))
        scale = 1.0 / (1.0 - per_member(rate, x.ndim))
        scale = scale.to(x.dtype) if isinstance(scale, torch.Tensor) else scale
        mask = ctx.kept[ctx.layer] = keep.to(x.dtype).mul_(scale)  # bool · float would be float32
        return x * mask

    def pull(self, dy: torch.Tensor, seen: Seen, ctx: Context) -> torch.Tensor | None:
        mask = ctx.kept.get(ctx.layer)
        return dy if mask is None else dy * mask
