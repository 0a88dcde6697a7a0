"""Packs trained on a Ray cluster: what `nnexp sweep --engine ray` does.

Everything that is trained, and every number of it, comes from the sweep's directory, which all
machines of the cluster see under one path. Ray only starts workers, tells whether they live, and
carries a few words. A lost worker's pack is trained again, by another, from its checkpoint.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import logging
import os
import shutil
import signal
import socket
import tempfile
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from nnexp.config.plugins import plugged
from nnexp.errors import NnexpError, OutOfResources, RunError, UsageError
from nnexp.lazy import torch
from nnexp.search.engine import ATTEMPTS, Engine, Setting, Told, cores
from nnexp.search.folder import SweepDir
from nnexp.search.trials import Bench
from nnexp.search.worker import BREATH, work

STORE = 100 * 2**20
"""Bytes for Ray's objects on this machine: only words are exchanged."""

PATIENCE = 5.0
"""Seconds until a network file system must show a machine what another has written."""

READY = 300.0
"""Seconds until the cluster must have begun the first worker."""

PARTING = 60.0
"""Seconds that workers have to write a checkpoint when the sweep is stopped."""


class Trainer:
    """A worker: trains one pack at a time, while other threads answer and stop it."""

    def __init__(self, setting: Setting, folder: Path) -> None:
        self.setting = setting
        self.folder = folder
        self.stopped = threading.Event()
        self.done = 0.0  # which share of the pack
        self.plugins = contextlib.ExitStack()

    def pid(self) -> int:
        """The number of its process."""
        return os.getpid()

    def ready(self) -> dict[str, Any]:
        """Gets ready; why not, otherwise."""
        try:
            self.plugins.enter_context(plugged(self.setting.plugins))
        except NnexpError as error:
            return {"unready": f"{socket.gethostname()}: {error}"}
        self.bench = Bench(self.folder)
        torch.set_num_threads(self.setting.threads)
        return {"ready": True}

    def train(self, path: Path, pack: int) -> dict[str, Any] | None:
        """Trains a pack: what is answered about it; None if it was stopped."""
        sweep, self.done = SweepDir(path), 0.0
        if not _appears(sweep.pack(pack)):
            where = socket.gethostname()
            text = (
                f"{where} does not see {sweep.path}: with --engine ray the sweep's directory "
                "(--out) must be on a file system that all machines of the cluster share"
            )
            return {"failed": pack, "error": text, "kind": "RunError"}
        torch.set_num_threads(self.setting.threads)  # of the thread that trains
        return work(sweep, pack, self.bench, self.setting.device, self.stopped.is_set, self._tell)

    def share(self) -> float:
        """How far the pack is."""
        return self.done

    def stop(self) -> None:
        """The pack's training is to write a checkpoint and end."""
        self.stopped.set()

    def _tell(self, share: float) -> None:
        self.done = share


def _appears(path: Path) -> bool:
    end = time.monotonic() + PATIENCE
    while not path.is_file():
        if time.monotonic() > end:
            return False
        time.sleep(0.2)
    return True


@dataclass(eq=False)
class _Worker:
    actor: Any
    ready: bool = False
    pack: int | None = None
    asked: bool = False  # how far it is


