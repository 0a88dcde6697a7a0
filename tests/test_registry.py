"""Components are registered, chosen by name, checked with exact places, and stacked into packs."""

from __future__ import annotations

import importlib
import json
import pkgutil
from collections.abc import Callable
from typing import Annotated, Any, Literal, get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from nnexp import components
from nnexp.components import regularizers, schedules
from nnexp.components.layers import basic as layers
from nnexp.components.losses import loss as losses
from nnexp.components.metrics import metric as metrics
from nnexp.components.models import model as models
from nnexp.components.optimizers import rules as optimizers
from nnexp.config.catalogue import summary
from nnexp.registry import (
    FAMILIES,
    KeyedBy,
    OneOf,
    Spec,
    choose,
    extras,
    names_of,
    param,
    rule,
    stack,
)

Penalties = TypeAdapter(Annotated[dict[str, regularizers.Regularizer], KeyedBy])
Optimizer, Model = optimizers.Optimizer, models.Model


for _module in pkgutil.iter_modules(components.__path__, "nnexp.components."):
    importlib.import_module(_module.name)


class Fruit(Spec, family="fruit"):
    """What the tests below choose from."""

    default = "apple"
    shorthand = "weight"
    weight: float = param(1.0, "mass", unit="g", gt=0, per_member=True)


class Apple(Fruit):
    """A pome.

    More about apples.
    """

    name: Literal["apple"] = "apple"
    also = ("malus",)
    seeds: int = param(5, "how many", ge=0)
    tags: list[str] = param([], "labels")


class Pear(Fruit):
    """A pome,
    too."""

    name: Literal["pear"] = "pear"


class Basket(Spec, family="basket"):
    """Holds fruit."""

    per_member = True


class Nested(Basket):
    """A basket of fruit and baskets."""

    name: Literal["nested"] = "nested"
    main: OneOf[Fruit] = param(Apple(), "the best")
    rest: list[OneOf[Fruit]] = param([], "others")
    inside: OneOf[Basket] | None = param(None, "a smaller one")
    priced: Annotated[dict[str, Fruit], KeyedBy] = param({}, "for sale")


for _family in ("fruit", "basket"):
    FAMILIES.pop(_family)  # other tests look at all families


def problems(family: type[Spec], value: Any) -> list[tuple[str, tuple[Any, ...]]]:
    """Type and place of every error."""
    with pytest.raises(ValidationError) as caught:
        choose(family, value)
    return [(e["type"], e["loc"]) for e in caught.value.errors(include_url=False)]


def context(value: Any, family: type[Spec] = Optimizer) -> dict[str, Any]:
    with pytest.raises(ValidationError) as caught:
        choose(family, value)
    return caught.value.errors(include_url=False)[0]["ctx"]


# -- registration ----------------------------------------------------------------------------------


def test_defining_a_class_registers_it() -> None:
    assert Fruit.registered == {"apple": Apple, "pear": Pear}
    assert Apple.registered is Fruit.registered
    assert names_of(Fruit) == "apple, pear"
    assert Fruit.family == Apple.family == "fruit"


def test_an_activation_is_a_layer_too() -> None:
    assert layers.Layer.registered["relu"] is FAMILIES["activation"].registered["relu"]
    assert "linear" not in FAMILIES["activation"].registered


def test_a_name_is_given_once() -> None:
    with pytest.raises(ValueError, match="fruit 'apple' is defined twice"):

        class Other(Fruit):
            name: Literal["apple"] = "apple"

    assert Fruit.registered["apple"] is Apple


def test_two_modules_cannot_share_a_name() -> None:
    """Even if their classes have the same name, as a plugin's might."""
    body = {"__module__": "plugin", "__qualname__": "Apple", "name": "apple"}
    try:
        with pytest.raises(ValueError, match="defined twice"):
            type(Fruit)("Apple", (Fruit,), {**body, "__annotations__": {"name": Literal["apple"]}})
    finally:
        Fruit.registered["apple"] = Apple


@pytest.mark.parametrize("family", FAMILIES)
def test_every_component_and_field_is_described(family: str) -> None:
    for name, cls in FAMILIES[family].registered.items():
        assert cls.model_fields["name"].default == name
        assert len(summary(cls)) > 10, f"{family} {name} has no docstring"
        for field, info in cls.model_fields.items():
            assert field == "name" or info.description, f"{family} {name}.{field}"


