"""How the dev loss after some updates changes with a hyper-parameter, by differentiating training.

The updates are the engine's own: same batches, masks and rules. The graph of all of them is kept,
so memory grows with their number. Maclaurin, Duvenaud & Adams (2015), "Gradient-based
hyperparameter optimization through reversible learning"; Bengio (2000), "Gradient-based
optimization of hyper-parameters".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nnexp.components.layer import Context
from nnexp.components.layers.activations import Activation
from nnexp.components.optimizers.optimizer import Moment, State
from nnexp.components.regularizers import Sizes, decay
from nnexp.components.schedules import Progress
from nnexp.errors import UsageError
from nnexp.lazy import torch
from nnexp.train import step
from nnexp.train.feed import at
from nnexp.train.loop import Pack
from nnexp.train.program import Program

OPTIMIZERS = ("sgd", "momentum", "nesterov", "adam", "adamw")
REGULARIZERS = ("l2", "weight_decay")
LOSSES = (
    *("cross_entropy", "binary_cross_entropy", "multilabel_bce"),
    *("mse", "huber", "squared_hinge"),
)
LAYERS = (
    *("linear", "flatten", "reshape", "dropout", "conv1d", "conv2d", "layer_norm"),
    *("max_pool1d", "avg_pool1d", "max_pool2d", "avg_pool2d"),
    *("global_avg_pool", "global_max_pool"),
)
"""Besides activations, all but `step`, which has no slope."""


@dataclass(frozen=True)
class Slopes:
    """dev_loss: mean over the dev split, in evaluation mode, without penalties, `[M]` float64.

    slopes: by dotted key, its derivative by each member's own value, `[M]` float64.
    """

    dev_loss: torch.Tensor
    slopes: dict[str, torch.Tensor]


def slopes(pack: Pack, names: Sequence[str], updates: int) -> Slopes:
    """The dev loss after the first updates, and its derivative by hyper-parameters.

    names: dotted keys such as `optimizer.lr` or `regularization.l2` (or `….l2.coefficient`).
    updates: how many, from the start of training; early stopping is left aside. Raises UsageError
    for what can't be differentiated.
    """
    everyone = range(len(pack.members))
    program = pack.program(everyone)
    _check(pack, program, updates)
    leaves = {_full(name): _leaf(program, _full(name)) for name in names}
    with torch.enable_grad():
        params = _unroll(pack, program, leaves, updates)
        x, y = pack.feed.gather(pack.feed.rows("dev", everyone), program.size)
        dev_loss = _losses(program, params, x, y, Context(training=False)).double().mean(1)
        found = torch.autograd.grad(
            dev_loss.sum(), list(leaves.values()), allow_unused=True, materialize_grads=True
        )
    by_key = dict(zip(leaves, found, strict=True))
    return Slopes(dev_loss.detach(), {name: by_key[_full(name)] for name in names})


def _unroll(
    pack: Pack, program: Program, leaves: Mapping[str, torch.Tensor], updates: int
) -> torch.Tensor:
    """The parameters `[M, P]` after the updates, as a function of the leaves."""
    start = pack.start()
    params = start.tensors["params"].detach().requires_grad_()
    state = program.optimizer.init(params.detach())
    hyper = _optimizer_hyper(program, leaves)
    sizes = pack.signature.train_rows
    for x, y, now in _batches(pack, program, updates):
        lr, own = _rates(program, now, hyper)
        x, y = program.augmenter.transform(x, y, now.step)
        ahead = program.optimizer.ahead(params, state, own)
        seen = params if ahead is None else ahead.to(params.dtype)
        ctx = Context(training=True, members=program.dropout_keys, step=now.step)
        total = _losses(program, seen, x, y, ctx).sum() / x.shape[1]
        (grads,) = torch.autograd.grad(total, seen, create_graph=True)
        # The engine's rules work in place: on copies, so that the graph keeps what it has seen.
        params = params.clone()
        state = {name: tensor.clone() for name, tensor in state.items()}
        regularizers = [
            (spec, {**given, **_of(leaves, f"regularization.{spec.component}")}, scope)
            for spec, given, scope in program.regularizers
        ]
        for spec, given, scope in regularizers:
            spec.add_gradient(grads, params, scope, given, Sizes(x.shape[1], sizes))
        for spec, given, scope in regularizers:
            spec.before_update(params, scope, given, lr)
        moment = Moment(now.step + 1, lr, own, program.weights, program.layout)
        if program.optimizer.component in ("adam", "adamw"):
            params, state = _adam(params, grads, state, moment, getattr(program.optimizer, "eps"))
        else:
            program.optimizer.update(params, grads, state, moment)
    return params


def _batches(
    pack: Pack, program: Program, updates: int
) -> Iterator[tuple[torch.Tensor, torch.Tensor, Progress]]:
    """The examples of the first updates, as training draws them, and when each takes place."""
    everyone = range(program.size)
    working = step.Working(program, pack.start(drawn=False).tensors)
    index, bounds = pack.feed.rows("train", everyone), pack.bounds
    for number in range(updates):
        epoch, batch = divmod(number, len(bounds))
        if batch == 0:
            visited = at(index, working.order(pack.feed, epoch, everyone, pack.batch))
        first, end = bounds[batch]
        x, y = pack.feed.gather(visited[:, first:end], program.size)
        yield x, y, Progress(number, len(bounds), pack.updates)


def _losses(
    program: Program, params: torch.Tensor, x: torch.Tensor, y: torch.Tensor, ctx: Context
) -> torch.Tensor:
    """The examples' losses `[M, B]`, by plain operations, which can be differentiated twice."""
    outputs = program.forward(program.layout.views(params), (), x, ctx)
    return program.losses(outputs, y)


