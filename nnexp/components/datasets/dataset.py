"""What every data source does."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import Self

from nnexp.components.table import Located, Table


class Dataset(Located, family="dataset"):
    """A source of examples."""

    @abstractmethod
    def load(self, root: Path = Path(), *, labelled: bool = True) -> Table:
        """Read the data; DataError if that can't be done.

        root: the folder that relative file names are relative to.
        labelled: False to predict: the target may be absent, and is not read from files.
        """

    def resolved(self, table: Table) -> Self:
        """The same source with what was inferred from `table` filled in, so that another file
        of the same kind is read the same way."""
        return self.model_copy(update=table.inferred) if table.inferred else self
