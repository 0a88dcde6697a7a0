"""New examples for a run: files and folders as a source that suits what it was trained on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nnexp.components.datasets import Dataset, ImageFolder
from nnexp.components.datasets.arrays import examples_of, read_npy
from nnexp.components.datasets.files import Csv, Parquet, Tabular
from nnexp.components.datasets.images import SUFFIXES, read_pixels
from nnexp.components.datasets.memory import Held, Memory
from nnexp.components.preprocessing import MinMax
from nnexp.components.table import existing_file
from nnexp.data.prepare import Pipeline
from nnexp.errors import DataError, UsageError, count
from nnexp.runs.apply import Answers, apply_run
from nnexp.runs.plan import read_experiment
from nnexp.runs.score import NEEDED, read_pipeline, usable_members

TABLES = (".csv", ".tsv", ".txt", ".parquet")


def predict_run(path: Path, data: Path, device: str | None = None) -> Answers:
    """What a run, or a group, says of the examples in a file, an image, or a folder of images.

    device: "cpu", "cuda" or "auto"; None: as in training. Targets among the data are not looked at.
    Raises RunError, DataError, UsageError.
    """
    run = usable_members(path)[0][0]
    run.verify(NEEDED)
    source, pipeline = read_experiment(run).data.source, read_pipeline(run)
    found, notes = new_data(source, pipeline, data)
    answers = apply_run(path, found, device)
    answers.notes[:0] = notes
    return answers


def new_data(source: Dataset, pipeline: Pipeline, data: Path) -> tuple[Dataset, list[str]]:
    """A source that reads new examples as the run's own source reads its file; and notes.

    Raises DataError if there is no such file, UsageError if it is of another kind.
    """
    endings = [ending.lower() for ending in data.suffixes]
    ending = next((e for e in reversed(endings[-2:]) if e != ".gz"), "")
    pictures = len(pipeline.shape) == 3
    if data.is_dir() or ending in SUFFIXES:
        if not pictures:
            raise UsageError(f"{data}: the run takes {_takes(pipeline)}, not images")
        return _images(source, pipeline, data)
    existing_file(Path(), str(data))
    in_one_file = type(source).at is not Dataset.at or len(source.paths) == 1
    in_one_file = in_one_file and not isinstance(source, ImageFolder)
    if in_one_file and (not isinstance(source, Tabular) or _reads(source, ending)):
        return source.at(data), []
    if ending == ".npy":
        held = _held(pipeline, data, np.asarray(examples_of(data, read_npy(data))))
        return _memory(pipeline).holding(held), []
    if ending == ".npz":
        return _memory(pipeline).at(data), []
    if ending not in TABLES:
        kinds = ", ".join((*TABLES, ".npz", ".npy"))
        raise UsageError(f"{data}: should be one of {kinds}, or an image, or a folder of images")
    return _table(source, pipeline, data, ending), []


def _reads(source: Tabular, ending: str) -> bool:
    """Whether a source of tables is the one for files of this ending."""
    if isinstance(source, Memory):
        return ending not in (".npy", ".npz")
    parquet = ending == ".parquet"
    return isinstance(source, Parquet) if parquet else not isinstance(source, Parquet)


def _table(source: Dataset, pipeline: Pipeline, data: Path, ending: str) -> Dataset:
    """A table for a run whose own data were something else; columns are found by name."""
    types: dict[int | str, Any] = dict.fromkeys(pipeline.categorical_names, "categorical")
    settings: dict[str, Any] = {"target": list(pipeline.target_names), "types": types}
    if isinstance(source, Tabular):
        settings = {name: getattr(source, name) for name in Tabular.model_fields}
    settings["target_type"] = pipeline.task
    settings["path"] = str(data.absolute())
    return Parquet(**settings) if ending == ".parquet" else Csv(**settings)


def _memory(pipeline: Pipeline) -> Memory:
    return Memory(target=list(pipeline.target_names) or "target", target_type=pipeline.task)


def _held(pipeline: Pipeline, data: Path, inputs: np.ndarray) -> Held:
    if inputs.shape[1:] != pipeline.shape:
        raise DataError(f"{data}: examples have shape {inputs.shape[1:]}, not {pipeline.shape}")
    names = pipeline.names if inputs.ndim == 2 else ()
    return Held(str(data), inputs=inputs, names=names)


# -- images ----------------------------------------------------------------------------------------


def _images(source: Dataset, pipeline: Pipeline, data: Path) -> tuple[Dataset, list[str]]:
    """An image, or those in a folder and below it, each called by its file's name."""
    if data.is_dir():
        files = sorted(p for p in data.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
        if not files:
            raise DataError(f"{data}: holds no image ({', '.join(SUFFIXES)})")
    else:
        files = [existing_file(Path(), str(data))]
    resized = isinstance(source, ImageFolder) and source.size is not None
    pixels = np.stack([read_image(file, pipeline.shape, resized) for file in files])
    ids = [str(p.relative_to(data)) if data.is_dir() else p.name for p in files]
    held = Held(count(len(files), "image"), inputs=pixels, ids=np.array(ids))
    return _memory(pipeline).holding(held), _range_notes(pipeline, pixels)


def read_image(path: Path, shape: Sequence[int], resized: bool = False) -> np.ndarray:
    """An image's pixels, uint8 `[C, H, W]` of just this shape: grey or red, green, blue.

    resized: whether it is brought to this size, as `image_folder` does it, if it has another.
    Colours become grey where there is one channel, and grey becomes colours. DataError if it is
    damaged, has another size or more than 8 bits a channel; UsageError without Pillow.
    """
    channels, height, width = shape
    if channels not in (1, 3):
        raise UsageError(f"{path}: the run's images have {channels} channels, not 1 or 3")
    mode = "L" if channels == 1 else "RGB"
    pixels = read_pixels(path, mode, (height, width) if resized else None)
    if pixels.shape[:2] != (height, width):
        found = f"{pixels.shape[0]} × {pixels.shape[1]}"
        raise DataError(f"{path}: is {found} pixels (height × width); it takes {height} × {width}")
    return pixels[None] if channels == 1 else np.moveaxis(pixels, 2, 0)


def _range_notes(pipeline: Pipeline, pixels: np.ndarray) -> list[str]:
    """A note if pixels go far beyond those of training, as far as the preprocessing tells."""
    for step, state in pipeline.fitted[:1]:
        if isinstance(step, MinMax):
            top = float(np.max(state["centre"] + state["scale"] * (step.high - step.low)))
            if pixels.max() > 2 * top:
                return [
                    f"pixels go up to {pixels.max()}, in training to {top:g}: are they on the same "
                    "scale?"
                ]
    return []


def _takes(pipeline: Pipeline) -> str:
    if len(pipeline.shape) == 1:
        return "rows of a table"
    return f"examples of shape {pipeline.shape}"
