"""Wrong configs whose one mistake makes other keys look wrong: only the mistake is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from nnexp.cli.app import run

START = "data: {source: iris}\nmodel: {name: linear}\n"


def problems(tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str) -> list[str]:
    """The first line of each problem, without the file's name."""
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    assert run(["show", "--resolved", str(path)]) == 2
    told = capsys.readouterr().err
    return [line.partition(":")[2] for line in told.splitlines() if line.startswith(str(path))]


@pytest.mark.parametrize("key", ["nmae", "kind", "NAME"])
def test_a_misspelt_name_does_not_make_its_keys_unknown(
    key: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = f"{START}optimizer:\n  {key}: evolution\n  population: 8\n  sigma: 0.1\n"
    assert problems(tmp_path, capsys, text) == [f"4:3: optimizer.{key}: adam has no such key"]


def test_other_keys_are_judged_by_the_component_that_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = f"{START}optimizer: {{nmae: evolution, sigmo: 0.1}}\n"
    assert problems(tmp_path, capsys, text) == [
        "3:13: optimizer.nmae: adam has no such key",
        "3:30: optimizer.sigmo: evolution has no such key",
    ]


def test_a_key_whose_value_is_called_as_a_component_names_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = f"{START}schedule: {{per: step, nmae: one_cycle, pct_start: 0.2}}\n"
    assert problems(tmp_path, capsys, text) == ["3:23: schedule.nmae: constant has no such key"]


def test_an_empty_key(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = "data: {source: iris, '': {train: 0.5}}\nmodel: linear\n"
    assert problems(tmp_path, capsys, text) == ["1:22: data.: data has no such key"]


def test_a_layer_that_does_not_fit_is_told_where_it_stands(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (
        "data: {source: digits}\nmodel:\n  name: sequential\n  layers:\n"
        "    - {name: residual, layers: [{name: batch_norm}, relu]}\n    - linear\n"
    )
    assert problems(tmp_path, capsys, text) == [
        "6:7: model.layers.1: layer 4, linear: linear needs a row of features, not (1, 8, 8): "
        "put `flatten` before it"
    ]
