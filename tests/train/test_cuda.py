"""The same code path on CUDA: skipped where there is no GPU."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from nnexp.train.loop import Hooks, Pack, train
from nnexp.train.state import TrainState

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
MODELS: dict[str, tuple[dict[str, Any], tuple[int, ...]]] = {
    "mlp": ({"name": "mlp", "hidden": [12], "batch_norm": True, "dropout": 0.3}, (6,)),
    "cnn": ({"name": "cnn", "channels": [3], "hidden": [6], "dropout": 0.3}, (2, 8, 8)),
}


def on_cuda(pack: Pack) -> Pack:
    """The same pack on the GPU, with the settings that a run there has."""
    from nnexp.train.device import choose_device

    device = choose_device("cuda")
    feed = pack.feed
    assert feed.inputs is not None
    feed.inputs, feed.targets = feed.inputs.to(device), feed.targets.to(device)
    feed.parts = {name: rows.to(device) for name, rows in feed.parts.items()}
    return Pack(pack.members, pack.signature, feed, device)


@pytest.mark.parametrize("loss", ["cross_entropy", "hinge"])
@pytest.mark.parametrize("count", [1, 3, 64])
@pytest.mark.parametrize("model", MODELS)
def test_cuda_trains_as_the_cpu_does(
    experiment: Any, pack: Any, model: str, count: int, loss: str
) -> None:
    config, shape = MODELS[model]
    members = [experiment(seed=s, model=config, loss=loss) for s in range(count)]
    here, there = pack(members, shape), on_cuda(pack(members, shape))
    one, other = here.start(), there.start()
    assert torch.equal(one.tensors["params"], other.tensors["params"].cpu())
    train(here, one, Hooks())
    train(there, other, Hooks())
    torch.testing.assert_close(
        one.tensors["params"], other.tensors["params"].cpu(), rtol=1e-6, atol=1e-8
    )


@pytest.mark.parametrize("precision", ["float32", "bf16"])
@pytest.mark.parametrize("model", MODELS)
def test_going_on_is_exact_on_cuda(experiment: Any, pack: Any, model: str, precision: str) -> None:
    config, shape = MODELS[model]
    training = {"epochs": 4, "batch_size": 16, "precision": precision}
    members = [experiment(seed=s, model=config, training=training) for s in range(3)]
    whole = on_cuda(pack(members, shape))
    saved: list[tuple[dict[str, torch.Tensor], dict[str, Any]]] = []

    def keep(now: TrainState) -> None:
        saved.append(({k: v.cpu().clone() for k, v in now.tensors.items()}, now.to_json()))

    now = whole.start()
    train(whole, now, Hooks(lambda: True, keep))
    for tensors, plain in saved[::3]:
        again = TrainState.from_parts(tensors, plain, whole.device)
        train(whole, again, Hooks())
        for name, tensor in now.tensors.items():
            assert torch.equal(tensor, again.tensors[name]), name
