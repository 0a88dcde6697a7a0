"""A line search for many members at once, each with its own step length.

Nocedal & Wright (2006), "Numerical optimization", algorithms 3.5 and 3.6: a step is taken once it
satisfies the strong Wolfe conditions

    φ(t) ≤ φ(0) + c₁ t φ'(0)   and   |φ'(t)| ≤ c₂ |φ'(0)|.

Both algorithms are one here: until an upper end of the bracket is known it is infinitely far.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from nnexp.lazy import torch

AT, VALUE, SLOPE = slice(0, 1), slice(1, 2), slice(2, 3)
"""Columns of a point on the line, `[M, 3]` float64: t, φ(t), φ'(t)."""

Along = Callable[["torch.Tensor"], tuple["torch.Tensor", "torch.Tensor"]]
"""From t `[M, 1]` to the points there, `[M, 3]`, and the gradients `[M, P]`."""


@dataclass(frozen=True)
class Wolfe:
    """c1, c2: the two conditions. evaluations: most points that are tried.

    rounding: the relative error of φ, which no comparison relies on.
    """

    c1: float
    c2: float
    evaluations: int
    rounding: float


def search(
    along: Along, start: torch.Tensor, grads: torch.Tensor, first: torch.Tensor, rule: Wolfe
) -> tuple[torch.Tensor, torch.Tensor]:
    """The points `[M, 3]` that members step to, and the gradients there.

    start: the point t = 0 of every member; one where the function does not fall stays there.
    grads: the gradients at it. first: the steps that are tried first, `[M, 1]`.
    A member that finds no such step in time gets the best one that satisfies the first condition,
    or t = 0.
    """
    nowhere = torch.full_like(start, torch.inf)
    low, low_grads, high = start, grads, nowhere
    done, at = ~(start[:, SLOPE] < 0), first
    slack = rule.rounding * start[:, VALUE].abs()
    for _ in range(rule.evaluations):
        if done.all():
            break
        at = torch.where(done, low[:, AT], at)
        here, here_grads = along(at)
        value, slope = here[:, VALUE], here[:, SLOPE]
        bound = start[:, VALUE] + rule.c1 * at * start[:, SLOPE]
        # written so that a loss that is no number counts as too long a step
        short = (value <= bound + slack) & (value <= low[:, VALUE] + slack)
        turned = slope.sign() * (high[:, AT] - low[:, AT]).sign() >= 0
        before, closer = low, short & ~done
        high = torch.where(done, high, torch.where(short, torch.where(turned, low, high), here))
        low = torch.where(closer, here, low)
        low_grads = torch.where(closer, here_grads, low_grads)
        done = done | (short & (slope.abs() <= -rule.c2 * start[:, SLOPE]))
        bracketed = high[:, AT].isfinite()
        at = torch.where(bracketed, _within(low, high), _beyond(before, low))
    return low, low_grads


def _within(low: torch.Tensor, high: torch.Tensor) -> torch.Tensor:
    """The next step to try between two ends: where the cubic is lowest, not too near to an end."""
    one, other = low[:, AT], high[:, AT]
    tenth = 0.1 * (other - one)
    near, far = torch.minimum(one + tenth, other - tenth), torch.maximum(one + tenth, other - tenth)
    best = lowest(low, high)
    return torch.where(best.isfinite(), best.clamp(near, far), one + 5 * tenth)


def _beyond(before: torch.Tensor, here: torch.Tensor) -> torch.Tensor:
    """The next step to try while the function still falls: at most ten times as far."""
    at = here[:, AT]
    best = lowest(before, here)
    best = torch.where(best.isfinite() & (best > at), best, 10 * at)
    return best.clamp(1.1 * at, 10 * at)


def lowest(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Where the cubic with the values and slopes of two points has its minimum (eq. 3.59)."""
    width = b[:, AT] - a[:, AT]
    d1 = a[:, SLOPE] + b[:, SLOPE] - 3 * (a[:, VALUE] - b[:, VALUE]) / -width
    d2 = width.sign() * (d1 * d1 - a[:, SLOPE] * b[:, SLOPE]).sqrt()
    share = (b[:, SLOPE] + d2 - d1) / (b[:, SLOPE] - a[:, SLOPE] + 2 * d2)
    return b[:, AT] - width * share
