"""A sweep from its first draw to its honest score, and on from wherever it was left."""

from __future__ import annotations

import csv
import io
import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nnexp.analysis.comparing.findings import mean_score
from nnexp.analysis.results import read_result
from nnexp.analysis.scores import bounds_of
from nnexp.components.searching.bayesian import Asking
from nnexp.components.searching.method import Searcher, tenth
from nnexp.components.searching.space import Draw, Space
from nnexp.config.experiment import Experiment
from nnexp.config.source import Node, dump, plain
from nnexp.config.sweep import Sweep
from nnexp.errors import (
    DataError,
    Diverged,
    NnexpError,
    OutOfResources,
    Problem,
    RunError,
    UsageError,
)
from nnexp.search.engine import Engine
from nnexp.search.folder import SweepDir
from nnexp.search.importance import importance
from nnexp.search.packing import Group, is_done, write_pack
from nnexp.search.progress import Progress
from nnexp.search.trials import Bench, Trial, form_packs, make_trial, trial_node, with_seed

FRESH = 1_000_003
"""From the config's seed to the first one of the winner's fresh seeds."""


@dataclass(frozen=True)
class Result:
    """What a trial came to. score: the metric, None if the trial diverged or can't be trained."""

    state: str
    score: float | None
    row: Mapping[str, Any] = field(default_factory=dict)


