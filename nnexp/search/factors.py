"""What `nnexp ablate --over` names: parts of a config that are on, and how each is turned off."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

from pydantic.fields import FieldInfo

from nnexp.components.layers.basic import Dropout
from nnexp.config.experiment import Experiment
from nnexp.config.load import check_config
from nnexp.config.source import Node, Place, find, override, plain, put
from nnexp.config.wording import field_arms
from nnexp.errors import ConfigError, Problem, UsageError, nearest
from nnexp.registry import FAMILIES, Spec

Changes: TypeAlias = tuple[tuple[str, Any], ...]
"""Keys and what they are when a factor is off; None takes a key, or an item of a list, away."""

MOST = 8
"""Factors of a factorial design, at most: it has 2^k cells."""
SWITCHES = {
    "data": ("scale_target", "subset", "label_noise", "shuffle_labels", "corruption"),
    "training": ("early_stopping", "clip_grad_norm", "clip_grad_value"),
}
"""Of these sections only some fields are choices that may be ablated by their name."""
WHOLE = ("schedule", "sampler", "initialization", "augmentation", "preprocessing", "test_time")
"""Sections that are off when they are taken away, or empty."""


@dataclass(frozen=True)
class Factor:
    """One part of a config.

    label: as the table names it. changes: what turns it off. note: what a reader must know of it.
    """

    label: str
    changes: Changes
    note: str = ""


def find_factors(node: Node, experiment: Experiment, over: Sequence[str]) -> list[Factor]:
    """The factors that `--over` lists. Raises ConfigError with all that can't be ablated.

    node: the config, its preprocessing written out. experiment: the same, resolved.
    """
    known = _known(node, experiment)
    problems: list[Problem] = []
    found: list[Factor] = []
    for text in over:
        try:
            found.append(_factor(text, node, experiment, known))
        except ConfigError as error:
            problems += [replace(p, place=f"--over {text}") for p in error.problems]
        except UsageError as error:
            close = nearest(text, known) if "=" not in text else None
            hint = f"did you mean {close}?" if close and close != text else ""
            problems.append(Problem(f"--over {text}", "", str(error), hint=hint))
    if problems:
        listed = f"can be ablated by name here: {', '.join(known) or 'nothing'}; or key.path=value"
        last = problems[-1]
        hint = f"{last.hint}; {listed}" if last.hint else listed
        raise ConfigError([*problems[:-1], replace(last, hint=hint)])
    _check_apart(found)
    return found


def turned_off(node: Node, factors: Sequence[Factor]) -> Node:
    """The config without some factors."""
    changes = [(path, value, one.label) for one in factors for path, value in one.changes]
    changes.sort(key=lambda change: _order(change[0]), reverse=True)  # later items of a list first
    for path, value, label in changes:
        node = put(node, path, value, Place(f"--over {label}"))
    return node


def _order(path: str) -> list[tuple[int, str]]:
    return [(int(p), "") if p.isdigit() else (-1, p) for p in path.split(".")]


def _factor(text: str, node: Node, experiment: Experiment, known: Mapping[str, Changes]) -> Factor:
    key, equals, off_text = text.partition("=")
    if equals:
        problems: list[Problem] = []
        changed = override(node, [text], problems)
        if problems:
            raise ConfigError(problems)
        keys = [int(part) if part.isdigit() else part for part in key.strip().split(".")]
        there = find(changed, keys)
        value = None if there is None else plain(there)
        factor = Factor(
            key.strip(), ((key.strip(), value),), f"{key.strip()} is {off_text.strip()} when off"
        )
    elif "." in text:
        factor = Factor(text, _by_path(text, experiment))
    elif text in known:
        factor = Factor(text, known[text])
    else:
        raise UsageError("is nothing that is on in this config")
    with_it, off = (
        check_config(one, Path("config.yaml"), "").experiment
        for one in (node, turned_off(node, [factor]))
    )
    if off.dump() == with_it.dump():
        raise UsageError("is off already: the config is the same without it")
    return factor


def _check_apart(factors: Sequence[Factor]) -> None:
    """Factors must not change the same key. Raises UsageError."""
    for i, one in enumerate(factors):
        for other in factors[:i]:
            for path, _ in one.changes:
                for there, _ in other.changes:
                    if f"{path}.".startswith(f"{there}.") or f"{there}.".startswith(f"{path}."):
                        raise UsageError(
                            f"--over: {other.label} and {one.label} both change {path}"
                        )


# -- by name ---------------------------------------------------------------------------------------


def _known(node: Node, experiment: Experiment) -> dict[str, Changes]:
    """Everything that is on and has a name of its own, in the config's order."""
    found: dict[str, list[tuple[str, Any]]] = {}
    for name, path, value in _named(plain(node), experiment):
        changes = found.setdefault(name, [])
        if path not in [there for there, _ in changes]:
            changes.append((path, value))
    return {name: tuple(changes) for name, changes in found.items()}


