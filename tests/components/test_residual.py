"""Residual blocks: values and gradients by hand, and networks of any depth that start at chance."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch.nn import functional

from nnexp.components.inits import Constant
from nnexp.components.layer import Context, Layer, flat
from nnexp.components.layers.basic import Linear
from nnexp.components.layers.convolution import Conv2d
from nnexp.components.layers.normalization import BatchNorm
from nnexp.components.layers.residual import Residual, silenced
from nnexp.config.experiment import Experiment
from nnexp.errors import ConfigError
from nnexp.train import state, step
from nnexp.train.blueprint import Signature, check_model, declare
from nnexp.train.program import Program

CPU = torch.device("cpu")


def residual(*layers: Any, **fields: Any) -> Residual:
    return Residual.model_validate({"layers": list(layers), **fields})


def program(model: Any, inputs: tuple[int, ...], seeds: int = 1, **keys: Any) -> Program:
    members = [
        Experiment.model_validate(
            {
                "data": {"source": "digits"},
                "task": "classification",
                "loss": "cross_entropy",
                "metrics": ["loss"],
                "model": model,
                "seed": seed,
                "training": {"precision": "float64"},
                **keys,
            }
        )
        for seed in range(seeds)
    ]
    return Program(members, Signature(inputs, 10, 500), CPU)


def first_step(one: Program, rows: int = 64) -> tuple[float, torch.Tensor, step.Working]:
    """The mean loss before training, and the gradient `[P]`."""
    working = step.Working(one, state.start(one).tensors)
    return *gradients(one, working, rows), working


def gradients(one: Program, working: step.Working, rows: int = 64) -> tuple[float, torch.Tensor]:
    """The mean loss, and the first member's gradient `[P]`, on standardized inputs."""
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(one.size, rows, *one.signature.inputs, generator=draw, dtype=torch.float64)
    y = torch.randint(0, 10, (one.size, rows), generator=draw)
    losses, grads = working.gradients(x, y, 0)
    return float(losses.mean()), grads[0].clone()


def test_a_block_is_its_input_and_its_branch() -> None:
    layers = [residual({"name": "linear", "units": 6}, "tanh", zero=False), "linear"]
    one = program({"name": "sequential", "layers": layers}, (6,))
    x = torch.randn(1, 5, 6, dtype=torch.float64)
    params = one.initial_params()
    views = one.layout.views(params)
    found = one.forward(views, [], x, Context(training=False))
    w, b, v, c = views
    expected = (x + torch.tanh(x @ w + b)) @ v + c
    torch.testing.assert_close(found, expected)


def test_a_block_that_changes_the_shape_takes_its_input_through_a_map() -> None:
    dense = program(
        {"name": "sequential", "layers": [residual({"name": "linear", "units": 4}), "linear"]}, (6,)
    )
    names = {e.name: e.slot.shape for e in dense.layout.entries}
    assert names["2.join.weight"] == (6, 4)
    x, views = torch.randn(1, 5, 6, dtype=torch.float64), dense.layout.views(dense.initial_params())
    inside = dense.forward(views, [], x, Context(training=False))
    w, b, p, v, c = views
    torch.testing.assert_close(inside, (x @ w + b + x @ p) @ v + c)


@pytest.mark.parametrize(
    ("conv", "inputs", "convolve"),
    [
        ("conv2d", (2, 7, 8), functional.conv2d),
        ("conv1d", (2, 7), functional.conv1d),
    ],
)
def test_images_and_signals_pass_through_a_kernel_of_one(
    conv: str, inputs: tuple[int, ...], convolve: Any
) -> None:
    block = residual({"name": conv, "channels": 5, "stride": 2}, zero=False)
    one = program({"name": "sequential", "layers": [block, "flatten", "linear"]}, inputs, 2)
    join = next(e for e in one.layout.entries if e.name == "2.join.weight")
    ones = [1] * (len(inputs) - 1)
    assert join.slot.shape == (5, 2, *ones)
    assert join.slot.shared == 4 ** len(ones)
    x, views = torch.randn(2, 3, *inputs).double(), one.layout.views(one.initial_params())
    found = one.forward(views, [], x, Context(training=False))
    for member in range(2):
        w, b, p, v, c = (view[member] for view in views)
        inside = convolve(x[member], w, b, stride=2, padding=1)
        inside = inside + convolve(x[member], p, stride=2)
        torch.testing.assert_close(found[member], inside.flatten(1) @ v + c)


