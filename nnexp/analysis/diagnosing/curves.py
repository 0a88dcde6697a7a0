"""What the curves of a training tell: overfitting, whether it was over, and noise at the end."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from nnexp.analysis.diagnosing.remark import (
    Remark,
    majority,
    of_members,
    over,
    share,
    unknown,
    votes,
)
from nnexp.analysis.diagnosing.remedies import (
    FEWEST,
    keep_best,
    let_fall,
    longer,
    lower_rate,
    with_dev,
)
from nnexp.analysis.results import Result
from nnexp.errors import count
from nnexp.stats import FloatArray, t_quantile

OVERFITTING, PROGRESS, NOISE = "overfitting", "progress at the end", "noise at the end"
_CLEAR, _LARGE = 0.01, 0.05
"""Relative changes of the loss that matter, and that can't be called none."""
_CORRELATED = 15
"""Epochs from which it can be told whether neighbours are alike."""
_MUCH = 0.2
"""A relative rise of the dev loss that is bad whatever made it."""

NONE_SEEN = "none seen"
IMPROVING, FLAT, WORSENING = "still improving", "flat", "getting worse"
PAST, UNCLEAR = "past its best", "too noisy to tell"

History = Mapping[str, FloatArray]


def histories(result: Result) -> list[dict[str, FloatArray]]:
    """The recorded epochs of each run that did not diverge and has enough of them."""
    found = [run.history() for run in result.alive]
    return [history for history in found if len(history.get("epoch", ())) >= FEWEST]


def untold(topic: str, result: Result, column: str) -> Remark:
    """Why the curves of a run tell nothing, and what would."""
    if column.startswith("test/"):
        return unknown(topic, "Test is not watched while training.", *with_dev(result))
    if (result.path / "m0").is_dir():
        return unknown(topic, "A committee is not trained itself.")
    epochs = max(len(run.history().get("epoch", ())) for run in result.runs)
    if epochs < FEWEST:
        had = f"{count(epochs, 'epoch')} {'is' if epochs == 1 else 'are'}" if epochs else "none is"
        why = f"Curves tell something from {FEWEST} epochs on, and {had} recorded."
        return unknown(topic, why, *longer(result) if epochs else ())
    return unknown(topic, f"{column} is not recorded as a finite number at every epoch.")


# -- overfitting -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Onset:
    """Where a dev curve has its (smoothed) lowest point, and how it went on.

    epoch: of the lowest point. rise: of the dev loss since, as a share of the lowest value.
    sure: whether that is more than noise. train_fell: whether the training loss went on falling.
    lasts: whether it rose step by step, or stayed above, or rose by very much; else it may only
    wander.
    """

    epoch: int
    rise: float
    sure: bool
    train_fell: bool
    lasts: bool

    @property
    def overfits(self) -> bool:
        return self.sure and self.train_fell


def onset(epochs: FloatArray, train: FloatArray, dev: FloatArray) -> Onset:
    """Where overfitting began: dev loss rises for good while training loss falls.

    The curves are smoothed by a moving average of a tenth of the epochs, at least 3. A rise counts
    if it is 1 % of the lowest value, beyond what the noise of two averages makes, of which one is
    the lowest of many.
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
    lasts = len(dev) < _CORRELATED or relative >= _MUCH or _lasts(smooth_dev[lowest:], width, luck)
    train_fell = bool(smooth_train[-1] < smooth_train[lowest])
    return Onset(int(epochs[lowest + width // 2]), relative, sure, train_fell, lasts)


def smoothed(values: FloatArray, width: int) -> FloatArray:
    """The averages of all `width` neighbours, `[T − width + 1]`; the first is for value width/2."""
    return np.convolve(values, np.full(width, 1.0 / width), "valid")


def noise(values: FloatArray) -> float:
    """What a curve goes up and down around its trend, so that an average of w values is known to
    ± noise / √w.

    It is the standard deviation from the differences of neighbours (their median absolute
    deviation, which a trend and single jumps hardly change); larger where neighbours are alike,
    with correlation ρ, by √(1 + ρ) / (1 − ρ). That is told by second differences over two epochs
    and over one, which a bend does not change: the ratio of their variances is about 1 + ρ.
    """
    last = values[len(values) // 3 :]
    single = _spread(np.diff(last)) / math.sqrt(2.0)
    if len(last) < _CORRELATED:
        return single
    near, far = (_spread(last[2 * k :] - 2 * last[k:-k] + last[: -2 * k]) for k in (1, 2))
    alike = min(max((far / near) ** 2 - 1.0, 0.0), 0.6) if near > 0 else 0.0
    return single * math.sqrt(1.0 + alike) / (1.0 - alike)


def _lasts(averages: FloatArray, width: int, luck: float) -> bool:
    """Whether a curve rises step by step from its lowest average, by a t-test of the differences of
    averages that share no value; or went up once and stayed there, as their spread tells. Where
    neighbours are alike a curve wanders as far by chance, but up and down.
    """
    apart = averages[::-width][::-1]
    steps, later = np.diff(apart), apart[1:]
    if len(steps) < 2:
        return False
    error = float(steps.std(ddof=1)) / math.sqrt(len(steps))
    if steps.mean() > t_quantile(len(steps) - 1, 0.95) * error:
        return True
    above = float(later.mean() - averages[0])
    return above > (luck + t_quantile(len(later) - 1, 0.99)) * float(later.std(ddof=1))


def _spread(values: FloatArray) -> float:
    """Standard deviation by the median absolute deviation, of a normal's 0.6745 σ."""
    return 1.4826 * float(np.median(np.abs(values - np.median(values))))


