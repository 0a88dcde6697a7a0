"""What lbfgs and gauss_newton refuse."""

from __future__ import annotations

from typing import Any

import pytest

from nnexp.components.losses.loss import Loss
from nnexp.config.experiment import Experiment
from nnexp.config.rules import without_data
from nnexp.config.second_order import with_model
from nnexp.errors import ConfigError
from nnexp.train.blueprint import Signature, check_model

FULL = {"batch_size": "full"}


def problems_of(optimizer: Any, **keys: Any) -> list[str]:
    given = {
        "data": {"source": "digits"},
        "model": "linear",
        "training": FULL,
        "optimizer": optimizer,
        **keys,
    }
    return [p.path for p in without_data(Experiment.model_validate(given))]


@pytest.mark.parametrize("name", ["lbfgs", "gauss_newton"])
@pytest.mark.parametrize(
    ("keys", "path"),
    [
        ({}, None),
        ({"regularization": {"l2": 0.1}}, None),
        ({"regularization": {"l1": 0.0}}, None),
        ({"regularization": {"l1": 0.1}}, "regularization.l1"),
        ({"regularization": {"weight_decay": 0.1}}, "regularization.weight_decay"),
        ({"regularization": {"max_norm": 3.0}}, "regularization.max_norm"),
        ({"training": {**FULL, "clip_grad_norm": 1.0}}, "training.clip_grad_norm"),
        ({"training": {**FULL, "clip_grad_value": 1.0}}, "training.clip_grad_value"),
        ({"training": {**FULL, "precision": "bf16"}}, "training.precision"),
    ],
)
def test_nothing_acts_behind_its_back(name: str, keys: dict[str, Any], path: str | None) -> None:
    assert problems_of(name, **keys) == ([path] if path else [])


@pytest.mark.parametrize("name", ["lbfgs", "gauss_newton"])
def test_layers_move_or_stay(name: str) -> None:
    assert problems_of({"name": name, "layers": {"first": 0, "output": 1}}) == []
    assert problems_of({"name": name, "layers": {"first": 0.5}}) == ["optimizer.layers"]
    rule = {"name": name, "rate_rule": "sqrt_connections"}
    assert problems_of(rule) == ["optimizer.rate_rule"]


def test_lbfgs_needs_all_examples_at_each_update() -> None:
    batch = {"training": {"batch_size": 64}}
    assert problems_of("lbfgs", **batch) == ["training.batch_size"]
    assert problems_of("gauss_newton", **batch) == []
    assert problems_of("lbfgs", augmentation=["noise"]) == ["augmentation"]
    for sampler in ("class_balanced", {"name": "uniform", "replacement": True}):
        assert problems_of("lbfgs", sampler=sampler) == ["sampler"]
        assert problems_of("gauss_newton", sampler=sampler) == []


def test_gauss_newton_needs_a_loss_with_curvature() -> None:
    refused = {
        name for name in ("hinge", "multilabel_hinge", "l1", "l2_distance", "mse", "cross_entropy",
                          "binary_cross_entropy", "huber", "squared_hinge", "multilabel_bce")
        if name in Loss.registered and "loss" in problems_of("gauss_newton", loss=name)
    }  # fmt: skip
    assert refused == {"hinge", "multilabel_hinge", "l1", "l2_distance"}
    assert problems_of("lbfgs", loss="hinge") == []


@pytest.mark.parametrize(
    ("name", "task", "refused"),
    [
        ("lbfgs", "dense", False),
        ("gauss_newton", "dense", True),
        ("lbfgs", "words", True),
        ("gauss_newton", "words", True),
        ("adam", "words", False),
    ],
)
def test_tasks_without_one_row_of_outputs(name: str, task: str, refused: bool) -> None:
    keys = {"data": {"source": "digits"}, "model": "linear", "task": task, "optimizer": name}
    found = [p.message for p in with_model(Experiment.model_validate(keys), [], 10)]
    assert found == ([f"{name} is not for the task {task}"] if refused else [])


def model_problem(optimizer: str, model: Any) -> str:
    experiment = Experiment.model_validate(
        {
            "data": {"source": "digits"},
            "model": model,
            "loss": "cross_entropy",
            "training": FULL,
            "optimizer": optimizer,
        }
    )
    try:
        check_model(experiment, Signature((20,), 3, 100))
    except ConfigError as error:
        return error.problems[0].message
    return ""


@pytest.mark.parametrize("name", ["lbfgs", "gauss_newton"])
def test_the_loss_must_be_without_noise(name: str) -> None:
    dropout = {"name": "mlp", "hidden": [4], "dropout": 0.5}
    assert "needs a loss without noise; layer 2 is dropout" in model_problem(name, dropout)
    noisy = {"name": "mlp", "hidden": [4], "activation": "noisy_relu"}
    assert "noise; layer 1 is noisy_relu" in model_problem(name, noisy)
    assert model_problem(name, {"name": "mlp", "hidden": [4], "dropout": 0.0}) == ""
    assert model_problem("adam", dropout) == ""


def test_gauss_newton_is_for_small_models_whose_outputs_depend_on_one_example() -> None:
    normalized = {"name": "mlp", "hidden": [4], "batch_norm": True}
    assert "one example each" in model_problem("gauss_newton", normalized)
    assert model_problem("lbfgs", normalized) == ""
    wide = {"name": "mlp", "hidden": [300]}
    assert model_problem("gauss_newton", wide) == (
        "gauss_newton is for models of at most 5,000 parameters; this one has 7,203"
    )
    assert model_problem("lbfgs", wide) == ""


def test_small_batches_are_noted():
    from nnexp.config.second_order import small_batch

    data, model = {"source": "diabetes"}, {"name": "mlp", "hidden": [8]}
    keys = {"data": data, "model": model, "optimizer": "gauss_newton"}
    for size, least in ((64, 9), ("full", None), (265, None)):
        training = {"batch_size": size}
        notes = small_batch(Experiment.model_validate({**keys, "training": training}), 265, 97)
        assert bool(notes) == (least is not None)
        assert all(f"a batch of {least} examples for 97 parameters" in note for note in notes)
