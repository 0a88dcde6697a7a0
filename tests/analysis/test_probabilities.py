"""Probabilities of stored outputs against scipy's and torch's, and bins against their formula."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import expit, log_softmax, softmax

from nnexp.analysis.diagnosing.calibrated import of_run
from nnexp.analysis.diagnosing.diagnosis import diagnose
from nnexp.analysis.pictures import members_of
from nnexp.analysis.pictures import probabilities as drawn
from nnexp.analysis.precision_recall import precision_recall
from nnexp.analysis.probabilities import (
    answers,
    binned,
    log_probabilities,
    means_probabilities,
    of_log_odds,
    probabilities,
    sureness,
)
from nnexp.analysis.results import Result, read_result
from nnexp.components.losses.tree import HierarchicalSoftmax
from nnexp.errors import DamagedRun, PluginNeeded, RunError
from nnexp.report.figures.calibration import calibration

Write = Callable[..., Path]
NAMES = ("a", "b", "c")
RNG = np.random.default_rng(0)
OUTPUTS = RNG.normal(0, 2, (60, 3))
TARGET = RNG.integers(0, 3, 60)


def rows(outputs: Any, target: Any = TARGET) -> list[dict[str, Any]]:
    """Of a classifier, or of labels `[N, L]`."""
    table = []
    for i, (out, kind) in enumerate(zip(outputs, target, strict=True)):
        row = {"split": "test", "id": i, "loss": 1.0}
        if np.ndim(kind):
            row |= {f"target_{k}": int(x) for k, x in enumerate(kind)}
            row |= {f"prediction_{k}": int(x > 0) for k, x in enumerate(out)}
        else:
            row |= {"target": NAMES[kind], "prediction": NAMES[out.argmax()]}
        table.append(row | {f"output_{k}": x for k, x in enumerate(out)})
    return table


def written(run: Write, name: str, table: Any, loss: str, stored: Any, **more: Any) -> Result:
    path = run(name, table, {"accuracy": 0.5}, config={"loss": {"name": loss}}, **more)
    (path / "preprocessing.json").write_text(json.dumps(stored))
    return read_result(path)


def labels(run: Write) -> tuple[Result, Any]:
    there = (RNG.random((60, 3)) < expit(OUTPUTS / 2)).astype(float)
    told = {"target_names": list(NAMES)}
    table = rows(OUTPUTS, there)
    return written(run, "labels", table, "multilabel_bce", told, task="multilabel"), there


def test_log_odds_as_probabilities(run: Write) -> None:
    found = answers(written(run, "a", rows(OUTPUTS), "cross_entropy", {"classes": NAMES}), "test")
    assert found is not None
    np.testing.assert_allclose(found[0], softmax(OUTPUTS, axis=1))
    np.testing.assert_array_equal(found[1], TARGET)
    one = OUTPUTS[:, :1]
    np.testing.assert_allclose(of_log_odds(one), np.hstack([expit(-one), expit(one)]))
    np.testing.assert_allclose(of_log_odds(OUTPUTS[:, :2]), softmax(OUTPUTS[:, :2], axis=1))
    np.testing.assert_allclose(of_log_odds(OUTPUTS, True), expit(OUTPUTS))
    np.testing.assert_allclose(log_probabilities(OUTPUTS), log_softmax(OUTPUTS, axis=1))


def test_a_loss_with_probabilities_of_its_own(run: Write) -> None:
    """As a plugin's may be: here the built-in one whose outputs are no log-odds of classes."""
    counts = [30, 20, 10]
    told = {"classes": NAMES, "class_counts": counts}
    result = written(run, "tree", rows(OUTPUTS[:, :2]), "hierarchical_softmax", told)
    loss = HierarchicalSoftmax().knowing(NAMES, np.array([counts]))
    wanted = loss.probabilities(torch.tensor(OUTPUTS[None, :, :2]))[0].numpy()
    found = probabilities(result, "test")
    assert found is not None
    np.testing.assert_allclose(found, wanted)
    judged = of_run(result, "test")
    assert judged is not None
    assert judged.temperature is None
    curve = precision_recall(result, name="b")
    assert curve.is_probability
    assert set(curve.curves[0].thresholds) == set(wanted[:, 1])


