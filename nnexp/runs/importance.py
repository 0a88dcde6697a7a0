"""Permutation importance: how much worse a run answers when a column's values are shuffled.

A column of the data as they were read is shuffled among the examples of a split, before any
preprocessing, so that text which becomes many inputs is still one column. What the network knows
from another, correlated column as well is not missed: both may then look unimportant. So columns of
numbers that are correlated are shuffled together as well.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
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
CORRELATED = 0.8
"""Columns with rank correlations, up to the sign, of this and more tell much the same."""
MOST_COLUMNS, MOST_ROWS = 500, 5000
"""So many numeric columns at most are held against each other, on so many examples."""
SHUFFLES = 101
"""A purpose of random numbers beside those of `streams`."""


@dataclass(frozen=True)
class Importance:
    """How much worse the metric becomes without each column; above 0 where a column helps.

    scores: the metric of each member as it is, `[M]`. drops: `[M, columns, repeats]`.
    examples: how many examples were scored.
    groups: columns that are correlated; group_drops: likewise for each, shuffled together.
    """

    path: Path
    split: str
    metric: str
    columns: tuple[str, ...]
    scores: FloatArray
    drops: FloatArray
    examples: int
    notes: tuple[str, ...]
    groups: tuple[tuple[str, ...], ...]
    group_drops: FloatArray

    @property
    def over(self) -> str:
        """What the intervals are over."""
        return "members" if len(self.scores) > 1 else "repeats"

    def described(self) -> dict[str, dict[str, Any]]:
        """Mean, deviation and 95 % interval by column, the most important first.

        Over the repeats of a single run; over the members' means of a group.
        """
        described = self._described(self.drops)
        order = sorted(range(len(described)), key=lambda k: _rank(described[k]))
        return {self.columns[k]: described[k] for k in order}

    def described_groups(self) -> list[tuple[tuple[str, ...], dict[str, Any]]]:
        """The same for each group of correlated columns."""
        found = zip(self.groups, self._described(self.group_drops), strict=True)
        return sorted(found, key=lambda entry: _rank(entry[1]))

    def _described(self, drops: FloatArray) -> list[dict[str, Any]]:
        each = drops.mean(axis=2).T if len(self.scores) > 1 else drops[0]
        return [describe(values.tolist()) for values in each]

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
            "correlated": [{"columns": c, **told} for c, told in self.described_groups()],
            "notes": self.notes,
        }


def _rank(told: Mapping[str, Any]) -> float:
    """Largest mean first; what has none last."""
    return math.inf if told["mean"] is None else -float(told["mean"])


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
    groups: tuple[tuple[str, ...], ...] = ()
    tables: dict[str, Table] = {}
    for number, run in enumerate(members):
        model = _opened(run, split, metric, data_root, tables)
        if number == 0:
            groups = correlated(model.features)
        base, orders = model.score(model.features), shuffles(len(model.features), repeats)
        asked = [*((column,) for column in model.columns), *groups]
        found = []
        for columns in asked:
            others = [model.score(shuffled(model.features, columns, order)) for order in orders]
            found.append(model.sign * (base - np.array(others)))
            if shown is not None:
                shown(number * len(asked) + len(found), len(asked) * len(members))
        scores.append(base)
        drops.append(found)
        notes += [note for note in model.notes if note not in notes]
    each, count = np.array(drops), len(model.columns)
    return Importance(
        path,
        split,
        model.metric.component,
        model.columns,
        np.array(scores),
        each[:, :count],
        len(model.features),
        tuple(notes),
        groups,
        each[:, count:],
    )


def correlated(features: Features) -> tuple[tuple[str, ...], ...]:
    """Numeric columns in groups of two and more, each correlated with all others of its group."""
    if not 1 < len(features.names) <= MOST_COLUMNS or len(features) < 3:
        return ()
    import pandas as pd
    from scipy.cluster.hierarchy import fcluster, linkage
    from scipy.spatial.distance import squareform

    table = pd.DataFrame(np.asarray(features.numeric[:MOST_ROWS], np.float64))
    apart = 1.0 - np.abs(np.nan_to_num(table.corr(method="spearman").to_numpy()))
    np.fill_diagonal(apart, 0.0)
    tree = linkage(squareform(np.maximum(apart, 0.0), checks=False), "complete")
    homes = fcluster(tree, 1.0 - CORRELATED, "distance")
    sets = [np.flatnonzero(homes == home) for home in dict.fromkeys(homes)]
    return tuple(tuple(features.names[k] for k in one) for one in sets if len(one) > 1)


def shuffles(examples: int, repeats: int) -> list[np.ndarray]:
    """The orders that columns are put into, one a repeat."""
    return [
        streams.permutation(streams.key(0, SHUFFLES, repeat), examples) for repeat in range(repeats)
    ]


def shuffled(features: Features, columns: Collection[str], order: np.ndarray) -> Features:
    """The same examples with some columns, together, in another order."""
    numbers = [features.names.index(name) for name in columns if name in features.names]
    texts = [
        features.categorical_names.index(name) for name in columns if name not in features.names
    ]
    if numbers:
        numeric = np.array(features.numeric[:])
        numeric[:, numbers] = numeric[order][:, numbers]
        features = replace(features, numeric=numeric)
    if texts:
        categorical = features.categorical.copy()
        categorical[:, texts] = categorical[order][:, texts]
        features = replace(features, categorical=categorical)
    return features


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
        what = {"words": "words in a text", "dense": "answered pixel by pixel or token by token"}
        shape = "examples of shape " + " × ".join(map(str, pipeline.shape))
        kind = what.get(str(experiment.task), shape)
        raise UsageError(f"{run.path}: importance is for columns of a table; its data are {kind}")
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
