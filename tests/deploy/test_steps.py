"""Preprocessing as nodes of ONNX against the steps themselves."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from scipy.special import ndtri

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
from nnexp.data.prepare import Pipeline, prepare
from nnexp.deploy.graph import Graph
from nnexp.deploy.proof import Examples, feeds, outputs
from nnexp.deploy.steps import _normal, add_pipeline
from nnexp.errors import UsageError

pytest.importorskip("onnxruntime")
pytest.importorskip("onnx")


def table(gaps: bool = True, text: bool = True, rows: int = 90) -> Table:
    draw = np.random.default_rng(0)
    x = np.abs(draw.standard_normal((rows, 4)) * [1, 1e6, 1e-3, 5] + [0, 2e6, 0, 50])
    x[:, 3] = np.round(x[:, 3])
    if gaps:
        x[::7, 1] = x[::11, 3] = np.nan
    words = draw.choice(np.array(["u", "v", "w", None, "rare é"], object), (rows, 2 if text else 0))
    names = ("c", "d e") if text else ()
    features = Features(x, ("a", "b", "k", "n"), words, names)
    return Table(features, np.arange(rows) % 3, ("x", "y", "z"), ("t",), np.arange(rows))


def images(rows: int = 60) -> Table:
    x = np.random.default_rng(0).integers(0, 256, (rows, 1, 5, 4)).astype(np.uint8)
    x[:, 0, 0, 0] = 0
    return Table(Features.of(x), np.arange(rows) % 2, ("x", "y"), ("t",), np.arange(rows))


def fitted(data: Table, steps: Sequence[Step]) -> Pipeline:
    return prepare(data, {"train": np.arange(len(data) // 2)}, steps).pipeline


def through_onnx(pipeline: Pipeline, features: Features) -> np.ndarray:
    graph = Graph()
    from nnexp.deploy.export import _inputs

    numbers, texts = _inputs(graph, pipeline)
    found = add_pipeline(graph, pipeline, numbers, texts)
    graph.give(found, "y", "float", ("N", *pipeline.input_shape))
    model = graph.model("steps", ("test", "0"), 20).SerializeToString()
    return outputs(model, feeds(pipeline, Examples(features)))["y"]


@pytest.mark.parametrize(
    "steps",
    [
        [],
        [Standardize()],
        [Center(columns=["b"]), MinMax(columns=["a", "n"])],
        [Standardize(), Pca(components=2)],
        [PcaWhiten(columns=["n", "a"], components=1), Standardize()],
        [Lda()],
        [Log1p(columns=["b"]), Standardize()],
        [Log1p()],
        [Quantile()],
        [Quantile(output="uniform", quantiles=7)],
        [Quantile(columns=["n"], quantiles=9), Standardize(), ZcaWhiten()],
    ],
    ids=lambda steps: "-".join(step.component for step in steps),
)
def test_steps_on_numbers(steps: list[Step]) -> None:
    data = table(gaps=False, text=False)
    pipeline = fitted(data, steps)
    other = np.concatenate([data.features.flat(), 10 * data.features.flat()[:5]])
    features = Features(other, data.features.names, np.empty((len(other), 0), object), ())
    found, expected = through_onnx(pipeline, features), pipeline.apply(features)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    "steps",
    [
        [Impute(), Standardize(), OneHot()],
        [OneHot(min_frequency=0.2), Impute(strategy="mean", indicator=True), Standardize()],
        [Impute(columns=["categorical"]), OneHot(columns=["c"]), OneHot(), Impute(), Pca()],
        [Impute(columns=["b", "n", "d e"]), Log1p(columns=["b"]), OneHot(), Quantile()],
        [Impute(strategy="most_frequent"), Standardize(columns=["k"]), OneHot()],
        [Impute(columns=["numeric"]), Standardize(), Ordinal(min_frequency=9)],
    ],
)
def test_steps_on_gaps_and_text(steps: list[Step]) -> None:
    data = table()
    data.features.categorical[-1] = ["never seen", "u"]
    pipeline = fitted(data, steps)
    found, expected = through_onnx(pipeline, data.features), pipeline.apply(data.features)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    "steps",
    [
        [MinMax(per="global")],
        [Standardize(per="channel")],
        [Log1p(), Standardize()],
        [ZcaWhiten()],
        [Impute(), Pca(components=3)],
    ],
    ids=lambda steps: "-".join(step.component for step in steps),
)
def test_steps_on_images(steps: list[Step]) -> None:
    data = images()
    pipeline = fitted(data, steps)
    found, expected = through_onnx(pipeline, data.features), pipeline.apply(data.features)
    assert found.shape == (len(data), *pipeline.input_shape)
    np.testing.assert_allclose(found, expected, rtol=2e-6, atol=2e-6)


def test_text_only() -> None:
    data = table(gaps=False)
    features = Features(
        np.empty((len(data), 0)), (), data.features.categorical, data.features.categorical_names
    )
    data = Table(features, data.target, data.classes, ("t",), data.ids)
    pipeline = fitted(data, [OneHot()])
    np.testing.assert_array_equal(through_onnx(pipeline, features), pipeline.apply(features))


def sentences(*texts: str | None) -> Table:
    words = np.array([*texts], object)[:, None]
    features = Features(np.empty((len(words), 0)), (), words, ("text",))
    return Table(features, np.arange(len(words)) % 2, ("x", "y"), ("t",), np.arange(len(words)))


@pytest.mark.parametrize("length", [None, 2, 5])
def test_tokens_between_blanks(length: int | None) -> None:
    data = sentences("a b  c", "b", " c a ", "d d", "a new one is here", "b q", None, "")
    pipeline = fitted(data, [Tokenize(unit="token", length=length)])
    for rows in (slice(None), slice(6, 8), slice(1, 2)):
        features = data.features.rows(np.arange(len(data))[rows])
        np.testing.assert_array_equal(through_onnx(pipeline, features), pipeline.apply(features))


def test_words_and_characters_are_refused() -> None:
    data = sentences("a b", "b", "c", "d")
    for step in (Tokenize(), Tokenize(unit="character"), Tokenize(unit="token", lower=True)):
        with pytest.raises(UsageError, match=f"tokenize \\(unit: {step.unit}.* no form in ONNX"):
            through_onnx(fitted(data, [step]), data.features)


def test_the_quantiles_of_the_normal_distribution() -> None:
    shares = np.concatenate([np.linspace(0, 1, 20_001), np.logspace(-9, -1, 500)])
    graph = Graph()
    found = _normal(graph, graph.take("p", "double", ("N",)))
    graph.give(found, "z", "double", ("N",))
    model = graph.model("normal", ("test", "0"), 20).SerializeToString()
    z = outputs(model, {"p": shares})["z"]
    np.testing.assert_allclose(z, ndtri(np.clip(shares, 1e-7, 1 - 1e-7)), rtol=0, atol=1e-8)


def test_an_empty_category_beside_missing_ones_is_refused() -> None:
    data = table(gaps=False)
    data.features.categorical[3, 0] = ""
    pipeline = fitted(data, [OneHot()])
    with pytest.raises(UsageError, match="empty text"):
        through_onnx(pipeline, data.features)


def test_a_step_without_a_form_is_named() -> None:
    class Other(Step):
        @property
        def component(self) -> str:
            return "other"

        def _fit(self, rows: object) -> dict[str, object]:
            return {"notes": []}

        def _apply(self, features: Features, state: object) -> Features:
            return features

    data = table(gaps=False, text=False)
    pipeline = fitted(data, [Log1p()])
    odd = Pipeline(**{**vars(pipeline), "steps": (Other(),), "states": ({"notes": []},)})
    with pytest.raises(UsageError, match="preprocessing: other has no form in ONNX"):
        through_onnx(odd, data.features)
