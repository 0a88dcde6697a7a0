"""Running text of any size as blocks of word numbers."""

from __future__ import annotations

import codecs
import os
import re
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from glob import glob
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

import numpy as np
from pydantic import Field, PrivateAttr, field_validator

from nnexp.components.datasets.dataset import Dataset
from nnexp.components.table import Features, Table, existing_file, file_info
from nnexp.components.windows import UNKNOWN
from nnexp.errors import DataError, count
from nnexp.registry import param, rule

_WORD = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)*")
_CUT = re.compile(r"[^\W\d_]|['’]")
_PIECE = 2**20
"""Bytes that are read at a time."""


def words_of(text: str, lower: bool) -> list[str]:
    """The words of a text: runs of letters, with apostrophes inside (’ is written ')."""
    found: list[str] = _WORD.findall(text.replace("’", "'"))
    return [word.lower() for word in found] if lower else found


class Corpus(Dataset):
    """Running text of any size, for word vectors.

    Words are runs of letters of any script, with apostrophes inside (don't), as the regular
    expression [^\\W\\d_]+(?:'[^\\W\\d_]+)* has them; whatever else there is separates them. The
    most frequent ones make the vocabulary, and UNK stands for all others. An example is a block of
    consecutive words; the files of a folder or a glob follow each other in the order of their
    names. The text is read in pieces, twice, and its words are kept as numbers in a temporary
    file, 4 bytes each.

    Use: with the models skip_gram and cbow. A split of 0.98 to train, 0.02 dev and no test suits
    it: vectors are judged by `nnexp similarity` and `nnexp analogies`.
    """

    name: Literal["corpus"] = "corpus"
    also = ("text_corpus", "texts")
    paths: ClassVar[tuple[str, ...]] = ("path",)
    path: str | Annotated[list[str], Field(min_length=1, max_length=10_000)] = param(
        ...,
        "a text file, a list of them, a folder of .txt files, or a glob such as books/*.txt",
        also=("file", "files", "folder"),
    )
    vocabulary: int = param(
        50_000,
        "words that are kept apart, the most frequent ones",
        unit="words",
        ge=1,
        le=2**24 - 2,
        also=("vocab_size", "max_words"),
    )
    min_count: int = param(5, "how often a word must be there to be kept apart", ge=1, le=10**9)
    length: int = param(
        256, "words a block", unit="words", ge=3, le=65_536, also=("block", "seq_len")
    )
    lower: bool = param(True, "whether capital letters become small ones")
    encoding: str = param("utf-8", "how the files encode letters")
    _known: tuple[str, ...] | None = PrivateAttr(None)

    @field_validator("encoding")
    @classmethod
    def _known_encoding(cls, value: str) -> str:
        try:
            "".encode(value)  # some codecs, such as base64, are not for text
        except (LookupError, UnicodeError, ValueError):
            raise rule("there is no such encoding", allowed="utf-8, latin-1, utf-16, …") from None
        return value

    def knowing(self, classes: Sequence[str]) -> Self:
        found = self.model_copy()
        found._known = tuple(classes)
        return found

    def with_paths(self, root: Path) -> Self:
        if isinstance(self.path, str):
            return super().with_paths(root)
        base = Path(os.path.abspath(root))
        return self.model_copy(update={"path": [str(base / name) for name in self.path]})

    def load(self, root: Path = Path(), *, labelled: bool = True) -> Table:
        files = self._files(root)
        counts: Counter[str] = Counter()
        for piece in self._words(files):
            counts.update(piece)
        words = self._known or tuple(self._vocabulary(files, counts))
        total = counts.total()
        blocks = total // self.length
        if not blocks:
            raise DataError(
                f"{_named(files)}: has {count(total, 'word')}; a block takes {self.length} "
                "(data.source.length)"
            )
        numbers = self._numbers(files, {word: number for number, word in enumerate(words)}, total)
        known = np.array([counts[word] for word in words], np.int64)
        known[0] = total - known[1:].sum()
        notes = [
            f"corpus: {total:,} words, {len(words) - 1:,} different ones kept apart; "
            f"{known[0] / total:.1%} are {UNKNOWN}"
        ]
        if left := total % self.length:
            notes.append(f"corpus: {count(left, 'word')} after the last whole block are left out")
        return Table(
            features=Features.of(numbers[: blocks * self.length].reshape(blocks, self.length)),
            target=np.zeros(blocks, np.int64),
            classes=tuple(words),
            target_names=("word",),
            ids=np.arange(blocks),
            files=tuple(file_info(file) for file in files),
            notes=tuple(notes),
            word_counts=known,
        )

    def _files(self, root: Path) -> list[Path]:
        if not isinstance(self.path, str):
            return [existing_file(root, name) for name in self.path]
        place = Path(root) / self.path
        if place.is_dir():
            found, what = list(place.glob("*.txt")), "there is no .txt file in it"
        elif any(sign in self.path for sign in "*?[") and not place.exists():
            found, what = [Path(name) for name in glob(str(place))], "no file matches"
        else:
            return [existing_file(root, self.path)]
        names = sorted(path for path in found if not path.is_dir())
        if not names:
            raise DataError(f"{place}: {what}")
        return [existing_file(path.parent, path.name) for path in names]

    def _words(self, files: Sequence[Path]) -> Iterator[list[str]]:
        """The words of all files, a piece at a time."""
        for file in files:
            rest = ""
            for piece in self._pieces(file):
                piece = rest + piece
                # a word that the piece's end may have cut waits for the next one
                end = len(piece)
                while end and _CUT.match(piece, end - 1):
                    end -= 1
                if len(piece) - end > _PIECE:
                    raise DataError(f"{file}: has a word of {_PIECE:,} letters: is it text?")
                piece, rest = piece[:end], piece[end:]
                yield words_of(piece, self.lower)
            yield words_of(rest, self.lower)

    def _pieces(self, file: Path) -> Iterator[str]:
        """A file's text, as much as `_PIECE` bytes hold at a time."""
        decoder, done = codecs.getincrementaldecoder(self.encoding)(), 0
        with file.open("rb") as content:
            while True:
                piece = content.read(_PIECE)
                try:
                    text = decoder.decode(piece, final=not piece)
                except UnicodeDecodeError as error:
                    held = len(error.object) - len(piece)  # left from the piece before
                    byte, at = error.object[error.start], done - held + error.start
                    raise DataError(
                        f"{file}: is not {self.encoding} text (byte {byte:#04x} at position "
                        f"{at:,}); set `encoding`"
                    ) from None
                except UnicodeError as error:
                    raise DataError(f"{file}: {error}; set `encoding`") from None
                if not piece:
                    yield text
                    return
                done += len(piece)
                yield text

    def _vocabulary(self, files: Sequence[Path], counts: Counter[str]) -> list[str]:
        """UNK, then words by falling frequency, equal ones by the alphabet."""
        where = _named(files)
        if not counts:
            raise DataError(f"{where}: there are no words in it")
        if len(counts) == 1:
            raise DataError(
                f"{where}: has one word only, {_cut(next(iter(counts)))}, again and again"
            )
        ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
        often = [word for word, n in ordered if n >= self.min_count and word != UNKNOWN]
        if len(often) < 2:
            word, most = ordered[0]
            raise DataError(
                f"{where}: fewer than two words are there {self.min_count} times (the most "
                f"frequent one, {_cut(word)}, {count(most, 'time')}): lower `min_count`"
            )
        return [UNKNOWN, *often[: self.vocabulary]]

    def _numbers(self, files: Sequence[Path], index: Mapping[str, int], total: int) -> np.ndarray:
        """Every word's number, int32 `[total]`, in a temporary file that vanishes with it."""
        with tempfile.TemporaryFile() as file:
            for words in self._words(files):
                numbers = (index.get(word, 0) for word in words)
                file.write(np.fromiter(numbers, np.int32, len(words)).tobytes())
            file.flush()
            if file.tell() != 4 * total:
                raise DataError(f"{_named(files)}: changed while it was read")
            return np.memmap(file, np.int32, "r", shape=(total,))


def _cut(word: str) -> str:
    return word if len(word) <= 40 else f"{word[:39]}…"


def _named(files: Sequence[Path]) -> str:
    return str(files[0]) if len(files) == 1 else f"{files[0]} and {len(files) - 1} more"
