"""Every sampler against the frequencies that it promises."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nnexp import streams
from nnexp.components.samplers import Among, HardExamples, Sampler, State, Stream

CPU = torch.device("cpu")
SIZES = (40, 12, 3, 1)
TARGETS = torch.repeat_interleave(torch.arange(4), torch.tensor(SIZES))[None]
ROWS = TARGETS.shape[1]


def keys(count: int = 1, start: int = 0) -> list[int]:
    return [streams.key(start + i, streams.ORDER, 0) for i in range(count)]


def order(sampler: Sampler, targets: torch.Tensor = TARGETS, batch: int = 8, **how: Any) -> Any:
    given_keys = how.get("keys", keys())
    state: State = how.get("state") or sampler.init(len(given_keys), targets.shape[1], CPU)
    among = Among(targets.shape[1], CPU, lambda: targets)
    return sampler.order(given_keys, among, state, batch)


def shares(sampler: Sampler, epochs: int = 400, **how: Any) -> np.ndarray:
    """How often each position is drawn an epoch, over many epochs."""
    found = order(sampler, keys=keys(epochs), **how).flatten().numpy()
    return np.bincount(found, minlength=ROWS) / epochs


def once(sampler: Sampler) -> None:
    for row in order(sampler, keys=keys(20)):
        assert sorted(row.tolist()) == list(range(ROWS))


def with_replacement(_: Sampler) -> None:
    sampler = Sampler.registered["uniform"](replacement=True)
    assert isinstance(sampler, Sampler)
    np.testing.assert_allclose(shares(sampler, 4000), np.ones(ROWS), atol=5 / math.sqrt(4000))
    missed = [ROWS - len(set(row.tolist())) for row in order(sampler, keys=keys(1000))]
    assert np.mean(missed) / ROWS == pytest.approx((1 - 1 / ROWS) ** ROWS, abs=0.01)
    once(Sampler.registered["uniform"]())  # type: ignore[arg-type]


def balanced(sampler: Sampler) -> None:
    drawn = shares(sampler, 2000)
    by_class = np.bincount(TARGETS[0].numpy(), weights=drawn)
    np.testing.assert_allclose(by_class, np.full(4, ROWS / 4), rtol=0.02)
    np.testing.assert_allclose(drawn[:40], ROWS / 4 / 40, rtol=0.2)


def diverse(sampler: Sampler) -> None:
    once(sampler)
    targets = torch.repeat_interleave(torch.arange(4), 14)[None]
    for row in order(sampler, targets, keys=keys(20)):
        for batch in row.view(-1, 8):  # of 4 classes in equal parts, 8 hold each twice
            assert np.bincount(targets[0, batch].numpy(), minlength=4).tolist() == [2] * 4


def hard(sampler: Sampler) -> None:
    assert isinstance(sampler, HardExamples)
    state = sampler.init(1, ROWS, CPU)
    np.testing.assert_allclose(shares_of(sampler, state), np.ones(ROWS), atol=0.1)
    losses = torch.ones(1, ROWS, dtype=torch.float64)
    losses[0, 0], losses[0, 1] = 3.0, 1000.0
    sampler.observe(state, torch.arange(ROWS)[None], losses)
    np.testing.assert_allclose(shares_of(sampler, state), np.ones(ROWS), atol=0.1)  # not yet
    sampler.renew(state)
    capped = np.array([3.0, 5.0, *[1.0] * (ROWS - 2)])  # 5 times the median, whatever the outlier
    expected = ROWS * (0.5 / ROWS + 0.5 * capped / capped.sum())
    np.testing.assert_allclose(shares_of(sampler, state), expected, atol=0.1)


def shares_of(sampler: Sampler, state: State) -> np.ndarray:
    repeated = {name: tensor.expand(4000, -1) for name, tensor in state.items()}
    return shares(sampler, 4000, state=repeated)


def fading(sampler: Sampler) -> None:
    stream = Stream(forgetting=0.8)
    assert sampler.draws(ROWS, 8) == 8 * ROWS
    rows = order(stream, keys=keys(1000)).view(1000, ROWS, 8)
    assert (rows[:, :, 0] == torch.arange(ROWS)).all()
    assert (rows[:, 1:, 1:] < torch.arange(1, ROWS)[:, None]).all()
    ages = (ROWS - 2 - rows[:, -1, 1:]).flatten().numpy()
    law = 0.8 ** np.arange(ROWS - 1)
    drawn = np.bincount(ages, minlength=ROWS - 1) / len(ages)
    np.testing.assert_allclose(drawn, law / law.sum(), atol=0.02)
    alike = order(Stream(forgetting=1.0), keys=keys(1000)).view(1000, ROWS, 8)[:, -1, 1:]
    drawn = np.bincount(alike.flatten().numpy(), minlength=ROWS - 1)[: ROWS - 1] / alike.numel()
    np.testing.assert_allclose(drawn, np.full(ROWS - 1, 1 / (ROWS - 1)), atol=0.01)


REFERENCES: dict[str, Callable[[Sampler], None]] = {
    "uniform": with_replacement,
    "class_balanced": balanced,
    "class_diverse": diverse,
    "hard_examples": hard,
    "stream": fading,
}


@pytest.mark.parametrize("name", sorted(Sampler.registered))
def test_it_draws_what_it_promises(name: str) -> None:
    sampler = Sampler.registered[name]()
    assert isinstance(sampler, Sampler)
    REFERENCES[name](sampler)


@pytest.mark.parametrize("name", sorted(Sampler.registered))
@given(
    targets=st.lists(st.integers(0, 5), min_size=1, max_size=40),
    seed=st.integers(0, 2**40),
    batch=st.integers(1, 9),
)
def test_positions_exist_and_each_member_draws_for_itself(
    name: str, targets: list[int], seed: int, batch: int
) -> None:
    sampler = Sampler.registered[name]()
    assert isinstance(sampler, Sampler)
    rows = torch.tensor([targets])
    several = keys(3, seed)
    together = order(sampler, rows, batch, keys=several)
    assert together.shape == (3, sampler.draws(len(targets), batch))
    assert together.dtype is torch.int64
    assert 0 <= int(together.min()) <= int(together.max()) < len(targets)
    for key, row in zip(several, together, strict=True):
        assert torch.equal(order(sampler, rows, batch, keys=[key])[0], row)


def test_losses_of_an_example_drawn_twice_do_not_depend_on_their_order() -> None:
    sampler, found = HardExamples(), []
    for losses in ([1.0, 2.0, 3.0], [3.0, 2.0, 1.0]):
        state = sampler.init(1, 4, CPU)
        sampler.observe(state, torch.tensor([[2, 0, 2]]), torch.tensor([losses]))
        found.append(state["losses"][0, [0, 2]].tolist())
    assert found == [[2.0, 3.0], [2.0, 3.0]]


def test_a_hard_example_is_forgotten_as_its_loss_falls() -> None:
    sampler, state = HardExamples(memory=0.5), HardExamples().init(1, 2, CPU)
    for loss in (8.0, 0.0, 0.0):
        sampler.observe(state, torch.tensor([[0]]), torch.tensor([[loss]]))
    assert state["losses"][0, 0] == 2.0
    assert math.isinf(state["losses"][0, 1])  # not drawn yet


def test_losses_that_are_all_zero_or_infinite_leave_a_law() -> None:
    sampler = HardExamples()
    for value in (0.0, math.inf, math.nan):
        state = sampler.init(1, 5, CPU)
        sampler.observe(state, torch.arange(5)[None], torch.full((1, 5), value))
        sampler.renew(state)
        torch.testing.assert_close(state["chances"], torch.full((1, 5), 0.2).double())


@pytest.mark.parametrize("forgetting", [1 - 1e-7, 1 - 1e-9, 1 - 2**-53])
def test_a_stream_that_hardly_forgets_draws_from_all_of_the_past_alike(forgetting: float) -> None:
    rows = order(Stream(forgetting=forgetting), keys=keys(500)).view(500, ROWS, 8)
    ages = (ROWS - 2 - rows[:, -1, 1:]).flatten().numpy()
    drawn = np.bincount(ages, minlength=ROWS - 1) / len(ages)
    np.testing.assert_allclose(drawn, np.full(ROWS - 1, 1 / (ROWS - 1)), atol=0.01)
