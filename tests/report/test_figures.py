"""Figures: what is drawn, held against the numbers that go in."""

from __future__ import annotations

import io
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy import stats
from sklearn.decomposition import PCA

from nnexp.analysis.landscapes import LANDSCAPES, labelled, paths
from nnexp.analysis.precision_recall import Curve, PrecisionRecall
from nnexp.analysis.precision_recall import Scored as Scored_
from nnexp.analysis.probabilities import sureness
from nnexp.components.metrics.metric import Scored
from nnexp.components.metrics.probabilities import CalibrationError
from nnexp.errors import UsageError
from nnexp.lazy import torch
from nnexp.report.figures.boundary import Region, boundary
from nnexp.report.figures.calibration import calibration, reliability
from nnexp.report.figures.confusion import confusion
from nnexp.report.figures.curves import curves, mean_interval
from nnexp.report.figures.filters import filters
from nnexp.report.figures.layers import layers
from nnexp.report.figures.learning_curve import learning_curve
from nnexp.report.figures.precision_recall import precision_recall
from nnexp.report.figures.residuals import residuals
from nnexp.report.figures.schedule import schedule
from nnexp.report.figures.style import save
from nnexp.report.figures.surface import animation, surface
from nnexp.report.figures.words import main_directions, words

RANDOM = np.random.default_rng(0)


def texts(figure: Any) -> str:
    """The figure as SVG with its text as text."""
    from matplotlib import rc_context

    buffer = io.BytesIO()
    with rc_context({"svg.fonttype": "none"}):
        figure.savefig(buffer, format="svg")
    return buffer.getvalue().decode()


