"""The training loop: reads straight down, one hook a checkpoint's instant and one an epoch."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from nnexp.components.schedules import Progress
from nnexp.config.experiment import EarlyStopping, Experiment
from nnexp.lazy import torch
from nnexp.train import evaluate, health, state, step
from nnexp.train.blueprint import Signature
from nnexp.train.feed import Feed, at, batch_bounds
from nnexp.train.from_data import SAMPLE, start_from_data, takes_data
from nnexp.train.parallel import Ranks, check_parallel
from nnexp.train.program import Program
from nnexp.train.state import MemberState, Row, TrainState


@dataclass
class Pack:
    """Experiments that train as one: equal in all but what may differ between members."""

    members: Sequence[Experiment]
    signature: Signature
    feed: Feed
    device: torch.device
    ranks: Ranks = field(default_factory=Ranks)  # the processes that train it together
    records_health: bool | Literal["every_epoch"] = False  # True: now and then

    def program(self, rows: Sequence[int]) -> Program:
        """The compiled network of some of the members."""
        counts = self.feed.class_counts(rows)
        return Program([self.members[r] for r in rows], self.signature, self.device, counts)

    @property
    def batch(self) -> int:
        """Examples an update."""
        size, rows = self.members[0].training.batch_size, self.signature.train_rows
        return rows if size == "full" else min(int(size), rows)

    @property
    def bounds(self) -> list[tuple[int, int]]:
        """Start and stop of each batch among an epoch's draws."""
        program = self.program([0])
        draws = program.sampler.draws(self.signature.train_rows, self.batch)
        return batch_bounds(draws, self.batch, program.joins_last)

    @property
    def updates(self) -> int:
        """How many updates are planned."""
        return self.members[0].training.updates(len(self.bounds))

    def start(self, drawn: bool = True) -> TrainState:
        """The state before the first update; see `state.start`."""
        program = self.program(range(len(self.members)))
        if not drawn or not takes_data(program):
            return state.start(program, drawn)
        params, count = program.initial_params(), self.signature.train_rows
        sample = torch.arange(min(count, SAMPLE), device=self.device) * count // min(count, SAMPLE)
        for member in range(len(self.members)):
            x, _ = self.feed.gather(self.feed.rows("train", [member])[:, sample], 1)
            start_from_data(self.program([member]), params[member : member + 1], x)
        return state.start(program, params=params)


@dataclass
class Hooks:
    """What the caller wants to happen.

    pause: asked after every update; True makes the loop call `checkpoint`.
    checkpoint: gets a state that training can go on from exactly; may raise to end training.
    epoch: called after each epoch, its rows recorded in the state.
    expired: asked after every update; True ends training there.
    """

    pause: Callable[[], bool] = lambda: False
    checkpoint: Callable[[TrainState], None] = lambda _: None
    epoch: Callable[[TrainState], None] = lambda _: None
    expired: Callable[[], bool] = lambda: False


def train(pack: Pack, now: TrainState, hooks: Hooks) -> None:
    """Train a pack from a state to its end, changing the state in place.

    Members that stop early or diverge leave at the end of an epoch; their rows stay as they were.
    """
    training = pack.members[0].training
    bounds, size = pack.bounds, pack.batch
    planned = training.updates(len(bounds))
    rows: list[int] = []
    while active := now.active:
        if rows != active:  # at the start, and when members have left
            rows = active
            program = pack.program(rows)
            if pack.ranks.size > 1:
                check_parallel(program)
            working = step.Working(program, now.take(rows), pack.ranks)
            index = pack.feed.rows("train", rows)
            samples = _train_sample(pack, index)
        members = [now.members[r] for r in rows]
        epoch, done = divmod(now.step, len(bounds))
        order = working.order(pack.feed, epoch, rows, size)
        visited = at(index, order)
        examined = pack.records_health == "every_epoch" or (
            pack.records_health and health.is_due(epoch + 1, len(bounds), size)
        )
        before = None  # the parameters before the epoch's last update
        for start, stop in bounds[done:]:
            lr, momentum = step.rates(program, members, Progress(now.step, len(bounds), planned))
            first, end = pack.ranks.share(start, stop)
            x, y = pack.feed.gather(visited[:, first:end], program.size)
            if examined and (stop == bounds[-1][1] or now.step + 1 == planned):
                before = working.params.clone()
            losses = working.step(x, y, now.step, lr, momentum, first - start, stop - start)
            if program.sampler.watches:
                program.sampler.observe(working.sampler_state, order[:, start:stop], losses)
            now.step += 1
            expired = pack.ranks.agreed(hooks.expired(), pack.device)
            if now.step == planned or expired:
                break
            if stop != bounds[-1][1] and pack.ranks.agreed(hooks.pause(), pack.device):
                now.put(rows, working.tensors)
                hooks.checkpoint(now)
        program.sampler.renew(working.sampler_state)
        found = _measure(
            pack, program, working, rows, samples, now.step - epoch * len(bounds), size
        )
        working.tensors["loss_sum"].zero_()
        if examined:
            _examine(
                members, program, working.tensors, before, pack.feed, index, (epoch + 1, now.step)
            )
        lrs = lr.flatten().tolist() if isinstance(lr, torch.Tensor) else [lr] * len(rows)
        for number, (member, row) in enumerate(zip(members, found, strict=True)):
            member.history.append({"epoch": epoch + 1, "step": now.step, "lr": lrs[number], **row})
            if _observe(member, program.members[number]):
                for name in ("params", "buffers"):
                    working.tensors[f"best_{name}"][number].copy_(working.tensors[name][number])
            if member.status == "training" and (now.step >= planned or expired):
                member.status = "finished" if now.step >= planned else "stopped"
        now.put(rows, working.tensors)
        hooks.epoch(now)
        if now.active and pack.ranks.agreed(hooks.pause(), pack.device):
            hooks.checkpoint(now)


