"""What runs have left, as the arrays that a report's pictures are drawn from. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from nnexp.analysis.results import Predictions, Result, read_rows
from nnexp.components.optimizers.optimizer import Optimizer
from nnexp.components.schedules import Progress, Schedule
from nnexp.errors import DamagedRun
from nnexp.registry import choose
from nnexp.runs.rundir import RunDir
from nnexp.stats import FloatArray

HEALTH = "health.csv"
"""Statistics of each layer by epoch, if they were recorded."""


@dataclass(frozen=True)
class Classified:
    """What a model says about examples that have a class.

    counts: of true (down) and predicted class, `[C, C]`. sureness: of each example the probability
    of its predicted class and whether that is its class, both `[N]`; None without probabilities.
    """

    classes: tuple[str, ...]
    counts: FloatArray
    sureness: tuple[FloatArray, FloatArray] | None = None


def judged_split(result: Result) -> str:
    """test, or dev where there is no test."""
    return "test" if result.part("test") else "dev"


def scored(result: Result) -> list[Result]:
    """Its runs that have left predictions; diverged ones and trials of a sweep have none."""
    there = (run for run in result.runs if run.status != "diverged")
    return [run for run in there if (run.path / "predictions.csv").exists()]


# -- over the epochs -------------------------------------------------------------------------------


def history(run: Result) -> dict[str, FloatArray]:
    """metrics.csv by column; and, where the schedule moves the momentum, that at each epoch's end.

    Momentum follows from the config and the number of updates alone, so that it is not recorded.
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
    if not len(updates) or not isinstance(training, Mapping) or optimizer.momentum_field is None:
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
    task = run.summary.get("task")
    if task == "dense":
        return _by_position(run, split)
    rows = run.predictions(split)
    if task != "classification" or not len(rows):
        return None
    target, prediction = rows.texts("target"), rows.texts("prediction")
    classes = _classes(run) or tuple(np.unique(np.concatenate([target, prediction])).tolist())
    numbers = {name: i for i, name in enumerate(classes)}
    try:
        pairs = [(numbers[a], numbers[b]) for a, b in zip(target, prediction, strict=True)]
    except KeyError as error:
        raise DamagedRun(f"{rows.path}: {error.args[0]} is none of the run's classes") from None
    counts = np.zeros((len(classes), len(classes)))
    np.add.at(counts, tuple(np.transpose(pairs)), 1.0)
    confidence = _confidence(run, split)
    right = (target == prediction).astype(np.float64)
    return Classified(classes, counts, None if confidence is None else (confidence, right))


def _by_position(run: Result, split: str) -> Classified | None:
    stored = RunDir(run.path)
    if not stored.prediction_tensors.exists():
        return None
    tensors = stored.read_tensors(stored.prediction_tensors)
    if not {f"{split}.target", f"{split}.prediction"} <= set(tensors):
        return None
    target, prediction = (np.ravel(tensors[f"{split}.{x}"]) for x in ("target", "prediction"))
    there = target >= 0
    target, prediction = target[there].astype(np.int64), prediction[there].astype(np.int64)
    if not len(target) or prediction.min() < 0:
        return None
    classes = _classes(run)
    size = max(int(target.max()), int(prediction.max())) + 1
    classes = classes if len(classes) >= size else tuple(map(str, range(size)))
    flat = np.bincount(target * len(classes) + prediction, minlength=len(classes) ** 2)
    return Classified(classes, flat.reshape(len(classes), -1).astype(np.float64))


def _classes(run: Result) -> tuple[str, ...]:
    """The names of the classes by number; () if the run does not say."""
    classes = stored(run).get("classes")
    return tuple(map(str, classes)) if isinstance(classes, list) else ()


def stored(run: Result) -> Mapping[str, Any]:
    """preprocessing.json, if the run has kept it."""
    there = (run.path / "preprocessing.json").exists() or (run.path / "m0").is_dir()
    return run.stored if there else {}


def _confidence(run: Result, split: str) -> FloatArray | None:
    """The highest probability of each example; None if the loss means none."""
    loss = run.config.get("loss")
    name = loss.get("name") if isinstance(loss, Mapping) else loss
    if name not in ("cross_entropy", "binary_cross_entropy"):
        return None
    outputs = run.outputs(split)
    if not outputs.size or not np.isfinite(outputs).all():
        return None
    if outputs.shape[1] == 1:
        outputs = np.concatenate([np.zeros_like(outputs), outputs], 1)
    powers = np.exp(outputs - outputs.max(1, keepdims=True))
    return np.asarray(powers.max(1) / powers.sum(1))


