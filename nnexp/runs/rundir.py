"""A run's directory: made, opened, locked, and read without trusting it.

    runs/<name>/<time>-<4 hex digits>/   a run; a group of runs has its members inside, s0/ s1/ …

`manifest.json` makes a folder a run: its `kind` is "run" or "group", its `status` one of
`forms.Status`, its `files` maps each finished file to its SHA-256.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import secrets
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from nnexp.errors import DamagedRun, LockedRun, RunError, UntrustedRun, nearest
from nnexp.runs.files import (
    TEXT_LIMIT,
    YAML_LIMIT,
    Framework,
    begins_as_pickle,
    decode,
    explained,
    file_sha256,
    inside,
    parse_json,
    parse_yaml,
    read_bytes,
    refuse_pickle,
    remove_leftovers,
    sha256,
    sync_folder,
)
from nnexp.runs.forms import check_manifest, check_summary

MANIFEST = "manifest.json"
SWEEP = "sweep.json"
"""Makes a folder a sweep, whose trials are runs inside it."""

_LOCK = "lock"
_SAFELY = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
_MEMBER = re.compile(r"s([0-9]+)")
_PICKLES = {".pkl", ".pickle", ".pt", ".pth", ".bin", ".ckpt", ".joblib", ".dill"}


@dataclass(frozen=True)
class RunDir:
    """The directory of a run, a group of runs, or a member of a group.

    Names given to the reading methods are relative to it, with forward slashes.
    """

    path: Path

    # -- making and finding ------------------------------------------------------------------------

    @classmethod
    def create(cls, root: Path, name: str, now: datetime) -> RunDir:
        """A new directory under `root/name`, its own even if another process makes one just now.

        Raises RunError or OutOfResources when it can't be made.
        """
        folder = root / safe_name(name)
        with explained(folder):
            folder.mkdir(parents=True, exist_ok=True)
        while True:
            path = folder / f"{now:%Y-%m-%dT%H-%M-%S}-{secrets.token_hex(2)}"
            with explained(path):
                try:
                    path.mkdir()
                except FileExistsError:
                    continue
            for parent in (folder, root):
                sync_folder(parent)
            return cls(path)

    @classmethod
    def open(cls, path: Path) -> RunDir:
        """The run or group at `path`.

        Raises RunError if there is none (the message names the nearest, or the newest one below),
        DamagedRun if its manifest can't be read, UntrustedRun if it holds what a run never holds,
        or (once it is finished) something that was changed since.
        """
        try:
            if not path.is_dir():
                raise RunError(_no_folder(path))
            if not os.path.lexists(path / MANIFEST):
                raise RunError(_no_run(path))
        except OSError as error:
            raise RunError(f"{path} can't be read: {error.strerror or error}") from error
        run = cls(path)
        run.audit()
        run.check_written()
        return run

    def make_member(self, number: int) -> RunDir:
        """The directory of a group's member, made if it is not there."""
        path = self.path / f"s{number}"
        with explained(path):
            path.mkdir(exist_ok=True)
        return RunDir(path)

    def members(self) -> list[RunDir]:
        """A group's members by number: those that have a manifest."""
        numbers = [
            int(match[1])
            for match in map(_MEMBER.fullmatch, os.listdir(self.path))
            if match and (self.path / match[0] / MANIFEST).is_file()
        ]
        return [RunDir(self.path / f"s{number}") for number in sorted(numbers)]

    # -- where the files stand ---------------------------------------------------------------------

    @property
    def config(self) -> Path:
        return self.path / "config.yaml"

    @property
    def plugins(self) -> Path:
        return self.path / "plugins"

    @property
    def resolved(self) -> Path:
        return self.path / "resolved.yaml"

    @property
    def manifest(self) -> Path:
        return self.path / MANIFEST

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.csv"

    @property
    def health(self) -> Path:
        """How the layers were at some epochs; there where any was examined."""
        return self.path / "health.csv"

    @property
    def summary(self) -> Path:
        return self.path / "summary.json"

    @property
    def predictions(self) -> Path:
        return self.path / "predictions.csv"

    @property
    def prediction_tensors(self) -> Path:
        """Of a class at every position: what predictions.csv has no room for."""
        return self.path / "predictions.safetensors"

    @property
    def model(self) -> Path:
        return self.path / "model.safetensors"

    @property
    def last(self) -> Path:
        return self.path / "last.safetensors"

    @property
    def preprocessing(self) -> Path:
        return self.path / "preprocessing.json"

    @property
    def preprocessing_tensors(self) -> Path:
        return self.path / "preprocessing.safetensors"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoint"

    @property
    def log(self) -> Path:
        return self.path / "log.txt"

    @property
    def events(self) -> Path:
        return self.path / "events.out.tfevents.nnexp"

    # -- one writer at a time ----------------------------------------------------------------------

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keeps other processes from writing; what a killed one left half-written is removed.

        The kernel holds the lock (flock), so it ends with the process, however that ends.
        Raises LockedRun if another process has it.
        """
        path = self.path / _LOCK
        with explained(path):
            descriptor = self._acquire(path)
        try:
            remove_leftovers(self.path)
            yield
        finally:
            with suppress(OSError):
                os.unlink(path)  # while it is still held
            os.close(descriptor)

    def is_locked(self) -> bool:
        """Whether a process is writing to this run, or to the group it is a member of."""
        for folder in (self.path, self.path.parent):
            try:
                descriptor = os.open(folder / _LOCK, os.O_RDONLY | _SAFELY)
            except OSError:
                continue
            try:
                fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
            finally:
                os.close(descriptor)
        return False

    def _acquire(self, path: Path) -> int:
        holder = b""
        for _ in range(10):  # another process's `is_locked` may hold it for an instant
            descriptor, held = os.open(path, os.O_RDWR | os.O_CREAT | _SAFELY, 0o666), False
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if _stands_at(descriptor, path):  # else its holder removed it, then let go
                    os.ftruncate(descriptor, 0)
                    os.pwrite(descriptor, str(os.getpid()).encode(), 0)
                    held = True
                    return descriptor
            except BlockingIOError:
                holder = os.pread(descriptor, 20, 0)
                time.sleep(0.01)
            finally:
                if not held:
                    os.close(descriptor)
        who = f"process {int(holder)}" if holder.isdigit() else "another process"
        raise LockedRun(f"{self.path} is being written by {who}; wait for it to end, or stop it")

    # -- reading -----------------------------------------------------------------------------------

    def read_manifest(self) -> dict[str, Any]:
        """manifest.json, every entry as `forms.Manifest` has it. Raises as `read_json` does."""
        manifest = self.read_json(MANIFEST)
        check_manifest(manifest, self.manifest)
        return manifest

    def read_summary(self) -> dict[str, Any]:
        """summary.json, every entry as `forms` has it. Raises as `read_json` does."""
        summary = self.read_json(self.summary)
        check_summary(summary, self.summary)
        return summary

    def read_config(self) -> dict[str, Any]:
        """resolved.yaml, a mapping. Raises as `read_yaml` does."""
        config = self.read_yaml(self.resolved)
        if not isinstance(config, dict) or not all(isinstance(key, str) for key in config):
            raise DamagedRun(f"{self.resolved} should hold a mapping from names")
        return config

    def read_json(self, name: str | Path) -> dict[str, Any]:
        """A JSON object. Raises UntrustedRun, DamagedRun (missing, too long, no JSON), RunError."""
        key = self._name(name)
        return parse_json(read_bytes(self.path, key, TEXT_LIMIT), self.path / key)

    def read_yaml(self, name: str | Path) -> Any:
        """YAML as nnexp writes it; a tag or an alias is refused with UntrustedRun."""
        key = self._name(name)
        return parse_yaml(read_bytes(self.path, key, YAML_LIMIT), self.path / key)

    def read_text(self, name: str | Path) -> str:
        """Text, such as metrics.csv. Raises as `read_json` does."""
        key = self._name(name)
        try:
            return read_bytes(self.path, key).decode()
        except UnicodeDecodeError as error:
            raise DamagedRun(f"{self.path / key} is not text: {error}") from None

    def read_tensors(
        self,
        name: str | Path,
        expected_sha256: str | None = None,
        framework: Framework = "numpy",
    ) -> dict[str, Any]:
        """The tensors of a safetensors file, by name.

        expected_sha256: what the manifest says; the very bytes that are used are held against it.
        framework: "numpy" gives bfloat16 as float32, "torch" as it is.
        Raises UntrustedRun (a pickle, changed, or outside the run), DamagedRun, RunError.
        """
        key = self._name(name)
        data = read_bytes(self.path, key)
        tensors = decode(data, self.path / key, framework)
        if expected_sha256 is not None and sha256([data]) != expected_sha256:
            raise UntrustedRun(_changed(self.path / key))
        return tensors

    def seal(self, names: Iterable[str | Path]) -> dict[str, str]:
        """The SHA-256 of each file, by name, for `files` in the manifest."""
        return {(key := self._name(name)): file_sha256(self.path, key) for name in names}

    def verify(self, names: Iterable[str | Path]) -> None:
        """Holds files against the manifest.

        Raises UntrustedRun if one was changed or isn't the run's, DamagedRun if one is missing.
        """
        sealed = self.read_manifest().get("files", {})
        for name in names:
            key = self._name(name)
            expected = sealed.get(key)
            if expected is None:
                raise UntrustedRun(f"{self.path / key} is not among the files that the run wrote")
            if file_sha256(self.path, key) != expected:
                refuse_pickle(read_bytes(self.path, key), self.path / key)
                raise UntrustedRun(_changed(self.path / key))

    def refuse_light(self, what: str) -> None:
        """Raises RunError if the run kept only its config and scores, as a sweep's trials do.

        what: is needed, "weights" or "predictions".
        """
        manifest = self.read_manifest()
        files = manifest.get("files") or (self.model.name,)
        done = manifest["status"] in ("finished", "diverged")
        if done and manifest["kind"] == "run" and self.model.name not in files:
            raise RunError(
                f"{self.path} is a trial of a sweep, which kept its scores but no {what}; "
                f"to train it again: nnexp train {self.resolved}"
            )

    def check_written(self) -> None:
        """Holds all that a finished run, or a finished group and its members, wrote against the
        manifests. A file that is gone is passed over: whoever needs it will say so.

        Raises UntrustedRun if one was changed, or if a member is another group's.
        """
        group = self.read_manifest()
        if group["status"] not in ("finished", "diverged"):
            return  # its files are still being written
        count = group["members"] if group["kind"] == "group" else 0
        for run in (self, *(RunDir(self.path / f"s{number}") for number in range(count))):
            if not os.path.lexists(run.manifest):
                raise DamagedRun(f"{run.path} is missing: the group has {count} members")
            own = run.read_manifest()
            put = run is not self and run.path.is_symlink()
            if put or any(own.get(key) != group.get(key) for key in ("id", "created", "data")):
                raise UntrustedRun(f"{run.path} is not a member of {self.path}: it was put there")
            sealed = {key: inside(run.path, key) for key in own.get("files", {})}
            run.verify(key for key, path in sealed.items() if os.path.lexists(path))

    def audit(self) -> None:
        """Refuses, with UntrustedRun, a directory that holds what a run never holds.

        That is a pickle (by name), a link that leads out, anything but files and folders.
        """
        top = os.path.realpath(self.path)
        folders = [top]
        try:
            while folders:
                with os.scandir(folders.pop()) as entries:
                    for entry in entries:
                        if entry.is_dir(follow_symlinks=False):
                            folders.append(entry.path)
                        else:
                            _audit_file(entry, top)
        except OSError as error:
            raise RunError(f"{self.path} can't be read: {error.strerror or error}") from error

    def _name(self, name: str | Path) -> str:
        if isinstance(name, Path) and name.is_relative_to(self.path):
            name = name.relative_to(self.path)
        return str(name)


def safe_name(name: str) -> str:
    """A name as a folder's name: letters, digits, `_`, `.` and `-`, at most 60 of them."""
    return re.sub(r"[^\w.-]+", "-", name)[:60].strip("-.") or "run"


