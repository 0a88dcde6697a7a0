"""pydantic's errors as problems: which key, what was written, what is allowed, what was meant.

pydantic reports one error for each form that a value might have had, with the form's name among
the keys. `_Walk` follows the keys through the classes, so that such names are told from keys, and
`_merged` makes one fault of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

from pydantic import ValidationError

from nnexp.config.experiment import Experiment
from nnexp.config.wording import Arm, article, field_arms, is_component, keys_of, words
from nnexp.errors import MISSING, Problem, nearest
from nnexp.registry import FAMILIES, Spec, extras

Keys: TypeAlias = tuple[str | int, ...]

_MEANINGS = {"keep_prob": "{} (= 1 − keep_prob)"}
"""Other names for a field whose value has to be converted."""
_BOUNDS = {
    "greater_than": ("should be above {}", "gt"),
    "greater_than_equal": ("should be at least {}", "ge"),
    "less_than": ("should be below {}", "lt"),
    "less_than_equal": ("should be at most {}", "le"),
}
_LENGTHS = {"too_short", "too_long", "string_too_short", "string_too_long"}
_WORDS_FOR_BOOL = {"yes": "true", "on": "true", "y": "true", "no": "false", "off": "false"}


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong, at `path`; its problem has no place yet.

    at_key: the key itself is wrong, not its value. meant: the key of the same mapping that was
    probably meant instead.
    """

    path: Keys
    problem: Problem
    at_key: bool = False
    meant: str = ""


@dataclass
class Spot:
    """Where a walk has come to.

    owner: the Spec that the last key is a field of (or should be). arms: the forms that the value
    may have; empty for a key that doesn't exist. value: what is written there, or MISSING.
    """

    owner: type[Spec]
    arms: list[Arm]
    value: Any
    path: Keys = ()
    forms: list[tuple[int, str]] = field(default_factory=list)  # depth and name of a union's form


@dataclass(frozen=True)
class _Error:
    kind: str
    context: Mapping[str, Any]
    message: str
    received: Any
    spot: Spot
    forms: tuple[tuple[int, str], ...]
    ends_at_form: bool


def faults(error: ValidationError, root: type[Spec], data: dict[str, Any]) -> list[Fault]:
    """Every error of a validation of `data` as a `root`, one fault for each thing to mend."""
    errors = []
    for detail in error.errors(include_url=False):
        loc = detail["loc"]
        spot = walk(root, data, loc)
        ends = bool(spot.forms) and spot.forms[-1][0] == len(spot.path) and loc[-1:] != ("[key]",)
        kind, context = detail["type"], detail.get("ctx", {})
        errors.append(
            _Error(kind, context, detail["msg"], detail["input"], spot, tuple(spot.forms), ends)
        )
    found = [_fault(one, data) for one in _merged(errors)]
    return [fault for fault in found if not _is_renamed(fault, found)]


def walk(root: type[Spec], data: Any, loc: Iterable[str | int]) -> Spot:
    """Follows pydantic's `loc` from the top of `data`, a mapping for a `root`."""
    spot = Spot(root, [Arm("spec", root, {})], data)
    form_known = False
    for part in loc:
        if len(spot.arms) > 1 and not form_known:
            spot.forms.append((len(spot.path), str(part)))
            spot.arms, form_known = _suited(spot.arms, spot.value), True
        elif part != "[key]":
            _step(spot, part)
            form_known = False
    if form_known:  # the words of a message are about all forms
        spot.arms = walk(root, data, spot.path).arms
    return spot


def _suited(arms: list[Arm], value: Any) -> list[Arm]:
    """The form that a value has, as far as it can be looked into."""
    if isinstance(value, list):
        return [arm for arm in arms if arm.kind == "list"][:1]
    if isinstance(value, Mapping):
        return [arm for arm in arms if arm.kind in ("spec", "choice", "keyed", "dict")][:1]
    return []


def _step(spot: Spot, part: str | int) -> None:
    """One key or index further."""
    arm = spot.arms[0] if spot.arms else None
    spot.arms, spot.path = [], (*spot.path, part)
    within, spot.value = spot.value, _item(spot.value, part)
    if arm is None:
        return
    if arm.kind in ("list", "dict"):
        spot.arms = arm.type
    elif arm.kind == "keyed":
        spot.owner = arm.type.registered.get(str(part), arm.type)
        spot.arms = _keyed_arms(spot.owner, spot.value)
    elif arm.kind in ("spec", "choice"):
        spot.owner = chosen(arm.type, within) if arm.kind == "choice" else arm.type
        info = spot.owner.model_fields.get(str(part))
        spot.arms = field_arms(info) if info else []


