"""What a notebook or a terminal shows while a model trains: one line."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import fmean

from nnexp.components.datasets.memory import Held
from nnexp.errors import Interrupted, Terminated
from nnexp.report.numbers import duration, value
from nnexp.runs.execute import Reporter
from nnexp.runs.rundir import RunDir
from nnexp.train.loop import Pack
from nnexp.train.state import TrainState


class Line(Reporter):
    """Keeps the notes, and shows how far training has come if somebody is watching.

    shown: None shows it in notebooks and on terminals only.
    path: the run's directory, once training has begun.
    """

    EVERY = 0.25
    """Seconds between two looks of the line."""

    def __init__(self, shown: bool | None) -> None:
        self.shown = is_watched() if shown is None else shown
        self.notes: list[str] = []
        self.path: Path | None = None
        self._columns: list[str] = []
        self._epochs = self._width = 0
        self._now: TrainState | None = None
        self._begun = self._last = time.monotonic()

    def note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)

    def started(self, run: RunDir, pack: Pack, number: int, packs: int) -> None:
        self.path = run.path
        self._epochs = -(-pack.updates // len(pack.bounds))
        primary = (pack.members[0].metrics or [])[0].component
        part = "dev" if "dev" in pack.feed.parts else "train"
        self._columns = list(dict.fromkeys([f"{part}/loss", f"{part}/{primary}"]))

    def epoch(self, now: TrainState) -> None:
        self._now = now
        if self.shown and time.monotonic() - self._last >= self.EVERY:
            self._last = time.monotonic()
            self._write(now)

    def close(self) -> None:
        """Leaves the line as it is in the end."""
        if self.shown and self._now is not None:
            self._write(self._now, "\n")

    def _write(self, now: TrainState, end: str = "") -> None:
        done = max(len(member.history) for member in now.members)
        rows = [m.history[-1] for m in now.members if len(m.history) == done]
        parts = [f"{len(now.members)} models"] if len(now.members) > 1 else []
        parts.append(f"epoch {done}/{self._epochs}")
        parts += [f"{name} {value(fmean(float(r[name]) for r in rows))}" for name in self._columns]
        text = "  ".join([*parts, duration(time.monotonic() - self._begun)])
        file = sys.stdout if _is_notebook() else sys.stderr
        file.write(f"\r{text.ljust(self._width)}{end}")
        file.flush()
        self._width = len(text)


@contextmanager
def watched(shown: bool | None, held: Held | None) -> Iterator[Line]:
    """A line while the block trains. An interruption says how to go on from Python.

    held: the data that are trained on, if they are in memory.
    """
    line = Line(shown)
    try:
        yield line
    except (Interrupted, Terminated) as error:
        data = "X, y" if held is not None else ""
        raise type(error)(
            f"stopped; go on with: nnexp.load({str(line.path)!r}).resume({data})"
        ) from None
    finally:
        line.close()


def is_watched() -> bool:
    """Whether this is a notebook, or a terminal."""
    return _is_notebook() or sys.stderr.isatty()


def _is_notebook() -> bool:
    return "ipykernel" in sys.modules
