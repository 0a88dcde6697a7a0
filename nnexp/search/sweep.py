"""Sweeps: one search, or one for each of several arms, begun and gone on with."""

from __future__ import annotations

import csv
import secrets
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import nnexp
from nnexp.analysis.comparing.compare import compare
from nnexp.config.load import Config, check_config
from nnexp.config.plugins import loaded
from nnexp.config.source import Node, Place, dump, find, key_place, node_of, plain, put, without
from nnexp.config.sweep import Sweep
from nnexp.errors import (
    ConfigError,
    Interrupted,
    Problem,
    RunError,
    Terminated,
    UsageError,
)
from nnexp.runs import record
from nnexp.runs.rundir import SWEEP, RunDir
from nnexp.runs.signals import handled
from nnexp.search.engine import Engine, Processes, Setting, cores, gpus
from nnexp.search.folder import SweepDir
from nnexp.search.progress import Progress
from nnexp.search.ray_engine import RayEngine, slots
from nnexp.search.space import build_space, scales
from nnexp.search.study import Study, first_problems
from nnexp.search.trials import Bench
from nnexp.train.device import free_memory


class InvalidTrials(ConfigError):
    """Some configs of the search space can't be trained."""


SHOWN = 20
"""Problems of trials that are listed."""


@dataclass(frozen=True)
class Choices:
    """What the command line says beside the config.

    skip_invalid: go on without the trials that can't be trained. engine: what starts the workers;
    None: this machine, or what a sweep that is gone on with was begun with. address: of a Ray
    cluster that runs.
    """

    workers: int | None = None
    device: str = "auto"
    skip_invalid: bool = False
    engine: Literal["local", "ray"] | None = None
    address: str | None = None


def start(config: Config, out: Path, choices: Choices, progress: Progress) -> SweepDir:
    """Search as the config's section `sweep` says, under `out`; the sweep's directory.

    Raises ConfigError with every problem of any trial that is foreseen, DataError, RunError,
    Diverged, Interrupted, Terminated, OutOfResources.
    """
    spec = config.experiment.sweep
    if spec is None:
        message = "is missing: `nnexp sweep` needs to know what to search over"
        hint = "for example: sweep: {search: [optimizer.lr], trials: 32}"
        raise ConfigError([Problem(str(config.path), "sweep", message, hint=hint)])
    base = absolute(config)
    setting = setting_of(choices)
    engine = make_engine(setting, choices)
    try:
        engine.start()  # torch is imported while the trials are made
        bench = Bench(Path.cwd())
        studies = {
            arm: _foreseen(node, config, spec, bench, engine, progress, setting, choices)
            for arm, node in _arms(base, spec, config).items()
        }
        run = RunDir.create(out, config.experiment.name, datetime.now(UTC))
        sweep = SweepDir(run.path)
        with sweep.lock(), signals(sweep):
            _write_start(sweep, config, base, spec, setting, studies)
            sweep.note(engine=choices.engine or "local", address=choices.address)
            return _go(sweep, spec, studies, progress)
    finally:
        engine.close()


def resume(path: Path, progress: Progress, choices: Choices | None = None) -> SweepDir:
    """Go on with a sweep; a finished one is left as it is. Of `choices` only the engine counts.

    Raises RunError, LockedRun, DamagedRun, and what `start` raises.
    """
    sweep = SweepDir.open(path)
    with sweep.lock():
        state = sweep.state()
        if "ablation" in state:
            raise RunError(f"{path} is an ablation; go on with: nnexp ablate --resume {path}")
        if "curve" in state:
            raise RunError(f"{path} is a curve; go on with: nnexp curve --resume {path}")
        if state["status"] in ("finished", "diverged"):
            progress.note(f"{path} is finished; nothing was changed")
            return sweep
        spec = Sweep.model_validate(state["sweep"])
        base = node_of(RunDir(sweep.path).read_yaml(sweep.base), Place(str(sweep.base)))
        setting = setting_from(state)
        choices = _as_before(state, choices or Choices())
        engine = make_engine(setting, choices)
        try:
            engine.start()
            bench = Bench(Path.cwd())
            config = check_config(base, sweep.base, "")
            studies = {}
            for arm, node in _arms(base, spec, config).items():
                study = _study(node, config.path, spec, bench, engine, progress, setting)
                studies[arm] = study
            with signals(sweep):
                sweep.note(engine=choices.engine, address=choices.address)
                return _go(sweep, spec, studies, progress)
        finally:
            engine.close()


def make_engine(setting: Setting, choices: Choices) -> Engine:
    """What trains a sweep's packs. Raises UsageError."""
    if choices.engine == "ray":
        return RayEngine(setting, choices.address)
    if choices.address is not None:
        raise UsageError("--address is that of a Ray cluster: it needs --engine ray")
    return Processes(setting)


