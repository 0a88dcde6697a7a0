"""A trained run as a `torch.nn.Module`, to use or to train further in a program of one's own.

The class below is torch's, so that this module imports torch at once: nothing imports it early.
"""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from pathlib import Path

import numpy as np

from nnexp import streams
from nnexp.components.layer import Context
from nnexp.config.plugins import plugged
from nnexp.data.prepare import Pipeline
from nnexp.deploy.stored import Stored, example_of, read_stored
from nnexp.errors import UsageError
from nnexp.lazy import torch


class Network(torch.nn.Module):
    """A run's network: a module like any other.

    Its parameters and buffers have the names and shapes of model.safetensors, `0.linear.weight`;
    layers that the run had frozen need no gradient. `train()` brings back dropout, whose masks then
    follow `torch.manual_seed`, and statistics of batches. `state_dict`, `to`, `copy.deepcopy` and
    any optimizer work as usual.

    inputs: the columns that it takes, in their order; () for images and signals.
    classes: the classes in the order of the outputs; None if it does not tell classes.
    targets: names of what is predicted. task: "classification", "regression", …
    prepares: whether it takes raw numbers, as the data have them.
    """

    def __init__(self, stored: Stored, prepares: bool) -> None:
        super().__init__()
        pipeline, self._program = stored.pipeline, stored.program
        self.task, self.classes, self.targets = (
            pipeline.task,
            pipeline.classes,
            pipeline.target_names,
        )
        self.inputs, self.prepares = pipeline.names, prepares
        self.shape = pipeline.shape if prepares else pipeline.input_shape
        self._input_shape = pipeline.input_shape
        self._parameter_names = self._add(stored, "params")
        self._buffer_names = self._add(stored, "buffers")
        scale = pipeline.target_scale if prepares else None
        if prepares:
            self._hold(_affine(pipeline), ("_input_weight", "_input_shift"))
        self._hold(scale, ("_target_mean", "_target_std"))
        self.eval()

    def _add(self, stored: Stored, kind: str) -> list[str]:
        """Register the tensors under their names, each layer a module inside this one."""
        program, names = stored.program, []
        layout = program.layout if kind == "params" else program.buffer_layout
        for entry, value in zip(layout.entries, layout.views(stored.tensors[kind]), strict=True):
            place: torch.nn.Module = self
            *above, name = entry.name.split(".")
            for part in above:
                if part not in dict(place.named_children()):
                    place.add_module(part, torch.nn.Module())
                place = place.get_submodule(part)
            tensor = value[0].clone()
            if kind == "params":
                still = entry.layer in program.frozen
                place.register_parameter(name, torch.nn.Parameter(tensor, requires_grad=not still))
            else:
                place.register_buffer(name, tensor)
            names.append(entry.name)
        return names

    def _hold(self, arrays: Sequence[np.ndarray] | None, names: tuple[str, str]) -> None:
        """Keep two arrays in float64 where `to` moves them; None keeps none."""
        for name, array in zip(names, arrays or (None, None), strict=True):
            tensor = None if array is None else torch.tensor(array, dtype=torch.float64)
            self.register_buffer(name, tensor, persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Outputs `[B, K]` for examples `[B, *shape]`: scores of the classes, or values.

        Values are in the target's units if the module prepares its inputs, else as trained on.
        """
        if tuple(x.shape[1:]) != self.shape:
            wanted = " × ".join(map(str, self.shape))
            raise ValueError(f"examples have shape {tuple(x.shape[1:])}; it takes {wanted}")
        params = [self.get_parameter(name) for name in self._parameter_names]
        buffers = [self.get_buffer(name) for name in self._buffer_names]
        if self.prepares:
            x = self._prepared(x)
        self._program.compute_dtype = params[0].dtype  # `to` may have changed it
        out = self._program.forward(
            [p[None] for p in params],
            [b[None] for b in buffers],
            x.to(params[0].dtype)[None],
            self._context(x.device),
        )[0]
        mean, std = self._buffers["_target_mean"], self._buffers["_target_std"]
        return out if mean is None or std is None else out * std.to(out) + mean.to(out)

    def probabilities(self, x: torch.Tensor) -> torch.Tensor:
        """Of each class or label, `[B, C]`. ValueError if the loss that it learnt by gives none."""
        found = self._program.loss.probabilities(self(x)[None])
        if found is None or self.task not in ("classification", "multilabel"):
            raise ValueError(f"{self._program.loss.component} gives no probabilities")
        return found[0]

    def _prepared(self, x: torch.Tensor) -> torch.Tensor:
        """In float64, as preprocessing is in training."""
        weight, flat = self.get_buffer("_input_weight"), x.flatten(1).to(torch.float64)
        linear = flat * weight if weight.ndim == 1 else flat @ weight.T
        shifted: torch.Tensor = linear + self.get_buffer("_input_shift")
        return shifted.view(-1, *self._input_shape)

    def _context(self, device: torch.device) -> Context:
        if not self.training:
            return Context(training=False)
        step = int(torch.randint(2**31 - 1, ()))
        keys = streams.member_keys([0], streams.DROPOUT, device)
        return Context(training=True, members=keys, step=step)

    def extra_repr(self) -> str:
        return f"task={self.task}, inputs={tuple(self.shape)}, prepares={self.prepares}"


def load_module(
    path: str | PathLike[str],
    *,
    preprocessing: bool = True,
    member: int | None = None,
    plugins: Sequence[str | PathLike[str]] = (),
) -> Network:
    """A trained run as a torch module in evaluation mode, on the CPU.

    path: a run's directory, or a group's. member: which of the group's; by default the best on dev.
    preprocessing: whether it takes raw numbers (preprocessing is then inside, and values come out
    in the target's units), or examples that are already prepared.

    plugins: Python files with components of one's own that the run was trained with; they are run,
    and nothing else can execute code: what is in a run never does.

    Raises RunError, and UsageError if preprocessing is not one linear map (text, missing values).
    """
    with plugged([Path(file) for file in plugins]):
        stored = read_stored(Path(path), member)
    if preprocessing:
        _affine(stored.pipeline)
    return Network(stored, preprocessing)


def _affine(pipeline: Pipeline) -> tuple[np.ndarray, np.ndarray]:
    """Preprocessing as weight and shift of one linear map."""
    whole = pipeline.affine()
    if whole is not None and not pipeline.categorical_names:
        return whole.weight, whole.shift
    like = example_of(pipeline)
    for step, state in pipeline.fitted:
        if step.affine(like, state) is None:
            break
        like = step.apply(like, state)
    raise UsageError(
        f"the preprocessing has a step that is no linear map ({step.component}): take "
        "examples that are prepared, preprocessing=False, or `nnexp export`, which holds all steps"
    )
