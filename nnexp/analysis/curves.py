"""What the curves of a training tell: overfitting, whether it was over, and noise at the end."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from nnexp.analysis.remark import Remark, majority, of_members, over, share, unknown, votes
from nnexp.analysis.results import Result
from nnexp.errors import count
from nnexp.stats import FloatArray, t_quantile

OVERFITTING, PROGRESS, NOISE = "overfitting", "progress at the end", "noise at the end"
FEWEST = 6
"""Epochs below which curves tell nothing."""
_CLEAR = 0.01
"""A relative change of the loss that matters."""

IMPROVING, FLAT, WORSENING = "still improving", "flat", "getting worse"

History = Mapping[str, FloatArray]


def histories(runs: Sequence[Result]) -> list[dict[str, FloatArray]]:
    """The recorded epochs of each run that has enough of them."""
    found = [run.history() for run in runs]
    return [history for history in found if len(history.get("epoch", ())) >= FEWEST]


def too_short(topic: str, result: Result, split: str) -> Remark:
    """Why the curves of a run tell nothing."""
    if split == "test":
        why = "test is not watched while training"
        return unknown(topic, why, "Split off a dev part: --set data.split.dev=0.2")
    return unknown(topic, f"{result.path} has no {FEWEST} epochs of finite numbers on {split}")


# -- overfitting -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Onset:
    """Where a dev curve has its (smoothed) lowest point, and how it went on.

    epoch: of the lowest point. rise: of the dev loss since, as a share of the lowest value.
    sure: whether that is more than noise. train_fell: whether the training loss went on falling.
    """

    epoch: int
    rise: float
    sure: bool
    train_fell: bool

    @property
    def overfits(self) -> bool:
        return self.sure and self.train_fell


def onset(epochs: FloatArray, train: FloatArray, dev: FloatArray) -> Onset:
    """Where overfitting began: dev loss rises for good while training loss falls.

    The curves are smoothed by a moving average of a tenth of the epochs, at least 3. A rise counts
    if it is 1 % of the lowest value, and beyond what the noise of two averages makes, of which one
    is the lowest of many.
    """
    width = max(3, len(dev) // 10 | 1)
    smooth_dev, smooth_train = smoothed(dev, width), smoothed(train, width)
    lowest = int(np.argmin(smooth_dev))
    rise = float(smooth_dev[-1] - smooth_dev[lowest])
    luck = math.sqrt(2.0 * math.log(len(dev) / width))
    relative = rise / max(abs(float(smooth_dev[lowest])), 1e-12)
    # The median deviation that noise is measured by is worth some 0.4 of its differences.
    sigmas = t_quantile(max(1.0, 0.4 * (2 * len(dev) // 3)), 0.998)
    sure = relative >= _CLEAR and rise > (luck + sigmas) * noise(dev) / math.sqrt(width)
    train_fell = bool(smooth_train[-1] < smooth_train[lowest])
    return Onset(int(epochs[lowest + width // 2]), relative, sure, train_fell)


def smoothed(values: FloatArray, width: int) -> FloatArray:
    """The averages of all `width` neighbours, `[T − width + 1]`; the first is for value width/2."""
    return np.convolve(values, np.full(width, 1.0 / width), "valid")


def noise(values: FloatArray) -> float:
    """The standard deviation of a curve around its trend, from the differences of neighbours:
    their median absolute deviation, which a trend and single jumps hardly change.
    """
    steps = np.diff(values[len(values) // 3 :])
    spread = float(np.median(np.abs(steps - np.median(steps))))
    return 1.4826 * spread / math.sqrt(2.0)


def overfitting(result: Result, split: str) -> Remark:
    """Where overfitting began, if it did, by loss on train and dev over the epochs."""
    found = [
        onset(h["epoch"], h["train/loss"], h[f"{split}/loss"])
        for h in histories(result.runs)
        if _is_whole(h, "train/loss", f"{split}/loss")
    ]
    if not found:
        return too_short(OVERFITTING, result, split)
    hit = [one for one in found if one.overfits]
    numbers = {
        "overfit": len(hit),
        "members": len(found),
        "began": [one.epoch if one.overfits else None for one in found],
        "rise": [one.rise for one in found],
    }
    if 2 * len(hit) <= len(found):
        text = f"{split} loss does not rise while train loss falls"
        if hit:
            text += f", but for {of_members(len(hit), len(found))}"
        return Remark(OVERFITTING, "none seen", "good", f"{text}.", "", numbers)
    epochs, rises = [one.epoch for one in hit], [one.rise for one in hit]
    who = f" in {of_members(len(hit), len(found))}" if len(found) > 1 else ""
    text = (
        f"{split} loss is lowest at epoch {over(epochs, '.4g')}{who}; since then it rose by "
        f"{share(float(np.median(rises)))} while train loss fell."
    )
    verdict = f"began at epoch {round(float(np.median(epochs)))}"
    stopped = bool((result.config.get("training") or {}).get("early_stopping"))
    return Remark(
        OVERFITTING, verdict, "look" if stopped else "bad", *_stop(text, stopped), numbers
    )


def _stop(text: str, stopped: bool) -> tuple[str, str]:
    """With what early stopping did or would do, and the advice."""
    if stopped:
        return f"{text} Early stopping keeps the weights from before.", (
            "Regularize, so that the minimum lies lower: dropout, L2 or more data."
        )
    return f"{text} The weights that are kept are the last ones.", (
        'Keep the best: --set "training.early_stopping={monitor: dev/loss, patience: 10}".'
    )


# -- progress --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Trend:
    """A straight line through the last epochs of a curve.

    change: over these epochs, of the line. t: of its slope. spread: standard deviation around it.
    mean: of the values. epochs: how many they are.
    """

    change: float
    t: float
    spread: float
    mean: float
    epochs: int

    @property
    def sure(self) -> bool:
        """Whether there is a trend: |t| over the 99 % point, as neighbours are not independent."""
        return abs(self.t) > t_quantile(self.epochs - 2, 0.995)


def trend(values: FloatArray) -> Trend:
    """The least-squares line through the last quarter of the values, at least 5."""
    last = values[-max(5, len(values) // 4) :]
    n = len(last)
    x = np.arange(n) - (n - 1) / 2
    slope = float(x @ last / (x @ x))
    left = last - last.mean() - slope * x
    spread = math.sqrt(float(left @ left) / (n - 2))
    error = spread / math.sqrt(float(x @ x))
    t = slope / error if error > 0 else math.copysign(math.inf, slope) if slope else 0.0
    return Trend(slope * (n - 1), t, spread, float(last.mean()), n)


def direction(values: FloatArray) -> str:
    """Whether a loss still falls at the end, rises, or neither by 1 % beyond chance."""
    line = trend(values)
    if not line.sure or abs(line.change) < _CLEAR * abs(line.mean):
        return FLAT
    return IMPROVING if line.change < 0 else WORSENING


def progress(result: Result, split: str) -> Remark:
    """Whether the training was over when it ended, by the loss on dev (without it, on train)."""
    known = histories(result.runs)
    column = f"{split}/loss" if known and f"{split}/loss" in known[0] else "train/loss"
    known = [h for h in known if _is_whole(h, column)]
    if not known:
        return too_short(PROGRESS, result, split)
    found = [direction(h[column]) for h in known]
    lines = [trend(h[column]) for h in known]
    verdict = majority(found)
    change = [line.change / max(abs(line.mean), 1e-12) for line in lines]
    text = (
        f"{column} changed by {over([100 * c for c in change], '+.2g')} % over the last "
        f"{count(lines[0].epochs, 'epoch')}"
    )
    if verdict == FLAT and abs(float(np.median(change))) >= _CLEAR:
        text += ", which its ups and downs may explain"
    text += f"; {divided}." if (divided := votes(found)) else "."
    numbers = {"column": column, "epochs": lines[0].epochs, "change": change, "members": found}
    advice = _go_on(result, known[0], verdict)
    return Remark(PROGRESS, verdict, "good" if verdict == FLAT else "look", text, advice, numbers)


def _go_on(result: Result, history: History, verdict: str) -> str:
    if verdict == FLAT:
        return ""
    if verdict == WORSENING:
        return "Stop earlier, or lower the rate: --set schedule=cosine, or a smaller optimizer.lr."
    epochs = 2 * len(history["epoch"])
    rates = history.get("lr")
    if rates is not None and rates[-1] < 0.05 * np.nanmax(rates):
        return f"The rate had run out, so train anew on a longer schedule: --epochs {epochs}."
    return f"Train longer: nnexp train --resume {result.path} --epochs {epochs}"


# -- noise -----------------------------------------------------------------------------------------


def end_noise(result: Result, split: str, metric: str, sampling: float | None) -> Remark:
    """Whether the differences between the last epochs' dev metric mean anything.

    sampling: standard error of the metric from the split's number of examples, if it is known.
    """
    column = f"{split}/{metric}"
    known = [h[column] for h in histories(result.runs) if _is_whole(h, column)]
    if not known:
        return too_short(NOISE, result, split)
    lines = [trend(values) for values in known]
    found = [_kind(line) for line in lines]
    verdict = majority(found)
    spreads = [line.spread for line in lines]
    last = f"over the last {count(lines[0].epochs, 'epoch')}"
    texts = {
        "noise": f"{last} {column} goes up and down without a trend, with a standard deviation of "
        f"{over(spreads, '.2g')}",
        "a trend": f"{last} {column} changed by {over([x.change for x in lines], '+.2g')}, more "
        f"than its ups and downs of {over(spreads, '.2g')}",
        "constant": f"{last} {column} did not change",
    }
    text = texts[verdict]
    text += f"; {divided}." if (divided := votes(found)) else "."
    if sampling:
        text += f" The examples of {split} leave it uncertain by ± {1.96 * sampling:.2g} anyway."
    numbers = {
        "metric": column,
        "epochs": lines[0].epochs,
        "spread": spreads,
        "trend": [line.change for line in lines],
        "sampling_error": sampling,
        "members": found,
    }
    advice = ""
    if verdict == "noise":
        advice = (
            f"Don't choose between these epochs by {column}: watch {split}/loss, let the rate "
            "fall (--set schedule=cosine), and compare configs with --seeds."
        )
    # Ups and downs well within what the examples leave open do no harm.
    matters = verdict == "noise" and float(np.median(spreads)) > 0.5 * (sampling or 0.0)
    return Remark(NOISE, verdict, "look" if matters else "good", text, advice, numbers)


def _kind(line: Trend) -> str:
    if max(line.spread, abs(line.change)) <= 1e-12 * max(abs(line.mean), 1.0):
        return "constant"
    return "a trend" if line.sure else "noise"


def _is_whole(history: History, *columns: str) -> bool:
    """Whether each column is there and holds numbers at every epoch."""
    return all(name in history and bool(np.isfinite(history[name]).all()) for name in columns)
