"""The random streams: known values for ever, uniform, independent, blind to pack and slicing."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from nnexp import streams

SPLITMIX = {  # published outputs of SplitMix64, by seed
    0: [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F, 0xF88BB8A8724C81EC],
    1234567: [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ],
}
GOLDEN = 0x9E3779B97F4A7C15
ALPHA = 1e-4  # of each statistical test; the streams are fixed, so a test passes always or never

Seeds = st.integers(0, 2**53)


def signed(x: int) -> int:
    x %= 1 << 64
    return x - (1 << 64) if x >> 63 else x


def unmixed(x: int) -> int:
    """The number that SplitMix64's finalizer maps to `x`."""

    def unshift(y: int, by: int) -> int:
        z = y
        for _ in range(64 // by):
            z = y ^ (z >> by)
        return z

    x = unshift(x, 31) * pow(0x94D049BB133111EB, -1, 1 << 64) % (1 << 64)
    x = unshift(x, 27) * pow(0xBF58476D1CE4E5B9, -1, 1 << 64) % (1 << 64)
    return unshift(x, 30)


def masks(
    seeds: list[int],
    step: int,
    layer: int,
    rows: int,
    columns: int,
    rate: object = 0.5,
    first: int = 0,
) -> torch.Tensor:
    members = streams.member_keys(seeds, streams.DROPOUT, "cpu")
    return streams.keep_mask(members, step, layer, rows, columns, rate, first)


# -- known answers ---------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", SPLITMIX)
def test_mix64_gives_the_published_values(seed: int) -> None:
    inputs = [signed(seed + (i + 1) * GOLDEN) for i in range(len(SPLITMIX[seed]))]
    expected = [signed(x) for x in SPLITMIX[seed]]
    assert streams.mix64(np.array(inputs, dtype=np.int64)).tolist() == expected
    assert streams.mix64(torch.tensor(inputs)).tolist() == expected
    assert [streams.key(signed(x - GOLDEN)) for x in inputs] == expected


@pytest.mark.parametrize("seed", SPLITMIX)
def test_uniform_is_splitmix64_as_a_fraction(seed: int) -> None:
    expected = [x / 2**64 for x in SPLITMIX[seed]]
    drawn = streams.uniform(seed, 1 + len(expected))[1:]
    np.testing.assert_allclose(drawn, expected, rtol=0, atol=2**-51)


def test_normal_is_box_and_mullers() -> None:
    u, v = streams.uniform(seed := 5, 20).reshape(2, 10)
    radius, angle = np.sqrt(-2 * np.log(u)), 2 * np.pi * v
    expected = np.concatenate([radius * np.cos(angle), radius * np.sin(angle)])
    np.testing.assert_allclose(streams.normal(seed, 20), expected, rtol=1e-12)
    assert np.array_equal(streams.normal(seed, 19), streams.normal(seed, 20)[:19])


def test_streams_stay_the_same_for_ever() -> None:
    """Written down when runs were first made: other values would make all of them another run."""
    assert streams.key(3, streams.ORDER, 7) == 4814992432826539422
    assert streams.permutation(5, 8).tolist() == [0, 2, 7, 4, 5, 3, 6, 1]
    keys = streams.member_keys([0, 1, 2**53], streams.DROPOUT, "cpu")
    assert keys.dtype is torch.int32
    assert keys.tolist() == [550540417, 840412675, 2002584772]
    kept = ["".join("01"[bit] for bit in row) for row in masks([1], 2, 3, 4, 8)[0].int()]
    assert kept == ["01100011", "11111000", "01011111", "10100010"]


def test_the_purposes_are_distinct() -> None:
    purposes = [
        streams.INITIALIZATION,
        streams.ORDER,
        streams.DROPOUT,
        streams.SAMPLER,
        streams.AUGMENTATION,
        streams.SPLIT,
        streams.SUBSET,
    ]
    assert purposes == [1, 2, 3, 4, 5, 6, 7]  # renumbering would change every run


# -- keys ------------------------------------------------------------------------------------------


def test_keys_differ_for_every_seed_purpose_and_step_and_by_order() -> None:
    parts = [(s, p, t) for s in range(40) for p in range(1, 8) for t in range(40)]
    assert len({streams.key(*p) for p in parts}) == len(parts)
    assert streams.key(1, 2) != streams.key(2, 1)
    assert streams.key(1) != streams.key(1, 0)


@given(st.lists(st.integers(-(2**70), 2**70), max_size=4))
def test_a_key_is_a_signed_64_bit_number(parts: list[int]) -> None:
    assert -(2**63) <= streams.key(*parts) < 2**63


# -- numbers on the host ---------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [0, 1, -1, streams.key(4, streams.INITIALIZATION, 2)])
def test_uniform_is_uniform_and_without_memory(stream: int) -> None:
    x = streams.uniform(stream, 100_000)
    assert stats.kstest(x, "uniform").pvalue > ALPHA
    bins = np.histogram(x, 256, (0, 1))[0]
    assert stats.chisquare(bins).pvalue > ALPHA
    for lag in (1, 2, 3, 64):
        assert abs(np.corrcoef(x[:-lag], x[lag:])[0, 1]) < 4 / np.sqrt(len(x))
    pairs = np.histogram2d(x[::2], x[1::2], 16, ((0, 1), (0, 1)))[0]
    assert stats.chisquare(pairs.ravel()).pvalue > ALPHA


@pytest.mark.parametrize("bits", [0, (1 << 64) - 1])
def test_uniform_never_reaches_its_ends(bits: int) -> None:
    drawn = streams.uniform(signed(unmixed(bits)), 1)[0]
    assert 0.0 < drawn < 1.0


@given(Seeds, st.integers(0, 50), st.integers(0, 50))
def test_uniform_from_a_position_is_the_rest_of_the_stream(stream: int, start: int, n: int) -> None:
    whole = streams.uniform(stream, start + n)
    assert np.array_equal(streams.uniform(stream, n, start=start), whole[start:])


@pytest.mark.parametrize("count", [100_000, 99_999])
def test_normal_is_standard_normal(count: int) -> None:
    x = streams.normal(streams.key(1, streams.INITIALIZATION, 0), count)
    assert x.shape == (count,)
    assert x.dtype == np.float64
    assert stats.kstest(x, "norm").pvalue > ALPHA
    half = count // 2
    assert abs(np.corrcoef(x[:half], x[-half:])[0, 1]) < 4 / np.sqrt(half)  # cosines and sines
    assert abs(np.corrcoef(x[:-1], x[1:])[0, 1]) < 4 / np.sqrt(count)


@pytest.mark.parametrize("draw", [streams.uniform, streams.normal, streams.permutation])
def test_none_are_drawn_when_none_are_asked_for(draw: object) -> None:
    assert callable(draw)
    assert draw(3, 0).shape == (0,)


def test_streams_of_different_seeds_purposes_and_steps_are_independent() -> None:
    keys = [streams.key(s, p, t) for s in (0, 1, 2) for p in (1, 2) for t in (0, 1, 2)]
    table = np.stack([streams.uniform(k, 20_000) for k in keys])
    away = np.corrcoef(table)[np.triu_indices(len(keys), 1)]
    assert np.abs(away).max() < 4.5 / np.sqrt(20_000)


# -- permutations ----------------------------------------------------------------------------------


@given(st.lists(Seeds, min_size=1, max_size=5), st.integers(1, 200))
@settings(max_examples=30, deadline=None)
def test_permutations_are_the_same_on_host_and_device(keys: list[int], count: int) -> None:
    rows = streams.permutations(keys, count, "cpu")
    assert torch.equal(rows, streams._permutations_there(keys, count, "cpu"))
    assert rows.dtype == torch.int64
    for key, row in zip(keys, rows, strict=True):
        expected = streams.permutation(key, count)
        assert sorted(expected) == list(range(count))
        assert row.tolist() == expected.tolist()


def test_every_order_of_four_is_equally_likely() -> None:
    orders = streams.permutations(
        [streams.key(s, streams.ORDER, 0) for s in range(24_000)], 4, "cpu"
    )
    code = (orders * torch.tensor([64, 16, 4, 1])).sum(1)
    counts = torch.unique(code, return_counts=True)[1]
    assert len(counts) == 24
    assert stats.chisquare(counts.numpy()).pvalue > ALPHA


# -- dropout's masks -------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [0.0, 0.1, 1 / 3, 0.5, 0.9, 0.999])
def test_a_unit_is_dropped_with_the_given_probability(rate: float) -> None:
    kept = masks([0, 5], 3, 1, 500, 200, rate)
    assert kept.shape == (2, 500, 200)
    assert kept.dtype is torch.bool
    for member in kept:
        dropped, units = int((~member).sum()), member.numel()
        assert stats.binomtest(dropped, units, rate).pvalue > ALPHA


def test_rates_may_differ_between_members_and_agree_with_the_same_rate_alone() -> None:
    rates = [0.0, 0.25, 0.9]
    tensor = torch.tensor(rates, dtype=torch.float64).view(3, 1, 1)
    together = masks([4, 5, 6], 9, 2, 50, 40, tensor)
    for number, rate in enumerate(rates):
        assert torch.equal(together[number], masks([4 + number], 9, 2, 50, 40, rate)[0])
    assert together[0].all()


def test_dropped_units_are_spread_evenly_over_rows_and_columns() -> None:
    kept = masks([0], 0, 0, 2000, 300)[0].double()
    for share, of in ((kept.mean(0), 2000), (kept.mean(1), 300)):
        z2 = (share - 0.5).square() * 4 * of
        total = float(z2.sum())
        assert ALPHA < stats.chi2.sf(total, len(z2)) < 1 - ALPHA


def test_rows_and_columns_of_a_mask_are_uncorrelated() -> None:
    kept = masks([7], 11, 4, 1024, 256)[0].double().numpy()
    for table in (kept, kept.T):
        away = np.corrcoef(table)[np.triu_indices(len(table), 1)]
        bound = 6 / np.sqrt(table.shape[1])  # up to 5·10⁵ pairs
        assert np.abs(away).max() < bound
        variance = away.var() * (table.shape[1] - 1)
        assert abs(variance - 1) < 6 * np.sqrt(2 / len(away))


def test_squares_of_rows_and_columns_are_even() -> None:
    """The product over two rows and columns catches masks made of a row and a column part."""
    sign = masks([3], 1, 1, 1000, 1000)[0].double() * 2 - 1
    for rows, columns in ((1, 1), (2, 1), (1, 16), (64, 64)):
        product = sign[:-rows, :-columns] * sign[rows:, :-columns]
        product = product * sign[:-rows, columns:] * sign[rows:, columns:]
        assert abs(float(product.mean())) < 5 / np.sqrt(product.numel())


@pytest.mark.parametrize("rate", [0.5, 0.05])
def test_masks_of_different_members_steps_and_layers_are_uncorrelated(rate: float) -> None:
    cases = [(m, s, y) for m in (0, 1, 2) for s in (0, 1, 2, 100) for y in (0, 1, 2)]
    table = np.stack([masks([m], s, y, 100, 200, rate).numpy().ravel() for m, s, y in cases])
    away = np.corrcoef(table.astype(np.float64))[np.triu_indices(len(cases), 1)]
    assert np.abs(away).max() < 4.5 / np.sqrt(table.shape[1])


@given(Seeds, st.integers(0, 10**9), st.integers(0, 100), st.integers(1, 20), st.integers(1, 20))
@settings(max_examples=40, deadline=None)
def test_slices_of_a_batch_agree_with_the_whole(
    seed: int, step: int, layer: int, rows: int, cut: int
) -> None:
    whole = masks([seed], step, layer, rows + cut, 7)
    parts = [masks([seed], step, layer, cut, 7), masks([seed], step, layer, rows, 7, first=cut)]
    assert torch.equal(whole, torch.cat(parts, 1))
    assert torch.equal(whole[:, :, :5], masks([seed], step, layer, rows + cut, 5))


@given(st.lists(Seeds, min_size=2, max_size=6, unique=True), st.integers(0, 10**6))
@settings(max_examples=40, deadline=None)
def test_a_member_does_not_depend_on_its_pack(seeds: list[int], step: int) -> None:
    together = masks(seeds, step, 1, 6, 9)
    alone = torch.cat([masks([seed], step, 1, 6, 9) for seed in seeds])
    assert torch.equal(together, alone)


def test_uniforms_are_those_of_each_stream() -> None:
    keys = [streams.key(seed, streams.SAMPLER) for seed in range(3)]
    together = streams.uniforms(keys, 100, "cpu").numpy()
    for row, key in zip(together, keys, strict=True):
        np.testing.assert_array_equal(row, streams.uniform(key, 100))


def test_normals_are_normal_and_a_members_own() -> None:
    members = streams.member_keys(range(4), streams.NOISE, "cpu")
    z = streams.normals(members, 3, 1, 50, 400)
    assert stats.kstest(z.flatten().numpy(), "norm").pvalue > ALPHA
    assert torch.isfinite(z).all()
    torch.testing.assert_close(streams.normals(members[2:3], 3, 1, 50, 400)[0], z[2])
    later = streams.normals(members, 3, 1, 20, 400, first=30)
    torch.testing.assert_close(later, z[:, 30:])
    for step, layer in ((4, 1), (3, 2)):
        other = streams.normals(members, step, layer, 50, 400)
        assert abs(np.corrcoef(z.flatten(), other.flatten())[0, 1]) < 0.02
