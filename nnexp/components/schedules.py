"""Learning-rate schedules: a factor on the optimizer's `lr`, as a function of time.

Time t counts from 0: whole epochs (`per: epoch`, held within an epoch) or fractional ones
(`per: step`). A schedule that reacts to the dev split keeps its state in a plain dict.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from nnexp.registry import Spec, param


@dataclass(frozen=True)
class Progress:
    """Where training stands before an update: updates done, updates an epoch, epochs planned."""

    step: int
    steps_per_epoch: int
    epochs: int

    @property
    def epoch(self) -> int:
        return self.step // self.steps_per_epoch

    @property
    def total(self) -> int:
        """Updates planned."""
        return self.steps_per_epoch * self.epochs


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

    def observe(self, state: dict[str, Any], dev: float) -> dict[str, Any]:
        """The state after an epoch whose monitored dev value was `dev` (lower is better).

        A key "stop" that is true ends the member's training.
        """
        return state

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
    """The same rate throughout."""

    name: Literal["constant"] = "constant"
    also = ("none", "fixed")

    def at(self, t: float, now: Progress, state: dict[str, Any]) -> float:
        return 1.0


class StepDecay(Schedule):
    """η₀·gamma^⌊t / every⌋: divided by 10 every 10 epochs unless told otherwise."""

    name: Literal["step"] = "step"
    also = ("step_decay", "steplr")
    every: float = param(10, "time between two drops", unit="epochs", ge=1e-6, le=1e6)
    gamma: float = param(0.1, "factor at each drop", gt=0, le=1)

    def at(self, t: float, now: Progress, state: dict[str, Any]) -> float:
        # the small term keeps t = 3·0.1 epochs from falling just short of a whole number
        return float(self.gamma ** math.floor(t / self.every + 1e-9))


class Exponential(Schedule):
    """η₀·gamma^t, or η₀·e^(−rate·t) when `rate` is given."""

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
    """η₀ / (1 + rate·t)."""

    name: Literal["inverse"] = "inverse"
    also = ("inverse_time", "decay")
    rate: float = param(0.1, "ε in 1 / (1 + εt)", unit="1/epoch", ge=0, le=1000)

    def at(self, t: float, now: Progress, state: dict[str, Any]) -> float:
        return 1.0 / (1.0 + self.rate * t)


class Newbob(Schedule):
    """Halved whenever the dev error is worse than in the epoch before.

    With `threshold` > 0 an epoch must improve by that share to count as better. Training stops
    once the factor falls below `floor`.
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

    def observe(self, state: dict[str, Any], dev: float) -> dict[str, Any]:
        before, factor, bad = state["before"], state["factor"], state["bad"]
        if before is not None:
            worse = not dev <= before * (1 - self.threshold)  # NaN is worse
            bad = bad + 1 if worse else 0
            if bad > self.patience:
                factor, bad = factor * self.decay, 0
        return {"factor": factor, "before": dev, "bad": bad, "stop": factor < self.floor}

    def at(self, t: float, now: Progress, state: dict[str, Any]) -> float:
        return float(state["factor"])


class OneCycle(Schedule):
    """1cycle (Smith & Topin 2019), with torch's parameters and values; `lr` is the peak.

    The rate rises from lr / div_factor to lr over `pct_start` of all steps, then falls to
    lr / div_factor / final_div_factor; momentum (or Adam's beta1) runs the other way.
    `three_phase` falls to the start's rate first, as symmetrically as it rose.
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
