"""What an augmentation is, and the chances that it takes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from nnexp import streams
from nnexp.components.layer import Hyper, per_member
from nnexp.lazy import torch
from nnexp.registry import Spec, param


class Augmentation(Spec, family="augmentation"):
    """A random change of each training example, drawn anew whenever it is visited."""

    images_only: ClassVar[bool] = True
    """Whether it needs examples of shape (C, H, W)."""

    p: float = param(
        1.0,
        "probability that an example is changed",
        ge=0,
        le=1,
        per_member=True,
        also=("probability", "prob"),
    )

    def conflict(self) -> str:
        """Why its fields do not go together; "" if they do."""
        return ""

    def apply(self, x: torch.Tensor, hyper: Hyper, chance: Chance) -> torch.Tensor:
        """The examples `[M, B, …]`, changed; `x` itself is left as it is.

        hyper: its per-member fields; never read those from `self`.
        """
        raise AssertionError(f"{type(self).__name__} has no apply")


@dataclass(frozen=True)
class Chance:
    """The random numbers of one augmentation in one update: a hash of what each is for.

    members: int32 `[M]`, the members' keys. number: its place in the list.
    rows: examples. first: position in the whole batch of the first one.
    """

    members: torch.Tensor
    step: int
    number: int
    rows: int
    first: int = 0

    def uniform(self, count: int, of: int = 0) -> torch.Tensor:
        """float64 in (−1, 1), `[M, B, count]`; `of` tells several draws apart."""
        bits = self._bits(count, of)
        return (bits.double() + 0.5) * 2.0**-31

    def field(self, shape: Sequence[int], dtype: torch.dtype) -> torch.Tensor:
        """Uniform in [−1, 1], `[M, B, *shape]`."""
        bits = self._bits(math.prod(shape), 1)
        return bits.to(dtype).mul_(2.0**-31).view(*bits.shape[:2], *shape)

    def normal(self, x: torch.Tensor) -> torch.Tensor:
        """Standard normal, of the shape `[M, B, …]` and type of `x`."""
        found = streams.normals(
            self.members, self.step, self.number, self.rows, x[0, 0].numel(), self.first
        )
        return found.view(*found.shape[:2], *x.shape[2:]).to(x.dtype)

    def happens(self, p: Any) -> torch.Tensor | None:
        """True with probability p, bool `[M, B, 1]`; None if it is certain."""
        if isinstance(p, float) and p == 1.0:
            return None
        return torch.lt((self.uniform(1, 2) + 1.0) * 0.5, per_member(p, 3))

    def _bits(self, count: int, of: int) -> torch.Tensor:
        stream = streams.key(streams.AUGMENTATION, self.step, self.number, of)
        return streams.bits32(self.members, stream, self.rows, count, self.first)
