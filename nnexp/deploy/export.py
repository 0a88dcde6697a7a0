"""A trained run as an ONNX file: raw columns or pixels in, classes or values out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import nnexp
from nnexp.components.layer import Shape
from nnexp.components.losses.classes import BinaryCrossEntropy, CrossEntropy
from nnexp.components.losses.labels import MultilabelBce
from nnexp.components.losses.loss import Loss
from nnexp.components.preprocessing import Tokenize
from nnexp.data.prepare import Pipeline
from nnexp.deploy.graph import NEWEST_OPSET, OLDEST_OPSET, OPSET, Graph, needed
from nnexp.deploy.int8 import Int8, quantized
from nnexp.deploy.layers import CONVERT, unknown
from nnexp.deploy.module import Network
from nnexp.deploy.place import Flow, Place
from nnexp.deploy.proof import Agreement, agreement, examples_for
from nnexp.deploy.steps import add_pipeline
from nnexp.deploy.stored import Stored, read_stored
from nnexp.deploy.traced import traced
from nnexp.errors import RunError, UsageError
from nnexp.runs.files import write_bytes
from nnexp.train.blueprint import declare

LARGEST = 2**31 - 1
"""Bytes that an ONNX file can hold."""
TOLERANCE, REFUSED = 1e-5, 1e-3
"""Differences from the run's own outputs that are warned of, and that no file is written with."""


@dataclass(frozen=True)
class Exported:
    """What was written.

    path, size: the file, in bytes. inputs, outputs: their names, each with type and shape.
    agreement: how near its outputs are to the run's. int8: what quantization cost; None if the file
    has full precision. notes: what should be known about it.
    """

    path: Path
    size: int
    run: Path
    opset: int
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    agreement: Agreement
    int8: Int8 | None
    notes: tuple[str, ...]


def export_run(
    path: Path,
    out: Path,
    *,
    member: int | None = None,
    int8: bool = False,
    opset: int = OPSET,
    data_root: Path | None = None,
) -> Exported:
    """Write a run's network with its preprocessing and the classes' names, and try the file.

    member: which of a group's; by default the best on dev. int8: with weights, and what is computed
    from them, in 8 bits. data_root: the folder where the run's data files are now.
    Raises UsageError, RunError, OutOfResources.
    """
    if not OLDEST_OPSET <= opset <= NEWEST_OPSET:
        raise UsageError(f"--opset: {opset} is not between {OLDEST_OPSET} and {NEWEST_OPSET}")
    for name in ("onnx", "onnxruntime"):
        needed(name)
    stored = read_stored(path, member)
    model = build(stored, opset)
    if model.ByteSize() > LARGEST:
        raise UsageError(f"{path}: the model is larger than the 2 GB that an ONNX file can hold")
    content, notes = model.SerializeToString(), list(stored.notes)
    if any(isinstance(step, Tokenize) for step in stored.pipeline.steps):
        notes.append("the file splits tokens at blanks; tabs and line ends separate none there")
    examples = examples_for(stored, data_root)
    near = agreement(stored, content, examples)
    if not near.difference <= REFUSED:
        raise RunError(
            f"{stored.run.path}: the exported model differs from the run by {near.difference:.2g}: "
            "not written; please report it"
        )
    if near.difference > TOLERANCE:
        notes.append(f"the outputs differ from the run's by up to {near.difference:.1g}")
    if examples.why:
        notes.append(examples.why)
    cost = None
    if int8:
        content, cost, more = quantized(stored, content, examples, data_root)
        notes += more
    write_bytes(out, content)
    return Exported(
        path=out,
        size=len(content),
        run=stored.run.path,
        opset=next(entry.version for entry in model.opset_import if not entry.domain),
        inputs=tuple(_described(entry) for entry in model.graph.input),
        outputs=tuple(_described(entry) for entry in model.graph.output),
        agreement=near,
        int8=cost,
        notes=tuple(notes),
    )


def build(stored: Stored, opset: int = OPSET) -> Any:
    """The whole model: preprocessing, network, and what its outputs mean."""
    graph, pipeline = Graph(), stored.pipeline
    numbers, texts = _inputs(graph, pipeline)
    x = add_pipeline(graph, pipeline, numbers, texts)
    out, shape = _network(graph, stored, x)
    loss = stored.experiment.loss
    assert loss is not None
    if pipeline.task == "regression":
        _values(graph, pipeline, out)
    elif pipeline.task == "multilabel":
        _labels(graph, pipeline, loss, out)
    else:
        _classes(graph, pipeline, loss, out, shape)
    graph.metadata = _metadata(stored)
    return graph.model(str(stored.experiment.name or "nnexp"), ("nnexp", nnexp.__version__), opset)


# -- what goes in ----------------------------------------------------------------------------------


def _inputs(graph: Graph, pipeline: Pipeline) -> tuple[str, tuple[str, ...]]:
    """The numbers, double `[N, F]` ("" if there are none), and each column of text.

    Images and a table of numbers are one input; a table with text has one for each column.
    """
    if len(pipeline.shape) > 1:
        pixels = graph.take("inputs", "float", ("N", *pipeline.shape))
        return graph.cast(graph.reshape(pixels, (int(np.prod(pipeline.shape)),)), "double"), ()
    if not pipeline.categorical_names:
        return graph.take("inputs", "double", ("N", *pipeline.shape)), ()
    numbers = [graph.take(name, "double", ("N", 1)) for name in pipeline.names]
    texts = [graph.take(name, "string", ("N", 1)) for name in pipeline.categorical_names]
    return graph.joined(numbers) if numbers else "", tuple(texts)


