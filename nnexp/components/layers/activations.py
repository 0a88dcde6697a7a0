"""Activation functions: layers that act on each unit."""

from __future__ import annotations

from typing import ClassVar, Literal, cast

from nnexp.components.inits import (
    GlorotNormal,
    GlorotSigmoid,
    HeNormal,
    Initializer,
    LecunNormal,
)
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
from nnexp.registry import param


class Activation(Layer, family="activation"):
    """A function of each unit."""

    initialization: ClassVar[Initializer] = GlorotNormal()
    """How the layer before it starts when the config does not say."""


class Identity(Activation):
    """The unit itself: x.

    Use: for a linear network, or where a layer's activation comes elsewhere.
    """

    name: Literal["identity"] = "identity"
    also = ("none",)

    def forward(self, x: torch.Tensor, own: Tensors, hyper: Hyper, ctx: Context) -> torch.Tensor:
        return x

    def pull(self, dy: torch.Tensor, seen: Seen, ctx: Context) -> torch.Tensor | None:
        return dy


class Step(Activation):
    """The threshold unit: 1 where x > 0, else 0.

    Its own gradient is 0 everywhere; training takes the one of clip(x + ½, 0, 1) in its place
    (straight-through): 1 where |x| ≤ ½, else 0.

    Use: to see what the first networks could learn; with `evolution` it needs no gradient at all.

    Source: Rosenblatt (1958); Bengio, Léonard & Courville (2013) for the gradient.
    """

    name: Literal["step"] = "step"
    also = ("heaviside", "threshold", "binary", "sign")
    initialization = GlorotNormal()

    def forward(self, x: torch.Tensor, own: Tensors, hyper: Hyper, ctx: Context) -> torch.Tensor:
        hard = (x > 0).to(x.dtype)
        soft = (x + 0.5).clamp(0.0, 1.0)
        return hard + (soft - soft.detach()) if x.requires_grad else hard

    def pull(self, dy: torch.Tensor, seen: Seen, ctx: Context) -> torch.Tensor | None:
        return dy * (seen.x.abs() <= 0.5)


class Relu(Activation):
    """Rectified linear unit: max(0, x), with gradient 0 at 0.

    Use: the default for hidden layers; cheap, and its gradient does not vanish.

    Source: Nair & Hinton (2010), "Rectified linear units improve restricted Boltzmann machines".
    """

    name: Literal["relu"] = "relu"
    initialization = HeNormal()

    def forward(self, x: torch.Tensor, own: Tensors, hyper: Hyper, ctx: Context) -> torch.Tensor:
        return torch.relu(x)

    def pull(self, dy: torch.Tensor, seen: Seen, ctx: Context) -> torch.Tensor | None:
        return cast("torch.Tensor", torch.ops.aten.threshold_backward(dy, seen.y, 0))


class LeakyRelu(Activation):
    """max(x, slope·x): a unit that is off still has a small gradient.

    Use: where many relus die (their share is high and stays so), as at high learning rates.

    Source: Maas, Hannun & Ng (2013), "Rectifier nonlinearities improve neural network acoustic
    models".
    """

    name: Literal["leaky_relu"] = "leaky_relu"
    also = ("lrelu", "leaky")
    initialization = HeNormal()
    slope: float = param(0.01, "slope below 0", ge=0, lt=1, also=("negative_slope", "alpha"))

    def forward(self, x: torch.Tensor, own: Tensors, hyper: Hyper, ctx: Context) -> torch.Tensor:
        return functional.leaky_relu(x, self.slope)

    def pull(self, dy: torch.Tensor, seen: Seen, ctx: Context) -> torch.Tensor | None:
        return torch.where(seen.x > 0, dy, dy * self.slope)


class Prelu(Activation):
    """Leaky relu whose slope is trained; it starts at 0.25 and is neither decayed nor penalized.

    Formula: max(0, x) + a·min(0, x)
    Use: in place of relu in large networks with much data.

    Source: He et al. (2015), "Delving deep into rectifiers".
    """

    name: Literal["prelu"] = "prelu"
    also = ("parametric_relu",)
    initialization = HeNormal()
    start: float = param(0.25, "slope before training", ge=-1, le=1, also=("init",))
    shared: bool = param(True, "one slope for the layer; otherwise one for each unit or channel")

    def declare(self, shape: Shape) -> Declared:
        one = (1,) * len(shape) if self.shared else (shape[0], *[1] * (len(shape) - 1))
        return Declared(shape, (Slot("slope", one, "norm", fill=self.start),))

    def forward(self, x: torch.Tensor, own: Tensors, hyper: Hyper, ctx: Context) -> torch.Tensor:
        return torch.where(x > 0, x, own["slope"][:, None] * x)


