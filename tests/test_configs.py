"""What the comments in the example configs say comes true."""

from __future__ import annotations

import csv
import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nnexp.analysis.words.vectors import vectors_of
from nnexp.config.load import load_config
from nnexp.runs.execute import Order, Reporter, start
from nnexp.runs.rundir import RunDir

CONFIGS = Path(__file__).parent.parent / "configs"


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def _train(
    name: str, out: Path, *changes: str, seeds: int | None = None, splits: int | None = None
) -> RunDir:
    config = load_config(CONFIGS / f"{name}.yaml", list(changes))
    order = Order(config.experiment, config.text, CONFIGS, seeds, splits)
    return start(order, out, Reporter())


def _column(run: RunDir, name: str) -> list[float]:
    with run.metrics.open(newline="") as lines:
        return [float(row[name]) for row in csv.DictReader(lines)]


def _mean(run: RunDir, metric: str) -> float:
    return float(run.read_summary()["test"][metric]["mean"])


def test_newbob_halves_the_rate_down_to_its_floor(tmp_path: Path) -> None:
    run = _train("breast-cancer-newbob", tmp_path)
    rates = np.array(_column(run, "lr"))
    assert set(rates[1:] / rates[:-1]) <= {1.0, 0.5}
    assert rates[-1] / 2 < 0.01 * rates[0] <= rates[-1]
    assert len(rates) < 100


def test_proximal_l1_leaves_out_the_noise(tmp_path: Path) -> None:
    run = _train("noise-columns", tmp_path)
    (weights,) = (v for v in run.read_tensors(run.model.name).values() if v.size == 50)
    matters = weights.flatten() != 0
    assert matters[[0, 1, 3, 4]].all()
    assert matters[5:].sum() <= 5
    assert run.read_summary()["weights"]["zero"] == pytest.approx(1 - matters.mean())
    without = _train("noise-columns", tmp_path, "regularization.l1=0", "training.epochs=20")
    assert without.read_summary()["weights"]["zero"] == 0


def test_class_weights_find_more_of_the_rare_class(tmp_path: Path) -> None:
    weighted = _train("imbalanced", tmp_path, seeds=5)
    plain = _train("imbalanced", tmp_path, "loss.class_weights=null", seeds=5)
    assert _mean(weighted, "balanced_accuracy") > _mean(plain, "balanced_accuracy") + 0.1
    assert _mean(weighted, "accuracy") < _mean(plain, "accuracy")


def test_residual_blocks_train_where_a_plain_network_does_not(tmp_path: Path) -> None:
    deep = _train("residual", tmp_path, "training.epochs=5", "schedule=constant")
    plain: dict[str, Any] = {"name": "mlp", "hidden": [32] * 30}
    changes = (f"model={plain}", "training.epochs=5", "schedule=constant")
    shallow = _train("residual", tmp_path, *changes)
    reached, missed = (r.read_summary()["test"]["accuracy"] for r in (deep, shallow))
    assert reached > 0.85 > missed + 0.2


def test_the_folds_hold_every_example_out_once(tmp_path: Path) -> None:
    group = _train("folds", tmp_path, "training.epochs=1", splits=5)
    tested: list[str] = []
    for member in group.members():
        with member.predictions.open(newline="") as lines:
            tested += [row["id"] for row in csv.DictReader(lines) if row["split"] == "test"]
    assert sorted(map(int, tested)) == list(range(178))


def test_the_stream_is_one_pass_that_learns(tmp_path: Path) -> None:
    assert _train("online", tmp_path).read_summary()["test"]["r2"] > 0.7


def test_pumps_have_labels(tmp_path: Path) -> None:
    summary = _train("pumps", tmp_path).read_summary()
    assert summary["task"] == "multilabel"
    assert summary["test"]["f1"] > 0.6


def test_the_flats_are_learnt(tmp_path: Path) -> None:
    assert _train("flats", tmp_path).read_summary()["test"]["r2"] > 0.75


def test_a_character_model_beats_the_letters_frequencies(tmp_path: Path) -> None:
    """The comment's 3.08 nats are what the training text's frequencies (add-one) cost."""
    text = (CONFIGS / "data/sonnets.txt").read_text()
    start, end = text[: int(0.8 * len(text))], text[int(0.9 * len(text)) :]
    seen, kinds = Counter(start), len(set(text))
    costs = [-math.log((seen[letter] + 1) / (len(start) + kinds)) for letter in end]
    frequencies = sum(costs) / len(costs)
    assert frequencies == pytest.approx(3.08, abs=0.01)
    found = _train("next-character", tmp_path).read_summary()["test"]
    assert found["loss"] < frequencies - 0.5
    assert found["perplexity"] == pytest.approx(math.exp(found["loss"]))


def test_order_is_learnt_where_a_bag_of_words_has_none(tmp_path: Path) -> None:
    head = "{name: linear, units: 64}, relu, linear"
    bag = f"model={{name: sequential, layers: [embedding, mean_over_time, {head}]}}"
    order = _train("sequence-classes", tmp_path).read_summary()["test"]["accuracy"]
    none = _train("sequence-classes", tmp_path, bag).read_summary()["test"]["accuracy"]
    assert order > 0.95
    assert none < 0.8


def test_each_token_gets_its_label(tmp_path: Path) -> None:
    run = _train("sequence-labels", tmp_path)
    assert run.read_summary()["test"]["accuracy"] > 0.97
    assert run.read_summary()["task"] == "dense"


def test_embedded_columns_do_as_well_as_one_hot(tmp_path: Path) -> None:
    assert _train("embedded-columns", tmp_path).read_summary()["test"]["r2"] > 0.85


def test_words_of_a_kind_are_neighbours(tmp_path: Path) -> None:
    """Of the words nearest to a food, day, colour, …, nearly all are of its kind."""
    kinds = [
        "bread cheese soup butter honey apples",
        "two three four five six seven",
        "red blue green yellow white brown",
        "dog cat horse goat donkey hen",
        "kitchen garden cellar barn attic yard",
        "monday tuesday wednesday thursday friday saturday",
    ]
    vectors = vectors_of(_train("word-vectors", tmp_path).path)
    right = 0
    for kind in map(str.split, kinds):
        right += sum(near in kind for word in kind for near, _ in vectors.neighbours(word, 5))
    assert right / (6 * 6 * 5) > 0.9
