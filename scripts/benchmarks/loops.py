"""Training an MLP classifier without nnexp: PyTorch by hand, and scikit-learn.

Each contender makes its model outside the clock and is timed over whole epochs, every one with an
order of its own. None evaluates, and none records a loss but scikit-learn, which always does.
"""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

LR = 1e-3
BY_HAND = "by hand"
Run = Callable[[], float]
"""Trains once, from the start, and returns seconds a step and member."""


@dataclass(frozen=True)
class Task:
    """An MLP to train: rows `[N, F]` and classes `[N]` on the host, and how long."""

    x: Tensor
    y: Tensor
    sizes: tuple[int, ...]
    batch: int
    epochs: int
    device: torch.device

    @property
    def steps(self) -> int:
        """Updates in one training."""
        return self.epochs * math.ceil(len(self.x) / self.batch)

    def batches(self) -> tuple[Tensor, ...]:
        """The rows of each batch of an epoch, on the device."""
        return torch.split(torch.randperm(len(self.x), device=self.device), self.batch)

    def wait(self) -> None:
        """Until the device has done all it was given."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def clock(self, train: Callable[[], object]) -> float:
        """Seconds a step of a training."""
        self.wait()
        begun = time.perf_counter()
        train()
        self.wait()
        return (time.perf_counter() - begun) / self.steps


def network(task: Task) -> nn.Sequential:
    """The MLP, as torch starts it."""
    layers: list[nn.Module] = []
    for inputs, units in pairwise(task.sizes):
        layers += [nn.Linear(inputs, units), nn.ReLU()]
    return nn.Sequential(*layers[:-1]).to(task.device)


def plain(task: Task) -> Run:
    """The loop of every tutorial."""

    def run() -> float:
        loader = DataLoader(TensorDataset(task.x, task.y), batch_size=task.batch, shuffle=True)
        model, loss_fn = network(task), nn.CrossEntropyLoss()
        optimizer = torch.optim.Adam(model.parameters(), lr=LR)

        def train() -> None:
            for _ in range(task.epochs):
                for x, y in loader:
                    x, y = x.to(task.device), y.to(task.device)
                    optimizer.zero_grad()
                    loss = loss_fn(model(x), y)
                    loss.backward()
                    optimizer.step()

        return task.clock(train)

    return run


def by_hand(task: Task) -> dict[str, Run]:
    """Everything a loop for this one network can do to be quick, a way each, by name."""
    ways = {
        "fused Adam": _resident(task, fused=True),
        "foreach Adam": _resident(task, foreach=True),
        "for-loop Adam": _resident(task),
        "flat parameters": _flat(task, _by_autograd),
        "own backward pass": _flat(task, _by_formula),
    }
    if task.device.type == "cuda":
        ways["CUDA graph"] = _graphed(task)
    return {f"{BY_HAND}, {name}": run for name, run in ways.items()}


def _resident(task: Task, fused: bool = False, foreach: bool = False) -> Run:
    """Data on the device, batches by index, torch's modules and optimizer."""
    xs, ys = task.x.to(task.device), task.y.to(task.device)

    def run() -> float:
        model = network(task)
        optimizer = torch.optim.Adam(model.parameters(), lr=LR, fused=fused, foreach=foreach)

        def train() -> None:
            for _ in range(task.epochs):
                for index in task.batches():
                    loss = functional.cross_entropy(model(xs[index]), ys[index])
                    optimizer.zero_grad(set_to_none=True)
                    torch.autograd.backward(loss)
                    optimizer.step()

        return task.clock(train)

    return run


@dataclass
class _Flat:
    """Parameters and gradients, each one tensor `[P]`, with views as `[inputs, units]`, `[units]`.

    Adam's update is then one kernel without torch.optim around it.
    """

    params: Tensor
    grads: Tensor

    def __post_init__(self) -> None:
        self.mean, self.square = torch.zeros_like(self.params), torch.zeros_like(self.params)
        self.step = torch.zeros((), device=self.params.device)

    def adam(self) -> None:
        self.step.add_(1.0)
        torch._fused_adam_(
            [self.params], [self.grads], [self.mean], [self.square], [], [self.step],
            lr=LR, beta1=0.9, beta2=0.999, weight_decay=0.0, eps=1e-8,
            amsgrad=False, maximize=False,
        )  # fmt: skip


