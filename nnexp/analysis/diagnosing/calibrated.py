"""Whether a classifier's probabilities mean what they say: of what it gives 80 %, 80 % are right.

Confidence is the probability of what is predicted. Its mean held against the share that is right
tells over- from underconfidence; the calibration error (ECE) also sees what cancels in the mean. Of
labels it holds each one's probability, high or low, against how often such a label is there.
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
from nnexp.analysis.probabilities import (
    BINS,
    LOG_ODDS,
    answers,
    binned,
    log_probabilities,
    loss_name,
    of_log_odds,
    outputs_of,
    places,
    sureness,
)
from nnexp.analysis.results import Result
from nnexp.errors import NnexpError
from nnexp.stats import FloatArray

Targets = np.ndarray[Any, np.dtype[Any]]

TOPIC = "calibration"
_MATTERS = 0.02
"""A difference of confidence and accuracy below this is of no account, unless it is as large as
half of the mistakes."""
_LEAST = 0.005
_RATIO = (math.sqrt(5.0) - 1.0) / 2.0

OVER, UNDER, UNEVEN, GOOD = "overconfident", "underconfident", "unevenly calibrated", "calibrated"

_IN_TRAINING = {
    OVER: "In training, early stopping and label smoothing make it less sure.",
    UNDER: "In training, more epochs and less smoothing or dropout make it surer.",
    UNEVEN: "Don't act on the probabilities as they are: more dev examples tell where they err.",
}


@dataclass(frozen=True)
class Calibration:
    """confidence, accuracy: means. ece: the calibration error. by_chance: what it would be, on
    average, of perfect probabilities with so few examples. error: of the mean confidence, if it is
    right. temperature: what the outputs should be divided by; None where they are no log-odds.
    after: the calibration error with it.
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
        matters = max(_LEAST, min(_MATTERS, (1.0 - self.accuracy) / 2))
        if abs(gap) >= matters and abs(gap) > 1.96 * self.error:
            return OVER if gap > 0 else UNDER
        return UNEVEN if self.ece >= _MATTERS and self.ece > 2 * self.by_chance else GOOD


def calibrate(
    chances: FloatArray, targets: Targets, logits: FloatArray | None = None
) -> Calibration:
    """chances, targets: as `answers` has them. logits: the log-odds that chances were made of."""
    said, came = sureness(chances, targets)
    confidence, right = said, came
    if targets.ndim == 2:  # of a label it is as sure that it isn't there
        confidence, right = np.maximum(said, 1 - said), ((said > 0.5) == came).astype(np.float64)
    temperature = after = None
    if logits is not None:
        temperature = fit_temperature(logits, targets)
        after = binned(
            *sureness(of_log_odds(logits / temperature, targets.ndim == 2), targets)
        ).error
    return Calibration(
        float(confidence.mean()),
        float(right.mean()),
        binned(said, came).error,
        _by_chance(said),
        math.sqrt(float((said * (1 - said)).sum())) / len(said),
        temperature,
        after,
    )


def _by_chance(said: FloatArray) -> float:
    """Expected calibration error of perfect probabilities: of a normal, E|x| = σ √(2/π)."""
    variance = np.bincount(places(said), weights=said * (1 - said), minlength=BINS)
    return float(np.sqrt(variance).sum() * math.sqrt(2 / math.pi) / len(said))


def fit_temperature(outputs: FloatArray, targets: Targets) -> float:
    """The temperature from 0.05 to 20 with the least mean −log probability of the targets.

    Golden sections of log T: the loss has one minimum, as it is convex in 1/T.
    """
    if targets.ndim == 2:  # labels: each is a yes or no of its own
        outputs, targets = outputs.reshape(-1, 1), targets.ravel()
    rows, columns = np.arange(len(targets)), targets.astype(int)

    def loss(log: float) -> float:
        return -float(log_probabilities(outputs / math.exp(log))[rows, columns].mean())

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


# -- runs ------------------------------------------------------------------------------------------


def of_run(run: Result, split: str) -> Calibration | None:
    """A run's calibration on a split; None without probabilities. Raises as `answers`."""
    found = answers(run, split)
    if found is None:
        return None
    return calibrate(*found, outputs_of(run, split) if loss_name(run) in LOG_ODDS else None)


def calibration(runs: Sequence[Result], split: str) -> Remark | None:
    """Whether the probabilities of a classifier can be trusted; None of what gives none."""
    if runs[0].summary.get("task") not in ("classification", "multilabel"):
        return None
    known, why = list[Calibration](), ""
    for run in runs:
        try:
            found = of_run(run, split)
        except NnexpError as error:
            why = f"{error}."
            continue
        if found is None:
            why = f"The outputs of {loss_name(run)} are scores, not probabilities."
        else:
            known.append(found)
    return _remark(known, split) if known else unknown(TOPIC, why)


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
