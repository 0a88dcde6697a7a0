"""Ablations: a config with and without some of its parts, each cell a group of runs, in packs.

The directory is a sweep's (see `folder`), with these in place of trials:

cells/all/ cells/without-dropout/ …   a group of runs each
ablation.csv ablation.md ablation.tex summary.json   the table of effects
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from nnexp.analysis.ablation import FACTORIAL, LEAVE_ONE_OUT, Ablation, analyse, designed
from nnexp.analysis.results import read_result
from nnexp.config.experiment import Experiment
from nnexp.config.load import Config, check_config
from nnexp.config.source import Node, put
from nnexp.errors import (
    ConfigError,
    DataError,
    Problem,
    RunError,
    UsageError,
    nearest,
)
from nnexp.runs.rundir import RunDir, command_of
from nnexp.search.cells import (
    cell_member,
    check_alike,
    train_packs,
    write_cells,
    write_start,
)
from nnexp.search.engine import Engine, Processes
from nnexp.search.factors import MOST, Factor, find_factors, turned_off
from nnexp.search.folder import SweepDir
from nnexp.search.packing import is_done
from nnexp.search.progress import Progress
from nnexp.search.sweep import Choices as SweepChoices
from nnexp.search.sweep import absolute, setting_from, setting_of, signals
from nnexp.search.trials import Bench

FEW = 4
"""Up to so many factors the design is factorial unless another one is asked for."""
SHOWN = 20


@dataclass(frozen=True)
class Choices:
    """What the command line says beside the config and the factors.

    design: "factorial" or "leave_one_out"; None: by the number of factors.
    members: seeds, or splits, of each cell. by_split: whether these differ in the split, too.
    """

    design: str | None = None
    members: int = 10
    by_split: bool = False
    metric: str | None = None
    split: str = "test"
    workers: int | None = None
    device: str = "auto"


def start(
    config: Config, over: Sequence[str], out: Path, choices: Choices, progress: Progress
) -> tuple[SweepDir, Ablation]:
    """Train every cell and find the effects.

    Raises ConfigError with every problem of any cell, UsageError, DataError, RunError, Interrupted,
    Terminated, OutOfResources.
    """
    design = _design(over, choices)
    setting = setting_of(SweepChoices(choices.workers, choices.device))
    engine: Engine = Processes(setting)
    try:
        engine.start()  # torch is imported while the cells are made
        bench = Bench(Path.cwd())
        base = absolute(config)
        resolved = bench.resolved(check_config(base, config.path, "").experiment)
        _check_asked(resolved, bench, choices)
        steps = [step.dump() for step in resolved.preprocessing or ()]
        base = put(base, "preprocessing", steps, base.place)
        factors = find_factors(base, resolved, over)
        cells = _cells(base, config.path, bench, factors, design, choices)
        run = RunDir.create(out, config.experiment.name, datetime.now(UTC))
        sweep = SweepDir(run.path)
        with sweep.lock(), signals(sweep, "ablate"):
            packs = write_cells(sweep, bench, [(c.home, c.members) for c in cells], setting)
            write_start(sweep, config, base, bench, resolved, setting)
            sweep.note(
                ablation={
                    "factors": [factor.label for factor in factors],
                    "off": {one.label: dict(one.changes) for one in factors},
                    "notes": [f"{one.note}." for one in factors if one.note],
                    "design": design,
                    "cells": [{"off": cell.off, "home": cell.home} for cell in cells],
                    "packs": packs,
                    "metric": choices.metric,
                    "split": choices.split,
                },
            )
            return sweep, _go(sweep, engine, progress)
    finally:
        engine.close()


def resume(path: Path, progress: Progress) -> tuple[SweepDir, Ablation]:
    """Go on with an ablation. Raises RunError, LockedRun, DamagedRun, and what `start` raises."""
    sweep = SweepDir.open(path)
    with sweep.lock():
        state = sweep.state()
        if "ablation" not in state:
            again = f"nnexp {command_of(path)} --resume {path}"
            raise RunError(f"{path} is no ablation; go on with: {again}")
        setting = setting_from(state)
        engine: Engine = Processes(setting)
        try:
            with signals(sweep, "ablate"):
                return sweep, _go(sweep, engine, progress)
        finally:
            engine.close()


def read_ablation(sweep: SweepDir) -> Ablation:
    """The effects, from what the cells left. Raises RunError where not all are trained."""
    told = sweep.state()["ablation"]
    if any(not is_done(sweep, number) for number in told["packs"]):
        again = f"go on with: nnexp ablate --resume {sweep.path}"
        raise RunError(f"{sweep.path} is not finished; {again}")
    groups = [
        (tuple(cell["off"]), read_result(sweep.path / cell["home"])) for cell in told["cells"]
    ]
    found = analyse(groups, told["factors"], told["design"], told["metric"], told["split"])
    return replace(found, notes=(*told["notes"], *found.notes))


def _go(sweep: SweepDir, engine: Engine, progress: Progress) -> Ablation:
    """Train the packs that are not done, then find the effects."""
    with sweep.under_way():
        train_packs(sweep, engine, sweep.state()["ablation"]["packs"], progress)
        found = read_ablation(sweep)
    sweep.put(sweep.summary, found.to_json())
    sweep.note(status="finished", metric=f"{found.split}/{found.metric}")
    return found


# -- cells -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Cell:
    """One combination: what is off, its directory, and its experiments."""

    off: tuple[str, ...]
    home: str
    members: list[Experiment]


def _design(over: Sequence[str], choices: Choices) -> str:
    """The design. Raises UsageError for factors that don't suit it."""
    if not over:
        raise UsageError("--over needs the parts to ablate, such as batch_norm,dropout")
    if doubles := sorted({one for one in over if over.count(one) > 1}):
        raise UsageError(f"--over names {', '.join(doubles)} twice")
    design = choices.design or (FACTORIAL if len(over) <= FEW else LEAVE_ONE_OUT)
    if design == FACTORIAL and len(over) > MOST:
        raise UsageError(
            f"a factorial design of {len(over)} factors has {2 ** len(over)} cells: name at most "
            f"{MOST}, or choose --design leave_one_out"
        )
    return design


