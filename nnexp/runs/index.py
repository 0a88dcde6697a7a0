"""What runs there are: `nnexp runs`.

A folder that somebody damaged or made up is listed with its problem; nothing here raises for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from nnexp.errors import RunError
from nnexp.runs.rundir import RunDir, run_folders

_LARGE = 1e300


@dataclass(frozen=True)
class Entry:
    """A line of the list.

    kind: "run" or "group"; empty for a damaged one.
    status: a status of a manifest, or "damaged".
    created: ISO 8601; empty if unknown.
    members: how many models it holds, 1 for a run.
    primary: the primary metric's name, empty before there is a summary.
    value, sd: the metric on the test split; a group's mean, and standard deviation over members.
    seconds: how long training took.
    problem: why it can't be read; empty if it can.
    """

    name: str
    path: Path
    kind: str = ""
    status: str = "damaged"
    created: str = ""
    members: int = 0
    primary: str = ""
    value: float | None = None
    sd: float | None = None
    seconds: float | None = None
    problem: str = ""


def find(root: Path) -> list[Entry]:
    """Every run and group at and below a folder, newest first; a group's members are not listed."""
    return sorted(map(entry, run_folders(root)), key=_age, reverse=True)


def entry(path: Path) -> Entry:
    """The line for the run or group at `path`."""
    run, name = RunDir(path), path.absolute().parent.name
    try:
        manifest = run.read_manifest()
        kind, status = manifest["kind"], manifest["status"]
        if status == "running" and not run.is_locked():
            status = "interrupted"  # its process was killed
        summary = run.read_json(run.summary) if run.summary.exists() else {}
    except RunError as error:
        return Entry(name, path, problem=str(error))
    primary = _text(summary.get("primary"))
    value, sd = _score(_mapping(summary.get("test")).get(primary))
    members = manifest.get("members") if kind == "group" else 1
    return Entry(
        name=_text(manifest.get("name")) or name,
        path=path,
        kind=kind,
        status=status,
        created=_text(manifest.get("created")),
        members=members if isinstance(members, int) else 0,
        primary=primary,
        value=value,
        sd=sd,
        seconds=_number(manifest.get("seconds")),
    )


def _score(found: Any) -> tuple[float | None, float | None]:
    if isinstance(found, Mapping):
        return _number(found.get("mean")), _number(found.get("sd"))
    return _number(found), None


def _age(line: Entry) -> tuple[float, str]:
    try:
        seconds = datetime.fromisoformat(line.created).timestamp()
    except (ValueError, OverflowError, OSError):
        seconds = 0.0  # the oldest, since nobody knows
    return seconds, str(line.path)


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if abs(value) < _LARGE else None


def _text(value: Any) -> str:
    """The printable characters: a manifest may come from anywhere, and goes to a terminal."""
    return "".join(filter(str.isprintable, value)) if isinstance(value, str) else ""


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
