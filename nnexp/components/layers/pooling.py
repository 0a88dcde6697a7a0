"""Layers that summarize neighbourhoods, and the ones that undo it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Literal

from nnexp.components.layer import Context, Declared, Hyper, Layer, Shape, Tensors
from nnexp.lazy import functional, torch
from nnexp.registry import param


class _Pool(Layer):
    """A summary of each window."""

    dimensions: ClassVar[int]
    needs: ClassVar[str]

    size: int = param(2, "length of the window in each direction", unit="pixels", ge=1, le=255)
    stride: int | None = param(
        None, "step of the window", unit="pixels", ge=1, le=255, when="null: the window's size"
    )
    padding: int = param(0, "pixels added on each side", unit="pixels", ge=0, le=127)

    def declare(self, shape: Shape) -> Declared:
        if len(shape) != self.dimensions + 1:
            raise ValueError(f"{self.component} needs {self.needs}, not {shape}")
        if self.padding > self.size // 2:
            raise ValueError(
                f"{self.component}: padding may be half of the window at most: {self.size // 2}"
            )
        step = self.stride or self.size
        sizes = [(n + 2 * self.padding - self.size) // step + 1 for n in shape[1:]]
        if min(sizes) < 1:
            into = " × ".join(map(str, shape[1:]))
            raise ValueError(f"{self.component}: a window of {self.size} does not fit into {into}")
        return Declared((shape[0], *sizes))

    def forward(self, x: torch.Tensor, own: Tensors, hyper: Hyper, ctx: Context) -> torch.Tensor:
        out = self._function()(x.flatten(0, 1), self.size, self.stride, self.padding)
        return out.view(*x.shape[:2], *out.shape[1:])

    def _function(self) -> Callable[..., torch.Tensor]:
        """torch's function."""
        raise AssertionError


class MaxPool1d(_Pool):
    """Largest value in each window of a signal.

    Use: after a 1-D convolution: keeps what was found, less where.
    """

    name: Literal["max_pool1d"] = "max_pool1d"
    dimensions = 1
    needs = "signals (channels, length)"

    def _function(self) -> Callable[..., Any]:
        return functional.max_pool1d


class AvgPool1d(_Pool):
    """Mean of each window of a signal.

    Use: where the level matters more than the peak.
    """

    name: Literal["avg_pool1d"] = "avg_pool1d"
    dimensions = 1
    needs = "signals (channels, length)"

    def _function(self) -> Callable[..., Any]:
        return functional.avg_pool1d


class MaxPool2d(_Pool):
    """Largest value in each window.

    Use: between convolutions: small shifts of the image no longer matter (invariance).
    """

    name: Literal["max_pool2d"] = "max_pool2d"
    also = ("max_pool", "maxpool")
    dimensions = 2
    needs = "images (channels, height, width)"

    def _function(self) -> Callable[..., Any]:
        return functional.max_pool2d


class AvgPool2d(_Pool):
    """Mean of each window.

    Use: in place of max_pool2d where all of the window counts.
    """

    name: Literal["avg_pool2d"] = "avg_pool2d"
    also = ("avg_pool", "average_pool")
    dimensions = 2
    needs = "images (channels, height, width)"

    def _function(self) -> Callable[..., Any]:
        return functional.avg_pool2d


class _Global(Layer):
    """One value a channel."""

    def declare(self, shape: Shape) -> Declared:
        if len(shape) < 2:
            raise ValueError(f"{self.component} needs channels with pixels, not {shape}")
        return Declared(shape[:1])


class GlobalAvgPool(_Global):
    """Mean of each channel: an image or signal of any size becomes a row of C features.

    Use: before the output of a deep convolutional network, in place of flatten and dense layers.

    Source: Lin, Chen & Yan (2014), "Network in network".
    """

    name: Literal["global_avg_pool"] = "global_avg_pool"
    also = ("gap", "global_average_pooling", "adaptive_avg_pool")

    def forward(self, x: torch.Tensor, own: Tensors, hyper: Hyper, ctx: Context) -> torch.Tensor:
        return x.flatten(3).mean(3)


class GlobalMaxPool(_Global):
    """Largest value of each channel.

    Use: to ask whether something is there, wherever it is.
    """

    name: Literal["global_max_pool"] = "global_max_pool"
    also = ("global_max_pooling",)

    def forward(self, x: torch.Tensor, own: Tensors, hyper: Hyper, ctx: Context) -> torch.Tensor:
        return x.flatten(3).amax(3)


class Upsample(Layer):
    """Each pixel becomes a block of equal ones, or a smooth passage to its neighbours.

    Use: before a convolution, in place of conv_transpose2d (no checkerboard patterns).
    """

    name: Literal["upsample"] = "upsample"
    also = ("upsampling", "interpolate")
    factor: int = param(2, "how many times as high and wide", ge=2, le=64, also=("scale",))
    mode: Literal["nearest", "bilinear"] = param("nearest", "what stands between pixels")

    def declare(self, shape: Shape) -> Declared:
        if len(shape) != 3:
            raise ValueError(f"upsample needs images (channels, height, width), not {shape}")
        return Declared((shape[0], shape[1] * self.factor, shape[2] * self.factor))

    def forward(self, x: torch.Tensor, own: Tensors, hyper: Hyper, ctx: Context) -> torch.Tensor:
        flat = x.flatten(0, 1)
        if self.mode == "nearest":  # torch's own has no deterministic gradient on every device
            out = flat.repeat_interleave(self.factor, 2).repeat_interleave(self.factor, 3)
        else:
            out = functional.interpolate(
                flat, scale_factor=self.factor, mode="bilinear", align_corners=False
            )
        return out.view(*x.shape[:2], *out.shape[1:])
