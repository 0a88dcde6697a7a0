"""Search down the slope of the dev loss, taken through training itself."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from nnexp.components.searching.domain import Numbers
from nnexp.components.searching.method import Method, Searcher, drawn, tenth
from nnexp.components.searching.space import Draw, Space
from nnexp.errors import UsageError
from nnexp.registry import param


class Hypergradient(Method):
    """Gradient descent on hyper-parameters: the derivative of the dev loss after the first updates.

    A tenth as many paths as trials start at random; each goes down the slope on the keys' scales,
    and from its best point anew with half the step when that made it worse. Choices stay.

    Formula: u ← u − r g / |g|, g = ∂ dev loss(θ_k(u)) / ∂u through k unrolled updates

    Use: for learning rate, L2 and momentum of smooth networks, as the first updates tell; of sgd,
    momentum, nesterov, adam and adamw.

    Source: Bengio (2000), "Gradient-based optimization of hyper-parameters"; Maclaurin, Duvenaud &
    Adams (2015), "Gradient-based hyperparameter optimization through reversible learning".
    """

    name: Literal["hypergradient"] = "hypergradient"
    also = ("gradient", "hypergradients", "gradient_based")
    updates: int = param(
        50, "updates of training that are differentiated", unit="updates", ge=1, le=100_000
    )
    rate: float = param(0.15, "r: first step, as a share of the scales", gt=0, le=1)

    def slopes_wanted(self, space: Space) -> dict[str, Any] | None:
        paths = [one.path for one in space.parameters if isinstance(one.domain, Numbers)]
        return {"names": list(dict.fromkeys(paths)), "updates": self.updates}

    def searcher(self, space: Space, trials: int, seed: int) -> Searcher:
        if not any(isinstance(one.domain, Numbers) for one in space.parameters):
            raise UsageError("sweep.method: hypergradient needs a number to search over")
        return _Descending(self, space, tenth(trials), seed)


@dataclass
class _Path:
    """Where a path is best so far: its draw, value, and slopes by key; its next step's length."""

    draw: Draw
    rate: float
    value: float = math.inf
    slopes: Mapping[str, float] | None = None


class _Descending(Searcher):
    def __init__(self, method: Hypergradient, space: Space, paths: int, seed: int) -> None:
        self.method, self.space, self.batch, self.seed = method, space, paths, seed
        self.paths: list[_Path] = []
        self._slopes: list[Mapping[str, float]] = []

    def ask(self, first: int, count: int) -> list[Draw]:
        if not self.paths:
            draws = [drawn(self.space, self.seed, first + number) for number in range(count)]
            return [self.space.reduced(draw) for draw in draws]
        return [self._next(path) for path in self.paths[:count]]

    def slopes(self, slopes: Sequence[Mapping[str, float]]) -> None:
        self._slopes = list(slopes)

    def tell(self, draws: Sequence[Draw], values: Sequence[float]) -> None:
        if not self.paths:
            self.paths = [_Path(draw, self.method.rate) for draw in draws]
        for path, draw, value, slopes in zip(self.paths, draws, values, self._slopes, strict=False):
            if value < path.value or path.slopes is None:
                path.draw, path.value, path.slopes = draw, value, slopes
            else:
                path.rate /= 2

    def _next(self, path: _Path) -> Draw:
        """One step down from a path's best point."""
        falls = dict[str, float]()
        for one in self.space.active(path.draw):
            slope = (path.slopes or {}).get(one.path, math.nan)
            if isinstance(one.domain, Numbers) and math.isfinite(slope):
                falls[one.name] = slope * one.domain.slope(path.draw[one.name])
        size = math.hypot(*falls.values()) or 1.0
        moved = {
            name: min(max(path.draw[name] - path.rate * fall / size, 0.0), 1.0)
            for name, fall in falls.items()
        }
        return {**path.draw, **moved}
