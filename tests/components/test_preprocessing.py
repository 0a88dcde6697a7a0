import json
from fnmatch import fnmatchcase

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.impute import SimpleImputer
from sklearn.preprocessing import (
    MinMaxScaler,
    OneHotEncoder,
    OrdinalEncoder,
    QuantileTransformer,
    StandardScaler,
)

from nnexp.components import table
from nnexp.components.preprocessing import (
    Center,
    Impute,
    Lda,
    Log1p,
    MinMax,
    OneHot,
    Ordinal,
    Pca,
    PcaWhiten,
    Quantile,
    Standardize,
    Tokenize,
    ZcaWhiten,
)
from nnexp.components.preprocessing import step as steps_module
from nnexp.components.preprocessing.columns import Kinds
from nnexp.components.preprocessing.step import Affine, Moments, Step, TrainingRows
from nnexp.components.table import Features
from nnexp.errors import DataError
from nnexp.registry import choose

OURS = {n: c for n, c in Step.registered.items() if c.__module__.startswith("nnexp.")}
TRAIN = np.arange(0, 60, 2)
CLASSES = np.random.default_rng(3).integers(0, 3, 60)


def rows(features, index=None, target=None):
    index = np.arange(len(features)) if index is None else index
    return TrainingRows(features, index, CLASSES[index % 60] if target is None else target)


def fitted(step, values, target=None):
    """The state and the transformed values of a table or images."""
    features = values if isinstance(values, Features) else Features.of(values)
    state = step.fit(rows(features, target=target))
    return state, step.apply(features, state)


def table_of(numeric=("x0",), **more):
    """Kinds of a table with a numeric column, unless told otherwise."""
    return Kinds(numeric, **more)


