"""Recurrent layers: padding as torch's packed sequences have it, a pack as its members, the start.

That they are torch's without padding is in test_layers.py.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from nnexp.components.layer import Context, Fit, Layer
from nnexp.components.layers.embedding import Embedding
from nnexp.components.layers.recurrent import Gru, Lstm, MeanOverTime, Rnn, present
from nnexp.components.models.recurrent import GruNet, LstmNet
from nnexp.config.experiment import Experiment
from nnexp.train.blueprint import Signature
from nnexp.train.program import Program

Recurrent = Rnn | Lstm | Gru
Tensors = dict[str, torch.Tensor]
M, B, C, T, H = 3, 5, 2, 6, 4
LENGTHS = torch.tensor([6, 1, 4, 2, 3])

KINDS: dict[str, tuple[type[Recurrent], type[nn.RNN | nn.LSTM | nn.GRU]]] = {
    "rnn": (Rnn, nn.RNN),
    "lstm": (Lstm, nn.LSTM),
    "gru": (Gru, nn.GRU),
}
Every = pytest.mark.parametrize("kind", KINDS)
Ways = pytest.mark.parametrize("both_ways", [False, True])
Returns = pytest.mark.parametrize("returns", ["all", "last"])


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=draw, dtype=torch.float64)


def tensors(spec: Layer, members: int = M) -> Tensors:
    slots = spec.declare((C, T)).slots
    return {s.name: random(members, *s.shape, seed=9 + i) for i, s in enumerate(slots)}


def run(
    spec: Layer, x: torch.Tensor, own: Tensors, there: torch.Tensor | None = None
) -> torch.Tensor:
    ctx = Context(training=False)
    ctx.there = there
    return spec.forward(x, own, {}, ctx)


def within(lengths: torch.Tensor, members: int = M) -> torch.Tensor:
    """Which positions hold something, `[M, B, T]`."""
    return (torch.arange(T) < lengths[:, None]).expand(members, -1, -1)


def packed(kind: str, x: torch.Tensor, own: Tensors, both_ways: bool) -> tuple[nn.Module, Any]:
    """torch's module with one member's weights, and what it makes of sequences of LENGTHS."""
    module = KINDS[kind][1](C, H, batch_first=True, bidirectional=both_ways).double()
    for name, tensor in own.items():
        first, second, *end = name.split("_")
        setattr(module, "_".join([first, second, "l0", *end]), nn.Parameter(tensor.detach()))
    batch = pack_padded_sequence(x.transpose(1, 2), LENGTHS, True, enforce_sorted=False)
    states, last = module(batch)
    return module, (pad_packed_sequence(states, batch_first=True)[0].transpose(1, 2), last)


@Every
@Ways
@Returns
@pytest.mark.parametrize("members", [1, M])
def test_padded_sequences_are_torchs_packed_ones(
    kind: str, both_ways: bool, returns: Any, members: int
) -> None:
    spec = KINDS[kind][0](units=H, bidirectional=both_ways, returns=returns)
    own = {name: t.requires_grad_() for name, t in tensors(spec, members).items()}
    x = random(members, B, C, T).requires_grad_()
    found = run(spec, x, own, within(LENGTHS, members))
    slope = random(*found.shape, seed=3)
    grads = torch.autograd.grad(found, [x, *own.values()], slope)
    for member in range(members):
        leaf = x[member].detach().requires_grad_()
        one = {name: t[member] for name, t in own.items()}
        module, (states, last) = packed(kind, leaf, one, both_ways)
        last = last[0] if isinstance(last, tuple) else last
        expected = states if returns == "all" else torch.cat(list(last), -1)
        torch.testing.assert_close(found[member], expected, rtol=1e-12, atol=1e-12)
        there = torch.autograd.grad(expected, [leaf, *module.parameters()], slope[member])
        torch.testing.assert_close(grads[0][member], there[0], rtol=1e-11, atol=1e-11)
        theirs = dict(zip((n for n, _ in module.named_parameters()), there[1:], strict=True))
        for name, grad in zip(own, grads[1:], strict=True):
            first, second, *end = name.split("_")
            other = theirs["_".join([first, second, "l0", *end])]
            torch.testing.assert_close(grad[member], other, rtol=1e-11, atol=1e-11)


@Every
@Ways
@Returns
def test_what_is_padding_and_what_follows_makes_no_difference(
    kind: str, both_ways: bool, returns: Any
) -> None:
    spec = KINDS[kind][0](units=H, bidirectional=both_ways, returns=returns)
    own, x, there = tensors(spec), random(M, B, C, T), within(LENGTHS)
    changed = torch.where(there[:, :, None], x, 1e3 * random(M, B, C, T, seed=4))
    assert torch.equal(run(spec, x, own, there), run(spec, changed, own, there))
    for row, length in enumerate(LENGTHS.tolist()):  # a sequence by itself, without padding
        alone = run(spec, x[:, row : row + 1, :, :length], own)
        found = run(spec, x, own, there)[:, row : row + 1]
        shown = found[..., :length] if returns == "all" else found
        torch.testing.assert_close(shown, alone, rtol=1e-12, atol=1e-12)
        assert returns == "last" or not found[..., length:].any()


@given(st.lists(st.booleans(), min_size=1, max_size=9), st.sampled_from(sorted(KINDS)))
@settings(max_examples=40, deadline=None)
def test_holes_are_skipped(holds: list[bool], kind: str) -> None:
    """With nothing at some positions, the rest is read as if it stood together."""
    spec = KINDS[kind][0](units=3, bidirectional=True)
    own, x = tensors(spec, 2), random(2, 1, C, len(holds))
    there = torch.tensor(holds).expand(2, 1, -1)
    found = run(spec, x, own, there)
    assert not found[..., ~torch.tensor(holds)].any()
    if any(holds):
        expected = run(spec, x[..., holds], own)
        torch.testing.assert_close(found[..., holds], expected, rtol=1e-12, atol=1e-12)


@Every
def test_the_last_state_of_an_empty_sequence_is_zero(kind: str) -> None:
    spec = KINDS[kind][0](units=H, bidirectional=True, returns="last")
    own, x = tensors(spec), random(M, B, C, T).requires_grad_()
    found = run(spec, x, own, within(torch.tensor([0, 6, 0, 1, 2])))
    assert not found[:, [0, 2]].any()
    assert found[:, [1, 3, 4]].all()
    (grad,) = torch.autograd.grad(found.sum(), x)
    assert grad.isfinite().all()
    assert not grad[:, [0, 2]].any()


def test_a_mean_leaves_padding_out() -> None:
    x, there = random(M, B, C, T), within(torch.tensor([6, 1, 0, 2, 3]))
    found = run(MeanOverTime(), x, {}, there)
    for row, length in enumerate([6, 1, 0, 2, 3]):
        expected = x[:, row, :, :length].mean(-1) if length else torch.zeros(M, C).double()
        torch.testing.assert_close(found[:, row], expected, rtol=1e-12, atol=1e-12)


def test_shorter_sequences_keep_what_their_positions_stood_for() -> None:
    ctx = Context(training=False)
    assert present(ctx, 5) is None
    ctx.there = torch.tensor([[[True] * 5 + [False]]])
    kept = present(ctx, 3)
    assert kept is not None
    assert kept.tolist() == [[[True, True, True]]]
    ctx.there = torch.tensor([[[True, False, False, False, False, False]]])
    kept = present(ctx, 3)
    assert kept is not None
    assert kept.tolist() == [[[True, False, False]]]


# -- the start -------------------------------------------------------------------------------------


def started(layer: Layer, **keys: Any) -> dict[str, np.ndarray]:
    """The tensors that a network of this layer, a flatten and an output starts with."""
    layers = [layer.dump(), "flatten", "linear"]
    experiment = Experiment.model_validate(
        {
            "data": {"source": "digits"},
            "model": {"name": "sequential", "layers": layers},
            "task": "classification",
            "loss": "cross_entropy",
            "metrics": ["accuracy"],
            "training": {"precision": "float64"},
            **keys,
        }
    )
    one = Program([experiment], Signature((30, T), 3, 100), torch.device("cpu"))
    named = one.layout.named(one.initial_params()[0])
    return {name.rpartition(".")[2]: t.numpy() for name, t in named.items() if name[0] == "0"}


@pytest.mark.parametrize(("kind", "gates"), [("rnn", 1), ("lstm", 4), ("gru", 3)])
def test_inputs_start_as_glorot_and_each_gate_orthogonal(kind: str, gates: int) -> None:
    own = started(KINDS[kind][0](units=20, bidirectional=True))
    for end in ("", "_reverse"):
        inputs, states = own[f"weight_ih{end}"], own[f"weight_hh{end}"]
        assert inputs.shape == (gates * 20, 30)
        bound = math.sqrt(6 / 50)
        assert abs(inputs).max() <= bound
        assert inputs.std() == pytest.approx(bound / math.sqrt(3), rel=0.05)
        for gate in states.reshape(gates, 20, 20):
            np.testing.assert_allclose(gate @ gate.T, np.eye(20), atol=1e-12)
        assert len({gate.tobytes() for gate in states.reshape(gates, 20, 20)}) == gates
        assert not own[f"bias_hh{end}"].any()
    assert not np.array_equal(own["weight_hh"], own["weight_hh_reverse"])


def test_the_forget_gate_starts_open() -> None:
    bias = started(Lstm(units=3, bidirectional=True))
    for end in ("", "_reverse"):
        assert bias[f"bias_ih{end}"].tolist() == [0, 0, 0, 1, 1, 1, 0, 0, 0, 0, 0, 0]
    assert started(Lstm(units=2, forget_bias=-2))["bias_ih"].tolist() == [0, 0, -2, -2, 0, 0, 0, 0]
    assert not started(Gru(units=2))["bias_ih"].any()
    assert "bias_ih" not in started(Lstm(units=2, bias=False))


def test_a_chosen_initialization_is_obeyed() -> None:
    own = started(Gru(units=5), initialization={"name": "constant", "value": 0.5})
    assert (own["weight_ih"] == 0.5).all()
    assert (own["weight_hh"] == 0.5).all()
    spec = Lstm.model_validate({"units": 5, "recurrent_init": {"name": "constant", "value": 0.1}})
    own = started(spec)
    assert (own["weight_hh"] == 0.1).all()
    assert own["weight_ih"].std() > 0.1


# -- presets ---------------------------------------------------------------------------------------


def test_a_preset_follows_the_task_and_the_data() -> None:
    def listed(model: Any, inputs: Any, **fit: Any) -> list[str]:
        return [layer.component for layer in model.layers_for(inputs, Fit(3, **fit))]

    assert listed(LstmNet(), (9,), codes=(7,) * 9) == ["embedding", "lstm", "linear"]
    tagger = LstmNet(bidirectional=True)
    assert listed(tagger, (9,), codes=(7,) * 9, positions=(9,)) == ["embedding", "lstm", "conv1d"]
    assert listed(GruNet(), (2, 9), positions=(9,)) == ["gru", "conv1d"]
    assert listed(GruNet(output="last"), (2, 9), positions=(9,)) == ["gru", "linear"]
    assert listed(GruNet(), (9,)) == ["reshape", "gru", "linear"]
    layers = LstmNet(layers=2, embedding=5).layers_for((9,), Fit(3, (7,) * 9))
    assert isinstance(layers[0], Embedding)
    assert layers[0].width == 5
    assert [getattr(layer, "returns", None) for layer in layers] == [None, "all", "last", None]
