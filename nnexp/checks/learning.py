"""Whether the network starts at chance, can learn at all, and what penalties add."""

from __future__ import annotations

import math
import time

from nnexp.checks.subject import Subject, losses_of_nothing
from nnexp.checks.verdict import Verdict, judged
from nnexp.components.layer import Context
from nnexp.components.optimizers.rules import Adam
from nnexp.components.schedules import ConstantRate
from nnexp.config.experiment import Experiment
from nnexp.lazy import torch
from nnexp.train import evaluate
from nnexp.train.program import Program
from nnexp.train.step import Working

RATES = (1e-3, 3e-3, 1e-2, 3e-2)
"""Learning rates that are tried at once on the small subset."""
EXAMPLES = 20
UPDATES = 400
SECONDS = 4.0
"""Time after which overfitting is given up."""

_TRIED = 40


def first_loss(subject: Subject, examples: int = 256) -> Verdict:
    """The loss before training, against outputs that say nothing."""
    name, program = "first loss", subject.program([subject.experiment])
    x, y = subject.batch(examples)
    with torch.no_grad():
        params = program.layout.views(subject.start.to(program.compute_dtype))
        buffers = program.buffer_layout.views(program.initial_buffers())
        ctx = Context(training=True, members=program.dropout_keys)
        loss = float(program.training_losses(params, buffers, x, y, ctx).double().mean())
        nothing = losses_of_nothing(program, y)
    if not math.isfinite(loss):
        return Verdict(name, "fail", f"it is {loss}", "see the scale of inputs and weights")
    if nothing is None:
        return Verdict(name, "pass", f"{loss:.4g} a pair")
    chance = float(nothing.double().mean())
    off, size = abs(loss - chance), max(chance, 1e-3)
    text, usual = f"{loss:.4g}; chance is {chance:.4g}", _usual(subject)
    if chance < 0 and usual is not None:
        return Verdict(name, "fail", text, "losses of classes are never below 0: see its sign")
    if off <= 0.5 * size and usual is not None and not 0.1 <= chance / usual <= 10:
        text += f", where {usual:.4g} is usual"
        advice = "losses, and so gradients, are of another size: see the loss and `class_weights`"
        return Verdict(name, "look", text, advice)
    return judged(
        name,
        text,
        look=off > 0.5 * size,
        fail=off > 3 * size,
        advice="outputs should start near 0: smaller weights in the last layer, inputs of scale "
        "1; a loss far below chance means that the target leaks in",
    )


def _usual(subject: Subject) -> float | None:
    """What chance is without weights of classes, as far as it is known for the task."""
    loss, targets = subject.experiment.loss, subject.pack.signature.targets
    if loss is None or loss.class_weights == "balanced" or targets < 2:
        return None
    is_of_classes = subject.experiment.task in ("classification", "dense")
    return loss.chance(targets) or (math.log(targets) if is_of_classes else None)


def regularization(subject: Subject) -> Verdict:
    """What the penalties add to the first loss."""
    name, program = "regularization", subject.program([subject.experiment])
    if not program.regularizers:
        return Verdict(name, "pass", "none is asked for")
    working = subject.working(program)
    size = min(subject.pack.batch, 256)
    x, y = subject.batch(size)
    with torch.no_grad():
        loss = float(working.losses(working.params, x, y, 0).double().mean())
    added = evaluate.penalty(program, working.params, subject.pack.batch)[0]
    names = ", ".join(spec.component for spec, _, _ in program.regularizers)
    penalties = [s for s, _, _ in program.regularizers if s.component in ("l1", "l2")]
    if not any(spec.coefficient for spec in penalties):
        return Verdict(name, "pass", f"{names}: no penalty on the loss")
    return judged(
        name,
        f"{names}: the loss rises from {loss:.4g} to {loss + added:.4g}",
        look=not 0 < added <= 3 * abs(loss),
        fail=not 0 <= added <= 100 * abs(loss),
        advice="the penalty outweighs the loss: a smaller coefficient"
        if added > 0
        else "it changes nothing: it acts on no weight, or all of them start at 0",
    )


def overfits(subject: Subject) -> Verdict:
    """Whether a few examples can be learnt by heart, with all regularization off."""
    name, member = "overfitting a few", subject.experiment
    if member.task == "words":
        return Verdict(name, "pass", "not asked of word vectors, whose loss has no 0")
    members = [_free(member, rate) for rate in RATES]
    program = subject.program(members)
    few = program.layout.size // (4 * max(program.outputs, 1))
    count = max(2, min(EXAMPLES, few, subject.pack.signature.train_rows))
    x, y = subject.batch(count, len(members), draw=1)
    working = subject.working(program)
    first = losses_of_nothing(program, y)
    assert first is not None
    chance, best, done = float(first.double().mean()), math.inf, 0
    begun = time.monotonic()
    while done < UPDATES and not (done > _TRIED and time.monotonic() - begun > SECONDS):
        losses = working.step(x, y, done, _rates(program), None)
        done += 1
        best = min(best, float(losses.double().mean(1).nan_to_num(math.inf).min()))
        if best <= 0.02 * chance or time.monotonic() - begun > 2 * SECONDS:
            break
    right = _share_right(program, working, x, y)
    learnt = best <= max(0.1 * chance, 1e-6) or right == 1.0
    text = f"{count} examples: loss {chance:.4g} → {best:.2g} in {done} updates of adam"
    if not learnt and done < UPDATES and best <= 0.7 * chance:  # a slow network on its way there
        return Verdict(name, "pass", f"{text}, for which there was time, and still falling")
    return judged(
        name,
        text,
        look=not learnt,
        fail=not learnt and done >= _TRIED and best > 0.7 * chance,
        advice="a network that can't learn a few examples by heart won't learn many: see the "
        "signals, the start of the weights, the activation, whether inputs fit targets; or it is "
        "too small",
    )


def _free(member: Experiment, rate: float) -> Experiment:
    """The experiment with nothing but the network, the loss and adam."""
    return member.model_copy(
        update={
            "regularization": {},
            "augmentation": [],
            "optimizer": Adam(lr=rate, layers=member.optimizer.layers),
            "schedule": ConstantRate(),
            "training": member.training.model_copy(
                update={
                    "clip_grad_norm": 1.0,
                    "clip_grad_value": None,
                    "activation_checkpointing": False,
                }
            ),
        }
    )


def _rates(program: Program) -> torch.Tensor:
    rates = [m.optimizer.lr for m in program.members]
    return torch.tensor(rates, dtype=torch.float64, device=program.device)[:, None]


def _share_right(program: Program, working: Working, x: torch.Tensor, y: torch.Tensor) -> float:
    """The share of classes that the best member has right; 0 of a task without."""
    if program.task != "classification":
        return 0.0
    with torch.no_grad():
        params = program.layout.views(working.params.to(program.compute_dtype))
        out = program.forward(params, working.buffers, x, Context(True, program.dropout_keys))
        return float((program.loss.decide(out) == y).double().mean(1).max())
