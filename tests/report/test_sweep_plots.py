"""A sweep's pictures: where each value stands, and that any table of trials can be drawn."""

from __future__ import annotations

import math
import random
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnexp.errors import UsageError
from nnexp.report.figures.style import save
from nnexp.report.figures.sweep import parallel_coordinates, slices
from nnexp.report.sweep_table import Axis, axis_of, titles

PICTURES = (parallel_coordinates, slices)
Row = dict[str, str]


def rows(count: int, keys: int, seed: int = 0) -> list[Row]:
    """Trials over `keys` keys: numbers, choices, keys that are not always there."""
    draw = random.Random(seed)
    found = []
    for number in range(count):
        state = draw.choice(["finished"] * 5 + ["pruned", "diverged", "invalid"])
        scored = state in ("finished", "pruned")
        row = {"trial": str(number), "state": state, "dev/loss": str(draw.random()) * scored}
        for key in range(keys):
            kind = key % 4
            row[f"part{key}.key_$name_{key}"] = (
                f"{10 ** draw.uniform(-5, 0):.6g}" if kind == 0
                else draw.choice(["relu", "tanh", '{"name": "prelu"}']) if kind == 1
                else f"{draw.uniform(0.5, 0.99):.6g}" * draw.randint(0, 1) if kind == 2
                else draw.choice(["16", "32", "64"])
            )  # fmt: skip
        found.append({**row, "epochs": "3", "seconds": "0.1"})
    found[0] |= {"state": "finished", "dev/loss": "0.5"}
    return found


def test_places_on_each_scale() -> None:
    cells = ["0.001", "0.01", "1", ""]
    log = axis_of("lr", cells, "log")
    assert [log.place(cell) for cell in cells[:3]] == pytest.approx([0.0, 1 / 3, 1.0])
    assert math.isnan(log.place(""))
    kept = axis_of("momentum", ["0.9", "0.99", "0.999"], "one_minus_log")
    assert kept.place("0.99") == pytest.approx(0.5)
    assert axis_of("dropout", ["0", "0.2", "0.8"], "linear").place("0.2") == pytest.approx(0.25)
    chosen = axis_of("width", ["64", "8", "16", "8"], "choice")
    assert chosen.options == ("8", "16", "64")
    assert [chosen.place(cell) for cell in ("8", "16", "64")] == pytest.approx(
        [1 / 6, 1 / 2, 5 / 6]
    )


def test_a_scale_that_does_not_fit_is_linear() -> None:
    assert axis_of("x", ["0", "1"], "log").scale == "linear"
    assert axis_of("x", ["0.5", "1"], "one_minus_log").scale == "linear"
    assert axis_of("x", ["0.5", "relu"], "log").scale == "choice"


def test_without_a_scale_the_values_tell() -> None:
    assert axis_of("x", ["0.001", "1"]).scale == "log"
    assert axis_of("x", ["0.5", "1"]).scale == "linear"
    assert axis_of("x", ["relu", "tanh"]).scale == "choice"


ENDS = st.tuples(st.floats(1e-9, 0.999), st.floats(1e-9, 0.999)).filter(
    lambda ends: max(ends) > min(ends) * 1.01 and max(ends) - min(ends) > 1e-9
)


@given(ENDS, st.sampled_from(["linear", "log", "one_minus_log"]))
def test_ticks_are_few_apart_and_on_the_axis(ends: tuple[float, float], scale: str) -> None:
    ticks = Axis("x", scale, min(ends), max(ends)).ticks()
    places = [place for place, _ in ticks]
    assert 1 <= len(ticks) <= 8
    assert all(-1e-6 <= place <= 1 + 1e-6 for place in places)
    assert len(set(places)) == len(places)


def test_choices_go_by_the_component_unless_that_is_not_enough() -> None:
    assert titles(['{"name": "step"}', "relu"]) == ["step", "relu"]
    two = ['{"name": "step", "gamma": 0.1}', '{"name": "step", "gamma": 0.5}']
    assert titles(two) == two


@pytest.mark.parametrize("picture", PICTURES)
@pytest.mark.parametrize("keys", [1, 2, 7, 12])
def test_any_table_is_drawn(tmp_path: Path, picture: object, keys: int) -> None:
    assert callable(picture)
    path = tmp_path / "a.png"
    save(picture(rows(40, keys), "dev/loss", False, shares={"part0.key_$name_0": 0.7}), path)
    assert path.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("picture", PICTURES)
def test_few_and_odd_trials(tmp_path: Path, picture: object) -> None:
    assert callable(picture)
    path = tmp_path / "a.png"
    save(picture(rows(1, 3), "dev/loss", False), path)
    pruned = [{**row, "state": "pruned", "dev/loss": "1"} for row in rows(3, 3)]
    save(picture(pruned, "dev/loss", True), path)
    far = [{**rows(1, 1)[0], "dev/loss": "1e300"}, *rows(3, 1)]
    save(picture(far, "dev/loss", False), path)


@pytest.mark.parametrize("picture", PICTURES)
def test_the_same_trials_give_the_same_file(tmp_path: Path, picture: object) -> None:
    assert callable(picture)
    paths = [tmp_path / "a.png", tmp_path / "b.png"]
    for path in paths:
        save(picture(rows(20, 3), "dev/loss", False), path)
    assert paths[0].read_bytes() == paths[1].read_bytes()


@pytest.mark.parametrize("picture", PICTURES)
def test_nothing_to_draw_and_no_matplotlib(
    picture: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert callable(picture)
    lost = [{**row, "state": "diverged", "dev/loss": ""} for row in rows(3, 2)]
    for table in (lost, []):
        with pytest.raises(UsageError, match="no trial has a score: there is nothing to draw"):
            picture(table, "dev/loss", False)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(UsageError, match=r"pip install 'nnexp\[plot\]'"):
        picture(rows(3, 2), "dev/loss", False)
