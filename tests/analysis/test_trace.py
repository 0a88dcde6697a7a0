"""The chain rule by hand, held against torch's."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nnexp.analysis.trace import DEEPEST, EXAMPLE, EXAMPLE_AT, FUNCTIONS, LONGEST, trace
from nnexp.errors import UsageError

TORCH = {
    "exp": torch.exp,
    "log": torch.log,
    "sqrt": torch.sqrt,
    "sin": torch.sin,
    "cos": torch.cos,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "relu": torch.relu,
    "softplus": torch.nn.functional.softplus,
    "abs": torch.abs,
    "max": torch.maximum,
    "min": torch.minimum,
}


def gradients(expression: str, values: dict[str, float]) -> dict[str, float]:
    return {n.name: n.gradient for n in trace(expression, values) if n.name in values}


def by_torch(expression: str, values: dict[str, float]) -> tuple[float, dict[str, float]]:
    leaves = {
        k: torch.tensor(v, dtype=torch.float64, requires_grad=True) for k, v in values.items()
    }
    known: dict[str, object] = {**TORCH, **leaves}
    *before, last = expression.split(";")
    for part in before:
        name, _, text = part.partition("=")
        known[name.strip()] = eval(text.strip(), {}, known)
    result = eval(last.strip(), {}, known)
    result.backward()
    return float(result.detach()), {k: float(v.grad) for k, v in leaves.items()}


def test_the_documents_neuron() -> None:
    nodes = trace(EXAMPLE, EXAMPLE_AT)
    assert nodes[-1].value == pytest.approx(0.7311, abs=5e-5)
    found = {node.name: node.gradient for node in nodes}
    told = {"w0": -0.1966, "w1": -0.3932, "w2": 0.1966, "x0": 0.3932, "x1": -0.5898}
    assert {k: found[k] for k in told} == pytest.approx(told, abs=5e-5)
    assert [node.text for node in nodes if node.text] == [
        "w0 · x0", "w1 · x1", "t1 + t2", "t3 + w2", "−t4", "exp(t5)", "1 + t6", "1 / t7",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("expression", "values"),
    [
        (EXAMPLE, EXAMPLE_AT),
        ("a = w*x; a + relu(a)", {"w": 1.5, "x": 2.0}),
        ("x*x*x - x/y", {"x": -1.3, "y": 0.7}),
        ("max(x, y)*min(x, y) + abs(x - y)", {"x": 2.0, "y": 3.0}),
        ("max(x, y) + 2*min(x, y)", {"x": 2.0, "y": 2.0}),
        ("x**y + y**2", {"x": 2.5, "y": 3.0}),
        ("(-x)**3 - +x", {"x": 2.5}),
        ("x**0 + x**2", {"x": 0.0}),
        ("log(softplus(x)) + sqrt(cos(x)**2 + sin(y)**2)", {"x": -0.4, "y": 1.1}),
        ("sigmoid(a) * tanh(b)", {"a": 3.0, "b": -2.0}),
        ("sigmoid(a) + softplus(a)", {"a": -700.0}),
        ("relu(x) + abs(x)", {"x": 0.0}),
    ],
)
def test_gradients_are_those_of_torch(expression: str, values: dict[str, float]) -> None:
    value, wanted = by_torch(expression, values)
    assert trace(expression, values)[-1].value == pytest.approx(value, rel=1e-12)
    assert gradients(expression, values) == pytest.approx(wanted, rel=1e-12, abs=1e-300)


@pytest.mark.parametrize("name", [name for name, (count, _) in FUNCTIONS.items() if count == 1])
@given(x=st.floats(0.01, 20.0))
@settings(max_examples=20, deadline=None)
def test_each_function(name: str, x: float) -> None:
    value, wanted = by_torch(f"{name}(x)", {"x": x})
    nodes = trace(f"{name}(x)", {"x": x})
    assert nodes[-1].value == pytest.approx(value, rel=1e-12)
    assert nodes[0].gradient == pytest.approx(wanted["x"], rel=1e-9, abs=1e-14)


def test_a_power_may_be_written_with_a_caret() -> None:
    assert gradients("(a + b)^2", {"a": 1.0, "b": 2.0}) == {"a": 6.0, "b": 6.0}


def test_gradients_add_up_at_a_fork() -> None:
    nodes = {node.name: node for node in trace("a = w*x; a + relu(a)", {"w": 1.5, "x": 2.0})}
    assert nodes["a"].gradient == 2.0
    assert [(outer.name, local) for outer, local in nodes["a"].received] == [
        ("f", 1.0),
        ("t1", 1.0),
    ]


def test_what_does_not_lead_to_the_result() -> None:
    nodes = trace("a = x*x; b = a*x; a", {"x": 3.0})
    assert [node.name for node in nodes] == ["x", "a"]
    assert nodes[0].gradient == 6.0


def test_names_of_nodes_are_not_those_of_variables() -> None:
    names = [node.name for node in trace("exp(t1 * f)", {"t1": 1.0, "f": 2.0})]
    assert names == ["t1", "f", "t2", "t3"]


@pytest.mark.parametrize(
    ("expression", "values", "message"),
    [
        ("", {}, "is empty"),
        ("w *", {"w": 1.0}, "is not arithmetic"),
        ("w + v", {"w": 1.0}, "v has no value: give it with --at v=…"),
        ("w", {"w": 1.0, "z": 1.0}, "z does not stand in the expression"),
        ("1 + 2", {}, "nothing but numbers"),
        ("esp(w)", {"w": 1.0}, "there is no function esp .*did you mean exp"),
        ("exp(w, w)", {"w": 1.0}, "exp takes 1 argument, not 2"),
        ("max(w)", {"w": 1.0}, "max takes 2 arguments, not 1"),
        ("w = 2; w", {"w": 1.0}, "w is given twice"),
        ("a = w; a = 2; a", {"w": 1.0}, "a is given twice"),
        ("w; w + 1", {"w": 1.0}, "w can't be traced"),
        ("w.real", {"w": 1.0}, "w.real can't be traced"),
        ("__import__('os').getcwd()", {}, "can't be traced"),
        ("w if w else 1", {"w": 1.0}, "can't be traced"),
        ("w + True", {"w": 1.0}, "True can't be traced"),
        ("w + 'a'", {"w": 1.0}, "can't be traced"),
        ("import os", {}, "import os can't be traced"),
        ("a[0] = w; w", {"w": 1.0}, "can't be traced"),
        ("log(w)", {"w": -1.0}, r"log\(w\) has no finite value or slope at w = -1"),
        ("1/w", {"w": 0.0}, "has no finite value or slope at w = 0"),
        ("sqrt(w)", {"w": 0.0}, "no finite value or slope"),
        ("exp(w)", {"w": 1e4}, "no finite value"),
        ("(-w)^v", {"w": 2.0, "v": 2.0}, "has no finite gradient here"),
        ("w + " + "9" * 400, {"w": 1.0}, "too large"),
        ("w + " + "9" * 4400, {"w": 1.0}, f"longer than {LONGEST}"),
        ("-" * (DEEPEST + 5) + "w", {"w": 1.0}, "nested more than"),
        ("not " + "-" * 1900 + "w", {"w": 1.0}, "nested more than|can't be read"),
        ("(" * 300 + "w" + ")" * 300, {"w": 1.0}, "not arithmetic|can't be read"),
        ("w\0", {"w": 1.0}, "not arithmetic|can't be read"),
    ],
)
def test_what_cannot_be_traced(expression: str, values: dict[str, float], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        trace(expression, values)


@given(st.text(max_size=60))
@settings(max_examples=200, deadline=None)
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        nodes = trace(text, {})
    except UsageError:
        return
    assert math.isfinite(nodes[-1].value)
