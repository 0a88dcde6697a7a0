"""Residual networks, U-Net and deep plain networks, held against the same written in torch.nn."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import nn

from nnexp.components.layer import Context
from nnexp.config.experiment import Experiment
from nnexp.errors import ConfigError
from nnexp.train import state, step
from nnexp.train.blueprint import Signature, check_model
from nnexp.train.checkpointing import bounds, pieces
from nnexp.train.program import Program

CPU = torch.device("cpu")


def program(
    model: Any, inputs: tuple[int, ...], members: int = 1, dense: bool = False, **training: Any
) -> Program:
    experiments = [
        Experiment.model_validate(
            {
                "data": {"source": "digits"},
                "task": "dense" if dense else "classification",
                "loss": "cross_entropy",
                "metrics": ["loss"],
                "model": model,
                "seed": seed,
                "training": {"precision": "float64", **training},
            }
        )
        for seed in range(members)
    ]
    classes = ("a", "b", "c") if dense else tuple("abcdefghij")
    positions = inputs[1:] if dense else ()
    signature = Signature(inputs, len(classes), 500, classes, positions)
    check_model(experiments[0], signature)
    return Program(experiments, signature, CPU)


def examples(one: Program, rows: int = 6) -> tuple[torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(0)
    shape = (one.size, rows, *one.signature.inputs)
    x = torch.randn(shape, generator=draw, dtype=torch.float64)
    positions = one.signature.positions
    y = torch.randint(0, one.signature.targets, (one.size, rows, *positions), generator=draw)
    return x, y


def stirred(one: Program) -> torch.Tensor:
    """Parameters none of which is at a special start."""
    draw = torch.Generator().manual_seed(1)
    shape = (one.size, one.layout.size)
    return 0.2 * torch.randn(shape, generator=draw, dtype=torch.float64)


# -- the same in torch.nn --------------------------------------------------------------------------


def norm(channels: int) -> nn.Module:
    return nn.BatchNorm2d(channels)


class Basic(nn.Module):
    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            nn.Conv2d(before, after, 3, stride, 1, bias=False), norm(after), nn.ReLU(),
            nn.Conv2d(after, after, 3, 1, 1, bias=False), norm(after),
        )  # fmt: skip
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or before != after:
            one = nn.Conv2d(before, after, 1, stride, bias=False)
            self.shortcut = nn.Sequential(one, norm(after))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.branch(x) + self.shortcut(x))


class Bottleneck(Basic):
    def __init__(self, before: int, inside: int, stride: int) -> None:
        nn.Module.__init__(self)
        after = 4 * inside
        self.branch = nn.Sequential(
            nn.Conv2d(before, inside, 1, bias=False), norm(inside), nn.ReLU(),
            nn.Conv2d(inside, inside, 3, stride, 1, bias=False), norm(inside), nn.ReLU(),
            nn.Conv2d(inside, after, 1, bias=False), norm(after),
        )  # fmt: skip
        self.shortcut = nn.Identity()
        if stride > 1 or before != after:
            one = nn.Conv2d(before, after, 1, stride, bias=False)
            self.shortcut = nn.Sequential(one, norm(after))


class Wide(nn.Module):
    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.start = nn.Sequential(norm(before), nn.ReLU())
        self.branch = nn.Sequential(
            nn.Conv2d(before, after, 3, stride, 1, bias=False), norm(after), nn.ReLU(),
            nn.Conv2d(after, after, 3, 1, 1, bias=False),
        )  # fmt: skip
        project = stride > 1 or before != after
        self.shortcut = nn.Conv2d(before, after, 1, stride, bias=False) if project else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        ready = self.start(x)
        around = x if self.shortcut is None else self.shortcut(ready)
        return self.branch(ready) + around  # type: ignore[no-any-return]


class Level(nn.Module):
    """A level of a U-Net and all below it."""

    def __init__(self, before: int, channels: list[int]) -> None:
        super().__init__()
        own, *rest = channels
        self.down = self._two(before, own)
        self.below = None
        if rest:
            self.below = Level(own, rest)
            self.up = nn.ConvTranspose2d(rest[0], own, 2, 2)
            self.merge = self._two(2 * own, own)

    def _two(self, before: int, after: int) -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(before, after, 3, 1, 1, bias=False), norm(after), nn.ReLU(),
            nn.Conv2d(after, after, 3, 1, 1, bias=False), norm(after), nn.ReLU(),
        )  # fmt: skip

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.down(x)
        if self.below is None:
            return x
        up = self.up(self.below(nn.functional.max_pool2d(x, 2)))
        high, wide = x.shape[2] - up.shape[2], x.shape[3] - up.shape[3]
        up = nn.functional.pad(up, (0, wide, 0, high))
        return self.merge(torch.cat([x, up], 1))  # type: ignore[no-any-return]


def stem(channels: int, imagenet: bool = False) -> list[nn.Module]:
    if not imagenet:
        return [nn.Conv2d(3, channels, 3, 1, 1, bias=False), norm(channels), nn.ReLU()]
    first = nn.Conv2d(3, channels, 7, 2, 3, bias=False)
    return [first, norm(channels), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]


def head(channels: int) -> list[nn.Module]:
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 10)]


def deep(depth: int) -> nn.Module:
    layers: list[nn.Module] = []
    for index in range(depth):
        layers += [nn.Conv2d(4 if index else 3, 4, 3, 1 if index else 2, 1), nn.Tanh()]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(4 * 5 * 5, 10))


CASES: dict[str, tuple[Any, tuple[int, ...], nn.Module]] = {
    "resnet": (
        {"name": "resnet", "blocks": [1, 2], "channels": [4, 6]},
        (3, 9, 10),
        nn.Sequential(*stem(4), Basic(4, 4, 1), Basic(4, 6, 2), Basic(6, 6, 1), *head(6)),
    ),
    "bottleneck": (
        {
            "name": "resnet",
            "blocks": [2, 1],
            "channels": [2, 3],
            "bottleneck": True,
            "stem": "imagenet",
        },
        (3, 20, 20),
        nn.Sequential(
            *stem(2, imagenet=True),
            Bottleneck(2, 2, 1),
            Bottleneck(8, 2, 1),
            Bottleneck(8, 3, 2),
            *head(12),
        ),
    ),
    "wide_resnet": (
        {"name": "wide_resnet", "depth": 16, "widen": 2},
        (3, 8, 8),
        nn.Sequential(
            nn.Conv2d(3, 16, 3, 1, 1, bias=False),
            *[Wide(16, 32, 1), Wide(32, 32, 1), Wide(32, 64, 2), Wide(64, 64, 1)],
            *[Wide(64, 128, 2), Wide(128, 128, 1), norm(128), nn.ReLU(), *head(128)],
        ),
    ),
    "unet": (
        {"name": "unet", "channels": [4, 6, 8]},
        (3, 8, 12),
        nn.Sequential(Level(3, [4, 6, 8]), nn.Conv2d(4, 3, 1)),
    ),
    "unet of an odd size": (
        {"name": "unet", "channels": [3, 5, 7]},
        (3, 7, 10),
        nn.Sequential(Level(3, [3, 5, 7]), nn.Conv2d(3, 3, 1)),
    ),
    "deep_cnn": ({"name": "deep_cnn", "depth": 5, "channels": 4, "stride": 2}, (3, 9, 9), deep(5)),
}


def in_order(module: nn.Module) -> Iterator[nn.Module]:
    """The modules with tensors in the order in which the network has them."""
    if isinstance(module, Level):
        yield from in_order(module.down)
        if module.below is not None:
            for part in (module.below, module.up, module.merge):
                yield from in_order(part)
        return
    children = [child for child in module.children() if child is not None]
    if not children and list(module.parameters()):
        yield module
    for child in children:
        yield from in_order(child)


def copy_into(reference: nn.Module, one: Program, params: torch.Tensor) -> None:
    """Give the reference the first member's parameters."""
    ours = iter(one.layout.views(params))
    with torch.no_grad():
        for module in in_order(reference):
            for theirs in module.parameters(recurse=False):
                own = next(ours)[0]
                linear = isinstance(module, nn.Linear) and own.ndim == 2 and len(own) > 1
                theirs.copy_((own.T if linear else own).reshape(theirs.shape))
    assert next(ours, None) is None


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("training", [True, False])
def test_outputs_and_parameters_are_those_of_torchs_modules(case: str, training: bool) -> None:
    model, inputs, reference = CASES[case]
    one = program(model, inputs, dense="unet" in case)
    assert one.layout.size == sum(p.numel() for p in reference.parameters())
    reference = reference.double().train(training)
    params, (x, _) = stirred(one), examples(one)
    copy_into(reference, one, params)
    for module in reference.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
    buffers = one.buffer_layout.views(one.initial_buffers())
    ctx = Context(training=training, members=one.dropout_keys)
    found = one.forward(one.layout.views(params), buffers, x, ctx)
    with torch.no_grad():
        torch.testing.assert_close(found[0], reference(x[0]), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ({"name": "resnet"}, 11_173_962),  # ResNet-18 for small images, ten classes
        ({"name": "resnet", "blocks": [3, 4, 6, 3]}, 21_282_122),
        ({"name": "wide_resnet", "depth": 28, "widen": 10}, 36_479_194),
        ({"name": "wide_resnet", "depth": 40, "widen": 4}, 8_949_210),
    ],
)
def test_sizes_are_the_known_ones(model: Any, expected: int) -> None:
    assert program(model, (3, 32, 32)).layout.size == expected


