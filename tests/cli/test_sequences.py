"""Text and sequences through the commands: trained, scored on other files, refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from nnexp.cli.app import run

WORDS = ["red", "green", "blue", "red green", "blue blue red", "green red"]
ROWS = [f"{text},{text.split()[0]}\n" for _ in range(12) for text in WORDS]
TAGS = [f"{text},{' '.join(w[0].upper() for w in text.split())}\n" for text in WORDS * 12]
VERSE = "the rain in spain stays mainly in the plain.\n" * 12

Train = Callable[..., tuple[int, Path]]


@pytest.fixture
def train(tmp_path: Path) -> Train:
    """Trains a small model on a source; the exit code, and where runs are."""
    (tmp_path / "words.csv").write_text("text,first\n" + "".join(ROWS))
    (tmp_path / "tags.csv").write_text("text,tags\n" + "".join(TAGS))
    (tmp_path / "verse.txt").write_text(VERSE)

    def trained(source: dict[str, Any], *options: str, **keys: Any) -> tuple[int, Path]:
        config = {
            "data": {"source": source},
            "model": {"name": "gru", "units": 8, "embedding": 4},
            "optimizer": {"name": "adam", "lr": 0.03},
            "training": {"epochs": 2, "batch_size": 8, "clip_grad_norm": 1.0},
            **keys,
        }
        (tmp_path / "c.yaml").write_text(yaml.safe_dump(config))
        return run(
            [
                "train",
                str(tmp_path / "c.yaml"),
                "--out",
                str(tmp_path / "runs"),
                "--quiet",
                *options,
            ]
        ), tmp_path / "runs"

    return trained


def only(runs: Path) -> Path:
    (found,) = runs.glob("*/*")
    return found


def scored(capsys: pytest.CaptureFixture[str], path: Path, *options: str) -> Any:
    capsys.readouterr()
    assert run(["eval", str(path), "--json", *options]) == 0
    return json.loads(capsys.readouterr().out)


TEXT = {"name": "text", "path": "verse.txt", "length": 12}


def test_another_text_is_scored(train: Train, capsys: pytest.CaptureFixture[str]) -> None:
    code, runs = train(TEXT)
    assert code == 0
    same = scored(capsys, only(runs))
    assert same["metrics"]["loss"] == pytest.approx(same["recorded"]["loss"])
    other = runs.parent / "other.txt"
    other.write_text("the rain in #?! stays mainly in the plain.\n" * 3)
    found = scored(capsys, only(runs), "--data", str(other))
    assert found["examples"] == 10  # windows of 12 in 129 characters
    assert "text: 9 positions without a target: unknown there" in " ".join(found["notes"])
    assert any("text: holds unknown tokens" in note for note in found["notes"])
    assert 0 < found["metrics"]["loss"] < 20
    other.write_text("the plain")
    assert run(["eval", str(only(runs)), "--data", str(other)]) == 3
    assert "has 9 tokens, fewer than a window of 12" in capsys.readouterr().err


def test_several_texts_are_found_where_they_are_now(
    train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "more.txt").write_text(VERSE)
    code, runs = train({**TEXT, "path": ["verse.txt", "more.txt"]})
    assert code == 0
    (tmp_path / "moved").mkdir()
    for name in ("verse.txt", "more.txt"):
        (tmp_path / name).rename(tmp_path / "moved" / name)
    found = scored(capsys, only(runs), "--data-root", str(tmp_path / "moved"))
    assert found["metrics"]["loss"] == pytest.approx(found["recorded"]["loss"])
    assert not found["notes"]


def test_a_group_of_text_models_trains_as_one(train: Train) -> None:
    code, runs = train(TEXT, "--seeds", "2")
    assert code == 0
    (group,) = runs.glob("*/*")
    assert json.loads((group / "summary.json").read_text())["task"] == "dense"


def test_other_sequences_are_scored(train: Train, capsys: pytest.CaptureFixture[str]) -> None:
    code, runs = train({"name": "sequences", "path": "words.csv"}, training={"epochs": 30})
    assert code == 0
    assert scored(capsys, only(runs))["metrics"]["accuracy"] > 0.9
    other = runs.parent / "other.csv"
    other.write_text("text,first\nred mauve,red\nblue red green red,blue\n,green\n")
    found = scored(capsys, only(runs), "--data", str(other))
    notes = " ".join(found["notes"])
    for what in ("no token, taken as padding", "longer than 3 tokens", "holds unknown tokens"):
        assert what in notes
    other.write_text("text,first\nred,yellow\n")
    assert run(["eval", str(only(runs)), "--data", str(other)]) == 3
    assert "class yellow is unknown; the classes are blue, green, red" in capsys.readouterr().err


def test_tags_are_scored_on_shorter_and_longer_rows(
    train: Train, capsys: pytest.CaptureFixture[str]
) -> None:
    source = {"name": "sequences", "path": "tags.csv", "labels": "per_token"}
    code, runs = train(source, training={"epochs": 20})
    assert code == 0
    assert scored(capsys, only(runs))["metrics"]["accuracy"] > 0.9
    other = runs.parent / "other.csv"
    other.write_text("text,tags\nred blue red red red,R B R R R\nred,R\n")
    found = scored(capsys, only(runs), "--data", str(other))
    assert found["metrics"]["accuracy"] == 1.0
    assert found["examples"] == 2


def test_series_of_numbers_are_sequences(
    train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The class is whether a bump comes before a dip; [n, channels, length], read step by step."""
    random = np.random.default_rng(0)
    x, y = 0.1 * random.standard_normal((200, 2, 10)), np.arange(200) % 2
    places = np.sort([random.choice(10, 2, replace=False) for _ in y], 1)
    for row, (first, second) in enumerate(places):
        x[row, 0, first], x[row, 0, second] = (2, -2) if y[row] else (-2, 2)
    np.savez(tmp_path / "series.npz", x=x, y=y)
    code, runs = train({"name": "npz", "path": "series.npz"}, training={"epochs": 15})
    assert code == 0
    assert scored(capsys, only(runs))["metrics"]["accuracy"] > 0.9


