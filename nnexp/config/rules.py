"""Combinations that can't work: what no single field's bounds can say.

`without_data` needs the config only; `with_data` also the table that was read. Both return every
problem they find, placed by its path only (`nnexp.config.load` knows the lines).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from nnexp.components.layer import flat
from nnexp.components.layers.normalization import BatchNorm
from nnexp.components.losses.loss import Loss, Task
from nnexp.components.metrics.metric import Metric
from nnexp.components.models.model import Sequential
from nnexp.components.optimizers.rules import Momentum
from nnexp.components.schedules import Cosine, OneCycle
from nnexp.components.table import Table
from nnexp.config import augmenting, second_order
from nnexp.config.experiment import Experiment
from nnexp.config.resolve import possible_tasks
from nnexp.data.prepare import check_steps
from nnexp.errors import Problem, nearest


def without_data(experiment: Experiment) -> list[Problem]:
    """Every combination of fields that can't work, whatever the data."""
    checks = (
        _data,
        _dev_needed,
        _batches_of_one,
        _monitor,
        _tasks,
        _metrics,
        _weight_decay,
        _class_weights,
        _schedule,
        _momentum,
        second_order.without_data,
        augmenting.without_data,
    )
    return [problem for check in checks for problem in check(experiment)]


def with_data(experiment: Experiment, table: Table) -> list[Problem]:
    """Every part of a resolved config that does not suit the data."""
    assert experiment.loss is not None
    found = list(_monitor(experiment))  # first, as what it watches is among the metrics by now
    if not found:
        found = [*_tasks(experiment), *_kind_of_target(experiment, table)]
    if found:
        return found
    try:
        count = len(table.classes) if table.classes is not None else table.target.shape[1]
        experiment.loss.outputs(count)
        if table.classes is not None:
            experiment.loss.weigh(table.classes, np.ones(count))
    except ValueError as error:
        found.append(Problem("", "loss", str(error), experiment.loss.component))
    if table.task == "words":
        return [*found, *_running_text(experiment)]
    steps = experiment.preprocessing or []
    for number, message in check_steps(steps, table.features, task=table.task):
        path = f"preprocessing.{number}" if number < len(steps) else "preprocessing"
        found.append(Problem("", path, message.removeprefix("preprocessing: ")))
    return found


_KINDS = {
    "classification": "classes",
    "regression": "real-valued targets",
    "multilabel": "labels that are 0 or 1 each",
    "dense": "a class at every position",
    "words": "running text",
}


def _kind_of_target(experiment: Experiment, table: Table) -> Iterator[Problem]:
    assert experiment.loss is not None
    name = ", ".join(table.target_names)
    if experiment.task == table.task:
        return
    hints = {
        "classification": "mse for numbers; for numbers that stand for classes: task: "
        "classification",
        "multilabel": "its columns must hold 0 and 1 only",
    }
    yield Problem(
        "",
        "loss",
        f"is for {_KINDS[experiment.task or table.task]}, and the target ({name}) has "
        + (
            f"{len(table.classes)} classes"
            if table.codes is not None and table.classes
            else _KINDS[table.task]
        ),
        experiment.loss.component,
        hints.get(experiment.task or "", ""),
    )


def _running_text(experiment: Experiment) -> Iterator[Problem]:
    """Its examples are the codes of words, which nothing may change, and are their own targets."""
    if experiment.preprocessing:
        names = ", ".join(step.component for step in experiment.preprocessing)
        yield Problem(
            "", "preprocessing", "the words of running text are codes: no step fits", names, "[]"
        )
    for key in ("label_noise", "shuffle_labels"):
        if value := getattr(experiment.data, key):
            yield Problem("", f"data.{key}", "running text has no labels to change", value)


def _data(experiment: Experiment) -> Iterator[Problem]:
    data = experiment.data
    for part, spec in (("source", data.source), ("split", data.split)):
        for field, message in spec.conflicts():
            yield Problem("", f"data.{part}.{field}".rstrip("."), message)


def _dev_needed(experiment: Experiment) -> Iterator[Problem]:
    if experiment.data.split.has_dev or experiment.data.source.has_dev:
        return
    hint = "give data.split a `dev` share, or remove this"
    if experiment.training.early_stopping is not None:
        yield Problem("", "training.early_stopping", "early stopping needs a dev split", hint=hint)
    if experiment.schedule.needs_dev:
        name = experiment.schedule.component
        yield Problem("", "schedule", f"{name} needs a dev split", name, hint=hint)


def _batches_of_one(experiment: Experiment) -> Iterator[Problem]:
    model = experiment.model
    listed = flat(model.layers) if isinstance(model, Sequential) else []
    normalized = getattr(model, "batch_norm", False) or any(
        isinstance(layer, BatchNorm) for layer in listed
    )
    if normalized and experiment.training.batch_size == 1:
        yield Problem(
            "", "training.batch_size", "batch normalization needs batches of at least 2", 1, "≥ 2"
        )