# -- the start -------------------------------------------------------------------------------------

PRESETS: dict[str, Any] = {
    "resnet": {"name": "resnet", "channels": [8, 8, 16, 16]},
    "without norm": {"name": "resnet", "channels": [8, 8, 16, 16], "batch_norm": False},
    "bottleneck": {"name": "resnet", "blocks": [3, 3], "channels": [4, 8], "bottleneck": True},
    "deep": {"name": "resnet", "blocks": [30], "channels": [4]},
    "wide_resnet": {"name": "wide_resnet", "widen": 1, "dropout": 0.3},
    "wide without norm": {"name": "wide_resnet", "widen": 1, "batch_norm": False},
    "unet": {"name": "unet", "dropout": 0.2},
    "unet upsampled": {"name": "unet", "up": "upsample", "batch_norm": False},
    "deep_cnn": {"name": "deep_cnn", "channels": 8},
}


@pytest.mark.parametrize("preset", PRESETS)
def test_the_first_loss_is_chance(preset: str) -> None:
    dense = PRESETS[preset]["name"] == "unet"
    one = program(PRESETS[preset], (3, 16, 16), dense=dense)
    working = step.Working(one, state.start(one).tensors)
    losses, _ = working.gradients(*examples(one, 64), 0)
    chance = math.log(one.signature.targets)
    assert float(losses.mean()) == pytest.approx(chance, rel=0.05)


