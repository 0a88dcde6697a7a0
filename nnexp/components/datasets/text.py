"""Data sources of sequences: running text, and tables with a column of tokens."""

from __future__ import annotations

import os
from abc import abstractmethod
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import Field, field_validator

from nnexp.components.datasets.dataset import Dataset
from nnexp.components.datasets.delimited import (
    Columns,
    Form,
    position,
    read_columns,
    read_names,
    read_text,
)
from nnexp.components.table import Features, Table, as_target, existing_file, file_info
from nnexp.components.tokens import Unit, most_frequent, tokens_of
from nnexp.errors import DataError, count
from nnexp.registry import param, rule

REST = "(other tokens)"
"""The class of all tokens beyond a limited vocabulary."""


class _Sequences(Dataset):
    """What the sources of sequences share."""

    encoding: str | None = param(
        None,
        "how characters are encoded",
        when="null: utf-16 if the file begins with its mark, else utf-8",
    )

    @field_validator("encoding")
    @classmethod
    def _known_encoding(cls, value: str | None) -> str | None:
        try:
            "".encode(value or "utf-8")  # some codecs, such as base64, are not for text
        except (LookupError, UnicodeError, ValueError):
            raise rule("there is no such encoding", allowed="utf-8, latin-1, utf-16, …") from None
        return value

    @abstractmethod
    def at(self, path: Path) -> Dataset: ...


class Text(_Sequences):
    """Running text, to tell the next character or word at every position of a window.

    The text is cut into windows of `length` tokens; the target of each position is the token that
    follows. The end of the text is the test part and what is before it the dev part, so that no
    window overlaps one of another part. Several files are one text, one after the other.

    The classes are the different tokens of the whole text. What another file (`nnexp eval --data`)
    has beyond them has no target there, and is unknown (code 1) as input; a note counts it. With a
    `vocabulary`, all tokens beyond it are the class (other tokens).

    Use: to train a character or word model, such as the preset `lstm`; its loss is in nats a token,
    and `perplexity` the exponential of that.
    """

    name: Literal["text"] = "text"
    also = ("language_model", "characters", "next_token")
    paths = ("path",)
    path: str | Annotated[list[str], Field(min_length=1, max_length=10_000)] = param(
        ..., "the file, or several of them in their order", also=("file", "files")
    )
    unit: Unit = param("character", "what a token is: character, word, or token (by white space)")
    length: int = param(
        64, "tokens of a window", unit="tokens", ge=1, le=65536, also=("window", "seq_len", "bptt")
    )
    stride: int | None = param(
        None,
        "tokens from the start of a window to that of the next",
        unit="tokens",
        ge=1,
        le=65536,
        when="null: `length`, so that every token is in one window",
    )
    lower: bool = param(False, "upper case letters as lower case ones")
    vocabulary: int | None = param(
        None,
        "how many different tokens are classes, the most frequent ones",
        unit="tokens",
        ge=1,
        le=2**20,
        when="null: all",
        also=("vocab_size", "max_tokens"),
    )
    tokens: list[str] | None = param(
        None, "the tokens that are classes", when="null: those of the text", max_length=2**20
    )
    dev: float = param(
        0.1, "share of the text before the test part that is the dev part", ge=0, lt=1
    )
    test: float = param(0.1, "share of the text, its end, that is the test part", ge=0, lt=1)

    @property
    def has_dev(self) -> bool:
        return self.dev > 0

    def conflicts(self) -> list[tuple[str, str]]:
        if self.dev + self.test >= 1:
            return [("dev", "dev and test leave nothing to train on")]
        return []

    def with_paths(self, root: Path) -> Self:
        base = Path(os.path.abspath(root))
        found = [str(base / name) for name in self._files]
        return self.model_copy(update={"path": found[0] if isinstance(self.path, str) else found})

    def at(self, path: Path) -> Dataset:
        """The same of another text, all of it in one part."""
        return self.model_copy(update={"path": str(path.absolute()), "dev": 0.0, "test": 0.0})

    @property
    def _files(self) -> list[str]:
        return [self.path] if isinstance(self.path, str) else self.path

    def load(self, root: Path = Path(), *, labelled: bool = True) -> Table:
        for field, message in self.conflicts():
            raise DataError(f"data.source.{field}: {message}")
        paths = [existing_file(root, name) for name in self._files]
        read = [read_text(path, self.encoding) for path in paths]
        whole = "\n".join(text for text, _ in read)
        tokens = tokens_of(whole.lower() if self.lower else whole, self.unit)
        starts = self._starts(paths, len(tokens))
        known = self._known(tokens)
        codes = self._codes(tokens, known)
        rows = np.concatenate(list(starts.values()))
        target = codes[rows[:, None] + np.arange(1, self.length + 1)]
        between = "" if self.unit == "character" else " "
        windows = np.empty((len(rows), 1), object)
        windows[:, 0] = [between.join(tokens[start : start + self.length]) for start in rows]
        ends = np.cumsum([0, *map(len, starts.values())])
        numbers = zip(starts, ends[:-1], ends[1:], strict=True)
        unseen = int((target < 0).sum())
        notes = [f"text: {count(unseen, 'position')} without a target: unknown there"]
        return Table(
            features=Features(np.empty((len(rows), 0)), (), windows, ("text",)),
            target=target,
            classes=tuple(map(_visible, known)) + ((REST,) if self.vocabulary else ()),
            target_names=("next",),
            ids=rows,
            parts={part: np.arange(a, b) for part, a, b in numbers} if len(starts) > 1 else {},
            files=tuple(file_info(path) for path in paths),
            notes=tuple(notes if unseen else ()),
            inferred={
                "tokens": known,
                "encoding": read[0][1] if len({used for _, used in read}) == 1 else None,
            },
            sequences={"text": ("character" if not between else "token", self.length)},
        )

    def _starts(self, paths: list[Path], size: int) -> dict[str, np.ndarray]:
        """Where the windows of each part start; with its targets a window lies inside its part."""
        ends = {"train": round(size * (1 - self.dev - self.test)), "dev": 0, "test": size}
        ends["dev"] = round(size * (1 - self.test))
        shares = {"train": 1.0, "dev": self.dev, "test": self.test}
        found, begin = {}, 0
        for part, share in shares.items():
            if not share:
                continue
            last = ends[part] - self.length - 1
            if last < begin:
                where = paths[0] if len(paths) == 1 else f"{paths[0]} and {len(paths) - 1} more"
                of = "" if self.dev + self.test == 0 else f" in the {part} part"
                raise DataError(
                    f"{where}: has {count(ends[part] - begin, 'token')}{of}, fewer than a window "
                    f"of {self.length} and the one that follows: set a smaller `length`"
                )
            found[part] = np.arange(begin, last + 1, self.stride or self.length)
            begin = ends[part]
        return found

    def _known(self, tokens: list[str]) -> list[str]:
        if self.tokens is not None:
            return self.tokens
        return most_frequent(Counter(tokens), self.vocabulary)

    def _codes(self, tokens: list[str], known: list[str]) -> np.ndarray:
        """The class of each token; −1 for one that is none."""
        index = {token: place for place, token in enumerate(known)}
        rest = len(known) if self.vocabulary else -1
        return np.array([index.get(token, rest) for token in tokens], np.int64)


