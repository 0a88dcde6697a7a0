"""Word vectors: a run's, or a file's in word2vec's text format, and what is near what."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from nnexp.components.datasets.delimited import read_text
from nnexp.components.table import existing_file
from nnexp.components.windows import UNKNOWN
from nnexp.errors import DamagedRun, DataError, RunError, UsageError, count, nearest
from nnexp.runs.files import write_bytes
from nnexp.runs.rundir import RunDir
from nnexp.runs.score import has_no_weights

VECTORS, CONTEXTS = "word_input.weight", "word_output.weight"
"""How the names of the two tables of a word run end."""


@dataclass(frozen=True)
class Vectors:
    """A vector for each word: the rows of `matrix`, `[V, D]`."""

    words: tuple[str, ...]
    matrix: np.ndarray

    @cached_property
    def unit(self) -> np.ndarray:
        """The vectors as float32 of length 1; of length 0 where they are 0."""
        rows = np.asarray(self.matrix, np.float32)
        length = np.linalg.norm(rows, axis=1, keepdims=True)
        return np.asarray(rows / np.maximum(length, np.finfo(np.float32).tiny))

    @cached_property
    def is_lower(self) -> bool:
        """Whether no word has a capital letter."""
        return all(word == word.lower() for word in self.words)

    @cached_property
    def _index(self) -> dict[str, int]:
        return {word: number for number, word in enumerate(self.words)}

    def find(self, word: str) -> int | None:
        """A word's row; of a capitalized one in small letters if there are no capitals."""
        word = word.replace("’", "'")
        return self._index.get(word.lower() if self.is_lower else word)

    def row(self, word: str) -> int:
        """A word's row. UsageError if it is unknown; the message names the nearest spelling."""
        found = self.find(word)
        if found is None:
            close = nearest(word, self.words)
            hint = f"; did you mean {close}?" if close else ""
            raise UsageError(f"{word} is not in the vocabulary{hint}")
        return found

    def neighbours(self, word: str, k: int) -> list[tuple[str, float]]:
        """The k words whose vectors have the largest cosine with a word's, and the cosines."""
        own = self.row(word)
        cosine = self.unit @ self.unit[own]
        cosine[own] = -np.inf
        return [(self.words[place], float(cosine[place])) for place in largest(cosine, k)]


def largest(values: np.ndarray, k: int) -> np.ndarray:
    """Places of the k largest finite values, in falling order; of equal ones the first first."""
    k = min(k, int(np.isfinite(values).sum()))
    least = np.partition(values, -k)[-k] if k else np.inf
    places = np.flatnonzero(values >= least)
    return places[np.argsort(-values[places], kind="stable")][:k]


# -- runs ------------------------------------------------------------------------------------------


def word_run(path: Path, member: int | None = None) -> RunDir:
    """The run of word vectors at `path`; of a group a member, by default its first.

    Raises RunError if it is not finished, diverged or holds no word vectors; UsageError without the
    member.
    """
    run = RunDir.open(path)
    manifest = run.read_manifest()
    if manifest["status"] in ("running", "interrupted", "failed"):
        raise RunError(f"{path} is not finished; go on with: nnexp train --resume {path}")
    if manifest["kind"] == "group":
        members = run.members()
        if not 0 <= (member or 0) < len(members):
            raise UsageError(f"--member: {path} has members 0 to {len(members) - 1}, not {member}")
        run = members[member or 0]
    elif member is not None:
        raise UsageError(f"--member is for groups; {path} is a single run")
    task = run.read_summary().get("task")
    if task != "words":
        raise RunError(f"{path} holds no word vectors: it is a {task} run")
    if has_no_weights(run):
        raise RunError(f"{run.path} diverged and left no vectors that mean anything")
    return run


@dataclass(frozen=True)
class Tables:
    """What a word run learnt: `vectors` `[V, D]` and `contexts`, a row an output `[O, D]`.

    words: the vocabulary; the first is UNK. counts: how often each is in the text.
    """

    words: tuple[str, ...]
    counts: np.ndarray
    vectors: np.ndarray
    contexts: np.ndarray


