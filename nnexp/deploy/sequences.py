"""Codes and sequences as nodes of an ONNX graph."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from nnexp.components.layer import Layer
from nnexp.components.layers.recurrent import Gru, Lstm, Rnn
from nnexp.deploy.place import Place


def embedding(at: Place) -> str:
    ids = _ids(at, at.x)
    there = at.add("Greater", ids, at.graph.constant(0, np.int64))
    at.flow.there = there, at.shape[0]
    unknown = at.own["unknown"]
    table = np.concatenate(
        [0 * unknown, *(at.own[n] for n in ("unknown", "weight") if n in at.own)]
    )
    return at.add("Transpose", _looked_up(at, ids, table), perm=[0, 2, 1])


def embed_columns(at: Place) -> str:
    codes = at.layer.codes
    plain = [place for place, count in enumerate(codes) if not count]
    found = [at.graph.columns(at.x, plain)] if plain else []
    for column in (place for place, count in enumerate(codes) if count):
        names = (f"unknown{column}", f"weight{column}")
        table = np.concatenate([at.own[name] for name in names if name in at.own])
        ids = _ids(at, at.add("Gather", at.x, at.graph.constant(column, np.int64), axis=1))
        found.append(_looked_up(at, ids, table))
    return at.graph.joined(found)


def _ids(at: Place, x: str) -> str:
    return at.add("Max", at.graph.cast(x, "int64"), at.graph.constant(0, np.int64))


def _looked_up(at: Place, ids: str, table: np.ndarray) -> str:
    count, one = (at.graph.constant(number, np.int64) for number in (len(table), 1))
    return at.add("Gather", table, at.add("Where", at.add("Less", ids, count), ids, one), axis=0)


def _present(at: Place) -> str | None:
    """Which positions hold something, bool `[N, T]`; None: all."""
    if at.flow.there is None:
        return None
    there, before = at.flow.there
    length = at.shape[1]
    if before == length:
        return there
    return at.graph.columns(there, np.arange(length) * before // length)


def _lengths(at: Place, there: str) -> str:
    counts = at.graph.cast(there, "int64")
    return at.add("ReduceSum", counts, at.graph.constant([1], np.int64), keepdims=0)


def mean_over_time(at: Place) -> str:
    there, axes = _present(at), at.graph.constant([2], np.int64)
    if there is None:
        return at.add("ReduceMean", at.x, axes, keepdims=0)
    one = at.graph.constant([1], np.int64)
    kept = at.add("Where", at.add("Unsqueeze", there, one), at.x, 0.0)
    count = at.add("Max", at.graph.cast(_lengths(at, there), "float"), 1.0)
    return at.add(
        "Div", at.add("ReduceSum", kept, axes, keepdims=0), at.add("Unsqueeze", count, one)
    )


_GATES: dict[type[Layer], tuple[str, list[int]]] = {
    Rnn: ("RNN", [0]),
    Lstm: ("LSTM", [0, 3, 1, 2]),
    Gru: ("GRU", [1, 0, 2]),
}
"""ONNX's operator, and where its gates stand in torch's order."""


def recurrent(at: Place) -> str:
    layer, there = at.layer, _present(at)
    operator, gates = _GATES[type(layer)]
    steps, order, lengths = at.add("Transpose", at.x, perm=[2, 0, 1]), "", ""
    if there is not None:
        order = _reading_order(at, there)
        steps = _taken(at, steps, order, at.shape[0])
        lengths = at.graph.cast(at.add("Max", _lengths(at, there), _one(at)), "int32")
    own = [_stacked(at, f"weight_{kind}", gates) for kind in ("ih", "hh")]
    biases = [_stacked(at, f"bias_{kind}", gates) for kind in ("ih", "hh")] if layer.bias else []
    bias = [np.concatenate(biases, axis=1)] if biases else [""]
    how: dict[str, Any] = {"hidden_size": layer.units}
    how["direction"] = "bidirectional" if layer.bidirectional else "forward"
    if operator == "RNN":
        how["activations"] = [layer.activation.capitalize()] * (1 + layer.bidirectional)
    if operator == "GRU":
        how["linear_before_reset"] = 1
    states, last = at.graph.add_pair(
        operator,
        *(x if isinstance(x, str) else at.graph.constant(x) for x in (steps, *own, *bias, lengths)),
        **how,
    )
    width = at.output[0]
    if layer.returns == "last":
        found = at.graph.reshape(at.add("Transpose", last, perm=[1, 0, 2]), (width,))
        return found if there is None else _where_any(at, there, found)
    found = at.add("Transpose", states, perm=[0, 2, 1, 3])
    found = at.graph.reshape(found, (0, width))
    if there is not None:
        back = _reading_order(at, order, of_places=True)
        found = _taken(at, found, back, width)
    found = at.add("Transpose", found, perm=[1, 2, 0])
    if there is None:
        return found
    return at.add("Where", at.add("Unsqueeze", there, _one(at)), found, 0.0)


def _one(at: Place) -> str:
    return at.graph.constant([1], np.int64)


def _where_any(at: Place, there: str, value: str) -> str:
    """0 for empty sequences."""
    some = at.add("Greater", _lengths(at, there), at.graph.constant(0, np.int64))
    return at.add("Where", at.add("Unsqueeze", some, _one(at)), value, 0.0)


def _stacked(at: Place, name: str, gates: Sequence[int]) -> np.ndarray:
    """A weight or bias of every direction, the gates in ONNX's order."""
    found = []
    for end in ("", "_reverse") if at.layer.bidirectional else ("",):
        parts = np.split(at.own[name + end], len(gates))
        found.append(np.concatenate([parts[gate] for gate in gates]))
    return np.stack(found)


def _reading_order(at: Place, values: str, of_places: bool = False) -> str:
    """Places `[N, T]`: those that hold something first; or the inverse of such an order."""
    length = at.shape[1]
    key = values
    if not of_places:
        late = at.graph.cast(at.add("Not", values), "int64")
        place = at.graph.constant(np.arange(length))
        key = at.add("Add", at.add("Mul", late, at.graph.constant(length, np.int64)), place)
    count = at.graph.constant([length], np.int64)
    return at.graph.add_pair("TopK", key, count, axis=1, largest=0, sorted=1)[1]


def _taken(at: Place, steps: str, order: str, width: int) -> str:
    """`[T, N, C]` with each example's steps in another order `[N, T]`."""
    across = at.add("Unsqueeze", at.add("Transpose", order, perm=[1, 0]), at.graph.constant([2]))
    shape = at.graph.constant([1, 1, width], np.int64)
    return at.add("GatherElements", steps, at.add("Expand", across, shape), axis=0)
