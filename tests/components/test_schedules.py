"""Every schedule against torch's or a hand-worked course; factors in [0, 1], state is plain."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from itertools import product
from typing import Any

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch.optim import lr_scheduler

from nnexp.components.schedules import (
    ConstantRate,
    Cosine,
    Cyclic,
    Exponential,
    Inverse,
    InverseSqrt,
    MultiStep,
    Newbob,
    OneCycle,
    Plateau,
    Progress,
    Schedule,
    StepDecay,
    Warmup,
)

STEPS, EPOCHS = 4, 30  # updates an epoch, epochs
TOTAL = STEPS * EPOCHS

Course = list[float]


def course(
    schedule: Schedule,
    dev: Sequence[float] | None = None,
    epochs: int = EPOCHS,
    steps: int = STEPS,
    keep: Callable[[dict[str, Any]], dict[str, Any]] = lambda state: state,
) -> Course:
    """The factor of every update; `dev` has the monitored value of each epoch, else it rises."""
    state, factors = schedule.start(), []
    for step in range(epochs * steps):
        factors.append(schedule.factor(Progress(step, steps, epochs * steps), state))
        if (step + 1) % steps == 0:
            epoch = step // steps
            value = float(epoch) if dev is None else dev[epoch]
            state = keep(schedule.observe(state, {"dev/loss": value, "train/loss": -1.0}))
    return factors


def held(values: Sequence[float]) -> Course:
    """One value an epoch, held within it."""
    return [value for value in values for _ in range(STEPS)]


def torchs(
    make: Callable[[torch.optim.Optimizer], Any], count: int = TOTAL, what: str = "lr"
) -> Course:
    """What torch's scheduler sets for each of `count` updates at a base rate of 1."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], 1.0, momentum=0.9)
    scheduler, found = make(optimizer), []
    for left in reversed(range(count)):
        found.append(float(optimizer.param_groups[0][what]))
        optimizer.step()
        if left:  # a step beyond the last may divide by zero
            scheduler.step()
    return found


def one_cycle_of_torch(spec: OneCycle, total: int, what: str = "lr") -> Course:
    def make(optimizer: torch.optim.Optimizer) -> Any:
        return lr_scheduler.OneCycleLR(
            optimizer,
            1.0,
            total_steps=total,
            pct_start=spec.pct_start,
            anneal_strategy=spec.anneal,
            cycle_momentum=spec.cycle_momentum,
            base_momentum=spec.base_momentum,
            max_momentum=spec.max_momentum,
            div_factor=spec.div_factor,
            final_div_factor=spec.final_div_factor,
            three_phase=spec.three_phase,
        )

    return torchs(make, total, what)


def cyclic_of_torch(spec: Cyclic, what: str) -> Course:
    def make(optimizer: torch.optim.Optimizer) -> Any:
        return lr_scheduler.CyclicLR(
            optimizer,
            spec.low,
            1.0,
            step_size_up=spec.up * STEPS,
            step_size_down=None if spec.down is None else spec.down * STEPS,
            mode=spec.mode,
            gamma=spec.gamma,
            base_momentum=spec.base_momentum,
            max_momentum=spec.max_momentum,
        )

    return torchs(make, TOTAL, what)


