"""What to change next: changes of a config that suit its model, loss and optimizer.

Each is advice in words and the command that follows it. A change is only proposed when the config
with it is accepted: nothing is advised that `nnexp train` would refuse.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from shlex import quote
from typing import Any, NamedTuple, TypeAlias

from nnexp.analysis.results import Result, as_number
from nnexp.components.optimizers.optimizer import Optimizer
from nnexp.components.schedules import Schedule
from nnexp.config.load import load_config
from nnexp.errors import ConfigError


class Advice(NamedTuple):
    """What to do, in full; the same in a few words; and the command, empty where there is none."""

    text: str
    step: str
    command: str = ""


Change: TypeAlias = tuple[str, ...]
"""KEY=VALUE each."""

_PENALTIES = ("l2", "l1", "weight_decay")
_SIZES = ("channels", "hidden", "width", "units", "widen", "blocks")
"""Keys of models that tell how much they can do; the first that is there counts."""
_DRAWN = ("holdout", "k_fold", "grouped")
"""Splits of which there are many, drawn with a seed."""
_OF_IMAGES = ("cnn", "resnet", "wide_resnet", "deep_cnn")
_MORE_DATA = "more training data help most, if they can be had"
FEWEST = 6
"""Epochs below which curves tell nothing."""
_RAN_OUT = 0.05
"""A rate below this share of its highest one moves hardly anything."""


# -- bias and variance -----------------------------------------------------------------------------


def against_bias(result: Result) -> Advice:
    """Less of what holds the network back, else a larger one."""
    model, penalties = _part(result, "model"), _part(result, "regularization")
    changes: list[Change] = []
    for key in ("dropout", "input_dropout"):
        if (rate := _number(model, key)) >= 0.2:
            changes.append((f"model.{key}={rate / 2:.3g}",))
    for name in _PENALTIES:
        if strength := _strength(penalties.get(name)):
            changes.append((f"{_key(name, penalties)}={strength / 10:.3g}",))
    if change := _first(result, changes):
        return _retrain(result, "Hold the network back less", change)
    if change := _first(result, _larger(model)):
        return _retrain(result, "Take a network that can do more", change)
    text = "Take a network that can do more"
    return Advice(f"{text}: more layers, or more units in each.", text)


def against_variance(result: Result) -> Advice:
    """Augmentation, dropout or a penalty: what is not yet there, or more of it."""
    model, penalties = _part(result, "model"), _part(result, "regularization")
    changes: list[Change] = []
    if model.get("name") in _OF_IMAGES and not result.config.get("augmentation"):
        changes.append(("augmentation=[translate]",))
    rate = as_number(model.get("dropout"))
    if rate is not None and rate < 0.5 and not _judges(result):
        changes.append((f"model.dropout={min(max(2 * rate, 0.2), 0.5):.3g}",))
    if (decay := _number(_part(result, "optimizer"), "weight_decay")) > 0:
        changes.append((f"optimizer.weight_decay={10 * decay:.3g}",))
    for name in _PENALTIES:
        if strength := _strength(penalties.get(name)):
            changes.append((f"{_key(name, penalties)}={10 * strength:.3g}",))
    changes.append(("regularization.l2=0.0001",))
    if change := _first(result, changes):
        return _retrain(result, "Regularize", change, _MORE_DATA)
    return Advice(f"{_MORE_DATA.capitalize()}.", "Get more training data")


def _larger(model: Mapping[str, Any]) -> list[Change]:
    """Its width doubled."""
    if model.get("name") == "linear":
        return [("model={name: mlp, hidden: [64]}",)]
    for key in _SIZES:
        value = model.get(key)
        if value == [] and key == "hidden":
            return [("model.hidden=[64]",)]
        if isinstance(value, list) and value and all(as_number(x) for x in value):
            return [(f"model.{key}=[{', '.join(f'{2 * x:g}' for x in value)}]",)]
        if number := as_number(value):
            return [(f"model.{key}={2 * number:g}",)]
    return []


def _strength(penalty: Any) -> float:
    """A penalty's coefficient: a number, or within a mapping; 0 if there is none."""
    value = penalty.get("coefficient") if isinstance(penalty, Mapping) else penalty
    return as_number(value) or 0.0


def _key(penalty: str, penalties: Mapping[str, Any]) -> str:
    """Where its coefficient stands."""
    inner = ".coefficient" if isinstance(penalties[penalty], Mapping) else ""
    return f"regularization.{penalty}{inner}"


