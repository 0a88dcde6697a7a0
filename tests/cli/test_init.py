"""`nnexp init`: what it prints, writes, and refuses."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from nnexp.cli.app import run
from nnexp.config.load import load_config

ROWS = "".join(f"{i % 7}.5,{i % 5},{'yes' if i % 3 else 'no'}\n" for i in range(60))


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A table in a folder of its own, beside the working folder."""
    (tmp_path / "data").mkdir()
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    path = tmp_path / "data" / "a table.csv"
    path.write_text("u,v,bought\n" + ROWS)
    return path


def test_it_says_what_it_saw_and_what_comes_next(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["init", str(data)]) == 0
    told = capsys.readouterr()
    assert told.out.splitlines() == [
        "  form      text in utf-8, fields between commas, a header",
        "  rows      60",
        "  features  2 numeric",
        "  target    bought (the last column; `--target` takes another)",
        "  task      classification, 2 classes (no: 20, yes: 40)",
        "a table.yaml",
        "next: nnexp train 'a table.yaml'",
    ]
    assert told.err == "note: with so few rows one split tells little: train --splits 20\n"


def test_what_it_writes_trains_as_it_is(data: Path) -> None:
    assert run(["init", str(data), "-o", "first.yaml"]) == 0
    assert "path: ../data/a table.csv" in Path("first.yaml").read_text()
    assert run(["train", "first.yaml", "--epochs", "1", "--quiet"]) == 0
    assert load_config(Path("first.yaml")).experiment.name == "a-table"


def test_a_builtin_set_and_a_target(data: Path) -> None:
    assert run(["init", "iris"]) == 0
    assert load_config(Path("iris.yaml")).experiment.data.source.component == "iris"
    assert run(["init", str(data), "--target", "u"]) == 0
    assert "target: u  # as you said" in Path("a table.yaml").read_text()


def test_json(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["init", str(data), "--json", "--target", "v"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["config"] == "a table.yaml"
    assert told["next"] == "nnexp train 'a table.yaml'"
    assert (told["rows"], told["task"], told["target"]) == (60, "classification", ["v"])
    assert told["classes"] == ["0", "1", "2", "3", "4"]
    assert [column["role"] for column in told["columns"]] == ["feature", "target", "feature"]
    assert told["source"] == {
        "name": "csv",
        "path": "../data/a table.csv",
        "target": "v",
        "target_type": "classification",
    }


def test_nothing_is_overwritten(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("a table.yaml").write_text("mine")
    assert run(["init", str(data)]) == 2
    assert capsys.readouterr().err == (
        "error: a table.yaml exists: --force replaces it, -o names another file\n"
    )
    assert Path("a table.yaml").read_text() == "mine"
    assert run(["init", str(data), "--force"]) == 0
    assert Path("a table.yaml").read_text() != "mine"
    assert run(["init", str(data), "-o", str(data), "--force"]) == 2
    assert data.read_text().startswith("u,v,bought")


@pytest.mark.usefixtures("data")
@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["none.csv"], 3, "none.csv: no such file"),
        (["../data/a tabel.csv"], 3, "did you mean a table.csv?"),
        (["irs"], 3, "irs: no such file, and no data set has that name; did you mean iris?"),
        (["../data"], 3, "is a folder; init looks at one file (folders of images: `image_folder`)"),
        (["../data/a table.csv", "--target", "w"], 3, "--target: there is no column w"),
        (["../data/a table.csv", "-o", "no/where.yaml"], 2, "a folder that does not exist"),
        (["../data/a table.csv", "-o", "../data"], 2, "is a folder"),
        (["iris", "--target", "species"], 2, "--target does not go with it"),
        ([], 2, "DATA"),
    ],
)
def test_what_is_refused(
    arguments: list[str], code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["init", *arguments]) == code
    assert message in capsys.readouterr().err
    assert not list(Path().iterdir())


def test_running_text_is_pointed_to_its_source(capsys: pytest.CaptureFixture[str]) -> None:
    Path("prose.txt").write_text("the cat and the dog\nsat on the mat and the bed\n")
    assert run(["init", "prose.txt"]) == 3
    message = "of running text a config says data.source: {name: text, path: …}"
    assert message in capsys.readouterr().err


def test_names_that_a_config_reads_otherwise(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data.rename("~odd #1: 'x'.csv")
    assert run(["init", "~odd #1: 'x'.csv", "-o", "c.yaml"]) == 0
    source = load_config(Path("c.yaml")).experiment.data.source
    assert source.dump()["path"] == str(Path("~odd #1: 'x'.csv").absolute())
    Path("~odd #1: 'x'.csv").rename("${HOME}.csv")
    assert run(["init", "${HOME}.csv", "-o", "d.yaml"]) == 3
    assert "stands for a variable: rename file or folder" in capsys.readouterr().err


def test_heavy_modules_are_left_alone(data: Path) -> None:
    code = (
        "import sys; from nnexp.cli.app import run; run(sys.argv[1:]);"
        "heavy = {'torch', 'pandas', 'sklearn', 'scipy', 'matplotlib', 'rich'};"
        "print('LOADED', *sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "init", str(data)],
        capture_output=True,
        text=True,
        env={**os.environ, "COLUMNS": "100"},
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "LOADED"