def plateau_of_torch(spec: Plateau, losses: Sequence[float]) -> Course:
    """The rate of each epoch, from torch's scheduler."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], 1.0)
    scheduler = lr_scheduler.ReduceLROnPlateau(
        optimizer, "min", spec.gamma, spec.patience, spec.threshold,
        cooldown=spec.cooldown, min_lr=spec.floor, eps=0.0,
    )  # fmt: skip
    found = []
    for loss in losses:
        found.append(float(optimizer.param_groups[0]["lr"]))
        scheduler.step(loss)
    return found


REFERENCES: dict[str, list[tuple[Schedule, Callable[[], Course]]]] = {
    "constant": [
        (ConstantRate(), lambda: [1.0] * TOTAL),
        (ConstantRate(per="step"), lambda: [1.0] * TOTAL),
    ],
    "step": [
        (StepDecay(), lambda: held(torchs(lambda o: lr_scheduler.StepLR(o, 10), EPOCHS))),
        (
            StepDecay(every=3.0, gamma=0.5),
            lambda: held(torchs(lambda o: lr_scheduler.StepLR(o, 3, 0.5), EPOCHS)),
        ),
        (
            StepDecay(every=0.5, gamma=0.9, per="step"),
            lambda: torchs(lambda o: lr_scheduler.StepLR(o, 2, 0.9)),
        ),
        (
            StepDecay(every=1.75, gamma=0.9, per="step"),
            lambda: torchs(lambda o: lr_scheduler.StepLR(o, 7, 0.9)),
        ),
    ],
    "exponential": [
        (
            Exponential(),
            lambda: held(torchs(lambda o: lr_scheduler.ExponentialLR(o, 0.95), EPOCHS)),
        ),
        (
            Exponential(gamma=0.5, per="step"),
            lambda: torchs(lambda o: lr_scheduler.ExponentialLR(o, 0.5 ** (1 / STEPS))),
        ),
        (Exponential(rate=0.3), lambda: held([math.e ** (-0.3 * t) for t in range(EPOCHS)])),
        (
            Exponential(rate=0.3, per="step"),
            lambda: torchs(lambda o: lr_scheduler.ExponentialLR(o, math.exp(-0.3 / STEPS))),
        ),
    ],
    "inverse": [
        (Inverse(), lambda: held([10 / (10 + t) for t in range(EPOCHS)])),
        (
            Inverse(rate=2.0, per="step"),
            lambda: torchs(lambda o: lr_scheduler.LambdaLR(o, lambda n: 1 / (1 + n / 2))),
        ),
    ],
    "multi_step": [
        (
            MultiStep(milestones=[5, 12]),
            lambda: held(torchs(lambda o: lr_scheduler.MultiStepLR(o, [5, 12]), EPOCHS)),
        ),
        (
            MultiStep(milestones=[0.5, 2.25], gamma=0.3, per="step"),
            lambda: torchs(lambda o: lr_scheduler.MultiStepLR(o, [2, 9], 0.3)),
        ),
        (
            MultiStep(milestones=[2, 4], factors=[0.7, 0.2]),
            lambda: held([1.0] * 2 + [0.7] * 2 + [0.2] * (EPOCHS - 4)),
        ),
    ],
    "inverse_sqrt": [
        (InverseSqrt(), lambda: held([1 / math.sqrt(t + 1) for t in range(EPOCHS)])),
        (
            InverseSqrt(k=0.5, per="step"),
            lambda: torchs(lambda o: lr_scheduler.LambdaLR(o, lambda n: 0.5 / (n / 4 + 1) ** 0.5)),
        ),
    ],
    "cosine": [
        (
            Cosine(),
            lambda: held(torchs(lambda o: lr_scheduler.CosineAnnealingLR(o, EPOCHS), EPOCHS)),
        ),
        (
            Cosine(floor=0.1, per="step"),
            lambda: torchs(lambda o: lr_scheduler.CosineAnnealingLR(o, TOTAL, 0.1)),
        ),
        *(
            (
                Cosine(restart=3.0, stretch=stretch, floor=0.05, per="step"),
                lambda stretch=stretch: torchs(
                    lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 12, stretch, 0.05)
                ),
            )
            for stretch in (1, 2)
        ),
    ],
    "cyclic": [
        (spec, lambda spec=spec: cyclic_of_torch(spec, "lr"))
        for spec in [
            Cyclic(),
            Cyclic(mode="triangular2", low=0.01),
            Cyclic(mode="exp_range", gamma=0.99, up=1.5, down=4.0),
        ]
    ],
    "plateau": [
        (spec, lambda spec=spec: held(plateau_of_torch(spec, [float(e) for e in range(EPOCHS)])))
        for spec in [
            Plateau(),
            Plateau(gamma=0.5, patience=0, floor=0.2),
            Plateau(patience=2, cooldown=3),
        ]
    ],
    "newbob": [  # the dev error of `course` rises in every epoch
        (Newbob(), lambda: held([1.0, *(0.5**n for n in range(EPOCHS - 1))])),
        (Newbob(per="step"), lambda: held([1.0, *(0.5**n for n in range(EPOCHS - 1))])),
    ],
    "one_cycle": [
        (spec, lambda spec=spec: one_cycle_of_torch(spec, TOTAL))
        for spec in [
            OneCycle(),
            *(
                OneCycle(pct_start=pct, anneal=anneal, three_phase=three)  # type: ignore[arg-type]
                for pct, anneal, three in product((0.1, 0.45), ("cos", "linear"), (False, True))
            ),
            OneCycle(div_factor=3.0, final_div_factor=7.0),
        ]
    ],
}
"""Schedules of each kind, and the factor of every update."""


def test_every_schedule_has_a_reference() -> None:
    assert set(REFERENCES) == set(Schedule.registered) == set(STRATEGIES)


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [case for cases in REFERENCES.values() for case in cases],
    ids=lambda x: repr(x) if isinstance(x, Schedule) else "",
)
def test_a_course_is_its_references(schedule: Schedule, expected: Callable[[], Course]) -> None:
    assert course(schedule) == pytest.approx(expected(), rel=1e-12, abs=0)


@pytest.mark.parametrize("name", REFERENCES)
def test_the_first_reference_has_no_options(name: str) -> None:
    schedule = REFERENCES[name][0][0]
    needed = {"milestones": schedule.milestones} if isinstance(schedule, MultiStep) else {}
    assert schedule == type(schedule)(**needed)
    assert schedule.warmup is None


def test_a_drop_is_not_missed_by_rounding() -> None:
    """3·0.1 / 0.1 is 2.9999999999999996 in floating point."""
    spec = StepDecay(every=0.1, gamma=0.5, per="step")
    assert course(spec, epochs=2, steps=10) == pytest.approx([0.5**n for n in range(20)])


# -- one cycle -------------------------------------------------------------------------------------

Cycles = st.builds(
    OneCycle,
    pct_start=st.floats(0.01, 0.99),
    anneal=st.sampled_from(["cos", "linear"]),
    div_factor=st.floats(1, 1e4),
    final_div_factor=st.floats(1, 1e6),
    three_phase=st.booleans(),
    base_momentum=st.floats(0, 0.9),
    max_momentum=st.floats(0.9, 0.999),
)


@given(Cycles, st.integers(1, 60), st.integers(1, 5))
@settings(max_examples=60, deadline=None)
def test_one_cycle_is_torchs_with_any_options(spec: OneCycle, epochs: int, steps: int) -> None:
    total = epochs * steps
    assume(abs(spec.pct_start * total - 1) > 1e-9)  # torch divides by zero there
    factors = course(spec, epochs=epochs, steps=steps)
    assert factors == pytest.approx(one_cycle_of_torch(spec, total), rel=1e-9, abs=1e-12)
    momenta = [spec.momentum(Progress(step, steps, epochs * steps)) for step in range(total)]
    expected = one_cycle_of_torch(spec, total, "momentum")
    assert momenta == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_one_cycle_peaks_at_once_where_torch_would_divide_by_zero() -> None:
    spec = OneCycle(pct_start=0.1)
    assert spec.factor(Progress(0, 10, 10), {}) == 1.0


def test_one_cycle_without_momentum_leaves_the_optimizers_own() -> None:
    assert OneCycle(cycle_momentum=False).momentum(Progress(3, 4, 20)) is None
    for name, cases in REFERENCES.items():
        if name not in ("one_cycle", "cyclic"):
            assert cases[0][0].momentum(Progress(3, 4, 20)) is None


def test_one_cycle_stays_at_its_last_rate_when_training_goes_on() -> None:
    spec = OneCycle()
    last = spec.factor(Progress(TOTAL - 1, STEPS, TOTAL), {})
    assert last == pytest.approx(1 / 25 / 1e4, rel=1e-9)
    assert spec.factor(Progress(TOTAL + 50, STEPS, TOTAL), {}) == pytest.approx(last, rel=1e-9)
    assert spec.momentum(Progress(TOTAL + 50, STEPS, TOTAL)) == pytest.approx(0.95)


def test_a_triangle_is_the_linear_cycle() -> None:
    """Rises by equal steps to the peak in the middle, falls by equal steps."""
    spec = OneCycle(pct_start=0.5, anneal="linear", div_factor=10.0, final_div_factor=1.0)
    factors = course(spec, epochs=1, steps=20)
    assert factors[:10] == pytest.approx([0.1 + 0.1 * n for n in range(10)])
    assert factors[9:] == pytest.approx([1 - 0.9 * n / 10 for n in range(11)])


# -- newbob ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "dev", "expected"),
    [
        # halved after 5 (worse than 4), and after the second 4 (worse than 3); 4, 4 is not worse
        ({}, [5, 4, 4, 5, 3, 4, 1], [1, 1, 1, 1, 0.5, 0.5, 0.25]),
        # 5 → 6 is worse than the epoch before, though 6 → 5.5 is not: not compared with the best
        ({}, [5, 6, 5.5, 5.2, 5.1], [1, 1, 0.5, 0.5, 0.5]),
        ({"decay": 0.1}, [1, 2, 3, 0], [1, 1, 0.1, 0.01]),
        # must halve: 4 of 8 just does, 2.5 of 4 doesn't, 1.25 of 2.5 does
        ({"threshold": 0.5}, [8, 4, 2.5, 1.25, 1], [1, 1, 1, 0.5, 0.5]),
        ({"threshold": 0.25}, [4, 4, 4, 4], [1, 1, 0.5, 0.25]),
        ({"threshold": 0.25}, [0, 0, 0], [1, 1, 1]),  # nothing is left to improve
        # one worse epoch is let pass, a better one forgives it
        ({"patience": 1}, [1, 2, 3, 2, 3, 1, 2, 3, 9], [1, 1, 1, 0.5, 0.5, 0.5, 0.5, 0.5, 0.25]),
        ({"patience": 2}, [1, 2, 3, 4, 5, 6, 7, 8], [1, 1, 1, 1, 0.5, 0.5, 0.5, 0.25]),
    ],
)
def test_newbob_by_hand(options: dict[str, Any], dev: list[float], expected: Course) -> None:
    assert course(Newbob(**options), dev, epochs=len(dev), steps=1) == pytest.approx(expected)


def test_newbob_stops_below_its_floor_only() -> None:
    spec, stops, factors = Newbob(floor=0.25), [], []
    state = spec.start()
    for dev in range(6):
        state = spec.observe(state, {"dev/loss": float(dev)})
        stops.append(state["stop"])
        factors.append(state["factor"])
    assert factors == [1, 0.5, 0.25, 0.125, 0.0625, 0.03125]
    assert stops == [False, False, False, True, True, True]


def test_newbob_without_a_floor_never_stops() -> None:
    spec = Newbob()
    state = spec.start()
    for dev in range(2000):  # the factor underflows to 0
        state = spec.observe(state, {"dev/loss": float(dev)})
        assert not state["stop"]
    assert spec.at(0.0, Progress(0, 1, 1), state) == 0.0


def test_only_newbob_needs_a_dev_split() -> None:
    assert [n for n, c in Schedule.registered.items() if getattr(c, "needs_dev")] == ["newbob"]
    total = {n for n, c in Schedule.registered.items() if getattr(c, "uses_total")}
    assert total == {"one_cycle", "cosine"}


# -- plateau and cycles ----------------------------------------------------------------------------


@given(
    st.builds(
        Plateau,
        gamma=st.floats(0.01, 0.99),
        patience=st.integers(0, 4),
        threshold=st.floats(0, 0.5),
        cooldown=st.integers(0, 4),
        floor=st.floats(0, 0.5),
    ),
    st.lists(st.floats(0, 10), min_size=2, max_size=60),
)
def test_plateau_is_torchs_whatever_the_losses(spec: Plateau, losses: list[float]) -> None:
    found = course(spec, losses, epochs=len(losses), steps=1)
    assert found == pytest.approx(plateau_of_torch(spec, losses), rel=1e-12)


def test_plateau_watches_the_training_loss_where_there_is_no_dev() -> None:
    spec, state = Plateau(patience=0, gamma=0.5), Plateau().start()
    for loss in (3.0, 3.0, 3.0):
        state = spec.observe(state, {"train/loss": loss, "dev/accuracy": 0.5})
    assert state["factor"] == 0.25


def test_a_cycles_momentum_is_torchs() -> None:
    spec = Cyclic(mode="triangular2", base_momentum=0.7, max_momentum=0.95)
    found = [spec.momentum(Progress(step, STEPS, TOTAL)) for step in range(TOTAL)]
    assert found == pytest.approx(cyclic_of_torch(spec, "momentum"), rel=1e-9)
    assert Cyclic(cycle_momentum=False).momentum(Progress(3, 4, 20)) is None


def test_a_manual_list_of_rates() -> None:
    spec = MultiStep(milestones=[0, 1, 3], factors=[2.0, 0.5, 0.0])
    assert course(spec, epochs=5, steps=1) == [2.0, 0.5, 0.5, 0.0, 0.0]


@pytest.mark.parametrize(
    "bad",
    [
        {"milestones": [3, 2]},
        {"milestones": [2, 2]},
        {"milestones": []},
        {"milestones": [1, 2], "factors": [0.5]},
        {"milestones": [-1.0]},
    ],
)
def test_milestones_rise_and_factors_go_with_them(bad: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        MultiStep.model_validate({"name": "multi_step", **bad})


# -- warm-up ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("start", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("length", [2, 7, 40])
def test_warm_up_is_torchs_linear_rise(start: float, length: int) -> None:
    """Update n of `length` has start + (1 − start)·n/length: torch's LinearLR from n = 1."""
    first = start + (1 - start) / length
    expected = torchs(lambda o: lr_scheduler.LinearLR(o, first, 1.0, length - 1))
    found = course(ConstantRate(warmup=Warmup(steps=length, start=start)))
    assert found == pytest.approx(expected, rel=1e-12)
    by_epochs = course(ConstantRate(warmup=Warmup(epochs=length / STEPS, start=start)))
    assert by_epochs == pytest.approx(expected, rel=1e-12)