# -- how long, and how fast ------------------------------------------------------------------------


def keep_best(result: Result) -> Advice:
    """Early stopping."""
    epochs = int(_number(result.summary, "epochs"))
    stopping = f"training.early_stopping={{monitor: dev/loss, patience: {max(10, epochs // 10)}}}"
    return _retrain(result, "Keep the best weights", _first(result, [(stopping,)]))


def longer(result: Result) -> Advice:
    """Twice as long, at least so that its curves tell something: by going on, or by mending what
    ended it too soon.
    """
    training, schedule = _part(result, "training"), _part(result, "schedule")
    done = max(len(run.history().get("epoch", ())) for run in result.runs)
    epochs = max(2 * done, FEWEST)
    if done < _number(training, "epochs"):  # something else ended it
        stopping, changes = training.get("early_stopping"), list[Change]()
        if isinstance(stopping, Mapping) and (patience := as_number(stopping.get("patience"))):
            changes.append((f"training.early_stopping.patience={2 * patience:g}",))
        if schedule.get("name") == "newbob":
            changes.append((f"schedule.patience={_number(schedule, 'patience') + 1:g}",))
        if minutes := _number(training, "max_minutes"):
            changes.append((f"training.max_minutes={2 * minutes:g}",))
        if change := _first(result, changes):
            return _retrain(result, "Let it go on for longer", change)
    if steps := _number(training, "steps"):
        factor = max(2, -(-FEWEST // max(done, 1)))
        change = _first(result, [(f"training.steps={factor * steps:.0f}",)])
        return _retrain(result, "Train longer", change)
    changes = [(f"training.epochs={epochs}",)]
    known = Schedule.registered.get(str(schedule.get("name")))
    if known is not None and issubclass(known, Schedule) and known.uses_total:
        return _retrain(result, "Train anew on a longer schedule", _first(result, changes))
    if _rate_is_gone(result):
        changes.insert(0, ("schedule=cosine", f"training.epochs={epochs}"))
        what = "The rate had run out: let it fall over a longer training"
        return _retrain(result, what, _first(result, changes))
    if not (result.path / "checkpoint").is_dir():
        return _retrain(result, "Train longer", _first(result, changes))
    flags = f"--resume {quote(str(result.path))} --epochs {epochs}"
    text = f"Train on, to {epochs} epochs in all"
    return Advice(
        f"{text}: --resume with --epochs.", text, f"nnexp {_plugins(result)}train {flags}"
    )


def _rate_is_gone(result: Result) -> bool:
    rates = result.alive[0].history().get("lr") if result.alive else None
    return rates is not None and len(rates) > 0 and bool(rates[-1] < _RAN_OUT * max(rates))


def lower_rate(result: Result) -> Advice:
    """A tenth of the learning rate; where it isn't set, a bound on the gradient."""
    rate = _number(_part(result, "optimizer"), "lr")
    changes = [(f"optimizer.lr={rate / 10:.3g}",)] if rate else []
    if change := _first(result, [*changes, *_clipped(result)]):
        return _retrain(result, "Take smaller steps", change)
    return Advice("Take smaller steps.", "Take smaller steps")


def let_fall(result: Result, column: str) -> Advice:
    """A rate that falls, where it is constant: then the last epochs differ less."""
    what = f"Don't choose between these epochs by {column}"
    constant = _part(result, "schedule").get("name", "constant") == "constant"
    change = _first(result, [("schedule=cosine",)] if constant and not _judges(result) else [])
    if change:
        return _retrain(result, f"{what}; they differ less when the rate falls", change)
    return Advice(f"{what}; compare configs over several seeds (--seeds).", what)


def _clipped(result: Result) -> list[Change]:
    clips = as_number(_part(result, "training").get("clip_grad_norm"))
    return [] if clips or _judges(result) else [("training.clip_grad_norm=1",)]


# -- layers, data ----------------------------------------------------------------------------------


def mend_layers(kind: str, result: Result) -> Advice:
    """Against what layers suffer from, by its name in `layers`."""
    model = _part(result, "model")
    own = model.get("activation")
    activation = own.get("name") if isinstance(own, Mapping) else own
    if kind == "dead units":
        change = [("model.activation=leaky_relu",)] if activation == "relu" else []
        return _mended(result, "Take an activation with a slope everywhere", change)
    if kind == "saturated":
        change = [("model.activation=relu",)] if activation in ("tanh", "sigmoid") else []
        return _mended(result, "Take an activation that does not saturate", change)
    if kind == "vanishing gradient":
        change = [("model.batch_norm=true",)] if model.get("batch_norm") is False else []
        return _mended(result, "Keep the signal's scale with normalization", change)
    if kind == "exploding gradient":
        return _mended(result, "Bound the gradient", _clipped(result))
    return lower_rate(result)


def _mended(result: Result, what: str, changes: Sequence[Change]) -> Advice:
    change = _first(result, changes)
    return _retrain(result, what, change) if change else lower_rate(result)


def with_dev(result: Result) -> Advice:
    """A dev part, from the training part."""
    split, changes = _split(result), list[Change]()
    if split.get("name", "holdout") in _DRAWN:
        train = as_number(split.get("train"))
        apart = (f"data.split.train={train - 0.2:.3g}",) if train and train > 0.4 else ()
        changes = [(*apart, "data.split.dev=0.2")]
    if change := _first(result, changes):
        return _retrain(result, "Split off a dev part", change)
    text = "Split off a dev part"
    return Advice(f"{text} (data.split.dev), to watch while training.", text)


def more_splits(result: Result) -> Advice:
    """To tell a gap from chance."""
    text = "Chance may have made this gap"
    if result.kind == "group" or _split(result).get("name", "holdout") not in _DRAWN:
        return Advice(f"{text}; a larger dev split would tell.", "Take more dev data")
    text = f"{text}; several splits of the data would tell: --splits 5"
    return Advice(text, "Train on several splits", f"{_training(result)} --splits 5")


def _split(result: Result) -> Mapping[str, Any]:
    split = _part(result, "data").get("split")
    return split if isinstance(split, Mapping) else {}


def check_first(result: Result) -> Advice:
    """Where nothing was learnt at all."""
    path = quote(str(result.path / "resolved.yaml"))
    text = "Look whether it can learn at all: data, first loss, learning rate (nnexp check)."
    return Advice(text, "Look whether it can learn at all", f"nnexp {_plugins(result)}check {path}")


# -- commands --------------------------------------------------------------------------------------


def _retrain(result: Result, what: str, change: Change, more: str = "") -> Advice:
    """The advice to train again with a change, and the command."""
    if not change or (result.path / "m0").is_dir():  # a committee is not trained itself
        return Advice(f"{what}. {more}".strip(), what)
    options = " ".join(f"--set {quote(one)}" for one in change)
    text = f"{what}: {options}" + (f"  ({more})" if more else "")
    return Advice(text, what, f"{_training(result)} {options}")


def _training(result: Result) -> str:
    """The command that trains the same once more."""
    command = f"nnexp {_plugins(result)}train {quote(str(result.path / 'resolved.yaml'))}"
    if result.kind == "group":
        varies = "splits" if result.manifest.get("varies") == "split" else "seeds"
        command += f" --{varies} {result.manifest['members']}"
    return command


def _plugins(result: Result) -> str:
    copies = sorted((result.path / "plugins").glob("*.py"))
    return "".join(f"--plugin {quote(str(copy))} " for copy in copies)


def _first(result: Result, changes: Sequence[Change]) -> Change:
    """The first change with which the config is accepted; () if there is none."""
    return next((change for change in changes if _is_accepted(result, change)), ())


def _is_accepted(result: Result, change: Sequence[str]) -> bool:
    """Whether the config holds with it; or can't be checked, as a plugin is not at hand."""
    path = result.path / "resolved.yaml"
    try:
        load_config(path, change)
    except ConfigError:
        if not change or not _plugins(result):
            return False
        return not _is_accepted(result, ())
    return True


def _judges(result: Result) -> bool:
    """Whether the optimizer chooses its steps by the loss, which noise must not change."""
    known = Optimizer.registered.get(str(_part(result, "optimizer").get("name")))
    return known is not None and issubclass(known, Optimizer) and known.judges


def _part(result: Result, key: str) -> Mapping[str, Any]:
    """A part of the config; a component that is named only has its name."""
    part = result.config.get(key)
    if isinstance(part, str):
        return {"name": part}
    return part if isinstance(part, Mapping) else {}


def _number(part: Mapping[str, Any], key: str) -> float:
    """A number of it; 0 if there is none."""
    return as_number(part.get(key)) or 0.0