class RayEngine(Engine):
    """Workers on a Ray cluster: on a running one, or on one that is started for the sweep."""

    def __init__(self, setting: Setting, address: str | None = None) -> None:
        super().__init__(setting)
        self.address = address
        self._ray = load_ray()
        self._open = contextlib.ExitStack()
        self._workers: list[_Worker] = []
        self._pending: dict[Any, tuple[_Worker, str]] = {}
        self._attempts: dict[tuple[Path, int], int] = {}
        self._losses = 0  # of workers that had nothing to do

    def start(self) -> None:
        if self._workers:
            return
        setting = self.setting
        self._open.enter_context(connected(self.address, setting.workers * setting.threads))
        self._kind = self._ray.remote(Trainer).options(
            num_cpus=setting.threads,
            num_gpus=self._gpus(),
            max_concurrency=3,
            max_restarts=0,
            runtime_env={"env_vars": {"OMP_NUM_THREADS": _numpy_threads()}},
        )
        while len(self._workers) < setting.workers:
            self._add()

    def run(self, sweep: SweepDir, packs: Iterable[int], told: Told) -> None:
        try:
            self._run(sweep, packs, told)
        except SystemError as error:  # what Ray makes of an exception of a signal's handler
            raise (error.__cause__ or error) from None

    def _run(self, sweep: SweepDir, packs: Iterable[int], told: Told) -> None:
        waiting = deque(packs)
        left, path = len(waiting), sweep.path.absolute()
        self.start()
        begun = asked = time.monotonic()
        while left:
            for worker in self._workers:
                if waiting and worker.ready and worker.pack is None:
                    self._give(worker, path, waiting.popleft())
            for worker, call, answer in self._answers():
                if isinstance(answer, Exception):
                    self._lost(worker, path, waiting, answer)
                elif call == "share":
                    worker.asked = False
                    if worker.pack is not None:
                        told({"pack": worker.pack, "share": answer})
                elif call == "ready":
                    if "unready" in answer:
                        raise RunError(answer["unready"])
                    worker.ready = True
                else:
                    worker.pack, left = None, left - 1
                    told(answer)
            if time.monotonic() - asked > BREATH:
                asked = time.monotonic()
                self._ask()
            if time.monotonic() - begun > READY and not any(w.ready for w in self._workers):
                raise RunError(self._unready())

    def close(self) -> None:
        workers, self._workers = self._workers, []
        pending, self._pending = self._pending, {}
        with self._open, contextlib.suppress(Exception):  # a cluster that is lost is closed
            packs = [ref for ref, (_, call) in pending.items() if call == "train"]
            stops = [worker.actor.stop.remote() for worker in workers if worker.pack is not None]
            if packs:
                self._ray.wait(
                    [*packs, *stops], num_returns=len(packs) + len(stops), timeout=PARTING
                )
            for worker in workers:
                self._ray.kill(worker.actor)

    def _answers(self) -> Iterator[tuple[_Worker, str, Any]]:
        """What came in, after a moment at most, so that a signal is heeded."""
        ray, lost = self._ray, self._ray.exceptions
        found, _ = ray.wait(list(self._pending), num_returns=1, timeout=0.2)
        for ref in found:
            if ref not in self._pending:
                continue  # of a worker that was lost meanwhile
            worker, call = self._pending.pop(ref)
            try:
                answer = ray.get(ref)
            except (lost.RayActorError, lost.OutOfMemoryError) as error:
                answer = error
            except lost.RayError as error:
                raise RunError(f"a worker of the sweep failed: {_last(error)}") from error
            yield worker, call, answer

    def _call(self, worker: _Worker, call: str, *arguments: Any) -> None:
        self._pending[getattr(worker.actor, call).remote(*arguments)] = (worker, call)

    def _give(self, worker: _Worker, path: Path, pack: int) -> None:
        worker.pack = pack
        self._attempts[path, pack] = self._attempts.get((path, pack), 0) + 1
        self._call(worker, "train", path, pack)

    def _ask(self) -> None:
        for worker in self._workers:
            if worker.pack is not None and not worker.asked:
                worker.asked = True
                self._call(worker, "share")

    def _add(self) -> None:
        worker = _Worker(self._kind.remote(self.setting, Path.cwd()))
        self._workers.append(worker)
        self._call(worker, "ready")

    def _lost(self, worker: _Worker, path: Path, waiting: deque[int], why: Exception) -> None:
        """A worker has ended: another takes its place and its pack."""
        self._ray.kill(worker.actor)  # if it is only out of reach
        self._pending = {ref: of for ref, of in self._pending.items() if of[0] is not worker}
        self._workers.remove(worker)
        if worker.pack is None:
            self._losses += 1
            if self._losses > ATTEMPTS * self.setting.workers:
                raise RunError(f"workers of the sweep end at once: {_last(why)}")
        else:
            if self._attempts[path, worker.pack] >= ATTEMPTS:
                raise OutOfResources(
                    f"pack {worker.pack} was begun {ATTEMPTS} times and its worker lost each time; "
                    "if memory ran out, try fewer --workers"
                )
            waiting.appendleft(worker.pack)
        self._add()

    def _gpus(self) -> float:
        """GPUs a worker: one, or a share of one when there are more workers."""
        found = int(self._ray.cluster_resources().get("GPU", 0))
        if self.setting.device == "cpu" or (self.setting.device == "auto" and not found):
            return 0
        return 1 / -(-self.setting.workers // max(found, 1))

    def _unready(self) -> str:
        free = self._ray.available_resources()
        return (
            f"the Ray cluster began no worker within {READY:.0f} s: each needs "
            f"{self.setting.threads} CPU and {self._gpus():g} GPU of one machine, and free are "
            f"{free.get('CPU', 0):g} and {free.get('GPU', 0):g} in all"
        )


def slots(address: str, device: str) -> int:
    """How many workers a running cluster has room for, with one thread each."""
    with connected(address, 0):
        found = load_ray().cluster_resources()
    return max(1, int(found.get("GPU", 0) if device == "cuda" else found.get("CPU", 0)))


def load_ray() -> ModuleType:
    """Ray, quiet. Raises UsageError if it is not installed."""
    if importlib.util.find_spec("ray") is None:
        raise UsageError("--engine ray needs Ray: pip install 'nnexp[ray]'")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    return importlib.import_module("ray")


@contextlib.contextmanager
def connected(address: str | None, cpus: int) -> Iterator[None]:
    """In a Ray cluster: that of the program, that at an address, or one of its own with `cpus`.

    Raises UsageError.
    """
    ray = load_ray()
    if ray.is_initialized():  # by the program that nnexp is part of
        yield
        return
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.CRITICAL}
    before = signal.getsignal(signal.SIGTERM)  # Ray takes it
    with contextlib.ExitStack() as after:
        if address in (None, "local"):
            folder = tempfile.mkdtemp(prefix="nnexp-")
            after.callback(shutil.rmtree, folder, ignore_errors=True)
            quiet |= {
                "num_cpus": cpus, "include_dashboard": False, "object_store_memory": STORE,
                "_temp_dir": folder,
            }  # fmt: skip
        after.callback(_handle, signal.SIGTERM, before)
        after.callback(ray.shutdown)
        try:
            _reach(address)
            ray.init(address or "local", **quiet)
            # else it prints, on standard output, that a worker was lost
            ray._private.worker._worker_logs_enabled = False
        except (ConnectionError, RuntimeError, ValueError, OSError) as error:
            what = f"no Ray cluster at {address}" if address else "Ray can't be started"
            raise UsageError(f"{what}: {_last(error)}") from error
        _handle(signal.SIGTERM, before)
        yield


def _reach(address: str | None) -> None:
    """Raises OSError for a HOST:PORT where nobody listens: Ray would try for a quarter hour."""
    host, _, port = (address or "").rpartition(":")
    if host and "/" not in host and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()


def _handle(number: int, handler: Any) -> None:
    with contextlib.suppress(ValueError):  # not in the main thread
        signal.signal(number, handler)


def _numpy_threads() -> str:
    """As in a process of this machine: Ray would make it another number, and other last bits."""
    return os.environ.get("OMP_NUM_THREADS") or str(cores())


def _last(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
