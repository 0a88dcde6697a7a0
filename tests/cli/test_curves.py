"""Curves in the terminal: where the dots are, and that nothing is drawn without a terminal."""

from __future__ import annotations

import math
from io import StringIO
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from nnexp.cli import console
from nnexp.cli.curves import Curve, draw
from nnexp.cli.live import Live
from nnexp.cli.watching import Watching
from nnexp.train.health import COLUMNS
from nnexp.train.state import MemberState


def text(lines: Any) -> list[str]:
    return ["".join(piece for piece, _ in line) for line in lines]


def dots(lines: Any, left: int) -> set[tuple[int, int]]:
    """Where the dots are: column and row from the top left, in dots."""
    found = set()
    for row, line in enumerate(text(lines)):
        for place, character in enumerate(line[left:]):
            bits = ord(character) - 0x2800
            if 0 <= bits < 256:
                for x in (0, 1):
                    for y in range(4):
                        # the standard's numbering: 1 2 3 and 4 5 6 from the top, then 7 and 8
                        number = (3 * x + y) if y < 3 else 6 + x
                        if bits >> number & 1:
                            found.add((2 * place + x, 4 * row + y))
    return found


def test_a_line_from_corner_to_corner() -> None:
    lines = draw([Curve([0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0])], 13, 2)
    assert [line[:8] for line in text(lines)] == ["7.0000 ┤", "     0 ┤"]
    assert dots(draw([Curve(list(map(float, range(8))))], 13, 2), 8) == {
        (x, 7 - x) for x in range(8)
    }


def test_steps_are_joined_and_gaps_are_not() -> None:
    joined = dots(draw([Curve([0.0, 0.0, 7.0, 7.0] * 2)], 13, 2), 8)
    assert {(2, y) for y in range(7)} <= joined  # the way up
    gap = dots(draw([Curve([0.0, 0.0, math.nan, 7.0, 7.0, math.inf, 0.0, 0.0])], 13, 2), 8)
    assert gap == {(0, 7), (1, 7), (3, 0), (4, 0), (6, 7), (7, 7)}


def test_a_wide_range_is_logarithmic() -> None:
    values = [10.0**-i for i in range(8)]
    lines = draw([Curve(values)], 13, 2)
    assert dots(lines, text(lines)[0].index("┤") + 1) == {(x, x) for x in range(8)}


def test_labels_stand_where_curves_end_and_never_on_each_other() -> None:
    lines = text(draw([Curve([1.0, 0.0], "low"), Curve([0.0, 1.0], "high")], 30, 4))
    assert lines[0].endswith(" high")
    assert lines[3].endswith(" low")
    lines = text(draw([Curve([0.0, 1.0], "a"), Curve([1.0, 1.0], "b")], 30, 4))
    assert lines[0].endswith(" b")
    assert lines[1].endswith(" a")


def test_labels_on_one_line_keep_the_curves_order() -> None:
    lines = text(draw([Curve([1.0, 0.011], "upper"), Curve([0.0, 0.01], "lower")], 30, 4))
    assert lines[2].endswith(" upper")
    assert lines[3].endswith(" lower")


def test_points_are_joined_by_straight_lines() -> None:
    lines = text(draw([Curve([0.0, 1.0])], 47, 10))
    ends = [len(line.rstrip()) for line in lines]
    assert ends == sorted(ends, reverse=True)
    assert all(before - after in (3, 4, 5) for before, after in pairwise(ends))


def test_the_later_curve_lies_on_top() -> None:
    (first, *_) = draw([Curve([1.0, 1.0], "", "dim"), Curve([1.0, 0.0], "", "good")], 30, 3)
    assert [style for _, style in first[1:]] == ["good", "dim"]


@pytest.mark.parametrize(
    ("values", "width", "height"),
    [([], 40, 5), ([math.nan], 40, 5), ([1.0, 2.0], 8, 5), ([1.0, 2.0], 40, 1)],
)
def test_without_values_or_room_there_is_nothing(
    values: list[float], width: int, height: int
) -> None:
    assert draw([Curve(values, "label")], width, height) == []


