"""Permutation importance against scikit-learn's, on runs that were trained here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from scipy.stats import spearmanr
from sklearn.base import BaseEstimator
from sklearn.inspection import permutation_importance
from sklearn.utils import check_random_state

from nnexp.cli.app import run
from nnexp.components.table import Features
from nnexp.errors import UsageError
from nnexp.runs import importance as module
from nnexp.runs.importance import importance, shuffled
from nnexp.runs.rundir import RunDir
from nnexp.runs.score import evaluate_run

IRIS = """\
data: {source: iris, split: {train: 0.6, dev: 0.2, test: 0.2}}
model: {name: mlp, hidden: [8]}
optimizer: {name: adam, lr: 0.02}
training: {epochs: 15, batch_size: 16}
"""


def train(folder: Path, config: str, *options: str) -> Path:
    path = folder / "config.yaml"
    path.write_text(config)
    assert run(["train", str(path), "--out", str(folder / "runs"), "--quiet", *options]) == 0
    return next((folder / "runs").glob("*/*"))


@pytest.fixture(scope="module")
def iris(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(tmp_path_factory.mktemp("iris"), IRIS)


@pytest.fixture(scope="module")
def adults(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table with text, whose `noise` means nothing."""
    folder = tmp_path_factory.mktemp("adults")
    rng = np.random.default_rng(0)
    lines = ["age,job,noise,income"]
    for _ in range(300):
        age, job = rng.integers(20, 60), rng.choice(["clerk", "nurse", "smith"])
        rich = age / 20 + 2 * (job == "smith") + rng.normal() * 0.3 > 3
        lines.append(f"{age},{job},{rng.normal():.3f},{'high' if rich else 'low'}")
    (folder / "adults.csv").write_text("\n".join(lines) + "\n")
    config = yaml.safe_load(IRIS) | {
        "data": {"source": {"name": "csv", "path": "adults.csv", "target": "income"}},
        "training": {"epochs": 30, "batch_size": 32},
    }
    return train(folder, yaml.safe_dump(config), "--seeds", "3")


class Wrapped(BaseEstimator):
    """A run as scikit-learn takes it."""

    def __init__(self, model: Any) -> None:
        self.model = model

    def fit(self, x: np.ndarray, y: np.ndarray) -> Wrapped:
        return self

    def score(self, x: np.ndarray, y: np.ndarray) -> float:
        return float(self.model.score(Features.of(x, self.model.features.names)))


