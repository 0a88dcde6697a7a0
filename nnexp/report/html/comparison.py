"""The parts of a report that are about a comparison: who is held against whom, and the verdicts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from nnexp.analysis.comparing.comparison import Comparison, Evidence, Pair, Side
from nnexp.analysis.comparing.verdict import BETTER, EQUIVALENT, WORSE, p_text
from nnexp.analysis.results import Result
from nnexp.errors import count
from nnexp.report.html import charts
from nnexp.report.html.config_table import config_table
from nnexp.report.html.diagnosis import diagnosis
from nnexp.report.html.markup import Content, Html, card, folded, join, pair, section, table, tag
from nnexp.report.html.results import looks, origin, unbroken
from nnexp.report.numbers import duration, interval, spread

_LOOK = {BETTER: "good", WORSE: "bad", EQUIVALENT: "good"}


_FEW = 3
"""Runs or groups whose scores take half the page's width."""


def comparison(found: Comparison, results: Sequence[Result]) -> Iterator[Html]:
    """All sections about several runs or groups. results: those of the comparison, in its order."""
    yield section("Verdict", *warnings(found.warnings), _sides(found.sides), *_verdicts(found))
    yield section("What differs", config_table(results))
    scores = section("Scores", _metrics(found))
    about = section("Is it fair?", _checks(found)), section("Cost", _cost(found.sides))
    yield pair(scores, tag("div", *about)) if len(results) <= _FEW else join([scores, *about])
    named = {f"{s.label}: {s.name}": r for s, r in zip(found.sides, results, strict=True)}
    yield section("Diagnosis", *(folded(name, diagnosis(result)) for name, result in named.items()))
    yield from looks(named)
    yield section(
        "Origin",
        *(folded(name, origin(result)) for name, result in named.items()),
    )


def warnings(texts: Sequence[str]) -> list[Html]:
    return [tag("p", text, class_="warning") for text in texts]


def _sides(sides: Sequence[Side]) -> Html:
    rows = [
        (
            tag("b", side.label),
            side.name,
            count(side.members, side.varies or "model") if side.kind == "group" else "run",
            tag("code", str(side.path)),
        )
        for side in sides
    ]
    return table([""] * 4, rows, left=range(4))


def _verdicts(found: Comparison) -> Iterator[Html]:
    better = "higher" if found.higher_is_better else "lower"
    label = f"{found.split} {found.metric} ({better} is better)"
    rows = [(f"{p.b} − {p.a}", p.evidence.difference, p.evidence.interval) for p in found.pairs]
    drawn = card("Differences", charts.forest(rows, label, found.margin), note=_NOTE)
    yield tag("div", *(_verdict(pair, found) for pair in found.pairs), drawn, class_="tiles two")


_NOTE = "bar: 95 % interval; the line is no difference"


def _verdict(pair: Pair, found: Comparison) -> Html:
    told = []
    if len(found.pairs) > 1 and pair.p_adjusted is not None:
        told.append(f"p {p_text(pair.p_adjusted)} after Holm, over {len(found.pairs)} pairs")
    if pair.effect_size is not None:
        told.append(f"effect size: Hedges' g {pair.effect_size:+.2f}")
    if pair.detectable is not None:
        told.append(f"detectable: {pair.detectable:.2g}")
    if pair.p_equivalent is not None and found.margin is not None:
        told.append(f"equivalent within {found.margin:g}: p {p_text(pair.p_equivalent)}")
    rows = [_evidence(one) for one in (pair.evidence, *pair.beside)]
    head = ("difference", "95 % interval", "p", "speaks of", "by")
    return tag(
        "div",
        sentence(pair.sentence, pair.verdict),
        table(head, rows, left=(3, 4), class_="scores"),
        tag("p", "; ".join(told), class_="sub") if told else None,
        class_="verdict",
    )


def sentence(text: str, verdict: str) -> Html:
    """A verdict's sentence, its claim in the verdict's colour."""
    claim, colon, rest = text.partition(": ")
    return tag("p", tag("span", claim, class_=_LOOK.get(verdict, "")), f"{colon}{rest}")


def _evidence(one: Evidence) -> list[Content]:
    p = "–" if one.p_value is None else p_text(one.p_value).removeprefix("= ")
    return [f"{one.difference:+.4g}", interval(one.interval), p, one.scope, one.test]


def _checks(found: Comparison) -> Html:
    signs: dict[bool | None, tuple[str, str]] = {
        True: ("✓", "good"),
        False: ("✗", "bad"),
        None: ("?", "faint"),
    }
    rows = []
    for check in found.checks:
        sign, look = signs[check.same]
        rows.append((tag("span", sign, class_=look), check.name, check.text))
    return table([""] * 3, rows, left=range(3))


def _metrics(found: Comparison) -> Html:
    """All metrics of all sides; of two the difference as well."""
    labels = [side.label for side in found.sides]
    one = found.pairs[0] if len(found.pairs) == 1 else None
    differences: Mapping[Any, float | None] = {}
    if one is not None:
        labels.append(f"{one.b} − {one.a}")
        differences = {(row.split, row.metric): row.difference for row in one.rows}
    rows = []
    for split, metrics in found.sides[0].metrics.items():
        for metric in metrics:
            sides = [side.metrics.get(split, {}).get(metric) for side in found.sides]
            cells: list[Content] = [f"{split} {metric}"]
            cells += [_described(side) if side else "–" for side in sides]
            if one is not None:
                difference = differences.get((split, metric))
                cells.append("–" if difference is None else f"{difference:+.4g}")
            asked = (split, metric) == (found.split, found.metric)
            rows.append([tag("b", cell) for cell in cells] if asked else cells)
    note = tag("p", "mean ± standard deviation; below it the 95 % interval", class_="sub")
    several = any(side.kind == "group" for side in found.sides)
    return join([note if several else None, table(["", *labels], rows, class_="scores")])


def _described(score: Mapping[str, Any]) -> Html:
    bounds = score.get("interval")
    below = [tag("br"), tag("span", interval(bounds), class_="faint")] if bounds else []
    return tag("span", unbroken(spread(score)), *below)


def _cost(sides: Sequence[Side]) -> Html:
    rows = []
    for side in sides:
        cost = side.cost
        numbers = (cost.parameters, cost.epochs, cost.steps)
        written = ["–" if x is None else f"{x:,.4g}" if x < 1e4 else f"{x:,.0f}" for x in numbers]
        rows.append((side.label, duration(cost.seconds), *written))
    return table(("", "time", "parameters", "epochs", "steps"), rows)