def overfitting(result: Result, split: str) -> Remark:
    """Where overfitting began, if it did, by loss on train and dev over the epochs."""
    found = [
        onset(h["epoch"], h["train/loss"], h[f"{split}/loss"])
        for h in histories(result)
        if _is_whole(h, "train/loss", f"{split}/loss")
    ]
    if not found:
        return untold(OVERFITTING, result, f"{split}/loss")
    hit = [one for one in found if one.overfits]
    lasting = sum(one.lasts for one in hit)
    numbers = {
        "overfit": len(hit),
        "members": len(found),
        "began": [one.epoch if one.overfits else None for one in found],
        "rise": [one.rise for one in found],
        "lasting": lasting,
    }
    if 2 * len(hit) <= len(found):
        text = f"{split} loss has no minimum from which it rose for good while train loss fell"
        if hit:
            text += f", but for {of_members(len(hit), len(found))}"
        return Remark(OVERFITTING, NONE_SEEN, "good", f"{text}.", numbers=numbers)
    epochs, rises = [one.epoch for one in hit], [one.rise for one in hit]
    who = f" in {of_members(len(hit), len(found))}" if len(found) > 1 else ""
    text = (
        f"{split} loss is lowest at epoch {over(epochs, '.4g')}{who}; since then it rose by "
        f"{share(float(np.median(rises)))} while train loss fell."
    )
    verdict = f"began at epoch {round(float(np.median(epochs)))}"
    if stops_early(result):
        text += " Early stopping keeps the weights from before."
        return Remark(OVERFITTING, verdict, "good", text, numbers=numbers)
    text += " The weights that are kept are the last ones."
    if 2 * lasting <= len(hit):
        text += " It went up and down on the way, so that chance may have made it."
        return Remark(OVERFITTING, f"perhaps {verdict}", "look", text, *keep_best(result), numbers)
    return Remark(OVERFITTING, verdict, "bad", text, *keep_best(result), numbers)


def stops_early(result: Result) -> bool:
    """Whether it is trained with early stopping."""
    return bool((result.config.get("training") or {}).get("early_stopping"))


# -- progress --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Trend:
    """A straight line through the last epochs of a curve.

    change: over these epochs, of the line. t: of its slope, smaller where neighbours are alike.
    spread: standard deviation around it. mean: of the values. epochs: how many they are.
    """

    change: float
    t: float
    spread: float
    mean: float
    epochs: int

    @property
    def sure(self) -> bool:
        """Whether there is a trend: |t| beyond its 99 % point."""
        return abs(self.t) > t_quantile(self.epochs - 2, 0.995)


