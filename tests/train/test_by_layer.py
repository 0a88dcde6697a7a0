"""What acts on some layers only, and classes that weigh more than others."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from nnexp.components.layout import Layout
from nnexp.errors import ConfigError
from nnexp.train import step
from nnexp.train.blueprint import check_model
from nnexp.train.loop import Hooks, Pack, train


def tensors(pack: Pack, flat: torch.Tensor) -> dict[str, torch.Tensor]:
    layout: Layout = pack.program([0]).layout
    return layout.named(flat[0])


def moved(pack: Pack) -> dict[str, torch.Tensor]:
    """How far each tensor of the first member has moved after training."""
    now = pack.start()
    before = now.tensors["params"].clone()
    train(pack, now, Hooks())
    return tensors(pack, now.tensors["params"] - before)


SGD = {"name": "sgd", "lr": 0.1}
ONE = {"steps": 1, "batch_size": 16, "precision": "float64"}


def test_rates_by_layer(experiment: Any, pack: Any) -> None:
    plain = moved(pack([experiment(optimizer=SGD, training=ONE)]))
    layers = {"first": 3.0, "2.linear": 0.5, "output": 0}
    found = moved(pack([experiment(optimizer={**SGD, "layers": layers}, training=ONE)]))
    factors = {"0": 3.0, "2": 0.5, "4": 0.0}
    for name, change in plain.items():
        torch.testing.assert_close(found[name], factors[name[0]] * change, rtol=1e-9, atol=1e-12)
        assert change.abs().max() > 0


@pytest.mark.parametrize("optimizer", ["momentum", "nesterov", "rmsprop", "adam", "adamw"])
def test_a_layer_of_rate_0_stays_as_it_is(experiment: Any, pack: Any, optimizer: str) -> None:
    found = moved(
        pack(
            [
                experiment(
                    optimizer={"name": optimizer, "layers": {"hidden": 0.0}},
                    regularization={"l1": {"coefficient": 0.1, "step": "proximal"}},
                    seed=seed,
                )
                for seed in (0, 1)
            ]
        )
    )
    for name, change in found.items():
        assert (change.abs().max() > 0) == name.startswith("4"), name


def test_the_rate_of_shared_weights(experiment: Any, pack: Any) -> None:
    model = {"name": "cnn", "channels": [3], "hidden": [5]}
    plain = moved(pack([experiment(model=model, optimizer=SGD, training=ONE)], (2, 6, 6)))
    rule = {**SGD, "rate_rule": "sqrt_connections"}
    one = pack([experiment(model=model, optimizer=rule, training=ONE)], (2, 6, 6))
    for name, change in moved(one).items():
        shared = {e.name: e.slot.shared for e in one.program([0]).layout.entries}[name]
        assert shared == (36 if name == "0.conv2d.weight" else shared)
        torch.testing.assert_close(change, plain[name] * shared**0.5, rtol=1e-9, atol=1e-12)


def test_penalties_by_layer_and_of_biases(experiment: Any, pack: Any) -> None:
    l2 = {"coefficient": 0.3, "layers": {"hidden": 0.5, "output": 2.0}, "biases": True}
    one = pack([experiment(regularization={"l2": l2}, optimizer=SGD, training=ONE)])
    plain = pack([experiment(optimizer=SGD, training=ONE)])
    start = one.start()
    start.tensors["params"].add_(0.25)  # so that biases are not 0
    before = tensors(one, start.tensors["params"].clone())
    other = plain.start()
    other.tensors["params"].add_(0.25)
    train(one, start, Hooks())
    train(plain, other, Hooks())
    for name, value in tensors(one, start.tensors["params"] - other.tensors["params"]).items():
        factor = 2.0 if name.startswith("4") else 0.5
        torch.testing.assert_close(value, -0.1 * 0.3 * factor * before[name], rtol=1e-6, atol=1e-9)
    penalty = start.members[0].history[-1]["train/penalty"]
    after = tensors(one, start.tensors["params"])
    expected = sum(
        0.5 * 0.3 * (2.0 if n.startswith("4") else 0.5) * float(v.square().sum())
        for n, v in after.items()
    )
    assert penalty == pytest.approx(expected, rel=1e-9)


def test_starts_by_layer(experiment: Any, pack: Any) -> None:
    layers = {"output": {"name": "constant", "value": 0.5}, "0": "he_uniform"}
    start = {"name": "constant", "value": 0.25, "layers": layers}
    one = pack([experiment(initialization=start, model={"name": "mlp", "hidden": [9, 8]})])
    found = tensors(one, one.start().tensors["params"])
    assert (found["4.linear.weight"] == 0.5).all()
    assert (found["2.linear.weight"] == 0.25).all()
    assert len(found["0.linear.weight"].unique()) == 54
    assert found["0.linear.weight"].abs().max() <= 1.0  # √(6/6)


@pytest.mark.parametrize(
    ("keys", "path", "message"),
    [
        ({"optimizer": {"name": "sgd", "layers": {"frist": 1.0}}}, "optimizer", "first?"),
        (
            {"regularization": {"l2": {"coefficient": 1.0, "layers": {"conv2d": 1.0}}}},
            "regularization.l2",
            "0.linear, 2.linear, 4.linear",
        ),
        (
            {"initialization": {"name": "he_normal", "layers": {"5": "normal"}}},
            "initialization",
            "'5'",
        ),
    ],
)
def test_a_layer_that_is_not_there_is_told(
    experiment: Any, pack: Any, keys: dict[str, Any], path: str, message: str
) -> None:
    one = pack([experiment(**keys)])
    with pytest.raises(ConfigError) as caught:
        check_model(one.members[0], one.signature)
    (problem,) = caught.value.problems
    assert problem.path == f"{path}.layers"
    assert message in problem.message


@pytest.mark.parametrize("model", [{"hidden": [8]}, {"hidden": [8], "activation": "swish"}])
@pytest.mark.parametrize("weights", ["balanced", {"a": 2.0, "c": 0.0}])
def test_class_weights_multiply_losses_and_gradients(
    experiment: Any, pack: Any, weights: Any, model: dict[str, Any]
) -> None:
    loss = {"name": "cross_entropy", "class_weights": weights}
    one: Pack = pack([experiment(loss=loss, model={"name": "mlp", **model})])
    program = one.program([0])
    working = step.Working(program, one.start().tensors)
    x, y = one.feed.gather(one.feed.rows("train", [0]), 1)
    losses, gradient = working.gradients(x, y, 0)
    counts = np.bincount(y[0].numpy(), minlength=3)
    expected = counts.sum() / 3 / counts if weights == "balanced" else np.array([2.0, 1.0, 0.0])
    leaves = [view.detach().requires_grad_() for view in program.layout.views(working.params)]
    from nnexp.components.layer import Context

    outputs = program.forward(leaves, working.buffers, x, Context(training=True))
    reference = torch.nn.functional.cross_entropy(
        outputs[0], y[0], torch.tensor(expected), reduction="none"
    )
    torch.testing.assert_close(losses[0], reference.detach())
    wanted = torch.autograd.grad(reference.mean(), leaves)
    torch.testing.assert_close(gradient, torch.cat([w.flatten(1) for w in wanted], 1))
