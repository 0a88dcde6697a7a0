"""Paths of the optimizers over losses of two parameters, to see how each of them moves."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydantic import ValidationError

from nnexp import streams
from nnexp.components.layer import Slot
from nnexp.components.layout import Entry, Layout
from nnexp.components.optimizers.optimizer import Batch, Moment, Optimizer
from nnexp.errors import UsageError, nearest
from nnexp.lazy import torch
from nnexp.registry import stack

RATES = tuple(10.0 ** (k / 3) for k in range(-12, 4))
"""Learning rates that are tried where none is given: 1e-4 to 10."""


@dataclass(frozen=True)
class Landscape:
    """A loss of two parameters.

    value: of numpy arrays as of torch's tensors. box: what is looked at, (left, right, low, high).
    start: where every path begins. minima: the lowest places.
    """

    name: str
    formula: str
    value: Callable[[Any, Any], Any]
    box: tuple[float, float, float, float]
    start: tuple[float, float]
    minima: tuple[tuple[float, float], ...]


LANDSCAPES = {
    one.name: one
    for one in (
        Landscape(
            "rosenbrock",
            "(1 − x)² + 100 (y − x²)²",
            lambda x, y: (1 - x) ** 2 + 100 * (y - x * x) ** 2,
            (-2.0, 2.0, -1.0, 3.0),
            (-1.2, 2.0),
            ((1.0, 1.0),),
        ),
        Landscape(
            "beale",
            "(1.5 − x + xy)² + (2.25 − x + xy²)² + (2.625 − x + xy³)²",
            lambda x, y: (
                (1.5 - x + x * y) ** 2 + (2.25 - x + x * y**2) ** 2 + (2.625 - x + x * y**3) ** 2
            ),
            (-0.5, 4.5, -2.0, 2.0),
            (1.0, 1.6),
            ((3.0, 0.5),),
        ),
        Landscape(
            "saddle",
            "x² − y² + y⁴/4",
            lambda x, y: x**2 - y**2 + y**4 / 4,
            (-2.0, 2.0, -2.2, 2.2),
            (-1.5, 0.001),
            ((0.0, 2**0.5), (0.0, -(2**0.5))),
        ),
    )
}


@dataclass(frozen=True)
class Path:
    """Where an optimizer went: `[T, 2]`, from the start on. lr: its rate; tuned: if chosen here."""

    places: np.ndarray
    lr: float
    tuned: bool


def paths(landscape: Landscape, optimizers: Sequence[str], steps: int) -> dict[str, Path]:
    """The path of each optimizer, at most so many updates long.

    optimizers: names, or NAME=RATE. Where no rate is given it is the one of `RATES` with the lowest
    value at the end, see `_judged`. Raises UsageError.
    """
    found: dict[str, Path] = {}
    for text in optimizers:
        name, _, rate = text.partition("=")
        optimizer = _optimizer(name, rate)
        if name in found:
            raise UsageError(f"--optimizers names {name} twice")
        rates = (optimizer.lr,) if rate else RATES
        walked = descend(landscape, [optimizer.model_copy(update={"lr": r}) for r in rates], steps)
        best = int(np.argmin([_judged(landscape, one) for one in walked]))
        found[name] = Path(_within(landscape, walked[best]), rates[best], not rate)
    return found


def descend(landscape: Landscape, optimizers: Sequence[Optimizer], steps: int) -> np.ndarray:
    """Where optimizers of one kind go, which may differ in their rates: `[M, steps + 1, 2]`."""
    count, first = len(optimizers), optimizers[0]
    params = torch.tensor([landscape.start] * count, dtype=torch.float64)
    state = first.init(params)
    hyper = {
        name: torch.tensor(value)[:, None] if isinstance(value, np.ndarray) else value
        for name, value in stack(optimizers).items()
    }
    layout = Layout((Entry("0.surface.weight", 0, Slot("weight", (1, 2), "weight"), 0, 2),), 2)
    keys = streams.member_keys([0] * count, streams.EVOLUTION, params.device)
    weights = torch.ones(2, dtype=torch.float64)

    def value(at: Any) -> Any:
        with torch.no_grad():
            return landscape.value(at[:, 0], at[:, 1])

    def slope(at: Any) -> tuple[Any, Any]:
        with torch.enable_grad():
            leaf = at.detach().clone().requires_grad_()
            values = landscape.value(leaf[:, 0], leaf[:, 1])
            (grads,) = torch.autograd.grad(values.sum(), leaf)
        return values.detach(), grads

    walked = [params.numpy().copy()]
    for step in range(1, steps + 1):
        with torch.no_grad():
            ahead = first.ahead(params, state, hyper)
            losses, grads = slope(params if ahead is None else ahead)
            batch = Batch(losses, value, keys, slope)
            lr = hyper["lr"]
            first.update(params, grads, state, Moment(step, lr, hyper, weights, layout, batch))
        walked.append(params.numpy().copy())
    return np.stack(walked, axis=1)


def _optimizer(name: str, rate: str) -> Optimizer:
    """An optimizer by its name, with a rate if one is given. Raises UsageError."""
    known = {n: c for n, c in Optimizer.registered.items() if issubclass(c, Optimizer)}
    suitable = sorted(n for n, c in known.items() if c.curved is None)
    if name not in suitable:
        close = nearest(name, suitable)
        if name in known:
            why = f"{name} needs a network's loss, not a surface"
        else:
            why = f"there is no optimizer {name}" + (f"; did you mean {close}?" if close else "")
        raise UsageError(f"--optimizers: {why} (known: {', '.join(suitable)})")
    try:
        made = known[name].model_validate({"name": name, **({"lr": float(rate)} if rate else {})})
    except ValidationError as error:
        raise UsageError(f"--optimizers: {name}={rate}: {error.errors()[0]['msg']}") from None
    except ValueError:
        raise UsageError(f"--optimizers: {name}={rate}: the rate should be a number") from None
    assert isinstance(made, Optimizer)
    return made


def _inside(landscape: Landscape, places: np.ndarray) -> np.ndarray:
    left, right, low, high = landscape.box
    x, y = places[:, 0], places[:, 1]
    with np.errstate(invalid="ignore"):
        return np.asarray((left <= x) & (x <= right) & (low <= y) & (y <= high))


def _judged(landscape: Landscape, places: np.ndarray) -> float:
    """The value at the end; worse than any such where a path leaves the box, or climbs far above
    its start: what follows then is luck.
    """
    inside = _inside(landscape, places)
    if not inside.all():
        return 1e12 - float(inside.argmin())
    heights = landscape.value(places[:, 0], places[:, 1])
    lowest = landscape.value(*landscape.minima[0])
    if heights.max() - lowest > 2 * (heights[0] - lowest):
        return 1e9
    return float(heights[-1])


def _within(landscape: Landscape, places: np.ndarray) -> np.ndarray:
    """A path up to its first step out of the box."""
    inside = _inside(landscape, places)
    stop = len(places) if inside.all() else int(inside.argmin()) + 1
    kept = places[:stop]
    return np.asarray(kept[np.isfinite(kept).all(axis=1)])


def named(name: str) -> Landscape:
    """A landscape. Raises UsageError if there is none of that name."""
    if name not in LANDSCAPES:
        raise UsageError(f"--function should be one of {', '.join(LANDSCAPES)} (received: {name})")
    return LANDSCAPES[name]


def labelled(found: Mapping[str, Path]) -> dict[str, np.ndarray]:
    """The places by a title with the rate in it."""
    return {f"{name}, η {path.lr:.2g}": path.places for name, path in found.items()}
