"""What every data source does."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from nnexp.components.table import Located, Table
from nnexp.errors import UsageError


class Dataset(Located, family="dataset"):
    """A source of examples."""

    @abstractmethod
    def load(self, root: Path = Path(), *, labelled: bool = True) -> Table:
        """Read the data; DataError if that can't be done.

        root: the folder that relative file names are relative to.
        labelled: False to predict: the target may be absent, and is not read from files.
        """

    @property
    def has_dev(self) -> bool:
        """Whether it brings a dev part, as far as the config says."""
        return False

    def resolved(self, table: Table) -> Self:
        """The same source with what was inferred from `table` filled in, so that another file
        of the same kind is read the same way."""
        return self.model_copy(update=table.inferred) if table.inferred else self

    def at(self, path: Path) -> Dataset:
        """The same kind of data in another file. UsageError if that can't be one file."""
        if len(self.paths) != 1:
            what = "a builtin data set" if not self.paths else f"{self.component} files"
            raise UsageError(f"--data takes one file; this run was trained on {what}")
        return self.model_copy(update={self.paths[0]: str(path.absolute())})

    def knowing(self, classes: Sequence[str]) -> Self:
        """The same source, for new data of a run that was trained with these classes."""
        return self
