"""The pictures of a report: each function takes plain data and gives a card of the page."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from nnexp.analysis.scores import bounds_of
from nnexp.errors import count
from nnexp.report.html import Html, card, table, tag
from nnexp.report.numbers import value
from nnexp.report.svg import Chart, blend, colour, legend, scale_of, shortened
from nnexp.report.sweep_table import Axis
from nnexp.stats import FloatArray, t_quantile

POINTS = 20_000
"""Points of all lines of a chart together, but at least 20 a line."""
LINES = 100
"""Members that have a line of their own."""
_FEW = 8
"""Lines that can all be bold."""
DOTS = 1_500
"""Points of a scatter plot."""
CLASSES = 30
"""Classes up to which a confusion matrix can be read."""
BINS = 15
"""Of confidence: as the metric `calibration_error` has them."""

Histories = Mapping[str, Sequence[Mapping[str, FloatArray]]]
"""Of each run (one) or group (several) by its title, the values of metrics.csv by epoch."""


# -- over the epochs -------------------------------------------------------------------------------


def curves(histories: Histories, metric: str) -> Html:
    """A metric on train and dev against the epoch: members thin, the mean, its 95 % interval."""
    drawn = [
        (i, split, *aligned(group, f"{split}/{metric}"))
        for i, group in enumerate(histories.values())
        for split in ("train", "dev")
        if any(f"{split}/{metric}" in history for history in group)
    ]
    drawn = [one for one in drawn if np.isfinite(one[3]).any()]
    if not drawn:
        return Html("")
    values = np.concatenate([values.ravel() for *_, values in drawn])
    chart = _by_epoch([epoch for _, _, epoch, _ in drawn], values, metric)
    alone = len(histories) == 1
    for i, split, epoch, values in drawn:
        look = ("c1" if split == "train" else "c0") if alone else colour(i)
        dashed = " dash" if split == "train" else ""
        few = thinned(epoch, len(values))
        if len(values) > 1 and (alone or split == "dev"):
            for number, member in enumerate(values[:LINES]):
                chart.line(epoch[few], member[few], f"thin {look}", title=f"s{number}, {split}")
        mean, half = interval_of(values)
        low, high = bounds_of(metric) or (-math.inf, math.inf)
        ends = [np.clip(end, low, high)[few] for end in (mean - half, mean + half)]
        chart.band(epoch[few], ends[0], ends[1], look)
        chart.line(epoch[few], mean[few], f"curve {look}{dashed}", title=f"{split}: mean")
    if alone:
        splits = {split for _, split, *_ in drawn}
        below = legend([(c, s) for c, s in (("c0", "dev"), ("c1", "train")) if s in splits])
    else:
        entries = [(colour(i), name) for i, name in enumerate(histories)]
        below = legend(entries, [("l", "dev"), ("d", "train")])
    note = _what_lines_are([values for *_, values in drawn])
    return card(metric, chart.draw(f"{metric} by epoch"), below, note=note)


def _what_lines_are(drawn: Sequence[FloatArray]) -> str:
    if all(len(values) == 1 for values in drawn):
        return ""
    left = any(np.isnan(values[:, -1]).any() for values in drawn)
    mean = "mean of those still training" if left else "mean"
    return f"thin: members; bold: {mean}; area: its 95 % interval"


def course(histories: Histories, column: str) -> Html:
    """A value that training followed, such as the learning rate, against the epoch."""
    sides = {
        name: aligned(group, column)
        for name, group in histories.items()
        if any(column in history for history in group)
    }
    if not any(np.isfinite(values).any() for _, values in sides.values()):
        return Html("")
    values = np.concatenate([values.ravel() for _, values in sides.values()])
    chart = _by_epoch([epoch for epoch, _ in sides.values()], values, column)
    for i, (epoch, values) in enumerate(sides.values()):
        few = thinned(epoch, len(values))
        different = np.unique(values, axis=0)[:LINES]
        look = "curve" if len(different) <= _FEW else "thin"
        for member in different:
            chart.line(epoch[few], member[few], f"{look} {colour(i)}")
    entries = [(colour(i), name) for i, name in enumerate(sides)] if len(sides) > 1 else []
    return card(column, chart.draw(f"{column} by epoch"), legend(entries))


def layer_table(epoch: float, found: Mapping[str, Mapping[str, FloatArray]]) -> Html:
    """All statistics of the only epoch there is."""
    names = list(dict.fromkeys(layer for by_layer in found.values() for layer in by_layer))
    unknown = np.array([math.nan])
    rows = [
        (layer, *(value(float(by.get(layer, unknown)[0])) for by in found.values()))
        for layer in names
    ]
    return table((f"epoch {epoch:g}", *found), rows)


def layers(name: str, epoch: FloatArray, by_layer: Mapping[str, FloatArray]) -> Html:
    """A statistic of each layer against the epoch; colours go from the first to the last."""
    values = np.concatenate([np.zeros(0), *by_layer.values()])
    if not np.isfinite(values).any():
        return Html("")
    chart = _by_epoch([epoch], values, name)
    few = thinned(epoch, len(by_layer))
    last = max(len(by_layer) - 1, 1)
    for i, (layer, line) in enumerate(by_layer.items()):
        chart.line(epoch[few], line[few], "curve", blend(i / last), title=layer)
    note = _STATISTICS.get(name, "")
    return card(name, chart.draw(f"{name} of each layer by epoch"), note=note)


_STATISTICS = {
    "mean": "of the layer's outputs",
    "std": "of the layer's outputs",
    "zero": "share of an activation's outputs that are 0",
    "dead": "share of units that are 0 for every example",
    "saturated": "share of outputs where the activation is almost flat",
    "gradient": "norm of the loss's gradient by the layer's parameters",
    "update": "norm of an update over that of the parameters",
}


def layer_legend(names: Sequence[str]) -> Html:
    """The colours of the layers, of many only some."""
    last = max(len(names) - 1, 1)
    step = max(1, -(-len(names) // 16))
    return legend([(blend(i / last), names[i]) for i in range(0, len(names), step)])


def aligned(
    histories: Sequence[Mapping[str, FloatArray]], column: str
) -> tuple[FloatArray, FloatArray]:
    """Epochs and a column's values `[members, epochs]`, NaN after a member's last one."""
    there = [history for history in histories if column in history]
    longest = max(there, key=lambda history: len(history[column]))
    values = np.full((len(there), len(longest[column])), np.nan)
    for row, history in zip(values, there, strict=True):
        row[: len(history[column])] = history[column]
    values[~np.isfinite(values)] = np.nan
    return np.asarray(longest.get("epoch", np.arange(1.0, values.shape[1] + 1))), values


def interval_of(values: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Mean over the members that have a value, and half of its 95 % t-interval (NaN for one)."""
    known = np.isfinite(values)
    number = known.sum(0)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(known, values, 0.0).sum(0) / number
        squares = (np.where(known, values - mean, 0.0) ** 2).sum(0)
        error = np.sqrt(squares / (number - 1) / number)
    quantiles = {n: t_quantile(n - 1.0, 0.975) for n in set(number.tolist()) if n > 1}
    half = np.array([quantiles.get(n, math.nan) for n in number.tolist()]) * error
    return mean, half