def _named(data: Mapping[str, Any], experiment: Experiment) -> Iterator[tuple[str, str, Any]]:
    for section in ("model", "loss", "optimizer", "data", "training"):
        spec = getattr(experiment, section)
        if spec is None:
            continue
        for name, info in type(spec).model_fields.items():
            if name == "name" or name not in SWITCHES.get(section, (name,)):
                continue
            off = _off(info, getattr(spec, name))
            if off:
                yield ("dropout" if name.endswith("dropout") else name), f"{section}.{name}", off[0]
    for name, path in _layers(data.get("model"), "model"):
        yield name, path, None
    for name in experiment.regularization:
        yield name, f"regularization.{name}", None
    for section in ("preprocessing", "augmentation"):
        for number, item in enumerate(getattr(experiment, section) or ()):
            yield item.component, f"{section}.{number}", None
    for section in WHOLE:
        value = getattr(experiment, section)
        default = Experiment.model_fields[section].get_default(call_default_factory=True)
        if value and value != default:
            yield section, section, [] if isinstance(value, list) else None


def _layers(value: Any, path: str) -> Iterator[tuple[str, str]]:
    """The normalization and dropout layers in lists of layers, however deep."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _layers(item, f"{path}.{key}")
    elif isinstance(value, list):
        for number, item in enumerate(value):
            name = item.get("name") if isinstance(item, dict) else item
            if isinstance(name, str) and (name == _DROPOUT or name.endswith("_norm")):
                yield name, f"{path}.{number}"
            else:
                yield from _layers(item, f"{path}.{number}")


_DROPOUT = str(Dropout.model_fields["name"].default)


def _off(info: FieldInfo, value: Any) -> tuple[Any] | None:
    """What a field is when it is off; None if that isn't obvious, or it is off."""
    arms = {arm.kind: arm for arm in field_arms(info)}
    if info.default is None:
        return (None,) if value is not None and value is not False else None
    if "bool" in arms:
        return (False,) if value else None
    numbers = [arms[kind] for kind in ("float", "int") if kind in arms]
    if numbers and isinstance(value, int | float) and value:
        low = numbers[0].limits.get("ge", numbers[0].limits.get("gt"))
        if numbers[0].limits.get("ge") == 0 or (low is not None and low < 0):
            return (0 if "float" not in arms else 0.0,)
    return None


# -- by path ---------------------------------------------------------------------------------------


def _by_path(path: str, experiment: Experiment) -> Changes:
    """The changes that turn a key off. Raises UsageError where that isn't obvious."""
    *above, last = path.split(".")
    owner: Any = experiment
    for part in above:
        owner = _step(owner, part)
    value = _step(owner, last)
    if isinstance(owner, dict | list):  # a penalty, or an item of a list
        return ((path, None),)
    info = type(owner).model_fields[last]
    off = _off(info, value)
    if off is None and isinstance(value, Spec) and value.family in FAMILIES:
        default = info.get_default(call_default_factory=True)
        if isinstance(default, Spec) and default != value:
            return ((path, None),)
    lists = [arm for arm in field_arms(info) if arm.kind == "list"]
    if off is None and value and lists and not lists[0].limits.get("min_length"):
        off = ([],)
    if off is None:
        raise UsageError(f"has no obvious value when it is off: say it, as {path}=value")
    return ((path, off[0]),)


def _step(owner: Any, part: str) -> Any:
    if isinstance(owner, list) and part.isdigit() and int(part) < len(owner):
        return owner[int(part)]
    if isinstance(owner, dict) and part in owner:
        return owner[part]
    if isinstance(owner, Spec) and part in type(owner).model_fields:
        return getattr(owner, part)
    raise UsageError(f"there is no key '{part}' in this config")
