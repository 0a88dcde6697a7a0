"""`nnexp trace`: the forward and the backward pass through a small graph, number by number."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from nnexp.cli import console
from nnexp.cli.console import Cell
from nnexp.cli.options import AsJson
from nnexp.errors import UsageError


def trace(
    expression: Annotated[
        str | None,
        typer.Argument(help="Arithmetic; parts may be named. [default: a neuron with a sigmoid]"),
    ] = None,
    at: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE,…", help="Values of the variables; repeatable."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show values and gradients through a small graph.

    First the value of each operation, in the order in which they are computed; then, in reverse
    order, the derivative of the result by each, and how the chain rule comes to it. There are exp,
    log, sqrt, sin, cos, tanh, sigmoid, relu, softplus, abs, max and min.

    \b
    Examples:
      nnexp trace
      nnexp trace "1/(1 + exp(-(w0*x0 + w1*x1 + w2)))" --at w0=2,w1=-3,w2=-3,x0=-1,x1=-2
      nnexp trace "a = w*x + b; (relu(a) - y)^2" --at w=1.5,x=2,b=-1,y=1
    """
    from nnexp.analysis.trace import EXAMPLE, EXAMPLE_AT
    from nnexp.analysis.trace import trace as trace_graph

    values = dict(EXAMPLE_AT) if expression is None else {}
    expression = EXAMPLE if expression is None else expression
    values |= _values(",".join(at or []))
    nodes = trace_graph(expression, values)
    if as_json:
        told = [node.to_json() for node in nodes]
        console.say_json({"expression": expression, "value": nodes[-1].value, "nodes": told})
        return
    _show(expression, nodes)


def _show(expression: str, nodes: Sequence[Any]) -> None:
    """The values in the order they are computed, then the gradients in theirs."""
    result = nodes[-1]
    console.say(f"{expression} → {_number(result.value)}", "bold")
    variables = [node for node in nodes if not node.inputs]
    console.say("at " + ", ".join(f"{node} = {_number(node.value)}" for node in variables))
    rows: list[list[Cell]] = [
        [(node.name, "name"), node.text, (_number(node.value), "bold")]
        for node in nodes
        if node.inputs
    ]
    if rows:
        console.say()
        console.say("forwards: values", "bold")
        console.say_table(["", "", ""], rows, right=[2], whole=range(3), indent=2)
    console.say()
    console.say(f"backwards: gradients d{result}/d…, by the chain rule", "bold")
    rows = [
        [(node.name, "name"), (_number(node.gradient), "bold"), *_rule(node, result)]
        for node in reversed(nodes)
    ]
    console.say_table(["", "", "", ""], rows, right=[1], whole=range(2), indent=2)


def _values(text: str) -> dict[str, float]:
    """`w0=2,x0=-1` as numbers. Raises UsageError."""
    found: dict[str, float] = {}
    for part in text.split(",") if text else []:
        name, equals, number = (x.strip() for x in part.partition("="))
        try:
            value = float(number)
        except ValueError:
            value = math.nan
        if not (equals and name.isidentifier() and math.isfinite(value)):
            raise UsageError(f"--at: {part.strip()!r} is not a name and a number, such as w0=2")
        if name in found:
            raise UsageError(f"--at: {name} is given twice")
        found[name] = value
    return found


def _rule(node: Any, result: Any) -> tuple[Cell, Cell]:
    """How the chain rule comes to a gradient: in symbols, and in numbers."""
    if node is result:
        return "", ""
    ways: dict[Any, list[float]] = {}  # an operation may take it twice, as x · x does
    for outer, local in node.received:
        ways.setdefault(outer, []).append(local)
    symbols = " + ".join(f"d{result}/d{outer} · d{outer}/d{node}" for outer in ways)
    numbers = " + ".join(f"{_factor(outer.gradient)} · {_sum(ways[outer])}" for outer in ways)
    return f"= {symbols}", (f"= {numbers}", "dim")


def _sum(values: Sequence[float]) -> str:
    text = " + ".join(map(_factor, values))
    return f"({text})" if len(values) > 1 else text


def _factor(x: float) -> str:
    text = _number(x)
    return f"({text})" if x < 0 else text


def _number(x: float) -> str:
    """Four digits after the point, or five in all."""
    exact = f"{x:.4f}".rstrip("0").rstrip(".") if 1e-3 <= abs(x) < 1e5 else f"{x:.5g}"
    return exact.replace("-", "−")
