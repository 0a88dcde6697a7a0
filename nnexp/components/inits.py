"""How weights start. Biases start at 0, the scale of a normalization at 1.

`fan_in` and `fan_out` count the inputs and outputs of a unit (times the kernel's area).
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np

from nnexp import streams
from nnexp.registry import Spec, param


class Initializer(Spec, family="initialization"):
    """How a weight starts; members of a pack may start differently."""

    per_member = True

    scale: float = param(1.0, "factor on every sampled weight", gt=0, le=1000, search="log")

    def sample(self, shape: tuple[int, ...], fan_in: int, fan_out: int, stream: int) -> np.ndarray:
        """float64 array of `shape`, a weight's start, from a random stream of its own."""
        return self.scale * self.draw(shape, fan_in, fan_out, stream)

    def draw(self, shape: tuple[int, ...], fan_in: int, fan_out: int, stream: int) -> np.ndarray:
        """The same before `scale`."""
        raise AssertionError(f"{type(self).__name__} has no draw")


class Constant(Initializer):
    """Every weight the same: all units of a layer then stay alike (symmetry is not broken)."""

    name: Literal["constant"] = "constant"
    also = ("zeros", "ones")
    value: float = param(0.0, "the weight", ge=-1000, le=1000)

    def draw(self, shape: tuple[int, ...], fan_in: int, fan_out: int, stream: int) -> np.ndarray:
        return np.full(shape, self.value)


class Normal(Initializer):
    """N(0, std²), the same for every layer."""

    name: Literal["normal"] = "normal"
    also = ("gaussian",)
    std: float = param(0.01, "standard deviation", gt=0, le=1000, search="log")

    def draw(self, shape: tuple[int, ...], fan_in: int, fan_out: int, stream: int) -> np.ndarray:
        return self.std * _normal(shape, stream)


class GlorotNormal(Initializer):
    """N(0, 2 / (fan_in + fan_out)) (Glorot & Bengio 2010): keeps scale in tanh networks."""

    name: Literal["glorot_normal"] = "glorot_normal"
    also = ("xavier_normal", "xavier")

    def draw(self, shape: tuple[int, ...], fan_in: int, fan_out: int, stream: int) -> np.ndarray:
        return math.sqrt(2.0 / (fan_in + fan_out)) * _normal(shape, stream)


class GlorotUniform(Initializer):
    """U(−a, a), a = √(6 / (fan_in + fan_out)) (Glorot & Bengio 2010, equation 16)."""

    name: Literal["glorot_uniform"] = "glorot_uniform"
    also = ("xavier_uniform", "glorot")

    def draw(self, shape: tuple[int, ...], fan_in: int, fan_out: int, stream: int) -> np.ndarray:
        return math.sqrt(6.0 / (fan_in + fan_out)) * _symmetric(shape, stream)


class GlorotSigmoid(Initializer):
    """Four times glorot_uniform, for the sigmoid, whose slope at 0 is 1/4."""

    name: Literal["glorot_sigmoid"] = "glorot_sigmoid"
    also = ("xavier_sigmoid",)

    def draw(self, shape: tuple[int, ...], fan_in: int, fan_out: int, stream: int) -> np.ndarray:
        return 4.0 * math.sqrt(6.0 / (fan_in + fan_out)) * _symmetric(shape, stream)


class HeNormal(Initializer):
    """N(0, 2 / fan_in) (He et al. 2015, equation 10): keeps scale in ReLU networks."""

    name: Literal["he_normal"] = "he_normal"
    also = ("kaiming_normal", "msra", "he", "kaiming")

    def draw(self, shape: tuple[int, ...], fan_in: int, fan_out: int, stream: int) -> np.ndarray:
        return math.sqrt(2.0 / fan_in) * _normal(shape, stream)


class HeUniform(Initializer):
    """U(−a, a), a = √(6 / fan_in): the uniform law with he_normal's variance."""

    name: Literal["he_uniform"] = "he_uniform"
    also = ("kaiming_uniform",)

    def draw(self, shape: tuple[int, ...], fan_in: int, fan_out: int, stream: int) -> np.ndarray:
        return math.sqrt(6.0 / fan_in) * _symmetric(shape, stream)


class Orthogonal(Initializer):
    """A random orthogonal matrix times `gain` (Saxe et al. 2014): WᵀW = gain²·I.

    A convolution's weight is flattened to [units, fan_in] first. Of the two dimensions the
    shorter one is orthonormal.
    """

    name: Literal["orthogonal"] = "orthogonal"
    gain: float = param(1.0, "factor on the orthogonal matrix", gt=0, le=1000, search="log")

    def draw(self, shape: tuple[int, ...], fan_in: int, fan_out: int, stream: int) -> np.ndarray:
        matrix = _normal(shape, stream).reshape(shape[0], -1)
        tall = matrix if matrix.shape[0] >= matrix.shape[1] else matrix.T
        q, r = np.linalg.qr(tall)
        q = q * np.sign(np.diag(r))  # makes the law uniform over orthogonal matrices
        return self.gain * (q if tall is matrix else q.T).reshape(shape)


def _normal(shape: tuple[int, ...], stream: int) -> np.ndarray:
    return streams.normal(stream, math.prod(shape)).reshape(shape)


def _symmetric(shape: tuple[int, ...], stream: int) -> np.ndarray:
    return (2.0 * streams.uniform(stream, math.prod(shape)) - 1.0).reshape(shape)
