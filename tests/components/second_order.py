"""L-BFGS and Levenberg–Marquardt for one function, step by step as the books have them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

At = Callable[[np.ndarray, int], tuple[float, np.ndarray]]
"""A function's value and gradient at a point, at the update of a number."""
Line = Callable[[float], tuple[float, float]]

EPS = float(np.finfo(np.float64).eps)


def lbfgs_path(s: Any, x: np.ndarray, at: At, _: np.ndarray, steps: int) -> list[np.ndarray]:
    """With the inverse Hessian written out as a matrix, updated pair by pair."""
    pairs: list[tuple[np.ndarray, np.ndarray]] = []
    path = []
    for number in range(steps):
        value, g = at(x, number)
        first = s.lr if pairs else s.lr * min(1.0, 1.0 / np.abs(g).sum())
        direction = -inverse_hessian(pairs, len(x)) @ g

        def line(
            t: float, x: np.ndarray = x, d: np.ndarray = direction, n: int = number
        ) -> tuple[float, float]:
            found, slope = at(x + t * d, n)
            return found, float(slope @ d)

        if abs(g @ direction) > EPS * abs(value):
            t = wolfe(line, value, float(g @ direction), first, s.c1, s.c2)
            step = t * direction
            change = at(x + step, number)[1] - g
            assert step @ change > 0
            pairs = [*pairs, (step, change)][-s.history :]
            x = x + step
        path.append(x)
    return path


def inverse_hessian(pairs: list[tuple[np.ndarray, np.ndarray]], size: int) -> np.ndarray:
    """Nocedal & Wright, eq. 7.16 (2.21 for each pair), from eq. 7.20."""
    h = np.eye(size)
    if pairs:
        s, y = pairs[-1]
        h *= (s @ y) / (y @ y)
    for s, y in pairs:
        rho = 1.0 / (s @ y)
        v = np.eye(size) - rho * np.outer(y, s)
        h = v.T @ h @ v + rho * np.outer(s, s)
    return h


def wolfe(line: Line, start: float, slope: float, t: float, c1: float, c2: float) -> float:
    """Algorithm 3.5: widen until a step is enough, or surely too long."""
    before, slack = (0.0, start, slope), EPS * abs(start)
    while True:
        value, rise = line(t)
        if value > start + c1 * t * slope + slack or value > before[1] + slack:
            return zoom(line, start, slope, before, (t, value, rise), c1, c2)
        if abs(rise) <= -c2 * slope:
            return t
        if rise >= 0:
            return zoom(line, start, slope, (t, value, rise), before, c1, c2)
        guess = cubic(before, (t, value, rise))
        guess = guess if np.isfinite(guess) and guess > t else 10 * t
        before, t = (t, value, rise), min(max(guess, 1.1 * t), 10 * t)


Point = tuple[float, float, float]


def zoom(
    line: Line, start: float, slope: float, low: Point, high: Point, c1: float, c2: float
) -> float:
    """Algorithm 3.6."""
    slack = EPS * abs(start)
    while True:
        width = high[0] - low[0]
        ends = sorted((low[0] + 0.1 * width, high[0] - 0.1 * width))
        guess = cubic(low, high)
        t = min(max(guess, ends[0]), ends[1]) if np.isfinite(guess) else low[0] + 0.5 * width
        value, rise = line(t)
        if value > start + c1 * t * slope + slack or value > low[1] + slack:
            high = (t, value, rise)
            continue
        if abs(rise) <= -c2 * slope:
            return t
        if rise * width >= 0:
            high = low
        low = (t, value, rise)


def cubic(a: Point, b: Point) -> float:
    """Eq. 3.59."""
    d1 = a[2] + b[2] - 3 * (a[1] - b[1]) / (a[0] - b[0])
    inside = d1**2 - a[2] * b[2]
    if inside < 0:
        return float("nan")
    d2 = np.sign(b[0] - a[0]) * inside**0.5
    return float(b[0] - (b[0] - a[0]) * (b[2] + d2 - d1) / (b[2] - a[2] + 2 * d2))


def gauss_newton_path(
    s: Any, x: np.ndarray, at: At, matrix: np.ndarray, steps: int
) -> list[np.ndarray]:
    """Nielsen's rule for the damping of (H + λI)δ = −g."""
    damping, path = s.damping, []
    for number in range(steps):
        value, g = at(x, number)
        growth = 2.0
        for _ in range(s.tries):
            step = -s.lr * np.linalg.solve(matrix + damping * np.eye(len(x)), g)
            predicted = -(g @ step + 0.5 * step @ matrix @ step)
            if predicted <= EPS * abs(value):
                x = x + step
                break
            gain = (value - at(x + step, number)[0]) / predicted
            if gain > 0:
                damping *= max(1 / 3, 1 - (2 * gain - 1) ** 3)
                x = x + step
                break
            damping *= growth
            growth *= 2
        path.append(x)
    return path
