"""Word vectors from running text: which words stand near which, and the models that learn it.

An example is a block of consecutive words. Within it, words near each other make pairs. Pairs are
not listed one by one: a block is cut into short chunks, and the scores of all pairs of a chunk are
one small matrix product, of which `pairs` says which count. Shape suffixes beyond those of a
layer: N chunks (of all members and blocks), C words a chunk, T target words a chunk, V words of
the vocabulary, D width.
"""

from __future__ import annotations

from typing import ClassVar, Literal, Self

from nnexp import streams
from nnexp.components.inits import Constant, Uniform
from nnexp.components.layer import Context, Declared, Fit, Hyper, Layer, Shape, Slot, Tensors
from nnexp.components.models.model import Model
from nnexp.components.windows import CHUNK, Windows, table_rows
from nnexp.lazy import functional, torch
from nnexp.registry import param


class WordInput(Layer):
    """A vector for each word of a block, or the mean of those about it: what predicts the others.

    Use: the first layer of the models skip_gram and cbow; its rows are the word vectors.

    Source: Mikolov, Chen, Corrado & Dean (2013), "Efficient estimation of word representations in
    vector space".
    """

    name: Literal["word_input"] = "word_input"
    takes_codes = True
    predicts: Literal["context", "centre"] = param(
        "context", "from the centre its context (skip-gram), or from the context its centre (cbow)"
    )
    width: int = param(100, "numbers a word", ge=1, le=4096, also=("dimensions", "units"))
    window: int = param(5, "words on each side", unit="words", ge=1, le=100)
    shrink: bool = param(False, "draw each window's size from 1 … window")
    num_skips: int | None = param(
        None, "context words drawn for each centre", ge=1, le=200, when="null: all of the window"
    )
    full_window: bool = param(True, "leave out centres without `window` words on both sides")
    subsample: float = param(
        1e-4, "share of all words above which a word is dropped now and then; 0: none", ge=0, le=1
    )
    words: int = param(0, "words of the vocabulary", ge=0, le=2**24, when="0: the data's")

    def fitted(self, fit: Fit) -> Self:
        return self.model_copy(update={"words": fit.targets})

    def declare(self, shape: Shape) -> Declared:
        if len(shape) != 1 or shape[0] <= 2 * self.window:
            raise ValueError(
                f"needs blocks of more than {2 * self.window} words (window {self.window}), not "
                f"{shape}"
            )
        # as word2vec: small, so that scores start at 0
        start = Uniform(bound=0.5 / self.width)
        slot = Slot("weight", (self.words, self.width), "weight", 1, self.width, init=start)
        return Declared((self.width,), (slot,))

    def forward(self, x: torch.Tensor, own: Tensors, hyper: Hyper, ctx: Context) -> torch.Tensor:
        """The vectors `[N, C, D]` of the chunks' centres, or of their contexts."""
        windows = ctx.words = self.windows(x.long(), ctx)
        table = own["weight"].flatten(0, 1)
        if self.predicts == "context":
            return table_rows(table, windows.centre)
        near = windows.near.to(table.dtype)
        share = near / near.sum(2, keepdim=True).clamp_min(1.0)
        return torch.bmm(share, table_rows(table, windows.around))

    def windows(self, ids: torch.Tensor, ctx: Context) -> Windows:
        """The pairs in blocks of word numbers `[M, B, L]`; in training some words are dropped."""
        members, blocks, length = ids.shape
        kept = self._kept(ids, ctx) if ctx.training and self.subsample else None
        if kept is None:
            count = torch.full((members, blocks), length, device=ids.device)
        else:  # what is left moves together, so that windows reach further
            order = torch.sort((~kept).to(torch.uint8), dim=2, stable=True).indices
            ids, count = ids.gather(2, order), kept.sum(2)
            length = max(int(count.max()), 1)
        chunks = -(-length // CHUNK)
        number = torch.arange(chunks * CHUNK, device=ids.device)
        there = number < count[..., None]
        ids = functional.pad(ids, (0, chunks * CHUNK))[..., : chunks * CHUNK] * there
        used = there.view(-1, CHUNK)[:, 0]  # chunks that hold anything
        home = torch.arange(members * blocks, device=ids.device).repeat_interleave(chunks)[used]
        chunk = torch.arange(chunks, device=ids.device).repeat(members * blocks)[used]
        first = (home // blocks * self.words)[:, None]
        reach = CHUNK + 2 * self.window
        near = self._near(there, count, number, reach)[used]
        if ctx.training:
            near = self._drawn(near, used, (members, blocks, chunks), ctx)
        near, centre = near.to(torch.float32), ids.view(-1, CHUNK)[used] + first
        around = self._around(ids, reach)[used] + first
        targets, pairs = around, near
        if self.predicts == "centre":
            targets, pairs = centre, torch.diag_embed(near.amax(2))
        return Windows(members, blocks, home, chunk, centre, around, near, targets, pairs)

    def _around(self, numbers: torch.Tensor, reach: int) -> torch.Tensor:
        """Each chunk of `[M, B, L]` with `window` more on both sides, `[chunks, reach]`."""
        padded = functional.pad(numbers, (self.window, self.window))
        return padded.unfold(2, reach, CHUNK).flatten(0, 2)

    def _near(
        self, there: torch.Tensor, count: torch.Tensor, number: torch.Tensor, reach: int
    ) -> torch.Tensor:
        """Which words around a centre are its context, bool `[chunks, C, reach]`."""
        apart = torch.arange(reach, device=there.device) - self.window
        apart = (apart - torch.arange(CHUNK, device=there.device)[:, None]).abs()
        band = (apart > 0) & (apart <= self.window)
        centre = there
        if self.full_window:
            last = count[..., None] - self.window
            centre = (number >= self.window) & (number < last)
        return band & self._around(there, reach)[:, None] & centre.reshape(-1, CHUNK)[:, :, None]

    def _kept(self, ids: torch.Tensor, ctx: Context) -> torch.Tensor:
        """Which words stay: each with probability √(t/f) + t/f, f its share of all words."""
        assert ctx.counts is not None
        share = ctx.counts / ctx.counts.sum(1, keepdim=True)
        ratio = self.subsample / share.clamp_min(1e-12)
        bound = ((ratio.sqrt() + ratio).clamp(max=1.0) * 2.0**32 - 2.0**31).clamp(max=2.0**31 - 1)
        bits = self._bits(ctx, 0, ids.shape[1], ids.shape[2])
        per_word = bound.to(torch.int32).expand(len(ids), -1)
        return bits <= per_word.gather(1, ids.flatten(1)).view(ids.shape)

    def _drawn(
        self, near: torch.Tensor, used: torch.Tensor, shape: tuple[int, int, int], ctx: Context
    ) -> torch.Tensor:
        """The context that is left by `shrink` and `num_skips`."""
        _, blocks, chunks = shape
        if self.shrink:
            bits = self._bits(ctx, 1, blocks, chunks * CHUNK).reshape(-1, CHUNK)[used]
            size = 1 + (bits.long() + 2**31) * self.window // 2**32
            place = torch.arange(near.shape[2], device=near.device) - self.window
            apart = (place - torch.arange(CHUNK, device=near.device)[:, None]).abs()
            near = near & (apart <= size[:, :, None])
        if self.num_skips is not None and self.num_skips < 2 * self.window:
            columns = CHUNK * near.shape[2]
            bits = self._bits(ctx, 2, blocks, chunks * columns).reshape(-1, *near.shape[1:])[used]
            ranked = torch.where(near, bits.long(), 2**40).sort(2).values
            near = near & (bits.long() <= ranked[:, :, self.num_skips - 1, None])
        return near

    def _bits(self, ctx: Context, purpose: int, rows: int, columns: int) -> torch.Tensor:
        assert ctx.members is not None
        stream = streams.key(streams.WORDS, ctx.step, purpose)
        return streams.bits32(ctx.members, stream, rows, columns, ctx.first)


class WordOutput(Layer):
    """A second vector for each word, whose product with the first layer's says how likely it is.

    Use: the last layer of the models skip_gram and cbow.
    """

    name: Literal["word_output"] = "word_output"
    units: int | None = param(
        None, "how many", ge=1, le=2**24, when="null: as many as the loss wants"
    )

    def fitted(self, fit: Fit) -> Self:
        return self.model_copy(update={"units": fit.outputs})

    def declare(self, shape: Shape) -> Declared:
        assert self.units is not None, "the program fills in the outputs"
        start = Constant(value=0.0)  # the other layer's differ, so that symmetry is broken
        weight = Slot("weight", (self.units, shape[0]), "weight", shape[0], 1, init=start)
        return Declared((self.units,), (weight,))

    def forward(self, x: torch.Tensor, own: Tensors, hyper: Hyper, ctx: Context) -> torch.Tensor:
        return torch.bmm(x, own["weight"].transpose(1, 2))


class _WordModel(Model):
    """What the models of word vectors share."""

    predicts: ClassVar[Literal["context", "centre"]]

    width: int = param(
        100, "numbers a word", ge=1, le=4096, also=("dimensions", "vector_size", "embedding_size")
    )
    window: int = param(
        5, "words on each side", unit="words", ge=1, le=100, also=("skip_window", "R")
    )
    shrink: bool = param(False, "draw each window's size from 1 … window, as word2vec does")
    full_window: bool = param(True, "leave out centres without `window` words on both sides")
    subsample: float = param(
        1e-4,
        "t: a word that is a share f > t of all is kept with probability √(t/f) + t/f; 0: always",
        ge=0,
        le=1,
        also=("sample",),
    )

    def build(self, inputs: Shape) -> list[Layer]:
        shared = {name: getattr(self, name) for name in type(self).model_fields}
        known = {k: v for k, v in shared.items() if k in WordInput.model_fields and k != "name"}
        return [WordInput(predicts=self.predicts, **known), WordOutput()]


class SkipGram(_WordModel):
    """Word vectors by predicting from each word the words about it.

    Use: for good vectors of rare words; `nnexp neighbours` shows what is near what.

    Source: Mikolov, Sutskever, Chen, Corrado & Dean (2013), "Distributed representations of words
    and phrases and their compositionality".
    """

    name: Literal["skip_gram"] = "skip_gram"
    also = ("word2vec", "skipgram")
    predicts = "context"
    num_skips: int | None = param(
        None, "context words drawn for each centre", ge=1, le=200, when="null: all of the window"
    )


class Cbow(_WordModel):
    """Word vectors by predicting each word from the mean of the words about it.

    Use: several times as quick as skip_gram and as good for frequent words; it can fill in a
    missing word.

    Source: Mikolov, Chen, Corrado & Dean (2013), "Efficient estimation of word representations in
    vector space".
    """

    name: Literal["cbow"] = "cbow"
    also = ("continuous_bag_of_words",)
    predicts = "centre"
