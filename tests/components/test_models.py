"""Every architecture lists the layers it should, has the parameters it should, starts at chance."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nnexp.components.layer import Context, Shape, flat
from nnexp.components.layers.activations import Activation
from nnexp.components.layers.basic import Dropout, Linear
from nnexp.components.layers.convolution import Conv2d
from nnexp.components.layers.normalization import BatchNorm
from nnexp.components.models.model import Cnn, LinearModel, Mlp, Model, ResidualNet, Sequential
from nnexp.components.models.rbf import RbfNet
from nnexp.components.models.recurrent import GruNet, LstmNet, RnnNet
from nnexp.config.experiment import Experiment
from nnexp.errors import ConfigError
from nnexp.train.blueprint import Signature, check_model
from nnexp.train.program import Program
from nnexp.train.step import Working

IMAGE, ROW = (3, 12, 12), (20,)
CPU = torch.device("cpu")


def names(model: Model, inputs: Shape) -> str:
    """The layers in a word each; widths where there are some, `-` marks one without a bias."""
    words = []
    for layer in flat(model.build(inputs)):
        width = getattr(layer, "units", getattr(layer, "channels", ""))
        width = "out" if width is None else width
        bias = "" if getattr(layer, "bias", True) else "-"
        words.append(f"{layer.component}{width or ''}{bias}")
    return " ".join(words)


def count(model: Model, inputs: Shape, outputs: int) -> int:
    """Parameters of a model, by its layers' declarations."""
    shape, total, skips = inputs, 0, list[Shape]()
    for layer in flat(model.build(inputs)):
        if isinstance(layer, Linear) and layer.units is None:
            layer = layer.model_copy(update={"units": outputs})
        declared = layer.trace(shape, skips)
        total += sum(math.prod(s.shape) for s in declared.slots if s.role != "buffer")
        shape = declared.output
    assert shape == (outputs,)
    return total


def experiment(model: Model, precision: str = "float64", **keys: Any) -> Experiment:
    return Experiment.model_validate(
        {
            "data": {"source": "digits"},
            "model": model.dump(),
            "task": "classification",
            "loss": "cross_entropy",
            "metrics": ["accuracy"],
            "training": {"precision": precision},
            **keys,
        }
    )


def program(
    model: Model, inputs: Shape, classes: int = 10, seeds: Any = (0,), **keys: Any
) -> Program:
    members = [experiment(model, seed=seed, **keys) for seed in seeds]
    return Program(members, Signature(inputs, classes, 500), CPU)


