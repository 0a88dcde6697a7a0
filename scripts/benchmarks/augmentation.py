"""What augmentation costs: an epoch with it to one without, and the warp alone against kornia's."""

from __future__ import annotations

import time
from collections.abc import Callable
from importlib import import_module
from typing import Any

import torch
from threadpoolctl import threadpool_limits

from nnexp.config.experiment import Experiment
from nnexp.train import state
from nnexp.train.blueprint import Signature
from nnexp.train.program import Program
from nnexp.train.step import Working

from .results import Figure, Found, Timing, interleave, ratios

BATCH, SIDE, BATCHES = 128, 28, 469
"""MNIST's: an epoch are 60,000 images of 28 × 28 pixels."""
AFFINE: list[Any] = [
    {"name": "rotate", "degrees": 15.0},
    {"name": "translate", "share": 0.05},
    {"name": "shear", "degrees": 10.0},
    {"name": "scale", "low": 0.9, "high": 1.1},
]
ELASTIC = {"name": "elastic", "alpha": 34.0, "sigma": 4.0}
WARP = f"affine and elastic, {BATCH} images of {SIDE} × {SIDE}"
EPOCH = f"MNIST MLP 784-512-512-10, batch {BATCH} (random data)"
OURS, KORNIA = "nnexp", "kornia"


def measure(rounds: int, quick: bool, threads: int | None) -> Found:
    """Both ratios; the second only where kornia is installed."""
    threads = threads or torch.get_num_threads()
    torch.set_num_threads(threads)
    found = Found([], [], [])
    with threadpool_limits(threads):
        _epochs(found, rounds, 60 if quick else BATCHES)
        _warps(found, rounds, 20 if quick else 100)
    return found


def _epochs(found: Found, rounds: int, batches: int) -> None:
    listed = {"plain": [], "affine": AFFINE, "affine and elastic": [*AFFINE, ELASTIC]}
    times = interleave({k: _epoch(v, batches) for k, v in listed.items()}, rounds, EPOCH)
    found.timings += [Timing(EPOCH, who, seconds) for who, seconds in times.items()]
    for who, bound in (("affine", None), ("affine and elastic", 3.0)):
        values = ratios(times[who], times["plain"])
        found.figures.append(Figure(EPOCH, f"{who} / plain", values, bound=bound))


def _epoch(augmentation: list[Any], batches: int) -> Callable[[], float]:
    """Seconds an update, over so many."""
    program = _program(augmentation)
    working = Working(program, state.start(program).tensors)
    x, y = torch.rand(1, BATCH, 1, SIDE, SIDE), torch.randint(0, 10, (1, BATCH))

    def run() -> float:
        start = time.perf_counter()
        for number in range(batches):
            working.step(x, y, number, 1e-3, None)
        return (time.perf_counter() - start) / batches

    return run


def _warps(found: Found, rounds: int, calls: int) -> None:
    augmenter = _program([*AFFINE, ELASTIC]).augmenter
    x, y = torch.rand(1, BATCH, 1, SIDE, SIDE), torch.zeros(1, BATCH, dtype=torch.int64)
    one = f"{OURS} / {KORNIA}"
    contenders = {OURS: _called(lambda number: augmenter.transform(x, y, number), calls)}
    try:
        theirs = _kornia()
    except ImportError:
        found.notes.append("not installed: kornia")
    else:
        contenders[KORNIA] = _called(lambda _: theirs(x[0]), calls)
    times = interleave(contenders, rounds, WARP)
    found.timings += [Timing(WARP, who, seconds) for who, seconds in times.items()]
    if KORNIA in times:
        values = ratios(times[OURS], times[KORNIA])
        found.figures.append(Figure(WARP, one, values, bound=0.6))


def _kornia() -> Callable[[torch.Tensor], torch.Tensor]:
    """The same changes by kornia; its kernel reaches as far as ours, 4 σ."""
    augmentation = import_module("kornia.augmentation")
    sigma = ELASTIC["sigma"]
    found: Callable[[torch.Tensor], torch.Tensor] = torch.nn.Sequential(
        augmentation.RandomAffine(
            15.0, (0.05, 0.05), (0.9, 1.1), 10.0, p=1.0, padding_mode="border"
        ),
        augmentation.RandomElasticTransform(
            (33, 33), (sigma, sigma), (1.0, 1.0), padding_mode="border", p=1.0
        ),
    )
    return found


def _called(change: Callable[[int], object], calls: int) -> Callable[[], float]:
    def run() -> float:
        start = time.perf_counter()
        with torch.no_grad():
            for number in range(calls):
                change(number)
        return (time.perf_counter() - start) / calls

    return run


def _program(augmentation: list[Any]) -> Program:
    config = {
        "data": {"source": "digits"},
        "model": {"name": "mlp", "hidden": [512, 512]},
        "task": "classification",
        "loss": "cross_entropy",
        "metrics": ["loss"],
        "augmentation": augmentation,
    }
    signature = Signature((1, SIDE, SIDE), 10, BATCH * BATCHES, tuple("0123456789"))
    return Program([Experiment.model_validate(config)], signature, torch.device("cpu"))
