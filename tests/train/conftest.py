"""Small packs for the engine's tests, built without files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch

from nnexp.config.experiment import Experiment
from nnexp.train.blueprint import Signature
from nnexp.train.feed import Feed
from nnexp.train.loop import Pack


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def experiment() -> Callable[..., Experiment]:
    """Makes a resolved experiment; keywords replace top-level keys."""

    def make(**keys: Any) -> Experiment:
        config = {
            "data": {"source": "digits"},
            "model": {"name": "mlp", "hidden": [12, 8]},
            "task": "classification",
            "loss": "cross_entropy",
            "metrics": ["accuracy", "loss", "error"],
            "training": {"epochs": 3, "batch_size": 16, "precision": "float64"},
            **keys,
        }
        return Experiment.model_validate(config)

    return make


@pytest.fixture
def pack() -> Callable[..., Pack]:
    """Makes a pack of experiments on a random, learnable task."""

    def make(
        members: Sequence[Experiment],
        shape: tuple[int, ...] = (6,),
        classes: int = 3,
        rows: int = 90,
    ) -> Pack:
        random = np.random.default_rng(7)
        x = random.standard_normal((rows, *shape))
        rule = random.standard_normal((int(np.prod(shape)), classes))
        y = (x.reshape(rows, -1) @ rule).argmax(1)
        dtype = torch.float64 if members[0].training.precision == "float64" else torch.float32
        cut = [rows * 5 // 9, rows * 7 // 9]
        where = torch.arange(rows)
        parts = {
            "train": where[None, : cut[0]],
            "dev": where[None, cut[0] : cut[1]],
            "test": where[None, cut[1] :],
        }
        feed = Feed(
            torch.tensor(x, dtype=dtype), torch.tensor(y), parts, [0] * len(members), None, (),
            counts=np.bincount(y[: cut[0]], minlength=classes)[None],
        )  # fmt: skip
        names = tuple("abcdefghijklmnopqrstuvwxyz"[:classes])
        return Pack(members, Signature(shape, classes, cut[0], names), feed, torch.device("cpu"))

    return make
