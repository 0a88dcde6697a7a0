"""Cells: groups of runs, one for each variant of a config, written down as packs and trained.

What `ablate` and `curve` share. Their directories are a sweep's (see `folder`), with `cells/` in
place of trials.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import nnexp
from nnexp.config.experiment import Experiment
from nnexp.config.load import Config
from nnexp.config.source import Node, dump, plain
from nnexp.errors import OutOfResources, RunError, UsageError
from nnexp.runs import record
from nnexp.runs.rundir import SWEEP
from nnexp.search.engine import Engine, Setting
from nnexp.search.folder import SweepDir
from nnexp.search.packing import Group, is_done, write_pack
from nnexp.search.progress import Progress
from nnexp.search.trials import Bench, Trial, form_packs, with_seed


def train_packs(sweep: SweepDir, engine: Engine, packs: Sequence[int], progress: Progress) -> None:
    """Train the packs that are not done. Raises RunError, OutOfResources."""
    sizes = {n: len(sweep.read(sweep.pack(n))["groups"]) for n in packs}
    waiting = [number for number in packs if not is_done(sweep, number)]
    done = sum(sizes[number] for number in packs if number not in waiting)
    under_way: dict[int, float] = {}
    progress.begun(sweep, sum(sizes.values()))

    def told(answer: Mapping[str, Any]) -> None:
        if "failed" in answer:
            kind = OutOfResources if answer["kind"] == "OutOfResources" else RunError
            raise kind(f"pack {answer['failed']}: {answer['error']}")
        number = int(answer["done"] if "done" in answer else answer["pack"])
        under_way[number] = sizes[number] * float(answer.get("share", 1.0))
        progress.advanced(done + sum(under_way.values()), None)

    try:
        if waiting:
            engine.run(sweep, waiting, told)
    finally:
        progress.ended()


def cell_member(resolved: Experiment, number: int, by_split: bool) -> Experiment:
    """The member of a cell with this number, which differs in its seed, or its split as well."""
    member = with_seed(resolved, resolved.seed + number)
    if not by_split or number == 0:
        return member
    data = resolved.data.model_copy(update={"split": resolved.data.split.numbered(number)})
    return member.model_copy(update={"data": data})


def check_alike(bench: Bench, members: Sequence[Experiment]) -> None:
    """A cell's members train in one pack. Raises UsageError where splits are of different sizes."""
    distinct = members if members[-1].data != members[0].data else members[:1]
    if len({bench.key(member) for member in distinct}) > 1:
        raise UsageError(
            "--splits: these splits differ in size, or their data in shape, so they can't be "
            "trained together; use --seeds"
        )


def write_cells(
    sweep: SweepDir,
    bench: Bench,
    cells: Sequence[tuple[str, list[Experiment]]],
    setting: Setting,
) -> list[int]:
    """Write the packs of cells (their directories and members) down; the packs' numbers."""
    for name in ("packs", "cells"):
        (sweep.path / name).mkdir(exist_ok=True)
    trials = [Trial(i, {}, {}, members) for i, (_, members) in enumerate(cells)]
    packs = form_packs(bench, trials, setting.workers, setting.memory)
    for number, pack in enumerate(packs):
        groups = [Group(cells[t.number][0], t.members, True) for t in pack]
        write_pack(sweep, number, groups, metric="", keep=True)
    return list(range(len(packs)))


def write_start(
    sweep: SweepDir,
    config: Config,
    base: Node,
    bench: Bench,
    resolved: Experiment,
    setting: Setting,
) -> None:
    """Write down what is trained, and that it is under way."""
    created = datetime.now(UTC).isoformat(timespec="seconds")
    sweep.put_text(sweep.config, config.text)
    sweep.put_text(sweep.base, dump(plain(base)))
    manifest = {
        "id": secrets.token_hex(8),
        "created": created,
        "overrides": list(config.overrides),
        "git_commit": record.git_commit(config.path.absolute().parent),
        "data": record.data_record(bench.table(resolved)),
    }
    state = {
        "kind": "sweep",
        "status": "running",
        "name": config.experiment.name,
        "created": created,
        "nnexp": nnexp.__version__,
        "workers": setting.workers,
        "threads": setting.threads,
        "memory": setting.memory,
        "device": setting.device,
        "gpus": setting.gpus,
        "manifest": manifest,
    }
    sweep.put(sweep.path / SWEEP, state)
