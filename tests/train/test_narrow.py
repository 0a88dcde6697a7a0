"""A loss that computes only the outputs it needs trains as one that computes all."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from nnexp.components.losses.tree import HierarchicalSoftmax
from nnexp.train.step import Working


@pytest.mark.parametrize("weights", [None, "balanced"])
def test_a_step_is_the_same(
    experiment: Any, pack: Any, monkeypatch: pytest.MonkeyPatch, weights: str | None
) -> None:
    loss = {"name": "hierarchical_softmax", "class_weights": weights}
    members = [experiment(loss=loss, seed=seed, optimizer="sgd") for seed in (0, 1)]
    after = []
    for bound in (1000, 2):
        monkeypatch.setattr(HierarchicalSoftmax, "narrow_from", bound)
        one = pack(members, classes=5)
        program = one.program([0, 1])
        assert program.is_narrow is (bound == 2)
        working = Working(program, one.start().tensors)
        x, y = one.feed.gather(one.feed.rows("train", [0, 1])[:, :16], 2)
        losses = working.step(x, y, 0, 0.1, None)
        after.append((losses, working.params))
    for wide, narrow in zip(*after, strict=True):
        torch.testing.assert_close(wide, narrow, rtol=1e-12, atol=1e-14)
    assert np.isfinite(after[0][0].numpy()).all()