@pytest.mark.parametrize("metric", ["accuracy", "loss"])
def test_it_is_that_of_scikit_learn(
    iris: Path, metric: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = module._opened(RunDir(iris), "test", metric, None, {})
    x = np.asarray(model.features.numeric, np.float64)
    wanted = permutation_importance(
        Wrapped(model), x, np.zeros(len(x)), n_repeats=5, random_state=3
    )
    # the orders that scikit-learn draws: the same for every column, each applied to the one before
    drawn = check_random_state(check_random_state(3).randint(np.iinfo(np.int32).max + 1))
    order, orders = np.arange(len(x)), [np.arange(len(x))]
    for _ in range(5):
        drawn.shuffle(order)
        orders.append(orders[-1][order])
    monkeypatch.setattr(module, "shuffles", lambda *_: orders[1:])
    found = importance(iris, metric=metric, repeats=5)
    sign = 1 if metric == "accuracy" else -1
    assert found.drops[0] == pytest.approx(sign * wanted.importances, abs=1e-6)
    assert np.abs(found.drops).max() > 0.1


def test_the_score_is_that_of_eval(iris: Path, adults: Path) -> None:
    for path in (iris, adults):
        for split in ("train", "test"):
            scores = [one.metrics["accuracy"] for one in evaluate_run(path, split)]
            assert importance(path, split, repeats=1).scores.tolist() == scores


def test_text_is_one_column_and_noise_none(adults: Path) -> None:
    found = importance(adults, "train", "loss", repeats=8)
    assert found.columns == ("age", "noise", "job")
    told = found.described()
    assert list(told)[2] == "noise"
    assert told["noise"]["mean"] < 0.1 * told["job"]["mean"]
    assert told["age"]["interval"][0] > 0
    assert told["age"]["n"] == 3
    assert found.over == "members"
    assert found.drops.shape == (3, 3, 8)


def test_intervals_are_those_of_the_repeats(iris: Path) -> None:
    found = importance(iris, repeats=6)
    told = found.described()
    means = [entry["mean"] for entry in told.values()]
    assert means == sorted(means, reverse=True)
    for name, entry in told.items():
        drops = found.drops[0, found.columns.index(name)]
        assert entry["n"] == 6
        assert entry["mean"] == pytest.approx(drops.mean())
        assert entry["sd"] == pytest.approx(drops.std(ddof=1))


def test_only_the_column_changes(adults: Path) -> None:
    features = module._opened(RunDir(adults / "s0"), "dev", None, None, {}).features
    order = np.arange(len(features))[::-1]
    numbers = shuffled(features, ("age",), order)
    assert (numbers.numeric[:, 0] == features.numeric[::-1, 0]).all()
    assert (numbers.numeric[:, 1] == features.numeric[:, 1]).all()
    assert (numbers.categorical == features.categorical).all()
    texts = shuffled(features, ("job",), order)
    assert (texts.categorical == features.categorical[::-1]).all()
    assert (texts.numeric == features.numeric).all()
    both = shuffled(features, ("age", "job"), order)
    assert (both.numeric == numbers.numeric).all()
    assert (both.categorical == texts.categorical).all()


def test_correlated_columns_are_shuffled_together(
    iris: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = importance(iris, "train", "loss", repeats=5)
    model = module._opened(RunDir(iris), "train", "loss", None, {})
    x = np.asarray(model.features.numeric)
    r = abs(spearmanr(x).statistic)
    ((first, *others),) = found.groups
    chosen = [found.columns.index(name) for name in (first, *others)]
    assert len(chosen) >= 2
    assert (r[np.ix_(chosen, chosen)] >= module.CORRELATED).all()
    order = module.shuffles(len(x), 5)[2]
    together = x.copy()
    together[:, chosen] = x[order][:, chosen]
    worse = model.score(Features.of(together, found.columns)) - found.scores[0]
    assert found.group_drops[0, 0, 2] == pytest.approx(worse)
    told = found.to_json()["correlated"]
    assert told[0]["mean"] == pytest.approx(found.group_drops.mean())
    assert run(["importance", str(iris), "--repeats", "2"]) == 0
    shown = capsys.readouterr().out
    assert "shuffled together" in shown
    assert f"{first}, {others[0]}" in shown


def test_what_is_constant_or_missing_is_correlated_with_nothing() -> None:
    rng = np.random.default_rng(0)
    a = rng.normal(size=50)
    gaps = np.where(rng.random(50) < 0.2, np.nan, -a)
    x = np.stack([a, np.ones(50), gaps, rng.normal(size=50)], axis=1)
    assert module.correlated(Features.of(x, tuple("abcd"))) == (("a", "c"),)
    assert module.correlated(Features.of(x[:, :1], ("a",))) == ()


def test_values(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 2))
    y = 3 * x[:, 0] + rng.normal(size=200) * 0.1
    lines = ["a,b,price", *(f"{p},{q},{z}" for (p, q), z in zip(x, y, strict=True))]
    (tmp_path / "prices.csv").write_text("\n".join(lines) + "\n")
    config = yaml.safe_load(IRIS) | {
        "data": {"source": {"name": "csv", "path": "prices.csv", "target": "price"}},
        "training": {"epochs": 40, "batch_size": 16},
    }
    told = importance(train(tmp_path, yaml.safe_dump(config))).to_json()
    assert told["metric"] == "rmse"
    assert [entry["column"] for entry in told["columns"]] == ["a", "b"]
    # without a: a prediction that is 3a' for another a', so √2 · 3 where all was learnt
    assert told["columns"][0]["mean"] == pytest.approx(3 * 2**0.5, rel=0.25)
    assert abs(told["columns"][1]["mean"]) < 0.5


def test_a_committee_is_asked_as_a_whole(adults: Path, tmp_path: Path) -> None:
    assert run(["ensemble", str(adults), "--out", str(tmp_path)]) == 0
    whole = next(tmp_path.glob("*/*"))
    found = importance(whole, repeats=2)
    assert found.scores.tolist() == [evaluate_run(whole)[0].metrics["accuracy"]]
    assert found.drops.shape == (1, 3, 2)


def test_the_command(iris: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert run(["importance", str(iris), "--repeats", "3", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["repeats"] == 3
    assert told["over"] == "repeats"
    assert {entry["column"] for entry in told["columns"]} == set(importance(iris).columns)
    assert run(["importance", str(iris), "--repeats", "3"]) == 0
    shown = capsys.readouterr().out
    assert "petal" in shown
    assert "over 3 shuffles of each column" in shown


def test_what_has_no_columns(tmp_path: Path, iris: Path) -> None:
    images = train(
        tmp_path,
        "data: {source: digits}\nmodel: {name: mlp, hidden: [4]}\ntraining: {epochs: 1}\n",
    )
    with pytest.raises(UsageError, match="for columns of a table; its data are examples of shape"):
        importance(images)
    with pytest.raises(UsageError, match=r"the run has no acuracy .*did you mean accuracy"):
        importance(iris, metric="acuracy")
    with pytest.raises(UsageError, match="--repeats: should be 1 to 1000; it is 0"):
        importance(iris, repeats=0)


def test_too_large_a_split_is_sampled(iris: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RESIDENT_BYTES", 4 * 4 * 20)
    found = importance(iris, repeats=1)
    assert found.examples == 20
    assert any("20 of 30 examples" in note for note in found.notes)
