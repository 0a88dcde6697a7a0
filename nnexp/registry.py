"""What a component is, and how one class adds it everywhere.

A *family* is a base class (`class Optimizer(Spec, family="optimizer")`), a *component* a class
under it that has a `name`, described and bounded fields (see `param`), and its implementation:

    class Adam(Optimizer):
        \"\"\"Adam (Kingma & Ba 2015, algorithm 1).\"\"\"
        name: Literal["adam"] = "adam"
        lr: float = param(1e-3, "learning rate", gt=0, per_member=True, search="log")

Defining the class registers it: the config accepts it, and the JSON Schema, `nnexp ls`,
`nnexp explain`, the README's tables and the family's contract tests know it.

Fields of other specs use `OneOf[Optimizer]` (a bare name, or a mapping with `name`),
`list[OneOf[Step]]`, or `Annotated[dict[str, Regularizer], KeyedBy]` (a mapping from name to
component).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, ClassVar, TypeVar, cast, get_args

import numpy as np
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    ValidationError,
)
from pydantic.fields import FieldInfo
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, InitErrorDetails, PydanticCustomError, core_schema

from nnexp.errors import nearest

FAMILIES: dict[str, type[Spec]] = {}
"""Every family's base class, by the family's name."""


class Spec(BaseModel):
    """A checked, frozen piece of a config."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=True,
        allow_inf_nan=False,
        validate_default=False,
        use_attribute_docstrings=False,
        protected_namespaces=(),
    )

    family: ClassVar[str] = ""
    registered: ClassVar[dict[str, type[Spec]]]
    """All components of the family by name; one dict shared by the family's classes."""
    default: ClassVar[str | None] = None
    """The family's component when a mapping gives no `name`."""
    shorthand: ClassVar[str | None] = None
    """The field that a bare number stands for (`l2: 1e-4`)."""
    short_forms: ClassVar[dict[str, list[dict[str, Any]]]] = {}
    """Other forms that a validator accepts for a field, as JSON Schemas."""
    also: ClassVar[tuple[str, ...]] = ()
    """Other names of this component, offered as suggestions only."""
    per_member: ClassVar[bool] = False
    """Whether members of one pack may have different components of this family."""

    def __init_subclass__(cls, family: str | None = None, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)

    @classmethod
    def __pydantic_init_subclass__(cls, family: str | None = None, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        if family is not None:
            cls.family, cls.registered = family, {}
            FAMILIES[family] = cls
        elif "name" in cls.model_fields:
            for base in cls.__mro__:  # an activation is a layer, too
                if "registered" in base.__dict__:
                    _register(cast(type[Spec], base), cls)

    @property
    def component(self) -> str:
        """The component's registered name."""
        return cast(str, getattr(self, "name"))

    def dump(self) -> dict[str, Any]:
        """Plain data with every field, as `resolved.yaml` holds it."""
        return self.model_dump(mode="json")

    def pack_key(self) -> Any:
        """What members of one pack must agree in: all but the fields that may differ."""
        return _agreed(self)


def param(
    default: Any = ...,
    description: str = "",
    *,
    unit: str = "",
    per_member: bool = False,
    search: str | tuple[str, float, float] | None = None,
    also: Sequence[str] = (),
    when: str = "",
    **bounds: Any,
) -> Any:
    """A described and bounded field.

    unit: what one of it is ("epochs"); empty for a plain number.
    per_member: members of one pack may differ in it; the engine gives it as a float or `[M]`.
    search: how a search draws it by default: "log", "linear", "log1m" (log of 1 − x); with lowest
        and highest value where they do not follow from the default.
    also: other names users know it by; only ever suggested.
    when: where the default comes from if it is not a constant.
    bounds: `gt`, `ge`, `lt`, `le`, `min_length`, … as in pydantic.
    """
    extra: dict[str, Any] = {
        "unit": unit,
        "per_member": per_member,
        "search": list(search) if isinstance(search, tuple) else search,
        "also": list(also),
        "when": when,
    }
    if isinstance(default, (list, dict)):
        value = default
        kwargs: dict[str, Any] = {"default_factory": lambda: type(value)(value)}
    else:
        kwargs = {"default": default}
    extra_json = {key: value for key, value in extra.items() if value}
    return Field(description=description, json_schema_extra=extra_json, **kwargs, **bounds)


def extras(info: FieldInfo) -> dict[str, Any]:
    """What `param` was told beyond pydantic's own attributes."""
    extra = info.json_schema_extra
    return dict(extra) if isinstance(extra, dict) else {}


def _register(family: type[Spec], cls: type[Spec]) -> None:
    name = cls.model_fields["name"].default
    known = family.registered.get(name)
    if known is not None and _origin(known) != _origin(cls):
        homes = f"in {known.__module__} and in {cls.__module__}"
        raise ValueError(f"{family.family} '{name}' is defined twice: {homes}")
    family.registered[name] = cls


def _origin(cls: type[Spec]) -> tuple[str, str]:
    """Where a class was written: a second look at the same file defines it again, no other one."""
    return cls.__module__, cls.__qualname__


# -- choosing a component by name ------------------------------------------------------------------


class _Choice:
    """Validates a bare name, or a mapping with `name`, into a component of the annotated family.

    The lookup happens at validation, so families may refer to each other and grow by plugins.
    """

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        family: type[Spec] = source

        def validate(value: Any) -> Spec:
            return choose(family, value)

        return core_schema.no_info_plain_validator_function(
            validate,
            serialization=core_schema.plain_serializer_function_ser_schema(
                lambda spec: spec.model_dump(mode="json")
            ),
            metadata={"family": family.family},
        )

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return {"x-family": cast(dict[str, Any], schema)["metadata"]["family"]}


class _Keyed(_Choice):
    """Validates a mapping from component name to its parameters (or to its one number)."""

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        family: type[Spec] = get_args(source)[1]

        def validate(value: Any) -> dict[str, Spec]:
            if not isinstance(value, Mapping):
                raise PydanticCustomError(
                    "keyed_type",
                    "should be a mapping from {family} to its parameters",
                    {"family": family.family, "allowed": names_of(family)},
                )
            chosen: dict[str, Spec] = {}
            errors: list[InitErrorDetails] = []
            for name, parameters in value.items():
                if parameters is None and name in family.registered:
                    continue
                try:
                    chosen[name] = _keyed_member(family, name, parameters)
                except ValidationError as error:
                    errors += _within(error, name)
            if errors:
                raise ValidationError.from_exception_data(family.__name__, errors)
            return chosen

        def serialize(value: Mapping[str, Spec]) -> dict[str, Any]:
            return {k: v.model_dump(mode="json", exclude={"name"}) for k, v in value.items()}

        return core_schema.no_info_plain_validator_function(
            validate,
            serialization=core_schema.plain_serializer_function_ser_schema(serialize),
            metadata={"family": family.family},
        )

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return {"x-keyed-family": cast(dict[str, Any], schema)["metadata"]["family"]}


_T = TypeVar("_T")
OneOf = Annotated[_T, _Choice()]
"""`OneOf[Family]`: a component of the family, by name."""
KeyedBy = _Keyed()
"""`Annotated[dict[str, Family], KeyedBy]`: components in a mapping keyed by their names."""


def names_of(family: type[Spec]) -> str:
    return ", ".join(sorted(family.registered))


def choose(family: type[Spec], value: Any) -> Spec:
    """The component that `value` describes; ValidationError with places relative to `value`."""
    if isinstance(value, family):
        return value
    given = {"name": value} if isinstance(value, str) else value
    if not isinstance(given, Mapping):
        raise _error(
            family,
            PydanticCustomError(
                "choice_type",
                "should be the name of a {family}, or a mapping with `name`",
                {"family": family.family, "allowed": names_of(family)},
            ),
            (),
            value,
        )
    name = given.get("name", family.default)
    if name is None:
        missing = PydanticCustomError(
            "name_missing",
            "needs a `name` that says which {family}",
            {"family": family.family, "allowed": names_of(family)},
        )
        raise _error(family, missing, (), value)
    cls = family.registered.get(name) if isinstance(name, str) else None
    if cls is None:
        raise _error(family, _unknown(family, name), () if value == name else ("name",), name)
    return cls.model_validate({**given, "name": name})


def _keyed_member(family: type[Spec], name: Any, parameters: Any) -> Spec:
    cls = family.registered.get(name) if isinstance(name, str) else None
    if cls is None:
        raise _error(family, _unknown(family, name, key=True), (), name)
    if isinstance(parameters, Mapping):
        return cls.model_validate({**parameters, "name": name})
    assert cls.shorthand is not None, f"{cls} needs a shorthand"
    try:
        return cls.model_validate({"name": name, cls.shorthand: parameters})
    except ValidationError as error:  # the number, or list, stands where the mapping would
        details = [
            cast(InitErrorDetails, {**detail, "loc": detail["loc"][2:]})
            for detail in _within(error, "")
        ]
        raise ValidationError.from_exception_data(cls.__name__, details) from None


def _unknown(family: type[Spec], name: Any, key: bool = False) -> PydanticCustomError:
    names = {other: main for main, cls in family.registered.items() for other in (main, *cls.also)}
    close = nearest(name, names)
    return PydanticCustomError(
        "unknown_key_name" if key else "unknown_name",
        "there is no such {family}",
        {
            "family": family.family,
            "allowed": names_of(family),
            "nearest": names[close] if close else "",
        },
    )


def _error(
    family: type[Spec], kind: PydanticCustomError, loc: tuple[str | int, ...], value: Any
) -> ValidationError:
    return ValidationError.from_exception_data(
        family.__name__, [InitErrorDetails(type=kind, loc=loc, input=value)]
    )


def _within(error: ValidationError, key: str) -> Iterator[InitErrorDetails]:
    """The error's details with `key` put before each place."""
    for detail in error.errors(include_url=False):
        context = detail.get("ctx", {})
        kind: Any = detail["type"]
        if kind in _CUSTOM:
            kind = PydanticCustomError(kind, detail["msg"], context)
        yield InitErrorDetails(
            type=kind, loc=(key, *detail["loc"]), input=detail["input"], ctx=context
        )


_CUSTOM = {"keyed_type", "choice_type", "name_missing", "unknown_name", "unknown_key_name", "rule"}


def rule(message: str, allowed: str = "", hint: str = "") -> PydanticCustomError:
    """The error a field validator raises when a rule beyond types and bounds is broken."""
    escaped = message.replace("{", "(").replace("}", ")")
    return PydanticCustomError("rule", escaped, {"allowed": allowed, "hint": hint})


# -- members of a pack -----------------------------------------------------------------------------


def stack(specs: Sequence[Spec]) -> dict[str, float | np.ndarray]:
    """The fields that may differ between members: a float where all agree, else float64 `[M]`."""
    stacked: dict[str, float | np.ndarray] = {}
    for field, info in type(specs[0]).model_fields.items():
        if not extras(info).get("per_member"):
            continue
        values = [getattr(spec, field) for spec in specs]
        if all(value == values[0] for value in values):
            stacked[field] = values[0]
        else:
            stacked[field] = np.array(values, dtype=np.float64)
    return stacked


def _agreed(value: Any) -> Any:
    if isinstance(value, Spec):
        if value.per_member:
            return None
        return {
            field: _agreed(getattr(value, field))
            for field, info in type(value).model_fields.items()
            if not extras(info).get("per_member")
        }
    if isinstance(value, Mapping):
        return {key: _agreed(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_agreed(item) for item in value]
    return value


def gives_both(cls: type, one: str, other: str, base: type) -> bool:
    """Whether the class below `base` that defines `one` defines `other` as well.

    So a class that inherits both and replaces one is not taken to have a matching pair.
    """
    owner = next(c for c in cls.__mro__ if one in c.__dict__)
    return owner is not base and other in owner.__dict__