def tables_of(run: RunDir) -> Tables:
    """Raises DamagedRun, or RunError if there are numbers that are not finite."""
    run.verify(("model.safetensors", "preprocessing.json"))
    tensors, stored = run.read_tensors("model.safetensors"), run.read_json("preprocessing.json")
    vectors, contexts = (_ending(tensors, end) for end in (VECTORS, CONTEXTS))
    words, counts = stored.get("classes"), stored.get("class_counts")
    if vectors is None or contexts is None or not words or not counts:
        raise DamagedRun(f"{run.path} is damaged: it lacks word vectors or the words")
    if len(vectors) != len(words) or len(counts) != len(words):
        raise DamagedRun(f"{run.path} is damaged: {len(words)} words, {len(vectors)} vectors")
    if not (np.isfinite(vectors).all() and np.isfinite(contexts).all()):
        raise RunError(f"{run.path} diverged: its vectors are not finite")
    return Tables(tuple(words), np.asarray(counts, np.int64), vectors, contexts)


def _ending(tensors: dict[str, np.ndarray], end: str) -> np.ndarray | None:
    return next((value for name, value in tensors.items() if name.endswith(end)), None)


def vectors_of(path: Path, member: int | None = None) -> Vectors:
    """A run's vectors, without that of UNK. Raises RunError, UsageError."""
    tables = tables_of(word_run(path, member))
    kept = [number for number, word in enumerate(tables.words) if word != UNKNOWN]
    return Vectors(tuple(tables.words[number] for number in kept), tables.vectors[kept])


def vectors_at(path: Path, member: int | None = None) -> Vectors:
    """The vectors of a run, or of a file in word2vec's text format. Raises DataError, too."""
    if not path.is_file():
        return vectors_of(path, member)
    if member is not None:
        raise UsageError(f"--member is for groups; {path} is a file")
    return read_word2vec(path)


# -- word2vec's text format ------------------------------------------------------------------------


def write_word2vec(vectors: Vectors, path: Path) -> None:
    """A line `V D`, then one a word: the word and its D numbers, to 9 digits.

    Raises UsageError for a word with white space, which the format can't hold; RunError.
    """
    if broken := next((word for word in vectors.words if len(word.split()) != 1), None):
        raise UsageError(f"the word {broken!r} has white space: the format can't hold it")
    size, width = vectors.matrix.shape
    form = " ".join(["%.9g"] * width)
    rows = zip(vectors.words, vectors.matrix, strict=True)
    lines = (f"{word} {form % tuple(row.tolist())}\n" for word, row in rows)
    write_bytes(path, "".join([f"{size} {width}\n", *lines]).encode())


def read_word2vec(path: Path) -> Vectors:
    """What `write_word2vec` and other programs write. Raises DataError."""
    path = existing_file(path.parent, path.name)
    lines = read_text(path, None)[0].split("\n")
    head = lines[0].split()
    if len(head) != 2 or not all(part.isdecimal() for part in head) or "0" in head:
        raise DataError(f"{path}:1: is not word2vec's text format: its first line is `words width`")
    size, width = map(int, head)
    body = [(number, line) for number, line in enumerate(lines[1:], 2) if line.strip()]
    if len(body) != size:
        raise DataError(f"{path}: says {count(size, 'word')} and has {len(body):,}")
    words, matrix = list[str](), np.empty((size, width), np.float32)
    for row, (number, line) in enumerate(body):
        word, *values = line.split()
        words.append(word)
        matrix[row] = _numbers(values, width, f"{path}:{number}")
    word, most = Counter(words).most_common(1)[0]
    if most > 1:
        raise DataError(f"{path}: has {word} twice")
    return Vectors(tuple(words), matrix)


def _numbers(values: Sequence[str], width: int, where: str) -> np.ndarray:
    if len(values) != width:
        raise DataError(f"{where}: should have {count(width, 'number')}, has {len(values)}")
    try:
        found = np.array([float(value) for value in values])
    except ValueError as error:
        raise DataError(f"{where}: {error}") from None
    if not np.isfinite(found).all():
        raise DataError(f"{where}: has a number that is not finite")
    return found
