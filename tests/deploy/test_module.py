"""A run as a torch module: the run's own outputs, and a module like any other."""

from __future__ import annotations

import copy
import io
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from sklearn.datasets import load_diabetes, load_digits, load_iris

from nnexp.cli.app import run as run_command
from nnexp.deploy.module import load_module
from nnexp.errors import DamagedRun, PluginNeeded, RunError, UsageError

Train = Callable[..., Path]
MLP = {"name": "mlp", "hidden": [6], "dropout": 0.5, "batch_norm": True}


@pytest.fixture(scope="session")
def iris(train: Train) -> Path:
    return train({"data": {"source": "iris"}, "model": MLP})


def predictions(run: Path) -> pd.DataFrame:
    found = pd.read_csv(run / "predictions.csv", dtype={"prediction": str})
    return found[found["split"] == "test"]


def test_it_gives_the_runs_probabilities_for_raw_numbers(iris: Path) -> None:
    network, rows = load_module(iris), predictions(iris)
    assert not network.training
    assert network.classes == ("setosa", "versicolor", "virginica")
    assert (network.task, len(network.inputs)) == ("classification", 4)
    x = torch.tensor(load_iris().data[rows["id"].astype(int)])
    chances = network.probabilities(x)
    found = [network.classes[i] for i in chances.argmax(1)]
    assert found == rows["prediction"].tolist()
    scores = rows[[c for c in rows if c.startswith("output")]].to_numpy(np.float64)
    if scores.size:
        np.testing.assert_allclose(network(x).detach().numpy(), scores, rtol=1e-5, atol=1e-6)


def test_its_tensors_are_those_of_the_run(iris: Path) -> None:
    state, stored = load_module(iris).state_dict(), load_file(iris / "model.safetensors")
    assert state.keys() == stored.keys()
    assert all(torch.equal(state[name], stored[name]) for name in stored)


def test_values_are_in_the_targets_units(train: Train) -> None:
    run = train({"data": {"source": "diabetes"}, "model": MLP})
    rows, data = predictions(run), load_diabetes(scaled=False).data
    network = load_module(run)
    x = torch.tensor(data[rows["id"].astype(int)])
    found = network(x)[:, 0].detach().numpy()
    np.testing.assert_allclose(found, rows["prediction"].astype(float), rtol=1e-5)
    with pytest.raises(ValueError, match="gives no probabilities"):
        network.probabilities(x)


def test_images_and_networks_with_convolutions(train: Train) -> None:
    run = train("digits-cnn.yaml", "--set", "training.epochs=1")
    rows, network = predictions(run), load_module(run)
    x = torch.tensor(load_digits().images[rows["id"].astype(int)])[:, None]
    assert [str(i.item()) for i in network(x).argmax(1)] == rows["prediction"].tolist()
    with pytest.raises(ValueError, match=r"shape \(1, 8, 9\); it takes 1 × 8 × 8"):
        network(torch.zeros(2, 1, 8, 9))


def test_prepared_examples(iris: Path) -> None:
    whole, inner = load_module(iris), load_module(iris, preprocessing=False)
    x = torch.tensor(load_iris().data)
    prepared = (x * whole.get_buffer("_input_weight") + whole.get_buffer("_input_shift")).float()
    torch.testing.assert_close(inner(prepared), whole(x))
    assert inner.get_buffer("_target_mean") is None


def test_text_and_gaps_need_prepared_examples(train: Train) -> None:
    run = train("flats.yaml", "--set", "training.epochs=1")
    with pytest.raises(UsageError, match=r"no linear map \(impute\).*preprocessing=False"):
        load_module(run)
    network = load_module(run, preprocessing=False)
    assert network(torch.zeros(3, *network.shape)).shape == (3, 1)


def test_it_can_be_trained_further(iris: Path) -> None:
    network = load_module(iris).train()
    x, y = torch.tensor(load_iris().data), torch.tensor(load_iris().target)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    torch.manual_seed(0)
    first = network(x)
    assert not torch.equal(first, network(x))  # another mask of dropout
    torch.manual_seed(0)
    assert torch.equal(first, network(x))
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    losses = []
    for _ in range(20):
        loss = torch.nn.functional.cross_entropy(network(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert np.mean(losses[-5:]) < np.mean(losses[:5])
    assert all(not torch.equal(before[n], v) for n, v in network.state_dict().items())


def test_frozen_layers_stay_so(train: Train, iris: Path) -> None:
    start = {"name": "from_run", "path": str(iris), "freeze": ["first"]}
    run = train({"data": {"source": "iris"}, "model": MLP, "initialization": start})
    wants = {name: p.requires_grad for name, p in load_module(run).named_parameters()}
    assert not any(wants[name] for name in wants if name.startswith("0."))
    assert any(wants.values())


def test_it_is_a_module_like_any_other(iris: Path) -> None:
    network, x = load_module(iris), torch.tensor(load_iris().data)
    expected = network(x)
    assert torch.equal(copy.deepcopy(network)(x), expected)
    torch.testing.assert_close(network.double()(x), expected.double(), rtol=1e-5, atol=1e-6)
    other = load_module(iris)
    other.load_state_dict(network.state_dict())
    torch.testing.assert_close(other(x), expected)
    content = io.BytesIO()
    torch.save(network.state_dict(), content)
    assert "task=classification" in repr(network)
    stacked = torch.nn.Sequential(network, torch.nn.Softmax(1))
    assert stacked(x).sum(1).allclose(torch.ones(len(x), dtype=torch.float64))


def test_a_group_gives_its_best_member(train: Train) -> None:
    run = train({"data": {"source": "iris"}, "model": MLP}, "--seeds", "2")
    weights = [load_file(run / f"s{i}/model.safetensors")["0.linear.weight"] for i in range(2)]
    for i in range(2):
        found = load_module(run, member=i).get_parameter("0.linear.weight")
        assert torch.equal(found, weights[i])
    best = load_module(run).get_parameter("0.linear.weight")
    assert any(torch.equal(best, one) for one in weights)


PLUGIN = """
from typing import Literal
from nnexp.components.layer import Layer

class Cubic(Layer):
    \"""x + 0.1·x³.

    Use: in a test.
    \"""
    name: Literal["cubic"] = "cubic"

    def forward(self, x, own, hyper, ctx):
        return x + 0.1 * x**3
"""


def test_a_plugin_has_to_be_given(tmp_path: Path) -> None:
    plugin, config = tmp_path / "own.py", tmp_path / "c.yaml"
    plugin.write_text(PLUGIN)
    config.write_text(
        "data: {source: iris}\nmodel: {name: sequential, layers: [cubic, linear]}\n"
        "training: {epochs: 1}\n"
    )
    command = ["--plugin", str(plugin), "train", str(config), "--out", str(tmp_path), "--quiet"]
    assert run_command(command) == 0
    run = next(tmp_path.glob("*/*/manifest.json")).parent
    with pytest.raises(PluginNeeded):
        load_module(run)
    network, rows = load_module(run, plugins=[plugin]), predictions(run)
    found = network(torch.tensor(load_iris().data[rows["id"].astype(int)])).argmax(1)
    assert [network.classes[i] for i in found] == rows["prediction"].tolist()
    with pytest.raises(PluginNeeded):
        load_module(run)


def test_what_is_no_run_is_refused(iris: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError):
        load_module(tmp_path)
    run = shutil.copytree(iris, tmp_path / "run")
    (run / "preprocessing.json").write_text("{}")
    with pytest.raises(RunError):
        load_module(run)
    (run / "preprocessing.json").unlink()
    with pytest.raises((DamagedRun, RunError)):
        load_module(run)
