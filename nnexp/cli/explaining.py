"""What `nnexp explain` shows."""

from __future__ import annotations

from nnexp.cli import console
from nnexp.cli.console import Cell
from nnexp.config.catalogue import Description


def show_description(one: Description) -> None:
    """Its text, and a table of its components or its keys."""
    console.say(one.name, "bold")
    for paragraph in one.text.split("\n\n"):
        console.say("  " + " ".join(paragraph.split()))
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
