"""What pictures of runs are made of: answers on a split, and the schedule, planned or as it ran.

Everything is read from what runs left; no data are needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from nnexp.analysis.results import Result, read_result
from nnexp.components.losses.loss import Loss
from nnexp.components.schedules import Progress, Schedule
from nnexp.config.experiment import Experiment
from nnexp.errors import DamagedRun, RunError, UsageError
from nnexp.lazy import torch
from nnexp.runs.plan import read_experiment
from nnexp.runs.rundir import RunDir
from nnexp.stats import FloatArray


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
    usable = [one for one in result.runs if one.status != "diverged"]
    if not usable:
        raise RunError(f"{path} diverged: there is nothing to draw")
    return usable


# -- answers ---------------------------------------------------------------------------------------


def confusion_counts(members: Sequence[Result], split: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """Counts `[C, C]`, the truth down and the answer across, summed over members; the classes.

    Raises UsageError for runs that answer with no class.
    """
    classes = _classes(members[0])
    counts = np.zeros((len(classes), len(classes)), np.int64)
    for run in members:
        if _task(run) == "dense":
            tensors = RunDir(run.path).read_tensors("predictions.safetensors")
            _has(run, split, f"{split}.target" in tensors)
            true, said = (tensors[f"{split}.{x}"].ravel() for x in ("target", "prediction"))
            there = true >= 0
            true, said = true[there], said[there]
        else:
            rows = run.predictions(split)
            _has(run, split, len(rows) > 0)
            true, said = (_codes(run, rows.texts(x), classes) for x in ("target", "prediction"))
        np.add.at(counts, (true, said), 1)
    return counts, classes


def probabilities(members: Sequence[Result], split: str) -> tuple[FloatArray, np.ndarray]:
    """Probabilities `[N, C]` and targets, class numbers `[N]` or labels `[N, L]`, of all members.

    Raises UsageError if the runs give no probabilities.
    """
    chances, targets = list[np.ndarray](), list[np.ndarray]()
    for run in members:
        task, loss = _task(run), read_experiment(RunDir(run.path)).loss
        assert loss is not None
        if task not in ("classification", "multilabel"):
            raise UsageError(f"{run.path}: a {task} run gives no probabilities")
        rows = run.predictions(split)
        _has(run, split, len(rows) > 0)
        found = _probabilities(loss, run.outputs(split))
        if found is None:
            raise UsageError(f"{run.path}: its loss, {loss.component}, gives no probabilities")
        chances.append(found)
        if task == "multilabel":
            targets.append(rows.numbers("target"))
        else:
            targets.append(_codes(run, rows.texts("target"), _classes(run)))
    return np.concatenate(chances), np.concatenate(targets)


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
        true.append(rows.numbers("target"))
        said.append(rows.numbers("prediction"))
    stored = RunDir(members[0].path).read_json("preprocessing.json")
    names = tuple(map(str, stored.get("target_names") or ()))
    width = true[0].shape[1]
    return (
        np.concatenate(true),
        np.concatenate(said),
        names if len(names) == width else tuple(f"output {k}" for k in range(width)),
    )


def _task(run: Result) -> str:
    return str(run.summary.get("task"))


def _has(run: Result, split: str, is_there: bool) -> None:
    if not is_there:
        raise UsageError(f"{run.path} has no predictions for {split}: runs keep dev's and test's")


def _classes(run: Result) -> tuple[str, ...]:
    task = _task(run)
    if task not in ("classification", "dense"):
        raise UsageError(f"{run.path}: it answers with no class, as it is a {task} run")
    classes = RunDir(run.path).read_json("preprocessing.json").get("classes")
    if not classes:
        raise DamagedRun(f"{run.path}: preprocessing.json lacks the classes")
    return tuple(map(str, classes))


def _codes(run: Result, names: np.ndarray, classes: Sequence[str]) -> np.ndarray:
    """The numbers of classes by their names."""
    index = {name: number for number, name in enumerate(classes)}
    try:
        return np.array([index[str(name)] for name in names], np.int64)
    except KeyError as error:
        raise DamagedRun(
            f"{run.path}: predictions.csv has a class {error}, unknown to it"
        ) from None


def _probabilities(loss: Loss, outputs: FloatArray) -> FloatArray | None:
    """Of each class or label, `[N, C]`; None if the loss means none. The usual need no torch."""
    from scipy.special import expit, softmax

    if loss.component == "cross_entropy":
        return np.asarray(softmax(outputs, axis=1))
    if loss.component == "binary_cross_entropy":
        return np.concatenate([expit(-outputs), expit(outputs)], axis=1)
    found = loss.probabilities(torch.as_tensor(outputs)[None])
    return None if found is None else found[0].numpy()


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
    per_epoch = int(histories[0]["step"][0])
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
