"""Examples for trying an exported model, and how near it comes to the run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nnexp.components.losses.classes import BinaryCrossEntropy, CrossEntropy
from nnexp.components.losses.labels import MultilabelBce
from nnexp.components.preprocessing import Impute, OneHot
from nnexp.components.table import Features
from nnexp.data.prepare import Pipeline
from nnexp.deploy.graph import needed
from nnexp.deploy.module import Network
from nnexp.deploy.stored import Stored
from nnexp.errors import DataError
from nnexp.lazy import torch
from nnexp.runs.plan import arranged, load, relocated
from nnexp.train.program import by_position

PROBABLE = (CrossEntropy, BinaryCrossEntropy, MultilabelBce)
"""Losses whose probabilities are written into the model; of others its outputs come out."""
MOST, CHUNK = 2000, 250
"""Examples that are tried at most, and at once."""


@dataclass(frozen=True)
class Examples:
    """Raw examples in the run's own columns.

    target: class indices `[n]` or values `[n, k]` of real ones; None of made-up ones. part: which
    part of the run's data; "" if they are made up. why: a reason for that.
    """

    features: Features
    target: np.ndarray | None = None
    part: str = ""
    why: str = ""


@dataclass(frozen=True)
class Agreement:
    """The largest difference of outputs, relative to the largest output above 1, over examples.

    part: of the run's data; "" for made-up examples. other_labels: how many got another class.
    """

    difference: float
    examples: int
    part: str
    other_labels: int


def examples_for(stored: Stored, data_root: Path | None = None, part: str = "test") -> Examples:
    """The run's own examples, of its test part or else of another; made-up ones without data."""
    experiment = stored.experiment
    if data_root is not None:
        experiment = relocated(experiment, data_root)
    try:
        table, parts = arranged(experiment.data, load(experiment))
        part = next(name for name in (part, "dev", "train") if name in parts)
        rows = parts[part][:MOST]
        features, _ = stored.pipeline._aligned(table.features.rows(rows))
        return Examples(features, table.target[rows], part)
    except DataError as error:
        why = f"tried on made-up examples, as the run's data can't be read: {error}"
        return Examples(_made_up(stored.pipeline), None, "", why)


def _made_up(pipeline: Pipeline, count: int = 200) -> Features:
    """Numbers of every size and, of text, categories that training had."""
    draw = np.random.default_rng(0)
    numbers = draw.normal(size=(count, *pipeline.shape)) * 10.0 ** draw.integers(-1, 3)
    if len(pipeline.shape) > 1:
        numbers = draw.integers(0, 256, numbers.shape).astype(np.float64)
    texts = np.full((count, len(pipeline.categorical_names)), "unseen", dtype=object)
    names = pipeline.categorical_names
    for step, state in pipeline.fitted:
        if isinstance(step, OneHot) and len(state["categories"]) == len(names):
            for place, kept in enumerate(state["categories"]):
                texts[:, place] = draw.choice(np.array([*kept, "unseen"], object), count)
        elif isinstance(step, Impute) and len(pipeline.shape) == 1:
            numbers[draw.random(numbers.shape) < 0.1] = np.nan
    return Features(numbers, pipeline.names, texts, names)


def feeds(pipeline: Pipeline, examples: Examples) -> dict[str, np.ndarray]:
    """Raw examples as the model takes them."""
    features = examples.features
    if len(pipeline.shape) > 1:
        return {"inputs": np.asarray(features.numeric[:], np.float32)}
    if not pipeline.categorical_names:
        return {"inputs": features.flat()}
    found: dict[str, np.ndarray] = dict(
        zip(pipeline.names, features.flat().T[:, :, None], strict=True)
    )
    for name, column in zip(pipeline.categorical_names, features.categorical.T, strict=True):
        filled = ["" if value is None else str(value) for value in column]
        found[name] = np.array(filled, dtype=object)[:, None]
    return found


def outputs(model: bytes, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """A model's outputs by name, in onnxruntime on the CPU."""
    runtime = needed("onnxruntime")
    options = runtime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = torch.get_num_threads()
    session = runtime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    total = len(next(iter(inputs.values())))
    pieces = [
        session.run(names, {key: value[start : start + CHUNK] for key, value in inputs.items()})
        for start in range(0, total, CHUNK)
    ]
    return {n: np.concatenate([piece[i] for piece in pieces]) for i, n in enumerate(names)}


def agreement(stored: Stored, model: bytes, examples: Examples) -> Agreement:
    """How near a model's outputs are to the run's."""
    found = outputs(model, feeds(stored.pipeline, examples))
    expected, labels = expectation(stored, examples.features)
    numbers = answer(found, "probabilities", "scores", "values")
    size = max(1.0, float(np.abs(expected).max(initial=0.0)))
    apart = np.abs(numbers.astype(np.float64) - expected).max(initial=0.0) / size
    others = 0
    if labels is not None:
        others = int((answer(found, "label", "labels") != labels).sum())
    return Agreement(float(apart), len(examples.features), examples.part, others)


def answer(found: Mapping[str, np.ndarray], *names: str) -> np.ndarray:
    """The output of one of these names; what a column is called so, too, has _ after it."""
    return next(array for name, array in found.items() if name.rstrip("_") in names)


def expectation(stored: Stored, features: Features) -> tuple[np.ndarray, np.ndarray | None]:
    """What the run says of raw examples: numbers, and of classes or labels those predicted."""
    pipeline, loss = stored.pipeline, stored.program.loss
    network = Network(stored, False)
    inputs = torch.as_tensor(pipeline.run(features)[0])
    with torch.inference_mode():
        pieces = [network(inputs[i : i + CHUNK]) for i in range(0, len(inputs), CHUNK)]
        out = torch.cat(pieces)[None]
        if pipeline.task == "regression":
            values = out[0].double().numpy()
            if pipeline.target_scale is not None:
                values = values * pipeline.target_scale[1] + pipeline.target_scale[0]
            return values, None
        if pipeline.task == "dense":
            flat = by_position(out)[0]
            index = loss.decide(flat).view(len(inputs), *out.shape[3:])
            found = loss.probabilities(flat) if type(loss) in PROBABLE else None
            scores = (flat if found is None else found).transpose(1, 2).reshape(out.shape[1:])
        else:
            found = loss.probabilities(out) if type(loss) in PROBABLE else None
            scores, index = (out if found is None else found)[0], loss.decide(out)[0]
    labels = index.numpy()
    if pipeline.classes is not None:
        labels = np.array(pipeline.classes, object)[labels]
    return scores.double().numpy(), labels
