"""The examples of a pack on its device, gathered by index a batch at a time.

Members with different splits (or differently fitted preprocessing) each have a table of their
own; the tables stand below each other in one tensor and a member's indices point into its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nnexp import streams
from nnexp.components.samplers import Among, Sampler
from nnexp.data.prepare import Prepared
from nnexp.lazy import torch


@dataclass
class Feed:
    """A pack's examples.

    inputs: `[N, *shape]` on the device; None when they stay in a memory-mapped file.
    targets: class index `[N]`, or scaled values `[N, K]`.
    parts: for "train", "dev", "test" (those there are) the rows `[S, n]` int64, S splits.
    split_of: for each member, which of the S splits is its own.
    scale: for each split, mean and standard deviation `[S, K]` that the targets were scaled by.
    original: the targets as the data have them, `[N, K]` float64; None for classes.
    counts: training examples of each class, `[S, C]`; None if there are no classes.
    """

    inputs: torch.Tensor | None
    targets: torch.Tensor
    parts: dict[str, torch.Tensor]
    split_of: list[int]
    scale: tuple[torch.Tensor, torch.Tensor] | None
    tables: Sequence[Prepared]
    original: torch.Tensor | None = None
    counts: np.ndarray | None = None

    def rows(self, part: str, members: Sequence[int]) -> torch.Tensor:
        """A part's rows: `[1, n]` when the members share them, else `[len(members), n]`."""
        splits = [self.split_of[m] for m in members]
        index = self.parts[part]
        if all(s == splits[0] for s in splits):
            return index[splits[0]][None]
        return index[torch.tensor(splits, device=index.device)]

    def gather(self, rows: torch.Tensor, members: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Inputs `[M, B, *shape]` and targets `[M, B, …]` for rows `[M or 1, B]`."""
        flat = rows.reshape(-1)
        x = self._streamed(flat) if self.inputs is None else self.inputs.index_select(0, flat)
        y = self.targets.index_select(0, flat)
        x, y = x.view(*rows.shape, *x.shape[1:]), y.view(*rows.shape, *y.shape[1:])
        if rows.shape[0] != members:
            x, y = x.expand(members, *x.shape[1:]), y.expand(members, *y.shape[1:])
        return x, y

    def scales(self, members: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor] | None:
        """Each member's target mean and standard deviation, `[M, 1, K]`; None for classes."""
        if self.scale is None:
            return None
        index = torch.tensor([self.split_of[m] for m in members], device=self.targets.device)
        return self.scale[0][index][:, None], self.scale[1][index][:, None]

    def order(
        self,
        sampler: Sampler,
        epoch: int,
        seeds: Sequence[int],
        members: Sequence[int],
        state: dict[str, torch.Tensor],
        batch: int,
    ) -> torch.Tensor:
        """The positions among the training rows that an epoch visits, `[M or 1, draws]`."""
        index = self.rows("train", members)
        shared = len(set(seeds)) == 1 and not sampler.watches
        if shared and index.shape[0] == 1:
            seeds = seeds[:1]
        keys = [streams.key(seed, streams.ORDER, epoch) for seed in seeds]
        among = Among(index.shape[1], index.device, lambda: self.targets[index])
        return sampler.order(keys, among, state, batch)

    def class_counts(self, members: Sequence[int]) -> np.ndarray | None:
        """How many training examples of each class there were, `[M, C]`; None without classes."""
        return None if self.counts is None else self.counts[[self.split_of[m] for m in members]]

    def _streamed(self, rows: torch.Tensor) -> torch.Tensor:
        size = self.targets.shape[0] // len(self.tables)
        host = rows.cpu().numpy()
        table = self.tables[int(host[0]) // size] if len(self.tables) > 1 else self.tables[0]
        if len(self.tables) > 1 and (host // size != host[0] // size).any():
            pieces = [self.tables[r // size].gather(np.array([r % size])) for r in host]
            block = np.concatenate(pieces)
        else:
            block = table.gather(host % size)
        return torch.from_numpy(block).to(self.targets.device)


def feed(
    tables: Sequence[Prepared], split_of: Sequence[int], device: torch.device, dtype: torch.dtype
) -> Feed:
    """Put prepared tables, one a distinct split, on the device."""
    resident = all(t.inputs is not None for t in tables)
    inputs = None
    if resident:
        blocks = [torch.as_tensor(t.inputs) for t in tables]
        inputs = (blocks[0] if len(blocks) == 1 else torch.cat(blocks)).to(device, dtype)
    targets = torch.cat([torch.as_tensor(t.targets) for t in tables])
    if targets.is_floating_point():
        targets = targets.to(dtype)
    parts = {}
    for part in tables[0].parts:
        offsets = np.cumsum([0, *[len(t.targets) for t in tables[:-1]]])
        rows = np.stack([t.parts[part] + o for t, o in zip(tables, offsets, strict=True)])
        parts[part] = torch.from_numpy(rows.astype(np.int64)).to(device)
    scale = None
    if tables[0].target_scale is not None:
        means, stds = zip(*[t.target_scale for t in tables if t.target_scale], strict=True)
        scale = (
            torch.tensor(np.stack(means), dtype=torch.float64, device=device),
            torch.tensor(np.stack(stds), dtype=torch.float64, device=device),
        )
    original = None
    if targets.is_floating_point():
        original = torch.cat([torch.as_tensor(t.original).double() for t in tables]).to(device)
    counts = [t.pipeline.class_counts for t in tables]
    of_classes = None if counts[0] is None else np.array(counts)
    return Feed(
        inputs, targets.to(device), parts, list(split_of), scale, tables, original, of_classes
    )


def at(index: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    """The rows at some positions of an index: both `[M or 1, …]`, and so the result."""
    if index.shape[0] == 1:
        return index[0][positions]
    return index.gather(1, positions.expand(index.shape[0], -1))


def batch_bounds(rows: int, size: int, joins_last: bool) -> list[tuple[int, int]]:
    """Start and stop of each batch of an epoch; a last one of one row may join its neighbour."""
    starts = list(range(0, rows, size))
    stops = [*starts[1:], rows]
    if joins_last and len(starts) > 1 and stops[-1] - starts[-1] == 1:
        starts.pop()
        stops.pop(-2)
    return list(zip(starts, stops, strict=True))
