"""Word vectors through the commands: neighbours, scores, gaps, files, other texts, refusals."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from nnexp.analysis.words.vectors import tables_of, word_run
from nnexp.cli.app import run
from nnexp.components.losses.loss import Loss
from nnexp.components.losses.tree import HierarchicalSoftmax
from nnexp.registry import choose

LINES = ["the cat eats fish today", "the dog eats meat today", "the cat sleeps now", "a dog runs"]
TEXT = "\n".join(LINES * 40)
WORDS = {word for line in LINES for word in line.split()}

Train = Callable[..., Path]


@pytest.fixture(scope="module")
def train(tmp_path_factory: pytest.TempPathFactory) -> Train:
    """Trains a small model of words; the run's directory."""
    folder = tmp_path_factory.mktemp("words")

    def trained(*options: str, text: str = TEXT, **keys: Any) -> Path:
        number = len(list(folder.iterdir()))
        home = folder / str(number)
        home.mkdir()
        (home / "text.txt").write_text(text)
        config = {
            "name": "w",
            "data": {
                "source": {"name": "corpus", "path": "text.txt", "length": 16},
                "split": {"train": 0.9, "dev": 0.1, "test": None},
            },
            "model": {"name": "cbow", "width": 8, "window": 2, "subsample": 0},
            "optimizer": {"name": "adam", "lr": 0.05},
            "training": {"epochs": 3, "batch_size": 8},
            **keys,
        }
        (home / "c.yaml").write_text(yaml.safe_dump(config))
        words = ["train", str(home / "c.yaml"), "--out", str(home / "runs"), "--quiet", *options]
        assert run(words) == 0
        (found,) = (home / "runs").glob("*/*")
        return found

    return trained


@pytest.fixture(scope="module")
def cbow(train: Train) -> Path:
    return train()


@pytest.fixture(scope="module")
def skip_gram(train: Train) -> Path:
    return train("--seeds", "2", model={"name": "skip_gram", "width": 8, "window": 2})


