"""health.csv's numbers against their definitions, and that recording them changes nothing."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as some

from nnexp.train import health
from nnexp.train.loop import Hooks, Pack, train
from nnexp.train.state import TrainState
from tests.train.test_every_component import Every, trained_pack


def always(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "is_due", lambda *_: True)


def trained(pack: Pack, records: Any, hooks: Hooks | None = None) -> TrainState:
    pack.records_health = records
    now = pack.start()
    train(pack, now, hooks or Hooks())
    return now


def column(now: TrainState, member: int, name: str, layer: str) -> list[Any]:
    place = health.COLUMNS.index(name)
    return [row[place] for row in now.members[member].health if row[2] == layer]


@Every
def test_it_changes_no_bit_and_is_there(
    experiment: Any, pack: Any, family: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    always(monkeypatch)
    one = trained_pack(experiment, pack, family, name, "float32", 2)
    without, recorded = trained(one, False), trained(one, True)
    for key, tensor in without.tensors.items():
        assert torch.equal(tensor.nan_to_num(), recorded.tensors[key].nan_to_num()), key
    for bare, member in zip(without.members, recorded.members, strict=True):
        assert not bare.health
        assert json.dumps(bare.history) == json.dumps(member.history)
        layers = {row[2] for row in member.health}
        assert len(member.health) == len(member.history) * len(layers) > 0
        assert all(len(row) == len(health.COLUMNS) for row in member.health)
        json.dumps(member.health, allow_nan=False)


def test_numbers_are_what_they_say(
    experiment: Any, pack: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    always(monkeypatch)
    one = pack([experiment(seed=s, optimizer={"name": "sgd", "lr": 0.1}) for s in (3, 4)])
    states: list[torch.Tensor] = []
    hooks = Hooks(
        pause=lambda: True, checkpoint=lambda now: states.append(now.tensors["params"][1].clone())
    )
    now = trained(one, True, hooks)
    program = one.program([1])
    weights = program.layout.named(now.tensors["params"][1])
    inputs = one.feed.inputs[:50]  # fewer than 64: all training examples
    first = inputs @ weights["0.linear.weight"] + weights["0.linear.bias"]
    hidden = first.relu()
    assert column(now, 1, "epoch", "0.linear") == [1, 2, 3]
    assert column(now, 1, "step", "0.linear") == [4, 8, 12]
    expected = {
        ("mean", "0.linear"): first.mean(),
        ("std", "0.linear"): first.std(correction=0),
        ("mean", "1.relu"): hidden.mean(),
        ("zero", "1.relu"): (hidden == 0).double().mean(),
        ("dead", "1.relu"): (hidden == 0).all(0).double().mean(),
        ("saturated", "1.relu"): 0.0,
    }
    leaves = {k: v.clone().requires_grad_() for k, v in weights.items()}
    x = inputs
    for at in (0, 2):
        x = (x @ leaves[f"{at}.linear.weight"] + leaves[f"{at}.linear.bias"]).relu()
    outputs = x @ leaves["4.linear.weight"] + leaves["4.linear.bias"]
    loss = torch.nn.functional.cross_entropy(outputs, one.feed.targets[:50])
    derived = torch.autograd.grad(loss, list(leaves.values()))
    slopes = dict(zip(leaves, derived, strict=True))
    before = program.layout.named(states[-1])
    for at in (0, 2, 4):
        own = [f"{at}.linear.{slot}" for slot in ("weight", "bias")]
        slope = torch.cat([slopes[k].flatten() for k in own])
        change = torch.cat([(weights[k] - before[k]).flatten() for k in own])
        whole = torch.cat([weights[k].flatten() for k in own])
        expected["gradient", f"{at}.linear"] = slope.norm()
        expected["update", f"{at}.linear"] = change.norm() / whole.norm()
    for (name, layer), value in expected.items():
        assert column(now, 1, name, layer)[-1] == pytest.approx(float(value), rel=1e-5), name
    assert column(now, 1, "gradient", "1.relu") == column(now, 1, "zero", "0.linear") == [None] * 3


def test_quantiles_are_those_of_the_outputs_and_of_the_gradient(
    experiment: Any, pack: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    always(monkeypatch)
    one = pack([experiment(seed=s) for s in (3, 4)])
    now = trained(one, True)
    program = one.program([1])
    weights = program.layout.named(now.tensors["params"][1])
    leaves = {k: v.clone().requires_grad_() for k, v in weights.items()}
    outputs, x = {}, one.feed.inputs[:50]
    for at in (0, 2, 4):
        x = x @ leaves[f"{at}.linear.weight"] + leaves[f"{at}.linear.bias"]
        outputs[f"{at}.linear"] = x
        x = x.relu()
    loss = torch.nn.functional.cross_entropy(outputs["4.linear"], one.feed.targets[:50])
    slopes = dict(zip(leaves, torch.autograd.grad(loss, list(leaves.values())), strict=True))
    levels = (0.05, 0.25, 0.5, 0.75, 0.95)
    for layer, y in outputs.items():
        sizes = [v.abs().flatten() for k, v in slopes.items() if k.startswith(f"{layer}.")]
        for letter, numbers in (("p", y.flatten()), ("g", torch.cat(sizes))):
            expected = np.quantile(numbers.detach().numpy(), levels)
            names = [f"{letter}{round(100 * level):02d}" for level in levels]
            found = [column(now, 1, name, layer)[-1] for name in names]
            assert found == pytest.approx(expected, rel=1e-4, abs=1e-6)
    assert column(now, 1, "g50", "1.relu") == [None] * 3
    assert column(now, 1, "p95", "1.relu")[-1] > column(now, 1, "p05", "1.relu")[-1] == 0.0


def test_a_few_layers_at_once_give_the_same(
    experiment: Any, pack: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    always(monkeypatch)
    one = pack([experiment(seed=s) for s in (3, 4)])
    whole = trained(one, True)
    monkeypatch.setattr(health, "at_once", lambda _: 4)
    assert trained(one, True).members[1].health == whole.members[1].health


def test_positions_beyond_a_sequences_end_do_not_count(
    experiment: Any, pack: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    always(monkeypatch)
    layers: list[Any] = [
        {"name": "embedding", "width": 4, "codes": 9},
        {"name": "conv1d", "channels": 5, "kernel": 1},
        "relu",
        "mean_over_time",
        "linear",
    ]
    model = {"name": "sequential", "layers": layers}
    one = pack([experiment(seed=s, model=model) for s in (3, 4)], shape=(7,))
    random = np.random.default_rng(2)
    codes = random.integers(1, 9, one.feed.inputs.shape)
    codes[np.arange(7) >= random.integers(1, 8, (len(codes), 1))] = 0
    one.feed.inputs = torch.tensor(codes, dtype=torch.float64)
    now = trained(one, True)
    weights = one.program([1]).layout.named(now.tensors["params"][1])
    padding, there = torch.zeros(1, 4, dtype=torch.float64), torch.tensor(codes[:50] > 0)
    table = torch.cat([padding, *(weights[f"0.embedding.{k}"] for k in ("unknown", "weight"))])
    vectors = table[torch.tensor(codes[:50])]
    kernel = weights["1.conv1d.weight"][:, :, 0]
    mapped = (vectors @ kernel.T + weights["1.conv1d.bias"])[there]
    for layer, y in {
        "0.embedding": vectors[there],
        "1.conv1d": mapped,
        "2.relu": mapped.relu(),
    }.items():
        expected = [y.mean(), y.std(correction=0), *np.quantile(y, (0.05, 0.25, 0.5, 0.75, 0.95))]
        names = ["mean", "std", "p05", "p25", "p50", "p75", "p95"]
        found = [column(now, 1, name, layer)[-1] for name in names]
        assert found == pytest.approx([float(v) for v in expected], rel=1e-5, abs=1e-9)
    hidden = mapped.relu()
    assert column(now, 1, "zero", "2.relu")[-1] == pytest.approx(
        float((hidden == 0).double().mean()), rel=1e-5
    )
    assert column(now, 1, "dead", "2.relu")[-1] == (hidden == 0).all(0).double().mean()


@pytest.mark.parametrize("activation", ["sigmoid", "tanh", "relu", "elu"])
def test_saturated_and_dead_units_are_seen(
    experiment: Any, pack: Any, activation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    always(monkeypatch)
    model = {"name": "mlp", "hidden": [4], "activation": activation}
    one = pack([experiment(model=model, optimizer={"name": "sgd", "lr": 1e-9})])
    now = one.start()
    named = one.program([0]).layout.named(now.tensors["params"][0])  # views: to change the state
    named["0.linear.weight"].zero_()
    named["0.linear.bias"].copy_(torch.tensor([[-1000.0, 1000.0, 0.5, 0.4]]))
    one.records_health = True
    train(one, now, Hooks())
    saturated = column(now, 0, "saturated", f"1.{activation}")[-1]
    dead = column(now, 0, "dead", f"1.{activation}")[-1]
    expected = {
        "sigmoid": (0.25, 0.25),  # e^−1000 is 0
        "tanh": (0.5, 0.0),
        "relu": (0.0, 0.25),
        "elu": (0.25, 0.0),
    }
    assert (saturated, dead) == expected[activation]


@pytest.mark.parametrize("count", [1, 3])
def test_going_on_gives_the_same_rows(
    experiment: Any, pack: Any, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    always(monkeypatch)
    model = {"name": "mlp", "hidden": [8], "batch_norm": True, "dropout": 0.2}
    one = pack([experiment(seed=s, model=model) for s in range(count)])
    saved: list[tuple[dict[str, torch.Tensor], str]] = []

    def keep(now: TrainState) -> None:
        copied = {k: v.clone() for k, v in now.tensors.items()}
        saved.append((copied, json.dumps(now.to_json())))

    whole = trained(one, True, Hooks(lambda: True, keep))
    assert len(saved) > 8
    for tensors, text in saved:
        again = TrainState.from_parts(tensors, json.loads(text), one.device)
        train(one, again, Hooks())
        assert again.to_json() == whole.to_json()


def test_a_diverged_member_has_gaps_and_harms_nobody(
    experiment: Any, pack: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    always(monkeypatch)
    calm = {"name": "sgd", "lr": 0.01}
    wild = experiment(optimizer={"name": "sgd", "lr": 9.0}, regularization={"l2": 1e6})
    mild = experiment(optimizer=calm, regularization={"l2": 1e-6})
    now = trained(pack([wild, mild]), True)
    assert now.members[0].status == "diverged"
    assert column(now, 0, "gradient", "0.linear")[-1] is None
    assert all(math.isfinite(value) for value in column(now, 1, "gradient", "0.linear"))


@given(steps=some.integers(1, 2000), batch=some.integers(1, 4096), epochs=some.integers(1, 3000))
def test_the_rule_keeps_to_its_share(steps: int, batch: int, epochs: int) -> None:
    due = sum(health.is_due(epoch, steps, batch) for epoch in range(1, epochs + 1))
    costs = max(12.0 / (1 + batch / 1536.0), 130.0 / batch)
    assert due * costs <= 0.05 * epochs * (steps + 2.0)
    assert due <= 64 * (1 + max(0.0, math.log2(epochs / 64)))


def test_long_epochs_are_all_recorded() -> None:
    assert all(health.is_due(epoch, 900, 64) for epoch in range(1, 64))
    later = [epoch for epoch in range(1, 513) if health.is_due(epoch, 900, 64)]
    gaps = np.diff([epoch for epoch in later if epoch >= 256])
    assert set(gaps) == {4}


def test_every_epoch_is_recorded_if_asked_for(experiment: Any, pack: Any) -> None:
    one = pack([experiment()])
    epochs = [
        {row[0] for row in trained(one, records).members[0].health}
        for records in (False, True, "every_epoch")
    ]
    assert not epochs[0]
    assert len(epochs[1]) < len(epochs[2])
    assert epochs[2] == set(range(1, experiment().training.epochs + 1))
