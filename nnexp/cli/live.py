"""What `nnexp train` shows while it trains, and what it prints at the end."""

from __future__ import annotations

import time
from pathlib import Path
from statistics import fmean, stdev
from types import TracebackType
from typing import Any, Self

from nnexp.cli import console
from nnexp.cli.summary import show_summary
from nnexp.cli.watching import Watching
from nnexp.errors import Diverged, Interrupted, Terminated
from nnexp.runs.execute import Reporter
from nnexp.runs.plan import Plan
from nnexp.runs.rundir import RunDir
from nnexp.train.loop import Pack, higher_is_better
from nnexp.train.state import Row, TrainState


class Live(Reporter):
    """Shows training; at the end of the `with` block prints the summary and, last, the path.

    run: its directory, as soon as it is known.
    """

    def __init__(self, quiet: bool, as_json: bool, config: Path | None = None) -> None:
        """config: what is trained anew, and so is to be looked at before."""
        self.quiet, self.as_json, self.config = quiet, as_json, config
        self.run: RunDir | None = None
        self._summary: dict[str, Any] | None = None
        self._seconds: float | None = None
        self._progress: console.Progress | None = None
        self._columns: list[str] = []
        self._watching: Watching | None = None
        self._begun = 0.0
        self._first = (0, 0)  # epochs and steps that were done before

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self._close()
        if self.run is None:
            return
        if error is None or isinstance(error, Diverged):
            self._finish(self.run)
        elif isinstance(error, Interrupted | Terminated) and not self.as_json:
            console.say_path(self.run.path)

    # -- what execute tells ------------------------------------------------------------------------

    def note(self, text: str) -> None:
        if not self.quiet:
            console.note(text, "warning")

    def begins(self, plan: Plan, pack: Pack, now: TrainState) -> str:
        if self.config is None or not plan.resolved.training.checks:
            return ""
        from nnexp.checks.quick import check_start, in_a_line

        try:
            found = check_start(plan.table, pack, now.tensors["params"])
        except (ArithmeticError, LookupError, MemoryError, RuntimeError, ValueError) as error:
            text = f"checks: not to be made ({error})"  # which is no reason not to train
        else:
            text = in_a_line(found, self.config)
        if not self.quiet:
            first, *more = text.split("\n")
            console.note(first)
            for line in more:
                console.note(line, "warning")
        return text

    def started(self, run: RunDir, pack: Pack, number: int, packs: int) -> None:
        self._close()
        self.run = run
        first = pack.members[0]
        if not self.quiet:
            which = f" (pack {number + 1} of {packs})" if packs > 1 else ""
            models = console.count(len(pack.members), "model")
            console.note(f"training {models} on {pack.device}{which} → {run.path}")
        primary = (first.metrics or [])[0].component
        has_dev = "dev" in pack.feed.parts
        watched = f"{'dev' if has_dev else 'train'}/{primary}"
        columns = ["train/loss", "dev/loss", watched]
        self._watching = Watching(watched, higher_is_better(first, watched))
        self._columns = list(dict.fromkeys(columns))
        self._progress = console.Progress(-(-pack.updates // len(pack.bounds)), "epoch", self.quiet)
        self._begun, self._first = 0.0, (0, 0)

    def epoch(self, now: TrainState) -> None:
        progress = self._progress
        assert progress is not None
        done = max(len(member.history) for member in now.members)
        if not self._begun:  # the speed counts from the end of the first epoch
            self._begun, self._first = time.monotonic(), (done, now.step)
        if progress.is_due():
            rows = [m.history[-1] for m in now.members if len(m.history) == done]
            speed, details = self._speed(done, now.step), self._details(rows, now)
            assert self._watching is not None
            picture = self._watching.picture(now.members, *progress.room)
            progress.advance(done, speed, details, picture)

    def finished(self, run: RunDir, summary: dict[str, Any], seconds: float) -> None:
        self._close()
        self.run, self._summary, self._seconds = run, summary, seconds

    # -- words -------------------------------------------------------------------------------------

    def _speed(self, done: int, step: int) -> str:
        """Epochs (or, when they are long, updates) a second, and the time that is left."""
        epochs, steps = done - self._first[0], step - self._first[1]
        elapsed = time.monotonic() - self._begun
        if not epochs or not elapsed:
            return ""
        rate = epochs / elapsed
        told = f"{rate:.3g} epochs/s" if rate >= 1 else f"{steps / elapsed:.3g} steps/s"
        assert self._progress is not None
        return f"{told}, {console.duration((self._progress.total - done) / rate)} left"

    def _details(self, rows: list[Row], now: TrainState) -> str:
        """The newest metrics: of a group the mean and standard deviation over its members."""
        parts = []
        for column in self._columns:
            values = [float(row[column]) for row in rows if column in row]
            if values:
                described = {"mean": fmean(values), "sd": stdev(values) if values[1:] else None}
                parts.append(f"{column} {console.spread(described)}")
        if len(now.members) > 1 and len(now.active) < len(now.members):
            parts.append(f"{len(now.active)} of {len(now.members)} in training")
        return "  ".join(parts)

    def _close(self) -> None:
        if self._progress is not None:
            self._progress.close()
            self._progress = None

    def _finish(self, run: RunDir) -> None:
        summary = self._summary or (run.read_summary() if run.summary.exists() else None)
        if self.as_json:
            console.say_json({"run": run.path, **(summary or {}), "seconds": self._seconds})
            return
        if summary is not None and not self.quiet:
            show_summary(summary, self._seconds)
        console.say_path(run.path)