@pytest.fixture
def told(capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    """What a command prints as JSON."""

    def output(*words: str | Path) -> Any:
        capsys.readouterr()
        assert run([*map(str, words), "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    return output


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """What a command that ends with this exit code says is wrong."""

    def message(code: int, *words: str | Path) -> str:
        capsys.readouterr()
        assert run([*map(str, words)]) == code
        shown = capsys.readouterr()
        assert "Traceback" not in shown.err
        assert shown.out == ""
        return shown.err

    return message


# -- neighbours, similarity, analogies -------------------------------------------------------------


def test_neighbours(cbow: Path, told: Any, capsys: pytest.CaptureFixture[str]) -> None:
    found = told("neighbours", cbow, "cat", "Dog", "-k", "3")["neighbours"]
    assert list(found) == ["cat", "Dog"]
    tables = tables_of(word_run(cbow))
    index = {word: number for number, word in enumerate(tables.words)}
    for word, near in found.items():
        own = tables.vectors[index[word.lower()]]
        for one in near:
            other = tables.vectors[index[one["word"]]]
            expected = own @ other / np.linalg.norm(own) / np.linalg.norm(other)
            assert one["cosine"] == pytest.approx(expected, abs=1e-5)
        cosines = [one["cosine"] for one in near]
        assert cosines == sorted(cosines, reverse=True)
        assert {one["word"] for one in near} < WORDS - {word.lower()}
    assert run(["neighbours", str(cbow), "cat", "-k", "99"]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[0].split() == ["cat", "cosine"]
    assert {line.split()[0] for line in shown[1:]} == WORDS - {"cat"}  # UNK is no word


def test_a_groups_members(skip_gram: Path, told: Any, refused: Any) -> None:
    first, second = (
        told("neighbours", skip_gram, "cat", *more)["neighbours"]
        for more in ((), ("--member", "1"))
    )
    assert first == told("neighbours", skip_gram / "s0", "cat")["neighbours"]
    assert second == told("neighbours", skip_gram / "s1", "cat")["neighbours"]
    assert first != second
    error = refused(2, "neighbours", skip_gram, "cat", "--member", "2")
    assert "has members 0 to 1, not 2" in error


def test_similarity(cbow: Path, told: Any, tmp_path: Path) -> None:
    (tmp_path / "pairs.csv").write_text("a,b,score\ncat,dog,9\ncat,the,2\nfish,meat,8\nx,cat,1\n")
    found = told("similarity", cbow, tmp_path / "pairs.csv")
    assert found["known"] == 3
    assert found["pairs"] == 4
    assert found["unknown"] == ["x"]
    assert -1 <= found["spearman"] <= 1
    assert run(["similarity", str(cbow), str(tmp_path / "pairs.csv")]) == 0


def test_analogies(
    cbow: Path, told: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "q.txt").write_text(": food\ncat fish dog meat\nx fish dog meat\n: y\na b c d\n")
    found = told("analogies", cbow, tmp_path / "q.txt")
    assert found["total"] | {"accuracy": 0, "right": 0} == {
        **{"section": "total", "accuracy": 0, "right": 0, "known": 1, "asked": 3}
    }
    assert [section["section"] for section in found["sections"]] == ["food", "y"]
    assert found["sections"][1]["accuracy"] is None
    assert run(["analogies", str(cbow), str(tmp_path / "q.txt")]) == 0
    assert capsys.readouterr().out.splitlines()[2].split() == ["y", "–", "0", "0", "1"]


def test_vectors_go_to_a_file_and_back(cbow: Path, told: Any, refused: Any, tmp_path: Path) -> None:
    out = tmp_path / "v.txt"
    assert run(["vectors", str(cbow), "-o", str(out)]) == 0
    assert out.read_text().startswith(f"{len(WORDS)} 8\n")
    own, read = (told("neighbours", where, "cat")["neighbours"] for where in (cbow, out))
    assert own == read
    assert "there is no folder" in refused(2, "vectors", cbow, "-o", tmp_path / "no" / "v.txt")
    assert "is a folder" in refused(2, "vectors", cbow, "-o", tmp_path)
    error = refused(2, "neighbours", out, "cat", "--member", "0")
    assert "--member is for groups" in error


# -- gaps ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "loss",
    [
        "negative_sampling",
        {"name": "negative_sampling", "power": 0.5},
        "cross_entropy",
        "hierarchical_softmax",
        {"name": "hierarchical_softmax", "tree": "balanced"},
    ],
)
def test_a_gap_is_filled_by_what_the_loss_learns(train: Train, told: Any, loss: Any) -> None:
    path = train(loss=loss)
    found = told("fill", path, "Today the cat _ fish, then quiet", "-k", "99")
    assert found["context"] == ["the", "cat", "fish", "then"]
    assert found["unknown"] == ["then"]
    tables = tables_of(word_run(path))
    index = {word: number for number, word in enumerate(tables.words)}
    rows = [index.get(word, 0) for word in found["context"]]
    hidden = np.stack([tables.vectors[row] for row in rows]).astype(np.float64).mean(0)
    outputs = torch.tensor(tables.contexts.astype(np.float64) @ hidden)
    spec = choose(Loss, loss)
    if isinstance(spec, HierarchicalSoftmax):
        known = spec.knowing(tables.words, tables.counts[None])
        expected = known.probabilities(outputs[None, None])[0, 0]
    else:  # sampling tells p/q, q ∝ frequency^power
        power = getattr(spec, "power", 0.0)
        weight = torch.tensor(tables.counts.clip(1) ** power)
        expected = outputs.exp() * weight / (outputs.exp() * weight).sum()
    assert found["rest"] == pytest.approx(float(expected[0]))
    assert len(found["words"]) == len(WORDS)
    chances = [one["probability"] for one in found["words"]]
    assert chances == sorted(chances, reverse=True)
    assert sum(chances) + found["rest"] == pytest.approx(1)
    for one in found["words"]:
        assert one["probability"] == pytest.approx(float(expected[index[one["word"]]]))


@pytest.mark.parametrize("loss", ["negative_sampling", "cross_entropy", "hierarchical_softmax"])
def test_the_probabilities_are_those_of_the_text(train: Train, told: Any, loss: str) -> None:
    """A word with x and y on its sides, in either order, is a in three of seven places, …"""
    model = {"name": "cbow", "width": 8, "window": 1, "subsample": 0}
    path = train(
        text="x a y p x a y q x b y p x a y q " * 80,  # every block is the same
        model=model,
        loss=loss,
        optimizer={"name": "adam", "lr": 0.02},
        schedule="cosine",
        training={"epochs": 100, "batch_size": 16},
    )
    words = told("fill", path, "x _ y", "-k", "4")["words"]
    expected = {
        "a": 3 / 7,
        "p": 2 / 7,
        "b": 1 / 7,
        "q": 1 / 7,
    }  # the block's last word has one side
    assert {one["word"]: one["probability"] for one in words} == pytest.approx(expected, abs=0.02)


def test_what_can_not_be_filled(cbow: Path, skip_gram: Path, refused: Any) -> None:
    assert "should have one _" in refused(2, "fill", cbow, "the cat eats fish")
    assert "should have one _" in refused(2, "fill", cbow, "the _ eats _")
    assert "there is no word about the _" in refused(2, "fill", cbow, "12 _ 13")
    assert "a run of cbow can fill a gap" in refused(3, "fill", skip_gram, "the _ eats")


# -- other texts -----------------------------------------------------------------------------------


def test_another_text_is_scored_with_the_runs_words(cbow: Path, told: Any, tmp_path: Path) -> None:
    same = told("eval", cbow, "--split", "dev")
    assert same["metrics"]["loss"] == pytest.approx(same["recorded"]["loss"])
    (tmp_path / "b.txt").write_text("\n".join(LINES * 40))
    found = told("eval", cbow, "--data", tmp_path / "b.txt")
    assert found["examples"] == 42
    assert found["metrics"]["loss"] == pytest.approx(same["metrics"]["loss"], rel=0.3)
    (tmp_path / "b.txt").write_text("today the cat eats a zebra " * 10)
    found = told("eval", cbow, "--data", tmp_path / "b.txt")
    assert found["examples"] == 3
    assert "16.7% are UNK" in " ".join(found["notes"])
    (tmp_path / "b.txt").write_text("the cat")
    assert run(["eval", str(cbow), "--data", str(tmp_path / "b.txt")]) == 3


def test_a_text_that_changed_keeps_the_runs_numbers(train: Train, told: Any) -> None:
    path = train()
    text = path.parents[2] / "text.txt"
    text.write_text("zebra zebra zebra " * 100 + text.read_text())
    found = told("eval", path, "--split", "dev")
    assert "changed since training" in " ".join(found["notes"])
    assert np.isfinite(found["metrics"]["loss"])


# -- refusals --------------------------------------------------------------------------------------


def test_what_is_no_word_run_is_refused(single: Path, refused: Any, tmp_path: Path) -> None:
    (tmp_path / "f.txt").write_text("a b 1\n")
    for words in (
        ("neighbours", single, "cat"),
        ("similarity", single, tmp_path / "f.txt"),
        ("analogies", single, tmp_path / "f.txt"),
        ("vectors", single, "-o", tmp_path / "v.txt"),
        ("fill", single, "the _"),
    ):
        assert "holds no word vectors: it is a classification run" in refused(3, *words)
    assert "there is no run at" in refused(3, "neighbours", tmp_path / "no", "cat")
    assert "is not word2vec's text format" in refused(3, "neighbours", tmp_path / "f.txt", "cat")


def test_unknown_words_are_refused(cbow: Path, refused: Any) -> None:
    error = refused(2, "neighbours", cbow, "cat", "slepes")
    assert "slepes is not in the vocabulary; did you mean sleeps?" in error
    assert "UNK is not in the vocabulary" in refused(2, "neighbours", cbow, "UNK")
    assert "--member is for groups" in refused(2, "neighbours", cbow, "cat", "--member", "0")


def test_a_run_that_was_changed_is_refused(train: Train, refused: Any) -> None:
    path = train()
    stored = json.loads((path / "preprocessing.json").read_text())
    stored["classes"].pop()
    (path / "preprocessing.json").write_text(json.dumps(stored))
    assert "was changed" in refused(3, "neighbours", path, "cat")


def test_a_run_that_is_not_finished_is_refused(train: Train, refused: Any) -> None:
    path = train()
    manifest = json.loads((path / "manifest.json").read_text())
    (path / "manifest.json").write_text(json.dumps(manifest | {"status": "interrupted"}))
    assert "is not finished" in refused(3, "neighbours", path, "cat")


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("preprocessing=[standardize]", "preprocessing: the words of running text are codes"),
        ("preprocessing=[min_max]", "preprocessing: the words of running text are codes"),
        ("data.label_noise=0.3", "data.label_noise: running text has no labels to change"),
        ("data.shuffle_labels=true", "data.shuffle_labels: running text has no labels to change"),
        ("data.corruption={mask: 0.5}", "data.corruption: changes numbers"),
        ("sampler=class_diverse", "class_diverse is for classification; the task is words"),
    ],
)
def test_nothing_may_change_the_words(
    cbow: Path, refused: Any, tmp_path: Path, option: str, message: str
) -> None:
    config = cbow.parents[2] / "c.yaml"
    error = refused(2, "train", config, "--set", option, "--out", tmp_path / "runs")
    assert message in error
    assert not (tmp_path / "runs").exists()


def test_a_run_that_diverged_has_no_vectors(cbow: Path, refused: Any, tmp_path: Path) -> None:
    config = cbow.parents[2] / "c.yaml"
    steep = ["--set", "optimizer={name: sgd, lr: 1000}", "--epochs", "30", "--quiet"]
    assert run(["train", str(config), *steep, "--out", str(tmp_path)]) == 4
    (path,) = tmp_path.glob("w/*")
    for words in (("neighbours", path, "cat"), ("vectors", path, "-o", tmp_path / "v.txt")):
        assert "diverged and left no vectors" in refused(3, *words)
    assert not (tmp_path / "v.txt").exists()