def run_folders(root: Path, depth: int = 8) -> Iterator[Path]:
    """The runs, groups and sweeps at and below `root`, but for those inside a group or a sweep.

    Hidden folders and links are passed over; `depth` is how many levels below `root` are looked at.
    """
    for folder, below, files in os.walk(root):
        if MANIFEST in files or SWEEP in files:
            yield Path(folder)
            below.clear()
        elif len(Path(folder).relative_to(root).parts) == depth:
            below.clear()
        else:
            below[:] = [name for name in below if not name.startswith(".")]


def _audit_file(entry: os.DirEntry[str], top: str) -> None:
    reason = ""
    if Path(entry.name).suffix.lower() in _PICKLES:
        reason = "can hold a pickle, which runs code when it is read"
    elif entry.is_symlink():
        if os.path.commonpath([top, os.path.realpath(entry.path)]) != top:
            reason = "is a link that leads out of the run"
    elif not entry.is_file(follow_symlinks=False):
        reason = "is not an ordinary file"
    elif not entry.name.endswith(".safetensors") and begins_as_pickle(entry.path):
        reason = "is a pickle, which runs code when it is read"
    if reason:
        raise UntrustedRun(
            f"{entry.path} {reason}; nnexp never writes such a file, so the run is refused. "
            "Nothing was executed"
        )


