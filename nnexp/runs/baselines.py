"""Baselines beside the network, fitted on the same examples and scored by the same metrics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from nnexp.components.baselines import Baseline, Examples
from nnexp.components.inits import Auto
from nnexp.components.losses.classes import CrossEntropy
from nnexp.components.losses.values import Mse
from nnexp.components.models.model import LinearModel
from nnexp.config.experiment import Experiment
from nnexp.data.prepare import Prepared
from nnexp.errors import ConfigError, Problem
from nnexp.lazy import torch
from nnexp.runs.plan import Plan, signature
from nnexp.train import evaluate
from nnexp.train.feed import feed
from nnexp.train.program import Program

Scores = dict[str, Any]
"""Of a baseline: its metrics on each part, and its number of parameters."""


def check_baselines(plan: Plan) -> None:
    """Whether every baseline suits the task and data. Raises ConfigError and DataError."""
    asked, task = plan.resolved.baselines, plan.resolved.task
    problems = []
    for number, baseline in enumerate(asked):
        if task not in baseline.tasks:
            suits = " and ".join(baseline.tasks)
            why = f"{baseline.component} is for {suits}; the task is {task}"
            problems.append(Problem("", f"baselines.{number}", why))
    if asked and not problems:
        if any(plan.tables[0].pipeline.codes):
            why = "baselines take numbers, and some inputs are codes of an embedding"
            problems.append(Problem("", "baselines", why))
        elif any(table.inputs is None for table in plan.tables):
            why = "baselines take data that fit in memory, and these do not"
            problems.append(Problem("", "baselines", why))
    if problems:
        raise ConfigError(problems)
    for table in plan.tables if asked else ():
        examples = _examples(table, plan.resolved.seed)
        for baseline in asked:
            baseline.check(examples)


def score_baselines(plan: Plan, split: int) -> tuple[dict[str, Scores], list[str]]:
    """Each baseline's scores on one of the plan's splits, by name, and what was noted."""
    table, experiment = plan.tables[split], plan.resolved
    examples = _examples(table, experiment.seed)
    notes: list[str] = []
    found: dict[str, Scores] = {}
    for name, baseline in zip(_names(experiment.baselines), experiment.baselines, strict=True):
        fitted = baseline.fit(examples)
        notes += fitted.notes
        scores = {
            part: _score(experiment, table, part, fitted.outputs(_inputs(table, rows)))
            for part, rows in table.parts.items()
        }
        found[name] = {**scores, "parameters": fitted.parameters}
    return found, notes


def mean_scores(splits: Sequence[Mapping[str, Scores]]) -> dict[str, Scores]:
    """The mean of each score over splits; the parameters are those on the first split."""
    first = splits[0]
    return {
        name: {
            part: {
                metric: float(np.mean([split[name][part][metric] for split in splits]))
                for metric in values
            }
            if isinstance(values, Mapping)
            else values
            for part, values in first[name].items()
        }
        for name in first
    }


def _names(baselines: Sequence[Baseline]) -> list[str]:
    """A name for each: its component, numbered from the second of a kind."""
    kinds = [baseline.component for baseline in baselines]
    seen = [kinds[: i + 1].count(kind) for i, kind in enumerate(kinds)]
    return [kind if n == 1 else f"{kind} {n}" for kind, n in zip(kinds, seen, strict=True)]


def _examples(table: Prepared, seed: int) -> Examples:
    rows = table.parts["train"]
    return Examples(_inputs(table, rows), table.targets[rows], table.classes or (), seed)


def _inputs(table: Prepared, rows: np.ndarray) -> np.ndarray:
    return table.gather(rows).reshape(len(rows), -1).astype(np.float64)


def _score(
    experiment: Experiment, table: Prepared, part: str, outputs: np.ndarray
) -> dict[str, float]:
    """The metrics of a part's outputs, as if they were those of a network.

    The loss is left out where the network's is not one of probabilities or squares.
    """
    loss, metrics = experiment.loss, list(experiment.metrics or ())
    if not isinstance(loss, CrossEntropy | Mse):
        loss = CrossEntropy() if experiment.task == "classification" else Mse()
        metrics = [metric for metric in metrics if metric.component != "loss"]
    changes: dict[str, Any] = {"model": LinearModel(), "loss": loss, "metrics": metrics}
    changes |= {"initialization": Auto(), "regularization": {}, "test_time": None}
    changes |= {"augmentation": [], "optimizer": type(experiment).model_fields["optimizer"].default}
    plain, cpu = experiment.model_copy(update=changes), torch.device("cpu")
    there = feed([table], [0], cpu, torch.float32)
    program = Program([plain], signature(table), cpu, there.class_counts([0]))
    rows = there.rows(part, [0])
    out, target = torch.from_numpy(outputs)[None], there.targets[rows]
    if target.is_floating_point():
        target = torch.from_numpy(table.targets[table.parts[part]])[None].double()
    with torch.inference_mode():
        losses = program.losses(out, target)
        scored = evaluate.scored(program, out, target, losses, there, rows, [0])
        return {k: v[0] for k, v in evaluate.compute(program.metrics, scored).items()}
