"""What a layer needs to know to write itself as nodes of an ONNX graph."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from nnexp.components.layer import Shape
from nnexp.deploy.graph import Graph

Own = Mapping[str, np.ndarray]


@dataclass
class Flow:
    """What goes past layers.

    skips: a stack of what skips layers, with shapes. there: bool `[N, T]`, True where a sequence
    holds something, and T; None: everywhere.
    """

    skips: list[tuple[str, Shape]] = field(default_factory=list)
    there: tuple[str, int] | None = None


@dataclass
class Place:
    """A layer's input and what it has.

    layer: the layer itself. x: float `[N, *shape]`. own: its tensors by slot name, float32.
    """

    graph: Graph
    layer: Any
    x: str
    shape: Shape
    output: Shape
    own: Own
    flow: Flow

    def add(self, operator: str, *inputs: Any, **attributes: Any) -> str:
        """A node; inputs that are no names are constants, float32 numbers."""
        names = [x if isinstance(x, str) else self.graph.constant(x, np.float32) for x in inputs]
        return self.graph.add(operator, *names, **attributes)


Convert = Callable[[Place], str]
