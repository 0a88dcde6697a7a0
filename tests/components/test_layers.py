"""Every layer is torch's module for each member, alone and in a pack."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from nnexp import streams
from nnexp.components.inits import Normal
from nnexp.components.layer import Context, Layer, Shape
from nnexp.components.layers import convolution
from nnexp.components.layers.activations import Activation
from nnexp.components.layers.basic import Dropout, Flatten, Linear, Reshape
from nnexp.components.layers.convolution import Conv1d, Conv2d, ConvTranspose2d
from nnexp.components.layers.embedding import EmbedColumns, Embedding
from nnexp.components.layers.normalization import BatchNorm, LayerNorm, LocalResponseNorm
from nnexp.components.layers.pooling import (
    AvgPool1d,
    AvgPool2d,
    GlobalAvgPool,
    GlobalMaxPool,
    MaxPool1d,
    MaxPool2d,
    Upsample,
)
from nnexp.components.layers.rbf import Rbf
from nnexp.components.layers.recurrent import Gru, Lstm, MeanOverTime, Rnn
from nnexp.registry import stack

M, B = 3, 5  # members, examples
EVALUATION = Context(training=False)

Tensors = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Case:
    """A layer, the shape of an example, and torch's module with one member's tensors in it."""

    spec: Layer
    shape: Shape
    module: Callable[[Tensors], nn.Module]


def filled(module: nn.Module, **tensors: torch.Tensor | None) -> nn.Module:
    """The module in float64 and evaluation mode, with parameters and buffers set."""
    module = module.double().eval()
    for name, tensor in tensors.items():
        if tensor is not None:
            getattr(module, name).data = tensor.detach().clone()
    return module


def linear(shape: Shape, units: int, bias: bool = True) -> Case:
    def module(own: Tensors) -> nn.Module:
        inside = nn.Linear(shape[0], units, bias)
        return filled(inside, weight=own["weight"].T, bias=own["bias"][0] if bias else None)

    return Case(Linear(units=units, bias=bias), shape, module)


def conv(shape: Shape, channels: int, pad: Any = "same", **how: Any) -> Case:
    """pad: torch's padding, where it is not written as ours."""
    names = {"kernel": "kernel_size"}
    options = {names.get(k, k): v for k, v in how.items() if k != "padding"}
    options = {"kernel_size": 3, "padding": how.get("padding", pad), **options}

    ours, theirs = (Conv1d, nn.Conv1d) if len(shape) == 2 else (Conv2d, nn.Conv2d)

    def module(own: Tensors) -> nn.Module:
        inside = theirs(shape[0], channels, **options)
        return filled(inside, weight=own["weight"], bias=own.get("bias"))

    return Case(ours(channels=channels, **how), shape, module)


def transposed(shape: Shape, channels: int, **how: Any) -> Case:
    names = {"kernel": "kernel_size"}
    options = {"kernel_size": 2, "stride": 2, **{names.get(k, k): v for k, v in how.items()}}

    def module(own: Tensors) -> nn.Module:
        inside = nn.ConvTranspose2d(shape[0], channels, **options)
        return filled(inside, weight=own["weight"], bias=own.get("bias"))

    return Case(ConvTranspose2d(channels=channels, **how), shape, module)


def layer_norm(shape: Shape, **how: Any) -> Case:
    def module(own: Tensors) -> nn.Module:
        return filled(nn.LayerNorm(shape, **how), weight=own["gamma"], bias=own["beta"])

    return Case(LayerNorm(**how), shape, module)


