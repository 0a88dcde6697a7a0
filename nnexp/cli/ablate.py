"""`nnexp ablate`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from nnexp.cli import console
from nnexp.cli.console import Cell, Style
from nnexp.cli.options import (
    AsJson,
    Device,
    Experiment,
    Folder,
    Overrides,
    Part,
    Quiet,
    Where,
    Workers,
)
from nnexp.cli.sweep_live import Live
from nnexp.errors import ConfigError, UsageError

MANY = 16
"""Cells up to which all are shown."""


class Design(StrEnum):
    """Which cells are trained."""

    FACTORIAL = "factorial"
    LEAVE_ONE_OUT = "leave_one_out"


_Table = Annotated[Path | None, typer.Option(metavar="FILE", help="Write the table there, too.")]


def ablate(
    config: Experiment = None,
    over: Annotated[
        list[str] | None,
        typer.Option(
            metavar="A,B,…",
            help="What to ablate: names of parts that are on, keys, or KEY=VALUE, the value when "
            "it is off; repeatable.",
        ),
    ] = None,
    design: Annotated[
        Design | None,
        typer.Option(
            help="Train all combinations, or leave out one part at a time. [default: factorial up "
            "to 4 parts]"
        ),
    ] = None,
    seeds: Annotated[
        int | None, typer.Option(min=2, metavar="N", help="Models a cell. [default: 10]")
    ] = None,
    splits: Annotated[
        int | None,
        typer.Option(min=2, metavar="K", help="Models a cell that differ in seed and split."),
    ] = None,
    metric: Annotated[
        str | None, typer.Option(help="What the table is about. [default: the primary one]")
    ] = None,
    split: Annotated[Part, typer.Option(help="The part of the data to score on.")] = Part.TEST,
    set_: Overrides = None,
    workers: Workers = None,
    device: Where = Device.AUTO,
    out: Folder = None,
    resume: Annotated[
        Path | None, typer.Option(metavar="ABLATION", help="Go on with an interrupted ablation.")
    ] = None,
    output: Annotated[
        list[Path] | None,
        typer.Option(
            "--output", "-o", metavar="FILE", help="Write the table: .csv, .md or .tex; repeatable."
        ),
    ] = None,
    csv: _Table = None,
    markdown: _Table = None,
    latex: _Table = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Take parts of a config away and say what each contributes.

    Every combination of parts on and off (or the whole config and each part left out) is trained
    with the same seeds. The table has the effect of each part, with an interval, p-values adjusted
    by Holm's method, and in the factorial design how parts act together. The path is printed last.

    \b
    Examples:
      nnexp ablate digits.yaml --over batch_norm,dropout,schedule
      nnexp ablate digits.yaml --over batch_norm,optimizer.lr=0.1 --seeds 20 -o table.tex
      nnexp ablate digits.yaml --over dropout,l2 --design leave_one_out --splits 10
      nnexp ablate --resume runs/digits/2026-11-20T10-15-02-3f9a
    """
    if (config is None) == (resume is None):
        raise UsageError("ablate takes either a CONFIG or --resume ABLATION")
    from nnexp.report.ablation import as_csv, as_latex, as_markdown, format_of, write_tables

    files = [(path, format_of(path)) for path in output or ()]
    named = ((csv, as_csv), (markdown, as_markdown), (latex, as_latex))
    files += [(path, form) for path, form in named if path is not None]
    if resume is not None:
        given = {
            "--over": over, "--design": design, "--seeds": seeds, "--splits": splits,
            "--metric": metric, "--set": set_, "--workers": workers, "--out": out,
        }  # fmt: skip
        if wrong := [name for name, value in given.items() if value]:
            raise UsageError(
                f"{', '.join(wrong)} can't be given with --resume, which goes on as it was"
            )
        from nnexp.search.ablate import resume as go_on

        with Live(quiet, "cell") as live:
            sweep, found = go_on(resume, live)
    else:
        assert config is not None
        sweep, found = _start(
            config, over or [], design, seeds, splits, metric, split, set_ or [], workers, device,
            out, quiet,
        )  # fmt: skip
    write_tables(sweep.path, found)
    from nnexp.runs.files import write_text

    for path, form in files:
        write_text(path, form(found))
    if as_json:
        console.say_json({"path": sweep.path, **found.to_json()})
        return
    if not quiet:
        show_ablation(found)
        for path, _ in files:
            console.note(f"table: {path}")
    console.say_path(sweep.path)


