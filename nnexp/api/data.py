"""DataFrames, arrays and lists as a data source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from nnexp.components.datasets.memory import PLACE, Held
from nnexp.components.datasets.parquet import frame_columns
from nnexp.errors import DataError, UsageError, count

Frame: TypeAlias = Any
"""A pandas DataFrame."""
Target: TypeAlias = str | int | list[str | int]

_CHANNELS = (1, 3, 4)


def to_fit(X: Any, y: Any, target: Target | None, others: Mapping[str, Any]) -> tuple[Held, Target]:
    """Data to train on, and the names of what is to be predicted.

    y: the targets; or target: their columns in X. others: the data of "dev" and "test" by these
    names, as `(X, y)`, or as one table if `target` names its columns.
    UsageError when it isn't clear what is to be predicted, DataError for data that can't be used.
    """
    if isinstance(y, str) and target is None:
        y, target = None, y
    if y is None and target is None:
        names = ", ".join(map(str, X.columns[:20])) if _is_frame(X) else ""
        there = f" (columns: {names}{', …' if len(X.columns) > 20 else ''})" if names else ""
        raise UsageError(f'what is to be predicted? fit(X, y), or fit(df, target="…"){there}')
    if y is not None and target is not None:
        raise UsageError("fit takes y or target, not both")
    pieces, rows, size = [], dict[str, np.ndarray](), 0
    for part, given in {"train": (X, y), **others}.items():
        piece = _piece(part, given, target)
        if part != "train":
            rows[part] = np.arange(size, size + len(piece.inputs))
        size += len(piece.inputs)
        pieces.append(piece)
    whole = _stacked(pieces)
    return _held(whole, rows), whole.target if target is None else target


def described(held: Held, target: Target, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The data as `data.source` in a config has them; settings: what the user says of them.

    That the target is text is written down: it may look like numbers.
    """
    found = {"name": "memory", "what": held.what, "target": target, **settings}
    if held.parts:
        found["parts"] = list(held.parts)
    types = settings.get("types") or {}
    if isinstance(target, str) and _is_text(held, target) and isinstance(types, Mapping):
        found["types"] = {target: "categorical", **types}
    return found


def _is_text(held: Held, target: str) -> bool:
    if held.columns is None:
        return held.labels is not None and held.labels.dtype.kind == "U"
    return target in held.columns.names and held.arrays[target].dtype == object


def class_names(names: Sequence[str], source: Mapping[str, Any], target: str) -> np.ndarray:
    """Names of classes as the data had them: those that were numbers as numbers.

    source: `data.source` of the run that learnt them.
    """
    if (source.get("types") or {}).get(target) != "categorical":
        for kind, form in ((int, "d"), (float, ".12g")):
            try:
                values = [kind(name) for name in names]
            except ValueError:
                continue
            if [format(value, form) for value in values] == list(names):
                return np.array(values)
    return np.array(names, object)


def to_score(X: Any, y: Any, names: Sequence[str], targets: Sequence[str]) -> Held:
    """New examples for a run; their targets are y, or (y is None) columns of X, or there are none.

    names: the columns that the run was trained on, () for images; an array has them in that order.
    targets: what the run predicts.
    """
    inputs = _rows(X, "X")
    if y is not None and _is_frame(inputs):
        inputs = inputs.drop(columns=[name for name in targets if name in inputs.columns])
    piece = _Piece(inputs, None, []) if y is None else _joined(inputs, _answers(y, targets))
    fits = not _is_frame(inputs) and inputs.ndim == 2 and inputs.shape[1] == len(names)
    return _held(piece, {}, tuple(names) if fits else ())


# -- one table -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Piece:
    """Examples: a DataFrame with the target among its columns, or an array and its labels."""

    inputs: Any
    labels: np.ndarray | None
    target: Target


