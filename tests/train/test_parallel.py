"""Several processes train as one does: real ones, connected by gloo."""

from __future__ import annotations

import multiprocessing
import os
import socket
from pathlib import Path
from typing import Any

import pytest
import torch

from nnexp.errors import UsageError
from nnexp.train.loop import Hooks, Pack, train
from nnexp.train.parallel import Ranks, check_parallel, joined_ranks

CONFIGS: dict[str, dict[str, Any]] = {
    "mlp": {
        "model": {"name": "mlp", "hidden": [12, 8], "dropout": 0.3},
        "optimizer": {"name": "nesterov", "lr": 0.1},
        "regularization": {"l2": 1e-3},
        "training": {
            "epochs": 3, "batch_size": 7, "precision": "float64", "clip_grad_norm": 0.5,
        },
    },
    "cnn": {"model": {"name": "cnn", "channels": [3], "hidden": [5], "dropout": 0.2}},
    "hard": {"sampler": "hard_examples", "optimizer": "adam"},
}  # fmt: skip


def _work(rank: int, port: int, one: Pack, out: Path, last: int | None) -> None:
    torch.set_num_threads(1)
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_RANK": str(rank)}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    with joined_ranks(one.device) as ranks:
        one.ranks = ranks
        now = one.start()
        train(one, now, Hooks(expired=lambda: rank == 1 and now.step == last))
    torch.save((now.tensors["params"], now.members[0].history), out / f"{rank}.pt")


def _together(one: Pack, out: Path, last: int | None = None) -> list[Any]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    spawn = multiprocessing.get_context("spawn")
    workers = [spawn.Process(target=_work, args=(rank, port, one, out, last)) for rank in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
        if worker.is_alive():
            worker.kill()
    assert [worker.exitcode for worker in workers] == [0, 0]
    return [torch.load(out / f"{rank}.pt") for rank in range(2)]


@pytest.mark.parametrize("config", CONFIGS)
def test_two_processes_train_as_one(
    experiment: Any, pack: Any, tmp_path: Path, config: str
) -> None:
    shape = (2, 6, 6) if config == "cnn" else (6,)
    one = pack([experiment(**CONFIGS[config])], shape)  # 50 rows: the last batch is uneven
    alone = one.start()
    train(one, alone, Hooks())
    first, second = _together(one, tmp_path)
    assert torch.equal(first[0], second[0])
    assert first[1] == second[1]
    assert (first[0] - alone.tensors["params"]).abs().max() < 1e-6
    for row, expected in zip(first[1], alone.members[0].history, strict=True):
        assert row == pytest.approx(expected, abs=1e-6)


def test_when_one_process_stops_all_do(experiment: Any, pack: Any, tmp_path: Path) -> None:
    first, second = _together(pack([experiment()]), tmp_path, last=3)
    assert torch.equal(first[0], second[0])
    assert [row["step"] for row in first[1]] == [row["step"] for row in second[1]] == [3]


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_shares_hold_each_example_once(size: int) -> None:
    for start, stop in [(0, 16), (16, 33), (33, 33 + size)]:
        shares = [Ranks(rank, size).share(start, stop) for rank in range(size)]
        assert [row for share in shares for row in range(*share)] == list(range(start, stop))
        lengths = [end - first for first, end in shares]
        assert max(lengths) - min(lengths) <= 1


def test_a_process_left_without_examples_takes_one() -> None:
    assert sorted(Ranks(rank, 3).share(4, 5) for rank in range(3)) == [(4, 5)] * 3


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"model": {"name": "mlp", "hidden": [4], "batch_norm": True}}, "batch_norm"),
        ({"optimizer": "lbfgs"}, "lbfgs"),
    ],
)
def test_what_can_not_be_shared_is_refused(
    experiment: Any, pack: Any, keys: dict[str, Any], said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        check_parallel(pack([experiment(**keys)]).program([0]))
