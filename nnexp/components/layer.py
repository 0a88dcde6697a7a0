"""What a layer is: it declares its tensors and maps a batch of every member at once.

Shape suffixes: M members, B examples, F features, C channels, H height, W width.
Activations are `[M, B, …]`, parameters and buffers stacked `[M, …]`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Self, TypeAlias

import numpy as np

from nnexp import streams
from nnexp.components.inits import Initializer
from nnexp.components.windows import Windows
from nnexp.lazy import torch
from nnexp.registry import Spec, gives_both

Shape: TypeAlias = tuple[int, ...]
"""Shape of one example of one member: (F,) or (C, H, W)."""
Hyper: TypeAlias = Mapping[str, Any]
"""The fields that may differ between members: each a float or a float64 tensor `[M]`."""
Tensors: TypeAlias = Mapping[str, "torch.Tensor"]


@dataclass(frozen=True)
class Slot:
    """One parameter or buffer of a layer.

    role: "weight" is initialized, regularized and decayed; "bias" and "norm" are neither, and
        start at `fill`; "buffer" is state that no gradient reaches (running statistics).
    fill: one number for all, or each number of a bias in its turn.
    init: how a weight starts; None leaves it to the experiment.
    suits: how a weight starts where the experiment leaves it open, too; None: as the next
        activation asks for.
    shared: how many connections share each weight (a convolution's output pixels).
    """

    name: str
    shape: Shape
    role: Literal["weight", "bias", "norm", "buffer"]
    fan_in: int = 0
    fan_out: int = 0
    fill: float | tuple[float, ...] = 0.0
    init: Initializer | None = None
    suits: Initializer | None = None
    shared: int = 1


@dataclass(frozen=True)
class Declared:
    """A layer's output shape and the tensors it needs, for a given input shape."""

    output: Shape
    slots: tuple[Slot, ...] = ()


@dataclass
class Context:
    """What a forward pass knows besides its input.

    members: int32 `[M]`, the dropout keys of the members.
    step: number of the update, which keys the random masks.
    first: position in the whole batch of the first row (when a batch is taken in slices).
    samples: whether dropout is on in evaluation, too.
    """

    training: bool
    members: torch.Tensor | None = None
    step: int = 0
    first: int = 0
    samples: bool = False
    layer: int = field(default=0, init=False)  # set by the program before each layer
    there: torch.Tensor | None = field(default=None, init=False)
    """Of sequences that are padded: True where there is something, bool `[M, B, T]`."""
    counts: torch.Tensor | None = None
    """How often training has each class, `[M or 1, C]`; only of running text."""
    words: Windows | None = field(default=None, init=False)
    """The pairs of running text, once its first layer has made them."""
    target: torch.Tensor | None = None
    """In training the examples' targets, for a loss that computes the last layer itself."""
    kept: dict[int, Any] = field(default_factory=dict, init=False)
    """What a layer's `forward` keeps for its `pull`, by the layer's number."""
    skips: list[Any] = field(default_factory=list, init=False)
    """A stack of tensors that skip layers; a layer that takes one off has put on what it pulls."""

    def keep_mask(self, shape: Sequence[int], rate: Any) -> torch.Tensor:
        """True where dropout keeps a unit, of shape `[M, B, …]`."""
        assert self.members is not None
        columns = math.prod(shape[2:])
        mask = streams.keep_mask(
            self.members, self.step, self.layer, shape[1], columns, rate, first=self.first
        )
        return mask.view(*shape)

    def normal(self, x: torch.Tensor) -> torch.Tensor:
        """Standard normal noise of the shape `[M, B, …]` and type of `x`."""
        assert self.members is not None
        members, rows = x.shape[0], x.shape[1]
        noise = streams.normals(
            self.members, self.step, self.layer, rows, x[0, 0].numel(), first=self.first
        )
        return noise.view(members, rows, *x.shape[2:]).to(x.dtype)


@dataclass(frozen=True)
class Seen:
    """A forward step as `pull` needs it: input, output, and what else `forward` was given.

    grads: where the parameters' gradients go, by name, each `[M, …]`.
    wants_input: whether the gradient by the input is wanted (else nothing before needs one).
    """

    x: torch.Tensor
    y: torch.Tensor
    own: Tensors
    hyper: Hyper
    grads: Tensors
    wants_input: bool


@dataclass(frozen=True)
class Fit:
    """What a layer may leave to the task and the data.

    outputs: how many the network must have. codes: for each input column how many codes it holds,
        see `Step.codes`, 0 for plain numbers; () if all are plain.
    positions: their shape, of a task with a class at every position; else ().
    targets: classes or target columns.
    """

    outputs: int
    codes: tuple[int, ...] = ()
    positions: Shape = ()
    targets: int = 0


class Layer(Spec, family="layer"):
    """A layer of a network."""

    # `declare` may raise ValueError with a sentence when the input shape does not suit.
    #
    # A layer may give its gradient in closed form, by a `pull` beside its `forward`. A network of
    # such layers only is differentiated without autograd, whose graph costs more than the
    # arithmetic of a small network; every other network is left to autograd. Tests hold both equal.

    takes_codes: ClassVar[bool] = False
    """Whether its input is codes, which bf16 would round: then they come as the data have them."""

    @classmethod
    def closed_form(cls) -> bool:
        """Whether the layer has a `pull` that belongs to its `forward`."""
        return gives_both(cls, "forward", "pull", Layer)

    def parts(self) -> Sequence[Layer]:
        """The layers that it stands for, in order: itself, unless it is made of others."""
        return (self,)

    def fitted(self, fit: Fit) -> Self:
        """The same layer with what it left open filled in."""
        return self

    def declare(self, shape: Shape) -> Declared:
        return Declared(shape)

    def trace(self, shape: Shape, skips: list[Shape]) -> Declared:
        """As `declare`, for a layer that puts on or takes off the stack `Context.skips`.

        skips: the shapes that lie on the stack, changed in place.
        """
        return self.declare(shape)

    def forward(self, x: torch.Tensor, own: Tensors, hyper: Hyper, ctx: Context) -> torch.Tensor:
        """Map `[M, B, *shape]` to `[M, B, *output]`.

        own: the layer's parameters and buffers by slot name, each `[M, …]`.
        hyper: its per-member fields; never read those from `self`.
        """
        raise AssertionError(f"{type(self).__name__} has no forward")

    def from_data(self, x: np.ndarray, key: int) -> dict[str, np.ndarray]:
        """How slots start that depend on the data, by name; the others start as declared.

        x: what the layer gets of a sample of the training examples, `[N, *shape]` float64.
        key: the stream of whatever is drawn. Raises DataError if the data do not suffice.
        """
        return {}

    def pull(self, dy: torch.Tensor, seen: Seen, ctx: Context) -> torch.Tensor | None:
        """The gradient by the input; the ones by the parameters are written to `seen.grads`.

        dy: the gradient by the output, `[M, B, *output]`. None if `seen.wants_input` is false.
        """
        raise AssertionError(f"{type(self).__name__} has no pull")


def per_member(value: Any, ndim: int) -> Any:
    """A hyper-parameter shaped to meet a tensor of `ndim` dimensions: a float, or `[M, 1, …]`."""
    return value.view(-1, *[1] * (ndim - 1)) if isinstance(value, torch.Tensor) else value


def flat(layers: Sequence[Layer]) -> list[Layer]:
    """The layers with those that are made of others replaced by their parts."""
    found: list[Layer] = []
    for layer in layers:
        parts = layer.parts()
        found += [layer] if len(parts) == 1 and parts[0] is layer else flat(parts)
    return found
