"""`nnexp diagnose` on trained runs and groups."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from nnexp.cli.app import run

TOPICS = ["bias and variance", "overfitting", "progress at the end", "noise at the end"]


def output(capsys: pytest.CaptureFixture[str], *line: object) -> str:
    capsys.readouterr()
    assert run([str(part) for part in line]) == 0
    return capsys.readouterr().out


def test_a_run_in_words(
    single: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    told = output(capsys, "diagnose", single)
    for text in (*TOPICS, "worst examples", "confused classes", "calibration", "judged on dev"):
        assert text in told
    assert "\nNext: " in told
    assert "\x1b" not in told
    assert all(len(line) <= 80 for line in told.splitlines()[1:] if str(single) not in line)
    assert f"{single}" in told.splitlines()[-1]  # the command of the next step


def test_a_run_in_json(single: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = json.loads(output(capsys, "diagnose", single, "--best-possible", 0.05, "--json"))
    assert (found["kind"], found["members"], found["split"]) == ("run", 1, "dev")
    assert set(found["next"]) == {"text", "command", "topic"}
    assert set(found["remarks"][0]) == {
        "topic", "verdict", "grade", "text", "advice", "step", "command", "numbers",
    }  # fmt: skip
    first = found["remarks"][0]
    assert [one["topic"] for one in found["remarks"]][: len(TOPICS)] == TOPICS
    assert first["numbers"]["best_possible"] == 0.05
    summary = json.loads((single / "summary.json").read_text())
    assert first["numbers"]["dev_error"] == pytest.approx(1 - summary["dev"]["accuracy"])


def test_a_group_in_json(group: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = json.loads(output(capsys, "diagnose", group, "--json"))
    assert (found["kind"], found["members"]) == ("group", 3)
    assert len(found["remarks"][0]["numbers"]["members"]) == 3
    calibration = next(one for one in found["remarks"] if one["topic"] == "calibration")
    assert len(calibration["numbers"]["ece"]) == 3


def test_a_wrong_best_possible_error(single: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["diagnose", str(single), "--best-possible=-1"]) == 2
    assert "should be an error of 0 or more" in capsys.readouterr().err


def test_a_best_possible_error_in_per_cent(
    single: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = json.loads(output(capsys, "diagnose", single, "--best-possible", "3%", "--json"))
    assert found["remarks"][0]["numbers"]["best_possible"] == 0.03
    assert run(["diagnose", str(single), "--best-possible", "3"]) == 2
    assert "from 0 to 1 or with %" in capsys.readouterr().err


def test_too_short_a_training_says_so_once(
    single: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "short"
    shutil.copytree(single, path)
    manifest = json.loads((path / "manifest.json").read_text())
    (path / "manifest.json").write_text(json.dumps(manifest | {"files": {}}))
    lines = (path / "metrics.csv").read_text().splitlines()
    (path / "metrics.csv").write_text("\n".join(lines[:3]) + "\n")
    told = output(capsys, "diagnose", path)
    assert told.count("2 epochs are recorded") == 1
    assert "overfitting, progress at the end, noise at the end: can't be told" in told


def test_no_run_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["diagnose", str(tmp_path)]) == 3
    assert "is not a run" in capsys.readouterr().err


def test_diagnosing_needs_no_torch(single: Path) -> None:
    code = (
        "import sys; from nnexp.cli.app import run; "
        f"assert run(['diagnose', {str(single)!r}]) == 0; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