def _changed(path: Path) -> str:
    return f"{path} was changed since the run was written: its SHA-256 is not the manifest's"


def _stands_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False


def _no_folder(path: Path) -> str:
    if os.path.exists(path):
        run = f", here {path.parent}" if os.path.exists(path.parent / MANIFEST) else ""
        return f"{path} is a file; a run is a folder{run}"
    missing = next((part for part in (path, *path.parents) if part.parent.is_dir()), path)
    names = [p.name for p in missing.parent.iterdir() if p.is_dir()]
    close = nearest(missing.name, names)
    hint = f"; did you mean {missing.with_name(close)}?" if close else ""
    return f"there is no run at {path}{hint}"


def is_sweep(path: Path) -> bool:
    """Whether there is a sweep, not a run, at `path`."""
    return (path / SWEEP).is_file()


def command_of(sweep: Path) -> str:
    """The command that made a sweep and goes on with it: ablations and curves are sweeps, too."""
    try:
        state = json.loads((sweep / SWEEP).read_bytes())
    except (OSError, ValueError):
        return "sweep"
    kinds = {"ablation": "ablate", "curve": "curve"}
    return next(
        (kinds[kind] for kind in kinds if isinstance(state, dict) and kind in state), "sweep"
    )


def _sweep(path: Path) -> str:
    """What to take instead of a sweep."""
    command = command_of(path)
    if command != "sweep":
        kind = "an ablation" if command == "ablate" else "a curve"
        group = next(iter(sorted(path.glob("cells/*"))), None)
        if group is None:
            return f"{path} is {kind}, not finished; go on with: nnexp {command} --resume {path}"
        return f"{path} is {kind}, not a run: take one of its groups, such as {group}"
    names = {"best": "its best config's run", "winner": "the same on fresh seeds"}
    homes = [path, *sorted(path.glob("arms/*"))]
    there = {name: [home for home in homes if (home / name / MANIFEST).is_file()] for name in names}
    if not any(there.values()):
        return f"{path} is a sweep that is not finished; go on with: nnexp sweep --resume {path}"
    one = next(home for found in there.values() for home in found)
    listed = " or ".join(f"{one / name} ({names[name]})" for name in names if there[name])
    others = ", likewise for the other arms" if one != path else ""
    return f"{path} is a sweep, not a run: take {listed}{others}"


def _no_run(path: Path) -> str:
    if is_sweep(path):
        return _sweep(path)
    below = sorted(run_folders(path, depth=2), key=lambda folder: folder.name)
    if not below:
        return f"{path} is not a run: it has no {MANIFEST}"
    count = "1 run" if len(below) == 1 else f"{len(below)} runs"
    return f"{path} is not a run, but holds {count}; the newest is {below[-1]}"
