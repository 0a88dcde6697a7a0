"""Running text: its words against a plain reading, its vocabulary, and what can't be used."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from nnexp.components.datasets import Corpus, Dataset, corpus
from nnexp.components.datasets.corpus import words_of
from nnexp.components.table import Table
from nnexp.errors import DataError
from nnexp.registry import choose

VERSE = "The cat sat. The dog didn't sit! A cat's hat, the CAT; 3 dogs – the end_of it.\n" * 8

Load = Callable[..., Table]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """The table of a text (bytes are written as they are)."""

    def loaded(text: str | bytes, **fields: Any) -> Table:
        content = text if isinstance(text, bytes) else text.encode()
        (tmp_path / "a.txt").write_bytes(content)
        return Corpus(path="a.txt", **{"min_count": 1, "length": 4, **fields}).load(tmp_path)

    return loaded


def words_by_loop(text: str, lower: bool = True) -> list[str]:
    """Letter by letter: an apostrophe belongs to a word if there are letters on both its sides."""
    found, word = [], ""
    padded = [*text.replace("’", "'"), " "]
    for place, sign in enumerate(padded):
        between = sign == "'" and word and padded[place + 1].isalpha()
        if sign.isalpha() or between:
            word += sign
        elif word:
            found.append(word.lower() if lower else word)
            word = ""
    return found


def blocks_of(table: Table) -> list[list[int]]:
    found: list[list[int]] = np.asarray(table.features.numeric[:]).tolist()
    return found


def text_of(table: Table) -> list[str]:
    assert table.classes is not None
    return [table.classes[number] for block in blocks_of(table) for number in block]


SIGNS = st.text(alphabet="aBcé'’ßЖ字 \n-_.9", max_size=60)


@given(SIGNS, st.booleans())
def test_words_are_runs_of_letters(text: str, lower: bool) -> None:
    assert words_of(text, lower) == words_by_loop(text, lower)


def test_numbers_signs_and_apostrophes() -> None:
    assert words_of("Don't 'quote' x2y snake_case l’été co-op", lower=True) == [
        *("don't", "quote", "x", "y", "snake", "case", "l'été", "co", "op")
    ]
    assert words_of("Straße STRASSE", lower=False) == ["Straße", "STRASSE"]


@pytest.mark.parametrize("lower", [True, False])
def test_blocks_and_counts_are_those_of_a_plain_reading(load: Load, lower: bool) -> None:
    table = load(VERSE, lower=lower)
    expected = words_by_loop(VERSE, lower)
    whole = len(expected) // 4 * 4
    assert text_of(table) == expected[:whole]
    assert table.features.numeric.shape == (whole // 4, 4)
    assert table.features.numeric.dtype == np.int32
    counts = Counter(expected)
    assert table.classes == ("UNK", *sorted(counts, key=lambda word: (-counts[word], word)))
    assert table.word_counts is not None
    assert table.word_counts.tolist() == [0, *(counts[word] for word in table.classes[1:])]
    assert table.task == "words"


def test_rare_words_share_a_number(load: Load) -> None:
    text = "a a a a b b b c c d " * 3 + "e"
    table = load(text, vocabulary=2, min_count=2)
    assert table.classes == ("UNK", "a", "b")
    assert table.word_counts is not None
    assert table.word_counts.tolist() == [10, 12, 9]
    assert blocks_of(table)[:3] == [[1, 1, 1, 1], [2, 2, 2, 0], [0, 0, 1, 1]]
    assert table.notes == (
        "corpus: 31 words, 2 different ones kept apart; 32.3% are UNK",
        "corpus: 3 words after the last whole block are left out",
    )
    assert load(text, min_count=6).classes == ("UNK", "a", "b", "c")
    assert load(text, min_count=7).classes == ("UNK", "a", "b")


def test_a_word_that_is_called_unk_is_no_other(load: Load) -> None:
    table = load("UNK a b UNK a b c c", lower=False)
    assert table.classes == ("UNK", "a", "b", "c")
    assert table.word_counts is not None
    assert table.word_counts.tolist() == [2, 2, 2, 2]


@pytest.mark.parametrize("piece", [1, 2, 3, 7, 64])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "latin-1"])
def test_pieces_do_not_matter(
    load: Load, piece: int, encoding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Words, and bytes of a letter, may lie across the end of a piece."""
    text = "l'été s'en va où sont les arbres, dont les feuilles tombent déjà 'hier' " * 3
    whole = load(text.encode(encoding), encoding=encoding)
    monkeypatch.setattr(corpus, "_PIECE", 64 if piece == 64 else 8 * piece)
    pieces = load(text.encode(encoding), encoding=encoding)
    assert text_of(pieces) == text_of(whole) == words_by_loop(text)[: len(whole) * 4]
    assert pieces.classes == whole.classes


