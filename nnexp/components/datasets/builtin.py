"""The data sets that scikit-learn ships; their files are read without importing scikit-learn."""

from __future__ import annotations

import gzip
import importlib.util
from dataclasses import replace
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

from nnexp.components.datasets.dataset import Dataset
from nnexp.components.table import Features, FileInfo, Table, file_info
from nnexp.errors import DataError


class _Builtin(Dataset):
    """A data set that scikit-learn ships; its file is read without importing scikit-learn."""

    file: ClassVar[str]
    columns: ClassVar[tuple[str, ...]]

    def load(self, root: Path = Path(), *, labelled: bool = True) -> Table:
        lines, info = _shipped(self.file)
        head, body = lines.split(b"\n", 1)
        classes = head.decode().strip().split(",")[2:]
        values = _numbers(body, len(self.columns) + 1)
        return Table(
            features=Features.of(values[:, :-1], self.columns),
            target=values[:, -1].astype(np.int64),
            classes=tuple(classes),
            target_names=("target",),
            ids=np.arange(len(values)),
            files=(info,),
        )


class Digits(Dataset):
    """Digits: 1,797 handwritten digits, 8 × 8 grey levels 0 … 16, 10 classes (UCI test set).

    Use: a first image problem that trains in seconds.

    Source: Alpaydin & Kaynak (1998), "Cascading classifiers".
    """

    name: Literal["digits"] = "digits"

    def load(self, root: Path = Path(), *, labelled: bool = True) -> Table:
        lines, info = _shipped("digits.csv.gz")
        values = _numbers(lines, 65)
        return Table(
            features=Features.of(values[:, :-1].astype(np.uint8).reshape(-1, 1, 8, 8)),
            target=values[:, -1].astype(np.int64),
            classes=tuple("0123456789"),
            target_names=("digit",),
            ids=np.arange(len(values)),
            files=(info,),
        )


class Iris(_Builtin):
    """Iris: 150 flowers, 4 lengths in cm, 3 species (Fisher 1936).

    Use: to try something out; it is too small and too easy to rank recipes.

    Source: Fisher (1936), "The use of multiple measurements in taxonomic problems".
    """

    name: Literal["iris"] = "iris"
    file = "iris.csv"
    columns = ("sepal length (cm)", "sepal width (cm)", "petal length (cm)", "petal width (cm)")


class Wine(_Builtin):
    """Wine: 178 wines, 13 chemical measurements, 3 cultivars.

    Use: to see what scaling does: the columns' spreads differ by a factor of a thousand.

    Source: Forina et al. (1988), PARVUS.
    """

    name: Literal["wine"] = "wine"
    file = "wine_data.csv"
    columns = (
        *("alcohol", "malic_acid", "ash", "alcalinity_of_ash", "magnesium", "total_phenols"),
        *("flavanoids", "nonflavanoid_phenols", "proanthocyanins", "color_intensity", "hue"),
        *("od280/od315_of_diluted_wines", "proline"),
    )


class BreastCancer(_Builtin):
    """Breast cancer Wisconsin (diagnostic): 569 tumours, 30 measurements, malignant or benign.

    Use: a small problem of two classes with strongly correlated columns.

    Source: Street, Wolberg & Mangasarian (1993), "Nuclear feature extraction for breast tumor
    diagnosis".
    """

    name: Literal["breast_cancer"] = "breast_cancer"
    file = "breast_cancer.csv"
    columns = tuple(
        form.format(what)
        for form in ("mean {}", "{} error", "worst {}")
        for what in (
            *("radius", "texture", "perimeter", "area", "smoothness", "compactness"),
            *("concavity", "concave points", "symmetry", "fractal dimension"),
        )
    )


class Diabetes(Dataset):
    """Diabetes: 442 patients, 10 measurements, disease progression after a year (regression).

    The columns are in their own units, as `load_diabetes(scaled=False)` gives them: scaling over
    all rows would tell the training rows something about the test rows.

    Use: a small, noisy regression problem, where regularization pays.

    Source: Efron et al. (2004), "Least angle regression".
    """

    name: Literal["diabetes"] = "diabetes"

    def load(self, root: Path = Path(), *, labelled: bool = True) -> Table:
        columns = ("age", "sex", "bmi", "bp", "s1", "s2", "s3", "s4", "s5", "s6")
        data, data_info = _shipped("diabetes_data_raw.csv.gz")
        target, target_info = _shipped("diabetes_target.csv.gz")
        values = _numbers(data.replace(b" ", b","), len(columns))
        return Table(
            features=Features.of(values, columns),
            target=_numbers(target, 1),
            classes=None,
            target_names=("progression",),
            ids=np.arange(len(values)),
            files=(data_info, target_info),
        )


class Linnerud(Dataset):
    """Linnerud: 20 men, 3 exercises; weight, waist and pulse to predict (regression).

    Use: to try several targets at once; 20 examples are too few to rank anything.

    Source: Tenenhaus (1998), "La régression PLS: théorie et pratique".
    """

    name: Literal["linnerud"] = "linnerud"

    def load(self, root: Path = Path(), *, labelled: bool = True) -> Table:
        exercise, exercise_info = _shipped("linnerud_exercise.csv")
        physiological, physiological_info = _shipped("linnerud_physiological.csv")
        values = _numbers(b" ".join(exercise.split()[3:]).replace(b" ", b","), 3)
        target = _numbers(b" ".join(physiological.split()[3:]).replace(b" ", b","), 3)
        return Table(
            features=Features.of(values, ("Chins", "Situps", "Jumps")),
            target=target,
            classes=None,
            target_names=("Weight", "Waist", "Pulse"),
            ids=np.arange(len(values)),
            files=(exercise_info, physiological_info),
        )


def _shipped(name: str) -> tuple[bytes, FileInfo]:
    found = importlib.util.find_spec("sklearn")
    folders = (found.submodule_search_locations if found else None) or []
    for folder in folders:
        path = Path(folder) / "datasets" / "data" / name
        if path.is_file():
            content = path.read_bytes()
            info = replace(file_info(path), path=f"scikit-learn/{name}")
            return (gzip.decompress(content) if name.endswith(".gz") else content), info
    raise DataError(f"{name}: the installed scikit-learn does not bring this file")


def _numbers(content: bytes, width: int) -> np.ndarray:
    """Comma-separated numbers as float64 `[n, width]`; ten times quicker than np.loadtxt."""
    text = content.strip().replace(b"\r", b"").replace(b"\n", b",")
    return np.fromstring(text.decode(), dtype=np.float64, sep=",").reshape(-1, width)
