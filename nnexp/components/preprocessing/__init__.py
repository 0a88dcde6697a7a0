"""The steps of preprocessing, which stand in modules by topic."""

from nnexp.components.preprocessing.categories import OneHot
from nnexp.components.preprocessing.distributions import Log1p, Quantile
from nnexp.components.preprocessing.gaps import Impute
from nnexp.components.preprocessing.projections import Lda, Pca, PcaWhiten, ZcaWhiten
from nnexp.components.preprocessing.scaling import Center, MinMax, Standardize
from nnexp.components.preprocessing.sequences import Ordinal, Tokenize
from nnexp.components.preprocessing.step import Step

__all__ = [
    "Center",
    "Impute",
    "Lda",
    "Log1p",
    "MinMax",
    "OneHot",
    "Ordinal",
    "Pca",
    "PcaWhiten",
    "Quantile",
    "Standardize",
    "Step",
    "Tokenize",
    "ZcaWhiten",
]
