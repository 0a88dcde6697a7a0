"""Permutation importance: how much worse a run answers when a column's values are shuffled.

A column of the data as they were read is shuffled among the examples of a split, before any
preprocessing, so that text which becomes many inputs is still one column. What the network knows
from another, correlated column as well is not missed: both may then look unimportant.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from nnexp import streams
from nnexp.components.metrics.metric import Metric
from nnexp.components.table import Features, Table
from nnexp.config.experiment import Experiment
from nnexp.data.prepare import RESIDENT_BYTES, Pipeline
from nnexp.errors import UsageError, nearest
from nnexp.lazy import torch
from nnexp.runs import record
from nnexp.runs.committee import averaged, committee
from nnexp.runs.plan import arranged, load, read_experiment, relocated, with_source
from nnexp.runs.rundir import RunDir
from nnexp.runs.score import NEEDED, network, read_pipeline, usable_members
from nnexp.stats import FloatArray, describe
from nnexp.train.loop import Pack

MOST_REPEATS = 1000
SHUFFLES = 101
"""A purpose of random numbers beside those of `streams`."""


@dataclass(frozen=True)
class Importance:
    """How much worse the metric becomes without each column; above 0 where a column helps.

    scores: the metric of each member as it is, `[M]`. drops: `[M, columns, repeats]`.
    examples: how many examples were scored.
    """

    path: Path
    split: str
    metric: str
    columns: tuple[str, ...]
    scores: FloatArray
    drops: FloatArray
    examples: int
    notes: tuple[str, ...]

    @property
    def over(self) -> str:
        """What the intervals are over."""
        return "members" if len(self.scores) > 1 else "repeats"

    def described(self) -> dict[str, dict[str, Any]]:
        """Mean, deviation and 95 % interval by column, the most important first.

        Over the repeats of a single run; over the members' means of a group.
        """
        each = self.drops.mean(axis=2) if len(self.scores) > 1 else self.drops[0].T
        means = each.mean(axis=0)
        order = np.argsort(-np.nan_to_num(means, nan=-np.inf), kind="stable")
        return {self.columns[k]: describe(each[:, k].tolist()) for k in order}

    def to_json(self) -> dict[str, Any]:
        columns = [{"column": name, **told} for name, told in self.described().items()]
        return {
            "run": self.path,
            "split": self.split,
            "metric": self.metric,
            "score": describe(self.scores.tolist()),
            "examples": self.examples,
            "repeats": self.drops.shape[2],
            "over": self.over,
            "columns": columns,
            "notes": self.notes,
        }


def importance(
    path: Path,
    split: str = "test",
    metric: str | None = None,
    repeats: int = 10,
    data_root: Path | None = None,
    shown: Callable[[int, int], None] | None = None,
) -> Importance:
    """The permutation importance of each column of a run on tables, or of a group.

    metric: one of the run's; None: its primary. data_root: the folder where the data files are now.
    All members and columns are shuffled alike. shown: called with how many of all columns are done.
    Raises UsageError for other runs, RunError and DataError as `evaluate_run`.
    """
    if not 1 <= repeats <= MOST_REPEATS:
        raise UsageError(f"--repeats: should be 1 to {MOST_REPEATS}; it is {repeats}")
    members, notes = usable_members(path)
    if committee(RunDir(path)):
        members = [RunDir(path)]
    scores, drops = [], []
    tables: dict[str, Table] = {}
    for number, run in enumerate(members):
        model = _opened(run, split, metric, data_root, tables)
        base, orders = model.score(model.features), shuffles(len(model.features), repeats)
        found = []
        for column in model.columns:
            others = [model.score(shuffled(model.features, column, order)) for order in orders]
            found.append(model.sign * (base - np.array(others)))
            if shown is not None:
                whole = len(model.columns)
                shown(number * whole + len(found), whole * len(members))
        scores.append(base)
        drops.append(found)
        notes += [note for note in model.notes if note not in notes]
    name, examples = model.metric.component, len(model.features)
    values = np.array(scores), np.array(drops)
    return Importance(path, split, name, model.columns, *values, examples, tuple(notes))


def shuffles(examples: int, repeats: int) -> list[np.ndarray]:
    """The orders that columns are put into, one a repeat."""
    return [
        streams.permutation(streams.key(0, SHUFFLES, repeat), examples) for repeat in range(repeats)
    ]


def shuffled(features: Features, column: str, order: np.ndarray) -> Features:
    """The same examples with one column in another order."""
    if column in features.names:
        numeric = np.array(features.numeric[:])
        place = features.names.index(column)
        numeric[:, place] = numeric[order, place]
        return replace(features, numeric=numeric)
    categorical = features.categorical.copy()
    place = features.categorical_names.index(column)
    categorical[:, place] = categorical[order, place]
    return replace(features, categorical=categorical)


# -- a run that can be asked -----------------------------------------------------------------------


@dataclass(frozen=True)
class _Model:
    """A run, or a committee, with the examples of a split.

    features: the columns it uses. rows: which rows of the data they are. homes: of each network its
    pack, with the split as all its data, its weights and its preprocessing.
    """

    split: str
    metric: Metric
    features: Features
    rows: np.ndarray
    homes: Sequence[tuple[Pack, Mapping[str, torch.Tensor], Pipeline]]
    notes: Sequence[str]

    @property
    def columns(self) -> tuple[str, ...]:
        return (*self.features.names, *self.features.categorical_names)

    @property
    def sign(self) -> float:
        return 1.0 if self.metric.higher_is_better else -1.0

    def score(self, features: Features) -> float:
        """The metric where the examples have these features."""
        found = []
        for pack, tensors, pipeline in self.homes:
            inputs, _ = pipeline.transform(features)
            data = pack.members[0].data
            if data.corruption is not None and _kind(self.split) in data.corruption.on:
                inputs = data.corruption.apply(inputs, self.rows, data.split.seed)
            pack.feed.inputs = torch.from_numpy(inputs).to(pack.device)
            found.append(record.score(pack, 0, tensors, self.split))
        first = self.homes[0][0]
        whole = found[0] if len(found) == 1 else averaged(first, found, self.split)
        return whole.metrics[self.metric.component]


def _opened(
    run: RunDir,
    split: str,
    metric: str | None,
    data_root: Path | None,
    tables: dict[str, Table],
) -> _Model:
    homes = committee(run) or [run]
    for home in homes:
        home.verify(NEEDED)
    experiment, pipeline = read_experiment(run), read_pipeline(homes[0])
    if experiment.task in ("words", "dense") or len(pipeline.shape) != 1:
        raise UsageError(f"{run.path}: importance is for runs on tables, column by column")
    chosen = _metric(experiment, metric)
    experiment = relocated(experiment, data_root) if data_root is not None else experiment
    source = experiment.data.source.knowing(pipeline.classes or ())
    key = repr(source)
    if key not in tables:
        tables[key] = load(with_source(experiment, source))
    table, parts = arranged(experiment.data, tables[key])
    if split not in parts:
        raise UsageError(f"{run.path} has no {split} split; it has {', '.join(parts)}")
    rows, notes = _rows(pipeline, parts[split])
    known = (run.read_manifest().get("split") or {}).get(split)
    if record.hash_ids(table.ids[parts[split]]) != known:
        notes.append("the data, or the files that split them, have changed since training")
    part = replace(
        table, features=table.features.rows(rows), target=table.target[rows], ids=table.ids[rows]
    )
    opened = [_network(home, part, split, chosen) for home in homes]
    features = opened[0][0].feed.tables[0].features
    return _Model(split, chosen, features, rows, opened, notes)


def _network(
    home: RunDir, part: Table, split: str, metric: Metric
) -> tuple[Pack, Mapping[str, torch.Tensor], Pipeline]:
    """A network with its weights; its inputs are put in later."""
    experiment, pipeline = read_experiment(home), read_pipeline(home)
    experiment = experiment.model_copy(update={"metrics": [metric]})
    prepared = pipeline.on(part, {split: np.arange(len(part))}, resident_bytes=0)
    pack, tensors = network(home, experiment, prepared, split)
    return pack, tensors, pipeline


def _rows(pipeline: Pipeline, rows: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """The rows, or as many of them, drawn at random, as fit in memory as inputs; and a note."""
    most = max(1, RESIDENT_BYTES // max(1, pipeline.bytes(1)))
    if len(rows) <= most:
        return rows, []
    drawn = streams.permutation(streams.key(0, SHUFFLES), len(rows))[:most]
    return rows[np.sort(drawn)], [f"{most:,} of {len(rows):,} examples, drawn at random, are used"]


def _metric(experiment: Experiment, name: str | None) -> Metric:
    known = {metric.component: metric for metric in experiment.metrics or ()}
    if name is None:
        return next(iter(known.values()))
    if name not in known:
        close = nearest(name, known)
        hint = f"; did you mean {close}?" if close else ""
        raise UsageError(f"--metric: the run has no {name} (it has: {', '.join(known)}){hint}")
    return known[name]


def _kind(split: str) -> str:
    """What `data.corruption.on` calls a split."""
    return "train" if split == "train" else "eval"
