"""What is checked: an experiment as it would start to train, and copies of it to try things on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from nnexp import streams
from nnexp.components.layers.basic import Dropout
from nnexp.components.regularizers import Sizes
from nnexp.config.experiment import Experiment
from nnexp.data.prepare import Prepared
from nnexp.lazy import torch
from nnexp.runs.plan import signature
from nnexp.train import state
from nnexp.train.feed import Feed, feed
from nnexp.train.loop import Pack
from nnexp.train.program import Program
from nnexp.train.step import Working

CHECKS = 1001
"""The purpose of random streams that checks draw from, and nothing else does."""


@dataclass
class Subject:
    """An experiment, resolved, with its data on a device. Nothing here changes what training does.

    Weights start as they would in training; which examples are looked at comes from streams that
    nothing else draws from.
    """

    experiment: Experiment
    prepared: Prepared
    device: torch.device

    @classmethod
    def of(cls, pack: Pack, params: torch.Tensor) -> Subject:
        """A pack's first member with the pack's own data and parameters, which are only read."""
        feed = pack.feed
        made = cls(pack.members[0], feed.tables[feed.split_of[0]], pack.device)
        made.feed, made.pack, made.start = feed, pack, params[:1]
        return made

    @cached_property
    def feed(self) -> Feed:
        double = self.experiment.training.precision == "float64"
        dtype = torch.float64 if double else torch.float32
        return feed([self.prepared], [0], self.device, dtype)

    @cached_property
    def pack(self) -> Pack:
        return Pack([self.experiment], signature(self.prepared), self.feed, self.device)

    @cached_property
    def start(self) -> torch.Tensor:
        """The parameters before training, `[1, P]`."""
        return self.pack.start().tensors["params"]

    @property
    def in_double(self) -> Experiment:
        """The experiment in float64."""
        return self.with_training(precision="float64")

    def with_training(self, **changes: Any) -> Experiment:
        """The experiment with other keys in its section `training`."""
        training = self.experiment.training.model_copy(update=changes)
        return self.experiment.model_copy(update={"training": training})

    def program(self, members: Sequence[Experiment], still: bool = True) -> Program:
        """The network of such members. still: without dropout."""
        counts = self.feed.class_counts([0])
        every = None if counts is None else np.repeat(counts, len(members), 0)
        program = Program(members, self.pack.signature, self.device, every)
        if still:
            program.stages = tuple(
                replace(stage, hyper={**stage.hyper, "rate": 0.0})
                if isinstance(stage.layer, Dropout)
                else stage
                for stage in program.stages
            )
        return program

    def working(self, program: Program, params: torch.Tensor | None = None) -> Working:
        """The program's members, all at the start or at `params` `[M, P]`, ready to be updated."""
        if params is None:
            params = self.start.to(program.dtype).repeat(program.size, 1)
        return Working(program, state.start(program, params=params.clone()).tensors)

    def batch(self, size: int, members: int = 1, draw: int = 0) -> tuple[Any, Any]:
        """Some training examples, `[M, B, …]`, and their targets; all of them if there are fewer.

        They are as many of each class as may be. draw: its number, others give other examples.
        """
        rows = self._some(size, draw)
        return self.feed.gather(rows[None], members)

    def _some(self, size: int, draw: int) -> torch.Tensor:
        rows = self.feed.rows("train", [0])[0]
        key = streams.key(self.experiment.seed, CHECKS, draw)
        order = streams.permutation(key, len(rows))
        if self.experiment.task == "classification":
            codes = self.feed.targets[rows].cpu().numpy()[order]
            turn = np.zeros(len(order), np.int64)  # how many of its class come before each
            for code in np.unique(codes):
                turn[codes == code] = np.arange(np.count_nonzero(codes == code))
            order = order[np.argsort(turn, kind="stable")]
        return rows[torch.as_tensor(order[:size].copy(), device=rows.device)]

    def sizes(self, batch: int) -> Sizes:
        """What penalties are divided by."""
        return Sizes(batch, self.pack.signature.train_rows)


def losses_of_nothing(program: Program, y: torch.Tensor) -> torch.Tensor | None:
    """Each example's loss where all outputs are 0, `[M, B]`: chance; None of running text."""
    if program.task == "words":
        return None
    shape = (*y.shape[:2], program.outputs, *program.signature.positions)
    return program.losses(torch.zeros(shape, dtype=program.dtype, device=y.device), y)
