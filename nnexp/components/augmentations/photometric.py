"""Augmentations that change values where they are, in the units of the prepared inputs."""

from __future__ import annotations

import math
from typing import Any, ClassVar, Literal

from nnexp.components.augmentations.base import Augmentation, Chance
from nnexp.components.layer import Hyper, per_member
from nnexp.lazy import torch
from nnexp.registry import param


class Contrast(Augmentation):
    """Stretches the values about the image's mean by a random factor, uniform in 1 ± `strength`.

    Formula: x ← m + f (x − m), m the mean of each channel
    Use: where light and exposure vary.
    """

    name: Literal["contrast"] = "contrast"
    also = ("random_contrast",)
    strength: float = param(
        0.2, "largest change of the factor, either way", ge=0, le=1, per_member=True
    )

    def apply(self, x: torch.Tensor, hyper: Hyper, chance: Chance) -> torch.Tensor:
        mean = x.mean((3, 4), keepdim=True)
        change = chance.uniform(1) * per_member(hyper["strength"], 3)
        return torch.addcmul(x, x - mean, _each(_where(chance, hyper, change), x))


class Brightness(Augmentation):
    """Adds one random number to the whole image, uniform in ±`strength`.

    Use: where light varies; `strength` is in the units of the prepared inputs.
    """

    name: Literal["brightness"] = "brightness"
    also = ("random_brightness",)
    strength: float = param(0.2, "largest change, either way", ge=0, le=1e6, per_member=True)

    def apply(self, x: torch.Tensor, hyper: Hyper, chance: Chance) -> torch.Tensor:
        change = chance.uniform(1) * per_member(hyper["strength"], 3)
        return torch.add(x, _each(_where(chance, hyper, change), x))


class Noise(Augmentation):
    """Adds Gaussian noise to every number; it suits columns of a table, too.

    Formula: x ← x + s z, z ~ N(0, 1)
    Use: against overfitting, on measurements above all; in the units of the prepared inputs.
    Source: Bishop (1995), "Training with noise is equivalent to Tikhonov regularization".
    """

    name: Literal["noise"] = "noise"
    also = ("gaussian_noise", "jitter")
    images_only: ClassVar[bool] = False
    std: float = param(
        0.1, "standard deviation s", ge=0, le=1e6, per_member=True, also=("sigma",), search="log"
    )

    def apply(self, x: torch.Tensor, hyper: Hyper, chance: Chance) -> torch.Tensor:
        std = chance.members.new_ones((len(chance.members), chance.rows, 1), dtype=torch.float64)
        std = _where(chance, hyper, std * per_member(hyper["std"], 3))
        return torch.addcmul(x, chance.normal(x), _each(std, x))


class Erase(Augmentation):
    """Sets a random rectangle to 0.

    Its share of the image is uniform between `low` and `high`, the logarithm of its height by its
    width between those of 0.3 and 1/0.3; it lies anywhere within the image.

    Use: where objects are partly hidden; strong on small images. What is 0 after preprocessing
    is the mean for standardized inputs.
    Source: Zhong, Zheng, Kang, Li & Yang (2020), "Random erasing data augmentation".
    """

    name: Literal["erase"] = "erase"
    also = ("random_erasing", "cutout")
    p: float = param(0.5, "probability that an example is changed", ge=0, le=1, per_member=True)
    low: float = param(0.02, "smallest share of the image", ge=0, le=1)
    high: float = param(0.2, "largest share of the image", ge=0, le=1)

    def conflict(self) -> str:
        return f"low {self.low:g} is above high {self.high:g}" if self.low > self.high else ""

    def apply(self, x: torch.Tensor, hyper: Hyper, chance: Chance) -> torch.Tensor:
        height, width = x.shape[-2:]
        draws = (chance.uniform(4) + 1.0) * 0.5
        area = (self.low + draws[..., :1] * (self.high - self.low)) * height * width
        form = torch.exp((2.0 * draws[..., 1:2] - 1.0) * math.log(1 / 0.3))
        tall = (area * form).sqrt().round().clamp(max=height)
        wide = (area / form).sqrt().round().clamp(max=width)
        tall = _where(chance, hyper, tall)
        top = torch.floor(draws[..., 2:3] * (height - tall + 1))
        left = torch.floor(draws[..., 3:] * (width - wide + 1))
        row, column = (torch.arange(n, device=x.device) for n in (height, width))
        rows = (row >= top) & (row < top + tall)
        columns = (column >= left) & (column < left + wide)
        return x.masked_fill((rows[..., :, None] & columns[..., None, :])[:, :, None], 0.0)


def _where(chance: Chance, hyper: Hyper, value: torch.Tensor) -> torch.Tensor:
    """The value `[M, B, 1]` of examples that are changed, and 0 of the others."""
    happens = chance.happens(hyper["p"])
    return value if happens is None else torch.where(happens, value, 0.0)


def _each(value: torch.Tensor, x: torch.Tensor) -> Any:
    """`[M, B, 1]`, shaped and typed to meet examples `[M, B, …]`."""
    return value.to(x.dtype).view(*value.shape[:2], *[1] * (x.ndim - 2))
