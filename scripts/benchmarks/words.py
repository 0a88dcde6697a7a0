"""Word vectors: seconds to train skip-gram on a text, against gensim with the same settings."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from nnexp.components.datasets import Corpus
from nnexp.components.table import Table
from nnexp.config.experiment import Experiment
from nnexp.train import state
from nnexp.train.blueprint import Signature
from nnexp.train.program import Program
from nnexp.train.step import Working

from .results import Figure, Found, Timing, interleave, ratios

BATCH, EPOCHS = 32, 1
MODEL: dict[str, Any] = {
    "name": "skip_gram",
    "width": 100,
    "window": 5,
    "shrink": True,
    "full_window": False,
    "subsample": 1e-4,
}
OURS, GENSIM = "nnexp", "gensim"


def measure(rounds: int, quick: bool, threads: int | None) -> Found:
    """Whole epochs; of litbank_10mb in NNEXP_DATA, or of a text that is made up."""
    threads = threads or torch.get_num_threads()
    torch.set_num_threads(threads)
    found = Found([], [], [])
    table, what = _text(quick)
    numbers = np.asarray(table.features.numeric[:])
    case = f"skip-gram, 100 dimensions, window 5, an epoch of {numbers.size:,} words ({what})"
    contenders = {OURS: _ours(table, numbers)}
    if find_spec(GENSIM) is None:
        found.notes.append(f"not installed: {GENSIM}")
    else:
        contenders[GENSIM] = _gensim(table, numbers, threads)
    with threadpool_limits(threads):
        times = interleave(contenders, rounds, case)
    found.timings += [Timing(case, who, seconds) for who, seconds in times.items()]
    for who, seconds in times.items():
        speed = tuple(numbers.size / taken / 1e3 for taken in seconds)
        found.figures.append(Figure(case, f"{who}: words a second", speed, "thousand"))
    if GENSIM in times:
        values = ratios(times[OURS], times[GENSIM])
        found.figures.append(Figure(case, f"{OURS} / {GENSIM}", values, bound=2.0, goal=1.0))
    return found


def _text(quick: bool) -> tuple[Table, str]:
    """Blocks of word numbers, and where they are from."""
    folder = Path(os.environ.get("NNEXP_DATA", "")) / "litbank_10mb"
    if "NNEXP_DATA" in os.environ and folder.is_dir():
        one = sorted(folder.glob("*.txt"))[:4]
        path: Any = [str(file) for file in one] if quick else str(folder)
        return Corpus(path=path).load(), "LitBank"
    drawn = np.random.default_rng(0).zipf(1.2, 300_000 if quick else 2_000_000) % 20_000
    letters = str.maketrans("0123456789", "abcdefghij")
    with tempfile.TemporaryDirectory() as name:
        file = Path(name) / "text.txt"
        file.write_text(" ".join(map(str, drawn.tolist())).translate(letters))
        return Corpus(path=str(file)).load(), "random"


def _ours(table: Table, numbers: np.ndarray) -> Callable[[], float]:
    assert table.classes is not None
    assert table.word_counts is not None
    config = {
        "data": {"source": {"name": "corpus", "path": "text"}},
        "model": MODEL,
        "task": "words",
        "loss": {"name": "negative_sampling", "negatives": 5},
        "optimizer": {"name": "adam", "lr": 0.03},
        "metrics": ["loss"],
    }
    signature = Signature((numbers.shape[1],), len(table.classes), len(numbers), table.classes)
    program = Program(
        [Experiment.model_validate(config)],
        signature,
        torch.device("cpu"),
        table.word_counts[None],
    )
    blocks = torch.from_numpy(numbers.astype(np.float32))

    def run() -> float:
        working = Working(program, state.start(program).tensors)
        begun = time.perf_counter()
        order = torch.randperm(len(blocks))
        for number, rows in enumerate(torch.split(order, BATCH)):
            targets = torch.zeros(1, len(rows), dtype=torch.int64)
            working.step(blocks[rows][None], targets, number, 0.03, None)
        return time.perf_counter() - begun

    return run


def _gensim(table: Table, numbers: np.ndarray, threads: int) -> Callable[[], float]:
    word2vec = import_module("gensim.models.word2vec").Word2Vec
    assert table.classes is not None
    names = np.array(table.classes, object)
    sentences = [names[block].tolist() for block in numbers]
    model = word2vec(
        vector_size=MODEL["width"],
        window=MODEL["window"],
        sample=MODEL["subsample"],
        negative=5,
        sg=1,
        min_count=1,
        workers=threads,
    )
    model.build_vocab(sentences)

    def run() -> float:
        begun = time.perf_counter()
        model.train(sentences, total_examples=len(sentences), epochs=EPOCHS)
        return time.perf_counter() - begun

    return run
