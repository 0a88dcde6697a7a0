"""What a first config chooses, by rule, for data of a given look; each choice with a reason.

The numbers are those that did well on the sets of `scripts/real-tables`, which measures them
against scikit-learn. Nothing follows from the target but its kind and the sizes of its classes, so
that nothing of the test part gets into a choice.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from nnexp.components.table import Table
from nnexp.config.source import dump
from nnexp.data.survey import Role, Survey
from nnexp.errors import count

Reasons = dict[str, str]
"""Why, by the dotted path of the key; lines after the first are YAML to be put in its place."""

_NONE_HELD_BACK = 10
"""Rows below which there is no dev and no test part."""
_TINY = 100
"""Rows below which a tenth of them is too few to tell when to stop."""
_SMALL = 2_000
"""Rows up to which a smooth activation is better at telling classes apart."""
_UNEVEN = 5
"""How many times the largest class may outnumber the smallest one before that needs care."""
_CATEGORIES = 20
"""Categories of a text column above which rare ones are pooled."""
_CNN = 10_000
"""Images up to which a small convolutional network trains in minutes without a GPU."""


class Recipe:
    """Sections of a config, and what is to be said of the data.

    table, found: the data as a run reads them, and what a survey found before.
    """

    def __init__(self, table: Table, found: Survey) -> None:
        self.table, self.found = table, found
        self.features = table.features
        self.rows = len(table) - len(table.parts.get("test", ()))
        texts = self.features.categorical.T
        self.categories = [len(set(column.tolist()) - {None}) for column in texts]
        self.inputs = self.features.width + sum(self.categories)
        self.counts = np.bincount(table.target) if table.classes is not None else np.zeros(0, int)

    @cached_property
    def gaps(self) -> int:
        """How many values are missing."""
        numeric, gaps = self.features.numeric, 0
        if numeric.dtype.kind == "f":
            for piece in self.features.chunks(np.arange(len(self.features))):
                gaps += int(np.isnan(numeric[piece]).sum())
        return gaps + int((self.features.categorical == None).sum())  # noqa: E711

    @property
    def is_uneven(self) -> bool:
        return len(self.counts) > 1 and bool(self.counts.max() >= _UNEVEN * self.counts.min())

    @property
    def splits(self) -> int:
        """How many splits are worth training on, so that luck shows."""
        return 20 if self.rows < _TINY else 10

    @cached_property
    def split(self) -> dict[str, float]:
        if self.rows < _NONE_HELD_BACK:
            return {"train": 1.0}
        held = {"dev": 0.2 if self.rows < _TINY else 0.1}
        if "test" not in self.table.parts:
            held["test"] = 0.2
        return {"train": round(1 - sum(held.values()), 9), **held}

    # -- sections ----------------------------------------------------------------------------------

    def sections(self, source: Any) -> tuple[dict[str, Any], Reasons]:
        """All but the name and the seed, in their order, and why they are as they are.

        source: what `data.source` says.
        """
        config: dict[str, Any] = {"data": {"source": source, "split": self.split}}
        why: Reasons = {}
        for section in (
            self._data,
            self._preprocessing,
            self._model,
            self._loss,
            self._updates,
            self._training,
            self._metrics,
        ):
            section(config, why)
        return config, why

    def _data(self, config: dict[str, Any], why: Reasons) -> None:
        for role in ("target", "id"):
            if columns := self.found.having(role):
                why[f"data.source.{role}"] = columns[0].reason
        if dropped := self.found.having("drop"):
            reasons = [f"{word(column.name)}: {column.reason}" for column in dropped[:8]]
            more = [f"and {len(dropped) - 8} more"] if len(dropped) > 8 else []
            why["data.source.drop"] = "; ".join(reasons + more)
        why["data.source.header"] = "whether the first line names the columns"
        why["data.source.encoding"] = "it is not UTF-8"
        why["data.source.missing"] = "the usual ones, and what stands among numbers here"
        if "dev" not in self.split:
            why["data.split"] = "so few rows that none is held back: nothing tells how good it is"
            return
        why["data.split"] = (
            f"dev says when to stop, test is for the end; train --splits {self.splits} draws "
            "several, and shows what is luck"
        )
        for relation in self.found.relations:
            other = {"split": {"name": relation.split, "by": relation.column, **self.split}}
            why["data.split"] += f". Or, as {word(relation.note, 200)}:\n{dump(other)}".rstrip()

    def _preprocessing(self, config: dict[str, Any], why: Reasons) -> None:
        steps: list[Any] = []
        reasons = []
        image, width = self.features.is_image, self.features.width
        if self.gaps:
            steps.append({"name": "impute", "indicator": width > 0 and not image})
            where = ", and tell the network where" if width and not image else ""
            reasons.append(f"fill {count(self.gaps, 'missing value')}{where}")
        if image and self.features.numeric.dtype.kind in "biu":
            steps.append({"name": "min_max", "per": "global"})
            reasons.append("grey levels to 0 … 1")
        elif width:
            steps.append({"name": "standardize", "per": "global"} if image else "standardize")
            reasons.append("numbers to mean 0 and deviation 1")
        if self.categories:
            least = max(2, round(0.005 * self.rows))
            many = max(self.categories) > _CATEGORIES
            steps.append({"name": "one_hot", "min_frequency": least} if many else "one_hot")
            pooled = f" (one for all that fewer than {least} rows have)" if many else ""
            reasons.append(f"a 0/1 column for each category{pooled}")
        config["preprocessing"] = steps
        why["preprocessing"] = (
            "; ".join(reasons) + "; fitted on the training rows. "
            "Next: what `nnexp ls preprocessing` offers"
        )

    def _model(self, config: dict[str, Any], why: Reasons) -> None:
        if self.features.is_image and min(self.features.shape[-2:]) >= 8 and self.rows <= _CNN:
            config["model"] = {"name": "cnn", "channels": [16, 32], "hidden": [64]}
            config["model"] |= {"batch_norm": True, "dropout": self._dropout}
            why["model"] = "pixels that are close belong together. Next: more channels"
            return
        units = 512 if self.features.is_image else 128 if self.rows < 20_000 else 256
        smooth = self.rows <= _SMALL and self.table.classes is not None
        config["model"] = {"name": "mlp", "hidden": [units, units]}
        config["model"] |= {"activation": "tanh" if smooth else "relu", "dropout": self._dropout}
        why["model"] = (
            "wide enough to fit the training rows; dropout, decay and stopping keep it from "
            "learning them by heart. Next: `linear`, to see what depth is good for; "
        ) + ("cnn, on a GPU" if self.features.is_image else "wider, deeper, more dropout")
        if smooth:
            why["model.activation"] = "smoother than relu, which helps with few rows"

    @property
    def _dropout(self) -> float:
        """Much where inputs outnumber rows, and few rows anything."""
        if self.inputs > self.rows or self.rows < _TINY:
            return 0.5
        return 0.1 if self.table.task == "regression" else 0.2

    def _loss(self, config: dict[str, Any], why: Reasons) -> None:
        if self.table.task == "multilabel":
            return  # it follows from the task
        name = "mse" if self.table.classes is None else "cross_entropy"
        config["loss"] = name
        why["loss"] = {
            "mse": "the target is standardized for training; metrics are in its own units",
            "cross_entropy": "each class gets a probability",
        }[name]
        if self.is_uneven and self.counts.min() >= 10:
            config["loss"] = {"name": name, "class_weights": "balanced"}
            why["loss.class_weights"] = "or rare classes would be ignored. Next: without it"

    def _updates(self, config: dict[str, Any], why: Reasons) -> None:
        config["regularization"] = {"weight_decay": 0.1}
        why["regularization.weight_decay"] = "keeps weights small. Next: 0.01, 1"
        config["optimizer"] = {"name": "adam", "lr": 0.01 if self._length[0] <= 64 else 0.003}
        why["optimizer.lr"] = "the peak of the schedule. Next: a third, and three times as much"
        config["schedule"] = "one_cycle"
        why["schedule"] = "up, then down to nearly 0, where most is gained"

    @cached_property
    def _length(self) -> tuple[int, int]:
        """Rows in a batch, and epochs: 2,000 updates for classes, 8,000 for numbers, about."""
        used = self.rows * self.split["train"]
        batch = 2 ** round(math.log2(min(max(used / 40, 32), 256)))
        updates, most = (2_000, 200) if self.table.classes is not None else (8_000, 400)
        least = 20 if used > 10_000 else 60
        return batch, int(min(max(round(updates * batch / used, -1), least), most))

    def _training(self, config: dict[str, Any], why: Reasons) -> None:
        batch, epochs = self._length
        config["training"] = {"epochs": epochs, "batch_size": batch}
        steps = math.ceil(self.rows * self.split["train"] / batch)
        why["training.epochs"] = f"{epochs * steps:,} updates"
        if "dev" in self.split:
            stopping = {"monitor": "dev/loss", "patience": max(5, epochs // 4), "smooth": 0.9}
            config["training"]["early_stopping"] = stopping
            why["training.early_stopping"] = (
                "the weights of the best epoch are kept; by a running average, as dev is noisy"
            )

    def _metrics(self, config: dict[str, Any], why: Reasons) -> None:
        if self.is_uneven:
            config["metrics"] = ["balanced_accuracy", "f1", "accuracy"]
            why["metrics"] = "the first decides; accuracy alone says little of rare classes"

    # -- in words ----------------------------------------------------------------------------------

    def facts(self) -> Iterator[tuple[str, str]]:
        """What was seen, and how much of it."""
        table, features = self.table, self.features
        yield "form", self.found.form
        yield "rows", f"{len(table):,}"
        if features.is_image:
            yield "examples", " × ".join(map(str, features.shape)) + " numbers each"
        elif self.found.columns:
            kinds = [column.kind for column in self.found.having("feature")]
            yield "features", ", ".join(f"{kinds.count(k)} {k}" for k in dict.fromkeys(kinds))
        else:
            yield "features", f"{features.width:,}"
        if self.gaps:
            cells = len(table) * (features.width + len(self.categories))
            yield "missing", f"{count(self.gaps, 'value')} ({100 * self.gaps / cells:.2g} % of all)"
        roles: tuple[tuple[Role, str], ...] = (("id", "identifier"), ("drop", "left out"))
        for role, what in roles:
            if names := [column.name for column in self.found.having(role)]:
                yield what, _listed(names)
        reasons = [column.reason for column in self.found.having("target")]
        yield "target", _listed(table.target_names) + (f" ({reasons[0]})" if reasons else "")
        yield "task", f"{table.task}{self._classes()}"

    def _classes(self) -> str:
        if self.table.classes is None:
            return ""
        sizes = zip(self.table.classes[:6], self.counts.tolist()[:6], strict=True)
        shown = ", ".join(f"{word(name)}: {size:,}" for name, size in sizes)
        number = len(self.table.classes)
        return f", {number} classes ({shown}{', …' if number > 6 else ''})"

    def notes(self) -> Iterator[str]:
        """What the user should think of."""
        yield from self.found.notes
        for relation in self.found.relations:
            yield f"{relation.note}; the config has a split for that, as a comment"
        yield from self.table.notes
        if self.is_uneven:
            small, large = int(self.counts.min()), int(self.counts.max())
            yield f"classes differ in size: the largest has {large:,} rows, the smallest {small:,}"
        if few := int((self.counts < 5).sum()):
            are = "1 class has" if few == 1 else f"{few} classes have"
            yield f"{are} fewer than 5 rows: too few to learn, let alone to measure"
        if self.rows < _TINY:
            yield f"with so few rows one split tells little: train --splits {self.splits}"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(word, names[:8])) + (", …" if len(names) > 8 else "")


def word(text: str, limit: int = 40) -> str:
    """Text from a file as it may stand on a line."""
    shown = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
    return shown if len(shown) <= limit else shown[: limit - 1] + "…"
