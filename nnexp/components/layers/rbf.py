"""Radial basis functions: units that answer to what is near their centre."""

from __future__ import annotations

from typing import Literal

import numpy as np

from nnexp import streams
from nnexp.components.layer import Context, Declared, Hyper, Layer, Seen, Shape, Slot, Tensors
from nnexp.errors import DataError
from nnexp.lazy import torch
from nnexp.registry import param

ROUNDS = 50
"""Most rounds of Lloyd's algorithm."""


class Rbf(Layer):
    """Radial basis functions: y_i = exp(−β_i ‖x − w_i‖²).

    The centres w start by k-means (k-means++ and Lloyd's rounds) on the training inputs, and each
    β at 1 / (2 s), s the mean squared distance of its cluster to the centre. Both are trained; β
    stays positive, since its logarithm is the parameter. No penalty and no decay reaches them.

    Use: with few standardized columns, where near examples have near answers; followed by a linear
    layer. Not in many dimensions, where everything is equally far away.

    Source: Broomhead & Lowe (1988), "Multivariable functional interpolation and adaptive
    networks"; Moody & Darken (1989), "Fast learning in networks of locally-tuned processing units".
    """

    name: Literal["rbf"] = "rbf"
    also = ("radial_basis", "gaussian_units")
    units: int = param(
        ..., "number of centres", ge=1, le=10_000, also=("centers", "centres", "components")
    )

    def declare(self, shape: Shape) -> Declared:
        if len(shape) != 1:
            raise ValueError(f"rbf needs a row of features, not {shape}: put `flatten` before it")
        slots = (
            Slot("centers", (self.units, shape[0]), "norm"),
            Slot("log_beta", (1, self.units), "norm"),
        )
        return Declared((self.units,), slots)

    def forward(self, x: torch.Tensor, own: Tensors, hyper: Hyper, ctx: Context) -> torch.Tensor:
        x_, centers = _wide(x), _wide(own["centers"])
        squares = x_.square().sum(2, keepdim=True) + centers.square().sum(2)[:, None]
        apart = torch.baddbmm(squares, x_, centers.transpose(1, 2), alpha=-2.0).clamp_min(0.0)
        ctx.kept[ctx.layer] = apart
        return torch.exp(-_wide(own["log_beta"]).exp() * apart).to(x.dtype)

    def pull(self, dy: torch.Tensor, seen: Seen, ctx: Context) -> torch.Tensor | None:
        x, centers = _wide(seen.x), _wide(seen.own["centers"])
        beta, apart = _wide(seen.own["log_beta"]).exp(), ctx.kept[ctx.layer]
        by_apart = -beta * _wide(dy) * _wide(seen.y)
        seen.grads["log_beta"].copy_((by_apart * apart).sum(1, keepdim=True))
        by_center = by_apart.sum(1)[..., None] * centers - by_apart.transpose(1, 2) @ x
        seen.grads["centers"].copy_(2.0 * by_center)
        if not seen.wants_input:
            return None
        return (2.0 * (by_apart.sum(2, keepdim=True) * x - by_apart @ centers)).to(dy.dtype)

    def from_data(self, x: np.ndarray, key: int) -> dict[str, np.ndarray]:
        distinct = len(np.unique(x, axis=0))
        if distinct < self.units:
            raise DataError(
                f"rbf: {self.units} units start at centres of as many different training examples; "
                f"there are {distinct}"
            )
        centers, nearest = k_means(x, self.units, key)
        return {"centers": centers, "log_beta": -np.log(2.0 * _spreads(x, centers, nearest))[None]}


def _wide(x: torch.Tensor) -> torch.Tensor:
    """At least float32: distances of bf16 numbers would be mostly rounding."""
    return x.float() if x.dtype is torch.bfloat16 else x


def k_means(x: np.ndarray, count: int, key: int) -> tuple[np.ndarray, np.ndarray]:
    """Centres `[count, F]` of clusters, and the cluster of each row of `x`.

    Seeded by k-means++ (Arthur & Vassilvitskii 2007) from the stream `key`, then Lloyd's rounds.
    x: `[N, F]` float64 with at least `count` different rows.
    """
    draws = streams.uniform(key, count)
    centers = np.empty((count, x.shape[1]))
    centers[0] = x[int(draws[0] * len(x))]
    apart = np.square(x - centers[0]).sum(1)
    for number in range(1, count):  # the next lies at a row in proportion to its squared distance
        share = np.cumsum(apart)
        centers[number] = x[np.searchsorted(share, draws[number] * share[-1])]
        apart = np.minimum(apart, np.square(x - centers[number]).sum(1))
    nearest = _nearest(x, centers)
    for _ in range(ROUNDS):
        members = np.bincount(nearest, minlength=count)
        sums = np.zeros_like(centers)
        np.add.at(sums, nearest, x)
        filled = members > 0  # an empty one stays where it is
        centers[filled] = sums[filled] / members[filled, None]
        moved, nearest = nearest, _nearest(x, centers)
        if np.array_equal(moved, nearest):
            break
    return centers, nearest


def _nearest(x: np.ndarray, centers: np.ndarray) -> np.ndarray:
    return np.asarray((np.square(centers).sum(1) - 2.0 * x @ centers.T).argmin(1))


def _spreads(x: np.ndarray, centers: np.ndarray, nearest: np.ndarray) -> np.ndarray:
    """Each cluster's mean squared distance to its centre; where that is 0, the mean over all."""
    apart = np.square(x - centers[nearest]).sum(1)
    count = np.bincount(nearest, minlength=len(centers))
    spreads = np.bincount(nearest, apart, len(centers)) / np.maximum(count, 1)
    typical = apart.mean() or np.square(x - x.mean(0)).sum(1).mean() or 1.0
    return np.asarray(np.where(spreads > 1e-6 * typical, spreads, typical))
