"""What can be written in a config, read off the registered classes.

`describe` explains a name, `schema` tells editors, `tables` fills the README.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from pydantic.fields import FieldInfo

from nnexp.config.experiment import Experiment
from nnexp.config.topics import TOPICS
from nnexp.config.wording import Arm, bounds, field_arms, is_component, keys_of, number, type_name
from nnexp.errors import UsageError, nearest
from nnexp.registry import FAMILIES, Spec, extras

TOP = "config"
"""What the whole of a config is called where something has to be explained."""

LABELS = ("formula", "use", "source")
"""What a docstring may say under a label."""
_LABEL = re.compile(
    r"^(Formula|Use|Source):\s*(.+?)\s*(?=\n\s*\n|\n(?:Formula|Use|Source):|\Z)", re.M | re.S
)

# -- for people ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Parameter:
    """A key and what may stand there.

    default: as it would be written, or where it comes from; "required" without one.
    range: bounds of the number, such as `> 0, ≤ 1000`; may be empty, as `unit` may.
    also: other names for it that are not accepted, but understood in suggestions.
    per_member: members of one pack may differ in it. search: the scale that a search draws it on.
    """

    name: str
    type: str
    default: str
    range: str
    unit: str
    description: str
    also: tuple[str, ...] = ()
    per_member: bool = False
    search: str = ""


@dataclass(frozen=True)
class Description:
    """A component (`optimizer.adam`), a family of them (`optimizer`) or a section (`training`).

    summary: its first sentence; text: what else there is to say, in paragraphs. formula: what it
    computes, empty where the summary says that. use: when to choose it. source: where it is from.
    components: those of a family, with their summaries.
    """

    name: str
    summary: str
    text: str
    parameters: tuple[Parameter, ...]
    components: dict[str, str] = field(default_factory=dict)
    formula: str = ""
    use: str = ""
    source: str = ""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def families() -> dict[str, dict[str, str]]:
    """Every family's components with their summaries."""
    return {
        family: {name: summary(cls) for name, cls in sorted(base.registered.items())}
        for family, base in sorted(FAMILIES.items())
    }


def describe(name: str) -> list[Description]:
    """Explains `optimizer.adam`, `adam`, `optimizer`, `training`, `training.epochs`, `adam.lr`, …

    A name that means several things (`linear`) gives several descriptions. `layers` is a
    topic, how layers are named.
    Raises UsageError, with the nearest name, for one that means nothing.
    """
    index = _index()
    if name in TOPICS:
        first, _, rest = TOPICS[name].partition("\n\n")
        return [Description(name, first.rstrip("."), rest, ())]
    found = _find(name, index)
    if not found and "." in name:
        holder, _, key = name.rpartition(".")
        holders = _find(holder, index).items()
        found = {f"{path}.{key}": spec for path, spec in holders if key in keys_of(spec)}
        if found:
            return [_describe_key(path, spec, key) for path, spec in found.items()]
    if not found:
        raise UsageError(_unknown(name, index))
    return [_describe(path, spec) for path, spec in found.items()]


def summary(spec: type[Spec]) -> str:
    """The first sentence of its docstring, on one line, without the full stop."""
    return _sentences(_LABEL.sub("", _text(spec)).split("\n\n")[0])[0]


def labelled(spec: type[Spec]) -> dict[str, str]:
    """What its docstring says under a label: `formula`, `use`, `source`, each on one line.

    A label begins a line; what it says ends with the paragraph, or where another label begins.
    """
    found = {said.lower(): " ".join(text.split()) for said, text in _LABEL.findall(_text(spec))}
    return {said: found.get(said, "") for said in LABELS}


def _sentences(paragraph: str) -> list[str]:
    """The first sentence, without its full stop; then the rest, if any."""
    first, *rest = re.split(r"(?<=\.)\s+(?=[A-Z`])", " ".join(paragraph.split()), maxsplit=1)
    return [first.rstrip("."), *rest]


