"""Signals and gradients layer by layer: vanishing, exploding, saturated, dead, alike."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from nnexp.checks.subject import Subject
from nnexp.checks.verdict import Verdict, judged
from nnexp.components.layer import Context, Seen, Shape
from nnexp.components.layers.activations import Activation
from nnexp.components.layers.residual import Join
from nnexp.components.schedules import Progress
from nnexp.lazy import torch
from nnexp.train.program import Program
from nnexp.train.step import Working, rates

EXAMPLES = 128

UPDATES = 2
"""After so many a layer that starts at 0 lets signals and gradients through."""

_FADED, _FAINT = 1e-6, 1e-3
_SQUASHING: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "sigmoid": lambda y: (y < 0.01) | (y > 0.99),
    "tanh": lambda y: y.abs() > 0.99,
    "scaled_tanh": lambda y: y.abs() > 0.99 * 1.7159,
    "rational_tanh": lambda y: y.abs() > 0.99 * 1.7159,
}
_RECTIFYING = ("relu",)


@dataclass(frozen=True)
class LayerSignal:
    """What goes through a layer before training.

    name: its number and component. on_trunk: whether no skip connection passes it by. signal: how
    far an output is from its mean over examples, root mean square. gradient: size of the gradient
    of an example's loss by the layer's outputs for it, root mean square. saturated: share of
    outputs at a flat end; dead: of units that are off for all examples; NaN where that is no
    question. alike: whether all its units have the same weights. weighted: whether it has weights,
    or closes a residual block.
    """

    name: str
    on_trunk: bool
    signal: float
    gradient: float
    saturated: float = math.nan
    dead: float = math.nan
    alike: bool = False
    weighted: bool = False


def check_signals(subject: Subject) -> list[Verdict]:
    """Verdicts on what goes through the network before training."""
    layers = signals(subject)
    trunk, when = _on_trunk(layers), ""
    moves = _moves(subject)
    if moves and trunk and not (trunk[0].signal and trunk[-1].gradient):
        trunk, when = _on_trunk(signals(subject, UPDATES)), f" after {UPDATES} updates"
    return [
        _faded("signal", f"signals{when}", [(s.name, s.signal) for s in trunk], moves),
        _faded(
            "gradient size",
            f"gradients{when}",
            [(s.name, s.gradient) for s in trunk[::-1]],
            moves,
        ),
        _most(
            "saturated units",
            [(s.name, s.saturated) for s in layers],
            (0.5, 0.9),
            "sit at a flat end, where no gradient passes: smaller inputs or weights "
            "(`initialization: glorot_normal`), or normalization",
        ),
        _most(
            "dead units",
            [(s.name, s.dead) for s in layers],
            (0.5, 0.9),
            "are 0 for every example and may stay so: `initialization: he_normal`, leaky_relu, or "
            "inputs around 0",
        ),
        _alike([s.name for s in layers[:-1] if s.alike and s.on_trunk]),
        _update(subject),
    ]


def _on_trunk(layers: Sequence[LayerSignal]) -> list[LayerSignal]:
    return [s for s in layers[:-1] if s.on_trunk and s.weighted]


def _moves(subject: Subject) -> bool:
    """Whether an update is a step along the gradient of a batch."""
    optimizer = subject.experiment.optimizer
    return optimizer.uses_gradient and not optimizer.full_batch


def signals(subject: Subject, updates: int = 0) -> list[LayerSignal]:
    """What goes through each layer for some training examples, in training mode, no dropout.

    updates: made first, as what starts at 0 lets nothing through.
    """
    member = subject.with_training(activation_checkpointing=False)
    if member.training.precision == "bf16":
        training = member.training.model_copy(update={"precision": "float32"})
        member = member.model_copy(update={"training": training})
    program = subject.program([member])
    working = subject.working(program)
    _train(subject, program, working, updates)
    x, y = subject.batch(EXAMPLES, draw=4)
    tape: list[Seen] = []
    leaves = [v.detach().requires_grad_() for v in program.layout.views(working.params)]
    ctx = Context(training=True, members=program.dropout_keys)
    out = program.forward(leaves, working.buffers, x, ctx, tape, leaves)
    loss = program.losses(out, y).mean()
    outputs = [seen.y for seen in tape]
    asked = [i for i, y in enumerate(outputs) if y.requires_grad]
    slopes = torch.autograd.grad(loss, [outputs[i] for i in asked], allow_unused=True)
    by_layer = dict(zip(asked, slopes, strict=True))
    trunk = _trunk(program)
    with torch.no_grad():
        return [
            _signal(program, index, seen, by_layer.get(index), trunk[index])
            for index, seen in enumerate(tape)
        ]


def _signal(
    program: Program, index: int, seen: Seen, slope: torch.Tensor | None, on_trunk: bool
) -> LayerSignal:
    stage, y = program.stages[index], seen.y[0].double()
    kind = stage.layer.component
    saturated = dead = math.nan
    if isinstance(stage.layer, Activation):
        if kind in _SQUASHING:
            saturated = float(_SQUASHING[kind](y).double().mean())
        if kind in _RECTIFYING:
            dead = float((y <= 0).all(0).double().mean())
    weights = [seen.own[name] for name, at in stage.params if _is_weight(program, at)]
    size = math.nan
    if slope is not None:
        size = float(torch.linalg.vector_norm(slope[0].double())) * math.sqrt(len(y))  # not mean's
    return LayerSignal(
        f"{index}.{kind}",
        on_trunk,
        float((y - y.mean(0)).square().mean().sqrt()),
        size,
        saturated,
        dead,
        any(_same_units(w[0]) for w in weights),
        bool(weights) or isinstance(stage.layer, Join),
    )


def _is_weight(program: Program, at: int) -> bool:
    return program.layout.entries[at].slot.role == "weight"


def _same_units(weight: torch.Tensor) -> bool:
    """Whether all units have the same weights: a matrix's columns; in kernels they come first."""
    units = weight.detach().double()
    units = units.T if units.ndim == 2 else units.flatten(1)
    if len(units) < 2:
        return False
    return bool(((units - units[0]).abs().max() <= 1e-12 * (1 + units.abs().max())).item())