class NoisyRelu(Activation):
    """max(0, x + ε) with noise ε of variance sigmoid(x) in training, and none in evaluation.

    Use: as a regularizer of hidden units, beside or in place of dropout.

    Source: Nair & Hinton (2010), "Rectified linear units improve restricted Boltzmann machines".
    """

    name: Literal["noisy_relu"] = "noisy_relu"
    also = ("nrelu",)
    initialization = HeNormal()

    def forward(self, x: torch.Tensor, own: Tensors, hyper: Hyper, ctx: Context) -> torch.Tensor:
        if not ctx.training:
            return torch.relu(x)
        return torch.relu(x + torch.sigmoid(x).sqrt() * ctx.normal(x))


class Softplus(Activation):
    """ln(1 + e^x): a smooth relu, whose slope is the sigmoid.

    Use: where the output must be positive or the slope must not jump; else relu is cheaper.

    Source: Dugas et al. (2001), "Incorporating second-order functional knowledge".
    """

    name: Literal["softplus"] = "softplus"
    initialization = HeNormal()

    def forward(self, x: torch.Tensor, own: Tensors, hyper: Hyper, ctx: Context) -> torch.Tensor:
        return functional.softplus(x)

    def pull(self, dy: torch.Tensor, seen: Seen, ctx: Context) -> torch.Tensor | None:
        return dy * torch.sigmoid(seen.x)


class Sigmoid(Activation):
    """Logistic function: 1 / (1 + e^(−x)).

    Use: for gates and probabilities; as a hidden unit it saturates, and deep stacks learn slowly.
    """

    name: Literal["sigmoid"] = "sigmoid"
    also = ("logistic",)
    initialization = GlorotSigmoid()

    def forward(self, x: torch.Tensor, own: Tensors, hyper: Hyper, ctx: Context) -> torch.Tensor:
        return torch.sigmoid(x)

    def pull(self, dy: torch.Tensor, seen: Seen, ctx: Context) -> torch.Tensor | None:
        return cast("torch.Tensor", torch.ops.aten.sigmoid_backward(dy, seen.y))


class Tanh(Activation):
    """Hyperbolic tangent: tanh(x).

    Use: in small and recurrent networks; zero-centred, unlike the sigmoid.
    """

    name: Literal["tanh"] = "tanh"

    def forward(self, x: torch.Tensor, own: Tensors, hyper: Hyper, ctx: Context) -> torch.Tensor:
        return torch.tanh(x)

    def pull(self, dy: torch.Tensor, seen: Seen, ctx: Context) -> torch.Tensor | None:
        return cast("torch.Tensor", torch.ops.aten.tanh_backward(dy, seen.y))


class ScaledTanh(Activation):
    """1.7159·tanh(2x/3): ±1 for x = ±1, and variance near 1 for standardized input.

    Use: in place of tanh with standardized inputs and targets of ±1.

    Source: LeCun, Bottou, Orr & Müller (1998), "Efficient BackProp", section 4.4.
    """

    name: Literal["scaled_tanh"] = "scaled_tanh"
    also = ("lecun_tanh", "stanh")
    initialization = LecunNormal()

    def forward(self, x: torch.Tensor, own: Tensors, hyper: Hyper, ctx: Context) -> torch.Tensor:
        return 1.7159 * torch.tanh(x * (2.0 / 3.0))

    def pull(self, dy: torch.Tensor, seen: Seen, ctx: Context) -> torch.Tensor | None:
        scaled = seen.y * (1.0 / 1.7159)
        return dy * (1.7159 * 2.0 / 3.0) * (1.0 - scaled * scaled)


class RationalTanh(Activation):
    """tanh as a ratio of polynomials, within 1e-4 of it everywhere.

    Formula: x(135135 + 17325x² + 378x⁴ + x⁶) / (135135 + 62370x² + 3150x⁴ + 28x⁶), between ±1
    Use: where an exponential is dear (some accelerators); elsewhere tanh is as quick.

    Source: Lambert's continued fraction of tanh (1768), cut off after seven terms; the idea in
    LeCun, Bottou, Orr & Müller (1998), section 4.4.
    """

    name: Literal["rational_tanh"] = "rational_tanh"

    def forward(self, x: torch.Tensor, own: Tensors, hyper: Hyper, ctx: Context) -> torch.Tensor:
        x = x.clamp(-_TANH_IS_ONE, _TANH_IS_ONE)
        s = x * x
        over = x * (135135.0 + s * (17325.0 + s * (378.0 + s)))
        under = 135135.0 + s * (62370.0 + s * (3150.0 + s * 28.0))
        return (over / under).clamp(-1.0, 1.0)


_TANH_IS_ONE = 4.97178686
"""Where the ratio reaches 1, which it would go beyond."""


