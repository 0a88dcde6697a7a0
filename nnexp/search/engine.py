"""The processes that train a sweep's packs, on this machine; a lost one's pack is trained again."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from nnexp.errors import OutOfResources, RunError
from nnexp.search.folder import SweepDir

ATTEMPTS = 5
"""How often a pack is begun whose worker is lost."""


@dataclass(frozen=True)
class Setting:
    """What workers need to know.

    plugins: files of components of the user's own. gpus: how many GPUs they share.
    memory: bytes that all of them may take together.
    """

    workers: int
    threads: int
    memory: int
    device: str = "auto"
    gpus: int = 0
    plugins: Sequence[Path] = ()


Told: TypeAlias = Callable[[dict[str, Any]], None]


class Engine:
    """Trains packs, several at a time."""

    def __init__(self, setting: Setting) -> None:
        self.setting = setting

    def start(self) -> None:
        """Begin to get ready, without waiting for it."""

    def run(self, sweep: SweepDir, packs: Iterable[int], told: Told) -> None:
        """Train packs of a sweep. Raises what `told` raises.

        told: what becomes of each (`done`, `failed`), and how far it is (`share`).
        """
        raise NotImplementedError

    def close(self) -> None:
        """Stop everything; packs under way leave a checkpoint."""


def cores() -> int:
    """How many processors this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not Linux
        return os.cpu_count() or 1


def gpus() -> list[int]:
    """Free bytes of each GPU, as NVIDIA's driver tells; [] without one."""
    command = ["nvidia-smi", "--query-gpu=memory.free", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
        return [int(line) * 2**20 for line in done.stdout.split("\n") if line.strip()]
    except (OSError, ValueError, subprocess.SubprocessError):
        return []


@dataclass(eq=False)
class _Worker:
    process: subprocess.Popen[str]
    ready: bool = False
    pack: int | None = None
    tail: deque[str] = field(default_factory=lambda: deque(maxlen=20))
    listeners: list[threading.Thread] = field(default_factory=list)

    def end(self) -> None:
        """Wait until the process has ended and all that it said is heard."""
        assert self.process.stdin is not None
        with suppress(OSError):
            self.process.stdin.close()
        self.process.wait()
        for listener in self.listeners:
            listener.join()


class Processes(Engine):
    """Worker processes on this machine."""

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        self._workers: list[_Worker] = []
        self._events: queue.Queue[tuple[_Worker, dict[str, Any] | None]] = queue.Queue()
        self._attempts: dict[tuple[str, int], int] = {}
        self._losses = 0  # of workers that had nothing to do
        self._begun = -1

    def start(self) -> None:
        while len(self._workers) < self.setting.workers:
            self._add()

    def run(self, sweep: SweepDir, packs: Iterable[int], told: Told) -> None:
        waiting = deque(packs)
        left = len(waiting)
        self.start()
        while left:
            for worker in self._workers:
                if waiting and worker.ready and worker.pack is None:
                    self._give(worker, sweep, waiting.popleft())
            worker, answer = self._next()
            if answer is None:
                self._lost(worker, sweep, waiting)
            elif "ready" in answer:
                worker.ready = True
            elif "share" in answer:
                told(answer)
            else:
                worker.pack, left = None, left - 1
                told(answer)

    def close(self) -> None:
        workers, self._workers = self._workers, []
        for worker in workers:
            if worker.process.poll() is None:
                worker.process.send_signal(signal.SIGTERM)
        for worker in workers:
            worker.end()

    def _next(self) -> tuple[_Worker, dict[str, Any] | None]:
        while True:  # with a limit, so that a signal is heeded while it waits
            try:
                return self._events.get(timeout=0.2)
            except queue.Empty:
                continue

    def _give(self, worker: _Worker, sweep: SweepDir, pack: int) -> None:
        worker.pack, path = pack, str(sweep.path.absolute())
        self._attempts[path, pack] = self._attempts.get((path, pack), 0) + 1
        self._write(worker, {"sweep": path, "pack": pack})

    def _lost(self, worker: _Worker, sweep: SweepDir, waiting: deque[int]) -> None:
        """A worker has ended: another takes its place and its pack."""
        worker.end()
        self._workers.remove(worker)
        pack, code = worker.pack, worker.process.returncode
        last = worker.tail[-1].strip() if worker.tail else "no message"
        self._losses += pack is None
        if code >= 0 or self._losses > ATTEMPTS * self.setting.workers:
            raise RunError(f"a worker of the sweep ended with code {code}: {last}")
        if pack is not None:
            if self._attempts[str(sweep.path.absolute()), pack] >= ATTEMPTS:
                raise OutOfResources(
                    f"pack {pack} was begun {ATTEMPTS} times and its worker killed each time "
                    f"(signal {-code}); if memory ran out, try fewer --workers"
                )
            waiting.appendleft(pack)
        self._add()

    def _add(self) -> None:
        """Start another process. It is out of the terminal's reach: Ctrl-C is for the sweep."""
        setting = self.setting
        process = subprocess.Popen(
            [sys.executable, "-m", "nnexp.search.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            env=self._environment(),
        )
        worker = _Worker(process)
        self._workers.append(worker)
        for target in (self._hear, self._gather):
            worker.listeners.append(threading.Thread(target=target, args=(worker,), daemon=True))
            worker.listeners[-1].start()
        self._write(
            worker,
            {
                "threads": setting.threads,
                "device": setting.device,
                "plugins": [str(path) for path in setting.plugins],
            },
        )

    def _environment(self) -> dict[str, str]:
        """Of several GPUs each worker sees one; the sweep's own choice of them counts."""
        if self.setting.gpus < 2:
            return dict(os.environ)
        self._begun += 1
        seen = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
        names = seen if seen != [""] else [str(i) for i in range(self.setting.gpus)]
        return {**os.environ, "CUDA_VISIBLE_DEVICES": names[self._begun % len(names)]}

    def _write(self, worker: _Worker, task: dict[str, Any]) -> None:
        assert worker.process.stdin is not None
        try:
            worker.process.stdin.write(json.dumps(task) + "\n")
            worker.process.stdin.flush()
        except BrokenPipeError:
            pass  # it has ended: that is told by `_hear`

    def _hear(self, worker: _Worker) -> None:
        assert worker.process.stdout is not None
        with worker.process.stdout as answers:
            for line in answers:
                self._events.put((worker, json.loads(line)))
        self._events.put((worker, None))

    def _gather(self, worker: _Worker) -> None:
        assert worker.process.stderr is not None
        with worker.process.stderr as messages:
            worker.tail.extend(messages)
