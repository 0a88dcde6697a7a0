"""Training from a config to a finished run directory."""

from __future__ import annotations

import secrets
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from nnexp.config.experiment import Experiment
from nnexp.config.source import dump
from nnexp.errors import (
    Diverged,
    Interrupted,
    Terminated,
    UsageError,
)
from nnexp.lazy import torch
from nnexp.runs import record
from nnexp.runs.baselines import check_baselines, mean_scores, score_baselines
from nnexp.runs.checkpoint import Checkpoints
from nnexp.runs.files import append_text, write_json, writing
from nnexp.runs.packs import Course, Watch, follow, make_pack
from nnexp.runs.plan import Plan, plan_members
from nnexp.runs.plugged import keep_plugins
from nnexp.runs.restore import identity
from nnexp.runs.rundir import RunDir
from nnexp.runs.signals import handled
from nnexp.train.blueprint import start_notes
from nnexp.train.device import choose_device, members_that_fit
from nnexp.train.loop import Pack
from nnexp.train.parallel import Ranks, check_parallel, joined_ranks, told_size
from nnexp.train.state import TrainState


class Reporter:
    """Told what happens; this one keeps quiet. The console's shows it."""

    def note(self, text: str) -> None:
        """Something that the user should know."""

    def begins(self, plan: Plan, pack: Pack, now: TrainState) -> str:
        """The first pack is about to be trained; what the log is to say of it, "" for nothing."""
        return ""

    def started(self, run: RunDir, pack: Pack, number: int, packs: int) -> None:
        """A pack begins (or goes on)."""

    def epoch(self, now: TrainState) -> None:
        """An epoch has ended."""

    def finished(self, run: RunDir, summary: dict[str, Any], seconds: float) -> None:
        """All is written."""


@dataclass
class Order:
    """What to train: an experiment, how often, and where it is written.

    seeds, splits: number of members when a group is wanted, else None.
    """

    experiment: Experiment
    config_text: str
    folder: Path
    seeds: int | None = None
    splits: int | None = None
    overrides: tuple[str, ...] = ()


def start(order: Order, out: Path, reporter: Reporter) -> RunDir:
    """Train a new run or group under `out`; its directory.

    Raises ConfigError, DataError, Diverged, Interrupted, Terminated, OutOfResources.
    """
    plan = plan_members(order.experiment, order.folder, _count(order), order.splits is not None)
    check_baselines(plan)
    plan.notes += start_notes(plan.resolved, plan.signature(0))
    device = choose_device(plan.resolved.training.device)
    check_shared(plan, device, _single(order))
    now = datetime.now(UTC)
    run = RunDir.create(out, plan.resolved.name, now)
    with run.lock(), joined_ranks(device) as ranks:
        manifest: dict[str, Any] = {
            "kind": "run" if _single(order) else "group",
            "id": secrets.token_hex(8),
            "status": "running",
            "created": now.isoformat(timespec="seconds"),
            "name": plan.resolved.name,
            "overrides": list(order.overrides),
            "git_commit": record.git_commit(order.folder),
            "data": record.data_record(plan.table),
            "splits": [record.split_record(t, plan.table) for t in plan.tables],
        }
        if not _single(order):
            count = _count(order)
            manifest |= {
                "members": count,
                "varies": "split" if order.splits is not None else "seed",
                "additions": [{"at": manifest["created"], "members": count}],
            }
        with writing() as files:
            manifest |= keep_plugins(run, files)
            files.add_text(run.config, order.config_text)
            files.add_text(run.resolved, dump(plan.resolved.dump()))
            files.add_json(run.manifest, manifest)
        if ranks.size > 1:
            manifest["ranks"] = ranks.size
        Execution(run, plan, manifest, reporter, device, ranks).go()
    return run


