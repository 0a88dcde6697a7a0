"""Learning-rate schedules: a factor on the optimizer's `lr`, as a function of time.

Time t counts from 0: whole epochs (`per: epoch`, held within an epoch) or fractional ones
(`per: step`). A schedule that reacts to the dev split keeps its state in a plain dict.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, ValidationInfo, field_validator

from nnexp.registry import Spec, param, rule


@dataclass(frozen=True)
class Progress:
    """Where training stands before an update: updates done, updates an epoch, updates planned."""

    step: int
    steps_per_epoch: int
    total: int

    @property
    def epoch(self) -> int:
        return self.step // self.steps_per_epoch


class Warmup(Spec):
    """A linear rise to the schedule's rate over the first epochs or steps."""

    epochs: float | None = param(None, "length", unit="epochs", gt=0, le=1e6)
    steps: int | None = param(None, "length", unit="updates", ge=1, le=10**9)
    start: float = param(0.0, "share of the rate before the first update", ge=0, le=1)

    def factor(self, now: Progress) -> float:
        """The share of the rate that the next update uses; 1 once warm."""
        length = self.steps or (self.epochs or 0.0) * now.steps_per_epoch
        done = now.step + 1
        return 1.0 if done >= length else self.start + (1.0 - self.start) * done / length


class Schedule(Spec, family="schedule"):
    """A learning-rate schedule; members of a pack may have different ones."""

    default = "constant"
    per_member = True
    needs_dev: ClassVar[bool] = False
    """Whether it watches the dev split."""
    uses_total: ClassVar[bool] = False
    """Whether its course depends on how long training will be."""

    per: Literal["epoch", "step"] = param(
        "epoch", "whether time advances with each `epoch` (held within it) or each `step`"
    )
    warmup: Warmup | None = param(None, "linear warm-up: {epochs: …} or {steps: …}")

    def start(self) -> dict[str, Any]:
        """The state before training: plain data that goes into checkpoints."""
        return {}

    def observe(self, state: dict[str, Any], row: Mapping[str, float]) -> dict[str, Any]:
        """The state after an epoch with these metrics, named as in metrics.csv.

        A key "stop" that is true ends the member's training.
        """
        return state

    def doubt(self, row: Mapping[str, float], dev_rows: int) -> str | None:
        """A sentence if what it watches is mostly noise; row: the last epoch's metrics."""
        return None

    def factor(self, now: Progress, state: dict[str, Any]) -> float:
        """The factor on `lr` for the next update, warm-up included."""
        t = float(now.epoch) if self.per == "epoch" else now.step / now.steps_per_epoch
        factor = self.at(t, now, state)
        return factor * self.warmup.factor(now) if self.warmup else factor

    def at(self, t: float, now: Progress, state: dict[str, Any]) -> float:
        """The factor at time t, in epochs."""
        raise AssertionError(f"{type(self).__name__} has no at")

    def momentum(self, now: Progress) -> float | None:
        """The momentum for the next update; None leaves the optimizer's own."""
        return None


class ConstantRate(Schedule):
    """The same rate throughout.

    Use: to begin with, and as what a schedule is compared to.
    """

    name: Literal["constant"] = "constant"
    also = ("none", "fixed")

    def at(self, t: float, now: Progress, state: dict[str, Any]) -> float:
        return 1.0


class StepDecay(Schedule):
    """η₀·gamma^⌊t / every⌋: divided by 10 every 10 epochs unless told otherwise.

    Use: with momentum on image tasks, where the loss has stalled by the time of each drop.
    """

    name: Literal["step"] = "step"
    also = ("step_decay", "steplr")
    every: float = param(10, "time between two drops", unit="epochs", ge=1e-6, le=1e6)
    gamma: float = param(0.1, "factor at each drop", gt=0, le=1)

    def at(self, t: float, now: Progress, state: dict[str, Any]) -> float:
        # the small term keeps t = 3·0.1 epochs from falling just short of a whole number
        return float(self.gamma ** math.floor(t / self.every + 1e-9))


