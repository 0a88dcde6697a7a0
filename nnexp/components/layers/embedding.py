"""Codes as vectors: of the tokens of a sequence, and of the columns of a table."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field

from nnexp.components.inits import Initializer, Normal
from nnexp.components.layer import Context, Declared, Fit, Hyper, Layer, Shape, Slot, Tensors
from nnexp.lazy import functional, torch
from nnexp.registry import OneOf, param

RESERVED = 2
"""Codes with a meaning of their own: 0 is padding or missing, 1 what training did not have."""
Count = Annotated[int, Field(ge=0, le=2**24)]


def usual_width(codes: int) -> int:
    """How wide a table for so many codes is, if nobody says: fastai's rule, at most 50."""
    return min(50, round(1.6 * math.pow(max(1, codes), 0.56)))


class Embedding(Layer):
    """A trained vector for each code: tokens (T,) become (width, T).

    Code 0 is padding: its vector is 0, gets no gradient, and later layers that know of padding
    (recurrent ones, `mean_over_time`) leave its positions out. Code 1, what training did not have,
    starts at 0, and so does every code beyond `codes`, which is taken as 1.

    Use: first in a network for text or other sequences of codes, after `tokenize`.

    Source: Bengio et al. (2003), "A neural probabilistic language model".
    """

    takes_codes: ClassVar[bool] = True
    name: Literal["embedding"] = "embedding"
    also = ("embed", "lookup")
    width: int | None = param(
        None,
        "numbers a code",
        ge=1,
        le=65536,
        when="null: 1.6 · codes^0.56, at most 50 (the rule of fastai)",
        also=("embedding_dim", "output_dim", "dim"),
    )
    codes: Count | None = param(
        None,
        "how many codes there are, with 0 and 1",
        when="null: as many as preprocessing made",
        also=("num_embeddings", "input_dim", "vocabulary"),
    )
    init: OneOf[Initializer] | None = param(
        None,
        "how the vectors start",
        when="null: the experiment's `initialization`; where that is auto, normal with std 1",
    )

    def fitted(self, fit: Fit) -> Self:
        if self.codes is not None or not all(fit.codes):
            return self
        return self.model_copy(update={"codes": max(fit.codes, default=None)})

    def declare(self, shape: Shape) -> Declared:
        if len(shape) != 1:
            raise ValueError(f"embedding needs sequences of codes (length,), not {shape}")
        if self.codes is None:
            raise ValueError(
                "embedding needs codes in every column: add `tokenize` to `preprocessing` (for "
                "some columns of a table: `ordinal`, and the layer `embed_columns`), or set `codes`"
            )
        width = self.width or usual_width(self.codes)
        return Declared((width, *shape), _table("", self.codes, width, 1.0, self.init, shape[0]))

    def forward(self, x: torch.Tensor, own: Tensors, hyper: Hyper, ctx: Context) -> torch.Tensor:
        ids = x.long().clamp_min(0)
        ctx.there = ids > 0
        unknown = own["unknown"]
        padding = torch.zeros_like(unknown)
        known = [own["weight"]] if "weight" in own else []
        return looked_up(ids, torch.cat([padding, unknown, *known], 1)).transpose(2, 3)


class EmbedColumns(Layer):
    """A table's columns of codes as trained vectors, beside its columns of numbers.

    Each column of codes has vectors of its own. The numbers stand first, in their order, then each
    column's vector. A missing value (0) and what training did not have (1) start at 0 and are
    learnt where training has them.

    Use: for tables with categories, above all with many, after `ordinal`; few go with `one_hot`.

    Source: Guo & Berkhahn (2016), "Entity embeddings of categorical variables"; the default width
    is that of fastai's `emb_sz_rule` (Howard & Gugger 2020), cut at 50.
    """

    takes_codes: ClassVar[bool] = True
    name: Literal["embed_columns"] = "embed_columns"
    also = ("entity_embedding", "embedding_columns", "categorical_embedding")
    width: int | None = param(
        None,
        "numbers a code",
        ge=1,
        le=65536,
        when="null: 1.6 · codes^0.56 for each column, at most 50",
        also=("embedding_dim",),
    )
    codes: list[Count] | None = param(
        None, "how many codes each column has, 0 for numbers", when="null: as preprocessing made"
    )
    init: OneOf[Initializer] | None = param(
        None,
        "how the vectors start",
        when="null: the experiment's `initialization`; where that is auto, normal with std 0.1",
    )

    def fitted(self, fit: Fit) -> Self:
        if self.codes is not None or not fit.codes:
            return self
        return self.model_copy(update={"codes": list(fit.codes)})

    def declare(self, shape: Shape) -> Declared:
        if len(shape) != 1:
            raise ValueError(f"embed_columns needs the columns of a table, not {shape}")
        if not self.codes or not any(self.codes):
            raise ValueError("embed_columns needs columns of codes: add `ordinal`, or set `codes`")
        if len(self.codes) != shape[0]:
            raise ValueError(f"embed_columns: `codes` is for {len(self.codes)} columns of {shape}")
        slots, width = list[Slot](), 0
        for column in self._coded():
            codes = self.codes[column]
            own = self.width or usual_width(codes)
            slots += _table(f"{column}", codes, own, 0.1, self.init, 1, RESERVED)
            width += own
        return Declared((len(self._plain()) + width,), tuple(slots))

    def forward(self, x: torch.Tensor, own: Tensors, hyper: Hyper, ctx: Context) -> torch.Tensor:
        found = [x[:, :, self._plain()].to(next(iter(own.values())).dtype)]
        for column in self._coded():
            names = (f"unknown{column}", f"weight{column}")
            table = torch.cat([own[name] for name in names if name in own], 1)
            found.append(looked_up(x[:, :, column].long().clamp_min(0), table))
        return torch.cat(found, 2)

    def _plain(self) -> list[int]:
        return [place for place, codes in enumerate(self.codes or ()) if not codes]

    def _coded(self) -> list[int]:
        return [place for place, codes in enumerate(self.codes or ()) if codes]


def looked_up(ids: torch.Tensor, table: torch.Tensor) -> torch.Tensor:
    """The rows `[M, …, E]` of each member's table `[M, V, E]`; ids beyond it are taken as 1."""
    members, codes = table.shape[:2]
    ids = torch.where(ids < codes, ids, 1)
    start = torch.arange(members, device=ids.device) * codes
    place = ids + start.view(-1, *[1] * (ids.ndim - 1))
    return functional.embedding(place, table.flatten(0, 1))


def _table(
    name: str,
    codes: int,
    width: int,
    std: float,
    init: Initializer | None,
    shared: int,
    apart: int = 1,
) -> tuple[Slot, ...]:
    """The slots of a table: the codes that start at 0, so many, and the known ones.

    std: how those start, N(0, std²), where neither `init` nor the experiment says.
    """
    start = Slot(f"unknown{name}", (apart, width), "bias", shared=shared)
    known = max(0, codes - RESERVED)
    if not known:
        return (start,)
    weight = Slot(
        f"weight{name}",
        (known, width),
        "weight",
        fan_in=1,
        fan_out=width,
        init=init,
        suits=Normal(std=std),
        shared=shared,
    )
    return (start, weight)