def test_a_mark_at_the_start_is_no_letter(load: Load) -> None:
    assert load(b"\xef\xbb\xbf" + b"a b " * 4).classes == ("UNK", "a", "b")


class TestFiles:
    @pytest.fixture
    def books(self, tmp_path: Path) -> Path:
        folder = tmp_path / "books"
        folder.mkdir()
        for name, text in {"b": "d e f ", "a": "a b c ", "c": "g "}.items():
            (folder / f"{name}.txt").write_text(text * 2)
        (folder / "notes.md").write_text("nothing to read")
        (folder / "d.txt").mkdir()
        return tmp_path

    @pytest.mark.parametrize(
        ("path", "expected"),
        [
            ("books", "a b c a b c d e f d e f"),
            ("books/*.txt", "a b c a b c d e f d e f"),
            ("books/[ab].txt", "a b c a b c d e f d e f"),
            ("books/?.txt", "a b c a b c d e f d e f"),
            (["books/b.txt", "books/a.txt"], "d e f d e f a b c a b c"),
            ("books/b.txt", "d e f"),
        ],
    )
    def test_in_their_order(self, books: Path, path: Any, expected: str) -> None:
        source = Corpus(path=path, min_count=1, length=3)
        table = source.load(books)
        assert " ".join(text_of(table)[: len(expected.split())]) == expected
        placed = source.with_paths(books)
        assert text_of(placed.load()) == text_of(table)
        assert placed.load().fingerprint == table.fingerprint

    def test_that_are_not_there(self, books: Path) -> None:
        (books / "empty").mkdir()
        for path, message in {
            "empty": r"there is no \.txt file in it",
            "books/*.text": "no file matches",
            "bocks": "no such file; did you mean books",
            "books/e.txt": "no such file",
        }.items():
            with pytest.raises(DataError, match=message):
                Corpus(path=path).load(books)

    def test_another_text_takes_the_place_of_all(self, books: Path) -> None:
        source = Corpus(path=["books/b.txt", "books/a.txt"], min_count=1, length=3)
        assert text_of(source.at(books / "books" / "a.txt").load()) == [*"abcabc"]


class TestOtherText:
    def test_keeps_the_words_and_their_numbers(self, load: Load, tmp_path: Path) -> None:
        first = load("a b c c b a c c " * 2)
        assert first.classes == ("UNK", "c", "a", "b")
        (tmp_path / "b.txt").write_text("b new b x " * 2)
        source = Corpus(path="b.txt", length=4).knowing(first.classes)
        table = source.load(tmp_path)
        assert table.classes == first.classes
        assert blocks_of(table) == [[3, 0, 3, 0]] * 2
        assert table.word_counts is not None
        assert table.word_counts.tolist() == [4, 0, 0, 4]

    def test_its_own_words_are_its_own(self, load: Load, tmp_path: Path) -> None:
        """`knowing` gives a copy."""
        (tmp_path / "b.txt").write_text("b c " * 4)
        source = Corpus(path="b.txt", min_count=1, length=4)
        source.knowing(["UNK", "z"])
        assert source.load(tmp_path).classes == ("UNK", "b", "c")

    def test_may_be_one_that_could_not_train(self, load: Load, tmp_path: Path) -> None:
        (tmp_path / "b.txt").write_text("b " * 8)
        table = Corpus(path="b.txt", length=4).knowing(["UNK", "a", "b"]).load(tmp_path)
        assert blocks_of(table) == [[2, 2, 2, 2]] * 2


