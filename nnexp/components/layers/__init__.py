"""The layers that models are made of."""

from nnexp.components.layers import (
    activations,
    basic,
    convolution,
    normalization,
    pooling,
    residual,
)

__all__ = [
    "activations",
    "basic",
    "convolution",
    "normalization",
    "pooling",
    "residual",
]
