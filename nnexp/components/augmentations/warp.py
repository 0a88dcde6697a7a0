"""Moving pixels: maps are composed first, and the examples resampled once.

A map tells for each pixel of the result where in the original it comes from, in pixels from the
image's centre, x to the right and y down. An affine one is a float64 tensor `[…, 2, 3]`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Literal

import numpy as np

from nnexp.lazy import functional, torch

Border = Literal["edge", "zeros", "reflect"]
_MODES = {"edge": "border", "zeros": "zeros", "reflect": "reflection"}


def affine(rows: Sequence[Sequence[torch.Tensor | float]], like: torch.Tensor) -> torch.Tensor:
    """The map `[*like.shape, 2, 3]` with these entries, each a number or shaped as `like`."""
    full = [e if isinstance(e, torch.Tensor) else torch.full_like(like, e) for r in rows for e in r]
    return torch.stack(full, -1).view(*like.shape, 2, 3)


def compose(before: torch.Tensor, after: torch.Tensor) -> torch.Tensor:
    """The map of an image that was changed by `before` and then by `after`."""
    linear = before[..., :2]
    found = linear @ after
    found[..., 2] += before[..., 2]
    return found


def places(
    matrix: torch.Tensor, field: torch.Tensor | None, shape: tuple[int, int], dtype: torch.dtype
) -> torch.Tensor:
    """Where each pixel comes from, `[N, H, W, 2]`: −1 and 1 are the image's outer edges.

    matrix: `[N, 2, 3]`. field: displacements before it, in pixels, `[N, 2, H, W]`.
    """
    height, width = shape
    unit = torch.tensor([[2.0 / width], [2.0 / height]], dtype=matrix.dtype, device=matrix.device)
    to_unit = (matrix * unit).to(dtype).transpose(1, 2)  # [N, 3, 2]
    base = _base(height, width, dtype, matrix.device)
    if field is None:
        return (base @ to_unit).view(-1, height, width, 2)
    moved = torch.cat([field, torch.ones_like(field[:, :1])], 1).flatten(2)
    moved[:, :2] += base.T[:2]
    return (moved.transpose(1, 2) @ to_unit).view(-1, height, width, 2)


def resample(x: torch.Tensor, grid: torch.Tensor, border: Border) -> torch.Tensor:
    """Images `[N, C, H, W]` at places `[N, H, W, 2]`, bilinear."""
    return functional.grid_sample(
        x, grid, mode="bilinear", padding_mode=_MODES[border], align_corners=False
    )


def resample_classes(y: torch.Tensor, grid: torch.Tensor) -> torch.Tensor:
    """Class maps `[N, H, W]` at places, the nearest; −1 (no class) where there is none."""
    inside = (grid.abs() <= 1).all(-1)
    shifted = (y[:, None] + 1).to(grid.dtype)
    found = functional.grid_sample(
        shifted, grid, mode="nearest", padding_mode="border", align_corners=False
    )
    return torch.where(inside, found[:, 0].round().to(y.dtype) - 1, -1)


def smooth(noise: torch.Tensor, sigma: float) -> torch.Tensor:
    """Each image `[…, H, W]` under a Gaussian with σ in pixels, cut off at 4 σ; zeros around."""
    height, width = noise.shape[-2:]
    across = blur(width, sigma, noise.dtype, noise.device)
    down = blur(height, sigma, noise.dtype, noise.device)
    return torch.matmul(down, (noise.flatten(0, -2) @ across).view(noise.shape))


@lru_cache(maxsize=32)
def blur(size: int, sigma: float, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """The symmetric matrix `[size, size]` that smooths a row."""
    radius = int(4.0 * sigma + 0.5)
    weights = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    apart = np.abs(np.subtract.outer(np.arange(size), np.arange(size)))
    kernel = np.where(apart <= radius, np.exp(-0.5 * (apart / sigma) ** 2), 0.0) / weights.sum()
    return torch.tensor(kernel, dtype=dtype, device=device)


@lru_cache(maxsize=32)
def _base(height: int, width: int, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """Every pixel's x and y from the centre and a 1, `[H·W, 3]`."""
    y, x = torch.meshgrid(
        torch.arange(height, dtype=dtype, device=device) - (height - 1) / 2,
        torch.arange(width, dtype=dtype, device=device) - (width - 1) / 2,
        indexing="ij",
    )
    return torch.stack([x, y, torch.ones_like(x)], -1).view(-1, 3)
