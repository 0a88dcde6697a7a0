"""What the catalogue says agrees with what the loader accepts."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import pytest

from nnexp.config import catalogue, source
from nnexp.config.catalogue import (
    Parameter,
    describe,
    families,
    labelled,
    schema,
    tables,
)
from nnexp.config.experiment import Experiment, Training
from nnexp.config.load import load_config
from nnexp.config.wording import Arm, bounds, field_arms, number, words
from nnexp.errors import ConfigError, UsageError
from nnexp.registry import FAMILIES, Spec

CONFIGS = sorted((Path(__file__).parents[2] / "configs").glob("*.yaml"))
SCHEMA = schema()
KEYWORDS = {
    *("$schema", "$defs", "$ref", "title", "description", "default", "type", "enum", "const"),
    *("properties", "required", "additionalProperties", "items", "anyOf", "if", "else"),
    *("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"),
    *("minLength", "maxLength", "minItems", "maxItems"),
}
TYPES = {
    "object": dict,
    "array": list,
    "string": str,
    "boolean": bool,
    "null": type(None),
    "integer": int,
    "number": (int, float),
}


def valid(value: Any, rule: Any) -> bool:
    """Whether a JSON Schema (the keywords that are used) accepts a value."""
    if isinstance(rule, bool):
        return rule
    unknown = {key for key in rule if key not in KEYWORDS and not key.startswith("x-")}
    assert not unknown, unknown
    return all(_holds(value, rule, key) for key in rule)


def _holds(value: Any, rule: dict[str, Any], key: str) -> bool:
    told = rule[key]
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    match key:
        case "$ref":
            return valid(value, SCHEMA["$defs"][told.removeprefix("#/$defs/")])
        case "type":
            return any(_is(value, name) for name in ([told] if isinstance(told, str) else told))
        case "enum":
            return any(type(value) is type(v) and value == v for v in told)
        case "const":
            return type(value) is type(told) and value == told
        case "anyOf":
            return any(valid(value, part) for part in told)
        case "else":
            return valid(value, rule["if"]) or valid(value, told)
        case "minimum" | "maximum" | "exclusiveMinimum" | "exclusiveMaximum" if is_number:
            signs = {"minimum": value >= told, "maximum": value <= told}
            return signs.get(key, value > told if key == "exclusiveMinimum" else value < told)
        case "minLength" | "maxLength" if isinstance(value, str):
            return (len(value) >= told) if key == "minLength" else (len(value) <= told)
        case "minItems" | "maxItems" if isinstance(value, list):
            return (len(value) >= told) if key == "minItems" else (len(value) <= told)
        case "items" if isinstance(value, list):
            return all(valid(item, told) for item in value)
        case "required" if isinstance(value, dict):
            return all(name in value for name in told)
        case "properties" if isinstance(value, dict):
            return all(valid(value[name], told[name]) for name in told if name in value)
        case "additionalProperties" if isinstance(value, dict):
            return all(
                valid(v, told) for k, v in value.items() if k not in rule.get("properties", {})
            )
        case _:
            return True


def _is(value: Any, name: str) -> bool:
    if isinstance(value, bool):
        return name == "boolean"
    return isinstance(value, TYPES[name])  # type: ignore[arg-type]


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_the_schema_accepts_the_examples(path: Path) -> None:
    assert valid(source.plain(source.read(path)), SCHEMA)


ACCEPTED = [
    "seed: null",
    "optimizer: null",
    "optimizer: {lr: 0.1}",
    "optimizer: {name: sgd, lr: null}",
    "regularization: {l2: 1e-3, l1: {coefficient: 1, step: proximal}}",
    "training: {batch_size: full, early_stopping: {patience: 3}}",
    "schedule: {name: step, every: 2, warmup: {epochs: 1}}",
    "metrics: [accuracy, {name: loss}]",
    "preprocessing: []",
    "model: {name: sequential, layers: [relu, {name: linear, units: 3}, linear]}",
    "data: {source: {name: csv, path: a.csv, target: [a, 3], types: {a: numeric}}}",
    "data: {source: iris, split: {train: 0.5, dev: rows.txt}}",
]
REFUSED = [
    "seed: -1",
    "seed: x",
    "seed: true",
    "sed: 1",
    "optimizer: adm",
    "optimizer: {lr: 0}",
    "optimizer: {name: adm}",
    "optimizer: {name: adam, momentum: 0.9}",
    "optimizer: {momentum: 0.9}",
    "regularization: {l3: 1}",
    "regularization: {l2: -1}",
    "regularization: {l1: {step: proximal}}",
    "training: {batch_size: fulll}",
    "training: {batch_size: 0}",
    "training: {early_stopping: true}",
    "schedule: {name: step, warmup: {epoch: 1}}",
    "metrics: accuracy",
    "metrics: [accuracy, 3]",
    "model: null",
    "model: {hidden: [3]}",
    "model: {name: mlp, hidden: []}",
    "model: {name: mlp, hidden: [0]}",
    "model: sequential",
    "data: {split: {train: 1.0}}",
    "data: {source: csv}",
    "data: {source: {name: csv, path: a.csv, target: 1.5}}",
]


@pytest.mark.parametrize("line", [*ACCEPTED, *REFUSED])
def test_schema_and_loader_agree(line: str, tmp_path: Path) -> None:
    lines = ["data: {source: iris}", "model: mlp", line]
    kept = [x for x in lines if x is line or not line.startswith(x.split(":")[0])]
    path = tmp_path / "some.yaml"
    path.write_text("\n".join(kept))
    assert valid(source.plain(source.read(path)), SCHEMA) == (line in ACCEPTED)
    if line in ACCEPTED:
        load_config(path)
    else:
        with pytest.raises(ConfigError):
            load_config(path)


def test_a_config_with_a_base_may_leave_things_out() -> None:
    assert valid({"base": "a.yaml", "seed": 1, "model": {"hidden": [3]}}, SCHEMA)
    assert valid({"base": "a.yaml", "data": {"split": {"train": 1.0}}}, SCHEMA)
    assert not valid({"base": "a.yaml", "sed": 1}, SCHEMA)
    assert not valid({"base": 3, "data": {"source": "iris"}, "model": "mlp"}, SCHEMA)
    assert not valid({"base": None, "seed": 1}, SCHEMA)


def test_the_schema_is_plain_json_and_complete() -> None:
    assert json.loads(json.dumps(SCHEMA, allow_nan=False)) == SCHEMA
    for family, base in FAMILIES.items():
        for name, cls in base.registered.items():
            properties = SCHEMA["$defs"][f"{family}.{name}"]["properties"]
            for key, info in cls.model_fields.items():
                if key == "name":
                    continue
                assert properties[key]["description"] == info.description
                assert ("default" in properties[key]) != info.is_required()


def test_defaults_in_the_schema_are_accepted_by_it() -> None:
    def check(rule: Any) -> None:
        if isinstance(rule, dict):
            if "default" in rule:
                assert valid(rule["default"], rule), rule
            for inner in rule.values():
                check(inner)
        elif isinstance(rule, list):
            for inner in rule:
                check(inner)

    check(SCHEMA)


# -- describing ------------------------------------------------------------------------------------


def test_adam() -> None:
    (adam,) = describe("optimizer.adam")
    assert describe("adam") == [adam]
    assert adam.summary == "Adam with bias correction: a velocity, and a scale for each parameter"
    assert adam.formula.startswith("m ← β₁m + (1 − β₁)g")
    assert adam.formula.endswith("θ ← θ − η m̂ / (√v̂ + ε)")
    assert adam.use == "the default: works at the same rate for most networks."
    assert adam.source.startswith("Kingma & Ba (2015)")
    assert [p.name for p in adam.parameters] == [
        *("lr", "beta1", "beta2", "eps", "layers", "rate_rule")
    ]
    also = ("learning_rate", "eta", "alpha")
    assert adam.parameters[0] == Parameter(
        *("lr", "number", "0.001", "> 0, ≤ 1,000", "", "learning rate", also, True),
        "log, 0.0001 to 1",
    )


def test_names_of_every_kind() -> None:
    linear = ["baseline.linear", "layer.linear", "model.linear"]
    assert [one.name for one in describe("linear")] == linear
    assert [one.name for one in describe("relu")] == ["activation.relu"]
    assert [one.name for one in describe("layer.relu")] == ["layer.relu"]
    assert [one.name for one in describe("early_stopping")] == ["training.early_stopping"]
    assert set(describe("optimizer")[0].components) == set(FAMILIES["optimizer"].registered)
    (epochs,) = describe("training.epochs")
    assert (epochs.parameters[0].default, epochs.parameters[0].unit) == ("20", "epochs")
    (rate,) = describe("adam.lr")
    assert rate.name == "optimizer.adam.lr"
    assert [p.name for p in describe("config")[0].parameters] == list(Experiment.model_fields)


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("optimiser", "did you mean optimizer?"),
        ("adm", "did you mean optimizer.adam?"),
        ("xavier", "did you mean initialization.glorot_normal?"),
        ("adam.lrr", "nnexp ls"),
        ("qqqq", "nnexp ls"),
        ("", "nnexp ls"),
    ],
)
def test_unknown_names(name: str, near: str) -> None:
    with pytest.raises(UsageError, match="there is nothing called") as caught:
        describe(name)
    assert near in str(caught.value) or (name == "adam.lrr" and "did you mean" in str(caught.value))


def test_everything_has_a_summary_and_described_fields() -> None:
    for components in families().values():
        assert all(components.values())
    for path, spec in catalogue._index().items():
        assert catalogue.summary(spec), path
        assert "\n" not in catalogue.summary(spec)
        for parameter in catalogue.parameters(spec):
            assert parameter.description, (path, parameter.name)
            assert parameter.type
            assert parameter.default


@pytest.mark.parametrize("family", FAMILIES)
def test_everything_says_when_to_use_it(family: str) -> None:
    lacking = [n for n, c in FAMILIES[family].registered.items() if not labelled(c)["use"]]
    assert lacking == []


@pytest.mark.parametrize("family", FAMILIES)
def test_no_label_is_left_in_the_text(family: str) -> None:
    for name in FAMILIES[family].registered:
        for one in describe(f"{family}.{name}"):
            for text in (one.summary, *one.text.split("\n\n"), one.formula, one.use, one.source):
                assert not re.search(r"(^|[.\s])(Formula|Use|Source):", text), (one.name, text)
                assert "\n" not in text


class Documented(Spec):
    """A first sentence. A second
    one, on two lines.

    Formula: θ ← θ − η g,
        g the gradient
    Use: often.

    More to say:
    of several lines.

    Source: Somebody (1999), "Use: a
    title".
    """


class Brief(Spec):
    """f(x) = x.
    Use: never.
    """


def test_what_is_said_under_labels() -> None:
    assert labelled(Documented) == {
        "formula": "θ ← θ − η g, g the gradient",
        "use": "often.",
        "source": 'Somebody (1999), "Use: a title".',
    }
    assert catalogue.summary(Documented) == "A first sentence"
    assert catalogue._more(Documented) == (
        "A second one, on two lines.\n\nMore to say: of several lines."
    )
    assert labelled(Brief) == {"formula": "", "use": "never.", "source": ""}
    assert (catalogue.summary(Brief), catalogue._more(Brief)) == ("f(x) = x", "")


def test_the_text_does_not_repeat_the_summary() -> None:
    (one,) = describe("cross_entropy")
    assert one.text == (
        "With label smoothing ε the right class should get 1 − ε + ε/C, and every other one ε/C."
    )
    (family,) = describe("optimizer")
    assert (family.summary, family.text) == (
        "An update rule",
        "`lr` is the rate that the schedule multiplies.",
    )


def test_how_layers_are_named_is_a_topic() -> None:
    (topic,) = describe("layers")
    for name in ("`first`", "`hidden`", "`output`", "`0.linear`", "`conv*`"):
        assert name in topic.text
    examples = re.findall(r"`(\w+)(?:\.(\w+))?: ({.+?})`(?= [a-z])", topic.text)
    assert [key for key, _, _ in examples] == ["regularization", "optimizer", "initialization"]
    for key, inner, value in examples:
        written = f"{{{inner}: {value}}}" if inner else value
        text = f"data: {{source: digits}}\nmodel: mlp\n{key}: {written}"
        Experiment.model_validate(source.plain(source.parse(text, "topic")))


def test_a_description_is_plain_json() -> None:
    (one,) = describe("swish")
    plain = json.loads(json.dumps(one.to_json()))
    assert {"name", "summary", "text", "formula", "use", "source", "parameters"} <= plain.keys()
    expected = {"name", "type", "default", "range", "unit", "description"}
    assert expected <= plain["parameters"][0].keys()


def test_tables_name_everything() -> None:
    text = tables()
    for family, base in FAMILIES.items():
        assert f"### `{family}`" in text
        for name in base.registered:
            assert f"| `{name}` |" in text
    for key in (*Experiment.model_fields, *Training.model_fields):
        assert f"| `{key}` |" in text
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert {line.replace("\\|", "").count("|") for line in rows} == {5}


# -- words -----------------------------------------------------------------------------------------


def _arms(spec: type[Spec], field: str) -> list[Arm]:
    return field_arms(spec.model_fields[field])


def test_words_of_forms() -> None:
    assert words(_arms(Training, "batch_size")) == "a whole number from 1 to 2^53, or full"
    assert words(_arms(Training, "clip_grad_norm")) == "a number above 0 and at most 1e9"
    assert words(_arms(Training, "precision")) == "float32, bf16 or float64"
    assert words(_arms(Experiment, "name")) == "text of at most 100 characters"
    hidden = _arms(FAMILIES["model"].registered["mlp"], "hidden")
    items = "at least 1 item and at most 10,000 items"
    assert words(hidden) == f"a list of {items}, each a whole number from 1 to 1e6"
    assert bounds(hidden) == "≥ 1, ≤ 1e6"
    dropout = FAMILIES["model"].registered["mlp"]
    assert bounds(_arms(dropout, "dropout")) == "≥ 0, < 1"


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (0.5, "0.5"), (1000, "1,000"), (1e9, "1e9"), (1e-8, "1e-8"), (2**53, "2^53"),
     (12345678, "12,345,678"), (math.inf, "inf")],
)  # fmt: skip
def test_numbers(value: float, text: str) -> None:
    assert number(value) == text
