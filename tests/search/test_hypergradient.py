"""Derivatives of the dev loss by hyper-parameters, against differences of the engine's training."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from nnexp.config.experiment import Experiment
from nnexp.errors import UsageError
from nnexp.search import hypergradient
from nnexp.search.hypergradient import slopes
from nnexp.train.blueprint import Signature
from nnexp.train.feed import Feed
from nnexp.train.loop import Hooks, Pack, train
from nnexp.train.state import TrainState

ROWS = {"train": (0, 40), "dev": (40, 60)}


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def experiment(**keys: Any) -> Experiment:
    config = {
        "data": {"source": "digits"},
        "model": {"name": "mlp", "hidden": [7], "activation": "tanh", "dropout": 0.2},
        "task": "classification",
        "loss": "cross_entropy",
        "metrics": ["loss"],
        "training": {"epochs": 4, "batch_size": 16, "precision": "float64"},
        "schedule": {"name": "cosine", "per": "step", "warmup": {"steps": 3}},
        **keys,
    }
    return Experiment.model_validate(config)


def packed(members: list[Experiment], shape: tuple[int, ...] = (5,), dev: bool = True) -> Pack:
    """Members on a small random task of 3 classes, or of regression, 40 rows to train on."""
    random = np.random.default_rng(3)
    x = random.standard_normal((60, *shape))
    outputs = x.reshape(60, -1) @ random.standard_normal((math.prod(shape), 3))
    classes = members[0].task == "classification"
    y = torch.tensor(outputs.argmax(1) if classes else outputs[:, :1])
    parts = {part: torch.arange(*ends)[None] for part, ends in ROWS.items()}
    if not dev:
        del parts["dev"]
    counts = np.bincount(y[:40], minlength=3)[None] if classes else None
    feed = Feed(
        torch.tensor(x), y, parts, [0] * len(members), None, (), counts=counts,
        original=None if classes else y,
    )  # fmt: skip
    names = ("a", "b", "c") if classes else ()
    signature = Signature(shape, 3 if classes else 1, 40, names)
    return Pack(members, signature, feed, torch.device("cpu"))


def trained(pack: Pack, updates: int) -> TrainState:
    """The state after the engine's first updates."""
    state = pack.start()
    train(pack, state, Hooks(expired=lambda: state.step >= updates))
    assert state.step == updates
    return state


def changed(member: Experiment, name: str, by: float) -> Experiment:
    """A member with one value moved."""
    config = member.model_dump()
    *path, last = name.split(".")
    inside = config
    for key in path:
        inside = inside[key]
    inside[last] += by
    return Experiment.model_validate(config)


def differences(
    members: list[Experiment],
    name: str,
    updates: int,
    by: float,
    shape: tuple[int, ...] = (5,),
) -> list[float]:
    """Central differences of the dev loss after the engine's training, of the fourth order."""
    losses = {}
    for times in (-2, -1, 1, 2):
        moved = [changed(member, name, times * by) for member in members]
        state = trained(packed(moved, shape), updates)
        losses[times] = np.array([m.history[-1]["dev/loss"] for m in state.members])
    near, far = losses[1] - losses[-1], losses[2] - losses[-2]
    return list((8 * near - far) / (12 * by))


L2 = "regularization.l2.coefficient"
RULES: dict[str, tuple[dict[str, Any], list[str]]] = {
    "sgd": ({"name": "sgd", "lr": 0.3}, []),
    "momentum": ({"name": "momentum", "lr": 0.1, "momentum": 0.8}, ["momentum"]),
    "momentum velocity": (
        {"name": "momentum", "lr": 0.1, "momentum": 0.8, "form": "velocity"},
        ["momentum"],
    ),
    "momentum average": (
        {"name": "momentum", "lr": 0.4, "momentum": 0.8, "form": "average", "start": "gradient"},
        ["momentum"],
    ),
    "nesterov": ({"name": "nesterov", "lr": 0.1, "momentum": 0.7}, ["momentum"]),
    "nesterov lookahead": (
        {"name": "nesterov", "lr": 0.1, "momentum": 0.7, "form": "lookahead"},
        ["momentum"],
    ),
    "adam": ({"name": "adam", "lr": 0.02}, ["beta1", "beta2"]),
    "adamw": ({"name": "adamw", "lr": 0.02, "weight_decay": 0.1}, ["beta1", "weight_decay"]),
}


