"""Components of a user's own, from Python."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path

from nnexp.config import plugins


@contextmanager
def plugged(*files: str | PathLike[str]) -> Iterator[None]:
    """Runs Python files with components; they are there until the end of the `with` block.

    As `nnexp --plugin FILE …`; a run keeps copies. Raises UsageError for what is wrong in one.
    """
    with plugins.plugged([Path(file) for file in files]):
        yield