# -- values and labels -----------------------------------------------------------------------------


def valued(run: Result, split: str) -> dict[str, tuple[FloatArray, FloatArray]]:
    """Target and prediction of each column of a regression, by the column's name."""
    if run.summary.get("task") != "regression":
        return {}
    target, prediction = _pairs(run.predictions(split))
    names = _names(run, target.shape[1])
    return {name: (target[:, i], prediction[:, i]) for i, name in enumerate(names)}


def labelled(run: Result, split: str) -> dict[str, FloatArray]:
    """Of each label the counts `[2, 2]` of true (down) and predicted absence and presence."""
    if run.summary.get("task") != "multilabel":
        return {}
    target, prediction = _pairs(run.predictions(split))
    found = {}
    for i, name in enumerate(_names(run, target.shape[1])):
        places = (target[:, i] > 0.5) * 2 + (prediction[:, i] > 0.5)
        found[name] = np.bincount(places, minlength=4).reshape(2, 2).astype(np.float64)
    return found


def _pairs(rows: Predictions) -> tuple[FloatArray, FloatArray]:
    target, prediction = rows.numbers("target"), rows.numbers("prediction")
    if target.shape != prediction.shape:
        raise DamagedRun(f"{rows.path}: targets and predictions have different numbers of columns")
    return target, prediction


def _names(run: Result, columns: int) -> list[str]:
    names: Any = stored(run).get("target_names")
    if isinstance(names, list) and len(names) == columns == len(set(map(str, names))):
        return [str(name) for name in names]
    return ["target"] if columns == 1 else [f"target {i}" for i in range(columns)]


# -- health ----------------------------------------------------------------------------------------


def health(result: Result) -> tuple[FloatArray, dict[str, dict[str, FloatArray]]]:
    """Epochs `[T]`, and by statistic and layer its values `[T]`, means over a group's members.

    Empty if nothing was recorded.
    """
    found = [_health_of(run) for run in result.runs if (run.path / HEALTH).exists()]
    epochs = np.unique(np.concatenate([one.epochs for one in found] or [np.zeros(0)]))
    statistics = list(dict.fromkeys(name for one in found for name in one.statistics))
    layers = list(dict.fromkeys(name for one in found for name in one.layers))
    place = {name: i for i, name in enumerate(layers)}
    sums = np.zeros((len(layers), len(epochs), len(statistics)))
    known = np.zeros_like(sums)
    for one in found:
        rows = np.array([place[name] for name in one.layers], np.int64)
        times = np.searchsorted(epochs, one.epochs)
        columns = [statistics.index(name) for name in one.statistics]
        there = np.isfinite(one.values)
        at = np.ix_(range(len(rows)), columns)
        for target, values in ((sums, np.where(there, one.values, 0.0)), (known, there)):
            spread = np.zeros((len(rows), len(statistics)))
            spread[at] = values
            np.add.at(target, (rows, times), spread)
    means = np.divide(sums, known, out=np.full_like(sums, np.nan), where=known > 0)
    return epochs, {
        statistic: {layer: means[row, :, i] for layer, row in place.items()}
        for i, statistic in enumerate(statistics)
    }


@dataclass(frozen=True)
class _Health:
    """A run's health.csv: of R rows the epoch `[R]`, the layer, and the statistics `[R, S]`."""

    statistics: list[str]
    layers: list[str]
    epochs: FloatArray
    values: FloatArray


def _health_of(run: Result) -> _Health:
    header, rows = read_rows(run.path, HEALTH)
    if not {"epoch", "layer"} <= set(header):
        raise DamagedRun(f"{run.path / HEALTH}: there is no column 'epoch' or 'layer'")
    columns = [i for i, name in enumerate(header) if name not in ("epoch", "layer", "step")]
    order = [header.index("epoch"), *columns]
    cells = [[row[i] or "nan" for i in order] for row in rows]
    try:
        numbers = np.array(cells, np.float64).reshape(len(rows), len(order))
    except ValueError as error:
        raise DamagedRun(f"{run.path / HEALTH}: there should be a number: {error}") from None
    there = np.isfinite(numbers[:, 0])
    layer = header.index("layer")
    layers = [row[layer] for row, is_there in zip(rows, there, strict=True) if is_there]
    return _Health([header[i] for i in columns], layers, numbers[there, 0], numbers[there, 1:])