def trend(values: FloatArray) -> Trend:
    """The least-squares line through the last quarter of the values, at least 5."""
    last = values[-max(5, len(values) // 4) :]
    n = len(last)
    x = np.arange(n) - (n - 1) / 2
    slope = float(x @ last / (x @ x))
    left = last - last.mean() - slope * x
    spread = math.sqrt(float(left @ left) / (n - 2))
    error = spread / math.sqrt(float(x @ x)) * _inflation(left)
    t = slope / error if error > 0 else math.copysign(math.inf, slope) if slope else 0.0
    return Trend(slope * (n - 1), t, spread, float(last.mean()), n)


def _inflation(left: FloatArray) -> float:
    """√((1 + ρ) / (1 − ρ)): by how much the error of a slope grows with the correlation ρ of
    neighbouring residuals, whose estimate is freed of its bias (Kendall 1954).
    """
    squares = float(left @ left)
    if len(left) < 8 or squares == 0:
        return 1.0
    found = float(left[1:] @ left[:-1]) / squares
    alike = min(max(found + (1.0 + 4.0 * found) / len(left), 0.0), 0.9)
    return math.sqrt((1.0 + alike) / (1.0 - alike))


def direction(values: FloatArray) -> str:
    """Whether a loss still falls at the end, rises, or neither by 1 % beyond chance."""
    line = trend(values)
    if not line.sure or abs(line.change) < _CLEAR * abs(line.mean):
        return FLAT
    return IMPROVING if line.change < 0 else WORSENING


def train_direction(result: Result) -> str:
    """How the training loss went at the end: still improving, too, if that is too short to tell."""
    known = [h["train/loss"] for h in histories(result) if _is_whole(h, "train/loss")]
    return majority([direction(values) for values in known]) if known else IMPROVING


def progress(result: Result, split: str, overfits: bool = False) -> Remark:
    """Whether the training was over when it ended, by the loss on dev (without it, on train).

    overfits: whether the dev loss rose for good before; then it is past its best, however it ended.
    """
    known = histories(result)
    column = f"{split}/loss" if known and f"{split}/loss" in known[0] else "train/loss"
    known = [h for h in known if _is_whole(h, column)]
    if not known:
        return untold(PROGRESS, result, column)
    found = [direction(h[column]) for h in known]
    lines = [trend(h[column]) for h in known]
    verdict = PAST if overfits else majority(found)
    change = [line.change / max(abs(line.mean), 1e-12) for line in lines]
    text = (
        f"{column} changed by {over([100 * c for c in change], '+.2g')} % over the last "
        f"{count(lines[0].epochs, 'epoch')}"
    )
    seen = abs(float(np.median(change)))
    if overfits:
        text += ", and was lower before"
    elif verdict == FLAT and seen >= _CLEAR:
        text += ", which its ups and downs may explain"
        verdict = UNCLEAR if seen >= _LARGE else FLAT
    text += f"; {divided}." if (divided := votes(found)) and not overfits else "."
    numbers = {"column": column, "epochs": lines[0].epochs, "change": change, "members": found}
    if verdict in (FLAT, UNCLEAR, PAST):
        return Remark(PROGRESS, verdict, "good", text, numbers=numbers)
    advice = longer(result)
    if verdict == WORSENING:
        rises = train_direction(result) == WORSENING
        advice = lower_rate(result) if rises else keep_best(result)
    return Remark(PROGRESS, verdict, "look", text, *advice, numbers)


# -- noise -----------------------------------------------------------------------------------------


def end_noise(result: Result, split: str, metric: str, sampling: float | None) -> Remark:
    """Whether the differences between the last epochs' dev metric mean anything.

    sampling: standard error of the metric from the split's number of examples, if it is known.
    """
    column = f"{split}/{metric}"
    known = [h[column] for h in histories(result) if _is_whole(h, column)]
    if not known:
        return untold(NOISE, result, column)
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
    # Ups and downs well within what the examples leave open do no harm.
    if verdict != "noise" or float(np.median(spreads)) <= 0.5 * (sampling or 0.0):
        return Remark(NOISE, verdict, "good", text, numbers=numbers)
    return Remark(NOISE, verdict, "look", text, *let_fall(result, column), numbers)


def _kind(line: Trend) -> str:
    if max(line.spread, abs(line.change)) <= 1e-12 * max(abs(line.mean), 1.0):
        return "constant"
    return "a trend" if line.sure else "noise"


def _is_whole(history: History, *columns: str) -> bool:
    """Whether each column is there and holds numbers at every epoch."""
    return all(name in history and bool(np.isfinite(history[name]).all()) for name in columns)
