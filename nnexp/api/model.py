"""Define, compile, fit: an experiment that is put together in Python."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from os import PathLike
from pathlib import Path
from typing import Any, Self

from nnexp.api.data import Target, described, to_fit
from nnexp.api.progress import watched
from nnexp.api.run import Run, counted
from nnexp.components.datasets.memory import Held, Memory
from nnexp.config import source
from nnexp.config.experiment import Data, Training
from nnexp.config.load import Config, check_config
from nnexp.config.mapping import as_plain, from_mapping, without
from nnexp.config.source import Node
from nnexp.errors import ConfigError, Problem, UsageError, nearest
from nnexp.runs.plan import with_source

Sections = dict[str, Any]
"""Keys of a config, from the top."""

_HEAD = "# Put together in Python; the source `memory` is data that were handed over there.\n"
_OF_SOURCE = tuple(n for n in Memory.model_fields if n not in ("name", "what", "parts", "target"))
_PLACES = {
    **dict.fromkeys(Training.model_fields, "training"),
    **{name: "data" for name in Data.model_fields if name != "source"},
    **dict.fromkeys(_OF_SOURCE, "source"),
    **dict.fromkeys(("name", "seed", "task"), ""),
}
"""Where in a config the settings of `fit` belong."""
_ELSEWHERE = {
    "validation_data": "dev=(X, y)",
    "validation_split": 'split={"train": 0.8, "dev": 0.2}',
    "verbose": "progress=True or progress=False",
    "callbacks": 'early_stopping={"patience": 5} or schedule in compile',
    "lr": 'compile(optimizer={"name": "adam", "lr": 0.001}), or set={"optimizer.lr": 0.001}',
}
"""What other libraries' arguments of `fit` are called here."""


@dataclass(frozen=True)
class _Written:
    """A config that was written in YAML."""

    path: Path
    text: str
    node: Node
    overrides: tuple[str, ...]


class Model:
    """An experiment without its data: an architecture and, after `compile`, how it is trained.

    model: the architecture's name, or a mapping with `name`, as `model` in a config; parameters
    are its own: `Model("mlp", hidden=[64], activation="relu")`. `nnexp ls model` lists them all.
    Raises ConfigError with every problem.
    """

    def __init__(self, model: str | Mapping[str, Any] = "mlp", /, **parameters: Any) -> None:
        named = {"name": model} if isinstance(model, str) else dict(model)
        self._given: dict[str, Sections] = {"Model": {"model": {**named, **parameters}}}
        self._written: _Written | None = None
        self._check()

    @classmethod
    def _of(cls, given: dict[str, Sections], written: _Written | None) -> Self:
        model = cls.__new__(cls)
        model._given, model._written = given, written
        model._check()
        return model

    def compile(self, **sections: Any) -> Self:
        """Settle how the model is trained; what is left out has its default.

        sections: keys of a config (optimizer, loss, metrics, schedule, regularization,
        preprocessing, initialization, training, seed, …), each a name, or a mapping with `name`
        and parameters. Called again, it replaces what it is given again.
        Gives the model itself. Raises ConfigError with every problem.
        """
        before = self._given
        self._given = {**before, "compile": {**before.get("compile", {}), **sections}}
        try:
            self._check()
        except ConfigError:
            self._given = before
            raise
        return self

    def fit(
        self,
        X: Any = None,
        y: Any = None,
        *,
        target: Target | None = None,
        dev: Any = None,
        test: Any = None,
        seeds: int | None = None,
        splits: int | None = None,
        out: str | PathLike[str] = "runs",
        set: Mapping[str, Any] | None = None,
        progress: bool | None = None,
        **settings: Any,
    ) -> Run:
        """Train, and leave a run (with seeds or splits: a group of so many) in a folder.

        X: a DataFrame, an array `[n, columns]` or `[n, channels, height, width]`, a list of rows,
        or a mapping of columns. y: its targets; or target: the column(s) of X to predict.
        Without X the data are those that the config names.
        dev, test: `(X, y)` to choose by and to judge by, or a DataFrame if `target` is given; one
        that is left out is drawn from X, as `split` says.
        out: where runs are written, in a folder with the experiment's name.
        set: any keys of the config, for this time: `{"optimizer.lr": 0.1}`.
        progress: None shows a line in notebooks and on terminals only.
        settings: epochs, batch_size, early_stopping and other keys of `training`; split, subset and
        other keys of `data`; name, seed, task; of a table id, drop, types, target_type, date_order.

        Raises ConfigError, DataError, Diverged, Interrupted (after a checkpoint: see Run.resume).
        """
        if seeds is not None and splits is not None:
            raise UsageError("give only one of seeds and splits (which varies the seed as well)")
        seeds, splits = counted("seeds", seeds), counted("splits", splits)
        extra, held = _sections(settings), None
        of_source = extra.pop("source", {})
        if X is not None:
            others = {"dev": dev, "test": test}
            present = {name: part for name, part in others.items() if part is not None}
            held, target = to_fit(X, y, target, present)
            extra["data"] = {**extra.get("data", {}), "source": described(held, target, of_source)}
        else:
            alone = {"y": y, "target": target, "dev": dev, "test": test, **of_source}
            if given := [name for name, value in alone.items() if value is not None]:
                raise UsageError(f"fit has no X, which {', '.join(given)} would go with")
            if not self._has_data:
                raise UsageError('fit needs data: fit(X, y), or fit(df, target="…")')
        config = self._config(extra, set or {})
        return self._train(config, held, {"seeds": seeds, "splits": splits}, Path(out), progress)

    def _train(
        self,
        config: Config,
        held: Held | None,
        members: dict[str, int | None],
        out: Path,
        progress: bool | None,
    ) -> Run:
        """Train a config; held: its data, if they are in memory."""
        from nnexp.runs.execute import Order, start

        experiment = config.experiment
        if held is not None:
            memory = experiment.data.source
            if not isinstance(memory, Memory):
                raise UsageError("set changes data.source, while fit was given X")
            experiment = with_source(experiment, memory.holding(held))
        folder = config.path.absolute().parent if self._written else Path.cwd()
        order = Order(experiment, config.text, folder, **members, overrides=config.overrides)
        with watched(progress, held) as line:
            try:
                run = start(order, out, line)
            except ConfigError as error:
                raise config.locate(error) from None
        return Run(run.path, tuple(line.notes), held)

    @property
    def config(self) -> Sections:
        """All that was settled, as a config has it; without the defaults."""
        plain: Sections = source.plain(self._node({}))
        return plain

    def __repr__(self) -> str:
        return source.dump(self.config).rstrip()

    def _repr_html_(self) -> str:
        return f"<pre>{escape(repr(self))}</pre>"

    # -- the config --------------------------------------------------------------------------------

    @property
    def _has_data(self) -> bool:
        data = self.config.get("data")
        return isinstance(data, dict) and "source" in data

    def _check(self) -> None:
        """Raises ConfigError for what is wrong already, whatever the data will be."""
        later = {"data": {"source": {"name": "memory", "target": "y"}}}
        self._config({} if self._has_data else later, {})

    def _node(self, extra: Sections) -> Node:
        """The whole config; extra: what `fit` adds."""
        node = from_mapping(self._given)
        if self._written is not None:
            below = self._written.node
            for key in node.keys:
                below = without(below, key)
            node = source.merge(below, node, top=True)
        for key in extra.get("data", {}):
            node = without(node, "data", key)
        return source.merge(node, from_mapping({"fit": extra}), top=True)

    def _config(self, extra: Sections, changes: Mapping[str, Any]) -> Config:
        """The config, checked; extra: what `fit` adds. changes: its `set`."""
        problems: list[Problem] = []
        options = _options(changes)
        node = source.override(self._node(extra), options, problems)
        if self._written is not None:
            now = {key: value for given in self._given.values() for key, value in given.items()}
            overrides = (*self._written.overrides, *_options(now), *_options(_flat(extra)))
            text, path = self._written.text, self._written.path
            return check_config(node, path, text, (*overrides, *options), problems)
        model = self.config.get("model", "model")
        name = model.get("name") if isinstance(model, dict) else model
        node = source.merge(from_mapping({"Model": {"name": name}}), node, top=True)
        text = _HEAD + source.dump(source.plain(node))
        return check_config(node, Path("experiment"), text, (), problems)