@pytest.mark.parametrize("family", FAMILIES)
def test_every_number_is_bounded_on_both_sides(family: str) -> None:
    for name, cls in FAMILIES[family].registered.items():
        for field, info in cls.model_fields.items():
            kinds = {info.annotation, *get_args(info.annotation)}
            kinds |= {get_args(kind)[0] for kind in kinds if get_args(kind)}  # Annotated[int, …]
            if not kinds & {int, float} or str in kinds:  # with str it is a column's name or number
                continue
            for huge in (10**30, -(10**30)):
                value = {"name": name, field: float(huge) if float in kinds else huge}
                assert (field,) in [loc[:1] for _, loc in problems(FAMILIES[family], value)], (
                    f"{family} {name}.{field} accepts {huge}"
                )


@pytest.mark.parametrize("family", FAMILIES)
def test_every_suggested_name_is_meant_for_one_component(family: str) -> None:
    components = FAMILIES[family].registered
    others = [other for cls in components.values() for other in cls.also]
    assert len(others) == len(set(others))
    assert not set(others) & set(components)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_component_survives_dump_and_choose(family: str) -> None:
    for cls in FAMILIES[family].registered.values():
        required = [n for n, i in cls.model_fields.items() if i.is_required()]
        given: dict[str, Any] = {n: EXAMPLES[n] for n in required}
        spec = cls.model_validate(given)
        plain = json.loads(json.dumps(spec.dump()))
        assert choose(FAMILIES[family], plain) == spec


EXAMPLES: dict[str, Any] = {
    "by": "patient",
    "coefficient": 0.5,
    "units": 3,
    "options": [1, "b", {"name": "c"}],
    "channels": 3,
    "layers": ["relu", {"name": "linear", "units": 2}],
    "shape": [2, 3],
    "milestones": [1.0, 2.5],
    "path": "data.csv",
    "target": "income",
    "images": "images-idx3-ubyte",
    "labels": "labels-idx1-ubyte",
    "features": "x.npy",
    "targets": "y.npy",
}
"""A value for every field that has no default."""


def test_a_summary_is_the_first_sentence_on_one_line() -> None:
    assert summary(Apple) == "A pome"
    assert summary(Pear) == "A pome, too"


def test_param_keeps_what_it_was_told() -> None:
    assert extras(Fruit.model_fields["weight"]) == {"unit": "g", "per_member": True}
    assert extras(Apple.model_fields["seeds"]) == {}
    assert extras(Apple.model_fields["name"]) == {}


def test_a_default_list_is_never_shared() -> None:
    first, second = Apple(), Apple()
    first.tags.append("red")
    assert second.tags == []


# -- choosing --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("adam", optimizers.Adam()),
        ({"name": "adam"}, optimizers.Adam()),
        ({"name": "adam", "lr": 1}, optimizers.Adam(lr=1.0)),
        ({"lr": 0.5}, optimizers.Adam(lr=0.5)),  # the family's default
        ({}, optimizers.Adam()),
        ({"name": "sgd"}, optimizers.Sgd()),
        (optimizers.Sgd(lr=0.5), optimizers.Sgd(lr=0.5)),
    ],
)
def test_a_name_or_a_mapping_is_chosen(value: Any, expected: Spec) -> None:
    assert choose(Optimizer, value) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("adamm", [("unknown_name", ())]),
        ({"name": "adamm"}, [("unknown_name", ("name",))]),
        ({"name": 3}, [("unknown_name", ("name",))]),
        ({"name": ["adam"]}, [("unknown_name", ("name",))]),
        (3, [("choice_type", ())]),
        (True, [("choice_type", ())]),
        (None, [("choice_type", ())]),
        (["adam"], [("choice_type", ())]),
        ({"name": "adam", "lr": 0}, [("greater_than", ("lr",))]),
        ({"name": "adam", "lr": "0.1"}, [("float_type", ("lr",))]),
        ({"name": "adam", "lr": True}, [("float_type", ("lr",))]),
        ({"name": "adam", "lr": float("nan")}, [("finite_number", ("lr",))]),
        ({"name": "adam", "lr": None}, [("float_type", ("lr",))]),
        (
            {"name": "adam", "rate": 1, "beta1": 1.0, "beta2": -1},
            [
                ("less_than", ("beta1",)),
                ("greater_than_equal", ("beta2",)),
                ("extra_forbidden", ("rate",)),
            ],
        ),
    ],
)
def test_every_error_has_its_exact_place(
    value: Any, expected: list[tuple[str, tuple[Any, ...]]]
) -> None:
    assert sorted(problems(Optimizer, value)) == sorted(expected)


