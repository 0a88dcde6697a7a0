"""A pack of a sweep: written down as a file, then trained by whoever is given its number.

Everything that its bits follow from is in the file, so a pack that is trained again, after a kill,
on another worker, or to look at a trial once more, comes to the same numbers.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnexp.config.experiment import Experiment
from nnexp.config.source import dump
from nnexp.data.prepare import Prepared
from nnexp.errors import DamagedRun
from nnexp.runs import record
from nnexp.runs.checkpoint import Checkpoints
from nnexp.runs.files import sha256, write_json, write_text
from nnexp.runs.packs import Course, Watch, make_pack
from nnexp.runs.plan import Plan
from nnexp.runs.rundir import RunDir
from nnexp.search.folder import SweepDir
from nnexp.search.trials import Bench, data_key
from nnexp.train.device import choose_device
from nnexp.train.loop import Pack, higher_is_better
from nnexp.train.state import TrainState


@dataclass(frozen=True)
class Group:
    """Members of one config that differ in their seeds: a trial, or the winner on fresh seeds.

    home: its directory in the sweep's. is_group: whether that is a group of runs, not a run.
    """

    home: str
    members: Sequence[Experiment]
    is_group: bool


def write_pack(
    sweep: SweepDir,
    number: int,
    groups: Sequence[Group],
    *,
    metric: str,
    halving: Mapping[str, int] | None = None,
    keep: bool = False,
    slopes: Mapping[str, Any] | None = None,
) -> None:
    """Write a pack down.

    metric: the column of metrics.csv that halving goes by. keep: whether weights and predictions
    are kept. slopes: which derivatives of the dev loss are wanted, after how many updates.
    """
    sweep.put(
        sweep.pack(number),
        {
            "groups": [
                {
                    "home": group.home,
                    "group": group.is_group,
                    "members": [member.dump() for member in group.members],
                }
                for group in groups
            ],
            "metric": metric,
            "halving": dict(halving) if halving else None,
            "keep": keep,
            "slopes": dict(slopes) if slopes else None,
        },
    )


def is_done(sweep: SweepDir, number: int) -> bool:
    """Whether all that a pack leaves is there."""
    homes = [sweep.path / group["home"] for group in sweep.read(sweep.pack(number))["groups"]]
    return all(_status(RunDir(home)) in ("finished", "diverged") for home in homes)


def _status(run: RunDir) -> str:
    return run.read_manifest()["status"] if run.manifest.is_file() else ""


def train_pack(
    sweep: SweepDir,
    number: int,
    bench: Bench,
    watch: Watch,
    device_wanted: str = "auto",
    tell: Callable[[float], None] = lambda _: None,
) -> None:
    """Train a pack, going on from its checkpoint, and write what each of its trials leaves.

    tell: told after each epoch which share of the training is done.
    """
    with sweep.alone(number):
        if not is_done(sweep, number):
            _train(sweep, number, bench, watch, device_wanted, tell)


def _train(
    sweep: SweepDir,
    number: int,
    bench: Bench,
    watch: Watch,
    device_wanted: str,
    tell: Callable[[float], None],
) -> None:
    text = sweep.pack(number).read_bytes()
    what = sweep.read(sweep.pack(number))
    groups = _groups(what, sweep.pack(number))
    members = [member for group in groups for member in group.members]
    device = choose_device(device_wanted)
    plan = _plan(bench, members)
    pack = make_pack(plan, range(len(members)), device)
    checkpoints = Checkpoints(sweep.checkpoints, prefix=f"pack{number}-")
    course = Course(pack, sha256([text]), checkpoints)
    rungs = Rungs.of(what, groups, pack)

    def epoch(now: TrainState) -> None:
        if rungs is not None:
            rungs.judge(now)
        tell(now.step / pack.updates)

    watch.epoch = epoch
    now, _ = course.go(device, watch)
    shared = {**sweep.state()["manifest"], **record.environment(device)}
    row = 0
    for group in groups:
        rows = range(row, row + len(group.members))
        seconds = course.seconds / len(members)
        _write(sweep, group, plan, pack, now, rows, shared, seconds, what["keep"])
        row += len(group.members)
    if what["slopes"]:
        _write_slopes(sweep, number, pack, what["slopes"])
    for path in sweep.checkpoints.glob(f"pack{number}-*"):
        path.unlink(missing_ok=True)


def _groups(what: dict[str, Any], path: Path) -> list[Group]:
    try:
        return [
            Group(
                str(group["home"]),
                [Experiment.model_validate(member) for member in group["members"]],
                bool(group["group"]),
            )
            for group in what["groups"]
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise DamagedRun(f"{path} is damaged: {error}") from None


def _plan(bench: Bench, members: Sequence[Experiment]) -> Plan:
    """The plan of one pack."""
    tables, where, split_of = list[Prepared](), dict[str, int](), list[int]()
    for member in members:
        key = data_key(member)
        if key not in where:
            where[key] = len(tables)
            tables.append(bench.prepared(member))
        split_of.append(where[key])
    table = bench.table(members[0])
    return Plan(members[0], table, list(members), tables, split_of, [list(range(len(members)))])


def _write(
    sweep: SweepDir,
    group: Group,
    plan: Plan,
    pack: Pack,
    now: TrainState,
    rows: range,
    shared: Mapping[str, Any],
    seconds: float,
    keep: bool,
) -> None:
    """What a trial leaves: a run, or a group of runs."""
    home = RunDir(sweep.path / group.home)
    if home.path.exists():  # half-written, by a process that was killed
        shutil.rmtree(home.path)
    home.path.mkdir()
    summaries = []
    for number, row in enumerate(rows):
        run = home.make_member(number) if group.is_group else home
        result = record.add_member(
            run, pack, now, row, plan.table, {**shared, "name": group.home}, seconds, light=not keep
        )
        summaries.append(result.summary)
    if not group.is_group:
        return
    first = group.members[0]
    summary = record.group_summary(summaries, first.metrics or [])
    prepared = pack.feed.tables[pack.feed.split_of[rows[0]]]
    write_text(home.resolved, dump(first.dump()))
    write_json(home.summary, summary)
    write_json(
        home.manifest,
        {
            **shared,
            "name": group.home,
            "kind": "group",
            "status": summary["status"],
            "members": len(summaries),
            "varies": "split" if group.members[-1].data != first.data else "seed",
            "additions": [{"at": shared["created"], "members": len(summaries)}],
            "packs": [list(range(len(summaries)))],
            "seed": first.seed,
            "split_seed": first.data.split.seed,
            "parameters": pack.program([0]).layout.size,
            "seconds": round(seconds * len(summaries), 3),
            "split": record.split_record(prepared, plan.table),
            "splits": [record.split_record(prepared, plan.table)],
        },
    )


def _write_slopes(sweep: SweepDir, number: int, pack: Pack, wanted: Mapping[str, Any]) -> None:
    from nnexp.search.hypergradient import slopes

    found = slopes(pack, wanted["names"], min(wanted["updates"], pack.updates))
    values = {name: slope.tolist() for name, slope in found.slopes.items()}
    sweep.put(sweep.pack(number).with_suffix(".slopes.json"), values)


# -- successive halving ----------------------------------------------------------------------------


@dataclass
class Rungs:
    """After which epochs the worst trials of a pack leave, and which these are."""

    epochs: frozenset[int]
    factor: int
    metric: str
    sign: float
    trials: list[range]

    @classmethod
    def of(cls, what: Mapping[str, Any], groups: Sequence[Group], pack: Pack) -> Rungs | None:
        """As a pack's file has it; None if nothing is pruned."""
        halving = what["halving"]
        if not halving:
            return None
        last, epochs, epoch = pack.members[0].training.epochs, set[int](), halving["first"]
        while epoch < last:
            epochs.add(epoch)
            epoch *= halving["factor"]
        trials, start = list[range](), 0
        for group in groups:
            trials.append(range(start, start + len(group.members)))
            start += len(group.members)
        sign = -1.0 if higher_is_better(pack.members[0], what["metric"]) else 1.0
        return cls(frozenset(epochs), halving["factor"], what["metric"], sign, trials)

    def judge(self, now: TrainState) -> None:
        """At a rung, let all but the best of the trials in training leave."""
        active = set(now.active)
        going = [rows for rows in self.trials if any(row in active for row in rows)]
        if not going or len(now.members[min(active)].history) not in self.epochs:
            return
        scored = sorted(going, key=lambda rows: (self._score(now, rows), rows[0]))
        for rows in scored[math.ceil(len(going) / self.factor) :]:
            for row in active.intersection(rows):
                now.members[row].status = "pruned"

    def _score(self, now: TrainState, rows: range) -> float:
        """The mean over a trial's seeds, lower is better."""
        values = [self.sign * float(now.members[row].history[-1][self.metric]) for row in rows]
        mean = sum(values) / len(values)
        return mean if math.isfinite(mean) else math.inf
