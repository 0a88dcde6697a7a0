"""The same training in other tools, where they are installed (the `bench` extra)."""

from __future__ import annotations

import importlib.util
import logging
import os
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

from .loops import LR, Run, Task, network


def frameworks(task: Task) -> tuple[dict[str, Run], list[str]]:
    """A contender for each tool that is installed, and the names of the others."""
    known: dict[str, Callable[[Task], Run]] = {
        "skorch": _skorch,
        "lightning": _lightning,
        "keras": _keras,
    }
    there = [name for name in known if importlib.util.find_spec(name) is not None]
    return {n: known[n](task) for n in there}, [n for n in known if n not in there]


def _skorch(task: Task) -> Run:
    from skorch import NeuralNetClassifier

    x, y = task.x.numpy(), task.y.numpy()

    def run() -> float:
        model = NeuralNetClassifier(
            network(task),
            criterion=nn.CrossEntropyLoss,
            optimizer=torch.optim.Adam,
            lr=LR,
            batch_size=task.batch,
            max_epochs=task.epochs,
            iterator_train__shuffle=True,
            train_split=None,
            verbose=0,
            device=str(task.device),
        )
        return task.clock(lambda: model.fit(x, y))

    return run


def _lightning(task: Task) -> Run:
    import lightning

    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)

    class Classifier(lightning.LightningModule):  # type: ignore[misc]  # it is Any to mypy
        def __init__(self) -> None:
            super().__init__()
            self.model = network(task)

        def training_step(self, batch: tuple[Tensor, Tensor], _: int) -> Tensor:
            return functional.cross_entropy(self.model(batch[0]), batch[1])

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.Adam(self.parameters(), lr=LR)

    def run() -> float:
        loader = DataLoader(TensorDataset(task.x, task.y), batch_size=task.batch, shuffle=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            trainer = lightning.Trainer(
                max_epochs=task.epochs,
                accelerator="gpu" if task.device.type == "cuda" else "cpu",
                devices=1,
                logger=False,
                enable_checkpointing=False,
                enable_progress_bar=False,
                enable_model_summary=False,
            )
            return task.clock(lambda: trainer.fit(Classifier(), loader))

    return run


def _keras(task: Task) -> Run:
    os.environ.setdefault("KERAS_BACKEND", "torch")
    import keras

    x, y = task.x.numpy(), task.y.numpy()

    def run() -> float:
        hidden: list[Any] = [keras.layers.Dense(n, activation="relu") for n in task.sizes[1:-1]]
        model = keras.Sequential(
            [keras.Input((task.sizes[0],)), *hidden, keras.layers.Dense(task.sizes[-1])]
        )
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(optimizer=keras.optimizers.Adam(LR), loss=loss)
        return task.clock(
            lambda: model.fit(x, y, batch_size=task.batch, epochs=task.epochs, verbose=0)
        )

    return run
