"""`nnexp curve`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from nnexp.cli import console
from nnexp.cli.console import Cell
from nnexp.cli.options import AsJson, Device, Experiment, Folder, Overrides, Quiet, Where, Workers
from nnexp.cli.sweep_live import Live
from nnexp.errors import ConfigError, UsageError


class Over(StrEnum):
    """What a curve goes over."""

    DATA = "data"
    HIDDEN = "hidden"


def curve(
    config: Experiment = None,
    over: Annotated[
        Over | None, typer.Option(help="The number of training examples, or of hidden units.")
    ] = None,
    values: Annotated[
        str | None,
        typer.Option(
            metavar="A,B,…",
            help="The points; of data also shares. [default: data: all, a half, a quarter …; "
            "hidden: 1, 2, 4 … 256]",
        ),
    ] = None,
    seeds: Annotated[
        int | None, typer.Option(min=2, metavar="N", help="Models a point. [default: 5]")
    ] = None,
    splits: Annotated[
        int | None,
        typer.Option(min=2, metavar="K", help="Models a point that differ in seed and split."),
    ] = None,
    metric: Annotated[
        str | None, typer.Option(help="What is drawn. [default: the primary one]")
    ] = None,
    same_updates: Annotated[
        bool,
        typer.Option("--same-updates", help="As many updates at every point as with all examples."),
    ] = False,
    set_: Overrides = None,
    workers: Workers = None,
    device: Where = Device.AUTO,
    out: Folder = None,
    resume: Annotated[
        Path | None, typer.Option(metavar="CURVE", help="Go on with an interrupted one.")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Draw it: .png, .svg or .pdf."),
    ] = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Show how the error falls with more data, or with a wider net.

    Of data it tells whether more would help; of hidden units where the U of the error has its
    bottom, if there is one. All points train in packs, with intervals over seeds. The path is
    printed last.

    \b
    Examples:
      nnexp curve digits.yaml --over data -o data.png
      nnexp curve digits.yaml --over hidden --values 2,8,32,128 --metric loss
      nnexp curve --resume runs/digits/2026-11-20T10-15-02-3f9a
    """
    if (config is None) == (resume is None):
        raise UsageError("curve takes either a CONFIG or --resume CURVE")
    if output is not None:
        from nnexp.report.figures.style import check_path

        check_path(output)
    if resume is not None:
        given = {
            "--over": over, "--values": values, "--seeds": seeds, "--splits": splits,
            "--metric": metric, "--same-updates": same_updates, "--set": set_,
            "--workers": workers, "--out": out,
        }  # fmt: skip
        if wrong := [name for name, value in given.items() if value]:
            raise UsageError(
                f"{', '.join(wrong)} can't be given with --resume, which goes on as it was"
            )
        from nnexp.search.curve import resume as go_on

        with Live(quiet, "point") as live:
            sweep, found = go_on(resume, live)
    else:
        assert config is not None
        if over is None:
            raise UsageError("say what the curve goes over: --over data or --over hidden")
        if seeds is not None and splits is not None:
            raise UsageError("give only one of --seeds and --splits (which varies the seed too)")
        from nnexp.config.load import load_config

        checked = load_config(config, set_ or [])
        from nnexp.search.curve import Choices, start

        choices = Choices(
            over.value, points_of(values or ""), splits or seeds or 5, splits is not None, metric,
            same_updates, workers, device.value,
        )  # fmt: skip
        with Live(quiet, "point") as live:
            try:
                sweep, found = start(checked, out or Path("runs"), choices, live)
            except ConfigError as error:
                raise checked.locate(error) from None
    if output is not None:
        import numpy as np

        from nnexp.report.figures.learning_curve import learning_curve
        from nnexp.report.figures.style import save

        what = {"data": "more data", "hidden": "more hidden units"}[found.over]
        title = f"{sweep.state()['name']}: {found.metric} with {what}"
        save(
            learning_curve(found.over, np.array(found.values), found.scores, found.metric, title),
            output,
        )
    if as_json:
        console.say_json({"path": sweep.path, **found.to_json()})
        return
    if not quiet:
        show_curve(found)
        if output is not None:
            console.note(f"picture: {output}")
    console.say_path(sweep.path)


def points_of(text: str) -> tuple[float, ...]:
    """The points that `--values` lists. Raises UsageError."""
    try:
        found = tuple(float(part) for part in text.split(",") if part.strip())
    except ValueError:
        raise UsageError(
            f"--values should be numbers with commas between (received: {text})"
        ) from None
    if any(not 0 < value < float("inf") for value in found):
        raise UsageError(f"--values should be above 0 (received: {text})")
    return found


def show_curve(found: Any) -> None:
    """The scores at each point, and what follows."""
    from nnexp.report.numbers import interval, spread

    names = {"data": "examples", "hidden": "hidden units"}
    judged = list(found.scores)[-1]
    rows: list[list[Cell]] = [
        [
            f"{value:,}",
            *(spread(found.described(split, i)) for split in found.scores),
            interval(found.described(judged, i)["interval"]),
        ]
        for i, value in enumerate(found.values)
    ]
    lost = [int((~_finite(found, i)).sum()) for i in range(len(found.values))]
    head = [names[found.over], *(f"{split} {found.metric}" for split in found.scores)]
    head.append(f"95 % interval, {judged}")
    console.say_table(head, rows, right=[0], whole=tuple(range(len(head))))
    if sum(lost):
        console.say(f"{console.count(sum(lost), 'model')} diverged: left out", "warning")
    from nnexp.search.curve import verdict

    if sentence := verdict(found):
        console.say(sentence[0].upper() + sentence[1:] + ".")
    for text in found.notes:
        console.say(text[0].upper() + text[1:] + ".", "dim")


def _finite(found: Any, point: int) -> Any:
    import numpy as np

    return np.isfinite(next(iter(found.scores.values()))[point])
