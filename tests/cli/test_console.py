"""How things look: numbers in words, plain lines, and what a terminal gets."""

from __future__ import annotations

import json
import math
import os
import pty
import re
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnexp.analysis.comparing.checks import ConfigDifference
from nnexp.cli import console
from nnexp.cli.comparing import _config_rows
from nnexp.cli.listing import brief
from nnexp.cli.live import Live


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.98050139, "0.9805"), (0, "0"), (12345.678, "12,346"), (0.00012346, "0.0001235"),
     (None, "–"), (math.nan, "–"), (math.inf, "–"), (-0.5, "-0.5000")],
)  # fmt: skip
def test_value(value: float | None, text: str) -> None:
    assert console.value(value) == text


def test_a_table_that_is_too_wide_loses_no_digit(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "30")
    head = ["hidden units", "dev accuracy", "test accuracy"]
    console.say_table(head, [["128", "0.8725 ± 0.0048", "0.8625 ± 0.0056"]], whole=(0, 1, 2))
    told = capsys.readouterr().out
    assert {"128", "0.8725", "0.0048", "0.8625", "0.0056", "hidden", "units"} <= set(told.split())


@pytest.mark.parametrize(
    ("mean", "sd", "text"),
    [(0.94568, 0.01235, "0.946 ± 0.012"), (56.04, 4.2, "56.0 ± 4.2"), (1234.5, 120, "1234 ± 120"),
     (3.9e-8, 1.1e-9, "3.90e-08 ± 1.1e-09"), (1.0, 0.0, "1.0000 ± 0"), (0.5, None, "0.5000"),
     (None, None, "–")],
)  # fmt: skip
def test_spread(mean: float | None, sd: float | None, text: str) -> None:
    assert console.spread({"mean": mean, "sd": sd}) == text


@pytest.mark.parametrize(
    ("bounds", "text"),
    [((-0.0272, 0.0105), "-0.027 to 0.011"), ((20.12, 31.9), "20 to 32"), (None, "–"),
     ((0.5, 0.5), "0.5 to 0.5"), ((1e-9, 3e-9), "1e-09 to 3e-09")],
)  # fmt: skip
def test_interval(bounds: tuple[float, float] | None, text: str) -> None:
    assert console.interval(bounds) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (9.94, "9.9 s"), (12.4, "12 s"), (59.6, "1 min 00 s"), (125, "2 min 05 s"),
     (3600, "1 h 00 min"), (90_000, "25 h 00 min"), (None, "–")],
)  # fmt: skip
def test_duration(seconds: float | None, text: str) -> None:
    assert console.duration(seconds) == text


@given(st.floats(), st.floats(min_value=0))
def test_numbers_never_fail(x: float, y: float) -> None:
    finite = y if math.isfinite(y) else None
    for text in (
        console.value(x),
        console.spread({"mean": x if math.isfinite(x) else None, "sd": finite}),
        console.interval((x, x + y)),
        console.duration(min(y, 1e12)),
    ):
        assert text
        assert text.isprintable()


@given(st.text())
def test_nothing_controls_the_terminal(text: str) -> None:
    cleaned = console.clean(text)
    assert len(cleaned) == len(text)
    assert all(c.isprintable() or c == "\n" for c in cleaned)


def test_markup_and_escapes_are_only_text(capsys: pytest.CaptureFixture[str]) -> None:
    console.say("[bold]x[/bold] \x1b[31m :smile:", "bold")
    console.say_table(["[red]a"], [["[/red]\x1b]0;title\x07"]])
    told = capsys.readouterr().out
    assert told.splitlines() == ["[bold]x[/bold] �[31m :smile:", "[red]a", "[/red]�]0;title�"]


def test_json_has_no_nan(capsys: pytest.CaptureFixture[str]) -> None:
    console.say_json({"a": math.nan, "b": [math.inf, Path("x")], 3: ({"c": -math.inf},)})
    found = json.loads(capsys.readouterr().out)
    assert found == {"a": None, "b": [None, "x"], "3": [{"c": None}]}


def test_a_component_on_one_line() -> None:
    assert brief({"name": "adam", "lr": 0.01, "x": None, "y": True}) == "adam (lr 0.01, y true)"
    assert brief([{"name": "relu"}, 3, None]) == "[relu, 3, null]"
    assert brief({"epochs": 3, "stop": {"patience": 1}}) == "epochs 3, stop patience 1"


