"""A process that trains packs: `python -m nnexp.search.worker`, started by a sweep.

It is given one JSON object a line: first what it works on, then the number of a pack each time.
It answers with one a line: that it is ready, how far a pack is, that it is done or why not.
When its input ends, or it is told to terminate, it writes a checkpoint and ends.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

from nnexp.errors import NnexpError, Terminated
from nnexp.lazy import torch
from nnexp.runs.packs import Watch
from nnexp.search.folder import SweepDir
from nnexp.search.packing import train_pack
from nnexp.search.trials import Bench

BREATH = 0.5
"""Seconds between two answers about how far a pack is."""


def work(
    sweep: SweepDir,
    number: int,
    bench: Bench,
    device: str,
    asked: Callable[[], bool],
    tell: Callable[[float], None],
) -> dict[str, Any] | None:
    """Trains a pack: what is answered about it; None if it was stopped.

    asked: whether it is to stop. tell: told which share is done.
    """
    watch = Watch(asked=asked, stopped=lambda: Terminated("stopped"), note=sweep.say)
    try:
        train_pack(sweep, number, bench, watch, device, tell)
    except Terminated:
        return None
    except NnexpError as error:
        return {"failed": number, "error": str(error), "kind": type(error).__name__}
    return {"done": number}


class Worker:
    """Trains the packs that it reads about."""

    def __init__(self, answers: TextIO) -> None:
        self.answers = answers
        self.stop = threading.Event()
        self.tasks: queue.Queue[dict[str, Any] | None] = queue.Queue()

    def run(self) -> None:
        """Works until the input ends."""
        signal.signal(signal.SIGTERM, lambda *_: self._end())
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the sweep says when to stop
        threading.Thread(target=self._listen, daemon=True).start()
        first = self.tasks.get()
        if first is None:
            return
        from nnexp.config.plugins import plugged

        with plugged([Path(file) for file in first["plugins"]]):
            self._work(first)

    def _work(self, first: dict[str, Any]) -> None:
        torch.set_num_threads(first["threads"])
        bench = Bench(Path.cwd())
        self._answer({"ready": True})
        while (task := self.tasks.get()) is not None:
            sweep, number = SweepDir(Path(task["sweep"])), task["pack"]
            tell = self._teller(number)
            answer = work(sweep, number, bench, first["device"], self.stop.is_set, tell)
            if answer is None:
                return
            self._answer(answer)

    def _teller(self, number: int) -> Any:
        last = 0.0

        def tell(share: float) -> None:
            nonlocal last
            if time.monotonic() - last >= BREATH:
                last = time.monotonic()
                self._answer({"pack": number, "share": share})

        return tell

    def _listen(self) -> None:
        """Hands tasks on; the end of the input is the end of the sweep's process."""
        for line in sys.stdin:
            self.tasks.put(json.loads(line))
        self._end()

    def _end(self) -> None:
        self.stop.set()
        self.tasks.put(None)

    def _answer(self, answer: dict[str, Any]) -> None:
        try:
            self.answers.write(json.dumps(answer) + "\n")
            self.answers.flush()
        except (BrokenPipeError, ValueError):
            self._end()


def main() -> None:
    """Keeps standard output for answers: what libraries print goes to standard error."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    Worker(answers).run()
    sys.stderr.flush()
    os._exit(0)  # all is written, and taking torch down takes half a second


if __name__ == "__main__":
    main()
