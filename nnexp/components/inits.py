"""How weights start. Biases start at 0, the scale of a normalization at 1.

`fan_in` and `fan_out` count the inputs and outputs of a unit (times the kernel's area).
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Literal, Self

import numpy as np

from nnexp import streams
from nnexp.registry import OneOf, Spec, param


class Initializer(Spec, family="initialization"):
    """How a weight starts; members of a pack may start differently."""

    per_member = True
    default = "auto"

    scale: float = param(1.0, "factor on every sampled weight", gt=0, le=1000, search="log")
    layers: dict[str, OneOf[Initializer]] = param(
        {}, "layer: how it starts instead; see `nnexp explain layers`"
    )

    @property
    def frozen(self) -> tuple[str, ...]:
        """The layers that are not trained, as `layers` names them."""
        return ()

    @property
    def fresh(self) -> Initializer:
        """What draws the weights that are not `stored`."""
        return self

    def with_paths(self, root: Path) -> Self:
        """The same with absolute file names; `root`: what they are relative to."""
        return self

    def stored(self, name: str, shape: tuple[int, ...]) -> np.ndarray | None:
        """What a tensor starts with, whatever its role; None if that isn't laid down."""
        return None

    def sample(self, shape: tuple[int, ...], fan_in: int, fan_out: int, stream: int) -> np.ndarray:
        """float64 array of `shape`, a weight's start, from a random stream of its own."""
        return self.scale * self.draw(shape, fan_in, fan_out, stream)

    def draw(self, shape: tuple[int, ...], fan_in: int, fan_out: int, stream: int) -> np.ndarray:
        """The same before `scale`."""
        raise AssertionError(f"{type(self).__name__} has no draw")


class Auto(Initializer):
    """What suits the activation that follows, and normal (0.01) for the output layer.

    he_normal for the ReLU family, glorot_normal for tanh, glorot_sigmoid for sigmoid. The small
    output layer makes the first loss that of chance.

    Use: the default; choose another one to compare with it.
    """

    name: Literal["auto"] = "auto"


class Constant(Initializer):
    """Every weight the same: all units of a layer then stay alike (symmetry is not broken).

    Use: to see that, or for one layer by `layers`; never for a whole network.
    """

    name: Literal["constant"] = "constant"
    also = ("zeros", "ones")
    value: float = param(0.0, "the weight", ge=-1000, le=1000)

    def draw(self, shape: tuple[int, ...], fan_in: int, fan_out: int, stream: int) -> np.ndarray:
        return np.full(shape, self.value)


class Normal(Initializer):
    """N(0, std²), the same for every layer.

    Use: for output layers, so that the first loss is that of chance; too small for deep networks.
    """

    name: Literal["normal"] = "normal"
    also = ("gaussian",)
    std: float = param(0.01, "standard deviation", gt=0, le=1000, search="log")

    def draw(self, shape: tuple[int, ...], fan_in: int, fan_out: int, stream: int) -> np.ndarray:
        return self.std * _normal(shape, stream)


class GlorotNormal(Initializer):
    """N(0, 2 / (fan_in + fan_out)): keeps the scale of values and gradients in tanh networks.

    Use: with tanh, and with anything close to the identity at 0.

    Source: Glorot & Bengio (2010), "Understanding the difficulty of training deep feedforward
    neural networks".
    """

    name: Literal["glorot_normal"] = "glorot_normal"
    also = ("xavier_normal", "xavier")

    def draw(self, shape: tuple[int, ...], fan_in: int, fan_out: int, stream: int) -> np.ndarray:
        return math.sqrt(2.0 / (fan_in + fan_out)) * _normal(shape, stream)


class GlorotUniform(Initializer):
    """U(−a, a), a = √(6 / (fan_in + fan_out)).

    Use: as glorot_normal, where a bound on every weight is wanted.

    Source: Glorot & Bengio (2010), equation 16.
    """

    name: Literal["glorot_uniform"] = "glorot_uniform"
    also = ("xavier_uniform", "glorot")

    def draw(self, shape: tuple[int, ...], fan_in: int, fan_out: int, stream: int) -> np.ndarray:
        return math.sqrt(6.0 / (fan_in + fan_out)) * _symmetric(shape, stream)


