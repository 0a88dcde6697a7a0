"""Data sets that are drawn from a formula: what is true of them is known exactly."""

from __future__ import annotations

import hashlib
import json
from abc import abstractmethod
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from nnexp.components.datasets.dataset import Dataset
from nnexp.components.table import Features, FileInfo, Table
from nnexp.registry import param
from nnexp.streams import key, normal, uniform

Share = Annotated[float, Field(gt=0, lt=1)]


class _Synthetic(Dataset):
    """Examples drawn independently; the same parameters give the same examples everywhere."""

    n: int = param(1000, "how many examples", ge=2, le=10_000_000, also=("n_samples", "samples"))
    seed: int = param(
        0, "seed of the drawing; not the experiment's", ge=0, le=2**32 - 1, also=("random_state",)
    )

    @abstractmethod
    def draw(self) -> tuple[np.ndarray, np.ndarray]:
        """Features `[n, F]`, and class indices int64 `[n]` or real values float64 `[n, 1]`."""

    def class_count(self) -> int:
        """How many classes there are, drawn or not."""
        return int(getattr(self, "classes", 2))

    def load(self, root: Path = Path(), *, labelled: bool = True) -> Table:
        x, y = self.draw()
        text = json.dumps(self.dump(), sort_keys=True).encode()
        digest = hashlib.sha256(text).hexdigest()
        real = y.ndim == 2
        return Table(
            features=Features.of(x),
            target=y,
            classes=None if real else tuple(str(c) for c in range(self.class_count())),
            target_names=("y" if real else "class",),
            ids=np.arange(self.n),
            files=(FileInfo(f"synthetic/{self.component}", 0, digest),),
        )

    def _stream(self, purpose: int) -> int:
        return key(self.seed, *self.component.encode(), purpose)

    def _uniform(self, purpose: int, columns: int = 1) -> np.ndarray:
        return uniform(self._stream(purpose), self.n * columns).reshape(self.n, columns)

    def _normal(self, purpose: int, columns: int) -> np.ndarray:
        return normal(self._stream(purpose), self.n * columns).reshape(self.n, columns)

    def _cycled(self, classes: int) -> np.ndarray:
        """0, 1, … classes − 1, 0, 1, …: classes that are as equal in size as can be."""
        return np.arange(self.n) % classes


class Moons(_Synthetic):
    """Two interleaving half circles in the plane; not separable by a line.

    Formula: class 0: (cos t, sin t); class 1: (1 − cos t, ½ − sin t); t ~ U(0, π); plus noise.

    Use: to see whether a small network bends its decision boundary; not to rank recipes.

    Source: the geometry of scikit-learn's make_moons.
    """

    name: Literal["moons"] = "moons"
    also = ("make_moons", "two_moons")
    noise: float = param(0.1, "standard deviation added to each coordinate", ge=0, le=10)

    def draw(self) -> tuple[np.ndarray, np.ndarray]:
        y, t = self._cycled(2), np.pi * self._uniform(0)
        upper = np.hstack([np.cos(t), np.sin(t)])
        lower = np.hstack([1 - np.cos(t), 0.5 - np.sin(t)])
        return np.where(y[:, None] == 0, upper, lower) + self.noise * self._normal(1, 2), y


class Circles(_Synthetic):
    """Two circles about the origin, one in the other; not separable by a line.

    Formula: r (cos t, sin t), r = 1 for class 0 and `factor` for class 1; t ~ U(0, 2π); plus noise.

    Use: where the distance from the origin is the only feature that helps.

    Source: the geometry of scikit-learn's make_circles.
    """

    name: Literal["circles"] = "circles"
    also = ("make_circles", "rings")
    noise: float = param(0.05, "standard deviation added to each coordinate", ge=0, le=10)
    factor: float = param(0.5, "radius of the inner circle", gt=0, lt=1)

    def draw(self) -> tuple[np.ndarray, np.ndarray]:
        y, t = self._cycled(2), 2 * np.pi * self._uniform(0)
        radius = np.where(y == 0, 1.0, self.factor)[:, None]
        return radius * np.hstack([np.cos(t), np.sin(t)]) + self.noise * self._normal(1, 2), y


class Spirals(_Synthetic):
    """Spiral arms that wind about each other in the plane, one a class.

    Formula: r (cos a, sin a), a = 2π (turns · r + class / classes), r ~ U(0, 1); plus noise.

    Use: a hard boundary for a small network: depth, width and activation show here.

    Source: Lang & Witbrock (1988), "Learning to tell two spirals apart" (their arms: 3 turns).
    """

    name: Literal["spirals"] = "spirals"
    also = ("two_spirals",)
    noise: float = param(0.02, "standard deviation added to each coordinate", ge=0, le=10)
    classes: int = param(2, "how many arms", ge=2, le=100)
    turns: float = param(1.5, "how often an arm goes round", gt=0, le=20)

    def draw(self) -> tuple[np.ndarray, np.ndarray]:
        y, r = self._cycled(self.classes), self._uniform(0)
        angle = 2 * np.pi * (self.turns * r + y[:, None] / self.classes)
        return r * np.hstack([np.cos(angle), np.sin(angle)]) + self.noise * self._normal(1, 2), y


