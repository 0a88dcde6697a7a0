"""All that is shown: results to stdout, everything else to stderr. The only user of rich.

Colours and the progress bar are for terminals only; elsewhere the same words come as plain lines.
rich is imported when there is a table or a bar to draw.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from functools import cache
from itertools import zip_longest
from pathlib import Path
from typing import Any, Literal, TypeAlias

from nnexp.errors import ConfigError
from nnexp.errors import count as count  # noqa: PLC0414 – part of what console offers
from nnexp.report.numbers import duration as duration  # noqa: PLC0414
from nnexp.report.numbers import interval as interval  # noqa: PLC0414
from nnexp.report.numbers import spread as spread  # noqa: PLC0414
from nnexp.report.numbers import value as value  # noqa: PLC0414

Style: TypeAlias = Literal["", "bold", "dim", "good", "bad", "warning", "name"]
Cell: TypeAlias = str | tuple[str, Style]

_STYLES = {
    "": "",
    "bold": "bold",
    "dim": "dim",
    "good": "bold green",
    "bad": "bold red",
    "warning": "yellow",
    "name": "cyan",
}
_UNBOUNDED = 1000
"""Columns where there is no terminal: nothing is cut."""
_PROSE = 100
"""Columns after which sentences are wrapped."""


# -- results ---------------------------------------------------------------------------------------


def say(text: str = "", style: Style = "") -> None:
    """A line or a paragraph on stdout; plain text, whatever is in it."""
    say_parts([(text, style)])


def say_parts(parts: Sequence[tuple[str, Style]]) -> None:
    """A paragraph on stdout in pieces of different styles."""
    width = _width(sys.stdout)
    if not sys.stdout.isatty() and sum(len(text) for text, _ in parts) <= width:
        print("".join(clean(text) for text, _ in parts))
    else:
        _print(_text(parts), min(_PROSE, width))


def say_verbatim(text: str) -> None:
    """Text on stdout as it is, such as YAML: not wrapped, nor anything replaced in it."""
    sys.stdout.write(text if text.endswith("\n") else text + "\n")


def say_path(path: Path, style: Style = "") -> None:
    """A path on a line of its own, which is not wrapped: it may be copied."""
    if style and sys.stdout.isatty():
        _console(sys.stdout).print(_text([(str(path), style)]), soft_wrap=True)
    else:
        print(clean(str(path)))


def say_json(data: Any) -> None:
    """Strict JSON on stdout: NaN and infinities are null."""
    print(json.dumps(plain(data), indent=2, ensure_ascii=False, allow_nan=False))


def say_table(
    head: Sequence[str],
    rows: Sequence[Sequence[Cell]],
    right: Sequence[int] = (),
    whole: Sequence[int] = (0,),
    indent: int = 0,
) -> None:
    """A table without lines. right, whole: columns that are flush right, that are not wrapped;
    where these don't fit into a line, all are."""
    from rich.padding import Padding

    width = _width(sys.stdout)
    if _least(head, rows, whole) + indent > width:
        whole = ()
    table = Padding(_table(head, rows, right, whole), (0, 0, 0, indent))
    _print(table, width)


def _least(head: Sequence[str], rows: Sequence[Sequence[Cell]], whole: Sequence[int]) -> int:
    """How wide a table is at least if some of its columns are not wrapped."""
    from rich.cells import cell_len

    texts = [head, *([cell[0] if isinstance(cell, tuple) else cell for cell in r] for r in rows)]
    longest = [
        max(
            (cell_len(p) for text in column for p in ([text] if i in whole else text.split())),
            default=0,
        )
        for i, column in enumerate(zip_longest(*texts, fillvalue=""))
    ]
    return sum(longest) + 2 * (len(longest) - 1)


def _table(
    head: Sequence[str],
    rows: Sequence[Sequence[Cell]],
    right: Sequence[int],
    whole: Sequence[int],
) -> Any:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, show_header=any(head), header_style="bold")
    for i, name in enumerate(head):
        justify: Literal["left", "right"] = "right" if i in right else "left"
        table.add_column(Text(name), justify=justify, overflow="fold", no_wrap=i in whole)
    for row in rows:
        cells = [cell if isinstance(cell, tuple) else (cell, "") for cell in row]
        table.add_row(*(Text(clean(text), style=_STYLES[style]) for text, style in cells))
    return table


def is_wide(columns: int) -> bool:
    """Whether lines of so many columns fit; they always do where there is no terminal."""
    return _width(sys.stdout) >= columns


# -- messages --------------------------------------------------------------------------------------


def note(text: str, style: Style = "dim") -> None:
    """Something worth knowing, on stderr."""
    if sys.stderr.isatty():
        _console(sys.stderr).print(clean(text), style=_STYLES[style], soft_wrap=True)
    else:
        print(clean(text), file=sys.stderr)


def warn(text: str) -> None:
    note(f"warning: {text}", "warning")


def show_error(error: Exception) -> None:
    """An error on stderr, each problem of a config on its own."""
    text = clean(str(error))
    if not sys.stderr.isatty():
        print(text if isinstance(error, ConfigError) else f"error: {text}", file=sys.stderr)
        return
    err = _console(sys.stderr)
    if not isinstance(error, ConfigError):
        err.print(_text([("error: ", "bad"), (text, "")]), soft_wrap=True)
        return
    err.print(text.partition("\n")[0], style=_STYLES["bad"])
    for problem in error.problems:
        first, *rest = clean(str(problem)).split("\n")
        place = clean(problem.place)
        body = first.removeprefix(place + ": ")
        key, separator, message = body.partition(": ") if problem.path else ("", "", body)
        parts: list[tuple[str, Style]] = [(place, "dim"), (": ", "dim")]
        err.print(
            _text([*parts, (key, "name"), (separator, ""), (message, "bold")]), soft_wrap=True
        )
        for line in rest:
            err.print(line, style="green" if line.startswith("    hint:") else "", soft_wrap=True)