def numbers(gaps=False, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((60, 5)) @ rng.standard_normal((5, 5)) * 10 + 3
    x[:, 4] = 7.0
    if gaps:
        x[rng.random(x.shape) < 0.2] = np.nan
    return x


def texts(seed=1):
    rng = np.random.default_rng(seed)
    x = np.empty((60, 2), object)
    x[:, 0] = rng.choice(["red", "green", "blue"], 60, p=[0.6, 0.3, 0.1])
    x[:, 1] = rng.choice(["a", "b", None], 60)
    x[1, 0] = "unseen"
    return x


def mixed(gaps=False):
    return Features(numbers(gaps), ("a", "b", "c", "d", "e"), texts(), ("colour", "kind"))


def counts():
    x = np.random.default_rng(4).poisson(3, (60, 3)) * 10.0
    return Features(x, ("a", "b", "c"), texts(), ("colour", "kind"))


def images():
    return Features.of(np.random.default_rng(2).integers(0, 256, (60, 2, 3, 4)).astype(np.uint8))


def _standardize(x):
    return StandardScaler().fit(x[TRAIN]).transform(x)


def _min_max(x):
    return MinMaxScaler((-1, 1)).fit(x[TRAIN]).transform(x)


def _pca(x):
    return PCA(3).fit(x[TRAIN]).transform(x)


def _whiten(x):
    return PCA(3, whiten=True).fit(x[TRAIN]).transform(x)


def _zca(x):
    """E D^(−1/2) Eᵀ(x − μ) is the inverse root of the covariance, where it has an inverse."""
    train = x[TRAIN]
    values, columns = np.linalg.eig(np.cov(train, rowvar=False))
    roots = [1 / np.sqrt(v) if v > 1e-9 * values.max() else 0.0 for v in values]
    return (x - train.mean(axis=0)) @ columns @ np.diag(roots) @ columns.T


def lda(x, index, classes, **options):
    """scikit-learn's, whose variance within classes is over 1/m, not 1/(m − C)."""
    fit = LinearDiscriminantAnalysis(**options).fit(x[index], classes[index])
    return fit, fit.transform(x) * np.sqrt(1 - len(fit.classes_) / len(index))


def _quantile(x, output="normal"):
    reference = QuantileTransformer(n_quantiles=20, output_distribution=output, subsample=None)
    return reference.fit(x[TRAIN]).transform(x)


def _one_hot(text):
    encoder = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    return encoder.fit(text[TRAIN]).transform(text)


def _ordinal(text):
    """scikit-learn's codes, of which ours leave 0 and 1 free."""
    encoder = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    missing = text == None  # noqa: E711
    return np.where(missing, 0, encoder.fit(text[TRAIN]).transform(text) + 2)


def phrases():
    """Numbers, and a column of text."""
    rng = np.random.default_rng(5)
    words = np.array(["the", "cat", "sat", "on", "a", "mat"])
    x = np.empty((60, 1), object)
    x[:, 0] = [" ".join(rng.choice(words, n)) for n in rng.integers(1, 6, 60)]
    x[3, 0], x[5, 0] = "the dog sat", None
    return Features(numbers(), ("a", "b", "c", "d", "e"), x, ("text",))


def _tokenize(text):
    """Codes in alphabetical order from 2, by a dictionary."""
    known = sorted({word for row in text[TRAIN, 0] for word in (row or "").split()})
    codes = [
        [known.index(w) + 2 if w in known else 1 for w in (t or "").split()] for t in text[:, 0]
    ]
    length = max(len(codes[row]) for row in TRAIN)
    return np.array([(row + [0] * length)[:length] for row in codes])


def _impute(x):
    return SimpleImputer(strategy="median", add_indicator=True).fit(x[TRAIN]).transform(x)


# Per component: the specs to try, features to try them on, and scikit-learn's answer.
CASES = {
    "standardize": (Standardize(), mixed(), lambda f: _standardize(f.numeric)),
    "standardize images": (Standardize(), images(), lambda f: _standardize(f.flat())),
    "min_max": (MinMax(low=-1.0), mixed(), lambda f: _min_max(f.numeric)),
    "min_max images": (MinMax(low=-1.0), images(), lambda f: _min_max(f.flat())),
    "pca": (Pca(components=3), mixed(), lambda f: _pca(f.numeric)),
    "pca images": (Pca(components=3), images(), lambda f: _pca(f.flat())),
    "pca_whiten": (PcaWhiten(components=3), mixed(), lambda f: _whiten(f.numeric)),
    "center": (Center(), mixed(), lambda f: f.numeric - f.numeric[TRAIN].mean(axis=0)),
    "center images": (Center(), images(), lambda f: f.flat() - f.flat()[TRAIN].mean(axis=0)),
    "zca_whiten": (ZcaWhiten(eps=0.0), mixed(), lambda f: _zca(f.numeric)),
    "zca_whiten images": (ZcaWhiten(eps=0.0), images(), lambda f: _zca(f.flat())),
    "lda": (Lda(), mixed(), lambda f: lda(f.numeric, TRAIN, CLASSES)[1]),
    "quantile": (Quantile(quantiles=20), counts(), lambda f: _quantile(f.numeric)),
    "quantile uniform": (
        Quantile(quantiles=20, output="uniform"),
        counts(),
        lambda f: _quantile(f.numeric, "uniform"),
    ),
    "log1p": (Log1p(), counts(), lambda f: np.log(1 + f.numeric)),
    "log1p images": (Log1p(), images(), lambda f: np.log(1 + f.flat())),
    "one_hot": (
        OneHot(),
        mixed(),
        lambda f: np.concatenate([f.numeric, _one_hot(f.categorical)], axis=1),
    ),
    "impute": (Impute(indicator=True), mixed(gaps=True), lambda f: _impute(f.numeric)),
    "ordinal": (
        Ordinal(),
        mixed(),
        lambda f: np.concatenate([f.numeric, _ordinal(f.categorical)], axis=1),
    ),
    "tokenize": (
        Tokenize(),
        phrases(),
        lambda f: np.concatenate([f.numeric, _tokenize(f.categorical)], axis=1),
    ),
}


def up_to_sign(found, expected):
    return found * np.sign(np.sum(found * expected, axis=0))


def test_every_step_has_a_reference():
    assert {name.split()[0] for name in CASES} == set(OURS)


@pytest.mark.parametrize("case", CASES)
class TestContract:
    """What every step does."""

    def test_agrees_with_the_reference(self, case):
        step, features, reference = CASES[case]
        out = step.apply(features, step.fit(rows(features, TRAIN))).flat()
        expected = reference(features)
        assert out.shape == expected.shape
        if "pca" in case or "lda" in case:
            out = up_to_sign(out, expected)
        np.testing.assert_allclose(out, expected, rtol=1e-9, atol=1e-9)

    def test_state_can_be_stored_without_pickle(self, case):
        step, features, _ = CASES[case]
        state = step.fit(rows(features, TRAIN))
        assert isinstance(state["notes"], list)
        for value in state.values():
            if isinstance(value, np.ndarray):
                assert value.dtype == np.float64
            else:
                assert json.loads(json.dumps(value)) == value

    def test_pieces_and_whole_agree(self, case, monkeypatch):
        step, features, _ = CASES[case]
        whole = step.fit(rows(features, TRAIN))
        monkeypatch.setattr(table, "CHUNK_ROWS", 7)
        pieces = step.fit(rows(features, TRAIN))
        assert whole.keys() == pieces.keys()
        np.testing.assert_allclose(
            step.apply(features, pieces).flat(),
            step.apply(features, whole).flat(),
            rtol=1e-10,
            atol=1e-10,
        )

    def test_only_training_rows_matter(self, case):
        step, features, _ = CASES[case]
        other = np.setdiff1d(np.arange(60), TRAIN)
        numeric = features.numeric.copy()
        numeric[other] = 99
        categorical = features.categorical.copy()
        categorical[other] = "else"
        changed = Features(numeric, features.names, categorical, features.categorical_names)
        one, two = (step.fit(rows(f, TRAIN)) for f in (features, changed))
        for key, value in one.items():
            np.testing.assert_array_equal(value, two[key])

    def test_apply_is_pure_and_works_row_by_row(self, case):
        step, features, _ = CASES[case]
        numeric, categorical = features.numeric.copy(), features.categorical.copy()
        state = step.fit(rows(features, TRAIN))
        whole = step.apply(features, state)
        part = step.apply(features.rows(np.array([5, 3])), state)
        np.testing.assert_array_equal(part.categorical, whole.categorical[[5, 3]])
        np.testing.assert_allclose(part.numeric, whole.numeric[[5, 3]], rtol=1e-12, atol=1e-12)
        np.testing.assert_array_equal(features.numeric, numeric)
        np.testing.assert_array_equal(features.categorical, categorical)
        assert len(set(whole.names)) == len(whole.names)

    def test_affine_is_the_same_map(self, case):
        step, features, _ = CASES[case]
        state = step.fit(rows(features, TRAIN))
        affine = step.affine(features, state)
        others = ("one_hot", "impute", "quantile", "log1p", "ordinal", "tokenize")
        assert (affine is None) == (step.component in others)
        if affine is not None:
            out = step.apply(features, state).flat()
            np.testing.assert_allclose(affine(features.flat()), out, rtol=1e-9, atol=1e-9)

    def test_foretells_what_it_leaves(self, case):
        step, features, _ = CASES[case]

        def kinds(f):
            gaps = np.isnan(f.flat()).any(axis=0)
            missing = frozenset(np.array(f.labels)[gaps])
            return Kinds(f.names, f.categorical_names, (), missing, f.is_image)

        assert step.problem(kinds(features)) is None
        out = kinds(step.apply(features, step.fit(rows(features, TRAIN))))
        foretold = step.after(kinds(features))
        assert (foretold.text, foretold.missing, foretold.image) == (
            out.text,
            out.missing,
            out.image,
        )
        rest = [name for name in out.numeric if name not in foretold.numeric]
        assert [name for name in out.numeric if name not in rest] == list(foretold.numeric)
        assert all(any(fnmatchcase(name, glob) for glob in foretold.made) for name in rest)

    def test_of_some_columns_is_itself_and_leaves_the_others(self, case):
        step, features, _ = CASES[case]
        some = step.model_copy(update={"columns": [*step.suits]})
        if features.is_image:
            assert "an image has none" in some.problem(Kinds(image=True))
            return
        extra = np.arange(60.0) - 20
        extra[7] = np.nan
        more = Features(
            np.insert(features.numeric, 1, extra, axis=1),
            (features.names[0], "extra", *features.names[1:]),
            np.insert(features.categorical, 0, "word", axis=1),
            ("note", *features.categorical_names),
        )
        kept = {"numeric": features.names, "categorical": features.categorical_names}
        some = step.model_copy(update={"columns": [n for kind in step.suits for n in kept[kind]]})
        state, alone = some.fit(rows(more, TRAIN)), step.fit(rows(features, TRAIN))
        out, expected = some.apply(more, state), step.apply(features, alone)
        at = {name: place for place, name in enumerate(out.names)}
        assert at.keys() == {*expected.names, "extra"}
        np.testing.assert_array_equal(out.numeric[:, at.pop("extra")], extra)
        np.testing.assert_array_equal(out.numeric[:, list(at.values())], expected.numeric)
        assert tuple(at) == expected.names
        assert out.categorical_names == ("note", *expected.categorical_names)
        np.testing.assert_array_equal(out.categorical[:, 1:], expected.categorical)
        assert some.unusual(more, state) == step.unusual(features, alone)
        affine = some.affine(more, state)
        if affine is not None:
            whole = np.flatnonzero(~np.isnan(extra))  # a matrix spreads what is missing
            found = affine(more.rows(whole).flat())
            np.testing.assert_allclose(found, out.flat()[whole], rtol=1e-9, atol=1e-9)

    def test_comes_back_from_its_dump(self, case):
        step = CASES[case][0]
        assert choose(Step, step.dump()) == step


class TestScaling:
    def test_constant_columns_are_centred_and_told(self):
        for step in (Standardize(), MinMax()):
            state, out = fitted(step, np.array([[0.1, 1.0], [0.1, 3.0], [0.1, 4.0]]))
            np.testing.assert_array_equal(out.numeric[:, 0], 0)
            assert state["notes"] == [
                f"{step.component}: constant in training, so only centred: x0"
            ]
            new = step.apply(Features.of(np.array([[1.1, 1.0]])), state)
            assert new.numeric[0, 0] == pytest.approx(1)

    def test_per_channel_and_global(self):
        x = images()
        for step in (Standardize(per="channel"), MinMax(per="channel")):
            out = fitted(step, x)[1].numeric
            assert out.shape == (60, 2, 3, 4)
            moved = np.moveaxis(out, 1, -1).reshape(-1, 2)
            scaler = StandardScaler() if step.component == "standardize" else MinMaxScaler()
            raw = np.moveaxis(x.numeric, 1, -1).reshape(-1, 2).astype(float)
            np.testing.assert_allclose(moved, scaler.fit_transform(raw), atol=1e-12)
        out = fitted(Standardize(per="global"), x)[1].numeric
        assert out.mean() == pytest.approx(0, abs=1e-12)
        assert out.std() == pytest.approx(1)
        out = fitted(MinMax(per="global"), x)[1].numeric
        assert (out.min(), out.max()) == (0, 1)

    def test_factors(self):
        x = numbers()
        plain, weighed = (
            fitted(s, x)[1].numeric for s in (Standardize(), Standardize(factors={"x1": 0.5}))
        )
        np.testing.assert_allclose(weighed, plain * [1, 0.5, 1, 1, 1])
        with pytest.raises(DataError, match="there is no column x11; did you mean x1"):
            fitted(Standardize(factors={"x11": 0.5}), x)
        with pytest.raises(ValueError, match="x1: 0 would delete it"):
            Standardize(factors={"x1": 0.0})
        with pytest.raises(ValueError, match="x1: 1e\\+07 is no factor"):
            Standardize(factors={"x1": 1e7})
        wrong = Standardize(factors={"x11": 0.5})
        message = "factors: there is no column x11; did you mean x1?"
        assert wrong.problem(table_of(("x0", "x1"))) == message
        assert wrong.problem(table_of(made=("x1*",))) is None

    def test_range_bounds(self):
        with pytest.raises(ValueError, match="must be above `low`"):
            MinMax(low=1.0, high=1.0)

    def test_channel_needs_images(self):
        assert "needs images" in Standardize(per="channel").problem(table_of())
        assert Standardize(per="channel").problem(Kinds(image=True)) is None
        assert "no numeric column" in Standardize().problem(Kinds(text=("c",)))
        assert "in x0: put `impute` before it" in MinMax().problem(
            table_of(missing=frozenset({"x0"}))
        )

    def test_signals_have_channels_too(self):
        x = Features.of(np.random.default_rng(0).random((20, 3, 7)))
        out = fitted(Standardize(per="channel"), x)[1].numeric
        np.testing.assert_allclose(out.mean(axis=(0, 2)), 0, atol=1e-12)
        np.testing.assert_allclose(out.std(axis=(0, 2)), 1)

    def test_centring_tells_nothing_and_is_exact_for_constants(self):
        state, out = fitted(Center(), np.array([[0.1, 1.0], [0.1, 3.0], [0.1, 4.0]]))
        np.testing.assert_array_equal(out.numeric[:, 0], 0)
        assert state["notes"] == []

    @settings(deadline=None)
    @given(
        x=hnp.arrays(
            np.float64,
            st.tuples(st.integers(1, 30), st.integers(1, 4)),
            elements=st.floats(-1e6, 1e6).map(lambda v: round(v, 3)),
        ),
        size=st.integers(1, 7),
    )
    def test_merged_moments_are_the_whole_ones(self, x, size):
        plain, products = Moments(), Moments(products=True)
        for start in range(0, len(x), size):
            plain.add(x[start : start + size])
            products.add(x[start : start + size])
        deviations = x - x.mean(axis=0)
        scale = 1 + np.abs(x).max() ** 2 * len(x)
        np.testing.assert_allclose(plain.mean, x.mean(axis=0), atol=1e-12 * scale)
        np.testing.assert_allclose(plain.m2, (deviations**2).sum(axis=0), atol=1e-12 * scale)
        np.testing.assert_allclose(products.m2, deviations.T @ deviations, atol=1e-12 * scale)
        np.testing.assert_array_equal(plain.constant, np.ptp(x, axis=0) == 0)
        assert plain.count == len(x)

    def test_large_offsets_do_not_cancel(self):
        x = 1e9 + np.random.default_rng(0).standard_normal((1000, 1))
        moments = Moments()
        for start in range(0, 1000, 100):
            moments.add(x[start : start + 100])
        assert moments.m2[0] / 1000 == pytest.approx(x.var(), rel=1e-6)

    def test_composed_maps(self):
        rng = np.random.default_rng(0)
        x = rng.standard_normal((5, 3))
        diagonal = Affine(rng.standard_normal(3), rng.standard_normal(3))
        matrix = Affine(rng.standard_normal((3, 3)), rng.standard_normal(3))
        for first in (diagonal, matrix):
            for second in (diagonal, matrix):
                np.testing.assert_allclose(first.then(second)(x), second(first(x)))


class TestPca:
    @pytest.mark.parametrize("cls", [Pca, PcaWhiten])
    @pytest.mark.parametrize("components", [1, 10, 0.5, 0.99])
    @pytest.mark.parametrize("n", [1000, 40])
    def test_digits_agree_with_scikit_learn(self, cls, components, n):
        x = load_digits().data[:n]
        reference = PCA(components, whiten=cls is PcaWhiten, svd_solver="full").fit(x)
        state, out = fitted(cls(components=components), x)
        expected = reference.transform(x)
        assert out.numeric.shape == expected.shape
        np.testing.assert_allclose(up_to_sign(out.numeric, expected), expected, atol=1e-8)
        np.testing.assert_allclose(state["variances"], reference.explained_variance_, rtol=1e-9)

    def test_whitened_covariance_is_the_identity(self):
        x = load_digits().data
        for step in (PcaWhiten(components=0.99), PcaWhiten(components=30), PcaWhiten(eps=0.0)):
            _, out = fitted(step, x)
            covariance = np.cov(out.numeric, rowvar=False)
            np.testing.assert_allclose(covariance, np.eye(len(covariance)), atol=1e-8)

    def test_eps_is_a_share_of_the_mean_variance_when_all_are_kept(self):
        x = load_digits().data
        state, _ = fitted(PcaWhiten(), x)
        eps = 1e-5 * x.var(axis=0, ddof=1).mean()
        np.testing.assert_allclose(state["scale"] ** 2, state["variances"] + eps, rtol=1e-9)
        given_eps, _ = fitted(PcaWhiten(components=5, eps=2.0), x)
        np.testing.assert_allclose(given_eps["scale"] ** 2, given_eps["variances"] + 2)

    def test_directions_without_variance_are_dropped_and_told(self):
        rng = np.random.default_rng(0)
        x = rng.standard_normal((50, 3)) @ rng.standard_normal((3, 6))
        state, out = fitted(Pca(), x)
        assert out.numeric.shape == (50, 3)
        assert out.names == ("pc1", "pc2", "pc3")
        assert "pca: 3 directions without variance are dropped" in state["notes"]
        assert fitted(PcaWhiten(components=5), x)[1].numeric.shape == (50, 3)

    def test_signs_do_not_depend_on_the_method(self, monkeypatch):
        x = np.random.default_rng(0).standard_normal((6, 6)) * np.arange(1, 7)
        small = fitted(Pca(), x)[0]["directions"]
        monkeypatch.setattr("nnexp.components.preprocessing.projections.SAMPLE_BYTES", 0)
        np.testing.assert_allclose(fitted(Pca(), x)[0]["directions"], small, atol=1e-10)
        largest = np.abs(small).argmax(axis=1)
        assert (small[np.arange(len(small)), largest] > 0).all()

    def test_1_is_a_count_and_one_point_zero_an_error_that_names_both(self):
        assert fitted(Pca(components=1), numbers())[1].width == 1
        with pytest.raises(ValueError, match=r"one component or all of the variance"):
            Pca(components=1.0)
        for wrong in (0, -1, 1.5, 0.0, -0.5):
            with pytest.raises(ValueError, match="neither a count nor a share"):
                Pca(components=wrong)
        with pytest.raises(ValueError, match="components"):
            Pca(components=True)

    def test_what_can_not_be_projected(self, monkeypatch):
        with pytest.raises(DataError, match="components is 9, but there are 5 features"):
            fitted(Pca(components=9), numbers())
        with pytest.raises(DataError, match="no feature varies"):
            fitted(Pca(), np.ones((5, 3)))
        with pytest.raises(DataError, match="two training rows"):
            fitted(Pca(), np.ones((1, 3)))
        monkeypatch.setattr("nnexp.components.preprocessing.projections.WIDEST", 4)
        for step in (Pca(), Lda()):
            with pytest.raises(DataError, match=f"{step.component}: 5 features are too many"):
                fitted(step, numbers())


class TestZca:
    def test_covariance_is_the_identity_and_the_shape_stays(self):
        x = np.random.default_rng(0).standard_normal((200, 1, 3, 4))
        x += np.random.default_rng(1).standard_normal((200, 1, 1, 1))
        _, out = fitted(ZcaWhiten(components=12), Features.of(x))
        assert out.numeric.shape == x.shape
        np.testing.assert_allclose(np.cov(out.flat(), rowvar=False), np.eye(12), atol=1e-9)
        # of all whitenings it is the nearest to the input: its cross-covariance is symmetric
        cross = out.flat().T @ (x.reshape(200, 12) - x.reshape(200, 12).mean(axis=0))
        np.testing.assert_allclose(cross, cross.T, atol=1e-9)

    def test_null_directions_stay_0_on_new_data_too_and_are_told(self):
        rng = np.random.default_rng(0)
        x = rng.standard_normal((50, 3)) @ rng.standard_normal((3, 6))
        state, _ = fitted(ZcaWhiten(), x)
        assert "zca_whiten: 3 directions without variance are left at 0" in state["notes"]
        null = np.linalg.svd(x - x.mean(axis=0))[2][3:]
        new = Features.of(rng.standard_normal((5, 6)) * 100)
        np.testing.assert_allclose(ZcaWhiten().apply(new, state).numeric @ null.T, 0, atol=1e-9)

    def test_eps_is_pca_whitens(self):
        x = load_digits().data
        for options in ({}, {"components": 10}, {"eps": 0.5}):
            ours, theirs = (fitted(cls(**options), x)[0] for cls in (ZcaWhiten, PcaWhiten))
            np.testing.assert_array_equal(ours["scale"], theirs["scale"])


class TestLda:
    @pytest.mark.parametrize("components", [None, 1, 4])
    def test_digits_agree_with_scikit_learn(self, components):
        x, y = load_digits(return_X_y=True)
        reference, expected = lda(x, np.arange(len(x)), y, n_components=components)
        state, out = fitted(Lda(components=components), x, y)
        assert out.names == tuple(f"ld{i + 1}" for i in range(components or 9))
        np.testing.assert_allclose(up_to_sign(out.numeric, expected), expected, atol=1e-7)
        assert f"lda: {components or 9} of 9 directions" in state["notes"][0]
        share = reference.explained_variance_ratio_.sum()
        assert f" {share:.2%} of the classes' spread" in state["notes"][0]

    def test_variance_within_classes_is_1(self):
        x, y = load_digits(return_X_y=True)
        out = fitted(Lda(), x, y)[1].numeric
        apart = out - np.stack([out[y == c].mean(axis=0) for c in range(10)])[y]
        np.testing.assert_allclose(apart.T @ apart / (len(x) - 10), np.eye(9), atol=1e-9)

    def test_what_is_constant_within_the_classes_is_left_out_and_told(self):
        y = np.arange(30) % 3
        x = np.column_stack([0.1 * y, np.random.default_rng(0).standard_normal(30)])
        state, out = fitted(Lda(), x, y)
        assert state["notes"][1] == "lda: constant within every class, so left out: x0"
        assert out.width == 1

    def test_classes_of_one_example_and_absent_ones(self):
        rng = np.random.default_rng(0)
        y = np.array([0, 0, 0, 2, 2, 2, 5])
        _, out = fitted(Lda(), rng.standard_normal((7, 2)), y)
        assert np.isfinite(out.numeric).all()
        assert out.width == 2

    def test_what_it_can_not_project(self):
        rng = np.random.default_rng(0)
        with pytest.raises(DataError, match="components is 3, and 3 classes in training allow 2"):
            fitted(Lda(components=3), numbers())
        with pytest.raises(DataError, match="no feature varies within the classes"):
            fitted(Lda(), rng.standard_normal((4, 2)), np.arange(4))
        with pytest.raises(DataError, match="no feature varies within the classes"):
            fitted(Lda(), np.repeat([[1.0], [2.0]], 5, axis=0), np.repeat([0, 1], 5))
        with pytest.raises(DataError, match="the same means"):
            fitted(Lda(), np.array([[0.0], [1.0], [0.0], [1.0]]), np.array([0, 0, 1, 1]))
        assert Lda().problem(table_of(task="classification")) is None
        assert "the target is real-valued" in Lda().problem(table_of(task="regression"))
        assert "the target is labels" in Lda().problem(table_of(task="multilabel"))


class TestQuantile:
    def test_becomes_normal(self):
        x = np.random.default_rng(0).lognormal(size=(5000, 1))
        out = np.sort(fitted(Quantile(), x)[1].numeric[:, 0])
        assert np.abs(out[50:-50].std() - 1) < 0.1
        assert np.median(out) == pytest.approx(0, abs=1e-3)
        expected = QuantileTransformer(output_distribution="normal", subsample=None)
        np.testing.assert_allclose(out, np.sort(expected.fit_transform(x)[:, 0]), atol=1e-8)

    def test_values_beyond_training_go_to_the_ends(self):
        step = Quantile(output="uniform")
        state, _ = fitted(step, np.arange(5.0)[:, None])
        new = step.apply(Features.of(np.array([[-9.0], [0.5], [9.0]])), state).numeric[:, 0]
        np.testing.assert_allclose(new, [0, 0.125, 1])
        normal = Quantile().apply(Features.of(np.array([[-9.0], [9.0]])), state).numeric[:, 0]
        np.testing.assert_allclose(normal, [-5.199337582290661, 5.199337582290661])

    def test_constant_columns_become_the_middle_and_are_told(self):
        for n in (1, 5):
            state, out = fitted(Quantile(), np.full((n, 1), 0.1))
            assert state["notes"] == ["quantile: constant in training: x0"]
            np.testing.assert_allclose(out.numeric, 0, atol=1e-12)

    def test_larger_data_are_sampled_and_that_is_told(self, monkeypatch):
        monkeypatch.setattr(steps_module, "SAMPLE_BYTES", 10 * 8)
        state, _ = fitted(Quantile(), np.arange(40.0)[:, None])
        assert state["notes"] == ["quantile: of 10 rows of 40"]
        np.testing.assert_allclose(state["quantiles"][:, 0], np.arange(0, 40, 4))

    def test_needs_columns(self):
        assert "an image has none" in Quantile().problem(Kinds(image=True))


class TestLog1p:
    def test_negative_values_are_errors_in_training_and_told_in_new_data(self):
        x = np.array([[1.0, 2.0], [0.0, -3.0], [4.0, -0.5]])
        with pytest.raises(DataError, match=r"negative ones in x1 \(down to -3\); choose others"):
            fitted(Log1p(), x)
        state, _ = fitted(Log1p(), np.abs(x))
        out = Log1p().apply(Features.of(x), state)
        np.testing.assert_allclose(out.numeric, np.log(1 + np.maximum(x, 0)))
        found = Log1p().unusual(Features.of(x), state)
        assert found == {"x1: negative, taken as 0 by log1p": 2}
        shades = Features.of(x.reshape(3, 1, 1, 2))
        assert Log1p().unusual(shades, state) == {"negative values, taken as 0 by log1p": 2}


class TestOneHot:
    def text(self, *values):
        column = np.array([[v] for v in values], object)
        return Features(np.empty((len(column), 0)), (), column, ("c",))

    def test_names_and_unseen_categories(self):
        features = mixed()
        state = OneHot().fit(rows(features, TRAIN))
        out = OneHot().apply(features, state)
        assert out.names[5:] == (
            *("colour=blue", "colour=green", "colour=red"),
            *("kind=a", "kind=b", "kind=(missing)"),
        )
        assert out.numeric[1, 5:8].tolist() == [0, 0, 0]
        assert OneHot().unusual(features, state) == {
            "colour: category unseen in training, taken as none": 1
        }
        assert OneHot().unusual(features.rows(TRAIN), state) == {}

    @pytest.mark.parametrize("least", [2, 3, 0.3, 100])
    def test_rare_categories_share_a_column(self, least):
        features = self.text(*"aaaabbbccd")
        out = fitted(OneHot(min_frequency=least), features)[1]
        encoder = OneHotEncoder(
            min_frequency=least, handle_unknown="ignore", sparse_output=False
        ).fit(features.categorical)
        np.testing.assert_array_equal(out.numeric, encoder.transform(features.categorical))
        assert out.names[-1] == "c=(rare)"

    def test_identifiers_are_suspected(self):
        state, _ = fitted(OneHot(), self.text(*map(str, range(30))))
        assert "c has 30 categories in 30 rows" in state["notes"][0]

    def test_bounds_and_problems(self):
        for wrong in (0, -1, 1.0, 0.0):
            with pytest.raises(ValueError, match="neither a count nor a share"):
                OneHot(min_frequency=wrong)
        assert "no text column" in OneHot().problem(table_of())
        assert "no text column" in OneHot().problem(Kinds(image=True))


class TestImpute:
    @pytest.mark.parametrize("strategy", ["median", "mean", "most_frequent"])
    def test_agrees_with_scikit_learn(self, strategy):
        x = np.round(numbers(gaps=True))
        out = fitted(Impute(strategy=strategy), x)[1]
        reference = SimpleImputer(strategy=strategy).fit_transform(x)
        np.testing.assert_allclose(out.numeric, reference, rtol=1e-12)

    def test_text_takes_the_most_frequent_value(self):
        features = mixed(gaps=True)
        out = fitted(Impute(), features)[1]
        reference = SimpleImputer(strategy="most_frequent", missing_values=None)
        np.testing.assert_array_equal(
            out.categorical, reference.fit_transform(features.categorical)
        )

    def test_counts_are_told_and_indicators_named(self):
        x = np.array([[1.0, np.nan], [2.0, np.nan], [4.0, 3.0]])
        state, out = fitted(Impute(indicator=True), x)
        assert state["notes"] == ["impute: filled training values of x1 (2)"]
        assert out.names == ("x0", "x1", "x1 is missing")
        np.testing.assert_array_equal(out.numeric, [[1, 3, 1], [2, 3, 1], [4, 3, 0]])
        new = Impute(indicator=True).apply(Features.of(np.array([[np.nan, 5.0]])), state)
        np.testing.assert_array_equal(new.numeric, [[2, 5, 0]])

    def test_images_keep_their_shape(self):
        x = np.random.default_rng(0).random((6, 1, 2, 2))
        x[0, 0, 1, 1] = np.nan
        out = fitted(Impute(), x)[1]
        assert out.numeric[0, 0, 1, 1] == np.median(x[1:, 0, 1, 1])
        assert "images have none" in Impute(indicator=True).problem(Kinds(image=True))
        assert "no numeric or text column" in Impute().problem(Kinds())

    def test_columns_without_any_value_are_errors(self):
        x = np.array([[1.0, np.nan], [2.0, np.nan]])
        with pytest.raises(DataError, match=r"no value in any training row: x1; `drop` it"):
            fitted(Impute(), x)
        text = Features(x[:, :1], ("a",), np.array([[None], [None]], object), ("c",))
        with pytest.raises(DataError, match="training row: c"):
            fitted(Impute(), text)

    def test_huge_data_are_sampled_and_that_is_told(self, monkeypatch):
        monkeypatch.setattr(steps_module, "SAMPLE_BYTES", 10 * 8)
        x = np.arange(40.0)[:, None]
        state, _ = fitted(Impute(), x)
        assert state["notes"] == ["impute: median of 10 rows of 40"]
        assert state["fill"].tolist() == [18.0]
        x[::4] = np.nan
        with pytest.raises(DataError, match="too few values for a median"):
            fitted(Impute(), x)
        assert fitted(Impute(strategy="mean"), x)[0]["fill"][0] == pytest.approx(np.nanmean(x))
