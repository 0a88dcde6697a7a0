"""`nnexp ls`, `explain` and `schema`: what can be written in a config."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from nnexp.cli import console
from nnexp.cli.console import Cell
from nnexp.cli.options import AsJson
from nnexp.errors import UsageError, nearest


def ls(
    family: Annotated[
        str | None, typer.Argument(metavar="FAMILY", help="optimizer, schedule, layer, …")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List what a config can name, by family.

    \b
    Example:
      nnexp ls optimizer
    """
    from nnexp.config.catalogue import families

    found = families()
    if family is not None and family not in found:
        close = nearest(family, found)
        hint = f"; did you mean {close}?" if close else ""
        raise UsageError(f"there is no family '{family}' (there are: {', '.join(found)}){hint}")
    chosen = found if family is None else {family: found[family]}
    if as_json:
        console.say_json(chosen)
        return
    for name, components in chosen.items():
        if family is None:
            console.say(name, "bold")
        rows: list[list[Cell]] = [[(n, "name"), text] for n, text in components.items()]
        console.say_table(["", ""], rows, indent=2)


def explain(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="A component, a family, a section, or a key.")
    ],
    as_json: AsJson = False,
) -> None:
    """Explain something that a config can name.

    \b
    Examples:
      nnexp explain optimizer.adam
      nnexp explain training
      nnexp explain config
      nnexp explain layers
    """
    from nnexp.cli.explaining import show_description
    from nnexp.config.catalogue import describe

    found = describe(name)
    if as_json:
        console.say_json([one.to_json() for one in found])
        return
    for number, one in enumerate(found):
        if number:
            console.say()
        show_description(one)


def schema(
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write it to a file.")
    ] = None,
) -> None:
    """Print the JSON Schema of a config.

    With it, editors complete and check a config while it is written.

    \b
    Example:
      nnexp schema -o nnexp.schema.json
      and as the first line of a config:
      # yaml-language-server: $schema=nnexp.schema.json
    """
    from nnexp.config.catalogue import schema as config_schema

    text = json.dumps(config_schema(), indent=2, ensure_ascii=False) + "\n"
    if output is None:
        console.say_verbatim(text)
        return
    from nnexp.runs.files import write_text

    write_text(output, text)
    console.say_path(output)
