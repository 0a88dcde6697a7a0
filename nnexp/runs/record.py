"""What a trained member leaves: metrics, predictions, weights, summary, and how it came about."""

from __future__ import annotations

import csv
import hashlib
import io
import math
import platform
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import nnexp
from nnexp.components.metrics.metric import Averaged, Metric, Scored
from nnexp.components.regularizers import L1, sparsity
from nnexp.components.table import Table
from nnexp.config.experiment import Experiment
from nnexp.config.source import dump
from nnexp.data.prepare import Prepared
from nnexp.lazy import torch
from nnexp.runs.files import Writer, writing
from nnexp.runs.rundir import RunDir
from nnexp.stats import describe
from nnexp.train import evaluate
from nnexp.train.device import suitable_threads
from nnexp.train.health import COLUMNS, Health
from nnexp.train.loop import Pack
from nnexp.train.state import Row, TrainState


@dataclass(frozen=True)
class Outcome:
    """One member at its end: its summary and, for dev and test, what it predicts.

    summary: the content of summary.json. predictions: the text of predictions.csv.
    by_position: what of a dense task predictions.safetensors holds; {} for others.
    """

    summary: dict[str, Any]
    predictions: str
    by_position: dict[str, np.ndarray]


def outcome(
    pack: Pack, now: TrainState, number: int, table: Table, predicts: bool = True
) -> Outcome:
    """Score a member with its best weights, alone, exactly as `nnexp eval` does later.

    predicts: whether what it predicts is wanted, too.
    """
    member, experiment = now.members[number], pack.members[number]
    tensors = {
        name: now.tensors[f"best_{name}"][number : number + 1] for name in ("params", "buffers")
    }
    # Without early stopping, the "best" weights of a diverged member are those before it blew up.
    stopping = experiment.training.early_stopping is not None
    usable = member.status != "diverged" or (stopping and member.best_epoch > 0)
    summary: dict[str, Any] = {
        "status": "diverged" if member.status == "diverged" else "finished",
        **heading(experiment),
    }
    prepared = pack.feed.tables[pack.feed.split_of[number]]
    texts: list[str] = []
    by_position: dict[str, np.ndarray] = {}
    for part in pack.feed.parts:
        found = score(pack, number, tensors, part)
        summary[part] = found.metrics if usable else dict.fromkeys(found.metrics)
        if predicts and part != "train" and usable:
            ids = table.ids[prepared.parts[part]]
            text = prediction_rows(part, ids, prepared.classes, found, experiment.metrics or ())
            texts.append(text if not texts else text.partition("\n")[2])
            if found.scored.is_dense and experiment.task == "dense":
                by_position |= position_tensors(part, found, prepared.targets.shape[1:])
    if shares := zero_weights(pack, number, tensors["params"]):
        summary["weights"] = shares
    summary["last"] = {part: summary[part] for part in pack.feed.parts}
    if member.best_epoch != len(member.history):
        tensors = {name: now.tensors[name][number : number + 1] for name in ("params", "buffers")}
        for part in pack.feed.parts:
            summary["last"][part] = score(pack, number, tensors, part).metrics
    steps = [int(row["step"]) for row in member.history]
    summary |= {
        "best_epoch": member.best_epoch,
        "epochs": len(member.history),
        "steps": steps[-1] if steps else 0,
        "stopped_early": member.status in ("stopped", "pruned"),
    }
    if member.status == "pruned":
        summary["pruned"] = True
    return Outcome(summary, "".join(texts), by_position)


def zero_weights(pack: Pack, number: int, params: torch.Tensor) -> dict[str, float]:
    """Shares of the weights under an L1 penalty that are 0, and nearly; {} if there is none."""
    for spec, _, scope in pack.program([number]).regularizers:
        if isinstance(spec, L1):
            zero, near = sparsity(params, scope)
            return {"zero": float(zero[0]), "near_zero": float(near[0])}
    return {}


def heading(experiment: Experiment) -> dict[str, Any]:
    """The part of a summary that says how to read it."""
    metrics = experiment.metrics or []
    return {
        "task": experiment.task,
        "primary": metrics[0].component,
        "higher_is_better": {m.component: m.higher_is_better for m in metrics},
    }


@dataclass(frozen=True)
class PartScores:
    """A member on a part: metrics, its network's raw outputs `[N, K, …]`, and what was scored."""

    metrics: dict[str, float]
    outputs: torch.Tensor
    scored: Scored


