"""Steps of preprocessing as nodes of an ONNX graph, in float64 as in training.

Consecutive steps that are one linear map are folded into it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from nnexp.components.preprocessing import Impute, Log1p, OneHot, Ordinal, Quantile, Tokenize
from nnexp.components.preprocessing.columns import placed
from nnexp.components.preprocessing.distributions import EDGE
from nnexp.components.preprocessing.sequences import FIRST, UNKNOWN
from nnexp.components.preprocessing.step import Affine, State, Step
from nnexp.components.table import Features
from nnexp.data.prepare import Pipeline
from nnexp.deploy.graph import Graph
from nnexp.deploy.stored import example_of
from nnexp.errors import UsageError

ML = "ai.onnx.ml"


@dataclass(frozen=True)
class Columns:
    """Values of a graph that stand for features.

    numbers: double `[N, F]`, images flattened; "" if there are none. texts: each string `[N, 1]`.
    like: a made-up example with these columns.
    """

    numbers: str
    texts: tuple[str, ...]
    like: Features


def add_pipeline(graph: Graph, pipeline: Pipeline, numbers: str, texts: tuple[str, ...]) -> str:
    """Inputs of the network, float `[N, *input_shape]`.

    numbers: raw ones, double `[N, F]`; "" if there are none. texts: each raw column, string
    `[N, 1]`.
    Raises UsageError if a step has no form in ONNX.
    """
    now = Columns(numbers, texts, example_of(pipeline))
    width = now.like.width
    pending = same = Affine(np.ones(width), np.zeros(width))
    for step, state in pipeline.fitted:
        one = step.affine(now.like, state)
        if one is not None:
            pending, after = pending.then(one), step.apply(now.like, state)
            now = replace(now, like=after)
            continue
        if pending is not same:
            now = replace(now, numbers=_linear(graph, now.numbers, pending))
        now = _other(graph, step, state, now)
        width = now.like.width
        pending = same = Affine(np.ones(width), np.zeros(width))
    flat = now.numbers if pending is same else _linear(graph, now.numbers, pending)
    return graph.reshape(graph.cast(flat, "float"), pipeline.input_shape)


def _linear(graph: Graph, x: str, affine: Affine) -> str:
    weight, shift = graph.constant(affine.weight.T), graph.constant(affine.shift)
    product = graph.add("Mul" if affine.weight.ndim == 1 else "MatMul", x, weight)
    return graph.add("Add", product, shift)


def _other(graph: Graph, step: Step, state: State, now: Columns) -> Columns:
    """A step that is no linear map, on the columns that it sees."""
    convert = next((f for kind, f in _STEPS.items() if isinstance(step, kind)), None)
    if convert is None:
        raise UsageError(f"preprocessing: {step.component} has no form in ONNX: can't be exported")
    like = now.like
    seen, after = step.view(like), step.apply(like, state)
    if like.is_image:
        given = convert(graph, step, state, now)
        return replace(given, like=after)
    places = [like.names.index(name) for name in seen.names]
    texts = tuple(now.texts[like.categorical_names.index(n)] for n in seen.categorical_names)
    numbers = now.numbers
    if places and len(places) < len(like.names):
        numbers = graph.columns(numbers, places)
    given = convert(graph, step, state, Columns(numbers if places else "", texts, seen))
    # as `columns.joined` puts them together
    names, found = like.names, step._apply(seen, state)
    order, _ = placed(names, seen.names, found.names)
    both = [now.numbers] if names else []
    both += [given.numbers] if found.names else []
    start, numbers = len(names), graph.joined(both) if both else ""
    if order == tuple(range(start, start + len(found.names))):
        numbers = given.numbers
    elif order != tuple(range(len(names) + len(found.names))):
        numbers = graph.columns(numbers, order)
    word_order, _ = placed(like.categorical_names, seen.categorical_names, found.categorical_names)
    all_texts = (*now.texts, *given.texts)
    return Columns(numbers, tuple(all_texts[place] for place in word_order), after)


# -- each step -------------------------------------------------------------------------------------


def _impute(graph: Graph, _: Any, state: State, seen: Columns) -> Columns:
    numbers = seen.numbers
    if numbers:
        gaps = graph.add("IsNaN", numbers)
        fill = graph.constant(np.asarray(state["fill"], np.float64).reshape(1, -1))
        filled = graph.add("Where", gaps, fill, numbers)
        if state["indicated"]:
            marks = graph.columns(graph.cast(gaps, "double"), state["indicated"])
            filled = graph.joined([filled, marks])
        numbers = filled
    texts = []
    for text, value in zip(seen.texts, state["text"], strict=True):
        absent = graph.add("Equal", text, graph.constant([""]))
        texts.append(graph.add("Where", absent, graph.constant([value]), text))
    return replace(seen, numbers=numbers, texts=tuple(texts))


def _one_hot(graph: Graph, _: Any, state: State, seen: Columns) -> Columns:
    blocks = []
    for text, kept, rare in zip(seen.texts, state["categories"], state["rare"], strict=True):
        codes = [*enumerate(kept), *((len(kept), value) for value in rare)]
        keys = ["" if value is None else value for _, value in codes]
        if len(set(keys)) < len(keys):
            raise UsageError("one_hot: a category is empty text, which stands for a missing value")
        found = _encoded(graph, text, keys, [code for code, _ in codes], -1)
        width = len(kept) + bool(rare)
        equal = graph.add("Equal", found, graph.constant([list(range(width))], np.int64))
        blocks.append(graph.cast(equal, "double"))
    return replace(seen, numbers=graph.joined(blocks), texts=())


def _ordinal(graph: Graph, _: Any, state: State, seen: Columns) -> Columns:
    found = []
    for text, name in zip(seen.texts, seen.like.categorical_names, strict=True):
        known = state["categories"][name]
        if "" in known:
            raise UsageError("ordinal: a category is empty text, which stands for a missing value")
        codes = [0, *range(FIRST, FIRST + len(known))]
        found.append(graph.cast(_encoded(graph, text, ["", *known], codes, UNKNOWN), "double"))
    return replace(seen, numbers=graph.joined(found), texts=())


def _tokenize(graph: Graph, step: Any, state: State, seen: Columns) -> Columns:
    """Tokens between blanks, cut or padded with 0 to the length."""
    if step.unit != "token" or step.lower:
        what = f"unit: {step.unit}" + (", lower: true" if step.lower else "")
        raise UsageError(
            f"preprocessing: tokenize ({what}) has no form in ONNX, only unit: token (what white "
            "space separates) has; load_module(run, preprocessing=False) takes the codes"
        )
    length = state["length"]
    tokens = graph.add_pair("StringSplit", graph.add("Reshape", seen.texts[0], _ints(graph, -1)))[0]
    known = state["vocabulary"]
    codes = _encoded(graph, tokens, ["", *known], [0, *range(FIRST, FIRST + len(known))], UNKNOWN)
    rows = graph.add("Shape", seen.texts[0], end=1)
    padding = graph.add(
        "Expand", graph.constant([[0]], np.int64), graph.joined([rows, _ints(graph, length)], 0)
    )
    padded = graph.joined([codes, padding])
    cut = graph.add("Slice", padded, _ints(graph, 0), _ints(graph, length), _ints(graph, 1))
    return replace(seen, numbers=graph.cast(cut, "double"), texts=())


def _ints(graph: Graph, *values: int) -> str:
    return graph.constant(list(values), np.int64)


def _encoded(graph: Graph, text: str, keys: Sequence[str], codes: Sequence[int], other: int) -> str:
    return graph.add(
        "LabelEncoder",
        text,
        domain=ML,
        keys_strings=list(keys),
        values_int64s=list(codes),
        default_int64=other,
    )


def _log1p(graph: Graph, _: Any, __: State, seen: Columns) -> Columns:
    above = graph.add("Max", seen.numbers, graph.constant(0.0))
    return replace(seen, numbers=graph.add("Log", graph.add("Add", above, graph.constant(1.0))))


def _quantile(graph: Graph, step: Any, state: State, seen: Columns) -> Columns:
    knots = np.asarray(state["quantiles"], np.float64).T
    levels = np.broadcast_to(np.linspace(0.0, 1.0, knots.shape[1]), knots.shape)
    below = _interpolated(graph, seen.numbers, knots, levels)
    turned = graph.add("Neg", seen.numbers)
    above = _interpolated(graph, turned, -knots[:, ::-1], -levels[:, ::-1])
    share = graph.add("Mul", graph.add("Sub", below, above), graph.constant(0.5))
    return replace(seen, numbers=_normal(graph, share) if step.output == "normal" else share)


def _interpolated(graph: Graph, x: str, knots: np.ndarray, levels: np.ndarray) -> str:
    """Piecewise linear through `(knots, levels)` `[F, Q]`, of each column of `[N, F]`."""
    columns, count = knots.shape
    passed = graph.add(
        "GreaterOrEqual", graph.reshape(x, (columns, 1)), graph.constant(knots[None])
    )
    number = graph.add(
        "ReduceSum", graph.cast(passed, "int64"), graph.constant([2], np.int64), keepdims=0
    )
    offset = np.arange(columns, dtype=np.int64) * (count + 1)
    place = graph.add("Add", number, graph.constant(offset))
    steps = np.diff(knots, axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        slopes = np.where(steps > 0, np.diff(levels, axis=1) / steps, 0.0)
    # a piece before the first knot and one after the last, both level
    tables = (
        np.concatenate([knots[:, :1], knots], axis=1),
        np.concatenate([levels[:, :1], levels], axis=1),
        np.pad(slopes, ((0, 0), (1, 1))),
    )
    knot, level, slope = (graph.add("Gather", graph.constant(t.ravel()), place) for t in tables)
    return graph.add("Add", graph.add("Mul", slope, graph.add("Sub", x, knot)), level)


def _normal(graph: Graph, share: str) -> str:
    """Φ⁻¹ of a share, by polynomials fitted to it: within 1e-9 of it between the edges.

    With q = min(p, 1 − p): in (½ − q)² for q ≥ 0.1, where Φ⁻¹ / (½ − q) is smooth, and in
    √(−2 ln q) below.
    """
    from scipy.special import ndtri

    half, one, zero = graph.constant(0.5), graph.constant(1.0), graph.constant(0.0)
    p = graph.add("Min", graph.add("Max", share, graph.constant(EDGE)), graph.constant(1 - EDGE))
    tail = graph.add("Min", p, graph.add("Sub", one, p))
    from_half = graph.add("Sub", half, tail)

    def of_middle(squared: np.ndarray) -> np.ndarray:
        apart = np.sqrt(np.maximum(squared, 1e-12))
        return np.asarray(-ndtri(0.5 - apart) / apart)

    def of_tail(root: np.ndarray) -> np.ndarray:
        return np.asarray(-ndtri(np.exp(-(root**2) / 2)))

    squared = graph.add("Mul", from_half, from_half)
    middle = graph.add(
        "Mul", _polynomial(graph, squared, of_middle, 0.0, (0.5 - _SPLIT) ** 2), from_half
    )
    logarithm = graph.add("Mul", graph.add("Log", tail), graph.constant(-2.0))
    root = graph.add("Sqrt", logarithm)
    low, high = (float(np.sqrt(-2 * np.log(q))) for q in (_SPLIT, EDGE))
    far = _polynomial(graph, root, of_tail, low, high)
    is_tail = graph.add("Less", tail, graph.constant(_SPLIT))
    size = graph.add("Where", is_tail, far, middle)
    side = graph.add("Sub", graph.constant(0.0), size)
    return graph.add("Where", graph.add("Less", graph.add("Sub", p, half), zero), side, size)


_SPLIT = 0.1
"""Shares below this are in a tail."""


def _polynomial(
    graph: Graph, x: str, function: Callable[[np.ndarray], np.ndarray], low: float, high: float
) -> str:
    """A function by its Chebyshev interpolation on [low, high], in Horner's form."""
    from numpy.polynomial import Chebyshev, Polynomial

    fitted = Chebyshev.interpolate(function, 18, domain=[low, high])
    powers = Chebyshev(fitted.coef).convert(kind=Polynomial).coef
    scale = 2.0 / (high - low)
    unit = graph.add(
        "Add",
        graph.add("Mul", x, graph.constant(scale)),
        graph.constant(-1.0 - low * scale),
    )
    unit = graph.add("Max", graph.add("Min", unit, graph.constant(1.0)), graph.constant(-1.0))
    value = graph.constant(powers[-1])
    for power in powers[-2::-1]:
        value = graph.add("Add", graph.add("Mul", value, unit), graph.constant(power))
    return value


_STEPS: dict[type[Step], Callable[[Graph, Any, State, Columns], Columns]] = {
    Impute: _impute,
    OneHot: _one_hot,
    Ordinal: _ordinal,
    Tokenize: _tokenize,
    Log1p: _log1p,
    Quantile: _quantile,
}
