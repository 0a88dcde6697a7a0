"""Fit preprocessing on the training rows and apply it to all, and later to new data.

Data are kept in memory, transformed, when they fit; larger ones stay where they are and are
transformed as they are read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from pydantic import ValidationError

from nnexp.components.preprocessing import Impute, MinMax, OneHot, Standardize
from nnexp.components.steps import Affine, Kinds, State, Step, TrainingRows, apply_steps, shown
from nnexp.components.table import Features, Table
from nnexp.errors import DamagedRun, DataError
from nnexp.registry import choose

Precision = Literal["float32", "float64"]

RESIDENT_BYTES = 2**30
"""Inputs up to this size are transformed once and kept in memory."""


@dataclass(frozen=True)
class Pipeline:
    """Fitted preprocessing, and the columns, classes and target scale it was fitted with.

    shape, names, categorical_names: of the features that go in. input_shape: of what comes out.
    target_scale: mean and standard deviation `[k]` that targets are scaled by, if they are.
    """

    steps: tuple[Step, ...]
    states: tuple[State, ...]
    shape: tuple[int, ...]
    names: tuple[str, ...]
    categorical_names: tuple[str, ...]
    input_shape: tuple[int, ...]
    classes: tuple[str, ...] | None
    target_names: tuple[str, ...]
    target_scale: tuple[np.ndarray, np.ndarray] | None
    precision: Precision

    @property
    def fitted(self) -> tuple[tuple[Step, State], ...]:
        return tuple(zip(self.steps, self.states, strict=True))

    def apply(self, features: Features) -> np.ndarray:
        """Inputs `[n, *input_shape]` for features that have exactly these columns."""
        return np.asarray(apply_steps(self.fitted, features).numeric, self.precision)

    def transform(self, features: Features) -> tuple[np.ndarray, list[str]]:
        """Inputs for new data, and what is unusual about them.

        Columns are found by name and others left out. DataError if some are missing, hold the
        other kind of values, or numbers that can't be used.
        """
        features, notes = self._aligned(features)
        counts = _check_finite(features, np.arange(len(features)))
        if counts and not any(isinstance(step, Impute) for step in self.steps):
            raise DataError(f"there are missing values, and none were in training: {counts}")
        inputs, unusual = self._transformed(features)
        return inputs, notes + unusual

    def targets(self, table: Table) -> np.ndarray:
        """Class indices int64 `[n]`, or scaled values `[n, k]`, in the terms of training.

        DataError if the table's target is of another kind, or has a class unseen in training.
        """
        if (self.classes is None) != (table.classes is None):
            kinds = ("real-valued", "classes")
            was, now = kinds[self.classes is not None], kinds[table.classes is not None]
            raise DataError(f"the target was {was} in training, and is {now} here")
        if self.classes is None:
            if table.target.shape[1] != len(self.target_names):
                count = table.target.shape[1]
                raise DataError(f"there are {count} targets, and {len(self.target_names)} in training")
            values = table.target
            if self.target_scale is not None:
                values = (values - self.target_scale[0]) / self.target_scale[1]
            return values.astype(self.precision)
        assert table.classes is not None
        index = {name: place for place, name in enumerate(self.classes)}
        unseen = [name for name in table.classes if name not in index]
        if unseen:
            raise DataError(
                f"class {shown(unseen)} is unknown; the classes are {shown(self.classes, 20)}"
            )
        return np.array([index[name] for name in table.classes], np.int64)[table.target]

    def affine(self) -> Affine | None:
        """All steps as one map of flat features; None if one of them isn't such a map."""
        width = int(np.prod(self.shape))
        whole = Affine(np.ones(width), np.zeros(width))
        for step, state in self.fitted:
            one = step.affine(state)
            if one is None:
                return None
            whole = whole.then(one)
        return whole

    def to_arrays(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """All of it, as arrays and as plain data that JSON can hold."""
        arrays: dict[str, np.ndarray] = {}
        steps = []
        for number, (step, state) in enumerate(self.fitted):
            plain = {k: v for k, v in state.items() if not isinstance(v, np.ndarray)}
            steps.append({"step": step.dump(), "state": plain})
            for name, value in state.items():
                if isinstance(value, np.ndarray):
                    arrays[f"{number}.{name}"] = np.ascontiguousarray(value)
        if self.target_scale is not None:
            arrays["target_mean"], arrays["target_std"] = self.target_scale
        return arrays, {
            "steps": steps,
            "shape": list(self.shape),
            "names": list(self.names),
            "categorical_names": list(self.categorical_names),
            "input_shape": list(self.input_shape),
            "classes": None if self.classes is None else list(self.classes),
            "target_names": list(self.target_names),
            "precision": self.precision,
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray], plain: Mapping[str, Any]) -> Pipeline:
        """What `to_arrays` was called on; DamagedRun if something is missing or not as it was."""
        try:
            steps = [choose(Step, entry["step"]) for entry in plain["steps"]]
            states: list[State] = [dict(entry["state"]) for entry in plain["steps"]]
            for name, value in arrays.items():
                number, _, field = name.partition(".")
                if field:
                    states[int(number)][field] = value
            scaled = "target_mean" in arrays
            return cls(
                steps=tuple(step for step in steps if isinstance(step, Step)),
                states=tuple(states),
                shape=tuple(plain["shape"]),
                names=tuple(plain["names"]),
                categorical_names=tuple(plain["categorical_names"]),
                input_shape=tuple(plain["input_shape"]),
                classes=None if plain["classes"] is None else tuple(plain["classes"]),
                target_names=tuple(plain["target_names"]),
                target_scale=(arrays["target_mean"], arrays["target_std"]) if scaled else None,
                precision=plain["precision"],
            )
        except (KeyError, TypeError, ValueError, IndexError, ValidationError) as error:
            raise DamagedRun(f"the stored preprocessing can't be read: {error}") from None

    def _transformed(self, features: Features) -> tuple[np.ndarray, list[str]]:
        """All rows, a piece at a time, and what the steps find unusual."""
        inputs = np.empty((len(features), *self.input_shape), self.precision)
        unusual: Counter[str] = Counter()
        for piece in features.chunks(np.arange(len(features))):
            rows = features.rows(piece)
            for step, state in self.fitted:
                unusual.update(step.unusual(rows, state))
                rows = step.apply(rows, state)
            inputs[piece] = rows.numeric
        return inputs, [f"{what} ({count} rows)" for what, count in unusual.items()]

    def _aligned(self, features: Features) -> tuple[Features, list[str]]:
        if len(self.shape) != 1:
            if features.shape != self.shape:
                raise DataError(f"examples have shape {features.shape}; in training {self.shape}")
            return features, []
        here = {name: place for place, name in enumerate(features.names)}
        texts = {name: place for place, name in enumerate(features.categorical_names)}
        _check_columns(self, here, texts)
        extra = (here.keys() | texts.keys()) - {*self.names, *self.categorical_names}
        notes = [f"columns that training did not have are ignored: {shown(sorted(extra))}"]
        numeric, order = features.numeric, [here[name] for name in self.names]
        if order != list(range(len(here))):
            numeric = np.asarray(numeric[:])[:, order]
        columns = [texts[name] for name in self.categorical_names]
        found = Features(
            numeric, self.names, features.categorical[:, columns], self.categorical_names
        )
        return found, notes if extra else []


@dataclass(frozen=True)
class Prepared(Pipeline):
    """A table that is ready for training.

    inputs: `[n, *input_shape]`; None when they would not fit in memory, and `gather` reads them.
    targets: class index int64 `[n]`, or scaled values `[n, k]`.
    parts: the rows of "train", "dev" and "test", those that there are.
    features: what is read when inputs is None.
    """

    features: Features
    inputs: np.ndarray | None
    targets_: np.ndarray
    parts: Mapping[str, np.ndarray]
    notes: tuple[str, ...]
