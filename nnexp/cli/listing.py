"""What `nnexp runs` and `nnexp show RUN` show."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from nnexp.cli import console
from nnexp.cli.console import Cell, Style
from nnexp.cli.summary import show_summary
from nnexp.runs.index import Entry, entry
from nnexp.runs.rundir import RunDir

_ALL = range(5)
_STATUS: dict[str, Style] = {
    "finished": "",
    "running": "good",
    "interrupted": "warning",
    "diverged": "bad",
    "failed": "bad",
    "damaged": "bad",
}


def entries_to_json(found: Sequence[Entry]) -> list[dict[str, Any]]:
    return [asdict(line) for line in found]


def show_entries(found: Sequence[Entry], folder: Path) -> None:
    """A line for each run, group or sweep, by folder if lines are short; then what is wrong."""
    if not found:
        console.note(f"there are no runs in {folder}")
    if console.is_wide(130):
        rows = [[*_line(one), str(one.path)] for one in found]
        console.say_table(["status", "kind", "time", "score", "path"], rows, right=[2], whole=_ALL)
    else:
        for parent in dict.fromkeys(one.path.parent for one in found):
            console.say_path(parent, "name")
            rows = [[one.path.name, *_line(one)] for one in found if one.path.parent == parent]
            console.say_table([""] * 5, rows, right=[3], whole=_ALL, indent=2)
    for one in found:
        if one.problem:
            console.warn(one.problem)


def _line(one: Entry) -> list[Cell]:
    score = {"mean": one.value, "sd": one.sd}
    kinds = {
        "group": console.count(one.members, "model"),
        "sweep": f"sweep, {console.count(one.members, 'trial')}",
        "ablation": f"ablation, {console.count(one.members, 'group')}",
        "curve": f"curve, {console.count(one.members, 'point')}",
    }
    best = "best " if one.kind == "sweep" else ""
    return [
        (one.status, _STATUS.get(one.status, "")),
        kinds.get(one.kind, one.kind),
        console.duration(one.seconds) if one.seconds is not None else "",
        f"{best}{one.primary} {console.spread(score)}" if one.value is not None else "",
    ]


def run_to_json(run: RunDir) -> dict[str, Any]:
    manifest = run.read_manifest()
    return {
        "path": run.path,
        "status": entry(run.path).status,
        "manifest": manifest,
        "summary": run.read_summary() if run.summary.exists() else None,
        "config": run.read_config() if run.resolved.exists() else None,
        "files": [{"name": name, "bytes": size} for name, size in _files(run)],
    }


def show_run(run: RunDir) -> None:
    """What a run or group was, what came out of it, and which files it left."""
    manifest = run.read_manifest()
    status = entry(run.path).status
    console.say_path(run.path, "bold")
    console.say_table(["", ""], [[(k, "dim"), v] for k, v in _facts(manifest, status)], indent=2)
    if run.resolved.exists():
        console.say("config of m0" if manifest.get("ensemble") else "config", "bold")
        config = run.read_config()
        rows: list[list[Cell]] = [[(k, "name"), brief(v)] for k, v in _highlights(config)]
        console.say_table(["", ""], rows, indent=2)
    if run.summary.exists():
        console.say("results", "bold")
        show_summary(run.read_summary(), manifest.get("seconds"))
    console.say("files", "bold")
    files: list[list[Cell]] = [[name, f"{size:,} bytes"] for name, size in _files(run)]
    console.say_table(["", ""], files, right=[1], indent=2)
    listed = [str(name) for name in manifest.get("files") or ()] if status == "finished" else []
    if lost := [name for name in listed if not (run.path / name).exists()]:
        console.note(f"missing: {', '.join(lost)}", "warning")
    if status == "interrupted":
        console.note(f"go on with: nnexp train --resume {run.path}", "warning")


def _facts(manifest: Mapping[str, Any], status: str) -> Iterator[tuple[str, str]]:
    members = manifest.get("members")
    kind = str(manifest.get("kind"))
    if members:
        kind += f" of {console.count(members, 'model')} that differ in their {manifest['varies']}"
    yield "name", str(manifest.get("name", ""))
    committee = manifest.get("ensemble") or ()
    yield "what", f"committee of {len(committee)} models" if committee else kind
    for number, member in enumerate(committee):
        yield f"m{number}", member
    yield "status", status
    yield "created", str(manifest.get("created", ""))
    if manifest.get("seconds") is not None:
        yield "took", f"{console.duration(manifest['seconds'])} on {manifest.get('device', '?')}"
    if manifest.get("parameters") is not None:
        yield "parameters", f"{manifest['parameters']:,}"
    data, split = manifest.get("data") or {}, manifest.get("split") or {}
    counts = ", ".join(f"{part} {n:,}" for part, n in (split.get("counts") or {}).items())
    if data.get("rows") is not None:
        yield "examples", f"{data['rows']:,}" + (f" ({counts})" if counts else "")
    if manifest.get("overrides"):
        yield "options", " ".join(f"--set {text}" for text in manifest["overrides"])
    versions = {"nnexp": manifest.get("nnexp"), **(manifest.get("versions") or {})}
    yield "versions", ", ".join(f"{name} {number}" for name, number in versions.items())
    if names := [plugin["name"] for plugin in manifest.get("plugins") or ()]:
        yield "plugins", ", ".join(names) + " (to score it or go on, give them with --plugin)"
    if manifest.get("git_commit"):
        yield "commit", str(manifest["git_commit"])


def _highlights(config: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in config.items():
        if key == "data" and isinstance(value, Mapping):
            yield from ((f"data.{part}", inner) for part, inner in value.items())
        elif key != "name" and value not in (None, {}, []):
            yield key, value


def brief(value: Any) -> str:
    """A part of a config on one line: `adam (lr 0.01, beta1 0.9)`."""
    if isinstance(value, Mapping):
        empty: list[Any] = [None, {}, []]
        rest = {k: v for k, v in value.items() if k != "name" and v not in empty}
        inner = ", ".join(f"{k} {brief(v)}" for k, v in rest.items())
        if "name" in value:
            return f"{value['name']} ({inner})" if inner else str(value["name"])
        return inner
    if isinstance(value, list):
        return "[" + ", ".join(brief(item) for item in value) + "]"
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, str) and not any(c.isalnum() for c in value):
        return repr(value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def _files(run: RunDir) -> list[tuple[str, int]]:
    found = [path for path in sorted(run.path.iterdir()) if path.is_file() and path.name != "lock"]
    return [(path.name, path.stat().st_size) for path in found]
