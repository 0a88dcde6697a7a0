"""The list of runs."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from nnexp.runs.files import write_json
from nnexp.runs.index import Entry, entry, find
from nnexp.runs.rundir import RunDir


def make(
    root: Path,
    folder: str = "digits",
    status: str = "finished",
    created: str = "2026-11-20T10:15:02+00:00",
    summary: Any = None,
    **manifest: Any,
) -> RunDir:
    run = RunDir.create(root, folder, datetime(2026, 11, 20))
    base = {"kind": "run", "status": status, "created": created}
    write_json(run.manifest, {**base, **manifest})
    if summary is not None:
        write_json(run.summary, summary)
    return run


def test_a_run_and_a_group(tmp_path: Path) -> None:
    run = make(
        tmp_path,
        seconds=1.5,
        summary={"primary": "accuracy", "test": {"accuracy": 0.97, "loss": 0.1}, "dev": {}},
    )
    group = make(
        tmp_path,
        "more digits",
        kind="group",
        name="more digits",
        members=3,
        seconds=4,
        created="2026-11-21",
        summary={"primary": "loss", "test": {"loss": {"mean": 0.25, "sd": 0.01}}},
    )
    for number in range(3):
        write_json(group.make_member(number).manifest, {"kind": "run", "status": "finished"})
    assert find(tmp_path) == [
        Entry(
            name="more digits",
            path=group.path,
            kind="group",
            status="finished",
            created="2026-11-21",
            members=3,
            primary="loss",
            value=0.25,
            sd=0.01,
            seconds=4.0,
        ),
        Entry(
            name="digits",
            path=run.path,
            kind="run",
            status="finished",
            created="2026-11-20T10:15:02+00:00",
            members=1,
            primary="accuracy",
            value=0.97,
            seconds=1.5,
        ),
    ]
    assert [line.path for line in find(group.path)] == [group.path]


def test_newest_first_whatever_the_time_zone(tmp_path: Path) -> None:
    times = ["2026-11-20T10:00:00+02:00", "2026-11-20T09:00:00+00:00", "2026-11-20T11:30:00+03:00"]
    for time in times:
        make(tmp_path, created=time)
    assert [line.created for line in find(tmp_path)] == [times[1], times[2], times[0]]


def test_nothing(tmp_path: Path) -> None:
    assert find(tmp_path) == []
    assert find(tmp_path / "none") == []


def test_what_is_passed_over(tmp_path: Path) -> None:
    make(tmp_path / ".hidden")
    make(tmp_path.joinpath(*"abcdefghijk"))
    (tmp_path / "loop").symlink_to(tmp_path)
    shown = make(tmp_path / "a" / "b")
    assert [line.path for line in find(tmp_path)] == [shown.path]


def test_running_counts_only_while_somebody_holds_the_lock(tmp_path: Path) -> None:
    run = make(tmp_path, status="running")
    with run.lock():
        assert entry(run.path).status == "running"
    assert entry(run.path).status == "interrupted"


@pytest.mark.parametrize("status", ["finished", "interrupted", "diverged", "failed"])
def test_other_statuses_are_shown_as_they_are(tmp_path: Path, status: str) -> None:
    assert entry(make(tmp_path, status=status).path).status == status


@pytest.mark.parametrize("text", [b"", b"{", b"\xff", b"[]", b"[" * 100_000, b'{"kind": "walk"}'])
def test_a_broken_manifest_is_listed(tmp_path: Path, text: bytes) -> None:
    good, bad = make(tmp_path), make(tmp_path, "other")
    bad.manifest.write_bytes(text)
    first, second = find(tmp_path)
    assert first.path == good.path
    assert (second.path, second.name, second.status) == (bad.path, "other", "damaged")
    assert "manifest.json" in second.problem


def test_a_broken_summary_and_a_link_out_are_listed(tmp_path: Path) -> None:
    run = make(tmp_path / "runs", summary={})
    run.summary.write_text("{")
    assert "summary.json is not JSON" in entry(run.path).problem
    (tmp_path / "m.json").write_text("{}")
    run.manifest.unlink()
    run.manifest.symlink_to(tmp_path / "m.json")
    (line,) = find(tmp_path / "runs")
    assert "leads out of the run" in line.problem


STRANGE: list[Any] = [
    None,
    True,
    -1,
    10**400,
    "x\x1b[31m\n",
    [],
    ["a"],
    {},
    {"mean": "x"},
    {"accuracy": []},
]


@pytest.mark.parametrize("value", STRANGE, ids=repr)
def test_strange_values_never_raise(tmp_path: Path, value: Any) -> None:
    for key in ("kind", "status", "created", "members", "seconds", "name"):
        make(tmp_path, **{key: value})
    make(tmp_path, members=value, seconds=value, kind="group")
    for summary in (
        {"primary": value, "test": {"accuracy": 1}},
        {"primary": "accuracy", "test": value},
        {"primary": "accuracy", "test": {"accuracy": value}},
    ):
        make(tmp_path, summary=summary)
    lines = find(tmp_path)
    assert len(lines) == 10
    for line in lines:
        assert line.name.isprintable()
        assert line.created.isprintable()
        assert line.primary.isprintable()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), None])
def test_a_score_that_is_no_number(tmp_path: Path, value: Any) -> None:
    run = make(tmp_path, summary={"primary": "loss", "test": {"loss": value}})
    assert entry(run.path).value is None
    run.summary.write_text('{"primary": "loss", "test": {"loss": NaN}}')
    assert entry(run.path).value is None
