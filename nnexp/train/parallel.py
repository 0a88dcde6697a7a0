"""One training shared by several processes: each takes a part of every batch.

Every process holds all parameters and makes the same update, from the gradient of the whole batch.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from nnexp.errors import UsageError
from nnexp.lazy import torch
from nnexp.train.program import Program
from nnexp.train.state import MemberState, TrainState


@dataclass(frozen=True)
class Ranks:
    """The processes that train together, and which of them this one is; alone unless told."""

    rank: int = 0
    size: int = 1

    def share(self, start: int, stop: int) -> tuple[int, int]:
        """The part of a batch, from start to stop, that this process takes.

        Shares differ by one example at most. A process that none is left for gets the first
        example, which then counts for nothing.
        """
        rows = stop - start
        first, end = (rows * rank // self.size for rank in (self.rank, self.rank + 1))
        return (start + first, start + end) if end > first else (start, start + 1)

    def joined(
        self, losses: torch.Tensor, grads: torch.Tensor, rows: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Losses `[M, rows]` and gradient `[M, P]` of a whole batch, from those of the share."""
        if self.size == 1:
            return losses, grads
        first, end = (rows * rank // self.size for rank in (self.rank, self.rank + 1))
        whole = losses.new_zeros(losses.shape[0], rows)
        if end > first:
            whole[:, first:end] = losses
            grads.mul_((end - first) / rows)
        else:
            grads.zero_()
        _distributed().all_reduce(whole)
        _distributed().all_reduce(grads)
        return whole, grads

    def agreed(self, wish: bool, device: torch.device) -> bool:
        """Whether any process wishes something: all get the same answer."""
        if self.size == 1:
            return wish
        vote = torch.tensor(int(wish), device=device)
        _distributed().all_reduce(vote, op=_distributed().ReduceOp.MAX)
        return bool(vote)

    def same(self, state: TrainState) -> None:
        """Makes a state, of the same form on all processes, the first one's on all of them."""
        if self.size == 1:
            return
        plain = [state.to_json()]
        _distributed().broadcast_object_list(plain, 0)
        state.step = plain[0]["step"]
        state.members = [MemberState(**member) for member in plain[0]["members"]]
        for name in sorted(state.tensors):
            _distributed().broadcast(state.tensors[name], 0)


def told_rank() -> int:
    """This process's number among those that torchrun has started; 0 without torchrun."""
    return int(os.environ.get("RANK", "0")) if told_size() > 1 else 0


def told_size() -> int:
    """How many processes torchrun has started; 1 without it."""
    there = "TORCHELASTIC_RUN_ID" in os.environ or "MASTER_ADDR" in os.environ
    size = os.environ.get("WORLD_SIZE", "1")
    return int(size) if there and size.isdigit() else 1


@contextmanager
def joined_ranks(device: torch.device) -> Iterator[Ranks]:
    """The processes that torchrun started, connected, as its environment tells of them; this one
    alone without it.
    """
    if told_size() == 1:
        yield Ranks()
        return
    distributed = _distributed()
    if device.type == "cuda":
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield Ranks(distributed.get_rank(), distributed.get_world_size())
    finally:
        distributed.destroy_process_group()


def check_parallel(program: Program) -> None:
    """Raises UsageError with all that keeps a program from being trained by several processes."""
    optimizer, problems = program.optimizer, list[str]()
    if optimizer.judges or optimizer.full_batch or optimizer.curved or not optimizer.uses_gradient:
        problems.append(f"optimizer {optimizer.component} looks at the loss more than once")
    if program.buffer_layout.entries:
        problems.append("batch_norm would take its statistics of a part of the batch only")
    if program.task == "words":
        problems.append("the task is words")
    if problems:
        raise UsageError(f"several processes can't train this run: {'; '.join(problems)}")


def _distributed() -> Any:
    """Imported only where it is used: it takes a while."""
    from torch import distributed

    return distributed
