"""Quantiles of samples against numpy.quantile, padded and bounded ones too."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as some

from nnexp.train.quantiles import QUANTILES, Sample, drawn, quantiles

Number = some.floats(-1e6, 1e6, width=32)
Sheets = some.lists(
    some.integers(1, 9).flatmap(
        lambda n: some.lists(some.lists(Number, min_size=n, max_size=n), min_size=2, max_size=2)
    ),
    min_size=1,
    max_size=4,
)


@given(Sheets)
def test_they_are_numpys(sheets: list[list[list[float]]]) -> None:
    samples = [drawn(torch.tensor(sheet)) for sheet in sheets]
    found = quantiles(samples).numpy()
    assert found.shape == (2, len(sheets), 5)
    for at, sheet in enumerate(sheets):
        expected = np.quantile(np.array(sheet, np.float32).astype(float), QUANTILES, axis=1).T
        np.testing.assert_allclose(found[:, at], expected, rtol=1e-12, atol=1e-6)


def test_what_does_not_count_is_left_out() -> None:
    random = np.random.default_rng(0)
    values, where = random.standard_normal((3, 7, 5)), random.random((3, 7, 5)) < 0.6
    where[2] = False
    sample = drawn(torch.tensor(values), torch.tensor(where))
    found = quantiles([Sample(torch.zeros(3, 50, dtype=torch.float64)), sample]).numpy()[:, 1]
    for member in range(2):
        expected = np.quantile(values[member][where[member]], QUANTILES)
        np.testing.assert_allclose(found[member], expected, rtol=1e-12)
    assert np.isnan(found[2]).all()


@pytest.mark.parametrize("width", [1, 2, 64, 4096])
def test_of_many_numbers_few_are_looked_at_and_all_columns_are_seen(width: int) -> None:
    rows = 2**21 // width
    sheet = torch.arange(width, dtype=torch.float32).expand(1, rows, width)
    sample = drawn(sheet)
    assert sample.values.shape[1] < 4096
    seen = np.bincount(sample.values[0].long().numpy(), minlength=width)
    assert seen.min() >= 0.9 * seen.mean() - 1
    assert seen.max() <= 1.1 * seen.mean() + 1
    counted = drawn(sheet, sheet % 2 == 0)
    assert counted.counts is not None
    assert counted.counts.tolist() == [int((sample.values % 2 == 0).sum())]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_number_that_is_none_makes_all_unknown(dtype: Any) -> None:
    sheet = torch.zeros(2, 9, dtype=dtype)
    sheet[0, 4] = torch.nan
    found = quantiles([drawn(sheet), drawn(torch.ones(2, 20, dtype=dtype))])
    assert found[0, 0].isnan().all()
    assert not found[1].isnan().any()
