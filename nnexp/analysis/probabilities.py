"""With what probability a run says what it says: its stored outputs, as its loss means them.

What holds probabilities against what came is here too: the bins of a reliability diagram and the
calibration error, so that everything that shows it shows the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nnexp.analysis.results import Result
from nnexp.components.losses.loss import Loss
from nnexp.errors import DamagedRun, RunError
from nnexp.lazy import torch
from nnexp.registry import choose
from nnexp.runs.plugged import check_plugins
from nnexp.runs.rundir import RunDir
from nnexp.stats import FloatArray

LOG_ODDS = ("cross_entropy", "binary_cross_entropy", "multilabel_bce")
"""Losses whose outputs are log-odds, so that no torch is needed to read them."""
BINS = 15
"""Of equal width, as the metric `calibration_error` has them."""


# -- outputs ---------------------------------------------------------------------------------------


def loss_name(run: Result) -> str:
    loss = run.config.get("loss")
    return str(loss.get("name") if isinstance(loss, Mapping) else loss)


def is_multilabel(run: Result) -> bool:
    return run.summary.get("task") == "multilabel"


def means_probabilities(run: Result) -> bool:
    """Whether the run's loss makes probabilities of its outputs."""
    if run.summary.get("task") not in ("classification", "multilabel"):
        return False
    return loss_name(run) in LOG_ODDS or type(_loss(run)).probabilities is not Loss.probabilities


def names_of(run: Result) -> tuple[str, ...]:
    """The classes, or the labels."""
    key = "target_names" if is_multilabel(run) else "classes"
    names = run.stored.get(key)
    if not isinstance(names, list) or not names:
        raise DamagedRun(f"{run.path / 'preprocessing.json'}: it should name the {key}")
    return tuple(map(str, names))


def outputs_of(run: Result, split: str) -> FloatArray:
    """`[N, outputs]`; RunError if there are none, or they are not all finite."""
    outputs = run.outputs(split)
    if not len(outputs):
        raise RunError(f"{run.path}: there are no predictions on {split}")
    if not np.isfinite(outputs).all():
        raise RunError(f"{run.path}: its outputs on {split} are not all finite numbers")
    return outputs


def log_probabilities(outputs: FloatArray) -> FloatArray:
    """Of classes, `[N, C]`, from log-odds; of a single output those of no and of yes."""
    from scipy.special import log_softmax

    if outputs.shape[1] == 1:
        outputs = np.hstack([np.zeros_like(outputs), outputs])
    return np.asarray(log_softmax(outputs, axis=1))


def of_log_odds(outputs: FloatArray, is_multilabel: bool = False) -> FloatArray:
    """Probabilities of classes, `[N, C]`, or of labels, `[N, L]`."""
    from scipy.special import expit, softmax

    if is_multilabel:
        return np.asarray(expit(outputs))
    if outputs.shape[1] > 2:
        return np.asarray(softmax(outputs, axis=1))
    # Of two classes equal odds give equal probabilities, to the last bit.
    odds = outputs[:, 1:] - outputs[:, :1] if outputs.shape[1] == 2 else outputs
    return np.hstack([expit(-odds), expit(odds)])


def probabilities(run: Result, split: str) -> FloatArray | None:
    """Of each class or label, `[N, C]`; None if the run's loss means none.

    Raises RunError and DamagedRun for outputs that are of no use, PluginNeeded as `_loss`.
    """
    if not means_probabilities(run):
        return None
    outputs, names = outputs_of(run, split), names_of(run)
    if loss_name(run) in LOG_ODDS:
        found = of_log_odds(outputs, is_multilabel(run))
    else:
        given = _loss(run).knowing(names, _counts(run, len(names)))
        told = given.probabilities(torch.as_tensor(outputs)[None])
        assert told is not None, "means_probabilities has asked the class"
        found = told[0].numpy().astype(np.float64)
    check_width(run, found, names)
    return found


def check_width(run: Result, found: FloatArray, names: Sequence[str]) -> None:
    """DamagedRun if there isn't a column for each class or label."""
    if found.shape[1] != len(names):
        kinds = "labels" if is_multilabel(run) else "classes"
        file = run.path / "predictions.csv"
        raise DamagedRun(f"{file}: should have an output for each of {len(names)} {kinds}")


def answers(run: Result, split: str) -> tuple[FloatArray, np.ndarray[Any, Any]] | None:
    """Probabilities `[N, C]` and targets, class numbers `[N]` or labels `[N, C]`; None without.

    Raises as `probabilities`.
    """
    found = probabilities(run, split)
    if found is None:
        return None
    rows = run.predictions(split)
    if is_multilabel(run):
        labels = rows.numbers("target")
        if labels.shape != found.shape or not np.isin(labels, (0, 1)).all():
            raise DamagedRun(f"{rows.path}: the targets don't go with the outputs")
        return found, labels
    place = {name: number for number, name in enumerate(names_of(run))}
    try:
        return found, np.array([place[name] for name in rows.texts("target").tolist()], np.int64)
    except KeyError as error:
        raise DamagedRun(f"{rows.path} has a class {error}, unknown to the run") from None


def _loss(run: Result) -> Loss:
    """PluginNeeded if it is a plugin's that is not loaded."""
    check_plugins(RunDir(run.path))
    try:
        loss = choose(Loss, run.config.get("loss"))
    except ValueError:
        raise DamagedRun(f"{run.path / 'resolved.yaml'}: there is no such loss") from None
    assert isinstance(loss, Loss)
    return loss


def _counts(run: Result, names: int) -> np.ndarray[Any, Any]:
    """How many training examples each class had, `[1, C]`: some losses depend on it."""
    counts = run.stored.get("class_counts")
    if not isinstance(counts, list) or len(counts) != names:
        return np.ones((1, names), np.int64)
    return np.array([counts], np.int64)


# -- calibration -----------------------------------------------------------------------------------


def sureness(chances: FloatArray, targets: np.ndarray[Any, Any]) -> tuple[FloatArray, FloatArray]:
    """What was said with which probability, and 1 where it came, `[N]` each.

    Of classes what is predicted; of labels `[N, C]` each is an answer of its own, `[N · C]`.
    """
    if targets.ndim == 2:
        return chances.ravel(), (targets.ravel() > 0).astype(np.float64)
    return chances.max(axis=1), (chances.argmax(axis=1) == targets).astype(np.float64)


@dataclass(frozen=True)
class Bins:
    """Answers by their probability, `[B]` each, in bins (low, high] of equal width.

    counts: how many; said: their mean probability; came: which share of them came true. Both are
    NaN in empty bins.
    """

    counts: FloatArray
    said: FloatArray
    came: FloatArray

    @property
    def error(self) -> float:
        """The expected calibration error: Σ_b n_b/N · |came_b − said_b|."""
        apart = self.counts * np.abs(self.came - self.said)
        return float(np.nansum(apart) / max(self.counts.sum(), 1.0))


def binned(said: FloatArray, came: FloatArray, bins: int = BINS) -> Bins:
    """Probabilities `[N]`, and 1 where what they speak of came true, `[N]`, in bins."""
    place = places(said, bins)
    counts = np.bincount(place, minlength=bins).astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        means = (np.bincount(place, weights, bins) / counts for weights in (said, came))
        return Bins(counts, *means)


def places(said: FloatArray, bins: int = BINS) -> np.ndarray[Any, np.dtype[np.int64]]:
    """The bin of each probability."""
    return np.clip(np.ceil(said * bins).astype(np.int64) - 1, 0, bins - 1)
