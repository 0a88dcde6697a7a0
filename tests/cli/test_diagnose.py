"""`nnexp diagnose` on trained runs and groups."""

from __future__ import annotations

import json
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
    assert "\x1b" not in told
    assert all(len(line) <= 80 for line in told.splitlines()[1:] if str(single) not in line)


def test_a_run_in_json(single: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = json.loads(output(capsys, "diagnose", single, "--best-possible", 0.05, "--json"))
    assert (found["kind"], found["members"], found["split"]) == ("run", 1, "dev")
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


def test_no_run_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["diagnose", str(tmp_path)]) == 3
    assert "is not a run" in capsys.readouterr().err


def test_diagnosing_needs_no_torch(single: Path) -> None:
    code = (
        "import sys; from nnexp.cli.app import run; "
        f"assert run(['diagnose', {str(single)!r}]) == 0; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
