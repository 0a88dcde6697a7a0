import json
from dataclasses import replace

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler

from nnexp.components import table as table_module
from nnexp.components.datasets import BreastCancer, Diabetes, Digits, Iris, Npy
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
    Step,
    Tokenize,
    ZcaWhiten,
)
from nnexp.components.table import Features, Table
from nnexp.data.prepare import Pipeline, check_steps, default_steps, prepare
from nnexp.data.splits import Split, assign
from nnexp.errors import DamagedRun, DataError


def mixed(n=60, gaps=True, text=True):
    """Two numeric and (text) one categorical column, two classes."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((n, 2)) * [1, 100] + [0, 50]
    if gaps:
        x[::7, 1] = np.nan
    words = rng.choice(np.array(["u", "v", "w"], object), (n, 1 if text else 0))
    features = Features(x, ("a", "b"), words, ("c",) if text else ())
    return Table(features, np.arange(n) % 2, ("no", "yes"), ("y",), np.arange(n))


def labelled(n=60, seed=0):
    """Two columns and three labels."""
    rng = np.random.default_rng(seed)
    features = Features.of(rng.standard_normal((n, 2)))
    target = (rng.random((n, 3)) < 0.4).astype(float)
    return Table(features, target, None, ("p", "q", "r"), np.arange(n), multilabel=True)


def prepared(table, steps=None, **options):
    parts = assign(Split(), table)
    return prepare(table, parts, default_steps(table) if steps is None else steps, **options)


def with_features(table, **changes):
    return replace(table, features=replace(table.features, **changes))


class TestPrepare:
    def test_fits_on_training_rows_only_and_applies_to_all(self):
        table = BreastCancer().load()
        found = prepared(table, [Standardize(), PcaWhiten(components=10)])
        x, train = table.features.numeric, found.parts["train"]
        scaler = StandardScaler().fit(x[train])
        pca = PCA(10, whiten=True).fit(scaler.transform(x[train]))
        expected = pca.transform(scaler.transform(x))
        assert found.inputs.dtype == np.float32
        assert found.input_shape == (10,)
        signs = np.sign((found.inputs * expected).sum(axis=0))
        np.testing.assert_allclose(found.inputs * signs, expected, atol=1e-4)

    def test_one_composed_map_does_the_same(self):
        table = BreastCancer().load()
        found = prepared(table, [MinMax(), Standardize(), Pca(components=5)], precision="float64")
        affine = found.pipeline.affine()
        np.testing.assert_allclose(affine(table.features.flat()), found.inputs, atol=1e-9)
        assert prepared(mixed(gaps=False)).pipeline.affine() is None
        assert prepared(table, []).pipeline.affine()(np.ones((1, 30))).tolist() == [[1.0] * 30]

    def test_images_keep_their_shape(self):
        found = prepared(Digits().load())
        assert found.inputs.shape == (1797, 1, 8, 8)
        assert (found.inputs.min(), found.inputs.max()) == (0, 1)

    def test_targets_of_regression_are_scaled_by_training_rows(self):
        table = Diabetes().load()
        found = prepared(table, scale_target=True, precision="float64")
        mean, std = found.target_scale
        train = table.target[found.parts["train"]]
        np.testing.assert_allclose(mean, train.mean(axis=0))
        np.testing.assert_allclose(std, train.std(axis=0))
        np.testing.assert_allclose(found.targets * std + mean, table.target)
        assert prepared(table).target_scale is None
        np.testing.assert_array_equal(prepared(table).targets, table.target.astype(np.float32))
        constant = replace(table, target=np.ones_like(table.target))
        found = prepared(constant, scale_target=True)
        assert found.target_scale[1].tolist() == [1]
        assert "has one value only" in found.notes[0]

    def test_classes_stay_indices(self):
        found = prepared(Iris().load(), scale_target=True)
        assert found.targets.dtype == np.int64
        assert found.target_scale is None

    def test_labels_stay_0_and_1(self):
        table = labelled()
        found = prepared(table, scale_target=True)
        assert found.target_scale is None
        assert found.targets.dtype == np.float32
        np.testing.assert_array_equal(found.targets, table.target)
        assert found.pipeline.task == "multilabel"
        assert not any("label" in note for note in found.notes)
        target = table.target.copy()
        target[found.parts["train"], 1] = 1
        found = prepared(replace(table, target=target))
        assert "label q has one value only in training" in found.notes

    def test_steps_of_some_columns_compose(self):
        table = BreastCancer().load()
        steps = [Standardize(columns=["mean *"]), Pca(columns=["worst *"], components=2), Center()]
        found = prepared(table, steps, precision="float64")
        assert found.input_shape == (22,)
        affine = found.pipeline.affine()
        np.testing.assert_allclose(affine(table.features.flat()), found.inputs, atol=1e-9)

    def test_classes_of_one_example_and_absent_ones_harm_no_step(self):
        table = mixed(gaps=False, text=False)
        target = np.arange(60) % 2
        target[[0, 40]] = 2, 3  # a class of one training example, and one that training lacks
        table = replace(table, target=target, classes=("a", "b", "c", "d"))
        parts = {"train": np.arange(30), "test": np.arange(30, 60)}
        found = prepare(table, parts, [Standardize(), Lda()])
        assert np.isfinite(found.inputs).all()
        assert found.pipeline.class_counts == (14, 15, 1, 0)

    def test_data_beyond_the_limit_are_read_as_needed(self, tmp_path, monkeypatch):
        rng = np.random.default_rng(0)
        np.save(tmp_path / "x.npy", rng.standard_normal((500, 6)).astype(np.float32))
        np.save(tmp_path / "y.npy", rng.integers(0, 2, 500))
        table = Npy(features="x.npy", targets="y.npy").load(tmp_path)
        inside = prepared(table)
        monkeypatch.setattr(table_module, "CHUNK_ROWS", 16)
        outside = prepared(table, resident_bytes=500 * 6 * 4 - 1)
        assert outside.inputs is None
        assert isinstance(outside.features.numeric, np.memmap)
        index = np.array([5, 499, 0, 5])
        rows = outside.gather(index)
        assert rows.dtype == np.float32
        np.testing.assert_allclose(rows, inside.gather(index), rtol=1e-6)
        assert "are read as they are needed" in outside.notes[-1]

    def test_large_files_of_the_test_part_are_not_copied(self, tmp_path, monkeypatch):
        monkeypatch.setattr(table_module, "CHUNK_BYTES", 64)
        for name, n in (("", 30), ("t", 10)):
            np.save(tmp_path / f"{name}x.npy", np.arange(n * 8.0).reshape(n, 8))
            np.save(tmp_path / f"{name}y.npy", np.arange(n) % 2)
        source = Npy(
            features="x.npy", targets="y.npy", test_features="tx.npy", test_targets="ty.npy"
        )
        found = prepared(source.load(tmp_path), [], resident_bytes=0)
        assert not isinstance(found.features.numeric, np.ndarray)
        np.testing.assert_array_equal(
            found.gather(np.array([30, 29])), [np.arange(8), np.arange(29 * 8, 30 * 8)]
        )

    def test_notes_tell_of_the_split_the_fit_and_unseen_categories(self):
        table = mixed(gaps=False)
        parts = assign(Split(train=0.5, test=0.4), table)
        words = table.features.categorical.copy()
        words[parts["test"][:3]] = "new"
        found = prepare(with_features(table, categorical=words), parts, [Standardize(), OneHot()])
        assert found.notes == (
            "split: 6 of 60 examples are in no part",
            "c: category unseen in training, taken as none (3 rows)",
        )


class TestDefaultSteps:
    def test_follow_from_the_data(self):
        assert default_steps(Iris().load()) == [Standardize()]
        assert default_steps(Digits().load()) == [MinMax(per="global")]
        assert default_steps(mixed()) == [Impute(), Standardize(), OneHot()]
        assert default_steps(mixed(gaps=False, text=False)) == [Standardize()]

    def test_missing_text_is_imputed_and_no_numbers_are_not_scaled(self):
        table = mixed(gaps=False)
        words = table.features.categorical.copy()
        words[3] = None
        assert Impute() in default_steps(with_features(table, categorical=words))
        only = with_features(table, numeric=np.empty((60, 0)), names=())
        assert default_steps(only) == [OneHot()]
        assert prepared(only).input_shape == (3,)

    def test_real_valued_images(self):
        table = Digits().load()
        table = with_features(table, numeric=table.features.numeric / 16)
        assert default_steps(table) == [Standardize(per="global")]


class TestProblems:
    @pytest.mark.parametrize(
        ("steps", "found"),
        [
            ([Impute(), Standardize(), OneHot()], []),
            ([OneHot(), Impute(), Pca()], []),
            ([Standardize(), OneHot()], [(0, "put `impute` before it")]),
            ([Impute(), Standardize()], [(2, "columns c hold text: add `one_hot`")]),
            ([OneHot()], [(1, "add `impute`")]),
            ([Impute(), OneHot(), OneHot()], [(2, "no text column")]),
        ],
    )
    def test_steps_that_do_not_suit(self, steps, found):
        problems = check_steps(steps, mixed().features)
        assert [number for number, _ in problems] == [number for number, _ in found]
        for (_, message), (_, part) in zip(problems, found, strict=True):
            assert part in message

    def test_whitening_without_numbers(self):
        only = with_features(mixed(), numeric=np.empty((60, 0)), names=())
        assert check_steps([PcaWhiten(), OneHot()], only.features)[0][0] == 0
        assert check_steps([OneHot(), PcaWhiten()], only.features) == []

    def test_projections_onto_classes_need_classes(self):
        table = Diabetes().load()
        found = check_steps([Standardize(), Lda()], table.features, task=table.task)
        assert [number for number, _ in found] == [1]
        with pytest.raises(DataError, match="lda: needs classes to tell apart, and the target is"):
            prepared(table, [Lda()])
        with pytest.raises(DataError, match="the target is labels"):
            prepared(labelled(), [Lda()])

    def test_all_are_told_with_the_columns_and_counts(self):
        with pytest.raises(DataError) as caught:
            prepared(mixed(), [Standardize()])
        assert str(caught.value).splitlines() == [
            "preprocessing: standardize: there are missing values in b: put `impute` before it",
            "preprocessing: columns c hold text: add `one_hot`",
            "missing values: 9 in b",
        ]

    def test_infinite_values(self):
        table = mixed(gaps=False)
        table.features.numeric[3, 0] = np.inf
        table.features.numeric[5:7, 1] = -np.inf
        with pytest.raises(
            DataError, match="infinite values, which no step repairs: 1 in a, 2 in b"
        ):
            prepared(table)

    def test_rows_in_no_part_may_be_broken(self):
        table = mixed(gaps=False, text=False)
        parts = {"train": np.arange(20), "test": np.arange(30, 50)}
        table.features.numeric[25] = np.nan
        assert np.isfinite(prepare(table, parts, [Standardize()]).inputs[parts["test"]]).all()

    @pytest.mark.parametrize(
        ("value", "steps", "message"),
        [
            (1e300, [Standardize()], "standardize: the values are too large"),
            (1e50, [], r"too large for float32 \(a goes to ±2.33e\+50\): add `standardize`"),
        ],
    )
    def test_values_beyond_the_arithmetic(self, value, steps, message):
        table = mixed(gaps=False, text=False)
        table.features.numeric[:, 0] *= value
        with pytest.raises(DataError, match=message):
            prepared(table, steps)

    def test_useless_targets(self):
        table = mixed(gaps=False)
        with pytest.raises(DataError, match="one class only, yes, in 36 training examples"):
            prepared(replace(table, target=np.ones(60, np.int64)))
        many = replace(table, target=np.arange(60), classes=tuple(map(str, range(60))))
        with pytest.raises(DataError, match="36 training examples for 60 classes"):
            prepared(many)


class TestNewData:
    def test_columns_are_found_by_name(self):
        table = mixed()
        found = prepared(table)
        old = table.features
        moved = Features(
            np.stack([np.zeros(60), old.numeric[:, 1], old.numeric[:, 0]], axis=1),
            ("z", "b", "a"),
            np.concatenate([np.full((60, 1), "?", object), old.categorical], axis=1),
            ("w", "c"),
        )
        inputs, notes = found.pipeline.transform(moved)
        np.testing.assert_array_equal(inputs, found.inputs)
        assert notes == ["columns that training did not have are ignored: w, z"]
        assert found.pipeline.transform(old)[1] == []

    def test_unseen_categories_are_counted(self):
        found = prepared(mixed())
        words = np.full((60, 1), "new", object)
        _, notes = found.pipeline.transform(replace(mixed().features, categorical=words))
        assert notes == ["c: category unseen in training, taken as none (60 rows)"]

    def test_unusable_columns(self):
        pipeline = prepared(mixed(gaps=False), [Standardize(), OneHot()]).pipeline
        old = mixed(gaps=False).features
        with pytest.raises(DataError, match="columns are missing that training had: a, c"):
            pipeline.transform(Features(old.numeric[:, 1:], ("b",), np.empty((60, 0), object), ()))
        with pytest.raises(DataError, match="held text in training and hold numbers here: c"):
            pipeline.transform(
                Features(np.zeros((60, 3)), ("a", "b", "c"), np.empty((60, 0), object), ())
            )
        with pytest.raises(DataError, match="held numbers in training and hold text here: b"):
            pipeline.transform(
                Features(old.numeric[:, :1], ("a",), np.repeat(old.categorical, 2, 1), ("b", "c"))
            )
        with pytest.raises(DataError, match=r"missing values, and none were in training: 9 in b"):
            pipeline.transform(mixed().features)
        images = prepared(Digits().load()).pipeline
        with pytest.raises(DataError, match="examples have shape"):
            images.transform(Features.of(np.zeros((2, 1, 9, 9))))

    def test_gaps_where_no_step_fills_any(self):
        table = mixed()
        table.features.numeric[3, 0] = np.nan
        complete = replace(table.features, numeric=np.nan_to_num(table.features.numeric))
        steps = [Impute(columns=["b"]), Standardize(), OneHot()]
        pipeline = prepared(replace(table, features=complete), steps).pipeline
        with pytest.raises(DataError, match=r"none were in training: 1 in a$"):
            pipeline.transform(table.features)
        assert np.isfinite(pipeline.transform(mixed().features)[0]).all()

    def test_negative_counts_are_told(self):
        table = mixed(gaps=False, text=False)
        positive = with_features(table, numeric=np.abs(table.features.numeric))
        pipeline = prepared(positive, [Log1p(columns=["b"])]).pipeline
        low = np.array([[-1.0, -5.0], [1.0, 5.0], [1.0, -1.0]])
        inputs, notes = pipeline.transform(replace(table.features, numeric=low, categorical=EMPTY))
        assert notes == ["b: negative, taken as 0 by log1p (2 rows)"]
        np.testing.assert_allclose(inputs, [[-1, 0], [1, np.log(6)], [1, 0]], rtol=1e-6)

    def test_labels_are_not_numbers(self):
        table = labelled()
        numbers = replace(table, multilabel=False)
        with pytest.raises(DataError, match="was labels in training, and is real-valued here"):
            prepared(table).pipeline.encode(numbers)
        with pytest.raises(DataError, match="was real-valued in training, and is labels here"):
            prepared(numbers).pipeline.encode(table)
        with pytest.raises(DataError, match="was classes in training, and is labels here"):
            prepared(mixed()).pipeline.encode(table)

    def test_classes_are_found_by_name(self):
        pipeline = prepared(mixed()).pipeline
        other = replace(mixed(), target=np.zeros(60, np.int64), classes=("yes",))
        assert pipeline.encode(other).tolist() == [1] * 60
        with pytest.raises(DataError, match="class maybe is unknown; the classes are no, yes"):
            pipeline.encode(replace(other, classes=("maybe",)))
        real = replace(other, target=np.zeros((60, 1)), classes=None)
        with pytest.raises(DataError, match="was classes in training, and is real-valued here"):
            pipeline.encode(real)
        regression = prepared(Diabetes().load()).pipeline
        with pytest.raises(DataError, match="there are 2 targets, and 1 in training"):
            regression.encode(replace(real, target=np.zeros((60, 2))))


EMPTY = np.empty((3, 0), object)

STORED = {
    "center": Center(columns=["m*"]),
    "impute": Impute(indicator=True),
    "lda": Lda(components=1),
    "log1p": Log1p(columns=["mean area", "worst *"]),
    "min_max": MinMax(low=-1.0),
    "one_hot": OneHot(columns=["c"]),
    "ordinal": Ordinal(),
    "pca": Pca(components=0.9),
    "pca_whiten": PcaWhiten(columns=["worst *"]),
    "quantile": Quantile(quantiles=10),
    "standardize": Standardize(factors={"mean area": 0.5}),
    "tokenize": Tokenize(columns=["c"], unit="character"),
    "zca_whiten": ZcaWhiten(components=3, columns=["mean *"]),
}


def table_for(step):
    """A table with text for the step that needs it."""
    words = step.component in ("one_hot", "ordinal", "tokenize")
    return mixed(gaps=False) if words else BreastCancer().load()


class TestStorage:
    def test_every_step_is_tried(self):
        ours = {n for n, c in Step.registered.items() if c.__module__.startswith("nnexp.")}
        assert STORED.keys() == ours

    @pytest.mark.parametrize("step", STORED.values(), ids=STORED)
    def test_every_step_comes_back_the_same(self, step):
        table = table_for(step)
        found = prepared(table, [step])
        arrays, plain = found.to_arrays()
        back = Pipeline.from_arrays(arrays, json.loads(json.dumps(plain)))
        assert back.steps == (step,)
        np.testing.assert_array_equal(back.transform(table.features)[0], found.inputs)

    @pytest.mark.parametrize("step", STORED.values(), ids=STORED)
    def test_a_state_that_does_not_fit_is_refused(self, step):
        arrays, plain = prepared(table_for(step), [step]).to_arrays()
        for name, array in arrays.items():
            rest = {key: value for key, value in arrays.items() if key != name}
            if name.endswith("variances"):
                continue  # nothing is computed with them
            wider = {**arrays, name: np.ones((*array.shape[:-1], array.shape[-1] + 1))}
            for changed in (rest, wider):
                with pytest.raises(DamagedRun, match="does not fit together"):
                    Pipeline.from_arrays(changed, plain)
        if step.columns is not None:
            wrong = {**plain["steps"][0]["step"], "columns": ["nowhere"]}
            steps = [{**plain["steps"][0], "step": wrong}]
            with pytest.raises(DamagedRun, match="no column matches nowhere"):
                Pipeline.from_arrays(arrays, {**plain, "steps": steps})

    def test_the_task_is_kept(self):
        table = labelled()
        found = prepared(table)
        arrays, plain = found.to_arrays()
        back = Pipeline.from_arrays(arrays, json.loads(json.dumps(plain)))
        assert back.task == "multilabel"
        np.testing.assert_array_equal(back.encode(table), found.targets)
        for changes in ({"task": "classification"}, {"classes": ["a"]}, {"class_counts": [3]}):
            with pytest.raises(DamagedRun, match="does not fit together"):
                Pipeline.from_arrays(arrays, {**plain, **changes})
        with pytest.raises(DamagedRun, match="task"):
            Pipeline.from_arrays(arrays, {**plain, "task": "guessing"})

    @pytest.mark.parametrize(
        ("table", "steps"),
        [
            (mixed(), None),
            (Diabetes().load(), [Standardize(factors={"age": 0.5}), PcaWhiten(components=3)]),
            (Digits().load(), [MinMax(per="channel"), Pca(components=0.9)]),
        ],
    )
    def test_comes_back_the_same(self, table, steps):
        found = prepared(table, steps, scale_target=True)
        arrays, plain = found.to_arrays()
        assert all(array.dtype == np.float64 for array in arrays.values())
        back = Pipeline.from_arrays(arrays, json.loads(json.dumps(plain)))
        assert back.steps == found.pipeline.steps
        np.testing.assert_array_equal(back.transform(table.features)[0], found.inputs)
        np.testing.assert_array_equal(back.encode(table), found.targets)

    def test_damage_is_told(self):
        arrays, plain = prepared(Iris().load()).to_arrays()
        for key in ("steps", "classes", "shape", "task"):
            with pytest.raises(DamagedRun, match=f"{key}: Field required"):
                Pipeline.from_arrays(arrays, {k: v for k, v in plain.items() if k != key})
        unknown = {**plain, "steps": [{"step": {"name": "none"}, "state": {}}]}
        with pytest.raises(DamagedRun):
            Pipeline.from_arrays({}, unknown)
        with pytest.raises(DamagedRun):
            Pipeline.from_arrays({"7.mean": np.zeros(1)}, plain)

    @pytest.mark.parametrize("length", [4, 10**9])
    def test_a_forged_length_is_refused_before_it_is_used(self, length):
        texts = np.array([["a b c"], ["b a"]] * 30, object)
        features = Features(np.empty((60, 0)), (), texts, ("text",))
        table = replace(mixed(), features=features)
        arrays, plain = prepared(table, [Tokenize()]).to_arrays()
        plain["steps"][0]["state"]["length"] = length
        with pytest.raises(DamagedRun, match="more tokens than the network's 3"):
            Pipeline.from_arrays(arrays, plain)

    def test_a_forged_shape_that_no_memory_holds_is_damage(self):
        arrays, plain = prepared(Digits().load(), [MinMax(per="global")]).to_arrays()
        plain["shape"] = [2**28, 2**28, 2**7]
        with pytest.raises(DamagedRun, match="does not fit together"):
            Pipeline.from_arrays(arrays, plain)
