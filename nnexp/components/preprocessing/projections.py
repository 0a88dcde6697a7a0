"""Steps that turn the features: principal directions, and those that tell classes apart."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, cast

import numpy as np
from pydantic import field_validator

from nnexp.components.preprocessing.columns import Kinds, shown
from nnexp.components.preprocessing.step import (
    SAMPLE_BYTES,
    Affine,
    Moments,
    State,
    Step,
    TrainingRows,
)
from nnexp.components.table import Features
from nnexp.errors import DataError
from nnexp.registry import param, rule


class _Projection(Step):
    """y = D(x − μ) / scale, D the directions `[K, F]`; images are flattened first."""

    prefix: ClassVar[str] = "pc"
    """What the new columns are called, before their number."""

    def _after(self, kinds: Kinds) -> Kinds:
        made = (f"{self.prefix}*",)
        return replace(kinds, numeric=(), made=made, image=False)

    def _apply(self, features: Features, state: State) -> Features:
        with one_blas_thread():
            scores = (features.flat() - state["mean"]) @ state["directions"].T / state["scale"]
        names = [f"{self.prefix}{i + 1}" for i in range(scores.shape[1])]
        return features.with_numeric(scores, names)

    def _affine(self, state: State) -> Affine:
        weight = state["directions"] / state["scale"][:, None]
        return Affine(weight, -weight @ state["mean"])


class _Principal(_Projection):
    """Principal directions of the training rows."""

    dropped: ClassVar[str] = "are dropped"
    """What becomes of directions without variance, for the note."""

    components: int | float | None = param(
        None,
        "how many: a count from 1, or the share of variance to keep, above 0 and below 1",
        when="null: all directions that have variance",
        also=("n_components", "k"),
    )

    @field_validator("components")
    @classmethod
    def _count_or_share(cls, value: int | float | None) -> int | float | None:
        if isinstance(value, float) and value == 1.0:
            raise rule(
                "1.0 could mean one component or all of the variance",
                allowed="1 (one component), a share such as 0.99, or null (all of them)",
            )
        if value is not None and (value <= 0 or (isinstance(value, float) and value > 1)):
            raise rule("is neither a count nor a share", "a count from 1, or 0 < share < 1")
        return value

    def _project(self, rows: TrainingRows) -> tuple[State, float]:
        """The state with scale 1, and the mean variance of a direction."""
        with one_blas_thread():
            mean, variances, directions, width = _principal(rows, self.component)
        if not len(variances):
            raise DataError(f"{self.component}: no feature varies in training")
        kept = self._kept(variances, width)
        share = variances[:kept].sum() / variances.sum()
        notes = [f"{self.component}: {kept} of {width} directions, {share:.2%} of the variance"]
        nothing = min(len(rows) - 1, width) - len(variances)
        if nothing:
            notes.append(f"{self.component}: {nothing} directions without variance {self.dropped}")
        state = {
            "mean": mean,
            "directions": directions[:kept],
            "variances": variances[:kept],
            "scale": np.ones(kept),
            "notes": notes,
        }
        return state, float(variances.sum() / width)

    def _kept(self, variances: np.ndarray, width: int) -> int:
        wanted = self.components
        if wanted is None:
            return len(variances)
        if isinstance(wanted, int):
            if wanted > width:
                raise DataError(
                    f"{self.component}: components is {wanted}, but there are {width} features"
                )
            return min(wanted, len(variances))
        shares = np.cumsum(variances) / variances.sum()
        return min(int(np.searchsorted(shares, wanted, side="right")) + 1, len(variances))


class Pca(_Principal):
    """Principal components: rotated so that features are uncorrelated, Eᵀ(x − μ).

    The variance of a component is over 1/(m − 1). Directions that hold less than 1e-10 of the
    largest one's are dropped, and reported.

    Use: for many correlated columns of one scale (else standardize them first).

    Source: Pearson (1901), "On lines and planes of closest fit to systems of points in space".
    """

    name: Literal["pca"] = "pca"

    def _fit(self, rows: TrainingRows) -> State:
        return self._project(rows)[0]


class _Whitening(_Principal):
    """Principal directions, and what their scores are divided by."""

    eps: float | None = param(
        None,
        "added to the variances, so that directions with nearly none do not explode on new data",
        when="null: 0 if components are limited, else 1e-5 of the mean variance",
        ge=0,
        le=1e6,
    )

    def _fit(self, rows: TrainingRows) -> State:
        state, mean_variance = self._project(rows)
        eps = self.eps
        if eps is None:
            eps = 1e-5 * mean_variance if self.components is None else 0.0
        state["scale"] = np.sqrt(state["variances"] + eps)
        return state


class PcaWhiten(_Whitening):
    """Principal components scaled to variance 1: D^(−1/2) Eᵀ(x − μ).

    Directions that hold less than 1e-10 of the largest one's variance are dropped, and reported.

    Use: as pca, where every direction should count alike; it makes noise in small ones as loud.

    Source: LeCun, Bottou, Orr & Müller (1998), "Efficient BackProp", section 4.3.
    """

    name: Literal["pca_whiten"] = "pca_whiten"
    also = ("whiten", "whitening")


class ZcaWhiten(_Whitening):
    """Whitened and rotated back, so as to stay near the input: E D^(−1/2) Eᵀ(x − μ).

    Columns keep their names and images their shape. Directions without variance stay 0, and are
    reported; so do those that `components` leaves out.

    Use: to whiten images for convolutions, which need neighbours to stay neighbours.

    Source: Bell & Sejnowski (1997), "The 'independent components' of natural scenes are edge
    filters".
    """

    name: Literal["zca_whiten"] = "zca_whiten"
    also = ("zca", "mahalanobis")
    dropped: ClassVar[str] = "are left at 0"

    def _after(self, kinds: Kinds) -> Kinds:
        return kinds

    def _apply(self, features: Features, state: State) -> Features:
        with one_blas_thread():
            scores = (features.flat() - state["mean"]) @ state["directions"].T / state["scale"]
            whitened = scores @ state["directions"]
        return features.with_numeric(whitened.reshape(len(features), *features.shape))

    def _affine(self, state: State) -> Affine:
        with one_blas_thread():
            directions = state["directions"]
            weight = directions.T @ (directions / state["scale"][:, None])
            return Affine(weight, -weight @ state["mean"])


class Lda(_Projection):
    """Fisher's projection: the directions that spread the classes most, for their spread inside.

    With C classes there are at most C − 1 directions, each of variance 1 within the classes. What
    does not vary within them can't be scaled: it is left out, and reported.

    Formula: wᵀS_b w / wᵀS_w w → max, S_w the scatter within classes, S_b that of their means

    Use: to bring many columns down to few that tell the classes apart; it looks at the targets, so
    with few examples its directions fit the training split too well.

    Source: Fisher (1936), "The use of multiple measurements in taxonomic problems"; Rao (1948).
    """

    name: Literal["lda"] = "lda"
    also = ("fisher", "linear_discriminant_analysis")
    prefix: ClassVar[str] = "ld"
    components: int | None = param(
        None,
        "how many directions, below the number of classes",
        when="null: all, one less than there are classes",
        also=("n_components", "k"),
        ge=1,
        le=10**6,
    )

    def _problem(self, kinds: Kinds) -> str | None:
        if kinds.task not in (None, "classification"):
            held = "real-valued" if kinds.task == "regression" else "labels"
            return f"needs classes to tell apart, and the target is {held}; pca needs none"
        return super()._problem(kinds)

    def _fit(self, rows: TrainingRows) -> State:
        codes = np.unique(rows.target, return_inverse=True)[1].reshape(-1)
        count = int(codes.max()) + 1
        if self.components is not None and self.components >= count:
            raise DataError(
                f"lda: components is {self.components}, and {count} classes in training allow "
                f"{count - 1} at most"
            )
        with one_blas_thread():
            classes = _class_means(rows, codes, count)
            directions, spread = _discriminants(rows, codes, classes)
        kept = min(self.components or len(spread), len(spread))
        share = spread[:kept].sum() / spread.sum()
        notes = [f"lda: {kept} of {count - 1} directions, {share:.2%} of the classes' spread"]
        if classes.constant.any():
            names = next(iter(rows)).labels
            flat = [name for name, same in zip(names, classes.constant, strict=True) if same]
            notes.append(f"lda: constant within every class, so left out: {shown(flat)}")
        return {
            "mean": classes.shares @ classes.means,
            "directions": directions[:kept],
            "scale": np.ones(kept),
            "notes": notes,
        }


@dataclass(frozen=True)
class _Classes:
    """Means `[C, F]` and shares `[C]` of the classes, and what is constant within each, `[F]`."""

    means: np.ndarray
    shares: np.ndarray
    constant: np.ndarray


def _class_means(rows: TrainingRows, codes: np.ndarray, count: int) -> _Classes:
    width = next(iter(rows)).width
    if width > WIDEST:
        raise DataError(_too_wide("lda", width))
    moments = [Moments() for _ in range(count)]
    start = 0
    for piece in rows:
        x, here = piece.flat(), codes[start : start + len(piece)]
        start += len(piece)
        for code in np.unique(here):
            moments[code].add(x[here == code])
    means = np.stack([np.where(m.constant, m.low, m.mean) for m in moments])
    constant = np.all([m.constant for m in moments], axis=0)
    return _Classes(means, np.array([m.count for m in moments]) / len(rows), constant)


def _discriminants(
    rows: TrainingRows, codes: np.ndarray, classes: _Classes
) -> tuple[np.ndarray, np.ndarray]:
    """Directions `[K, F]` of unit variance within classes, and the variance of the means along.

    Where the features vary within classes they are whitened there; the principal directions of the
    classes' means are then Fisher's.
    """
    freedom = len(rows) - len(classes.means)
    if freedom < 1 or classes.constant.all():
        raise DataError("lda: no feature varies within the classes of the training rows")
    scatter: np.ndarray | float = 0.0
    start = 0
    for piece in rows:
        apart = piece.flat() - classes.means[codes[start : start + len(piece)]]
        start += len(piece)
        scatter = scatter + apart.T @ apart
    within = np.asarray(scatter) / freedom
    used = np.flatnonzero(~classes.constant)
    deviation = np.sqrt(np.diag(within)[used])
    values, columns = np.linalg.eigh(within[np.ix_(used, used)] / np.outer(deviation, deviation))
    real = values > NULL_DIRECTION * values[-1]
    whiten = (columns[:, real] / np.sqrt(values[real])).T / deviation
    apart = classes.means - classes.shares @ classes.means
    spread = np.sqrt(classes.shares)[:, None] * (apart[:, used] @ whiten.T)
    _, singular, turns = np.linalg.svd(spread, full_matrices=False)
    told = singular > max(1e-5 * singular[0], 1e-12)
    if not told.any():
        raise DataError("lda: the classes have the same means in training")
    directions = np.zeros((int(told.sum()), within.shape[0]))
    directions[:, used] = turns[told] @ whiten
    return _signed(directions), singular[told] ** 2


def one_blas_thread() -> AbstractContextManager[object]:
    """Keeps products on one thread, so that their last bits do not depend on how many there are."""
    from threadpoolctl import threadpool_limits

    return cast(AbstractContextManager[object], threadpool_limits(limits=1, user_api="blas"))


NULL_DIRECTION = 1e-10
"""A direction has no variance if it has less than this share of the largest one's."""
WIDEST = 16_384
"""Most features for which the covariance matrix (2 GB at that width) is formed."""


