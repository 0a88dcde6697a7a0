"""`nnexp diagnose`: what a finished training tells, and what to do next."""

from __future__ import annotations

from typing import Annotated

import typer

from nnexp.cli import console
from nnexp.cli.options import AsJson, Run


def diagnose(
    run: Run,
    best_possible: Annotated[
        str | None,
        typer.Option(
            metavar="ERROR",
            help="The error that nobody can beat, such as a person's: 0.02 or 2%; of an rmse or "
            "mae in the target's units. [default: a baseline's, else 0]",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Say what held a training back, and what to do next.

    Bias and variance, where overfitting began, whether the training was over, whether the last
    epochs differ by noise only, the layers, the worst examples, confused classes, calibration; then
    the one step to take first. Of a group: over its models. Everything is judged on dev (without
    one, on test).

    \b
    Examples:
      nnexp diagnose runs/digits/2026-11-20T10-15-02-3f9a
      nnexp diagnose runs/digits/2026-11-20T10-15-02-3f9a --best-possible 2%
    """
    from nnexp.analysis.diagnosing.diagnosis import diagnose as look

    found = look(run, best_possible)
    if as_json:
        console.say_json(found.to_json())
        return
    from nnexp.cli.diagnosing import show_diagnosis

    show_diagnosis(found)
