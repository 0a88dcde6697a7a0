"""`nnexp check`: what it prints, its exit codes, and that it writes nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nnexp.checks import quick
from nnexp.cli.app import run as run_command
from nnexp.config.load import load_config
from nnexp.runs.plan import plan_members
from nnexp.runs.restore import identity


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
    assert set(found) == {"checks", "counts", "range_test"}
    assert list(found["counts"]) == ["pass", "look", "fail"]
    for judgement, number in found["counts"].items():
        assert number == sum(c["verdict"] == judgement for c in found["checks"])
    curve = found["range_test"]
    assert set(curve) == {"lr", "loss", "low", "high", "diverged"}
    assert 1e-7 < curve["low"] <= curve["high"] < curve["diverged"] < 100
    assert len(curve["lr"]) == len(curve["loss"]) >= 20
    assert curve["lr"] == sorted(curve["lr"])


WRONG = """
from __future__ import annotations
from typing import Literal
from nnexp.plugins import Activation, Context, Hyper, Seen, Tensors, torch

class Wrong(Activation):
    \"\"\"tanh, whose gradient lacks a square.\"\"\"

    name: Literal["wrong_tanh"] = "wrong_tanh"

    def forward(self, x: torch.Tensor, own: Tensors, hyper: Hyper, ctx: Context) -> torch.Tensor:
        return torch.tanh(x)

    def pull(self, dy: torch.Tensor, seen: Seen, ctx: Context) -> torch.Tensor | None:
        return dy * (1 - seen.y)
"""


def test_the_gradient_of_one_s_own_layer_is_checked(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plugin = tmp_path / "wrong.py"
    plugin.write_text(WRONG)
    change = ["--set", "model={name: mlp, hidden: [4], activation: wrong_tanh}", "--json"]
    assert run_command(["check", str(config), *change, "--plugin", str(plugin)]) == 5
    found = {v["name"]: v for v in json.loads(capsys.readouterr().out)["checks"]}
    assert found["gradient"]["verdict"] == "fail"
    assert found["gradient"]["advice"].startswith("furthest off: 0.linear")


def test_an_interruption_ends_it_quietly(
    config: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("nnexp.checks.check.check_data", interrupt)
    assert run_command(["check", str(config)]) == 130
    assert capsys.readouterr().err == "interrupted\n"


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


def test_without_a_range_test_there_is_none_in_json(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(
        "data: {source: diabetes}\nmodel: linear\noptimizer: lbfgs\n"
        "training: {batch_size: full, epochs: 2}\nsweep: {search: {regularization.l2: [0, 1]}}\n"
    )
    assert run_command(["check", str(path), "--json"]) == 0
    told = capsys.readouterr()
    assert json.loads(told.out)["range_test"] is None
    assert "a sweep's trials differ" in told.err


# -- as a part of `nnexp train` --------------------------------------------------------------------


def _log(out: Path) -> str:
    return next(out.glob("*/*/log.txt")).read_text()


def test_training_says_in_a_line_what_the_cheap_checks_found(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(["train", str(config), "--out", str(tmp_path)]) == 0
    lines = capsys.readouterr().err.splitlines()
    (told,) = (line for line in lines if line.startswith("checks: "))
    assert told == f"checks: 9 pass (nnexp check {config} says more)"
    assert told in _log(tmp_path)


def test_training_names_what_looks_wrong_and_goes_on(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change = ["--set", "initialization={name: normal, std: 50}", "--seeds", "2"]
    assert run_command(["train", str(config), "--out", str(tmp_path), *change]) == 0
    lines = capsys.readouterr().err.splitlines()
    (place,) = (i for i, line in enumerate(lines) if line.startswith("checks: "))
    assert lines[place].startswith("checks: 8 pass, 1 fail (")
    assert lines[place + 1].startswith("fail: first loss: ")
    assert "outputs should start near 0" in lines[place + 1]


def test_quiet_checked_or_not_training_is_the_same(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, options in (("loud", ()), ("quiet", ("-q",)), ("off", ("training.checks=false",))):
        line = ["train", str(config), "--out", str(tmp_path / name)]
        line += ["--set", *options] if name == "off" else options
        assert run_command(line) == 0
        assert ("checks: " in capsys.readouterr().err) == (name == "loud")
    logs = {name: _log(tmp_path / name) for name in ("loud", "quiet", "off")}
    assert [("checks: " in log) for log in logs.values()] == [True, True, False]
    for file in ("metrics.csv", "predictions.csv", "model.safetensors"):
        found = [next(tmp_path.glob(f"{name}/*/*/{file}")).read_bytes() for name in logs]
        assert found[0] == found[1] == found[2], file


def test_a_check_that_can_not_be_made_stops_no_training(
    config: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: object) -> None:
        raise MemoryError("none left")

    monkeypatch.setattr(quick, "check_start", fail)
    assert run_command(["train", str(config), "--out", str(tmp_path)]) == 0
    assert "checks: not to be made (none left)" in capsys.readouterr().err


def test_what_goes_on_is_not_checked_again(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(["train", str(config), "--out", str(tmp_path), "--quiet"]) == 0
    run = capsys.readouterr().out.strip()
    assert run_command(["train", "--resume", run, "--epochs", "3"]) == 0
    assert "checks: " not in capsys.readouterr().err
    assert len(Path(run, "metrics.csv").read_text().splitlines()) == 4


def test_a_checkpoint_is_the_run_s_whether_or_not_it_was_checked(config: Path) -> None:
    found = []
    for change in ("true", "false"):
        loaded = load_config(config, [f"training.checks={change}"])
        plan = plan_members(loaded.experiment, config.parent, 1, False)
        found.append(identity(plan, [0]))
    assert found[0] == found[1]
