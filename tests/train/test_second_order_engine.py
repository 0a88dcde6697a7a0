"""What the engine tells second-order optimizers about a network's objective."""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from typing import Any

import pytest
import torch

from nnexp.train import step
from nnexp.train.feed import at
from nnexp.train.loop import Hooks, Pack, train

TANH = {"name": "mlp", "hidden": [4], "activation": "tanh"}
CNN = {
    "name": "sequential",
    "layers": [{"name": "conv2d", "channels": 2}, "tanh", "flatten", "linear"],
}


def working(pack: Pack) -> tuple[step.Working, torch.Tensor, torch.Tensor]:
    rows = list(range(len(pack.members)))
    program = pack.program(rows)
    found = step.Working(program, pack.start().tensors)
    # away from the start, where the output layer is nearly 0
    found.params.add_(0.3 * torch.sin(torch.arange(found.params.numel()).view_as(found.params)))
    x, y = pack.feed.gather(at(pack.feed.rows("train", rows), torch.arange(20)[None]), len(rows))
    return found, x, y


@pytest.mark.parametrize("loss", ["cross_entropy", "squared_hinge", "mse", "huber"])
@pytest.mark.parametrize("model", [TANH, CNN], ids=["mlp", "cnn"])
def test_the_gauss_newton_matrix(experiment: Any, pack: Any, loss: str, model: Any) -> None:
    """Against torch.func, an example at a time: JᵀLJ, L the loss's Hessian."""
    members = [
        experiment(seed=s, model=model, loss=loss, regularization={"l2": 0.1 * s}) for s in (1, 2)
    ]
    shape = (1, 3, 3) if model is CNN else (6,)
    made = pack(members, shape)
    if loss in ("mse", "huber"):
        made.feed.targets = torch.nn.functional.one_hot(made.feed.targets, 3).double()
    here, x, y = working(made)
    program = here.program
    found = here._curvature(x, y, slice(0, 2))
    for member in range(2):
        alone = here._curvature(x, y, slice(member, member + 1))[0]
        torch.testing.assert_close(found[member], alone, rtol=1e-12, atol=1e-13)
        expected = torch.diag(0.1 * (member + 1) * program.weights)
        own = made.program([member])
        for row in range(20):
            one = x[member : member + 1, row : row + 1], y[member : member + 1, row : row + 1]

            def outputs(flat: torch.Tensor, one: Any = one, own: Any = own) -> torch.Tensor:
                ctx = step.Context(training=True, members=own.dropout_keys)
                views = own.layout.views(flat[None])
                result: torch.Tensor = own.forward(views, [], one[0], ctx)[0, 0]
                return result

            def loss_of(out: torch.Tensor, one: Any = one, own: Any = own) -> torch.Tensor:
                result: torch.Tensor = own.losses(out[None, None], one[1]).sum()
                return result

            jacobian: Any = torch.autograd.functional.jacobian(outputs, here.params[member])
            value = outputs(here.params[member]).detach()
            bend: Any = torch.autograd.functional.hessian(loss_of, value)
            expected = expected + jacobian.T @ bend @ jacobian / 20
        torch.testing.assert_close(found[member], expected, rtol=1e-9, atol=1e-11)


def test_the_slope_is_the_objectives_and_leaves_no_trace(experiment: Any, pack: Any) -> None:
    model = {"name": "mlp", "hidden": [5], "activation": "tanh", "batch_norm": True, "dropout": 0.3}
    members = [experiment(seed=s, model=model, regularization={"l2": 0.1}) for s in (1, 2)]
    here, x, y = working(pack(members))
    before = {name: tensor.clone() for name, tensor in here.tensors.items()}
    point = here.params + 0.1
    objective = partial(here._objective, x, y, 3)
    value, grads = here._objective_slope(x, y, 3, point)
    torch.testing.assert_close(value, objective(point), rtol=1e-13, atol=0)
    for column in (0, 7, point.shape[1] - 1):
        away = torch.zeros_like(point)
        away[:, column] = 1e-6
        two_sided = (objective(point + away) - objective(point - away)) / 2e-6
        torch.testing.assert_close(grads[:, column], two_sided, rtol=1e-6, atol=1e-8)
    for name, tensor in before.items():
        assert torch.equal(tensor, here.tensors[name]), name


@pytest.mark.parametrize("optimizer", ["lbfgs", "gauss_newton"])
def test_frozen_layers_stay_and_the_loss_falls(experiment: Any, pack: Any, optimizer: str) -> None:
    training = {"epochs": 15, "batch_size": "full", "precision": "float64"}
    members = [
        experiment(
            seed=s, model=TANH, training=training,
            optimizer={"name": optimizer, "layers": {"first": 0}},
        )
        for s in (1, 2)
    ]  # fmt: skip
    made = pack(members)
    now = made.start()
    start = now.tensors["params"].clone()
    train(made, now, Hooks())
    first = 6 * 4 + 4
    assert torch.equal(now.tensors["params"][:, :first], start[:, :first])
    for member in now.members:
        losses = [row["train/loss"] for row in member.history]
        assert all(
            b <= a * (1 + 1e-13) for a, b in pairwise(losses)
        )  # but for rounding, at the end
        assert losses[-1] < 0.8 * losses[0]


def test_lbfgs_learns_in_fifteen_updates_what_sgd_does_not(experiment: Any, pack: Any) -> None:
    ends = {}
    for name in ("lbfgs", "gauss_newton", "sgd"):
        training = {"epochs": 15, "batch_size": "full", "precision": "float64"}
        optimizer = {"name": name} if name != "sgd" else {"name": "sgd", "lr": 0.1}
        made = pack([experiment(model=TANH, training=training, optimizer=optimizer)])
        now = made.start()
        train(made, now, Hooks())
        ends[name] = now.members[0].history[-1]["train/loss"]
    assert ends["lbfgs"] < 0.3 * ends["sgd"]
    assert ends["gauss_newton"] < 0.3 * ends["sgd"]
