"""Which training examples an epoch visits, and in what order.

A sampler works on positions 0 … n−1 among the training rows. Members with different splits or
seeds have an order each, `[M, draws]`; members that share both share one, `[1, draws]`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

from nnexp import streams
from nnexp.components.losses.loss import Task
from nnexp.lazy import torch
from nnexp.registry import Spec, param

State = dict[str, "torch.Tensor"]


@dataclass(frozen=True)
class Among:
    """The training examples: how many there are, on which device, and on demand their targets.

    targets: gives them as `[1 or len(keys), n, …]`.
    """

    rows: int
    device: torch.device
    targets: Callable[[], torch.Tensor]


class Sampler(Spec, family="sampler"):
    """Draws the training examples of each epoch."""

    default = "uniform"
    tasks: ClassVar[tuple[Task, ...]] = get_args(Task)
    watches: ClassVar[bool] = False
    """Whether it looks at the examples' losses, and so has a state."""

    def draws(self, rows: int, batch: int) -> int:
        """How many examples an epoch over so many rows visits."""
        return rows

    def init(self, members: int, rows: int, device: torch.device) -> State:
        """What it remembers before the first update: float64 `[M, …]`."""
        return {}

    def order(self, keys: Sequence[int], among: Among, state: State, batch: int) -> torch.Tensor:
        """The positions that an epoch visits, `[len(keys), draws]` int64, a batch after another.

        keys: a random stream's key for each order. state: read only, with a row for each order.
        """
        raise AssertionError(f"{type(self).__name__} has no order")

    def observe(self, state: State, positions: torch.Tensor, losses: torch.Tensor) -> None:
        """Take in the losses `[M, B]` of a batch's examples, in place."""

    def renew(self, state: State) -> None:
        """Get ready for the next epoch's `order`, in place.

        Only here, so that an epoch resumed in its middle has the order it began with.
        """


class Uniform(Sampler):
    """Every example once an epoch in a new random order, or drawn with replacement.

    Use: the default. With replacement the draws of an epoch are independent, as the theory of
    stochastic gradient descent assumes; a share 1/e of the examples is then missed each epoch.
    """

    name: Literal["uniform"] = "uniform"
    also = ("random", "shuffle")
    replacement: bool = param(False, "draw each example anew, so that some come several times")

    def order(self, keys: Sequence[int], among: Among, state: State, batch: int) -> torch.Tensor:
        if not self.replacement:
            return streams.permutations(keys, among.rows, among.device)
        draws = streams.uniforms(keys, among.rows, among.device)
        return (draws * among.rows).long().clamp_(max=among.rows - 1)


class ClassBalanced(Sampler):
    """Every class equally often: a class at random, then one of its examples, with replacement.

    Use: when classes are of very different size and each of them counts as much. An alternative
    that leaves the examples as they are is `class_weights: balanced` of the loss.
    """

    name: Literal["class_balanced"] = "class_balanced"
    also = ("balanced", "weighted_random", "oversample")
    tasks = ("classification",)

    def order(self, keys: Sequence[int], among: Among, state: State, batch: int) -> torch.Tensor:
        targets = among.targets()
        counts = torch.zeros(targets.shape[0], int(targets.max()) + 1, device=targets.device)
        counts.scatter_add_(1, targets, torch.ones_like(targets, dtype=counts.dtype))
        return _draw(1.0 / counts.double().gather(1, targets), keys, among.rows)


class ClassDiverse(Sampler):
    """Every example once an epoch, its classes spread so that each batch has as many as it can.

    Each class is spread evenly over the epoch: of a class with k examples the i-th one stands at
    (i + u) / k of it, u at random for each class.

    Use: with many classes and small batches, where random batches miss most of them (metric
    learning, batch normalization).
    """

    name: Literal["class_diverse"] = "class_diverse"
    also = ("stratified", "diverse")
    tasks = ("classification",)

    def order(self, keys: Sequence[int], among: Among, state: State, batch: int) -> torch.Tensor:
        targets, rows, device = among.targets(), among.rows, among.device
        shuffled = streams.permutations(keys, rows, device)
        codes = targets.expand(len(keys), rows).gather(1, shuffled)
        classes = int(targets.max()) + 1
        counts = torch.zeros(len(keys), classes, dtype=torch.float64, device=device)
        counts.scatter_add_(1, codes, torch.ones_like(codes, dtype=torch.float64))
        by_class = torch.sort(codes, dim=1, stable=True)
        first = counts.cumsum(1) - counts
        position = torch.arange(rows, device=device, dtype=torch.float64)
        within = position - first.gather(1, by_class.values)
        offsets = streams.uniforms([streams.key(k, 1) for k in keys], classes, device)
        place = (within + offsets.gather(1, by_class.values)) / counts.gather(1, by_class.values)
        visits = torch.sort(place, dim=1, stable=True).indices
        return shuffled.gather(1, by_class.indices.gather(1, visits))


