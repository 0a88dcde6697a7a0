"""Losses: what is minimized, summed over an example's outputs and averaged over examples.

A loss also says how many outputs a network needs and how outputs become a prediction. With class
weights the mean is still over the examples, not over their weights (torch divides by the latter).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

import numpy as np
from pydantic import Field

from nnexp.components.layer import Context
from nnexp.components.windows import Windows
from nnexp.errors import nearest
from nnexp.lazy import torch
from nnexp.registry import Spec, gives_both, param

Task = Literal["classification", "regression", "multilabel", "dense", "words"]


class Loss(Spec, family="loss"):
    """How wrong an output is, an example: what training minimizes."""

    # Outputs are `[M, B, K]`, its values `[M, B]`.

    tasks: ClassVar[tuple[Task, ...]] = ("classification", "dense")
    # A dense task has a class at every position; each is an example to the loss.
    class_weights: Literal["balanced"] | dict[str, Annotated[float, Field(ge=0, le=1e6)]] | None = (
        param(
            None,
            "class: weight of its examples' losses (others 1); `balanced`: one over its frequency",
        )
    )

    @classmethod
    def closed_form(cls) -> bool:
        """Whether it has a `gradient` that belongs to its `per_example`, for `Layer.pull`."""
        return gives_both(cls, "per_example", "gradient", Loss)

    def outputs(self, targets: int) -> int:
        """Network outputs for so many classes (classification) or target columns (regression).

        Raises ValueError with a sentence when the loss does not suit that many.
        """
        return targets

    def per_example(self, outputs: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """`[M, B]` from outputs `[M, B, K]` and targets `[M, B]` (class) or `[M, B, K]`."""
        raise AssertionError(f"{type(self).__name__} has no per_example")

    narrow_from: ClassVar[int | None] = None
    """From so many outputs on training takes `of_head`, which computes only those it needs."""

    def of_head(
        self,
        hidden: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        target: torch.Tensor,
    ) -> torch.Tensor:
        """`per_example` of the outputs hidden · weight + bias, `[M, B]`.

        hidden: `[M, B, H]`. weight: `[M, H, K]`. bias: `[M, 1, K]`. target: `[M, B]`.
        """
        raise AssertionError(f"{type(self).__name__} has no of_head")

    def of_windows(
        self, hidden: torch.Tensor, windows: Windows, table: torch.Tensor, ctx: Context
    ) -> torch.Tensor:
        """Of running text: the mean over each block's pairs, `[M, B]`.

        hidden: `[N, C, D]`, see `Windows`. table: the last layer's rows, `[M, K, D]`.
        """
        raise AssertionError(f"{type(self).__name__} has no of_windows")

    def gradient(
        self, outputs: torch.Tensor, target: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """`per_example`, and its derivative by the outputs, `[M, B, K]`."""
        raise AssertionError(f"{type(self).__name__} has no gradient")

    def with_paths(self, root: Path) -> Self:
        """The same with what its files say; `root`: what their names are relative to."""
        return self

    def knowing(self, classes: Sequence[str], counts: np.ndarray) -> Self:
        """The same for data with these classes, of each so many training examples, `[M, C]`."""
        return self

    def decide(self, outputs: torch.Tensor) -> torch.Tensor:
        """The predicted class `[M, B]`, int64 (classification)."""
        return outputs.argmax(-1)

    def scores(self, outputs: torch.Tensor) -> torch.Tensor:
        """What is highest for the predicted class, `[M, B, C]`; outputs that are so already."""
        return outputs

    def probabilities(self, outputs: torch.Tensor) -> torch.Tensor | None:
        """Of each class or label, `[M, B, C]` from outputs; None if the loss means none."""
        return None

    def weigh(self, classes: Sequence[str], counts: np.ndarray) -> np.ndarray:
        """Each class's weight, `[C]` float64, for so many training examples of each.

        ValueError with a sentence if `class_weights` names a class that is not there.
        """
        weights = self.class_weights
        if weights is None:
            return np.ones(len(classes))
        if weights == "balanced":
            present = counts > 0
            return np.where(present, counts.sum() / present.sum() / np.maximum(counts, 1), 0.0)
        assert not isinstance(weights, str)
        for name in weights:
            if name not in classes:
                close = nearest(name, classes)
                hint = f"; did you mean {close}?" if close else ""
                raise ValueError(f"class_weights: there is no class {name}{hint}")
        return np.array([weights.get(name, 1.0) for name in classes])

    def chance(self, targets: int) -> float | None:
        """Expected loss of outputs that are all 0, where it does not depend on the data."""
        return None