def setting_of(choices: Choices) -> Setting:
    """A worker for each GPU, or else for each processor, unless it is said how many."""
    found = gpus() if choices.device != "cpu" and choices.engine != "ray" else []
    workers = choices.workers or len(found) or _slots(choices)
    return Setting(
        workers,
        threads=max(1, cores() // workers),
        memory=sum(found) * 8 // 10 if found else free_memory() // 2,
        device=choices.device,
        gpus=len(found),
        plugins=[plugin.path for plugin in loaded()],
    )


def setting_from(state: Mapping[str, Any]) -> Setting:
    """The setting that a sweep was begun with."""
    return Setting(
        state["workers"],
        state["threads"],
        state["memory"],
        state["device"],
        state["gpus"],
        plugins=[plugin.path for plugin in loaded()],
    )


def _slots(choices: Choices) -> int:
    """How many workers there are unless it is said."""
    if choices.engine == "ray" and choices.address is not None:
        return slots(choices.address, choices.device)
    return cores()


def _as_before(state: Mapping[str, Any], choices: Choices) -> Choices:
    """With the engine that a sweep was begun with, unless another is wanted now."""
    engine = choices.engine or state.get("engine", "local")
    address = choices.address or (state.get("address") if engine == "ray" else None)
    return replace(choices, engine=engine, address=address)


def _go(sweep: SweepDir, spec: Sweep, studies: Mapping[str, Study], progress: Progress) -> SweepDir:
    """Search in every arm, and compare the winners."""
    with sweep.under_way():
        summaries: dict[str, Any] = {}
        for arm, study in studies.items():
            study.sweep = _home(sweep, arm)
            study.sweep.path.mkdir(parents=True, exist_ok=True)
            study.sweep.make()
            if arm:
                _copy_state(sweep, study)
                progress.note(f"arm {arm}")
            done = study.sweep.summary.is_file()
            summaries[arm] = study.sweep.read(study.sweep.summary) if done else study.go()
        if spec.arms:
            sweep.put(sweep.summary, _compared(sweep, spec, summaries))
    sweep.note(status="finished")
    return sweep


def _home(sweep: SweepDir, arm: str) -> SweepDir:
    return SweepDir(sweep.path / "arms" / arm) if arm else sweep


def _copy_state(sweep: SweepDir, arm: Study) -> None:
    own = {"arm": arm.sweep.path.name, "scales": scales(arm.space)}
    arm.sweep.put(arm.sweep.path / SWEEP, {**sweep.state(), **own})


def _compared(
    sweep: SweepDir, spec: Sweep, summaries: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    """The arms' winners, each tuned with the same budget, compared on their fresh seeds."""
    metric = next(iter(summaries.values()))["metric"].partition("/")[2]
    found = compare([_home(sweep, arm).winner.path for arm in spec.arms], metric)
    return {
        "status": "finished",
        "arms": dict(summaries),
        "shared": _shared(sweep, spec, summaries),
        "comparison": found.to_json(),
    }


def _shared(
    sweep: SweepDir, spec: Sweep, summaries: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    """How the arms do untuned: at how many of the settings that all have tried each is the best,
    and at which of them it is so by most. {} if they tried different ones.
    """
    first = next(iter(summaries.values()))
    metric, sign = first["metric"], 1.0 if first["higher_is_better"] else -1.0
    tables = {arm: _scores(_home(sweep, arm), metric) for arm in spec.arms}
    common = [key for key in next(iter(tables.values())) if all(key in t for t in tables.values())]
    found: dict[str, Any] = {}
    for arm, table in tables.items():
        others = [other for name, other in tables.items() if name != arm]
        lead = {key: sign * table[key] - max(sign * o[key] for o in others) for key in common}
        ahead = [key for key in common if lead[key] > 0]
        found[arm] = {"ahead": len(ahead)}
        if ahead:
            most = max(ahead, key=lambda key: lead[key])
            scores = {name: other[most] for name, other in tables.items()}
            found[arm]["most"] = {"at": dict(most), "scores": scores}
    return {"settings": len(common), "arms": found} if common else {}


def _scores(arm: SweepDir, metric: str) -> dict[tuple[tuple[str, str], ...], float]:
    """Each finished trial's score, by the values of its keys."""
    aside = ("trial", "state", metric, "sd", "epochs", "seconds")
    with arm.table.open(newline="") as file:
        return {
            tuple((key, text) for key, text in row.items() if key not in aside): float(row[metric])
            for row in csv.DictReader(file)
            if row["state"] == "finished"
        }


# -- what is searched ------------------------------------------------------------------------------


def _arms(base: Node, spec: Sweep, config: Config) -> dict[str, Node]:
    """Each arm's config; without arms the one, called "". Raises ConfigError."""
    if not spec.arms:
        return {"": base}
    found, problems = dict[str, Node](), list[Problem]()
    for name, changes in spec.arms.items():
        place = Place(str(key_place(config.node, ("sweep", "arms", name))))
        node = base
        for path, value in changes.items():
            node = put(node, path, value, place)
        try:
            check_config(node, config.path, "")
        except ConfigError as error:
            problems += error.problems
        found[name] = node
    if not all(name.replace("-", "").replace("_", "").isalnum() for name in found):
        raise UsageError("sweep.arms: names are letters, digits, - and _")
    if spec.fresh_seeds < 2:
        raise UsageError("sweep.arms: comparing the winners needs fresh_seeds of at least 2")
    if problems:
        raise ConfigError(problems)
    return found


def absolute(config: Config) -> Node:
    """The config without `sweep`, its file names absolute, so that it can lie anywhere."""
    node = without(config.node, "sweep")
    data = config.experiment.data
    for part, spec in (("source", data.source), ("split", data.split)):
        for name in spec.paths:
            there = find(node, ("data", part, name))
            if there is not None and isinstance(there.value, str):
                node = put(node, f"data.{part}.{name}", getattr(spec, name), there.place)
    for key in ("initialization", "loss"):
        component = getattr(config.experiment, key)
        for name in getattr(component, "paths", ()):
            there = find(node, (key, name))
            if there is not None and isinstance(there.value, str):
                folder = there.place.file.parent if there.place.file else Path.cwd()
                path = str((folder / Path(there.value).expanduser()).absolute())
                node = put(node, f"{key}.{name}", path, there.place)
    if find(node, ("name",)) is None:
        node = put(node, "name", config.experiment.name, Place(str(config.path)))
    return node


def _foreseen(
    node: Node,
    config: Config,
    spec: Sweep,
    bench: Bench,
    engine: Engine,
    progress: Progress,
    setting: Setting,
    choices: Choices,
) -> Study:
    """A study whose configs, as far as can be told beforehand, can all be trained.

    Raises ConfigError with all that is wrong otherwise.
    """
    build_space(spec, node, config.node)  # tells places in the file
    study = _study(node, config.path, spec, bench, engine, progress, setting)
    problems = first_problems(study)
    if problems and not choices.skip_invalid:
        more = len(problems) - SHOWN
        rest = [Problem("", "", f"… and {more} more")] if more > 0 else []
        raise InvalidTrials([*problems[:SHOWN], *rest])
    return study


def _study(
    node: Node,
    path: Path,
    spec: Sweep,
    bench: Bench,
    engine: Engine,
    progress: Progress,
    setting: Setting,
) -> Study:
    space = build_space(spec, node)
    metric, higher = _metric(spec, node, path, bench)
    return Study(
        SweepDir(Path()), spec, node, path, space, bench, engine, progress, metric, higher,
        setting.memory, setting.workers,
    )  # fmt: skip


def _metric(spec: Sweep, node: Node, path: Path, bench: Bench) -> tuple[str, bool]:
    """The column that decides, and whether higher is better. Raises ConfigError."""
    resolved = bench.resolved(check_config(node, path, "").experiment)
    known = {m.component: m.higher_is_better for m in resolved.metrics or ()}
    parts = [part for part in bench.prepared(resolved).parts if part != "test"]
    columns = [f"{part}/{name}" for part in reversed(parts) for name in known]
    metric = spec.metric or columns[0]
    if spec.metric is None and "dev" not in parts:
        message = "there is no dev split to search by"
        raise ConfigError([Problem("", "data.split", message, hint="give it a share, as dev: 0.2")])
    if metric not in columns:
        message = "is no metric of this config that a search may look at"
        raise ConfigError([Problem("", "sweep.metric", message, metric, ", ".join(columns))])
    return metric, known[metric.partition("/")[2]]


def _write_start(
    sweep: SweepDir,
    config: Config,
    base: Node,
    spec: Sweep,
    setting: Setting,
    studies: Mapping[str, Study],
) -> None:
    created = datetime.now(UTC).isoformat(timespec="seconds")
    study = next(iter(studies.values()))
    first = study.bench.resolved(check_config(study.base, config.path, "").experiment)
    sweep.put_text(sweep.config, config.text)
    sweep.put_text(sweep.base, dump(plain(base)))
    manifest = {
        "id": secrets.token_hex(8),
        "created": created,
        "overrides": list(config.overrides),
        "git_commit": record.git_commit(config.path.absolute().parent),
        "data": record.data_record(study.bench.table(first)),
    }
    sweep.put(
        sweep.path / SWEEP,
        {
            "kind": "sweep",
            "status": "running",
            "name": config.experiment.name,
            "created": created,
            "nnexp": nnexp.__version__,
            "sweep": spec.dump(),
            "metric": study.metric,
            "higher_is_better": study.higher,
            "scales": scales(study.space),
            "workers": setting.workers,
            "threads": setting.threads,
            "device": setting.device,
            "memory": setting.memory,
            "gpus": setting.gpus,
            "manifest": manifest,
        },
    )


@contextmanager
def signals(sweep: SweepDir, command: str = "sweep") -> Iterator[None]:
    """Ctrl-C and SIGTERM end a sweep once its workers have written checkpoints.

    command: what goes on with it.
    """

    def ask(number: int, _: Any) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        text = f"stopped; go on with: nnexp {command} --resume {sweep.path}"
        raise (Terminated if number == signal.SIGTERM else Interrupted)(text)

    with handled(ask):
        yield
