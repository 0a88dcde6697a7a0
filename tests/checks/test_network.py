"""Faults planted in networks, losses and rates are found."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nnexp.checks import cost, gradients, rates, signals
from nnexp.checks.learning import first_loss, overfits, regularization
from nnexp.checks.verdict import Verdict
from nnexp.components.layers.activations import Relu, Tanh
from nnexp.components.losses.classes import CrossEntropy
from nnexp.components.regularizers import L2
from nnexp.train.step import Working
from tests.checks.conftest import Checks, Subjects

DIGITS = "data: {source: digits}\npreprocessing: [{name: min_max, per: global}]\n"
PLAIN = DIGITS + "model: {name: mlp, hidden: [16, 16]}\n"


def _deep(activation: str, layers: int = 20) -> str:
    hidden = ", ".join(["16"] * layers)
    return DIGITS + f"model: {{name: mlp, hidden: [{hidden}], activation: {activation}}}\n"


def _signals(subject: Subjects, text: str) -> dict[str, Verdict]:
    return {v.name: v for v in signals.check_signals(subject(text))}


# -- first loss ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "chance"),
    [
        (PLAIN, math.log(10)),
        (PLAIN + "loss: hinge\n", 9.0),
        (PLAIN + "loss: squared_hinge\n", 9.0),
        ("data: {source: breast_cancer}\nmodel: linear\nloss: binary_cross_entropy\n", math.log(2)),
    ],
)
def test_chance_is_what_the_loss_says(subject: Subjects, text: str, chance: float) -> None:
    found = first_loss(subject(text))
    assert found.verdict == "pass"
    assert found.text.endswith(f"chance is {chance:.4g}")


def test_chance_of_mse_is_half_the_variance(subject: Subjects) -> None:
    made = subject("data: {source: diabetes}\nmodel: linear\n")
    train = made.prepared.targets[made.prepared.parts["train"]]
    found = first_loss(made)
    assert found.verdict == "pass"
    chance = float(found.text.rsplit(" ", 1)[1])
    assert chance == pytest.approx(0.5 * train.var(), rel=0.1)  # of the 256 that are looked at


def test_a_loss_far_from_chance(subject: Subjects) -> None:
    assert first_loss(subject(PLAIN + "initialization: {name: normal, std: 2}\n")).verdict == "fail"


def test_losses_of_another_size_or_sign(subject: Subjects, monkeypatch: pytest.MonkeyPatch) -> None:
    classes = "{setosa: 100, versicolor: 100, virginica: 100}"
    iris = "data: {source: iris}\nmodel: {name: mlp, hidden: [8]}\n"
    loss = f"loss: {{name: cross_entropy, class_weights: {classes}}}\n"
    found = first_loss(subject(iris + loss))
    assert (found.verdict, found.text[-20:]) == ("look", "where 1.099 is usual")
    assert first_loss(subject(iris + loss.replace("100", "2"))).verdict == "pass"
    right = CrossEntropy.per_example
    for factor, verdict in ((50.0, "look"), (0.01, "look"), (-1.0, "fail")):
        monkeypatch.setattr(
            CrossEntropy, "per_example", lambda *given, by=factor: by * right(*given)
        )
        assert first_loss(subject(iris)).verdict == verdict


# -- gradients -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        PLAIN + "regularization: {l2: 0.1, l1: 0.01}\n",
        DIGITS + "model: {name: mlp, hidden: [8], batch_norm: true, dropout: 0.5}\n",
        "data: {source: diabetes}\nmodel: {name: mlp, hidden: [8], activation: tanh}\n",
    ],
)
def test_a_right_gradient_passes(subject: Subjects, text: str) -> None:
    found = gradients.check_gradient(subject(text))
    assert found.verdict == "pass", found
    error, checked = float(found.text.split()[2]), int(found.text.split("over ")[1].split()[0])
    assert error < 1e-9  # of differences over 1e-5, not over that number in float32
    assert checked > 0


@pytest.mark.parametrize("layer", [Relu, Tanh])
def test_a_wrong_gradient_fails(
    subject: Subjects, monkeypatch: pytest.MonkeyPatch, layer: Any
) -> None:
    right = layer.pull
    monkeypatch.setattr(layer, "pull", lambda *given: 1.1 * right(*given))
    text = PLAIN + f"initialization: {layer.initialization.component}\n"
    text = text.replace("hidden: [16, 16]", f"hidden: [16, 16], activation: {layer().component}")
    found = gradients.check_gradient(subject(text))
    assert found.verdict == "fail"
    assert "linear" in found.advice
    assert found.text.endswith("1e-07 is good, 0.001 is wrong")


def test_words_are_compared_where_a_gradient_is(subject: Subjects, tmp_path: Path) -> None:
    """Few of a table's vectors get one from a few examples."""
    (tmp_path / "t.txt").write_text("the cat sat on the mat and the dog sat on the log " * 40)
    text = "data:\n  source: {name: corpus, path: t.txt, min_count: 1}\n"
    text += "  split: {train: 0.9, dev: 0.1, test: null}\nmodel: {name: skip_gram, width: 8}\n"
    made = subject(text)
    program = made.program([made.in_double])
    slopes = torch.zeros(program.layout.size)
    slopes[7] = 1.0
    picked = gradients._coordinates(program, slopes, 0)
    assert 7 in picked.tolist()
    assert len(set(picked.tolist())) == len(picked) <= gradients.COORDINATES
    assert gradients.check_gradient(made).verdict == "pass"