@given(
    some.lists(some.lists(some.floats(), max_size=60), min_size=1, max_size=3),
    some.integers(1, 120),
    some.integers(0, 12),
)
def test_whatever_the_values_it_fits(values: list[list[float]], width: int, height: int) -> None:
    lines = text(draw([Curve(v, f"c{i}") for i, v in enumerate(values)], width, height))
    assert len(lines) in (0, height)
    assert all(len(line) <= width for line in lines)


def members(count: int = 1, epochs: int = 20) -> list[MemberState]:
    return [
        MemberState(
            history=[
                {
                    "epoch": e,
                    "lr": 0.1,
                    "train/loss": 1 / e,
                    "dev/loss": 1 / e + m,
                    "dev/error": 1 / e,
                }
                for e in range(1, epochs + 1)
            ]
        )
        for m in range(count)
    ]


def test_what_stands_above_the_curves() -> None:
    one = members()
    rest: list[Any] = [None] * (len(COLUMNS) - 3)
    for epoch, norms in ((10, (9.0, 9.0)), (20, (3.0, 4.0))):
        for layer, norm in zip(("0.linear", "2.linear"), norms, strict=True):
            row = [epoch, epoch, layer, *rest]
            row[COLUMNS.index("gradient")] = norm
            one[0].health.append(row)
    one[0].history[11]["dev/error"] = 0.01
    lines = text(Watching("dev/error", False).picture(one, 80, 20))
    assert lines[0] == "lr 0.1000  gradient 5.0000  best dev/error 0.0100 (epoch 12)"
    assert any("train/loss" in line for line in lines)
    assert any("dev/loss" in line for line in lines)


def test_a_pack_shows_its_spread() -> None:
    three = members(3)
    three[1].history[4]["dev/error"] = -1.0
    watching = Watching("dev/error", False)
    (first, *picture) = watching.picture(three, 80, 20)
    assert "best dev/error -0.30 ± 0.61 (epoch 5–20)" in "".join(piece for piece, _ in first)
    assert "dim" in {style for line in picture for piece, style in line if piece.strip() > "\u2800"}


def test_a_new_best_is_found_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nnexp.cli.watching._EVERY", 0.0)
    watching, one = Watching("dev/error", False), members(epochs=3)
    assert "0.3333 (epoch 3)" in text(watching.picture(one, 80, 20))[0]
    one[0].history += members(epochs=4)[0].history[3:]
    assert "0.2500 (epoch 4)" in text(watching.picture(one, 80, 20))[0]


def test_a_small_terminal_shows_no_picture() -> None:
    assert not Watching("dev/error", False).picture(members(), 80, 0)
    assert len(Watching("dev/error", False).picture(members(), 12, 20)) == 1


class Terminal(StringIO):
    """Standard error as a terminal has it."""

    def isatty(self) -> bool:
        return True


CONFIG = """
data: {source: iris}
model: {name: mlp, hidden: [4]}
training: {epochs: 20, batch_size: 32, device: cpu}
"""


@pytest.mark.parametrize("terminal", [True, False])
def test_it_is_drawn_in_a_terminal_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, terminal: bool
) -> None:
    from nnexp.config.load import load_config
    from nnexp.runs.execute import Order, start

    err = Terminal() if terminal else StringIO()
    monkeypatch.setattr("sys.stderr", err)
    monkeypatch.setattr("sys.stdout", StringIO())
    monkeypatch.setattr(console.Progress, "PATIENCE", (0.0, 0.0))
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("LINES", "30")
    monkeypatch.setenv("TERM", "xterm")
    path = tmp_path / "small.yaml"
    path.write_text(CONFIG)
    config = load_config(path)
    real = console.Progress.is_due
    monkeypatch.setattr(console.Progress, "is_due", lambda self: real(self) or terminal)
    with Live(False, False) as shown:
        order = Order(config.experiment, config.text, tmp_path)
        shown.run = start(order, tmp_path / "runs", shown)
    told = err.getvalue()
    assert "dev/loss" in told
    braille = {c for c in told if "\u2800" < c <= "\u28ff"}
    assert bool(braille) == terminal
    assert ("best dev/accuracy" in told) == terminal
    assert ("\x1b" in told) == terminal