class GlorotSigmoid(Initializer):
    """Four times glorot_uniform, for the sigmoid, whose slope at 0 is 1/4.

    Use: with sigmoid units in hidden layers.

    Source: Glorot & Bengio (2010).
    """

    name: Literal["glorot_sigmoid"] = "glorot_sigmoid"
    also = ("xavier_sigmoid",)

    def draw(self, shape: tuple[int, ...], fan_in: int, fan_out: int, stream: int) -> np.ndarray:
        return 4.0 * math.sqrt(6.0 / (fan_in + fan_out)) * _symmetric(shape, stream)


class HeNormal(Initializer):
    """N(0, 2 / fan_in): keeps the scale of values in ReLU networks.

    Use: with relu and its kin.

    Source: He et al. (2015), "Delving deep into rectifiers", equation 10.
    """

    name: Literal["he_normal"] = "he_normal"
    also = ("kaiming_normal", "msra", "he", "kaiming")

    def draw(self, shape: tuple[int, ...], fan_in: int, fan_out: int, stream: int) -> np.ndarray:
        return math.sqrt(2.0 / fan_in) * _normal(shape, stream)


class HeUniform(Initializer):
    """U(−a, a), a = √(6 / fan_in): the uniform law with he_normal's variance.

    Use: as he_normal, where a bound on every weight is wanted.

    Source: He et al. (2015), "Delving deep into rectifiers".
    """

    name: Literal["he_uniform"] = "he_uniform"
    also = ("kaiming_uniform",)

    def draw(self, shape: tuple[int, ...], fan_in: int, fan_out: int, stream: int) -> np.ndarray:
        return math.sqrt(6.0 / fan_in) * _symmetric(shape, stream)


class LecunNormal(Initializer):
    """N(0, 1 / fan_in): keeps scale where the activation is close to the identity, as selu is.

    Use: with selu and tanh; some texts call this law Xavier.

    Source: LeCun, Bottou, Orr & Müller (1998), "Efficient BackProp", section 4.6.
    """

    name: Literal["lecun_normal"] = "lecun_normal"
    also = ("lecun",)

    def draw(self, shape: tuple[int, ...], fan_in: int, fan_out: int, stream: int) -> np.ndarray:
        return math.sqrt(1.0 / fan_in) * _normal(shape, stream)


class LecunUniform(Initializer):
    """U(−a, a), a = √(3 / fan_in): the uniform law with lecun_normal's variance.

    Use: as lecun_normal, where a bound on every weight is wanted.

    Source: LeCun, Bottou, Orr & Müller (1998), "Efficient BackProp", section 4.6.
    """

    name: Literal["lecun_uniform"] = "lecun_uniform"

    def draw(self, shape: tuple[int, ...], fan_in: int, fan_out: int, stream: int) -> np.ndarray:
        return math.sqrt(3.0 / fan_in) * _symmetric(shape, stream)


class Orthogonal(Initializer):
    """A random orthogonal matrix times `gain`: WᵀW = gain²·I.

    A convolution's weight is flattened to [units, fan_in] first. Of the two dimensions the
    shorter one is orthonormal.

    Use: for deep networks without normalization, and for recurrent weights.

    Source: Saxe, McClelland & Ganguli (2014), "Exact solutions to the nonlinear dynamics of
    learning in deep linear neural networks".
    """

    name: Literal["orthogonal"] = "orthogonal"
    gain: float = param(1.0, "factor on the orthogonal matrix", gt=0, le=1000, search="log")

    def draw(self, shape: tuple[int, ...], fan_in: int, fan_out: int, stream: int) -> np.ndarray:
        return self.gain * _orthogonal(shape[0], math.prod(shape[1:]), stream).reshape(shape)


