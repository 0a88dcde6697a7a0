"""A member in a pack is the member alone: streams exactly, a step to 1e-12, short runs to 1e-9."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from nnexp.components.layer import Layer
from nnexp.components.layers.activations import Activation
from nnexp.components.losses.loss import Loss
from nnexp.components.samplers import Uniform
from nnexp.components.schedules import Progress
from nnexp.train import step
from nnexp.train.feed import at
from nnexp.train.loop import Hooks, Pack, train
from nnexp.train.program import Program
from nnexp.train.state import TrainState

VARIED = [
    {"optimizer": {"name": "adam", "lr": 1e-3}, "schedule": "constant", "initialization": "auto"},
    {
        "optimizer": {"name": "adam", "lr": 5e-4, "beta1": 0.8},
        "schedule": {"name": "one_cycle"},
        "initialization": "he_normal",
    },
    {
        "optimizer": {"name": "adam", "lr": 2e-4, "beta2": 0.99},
        "schedule": {"name": "step", "every": 1, "warmup": {"steps": 5}},
        "initialization": "orthogonal",
    },
    {
        "optimizer": {"name": "adam", "lr": 9e-4},
        "schedule": "newbob",
        "initialization": {"name": "normal", "std": 0.05},
    },
]
MODELS: dict[str, tuple[dict[str, Any], tuple[int, ...]]] = {
    "mlp": ({"name": "mlp", "hidden": [12, 8], "dropout": 0.3}, (6,)),
    "wide": ({"name": "mlp", "hidden": [24], "dropout": 0.3, "batch_norm": True}, (784,)),
    "batch_norm": (
        {"name": "mlp", "hidden": [12], "activation": "swish", "batch_norm": True, "dropout": 0.2},
        (6,),
    ),
    "cnn": (
        {"name": "cnn", "channels": [3, 4], "hidden": [6], "batch_norm": True, "dropout": 0.25},
        (2, 8, 8),
    ),
}


def varied(experiment: Any, count: int, model: dict[str, Any]) -> list[Any]:
    """Members that differ in rate, schedule, initialization, L2, dropout, clipping and seed."""
    members = []
    for number in range(count):
        keys = VARIED[number % len(VARIED)]
        training = {
            "epochs": 3,
            "batch_size": 16,
            "precision": "float64",
            "clip_grad_norm": 0.5 + 0.1 * (number % 3),
        }
        own = {**model, "dropout": model["dropout"] * (1 - 0.05 * (number % 5))}
        l2 = {"l2": 1e-3 * (1 + number % 4), "weight_decay": 1e-3 * (number % 2)}
        members.append(
            experiment(seed=number, model=own, regularization=l2, training=training, **keys)
        )
    return members


def one_step(pack: Pack, rows: list[int], state: TrainState, number: int) -> dict[str, Any]:
    """The tensors of some members after one step from a state of the whole pack."""
    program = pack.program(rows)
    tensors = {k: v[rows].clone() for k, v in state.tensors.items()}
    working = step.Working(program, tensors)
    index, positions = pack.feed.rows("train", rows), working.order(pack.feed, 0, rows, 16)
    x, y = pack.feed.gather(at(index, positions[:, :16]), program.size)
    members = [state.members[r] for r in rows]
    lr, momentum = step.rates(program, members, Progress(number, 4, 12))
    working.step(x, y, number, lr, momentum)
    return tensors


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("count", [1, 2, 7, 64])
def test_one_step_in_a_pack_is_one_step_alone(
    experiment: Any, pack: Any, model: str, count: int
) -> None:
    config, shape = MODELS[model]
    together = pack(varied(experiment, count, config), shape)
    state = together.start()
    for number in range(5):  # from five states: 20 over the four models
        for tensor in one_step(together, list(range(count)), state, number).values():
            assert torch.isfinite(tensor).all()
        after = one_step(together, list(range(count)), state, number)
        for member in {0, count // 2, count - 1}:
            alone = one_step(together, [member], state, number)
            for name, tensor in alone.items():
                if not tensor.numel():
                    continue
                scale = max(float(tensor.abs().max()), 1e-30)
                apart = float((after[name][member] - tensor[0]).abs().max())
                assert apart <= 1e-12 * scale, (name, number, member)
        state.tensors = after


IMAGE_LAYERS: list[Any] = [
    {"name": "conv2d", "channels": 3}, "local_response_norm",
    {"name": "dropout", "rate": 0.3, "shared": [1, 2]},
    {"name": "residual", "layers": [{"name": "conv2d", "channels": 4, "stride": 2}, "batch_norm"]},
    {"name": "max_pool2d", "size": 3, "stride": 1, "padding": 1}, "avg_pool2d",
    {"name": "conv_transpose2d", "channels": 3}, "layer_norm", "upsample",
    {"name": "local_response_norm", "within": True, "size": 3}, "global_avg_pool", "linear",
]  # fmt: skip
SIGNAL_LAYERS: list[Any] = [
    {"name": "reshape", "shape": [2, 12]},
    {"name": "conv1d", "channels": 3}, "max_pool1d",
    {"name": "residual", "layers": [{"name": "conv1d", "channels": 4}, "tanh"]},
    {"name": "avg_pool1d", "size": 3, "stride": 1}, "global_max_pool", "linear",
]  # fmt: skip
OTHERS: dict[str, tuple[dict[str, Any], tuple[int, ...]]] = {
    "image": ({"name": "sequential", "layers": IMAGE_LAYERS}, (2, 8, 8)),
    "signal": ({"name": "sequential", "layers": SIGNAL_LAYERS}, (24,)),
    "residual": (
        {"name": "residual", "blocks": 3, "width": 9, "batch_norm": True, "dropout": 0.3},
        (6,),
    ),
    "swish beta": (
        {"name": "mlp", "hidden": [9], "activation": {"name": "swish", "trainable": True}},
        (6,),
    ),
    **{
        a: ({"name": "mlp", "hidden": [9, 7], "activation": a}, (6,)) for a in Activation.registered
    },
}


@pytest.mark.parametrize("model", OTHERS)
def test_one_step_of_every_layer_in_a_pack_is_one_step_alone(
    experiment: Any, pack: Any, model: str
) -> None:
    config, shape = OTHERS[model]
    training = {"epochs": 3, "batch_size": 16, "precision": "float64"}
    members = [experiment(seed=s, model=config, training=training) for s in range(3)]
    together = pack(members, shape)
    state = together.start()
    for number in range(3):
        after = one_step(together, [0, 1, 2], state, number)
        assert not torch.equal(after["params"], state.tensors["params"])
        for member in range(3):
            for name, tensor in one_step(together, [member], state, number).items():
                if tensor.numel():
                    scale = max(float(tensor.abs().max()), 1e-30)
                    apart = float((after[name][member] - tensor[0]).abs().max())
                    assert apart <= 1e-12 * scale, (name, number, member)
        state.tensors = after


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_trajectories_of_tanh_nets_stay_together(
    experiment: Any, pack: Any, optimizer: str
) -> None:
    model = {"name": "mlp", "hidden": [12, 8], "activation": "tanh"}
    training = {"epochs": 25, "batch_size": 16, "precision": "float64"}  # 4 steps an epoch
    members = [
        experiment(seed=s, model=model, optimizer={"name": optimizer, "lr": lr}, training=training)
        for s, lr in enumerate([1e-3, 3e-4, 1e-4])
    ]
    together = pack(members)
    now = together.start()
    train(together, now, Hooks())
    assert now.step == 100
    for number, member in enumerate(members):
        alone = pack([member])
        state = alone.start()
        train(alone, state, Hooks())
        torch.testing.assert_close(
            now.tensors["params"][number], state.tensors["params"][0], rtol=1e-9, atol=1e-12
        )
        for mine, other in zip(now.members[number].history, state.members[0].history, strict=True):
            assert mine == pytest.approx(other, rel=1e-9)


def test_streams_do_not_depend_on_the_pack(experiment: Any, pack: Any) -> None:
    members = [experiment(seed=s) for s in range(7)]
    together, alone = pack(members), pack([members[4]])
    assert torch.equal(together.start().tensors["params"][4], alone.start().tensors["params"][0])
    for epoch in (0, 3):
        seeds = [m.seed for m in members]
        order = together.feed.order(Uniform(), epoch, seeds, range(7), {}, 16)
        assert torch.equal(order[4], alone.feed.order(Uniform(), epoch, [4], [0], {}, 16)[0])
    many, one = together.program(range(7)), alone.program([0])
    assert many.dropout_keys[4] == one.dropout_keys[0]


def test_members_with_one_seed_share_the_order(experiment: Any, pack: Any) -> None:
    members = [experiment(seed=3, optimizer={"name": "sgd", "lr": lr}) for lr in (0.1, 0.01)]
    together = pack(members)
    order = together.feed.order(Uniform(), 0, [3, 3], [0, 1], {}, 16)
    assert order.shape[0] == 1
    x, y = together.feed.gather(order[:, :16], 2)
    assert x.shape == (2, 16, 6)
    assert y.shape == (2, 16)
    now = together.start()
    train(together, now, Hooks())
    alone = pack(members[1:])
    state = alone.start()
    train(alone, state, Hooks())
    torch.testing.assert_close(
        now.tensors["params"][1], state.tensors["params"][0], rtol=1e-9, atol=1e-12
    )


def test_a_member_that_diverges_harms_nobody(experiment: Any, pack: Any) -> None:
    calm = {"name": "sgd", "lr": 1e-2}
    wild = {"name": "sgd", "lr": 1000.0}
    model = {"name": "mlp", "hidden": [12, 8], "activation": "identity"}
    training = {"epochs": 6, "batch_size": 8, "precision": "float64"}
    hinge = {"model": model, "loss": "hinge", "regularization": {"l2": 1.0}, "training": training}
    members = [experiment(seed=s, optimizer=o, **hinge) for s, o in enumerate([calm, wild, calm])]
    together = pack(members)
    now = together.start()
    train(together, now, Hooks())
    assert [m.status for m in now.members] == ["finished", "diverged", "finished"]
    assert torch.isfinite(now.tensors["params"][[0, 2]]).all()
    alone = pack(members[2:])
    state = alone.start()
    train(alone, state, Hooks())
    torch.testing.assert_close(
        now.tensors["params"][2], state.tensors["params"][0], rtol=1e-9, atol=1e-12
    )


def test_members_leave_when_they_stop(experiment: Any, pack: Any) -> None:
    def member(seed: int, patience: int) -> Any:
        training = {
            "epochs": 12,
            "batch_size": 16,
            "precision": "float64",
            "early_stopping": {"monitor": "dev/accuracy", "patience": patience, "min_delta": 0.5},
        }
        return experiment(seed=seed, training=training)

    members = [member(0, 2), member(1, 2)]
    together = pack(members)
    now = together.start()
    train(together, now, Hooks())
    for number, m in enumerate(now.members):
        assert m.status == "stopped"
        assert len(m.history) == m.best_epoch + 3  # patience of 2, and the epoch that exceeds it
        alone = pack([members[number]])
        state = alone.start()
        train(alone, state, Hooks())
        assert state.members[0].best_epoch == m.best_epoch
        for name in ("params", "best_params"):
            torch.testing.assert_close(
                now.tensors[name][number], state.tensors[name][0], rtol=1e-9, atol=1e-12
            )


@pytest.mark.parametrize("precision", ["float32", "bf16", "float64"])
def test_each_precision_learns(experiment: Any, pack: Any, precision: str) -> None:
    training = {"epochs": 20, "batch_size": 8, "precision": precision}
    model = {"name": "mlp", "hidden": [16], "batch_norm": True}
    one = pack([experiment(model=model, training=training, optimizer={"name": "adam", "lr": 0.01})])
    now = one.start()
    train(one, now, Hooks())
    assert now.tensors["params"].dtype is (
        torch.float64 if precision == "float64" else torch.float32
    )
    assert now.members[0].history[-1]["train/accuracy"] > 0.9


def test_first_loss_is_chance(experiment: Any, pack: Any) -> None:
    for activation in ("relu", "tanh", "sigmoid", "swish"):
        model = {"name": "mlp", "hidden": [64, 32], "activation": activation}
        one = pack([experiment(model=model)], shape=(30,), classes=10)
        program: Program = one.program([0])
        working = step.Working(program, one.start().tensors)
        x, y = one.feed.gather(one.feed.rows("train", [0]), 1)
        losses, _ = working.gradients(x, y, 0)
        assert float(losses[0].mean()) == pytest.approx(np.log(10), rel=0.05)


CLOSED: dict[str, dict[str, Any]] = {
    "relu": {"hidden": [24, 12]},
    "tanh": {"hidden": [20], "activation": "tanh", "dropout": 0.4},
    "sigmoid": {"hidden": [20], "activation": "sigmoid", "bias": False, "input_dropout": 0.2},
    "identity": {"hidden": [9], "activation": "identity"},
    **{
        name: {"hidden": [12, 9], "activation": name}
        for name in (
            *("step", "leaky_relu", "softplus", "scaled_tanh", "tanh_linear"),
            *("elu", "selu", "softmax"),
        )
    },
    "batch_norm": {"hidden": [24, 9], "batch_norm": True, "dropout": 0.1},
}


CLOSED_LOSSES = (
    "cross_entropy", "binary_cross_entropy", "hinge", "squared_hinge", "mse", "l1", "huber",
    "l2_distance", "multilabel_bce", "multilabel_hinge", "hierarchical_softmax",
)  # fmt: skip


@pytest.mark.parametrize("loss", CLOSED_LOSSES)
@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("model", CLOSED)
def test_gradients_in_closed_form_are_autograds(
    experiment: Any, pack: Any, model: str, count: int, loss: str
) -> None:
    tasks = getattr(Loss.registered[loss], "tasks")
    task: dict[str, Any] = (
        {} if "classification" in tasks else {"task": tasks[0], "metrics": ["loss"]}
    )
    members = [
        experiment(seed=s, model={"name": "mlp", **CLOSED[model]}, loss=loss, **task)
        for s in range(count)
    ]
    one = pack(members, classes=2)
    if task:
        one.feed.targets = torch.randn(90, 2, dtype=torch.float64)
    if tasks == ("multilabel",):
        one.feed.targets = (one.feed.targets > 0).double()
    program, tensors = one.program(range(count)), one.start().tensors
    assert program.closed_form
    tensors["params"].add_(torch.randn_like(tensors["params"]), alpha=0.1)
    x, y = one.feed.gather(one.feed.rows("train", range(count))[:, :16], count)
    buffers = tensors["buffers"].clone()
    losses, grads = step.Working(program, tensors).gradients(x, y, 3)
    after = tensors["buffers"].clone()
    tensors["buffers"].copy_(buffers)
    program.closed_form = False
    derived_losses, derived = step.Working(program, tensors).gradients(x, y, 3)
    torch.testing.assert_close(losses, derived_losses, rtol=1e-12, atol=0)
    torch.testing.assert_close(grads, derived, rtol=1e-11, atol=1e-13)
    torch.testing.assert_close(after, tensors["buffers"], rtol=1e-12, atol=0)


def test_what_has_a_closed_form_is_tested() -> None:
    layers = {name for name, layer in Layer.registered.items() if layer.closed_form()}
    assert layers == {
        *("batch_norm", "linear", "flatten", "reshape", "dropout", "rbf"),
        *("identity", "step", "relu", "leaky_relu", "softplus", "sigmoid", "tanh"),
        *("scaled_tanh", "tanh_linear", "elu", "selu", "softmax"),
    }
    losses = {name for name, loss in Loss.registered.items() if loss.closed_form()}
    assert losses == set(CLOSED_LOSSES)
