"""What a run, or a group of them, says of new examples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from nnexp.components.datasets import Dataset
from nnexp.components.table import Table
from nnexp.data.prepare import Pipeline, Prepared
from nnexp.errors import UsageError, nearest
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
    thresholds: by class (of two) or label its number and where its probability is enough for it.
    """

    ids: np.ndarray
    task: str
    names: tuple[str, ...]
    predictions: np.ndarray
    probabilities: np.ndarray | None
    notes: list[str]
    thresholds: Mapping[int, float] = field(default_factory=dict)


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


def at_thresholds(answers: Answers, thresholds: Mapping[str, float]) -> Answers:
    """The same answers, with a class of two, or a label, said where its probability reaches a
    threshold. "" as a name: the second class, or the only label.

    Raises UsageError where there is no such thing.
    """
    names, p = answers.names, answers.probabilities
    is_labels = answers.task == "multilabel"
    if p is None:
        raise UsageError("--threshold: the run gives no probabilities (its loss has none)")
    if not is_labels and len(names) != 2:
        raise UsageError(f"--threshold: is for two classes or labels; there are {len(names)}")
    places: dict[int, float] = {}
    for name, threshold in thresholds.items():
        if not name and is_labels and len(names) > 1:
            raise UsageError(f"--threshold: say for which label, such as {names[0]}={threshold:g}")
        if name and name not in names:
            close = nearest(name, names)
            hint = f"; did you mean {close}?" if close else ""
            raise UsageError(
                f"--threshold: there is no {name} (there are: {', '.join(names)}){hint}"
            )
        places[names.index(name) if name else len(names) - 1] = threshold
    if not is_labels and len(places) > 1:
        raise UsageError("--threshold: of two classes one has it, and the rest are the other's")
    predictions = answers.predictions.copy()
    for place, threshold in places.items():
        said = p[:, :, place] >= threshold
        if is_labels:
            predictions[:, :, place] = said
        else:
            predictions = np.where(said, place, 1 - place)
    return replace(answers, predictions=predictions, thresholds=places)


def _prepared(pipeline: Pipeline, table: Table) -> Prepared:
    """Examples without a target; where one is asked for there are zeros, which nobody looks at."""
    inputs, notes = pipeline.transform(table.features)
    if pipeline.classes is not None:
        blank: np.ndarray = np.zeros(len(table), np.int64)
    else:
        blank = np.zeros((len(table), len(pipeline.target_names)), pipeline.precision)
    rows = {"data": np.arange(len(table))}
    return Prepared(pipeline, inputs, blank, blank, rows, table.features, tuple(notes))
