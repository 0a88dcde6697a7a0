"""Word vectors' neighbours, similarities and analogies against plain loops, and their files."""

from __future__ import annotations

import math
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from nnexp.analysis.words.quality import (
    Section,
    analogies,
    read_pairs,
    read_questions,
    similarity,
    total,
)
from nnexp.analysis.words.vectors import Vectors, largest, read_word2vec, write_word2vec
from nnexp.errors import DataError, UsageError

WORDS = ("king", "queen", "man", "woman", "don't", "été")


def made(words: tuple[str, ...] = WORDS, width: int = 3, seed: int = 0) -> Vectors:
    drawn = np.random.default_rng(seed).normal(size=(len(words), width))
    return Vectors(words, drawn.astype(np.float32))


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    """As one would write it down."""
    dot = sum(float(x) * float(y) for x, y in zip(a, b, strict=True))
    return dot / math.sqrt(sum(float(x) ** 2 for x in a) * sum(float(y) ** 2 for y in b))


def written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


class TestNeighbours:
    @given(st.integers(0, 10_000), st.integers(1, 30), st.integers(2, 25))
    def test_are_those_of_a_loop(self, seed: int, k: int, size: int) -> None:
        vectors = made(tuple(f"w{i}" for i in range(size)), 4, seed)
        found = vectors.neighbours("w1", k)
        others = [i for i in range(size) if i != 1]
        near = {i: cosine(vectors.matrix[1], vectors.matrix[i]) for i in others}
        expected = sorted(others, key=lambda i: -near[i])[:k]
        assert [word for word, _ in found] == [f"w{i}" for i in expected]
        assert [c for _, c in found] == pytest.approx([near[i] for i in expected], abs=1e-5)

    @given(st.lists(st.integers(-3, 3), min_size=1, max_size=20), st.integers(1, 25))
    def test_of_equal_ones_the_first_come_first(self, values: list[int], k: int) -> None:
        found = largest(np.array(values, float), k).tolist()
        assert found == sorted(range(len(values)), key=lambda i: (-values[i], i))[:k]

    def test_a_vector_of_zeros_is_near_nothing(self) -> None:
        vectors = Vectors(("a", "b", "c"), np.array([[0.0, 0.0], [1.0, 0.0], [2.0, 0.0]]))
        assert vectors.neighbours("a", 2) == [("b", 0.0), ("c", 0.0)]
        assert vectors.neighbours("b", 1) == [("c", 1.0)]

    def test_capitals_are_small_letters_where_there_are_none(self) -> None:
        assert made().find("King") == 0
        assert made().find("DON’T") == 4
        mixed = made(("king", "King"))
        assert [mixed.find(word) for word in ("king", "King", "KING")] == [0, 1, None]

    def test_an_unknown_word_is_told_with_the_nearest_spelling(self) -> None:
        with pytest.raises(UsageError, match=r"qeen is not .*; did you mean queen\?"):
            made().row("qeen")
        with pytest.raises(UsageError, match=r"zzz is not in the vocabulary$"):
            made().row("zzz")


class TestSimilarity:
    FORMS = {
        "tab": "# comment\nWord 1\tWord 2\tmean\nking\tqueen\t8.5\nman\twoman\t7\nman\tdon't\t1\n",
        "comma": 'king,queen,8.5\n"man","woman",7\n\n man , don\'t ,1\n',
        "semicolon": "a;b;score\nking;queen;8.5\nman;woman;7\nman;don't;1",
        "space": "king queen 8.5\nman   woman 7\r\nman don't 1\n",
    }

    @pytest.mark.parametrize("form", FORMS)
    def test_files_are_read_in_every_form(self, form: str, tmp_path: Path) -> None:
        path = written(tmp_path / "pairs", self.FORMS[form])
        assert read_pairs(path) == [
            ("king", "queen", 8.5),
            ("man", "woman", 7.0),
            ("man", "don't", 1.0),
        ]

    def test_is_the_rank_correlation_of_known_pairs(self, tmp_path: Path) -> None:
        vectors = made(seed=4)
        pairs = [(a, b) for a, b in product(WORDS, WORDS) if a < b]
        scores = np.random.default_rng(1).integers(0, 8, len(pairs)).tolist()  # with ties
        lines = [f"{a}\t{b}\t{s}" for (a, b), s in zip(pairs, scores, strict=True)]
        lines += ["King\tprincess\t3", "duke\tprincess\t4"]
        found = similarity(vectors, written(tmp_path / "pairs.tsv", "\n".join(lines)))
        row = dict(zip(WORDS, vectors.matrix, strict=True))
        near = [cosine(row[a], row[b]) for a, b in pairs]
        ranks = [stats.rankdata(values) for values in (near, scores)]
        assert found.correlation == pytest.approx(np.corrcoef(*ranks)[0, 1])
        assert (found.known, found.pairs) == (len(pairs), len(pairs) + 2)
        assert found.unknown == ("princess", "duke")

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("", "has no pairs of words"),
            ("a b score\n", "has no pairs of words"),
            ("a b 1\na b\n", ":2: should be two words and a score, has 2 fields"),
            ("king\tqueen\t8\tx\n", ":1: should be two words and a score, has 4 fields"),
            ("king,,8\n", ":1: has an empty field"),
            ("a b 1\nc d high\n", ":2: the score should be a number, not high"),
            ("first second score\nc d high\n", ":2: the score should be a number, not high"),
            ("a b nan\n", ":1: the score is not finite"),
            ("king queen 1\nman x 2\n", "the words of 1 of 2 pairs are in the vocabulary"),
            ("king queen 1\nman queen 1\nking man 1\n", "all scores are the same"),
        ],
    )
    def test_what_is_wrong_is_told(self, text: str, message: str, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=rf"pairs\.txt.*{message}"):
            similarity(made(), written(tmp_path / "pairs.txt", text))

    def test_files_that_are_no_text(self, tmp_path: Path) -> None:
        (tmp_path / "pairs.txt").write_bytes(b"caf\xe9 bar 1\n")
        with pytest.raises(DataError, match="utf-8"):
            similarity(made(), tmp_path / "pairs.txt")
        with pytest.raises(DataError, match=r"no such file; did you mean pairs\.txt"):
            similarity(made(), tmp_path / "pair.txt")


