"""Whether a classifier's probabilities mean what they say: of what it gives 80 %, 80 % are right.

Confidence is the probability of what is predicted. Its mean held against the share that is right
tells over- from underconfidence; the calibration error (ECE) also sees what cancels in the mean.
One number mends most of it: the outputs are divided by a temperature, fitted on dev (Guo, Pleiss,
Sun & Weinberger 2017, "On calibration of modern neural networks").
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nnexp.analysis.diagnosing.remark import Grade, Remark, majority, over, share, unknown, votes
from nnexp.analysis.results import Result
from nnexp.errors import DamagedRun, NnexpError
from nnexp.runs.rundir import RunDir
from nnexp.stats import FloatArray

TOPIC = "calibration"
BINS = 15
"""Of equal width of confidence, as the metric `calibration_error` has them."""
_MATTERS = 0.02
"""A difference of confidence and accuracy below this is of no account."""
_RATIO = (math.sqrt(5.0) - 1.0) / 2.0

LOSSES = ("cross_entropy", "binary_cross_entropy", "multilabel_bce")
"""Losses whose outputs are log-odds."""

OVER, UNDER, UNEVEN, GOOD = "overconfident", "underconfident", "unevenly calibrated", "calibrated"

_IN_TRAINING = {
    OVER: "In training, early stopping and label smoothing make it less sure.",
    UNDER: "In training, more epochs and less smoothing or dropout make it surer.",
    UNEVEN: "Don't act on the probabilities as they are: more dev examples tell where they err.",
}


@dataclass(frozen=True)
class Calibration:
    """confidence, accuracy: means. ece: the calibration error. by_chance: what it would be, on
    average, of perfect probabilities with so few examples. temperature: what the outputs should be
    divided by; None where the classes' order is not known. after: the calibration error with it.
    """

    confidence: float
    accuracy: float
    ece: float
    by_chance: float
    error: float
    temperature: float | None = None
    after: float | None = None

    @property
    def verdict(self) -> str:
        """Sure if it is beyond 1.96 standard errors (the mean) or twice what chance gives (ECE)."""
        gap = self.confidence - self.accuracy
        if abs(gap) >= _MATTERS and abs(gap) > 1.96 * self.error:
            return OVER if gap > 0 else UNDER
        return UNEVEN if self.ece >= _MATTERS and self.ece > 2 * self.by_chance else GOOD


def calibration_error(confidence: FloatArray, right: FloatArray, bins: int = BINS) -> float:
    """Σ_bins n_b/N · |accuracy_b − confidence_b| over bins (low, high] of equal width."""
    places = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    sums = np.bincount(places, weights=right - confidence, minlength=bins)
    return float(np.abs(sums).sum() / len(confidence))


def _by_chance(confidence: FloatArray, bins: int = BINS) -> float:
    """Expected calibration error of perfect probabilities: of a normal, E|x| = σ √(2/π)."""
    places = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    variance = np.bincount(places, weights=confidence * (1 - confidence), minlength=bins)
    return float(np.sqrt(variance).sum() * math.sqrt(2 / math.pi) / len(confidence))


def calibrate(outputs: FloatArray, right: FloatArray, target: FloatArray | None) -> Calibration:
    """outputs: logits of the classes `[N, C]`, or of yes against no `[N, 1]`. right: 1 where the
    prediction is, `[N]`. target: the right column, `[N]`; None if it isn't known.
    """
    confidence = np.exp(_log_probabilities(outputs)).max(axis=1)
    error = math.sqrt(float((confidence * (1 - confidence)).sum())) / len(confidence)
    temperature = after = None
    if target is not None:
        temperature = fit_temperature(outputs, target)
        cooled = np.exp(_log_probabilities(outputs / temperature)).max(axis=1)
        after = calibration_error(cooled, right)
    return Calibration(
        float(confidence.mean()),
        float(right.mean()),
        calibration_error(confidence, right),
        _by_chance(confidence),
        error,
        temperature,
        after,
    )


def fit_temperature(outputs: FloatArray, target: FloatArray) -> float:
    """The temperature from 0.05 to 20 with the least mean −log probability of the targets.

    Golden sections of log T: the loss has one minimum, as it is convex in 1/T.
    """
    rows, columns = np.arange(len(target)), target.astype(int)

    def loss(log: float) -> float:
        return -float(_log_probabilities(outputs / math.exp(log))[rows, columns].mean())

    low, high = math.log(0.05), math.log(20.0)
    a, b = high - _RATIO * (high - low), low + _RATIO * (high - low)
    at_a, at_b = loss(a), loss(b)
    while high - low > 1e-4:
        if at_a <= at_b:
            high, b, at_b = b, a, at_a
            a = high - _RATIO * (high - low)
            at_a = loss(a)
        else:
            low, a, at_a = a, b, at_b
            b = low + _RATIO * (high - low)
            at_b = loss(b)
    return math.exp((low + high) / 2)


def _log_probabilities(outputs: FloatArray) -> FloatArray:
    """`[N, C]`; of a single output those of no and of yes."""
    if outputs.shape[1] == 1:
        outputs = np.hstack([np.zeros_like(outputs), outputs])
    shifted = outputs - outputs.max(axis=1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))


# -- runs ------------------------------------------------------------------------------------------


def of_run(run: Result, split: str) -> Calibration | None:
    """A run's calibration on a split; None if its outputs are of no use."""
    rows = run.predictions(split)
    outputs = run.outputs(split)
    if len(rows) == 0 or not np.isfinite(outputs).all():
        return None
    if "target_0" in rows.columns:  # labels: each is a yes or no of its own
        target = rows.numbers("target").reshape(-1)
        if target.size != outputs.size or not np.isin(target, (0, 1)).all():
            raise DamagedRun(f"{rows.path}: the targets don't go with the outputs")
        right = (rows.numbers("prediction").reshape(-1) == target).astype(np.float64)
        return calibrate(outputs.reshape(-1, 1), right, target)
    right = (rows.texts("target") == rows.texts("prediction")).astype(np.float64)
    return calibrate(outputs, right, _columns(run, rows.columns["target"], outputs.shape[1]))