class MultiStep(Schedule):
    """The rate is multiplied at given epochs: by `gamma` at each, or by a list of factors.

    Formula: η₀·Π of the factors whose milestone t has reached
    Use: to repeat a published recipe ("÷10 at epochs 80 and 120"), or a list set by hand.
    """

    name: Literal["multi_step"] = "multi_step"
    also = ("multistep", "piecewise", "manual", "milestones")
    milestones: list[Annotated[float, Field(ge=0, le=1e7)]] = param(
        ..., "epochs at which the rate changes, rising", unit="epochs", min_length=1
    )
    gamma: float = param(0.1, "factor at each milestone", gt=0, le=1000)
    factors: list[Annotated[float, Field(ge=0, le=1e6)]] | None = param(
        None, "share of η₀ from each milestone on, in place of gamma", also=("values", "rates")
    )

    @field_validator("milestones")
    @classmethod
    def _rising(cls, value: list[float]) -> list[float]:
        if any(b <= a for a, b in pairwise(value)):
            raise rule("must rise", allowed="epochs in rising order")
        return value

    @field_validator("factors")
    @classmethod
    def _one_each(cls, value: list[float] | None, info: ValidationInfo) -> list[float] | None:
        milestones = info.data.get("milestones")
        if value is not None and milestones is not None and len(value) != len(milestones):
            raise rule(f"needs one for each of the {len(milestones)} milestones")
        return value

    def at(self, t: float, now: Progress, state: dict[str, Any]) -> float:
        reached = sum(t >= milestone - 1e-9 for milestone in self.milestones)
        if self.factors is not None:
            return self.factors[reached - 1] if reached else 1.0
        return float(self.gamma**reached)


class Exponential(Schedule):
    """η₀·gamma^t, or η₀·e^(−rate·t) when `rate` is given.

    Use: for a smooth decay whose length is not known beforehand.
    """

    name: Literal["exponential"] = "exponential"
    gamma: float | None = param(
        None, "factor an epoch", gt=0, le=1, when="null: 0.95 unless `rate` is given"
    )
    rate: float | None = param(None, "ε in e^(−εt)", unit="1/epoch", ge=0, le=1000)

    def at(self, t: float, now: Progress, state: dict[str, Any]) -> float:
        if self.rate is not None:
            return math.exp(-self.rate * t)
        return float((0.95 if self.gamma is None else self.gamma) ** t)


class Inverse(Schedule):
    """η₀ / (1 + rate·t).

    Use: with sgd over long runs: the sum of its rates grows without bound, that of their squares
    does not, as convergence in the mean demands.

    Source: Robbins & Monro (1951), "A stochastic approximation method".
    """

    name: Literal["inverse"] = "inverse"
    also = ("inverse_time", "decay")
    rate: float = param(0.1, "ε in 1 / (1 + εt)", unit="1/epoch", ge=0, le=1000)

    def at(self, t: float, now: Progress, state: dict[str, Any]) -> float:
        return 1.0 / (1.0 + self.rate * t)


class InverseSqrt(Schedule):
    """k·η₀ / √(t + 1).

    Use: with warm-up for attention networks, or where the length of training is open.

    Source: Vaswani et al. (2017), "Attention is all you need", section 5.3 (with warm-up).
    """

    name: Literal["inverse_sqrt"] = "inverse_sqrt"
    also = ("inverse_square_root", "rsqrt", "noam")
    k: float = param(1.0, "factor on the rate", gt=0, le=1e6, search="log")

    def at(self, t: float, now: Progress, state: dict[str, Any]) -> float:
        return self.k / math.sqrt(t + 1.0)


class Cosine(Schedule):
    """Half a cosine from η₀ down to floor·η₀, over all of training or between restarts.

    Formula: η₀·(floor + (1 − floor)·(1 + cos(πt/T))/2); with restarts T is `restart`, then
    `restart`·`stretch`, …, and t counts from the last restart
    Use: with a known length of training, often better than steps; restarts for snapshots.

    Source: Loshchilov & Hutter (2017), "SGDR: stochastic gradient descent with warm restarts".
    """

    name: Literal["cosine"] = "cosine"
    also = ("cosine_annealing", "sgdr", "cosine_decay")
    uses_total = True
    floor: float = param(0.0, "share of η₀ at the end", ge=0, lt=1, also=("eta_min",))
    restart: float | None = param(
        None, "length until the first restart", unit="epochs", ge=1e-3, le=1e7, also=("t_0",)
    )
    stretch: float = param(
        1.0, "factor on the length after each restart", ge=1, le=100, also=("t_mult",)
    )

    def at(self, t: float, now: Progress, state: dict[str, Any]) -> float:
        length = now.total / now.steps_per_epoch
        if self.restart is not None:
            t, length = self._since_restart(t + 1e-9, self.restart)
        return _anneal("cos", 1.0, self.floor, min(max(t / length, 0.0), 1.0))

    def _since_restart(self, t: float, first: float) -> tuple[float, float]:
        """The time since the last restart, and until the next one from then."""
        if self.stretch == 1.0:
            return t % first - 1e-9, first
        restarts = math.floor(math.log1p(t / first * (self.stretch - 1)) / math.log(self.stretch))
        growth = self.stretch**restarts
        return t - first * (growth - 1) / (self.stretch - 1) - 1e-9, first * growth


