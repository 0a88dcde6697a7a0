"""Running text of any size as blocks of word numbers."""

from __future__ import annotations

import re
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from glob import glob
from itertools import islice
from pathlib import Path
from typing import ClassVar, Literal, Self

import numpy as np
from pydantic import PrivateAttr

from nnexp.components.datasets.dataset import Dataset
from nnexp.components.table import Features, Table, existing_file, file_info
from nnexp.components.windows import UNKNOWN
from nnexp.errors import DataError, count
from nnexp.registry import param

_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")
_PIECE = 2**22
"""Characters that are read at a time."""


class Corpus(Dataset):
    """Running text for word vectors: a file, a folder of .txt files, or a glob; of any size.

    Words are runs of letters, with apostrophes inside; whatever else there is separates them. The
    most frequent ones make the vocabulary, and UNK stands for all others. An example is a block of
    consecutive words; the files follow each other in the order of their names. The text is read in
    pieces, and its words are kept as numbers in a temporary file, 4 bytes each.

    Use: with the models skip_gram and cbow.
    """

    name: Literal["corpus"] = "corpus"
    also = ("text_corpus", "texts")
    paths: ClassVar[tuple[str, ...]] = ("path",)
    path: str = param(..., "a text file, a folder of .txt files, or a glob such as books/*.txt")
    vocabulary: int = param(
        50_000,
        "words that are kept apart, the most frequent ones",
        unit="words",
        ge=1,
        le=2**24 - 2,
    )
    min_count: int = param(5, "how often a word must be there to be kept apart", ge=1, le=10**9)
    length: int = param(256, "words a block", unit="words", ge=3, le=65_536)
    lower: bool = param(True, "whether capital letters become small ones")
    encoding: str = param("utf-8", "how the files encode letters")
    _known: tuple[str, ...] | None = PrivateAttr(None)

    def knowing(self, classes: Sequence[str]) -> Self:
        found = self.model_copy()
        found._known = tuple(classes)
        return found

    def load(self, root: Path = Path(), *, labelled: bool = True) -> Table:
        files = self._files(root)
        counts: Counter[str] = Counter()
        for piece in self._words(files):
            counts.update(piece)
        words = tuple(self._known or self._vocabulary(counts))
        index = {word: number for number, word in enumerate(words)}
        numbers = self._numbers(files, index, sum(counts.values()))
        blocks = len(numbers) // self.length
        if not blocks:
            raise DataError(
                f"{self.path}: has {count(len(numbers), 'word')}; a block takes {self.length} "
                "(data.source.length)"
            )
        known = np.array([counts[word] for word in words], np.int64)
        known[0] = len(numbers) - known[1:].sum()
        left, share = len(numbers) % self.length, known[0] / len(numbers)
        notes = [
            f"corpus: {len(numbers):,} words, {len(words) - 1:,} different ones kept apart; "
            f"{share:.1%} are {UNKNOWN}"
        ]
        if left:
            notes.append(f"corpus: the last {left} words fill no block and are left out")
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
        place = Path(root) / self.path
        if place.is_dir():
            found = sorted(place.glob("*.txt"))
            what = "there is no .txt file in it"
        elif any(sign in self.path for sign in "*?[") and not place.exists():
            found = sorted(Path(name) for name in glob(str(place)) if Path(name).is_file())
            what = "no file matches"
        else:
            return [existing_file(root, self.path)]
        if not found:
            raise DataError(f"{place}: {what}")
        return found

    def _words(self, files: Sequence[Path]) -> Iterator[list[str]]:
        """The words of all files, a piece at a time."""
        for file in files:
            rest = ""
            try:
                with file.open(encoding=self.encoding) as text:
                    while piece := text.read(_PIECE):
                        piece = rest + piece
                        # a word that the piece's end may have cut waits for the next one
                        end = max(piece.rfind(" "), piece.rfind("\n"))
                        piece, rest = piece[: end + 1], piece[end + 1 :]
                        yield self._split(piece)
                yield self._split(rest)
            except UnicodeDecodeError as error:
                byte = error.object[error.start]
                raise DataError(
                    f"{file}: is not {self.encoding} text (byte {byte:#04x}); set `encoding`"
                ) from None
            except LookupError:
                raise DataError(f"encoding: there is none called {self.encoding}") from None

    def _split(self, text: str) -> list[str]:
        return _WORD.findall(text.lower() if self.lower else text)

    def _vocabulary(self, counts: Counter[str]) -> list[str]:
        """UNK, then words by falling frequency, equal ones by the alphabet."""
        if not counts:
            raise DataError(f"{self.path}: there are no words in it")
        if len(counts) == 1:
            raise DataError(
                f"{self.path}: has one word only, {next(iter(counts))}, again and again"
            )
        ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
        often = [word for word, n in islice(ordered, self.vocabulary) if n >= self.min_count]
        often = [word for word in often if word != UNKNOWN]
        if len(often) < 2:
            word, most = ordered[0]
            raise DataError(
                f"{self.path}: fewer than two words are there {self.min_count} times (the most "
                f"frequent one, {word}, {count(most, 'time')}): lower `min_count`"
            )
        return [UNKNOWN, *often]

    def _numbers(self, files: Sequence[Path], index: Mapping[str, int], total: int) -> np.ndarray:
        """Every word's number, int32 `[total]`, in a temporary file that vanishes with it."""
        if not total:
            return np.zeros(0, np.int32)
        with tempfile.TemporaryFile() as file:
            for words in self._words(files):
                numbers = (index.get(word, 0) for word in words)
                file.write(np.fromiter(numbers, np.int32, len(words)).tobytes())
            file.flush()
            return np.memmap(file, np.int32, "r", shape=(total,))