class HardExamples(Sampler):
    """Draws examples with larger recent losses more often, with replacement.

    The probability of an example is (1 − focus)/n + focus·l/Σl, with l its recent loss, but at
    most `cap` times the median of all, so that outliers and wrong labels do not take over. The
    recent loss is a running mean over the times the example was drawn; one that was not drawn yet
    counts as the median.

    Use: when most examples are learnt early and the error sits in a few; not with noisy labels.
    Source: LeCun, Bottou, Orr & Müller (1998), "Efficient BackProp", section 4.2 (emphasizing
    schemes).
    """

    name: Literal["hard_examples"] = "hard_examples"
    also = ("hard_example_mining", "ohem", "importance", "boosting")
    watches = True
    focus: float = param(0.5, "share of the draws that go by the loss", ge=0, le=1)
    cap: float = param(5.0, "largest loss that counts, in medians", ge=1, le=1e6)
    memory: float = param(0.5, "share of the running mean that is kept at each draw", ge=0, lt=1)

    def init(self, members: int, rows: int, device: torch.device) -> State:
        unknown = torch.full((members, rows), torch.inf, dtype=torch.float64, device=device)
        return {"losses": unknown, "chances": torch.ones_like(unknown)}

    def order(self, keys: Sequence[int], among: Among, state: State, batch: int) -> torch.Tensor:
        return _draw(state["chances"], keys, among.rows)

    def observe(self, state: State, positions: torch.Tensor, losses: torch.Tensor) -> None:
        recent = state["losses"]
        positions = positions.expand(losses.shape)
        before, new = recent.gather(1, positions), losses.double()
        mean = torch.where(before.isinf(), new, self.memory * before + (1 - self.memory) * new)
        # an example that was drawn twice counts with the larger one, in whichever order they come
        recent.scatter_reduce_(1, positions, mean, "amax", include_self=False)

    def renew(self, state: State) -> None:
        recent = state["losses"]
        seen = torch.where(recent.isfinite(), recent, torch.nan)
        median = seen.nanmedian(1, keepdim=True).values
        known = torch.where(recent.isfinite(), recent, median)
        hard = torch.minimum(known, self.cap * median).nan_to_num(1.0, 1.0, 0.0).clamp_(min=0.0)
        total = hard.sum(1, keepdim=True)
        share = torch.where(total > 0, hard / total, 1.0 / recent.shape[1])
        state["chances"].copy_((1 - self.focus) / recent.shape[1] + self.focus * share)


class Stream(Sampler):
    """Online learning: the examples as they arrive, an update each, older ones fading.

    Each update's batch is the newest arrival and `batch_size` − 1 earlier ones, drawn with
    replacement with probability ∝ forgetting^age, age counted in arrivals; forgetting 1 draws
    from all of the past alike. `train/step_loss` is then the loss before the update, mostly on
    examples seen before. The rows' own order is the order of arrival.

    Use: for one pass (`epochs: 1`) over data that drift, with the split `ordered`.
    """

    name: Literal["stream"] = "stream"
    also = ("online", "sequential")
    forgetting: float = param(
        0.99, "factor on the weight of an example with each later arrival", gt=0, le=1
    )

    def draws(self, rows: int, batch: int) -> int:
        return rows * batch

    def order(self, keys: Sequence[int], among: Among, state: State, batch: int) -> torch.Tensor:
        rows, device = among.rows, among.device
        newest = torch.arange(rows, device=device)
        draws = streams.uniforms(keys, rows * (batch - 1), device).view(len(keys), rows, batch - 1)
        past = newest.double()[:, None]  # how many came before each arrival
        if self.forgetting == 1.0:
            age = (draws * past).floor()
        else:  # a geometric law cut off at the first arrival, by the inverse of its distribution
            decay = math.log(self.forgetting)  # in float64: near 1, float32 would lose it
            left = -torch.expm1(decay * past)
            age = (torch.log1p(-draws * left) / decay).floor()
        earlier = newest[:, None] - 1 - age.long()
        earlier = torch.where(past > 0, earlier.clamp_(min=0), 0)
        latest = newest[:, None].expand(len(keys), rows, 1)
        return torch.cat([latest, earlier.long()], 2).flatten(1)


def _draw(weights: torch.Tensor, keys: Sequence[int], count: int) -> torch.Tensor:
    """So many positions a key, drawn with probability ∝ weights `[1 or len(keys), n]`."""
    edges = weights.double().cumsum(1)
    edges = edges.expand(len(keys), -1).contiguous()
    draws = streams.uniforms(keys, count, weights.device) * edges[:, -1:]
    return torch.searchsorted(edges, draws, right=True).clamp_(max=edges.shape[1] - 1)
