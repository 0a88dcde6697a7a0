"""What the whole training will take, in memory and time."""

from __future__ import annotations

import time

from nnexp.checks.subject import Subject
from nnexp.checks.verdict import Verdict, judged
from nnexp.config.experiment import Experiment
from nnexp.data.prepare import Prepared
from nnexp.lazy import torch
from nnexp.runs.plan import signature
from nnexp.train import evaluate
from nnexp.train.blueprint import footprint
from nnexp.train.device import free_memory

SECONDS = 0.7
LONG = 12 * 3600.0
"""Seconds from which a training is said to be long."""


def check_memory(experiment: Experiment, prepared: Prepared, device: torch.device) -> Verdict:
    """Whether the training fits in memory; asked before anything is allocated."""
    needed = footprint(experiment, signature(prepared))
    free = free_memory()
    if device.type == "cuda":
        free = int(torch.cuda.mem_get_info(device)[0] * 0.8)
    return judged(
        "memory",
        f"about {_size(needed)} for the training, of {_size(free)} that are free",
        look=needed > free // 2,
        fail=needed > free,
        advice="a smaller `training.batch_size` or model, or `activation_checkpointing: true`",
    )


def check_time(subject: Subject) -> Verdict:
    """How long the training will take on this device, from a few updates and evaluations."""
    pack, training = subject.pack, subject.experiment.training
    each, epoch = _update_seconds(subject), _evaluation_seconds(subject)
    per_epoch = len(pack.bounds)
    seconds = pack.updates * each + -(-pack.updates // per_epoch) * epoch
    limit = 60.0 * (training.max_minutes or 0.0)
    parameters = subject.start.shape[1]
    text = f"about {_span(seconds)} for {pack.updates:,} updates of {parameters:,} parameters"
    if limit and seconds > limit:
        text += f"; it ends after {_span(limit)}"
    return judged(
        "time",
        text,
        look=min(seconds, limit or seconds) > LONG,
        advice="try it first on a share of the data (`data.subset: 0.1`), or on a GPU",
    )


def _update_seconds(subject: Subject) -> float:
    program = subject.program([subject.experiment], still=False)
    working = subject.working(program)
    rate, done, elapsed = subject.experiment.optimizer.lr, 0, 0.0
    while True:
        x, y = subject.batch(subject.pack.batch, draw=10 + done % 3)
        before = time.perf_counter()
        working.step(x, y, done, rate, None)
        _wait(subject.device)
        if done:  # the first update also warms up
            elapsed += time.perf_counter() - before
        done += 1
        if done > 1 and (elapsed > SECONDS or done > 50):
            return elapsed / (done - 1)


def _evaluation_seconds(subject: Subject) -> float:
    """Of an epoch's evaluation on train and dev, from a part of it."""
    program = subject.program([subject.experiment])
    tensors = subject.working(program).tensors
    sample, feed = subject.experiment.training.train_sample, subject.feed
    train = len(feed.parts["train"][0])
    examples = train if sample == "all" else min(train, sample)
    examples += feed.parts["dev"].shape[1] if "dev" in feed.parts else 0
    rows = feed.rows("train", [0])[:, :256]
    before = time.perf_counter()
    evaluate.evaluate(program, tensors, feed, rows, [0])
    _wait(subject.device)
    return (time.perf_counter() - before) * examples / rows.shape[1]


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _size(count: int) -> str:
    return f"{count / 2**20:,.0f} MiB" if count < 2**30 else f"{count / 2**30:,.1f} GiB"


def _span(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:,.1f} h"
