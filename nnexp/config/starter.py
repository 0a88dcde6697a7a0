"""The first config for a data file: YAML with a comment for each choice."""

from __future__ import annotations

import os
import re
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from nnexp.components.datasets import Dataset
from nnexp.components.table import Table
from nnexp.config.recipe import Reasons, Recipe, word
from nnexp.config.source import dump
from nnexp.data.survey import Survey
from nnexp.errors import DataError
from nnexp.registry import choose

_WIDTH = 96


@dataclass(frozen=True)
class Starter:
    """A first config.

    text: YAML with comments. source: what `data.source` is in it. table: the data, as a run reads
    them. facts: what was seen, (what, how much). notes: what to think of.
    """

    text: str
    source: dict[str, Any]
    facts: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]
    table: Table


def write_starter(data: Path, found: Survey, folder: Path) -> Starter:
    """The config for what a survey of a data file found.

    folder: where the config will be; files are named from there. DataError if a run could not read
    the data.
    """
    source = choose(Dataset, found.source)
    assert isinstance(source, Dataset)
    table = source.load(data.parent)
    given, why = dict(found.source), Reasons()
    doubts = [note for note in table.notes if "`target_type: " in note]
    if doubts:
        given["target_type"] = table.task
        why["data.source.target_type"] = word(doubts[0].partition(": ")[2], 200)
        table = replace(table, notes=tuple(note for note in table.notes if note not in doubts))
    given |= {k: _from(folder, data.parent / given[k]) for k in source.paths if k in given}
    recipe = Recipe(table, found)
    sections, reasons = recipe.sections(given if len(given) > 1 else given["name"])
    why |= {"seed": "of weights, order and dropout: train --seeds 5 varies it", **reasons}
    facts, notes = tuple(recipe.facts()), tuple(recipe.notes())
    head = [f"{word(data.name)}, as `nnexp init` saw it:"]
    head += [f"  {what}: {text}" for what, text in facts]
    head += [f"  note: {word(note, 1000)}" for note in notes]
    lines = [line for text in head for line in _comment(text)]
    config = {"name": _name(data), "seed": 0, **sections}
    written = "\n".join([*lines, *_yaml(config, why)]) + "\n"
    return Starter(written, given, facts, notes, table)


def _name(data: Path) -> str:
    stem = data.name.partition(".")[0]
    return re.sub(r"[^\w-]+", "-", stem)[:60].strip("-") or "data"


def _from(folder: Path, file: Path) -> str:
    """A file's name as a config in `folder` should give it."""
    name = os.path.relpath(file, folder)
    if "${" in name:
        raise DataError(f"{file}: in a config ${{…}} stands for a variable: rename file or folder")
    return f"./{name}" if name.startswith("~") else name


# -- YAML ------------------------------------------------------------------------------------------


def _yaml(
    config: Mapping[str, Any], why: Reasons, path: str = "", indent: int = 0
) -> Iterator[str]:
    """The lines of a mapping, with its keys' comments beside them if they fit, else above."""
    margin = " " * indent
    for key, value in config.items():
        here = f"{path}{key}"
        is_open = isinstance(value, dict) and any(f"{here}.{below}" in why for below in value)
        lines = [f"{key}:"] if is_open else dump({key: value}).splitlines()
        lines = [margin + line for line in lines]
        note = why.get(here, "")
        if note and len(lines) == 1 and not is_open and len(f"{lines[0]}  # {note}") <= _WIDTH:
            lines = [f"{lines[0]}  # {note}"]
        elif note:
            lines = [*_comment(note, indent), *lines]
        yield from lines
        if is_open:
            yield from _yaml(value, why, f"{here}.", indent + 2)


def _comment(text: str, indent: int = 0) -> list[str]:
    """The first line wrapped, others as they are."""
    begin = " " * indent + "# "
    first, *others = text.split("\n")
    inner = " " * (len(first) - len(first.lstrip()))
    wrapped = textwrap.wrap(
        first.strip(),
        _WIDTH,
        initial_indent=begin + inner,
        subsequent_indent=begin + inner + ("  " if inner else ""),
        break_on_hyphens=False,
    )
    return [*wrapped, *(begin + line for line in others)]
