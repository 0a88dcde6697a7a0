"""Random numbers without state: every draw is a hash of what it is for.

A stream is keyed by (member seed, purpose, step, …) and indexed by position, so a member's
randomness depends on its own seed only: never on the pack it trains in, on how a batch is sliced,
on the device, or on what was drawn before. Resuming therefore needs no generator state.

`mix64` is the finalizer of SplitMix64 (Steele, Lea & Flood 2014); `_mix32` the rounds of
MurmurHash3's finalizer that reach the high bits, which are the ones compared.
Both are plain integer arithmetic and run alike on numpy arrays and torch tensors.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from nnexp.lazy import torch

INITIALIZATION, ORDER, DROPOUT, SAMPLER, AUGMENTATION, SPLIT, SUBSET = range(1, 8)
NOISE, EVOLUTION, LABELS, CORRUPTION, WORDS, SEARCH = range(8, 14)
"""The purposes; each is a stream of its own."""

_MASK = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15


def key(*parts: int) -> int:
    """One 64-bit signed key from whole numbers such as (seed, purpose, step)."""
    state = 0
    for part in parts:
        state = _mix(((state ^ (part & _MASK)) + _GOLDEN) & _MASK)
    return _signed(state)


def mix64(x: Any) -> Any:
    """SplitMix64's finalizer, elementwise on an int64 array or tensor (arithmetic wraps)."""
    x = (x ^ ((x >> 30) & 0x3FFFFFFFF)) * _signed(0xBF58476D1CE4E5B9)
    x = (x ^ ((x >> 27) & 0x1FFFFFFFFF)) * _signed(0x94D049BB133111EB)
    return x ^ ((x >> 31) & 0x1FFFFFFFF)


def uniform(stream: int, count: int, start: int = 0) -> np.ndarray:
    """`count` float64 in (0, 1), from position `start` of a stream."""
    high = (_bits(stream, count, start) >> 12) & ((1 << 52) - 1)
    return np.asarray((high + 0.5) * 2.0**-52)


def normal(stream: int, count: int) -> np.ndarray:
    """`count` standard normal float64 (Box & Muller 1958)."""
    half = (count + 1) // 2
    radius = np.sqrt(-2.0 * np.log(uniform(stream, half)))
    angle = 2.0 * np.pi * uniform(stream, half, start=half)
    return np.concatenate([radius * np.cos(angle), radius * np.sin(angle)])[:count]


def permutation(stream: int, count: int) -> np.ndarray:
    """A random order of 0 … count−1, on the host.

    Positions ride in the low bits of their hashes: sorting is many times as quick as argsort.
    """
    low = _low_bits(count)
    keys = (_bits(stream, count) & ~low) | np.arange(count)
    return np.asarray(np.sort(keys) & low)


def permutations(streams: Sequence[int], count: int, device: Any) -> torch.Tensor:
    """A random order a stream, `[len(streams), count]` int64; the same as `permutation` of each."""
    if torch.device(device).type == "cpu":  # numpy sorts several times as quickly
        return torch.from_numpy(np.stack([permutation(s, count) for s in streams]))
    return _permutations_there(streams, count, device)


def _permutations_there(streams: Sequence[int], count: int, device: Any) -> torch.Tensor:
    starts = torch.tensor(list(streams), dtype=torch.int64, device=device)[:, None]
    position = torch.arange(count, dtype=torch.int64, device=device)
    keys = (mix64(starts + position * _signed(_GOLDEN)) & ~_low_bits(count)) | position
    return torch.sort(keys, dim=1).values & _low_bits(count)


def _low_bits(count: int) -> int:
    """A mask that holds the positions 0 … count−1."""
    return (1 << max(count - 1, 1).bit_length()) - 1


