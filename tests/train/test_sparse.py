"""L1 through the real training loop: Lasso's weights, and noise that ends at exactly 0."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import ElasticNet, Lasso

from nnexp.components.layout import Scope
from nnexp.components.regularizers import sparsity
from nnexp.train.loop import Hooks, Pack, train


def fit(pack: Pack) -> torch.Tensor:
    """The first member's weights after training, `[inputs, outputs]`."""
    now = pack.start()
    train(pack, now, Hooks())
    return pack.program([0]).layout.named(now.tensors["params"][0])["0.linear.weight"]


def full_batch(epochs: int) -> dict[str, Any]:
    return {"epochs": epochs, "batch_size": "full", "precision": "float64"}


@pytest.mark.parametrize("l2", [0.0, 0.4])
def test_a_linear_model_with_l1_is_sklearns(experiment: Any, pack: Any, l2: float) -> None:
    """½·mean r² + ½·C₁·Σ|w| + ½·C₂·Σw² is ElasticNet's objective, Lasso's without C₂."""
    one: Pack = pack(
        [
            experiment(
                model="linear",
                task="regression",
                loss="mse",
                metrics=["loss"],
                optimizer={"name": "sgd", "lr": 0.4},
                regularization={"l1": {"coefficient": 0.4, "step": "proximal"}, "l2": l2},
                training=full_batch(150),
            )
        ],
        classes=1,
    )
    inputs = one.feed.inputs
    assert inputs is not None
    x = inputs[:50].numpy()
    true = np.array([2.0, -1.0, 0.0, 0.0, 0.3, 0.0])
    noise = 0.3 * np.random.default_rng(1).standard_normal(90)
    one.feed.targets = (inputs @ torch.tensor(true) + torch.tensor(noise) + 1.0)[:, None]
    found = fit(one)[:, 0].numpy()
    alpha = 0.2 + l2
    model: Any = Lasso(alpha=0.2, tol=1e-12)
    if l2:
        model = ElasticNet(alpha=alpha, l1_ratio=0.2 / alpha, tol=1e-12)
    model.fit(x, one.feed.targets[:50, 0].numpy())
    np.testing.assert_allclose(found, model.coef_, atol=1e-4)
    assert ((found == 0) == (model.coef_ == 0)).all()
    assert (found == 0).any()


def test_l1_sets_the_weights_of_noise_to_exactly_zero(experiment: Any, pack: Any) -> None:
    data = load_breast_cancer()
    rows = len(data.target)
    x = np.c_[data.data, np.random.default_rng(0).standard_normal((rows, 170))]
    one: Pack = pack(
        [
            experiment(
                model="linear",
                loss="binary_cross_entropy",
                metrics=["accuracy", "loss"],
                optimizer={"name": "sgd", "lr": 0.1},
                regularization={"l1": {"coefficient": 0.1, "step": "proximal"}},
                training=full_batch(150),
            )
        ],
        shape=(200,),
        classes=2,
        rows=rows,
    )
    one.feed.inputs = torch.tensor((x - x.mean(0)) / x.std(0))
    one.feed.targets = torch.tensor(data.target)
    weights = fit(one)[:, 0]
    assert float((weights[30:] == 0).double().mean()) >= 0.95
    assert int((weights[:30] != 0).sum()) >= 3
    program = one.program([0])
    row = torch.cat([weights, torch.ones(1).double()])[None]
    assert row.shape[1] == program.layout.size
    zeros, small = sparsity(row, Scope(program.weights, program.layout))
    assert float(zeros) == pytest.approx(float((weights == 0).double().mean()))
    assert float(small) >= float(zeros)