def _keyed_arms(component: type[Spec], value: Any) -> list[Arm]:
    """A mapping of parameters, or the one number that is short for it."""
    if not is_component(component):
        return []
    if component.shorthand is None or isinstance(value, Mapping):
        return [Arm("spec", component, {})]
    return field_arms(component.model_fields[component.shorthand])


def chosen(family: type[Spec], value: Any) -> type[Spec]:
    """The component that a bare name or a mapping chooses; the family itself if it is none."""
    name = value.get("name", family.default) if isinstance(value, Mapping) else value
    return family.registered.get(name, family) if isinstance(name, str) else family


def _item(value: Any, part: str | int) -> Any:
    if isinstance(value, Mapping):
        return value.get(part, MISSING)
    if isinstance(value, list) and isinstance(part, int) and part < len(value):
        return value[part]
    return MISSING


# -- one fault for all forms of a value ------------------------------------------------------------


def _merged(errors: list[_Error]) -> Iterator[_Error]:
    """The errors with those of a union's forms reduced to the form that was meant, if any."""
    groups: dict[Any, list[_Error]] = {}
    for number, one in enumerate(errors):
        at = one.spot.path[: one.forms[0][0]] if one.forms else number
        groups.setdefault(at, []).append(one)
    for group in groups.values():
        if not group[0].forms:
            yield group[0]
            continue
        meant = [one for one in group if not _is_mismatch(one)]
        if meant:
            yield from _merged([replace(one, forms=one.forms[1:]) for one in meant])
        else:
            yield replace(group[0], kind="wrong_form", forms=())


def _is_mismatch(one: _Error) -> bool:
    """Whether it only says that the value has another form than the first one of `forms`."""
    of_type = one.kind.endswith("_type") or one.kind in ("literal_error", "int_from_float")
    return len(one.forms) == 1 and one.ends_at_form and of_type


def _is_renamed(fault: Fault, found: list[Fault]) -> bool:
    """Whether a key is missing or unknown just because another one beside it is misspelt."""
    if not fault.path:
        return False
    if fault.at_key:
        return bool(fault.meant) and fault.meant == fault.path[-1]
    beside = [other for other in found if other.at_key and other.path[:-1] == fault.path[:-1]]
    missing = fault.problem.received is MISSING
    return missing and fault.path[-1] in [other.meant for other in beside]


# -- words -----------------------------------------------------------------------------------------


def _fault(one: _Error, data: dict[str, Any]) -> Fault:
    path, kind = one.spot.path, one.kind
    dotted = ".".join(map(str, path))
    allowed = words(one.spot.arms) if one.spot.arms else ""
    received = one.received

    def fault(message: str, allowed: str = "", hint: str = "", at_key: bool = False) -> Fault:
        return Fault(path, Problem("", dotted, message, received, allowed, hint), at_key)

    if kind == "missing":
        owner = _title(one.spot.owner)
        problem = Problem("", dotted, f"is missing: {owner} needs it", MISSING, allowed)
        return Fault(path, problem)
    if kind == "extra_forbidden":
        return _unknown_key(one.spot.owner, path, data)
    if kind in ("unknown_name", "unknown_key_name"):
        family, near = one.context["family"], one.context["nearest"]
        hint = f"did you mean {near}?" if near else _family_hint(received, family)
        if kind == "unknown_key_name" and not near:
            hint = _elsewhere(str(received), one.spot.owner, data)
        message = f"there is no such {family}"
        return fault(message, one.context["allowed"], hint, at_key=kind == "unknown_key_name")
    if kind == "choice_type":
        named = f"should be the name of {article(one.context['family'])}, or a mapping with `name`"
        return fault(named, one.context["allowed"])
    if kind == "name_missing" and (key := _naming_key(one.context["family"], received)):
        inner = f"{dotted}.{key}"
        message = f"{article(one.context['family'])} has no such key"
        hint = "did you mean name?"
        return Fault((*path, key), Problem("", inner, message, key, hint=hint), True, "name")
    if kind in ("keyed_type", "name_missing"):
        return fault(one.message, one.context["allowed"])
    if kind == "rule":
        return fault(one.message, one.context["allowed"], one.context["hint"])
    if kind in _BOUNDS:
        message, limit = _BOUNDS[kind]
        bound = one.context[limit]
        return fault(message.format(f"{bound:g}" if bound < 1e6 else bound), allowed)
    if kind in _LENGTHS:
        return fault("has the wrong length", allowed)
    if kind == "finite_number":
        return fault("should be a finite number", allowed)
    if one.spot.arms:
        return fault(f"should be {allowed}", "", _value_hint(one.spot.arms, received))
    return fault(one.message.removeprefix("Value error, "))


