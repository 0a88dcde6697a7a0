"""What `--metric "time_to(…)"` shows: when runs reach a goal."""

from __future__ import annotations

from nnexp.analysis.comparing.time_to import FASTER, SLOWER, TimeComparison, Times
from nnexp.cli import console
from nnexp.cli.console import Cell, Style

_VERDICT: dict[str | None, Style] = {FASTER: "good", SLOWER: "bad"}


def show_times(found: TimeComparison) -> None:
    """How many runs of each side arrive and when; of groups a verdict on each pair."""
    console.say(str(found.goal), "bold")
    head = ["", "", "arrived", f"median {found.goal.unit}", "each"]
    rows = [_line(side) for side in found.sides]
    console.say_table(head, rows, right=[2, 3], whole=range(4), indent=2)
    for pair in found.pairs:
        claim, colon, rest = pair.sentence.partition(": ")
        style = _VERDICT.get(pair.verdict, "bold")
        console.say_parts([(claim + colon, style), (rest, "")])
    for text in found.notes:
        console.say(text, "dim")


def _line(side: Times) -> list[Cell]:
    return [
        (side.label, "bold"),
        (side.name, "name"),
        f"{side.arrived} of {len(side.times)}",
        _when(side.median),
        (", ".join(_when(time) for time in side.times), "dim"),
    ]


def _when(time: float | None) -> str:
    return "never" if time is None else f"{time:,.6g}"
