"""The pictures of a report that are about predictions: of classes, labels and values."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from nnexp.analysis.precision_recall import PrecisionRecall
from nnexp.analysis.probabilities import binned
from nnexp.errors import count
from nnexp.report.figures.calibration import reliability as in_bins
from nnexp.report.figures.style import shorten
from nnexp.report.html.charts import LINES
from nnexp.report.html.markup import Html, card, table, tag
from nnexp.report.html.svg import Chart, scale_of
from nnexp.report.numbers import interval, value
from nnexp.report.sweep_table import Axis
from nnexp.stats import FloatArray

DOTS = 1_500
"""Points of a scatter plot."""
CLASSES = 30
"""Classes up to which a confusion matrix can be read."""
FEW = 4
"""Classes up to which their scores stand below the matrix."""
STEPS = 400
"""Steps of a curve of precision against recall: of more, recalls are evenly spread."""
_RECALLS = np.linspace(0.0, 1.0, 101)[1:]


def confusion(counts: FloatArray, classes: Sequence[str], title: str, models: int = 1) -> Html:
    """Examples by true (down) and predicted class, `[C, C]` sums over the models.

    Up to `FEW` classes with their scores; beyond `CLASSES` the pairs that are most often confused.
    """
    row = counts.sum(1, keepdims=True)
    share = np.divide(counts, row, out=np.zeros(counts.shape), where=row > 0)
    if len(classes) > CLASSES:
        return card(title, _confused(counts, classes, models), note="most often confused")
    head = ["", *map(_name, classes)]
    lines = []
    for i, name in enumerate(classes):
        cells = []
        for j in range(len(classes)):
            look = f"{'--c:var(--s0)' if i == j else '--c:var(--s1)'};--p:{70 * share[i, j]:.0f}%"
            about = f"{name} taken for {classes[j]}: {share[i, j]:.1%}"
            cells.append(tag("td", _count(counts[i, j] / models), style=look, title=about))
        lines.append(tag("tr", tag("th", _name(name), class_="w"), *cells))
    top = tag("thead", tag("tr", *(tag("th", cell) for cell in head)))
    whole = tag("table", top, tag("tbody", *lines), class_="heat")
    note = "rows: true; columns: predicted; colour: share of the row"
    note += f"; mean of {count(models, 'model')}" if models > 1 else ""
    matrix = tag("div", whole, class_="wide", tabindex="0")
    scores = class_table(counts, classes) if len(classes) <= FEW else None
    return card(title, matrix, scores, note=note)


def _confused(counts: FloatArray, classes: Sequence[str], models: int) -> Html:
    wrong = counts * (1 - np.eye(len(classes)))
    order = np.argsort(-wrong, axis=None, kind="stable")[:12]
    pairs = [divmod(int(place), len(classes)) for place in order]
    rows = [
        (_name(classes[i]), _name(classes[j]), _count(wrong[i, j] / models))
        for i, j in pairs
        if wrong[i, j] > 0
    ]
    return table(("true", "predicted", "examples"), rows, left=(0, 1))


def by_class(counts: FloatArray, classes: Sequence[str], title: str) -> Html:
    """Precision, recall and F1 of each class, from a confusion matrix."""
    most = 2 * CLASSES
    note = f"the first {most} of {len(classes)} classes" if len(classes) > most else ""
    return card(title, class_table(counts, classes), note=note)


def class_table(counts: FloatArray, classes: Sequence[str]) -> Html:
    right, told, there = np.diag(counts), counts.sum(0), counts.sum(1)
    rows = [
        (shorten(name, 24), *_scores(right[i], told[i], there[i]), f"{share:.1%}")
        for i, (name, share) in enumerate(zip(classes, there / there.sum(), strict=True))
    ]
    return table(_HEAD, rows[: 2 * CLASSES])


def by_label(counts: Mapping[str, FloatArray], title: str) -> Html:
    """Precision, recall and F1 of each label, from its `[2, 2]` confusion matrix."""
    rows = [
        (
            shorten(name, 24),
            *_scores(one[1, 1], one[:, 1].sum(), one[1].sum()),
            f"{one[1].sum() / one.sum():.1%}",
        )
        for name, one in counts.items()
    ]
    return card(title, table(_HEAD, rows))


_HEAD = ("", "precision", "recall", "F1", "share")


def _scores(right: float, told: float, there: float) -> list[str]:
    """Precision, recall and F1; a dash where there is nothing to divide by."""
    pairs = ((right, told), (right, there), (2 * right, told + there))
    return [value(float(above / below)) if below else "–" for above, below in pairs]


def reliability(
    models: Sequence[tuple[FloatArray, FloatArray]], title: str, times: float = 1.0
) -> Html:
    """How often predictions are right against how sure they are, over all models.

    models: of each, the confidence `[N]` and whether the prediction was right `[N]`. times: so many
    models answered an example, on average.
    """
    unit = Axis("", "linear", 0.0, 1.0)
    chart = Chart(unit, unit, ("confidence", "share that is right"))
    chart.segment((0, 0), (1, 1), "axis")
    sure, right = (np.concatenate(both) for both in zip(*models, strict=True))
    found = in_bins(sure, right, times=times)
    shares = found.counts / found.counts.sum()
    for place in np.flatnonzero(found.counts).tolist():
        x, y, share = float(found.said[place]), float(found.came[place]), float(shares[place])
        chart.segment((x, float(found.low[place])), (x, float(found.high[place])), "whisker c0")
        about = f"confidence {x:.3f}, right {y:.3f}: {share:.1%} of the predictions"
        chart.dot(x, y, "dot c0", 2.5 + 8 * math.sqrt(share), about)
    errors = [binned(sure, right).error for sure, right in models]
    note = f"calibration error {value(float(np.mean(errors)))}; bar: 95 % interval; "
    note += "size of a dot: share of predictions"
    return card(title, chart.draw("reliability diagram"), note=note)


def precision_recall(found: PrecisionRecall, title: str) -> Html:
    """Precision against recall as the threshold moves; of several models also their mean."""
    unit = Axis("", "linear", 0.0, 1.0)
    chart = Chart(unit, unit, (f"recall of {shorten(found.name, 24)}", "precision"))
    chart.segment((0, found.share), (1, found.share), "axis")
    if len(found.curves) > 1:
        for number, one in enumerate(found.curves[:LINES]):
            chart.line(*_steps(_RECALLS, one.at_recalls(_RECALLS)), "thin c0", title=f"s{number}")
        chart.line(*_steps(_RECALLS, found.mean_at(_RECALLS)), "curve c0")
    else:
        (one,) = found.curves
        recalls = np.unique(one.recall[one.recall > 0])
        recalls = recalls if len(recalls) <= STEPS else np.linspace(0.0, 1.0, STEPS + 1)[1:]
        chart.line(*_steps(recalls, one.at_recalls(recalls)), "curve c0")
    told = f" ({interval(found.interval)})" if found.interval is not None else ""
    note = f"average precision {value(found.average)}{told}; level line: guessing"
    note += f"; thin: {count(len(found.curves), 'model')}, bold: mean" * (len(found.curves) > 1)
    return card(title, chart.draw("precision against recall"), note=note)


def _steps(recalls: FloatArray, precision: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Corners of the steps whose area is the average precision: of all recalls above the one before
    up to one of `recalls`, the precision there.
    """
    return np.repeat([0.0, *recalls], 2)[1:-1], np.repeat(precision, 2)


