"""The learning-rate range test: the loss while the rate rises from update to update."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import numpy as np

from nnexp.checks.subject import Subject
from nnexp.checks.verdict import Verdict, judged

LOWEST, HIGHEST = 1e-7, 100.0
UPDATES = 120
FEWEST = 80
"""With fewer updates the bounds are noise."""
SECONDS = 3.0
"""Time that the test is to take: by fewer updates if need be, down to `FEWEST`."""

_SMOOTH = 0.8
_FIRST = 10  # updates whose median loss is that of the start, at rates too small for anything else
_DIVERGED = 2.0


@dataclass(frozen=True)
class RangeTest:
    """How the loss went while the learning rate rose.

    rates, losses: of each update, the losses smoothed. low, high: bounds for the learning rate,
    from where the loss falls to where it falls no more; None if it never fell. diverged: the rate
    at which the loss had left; None if it never did.
    """

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    low: float | None
    high: float | None
    diverged: float | None


def range_test(subject: Subject) -> RangeTest | None:
    """Train a copy while the rate rises from 1e-7 to 100; None for an optimizer without a rate.

    Source: Smith (2017), "Cyclical learning rates for training neural networks".
    """
    optimizer = subject.experiment.optimizer
    if optimizer.full_batch or optimizer.judges or optimizer.curved is not None:
        return None
    program = subject.program([subject.experiment])
    working = subject.working(program)
    count, done, begun = UPDATES, 0, time.monotonic()
    rates, losses = [], []
    average = weight = 0.0
    rate, smooth = LOWEST, _SMOOTH
    while rate <= HIGHEST * 1.0001:
        x, y = subject.batch(subject.pack.batch, draw=100 + done)
        loss = float(working.step(x, y, done, rate, None).double().mean())
        done += 1
        average = smooth * average + (1 - smooth) * loss
        weight = smooth * weight + (1 - smooth)
        rates.append(rate)
        losses.append(average / weight)
        if not math.isfinite(loss) or losses[-1] > 4 * losses[0] + 1e-6:
            break
        if done == 5:  # a slow network gets fewer updates, each of them a larger step of the rate
            each = (time.monotonic() - begun) / done
            count = max(FEWEST, min(UPDATES, int(SECONDS / max(each, 1e-9))))
            smooth = _SMOOTH ** (UPDATES / count)  # over the same range of rates
        rate *= (HIGHEST / LOWEST) ** (1 / count)
    return judge_curve(rates, losses)


def judge_curve(rates: list[float], losses: list[float]) -> RangeTest:
    """What a range test's curve says."""
    values = np.array(losses)
    finite = np.where(np.isfinite(values), values, np.inf)
    early = finite[: max(_FIRST, len(finite) // 4)]  # so small are the rates that nothing changes
    start = float(np.median(finite[:_FIRST]))
    noise = 3 * float(np.std(early)) if np.isfinite(early).all() else 0.0
    after_start = min(_FIRST, len(finite) - 1)  # a lucky batch may be the lowest before
    lowest = after_start + int(finite[after_start:].argmin())
    fall = start - float(finite[lowest])
    low = high = None
    if fall > max(noise, 0.02 * abs(start)):
        above = np.flatnonzero(finite[:lowest] > start - 0.1 * fall)  # noise may dip before
        low, high = rates[int(above[-1]) + 1], rates[lowest] / 3
        low = min(low, high)
    after = np.flatnonzero(finite[lowest:] > max(_DIVERGED * start, start + 2 * noise))
    left = rates[lowest + int(after[0])] if len(after) else None
    return RangeTest(tuple(rates), tuple(losses), low, high, left)


def check_rate(subject: Subject, found: RangeTest | None) -> Verdict:
    """A verdict on the config's learning rate, by a range test."""
    name, optimizer = "learning rate", subject.experiment.optimizer
    if found is None:
        return Verdict(name, "pass", f"{optimizer.component} finds its steps itself")
    lr = optimizer.lr
    if found.diverged is not None and lr > 10 * found.diverged:
        text = f"{lr:g}; the loss leaves already at {found.diverged:.1e}"
        best = f"about {found.high:.1e}" if found.high else f"far below {found.diverged:.1e}"
        return Verdict(name, "fail", text, f"`optimizer.lr` {best}")
    if found.low is None or found.high is None:
        return Verdict(
            name, "look", "the loss falls at no rate", "see the other checks: it may not learn"
        )
    too_high = found.diverged is not None and lr > found.diverged
    return judged(
        name,
        f"{lr:g}; bounds by a range test: {found.low:.1e} to {found.high:.1e}"
        + ", right to a factor of ten" * (not found.low <= lr <= found.high),
        look=too_high or lr > 10 * found.high or lr < found.low / 30,
        fail=lr < found.low / 1000,
        advice=f"`optimizer.lr` between {found.low:.1e} and {found.high:.1e} promises more",
    )
