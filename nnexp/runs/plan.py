"""From a config to what is trained: data read and prepared, members listed, packs formed.

Everything here happens before torch is imported, so that mistakes are told at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import ValidationError

from nnexp.components.datasets import Dataset
from nnexp.components.table import Table
from nnexp.config.experiment import Data, Experiment
from nnexp.config.resolve import resolve, stated_task
from nnexp.config.rules import with_data, without_data
from nnexp.data.prepare import RESIDENT_BYTES, Precision, Prepared, default_steps, prepare
from nnexp.data.splits import Parts, assign
from nnexp.data.suspicions import split_notes
from nnexp.data.variation import corrupted, varied
from nnexp.errors import ConfigError, DamagedRun
from nnexp.runs.forms import reason
from nnexp.runs.plugged import check_plugins
from nnexp.runs.rundir import RunDir
from nnexp.train.blueprint import Signature, check_model, pack_key


@dataclass
class Plan:
    """What is trained.

    resolved: the experiment of the first member, every default filled in.
    members: each member's experiment. tables: the prepared data of each distinct split;
    split_of: which of them each member uses. packs: members' numbers, a list a pack.
    notes: what the user should know about the data.
    """

    resolved: Experiment
    table: Table
    members: list[Experiment]
    tables: list[Prepared]
    split_of: list[int]
    packs: list[list[int]]
    notes: list[str] = field(default_factory=list)

    def signature(self, member: int) -> Signature:
        """What the member's network must fit."""
        return signature(self.tables[self.split_of[member]])


def signature(prepared: Prepared, part: str = "train") -> Signature:
    """What a network for these data must fit."""
    classes = prepared.classes
    targets = len(classes) if classes is not None else prepared.targets.shape[1]
    return Signature(
        prepared.input_shape,
        targets,
        len(prepared.parts[part]),
        classes or (),
        prepared.targets.shape[1:] if classes is not None else (),
        prepared.pipeline.codes,
    )


def plan_members(
    experiment: Experiment,
    folder: Path,
    count: int,
    by_split: bool,
    packs: Sequence[Sequence[int]] = (),
) -> Plan:
    """Read and check the data and lay out `count` members.

    folder: what relative paths in the experiment are relative to.
    by_split: whether members differ in their split too, not in their seed only.
    packs: packs that were formed before and are kept; members beyond them form new ones.
    Raises ConfigError (placed by path only) and DataError.
    """
    experiment = located(experiment, folder)
    table = load(experiment)
    resolved = resolved_for(experiment, table)
    members = [_member(resolved, number, by_split) for number in range(count)]
    plan = Plan(resolved, table, members, [], [], [list(p) for p in packs], list(table.notes))
    seen: dict[str, int] = {}
    for member in members:
        split = repr(member.data.split)
        if split not in seen:
            seen[split] = len(plan.tables)
            plan.tables.append(prepared_for(member, table, count if by_split else 1))
        plan.split_of.append(seen[split])
    plan.notes += split_notes(resolved.data.split, table, plan.tables[0].parts)
    plan.notes += dict.fromkeys(note for t in plan.tables for note in t.notes)
    for number, member in enumerate(members):
        check_model(member, plan.signature(number))
    _form_packs(plan)
    return plan


def resolved_for(experiment: Experiment, table: Table) -> Experiment:
    """The experiment with every default filled in, as the data want it. Raises ConfigError."""
    steps = experiment.preprocessing
    resolved = resolve(experiment, table, default_steps(table) if steps is None else steps)
    if problems := with_data(resolved, table):
        raise ConfigError(problems)
    return resolved


def read_experiment(run: RunDir) -> Experiment:
    """A run's resolved.yaml. Raises DamagedRun, and PluginNeeded if its plugins are not there."""
    check_plugins(run)
    try:
        experiment = Experiment.model_validate(run.read_config())
    except ValidationError as error:
        raise DamagedRun(f"{run.resolved} is damaged: {reason(error)}") from None
    for problem in without_data(experiment):
        raise DamagedRun(f"{run.resolved} is damaged: {problem.path}: {problem.message}")
    if not (experiment.loss and experiment.metrics):
        raise DamagedRun(f"{run.resolved} is damaged: the loss or the metrics are missing")
    return experiment


