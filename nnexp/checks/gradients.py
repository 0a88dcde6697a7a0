"""The gradient against differences of the loss, in float64, through the whole network."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from nnexp import streams
from nnexp.checks.subject import CHECKS, Subject
from nnexp.checks.verdict import Verdict
from nnexp.components.layer import Context, Seen
from nnexp.components.regularizers import L1
from nnexp.config.experiment import Experiment
from nnexp.lazy import torch
from nnexp.train.program import Program
from nnexp.train.step import Working

EPSILON = 1e-5
"""Half the distance of two-sided differences; smaller ones drown in rounding."""
GOOD, LOOK, WRONG = 1e-7, 1e-5, 1e-3
"""‖difference‖ / (‖gradient‖ + ‖numeric‖) up to which a gradient is good, and from which it
deserves a look, or is wrong."""
EXAMPLES = 8
COORDINATES = 120
SECONDS = 1.5
"""Time after which no further coordinates are compared, in each of two comparisons."""
UPDATES = 10
"""Updates after which the gradient is checked once more."""

_KINKED = ("relu", "leaky_relu", "prelu", "noisy_relu", "elu", "selu", "tanh_linear", "step")
_NUMBERS = 4_000_000
_LEAST = 24
_KINK = 2e-5


@dataclass(frozen=True)
class Compared:
    """How a gradient and the differences compare.

    error: ‖difference‖ / (‖gradient‖ + ‖numeric‖). worst: the tensors that are furthest off, with
    their own error. checked, left_out: coordinates that were compared, and not, as the loss has a
    kink within reach.
    """

    error: float
    worst: tuple[tuple[str, float], ...]
    checked: int
    left_out: int


def check_gradient(subject: Subject) -> Verdict:
    """A verdict on the gradient at the start and after a little training, penalties included."""
    name, member = "gradient", _smooth(subject.in_double)
    one = subject.program([member])
    if any(stage.layer.component == "step" for stage in one.stages):
        return Verdict(name, "pass", "not comparable: step units have a gradient by convention")
    x, y = subject.batch(EXAMPLES, draw=2)
    working = subject.working(one)
    found = [compare(subject, member, working, x, y)]
    if member.optimizer.uses_gradient and not member.optimizer.full_batch:
        for step in range(UPDATES):
            working.step(x, y, step, min(member.optimizer.lr, 1e-2), None)
        if bool(torch.isfinite(working.params).all()):
            found.append(compare(subject, member, working, x, y))
    worst = max(found, key=lambda c: np.inf if math.isnan(c.error) else c.error)
    return _verdict(name, worst, found)


def _verdict(name: str, worst: Compared, found: Sequence[Compared]) -> Verdict:
    checked, left = sum(c.checked for c in found), sum(c.left_out for c in found)
    text = f"relative error {worst.error:.1e} over {checked} coordinates"
    text += f" ({left} at kinks left out)" if left else ""
    if not checked:
        text = f"nothing compared: all {left} coordinates are at kinks"
        return Verdict(name, "look", text, "weights that start at random are rarely at one")
    if worst.error <= GOOD:
        return Verdict(name, "pass", f"{text}: good")
    if worst.error <= LOOK:
        return Verdict(name, "pass", f"{text}; {GOOD:g} is good, {LOOK:g} deserves a look")
    text += f"; {GOOD:g} is good, {WRONG:g} is wrong"
    blocks = ", ".join(f"{block} {error:.1e}" for block, error in worst.worst)
    advice = f"furthest off: {blocks}; look at those layers' gradients"
    return Verdict(name, "look" if worst.error < WRONG else "fail", text, advice)


def _smooth(member: Experiment) -> Experiment:
    """The experiment with every penalty in the gradient, and all activations kept."""
    penalties = {
        name: spec.model_copy(update={"step": "subgradient"}) if isinstance(spec, L1) else spec
        for name, spec in member.regularization.items()
    }
    training = member.training.model_copy(update={"activation_checkpointing": False})
    changes = {"regularization": penalties, "training": training, "augmentation": []}
    return member.model_copy(update=changes)


def compare(
    subject: Subject, member: Experiment, at: Working, x: torch.Tensor, y: torch.Tensor
) -> Compared:
    """The gradient at a single member's parameters, against differences at some coordinates."""
    program, params, buffers = at.program, at.params.clone(), at.tensors["buffers"].clone()
    slopes = _slope(subject, program, params, buffers, x, y)
    picked = _coordinates(program, slopes, subject.experiment.seed)
    numeric, left_out = _numeric(subject, member, params, buffers, picked, x, y)
    picked = picked[: len(numeric)]
    slope = slopes[picked].cpu().numpy()
    use, scale = ~left_out, float(np.abs(numeric).max(initial=0.0))
    starts = [entry.start for entry in program.layout.entries]
    blocks = np.searchsorted(starts, picked.numpy(), "right") - 1
    by_block = {}
    for block in np.unique(blocks[use]).tolist():
        its = use & (blocks == block)
        error = _relative(slope[its], numeric[its], 1e-5 * scale)
        by_block[program.layout.entries[block].name] = error
    worst = sorted(by_block.items(), key=lambda item: -item[1])[:3]
    error = _relative(slope[use], numeric[use], 1e-9)
    return Compared(error, tuple(worst), int(use.sum()), int(left_out.sum()))


def _relative(a: np.ndarray, b: np.ndarray, floor: float) -> float:
    """‖a − b‖ / (‖a‖ + ‖b‖); no denominator is below the floor."""
    size = float(np.linalg.norm(a) + np.linalg.norm(b))
    return float(np.linalg.norm(a - b)) / max(size, floor, 1e-300)


