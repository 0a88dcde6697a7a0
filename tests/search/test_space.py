"""From the section `sweep` to a space: own ranges, conditions, parts of choices, and mistakes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nnexp.components.searching.domain import Choice, Int, LogUniform, OneMinusLog, Uniform
from nnexp.components.searching.space import Space
from nnexp.config.load import load_config
from nnexp.errors import ConfigError
from nnexp.search.space import build_space

BASE = """\
data: {source: digits}
model: {name: mlp, hidden: [8], dropout: 0.1}
optimizer: momentum
sweep:
  search:
"""


def space(tmp_path: Path, *lines: str) -> Space:
    path = tmp_path / "c.yaml"
    path.write_text(BASE + "".join(f"    {line}\n" for line in lines))
    config = load_config(path)
    assert config.experiment.sweep is not None
    return build_space(config.experiment.sweep, config.node)


def problem(tmp_path: Path, *lines: str) -> str:
    with pytest.raises(ConfigError) as caught:
        space(tmp_path, *lines)
    return str(caught.value)


def test_keys_have_ranges_of_their_own(tmp_path: Path) -> None:
    keys = [
        "optimizer.lr:", "optimizer.momentum:", "model.dropout:", "regularization.l2:",
        "training.batch_size:", "model.batch_norm:", "optimizer.rate_rule:",
    ]  # fmt: skip
    found = {one.path: one.domain for one in space(tmp_path, *keys).parameters}
    expected: dict[str, Any] = {
        "optimizer.lr": LogUniform(range=[1e-4, 1.0]),
        "optimizer.momentum": OneMinusLog(range=[0.9, 0.999]),
        "model.dropout": Uniform(range=[0.0, 0.8]),
        "regularization.l2": LogUniform(range=[1e-6, 1e-1]),
        "training.batch_size": Choice(options=[16, 32, 64, 128, 256]),
        "model.batch_norm": Choice(options=[False, True]),
        "optimizer.rate_rule": Choice(options=["equal", "sqrt_connections"]),
    }
    assert found | {"optimizer.lr": expected["optimizer.lr"]} == expected
    low, high = found["optimizer.lr"].ends  # type: ignore[attr-defined]
    assert 0 < low < 1e-2 < high


@pytest.mark.parametrize("written", ["optimizer.lr", "[optimizer.lr, model.dropout]"])
def test_names_alone_will_do(tmp_path: Path, written: str) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(BASE.replace("  search:\n", f"  search: {written}\n"))
    config = load_config(path)
    assert config.experiment.sweep is not None
    names = [one.path for one in build_space(config.experiment.sweep, config.node).parameters]
    assert names == written.strip("[]").split(", ")


def test_a_key_of_some_choices_depends_on_them(tmp_path: Path) -> None:
    found = space(
        tmp_path,
        "schedule: [constant, {name: one_cycle, pct_start: {uniform: [0.1, 0.5]}}, exponential]",
        "schedule.gamma: {uniform: [0.5, 1]}",
        "optimizer.lr: {log_uniform: [0.01, 1]}",
    )
    by_name = {one.name: one for one in found.parameters}
    assert by_name["schedule[one_cycle].pct_start"].when == ("schedule", frozenset({1}))
    assert by_name["schedule.gamma"].when == ("schedule", frozenset({2}))
    assert by_name["optimizer.lr"].when is None
    draw = dict.fromkeys(by_name, 0.5) | {"schedule": 1}
    assert found.values(draw) == {
        "schedule": {"name": "one_cycle"},
        "schedule.pct_start": 0.3,
        "optimizer.lr": 0.1,
    }


def test_a_key_of_all_choices_does_not(tmp_path: Path) -> None:
    found = space(tmp_path, "optimizer: [sgd, adam]", "optimizer.lr: {log_uniform: [0.01, 1]}")
    assert [one.when for one in found.parameters] == [None, None]


def test_a_list_item_is_a_key_too(tmp_path: Path) -> None:
    found = space(tmp_path, "model.hidden.0: {int: [8, 64]}")
    assert found.parameters[0].domain == Int(range=[8, 64])


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("optimizer.lrr:", "sweep.search.optimizer.lrr: there is no such key"),
        ("optimizer.lrr:", "did you mean optimizer.lr?"),
        ("schedule:", "has no range of its own"),
        ("model.hidden:", "has no range of its own"),
        ("sweep.trials:", "can't be searched over"),
        ("name: [a, b]", "can't be searched over"),
        ("optimizer.lr: {log_uniform: [0, 1]}", "a logarithmic scale has no 0"),
        ("optimizer.lr: {uniform: [0, 1], log_uniform: [1, 2]}", "has 2 domains"),
        ("optimizer.lr: {logg: [1, 2]}", "there is no such domain"),
        ("optimizer.lr: 3", "should be a mapping"),
    ],
)
def test_mistakes_are_told_with_their_place(tmp_path: Path, line: str, said: str) -> None:
    text = problem(tmp_path, line)
    assert said in text
    assert "c.yaml:6:" in text or "2 domains" in said


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    text = problem(tmp_path, "optimizer.lrr:", "schedule:", "model.dropuot: [0.1]")
    assert text.startswith("3 problems")