def keep_mask(
    members: torch.Tensor, step: int, layer: int, rows: int, columns: int, rate: Any, first: int = 0
) -> torch.Tensor:
    """True where dropout keeps a unit: `[M, rows, columns]`, each False with probability `rate`.

    members: int32 `[M]`, the dropout keys of the members.
    rate: a float, or a float64 tensor `[M, 1, 1]`.
    first: position in the whole batch of the first row, so that slices of a batch agree with it.
    """
    bits = _bits32(members, key(DROPOUT, step, layer), rows, columns, first)
    if isinstance(rate, torch.Tensor):
        bound = (rate * 2.0**32 - 2.0**31).round().clamp(max=2.0**31 - 1).to(torch.int32)
        return torch.ge(bits, bound)
    return torch.ge(bits, min(round(rate * 2.0**32 - 2.0**31), 2**31 - 1))


def normals(
    members: torch.Tensor, step: int, layer: int, rows: int, columns: int, first: int = 0
) -> torch.Tensor:
    """Standard normal float64 `[M, rows, columns]`, by the inverse of its distribution.

    members, first: as for `keep_mask`.
    """
    bits = _bits32(members, key(NOISE, step, layer), rows, columns, first)
    found: torch.Tensor = torch.erfinv((bits.double() + 0.5) * 2.0**-31).mul_(2.0**0.5)
    return found


def uniforms(streams: Sequence[int], count: int, device: Any) -> torch.Tensor:
    """float64 in (0, 1) `[len(streams), count]`; the same as `uniform` of each stream."""
    starts = torch.tensor(list(streams), dtype=torch.int64, device=device)[:, None]
    position = torch.arange(count, dtype=torch.int64, device=device)
    bits = mix64(starts + position * _signed(_GOLDEN))
    found: torch.Tensor = (((bits >> 12) & ((1 << 52) - 1)).double() + 0.5) * 2.0**-52
    return found


def member_keys(seeds: Sequence[int], purpose: int, device: Any) -> torch.Tensor:
    """int32 `[M]`: the key of each member for one purpose."""
    return torch.tensor([_int32(key(s, purpose)) for s in seeds], dtype=torch.int32, device=device)


def _bits32(
    members: torch.Tensor, stream: int, rows: int, columns: int, first: int
) -> torch.Tensor:
    """int32 uniform on −2³¹ … 2³¹−1, `[M, rows, columns]`."""
    device = members.device
    start = members ^ _int32(stream)
    row_bits = _mix32_full(start[:, None] + _row_starts(first, rows, device))
    # The last xor-shift of the finalizer is left out: it changes low bits only.
    return _mix32(row_bits[:, :, None] ^ _unit_bits(columns, device))


def bits32(
    members: torch.Tensor, stream: int, rows: int, columns: int, first: int = 0
) -> torch.Tensor:
    """int32 uniform on −2³¹ … 2³¹−1, `[M, rows, columns]`; members, first: as for `keep_mask`."""
    return _bits32(members, stream, rows, columns, first)


def _bits(stream: int, count: int, start: int = 0) -> np.ndarray:
    position = np.arange(start, start + count, dtype=np.int64)
    return np.asarray(mix64(np.int64(stream) + position * np.int64(_signed(_GOLDEN))))


@lru_cache(maxsize=64)
def _row_starts(first: int, rows: int, device: torch.device) -> torch.Tensor:
    position = torch.arange(first, first + rows, dtype=torch.int32, device=device)
    return position * _int32(_GOLDEN)


@lru_cache(maxsize=64)
def _unit_bits(columns: int, device: torch.device) -> torch.Tensor:
    unit = torch.arange(columns, dtype=torch.int32, device=device)
    return _mix32_full(unit * _int32(_GOLDEN >> 16) + 1)


def _mix32(x: torch.Tensor) -> torch.Tensor:
    x = x.mul_(_int32(0x85EBCA6B))
    x = x.bitwise_xor_((x >> 13).bitwise_and_(0x7FFFF))
    return x.mul_(_int32(0xC2B2AE35))


def _mix32_full(x: torch.Tensor) -> torch.Tensor:
    x = _mix32(x ^ ((x >> 16) & 0xFFFF))
    return x ^ ((x >> 16) & 0xFFFF)


def _mix(x: int) -> int:
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & _MASK
    return x ^ (x >> 31)


def _signed(x: int) -> int:
    return x - (1 << 64) if x >> 63 else x


def _int32(x: int) -> int:
    x &= 0xFFFFFFFF
    return x - (1 << 32) if x >> 31 else x
