"""Where a pack trains, and how many members fit there at once."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nnexp.errors import OutOfResources, UsageError
from nnexp.lazy import torch
from nnexp.train.blueprint import member_bytes
from nnexp.train.program import Program

SMALL = 3e7
"""Operations a step below which one thread is used."""


def choose_device(wanted: str) -> torch.device:
    """The device for "auto", "cpu" or "cuda". Raises UsageError when there is none."""
    there = torch.cuda.is_available()
    if wanted == "cuda" and not there:
        raise UsageError("cuda is asked for, and torch finds no CUDA device")
    device = torch.device("cuda" if there and wanted != "cpu" else "cpu")
    if device.type == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        # as use_deterministic_algorithms(True), which imports sympy and more for a second
        torch.set_deterministic_debug_mode("error")
        settings: Any = torch.utils.deterministic
        settings.fill_uninitialized_memory = False
        torch.backends.cudnn.allow_tf32 = False  # float32 is to be float32 everywhere
    return device


def members_that_fit(program: Program, batch: int) -> int:
    """How many members like the program's first one can train at once in the memory that is free.

    An estimate from above: parameter-sized tensors, and each layer's output forward and backward.
    """
    units = sum(math.prod(shape) for shape in program.shapes)
    numbers = program.layout.size + program.buffer_layout.size
    one = member_bytes(numbers, units, batch, torch.finfo(program.dtype).bits)
    return max(1, _free(program.device) // one)


@contextmanager
def suitable_threads(program: Program) -> Iterator[None]:
    """Keeps a small pack on one thread, by a fixed rule, so that its bits do not change.

    Threads gain nothing on operations this small, and lose much on a busy machine, where each
    waits for the others in every one of them.
    """
    before = torch.get_num_threads()
    batch = program.members[0].training.batch_size
    rows = program.signature.train_rows
    examples = program.size * (rows if batch == "full" else min(batch, rows))
    if 6 * examples * _products(program) < SMALL:  # 2 forward, 4 backward
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _products(program: Program) -> int:
    """Multiplications of one example's forward pass: each weight, at each position it is used."""
    shapes, entries = program.shapes, program.layout.entries
    weights = [entry for entry in entries if entry.slot.role == "weight"]
    return sum((e.stop - e.start) * math.prod(shapes[e.layer + 1][1:]) for e in weights)


@contextmanager
def memory_explained() -> Iterator[None]:
    """Turns a failed allocation into OutOfResources."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        first = str(error).strip().split("\n")[0]
        if isinstance(error, MemoryError | torch.OutOfMemoryError) or "allocate memory" in first:
            raise OutOfResources(
                "out of memory: try a smaller batch_size or model, or fewer members at once"
            ) from error
        raise


def free_memory() -> int:
    """Bytes of main memory that may be taken: a good part of what is free now."""
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024 * 6 // 10
    except OSError:
        pass
    return 4 * 2**30  # not Linux: what any machine has


def _free(device: torch.device) -> int:
    """Bytes that a pack may take: a good part of what is free now."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0] * 0.8)
    return free_memory()
