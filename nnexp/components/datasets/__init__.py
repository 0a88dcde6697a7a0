"""Data sources: what `data.source` may be."""

from __future__ import annotations

from nnexp.components.datasets.arrayfiles import Idx, Npy, Npz
from nnexp.components.datasets.builtin import BreastCancer, Diabetes, Digits, Iris, Linnerud, Wine
from nnexp.components.datasets.corpus import Corpus
from nnexp.components.datasets.dataset import Dataset
from nnexp.components.datasets.files import Csv, Parquet
from nnexp.components.datasets.images import ImageFolder
from nnexp.components.datasets.memory import Memory
from nnexp.components.datasets.shapes import Shapes
from nnexp.components.datasets.synthetic import (
    Blobs,
    Circles,
    CorrelatedGaussians,
    Friedman1,
    Moons,
    PureNoise,
    Spirals,
)
from nnexp.components.datasets.text import Sequences, Text

__all__ = [
    "Blobs",
    "BreastCancer",
    "Circles",
    "Corpus",
    "CorrelatedGaussians",
    "Csv",
    "Dataset",
    "Diabetes",
    "Digits",
    "Friedman1",
    "Idx",
    "ImageFolder",
    "Iris",
    "Linnerud",
    "Memory",
    "Moons",
    "Npy",
    "Npz",
    "Parquet",
    "PureNoise",
    "Sequences",
    "Shapes",
    "Spirals",
    "Text",
    "Wine",
]
