"""`nnexp plot schedule` and `nnexp plot surface`: how rates go, and how optimizers move."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from nnexp.cli import console
from nnexp.cli.options import Overrides
from nnexp.cli.picture import Out, save, titles
from nnexp.errors import UsageError


class Function(StrEnum):
    """Losses of two parameters."""

    ROSENBROCK = "rosenbrock"
    BEALE = "beale"
    SADDLE = "saddle"


def schedule(
    what: Annotated[
        Path, typer.Argument(metavar="CONFIG|RUN", help="A config, or a run or group as it ran.")
    ],
    output: Out,
    set_: Overrides = None,
) -> None:
    """Draw learning rate and momentum, as planned or as they ran.

    Of a config the plan, before anything is trained; of a run what it did.

    \b
    Examples:
      nnexp plot schedule digits.yaml --set schedule=one_cycle -o schedule.png
      nnexp plot schedule runs/digits/2026-11-20T10-15-02-3f9a -o schedule.svg
    """
    from nnexp.report.figures.schedule import schedule as draw
    from nnexp.report.figures.style import check_path

    check_path(output)
    course: Any
    if what.is_dir():
        if set_:
            raise UsageError("--set changes a config; a run is drawn as it was")
        from nnexp.analysis.pictures import as_ran, members_of

        course = as_ran(members_of(what))
        title = f"{titles([what])[0]}: {course.name}, as it ran"
    else:
        course = _planned(what, set_ or [])
        title = f"{what.name}: {course.name}, as planned"
    for note in course.notes:
        console.note(note, "warning")
    save(draw(course.epochs, course.values, title, course.recorded), output)


def _planned(path: Path, overrides: list[str]) -> Any:
    from nnexp.analysis.pictures import planned
    from nnexp.config.load import load_config
    from nnexp.errors import ConfigError
    from nnexp.runs.plan import signature
    from nnexp.search.trials import Bench
    from nnexp.train.blueprint import steps_an_epoch

    config = load_config(path, overrides)
    bench = Bench(path.absolute().parent)
    try:
        resolved = bench.resolved(config.experiment)
        fit = signature(bench.prepared(resolved))
        return planned(resolved, steps_an_epoch(resolved, fit))
    except ConfigError as error:
        raise config.locate(error) from None


def surface(
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="The picture: .png, .svg or .pdf."),
    ] = None,
    function: Annotated[Function, typer.Option(help="The loss.")] = Function.ROSENBROCK,
    optimizers: Annotated[
        str,
        typer.Option(
            metavar="A,B=RATE,…", help="Optimizers, each with a learning rate or without."
        ),
    ] = "sgd,momentum,nesterov,rmsprop,adam",
    steps: Annotated[int, typer.Option(min=1, max=100_000, help="Updates.")] = 200,
    gif: Annotated[
        Path | None, typer.Option(metavar="FILE", help="An animation of it, a .gif.")
    ] = None,
) -> None:
    """Draw the paths of optimizers over a loss of two parameters.

    An optimizer without a rate gets the one of 1e-4 … 10 (three a decade) that leads it lowest
    without climbing far above its start; the legend tells the rates.

    \b
    Examples:
      nnexp plot surface -o rosenbrock.png --gif rosenbrock.gif
      nnexp plot surface --function beale --optimizers sgd,adam=0.05 -o b.svg
    """
    from nnexp.analysis.landscapes import labelled, named, paths
    from nnexp.report.figures.style import check_folder, check_path
    from nnexp.report.figures.surface import animation
    from nnexp.report.figures.surface import surface as draw
    from nnexp.runs.files import write_bytes

    if output is None and gif is None:
        raise UsageError("say where to: -o FILE for a picture, --gif FILE for an animation")
    if output is not None:
        check_path(output)
    if gif is not None:
        if gif.suffix.lower() != ".gif":
            raise UsageError(f"--gif: {gif} should end in .gif")
        check_folder(gif)
    landscape = named(function.value)
    wanted = [name.strip() for name in optimizers.split(",") if name.strip()]
    if not wanted:
        raise UsageError("--optimizers names none")
    found = labelled(paths(landscape, wanted, steps))
    if output is not None:
        save(draw(landscape, found), output)
    if gif is not None:
        write_bytes(gif, animation(landscape, found))
        console.say_path(gif)