class Responses(nn.Module):
    """Local response normalization by its formula, a neighbourhood at a time."""

    def __init__(self, n: int, alpha: float, beta: float, k: float, within: bool) -> None:
        super().__init__()
        self.n, self.alpha, self.beta, self.k, self.within = n, alpha, beta, k, within

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        axes = (2, 3) if self.within else (1,)
        total, low = torch.zeros_like(x), -(self.n // 2)
        for shift in np.ndindex(*[self.n] * len(axes)):
            moved = (x * x).clone()
            for axis, step in zip(axes, shift, strict=True):
                moved = torch.stack(
                    [
                        moved.select(axis, i + low + step)
                        if 0 <= i + low + step < x.shape[axis]
                        else torch.zeros_like(moved.select(axis, 0))
                        for i in range(x.shape[axis])
                    ],
                    axis,
                )
            total = total + moved
        return x / (self.k + self.alpha * total / self.n ** len(axes)) ** self.beta


class Repeat(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.repeat_interleave(3, -1).repeat_interleave(3, -2)


def batch_norm(shape: Shape, **how: Any) -> Case:
    kind = nn.BatchNorm1d if len(shape) == 1 else nn.BatchNorm2d
    return Case(
        BatchNorm(**how),
        shape,
        lambda own: filled(
            kind(shape[0], **how),
            weight=own["gamma"].flatten(),
            bias=own["beta"].flatten(),
            running_mean=own["running_mean"].flatten(),
            running_var=own["running_var"].flatten(),
        ),
    )


class Bells(nn.Module):
    """exp(−β_i ‖x − w_i‖²) from the differences themselves."""

    def __init__(self, own: Tensors) -> None:
        super().__init__()
        for name, tensor in own.items():
            self.register_parameter(name, nn.Parameter(tensor.detach().clone()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        apart = (x[:, None] - self.get_parameter("centers")).square().sum(2)
        return torch.exp(-self.get_parameter("log_beta").exp() * apart)


class Recurrent(nn.Module):
    """torch's recurrent module over sequences (C, T), its parameters called as ours."""

    def __init__(self, spec: Rnn | Lstm | Gru, inputs: int, own: Tensors) -> None:
        super().__init__()
        kinds = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}
        how: dict[str, Any] = {"bias": spec.bias, "bidirectional": spec.bidirectional}
        if isinstance(spec, Rnn):
            how["nonlinearity"] = spec.activation
        self.spec, self.names = spec, {_theirs(name): name for name in own}
        inside = kinds[spec.component](inputs, spec.units, batch_first=True, **how)
        self.inside = filled(inside, **{_theirs(name): tensor for name, tensor in own.items()})

    def named_parameters(self, *args: Any, **kwargs: Any) -> Any:
        for name, parameter in self.inside.named_parameters():
            yield self.names[name], parameter

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        states, last = self.inside(x.transpose(1, 2))
        if self.spec.returns == "all":
            return torch.as_tensor(states.transpose(1, 2))
        return torch.cat(list(last[0] if isinstance(last, tuple) else last), -1)


def _theirs(name: str) -> str:
    """weight_ih_reverse is torch's weight_ih_l0_reverse."""
    first, second, *end = name.split("_")
    return "_".join([first, second, "l0", *end])


def recurrent(spec: Rnn | Lstm | Gru, shape: Shape) -> Case:
    return Case(spec, shape, lambda own: Recurrent(spec, shape[0], own))


class Mean(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean(-1)


class Columns(nn.Module):
    """The numbers of a table, then torch's embedding of each column of codes."""

    def __init__(self, codes: Sequence[int], own: Tensors) -> None:
        super().__init__()
        self.codes = codes
        self.own = nn.ParameterDict({name: nn.Parameter(t.clone()) for name, t in own.items()})

    def named_parameters(self, *args: Any, **kwargs: Any) -> Any:
        yield from ((name, self.own[name]) for name in self.own)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found = [x[:, [i for i, codes in enumerate(self.codes) if not codes]]]
        for i, codes in enumerate(self.codes):
            if codes:
                table = torch.cat([self.own[f"unknown{i}"], self.own[f"weight{i}"]])
                ids = x[:, i].detach().long().clamp(0)
                found.append(nn.functional.embedding(torch.where(ids < codes, ids, 1), table))
        return torch.cat(found, 1)


REFERENCES: dict[str, list[Case]] = {
    "flatten": [Case(Flatten(), (2, 3, 4), lambda _: nn.Flatten())],
    "linear": [linear((4,), 6), linear((7,), 1, bias=False)],
    "rbf": [Case(Rbf(units=4), (3,), Bells), Case(Rbf(units=1), (1,), Bells)],
    "conv2d": [
        conv((3, 8, 7), 4),
        conv((3, 8, 8), 4, bias=False),
        conv((1, 9, 9), 5, kernel=5, stride=2, pad=2),
        conv((2, 9, 8), 3, dilation=3),
        conv((2, 9, 8), 3, dilation=2, stride=2, pad=2),
        conv((2, 9, 8), 3, kernel=3, stride=3, padding=2, dilation=2),
        conv((2, 9, 8), 3, kernel=2, padding="valid"),
        conv((2, 9, 8), 3, kernel=4, dilation=2, padding="same"),
        conv((4, 5, 5), 2, kernel=1, padding=0),
        conv((2, 1, 6), 2),
    ],
    "max_pool2d": [
        Case(MaxPool2d(), (3, 8, 6), lambda _: nn.MaxPool2d(2)),
        Case(MaxPool2d(size=3), (2, 8, 7), lambda _: nn.MaxPool2d(3)),
    ],
    "avg_pool2d": [
        Case(AvgPool2d(), (3, 8, 6), lambda _: nn.AvgPool2d(2)),
        Case(AvgPool2d(size=3), (2, 8, 7), lambda _: nn.AvgPool2d(3)),
    ],
    "batch_norm": [
        batch_norm((6,)),
        batch_norm((3, 4, 5)),
        batch_norm((6,), eps=0.1, momentum=0.4),
    ],
    "reshape": [Case(Reshape(shape=[2, 3]), (6,), lambda _: nn.Unflatten(1, (2, 3)))],
    "conv1d": [
        conv((3, 9), 4),
        conv((2, 9), 3, kernel=5, stride=2, pad=2, bias=False),
        conv((2, 12), 3, dilation=3, padding="valid"),
    ],
    "conv_transpose2d": [
        transposed((3, 4, 5), 4),
        transposed((2, 4, 4), 3, kernel=4, stride=3, padding=1, bias=False),
    ],
    "max_pool1d": [
        Case(MaxPool1d(), (3, 9), lambda _: nn.MaxPool1d(2)),
        Case(MaxPool1d(size=4, stride=2, padding=1), (3, 9), lambda _: nn.MaxPool1d(4, 2, 1)),
    ],
    "avg_pool1d": [Case(AvgPool1d(size=3, stride=1), (3, 9), lambda _: nn.AvgPool1d(3, 1))],
    "global_avg_pool": [
        Case(
            GlobalAvgPool(),
            (3, 4, 5),
            lambda _: nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()),
        ),
        Case(
            GlobalAvgPool(), (3, 7), lambda _: nn.Sequential(nn.AdaptiveAvgPool1d(1), nn.Flatten())
        ),
    ],
    "global_max_pool": [
        Case(
            GlobalMaxPool(),
            (3, 4, 5),
            lambda _: nn.Sequential(nn.AdaptiveMaxPool2d(1), nn.Flatten()),
        ),
    ],
    "upsample": [
        Case(Upsample(factor=3), (2, 3, 4), lambda _: Repeat()),
        Case(
            Upsample(mode="bilinear"),
            (2, 3, 4),
            lambda _: nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False),
        ),
    ],
    "layer_norm": [layer_norm((6,)), layer_norm((3, 4, 5)), layer_norm((6,), eps=0.1)],
    "local_response_norm": [
        Case(LocalResponseNorm(), (7, 3, 4), lambda _: nn.LocalResponseNorm(5)),
        Case(
            LocalResponseNorm(size=3, alpha=0.7, beta=0.5, k=2.0),
            (5, 3, 4),
            lambda _: Responses(3, 0.7, 0.5, 2.0, False),
        ),
        Case(
            LocalResponseNorm(size=3, alpha=0.7, within=True),
            (2, 5, 4),
            lambda _: Responses(3, 0.7, 0.75, 1.0, True),
        ),
        Case(
            LocalResponseNorm(size=4, alpha=0.7), (7,), lambda _: Responses(4, 0.7, 0.75, 1, False)
        ),
    ],
    "dropout": [Case(Dropout(rate=0.4), (7,), lambda _: nn.Dropout(0.4).eval())],
    "rnn": [
        recurrent(Rnn(units=4), (3, 6)),
        recurrent(Rnn(units=4, activation="relu", returns="last", bidirectional=True), (3, 2)),
        recurrent(Rnn(units=4, bias=False), (1, 5)),
    ],
    "lstm": [
        recurrent(Lstm(units=4), (3, 6)),
        recurrent(Lstm(units=3, bidirectional=True), (2, 5)),
        recurrent(Lstm(units=4, returns="last", bias=False), (3, 1)),
    ],
    "gru": [
        recurrent(Gru(units=4, bidirectional=True), (3, 6)),
        recurrent(Gru(units=4, returns="last"), (3, 6)),
        recurrent(Gru(units=1, bias=False), (2, 4)),
    ],
    "mean_over_time": [Case(MeanOverTime(), (3, 7), lambda _: Mean())],
    "embed_columns": [
        Case(EmbedColumns(codes=[0, 3, 0, 4]), (4,), lambda own: Columns([0, 3, 0, 4], own)),
        Case(EmbedColumns(codes=[5, 0], width=2), (2,), lambda own: Columns([5, 0], own)),
    ],
}
"""Cases of each layer, in evaluation mode; activations have their own tests."""

CASES = [case for cases in REFERENCES.values() for case in cases]
Every = pytest.mark.parametrize("case", CASES, ids=[f"{c.spec!r}{c.shape}" for c in CASES])


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=draw, dtype=torch.float64)


def tensors(spec: Layer, shape: Shape, members: int = M) -> Tensors:
    """Random parameters and buffers `[M, …]` of a layer."""
    own = {}
    for seed, slot in enumerate(spec.declare(shape).slots):
        own[slot.name] = random(members, *slot.shape, seed=10 + seed)
        if slot.name == "running_var":
            own[slot.name] = own[slot.name].abs() + 0.5
    return own


def forward(
    spec: Layer, x: torch.Tensor, own: Tensors, ctx: Context = EVALUATION, **hyper: Any
) -> torch.Tensor:
    return spec.forward(x, own, {**stack([spec]), **hyper}, ctx)


def row(own: Tensors, member: int) -> Tensors:
    return {name: tensor[member] for name, tensor in own.items()}


def close(actual: torch.Tensor, expected: torch.Tensor, tolerance: float = 1e-12) -> None:
    torch.testing.assert_close(actual, expected, rtol=tolerance, atol=tolerance)


def test_every_layer_has_a_reference() -> None:
    # residual stands for a list of layers: test_residual.py; through codes no gradient passes:
    others = {"residual", "embedding"}  # test_embedding.py
    others |= {"word_input", "word_output"}  # test_words.py
    others |= {"concat"}  # test_vision.py
    assert set(REFERENCES) | set(Activation.registered) | others == set(Layer.registered)


# -- the contract ----------------------------------------------------------------------------------


@pytest.fixture(params=["grouped", "loop"])
def _both_paths(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pack's convolutions run grouped, then member by member."""
    monkeypatch.setattr(convolution, "_LOOP_FROM", 1_000 if request.param == "grouped" else 2)


@Every
@pytest.mark.usefixtures("_both_paths")
@pytest.mark.parametrize("members", [1, M])
def test_values_and_gradients_are_torchs(case: Case, members: int) -> None:
    own = tensors(case.spec, case.shape, members)
    x = random(members, B, *case.shape).requires_grad_()
    wanted = {n: t.requires_grad_() for n, t in own.items() if not n.startswith("running")}
    found = forward(case.spec, x, own)
    slope = random(*found.shape, seed=1)
    grads = torch.autograd.grad(found, [x, *wanted.values()], slope)
    for member in range(members):
        module = case.module(row(own, member))
        leaf = x[member].detach().requires_grad_()
        expected = module(leaf)
        close(found[member], expected)
        inner = list(module.parameters())
        expected_grads = torch.autograd.grad(expected, [leaf, *inner], slope[member])
        close(grads[0][member], expected_grads[0], 1e-11)
        named = dict(
            zip((n for n, _ in module.named_parameters()), expected_grads[1:], strict=True)
        )
        for name, grad in zip(wanted, grads[1:], strict=True):
            other = named[{"gamma": "weight", "beta": "bias"}.get(name, name)]
            other = other.T if isinstance(case.spec, Linear) and name == "weight" else other
            close(grad[member].flatten(), other.flatten(), 1e-11)


@Every
def test_the_declared_shape_is_the_real_one(case: Case) -> None:
    declared = case.spec.declare(case.shape)
    out = forward(case.spec, random(M, B, *case.shape), tensors(case.spec, case.shape))
    assert out.shape == (M, B, *declared.output)
    assert len({slot.name for slot in declared.slots}) == len(declared.slots)


@Every
@pytest.mark.usefixtures("_both_paths")
@pytest.mark.parametrize("training", [False, True])
def test_a_pack_is_its_members_alone(case: Case, training: bool) -> None:
    own, x = tensors(case.spec, case.shape), random(M, B, *case.shape)
    seeds = [4, 9, 2]
    alone = []
    for member, seed in enumerate(seeds):
        keys = streams.member_keys([seed], streams.DROPOUT, "cpu")
        one = {name: t[member : member + 1].clone() for name, t in own.items()}
        out = forward(case.spec, x[member : member + 1], one, Context(training, keys, step=3))
        alone.append((out, one))
    keys = streams.member_keys(seeds, streams.DROPOUT, "cpu")
    together = forward(case.spec, x, own, Context(training, keys, step=3))
    close(together, torch.cat([out for out, _ in alone]))
    for name, tensor in own.items():
        close(tensor, torch.cat([one[name] for _, one in alone]))


@Every
@pytest.mark.usefixtures("_both_paths")
@pytest.mark.parametrize("training", [False, True])
def test_members_may_share_their_examples(case: Case, training: bool) -> None:
    """Shared examples are one batch expanded over the members, without a copy."""
    x = random(1, B, *case.shape).expand(M, B, *case.shape)
    ctx = Context(training, streams.member_keys(range(M), streams.DROPOUT, "cpu"))
    shared, copied = (
        forward(case.spec, batch, tensors(case.spec, case.shape), ctx)
        for batch in (x, x.contiguous())
    )
    close(shared, copied)


@Every
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("training", [False, True])
def test_the_type_of_the_input_is_kept(case: Case, dtype: torch.dtype, training: bool) -> None:
    exact = tensors(case.spec, case.shape)
    own = {n: t.float() if n.startswith("running") else t.to(dtype) for n, t in exact.items()}
    x = random(M, B, *case.shape).to(dtype)
    ctx = Context(training, streams.member_keys(range(M), streams.DROPOUT, "cpu"))
    found = forward(case.spec, x, own, ctx)
    assert found.dtype is dtype
    wide = {n: t.double() for n, t in own.items()} if not training else exact
    expected = forward(case.spec, x.double(), wide, ctx)
    close(found.double(), expected, 1e-5 if dtype is torch.float32 else 0.1)


# -- linear ----------------------------------------------------------------------------------------


def test_linear_declares_its_tensors() -> None:
    weight, bias = Linear(units=3).declare((5,)).slots
    assert (weight.name, weight.shape, weight.role) == ("weight", (5, 3), "weight")
    assert (weight.fan_in, weight.fan_out, weight.init) == (5, 3, None)
    assert (bias.name, bias.shape, bias.role, bias.fill) == ("bias", (1, 3), "bias", 0.0)
    start = Normal(std=0.5)
    assert Linear(units=3, bias=False, init=start).declare((5,)).slots[0].init is start


@pytest.mark.parametrize(
    ("spec", "shape", "message"),
    [
        (
            Linear(units=3),
            (2, 3, 4),
            "linear needs a row of features, not (2, 3, 4): put `flatten`",
        ),
        (Conv2d(channels=2), (5,), "conv2d needs images (channels, height, width), not (5,)"),
        (Conv2d(channels=2, kernel=4), (1, 8, 8), "padding: same needs an odd kernel"),
        (
            Conv2d(channels=2, kernel=5, padding="valid"),
            (1, 8, 4),
            "a kernel of 5 does not fit into 4 pixels",
        ),
        (Conv1d(channels=2), (5,), "conv1d needs signals (channels, length), not (5,)"),
        (ConvTranspose2d(channels=2), (5,), "conv_transpose2d needs images"),
        (ConvTranspose2d(channels=2, padding=3), (1, 2, 2), "a padding of 3 leaves no pixel"),
        (GlobalAvgPool(), (5,), "global_avg_pool needs channels with pixels"),
        (Upsample(), (5,), "upsample needs images"),
        (Reshape(shape=[2, 2]), (5,), "5 numbers an example are not 2 × 2"),
        (LocalResponseNorm(within=True), (5,), "`within` needs images"),
        (LocalResponseNorm(within=True, size=4), (1, 5, 5), "`within` needs an odd size"),
        (Lstm(), (5,), "lstm needs sequences (channels, length), not (5,)"),
        (Rnn(), (1, 8, 8), "rnn needs sequences (channels, length), not (1, 8, 8)"),
        (MeanOverTime(), (5,), "mean_over_time needs sequences"),
        (Embedding(), (5,), "embedding needs codes in every column: add `tokenize`"),
        (Embedding(codes=4), (2, 5), "embedding needs sequences of codes (length,), not (2, 5)"),
        (EmbedColumns(), (5,), "embed_columns needs columns of codes: add `ordinal`"),
        (EmbedColumns(codes=[3]), (5,), "`codes` is for 1 columns of (5,)"),
        (EmbedColumns(codes=[3]), (1, 5), "embed_columns needs the columns of a table"),
        (Dropout(shared=[1]), (5,), "an example of shape (5,) has axes 0 to 0"),
        (MaxPool1d(size=2, padding=2), (1, 5), "padding may be half of the window at most: 1"),
        (MaxPool2d(), (5,), "max_pool2d needs images"),
        (AvgPool2d(), (5,), "avg_pool2d needs images"),
        (MaxPool2d(size=3), (1, 8, 2), "a window of 3 does not fit into 8 × 2"),
        (AvgPool2d(size=9), (1, 8, 8), "a window of 9 does not fit into 8 × 8"),
    ],
)
def test_a_shape_that_does_not_suit_is_told(spec: Layer, shape: Shape, message: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        spec.declare(shape)
    assert message in str(caught.value)


# -- convolution and pooling -----------------------------------------------------------------------


@given(
    st.tuples(st.integers(1, 3), st.integers(1, 9), st.integers(1, 9)),
    st.integers(1, 3),
    st.integers(1, 5),
    st.integers(1, 3),
    st.sampled_from(["same", "valid"]) | st.integers(0, 3),
    st.integers(1, 3),
    st.integers(1, 2),
)
@settings(max_examples=80, deadline=None)
def test_any_convolution_has_torchs_shape_or_is_refused(
    shape: Shape,
    channels: int,
    kernel: int,
    stride: int,
    padding: Any,
    dilation: int,
    members: int,
) -> None:
    spec = Conv2d(
        channels=channels, kernel=kernel, stride=stride, padding=padding, dilation=dilation
    )
    fits = all(n + 2 * spec.pad > dilation * (kernel - 1) for n in shape[1:])
    even = padding == "same" and dilation * (kernel - 1) % 2 == 1
    if even or not fits:
        with pytest.raises(ValueError, match=r"needs an odd kernel|does not fit"):
            spec.declare(shape)
        return
    x = random(members, 2, *shape)
    out = forward(spec, x, tensors(spec, shape, members))
    assert out.shape == (members, 2, *spec.declare(shape).output)
    if padding == "same":
        assert out.shape[3:] == tuple(-(-n // stride) for n in shape[1:])


@given(
    st.tuples(st.integers(1, 3), st.integers(1, 9), st.integers(1, 9)),
    st.integers(2, 5),
    st.sampled_from([MaxPool2d, AvgPool2d]),
)
@settings(max_examples=40, deadline=None)
def test_any_pooling_has_torchs_shape_or_is_refused(shape: Shape, size: int, cls: Any) -> None:
    spec = cls(size=size)
    if min(shape[1:]) < size:
        with pytest.raises(ValueError, match="does not fit"):
            spec.declare(shape)
    else:
        out = forward(spec, random(2, 3, *shape), {})
        assert out.shape == (2, 3, *spec.declare(shape).output)


def test_convolution_is_equivariant_and_pooling_makes_invariant() -> None:
    """A shifted image gives shifted maps (one document says invariant); a global maximum stays."""
    spec = Conv2d(channels=3, kernel=3, padding="valid")
    own = tensors(spec, (1, 12, 12), 1)
    image = torch.zeros(1, 1, 1, 12, 12, dtype=torch.float64)
    image[..., 3:6, 3:6] = random(3, 3)
    moved = torch.roll(image, (2, 4), dims=(-2, -1))
    maps, moved_maps = (forward(spec, x, own) for x in (image, moved))
    close(torch.roll(maps, (2, 4), dims=(-2, -1)), moved_maps)
    assert not torch.allclose(maps, moved_maps)
    pool = MaxPool2d(size=10)
    close(forward(pool, maps, {}), forward(pool, moved_maps, {}))


def test_convolution_does_not_flip_its_kernel() -> None:
    spec = Conv2d(channels=1, kernel=3, padding="valid", bias=False)
    kernel = torch.arange(9.0, dtype=torch.float64).view(1, 1, 1, 3, 3)
    image = torch.zeros(1, 1, 1, 3, 3, dtype=torch.float64)
    image[..., 0, 0] = 1.0
    image[..., 2, 1] = 10.0
    assert float(forward(spec, image, {"weight": kernel})) == 0 * 1 + 7 * 10


# -- batch normalization ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "case", REFERENCES["batch_norm"], ids=lambda c: repr(c.spec) + str(c.shape)
)
def test_batch_norm_in_training_is_torchs_over_several_batches(case: Case) -> None:
    own = tensors(case.spec, case.shape)
    modules = [case.module(row(own, member)).train() for member in range(M)]
    for number in range(4):
        x = (2 * random(M, B, *case.shape, seed=number) + 1).requires_grad_()
        found = forward(case.spec, x, own, Context(training=True))
        slope = random(*found.shape, seed=99)
        (grads,) = torch.autograd.grad(found, x, slope)
        for member, module in enumerate(modules):
            leaf = x[member].detach().requires_grad_()
            expected = module(leaf)
            close(found[member], expected)
            (expected_grads,) = torch.autograd.grad(expected, leaf, slope[member])
            close(grads[member], expected_grads, 1e-11)
            for name in ("running_mean", "running_var"):
                buffer = getattr(module, name)
                assert isinstance(buffer, torch.Tensor)
                close(own[name][member].flatten(), buffer)
    x = random(M, B, *case.shape, seed=50)
    found = forward(case.spec, x, own)
    before = {name: tensor.clone() for name, tensor in own.items()}
    for member, module in enumerate(modules):
        close(found[member], module.eval()(x[member]))
    forward(case.spec, x, own)
    assert all(torch.equal(before[name], own[name]) for name in own)  # evaluation changes nothing


def test_batch_norm_divides_by_the_root_of_variance_plus_eps() -> None:
    """One document prints σ = Var; another x/σ²."""
    x = 10 * random(1, 400, 3) + 5
    own = {name: torch.full((1, 3), v, dtype=torch.float64) for name, v in START.items()}
    out = forward(BatchNorm(eps=1e-5), x, own, Context(training=True))
    expected = (x - x.mean(1)) / (x.var(1, correction=0) + 1e-5).sqrt()
    close(out, expected)
    assert out.std(1, correction=0).tolist()[0] == pytest.approx([1.0] * 3, rel=1e-6)


START = {"gamma": 1.0, "beta": 0.0, "running_mean": 0.0, "running_var": 1.0}


def test_running_averages_keep_nine_tenths() -> None:
    x = random(1, 50, 2)
    own = {name: torch.full((1, 2), v, dtype=torch.float64) for name, v in START.items()}
    forward(BatchNorm(), x, own, Context(training=True))
    close(own["running_mean"], 0.1 * x.mean(1))
    close(own["running_var"], 0.9 + 0.1 * x.var(1))


def test_batch_norm_declares_its_tensors() -> None:
    for shape, one in (((4,), (4,)), ((4, 5, 6), (4, 1, 1))):
        slots = {slot.name: slot for slot in BatchNorm().declare(shape).slots}
        assert {n: (s.role, s.fill, s.shape) for n, s in slots.items()} == {
            "gamma": ("norm", 1.0, one),
            "beta": ("norm", 0.0, one),
            "running_mean": ("buffer", 0.0, one),
            "running_var": ("buffer", 1.0, one),
        }


def test_batch_norm_of_bf16_keeps_its_statistics_in_float32() -> None:
    x = (random(2, 64, 3) + 100).bfloat16()
    own = {
        name: torch.full((2, 3), v, dtype=torch.float32 if "run" in name else torch.bfloat16)
        for name, v in START.items()
    }
    forward(BatchNorm(momentum=1.0), x, own, Context(training=True))
    close(own["running_mean"], x.float().mean(1), 1e-6)
    close(own["running_var"], x.float().var(1), 1e-5)


def test_batch_norm_of_one_pixel_of_one_example_does_not_divide_by_zero() -> None:
    own = {name: torch.full((1, 2), v, dtype=torch.float64) for name, v in START.items()}
    out = forward(BatchNorm(), random(1, 1, 2), own, Context(training=True))
    assert out.isfinite().all()
    assert own["running_var"].isfinite().all()


# -- dropout ---------------------------------------------------------------------------------------


def drop(
    rates: Sequence[float],
    x: torch.Tensor,
    seeds: Sequence[int] = (0, 1, 2),
    step: int = 0,
    layer: int = 0,
    first: int = 0,
) -> torch.Tensor:
    stacked = stack([Dropout(rate=rate) for rate in rates])["rate"]
    rate = torch.as_tensor(stacked) if isinstance(stacked, np.ndarray) else stacked
    ctx = Context(True, streams.member_keys(seeds, streams.DROPOUT, "cpu"), step, first)
    ctx.layer = layer
    return forward(Dropout(), x, {}, ctx, rate=rate)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(100, 80), (20, 5, 8, 10)])
def test_a_third_dropped_scales_the_rest_by_three_halves(
    dtype: torch.dtype, shape: tuple[int, ...]
) -> None:
    x = random(3, *shape).to(dtype)
    out = drop([1 / 3], x)
    kept = out != 0
    close(out[kept], 1.5 * x[kept], 4 * torch.finfo(dtype).eps)
    assert float(kept.double().mean()) == pytest.approx(2 / 3, abs=0.01)
    assert float(out.mean() - x.mean()) == pytest.approx(0.0, abs=0.02)


def test_rates_may_differ_between_members() -> None:
    rates, x = [0.0, 0.3, 0.9], random(3, 60, 50)
    together = drop(rates, x)
    for member, rate in enumerate(rates):
        pick = slice(member, member + 1)
        close(together[pick], drop([rate], x[pick], seeds=[member]))
        share = float((together[member] == 0).double().mean())
        assert share == pytest.approx(rate, abs=0.03)
    close(together[0], x[0])


def test_a_mask_follows_from_seed_step_layer_and_position() -> None:
    x = torch.ones(1, 30, 40, dtype=torch.float64)
    key: dict[str, Any] = {"seeds": [3], "step": 5, "layer": 2}
    mask = drop([0.5], x, **key)
    assert torch.equal(mask, drop([0.5], x, **key))
    for change in ({"seeds": [4]}, {"step": 6}, {"layer": 3}, {"first": 30}):
        other = drop([0.5], x, **{**key, **change})
        agree = float((mask == other).double().mean())
        assert agree == pytest.approx(0.5, abs=0.06), change
    halves = [drop([0.5], x[:, :12], **key), drop([0.5], x[:, 12:], first=12, **key)]
    assert torch.equal(mask, torch.cat(halves, 1))


def test_the_gradient_passes_where_units_are_kept() -> None:
    x = random(3, 10, 20).requires_grad_()
    out = drop([0.4], x)
    (grads,) = torch.autograd.grad(out.sum(), x)
    close(grads, (out != 0).double() / 0.6)


def test_dropout_is_off_in_evaluation_and_at_rate_zero() -> None:
    x = random(3, 10, 20)
    different = torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64)
    assert forward(Dropout(rate=0.9), x, {}) is x
    assert forward(Dropout(), x, {}, rate=different) is x
    assert drop([0.0], x) is x


@pytest.mark.parametrize(
    "bad",
    [
        {"name": "dropout", "rate": 1.0},
        {"name": "dropout", "keep_prob": 0.5},
        {"name": "linear", "units": 0},
        {"name": "conv2d", "channels": 0},
        {"name": "conv2d", "channels": 2, "kernel": 0},
        {"name": "conv2d", "channels": 2, "padding": -1},
        {"name": "conv2d", "channels": 2, "padding": "full"},
        {"name": "max_pool2d", "size": 0},
        {"name": "batch_norm", "eps": 0},
        {"name": "batch_norm", "momentum": 0},
    ],
)
def test_what_makes_no_sense_is_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="validation error"):
        Layer.registered[bad["name"]].model_validate(bad)


def test_a_shared_mask_drops_whole_channels() -> None:
    keys = streams.member_keys([3, 4], streams.DROPOUT, "cpu")
    x = torch.ones(2, 40, 6, 4, 5, dtype=torch.float64)
    ctx = Context(training=True, members=keys)
    y = forward(Dropout(rate=0.3, shared=[1, 2]), x, {}, ctx)
    assert torch.equal(y, y[..., :1, :1].expand_as(y))
    assert float((y == 0).double().mean()) == pytest.approx(0.3, abs=0.06)
    plain = forward(Dropout(rate=0.3), x, {}, Context(training=True, members=keys))
    assert not torch.equal(plain, plain[..., :1, :1].expand_as(plain))


def test_connections_that_share_a_weight_are_counted() -> None:
    for spec, shape, expected in (
        (Conv2d(channels=2, stride=2), (1, 8, 8), 16),
        (Conv1d(channels=2, padding="valid"), (1, 9), 7),
        (ConvTranspose2d(channels=2), (1, 3, 4), 12),
        (Linear(units=2), (5,), 1),
    ):
        assert spec.declare(shape).slots[0].shared == expected
