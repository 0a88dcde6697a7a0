"""Diagnoses of small run directories whose faults are planted, and their numbers."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax
from scipy.stats import ttest_ind

from nnexp.analysis.diagnosing import bias_variance as bv
from nnexp.analysis.diagnosing.calibrated import calibrate, fit_temperature
from nnexp.analysis.diagnosing.curves import IMPROVING, onset
from nnexp.analysis.diagnosing.diagnosis import Diagnosis, diagnose
from nnexp.analysis.diagnosing.mistakes import _stands_out
from nnexp.analysis.diagnosing.remark import Remark
from nnexp.errors import DamagedRun, UsageError

Write = Callable[..., Path]

TABLE = [
    (0.01, 0.11, bv.HIGH_VARIANCE),
    (0.15, 0.16, bv.HIGH_BIAS),
    (0.15, 0.30, bv.HIGH_BOTH),
    (0.005, 0.01, bv.LOW_BOTH),
]
"""The documents' table: train error, dev error and the verdict."""


def remark(found: Diagnosis, topic: str) -> Remark:
    return next(one for one in found.remarks if one.topic == topic)


def rows(error: float, count: int = 1000) -> list[dict[str, Any]]:
    """Rows of predictions.csv of which such a share is wrong."""
    wrong = round(error * count)
    return [
        {
            "split": "dev",
            "id": f"e{i}",
            "target": "abc"[i % 3],
            "prediction": "abc"[(i + (i < wrong)) % 3],
            "loss": 2.0 if i < wrong else 0.1,
        }
        for i in range(count)
    ]


def errors(train: float, dev: float, count: int = 1000) -> dict[str, Any]:
    """Keywords of `write_run` for a classifier with these errors."""
    parts = {
        part: {"accuracy": 1 - e, "error": e, "loss": e}
        for part, e in (("train", train), ("dev", dev))
    }
    split = {"counts": {"train": 10 * count, "dev": count, "test": count}}
    return {"rows": rows(dev, count), "manifest": {"split": split}} | parts


def write_history(path: Path, **columns: Any) -> Path:
    """metrics.csv with these columns; `_` stands for `/`."""
    names = {name.replace("_", "/", 1): values for name, values in columns.items()}
    length = len(next(iter(names.values())))
    with (path / "metrics.csv").open("w", newline="") as file:
        lines = csv.writer(file)
        lines.writerow(["epoch", *names])
        lines.writerows(zip(range(1, length + 1), *names.values(), strict=True))
    return path


# -- bias and variance -----------------------------------------------------------------------------


@pytest.mark.parametrize(("train", "dev", "verdict"), TABLE)
def test_the_documents_four_verdicts(run: Write, train: float, dev: float, verdict: str) -> None:
    found = remark(diagnose(run("a", **errors(train, dev))), bv.TOPIC)
    assert found.verdict == verdict
    assert found.advice
    assert found.numbers["bias"] == pytest.approx(train)
    assert found.numbers["variance"] == pytest.approx(dev - train)


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))
def test_a_verdict_depends_on_the_two_gaps_only(train: float, dev: float, best: float) -> None:
    found = bv.verdict(train - best, dev - train)
    assert ("bias" in found and found != bv.HIGH_VARIANCE) or train - best < bv.HIGH + 1e-9
    assert (found in (bv.HIGH_BIAS, bv.HIGH_BOTH)) == (round(train - best, 12) >= bv.HIGH)
    assert (found in (bv.HIGH_VARIANCE, bv.HIGH_BOTH)) == (round(dev - train, 12) >= bv.HIGH)


def test_the_larger_gap_comes_first_if_both_are_high(run: Write) -> None:
    bias = remark(diagnose(run("a", **errors(0.15, 0.30))), bv.TOPIC)
    variance = remark(diagnose(run("b", **errors(0.04, 0.30))), bv.TOPIC)
    assert bias.verdict == variance.verdict == bv.HIGH_BOTH
    assert bias.advice.startswith("Bias first.")
    assert variance.advice == remark(diagnose(run("c", **errors(0.0, 0.3))), bv.TOPIC).advice


def test_a_gap_near_the_limit_is_perhaps_high(run: Write) -> None:
    found = remark(diagnose(run("a", **errors(0.0, 0.03))), bv.TOPIC)
    assert found.verdict == f"low bias, perhaps {bv.HIGH_VARIANCE}"


