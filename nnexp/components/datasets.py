"""Data sources: what `data.source` may be."""

from __future__ import annotations

from nnexp.components.arrayfiles import Idx, Npy, Npz
from nnexp.components.builtin import BreastCancer, Diabetes, Digits, Iris, Linnerud, Wine
from nnexp.components.dataset import Dataset
from nnexp.components.files import Csv, Parquet
from nnexp.components.synthetic import (
    Blobs,
    Circles,
    CorrelatedGaussians,
    Friedman1,
    Moons,
    PureNoise,
    Spirals,
)

__all__ = [
    "Blobs",
    "BreastCancer",
    "Circles",
    "CorrelatedGaussians",
    "Csv",
    "Dataset",
    "Diabetes",
    "Digits",
    "Friedman1",
    "Idx",
    "Iris",
    "Linnerud",
    "Moons",
    "Npy",
    "Npz",
    "Parquet",
    "PureNoise",
    "Spirals",
    "Wine",
]
