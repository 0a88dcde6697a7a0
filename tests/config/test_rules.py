"""Combinations of a loss's fields that can't work."""

from __future__ import annotations

from typing import Any

import pytest

from nnexp.components.losses import Loss
from nnexp.config.experiment import Experiment
from nnexp.config.rules import without_data


@pytest.mark.parametrize("name", sorted(Loss.registered))
@pytest.mark.parametrize("weights", ["balanced", {"a": 2.0}, None])
def test_class_weights_need_classes(name: str, weights: Any) -> None:
    experiment = Experiment.model_validate(
        {
            "data": {"source": "digits"},
            "model": "linear",
            "loss": {"name": name, "class_weights": weights},
        }
    )
    found = [p for p in without_data(experiment) if p.path == "loss.class_weights"]
    wrong = "classification" not in getattr(Loss.registered[name], "tasks") and weights is not None
    assert len(found) == wrong
    for problem in found:
        assert problem.message == f"{name} has no classes to weigh"
        assert "cross_entropy" in problem.allowed
