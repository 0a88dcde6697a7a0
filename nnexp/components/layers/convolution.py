"""Convolutions over signals `(C, L)` and images `(C, H, W)`."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field

from nnexp.components.inits import Initializer
from nnexp.components.layer import Context, Declared, Fit, Hyper, Layer, Shape, Slot, Tensors
from nnexp.lazy import functional, torch
from nnexp.registry import OneOf, param

Pixels = Annotated[int, Field(ge=0, le=65536)]


class _Convolution(Layer):
    """What the convolutions of every dimension share."""

    dimensions: ClassVar[int]
    needs: ClassVar[str]
    """What its input is called in messages."""

    channels: int | None = param(
        None,
        "number of output channels",
        ge=1,
        le=65536,
        when="null: as many as the task has outputs (for a class at every position)",
    )
    kernel: int = param(3, "size of the kernel in each direction", unit="pixels", ge=1, le=255)
    stride: int = param(1, "step of the kernel", unit="pixels", ge=1, le=255)
    bias: bool = param(True, "whether a bias is added a channel")
    init: OneOf[Initializer] | None = param(
        None, "how the weight starts", when="null: the experiment's `initialization`"
    )

    def fitted(self, fit: Fit) -> Self:
        return self.model_copy(update={"channels": fit.outputs}) if self.channels is None else self

    @property
    def _outputs(self) -> int:
        assert self.channels is not None, "the program fills in the outputs"
        return self.channels

    def declare(self, shape: Shape) -> Declared:
        if len(shape) != self.dimensions + 1:
            raise ValueError(f"{self.component} needs {self.needs}, not {shape}")
        size = self._output(shape[1:])
        area = self.kernel**self.dimensions
        weight = Slot(
            "weight",
            self._weight_shape(shape[0]),
            "weight",
            fan_in=shape[0] * area,
            fan_out=self._outputs * area,
            init=self.init,
            shared=math.prod(self._positions(shape[1:], size)),
        )
        bias = (
            (Slot("bias", (self._outputs,), "bias", shared=math.prod(size)),) if self.bias else ()
        )
        return Declared((self._outputs, *size), (weight, *bias))

    def forward(self, x: torch.Tensor, own: Tensors, hyper: Hyper, ctx: Context) -> torch.Tensor:
        weight, bias = own["weight"], own.get("bias")
        members, rows = x.shape[:2]
        convolve, how = self._function(), self._how()
        if members == 1:
            return convolve(x[0], weight[0], None if bias is None else bias[0], **how)[None]
        if x.device.type == "cpu" and members >= _LOOP_FROM:
            biases = [None] * members if bias is None else bias.unbind(0)
            each = zip(x.unbind(0), weight.unbind(0), biases, strict=True)
            return torch.stack([convolve(a, w, b, **how) for a, w, b in each])
        grouped = convolve(
            x.transpose(0, 1).flatten(1, 2),
            weight.flatten(0, 1),
            None if bias is None else bias.flatten(),
            groups=members,
            **how,
        )
        return grouped.view(rows, members, self._outputs, *grouped.shape[2:]).transpose(0, 1)

    def _weight_shape(self, inputs: int) -> Shape:
        return (self._outputs, inputs, *[self.kernel] * self.dimensions)

    def _output(self, size: Sequence[int]) -> list[int]:
        """The output's length in each direction."""
        raise AssertionError

    def _positions(self, size: Sequence[int], output: Sequence[int]) -> Sequence[int]:
        """How often the kernel is applied in each direction."""
        return output

    def _function(self) -> Callable[..., torch.Tensor]:
        """torch's function."""
        raise AssertionError

    def _how(self) -> dict[str, Any]:
        """Its parameters beyond input, weight and bias."""
        raise AssertionError


_LOOP_FROM = 32
"""On a CPU a loop over members beats one grouped convolution from about this many members."""


class _Windowed(_Convolution):
    """Cross-correlation with padding and dilation."""

    padding: Pixels | Literal["same", "valid"] = param(
        "same", "zeros around the input, or a rule: same (output = input / stride), valid (none)"
    )
    dilation: int = param(1, "distance of the kernel's taps", unit="pixels", ge=1, le=255)

    @property
    def pad(self) -> int:
        """Zeros on each side."""
        if self.padding == "same":
            return self.dilation * (self.kernel - 1) // 2
        return 0 if self.padding == "valid" else int(self.padding)

    def declare(self, shape: Shape) -> Declared:
        if self.padding == "same" and self.dilation * (self.kernel - 1) % 2:
            raise ValueError("padding: same needs an odd kernel (or an even dilation)")
        return super().declare(shape)

    def _output(self, size: Sequence[int]) -> list[int]:
        return [window(n, self.kernel, self.stride, self.pad, self.dilation) for n in size]

    def _how(self) -> dict[str, Any]:
        return {"stride": self.stride, "padding": self.pad, "dilation": self.dilation}


class Conv1d(_Windowed):
    """1-D convolution (cross-correlation, as everywhere in the field).

    Use: for signals and series `(channels, length)`; `reshape` makes one of a table's row.
    """

    name: Literal["conv1d"] = "conv1d"
    dimensions = 1
    needs = "signals (channels, length)"

    def _function(self) -> Callable[..., torch.Tensor]:
        return functional.conv1d


class Conv2d(_Windowed):
    """2-D convolution (cross-correlation, as everywhere in the field) with square kernels.

    Use: for images: a feature is found wherever it is (equivariance), with few weights.

    Source: LeCun et al. (1989), "Backpropagation applied to handwritten zip code recognition".
    """

    name: Literal["conv2d"] = "conv2d"
    also = ("conv", "convolution")
    dimensions = 2
    needs = "images (channels, height, width)"

    def _function(self) -> Callable[..., torch.Tensor]:
        return functional.conv2d


class ConvTranspose2d(_Convolution):
    """Transposed 2-D convolution: each pixel is spread by the kernel, to a larger image.

    Use: to go from a small image to a large one, as decoders do.

    Source: Zeiler et al. (2010), "Deconvolutional networks".
    """

    name: Literal["conv_transpose2d"] = "conv_transpose2d"
    also = ("deconvolution", "upconvolution", "conv2d_transpose", "transposed_convolution")
    dimensions = 2
    needs = "images (channels, height, width)"
    kernel: int = param(2, "size of the kernel in each direction", unit="pixels", ge=1, le=255)
    stride: int = param(2, "distance of the spread pixels", unit="pixels", ge=1, le=255)
    padding: Pixels = param(0, "pixels cut off on each side of the output", unit="pixels")

    def _weight_shape(self, inputs: int) -> Shape:
        return (inputs, self._outputs, self.kernel, self.kernel)

    def _output(self, size: Sequence[int]) -> list[int]:
        output = [(n - 1) * self.stride - 2 * self.padding + self.kernel for n in size]
        if min(output) < 1:
            raise ValueError(f"conv_transpose2d: a padding of {self.padding} leaves no pixel")
        return output

    def _positions(self, size: Sequence[int], output: Sequence[int]) -> Sequence[int]:
        return size

    def _function(self) -> Callable[..., torch.Tensor]:
        return functional.conv_transpose2d

    def _how(self) -> dict[str, Any]:
        return {"stride": self.stride, "padding": self.padding}


def window(size: int, kernel: int, stride: int, pad: int, dilation: int = 1) -> int:
    """How many windows fit; ValueError if none does."""
    out = (size + 2 * pad - dilation * (kernel - 1) - 1) // stride + 1
    if out < 1:
        raise ValueError(f"a kernel of {kernel} does not fit into {size} pixels")
    return out
