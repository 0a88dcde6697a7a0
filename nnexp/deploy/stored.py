"""A run's network and preprocessing, read back without its data."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nnexp.components.table import Features
from nnexp.config.experiment import Experiment
from nnexp.data.prepare import Pipeline, Prepared
from nnexp.errors import RunError, UsageError
from nnexp.lazy import torch
from nnexp.runs.plan import read_experiment
from nnexp.runs.rundir import RunDir
from nnexp.runs.score import NEEDED, network, read_pipeline, usable_members
from nnexp.train.blueprint import Signature, build_layers, declare
from nnexp.train.program import Program

TASKS = ("classification", "regression", "multilabel", "dense")
"""What a network may have learnt that is taken out of its run."""


@dataclass(frozen=True)
class Stored:
    """A trained network.

    tensors: `params` and `buffers`, `[1, …]`. notes: what should be known about it.
    """

    run: RunDir
    experiment: Experiment
    pipeline: Pipeline
    program: Program
    tensors: dict[str, torch.Tensor]
    notes: tuple[str, ...] = ()


def read_stored(path: Path, member: int | None = None) -> Stored:
    """A run's network, or that of a group's member, by default the best on dev.

    The network computes in float32 if training did in bf16, whose weights are float32, too.
    Raises RunError, DamagedRun, UntrustedRun, PluginNeeded, UsageError.
    """
    run, notes = choose_member(path, member)
    run.verify(NEEDED)
    experiment, pipeline = read_experiment(run), read_pipeline(run)
    if pipeline.task not in TASKS:
        raise UsageError(f"{run.path}: a network that learnt {pipeline.task} can't be taken out")
    if experiment.training.precision == "bf16":
        training = experiment.training.model_copy(update={"precision": "float32"})
        experiment = experiment.model_copy(update={"training": training})
        notes.append("training computed in bf16; this model computes in float32")
    if experiment.test_time is not None:
        notes.append("test_time: the model looks at each example once, and as it is")
    pack, tensors = network(run, experiment, _blank(experiment, pipeline), "data", "cpu")
    return Stored(run, experiment, pipeline, pack.program([0]), tensors, tuple(notes))


def choose_member(path: Path, number: int | None) -> tuple[RunDir, list[str]]:
    """A run itself; of a group a member that has weights, by default the best on dev.

    Raises RunError if there is none, UsageError if the number is no member's.
    """
    members, notes = usable_members(path)
    if members[0].path == path:
        if number is not None:
            raise UsageError(f"--member: {path} is a single run")
        return members[0], notes
    names = {int(run.path.name[1:]): run for run in members}
    if number is not None:
        if number not in names:
            there = ", ".join(map(str, names))
            raise UsageError(f"--member: {path} has no member {number} with weights, only {there}")
        return names[number], notes
    if RunDir.open(path).read_manifest()["kind"] != "group":
        there = " or ".join(map(str, names))
        which = f"take one of its networks, --member (in Python member=) {there}"
        raise UsageError(f"{path} is a committee: {which}")
    best, score = min(names), np.inf
    for place, run in names.items():
        dev = run.read_summary().get("dev") or {}
        loss = dev.get("loss")
        if loss is not None and loss < score:
            best, score = place, loss
    why = f"the smallest loss on dev, {score:.4g}" if score < np.inf else "there is no dev split"
    return names[best], [*notes, f"member s{best} of {len(names)}: {why}"]


def example_of(pipeline: Pipeline) -> Features:
    """A made-up example with the columns that the preprocessing was fitted on."""
    text = np.full((1, len(pipeline.categorical_names)), "", dtype=object)
    return Features(
        np.zeros((1, *pipeline.shape)), pipeline.names, text, pipeline.categorical_names
    )


def _blank(experiment: Experiment, pipeline: Pipeline) -> Prepared:
    """A made-up example, of the shape that the network takes."""
    loss = experiment.loss
    if loss is None:
        raise RunError("the run has no loss")
    one = example_of(pipeline)
    inputs: np.ndarray = np.zeros((1, *pipeline.input_shape), pipeline.precision)
    targets: np.ndarray
    if pipeline.classes is None:
        targets = np.zeros((1, len(pipeline.target_names)), pipeline.precision)
    else:
        positions: tuple[int, ...] = ()
        if pipeline.task == "dense":
            shape, names = pipeline.input_shape, pipeline.classes
            fit = Signature(shape, len(names), 1, names, shape[1:] or shape, pipeline.codes)
            layers = build_layers(experiment, fit, loss)
            positions = declare(layers, pipeline.input_shape)[-1].output[1:]
        targets = np.zeros((1, *positions), np.int64)
    rows = {"data": np.arange(1)}
    return Prepared(pipeline, inputs, targets, targets, rows, one, ())
