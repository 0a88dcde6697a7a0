"""Quantiles of many samples at once: as numpy.quantile, of bounded cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nnexp.lazy import torch

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)

_DRAWN = 4093
"""So many of a member's numbers are looked at, evenly spaced ones where there are more.

A prime: a distance that divides a layer's width would find a few of its units only.
"""
_SORTED = 1 << 22
"""So many numbers are sorted at once."""


@dataclass(frozen=True)
class Sample:
    """Numbers of each member, `[M, n]`.

    counts: how many of them count, `[M]`, the others being +∞; None: all.
    """

    values: torch.Tensor
    counts: torch.Tensor | None = None


def drawn(values: torch.Tensor, where: torch.Tensor | None = None) -> Sample:
    """At most `_DRAWN` of each member's `values`, `[M, …]`, evenly spaced.

    where: which of them count, of their shape; None: all.
    """
    flat = values.flatten(1)
    count = flat.shape[1]
    at = torch.arange(_DRAWN, device=flat.device) * count // _DRAWN if count > _DRAWN else None
    flat = flat if at is None else flat[:, at]
    if where is None:
        return Sample(flat)
    there = where.flatten(1)
    there = there if at is None else there[:, at]
    return Sample(torch.where(there, flat, torch.inf), there.sum(1))


def at_once(members: int) -> int:
    """How many samples are to be sorted at once, which bounds the memory."""
    return max(1, _SORTED // (members * _DRAWN))


def quantiles(samples: Sequence[Sample]) -> torch.Tensor:
    """The `QUANTILES` of each sample, `[M, samples, 5]` float64; NaN where a number is NaN."""
    values = samples[0].values
    members, width = values.shape[0], max(sample.values.shape[1] for sample in samples)
    sheet = values.new_full((members, len(samples), width), torch.inf)
    counts = torch.tensor([sample.values.shape[1] for sample in samples], device=values.device)
    counts = counts.repeat(members, 1)
    for number, sample in enumerate(samples):
        sheet[:, number, : sample.values.shape[1]] = sample.values
        if sample.counts is not None:
            counts[:, number] = sample.counts
    ordered = _sorted(sheet)
    levels = torch.tensor(QUANTILES, dtype=torch.float64, device=values.device)
    place = levels * (counts[..., None] - 1).clamp_min(0)
    low = place.long()
    high = (low + 1).minimum(counts[..., None] - 1).clamp_min(0)
    below, above = (ordered.gather(2, at).double() for at in (low, high))
    found = below + (place - low) * (above - below)
    return found.masked_fill(ordered[..., -1:].isnan() | (counts[..., None] == 0), torch.nan)


def _sorted(sheet: torch.Tensor) -> torch.Tensor:
    """In ascending order by the last axis; +∞, then NaN, are last."""
    if sheet.device.type == "cpu":  # torch sorts the places, too, and takes ten times as long
        return torch.from_numpy(np.sort(sheet.numpy()))
    return sheet.sort(2).values
