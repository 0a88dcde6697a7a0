"""Codes as vectors: torch's embedding with a padding row, in a pack and alone."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from nnexp.components.layer import Context, Fit
from nnexp.components.layers.embedding import EmbedColumns, Embedding, usual_width
from nnexp.config.experiment import Experiment
from nnexp.train.blueprint import Signature
from nnexp.train.program import Program

M, B, T, V, E = 3, 5, 6, 7, 4
IDS = torch.randint(V, (M, B, T), generator=torch.Generator().manual_seed(0))


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=draw, dtype=torch.float64)


def tensors(spec: Embedding, members: int = M) -> dict[str, torch.Tensor]:
    slots = spec.declare((T,)).slots
    return {s.name: random(members, *s.shape, seed=i).requires_grad_() for i, s in enumerate(slots)}


@pytest.mark.parametrize("members", [1, M])
def test_it_is_torchs_with_padding(members: int) -> None:
    spec = Embedding(codes=V, width=E)
    own, ctx = tensors(spec, members), Context(training=True)
    found = spec.forward(IDS[:members].double(), own, {}, ctx)
    assert found.shape == (members, B, E, T)
    slope = random(*found.shape, seed=5)
    grads = torch.autograd.grad(found, list(own.values()), slope)
    for member in range(members):
        module = nn.Embedding(V, E, padding_idx=0).double()
        rows = [torch.zeros(1, E).double(), own["unknown"][member], own["weight"][member]]
        module.weight = nn.Parameter(torch.cat(rows).detach())
        expected = module(IDS[member]).transpose(1, 2)
        assert torch.equal(found[member], expected)
        (there,) = torch.autograd.grad(expected, module.weight, slope[member])
        assert not there[0].any()
        both = torch.cat([grads[list(own).index(name)][member] for name in ("unknown", "weight")])
        torch.testing.assert_close(both, there[1:], rtol=1e-12, atol=1e-12)


def test_padding_is_marked_and_zero() -> None:
    spec, ctx = Embedding(codes=V, width=E), Context(training=False)
    found = spec.forward(IDS.double(), tensors(spec), {}, ctx)
    assert ctx.there is not None
    assert torch.equal(ctx.there, IDS > 0)
    assert not found.transpose(2, 3)[IDS == 0].any()


def test_codes_that_there_are_not_are_unknown() -> None:
    spec, own = Embedding(codes=V, width=E), tensors(Embedding(codes=V, width=E))
    strange = torch.tensor([1.0, V, V + 100, 2**23, -1, 0]).double().expand(M, 1, T)
    found = spec.forward(strange, own, {}, Context(training=False))
    for place in (1, 2, 3):
        assert torch.equal(found[..., place], found[..., 0])
    assert not found[..., 4:].any()


def test_bf16_does_not_round_codes() -> None:
    """bf16 has 8 bits: 257 would become 256."""
    layers = [{"name": "embedding", "codes": 300, "width": 2}, "flatten", "linear"]
    one = Experiment.model_validate(
        {
            "data": {"source": "digits"},
            "model": {"name": "sequential", "layers": layers},
            "task": "classification",
            "loss": "cross_entropy",
            "metrics": ["accuracy"],
            "training": {"precision": "bf16"},
        }
    )
    program = Program([one], Signature((2,), 3, 10), torch.device("cpu"))
    params = program.layout.views(program.initial_params().bfloat16())
    ids = torch.tensor([[[256.0, 257.0], [257.0, 256.0]]])
    out = program.forward(params, [], ids, Context(training=False))
    assert not torch.equal(out[0, 0], out[0, 1])


def test_codes_and_width_come_from_the_data() -> None:
    assert Embedding().fitted(Fit(3, (5, 9, 9))).codes == 9
    assert Embedding(codes=4).fitted(Fit(3, (5, 9, 9))).codes == 4
    assert Embedding().fitted(Fit(3, (5, 0))).codes is None
    assert Embedding().fitted(Fit(3)).codes is None
    assert EmbedColumns().fitted(Fit(3, (5, 0))).codes == [5, 0]
    assert [usual_width(n) for n in (2, 10, 100, 1000, 10**6)] == [2, 6, 21, 50, 50]
    assert Embedding(codes=100).declare((T,)).output == (21, T)


def test_only_known_codes_are_sampled() -> None:
    slots = {slot.name: slot for slot in Embedding(codes=V, width=E).declare((T,)).slots}
    assert {name: (s.shape, s.role) for name, s in slots.items()} == {
        "unknown": ((1, E), "bias"),
        "weight": ((V - 2, E), "weight"),
    }
    assert [s.name for s in Embedding(codes=2, width=E).declare((T,)).slots] == ["unknown"]
    slots = {s.name: s for s in EmbedColumns(codes=[2, 0, 5], width=3).declare((3,)).slots}
    assert {name: s.shape for name, s in slots.items()} == {
        "unknown0": (2, 3),
        "unknown2": (2, 3),
        "weight2": (3, 3),
    }
