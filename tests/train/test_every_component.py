"""What every component that trains must hold: a step in a pack is a step alone, and training goes
on to the bit. A new component is tested here without a line, unless it needs parameters.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch

from nnexp.components.schedules import Progress
from nnexp.registry import FAMILIES, Spec
from nnexp.train import step
from nnexp.train.blueprint import Signature
from nnexp.train.feed import at
from nnexp.train.loop import Hooks, Pack, train
from nnexp.train.state import TrainState

ROW, IMAGE, SIGNAL = (6,), (2, 6, 6), (2, 8)
HEAD: list[Any] = ["flatten", "linear"]
BARE = {"global_avg_pool", "global_max_pool", "linear", "mean_over_time", "rbf", "residual"}
"""Layers that give a row."""

NEEDS: dict[str, dict[str, Any]] = {
    "augmentation.resize": {"low": 5, "high": 9},
    "layer.conv2d": {"channels": 3},
    "layer.conv1d": {"channels": 3},
    "layer.conv_transpose2d": {"channels": 3},
    "layer.embedding": {"codes": 4, "width": 3},
    "layer.embed_columns": {"codes": [0, 3, 0, 4, 0, 0]},
    "layer.rnn": {"units": 4, "bidirectional": True},
    "layer.lstm": {"units": 4},
    "layer.gru": {"units": 4, "returns": "last"},
    "layer.linear": {"units": 5},
    "layer.rbf": {"units": 5},
    "layer.reshape": {"shape": [2, 3]},
    "layer.concat": {"layers": ["tanh"]},
    "layer.residual": {"layers": [{"name": "linear", "units": 6}, "relu"]},
    "model.resnet": {"blocks": [1, 1], "channels": [2, 3]},
    "model.wide_resnet": {"depth": 10, "widen": 1, "dropout": 0.2},
    "model.unet": {"channels": [2, 3], "dropout": 0.2},
    "model.deep_cnn": {"depth": 5, "channels": 3},
    "model.sequential": {"layers": [{"name": "linear", "units": 5}, "tanh", "linear"]},
    "schedule.multi_step": {"milestones": [1, 2]},
}
"""Parameters of components that can't do without."""
REGULARIZATION: dict[str, float] = {"max_norm": 0.5}
"""Coefficients that are felt, where 0.01 is not."""
EXCUSED = {
    "initialization.from_run": "needs a run: tests/runs/test_from_run.py trains with one",
}
SHAPES: dict[str, tuple[int, ...]] = {
    **dict.fromkeys(["conv1d", "max_pool1d", "avg_pool1d"], SIGNAL),
    **dict.fromkeys(["rnn", "lstm", "gru", "mean_over_time"], SIGNAL),
    **dict.fromkeys(["linear", "reshape", "residual", "layer_norm", "rbf"], ROW),
    **dict.fromkeys(["embedding", "embed_columns"], ROW),
}


PICTURES = {"cnn", "resnet", "wide_resnet", "unet", "deep_cnn"}
"""Models of images."""
WORDS = {
    *(("model", "skip_gram"), ("model", "cbow"), ("layer", "word_input")),
    *(("layer", "word_output"), ("loss", "negative_sampling")),
}
"""They take running text."""


def spec(family: str, name: str) -> Any:
    return {"name": name, **NEEDS.get(f"{family}.{name}", {})}


def case(family: str, name: str) -> tuple[dict[str, Any], tuple[int, ...]]:
    """Keys of an experiment that has the component, and the shape of its examples."""
    one = spec(family, name)
    if (family, name) in WORDS:
        model = {"name": name if family == "model" else "skip_gram", "width": 4, "window": 2}
        drops = {"shrink": True, "subsample": 0.1}
        return {"model": model | drops, "loss": "negative_sampling", "task": "words"}, (40,)
    if family == "layer":
        shape = SHAPES.get(name, IMAGE)
        head = ["linear"] if name in BARE else HEAD
        return {"model": {"name": "sequential", "layers": [one, *head]}}, shape
    if family == "activation":
        model = {"name": "mlp", "hidden": [7, 6], "activation": one, "batch_norm": True}
        return {"model": model}, ROW
    if family == "model":
        return {"model": one}, IMAGE if name in PICTURES else ROW
    if family == "regularization":
        return {"regularization": {name: REGULARIZATION.get(name, 0.01)}}, ROW
    if family == "augmentation":
        return {"augmentation": [one]}, IMAGE
    return {family: one}, ROW


def classes(loss: Any) -> int:
    return 2 if "binary" in str(loss) else 3


CASES = [
    (family, name)
    for family in (
        *("layer", "activation", "model", "initialization", "loss"),
        *("regularization", "optimizer", "schedule", "sampler"),
        "augmentation",
    )
    for name in sorted(FAMILIES[family].registered)
    if f"{family}.{name}" not in EXCUSED
    and not (family == "layer" and name in FAMILIES["activation"].registered)
]
Every = pytest.mark.parametrize(("family", "name"), CASES)


