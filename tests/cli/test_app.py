"""Exit codes, where things are printed, and what may not be imported."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from nnexp import errors
from nnexp.cli import app as module
from nnexp.cli.app import run

COMMANDS = ("train", "eval", "compare", "runs", "show", "ls", "explain", "schema")


def in_new_process(*arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    """A command line in a process of its own; `COUNT` of stderr names heavy modules."""
    code = (
        "import sys; from nnexp.cli.app import run; code = run(sys.argv[1:]);"
        "heavy = ('torch', 'pandas', 'sklearn', 'scipy', 'matplotlib');"
        "print('LOADED', *[m for m in heavy if m in sys.modules], file=sys.stderr); sys.exit(code)"
    )
    environment = {**os.environ, "COLUMNS": "100", **more}
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--help"], 0),
        (["--version"], 0),
        (["ls"], 0),
        (["explain", "optimizer.adam"], 0),
        (["schema"], 0),
        (["runs", "."], 0),
        (["show", "BAD"], 2),
        (["train", "BAD"], 2),
        (["train", "GOOD", "--set", "data.source=nowhere"], 2),
        (["train", "GOOD", "--set", "data.source={name: csv, path: no.csv, target: y}"], 3),
        (["show", "GOOD", "--resolved"], 0),
    ],
)
def test_quick_commands_leave_heavy_modules_alone(
    arguments: list[str], code: int, config: Path, tmp_path: Path
) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text("data: {source: iris}\nmodle: mlp\n")
    named = {"BAD": str(bad), "GOOD": str(config)}
    done = (
        in_new_process(*(named.get(a, a) for a in arguments), "--out", str(tmp_path))
        if (arguments[0] == "train")
        else in_new_process(*(named.get(a, a) for a in arguments))
    )
    assert done.returncode == code, done.stderr
    assert done.stderr.splitlines()[-1] == "LOADED"


def test_comparing_does_not_import_torch(single: Path, other: Path) -> None:
    done = in_new_process("compare", str(single), str(other))
    assert done.returncode == 0
    assert done.stderr.splitlines()[-1] in ("LOADED", "LOADED scipy")


def test_help_says_what_each_command_does(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == 0
    overview = capsys.readouterr().out
    for command in COMMANDS:
        assert run([command, "--help"]) == 0
        told = capsys.readouterr().out
        assert f"nnexp {command}" in told.split("Options:")[0].split("\n", 1)[1], "has an example"
        line = next(x for x in overview.splitlines() if x.strip().startswith(f"{command} "))
        assert not line.endswith("..."), "fits on its line"


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["fly"],
        ["train"],
        ["train", "CONFIG", "--resume", "x"],
        ["train", "CONFIG", "--seeds", "0"],
        ["train", "CONFIG", "--splits", "-1"],
        ["train", "CONFIG", "--seeds", "2", "--splits", "2"],
        ["train", "CONFIG", "--device", "tpu"],
        ["train", "CONFIG", "--epochs", "many"],
        ["train", "CONFIG", "--sed", "3"],
        ["train", "CONFIG", "--set", "training.epochs"],
        ["train", "CONFIG", "--set", "optimizer.lr=-1"],
        ["train", "--resume", "x", "--set", "seed=1"],
        ["train", "--resume", "x", "--device", "cpu"],
        ["train", "--resume", "x", "--out", "y"],
        ["train", "no-such-file.yaml"],
        ["eval", "x", "--split", "all"],
        ["compare", "one"],
        ["runs", "no-such-folder"],
        ["ls", "optimiser"],
        ["explain", "adm"],
        ["show", "no-such-file.yaml"],
    ],
)
def test_wrong_usage(
    arguments: list[str], config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([str(config) if a == "CONFIG" else a for a in arguments]) == 2
    told = capsys.readouterr()
    assert told.out == "" or not arguments
    assert "Traceback" not in told.err


@pytest.mark.parametrize("command", [["eval"], ["show"], ["train", "--resume"]])
def test_a_run_that_is_not_there(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*command, str(tmp_path / "nothing")]) == 3
    assert "nothing" in capsys.readouterr().err


class OutOfMemoryError(RuntimeError):
    """Is called as torch's is."""


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (errors.UsageError("wrong"), 2, "error: wrong"),
        (errors.DataError("bad data"), 3, "error: bad data"),
        (errors.LockedRun("in use"), 3, "error: in use"),
        (errors.Diverged("NaN"), 4, "error: NaN"),
        (errors.CheckFailed("check"), 5, "error: check"),
        (errors.OutOfResources("full"), 6, "error: full"),
        (errors.Interrupted("stopped"), 130, "stopped"),
        (errors.Terminated("stopped"), 143, "stopped"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (MemoryError(), 6, "out of memory"),
        (OutOfMemoryError("CUDA out of memory"), 6, "CUDA out of memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: 1 TB"), 6, "out of memory"),
        (OSError(errno.ENOSPC, "No space left on device", "x.csv"), 6, "x.csv"),
        (OSError(errno.EIO, "I/O error"), 1, "defect of nnexp"),
        (ValueError("surprise"), 1, "ValueError: surprise"),
        (BrokenPipeError(), 0, ""),
    ],
)
def test_exit_codes(
    error: BaseException,
    code: int,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    def fail(_: str) -> None:
        raise error

    monkeypatch.setattr("nnexp.config.catalogue.describe", fail)
    if isinstance(error, BrokenPipeError):  # its handling would replace the test's stdout
        monkeypatch.setattr(module.os, "dup2", lambda *_: None)
    assert run(["explain", "adam"]) == code
    told = capfd.readouterr()
    assert said in told.err
    assert ("defect" in told.err) == (code == 1)
    assert ("Traceback" in told.err) == (code == 1)
    assert told.out == ""


def test_a_reader_that_has_seen_enough() -> None:
    code = "import sys; from nnexp.cli.app import main; sys.argv[1:] = ['schema']; main()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 0


def test_characters_that_the_terminal_lacks() -> None:
    code = "import sys; from nnexp.cli.app import main; sys.argv[1:] = ['explain', 'adam']; main()"
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.isascii()


def test_json_is_all_that_is_on_stdout(
    single: Path,
    group: Path,
    other_group: Path,
    other: Path,
    config: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    lines: Sequence[Sequence[str]] = [
        ["ls"],
        ["ls", "optimizer"],
        ["explain", "linear"],
        ["runs", str(config.parent)],
        ["show", str(single)],
        ["show", str(group)],
        ["show", str(single), "--resolved"],
        ["show", str(config)],
        ["show", str(config), "--resolved"],
        ["eval", str(single)],
        ["eval", str(group), "--split", "dev"],
        ["compare", str(single), str(other)],
        ["compare", str(group), str(other_group), "--margin", "0.05"],
        ["train", "--resume", str(single)],
    ]
    for line in lines:
        capsys.readouterr()
        assert run([*line, "--json"]) == 0, line
        json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert run(["schema"]) == 0
    assert json.loads(capsys.readouterr().out)["$schema"]


def test_output_has_no_control_codes_and_no_blanks_at_ends(
    single: Path, other: Path, group: Path, config: Path
) -> None:
    for line in (
        ["runs", str(config.parent)],
        ["show", str(group)],
        ["compare", str(single), str(other)],
        ["eval", str(group)],
        ["train", str(config), "--out", str(config.parent / "piped")],
        ["ls"],
        ["explain", "training"],
    ):
        done = in_new_process(*line)
        assert done.returncode == 0, done.stderr
        for text in (done.stdout, done.stderr):
            assert all(c.isprintable() or c == "\n" for c in text), line
            assert not any(part.endswith(" ") for part in text.split("\n")), line


def test_the_path_is_printed_last(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["train", str(config), "--out", str(tmp_path)]) == 0
    told = capsys.readouterr()
    path = Path(told.out.splitlines()[-1])
    assert path == next(tmp_path.glob("small/*"))
    assert "accuracy" in told.out
    assert "training 1 model" in told.err
    assert run(["train", str(config), "--out", str(tmp_path), "--quiet"]) == 0
    told = capsys.readouterr()
    assert len(told.out.splitlines()) == 1
    assert told.err == ""


def test_options_become_part_of_the_run(
    trained: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    path = trained("--epochs", "3", "--device", "cpu", "--set", "optimizer.lr=0.02")
    manifest = json.loads((path / "manifest.json").read_text())
    expected = ["optimizer.lr=0.02", "training.epochs=3", "training.device=cpu"]
    assert manifest["overrides"] == expected
    assert json.loads((path / "summary.json").read_text())["epochs"] == 3
    capsys.readouterr()
    assert run(["train", "--resume", str(path), "--epochs", "5", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["epochs"] == 5
    assert run(["train", "--resume", str(path)]) == 0
    told = capsys.readouterr()
    assert "nothing was changed" in told.err
    assert told.out.splitlines()[-1] == str(path)


def test_divergence_is_told_with_the_run(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = [
        "--set",
        "optimizer={name: sgd, lr: 1000}",
        "--set",
        "loss=mse",
        "--set",
        "metrics=null",
    ]
    options += ["--set", "data={source: diabetes, scale_target: false}", "--epochs", "30"]
    assert run(["train", str(config), "--out", str(tmp_path), *options]) == 4
    told = capsys.readouterr()
    assert told.out.splitlines()[-1] == str(next(tmp_path.glob("small/*")))
    assert "diverged" in told.err


def test_problems_that_need_the_data_are_placed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "three.yaml"
    path.write_text("data: {source: iris}\nmodel: mlp\nloss:\n  binary_cross_entropy\n")
    assert run(["train", str(path), "--out", str(tmp_path)]) == 2
    assert f"{path}:4:3: loss: " in capsys.readouterr().err
    assert run(["show", "--resolved", str(path)]) == 2
    assert f"{path}:4:3: loss: " in capsys.readouterr().err
