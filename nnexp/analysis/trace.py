"""Forward and backward values through a small graph of arithmetic, by the chain rule.

An expression such as `1/(1 + exp(-(w0*x0 + w1*x1 + w2)))` becomes a node for each operation. The
backward pass goes through them in reverse order; at a fork the gradients add up.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from nnexp.errors import UsageError, count, nearest

LONGEST, DEEPEST = 2000, 200
"""Characters of an expression, and levels of nesting."""

EXAMPLE = "1/(1 + exp(-(w0*x0 + w1*x1 + w2)))"
EXAMPLE_AT = {"w0": 2.0, "w1": -3.0, "w2": -3.0, "x0": -1.0, "x1": -2.0}
"""A neuron with a sigmoid, and where it is looked at."""

Local = tuple[float, tuple[float, ...]]
"""A value, and its derivative by each of what it is made from."""
Operation = Callable[..., Local]


@dataclass(eq=False)
class Node:
    """A variable, a number or an operation.

    text: what it is, such as `w0 · x0`. inputs: the nodes it is made from; local: its derivative by
    each of them. gradient: the derivative of the result by it.
    """

    name: str
    text: str
    value: float
    inputs: tuple[Node, ...] = ()
    local: tuple[float, ...] = ()
    is_number: bool = False
    gradient: float = 0.0
    received: list[tuple[Node, float]] = field(default_factory=list)
    """What it is part of, each with its derivative by this one."""

    def __str__(self) -> str:
        return self.name or self.text

    def to_json(self) -> dict[str, Any]:
        inputs = [
            {"name": x.name, "local": d} for x, d in zip(self.inputs, self.local, strict=True)
        ]
        told = {"name": self.name, "text": self.text, "value": self.value}
        return {**told, "gradient": self.gradient, "inputs": inputs}


def trace(expression: str, values: Mapping[str, float]) -> list[Node]:
    """Variables and operations in the order of the forward pass, up to the result.

    expression: arithmetic over names, numbers and `FUNCTIONS`; parts of it may be named before:
    `a = w*x; a + relu(a)`. UsageError for anything else, for a name without a value, and where a
    value or a gradient is not finite.
    """
    reader = _Reader(expression, values)
    reader.result.gradient = 1.0
    nodes = reader.nodes[: reader.nodes.index(reader.result) + 1]
    for node in reversed(nodes):
        for source, local in zip(node.inputs, node.local, strict=True):
            if source.is_number:
                continue
            source.gradient += node.gradient * local
            source.received.append((node, local))
            if not math.isfinite(source.gradient):
                raise UsageError(f"{node.name} = {node.text} has no finite gradient here")
    return nodes


# -- operations ------------------------------------------------------------------------------------


def _power(x: float, n: float) -> Local:
    value = math.pow(x, n)
    by_base = n * math.pow(x, n - 1) if n else 0.0
    by_exponent = 0.0 if x == 0 <= n else value * math.log(x) if x > 0 else math.nan
    return value, (by_base, by_exponent)


def _exp(x: float) -> Local:
    value = math.exp(x)
    return value, (value,)


def _sqrt(x: float) -> Local:
    value = math.sqrt(x)
    return value, (0.5 / value,)


def _tanh(x: float) -> Local:
    value = math.tanh(x)
    return value, (1.0 - value**2,)


def _sigmoid(x: float) -> Local:
    small = math.exp(-abs(x))  # so that nothing overflows
    value = (1.0 if x >= 0 else small) / (1.0 + small)
    return value, (small / (1.0 + small) ** 2,)


def _softplus(x: float) -> Local:
    return max(x, 0.0) + math.log1p(math.exp(-abs(x))), (_sigmoid(x)[0],)


def _extreme(sign: float) -> Operation:
    """max (1) or min (−1) of two; of equal ones each gets half, as in torch."""

    def operation(a: float, b: float) -> Local:
        share = 0.5 if a == b else float(sign * (a - b) > 0)
        return (a if sign * (a - b) >= 0 else b), (share, 1.0 - share)

    return operation


FUNCTIONS: dict[str, tuple[int, Operation]] = {
    "exp": (1, _exp),
    "log": (1, lambda x: (math.log(x), (1.0 / x,))),
    "sqrt": (1, _sqrt),
    "sin": (1, lambda x: (math.sin(x), (math.cos(x),))),
    "cos": (1, lambda x: (math.cos(x), (-math.sin(x),))),
    "tanh": (1, _tanh),
    "sigmoid": (1, _sigmoid),
    "relu": (1, lambda x: (max(x, 0.0), (float(x > 0),))),
    "softplus": (1, _softplus),
    "abs": (1, lambda x: (abs(x), (float((x > 0) - (x < 0)),))),
    "max": (2, _extreme(1.0)),
    "min": (2, _extreme(-1.0)),
}
"""What an expression may call, with how many arguments."""

_BINARY: dict[type[ast.operator], tuple[str, Operation]] = {
    ast.Add: ("+", lambda a, b: (a + b, (1.0, 1.0))),
    ast.Sub: ("−", lambda a, b: (a - b, (1.0, -1.0))),
    ast.Mult: ("·", lambda a, b: (a * b, (b, a))),
    ast.Div: ("/", lambda a, b: (a / b, (1.0 / b, -a / b / b))),
    ast.Pow: ("^", _power),
}


# -- reading ---------------------------------------------------------------------------------------


class _Fault(Exception):
    """Something is wrong with the part that is being read, which a UsageError then shows."""


@dataclass(frozen=True)
class _Written:
    """An expression as it was written, and as Python reads it: with ** for ^, * for · and -.

    origin: for each character of `text`, and its end, the place in `expression`.
    """

    expression: str
    text: str
    origin: tuple[int, ...]

    @classmethod
    def of(cls, expression: str) -> _Written:
        expression = expression.strip()
        parts = [_SIGNS.get(sign, sign) for sign in expression]
        for place in range(1, len(parts)):  # a line of a formula may be indented
            if parts[place] in " \t" and parts[place - 1] in ("\n", ""):
                parts[place] = ""
        origin = [place for place, part in enumerate(parts) for _ in part]
        return cls(expression, "".join(parts), (*origin, len(expression)))

    def part(self, tree: ast.AST) -> str:
        """What the user wrote for a part."""
        line, end = getattr(tree, "lineno", 1), getattr(tree, "end_lineno", 1)
        start = self._place(line, self._characters(line, getattr(tree, "col_offset", 0)))
        stop = self._place(end, self._characters(end, getattr(tree, "end_col_offset", 0)))
        return self.expression[start:stop]

    def error(self, message: str, tree: ast.AST) -> UsageError:
        """The message, and under it the expression with a mark below the part."""
        line = getattr(tree, "lineno", 1)
        return self.error_at(message, line, self._characters(line, getattr(tree, "col_offset", 0)))

    def error_at(self, message: str, line: int, column: int) -> UsageError:
        place = self._place(line, column)
        start = self.expression.rfind("\n", 0, place) + 1
        shown = self.expression[start:].partition("\n")[0]
        first = max(0, place - start - _SHOWN // 2)
        cut = shown[first : first + _SHOWN].replace("\t", " ")
        return UsageError(f"{message}\n    {cut}\n    {' ' * (place - start - first)}^")

    def _characters(self, line: int, offset: int) -> int:
        """Python counts the columns of a line in bytes."""
        lines = self.text.split("\n")
        return len(lines[min(line, len(lines)) - 1].encode()[:offset].decode(errors="ignore"))

    def _place(self, line: int, column: int) -> int:
        before = sum(len(one) + 1 for one in self.text.split("\n")[: line - 1])
        return self.origin[min(max(before + column, 0), len(self.text))]


_SIGNS = {"^": "**", "·": "*", "×": "*", "−": "-"}
"""What a trace itself shows may be typed."""
_SHOWN = 70
"""Characters of a line that an error shows."""


class _Reader:
    """Reads an expression; its `nodes` stand in the order in which they are computed."""

    def __init__(self, expression: str, values: Mapping[str, float]) -> None:
        self.written = _Written.of(expression)
        body = _parsed(self.written)
        self.values, self.known = values, dict[str, Node]()
        self.nodes: list[Node] = []
        names = (x.id for part in body for x in ast.walk(part) if isinstance(x, ast.Name))
        self.taken = {*names, *values}
        self.count = 0
        for part in body:
            if isinstance(part, ast.Assign):
                self.result = self._define(part)
            elif isinstance(part, ast.Expr) and part is body[-1]:
                self.result = self.read(part.value, "" if "f" in self.taken else "f")
            else:
                raise self.written.error(self._refusal(part), part)
        if self.result.is_number:
            raise UsageError("there is nothing but numbers in the expression")
        if unused := [name for name in values if name not in self.known]:
            raise UsageError(f"{', '.join(unused)} does not stand in the expression: {expression}")

    def read(self, tree: ast.expr, name: str = "") -> Node:
        """The node of a part, called `name` if it is an operation."""
        try:
            return self._read(tree, name)
        except _Fault as fault:
            raise self.written.error(str(fault), tree) from None

    def _read(self, tree: ast.expr, name: str) -> Node:
        match tree:
            case ast.Name(id=known):
                return self._variable(known)
            case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
                return _number(number)
            case ast.UnaryOp(op=ast.UAdd()):
                return self.read(tree.operand, name)
            case ast.UnaryOp(op=ast.USub()):
                inner = self.read(tree.operand)
                return self._add(name, f"−{inner}", lambda x: (-x, (-1.0,)), inner)
            case ast.BinOp() if type(tree.op) in _BINARY:
                sign, operation = _BINARY[type(tree.op)]
                left, right = self.read(tree.left), self.read(tree.right)
                return self._add(name, f"{left} {sign} {right}", operation, left, right)
            case ast.Call(func=ast.Name(id=called), keywords=[]):
                return self._call(called, [self.read(x) for x in tree.args], name)
        raise _Fault(self._refusal(tree))

    def _call(self, called: str, inputs: list[Node], name: str) -> Node:
        if called not in FUNCTIONS:
            close = nearest(called, FUNCTIONS)
            hint = f"; did you mean {close}?" if close else ""
            raise _Fault(f"there is no function {called} (there are: {', '.join(FUNCTIONS)}){hint}")
        wanted, operation = FUNCTIONS[called]
        if len(inputs) != wanted:
            raise _Fault(f"{called} takes {count(wanted, 'argument')}, not {len(inputs)}")
        return self._add(name, f"{called}({', '.join(map(str, inputs))})", operation, *inputs)

    def _define(self, part: ast.Assign) -> Node:
        match part.targets:
            case [ast.Name(id=name)] if name in self.known or name in self.values:
                raise self.written.error(f"{name} is given twice", part)
            case [ast.Name(id=name)]:
                self.known[name] = node = self.read(part.value, name)
                return node
        raise self.written.error(self._refusal(part), part)

    def _variable(self, name: str) -> Node:
        if name not in self.known:
            if name not in self.values:
                raise _Fault(f"{name} has no value: give it with --at {name}=…")
            self.known[name] = Node(name, "", self.values[name])
            self.nodes.append(self.known[name])
        return self.known[name]

    def _add(self, name: str, text: str, operation: Operation, *inputs: Node) -> Node:
        try:
            value, local = operation(*(x.value for x in inputs))
        except (ValueError, OverflowError, ZeroDivisionError):
            value, local = math.nan, ()
        if not math.isfinite(value):
            at = ", ".join(f"{x} = {x.value:g}" for x in inputs if not x.is_number)
            raise _Fault(f"{text} has no finite value or slope" + (f" at {at}" if at else ""))
        if all(x.is_number for x in inputs):
            return _number(value)
        node = Node(name or self._fresh(), text, value, inputs, local)
        self.nodes.append(node)
        return node

    def _fresh(self) -> str:
        """t1, t2, …, but for names that are in use."""
        self.count += 1
        while f"t{self.count}" in self.taken:
            self.count += 1
        return f"t{self.count}"

    def _refusal(self, part: ast.AST) -> str:
        shown = self.written.part(part)
        return (
            f"{shown if len(shown) < 60 else shown[:59] + '…'} can't be traced: write +, -, *, /, "
            f"^, {', '.join(FUNCTIONS)}, and name parts like this: a = w*x; a + relu(a)"
        )


def _parsed(written: _Written) -> list[ast.stmt]:
    text = written.text
    if len(text) > LONGEST:
        raise UsageError(f"the expression is longer than {LONGEST} characters")
    try:
        body = ast.parse(text).body
    except SyntaxError as error:
        message = f"that is not arithmetic: {error.msg}"
        raise written.error_at(message, error.lineno or 1, (error.offset or 1) - 1) from None
    except (ValueError, RecursionError, MemoryError):
        raise UsageError("the expression can't be read") from None
    if not body:
        raise UsageError("the expression is empty")
    depth, level = 0, list[ast.AST](body)
    while level := [child for node in level for child in ast.iter_child_nodes(node)]:
        depth += 1
        if depth > DEEPEST:
            raise UsageError(f"the expression is nested more than {DEEPEST} levels deep")
    return body


def _number(value: float) -> Node:
    """A number; _Fault if it is too large."""
    try:
        value = float(value)
    except OverflowError:
        value = math.inf
    if not math.isfinite(value):
        raise _Fault("a number in the expression is too large")
    return Node("", f"{value:g}".replace("-", "−"), value, is_number=True)
