"""The parts of a report that are about runs and groups: scores, curves, predictions, config."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from nnexp.analysis.pictures import times_answered
from nnexp.analysis.precision_recall import precision_recall
from nnexp.analysis.results import Result
from nnexp.analysis.scores import bounds_of
from nnexp.errors import NnexpError, count
from nnexp.report.html import charts, class_charts, evidence
from nnexp.report.html.config_table import config_table
from nnexp.report.html.diagnosis import diagnosis
from nnexp.report.html.inside import inside
from nnexp.report.html.layers import layers
from nnexp.report.html.markup import Content, Html, cards, folded, join, pair, section, table, tag
from nnexp.report.numbers import duration, interval, spread, value
from nnexp.stats import describe

PARTS = ("train", "dev", "test")
_PANELS = 6
"""Target columns of a regression that have a picture."""

Named = Mapping[str, Result]
"""Runs or groups by what the page calls them."""


def one_result(result: Result) -> Iterator[Html]:
    """The sections about one run or one group."""
    yield section("Scores", scores(result), baselines(result))
    yield section("Diagnosis", diagnosis(result))
    yield from looks({"": result})
    yield pair(section("Config", config_table([result])), section("Origin", origin(result)))


def looks(named: Named) -> Iterator[Html]:
    """The pictures of one or more runs or groups."""
    histories = {name: [evidence.history(run) for run in r.runs] for name, r in named.items()}
    first = next(iter(named.values()))
    yield section("Training", *_training(histories, str(first.summary.get("primary"))))
    found = [figure for name, r in named.items() for figure in predictions(name, r)]
    found += [figure for name, r in named.items() for figure in inside(name, r)]
    wide = [figure for figure in found if 'class="span"' in figure[:20]]
    beside = [figure for figure in found if figure and figure not in wide]
    yield section("What it has learnt", cards(wide), cards(beside))
    yield section("Layers over time", *(layers(name, r) for name, r in named.items()))


# -- scores ----------------------------------------------------------------------------------------


def scores(result: Result) -> Html:
    """Every metric on every part; of a group mean ± standard deviation and the 95 % interval."""
    summary = result.summary
    parts = [part for part in PARTS if summary.get(part)]
    if not parts:
        return tag("p", "No scores: ", result.status, class_="bad")
    last, primary = parts[-1], summary.get("primary")
    head: list[Content] = ["", *parts]
    head += [f"95 % interval ({last})"] if result.members else []
    rows = []
    for metric in sorted(summary[last], key=lambda name: name != primary):
        cells: list[Content] = [metric]
        cells += [_score(result, part, metric) for part in parts]
        if result.members:
            cells.append(interval(_described(result, last, metric)["interval"]))
        bold = metric == primary
        rows.append([tag("b", cell) if bold else cell for cell in cells])
    return join([table(head, rows, class_="scores"), *_told(result)])


def _score(result: Result, part: str, metric: str) -> Html:
    if result.members:
        return unbroken(spread(_described(result, part, metric)))
    return tag("span", value(result.value(part, metric)))


def unbroken(told: str) -> Html:
    """`0.946 ± 0.012`, where a line may end before the sign only."""
    mean, sign, sd = told.partition(" ± ")
    return join([mean, " ", tag("span", f"± {sd}", class_="nw")] if sign else [mean])


def _described(result: Result, part: str, metric: str) -> dict[str, Any]:
    return describe([run.value(part, metric) for run in result.runs], bounds_of(metric))


def _told(result: Result) -> Iterator[Html]:
    """How the scores came about, and what is wrong with them."""
    summary, diverged = result.summary, sum(run.status == "diverged" for run in result.runs)
    if result.members:
        varies = str(result.manifest.get("varies", "seed"))
        text = f"{count(len(result.members), 'model')} that differ in their {varies}: "
        yield tag(
            "p", text + "mean ± standard deviation; the interval is of the mean", class_="sub"
        )
        if diverged:
            yield tag(
                "p", f"{diverged} of {len(result.members)} members diverged", class_="warning"
            )
        return
    epochs, best = summary.get("epochs"), summary.get("best_epoch")
    parts = [count(epochs, "epoch") if isinstance(epochs, int) else ""]
    parts += [f"best epoch {best}" if best != epochs else ""]
    parts += ["stopped early" if summary.get("stopped_early") else ""]
    yield tag("p", ", ".join(filter(None, parts)), class_="sub")
    if diverged:
        yield tag("p", "The run diverged.", class_="warning")


def baselines(result: Result) -> Html:
    """The primary metric of simple models of the same data, if they were asked for."""
    found = result.summary.get("baselines")
    if not isinstance(found, Mapping) or not found:
        return Html("")
    primary = str(result.summary.get("primary"))
    parts = [part for part in PARTS if result.summary.get(part)]
    rows = [
        (name, *(value((scored.get(part) or {}).get(primary)) for part in parts))
        for name, scored in found.items()
    ]
    return table([f"baselines: {primary}", *parts], rows)


# -- pictures --------------------------------------------------------------------------------------


def _training(histories: charts.Histories, primary: str) -> list[Content]:
    """Loss and primary metric, then what followed a schedule; the rest when it is asked for."""
    columns = dict.fromkeys(c for group in histories.values() for history in group for c in history)
    found = [c.partition("/")[2] for c in sorted(columns) if c.partition("/")[0] in PARTS]
    metrics = [m for m in dict.fromkeys(["loss", primary, *found]) if m in found]
    drawn = {m: charts.curves(histories, m) for m in metrics}
    first = [drawn[m] for m in metrics if m in ("loss", primary)]
    rest = [drawn[m] for m in metrics if m not in ("loss", primary)]
    moving = [c for c in columns if "/" not in c and c not in ("epoch", "step")]
    courses = [charts.course(histories, column) for column in moving]
    steady = [told for column in moving if (told := charts.steady(histories, column))]
    said = f"constant: {'; '.join(steady)}" if steady else ""
    return [
        cards([figure for figure in (*first, *courses) if figure]),
        tag("p", said, class_="sub") if said else None,
        folded("Other metrics", cards([figure for figure in rest if figure])),
    ]


def predictions(name: str, result: Result) -> Iterator[Html]:
    """Confusion matrix and reliability of classes, predicted against true values, labels."""
    split, runs = evidence.judged_split(result), evidence.scored(result)
    title = f"{name}: {{}} ({split})" if name else f"{{}} ({split})"
    yield from _classes(title, runs, split)
    yield from _found(title, result, split)
    values = [found for run in runs if (found := evidence.valued(run, split))]
    columns = list(values[0]) if values else []
    for column in columns[:_PANELS]:
        target, guess = (np.concatenate([found[column][i] for found in values]) for i in (0, 1))
        both = "predicted against true" + (f" {column}" if len(columns) > 1 else "")
        yield class_charts.scatter(target, guess, title.format(both), len(values))
        if len(columns) == 1:
            yield class_charts.residuals(target, guess, title.format("residuals"), len(values))
    labels = [counts for run in runs if (counts := evidence.labelled(run, split))]
    if labels:
        sums = {key: np.sum([counts[key] for counts in labels], axis=0) for key in labels[0]}
        yield class_charts.by_label(sums, title.format("by label"))


def _classes(title: str, runs: Sequence[Result], split: str) -> Iterator[Html]:
    """What models say of examples that have a class."""
    told = [one for run in runs if (one := evidence.classified(run, split)) is not None]
    told = [one for one in told if one.classes == told[0].classes]
    if not told:
        return
    classes, counts = told[0].classes, np.sum([one.counts for one in told], axis=0)
    heat = class_charts.confusion(counts, classes, title.format("confusion matrix"), len(told))
    is_wide = 12 < len(classes) <= class_charts.CLASSES
    yield tag("div", heat, class_="span") if is_wide else heat
    if len(classes) > class_charts.FEW:
        yield class_charts.by_class(counts, classes, title.format("by class"))
    sure = [one.sureness for one in told if one.sureness is not None]
    if sure:
        times = times_answered(runs, split)
        yield class_charts.reliability(sure, title.format("reliability"), times)


def _found(title: str, result: Result, split: str) -> Iterator[Html]:
    """How well the second of two classes, or the only label, is found."""
    try:
        told = precision_recall(result, split)
    except NnexpError:  # there are more, or there are no scores
        return
    yield class_charts.precision_recall(told, title.format("precision and recall"))


# -- where it comes from ---------------------------------------------------------------------------


def origin(result: Result) -> Html:
    """When, where and on what it was trained."""
    manifest = result.manifest
    data, split = _mapping(manifest.get("data")), _mapping(result.runs[0].manifest.get("split"))
    counts = ", ".join(f"{part} {n:,}" for part, n in _mapping(split.get("counts")).items())
    versions = {"nnexp": manifest.get("nnexp"), **_mapping(manifest.get("versions"))}
    parameters = manifest.get("parameters", result.runs[0].manifest.get("parameters"))
    seconds, rows = manifest.get("seconds"), data.get("rows")
    facts = {
        "folder": str(result.path),
        "status": result.status,
        "created": str(manifest.get("created") or ""),
        "took": duration(seconds) if isinstance(seconds, int | float) else "",
        "device": str(manifest.get("device_name") or manifest.get("device") or ""),
        "parameters": f"{parameters:,}" if isinstance(parameters, int) else "",
        "examples": (f"{rows:,} ({counts})" if counts else f"{rows:,}") if rows else counts,
        "data": str(data.get("fingerprint") or "")[:16],
        "options": " ".join(f"--set {text}" for text in manifest.get("overrides") or ()),
        "versions": ", ".join(f"{name} {number}" for name, number in versions.items() if number),
        "commit": str(manifest.get("git_commit") or ""),
    }
    return table(("", ""), [pair for pair in facts.items() if pair[1]], left=(0, 1))


def heading(names: Sequence[str], about: str) -> Html:
    """The top of the page."""
    return tag("header", tag("h1", " · ".join(names)), tag("p", about, class_="sub"))


def name_of(result: Result) -> str:
    return str(result.config.get("name") or result.path.resolve().name)


def _mapping(found: Any) -> Mapping[str, Any]:
    return found if isinstance(found, Mapping) else {}
