"""Comparisons by metrics that are more than a mean of hits: by class, by label, by probability."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn import metrics as sk

from nnexp.analysis.comparing.compare import compare
from nnexp.errors import UsageError

Write = Callable[..., Path]
N = 200
RNG = np.random.default_rng(0)
LABELS = RNG.integers(2, size=(N, 3))
CLASSES = RNG.integers(4, size=N)
HIGHER = {"f1": True, "accuracy": True, "exact_match": True, "log_loss": False, "roc_auc": True}
MULTILABEL = {"task": "multilabel", "primary": "f1", "higher_is_better": HIGHER}
CLASSIFICATION = {"primary": "f1", "higher_is_better": HIGHER}


def labels(noise: float, seed: int) -> dict[str, Any]:
    """Predictions of several labels with so many mistakes, and their summary."""
    wrong = np.random.default_rng(seed).random((N, 3)) < noise
    guess = np.where(wrong, 1 - LABELS, LABELS)
    rows = [
        {
            **{"split": "test", "id": i, "loss": 0.1},
            **{f"target_{k}": LABELS[i, k] for k in range(3)},
            **{f"prediction_{k}": guess[i, k] for k in range(3)},
        }
        for i in range(N)
    ]
    test = {
        "f1": sk.f1_score(LABELS, guess, average="macro"),
        "accuracy": float((guess == LABELS).mean()),
        "exact_match": float((guess == LABELS).all(1).mean()),
    }
    return {"rows": rows, "test": test, **MULTILABEL}


def classes(noise: float, seed: int, average: str = "macro") -> dict[str, Any]:
    """Predictions of classes, and their summary."""
    rng = np.random.default_rng(seed)
    guess = np.where(rng.random(N) < noise, rng.integers(4, size=N), CLASSES)
    log_loss = rng.exponential(noise, N)
    rows = [
        {
            **{"split": "test", "id": i, "target": f"c{CLASSES[i]}", "prediction": f"c{guess[i]}"},
            **{"loss": 0.1, "log_loss": log_loss[i]},
        }
        for i in range(N)
    ]
    test = {
        "f1": sk.f1_score(CLASSES, guess, average=average),
        "log_loss": float(log_loss.mean()),
        "roc_auc": 1 - noise,
    }
    config = {"metrics": [{"name": "f1", "average": average}]}
    return {"rows": rows, "test": test, "config": config, **CLASSIFICATION}


@pytest.mark.parametrize("metric", ["f1", "accuracy", "exact_match"])
def test_two_runs_of_several_labels_are_paired(run: Write, metric: str) -> None:
    a, b = labels(0.3, 1), labels(0.1, 2)
    (pair,) = compare([run("a", **a), run("b", **b)], metric).pairs
    assert pair.verdict == "better"
    assert pair.evidence.difference == pytest.approx(b["test"][metric] - a["test"][metric])
    hits = [
        np.array([all(r[f"target_{k}"] == r[f"prediction_{k}"] for k in range(3)) for r in rows])
        for rows in (a["rows"], b["rows"])
    ]
    if metric == "exact_match":
        assert "McNemar" in pair.evidence.test
        only = int((hits[0] & ~hits[1]).sum()), int((hits[1] & ~hits[0]).sum())
        assert pair.evidence.p_value == pytest.approx(binomtest(only[0], sum(only)).pvalue)
    else:
        assert pair.evidence.test == "paired bootstrap over test examples"


@pytest.mark.parametrize("average", ["macro", "micro", "weighted"])
def test_two_runs_by_class(run: Write, average: str) -> None:
    paths = [
        run(n, **classes(e, i, average)) for i, (n, e) in enumerate({"a": 0.4, "b": 0.1}.items())
    ]
    (pair,) = compare(paths).pairs
    assert (pair.verdict, pair.evidence.test) == ("better", "paired bootstrap over test examples")
    (pair,) = compare(paths, "log_loss").pairs
    assert (pair.verdict, pair.evidence.test) == ("better", "paired bootstrap over test examples")
    (pair,) = compare(paths, "roc_auc").pairs
    assert pair.evidence.p_value is None
    assert "not an average over examples" in pair.sentence


@pytest.mark.parametrize("kind", [labels, classes])
def test_two_groups_speak_of_data_like_this(group: Write, kind: Callable[..., Any]) -> None:
    a = group("a", [kind(0.3, seed) for seed in range(6)])
    b = group("b", [kind(0.15, seed) for seed in range(10, 16)])
    (pair,) = compare([a, b]).pairs
    assert (pair.verdict, pair.evidence.scope) == ("better", "data like this")


def test_averages_that_differ_are_not_compared(run: Write) -> None:
    paths = [
        run(name, **classes(0.2, 1, average)) for name, average in (("a", "macro"), ("b", "micro"))
    ]
    with pytest.raises(UsageError, match=r"compute f1 in different ways.*macro.*micro"):
        compare(paths)