def thinned(epoch: FloatArray, lines: int) -> np.ndarray:
    """Which epochs are drawn: all, or as many as `POINTS` allows, the first and last among them."""
    most = max(POINTS // max(lines, 1), 20)
    if len(epoch) <= most:
        return np.arange(len(epoch))
    return np.unique(np.linspace(0, len(epoch) - 1, most).round().astype(np.int64))


def _by_epoch(epochs: Sequence[FloatArray], values: FloatArray, name: str) -> Chart:
    """A chart over all the epochs, whose ticks are whole numbers."""
    first = min(float(epoch.min()) for epoch in epochs)
    last = max(float(epoch.max()) for epoch in epochs)
    across = Axis("", "linear", first, max(last, first + 1))
    ticks = [tick for tick in across.ticks() if "." not in tick[1]]
    return Chart(across, scale_of(values), ("epoch", shortened(name, 34)), columns=ticks)


# -- predictions -----------------------------------------------------------------------------------


def confusion(counts: FloatArray, classes: Sequence[str], title: str, models: int = 1) -> Html:
    """Examples by true (down) and predicted class, `[C, C]` sums over the models.

    Beyond `CLASSES` classes the pairs that are most often confused.
    """
    row = counts.sum(1, keepdims=True)
    share = np.divide(counts, row, out=np.zeros_like(counts), where=row > 0)
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
    return card(title, tag("div", whole, class_="wide", tabindex="0"), note=note)


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
    right, told, there = np.diag(counts), counts.sum(0), counts.sum(1)
    rows = [
        (shortened(name, 24), *_scores(right[i], told[i], there[i]), f"{share:.1%}")
        for i, (name, share) in enumerate(zip(classes, there / there.sum(), strict=True))
    ]
    most = 2 * CLASSES
    note = f"the first {most} of {len(rows)} classes" if len(rows) > most else ""
    return card(title, table(_HEAD, rows[:most]), note=note)


def by_label(counts: Mapping[str, FloatArray], title: str) -> Html:
    """Precision, recall and F1 of each label, from its `[2, 2]` confusion matrix."""
    rows = [
        (
            shortened(name, 24),
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


def reliability(models: Sequence[tuple[FloatArray, FloatArray]], title: str) -> Html:
    """How often predictions are right against how sure they are.

    models: of each, the confidence `[N]` and whether the prediction was right `[N]`.
    """
    unit = Axis("", "linear", 0.0, 1.0)
    chart = Chart(unit, unit, ("confidence", "share that is right"))
    chart.segment((0, 0), (1, 1), "axis")
    sums = [_binned(confidence, right) for confidence, right in models]
    if len(sums) > 1:
        for number, one in enumerate(sums[:LINES]):
            chart.line(*_means(one), "thin c0", title=f"s{number}")
    pooled = np.sum(sums, axis=0)
    x, y = _means(pooled)
    chart.line(x, y, "curve c0")
    sizes = pooled[0][pooled[0] > 0] / pooled[0].sum()
    for a, b, share in zip(x.tolist(), y.tolist(), sizes.tolist(), strict=True):
        about = f"confidence {a:.3f}, right {b:.3f}: {share:.1%} of the predictions"
        chart.dot(a, b, "dot c0", 2.5 + 8 * math.sqrt(share), about)
    errors = [float(np.abs(one[2] - one[1]).sum() / one[0].sum()) for one in sums]
    note = f"calibration error {value(float(np.mean(errors)))}; size of a dot: share of predictions"
    return card(title, chart.draw("reliability diagram"), note=note)


def _binned(confidence: FloatArray, right: FloatArray) -> FloatArray:
    """How many, the sum of confidence, and how many right, `[3, BINS]`."""
    place = np.clip(np.ceil(confidence * BINS).astype(np.int64) - 1, 0, BINS - 1)
    weights = (np.ones_like(confidence), confidence, right)
    return np.stack([np.bincount(place, weight, BINS) for weight in weights])


def _means(sums: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Mean confidence and share that is right of the bins that hold something."""
    there = sums[:, sums[0] > 0]
    return there[1] / there[0], there[2] / there[0]


def scatter(target: FloatArray, prediction: FloatArray, title: str, models: int = 1) -> Html:
    """Predicted against true values of all models."""
    known = np.isfinite(target) & np.isfinite(prediction)
    target, prediction = target[known], prediction[known]
    if not len(target):
        return Html("")
    both = scale_of(np.concatenate([target, prediction]), log=False)
    chart = Chart(both, both, ("true", "predicted"))
    chart.segment((both.low, both.low), (both.high, both.high), "axis")
    few = np.unique(np.linspace(0, len(target) - 1, min(DOTS, len(target))).astype(np.int64))
    for x, y in zip(target[few].tolist(), prediction[few].tolist(), strict=True):
        chart.dot(x, y, "dot c0", 2.2)
    note = f"{len(few):,} of {len(target):,} predictions" if len(few) < len(target) else ""
    note = "; ".join(filter(None, [note, f"{count(models, 'model')}" if models > 1 else ""]))
    return card(title, chart.draw("predicted against true values"), note=note)


# -- differences -----------------------------------------------------------------------------------


def forest(
    rows: Sequence[tuple[str, float, Sequence[float] | None]], label: str, margin: float | None
) -> Html:
    """Differences with their 95 % intervals, one below the other, and 0 (and ± margin) as lines."""
    ends = [0.0, *(x for _, d, interval in rows for x in (d, *(interval or ())))]
    ends += [margin, -margin] if margin else []
    step = 1.0 / len(rows)
    names = [shortened(name, 20) for name, *_ in rows]
    ups = [1.0 - (i + 0.5) * step for i in range(len(rows))]
    chart = Chart(
        scale_of(ends, log=False),
        Axis("", "linear", 0.0, 1.0),
        (label, ""),
        60.0 + 28 * len(rows),
        list(zip(ups, names, strict=True)),
        left=16.0 + 6.4 * max(map(len, names)),
    )
    chart.segment((0, 0), (0, 1), "axis")
    for edge in (margin, -margin) if margin else ():
        chart.segment((edge, 0), (edge, 1), "thin")
    for up, (name, difference, interval) in zip(ups, rows, strict=True):
        if interval is not None:
            chart.segment((interval[0], up), (interval[1], up), "curve c0")
        chart.dot(difference, up, "dot c0", 5, f"{name}: {difference:+.4g}")
    return chart.draw(label)


def _name(name: str) -> str:
    return shortened(name, 14)


def _count(number: float) -> str:
    if number >= 9.95 or float(number).is_integer():
        return f"{number:,.0f}" if number else "·"
    return f"{number:.1f}"


def bars(shares: Mapping[str, float]) -> Html:
    """Shares of a whole, the largest first."""
    rows = [
        (name, f"{share:.0%}", tag("span", class_="bar", style=f"width:{160 * share:.0f}px"))
        for name, share in sorted(shares.items(), key=lambda item: -item[1])
    ]
    return table(("", "", ""), rows, left=(0, 2)) if rows else Html("")
