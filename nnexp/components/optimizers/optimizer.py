"""What an update rule is: a function on stacked parameters.

Parameters, gradients and every state tensor are `[M, P]`: one row a member, one column a
parameter. An update works in place and elementwise, so each member may have its own rates.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from nnexp.components.layout import Layout
from nnexp.lazy import torch
from nnexp.registry import Spec, param

State = dict[str, "torch.Tensor"]


@dataclass(frozen=True)
class Batch:
    """The examples of an update, for rules that look at more than the gradient.

    losses: each member's mean loss before the update, `[M]`, penalties apart.
    evaluate: the mean losses `[M]` of the batch, penalties included, at other parameters `[M, P]`.
    keys: int32 `[M]`, the keys of the members' own randomness (see `streams.normals`).
    slope: what `evaluate` gives, and its gradient `[M, P]`, a new tensor.
    curvature: for a slice of the members, their Gauss–Newton matrices `[m, P, P]`, float64, at the
        parameters before the update, penalties included.

    Masks and noise are those of this update in every evaluation; running statistics stay.
    """

    losses: torch.Tensor
    evaluate: Callable[[torch.Tensor], torch.Tensor]
    keys: torch.Tensor
    slope: Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor]] | None = None
    curvature: Callable[[slice], torch.Tensor] | None = None


@dataclass(frozen=True)
class Moment:
    """What an update knows besides parameters, gradients and state.

    step: number of this update, from 1.
    lr: learning rate after the schedule, a float or `[M, 1]`; `[1 or M, P]` when layers have rates
        of their own.
    hyper: the other per-member fields, each a float or `[M, 1]`.
    weights: `[P]`, 1 where the column is a weight (not a bias or a norm's), else 0.
    layout: where each tensor lies in a row of parameters.
    batch: what else the batch can tell; None where no optimizer asks.
    """

    step: int
    lr: Any
    hyper: Mapping[str, Any]
    weights: torch.Tensor
    layout: Layout = field(default_factory=Layout)
    batch: Batch | None = None


class Optimizer(Spec, family="optimizer"):
    """An update rule. `lr` is the rate that the schedule multiplies."""

    default = "adam"
    momentum_field: ClassVar[str | None] = None
    """The field that a schedule's momentum cycle sets."""
    uses_gradient: ClassVar[bool] = True
    """Whether it follows the gradient; others get zeros and ask `Batch.evaluate`."""
    judges: ClassVar[bool] = False
    """Whether it accepts a step by what the loss then is: a loss that must stay the same, then."""
    full_batch: ClassVar[bool] = False
    """Whether every update needs all training examples."""
    curved: ClassVar[tuple[str, ...] | None] = None
    """The losses that it can minimize, by name; None: all."""
    most_parameters: ClassVar[int | None] = None
    """How many parameters a member may have."""

    lr: float = param(
        1e-3,
        "learning rate",
        gt=0,
        le=1000,
        per_member=True,
        search=("log", 1e-4, 1.0),
        also=("learning_rate", "eta", "alpha"),
    )
    layers: dict[str, Annotated[float, Field(ge=0, le=1e6)]] = param(
        {}, "layer: factor on its rate (0: it stays as it is); see `nnexp explain layers`"
    )
    rate_rule: Literal["equal", "sqrt_connections"] = param(
        "equal",
        "`sqrt_connections`: a rate is multiplied by √(connections that share the weight)",
    )

    def init(self, params: torch.Tensor) -> State:
        """The state before the first update."""
        return {}

    def ahead(self, params: torch.Tensor, state: State, hyper: Mapping[str, Any]) -> Any:
        """Where the gradient is taken, `[M, P]`, if not at the parameters themselves."""
        return None

    def update(self, params: torch.Tensor, grads: torch.Tensor, state: State, now: Moment) -> None:
        """One update of `params` and `state`, in place; `grads` may be overwritten."""
        raise AssertionError(f"{type(self).__name__} has no update")


def one_kernel(*values: Any) -> bool:
    """Whether torch's fused kernel can be used: it takes floats only."""
    return all(isinstance(v, float) for v in values) and hasattr(torch, "_fused_adam_")


def subtract(params: torch.Tensor, direction: torch.Tensor, lr: Any) -> None:
    """θ ← θ − lr·direction, with lr a float or `[M, 1]`."""
    if isinstance(lr, torch.Tensor):
        params.addcmul_(direction, lr.to(params.dtype), value=-1.0)
    else:
        params.add_(direction, alpha=-lr)


def add_square(square: torch.Tensor, grads: torch.Tensor, share: Any) -> None:
    """square ← square + share·g², with share a float or `[M, 1]`."""
    if isinstance(share, torch.Tensor):
        square.addcmul_(grads * grads, share.to(grads.dtype))
    else:
        square.addcmul_(grads, grads, value=share)


def fade(average: torch.Tensor, share: Any) -> torch.Tensor:
    """average ← share·average in place, with share a float or `[M, 1]`."""
    return average.mul_(weight_of(share, average))


def weight_of(value: Any, like: torch.Tensor) -> Any:
    """A float as it is, a tensor in another's precision: torch would else compute in float64."""
    return value.to(like.dtype) if isinstance(value, torch.Tensor) else value
