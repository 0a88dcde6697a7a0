"""Activation checkpointing: a piece of the network is computed again for its gradient.

Of L layers in √L pieces only what passes between pieces is kept, and in the backward pass the
inside of one piece at a time. Random masks are functions of their keys, so that they come again,
and running statistics are put back first: the gradient is the same to the bit.

Source: Chen, Xu, Zhang & Guestrin (2016), "Training deep nets with sublinear memory cost".
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache
from itertools import pairwise
from typing import Any, TypeAlias

from nnexp.lazy import torch

AUTO_FROM = 2 * 2**30
"""Bytes of activations from which `auto` computes them again."""

Piece: TypeAlias = "Callable[[Sequence[torch.Tensor], bool], tuple[torch.Tensor, ...]]"
"""Maps tensors to tensors; told whether it has done so before."""


def pieces(wanted: int | bool | str, layers: int, held: int) -> int:
    """In how many pieces to take the layers; 1: without checkpoints.

    held: bytes of all activations of a step.
    """
    if wanted == "auto":
        wanted = held >= AUTO_FROM
    if wanted is True:
        return max(1, math.isqrt(layers))
    return max(1, min(int(wanted), layers))


def bounds(layers: int, count: int) -> list[tuple[int, int]]:
    """The first layer of each piece and the one after its last."""
    return list(pairwise(layers * number // count for number in range(count + 1)))


def checkpointed(piece: Piece, tensors: Sequence[torch.Tensor]) -> tuple[torch.Tensor, ...]:
    """What the piece makes of the tensors, keeping those for its gradient and nothing else."""
    found: tuple[torch.Tensor, ...] = _function().apply(piece, *tensors)
    return found


@cache
def _function() -> Any:
    """The autograd function, made when torch is there."""

    class Checkpointed(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, piece: Piece, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
            ctx.piece = piece
            ctx.save_for_backward(*tensors)
            return piece(tensors, False)

        @staticmethod
        def backward(ctx: Any, *slopes: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
            wanted = ctx.needs_input_grad[1:]
            again = [
                tensor.detach().requires_grad_(needs)
                for tensor, needs in zip(ctx.saved_tensors, wanted, strict=True)
            ]
            with torch.enable_grad():
                out = zip(ctx.piece(again, True), slopes, strict=True)
                # One number whose gradient is the same: giving slopes to `grad` imports sympy.
                total = sum((y * slope).sum() for y, slope in out if y.requires_grad)
            leaves = [tensor for tensor in again if tensor.requires_grad]
            grads = iter(torch.autograd.grad(total, leaves, allow_unused=True))
            return (None, *(next(grads) if needs else None for needs in wanted))

    return Checkpointed