def _more(spec: type[Spec]) -> str:
    """Its docstring without the first sentence and the labelled lines."""
    first, *others = re.split(r"\n{2,}", _LABEL.sub("", _text(spec)).strip())
    paragraphs = [*_sentences(first)[1:], *(" ".join(text.split()) for text in others)]
    return "\n\n".join(paragraphs)


def _text(spec: type[Spec]) -> str:
    return inspect.cleandoc(spec.__doc__ or "")


def _index() -> dict[str, type[Spec]]:
    """Everything that has a description, by path."""
    index: dict[str, type[Spec]] = {TOP: Experiment}
    index |= dict(_sections(Experiment, ""))
    for family, base in sorted(FAMILIES.items()):
        index[family] = base
        index |= {f"{family}.{name}": cls for name, cls in sorted(base.registered.items())}
    return index


def _sections(spec: type[Spec], prefix: str) -> Iterator[tuple[str, type[Spec]]]:
    """The sections (mappings without `name`) under a spec, by path."""
    for name in keys_of(spec):
        for arm in field_arms(spec.model_fields[name]):
            if arm.kind == "spec":
                yield f"{prefix}{name}", arm.type
                yield from _sections(arm.type, f"{prefix}{name}.")


def _find(name: str, index: dict[str, type[Spec]]) -> dict[str, type[Spec]]:
    """What is called `name`: a path, or the last part of one; each class by its own family only."""
    if name in index:
        return {name: index[name]}
    found = {p: spec for p, spec in index.items() if p.rpartition(".")[2] == name}
    return {
        path: spec
        for path, spec in found.items()
        if not is_component(spec) or path.startswith(f"{spec.family}.")
    }


def _unknown(name: str, index: dict[str, type[Spec]]) -> str:
    paths = {path: path for path in (*TOPICS, *index)}
    for path, spec in index.items():
        paths |= dict.fromkeys((path.rpartition(".")[2], *spec.also), path)
    close = nearest(name, paths)
    hint = f"; did you mean {paths[close]}?" if close else "; `nnexp ls` lists what there is"
    return f"there is nothing called '{name}'{hint}"


def _describe(path: str, spec: type[Spec]) -> Description:
    is_family = FAMILIES.get(path) is spec
    components = families()[path] if is_family else {}
    more, said = _more(spec), labelled(spec)
    return Description(path, summary(spec), more, parameters(spec), components, **said)


def _describe_key(path: str, spec: type[Spec], key: str) -> Description:
    one = _parameter(key, spec.model_fields[key])
    return Description(path, one.description, "", (one,))


def parameters(spec: type[Spec]) -> tuple[Parameter, ...]:
    """The keys of a mapping for `spec`, but for a component's `name`."""
    return tuple(_parameter(name, spec.model_fields[name]) for name in keys_of(spec))


def _parameter(name: str, info: FieldInfo) -> Parameter:
    extra, arms = extras(info), field_arms(info)
    return Parameter(
        name,
        type_name(arms),
        _default_text(info),
        bounds(arms),
        extra.get("unit", ""),
        info.description or "",
        tuple(extra.get("also", ())),
        bool(extra.get("per_member")),
        _scale(extra.get("search") or ""),
    )


def _scale(search: str | list[Any]) -> str:
    """How a search draws the values, with the range if there is one of its own."""
    return search if isinstance(search, str) else "{}, {:g} to {:g}".format(*search)


def _default_text(info: FieldInfo) -> str:
    if info.is_required():
        return "required"
    origin = str(extras(info).get("when", "")).removeprefix("null: ")
    value = _default(info)
    if origin or value is None or value == {}:
        return origin or "none"
    return _written(value)


def _default(info: FieldInfo) -> Any:
    """The default as it would be written: a component of defaults only is just its name."""
    value = info.get_default(call_default_factory=True)
    if not isinstance(value, Spec):
        return value
    if not is_component(type(value)):
        return {}
    return value.component if value == type(value)() else value.dump()


