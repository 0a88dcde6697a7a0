"""Pairs of running text: the documents' own batches, a plain loop as reference, and the losses."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from nnexp.components.layer import Context, Fit
from nnexp.components.losses.classes import CrossEntropy
from nnexp.components.losses.loss import Loss
from nnexp.components.losses.tree import HierarchicalSoftmax
from nnexp.components.losses.words import SHARED, NegativeSampling
from nnexp.components.models.words import Cbow, SkipGram, WordInput
from nnexp.components.windows import Windows

TEXT = "anarchism originated as a term of abuse first used against early working class radicals"
WORDS = TEXT.split()

Pair = tuple[int, int, int]  # of a block: the centre's word, what is predicted from or by it


def layer(model: Any, words: int) -> WordInput:
    found = model.build((1,))[0].fitted(Fit(words, targets=words))
    assert isinstance(found, WordInput)
    return found


def context(members: int, words: int, training: bool = False, step: int = 0) -> Context:
    keys = torch.arange(1, members + 1, dtype=torch.int32) * 7919
    counts = torch.ones(1, words, dtype=torch.float64)
    return Context(training=training, members=keys, step=step, counts=counts)


def pairs_of(windows: Windows, words: int) -> list[list[Pair]]:
    """For each block of each member its pairs (member, centre or target, context)."""
    found: list[list[Pair]] = [[] for _ in range(windows.members * windows.blocks)]
    for chunk, home in enumerate(windows.home.tolist()):
        for c, t in torch.nonzero(windows.near[chunk]).tolist():
            centre, other = int(windows.centre[chunk, c]), int(windows.around[chunk, t])
            found[home].append((centre // words, centre % words, other % words))
    return found


def by_loop(block: list[int], window: int, full: bool) -> list[tuple[int, int]]:
    """(centre, context) as one would write it down."""
    found = []
    for place, centre in enumerate(block):
        if full and not window <= place < len(block) - window:
            continue
        for other in range(max(0, place - window), min(len(block), place + window + 1)):
            if other != place:
                found.append((centre, block[other]))
    return found


class TestDocuments:
    """FEATURES §11: the batches of "anarchism originated as a term of abuse first …"."""

    @pytest.mark.parametrize("window", [1, 2])
    def test_skip_gram_has_the_same_pairs_for_each_centre(self, window: int) -> None:
        ids = torch.arange(len(WORDS))[None, None]
        spec = layer(SkipGram(window=window, subsample=0), len(WORDS))
        found = pairs_of(spec.windows(ids, context(1, len(WORDS))), len(WORDS))[0]
        expected = Counter[tuple[str, str]]()
        for centre in range(window, len(WORDS) - window):  # a buffer that slides over the words
            for other in range(centre - window, centre + window + 1):
                if other != centre:
                    expected[WORDS[centre], WORDS[other]] += 1
        assert Counter((WORDS[c], WORDS[o]) for _, c, o in found) == expected
        if window == 1:
            of_originated = {(c, o) for c, o in expected if c == "originated"}
            assert of_originated == {("originated", "anarchism"), ("originated", "as")}

    @pytest.mark.parametrize("window", [1, 2])
    def test_cbow_has_the_same_rows_in_order(self, window: int) -> None:
        ids = torch.arange(len(WORDS))[None, None]
        spec = layer(Cbow(window=window, subsample=0), len(WORDS))
        windows = spec.windows(ids, context(1, len(WORDS)))
        rows = []
        for c, t in torch.nonzero(windows.pairs[0]).tolist():
            around = windows.around[0][windows.near[0, c] > 0]
            rows.append(([WORDS[i] for i in around.tolist()], WORDS[int(windows.targets[0, t])]))
        expected = [
            ([*WORDS[i - window : i], *WORDS[i + 1 : i + window + 1]], WORDS[i])
            for i in range(window, len(WORDS) - window)
        ]
        assert rows == expected
        if window == 2:
            assert rows[0] == (["anarchism", "originated", "a", "term"], "as")

    def test_num_skips_draws_so_many_different_ones(self) -> None:
        ids = torch.arange(len(WORDS))[None, None]
        spec = layer(SkipGram(window=2, num_skips=2, subsample=0), len(WORDS))
        found = pairs_of(spec.windows(ids, context(1, len(WORDS), training=True)), len(WORDS))[0]
        assert len(set(found)) == len(found)
        assert Counter(c for _, c, _ in found) == dict.fromkeys(range(2, len(WORDS) - 2), 2)
        again = spec.windows(ids, context(1, len(WORDS), training=True, step=1))
        assert pairs_of(again, len(WORDS))[0] != found


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_pairs_are_those_of_a_loop(data: st.DataObject) -> None:
    window = data.draw(st.integers(1, 6), "window")
    length = data.draw(st.integers(2 * window + 1, 90), "length")
    full = data.draw(st.booleans(), "full")
    members, blocks, words = 2, 3, 11
    draw = np.random.default_rng(data.draw(st.integers(0, 99), "seed"))
    ids = torch.from_numpy(draw.integers(0, words, (members, blocks, length)))
    spec = layer(SkipGram(window=window, full_window=full, subsample=0), words)
    found = pairs_of(spec.windows(ids, context(members, words)), words)
    for number, pairs in enumerate(found):
        member, block = divmod(number, blocks)
        expected = by_loop(ids[member, block].tolist(), window, full)
        assert sorted(pairs) == sorted((member, *pair) for pair in expected)


class TestSubsampling:
    def spec(self, t: float) -> WordInput:
        return layer(SkipGram(window=2, full_window=False, subsample=t), 3)

    def ctx(self, step: int = 0) -> Context:
        found = context(2, 3, training=True, step=step)
        found.counts = torch.tensor([[900.0, 90.0, 10.0]], dtype=torch.float64)
        return found

    def test_words_are_kept_as_often_as_the_formula_says(self) -> None:
        ids = torch.from_numpy(
            np.random.default_rng(0).choice(3, (2, 40, 500), p=[0.9, 0.09, 0.01])
        )
        kept = self.spec(0.05)._kept(ids, self.ctx())
        for word, share in enumerate([0.9, 0.09, 0.01]):
            ratio = 0.05 / share
            expected = min(1.0, ratio**0.5 + ratio)
            there = ids == word
            assert float(kept[there].double().mean()) == pytest.approx(expected, abs=0.02)

    def test_what_is_left_moves_together(self) -> None:
        ids = torch.randint(3, (2, 4, 100), generator=torch.Generator().manual_seed(1))
        spec, ctx = self.spec(0.02), self.ctx()
        kept = spec._kept(ids, ctx)
        found = pairs_of(spec.windows(ids, ctx), 3)
        for number, pairs in enumerate(found):
            member, block = divmod(number, 4)
            left = ids[member, block][kept[member, block]].tolist()
            assert sorted(pairs) == sorted((member, *p) for p in by_loop(left, 2, full=False))

    def test_a_members_pairs_do_not_depend_on_the_pack(self) -> None:
        ids = torch.randint(3, (1, 4, 100), generator=torch.Generator().manual_seed(1))
        spec = layer(SkipGram(window=3, shrink=True, num_skips=3, subsample=0.02), 3)
        both = pairs_of(spec.windows(ids.expand(2, -1, -1), self.ctx()), 3)
        ctx = self.ctx()
        assert ctx.members is not None
        ctx.members = ctx.members[1:]
        alone = pairs_of(spec.windows(ids, ctx), 3)
        assert [[p[1:] for p in block] for block in both[4:]] == [
            [p[1:] for p in block] for block in alone
        ]
        assert both[:4] != both[4:]

    def test_in_evaluation_nothing_is_dropped(self) -> None:
        ids = torch.randint(3, (1, 2, 50), generator=torch.Generator().manual_seed(1))
        spec = layer(SkipGram(window=2, shrink=True, num_skips=1, subsample=1e-3), 3)
        found = pairs_of(spec.windows(ids, context(1, 3)), 3)
        for block, pairs in enumerate(found):
            expected = by_loop(ids[0, block].tolist(), 2, full=True)
            assert sorted(p[1:] for p in pairs) == sorted(expected)


LOSSES: list[Loss] = [
    CrossEntropy(),
    NegativeSampling(),
    HierarchicalSoftmax(),
    HierarchicalSoftmax(tree="balanced"),
]


def tables(spec: WordInput, outputs: int, members: int) -> tuple[torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(5)
    shape = (members, spec.words, spec.width), (members, outputs, spec.width)
    first, second = (torch.randn(s, generator=draw, dtype=torch.float64) for s in shape)
    return first, second


def pair_loss(loss: Loss, hidden: torch.Tensor, table: torch.Tensor, word: int) -> torch.Tensor:
    """−log p(word | hidden) of one member, by the definition."""
    scores = table @ hidden
    if isinstance(loss, CrossEntropy):
        return -torch.log_softmax(scores, 0)[word]
    assert isinstance(loss, HierarchicalSoftmax)
    assert loss._nodes is not None
    assert loss._signs is not None
    total = torch.zeros((), dtype=torch.float64)
    for node, sign in zip(loss._nodes[0, word], loss._signs[0, word], strict=True):
        if node >= 0:
            total = total - functional.logsigmoid(sign * scores[node])
    return total


@pytest.mark.parametrize("loss", LOSSES, ids=repr)
@pytest.mark.parametrize("model", [SkipGram, Cbow])
def test_losses_are_those_of_the_pairs(model: Any, loss: Loss) -> None:
    members, blocks, words, length = 2, 3, 9, 40
    spec = layer(model(window=2, width=4, full_window=False, subsample=0), words)
    counts = np.arange(1, words + 1)[None].repeat(members, 0)
    loss = loss.knowing([str(i) for i in range(words)], counts)
    first, second = tables(spec, loss.outputs(words), members)
    ids = torch.randint(
        words, (members, blocks, length), generator=torch.Generator().manual_seed(2)
    )
    ctx = context(members, words)
    ctx.counts = torch.from_numpy(counts[:1].astype(np.float64))
    hidden = spec.forward(ids.double(), {"weight": first}, {}, ctx)
    assert ctx.words is not None
    found = loss.of_windows(hidden, ctx.words, second, ctx)
    assert found.shape == (members, blocks)
    for member in range(members):
        for block in range(blocks):
            text, total, pairs = ids[member, block].tolist(), torch.zeros(()).double(), 0
            for place, word in enumerate(text):
                about = text[max(0, place - 2) : place] + text[place + 1 : place + 3]
                if model is Cbow:
                    mean = first[member, about].mean(0)
                    rows = [(mean, word)]
                else:
                    rows = [(first[member, word], other) for other in about]
                pairs += len(rows)
                if not isinstance(loss, NegativeSampling):
                    total += sum(pair_loss(loss, h, second[member], w) for h, w in rows)
                    continue
                drawn = loss._drawn(ctx.words, ctx)
                chunk = int(torch.nonzero(ctx.words.home == member * blocks + block)[place // 32])
                wrong = second[member, drawn[chunk] - member * words]
                for h, w in rows:
                    total += functional.softplus(-(h @ second[member, w]))
                    total += loss.negatives / SHARED * functional.softplus(wrong @ h).sum()
            assert float(found[member, block]) == pytest.approx(float(total / pairs), rel=1e-10)


@pytest.mark.parametrize("loss", LOSSES, ids=repr)
@pytest.mark.parametrize("model", [SkipGram, Cbow])
def test_gradients_are_two_sided_differences(model: Any, loss: Loss) -> None:
    words, eps = 5, 1e-5
    spec = layer(model(window=2, width=3, subsample=0.1), words)
    loss = loss.knowing([str(i) for i in range(words)], np.arange(1, words + 1)[None])
    ids = torch.randint(words, (1, 2, 12), generator=torch.Generator().manual_seed(2)).double()
    first, second = tables(spec, loss.outputs(words), 1)
    size = first.numel()

    def objective(flat: torch.Tensor) -> torch.Tensor:
        ctx = context(1, words, training=True, step=7)
        own = {"weight": flat[:size].view(first.shape)}
        hidden = spec.forward(ids, own, {}, ctx)
        assert ctx.words is not None
        return loss.of_windows(hidden, ctx.words, flat[size:].view(second.shape), ctx).sum()

    flat = torch.cat([first.flatten(), second.flatten()])
    leaf = flat.clone().requires_grad_()
    (found,) = torch.autograd.grad(objective(leaf), leaf)
    shifts = eps * torch.eye(len(flat), dtype=torch.float64)
    expected = torch.stack(
        [(objective(flat + s) - objective(flat - s)) / (2 * eps) for s in shifts]
    )
    assert (found - expected).norm() / (found.norm() + expected.norm()) < 1e-8


def test_negatives_are_drawn_by_frequency() -> None:
    members, words, blocks = 2, 6, 400
    spec = layer(SkipGram(window=1, subsample=0), words)
    counts = torch.tensor([[100.0, 50, 20, 10, 5, 1], [1.0, 1, 1, 1, 1, 100]], dtype=torch.float64)
    ctx = context(members, words, training=True)
    ctx.counts = counts
    windows = spec.windows(torch.zeros(members, blocks, 64, dtype=torch.long), ctx)
    drawn = NegativeSampling()._drawn(windows, ctx)
    for member in range(members):
        mine = drawn[windows.home // blocks == member] - member * words
        share = torch.bincount(mine.flatten(), minlength=words) / mine.numel()
        expected = counts[member] ** 0.75 / (counts[member] ** 0.75).sum()
        assert (share - expected).abs().max() < 0.01


def test_blocks_shorter_than_a_window_are_refused() -> None:
    with pytest.raises(ValueError, match="blocks of more than 10 words"):
        layer(SkipGram(window=5), 9).declare((10,))
