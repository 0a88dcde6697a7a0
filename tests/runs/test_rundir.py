"""Run directories: made, opened, locked, and read without trusting them."""

from __future__ import annotations

import fcntl
import hashlib
import io
import os
import pickle
import signal
import subprocess
import sys
import zipfile
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from nnexp.errors import DamagedRun, LockedRun, OutOfResources, RunError, UntrustedRun
from nnexp.runs.checkpoint import Checkpoints
from nnexp.runs.files import write_json, write_tensors, write_text
from nnexp.runs.rundir import RunDir, safe_name

NOW = datetime(2026, 11, 20, 10, 15, 2)
TENSORS = {"w": np.arange(6.0).reshape(2, 3)}


def make(root: Path, name: str = "digits", **manifest: Any) -> RunDir:
    run = RunDir.create(root, name, NOW)
    write_text(run.resolved, "seed: 0\nmodel: {name: mlp}\n")
    write_tensors(run.model, TENSORS)
    sealed = run.seal(["resolved.yaml", run.model])
    write_json(run.manifest, {"kind": "run", "status": "finished", "files": sealed, **manifest})
    return run


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    return make(tmp_path / "runs")


# -- making ----------------------------------------------------------------------------------------


def test_create(tmp_path: Path) -> None:
    made = {RunDir.create(tmp_path / "runs", "digits mlp/η=1", NOW).path for _ in range(50)}
    assert len(made) == 50
    for path in made:
        assert path.is_dir()
        assert path.parent == tmp_path / "runs" / "digits-mlp-η-1"
        head, tail = path.name.rsplit("-", 1)
        assert head == "2026-11-20T10-15-02"
        assert len(tail) == 4
        int(tail, 16)


def test_create_takes_another_name_when_it_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens = iter(["aaaa", "aaaa", "aaaa", "bbbb"])
    monkeypatch.setattr("nnexp.runs.rundir.secrets.token_hex", lambda _: next(tokens))
    names = [RunDir.create(tmp_path, "x", NOW).path.name[-4:] for _ in range(2)]
    assert names == ["aaaa", "bbbb"]


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("digits-mlp", "digits-mlp"),
        ("../../etc/passwd", "etc-passwd"),
        ("..", "run"),
        ("", "run"),
        (".hidden", "hidden"),
        ("a b\n\0c", "a-b-c"),
        ("x" * 300, "x" * 60),
    ],
)
def test_safe_name(name: str, safe: str) -> None:
    assert safe_name(name) == safe


def test_create_where_it_cannot_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="can't be written: Not a directory"):
        RunDir.create(tmp_path / "file", "x", NOW)

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "mkdir", full)
    with pytest.raises(OutOfResources, match="the disk is full"):
        RunDir.create(tmp_path / "runs", "x", NOW)


def test_members(tmp_path: Path) -> None:
    group = make(tmp_path, kind="group")
    for number in (10, 2, 0):
        write_json(group.make_member(number).manifest, {"kind": "run", "status": "running"})
    group.make_member(3)  # has no manifest yet
    group.make_member(2)  # is there already
    (group.path / "s2x").mkdir()
    assert [member.path.name for member in group.members()] == ["s0", "s2", "s10"]
    assert RunDir.open(group.path / "s10").path == group.path / "s10"


# -- opening ---------------------------------------------------------------------------------------


