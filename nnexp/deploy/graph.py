"""An ONNX graph while it is built: nodes and constants under names of their own.

Source: the operators' definitions, https://onnx.ai/onnx/operators/.
"""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

from nnexp.errors import UsageError

OPSET, ML_OPSET = 20, 3
"""The operators' versions that a file asks for by default, and ONNX-ML's."""
OLDEST_OPSET, NEWEST_OPSET = 20, 23


def needed(module: str) -> Any:
    """A module of the extra `nnexp[onnx]`. UsageError if it is not installed."""
    try:
        return importlib.import_module(module)
    except ImportError:
        name = module.partition(".")[0]
        raise UsageError(
            f"{name} is not installed, and exporting needs it: pip install 'nnexp[onnx]'"
        ) from None


class Graph:
    """Nodes in their order, constants, inputs and outputs."""

    def __init__(self) -> None:
        self._onnx = needed("onnx")
        self.nodes: list[Any] = []
        self.initializers: list[Any] = []
        self.inputs: list[Any] = []
        self.outputs: list[Any] = []
        self.opsets = {"": OPSET}
        self.metadata: dict[str, str] = {}
        self._count = 0
        self._known: dict[tuple[str, tuple[int, ...], bytes], str] = {}
        self.scope = "/"
        """What the names of new nodes begin with."""

    def add(self, operator: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        """A node with one output, whose name it gives."""
        self._count += 1
        name = f"{self.scope}{operator}_{self._count}"
        self.nodes.append(
            self._onnx.helper.make_node(
                operator, list(inputs), [f"{name}_out"], name=name, domain=domain, **attributes
            )
        )
        if domain:
            self.opsets[domain] = ML_OPSET
        return f"{name}_out"

    def add_pair(self, operator: str, *inputs: str, **attributes: Any) -> tuple[str, str]:
        """A node of two outputs."""
        first = self.add(operator, *inputs, **attributes)
        self.nodes[-1].output.append(f"{first}_2")
        return first, f"{first}_2"

    def constant(self, value: Any, dtype: Any = None) -> str:
        """The name of an array that the file holds; equal ones share it."""
        array = np.asarray(value, dtype)
        key = (array.dtype.str, array.shape, array.tobytes())
        if array.dtype.kind in "UO":
            key = ("text", array.shape, repr(array.tolist()).encode())
        if key not in self._known:
            self._known[key] = name = f"/constant_{len(self._known)}"
            self.initializers.append(self._tensor(array, name))
        return self._known[key]

    def _tensor(self, array: np.ndarray, name: str) -> Any:
        if array.dtype.kind not in "UO":
            return self._onnx.numpy_helper.from_array(np.array(array, order="C"), name)
        texts = [str(text).encode() for text in array.ravel()]
        kind = self._onnx.TensorProto.STRING
        return self._onnx.helper.make_tensor(name, kind, array.shape, texts)

    def take(self, name: str, kind: str, shape: tuple[int | str, ...]) -> str:
        """An input. kind: "float", "double" or "string"."""
        self.inputs.append(self._info(name, kind, shape))
        return name

    def give(self, value: str, name: str, kind: str, shape: tuple[int | str, ...]) -> None:
        """A value as an output."""
        self.nodes.append(self._onnx.helper.make_node("Identity", [value], [name], name=f"/{name}"))
        self.outputs.append(self._info(name, kind, shape))

    def _info(self, name: str, kind: str, shape: tuple[int | str, ...]) -> Any:
        number = getattr(self._onnx.TensorProto, kind.upper())
        return self._onnx.helper.make_tensor_value_info(name, number, shape)

    # -- what is often needed ----------------------------------------------------------------------

    def cast(self, value: str, kind: str) -> str:
        return self.add("Cast", value, to=getattr(self._onnx.TensorProto, kind.upper()))

    def reshape(self, value: str, shape: tuple[int, ...]) -> str:
        """Examples of another shape; the first axis stays."""
        return self.add("Reshape", value, self.constant([0, *shape], np.int64))

    def columns(self, value: str, places: Any) -> str:
        """Some columns of `[N, F]`."""
        return self.add("Gather", value, self.constant(places, np.int64), axis=1)

    def joined(self, values: list[str], axis: int = 1) -> str:
        return values[0] if len(values) == 1 else self.add("Concat", *values, axis=axis)

    # -- the file ----------------------------------------------------------------------------------

    def inline(self, model: Any, value: str, prefix: str) -> str:
        """Another model of one input and one output as part of this one; its output."""
        compose = needed("onnx.compose")
        model = compose.add_prefix(model, prefix)
        inner = model.graph
        start = self._onnx.helper.make_node("Identity", [value], [inner.input[0].name])
        self.nodes += [start, *inner.node]
        self.initializers += inner.initializer
        for entry in model.opset_import:
            self.opsets[entry.domain] = max(self.opsets.get(entry.domain, 0), entry.version)
        return str(inner.output[0].name)

    def model(self, name: str, producer: tuple[str, str], opset: int) -> Any:
        """The checked model."""
        helper = self._onnx.helper
        self.opsets[""] = max(self.opsets[""], opset)
        graph = helper.make_graph(self.nodes, name, self.inputs, self.outputs, self.initializers)
        imports = [helper.make_opsetid(domain, n) for domain, n in self.opsets.items()]
        model = helper.make_model(
            graph,
            opset_imports=imports,
            ir_version=10,
            producer_name=producer[0],
            producer_version=producer[1],
        )
        helper.set_model_props(model, self.metadata)
        self._onnx.checker.check_model(model, full_check=True)
        return model
