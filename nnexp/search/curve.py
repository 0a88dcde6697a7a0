"""Curves over the amount of data, or over the width: a config trained at several points.

The directory is a sweep's (see `folder`), with these in place of trials:

cells/data-0120/ cells/data-0240/ …   a group of runs each
curve.csv curve.png summary.json      the scores at each point
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np

from nnexp.analysis.comparing.findings import evaluated_ratio
from nnexp.analysis.results import read_result
from nnexp.analysis.scores import bounds_of, difference_bounds
from nnexp.config.experiment import Experiment
from nnexp.config.load import Config, check_config
from nnexp.config.source import Node, Place, put
from nnexp.errors import (
    ConfigError,
    DataError,
    Problem,
    RunError,
    UsageError,
    nearest,
)
from nnexp.runs.plan import signature
from nnexp.runs.rundir import RunDir
from nnexp.search.cells import (
    cell_member,
    check_alike,
    train_packs,
    write_cells,
    write_start,
)
from nnexp.search.engine import Engine, Processes
from nnexp.search.folder import SweepDir
from nnexp.search.packing import is_done
from nnexp.search.progress import Progress
from nnexp.search.sweep import Choices as SweepChoices
from nnexp.search.sweep import absolute, setting_from, setting_of, signals
from nnexp.search.trials import Bench
from nnexp.stats import FloatArray, corrected_paired, describe, welch
from nnexp.train.blueprint import steps_an_epoch

Over = Literal["data", "hidden"]
WIDTHS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
HALVINGS = 6
FEWEST = 8
"""Of data, the points are the whole training split, a half, a quarter …, down to so few."""
SPLITS = ("train", "dev", "test")


@dataclass(frozen=True)
class Choices:
    """What the command line says beside the config.

    values: the points; (): default ones. members: seeds, or splits, of each point.
    same_updates: whether every point has as many updates as the config as it is.
    """

    over: Over
    values: tuple[float, ...] = ()
    members: int = 5
    by_split: bool = False
    metric: str | None = None
    same_updates: bool = False
    workers: int | None = None
    device: str = "auto"


@dataclass(frozen=True)
class Curve:
    """Scores by point.

    values: examples, or units of a layer, `[P]`. scores: of each split `[P, M]`, NaN where a member
    diverged. ratios: of members that differ in their split, at each point the judged examples for
    each training example; else ().
    """

    over: Over
    metric: str
    higher_is_better: bool
    values: tuple[int, ...]
    scores: dict[str, FloatArray]
    by_split: bool
    notes: tuple[str, ...]
    ratios: tuple[float, ...] = ()

    def described(self, split: str, point: int) -> dict[str, Any]:
        """Mean and 95 % interval at a point, see `stats.describe`."""
        return describe(self.scores[split][point].tolist(), bounds_of(self.metric))

    def to_json(self) -> dict[str, Any]:
        points = [
            {
                "value": value,
                **{
                    split: {**self.described(split, i), "scores": scores[i].tolist()}
                    for split, scores in self.scores.items()
                },
            }
            for i, value in enumerate(self.values)
        ]
        return {
            "over": self.over,
            "metric": self.metric,
            "higher_is_better": self.higher_is_better,
            "varies": "split" if self.by_split else "seed",
            "points": points,
            "verdict": verdict(self),
            "notes": list(self.notes),
        }

    def to_csv(self) -> str:
        """A row for each point, split and member."""
        text = io.StringIO()
        lines = csv.writer(text, lineterminator="\n")
        lines.writerow([self.over, "split", "member", self.metric])
        for split, scores in self.scores.items():
            for value, row in zip(self.values, scores.tolist(), strict=True):
                for i, score in enumerate(row):
                    shown = repr(score) if np.isfinite(score) else ""
                    lines.writerow([value, split, i, shown])
        return text.getvalue()


def start(
    config: Config, out: Path, choices: Choices, progress: Progress
) -> tuple[SweepDir, Curve]:
    """Train every point.

    Raises ConfigError with every problem of any point, UsageError, DataError, RunError,
    Interrupted, Terminated, OutOfResources.
    """
    setting = setting_of(SweepChoices(choices.workers, choices.device))
    engine: Engine = Processes(setting)
    try:
        engine.start()  # torch is imported while the points are made
        bench, base = Bench(Path.cwd()), absolute(config)
        resolved = bench.resolved(check_config(base, config.path, "").experiment)
        metric = _metric(resolved, choices.metric)
        values = _values(bench, resolved, choices)
        cells = _cells(base, config.path, bench, resolved, values, choices)
        sweep = SweepDir(RunDir.create(out, config.experiment.name, datetime.now(UTC)).path)
        with sweep.lock(), signals(sweep, "curve"):
            packs = write_cells(sweep, bench, cells, setting)
            write_start(sweep, config, base, bench, resolved, setting)
            sweep.note(
                curve={
                    "over": choices.over,
                    "points": [
                        {"value": value, "home": home}
                        for value, (home, _) in zip(values, cells, strict=True)
                    ],
                    "packs": packs,
                    "metric": metric,
                    "higher_is_better": any(
                        m.component == metric and m.higher_is_better for m in resolved.metrics or ()
                    ),
                    "by_split": choices.by_split,
                    "notes": _notes(resolved, choices),
                },
            )
            return sweep, _go(sweep, engine, progress)
    finally:
        engine.close()


def resume(path: Path, progress: Progress) -> tuple[SweepDir, Curve]:
    """Go on with a curve. Raises RunError, LockedRun, DamagedRun, and what `start` raises."""
    sweep = SweepDir.open(path)
    with sweep.lock():
        state = sweep.state()
        if "curve" not in state:
            raise RunError(f"{path} is no curve: nnexp show {path} says what it is")
        engine: Engine = Processes(setting_from(state))
        try:
            with signals(sweep, "curve"):
                return sweep, _go(sweep, engine, progress)
        finally:
            engine.close()


def read_curve(sweep: SweepDir) -> Curve:
    """The scores, from what the points left. Raises RunError where not all are trained."""
    told = sweep.state()["curve"]
    if any(not is_done(sweep, number) for number in told["packs"]):
        again = f"go on with: nnexp curve --resume {sweep.path}"
        raise RunError(f"{sweep.path} is not finished; {again}")
    metric = told["metric"]
    groups = [read_result(sweep.path / point["home"]) for point in told["points"]]
    scores = {
        split: np.array([[run.value(split, metric) for run in group.runs] for group in groups])
        for split in SPLITS
        if any(run.part(split) for group in groups for run in group.runs)
    }
    split = _judged(scores)
    ratios = [evaluated_ratio(group, split) for group in groups if told["by_split"] and split]
    return Curve(
        told["over"],
        metric,
        told["higher_is_better"],
        tuple(point["value"] for point in told["points"]),
        scores,
        told["by_split"],
        tuple(told["notes"]),
        tuple(ratios),
    )


def _judged(scores: Mapping[str, FloatArray]) -> str:
    """The split that a verdict is about; "" where only train has scores."""
    return next((split for split in ("test", "dev") if split in scores), "")


def _go(sweep: SweepDir, engine: Engine, progress: Progress) -> Curve:
    """Train the packs that are not done, then read the scores."""
    with sweep.under_way():
        train_packs(sweep, engine, sweep.state()["curve"]["packs"], progress)
        found = read_curve(sweep)
    sweep.put(sweep.summary, found.to_json())
    sweep.put_text(sweep.path / "curve.csv", found.to_csv())
    sweep.note(status="finished", metric=f"{_judged(found.scores) or 'train'}/{found.metric}")
    return found


# -- what it says ----------------------------------------------------------------------------------


def verdict(found: Curve) -> str:
    """One sentence: whether more data still help, or whether the widest net is too wide."""
    split = _judged(found.scores)
    if not split or len(found.values) < 2:
        return ""
    last = len(found.values) - 1
    if found.over == "data":
        return _gain(found, split, last - 1, last)
    judge = found.scores.get("dev", found.scores[split])
    means = np.array(
        [row[np.isfinite(row)].mean() if np.isfinite(row).any() else np.nan for row in judge]
    )
    if not np.isfinite(means).any():
        return ""
    best = int(np.nanargmax(means) if found.higher_is_better else np.nanargmin(means))
    chosen = f"best on {'dev' if 'dev' in found.scores else split}: {found.values[best]} units"
    if best == last:
        return f"{chosen}, the widest net: no U up to there"
    change, worse, shown = _difference(found, split, best, last)
    if worse and shown:
        return f"{chosen}; with {found.values[last]} {split} {found.metric} is worse by {change}"
    return (
        f"{chosen}; that {found.values[last]} are worse is not shown ({split} {found.metric} "
        f"differs by {change})"
    )


def _gain(found: Curve, split: str, a: int, b: int) -> str:
    change, worse, shown = _difference(found, split, a, b)
    span = f"from {found.values[a]:,} to {found.values[b]:,} examples"
    if not shown:
        return f"{span} no gain is shown: {split} {found.metric} changes by {change}"
    return f"{span} {split} {found.metric} {'worsens' if worse else 'improves'} by {change}"


def _difference(found: Curve, split: str, a: int, b: int) -> tuple[str, bool, bool]:
    """How much the second point differs, as text; whether it is worse; whether 0 is excluded.

    Over splits, whose training sets overlap, it is paired, with Nadeau and Bengio's variance.
    """
    x, y = found.scores[split][a], found.scores[split][b]
    if found.by_split:
        x, y = (row[np.isfinite(x - y)] for row in (x, y))
    else:
        x, y = (row[np.isfinite(row)] for row in (x, y))
    if min(len(x), len(y)) < 2:
        return "an unknown amount", False, False
    if found.by_split:
        estimate = corrected_paired(y - x, max(found.ratios[a], found.ratios[b]))
    else:
        estimate = welch(x, y)
    worse = (estimate.difference < 0) == found.higher_is_better
    ends = estimate.interval(bounds=difference_bounds(found.metric))
    if ends is None:
        return f"{abs(estimate.difference):.3g}", worse, estimate.difference != 0
    low, high = sorted(ends if estimate.difference >= 0 else (-ends[0], -ends[1]))
    return f"{abs(estimate.difference):.3g} [{low:.3g}, {high:.3g}]", worse, ends[0] * ends[1] > 0


def _notes(resolved: Experiment, choices: Choices) -> list[str]:
    notes = []
    if choices.over == "data" and not choices.same_updates and resolved.training.steps is None:
        notes.append(
            f"every point is trained for {resolved.training.epochs} epochs, so fewer examples mean "
            "fewer updates; --same-updates gives all as many"
        )
    if not choices.by_split:
        kept = "the same examples are kept at a point" if choices.over == "data" else "one split"
        notes.append(f"intervals are over seeds: {kept}; --splits varies the split, too")
    return notes


# -- points ----------------------------------------------------------------------------------------


def _metric(resolved: Experiment, asked: str | None) -> str:
    """The metric's name. Raises UsageError."""
    names = [metric.component for metric in resolved.metrics or ()]
    if asked is None:
        return names[0]
    if asked not in (*names, "loss"):
        close = nearest(asked, names)
        hint = f"; did you mean '{close}'?" if close else ""
        raise UsageError(
            f"--metric: this config has no '{asked}' (it has: {', '.join(names)}){hint}"
        )
    return asked