class Cyclic(Schedule):
    """The rate rises and falls between low·η₀ and η₀ in triangles; momentum runs the other way.

    Formula: η₀·(low + (1 − low)·h(s)·s), s the triangle's height at t, 0 … 1; h = 1 (triangular),
    2^(−cycle) (triangular2) or gamma^(updates) (exp_range)

    Use: to pass over plateaus and to collect snapshots; one_cycle is its successor.

    Source: Smith (2017), "Cyclical learning rates for training neural networks".
    """

    name: Literal["cyclic"] = "cyclic"
    also = ("cyclical", "clr", "triangular")

    per: Literal["step"] = param("step", "the rate changes with each step")
    mode: Literal["triangular", "triangular2", "exp_range"] = param(
        "triangular", "the same height each time, half of the last one's, or falling by gamma"
    )
    low: float = param(0.1, "share of η₀ at a triangle's foot", ge=0, lt=1, also=("base_lr",))
    up: float = param(
        2.0, "length of a rise", unit="epochs", gt=0, le=1e6, also=("step_size", "step_size_up")
    )
    down: float | None = param(
        None, "length of a fall", unit="epochs", gt=0, le=1e6, when="null: that of a rise"
    )
    gamma: float = param(0.9999, "factor an update, for exp_range", gt=0, le=1)
    cycle_momentum: bool = param(True, "whether momentum (or beta1) runs the other way")
    base_momentum: float = param(0.8, "momentum at the peak rate", ge=0, lt=1)
    max_momentum: float = param(0.9, "momentum at a triangle's foot", ge=0, lt=1)

    def at(self, t: float, now: Progress, state: dict[str, Any]) -> float:
        return self.low + (1.0 - self.low) * self._height(now)

    def momentum(self, now: Progress) -> float | None:
        if not self.cycle_momentum:
            return None
        return self.max_momentum - (self.max_momentum - self.base_momentum) * self._height(now)

    def _height(self, now: Progress) -> float:
        up = self.up * now.steps_per_epoch
        whole = up + (self.up if self.down is None else self.down) * now.steps_per_epoch
        cycle = math.floor(now.step / whole + 1e-12)
        within = max(now.step - cycle * whole, 0.0)
        height = within / up if within <= up else (whole - within) / (whole - up)
        fall = {"triangular": 1.0, "triangular2": 0.5**cycle, "exp_range": self.gamma**now.step}
        return max(height, 0.0) * fall[self.mode]


class Plateau(Schedule):
    """Divided by 10 when the watched loss has stopped falling.

    The loss is the dev split's, or the training split's where there is no dev. An epoch improves on
    the best so far when it is lower by the share `threshold`; after `patience` epochs without
    improvement the next one without it makes the rate fall.

    Use: when it is not known beforehand how long each rate remains useful.

    Source: torch's ReduceLROnPlateau, whose values it has (mode min, threshold_mode rel).
    """

    name: Literal["plateau"] = "plateau"
    also = ("reduce_on_plateau", "reduce_lr_on_plateau")

    gamma: float = param(0.1, "factor at each drop", gt=0, lt=1, also=("factor",))
    patience: int = param(
        10, "epochs without improvement that are let pass", unit="epochs", ge=0, le=100_000
    )
    threshold: float = param(1e-4, "smallest relative improvement that counts", ge=0, lt=1)
    cooldown: int = param(
        0, "epochs after a drop that are not counted", unit="epochs", ge=0, le=100_000
    )
    floor: float = param(0.0, "the rate falls no lower than this share of η₀", ge=0, lt=1)

    def start(self) -> dict[str, Any]:
        return {"factor": 1.0, "best": None, "bad": 0, "cooling": 0}

    def observe(self, state: dict[str, Any], row: Mapping[str, float]) -> dict[str, Any]:
        loss = float(row.get("dev/loss", row["train/loss"]))
        best, bad, cooling = state["best"], state["bad"], state["cooling"]
        if best is None or loss < best * (1 - self.threshold):
            best, bad = loss, 0
        else:
            bad += 1
        if cooling > 0:
            cooling, bad = cooling - 1, 0
        factor = state["factor"]
        if bad > self.patience:
            factor, bad, cooling = max(factor * self.gamma, self.floor), 0, self.cooldown
        return {"factor": factor, "best": best, "bad": bad, "cooling": cooling}

    def at(self, t: float, now: Progress, state: dict[str, Any]) -> float:
        return float(state["factor"])


