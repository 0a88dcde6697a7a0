"""Each layer as nodes of ONNX against the layer itself, with random tensors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from nnexp.components.layer import Context, Layer, flat
from nnexp.deploy.graph import Graph
from nnexp.deploy.layers import CONVERT, Place, unknown
from nnexp.registry import choose

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnx")

TABLE, SIGNAL, IMAGE = (12,), (3, 11), (3, 9, 8)
CASES: list[tuple[Any, tuple[int, ...]]] = [
    ("flatten", IMAGE),
    ({"name": "reshape", "shape": [4, 3]}, TABLE),
    ({"name": "linear", "units": 5}, TABLE),
    ({"name": "linear", "units": 20, "bias": False}, TABLE),
    ("dropout", TABLE),
    ({"name": "conv1d", "channels": 4, "dilation": 2}, SIGNAL),
    ({"name": "conv1d", "channels": 4, "kernel": 4, "stride": 3, "padding": "valid"}, SIGNAL),
    ({"name": "conv2d", "channels": 4}, IMAGE),
    ({"name": "conv2d", "channels": 4, "kernel": 2, "padding": 1, "bias": False}, IMAGE),
    ({"name": "conv2d", "channels": 4, "stride": 2, "dilation": 2}, IMAGE),
    ({"name": "conv_transpose2d", "channels": 4}, IMAGE),
    ({"name": "conv_transpose2d", "channels": 4, "kernel": 3, "padding": 1, "bias": False}, IMAGE),
    ("max_pool1d", SIGNAL),
    ({"name": "avg_pool1d", "size": 3, "stride": 2, "padding": 1}, SIGNAL),
    ({"name": "max_pool2d", "size": 3, "stride": 2, "padding": 1}, IMAGE),
    ("avg_pool2d", IMAGE),
    ({"name": "avg_pool2d", "size": 3, "padding": 1}, IMAGE),
    ("global_avg_pool", IMAGE),
    ("global_avg_pool", SIGNAL),
    ("global_max_pool", IMAGE),
    ({"name": "upsample", "factor": 3}, IMAGE),
    ({"name": "upsample", "mode": "bilinear"}, IMAGE),
    ("batch_norm", TABLE),
    ("batch_norm", SIGNAL),
    ({"name": "batch_norm", "eps": 0.1}, IMAGE),
    ({"name": "layer_norm", "eps": 0.1}, TABLE),
    ("layer_norm", IMAGE),
    ({"name": "local_response_norm", "alpha": 1.0}, IMAGE),
    ({"name": "local_response_norm", "alpha": 1.0, "size": 4, "k": 2.0}, TABLE),
    ({"name": "local_response_norm", "alpha": 1.0, "size": 3, "within": True}, IMAGE),
    ({"name": "prelu", "shared": False}, IMAGE),
    ({"name": "prelu", "shared": False}, TABLE),
    ({"name": "leaky_relu", "slope": 0.3}, TABLE),
    ({"name": "tanh_linear", "beta": 0.3}, TABLE),
    ({"name": "swish", "beta": 1.7}, TABLE),
    ({"name": "swish", "trainable": True}, IMAGE),
    ({"name": "elu", "alpha": 1.4}, TABLE),
    *((kind.model_fields["name"].default, IMAGE) for kind in CONVERT if "act" in kind.__module__),
]
BLOCKS: list[tuple[Any, tuple[int, ...]]] = [
    ([{"name": "linear", "units": 12}, "relu"], TABLE),
    ([{"name": "linear", "units": 5}], TABLE),
    ([{"name": "conv1d", "channels": 4, "stride": 2}], SIGNAL),
    ([{"name": "conv2d", "channels": 4, "stride": 2}, "batch_norm"], IMAGE),
    ([{"name": "residual", "layers": [{"name": "conv2d", "channels": 5}]}, "tanh"], IMAGE),
]


def agrees(layers: list[Layer], shape: tuple[int, ...]) -> None:
    """Layers after one another give the same as torch, whatever the size of the batch."""
    draw = torch.Generator().manual_seed(0)
    graph, ctx = Graph(), Context(training=False)
    x = torch.randn(1, 6, *shape, generator=draw) * 3
    value, y, now = graph.take("x", "float", ("N", *shape)), x, shape
    shapes: list[tuple[int, ...]] = []
    skips: list[tuple[str, tuple[int, ...]]] = []
    for number, layer in enumerate(layers):
        declared = layer.trace(now, shapes)
        own = {}
        for slot in declared.slots:
            tensor = torch.randn(slot.shape, generator=draw)
            own[slot.name] = (tensor.abs() + 0.1 if slot.name == "running_var" else tensor)[None]
        ctx.layer = number
        hyper = {name: getattr(layer, name) for name in type(layer).model_fields}
        y = layer.forward(y, own, hyper, ctx)
        arrays = {name: tensor[0].numpy() for name, tensor in own.items()}
        place = Place(graph, layer, value, now, declared.output, arrays, skips)
        value, now = CONVERT[type(layer)](place), declared.output
    graph.give(value, "y", "float", ("N", *now))
    model = graph.model("one", ("test", "0"), 20).SerializeToString()
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    assert y.shape == (1, 6, *now)
    for rows in (6, 1):
        (found,) = session.run(None, {"x": x[0, :rows].numpy()})
        expected = y[0, :rows].numpy()
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize(("given", "shape"), CASES, ids=lambda x: x if isinstance(x, str) else None)
def test_a_layer_gives_what_it_gives_in_torch(given: Any, shape: tuple[int, ...]) -> None:
    layer = choose(Layer, given)
    assert isinstance(layer, Layer)
    agrees([layer], shape)


@pytest.mark.parametrize(("branch", "shape"), BLOCKS)
def test_a_block_gives_what_it_gives_in_torch(branch: Any, shape: tuple[int, ...]) -> None:
    block = choose(Layer, {"name": "residual", "layers": branch})
    assert isinstance(block, Layer)
    agrees(flat([block]), shape)


def test_every_layer_that_is_written_is_tried() -> None:
    tried = {type(choose(Layer, given)) for given, _ in CASES}
    assert {kind.__name__ for kind in CONVERT} - {kind.__name__ for kind in tried} == {
        "Fork",
        "Join",
    }


def test_layers_without_a_form_are_named() -> None:
    class Own(Layer):
        @property
        def component(self) -> str:
            return "own"

    relu = choose(Layer, "relu")
    assert isinstance(relu, Layer)
    assert unknown([relu, Own()]) == ["own"]