def trained_pack(
    experiment: Any, pack: Any, family: str, name: str, precision: str, count: int = 3
) -> Pack:
    """A pack of members that differ in seed, rate and penalty."""
    keys, shape = case(family, name)
    loss = FAMILIES["loss"].registered[name] if family == "loss" else None
    task = getattr(loss, "tasks")[0] if loss is not None else "classification"
    task = "dense" if (family, name) == ("model", "unet") else task
    members = []
    for number in range(count):
        optimizer = dict(keys.get("optimizer", {"name": "momentum"}))
        optimizer.setdefault("lr", 0.02 * (1 + number))
        all_keys = {
            "task": task,
            "seed": number,
            "metrics": ["loss"],
            "training": {"epochs": 3, "batch_size": 16, "precision": precision},
            "regularization": {"l2": 1e-3 * number},
            **keys,
            "optimizer": optimizer,
        }
        members.append(experiment(**all_keys))
    made: Pack = pack(members, shape, classes(keys.get("loss")))
    if (family, name) in WORDS:
        assert made.feed.inputs is not None
        made.feed.inputs = made.feed.inputs.mul(3).long().abs().clamp(max=6)
        made.feed.counts = np.bincount(made.feed.inputs.flatten().numpy(), minlength=7)[None]
        rows, names = made.signature.train_rows, tuple("abcdefg")
        made.signature = Signature(shape, 7, rows, names)
    elif task == "dense":
        assert made.feed.targets is not None
        made.feed.targets = made.feed.targets[:, None, None].repeat(1, *shape[1:])
        rows = made.signature.train_rows
        made.signature = Signature(shape, 3, rows, tuple("abc"), shape[1:])
    elif task != "classification":
        values = torch.nn.functional.one_hot(made.feed.targets, 3)
        made.feed.targets = values.to(made.feed.inputs.dtype)  # type: ignore[union-attr]
        made.feed.counts, made.signature = None, Signature(shape, 3, made.signature.train_rows)
    return made


def one_step(pack: Pack, rows: list[int], state: TrainState, number: int) -> dict[str, Any]:
    """The tensors of some members after a step from a state of the whole pack."""
    program = pack.program(rows)
    working = step.Working(program, {k: v[rows].clone() for k, v in state.tensors.items()})
    order = working.order(pack.feed, 0, rows, 16)[:, :16]
    x, y = pack.feed.gather(at(pack.feed.rows("train", rows), order), program.size)
    members = [state.members[r] for r in rows]
    lr, momentum = step.rates(program, members, Progress(number, 4, 12))
    losses = working.step(x, y, number, lr, momentum)
    program.sampler.observe(working.sampler_state, order, losses)
    return working.tensors


@Every
def test_a_step_in_a_pack_is_a_step_alone(
    experiment: Any, pack: Any, family: str, name: str
) -> None:
    together = trained_pack(experiment, pack, family, name, "float64")
    state = together.start()
    for number in range(3):
        after = one_step(together, [0, 1, 2], state, number)
        for member in range(3):
            for key, tensor in one_step(together, [member], state, number).items():
                if not tensor.numel():
                    continue
                finite = tensor[0].isfinite()
                assert torch.equal(finite, after[key][member].isfinite())
                scale = max(float(tensor[0][finite].abs().max()) if finite.any() else 0.0, 1e-30)
                apart = (after[key][member] - tensor[0])[finite].abs()
                assert not len(apart) or float(apart.max()) <= 1e-12 * scale, (key, number, member)
        state.tensors = after


@Every
def test_it_goes_on_to_the_bit(experiment: Any, pack: Any, family: str, name: str) -> None:
    one = trained_pack(experiment, pack, family, name, "float32", 2)
    saved: list[tuple[dict[str, torch.Tensor], str]] = []

    def keep(now: TrainState) -> None:
        copied = {k: v.clone() for k, v in now.tensors.items()}
        saved.append((copied, json.dumps(now.to_json())))

    whole = one.start()
    start = whole.tensors["params"].clone()
    train(one, whole, Hooks(lambda: True, keep))
    assert (whole.tensors["params"] != start).any(1).all()  # every member has learnt
    for tensors, text in saved[1::3]:
        again = TrainState.from_parts(tensors, json.loads(text), one.device)
        train(one, again, Hooks())
        for key, tensor in whole.tensors.items():
            assert torch.equal(tensor, again.tensors[key]), key
        assert again.to_json() == whole.to_json()


def test_every_family_that_trains_is_here() -> None:
    tested = {family for family, _ in CASES}
    untrained = {"baseline", "dataset", "domain", "method", "metric", "preprocessing", "split"}
    assert {name for name in FAMILIES if issubclass(FAMILIES[name], Spec)} == tested | untrained