def test_open(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    assert RunDir.open(run.path) == run
    monkeypatch.chdir(run.path)
    here = RunDir.open(Path())
    assert here.read_yaml("resolved.yaml") == {"seed": 0, "model": {"name": "mlp"}}
    assert here.read_yaml(here.resolved) == run.read_yaml(run.resolved)


def refusal(path: Path) -> str:
    with pytest.raises(RunError) as caught:
        RunDir.open(path)
    assert caught.value.exit_code == 3
    return str(caught.value)


def test_open_what_is_no_run(run: RunDir, tmp_path: Path) -> None:
    name, root = run.path.parent, run.path.parent.parent
    later = make(root)
    later = RunDir(later.path.rename(name / "2026-12-01T00-00-00-0000"))
    for folder in (root, name):
        assert refusal(folder) == (
            f"{folder} is not a run, but holds 2 runs; the newest is {later.path}"
        )
    wrong = root / "digitz" / "x"
    assert refusal(wrong) == f"there is no run at {wrong}; did you mean {name}?"
    wrong = later.path.with_name("2026-12-01T00-00-00-0001")
    assert refusal(wrong) == f"there is no run at {wrong}; did you mean {later.path}?"
    wrong = tmp_path / "qqq"
    assert refusal(wrong) == f"there is no run at {wrong}"
    assert refusal(run.model) == f"{run.model} is a file; a run is a folder, here {run.path}"
    (tmp_path / "empty").mkdir()
    assert refusal(tmp_path / "empty") == (
        f"{tmp_path / 'empty'} is not a run: it has no manifest.json"
    )


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"kind": "walk"}', '{"kind": ["run"]}'])
def test_open_with_a_broken_manifest(run: RunDir, text: str) -> None:
    run.manifest.write_text(text)
    with pytest.raises(DamagedRun, match=r"manifest\.json"):
        RunDir.open(run.path)


# -- reading ---------------------------------------------------------------------------------------


def test_reading(run: RunDir) -> None:
    assert run.read_manifest()["kind"] == "run"
    assert run.read_text("resolved.yaml").startswith("seed")
    sealed = run.read_manifest()["files"]
    assert sealed == {
        name: hashlib.sha256((run.path / name).read_bytes()).hexdigest()
        for name in ("resolved.yaml", "model.safetensors")
    }
    run.verify(sealed)
    found = run.read_tensors(run.model, sealed["model.safetensors"])
    np.testing.assert_array_equal(found["w"], TENSORS["w"])
    assert run.read_tensors("model.safetensors", framework="torch")["w"].tolist() == [
        [0, 1, 2],
        [3, 4, 5],
    ]


def test_missing_and_too_long_and_not_text(run: RunDir) -> None:
    for read in (run.read_json, run.read_yaml, run.read_text, run.read_tensors):
        with pytest.raises(DamagedRun, match=r"none is missing$"):
            read("none")
        with pytest.raises(UntrustedRun, match="is not an ordinary file"):
            read("")
    with run.manifest.open("wb") as file:
        file.truncate((64 << 20) + 1)
    with pytest.raises(DamagedRun, match=r"has 67,108,865 bytes; nnexp writes at most 67,108,864"):
        run.read_manifest()
    run.metrics.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DamagedRun, match=r"metrics\.csv is not text"):
        run.read_text(run.metrics)
    for length in (0, 5, 50):
        run.model.write_bytes(run.model.read_bytes()[:length])
        with pytest.raises(DamagedRun, match=r"model\.safetensors is damaged"):
            run.read_tensors("model.safetensors")


def test_a_file_that_may_not_be_read(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: Any) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", forbidden)
    with pytest.raises(RunError, match=r"manifest\.json can't be read: Permission denied"):
        run.read_manifest()


# -- a run that is not to be trusted ---------------------------------------------------------------


class Canary:
    """Something that leaves a trace if anybody unpickles it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self.path),)


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    return tmp_path / "canary"


def pickled(canary: Path, protocol: int = 4) -> bytes:
    return pickle.dumps({"w": Canary(canary)}, protocol=protocol)


def archived(canary: Path) -> bytes:
    """As torch.save writes it."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("model/data.pkl", pickled(canary, 2))
    return file.getvalue()


def tagged(canary: Path) -> str:
    return f"!!python/object/apply:os.mkdir [{canary}]"


def use(run: RunDir) -> None:
    """All that anything does to a run."""
    RunDir.open(run.path)
    run.read_yaml("resolved.yaml")
    files = run.read_manifest()["files"]
    run.read_tensors("model.safetensors", files["model.safetensors"])
    run.verify(files)
    Checkpoints(run.checkpoints).load()


