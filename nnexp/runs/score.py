"""Scoring finished runs: on their own data, exactly as training did, or on new data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from nnexp.components.datasets import Dataset
from nnexp.components.table import Table
from nnexp.config.experiment import Experiment, TestTime
from nnexp.data.prepare import Pipeline, Prepared
from nnexp.data.variation import corrupted
from nnexp.errors import ConfigError, DamagedRun, RunError, UsageError
from nnexp.lazy import torch
from nnexp.runs import record
from nnexp.runs.classes import ClassScores, class_scores
from nnexp.runs.committee import averaged, committee
from nnexp.runs.plan import (
    arranged,
    as_damage,
    load,
    read_experiment,
    relocated,
    signature,
    with_source,
)
from nnexp.runs.rundir import RunDir
from nnexp.train import evaluate
from nnexp.train.blueprint import Signature, check_model
from nnexp.train.device import choose_device
from nnexp.train.feed import feed
from nnexp.train.loop import Pack
from nnexp.train.program import Program

NEEDED = (
    "resolved.yaml",
    "model.safetensors",
    "preprocessing.json",
    "preprocessing.safetensors",
)


@dataclass(frozen=True)
class Scores:
    """A run's metrics on a split of its own data, or on new data (split "data").

    recorded: what its summary.json says for this split; None for new data.
    by_class: how well each class or label is told; None for a regression.
    spread: how far the passes of `test_time` lie apart for each example, the standard deviation of
        probabilities or else outputs, averaged over them, `[N]`; None if there is one pass only.
    """

    run: Path
    split: str
    metrics: dict[str, float]
    examples: int
    notes: list[str]
    recorded: dict[str, float | None] | None
    by_class: ClassScores | None = None
    spread: np.ndarray | None = None


def evaluate_run(
    path: Path,
    split: str = "test",
    data: Path | Dataset | None = None,
    data_root: Path | None = None,
    test_time: TestTime | None = None,
) -> list[Scores]:
    """Score a run, or each member of a group.

    data: new examples, a file in the form of the run's own or a source; all of them are scored.
    data_root: the folder where the run's data files are now.
    test_time: views and samples in place of the run's own; None: its own.
    Raises RunError, DataError; UsageError also if `test_time` does not suit the run.
    """
    members, left_out = usable_members(path)
    if committee(RunDir(path)):
        members = [RunDir(path)]
    tables: dict[str, Table] = {}
    found = [_score(member, split, data, data_root, tables, test_time) for member in members]
    found[0].notes.extend(left_out)
    return found


def usable_members(path: Path) -> tuple[list[RunDir], list[str]]:
    """The runs of a group (a run itself) that have weights, and a note of those that have none.

    Raises RunError if training is not finished, or none of them has any.
    """
    run = RunDir.open(path)
    status = run.read_manifest().get("status")
    is_group = run.read_manifest()["kind"] == "group"
    members = run.members() if is_group else committee(run) or [run]
    if status in ("running", "interrupted", "failed"):
        raise RunError(f"{path} is not finished; go on with: nnexp train --resume {path}")
    usable = [member for member in members if not has_no_weights(member)]
    if not usable:
        raise RunError(f"{path} diverged and left no weights that are worth scoring")
    for member in usable:
        member.refuse_light("weights")
    lost = len(members) - len(usable)
    return usable, [f"{lost} of {len(members)} members diverged: left out"] if lost else []


def has_no_weights(run: RunDir) -> bool:
    """Whether a run diverged before it had any weights that its summary could speak of."""
    summary = run.read_summary()
    return summary.get("status") == "diverged" and all(
        value is None for value in (summary.get("train") or {}).values()
    )


def _score(
    run: RunDir,
    split: str,
    data: Path | Dataset | None,
    data_root: Path | None,
    tables: dict[str, Table],
    test_time: TestTime | None,
) -> Scores:
    homes = committee(run) or [run]
    for home in homes:
        home.verify(NEEDED)
    experiment = read_experiment(run)
    experiment = relocated(experiment, data_root) if data_root is not None else experiment
    if data is not None:
        experiment, split = on_data(experiment, data), "data"
    pipeline = read_pipeline(homes[0])
    for home in homes[1:]:
        if read_pipeline(home).classes != pipeline.classes:
            raise DamagedRun(f"{home.path}: its classes are others than those of {homes[0].path}")
    source = experiment.data.source.knowing(pipeline.classes or ())
    key = repr(source)
    if key not in tables:
        tables[key] = load(with_source(experiment, source))
    table = tables[key]
    manifest, notes = run.read_manifest(), list[str]()
    if data is not None:
        parts: Mapping[str, np.ndarray] = {"data": np.arange(len(table))}
        notes += table.notes
    else:
        table, parts = arranged(experiment.data, table)
        ids = table.ids[parts[split]] if split in parts else []
        known = (manifest.get("split") or {}).get(split)
        fingerprint = (manifest.get("data") or {}).get("fingerprint")
        if table.fingerprint != fingerprint or record.hash_ids(ids) != known:
            notes.append(
                "the data, or the files that split them, have changed since training: this split "
                "may hold examples that the run was trained on"
            )
    if split not in parts:
        raise UsageError(f"{run.path} has no {split} split; it has {', '.join(parts)}")
    prepared = pipeline.on(table, parts)
    if data is None:
        prepared = corrupted(prepared, experiment.data.corruption, experiment.data.split.seed)
    notes += prepared.notes
    if len(homes) > 1:
        if data is None and not run.read_summary().get(split):
            raise UsageError(f"{run.path}: its members' {split} splits differ")
        found, spread = _mean(homes, experiment, table, prepared, split, test_time), None
    else:
        found, spread = _scored(run, experiment, prepared, split, test_time)
    by_class = None
    if experiment.task not in ("regression", "words"):
        by_class = class_scores(found.scored, prepared.classes or table.target_names)
    as_then = data is None and test_time is None
    recorded = run.read_summary().get(split) if as_then else None
    count = len(parts[split])
    return Scores(run.path, split, found.metrics, count, notes, recorded, by_class, spread)


def read_pipeline(run: RunDir) -> Pipeline:
    """A run's fitted preprocessing. Raises DamagedRun."""
    arrays = run.read_tensors("preprocessing.safetensors")
    try:
        return Pipeline.from_arrays(arrays, run.read_json("preprocessing.json"))
    except DamagedRun as error:
        raise DamagedRun(f"{run.preprocessing} is damaged: {error}") from None


