"""Layers that start from the data: the centres of `rbf`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans

from nnexp.components.layers.rbf import Rbf, k_means
from nnexp.config.experiment import Experiment
from nnexp.errors import DataError
from nnexp.train import step
from nnexp.train.loop import Hooks, Pack, train

CORNERS = np.array([[0.0, 0.0], [9.0, 0.0], [0.0, 9.0], [9.0, 9.0]])


def blobs(spread: float = 0.3) -> np.ndarray:
    noise = np.random.default_rng(3).normal(0, spread, (200, 2))
    return np.repeat(CORNERS, 50, 0) + noise


@pytest.mark.parametrize("key", range(20))
def test_k_means_finds_the_blobs(key: int) -> None:
    x = blobs()
    centers, nearest = k_means(x, 4, key)
    order = np.lexsort(np.round(centers).T)
    np.testing.assert_allclose(centers[order], CORNERS[np.lexsort(CORNERS.T)], atol=0.2)
    for number, center in enumerate(centers):
        np.testing.assert_allclose(center, x[nearest == number].mean(0), rtol=1e-12)


def test_k_means_is_about_as_good_as_scikit_learns() -> None:
    x = np.random.default_rng(0).normal(size=(300, 3))
    found = [k_means(x, 7, key) for key in range(8)]
    inertia = [np.square(x - centers[nearest]).sum() for centers, nearest in found]
    best = KMeans(7, n_init=8, random_state=0).fit(x).inertia_
    assert min(inertia) == pytest.approx(best, rel=0.03)
    assert max(inertia) < 1.3 * best


def test_widths_are_the_clusters_spreads() -> None:
    x = blobs()
    start = Rbf(units=4).from_data(x, 5)
    apart = np.square(x[:, None] - start["centers"]).sum(2)
    for unit, nearest in enumerate(apart.argmin(1)[::50]):
        mean = apart[apart.argmin(1) == nearest, nearest].mean()
        assert start["log_beta"][0, nearest] == pytest.approx(-np.log(2 * mean)), unit


def test_a_cluster_of_one_point_has_a_usual_width() -> None:
    x = np.concatenate([blobs(), [[50.0, 50.0]]])
    start = Rbf(units=5).from_data(x, 1)
    assert np.isfinite(start["log_beta"]).all()
    assert start["log_beta"].std() < 3


@pytest.mark.parametrize("x", [np.zeros((50, 2)), blobs()[:3], np.repeat(CORNERS, 9, 0)])
def test_too_few_different_examples_are_told(x: np.ndarray) -> None:
    with pytest.raises(DataError, match=r"rbf: 5 units .* there are [134]$"):
        Rbf(units=5).from_data(x, 0)


def net(*before: Any, units: int = 4) -> dict[str, Any]:
    return {"name": "sequential", "layers": [*before, {"name": "rbf", "units": units}, "linear"]}


@pytest.mark.parametrize("before", [[], [{"name": "linear", "units": 5}, "batch_norm", "tanh"]])
def test_members_start_as_alone(
    experiment: Callable[..., Experiment], pack: Callable[..., Pack], before: list[Any]
) -> None:
    members = [experiment(model=net(*before), seed=seed) for seed in range(3)]
    together = pack(members).start().tensors
    for number, member in enumerate(members):
        alone = pack([member]).start().tensors
        assert torch.equal(together["params"][number], alone["params"][0])
    assert torch.equal(together["params"], together["best_params"])
    assert not torch.equal(together["params"][0], together["params"][1])


def test_only_the_training_rows_are_seen(
    experiment: Callable[..., Experiment], pack: Callable[..., Pack]
) -> None:
    one, other = pack([experiment(model="rbf")]), pack([experiment(model="rbf")])
    assert other.feed.inputs is not None
    other.feed.inputs[other.feed.parts["dev"][0]] = 1e6
    other.feed.inputs[other.feed.parts["test"][0]] = 1e6
    assert torch.equal(one.start().tensors["params"], other.start().tensors["params"])


def test_each_split_has_its_own_centres(
    experiment: Callable[..., Experiment], pack: Callable[..., Pack]
) -> None:
    both = pack([experiment(model=net()), experiment(model=net())])  # of one seed
    train_rows, dev = both.feed.parts["train"][0], both.feed.parts["dev"][0]
    swapped = torch.cat([train_rows[len(dev) :], dev])
    both.feed.parts["train"] = torch.stack([train_rows, swapped])
    both.feed.split_of, both.feed.counts = [0, 1], None
    params = both.start().tensors["params"]
    entry = both.program([0]).layout.entries[0]
    assert entry.name == "0.rbf.centers"
    centers = [row[entry.start : entry.stop].view(4, 6) for row in params]
    for number, rows in enumerate(both.feed.parts["train"]):
        assert both.feed.inputs is not None
        mean = both.feed.inputs[rows].numpy()
        apart = np.square(mean[:, None] - centers[number].numpy()).sum(2).argmin(1)
        for unit in range(4):
            np.testing.assert_allclose(centers[number][unit], mean[apart == unit].mean(0))


def test_gradients_are_autograds(
    experiment: Callable[..., Experiment], pack: Callable[..., Pack]
) -> None:
    model = net({"name": "linear", "units": 5}, "tanh")
    one = pack([experiment(model=model, seed=seed) for seed in range(3)])
    program, tensors = one.program(range(3)), one.start().tensors
    x, y = one.feed.gather(one.feed.rows("train", range(3))[:, :16], 3)
    assert program.closed_form
    losses, grads = step.Working(program, tensors).gradients(x, y, 0)
    program.closed_form = False
    derived_losses, derived = step.Working(program, tensors).gradients(x, y, 0)
    torch.testing.assert_close(losses, derived_losses, rtol=1e-12, atol=0)
    torch.testing.assert_close(grads, derived, rtol=1e-10, atol=1e-13)
    assert (grads != 0).float().mean() > 0.99


@pytest.mark.parametrize("precision", ["float32", "bf16", "float64"])
def test_it_learns(
    experiment: Callable[..., Experiment], pack: Callable[..., Pack], precision: str
) -> None:
    training = {"epochs": 30, "batch_size": 16, "precision": precision}
    one = pack([experiment(model=net(units=12), optimizer={"name": "adam", "lr": 0.05},
                           training=training)])  # fmt: skip
    now = one.start()
    train(one, now, Hooks())
    history = now.members[0].history
    assert history[-1]["train/loss"] < 0.5 * np.log(3) < history[0]["train/loss"]


def test_penalties_leave_the_centres_alone(
    experiment: Callable[..., Experiment], pack: Callable[..., Pack]
) -> None:
    one = pack([experiment(model=net(), regularization={"l2": 1.0, "weight_decay": 1.0})])
    weights = one.program([0]).weights
    assert float(weights.sum()) == 4 * 3  # the linear layer's alone


def test_what_a_run_has_stored_stays(
    experiment: Callable[..., Experiment], pack: Callable[..., Pack], tmp_path: Path
) -> None:
    from safetensors.numpy import save_file

    centers = np.full((4, 6), 0.5, np.float32)
    save_file({"0.rbf.centers": centers}, tmp_path / "old.safetensors")
    start = {"name": "from_run", "path": str(tmp_path / "old.safetensors")}
    one = pack([experiment(model=net(), initialization=start)])
    params = one.start().tensors["params"][0]
    assert (params[:24] == 0.5).all()
    assert (params[24:28] != 0).all()
