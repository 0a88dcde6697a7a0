"""Parquet files, through pandas and pyarrow, and DataFrames as columns of numbers or text."""

from __future__ import annotations

import importlib.util
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np

from nnexp.components.datasets.delimited import Columns, Form
from nnexp.errors import DataError


def read_parquet(path: Path) -> Columns:
    """The columns of a file; rows are counted from 0. DataError if it can't be read."""
    if importlib.util.find_spec("pyarrow") is None:
        raise DataError(
            f'{path}: reading parquet needs pyarrow; pip install "nnexp[parquet]" brings it'
        )
    import pandas as pd

    with path.open("rb") as file:
        if file.read(4) != b"PAR1":
            raise DataError(f"{path}: is not a parquet file")
    try:
        frame = pd.read_parquet(path, engine="pyarrow")
    except Exception as error:  # of damaged bytes pyarrow may raise anything
        reason = str(error).split("\n")[0][:200]
        raise DataError(f"{path}: can't be read as parquet ({reason})") from None
    if not frame.index.equals(pd.RangeIndex(len(frame))):
        frame = frame.reset_index()  # an index that was saved is a column
    return frame_columns(path, frame)


def frame_columns(place: Path, frame: Any) -> Columns:
    """The columns of a DataFrame, without its index; rows are counted from 0.

    place: where it came from, for messages. DataError if it holds what is no number and no text.
    """
    names = [str(name) for name in frame.columns]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise DataError(f"{place}: column names are repeated: {', '.join(repeated[:10])}")
    if not len(frame) or not names:
        raise DataError(f"{place}: is empty ({len(frame)} rows, {len(names)} columns)")
    values = tuple(_column(place, names[i], frame.iloc[:, i]) for i in range(len(names)))
    return Columns(tuple(names), values, np.arange(len(frame)), Form(), (), "row")


def _column(path: Path, name: str, column: Any) -> np.ndarray:
    """float64 (NaN: missing) or object array of str (None: missing)."""
    import pandas as pd

    kinds = pd.api.types
    if kinds.is_complex_dtype(column.dtype):
        raise DataError(f"{path}: column {name} holds complex numbers")
    if kinds.is_datetime64_any_dtype(column.dtype):
        utc = pd.to_datetime(column, utc=True)
        days = (utc - pd.Timestamp("1970-01-01", tz="UTC")) / pd.Timedelta(days=1)
        return np.asarray(days, np.float64)
    if kinds.is_timedelta64_dtype(column.dtype):
        return np.asarray(column / pd.Timedelta(days=1), np.float64)
    if kinds.is_numeric_dtype(column.dtype):  # booleans are
        return np.asarray(column.to_numpy(np.float64, na_value=np.nan))
    absent = column.isna().to_numpy()
    found = [None if no else v for v, no in zip(column.tolist(), absent, strict=True)]
    present = [value for value in found if value is not None]
    if present and all(isinstance(v, (bool, int, float, Decimal)) for v in present):
        return np.array([np.nan if v is None else float(v) for v in found], np.float64)
    for row, value in enumerate(found):
        if isinstance(value, (list, dict, bytes, np.ndarray)):
            raise DataError(
                f"{path}: column {name} holds {type(value).__name__} values (row {row}), neither "
                "numbers nor text; `drop` does not help: leave it out beforehand"
            )
    return np.array([None if value is None else str(value) for value in found], dtype=object)
