"""The checks that cost next to nothing once a training is prepared, and what is said of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nnexp.checks.data import check_data
from nnexp.checks.verdict import Verdict, counted
from nnexp.components.table import Table
from nnexp.lazy import torch
from nnexp.train.loop import Pack

_EXAMPLES = 256
_EFFORT = 0.1


def check_start(table: Table, pack: Pack, params: torch.Tensor) -> list[Verdict]:
    """Verdicts on the data and the first loss of a pack's first member, which are only read.

    The split is left out: what is wrong with it stands among the notes of the plan.
    table: its data as they were read. params: the parameters that training starts from, `[M, P]`.
    """
    from nnexp.checks.learning import first_loss
    from nnexp.checks.subject import Subject

    subject = Subject.of(pack, params)
    with np.errstate(all="ignore"):  # odd data are for the checks to tell
        found = check_data(subject.experiment, table, subject.prepared, _EFFORT)
    return [*found, first_loss(subject, max(2, min(_EXAMPLES, pack.batch)))]


def in_a_line(verdicts: Sequence[Verdict], config: object) -> str:
    """What the verdicts come to; below it, the first of the worst of them, if it is no `pass`."""
    line = f"checks: {counted(verdicts)} (nnexp check {config} says more)"
    for judgement in ("fail", "look"):
        for verdict in verdicts:
            if verdict.verdict == judgement:
                return f"{line}\n{judgement}: {verdict.name}: {verdict.text}; {verdict.advice}"
    return line