class DeltaOrthogonal(Initializer):
    """A convolution that only mixes channels: 0 but for the kernel's centre, orthogonal there.

    With as many output channels as inputs or more it keeps every pixel's norm; with fewer, the
    outputs are orthonormal. The weight of any other layer starts as with `orthogonal`.

    Use: for very deep plain convolutional networks, with tanh.

    Source: Xiao et al. (2018), "Dynamical isometry and a mean field theory of CNNs", algorithm 1.
    """

    name: Literal["delta_orthogonal"] = "delta_orthogonal"
    gain: float = param(1.0, "factor on the orthogonal matrix", gt=0, le=1000, search="log")

    def draw(self, shape: tuple[int, ...], fan_in: int, fan_out: int, stream: int) -> np.ndarray:
        mixing = self.gain * _orthogonal(shape[0], shape[1], stream)
        weight = np.zeros(shape)
        centre = 0  # of the flattened kernel
        for size in shape[2:]:
            centre = centre * size + size // 2
        weight.reshape(*shape[:2], -1)[..., centre] = mixing
        return weight


class Uniform(Initializer):
    """U(−bound, bound), the same for every layer.

    Use: to repeat older work; it takes no account of a layer's size.
    """

    name: Literal["uniform"] = "uniform"
    bound: float = param(0.05, "largest size of a weight", gt=0, le=1000, search="log")

    def draw(self, shape: tuple[int, ...], fan_in: int, fan_out: int, stream: int) -> np.ndarray:
        return self.bound * _symmetric(shape, stream)


class FanSumUniform(Initializer):
    """U(0, a), a = 1 / √(fan_in + fan_out): all positive; or U(−a, a), if `symmetric`.

    Use: to see what weights of one sign do; `symmetric` is the sound form.
    """

    name: Literal["fan_sum_uniform"] = "fan_sum_uniform"
    symmetric: bool = param(False, "both signs instead of positive weights only")

    def draw(self, shape: tuple[int, ...], fan_in: int, fan_out: int, stream: int) -> np.ndarray:
        unit = _symmetric(shape, stream)
        return (unit if self.symmetric else 0.5 * (unit + 1.0)) / math.sqrt(fan_in + fan_out)


class Sparse(Initializer):
    """k random inputs a unit, with weights from N(0, 1/k); all others 0.

    A unit with fewer inputs than k has all of them, and their number stands for k.

    Use: for wide dense layers whose units should start different from each other.

    Source: Martens (2010), "Deep learning via Hessian-free optimization", section 5.
    """

    name: Literal["sparse"] = "sparse"
    k: int = param(10, "inputs of each unit that count", ge=1, le=1_000_000, also=("connections",))

    def draw(self, shape: tuple[int, ...], fan_in: int, fan_out: int, stream: int) -> np.ndarray:
        matrix = len(shape) == 2  # [inputs, units]; a kernel's units come first
        units = shape[1] if matrix else shape[0]
        inputs = math.prod(shape) // units
        count = min(self.k, inputs)
        lots = streams.uniform(streams.key(stream, 1), units * inputs).reshape(units, inputs)
        picked = np.argsort(lots, axis=1)[:, :count]
        weight = np.zeros((units, inputs))
        drawn = _normal((units, count), stream) / math.sqrt(count)
        np.put_along_axis(weight, picked, drawn, axis=1)
        return weight.T if matrix else weight.reshape(shape)


def _orthogonal(rows: int, columns: int, stream: int) -> np.ndarray:
    """`[rows, columns]`, the shorter dimension orthonormal; uniform over all such matrices."""
    matrix = _normal((rows, columns), stream)
    tall = matrix if rows >= columns else matrix.T
    q, r = np.linalg.qr(tall)
    q = q * np.sign(np.diag(r))  # makes the law uniform
    return q if rows >= columns else q.T


def _normal(shape: tuple[int, ...], stream: int) -> np.ndarray:
    return streams.normal(stream, math.prod(shape)).reshape(shape)


def _symmetric(shape: tuple[int, ...], stream: int) -> np.ndarray:
    return (2.0 * streams.uniform(stream, math.prod(shape)) - 1.0).reshape(shape)
