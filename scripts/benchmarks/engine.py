"""nnexp's own training, as `nnexp train` runs it between reading the data and writing the run."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from nnexp.config.experiment import Experiment
from nnexp.runs.packs import make_pack
from nnexp.runs.plan import Plan, plan_members
from nnexp.train.device import suitable_threads
from nnexp.train.loop import Hooks, Pack, train
from nnexp.train.state import TrainState

from .loops import LR, Run, Task


@dataclass(frozen=True)
class Case:
    """An MLP and its data, for nnexp and for its peers."""

    name: str
    source: str | dict[str, str]
    split: Mapping[str, float]
    sizes: tuple[int, ...]
    batch: int

    def experiment(self, epochs: int) -> Experiment:
        """What its YAML file would hold."""
        config: dict[str, Any] = {
            "data": {"source": self.source, "split": dict(self.split)},
            "preprocessing": [{"name": "min_max", "per": "global"}],
            "model": {"name": "mlp", "hidden": list(self.sizes[1:-1])},
            "optimizer": {"name": "adam", "lr": LR},
            "training": {"epochs": epochs, "batch_size": self.batch},
        }
        return Experiment.model_validate(config)

    def plan(self, epochs: int, members: int) -> Plan:
        """Its data, read and prepared, and so many members that differ by seed."""
        return plan_members(self.experiment(epochs), Path.cwd(), members, by_split=False)

    def task(self, epochs: int, device: torch.device) -> Task:
        """The same for the peers: nnexp's own training rows, already prepared."""
        feed = make_pack(self.plan(epochs, 1), [0], torch.device("cpu")).feed
        assert feed.inputs is not None
        rows = feed.parts["train"][0]
        x, y = feed.inputs[rows].flatten(1).contiguous(), feed.targets[rows]
        assert x.shape[1] == self.sizes[0]
        return Task(x, y, self.sizes, self.batch, epochs, device)


def ours(case: Case, task: Task, members: int, evaluated: bool) -> Run:
    """nnexp's training of a pack of members.

    It trains one epoch more than its peers, before the clock: the network is compiled in it, as
    the peers make theirs beforehand.

    evaluated: whether metrics are taken each epoch on the training rows and the dev part, as users
    get it; else on one training row, for comparison with loops that evaluate nothing.
    """
    if task.device.type == "cuda":  # what nnexp.runs.execute.choose_device sets
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    plan = case.plan(task.epochs + 1, members)
    assert len(plan.packs) == 1
    pack = make_pack(plan, plan.packs[0], task.device)
    if not evaluated:
        pack = _unevaluated(pack)

    def run() -> float:
        now, begun, program = pack.start(), 0.0, pack.program(range(members))

        def epoch(_: TrainState) -> None:
            nonlocal begun
            if not begun:
                task.wait()
                begun = time.perf_counter()

        torch.use_deterministic_algorithms(task.device.type == "cuda")
        try:
            with suitable_threads(program):  # as nnexp.runs.execute does
                train(pack, now, Hooks(pause=lambda: time.monotonic() < 0, epoch=epoch))
                task.wait()
            seconds = time.perf_counter() - begun
        finally:
            torch.use_deterministic_algorithms(False)
        assert now.step * task.epochs == task.steps * (task.epochs + 1)
        assert all(member.status == "finished" for member in now.members)
        return seconds / task.steps / members

    return run


def _unevaluated(pack: Pack) -> Pack:
    training = pack.members[0].training.model_copy(update={"train_sample": 1})
    members = [m.model_copy(update={"training": training}) for m in pack.members]
    parts = {"train": pack.feed.parts["train"]}
    return replace(pack, members=members, feed=replace(pack.feed, parts=parts))
