"""Arguments and options that several commands share."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from nnexp.errors import UsageError


class Part(StrEnum):
    """A part of the data."""

    TRAIN = "train"
    DEV = "dev"
    TEST = "test"


class Device(StrEnum):
    """What training.device may be."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"


Experiment = Annotated[
    Path | None, typer.Argument(metavar="CONFIG", help="The experiment, a YAML file.")
]
Run = Annotated[Path, typer.Argument(metavar="RUN", help="A run's or a group's directory.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Set a key of the config; repeatable."),
]
Workers = Annotated[
    int | None, typer.Option(min=1, metavar="N", help="Processes that train. [default: one a core]")
]
Where = Annotated[Device, typer.Option(help="Where to train; auto: on a GPU if there is one.")]
Folder = Annotated[
    Path | None, typer.Option(metavar="DIR", help="Where it is written. [default: runs]")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print the path only.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
DataRoot = Annotated[
    Path | None, typer.Option(metavar="DIR", help="Where the run's data files are now.")
]


def check_data_root(folder: Path | None) -> None:
    """Raises UsageError if it is given, and no folder."""
    if folder is not None and not folder.is_dir():
        raise UsageError(f"--data-root: there is no folder {folder}")
