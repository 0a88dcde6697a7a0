"""`nnexp trace`: the forward and the backward pass through a small graph, number by number."""

from __future__ import annotations

import math
from typing import Annotated, Any

import typer

from nnexp.cli import console
from nnexp.cli.console import Cell
from nnexp.cli.results import AsJson
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
    """Show values forwards and gradients backwards through a small graph of arithmetic.

    Each row is a variable or an operation: its value, the derivative of the result by it, and how
    the chain rule comes to that. There are exp, log, sqrt, sin, cos, tanh, sigmoid, relu, softplus,
    abs, max and min.

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
    for text in at or []:
        values |= _values(text)
    nodes = trace_graph(expression, values)
    if as_json:
        told = [node.to_json() for node in nodes]
        console.say_json({"expression": expression, "value": nodes[-1].value, "nodes": told})
        return
    console.say(f"{expression} → {_number(nodes[-1].value)}", "bold")
    console.say_table(
        ["", "", "value", "gradient", "by the chain rule"],
        [_row(node) for node in nodes],
        right=[2, 3],
        whole=range(4),
        indent=2,
    )


def _values(text: str) -> dict[str, float]:
    """`w0=2,x0=-1` as numbers. Raises UsageError."""
    found: dict[str, float] = {}
    for part in text.split(","):
        name, equals, number = (x.strip() for x in part.partition("="))
        try:
            value = float(number)
        except ValueError:
            value = math.nan
        if not (equals and name.isidentifier() and math.isfinite(value)):
            raise UsageError(f"--at: {part.strip()!r} is not a name and a number, such as w0=2")
        found[name] = value
    return found


def _row(node: Any) -> list[Cell]:
    rule = " + ".join(
        f"{_factor(outer.gradient)} · {_factor(local)} ({outer})" for outer, local in node.received
    )
    return [
        (node.name, "name"),
        node.text,
        _number(node.value),
        (_number(node.gradient), "bold"),
        (rule, "dim"),
    ]


def _factor(x: float) -> str:
    text = _number(x)
    return f"({text})" if x < 0 else text


def _number(x: float) -> str:
    """Four digits after the point, or five in all."""
    exact = f"{x:.4f}".rstrip("0").rstrip(".") if 1e-3 <= abs(x) < 1e5 else f"{x:.5g}"
    return exact.replace("-", "−")
