"""Which examples train, which choose between models (dev), which are kept for the end (test)."""

from __future__ import annotations

from pathlib import Path

from nnexp.components.table import Table
from nnexp.data.holdout import Split, read_index
from nnexp.data.splitter import PARTS, Parts, Splitter, allocate
from nnexp.data.structured import Grouped, KFold, Ordered

__all__ = [
    "PARTS",
    "Grouped",
    "KFold",
    "Ordered",
    "Parts",
    "Split",
    "Splitter",
    "allocate",
    "assign",
    "read_index",
]


def assign(split: Splitter, table: Table, root: Path = Path()) -> Parts:
    """The rows of each part of a table; see Splitter.assign."""
    return split.assign(table, root)
