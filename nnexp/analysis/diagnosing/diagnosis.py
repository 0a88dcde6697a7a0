"""What a finished run or group tells about itself: a remark on each topic, with the next step."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from nnexp.analysis.comparing.findings import counted, shared, statistic_of
from nnexp.analysis.diagnosing.bias_variance import LOW_BOTH, bias_variance
from nnexp.analysis.diagnosing.calibrated import calibration
from nnexp.analysis.diagnosing.curves import (
    IMPROVING,
    NONE_SEEN,
    WORSENING,
    end_noise,
    overfitting,
    progress,
    stops_early,
    train_direction,
)
from nnexp.analysis.diagnosing.layers import layer_health
from nnexp.analysis.diagnosing.measure import parsed
from nnexp.analysis.diagnosing.mistakes import confused_classes, predictions_of, worst_examples
from nnexp.analysis.diagnosing.plan import DIVERGENCE, Step, next_step
from nnexp.analysis.diagnosing.remark import Remark, of_members
from nnexp.analysis.diagnosing.remedies import lower_rate
from nnexp.analysis.diagnosing.start import seen_at_start
from nnexp.analysis.results import Result, read_result
from nnexp.errors import NnexpError, count


@dataclass(frozen=True)
class Diagnosis:
    """The remarks on a run, or over the members of a group.

    split: on which part what is not training was judged: dev, or test if there is no dev.
    next: the one step to take first.
    """

    path: Path
    kind: str
    members: int
    split: str
    remarks: tuple[Remark, ...]
    next: Step

    def to_json(self) -> dict[str, Any]:
        return {
            "path": self.path,
            "kind": self.kind,
            "members": self.members,
            "split": self.split,
            "remarks": [remark.to_json() for remark in self.remarks],
            "next": self.next.to_json(),
        }


def diagnose(run: Path | Result, best_possible: str | float | None = None) -> Diagnosis:
    """Look at what a run or group left, without torch.

    run: its directory, or what was read of it. best_possible: the error that nobody can beat: a
    share, per cent with a %, or an rmse or mae in the target's units. Raises UsageError (it is
    none), and as `read_result` does.
    """
    if best_possible is not None:
        parsed(best_possible)
    result = read_result(run) if isinstance(run, Path) else run
    split = "dev" if result.part("dev") else "test"
    remarks = tuple(_remarks(result, split, best_possible))
    return Diagnosis(
        result.path,
        result.kind,
        len(result.runs),
        split,
        remarks,
        next_step(result, split, remarks),
    )


def _remarks(result: Result, split: str, best_possible: str | float | None) -> Iterator[Remark]:
    task, primary = str(result.summary.get("task")), str(result.summary.get("primary"))
    if any(run.status == "diverged" for run in result.runs):
        yield _diverged(result)
    if not result.alive:
        return
    if (told := seen_at_start(result)) is not None:
        yield told
    rise = overfitting(result, split)
    overfits = rise.grade != "unknown" and rise.verdict != NONE_SEEN
    end = progress(result, split, overfits)
    if result.part(split):
        worse = rise.grade == "bad" or end.verdict == WORSENING
        # Early stopping goes on for as long as dev gains, whatever the training loss does.
        watched = end.verdict if stops_early(result) else train_direction(result)
        improving = not overfits and IMPROVING in (end.verdict, watched)
        gap = bias_variance(result, split, best_possible, worse, improving)
        yield gap
        if (
            gap.verdict == LOW_BOTH and end.verdict == IMPROVING
        ):  # it would gain nothing to speak of
            end = replace(end, grade="good", advice="", step="", command="")
    yield rise
    yield end
    yield end_noise(result, split, primary, sampling_error(result, split, primary))
    if found := layer_health(result):
        yield found
    predictions, labels = predictions_of(result, split), _labels(result.alive[0])
    yield worst_examples(predictions, split, task)
    loss = result.alive[0].config.get("loss")
    weighed = isinstance(loss, dict) and loss.get("class_weights") is not None
    if (confused := confused_classes(predictions, split, task, labels, weighed)) is not None:
        yield confused
    if (calibrated := calibration(result.alive, split)) is not None:
        yield calibrated


def _labels(run: Result) -> tuple[str, ...]:
    """The names of a multilabel run's labels, if it tells them."""
    try:
        names = run.stored.get("target_names")
    except NnexpError:
        return ()
    return tuple(map(str, names)) if isinstance(names, list) else ()


def _diverged(result: Result) -> Remark:
    """When training blew up, and how it looked before."""
    gone = [run for run in result.runs if run.status == "diverged"]
    epochs = [int(run.summary.get("epochs") or 0) for run in gone]
    text = f"The model diverged after {count(epochs[0], 'epoch')}."
    if result.members:
        first = count(min(epochs), "epoch")
        text = f"{of_members(len(gone), len(result.runs))} diverged, the first after {first}."
    if any(run in result.alive for run in gone):
        text += " What follows counts weights from before, which early stopping kept."
    elif result.alive:
        text += " What follows is about the others."
    numbers = {"diverged": len(gone), "epochs": epochs}
    return Remark(DIVERGENCE, "diverged", "bad", text, *lower_rate(result), numbers)


def sampling_error(result: Result, split: str, metric: str) -> float | None:
    """Standard error of the metric by the chance of the split's examples; None if it isn't known.

    Of a group over splits it is the mean of its members'.
    """
    by_examples = statistic_of(result, metric)
    if by_examples is None:
        return None
    try:
        rows = [run.predictions(split) for run in counted(result, split, metric)]
        if not rows:
            return None
        if result.manifest.get("varies") != "split":
            rows = list(shared(rows))
        each = [by_examples.influence(by_examples.moments(p)) for p in rows if len(p) > 1]
        errors = [float(x.std(ddof=1)) / math.sqrt(len(x)) for x in each]
    except NnexpError:
        return None
    return float(np.mean(errors)) if errors else None
