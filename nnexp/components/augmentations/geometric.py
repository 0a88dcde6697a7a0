"""Augmentations that move pixels; all of them in a list become one resampling."""

from __future__ import annotations

import math
from typing import Literal

from nnexp.components.augmentations import warp
from nnexp.components.augmentations.base import Augmentation, Chance
from nnexp.components.layer import Hyper, per_member
from nnexp.lazy import torch
from nnexp.registry import param


class Geometric(Augmentation):
    """Moves pixels, by an affine map, a field of displacements, or both."""

    border: warp.Border = param(
        "edge",
        "what lies outside the image: its outermost pixels, zeros, or its mirror image; the same "
        "for all that move pixels",
    )

    def matrix(self, hyper: Hyper, chance: Chance, shape: tuple[int, int]) -> torch.Tensor | None:
        """The affine map of each example, `[M, B, 2, 3]`, see `warp`; None if it has none."""
        return None

    def field(
        self, hyper: Hyper, chance: Chance, shape: tuple[int, int], dtype: torch.dtype
    ) -> torch.Tensor | None:
        """Displacements in pixels (x, y), `[M, B, 2, H, W]`; None if it has none."""
        return None


class Rotate(Geometric):
    """Turns the image about its centre by a random angle, uniform in ±`degrees`.

    Use: for images without a strict upright, as photographs and writing; of digits keep it below
    about 20°, for a 6 must not become a 9.
    Source: Simard, Steinkraus & Platt (2003), "Best practices for convolutional neural networks
    applied to visual document analysis".
    """

    name: Literal["rotate"] = "rotate"
    also = ("rotation", "random_rotation")
    degrees: float = param(
        15.0, "largest angle, either way", unit="°", ge=0, le=180, per_member=True, also=("angle",)
    )

    def matrix(self, hyper: Hyper, chance: Chance, shape: tuple[int, int]) -> torch.Tensor:
        limit = per_member(hyper["degrees"], 2)
        angle = chance.uniform(1)[..., 0] * limit * (math.pi / 180)
        return turned(angle)


class Translate(Geometric):
    """Shifts the image by a random share of its width and of its height, uniform in ±`share`.

    Use: where objects do not sit exactly in the middle; for shifts by whole pixels, see `crop`.
    """

    name: Literal["translate"] = "translate"
    also = ("shift", "random_shift")
    share: float = param(0.05, "largest shift, either way", ge=0, le=1, per_member=True)

    def matrix(self, hyper: Hyper, chance: Chance, shape: tuple[int, int]) -> torch.Tensor:
        shift = chance.uniform(2) * per_member(hyper["share"], 3)
        x, y = shift[..., 0] * shape[1], shift[..., 1] * shape[0]
        return warp.affine([[1.0, 0.0, -x], [0.0, 1.0, -y]], x)


class Shear(Geometric):
    """Slants the image sideways by a random angle, uniform in ±`degrees`.

    Formula: x ← x + y tan φ
    Use: for writing, whose slant differs from hand to hand.
    """

    name: Literal["shear"] = "shear"
    also = ("slant", "skew")
    degrees: float = param(
        10.0, "largest angle, either way", unit="°", ge=0, le=80, per_member=True, also=("angle",)
    )

    def matrix(self, hyper: Hyper, chance: Chance, shape: tuple[int, int]) -> torch.Tensor:
        limit = per_member(hyper["degrees"], 2)
        slant = torch.tan(chance.uniform(1)[..., 0] * limit * (math.pi / 180))
        return warp.affine([[1.0, -slant, 0.0], [0.0, 1.0, 0.0]], slant)


class Scale(Geometric):
    """Enlarges the image about its centre by a random factor, uniform between `low` and `high`.

    Use: where objects are nearer or farther; the image keeps its size.
    """

    name: Literal["scale"] = "scale"
    also = ("zoom", "random_zoom")
    low: float = param(0.9, "smallest factor", gt=0, le=10, per_member=True)
    high: float = param(1.1, "largest factor", gt=0, le=10, per_member=True)

    def conflict(self) -> str:
        return _ordered(self.low, self.high)

    def matrix(self, hyper: Hyper, chance: Chance, shape: tuple[int, int]) -> torch.Tensor:
        low, high = per_member(hyper["low"], 2), per_member(hyper["high"], 2)
        share = (chance.uniform(1)[..., 0] + 1.0) * 0.5
        return scaled(1.0 / (low + share * (high - low)))