def test_warm_up_for_a_fraction_of_a_step() -> None:
    found = course(ConstantRate(warmup=Warmup(epochs=0.6)))  # 2.4 updates
    assert found[:4] == pytest.approx([1 / 2.4, 2 / 2.4, 1.0, 1.0])
    assert course(ConstantRate(warmup=Warmup(steps=1))) == [1.0] * TOTAL


@pytest.mark.parametrize("name", REFERENCES)
@pytest.mark.parametrize("warmup", [Warmup(steps=9), Warmup(epochs=2.5, start=0.2)])
def test_warm_up_composes_with_every_schedule(name: str, warmup: Warmup) -> None:
    for schedule, _ in REFERENCES[name]:
        warm = schedule.model_copy(update={"warmup": warmup})
        rise = [warmup.factor(Progress(step, STEPS, TOTAL)) for step in range(TOTAL)]
        assert rise[0] < rise[1] < 1.0 == rise[-1]
        product_ = [a * b for a, b in zip(course(schedule), rise, strict=True)]
        assert course(warm) == pytest.approx(product_, rel=1e-15)


# -- whatever the options --------------------------------------------------------------------------

Per = st.sampled_from(["epoch", "step"])
Warmups = st.none() | st.builds(
    Warmup,
    epochs=st.none() | st.floats(1e-6, 1e6),
    steps=st.none() | st.integers(1, 10**9),
    start=st.floats(0, 1),
)
Positive = st.floats(0, 1, exclude_min=True)
STRATEGIES: dict[str, st.SearchStrategy[Any]] = {
    "constant": st.builds(ConstantRate, per=Per, warmup=Warmups),
    "step": st.builds(
        StepDecay, per=Per, warmup=Warmups, every=st.floats(1e-6, 1e6), gamma=Positive
    ),
    "exponential": st.builds(
        Exponential,
        per=Per,
        warmup=Warmups,
        gamma=st.none() | Positive,
        rate=st.none() | st.floats(0, 1000),
    ),
    "multi_step": st.builds(
        MultiStep,
        per=Per,
        warmup=Warmups,
        milestones=st.sets(st.floats(0, 1e7), min_size=1, max_size=9).map(sorted),
        gamma=st.floats(0, 1, exclude_min=True),
    ),
    "inverse_sqrt": st.builds(InverseSqrt, per=Per, warmup=Warmups, k=Positive),
    "cosine": st.builds(
        Cosine,
        per=Per,
        warmup=Warmups,
        floor=st.floats(0, 1, exclude_max=True),
        restart=st.none() | st.floats(1e-3, 1e7),
        stretch=st.floats(1, 100),
    ),
    "cyclic": st.builds(
        Cyclic,
        warmup=Warmups,
        mode=st.sampled_from(["triangular", "triangular2", "exp_range"]),
        low=st.floats(0, 1, exclude_max=True),
        up=st.floats(1e-6, 1e6),
        down=st.none() | st.floats(1e-6, 1e6),
        gamma=Positive,
    ),
    "plateau": st.builds(
        Plateau,
        per=Per,
        warmup=Warmups,
        gamma=st.floats(0, 1, exclude_min=True, exclude_max=True),
        patience=st.integers(0, 100),
        threshold=st.floats(0, 1, exclude_max=True),
        cooldown=st.integers(0, 100),
        floor=st.floats(0, 1, exclude_max=True),
    ),
    "inverse": st.builds(Inverse, per=Per, warmup=Warmups, rate=st.floats(0, 1000)),
    "newbob": st.builds(
        Newbob,
        per=Per,
        warmup=Warmups,
        decay=st.floats(0, 1, exclude_min=True, exclude_max=True),
        threshold=st.floats(0, 1, exclude_max=True),
        patience=st.integers(0, 10_000),
        floor=st.floats(0, 1, exclude_max=True),
    ),
    "one_cycle": st.builds(
        OneCycle,
        warmup=Warmups,
        pct_start=st.floats(0, 1, exclude_min=True, exclude_max=True),
        anneal=st.sampled_from(["cos", "linear"]),
        div_factor=st.floats(1, 1e9),
        final_div_factor=st.floats(1, 1e12),
        three_phase=st.booleans(),
        base_momentum=st.floats(0, 1, exclude_max=True),
        max_momentum=st.floats(0, 1, exclude_max=True),
    ),
}
"""Every legal spec of each schedule."""


