"""Pictures can't be held against a reference bit by bit; what they must show can."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from nnexp.components.metrics.metric import Metric
from nnexp.errors import UsageError
from nnexp.report import plots
from nnexp.report.plots import learning_curves


def curve(epochs: int, start: float = 2.0, end: float = 0.5) -> dict[str, np.ndarray]:
    train = np.geomspace(start, end, epochs)
    return {"epoch": np.arange(1, epochs + 1), "train/loss": train, "dev/loss": train + 0.1}


@pytest.mark.parametrize(
    ("suffix", "magic"),
    [(".png", b"\x89PNG"), (".svg", b"<?xml"), (".pdf", b"%PDF"), (".PNG", b"\x89PNG")],
)
def test_formats(tmp_path: Path, suffix: str, magic: bytes) -> None:
    path = tmp_path / f"curves{suffix}"
    learning_curves({"A": [curve(5)], "B": [curve(7), curve(4)]}, "loss", path)
    assert path.read_bytes().startswith(magic)


@pytest.mark.parametrize("suffix", [".svg", ".png"])
def test_the_same_curves_give_the_same_file(tmp_path: Path, suffix: str) -> None:
    paths = [tmp_path / f"{i}{suffix}" for i in (0, 1)]
    for path in paths:
        learning_curves({"A": [curve(80)]}, "loss", path)
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
    learning_curves(named, "loss", tmp_path / "odd.png")


def test_no_picture_is_left_by_an_error(tmp_path: Path) -> None:
    for path, metric, message in [
        (tmp_path / "a.jpeg", "loss", r"should end in .pdf, .png, .svg \(received: '.jpeg'\)"),
        (tmp_path / "a", "loss", "should end in"),
        (
            tmp_path / "a.png",
            "los",
            r"no run has a curve of 'los' \(there are: loss\); did you mean",
        ),
    ]:
        with pytest.raises(UsageError, match=message):
            learning_curves({"A": [curve(3)]}, metric, path)
    with pytest.raises(UsageError, match="there are: none"):
        learning_curves({"A": [{}]}, "loss", tmp_path / "a.png")
    assert list(tmp_path.iterdir()) == []


def test_without_matplotlib(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(UsageError, match=r"pip install 'nnexp\[plot\]'"):
        learning_curves({"A": [curve(3)]}, "loss", tmp_path / "a.png")


def test_pyplot_is_not_touched(tmp_path: Path) -> None:
    learning_curves({"A": [curve(3)]}, "loss", tmp_path / "a.png")
    assert "matplotlib.pyplot" not in sys.modules


def test_smoothing_keeps_lines_and_gaps() -> None:
    line = np.linspace(3, 1, 100)
    np.testing.assert_allclose(plots.smooth(line), line)
    line[5] = np.nan
    assert np.isnan(plots.smooth(line)).nonzero()[0].tolist() == [5]
    noisy = np.random.default_rng(0).normal(size=300)
    assert plots.smooth(noisy).std() < 0.5 * noisy.std()


def test_best_epoch_and_log_scale_follow_the_metric() -> None:
    assert plots._best(np.array([3.0, np.nan, 1.0, 2.0]), "loss") == 2
    assert plots._best(np.array([0.1, 0.9, 0.5]), "accuracy") == 1
    assert plots._wants_log({"A": [curve(5, 2.0, 0.01)]}, "loss")
    assert not plots._wants_log({"A": [curve(5, 2.0, 0.5)]}, "loss")
    assert not plots._wants_log({"A": [{"dev/accuracy": np.array([0.001, 0.9])}]}, "accuracy")


def test_a_stopped_member_does_not_hold_the_mean_back() -> None:
    epoch, values = plots._aligned([{"dev/loss": np.array([4.0])}, curve(2)], "dev/loss")
    assert epoch.tolist() == [1, 2]
    np.testing.assert_allclose(plots._over_members(np.nanmean, values), [(4 + 2.1) / 2, 0.6])


@pytest.mark.parametrize("name", sorted(Metric.registered))
def test_every_metric_is_better_on_the_side_it_says(name: str) -> None:
    metric = Metric.registered[name]
    assert issubclass(metric, Metric)
    assert plots._higher_is_better(f"dev/{name}") == metric.higher_is_better
