"""Images of shapes, with a class at every pixel: what a dense task can be tried on."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Literal

import numpy as np

from nnexp.components.datasets.dataset import Dataset
from nnexp.components.table import Features, FileInfo, Table
from nnexp.registry import param
from nnexp.streams import key, normal, uniform


class Shapes(Dataset):
    """Grey images of a bright disc and a bright square in noise; a class at every pixel.

    The classes are background, disc and square; where both are, the square is in front.

    Formula: 0 or 1 at each pixel, plus N(0, noise²); centres and sizes uniform.

    Use: to see a `unet` at work in seconds; not to rank recipes.
    """

    name: Literal["shapes"] = "shapes"
    also = ("segmentation", "discs_and_squares")
    n: int = param(400, "how many images", ge=2, le=1_000_000, also=("n_samples", "samples"))
    size: int = param(32, "height and width", unit="pixels", ge=8, le=1024)
    noise: float = param(0.5, "standard deviation added to each pixel", ge=0, le=10)
    seed: int = param(
        0, "seed of the drawing; not the experiment's", ge=0, le=2**32 - 1, also=("random_state",)
    )

    def load(self, root: Path = Path(), *, labelled: bool = True) -> Table:
        target = self._target()
        pixels = self.n * self.size**2
        noise = normal(self._stream(1), pixels).reshape(target.shape)
        images = ((target > 0) + self.noise * noise).astype(np.float32)
        text = json.dumps(self.dump(), sort_keys=True).encode()
        return Table(
            features=Features.of(images[:, None]),
            target=target,
            classes=("background", "disc", "square"),
            target_names=("class",),
            ids=np.arange(self.n),
            files=(FileInfo(f"synthetic/{self.component}", 0, hashlib.sha256(text).hexdigest()),),
        )

    def _target(self) -> np.ndarray:
        """The class of each pixel, int64 `[n, H, W]`."""
        u = uniform(self._stream(0), self.n * 6).reshape(self.n, 6, 1, 1)
        y, x = np.mgrid[: self.size, : self.size] + 0.5
        radius = self.size * (0.1 + 0.15 * u[:, 0])
        apart = (y - self.size * u[:, 1]) ** 2 + (x - self.size * u[:, 2]) ** 2
        half = self.size * (0.1 + 0.15 * u[:, 3])
        across = np.maximum(abs(y - self.size * u[:, 4]), abs(x - self.size * u[:, 5]))
        return np.where(across < half, 2, np.where(apart < radius**2, 1, 0)).astype(np.int64)

    def _stream(self, purpose: int) -> int:
        return key(self.seed, *self.component.encode(), purpose)
