"""What runs there are: `nnexp runs`.

A folder that somebody damaged or made up is listed with its problem; nothing here raises for it.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from nnexp.errors import DamagedRun, RunError
from nnexp.runs.rundir import SWEEP, RunDir, is_sweep, run_folders

_LARGE = 1e300
TRIALS = "trials.csv"
"""A sweep's trials, a row each."""


@dataclass(frozen=True)
class Entry:
    """A line of the list.

    kind: "run", "group", "sweep", "ablation" or "curve"; empty for a damaged one.
    status: a status of a manifest, or "damaged".
    created: ISO 8601; empty if unknown.
    members: how many models it holds, 1 for a run; a sweep's trials that are done; an ablation's
        cells.
    primary: the primary metric's name, empty before there is a summary; what a sweep went by.
    value, sd: the metric on the test split; a group's mean, and standard deviation over members; a
        sweep's best score.
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
    """Every run, group and sweep at and below a folder, newest first, but for those inside one."""
    return sorted(map(entry, run_folders(root)), key=_age, reverse=True)


def entry(path: Path) -> Entry:
    """The line for the run, group or sweep at `path`."""
    if is_sweep(path):
        return _sweep(path)
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


def _sweep(path: Path) -> Entry:
    run = RunDir(path)
    homes = [home for home in (path, *sorted(path.glob("arms/*"))) if (home / TRIALS).is_file()]
    try:
        state = run.read_json(SWEEP)
        status, metric = _text(state.get("status")), _text(state.get("metric"))
        if status == "running" and not run.is_locked():
            status = "interrupted"
        rows = [row for home in homes for row in trial_rows(home)]
    except RunError as error:
        return Entry(path.absolute().parent.name, path, problem=str(error))
    ablation, curve = _mapping(state.get("ablation")), _mapping(state.get("curve"))
    groups = ablation.get("cells") or curve.get("points")
    scores = [x for row in rows if (x := score_of(row, metric)) is not None]
    better = max if state.get("higher_is_better") is True else min
    return Entry(
        name=_text(state.get("name")) or path.absolute().parent.name,
        path=path,
        kind="ablation" if ablation else "curve" if curve else "sweep",
        status=status,
        created=_text(state.get("created")),
        members=len(groups) if groups else len(rows),
        primary=metric,
        value=better(scores, default=None),
    )


def trial_rows(sweep: Path) -> list[dict[str, str]]:
    """The rows of a sweep's trials.csv. Raises DamagedRun."""
    rows = list(csv.reader(io.StringIO(RunDir(sweep).read_text(TRIALS))))
    if not rows or any(len(row) != len(rows[0]) for row in rows):
        raise DamagedRun(f"{sweep / TRIALS} is damaged: its rows are not all of one length")
    return [dict(zip(rows[0], row, strict=True)) for row in rows[1:]]


def score_of(row: Mapping[str, str], metric: str) -> float | None:
    """The score of a trial that was trained to the end."""
    try:
        found = float(row.get(metric, ""))
    except ValueError:
        return None
    return found if row.get("state") == "finished" and abs(found) < _LARGE else None


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
