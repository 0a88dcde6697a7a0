"""What `nnexp explain` shows."""

from __future__ import annotations

from nnexp.cli import console
from nnexp.cli.console import Cell
from nnexp.config.catalogue import Description


def show_description(one: Description) -> None:
    """What it is, how it is computed, when to use it; a table of its components or its keys."""
    console.say(one.name, "bold")
    for paragraph in (f"{one.summary}.", *filter(None, one.text.split("\n\n"))):
        console.say("  " + paragraph)
    said = {"formula": one.formula, "use": one.use, "source": one.source}
    if any(said.values()):
        console.say()
        texts: list[list[Cell]] = [[(what, "dim"), text] for what, text in said.items() if text]
        console.say_table(["", ""], texts, indent=2)
    rows: list[list[Cell]]
    if one.components:
        rows = [[(name, "name"), text] for name, text in one.components.items()]
        console.say_table(["", ""], rows, indent=2)
    elif one.parameters:
        rows = [
            [
                (p.name, "name"),
                f"{p.type} {p.range}".strip(),
                p.default,
                p.description + (f" ({p.unit})" if p.unit else ""),
            ]
            for p in one.parameters
        ]
        console.say()
        console.say_table(["key", "value", "default", "meaning"], rows, indent=2)
