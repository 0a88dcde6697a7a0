"""Every initializer: the moments of its law, its bounds, and streams that never mix."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from nnexp import streams
from nnexp.components.inits import (
    Constant,
    DeltaOrthogonal,
    FanSumUniform,
    GlorotSigmoid,
    GlorotUniform,
    HeNormal,
    HeUniform,
    Initializer,
    Normal,
    Orthogonal,
    Sparse,
    Uniform,
)
from nnexp.components.layer import Slot
from nnexp.components.layers.basic import Linear
from nnexp.components.layers.convolution import Conv2d


@dataclass(frozen=True)
class Law:
    """The distribution of one weight, and its standard deviation in a layer's slot."""

    kind: Literal["constant", "normal", "uniform", "orthogonal", "other"]
    std: Callable[[Slot], float]


REFERENCES: dict[str, Law] = {
    "constant": Law("constant", lambda _: 0.0),
    "normal": Law("normal", lambda _: 0.01),
    "glorot_normal": Law("normal", lambda s: (2 / (s.fan_in + s.fan_out)) ** 0.5),
    "glorot_uniform": Law("uniform", lambda s: (2 / (s.fan_in + s.fan_out)) ** 0.5),
    "glorot_sigmoid": Law("uniform", lambda s: 4 * (2 / (s.fan_in + s.fan_out)) ** 0.5),
    "he_normal": Law("normal", lambda s: (2 / s.fan_in) ** 0.5),
    "he_uniform": Law("uniform", lambda s: (2 / s.fan_in) ** 0.5),
    "lecun_normal": Law("normal", lambda s: s.fan_in**-0.5),
    "lecun_uniform": Law("uniform", lambda s: s.fan_in**-0.5),
    "uniform": Law("uniform", lambda _: 0.05 / 3**0.5),
    "fan_sum_uniform": Law("other", lambda s: (12 * (s.fan_in + s.fan_out)) ** -0.5),
    "sparse": Law("other", lambda s: s.fan_in**-0.5),
    "delta_orthogonal": Law("other", lambda s: max(s.shape[:2]) ** -0.5),
    "orthogonal": Law("orthogonal", lambda s: max(s.shape[0], math.prod(s.shape[1:])) ** -0.5),
}
"""The law of a weight for each initializer without options."""

SLOTS: dict[str, Slot] = {
    "tall": Linear(units=60).declare((300,)).slots[0],
    "wide": Linear(units=400).declare((90,)).slots[0],
    "square": Linear(units=150).declare((150,)).slots[0],
    "conv": Conv2d(channels=64, kernel=3).declare((24, 9, 9)).slots[0],
    "wide conv": Conv2d(channels=8, kernel=5).declare((64, 9, 9)).slots[0],
}
ALPHA = 1e-4  # streams are fixed, so a statistical test passes always or never

Sampled = pytest.mark.parametrize(
    "name", [n for n, law in REFERENCES.items() if law.kind not in ("constant", "other")]
)
Shapes = pytest.mark.parametrize("slot", SLOTS.values(), ids=SLOTS)


def make(name: str, **options: Any) -> Initializer:
    return Initializer.registered[name].model_validate({"name": name, **options})  # type: ignore[return-value]


def sample(spec: Initializer, slot: Slot, seed: int = 0) -> np.ndarray:
    stream = streams.key(seed, streams.INITIALIZATION, 0)
    return spec.sample(slot.shape, slot.fan_in, slot.fan_out, stream)


def test_every_initializer_has_a_reference() -> None:
    resolved = {"auto", "from_run"}  # the engine makes others of them; tests/runs/test_from_run.py
    assert set(REFERENCES) == set(Initializer.registered) - resolved


def test_fans_count_inputs_and_outputs_times_the_area() -> None:
    assert (SLOTS["tall"].fan_in, SLOTS["tall"].fan_out) == (300, 60)
    assert (SLOTS["conv"].fan_in, SLOTS["conv"].fan_out) == (24 * 9, 64 * 9)


