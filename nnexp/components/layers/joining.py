"""Skip connections that are put beside what a branch computes, and ways into the branch's place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from nnexp.components.layer import Context, Declared, Hyper, Layer, Shape, Tensors
from nnexp.components.layers.residual import Fork
from nnexp.lazy import functional, torch
from nnexp.registry import OneOf, param


class Concat(Layer):
    """A branch of layers whose output is put beside its input: y = [x, branch(x)], by channels.

    A branch may give an image that is smaller by a few pixels, as pooling and upsampling leave it
    where a size is not even: zeros fill it at the right and below.

    Use: for encoder–decoders such as U-Net (pool, convolve, upsample inside), and dense blocks.

    Source: Ronneberger, Fischer & Brox (2015), "U-Net: convolutional networks for biomedical image
    segmentation".
    """

    name: Literal["concat"] = "concat"
    also = ("concatenate", "skip_concat", "dense_block")
    layers: list[OneOf[Layer]] = param(..., "the branch", min_length=1, max_length=1000)

    def parts(self) -> Sequence[Layer]:
        return (Fork(), *self.layers, Beside())


class Beside(Layer):
    """Puts what the `Fork` put aside before its input, along the channels."""

    @property
    def component(self) -> str:
        return "beside"

    def trace(self, shape: Shape, skips: list[Shape]) -> Declared:
        before = skips.pop()
        smaller = all(n <= m for n, m in zip(shape[1:], before[1:], strict=False))
        if len(before) != len(shape) or not smaller:
            raise ValueError(f"the branch turns {before} into {shape}; they can't be side by side")
        return Declared((before[0] + shape[0], *before[1:]))

    def forward(self, x: torch.Tensor, own: Tensors, hyper: Hyper, ctx: Context) -> torch.Tensor:
        skip: torch.Tensor = ctx.skips.pop()
        missing = [m - n for m, n in zip(skip.shape[3:], x.shape[3:], strict=True)]
        if any(missing):
            x = functional.pad(x, [n for m in reversed(missing) for n in (0, m)])
        return torch.cat([skip, x], 2)


class Swap(Layer):
    """Puts its input aside and goes on with what a `Fork` put aside: a shortcut with layers."""

    @property
    def component(self) -> str:
        return "swap"

    def trace(self, shape: Shape, skips: list[Shape]) -> Declared:
        before = skips.pop()
        skips.append(shape)
        return Declared(before)

    def forward(self, x: torch.Tensor, own: Tensors, hyper: Hyper, ctx: Context) -> torch.Tensor:
        before: torch.Tensor = ctx.skips.pop()
        ctx.skips.append(x)
        return before
