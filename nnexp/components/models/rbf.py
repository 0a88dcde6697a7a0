"""The preset of a network of radial basis functions."""

from __future__ import annotations

from typing import Literal

from nnexp.components.layer import Layer, Shape
from nnexp.components.layers.basic import Flatten, Linear
from nnexp.components.layers.rbf import Rbf
from nnexp.components.models.model import Model
from nnexp.registry import param


class RbfNet(Model):
    """A layer of radial basis functions and a linear output: Σ u_i exp(−β_i ‖x − w_i‖²) + b.

    Use: on tables with few, standardized columns; an mlp is better in many dimensions.

    Source: Broomhead & Lowe (1988), "Multivariable functional interpolation and adaptive
    networks".
    """

    name: Literal["rbf"] = "rbf"
    also = ("rbf_network", "radial_basis")
    units: int = param(
        32,
        "number of centres, which start by k-means",
        ge=1,
        le=10_000,
        also=("centers", "centres", "hidden"),
    )
    bias: bool = param(True, "whether the output has a bias")

    def build(self, inputs: Shape) -> list[Layer]:
        first: list[Layer] = [Flatten()] if len(inputs) > 1 else []
        return [*first, Rbf(units=self.units), Linear(bias=self.bias)]