@Sampled
@Shapes
def test_a_weight_has_the_moments_of_its_law(name: str, slot: Slot) -> None:
    law, weight = REFERENCES[name], sample(make(name), slot)
    assert weight.shape == slot.shape
    assert weight.dtype == np.float64
    n, std = weight.size, law.std(slot)
    assert abs(weight.mean()) < 4 * std / math.sqrt(n)
    assert weight.std() == pytest.approx(std, rel=4 / math.sqrt(n))
    kurtosis = {"normal": 0.0, "uniform": -1.2, "orthogonal": 0.0}[law.kind]
    assert stats.kurtosis(weight.ravel()) == pytest.approx(kurtosis, abs=0.12)
    if law.kind == "normal":
        assert stats.kstest(weight.ravel() / std, "norm").pvalue > ALPHA
    if law.kind == "uniform":
        bound = math.sqrt(3) * std
        assert np.abs(weight).max() < bound
        assert np.abs(weight).max() > bound * (1 - 10 / n)
        assert stats.kstest((weight.ravel() / bound + 1) / 2, "uniform").pvalue > ALPHA


@pytest.mark.parametrize("name", REFERENCES)
@pytest.mark.parametrize("scale", [0.5, 3.0])
def test_scale_is_a_factor(name: str, scale: float) -> None:
    extra = {"value": 2.0} if name == "constant" else {}
    slot = SLOTS["conv"]
    scaled, plain = (
        sample(make(name, scale=scale, **extra), slot),
        sample(make(name, **extra), slot),
    )
    np.testing.assert_allclose(scaled, scale * plain, rtol=1e-14)
    assert np.abs(plain).max() > 0


@Sampled
def test_a_stream_gives_the_same_weights_and_another_gives_others(name: str) -> None:
    slot, spec = SLOTS["tall"], make(name)
    first, again, other = sample(spec, slot), sample(spec, slot), sample(spec, slot, seed=1)
    assert np.array_equal(first, again)
    assert abs(np.corrcoef(first.ravel(), other.ravel())[0, 1]) < 5 / math.sqrt(first.size)
    assert len(np.unique(first)) == first.size


@given(
    st.sampled_from(sorted(REFERENCES)),
    st.lists(st.integers(1, 6), min_size=2, max_size=2) | st.just([3, 2, 3, 3]),
    st.integers(0, 2**53),
)
@settings(max_examples=80, deadline=None)
def test_any_shape_is_filled_with_finite_numbers(name: str, shape: list[int], seed: int) -> None:
    fan = math.prod(shape[1:])
    weight = make(name).sample(tuple(shape), fan, shape[0], streams.key(seed))
    assert weight.shape == tuple(shape)
    assert np.isfinite(weight).all()


def test_initializers_may_differ_between_members() -> None:
    assert Normal(std=0.5).pack_key() is None
    assert HeNormal().pack_key() is None


# -- options ---------------------------------------------------------------------------------------


def test_constant_is_the_same_everywhere() -> None:
    assert (sample(Constant(), SLOTS["conv"]) == 0).all()
    assert (sample(Constant(value=-1.5, scale=2.0), SLOTS["tall"]) == -3.0).all()


def test_std_of_normal() -> None:
    weight = sample(Normal(std=2.0), SLOTS["tall"])
    assert weight.std() == pytest.approx(2.0, rel=0.03)
    np.testing.assert_allclose(weight, 200 * sample(Normal(), SLOTS["tall"]), rtol=1e-12)


def test_glorot_sigmoid_is_four_times_glorot_uniform() -> None:
    sigmoid, uniform = (sample(s, SLOTS["tall"]) for s in (GlorotSigmoid(), GlorotUniform()))
    np.testing.assert_allclose(sigmoid, 4 * uniform, rtol=1e-14)


def test_the_bounds_of_the_uniform_laws() -> None:
    """±√(6/(in + out)) and ±√(6/in)."""
    slot = SLOTS["tall"]
    assert np.abs(sample(GlorotUniform(), slot)).max() == pytest.approx((6 / 360) ** 0.5, rel=1e-3)
    assert np.abs(sample(HeUniform(), slot)).max() == pytest.approx((6 / 300) ** 0.5, rel=1e-3)


@Shapes
@pytest.mark.parametrize("gain", [1.0, 2.5])
def test_orthogonal(slot: Slot, gain: float) -> None:
    """WᵀW = gain²·I along the shorter dimension of W flattened to [units, fan_in]."""
    weight = sample(Orthogonal(gain=gain), slot).reshape(slot.shape[0], -1)
    rows, columns = weight.shape
    gram = weight.T @ weight if rows >= columns else weight @ weight.T
    np.testing.assert_allclose(gram, gain**2 * np.eye(min(rows, columns)), atol=1e-12)