def test_what_has_no_probabilities(run: Write) -> None:
    told = {"classes": NAMES}
    hinge = written(run, "hinge", rows(OUTPUTS), "hinge", told)
    assert probabilities(hinge, "test") is None
    assert answers(hinge, "test") is None
    values = written(run, "values", rows(OUTPUTS), "mse", told, task="regression")
    assert not means_probabilities(values)
    plugged = {"plugins": [{"name": "mine.py", "sha256": "0" * 64}]}
    mine = written(run, "mine", rows(OUTPUTS), "mine", told, manifest=plugged)
    with pytest.raises(PluginNeeded, match=r"mine\.py"):
        probabilities(mine, "test")
    remark = next(one for one in diagnose(mine).remarks if one.topic == "calibration")
    assert (remark.grade, "mine.py" in remark.text) == ("unknown", True)


def test_outputs_that_are_of_no_use(run: Write) -> None:
    told = {"classes": NAMES}
    short = written(run, "short", rows(OUTPUTS), "cross_entropy", {"classes": NAMES[:2]})
    with pytest.raises(DamagedRun, match="an output for each of 2 classes"):
        probabilities(short, "test")
    other = written(run, "other", rows(OUTPUTS), "cross_entropy", {"classes": ["a", "b", "d"]})
    with pytest.raises(DamagedRun, match="a class 'c', unknown to the run"):
        answers(other, "test")
    with pytest.raises(RunError, match="no predictions on dev"):
        probabilities(written(run, "no-dev", rows(OUTPUTS), "cross_entropy", told), "dev")
    blown = rows(np.where(OUTPUTS > 3, np.inf, OUTPUTS))
    with pytest.raises(RunError, match="not all finite"):
        probabilities(written(run, "blown", blown, "cross_entropy", told), "test")


def test_bins_are_their_formula() -> None:
    said, came = RNG.random(500), (RNG.random(500) < 0.5).astype(float)
    said[:3] = 0.0, 1.0, 1 / 15
    found, error = binned(said, came), 0.0
    for k in range(15):
        there = (said > k / 15) & (said <= (k + 1) / 15) | (k == 0) & (said == 0)
        assert found.counts[k] == there.sum()
        assert found.said[k] == pytest.approx(said[there].mean())
        assert found.came[k] == pytest.approx(came[there].mean())
        error += there.mean() * abs(said[there].mean() - came[there].mean())
    assert found.error == pytest.approx(error)
    assert np.isnan(binned(said[:1], came[:1]).said[1])


def test_the_calibration_error_is_one_wherever_it_is_told(run: Write) -> None:
    """By the diagnosis as by the plot; of labels in bins of each one's probability."""
    result, there = labels(run)
    said = expit(OUTPUTS).ravel()
    places = np.ceil(said * 15)
    wanted = sum(
        abs((there.ravel() - said)[places == k].sum()) / said.size for k in np.unique(places)
    )
    judged = of_run(result, "test")
    assert judged is not None
    assert judged.ece == pytest.approx(wanted)
    chances, targets = drawn(members_of(result.path), "test")
    assert binned(*sureness(chances, targets)).error == pytest.approx(wanted)
    (upper, _) = calibration(chances, targets).axes
    assert f"{wanted:.3f}" in upper.get_title(loc="left") + upper.get_title()
    # How sure it is of its answers, yes or no, is another thing.
    assert judged.confidence == pytest.approx(np.maximum(said, 1 - said).mean())
    assert judged.accuracy == pytest.approx(((said > 0.5) == there.ravel()).mean())


def test_a_committee_has_the_names_of_its_first_network(run: Write) -> None:
    result, _ = labels(run)
    (result.path / "m0").mkdir()
    (result.path / "preprocessing.json").rename(result.path / "m0" / "preprocessing.json")
    (confused,) = (one for one in diagnose(result.path).remarks if one.topic == "confused classes")
    assert set(confused.numbers["missed"]) == set(NAMES)
    path = run("both", rows(OUTPUTS), {"accuracy": 0.5})
    (path / "m0").mkdir()
    (path / "m0" / "preprocessing.json").write_text(json.dumps({"classes": NAMES}))
    judged = of_run(read_result(path), "test")
    assert judged is not None
    assert judged.temperature is not None