@dataclass
class Study:
    """A search at work in its directory.

    base: the config without the section `sweep`; path: its name, for messages.
    metric: the column that decides, such as dev/accuracy.
    """

    sweep: SweepDir
    spec: Sweep
    base: Node
    path: Path
    space: Space
    bench: Bench
    engine: Engine
    progress: Progress
    metric: str
    higher: bool
    memory: int
    workers: int
    trials: list[Trial] = field(default_factory=list)
    results: dict[int, Result] = field(default_factory=dict)
    batches: int = 0
    packs: int = 0

    # -- the search --------------------------------------------------------------------------------

    def go(self) -> dict[str, Any]:
        """Search, train the winner on fresh seeds; the summary, which is written as well."""
        searcher = self._searcher()
        begun = time.monotonic()
        limit = math.inf if self.spec.time_limit is None else self.spec.time_limit * 60.0
        self._replay(searcher)
        total = searcher.total or self.spec.trials
        self.progress.begun(self.sweep, total)
        self._report()
        while (left := total - len(self.trials)) > 0:
            if self.trials and time.monotonic() - begun >= limit:
                self.progress.note(f"the time limit is reached after {len(self.trials)} trials")
                break
            draws = searcher.ask(len(self.trials), min(self._batch(searcher), left))
            if not draws:
                break
            self._tell(searcher, self._plan(draws), self._train)
        self.progress.ended()
        return self._conclude()

    def _searcher(self) -> Searcher:
        searcher = self.spec.method.searcher(self.space, self.spec.trials, self.spec.seed)
        if isinstance(searcher, Asking):
            searcher.journal = self.sweep.journal
        return searcher

    def _batch(self, searcher: Searcher) -> int:
        """How many trials are asked for at once; a time limit needs places to stop at."""
        return searcher.batch if self.spec.time_limit is None else tenth(self.spec.trials)

    def _replay(self, searcher: Searcher) -> None:
        """Bring back what was done before; train what was under way."""
        while self.sweep.batch(self.batches).is_file():
            batch = self.sweep.read(self.sweep.batch(self.batches))
            draws, first = [dict(draw) for draw in batch["draws"]], len(self.trials)
            trials = [self._trial(first + i, draw) for i, draw in enumerate(draws)]
            self.trials += trials
            self.batches += 1
            self.packs = max([self.packs, *(number + 1 for number in batch["packs"])])
            open_packs = [n for n in batch["packs"] if not is_done(self.sweep, n)]
            if open_packs:
                self._train(open_packs)
            self._collect(trials)
            values = [self._value(trial.number) for trial in trials]
            self._slopes(searcher, batch["packs"], trials)
            if not searcher.replay(first, draws, values):
                raise RunError(
                    f"{self.sweep.path} can't go on: {self.spec.method.component} draws other "
                    "trials than it did then (was another version of Optuna installed?)"
                )

    def _plan(self, draws: Sequence[Draw]) -> list[Trial]:
        """Make trials of draws and write their packs down."""
        first = len(self.trials)
        trials = [self._trial(first + i, draw) for i, draw in enumerate(draws)]
        numbers = []
        for pack in form_packs(self.bench, trials, self.workers, self.memory):
            groups = [self._group(trial) for trial in pack]
            self._write(self.packs, groups, keep=self.spec.keep == "all", searched=True)
            numbers.append(self.packs)
            self.packs += 1
        self.sweep.put(
            self.sweep.batch(self.batches),
            {"first": first, "draws": [dict(draw) for draw in draws], "packs": numbers},
        )
        self.batches += 1
        self.trials += trials
        return trials

    def _trial(self, number: int, draw: Draw) -> Trial:
        values = self.space.values(draw)
        return make_trial(self.bench, self.base, self.path, number, draw, values, self.spec.seeds)

    def _group(self, trial: Trial) -> Group:
        home = self.sweep.trial(trial.number).path.relative_to(self.sweep.path)
        return Group(home.as_posix(), trial.members, self.spec.seeds > 1)

    def _write(
        self, number: int, groups: Sequence[Group], *, keep: bool, searched: bool = False
    ) -> None:
        halving = self.spec.halving.dump() if self.spec.halving and searched else None
        slopes = self.spec.method.slopes_wanted(self.space) if searched else None
        write_pack(
            self.sweep, number, groups,
            metric=self.metric, halving=halving, keep=keep, slopes=slopes,
        )  # fmt: skip

    def _tell(self, searcher: Searcher, trials: Sequence[Trial], train: Any) -> None:
        """Train a batch and tell the method how it went, in the trials' order."""
        numbers = self.sweep.read(self.sweep.batch(self.batches - 1))["packs"]
        train(numbers)
        self._collect(trials)
        self._slopes(searcher, numbers, trials)
        values = [self._value(trial.number) for trial in trials]
        searcher.tell([dict(trial.draw) for trial in trials], values)

    def _slopes(self, searcher: Searcher, packs: Sequence[int], trials: Sequence[Trial]) -> None:
        if self.spec.method.slopes_wanted(self.space) is None:
            return
        found: dict[str, dict[str, float]] = {}
        for number in packs:
            slopes = self.sweep.read(self.sweep.pack(number).with_suffix(".slopes.json"))
            groups = self.sweep.read(self.sweep.pack(number))["groups"]
            row = 0
            for group in groups:
                rows = range(row, row + len(group["members"]))
                found[group["home"]] = {
                    name: sum(values[r] for r in rows) / len(rows)
                    for name, values in slopes.items()
                }
                row += len(group["members"])
        searcher.slopes([found.get(self._group(trial).home, {}) for trial in trials])

    # -- training ----------------------------------------------------------------------------------

    def _train(self, packs: Sequence[int]) -> None:
        """Have packs trained, those that are done left out."""
        waiting = [number for number in packs if not is_done(self.sweep, number)]
        homes = {number: self._homes(number) for number in waiting}
        under_way: dict[int, float] = {}

        def told(answer: Mapping[str, Any]) -> None:
            if "failed" in answer:
                kind = _KINDS.get(answer["kind"], RunError)
                raise kind(f"pack {answer['failed']}: {answer['error']}")
            if "done" in answer:
                number = int(answer["done"])
                under_way.pop(number, None)
                self._collect([t for t in self.trials if self._group(t).home in homes[number]])
            else:
                number = int(answer["pack"])
                under_way[number] = len(homes[number]) * float(answer["share"])
            self._report(sum(under_way.values()))

        if waiting:
            self.engine.run(self.sweep, waiting, told)

    def _homes(self, pack: int) -> set[str]:
        """The directories of a pack's trials."""
        return {group["home"] for group in self.sweep.read(self.sweep.pack(pack))["groups"]}

    def _report(self, more: float = 0.0) -> None:
        best = self._best()
        score = None if best is None else self.results[best].score
        self.progress.advanced(len(self.results) + more, score)

    # -- results -----------------------------------------------------------------------------------

    def _collect(self, trials: Sequence[Trial]) -> None:
        """Read what trials came to, and write the table of all."""
        for trial in trials:
            self.results[trial.number] = self._read(trial)
        self._write_table()

    def _read(self, trial: Trial) -> Result:
        if trial.problems:
            return Result("invalid", None, {"error": str(trial.problems[0])})
        home = self.sweep.trial(trial.number)
        summary = home.read_summary()
        part, _, name = self.metric.partition("/")
        found = summary[part][name]
        row = {"seconds": home.read_manifest().get("seconds"), "epochs": summary["epochs"]}
        if self.spec.seeds > 1:
            row = {**row, "sd": found["sd"], "epochs": summary["epochs"]["mean"]}
            whole = summary["diverged"] == 0
            score = found["mean"] if whole else None
            pruned = any(m.read_summary().get("pruned") for m in home.members())
        else:
            score, pruned = found, bool(summary.get("pruned"))
        if score is None:
            return Result("diverged", None, row)
        return Result("pruned" if pruned else "finished", score, row)

    def _value(self, number: int) -> float:
        """What the method is told: lower is better."""
        score = self.results[number].score
        if score is None or not math.isfinite(score):
            return math.inf
        return -score if self.higher else score

    def _best(self) -> int | None:
        """The trial with the best score; the first one of equals."""
        good = [n for n, r in self.results.items() if r.state == "finished"]
        good = [n for n in good if math.isfinite(self._value(n))]
        return min(good, key=lambda n: (self._value(n), n)) if good else None

    def _write_table(self) -> None:
        names = [one.path for one in self.space.parameters]
        names = list(dict.fromkeys(names))
        text = io.StringIO()
        lines = csv.writer(text, lineterminator="\n")
        extra = ["sd"] if self.spec.seeds > 1 else []
        lines.writerow(["trial", "state", self.metric, *extra, *names, "epochs", "seconds"])
        for trial in self.trials:
            result = self.results.get(trial.number)
            if result is None:
                continue
            cells = [_cell(trial.values.get(name)) for name in names]
            more = [_cell(result.row.get(key)) for key in extra]
            last = [_cell(result.row.get(key)) for key in ("epochs", "seconds")]
            score = _cell(result.score)
            lines.writerow([trial.number, result.state, score, *more, *cells, *last])
        self.sweep.put_text(self.sweep.table, text.getvalue())

    # -- the winner --------------------------------------------------------------------------------

    def _conclude(self) -> dict[str, Any]:
        """The winner, trained alone and on fresh seeds, and all in one summary."""
        states = [result.state for result in self.results.values()]
        summary: dict[str, Any] = {
            "metric": self.metric,
            "higher_is_better": self.higher,
            "method": self.spec.method.component,
            "trials": len(states),
            **{state: states.count(state) for state in ("finished", "diverged", "pruned")},
            "invalid": states.count("invalid"),
            "packs": self.packs,
        }
        number = self._best()
        if number is None:
            self.sweep.put(self.sweep.summary, {**summary, "status": "diverged"})
            raise Diverged(f"no trial of {self.sweep.path} came to a score: all diverged")
        trial, score = self.trials[number], self.results[number].score
        assert score is not None
        self._train_winner(trial)
        alone = self.sweep.best.read_summary()
        part, _, name = self.metric.partition("/")
        summary |= {
            "status": "finished",
            "best": {"trial": number, "score": score, "values": _plain(trial.values)},
            "alone": alone[part][name],
            "importance": self._importance(),
        }
        if self.spec.fresh_seeds:
            summary["fresh"] = self._honest(trial.members[0], score)
        self._write_best(trial, score, summary)
        self.sweep.put(self.sweep.summary, summary)
        return summary

    def _train_winner(self, trial: Trial) -> None:
        first = trial.members[0]
        groups = [Group("best", [first], False)]
        if self.spec.fresh_seeds:
            seeds = range(first.seed + FRESH, first.seed + FRESH + self.spec.fresh_seeds)
            groups.append(Group("winner", [with_seed(first, seed) for seed in seeds], True))
        numbers = []
        for offset, group in enumerate(groups):
            self._write(self.packs + offset, [group], keep=True)
            numbers.append(self.packs + offset)
        self._train(numbers)

    def _honest(self, experiment: Experiment, score: float) -> dict[str, Any]:
        """The winner's scores on fresh seeds, and how much of the search's was luck."""
        part, _, name = self.metric.partition("/")
        result = read_result(self.sweep.winner.path)
        found: dict[str, Any] = {"seeds": self.spec.fresh_seeds}
        for split in dict.fromkeys((part, "test")):
            if result.part(split):
                estimate = mean_score(result, split, name)
                interval = estimate.interval(bounds=bounds_of(name))
                found[split] = {
                    "mean": estimate.difference,
                    "interval": None if interval is None else list(interval),
                }
        honest = found["test" if "test" in found else part]["mean"]
        found["selection_bias"] = (score - honest) if self.higher else (honest - score)
        return found

    def _importance(self) -> dict[str, float]:
        """The share of each key in the scores' differences."""
        known = [
            (trial.draw, self._value(trial.number))
            for trial in self.trials
            if math.isfinite(self._value(trial.number))
        ]
        return importance(self.space, [d for d, _ in known], [v for _, v in known])

    def _write_best(self, trial: Trial, score: float, summary: Mapping[str, Any]) -> None:
        lines = [
            f"# Trial {trial.number} of {self.sweep.path.name}: {self.metric} {score:.6g} in its "
            "pack;",
            f"# trained alone from this file: {summary['alone']:.6g}.",
        ]
        node = trial_node(self.base, trial.values)
        self.sweep.put_text(self.sweep.best_config, "\n".join(lines) + "\n" + dump(plain(node)))


_KINDS: dict[str, type[NnexpError]] = {
    kind.__name__: kind for kind in (OutOfResources, UsageError, DataError)
}
"""What a worker may say that is not the run's fault."""


def first_problems(study: Study) -> list[Problem]:
    """Why configs at the ends of the space, and the first ones drawn, can't be trained."""
    middle: Draw = {one.name: 0.0 if one.domain.count else 0.5 for one in study.space.parameters}
    draws: list[Draw] = [middle]
    for one in study.space.parameters:
        ends = range(one.domain.count) if one.domain.count else (0.0, 1.0)
        parents = {one.when[0]: float(min(one.when[1]))} if one.when else {}
        draws += [{**middle, **parents, one.name: float(end)} for end in ends]
    found: dict[str, Problem] = {}
    for draw in draws:
        trial = study._trial(0, study.space.reduced(draw))
        for problem in trial.problems:
            found.setdefault(str(problem), problem)
    return list(found.values())


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    return json.loads(json.dumps(values))  # type: ignore[no-any-return]


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, dict) and set(value) == {"name"}:
        return str(value["name"])
    if isinstance(value, (dict, list, bool)):
        return json.dumps(value)
    return repr(value) if isinstance(value, float) else str(value)
