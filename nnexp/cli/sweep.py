"""`nnexp sweep`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from nnexp.cli import console
from nnexp.cli.options import AsJson, Device, Folder, Overrides, Quiet, Where, Workers
from nnexp.cli.sweep_live import Live
from nnexp.errors import ConfigError, UsageError


class Engine(StrEnum):
    """What starts a sweep's workers."""

    LOCAL = "local"
    RAY = "ray"


def sweep(
    config: Annotated[
        Path | None,
        typer.Argument(metavar="CONFIG", help="A YAML file with a section `sweep`."),
    ] = None,
    set_: Overrides = None,
    trials: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Same as --set sweep.trials=N.")
    ] = None,
    time_limit: Annotated[
        float | None,
        typer.Option(metavar="MINUTES", help="Begin no more trials after so long."),
    ] = None,
    workers: Workers = None,
    device: Where = Device.AUTO,
    engine: Annotated[
        Engine | None,
        typer.Option(
            help="Where workers run: on this machine, or on a Ray cluster. [default: local]",
            show_default=False,
        ),
    ] = None,
    address: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="A Ray cluster that runs, such as auto or HOST:6379. [default: one is started]",
        ),
    ] = None,
    out: Folder = None,
    resume: Annotated[
        Path | None, typer.Option(metavar="SWEEP", help="Go on with an interrupted sweep.")
    ] = None,
    skip_invalid: Annotated[
        bool, typer.Option("--skip-invalid", help="Leave out trials that can't be trained.")
    ] = False,
    plot: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Draw parallel.png and slices.png into this folder."),
    ] = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Search over hyper-parameters, many trials at once.

    Trials of one shape train together as one program. The best config is trained again on fresh
    seeds, for a score that does not owe to having been picked. The path is printed last.

    With --engine ray the packs go to a Ray cluster (pip install 'nnexp[ray]'); the numbers are
    those of --engine local with as many --workers. The sweep's directory (--out) must then be on a
    file system that all machines of the cluster share.

    \b
    Examples:
      nnexp sweep digits.yaml --set sweep.search=optimizer.lr
      nnexp sweep digits.yaml --trials 200 --time-limit 30
      nnexp sweep --resume runs/digits/2026-11-20T10-15-02-3f9a
      nnexp sweep digits.yaml --engine ray --address auto --out /shared/runs
    """
    if (config is None) == (resume is None):
        raise UsageError("sweep takes either a CONFIG or --resume SWEEP")
    if plot is not None:
        from nnexp.cli.sweep_show import check_pictures

        check_pictures(plot)
    where: Literal["local", "ray"] | None = None
    if engine is not None:
        where = "ray" if engine is Engine.RAY else "local"
    if resume is not None:
        given = {
            "--set": set_, "--trials": trials, "--time-limit": time_limit, "--workers": workers,
            "--out": out, "--skip-invalid": skip_invalid,
        }  # fmt: skip
        if wrong := [name for name, value in given.items() if value]:
            raise UsageError(
                f"{', '.join(wrong)} can't be given with --resume, which goes on as it was"
            )
        from nnexp.search.sweep import Choices
        from nnexp.search.sweep import resume as go_on

        with Live(quiet) as live:
            found = go_on(resume, live, Choices(engine=where, address=address))
        _show(found, quiet, as_json, plot)
        return
    assert config is not None
    overrides = list(set_ or ())
    if trials is not None:
        overrides.append(f"sweep.trials={trials}")
    if time_limit is not None:
        overrides.append(f"sweep.time_limit={time_limit}")
    from nnexp.config.load import load_config

    checked = load_config(config, overrides)
    from nnexp.search.sweep import Choices, InvalidTrials, start

    choices = Choices(workers, device.value, skip_invalid, where, address)
    with Live(quiet) as live:
        try:
            found = start(checked, out or Path("runs"), choices, live)
        except InvalidTrials:
            live.note("--skip-invalid leaves such trials out")
            raise
        except ConfigError as error:
            raise checked.locate(error) from None
    _show(found, quiet, as_json, plot)


def _show(found: Any, quiet: bool, as_json: bool, plot: Path | None) -> None:
    summary = found.read(found.summary)
    if plot is not None:
        from nnexp.cli.sweep_show import draw_pictures

        for path in draw_pictures(found, plot):
            if not quiet:
                console.note(f"picture: {path}")
    if as_json:
        console.say_json({"sweep": found.path, **summary})
        return
    if not quiet:
        from nnexp.cli.sweep_summary import show_sweep

        show_sweep(found, summary)
    console.say_path(found.path)