def test_a_family_without_default_needs_a_name() -> None:
    assert problems(losses.Loss, {}) == [("name_missing", ())]
    assert problems(Model, {"name": None}) == [("name_missing", ())]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"name": "mlp", "activation": "rellu"}, [("unknown_name", ("activation",))]),
        (
            {"name": "mlp", "activation": {"name": "rellu"}},
            [("unknown_name", ("activation", "name"))],
        ),
        (
            {"name": "mlp", "activation": {"name": "swish", "beta": 0}, "hidden": [0, "a"]},
            [
                ("greater_than", ("activation", "beta")),
                ("greater_than_equal", ("hidden", 0)),
                ("int_type", ("hidden", 1)),
            ],
        ),
        (
            {
                "name": "sequential",
                "layers": [
                    "flaten",
                    {"name": "linear", "units": 0, "init": {"name": "normal", "std": -1}},
                    {"name": "linear", "init": "hee"},
                    4,
                ],
            },
            [
                ("unknown_name", ("layers", 0)),
                ("greater_than_equal", ("layers", 1, "units")),
                ("greater_than", ("layers", 1, "init", "std")),
                ("unknown_name", ("layers", 2, "init")),
                ("choice_type", ("layers", 3)),
            ],
        ),
    ],
)
def test_nested_errors_have_their_full_place(value: Any, expected: list[Any]) -> None:
    found = sorted(problems(Model, value), key=str)
    assert found == sorted(expected, key=str)


def test_components_nest_to_any_depth() -> None:
    value = {
        "name": "nested",
        "main": "pear",
        "rest": ["apple", {"name": "pear", "weight": 2}],
        "inside": {"name": "nested", "inside": {"name": "nested"}},
        "priced": {"pear": 3, "apple": {"seeds": 1}},
    }
    spec = choose(Basket, value)
    assert isinstance(spec, Nested)
    assert spec.priced == {"pear": Pear(weight=3.0), "apple": Apple(seeds=1)}
    assert choose(Basket, json.loads(json.dumps(spec.dump()))) == spec
    value["inside"] = {"name": "nested", "inside": {"name": "nested", "main": {"weight": 0}}}
    value["priced"] = {"pear": {"weight": -1}, "plum": 3}
    assert sorted(problems(Basket, value), key=str) == [
        ("greater_than", ("inside", "inside", "main", "weight")),
        ("greater_than", ("priced", "pear", "weight")),
        ("unknown_key_name", ("priced", "plum")),
    ]


@pytest.mark.parametrize(
    ("family", "word", "nearest"),
    [
        ("optimizer", "adamm", "adam"),
        ("optimizer", "ADAM", "adam"),
        ("optimizer", "gradient-descent", "sgd"),
        ("optimizer", "heavy ball", "momentum"),
        ("optimizer", "qqqq", ""),
        ("initialization", "xavier", "glorot_normal"),
        ("initialization", "kaiming", "he_normal"),
        ("initialization", "msra", "he_normal"),
        ("activation", "silu", "swish"),
        ("layer", "dense", "linear"),
        ("schedule", "new-bob", "newbob"),
        ("loss", "svm", "hinge"),
        ("metric", "acc", "accuracy"),
    ],
)
def test_the_nearest_name_is_offered(family: str, word: str, nearest: str) -> None:
    told = context(word, FAMILIES[family])
    assert told["nearest"] == nearest
    assert told["family"] == family
    assert told["allowed"] == names_of(FAMILIES[family])


def test_a_spec_is_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        optimizers.Adam().lr = 2.0  # type: ignore[misc]


# -- mappings keyed by name ------------------------------------------------------------------------


def test_a_number_stands_for_the_shorthand_field() -> None:
    found = Penalties.validate_python({"l2": 1e-4, "l1": {"coefficient": 2}, "weight_decay": None})
    assert found == {
        "l2": regularizers.L2(coefficient=1e-4),
        "l1": regularizers.L1(coefficient=2.0),
    }
    plain = Penalties.dump_python(found)
    for name, coefficient in {"l2": 1e-4, "l1": 2.0}.items():
        assert "name" not in plain[name]
        assert plain[name]["coefficient"] == coefficient
    assert Penalties.validate_python(plain) == found


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (3, [("keyed_type", ())]),
        (["l2"], [("keyed_type", ())]),
        ({"l2": "a"}, [("float_type", ("l2",))]),
        ({"l2": -1}, [("greater_than_equal", ("l2",))]),
        ({"l2": {}}, [("missing", ("l2", "coefficient"))]),
        ({"l2": {"coefficient": -1}}, [("greater_than_equal", ("l2", "coefficient"))]),
        ({"l2": {"coefficient": 1, "x": 1}}, [("extra_forbidden", ("l2", "x"))]),
        ({"l3": 1, "l1": -1}, [("unknown_key_name", ("l3",)), ("greater_than_equal", ("l1",))]),
        (
            {"l2": {"per_example": "bat"}},
            [("missing", ("l2", "coefficient")), ("literal_error", ("l2", "per_example"))],
        ),
    ],
)
def test_keyed_errors_have_their_exact_place(value: Any, expected: list[Any]) -> None:
    with pytest.raises(ValidationError) as caught:
        Penalties.validate_python(value)
    assert [(e["type"], e["loc"]) for e in caught.value.errors(include_url=False)] == expected


