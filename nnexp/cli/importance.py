"""`nnexp importance`: which columns of a table a run makes use of."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from nnexp.cli import console
from nnexp.cli.console import Cell, Style
from nnexp.cli.options import AsJson, DataRoot, Part, Run, check_data_root

SHOWN = 30
"""Of so many columns each is shown."""


def importance(
    run: Run,
    split: Annotated[Part, typer.Option(help="The part of its data to score.")] = Part.TEST,
    repeats: Annotated[int, typer.Option(help="How often each column is shuffled.")] = 10,
    metric: Annotated[
        str | None, typer.Option(help="One of the run's metrics. [default: the primary one]")
    ] = None,
    data_root: DataRoot = None,
    as_json: AsJson = False,
) -> None:
    """Show what each column of a table is worth to a run.

    A column's values are shuffled among the examples: how much worse is the metric then? The
    interval is over the shuffles of a single run, and over the members of a group. A column may
    look unimportant because another one, correlated with it, tells the same: numeric columns that
    are correlated are shuffled together as well.

    \b
    Examples:
      nnexp importance runs/adult/2026-11-20T10-15-02-3f9a
      nnexp importance runs/adult/2026-11-20T10-15-02-3f9a --metric loss --repeats 30
    """
    from nnexp.runs.rundir import RunDir

    check_data_root(data_root)
    RunDir.open(run)  # tells quickly what is wrong
    from nnexp.runs.importance import importance as find

    bar: console.Progress | None = None

    def shown(done: int, total: int) -> None:
        nonlocal bar
        bar = bar or console.Progress(total, "column", quiet=as_json)
        if bar.is_due():
            bar.advance(done, "", "")

    try:
        found = find(run, split.value, metric, repeats, data_root, shown)
    finally:
        if bar is not None:
            bar.close()
    for text in found.notes:
        console.warn(text)
    if as_json:
        console.say_json(found.to_json())
    else:
        _show(found)


def _show(found: Any) -> None:
    from nnexp.stats import describe

    score = console.spread(describe(found.scores.tolist()))
    examples = console.count(found.examples, "example")
    console.say(f"{found.split} {found.metric}: {score}, {examples}", "bold")
    described = found.described()
    rows: list[list[Cell]] = []
    for column, told in list(described.items())[:SHOWN]:
        bounds = told["interval"]
        style: Style = "" if bounds is not None and bounds[0] > 0 else "dim"
        rows.append(
            [(column, "name"), (console.spread(told), style), (console.interval(bounds), style)]
        )
    head = ["without", "worse by, mean ± sd", "95 % interval"]
    console.say_table(head, rows, right=[1, 2], indent=2)
    if len(described) > SHOWN:
        console.say(f"  the first {SHOWN} of {len(described)} columns (--json has all)", "dim")
    shuffles = console.count(found.drops.shape[2], "shuffle")
    if found.over == "members":
        members = console.count(len(found.scores), "member")
        console.say(f"  over {members}, each the mean of {shuffles}", "dim")
    else:
        console.say(f"  over {shuffles} of each column, for this one model", "dim")
    _together(found)


def _together(found: Any) -> None:
    """Groups of correlated columns, of which each alone may look unimportant."""
    from nnexp.runs.importance import CORRELATED

    groups = found.described_groups()
    if not groups:
        return
    console.say()
    console.say(
        "These columns tell much the same (rank correlations, up to the sign, of "
        f"{CORRELATED:g} and more), so each alone may look unimportant; shuffled together:"
    )
    rows: list[list[Cell]] = [
        [console.spread(told), console.interval(told["interval"]), (", ".join(columns), "name")]
        for columns, told in groups[:SHOWN]
    ]
    head = ["worse by, mean ± sd", "95 % interval", "without all of"]
    console.say_table(head, rows, right=[0, 1], whole=[0, 1], indent=2)