def _coordinates(program: Program, slopes: torch.Tensor, seed: int) -> torch.Tensor:
    """Some coordinates of tensors that training moves, of as many as may be, taken in turn.

    Every other one is drawn; the rest are where a tensor's gradient is largest, as most of a table
    of vectors gets none from a few examples.
    """
    entries = [e for e in program.layout.entries if e.layer not in program.frozen]
    if len(entries) > COORDINATES:
        entries = [entries[i * len(entries) // COORDINATES] for i in range(COORDINATES)]
    each, found = -(-COORDINATES // max(2 * len(entries), 1)), []
    for entry in entries:
        size = entry.stop - entry.start
        top = slopes[entry.start : entry.stop].abs().topk(min(each, size)).indices.cpu().numpy()
        drawn = streams.uniform(streams.key(seed, CHECKS, 3, entry.start), len(top))
        places = np.stack([top, (drawn * size).astype(np.int64)], 1).ravel()
        found.append([entry.start + place for place in dict.fromkeys(places.tolist())])
    rounds = itertools.chain.from_iterable(itertools.zip_longest(*found))
    return torch.as_tensor([place for place in rounds if place is not None][:COORDINATES])


def _slope(
    subject: Subject,
    program: Program,
    params: torch.Tensor,
    buffers: torch.Tensor,
    x: torch.Tensor,
    y: torch.Tensor,
) -> torch.Tensor:
    """The gradient of mean loss and penalties at one member's parameters, `[P]`."""
    working = Working(program, {"params": params.clone(), "buffers": buffers.clone()})
    _, grads = working.gradients(x, y, 0)
    with torch.no_grad():
        for spec, hyper, scope in program.regularizers:
            spec.add_gradient(grads, params, scope, hyper, subject.sizes(x.shape[1]))
    return grads[0].clone()


def _numeric(
    subject: Subject,
    member: Experiment,
    params: torch.Tensor,
    buffers: torch.Tensor,
    picked: torch.Tensor,
    x: torch.Tensor,
    y: torch.Tensor,
) -> tuple[np.ndarray, np.ndarray]:
    """Two-sided differences at some coordinates, and which of them have a kink within reach.

    At the first ones only, if time is short. What bends by curvature bends a quarter as much at
    half the distance, and is no kink.
    """
    differences = partial(_differences, subject, member, params, buffers, x, y)
    numeric, bends, left_out = differences(picked, EPSILON, SECONDS)
    limit = _KINK * float(np.abs(numeric).max(initial=0.0))
    asked = np.flatnonzero(~left_out & (np.abs(bends) > limit))
    if len(asked):
        _, half, _ = differences(picked[torch.as_tensor(asked)], EPSILON / 2, math.inf)
        left_out[asked] = np.abs(bends[asked] - 2 * half) > limit
    return numeric, left_out


def _differences(
    subject: Subject,
    member: Experiment,
    params: torch.Tensor,
    buffers: torch.Tensor,
    x: torch.Tensor,
    y: torch.Tensor,
    picked: torch.Tensor,
    epsilon: float,
    seconds: float,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(f(+ε) − f(−ε)) / 2ε, (f(+ε) + f(−ε) − 2f(0)) / 2ε, and whether a unit changes sides.

    A pack takes many coordinates at once: each member's parameters are off at one. After so many
    seconds no further ones are begun.
    """
    together = int(max(1, min(32, _NUMBERS // params.shape[1], len(picked))))
    program = subject.program([member] * (2 * together))
    middle = _objective(subject, subject.program([member]), params, buffers, x, y)[0]
    moved, rows = params.repeat(2 * together, 1), torch.arange(2 * together, device=params.device)
    signs = epsilon * (1 - 2 * (rows % 2).to(params.dtype))
    slopes, bends, changes = [], [], []
    begun = time.monotonic()
    for first in range(0, len(picked), together):
        if first >= _LEAST and time.monotonic() - begun > seconds:
            break
        places = picked[first : first + together].repeat_interleave(2).to(params.device)
        count = len(places)
        moved[rows[:count], places] += signs[:count]
        values, patterns = _objective(subject, program, moved, buffers, x, y)
        moved[rows[:count], places] = params[0, places]
        plus, minus = values[:count:2], values[1:count:2]
        slopes.append((plus - minus) / (2 * epsilon))
        bends.append((plus + minus - 2 * middle) / (2 * epsilon))
        changes.append((patterns[:count:2] != patterns[1:count:2]).any(1))
    return np.concatenate(slopes), np.concatenate(bends), np.concatenate(changes)


def _objective(
    subject: Subject,
    program: Program,
    params: torch.Tensor,
    buffers: torch.Tensor,
    x: torch.Tensor,
    y: torch.Tensor,
) -> tuple[np.ndarray, np.ndarray]:
    """Each member's mean loss and penalties, and on which side of its kink each unit is."""
    size, tape = program.size, list[Seen]()
    with torch.no_grad():
        views = program.layout.views(params)
        state = program.buffer_layout.views(buffers.repeat(size, 1))
        ctx = Context(training=True, members=program.dropout_keys)
        x, y = x.expand(size, *x.shape[1:]), y.expand(size, *y.shape[1:])
        out = program.forward(views, state, x, ctx, tape, views)
        total = program.losses(out, y).double().mean(1)
        for spec, hyper, scope in program.regularizers:
            total = total + spec.penalty(params, scope, hyper, subject.sizes(x.shape[1]))
        sides = [
            (seen.x > 0).flatten(1)
            for seen, stage in zip(tape, program.stages, strict=False)
            if stage.layer.component in _KINKED
        ]
        sides.append(torch.zeros(size, 1, dtype=torch.bool, device=x.device))
        return total.cpu().numpy(), torch.cat(sides, 1).cpu().numpy()
