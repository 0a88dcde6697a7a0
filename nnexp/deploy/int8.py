"""Networks in 8 bits, by onnxruntime, and what that costs."""

from __future__ import annotations

import logging
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nnexp.deploy.graph import needed
from nnexp.deploy.proof import Examples, answer, examples_for, feeds, outputs
from nnexp.deploy.stored import Stored

CALIBRATION = 500
"""Training examples from which the ranges of a convolutional network's values are taken."""


@dataclass(frozen=True)
class Int8:
    """What 8 bits cost.

    how: "dynamic" (weights are stored in 8 bits, ranges of the rest are found for each batch) or
    "static" (ranges were measured on training examples). before, after: the metric with full
    precision and with 8 bits on so many examples of a part of the data; None without data. sizes of
    the files in bytes.
    """

    how: str
    metric: str
    part: str
    examples: int
    before: float | None
    after: float | None
    size_before: int
    size_after: int


def quantized(
    stored: Stored, model: bytes, examples: Examples, data_root: Path | None = None
) -> tuple[bytes, Int8, list[str]]:
    """A model with its network in 8 bits, what that costs, and notes."""
    convolves = any("conv" in stage.layer.component for stage in stored.program.stages)
    training = examples_for(stored, data_root, "train") if convolves else examples
    notes = []
    how = "static" if convolves and training.target is not None else "dynamic"
    small = _quantized(stored, model, training if how == "static" else None)
    metric, before, after = "", None, None
    if examples.target is None:
        notes.append("what int8 costs can't be told without the run's data (--data-root DIR)")
    else:
        metric, before = _score(stored, model, examples, examples.target)
        after = _score(stored, small, examples, examples.target)[1]
    number = len(examples.features)
    cost = Int8(how, metric, examples.part, number, before, after, len(model), len(small))
    return small, cost, notes


def _quantized(stored: Stored, model: bytes, calibration: Examples | None) -> bytes:
    quantization, onnx = needed("onnxruntime.quantization"), needed("onnx")
    nodes = [
        node.name
        for node in onnx.load_from_string(model).graph.node
        if node.op_type in ("Conv", "MatMul", "Gemm") and "network/" in node.name
    ]
    how: dict[str, Any] = {
        "weight_type": quantization.QuantType.QInt8,
        "nodes_to_quantize": nodes,
        "per_channel": True,
    }
    level = logging.root.level
    logging.root.setLevel(logging.ERROR)
    try:
        with tempfile.TemporaryDirectory() as folder:
            before, after = Path(folder) / "before.onnx", Path(folder) / "after.onnx"
            before.write_bytes(model)
            if calibration is None:
                quantization.quantize_dynamic(before, after, **how)
            else:
                reader = _Reader(feeds(stored.pipeline, calibration))
                quantization.quantize_static(before, after, reader, **how)
            return after.read_bytes()
    finally:
        logging.root.setLevel(level)


class _Reader:
    """Gives onnxruntime the examples on which it measures ranges, a few at a time."""

    def __init__(self, inputs: dict[str, np.ndarray], batch: int = 50) -> None:
        starts = range(0, min(CALIBRATION, len(next(iter(inputs.values())))), batch)
        self._left = iter(
            {key: value[start : start + batch] for key, value in inputs.items()} for start in starts
        )

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self._left, None)


def _score(
    stored: Stored, model: bytes, examples: Examples, target: np.ndarray
) -> tuple[str, float]:
    """The metric's name and value: the share of right answers, or the root mean square error."""
    pipeline = stored.pipeline
    found = outputs(model, feeds(pipeline, examples))
    if pipeline.task == "regression":
        apart = answer(found, "values") - target
        return "rmse", float(np.sqrt(np.mean(np.square(apart))))
    if pipeline.task == "multilabel":
        return "accuracy of labels", float((answer(found, "labels") == target).mean())
    assert pipeline.classes is not None
    there = target >= 0
    names = np.array(pipeline.classes, object)[np.maximum(target, 0)]
    return "accuracy", float((answer(found, "label") == names)[there].mean())
