"""Decision thresholds against scikit-learn's curves and scores."""

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
from scipy.special import expit
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    f1_score,
    matthews_corrcoef,
    precision_recall_curve,
)

from nnexp.analysis.precision_recall import Curve, Scored
from nnexp.analysis.threshold import METRICS, _best, tune
from nnexp.cli.app import run as run_command
from nnexp.errors import RunError, UsageError

SKLEARN: dict[str, Callable[..., float]] = {
    "f1": lambda y, q: f1_score(y, q, zero_division=0.0),
    "balanced_accuracy": balanced_accuracy_score,
    "accuracy": accuracy_score,
    "mcc": matthews_corrcoef,
}


def two_classes(seed: int, outputs: int = 2, count: int = 200) -> list[dict[str, Any]]:
    """Rows of a run that finds too few of the rare class `yes`."""
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(count):
        is_yes = rng.random() < 0.25
        odds = float((1.0 if is_yes else -1.5) + rng.normal() - 1.0)
        out = {"output_0": odds} if outputs == 1 else {"output_0": -odds, "output_1": 0.0}
        target, guess = ("yes" if flag else "no" for flag in (is_yes, odds > 0))
        split = "dev" if i % 2 else "test"
        rows.append(
            {"split": split, "id": i, "target": target, "prediction": guess, "loss": 0.5, **out}
        )
    return rows


def known(path: Path, **stored: Any) -> Path:
    for home in sorted(path.glob("s*/")) or [path]:
        (home / "preprocessing.json").write_text(json.dumps({"classes": ["no", "yes"]} | stored))
    return path


@pytest.fixture
def base(run: Callable[..., Path]) -> Path:
    return known(run("base", two_classes(0), dev={"accuracy": 0.8}))