class TestBadInput:
    @pytest.mark.parametrize(
        ("text", "fields", "message"),
        [
            ("", {}, r"a\.txt: there are no words in it"),
            ("1 2 3, 4 … 5_6", {}, r"a\.txt: there are no words in it"),
            ("ho ho, ho! " * 9, {}, r"a\.txt: has one word only, ho, again and again"),
            (
                "a b c a",
                {"min_count": 5},
                r"fewer than two words are there 5 times \(the most frequent one, a, 2 times\): "
                "lower `min_count`",
            ),
            (
                "a b c a b c d",
                {"length": 8},
                r"a\.txt: has 7 words; a block takes 8 \(data\.source\.length\)",
            ),
            (b"caf\xe9 " * 9, {}, r"a\.txt: is not utf-8 text \(byte 0xe9 at position 3\); set"),
            (b"x" * 65 + b"\xff", {}, r"byte 0xff at position 65\); set `encoding`"),
            (b"a b c d " * 3, {"encoding": "utf-16"}, r"a\.txt: .*; set `encoding`"),
            (b"a b \xc3", {}, r"byte 0xc3 at position 4"),
        ],
    )
    def test_is_told(
        self, load: Load, text: str | bytes, fields: dict[str, Any], message: str
    ) -> None:
        with pytest.raises(DataError, match=message):
            load(text, **fields)

    @pytest.mark.parametrize("lead", [0, 1, 2, 3, 8, 9])
    def test_the_place_of_a_wrong_byte_counts_from_the_files_start(
        self, load: Load, lead: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(corpus, "_PIECE", 3)
        good = ("é" * 6 + " ").encode()[: 2 * lead] if lead < 6 else b"ab " * lead
        with pytest.raises(DataError, match=rf"byte 0xff at position {len(good)}\)"):
            load(good + b"\xff and more")

    def test_what_is_no_text(self, load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(corpus, "_PIECE", 16)
        with pytest.raises(DataError, match=r"a\.txt: has a word of 16 letters: is it text\?"):
            load("ok " + "x" * 100)

    def test_a_text_that_changes_while_it_is_read(
        self, load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        vocabulary = Corpus._vocabulary

        def meanwhile(self: Corpus, *arguments: Any) -> list[str]:
            with (tmp_path / "a.txt").open("a") as file:
                file.write("one more ")
            return vocabulary(self, *arguments)

        monkeypatch.setattr(Corpus, "_vocabulary", meanwhile)
        with pytest.raises(DataError, match="changed while it was read"):
            load(VERSE)

    @pytest.mark.parametrize("encoding", ["utf-9", "base64", "", "a\0b"])
    def test_an_encoding_that_is_none(self, encoding: str) -> None:
        with pytest.raises(ValidationError, match="no such encoding"):
            choose(Dataset, {"name": "corpus", "path": "a.txt", "encoding": encoding})

    @pytest.mark.parametrize(
        "fields",
        [
            {},
            {"path": []},
            {"path": "a", "length": 2},
            {"path": "a", "vocabulary": 0},
            {"path": "a", "min_count": 0},
        ],
    )
    def test_fields_out_of_bounds(self, fields: dict[str, Any]) -> None:
        with pytest.raises(ValidationError):
            choose(Dataset, {"name": "corpus", **fields})


def test_a_long_word_is_cut_in_messages(tmp_path):
    from nnexp.components.datasets.corpus import Corpus
    from nnexp.errors import DataError

    (tmp_path / "long.txt").write_text("a" * 3000)
    with pytest.raises(DataError, match=r"one word only, a{39}…, again"):
        Corpus(path="long.txt").load(tmp_path)
