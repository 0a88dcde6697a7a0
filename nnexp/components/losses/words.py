"""Losses over the pairs of running text."""

from __future__ import annotations

from typing import Literal

from nnexp import streams
from nnexp.components.layer import Context
from nnexp.components.losses.loss import Loss
from nnexp.components.windows import Windows, table_rows
from nnexp.lazy import functional, torch
from nnexp.registry import param

SHARED = 32
"""Words drawn a chunk, which all its pairs share."""


class NegativeSampling(Loss):
    """Tells the word that is there from k words drawn at random.

    The words drawn are shared by the pairs of a chunk of text, each weighed so that k count for a
    pair: the expected loss is the same, and matrix products take the place of single ones.

    Formula: −log σ(u_o·v) − k E_{n ~ f^0.75} log σ(−u_n·v), a pair
    Use: the default for word vectors; full softmax is many times as slow with a large vocabulary.
    Source: Mikolov et al. (2013), "Distributed representations of words …"; sharing: Ji,
    Satish, Li & Dubey (2016), "Parallelizing word2vec in shared and distributed memory".
    """

    name: Literal["negative_sampling"] = "negative_sampling"
    also = ("sgns", "nce", "sampled_softmax")
    tasks = ("words",)
    negatives: float = param(
        5.0, "k: words drawn for each pair", ge=0.1, le=1000, also=("negative", "num_sampled")
    )
    power: float = param(
        0.75, "words are drawn in proportion to frequency to this power", ge=0, le=2
    )

    def of_windows(
        self, hidden: torch.Tensor, windows: Windows, table: torch.Tensor, ctx: Context
    ) -> torch.Tensor:
        pairs = windows.pairs.to(hidden.dtype)
        weight = pairs.sum(2, keepdim=True) * (self.negatives / SHARED)
        drawn = self._drawn(windows, ctx)
        flat = table.flatten(0, 1)
        right = torch.bmm(hidden, table_rows(flat, windows.targets).transpose(1, 2))
        wrong = torch.bmm(hidden, table_rows(flat, drawn).transpose(1, 2))
        losses = (functional.softplus(-right) * pairs).sum((1, 2))
        return windows.mean(losses + (functional.softplus(wrong) * weight).sum((1, 2)))

    def _drawn(self, windows: Windows, ctx: Context) -> torch.Tensor:
        """The words drawn for each chunk, `[N, SHARED]`; in evaluation always the same."""
        assert ctx.counts is not None
        members = ctx.members if ctx.training else None
        if members is None:
            members = torch.zeros(windows.members, dtype=torch.int32, device=windows.home.device)
        chunks = int(windows.chunk.max()) + 1
        stream = streams.key(streams.WORDS, ctx.step if ctx.training else 0, 3)
        first = ctx.first if ctx.training else 0
        bits = streams.bits32(members, stream, windows.blocks, chunks * SHARED, first)
        bits = bits.view(-1, SHARED)[windows.home * chunks + windows.chunk]
        u = (bits.double() + (2.0**31 + 0.5)) * 2.0**-32
        share = ctx.counts.double() ** self.power
        ends = (share / share.sum(1, keepdim=True)).cumsum(1)
        words = ends.shape[1]
        if len(ends) == 1:
            found = torch.searchsorted(ends[0], u).clamp_(max=words - 1)
            return found + (windows.home // windows.blocks * words)[:, None]
        member = windows.home // windows.blocks
        # one search in all members' shares, one above the other
        every = (ends + torch.arange(len(ends), device=ends.device)[:, None]).flatten()
        found = torch.searchsorted(every, u + member[:, None])
        low = (member * words)[:, None]
        return torch.minimum(torch.maximum(found, low), low + words - 1)
