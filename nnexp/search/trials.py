"""Trials: from the values that a search drew to the experiments that are trained, and in packs."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nnexp.components.table import Table
from nnexp.config.experiment import Experiment
from nnexp.config.load import check_config
from nnexp.config.source import Node, Place, put
from nnexp.data.prepare import Prepared
from nnexp.errors import ConfigError, DataError, Problem
from nnexp.runs.plan import key_of, load, located, prepared_for, resolved_for, signature
from nnexp.train.blueprint import check_model, footprint


@dataclass
class Trial:
    """One config that is tried.

    draw: its positions in the space. values: what it sets, by key. members: its experiments, one
    for each seed; none if the config can't be trained, for the reasons in `problems`.
    """

    number: int
    draw: Mapping[str, float]
    values: Mapping[str, Any]
    members: list[Experiment] = field(default_factory=list)
    problems: tuple[Problem, ...] = ()


class Bench:
    """Makes experiments of configs; data are read, and prepared, once for all that share them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._tables: dict[str, Table] = {}
        self._prepared: dict[str, Prepared] = {}

    def table(self, experiment: Experiment) -> Table:
        """The experiment's data. Raises DataError."""
        key = _text([experiment.data.source.dump(), experiment.task])
        if key not in self._tables:
            self._tables[key] = load(experiment)
        return self._tables[key]

    def prepared(self, member: Experiment) -> Prepared:
        """A resolved experiment's data, split and preprocessed. Raises DataError."""
        key = data_key(member)
        if key not in self._prepared:
            self._prepared[key] = prepared_for(member, self.table(member))
        return self._prepared[key]

    def resolved(self, experiment: Experiment) -> Experiment:
        """The experiment with every default filled in, once it is known that it can be trained.

        Raises ConfigError and DataError.
        """
        experiment = located(experiment, self.folder)
        resolved = resolved_for(experiment, self.table(experiment))
        check_model(resolved, signature(self.prepared(resolved)))
        return resolved

    def key(self, member: Experiment) -> str:
        """Members with equal keys train in one pack."""
        return key_of(member, self.prepared(member)) + _text(member.data.source.dump())

    def footprint(self, member: Experiment) -> int:
        """Memory in bytes that the member's training takes."""
        return footprint(member, signature(self.prepared(member)))


def data_key(member: Experiment) -> str:
    """What a member's prepared data follow from."""
    steps = [step.dump() for step in member.preprocessing or ()]
    return _text([member.data.dump(), steps, member.training.precision, member.task])


def _text(data: Any) -> str:
    return json.dumps(data, sort_keys=True)


def trial_node(base: Node, values: Mapping[str, Any]) -> Node:
    """The config `base` with a trial's values in it. Raises ConfigError."""
    node = base
    for path, value in values.items():
        node = put(node, path, value, Place(f"{path}={_short(value)}"))
    return node


def make_trial(
    bench: Bench,
    base: Node,
    path: Path,
    number: int,
    draw: Mapping[str, float],
    values: Mapping[str, Any],
    seeds: int,
) -> Trial:
    """A trial; one that can't be trained says why."""
    try:
        experiment = check_config(trial_node(base, values), path, "").experiment
        resolved = bench.resolved(experiment)
    except ConfigError as error:
        return Trial(number, draw, values, problems=error.problems)
    except DataError as error:
        return Trial(number, draw, values, problems=(Problem("", "data", str(error)),))
    members = [with_seed(resolved, resolved.seed + seed) for seed in range(seeds)]
    return Trial(number, draw, values, members)


def with_seed(experiment: Experiment, seed: int) -> Experiment:
    """The experiment with another seed."""
    return experiment.model_copy(update={"seed": seed})


def _short(value: Any) -> str:
    text = json.dumps(value) if isinstance(value, (dict, list)) else str(value)
    return text if len(text) <= 60 else text[:57] + "…"


# -- packs -----------------------------------------------------------------------------------------

WIDEST = 128
"""Members of a pack, at most: from here on throughput gains nothing."""


def form_packs(
    bench: Bench, trials: Iterable[Trial], workers: int, memory: int
) -> list[list[Trial]]:
    """Trials that train together: as wide as memory allows, and so that every worker has one.

    A trial's seeds stay together.
    """
    groups: dict[str, list[Trial]] = {}
    for trial in trials:
        if trial.members:
            groups.setdefault(bench.key(trial.members[0]), []).append(trial)
    packs: list[list[Trial]] = []
    shares = max(1, workers // max(len(groups), 1))
    for group in groups.values():
        seeds = len(group[0].members)
        one = bench.footprint(group[0].members[0])
        most = max(1, min(WIDEST, memory // workers // one) // seeds)
        count = max(-(-len(group) // most), min(shares, len(group) // 2), 1)
        packs += _evenly(group, count)
    packs.sort(key=lambda pack: -sum(len(trial.members) for trial in pack))  # the longest first
    return packs


def _evenly(trials: Sequence[Trial], count: int) -> list[list[Trial]]:
    bounds = [len(trials) * i // count for i in range(count + 1)]
    return [list(trials[a:b]) for a, b in itertools.pairwise(bounds)]
