"""Starting from what another run has learnt."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path
from typing import Literal, Self

import numpy as np

from nnexp.components.inits import Auto, Initializer
from nnexp.errors import DataError
from nnexp.registry import OneOf, param

_WEIGHTS = "model.safetensors"


class FromRun(Initializer):
    """The best weights of another run; tensors of other names or shapes start as `otherwise`.

    Tensors are matched by name (`0.linear.weight`) and shape, running statistics among them; which
    were loaded is said. Frozen layers stay as they are, statistics included. Only numbers are read
    from the run; nothing of it is executed.

    Use: to go on from a trained network, or to put a new head on it: few examples, or a task like
    one with many.

    Source: Yosinski et al. (2014), "How transferable are features in deep neural networks?"
    """

    name: Literal["from_run"] = "from_run"
    also = ("pretrained", "checkpoint", "transfer", "finetune")
    path: str = param(..., "a run's directory, or a .safetensors file", min_length=1)
    freeze: list[str] = param(
        [], "layers that are not trained; see `nnexp explain layers`", also=("frozen",)
    )
    otherwise: OneOf[Initializer] = param(Auto(), "how tensors start that the run does not have")

    @property
    def frozen(self) -> tuple[str, ...]:
        return tuple(self.freeze)

    @property
    def fresh(self) -> Initializer:
        return self.otherwise

    def with_paths(self, root: Path) -> Self:
        return self.model_copy(update={"path": os.path.abspath(root / self.path)})

    def stored(self, name: str, shape: tuple[int, ...]) -> np.ndarray | None:
        found = self.tensors().get(name)
        return found if found is not None and found.shape == shape else None

    def tensors(self) -> dict[str, np.ndarray]:
        """All of the run's, by name. DataError if they can't be read."""
        path = Path(self.path)
        file = path / _WEIGHTS if path.is_dir() else path
        if not file.is_file():
            if (path / "s0" / _WEIGHTS).is_file():
                raise DataError(f"{path} is a group of runs; name one of them, such as {path}/s0")
            what = "no such run" if not path.exists() else f"it has no {_WEIGHTS}"
            raise DataError(f"{path}: {what}")
        return _read(file, file.stat().st_mtime_ns)


@lru_cache(maxsize=4)
def _read(file: Path, _changed: int) -> dict[str, np.ndarray]:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        found: dict[str, np.ndarray] = load_file(file)
    except (SafetensorError, OSError, ValueError) as error:
        raise DataError(f"{file}: is no file of weights ({error})") from None
    for name, tensor in found.items():
        if not np.isfinite(tensor).all():
            raise DataError(f"{file}: {name} holds values that are not finite")
    return found
