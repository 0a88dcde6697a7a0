"""Going on with an interrupted run exactly; training one longer; adding members to a group."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from nnexp.components.datasets.memory import Held, Memory
from nnexp.config.experiment import Experiment
from nnexp.config.source import dump
from nnexp.errors import ConfigError, DamagedRun, RunError, UsageError
from nnexp.lazy import torch
from nnexp.runs import record
from nnexp.runs.committee import committee
from nnexp.runs.execute import Execution, Reporter, asked_to_stop, check_shared
from nnexp.runs.files import writing
from nnexp.runs.packs import follow
from nnexp.runs.plan import Plan, plan_members, read_experiment, with_source
from nnexp.runs.rundir import RunDir
from nnexp.train.device import choose_device
from nnexp.train.parallel import joined_ranks, told_size


def resume(
    path: Path,
    reporter: Reporter,
    epochs: int | None = None,
    seeds: int | None = None,
    held: Held | None = None,
) -> RunDir:
    """Go on with an interrupted run or group; train a finished one longer, or add members.

    held: the data of a run that was trained on data in memory.
    Raises RunError when it can't go on exactly, LockedRun, DamagedRun, UntrustedRun.
    """
    run = RunDir.open(path)
    if RunDir(run.path.absolute().parent).manifest.exists():
        raise RunError(f"{path} is a member of a group: resume the group, {run.path.parent}")
    with run.lock():
        manifest = run.read_manifest()
        if committee(run) and (epochs is not None or seeds is not None):
            raise RunError(f"{path} is a committee: it can't be trained on")
        experiment = _holding(read_experiment(run), held)
        experiment, changed = _extended(experiment, manifest, epochs, seeds)
        if manifest["status"] in ("finished", "diverged"):
            if not changed:
                reporter.note(f"{path} is finished; nothing was changed")
                return run
            if not any(run.checkpoints.glob("*.safetensors")):
                raise RunError(f"{path} has no checkpoint left: it can't be extended")
        plan = _planned(run, manifest, experiment)
        if plan.table.fingerprint != manifest["data"].get("fingerprint"):
            raise RunError(
                f"the data of {path} has changed since it was trained: it can't go on exactly"
            )
        splits = [record.split_record(t, plan.table) for t in plan.tables]
        if splits[: len(manifest["splits"])] != manifest["splits"]:
            raise RunError(
                f"the files that split the data of {path} have changed: it can't go on exactly"
            )
        device = choose_device(manifest.get("device", experiment.training.device))
        _refuse_another_machine(path, manifest, device)
        check_shared(plan, device, manifest["kind"] == "run")
        manifest |= {"status": "running", "splits": splits}
        with writing() as files:
            files.add_text(run.resolved, dump(plan.resolved.dump()))
            files.add_json(run.manifest, manifest)
        with joined_ranks(device) as ranks:
            Execution(run, plan, manifest, reporter, device, ranks).go()
    return run


def assist(path: Path, epochs: int | None = None) -> None:
    """Take part, as one of torchrun's further processes, in what the first one goes on with."""
    run = RunDir.open(path)
    manifest = run.read_manifest()
    experiment, changed = _extended(read_experiment(run), manifest, epochs, None)
    if manifest["status"] in ("finished", "diverged") and not changed:
        return
    plan = _planned(run, manifest, experiment)
    device = choose_device(manifest.get("device", experiment.training.device))
    _refuse_another_machine(path, manifest, device)
    check_shared(plan, device, manifest["kind"] == "run")
    with joined_ranks(device) as ranks, asked_to_stop() as asked:
        follow(plan, device, ranks, asked)


def _holding(experiment: Experiment, held: Held | None) -> Experiment:
    """The experiment with data in memory."""
    source = experiment.data.source
    if held is None:
        return experiment
    if not isinstance(source, Memory):
        raise UsageError("the run reads its data itself: there is nothing to hand over")
    return with_source(experiment, source.holding(held))


def _planned(run: RunDir, manifest: dict[str, Any], experiment: Experiment) -> Plan:
    """The plan of a run that goes on. Raises DamagedRun if the manifest doesn't hold what it must,
    RunError if config and data no longer go together.
    """
    is_group = manifest["kind"] == "group"
    for key in ("data", "splits", *(["additions"] if is_group else [])):
        if not manifest.get(key):
            raise DamagedRun(f"{run.manifest} is damaged: {key} is missing")
    count = manifest["members"] if is_group else 1
    packs = manifest.get("packs", [])
    placed = sorted(member for pack in packs for member in pack)
    if placed != list(range(len(placed))) or len(placed) > count or not all(packs):
        raise DamagedRun(f"{run.manifest} is damaged: packs do not hold each member once")
    by_split = manifest.get("varies") == "split"
    try:
        return plan_members(experiment, Path.cwd(), count, by_split, packs)
    except ConfigError as error:
        first = error.problems[0]
        raise RunError(
            f"{run.path} can't go on, as its data or its config were changed: "
            f"{first.path}: {first.message}"
        ) from None


def _refuse_another_machine(path: Path, manifest: dict[str, Any], device: torch.device) -> None:
    """Bits depend on the libraries and the processor: on others, going on would not be exact."""
    if "threads" not in manifest:  # it was stopped before anything was computed
        return
    torch.set_num_threads(int(manifest["threads"]))
    here = record.environment(device)
    ranks = manifest.get("ranks", 1)
    if ranks != told_size():
        how = f"torchrun --nproc-per-node {ranks} -m nnexp" if ranks > 1 else "nnexp"
        raise RunError(
            f"{path} can't go on exactly: it was trained by {ranks} process"
            f"{'es' if ranks > 1 else ''}; go on with: {how} train --resume {path}"
        )
    for what in ("nnexp", "versions", "device_name"):
        if manifest.get(what) != here[what]:
            raise RunError(
                f"{path} can't go on exactly: it was trained with {what} {manifest.get(what)}, "
                f"and here it is {here[what]}"
            )


def _extended(
    experiment: Experiment, manifest: dict[str, Any], epochs: int | None, seeds: int | None
) -> tuple[Experiment, bool]:
    """The experiment with more epochs, the manifest with more members; whether anything changed."""
    changed = False
    training = experiment.training
    if epochs is not None and training.steps is not None:
        raise UsageError("--epochs: the length of this run is set by training.steps")
    if epochs is not None and epochs != training.epochs:
        if epochs < training.epochs:
            raise UsageError(f"--epochs {epochs} is less than the run's {training.epochs}")
        if experiment.schedule.uses_total:
            raise UsageError(
                f"a {experiment.schedule.component} schedule is laid out over the whole length of "
                "a run: this one can't be trained longer; start a new one"
            )
        update = {"training": training.model_copy(update={"epochs": epochs})}
        experiment, changed = experiment.model_copy(update=update), True
    if seeds is not None:
        if manifest["kind"] != "group":
            raise UsageError("--seeds adds members to a group; this is a single run")
        if seeds < manifest["members"]:
            raise UsageError(f"--seeds {seeds} is less than the group's {manifest['members']}")
        if seeds > manifest["members"]:
            at = datetime.now(UTC).isoformat(timespec="seconds")
            manifest["additions"].append({"at": at, "members": seeds})
            manifest["members"], changed = seeds, True
    return experiment, changed
