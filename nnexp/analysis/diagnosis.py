"""What a finished run or group tells about itself: a remark on each topic, with the next step."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nnexp.analysis.bias_variance import bias_variance
from nnexp.analysis.calibrated import calibration
from nnexp.analysis.curves import IMPROVING, end_noise, overfitting, progress
from nnexp.analysis.findings import counted, shared, statistic_of
from nnexp.analysis.layers import layer_health
from nnexp.analysis.mistakes import confused_classes, predictions_of, worst_examples
from nnexp.analysis.remark import Remark, of_members
from nnexp.analysis.results import Result, read_result
from nnexp.errors import NnexpError, UsageError, count
from nnexp.runs.rundir import RunDir


@dataclass(frozen=True)
class Diagnosis:
    """The remarks on a run, or over the members of a group.

    split: on which part what is not training was judged: dev, or test if there is no dev.
    """

    path: Path
    kind: str
    members: int
    split: str
    remarks: tuple[Remark, ...]

    def to_json(self) -> dict[str, Any]:
        return {
            "path": self.path,
            "kind": self.kind,
            "members": self.members,
            "split": self.split,
            "remarks": [remark.to_json() for remark in self.remarks],
        }


def diagnose(path: Path, best_possible: float | None = None) -> Diagnosis:
    """Look at what a run or group left, without torch.

    best_possible: the error that nobody can beat, in the units of the error that is reported.
    Raises UsageError (a best possible error below 0), and as `read_result` does.
    """
    if best_possible is not None and not 0 <= best_possible < math.inf:
        raise UsageError(
            f"--best-possible: should be an error of 0 or more, such as 0.02; got {best_possible:g}"
        )
    result = read_result(path)
    split = "dev" if result.part("dev") else "test"
    remarks = tuple(_remarks(result, split, best_possible))
    return Diagnosis(path, result.kind, len(result.runs), split, remarks)


def _remarks(result: Result, split: str, best_possible: float | None) -> Iterator[Remark]:
    task, primary = str(result.summary.get("task")), str(result.summary.get("primary"))
    alive = tuple(run for run in result.runs if run.status != "diverged")
    if len(alive) < len(result.runs):
        yield _diverged(result, bool(alive))
    if not alive:
        return
    end = progress(result, split)
    if result.part(split):
        yield bias_variance(result, split, best_possible, end.verdict == IMPROVING)
    yield overfitting(result, split)
    yield end
    yield end_noise(result, split, primary, sampling_error(result, split, primary))
    if found := layer_health(alive):
        yield found
    predictions = predictions_of(result, split)
    yield worst_examples(predictions, split, task)
    if (confused := confused_classes(predictions, split, task, _labels(alive[0]))) is not None:
        yield confused
    if (calibrated := calibration(alive, split)) is not None:
        yield calibrated


def _labels(run: Result) -> tuple[str, ...]:
    """The names of a multilabel run's labels, if it tells them."""
    try:
        names = RunDir(run.path).read_json("preprocessing.json").get("target_names")
    except NnexpError:
        return ()
    return tuple(map(str, names)) if isinstance(names, list) else ()


def _diverged(result: Result, alive: bool) -> Remark:
    """When training blew up, and how it looked before."""
    gone = [run for run in result.runs if run.status == "diverged"]
    epochs = [int(run.summary.get("epochs") or 0) for run in gone]
    text = f"The model diverged after {count(epochs[0], 'epoch')}."
    if result.members:
        first = count(min(epochs), "epoch")
        text = f"{of_members(len(gone), len(result.runs))} diverged, the first after {first}."
    if alive:
        text += " What follows is about the others."
    rate = (result.config.get("optimizer") or {}).get("lr")
    lower = f"--set optimizer.lr={rate / 10:g}" if isinstance(rate, float) else "a lower rate"
    advice = (
        f"Train with {lower}, or clip: --set training.clip_grad_norm=1; a warm-up helps where only "
        "the first updates are too large."
    )
    numbers = {"diverged": len(gone), "epochs": epochs}
    return Remark("divergence", "diverged", "bad", text, advice, numbers)


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