def _values(bench: Bench, resolved: Experiment, choices: Choices) -> tuple[int, ...]:
    """The points, in rising order. Raises UsageError."""
    if choices.over == "hidden":
        if not getattr(resolved.model, "hidden", None):
            kind = resolved.model.component
            raise UsageError(f"--over hidden: the model {kind} has no hidden layers to widen")
        found = [int(v) for v in choices.values if v == int(v) and 1 <= v <= 65_536]
        if len(found) < len(choices.values):
            raise UsageError("--values: numbers of hidden units are whole, from 1 to 65536")
        points = found or list(WIDTHS)
    else:
        rows = len(bench.prepared(resolved).parts["train"])
        points = [round(v * rows) if v <= 1 else int(v) for v in choices.values]
        if wrong := [p for p in points if not 1 <= p <= rows]:
            raise UsageError(
                f"--values: the training split has {rows:,} examples (received: {wrong[0]})"
            )
        halves = [round(rows / 2**k) for k in range(HALVINGS)]
        points = points or [p for p in halves if p >= FEWEST] or [rows]
    if len(set(points)) < 2:
        raise UsageError("--values: a curve needs two different points at least")
    return tuple(sorted(set(points)))


def _cells(
    base: Node,
    path: Path,
    bench: Bench,
    resolved: Experiment,
    values: Sequence[int],
    choices: Choices,
) -> list[tuple[str, list[Experiment]]]:
    """Each point's directory and members. Raises ConfigError with all that is wrong with any."""
    fit = signature(bench.prepared(resolved))
    updates = resolved.training.updates(steps_an_epoch(resolved, fit))
    cells, problems = list[tuple[str, list[Experiment]]](), dict[str, Problem]()
    for value in values:
        node = _at(base, resolved, value, choices.over)
        if choices.same_updates:
            node = put(node, "training.steps", updates, Place("--same-updates"))
        try:
            point = bench.resolved(check_config(node, path, "").experiment)
            members = [cell_member(point, i, choices.by_split) for i in range(choices.members)]
            check_alike(bench, members)
        except ConfigError as error:
            for problem in error.problems:
                problems.setdefault(f"{problem.path}: {problem.message}", problem)
            continue
        except DataError as error:
            problems.setdefault(str(error), Problem("", "data", f"with {value}: {error}"))
            continue
        cells.append((f"cells/{choices.over}-{value:05d}", members))
    if problems:
        raise ConfigError(list(problems.values())[:20])
    return cells


def _at(base: Node, resolved: Experiment, value: int, over: Over) -> Node:
    """The config at a point."""
    place = Place(f"--over {over}, {value}")
    if over == "data":
        return put(base, "data.subset", value, place)
    hidden = resolved.model.hidden  # type: ignore[attr-defined]  # `_values` has looked
    if isinstance(hidden, int):
        return put(base, "model.hidden", value, place)
    return put(base, "model.hidden", [value] * len(hidden), place)
