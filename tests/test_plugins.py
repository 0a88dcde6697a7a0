"""A user's own components: what a file has to be, and what is said of one that isn't."""

from __future__ import annotations

import hashlib
import inspect
import math
import re
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch

import nnexp.plugins
from nnexp.config.catalogue import describe, families, schema
from nnexp.config.plugins import blame, loaded, plugged
from nnexp.errors import UsageError
from nnexp.registry import FAMILIES, Spec, choose

EXAMPLE = Path(__file__).parent.parent / "configs" / "plugins" / "extras.py"
HEAD = """\
from __future__ import annotations
from typing import Literal
from nnexp.plugins import Activation, Averaged, Dataset, Loss, Metric, Schedule, param, torch

"""
LOSS = '''
class Mine(Loss):
    """Half the square."""

    name: Literal["mine"] = "mine"
    power: float = param(2.0, "exponent", ge=1, le=4)

    def per_example(self, outputs: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return outputs.sum(-1)
'''
FIRST = HEAD.count("\n") + 2
"""The line of `class Mine`."""


def registered() -> dict[str, dict[str, type[Spec]]]:
    return {family: dict(base.registered) for family, base in FAMILIES.items()}


def fails(path: Path, text: str | bytes) -> str:
    """What is said of such a file; it leaves nothing behind."""
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    before = registered()
    with pytest.raises(UsageError) as caught, plugged([path]):
        pass
    assert registered() == before
    assert loaded() == ()
    return str(caught.value)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "mine.py"


def test_the_example_is_there_until_the_end_of_the_block() -> None:
    before = registered()
    with plugged([EXAMPLE]):
        assert "focal" in families()["loss"]
        (focal,) = describe("focal")
        assert focal.source.startswith("Lin et al. (2017)")
        assert (focal.parameters[0].name, focal.parameters[0].range) == ("gamma", "≥ 0, ≤ 10")
        gamma = schema()["$defs"]["loss.focal"]["properties"]["gamma"]
        assert gamma["anyOf"][0] == {"type": "number", "minimum": 0, "maximum": 10}
        assert {"squared_relu"} <= FAMILIES["layer"].registered.keys()
        (plugin,) = loaded()
        assert plugin.sha256 == hashlib.sha256(EXAMPLE.read_bytes()).hexdigest()
    assert registered() == before
    assert loaded() == ()


def test_it_is_there_again_and_beside_others(file: Path) -> None:
    file.write_text(HEAD + LOSS)
    for _ in range(2):
        with plugged([file, EXAMPLE]):
            assert {"mine", "focal"} <= FAMILIES["loss"].registered.keys()


def test_focal_loss() -> None:
    """Against −(1 − p)^γ log p written out."""
    with plugged([EXAMPLE]):
        focal = choose(FAMILIES["loss"], {"name": "focal", "gamma": 1.5})
    outputs = torch.randn(2, 5, 3, dtype=torch.float64)
    target = torch.tensor([[0, 1, 2, 0, 1], [2, 2, 1, 0, 0]])
    found = focal.per_example(outputs, target)  # type: ignore[attr-defined]
    for m in range(2):
        for b in range(5):
            a = outputs[m, b].numpy()
            p = np.exp(a[target[m, b]]) / np.exp(a).sum()
            assert float(found[m, b]) == pytest.approx(-((1 - p) ** 1.5) * math.log(p), rel=1e-12)


def test_squared_relu_and_polynomial_floor() -> None:
    with plugged([EXAMPLE]):
        relu = choose(FAMILIES["activation"], "squared_relu")
        schedule = choose(FAMILIES["schedule"], {"name": "polynomial_floor", "power": 3})
    x = torch.tensor([-2.0, 0.0, 3.0])
    assert relu.forward(x, {}, {}, None).tolist() == [0.0, 0.0, 9.0]  # type: ignore[attr-defined]
    from nnexp.plugins import Progress

    factors = [schedule.factor(Progress(k, 5, 20), {}) for k in (0, 10, 20)]  # type: ignore[attr-defined]
    assert factors == pytest.approx([1.0, 0.05 + 0.95 / 8, 0.05])


