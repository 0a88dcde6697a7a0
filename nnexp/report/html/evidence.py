"""What runs have left, as the arrays that a report's pictures are drawn from. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from nnexp.analysis.diagnosing.layers import read_health
from nnexp.analysis.pictures import column_names, confusion_counts, pairs
from nnexp.analysis.probabilities import answers, sureness
from nnexp.analysis.results import Result
from nnexp.components.optimizers.optimizer import Optimizer
from nnexp.components.schedules import Progress, Schedule
from nnexp.errors import RunError, UsageError
from nnexp.registry import choose
from nnexp.stats import FloatArray


@dataclass(frozen=True)
class Classified:
    """What a model says about examples that have a class.

    counts: of true (down) and predicted class, `[C, C]`. sureness: of each example the probability
    of its predicted class and whether that is its class, both `[N]`; None without probabilities.
    """

    classes: tuple[str, ...]
    counts: np.ndarray
    sureness: tuple[FloatArray, FloatArray] | None = None


def judged_split(result: Result) -> str:
    """test, or dev where there is no test."""
    return "test" if result.part("test") else "dev"


def scored(result: Result) -> list[Result]:
    """Its runs that have left predictions; diverged ones and trials of a sweep have none."""
    return [run for run in result.alive if (run.path / "predictions.csv").exists()]


# -- over the epochs -------------------------------------------------------------------------------


def history(run: Result) -> dict[str, FloatArray]:
    """metrics.csv by column; and, where the schedule moves the momentum, that at each epoch's end.

    Momentum follows from the config and the number of updates alone, so that it is not recorded. Of
    a single epoch, which may have been cut short, it is not told.
    """
    columns = run.history()
    try:
        schedule = choose(Schedule, run.config.get("schedule"))
        optimizer = choose(Optimizer, run.config.get("optimizer"))
    except ValueError:  # of a plugin that is not here
        return columns
    assert isinstance(schedule, Schedule)
    assert isinstance(optimizer, Optimizer)
    updates = columns.get("step", np.zeros(0))
    training = run.config.get("training")
    if len(updates) < 2 or not isinstance(training, Mapping) or optimizer.momentum_field is None:
        return columns
    an_epoch = int(updates[0])
    total = training.get("steps") or training.get("epochs", 0) * an_epoch
    ends = [Progress(int(step) - 1, an_epoch, total) for step in updates]
    moved = [m for end in ends if (m := schedule.momentum(end)) is not None]
    if len(moved) == len(ends):
        columns[optimizer.momentum_field] = np.array(moved)
    return columns


# -- classes ---------------------------------------------------------------------------------------


def classified(run: Result, split: str) -> Classified | None:
    """None if the run's predictions of the split are not of one class an example or position."""
    try:
        counts, classes = confusion_counts([run], split)
    except UsageError:
        return None
    try:
        told = answers(run, split)
    except RunError:  # outputs that are no numbers, or a plugin that is not here
        told = None
    return Classified(classes, counts, None if told is None else sureness(*told))


def stored(run: Result) -> Mapping[str, Any]:
    """preprocessing.json, if the run has kept it."""
    there = (run.path / "preprocessing.json").exists() or (run.path / "m0").is_dir()
    return run.stored if there else {}


# -- values and labels -----------------------------------------------------------------------------


def valued(run: Result, split: str) -> dict[str, tuple[FloatArray, FloatArray]]:
    """Target and prediction of each column of a regression, by the column's name."""
    if run.summary.get("task") != "regression":
        return {}
    target, prediction = pairs(run.predictions(split))
    names = column_names(run, target.shape[1])
    return {name: (target[:, i], prediction[:, i]) for i, name in enumerate(names)}


def labelled(run: Result, split: str) -> dict[str, FloatArray]:
    """Of each label the counts `[2, 2]` of true (down) and predicted absence and presence."""
    if run.summary.get("task") != "multilabel":
        return {}
    target, prediction = pairs(run.predictions(split))
    found = {}
    for i, name in enumerate(column_names(run, target.shape[1])):
        places = (target[:, i] > 0.5) * 2 + (prediction[:, i] > 0.5)
        found[name] = np.bincount(places, minlength=4).reshape(2, 2).astype(np.float64)
    return found


# -- health ----------------------------------------------------------------------------------------


def health(result: Result) -> tuple[FloatArray, dict[str, dict[str, FloatArray]]]:
    """Epochs `[T]`, and by statistic and layer its values `[T]`, means over the members that did
    not diverge; if all did, over them. Empty if nothing was recorded.
    """
    tables = [table for run in result.alive or result.runs if (table := read_health(run))]
    every = [row for table in tables for rows in table.values() for row in rows]
    epochs = np.unique([row["epoch"] for row in every])
    statistics = list(dict.fromkeys(name for row in every for name in row if name != "epoch"))
    layers = list(dict.fromkeys(layer for table in tables for layer in table))
    sums = np.zeros((len(layers), len(epochs), len(statistics)))
    known = np.zeros_like(sums)
    for table in tables:
        for layer, rows in table.items():
            place, at = layers.index(layer), np.searchsorted(epochs, [r["epoch"] for r in rows])
            values = np.array([[row.get(name, np.nan) for name in statistics] for row in rows])
            there = np.isfinite(values)
            np.add.at(sums[place], at, np.where(there, values, 0.0))
            np.add.at(known[place], at, there)
    means = np.divide(sums, known, out=np.full_like(sums, np.nan), where=known > 0)
    return epochs, {
        statistic: {layer: means[row, :, i] for row, layer in enumerate(layers)}
        for i, statistic in enumerate(statistics)
    }