def assist(order: Order) -> None:
    """Take part, as one of torchrun's further processes, in what the first one starts."""
    plan = plan_members(order.experiment, order.folder, _count(order), order.splits is not None)
    check_baselines(plan)
    start_notes(plan.resolved, plan.signature(0))
    device = choose_device(plan.resolved.training.device)
    check_shared(plan, device, _single(order))
    with joined_ranks(device) as ranks, asked_to_stop() as asked:
        follow(plan, device, ranks, asked)


def check_shared(plan: Plan, device: torch.device, single: bool = True) -> None:
    """Whether the processes that torchrun has started can train together. Raises UsageError."""
    if told_size() == 1:
        return
    if not single:
        raise UsageError("several processes train one run: leave out --seeds and --splits")
    check_parallel(make_pack(plan, [0], device).program([0]))


@contextmanager
def asked_to_stop() -> Iterator[Callable[[], bool]]:
    """Whether Ctrl-C or SIGTERM has asked for an end; they end nothing by themselves."""
    asked: list[int] = []
    signals = (signal.SIGINT, signal.SIGTERM)
    before = {s: signal.signal(s, lambda number, _: asked.append(number)) for s in signals}
    try:
        yield lambda: bool(asked)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@dataclass
class Execution:
    """The training of a plan into its directory."""

    run: RunDir
    plan: Plan
    manifest: dict[str, Any]
    reporter: Reporter
    device: torch.device
    ranks: Ranks = field(default_factory=Ranks)
    asked: int | None = field(default=None, init=False)  # the signal that asked to stop

    def go(self) -> None:
        """Train every pack, then write what each member leaves, and the group's summary."""
        device = self.device
        if "threads" not in self.manifest:
            self.manifest |= record.environment(device)
            write_json(self.run.manifest, self.manifest)
        for text in self.plan.notes:
            self._note(text)
        self._form_packs(device)
        baselines = self._baselines()
        total, summaries = 0.0, dict[int, dict[str, Any]]()
        with self._signals():
            for number, members in enumerate(self.plan.packs):
                pack, now, seconds, trained = self._train(number, members, device)
                total += seconds
                for row, member in enumerate(members):
                    home = self._home(member)
                    if not trained and (done := _finished(home)) is not None:
                        summaries[member] = done  # what is there stays as it is
                        continue
                    result = record.add_member(
                        home, pack, now, row, self.plan.table,
                        self._member_manifest(device), seconds / len(members),
                        baselines[self.plan.split_of[member]],
                    )  # fmt: skip
                    summaries[member] = result.summary
        summary = summaries[0]
        if self.manifest["kind"] == "group":
            ordered = [summaries[m] for m in sorted(summaries)]
            summary = record.group_summary(ordered, self.plan.resolved.metrics or [])
            if baselines[0]:
                summary["baselines"] = mean_scores(baselines)
            self._finish_group(summary, pack, device, total)
        self.reporter.finished(self.run, summary, total)
        if summary["status"] == "diverged":
            raise Diverged(_diverged(self.run, summary))

    def _train(
        self, number: int, members: Sequence[int], device: torch.device
    ) -> tuple[Pack, TrainState, float, bool]:
        """A pack's end, the seconds that took, and whether anything was left to train."""
        pack = make_pack(self.plan, members, device)
        pack.ranks = self.ranks
        course = Course(
            pack,
            identity(self.plan, members),
            Checkpoints(self.run.checkpoints, prefix=f"pack{number}-"),
            [self._home(m) for m in members],
        )
        watch = Watch(
            asked=lambda: self.asked is not None,
            stopped=self._stopped,
            note=self._note,
            log=self._log,
            begun=lambda pack, now: self._begun(pack, now, number),
            epoch=self.reporter.epoch,
        )
        now, trained = course.go(device, watch)
        return pack, now, course.seconds, trained

    def _begun(self, pack: Pack, now: TrainState, number: int) -> None:
        if number == 0:
            for line in self.reporter.begins(self.plan, pack, now).splitlines():
                self._log(line)
        self.reporter.started(self.run, pack, number, len(self.plan.packs))

    def _baselines(self) -> list[dict[str, Any]]:
        """Of each split the baselines' scores, by name."""
        if not self.plan.resolved.baselines:
            return [{} for _ in self.plan.tables]
        found, notes = zip(
            *[score_baselines(self.plan, split) for split in range(len(self.plan.tables))],
            strict=True,
        )
        for text in dict.fromkeys(note for some in notes for note in some):
            self._note(text)
        return list(found)

    def _form_packs(self, device: torch.device) -> None:
        """Split new packs that do not fit in memory; what is formed is kept for every resume."""
        formed = [list(p) for p in self.manifest.get("packs", [])]
        for members in self.plan.packs[len(formed) :]:
            pack = make_pack(self.plan, members[:1], device)
            most = members_that_fit(pack.program([0]), pack.batch)
            if most < len(members):
                self._note(f"{len(members)} members do not fit in memory: {most} train at a time")
            formed += [list(members[i : i + most]) for i in range(0, len(members), most)]
        self.plan.packs = formed
        if self.manifest["kind"] == "group":
            self.manifest["packs"] = formed
            write_json(self.run.manifest, self.manifest)

    def _home(self, member: int) -> RunDir:
        return self.run.make_member(member) if self.manifest["kind"] == "group" else self.run

    def _member_manifest(self, device: torch.device) -> dict[str, Any]:
        if self.manifest["kind"] == "run":
            return {**self.manifest, **record.environment(device)}
        shared = ("id", "created", "name", "overrides", "git_commit", "data", "plugins")
        present = {k: self.manifest[k] for k in shared if k in self.manifest}
        return {**present, **record.environment(device)}

    def _finish_group(
        self, summary: dict[str, Any], pack: Pack, device: torch.device, seconds: float
    ) -> None:
        resolved = self.plan.resolved
        self.manifest |= {
            **record.environment(device),
            "status": summary["status"],
            "seed": resolved.seed,
            "split_seed": resolved.data.split.seed,
            "parameters": pack.program([0]).layout.size,
            "seconds": round(seconds, 3),
            "split": record.split_record(self.plan.tables[0], self.plan.table),
        }
        with writing() as files:
            files.add_json(self.run.summary, summary)
            files.add_json(self.run.manifest, self.manifest)

    def _note(self, text: str) -> None:
        self.reporter.note(text)
        self._log(text)

    def _log(self, text: str) -> None:
        now = datetime.now(UTC).isoformat(timespec="seconds")
        append_text(self.run.log, f"{now} {text}\n")

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """Ctrl-C and SIGTERM ask for a checkpoint first; a second one ends the process at once."""

        def ask(number: int, _: Any) -> None:
            self.asked = number
            signal.signal(
                number, signal.SIG_DFL if number == signal.SIGTERM else signal.default_int_handler
            )

        with handled(ask):
            yield

    def _stopped(self) -> Interrupted | Terminated:
        self.manifest["status"] = "interrupted"
        write_json(self.run.manifest, self.manifest)
        text = f"stopped; go on with: nnexp train --resume {self.run.path}"
        return (Terminated if self.asked == signal.SIGTERM else Interrupted)(text)


def _finished(home: RunDir) -> dict[str, Any] | None:
    """The summary of a member that is wholly written; None for one that is not."""
    if not home.manifest.exists():
        return None
    status = home.read_manifest().get("status")
    return home.read_summary() if status in ("finished", "diverged") else None


def _single(order: Order) -> bool:
    return order.seeds is None and order.splits is None


def _count(order: Order) -> int:
    return order.seeds or order.splits or 1


def _diverged(run: RunDir, summary: dict[str, Any]) -> str:
    who = "every member" if "members" in summary else "training"
    return (
        f"{who} diverged: the loss became infinite or NaN; try a lower learning rate ({run.path})"
    )