def _adam(
    params: torch.Tensor, grads: torch.Tensor, state: State, now: Moment, eps: float
) -> tuple[torch.Tensor, State]:
    """Adam's and adamw's rule, whose root has an infinite slope at 0 if taken as it stands."""
    beta1, beta2 = now.hyper["beta1"], now.hyper["beta2"]
    if "weight_decay" in now.hyper:
        decay(params, now.weights, now.hyper["weight_decay"], now.lr)
    mean = beta1 * state["mean"] + (1.0 - beta1) * grads
    square = beta2 * state["square"] + (1.0 - beta2) * grads * grads
    # Where no gradient has come yet, the parameter stays, however the square would change.
    moved = square > 0
    root = torch.where(moved, square, 1.0).div(1.0 - beta2**now.step).sqrt() * moved
    change = now.lr * mean / ((1.0 - beta1**now.step) * (root + eps))
    dtype = params.dtype
    return params - change.to(dtype), {"mean": mean.to(dtype), "square": square.to(dtype)}


# -- hyper-parameters ------------------------------------------------------------------------------


def _full(name: str) -> str:
    """`regularization.l2` as `regularization.l2.coefficient`; others as they are."""
    section, _, rest = name.partition(".")
    return f"{name}.coefficient" if section == "regularization" and "." not in rest else name


def _leaf(program: Program, name: str) -> torch.Tensor:
    """The members' values of a hyper-parameter, `[M]` float64, to differentiate by."""
    known = _known(program)
    if name not in known:
        raise UsageError(f"no derivative by {name!r}; there is one by: {', '.join(known)}")
    value = torch.as_tensor(known[name], dtype=torch.float64, device=program.device)
    return value.expand(program.size).clone().requires_grad_()


def _known(program: Program) -> dict[str, Any]:
    """Every hyper-parameter that there is a derivative by: floats, or `[M]`."""
    found = {f"optimizer.{field}": value for field, value in program.optimizer_hyper.items()}
    field = program.optimizer.momentum_field
    if any(m.schedule.momentum(Progress(0, 1, 100)) is not None for m in program.members):
        found.pop(f"optimizer.{field}", None)  # the schedule sets it
    for spec, hyper, _ in program.regularizers:
        found[f"regularization.{spec.component}.coefficient"] = hyper["coefficient"]
    return found


