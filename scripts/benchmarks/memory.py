"""Memory and time of training on a file that is larger than the memory meant for it."""

from __future__ import annotations

import shutil
import subprocess
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from .results import Figure, Found, Timing
from .startup import NNEXP

FEATURES, CLASSES, BATCH = 256, 10, 1024
ROW = FEATURES * 4 + 8
"""Bytes of an example: float32 features, int64 class."""
CHUNK = 1 << 16
EVERY = 0.2
CASE = "one epoch on an .npy file"
CONFIG = """\
name: memory
data:
  source: {{name: npy, features: x.npy, targets: y.npy, target_type: classification}}
  split: {{train: 0.98, dev: 0.01, test: 0.01}}
preprocessing: [standardize]
model: {{name: mlp, hidden: [32]}}
training: {{epochs: 1, batch_size: {batch}, device: cpu}}
"""


class Lost(Exception):
    """Training could not be measured."""


def measure(gigabytes: float, where: Path | None, rounds: int) -> Found:
    """Train one epoch on `gigabytes` GB, and in rounds on a twentieth and on half of it."""
    found = Found([], [], [])
    if not Path("/proc/self/status").exists():
        found.notes.append("memory is measured on Linux only")
        return found
    sizes = (0.001, gigabytes / 20, gigabytes / 2, gigabytes)
    promise = f"anonymous memory, {gigabytes:g} GB"
    try:
        with TemporaryDirectory(prefix="nnexp-bench-", dir=where) as name:
            _check_space(name, sum(sizes))
            folders = [_folder(Path(name), size) for size in sizes]
            peak, whole = _train(folders[3])
            taken = [[_train(folder)[1] for folder in folders[:3]] for _ in range(rounds)]
    except Lost as error:
        found.figures.append(Figure(CASE, promise, (), "GB", 1.5, problem=str(error)))
        return found
    times = [*zip(*taken, strict=True), (whole,)]
    for size, seconds in zip(sizes, times, strict=True):
        found.timings.append(Timing(CASE, f"{size:g} GB", seconds))
    growth = tuple((large - none) / (small - none) for none, small, large in taken)
    what = f"time, {sizes[2]:g} GB / {sizes[1]:g} GB, start-up subtracted"
    found.figures += [
        Figure(CASE, promise, (peak / 1e9,), "GB", 1.5),
        Figure(CASE, what, growth, bound=12.0, goal=10.0),
    ]
    return found


def _check_space(folder: str, gigabytes: float) -> None:
    free = shutil.disk_usage(folder).free / 1e9
    if free < 1.1 * gigabytes:
        raise Lost(f"{gigabytes:.1f} GB are to be written, and {folder} has {free:.1f} GB free")


def _folder(parent: Path, gigabytes: float) -> Path:
    """A new folder with data of that size and a config."""
    folder = parent / f"{gigabytes:g}"
    folder.mkdir()
    _write(folder, max(int(gigabytes * 1e9) // ROW, 1000))
    (folder / "memory.yaml").write_text(CONFIG.format(batch=BATCH))
    return folder


def _write(folder: Path, rows: int) -> None:
    """Random features, and the class that a linear rule gives them, a chunk at a time."""
    random = np.random.default_rng(0)
    rule = random.standard_normal((FEATURES, CLASSES), dtype=np.float32)
    opened = np.lib.format.open_memmap
    x = opened(folder / "x.npy", mode="w+", dtype=np.float32, shape=(rows, FEATURES))
    y = opened(folder / "y.npy", mode="w+", dtype=np.int64, shape=(rows,))
    for start in range(0, rows, CHUNK):
        stop = min(start + CHUNK, rows)
        block = random.standard_normal((stop - start, FEATURES), dtype=np.float32)
        x[start:stop], y[start:stop] = block, (block @ rule).argmax(1)
    x.flush()
    y.flush()


def _train(folder: Path) -> tuple[int, float]:
    """Largest anonymous memory in bytes, looked at every EVERY seconds, and seconds.

    Raises Lost.
    """
    words: list[str | Path] = [NNEXP, "train", folder / "memory.yaml", "--out", folder / "runs"]
    begun, peak = time.perf_counter(), 0
    with (folder / "told").open("w+") as told:
        try:
            process = subprocess.Popen(words, stdout=told, stderr=told)
        except OSError as error:
            raise Lost(f"can't be run: {error.strerror}") from None
        while True:
            peak = max(peak, _anonymous(process.pid))
            try:
                process.wait(EVERY)
                break
            except subprocess.TimeoutExpired:
                continue
        seconds = time.perf_counter() - begun
        told.seek(0)
        last = told.read().strip().splitlines()[-1:]
    if process.returncode:
        raise Lost(f"exit code {process.returncode}: {''.join(last)}")
    return peak, seconds


def _anonymous(pid: int) -> int:
    """Bytes of a process's memory that no file stands behind."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:  # it has ended
        return 0
    return next((int(x.split()[1]) * 1024 for x in lines if x.startswith("RssAnon:")), 0)
