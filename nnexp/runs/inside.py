"""What a run's network looks for in images, and what it answers over a plane."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from nnexp.components.datasets.memory import Held, Memory
from nnexp.data.prepare import Pipeline
from nnexp.errors import DamagedRun, UsageError
from nnexp.runs.apply import apply_run
from nnexp.runs.committee import committee
from nnexp.runs.plan import arranged, load, read_experiment, relocated
from nnexp.runs.rundir import RunDir
from nnexp.runs.score import read_pipeline, usable_members

GRID = 160
"""Points along each side of the plane."""


def first_filters(run: RunDir) -> np.ndarray:
    """The weights of a run's first layer that has any, `[F, C, H, W]`, of a network for images.

    Of a dense layer each unit's weights, in the place of the pixels that they belong to; affine
    preprocessing that changes the shape (whitening) is counted in. Of a committee those of its
    first network.
    Raises UsageError if there are no images or no such layer.
    """
    run = next(iter(committee(run)), run)
    pipeline, tensors = read_pipeline(run), run.read_tensors("model.safetensors")
    if len(pipeline.shape) != 3:
        raise UsageError(f"{run.path} takes no images: examples have shape {pipeline.shape}")
    names = [name for name in tensors if name.endswith(".weight") and tensors[name].ndim >= 2]
    if not names:
        raise UsageError(f"{run.path} has no layer of filters")
    name = min(names, key=lambda one: int(one.partition(".")[0]))
    weights = np.asarray(tensors[name], np.float64)
    if weights.ndim == 4 and ".conv2d." in name:
        return weights
    if weights.ndim != 2 or ".linear." not in name:
        kind = name.split(".")[1]
        raise UsageError(f"{run.path}: its first layer, {kind}, has no filters to draw")
    return _of_pixels(run, pipeline, weights)


def _of_pixels(run: RunDir, pipeline: Pipeline, weights: np.ndarray) -> np.ndarray:
    """A dense layer's weights `[D, F]` by pixel, `[F, C, H, W]`."""
    columns = weights.T
    if int(np.prod(pipeline.input_shape)) != columns.shape[1]:
        raise DamagedRun(f"{run.model}: its first layer does not take what preprocessing gives")
    if pipeline.input_shape != pipeline.shape:
        whole = pipeline.affine()
        if whole is None:
            raise UsageError(f"{run.path}: after its preprocessing there are no pixels any more")
        columns = columns * whole.weight if whole.weight.ndim == 1 else columns @ whole.weight
    return np.ascontiguousarray(columns.reshape(-1, *pipeline.shape))


def plane(
    path: Path, box: tuple[float, float, float, float], points: int = GRID
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What the models of a run or group answer on a grid: x `[W]`, y `[H]`, answers `[M, H, W, K]`.

    box: left, right, low, high, in the units of the data. Answers are probabilities of classes
    (1 and 0 where the loss gives none), or values in the target's units.
    Raises UsageError for runs that do not take two numbers.
    """
    pipeline = read_pipeline(usable_members(path)[0][0])
    _check_plane(path, pipeline)
    x, y = np.linspace(*box[:2], points), np.linspace(*box[2:], points)
    inputs = np.stack([axis.ravel() for axis in np.meshgrid(x, y)], axis=1)
    held = Held("a grid", inputs=inputs, names=pipeline.names)
    source = Memory(target=list(pipeline.target_names) or "target", target_type=pipeline.task)
    answers = apply_run(path, source.holding(held))
    found = answers.probabilities
    if found is None and pipeline.classes is not None:
        found = np.eye(len(pipeline.classes))[answers.predictions]
    found = answers.predictions if found is None else found
    return x, y, np.asarray(found, np.float64).reshape(len(found), points, points, -1)


def plane_points(
    path: Path, split: str, data_root: Path | None
) -> tuple[np.ndarray, np.ndarray, Sequence[str], Sequence[str] | None]:
    """A run's examples `[N, 2]`, their targets (class numbers or values, `[N]`), and the names of
    inputs and classes. Of a group those of its first member. Examples with a gap have no place on
    the plane: they are left out.

    Raises DataError if the data are not there, UsageError as `plane` and for a split that is not.
    """
    run = usable_members(path)[0][0]
    pipeline, experiment = read_pipeline(run), read_experiment(run)
    _check_plane(path, pipeline)
    experiment = experiment if data_root is None else relocated(experiment, data_root)
    table, parts = arranged(experiment.data, load(experiment))
    if split not in parts:
        raise UsageError(f"{path} has no {split} split; it has {', '.join(parts)}")
    rows = parts[split]
    points = np.asarray(table.features.numeric[:], np.float64)[rows]
    targets = pipeline.encode(table)[rows] if pipeline.classes else table.target[rows, 0]
    there = np.isfinite(points).all(axis=1)
    if not there.any():
        raise UsageError(f"{path}: no example of {split} has both of its two inputs")
    return points[there], targets[there], pipeline.names, pipeline.classes


def _check_plane(path: Path, pipeline: Pipeline) -> None:
    if pipeline.task not in ("classification", "regression"):
        raise UsageError(f"{path}: a boundary is drawn of classes or of values")
    if pipeline.shape != (2,) or pipeline.categorical_names:
        width = "×".join(map(str, pipeline.shape))
        texts = f" and {len(pipeline.categorical_names)} of text" * bool(pipeline.categorical_names)
        raise UsageError(f"{path}: takes {width} numbers{texts} an example; a plane needs just two")


def around(points: np.ndarray, room: float = 0.12) -> tuple[float, float, float, float]:
    """The box that holds points, with some room about them."""
    low, high = points.min(axis=0), points.max(axis=0)
    margin = np.where(high > low, room * (high - low), 1.0)
    low, high = low - margin, high + margin
    return float(low[0]), float(high[0]), float(low[1]), float(high[1])