# -- the network -----------------------------------------------------------------------------------


def _network(graph: Graph, stored: Stored, x: str) -> tuple[str, Shape]:
    """Its outputs, float, and their shape."""
    program = stored.program
    layers = [stage.layer for stage in program.stages]
    shapes = [one.output for one in declare(layers, program.signature.inputs)]
    if missing := unknown(layers):
        model = traced(Network(stored, False), missing)
        return graph.inline(model, x, "network/"), shapes[-1]
    own = _own(stored)
    shape, flow = program.signature.inputs, Flow()
    for number, (layer, output) in enumerate(zip(layers, shapes, strict=True)):
        graph.scope = f"/network/{number}.{layer.component}/"
        x = CONVERT[type(layer)](Place(graph, layer, x, shape, output, own[number], flow))
        shape = output
    graph.scope = "/"
    return x, shape


def _own(stored: Stored) -> list[dict[str, np.ndarray]]:
    """Each layer's tensors by slot name, float32."""
    program = stored.program
    found: list[dict[str, np.ndarray]] = [{} for _ in program.stages]
    for layout, kind in ((program.layout, "params"), (program.buffer_layout, "buffers")):
        for entry, value in zip(layout.entries, layout.views(stored.tensors[kind]), strict=True):
            found[entry.layer][entry.slot.name] = value[0].float().cpu().numpy()
    return found


# -- what comes out --------------------------------------------------------------------------------


def _values(graph: Graph, pipeline: Pipeline, out: str) -> None:
    """In the target's units, double."""
    value = graph.cast(out, "double")
    if pipeline.target_scale is not None:
        mean, std = (graph.constant(x, np.float64) for x in pipeline.target_scale)
        value = graph.add("Add", graph.add("Mul", value, std), mean)
    graph.give(value, _free("values", pipeline), "double", ("N", len(pipeline.target_names)))


def _labels(graph: Graph, pipeline: Pipeline, loss: Loss, out: str) -> None:
    shape = ("N", len(pipeline.target_names))
    found = graph.cast(graph.add("Greater", out, graph.constant(0.0, np.float32)), "int64")
    graph.give(found, _free("labels", pipeline), "int64", shape)
    if isinstance(loss, MultilabelBce):
        out = graph.add("Sigmoid", out)
    name = "probabilities" if isinstance(loss, MultilabelBce) else "scores"
    graph.give(out, _free(name, pipeline), "float", shape)


def _classes(graph: Graph, pipeline: Pipeline, loss: Loss, out: str, shape: Shape) -> None:
    """The class's name, and each class's probability; of other losses the network's outputs."""
    assert pipeline.classes is not None
    kind, name = type(loss), "scores"
    positions = shape[1:]
    if kind is not BinaryCrossEntropy and (
        kind.decide is not Loss.decide or shape[0] != len(pipeline.classes)
    ):
        raise UsageError(f"loss: {loss.component} has no form in ONNX: can't be exported")
    if kind is BinaryCrossEntropy:
        other = graph.add("Sigmoid", graph.add("Neg", out))
        chances, name = graph.joined([other, graph.add("Sigmoid", out)]), "probabilities"
        zero = graph.constant(0.0, np.float32)
        above = graph.cast(graph.add("Greater", out, zero), "int64")
        index = graph.add("Squeeze", above, graph.constant([1], np.int64))
    else:
        index, chances = graph.add("ArgMax", out, axis=1, keepdims=0), out
        if kind is CrossEntropy:
            chances, name = graph.add("Softmax", out, axis=1), "probabilities"
    label = graph.add("Gather", graph.constant(np.array(pipeline.classes, object)), index, axis=0)
    graph.give(label, _free("label", pipeline), "string", ("N", *positions))
    given: tuple[int | str, ...] = ("N", len(pipeline.classes), *positions)
    graph.give(chances, _free(name, pipeline), "float", given)


def _free(name: str, pipeline: Pipeline) -> str:
    """A name for an output that no column has."""
    taken = {*pipeline.names, *pipeline.categorical_names, "inputs"}
    while name in taken:
        name = f"{name}_"
    return name


def _metadata(stored: Stored) -> dict[str, str]:
    """What a reader of the file should know; lists as JSON."""
    pipeline = stored.pipeline
    found: dict[str, Sequence[str] | None] = {
        "columns": pipeline.names,
        "text_columns": pipeline.categorical_names,
        "classes": pipeline.classes,
        "targets": pipeline.target_names,
    }
    lists = {key: json.dumps(value, ensure_ascii=False) for key, value in found.items() if value}
    return {"task": str(pipeline.task), "run": stored.run.path.name, **lists}


def _described(entry: Any) -> str:
    """`age: double [N, 1]`."""
    kind = entry.type.tensor_type
    sizes = [d.dim_param or str(d.dim_value) for d in kind.shape.dim]
    name = needed("onnx").TensorProto.DataType.Name(kind.elem_type).lower()
    return f"{entry.name}: {name} [{', '.join(sizes)}]"