class TanhLinear(Activation):
    """tanh(x) + βx: tanh with a slope that never vanishes.

    Use: where tanh units saturate and stop learning.

    Source: LeCun, Bottou, Orr & Müller (1998), "Efficient BackProp", section 4.4.
    """

    name: Literal["tanh_linear"] = "tanh_linear"
    also = ("twisted_tanh",)
    beta: float = param(0.01, "slope far from 0", ge=0, le=1, also=("a", "alpha"))

    def forward(self, x: torch.Tensor, own: Tensors, hyper: Hyper, ctx: Context) -> torch.Tensor:
        return torch.tanh(x) + self.beta * x

    def pull(self, dy: torch.Tensor, seen: Seen, ctx: Context) -> torch.Tensor | None:
        bent = torch.tanh(seen.x)
        return dy * (1.0 - bent * bent + self.beta)


class Swish(Activation):
    """x·sigmoid(βx); with β = 1 its minimum is −0.2785 at −1.2785.

    Use: in place of relu in deep networks, often a little better and a little slower.

    Source: Ramachandran, Zoph & Le (2017), "Searching for activation functions".
    """

    name: Literal["swish"] = "swish"
    also = ("silu",)
    initialization = HeNormal()
    beta: float = param(
        1.0, "slope inside the sigmoid, or its start", gt=0, le=100, per_member=True
    )
    trainable: bool = param(False, "train β, one for the layer; neither decayed nor penalized")

    def declare(self, shape: Shape) -> Declared:
        if not self.trainable:
            return Declared(shape)
        return Declared(shape, (Slot("beta", (1,) * len(shape), "norm", fill=self.beta),))

    def forward(self, x: torch.Tensor, own: Tensors, hyper: Hyper, ctx: Context) -> torch.Tensor:
        if self.trainable:
            return x * torch.sigmoid(x * own["beta"][:, None])
        beta = hyper["beta"]
        if isinstance(beta, float) and beta == 1.0:
            return functional.silu(x)  # the same function, one kernel
        if isinstance(beta, torch.Tensor):
            beta = per_member(beta, x.ndim).to(x.dtype)
        return x * torch.sigmoid(x * beta)


class Gelu(Activation):
    """x·Φ(x), Φ the normal distribution function.

    Use: in networks after transformers' fashion; close to swish.

    Source: Hendrycks & Gimpel (2016), "Gaussian error linear units".
    """

    name: Literal["gelu"] = "gelu"
    initialization = HeNormal()

    def forward(self, x: torch.Tensor, own: Tensors, hyper: Hyper, ctx: Context) -> torch.Tensor:
        return functional.gelu(x)


class Elu(Activation):
    """x above 0, α(e^x − 1) below: means closer to 0 than relu's.

    Use: in place of relu without batch normalization.

    Source: Clevert, Unterthiner & Hochreiter (2016), "Fast and accurate deep network learning by
    exponential linear units".
    """

    name: Literal["elu"] = "elu"
    initialization = HeNormal()
    alpha: float = param(1.0, "minus the value far below 0", gt=0, le=100)

    def forward(self, x: torch.Tensor, own: Tensors, hyper: Hyper, ctx: Context) -> torch.Tensor:
        return functional.elu(x, self.alpha)

    def pull(self, dy: torch.Tensor, seen: Seen, ctx: Context) -> torch.Tensor | None:
        return torch.where(seen.x > 0, dy, dy * (seen.y + self.alpha))


class Selu(Activation):
    """Scaled elu: keeps mean 0 and variance 1 through deep networks that start by lecun_normal.

    Formula: λx above 0, λα(e^x − 1) below; λ = 1.0507, α = 1.6733
    Use: for deep plain MLPs on standardized tables, without batch normalization.

    Source: Klambauer et al. (2017), "Self-normalizing neural networks".
    """

    name: Literal["selu"] = "selu"
    initialization = LecunNormal()

    def forward(self, x: torch.Tensor, own: Tensors, hyper: Hyper, ctx: Context) -> torch.Tensor:
        return functional.selu(x)

    def pull(self, dy: torch.Tensor, seen: Seen, ctx: Context) -> torch.Tensor | None:
        below = seen.y + _SELU_SCALE * _SELU_ALPHA
        return dy * torch.where(seen.x > 0, _SELU_SCALE, below)


_SELU_SCALE, _SELU_ALPHA = 1.0507009873554804934193349852946, 1.6732632423543772848170429916717


class Softmax(Activation):
    """e^x over the sum of e^x of the layer: shares that add up to 1 (of an image: over channels).

    Use: inside a network, to weigh; not before `cross_entropy`, which has it already. Predictions
    take the largest output (hardmax).
    """

    name: Literal["softmax"] = "softmax"

    def forward(self, x: torch.Tensor, own: Tensors, hyper: Hyper, ctx: Context) -> torch.Tensor:
        return torch.softmax(x, 2)

    def pull(self, dy: torch.Tensor, seen: Seen, ctx: Context) -> torch.Tensor | None:
        return seen.y * (dy - (dy * seen.y).sum(2, keepdim=True))