Backward = Callable[[Tensor, Tensor], object]
"""Fills the flat gradient for a batch."""


def _flat(task: Task, way: Callable[[Task, _Flat], Backward]) -> Run:
    """As `_resident`, with parameters in one tensor."""
    xs, ys = task.x.to(task.device), task.y.to(task.device)

    def run() -> float:
        model = network(task)
        start = [p.detach().t().flatten() for p in model.parameters()]
        params = torch.cat(start)
        flat = _Flat(params, torch.zeros_like(params))
        backward = way(task, flat)

        def train() -> None:
            for _ in range(task.epochs):
                for index in task.batches():
                    backward(xs.index_select(0, index), ys.index_select(0, index))
                    flat.adam()

        return task.clock(train)

    return run


def _views(task: Task, flat: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Weight and bias of each layer inside a flat tensor."""
    at = 0
    for inputs, units in pairwise(task.sizes):
        weight = flat[at : at + inputs * units].view(inputs, units)
        at += inputs * units
        yield weight, flat[at : at + units]
        at += units


def _by_autograd(task: Task, flat: _Flat) -> Backward:
    leaves = [p.detach().requires_grad_() for pair in _views(task, flat.params) for p in pair]

    def backward(x: Tensor, y: Tensor) -> None:
        for at in range(0, len(leaves), 2):
            x = torch.addmm(leaves[at + 1], x if at == 0 else x.relu(), leaves[at])
        grads = torch.autograd.grad(functional.cross_entropy(x, y), leaves)
        torch.cat([g.flatten() for g in grads], out=flat.grads)

    return backward


def _by_formula(task: Task, flat: _Flat) -> Backward:
    layers = list(zip(_views(task, flat.params), _views(task, flat.grads), strict=True))

    def backward(x: Tensor, y: Tensor) -> None:
        inputs = []
        for at, ((weight, bias), _) in enumerate(layers):
            x = x.relu_() if at else x
            inputs.append(x)
            x = torch.addmm(bias, x, weight)
        share = torch.full((len(y), 1), -1.0 / len(y), device=x.device)
        slope = torch.softmax(x, 1).div_(len(y)).scatter_add_(1, y[:, None], share)
        for at in range(len(layers) - 1, -1, -1):
            (weight, _), (weight_grad, bias_grad) = layers[at]
            torch.mm(inputs[at].t(), slope, out=weight_grad)
            torch.sum(slope, 0, out=bias_grad)
            if at:
                slope = torch.ops.aten.threshold_backward(slope @ weight.t(), inputs[at], 0.0)

    return backward


def _graphed(task: Task) -> Run:
    """As `_resident`, a whole update recorded once and replayed (a short last batch is not)."""
    xs, ys = task.x.to(task.device), task.y.to(task.device)

    def run() -> float:
        model = network(task)
        optimizer = torch.optim.Adam(model.parameters(), lr=LR, fused=True, capturable=True)
        x, y = xs[: task.batch].clone(), ys[: task.batch].clone()

        def update(x: Tensor, y: Tensor) -> None:
            optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(functional.cross_entropy(model(x), y))
            optimizer.step()

        aside = torch.cuda.Stream(task.device)  # type: ignore[no-untyped-call]
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(3):
                update(x, y)
        torch.cuda.current_stream().wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            update(x, y)

        def train() -> None:
            for _ in range(task.epochs):
                for index in task.batches():
                    if len(index) < task.batch:
                        update(xs[index], ys[index])
                        continue
                    torch.index_select(xs, 0, index, out=x)
                    torch.index_select(ys, 0, index, out=y)
                    graph.replay()

        return task.clock(train)

    return run


def scikit_learn(task: Task) -> Run:
    """MLPClassifier in float32, without its stopping rule and without its L2 penalty."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPClassifier

    x, y = task.x.numpy(), task.y.numpy()

    def run() -> float:
        model: Any = MLPClassifier(
            hidden_layer_sizes=task.sizes[1:-1],
            batch_size=task.batch,
            learning_rate_init=LR,
            max_iter=task.epochs,
            tol=0.0,
            n_iter_no_change=task.epochs + 1,
            alpha=0.0,
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            seconds = task.clock(lambda: model.fit(x, y))
        assert model.n_iter_ == task.epochs
        return seconds

    return run