def test_a_best_possible_error_above_the_training_error_is_told(run: Write) -> None:
    found = remark(diagnose(run("a", **errors(0.05, 0.11)), "10%"), bv.TOPIC)
    assert "above the training error: better than that is possible" in found.text


def test_what_people_reach_takes_the_bias_away(run: Write) -> None:
    path = run("a", **errors(0.15, 0.16))
    assert remark(diagnose(path), bv.TOPIC).verdict == bv.HIGH_BIAS
    found = remark(diagnose(path, best_possible=0.14), bv.TOPIC)
    assert found.verdict == bv.LOW_BOTH
    assert found.numbers["best_possible_source"] == "as given"


@pytest.mark.parametrize("given", ["2%", " 2 % ", "0.02", 0.02])
def test_the_best_possible_error_as_a_share_or_per_cent(run: Write, given: str | float) -> None:
    found = remark(diagnose(run("a", **errors(0.1, 0.1)), given), bv.TOPIC)
    assert found.numbers["best_possible"] == pytest.approx(0.02)


def test_a_share_above_1_is_none(run: Write) -> None:
    with pytest.raises(UsageError, match=r"a share \(1 − accuracy\), from 0 to 1 or with %"):
        diagnose(run("a", **errors(0.1, 0.1)), "5")


def test_the_interval_of_a_gap_is_welchs(run: Write) -> None:
    path = run("a", **errors(0.05, 0.11))
    low, high = remark(diagnose(path), bv.TOPIC).numbers["variance_interval"]
    train, dev = np.arange(10_000) < 500, np.arange(1000) < 110
    expected = ttest_ind(dev.astype(float), train.astype(float), equal_var=False)
    assert (low, high) == pytest.approx(tuple(expected.confidence_interval()), rel=5e-3)


def test_no_better_than_guessing(run: Write) -> None:
    found = diagnose(run("a", **errors(0.66, 0.7)))  # of three classes
    assert remark(found, bv.TOPIC).verdict == bv.GUESSING
    assert found.next.command.startswith("nnexp check ")


@pytest.mark.parametrize("value", [-0.1, math.nan, math.inf, "few", "-2%", ""])
def test_a_best_possible_error_that_is_none(run: Write, value: float | str) -> None:
    with pytest.raises(UsageError, match="--best-possible: should be an error of 0 or more"):
        diagnose(run("a", **errors(0.1, 0.1)), value)


@pytest.mark.parametrize(("baseline", "best"), [(0.93, 0.07), (0.6, 0.0)])
def test_a_baseline_tells_what_is_possible_if_it_is_better(
    run: Write, baseline: float, best: float
) -> None:
    part = {"accuracy": baseline}
    known = {"logistic": {"train": part, "dev": part, "parameters": 9}}
    found = remark(diagnose(run("a", **errors(0.15, 0.16), baselines=known)), bv.TOPIC)
    assert found.numbers["best_possible"] == pytest.approx(best)
    assert ("logistic" in found.text) == (best > 0)


def test_a_gap_of_one_example_may_be_chance(run: Write) -> None:
    found = remark(diagnose(run("a", **errors(0.0, 1 / 30, count=30))), bv.TOPIC)
    assert found.verdict == "low bias, perhaps high variance"
    low, high = found.numbers["variance_interval"]
    assert low < 0 < high
    assert "Chance" in found.advice


def test_a_regression_is_held_against_the_mean_of_its_targets(run: Write) -> None:
    rng = np.random.default_rng(0)
    target = rng.normal(0, 10, 400)
    off = rng.normal(0, 3, 400)
    table = [
        {"split": "dev", "id": i, "target": y, "prediction": y + e, "loss": e * e}
        for i, (y, e) in enumerate(zip(target, off, strict=True))
    ]
    rmse = float(np.sqrt((off**2).mean()))
    summary = {"task": "regression", "primary": "rmse", "train": {"rmse": 0.01}}
    found = diagnose(run("a", table, {"rmse": rmse}, dev={"rmse": rmse}, **summary))
    told = remark(found, bv.TOPIC)
    assert told.verdict == bv.HIGH_VARIANCE
    unexplained = (off**2).mean() / target.var()
    assert told.numbers["dev_error"] == pytest.approx(unexplained)
    assert told.numbers["train_error"] == pytest.approx((0.01 / target.std()) ** 2)
    assert f"rmse {rmse:.4g}" in told.text
    best = remark(diagnose(found.path, rmse), bv.TOPIC)  # in the target's units
    assert best.numbers["best_possible"] == pytest.approx(unexplained)
    assert all(one.topic != "calibration" for one in found.remarks)


