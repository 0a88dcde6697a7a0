"""Numbers in words, as every table shows them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any


def value(x: float | None) -> str:
    """Four digits, large numbers to the unit; a dash for what is not known."""
    if x is None or not math.isfinite(x):
        return "–"
    if 1e4 <= abs(x) < 1e7:
        return f"{x:,.0f}"
    return f"{x:.4f}" if 0.001 <= abs(x) < 10 else f"{x:.4g}"


def spread(described: Mapping[str, Any]) -> str:
    """`0.946 ± 0.012`, the standard deviation with two digits; one value alone as it is."""
    mean, sd = described.get("mean"), described.get("sd")
    if mean is None or sd is None:
        return value(mean)
    if 0 < abs(mean) < 1e-3 or max(abs(mean), sd) >= 1e6:
        return f"{mean:.2e} ± {sd:.1e}"
    places = _places(sd)
    return f"{mean:.{places}f} ± {sd:.{places}f}" if places is not None else f"{value(mean)} ± 0"


def interval(bounds: Sequence[float] | None, digits: int = 2) -> str:
    """`0.926 to 0.965`, exact to `digits` digits of its width."""
    if bounds is None:
        return "–"
    low, high = bounds
    places = _places(high - low, digits) if math.isfinite(high - low) else None
    form = ".4g" if places is None or places > 4 else f".{places}f"
    return f"{low:{form}} to {high:{form}}"


def _places(size: float, digits: int = 2) -> int | None:
    """Decimal places that show `digits` digits of `size`."""
    if not size > 1e-12:
        return None
    return min(max(digits - 1 - math.floor(math.log10(size)), 0), 12)


def duration(seconds: float | None) -> str:
    """`0.9 s`, `12 s`, `2 min 05 s`, `1 h 03 min`."""
    if seconds is None:
        return "–"
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
