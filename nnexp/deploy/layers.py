"""Layers as nodes of an ONNX graph, as they are in evaluation."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from nnexp.components.layer import Layer
from nnexp.components.layers import activations as act
from nnexp.components.layers.basic import Dropout, Flatten, Linear, Reshape
from nnexp.components.layers.convolution import Conv1d, Conv2d, ConvTranspose2d
from nnexp.components.layers.embedding import EmbedColumns, Embedding
from nnexp.components.layers.joining import Beside, Swap
from nnexp.components.layers.normalization import BatchNorm, LayerNorm, LocalResponseNorm
from nnexp.components.layers.pooling import (
    AvgPool1d,
    AvgPool2d,
    GlobalAvgPool,
    GlobalMaxPool,
    MaxPool1d,
    MaxPool2d,
    Upsample,
)
from nnexp.components.layers.recurrent import Gru, Lstm, MeanOverTime, Rnn
from nnexp.components.layers.residual import Fork, Join
from nnexp.deploy import sequences
from nnexp.deploy.place import Convert, Place


def unknown(layers: Sequence[Layer]) -> list[str]:
    """The layers that have no form here, by name."""
    return [layer.component for layer in layers if type(layer) not in CONVERT]


# -- basic -----------------------------------------------------------------------------------------


def _same(at: Place) -> str:
    return at.x


def _reshape(at: Place) -> str:
    return at.graph.reshape(at.x, at.output)


def _linear(at: Place) -> str:
    product = at.add("MatMul", at.x, at.own["weight"])
    return at.add("Add", product, at.own["bias"].ravel()) if at.layer.bias else product


# -- convolutions and pooling ----------------------------------------------------------------------


def _conv(at: Place) -> str:
    n = at.layer.dimensions
    return at.add(
        "Conv",
        at.x,
        *_weights(at),
        kernel_shape=[at.layer.kernel] * n,
        strides=[at.layer.stride] * n,
        pads=[at.layer.pad] * 2 * n,
        dilations=[at.layer.dilation] * n,
    )


def _conv_transpose(at: Place) -> str:
    return at.add(
        "ConvTranspose",
        at.x,
        *_weights(at),
        kernel_shape=[at.layer.kernel] * 2,
        strides=[at.layer.stride] * 2,
        pads=[at.layer.padding] * 4,
    )


def _weights(at: Place) -> list[np.ndarray]:
    return [at.own[name] for name in ("weight", "bias") if name in at.own]


def _pool(operator: str) -> Convert:
    def convert(at: Place) -> str:
        n = at.layer.dimensions
        more = {"count_include_pad": 1} if operator == "AveragePool" else {}
        return at.add(
            operator,
            at.x,
            kernel_shape=[at.layer.size] * n,
            strides=[at.layer.stride or at.layer.size] * n,
            pads=[at.layer.padding] * 2 * n,
            **more,
        )

    return convert


def _global(operator: str) -> Convert:
    def convert(at: Place) -> str:
        axes = at.graph.constant([2], np.int64)
        pixels = at.graph.reshape(at.x, (at.shape[0], math.prod(at.shape[1:])))
        return at.add(operator, pixels, axes, keepdims=0)

    return convert


def _upsample(at: Place) -> str:
    sizes = [1.0, 1.0, float(at.layer.factor), float(at.layer.factor)]
    if at.layer.mode == "nearest":
        how = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric"}
        return at.add("Resize", at.x, "", sizes, nearest_mode="floor", **how)
    how = {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}
    return at.add("Resize", at.x, "", sizes, **how)


# -- normalization ---------------------------------------------------------------------------------


def _batch_norm(at: Place) -> str:
    own = [at.own[n].ravel() for n in ("gamma", "beta", "running_mean", "running_var")]
    return at.add("BatchNormalization", at.x, *own, epsilon=at.layer.eps)


def _layer_norm(at: Place) -> str:
    return at.add(
        "LayerNormalization", at.x, at.own["gamma"], at.own["beta"], axis=1, epsilon=at.layer.eps
    )


def _local_response_norm(at: Place) -> str:
    if at.layer.within:
        squares = at.add("Mul", at.x, at.x)
        mean = at.add(
            "AveragePool",
            squares,
            kernel_shape=[at.layer.size] * 2,
            strides=[1, 1],
            pads=[at.layer.size // 2] * 4,
            count_include_pad=1,
        )
    else:
        mean = _mean_of_channels(at)
    below = at.add(
        "Pow", at.add("Add", at.add("Mul", mean, at.layer.alpha), at.layer.k), at.layer.beta
    )
    return at.add("Div", at.x, below)


def _mean_of_channels(at: Place) -> str:
    """Of the squares; ONNX's LRN wants an odd size, and images."""
    width, channels = math.prod(at.shape[1:]), at.shape[0]
    flat = at.graph.reshape(at.add("Mul", at.x, at.x), (1, channels, width))
    before, after = at.layer.size // 2, (at.layer.size - 1) // 2
    mean = at.add(
        "AveragePool",
        flat,
        kernel_shape=[at.layer.size, 1],
        strides=[1, 1],
        pads=[before, 0, after, 0],
        count_include_pad=1,
    )
    return at.graph.reshape(mean, at.shape)