@pytest.mark.parametrize(
    ("ending", "start"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")]
)
def test_files_by_ending(tmp_path: Path, ending: str, start: bytes) -> None:
    path = tmp_path / f"a.{ending}"
    save(confusion(np.eye(2), ["a", "b"]), path)
    first = path.read_bytes()
    assert first.startswith(start)
    save(confusion(np.eye(2), ["a", "b"]), path)
    assert path.read_bytes() == first


@pytest.mark.parametrize("name", ["a.jpg", "a", "no/a.png"])
def test_files_that_cannot_be(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match=r"should end in|no folder"):
        save(confusion(np.eye(2), ["a", "b"]), tmp_path / name)


def test_interval_is_students() -> None:
    values = RANDOM.normal(size=(5, 3))
    values[3:, 2] = np.nan
    mean, low, high = mean_interval(values)
    for i, own in enumerate((values[:, 0], values[:, 1], values[:3, 2])):
        wanted = stats.t.interval(0.95, len(own) - 1, own.mean(), stats.sem(own))
        assert (mean[i], low[i], high[i]) == pytest.approx((own.mean(), *wanted))
    one = mean_interval(np.array([[1.0, np.nan]]))
    assert one[0][0] == 1
    assert np.isnan(one[0][1])
    assert np.isnan(one[1]).all()


def test_curves_have_a_line_a_member_and_their_mean() -> None:
    members = [{"epoch": np.arange(1, 4), "dev/loss": RANDOM.random(3)} for _ in range(4)]
    figure = curves({"a $x$": members}, "loss")
    (axes,) = figure.axes
    drawn = [line.get_ydata() for line in axes.lines]
    assert len(drawn) == 5
    np.testing.assert_allclose(drawn[-1], np.mean([m["dev/loss"] for m in members], axis=0))
    with pytest.raises(UsageError, match="did you mean 'loss'"):
        curves({"a": members}, "los")


def test_the_gap_is_dev_less_train() -> None:
    epochs = np.arange(1, 4)
    members = [
        {"epoch": epochs, "dev/loss": RANDOM.random(3), "train/loss": RANDOM.random(3)}
        for _ in range(4)
    ]
    figure = curves({"a": members, "b": [{"epoch": epochs, "dev/loss": epochs}]}, "loss", gap=True)
    _, below = figure.axes
    apart = [one["dev/loss"] - one["train/loss"] for one in members]
    np.testing.assert_allclose(below.lines[-1].get_ydata(), np.mean(apart, axis=0))
    assert below.get_ylabel() == "loss: dev − train"


def test_a_long_curve_is_smoothed_and_drawn_raw() -> None:
    raw = RANDOM.random(100)
    figure = curves({"a": [{"epoch": np.arange(1, 101), "dev/loss": raw}]}, "loss")
    behind, before = figure.axes[0].lines
    np.testing.assert_array_equal(behind.get_ydata(), raw)
    assert before.get_linewidth() > 2 * behind.get_linewidth()
    assert before.get_ydata().std() < 0.6 * raw.std()
    assert "smoothed" in texts(figure)


def test_schedule_draws_each_value() -> None:
    epochs = np.linspace(0, 2, 5)
    rates = np.stack([epochs + 1, epochs + 2])
    figure = schedule(epochs, {"learning rate": rates, "momentum": np.full(5, 0.9)})
    assert [len(axes.lines) for axes in figure.axes] == [2, 1]
    assert "momentum" in texts(figure)


def test_confusion_writes_counts_and_share_right() -> None:
    found = texts(confusion(np.array([[31, 4], [0, 65]]), ["_a", "$b$"]))
    for text in ("31", "65", "96.0 % right", "_a", "$b$"):
        assert text in found


def test_reliability_has_the_error_of_the_metric() -> None:
    chances = RANDOM.dirichlet(np.ones(3), size=200)
    targets = RANDOM.integers(0, 3, 200)
    p, y = torch.tensor(chances)[None], torch.tensor(targets)[None]
    scored = Scored(p[..., 0], p.argmax(-1), y, p, p)
    found = reliability(*sureness(chances, targets))
    assert found.error == pytest.approx(float(CalibrationError().compute(scored)[0]))
    assert found.counts.sum() == 200
    share, n = found.came[9], int(found.counts[9])
    wanted = stats.binomtest(round(share * n), n).proportion_ci(method="wilson")
    assert (found.low[9], found.high[9]) == pytest.approx((wanted.low, wanted.high))


def test_reliability_of_labels_takes_each_as_an_answer() -> None:
    answers = sureness(np.array([[0.9, 0.1], [0.95, 0.3]]), np.array([[1, 0], [0, 1]]))
    found = reliability(*answers, bins=2)
    assert found.counts.tolist() == [2, 2]
    assert found.came.tolist() == [0.5, 0.5]
    assert calibration(np.array([[0.9, 0.1]]), np.array([[1, 0]])).axes


def test_residuals_tell_r2() -> None:
    from sklearn.metrics import r2_score

    true = RANDOM.normal(size=(50, 2))
    said = true + 0.3 * RANDOM.normal(size=(50, 2))
    found = texts(residuals(true, said, ["u", "v"]))
    for k in range(2):
        assert f"R² {r2_score(true[:, k], said[:, k]):.3f}" in found


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_filters_are_tiles(channels: int) -> None:
    figure = filters(RANDOM.normal(size=(5, channels, 3, 3)))
    tiles = [axes for axes in figure.axes if axes.images]
    assert len(tiles) >= (10 if channels == 2 else 5)


def test_boundary_is_where_the_probability_is_a_half() -> None:
    x = y = np.linspace(-1, 1, 21)
    p = np.clip(np.tile((x + 1) / 2, (21, 1)), 0, 1)
    region = Region(x, y, np.stack([1 - p, p], axis=-1)[None])
    figure = boundary(region, np.array([[0.5, 0.5], [-0.5, 0]]), np.array([1, 0]), "uv", "ab")
    contour = next(c for c in figure.axes[0].collections if type(c).__name__ == "QuadContourSet")
    np.testing.assert_allclose(contour.get_paths()[0].vertices[:, 0], 0, atol=1e-9)
    values = Region(x, y, p[None, ..., None])
    assert len(boundary(values, np.zeros((2, 2)), np.array([0.0, 1.0]), "uv", None).axes) == 2


def test_main_directions_are_those_of_pca() -> None:
    vectors = RANDOM.normal(size=(40, 6)) * np.arange(1, 7)
    places, shares = main_directions(vectors)
    reference = PCA(2).fit(vectors)
    np.testing.assert_allclose(np.abs(places), np.abs(reference.transform(vectors)), atol=1e-9)
    np.testing.assert_allclose(shares, reference.explained_variance_ratio_)
    figure = words(places, [f"w{i}" for i in range(40)], shares)
    boxes = [text.get_window_extent() for text in figure.axes[0].texts]
    assert 5 < len(boxes) <= 40
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


def test_surface_and_its_animation() -> None:
    landscape = LANDSCAPES["saddle"]
    found = labelled(paths(landscape, ["sgd=0.05", "adam"], 20))
    figure = surface(landscape, found)
    np.testing.assert_array_equal(figure.axes[0].lines[-2].get_xydata(), list(found.values())[-1])
    entries = figure.legends[0].legend_handles
    assert entries[0].get_color() != entries[1].get_color()
    with Image.open(io.BytesIO(animation(landscape, found))) as image:
        assert image.format == "GIF"
        assert image.n_frames == 21


def test_many_optimizers_have_looks_of_their_own() -> None:
    landscape = LANDSCAPES["beale"]
    places = np.array([landscape.start, landscape.minima[0]])
    figure = surface(landscape, {f"o{i}": places for i in range(20)})
    drawn = figure.axes[1].lines
    looks = {(one.get_color(), str(one._unscaled_dash_pattern)) for one in drawn}
    assert len(looks) == len(drawn) == 20


def test_learning_curve_draws_means() -> None:
    scores = {"train": RANDOM.random((3, 4)), "test": RANDOM.random((3, 4))}
    figure = learning_curve("data", np.array([10, 20, 100]), scores, "accuracy")
    means = [line.get_ydata() for line in figure.axes[0].lines if line.get_linestyle() == "-"]
    np.testing.assert_allclose(means, [found.mean(axis=1) for found in scores.values()])
    (train, test) = (line for line in figure.axes[0].lines if line.get_linestyle() == "-")
    assert (train.get_xdata() < test.get_xdata()).all()  # side by side


def test_learning_curve_labels_do_not_collide() -> None:
    values = np.array([1, 2, 3, 4, 200, 205, 210, 300])
    scores = {"test": RANDOM.random((8, 3))}
    axes = learning_curve("hidden", values, scores, "accuracy").axes[0]
    axes.figure.draw_without_rendering()
    boxes = [label.get_window_extent() for label in axes.get_xticklabels() if label.get_text()]
    assert len(boxes) > 3
    assert not any(a.overlaps(b) for a, b in pairwise(boxes))


LAYER = {"mean": 0.1, "std": 2.0, "gradient": 0.3}


def test_layers_are_bands_of_quantiles() -> None:
    shares = (5, 25, 50, 75, 95)
    table = {
        name: [
            {"epoch": float(epoch), **LAYER}
            | {f"p{s:02d}": s / 100 * epoch for s in shares}
            | {f"g{s:02d}": s * 1e-6 if name != "1.relu" else np.nan for s in shares}
            for epoch in (1, 2, 3)
        ]
        for name in ("0.linear", "1.relu", "2.linear")
    }
    figure = layers(table, "a $run$")
    titles = [axes.get_title() for axes in figure.axes if axes.get_visible()]
    assert titles == ["0.linear", "1.relu", "2.linear", "0.linear", "2.linear"]
    outputs, gradients = figure.axes[0], figure.axes[3]
    np.testing.assert_allclose(outputs.lines[0].get_ydata(), [0.5, 1.0, 1.5])
    outer, inner = (band.get_paths()[0].vertices[:, 1] for band in outputs.collections)
    assert (outer.max(), inner.max()) == pytest.approx((2.85, 2.25))
    assert gradients.get_yscale() == "log"
    assert "a $run$" in texts(figure)


def test_layers_without_quantiles_and_of_many() -> None:
    table = {f"{i}.linear": [{"epoch": 4.0, **LAYER}] for i in range(40)}
    figure = layers(table)
    panels = [axes for axes in figure.axes if axes.get_visible()]
    assert len(panels) == 24
    assert [panels[0].get_title(), panels[11].get_title()] == ["0.linear", "39.linear"]
    told = texts(figure)
    assert "12 of 40 layers" in told
    assert "mean ± standard deviation" in told
    band = panels[0].collections[0].get_paths()[0].vertices[:, 1]
    assert (band.min(), band.max()) == pytest.approx((-1.9, 2.1))
    nothing = [{"epoch": 1.0, "mean": np.nan, "std": np.nan, "gradient": 0.0}]
    assert len(layers({"0.embedding": nothing}).axes) == 1  # a gradient, though of 0


@pytest.mark.parametrize("members", [1, 3])
def test_area_below_precision_recall_is_the_average_precision(members: int) -> None:
    from sklearn.metrics import average_precision_score

    target = RANDOM.random(80) < 0.3
    scores = [target * 0.5 + RANDOM.random(80) for _ in range(members)]
    runs = tuple(Curve.of(Scored_(score, target, score > 0.5)) for score in scores)
    found = PrecisionRecall(Path("r"), "test", "a", 0.3, runs, 0.5, (0.4, 0.6), True)
    figure = precision_recall(found, "a")
    drawn = [line for line in figure.axes[0].lines if line.get_drawstyle() == "steps-post"]
    assert len(drawn) == members
    for line, score in zip(drawn, scores, strict=True):
        recall, precision = line.get_data()
        area = -np.diff(recall) @ precision[:-1]
        assert area == pytest.approx(average_precision_score(target, score))
    (square,) = (line for line in figure.axes[0].lines if line.get_marker() == "s")
    said = [score >= 0.5 for score in scores]
    hits = np.array([(target & one).sum() for one in said])
    assert square.get_xdata() == pytest.approx((hits / target.sum()).mean())
    assert square.get_ydata() == pytest.approx((hits / [one.sum() for one in said]).mean())
    assert "0.500 [0.400, 0.600]" in texts(figure)


def test_intervals_of_a_group_count_an_example_once() -> None:
    said, came = RANDOM.random(100), RANDOM.integers(0, 2, 100).astype(float)
    one = reliability(said, came)
    thrice = reliability(np.tile(said, 3), np.tile(came, 3), times=3)
    np.testing.assert_allclose(thrice.low, one.low)
    np.testing.assert_allclose(thrice.high, one.high)
    np.testing.assert_allclose(thrice.counts, 3 * one.counts)
