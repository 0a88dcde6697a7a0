"""What the commands that draw share: where a picture goes, and what it is called."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from nnexp.cli import console

Out = Annotated[
    Path,
    typer.Option("--output", "-o", metavar="FILE", help="The picture: .png, .svg or .pdf."),
]


def save(figure: Any, path: Path) -> None:
    """Write a figure, and say where it is."""
    from nnexp.report.figures.style import save as write

    write(figure, path)
    console.say_path(path)


def titles(runs: list[Path]) -> list[str]:
    """A name for each run: that of its config where they differ in it, else with its folder's."""
    whole = [path.absolute() for path in runs]
    owners = [path.parent.name for path in whole]
    if len(set(owners)) == len(runs):
        return owners
    named = [f"{path.parent.name}/{path.name}" for path in whole]
    return named if len(set(named)) == len(runs) else list(map(str, runs))
