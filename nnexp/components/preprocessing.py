"""The steps of preprocessing, which stand in modules by topic."""

from nnexp.components.categories import OneHot
from nnexp.components.distributions import Log1p, Quantile
from nnexp.components.gaps import Impute
from nnexp.components.projections import Lda, Pca, PcaWhiten, ZcaWhiten
from nnexp.components.scaling import Center, MinMax, Standardize
from nnexp.components.steps import Step

__all__ = [
    "Center",
    "Impute",
    "Lda",
    "Log1p",
    "MinMax",
    "OneHot",
    "Pca",
    "PcaWhiten",
    "Quantile",
    "Standardize",
    "Step",
    "ZcaWhiten",
]
