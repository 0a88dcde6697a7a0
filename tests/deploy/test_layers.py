"""Each layer as nodes of ONNX against the layer itself, with random tensors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from nnexp.components.layer import Context, Fit, Layer, flat
from nnexp.components.models.model import Model
from nnexp.deploy.graph import Graph
from nnexp.deploy.layers import CONVERT, unknown
from nnexp.deploy.place import Flow, Place
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
EMBEDDING = {"name": "embedding", "width": 4, "codes": 7}
SEQUENCES: list[list[Any]] = [
    [EMBEDDING],
    [{"name": "embed_columns", "codes": [0, 5, 0, 3, 2, 6, 0, 4, 9], "width": 2}],
    [EMBEDDING, "mean_over_time"],
    [EMBEDDING, {"name": "conv1d", "channels": 3, "stride": 2}, {"name": "lstm", "units": 3}],
    *(
        [EMBEDDING, {"name": kind, "units": 5, "bidirectional": both, "returns": gives, **more}]
        for kind, more in [
            ("rnn", {}),
            ("rnn", {"activation": "relu", "bias": False}),
            ("lstm", {}),
            ("gru", {}),
        ]
        for both in (False, True)
        for gives in ("all", "last")
    ),
]
SERIES = [
    {"name": "lstm", "units": 4},
    {"name": "gru", "units": 4, "bidirectional": True, "bias": False},
    {"name": "rnn", "units": 4, "returns": "last"},
    "mean_over_time",
]
BLOCKS: list[tuple[Any, tuple[int, ...]]] = [
    ([{"name": "linear", "units": 12}, "relu"], TABLE),
    ([{"name": "linear", "units": 5}], TABLE),
    ([{"name": "conv1d", "channels": 4, "stride": 2}], SIGNAL),
    ([{"name": "conv2d", "channels": 4, "stride": 2}, "batch_norm"], IMAGE),
    ([{"name": "residual", "layers": [{"name": "conv2d", "channels": 5}]}, "tanh"], IMAGE),
]
BRANCHES: list[tuple[Any, tuple[int, ...]]] = [
    ([{"name": "linear", "units": 5}], TABLE),
    ([{"name": "conv1d", "channels": 4}, "relu"], SIGNAL),
    (["max_pool1d"], SIGNAL),
    ([{"name": "conv2d", "channels": 4}, "batch_norm"], IMAGE),
    (["max_pool2d", "upsample"], IMAGE),  # 9 × 8 comes back as 8 × 8
    (["max_pool2d", {"name": "concat", "layers": ["max_pool2d", "upsample"]}, "upsample"], IMAGE),
]
ARCHITECTURES = [
    {"name": "resnet", "blocks": [1, 2], "channels": [3, 4]},
    {"name": "resnet", "blocks": [1, 1], "channels": [3, 4], "bottleneck": True},
    {"name": "resnet", "blocks": [1], "channels": [4], "stem": "imagenet", "batch_norm": False},
    {"name": "wide_resnet", "depth": 10, "widen": 1, "dropout": 0.2},
    {"name": "unet", "channels": [2, 3, 4]},
    {"name": "unet", "channels": [2, 3], "up": "upsample", "batch_norm": False},
]


def agrees(layers: list[Layer], shape: tuple[int, ...], codes: bool = False) -> None:
    """Layers after one another give the same as torch, whatever the size of the batch.

    codes: the input is whole numbers, padding and unknown ones among them.
    """
    draw = torch.Generator().manual_seed(0)
    graph, ctx = Graph(), Context(training=False)
    x = torch.randn(1, 6, *shape, generator=draw) * 3
    if codes:
        x = (x * 2).round().clamp_min(0)
        x[0, 1], x[0, 2, 3:] = 0, 0
    value, y, now = graph.take("x", "float", ("N", *shape)), x, shape
    shapes: list[tuple[int, ...]] = []
    flow = Flow()
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
        place = Place(graph, layer, value, now, declared.output, arrays, flow)
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


@pytest.mark.parametrize(("branch", "shape"), BRANCHES)
def test_a_branch_is_put_beside_its_input(branch: Any, shape: tuple[int, ...]) -> None:
    block = choose(Layer, {"name": "concat", "layers": branch})
    assert isinstance(block, Layer)
    agrees(flat([block]), shape)


@pytest.mark.parametrize("given", ARCHITECTURES, ids=str)
def test_architectures_for_images(given: Any) -> None:
    model = choose(Model, given)
    assert isinstance(model, Model)
    layers = [layer.fitted(Fit(2)) for layer in flat(model.build(IMAGE))]
    assert not unknown(layers)
    agrees(layers, IMAGE)


@pytest.mark.parametrize("given", SEQUENCES, ids=str)
def test_sequences_of_codes_with_gaps_and_padding(given: list[Any]) -> None:
    layers = [choose(Layer, one) for one in given]
    agrees([layer for layer in layers if isinstance(layer, Layer)], (9,), codes=True)


@pytest.mark.parametrize("given", SERIES, ids=str)
def test_series(given: Any) -> None:
    layer = choose(Layer, given)
    assert isinstance(layer, Layer)
    agrees([layer], SIGNAL)


def test_every_layer_that_is_written_is_tried() -> None:
    given = [*(one for one, _ in CASES), *(one for layers in SEQUENCES for one in layers)]
    tried = {type(choose(Layer, one)) for one in given}
    assert {kind.__name__ for kind in CONVERT} - {kind.__name__ for kind in tried} == {
        "Fork",
        "Join",
        "Beside",
        "Swap",
    }


def test_layers_without_a_form_are_named() -> None:
    class Own(Layer):
        @property
        def component(self) -> str:
            return "own"

    relu = choose(Layer, "relu")
    assert isinstance(relu, Layer)
    assert unknown([relu, Own()]) == ["own"]
