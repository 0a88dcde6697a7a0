"""The part of a report that is about the layers while they learnt."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from nnexp.analysis.results import Result
from nnexp.errors import count
from nnexp.report.figures.style import shorten
from nnexp.report.html import evidence
from nnexp.report.html.charts import by_epoch, epoch_axis, thinned
from nnexp.report.html.markup import Html, card, cards, join, table, tag
from nnexp.report.html.svg import Chart, blend, legend, scale_of
from nnexp.report.numbers import value
from nnexp.stats import FloatArray

PANELS = 12
"""Layers that have a small picture of their own."""
LINES = 24
"""Layers that have a line."""
_OUTPUTS = ("p05", "p25", "p50", "p75", "p95")
_GRADIENTS = ("g05", "g25", "g50", "g75", "g95")
_STATISTICS = {
    "mean": "of the layer's outputs",
    "std": "of the layer's outputs",
    "zero": "share of an activation's outputs that are 0",
    "dead": "share of units that are 0 for every example",
    "saturated": "share of outputs where the activation is almost flat",
    "gradient": "norm of the loss's gradient by the layer's parameters",
    "update": "norm of an update over that of the parameters",
}

ByLayer = Mapping[str, FloatArray]
"""A statistic of each layer by epoch."""


def layers(name: str, result: Result) -> Html:
    """How activations and gradients of each layer are spread over time, if that was recorded."""
    epochs, found = evidence.health(result)
    if not found:
        return Html("")
    title = tag("h3", name) if name else None
    told = {key: by for key, by in found.items() if key not in (*_OUTPUTS, *_GRADIENTS)}
    spread = [
        spreads(epochs, [found[key] for key in keys if key in found], what, log)
        for keys, what, log in ((_OUTPUTS, "outputs", False), (_GRADIENTS, "|gradient|", True))
    ]
    if len(epochs) == 1:
        return join([title, cards(list(filter(None, spread))), layer_table(epochs[0], told)])
    return join([title, *spread, lines(epochs, told)])


def layer_table(epoch: float, found: Mapping[str, ByLayer]) -> Html:
    """All statistics of the only epoch there is."""
    all_names = list(dict.fromkeys(layer for by_layer in found.values() for layer in by_layer))
    names, unknown = evenly(all_names, LINES), np.array([math.nan])
    rows = [
        (layer, *(value(float(by.get(layer, unknown)[0])) for by in found.values()))
        for layer in names
    ]
    return join([_said(names, all_names, ()), table((f"epoch {epoch:g}", *found), rows)])


def evenly(names: Sequence[str], most: int) -> list[str]:
    """As many of the names, evenly spaced, the first and the last among them."""
    places = np.linspace(0, len(names) - 1, min(most, len(names))).round().astype(int)
    return [names[place] for place in places.tolist()]


# -- how numbers are spread ------------------------------------------------------------------------


def spreads(epoch: FloatArray, quantiles: Sequence[ByLayer], what: str, log: bool) -> Html:
    """A small picture for each layer of five quantiles against the epoch.

    log: on a log scale, the same for all layers; else each on its own. Of a single epoch it is one
    picture, over the layers.
    """
    if len(quantiles) != len(_OUTPUTS):
        return Html("")
    there = [name for name, middle in quantiles[2].items() if np.isfinite(middle).any()]
    if not there:
        return Html("")
    if len(epoch) == 1:
        numbers = [i for i, name in enumerate(quantiles[2], 1) if name in there]
        layer = np.array(numbers, np.float64)
        five = [np.array([by[name][0] for name in there]) for by in quantiles]
        return by_depth(layer, five, what, log)
    names = evenly(there, PANELS)
    both = np.concatenate([by[name] for by in quantiles for name in names])
    scale = scale_of(both[both > 0], log=True) if log and (both > 0).any() else None
    few, across = thinned(epoch, 5 * len(names)), epoch_axis([epoch])
    pictures = []
    for name in names:
        five = [by[name][few] for by in quantiles]
        chart = Chart(
            across[0],
            scale or scale_of(np.concatenate(five), log=False),
            ("", ""),
            140.0,
            columns=across[1],
            width=230.0,
        )
        chart.band(epoch[few], five[0], five[4], "c0")
        chart.band(epoch[few], five[1], five[3], "c0")
        chart.line(epoch[few], five[2], "curve c0")
        drawn = chart.draw(f"quantiles of {name}'s {what} by epoch")
        pictures.append(card(shorten(name, 26), drawn))
    scales = "one log scale" if scale else "each on its own scale"
    which = f"{len(names)} of {len(there)} layers, evenly spaced; " if names != there else ""
    note = f"{which}line: median; areas: the middle 50 % and 90 %; across: epoch; {scales}"
    return join(
        [
            tag("h3", f"{what[0].upper()}{what[1:]} of each layer"),
            tag("p", note, class_="sub"),
            tag("div", *pictures, class_="small", style=f"--n:{_columns(len(pictures))}"),
        ]
    )


def by_depth(layer: FloatArray, quantiles: Sequence[FloatArray], what: str, log: bool) -> Html:
    """Five quantiles of each layer, `[L]` each, against its number."""
    both = np.concatenate(quantiles)
    positive = log and bool((both > 0).any())
    across, ticks = epoch_axis([layer])
    scale = scale_of(both[both > 0], log=True) if positive else scale_of(both, log=False)
    chart = Chart(across, scale, ("layer, from the input on", ""), columns=ticks)
    chart.band(layer, quantiles[0], quantiles[4], "c0")
    chart.band(layer, quantiles[1], quantiles[3], "c0")
    chart.line(layer, quantiles[2], "curve c0")
    note = "line: median; areas: the middle 50 % and 90 %"
    return card(f"{what} by layer", chart.draw(f"quantiles of {what} by layer"), note=note)


def _columns(pictures: int) -> int:
    """Pictures in a row, so that the last row has the fewest gaps."""
    return min((6, 5, 4), key=lambda columns: -pictures % columns)


# -- one number a layer ----------------------------------------------------------------------------


def lines(epoch: FloatArray, found: Mapping[str, ByLayer]) -> Html:
    """A picture for each statistic with a line a layer; of those that are always 0 a sentence."""
    all_names = list(dict.fromkeys(name for by_layer in found.values() for name in by_layer))
    names = evenly(all_names, LINES)
    zero = [
        statistic
        for statistic, by_layer in found.items()
        if _is_zero(np.concatenate([np.zeros(0), *by_layer.values()]))
    ]
    drawn = [
        line_chart(statistic, epoch, {name: by[name] for name in names if name in by})
        for statistic, by in found.items()
        if statistic not in zero
    ]
    return join(
        [_said(names, all_names, zero), layer_legend(names), cards(list(filter(None, drawn)))]
    )


def _is_zero(values: FloatArray) -> bool:
    known = values[np.isfinite(values)]
    return bool(len(known)) and not known.any()


def _said(names: Sequence[str], all_names: Sequence[str], zero: Sequence[str]) -> Html:
    texts = []
    if len(names) < len(all_names):
        texts.append(f"{len(names)} of {count(len(all_names), 'layer')}, evenly spaced")
    if zero:
        texts.append(f"0 in every layer throughout: {', '.join(zero)}")
    return tag("p", "; ".join(texts), class_="sub") if texts else Html("")


def line_chart(name: str, epoch: FloatArray, by_layer: ByLayer) -> Html:
    """A statistic of each layer against the epoch; colours go from the first to the last."""
    values = np.concatenate([np.zeros(0), *by_layer.values()])
    if not np.isfinite(values).any():
        return Html("")
    chart = by_epoch([epoch], values)
    few = thinned(epoch, len(by_layer))
    last = max(len(by_layer) - 1, 1)
    for i, (layer, line) in enumerate(by_layer.items()):
        chart.line(epoch[few], line[few], "curve", blend(i / last), title=layer)
    drawn = chart.draw(f"{name} of each layer by epoch")
    return card(name, drawn, note=_STATISTICS.get(name, ""))


def layer_legend(names: Sequence[str]) -> Html:
    """The colours of the layers, of many only some."""
    last = max(len(names) - 1, 1)
    step = max(1, -(-len(names) // 12))
    return legend([(blend(i / last), names[i]) for i in range(0, len(names), step)])