# -- progress --------------------------------------------------------------------------------------


class Progress:
    """How far long work has come: a bar on a terminal, else a plain line now and then.

    total: how many units there are; unit: what one of them is called.
    """

    PATIENCE = 5.0, 60.0
    """Seconds before the first line where there is no terminal; and, growing, at most."""

    def __init__(self, total: int, unit: str, quiet: bool = False) -> None:
        self.total, self.unit, self.quiet = total, unit, quiet
        self._shown = time.monotonic()
        self._bar = _bar(unit, total) if sys.stderr.isatty() and not quiet else None
        self._wait = self.PATIENCE[0] if self._bar is None else 0.1

    def is_due(self) -> bool:
        """Whether it is time to show something again; asked before costly words are made."""
        return not self.quiet and time.monotonic() - self._shown >= self._wait

    @property
    def room(self) -> tuple[int, int]:
        """Columns and lines that there are for pictures; (0, 0) where there is no terminal."""
        if self._bar is None:
            return 0, 0
        size = self._bar.console.size
        return min(size.width, _PROSE), max(size.height - 6, 0)

    def advance(
        self, done: int, speed: str, details: str, picture: Sequence[Sequence[Cell]] = ()
    ) -> None:
        """`done` units are done. speed: `3.2 epochs/s, 12 s left`; details: a line of numbers.

        picture: more lines, in pieces of one style, for a terminal only; see `room`.
        """
        self._shown = time.monotonic()
        if self._bar is not None:
            self._bar.advance_to(done, speed, details, picture)
        elif not self.quiet:
            print(f"{self.unit} {done}/{self.total}  {details}  {speed}", file=sys.stderr)
            self._wait = min(1.5 * self._wait, self.PATIENCE[1])

    def close(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def _bar(unit: str, total: int) -> Any:
    """rich's bar with a line of details under it, started; it goes away when it is stopped."""
    from rich import progress
    from rich.console import Console

    class Bar(progress.Progress):
        below: Sequence[Any] = ()

        def get_renderables(self) -> Any:
            self.columns = _fitting(columns, console.width)
            yield self.make_tasks_table(self.tasks)
            yield from self.below

        def advance_to(
            self, done: int, speed: str, details: str, picture: Sequence[Sequence[Cell]]
        ) -> None:
            lines = [_line([(details, "name")]), *map(_line, picture)]
            self.below = lines
            self.update(task, completed=done, speed=speed)

    columns = (
        progress.TextColumn(f"{unit} {{task.completed:.0f}}/{{task.total:.0f}}"),
        progress.BarColumn(bar_width=None),
        progress.TimeElapsedColumn(),
        progress.TextColumn("{task.fields[speed]}", style="dim"),
    )
    console = Console(file=sys.stderr, markup=False, highlight=False, emoji=False)
    bar = Bar(
        *columns,
        console=console,
        transient=True,
        refresh_per_second=2,
        expand=True,
    )
    task = bar.add_task(unit, total=total, speed="")
    bar.start()
    return bar


def _fitting(columns: Sequence[Any], width: int) -> tuple[Any, ...]:
    """The bar's columns that a terminal so wide has room for: count, bar, time, speed."""
    least = (0, 60, 48, 36)
    return tuple(one for one, needed in zip(columns, least, strict=True) if width >= needed)


# -- plain data ------------------------------------------------------------------------------------


def plain(data: Any) -> Any:
    """What JSON can hold: NaN and infinities as null, paths as text."""
    if isinstance(data, float):
        return data if math.isfinite(data) else None
    if isinstance(data, Mapping):
        return {str(key): plain(item) for key, item in data.items()}
    if isinstance(data, (list, tuple)):
        return [plain(item) for item in data]
    return str(data) if isinstance(data, Path) else data


def clean(text: str) -> str:
    """The text without control characters: names and values may come from anywhere."""
    return "".join(c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in text)


# -- rich ------------------------------------------------------------------------------------------


@cache
def _console(file: Any) -> Any:
    from rich.console import Console

    return Console(file=file, width=_width(file), markup=False, highlight=False, emoji=False)


def _width(file: Any) -> int:
    """Columns: COLUMNS if it is set, else the terminal's, else enough for anything."""
    fallback = 80 if file.isatty() else 0
    columns = shutil.get_terminal_size((fallback, 24)).columns if fallback else 0
    told = os.environ.get("COLUMNS", "")
    return columns or (int(told) if told.isdigit() and int(told) else _UNBOUNDED)


def _print(drawing: Any, width: int) -> None:
    """Draws on stdout without blanks at the ends of lines."""
    out = _console(sys.stdout)
    with out.capture() as drawn:
        out.print(drawing, width=width)
    for line in drawn.get().splitlines():
        print(line.rstrip())


def _line(parts: Sequence[Cell]) -> Any:
    """One line, cut where the terminal ends."""
    text = _text([part if isinstance(part, tuple) else (part, "") for part in parts])
    text.overflow, text.no_wrap = "ellipsis", True
    return text


def _text(parts: Sequence[tuple[str, Style]]) -> Any:
    from rich.text import Text

    return Text.assemble(*((clean(text), _STYLES[style]) for text, style in parts))
