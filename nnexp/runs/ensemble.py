"""Committees: a run that answers the mean of what other runs answer.

Its members lie inside it, m0/ m1/ …, so that it can be moved, and their runs removed.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from nnexp.config.experiment import Experiment
from nnexp.config.source import dump
from nnexp.data.variation import corrupted
from nnexp.errors import UsageError
from nnexp.runs import record
from nnexp.runs.committee import averaged
from nnexp.runs.files import writing
from nnexp.runs.plan import arranged, load, read_experiment
from nnexp.runs.rundir import RunDir
from nnexp.runs.score import NEEDED, network, read_pipeline, usable_members

TASKS = ("classification", "regression", "multilabel")


def ensemble(paths: Sequence[Path], out: Path, name: str = "ensemble") -> tuple[RunDir, list[str]]:
    """Make a committee of runs, and of the members of groups; its run, and notes.

    Raises RunError, DataError, UsageError if they don't answer the same question.
    """
    homes: list[RunDir] = []
    notes: list[str] = []
    for path in paths:
        members, left_out = usable_members(path)
        homes += members
        notes += left_out
    seen: set[Path] = set()
    for home in homes:
        if (place := home.path.resolve()) in seen:
            raise UsageError(f"{home.path} is given twice: it would only weigh double")
        seen.add(place)
    if len(homes) < 2:
        raise UsageError("a committee needs two runs or more, or a group")
    experiments = []
    for home in homes:
        home.verify(NEEDED)
        experiments.append(read_experiment(home))
    parts = _agreed(homes, experiments)
    return _written(homes, experiments, parts, out, name), notes


def _agreed(homes: Sequence[RunDir], experiments: Sequence[Experiment]) -> list[str]:
    """The parts that hold the same examples in all. Raises UsageError if the runs don't agree."""
    first, manifest = homes[0], homes[0].read_manifest()
    if experiments[0].task not in TASKS:
        raise UsageError(f"{first.path}: there is no committee for {experiments[0].task}")
    pipeline = read_pipeline(first)
    parts = [part for part in ("train", "dev", "test") if _ids(manifest, part)]
    for home, experiment in zip(homes[1:], experiments[1:], strict=True):
        own, other = home.read_manifest(), read_pipeline(home)
        same = {
            "task": experiment.task == experiments[0].task,
            "classes": other.classes == pipeline.classes,
            "target": other.target_names == pipeline.target_names,
            "loss": experiment.loss == experiments[0].loss,
            "data": _data(own) == _data(manifest),
            "test split": _ids(own, "test") == _ids(manifest, "test"),
        }
        if wrong := [what for what, agrees in same.items() if not agrees]:
            raise UsageError(
                f"{first.path} and {home.path} differ in their {wrong[0]}, which a committee's "
                "members must share"
            )
        parts = [part for part in parts if _ids(own, part) == _ids(manifest, part)]
    if "test" not in parts:
        raise UsageError(f"{first.path} has no test split: a committee's members must share one")
    plugged = [home for home in homes if home.read_manifest().get("plugins")]
    if plugged:
        raise UsageError(f"{plugged[0].path} needs a plugin: there is no committee of such runs")
    return parts


def _ids(manifest: dict[str, Any], part: str) -> str | None:
    found: str | None = (manifest.get("split") or {}).get(part)
    return found


def _data(manifest: dict[str, Any]) -> Any:
    return (manifest.get("data") or {}).get("fingerprint")


def _written(
    homes: Sequence[RunDir],
    experiments: Sequence[Experiment],
    parts: Sequence[str],
    out: Path,
    name: str,
) -> RunDir:
    scores, predictions = _scores(homes, experiments, parts)
    manifests = [home.read_manifest() for home in homes]
    summaries = [home.read_summary() for home in homes]
    first, now = manifests[0], datetime.now(UTC)
    summary = {
        "status": "finished",
        "committee": len(homes),
        **record.heading(experiments[0]),
        "train": {},
        **scores,
        "best_epoch": max(s["epochs"] for s in summaries),
        "epochs": max(s["epochs"] for s in summaries),
        "steps": sum(s["steps"] for s in summaries),
    }
    run = RunDir.create(out, name, now)
    with run.lock():
        for number, home in enumerate(homes):
            _copy(home, run.path / f"m{number}")
        text = dump(experiments[0].model_copy(update={"name": name}).dump())
        with writing() as files:
            files.add_text(run.config, text)
            files.add_text(run.resolved, text)
            files.add_text(run.metrics, "")
            files.add_text(run.predictions, predictions)
            files.add_json(run.summary, summary)
        held = [f"m{i}/{file}" for i in range(len(homes)) for file in (*NEEDED, "summary.json")]
        written: list[str | Path] = [run.resolved, run.metrics, run.predictions, run.summary, *held]
        counts = (first.get("split") or {}).get("counts", {})
        split = {part: _ids(first, part) if part in parts else None for part in ("train", "dev")}
        keys = ("data", "seed", "split_seed", "nnexp", "versions", "device", "device_name")
        manifest = {
            "kind": "run",
            "id": secrets.token_hex(8),
            "status": "finished",
            "created": now.isoformat(timespec="seconds"),
            "name": name,
            **{key: first[key] for key in (*keys, "threads") if key in first},
            "ensemble": [str(home.path) for home in homes],
            "parameters": sum(m.get("parameters") or 0 for m in manifests),
            "seconds": sum(m.get("seconds") or 0.0 for m in manifests),
            "split": {**split, "test": _ids(first, "test"), "counts": counts},
            "files": run.seal(written),
        }
        with writing() as files:
            files.add_json(run.manifest, manifest)
    return run


def _scores(
    homes: Sequence[RunDir], experiments: Sequence[Experiment], parts: Sequence[str]
) -> tuple[dict[str, dict[str, float]], str]:
    """The committee's metrics on the parts, and its predictions.csv."""
    table, rows = arranged(experiments[0].data, load(experiments[0]))
    scores: dict[str, dict[str, float]] = {}
    texts: list[str] = []
    for part in parts:
        found, packs = [], []
        for home, experiment in zip(homes, experiments, strict=True):
            prepared = read_pipeline(home).on(table, rows)
            data = experiment.data
            prepared = corrupted(prepared, data.corruption, data.split.seed)
            pack, tensors = network(home, experiment, prepared, part)
            packs.append(pack)
            found.append(record.score(pack, 0, tensors, part))
        mean = averaged(packs[0], found, part)
        scores[part] = mean.metrics
        if part != "train":
            classes = packs[0].feed.tables[0].classes
            ids, metrics = table.ids[rows[part]], experiments[0].metrics or ()
            text = record.prediction_rows(part, ids, classes, mean, metrics)
            texts.append(text if not texts else text.partition("\n")[2])
    return scores, "".join(texts)


def _copy(home: RunDir, where: Path) -> None:
    """What is needed to use a run, with a manifest of its own."""
    where.mkdir()
    inside = RunDir(where)
    names = (*NEEDED, "summary.json")
    with writing() as files:
        for name in names:
            files.add_bytes(where / name, (home.path / name).read_bytes())
    kept = {k: v for k, v in home.read_manifest().items() if k != "files"}
    with writing() as files:
        files.add_json(inside.manifest, {**kept, "files": inside.seal(names)})
