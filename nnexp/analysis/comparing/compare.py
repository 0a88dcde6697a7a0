"""Compares runs, or groups of runs: what differs, and whether the difference is real.

Only one metric gets a verdict; the others, and the cost, stand beside it as they are. `findings`
chooses the statistics, `verdict` the words.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from nnexp.analysis.comparing.checks import (
    comparability,
    config_differences,
    other_data,
    warnings,
)
from nnexp.analysis.comparing.comparison import Comparison, Cost, Evidence, MetricRow, Pair, Side
from nnexp.analysis.comparing.elsewhere import read_elsewhere
from nnexp.analysis.comparing.findings import Finding, counted, find, settings_of
from nnexp.analysis.comparing.verdict import Words, decide, members_sentence, sentence
from nnexp.analysis.results import Result, as_number, read_result
from nnexp.analysis.scores import bounds_of, difference_bounds
from nnexp.errors import DamagedRun, DataError, RunError, UsageError, nearest
from nnexp.stats import Estimate, FloatArray, describe, hedges_g, holm

SPLITS = ("train", "dev", "test")


def compare(
    paths: Sequence[Path],
    metric: str | None = None,
    margin: float | None = None,
    split: str = "test",
) -> Comparison:
    """Compares two or more runs, or two or more groups of runs, with a verdict on one metric.

    Beside them there may be files with the predictions of models from elsewhere, see `elsewhere`.

    metric: the task's primary one when None. margin: differences smaller than it don't matter.
    split: "test" falls back to dev when not all have a test split.

    Raises UsageError for what can't be compared; RunError, DamagedRun and DataError for what can't
    be read.
    """
    results = read_all(paths, margin, files=True)
    split, fallback = choose_split(results, split)
    metric, higher = choose_metric(results, metric, split)
    labels = [letters(i) for i in range(len(results))]
    sides = tuple(
        _side(label, result, split, metric) for label, result in zip(labels, results, strict=True)
    )
    return Comparison(
        metric,
        split,
        higher,
        margin,
        sides,
        config_differences(results),
        comparability(results, split),
        (*_left_out(sides, metric), *fallback, *warnings(results, labels)),
        _pairs(results, sides, _Question(split, metric, higher, margin)),
    )


def histories(comparison: Comparison) -> dict[str, list[dict[str, FloatArray]]]:
    """Each side's learning curves by a title, as `plots.learning_curves` takes them."""
    return {
        f"{side.label}: {side.name}": [run.history() for run in read_result(side.path).runs]
        for side in comparison.sides
        if side.path.is_dir()
    }


# -- what is compared ------------------------------------------------------------------------------


def read_all(
    paths: Sequence[Path], margin: float | None = None, files: bool = False
) -> list[Result]:
    """The runs or groups; UsageError if these can't be compared.

    files: whether there may be files of predictions among them.
    """
    if len(paths) < 2:
        raise UsageError("compare needs at least two runs or two groups")
    if margin is not None and not 0 < margin < math.inf:
        raise UsageError(f"--margin should be a number above 0 (received: {margin})")
    places = [path.resolve() for path in paths]
    for i, place in enumerate(places):
        if place in places[:i]:
            raise UsageError(f"{paths[i]} is given twice; a run can't differ from itself")
    results = _with_files(paths) if files else [read_result(path) for path in paths]
    own = [result for result in results if not result.manifest.get("elsewhere")]
    if len({result.kind for result in own}) > 1:
        kinds = ", ".join(f"{result.path} is a {result.kind}" for result in own)
        raise UsageError(f"compare takes either runs or groups, not both: {kinds}")
    tasks = {result.path: result.summary.get("task") for result in results}
    if len(set(map(str, tasks.values()))) > 1:
        told = ", ".join(f"{path}: {task}" for path, task in tasks.items())
        raise UsageError(f"runs of different tasks can't be compared ({told})")
    return results