def _piece(part: str, given: Any, target: Target | None) -> _Piece:
    """The examples of a part, with their targets."""
    what = "X" if part == "train" else part
    if target is None:
        if not isinstance(given, tuple) or len(given) != 2:
            raise UsageError(f"{part} should be a pair: {part}=(X, y)")
        return _joined(_rows(given[0], what), _answers(given[1], ()))
    inputs = _rows(given[0] if part == "train" else given, what)
    if not _is_frame(inputs):
        if inputs.ndim != 2:
            raise UsageError(f"{what} has no columns that could be the target: fit(X, y)")
        inputs = _frame(inputs)
    return _Piece(inputs, None, target)


def _joined(inputs: Any, answers: Frame) -> _Piece:
    """Examples with their targets; DataError if these are not as many."""
    if len(answers) != len(inputs):
        raise DataError(
            f"X has {count(len(inputs), 'row')} and y has {len(answers):,}: they should be as many"
        )
    names = list(answers.columns)
    target: Target = names[0] if len(names) == 1 else names
    if not _is_frame(inputs):
        labels = [_labels(answers.iloc[:, i], name) for i, name in enumerate(names)]
        several = len(labels) > 1
        found = np.stack(labels, axis=1) if several else labels[0]
        return _Piece(inputs, found, "target" if several else target)
    if again := [name for name in names if name in map(str, inputs.columns)]:
        raise DataError(
            f"X has a column {again[0]}, as y is called, so the target would be among the inputs: "
            f'leave it out of X, or fit(X, target="{again[0]}")'
        )
    whole = _pandas().concat([inputs, answers.set_axis(inputs.index, axis=0)], axis=1)
    return _Piece(whole, None, target)


def _stacked(pieces: Sequence[_Piece]) -> _Piece:
    """Several tables, one below the other."""
    first = pieces[0]
    if len(pieces) == 1:
        return first
    if len({_is_frame(piece.inputs) for piece in pieces}) > 1:
        raise DataError("dev and test should be of the same kind as X: all tables, or all arrays")
    if _is_frame(first.inputs):
        for piece in pieces[1:]:
            if apart := set(piece.inputs.columns) ^ set(first.inputs.columns):
                names = ", ".join(sorted(map(str, apart)))
                raise DataError(f"dev and test should have the columns of X; not in all: {names}")
        return _Piece(_pandas().concat([p.inputs for p in pieces]), None, first.target)
    shapes = dict.fromkeys(piece.inputs.shape[1:] for piece in pieces)
    if len(shapes) > 1:
        shown = ", ".join(map(str, shapes))
        raise DataError(f"dev and test should have examples of X's shape; there are {shown}")
    labels = [piece.labels for piece in pieces if piece.labels is not None]
    inputs = np.concatenate([piece.inputs for piece in pieces])
    return _Piece(inputs, np.concatenate(labels), first.target)


def _held(piece: _Piece, parts: Mapping[str, np.ndarray], names: tuple[str, ...] = ()) -> Held:
    inputs = piece.inputs
    tail = "".join(f", of which {len(rows):,} for {part}" for part, rows in parts.items())
    if not _is_frame(inputs):
        shape = " × ".join(map(str, inputs.shape))
        return Held(
            f"an array of {shape} numbers{tail}", None, inputs, piece.labels, names, parts=parts
        )
    what = f"a DataFrame of {count(len(inputs), 'row')} and {inputs.shape[1]} columns{tail}"
    columns = frame_columns(PLACE, inputs)
    return Held(what, columns, ids=_ids(inputs.index), parts=parts)


def _ids(index: Any) -> np.ndarray | None:
    """An index that tells the rows apart, as ids; None for one that only counts them."""
    pd = _pandas()
    if isinstance(index, pd.MultiIndex) or not index.is_unique or index.hasnans:
        return None
    if index.equals(pd.RangeIndex(len(index))):
        return None
    if pd.api.types.is_integer_dtype(index.dtype):
        return np.asarray(index, np.int64)
    ids = np.array([str(value) for value in index])
    return ids if len(np.unique(ids)) == len(ids) else None


