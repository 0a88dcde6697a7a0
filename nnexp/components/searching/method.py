"""Search methods: which trials to make, given what the ones before have shown."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

from nnexp import streams
from nnexp.components.searching.space import Draw, Parameter, Space
from nnexp.errors import UsageError
from nnexp.registry import Spec, param

MOST = 100_000
"""Trials of a grid."""


class Searcher:
    """A method at work. Draws are asked for in batches, and told in their order.

    batch: how many may be asked for at once. total: how many there are, where the method says it.
    """

    batch: int
    total: int | None = None

    def ask(self, first: int, count: int) -> list[Draw]:
        """The draws of trials `first` … `first + count − 1`, or fewer when there are no more."""
        raise NotImplementedError

    def tell(self, draws: Sequence[Draw], values: Sequence[float]) -> None:
        """What a batch came to: lower is better, infinity for a trial that failed."""

    def slopes(self, slopes: Sequence[Mapping[str, float]]) -> None:
        """The derivatives of the batch's values, if `slopes_wanted`; before `tell`."""

    def replay(self, first: int, draws: Sequence[Draw], values: Sequence[float]) -> bool:
        """Brings back the state after a batch that was made before.

        False if the method asks for other draws now than it did then.
        """
        if self.ask(first, len(draws)) != list(draws):
            return False
        self.tell(draws, values)
        return True


class Method(Spec, family="method"):
    """How the next trials are chosen."""

    adaptive: ClassVar[bool] = True
    """Whether it learns from trials; such a method is asked for a tenth of them at a time."""

    def slopes_wanted(self, space: Space) -> dict[str, Any] | None:
        """Which derivatives of the dev loss it needs of each trial (`names`), and after how many
        `updates`; None if none.
        """
        return None

    def searcher(self, space: Space, trials: int, seed: int) -> Searcher:
        """The method at work on a space, for so many trials. Raises UsageError."""
        raise NotImplementedError


# -- without looking at results --------------------------------------------------------------------


class Grid(Method):
    """Every combination: all choices, and `points` values along each scale, the ends among them.

    Use: for two or three keys whose table is wanted; `trials` does not count here.
    """

    name: Literal["grid"] = "grid"
    also = ("grid_search", "product", "full_factorial")
    adaptive = False
    points: int = param(5, "values of a number", ge=2, le=1000)

    def searcher(self, space: Space, trials: int, seed: int) -> Searcher:
        return _Listed(self.draws(space))

    def draws(self, space: Space) -> list[Draw]:
        """All of them, the first key varying slowest. Raises UsageError if they are too many."""
        found: list[Draw] = [{}]
        for one in space.parameters:
            longer: list[Draw] = []
            for draw in found:
                there = one in space.active({**draw, one.name: 0.0})
                longer += [{**draw, one.name: u} for u in self._steps(one)] if there else [draw]
                if len(longer) > MOST:
                    raise UsageError(
                        f"sweep.method: the grid has more than {MOST:,} points; use random, or "
                        "fewer keys or points"
                    )
            found = longer
        return found

    def _steps(self, one: Parameter) -> list[float]:
        if one.domain.count is not None:
            return list(range(one.domain.count))
        steps = [i / (self.points - 1) for i in range(self.points)]
        return list({one.domain.at(u): u for u in steps}.values())  # whole numbers may coincide


class _Listed(Searcher):
    def __init__(self, draws: Sequence[Draw]) -> None:
        self.draws = draws
        self.batch = self.total = len(draws)

    def ask(self, first: int, count: int) -> list[Draw]:
        return list(self.draws[first : first + count])


class RandomSearch(Method):
    """Each trial on its own, every key drawn evenly on its scale.

    Use: first of all, and whenever trials run in wide packs: it finds what matters (a grid wastes
    most trials on what does not), and needs no result to go on.

    Source: Bergstra & Bengio (2012), "Random search for hyper-parameter optimization".
    """

    name: Literal["random"] = "random"
    also = ("random_search", "uniform", "monte_carlo")
    adaptive = False

    def searcher(self, space: Space, trials: int, seed: int) -> Searcher:
        return _Random(space, trials, seed)


class _Random(Searcher):
    def __init__(self, space: Space, trials: int, seed: int) -> None:
        self.space, self.batch, self.seed = space, trials, seed

    def ask(self, first: int, count: int) -> list[Draw]:
        draws = (drawn(self.space, self.seed, first + number) for number in range(count))
        return [self.space.reduced(draw) for draw in draws]


def drawn(space: Space, seed: int, trial: int) -> Draw:
    """A position for every parameter, whether it is active or not; it depends on the seed and the
    trial's number only.
    """
    draw: Draw = {}
    for number, one in enumerate(space.parameters):
        u = float(streams.uniform(streams.key(seed, streams.SEARCH, trial, number), 1)[0])
        draw[one.name] = math.floor(u * one.domain.count) if one.domain.count else u
    return draw


# -- zooming in ------------------------------------------------------------------------------------


class CoarseToFine(Method):
    """Random search in rounds, each in a smaller box around the best trial so far.

    Choices are those that the best quarter of the trials made.

    Use: when a wide first look is wanted and the good region is of one piece.
    """

    name: Literal["coarse_to_fine"] = "coarse_to_fine"
    also = ("zoom", "coarse_fine")
    rounds: int = param(4, "rounds, of about as many trials each", ge=2, le=100)
    shrink: float = param(0.5, "width of a round's box, as a share of the last one's", gt=0, lt=1)

    def searcher(self, space: Space, trials: int, seed: int) -> Searcher:
        return _Zooming(self, space, trials, seed)


class _Zooming(Searcher):
    def __init__(self, method: CoarseToFine, space: Space, trials: int, seed: int) -> None:
        self.method, self.space, self.trials, self.seed = method, space, trials, seed
        self.batch = tenth(trials)
        self.told: list[tuple[float, Draw]] = []

    def ask(self, first: int, count: int) -> list[Draw]:
        number = first * self.method.rounds // self.trials
        good = sorted((t for t in self.told if math.isfinite(t[0])), key=lambda t: t[0])
        best = [draw for _, draw in good[: math.ceil(len(good) / 4)]] if number else []
        width = self.method.shrink**number
        draws = (drawn(self.space, self.seed, first + number) for number in range(count))
        return [self._within(draw, best, width) for draw in draws]

    def tell(self, draws: Sequence[Draw], values: Sequence[float]) -> None:
        self.told += zip(values, draws, strict=True)

    def _within(self, draw: Draw, best: Sequence[Draw], width: float) -> Draw:
        """A draw of the whole space moved into the box."""
        found: Draw = {}
        for one in self.space.parameters:
            u, count = draw[one.name], one.domain.count
            there = [other[one.name] for other in best if one.name in other]
            if there and count is None:
                low = min(max(there[0] - width / 2, 0.0), 1.0 - width)
                u = low + u * width
            elif there and count is not None:
                options = sorted(set(there))
                u = options[math.floor(u / count * len(options))]
            found[one.name] = u
        return self.space.reduced(found)


def tenth(trials: int) -> int:
    """How many trials an adaptive method is asked for at once."""
    return max(1, trials // 10)
