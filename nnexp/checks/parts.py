"""Whether train, dev and test are apart, and alike."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from nnexp.checks.shift import alike
from nnexp.checks.verdict import Verdict, judged
from nnexp.components.table import Features, Table
from nnexp.data.prepare import Prepared
from nnexp.data.splitter import Splitter
from nnexp.data.suspicions import repeat_by_themselves, repeats

_MANY = 0.05


def check_parts(split: Splitter, table: Table, prepared: Prepared) -> list[Verdict]:
    """Verdicts on the split, as far as they are questions of the task."""
    found, parts = list[Verdict](), prepared.parts
    if table.task != "words":
        found.append(_twins(table.features, parts))
    reads = bool(table.sequences) or table.task == "words"
    if not reads and {"dev", "test"} <= parts.keys():
        found.append(alike(split, table, prepared))
    return found


def _twins(features: Features, parts: Mapping[str, np.ndarray]) -> Verdict:
    """Whether examples of one part have, in all their features, a twin in another part."""
    found = repeats(features, parts)
    natural = repeat_by_themselves(features, parts["train"])
    worst = max((repeat.share for repeat in found), default=0.0)
    text = "; ".join(f"{r.share:.1%} of {r.other} is in {r.one}, too" for r in found) or "none"
    if found and natural:
        text += " (columns of few values, which repeat by themselves)"
    return judged(
        "same example in two splits",
        text,
        look=worst > 0 and not natural,
        fail=worst >= _MANY and not natural,
        advice="remove repeated rows before splitting, or name a column that is the same for all "
        "that belong together (`split: {name: grouped, by: COLUMN}`): as it is, scores flatter",
    )
