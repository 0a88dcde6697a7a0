"""Gradients of the whole objective against two-sided differences, in float64."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from nnexp.components.layer import Context, Layer
from nnexp.components.layers.activations import Activation
from nnexp.components.losses.loss import Loss
from nnexp.components.regularizers import Sizes
from nnexp.train.loop import Pack
from nnexp.train.step import Working

EPS = 1e-5
EXCLUDED = {"step", "hardmax"}
"""Flat almost everywhere: their gradient is a stand-in by design, not a derivative."""

ACTIVATIONS = sorted(set(Activation.registered) - EXCLUDED)
NORMS = ["none"] + [n for n in ("batch_norm", "layer_norm") if n in Layer.registered]
PENALTIES = {"l2": 0.1, "l1": {"coefficient": 0.2, "step": "subgradient"}}


def targets_of(loss: str, rows: int) -> torch.Tensor | None:
    """Random targets for losses that are not about classes."""
    tasks = getattr(Loss.registered[loss], "tasks")
    draw = torch.randn(rows, 2, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    if "regression" in tasks:
        return draw
    return (draw > 0).double() if "multilabel" in tasks else None


def working_of(
    experiment: Any, pack: Any, loss: str, layers: list[Any], shape: tuple[int, ...]
) -> tuple[Working, torch.Tensor, torch.Tensor]:
    """A net with weights away from their start, and a batch for it."""
    one: Pack = pack(
        [
            experiment(
                model={"name": "sequential", "layers": layers},
                loss=loss,
                task=getattr(Loss.registered[loss], "tasks")[0],
                metrics=["loss"],
                regularization=PENALTIES,
            )
        ],
        shape=shape,
        classes=2,
        rows=18,
    )
    targets = targets_of(loss, 18)
    if targets is not None:
        one.feed.targets = targets
    tensors = one.start().tensors
    draw = torch.Generator().manual_seed(1)
    start = tensors["params"]
    start.add_(0.5 * torch.randn(start.shape, generator=draw, dtype=torch.float64))
    x, y = one.feed.gather(one.feed.rows("train", [0]), 1)
    return Working(one.program([0]), tensors), x, y


def objective(
    working: Working, params: torch.Tensor, x: torch.Tensor, y: torch.Tensor
) -> torch.Tensor:
    """Mean loss and penalties at each of R rows of parameters, `[R]`, by one pass forward."""
    program, rows = working.program, len(params)
    buffers = [b.expand(rows, *b.shape[1:]).clone() for b in working.buffers]
    ctx = Context(training=True, members=program.dropout_keys.expand(rows), step=3)
    views = program.layout.views(params)
    x, y = (t.expand(rows, *t.shape[1:]) for t in (x, y))
    total = program.losses(program.forward(views, buffers, x, ctx), y).mean(1)
    sizes = Sizes(x.shape[1], program.signature.train_rows)
    for spec, hyper, scope in program.regularizers:
        total = total + spec.penalty(params, scope, hyper, sizes)
    return total


def difference(working: Working, x: torch.Tensor, y: torch.Tensor) -> float:
    """‖a − b‖ / (‖a‖ + ‖b‖) of the engine's gradient and the two-sided differences."""
    program, params = working.program, working.params.clone()
    grads = working.gradients(x, y, 3)[1].clone()
    sizes = Sizes(x.shape[1], program.signature.train_rows)
    for spec, hyper, scope in program.regularizers:
        spec.add_gradient(grads, params, scope, hyper, sizes)
    shifts = EPS * torch.eye(params.shape[1], dtype=torch.float64)
    with torch.no_grad():
        values = objective(working, torch.cat([params + shifts, params - shifts]), x, y)
    up, down = values.chunk(2)
    expected = (up - down) / (2 * EPS)
    return float((grads[0] - expected).norm() / (grads.norm() + expected.norm()))


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_loss_with_every_activation_and_normalization(
    experiment: Any, pack: Any, activation: str, norm: str
) -> None:
    """The fixed examples and weights lie away from every kink by more than ε moves them."""
    layers = [
        {"name": "linear", "units": 4},
        *([norm] if norm != "none" else []),
        activation,
        "linear",
    ]
    for loss in set(Loss.registered) - {"negative_sampling"}:  # of words only: test_words.py
        working, x, y = working_of(experiment, pack, loss, layers, (3,))
        assert difference(working, x, y) < 1e-7, loss


CONVOLVED = ["none"] + [n for n in ("batch_norm", "local_response_norm") if n in Layer.registered]


@pytest.mark.parametrize("norm", CONVOLVED)
def test_a_convolutional_net(experiment: Any, pack: Any, norm: str) -> None:
    layers = [
        {"name": "conv2d", "channels": 3, "kernel": 3},
        *([norm] if norm != "none" else []),
        "tanh",
        "flatten",
        "linear",
    ]
    working, x, y = working_of(experiment, pack, "cross_entropy", layers, (2, 4, 4))
    assert difference(working, x, y) < 1e-7


def test_a_wrong_gradient_is_seen(
    experiment: Any, pack: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    layers = [{"name": "linear", "units": 4}, "tanh", "linear"]
    working, x, y = working_of(experiment, pack, "mse", layers, (3,))
    right = Working.gradients

    def wrong(self: Working, *batch: Any) -> tuple[torch.Tensor, torch.Tensor]:
        losses, grads = right(self, *batch)
        grads[:, 0] *= 1.01
        return losses, grads

    assert difference(working, x, y) < 1e-7
    monkeypatch.setattr(Working, "gradients", wrong)
    assert difference(working, x, y) > 1e-5