def test_what_the_documents_show_is_a_plugin(file: Path) -> None:
    root = EXAMPLE.parents[2]
    blocks = re.findall(r"```python\n(.*?)```", (root / "README.md").read_text(), re.DOTALL)
    (shown,) = (block for block in blocks if "nnexp.plugins" in block)
    told = inspect.cleandoc(nnexp.plugins.__doc__ or "").partition("knows:\n\n")[2]
    documented = textwrap.dedent(told.partition("\n\nWhat each")[0]) + "\n"
    assert documented == shown
    file.write_text(shown)
    assert len(shown.splitlines()) <= 25
    with plugged([file]):
        short = choose(FAMILIES["loss"], {"name": "focal", "gamma": 3})
    with plugged([EXAMPLE]):
        long = choose(FAMILIES["loss"], {"name": "focal", "gamma": 3})
    outputs, target = torch.randn(2, 5, 3), torch.tensor([[0, 1, 2, 0, 1], [2, 2, 1, 0, 0]])
    found = [focal.per_example(outputs, target) for focal in (short, long)]  # type: ignore[attr-defined]
    torch.testing.assert_close(*found)


def test_all_that_is_offered_is_there() -> None:
    for name in nnexp.plugins.__all__:
        assert getattr(nnexp.plugins, name) is not None
    for base in FAMILIES.values():
        assert getattr(nnexp.plugins, base.__name__) is base


# -- files that can't be used ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "line", "said"),
    [
        ("class Mine(Loss:\n", 1, "SyntaxError: "),
        ("x = 1\n\nimport no_such_module\n", 3, "ModuleNotFoundError: No module named"),
        ("from nnexp.plugins import Losss\n", 1, "ImportError: cannot import name 'Losss'"),
        ("def f():\n    return 1 / 0\nf()\n", 2, "ZeroDivisionError: division by zero"),
        ("raise SystemExit(3)\n", 1, "SystemExit: 3"),
        ("import sys\nsys.exit()\n", 2, "SystemExit"),
        ("raise KeyError\n", 1, "KeyError"),
        ("x = 1\n", 1, "defines no component: there is no class below one of Activation, "),
    ],
)
def test_a_file_that_is_no_plugin(body: str, line: int, said: str, file: Path) -> None:
    assert fails(file, body).startswith(f"{file}:{line}: {said}")


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"x = '\x00'", b"# coding: nothing\n"])
def test_bytes_that_are_no_python(content: bytes, file: Path) -> None:
    assert fails(file, content).startswith(f"{file}:")


@pytest.mark.parametrize(
    ("old", "new", "line", "said"),
    [
        (
            '"mine"',
            '"hinge"',
            0,
            "loss 'hinge' is defined twice: in nnexp.components.losses.classes and",
        ),
        ('    """Half the square."""\n', "", 0, "Mine has no docstring"),
        ('    name: Literal["mine"] = "mine"\n', "", 0, 'Mine has no name: write name: Literal["m'),
        ('name: Literal["mine"] = "mine"', 'name: str = "mine"', 0, "Mine has no name"),
        ('name: Literal["mine"] = "mine"', 'name: Literal["mine"]', 0, "Mine has no name"),
        ('Literal["mine"] = "mine"', 'Literal["mine"] = "yours"', 0, "Mine has no name"),
        ('"mine"', '"My Loss"', 0, "Mine is named 'My Loss': a name has small letters"),
        ('name: Literal["mine"] = "mine"', 'name = "mine"', 0, "PydanticUserError: A non-annot"),
        ('"exponent", ', '"", ', 4, "Mine.power has no description"),
        ('param(2.0, "exponent", ge=1, le=4)', "2.0", 4, "2 problems"),
        (", le=4", "", 4, "Mine.power is a number and needs bounds on both sides"),
        ("ge=1, ", "", 4, "Mine.power is a number and needs bounds on both sides"),
        ("power: float", "power: list[float]", 4, "Mine.power is a number and needs bounds"),
        ("power: float", "power: bytes", 4, "Mine.power has a type that no config can hold"),
        ("power: float", "power: tuple[int, int]", 4, "Mine.power has a type that no config can"),
        ("power: float", "power: Flaot", 4, "Mine.power has a type that is not defined"),
        ("per_example", "for_each", 0, "Mine has no method per_example"),
        ("(Loss)", "(Schedule)", 0, "Mine has no method at or factor"),
        ("(Loss)", "(Activation)", 0, "Mine has no method forward or parts"),
        ("(Loss)", "(Dataset)", 0, "Mine has no method load"),
        ("(Loss)", "(Metric)", 0, "Mine has no method compute"),
    ],
)
def test_a_component_that_lacks_something(
    old: str, new: str, line: int, said: str, file: Path
) -> None:
    assert old in LOSS
    told = fails(file, HEAD + LOSS.replace(old, new))
    if said[0].isdigit():
        assert told.startswith(f"{said} in {file}\n{file}:{FIRST + line}: ")
    else:
        assert told.startswith(f"{file}:{FIRST + line}: {said}")


