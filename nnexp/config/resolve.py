"""Defaults that follow from the task and the data: a config with nothing left open."""

from __future__ import annotations

from typing import Any, cast, get_args

from nnexp.components.losses.classes import CrossEntropy
from nnexp.components.losses.labels import MultilabelBce
from nnexp.components.losses.loss import Loss, Task
from nnexp.components.losses.values import Mse
from nnexp.components.losses.words import NegativeSampling
from nnexp.components.metrics.by_class import F1
from nnexp.components.metrics.metric import (
    R2,
    Accuracy,
    Error,
    ExactMatch,
    LossMetric,
    Mae,
    Metric,
    Rmse,
)
from nnexp.components.preprocessing.step import Step
from nnexp.components.regularizers import L1
from nnexp.components.table import Table
from nnexp.config.experiment import Experiment
from nnexp.registry import choose

_METRICS: dict[Task, list[Metric]] = {
    "classification": [Accuracy(), LossMetric(), Error()],
    "regression": [Rmse(), LossMetric(), Mae(), R2()],
    "multilabel": [F1(), LossMetric(), ExactMatch(), Accuracy()],
    "dense": [Accuracy(), LossMetric(), Error()],
    "words": [LossMetric()],
}
_LOSSES: dict[Task, Loss] = {
    "classification": CrossEntropy(),
    "regression": Mse(),
    "multilabel": MultilabelBce(),
    "dense": CrossEntropy(),
    "words": NegativeSampling(),
}


def possible_tasks(experiment: Experiment) -> tuple[Task, ...]:
    """What the task may be, as far as the config says it, by `task` or by what the loss suits."""
    if experiment.task is not None:
        return (experiment.task,)
    return get_args(Task) if experiment.loss is None else experiment.loss.tasks


def stated_task(experiment: Experiment) -> Task | None:
    """The task if the config leaves no choice."""
    tasks = possible_tasks(experiment)
    return tasks[0] if len(tasks) == 1 else None


def resolve(experiment: Experiment, table: Table, steps: list[Step]) -> Experiment:
    """The experiment with every default filled in.

    steps: what the data needs, used when the config lists no preprocessing.
    """
    tasks = possible_tasks(experiment)
    task = table.task if table.task in tasks else tasks[0]
    scale = experiment.data.scale_target
    changes: dict[str, Any] = {
        "task": task,
        "loss": experiment.loss or _LOSSES[task],
        "metrics": _metrics(experiment, task),
        "preprocessing": steps if experiment.preprocessing is None else experiment.preprocessing,
        "regularization": _regularization(experiment),
        "data": experiment.data.model_copy(
            update={
                "source": experiment.data.source.resolved(table),
                "split": experiment.data.split.resolved(table),
                "scale_target": task == "regression" if scale is None else scale,
            }
        ),
    }
    return experiment.model_copy(update=changes)


def _metrics(experiment: Experiment, task: Task) -> list[Metric]:
    """Those chosen, or the task's; and whatever early stopping or the schedule watches."""
    metrics = list(experiment.metrics or _METRICS[task])
    needed = ["loss"]
    if task in ("classification", "dense") and experiment.schedule.needs_dev:
        needed.append("error")
    stopping = experiment.training.early_stopping
    if stopping is not None:
        needed.append(stopping.monitor.removeprefix("dev/"))
    for name in needed:
        if all(metric.component != name for metric in metrics):
            metrics.append(cast(Metric, choose(Metric, name)))
    return metrics


def _regularization(experiment: Experiment) -> dict[str, Any]:
    filled: dict[str, Any] = dict(experiment.regularization)
    l1 = filled.get("l1")
    if isinstance(l1, L1) and l1.step is None:
        exact = experiment.optimizer.component in ("sgd", "momentum", "nesterov")
        filled["l1"] = l1.model_copy(update={"step": "proximal" if exact else "subgradient"})
    return filled