@pytest.mark.parametrize(
    ("model", "inputs", "message"),
    [
        ({"name": "unet", "channels": [2] * 5}, (1, 12, 12), "5 levels need 16 pixels each way"),
        ({"name": "unet"}, (20,), "conv2d needs images"),
        ({"name": "resnet"}, (20,), "conv2d needs images"),
    ],
)
def test_what_does_not_fit_is_told(model: Any, inputs: tuple[int, ...], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        program(model, inputs)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({"name": "wide_resnet", "depth": 17}, "6 n \\+ 4"),
        ({"name": "resnet", "blocks": [1, 1], "channels": [4]}, "one number a stage"),
        ({"name": "deep_cnn", "kernel": 4}, "has no centre"),
    ],
)
def test_what_can_not_be_is_told(model: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        program(model, (3, 8, 8))


def test_branches_that_can_not_be_side_by_side_are_told() -> None:
    layers = [{"name": "concat", "layers": [{"name": "upsample"}]}, "flatten", "linear"]
    with pytest.raises(ConfigError) as caught:
        program({"name": "sequential", "layers": layers}, (1, 4, 4))
    assert "turns (1, 4, 4) into (1, 8, 8); they can't be side by side" in str(caught.value)


def test_a_branch_is_put_beside_its_input() -> None:
    layers = [{"name": "concat", "layers": ["tanh"]}, "linear"]
    one = program({"name": "sequential", "layers": layers}, (4,))
    params, (x, _) = stirred(one), examples(one)
    weight, bias = one.layout.views(params)
    found = one.forward([weight, bias], [], x, Context(training=False))
    torch.testing.assert_close(found, torch.cat([x, x.tanh()], 2) @ weight + bias)


# -- packs and pieces ------------------------------------------------------------------------------


def one_step(one: Program, rows: int = 6) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Losses, gradients, and running statistics afterwards."""
    tensors = state.start(one).tensors
    tensors["params"] += stirred(one)
    losses, grads = step.Working(one, tensors).gradients(*examples(one, rows), 3)
    return losses, grads.clone(), tensors["buffers"]


@pytest.mark.parametrize("preset", ["bottleneck", "wide_resnet", "unet", "deep_cnn"])
@pytest.mark.parametrize("count", [True, 2, 5, 100_000])
def test_pieces_change_no_bit(preset: str, count: int) -> None:
    """Dropout's masks come again; running statistics move once."""
    model, dense = PRESETS[preset], PRESETS[preset]["name"] == "unet"
    model = model | ({"depth": 12} if preset == "deep_cnn" else {})
    whole = program(model, (3, 8, 8), 2, dense, activation_checkpointing=False)
    parts = program(model, (3, 8, 8), 2, dense, activation_checkpointing=count)
    assert whole.pieces == 1 < parts.pieces
    for expected, found in zip(one_step(whole), one_step(parts), strict=True):
        assert torch.equal(expected, found)


def test_in_evaluation_there_are_no_pieces() -> None:
    one = program(PRESETS["deep_cnn"], (3, 8, 8), activation_checkpointing=True)
    params = one.layout.views(one.initial_params().requires_grad_())
    out = one.forward(params, [], examples(one)[0], Context(training=False))
    assert "Checkpointed" not in type(out.grad_fn).__name__


def test_pieces_are_as_many_as_wanted() -> None:
    assert [pieces(False, 9, 2**40), pieces(True, 90, 0), pieces(7, 3, 0)] == [1, 9, 3]
    assert [pieces("auto", 100, 2**20), pieces("auto", 100, 2**31)] == [1, 10]
    assert bounds(7, 3) == [(0, 2), (2, 4), (4, 7)]


def test_a_thousand_tanh_layers_train() -> None:
    """From chance the loss goes down in a few steps, with √layers activations kept."""
    model = {"name": "deep_cnn", "depth": 1000, "channels": 4, "stride": 2}
    one = program(model, (1, 8, 8), activation_checkpointing=True, precision="float32")
    working = step.Working(one, state.start(one).tensors)
    draw = torch.Generator().manual_seed(0)
    y = torch.randint(0, 10, (1, 32), generator=draw)
    patterns = torch.randn(10, 1, 8, 8, generator=draw)
    losses = []
    for number in range(12):
        each, grads = working.gradients(patterns[y], y, number)
        losses.append(float(each.mean()))
        working.params -= 1e-3 * grads.sign()
    assert losses[0] == pytest.approx(math.log(10), rel=0.05)
    assert min(losses) < losses[0] - 0.1
