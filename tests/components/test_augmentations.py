"""Every augmentation against scipy or the formula in float64, and the law of what it draws."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage, stats

from nnexp import streams
from nnexp.components.augmentations import Augmentation, warp
from nnexp.components.augmentations.base import Chance
from nnexp.components.augmentations.geometric import Elastic, Geometric
from nnexp.registry import choose

CPU = torch.device("cpu")
HEIGHT, WIDTH = 9, 12
MANY = 20_000


def make(name: str, **fields: Any) -> Any:
    return choose(Augmentation, {"name": name, **fields})


def chance(rows: int = MANY, step: int = 3, members: int = 1) -> Chance:
    return Chance(streams.member_keys(range(members), streams.AUGMENTATION, CPU), step, 0, rows)


def hyper(spec: Augmentation) -> dict[str, Any]:
    return {field: getattr(spec, field) for field in type(spec).model_fields}


def maps(name: str, rows: int = MANY, **fields: Any) -> np.ndarray:
    """The affine map of each example, `[B, 2, 3]`."""
    spec = make(name, **fields)
    found = spec.matrix(hyper(spec), chance(rows), (HEIGHT, WIDTH))
    return np.asarray(found[0])


def images(rows: int = 5, channels: int = 2, seed: int = 0) -> torch.Tensor:
    random = np.random.default_rng(seed)
    return torch.tensor(random.standard_normal((1, rows, channels, HEIGHT, WIDTH)))


def is_uniform(values: np.ndarray, low: float, high: float) -> None:
    assert stats.kstest(values, "uniform", (low, high - low)).pvalue > 1e-4


# -- what is drawn ---------------------------------------------------------------------------------


def rotates() -> None:
    found = maps("rotate", degrees=20.0)
    angle = np.degrees(np.arctan2(found[:, 0, 1], found[:, 0, 0]))
    is_uniform(angle, -20, 20)
    linear = found[:, :, :2]
    unit = np.broadcast_to(np.eye(2), linear.shape)
    np.testing.assert_allclose(linear @ linear.transpose(0, 2, 1), unit, atol=1e-12)
    np.testing.assert_allclose(np.linalg.det(linear), 1.0)
    assert (found[:, :, 2] == 0).all()


def translates() -> None:
    found = maps("translate", share=0.25)
    is_uniform(found[:, 0, 2], -0.25 * WIDTH, 0.25 * WIDTH)
    is_uniform(found[:, 1, 2], -0.25 * HEIGHT, 0.25 * HEIGHT)
    assert abs(np.corrcoef(found[:, 0, 2], found[:, 1, 2])[0, 1]) < 0.03
    assert (found[:, :, :2] == np.eye(2)).all()


def shears() -> None:
    found = maps("shear", degrees=30.0)
    is_uniform(np.degrees(np.arctan(-found[:, 0, 1])), -30, 30)
    found[:, 0, 1] = 0.0
    assert (found == np.eye(2, 3)).all()


def scales() -> None:
    found = maps("scale", low=0.5, high=1.5)
    is_uniform(1.0 / found[:, 0, 0], 0.5, 1.5)
    assert (found[:, 0, 0] == found[:, 1, 1]).all()


def resizes() -> None:
    found = maps("resize", low=7, high=18)
    heights = HEIGHT / found[:, 0, 0]
    np.testing.assert_allclose(heights, heights.round(), atol=1e-9)
    counts = np.bincount(heights.round().astype(int), minlength=19)
    assert (counts[:7] == 0).all()
    assert stats.chisquare(counts[7:]).pvalue > 1e-4
    # what is seen lies within the image: half an image's width away at most
    reach = np.abs(found[:, 0, 2]) + 0.5 * WIDTH * found[:, 0, 0]
    larger = heights.round() >= HEIGHT
    assert reach[larger].max() <= 0.5 * WIDTH + 1e-9
    assert reach[larger].max() > 0.499 * WIDTH
    assert (found[~larger, :, 2] == 0).all()
    assert (maps("resize", low=7, high=18, place="center")[:, :, 2] == 0).all()


def crops() -> None:
    found = maps("crop", padding=3)
    for axis in (0, 1):
        shift = found[:, axis, 2]
        assert (shift == shift.round()).all()
        counts = np.bincount((shift + 3).astype(int), minlength=7)
        assert len(counts) == 7
        assert stats.chisquare(counts).pvalue > 1e-4


def flips() -> None:
    assert (maps("flip")[:, :, :2] == np.diag([-1.0, 1.0])).all()
    assert (maps("flip", direction="vertical")[:, :, :2] == np.diag([1.0, -1.0])).all()
    happens = np.asarray(chance().happens(make("flip").p))
    assert happens.mean() == pytest.approx(0.5, abs=0.02)


def bends() -> None:
    """Simard's field: uniform noise under scipy's Gaussian filter, times α."""
    spec, taken = Elastic(alpha=34.0, sigma=1.5), chance(50)
    noise = np.asarray(taken.field((2, HEIGHT, WIDTH), torch.float64))
    is_uniform(noise.ravel(), -1, 1)
    found = spec.field(hyper(spec), taken, (HEIGHT, WIDTH), torch.float64)
    assert found is not None
    across = ndimage.gaussian_filter1d(noise, 1.5, axis=-1, mode="constant")
    expected = 34.0 * ndimage.gaussian_filter1d(across, 1.5, axis=-2, mode="constant")
    np.testing.assert_allclose(np.asarray(found), expected, atol=1e-12)


def stretches() -> None:
    x = images(MANY, 1)
    spec = make("contrast", strength=0.4)
    found = np.asarray(spec.apply(x, hyper(spec), chance()))
    before = np.asarray(x)
    factor = found.std((2, 3, 4)) / before.std((2, 3, 4))
    is_uniform(factor[0], 0.6, 1.4)
    mean = before.mean((3, 4), keepdims=True)
    right = mean + factor[..., None, None, None] * (before - mean)
    np.testing.assert_allclose(found, right, atol=1e-12)


def lights() -> None:
    x = images(MANY, 1)
    spec = make("brightness", strength=0.3)
    change = np.asarray(spec.apply(x, hyper(spec), chance()) - x)
    is_uniform(change[0, :, 0, 0, 0], -0.3, 0.3)
    np.testing.assert_allclose(change, change[..., :1, :1].repeat(HEIGHT, 3).repeat(WIDTH, 4))


def adds_noise() -> None:
    x = images(500)
    spec = make("noise", std=0.5)
    added = np.asarray(spec.apply(x, hyper(spec), chance(500)) - x).ravel()
    assert stats.kstest(added, "norm", (0.0, 0.5)).pvalue > 1e-4
    row = torch.zeros(2, 30, 4)
    assert spec.apply(row, hyper(spec), chance(30, members=2)).unique().numel() == row.numel()


def erases() -> None:
    x = torch.ones(1, 4000, 2, 20, 20, dtype=torch.float64)
    spec = make("erase", p=1.0, low=0.1, high=0.3)
    gone = np.asarray(spec.apply(x, hyper(spec), chance(4000)) == 0)[0]
    assert (gone[:, 0] == gone[:, 1]).all()
    gone = gone[:, 0]
    tall, wide = gone.any(2).sum(1), gone.any(1).sum(1)
    assert (gone.sum((1, 2)) == tall * wide).all()  # a rectangle
    share = gone.mean((1, 2))
    assert share.mean() == pytest.approx(0.2, abs=0.005)
    assert share.min() > 0.07
    assert share.max() < 0.34
    form = tall / wide
    assert np.exp(np.log(form).mean()) == pytest.approx(1.0, abs=0.05)
    assert form.max() < 4.2
    assert form.min() > 1 / 4.2
    assert gone.any(0).all()  # and anywhere


REFERENCES: dict[str, Callable[[], None]] = {
    "rotate": rotates,
    "translate": translates,
    "shear": shears,
    "scale": scales,
    "resize": resizes,
    "crop": crops,
    "flip": flips,
    "elastic": bends,
    "contrast": stretches,
    "brightness": lights,
    "noise": adds_noise,
    "erase": erases,
}


@pytest.mark.parametrize("name", sorted(Augmentation.registered))
def test_it_draws_what_it_promises(name: str) -> None:
    REFERENCES[name]()


@pytest.mark.parametrize("name", sorted(Augmentation.registered))
def test_p_is_the_share_of_examples_that_change(name: str) -> None:
    spec = make(name, p=0.3)
    if isinstance(spec, Geometric):
        happens = chance().happens(0.3)
        assert happens is not None
        assert float(happens.double().mean()) == pytest.approx(0.3, abs=0.02)
        return
    x = images(4000, 1)
    before = x.clone()
    changed = (spec.apply(x, hyper(spec), chance(4000)) != x).flatten(2).any(2)
    assert float(changed.double().mean()) == pytest.approx(0.3, abs=0.03)
    assert torch.equal(x, before)
    assert torch.equal(spec.apply(x, {**hyper(spec), "p": 0.0}, chance(4000)), x)


def test_draws_depend_on_all_that_they_are_for() -> None:
    one = chance(50).uniform(3)
    keys = streams.member_keys([0], streams.AUGMENTATION, CPU)
    for other in (
        chance(50, step=4),
        Chance(keys, 3, 1, 50),
        Chance(keys, 3, 0, 50, first=50),
        Chance(streams.member_keys([1], streams.AUGMENTATION, CPU), 3, 0, 50),
    ):
        assert not (other.uniform(3) == one).any()
    assert not (chance(50).uniform(3, of=2) == one).any()
    assert torch.equal(Chance(keys, 3, 0, 20, first=30).uniform(3), one[:, 30:])


# -- moving pixels ---------------------------------------------------------------------------------

MODES = {"edge": "nearest", "zeros": "constant", "reflect": "reflect"}


def by_scipy(x: np.ndarray, matrix: np.ndarray, field: Any, border: str) -> np.ndarray:
    """Images `[N, C, H, W]`, each pixel taken where its map says, by scipy's splines of order 1."""
    height, width = x.shape[-2:]
    row, column = np.mgrid[:height, :width].astype(float)
    u = np.stack([column - (width - 1) / 2, row - (height - 1) / 2, np.ones_like(row)])
    found = np.empty_like(x)
    for n in range(len(x)):
        moved = u.copy()
        if field is not None:
            moved[:2] += field[n]
        across, down = np.einsum("ij,jhw->ihw", matrix[n], moved)
        at = np.stack([down + (height - 1) / 2, across + (width - 1) / 2])
        for c in range(x.shape[1]):
            # scipy's "constant" jumps to 0 outside; a frame of zeros makes it slope there
            padded, where = x[n, c], at
            if border == "zeros":
                padded = np.pad(x[n, c], 30)
                where = at + 30
            found[n, c] = ndimage.map_coordinates(padded, where, order=1, mode=MODES[border])
    return found


