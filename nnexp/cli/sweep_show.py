"""`nnexp show SWEEP`, and the pictures of a sweep."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from nnexp.cli import console
from nnexp.cli.console import Cell
from nnexp.cli.curve import show_curve
from nnexp.cli.listing import brief
from nnexp.cli.sweep_summary import show_sweep
from nnexp.errors import RunError, UsageError
from nnexp.runs.index import entry, trial_rows
from nnexp.runs.rundir import RunDir
from nnexp.search.folder import SweepDir

STATES = ("finished", "diverged", "pruned", "invalid")


def sweep_to_json(sweep: SweepDir) -> dict[str, Any]:
    """Its status, what it searches, and what it has found so far."""
    state = sweep.state()
    start = {"path": sweep.path, "status": entry(sweep.path).status}
    if kind := next((kind for kind in ("ablation", "curve") if kind in state), ""):
        summary = sweep.read(sweep.summary) if sweep.summary.is_file() else None
        return {**start, kind: state[kind], "summary": summary}
    return {
        **start,
        "sweep": state["sweep"],
        "summary": _summary(sweep, state),
    }


def show_sweep_dir(sweep: SweepDir) -> None:
    """What a sweep searches, and what it has found so far."""
    state, status = sweep.state(), entry(sweep.path).status
    console.say_path(sweep.path, "bold")
    if "ablation" in state:
        _show_ablation(sweep, state, status)
        return
    if "curve" in state:
        _show_curve(sweep, state, status)
        return
    facts: list[list[Cell]] = [[(name, "dim"), text] for name, text in _facts(state, status)]
    console.say_table(["", ""], facts, indent=2)
    console.say("search", "bold")
    rows: list[list[Cell]] = [
        [(key, "name"), _domain(given)] for key, given in state["sweep"]["search"].items()
    ]
    console.say_table(["", ""], rows, indent=2)
    summary = _summary(sweep, state)
    if summary is not None:
        console.say("results" if status == "finished" else "results so far", "bold")
        show_sweep(sweep, summary)
    if status != "finished":
        console.note(f"go on with: nnexp sweep --resume {sweep.path}", "warning")


def _show_ablation(sweep: SweepDir, state: Mapping[str, Any], status: str) -> None:
    """What an ablation leaves out, and its table once there is one."""
    asked = state["ablation"]
    groups = console.count(len(asked["cells"]), "group")
    facts: list[list[Cell]] = [
        [("name", "dim"), str(state["name"])],
        [("what", "dim"), f"ablation ({asked['design']}) in {groups} of {brief(asked['factors'])}"],
        [("status", "dim"), status],
        [("created", "dim"), str(state["created"])],
    ]
    console.say_table(["", ""], facts, indent=2)
    table = sweep.path / "ablation.md"
    if table.is_file():
        console.say_verbatim(RunDir(sweep.path).read_text(table))
    if status != "finished":
        console.note(f"go on with: nnexp ablate --resume {sweep.path}", "warning")


def _show_curve(sweep: SweepDir, state: Mapping[str, Any], status: str) -> None:
    """What a curve goes over, and its scores once they are there."""
    asked = state["curve"]
    points = brief([point["value"] for point in asked["points"]])
    facts: list[list[Cell]] = [
        [("name", "dim"), str(state["name"])],
        [("what", "dim"), f"curve over {asked['over']}: {points}"],
        [("status", "dim"), status],
        [("created", "dim"), str(state["created"])],
    ]
    console.say_table(["", ""], facts, indent=2)
    if status == "finished":
        from nnexp.search.curve import read_curve

        show_curve(read_curve(sweep))
    else:
        console.note(f"go on with: nnexp curve --resume {sweep.path}", "warning")


def _facts(state: Mapping[str, Any], status: str) -> Iterator[tuple[str, str]]:
    asked = state["sweep"]
    yield "name", str(state["name"])
    arms = f", for each of the arms {', '.join(asked['arms'])}" if asked["arms"] else ""
    yield "what", f"sweep of {console.count(asked['trials'], 'trial')} by {_method(asked)}{arms}"
    if asked["seeds"] > 1:
        yield "score", f"mean over {asked['seeds']} seeds"
    yield "status", status
    yield "created", str(state["created"])


def _method(asked: Mapping[str, Any]) -> str:
    return brief(asked["method"])


def _domain(given: Mapping[str, Any]) -> str:
    """A domain on one line: `log_uniform 0.001 to 1`."""
    if not given:
        return "its own range"
    ((name, options),) = given.items()
    if name == "choice":
        return ", ".join(brief(option) for option in options["options"])
    ends = options.get("range")
    return f"{name} {brief(ends[0])} to {brief(ends[1])}" if ends else str(name)


def _summary(sweep: SweepDir, state: Mapping[str, Any]) -> dict[str, Any] | None:
    """summary.json; before it is there, as much of it as the trials so far tell."""
    if sweep.summary.is_file():
        return sweep.read(sweep.summary)
    if not state["sweep"]["arms"]:
        return _so_far(sweep, state)
    homes = {arm: SweepDir(sweep.path / "arms" / arm) for arm in state["sweep"]["arms"]}
    found = {arm: _summary_of_arm(home, state) for arm, home in homes.items()}
    there = {arm: summary for arm, summary in found.items() if summary is not None}
    return {"arms": there} if there else None


def _summary_of_arm(arm: SweepDir, state: Mapping[str, Any]) -> dict[str, Any] | None:
    return arm.read(arm.summary) if arm.summary.is_file() else _so_far(arm, state)


def _so_far(sweep: SweepDir, state: Mapping[str, Any]) -> dict[str, Any] | None:
    if not sweep.table.is_file():
        return None
    states = [row["state"] for row in trial_rows(sweep.path)]
    return {
        "metric": state["metric"],
        "higher_is_better": state["higher_is_better"],
        "trials": len(states),
        **{name: states.count(name) for name in STATES},
        "packs": sum(len(sweep.read(path)["packs"]) for path in sweep.path.glob("batches/*.json")),
    }


# -- pictures --------------------------------------------------------------------------------------


def check_pictures(folder: Path) -> None:
    """Raises UsageError, before anything is trained, if no picture could be written there."""
    from importlib.util import find_spec

    if folder.exists() and not folder.is_dir():
        raise UsageError(f"--plot: {folder} is a file; give a folder for the pictures")
    if find_spec("matplotlib") is None:
        raise UsageError("pictures need matplotlib: pip install 'nnexp[plot]'")


def draw_pictures(sweep: SweepDir, folder: Path) -> list[Path]:
    """Writes parallel.png and slices.png, of arms one for each: parallel_ARM.png, slices_ARM.png.

    Raises UsageError if no trial has a score, RunError if the folder can't be made.
    """
    from nnexp.report.figures.style import save

    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"{folder} can't be made: {error.strerror or error}") from error
    arms = sweep.state()["sweep"]["arms"]
    homes = {f"_{arm}": SweepDir(sweep.path / "arms" / arm) for arm in arms}
    written = []
    for end, home in (homes or {"": sweep}).items():
        for kind in KINDS:
            path = folder / f"{kind}{end}.png"
            save(drawn(home, kind), path)
            written.append(path)
    return written


KINDS = ("parallel", "slices")
"""The pictures of a sweep."""


def home_of(path: Path, arm: str | None) -> SweepDir:
    """A sweep, or one of its arms. Raises RunError, and UsageError if there is no such arm."""
    sweep = SweepDir.open(path)
    asked = sweep.state().get("sweep")
    if asked is None:
        raise UsageError(f"{path} is no sweep: nnexp show {path} says what it is")
    arms = list(asked["arms"])
    if arm is None and not arms:
        return sweep
    if arm is None or arm not in arms:
        given = f" (received: {arm})" if arm else ""
        told = f"its arms are {', '.join(arms)}" if arms else "it has no arms"
        raise UsageError(f"{path}: say which arm to draw with --arm; {told}{given}")
    return SweepDir(sweep.path / "arms" / arm)


def drawn(home: SweepDir, kind: str) -> Any:
    """A picture of the trials of a sweep, or of one arm: a matplotlib Figure.

    Raises UsageError if no trial has a score, or without matplotlib.
    """
    from nnexp.report.figures.sweep import parallel_coordinates, slices

    draw = {"parallel": parallel_coordinates, "slices": slices}[kind]
    state = home.state()
    shares = _shares(home.read(home.summary)) if home.summary.is_file() else {}
    return draw(
        trial_rows(home.path),
        state["metric"],
        state["higher_is_better"],
        state.get("scales"),
        shares,
    )


def _shares(summary: Mapping[str, Any]) -> dict[str, float]:
    """Importance by key: what belongs to one choice only, `schedule[step].gamma`, by its key."""
    found: dict[str, float] = {}
    for name, share in summary.get("importance", {}).items():
        key = re.sub(r"\[.*?\]", "", name)
        found[key] = found.get(key, 0.0) + share
    return found
