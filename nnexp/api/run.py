"""A trained run or group, from Python."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterable, Sequence
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from nnexp.analysis.results import Result, read_result
from nnexp.api.data import Frame, class_names, to_fit, to_score
from nnexp.api.predicted import answers_frame
from nnexp.api.progress import watched
from nnexp.api.show import as_html, as_text, paragraph
from nnexp.components.datasets.files import Tabular
from nnexp.components.datasets.memory import Held, Memory
from nnexp.errors import UsageError, count
from nnexp.report.numbers import duration, interval, spread, value
from nnexp.runs.committee import committee
from nnexp.runs.rundir import RunDir

PARTS = ("train", "dev", "test")


class Run:
    """A run, or a group of runs that differ in their seed or split; its files are read when asked.

    path: its directory. notes: what should be known about the data and how the run was trained.
    """

    def __init__(
        self, path: str | PathLike[str], notes: tuple[str, ...] = (), held: Held | None = None
    ) -> None:
        self.path = Path(path)
        self.notes = notes
        self._held = held
        self._manifest = RunDir.open(self.path).read_manifest()

    def __fspath__(self) -> str:
        """Its directory: a run may stand wherever a path may."""
        return str(self.path)

    @cached_property
    def _result(self) -> Result:
        return read_result(self.path)

    # -- what it is --------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """What it is called, by its config."""
        return str(self._manifest.get("name") or self.path.name)

    @property
    def status(self) -> str:
        """How training ended: finished, interrupted, diverged …"""
        return str(self._manifest["status"])

    @property
    def is_group(self) -> bool:
        """Whether it is a group of runs."""
        return bool(self._manifest["kind"] == "group")

    @property
    def config(self) -> dict[str, Any]:
        """Every setting that it was trained with, as resolved.yaml has them."""
        return RunDir(self.path).read_config()

    @property
    def summary(self) -> dict[str, Any]:
        """The content of summary.json."""
        return dict(self._result.summary)

    @property
    def members(self) -> list[Run]:
        """The runs of a group; of a single run itself."""
        return [Run(one.path) for one in self._result.members] or [self]

    # -- what came out -----------------------------------------------------------------------------

    @cached_property
    def scores(self) -> Frame:
        """Metrics by split; of a group mean, standard deviation and the 95 % interval of each."""
        import pandas as pd

        found: dict[Any, dict[str, Any]] = {}
        for part in PARTS:
            for metric, score in self._result.part(part).items():
                if not self.is_group:
                    found.setdefault(part, {})[metric] = score
                    continue
                low, high = score.get("interval") or (None, None)
                cells = {"mean": score["mean"], "sd": score["sd"], "low": low, "high": high}
                for name, cell in cells.items():
                    found.setdefault((part, name), {})[metric] = cell
        return pd.DataFrame(found, dtype=float).rename_axis(index="metric")

    @cached_property
    def history(self) -> Frame:
        """metrics.csv, a row an epoch; of a group the rows of every model (`s0`, `s1`, …)."""
        import pandas as pd

        frames = {}
        for run in self._result.runs:
            columns = run.history()
            epochs = pd.Index(columns.pop("epoch", []), dtype=int, name="epoch")
            frames[run.path.name] = pd.DataFrame(columns, index=epochs)
        return pd.concat(frames, names=["model"]) if self.is_group else frames[self.path.name]

    @cached_property
    def predictions(self) -> Frame:
        """predictions.csv: what was predicted for each dev and test example."""
        import pandas as pd

        is_class = self.summary["task"] == "classification"
        classes: list[str] = self._stored["classes"] if is_class else []
        names = dict(zip(classes, self._class_names(classes), strict=True))
        types = dict.fromkeys(("target", "prediction"), str) if is_class else {}
        frames = {}
        for run in self._result.runs:
            text = RunDir(run.path).read_text("predictions.csv") or "split,id\n"
            frame = pd.read_csv(
                io.StringIO(text), dtype=types, keep_default_na=False, na_values={"loss": [""]}
            )
            for name in types.keys() & set(frame.columns):
                frame[name] = frame[name].map(names)
            frames[run.path.name] = frame
        if not self.is_group:
            return frames[self.path.name]
        return pd.concat(frames, names=["model", "row"]).reset_index("model").reset_index(drop=True)

    def evaluate(self, X: Any = None, y: Any = None, *, split: str = "test") -> Frame:
        """Metrics of every model, a row each, on new examples with their targets.

        X, y: as in `fit`; y may be left out if the target is among X's columns. Or X is a file of
        the kind that the run was trained on. Without X: on the run's own split, as they were found
        after training. What is unusual about the examples is warned of.
        Raises UsageError, DataError, RunError.
        """
        import pandas as pd

        if X is not None:
            from nnexp.runs.score import evaluate_run

            if (file := _file(X)) is not None and y is not None:
                raise UsageError("of a file the target is a column: evaluate takes no y with one")
            scored = evaluate_run(self.path, data=file or self._source(X, y))
            _warn(note for scores in scored for note in scores.notes)
            found = {scores.run.name: dict(scores.metrics) for scores in scored}
        else:
            found = {run.path.name: run.part(split) for run in self._result.runs}
            if not any(found.values()):
                there = ", ".join(part for part in PARTS if self._result.part(part))
                raise UsageError(f"{self.path} has no {split} split; it has {there}")
        names = pd.Index(list(found) if self.is_group else [self.name], name="model")
        return pd.DataFrame(list(found.values()), index=names, dtype=float)

    def predict(self, X: Any) -> Frame:
        """What is predicted for new examples, a row each under X's index.

        X: as in `fit`, or a file or a folder of images, as `nnexp predict` takes them. What is
        unusual about the examples is warned of.
        Of classes `prediction`, and `p(…)`, the probability of each, where the loss gives one; of
        labels a column of 0 and 1 and its probability for each; of numbers the target's columns in
        its units. A group's probabilities and numbers are means over its models; `agreement` is
        the share of models that predict this class, `sd …` the models' standard deviation.
        Raises DataError, RunError.
        """
        from nnexp.runs.apply import apply_run
        from nnexp.runs.predict import predict_run

        if (file := _file(X)) is not None:
            answers = predict_run(self.path, file)
        else:
            answers = apply_run(self.path, self._source(X))
        _warn(answers.notes)
        index = X.index if hasattr(X, "iloc") else None
        return answers_frame(answers, self._class_names(answers.names), index)

    def _class_names(self, names: Sequence[str]) -> np.ndarray:
        targets = self._stored["target_names"]
        return class_names(names, self.config["data"]["source"], targets[0] if targets else "")

    @cached_property
    def _stored(self) -> dict[str, Any]:
        """What preprocessing.json says of the columns and classes."""
        run = RunDir(self._result.runs[0].path)
        run = (committee(run) or [run])[0]
        return run.read_json(run.preprocessing)

    def _source(self, X: Any, y: Any = None) -> Memory:
        """New data as a source of the kind that the run was trained on."""
        stored, source = self._stored, self.config["data"]["source"]
        targets = [str(name) for name in stored["target_names"]]
        held = to_score(X, y, stored["names"], targets)
        present = set(held.columns.names) if held.columns is not None else set[str]()
        settings: dict[str, Any] = {n: source[n] for n in Tabular.model_fields if n in source}
        unused = [*settings.get("drop", ()), settings.pop("id", None)]
        settings |= {
            "target": targets[0] if len(targets) == 1 else targets,
            "target_type": stored["task"],
            "drop": [name for name in unused if name in present],
            "types": {k: v for k, v in settings.get("types", {}).items() if k in present},
        }
        return Memory.model_validate({**settings, "name": "memory"}).holding(held)

    # -- going on ----------------------------------------------------------------------------------

    def resume(
        self,
        X: Any = None,
        y: Any = None,
        *,
        dev: Any = None,
        test: Any = None,
        epochs: int | None = None,
        seeds: int | None = None,
        progress: bool | None = None,
    ) -> Run:
        """Go on with an interrupted run exactly, train one longer (epochs in all), or add members.

        X, y, dev, test: the data as they were in `fit`, if that was in another program.
        Raises as `nnexp train --resume` does.
        """
        from nnexp.runs.resume import resume

        epochs, seeds = counted("epochs", epochs), counted("seeds", seeds)
        held = self._held
        if X is not None:
            target = self.config["data"]["source"].get("target") if y is None else None
            others = {
                part: data for part, data in (("dev", dev), ("test", test)) if data is not None
            }
            held, _ = to_fit(X, y, target, others)
        with watched(progress, held) as line:
            resume(self.path, line, epochs, seeds, held)
        return Run(self.path, tuple(line.notes), held)

    # -- how it looks ------------------------------------------------------------------------------

    def __repr__(self) -> str:
        lines = [self._title()]
        if table := self._table():
            lines.append(as_text(*table))
        return "\n".join([*lines, *(f"note: {text}" for text in self.notes)])

    def _repr_html_(self) -> str:
        parts = [paragraph(self._title(), strong=True)]
        if table := self._table():
            parts.append(as_html(*table))
        return "".join([*parts, *(paragraph(text, faint=True) for text in self.notes)])

    def _title(self) -> str:
        what = "run"
        if self.is_group:
            number, varies = self._manifest["members"], self._manifest.get("varies", "seed")
            what = f"{count(number, 'model')} that differ in their {varies}"
        took = self._manifest.get("seconds")
        parts = [what, self.status, duration(took) if took is not None else ""]
        return f"{self.name}: {', '.join(filter(None, parts))} ({self.path})"

    def _table(self) -> tuple[list[str], list[list[str]]] | None:
        """The scores as text; None if there are none yet."""
        if not (self.path / "summary.json").exists():
            return None
        parts = [part for part in PARTS if self._result.part(part)]
        head, rows, last = ["", *parts], [], self._result.part(parts[-1])
        for metric in sorted(last, key=lambda name: name != self.summary["primary"]):
            found = [self._result.part(part).get(metric) for part in parts]
            row = [metric, *(spread(x or {}) if self.is_group else value(x) for x in found)]
            rows.append(
                [*row, interval((found[-1] or {}).get("interval"))] if self.is_group else row
            )
        return head + (["95 % interval"] if self.is_group else []), rows


def counted(name: str, value: Any) -> int | None:
    """How many are asked for; UsageError if that is no count."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
        raise UsageError(f"{name} should be a whole number from 1 (received: {value!r})")
    return int(value)


def _file(X: Any) -> Path | None:
    """The file that is meant, if it is one."""
    return Path(X) if isinstance(X, (str, PathLike)) else None


def _warn(notes: Iterable[str]) -> None:
    """Warns the caller's caller of each, once."""
    for text in dict.fromkeys(notes):
        warnings.warn(text, stacklevel=3)


def load(path: str | PathLike[str]) -> Run:
    """A run or group that was trained before, by Python or by the command line.

    Raises RunError if there is none, DamagedRun or UntrustedRun if it can't be used.
    """
    return Run(path)
