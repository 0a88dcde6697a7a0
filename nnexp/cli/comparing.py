"""What `nnexp compare` shows: what differs, whether it may be compared, and the verdict."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from nnexp.analysis.comparing.checks import ConfigDifference
from nnexp.analysis.comparing.comparison import Comparison, Evidence, Pair, Side
from nnexp.analysis.comparing.verdict import BETTER, EQUIVALENT, WORSE, p_text
from nnexp.cli import console
from nnexp.cli.console import Cell, Style
from nnexp.cli.listing import brief

_VERDICT: dict[str, Style] = {BETTER: "good", WORSE: "bad", EQUIVALENT: "good"}


def show_comparison(found: Comparison) -> None:
    """The whole comparison: what is compared, each pair's verdict, then the numbers beside it."""
    for text in found.warnings:
        console.say(f"warning: {text}", "warning")
    console.say_table([""] * 4, [_side(side) for side in found.sides])
    labels = [side.label for side in found.sides]
    console.say()
    rows = list(_config_rows(found.config))
    console.say_table(["config", *labels], rows or [[("the same", "dim")]])
    console.say()
    _checks(found)
    for pair in found.pairs:
        console.say()
        _pair(pair, found)
    console.say()
    _metrics(found)
    console.say()
    _cost(found.sides)


def _side(side: Side) -> list[Cell]:
    what = "predictions" if side.path.is_file() else "run"
    if side.kind == "group":
        what = console.count(side.members, side.varies or "model")
    return [(side.label, "bold"), (side.name, "name"), what, (str(side.path), "dim")]


def _config_rows(config: Sequence[ConfigDifference]) -> Iterator[list[Cell]]:
    """One row a key; of components with different names one row for all their parameters."""
    swapped = [row.path.removesuffix(".name") for row in config if row.path.endswith(".name")]
    folded: dict[str, list[dict[str, Any]]] = {}
    for row in config:
        prefix = next((p for p in swapped if row.path.startswith(f"{p}.")), None)
        sides = folded.setdefault(prefix or row.path, [{} for _ in row.values])
        key = row.path.removeprefix(f"{prefix}.") if prefix else ""
        for side, value in zip(sides, row.values, strict=True):
            side[key] = value
    for path, sides in folded.items():
        yield [(path, "name"), *(_written(side) for side in sides)]


def _written(side: Mapping[str, Any]) -> str:
    value = side[""] if "" in side else {k: v for k, v in side.items() if v is not None}
    return "–" if value is None else brief(value)


def _checks(found: Comparison) -> None:
    """Whether the comparison is fair; what is not, stands out."""
    signs: dict[bool | None, Cell] = {True: ("✓", "good"), False: ("✗", "bad"), None: ("?", "dim")}
    rows: list[list[Cell]] = []
    for check in found.checks:
        style: Style = "" if check.same else "warning"
        rows.append([signs[check.same], (check.name, "dim"), (check.text, style)])
    console.say_table([""] * 3, rows)


def _pair(pair: Pair, found: Comparison) -> None:
    higher = "higher" if found.higher_is_better else "lower"
    title = f"{found.split} {found.metric}, {pair.b} − {pair.a}  ({higher} is better)"
    console.say(title, "bold")
    rows: list[list[Cell]] = [_evidence(pair.evidence, "bold")]
    rows += [_evidence(other, "dim") for other in pair.beside]
    console.say_table(["difference", "95 % interval", "p", "speaks of", "by"], rows, indent=2)
    told = []
    if len(found.pairs) > 1 and pair.p_adjusted is not None:
        told.append(f"p {p_text(pair.p_adjusted)} after Holm, over {len(found.pairs)} pairs")
    if pair.effect_size is not None:
        told.append(f"effect size: Hedges' g {pair.effect_size:+.2f}")
    if pair.detectable is not None:
        told.append(f"detectable: {pair.detectable:.2g}")
    if pair.p_equivalent is not None:
        told.append(f"equivalent within {found.margin:g}: p {p_text(pair.p_equivalent)}")
    if told:
        console.say("  " + "; ".join(told), "dim")
    claim, _, rest = pair.sentence.partition(": ")
    console.say_parts([(f"{claim}: ", _VERDICT.get(pair.verdict, "bold")), (rest, "")])


def _evidence(evidence: Evidence, style: Style) -> list[Cell]:
    p = "–" if evidence.p_value is None else p_text(evidence.p_value).removeprefix("= ")
    return [
        (f"{evidence.difference:+.4g}", style),
        (console.interval(evidence.interval), style),
        (p, style),
        (evidence.scope, style),
        (evidence.test, style),
    ]


def _metrics(found: Comparison) -> None:
    """All metrics of all sides, without a verdict; of two sides the difference as well."""
    head = ["metrics", *(side.label for side in found.sides)]
    differences: dict[tuple[str, str], float | None] = {}
    if len(found.pairs) == 1:
        pair = found.pairs[0]
        head.append(f"{pair.b} − {pair.a}")
        differences = {(row.split, row.metric): row.difference for row in pair.rows}
    rows: list[list[Cell]] = []
    for split, metrics in found.sides[0].metrics.items():
        for metric in metrics:
            is_asked = (split, metric) == (found.split, found.metric)
            style: Style = "bold" if is_asked else ""
            sides = [side.metrics.get(split, {}).get(metric) for side in found.sides]
            cells: list[Cell] = [(f"{split} {metric}", style)]
            cells += [(console.spread(side) if side else "–", style) for side in sides]
            if differences:
                difference = differences.get((split, metric))
                cells.append(("–" if difference is None else f"{difference:+.4g}", style))
            rows.append(cells)
    console.say_table(head, rows, right=range(1, len(head)))


def amount(x: float | None) -> str:
    """A count, or the mean of several: `2,998,600`, `12.5`."""
    if x is None:
        return "–"
    return f"{x:,.0f}" if x >= 1e5 else f"{x:,.6g}"


def _cost(sides: Sequence[Side]) -> None:
    def line(name: str, values: Sequence[float | None]) -> list[Cell]:
        return [name, *map(amount, values)]

    rows: list[list[Cell]] = [
        ["training time", *(console.duration(side.cost.seconds) for side in sides)],
        line("parameters", [side.cost.parameters for side in sides]),
        line("epochs", [side.cost.epochs for side in sides]),
        line("updates", [side.cost.steps for side in sides]),
    ]
    console.say_table(["cost", *(s.label for s in sides)], rows, right=range(1, len(sides) + 1))