class Sequences(_Sequences):
    """A table with a column of text: a class (or number) for each, or a class for each token.

    A file of delimited text, as `csv` reads it. With `labels: per_token` the target column holds as
    many labels as the text has tokens, with white space between them. An empty field is a sequence
    without tokens. Other columns are not used.

    Use: to classify texts or sequences of symbols (`lstm`, `gru`), or to tag their words.
    """

    name: Literal["sequences"] = "sequences"
    also = ("text_classification", "tagging", "sentences")
    paths = ("path",)
    path: str = param(..., "the file", min_length=1)
    text: int | str = param(0, "column of the sequences, by name or number", also=("column", "x"))
    target: int | str = param(
        -1, "column to predict, by name or number (−1: the last)", also=("label", "y")
    )
    labels: Literal["per_sequence", "per_token"] = param(
        "per_sequence", "one label for each sequence, or one for each of its tokens"
    )
    unit: Unit = param("token", "what a token is: token (by white space), word, or character")
    length: int | None = param(
        None,
        "how many tokens of each sequence are kept",
        unit="tokens",
        ge=1,
        le=65536,
        when="null: the longest",
        also=("max_length", "maxlen"),
    )
    target_type: Literal["classification", "regression"] | None = param(
        None, "what a label for a whole sequence is", when="null: as `csv` tells"
    )
    separator: str | None = param(
        None,
        "the character between fields",
        when="null: the first of tab ; | , that splits the lines alike",
        min_length=1,
        max_length=1,
        also=("sep", "delimiter"),
    )
    header: bool | None = param(
        None,
        "whether the first line names the columns",
        when="null: yes if none of its fields is a number",
    )

    def conflicts(self) -> list[tuple[str, str]]:
        if self.labels == "per_token" and self.target_type == "regression":
            return [("target_type", "a label for each token is a class")]
        return []

    def at(self, path: Path) -> Dataset:
        return self.model_copy(update={"path": str(path.absolute())})

    def load(self, root: Path = Path(), *, labelled: bool = True) -> Table:
        for field, message in self.conflicts():
            raise DataError(f"data.source.{field}: {message}")
        path = existing_file(root, self.path)
        columns, texts, labels = self._read(path, labelled)
        sizes = np.array([len(tokens_of(text or "", self.unit)) for text in texts])
        length = self.length or max(1, int(sizes.max()))
        name = columns.names[position(path, self.text, columns.names, "text")]
        form = columns.form
        table = Table(
            features=Features(np.empty((len(texts), 0)), (), texts[:, None], (name,)),
            target=np.empty((len(texts), 0)),
            classes=None,
            target_names=(),
            ids=np.arange(len(texts)),
            files=(file_info(path),),
            inferred={"length": length, "separator": form.separator, "header": form.header}
            | {"encoding": form.encoding},
            sequences={name: (self.unit, length)},
        )
        if labels is None:
            return table
        table = replace(table, target_names=(labels[0],), notes=_unused(columns, name, labels[0]))
        if self.labels == "per_token":
            return _tagged(path, table, labels[1], sizes, columns.lines, length)
        return self._labelled(path, table, labels[1], columns)

    def _read(
        self, path: Path, labelled: bool
    ) -> tuple[Columns, np.ndarray, tuple[str, np.ndarray] | None]:
        """The columns, the texts `[n]`, and name and values of the target if there is one."""
        form = Form(self.separator, self.header, None, self.encoding, ("",))
        form, names = read_names(path, form)
        types: dict[int | str, Any] = {position(path, self.text, names, "text"): "categorical"}
        if labelled and self.labels == "per_token":
            types[position(path, self.target, names, "target")] = "categorical"
        columns = read_columns(path, form, types)
        texts = columns.values[position(path, self.text, columns.names, "text")]
        if not labelled:
            return columns, texts, None
        target = position(path, self.target, columns.names, "target")
        if columns.values[target] is texts:
            raise DataError(f"{path}: column {columns.names[target]} is both text and target")
        return columns, texts, (columns.names[target], columns.values[target])

    def _labelled(self, path: Path, table: Table, values: np.ndarray, columns: Columns) -> Table:
        """The table with a class or number for each row."""
        absent = values == None if values.dtype == object else ~np.isfinite(values)  # noqa: E711
        if absent.any():
            line = columns.lines[absent][0]
            raise DataError(f"{path}:{line}: target {table.target_names[0]} has no value")
        found = as_target(values, table.target_names[0], self.target_type)
        kind = "regression" if found.classes is None else "classification"
        return replace(
            table,
            target=found.values,
            classes=found.classes,
            notes=(*table.notes, *([found.note] if found.note else [])),
            inferred={**table.inferred, "target_type": kind},
        )