# -- what may be handed over -----------------------------------------------------------------------


def _rows(X: Any, what: str) -> Any:
    """A DataFrame, or an array of numbers."""
    pd = _pandas()
    if isinstance(X, (str, Path)):
        raise UsageError(f"{what} is text; of a file the config tells: data.source in YAML")
    if isinstance(X, pd.DataFrame):
        return X
    if isinstance(X, pd.Series):
        return X.to_frame()
    if hasattr(X, "to_pandas"):  # polars, pyarrow
        return _rows(X.to_pandas(), what)
    if hasattr(X, "toarray"):
        raise DataError(f"{what} is a sparse matrix: hand over {what}.toarray()")
    if isinstance(X, Mapping) or (isinstance(X, list) and X and isinstance(X[0], Mapping)):
        try:
            return pd.DataFrame(X)
        except ValueError as error:
            raise DataError(f"{what} can't be a table: {error}") from None
    return _array(X, what)


def _array(X: Any, what: str) -> Any:
    """An array of numbers; a DataFrame if it holds text."""
    try:
        array = np.asarray(X)
    except (ValueError, TypeError, RuntimeError) as error:
        reason = str(error).partition("\n")[0]
        raise DataError(f"{what} can't be made an array: {reason}") from None
    if array.ndim == 0:
        raise DataError(f"{what} should hold rows (received: {type(X).__name__})")
    if array.dtype.kind in "OUS" and array.ndim <= 2:
        return _frame(array.reshape(len(array), -1))
    if array.dtype.kind not in "biuf":
        raise DataError(f"{what} holds {array.dtype}, neither numbers nor text")
    if array.ndim == 4 and array.shape[3] in _CHANNELS and array.shape[1] not in _CHANNELS:
        raise DataError(
            f"{what} has shape {array.shape}: images are [n, channels, height, width], so hand "
            f"over {what}.transpose(0, 3, 1, 2)"
        )
    return array


def _answers(y: Any, targets: Sequence[str]) -> Frame:
    """Targets as a DataFrame, a column each, called by `targets`, else as they are."""
    pd = _pandas()
    found = _rows(y, "y")
    named = isinstance(y, (pd.Series, pd.DataFrame, Mapping)) or hasattr(y, "to_pandas")
    if not _is_frame(found):
        if found.ndim > 2:
            raise DataError(f"y has shape {found.shape}; [n] or [n, k] expected")
        found = pd.DataFrame(found.reshape(len(found), -1))
    width = found.shape[1]
    names = list(targets) if len(targets) == width else []
    if not names and named and all(isinstance(name, str) for name in found.columns):
        names = list(found.columns)
    if not names:
        names = ["target"] if width == 1 else [f"target{i}" for i in range(width)]
    return found.set_axis(names, axis=1)


def _labels(column: Any, name: str) -> np.ndarray:
    """A target as sources of arrays have it: whole numbers stay whole, text is text."""
    if isinstance(column.dtype, np.dtype) and column.dtype.kind in "biuf":
        return np.asarray(column)
    (values,) = frame_columns(PLACE, column.to_frame()).values
    if values.dtype != object:
        return np.asarray(values)
    if absent := [row for row, value in enumerate(values.tolist()) if value is None]:
        rows = ", ".join(map(str, absent[:5])) + (", …" if len(absent) > 5 else "")
        lacking = count(len(absent), "row")
        raise DataError(f"{PLACE}: target {name} has no value in {lacking} (row {rows})")
    return np.asarray(values.astype(str))


def _frame(array: np.ndarray) -> Frame:
    return _pandas().DataFrame(array, columns=[f"x{i}" for i in range(array.shape[1])])


def _is_frame(value: Any) -> bool:
    return isinstance(value, _pandas().DataFrame)


def _pandas() -> Any:
    import pandas

    return pandas