def _start(
    path: Path,
    over: list[str],
    design: Design | None,
    seeds: int | None,
    splits: int | None,
    metric: str | None,
    split: Part,
    overrides: list[str],
    workers: int | None,
    device: Device,
    out: Path | None,
    quiet: bool,
) -> Any:
    if seeds is not None and splits is not None:
        raise UsageError("give only one of --seeds and --splits (which varies the seed as well)")
    from nnexp.config.load import load_config

    config = load_config(path, overrides)
    from nnexp.search.ablate import Choices, start

    choices = Choices(
        None if design is None else design.value,
        splits or seeds or 10,
        splits is not None,
        metric,
        split.value,
        workers,
        device.value,
    )
    with Live(quiet, "cell") as live:
        try:
            return start(config, divided(over), out or Path("runs"), choices, live)
        except ConfigError as error:
            raise config.locate(error) from None


def divided(over: list[str]) -> list[str]:
    """The factors: commas within brackets belong to a value."""
    found, depth, start = list[str](), 0, 0
    text = ",".join(over)
    for i, character in enumerate(text):
        depth += (character in "[{") - (character in "]}")
        if character == "," and depth == 0:
            found.append(text[start:i])
            start = i + 1
    return [part.strip() for part in [*found, text[start:]] if part.strip()]


_GOOD = ("helps", "stronger together")
_BAD = ("hurts", "weaker together")


def show_ablation(found: Any) -> None:
    """The cells, the effects, and how far they reach."""
    from nnexp.report.ablation import HEAD, cells_of, title
    from nnexp.report.numbers import spread

    better = -1.0 if found.higher_is_better else 1.0
    ranked = sorted(found.cells, key=lambda cell: better * (cell.score["mean"] or 0.0))
    rows: list[list[Cell]] = [
        [
            (cell.label, "name"),
            spread(cell.score),
            f"{cell.diverged} diverged" * bool(cell.diverged),
        ]
        for cell in (ranked if len(ranked) <= MANY else ranked[:MANY])
    ]
    console.say_table(["cell", f"{found.split} {found.metric}", ""], rows, whole=(1,))
    if len(ranked) > MANY:
        console.say(f"… and {len(ranked) - MANY} more cells", "dim")
    console.say()
    console.say(title(found), "bold")
    effects: list[list[Cell]] = []
    for effect in found.effects:
        style: Style = ""
        style = "good" if effect.verdict in _GOOD else "bad" if effect.verdict in _BAD else style
        *cells, verdict = cells_of(effect)
        effects.append([(cells[0], "name"), *cells[1:], (verdict, style)])
    head = [HEAD[0], "effect", *HEAD[2:]]
    head[0] = ""
    console.say_table(head, effects, right=(1, 3, 4), whole=(1, 2, 3, 4))
    console.say()
    _say_verdicts(found)
    for text in found.notes:
        console.say(text, "warning")
    from nnexp.analysis.ablation import reach

    effects_told = console.count(len(found.effects), "effect")
    console.say(f"{effects_told}, p after Holm; {found.test}. {reach(found)}", "dim")


def _say_verdicts(found: Any) -> None:
    """The effects that are shown, as sentences; of the others what would have been found."""
    from nnexp.analysis.ablation import NOT_SHOWN

    open_ = [effect for effect in found.effects if effect.verdict == NOT_SHOWN]
    for effect in found.effects:
        if effect not in open_:
            console.say(effect.sentence)
    sizes = [f"{one.label} {one.detectable:.2g}" for one in open_ if one.detectable is not None]
    if sizes:
        console.say(
            "What is not shown may still be there. True effects of this size would be found with "
            f"80 % power (before Holm): {', '.join(sizes)}."
        )
    if len(open_) > len(sizes):
        names = ", ".join(one.label for one in open_ if one.detectable is None)
        console.say(f"There is no variance in {names}, so nothing can be tested there.")
    console.say()