def sealed(run: RunDir) -> None:
    """Makes the manifest fit the files, as one who knows the format can."""
    manifest = run.read_manifest()
    write_json(run.manifest, {**manifest, "files": run.seal(manifest["files"])})


def test_the_canaries_are_alive(canary: Path) -> None:
    pickle.loads(pickled(canary))
    canary.rmdir()
    with zipfile.ZipFile(io.BytesIO(archived(canary))) as archive:
        pickle.loads(archive.read("model/data.pkl"))
    canary.rmdir()
    yaml.load(tagged(canary), yaml.UnsafeLoader)
    canary.rmdir()


def test_a_sound_run_can_be_used(run: RunDir) -> None:
    use(run)


@pytest.mark.parametrize(
    "name", ["x.pkl", "model.pt", "a/b/model.PTH", "x.pickle", "pytorch_model.bin", "y.ckpt"]
)
def test_a_pickle_is_refused_by_name(run: RunDir, canary: Path, name: str) -> None:
    path = run.path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickled(canary))
    with pytest.raises(UntrustedRun, match=r"can hold a pickle.* Nothing was executed"):
        use(run)
    assert not canary.exists()


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("seal", [True, False])
def test_a_pickle_in_place_of_the_weights(
    run: RunDir, canary: Path, protocol: int, seal: bool
) -> None:
    run.model.write_bytes(pickled(canary, protocol))
    if seal:
        sealed(run)
    # only protocols from 2 on begin with a mark
    refused = UntrustedRun if protocol > 1 or not seal else DamagedRun
    with pytest.raises(refused, match=r"model\.safetensors"):
        use(run)
    assert not canary.exists()


def test_an_archive_in_place_of_the_weights(run: RunDir, canary: Path) -> None:
    run.model.write_bytes(archived(canary))
    with pytest.raises(UntrustedRun, match="is a pickle or an archive"):
        use(run)
    assert not canary.exists()


def test_a_pickle_in_place_of_a_checkpoint(run: RunDir, canary: Path) -> None:
    Checkpoints(run.checkpoints).save(TENSORS, {}, 1)
    for path in run.checkpoints.iterdir():
        path.write_bytes(pickled(canary))
    with pytest.raises(DamagedRun, match="no checkpoint can be used"):
        use(run)
    assert not canary.exists()


@pytest.mark.parametrize("text", ["{}", "a: {}", "? {}\n: 1", "- [1, {}]", "--- {}\n"])
def test_a_python_tag(run: RunDir, canary: Path, text: str) -> None:
    run.resolved.write_text(text.format(tagged(canary)))
    sealed(run)
    with pytest.raises(UntrustedRun, match=r"has the tag 'tag:yaml\.org,2002:python/object/apply"):
        use(run)
    assert not canary.exists()


@pytest.mark.parametrize("name", ["model.safetensors", "resolved.yaml", "manifest.json"])
@pytest.mark.parametrize("target", ["{}", "../../../{0.name}"])
def test_a_link_that_leads_out(run: RunDir, tmp_path: Path, name: str, target: str) -> None:
    outside = tmp_path / name
    (run.path / name).rename(outside)
    (run.path / name).symlink_to(target.format(outside))
    assert (run.path / name).exists()
    with pytest.raises(UntrustedRun, match="is a link that leads out of the run"):
        use(run)
    for read in (run.read_json, run.read_yaml, run.read_tensors):
        with pytest.raises(UntrustedRun, match="is a link that leads out of the run"):
            read(name)


def test_a_folder_that_leads_out(run: RunDir, tmp_path: Path) -> None:
    saved = tmp_path / "elsewhere"
    Checkpoints(saved).save(TENSORS, {}, 1)
    run.checkpoints.symlink_to(saved)
    with pytest.raises(UntrustedRun, match="checkpoint is a link that leads out of the run"):
        use(run)


def test_links_within_the_run_are_fine(run: RunDir) -> None:
    run.last.symlink_to("model.safetensors")
    use(run)
    assert run.read_tensors("last.safetensors").keys() == TENSORS.keys()