class Blobs(_Synthetic):
    """Round Gaussian clouds, one a class, about centres drawn from a cube.

    Formula: x = centre of the class + spread · z, z ~ N(0, I), centres ~ U(−10, 10) a coordinate.

    Use: an easy problem in any number of dimensions, where a linear model is close to the best.

    Source: the geometry of scikit-learn's make_blobs.
    """

    name: Literal["blobs"] = "blobs"
    also = ("make_blobs",)
    classes: int = param(3, "how many clouds", ge=2, le=1000, also=("centers",))
    features: int = param(2, "how many columns", ge=1, le=10_000, also=("n_features",))
    spread: float = param(
        1.0, "standard deviation of a cloud", ge=0, le=1000, also=("noise", "cluster_std")
    )

    shares: list[Share] | None = param(
        None, "how much of the data each cloud is", when="null: all alike", also=("weights",)
    )

    def conflicts(self) -> list[tuple[str, str]]:
        shares = self.shares
        if shares is not None and len(shares) != self.classes:
            return [("shares", f"there are {self.classes} classes, and {len(shares)} shares")]
        if shares is not None and abs(sum(shares) - 1) > 1e-9:
            return [("shares", f"add up to {sum(shares):g}, not to 1")]
        return []

    def draw(self) -> tuple[np.ndarray, np.ndarray]:
        y = self._cycled(self.classes)
        if self.shares is not None:  # a sequence that fills (0, 1) evenly, whatever n is
            even = (np.arange(self.n) * ((5**0.5 - 1) / 2)) % 1.0
            y = np.searchsorted(np.cumsum(self.shares)[:-1], even, side="right")
        drawn = uniform(self._stream(0), self.classes * self.features)
        centres = 20 * drawn.reshape(self.classes, self.features) - 10
        return centres[y] + self.spread * self._normal(1, self.features), y


class CorrelatedGaussians(_Synthetic):
    """Two Gaussian classes whose features all correlate; the best error rate is known.

    Formula: x = ±½ · separation · d + √ρ z₀ + √(1 − ρ) z; d = (1, −1, 1, −1, …)/√F, so that the
    best error rate is Φ(−separation / (2 √(1 − ρ))) for an even number F of features.

    Use: to see what whitening and a learning rate do to an ill-conditioned problem: the condition
    number of the covariance within a class is 1 + F ρ/(1 − ρ).

    Source: Fisher (1936), "The use of multiple measurements in taxonomic problems".
    """

    name: Literal["correlated_gaussians"] = "correlated_gaussians"
    also = ("gaussians",)
    features: int = param(2, "how many columns", ge=2, le=10_000, also=("n_features",))
    correlation: float = param(0.9, "ρ, of every two features within a class", ge=0, lt=1)
    separation: float = param(
        1.0, "distance of the two means, in standard deviations of a feature", ge=0, le=100
    )

    def draw(self) -> tuple[np.ndarray, np.ndarray]:
        y = self._cycled(2)
        direction = np.where(np.arange(self.features) % 2 == 0, 1.0, -1.0) / self.features**0.5
        shared, own = self._normal(0, 1), self._normal(1, self.features)
        spread = self.correlation**0.5 * shared + (1 - self.correlation) ** 0.5 * own
        return self.separation * (y - 0.5)[:, None] * direction + spread, y


class PureNoise(_Synthetic):
    """Features that say nothing about the class: no model can do better than chance.

    Formula: x ~ N(0, I), and the class drawn independently, each with the same probability.

    Use: to see what memorizing looks like, and that a recipe and its comparison find nothing here.
    """

    name: Literal["pure_noise"] = "pure_noise"
    also = ("random",)
    classes: int = param(2, "how many classes", ge=2, le=1000)
    features: int = param(20, "how many columns", ge=1, le=10_000, also=("n_features",))

    def draw(self) -> tuple[np.ndarray, np.ndarray]:
        y = (self.classes * self._uniform(0)[:, 0]).astype(np.int64)
        return self._normal(1, self.features), np.minimum(y, self.classes - 1)


class Friedman1(_Synthetic):
    """A smooth function of five features among others that don't matter (regression).

    Formula: y = 10 sin(π x₀x₁) + 20 (x₂ − ½)² + 10 x₃ + 5 x₄ + noise · z, x ~ U(0, 1), z ~ N(0, 1)

    Use: regression with an interaction, a curve and irrelevant columns; the best mean squared
    error is the noise's variance.

    Source: Friedman (1991), "Multivariate adaptive regression splines".
    """

    name: Literal["friedman1"] = "friedman1"
    also = ("make_friedman1", "friedman")
    noise: float = param(1.0, "standard deviation added to the target", ge=0, le=1000)
    features: int = param(10, "how many columns", ge=5, le=10_000, also=("n_features",))

    def draw(self) -> tuple[np.ndarray, np.ndarray]:
        x = self._uniform(0, self.features)
        curve = 10 * np.sin(np.pi * x[:, 0] * x[:, 1]) + 20 * (x[:, 2] - 0.5) ** 2
        y = curve + 10 * x[:, 3] + 5 * x[:, 4]
        return x, y[:, None] + self.noise * self._normal(1, 1)