def score(pack: Pack, number: int, tensors: Mapping[str, torch.Tensor], part: str) -> PartScores:
    """Score one member on a part; tensors: `params` and `buffers`, `[1, …]`."""
    program = pack.program([number])
    rows = pack.feed.rows(part, [number])
    with suitable_threads(program), torch.inference_mode():
        out, target, losses = evaluate.outputs(program, tensors, pack.feed, rows)
        found = evaluate.scored(program, out, target, losses, pack.feed, rows, [number])
        metrics = {k: v[0] for k, v in evaluate.compute(program.metrics, found).items()}
    return PartScores(metrics, out[0], found)


def prediction_rows(
    part: str,
    ids: Sequence[Any],
    classes: Sequence[str] | None,
    found: PartScores,
    metrics: Sequence[Metric],
) -> str:
    """predictions.csv for one member and part, with its header.

    Of several labels or target columns there is a column each: `target_0`, `target_1`, …, and of a
    class at every position there are only the scores (see `position_tensors` for the rest).
    After the loss comes each example's share in the metrics that need more than target and
    prediction.
    """
    scored = found.scored
    prediction, target = (x[0].cpu().numpy() for x in (scored.prediction, scored.target))
    names, columns = ["id"], [[str(i) for i in ids]]
    if scored.is_dense:
        pass
    elif classes is not None:
        labels = np.asarray(classes, object)
        names += ["target", "prediction"]
        columns += [list(labels[target]), list(labels[prediction])]
    else:
        many = target.shape[1] > 1
        for name, values in (("target", target), ("prediction", prediction)):
            for k in range(target.shape[1]):
                names.append(f"{name}_{k}" if many else name)
                columns.append([_short(v) for v in values[:, k]])
    numbers = {"loss": scored.losses[0].cpu().numpy()}
    for metric in metrics:
        if not isinstance(metric, Averaged) or metric.component == "loss":
            continue
        if metric.is_column or scored.is_dense:
            each = metric.per_example(scored)[0].to(scored.losses.dtype)
            numbers[metric.component] = each.cpu().numpy()
    if not scored.is_dense:
        outputs = found.outputs.cpu().numpy()
        numbers |= {f"output_{k}": outputs[:, k] for k in range(outputs.shape[1])}
    names += numbers
    columns += [[_short(v) for v in column] for column in numbers.values()]
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(["split", *names])
    lines.writerows((part, *row) for row in zip(*columns, strict=True))
    return text.getvalue()


def position_tensors(
    part: str, found: PartScores, positions: Sequence[int]
) -> dict[str, np.ndarray]:
    """The class at every position of a part's examples, `[N, *positions]`: target (−1: none) and
    prediction; and the outputs `[N, K, *positions]` where they take at most `OUTPUT_BYTES`.
    """
    scored = found.scored
    shape = (scored.target.shape[1], *positions)
    tensors = {
        f"{part}.{name}": classes[0].to(torch.int32).cpu().numpy().reshape(shape)
        for name, classes in (("target", scored.target), ("prediction", scored.prediction))
    }
    if found.outputs.nbytes <= OUTPUT_BYTES:
        tensors[f"{part}.outputs"] = np.ascontiguousarray(found.outputs.cpu().numpy())
    return tensors


OUTPUT_BYTES = 64 * 2**20
"""Outputs at every position are stored up to this size a part."""


def metrics_text(history: Sequence[Row], header: bool = True) -> str:
    """metrics.csv: one row an epoch."""
    if not history:
        return ""
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    if header:
        lines.writerow(history[0])
    lines.writerows([_cell(v) for v in row.values()] for row in history)
    return text.getvalue()


def health_text(rows: Sequence[Health]) -> str:
    """health.csv: one row a layer at each epoch that was examined."""
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerows([COLUMNS, *rows])
    return text.getvalue()


def add_weights(files: Writer, run: RunDir, pack: Pack, now: TrainState, number: int) -> None:
    """model.safetensors (best) and last.safetensors."""
    program = pack.program([number])
    for path, prefix in ((run.model, "best_"), (run.last, "")):
        named = program.layout.named(now.tensors[f"{prefix}params"][number])
        named |= program.buffer_layout.named(now.tensors[f"{prefix}buffers"][number])
        files.add_tensors(path, {k: v.detach().cpu().contiguous() for k, v in named.items()})


