"""The parts of a report that are about a curve over the amount of data, or over the width."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from nnexp.analysis.scores import bounds_of
from nnexp.errors import RunError, count
from nnexp.report.figures.curves import mean_interval
from nnexp.report.figures.learning_curve import LABELS, WIDE
from nnexp.report.html.markup import Html, card, cards, join, section, table, tag
from nnexp.report.html.results import unbroken
from nnexp.report.html.svg import Chart, legend, scale_of
from nnexp.report.numbers import interval, spread
from nnexp.report.sweep_table import Axis
from nnexp.search.curve import Curve, read_curve, verdict
from nnexp.search.folder import SweepDir

_COLOURS = {"train": "c1", "dev": "c0", "test": "c2"}


def curve(found: SweepDir) -> Iterator[Html]:
    """All sections about a curve but its config."""
    try:
        told = read_curve(found)
    except RunError as error:
        yield tag("p", str(error), class_="warning")
        return
    sentence = verdict(told)
    notes = join(tag("p", _sentence(text), class_="sub") for text in told.notes)
    said = tag("div", tag("p", _sentence(sentence)), class_="verdict") if sentence else None
    title = "How much more data would help" if told.over == "data" else "How wide it should be"
    yield section(title, said, cards([picture(told), scores(told)]), notes)


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + "."


def picture(found: Curve) -> Html:
    """The mean at each point with its 95 % interval, and every model as a dot."""
    x = np.array(found.values, np.float64)
    wide = x.max() > WIDE * x.min()
    room = (x.max() - x.min()) * 0.03
    ends = (x.min() / 1.1, x.max() * 1.1) if wide else (x.min() - room, x.max() + room)
    across = Axis("", "log" if wide else "linear", *ends)
    ticks = [(across.at(value), f"{value:,}") for value in found.values]
    every = np.concatenate([scores.ravel() for scores in found.scores.values()])
    labels = LABELS[found.over], found.metric
    chart = Chart(across, scale_of(every), labels, 300.0, columns=ticks)
    bounds = bounds_of(found.metric) or (-math.inf, math.inf)
    for split, scores in found.scores.items():
        look = _COLOURS[split]
        mean, *span = mean_interval(scores.T)
        low, high = (np.clip(end, *bounds) for end in span)
        chart.band(x, low, high, look)
        for place, row in zip(x.tolist(), scores.tolist(), strict=True):
            for number, one in enumerate(row):
                if math.isfinite(one):
                    chart.dot(place, one, f"dot {look}", 2, f"{split}, model {number}: {one:.4g}")
        chart.line(x, mean, f"curve {look}" + (" dash" if split == "train" else ""))
    shown = legend(
        [(_COLOURS[split] + " dashed" * (split == "train"), split) for split in found.scores]
    )
    drawn = chart.draw(f"{found.metric} over {LABELS[found.over]}")
    note = "dots: models; line: their mean; area: its 95 % interval"
    return card(f"{found.metric} over {LABELS[found.over]}", drawn, shown, note=note)


def scores(found: Curve) -> Html:
    """Mean and standard deviation at each point, and the interval on the last split."""
    judged = list(found.scores)[-1]
    rows = [
        (
            f"{value:,}",
            *(unbroken(spread(found.described(split, i))) for split in found.scores),
            interval(found.described(judged, i)["interval"]),
        )
        for i, value in enumerate(found.values)
    ]
    head = [LABELS[found.over], *found.scores, f"95 % interval ({judged})"]
    lost = int(sum((~np.isfinite(row)).sum() for row in next(iter(found.scores.values()))))
    note = f"{count(lost, 'model')} diverged: left out" if lost else "mean ± standard deviation"
    return card(found.metric, table(head, rows, class_="scores"), note=note)
