"""The pairs of words in a batch of running text, laid out for matrix products."""

from __future__ import annotations

from dataclasses import dataclass

from nnexp.lazy import torch

UNKNOWN = "UNK"
"""What stands for every word that is not in the vocabulary; its id is 0."""

CHUNK = 32
"""Words a chunk: short enough that few of a product's scores are of no pair."""


@dataclass(frozen=True)
class Windows:
    """The pairs of a batch of blocks.

    Words are numbered through all members' vocabularies: member m's word w is m·V + w.

    members, blocks: how many there are. home: which block (m·B + b) a chunk is of, `[N]`.
    chunk: its number in that block, `[N]`.
    centre: a chunk's words `[N, C]`; around: those and the ones about them, `[N, C + 2·window]`.
    near: 1 where a word around is context of a centre, `[N, C, C + 2·window]`.
    targets: what is to be predicted, `[N, T]`; pairs: 1 where it is by a centre, `[N, C, T]`.
    """

    members: int
    blocks: int
    home: torch.Tensor
    chunk: torch.Tensor
    centre: torch.Tensor
    around: torch.Tensor
    near: torch.Tensor
    targets: torch.Tensor
    pairs: torch.Tensor

    def mean(self, losses: torch.Tensor) -> torch.Tensor:
        """Mean over the pairs of each block, `[M, B]`, of losses `[N]` summed over a chunk's."""
        rows = self.members * self.blocks
        total = torch.zeros(rows, dtype=losses.dtype, device=losses.device)
        count = self.pairs.new_zeros(rows).index_add_(0, self.home, self.pairs.sum((1, 2)))
        found = total.index_add(0, self.home, losses) / count.clamp_min(1.0).to(losses.dtype)
        return found.view(self.members, self.blocks)


def table_rows(table: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """Rows of a table `[R, D]`, `[*index, D]`."""
    return table.index_select(0, index.reshape(-1)).view(*index.shape, -1)
