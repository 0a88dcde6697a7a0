"""`nnexp ensemble`: several runs as one that answers their mean."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nnexp.cli.options import AsJson


def ensemble(
    paths: Annotated[
        list[Path], typer.Argument(metavar="RUN…", help="Runs, or groups for all their members.")
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="DIR", help="Where the committee is written.")
    ] = Path("runs"),
    name: Annotated[str, typer.Option(help="Its name.")] = "ensemble",
    as_json: AsJson = False,
) -> None:
    """Make a committee of runs, which answers with their mean.

    Probabilities are averaged where the loss gives them, and numbers in their units. The runs
    must share task, classes, loss, data and test split. The committee holds copies of them, and
    `eval`, `predict`, `compare` and `show` take it as any run. Its path is printed last.

    \b
    Examples:
      nnexp ensemble runs/digits/2026-11-20T10-15-02-3f9a
      nnexp ensemble runs/mlp/… runs/cnn/… --name both
    """
    from nnexp.cli import console
    from nnexp.cli.summary import show_summary
    from nnexp.runs.rundir import RunDir

    for path in paths:
        RunDir.open(path)  # tells quickly what is wrong
    from nnexp.runs.ensemble import ensemble as make

    run, notes = make(paths, out, name)
    for text in notes:
        console.note(text)
    summary = run.read_summary()
    if as_json:
        console.say_json({**summary, "path": str(run.path)})
        return
    show_summary(summary)
    console.say(str(run.path))