def add_member(
    run: RunDir,
    pack: Pack,
    now: TrainState,
    number: int,
    table: Table,
    manifest: Mapping[str, Any],
    seconds: float,
    baselines: Mapping[str, Any] | None = None,
    light: bool = False,
) -> Outcome:
    """Write everything that a finished member leaves, the manifest (with checksums) last.

    baselines: their scores on the member's split, for the summary.
    light: only config, metrics and summary; no weights, no predictions.
    """
    experiment = pack.members[number]
    result = outcome(pack, now, number, table, predicts=not light)
    if baselines:
        result.summary["baselines"] = dict(baselines)
    prepared = pack.feed.tables[pack.feed.split_of[number]]
    health = now.members[number].health
    with writing() as files:
        files.add_text(run.resolved, dump(experiment.dump()))
        files.add_text(run.metrics, metrics_text(now.members[number].history))
        files.add_json(run.summary, result.summary)
        if health:
            files.add_text(run.health, health_text(health))
        if not light:
            arrays, plain = prepared.to_arrays()
            files.add_text(run.predictions, result.predictions)
            if result.by_position:
                files.add_tensors(run.prediction_tensors, result.by_position)
            add_weights(files, run, pack, now, number)
            files.add_json(run.preprocessing, plain)
            files.add_tensors(run.preprocessing_tensors, arrays)
    written = [run.resolved, run.metrics, run.summary, *([run.health] if health else [])]
    if not light:
        written += [
            run.predictions, run.model, run.last, run.preprocessing, run.preprocessing_tensors,
            *([run.prediction_tensors] if result.by_position else []),
        ]  # fmt: skip
    program = pack.program([number])
    with writing() as files:
        files.add_json(
            run.manifest,
            {
                **manifest,
                "kind": "run",
                "status": result.summary["status"],
                "seed": experiment.seed,
                "split_seed": experiment.data.split.seed,
                "parameters": program.layout.size,
                "seconds": round(seconds, 3),
                "split": split_record(prepared, table),
                "files": manifest.get("files", {}) | run.seal(written),
            },
        )
    return result


def group_summary(
    members: Sequence[Mapping[str, Any]], metrics: Sequence[Metric]
) -> dict[str, Any]:
    """A group's summary.json from its members': mean, standard deviation and 95 % interval."""
    bounds = {m.component: m.bounds for m in metrics}
    first = members[0]
    summary: dict[str, Any] = {
        "status": "diverged" if all(m["status"] == "diverged" for m in members) else "finished",
        **{key: first[key] for key in ("task", "primary", "higher_is_better")},
        "members": len(members),
        "diverged": sum(m["status"] == "diverged" for m in members),
    }
    for part in ("train", "dev", "test"):
        if part in first:
            summary[part] = {
                name: describe([m[part][name] for m in members], bounds[name])
                for name in first[part]
            }
    if "weights" in first:
        summary["weights"] = {
            name: describe([m["weights"][name] for m in members], (0.0, 1.0))
            for name in first["weights"]
        }
    for key in ("best_epoch", "epochs", "steps"):
        summary[key] = describe([float(m[key]) for m in members])
    return summary


def split_record(prepared: Prepared, table: Table) -> dict[str, Any]:
    """A hash of the ids in each part, and how many there are."""
    record: dict[str, Any] = {}
    for part in ("train", "dev", "test"):
        rows = prepared.parts.get(part)
        if rows is None:
            record[part] = None
            continue
        record[part] = hash_ids(table.ids[rows])
    record["counts"] = {part: len(rows) for part, rows in prepared.parts.items()}
    return record


def hash_ids(ids: Iterable[Any]) -> str:
    """A hash of examples' ids, whatever their order."""
    return hashlib.sha256("\n".join(sorted(str(i) for i in ids)).encode()).hexdigest()


def environment(device: torch.device) -> dict[str, Any]:
    """What the numbers may depend on besides the config: versions, device, threads."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else _processor()
    return {
        "nnexp": nnexp.__version__,
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "numpy": np.__version__,
        },
        "device": device.type,
        "device_name": name,
        "threads": torch.get_num_threads(),
    }


def _processor() -> str:
    """The processor's name, where the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def git_commit(folder: Path) -> str | None:
    """The commit of the repository that a config stands in, if any."""
    if not any((parent / ".git").exists() for parent in (folder, *folder.parents)):
        return None
    command = ["git", "-C", str(folder), "rev-parse", "HEAD"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None


def data_record(table: Table) -> dict[str, Any]:
    """Which data it was."""
    return {
        "fingerprint": table.fingerprint,
        "rows": len(table.ids),
        "files": [{"path": str(f.path), "size": f.size, "sha256": f.sha256} for f in table.files],
    }


def _cell(value: float) -> str:
    return "" if isinstance(value, float) and math.isnan(value) else repr(value)


def _short(value: Any) -> str:
    """The shortest text that reads back as the same number in its own precision."""
    return str(value) if math.isfinite(value) else ""