@pytest.mark.parametrize(
    ("layers", "inputs", "message"),
    [
        (["flatten"], (2, 4, 4), "the block turns (2, 4, 4) into (32,); they can't be added"),
        (
            [{"name": "upsample", "factor": 2}],
            (2, 4, 4),
            "the block turns (2, 4, 4) into (2, 8, 8); they can't be added",
        ),
        (
            [{"name": "conv1d", "channels": 2, "kernel": 3, "padding": "valid"}],
            (2, 9),
            "the block turns (2, 9) into (2, 7); they can't be added",
        ),
    ],
)
def test_what_can_not_be_added_is_told(
    layers: list[Any], inputs: tuple[int, ...], message: str
) -> None:
    model = {"name": "sequential", "layers": [residual(*layers), "flatten", "linear"]}
    experiment = Experiment.model_validate(
        {"data": {"source": "digits"}, "model": model, "loss": "cross_entropy"}
    )
    with pytest.raises(ConfigError) as caught:
        check_model(experiment, Signature(inputs, 10, 100))
    assert message in str(caught.value)


def test_a_branch_starts_silent() -> None:
    def last(*layers: Any) -> Layer:
        return silenced(residual(*layers).layers)[-1]

    dense = last({"name": "linear", "units": 3}, {"name": "linear", "units": 3})
    assert isinstance(dense, Linear)
    assert dense.init == Constant(value=0.0)
    normal = last({"name": "linear", "units": 3}, "batch_norm")
    assert isinstance(normal, BatchNorm)
    assert normal.scale_start == 0.0
    before = silenced(residual({"name": "conv2d", "channels": 3}, "relu").layers)[0]
    assert isinstance(before, Conv2d)
    assert before.init == Constant(value=0.0)
    own = last({"name": "linear", "units": 3, "init": "he_normal"})
    assert isinstance(own, Linear)
    assert own.init is not None
    assert own.init.component == "he_normal"


def test_blocks_may_hold_blocks() -> None:
    inner = residual({"name": "linear", "units": 6})
    outer = residual({"name": "linear", "units": 6}, "relu", inner.dump(), "relu")
    found = flat([outer])
    assert [layer.component for layer in found] == [
        *("fork", "linear", "relu", "fork", "linear", "join", "relu", "join")
    ]
    assert declare(found, (6,))[-1].output == (6,)


# -- depth -----------------------------------------------------------------------------------------

BLOCK = [
    "relu", {"name": "conv2d", "channels": 8}, "relu", {"name": "conv2d", "channels": 8},
]  # fmt: skip
DEEP: dict[str, tuple[Any, tuple[int, ...]]] = {
    "dense": ({"name": "residual", "blocks": 100, "width": 32}, (20,)),
    "normalized": ({"name": "residual", "blocks": 100, "width": 32, "batch_norm": True}, (20,)),
    "convolutional": (
        {
            "name": "sequential",
            "layers": [
                {"name": "conv2d", "channels": 8},
                *[{"name": "residual", "layers": BLOCK}] * 100,
                *("relu", "global_avg_pool", "linear"),
            ],
        },
        (1, 6, 6),
    ),
}


@pytest.mark.parametrize("deep", DEEP)
def test_a_hundred_blocks_start_at_chance_and_every_block_learns(deep: str) -> None:
    model, inputs = DEEP[deep]
    one = program(model, inputs)
    loss, grads, working = first_step(one)
    assert loss == pytest.approx(math.log(10), rel=0.05)
    weights = [e for e in one.layout.entries if e.slot.role == "weight"]
    assert len(weights) == 202
    last = [float(grads[e.start : e.stop].norm()) for e in weights[2:-1:2]]
    assert len(last) == 100
    assert min(last) > 1e-3
    assert max(last) < 100 * min(last)
    working.params -= 0.1 * grads  # one step: the branches are silent no longer
    after, grads = gradients(one, working)
    assert after < loss
    assert all(float(grads[e.start : e.stop].norm()) > 0 for e in weights)


def test_plain_he_blocks_explode() -> None:
    """24 blocks whose branches do not start at 0 begin far from chance."""
    blocks = [residual("relu", {"name": "linear", "units": 64}, "relu",
                       {"name": "linear", "units": 64}, zero=False)] * 24  # fmt: skip
    layers = [{"name": "linear", "units": 64}, *blocks, "relu", "linear"]
    start = {"name": "he_normal"}
    one = program({"name": "sequential", "layers": layers}, (20,), initialization=start)
    assert first_step(one)[0] > 1000


@pytest.mark.parametrize("count", [1, 3])
def test_closed_form_gradients_of_blocks_are_autograds(count: int) -> None:
    model = {"name": "sequential", "layers": [
        {"name": "linear", "units": 7},
        residual("tanh", {"name": "linear", "units": 7}, zero=False),
        residual(
            {"name": "linear", "units": 5}, "relu", {"name": "dropout", "rate": 0.2}, zero=False
        ),
        "batch_norm", "linear",
    ]}  # fmt: skip
    one = program(model, (6,), count)
    assert one.closed_form
    _, closed, working = first_step(one)
    one.closed_form = False
    torch.testing.assert_close(gradients(one, working)[1], closed, rtol=1e-10, atol=1e-13)
