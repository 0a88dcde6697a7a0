"""Text as codes, for layers that give each code a vector: categories, and tokens of sequences."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from glob import escape
from typing import ClassVar, Literal

import numpy as np

from nnexp.components.preprocessing.columns import TEXT, Kinds, shown
from nnexp.components.preprocessing.step import State, Step, TrainingRows
from nnexp.components.table import Features
from nnexp.components.tokens import Unit, most_frequent, tokens_of
from nnexp.errors import DataError
from nnexp.registry import param

UNKNOWN, FIRST = 1, 2
"""The code of what training did not have, and of the first that it had; 0 is missing."""


class Ordinal(Step):
    """Categories as codes: 0 missing, 1 unseen or rare, then the training's in alphabetical order.

    Each column keeps its name. Categories that training did not have become 1, and are counted in a
    note.

    Use: before `embed_columns`, for columns with many categories; codes are no quantities, so no
    other network should see them (`one_hot` is for those).
    """

    name: Literal["ordinal"] = "ordinal"
    also = ("ordinal_encoder", "label_encoder", "codes", "categorify")
    suits: ClassVar[tuple[str, ...]] = (TEXT,)
    min_frequency: int = param(
        1, "categories in fewer training rows than this are 1, too", unit="rows", ge=1, le=10**9
    )

    def codes(self, state: State) -> Mapping[str, int]:
        return {name: FIRST + len(known) for name, known in state["categories"].items()}

    def _problem(self, kinds: Kinds) -> str | None:
        return None

    def _after(self, kinds: Kinds) -> Kinds:
        return replace(kinds, numeric=kinds.text, text=(), made=(), missing=frozenset())

    def _fit(self, rows: TrainingRows) -> State:
        counts: dict[str, Counter[str | None]] = {}
        for piece in rows:
            for name, column in zip(piece.categorical_names, piece.categorical.T, strict=True):
                counts.setdefault(name, Counter()).update(column.tolist())
        least = self.min_frequency
        kept = {
            name: sorted(value for value, n in found.items() if value is not None and n >= least)
            for name, found in counts.items()
        }
        return {"categories": kept, "notes": []}

    def _apply(self, features: Features, state: State) -> Features:
        numbers = np.empty((len(features), len(features.categorical_names)))
        for place, name in enumerate(features.categorical_names):
            index = {value: code for code, value in enumerate(state["categories"][name], FIRST)}
            index[None] = 0
            column = features.categorical[:, place].tolist()
            numbers[:, place] = [index.get(value, UNKNOWN) for value in column]
        return _numbers(numbers, features.categorical_names)

    def _unusual(self, features: Features, state: State) -> dict[str, int]:
        found = {}
        for place, name in enumerate(features.categorical_names):
            known = {None, *state["categories"][name]}
            unseen = sum(value not in known for value in features.categorical[:, place])
            if unseen:
                what = "unseen in training" if self.min_frequency == 1 else "unseen or rare"
                found[f"{name}: category {what}, taken as unknown"] = unseen
        return found


class Tokenize(Step):
    """A column of text as a row of codes: 0 padding, 1 unknown, then the training's tokens.

    The columns are called text:0, text:1, …. A shorter text is padded on the right; of a longer one
    the rest is cut off. Texts that are cut, hold unknown tokens, or are empty (all padding) are
    counted in notes.

    Use: first for text, before an `embedding`; presets such as `lstm` bring that along.
    """

    name: Literal["tokenize"] = "tokenize"
    also = ("tokenizer", "text_vectorization", "text", "vectorize")
    suits: ClassVar[tuple[str, ...]] = (TEXT,)
    unit: Unit = param(
        "word",
        "word (letters and digits, or another sign alone), token (what white space separates), "
        "or character",
    )
    length: int | None = param(
        None,
        "how many tokens of each text are kept",
        unit="tokens",
        ge=1,
        le=65536,
        when="null: the longest in training",
        also=("max_length", "maxlen", "sequence_length"),
    )
    vocabulary: int | None = param(
        None,
        "how many different tokens are known, the most frequent in training; others are 1",
        unit="tokens",
        ge=1,
        le=2**20,
        when="null: all",
        also=("max_tokens", "num_words", "vocab_size"),
    )
    lower: bool = param(False, "upper case letters as lower case ones")

    def codes(self, state: State) -> Mapping[str, int]:
        return dict.fromkeys(self._names(state), FIRST + len(state["vocabulary"]))

    def _problem(self, kinds: Kinds) -> str | None:
        if len(kinds.text) > 1:
            return f"reads one column of text, not {shown(kinds.text)}: name it in `columns`"
        return None

    def _after(self, kinds: Kinds) -> Kinds:
        return replace(
            kinds, numeric=(), text=(), made=tuple(f"{escape(name)}:*" for name in kinds.text)
        )

    def _fit(self, rows: TrainingRows) -> State:
        counts: Counter[str] = Counter()
        longest = 0
        for piece in rows:
            for text in piece.categorical[:, 0]:
                tokens = self._tokens(text)
                counts.update(tokens)
                longest = max(longest, len(tokens))
        column = piece.categorical_names[0]
        if not longest:
            raise DataError(f"preprocessing: tokenize: {column} holds no token in training")
        kept = most_frequent(counts, self.vocabulary)
        left_out = counts.total() - sum(counts[token] for token in kept)
        notes = []
        if left_out:
            share = f"{left_out / counts.total():.3g} of the training's tokens"
            notes.append(f"tokenize: {column}: {share} are beyond the vocabulary, and unknown")
        return {
            "column": column,
            "vocabulary": kept,
            "length": self.length or longest,
            "notes": notes,
        }

    def _apply(self, features: Features, state: State) -> Features:
        index = {token: code for code, token in enumerate(state["vocabulary"], FIRST)}
        codes = np.zeros((len(features), state["length"]))
        for row, text in zip(codes, features.categorical[:, 0], strict=True):
            tokens = self._tokens(text)[: len(row)]
            row[: len(tokens)] = [index.get(token, UNKNOWN) for token in tokens]
        return _numbers(codes, self._names(state))

    def _unusual(self, features: Features, state: State) -> dict[str, int]:
        known, length, name = set(state["vocabulary"]), state["length"], state["column"]
        found: Counter[str] = Counter()
        for text in features.categorical[:, 0]:
            tokens = self._tokens(text)
            found[f"{name}: no token, taken as padding"] += not tokens
            found[f"{name}: longer than {length} tokens, and cut"] += len(tokens) > length
            strange = any(token not in known for token in tokens[:length])
            found[f"{name}: holds unknown tokens"] += strange
        return {what: times for what, times in found.items() if times}

    def _tokens(self, text: str | None) -> list[str]:
        if text is None:
            return []
        return tokens_of(text.lower() if self.lower else text, self.unit)

    def _names(self, state: State) -> tuple[str, ...]:
        return tuple(f"{state['column']}:{place}" for place in range(state["length"]))


def _numbers(numbers: np.ndarray, names: tuple[str, ...]) -> Features:
    return Features(numbers, names, np.empty((len(numbers), 0), object), ())
