"""What curves tell: planted courses are found, and noise alone is not taken for one."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from nnexp.analysis.diagnosing.curves import (
    FLAT,
    IMPROVING,
    WORSENING,
    direction,
    onset,
    smoothed,
    trend,
)

EPOCHS = np.arange(1.0, 101.0)
FALLING = np.exp(-EPOCHS / 40)


def correlated(rng: np.random.Generator, count: int, alike: float, sd: float) -> Any:
    """Noise whose neighbours correlate by so much."""
    steps = rng.normal(0, sd * math.sqrt(1 - alike**2), count)
    values = [rng.normal(0, sd)]
    for step in steps[1:]:
        values.append(alike * values[-1] + step)
    return np.array(values)


@pytest.mark.parametrize("epochs", [10, 40, 100])
@pytest.mark.parametrize("alike", [0.0, 0.3])
def test_false_alarms_of_flat_noisy_curves(epochs: int, alike: float) -> None:
    rng, alarms, trends = np.random.default_rng(0), 0, 0
    falling = np.exp(-3 * np.arange(epochs) / epochs)
    for _ in range(200):
        dev = 0.5 + correlated(rng, epochs, alike, 0.02)
        alarms += onset(np.arange(1.0, epochs + 1), falling, dev).overfits
        trends += direction(dev) != FLAT
    assert alarms <= 200 * 0.05 + 4
    assert trends <= 200 * 0.05 + 4


@pytest.mark.parametrize("epochs", [20, 40, 100])
def test_planted_overfitting_is_found(epochs: int) -> None:
    """A fall to half, then a rise by 30 % of it, with noise of 2 %."""
    rng, found = np.random.default_rng(0), 0
    at, falling = np.arange(1.0, epochs + 1), np.exp(-3 * np.arange(epochs) / epochs)
    for _ in range(100):
        lowest = rng.uniform(0.2, 0.6) * epochs
        rise = 0.5 * (1 + 0.3 * (at - lowest) / (epochs - lowest))
        dev = np.where(at < lowest, 0.5 + 0.5 * ((lowest - at) / lowest) ** 2, rise)
        one = onset(at, falling, dev + rng.normal(0, 0.01, epochs))
        found += one.overfits and abs(one.epoch - lowest) <= max(3, epochs / 10)
    assert found >= 90


@pytest.mark.parametrize("seed", range(50))
def test_noise_alone_is_no_overfitting(seed: int) -> None:
    noise = np.random.default_rng(seed).normal(0, 0.02, 100)
    assert not onset(EPOCHS, FALLING, FALLING + 0.1 + noise).overfits
    assert not onset(EPOCHS, FALLING, 0.5 + noise).overfits


def test_smoothing_is_a_moving_average() -> None:
    values = np.random.default_rng(0).normal(size=30)
    expected = [values[i : i + 5].mean() for i in range(26)]
    np.testing.assert_allclose(smoothed(values, 5), expected)


def test_a_trend_is_the_least_squares_line() -> None:
    values = np.random.default_rng(0).normal(size=80)
    slope, level = np.polyfit(np.arange(20), values[-20:], 1)
    found = trend(values)
    assert found.epochs == 20
    assert found.change == pytest.approx(19 * slope)
    left = values[-20:] - level - slope * np.arange(20)
    assert found.spread == pytest.approx(math.sqrt((left**2).sum() / 18))


def test_directions_at_the_end() -> None:
    assert direction(FALLING) == IMPROVING
    assert direction(EPOCHS) == WORSENING
    assert direction(np.ones(40)) == FLAT
    assert direction(1 - 1e-6 * EPOCHS) == FLAT  # sure, but of no account


def test_a_rise_of_both_losses_is_no_overfitting() -> None:
    noise = np.random.default_rng(0).normal(0, 0.003, 100)
    both = 0.5 + ((EPOCHS - 50) / 100) ** 2 + noise
    assert onset(EPOCHS, FALLING, both).overfits
    assert not onset(EPOCHS, both, both).overfits


@pytest.mark.parametrize("epochs", [20, 50, 200])
def test_a_slow_wander_is_not_surely_overfitting(epochs: int) -> None:
    """A flat dev loss whose neighbours are much alike drifts far without any reason."""
    rng, alarms, doubtful = np.random.default_rng(0), 0, 0
    for _ in range(200):
        wander = [rng.normal(0, 0.05)]
        for step in rng.normal(0, 0.05 * math.sqrt(1 - 0.9**2), epochs - 1):
            wander.append(0.9 * wander[-1] + step)
        falling = np.arange(1, epochs + 1) ** -0.5
        one = onset(np.arange(1.0, epochs + 1), falling, 1 + np.array(wander))
        alarms += one.overfits and one.lasts
        doubtful += one.overfits and not one.lasts
    assert alarms <= 200 * 0.12
    assert doubtful >= 200 * 0.1


def test_a_rise_that_stays_is_overfitting() -> None:
    """Up by 9 % within ten epochs, and no further, as when the rate has run out by then."""
    rng = np.random.default_rng(0)
    for _ in range(50):
        dev = 0.05 + 0.4 * np.exp(-EPOCHS / 3) + 0.0045 * np.clip((EPOCHS - 30) / 10, 0, 1)
        one = onset(EPOCHS, FALLING, dev + rng.normal(0, 0.0005, 100))
        assert one.overfits
        assert one.lasts
