"""Precision–recall curves and average precision against scikit-learn's."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import expit, softmax
from sklearn.metrics import average_precision_score, precision_recall_curve

from nnexp.analysis.precision_recall import Curve, Scored, average_interval, precision_recall
from nnexp.analysis.results import read_result
from nnexp.errors import DamagedRun, RunError, UsageError

DEV = {"accuracy": 0.8}


def answered(
    seed: int, classes: tuple[str, ...], columns: int, count: int = 150
) -> tuple[list[dict[str, Any]], np.ndarray, np.ndarray]:
    """Rows of a run, its targets by number and its outputs `[N, columns]`."""
    rng = np.random.default_rng(seed)
    target = rng.integers(0, len(classes), count)
    outputs = rng.normal(size=(count, columns)).round(1)  # with ties
    outputs[:, -1] += target == len(classes) - 1
    rows = []
    for i, (kind, out) in enumerate(zip(target, outputs, strict=True)):
        row = {"split": "test", "id": i, "target": classes[kind], "prediction": classes[0]}
        rows.append(row | {"loss": 0.5} | {f"output_{k}": x for k, x in enumerate(out)})
    return rows, target, outputs


def write(
    run: Callable[..., Path], name: str, rows: list[dict[str, Any]], loss: str, **stored: Any
) -> Path:
    path = run(name, rows, {"accuracy": 0.5}, config={"loss": {"name": loss}})
    (path / "preprocessing.json").write_text(json.dumps(stored))
    return path


def check(found: Curve, positive: np.ndarray, scores: np.ndarray) -> None:
    precision, recall, thresholds = precision_recall_curve(positive, scores)
    assert found.thresholds == pytest.approx(thresholds)
    assert found.precision == pytest.approx(precision[:-1])
    assert found.recall == pytest.approx(recall[:-1])
    assert found.average_precision == pytest.approx(average_precision_score(positive, scores))


@pytest.mark.parametrize(
    ("loss", "columns"),
    [("cross_entropy", 2), ("binary_cross_entropy", 1), ("hinge", 2), ("squared_hinge", 2)],
)
def test_two_classes(run: Callable[..., Path], loss: str, columns: int) -> None:
    rows, target, outputs = answered(0, ("no", "yes"), columns)
    path = write(run, "base", rows, loss, classes=["no", "yes"])
    odds = outputs[:, 0] if columns == 1 else outputs[:, 1] - outputs[:, 0]
    scores = odds if "hinge" in loss else expit(odds)
    found = precision_recall(path)
    check(found.curves[0], target == 1, scores)
    assert (found.name, found.over) == ("yes", "test examples")
    assert found.share == pytest.approx((target == 1).mean())
    assert found.is_probability == ("hinge" not in loss)
    scores = -odds if "hinge" in loss else expit(-odds)
    check(precision_recall(read_result(path), "test", "no").curves[0], target == 0, scores)


@pytest.mark.parametrize("loss", ["cross_entropy", "hinge"])
def test_one_class_of_many(run: Callable[..., Path], loss: str) -> None:
    names = ("a", "b", "c")
    rows, target, outputs = answered(1, names, 3)
    path = write(run, "three", rows, loss, classes=names)
    scores = outputs if loss == "hinge" else softmax(outputs, axis=1)
    for place, name in enumerate(names):
        found = precision_recall(path, name=name)
        check(found.curves[0], target == place, scores[:, place])
    with pytest.raises(UsageError, match="choose one of its 3 classes: a, b, c"):
        precision_recall(path)


def test_labels(run: Callable[..., Path]) -> None:
    rng = np.random.default_rng(2)
    target, outputs = rng.integers(0, 2, (80, 2)), rng.normal(size=(80, 2))
    rows = [
        {"split": "test", "id": i}
        | {f"target_{k}": t[k] for k in range(2)}
        | {f"prediction_{k}": int(out[k] > 0) for k in range(2)}
        | {f"output_{k}": out[k] for k in range(2)}
        for i, (t, out) in enumerate(zip(target, outputs, strict=True))
    ]
    config = {"loss": {"name": "multilabel_bce"}}
    path = run("labels", rows, {"accuracy": 0.5}, config=config, task="multilabel")
    (path / "preprocessing.json").write_text(json.dumps({"target_names": ["red", "big"]}))
    for place, name in enumerate(("red", "big")):
        found = precision_recall(path, name=name)
        check(found.curves[0], target[:, place] == 1, expit(outputs[:, place]))
    with pytest.raises(UsageError, match="choose one of its 2 labels"):
        precision_recall(path)
    with pytest.raises(UsageError, match=r"'rde' is no label of it .*did you mean red"):
        precision_recall(path, name="rde")


@given(
    st.integers(1, 40).flatmap(
        lambda n: st.tuples(
            arrays(np.float64, n, elements=st.sampled_from([0.0, 0.1, 0.5, 0.7, 1.0])),
            arrays(np.bool_, n),
        )
    )
)
@settings(max_examples=100, deadline=None)
def test_any_scores(data: tuple[np.ndarray, np.ndarray]) -> None:
    scores, target = data
    found = Curve.of(Scored(scores, target, target))
    if target.any():
        check(found, target, scores)
    else:
        assert found.average_precision == 0.0
    for recall, precision in zip(found.recall, found.precision, strict=True):
        best = found.at_recalls(np.array([recall]))[0]
        highest = np.flatnonzero(found.recall == recall)[-1]
        assert best == found.precision[highest]
        assert precision >= 0


def test_a_group_has_a_curve_for_each_member(group: Callable[..., Path]) -> None:
    kinds = [answered(seed, ("no", "yes"), 2) for seed in range(3)]
    path = group("several", [{"rows": rows, "test": {"accuracy": 0.5}} for rows, _, _ in kinds])
    for home in path.glob("s?"):
        (home / "preprocessing.json").write_text(json.dumps({"classes": ["no", "yes"]}))
    found = precision_recall(path)
    alone = [precision_recall(path / f"s{i}").average for i in range(3)]
    assert found.average == pytest.approx(np.mean(alone))
    assert found.over == "members"
    half = 4.302652729911275 * np.std(alone, ddof=1) / np.sqrt(3)  # t(2), 97.5 %
    assert found.interval == pytest.approx((np.mean(alone) - half, np.mean(alone) + half))
    recalls = np.array([0.5, 1.0])
    each = [curve.at_recalls(recalls) for curve in found.curves]
    assert found.mean_at(recalls) == pytest.approx(np.mean(each, axis=0))


def test_the_interval_is_that_of_drawing_examples_again() -> None:
    rng = np.random.default_rng(3)
    target = rng.random(300) < 0.3
    scores = (target + rng.normal(size=300)).round(1)
    interval = average_interval(Scored(scores, target, target))
    assert interval is not None
    drawn = []
    for _ in range(1000):
        rows = rng.integers(0, 300, 300)
        drawn.append(average_precision_score(target[rows], scores[rows]))
    assert interval == pytest.approx(np.quantile(drawn, [0.025, 0.975]), abs=0.015)
    assert average_interval(Scored(scores[:3], np.array([True, False, False]), target[:3])) is None


def test_what_has_no_curve(run: Callable[..., Path]) -> None:
    rows, _, _ = answered(0, ("no", "yes"), 2)
    path = write(run, "base", rows, "cross_entropy", classes=["no", "yes"])
    with pytest.raises(UsageError, match=r"'yse' is no class of it .*did you mean yes"):
        precision_recall(path, name="yse")
    with pytest.raises(RunError, match="has no predictions on dev"):
        precision_recall(path, "dev")
    with pytest.raises(UsageError, match="what mse gives has no threshold"):
        precision_recall(write(run, "mse", rows, "mse", classes=["no", "yes"]))
    with pytest.raises(DamagedRun, match="should name the classes"):
        precision_recall(write(run, "nameless", rows, "cross_entropy"))
    with pytest.raises(DamagedRun, match="an output for each of 4 classes"):
        precision_recall(write(run, "four", rows, "cross_entropy", classes=list("abcd")), name="a")
    rows[3]["output_1"] = ""
    with pytest.raises(RunError, match="not all finite"):
        precision_recall(write(run, "blown", rows, "cross_entropy", classes=["no", "yes"]))
    values = run("values", rows, {"rmse": 1.0}, task="regression")
    with pytest.raises(UsageError, match="this is regression"):
        precision_recall(values)