def _columns(run: Result, targets: Sequence[str], outputs: int) -> FloatArray | None:
    """The output of each target; None if the run doesn't tell the classes."""
    try:
        classes: Any = RunDir(run.path).read_json("preprocessing.json").get("classes")
    except NnexpError:
        return None
    if not isinstance(classes, list) or len(classes) != max(outputs, 2):
        return None
    order = {str(name): place for place, name in enumerate(classes)}
    if not all(target in order for target in targets):
        return None
    return np.array([order[target] for target in targets], dtype=np.float64)


def calibration(runs: Sequence[Result], split: str) -> Remark | None:
    """Whether the probabilities of a classifier can be trusted; None of what gives none."""
    first = runs[0]
    loss = first.config.get("loss")
    name = loss.get("name") if isinstance(loss, dict) else loss
    if first.summary.get("task") not in ("classification", "multilabel"):
        return None
    if name not in LOSSES:
        return unknown(TOPIC, f"The outputs of {name} are scores, not probabilities.")
    try:
        known = [one for run in runs if (one := of_run(run, split)) is not None]
    except NnexpError:
        known = []
    if not known:
        return unknown(TOPIC, f"There are no outputs on {split}.")
    return _remark(known, split)


def _remark(known: Sequence[Calibration], split: str) -> Remark:
    found = [one.verdict for one in known]
    verdict = majority(found)
    eces = [one.ece for one in known]
    text = (
        f"On {split} it is {share(float(np.mean([c.confidence for c in known])))} sure on average "
        f"and {share(float(np.mean([c.accuracy for c in known])))} right; calibration error (ECE) "
        f"{over(eces, '.3f')}, {np.mean([c.by_chance for c in known]):.3f} by chance alone"
    )
    text += f"; {divided}." if (divided := votes(found)) else "."
    temperatures = [one.temperature for one in known if one.temperature is not None]
    after = [one.after for one in known if one.after is not None]
    advice = ""
    if verdict != GOOD and after and np.mean(after) < 0.9 * np.mean(eces):
        advice = (
            f"Divide the outputs by a temperature of {over(temperatures, '.3g')}, fitted on {split}"
            f": ECE {over(after, '.3f')}. "
        )
    if verdict != GOOD:
        advice += _IN_TRAINING[verdict]
    numbers = {
        "confidence": [c.confidence for c in known],
        "accuracy": [c.accuracy for c in known],
        "ece": eces,
        "ece_by_chance": [c.by_chance for c in known],
        "temperature": temperatures,
        "ece_after": after,
        "members": found,
    }
    grade: Grade = "good" if verdict == GOOD else "look"
    return Remark(TOPIC, verdict, grade, text, advice, numbers=numbers)