def test_metrics_that_are_no_error(run: Write) -> None:
    known = {"loss": 1.0}
    path = run("a", rows(0.1), known, dev=known, primary="loss", task="words")
    found = remark(diagnose(path), bv.TOPIC)
    assert found.grade == "unknown"
    assert "the first: loss" in found.text


def test_a_group_is_judged_over_its_members(group: Write) -> None:
    members = [errors(0.01 + 0.001 * i, 0.11 + 0.002 * i) for i in range(4)]
    path = group("g", members)
    summary = json.loads((path / "summary.json").read_text())
    summary |= {"dev": summary["test"]}
    (path / "summary.json").write_text(json.dumps(summary))
    found = remark(diagnose(path), bv.TOPIC)
    assert found.verdict == bv.HIGH_VARIANCE
    assert len(found.numbers["members"]) == 4
    assert found.numbers["train_error"] == pytest.approx(0.0115)
    assert "±" in found.text


# -- curves ----------------------------------------------------------------------------------------

EPOCHS = np.arange(1.0, 101.0)
FALLING = np.exp(-EPOCHS / 40)


def u_curve(lowest: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    noise = np.random.default_rng(lowest).normal(0, 0.003, 100)
    return 0.5 + ((EPOCHS - lowest) / 100) ** 2 + noise


@pytest.mark.parametrize("lowest", [20, 40, 60])
def test_overfitting_began_where_it_was_planted(run: Write, lowest: int) -> None:
    found = onset(EPOCHS, FALLING, u_curve(lowest))
    assert found.overfits
    assert abs(found.epoch - lowest) <= 8
    path = run("a", **errors(0.01, 0.05))
    write_history(path, train_loss=FALLING, dev_loss=u_curve(lowest))
    told = remark(diagnose(path), "overfitting")
    assert told.verdict == f"began at epoch {found.epoch}"
    assert "early_stopping" in told.advice


def test_a_rise_that_may_be_chance_is_to_be_looked_at(run: Write) -> None:
    """It rose once, by some 12 %, and went up and down from then on."""
    up_and_down = 0.54 + 0.03 * np.sin(EPOCHS[40:] / 6)
    dev = np.concatenate([np.linspace(0.8, 0.5, 40), up_and_down])
    path = run("a", **errors(0.01, 0.05))
    write_history(path, train_loss=FALLING, dev_loss=dev)
    told = remark(diagnose(path), "overfitting")
    assert told.grade == "look"
    assert told.verdict.startswith("perhaps began at epoch ")
    assert "early_stopping" in told.advice
    assert told.numbers["lasting"] == 0


def test_the_advice_on_overfitting_does_not_contradict_itself(run: Write) -> None:
    dev = np.concatenate([u_curve(30), np.linspace(0.9, 0.7, 40)])  # falls again, far too late
    path = run("a", **errors(0.15, 0.3))
    write_history(path, train_loss=np.exp(-np.arange(140) / 40), dev_loss=dev)
    found = diagnose(path)
    assert remark(found, "overfitting").verdict.startswith("began at epoch")
    told = remark(found, "progress at the end")
    assert (told.verdict, told.advice) == ("past its best", "")
    assert "longer" not in " ".join(one.advice for one in found.remarks)
    assert remark(found, bv.TOPIC).advice.startswith("Keep the best weights first")
    assert found.next.text == "Keep the best weights"
    assert "training.early_stopping={monitor: dev/loss, patience: 10}" in found.next.command


def test_what_early_stopping_kept_is_the_best(run: Write) -> None:
    path = run("a", **errors(0.0, 0.01), config={"training": {"early_stopping": {"patience": 5}}})
    write_history(path, train_loss=FALLING, dev_loss=u_curve(30))
    found = diagnose(path)
    told = remark(found, "overfitting")
    assert (told.grade, told.advice) == ("good", "")
    assert found.next.command == f"nnexp eval {path}"


def test_what_early_stopping_ended_is_not_trained_longer(run: Write) -> None:
    """Though the training loss still fell."""
    training = {"early_stopping": {"patience": 5}}
    for stopping, expected in ((training, "Take a network"), ({}, "Bias first. Train longer")):
        path = run(str(len(stopping)), **errors(0.15, 0.3), config={"training": stopping})
        write_history(path, train_loss=FALLING, dev_loss=0.5 + 0 * FALLING)
        assert expected in remark(diagnose(path), bv.TOPIC).advice


def test_little_is_gained_where_all_is_well(run: Write) -> None:
    path = write_history(run("a", **errors(0.0, 0.01)), train_loss=FALLING, dev_loss=FALLING)
    found = diagnose(path)
    assert remark(found, "progress at the end").verdict == IMPROVING
    assert found.next.command == f"nnexp eval {path}"


def test_a_training_that_was_not_over_should_go_on(run: Write) -> None:
    path = write_history(run("a", **errors(0.15, 0.16)), train_loss=FALLING, dev_loss=FALLING)
    found = diagnose(path)
    told = remark(found, "progress at the end")
    assert told.verdict == IMPROVING
    assert told.advice == "Train longer: --set training.epochs=200"
    assert remark(found, bv.TOPIC).advice == told.advice
    assert found.next.command == f"nnexp train {path}/resolved.yaml --set training.epochs=200"
    (path / "checkpoint").mkdir()
    assert diagnose(path).next.command == f"nnexp train --resume {path} --epochs 200"


def test_a_rate_that_had_run_out_needs_a_new_training(run: Write) -> None:
    path = run("a", **errors(0.15, 0.16))
    write_history(path, lr=np.linspace(0.1, 0, 100), train_loss=FALLING, dev_loss=FALLING)
    told = remark(diagnose(path), "progress at the end")
    assert "--set schedule=cosine --set training.epochs=200" in told.advice
    path = run("b", **errors(0.15, 0.16), config={"schedule": {"name": "one_cycle"}})
    write_history(path, lr=np.linspace(0.1, 0, 100), train_loss=FALLING, dev_loss=FALLING)
    (path / "checkpoint").mkdir()  # such a schedule can't be gone on with
    told = remark(diagnose(path), "progress at the end")
    assert told.advice == "Train anew on a longer schedule: --set training.epochs=200"


def test_the_last_epochs_of_the_metric(run: Write) -> None:
    noise = np.random.default_rng(1).normal(0, 0.02, 40)
    for name, values, verdict in (
        ("noise", 0.9 + noise, "noise"),
        ("trend", 0.5 + 0.01 * np.arange(40) + 0.01 * noise, "a trend"),
        ("constant", np.full(40, 0.9), "constant"),
    ):
        path = write_history(run(name, **errors(0.1, 0.11)), dev_accuracy=values)
        told = remark(diagnose(path), "noise at the end")
        assert told.verdict == verdict
        sampling = math.sqrt(0.11 * 0.89 / 999)
        assert told.numbers["sampling_error"] == pytest.approx(sampling)
        assert bool(told.advice) == (verdict == "noise")


def test_too_few_epochs_tell_nothing(run: Write) -> None:
    found = diagnose(run("a", **errors(0.1, 0.1)))
    for topic in ("overfitting", "progress at the end", "noise at the end"):
        told = remark(found, topic)
        assert told.grade == "unknown"
        assert "2 epochs are recorded" in told.text
        assert told.advice == "Train longer: --set training.epochs=6"


# -- examples and classes --------------------------------------------------------------------------


def test_the_worst_examples_are_those_with_the_largest_loss(run: Write) -> None:
    table = rows(0.0, 100)
    table[7] |= {"prediction": "c", "loss": 90.0}
    path = run("a", **(errors(0.0, 0.01, 100) | {"rows": table}))
    told = remark(diagnose(path), "worst examples")
    assert told.verdict == "few carry the loss"
    assert told.numbers["examples"][0] | {"models": 1} == {
        "id": "e7", "loss": 90.0, "target": "b", "prediction": "c", "missed": 1, "models": 1,
    }  # fmt: skip
    assert told.numbers["share_of_worst_20th"] == pytest.approx(90.4 / 99.9)


def test_confused_classes_are_the_planted_ones(run: Write) -> None:
    table = rows(0.0, 300)
    for row in [row for row in table if row["target"] == "b"][:20]:
        row["prediction"] = "c"
    table[0]["prediction"] = "b"
    path = run("a", **(errors(0.0, 0.07, 300) | {"rows": table}))
    told = remark(diagnose(path), "confused classes")
    assert told.verdict == "b and c"
    assert told.numbers["pairs"][0]["count"] == 20
    assert told.numbers["mistakes"] == 21


def test_of_two_classes_the_one_that_is_missed(run: Write) -> None:
    table = [
        {"split": "dev", "id": i, "target": t, "prediction": p, "loss": 1.0}
        for i, (t, p) in enumerate([("no", "no")] * 90 + [("ill", "no")] * 8 + [("ill", "ill")] * 2)
    ]
    told = remark(diagnose(run("a", table, dev={"accuracy": 0.92})), "confused classes")
    assert told.verdict == "ill is missed more"
    assert "threshold" in told.advice


def test_of_two_classes_a_difference_that_chance_may_have_made(run: Write) -> None:
    pairs = [("a", "a")] * 37 + [("a", "b")] * 3 + [("b", "b")] * 33 + [("b", "a")] * 7
    table = [
        {"split": "dev", "id": i, "target": t, "prediction": p, "loss": 1.0}
        for i, (t, p) in enumerate(pairs)
    ]
    told = remark(diagnose(run("a", table, dev={"accuracy": 0.875})), "confused classes")
    assert told.verdict == "perhaps b is missed more"
    assert told.advice == ""


def test_class_weights_are_advised_only_where_they_can_help(run: Write) -> None:
    def told(count: int, name: str, **config: Any) -> str:
        pairs = [("no", "no")] * count + [("ill", "no")] * 20 + [("ill", "ill")] * 10
        table = [
            {"split": "dev", "id": i, "target": t, "prediction": p, "loss": 1.0}
            for i, (t, p) in enumerate(pairs)
        ]
        scores = {"accuracy": 1 - 20 / len(pairs)}
        path = run(name, table, dev=scores, config=config)
        return remark(diagnose(path), "confused classes").advice

    loss = {"name": "cross_entropy"}
    assert "class_weights" in told(300, "a", loss=loss)
    assert "class_weights" not in told(30, "b", loss=loss)
    assert "class_weights" not in told(300, "c", loss={**loss, "class_weights": "balanced"})


@pytest.mark.parametrize(
    ("pair", "total", "classes", "stands_out"),
    [(22, 196, 10, True), (10, 39, 10, True), (5, 196, 10, False), (3, 9, 3, False)],
)
def test_a_pair_stands_out_beyond_the_luckiest_of_all(
    pair: int, total: int, classes: int, stands_out: bool
) -> None:
    pairs = classes * (classes - 1) // 2
    assert _stands_out(pair, total, classes) == stands_out
    drawn = np.random.default_rng(0).multinomial(total, np.full(pairs, 1 / pairs), 2000).max(1)
    as_large = float((drawn >= pair).mean())  # Bonferroni's bound is above this
    assert not stands_out or as_large < 0.06


def test_without_a_mistake_nobody_is_sent_to_look_at_mistakes(run: Write) -> None:
    table = rows(0.0, 50)
    table[3] |= {"loss": 30.0}
    found = diagnose(run("a", **(errors(0.0, 0.0, 50) | {"rows": table})))
    told = remark(found, "worst examples")
    assert (told.verdict, told.grade, told.advice) == ("none is mistaken", "good", "")
    gap = remark(found, bv.TOPIC)
    assert gap.advice == ""
    assert gap.numbers["variance_interval"][1] > 0.02  # no error of 50 is not an error of 0
    assert "So few examples leave room for a variance of" in gap.text


def test_what_the_log_says_of_the_data_comes_first(run: Write) -> None:
    path = run("a", **errors(0.01, 0.11))
    assert "data" not in {one.topic for one in diagnose(path).remarks}
    time = "2026-11-20T10:15:02+00:00"
    (path / "log.txt").write_text(
        f"{time} impute: filled 3\n{time} split: 7 of test are in train\n{time} training 1 on cpu\n"
    )
    told = remark(diagnose(path), "data")
    assert (told.verdict, told.grade) == ("worth a look", "look")
    assert told.text == "7 of test are in train."
    with (path / "log.txt").open("a") as log:
        log.write(f"{time} fail: target in a column: told by code\n")
    found = diagnose(path)
    assert remark(found, "data").verdict == "a check failed"
    assert found.next.text == "Mend the data first"
    assert found.next.command == f"nnexp check {path}/resolved.yaml"


# -- calibration -----------------------------------------------------------------------------------


def logits(temperature: float, count: int = 4000) -> tuple[Any, Any]:
    """Outputs that are too large by a factor, and classes drawn by what they should be."""
    rng = np.random.default_rng(0)
    true = rng.normal(0, 1.5, (count, 4))
    target = np.array([rng.choice(4, p=p) for p in softmax(true, axis=1)])
    return true * temperature, target


@pytest.mark.parametrize(
    ("temperature", "verdict"),
    [(3.0, "overconfident"), (0.3, "underconfident"), (1.0, "calibrated")],
)
def test_calibration_finds_the_planted_temperature(temperature: float, verdict: str) -> None:
    outputs, target = logits(temperature)
    found = calibrate(softmax(outputs, axis=1), target, outputs)
    assert found.verdict == verdict
    best = minimize_scalar(
        lambda t: -log_softmax(outputs / t, axis=1)[np.arange(len(target)), target].mean(),
        bounds=(0.05, 20),
        method="bounded",
        options={"xatol": 1e-6},
    )
    assert found.temperature == pytest.approx(best.x, rel=1e-3)
    assert found.temperature == pytest.approx(temperature, rel=0.1)
    assert found.after is not None
    assert found.after < 0.03


@pytest.mark.parametrize(("count", "spread"), [(60, 0.5), (360, 2.0), (360, 5.0)])
def test_the_calibration_error_by_chance(count: int, spread: float) -> None:
    """Against classes drawn by the very probabilities; and such are hardly ever found wrong."""
    rng = np.random.default_rng(0)
    outputs = rng.normal(0, spread, (count, 10))
    chances = softmax(outputs, axis=1).cumsum(axis=1)
    found = []
    for _ in range(300):
        drawn = (chances > rng.random((count, 1))).argmax(axis=1)
        found.append(calibrate(softmax(outputs, axis=1), drawn))
    assert found[0].by_chance == pytest.approx(np.mean([one.ece for one in found]), rel=0.06)
    assert np.mean([one.verdict == "calibrated" for one in found]) >= 0.92


def test_one_output_is_yes_against_no() -> None:
    outputs, target = np.array([[2.0], [-1.0], [0.5]]), np.array([1.0, 0.0, 0.0])
    pair = np.hstack([np.zeros((3, 1)), outputs])
    assert fit_temperature(outputs, target) == fit_temperature(pair, target)


def test_a_run_that_is_too_sure(run: Write) -> None:
    outputs, target = logits(3.0, 1000)
    table = [
        {"split": "dev", "id": i, "target": f"k{t}", "prediction": f"k{o.argmax()}", "loss": 1.0}
        | {f"output_{k}": x for k, x in enumerate(o)}
        for i, (t, o) in enumerate(zip(target, outputs, strict=True))
    ]
    accuracy = float((outputs.argmax(1) == target).mean())
    path = run("a", table, dev={"accuracy": accuracy})
    assert remark(diagnose(path), "calibration").grade == "unknown"  # the classes' order is not
    (path / "preprocessing.json").write_text(json.dumps({"classes": ["k0", "k1", "k2", "k3"]}))
    told = remark(diagnose(path), "calibration")
    assert told.verdict == "overconfident"
    assert told.numbers["temperature"] == [pytest.approx(3.0, rel=0.15)]


# -- layers, and runs that went wrong --------------------------------------------------------------

HEALTH = """\
epoch,step,layer,mean,std,zero,dead,saturated,gradient,update
1,10,1.linear,0.1,1.0,,,,{gradient},0.001
1,10,2.relu,0.4,0.5,0.5,{early},0.0,,
1,10,3.linear,0.1,1.0,,,,1.0,0.001
2,20,1.linear,0.1,1.0,,,,{gradient},{update}
2,20,2.relu,0.4,0.5,0.5,{dead},0.0,,
2,20,3.linear,0.1,1.0,,,,1.0,0.001
"""


@pytest.mark.parametrize(
    ("planted", "verdict", "layer"),
    [
        ({}, "healthy", ""),
        ({"dead": 0.6}, "dead units", "2.relu"),
        ({"update": 0.5}, "updates too large", "1.linear"),
        ({"gradient": 1e-5}, "vanishing gradient", "1.linear"),
        ({"gradient": 0.0}, "vanishing gradient", "1.linear"),
        ({"gradient": 1e5}, "exploding gradient", "3.linear"),
    ],
)
def test_unhealthy_layers(run: Write, planted: dict[str, float], verdict: str, layer: str) -> None:
    path = run("a", **errors(0.1, 0.11))
    healthy = {"gradient": 0.5, "early": 0.0, "dead": 0.0, "update": 0.001}
    (path / "health.csv").write_text(HEALTH.format(**(healthy | planted)))
    told = remark(diagnose(path), "layers")
    assert told.verdict == verdict
    assert layer in told.text
    epochs = [trouble["epoch"] for trouble in told.numbers["troubles"]]
    assert epochs in ([], [2], [1])
    assert bool(told.advice) == bool(planted)


def test_a_gradient_that_is_zero_everywhere_vanishes_nowhere(run: Write) -> None:
    path = run("a", **errors(0.1, 0.11))
    table = "epoch,layer,gradient\n1,1.linear,{}\n1,2.relu,\n1,3.linear,0.0\n"
    for first in (0.0, 0.5):
        (path / "health.csv").write_text(table.format(first))
        assert remark(diagnose(path), "layers").verdict == "healthy"


def test_health_that_is_none(run: Write) -> None:
    path = run("a", **errors(0.1, 0.11))
    assert all(one.topic != "layers" for one in diagnose(path).remarks)
    for damaged in ("a,b\n1,2\n", "epoch,layer\nnan,1.linear\n", "epoch,layer\n,1.linear\n"):
        (path / "health.csv").write_text(damaged)
        with pytest.raises(DamagedRun, match="columns epoch, a number, and layer"):
            diagnose(path)


LOST: dict[str, Any] = {"manifest": {"status": "diverged"}, "status": "diverged"}


@pytest.mark.parametrize("lost", [0, 2])
def test_it_does_not_matter_which_member_diverged(group: Write, lost: int) -> None:
    """Of a regression, whose errors are held against the spread of the targets."""
    values = np.random.default_rng(0).normal(size=50)
    table = [
        {"split": "dev", "id": i, "target": v, "prediction": v + 0.2, "loss": 0.02}
        for i, v in enumerate(values)
    ]
    members: list[dict[str, Any]] = [
        {"rows": table, "train": {"rmse": 0.1}, "dev": {"rmse": 0.2}, "test": {"rmse": 0.2}}
        | {"task": "regression", "primary": "rmse"}
        for _ in range(3)
    ]
    nothing = {"rmse": None}
    members[lost] |= {"train": nothing, "dev": nothing, "test": nothing} | LOST
    path = group("g", members)
    (path / f"s{lost}" / "predictions.csv").unlink()
    summary = json.loads((path / "summary.json").read_text())
    known = {"train": {"rmse": {}}, "dev": {"rmse": {}}}
    (path / "summary.json").write_text(
        json.dumps(summary | {"task": "regression", "primary": "rmse"} | known)
    )
    told = remark(diagnose(path), bv.TOPIC)
    assert told.numbers["dev_error"] == pytest.approx(0.04 / values.var())
    assert len(told.numbers["members"]) == 2


def test_a_diverged_run_says_how_to_go_on(run: Write) -> None:
    nothing = {"accuracy": None}
    config = {"optimizer": {"name": "sgd", "lr": 10.0}}
    path = run(
        "a", rows(0.1), nothing, config=config, manifest={"status": "diverged"}, status="diverged"
    )
    found = diagnose(path)
    (told,) = found.remarks
    assert told.topic == "divergence"
    assert found.next.command == f"nnexp train {path}/resolved.yaml --set optimizer.lr=1"
