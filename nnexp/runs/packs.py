"""The training of one pack, with checkpoints, from wherever it was left to its end."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from nnexp.errors import Terminated
from nnexp.lazy import torch
from nnexp.runs import record
from nnexp.runs.checkpoint import Checkpoints
from nnexp.runs.events import Boards
from nnexp.runs.files import append_text, write_text
from nnexp.runs.plan import Plan
from nnexp.runs.restore import restore
from nnexp.runs.rundir import RunDir
from nnexp.train.device import memory_explained, suitable_threads
from nnexp.train.feed import feed
from nnexp.train.loop import Hooks, Pack, train
from nnexp.train.parallel import Ranks
from nnexp.train.state import TrainState


@dataclass
class Watch:
    """Who follows a training.

    asked: whether training is to stop; `stopped` then gives the exception that ends it, once a
    checkpoint is written. note: told what the user should know; log: what happened. begun: called
    before the first update, epoch: after each epoch (it may stop members); wrote: after an epoch
    whose metrics were written down.
    """

    asked: Callable[[], bool] = lambda: False
    stopped: Callable[[], BaseException] = KeyboardInterrupt
    note: Callable[[str], None] = lambda _: None
    log: Callable[[str], None] = lambda _: None
    begun: Callable[[Pack, TrainState], None] = lambda *_: None
    epoch: Callable[[TrainState], None] = lambda _: None


@dataclass
class Course:
    """One pack's training.

    of: the pack's identity; a checkpoint of another pack is refused. homes: the members'
    directories, in which metrics.csv grows; none: it does not.
    """

    pack: Pack
    of: str
    checkpoints: Checkpoints
    homes: Sequence[RunDir] = ()
    seconds: float = field(default=0.0, init=False)

    def go(self, device: torch.device, watch: Watch) -> tuple[TrainState, bool]:
        """The state at the end, and whether anything was left to train.

        `seconds` is then how long it took, earlier sittings among it.
        """
        pack, now = self.pack, self._restored(device, watch)
        pack.records_health = pack.members[0].training.record_health if self.homes else False
        pack.ranks.same(now)
        before = self.seconds
        metrics = Growing(self.homes, now) if self.homes else None
        boards = None
        if now.active and pack.members[0].training.tensorboard and self.homes:
            boards = Boards(self.homes, now)
        watch.begun(pack, now)
        watch.log(f"training {len(pack.members)} on {device.type}, from step {now.step}")
        begun, saved = time.perf_counter(), time.monotonic()
        every = pack.members[0].training.checkpoint_seconds
        limit = (pack.members[0].training.max_minutes or math.inf) * 60.0

        def save(state: TrainState) -> None:
            nonlocal saved
            self.seconds = before + time.perf_counter() - begun
            plain = {**state.to_json(), "seconds": self.seconds, "of": self.of}
            self.checkpoints.save(state.tensors, plain, state.step)
            saved = time.monotonic()

        def pause(state: TrainState) -> None:
            save(state)
            if pack.ranks.agreed(watch.asked(), device):
                raise watch.stopped()

        def ended(state: TrainState) -> None:
            if metrics is None or metrics.flush(state):
                watch.log(epoch_line(state))
            if boards is not None:
                boards.flush(state)
            watch.epoch(state)

        hooks = Hooks(
            pause=lambda: watch.asked() or time.monotonic() - saved >= every,
            expired=lambda: before + time.perf_counter() - begun >= limit,
            checkpoint=pause,
            epoch=ended,
        )
        if trained := bool(now.active):
            with memory_explained(), suitable_threads(pack.program(range(len(pack.members)))):
                train(pack, now, hooks)
            if boards is not None:
                boards.close(now, pack.members)
            if metrics is not None:
                save(now)
                if watch.asked():
                    raise watch.stopped()
            watch.log(epoch_line(now))
            self._doubts(now, watch)
        self.seconds = before + time.perf_counter() - begun
        return now, trained

    def _restored(self, device: torch.device, watch: Watch) -> TrainState:
        """Where training was left; the start if it never was."""
        loaded = self.checkpoints.load("torch")
        if loaded is None:
            return self.pack.start()
        for note in loaded.notes:
            watch.note(note)
        path = self.checkpoints.path(loaded.number)
        now, self.seconds = restore(loaded, self.of, self.pack, device, path)
        now.continue_to(self.pack.updates)
        return now

    def _doubts(self, now: TrainState, watch: Watch) -> None:
        """Says, once, where a schedule reacted to what was mostly noise."""
        pack = self.pack
        if "dev" not in pack.feed.parts or not now.members[0].history:
            return
        row, schedule = now.members[0].history[-1], pack.members[0].schedule
        if doubt := schedule.doubt(row, pack.feed.parts["dev"].shape[1]):
            watch.note(doubt)


def follow(plan: Plan, device: torch.device, ranks: Ranks, asked: Callable[[], bool]) -> None:
    """Take this process's part in the training of a single run, which the first process leads.

    asked: whether this process is to stop; then all do.
    """
    pack = make_pack(plan, [0], device)
    pack.ranks = ranks
    now = pack.start(drawn=False)
    ranks.same(now)

    def pause(_: TrainState) -> None:
        if ranks.agreed(asked(), device):
            raise Terminated("stopped with the first process")

    if now.active:
        with memory_explained(), suitable_threads(pack.program([0])):
            train(pack, now, Hooks(pause=asked, checkpoint=pause))


class Growing:
    """Keeps metrics.csv of each member growing while training goes on."""

    def __init__(self, homes: Sequence[RunDir], now: TrainState) -> None:
        self.homes = homes
        self.written = [len(m.history) for m in now.members]
        self.last = 0.0
        for home, member in zip(homes, now.members, strict=True):
            if member.history:  # rows after the checkpoint are written again
                write_text(home.metrics, record.metrics_text(member.history))
            else:
                home.metrics.unlink(missing_ok=True)

    def flush(self, now: TrainState) -> bool:
        """Append the newest rows, at most once a second (the end writes the file whole)."""
        if time.monotonic() - self.last < 1.0:
            return False
        self.last = time.monotonic()
        for number, (home, member) in enumerate(zip(self.homes, now.members, strict=True)):
            done = self.written[number]
            append_text(home.metrics, record.metrics_text(member.history[done:], header=done == 0))
            self.written[number] = len(member.history)
        return True


def epoch_line(now: TrainState) -> str:
    """Where training stands, for the log: means over the members that have come this far."""
    last = max(len(member.history) for member in now.members)
    rows = [m.history[-1] for m in now.members if m.history and len(m.history) == last]
    means = {key: sum(row[key] for row in rows) / len(rows) for key in (rows[0] if rows else ())}
    shown = [f"{key} {value:.4g}" for key, value in means.items() if "/" in key]
    return f"epoch {last}: " + ", ".join(shown)


def make_pack(plan: Plan, members: Sequence[int], device: torch.device) -> Pack:
    """A pack of a plan's members, with only the tables that they use."""
    used = sorted({plan.split_of[m] for m in members})
    experiments = [plan.members[m] for m in members]
    dtype = torch.float64 if experiments[0].training.precision == "float64" else torch.float32
    split_of = [used.index(plan.split_of[m]) for m in members]
    data = feed([plan.tables[u] for u in used], split_of, device, dtype)
    return Pack(experiments, plan.signature(members[0]), data, device)
