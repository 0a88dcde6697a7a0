"""Everything nnexp raises on purpose, and the exit code each becomes.

NnexpError                      1   a defect of nnexp (never raised by itself)
├── UsageError                  2   wrong command line
│   └── ConfigError             2   a config with one or more problems, all listed
├── DataError                   3   data that can't be used
├── RunError                    3   a run that can't be used
│   ├── DamagedRun              3   a file is missing, truncated or fails its checksum
│   ├── LockedRun               3   another process is writing to it
│   ├── UntrustedRun            3   holds something that a run never holds; nothing was executed
│   └── PluginNeeded            3   it was trained with a plugin that was not given
├── Diverged                    4   the loss became NaN or infinite (a group: in every member)
├── CheckFailed                 5   a pre-flight check failed
├── OutOfResources              6   out of memory or disk
├── Interrupted               130   Ctrl-C, after writing a checkpoint
└── Terminated                143   SIGTERM, after writing a checkpoint
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar


class NnexpError(Exception):
    """Base of all errors that nnexp raises on purpose."""

    exit_code: ClassVar[int] = 1


class UsageError(NnexpError):
    exit_code = 2


class DataError(NnexpError):
    exit_code = 3


class RunError(NnexpError):
    exit_code = 3


class DamagedRun(RunError):
    pass


class LockedRun(RunError):
    pass


class UntrustedRun(RunError):
    pass


class PluginNeeded(RunError):
    """`copies` are the run's own copies of its plugins."""

    def __init__(self, message: str, copies: Sequence[Path]) -> None:
        super().__init__(message)
        self.copies = tuple(copies)


class Diverged(NnexpError):
    exit_code = 4


class CheckFailed(NnexpError):
    exit_code = 5


class OutOfResources(NnexpError):
    exit_code = 6


class Interrupted(NnexpError):
    exit_code = 130


class Terminated(NnexpError):
    exit_code = 143


MISSING: Any = object()
"""Stands for "nothing was written there" in a Problem."""


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong in a config.

    place: `file:line:column`, or the command-line option, that holds the value.
    path: full path of the key, such as `optimizer.lr` ("" for the whole file).
    message: the rule that is broken, a sentence without a final stop.
    received: what was written (MISSING when nothing was).
    allowed: what would be accepted; empty when the message says it.
    hint: what to do, for instance the nearest valid name; empty when there is none.
    """

    place: str
    path: str
    message: str
    received: Any = MISSING
    allowed: str = ""
    hint: str = ""

    def __str__(self) -> str:
        head = f"{self.place}: " + (f"{self.path}: " if self.path else "") + self.message
        lines = [head]
        if self.received is not MISSING:
            lines.append(f"    received: {_short(self.received)}")
        if self.allowed:
            lines.append(f"    allowed:  {self.allowed}")
        if self.hint:
            lines.append(f"    hint:     {self.hint}")
        return "\n".join(lines)


class ConfigError(UsageError):
    """A config can't be used; `problems` holds every reason."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        assert problems
        self.problems = tuple(problems)
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        super().__init__("\n".join([f"{count} in the config", *map(str, problems)]))


def nearest(word: object, names: Iterable[str]) -> str | None:
    """The name that `word` was most likely meant to be, or None if none is near."""
    text = str(word).lower().replace("-", "_").replace(" ", "_")
    by_lower = {name.lower(): name for name in names}
    found = difflib.get_close_matches(text, by_lower, n=1, cutoff=0.6)
    if found:
        return by_lower[found[0]]
    contained = [name for low, name in by_lower.items() if len(text) > 2 and text in low]
    return min(contained, key=len) if contained else None


def count(number: int, noun: str) -> str:
    """`1 row`, `2 rows`."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def _short(value: Any, limit: int = 80) -> str:
    text = "null" if value is None else repr(value)
    if isinstance(value, bool):
        text = str(value).lower()
    return text if len(text) <= limit else text[: limit - 1] + "…"