def _tagged(
    path: Path,
    table: Table,
    values: np.ndarray,
    sizes: np.ndarray,
    lines: np.ndarray,
    length: int,
) -> Table:
    """The table with a class at every token; DataError where their numbers differ."""
    labels = [[] if value is None else value.split() for value in values]
    for line, found, tokens in zip(lines.tolist(), labels, sizes.tolist(), strict=True):
        if len(found) != tokens:
            raise DataError(
                f"{path}:{line}: has {count(tokens, 'token')} and {count(len(found), 'label')}; "
                "with `labels: per_token` there is one for each"
            )
    classes = sorted({label for found in labels for label in found})
    index = {label: place for place, label in enumerate(classes)}
    target = np.full((len(labels), length), -1, np.int64)
    for row, found in zip(target, labels, strict=True):
        row[: len(found)] = [index[label] for label in found[:length]]
    return replace(table, target=target, classes=tuple(classes))


def _unused(columns: Columns, *used: str) -> tuple[str, ...]:
    left = [name for name in columns.names if name not in used]
    return (f"sequences: columns that are not used: {', '.join(left[:10])}",) if left else ()


def _visible(token: str) -> str:
    """A token as a class is called: white space and what can't be printed as Python writes it."""
    return token if token.isprintable() and not token.isspace() else repr(token)
