"""What recording the layers' health takes of a training, by the default rule of which epochs."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from nnexp.config.experiment import Experiment
from nnexp.train import health
from nnexp.train.blueprint import Signature
from nnexp.train.feed import Feed
from nnexp.train.loop import Hooks, Pack, train

from .results import Figure, Found

_WHAT = "recording health, of the time of all else in training"
_CNN = {"name": "cnn", "channels": [8, 16], "hidden": [32]}
_SMALL: dict[str, Any] = {"name": "mlp", "hidden": [16]}
_DEEP: dict[str, Any] = {"name": "mlp", "hidden": [128, 64], "batch_norm": True, "dropout": 0.1}
_TALL: dict[str, Any] = {"name": "mlp", "hidden": [16] * 60}
_CASES: dict[str, tuple[Any, tuple[int, ...], int, int, int]] = {
    "MLP 4-16-3, 90 examples, batch 16": (_SMALL, (4,), 90, 16, 1),
    "the same, 20 models": (_SMALL, (4,), 90, 16, 20),
    "the same, batch 90": (_SMALL, (4,), 90, 90, 1),
    "MLP of 60 layers of 16, 1078 examples, batch 64": (_TALL, (16,), 1078, 64, 1),
    "MLP 64-128-64-10 with batch norm, 1078 examples, batch 64": (_DEEP, (64,), 1078, 64, 1),
    "the same, batches of 8": (_DEEP, (64,), 1078, 8, 1),
    "the same, batches of 1078": (_DEEP, (64,), 1078, 1078, 1),
    "CNN on 8 × 8 pixels, 1078 examples, batch 64": (_CNN, (1, 8, 8), 1078, 64, 1),
    "the same, batch 8": (_CNN, (1, 8, 8), 1078, 8, 1),
}


def measure(rounds: int, quick: bool, threads: int | None) -> Found:
    """A figure a network: the time of recording over that of everything else."""
    threads = threads or torch.get_num_threads()
    torch.set_num_threads(threads)
    found = Found([], [], [])
    with threadpool_limits(threads):
        for case, (model, shape, rows, batch, members) in _CASES.items():
            pack = _pack(model, shape, rows, batch, members)
            values = [_share(pack) for _ in range(min(rounds, 3) if quick else rounds)]
            found.figures.append(Figure(_WHAT, case, tuple(values), unit="%", bound=5.0))
    return found


def _share(pack: Pack) -> float:
    """In %: of a training that is as long as needed for two recordings."""
    spent = 0.0
    examine = health.examine

    def timed(*given: Any) -> Any:
        nonlocal spent
        began = time.perf_counter()
        found = examine(*given)
        spent += time.perf_counter() - began
        return found

    setattr(health, "examine", timed)  # noqa: B010
    try:
        began = time.perf_counter()
        train(pack, pack.start(), Hooks())
        total = time.perf_counter() - began
    finally:
        setattr(health, "examine", examine)  # noqa: B010
    return 100 * spent / (total - spent)


def _pack(model: Any, shape: tuple[int, ...], rows: int, batch: int, members: int) -> Pack:
    steps = -(-rows // batch)
    every = next(epoch for epoch in range(1, 10_000) if health.is_due(epoch, steps, batch))
    config = {
        "data": {"source": "digits"},
        "model": model,
        "task": "classification",
        "loss": "cross_entropy",
        "metrics": ["accuracy", "loss"],
        "training": {"epochs": 2 * every, "batch_size": batch},
    }
    random = np.random.default_rng(0)
    x = torch.tensor(random.standard_normal((2 * rows, *shape)), dtype=torch.float32)
    y = torch.tensor(random.integers(0, 10, 2 * rows))
    where = torch.arange(2 * rows)
    cuts = {"train": (0, rows), "dev": (rows, rows + rows // 3), "test": (rows + rows // 3, None)}
    parts = {name: where[None, first:last] for name, (first, last) in cuts.items()}
    feed = Feed(x, y, parts, [0] * members, None, ())
    signature = Signature(shape, 10, rows, tuple("0123456789"))
    seeds = [Experiment.model_validate({**config, "seed": seed}) for seed in range(members)]
    return Pack(seeds, signature, feed, torch.device("cpu"), records_health=True)