def scatter(target: FloatArray, prediction: FloatArray, title: str, models: int = 1) -> Html:
    """Predicted against true values of all models."""
    known = np.isfinite(target) & np.isfinite(prediction)
    if not known.any():
        return Html("")
    target, prediction = target[known], prediction[known]
    both = scale_of(np.concatenate([target, prediction]), log=False)
    chart = Chart(both, both, ("true", "predicted"))
    chart.segment((both.low, both.low), (both.high, both.high), "axis")
    note = _dots(chart, target, prediction, models)
    return card(title, chart.draw("predicted against true values"), note=note)


def residuals(target: FloatArray, prediction: FloatArray, title: str, models: int = 1) -> Html:
    """What is left over, true less predicted, against what is predicted, by all models."""
    known = np.isfinite(target) & np.isfinite(prediction)
    if not known.any():
        return Html("")
    left, prediction = (target - prediction)[known], prediction[known]
    across = scale_of(prediction, log=False)
    chart = Chart(across, scale_of([*left, 0.0], log=False), ("predicted", "true − predicted"))
    chart.segment((across.low, 0.0), (across.high, 0.0), "axis")
    told = f"mean {value(float(left.mean()))}, standard deviation {value(float(left.std()))}"
    note = "; ".join(filter(None, [told, _dots(chart, prediction, left, models)]))
    return card(title, chart.draw("residuals against predicted values"), note=note)


def _dots(chart: Chart, x: FloatArray, y: FloatArray, models: int) -> str:
    """Draw some of the points, and say so."""
    few = np.unique(np.linspace(0, len(x) - 1, min(DOTS, len(x))).astype(np.int64))
    for a, b in zip(x[few].tolist(), y[few].tolist(), strict=True):
        chart.dot(a, b, "dot c0", 2.2)
    told = [f"{len(few):,} of {len(x):,} predictions"] if len(few) < len(x) else []
    return "; ".join([*told, *([count(models, "model")] if models > 1 else [])])


def _name(name: str) -> str:
    return shorten(name, 14)


def _count(number: float) -> str:
    if number >= 9.95 or float(number).is_integer():
        return f"{number:,.0f}" if number else "·"
    return f"{number:.1f}"