def test_little_time_means_fewer_coordinates(
    subject: Subjects, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gradients, "SECONDS", 0.0)
    monkeypatch.setattr(gradients, "_NUMBERS", 1)
    found = gradients.check_gradient(subject(PLAIN))
    assert (found.verdict, found.text.split("over ")[1][:2]) == ("pass", "48")


def test_a_penalty_that_the_gradient_lacks_fails(
    subject: Subjects, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(L2, "add_gradient", lambda *_: None)
    text = PLAIN + "regularization: {l2: 0.1}\n"
    assert gradients.check_gradient(subject(text)).verdict == "fail"


def test_coordinates_at_kinks_are_left_out_and_counted(subject: Subjects) -> None:
    """A start at a kink: with all weights of the first layer 0, every relu sits at its corner."""
    text = (
        PLAIN + "initialization: {name: he_normal, layers: {first: {name: constant, value: 0}}}\n"
    )
    found = gradients.check_gradient(subject(text))
    assert found.verdict == "pass"
    checked, left_out = (int(w.split()[0]) for w in found.text.split("over ")[1].split("("))
    assert checked > 0
    assert left_out > 0


def test_a_gradient_that_was_compared_nowhere_does_not_pass() -> None:
    nothing = gradients.Compared(0.0, (), 0, 10)
    found = gradients._verdict("gradient", nothing, [nothing])
    assert (found.verdict, found.text) == (
        "look",
        "nothing compared: all 10 coordinates are at kinks",
    )


@pytest.mark.parametrize(("factor", "verdict"), [(1.0, "pass"), (3.0, "fail")])
def test_what_curves_near_an_optimum_is_no_kink(
    subject: Subjects,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    factor: float,
    verdict: str,
) -> None:
    """Small targets and a start at 0: the loss bends more than it falls, and is smooth."""
    x, y = np.random.default_rng(0).normal(size=(200, 3)), np.random.default_rng(1).normal(size=200)
    rows = [f"{a:.4f},{b:.4f},{c:.4f},{1e-2 * t:.6f}" for (a, b, c), t in zip(x, y, strict=True)]
    (tmp_path / "small.csv").write_text("\n".join(["a,b,c,y", *rows]))
    right = Working.gradients

    def wrong(*given: Any) -> Any:
        losses, grads = right(*given)
        return losses, factor * grads

    monkeypatch.setattr(Working, "gradients", wrong)
    text = "data: {source: {name: csv, path: small.csv, target: y}, scale_target: false}\n"
    text += "model: linear\ninitialization: {name: constant, value: 0}\n"
    found = gradients.check_gradient(subject(text))
    assert found.verdict == verdict
    assert "over 8 coordinates" in found.text  # all of them, twice


# -- signals ---------------------------------------------------------------------------------------


def test_sound_signals_pass(subject: Subjects) -> None:
    for text in (PLAIN, _deep("relu", 8), _deep("tanh")):
        found = _signals(subject, text)
        assert {v.verdict for v in found.values()} == {"pass"}, found


def test_signals_that_vanish(subject: Subjects) -> None:
    found = _signals(subject, _deep("tanh") + "initialization: {name: normal, std: 0.05}\n")
    assert found["signal"].verdict == found["gradient size"].verdict == "fail"
    assert "vanish" in found["signal"].advice


def test_gradients_that_vanish_behind_sigmoids(subject: Subjects) -> None:
    found = _signals(subject, _deep("sigmoid") + "initialization: {name: normal, std: 0.3}\n")
    assert found["gradient size"].verdict == "fail"
    assert "vanish" in found["gradient size"].advice


def test_signals_that_explode(subject: Subjects) -> None:
    found = _signals(subject, _deep("relu") + "initialization: {name: normal, std: 2}\n")
    assert found["signal"].verdict == found["gradient size"].verdict == "fail"
    assert "explode" in found["signal"].advice


def test_units_that_are_saturated_dead_or_alike(subject: Subjects) -> None:
    text = PLAIN.replace("[16, 16]", "[16, 16], activation: tanh")
    found = _signals(subject, text + "initialization: {name: normal, std: 20}\n")
    assert found["saturated units"].verdict == "fail"
    start = "initialization: {name: constant, value: -0.1}\n"
    found = _signals(subject, PLAIN + start)
    assert found["dead units"].verdict == "fail"
    assert found["identical units"].verdict == "fail"


def test_a_first_step_that_is_far_too_long(subject: Subjects) -> None:
    assert _signals(subject, PLAIN)["update size"].verdict == "pass"
    text = PLAIN + "optimizer: {name: adam, lr: 100}\n"
    found = _signals(subject, text)["update size"]
    assert found.verdict == "fail"
    assert "a lower `optimizer.lr`" in found.advice
    found = _signals(subject, PLAIN + "optimizer: {name: sgd, lr: 1e-7}\n")["update size"]
    assert found.verdict == "look"
    assert found.advice.endswith("a higher `optimizer.lr`")
    found = _signals(subject, PLAIN + "initialization: {name: constant, value: -0.1}\n")
    assert "no gradient comes" in found["update size"].advice


def test_a_last_layer_that_starts_at_0_is_told_after_two_updates(subject: Subjects) -> None:
    """No gradient passes it at the start; where none does later either, it is a fault."""
    zero = "{name: constant, value: 0}"
    start = f"initialization: {{name: he_normal, layers: {{output: {zero}}}}}\n"
    found = _signals(subject, _deep("relu", 3) + start)
    assert {v.verdict for v in found.values()} == {"pass"}
    assert found["gradient size"].text.startswith("gradients after 2 updates from 5.linear")
    found = _signals(subject, _deep("relu", 3) + f"initialization: {zero}\n")
    assert found["gradient size"].verdict == "fail"
    full = "optimizer: lbfgs\ntraining: {batch_size: full}\n"
    found = _signals(subject, _deep("relu", 3) + start + full)
    assert found["gradient size"].verdict == "pass"
    assert found["gradient size"].text.endswith("not to be told")


def test_the_gradient_of_a_signal_is_an_example_s(subject: Subjects) -> None:
    """Of ½ (ŷ − y)² by ŷ it is ŷ − y, however many examples there are."""
    made = subject("data: {source: diabetes}\nmodel: linear\n")
    layer = signals.signals(made)[-1]
    x, y = made.batch(signals.EXAMPLES, draw=4)
    weight, bias = made.working(made.program([made.experiment])).program.layout.views(made.start)
    error = x[0].double() @ weight[0].double() + bias[0].double() - y[0].double()
    assert layer.gradient == pytest.approx(float(error.square().mean().sqrt()), rel=1e-5)


# -- learning --------------------------------------------------------------------------------------


def test_a_few_examples_are_learnt_unless_nothing_can_be(subject: Subjects) -> None:
    assert overfits(subject(PLAIN)).verdict == "pass"
    found = overfits(subject(PLAIN + "initialization: {name: constant, value: 0}\n"))
    assert found.verdict == "fail"


def test_penalties_raise_the_loss_but_do_not_drown_it(subject: Subjects) -> None:
    found = regularization(subject(PLAIN + "regularization: {l2: 1e-3}\n"))
    before, after = (float(w) for w in found.text.rsplit("from ", 1)[1].split(" to "))
    assert found.verdict == "pass"
    assert after > before
    assert regularization(subject(PLAIN + "regularization: {l2: 1e3}\n")).verdict == "fail"
    assert regularization(subject(PLAIN)).text == "none is asked for"


@pytest.mark.parametrize(("lr", "verdict"), [(1e-2, "pass"), (300.0, "fail"), (1e-9, "fail")])
def test_learning_rates(subject: Subjects, lr: float, verdict: str) -> None:
    made = subject(PLAIN + f"optimizer: {{name: adam, lr: {lr}}}\n")
    found = rates.range_test(made)
    assert found is not None
    assert found.low is not None
    assert found.high is not None
    assert 1e-5 < found.low <= found.high < 1.0
    assert rates.check_rate(made, found).verdict == verdict


def test_a_rate_at_which_the_loss_has_long_left(subject: Subjects) -> None:
    """Also where it falls at no lower one."""
    found = rates.judge_curve(np.geomspace(1e-6, 1e-2, 41).tolist(), [*[2.0] * 40, 9.0])
    assert found.low is None
    assert found.diverged == pytest.approx(1e-2)
    made = subject(PLAIN + "optimizer: {name: adam, lr: 0.2}\n")
    told = rates.check_rate(made, found)
    assert (told.verdict, told.advice) == ("fail", "`optimizer.lr` far below 1.0e-02")
    low = rates.judge_curve(
        np.geomspace(1e-4, 1.0, 41).tolist(),
        [2.0, 1.7, *[2.0] * 18, *np.linspace(1.9, 1.0, 21).tolist()],
    )
    assert low.low is not None
    assert low.low > 1e-3  # where it falls for good, not where noise dips


def test_the_bounds_of_a_curve() -> None:
    lrs = np.geomspace(1e-6, 1.0, 121).tolist()
    flat, fall = [2.0] * 60, np.linspace(2.0, 1.0, 41).tolist()
    found = rates.judge_curve(lrs, [*flat, *fall, *np.linspace(1.0, 9.0, 20).tolist()])
    assert found.low == pytest.approx(lrs[64])
    assert found.high == pytest.approx(lrs[100] / 3)
    assert found.diverged is not None
    assert lrs[100] < found.diverged < lrs[110]
    none = rates.judge_curve(lrs, [2.0] * 121)
    assert (none.low, none.high, none.diverged) == (None, None, None)


def test_a_curve_whose_first_loss_is_the_lowest() -> None:
    """A lucky first batch: nothing falls after it; or something does, from where it usually is."""
    lrs = np.geomspace(1e-6, 1.0, 121).tolist()
    for rest in (2.0, 3.0):
        found = rates.judge_curve(lrs, [1.0, *[rest] * 120])
        assert (found.low, found.high) == (None, None)
    fall = np.linspace(2.0, 1.0, 60).tolist()
    found = rates.judge_curve(lrs, [0.5, *[2.0] * 60, *fall])
    assert found.low is not None
    assert found.low == pytest.approx(lrs[67])
    assert found.high == pytest.approx(lrs[120] / 3)


@given(st.lists(st.floats(0.0, 1e6) | st.just(math.inf), min_size=1, max_size=130))
def test_any_curve_can_be_judged(losses: list[float]) -> None:
    found = rates.judge_curve(np.geomspace(1e-7, 100.0, len(losses)).tolist(), losses)
    assert (found.low is None) == (found.high is None)
    assert found.low is None or found.high is None or found.low <= found.high


def test_second_order_has_no_rate_to_test(subject: Subjects) -> None:
    text = "data: {source: diabetes}\nmodel: linear\noptimizer: lbfgs\n"
    made = subject(text + "training: {batch_size: full}\n")
    assert rates.range_test(made) is None
    assert rates.check_rate(made, None).verdict == "pass"


# -- cost ------------------------------------------------------------------------------------------


def test_more_memory_than_there_is(checks: Checks, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cost, "free_memory", lambda: 10_000)
    found = checks(PLAIN)
    assert found["memory"].verdict == "fail"
    assert "first loss" not in found  # nothing is allocated then


def test_a_training_that_takes_long(subject: Subjects, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cost, "LONG", math.inf)
    assert cost.check_time(subject(PLAIN)).verdict == "pass"
    monkeypatch.setattr(cost, "LONG", 1e-9)
    assert cost.check_time(subject(PLAIN)).verdict == "look"
    monkeypatch.setattr(cost, "LONG", 1e6)
    text = PLAIN + "training: {epochs: 10000000, max_minutes: 0.001}\n"
    found = cost.check_time(subject(text))
    assert (found.verdict, found.text[-20:]) == ("pass", "it ends after 0.06 s")


# -- leaving no trace ------------------------------------------------------------------------------


def test_checks_change_nothing(subject: Subjects) -> None:
    made = subject(PLAIN)
    state, before = torch.get_rng_state(), made.pack.start().tensors["params"].clone()
    signals.check_signals(made)
    overfits(made)
    rates.range_test(made)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(made.start, before)
    assert torch.equal(made.pack.start().tensors["params"], before)