def three(rule: dict[str, Any], **keys: Any) -> list[Experiment]:
    """Members that differ in seed, rate, momentum and penalty."""
    members = []
    for number in range(3):
        own = {**rule, "lr": rule["lr"] * (1 + 0.3 * number)}
        for field in {"momentum", "beta1"} & rule.keys():
            own[field] = rule[field] - 0.1 * number
        penalty = {"l2": 0.02 * (1 + number)}
        members.append(experiment(seed=number, optimizer=own, regularization=penalty, **keys))
    return members


@pytest.mark.parametrize("rule", RULES)
def test_slopes_are_those_of_the_engines_training(rule: str) -> None:
    config, fields = RULES[rule]
    members, updates = three(config), 8  # into the third epoch of three updates
    names = ["optimizer.lr", L2, *(f"optimizer.{field}" for field in fields)]
    found = slopes(packed(members), names, updates)
    after = trained(packed(members), updates)
    dev_loss = [m.history[-1]["dev/loss"] for m in after.members]
    assert found.dev_loss.dtype is torch.float64
    assert found.dev_loss.tolist() == pytest.approx(dev_loss, rel=1e-12)
    assert list(found.slopes) == names
    for name in names:
        by = 2e-6 if name == "optimizer.beta2" else 1e-4
        expected = differences(members, name, updates, by)
        assert found.slopes[name].tolist() == pytest.approx(expected, rel=1e-5), name


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("updates", [1, 7])
def test_parameters_are_those_of_the_engine(rule: str, updates: int) -> None:
    pack = packed(three(RULES[rule][0]))
    program = pack.program(range(3))
    leaf = torch.tensor([m.optimizer.lr for m in pack.members], dtype=torch.float64)
    found = hypergradient._unroll(pack, program, {"optimizer.lr": leaf}, updates)
    expected = trained(pack, updates).tensors["params"]
    assert torch.allclose(found, expected, rtol=0, atol=1e-10)


def test_rates_by_layer_decay_augmentation_and_a_cycled_momentum() -> None:
    rule = {"name": "momentum", "lr": 0.1, "momentum": 0.8, "layers": {"output": 0.3}}
    members = [
        experiment(
            seed=seed,
            optimizer=rule,
            schedule={"name": "one_cycle"},
            regularization={"weight_decay": 0.1},
            augmentation=[{"name": "noise"}],
        )
        for seed in range(2)
    ]
    names = ["optimizer.lr", "regularization.weight_decay.coefficient"]
    found = slopes(packed(members), names, 5)
    for name in names:
        expected = differences(members, name, 5, 1e-4)
        assert found.slopes[name].tolist() == pytest.approx(expected, rel=1e-5)
    with pytest.raises(UsageError, match=r"no derivative by 'optimizer.momentum'; there is one by"):
        slopes(packed(members), ["optimizer.momentum"], 5)


CNN = {
    "name": "sequential",
    "layers": [
        {"name": "conv2d", "channels": 3}, "tanh", "max_pool2d",
        {"name": "conv2d", "channels": 2}, "layer_norm", "gelu", "avg_pool2d", "flatten", "linear",
    ],
}  # fmt: skip


def test_a_convolutional_network() -> None:
    members = three(RULES["adam"][0], model=CNN)
    found = slopes(packed(members, (1, 8, 8)), ["optimizer.lr"], 3)
    # small steps: a longer one changes which position a maximum is taken from
    expected = differences(members, "optimizer.lr", 3, 1e-6, (1, 8, 8))
    assert found.slopes["optimizer.lr"].tolist() == pytest.approx(expected, rel=1e-5)


