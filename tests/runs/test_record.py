"""What a run records of its predictions."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from sklearn import metrics as sk

from nnexp.analysis.results import Predictions
from nnexp.analysis.scores import statistic
from nnexp.cli.app import run
from nnexp.components.metrics.by_class import F1
from nnexp.components.metrics.metric import Accuracy, ExactMatch, LossMetric, Metric, Scored
from nnexp.components.metrics.probabilities import Brier, LogLoss
from nnexp.runs import classes
from nnexp.runs.classes import average, class_scores
from nnexp.runs.record import PartScores, prediction_rows

N = 30


def scored(labels: int = 0, size: int = 3, seed: int = 0) -> Scored:
    """labels: several of them, or 0 for classes."""
    draw = torch.Generator().manual_seed(seed)
    outputs = torch.randn(1, N, labels or size, generator=draw)
    losses = torch.rand(1, N, generator=draw)
    if labels:
        target = torch.randint(2, (1, N, labels), generator=draw)
        return Scored(losses, (outputs > 0).long(), target, outputs, outputs.sigmoid())
    target = torch.randint(size, (1, N), generator=draw)
    return Scored(losses, outputs.argmax(-1), target, outputs, outputs.softmax(-1))


def read(found: Scored, names: tuple[str, ...] | None, metrics: list[Metric]) -> Predictions:
    """The rows, written and read again."""
    part = PartScores({}, found.outputs[0], found)
    rows = list(csv.reader(io.StringIO(prediction_rows("test", range(N), names, part, metrics))))
    columns = zip(*rows[1:], strict=True)
    return Predictions(Path("predictions.csv"), dict(zip(rows[0], columns, strict=True)))


@pytest.mark.parametrize("labels", [1, 3])
def test_labels_are_columns_of_their_own(labels: int) -> None:
    found, metrics = scored(labels), [F1(), LossMetric(), ExactMatch(), Accuracy(), LogLoss()]
    rows = read(found, None, metrics)
    assert list(rows.columns)[:3] == ["split", "id", "target" if labels == 1 else "target_0"]
    np.testing.assert_array_equal(rows.numbers("target"), found.target[0])
    np.testing.assert_array_equal(rows.numbers("prediction"), found.prediction[0])
    for metric in metrics:
        known = statistic(metric.component, "multilabel")
        assert known is not None
        value = float(known.combine(known.moments(rows).mean(axis=0)))
        assert value == pytest.approx(float(metric.compute(found)), rel=1e-6)


def test_columns_are_those_of_the_metrics_that_need_them() -> None:
    found = scored()
    plain = read(found, ("a", "b", "c"), [Accuracy(), F1()])
    outputs = [f"output_{k}" for k in range(3)]
    assert list(plain.columns) == ["split", "id", "target", "prediction", "loss", *outputs]
    rows = read(found, ("a", "b", "c"), [Brier(), LossMetric(), LogLoss()])
    assert list(rows.columns)[4:7] == ["loss", "brier", "log_loss"]
    assert rows.numbers("brier").mean() == pytest.approx(float(Brier().compute(found)), rel=1e-6)


def test_scores_by_class_are_sklearns() -> None:
    found = scored(size=4)
    result = class_scores(found, ("a", "b", "c", "d"))
    y, q = found.target[0], found.prediction[0]
    expected = sk.precision_recall_fscore_support(y, q, labels=range(4), zero_division=0)
    for column, reference in zip(
        (result.precision, result.recall, result.f1, result.support), expected, strict=True
    ):
        np.testing.assert_allclose(column, reference, rtol=1e-12)
    assert result.confusion is not None
    np.testing.assert_array_equal(result.confusion, sk.confusion_matrix(y, q, labels=range(4)))
    first = result.to_json()["classes"][0]
    assert list(first) == ["class", "precision", "recall", "f1", "support"]


def test_scores_by_label_are_sklearns() -> None:
    found = scored(labels=3)
    result = class_scores(found, ("a", "b", "c"))
    expected = sk.precision_recall_fscore_support(
        found.target[0], found.prediction[0], zero_division=0
    )
    np.testing.assert_allclose(result.f1, expected[2], rtol=1e-12)
    np.testing.assert_allclose(result.support, expected[3])
    assert result.confusion is None
    assert result.to_json()["confusion"] is None


def test_very_many_classes_have_no_matrix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(classes, "MOST_CLASSES", 2)
    assert class_scores(scored(), ("a", "b", "c")).confusion is None


def test_a_groups_scores_by_class_are_means() -> None:
    each = [class_scores(scored(seed=seed), ("a", "b", "c")) for seed in range(3)]
    mean = average(each)
    np.testing.assert_allclose(mean.recall, np.mean([one.recall for one in each], axis=0))
    assert mean.confusion is not None
    assert mean.confusion.sum() == pytest.approx(N)


@pytest.mark.parametrize("seeds", [1, 2])
def test_l1_tells_how_many_weights_are_zero(
    tmp_path: Path, seeds: int, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.yaml").write_text(
        "data: {source: iris}\nmodel: {name: mlp, hidden: [6]}\noptimizer: {name: sgd, lr: 0.1}\n"
        "regularization: {l1: 0.2}\ntraining: {epochs: 8}\n"
    )
    options = ["--seeds", str(seeds)] if seeds > 1 else []
    assert run(["train", str(tmp_path / "a.yaml"), "--out", str(tmp_path / "o"), *options]) == 0
    (path,) = (tmp_path / "o").glob("*/*")
    shares = json.loads((path / "summary.json").read_text())["weights"]
    runs = [path] if seeds == 1 else [path / "s0", path / "s1"]
    expected = []
    for one in runs:
        named = load_file(one / "model.safetensors")
        weights = np.concatenate([x.ravel() for k, x in named.items() if k.endswith("weight")])
        expected.append(((weights == 0).mean(), (abs(weights) < 1e-3).mean()))
    zero, near = np.mean(expected, axis=0)
    if seeds > 1:
        shares = {name: described["mean"] for name, described in shares.items()}
    assert shares == {"zero": pytest.approx(zero), "near_zero": pytest.approx(near)}
    assert zero > 0
    assert f"{100 * zero:.3g} % of the weights are 0" in capsys.readouterr().out