@pytest.mark.parametrize("border", list(MODES))
@given(seed=st.integers(0, 1000), bent=st.booleans())
def test_resampling_is_scipys(border: Any, seed: int, bent: bool) -> None:
    random = np.random.default_rng(seed)
    matrix = np.eye(2, 3) + random.uniform(-0.4, 0.4, (3, 2, 3)) * [1, 1, 6]
    field = random.uniform(-2, 2, (3, 2, HEIGHT, WIDTH)) if bent else None
    x = images(3, seed=seed)[0]
    grid = warp.places(
        torch.tensor(matrix),
        None if field is None else torch.tensor(field),
        (HEIGHT, WIDTH),
        torch.float64,
    )
    found = warp.resample(x, grid, border)
    expected = by_scipy(np.asarray(x), matrix, field, border)
    np.testing.assert_allclose(np.asarray(found), expected, atol=1e-9)


def test_one_map_after_another_is_their_composition() -> None:
    random = np.random.default_rng(1)
    a, b = random.standard_normal((2, 4, 2, 3))
    points = random.standard_normal((4, 2, 7))

    def through(matrix: np.ndarray, at: np.ndarray) -> np.ndarray:
        return np.asarray(matrix[:, :, :2] @ at + matrix[:, :, 2:])

    both = np.asarray(warp.compose(torch.tensor(a), torch.tensor(b)))
    np.testing.assert_allclose(through(both, points), through(a, through(b, points)), atol=1e-12)