def test_orthogonal_matrices_are_uniformly_distributed() -> None:
    """First entries, signs and determinants of 2000 3 × 3 matrices under Haar's law."""
    drawn = np.stack([Orthogonal().sample((3, 3), 3, 3, streams.key(n)) for n in range(2000)])
    for entry in drawn.reshape(2000, 9).T:  # uniform on [−1, 1], by Archimedes
        assert stats.kstest((entry + 1) / 2, "uniform").pvalue > ALPHA
    positive = int((np.linalg.det(drawn) > 0).sum())
    assert stats.binomtest(positive, 2000).pvalue > ALPHA


def _units(slot: Slot, weight: np.ndarray) -> np.ndarray:
    """`[units, inputs]`: a dense layer's columns, a kernel's rows."""
    return weight.T if weight.ndim == 2 else weight.reshape(slot.shape[0], -1)


@Shapes
@pytest.mark.parametrize("symmetric", [False, True])
def test_fan_sum_uniform_lies_below_one_over_the_root_of_the_fans(
    slot: Slot, symmetric: bool
) -> None:
    weight = sample(FanSumUniform(symmetric=symmetric), slot).ravel()
    bound = (slot.fan_in + slot.fan_out) ** -0.5
    low = -bound if symmetric else 0.0
    assert stats.kstest((weight - low) / (bound - low), "uniform").pvalue > ALPHA
    assert (weight.min() >= 0) == (not symmetric)


def test_the_bound_of_uniform() -> None:
    assert np.abs(sample(Uniform(bound=2.0), SLOTS["tall"])).max() == pytest.approx(2, rel=1e-3)


@Shapes
@pytest.mark.parametrize("k", [1, 10, 10_000])
def test_sparse_connects_k_inputs_a_unit(slot: Slot, k: int) -> None:
    weight = sample(Sparse(k=k), slot)
    units = _units(slot, weight)
    count = min(k, units.shape[1])
    assert ((units != 0).sum(1) == count).all()
    if k > 1:
        drawn = units[units != 0] * count**0.5
        assert stats.kstest(drawn, "norm").pvalue > ALPHA
    if k == 10:  # every input equally often
        often = (units != 0).sum(0)
        assert stats.chisquare(often).pvalue > ALPHA


def test_sparse_streams_differ() -> None:
    slot = SLOTS["tall"]
    assert np.array_equal(sample(Sparse(), slot), sample(Sparse(), slot))
    first, other = (sample(Sparse(), slot, seed) != 0 for seed in (0, 1))
    assert (first & other).mean() < 2 * (10 / 300) ** 2


@pytest.mark.parametrize("slot", [SLOTS["conv"], SLOTS["wide conv"]], ids=["conv", "wide conv"])
@pytest.mark.parametrize("gain", [1.0, 1.5])
def test_delta_orthogonal_is_an_orthogonal_map_of_each_pixels_channels(
    slot: Slot, gain: float
) -> None:
    weight = sample(DeltaOrthogonal(gain=gain), slot)
    centre = slot.shape[2] // 2
    mixing = weight[:, :, centre, centre].copy()
    weight[:, :, centre, centre] = 0
    assert (weight == 0).all()
    gram = mixing.T @ mixing if mixing.shape[0] >= mixing.shape[1] else mixing @ mixing.T
    np.testing.assert_allclose(gram, gain**2 * np.eye(len(gram)), atol=1e-12)


def test_delta_orthogonal_keeps_the_norm_of_an_image_through_many_layers() -> None:
    image = torch.tensor(np.random.default_rng(0).standard_normal((1, 4, 5, 5)))
    norm = image.norm()
    for layer in range(200):
        weight = DeltaOrthogonal().sample((4, 4, 3, 3), 36, 36, streams.key(layer))
        image = torch.nn.functional.conv2d(image, torch.tensor(weight), padding=1)
    torch.testing.assert_close(image.norm(), norm, rtol=1e-12, atol=0)


def test_delta_orthogonal_of_a_dense_layer_is_orthogonal() -> None:
    slot = SLOTS["tall"]
    np.testing.assert_array_equal(sample(DeltaOrthogonal(), slot), sample(Orthogonal(), slot))


@pytest.mark.parametrize(
    "bad",
    [
        {"name": "sparse", "k": 0},
        {"name": "uniform", "bound": 0},
        {"name": "delta_orthogonal", "gain": -1},
        {"name": "normal", "std": 0},
        {"name": "normal", "scale": -1},
        {"name": "orthogonal", "gain": 0},
        {"name": "constant", "value": 1e9},
        {"name": "he_normal", "gain": 1},
    ],
)
def test_what_makes_no_sense_is_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="validation error"):
        Initializer.registered[bad["name"]].model_validate(bad)
