"""Random changes of a pack's training examples, and the fixed ones at test time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product

from nnexp import streams
from nnexp.components.augmentations import warp
from nnexp.components.augmentations.base import Chance
from nnexp.components.augmentations.geometric import Geometric, scaled, turned
from nnexp.components.layer import Hyper
from nnexp.config.experiment import Experiment, TestTime
from nnexp.lazy import torch


class Augmenter:
    """The augmentations of a pack's members, each with the chances of its own seed."""

    def __init__(
        self, members: Sequence[Experiment], hypers: Sequence[Hyper], device: torch.device
    ) -> None:
        """hypers: for each augmentation the fields that may differ between members."""
        self.specs = list(zip(members[0].augmentation, hypers, strict=True))
        seeds = [m.seed for m in members]
        self.members = streams.member_keys(seeds, streams.AUGMENTATION, device)
        self.moves = any(isinstance(spec, Geometric) for spec, _ in self.specs)

    def transform(
        self, x: torch.Tensor, y: torch.Tensor, step: int, first: int = 0
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Examples `[M, B, …]` changed for the update `step`, and class maps `[M, B, H, W]` alike.

        Other targets are left alone. first: position in the whole batch of the first example.
        """
        if not self.specs:
            return x, y
        with torch.no_grad():
            if self.moves:
                x, y = self._move(x, y, step, first)
            for number, (spec, hyper) in enumerate(self.specs):
                if not isinstance(spec, Geometric):
                    x = spec.apply(x, hyper, Chance(self.members, step, number, x.shape[1], first))
        return x, y

    def _move(
        self, x: torch.Tensor, y: torch.Tensor, step: int, first: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """All that moves pixels, in one resampling."""
        shape, rows = (x.shape[3], x.shape[4]), x.shape[1]
        matrix, field, border = None, None, None
        for number, (spec, hyper) in enumerate(self.specs):
            if not isinstance(spec, Geometric):
                continue
            border = spec.border
            chance = Chance(self.members, step, number, rows, first)
            happens = chance.happens(hyper["p"])
            one = spec.matrix(hyper, chance, shape)
            if one is not None:
                if happens is not None:
                    one = torch.where(happens[..., None], one, still(one))
                matrix = one if matrix is None else warp.compose(matrix, one)
            bent = spec.field(hyper, chance, shape, x.dtype)
            if bent is not None:
                if happens is not None:
                    bent = bent * happens[..., None, None]
                field = bent if field is None else field.add_(bent)
        assert border is not None
        if matrix is None:
            matrix = still(torch.empty(1, 2, 3, dtype=torch.float64, device=x.device))
            matrix = matrix.expand(x.shape[0], rows, 2, 3)
        grid = warp.places(
            matrix.flatten(0, 1), None if field is None else field.flatten(0, 1), shape, x.dtype
        )
        moved = warp.resample(x.flatten(0, 1), grid, border).view(x.shape)
        if y.ndim == 4 and not y.is_floating_point():
            y = warp.resample_classes(y.flatten(0, 1), grid).view(y.shape)
        return moved, y


def still(like: torch.Tensor) -> torch.Tensor:
    """The map `[1, …, 2, 3]` that leaves every pixel where it is."""
    eye = torch.eye(2, 3, dtype=like.dtype, device=like.device)
    return eye.view(*[1] * (like.ndim - 2), 2, 3)


def views(asked: TestTime, shape: tuple[int, int]) -> list[torch.Tensor]:
    """The map `[2, 3]` of each view of an image at test time."""
    height, width = shape
    corners = [(0, 0)] if asked.crops == 1 else [(0, 0), (-1, -1), (-1, 1), (1, -1), (1, 1)]
    sizes = asked.sizes or [height]
    mirrors = (False, True) if asked.flip else (False,)
    found = []
    for angle, size, (x, y), mirrored in product(asked.angles, sizes, corners, mirrors):
        factor = size / height
        scale = scaled(torch.tensor(1.0 / factor, dtype=torch.float64))
        spare = max(0.5 * (factor - 1.0), 0.0) / factor
        scale[0, 2], scale[1, 2] = x * spare * width, y * spare * height
        turn = turned(torch.deg2rad(torch.tensor(angle, dtype=torch.float64)))
        one = warp.compose(turn, scale)
        if mirrored:
            one[:, 0] *= -1
        found.append(one)
    return found


def seen(x: torch.Tensor, asked: TestTime) -> Iterator[torch.Tensor]:
    """Examples `[M, B, …]` under each view that is asked for."""
    if not asked.moves:
        yield x
        return
    shape = (x.shape[3], x.shape[4])
    for matrix in views(asked, shape):
        if torch.equal(matrix, still(matrix)):
            yield x
            continue
        grid = warp.places(matrix[None].to(x.device), None, shape, x.dtype)
        flat = x.flatten(0, 1)
        yield warp.resample(flat, grid.expand(len(flat), *grid.shape[1:]), asked.border).view(
            x.shape
        )