def test_components_of_other_names_make_one_row() -> None:
    rows = _config_rows(
        [
            ConfigDifference("seed", (0, None)),
            ConfigDifference("schedule.name", ("constant", "step")),
            ConfigDifference("schedule.every", (None, 10.0)),
            ConfigDifference("schedules", (1, 2)),
        ]
    )
    assert list(rows) == [
        [("seed", "name"), "0", "–"],
        [("schedule", "name"), "constant", "step (every 10)"],
        [("schedules", "name"), "1", "2"],
    ]


# -- live ------------------------------------------------------------------------------------------


def _state(losses: list[list[float]], active: list[int]) -> Any:
    members = [
        SimpleNamespace(history=[{"train/loss": x, "dev/accuracy": 1 - x} for x in row])
        for row in losses
    ]
    return SimpleNamespace(members=members, active=active, step=10 * max(map(len, losses)))


def _pack(members: int) -> Any:
    metric = SimpleNamespace(component="accuracy", higher_is_better=True)
    training = SimpleNamespace(epochs=3)
    one = SimpleNamespace(metrics=[metric], training=training)
    feed = SimpleNamespace(parts=["train", "dev"])
    bounds = [(start, start + 16) for start in range(0, 160, 16)]
    return SimpleNamespace(
        members=[one] * members, device="cpu", feed=feed, bounds=bounds, updates=30
    )


def _watch(quiet: bool, capsys: pytest.CaptureFixture[str], every: float) -> list[str]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(console.Progress, "PATIENCE", (every, every))
        live = Live(quiet, as_json=False)
        run: Any = SimpleNamespace(path="somewhere")
        live.started(run, _pack(2), 0, 1)
        live.epoch(_state([[0.5], [0.3]], [0, 1]))
        live.epoch(_state([[0.5, 0.4], [0.3, 0.2]], [0]))
        live.epoch(_state([[0.5, 0.4, 0.3], [0.3, 0.2]], []))
    return capsys.readouterr().err.splitlines()


def test_plain_lines_tell_the_mean_over_members(capsys: pytest.CaptureFixture[str]) -> None:
    head, *lines = _watch(False, capsys, every=0.0)
    assert head == "training 2 models on cpu → somewhere"
    assert lines[0].startswith("epoch 1/3  train/loss 0.40 ± 0.14  dev/accuracy 0.60 ± 0.14")
    assert "train/loss 0.30 ± 0.14  dev/accuracy 0.70 ± 0.14  1 of 2 in training" in lines[1]
    assert re.search(r"[0-9] epochs/s, .* left$", lines[1])
    assert "train/loss 0.3000  dev/accuracy 0.7000" in lines[2], "only one went on"


def test_plain_lines_are_sparse_and_quiet_is_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    assert len(_watch(False, capsys, every=1000.0)) == 1
    assert _watch(True, capsys, every=0.0) == []


def on_a_terminal(*arguments: str, **environment: str) -> str:
    """All that a command writes to a terminal."""
    code = "import sys; from nnexp.cli.app import main; main()"
    pid, descriptor = pty.fork()
    if pid == 0:
        os.environ.update({"TERM": "xterm-256color", "COLUMNS": "80", **environment})
        os.execv(sys.executable, [sys.executable, "-c", code, *arguments])
    told = b""
    while True:
        try:
            chunk = os.read(descriptor, 65536)
        except OSError:
            break
        if not chunk:
            break
        told += chunk
    os.waitpid(pid, 0)
    os.close(descriptor)
    return told.decode()


def test_a_terminal_gets_colours_and_a_bar(config: Path, tmp_path: Path) -> None:
    told = on_a_terminal("train", str(config), "--out", str(tmp_path))
    assert "epoch 0/2" in told
    assert "\x1b[" in told
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", told)
    assert plain.splitlines()[-1] == str(next(tmp_path.glob("small/*")))


def test_no_color_is_honoured(tmp_path: Path) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text("data: {source: iris}\nmodel: mpl\n")
    coloured = on_a_terminal("train", str(bad))
    assert "\x1b[" in coloured
    told = on_a_terminal("train", str(bad), NO_COLOR="1")
    assert not re.search(r"\x1b\[[0-9;]*3[0-9]", told)
    for text in (told, coloured):
        plain = re.sub(r"\x1b\[[0-9;]*m", "", text).replace("\r", "")
        assert f"{bad}:2:8: model: there is no such model\n    received: 'mpl'\n" in plain
        assert "    hint:     did you mean mlp?" in plain


@pytest.mark.parametrize(("width", "shown"), [(18, 1), (40, 2), (50, 3), (80, 4)])
def test_a_narrow_bar_keeps_the_count_and_then_the_speed(width: int, shown: int) -> None:
    columns = ("count", "bar", "time", "speed")
    found = console._fitting(columns, width)
    assert found == tuple(c for c in columns if c in ("count", "speed", "time", "bar")[:shown])
