"""Combinations of fields that can't work."""

from __future__ import annotations

from typing import Any

import pytest

from nnexp.components.losses.loss import Loss
from nnexp.components.optimizers.optimizer import Optimizer
from nnexp.components.samplers import Sampler
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


def problems_of(**keys: Any) -> list[tuple[str, str]]:
    given = {"data": {"source": "digits"}, "model": "linear", **keys}
    return [(p.path, p.message) for p in without_data(Experiment.model_validate(given))]


@pytest.mark.parametrize(
    "name", sorted(n for n, c in Optimizer.registered.items() if not getattr(c, "judges"))
)
@pytest.mark.parametrize("own", [0.0, 0.1])
def test_weights_decay_once(name: str, own: float) -> None:
    has_own = "weight_decay" in Optimizer.registered[name].model_fields
    optimizer = {"name": name, "weight_decay": own} if has_own else {"name": name}
    found = problems_of(optimizer=optimizer, regularization={"weight_decay": 0.1})
    message = f"{name} has a weight_decay of its own: give only one of the two"
    wrong = [("regularization.weight_decay", message)]
    assert found == (wrong if has_own and own else [])
    assert problems_of(optimizer=optimizer, regularization={"l2": 0.1}) == []


@pytest.mark.parametrize(
    ("form", "start", "wrong"),
    [
        ("average", "gradient", False),
        ("torch", "gradient", True),
        ("velocity", "gradient", True),
        ("torch", "zero", False),
    ],
)
def test_only_an_average_starts_with_the_gradient(form: str, start: str, wrong: bool) -> None:
    found = problems_of(optimizer={"name": "momentum", "form": form, "start": start})
    assert [path for path, _ in found] == (["optimizer.start"] if wrong else [])


@pytest.mark.parametrize(
    ("schedule", "path"),
    [
        ({"name": "cosine", "stretch": 2}, "schedule.stretch"),
        ({"name": "cosine", "stretch": 2, "restart": 5}, None),
        ({"name": "exponential", "gamma": 0.9, "rate": 0.1}, "schedule"),
        ({"name": "one_cycle", "three_phase": True, "pct_start": 0.6}, "schedule.pct_start"),
        ({"name": "one_cycle", "three_phase": True, "pct_start": 0.5}, None),
        ({"name": "constant", "warmup": {}}, "schedule.warmup"),
        ({"name": "plateau", "warmup": {"epochs": 1, "steps": 5}}, "schedule.warmup"),
        ({"name": "plateau", "warmup": {"epochs": 1}}, None),
    ],
)
def test_schedules_that_contradict_themselves(schedule: dict[str, Any], path: str | None) -> None:
    assert [found for found, _ in problems_of(schedule=schedule)] == ([path] if path else [])


@pytest.mark.parametrize(("name", "needed"), [("newbob", True), ("plateau", False)])
def test_who_needs_a_dev_split(name: str, needed: bool) -> None:
    data = {"source": "digits", "split": {"train": 1.0}}
    found = problems_of(data=data, schedule=name)
    assert found == ([("schedule", "newbob needs a dev split")] if needed else [])


@pytest.mark.parametrize("name", sorted(Sampler.registered))
@pytest.mark.parametrize("task", ["classification", "regression", "multilabel", "dense", "words"])
def test_samplers_by_class_need_a_class_an_example(name: str, task: str) -> None:
    found = problems_of(sampler={"name": name}, task=task)
    why = f"{name} is for classification; the task is {task}"
    wrong = name in ("class_balanced", "class_diverse") and task != "classification"
    assert [one for one in found if one[0] == "sampler"] == ([("sampler", why)] if wrong else [])