def test_a_unit_that_never_fires_leaves_adams_slope_finite() -> None:
    model = {"name": "mlp", "hidden": [6], "activation": "relu"}
    start = {"name": "normal", "std": 3.0}
    pack = packed([experiment(model=model, initialization=start, optimizer="adam")])
    pack.feed.inputs[:, 0] = 0.0  # an input that is always 0: its weights get no gradient
    found = slopes(pack, ["optimizer.lr", "optimizer.beta2"], 4)
    assert all(torch.isfinite(slope).all() for slope in found.slopes.values())
    assert found.slopes["optimizer.lr"].abs() > 0


def test_one_step_of_descent_on_a_quadratic() -> None:
    """Of ½(y − q)², θ₁ = θ₀ − ηg: d dev_loss / dη = −g · ∇dev_loss(θ₁), known in closed form."""
    member = experiment(
        task="regression",
        loss="mse",
        model={"name": "linear"},
        schedule="constant",
        optimizer={"name": "sgd", "lr": 0.05},
        training={"epochs": 1, "batch_size": "full", "precision": "float64"},
    )
    pack = packed([member])
    found = slopes(pack, ["optimizer.lr"], 1)
    row = pack.start().tensors["params"][0].numpy()
    assert pack.feed.inputs is not None
    x = np.hstack([pack.feed.inputs.numpy(), np.ones((60, 1))])
    y = pack.feed.targets.numpy()[:, 0]

    def slope(theta: np.ndarray, start: int, stop: int) -> np.ndarray:
        return x[start:stop].T @ (x[start:stop] @ theta - y[start:stop]) / (stop - start)

    gradient = slope(row, *ROWS["train"])
    after = row - 0.05 * gradient
    errors = (x @ after - y)[slice(*ROWS["dev"])]
    assert float(found.dev_loss) == pytest.approx(float((errors**2).mean()) / 2, rel=1e-12)
    expected = -gradient @ slope(after, *ROWS["dev"])
    assert float(found.slopes["optimizer.lr"]) == pytest.approx(float(expected), rel=1e-12)


def test_a_penalty_may_be_named_without_its_coefficient() -> None:
    found = slopes(packed(three(RULES["sgd"][0])), ["regularization.l2", L2], 4).slopes
    assert list(found) == ["regularization.l2", L2]
    assert torch.equal(found["regularization.l2"], found[L2])


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"optimizer": "rmsprop"}, "no derivative through optimizer rmsprop; supported: sgd, mom"),
        ({"regularization": {"l1": 0.1}}, "through regularization l1; supported: l2, weight_decay"),
        ({"loss": "hinge"}, "no derivative through loss hinge; supported: cross_entropy, "),
        (
            {"model": {"name": "mlp", "hidden": [4], "batch_norm": True}},
            "no derivative through layer batch_norm; supported: linear, ",
        ),
        ({"model": {"name": "mlp", "hidden": [4], "activation": "step"}}, "through layer step"),
        ({"schedule": "newbob"}, "through schedule newbob; supported: schedules that ignore"),
        ({"sampler": "hard_examples"}, "sampler hard_examples; supported: samplers that ignore"),
        (
            {"training": {"epochs": 2, "batch_size": 16, "clip_grad_norm": 1.0}},
            "no derivative through clipping of gradients; supported: training.clip_grad_norm: null",
        ),
        (
            {"training": {"epochs": 2, "batch_size": 16, "precision": "bf16"}},
            "no derivative through precision bf16; supported: float32, float64",
        ),
    ],
)
def test_what_can_not_be_differentiated_is_refused(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        slopes(packed([experiment(**keys)]), ["optimizer.lr"], 2)


def test_unknown_keys_counts_of_updates_and_a_missing_dev_split_are_refused() -> None:
    members = [experiment(optimizer="sgd")]
    with pytest.raises(UsageError, match=r"'optimizer\.momentum'; there is one by: optimizer\.lr"):
        slopes(packed(members), ["optimizer.momentum"], 2)
    for updates in (0, 13):
        message = f"updates must be from 1 to 12; received: {updates}"
        with pytest.raises(UsageError, match=message):
            slopes(packed(members), ["optimizer.lr"], updates)
    with pytest.raises(UsageError, match="needs a dev split: there is none"):
        slopes(packed(members, dev=False), ["optimizer.lr"], 2)
