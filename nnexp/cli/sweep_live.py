"""What `nnexp sweep`, `ablate` and `curve` print while they train."""

from __future__ import annotations

import time
from typing import Any

from nnexp.cli import console
from nnexp.search.progress import Progress


class Live(Progress):
    """Shows how a sweep goes on. unit: what is counted."""

    def __init__(self, quiet: bool, unit: str = "trial") -> None:
        self.quiet, self.unit = quiet, unit
        self._bar: Any = None
        self._begun, self._total = 0.0, 0

    def __enter__(self) -> Live:
        return self

    def __exit__(self, *_: object) -> None:
        self.ended()

    def note(self, text: str) -> None:
        if not self.quiet:
            console.note(text, "warning")

    def begun(self, sweep: Any, trials: int) -> None:
        if not self.quiet:
            console.note(f"{console.count(trials, self.unit)} → {sweep.path}")
        self._bar = console.Progress(trials, self.unit, self.quiet)
        self._begun, self._total = time.monotonic(), trials

    def advanced(self, done: float, best: float | None) -> None:
        if self._bar is not None and self._bar.is_due():
            elapsed = time.monotonic() - self._begun
            left = console.duration(elapsed / done * (self._total - done)) if done >= 1 else ""
            details = "" if best is None else f"best {best:.4g}"
            self._bar.advance(int(done), f"{left} left" if left else "", details)

    def ended(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None
