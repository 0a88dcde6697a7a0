import numpy as np
import pytest
import sklearn.datasets
from scipy.stats import norm

from nnexp.components.datasets import Dataset
from nnexp.components.datasets.synthetic import Blobs
from nnexp.registry import choose

NAMES = [
    *("moons", "circles", "spirals", "blobs", "correlated_gaussians", "pure_noise"),
    "friedman1",
]


def draw(name, **fields):
    table = choose(Dataset, {"name": name, **fields}).load()
    return table.features.flat(), table.target, table


@pytest.mark.parametrize("name", NAMES)
def test_the_seed_alone_decides(name):
    x, _, table = draw(name, n=50)
    again, _, same = draw(name, n=50)
    other, _, differs = draw(name, n=50, seed=1)
    np.testing.assert_array_equal(x, again)
    assert table.fingerprint == same.fingerprint != differs.fingerprint
    assert not np.array_equal(x, other)
    assert table.ids.tolist() == list(range(50))


@pytest.mark.parametrize("name", ["moons", "circles"])
def test_without_noise_the_points_lie_on_scikit_learns_curves(name):
    make = getattr(sklearn.datasets, f"make_{name}")
    extra = {"factor": 0.5} if name == "circles" else {}
    curve, classes = make(n_samples=20_000, noise=None, **extra)
    x, y, _ = draw(name, n=200, noise=0)
    for point, label in zip(x, y, strict=True):
        assert np.linalg.norm(curve[classes == label] - point, axis=1).min() < 1e-3


def test_spirals_lie_on_their_arms():
    x, y, table = draw("spirals", n=300, noise=0, classes=3, turns=2.0)
    radius, angle = np.hypot(*x.T), np.arctan2(x[:, 1], x[:, 0])
    off = (angle / (2 * np.pi) - 2 * radius - y / 3 + 0.5) % 1 - 0.5
    np.testing.assert_allclose(off, 0, atol=1e-9)
    assert table.classes == ("0", "1", "2")


def test_noise_has_its_standard_deviation():
    exact, noisy = (draw("moons", n=20_000, noise=s)[0] for s in (0, 0.3))
    assert (noisy - exact).std() == pytest.approx(0.3, rel=0.02)


def test_blobs_have_their_centres_and_spread():
    x, y, _ = draw("blobs", n=9000, classes=3, features=4, spread=0.5)
    exact = draw("blobs", n=9000, classes=3, features=4, spread=0)[0]
    for label in range(3):
        assert len(np.unique(exact[y == label], axis=0)) == 1
        assert x[y == label].std(axis=0) == pytest.approx(0.5, rel=0.1)
    assert abs(exact).max() <= 10


def test_correlated_gaussians_have_their_covariance_and_best_error():
    x, y, _ = draw("correlated_gaussians", n=40_000, features=4, correlation=0.8, separation=0.7)
    within = x[y == 1]
    np.testing.assert_allclose(np.cov(within.T), 0.2 * np.eye(4) + 0.8, atol=0.05)
    gap = x[y == 1].mean(axis=0) - x[y == 0].mean(axis=0)
    assert np.linalg.norm(gap) == pytest.approx(0.7, abs=0.05)
    wrong = ((x @ np.array([1, -1, 1, -1]) > 0) != y).mean()
    assert wrong == pytest.approx(norm.cdf(-0.7 / (2 * 0.2**0.5)), abs=0.01)


def test_pure_noise_says_nothing_of_the_class():
    x, y, table = draw("pure_noise", n=20_000, features=5, classes=4)
    assert np.bincount(y) / len(y) == pytest.approx([0.25] * 4, abs=0.02)
    assert abs(np.corrcoef(x.T, y)[-1, :-1]).max() < 0.03
    assert len(table.classes) == 4
    assert draw("pure_noise", n=2, classes=9)[2].classes == tuple("012345678")


def test_friedman1_is_its_formula():
    x, y, table = draw("friedman1", n=30_000, features=7, noise=0)
    curve = 10 * np.sin(np.pi * x[:, 0] * x[:, 1]) + 20 * (x[:, 2] - 0.5) ** 2
    np.testing.assert_allclose(y[:, 0], curve + 10 * x[:, 3] + 5 * x[:, 4], rtol=1e-12)
    assert table.classes is None
    _, reference = sklearn.datasets.make_friedman1(n_samples=30_000, random_state=0)
    assert y.mean() == pytest.approx(reference.mean(), rel=0.02)
    assert y.std() == pytest.approx(reference.std(), rel=0.02)
    noisy = draw("friedman1", n=30_000, features=7, noise=2)[1]
    assert (noisy - y).std() == pytest.approx(2, rel=0.02)


def test_blobs_of_different_sizes() -> None:
    table = Blobs(n=1000, classes=3, shares=[0.7, 0.25, 0.05]).load()
    assert np.bincount(table.target).tolist() == pytest.approx([700, 250, 50], abs=3)
    assert Blobs(classes=2, shares=[0.5, 0.4]).conflicts() == [
        ("shares", "add up to 0.9, not to 1")
    ]
    assert Blobs(classes=3, shares=[0.5, 0.5]).conflicts()[0][0] == "shares"