@pytest.mark.parametrize("name", STRATEGIES)
@given(st.data())
@settings(max_examples=60, deadline=None)
def test_factors_are_shares_and_state_is_plain(name: str, data: st.DataObject) -> None:
    schedule = data.draw(STRATEGIES[name])
    epochs, steps = data.draw(st.integers(1, 8)), data.draw(st.integers(1, 4))
    dev = data.draw(
        st.lists(st.floats(0, 1e30) | st.just(math.inf), min_size=epochs, max_size=epochs)
    )
    factors = course(schedule, dev, epochs, steps)
    assert all(0.0 <= factor <= 1.0 + 1e-15 for factor in factors)  # cos is rounded
    again = course(schedule, dev, epochs, steps, keep=lambda s: json.loads(json.dumps(s)))
    assert again == factors
    momentum = schedule.momentum(Progress(data.draw(st.integers(0, 100)), steps, epochs * steps))
    assert momentum is None or 0.0 <= momentum < 1.0


@pytest.mark.parametrize("name", [n for n in STRATEGIES if n not in ("one_cycle", "cyclic")])
@given(st.data())
@settings(max_examples=20, deadline=None)
def test_a_rate_per_epoch_is_held_within_it(name: str, data: st.DataObject) -> None:
    drawn = data.draw(STRATEGIES[name])
    schedule = drawn.model_copy(update={"warmup": None, "per": "epoch"})
    factors = course(schedule, [1.0] * 5, epochs=5, steps=3)
    for epoch in range(5):
        assert len(set(factors[3 * epoch : 3 * epoch + 3])) == 1


