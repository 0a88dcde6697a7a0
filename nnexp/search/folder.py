"""What a sweep leaves: one directory, of which every file is written whole or not at all.

sweep.json      what is searched and how; its status     config.yaml   as written
base.yaml       the config without the section `sweep`, its bases merged, file names absolute
batches/        the draws of each batch and the packs that train them
packs/          each pack's members: their directories and resolved configs
trials/0000/    a light run (with `seeds`: a group of runs) for each trial
trials.csv      a row a trial        study.log   Optuna's journal, if it has the sampler
best.yaml best/ the best trial's config, and its run alone       winner/   it on fresh seeds
summary.json    log.txt              checkpoint/ of packs under way
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnexp.errors import (
    DamagedRun,
    Interrupted,
    NnexpError,
    OutOfResources,
    RunError,
    Terminated,
)
from nnexp.runs.files import append_text, explained, write_json, write_text
from nnexp.runs.rundir import MANIFEST, SWEEP, RunDir, is_sweep


@dataclass(frozen=True)
class SweepDir:
    """A sweep's directory."""

    path: Path

    @classmethod
    def open(cls, path: Path) -> SweepDir:
        """The sweep at `path`. Raises RunError if there is none."""
        if not is_sweep(path):
            run = (path / MANIFEST).is_file()
            hint = f"; go on with a run: nnexp train --resume {path}" if run else ""
            raise RunError(f"{path} is no sweep: it has no {SWEEP}{hint}")
        return cls(path)

    @property
    def config(self) -> Path:
        return self.path / "config.yaml"

    @property
    def base(self) -> Path:
        return self.path / "base.yaml"

    @property
    def table(self) -> Path:
        return self.path / "trials.csv"

    @property
    def best_config(self) -> Path:
        return self.path / "best.yaml"

    @property
    def best(self) -> RunDir:
        """The best trial's config, trained alone."""
        return RunDir(self.path / "best")

    @property
    def winner(self) -> RunDir:
        """The best trial's config on fresh seeds."""
        return RunDir(self.path / "winner")

    @property
    def summary(self) -> Path:
        return self.path / "summary.json"

    @property
    def journal(self) -> Path:
        return self.path / "study.log"

    @property
    def log(self) -> Path:
        return self.path / "log.txt"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoint"

    def trial(self, number: int) -> RunDir:
        """A trial's directory."""
        return RunDir(self.path / "trials" / f"{number:04d}")

    def pack(self, number: int) -> Path:
        return self.path / "packs" / f"{number:04d}.json"

    def batch(self, number: int) -> Path:
        return self.path / "batches" / f"{number:04d}.json"

    def make(self) -> None:
        """The folders in it, if they are not there."""
        for name in ("trials", "packs", "batches"):
            (self.path / name).mkdir(exist_ok=True)

    def lock(self) -> AbstractContextManager[None]:
        """Keeps other processes out. Raises LockedRun."""
        return RunDir(self.path).lock()

    @contextmanager
    def alone(self, pack: int) -> Iterator[None]:
        """Waits until no other process trains a pack: the worker of a sweep that was killed may
        still be writing its last checkpoint.
        """
        path = self.pack(pack).with_suffix(".lock")
        with explained(path):
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def read(self, path: Path) -> dict[str, Any]:
        """A JSON file of the sweep. Raises DamagedRun."""
        return RunDir(self.path).read_json(path)

    def state(self) -> dict[str, Any]:
        """sweep.json. Raises DamagedRun."""
        state = self.read(self.path / SWEEP)
        if state.get("kind") != "sweep":
            raise DamagedRun(f"{self.path / SWEEP} is damaged: it describes no sweep")
        return state

    def put(self, path: Path, data: Any) -> None:
        """Write a JSON file."""
        write_json(path, data)

    def put_text(self, path: Path, text: str) -> None:
        """Write a text file."""
        write_text(path, text)

    def note(self, **changes: Any) -> None:
        """Add to sweep.json, or change what it says."""
        self.put(self.path / SWEEP, {**self.state(), **changes})

    @contextmanager
    def under_way(self) -> Iterator[None]:
        """Its status is running; how it ends is noted where that is not as it should."""
        self.note(status="running")
        try:
            yield
        except (Interrupted, Terminated, OutOfResources):
            self.note(status="interrupted")
            raise
        except NnexpError:
            self.note(status="failed")
            raise

    def say(self, text: str) -> None:
        """Append a line to the log."""
        append_text(self.log, text + "\n")
