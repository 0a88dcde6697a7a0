"""Reads what runs and groups left, without executing anything and without torch.

A file that is missing or can't be read is a DamagedRun that names it.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from nnexp.errors import DamagedRun, RunError
from nnexp.runs.files import read_bytes
from nnexp.runs.rundir import RunDir
from nnexp.stats import FloatArray


@dataclass(frozen=True)
class Predictions:
    """The rows of one split of predictions.csv, as text by column."""

    path: Path
    columns: Mapping[str, tuple[str, ...]]

    @cached_property
    def ids(self) -> tuple[str, ...]:
        return self.columns["id"]

    @cached_property
    def rows(self) -> dict[str, int]:
        """Row of each id."""
        return {name: row for row, name in enumerate(self.ids)}

    def __len__(self) -> int:
        return len(self.ids)

    def texts(self, column: str) -> np.ndarray[Any, np.dtype[np.str_]]:
        """One column as it is written; DamagedRun if there is none."""
        if column not in self.columns:
            raise DamagedRun(f"{self.path}: there is no column '{column}'")
        return np.array(self.columns[column], dtype=np.str_)

    def numbers(self, column: str) -> FloatArray:
        """A column, or `column_0`, `column_1`, …, as `[examples, columns]`; empty is NaN."""
        names = [column] if column in self.columns else self._numbered(column)
        try:
            cells = [[float(x) if x else math.nan for x in self.columns[n]] for n in names]
        except ValueError as error:
            raise DamagedRun(f"{self.path}: column '{column}' should be numbers: {error}") from None
        return np.array(cells, dtype=np.float64).T

    def agrees(self, other: Predictions) -> bool:
        """Whether the targets of both, row by row, are the same but for rounding."""
        names = [name for name in self.columns if name.partition("_")[0] == "target"]
        if names != [name for name in other.columns if name.partition("_")[0] == "target"]:
            return False
        if all(self.columns[name] == other.columns[name] for name in names):
            return True
        try:
            pairs = [(self.numbers(name), other.numbers(name)) for name in names]
        except DamagedRun:  # names of classes
            return False
        return all(np.allclose(x, y, rtol=1e-3, atol=0.0, equal_nan=True) for x, y in pairs)

    def take(self, rows: list[int]) -> Predictions:
        """The given rows, in that order."""
        columns = {name: tuple(c[i] for i in rows) for name, c in self.columns.items()}
        return Predictions(self.path, columns)

    def _numbered(self, column: str) -> list[str]:
        names: list[str] = []
        while (name := f"{column}_{len(names)}") in self.columns:
            names.append(name)
        if not names:
            raise DamagedRun(f"{self.path}: there is no column '{column}' or '{column}_0'")
        return names


@dataclass(frozen=True)
class Result:
    """A run, or a group with its members; its files are read when first used."""

    path: Path
    kind: str
    manifest: Mapping[str, Any]
    members: tuple[Result, ...] = ()
    _answers: dict[bool, dict[str, Predictions]] = field(
        default_factory=dict, repr=False, compare=False
    )

    @property
    def status(self) -> str:
        return str(self.manifest.get("status", "unknown"))

    @property
    def runs(self) -> tuple[Result, ...]:
        """The members of a group; a run itself."""
        return self.members or (self,)

    @property
    def alive(self) -> tuple[Result, ...]:
        """The runs that left a model worth looking at, as a group's summary counts them: those that
        did not diverge, or only after early stopping had kept weights from before.
        """
        return tuple(run for run in self.runs if run.status != "diverged" or run._has_scores)

    @property
    def _has_scores(self) -> bool:
        there = (self.path / "summary.json").exists()
        return there and any(value is not None for value in self.part("train").values())

    @cached_property
    def config(self) -> dict[str, Any]:
        """resolved.yaml"""
        return RunDir(self.path).read_config()

    @cached_property
    def stored(self) -> dict[str, Any]:
        """preprocessing.json; of a committee that of its first network."""
        first = self.path / "m0"
        return RunDir(first if first.is_dir() else self.path).read_json("preprocessing.json")

    @cached_property
    def summary(self) -> dict[str, Any]:
        """summary.json; RunError if the run has not got so far."""
        if not (self.path / "summary.json").exists() and self.status != "finished":
            advice = f"; go on with it: nnexp train --resume {self.path}"
            raise RunError(
                f"{self.path} has no results: its status is {self.status}"
                + (advice if self.status in ("running", "interrupted") else "")
            )
        return RunDir(self.path).read_summary()

    def part(self, split: str) -> dict[str, Any]:
        """The summary's metrics on "train", "dev" or "test"; empty if there is no such split."""
        return self.summary.get(split) or {}

    def value(self, split: str, metric: str) -> float:
        """A run's metric; NaN where it is null (a diverged run) or missing."""
        if self.status == "diverged" and not (self.path / "summary.json").exists():
            return math.nan
        value = self.part(split).get(metric)
        return math.nan if value is None else float(value)

    @property
    def answered(self) -> bool:
        """Whether there should be predictions: a run that diverged may have left none."""
        file = self.path / "predictions.csv"
        return self.status != "diverged" or (file.is_file() and file.stat().st_size > 0)

    def predictions(self, split: str) -> Predictions:
        """The split's rows of predictions.csv; ids are unique."""
        return self._read(split, outputs=False)

    def outputs(self, split: str) -> FloatArray:
        """The network's outputs `[examples, outputs]`, in the order of `predictions`."""
        return self._read(split, outputs=True).numbers("output")

    def _read(self, split: str, outputs: bool) -> Predictions:
        """A split's rows; the file is read at most twice, for all splits at once."""
        if outputs not in self._answers:
            if not (self.path / "predictions.csv").exists():
                RunDir(self.path).refuse_light("predictions")
            self._answers[outputs] = _read_predictions(self.path, outputs)
        file, by_split = self.path / "predictions.csv", self._answers[outputs]
        found = by_split[split if split in by_split else ""]
        if len(set(found.columns["id"])) < len(found.columns["id"]):
            raise DamagedRun(f"{file}: an id stands there twice in split '{split}'")
        return found

    def history(self) -> dict[str, FloatArray]:
        """metrics.csv: each column's values by epoch, NaN where empty; {} before the first one."""
        if not read_bytes(self.path, "metrics.csv"):
            return {}
        header, rows = read_rows(self.path, "metrics.csv")
        cells = zip(*rows, strict=True) if rows else [()] * len(header)
        table = Predictions(self.path / "metrics.csv", dict(zip(header, cells, strict=True)))
        return {name: table.numbers(name)[:, 0] for name in header}