HEAD = "flatten linear64 relu linearout"
REFERENCES: dict[str, list[tuple[Model, Shape, str]]] = {
    "linear": [
        (LinearModel(), ROW, "linearout"),
        (LinearModel(bias=False), ROW, "linearout-"),
        (LinearModel(), IMAGE, "flatten linearout"),
    ],
    "mlp": [
        (Mlp(), ROW, "linear64 relu linearout"),
        (Mlp(), IMAGE, HEAD),
        (Mlp(hidden=[5, 3]), ROW, "linear5 relu linear3 relu linearout"),
        (Mlp(hidden=[5], bias=False), ROW, "linear5- relu linearout-"),
        (Mlp(hidden=[5], batch_norm=True), ROW, "linear5- batch_norm relu linearout"),
        (
            Mlp(hidden=[5], batch_norm=True, dropout=0.5, input_dropout=0.2),
            IMAGE,
            "flatten dropout linear5- batch_norm relu dropout linearout",
        ),
    ],
    "cnn": [
        (Cnn(), IMAGE, f"conv2d16 relu max_pool2d conv2d32 relu max_pool2d {HEAD}"),
        (Cnn(channels=[4], pool=1, hidden=[]), IMAGE, "conv2d4 relu flatten linearout"),
        (
            Cnn(channels=[4], batch_norm=True, dropout=0.1, hidden=[7]),
            IMAGE,
            "conv2d4- batch_norm relu max_pool2d flatten "
            "linear7- batch_norm relu dropout linearout",
        ),
        (
            Cnn(channels=[4], stride=2, pool_kind="avg", global_pool=True, hidden=[]),
            IMAGE,
            "conv2d4 relu avg_pool2d global_avg_pool linearout",
        ),
        (
            Cnn(channels=[4], local_response_norm=True, batch_norm="after", hidden=[]),
            IMAGE,
            "conv2d4- relu batch_norm local_response_norm max_pool2d flatten linearout",
        ),
        (Cnn(channels=[4], hidden=[]), (2, 8), "conv1d4 relu max_pool1d flatten linearout"),
    ],
    "residual": [
        (
            ResidualNet(blocks=1, width=5),
            IMAGE,
            "flatten linear5 fork relu linear5 relu linear5 join relu linearout",
        ),
        (
            ResidualNet(blocks=1, width=5, batch_norm=True, dropout=0.1),
            ROW,
            "linear5 fork batch_norm relu linear5 batch_norm relu dropout linear5 join "
            "batch_norm relu linearout",
        ),
    ],
    "rnn": [
        (RnnNet(units=5), ROW, "reshape rnn5 linearout"),
        (RnnNet(units=5, output="all"), (2, 8), "rnn5 conv1dout"),
    ],
    "lstm": [
        (
            LstmNet(units=5, layers=3, dropout=0.1),
            (2, 8),
            "lstm5 dropout lstm5 dropout lstm5 dropout linearout",
        )
    ],
    "gru": [
        (GruNet(units=5, bidirectional=True), (2, 8), "gru5 linearout"),
        (GruNet(units=5), IMAGE, "reshape gru5 linearout"),
    ],
    "rbf": [
        (RbfNet(), ROW, "rbf32 linearout"),
        (RbfNet(units=5, bias=False), IMAGE, "flatten rbf5 linearout-"),
    ],
    "sequential": [
        (
            Sequential.model_validate(
                {"layers": ["flatten", {"name": "linear", "units": 4}, "tanh"]}
            ),
            IMAGE,
            "flatten linear4 tanh",
        ),
    ],
}
"""Models, and the layers they list for an input's shape."""

DEFAULTS: dict[str, Model] = {
    "linear": LinearModel(),
    "mlp": Mlp(),
    "cnn": Cnn(),
    "residual": ResidualNet(),
    "rnn": RnnNet(units=8),
    "lstm": LstmNet(units=8),
    "gru": GruNet(units=8),
    "rbf": RbfNet(),
    "sequential": Sequential.model_validate({"layers": ["flatten", "linear"]}),
}


def test_every_model_has_a_reference() -> None:
    words = {"skip_gram", "cbow"}  # test_words.py
    vision = {"resnet", "wide_resnet", "unet", "deep_cnn"}  # test_vision.py
    assert set(REFERENCES) == set(DEFAULTS)
    assert set(DEFAULTS) | words | vision == set(Model.registered)


@pytest.mark.parametrize(
    ("model", "inputs", "expected"), [case for cases in REFERENCES.values() for case in cases]
)
def test_layers_are_listed(model: Model, inputs: Shape, expected: str) -> None:
    assert names(model, inputs) == expected


def test_options_reach_the_layers() -> None:
    layers = Mlp.model_validate(
        {"activation": {"name": "swish", "beta": 2.0}, "dropout": 0.3, "input_dropout": 0.2}
    ).build(ROW)
    assert [x.rate for x in layers if isinstance(x, Dropout)] == [0.2, 0.3]
    assert getattr(layers[2], "beta") == 2.0
    convs = [x for x in Cnn(kernel=5).build(IMAGE) if isinstance(x, Conv2d)]
    assert [(c.kernel, c.padding) for c in convs] == [(5, "same")] * 2
    assert [c.padding for c in Cnn(kernel=4).build(IMAGE) if isinstance(c, Conv2d)] == ["valid"] * 2


def test_bias_is_dropped_before_batch_norm_only() -> None:
    for model, inputs in ((Mlp(batch_norm=True), ROW), (Cnn(batch_norm=True), IMAGE)):
        layers = model.build(inputs)
        for layer, after in pairwise(layers):
            if isinstance(layer, (Linear, Conv2d)):
                assert layer.bias is not isinstance(after, BatchNorm)
        assert getattr(layers[-1], "bias") is True