def test_a_mean_over_the_examples_needs_each_ones_share(file: Path) -> None:
    text = HEAD + LOSS.replace("(Loss)", "(Averaged)")
    assert fails(file, text.replace("per_example", "x")).endswith("has no method per_example")


def test_every_problem_is_told_in_the_order_of_the_lines(file: Path) -> None:
    wrong = LOSS.replace('    """Half the square."""\n', "").replace(", le=4", "")
    second = wrong.replace("Mine", "Other").replace("mine", "other")
    head, *rest = fails(file, HEAD + wrong + second).split("\n")
    assert head == f"4 problems in {file}"
    lines = [int(text.removeprefix(f"{file}:").partition(":")[0]) for text in rest]
    assert lines == sorted(lines)
    assert len(set(lines)) == 4


def test_what_classes_of_the_file_share_needs_no_name(file: Path) -> None:
    shared = LOSS.replace('    name: Literal["mine"] = "mine"\n', "").replace("Mine", "_Base")
    own = '\n\nclass Own(_Base):\n    """Own."""\n\n    name: Literal["own"] = "own"\n'
    file.write_text(HEAD + shared + own)
    with plugged([file]):
        assert "own" in FAMILIES["loss"].registered
    told = fails(file, HEAD + shared.replace(", le=4", "") + own)
    assert told == (
        f"{file}:{FIRST + 3}: Own.power is a number and needs bounds on both sides: ge or gt, "
        "and le or lt"
    )


def test_a_file_beside_it_is_not_found(file: Path) -> None:
    file.with_name("helper.py").write_text("x = 1\n")
    assert "a plugin is one file, so helper.py can't be imported" in fails(file, "import helper\n")


def test_files_that_are_not_there_or_not_to_be_kept(tmp_path: Path, file: Path) -> None:
    file.write_text(HEAD + LOSS)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "mine.py").write_text(HEAD + LOSS.replace("mine", "yours"))
    for paths, said in (
        ([tmp_path / "none.py"], "can't be read: No such file"),
        ([tmp_path], "a plugin is a Python file"),
        ([tmp_path / "my plugin.py"], "a plugin is a Python file"),
        ([tmp_path / ".py"], "a plugin is a Python file"),
        ([file, file], f"{file} has the same name"),
        ([file, tmp_path / "other" / "mine.py"], f"{file} has the same name"),
    ):
        with pytest.raises(UsageError, match="--plugin") as caught, plugged(paths):
            pass
        assert said in str(caught.value)
        assert "mine" not in FAMILIES["loss"].registered


def test_blame(file: Path) -> None:
    file.write_text(HEAD + LOSS.replace("outputs.sum(-1)", "outputs.summ(-1)"))
    with plugged([file]):
        loss = choose(FAMILIES["loss"], "mine")
    with pytest.raises(AttributeError) as caught:
        loss.per_example(torch.zeros(1, 2, 3), None)  # type: ignore[attr-defined]
    assert blame(caught.value).startswith(f"{file}:{FIRST + 7}: in Mine.per_example: AttributeE")
    with pytest.raises(ValueError, match="invalid") as other:
        int("x")
    assert blame(other.value) == ""
