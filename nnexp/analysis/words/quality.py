"""How good word vectors are: against people's judgement of similarity, and by analogies."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nnexp.analysis.words.vectors import Vectors
from nnexp.components.datasets.delimited import read_text
from nnexp.components.table import existing_file
from nnexp.errors import DataError, count

_AT_ONCE = 2**24
"""Scores of analogies that are kept in memory."""


@dataclass(frozen=True)
class Similarity:
    """How like a file's judgement the cosines of its pairs are.

    correlation: Spearman's, over the `known` of its `pairs`; unknown: the words that are not in
    the vocabulary.
    """

    correlation: float
    known: int
    pairs: int
    unknown: tuple[str, ...]


@dataclass(frozen=True)
class Section:
    """The questions of a section: `known` of `asked` have known words only, `right` are right."""

    name: str
    right: int
    known: int
    asked: int

    @property
    def accuracy(self) -> float | None:
        """The share of the known ones that are right."""
        return self.right / self.known if self.known else None

    def to_json(self) -> dict[str, Any]:
        counts = {"right": self.right, "known": self.known, "asked": self.asked}
        return {"section": self.name, "accuracy": self.accuracy, **counts}


def similarity(vectors: Vectors, path: Path) -> Similarity:
    """The rank correlation with a file's scores of pairs. Raises DataError."""
    from scipy import stats

    pairs = read_pairs(path)
    known = [
        (left, right, score)
        for a, b, score in pairs
        if (left := vectors.find(a)) is not None and (right := vectors.find(b)) is not None
    ]
    words = dict.fromkeys(word for a, b, _ in pairs for word in (a, b))
    unknown = tuple(word for word in words if vectors.find(word) is None)
    if len(known) < 3:
        raise DataError(
            f"{path}: the words of {len(known)} of {count(len(pairs), 'pair')} are in the "
            "vocabulary; a correlation takes 3"
        )
    first, second = (vectors.unit[np.array([row[i] for row in known])] for i in (0, 1))
    cosines, scores = (first * second).sum(1), np.array([score for _, _, score in known])
    if len(set(scores.tolist())) == 1 or len(set(cosines.tolist())) == 1:
        raise DataError(f"{path}: all scores are the same: there is no correlation")
    found = float(stats.spearmanr(cosines, scores).statistic)
    return Similarity(found, len(known), len(pairs), unknown)


def read_pairs(path: Path) -> list[tuple[str, str, float]]:
    """Two words and a score a line, between tabs, commas, semicolons or white space.

    Lines that begin with # are comments; the first other line may name the columns.
    Raises DataError.
    """
    found: list[tuple[str, str, float]] = []
    first = True
    for number, line in _lines(path):
        fields = _fields(line)
        if len(fields) != 3:
            has = count(len(fields), "field")
            raise DataError(f"{path}:{number}: should be two words and a score, has {has}")
        if not all(fields):
            raise DataError(f"{path}:{number}: has an empty field")
        try:
            score = float(fields[2])
        except ValueError:
            if not first:
                raise DataError(
                    f"{path}:{number}: the score should be a number, not {fields[2]}"
                ) from None
        else:
            if not math.isfinite(score):
                raise DataError(f"{path}:{number}: the score is not finite")
            found.append((fields[0], fields[1], score))
        first = False
    if not found:
        raise DataError(f"{path}: has no pairs of words")
    return found


def _fields(line: str) -> list[str]:
    for sign in "\t,;":
        if sign in line:
            (row,) = csv.reader([line], delimiter=sign)
            return [field.strip() for field in row]
    return line.split()


def analogies(vectors: Vectors, path: Path) -> list[Section]:
    """How many of a file's questions are answered rightly, by section. Raises DataError.

    To "a is to b as c is to …" the answer is the word whose vector has the largest cosine with
    b − a + c, all of length 1, other than a, b and c themselves (3CosAdd: Mikolov, Yih & Zweig
    2013). Questions with an unknown word are left out.
    """
    sections = read_questions(path)
    found = []
    for name, questions in sections.items():
        rows = [[vectors.find(word) for word in question] for question in questions]
        known = np.array([row for row in rows if None not in row], np.int64).reshape(-1, 4)
        answers = _answers(vectors.unit, known[:, :3])
        found.append(Section(name, int((answers == known[:, 3]).sum()), len(known), len(questions)))
    if not any(section.known for section in found):
        asked = sum(section.asked for section in found)
        raise DataError(f"{path}: none of {count(asked, 'question')} has known words only")
    return found


def total(sections: list[Section]) -> Section:
    """All sections as one."""
    sums = (sum(getattr(s, key) for s in sections) for key in ("right", "known", "asked"))
    return Section("total", *sums)


def _answers(unit: np.ndarray, questions: np.ndarray) -> np.ndarray:
    """The answer's row to each question (a, b, c)."""
    found = np.empty(len(questions), np.int64)
    step = max(1, _AT_ONCE // len(unit))
    for start in range(0, len(questions), step):
        a, b, c = questions[start : start + step].T
        scores = (unit[b] - unit[a] + unit[c]) @ unit.T
        np.put_along_axis(scores, questions[start : start + step], -np.inf, axis=1)
        found[start : start + step] = scores.argmax(1)
    return found


def read_questions(path: Path) -> dict[str, list[list[str]]]:
    """The questions of each section: four words a line, after a line `: name`.

    Questions before the first such line are of the section "questions". Lines that begin with #
    are comments. Raises DataError.
    """
    found: dict[str, list[list[str]]] = {}
    name = "questions"
    for number, line in _lines(path):
        if line.startswith(":"):
            name = line[1:].strip()
            if not name:
                raise DataError(f"{path}:{number}: the section has no name")
            continue
        words = line.split()
        if len(words) != 4:
            raise DataError(
                f"{path}:{number}: should be four words, has {count(len(words), 'word')}"
            )
        found.setdefault(name, []).append(words)
    if not found:
        raise DataError(f"{path}: has no questions")
    return found


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """The lines of a file that hold something, with their numbers, comments left out."""
    path = existing_file(path.parent, path.name)
    for number, line in enumerate(read_text(path, None)[0].split("\n"), 1):
        if line.strip() and not line.lstrip().startswith("#"):
            yield number, line.strip()
