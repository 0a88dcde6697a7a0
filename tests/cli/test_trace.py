"""`nnexp trace` on the command line."""

from __future__ import annotations

import json

import pytest

from nnexp.cli.app import run


def test_the_documents_neuron_stands_there_by_itself(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["trace"]) == 0
    shown = capsys.readouterr().out
    assert "→ 0.7311" in shown
    for number in ("−0.1966", "−0.3932", "0.3932", "−0.5898"):
        assert number in shown
    forwards, backwards = shown.split("backwards")
    assert [line.split()[0] for line in forwards.splitlines()[-9:-1]][-2:] == ["t7", "f"]
    t5 = next(line for line in backwards.splitlines() if line.split()[:1] == ["t5"])
    assert " ".join(t5.split()) == "t5 −0.1966 = df/dt6 · dt6/dt5 = (−0.5344) · 0.3679"
    order = [line.split()[0] for line in backwards.splitlines()[1:]]
    assert order[:3] == ["f", "t7", "t6"]


def test_its_values_can_be_changed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["trace", "--at", "w0=0,x0=0", "--at", "w1=0", "--at", "w2=0", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["value"] == 0.5
    assert {node["name"]: node["gradient"] for node in told["nodes"]}["w2"] == 0.25


def test_an_expression_of_ones_own(capsys: pytest.CaptureFixture[str]) -> None:
    given = ["a = w*x + b; (relu(a) - y)^2", "--at", "w=1.5,x=2,b=-1,y=1"]
    assert run(["trace", *given]) == 0
    assert "1 · 1 (a)" not in capsys.readouterr().out
    assert run(["trace", *given, "--json"]) == 0
    nodes = {node["name"]: node for node in json.loads(capsys.readouterr().out)["nodes"]}
    assert nodes["w"]["gradient"] == 4.0
    assert nodes["a"]["inputs"] == [{"name": "t1", "local": 1.0}, {"name": "b", "local": 1.0}]


@pytest.mark.parametrize(
    ("at", "message"),
    [
        ("w", "'w' is not a name and a number"),
        ("w=a", "'w=a' is not a name and a number"),
        ("w=nan", "'w=nan' is not a name and a number"),
        ("2=1", "'2=1' is not a name and a number"),
        ("w=1,w=2", "w is given twice"),
        ("v=1", "w has no value: give it with --at w="),
    ],
)
def test_bad_values(at: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["trace", "w*v", "--at", at]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("expression", "mark"),
    [
        ("x^2 + esp(x)", "esp"),
        ("x^2 ++ *x", "*x"),
        ("é^2·x − log(x − x)", "log"),
        ("a = x^2;\n  a + b^2", "b"),
        ("x**2 + x.real", "x.real"),
    ],
)
def test_a_mark_stands_below_what_is_wrong(
    expression: str, mark: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["trace", expression, "--at", "x=1", "--at", "é=2"]) == 2
    *_, line, below = capsys.readouterr().err.rstrip("\n").split("\n")
    assert line.strip() == expression.rsplit("\n", maxsplit=1)[-1].strip()
    assert line[below.index("^") :].startswith(mark)


def test_at_a_fork_both_ways_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["trace", "a = x*x; a·sigmoid(a)", "--at", "x=0"]) == 0
    shown = capsys.readouterr().out
    assert "df/df · df/da + df/dt1 · dt1/da" in shown
    assert "df/da · da/dx" in shown
    assert "0.5 · (0 + 0)" in shown


def test_a_variable_alone(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["trace", "x", "--at", "x=3"]) == 0
    assert "dx/d…" in capsys.readouterr().out