def _examine(
    members: Sequence[MemberState],
    program: Program,
    tensors: dict[str, torch.Tensor],
    before: torch.Tensor | None,
    feed: Feed,
    index: torch.Tensor,
    moment: tuple[int, int],
) -> None:
    """Record the layers' health; see `health.examine`."""
    sheets = health.examine(program, tensors, before, feed, index, moment)
    for member, sheet in zip(members, sheets, strict=True):
        member.health += sheet


def _train_sample(pack: Pack, index: torch.Tensor) -> torch.Tensor:
    """The training rows on which train metrics are taken: all, or evenly spaced ones."""
    sample, count = pack.members[0].training.train_sample, index.shape[1]
    if sample == "all" or count <= sample:
        return index
    return index[:, torch.arange(sample, device=index.device) * count // sample]


def _measure(
    pack: Pack,
    program: Program,
    working: step.Working,
    rows: Sequence[int],
    samples: torch.Tensor,
    steps: int,
    batch: int,
) -> list[Row]:
    """One row of metrics a member, all in evaluation mode but the step loss."""
    tensors = working.tensors
    found: list[Row] = [{} for _ in rows]
    for part, where in (("train", samples), ("dev", "dev")):
        if part in pack.feed.parts:
            scores = evaluate.evaluate(program, tensors, pack.feed, where, rows)
            for metric, values in scores.items():
                for row, value in zip(found, values, strict=True):
                    row[f"{part}/{metric}"] = value
    step_losses = (tensors["loss_sum"] / steps).cpu()
    penalties = evaluate.penalty(program, tensors["params"], batch)
    for row, step_loss, penalty in zip(found, step_losses, penalties, strict=True):
        row["train/step_loss"] = float(step_loss)
        row["train/penalty"] = penalty
    return found


def _observe(member: MemberState, experiment: Experiment) -> bool:
    """Let a member's stopping and schedule see its newest row; True if its weights are the best."""
    row = member.history[-1]
    if not math.isfinite(row["train/step_loss"]) or not math.isfinite(row["train/loss"]):
        member.status = "diverged"
        return False
    member.schedule = experiment.schedule.observe(member.schedule, row)
    if member.schedule.get("stop"):
        member.status = "stopped"
    stopping = experiment.training.early_stopping
    if stopping is None:
        member.best_epoch = int(row["epoch"])
        return True
    return _early_stopping(member, experiment, stopping, float(row[stopping.monitor]))


def _early_stopping(
    member: MemberState, experiment: Experiment, stopping: EarlyStopping, value: float
) -> bool:
    """Count epochs without improvement; True when this one is the best so far."""
    if higher_is_better(experiment, stopping.monitor):
        value = -value
    if math.isfinite(value):  # one that is not counts as no improvement, and leaves no trace
        beta = stopping.smooth
        member.average = beta * member.average + (1 - beta) * value
        member.average_weight = beta * member.average_weight + (1 - beta)
        smoothed = member.average / member.average_weight  # corrects the start from 0
        if member.best is None or smoothed < member.best - stopping.min_delta:
            member.best, member.bad = smoothed, 0
            member.best_epoch = int(member.history[-1]["epoch"])
            return True
    member.bad += 1
    if member.bad > stopping.patience:
        member.status = "stopped"
    return False


def higher_is_better(experiment: Experiment, monitor: str) -> bool:
    """Whether a column of metrics.csv such as dev/accuracy is better when it is larger."""
    name = monitor.split("/", 1)[-1]
    return any(m.component == name and m.higher_is_better for m in experiment.metrics or ())