def _monitor(experiment: Experiment) -> Iterator[Problem]:
    stopping = experiment.training.early_stopping
    if stopping is None:
        return
    loss = experiment.loss
    names = _metrics_of(possible_tasks(experiment))
    if loss is not None and not _has_probabilities(loss):
        names = [name for name in names if not _needs_probabilities(name)]
    allowed = sorted(f"dev/{name}" for name in names)
    if stopping.monitor not in allowed:
        close = nearest(stopping.monitor, allowed)
        yield Problem(
            "",
            "training.early_stopping.monitor",
            "is not a dev metric of such a run",
            stopping.monitor,
            ", ".join(allowed),
            f"did you mean {close}?" if close else "",
        )


def _tasks(experiment: Experiment) -> Iterator[Problem]:
    task, loss = experiment.task, experiment.loss
    if task is not None and loss is not None and task not in loss.tasks:
        suited = [n for n, c in Loss.registered.items() if task in getattr(c, "tasks")]
        yield Problem(
            "", "loss", f"is not a loss for {task}", loss.component, ", ".join(sorted(suited))
        )
    tasks = possible_tasks(experiment)
    if not set(tasks) & set(experiment.sampler.tasks):
        name, its = experiment.sampler.component, " and ".join(experiment.sampler.tasks)
        yield Problem("", "sampler", f"{name} is for {its}; the task is {tasks[0]}", name)
    for number, metric in enumerate(experiment.metrics or ()):
        if not set(tasks) & set(metric.tasks):
            yield Problem(
                "",
                f"metrics.{number}",
                f"is not a metric for {tasks[0]}",
                metric.component,
                ", ".join(_metrics_of(tasks)),
            )


def _metrics(experiment: Experiment) -> Iterator[Problem]:
    """Metrics are columns by their names, and some need what a loss may not mean."""
    chosen, loss = experiment.metrics or [], experiment.loss
    for number, metric in enumerate(chosen):
        path, name = f"metrics.{number}", metric.component
        if any(other.component == name for other in chosen[:number]):
            yield Problem("", path, "stands there twice", name)
        elif metric.needs_probabilities and loss is not None and not _has_probabilities(loss):
            yield Problem(
                "",
                path,
                f"needs probabilities, and {loss.component} gives none",
                name,
                ", ".join(n for n in _metrics_of(loss.tasks) if not _needs_probabilities(n)),
                "or choose a loss such as cross_entropy" if "classification" in loss.tasks else "",
            )


def _has_probabilities(loss: Loss) -> bool:
    return type(loss).probabilities is not Loss.probabilities


def _needs_probabilities(metric: str) -> bool:
    return bool(getattr(Metric.registered[metric], "needs_probabilities"))


def _weight_decay(experiment: Experiment) -> Iterator[Problem]:
    optimizer = experiment.optimizer
    if getattr(optimizer, "weight_decay", 0.0) > 0 and "weight_decay" in experiment.regularization:
        yield Problem(
            "",
            "regularization.weight_decay",
            f"{optimizer.component} has a weight_decay of its own: give only one of the two",
            hint="remove it here and set optimizer.weight_decay",
        )


def _class_weights(experiment: Experiment) -> Iterator[Problem]:
    loss = experiment.loss
    if loss is not None and loss.class_weights is not None and "classification" not in loss.tasks:
        suited = [n for n, c in Loss.registered.items() if "classification" in getattr(c, "tasks")]
        yield Problem(
            "",
            "loss.class_weights",
            f"{loss.component} has no classes to weigh",
            loss.class_weights,
            f"null, or one of the losses {', '.join(sorted(suited))}",
        )


def _schedule(experiment: Experiment) -> Iterator[Problem]:
    schedule = experiment.schedule
    if getattr(schedule, "gamma", None) is not None and getattr(schedule, "rate", None) is not None:
        yield Problem("", "schedule", "give only one of `gamma` and `rate`")
    if isinstance(schedule, OneCycle) and schedule.three_phase and schedule.pct_start > 0.5:
        yield Problem(
            "",
            "schedule.pct_start",
            "with three_phase the rise and the fall after it take pct_start each",
            schedule.pct_start,
            "≤ 0.5",
        )
    if isinstance(schedule, Cosine) and schedule.stretch != 1.0 and schedule.restart is None:
        yield Problem(
            "", "schedule.stretch", "stretches the time between restarts: give `restart`, too",
            schedule.stretch, "1 without `restart`",
        )  # fmt: skip
    warmup = schedule.warmup
    if warmup is not None and (warmup.epochs is None) == (warmup.steps is None):
        yield Problem("", "schedule.warmup", "give exactly one of `epochs` and `steps`")


def _momentum(experiment: Experiment) -> Iterator[Problem]:
    optimizer = experiment.optimizer
    if not isinstance(optimizer, Momentum) or optimizer.form == "average":
        return
    if optimizer.start != "zero":
        yield Problem(
            "", "optimizer.start", "only `form: average` may start with the first gradient",
            optimizer.start, "zero",
        )  # fmt: skip


def _metrics_of(tasks: Sequence[Task]) -> list[str]:
    return [n for n, c in Metric.registered.items() if set(tasks) & set(getattr(c, "tasks"))]