class Resize(Geometric):
    """Gives the image a random height in pixels, and cuts it back (or pads it) to its own size.

    The width follows, so that shapes stay as they are. Every whole number of pixels from `low` to
    `high` is as likely.

    Use: for photographs, where objects come in all sizes, with `place: random` as a random crop.
    """

    name: Literal["resize"] = "resize"
    also = ("random_resized_crop", "random_size")
    low: int = param(224, "smallest height", unit="px", ge=1, le=65_536)
    high: int = param(384, "largest height", unit="px", ge=1, le=65_536)
    place: Literal["random", "center"] = param("random", "which part is kept of a larger image")

    def conflict(self) -> str:
        return _ordered(self.low, self.high)

    def matrix(self, hyper: Hyper, chance: Chance, shape: tuple[int, int]) -> torch.Tensor:
        draws = chance.uniform(3)
        share = (draws[..., 0] + 1.0) * 0.5
        pixels = self.low + torch.floor(share * (self.high - self.low + 1)).clamp(
            max=self.high - self.low
        )
        factor = pixels / shape[0]
        found = scaled(1.0 / factor)
        if self.place == "random":
            spare = (0.5 * (factor - 1.0)).clamp(min=0.0) / factor
            found[..., 0, 2] = draws[..., 1] * spare * shape[1]
            found[..., 1, 2] = draws[..., 2] * spare * shape[0]
        return found


class Crop(Geometric):
    """Pads the image on every side and cuts a random piece of its own size out of that.

    So it shifts by whole pixels, each shift up to `padding` as likely, and blurs nothing.

    Use: the standard for small photographs such as CIFAR's, with `flip`.
    Source: He, Zhang, Ren & Sun (2016), "Deep residual learning for image recognition".
    """

    name: Literal["crop"] = "crop"
    also = ("random_crop",)
    padding: int = param(4, "pixels on every side", unit="px", ge=0, le=4096, also=("pad",))

    def matrix(self, hyper: Hyper, chance: Chance, shape: tuple[int, int]) -> torch.Tensor:
        count = 2 * self.padding + 1
        share = (chance.uniform(2) + 1.0) * 0.5
        shift = torch.floor(share * count).clamp(max=count - 1) - self.padding
        return warp.affine([[1.0, 0.0, shift[..., 0]], [0.0, 1.0, shift[..., 1]]], shift[..., 0])


class Flip(Geometric):
    """Mirrors the image, left for right or top for bottom.

    Use: where the mirror image is as likely: photographs, not writing.
    """

    name: Literal["flip"] = "flip"
    also = ("mirror", "random_flip", "horizontal_flip")
    direction: Literal["horizontal", "vertical"] = param("horizontal", "what changes places")
    p: float = param(0.5, "probability that an example is mirrored", ge=0, le=1, per_member=True)

    def matrix(self, hyper: Hyper, chance: Chance, shape: tuple[int, int]) -> torch.Tensor:
        like = chance.uniform(1)[..., 0]
        x, y = (-1.0, 1.0) if self.direction == "horizontal" else (1.0, -1.0)
        return warp.affine([[x, 0.0, 0.0], [0.0, y, 0.0]], like)


class Elastic(Geometric):
    """Moves every pixel a little, its neighbours nearly alike: a random field, smoothed.

    The two numbers of each pixel, uniform in ±1, are smoothed by a Gaussian of width `sigma` (zeros
    around the image) and multiplied by `alpha`. It acts as if it were the last of those that move
    pixels, wherever it stands.

    Formula: I'(u) = I(u + α (G_σ ∗ r)(u)), r uniform in ±1
    Use: for handwriting above all: it imitates the unsteady hand.
    Source: Simard, Steinkraus & Platt (2003), "Best practices for convolutional neural networks
    applied to visual document analysis".
    """

    name: Literal["elastic"] = "elastic"
    also = ("elastic_distortion", "elastic_transform")
    alpha: float = param(34.0, "strength", unit="px", ge=0, le=1e5, per_member=True)
    sigma: float = param(4.0, "width of the Gaussian", unit="px", gt=0, le=1000)

    def field(
        self, hyper: Hyper, chance: Chance, shape: tuple[int, int], dtype: torch.dtype
    ) -> torch.Tensor:
        found = warp.smooth(chance.field((2, *shape), dtype), self.sigma)
        alpha = per_member(hyper["alpha"], 5)
        return found.mul_(alpha.to(dtype) if isinstance(alpha, torch.Tensor) else alpha)


def turned(angle: torch.Tensor) -> torch.Tensor:
    """The map that turns an image clockwise, by radians `[…]`."""
    cos, sin = torch.cos(angle), torch.sin(angle)
    return warp.affine([[cos, sin, 0.0], [-sin, cos, 0.0]], angle)


def scaled(by: torch.Tensor) -> torch.Tensor:
    """The map with one factor for both axes."""
    return warp.affine([[by, 0.0, 0.0], [0.0, by, 0.0]], by)


def _ordered(low: float, high: float) -> str:
    return f"low {low:g} is above high {high:g}" if low > high else ""
