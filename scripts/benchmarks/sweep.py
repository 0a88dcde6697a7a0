"""How long a search of 256 trials takes: as packs, one after another, and as processes of PyTorch.

The latter two are timed on some of the same trials, and the rest is extrapolated.
"""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

from .results import Figure, Found, Timing, interleave, ratios

CASE = "256 random trials of the digits MLP, 20 epochs"
TRIALS = 256
CONFIG: dict[str, Any] = {
    "data": {"source": "digits"},
    "preprocessing": ["min_max"],
    "model": {"name": "mlp", "hidden": [64], "dropout": 0.1},
    "optimizer": "momentum",
    "training": {"epochs": 20, "batch_size": 64},
    "sweep": {
        "trials": TRIALS,
        "fresh_seeds": 0,
        "search": {
            "optimizer.lr": {"log_uniform": [1e-3, 1.0]},
            "optimizer.momentum": {"one_minus_log": [0.5, 0.99]},
            "regularization.l2": {"log_uniform": [1e-6, 1e-2]},
            "model.dropout": {"uniform": [0.0, 0.6]},
            "initialization": ["he_normal", "glorot_normal", "glorot_uniform"],
            "schedule": ["constant", "cosine", {"name": "one_cycle"}],
        },
    },
}
SEARCH = "nnexp sweep (the whole command)"
ALONE = "nnexp, one trial after another in one process"
PLAIN = "a process of a plain PyTorch script for each"
PROGRAM = """
import json, sys
import numpy as np, torch
from sklearn.datasets import load_digits
lr, momentum, l2, dropout = map(float, sys.argv[1:5])
torch.manual_seed(0)
torch.set_num_threads(1)
digits = load_digits()
x = torch.tensor(digits.data / 16.0, dtype=torch.float32)
y = torch.tensor(digits.target)
order = np.random.default_rng(0).permutation(len(x))
train, dev = order[:1078], order[1078:1437]
net = torch.nn.Sequential(
    torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Dropout(dropout), torch.nn.Linear(64, 10)
)
optimizer = torch.optim.SGD(net.parameters(), lr=lr, momentum=momentum, weight_decay=l2)
rows, best = [], 0.0
for epoch in range(20):
    net.train()
    shuffled = train[np.random.permutation(len(train))]
    for start in range(0, len(train), 64):
        batch = shuffled[start:start + 64]
        loss = torch.nn.functional.cross_entropy(net(x[batch]), y[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    net.eval()
    with torch.no_grad():
        scores = [(net(x[p]).argmax(1) == y[p]).float().mean().item() for p in (train, dev)]
    rows.append(scores)
print(json.dumps(rows[-1]))
"""
RESULTS = """
import sys, time
from pathlib import Path
from nnexp.config.load import load_config
from nnexp.runs.execute import Order, Reporter, start
folder, out = Path(sys.argv[1]), Path(sys.argv[2])
import torch
torch.set_num_threads(1)
begun = time.perf_counter()
for path in sorted(folder.glob("*.yaml")):
    config = load_config(path)
    start(Order(config.experiment, config.text, folder), out, Reporter())
print(time.perf_counter() - begun)
"""


def measure(rounds: int, quick: bool) -> Found:
    """A sweep, and 16 of its trials both other ways, in turn."""
    few = 8 if quick else 16
    with TemporaryDirectory(prefix="nnexp-bench-") as name:
        folder = Path(name)
        (folder / "swept.yaml").write_text(yaml.safe_dump(CONFIG))
        _sweep(folder, "first")
        trials = _trials(folder / "first", few)
        numbers = iter(range(10**6))

        def swept() -> float:
            return _sweep(folder, f"again{next(numbers)}")

        def alone() -> float:
            return _alone(folder, next(numbers)) * TRIALS / few

        def plain() -> float:
            return sum(_plain(trial) for trial in trials) * TRIALS / few

        _write_alone(folder, few)
        times = interleave({SEARCH: swept, ALONE: alone, PLAIN: plain}, rounds, CASE)
    found = Found([], [], [])
    found.timings += [Timing(CASE, who, seconds) for who, seconds in times.items()]
    for who, bound, goal in ((ALONE, 1 / 8, 1 / 20), (PLAIN, 1 / 60, None)):
        ratio = ratios(times[SEARCH], times[who])
        found.figures.append(Figure(CASE, f"{SEARCH} / {who}", ratio, bound=bound, goal=goal))
    found.notes.append(
        f"the trials one by one are extrapolated from {few} of {TRIALS}; each works on one thread, "
        f"and the sweep on {os.cpu_count()} processes of one thread"
    )
    return found


def _environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1"}


def _sweep(folder: Path, out: str) -> float:
    begun = time.perf_counter()
    command = [
        str(Path(sys.executable).with_name("nnexp")),
        "sweep",
        "swept.yaml",
        "--out",
        out,
        "-q",
    ]
    subprocess.run(command, check=True, cwd=folder, capture_output=True, env=_environment())
    return time.perf_counter() - begun


def _trials(out: Path, count: int) -> list[dict[str, str]]:
    """Some of a sweep's trials, spread over all."""
    (table,) = out.glob("*/*/trials.csv")
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return rows[:: len(rows) // count][:count]


def _write_alone(folder: Path, count: int) -> None:
    """The same trials' configs, for the same program to train one by one."""
    (sweep,) = (folder / "first").glob("*/*")
    (folder / "alone").mkdir()
    for number in range(0, TRIALS, TRIALS // count):
        text = (sweep / "trials" / f"{number:04d}" / "resolved.yaml").read_text()
        (folder / "alone" / f"{number:04d}.yaml").write_text(text)


def _alone(folder: Path, number: int) -> float:
    command = [sys.executable, "-c", RESULTS, str(folder / "alone"), str(folder / f"one{number}")]
    done = subprocess.run(
        command, check=True, capture_output=True, text=True, env=_environment(), cwd=folder
    )
    return float(done.stdout.split()[-1])


def _plain(trial: dict[str, str]) -> float:
    keys = ("optimizer.lr", "optimizer.momentum", "regularization.l2", "model.dropout")
    begun = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *(trial[key] for key in keys)],
        check=True, capture_output=True, text=True, env=_environment(),
    )  # fmt: skip
    json.loads(done.stdout)
    return time.perf_counter() - begun