def _check_asked(resolved: Experiment, bench: Bench, choices: Choices) -> None:
    """Whether there will be such a metric and such a split. Raises UsageError."""
    names = [metric.component for metric in resolved.metrics or ()]
    if choices.metric is not None and choices.metric not in names:
        close = nearest(choices.metric, names)
        hint = f"; did you mean '{close}'?" if close else ""
        raise UsageError(
            f"--metric: this config has no '{choices.metric}' (it has: {', '.join(names)}){hint}"
        )
    parts = bench.prepared(resolved).parts
    if choices.split not in parts and not (choices.split == "test" and "dev" in parts):
        raise UsageError(f"--split: there is no {choices.split} split in this config")


def _cells(
    base: Node,
    path: Path,
    bench: Bench,
    factors: Sequence[Factor],
    design: str,
    choices: Choices,
) -> list[_Cell]:
    """Every cell. Raises ConfigError with all reasons why some can't be trained."""
    by_label = {factor.label: factor for factor in factors}
    problems: dict[str, Problem] = {}
    cells = []
    for number, off in enumerate(designed(list(by_label), design)):
        node = turned_off(base, [by_label[label] for label in off])
        try:
            resolved = bench.resolved(check_config(node, path, "").experiment)
            members = [cell_member(resolved, i, choices.by_split) for i in range(choices.members)]
            check_alike(bench, members)
        except ConfigError as error:
            for problem in error.problems:
                problems.setdefault(f"{problem.path}: {problem.message}", problem)
            continue
        except DataError as error:
            problems.setdefault(str(error), Problem("", "data", str(error)))
            continue
        cells.append(_Cell(off, f"cells/{_folder(off, number)}", members))
    if problems:
        raise ConfigError(list(problems.values())[:SHOWN])
    return cells


def _folder(off: Sequence[str], number: int) -> str:
    text = "without-" + "+".join(off) if off else "all"
    name = "".join(c if c.isalnum() or c in "-_+.=" else "_" for c in text)
    return name if len(name) <= 100 and name.isascii() else f"cell-{number:03d}"