def _with_files(paths: Sequence[Path]) -> list[Result]:
    """Runs and groups, and files of predictions of the same as the first of these."""
    for path in paths:
        if path.suffix.lower() == ".csv" and not path.exists():
            raise DataError(f"there is no file {path}")
    found = {path: read_result(path) for path in paths if not path.is_file()}
    if not found:
        raise UsageError("compare needs a run beside files of predictions: it says what is asked")
    first = next(iter(found.values()))
    return [found[path] if path in found else read_elsewhere(path, first) for path in paths]


def choose_split(results: Sequence[Result], split: str) -> tuple[str, list[str]]:
    lacking = [result for result in results if not result.part(split)]
    if not lacking:
        return split, []
    if split == "test" and all(result.part("dev") for result in results):
        who = "No run has" if len(lacking) == len(results) else f"{lacking[0].path} has no"
        return "dev", [
            f"{who} test results, so dev is compared. Whatever was chosen on dev looks better "
            "there than it is."
        ]
    there = ", ".join(name for name in SPLITS if lacking[0].part(name)) or "none"
    raise RunError(f"{lacking[0].path} has no results on {split} (there are: {there})")


def choose_metric(results: Sequence[Result], metric: str | None, split: str) -> tuple[str, bool]:
    known = [name for name in results[0].part(split) if all(name in r.part(split) for r in results)]
    if metric is None:
        primary = list(dict.fromkeys(str(result.summary.get("primary")) for result in results))
        if len(primary) > 1:
            raise UsageError(
                f"the runs have different primary metrics ({', '.join(primary)}): choose with "
                f"--metric (all have: {', '.join(known)})"
            )
        metric = primary[0]
    if metric not in known:
        close = nearest(metric, known)
        raise UsageError(
            f"not all runs have the metric '{metric}' on {split} (all have: {', '.join(known)})"
            + (f"; did you mean '{close}'?" if close else "")
        )
    if metric == "loss" and not same_loss(results):
        raise UsageError(
            "the runs minimize different losses, so their loss can't be compared: choose another "
            f"with --metric (all have: {', '.join(known)})"
        )
    settings = [settings_of(result, metric) for result in results]
    if any(one != settings[0] for one in settings):
        raise UsageError(
            f"the runs compute {metric} in different ways, so it can't be compared: "
            + "; ".join(map(str, settings))
        )
    directions = results[0].summary.get("higher_is_better")
    higher = directions.get(metric) if isinstance(directions, dict) else None
    if not isinstance(higher, bool):
        file = results[0].path / "summary.json"
        raise DamagedRun(f"{file}: higher_is_better does not say which way {metric} goes")
    for result in results:
        if not counted(result, split, metric):
            raise RunError(f"{result.path} ({result.status}) has no number for {split} {metric}")
    return metric, higher


def same_loss(results: Sequence[Result]) -> bool:
    """Whether the losses are in the same units: the same function of equally scaled targets."""
    return all(_loss(result) == _loss(results[0]) for result in results)


def _loss(result: Result) -> tuple[object, object]:
    data = result.config.get("data")
    return result.config.get("loss"), data.get("scale_target") if isinstance(data, dict) else None