def test_an_unknown_key_is_told_the_nearest_name() -> None:
    with pytest.raises(ValidationError) as caught:
        Penalties.validate_python({"ridge": 1})
    assert caught.value.errors()[0]["ctx"]["nearest"] == "l2"


def test_a_rule_may_hold_braces() -> None:
    error = rule("write {epochs: 3}", allowed="a mapping", hint="try {}")
    assert error.message() == "write (epochs: 3)"
    assert error.context == {"allowed": "a mapping", "hint": "try {}"}


# -- whatever is written ---------------------------------------------------------------------------

Words = st.sampled_from(
    ["name", "lr", "hidden", "layers", "adam", "mlp", "sequential", "relu", "init", "units"]
)
Scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(10**300, 10**320)
    | st.floats()
    | st.text(max_size=8)
    | Words
)
Values = st.recursive(
    Scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(Words | Scalars, inner, max_size=4),
    max_leaves=12,
)


def attempt(check: Callable[[], Any]) -> tuple[Any, list[Any]]:
    """What came out, and the errors of a ValidationError."""
    try:
        return check(), []
    except ValidationError as error:
        return None, list(error.errors(include_url=False))


@given(st.sampled_from(sorted(FAMILIES)), Values, st.booleans())
@settings(max_examples=400, deadline=None)
def test_whatever_is_written_is_accepted_or_a_validation_error(
    family: str, value: Any, named: bool
) -> None:
    base = FAMILIES[family]
    if named and isinstance(value, dict):  # reach the components' own fields
        value = {**value, "name": sorted(base.registered)[len(value) % len(base.registered)]}
    spec, errors = attempt(lambda: choose(base, value))
    assert bool(errors) or isinstance(spec, base)
    for detail in errors:
        assert detail["msg"]
        assert all(isinstance(part, (str, int)) for part in detail["loc"])


@given(Values)
@settings(max_examples=150, deadline=None)
def test_whatever_is_keyed_is_accepted_or_a_validation_error(value: Any) -> None:
    for written in (value, {"l2": value}, {"l2": value, "l1": {"coefficient": value}}):
        found, errors = attempt(lambda given=written: Penalties.validate_python(given))
        assert errors or all(isinstance(p, regularizers.Regularizer) for p in found.values())


# -- packs -----------------------------------------------------------------------------------------


def test_stack_gives_a_float_where_members_agree() -> None:
    same = [optimizers.Momentum(lr=0.1, momentum=m) for m in (0.5, 0.9, 0.5)]
    stacked = stack(same)
    assert stacked["lr"] == 0.1
    assert isinstance(stacked["lr"], float)
    momentum = stacked["momentum"]
    assert isinstance(momentum, np.ndarray)
    assert momentum.dtype == np.float64
    assert momentum.tolist() == [0.5, 0.9, 0.5]
    assert set(stacked) == {"lr", "momentum"}
    assert stack([metrics.Accuracy()]) == {}


def test_members_may_differ_in_marked_fields_only() -> None:
    adam = optimizers.Adam()
    assert optimizers.Adam(lr=1.0, beta1=0.5).pack_key() == adam.pack_key()
    assert optimizers.Adam(eps=1e-3).pack_key() != adam.pack_key()
    assert optimizers.AdamW().pack_key() != adam.pack_key()
    differing = {"lr", "beta1", "beta2"}
    assert adam.pack_key() == {k: v for k, v in adam.dump().items() if k not in differing}


def test_members_may_differ_in_a_whole_family_that_says_so() -> None:
    assert schedules.OneCycle().pack_key() == schedules.Newbob().pack_key()
    mlp = models.Mlp(hidden=[3], activation=FAMILIES["activation"].registered["swish"](beta=2.0))
    assert mlp.pack_key()["hidden"] == [3]
    assert mlp.pack_key()["activation"] == {"name": "swish", "trainable": False}
    first, second = (
        Nested(main=Apple(weight=w), rest=[Pear(weight=w)], priced={"pear": w}) for w in (1.0, 2.0)
    )
    assert first != second
    assert first.pack_key() is second.pack_key() is None