def test_a_run_reached_through_a_link_is_fine(run: RunDir, tmp_path: Path) -> None:
    (tmp_path / "short").symlink_to(run.path)
    use(RunDir(tmp_path / "short"))


@pytest.mark.parametrize(
    "name", ["../x", "a/../../x", "/etc/passwd", "..", "a/..", "x\0y", "/", "//x"]
)
def test_a_path_that_climbs_out(run: RunDir, name: str) -> None:
    (run.path.parent / "x").write_text("secret")
    for read in (run.read_json, run.read_yaml, run.read_text, run.read_tensors):
        with pytest.raises(UntrustedRun, match="names a file outside itself"):
            read(name)
    manifest = run.read_manifest()
    write_json(run.manifest, {**manifest, "files": {**manifest["files"], name: "0" * 64}})
    with pytest.raises(UntrustedRun, match="names a file outside itself"):
        use(run)


def test_swapped_weights(run: RunDir) -> None:
    write_tensors(run.model, {"w": TENSORS["w"] + 1})
    with pytest.raises(UntrustedRun, match="was changed since the run was written"):
        run.read_tensors(run.model, run.read_manifest()["files"]["model.safetensors"])
    with pytest.raises(UntrustedRun, match="was changed since the run was written"):
        run.verify(["model.safetensors"])
    run.verify(["resolved.yaml"])


def test_whatever_was_changed_is_refused_when_a_finished_run_is_opened(run: RunDir) -> None:
    run.resolved.write_text("seed: 1\n")
    with pytest.raises(UntrustedRun, match=r"resolved\.yaml was changed"):
        RunDir.open(run.path)
    sealed(run)
    run.model.unlink()
    RunDir.open(run.path)  # whoever needs it will say so
    run.resolved.write_text("seed: 2\n")
    write_json(run.manifest, {**run.read_manifest(), "status": "running"})
    RunDir.open(run.path)  # it is being written


def test_a_member_from_elsewhere(tmp_path: Path) -> None:
    group = RunDir.create(tmp_path, "digits", NOW)
    manifest = {"status": "finished", "created": "now", "name": "digits"}
    write_json(group.manifest, {**manifest, "kind": "group", "members": 2})
    for number in range(2):
        write_json(group.make_member(number).manifest, {**manifest, "kind": "run"})
    RunDir.open(group.path)
    changed = {**manifest, "kind": "run", "created": "before"}
    write_json(group.make_member(1).manifest, changed)
    with pytest.raises(UntrustedRun, match="s1 is not a member of"):
        RunDir.open(group.path)


@pytest.mark.parametrize(
    ("entry", "value", "said"),
    [
        ("kind", "walk", "kind should be 'run' or 'group', and is 'walk'"),
        ("status", None, "status should be"),
        ("threads", 0, "threads should be greater than or equal to 1, and is 0"),
        ("seconds", 10**400, "seconds should be"),
        ("files", {"a": 5}, "files.a should be a valid string, and is 5"),
        ("split", {"counts": {"train": "x"}}, "split.counts.train should be a valid integer"),
        ("packs", [[0, "x"]], "packs.0.1 should be"),
        ("data", [], "data should be a valid dictionary, and is []"),
    ],
)
def test_a_manifest_that_is_not_as_nnexp_writes_it(
    run: RunDir, entry: str, value: Any, said: str
) -> None:
    manifest = run.read_manifest()
    write_json(run.manifest, {**manifest, entry: value})
    with pytest.raises(
        DamagedRun, match=r"manifest\.json is damaged: " + said.replace("[]", r"\[\]")
    ):
        RunDir.open(run.path)
    write_json(run.manifest, {**manifest, "kind": "group"})
    with pytest.raises(DamagedRun, match="members is missing"):
        RunDir.open(run.path)