def of(rows: list[dict[str, Any]], split: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Target, the run's decision and the probability of `yes`."""
    mine = [row for row in rows if row["split"] == split]
    target, decided = (
        np.array([row[name] == "yes" for row in mine]) for name in ("target", "prediction")
    )
    odds = [row["output_1"] - row["output_0"] if "output_1" in row else row["output_0"]
            for row in mine]  # fmt: skip
    return target, decided, expit(np.array(odds))


@pytest.mark.parametrize("metric", METRICS)
def test_it_is_the_best_on_dev_and_scored_on_test(base: Path, metric: str) -> None:
    found = tune(base, metric)
    ((tuned,),) = found.members
    rows, score = two_classes(0), SKLEARN[metric]
    target, decided, chance = of(rows, "dev")
    best = max(score(target, chance >= t) for t in [*chance, 2.0])
    assert tuned.after["dev"] == pytest.approx(best)
    assert tuned.before["dev"] == pytest.approx(score(target, decided))
    assert tuned.after["dev"] >= tuned.before["dev"]
    target, decided, chance = of(rows, "test")
    assert tuned.after["test"] == pytest.approx(score(target, chance >= tuned.threshold))
    assert tuned.before["test"] == pytest.approx(score(target, decided))
    assert found.gain is not None
    assert found.gain["mean"] == pytest.approx(tuned.after["test"] - tuned.before["test"])
    assert found.default == 0.5
    assert tuned.name == "yes"


def test_the_curve_is_that_of_scikit_learn(base: Path) -> None:
    ((tuned,),) = tune(base).members
    for split in ("dev", "test"):
        target, _, chance = of(two_classes(0), split)
        precision, recall, thresholds = precision_recall_curve(target, chance)
        found = Curve.of(tuned.parts[split])
        assert found.thresholds == pytest.approx(thresholds)
        assert found.precision == pytest.approx(precision[:-1])
        assert found.recall == pytest.approx(recall[:-1])


def test_points_of_the_table_reach_their_recalls(base: Path) -> None:
    ((tuned,),) = tune(base).members
    points = tuned.points()
    target, _, chance = of(two_classes(0), "test")
    assert points[0]["dev recall"] == 1.0
    assert len(points) == 10
    for point in points:
        guess = chance >= point["threshold"]
        assert point["test recall"] == pytest.approx(guess[target].mean())
        assert point["test precision"] == pytest.approx(target[guess].mean(), nan_ok=True)


@given(
    st.integers(1, 30).flatmap(
        lambda n: st.tuples(
            arrays(np.float64, n, elements=st.sampled_from([0.0, 0.1, 0.5, 0.7, 1.0])),
            arrays(np.bool_, n),
        )
    ),
    st.sampled_from(list(METRICS)),
)
@settings(max_examples=100, deadline=None)
def test_no_threshold_does_better(data: tuple[np.ndarray, np.ndarray], metric: str) -> None:
    scores, target = data
    part = Scored(scores, target, scores > 0.5)
    best = _best(part, metric, 0.5)
    tried = np.array([best, -1.0, 0.05, 0.3, 0.5, 0.6, 0.9, 1.0, 2.0])
    values = METRICS[metric](part.counts(tried))
    assert values[0] == pytest.approx(values.max())
    counted = part.counts(np.array([best]))[0]
    guess = scores >= best
    assert counted.tolist() == [
        (guess & target).sum(),
        (guess & ~target).sum(),
        (~guess & target).sum(),
        (~guess & ~target).sum(),
    ]


def test_of_equal_thresholds_the_nearest_to_the_default() -> None:
    scores = np.array([0.1, 0.2, 0.8, 0.9])
    part = Scored(scores, scores > 0.5, scores > 0.5)
    assert _best(part, "f1", 0.5) == 0.5


def test_the_other_class_and_other_losses(run: Callable[..., Path]) -> None:
    rows, dev = two_classes(1), {"accuracy": 0.8}
    path = known(run("other", rows, dev=dev))
    ((tuned,),) = tune(path, "f1", "no").members
    target, decided, chance = of(rows, "test")
    assert tuned.name == "no"
    assert tuned.before["test"] == pytest.approx(f1_score(~target, ~decided))
    guess = 1 - chance >= tuned.threshold
    assert tuned.after["test"] == pytest.approx(f1_score(~target, guess))
    one = two_classes(1, outputs=1)
    config = {"loss": {"name": "binary_cross_entropy"}}
    sigmoid = known(run("sigmoid", one, dev=dev, config=config))
    ((same,),) = tune(sigmoid, "f1", "no").members
    assert same.threshold == pytest.approx(tuned.threshold)
    margins = known(run("margins", rows, dev=dev, config={"loss": {"name": "hinge"}}))
    found = tune(margins, "f1", "no")
    assert found.default == 0.0
    ((as_odds,),) = found.members
    assert expit(as_odds.threshold) == pytest.approx(tuned.threshold, abs=0.05)
    assert as_odds.after == pytest.approx(tuned.after)


def test_each_label_has_its_own(run: Callable[..., Path]) -> None:
    rng = np.random.default_rng(2)
    rows = []
    for i in range(120):
        target = rng.integers(0, 2, 2)
        out = 2.0 * target - 1 + rng.normal(size=2) + np.array([1.0, -1.0])
        row: dict[str, Any] = {"split": "dev" if i % 2 else "test", "id": i}
        for name, values in (("target", target), ("prediction", (out > 0).astype(int)),
                             ("output", out)):  # fmt: skip
            row |= {f"{name}_{k}": values[k] for k in range(2)}
        rows.append(row)
    path = run("labels", rows, {"accuracy": 0.5}, dev={"accuracy": 0.5}, task="multilabel",
               config={"loss": {"name": "multilabel_bce"}})  # fmt: skip
    found = tune(known(path, classes=None, target_names=["red", "big"]))
    red, big = found.members[0]
    assert (red.name, big.name) == ("red", "big")
    assert red.threshold > 0.5 > big.threshold
    test = [row for row in rows if row["split"] == "test"]
    for k, tuned in enumerate((red, big)):
        target = np.array([row[f"target_{k}"] for row in test])
        chance = expit(np.array([row[f"output_{k}"] for row in test]))
        assert tuned.after["test"] == pytest.approx(f1_score(target, chance >= tuned.threshold))
    gains = [t.after["test"] - t.before["test"] for t in (red, big)]
    assert found.gain is not None
    assert found.gain["mean"] == pytest.approx(np.mean(gains))
    low, high = found.gain["interval"]
    assert low < np.mean(gains) < high


def test_a_group_has_one_for_each_member(group: Callable[..., Path]) -> None:
    members = [{"rows": two_classes(i), "dev": {"accuracy": 0.8}} for i in range(3)]
    path = known(group("several", members))
    summary = json.loads((path / "summary.json").read_text()) | {"dev": {"accuracy": {"mean": 1}}}
    (path / "summary.json").write_text(json.dumps(summary))
    found = tune(path)
    assert len(found.members) == 3
    alone = [tune(path / f"s{i}").members[0][0].threshold for i in range(3)]
    assert [tuned.threshold for (tuned,) in found.members] == alone
    assert found.gain is not None
    assert found.gain["n"] == 3
    assert run_command(["threshold", str(path)]) == 0


def test_the_command(base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["threshold", str(base), "--metric", "balanced_accuracy"]) == 0
    shown = capsys.readouterr().out
    assert "balanced_accuracy of yes" in shown
    assert "test precision" in shown
    assert run_command(["threshold", str(base), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    (tuned,) = told["members"][0]
    assert len(tuned["curves"]["test"]["recall"]) == len(tuned["curves"]["test"]["thresholds"])


def test_without_a_test_split_nothing_is_said_of_its_worth(
    run: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    path = known(run("half", two_classes(0), {}, dev={"accuracy": 0.8}))
    assert tune(path).gain is None
    assert run_command(["threshold", str(path)]) == 0
    assert "There is no test split" in capsys.readouterr().out


def test_what_has_no_threshold(base: Path, run: Callable[..., Path]) -> None:
    with pytest.raises(UsageError, match=r"there is no f2 \(there are: f1"):
        tune(base, "f2")
    with pytest.raises(UsageError, match=r"'maybe' is no class of it \(there are: no, yes\)"):
        tune(base, positive="maybe")
    dev = {"accuracy": 0.8}
    with pytest.raises(UsageError, match="has no dev split"):
        tune(known(run("no-dev", two_classes(0))))
    three = known(run("three", two_classes(0), dev=dev), classes=["a", "b", "c"])
    with pytest.raises(UsageError, match="is for two classes, and it has 3"):
        tune(three)
    values = run("values", two_classes(0), dev=dev, task="regression")
    with pytest.raises(UsageError, match="this is regression"):
        tune(values)
    odd = run("odd", two_classes(0), dev=dev, config={"loss": {"name": "mse"}})
    with pytest.raises(UsageError, match="what mse gives has no threshold"):
        tune(odd)
    blown = two_classes(0)
    blown[1]["output_0"] = ""
    with pytest.raises(RunError, match="not all finite"):
        tune(known(run("blown", blown, dev=dev)))
    lost = {"test": {"accuracy": None}, "manifest": {"status": "diverged"}}
    gone = run("lost", two_classes(0), dev={"accuracy": None}, **lost)
    with pytest.raises(RunError, match="diverged"):
        tune(gone)