class TestAnalogies:
    def by_loop(self, vectors: Vectors, question: tuple[int, ...]) -> int:
        a, b, c = ([x / math.hypot(*v) for x in v] for v in vectors.matrix[list(question)].tolist())
        wanted = np.array([y - x + z for x, y, z in zip(a, b, c, strict=True)])
        others = [i for i in range(len(vectors.words)) if i not in question]
        return max(others, key=lambda i: cosine(wanted, vectors.matrix[i]))

    @given(st.integers(0, 1000))
    def test_answers_are_those_of_a_loop(self, seed: int) -> None:
        from nnexp.analysis.words.quality import _answers

        vectors = made(tuple(f"w{i}" for i in range(9)), 4, seed)
        drawn = np.random.default_rng(seed).integers(0, 9, (20, 3))
        expected = [self.by_loop(vectors, tuple(row)) for row in drawn.tolist()]
        assert _answers(vectors.unit, drawn).tolist() == expected

    def test_by_section(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("nnexp.analysis.words.quality._AT_ONCE", 1)  # a question at a time
        square = np.array([[1, 0, 1], [0, 1, 1], [1, 0, -1], [0, 1, -1], [5, 5, 0.0], [1, 1, 1]])
        vectors = Vectors(WORDS, square)
        text = (
            "# comment\nking queen man woman\n: family\nking man queen woman\n"
            "Man King Woman Queen\nking man queen don't\nduke man queen woman\n: rest\na b c d\n"
        )
        found = analogies(vectors, written(tmp_path / "questions.txt", text))
        assert found == [
            Section("questions", 1, 1, 1),
            Section("family", 2, 3, 4),
            Section("rest", 0, 0, 1),
        ]
        assert [section.accuracy for section in found] == [1.0, pytest.approx(2 / 3), None]
        assert total(found) == Section("total", 3, 4, 6)

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("", "has no questions"),
            (": family\n", "has no questions"),
            ("king queen man\n", ":1: should be four words, has 3 words"),
            (":\nking queen man woman\n", ":1: the section has no name"),
            ("a b c d\n", "none of 1 question has known words only"),
        ],
    )
    def test_what_is_wrong_is_told(self, text: str, message: str, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=message):
            analogies(made(), written(tmp_path / "questions.txt", text))

    def test_a_section_may_come_in_pieces(self, tmp_path: Path) -> None:
        text = ": x\na b c d\n: y\ne f g h\n: x\ni j k l\n"
        found = read_questions(written(tmp_path / "questions.txt", text))
        assert found == {"x": [[*"abcd"], [*"ijkl"]], "y": [[*"efgh"]]}


class TestWord2vec:
    def test_comes_back_to_the_bit(self, tmp_path: Path) -> None:
        vectors = made(width=5)
        vectors.matrix[0, :3] = [1e-38, -3.4e38, 0.1]
        write_word2vec(vectors, tmp_path / "v.txt")
        lines = (tmp_path / "v.txt").read_text().split("\n")
        assert lines[0] == "6 5"
        assert [line.split(" ")[0] for line in lines[1:-1]] == [*WORDS]
        found = read_word2vec(tmp_path / "v.txt")
        assert found.words == WORDS
        np.testing.assert_array_equal(found.matrix, vectors.matrix)

    def test_words_with_white_space_are_refused(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="'new york' has white space"):
            write_word2vec(made(("new york", "paris")), tmp_path / "v.txt")
        assert not (tmp_path / "v.txt").exists()

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("", "is not word2vec's text format"),
            ("the 0.1 0.2\n", "is not word2vec's text format"),
            ("0 2\n", "is not word2vec's text format"),
            ("2 2\na 1 2\n", "says 2 words and has 1"),
            ("1 2\na 1 2\nb 1 2\n", "says 1 word and has 2"),
            ("1 2\na 1\n", r"v\.txt:2: should have 2 numbers, has 1"),
            ("1 2\na 1 x\n", r"v\.txt:2: could not convert string to float: 'x'"),
            ("1 2\na 1 inf\n", r"v\.txt:2: has a number that is not finite"),
            ("2 1\na 1\na 2\n", "has a twice"),
        ],
    )
    def test_what_is_wrong_is_told(self, text: str, message: str, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=message):
            read_word2vec(written(tmp_path / "v.txt", text))
