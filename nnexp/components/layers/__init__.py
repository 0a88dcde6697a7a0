"""The layers that models are made of."""

from nnexp.components.layers import (
    activations,
    basic,
    convolution,
    embedding,
    joining,
    normalization,
    pooling,
    rbf,
    recurrent,
    residual,
)

__all__ = [
    "activations",
    "basic",
    "convolution",
    "embedding",
    "joining",
    "normalization",
    "pooling",
    "rbf",
    "recurrent",
    "residual",
]