def test_a_quarter_turn_is_exact() -> None:
    from nnexp.components.augmentations.geometric import turned

    x = images()[0, :, :, :, :HEIGHT]
    for quarters in range(4):
        matrix = turned(torch.tensor([quarters * math.pi / 2] * 5, dtype=torch.float64))
        grid = warp.places(matrix, None, (HEIGHT, HEIGHT), torch.float64)
        found = warp.resample(x, grid, "edge")
        expected = torch.rot90(x, -quarters, (2, 3))  # clockwise
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_classes_move_as_their_pixels_do() -> None:
    """An image of its own classes, moved by whole pixels, still shows them."""
    random = np.random.default_rng(2)
    y = torch.tensor(random.integers(-1, 7, (6, HEIGHT, WIDTH)))
    shift = torch.tensor(random.integers(-4, 5, (6, 2)).astype(float))
    matrix = torch.cat([torch.eye(2, dtype=torch.float64).expand(6, 2, 2), shift[..., None]], 2)
    grid = warp.places(matrix, None, (HEIGHT, WIDTH), torch.float64)
    found = warp.resample_classes(y, grid)
    # one more than the class, so that outside is 0 in an image with zeros around it
    shown = warp.resample((y + 1)[:, None].double(), grid, "zeros")[:, 0]
    torch.testing.assert_close(found.double() + 1, shown, rtol=0, atol=1e-9)
    assert found.dtype == y.dtype


@pytest.mark.parametrize("name", ["scale", "resize", "erase"])
def test_limits_the_wrong_way_round_are_told(name: str) -> None:
    low, high = (9, 3) if name == "resize" else (0.9, 0.3)
    assert make(name, low=low, high=high).conflict() == f"low {low:g} is above high {high:g}"
    assert make(name).conflict() == ""
