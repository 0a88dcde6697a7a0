"""`nnexp init`: a first config for a data file."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from nnexp.cli import console
from nnexp.cli.options import AsJson
from nnexp.errors import UsageError


def init(
    data: Annotated[
        Path,
        typer.Argument(
            metavar="DATA", help="A csv, parquet, npy, npz or idx file, or a data set's name."
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="The config. [default: DATA's name]"),
    ] = None,
    target: Annotated[
        list[str] | None,
        typer.Option(metavar="COLUMN", help="What to predict, by name or number; repeatable."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a config that exists.")] = False,
    as_json: AsJson = False,
) -> None:
    """Look at a data file and write a config that trains as it is.

    Comments in it say what was found, and what else could be written.

    \b
    Examples:
      nnexp init measurements.csv
      nnexp init adult.csv --target income -o first.yaml
      nnexp init digits
    """
    path = output or Path(f"{data.name.partition('.')[0] or 'data'}.yaml")
    _check_output(path, data, force)
    from nnexp.config.starter import write_starter
    from nnexp.data.survey import survey
    from nnexp.runs.files import write_text

    found = survey(data, target or ())
    starter = write_starter(data, found, path.absolute().parent)
    write_text(path, starter.text)
    following = f"nnexp train {shlex.quote(str(path))}"
    if as_json:
        console.say_json(
            {
                "config": path,
                "rows": len(starter.table),
                "task": starter.table.task,
                "target": starter.table.target_names,
                "classes": starter.table.classes,
                "source": starter.source,
                "columns": [vars(column) for column in found.columns],
                "facts": dict(starter.facts),
                "notes": starter.notes,
                "next": following,
            }
        )
        return
    width = max(len(what) for what, _ in starter.facts)
    for what, text in starter.facts:
        console.say_parts([(f"  {what:{width}}  ", "dim"), (text, "")])
    for note in starter.notes:
        console.note(f"note: {note}")
    console.say_path(path, "bold")
    console.say(f"next: {following}")


def _check_output(path: Path, data: Path, force: bool) -> None:
    if path.absolute() == data.absolute():
        raise UsageError(f"{path} is the data: name another file with -o")
    if path.is_dir() or not path.absolute().parent.is_dir():
        what = "is a folder" if path.is_dir() else "would be in a folder that does not exist"
        raise UsageError(f"{path} {what}: name a file with -o")
    if path.exists() and not force:
        raise UsageError(f"{path} exists: --force replaces it, -o names another file")