def _trunk(program: Program) -> list[bool]:
    """For each layer whether the whole signal goes through it, and none passes it by."""
    skips: list[Shape] = []
    found, shape = [], program.shapes[0]
    for stage in program.stages:
        before = len(skips)
        shape = stage.layer.trace(shape, skips).output
        found.append(len(skips) == 0 or (before == 0 and len(skips) == 0))
    return found


def _train(subject: Subject, program: Program, working: Working, updates: int) -> None:
    """Some updates, each at the rate that the training has there."""
    pack = subject.pack
    members = pack.start(drawn=False).members
    for step in range(updates):
        now = Progress(step, len(pack.bounds), max(pack.updates, updates))
        x, y = subject.batch(pack.batch, draw=5 + step)
        working.step(x, y, step, *rates(program, members, now))


# -- verdicts --------------------------------------------------------------------------------------


def _faded(name: str, what: str, sizes: Sequence[tuple[str, float]], moves: bool) -> Verdict:
    """How much smaller or larger they are in the layer that they come to than where they begin.

    moves: whether updates were made if there are none where they begin.
    """
    if len(sizes) < 2:
        return Verdict(name, "pass", "no hidden layers in a row")
    begin, come = sizes[0], sizes[-1]
    if not all(math.isfinite(size) for _, size in sizes):
        first = next(layer for layer, size in sizes if not math.isfinite(size))
        return Verdict(name, "fail", f"not finite in {first}", "smaller weights, or inputs")
    if not (begin[1] or moves):
        return Verdict(name, "pass", f"none in {begin[0]} before training: not to be told")
    ratio = come[1] / begin[1] if begin[1] else 0.0
    text = f"{what} from {begin[0]} to {come[0]}: {begin[1]:.2g} → {come[1]:.2g}"
    verb = "vanish" if ratio < 1 else "explode"
    return judged(
        name,
        text,
        look=not _FAINT <= ratio <= 1 / _FAINT,
        fail=not _FADED <= ratio <= 1 / _FADED,
        advice=f"they {verb}: the start that suits the activation (`initialization: auto`), "
        "batch_norm, residual blocks, or fewer layers",
    )


def _most(
    name: str, shares: Sequence[tuple[str, float]], bounds: tuple[float, float], advice: str
) -> Verdict:
    there = [(share, layer) for layer, share in shares if not math.isnan(share)]
    if not there:
        return Verdict(name, "pass", "no units that could be")
    share, layer = max(there)
    return judged(
        name,
        f"at most {share:.0%}, in {layer}",
        look=share > bounds[0],
        fail=share > bounds[1],
        advice=f"{share:.0%} of the units of {layer} {advice}",
    )


def _alike(names: Sequence[str]) -> Verdict:
    return judged(
        "identical units",
        f"all units have the same weights: {', '.join(names[:5])}" if names else "none",
        look=bool(names),
        fail=bool(names),
        advice="they get the same gradient and stay the same: start the weights at random",
    )


def _update(subject: Subject) -> Verdict:
    """How far the first two updates move each tensor of weights, for its size; the last one
    apart, and those that start at 0.

    Two, as at the first one what starts at 0 lets no gradient through.
    """
    name = "update size"
    if not _moves(subject):
        return Verdict(name, "pass", f"{subject.experiment.optimizer.component} finds its own")
    program = subject.program([subject.experiment])
    working = subject.working(program)
    before = [view.clone() for view in program.layout.views(working.params)]
    _train(subject, program, working, UPDATES)
    after = program.layout.views(working.params)
    entries = program.layout.entries
    last = max(entry.layer for entry in entries if entry.slot.role == "weight")
    ratios = []
    for entry, old, new in zip(entries, before, after, strict=True):
        size = float(torch.linalg.vector_norm(old.double()))
        if entry.slot.role == "weight" and entry.layer < last and size > 0:
            moved = float(torch.linalg.vector_norm((new - old).double()))
            ratios.append((moved / size, entry.name))
    if not ratios:
        return Verdict(name, "pass", "no hidden layers")
    largest, layer = max(ratios, key=lambda r: (math.isnan(r[0]), r[0]))
    text = f"the first two updates move weights by up to {largest:.1e} of their size"
    if largest == 0:
        text = "the first two updates move no hidden layer's weights"
        return Verdict(name, "look", text, "no gradient comes to them: see the signals")
    way = "a higher `optimizer.lr`"
    if not largest < 1:
        way = f"most in {layer}: a lower `optimizer.lr`, or a `schedule.warmup`"
    return judged(
        name,
        text,
        look=not 1e-7 <= largest <= 3,
        fail=not largest <= 100,
        advice=f"about 1e-3 is usual; {way}",
    )
