"""Everything that a training run is at an instant: what a checkpoint holds, nothing more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from nnexp.config.experiment import Experiment
from nnexp.lazy import torch
from nnexp.train.health import Health
from nnexp.train.program import Program

Status = Literal["training", "finished", "stopped", "pruned", "diverged"]
Row = dict[str, float | int]


@dataclass
class MemberState:
    """One member's course, apart from its tensors.

    status: "stopped" ended early by early stopping or its schedule, "pruned" by a search.
    best: best monitored value so far (smoothed if asked for), best_epoch its epoch, from 1.
    bad: epochs since then. average: the running average of the monitored metric and its weight.
    schedule: the schedule's state. history: one row an epoch, as metrics.csv. health: one row a
    layer at the epochs that were examined, as health.csv.
    """

    status: Status = "training"
    best: float | None = None
    best_epoch: int = 0
    bad: int = 0
    average: float = 0.0
    average_weight: float = 0.0
    schedule: dict[str, Any] = field(default_factory=dict)
    history: list[Row] = field(default_factory=list)
    health: list[Health] = field(default_factory=list)


@dataclass
class TrainState:
    """A pack in training.

    tensors: by name, each `[M, …]` with one row for every member that the pack began with:
        `params`, `buffers`, `best_params`, `best_buffers`, `loss_sum` (this epoch's step losses,
        float64), the optimizer's, prefixed `optimizer.`, and the sampler's, prefixed `sampler.`.
    step: updates done; the epoch and the place within it follow from it.
    """

    tensors: dict[str, torch.Tensor]
    members: list[MemberState]
    step: int = 0

    @property
    def active(self) -> list[int]:
        """Numbers of the members still in training."""
        return [i for i, m in enumerate(self.members) if m.status == "training"]

    def continue_to(self, updates: int) -> None:
        """Let members that had reached the last planned update train on to a later one."""
        for member in self.members:
            if member.status == "finished" and self.step < updates:
                member.status = "training"

    def take(self, rows: Sequence[int]) -> dict[str, torch.Tensor]:
        """The rows' tensors: the state's own when these are all rows, else copies."""
        if len(rows) == len(self.members):
            return self.tensors
        index = torch.tensor(list(rows), device=self.tensors["params"].device)
        return {name: tensor.index_select(0, index) for name, tensor in self.tensors.items()}

    def put(self, rows: Sequence[int], tensors: dict[str, torch.Tensor]) -> None:
        """Write back what `take` gave."""
        if tensors is self.tensors:
            return
        index = torch.tensor(list(rows), device=self.tensors["params"].device)
        for name, tensor in tensors.items():
            self.tensors[name].index_copy_(0, index, tensor)

    def to_json(self) -> dict[str, Any]:
        """All but the tensors, as plain data."""
        return {"step": self.step, "members": [asdict(m) for m in self.members]}

    @classmethod
    def from_parts(
        cls, tensors: dict[str, torch.Tensor], plain: dict[str, Any], device: torch.device
    ) -> TrainState:
        """The inverse of `tensors` and `to_json`."""
        members = [MemberState(**m) for m in plain["members"]]
        # copied: torch aligns its own memory, and products' last bits depend on alignment
        fresh = {k: v.to(device, copy=True) for k, v in tensors.items()}
        return cls(fresh, members, plain["step"])


def start(program: Program, drawn: bool = True, params: torch.Tensor | None = None) -> TrainState:
    """The state before the first update; not drawn: all weights 0, for its form only.

    params: how the parameters start, `[M, P]`; None: as drawn.
    """
    if drawn:
        params = program.initial_params() if params is None else params
        buffers = program.initial_buffers()
    else:
        sizes = (program.layout.size, program.buffer_layout.size)
        params, buffers = (
            torch.zeros(program.size, size, dtype=program.dtype, device=program.device)
            for size in sizes
        )
    tensors = {
        "params": params,
        "buffers": buffers,
        "best_params": params.clone(),
        "best_buffers": buffers.clone(),
        "loss_sum": torch.zeros(program.size, dtype=torch.float64, device=program.device),
    }
    for name, tensor in program.optimizer.init(params).items():
        tensors[f"optimizer.{name}"] = tensor
    rows = program.signature.train_rows
    for name, tensor in program.sampler.init(program.size, rows, program.device).items():
        tensors[f"sampler.{name}"] = tensor
    return TrainState(tensors, [_member(m) for m in program.members])


def _member(experiment: Experiment) -> MemberState:
    return MemberState(schedule=experiment.schedule.start())