# -- sizes -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "inputs", "outputs", "expected"),
    [
        # the documents' own: 2500 × 2000 weights are 5,000,000
        (LinearModel(bias=False), (2500,), 2000, 5_000_000),
        (Mlp(hidden=[2000], bias=False), (2500,), 1, 5_000_000 + 2000),
        (LinearModel(), (64,), 10, 650),
        (Mlp(hidden=[128, 64]), (64,), 10, 64 * 128 + 128 + 128 * 64 + 64 + 64 * 10 + 10),
        (Mlp(hidden=[8], batch_norm=True), (4,), 3, 4 * 8 + 2 * 8 + 8 * 3 + 3),
        (
            Cnn(channels=[4, 6], hidden=[5]),
            (3, 8, 8),
            10,
            (3 * 9 + 1) * 4 + (4 * 9 + 1) * 6 + (6 * 4 + 1) * 5 + 6 * 10,
        ),
    ],
)
def test_parameters_are_counted(model: Model, inputs: Shape, outputs: int, expected: int) -> None:
    assert count(model, inputs, outputs) == expected
    assert program(model, inputs, outputs).layout.size == expected if expected < 10**5 else True


@given(
    st.lists(st.integers(1, 6), min_size=1, max_size=4),
    st.booleans(),
    st.booleans(),
    st.integers(1, 5),
    st.integers(2, 5),
)
@settings(max_examples=40, deadline=None)
def test_an_mlp_of_any_size_has_torchs_number_of_parameters(
    hidden: list[int], bias: bool, norm: bool, inputs: int, outputs: int
) -> None:
    modules: list[torch.nn.Module] = []
    for size, units in zip([inputs, *hidden], hidden, strict=False):
        modules.append(torch.nn.Linear(size, units, bias and not norm))
        if norm:
            modules.append(torch.nn.BatchNorm1d(units))
    modules.append(torch.nn.Linear(hidden[-1], outputs, bias))
    expected = sum(p.numel() for m in modules for p in m.parameters())
    model = Mlp(hidden=hidden, bias=bias, batch_norm=norm)
    assert count(model, (inputs,), outputs) == expected


# -- the start -------------------------------------------------------------------------------------


def first_loss(one: Program, inputs: Shape, classes: int) -> float:
    """The loss before any update on random standardized examples, with dropout on."""
    draw = torch.Generator().manual_seed(1)
    x = torch.randn(1, 256, *inputs, generator=draw, dtype=torch.float64)
    y = torch.randint(classes, (1, 256), generator=draw)
    tensors = {"params": one.initial_params(), "buffers": one.initial_buffers()}
    tensors["loss_sum"] = torch.zeros(1, dtype=torch.float64)
    losses, _ = Working(one, tensors).gradients(x, y, 0)
    return float(losses.mean())


ACTIVATIONS = sorted(Activation.registered)
STARTS: list[tuple[str, Model]] = [
    *((name, model) for name, model in DEFAULTS.items()),
    *((f"mlp {a}", Mlp.model_validate({"activation": a, "hidden": [64, 64]})) for a in ACTIVATIONS),
    *((f"cnn {a}", Cnn.model_validate({"activation": a})) for a in ACTIVATIONS),
    *((f"residual {a}", ResidualNet.model_validate({"activation": a})) for a in ACTIVATIONS),
    ("mlp norm", Mlp(hidden=[32] * 5, batch_norm=True)),
    ("mlp dropout", Mlp(dropout=0.5, input_dropout=0.2)),
    ("mlp wide", Mlp(hidden=[512])),
    ("cnn norm", Cnn(batch_norm=True)),
]


@pytest.mark.parametrize("model", [m for _, m in STARTS], ids=[name for name, _ in STARTS])
@pytest.mark.parametrize(
    ("loss", "classes"), [("cross_entropy", 10), ("hinge", 10), ("binary_cross_entropy", 2)]
)
def test_the_first_loss_is_chance(model: Model, loss: str, classes: int) -> None:
    inputs = IMAGE if isinstance(model, (Cnn, Sequential)) else (64,)
    one = program(model, inputs, classes, loss=loss)
    chance = one.loss.chance(classes)
    assert chance is not None
    assert first_loss(one, inputs, classes) == pytest.approx(chance, rel=0.05)


def test_a_he_output_layer_would_not_start_at_chance() -> None:
    one = program(Mlp(hidden=[128, 64]), (64,), 10, initialization="he_normal")
    assert first_loss(one, (64,), 10) > 1.1 * math.log(10)