def _written(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float)):
        return number(value)
    if isinstance(value, list):
        return "[" + ", ".join(_written(item) for item in value) + "]"
    return str(value) if value != "" else '""'


# -- for the README --------------------------------------------------------------------------------


def tables() -> str:
    """Markdown: the keys of a config, its sections, and every family's components."""
    parts = ["### Keys of a config", _key_table(Experiment)]
    for path, spec in _sections(Experiment, ""):
        parts += [f"### `{path}`", summary(spec) + ".", _key_table(spec)]
    for family, base in sorted(FAMILIES.items()):
        parts += [f"### `{family}`", summary(base) + ".", _component_table(base)]
    return "\n\n".join(parts) + "\n"


def _key_table(spec: type[Spec]) -> str:
    rows = [
        (f"`{p.name}`", _type_and_range(spec.model_fields[p.name]), p.default, _with_unit(p))
        for p in parameters(spec)
    ]
    return _table(("key", "value", "default", "meaning"), rows)


def _component_table(base: type[Spec]) -> str:
    rows = []
    for name, cls in sorted(base.registered.items()):
        keys = ", ".join(f"`{p.name}` {p.default}" for p in parameters(cls))
        rows.append((f"`{name}`", summary(cls), labelled(cls)["use"].rstrip("."), keys))
    return _table(("name", "what it is", "when to use it", "parameters and defaults"), rows)


def _type_and_range(info: FieldInfo) -> str:
    return " or ".join(f"{type_name([a])} {bounds([a])}".strip() for a in field_arms(info))


