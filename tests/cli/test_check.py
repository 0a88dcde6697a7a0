"""`nnexp check`: what it prints, its exit codes, and that it writes nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nnexp.cli.app import run as run_command


def test_a_sound_config_passes(
    config: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(config.parent)
    before = sorted(config.parent.rglob("*"))
    assert run_command(["check", str(config)]) == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert "pass constant columns none" in lines
    assert any(line.startswith("pass gradient relative error ") for line in lines)
    assert lines[-1].endswith(" pass") or " look" in lines[-1]
    assert sorted(config.parent.rglob("*")) == before


def test_a_failed_check_says_what_to_do(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    change = ["--set", "initialization={name: constant, value: 0}"]
    assert run_command(["check", str(config), *change]) == 5
    out = capsys.readouterr().out
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert "fail identical units all units have the same weights: 0.linear" in lines
    assert "→ they get the same gradient and stay the same: start the weights at random" in out
    assert " fail" in out.splitlines()[-1]


def test_json(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["check", str(config), "--json", "--set", "optimizer.lr=900"]) == 5
    found = json.loads(capsys.readouterr().out)
    by_name = {check["name"]: check for check in found["checks"]}
    assert set(by_name["learning rate"]) == {"name", "verdict", "text", "advice"}
    assert by_name["learning rate"]["verdict"] == "fail"
    assert found["failed"] == sum(c["verdict"] == "fail" for c in found["checks"])
    curve = found["range_test"]
    assert len(curve["lr"]) == len(curve["loss"]) >= 20
    assert curve["lr"] == sorted(curve["lr"])


def test_mistakes_are_told_as_everywhere(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(["check", str(config), "--set", "optimizer.lr=-1"]) == 2
    assert run_command(["check", str(tmp_path / "none.yaml")]) == 2
    (tmp_path / "manifest.json").write_text("{}")
    assert run_command(["check", str(tmp_path)]) == 2
    assert "is a run" in capsys.readouterr().err
    (tmp_path / "c.yaml").write_text(
        "data: {source: {name: csv, path: gone.csv, target: y}}\nmodel: linear\n"
    )
    assert run_command(["check", str(tmp_path / "c.yaml")]) == 3
