"""The loop: going on from any instant gives the same bits; members stop when they should."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
import torch

from nnexp.config.experiment import Experiment
from nnexp.train import step
from nnexp.train.blueprint import Signature
from nnexp.train.feed import batch_bounds
from nnexp.train.loop import Hooks, _observe, train
from nnexp.train.state import MemberState, TrainState

CONFIGS: dict[str, dict[str, Any]] = {
    "mlp": {"model": {"name": "mlp", "hidden": [8], "batch_norm": True, "dropout": 0.2}},
    "cnn": {"model": {"name": "cnn", "channels": [3], "hidden": [5], "dropout": 0.2}},
    "cycle": {"schedule": "one_cycle", "optimizer": "nesterov"},
    "newbob": {"schedule": {"name": "newbob", "floor": 0.2}, "optimizer": "rmsprop"},
    "hard": {"sampler": "hard_examples", "model": {"name": "mlp", "hidden": [8], "dropout": 0.2}},
    "balanced": {
        "sampler": "class_balanced",
        "loss": {"name": "hinge", "class_weights": "balanced"},
    },
    "diverse": {
        "sampler": "class_diverse",
        "optimizer": {"name": "adam", "layers": {"first": 0.1}},
    },
    "stopping": {"regularization": {"l2": 1e-3, "l1": {"coefficient": 1e-3, "step": "proximal"}}},
}


def frozen(now: TrainState) -> tuple[dict[str, torch.Tensor], str]:
    """A copy that goes through text, as a checkpoint does."""
    return {k: v.clone() for k, v in now.tensors.items()}, json.dumps(now.to_json())


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("config", CONFIGS)
def test_going_on_from_any_step_gives_the_same_bits(
    experiment: Any, pack: Any, config: str, count: int
) -> None:
    training = {"epochs": 4, "batch_size": 16, "precision": "float32"}
    if config == "stopping":
        training["early_stopping"] = {"monitor": "dev/loss", "patience": 0, "smooth": 0.5}
    shape = (2, 6, 6) if config == "cnn" else (6,)
    members = [experiment(seed=s, training=training, **CONFIGS[config]) for s in range(count)]
    one = pack(members, shape)
    saved: list[tuple[dict[str, torch.Tensor], str]] = []
    whole = one.start()
    train(one, whole, Hooks(lambda: True, lambda now: saved.append(frozen(now))))
    assert len(saved) >= whole.step - 1 > 3
    for tensors, text in saved:
        again = TrainState.from_parts(tensors, json.loads(text), one.device)
        train(one, again, Hooks())
        for name, tensor in whole.tensors.items():
            assert torch.equal(tensor, again.tensors[name]), name
        assert again.to_json() == whole.to_json()


def test_a_finished_run_trained_longer_is_a_longer_run(experiment: Any, pack: Any) -> None:
    def member(epochs: int) -> Any:
        return experiment(training={"epochs": epochs, "batch_size": 16, "precision": "float32"})

    short, long = pack([member(2)]), pack([member(5)])
    now, whole = short.start(), long.start()
    train(short, now, Hooks())
    now.continue_to(long.updates)
    train(long, now, Hooks())
    train(long, whole, Hooks())
    assert torch.equal(now.tensors["params"], whole.tensors["params"])
    assert now.to_json() == whole.to_json()


@pytest.mark.parametrize("steps", [1, 4, 5, 10])
def test_training_for_some_updates(experiment: Any, pack: Any, steps: int) -> None:
    training = {"steps": steps, "batch_size": 16, "precision": "float32"}
    one = pack([experiment(training=training, schedule="one_cycle")])  # 4 updates an epoch
    now, saved = one.start(), list[Any]()
    train(one, now, Hooks(lambda: True, lambda now: saved.append(frozen(now))))
    history = now.members[0].history
    assert (now.step, now.members[0].status) == (steps, "finished")
    assert [row["step"] for row in history] == [*range(4, steps, 4), steps]
    assert [row["epoch"] for row in history] == list(range(1, len(history) + 1))
    peak, last = 1e-3, history[-1]["lr"]
    assert last < peak / 1000 or steps == 1  # the cycle ends with the last update
    for tensors, text in saved:
        again = TrainState.from_parts(tensors, json.loads(text), one.device)
        train(one, again, Hooks())
        assert torch.equal(again.tensors["params"], now.tensors["params"])
        assert again.to_json() == now.to_json()


def test_the_step_loss_of_a_part_of_an_epoch_is_its_mean(experiment: Any, pack: Any) -> None:
    def trained(steps: int) -> tuple[TrainState, list[float]]:
        training = {"steps": steps, "batch_size": 10, "precision": "float64"}
        one = pack([experiment(training=training)])
        now, sums = one.start(), list[float]()
        keep = lambda now: sums.append(float(now.tensors["loss_sum"][0]))  # noqa: E731
        train(one, now, Hooks(lambda: True, keep))
        return now, sums

    longer, sums = trained(4)
    for steps in (1, 2, 3):
        row = trained(steps)[0].members[0].history[-1]
        assert row["train/step_loss"] == pytest.approx(sums[steps - 1] / steps, rel=1e-12)
    assert longer.members[0].history[-1]["train/step_loss"] > sums[2] / 4


def test_time_that_is_up_ends_training_where_it_is(experiment: Any, pack: Any) -> None:
    one = pack([experiment(seed=s) for s in range(2)])
    now, asked = one.start(), iter(range(100))
    train(one, now, Hooks(expired=lambda: next(asked) == 5))
    assert now.step == 6  # in the second of 4-update epochs
    assert [m.status for m in now.members] == ["stopped", "stopped"]
    assert [row["step"] for row in now.members[0].history] == [4, 6]
    now.continue_to(100)
    assert not now.active


def test_online_learning_follows_a_target_that_drifts(experiment: Any, pack: Any) -> None:
    """With old arrivals fading, the newest ones are predicted better than with all of the past."""

    def late_error(forgetting: float) -> float:
        members = [
            experiment(
                seed=seed,
                model="linear",
                task="regression",
                loss="mse",
                metrics=["loss"],
                optimizer={"name": "sgd", "lr": 0.05},
                sampler={"name": "stream", "forgetting": forgetting},
                training={"epochs": 1, "batch_size": 4, "precision": "float64"},
            )
            for seed in range(5)
        ]
        one = pack(members, shape=(3,), classes=1, rows=540)
        x = one.feed.inputs
        assert x is not None
        angle = torch.arange(540, dtype=torch.float64) / 540 * 3.0  # the rule turns, row by row
        one.feed.targets = (x[:, 0] * angle.cos() + x[:, 1] * angle.sin())[:, None]
        one.feed.parts["train"] = torch.arange(540)[None]
        one.signature = Signature((3,), 1, 540)
        now, errors = one.start(), list[float]()
        program = one.program(range(5))
        working = step.Working(program, now.tensors)
        order = working.order(one.feed, 0, range(5), 4)
        for number in range(540):
            at = order[:, 4 * number : 4 * number + 4]
            x_mb, y_mb = one.feed.gather(at, 5)
            losses = working.step(x_mb, y_mb, number, 0.05, None)
            errors.append(float(losses[:, 0].mean()))  # the arrival, before it was learnt from
        return float(np.mean(errors[270:]))

    assert late_error(0.9) < 0.5 * late_error(1.0)


def test_no_dev_split_trains_to_the_last_epoch(experiment: Any, pack: Any) -> None:
    one = pack([experiment()])
    del one.feed.parts["dev"]
    now = one.start()
    train(one, now, Hooks())
    row = now.members[0].history[-1]
    assert now.members[0].status == "finished"
    assert not any(key.startswith("dev/") for key in row)
    assert torch.equal(now.tensors["params"], now.tensors["best_params"])


def test_what_is_recorded(experiment: Any, pack: Any) -> None:
    model = {"name": "mlp", "hidden": [32], "dropout": 0.5}
    one = pack([experiment(model=model, regularization={"l2": 0.1})])
    now = one.start()
    train(one, now, Hooks())
    rows = now.members[0].history
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    assert [row["step"] for row in rows] == [4, 8, 12]
    row = rows[-1]
    assert row["train/error"] == pytest.approx(1 - row["train/accuracy"])
    # in evaluation mode dropout is off, so the loss is not the one that the steps saw
    assert row["train/step_loss"] != pytest.approx(row["train/loss"], rel=1e-3)
    weights = [
        t for name, t in one.program([0]).layout.named(now.tensors["params"][0]).items()
        if name.endswith("weight")
    ]  # fmt: skip
    assert row["train/penalty"] == pytest.approx(
        0.05 * sum(float(w.square().sum()) for w in weights)
    )


def test_newbob_stops_below_its_floor(experiment: Any, pack: Any) -> None:
    schedule = {"name": "newbob", "decay": 0.1, "floor": 0.5, "threshold": 0.9}
    training = {"epochs": 50, "batch_size": 16, "precision": "float64"}
    one = pack([experiment(schedule=schedule, training=training)])
    now = one.start()
    train(one, now, Hooks())
    assert now.members[0].status == "stopped"
    assert len(now.members[0].history) < 50


def test_train_metrics_on_a_fixed_sample(experiment: Any, pack: Any) -> None:
    training = {"epochs": 1, "batch_size": 16, "precision": "float64", "train_sample": 10}
    one = pack([experiment(training=training)])
    now = one.start()
    train(one, now, Hooks())
    share = now.members[0].history[0]["train/accuracy"]
    assert share * 10 == pytest.approx(round(share * 10))


def test_batches() -> None:
    assert batch_bounds(10, 4, False) == [(0, 4), (4, 8), (8, 10)]
    assert batch_bounds(9, 4, False) == [(0, 4), (4, 8), (8, 9)]
    assert batch_bounds(9, 4, True) == [(0, 4), (4, 9)]
    assert batch_bounds(1, 4, True) == [(0, 1)]
    assert batch_bounds(8, 8, True) == [(0, 8)]


def test_a_value_that_is_not_finite_is_no_best_and_no_end() -> None:
    member = MemberState()
    experiment = Experiment.model_validate(
        {
            "data": {"source": "digits"},
            "model": "linear",
            "training": {"early_stopping": {"monitor": "dev/loss", "patience": 3}},
        }
    )
    improved = []
    for epoch, value in enumerate([math.inf, 3.0, math.nan, 2.0], 1):
        member.history.append(
            {"epoch": epoch, "train/loss": 1.0, "train/step_loss": 1.0, "dev/loss": value}
        )
        improved.append(_observe(member, experiment))
    assert improved == [False, True, False, True]
    assert (member.best, member.best_epoch, member.status) == (2.0, 4, "training")