def as_number(value: Any) -> float | None:
    """A number as JSON holds it; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value)
    except OverflowError:
        return None


def read_result(path: Path) -> Result:
    """The run or group in a directory. Raises as `RunDir.open` does; DamagedRun too if a member is
    missing.
    """
    manifest = RunDir.open(path).read_manifest()
    kind = manifest["kind"]
    if kind == "run":
        return Result(path, kind, manifest)
    count = manifest["members"]
    if manifest["status"] in ("running", "interrupted"):
        raise RunError(f"{path} is not finished; go on with: nnexp train --resume {path}")
    members = []
    for i in range(count):
        member = path / f"s{i}"
        members.append(Result(member, "run", RunDir(member).read_manifest()))
    return Result(path, kind, manifest, tuple(members))


def _read_predictions(root: Path, outputs: bool) -> dict[str, Predictions]:
    """The rows of each split, with the outputs or without; under "" no rows."""
    file = root / "predictions.csv"
    header, rows = read_rows(root, file.name)
    for name in ("split", "id"):
        if name not in header:
            raise DamagedRun(f"{file}: there is no column '{name}'")
    # Outputs are the bulk of the file, and hardly anything reads them.
    kept = [i for i, n in enumerate(header) if outputs or not n.startswith("output")]
    place, parts = header.index("split"), dict[str, list[list[str]]]({"": []})
    for row in rows:
        parts.setdefault(row[place], []).append(row)
    return {
        split: Predictions(file, {header[i]: tuple(row[i] for row in part) for i in kept})
        for split, part in parts.items()
    }


def read_rows(root: Path, name: str) -> tuple[list[str], list[list[str]]]:
    """Header and rows, all of one length."""
    file = root / name
    try:
        text = io.StringIO(read_bytes(root, name).decode(), newline="")
        rows = list(csv.reader(text, strict=True))
    except (ValueError, csv.Error) as error:
        raise DamagedRun(f"{file} is not CSV: {error}") from None
    if not rows or len(set(rows[0])) < len(rows[0]):
        raise DamagedRun(f"{file} should begin with a header whose names differ")
    header, *rows = rows
    for number, row in enumerate(rows, 2):
        if len(row) != len(header):
            raise DamagedRun(
                f"{file}: row {number} has {len(row)} cells, and the header {len(header)}"
            )
    return header, rows