@pytest.mark.parametrize(
    ("source", "keys", "code", "message"),
    [
        ({**TEXT, "length": 600}, {}, 3, "fewer than a window of 600"),
        ({**TEXT, "encoding": "klingon"}, {}, 2, "there is no such encoding"),
        ({**TEXT, "encoding": "utf-16"}, {}, 3, "utf-16"),
        ({**TEXT, "dev": 0.6, "test": 0.4}, {}, 2, "dev and test leave nothing to train on"),
        (TEXT, {"model": {"name": "lstm", "output": "last"}}, 2, "the task needs (15, 12)"),
        (TEXT, {"preprocessing": ["one_hot", "standardize"]}, 2, "the task needs (15, 12)"),
        ({"name": "sequences", "path": "words.csv", "labels": "per_token"}, {}, 3, "2 tokens"),
        ({"name": "csv", "path": "words.csv", "target": "first"}, {"model": "gru"}, 0, ""),
        (
            {"name": "csv", "path": "words.csv", "target": "first"},
            {"model": {"name": "sequential", "layers": ["embedding", "flatten", "linear"]}},
            2,
            "embedding needs codes in every column: add `tokenize` to `preprocessing`",
        ),
        ("iris", {"preprocessing": ["tokenize"]}, 2, "there is no text column"),
        ("iris", {"model": {"name": "gru", "output": "all"}}, 2, "the task needs (3,)"),
        (
            {"name": "csv", "path": "words.csv", "target": "first"},
            {"preprocessing": ["ordinal", "standardize"]},
            3,
            "would change text, codes for an embedding: put it before",
        ),
        (
            TEXT,
            {"data": {"source": TEXT, "corruption": {"gaussian": 1.0}}},
            2,
            "data.corruption: changes numbers, and there are inputs that are codes",
        ),
        (TEXT, {"sampler": "class_balanced"}, 2, "is for classification; the task is dense"),
    ],
)
def test_what_can_not_be_trained_is_told(
    train: Train,
    capsys: pytest.CaptureFixture[str],
    source: Any,
    keys: dict[str, Any],
    code: int,
    message: str,
) -> None:
    found, runs = train(source, **keys)
    err = capsys.readouterr().err
    assert (found, message in err) == (code, True), err
    assert "Traceback" not in err
    assert code == 0 or not list(runs.glob("*/*"))