def _with_unit(parameter: Parameter) -> str:
    return (
        f"{parameter.description} ({parameter.unit})" if parameter.unit else parameter.description
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(
        "| " + " | ".join(c.replace("|", "\\|") for c in line) + " |" for line in lines
    )


# -- for editors -----------------------------------------------------------------------------------

_KEYWORDS = {"gt": "exclusiveMinimum", "ge": "minimum", "lt": "exclusiveMaximum", "le": "maximum"}
_TYPES = {"int": "integer", "float": "number", "str": "string", "bool": "boolean"}


def schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of a config.

    A config with `base` may leave out whatever its base gives, so of such a one the components are
    not checked.
    """
    top = _object(Experiment)
    properties = top.pop("properties")
    inherited = {k for k, info in Experiment.model_fields.items() if _depends_on_base(info)}
    names = {k: {"description": v["description"]} for k, v in properties.items() if k in inherited}
    base = {"type": ["string", "null"], "description": "another YAML file that this one builds on"}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "nnexp config",
        "description": _text(Experiment),
        "type": "object",
        "properties": {"base": base, **properties, **names},
        "additionalProperties": False,
        "if": {"properties": {"base": {"type": "string"}}, "required": ["base"]},
        "else": {
            "properties": {k: v for k, v in properties.items() if k in inherited},
            "required": top["required"],
        },
        "$defs": _definitions(),
    }


def _definitions() -> dict[str, Any]:
    found = {spec.__name__: _object(spec) for spec in _inner(Experiment)}
    for family, base in sorted(FAMILIES.items()):
        keyed = all(cls.shorthand is not None for cls in base.registered.values())
        found[family] = _keyed_family(base) if keyed else _family(base)
        for name, cls in sorted(base.registered.items()):
            found[f"{family}.{name}"] = _object(cls, named=not keyed, family=base)
            found |= {spec.__name__: _object(spec) for spec in _inner(cls)}
    return found


def _inner(spec: type[Spec]) -> list[type[Spec]]:
    return [section for _, section in _sections(spec, "")]


def _family(base: type[Spec]) -> dict[str, Any]:
    """A component's name, or a mapping for one."""
    bare = [
        {"const": name, "description": summary(cls)}
        for name, cls in sorted(base.registered.items())
        if not any(cls.model_fields[key].is_required() for key in keys_of(cls))
    ]
    mappings = [{"$ref": f"#/$defs/{base.family}.{name}"} for name in sorted(base.registered)]
    return {"description": _text(base), "anyOf": [*bare, *mappings]}


def _keyed_family(base: type[Spec]) -> dict[str, Any]:
    """A mapping from names to parameters, or to the one number that stands for them."""
    properties = {}
    for name, cls in sorted(base.registered.items()):
        assert cls.shorthand is not None
        short = _value(field_arms(cls.model_fields[cls.shorthand]))
        forms = [short, {"$ref": f"#/$defs/{base.family}.{name}"}, {"type": "null"}]
        properties[name] = {"description": summary(cls), "anyOf": forms}
    return {
        "description": _text(base),
        "type": "object",
        "properties": properties,
        "additionalProperties": False,
    }


def _object(
    spec: type[Spec], named: bool = False, family: type[Spec] | None = None
) -> dict[str, Any]:
    """A mapping for `spec`. named: `name` is among its keys and chooses it from `family`."""
    properties: dict[str, Any] = {}
    required = [key for key in keys_of(spec) if spec.model_fields[key].is_required()]
    if named:
        name = spec.model_fields["name"].default
        properties["name"] = {"const": name, "description": summary(spec)}
        if family is None or family.default != name:
            required.insert(0, "name")
    for key in keys_of(spec):
        properties[key] = _property(spec.model_fields[key])
        if key in spec.short_forms:
            whole = {
                k: v for k, v in properties[key].items() if k in ("type", "additionalProperties")
            }
            properties[key] = {
                **{k: v for k, v in properties[key].items() if k not in whole},
                "anyOf": [whole, *spec.short_forms[key]],
            }
    found: dict[str, Any] = {
        "title": spec.__name__,
        "description": _text(spec),
        "type": "object",
        "properties": properties,
        "additionalProperties": False,
    }
    return {**found, "required": required} if required else found


def _property(info: FieldInfo) -> dict[str, Any]:
    extra = {f"x-{k.replace('_', '-')}": v for k, v in extras(info).items() if k != "also"}
    described = {"description": info.description or "", **extra}
    value = _value(field_arms(info))
    if info.is_required():
        return {**described, **value}
    return {**described, "default": _default(info), "anyOf": [*_forms(value), {"type": "null"}]}


def _forms(value: dict[str, Any]) -> list[dict[str, Any]]:
    return value["anyOf"] if list(value) == ["anyOf"] else [value]


def _value(arms: Sequence[Arm]) -> dict[str, Any]:
    forms = [_arm(arm) for arm in arms]
    return forms[0] if len(forms) == 1 else {"anyOf": forms}


def _arm(arm: Arm) -> dict[str, Any]:
    limits = arm.limits
    match arm.kind:
        case "any":
            return {}
        case "literal":
            return {"enum": list(arm.type)}
        case "choice" | "keyed":
            return {"$ref": f"#/$defs/{arm.type.family}"}
        case "spec":
            return {"$ref": f"#/$defs/{arm.type.__name__}"}
        case "dict":
            return {"type": "object", "additionalProperties": _value(arm.type)}
        case "list":
            lengths = {"min_length": "minItems", "max_length": "maxItems"}
            found = {said: limits[key] for key, said in lengths.items() if key in limits}
            return {"type": "array", "items": _value(arm.type), **found}
        case _:
            keywords = {**_KEYWORDS, "min_length": "minLength", "max_length": "maxLength"}
            found = {said: limits[key] for key, said in keywords.items() if key in limits}
            return {"type": _TYPES[arm.kind], **found}


def _depends_on_base(info: FieldInfo) -> bool:
    """Whether a key's value may be given in part when the config has a base."""
    for arm in field_arms(info):
        inner = [arm, *arm.type] if arm.kind == "list" else [arm]
        if any(one.kind in ("choice", "keyed") for one in inner):
            return True
        if arm.kind == "spec" and any(map(_depends_on_base, arm.type.model_fields.values())):
            return True
    return False