def letters(i: int) -> str:
    """A … Z, AA, AB, …"""
    return (letters(i // 26 - 1) if i >= 26 else "") + chr(ord("A") + i % 26)


def _side(label: str, result: Result, split: str, metric: str) -> Side:
    return Side(
        label,
        str(result.config.get("name") or result.path.resolve().name),
        result.path,
        result.kind,
        str(result.manifest.get("varies", "seed")) if result.members else None,
        result.status,
        len(result.runs),
        len(counted(result, split, metric)),
        sum(run.status == "diverged" for run in result.runs),
        {name: _described(result, name) for name in SPLITS if result.part(name)},
        _cost(result),
    )


def _described(result: Result, split: str) -> dict[str, dict[str, Any]]:
    return {
        metric: describe([run.value(split, metric) for run in result.runs], bounds_of(metric))
        for metric in result.part(split)
    }


def _cost(result: Result) -> Cost:
    def average(key: str) -> float | None:
        parts = [run.summary for run in result.runs if (run.path / "summary.json").exists()]
        values = [x for part in parts if (x := as_number(part.get(key))) is not None]
        return float(np.mean(values)) if values else None

    manifest = result.manifest
    parameters = manifest.get("parameters", result.runs[0].manifest.get("parameters"))
    return Cost(
        as_number(manifest.get("seconds")),
        as_number(parameters),
        average("epochs"),
        average("steps"),
    )


def _left_out(sides: Sequence[Side], metric: str) -> list[str]:
    """Diverged members, before anything else: without them a recipe looks better than it is."""
    told = []
    for side in sides:
        if side.kind == "group" and side.diverged:
            told.append(f"{side.diverged} of {side.label}'s {side.members} members diverged.")
        missing = side.members - side.counted
        if missing:
            told.append(
                f"{missing} of {side.label}'s {side.members} members have no {metric} and are left "
                f"out, so {side.label} looks better here than it is."
            )
    return told


# -- pairs -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Question:
    """What is asked of every pair."""

    split: str
    metric: str
    higher_is_better: bool
    margin: float | None


def _pairs(results: Sequence[Result], sides: Sequence[Side], asked: _Question) -> tuple[Pair, ...]:
    chosen = list(combinations(zip(results, sides, strict=True), 2))
    findings = [find(a, b, asked.split, asked.metric) for (a, _), (b, _) in chosen]
    p_values = holm([finding.estimate.p_value for finding in findings])
    equivalent: list[float | None] = [None] * len(findings)
    if asked.margin is not None:
        equivalent = holm([finding.estimate.p_equivalent(asked.margin) for finding in findings])
    return tuple(
        _pair(pair, finding, p, p_equivalent, asked)
        for pair, finding, p, p_equivalent in zip(
            chosen, findings, p_values, equivalent, strict=True
        )
    )


def _pair(
    pair: tuple[tuple[Result, Side], tuple[Result, Side]],
    finding: Finding,
    p_adjusted: float | None,
    p_equivalent: float | None,
    asked: _Question,
) -> Pair:
    (result_a, a), (result_b, b) = pair
    if other_data(result_a, result_b):
        note = (
            f"{a.label} and {b.label} were trained and scored on different data, so the difference "
            "may lie in the data alone."
        )
        finding = replace(finding, notes=(*finding.notes, note))
    words = Words(a.label, b.label, f"{asked.split} {asked.metric}", a.varies or b.varies or "run")
    verdict = decide(finding, p_adjusted, p_equivalent, asked.higher_is_better)
    evidence = _evidence(finding.estimate, finding.scope, asked.metric)
    told = sentence(verdict, finding, words, evidence.interval, p_adjusted, asked.margin)
    needed, estimate, margin = "", finding.estimate, asked.margin
    if margin is not None:
        needed = members_sentence(estimate, words, margin)
    values = [
        np.array(
            [run.value(asked.split, asked.metric) for run in counted(r, asked.split, asked.metric)]
        )
        for r in (result_a, result_b)
    ]
    return Pair(
        a.label,
        b.label,
        evidence,
        verdict,
        f"{told} {needed}".strip(),
        p_adjusted,
        p_equivalent,
        hedges_g(*values),
        estimate.detectable,
        None if margin is None else estimate.members_needed(margin),
        tuple(_evidence(other, scope, asked.metric) for other, scope in finding.beside),
        finding.notes,
        _rows(a, b, same_loss=same_loss([result_a, result_b])),
    )


def _evidence(estimate: Estimate, scope: str, metric: str) -> Evidence:
    interval = estimate.interval(bounds=difference_bounds(metric))
    return Evidence(estimate.test, scope, estimate.difference, interval, estimate.p_value)


def _rows(a: Side, b: Side, *, same_loss: bool) -> tuple[MetricRow, ...]:
    """All metrics that both have; the difference of losses of different kinds means nothing."""
    rows = []
    for split in SPLITS:
        ours, theirs = a.metrics.get(split, {}), b.metrics.get(split, {})
        for metric in (name for name in ours if name in theirs):
            means = ours[metric]["mean"], theirs[metric]["mean"]
            known = None not in means and (same_loss or metric != "loss")
            difference = means[1] - means[0] if known else None
            rows.append(MetricRow(split, metric, ours[metric], theirs[metric], difference))
    return tuple(rows)
