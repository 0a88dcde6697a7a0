"""Clipping against torch's, for members with bounds of their own."""

from __future__ import annotations

import pytest
import torch

from nnexp.train.step import clip

BOUNDS = pytest.mark.parametrize("bounds", [[0.7] * 3, [0.3, 2.0, 100.0]], ids=["same", "own"])


def given(bounds: list[float]) -> tuple[torch.Tensor, float | torch.Tensor]:
    """Gradients `[3, 11]`, and the bounds as the engine gives them."""
    draw = torch.Generator().manual_seed(2)
    grads = torch.randn(3, 11, generator=draw, dtype=torch.float64)
    same = len(set(bounds)) == 1
    return grads, bounds[0] if same else torch.tensor(bounds, dtype=torch.float64)


@BOUNDS
def test_by_norm(bounds: list[float]) -> None:
    grads, norm = given(bounds)
    found = grads.clone()
    clip(found, norm, None)
    for row, start, bound in zip(found, grads, bounds, strict=True):
        leaf = torch.zeros(11, dtype=torch.float64, requires_grad=True)
        leaf.grad = start.clone()
        torch.nn.utils.clip_grad_norm_([leaf], bound)
        torch.testing.assert_close(row, leaf.grad, rtol=1e-12, atol=0)
    assert not torch.equal(found, grads)


@BOUNDS
def test_by_value(bounds: list[float]) -> None:
    grads, value = given(bounds)
    found = grads.clone()
    clip(found, None, value)
    for row, start, bound in zip(found, grads, bounds, strict=True):
        leaf = torch.zeros(11, dtype=torch.float64, requires_grad=True)
        leaf.grad = start.clone()
        torch.nn.utils.clip_grad_value_([leaf], bound)
        assert torch.equal(row, leaf.grad)
    assert not torch.equal(found, grads)
