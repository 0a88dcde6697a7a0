"""Time a training step takes, against peers that train the same network on the same rows."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from .engine import Case, ours
from .frameworks import frameworks
from .loops import BY_HAND, Run, Task, by_hand, plain, scikit_learn
from .results import Figure, Found, Timing, interleave, ratios

PLAIN, SKLEARN = "plain PyTorch + DataLoader", "MLPClassifier"
BEST = "best loop by hand"
DIGITS = Case(
    "digits MLP 64-64-32-10, batch 64", "digits", {"dev": 0.2, "test": 0.2}, (64, 64, 32, 10), 64
)
MNIST_SIZES = (784, 256, 128, 10)
CPU = torch.device("cpu")


def measure(rounds: int, quick: bool, threads: int | None) -> Found:
    """All cases; on a machine with CUDA the digits there, too."""
    threads = threads or torch.get_num_threads()
    torch.set_num_threads(threads)
    found = Found([], [], [])
    with threadpool_limits(threads), TemporaryDirectory(prefix="nnexp-bench-") as folder:
        _digits(found, rounds, 10 if quick else 30, quick)
        _mnist(found, rounds, _mnist_case(Path(folder)), quick)
        if torch.cuda.is_available():
            _cuda(found, rounds, 5 if quick else 20)
    return found


def _digits(found: Found, rounds: int, epochs: int, quick: bool) -> None:
    task = DIGITS.task(epochs, CPU)
    contenders: dict[str, Run] = {
        PLAIN: plain(task),
        **by_hand(task),
        SKLEARN: scikit_learn(task),
        **_nnexp(DIGITS, task, (1, 64)),
    }
    if not quick:
        others, missing = frameworks(task)
        contenders |= others
        if missing:
            found.notes.append(f"not installed: {', '.join(missing)}")
    times = _take(found, DIGITS.name, contenders, rounds)
    one, evaluated = _members(1), f"{_members(1)}, evaluated"
    found.figures += [
        _figure(DIGITS.name, times, one, PLAIN, bound=0.45),
        _figure(DIGITS.name, times, one, SKLEARN, bound=1.3, goal=1.0),
        _figure(DIGITS.name, times, one, BEST),
        _figure(DIGITS.name, times, evaluated, PLAIN),
        _figure(DIGITS.name, times, evaluated, SKLEARN),
        _figure(DIGITS.name, times, _members(64), PLAIN, bound=1 / 12, goal=1 / 25),
        _figure(DIGITS.name, times, _members(64), BEST),
        _figure(DIGITS.name, times, f"{_members(64)}, evaluated", PLAIN),
    ]


def _mnist(found: Found, rounds: int, case: Case, quick: bool) -> None:
    task = case.task(1 if quick else 2, CPU)
    contenders = {**by_hand(task), **_nnexp(case, task, (1,)), PLAIN: plain(task)}
    if not quick:
        contenders[SKLEARN] = scikit_learn(task)
    times = _take(found, case.name, contenders, rounds)
    found.figures += [
        _figure(case.name, times, _members(1), BEST, bound=1.05),
        _figure(case.name, times, _members(1), PLAIN),
        _figure(case.name, times, f"{_members(1)}, evaluated", BEST),
    ]


def _mnist_case(folder: Path) -> Case:
    """MNIST from NNEXP_DATA; without it random bytes: speed does not depend on the values."""
    name, split = "MNIST MLP 784-256-128-10, batch 128", {"train": 0.8, "dev": 0.2}
    if root := os.environ.get("NNEXP_DATA"):
        kinds = {"images": "images-idx3", "labels": "labels-idx1"}
        files = {k: f"{root}/mnist/train-{v}-ubyte.gz" for k, v in kinds.items()}
        return Case(name, {"name": "idx", **files}, split, MNIST_SIZES, 128)
    random = np.random.default_rng(0)
    np.save(folder / "x.npy", random.integers(0, 256, (16_000, 28, 28), dtype=np.uint8))
    np.save(folder / "y.npy", random.integers(0, 10, 16_000))
    files = {"features": str(folder / "x.npy"), "targets": str(folder / "y.npy")}
    return Case(f"{name} (random data)", {"name": "npy", **files}, split, MNIST_SIZES, 128)


def _cuda(found: Found, rounds: int, epochs: int) -> None:
    device = torch.device("cuda")
    task, case = DIGITS.task(epochs, device), f"{DIGITS.name}, {torch.cuda.get_device_name()}"
    counts = (1, 64, 1024)
    contenders = {PLAIN: plain(task), **by_hand(task), **_nnexp(DIGITS, task, counts)}
    for name in [name for name in contenders if name.startswith(BY_HAND)]:
        try:
            contenders[name]()
        except RuntimeError as error:
            del contenders[name]
            found.notes.append(f"{name} does not run here: {str(error).splitlines()[0]}")
    times = _take(found, case, contenders, rounds)
    for count in counts:
        for peer in (PLAIN, BEST):
            found.figures.append(_figure(case, times, _members(count), peer))


def _nnexp(case: Case, task: Task, counts: Sequence[int]) -> dict[str, Run]:
    """nnexp with so many members, each without and with evaluation every epoch."""
    return {
        _members(count) + (", evaluated" if evaluated else ""): ours(case, task, count, evaluated)
        for count in counts
        for evaluated in (False, True)
    }


def _members(count: int) -> str:
    return "nnexp, 1 model" if count == 1 else f"nnexp, {count} models"


def _take(
    found: Found, case: str, contenders: dict[str, Run], rounds: int
) -> dict[str, tuple[float, ...]]:
    """Each contender's seconds a step and member, the quickest loop by hand as BEST, too."""
    times = interleave(contenders, rounds, case)
    found.timings += [Timing(case, who, seconds) for who, seconds in times.items()]
    best = min((n for n in times if n.startswith(BY_HAND)), key=lambda n: median(times[n]))
    found.notes.append(f"{case}: the {BEST} is “{best.removeprefix(BY_HAND + ', ')}”")
    return {**times, BEST: times[best]}


def _figure(
    case: str,
    times: dict[str, tuple[float, ...]],
    who: str,
    peer: str,
    bound: float | None = None,
    goal: float | None = None,
) -> Figure:
    return Figure(case, f"{who} / {peer}", ratios(times[who], times[peer]), bound=bound, goal=goal)
