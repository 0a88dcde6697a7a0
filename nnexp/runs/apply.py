"""What a run, or a group of them, says of new examples."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nnexp.components.datasets import Dataset
from nnexp.components.table import Table
from nnexp.data.prepare import Pipeline, Prepared
from nnexp.errors import UsageError
from nnexp.lazy import torch
from nnexp.runs.plan import read_experiment
from nnexp.runs.score import NEEDED, network, on_data, read_pipeline, usable_members
from nnexp.train import evaluate
from nnexp.train.device import suitable_threads

_OTHER = {
    "dense": "this run answers at every pixel or token (`nnexp eval` scores it)",
    "words": "this run has learnt word vectors (see `nnexp neighbours`)",
}


@dataclass(frozen=True)
class Answers:
    """What M models say of N examples.

    ids: `[N]`, as the data have them. task: what was learnt.
    names: of the classes, of the labels, or of the target's columns.
    predictions: class index int64 `[M, N]`, 0 or 1 for each label int64 `[M, N, K]`, or values in
    the target's units `[M, N, K]`. probabilities: `[M, N, K]` of classes or labels; None for
    values, and for a loss that gives none.
    notes: what is unusual about the examples.
    """

    ids: np.ndarray
    task: str
    names: tuple[str, ...]
    predictions: np.ndarray
    probabilities: np.ndarray | None
    notes: list[str]


def apply_run(path: Path, data: Path | Dataset, device: str | None = None) -> Answers:
    """Puts examples into a run's network, or into those of a group's members.

    data: a file in the form of the run's own, or a source; a target in it is not looked at.
    device: "cpu", "cuda" or "auto"; None: as in training, if it is there.
    Raises RunError, DataError, UsageError.
    """
    members, notes = usable_members(path)
    tables: dict[str, Table] = {}
    predictions, probabilities = [], []
    for run in members:
        run.verify(NEEDED)
        experiment = on_data(read_experiment(run), data)
        other = _OTHER.get(str(experiment.task))
        if other:
            raise UsageError(f"{path}: predict gives an answer an example; {other}")
        key = repr(experiment.data.source)
        if key not in tables:
            tables[key] = experiment.data.source.load(labelled=False)
        table, pipeline = tables[key], read_pipeline(run)
        prepared = _prepared(pipeline, table)
        notes += [note for note in prepared.notes if note not in notes]
        pack, tensors = network(run, experiment, prepared, "data", device)
        program, rows = pack.program([0]), pack.feed.rows("data", [0])
        with suitable_threads(program), torch.inference_mode():
            out, target, losses = evaluate.outputs(program, tensors, pack.feed, rows)
            found = evaluate.scored(program, out, target, losses, pack.feed, rows, [0])
            chances = None
            if experiment.task != "regression":
                chances = program.loss.probabilities(out)
        predictions.append(found.prediction[0].cpu().numpy())
        if chances is not None:
            probabilities.append(chances[0].cpu().numpy())
    return Answers(
        table.ids,
        str(experiment.task),
        pipeline.classes or pipeline.target_names,
        np.stack(predictions),
        np.stack(probabilities) if probabilities else None,
        notes,
    )


def _prepared(pipeline: Pipeline, table: Table) -> Prepared:
    """Examples without a target; where one is asked for there are zeros, which nobody looks at."""
    inputs, notes = pipeline.transform(table.features)
    if pipeline.classes is not None:
        blank: np.ndarray = np.zeros(len(table), np.int64)
    else:
        blank = np.zeros((len(table), len(pipeline.target_names)), pipeline.precision)
    rows = {"data": np.arange(len(table))}
    return Prepared(pipeline, inputs, blank, blank, rows, table.features, tuple(notes))
