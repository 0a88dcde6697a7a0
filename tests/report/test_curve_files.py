"""Learning curves as files: formats, odd curves, and what they must show."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from nnexp.components.metrics.metric import Metric
from nnexp.errors import UsageError
from nnexp.report.figures.curves import aligned, curves, higher_is_better, mean_interval, smooth
from nnexp.report.figures.style import save


def curve(epochs: int, start: float = 2.0, end: float = 0.5) -> dict[str, np.ndarray]:
    train = np.geomspace(start, end, epochs)
    return {"epoch": np.arange(1, epochs + 1), "train/loss": train, "dev/loss": train + 0.1}


@pytest.mark.parametrize(
    ("suffix", "magic"),
    [(".png", b"\x89PNG"), (".svg", b"<?xml"), (".pdf", b"%PDF"), (".PNG", b"\x89PNG")],
)
def test_formats(tmp_path: Path, suffix: str, magic: bytes) -> None:
    path = tmp_path / f"curves{suffix}"
    save(curves({"A": [curve(5)], "B": [curve(7), curve(4)]}, "loss"), path)
    assert path.read_bytes().startswith(magic)


@pytest.mark.parametrize("suffix", [".svg", ".png"])
def test_the_same_curves_give_the_same_file(tmp_path: Path, suffix: str) -> None:
    paths = [tmp_path / f"{i}{suffix}" for i in (0, 1)]
    for path in paths:
        save(curves({"A": [curve(80)]}, "loss"), path)
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_odd_curves_are_drawn_without_a_warning(tmp_path: Path) -> None:
    gaps = curve(70)
    gaps["dev/loss"][[3, 10, 69]] = [np.nan, np.inf, np.nan]
    named = {
        "_$x": [gaps],
        "one epoch": [curve(1)],
        "train only " * 9: [{"train/loss": np.array([1.0, 0.001])}],
        "empty": [{"epoch": np.zeros(0), "train/loss": np.zeros(0)}],
        "no member": [],
        "never": [{"train/loss": np.full(3, np.nan), "dev/loss": np.array([1.0, np.nan, 0.5])}],
        "group": [curve(6), curve(9), {"train/loss": np.full(2, np.nan)}],
    }
    save(curves(named, "loss"), tmp_path / "odd.png")


def test_no_picture_is_left_by_an_error(tmp_path: Path) -> None:
    for path, metric, message in [
        (tmp_path / "a.jpeg", "loss", r"should end in .png, .svg, .pdf \(received: '.jpeg'\)"),
        (tmp_path / "a", "loss", "should end in"),
        (
            tmp_path / "a.png",
            "los",
            r"no run has a curve of 'los' \(there are: loss\); did you mean",
        ),
    ]:
        with pytest.raises(UsageError, match=message):
            save(curves({"A": [curve(3)]}, metric), path)
    with pytest.raises(UsageError, match="there are: none"):
        save(curves({"A": [{}]}, "loss"), tmp_path / "a.png")
    assert list(tmp_path.iterdir()) == []


def test_without_matplotlib(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(UsageError, match=r"pip install 'nnexp\[plot\]'"):
        save(curves({"A": [curve(3)]}, "loss"), tmp_path / "a.png")


def test_pyplot_is_not_touched(tmp_path: Path) -> None:
    save(curves({"A": [curve(3)]}, "loss"), tmp_path / "a.png")
    assert "matplotlib.pyplot" not in sys.modules


def test_smoothing_keeps_lines_and_gaps() -> None:
    line = np.linspace(3, 1, 100)
    np.testing.assert_allclose(smooth(line), line)
    line[5] = np.nan
    assert np.isnan(smooth(line)).nonzero()[0].tolist() == [5]
    noisy = np.random.default_rng(0).normal(size=300)
    assert smooth(noisy).std() < 0.5 * noisy.std()


def test_the_best_epoch_of_dev_is_marked() -> None:
    history = {
        "epoch": np.arange(1, 5),
        "train/accuracy": np.array([0.1, 0.2, 0.3, 0.4]),
        "dev/accuracy": np.array([0.1, np.nan, 0.6, 0.5]),
    }
    (axes,) = curves({"A": [history]}, "accuracy").axes
    assert axes.collections[-1].get_offsets().tolist() == [[3, 0.6]]
    (axes,) = curves({"A": [curve(5)]}, "loss").axes
    np.testing.assert_allclose(axes.collections[-1].get_offsets(), [[5, 0.6]])


def test_a_log_scale_follows_the_values() -> None:
    scales = [
        curves({"A": [curve(5, 2.0, end)]}, "loss").axes[0].get_yscale() for end in (0.001, 0.5)
    ]
    assert scales == ["log", "linear"]


def test_a_stopped_member_does_not_hold_the_mean_back() -> None:
    epoch, values = aligned([{"dev/loss": np.array([4.0])}, curve(2)], "dev/loss")
    assert epoch.tolist() == [1, 2]
    np.testing.assert_allclose(mean_interval(values)[0], [(4 + 2.1) / 2, 0.6])


@pytest.mark.parametrize("name", sorted(Metric.registered))
def test_every_metric_is_better_on_the_side_it_says(name: str) -> None:
    metric = Metric.registered[name]
    assert issubclass(metric, Metric)
    assert higher_is_better(name) == metric.higher_is_better
    assert not higher_is_better("loss")
