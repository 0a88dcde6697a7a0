"""All checks, from the cheapest to the dearest; none of them writes anything."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, get_args

from nnexp.checks.data import check_data
from nnexp.checks.parts import check_parts
from nnexp.checks.rates import RangeTest
from nnexp.checks.verdict import Judgement, Verdict
from nnexp.config.experiment import Experiment
from nnexp.data.prepare import Prepared
from nnexp.errors import DataError
from nnexp.runs.plan import load, located, prepared_for, resolved_for, signature
from nnexp.train.blueprint import check_model


@dataclass
class Checked:
    """What the checks found. curve: the learning-rate range test; None if it was not made."""

    verdicts: list[Verdict] = field(default_factory=list)
    curve: RangeTest | None = None

    def count(self, verdict: Judgement) -> int:
        """How many checks came to this verdict."""
        return sum(v.verdict == verdict for v in self.verdicts)

    def to_json(self) -> dict[str, Any]:
        """As plain data.

        `checks`: of each, in their order, name, verdict, text, and advice ("" if it passed).
        `counts`: how many `pass`, `look` and `fail`. `range_test`: null, or lists `lr` and `loss`
        (smoothed) of its updates, and the rates `low` and `high` between which the loss falls and
        `diverged` at which it had left, null where it never did.
        """
        curve = None
        if self.curve is not None:
            bounds = {key: getattr(self.curve, key) for key in ("low", "high", "diverged")}
            curve = {"lr": self.curve.rates, "loss": self.curve.losses, **bounds}
        return {
            "checks": [asdict(verdict) for verdict in self.verdicts],
            "counts": {judgement: self.count(judgement) for judgement in get_args(Judgement)},
            "range_test": curve,
        }


def check(
    experiment: Experiment,
    folder: Path,
    told: Callable[[Verdict], None] = lambda _: None,
) -> Checked:
    """Run every check of an experiment.

    folder: what relative paths in it are relative to. told: gets each verdict as it is found.
    Raises ConfigError, and DataError if the data can't be read; data that are read and can't be
    used are a verdict.
    """
    experiment = located(experiment, folder)
    table = load(experiment)
    found = Checked()

    def note(verdict: Verdict) -> None:
        found.verdicts.append(verdict)
        told(verdict)

    try:
        resolved = resolved_for(experiment, table)
        prepared = prepared_for(resolved, table)
    except DataError as error:
        note(Verdict("data", "fail", str(error), "correct the data, or how they are prepared"))
        return found
    check_model(resolved, signature(prepared))
    for verdict in check_data(resolved, table, prepared):
        note(verdict)
    for verdict in check_parts(resolved.data.split, table, prepared):
        note(verdict)
    _check_network(resolved, prepared, found, note)
    return found


def _check_network(
    experiment: Experiment,
    prepared: Prepared,
    found: Checked,
    note: Callable[[Verdict], None],
) -> None:
    """The checks that run the network, which need torch."""
    from nnexp.checks import cost, gradients, learning, rates, signals
    from nnexp.checks.subject import Subject
    from nnexp.train.device import choose_device, suitable_threads

    where = choose_device(experiment.training.device)
    memory = cost.check_memory(experiment, prepared, where)
    note(memory)
    if memory.verdict == "fail":
        return
    subject = Subject(experiment, prepared, where)
    with suitable_threads(subject.pack.program([0])):
        note(learning.first_loss(subject))
        for verdict in signals.check_signals(subject):
            note(verdict)
        note(gradients.check_gradient(subject))
        note(learning.overfits(subject))
        note(learning.regularization(subject))
        found.curve = rates.range_test(subject)
        note(rates.check_rate(subject, found.curve))
        note(cost.check_time(subject))