# -- residual --------------------------------------------------------------------------------------


def _fork(at: Place) -> str:
    at.flow.skips.append((at.x, at.shape))
    return at.x


def _join(at: Place) -> str:
    skip, shape = at.flow.skips.pop()
    if "weight" in at.own:
        weight = at.own["weight"]
        if len(shape) == 1:
            skip = at.add("MatMul", skip, weight)
        else:
            step, n = -(-shape[1] // at.shape[1]), len(shape) - 1
            skip = at.add("Conv", skip, weight, kernel_shape=[1] * n, strides=[step] * n)
    return at.add("Add", at.x, skip)


def _beside(at: Place) -> str:
    skip, shape = at.flow.skips.pop()
    missing = [m - n for m, n in zip(shape[1:], at.shape[1:], strict=True)]
    x = at.x
    if any(missing):
        pads = at.graph.constant([0] * (len(shape) + 3) + missing, np.int64)
        x = at.add("Pad", x, pads)
    return at.graph.joined([skip, x])


def _swap(at: Place) -> str:
    before, _ = at.flow.skips.pop()
    at.flow.skips.append((at.x, at.shape))
    return before


# -- activations -----------------------------------------------------------------------------------


def _plain(operator: str) -> Convert:
    return lambda at: at.add(operator, at.x)


def _step(at: Place) -> str:
    return at.graph.cast(at.add("Greater", at.x, 0.0), "float")


def _prelu(at: Place) -> str:
    return at.add("PRelu", at.x, at.own["slope"])


def _scaled_tanh(at: Place) -> str:
    return at.add("Mul", at.add("Tanh", at.add("Mul", at.x, 2.0 / 3.0)), 1.7159)


def _rational_tanh(at: Place) -> str:
    edge = act._TANH_IS_ONE
    x = at.add("Min", at.add("Max", at.x, -edge), edge)
    s = at.add("Mul", x, x)

    def horner(*factors: float) -> str:
        value = at.add("Add", at.add("Mul", s, factors[0]), factors[1])
        for factor in factors[2:]:
            value = at.add("Add", at.add("Mul", value, s), factor)
        return value

    over = at.add("Mul", x, horner(1.0, 378.0, 17325.0, 135135.0))
    ratio = at.add("Div", over, horner(28.0, 3150.0, 62370.0, 135135.0))
    return at.add("Min", at.add("Max", ratio, -1.0), 1.0)


def _tanh_linear(at: Place) -> str:
    return at.add("Add", at.add("Tanh", at.x), at.add("Mul", at.x, at.layer.beta))


def _swish(at: Place) -> str:
    beta = at.own["beta"] if at.layer.trainable else at.layer.beta
    return at.add("Mul", at.x, at.add("Sigmoid", at.add("Mul", at.x, beta)))


def _selu(at: Place) -> str:
    return at.add("Selu", at.x, alpha=act._SELU_ALPHA, gamma=act._SELU_SCALE)


CONVERT: dict[type[Layer], Convert] = {
    Flatten: _reshape,
    Reshape: _reshape,
    Linear: _linear,
    Dropout: _same,
    Conv1d: _conv,
    Conv2d: _conv,
    ConvTranspose2d: _conv_transpose,
    MaxPool1d: _pool("MaxPool"),
    MaxPool2d: _pool("MaxPool"),
    AvgPool1d: _pool("AveragePool"),
    AvgPool2d: _pool("AveragePool"),
    GlobalAvgPool: _global("ReduceMean"),
    GlobalMaxPool: _global("ReduceMax"),
    Upsample: _upsample,
    BatchNorm: _batch_norm,
    LayerNorm: _layer_norm,
    LocalResponseNorm: _local_response_norm,
    Embedding: sequences.embedding,
    EmbedColumns: sequences.embed_columns,
    Rnn: sequences.recurrent,
    Lstm: sequences.recurrent,
    Gru: sequences.recurrent,
    MeanOverTime: sequences.mean_over_time,
    Fork: _fork,
    Join: _join,
    Beside: _beside,
    Swap: _swap,
    act.Identity: _same,
    act.Step: _step,
    act.Relu: _plain("Relu"),
    act.LeakyRelu: lambda at: at.add("LeakyRelu", at.x, alpha=at.layer.slope),
    act.Prelu: _prelu,
    act.NoisyRelu: _plain("Relu"),
    act.Softplus: _plain("Softplus"),
    act.Sigmoid: _plain("Sigmoid"),
    act.Tanh: _plain("Tanh"),
    act.ScaledTanh: _scaled_tanh,
    act.RationalTanh: _rational_tanh,
    act.TanhLinear: _tanh_linear,
    act.Swish: _swish,
    act.Gelu: _plain("Gelu"),
    act.Elu: lambda at: at.add("Elu", at.x, alpha=at.layer.alpha),
    act.Selu: _selu,
    act.Softmax: lambda at: at.add("Softmax", at.x, axis=1),
}
"""How each layer is written; a layer that is not here is left to torch's exporter."""
