"""Whether train, dev and test are apart, and alike."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from nnexp.checks.verdict import Verdict, judged
from nnexp.components.preprocessing.columns import shown
from nnexp.components.table import Features, Table
from nnexp.data.splitter import Splitter
from nnexp.data.suspicions import repeat_by_themselves, repeats, shifts

_MANY = 0.1
_FAR = 0.5


def check_parts(split: Splitter, table: Table, parts: Mapping[str, np.ndarray]) -> list[Verdict]:
    """Verdicts on what `nnexp train` says in notes, as far as that is a question of the task."""
    found = []
    if table.task != "words":
        found.append(_twins(table.features, parts))
    reads = bool(table.sequences) or table.task == "words"
    if not reads and {"dev", "test"} <= parts.keys():
        found.append(_alike(split, table, parts["dev"], parts["test"]))
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
        advice="remove repeated rows before splitting, or keep them together (`split: grouped`): "
        "as it is, scores flatter",
    )


def _alike(split: Splitter, table: Table, dev: np.ndarray, test: np.ndarray) -> Verdict:
    """Whether dev and test are of one distribution, column by column."""
    name = "dev against test"
    if split.is_random(table):
        return Verdict(name, "pass", "both are drawn at random from the same examples")
    found = shifts(split, table, dev, test)
    if not found:
        return Verdict(name, "pass", "no column is distributed differently")
    most = max(found, key=lambda shift: shift.distance)
    return judged(
        name,
        f"not alike in {shown([shift.name for shift in found])}: their distributions are up to "
        f"{most.distance:.2f} apart (1: nothing in common), most by {most.name}",
        look=True,
        fail=most.distance > _FAR and split.component != "ordered",
        advice="what is best on dev may not be on test: draw both from the data you will meet",
    )
