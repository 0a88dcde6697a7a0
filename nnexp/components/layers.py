"""The layers that `sequential` lists and the other models are made of."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import Field

from nnexp.components.inits import Initializer
from nnexp.components.layer import (
    Context,
    Declared,
    Hyper,
    Layer,
    Seen,
    Shape,
    Slot,
    Tensors,
    per_member,
)
from nnexp.lazy import functional, torch
from nnexp.registry import OneOf, param


class Flatten(Layer):
    """Turns an image (C, H, W) into a row of C·H·W features."""

    name: Literal["flatten"] = "flatten"

    def declare(self, shape: Shape) -> Declared:
        return Declared((math.prod(shape),))

    def forward(self, x: torch.Tensor, own: Tensors, hyper: Hyper, ctx: Context) -> torch.Tensor:
        return x.flatten(2)

    def pull(self, dy: torch.Tensor, seen: Seen, ctx: Context) -> torch.Tensor | None:
        return dy.view_as(seen.x)


class Linear(Layer):
    """Fully connected layer: y = x W + b, with W of shape [inputs, units]."""

    name: Literal["linear"] = "linear"
    also = ("dense", "fully_connected")
    units: int | None = param(
        None, "number of units", ge=1, le=1_000_000, when="null: as many as the task has outputs"
    )
    bias: bool = param(True, "whether a bias is added")
    init: OneOf[Initializer] | None = param(
        None, "how the weight starts", when="null: the experiment's `initialization`"
    )

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


Pixels = Annotated[int, Field(ge=0, le=65536)]


class Conv2d(Layer):
    """2-D convolution (cross-correlation, as everywhere in the field) with square kernels."""

    name: Literal["conv2d"] = "conv2d"
    also = ("conv", "convolution")
    channels: int = param(..., "number of output channels", ge=1, le=65536)
    kernel: int = param(3, "height and width of the kernel", unit="pixels", ge=1, le=255)
    stride: int = param(1, "step of the kernel", unit="pixels", ge=1, le=255)
    padding: Pixels | Literal["same", "valid"] = param(
        "same", "zeros around the image, or a rule: same (output = input / stride), valid (none)"
    )
    dilation: int = param(1, "distance of the kernel's taps", unit="pixels", ge=1, le=255)
    bias: bool = param(True, "whether a bias is added a channel")
    init: OneOf[Initializer] | None = param(
        None, "how the weight starts", when="null: the experiment's `initialization`"
    )

    @property
    def pad(self) -> int:
        """Zeros on each side."""
        if self.padding == "same":
            return self.dilation * (self.kernel - 1) // 2
        return 0 if self.padding == "valid" else int(self.padding)

    def declare(self, shape: Shape) -> Declared:
        if len(shape) != 3:
            raise ValueError(f"conv2d needs images (channels, height, width), not {shape}")
        if self.padding == "same" and self.dilation * (self.kernel - 1) % 2:
            raise ValueError("padding: same needs an odd kernel (or an even dilation)")
        size = [_window(n, self.kernel, self.stride, self.pad, self.dilation) for n in shape[1:]]
        area = self.kernel**2
        weight = Slot(
            "weight",
            (self.channels, shape[0], self.kernel, self.kernel),
            "weight",
            fan_in=shape[0] * area,
            fan_out=self.channels * area,
            init=self.init,
        )
        bias = (Slot("bias", (self.channels,), "bias"),) if self.bias else ()
        return Declared((self.channels, *size), (weight, *bias))

    def forward(self, x: torch.Tensor, own: Tensors, hyper: Hyper, ctx: Context) -> torch.Tensor:
        weight, bias = own["weight"], own.get("bias")
        members, rows = x.shape[:2]
        how: dict[str, Any] = {
            "stride": self.stride,
            "padding": self.pad,
            "dilation": self.dilation,
        }
        if members == 1:
            out = functional.conv2d(x[0], weight[0], None if bias is None else bias[0], **how)
            return out[None]
        if x.device.type == "cpu" and members >= _LOOP_FROM:
            biases = [None] * members if bias is None else bias.unbind(0)
            each = zip(x.unbind(0), weight.unbind(0), biases, strict=True)
            return torch.stack([functional.conv2d(a, w, b, **how) for a, w, b in each])
        grouped = functional.conv2d(
            x.transpose(0, 1).flatten(1, 2),
            weight.flatten(0, 1),
            None if bias is None else bias.flatten(),
            groups=members,
            **how,
        )
        return grouped.view(rows, members, *weight.shape[1:2], *grouped.shape[2:]).transpose(0, 1)


_LOOP_FROM = 32
"""On a CPU a loop over members beats one grouped convolution from about this many members."""


class MaxPool2d(Layer):
    """Largest value in each window."""

    name: Literal["max_pool2d"] = "max_pool2d"
    also = ("max_pool", "maxpool")
    size: int = param(2, "height and width of the window, and its step", unit="pixels", ge=2, le=64)

    def declare(self, shape: Shape) -> Declared:
        return Declared(_pooled(shape, self.size, "max_pool2d"))

    def forward(self, x: torch.Tensor, own: Tensors, hyper: Hyper, ctx: Context) -> torch.Tensor:
        return _each_image(functional.max_pool2d, x, self.size)


class AvgPool2d(Layer):
    """Mean of each window."""

    name: Literal["avg_pool2d"] = "avg_pool2d"
    also = ("avg_pool", "average_pool")
    size: int = param(2, "height and width of the window, and its step", unit="pixels", ge=2, le=64)

    def declare(self, shape: Shape) -> Declared:
        return Declared(_pooled(shape, self.size, "avg_pool2d"))

    def forward(self, x: torch.Tensor, own: Tensors, hyper: Hyper, ctx: Context) -> torch.Tensor:
        return _each_image(functional.avg_pool2d, x, self.size)


class BatchNorm(Layer):
    """Batch normalization (Ioffe & Szegedy 2015), a feature or a channel at a time.

    y = γ (x − μ) / √(σ² + ε) + β with the batch's μ and σ² in training. Running averages,
    running ← (1 − momentum)·running + momentum·batch, stand in for them in evaluation
    (the running variance is the unbiased one, as in torch). Statistics are float32 at least.
    """

    name: Literal["batch_norm"] = "batch_norm"
    also = ("batchnorm", "bn")
    eps: float = param(1e-5, "added to the variance inside the root", gt=0, le=1)
    momentum: float = param(0.1, "weight of the newest batch in the running averages", gt=0, le=1)

    def declare(self, shape: Shape) -> Declared:
        one = (shape[0], *[1] * (len(shape) - 1))
        slots = (
            Slot("gamma", one, "norm", fill=1.0),
            Slot("beta", one, "norm"),
            Slot("running_mean", one, "buffer"),
            Slot("running_var", one, "buffer", fill=1.0),
        )
        return Declared(shape, slots)

    def forward(self, x: torch.Tensor, own: Tensors, hyper: Hyper, ctx: Context) -> torch.Tensor:
        members, rows = x.shape[:2]
        # One channel a member and feature, [B, M·C, …]: torch's kernel, many times as quick as
        # the formula in separate operations.
        flat = x.transpose(0, 1).flatten(1, 2)
        flat = flat.float() if x.dtype is torch.bfloat16 else flat
        scale, shift = own["gamma"].flatten().to(flat.dtype), own["beta"].flatten().to(flat.dtype)
        mean, var = own["running_mean"].clone().flatten(), own["running_var"].clone().flatten()
        training = ctx.training and flat.numel() > len(mean)  # one value has no variance
        out, batch_mean, batch_root = torch.native_batch_norm(
            flat, scale, shift, mean, var, training, self.momentum, self.eps
        )
        if ctx.training:
            ctx.kept[ctx.layer] = (flat, scale, mean, var, batch_mean, batch_root, training)
        if training:
            own["running_mean"].copy_(mean.view_as(own["running_mean"]))
            own["running_var"].copy_(var.view_as(own["running_var"]))
        return out.view(rows, members, *x.shape[2:]).transpose(0, 1).to(x.dtype)

    def pull(self, dy: torch.Tensor, seen: Seen, ctx: Context) -> torch.Tensor | None:
        flat, scale, mean, var, batch_mean, batch_root, training = ctx.kept[ctx.layer]
        members, rows = dy.shape[:2]
        across = dy.transpose(0, 1).flatten(1, 2).to(flat.dtype)
        dx, gamma, beta = torch.ops.aten.native_batch_norm_backward(
            across, flat, scale, mean, var, batch_mean, batch_root, training, self.eps,
            [seen.wants_input, True, True],
        )  # fmt: skip
        for name, grad in (("gamma", gamma), ("beta", beta)):
            seen.grads[name].copy_(grad.view_as(seen.grads[name]))
        if not seen.wants_input:
            return None
        back: torch.Tensor = dx.view(rows, members, *dy.shape[2:])
        return back.transpose(0, 1).to(dy.dtype)


class Dropout(Layer):
    """Inverted dropout (Srivastava et al. 2014).

    Each unit is zeroed with probability `rate` in training, the rest divided by 1 − rate.
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

    def forward(self, x: torch.Tensor, own: Tensors, hyper: Hyper, ctx: Context) -> torch.Tensor:
        rate = hyper["rate"]
        if not ctx.training or (isinstance(rate, float) and rate == 0.0):
            return x
        keep = ctx.keep_mask(x, per_member(rate, 3))
        scale = 1.0 / (1.0 - per_member(rate, x.ndim))
        mask = ctx.kept[ctx.layer] = keep.to(x.dtype).mul_(scale)  # bool · float would be float32
        return x * mask

    def pull(self, dy: torch.Tensor, seen: Seen, ctx: Context) -> torch.Tensor | None:
        mask = ctx.kept.get(ctx.layer)
        return dy if mask is None else dy * mask


def _each_image(function: Any, x: torch.Tensor, size: int) -> torch.Tensor:
    """A function of images `[N, C, H, W]` on every member's examples `[M, B, C, H, W]`."""
    out: torch.Tensor = function(x.flatten(0, 1), size)
    return out.view(*x.shape[:2], *out.shape[1:])


def _window(size: int, kernel: int, stride: int, pad: int, dilation: int) -> int:
    out = (size + 2 * pad - dilation * (kernel - 1) - 1) // stride + 1
    if out < 1:
        raise ValueError(f"a kernel of {kernel} does not fit into {size} pixels")
    return out


def _pooled(shape: Shape, size: int, name: str) -> Shape:
    if len(shape) != 3:
        raise ValueError(f"{name} needs images (channels, height, width), not {shape}")
    if min(shape[1:]) < size:
        raise ValueError(f"{name}: a window of {size} does not fit into {shape[1]} × {shape[2]}")
    return (shape[0], shape[1] // size, shape[2] // size)