def test_verify_a_file_that_the_run_did_not_write(run: RunDir) -> None:
    write_tensors(run.last, TENSORS)
    with pytest.raises(UntrustedRun, match=r"last\.safetensors is not among the files"):
        run.verify(["last.safetensors"])
    run.model.unlink()
    with pytest.raises(DamagedRun, match=r"model\.safetensors is missing"):
        run.verify(["model.safetensors"])
    for strange in (None, 5, ["model.safetensors"], {"resolved.yaml": 5}):
        write_json(run.manifest, {"kind": "run", "status": "finished", "files": strange})
        with pytest.raises(DamagedRun, match="files"):
            run.verify(["resolved.yaml"])


def test_a_pipe_does_not_hang_the_reader(run: RunDir) -> None:
    os.mkfifo(run.summary)
    os.mkfifo(run.path / "lock")
    with pytest.raises(UntrustedRun, match="is not an ordinary file"):
        RunDir.open(run.path)
    with pytest.raises(UntrustedRun, match="is not an ordinary file"):
        run.read_json(run.summary)
    assert not run.is_locked()


# -- locking ---------------------------------------------------------------------------------------

TAKE = """
import os, signal, sys
from pathlib import Path
from nnexp.errors import LockedRun
from nnexp.runs.rundir import RunDir
try:
    with RunDir(Path(sys.argv[1])).lock():
        print("locked", flush=True)
        signal.pause()
except LockedRun as error:
    print(error)
    sys.exit(error.exit_code)
"""


def take(run: RunDir) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", TAKE, str(run.path)], stdout=subprocess.PIPE, text=True
    )


def test_a_second_process_is_refused(run: RunDir) -> None:
    assert not run.is_locked()
    with run.lock():
        assert run.is_locked()
        with take(run) as other:
            out, _ = other.communicate(timeout=60)
        assert other.returncode == 3
        assert out == (
            f"{run.path} is being written by process {os.getpid()}; "
            "wait for it to end, or stop it\n"
        )
        RunDir.open(run.path)  # reading needs no lock
    assert not run.is_locked()
    assert not (run.path / "lock").exists()


def test_the_lock_ends_with_its_process(run: RunDir) -> None:
    (run.path / "checkpoint").mkdir()
    leftovers = [run.path / ".tmp-1-ab-x", run.path / "checkpoint" / ".tmp-1-cd-y"]
    with take(run) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "locked\n"
        assert run.is_locked()
        with pytest.raises(LockedRun, match=f"written by process {other.pid};"), run.lock():
            pytest.fail("two at once")
        for path in leftovers:
            path.write_text("half")
        os.kill(other.pid, signal.SIGKILL)
        other.wait(timeout=60)
    assert (run.path / "lock").exists()
    assert not run.is_locked()
    with run.lock():
        assert not any(path.exists() for path in leftovers)
    assert not (run.path / "lock").exists()


def test_a_member_is_locked_by_its_group(run: RunDir) -> None:
    member = run.make_member(0)
    assert not member.is_locked()
    with run.lock():
        assert member.is_locked()


def test_the_lock_ends_with_an_exception(run: RunDir) -> None:
    with pytest.raises(KeyboardInterrupt), run.lock():
        raise KeyboardInterrupt
    with run.lock():
        pass


def test_a_lock_file_of_nonsense(run: RunDir) -> None:
    (run.path / "lock").write_text("nonsense " * 10)
    with run.lock():
        (run.path / "lock").write_text("nonsense " * 10)
        with pytest.raises(LockedRun, match="by another process;"), run.lock():
            pytest.fail("two at once")


def test_a_lock_file_that_its_holder_removes_meanwhile(
    run: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Locking a file that no longer has the name would let a third process in."""
    real, calls = fcntl.flock, list[int]()

    def flock(descriptor: int, operation: int) -> None:
        calls.append(operation)
        if len(calls) == 1:
            (run.path / "lock").unlink()
        real(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", flock)
    with run.lock():
        assert len(calls) == 2
        assert run.is_locked()
        assert (run.path / "lock").read_text() == str(os.getpid())


def test_a_folder_that_takes_no_lock(tmp_path: Path) -> None:
    nothing = RunDir(tmp_path / "none")
    with pytest.raises(RunError, match="lock can't be written: No such file"), nothing.lock():
        pytest.fail("locked nothing")
