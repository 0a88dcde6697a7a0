"""What a field takes, in words: for error messages, `nnexp explain` and the README's tables."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeAlias, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from nnexp.registry import FAMILIES, KeyedBy, Spec, extras, names_of

Kind: TypeAlias = Literal[
    "int", "float", "str", "bool", "literal", "list", "dict", "spec", "choice", "keyed", "any"
]

_NOUNS = {
    "int": "whole number",
    "float": "number",
    "str": "text",
    "bool": "true or false",
    "any": "anything",
}
_LIMITS = ("gt", "ge", "lt", "le", "min_length", "max_length")


@dataclass(frozen=True)
class Arm:
    """One of the forms that a field's value may have.

    type: the Spec or family (spec, choice, keyed), the allowed values (literal), or the arms of
        the items (list) or values (dict).
    limits: pydantic's bounds by name (`gt`, `ge`, `lt`, `le`, `min_length`, `max_length`).
    """

    kind: Kind
    type: Any
    limits: dict[str, Any]


def arms_of(annotation: Any, metadata: Iterable[Any] = ()) -> list[Arm]:
    """The forms that an annotation allows; null is left out, as it stands for the default."""
    metadata = tuple(metadata)
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return arms_of(args[0], (*args[1:], *metadata))
    if origin in (Union, UnionType):
        return [arm for arg in args if arg is not NoneType for arm in arms_of(arg, metadata)]
    limits = dict(_limits(metadata))
    if origin is Literal:
        return [Arm("literal", args, limits)]
    if KeyedBy in metadata:
        return [Arm("keyed", args[1], limits)]
    if origin is list:
        return [Arm("list", arms_of(args[0]), limits)]
    if origin is dict:
        return [Arm("dict", arms_of(args[1]), limits)]
    if isinstance(annotation, type) and issubclass(annotation, Spec):
        is_family = FAMILIES.get(annotation.family) is annotation
        return [Arm("choice" if is_family else "spec", annotation, limits)]
    if annotation is Any:
        return [Arm("any", annotation, limits)]
    kinds: dict[Any, Kind] = {int: "int", float: "float", str: "str", bool: "bool"}
    return [Arm(kinds[annotation], annotation, limits)]


def field_arms(info: FieldInfo) -> list[Arm]:
    """The forms that a field allows."""
    return arms_of(info.annotation, info.metadata)


def _limits(metadata: Iterable[Any]) -> Iterator[tuple[str, Any]]:
    for entry in metadata:
        if isinstance(entry, FieldInfo):
            yield from _limits(entry.metadata)
        for limit in _LIMITS:
            if (value := getattr(entry, limit, None)) is not None:
                yield limit, value


def words(arms: Iterable[Arm]) -> str:
    """What is allowed, such as `a whole number of at least 1, or full`."""
    texts = list(dict.fromkeys(_words(arm) for arm in arms))
    if "a number" in texts and "a whole number" in texts:
        texts.remove("a whole number")
    return texts[0] if len(texts) == 1 else ", ".join(texts[:-1]) + f", or {texts[-1]}"


def _words(arm: Arm) -> str:
    limits = _limit_words(arm)
    match arm.kind:
        case "int" | "float":
            return f"a {_NOUNS[arm.kind]}{limits}"
        case "str" | "bool":
            return _NOUNS[arm.kind] + limits
        case "literal":
            return _listed([str(value) for value in arm.type])
        case "list":
            return f"a list{limits}, each {words(arm.type)}"
        case "any":
            return "anything"
        case "dict":
            return f"a mapping whose values are {words(arm.type)}"
        case "spec":
            return "a mapping with " + ", ".join(keys_of(arm.type))
        case "choice":
            return f"one of {names_of(arm.type)}"
        case "keyed":
            return f"a mapping from {arm.type.family} ({names_of(arm.type)}) to its parameters"


def _limit_words(arm: Arm) -> str:
    limits = {name: number(value) for name, value in arm.limits.items()}
    if "ge" in limits and "le" in limits:
        return f" from {limits['ge']} to {limits['le']}"
    names = {"gt": "above", "ge": "at least", "lt": "below", "le": "at most"}
    parts = [f"{said} {limits[name]}" for name, said in names.items() if name in limits]
    unit = "item" if arm.kind == "list" else "character"
    for name, said in (("min_length", "at least"), ("max_length", "at most")):
        if name in limits:
            parts.append(f"{said} {limits[name]} {unit}" + "s" * (arm.limits[name] != 1))
    if not parts:
        return ""
    return (" of " if parts[0].startswith("at") else " ") + " and ".join(parts)


def type_name(arms: Iterable[Arm]) -> str:
    """The forms without their bounds, for a table: `whole number or full`."""
    return " or ".join(_type_name(arm) for arm in arms)


def _type_name(arm: Arm) -> str:
    match arm.kind:
        case "literal":
            return _listed([str(value) for value in arm.type])
        case "list":
            inner = type_name(arm.type)
            return f"list of {inner}s" if inner.endswith("number") else f"list of {inner}"
        case "dict":
            return f"mapping to {type_name(arm.type)}"
        case "spec":
            return "mapping"
        case "choice":
            return str(arm.type.family)
        case "keyed":
            return f"mapping of {arm.type.family}"
        case _:
            return _NOUNS[arm.kind]


def bounds(arms: Iterable[Arm]) -> str:
    """The bounds of the numbers among the forms, such as `> 0, ≤ 1000`; may be empty."""
    signs = {"gt": ">", "ge": "≥", "lt": "<", "le": "≤"}
    found: list[str] = []
    for arm in arms:
        numeric = arm.kind in ("int", "float")
        inner = arm if numeric else arm.type[0] if arm.kind == "list" and arm.type else None
        if inner is not None:
            found += [
                f"{signs[k]} {number(v)}" for k, v in sorted(inner.limits.items()) if k in signs
            ]
    return ", ".join(dict.fromkeys(found))


def number(value: float) -> str:
    """A bound as people write it: 0.5, 1,000, 1e9, 2^53."""
    if value >= 2**50 and math.log2(value).is_integer():
        return f"2^{math.log2(value):.0f}"
    short = f"{value:g}"
    if "e" in short and float(short) == value:
        mantissa, exponent = short.split("e")
        return f"{mantissa}e{int(exponent)}"
    return f"{int(value):,}" if float(value).is_integer() else short


def article(noun: str) -> str:
    return ("an " if noun[0] in "aeiou" else "a ") + noun


def keys_of(spec: type[Spec]) -> list[str]:
    """The keys that a mapping for `spec` may have besides `name`; the whole family's come last."""
    if not is_component(spec):
        return list(spec.model_fields)
    common = {
        name
        for base in spec.__mro__
        if issubclass(base, Spec) and "registered" in base.__dict__ and base is not spec
        for name, info in base.model_fields.items()
        if not extras(info).get("per_member")
    }
    own = [name for name in spec.model_fields if name != "name"]
    return [n for n in own if n not in common] + [n for n in own if n in common]


def is_component(spec: type[Spec]) -> bool:
    """Whether `name` chooses the class (and is not just text, as the experiment's is)."""
    info = spec.model_fields.get("name")
    return info is not None and get_origin(info.annotation) is Literal


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + f" or {names[-1]}"
