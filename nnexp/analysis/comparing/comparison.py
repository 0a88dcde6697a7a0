"""What `nnexp compare` has found, as plain data for a table or for JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from nnexp.analysis.comparing.checks import Check, ConfigDifference
from nnexp.stats import Bounds


@dataclass(frozen=True)
class Cost:
    """What training took: seconds of the whole run or group; the rest a model, on average."""

    seconds: float | None
    parameters: float | None
    epochs: float | None
    steps: float | None


@dataclass(frozen=True)
class Side:
    """A run or group that is compared.

    varies: "seed" or "split", for a group. members: its runs; counted: those that have the metric.
    metrics: `describe` of each metric by split (`{"test": {"accuracy": {"mean": …}}}`).
    """

    label: str
    name: str
    path: Path
    kind: str
    varies: str | None
    status: str
    members: int
    counted: int
    diverged: int
    metrics: Mapping[str, Mapping[str, Mapping[str, Any]]]
    cost: Cost


@dataclass(frozen=True)
class Evidence:
    """A difference B − A as one method sees it; interval and p are None where it has none."""

    test: str
    scope: str
    difference: float
    interval: Bounds | None
    p_value: float | None


@dataclass(frozen=True)
class MetricRow:
    """A metric of both sides (as `describe` gives it) and the difference of the means."""

    split: str
    metric: str
    a: Mapping[str, Any]
    b: Mapping[str, Any]
    difference: float | None


@dataclass(frozen=True)
class Pair:
    """B held against A.

    p_adjusted: Holm's, over all pairs; the verdict goes by it. p_equivalent: of two one-sided
    tests against the margin. effect_size: Hedges' g. detectable: the true difference that would be
    found with 80 % power. members_needed: seeds or splits of each that find one of the margin's
    size. beside: other methods' views, without a verdict.
    """

    a: str
    b: str
    evidence: Evidence
    verdict: str
    sentence: str
    p_adjusted: float | None
    p_equivalent: float | None
    effect_size: float | None
    detectable: float | None
    members_needed: int | None
    beside: tuple[Evidence, ...]
    notes: tuple[str, ...]
    rows: tuple[MetricRow, ...]

    def to_json(self) -> dict[str, Any]:
        return {
            "a": self.a,
            "b": self.b,
            "metrics": {
                f"{row.split}/{row.metric}": {
                    self.a: row.a,
                    self.b: row.b,
                    "difference": row.difference,
                }
                for row in self.rows
            },
            **asdict(self.evidence),
            "p_adjusted": self.p_adjusted,
            "p_equivalent": self.p_equivalent,
            "verdict": self.verdict,
            "sentence": self.sentence,
            "effect_size": {"name": "Hedges' g", "value": self.effect_size},
            "detectable": self.detectable,
            "members_needed": self.members_needed,
            "beside": [asdict(evidence) for evidence in self.beside],
            "notes": list(self.notes),
        }


@dataclass(frozen=True)
class Comparison:
    """All that `nnexp compare` shows. warnings come first: they limit what the rest says."""

    metric: str
    split: str
    higher_is_better: bool
    margin: float | None
    sides: tuple[Side, ...]
    config: tuple[ConfigDifference, ...]
    checks: tuple[Check, ...]
    warnings: tuple[str, ...]
    pairs: tuple[Pair, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain data with NaN as None; of a single pair its keys stand at the top as well."""
        data = {
            "metric": self.metric,
            "split": self.split,
            "higher_is_better": self.higher_is_better,
            "margin": self.margin,
            "warnings": list(self.warnings),
            "runs": [asdict(side) for side in self.sides],
            "config": [asdict(row) for row in self.config],
            "checks": [asdict(check) for check in self.checks],
            "pairs": [pair.to_json() for pair in self.pairs],
        }
        if len(self.pairs) == 1:
            data |= {k: v for k, v in self.pairs[0].to_json().items() if k not in ("a", "b")}
        plain: dict[str, Any] = _plain(data)
        return plain


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value