@given(STRATEGIES["newbob"], st.lists(st.floats(0, 1e30), min_size=2, max_size=2))
def test_observing_leaves_the_old_state_alone(schedule: Newbob, dev: list[float]) -> None:
    state = schedule.observe(schedule.start(), {"dev/loss": dev[0]})
    copy = dict(state)
    schedule.observe(state, {"dev/loss": dev[1]})
    assert state == copy


@pytest.mark.parametrize(
    "bad",
    [
        {"name": "step", "every": 0},
        {"name": "step", "gamma": 1.5},
        {"name": "exponential", "gamma": 0},
        {"name": "inverse", "rate": -1},
        {"name": "newbob", "decay": 1},
        {"name": "newbob", "patience": -1},
        {"name": "one_cycle", "pct_start": 1},
        {"name": "one_cycle", "per": "epoch"},
        {"name": "constant", "warmup": {"steps": 0}},
        {"name": "constant", "warmup": 5},
    ],
)
def test_what_makes_no_sense_is_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="validation error"):
        Schedule.registered[bad["name"]].model_validate(bad)


def test_newbob_says_when_it_listens_to_noise() -> None:
    """The standard error of an error rate e on n examples is √(e(1 − e)/n)."""
    told = Newbob().doubt({"dev/error": 0.1}, 400)
    assert told is not None
    assert "400 dev examples" in told
    assert "± 0.015" in told
    assert Newbob(threshold=0.1).doubt({"dev/error": 0.1}, 400) is not None  # 0.01 < 0.015
    assert Newbob(threshold=0.2).doubt({"dev/error": 0.1}, 400) is None
    assert Newbob().doubt({"dev/error": 0.0}, 400) is None
    assert Newbob().doubt({"dev/loss": 0.3}, 400) is None
    assert ConstantRate().doubt({"dev/error": 0.1}, 400) is None