def experiment(
    config: str | PathLike[str] | Mapping[str, Any], *, set: Mapping[str, Any] | None = None
) -> Model:
    """The experiment that a config describes: a YAML file, YAML text, or a mapping with its keys.

    set: keys to change, such as `{"optimizer.lr": 0.1}`. Raises ConfigError with every problem.
    """
    options, problems = _options(set or {}), list[Problem]()
    if isinstance(config, Mapping):
        node = source.override(from_mapping({"experiment": config}), options, problems)
        if problems:
            raise ConfigError(problems)
        return Model._of({"experiment": source.plain(node)}, None)
    if isinstance(config, str) and ("\n" in config or config.lstrip().startswith("{")):
        path, text = Path("experiment"), config
        node = source.override(source.parse(config, str(path)), options, problems)
    else:
        path = Path(config)
        node = source.load(path, options, problems)
        text = path.read_bytes().decode()
    check_config(node, path, text, options, problems)
    return Model._of({}, _Written(path, text, node, tuple(options)))


def fit(
    config: str | PathLike[str] | Mapping[str, Any],
    *,
    set: Mapping[str, Any] | None = None,
    seeds: int | None = None,
    splits: int | None = None,
    out: str | PathLike[str] = "runs",
    progress: bool | None = None,
) -> Run:
    """Train what a config describes, as `nnexp train` does.

    config: a YAML file, YAML text, or a mapping. The rest, and what is raised: as in `Model.fit`.
    """
    model = experiment(config, set=set)
    return model.fit(seeds=seeds, splits=splits, out=out, progress=progress)


def _sections(settings: Mapping[str, Any]) -> Sections:
    """The settings of `fit` where a config has them; the data source's under `source`."""
    found: Sections = {}
    for name, value in settings.items():
        if name in _ELSEWHERE:
            raise UsageError(f"fit has no argument {name}; it is {_ELSEWHERE[name]}")
        section = _PLACES.get(name, _PLACES.get(nearest(name, _PLACES) or "", "training"))
        (found.setdefault(section, {}) if section else found)[name] = value
    return found


def _flat(sections: Sections) -> Sections:
    """Dotted paths of what `fit` adds; the data source as a whole."""
    found: Sections = {}
    for section, value in sections.items():
        if section in ("data", "training"):
            found |= {f"{section}.{key}": item for key, item in value.items()}
        else:
            found[section] = value
    return found


def _options(changes: Mapping[str, Any]) -> list[str]:
    """Changes as `--set` options."""
    return [f"{key}={json.dumps(value, default=as_plain)}" for key, value in changes.items()]