def _title(spec: type[Spec]) -> str:
    """What messages call a mapping: the component's name, or what it is."""
    if is_component(spec):
        return str(spec.model_fields["name"].default)
    return "the config" if spec is Experiment else _snake(spec.__name__)


def _snake(name: str) -> str:
    return "".join("_" + c.lower() if c.isupper() else c for c in name).lstrip("_")


def _unknown_key(owner: type[Spec], path: Keys, data: dict[str, Any]) -> Fault:
    """Says which key was meant: of the same mapping, else of another one in the config.

    It is itself the one that was meant if only `name` is misspelt beside it.
    """
    key = str(path[-1])
    names: dict[str, str] = {}
    beside = walk(Experiment, data, path[:-1]).value
    if is_component(owner) and isinstance(beside, Mapping) and "name" not in beside:
        names["name"] = "name"
        unknown = {k: v for k, v in beside.items() if k not in keys_of(owner)}
        naming = _naming_key(owner.family, unknown)
        if naming not in ("", key):
            owner = FAMILIES[owner.family].registered[beside[naming]]
            if key in owner.model_fields:
                return Fault(path, Problem("", "", "is right"), True, key)
    for name in keys_of(owner):
        names |= dict.fromkeys((*extras(owner.model_fields[name]).get("also", ()), name), name)
    first, blank, _ = key.partition(" ")
    hint = "" if key in names else _elsewhere(key, owner, data)
    close = None if hint else nearest(key, names)
    meant = names[close] if close else ""
    if is_component(owner) and _naming_key(owner.family, {key: walk(Experiment, data, path).value}):
        meant, hint = "name", "did you mean name?"
    elif blank and first in names:
        meant, hint = names[first], f"a `:` is missing after {first}"
    elif meant:
        hint = f"did you mean {_MEANINGS.get(key, '{}').format(meant)}?"
    allowed = ", ".join(keys_of(owner)) or "it has none"
    message = f"{_title(owner)} has no such key"
    dotted = ".".join(map(str, path))
    meant = meant if key not in _MEANINGS else ""
    return Fault(path, Problem("", dotted, message, key, allowed, hint), True, meant)


def _naming_key(family: str, value: Any) -> str:
    """The key of a mapping that has a component's name, in place of `name`; "" if none has."""
    known = FAMILIES[family].registered
    given = value.items() if isinstance(value, Mapping) else ()
    return next((k for k, v in given if k != "name" and isinstance(v, str) and v in known), "")


def _elsewhere(key: str, owner: type[Spec], data: dict[str, Any]) -> str:
    """Says where a key belongs if the config has it elsewhere, or a component is called so."""
    queue: list[tuple[str, type[Spec], Any]] = [("", Experiment, data)]
    for prefix, spec, value in queue:
        names = keys_of(spec)
        if key in names and spec is not owner:
            return f"did you mean {prefix}{key}?"
        for name in names:
            inner = _item(value, name)
            for arm in field_arms(spec.model_fields[name]):
                if arm.kind in ("spec", "choice") and prefix.count(".") < 3:
                    within = chosen(arm.type, inner) if arm.kind == "choice" else arm.type
                    queue.append((f"{prefix}{name}.", within, inner))
                elif arm.kind == "keyed" and key in arm.type.registered:
                    return f"did you mean {prefix}{name}.{key}?"
    return _family_hint(key, "")


def _family_hint(name: Any, but: str) -> str:
    """Says what kind of component a name is, if not one of the family it was given for."""
    for family, base in FAMILIES.items():
        if isinstance(name, str) and name in base.registered and family != but:
            return f"{name} is {article(base.registered[name].family)}"
    return ""


def _value_hint(arms: list[Arm], value: Any) -> str:
    """What to write instead of a value of the wrong form, if that is plain."""
    kinds = {arm.kind for arm in arms}
    choices = [str(choice) for arm in arms if arm.kind == "literal" for choice in arm.type]
    if isinstance(value, str):
        if choices and (close := nearest(value, choices)):
            return f"did you mean {close}?"
        if "bool" in kinds and (meant := _WORDS_FOR_BOOL.get(value.lower())):
            return f"did you mean {meant}?"
        if kinds & {"int", "float"} and _is_number(value):
            return "leave out the quotes"
    if "list" in kinds and value is not None and not isinstance(value, (list, dict)):
        return f"did you mean [{value}]?"
    if "str" in kinds and isinstance(value, (int, float)):
        return "put quotes around it if it is meant as text"
    if "int" in kinds and isinstance(value, float) and value.is_integer():
        return f"did you mean {value:.0f}?"
    return ""


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