class Newbob(Schedule):
    """Halved whenever the dev error is worse than in the epoch before.

    With `threshold` > 0 an epoch must improve by that share to count as better. Training stops
    once the factor falls below `floor`. It watches dev/error for classes, else dev/loss.

    Use: in speech recognition's way, when dev is large enough that its error is not mostly noise.

    Source: the schedule of ICSI's QuickNet (Renals et al. 1991; Bourlard & Morgan 1994).
    """

    name: Literal["newbob"] = "newbob"
    also = ("new_bob", "new-bob")
    needs_dev = True

    decay: float = param(0.5, "factor at each drop", gt=0, lt=1, also=("gamma", "factor"))
    threshold: float = param(0.0, "smallest relative improvement that counts", ge=0, lt=1)
    patience: int = param(
        0, "epochs without improvement that are let pass", unit="epochs", ge=0, le=10_000
    )
    floor: float = param(0.0, "training stops once the factor is below this", ge=0, lt=1)

    def start(self) -> dict[str, Any]:
        return {"factor": 1.0, "before": None, "bad": 0, "stop": False}

    def observe(self, state: dict[str, Any], row: Mapping[str, float]) -> dict[str, Any]:
        dev = float(row.get("dev/error", row["dev/loss"]))  # resolving adds `error` for classes
        before, factor, bad = state["before"], state["factor"], state["bad"]
        if before is not None:
            worse = not dev <= before * (1 - self.threshold)  # NaN is worse
            bad = bad + 1 if worse else 0
            if bad > self.patience:
                factor, bad = factor * self.decay, 0
        return {"factor": factor, "before": dev, "bad": bad, "stop": factor < self.floor}

    def doubt(self, row: Mapping[str, float], dev_rows: int) -> str | None:
        error = row.get("dev/error")
        if error is None:
            return None
        noise = math.sqrt(error * (1.0 - error) / dev_rows)
        if noise == 0.0 or self.threshold * error >= noise:
            return None
        return (
            f"newbob: with {dev_rows} dev examples an error of {error:.3g} is known to ± "
            f"{noise:.2g} (standard error) only, and its threshold lets changes of "
            f"{self.threshold * error:.2g} decide: raise `threshold`, or use more dev examples"
        )

    def at(self, t: float, now: Progress, state: dict[str, Any]) -> float:
        return float(state["factor"])


class OneCycle(Schedule):
    """1cycle (Smith & Topin 2019), with torch's parameters and values; `lr` is the peak.

    The rate rises from lr / div_factor to lr over `pct_start` of all steps, then falls to
    lr / div_factor / final_div_factor; momentum (or Adam's beta1) runs the other way.
    `three_phase` falls to the start's rate first, as symmetrically as it rose (with
    `anneal: linear` the triangle of the paper).

    Use: with a known length of training; `lr` can then be several times a constant rate.

    Source: Smith & Topin (2019), "Super-convergence"; torch's OneCycleLR.
    """

    name: Literal["one_cycle"] = "one_cycle"
    also = ("onecycle", "1cycle")
    uses_total = True

    per: Literal["step"] = param("step", "the rate changes with each step")
    pct_start: float = param(0.3, "share of all steps in which the rate rises", gt=0, lt=1)
    anneal: Literal["cos", "linear"] = param("cos", "shape of rise and fall", also=("strategy",))
    div_factor: float = param(25.0, "peak over the first rate", ge=1, le=1e9)
    final_div_factor: float = param(1e4, "first over the last rate", ge=1, le=1e12)
    three_phase: bool = param(False, "fall to the first rate, then on to the last")
    cycle_momentum: bool = param(True, "whether momentum (or beta1) runs the other way")
    base_momentum: float = param(0.85, "momentum at the peak rate", ge=0, lt=1)
    max_momentum: float = param(0.95, "momentum at the first and the last rate", ge=0, lt=1)

    def at(self, t: float, now: Progress, state: dict[str, Any]) -> float:
        low = 1.0 / self.div_factor
        last = low / self.final_div_factor
        return self._along(now, (low, 1.0, low, last) if self.three_phase else (low, 1.0, last))

    def momentum(self, now: Progress) -> float | None:
        if not self.cycle_momentum:
            return None
        high, low = self.max_momentum, self.base_momentum
        return self._along(now, (high, low, high, high) if self.three_phase else (high, low, high))

    def _along(self, now: Progress, values: tuple[float, ...]) -> float:
        """The value at this step on the way through `values`, one at each phase's end."""
        total = now.total
        ends = [self.pct_start * total - 1, total - 1.0]
        if self.three_phase:
            ends.insert(1, 2 * self.pct_start * total - 2)
        begin = 0.0
        for start, stop, end in zip(values, values[1:], ends, strict=True):
            if now.step <= end or end == ends[-1]:
                share = (now.step - begin) / (end - begin) if end > begin else 1.0
                return _anneal(self.anneal, start, stop, min(max(share, 0.0), 1.0))
            begin = end
        raise AssertionError("the last phase holds every later step")


def _anneal(shape: str, start: float, stop: float, share: float) -> float:
    if shape == "cos":
        return stop + (start - stop) / 2.0 * (1.0 + math.cos(math.pi * share))
    return start + (stop - start) * share