@pytest.mark.parametrize(
    ("activation", "variance"),
    [
        ("relu", 2 / 400),
        ("swish", 2 / 400),
        ("tanh", 2 / 700),
        ("identity", 2 / 700),
        ("sigmoid", 16 * 2 / 700),
    ],
)
def test_without_a_choice_the_start_suits_the_activation(activation: str, variance: float) -> None:
    one = program(Mlp.model_validate({"activation": activation, "hidden": [300]}), (400,))
    named = one.layout.named(one.initial_params()[0])
    hidden, output = (t for n, t in named.items() if n.endswith("weight"))
    assert float(hidden.var()) == pytest.approx(variance, rel=0.03)
    assert float(output.std()) == pytest.approx(0.01, rel=0.05)
    assert all((t == 0).all() for n, t in named.items() if n.endswith("bias"))


def test_a_layer_of_its_own_start_is_obeyed() -> None:
    layers = [{"name": "linear", "units": 5, "init": {"name": "constant", "value": 2.0}}, "linear"]
    one = program(Sequential.model_validate({"layers": layers}), ROW, initialization="he_normal")
    first, second = (
        t for n, t in one.layout.named(one.initial_params()[0]).items() if n.endswith("weight")
    )
    assert (first == 2.0).all()
    assert float(second.std()) == pytest.approx((2 / 5) ** 0.5, rel=0.3)


@pytest.mark.parametrize("other", [None, {"name": "constant", "value": 3.0}])
def test_members_whose_layers_start_differently_each_start_as_alone(other: Any) -> None:
    """Initializations may differ between members of a pack, a layer's own ones included."""

    def model(init: Any) -> Model:
        linear = {"name": "linear", "units": 5, "init": init}
        return Sequential.model_validate({"layers": [linear, "linear"]})

    starts = [{"name": "constant", "value": 2.0}, other]
    members = [experiment(model(init), seed=seed) for seed, init in enumerate(starts)]
    signature = Signature(ROW, 10, 500)
    together = Program(members, signature, CPU).initial_params()
    for row, member in zip(together, members, strict=True):
        assert torch.equal(row, Program([member], signature, CPU).initial_params()[0])


# -- shapes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", DEFAULTS)
@pytest.mark.parametrize("members", [1, 3])
def test_a_network_gives_an_output_a_class(name: str, members: int) -> None:
    inputs = IMAGE if name in ("cnn", "sequential") else ROW
    pack = program(DEFAULTS[name], inputs, 4, seeds=range(members))
    params = pack.layout.views(pack.initial_params())
    buffers = pack.buffer_layout.views(pack.initial_buffers())
    x = torch.randn(members, 6, *inputs, dtype=torch.float64)
    out = pack.forward(params, buffers, x, Context(training=False))
    assert out.shape == (members, 6, 4)
    assert out.dtype is torch.float64


@pytest.mark.parametrize(
    ("model", "inputs", "message"),
    [
        (Cnn(), ROW, "conv2d needs images"),
        (GruNet(output="all"), (2, 8), "its last layer gives (10, 8) an example"),
        (Cnn(), (1, 3, 3), "max_pool2d: a window of 2 does not fit into 1 × 1"),
        (
            Sequential.model_validate({"layers": [{"name": "linear", "units": 4}]}),
            ROW,
            "its last layer gives (4,) an example; the task needs (10,)",
        ),
    ],
)
def test_what_does_not_fit_is_told(model: Model, inputs: Shape, message: str) -> None:
    one = experiment(model)
    assert one.loss is not None
    signature = Signature(inputs, 10, 500)
    with pytest.raises(ConfigError) as caught:
        check_model(one, signature)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "bad",
    [
        {"name": "mlp", "hidden": []},
        {"name": "mlp", "hidden": [0]},
        {"name": "mlp", "dropout": 1.0},
        {"name": "mlp", "activation": "linear"},
        {"name": "cnn", "channels": []},
        {"name": "cnn", "pool": 0},
        {"name": "sequential"},
        {"name": "sequential", "layers": []},
    ],
)
def test_what_makes_no_sense_is_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="validation error"):
        Model.registered[bad["name"]].model_validate(bad)
