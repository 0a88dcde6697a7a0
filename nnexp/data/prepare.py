"""Fit preprocessing on the training rows and apply it to all, and later to new data.

Data are kept in memory, transformed, when they fit; larger ones stay where they are and are
transformed as they are read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, Literal, cast

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from nnexp.components.preprocessing import Impute, MinMax, OneHot, Standardize, Tokenize
from nnexp.components.preprocessing.columns import shown
from nnexp.components.preprocessing.step import Affine, State, Step, TrainingRows, apply_steps
from nnexp.components.table import CHUNK_ROWS, Features, Table, TargetType
from nnexp.data.checks import (
    check_columns,
    check_steps,
    listed,
    missing_counts,
    target_notes,
    unrepaired,
)
from nnexp.errors import DamagedRun, DataError, count
from nnexp.registry import choose

__all__ = ["Pipeline", "Prepared", "check_steps", "default_steps", "prepare"]

Precision = Literal["float32", "float64"]

RESIDENT_BYTES = 2**30
"""Inputs up to this size are transformed once and kept in memory."""


_HOLDS: dict[TargetType, str] = {
    "classification": "classes",
    "regression": "real-valued",
    "multilabel": "labels",
    "dense": "a class at every position",
    "words": "running text",
}

_MISFITS = (
    LookupError,
    TypeError,
    ValueError,
    AttributeError,
    ArithmeticError,
    MemoryError,
    DataError,
)
Sizes = list[Annotated[int, Field(ge=0, le=2**28)]]


class _StoredStep(BaseModel):
    """A step and the plain part of its state, as `Pipeline.to_arrays` gives them."""

    step: dict[str, Any]
    state: dict[str, Any]


class _Stored(BaseModel):
    """The plain data of `Pipeline.to_arrays`."""

    model_config = ConfigDict(strict=True)

    steps: list[_StoredStep]
    shape: Sizes
    names: list[str]
    categorical_names: list[str]
    input_shape: Sizes
    task: TargetType
    classes: list[str] | None
    target_names: list[str]
    precision: Precision
    class_counts: Sizes | None


@dataclass(frozen=True)
class Pipeline:
    """Fitted preprocessing, and the columns, classes and target scale it was fitted with.

    shape, names, categorical_names: of the features that go in. input_shape: of what comes out.
    target_scale: mean and standard deviation `[k]` that targets are scaled by, if they are.
    class_counts: how many training examples each class had.
    """

    steps: tuple[Step, ...]
    states: tuple[State, ...]
    shape: tuple[int, ...]
    names: tuple[str, ...]
    categorical_names: tuple[str, ...]
    input_shape: tuple[int, ...]
    task: TargetType
    classes: tuple[str, ...] | None
    target_names: tuple[str, ...]
    target_scale: tuple[np.ndarray, np.ndarray] | None
    precision: Precision
    class_counts: tuple[int, ...] | None = None

    @property
    def fitted(self) -> tuple[tuple[Step, State], ...]:
        return tuple(zip(self.steps, self.states, strict=True))

    @cached_property
    def codes(self) -> tuple[int, ...]:
        """For each input column how many codes it holds, 0 for numbers; () if none holds codes.

        DataError if a step changes a column that an earlier one made codes of.
        """
        known, like = dict[str, int](), self._example()
        for step, state in self.fitted:
            if known and (changed := [name for name in step.view(like).names if name in known]):
                raise DataError(
                    f"preprocessing: {step.component}: would change {shown(changed)}, codes for an "
                    "embedding: put it before the step that makes them"
                )
            known |= step.codes(state)
            like = step.apply(like, state)
        return tuple(known.get(name, 0) for name in like.names) if known else ()

    def apply(self, features: Features) -> np.ndarray:
        """Inputs `[n, *input_shape]` for features that have exactly these columns."""
        return np.asarray(apply_steps(self.fitted, features).numeric, self.precision)

    def transform(self, features: Features) -> tuple[np.ndarray, list[str]]:
        """Inputs for new data, and what is unusual about them.

        Columns are found by name and others left out. DataError if some are missing, hold the
        other kind of values, or numbers that can't be used.
        """
        features, notes = self._checked(features)
        inputs, unusual = self.run(features)
        return inputs, notes + unusual

    def on(
        self,
        table: Table,
        parts: Mapping[str, np.ndarray],
        resident_bytes: int = RESIDENT_BYTES,
    ) -> Prepared:
        """Another table, prepared as the one that was fitted on. DataError as `transform`."""
        features, notes = self._checked(table.features)
        inputs = None
        if self.bytes(len(table)) <= resident_bytes:
            inputs, unusual = self.run(features)
            notes += unusual
        targets = self.encode(table)
        return Prepared(self, inputs, targets, table.target, dict(parts), features, tuple(notes))

    def bytes(self, rows: int) -> int:
        """Size of so many rows of inputs."""
        return rows * int(np.prod(self.input_shape)) * np.dtype(self.precision).itemsize

    def encode(self, table: Table) -> np.ndarray:
        """A table's target as training has it: class index `[n]`, or scaled values `[n, k]`.

        Labels stay 0 and 1. DataError if the table's target is of another kind, or has a class
        unseen in training.
        """
        if self.task != table.task:
            was, now = _HOLDS[self.task], _HOLDS[table.task]
            raise DataError(f"the target was {was} in training, and is {now} here")
        if self.task == "words":
            return table.target
        if self.classes is None:
            here, there = table.target.shape[1], len(self.target_names)
            if here != there:
                raise DataError(f"there are {here} targets, and {there} in training")
            values = table.target
            if self.target_scale is not None:
                values = (values - self.target_scale[0]) / self.target_scale[1]
            with np.errstate(over="ignore"):
                return np.asarray(values, self.precision)
        assert table.classes is not None
        index = {name: place for place, name in enumerate(self.classes)}
        unseen = [name for name in table.classes if name not in index]
        if unseen:
            raise DataError(
                f"class {shown(unseen)} is unknown; the classes are {shown(self.classes, 20)}"
            )
        codes = np.array([*(index[name] for name in table.classes), -1], np.int64)
        return np.asarray(codes[table.target])  # the last one, at −1, says that there is none

    def affine(self) -> Affine | None:
        """All steps as one map of flat features; None if one of them isn't such a map."""
        width = int(np.prod(self.shape))
        whole, like = Affine(np.ones(width), np.zeros(width)), self._example()
        for step, state in self.fitted:
            one = step.affine(like, state)
            if one is None:
                return None
            whole, like = whole.then(one), step.apply(like, state)
        return whole

    def _example(self) -> Features:
        """A made-up example with the columns of training."""
        text = np.full((1, len(self.categorical_names)), "", dtype=object)
        return Features(np.zeros((1, *self.shape)), self.names, text, self.categorical_names)

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
            "task": self.task,
            "classes": None if self.classes is None else list(self.classes),
            "target_names": list(self.target_names),
            "precision": self.precision,
            "class_counts": None if self.class_counts is None else list(self.class_counts),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray], plain: Mapping[str, Any]) -> Pipeline:
        """What `to_arrays` was called on; DamagedRun if something is missing or not as it was."""
        try:
            stored = _Stored.model_validate(plain)
            states: list[State] = [dict(entry.state) for entry in stored.steps]
            for name, value in arrays.items():
                number, _, field = name.partition(".")
                if field:
                    states[int(number)][field] = value
            scaled = "target_mean" in arrays
            pipeline = cls(
                steps=tuple(cast(Step, choose(Step, entry.step)) for entry in stored.steps),
                states=tuple(states),
                shape=tuple(stored.shape),
                names=tuple(stored.names),
                categorical_names=tuple(stored.categorical_names),
                input_shape=tuple(stored.input_shape),
                task=stored.task,
                classes=None if stored.classes is None else tuple(stored.classes),
                target_names=tuple(stored.target_names),
                target_scale=(arrays["target_mean"], arrays["target_std"]) if scaled else None,
                precision=stored.precision,
                class_counts=None if stored.class_counts is None else tuple(stored.class_counts),
            )
            pipeline._try()
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            raise DamagedRun(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None
        except _MISFITS as error:
            raise DamagedRun(f"it does not fit together: {error}") from None
        return pipeline

    def _try(self) -> None:
        """Prepares a made-up example, so that what was stored fits together where that works."""
        table = len(self.shape) == 1
        if len(self.names) != (self.shape[0] if table else 0):
            raise ValueError("there is not a name for each column")
        if (self.classes is None) == (self.task in ("classification", "dense", "words")):
            raise ValueError("the classes do not fit the task")
        if self.class_counts is not None and len(self.class_counts) != len(self.classes or ()):
            raise ValueError("there is not a count for each class")
        for step, state in self.fitted:
            if isinstance(step, Tokenize) and state["length"] > self.input_shape[0]:
                raise ValueError(f"it gives more tokens than the network's {self.input_shape[0]}")
        one = self._example()
        with np.errstate(all="ignore"):
            found = apply_steps(self.fitted, one).shape
            if found != self.input_shape:
                raise ValueError(f"it gives examples of shape {found}, not {self.input_shape}")
            self.run(one)
            if self.target_scale is not None:
                mean, std = self.target_scale
                if mean.shape != std.shape or mean.shape != (len(self.target_names),):
                    raise ValueError("the targets' scale does not fit the targets")

    def run(self, features: Features) -> tuple[np.ndarray, list[str]]:
        """As `apply`, a piece at a time, and what the steps find unusual about the rows."""
        inputs = np.empty((len(features), *self.input_shape), self.precision)
        unusual: Counter[str] = Counter()
        for piece in features.chunks(np.arange(len(features))):
            rows = features.rows(piece)
            for step, state in self.fitted:
                unusual.update(step.unusual(rows, state))
                rows = step.apply(rows, state)
            with np.errstate(over="ignore"):
                inputs[piece] = rows.numeric
        return inputs, [f"{what} ({count(found, 'row')})" for what, found in unusual.items()]

    def _checked(self, features: Features) -> tuple[Features, list[str]]:
        features, notes = self._aligned(features)
        missing = missing_counts(features, np.arange(len(features)))
        if left := unrepaired(self.steps, features, missing):
            where = listed(features, np.where([n in left for n in features.labels], missing, 0))
            raise DataError(f"there are missing values, and none were in training: {where}")
        return features, notes

    def _aligned(self, features: Features) -> tuple[Features, list[str]]:
        if len(self.shape) != 1:
            if features.shape != self.shape:
                raise DataError(f"examples have shape {features.shape}; in training {self.shape}")
            return features, []
        here = {name: place for place, name in enumerate(features.names)}
        texts = {name: place for place, name in enumerate(features.categorical_names)}
        check_columns((self.names, self.categorical_names), here, texts)
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
class Prepared:
    """A table that is ready for training.

    inputs: `[n, *input_shape]`; None when they don't fit in memory, and `gather` reads them.
    targets: class index int64 `[n]`, or (scaled) values `[n, k]`; original: as the table has them.
    parts: the rows of "train", "dev" and "test", those that there are.
    features: what `gather` reads when inputs is None.
    notes: what a user should know about the preprocessing.
    """

    pipeline: Pipeline
    inputs: np.ndarray | None
    targets: np.ndarray
    original: np.ndarray
    parts: Mapping[str, np.ndarray]
    features: Features
    notes: tuple[str, ...]

    @property
    def input_shape(self) -> tuple[int, ...]:
        return self.pipeline.input_shape

    @property
    def classes(self) -> tuple[str, ...] | None:
        return self.pipeline.classes

    @property
    def target_scale(self) -> tuple[np.ndarray, np.ndarray] | None:
        return self.pipeline.target_scale

    def gather(self, index: np.ndarray) -> np.ndarray:
        """Inputs of some rows, `[len(index), *input_shape]`."""
        if self.inputs is not None:
            return np.asarray(self.inputs[index])
        return self.pipeline.apply(self.features.rows(index))

    def to_arrays(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """The fitted preprocessing for storage; see Pipeline.to_arrays."""
        return self.pipeline.to_arrays()


def prepare(
    table: Table,
    parts: Mapping[str, np.ndarray],
    steps: Sequence[Step],
    precision: Precision = "float32",
    scale_target: bool = False,
    resident_bytes: int = RESIDENT_BYTES,
) -> Prepared:
    """Fit the steps on the training rows, in their order, and apply them to all rows.

    scale_target: standardize real-valued targets by the training rows' mean and deviation.
    DataError if the data can't be used so: all reasons that are found at once, in one message.
    """
    features, train = table.features, parts["train"]
    notes = [*target_notes(table, train), *getattr(parts, "notes", ())]
    used = np.sort(np.concatenate(list(parts.values())))
    missing = missing_counts(features, used)
    if problems := check_steps(steps, features, missing, table.task):
        names = [step.component for step in steps]
        lines = [": ".join(["preprocessing", *names[i : i + 1], why]) for i, why in problems]
        lines += [f"missing values: {listed(features, missing)}"] if missing.any() else []
        raise DataError("\n".join(lines))
    fitted: tuple[tuple[Step, State], ...] = ()
    for step in steps:
        state = _fit(step, TrainingRows(features, train, table.target[train], fitted))
        fitted = (*fitted, (step, state))
        notes += state["notes"]
    scaled = scale_target and table.task == "regression"
    pipeline = Pipeline(
        steps=tuple(step for step, _ in fitted),
        states=tuple(state for _, state in fitted),
        shape=features.shape,
        names=features.names,
        categorical_names=features.categorical_names,
        input_shape=apply_steps(fitted, features.rows(train[:1])).shape,
        task=table.task,
        classes=table.classes,
        target_names=table.target_names,
        target_scale=_scale(table, train) if scaled else None,
        precision=precision,
        class_counts=_class_counts(table, train),
    )
    inputs = None
    size = pipeline.bytes(len(table))
    if size <= resident_bytes:
        inputs, unusual = pipeline.run(features)
        _check_range(inputs, features, used, precision)
        notes += unusual
    else:  # then text, which a table of this size hardly has, is not looked at for unseen values
        notes.append(f"the inputs take {size / 2**30:.1f} GiB: they are read as they are needed")
    targets = pipeline.encode(table)
    if not np.isfinite(targets[used]).all():
        hint = "" if scaled else ", or set `data.scale_target: true`"
        raise _huge_target(table, used, hint)
    return Prepared(pipeline, inputs, targets, table.target, dict(parts), features, tuple(notes))


def default_steps(table: Table) -> list[Step]:
    """The preprocessing of a table when the config says nothing.

    Missing values are imputed, tables standardized, text becomes one-hot (after it, so that its
    columns stay 0 and 1); images are brought to [0, 1] if they are whole numbers, and otherwise
    standardized by one mean and deviation; text that the source gives as sequences becomes codes.
    """
    features = table.features
    if table.task == "words":
        return []
    if table.sequences:
        column, (unit, length) = next(iter(table.sequences.items()))
        return [Tokenize(columns=[column], unit=unit, length=length)]
    if features.is_image and features.numeric.dtype.kind in "biu":
        return [MinMax(per="global")]
    steps: list[Step] = []
    numbers = missing_counts(features, np.arange(len(features)))
    if numbers.any() or (features.categorical == None).any():  # noqa: E711
        steps.append(Impute())
    if features.width:
        steps.append(Standardize(per="global" if features.is_image else "feature"))
    if features.categorical_names:
        steps.append(OneHot())
    return steps


def _fit(step: Step, rows: TrainingRows) -> State:
    with np.errstate(over="ignore", invalid="ignore"):
        state = step.fit(rows)
    for value in state.values():
        if isinstance(value, np.ndarray) and not np.isfinite(value).all():
            where = _largest(rows.features, rows.index)
            raise DataError(
                f"preprocessing: {step.component}: the values are too large to compute with: "
                f"{where}; correct or rescale them"
            )
    return state


def _largest(features: Features, rows: np.ndarray) -> str:
    """The column that holds the number furthest from 0, and that number."""
    furthest = np.zeros(features.width)
    for piece in features.chunks(rows):
        x = np.abs(np.asarray(features.numeric[piece], np.float64)).reshape(len(piece), -1)
        furthest = np.fmax(furthest, np.fmax.reduce(x, axis=0))
    place = int(np.argmax(furthest))
    return f"{features.labels[place]} goes to ±{furthest[place]:.3g}"


def _check_range(inputs: np.ndarray, features: Features, rows: np.ndarray, precision: str) -> None:
    for start in range(0, len(rows), CHUNK_ROWS):
        if not np.isfinite(inputs[rows[start : start + CHUNK_ROWS]]).all():
            raise DataError(
                f"preprocessing: some values are too large for {precision} "
                f"({_largest(features, rows)}): add `standardize`"
            )


def _class_counts(table: Table, train: np.ndarray) -> tuple[int, ...] | None:
    if table.classes is None:
        return None
    if table.word_counts is not None:
        return tuple(table.word_counts.tolist())
    found = table.target[train]
    return tuple(np.bincount(found[found >= 0], minlength=len(table.classes)).tolist())


def _scale(table: Table, train: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation of the training targets; a constant one is only centred."""
    target = table.target[train]
    with np.errstate(over="ignore", invalid="ignore"):
        mean, std = target.mean(axis=0), target.std(axis=0)
    if not (np.isfinite(mean).all() and np.isfinite(std).all()):
        raise _huge_target(table, train)
    constant = (target.min(axis=0) == target.max(axis=0)) | (std < np.finfo(np.float64).tiny)
    return mean, np.where(constant, 1.0, std)


def _huge_target(table: Table, train: np.ndarray, hint: str = "") -> DataError:
    furthest = float(np.abs(table.target[train]).max())
    return DataError(
        f"target {shown(table.target_names)}: the values are too large to compute with (up to "
        f"±{furthest:.3g}): correct or rescale them{hint}"
    )