def _scored(
    run: RunDir,
    experiment: Experiment,
    prepared: Prepared,
    split: str,
    test_time: TestTime | None,
) -> tuple[record.PartScores, np.ndarray | None]:
    """The run's scores, and how far its passes lie apart as `Scores.spread`."""
    pack, tensors = network(run, experiment, prepared, split)
    if test_time is not None:
        pack.members = [experiment.model_copy(update={"test_time": test_time})]
        try:
            check_model(pack.members[0], pack.signature)
        except ConfigError as error:
            raise _unsuitable(error) from None
    found = record.score(pack, 0, tensors, split)
    apart = evaluate.spread(pack.program([0]), tensors, pack.feed, pack.feed.rows(split, [0]))
    return found, None if apart is None else apart[0].flatten(1).mean(1).cpu().numpy()


def _unsuitable(error: ConfigError) -> UsageError:
    """What is wrong with the views and samples that were asked for, by their options."""
    found = []
    for problem in error.problems:
        key = problem.path.removeprefix("test_time").removeprefix(".").replace("_", "-")
        hint = f" ({problem.hint.replace('_', '-')})" if problem.hint else ""
        found.append((f"--{key}: " if key else "") + problem.message + hint)
    return UsageError("; ".join(found))


def _mean(
    homes: list[RunDir],
    experiment: Experiment,
    table: Table,
    prepared: Prepared,
    split: str,
    test_time: TestTime | None,
) -> record.PartScores:
    """The scores of a committee's mean answer. prepared: the data as its first member takes them.

    experiment: the first member's, with the data that are scored.
    """
    found = []
    for home in homes:
        own, pipeline = read_experiment(home), read_pipeline(home)
        inputs = pipeline.on(table, prepared.parts)
        if split != "data":
            inputs = corrupted(inputs, own.data.corruption, own.data.split.seed)
        found.append(_scored(home, own, inputs, split, test_time)[0])
    pack, _ = network(homes[0], experiment, prepared, split)
    return averaged(pack, found, split)


def network(
    run: RunDir,
    experiment: Experiment,
    prepared: Prepared,
    split: str,
    wanted: str | None = None,
) -> tuple[Pack, dict[str, torch.Tensor]]:
    """A run's network with its weights (`params` and `buffers`, `[1, …]`), and data to put in.

    wanted: the device; None: as in training, if it is there.
    """
    trained_on = run.read_manifest().get("device")
    device = choose_device(wanted or ("auto" if trained_on == "cuda" else "cpu"))
    dtype = torch.float64 if experiment.training.precision == "float64" else torch.float32
    torch.set_num_threads(int(run.read_manifest().get("threads") or torch.get_num_threads()))
    counts = (run.read_manifest().get("split") or {}).get("counts", {})
    fit = replace(signature(prepared, split), train_rows=counts.get("train", 1))
    _check_fit(run, experiment, fit, prepared)
    pack = Pack([experiment], fit, feed([prepared], [0], device, dtype), device)
    return pack, _weights(run, pack.program([0]))


def _check_fit(run: RunDir, experiment: Experiment, fit: Signature, prepared: Prepared) -> None:
    """Raises DamagedRun if a run's config and its preprocessing are not of one run."""
    try:
        with as_damage(run):
            check_model(experiment, fit)
    except ValueError as error:
        raise DamagedRun(f"{run.resolved} is damaged: loss: {error}") from None
    if (experiment.task in ("classification", "dense", "words")) != (prepared.classes is not None):
        raise DamagedRun(f"{run.resolved} is damaged: its task is not the preprocessing's")


def _weights(run: RunDir, program: Program) -> dict[str, torch.Tensor]:
    named: dict[str, Any] = run.read_tensors("model.safetensors", framework="torch")
    try:
        rows = {
            "params": program.layout.row(named),
            "buffers": program.buffer_layout.row(named),
        }
        fits = rows["params"].shape[0] == program.layout.size
    except (KeyError, RuntimeError) as error:
        raise DamagedRun(f"{run.model} does not fit the model in resolved.yaml: {error}") from None
    if not fits:
        raise DamagedRun(f"{run.model} does not fit the model in resolved.yaml")
    return {k: v[None].to(program.device, program.dtype) for k, v in rows.items()}


def on_data(experiment: Experiment, where: Path | Dataset) -> Experiment:
    """The experiment with other data: a file in the form of its own, or any source."""
    source = where if isinstance(where, Dataset) else experiment.data.source.at(where)
    return with_source(experiment, source)
