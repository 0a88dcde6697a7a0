"""Which word is missing from a sentence, by a run of the model cbow."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nnexp.analysis.words.vectors import Tables, largest, tables_of, word_run
from nnexp.components.datasets.corpus import words_of
from nnexp.components.losses.classes import CrossEntropy
from nnexp.components.losses.loss import Loss
from nnexp.components.losses.tree import HierarchicalSoftmax, Tree, balanced, huffman
from nnexp.components.losses.words import NegativeSampling
from nnexp.components.models.words import Cbow
from nnexp.errors import RunError, UsageError
from nnexp.runs.plan import read_experiment

GAP = re.compile(r"_+")


@dataclass(frozen=True)
class Filled:
    """The likeliest words of a gap with their probabilities.

    context: the words about it that were looked at; unknown: those of them that are none of the
    vocabulary's. rest: the probability of all such words together, UNK.
    """

    words: list[tuple[str, float]]
    context: tuple[str, ...]
    unknown: tuple[str, ...]
    rest: float


def fill(path: Path, text: str, k: int, member: int | None = None) -> Filled:
    """The k likeliest words for the `_` in a text. Raises RunError, UsageError."""
    parts = GAP.split(text)
    if len(parts) != 2:
        raise UsageError(
            f"the text should have one _ where a word is missing, not {len(parts) - 1}"
        )
    run = word_run(path, member)
    experiment = read_experiment(run)
    model, loss = experiment.model, experiment.loss
    if not isinstance(model, Cbow):
        raise RunError(
            f"{path}: {model.component} learns to tell the words about a word, not the word "
            "between others: a run of cbow can fill a gap"
        )
    tables = tables_of(run)
    lower = all(word == word.lower() for word in tables.words[1:])
    before, after = (words_of(part, lower) for part in parts)
    context = before[-model.window :] + after[: model.window]
    if not context:
        raise UsageError("there is no word about the _")
    index = {word: number for number, word in enumerate(tables.words)}
    rows = [index.get(word, 0) for word in context]
    hidden = tables.vectors[rows].mean(0, dtype=np.float64)
    chance = _probabilities(loss, tables.contexts @ hidden, tables)
    places = largest(chance[1:], k) + 1
    unknown = tuple(dict.fromkeys(w for w in context if index.get(w, 0) == 0))
    words = [(tables.words[place], float(chance[place])) for place in places]
    return Filled(words, tuple(context), unknown, float(chance[0]))


def _probabilities(loss: Loss | None, scores: np.ndarray, tables: Tables) -> np.ndarray:
    """Of each word, from its product with the context: what the loss takes these scores for."""
    if isinstance(loss, HierarchicalSoftmax):
        tree = Tree.of_codes(_codes(loss, tables))
        way = tree.signs * scores[np.maximum(tree.nodes, 0)]
        return np.asarray(np.exp(-(np.logaddexp(0, -way) * np.abs(tree.signs)).sum(1)))
    if isinstance(loss, NegativeSampling):  # learns log p − log q of the words q it draws
        scores = scores + loss.power * np.log(np.maximum(tables.counts, 1))
    elif not isinstance(loss, CrossEntropy):
        raise RunError(f"{loss and loss.component}: a loss that tells no word's probability")
    raised = np.exp(scores - scores.max())
    return np.asarray(raised / raised.sum())


def _codes(loss: HierarchicalSoftmax, tables: Tables) -> list[str]:
    if isinstance(loss.codes, dict):
        return [loss.codes[word] for word in tables.words]
    if loss.tree == "balanced":
        return balanced(len(tables.words))
    return huffman(tables.counts.tolist())
