"""`nnexp report`: what runs were and what came out, as one page for a browser."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nnexp.cli import console
from nnexp.cli.options import Part


def report(
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN …",
            help="A run, a group, a sweep, an ablation or a curve; or several runs or groups.",
        ),
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="FILE", help="The .html file to write.")
    ] = Path("report.html"),
    metric: Annotated[
        str | None,
        typer.Option(help="What a comparison's verdict is about. [default: the primary one]"),
    ] = None,
    margin: Annotated[
        float | None, typer.Option(help="Differences smaller than this don't matter.")
    ] = None,
    split: Annotated[Part, typer.Option(help="The part of the data to compare on.")] = Part.TEST,
) -> None:
    """Write one page with scores, curves, diagnosis and pictures.

    The page needs nothing but itself: it can be sent and opened anywhere, in light or dark, on a
    phone, too. Of several runs or groups it begins with the verdicts of `nnexp compare`.

    \b
    Examples:
      nnexp report runs/digits/2026-11-20T10-15-02-3f9a -o digits.html
      nnexp report runs/constant/… runs/1cycle/… -o comparison.html
      nnexp report runs/sweep-digits/… -o sweep.html
      nnexp report runs/digits-curve/… -o curve.html
    """
    from nnexp.report.html.page import write_report

    write_report(paths, out, metric, margin, split.value)
    console.say_path(out)
