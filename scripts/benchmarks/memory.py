"""Memory and time of training on a file that is larger than the memory meant for it."""

from __future__ import annotations

import shutil
import subprocess
import time
from dataclasses import dataclass
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
CONFIG = """\
name: memory
data:
  source: {{name: npy, features: x.npy, targets: y.npy, target_type: classification}}
  split: {{train: 0.98, dev: 0.01, test: 0.01}}
preprocessing: [standardize]
model: {{name: mlp, hidden: [32]}}
training: {{epochs: 1, batch_size: {batch}, device: cpu}}
"""


@dataclass(frozen=True)
class Cost:
    """What a process took: seconds, and its largest anonymous memory in bytes."""

    seconds: float
    anonymous: int
    problem: str = ""


def measure(gigabytes: float, where: Path | None) -> Found:
    """Train one epoch on `gigabytes` GB, and on a twentieth and on half of it."""
    found = Found([], [], [])
    if not Path("/proc/self/status").exists():
        found.notes.append("memory is measured on Linux only")
        return found
    with TemporaryDirectory(prefix="nnexp-bench-", dir=where) as name:
        free = shutil.disk_usage(name).free
        if free < gigabytes * 1.1e9:
            found.notes.append(f"{gigabytes:g} GB do not fit: {name} has {free / 1e9:.1f} GB free")
            return found
        sizes = (0.001, gigabytes / 20, gigabytes / 2, gigabytes)
        nothing, small, large, whole = [_train(Path(name), size) for size in sizes]
    case = "one epoch on an .npy file"
    for size, cost in zip(sizes, (nothing, small, large, whole), strict=True):
        found.timings.append(Timing(case, f"{size:g} GB", (cost.seconds,)))
    problem = next((c.problem for c in (nothing, small, large, whole) if c.problem), "")
    peak: tuple[float, ...] = ()
    growth: tuple[float, ...] = ()
    if not problem:
        peak = (whole.anonymous / 1e9,)
        growth = ((large.seconds - nothing.seconds) / (small.seconds - nothing.seconds),)
    found.figures += [
        Figure(case, f"anonymous memory, {gigabytes:g} GB", peak, "GB", 1.5, problem=problem),
        Figure(
            case, f"time, {sizes[2]:g} GB / {sizes[1]:g} GB, start-up subtracted", growth,
            bound=12.0, goal=10.0, problem=problem,
        ),
    ]  # fmt: skip
    return found


def _train(folder: Path, gigabytes: float) -> Cost:
    _write(folder, max(int(gigabytes * 1e9) // ROW, 1000))
    (folder / "memory.yaml").write_text(CONFIG.format(batch=BATCH))
    return _watched([NNEXP, "train", folder / "memory.yaml", "--out", folder / "runs"])


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


def _watched(words: list[str | Path]) -> Cost:
    """Run a command, and look at its memory every EVERY seconds."""
    begun, peak = time.perf_counter(), 0
    try:
        process = subprocess.Popen(
            words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
    except OSError as error:
        return Cost(0.0, 0, f"can't be run: {error.strerror}")
    while process.poll() is None:
        peak = max(peak, _anonymous(process.pid))
        time.sleep(EVERY)
    seconds = time.perf_counter() - begun
    assert process.stderr is not None
    told = process.stderr.read().strip().splitlines()[-1:]
    problem = f"exit code {process.returncode}: {''.join(told)}" if process.returncode else ""
    return Cost(seconds, peak, problem)


def _anonymous(pid: int) -> int:
    """Bytes of a process's memory that no file stands behind."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:  # it has ended
        return 0
    return next((int(x.split()[1]) * 1024 for x in lines if x.startswith("RssAnon:")), 0)