def _principal(rows: TrainingRows, step: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """Mean `[F]`, variances over 1/(m − 1) `[K]` falling, directions `[K, F]`, and F.

    Directions without variance are left out. The sign is such that the entry of largest size is
    positive. Few rows of many features go through the singular values of the rows themselves.
    """
    width = next(iter(rows)).width
    if len(rows) < 2:
        raise DataError(f"{step}: needs two training rows or more; there are {len(rows)}")
    if len(rows) <= width and 8 * len(rows) * width <= SAMPLE_BYTES:
        x = np.concatenate([piece.flat() for piece in rows])
        mean = x.mean(axis=0)
        _, singular, vectors = np.linalg.svd(x - mean, full_matrices=False)
        variances = singular**2 / (len(rows) - 1)
    elif width <= WIDEST:
        moments = Moments(products=True)
        for piece in rows:
            moments.add(piece.flat())
        mean = moments.mean
        values, columns = np.linalg.eigh(moments.m2 / (len(rows) - 1))
        variances, vectors = values[::-1], columns.T[::-1]
    else:
        raise DataError(_too_wide(step, width))
    real = (variances > NULL_DIRECTION * variances[0]) & (variances > 0)
    variances, vectors = variances[real], vectors[real]
    return mean, variances, _signed(vectors), width


def _too_wide(step: str, width: int) -> str:
    return f"{step}: {width} features are too many; at most {WIDEST} can be handled"


def _signed(directions: np.ndarray) -> np.ndarray:
    """The directions `[K, F]` with the sign that makes the entry of largest size positive."""
    largest = np.argmax(np.abs(directions), axis=1)
    signs = np.sign(directions[np.arange(len(directions)), largest])
    return np.asarray(directions * signs[:, None])
