"""What is advised is a change that the config takes: of every example, and in all its parts."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from nnexp.analysis.diagnosing import remedies
from nnexp.analysis.diagnosing.plan import next_step
from nnexp.analysis.diagnosing.remedies import Advice
from nnexp.analysis.results import Result, read_result
from nnexp.config.load import load_config

Write = Callable[..., Path]
CONFIGS = Path(__file__).parents[2] / "configs"
ASKED: list[Callable[[Result], Advice]] = [
    remedies.against_bias,
    remedies.against_variance,
    remedies.keep_best,
    remedies.longer,
    remedies.lower_rate,
    remedies.more_splits,
    lambda result: remedies.let_fall(result, "dev/loss"),
    *(
        lambda result, kind=kind: remedies.mend_layers(kind, result)  # type: ignore[misc]
        for kind in ("dead units", "saturated", "vanishing gradient", "exploding gradient")
    ),
]


def written(run: Write, name: str, config: dict[str, Any]) -> Result:
    rows = [{"split": "dev", "id": "e0", "target": "a", "prediction": "a", "loss": 0.1}]
    path = run(name, rows)
    (path / "resolved.yaml").write_text(yaml.safe_dump(config))
    return read_result(path)


def changes(advice: Advice) -> list[str]:
    """What its command sets."""
    words = shlex.split(advice.command)
    return [words[i + 1] for i, word in enumerate(words) if word == "--set"]


@pytest.mark.parametrize("name", sorted(path.stem for path in CONFIGS.glob("*.yaml")))
def test_no_remedy_is_refused(run: Write, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NNEXP_DATA", "/data")
    config = CONFIGS / f"{name}.yaml"
    result = written(run, name, load_config(config).experiment.dump())
    for ask in ASKED:
        advice = ask(result)
        assert advice.step
        assert advice.text
        if found := changes(advice):
            load_config(config, found)  # in the user's own file, too, where less is written out
            load_config(result.path / "resolved.yaml", found)
            assert all(f"--set {shlex.quote(one)}" in advice.text for one in found)


def mlp(**parts: Any) -> dict[str, Any]:
    model = {"name": "mlp", "hidden": [16], "dropout": 0.0, "batch_norm": False}
    return {"data": {"source": "digits"}, "model": model | parts.pop("model", {}), **parts}


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (mlp(), "model.hidden=[32]"),
        (mlp(model={"hidden": []}), "model.hidden=[64]"),
        (mlp(model={"dropout": 0.4}), "model.dropout=0.2"),
        (mlp(regularization={"l2": 0.01}), "regularization.l2=0.001"),
        (mlp(regularization={"l1": {"coefficient": 0.1}}), "regularization.l1.coefficient=0.01"),
        (
            {"data": {"source": "digits"}, "model": {"name": "linear"}},
            "model={name: mlp, hidden: [64]}",
        ),
    ],
)
def test_against_bias(run: Write, config: dict[str, Any], expected: str) -> None:
    assert changes(remedies.against_bias(written(run, "a", config))) == [expected]


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (mlp(), "model.dropout=0.2"),
        (mlp(model={"dropout": 0.3}), "model.dropout=0.5"),
        (mlp(model={"dropout": 0.5}), "regularization.l2=0.0001"),
        (
            mlp(model={"dropout": 0.5}, regularization={"l2": 0.001}),
            "regularization.l2=0.01",
        ),
        (
            mlp(model={"dropout": 0.5}, optimizer={"name": "adamw", "weight_decay": 0.01}),
            "optimizer.weight_decay=0.1",
        ),
        (
            mlp(optimizer="lbfgs", training={"batch_size": "full"}),  # bears no noise
            "regularization.l2=0.0001",
        ),
        (
            {"data": {"source": "digits"}, "model": {"name": "cnn", "channels": [8]}},
            "augmentation=[translate]",
        ),
    ],
)
def test_against_variance(run: Write, config: dict[str, Any], expected: str) -> None:
    assert changes(remedies.against_variance(written(run, "a", config))) == [expected]


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (mlp(training={"epochs": 3}), ["training.epochs=6"]),
        (mlp(training={"steps": 100}), ["training.steps=300"]),
        (
            mlp(training={"epochs": 9, "early_stopping": {"patience": 4}}),
            ["training.early_stopping.patience=8"],
        ),
        (mlp(schedule="newbob"), ["schedule.patience=1"]),
        (mlp(training={"max_minutes": 3}), ["training.epochs=6"]),
        (mlp(training={"epochs": 9, "max_minutes": 3}), ["training.max_minutes=6"]),
    ],
)
def test_longer(run: Write, config: dict[str, Any], expected: list[str]) -> None:
    """Of a training that ended after 2 epochs."""
    config.setdefault("training", {"epochs": 20})
    config["training"].setdefault("epochs", 2)
    assert changes(remedies.longer(written(run, "a", config))) == expected


def test_a_group_is_trained_again_as_one(group: Write) -> None:
    rows = [{"split": "dev", "id": "e0", "target": "a", "prediction": "a", "loss": 0.1}]
    path = group("a group", [{"rows": rows}] * 3, manifest={"varies": "split"})
    command = remedies.keep_best(read_result(path)).command
    assert re.match(r"nnexp train '[^']*a group/resolved.yaml' --splits 3 --set '", command)


def test_what_a_shell_makes_of_a_command(run: Write) -> None:
    """Whatever a folder is called."""
    home = "it's a $RUN (1)"
    result = written(run, home, mlp(training={"epochs": 3}))
    (result.path / "checkpoint").mkdir()
    config = str(result.path / "resolved.yaml")
    assert shlex.split(remedies.longer(result).command)[3] == str(result.path)
    assert shlex.split(remedies.keep_best(result).command)[2] == config
    assert shlex.split(remedies.check_first(result).command) == ["nnexp", "check", config]
    told = next_step(result, "dev", [])
    assert shlex.split(told.command) == ["nnexp", "eval", str(result.path)]


def test_the_plugins_of_a_run_go_with_it(run: Write) -> None:
    result = written(run, "a", mlp(model={"name": "mine", "dropout": 0.0}))
    (result.path / "plugins").mkdir()
    (result.path / "plugins" / "mine.py").write_text("")
    command = remedies.against_variance(result).command
    assert command.startswith(f"nnexp --plugin {result.path}/plugins/mine.py train ")
    assert command.endswith("--set model.dropout=0.2")


def test_a_committee_is_not_trained(run: Write) -> None:
    result = written(run, "a", mlp())
    (result.path / "m0").mkdir()
    assert remedies.against_variance(result).command == ""


@pytest.mark.parametrize(
    ("split", "expected"),
    [
        ({"train": 0.8, "test": 0.2}, ["data.split.train=0.6", "data.split.dev=0.2"]),
        ({"name": "k_fold", "folds": 5}, ["data.split.dev=0.2"]),
        ({"name": "ordered", "by": "day", "train": 0.8}, []),
    ],
)
def test_a_dev_part(run: Write, split: dict[str, Any], expected: list[str]) -> None:
    config = mlp() | {"data": {"source": "digits", "split": split}}
    assert changes(remedies.with_dev(written(run, "a", config))) == expected


def test_a_component_may_be_named_only(run: Write) -> None:
    result = written(run, "a", mlp(optimizer="sgd", schedule="constant"))
    assert changes(remedies.let_fall(result, "dev/loss")) == ["schedule=cosine"]
    assert changes(remedies.lower_rate(result)) == ["training.clip_grad_norm=1"]