def _of(leaves: Mapping[str, torch.Tensor], section: str) -> dict[str, torch.Tensor]:
    """The leaves of one component, by field."""
    parts = {name: name.rpartition(".") for name in leaves}
    return {parts[name][2]: leaf for name, leaf in leaves.items() if parts[name][0] == section}


def _optimizer_hyper(program: Program, leaves: Mapping[str, torch.Tensor]) -> dict[str, Any]:
    """The optimizer's fields, each a float or `[M, 1]`, leaves in place of what is asked for."""
    mixed = {**program.optimizer_hyper, **_of(leaves, "optimizer")}
    return {k: v[:, None] if isinstance(v, torch.Tensor) else v for k, v in mixed.items()}


def _rates(
    program: Program, now: Progress, hyper: Mapping[str, Any]
) -> tuple[Any, Mapping[str, Any]]:
    """The rate of an update, `[M, 1 or P]`, and the optimizer's fields in it."""
    factors = [m.schedule.factor(now, m.schedule.start()) for m in program.members]
    factor = torch.tensor(factors, dtype=torch.float64, device=program.device)
    lr = factor[:, None] * hyper["lr"]
    if program.rate_factors is not None:
        lr = lr * program.rate_factors
    field = program.optimizer.momentum_field
    cycled = [m.schedule.momentum(now) for m in program.members]
    if field is None or all(c is None for c in cycled):
        return lr, hyper
    own = [getattr(m.optimizer, field) for m in program.members]
    values = [o if c is None else c for o, c in zip(own, cycled, strict=True)]
    momentum = torch.tensor(values, dtype=torch.float64, device=program.device)[:, None]
    return lr, {**hyper, field: momentum}


# -- what can be differentiated --------------------------------------------------------------------


def _check(pack: Pack, program: Program, updates: int) -> None:
    """Refuse what has no derivative here. Raises UsageError."""
    if not 1 <= updates <= pack.updates:
        raise UsageError(f"updates must be from 1 to {pack.updates:,}; received: {updates:,}")
    if "dev" not in pack.feed.parts:
        raise UsageError("a derivative of the dev loss needs a dev split: there is none")
    for kind, used, supported in (
        ("optimizer", [program.optimizer.component], OPTIMIZERS),
        ("loss", [program.loss.component], LOSSES),
        ("regularization", [spec.component for spec, *_ in program.regularizers], REGULARIZERS),
    ):
        for name in used:
            if name not in supported:
                raise _unfit(f"{kind} {name}", supported)
    smooth = {*LAYERS, *Activation.registered} - {"step"}
    for stage in program.stages:
        if stage.layer.component not in smooth:
            allowed = (*LAYERS, "activations (not step)")
            raise _unfit(f"layer {stage.layer.component}", allowed)
    _check_training(program)


def _check_training(program: Program) -> None:
    """Refuse ways of training that have no derivative here. Raises UsageError."""
    first = program.members[0]
    if program.clip["clip_grad_norm"] is not None or program.clip["clip_grad_value"] is not None:
        raise _unfit("clipping of gradients", ["training.clip_grad_norm: null"])
    if program.sampler.watches:
        raise _unfit(f"sampler {program.sampler.component}", ["samplers that ignore the losses"])
    for member in program.members:
        if member.schedule.needs_dev:
            name = member.schedule.component
            raise _unfit(f"schedule {name}", ["schedules that ignore the dev split"])
    if first.training.precision not in ("float32", "float64"):
        raise _unfit(f"precision {first.training.precision}", ["float32", "float64"])
    if program.signature.positions:
        raise _unfit(f"task {program.task}", ["classification", "regression", "multilabel"])


def _unfit(what: str, allowed: Sequence[str]) -> UsageError:
    return UsageError(f"no derivative through {what}; supported: {', '.join(allowed)}")
