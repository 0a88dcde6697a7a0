import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.impute import SimpleImputer
from sklearn.preprocessing import MinMaxScaler, OneHotEncoder, StandardScaler

from nnexp.components import steps as steps_module
from nnexp.components import table
from nnexp.components.preprocessing import Impute, MinMax, OneHot, Pca, PcaWhiten, Standardize
from nnexp.components.steps import Affine, Kinds, Moments, Step, TrainingRows
from nnexp.components.table import Features
from nnexp.errors import DataError
from nnexp.registry import choose

OURS = {n: c for n, c in Step.registered.items() if c.__module__.startswith("nnexp.")}
TRAIN = np.arange(0, 60, 2)


def rows(features, index=None, target=None):
    index = np.arange(len(features)) if index is None else index
    return TrainingRows(features, index, np.zeros(len(index)) if target is None else target)


def fitted(step, values):
    """The state and the transformed values of a table or images."""
    features = values if isinstance(values, Features) else Features.of(values)
    state = step.fit(rows(features))
    return state, step.apply(features, state)


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


def _one_hot(text):
    encoder = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    return encoder.fit(text[TRAIN]).transform(text)


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
    "one_hot": (
        OneHot(),
        mixed(),
        lambda f: np.concatenate([f.numeric, _one_hot(f.categorical)], axis=1),
    ),
    "impute": (Impute(indicator=True), mixed(gaps=True), lambda f: _impute(f.numeric)),
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
        if "pca" in case:
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
        affine = step.affine(state)
        assert (affine is None) == (step.component in ("one_hot", "impute"))
        if affine is not None:
            out = step.apply(features, state).flat()
            np.testing.assert_allclose(affine(features.flat()), out, rtol=1e-9, atol=1e-9)

    def test_foretells_what_it_leaves(self, case):
        step, features, _ = CASES[case]

        def kinds(f):
            x = f.flat()
            return Kinds(f.width > 0, f.categorical.size > 0, bool(np.isnan(x).any()), f.is_image)

        assert step.problem(kinds(features)) is None
        out = step.apply(features, step.fit(rows(features, TRAIN)))
        assert step.after(kinds(features)) == kinds(out)

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

    def test_range_bounds(self):
        with pytest.raises(ValueError, match="must be above `low`"):
            MinMax(low=1.0, high=1.0)

    def test_channel_needs_images(self):
        assert "needs images" in Standardize(per="channel").problem(
            Kinds(True, False, False, False)
        )
        assert "no numeric column" in Standardize().problem(Kinds(False, True, False, False))
        assert "`impute` before it" in MinMax().problem(Kinds(True, False, True, False))

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
        monkeypatch.setattr("nnexp.components.preprocessing.SAMPLE_BYTES", 0)
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
        monkeypatch.setattr("nnexp.components.preprocessing.WIDEST", 4)
        with pytest.raises(DataError, match="5 features are too many"):
            fitted(Pca(), numbers())


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
        assert "no text column" in OneHot().problem(Kinds(True, False, False, False))


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
        assert "images have none" in Impute(indicator=True).problem(Kinds(True, False, True, True))

    def test_columns_without_any_value_are_errors(self):
        x = np.array([[1.0, np.nan], [2.0, np.nan]])
        with pytest.raises(DataError, match=r"no value in any training row: x1; `drop` them"):
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
