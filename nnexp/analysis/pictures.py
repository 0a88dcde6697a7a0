"""What pictures of runs are made of: answers on a split, and the schedule, planned or as it ran.

Everything is read from what runs left; no data are needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from nnexp.analysis.probabilities import answers, loss_name, names_of
from nnexp.analysis.results import Predictions, Result, read_result
from nnexp.components.schedules import Progress, Schedule
from nnexp.config.experiment import Experiment
from nnexp.errors import DamagedRun, RunError, UsageError
from nnexp.runs.plan import read_experiment
from nnexp.runs.rundir import RunDir
from nnexp.runs.score import read_pipeline
from nnexp.stats import FloatArray
from nnexp.train.blueprint import Signature, steps_an_epoch


def members_of(path: Path, member: int | None = None) -> list[Result]:
    """A run, or a group's members that did not diverge, or only one of them.

    Raises RunError, and UsageError if there is no such member.
    """
    result = read_result(path)
    if result.status in ("running", "interrupted", "failed"):
        raise RunError(f"{path} is not finished; go on with: nnexp train --resume {path}")
    if member is not None:
        if not result.members:
            raise UsageError(f"--member is for groups; {path} is a single run")
        if member >= len(result.members):
            last = len(result.members) - 1
            raise UsageError(f"--member: {path} has members 0 to {last}, not {member}")
        return [result.members[member]]
    if not result.alive:
        raise RunError(f"{path} diverged: there is nothing to draw")
    return list(result.alive)


# -- answers ---------------------------------------------------------------------------------------


def confusion_counts(members: Sequence[Result], split: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """Counts `[C, C]`, the truth down and the answer across, summed over members; the classes.

    Raises UsageError for runs that answer with no class, or have no predictions of the split.
    """
    classes = _classes(members[0])
    size, counts = len(classes), np.zeros(len(classes) ** 2, np.int64)
    for run in members:
        dense = _task(run) == "dense"
        true, said = (_by_position if dense else _by_example)(run, split, classes)
        counts += np.bincount(true * size + said, minlength=size**2)
    return counts.reshape(size, size), classes


def _by_example(run: Result, split: str, classes: Sequence[str]) -> list[np.ndarray]:
    """The numbers of the true and of the predicted class."""
    rows = run.predictions(split)
    _has(run, split, len(rows) > 0)
    index = {name: number for number, name in enumerate(classes)}
    try:
        return [
            np.array([index[name] for name in rows.texts(column).tolist()], np.int64)
            for column in ("target", "prediction")
        ]
    except KeyError as error:
        raise DamagedRun(f"{rows.path} has a class {error}, unknown to the run") from None


def _by_position(run: Result, split: str, classes: Sequence[str]) -> list[np.ndarray]:
    """As `_by_example`, of all positions that have a class."""
    home = RunDir(run.path)
    file = home.prediction_tensors
    tensors = home.read_tensors(file) if file.exists() else {}
    names = [f"{split}.{column}" for column in ("target", "prediction")]
    _has(run, split, set(names) <= set(tensors))
    true, said = (np.ravel(tensors[name]).astype(np.int64) for name in names)
    true, said = (found[true >= 0] for found in (true, said))
    known = [((found >= 0) & (found < len(classes))).all() for found in (true, said)]
    if not all(known):
        raise DamagedRun(f"{file} has a class that is unknown to the run")
    return [true, said]


def probabilities(members: Sequence[Result], split: str) -> tuple[FloatArray, np.ndarray]:
    """Probabilities `[N, C]` and targets, class numbers `[N]` or labels `[N, L]`, of all members.

    Raises UsageError if the runs give no probabilities.
    """
    found = []
    for run in members:
        if (task := _task(run)) not in ("classification", "multilabel"):
            raise UsageError(f"{run.path}: a {task} run gives no probabilities")
        _has(run, split, len(run.predictions(split)) > 0)
        told = answers(run, split)
        if told is None:
            raise UsageError(f"{run.path}: its loss, {loss_name(run)}, gives no probabilities")
        found.append(told)
    chances, targets = zip(*found, strict=True)
    return np.concatenate(chances), np.concatenate(targets)


def times_answered(members: Sequence[Result], split: str) -> float:
    """How many of the members answered an example, on average: all, if they share their split."""
    ids = [run.predictions(split).ids for run in members]
    return sum(map(len, ids)) / max(len(set().union(*ids)), 1)


def values(members: Sequence[Result], split: str) -> tuple[FloatArray, FloatArray, tuple[str, ...]]:
    """True and predicted values `[N, O]` of all members, in the target's units, and the names.

    Raises UsageError if the runs are no regressions.
    """
    true, said = list[FloatArray](), list[FloatArray]()
    for run in members:
        if _task(run) != "regression":
            raise UsageError(
                f"{run.path}: residuals are for a regression; this is a {_task(run)} run"
            )
        rows = run.predictions(split)
        _has(run, split, len(rows) > 0)
        for found, own in zip((true, said), pairs(rows), strict=True):
            found.append(own)
    names = column_names(members[0], true[0].shape[1])
    return np.concatenate(true), np.concatenate(said), names


def pairs(rows: Predictions) -> tuple[FloatArray, FloatArray]:
    """Targets and predictions that are numbers, `[N, O]`."""
    target, prediction = rows.numbers("target"), rows.numbers("prediction")
    if target.shape != prediction.shape:
        raise DamagedRun(f"{rows.path}: targets and predictions have different numbers of columns")
    return target, prediction


def column_names(run: Result, columns: int) -> tuple[str, ...]:
    """What the run calls its targets; `target 0`, … where it does not tell them apart."""
    names = run.stored.get("target_names")
    if isinstance(names, list) and len(names) == columns == len(set(map(str, names))):
        return tuple(map(str, names))
    return ("target",) if columns == 1 else tuple(f"target {i}" for i in range(columns))


def _task(run: Result) -> str:
    return str(run.summary.get("task"))


def _has(run: Result, split: str, is_there: bool) -> None:
    if not is_there:
        raise UsageError(f"{run.path} has no predictions for {split}: runs keep dev's and test's")


def _classes(run: Result) -> tuple[str, ...]:
    task = _task(run)
    if task not in ("classification", "dense"):
        raise UsageError(f"{run.path}: it answers with no class, as it is a {task} run")
    return names_of(run)


# -- schedules -------------------------------------------------------------------------------------

MOMENTS = 2000
"""Times at which a schedule is asked, about."""


@dataclass(frozen=True)
class Course:
    """Learning rate and momentum by time.

    name: of the schedule. epochs: `[T]`. values: by name `[T]`, or `[M, T]`. recorded: what
    metrics.csv has, at the end of each epoch: epochs, rates. notes: what is to be known about it.
    """

    name: str
    epochs: FloatArray
    values: dict[str, FloatArray]
    recorded: dict[str, tuple[FloatArray, FloatArray]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def planned(experiment: Experiment, steps_per_epoch: int) -> Course:
    """The course that a schedule would take if it had nothing to react to."""
    total = experiment.training.updates(steps_per_epoch)
    steps = _moments(total)
    found = _course(experiment, steps, steps_per_epoch, total, [])
    notes = []
    if type(experiment.schedule).observe is not Schedule.observe:
        notes.append(
            f"{experiment.schedule.component} reacts to what is measured: this is its course while "
            "that improves"
        )
    if experiment.training.early_stopping is not None:
        notes.append("early stopping may end training sooner")
    name = _schedule(experiment)
    return Course(name, steps / steps_per_epoch, found, notes=tuple(notes))


def _schedule(experiment: Experiment) -> str:
    schedule = experiment.schedule
    return schedule.component + (" after a warm-up" if schedule.warmup else "")


def as_ran(members: Sequence[Result]) -> Course:
    """The course that runs took: replayed from metrics.csv, up to where each of them ended.

    Where the replay differs from the rates that were recorded (training was prolonged), only these.
    """
    histories = [run.history() for run in members]
    if not all(history.get("step", np.zeros(0)).size for history in histories):
        raise RunError(f"{members[0].path} has no metrics.csv with an epoch in it")
    per_epoch = updates_an_epoch(members[0], histories[0]["step"])
    longest = max(int(history["step"][-1]) for history in histories)
    steps = _moments(longest)
    rows: dict[str, list[FloatArray]] = {}
    exact = True
    for run, history in zip(members, histories, strict=True):
        experiment = read_experiment(RunDir(run.path))
        seen = [
            {name: float(column[epoch]) for name, column in history.items()}
            for epoch in range(len(history["step"]))
        ]
        total = experiment.training.updates(per_epoch)
        last = np.array([int(row["step"]) - 1 for row in seen])
        found = _course(experiment, np.union1d(steps, last), per_epoch, total, seen)
        places = np.searchsorted(np.union1d(steps, last), last)
        exact &= bool(np.allclose(found["learning rate"][places], history["lr"], rtol=1e-9))
        kept = np.searchsorted(np.union1d(steps, last), steps)
        for name, values_ in found.items():
            rows.setdefault(name, []).append(np.where(steps <= last[-1], values_[kept], np.nan))
    first, schedule = histories[0], _schedule(read_experiment(RunDir(members[0].path)))
    recorded = {"learning rate": (first["step"] / per_epoch, first["lr"])}
    if exact:
        stacked = {
            name: np.stack(found) for name, found in rows.items() if len(found) == len(members)
        }
        return Course(schedule, steps / per_epoch, stacked, recorded if len(members) == 1 else {})
    length = max(len(history["lr"]) for history in histories)
    rates = np.full((len(members), length), np.nan)
    for row, history in zip(rates, histories, strict=True):
        row[: len(history["lr"])] = history["lr"]
    ends = max((history["step"] for history in histories), key=len) / per_epoch
    note = "the rates at the ends of epochs, as recorded: training was prolonged on the way"
    return Course(schedule, ends, {"learning rate": rates}, notes=(note,))


def updates_an_epoch(run: Result, updates: FloatArray) -> int:
    """Updates of a whole epoch; `updates`: how many a run had done at the end of each epoch, `[T]`.

    A single epoch may have been cut short, by training.steps: then they follow from the config.
    """
    home, counts = RunDir(run.path), (run.manifest.get("split") or {}).get("counts", {})
    if len(updates) > 1 or "train" not in counts or not home.preprocessing.exists():
        return int(updates[0])
    pipeline, rows = read_pipeline(home), int(counts["train"])
    shape, names = pipeline.input_shape, pipeline.classes or pipeline.target_names
    positions = (shape[1:] or shape) if pipeline.task == "dense" else ()
    classes = pipeline.classes or ()
    fit = Signature(shape, len(names), rows, classes, positions, pipeline.codes)
    return steps_an_epoch(read_experiment(home), fit)


def _moments(total: int) -> np.ndarray:
    """Updates at which the schedule is asked: all of a short training, else evenly spread."""
    return np.unique(np.linspace(0, total - 1, min(total, MOMENTS)).round().astype(np.int64))


def _course(
    experiment: Experiment,
    steps: np.ndarray,
    per_epoch: int,
    total: int,
    seen: Sequence[dict[str, float]],
) -> dict[str, FloatArray]:
    """Rate and momentum before some updates; `seen`: the rows that it reacts to, by epoch."""
    schedule, optimizer = experiment.schedule, experiment.optimizer
    state, observed = schedule.start(), 0
    own = optimizer.momentum_field
    rates, momenta = list[float](), list[float]()
    for step in steps.tolist():
        now = Progress(step, per_epoch, total)
        while observed < min(now.epoch, len(seen)):
            state = schedule.observe(state, seen[observed])
            observed += 1
        rates.append(optimizer.lr * schedule.factor(now, state))
        cycled = schedule.momentum(now)
        if own is not None:
            momenta.append(float(getattr(optimizer, own)) if cycled is None else cycled)
    found = {"learning rate": np.array(rates)}
    if own is not None:
        found["momentum" if own == "momentum" else f"momentum ({own})"] = np.array(momenta)
    return found
