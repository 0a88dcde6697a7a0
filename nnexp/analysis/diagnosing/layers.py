"""Whether signals and gradients kept a healthy size in every layer, from a run's health.csv."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from nnexp.analysis.diagnosing.remark import Remark, share
from nnexp.analysis.diagnosing.remedies import mend_layers
from nnexp.analysis.results import Result, read_rows
from nnexp.errors import DamagedRun, count

TOPIC = "layers"
HEALTHY = "healthy"
FILE = "health.csv"

DEAD, SATURATED = 0.2, 0.5
"""Shares of units, and of outputs, that are too many."""
VANISHING = 1e-3
"""The smallest gradient of a layer as a share of the largest one's."""
BIG_UPDATE = 0.1
"""An update as a share of the weights; about 0.001 is usual."""

Table = dict[str, list[dict[str, float]]]
"""The recordings of each layer, in the order of the network."""


@dataclass(frozen=True)
class Trouble:
    """What is wrong with a layer.

    kind: in a word. epoch: of the first recording that shows it.
    """

    kind: str
    layer: str
    epoch: int
    text: str


def read_health(run: Result) -> Table | None:
    """health.csv; None if the run has none. Raises DamagedRun."""
    file = run.path / FILE
    if not file.exists():
        return None
    header, rows = read_rows(run.path, FILE)
    wrong = f"{file} should have the columns epoch, a number, and layer in every row"
    if not {"epoch", "layer"} <= set(header):
        raise DamagedRun(wrong)
    place = header.index("layer")
    numbers = [i for i, name in enumerate(header) if name not in ("layer", "step")]
    table: Table = {}
    try:
        for row in rows:
            known = {header[i]: float(row[i] or "nan") for i in numbers}
            if not row[place] or not math.isfinite(known["epoch"]):
                raise DamagedRun(wrong)
            table.setdefault(row[place], []).append(known)
    except ValueError as error:
        raise DamagedRun(f"{file}: there should be a number: {error}") from None
    return table


def troubles(table: Table) -> list[Trouble]:
    """What is wrong with which layers, at the last recording."""
    found = []
    for layer, rows in table.items():
        for kind, column, limit, text in _LIMITS:
            if rows[-1].get(column, math.nan) > limit:
                seen = _since(rows, column, limit)
                told = text.format(layer=layer, value=share(rows[-1][column]))
                found.append(Trouble(kind, layer, seen, told))
    return [*found, *_vanishing(table)]


_LIMITS = (
    ("dead units", "dead", DEAD, "{value} of the units of {layer} are 0 for every example"),
    ("saturated", "saturated", SATURATED,
     "{value} of the outputs of {layer} are where its slope is nearly 0"),
    ("updates too large", "update", BIG_UPDATE,
     "an update changes the weights of {layer} by {value}"),
)  # fmt: skip


def _since(rows: Sequence[dict[str, float]], column: str, limit: float) -> int:
    """The epoch of the first of the last recordings that are all above the limit."""
    first = rows[-1]
    for row in reversed(rows):
        if not row.get(column, math.nan) > limit:
            break
        first = row
    return int(first["epoch"])


def _vanishing(table: Table) -> list[Trouble]:
    """Whether the gradient of the first layers is far smaller than that of the last ones."""
    known = [
        (layer, rows[0]["gradient"], int(rows[0]["epoch"]))
        for layer, rows in table.items()
        if rows[0].get("gradient", math.nan) >= 0
    ]
    if len(known) < 2:
        return []
    (first, small, epoch), (last, large, _) = known[0], known[-1]
    if large == 0:  # nothing is left to learn, or nothing comes out
        return []
    ratio = small / large
    if VANISHING < ratio < 1 / VANISHING:
        return []
    kind, one, other = "vanishing gradient", first, last
    if ratio > 1:
        kind, one, other, ratio = "exploding gradient", last, first, 1 / ratio
    text = f"the gradient of {one} was {ratio:.1g} of that of {other}"
    return [Trouble(kind, one, epoch, text)]


def layer_health(result: Result) -> Remark | None:
    """Unhealthy layers over time, over a group's members; None if nothing was recorded."""
    tables = [table for run in result.alive if (table := read_health(run))]
    if not tables:
        return None
    found = [trouble for table in tables for trouble in troubles(table)]
    layers = list(dict.fromkeys(layer for table in tables for layer in table))
    if not found:
        text = f"Signals and gradients of {count(len(layers), 'layer')} kept a healthy size."
        return Remark(TOPIC, HEALTHY, "good", text, numbers={"troubles": []})
    kinds = list(dict.fromkeys(trouble.kind for trouble in found))
    told = []
    for kind in kinds:
        same = [trouble for trouble in found if trouble.kind == kind]
        where = list(dict.fromkeys(trouble.layer for trouble in same))
        more = f" (and {count(len(where) - 1, 'layer')} more)" if len(where) > 1 else ""
        told.append(f"{same[0].text}, first seen at epoch {same[0].epoch}{more}")
    text = "; ".join(told)
    text = f"{text[0].upper()}{text[1:]}."
    numbers = {"troubles": [vars(trouble) for trouble in found]}
    return Remark(TOPIC, ", ".join(kinds), "look", text, *mend_layers(kinds[0], result), numbers)
