"""Writes small run directories, as training leaves them."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from nnexp.analysis.scores import bounds_of
from nnexp.stats import describe

HIGHER = {"accuracy": True, "loss": False, "error": False, "rmse": False, "mae": False, "r2": True}
CONFIG = {
    "name": "first",
    "seed": 0,
    "data": {"source": "digits", "split": {"train": 0.6, "dev": 0.2, "test": 0.2, "seed": 0}},
    "model": {"name": "mlp", "hidden": [64, 32]},
    "loss": {"name": "cross_entropy"},
    "optimizer": {"name": "adam", "lr": 0.001},
}


def score(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """The summary's metrics of a classifier's rows."""
    accuracy = float(np.mean([row["target"] == row["prediction"] for row in rows]))
    loss = float(np.mean([row["loss"] for row in rows]))
    return {"accuracy": accuracy, "error": 1 - accuracy, "loss": loss}


def write_run(
    path: Path,
    rows: Sequence[Mapping[str, Any]],
    test: Mapping[str, float | None] | None = None,
    *,
    config: Mapping[str, Any] | None = None,
    manifest: Mapping[str, Any] | None = None,
    **summary: Any,
) -> Path:
    """A run directory; keywords replace top-level entries of its files."""
    path.mkdir(parents=True)
    resolved = CONFIG | dict(config or {})
    for name in ("config.yaml", "resolved.yaml"):
        (path / name).write_text(yaml.safe_dump(resolved))
    told = {
        "kind": "run",
        "status": "finished",
        "seed": 0,
        "split_seed": 0,
        "parameters": 1234,
        "seconds": 2.5,
        "data": {"fingerprint": "f0", "files": []},
        "split": {"train": "t0", "dev": "d0", "test": "e0"},
    }
    (path / "manifest.json").write_text(json.dumps(told | dict(manifest or {})))
    known = dict(score(rows) if test is None else test)
    whole = {
        "status": "finished",
        "task": "classification",
        "primary": "accuracy",
        "higher_is_better": HIGHER,
        "train": known,
        "test": known,
        "best_epoch": 2,
        "epochs": 3,
        "steps": 30,
    }
    (path / "summary.json").write_text(json.dumps(whole | summary))
    with (path / "predictions.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    (path / "metrics.csv").write_text("epoch,train/loss,dev/loss\n1,2.0,2.5\n2,1.0,\n")
    return path


def write_group(
    path: Path,
    members: Sequence[Mapping[str, Any]],
    *,
    config: Mapping[str, Any] | None = None,
    manifest: Mapping[str, Any] | None = None,
) -> Path:
    """A group directory; each member is keywords of `write_run` (with `rows`)."""
    for i, member in enumerate(members):
        write_run(path / f"s{i}", **({"config": config} | dict(member)))
    first = json.loads((path / "s0" / "summary.json").read_text())
    tests = [json.loads((p / "summary.json").read_text())["test"] for p in path.glob("s*")]
    part = {m: describe([t[m] for t in tests], bounds_of(m)) for m in first["test"]}
    first |= {key: describe([first[key]]) for key in ("best_epoch", "epochs", "steps")}
    first |= {"members": len(members), "train": part, "test": part}
    (path / "summary.json").write_text(json.dumps(first))
    (path / "resolved.yaml").write_text((path / "s0" / "resolved.yaml").read_text())
    told = json.loads((path / "s0" / "manifest.json").read_text())
    told |= {"kind": "group", "members": len(members), "varies": "seed"}
    (path / "manifest.json").write_text(json.dumps(told | dict(manifest or {})))
    return path


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Path]:
    """`run(name, rows, …)` writes a run below the temporary folder."""
    return lambda name, *args, **kwargs: write_run(tmp_path / name, *args, **kwargs)


@pytest.fixture
def group(tmp_path: Path) -> Callable[..., Path]:
    """`group(name, members, …)` writes a group below the temporary folder."""
    return lambda name, *args, **kwargs: write_group(tmp_path / name, *args, **kwargs)
