"""What a search tries for a key that is given without values: its own range."""

from __future__ import annotations

from typing import Any

from pydantic.fields import FieldInfo

from nnexp.components.searching.domain import (
    Choice,
    Domain,
    LogUniform,
    Numbers,
    OneMinusLog,
    Uniform,
)
from nnexp.config.wording import field_arms
from nnexp.registry import extras

PENALTY = (1e-6, 1e-1)
"""For strengths whose default, if any, is none."""
SHARES = (0.9, 0.999)
DROPPED = 0.8
"""No share is searched beyond this, if its end is not told."""


_SCALES: dict[str, type[Numbers]] = {"log": LogUniform, "log1m": OneMinusLog, "linear": Uniform}


def own_domain(info: FieldInfo) -> Domain | None:
    """The domain that a field's search scale, default and bounds give; None if they give none."""
    arms = {arm.kind: arm for arm in field_arms(info)}
    scale, default = extras(info).get("search"), info.default
    if "float" in arms and scale:
        return _on_scale(scale, default, arms["float"].limits)
    if "literal" in arms and len(arms) == 1:
        return Choice(options=list(arms["literal"].type))
    if "bool" in arms and isinstance(default, bool):
        return Choice(options=[False, True])
    if "int" in arms and isinstance(default, int) and default >= 1:
        return _around(default, arms["int"].limits)
    if "float" in arms:
        limits = arms["float"].limits
        low, high = limits.get("ge", limits.get("gt")), limits.get("le", limits.get("lt"))
        if low is not None and high is not None and 0 < high - low <= 1:
            edge = (high - low) * 1e-6
            ends = [low + edge * ("ge" not in limits), high - edge * ("le" not in limits)]
            return Uniform(range=ends)
    return None


def _around(default: int, limits: dict[str, Any]) -> Domain | None:
    """A few whole numbers: models that differ in one seldom train in the same pack."""
    numbers = {default * 2**power // 4 for power in range(5)}
    allowed = [n for n in sorted(numbers) if limits.get("ge", 1) <= n <= limits.get("le", n)]
    return Choice(options=allowed) if len(allowed) > 1 else None


def _on_scale(scale: str | list[Any], default: Any, limits: dict[str, Any]) -> Domain:
    if not isinstance(scale, str):
        kind, low, high = scale
        return _SCALES[kind](range=[low, high])
    if scale == "log1m":
        return OneMinusLog(range=list(SHARES))
    if scale == "linear":
        return Uniform(
            range=[float(limits.get("ge", 0.0)), min(limits.get("le", DROPPED), DROPPED)]
        )
    low, high = PENALTY
    if isinstance(default, (int, float)) and default > 0:
        low, high = default / 100, default * 100
    top = limits.get("le", limits.get("lt", high))
    return LogUniform(range=[max(low, limits.get("ge", 0.0)), min(high, float(top))])