@contextmanager
def as_damage(run: RunDir) -> Iterator[None]:
    """Turns ConfigError into DamagedRun: nobody wrote what a run's config says but nnexp."""
    try:
        yield
    except ConfigError as error:
        first = error.problems[0]
        raise DamagedRun(f"{run.resolved} is damaged: {first.path}: {first.message}") from None


def load(experiment: Experiment) -> Table:
    """Read an experiment's data, its target as the task wants it. Raises DataError."""
    source, task = experiment.data.source, stated_task(experiment)
    # A loss for classes does not make classes of numbers: that is a mistake to be told.
    if (experiment.task or task == "regression") and "target_type" in type(source).model_fields:
        source = source.model_copy(update={"target_type": task})
    return source.load()


def located(experiment: Experiment, folder: Path) -> Experiment:
    """The experiment with absolute file names."""
    data = experiment.data
    changes = {"source": data.source.with_paths(folder), "split": data.split.with_paths(folder)}
    moved = {
        "data": data.model_copy(update=changes),
        "initialization": experiment.initialization.with_paths(folder),
        "loss": experiment.loss and experiment.loss.with_paths(folder),
    }
    return experiment.model_copy(update=moved)


def with_source(experiment: Experiment, source: Dataset) -> Experiment:
    """The experiment with other data."""
    data = experiment.data.model_copy(update={"source": source})
    return experiment.model_copy(update={"data": data})


def relocated(experiment: Experiment, root: Path) -> Experiment:
    """The experiment with its data files looked up by their names in another folder."""
    data = experiment.data
    changes = {}
    for key, spec in (("source", data.source), ("split", data.split)):
        names = {n: v for n in spec.paths if isinstance(v := getattr(spec, n), str | list)}
        moved = {
            n: _moved(v, root) if isinstance(v, str) else [_moved(one, root) for one in v]
            for n, v in names.items()
        }
        changes[key] = spec.model_copy(update=moved)
    return experiment.model_copy(update={"data": data.model_copy(update=changes)})


def _moved(name: str, root: Path) -> str:
    return str(root.absolute() / Path(name).name)


def prepared_for(member: Experiment, table: Table, splits: int = 1) -> Prepared:
    """A member's split, and the data prepared for it, one of so many that share the memory."""
    assert member.preprocessing is not None
    data = member.data
    table, parts = arranged(data, table)
    precision: Precision = "float64" if member.training.precision == "float64" else "float32"
    resident = RESIDENT_BYTES // splits
    scale = bool(data.scale_target)
    prepared = prepare(table, parts, member.preprocessing, precision, scale, resident)
    return corrupted(prepared, data.corruption, data.split.seed)


def arranged(data: Data, table: Table) -> tuple[Table, Parts]:
    """The table with the targets that are trained on, and its parts."""
    parts, seed = assign(data.split, table), data.split.seed
    return varied(table, parts, seed, data.subset, data.shuffle_labels, data.label_noise)


def _member(resolved: Experiment, number: int, by_split: bool) -> Experiment:
    if number == 0:
        return resolved
    changes: dict[str, object] = {"seed": resolved.seed + number}
    if by_split:
        split = resolved.data.split.numbered(number)
        changes["data"] = resolved.data.model_copy(update={"split": split})
    return resolved.model_copy(update=changes)


def key_of(member: Experiment, prepared: Prepared) -> str:
    """Members with equal keys train in one pack."""
    sizes = [len(rows) for rows in prepared.parts.values()]
    return pack_key(member, signature(prepared)) + str(sizes)


def _form_packs(plan: Plan) -> None:
    """Put members that are in no pack yet together with those that agree with them."""
    placed = {number for pack in plan.packs for number in pack}
    found: dict[str, list[int]] = {}
    for number, member in enumerate(plan.members):
        if number not in placed:
            key = key_of(member, plan.tables[plan.split_of[number]])
            found.setdefault(key, []).append(number)
    plan.packs += found.values()
