"""Reading YAML: references are the YAML 1.2.2 specification (section 10.3.2) and PyYAML."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from nnexp.config import compose as composer
from nnexp.config.source import (
    Node,
    Place,
    dump,
    find,
    key_place,
    load,
    parse,
    place_of,
    plain,
    read,
)
from nnexp.errors import ConfigError, Problem

quick = settings(deadline=None, max_examples=150)

CONFIG = """\
# a comment
name: digits-mlp
data:
  source: digits                  # é
  split: {train: 0.6, dev: 0.2, test: 0.2}
preprocessing:
  - min_max
  - {name: pca_whiten, components: 0.99}
model: {name: mlp, hidden: [128, 64], "batch_norm": true}
regularization: {l2: 1e-4}
"""


@pytest.fixture(params=["CSafeLoader", "SafeLoader"])
def loader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Either parser, which must agree in all that the tests see."""
    if not hasattr(yaml, request.param):
        pytest.skip("PyYAML without libyaml")
    monkeypatch.setattr(composer, "_LOADER", getattr(yaml, request.param))
    return str(request.param)


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Makes files of the given texts in a directory, the current one, so that places are short."""
    monkeypatch.chdir(tmp_path)

    def files(**texts: str) -> None:
        for name, text in texts.items():
            Path(f"{name}.yaml").write_text(text)

    return files


def problems(text: str) -> list[Problem]:
    with pytest.raises(ConfigError) as caught:
        parse(text, "f.yaml")
    return list(caught.value.problems)


def load_problems(*overrides: str, path: str = "a.yaml") -> list[Problem]:
    with pytest.raises(ConfigError) as caught:
        load(Path(path), overrides)
    return list(caught.value.problems)


def same(one: Any, other: Any) -> bool:
    """Equal in type too, key order and the sign of zero included; NaN equals itself."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, float):
        return (math.isnan(one) and math.isnan(other)) or repr(one) == repr(other)
    return bool(one == other)


# -- values and places -----------------------------------------------------------------------------


@pytest.mark.usefixtures("loader")
def test_values_and_places() -> None:
    node = parse(CONFIG, "f.yaml", Path("/x/f.yaml"))
    assert plain(node) == yaml.safe_load(CONFIG.replace("1e-4", "0.0001"))
    places = {
        ("name",): (2, 1, 7),
        ("data",): (3, 1, 3),  # the mapping starts on the next line
        ("data", "source"): (4, 3, 11),
        ("data", "split"): (5, 3, 10),
        ("data", "split", "dev"): (5, 23, 28),
        ("preprocessing", 1, "components"): (8, 24, 36),
        ("model", "batch_norm"): (9, 39, 53),
    }
    for loc, (line, key_column, column) in places.items():
        value_line = line + 1 if loc == ("data",) else line
        assert place_of(node, loc) == Place("f.yaml", value_line, column, Path("/x/f.yaml"))
        assert key_place(node, loc) == Place("f.yaml", line, key_column, Path("/x/f.yaml"))
    assert str(place_of(node, ("preprocessing", 0))) == "f.yaml:7:5"


def test_lookups_of_what_is_not_there() -> None:
    node = parse(CONFIG, "f.yaml")
    assert find(node, ()) is node
    for loc in (
        ("data", "path"),
        ("preprocessing", 5),
        ("name", "x", 0),
        ("data", 0),
        ("model", ""),
    ):
        assert find(node, loc) is None
    assert place_of(node, ("data", "split", "x", 1)) == place_of(node, ("data", "split"))
    assert key_place(node, ("preprocessing", 0)) == place_of(node, ("preprocessing", 0))
    assert key_place(node, ("data", "x")) == place_of(node, ("data",))
    assert key_place(node, ()) == node.place


SCALARS: list[tuple[str, Any]] = [
    *((text, None) for text in ("", "~", "null", "Null", "NULL")),
    *((text, True) for text in ("true", "True", "TRUE")),
    *((text, False) for text in ("false", "False", "FALSE")),
    *((text, text) for text in ("yes", "no", "on", "off", "Yes", "tRUE", "y", "nUll", "none")),
    *(
        (text, text)
        for text in ("2024-01-01", "2024-01-01T00:00:00Z", "1:30", "1_000", "=", "1.2.3")
    ),
    *(
        (text, text)
        for text in ("0b1", "0x", "0o8", "-0x1", "1e", ".", "e3", ".e3", "+.nan", "inf")
    ),
    *((text, text) for text in ("x", "a b", "dev/loss", "١", "1e3x", "--1", "0X1f")),
    ("'1'", "1"),
    ('"true"', "true"),
    ("''", ""),
    *(("0", 0), ("-0", 0), ("12", 12), ("+12", 12), ("-3", -3), ("010", 10), ("09", 9)),
    *(("0o17", 15), ("0x1F", 31), ("1" * 250, int("1" * 250))),
    *(("1e-3", 1e-3), ("1E5", 1e5), (".5", 0.5), ("+1.5e3", 1500.0), ("1.", 1.0), ("-0.0", -0.0)),
    *(("1e3", 1000.0), ("12e03", 12e3), ("1.5E+3", 1500.0), ("-.5e1", -5.0), ("1e999", math.inf)),
    *((".inf", math.inf), ("+.INF", math.inf), ("-.Inf", -math.inf), (".NaN", math.nan)),
    ("!!str 1", "1"),
    ("!!int '7'", 7),
    ("!!float 1", 1.0),
    ("!!bool true", True),
    ("!!null ''", None),
    ("!!seq [1]", [1]),
    ("!!map {a: 1}", {"a": 1}),
    ("|\n  a\n  b", "a\nb\n"),
    (">-\n  a\n  b", "a b"),
]


@pytest.mark.usefixtures("loader")
@pytest.mark.parametrize(("text", "value"), SCALARS)
def test_scalars(text: str, value: Any) -> None:
    assert same(plain(parse(f"k: {text}\n", "f.yaml"))["k"], value)


@pytest.mark.usefixtures("loader")
@pytest.mark.parametrize(
    "text",
    [
        "a: &x {p: 1, q: 2}\nb: *x\n",
        "a: &x {p: 1, q: 2}\nb: {<<: *x, q: 3, r: 4}\n",
        "a: &x {p: 1, q: 2}\nb: &y {q: 5, s: 6}\nc: {r: 4, <<: [*x, *y]}\nd: {<<: *y}\n",
        "a: &x {p: {q: 1}}\nb: &y {<<: *x, p: 2}\nc: {<<: *y}\n",
        'a: {"<<": 1}\n',
        "a: &x k\n*x : 1\n",
    ],
)
def test_anchors_and_merge_keys_read_as_in_pyyaml(text: str) -> None:
    assert plain(parse(text, "f.yaml")) == yaml.safe_load(text)


def test_an_alias_means_the_latest_anchor_of_its_name() -> None:
    """YAML 1.2.2, section 7.1; PyYAML refuses it."""
    assert plain(parse("a: &x 1\nb: &x 2\nc: *x\n", "f.yaml")) == {"a": 1, "b": 2, "c": 2}


def test_merged_keys_keep_their_places() -> None:
    node = parse("a: &x {p: 1}\nb: {<<: *x, q: 3}\n", "f.yaml")
    assert str(key_place(node, ("b", "p"))) == "f.yaml:1:8"
    assert str(place_of(node, ("b", "q"))) == "f.yaml:2:16"


@pytest.mark.usefixtures("loader")
def test_byte_order_mark_and_line_ends(tmp_path: Path) -> None:
    path = tmp_path / "f.yaml"
    path.write_bytes(b"\xef\xbb\xbfname: x\r\nseed: \xc3\xa9\r\n")
    node = read(path)
    assert plain(node) == {"name": "x", "seed": "é"}
    assert place_of(node, ("seed",)) == Place(str(path), 2, 7, path)


# -- what is refused -------------------------------------------------------------------------------

SYNTAX: list[tuple[str, str, str]] = [
    ("a: b: c\n", "1:5", "`:` is not expected"),
    ("a:1\nb: 2\n", "2:2", "`:` is not expected"),
    ("a: 1\n  b: 2\n", "2:4", "`:` is not expected"),
    ("a:\n\tb: 1\n", "2:1", "a tab can't be used for indentation"),
    ("a:\n  b: 1\n\tc: 2\n", "3:1", "a tab can't be used for indentation"),
    ("a: [1, 2\nb: 3\n", "2:2", "a `,` or `]` is expected"),
    ("a: {x: 1\nb: 2\n", "2:2", "a `,` or `}` is expected"),
    ("a:\n  b: 1\n c: 2\n", "3:2", "does not fit the lines above"),
    ("a: 'x\nb: 2\n", "1:4", "never closed"),
    ("a: 1\nb\nc: 2\n", "2:1", "no `key: value`"),
    ("a: @x\n", "1:4", "can't start with @"),
    ("path: *.csv\n", "1:8", "can't start with \\* or &"),
    ("a: - b\n", "1:4", "a list can't start here"),
    ("- a\nb: 1\n", "2:1", ""),
    ("a: [1,,2]\n", "1:7", "a value is expected"),
    ("{a: 1}\nb: 2\n", "2:1", "does not belong"),
    ("%YAML 2.0\n---\na: 1\n", "1:1", "not valid YAML"),
    ("a: !foo!bar x\n", "1:4", "not valid YAML"),
    ("a: 1\nb: \x07\n", "2:4", "U\\+0007 is not allowed"),
    ("a: \ud800\n", "1:4", "U\\+D800 is not allowed"),
    ("a: 1\nb: 1 # \u2028\n", "2:8", "U\\+2028 is not allowed"),
]


@pytest.mark.usefixtures("loader")
@pytest.mark.parametrize(("text", "place", "message"), SYNTAX)
def test_a_syntax_error_is_reported_alone(text: str, place: str, message: str) -> None:
    (problem,) = problems(text)
    assert problem.place == f"f.yaml:{place}"
    assert re.search(message, problem.message)


@pytest.mark.usefixtures("loader")
def test_a_syntax_error_hides_other_problems() -> None:
    (problem,) = problems("a: 1\na: 2\nb: [\n")
    assert problem.place == "f.yaml:3:5"


@pytest.mark.usefixtures("loader")
@pytest.mark.parametrize(
    ("text", "place"),
    [("a: {b: 1", "1:9"), ("a: {b: 1\n", "1:9"), ("a: 1\nb: {c: [1\n\n  \n", "2:10")],
)
def test_what_lacks_at_the_end_lacks_on_the_last_line(text: str, place: str) -> None:
    (problem,) = problems(text)
    assert problem.place == f"f.yaml:{place}"
    assert "is expected here" in problem.message


def test_an_open_bracket_is_named() -> None:
    assert problems("a: [1, 2\nb: 3\n")[0].hint == "the `[` at f.yaml:1:4 is still open"


@pytest.mark.usefixtures("loader")
def test_structural_problems_are_reported_together() -> None:
    text = (
        "a: 1\n"
        "b: {c: 1, 'c': 2}\n"
        "a: !!python/object/apply:os.system [ls]\n"
        "d: [!mine 1, !!int x, !!set {k}]\n"
        "1: x\n"
        "true: x\n"
        "? [k]\n"
        ": x\n"
        "e: *nowhere\n"
        "f: &f [*f]\n"
        "g: {<<: 1}\n"
        f"h: {'9' * 251}\n"
    )
    assert [(p.place, p.path, p.message) for p in problems(text)] == [
        ("f.yaml:2:11", "b.c", "this key is there twice"),
        ("f.yaml:3:4", "a", "the tag !!python/object/apply:os.system is not allowed"),
        ("f.yaml:3:1", "a", "this key is there twice"),
        ("f.yaml:4:5", "d.0", "the tag !mine is not allowed"),
        ("f.yaml:4:14", "d.1", "the tag !!int does not fit the value"),
        ("f.yaml:4:23", "d.2", "the tag !!set is not allowed"),
        ("f.yaml:5:1", "", "a key should be text"),
        ("f.yaml:6:1", "", "a key should be text"),
        ("f.yaml:7:3", "", "a key should be text, not a list or a mapping"),
        ("f.yaml:9:4", "e", "there is no &nowhere before this"),
        ("f.yaml:10:8", "f.0", "*f stands inside what it refers to"),
        ("f.yaml:11:9", "g", "<< takes a mapping, or a list of mappings"),
        ("f.yaml:12:4", "h", "this number is too long (at most 250 digits)"),
    ]
    assert problems(text)[0].hint == "first at f.yaml:2:5"
    found: list[Problem] = []
    assert plain(parse(text, "f.yaml", problems=found))["b"] == {"c": 1}
    assert len(found) == 13


@pytest.mark.parametrize("text", ["", "# only this\n", "---\n", "\n\n", "~\n", "\ufeff"])
def test_an_empty_file(text: str) -> None:
    (problem,) = problems(text)
    assert (problem.place, problem.message) == ("f.yaml", "the file is empty")


@pytest.mark.parametrize("text", ["- a\n", "a\n", "12\n", "[]\n"])
def test_a_config_is_a_mapping(text: str) -> None:
    (problem,) = problems(text)
    assert problem.place == "f.yaml:1:1"
    assert "should be a mapping" in problem.message


@pytest.mark.usefixtures("loader")
def test_one_document_a_file() -> None:
    (problem,) = problems("a: 1\n---\nb: 2\n")
    assert problem.place == "f.yaml:2:1"
    assert plain(parse("---\na: 1\n...\n", "f.yaml")) == {"a": 1}


def repeated(pattern: str) -> str:
    """Ninety values, each made of aliases of the one before."""
    lines = [f"a{i}: &a{i} {pattern.format(f'a{i - 1}')}\n" for i in range(1, 90)]
    return "a0: &a0 x\n" + "".join(lines)


@pytest.mark.usefixtures("loader")
@pytest.mark.parametrize(
    ("text", "message"),
    [
        (repeated("[" + "*{0}, " * 9 + "]"), "too many"),
        (repeated("{{k: *{0}}}"), "too deeply"),
        ("a: " + "[" * 100_000, "too deeply"),
        ("a: " + "{k: " * 100_000, "too deeply"),
        ("\n".join("  " * i + "k:" for i in range(60)), "too deeply"),
        ("a: " + "x" * 1_000_001, "too long"),
    ],
    ids=["laughs", "deep by alias", "brackets", "braces", "block", "long text"],
)  # fmt: skip
def test_bombs_are_refused(text: str, message: str) -> None:
    (problem,) = problems(text)
    assert message in problem.message


def test_depth_and_number_up_to_the_limits_are_read() -> None:
    parse("a: " + "[" * 49 + "1" + "]" * 49, "f.yaml")
    text = "a: &a [" + "1," * 40_000 + "]\nb: *a\n"
    assert len(plain(parse(text, "f.yaml"))["b"]) == 40_000
    (problem,) = problems(text + "c: *a\n")
    assert problem.place == "f.yaml:3:4"
    assert "too many" in problem.message


def test_files_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("sub").mkdir()
    Path("digits.yaml").write_text("a: 1\n")
    os.symlink("loop.yaml", "loop.yaml")
    Path("latin.yaml").write_bytes(b"a: 1\nb: caf\xe9\n")
    Path("utf16.yaml").write_text("a: 1\n", encoding="utf-16")
    Path("big.yaml").write_bytes(b"a: " + "é".encode() * 600_000)
    expected = {
        "digit.yaml": ("digit.yaml", "there is no such file", "did you mean digits.yaml?"),
        "digits": ("digits", "there is no such file", "did you mean digits.yaml?"),
        "no/a.yaml": ("no/a.yaml", "there is no such file", "there is no directory no either"),
        "digits.yaml/x": ("digits.yaml/x", "no such file", "there is no directory digits.yaml"),
        "sub": ("sub", "this is a directory, not a file", ""),
        "loop.yaml": ("loop.yaml", "the file can't be read", ""),
        "a\0b": ("a\0b", "the file can't be read", ""),
        "latin.yaml": ("latin.yaml:2:7", "not UTF-8", "save it"),
        "utf16.yaml": ("utf16.yaml:1:1", "not UTF-8", "save it"),
        "big.yaml": ("big.yaml", "too long", ""),
    }
    for name, (place, message, hint) in expected.items():
        for function in (read, load):
            with pytest.raises(ConfigError) as caught:
                function(Path(name))
            (problem,) = caught.value.problems
            assert problem.place == place
            assert message in problem.message
            assert hint in problem.hint


# -- inheritance -----------------------------------------------------------------------------------

MERGES: list[tuple[str, str, Any]] = [
    ("a: 1\nb: {c: 2, d: 3}", "b: {d: 4, e: 5}", {"a": 1, "b": {"c": 2, "d": 4, "e": 5}}),
    ("a: [1, 2]", "a: [3]", {"a": [3]}),
    ("a: {b: 1}", "a: [3]", {"a": [3]}),
    ("a: 1", "a: {b: 1}", {"a": {"b": 1}}),
    ("o: {name: adam, lr: 1}", "o: {lr: 2}", {"o": {"name": "adam", "lr": 2}}),
    ("o: {name: adam, lr: 1}", "o: {name: sgd}", {"o": {"name": "sgd"}}),
    ("o: {name: adam, lr: 1}", "o: {name: adam, b: 2}", {"o": {"name": "adam", "lr": 1, "b": 2}}),
    ("o: {lr: 1}", "o: {name: adam}", {"o": {"lr": 1, "name": "adam"}}),
    ("o: adam", "o: {lr: 0.1}", {"o": {"name": "adam", "lr": 0.1}}),
    ("o: adam", "o: {name: sgd, lr: 0.1}", {"o": {"name": "sgd", "lr": 0.1}}),
    ("o: {name: adam, lr: 1}", "o: sgd", {"o": "sgd"}),
    ("o: {name: adam, lr: 1}", "o: adam", {"o": "adam"}),
    ("p: {o: {name: a, x: 1}}", "p: {o: {name: b}}", {"p": {"o": {"name": "b"}}}),
    ("a: 1\nb: {c: 1, d: 2}", "a:\nb: {c: ~}", {"b": {"d": 2}}),
    ("a: 1", "b: null", {"a": 1, "b": None}),
    ("name: one\nseed: 1", "name: two", {"name": "two", "seed": 1}),
]


@pytest.mark.parametrize(("base", "child", "merged"), MERGES)
def test_merging(write: Callable[..., None], base: str, child: str, merged: Any) -> None:
    write(a=f"base: b.yaml\n{child}\n", b=base)
    assert same(plain(load(Path("a.yaml"))), merged)


def test_every_value_keeps_the_place_it_was_written_at(write: Callable[..., None]) -> None:
    Path("sub").mkdir()
    write(a="base: sub/b.yaml\no: {lr: 2}\n", **{"sub/b": "base: ../c.yaml\no: adam\n"})
    write(c="data:\n  path: x.csv\np: [{n: 1}]\n")
    node = load(Path("a.yaml"), ["o.beta=3", "p.0.n=4"])
    assert plain(node) == {
        "data": {"path": "x.csv"},
        "p": [{"n": 4}],
        "o": {"name": "adam", "lr": 2, "beta": 3},
    }
    here = Path.cwd()
    assert place_of(node, ("o", "name")) == Place("sub/b.yaml", 2, 4, here / "sub/b.yaml")
    assert place_of(node, ("o", "lr")) == Place("a.yaml", 2, 9, here / "a.yaml")
    assert place_of(node, ("o", "beta")) == Place("--set o.beta=3")
    assert str(key_place(node, ("p", 0, "n"))) == "--set p.0.n=4"
    # what several places contributed to is named where a file has it
    assert str(node.place) == "a.yaml:1:1"
    assert str(place_of(node, ("o",))) == "a.yaml:2:4"
    assert str(key_place(node, ("o",))) == "a.yaml:2:1"
    path = place_of(node, ("data", "path"))
    assert str(path) == "sub/../c.yaml:2:9"
    assert path.file is not None
    assert path.file.resolve() == here.resolve() / "c.yaml"


def test_nothing_merges_into_a_name(write: Callable[..., None]) -> None:
    write(a="base: b.yaml\no: {name: {a: 1}}\n", b="o: {name: adam}\n")
    node = load(Path("a.yaml"))
    assert plain(node) == {"o": {"name": {"a": 1}}}
    assert str(place_of(node, ("o", "name"))) == "a.yaml:2:11"


def test_base_is_not_in_the_result(write: Callable[..., None]) -> None:
    write(a="base:\nx: 1\n")
    node = load(Path("a.yaml"))
    assert plain(node) == {"x": 1}
    assert list(node.keys) == ["x"]


@pytest.mark.parametrize(
    ("base", "message", "hint"),
    [
        ("bb.yaml", "there is no such file", "did you mean b.yaml?"),
        (".", "this is a directory, not a file", ""),
        ("''", "this is a directory, not a file", ""),
        ('"\\0"', "the file can't be read", ""),
        ("[b.yaml]", "should be the path of another YAML file", ""),
        ("1", "should be the path of another YAML file", ""),
    ],
)
def test_a_base_that_cannot_be_used(
    write: Callable[..., None], base: str, message: str, hint: str
) -> None:
    write(a=f"x: 1\nx: 2\nbase: {base}\n", b="x: 1")
    twice, problem = load_problems()
    assert twice.message == "this key is there twice"
    assert (problem.place, problem.path, problem.hint) == ("a.yaml:3:7", "base", hint)
    assert message in problem.message


def test_a_cycle_is_shown(write: Callable[..., None]) -> None:
    write(a="base: b.yaml", b="base: ./c.yaml", c="x: 1\nbase: b.yaml")
    (problem,) = load_problems()
    assert problem.place == "c.yaml:2:7"
    assert problem.message.endswith("a.yaml → b.yaml → c.yaml → b.yaml")
    write(d="base: d.yaml")
    assert load_problems(path="d.yaml")[0].message.endswith("d.yaml → d.yaml")


def test_problems_of_all_files_and_options_come_together(write: Callable[..., None]) -> None:
    write(a="base: b.yaml\nx: 1\nx: 2\n", b="l: [1]\n2: y\n")
    found = load_problems("novalue", "l.3=1", "x=5", "x={k: 1, k: 2}")
    assert [problem.place for problem in found] == [
        "a.yaml:3:1",
        "b.yaml:2:1",
        "--set novalue",
        "--set l.3=1",
        "--set x={k: 1, k: 2}",
    ]
    collected: list[Problem] = []
    assert plain(load(Path("a.yaml"), ["x=5"], collected)) == {"l": [1], "x": 5}
    assert len(collected) == 2
    write(b="l: [\n")
    (problem,) = load_problems("novalue")
    assert problem.place.startswith("b.yaml")


# -- options ---------------------------------------------------------------------------------------

OPTIONS: list[tuple[str, list[str], Any]] = [
    ("o: adam", ["o.lr=0.1"], {"o": {"name": "adam", "lr": 0.1}}),
    ("o: adam", ["o.lr=1e-3", "o.lr=1e-4"], {"o": {"name": "adam", "lr": 1e-4}}),
    ("o: {name: adam, lr: 1}", ["o.name=sgd"], {"o": {"name": "sgd"}}),
    ("o: {name: adam, lr: 1}", ["o=sgd", "o.lr=2"], {"o": {"name": "sgd", "lr": 2}}),
    ("o: {name: adam, lr: 1}", ["o={b: 2}"], {"o": {"name": "adam", "lr": 1, "b": 2}}),
    ("o: {name: adam, lr: 1}", ["o.lr="], {"o": {"name": "adam"}}),
    ("o: {name: adam, lr: 1}", ["o=null"], {}),
    ("a: 1", ["t.x.y=2"], {"a": 1, "t": {"x": {"y": 2}}}),
    ("a: 1", ["b=[1, x, {c: no}]"], {"a": 1, "b": [1, "x", {"c": "no"}]}),
    ("a: 1", ["b=x=y"], {"a": 1, "b": "x=y"}),
    ("a: 1", [" b = 2 "], {"a": 1, "b": 2}),
    ("a: 1", ["a.b=2"], {"a": {"b": 2}}),
    ("a: ~", ["a.b=2"], {"a": {"b": 2}}),
    ("p: [min, {name: pca, c: 1}]", ["p.1.c=3"], {"p": ["min", {"name": "pca", "c": 3}]}),
    ("p: [min, pca]", ["p.1.c=3"], {"p": ["min", {"name": "pca", "c": 3}]}),
    ("p: [min, pca]", ["p.0=max"], {"p": ["max", "pca"]}),
    ("p: [min, pca]", ["p.0=null", "p.0.c=1"], {"p": [{"name": "pca", "c": 1}]}),
    ("p: [[1, 2], [3]]", ["p.0.1=5"], {"p": [[1, 5], [3]]}),
    ("name: one\nseed: 1", ["name=two"], {"name": "two", "seed": 1}),
    ("a: &x {p: 1}\nb: *x", ["b.p=2"], {"a": {"p": 1}, "b": {"p": 2}}),
]


@pytest.mark.parametrize(("text", "options", "expected"), OPTIONS)
def test_options(write: Callable[..., None], text: str, options: list[str], expected: Any) -> None:
    write(a=text)
    assert same(plain(load(Path("a.yaml"), options)), expected)


@pytest.mark.parametrize(
    ("option", "path", "message"),
    [
        ("o", "", "should be key.path=value"),
        ("=1", "", "should be key.path=value"),
        ("o..lr=1", "", "should be key.path=value"),
        ("o.=1", "", "should be key.path=value"),
        ("o=[1", "o", "a `,` or `]` is expected here"),
        ("o=a: b: c", "o", "a `:` is not expected here"),
        ("o=@", "o", "a value can't start with @"),
        ("o=!!python/name:os.system x", "o", "is not allowed"),
        ("o=\x1b[31m", "o", "U+001B is not allowed"),
        ("o=[{1: 2}]", "o.0", "a key should be text"),
        ("base=b.yaml", "base", "can only be given in the file"),
        ("p.2=x", "p.2", "no such item"),
        ("p.-1=x", "p.-1", "no such item"),
        ("p.first.c=x", "p.first.c", "no such item"),
        ("p.²=x", "p.²", "no such item"),
        (f"p.{'9' * 5000}=x", f"p.{'9' * 5000}", "no such item"),
        (f"{'a.' * 5000}a=x", "", "should be key.path=value"),
    ],
)
def test_options_that_are_refused(
    write: Callable[..., None], option: str, path: str, message: str
) -> None:
    write(a="p: [1, 2]")
    (problem,) = load_problems(option)
    assert (problem.place, problem.path) == (f"--set {option}", path)
    assert message in problem.message
    assert "p." not in path or problem.allowed == "0 to 1"


# -- writing ---------------------------------------------------------------------------------------

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from([text for text, _ in SCALARS])
    | st.from_regex(r"[-+.0-9eExo_:]{1,6}", fullmatch=True)
)
values = st.recursive(
    scalars, lambda v: st.lists(v) | st.dictionaries(st.text() | scalars.map(str), v), max_leaves=20
)
mappings = st.dictionaries(st.text() | scalars.map(str), values, min_size=1)


@settings(quick, max_examples=60)
@given(mappings)
def test_what_is_written_is_read_back(data: dict[str, Any]) -> None:
    text = dump(data)
    assert same(plain(parse(text, "f.yaml")), data)
    assert same(yaml.safe_load(text), data)


def test_what_is_written_is_pleasant_to_read() -> None:
    shared = {"lr": 1e-5}
    data = {
        "name": "é x",
        "o": shared,
        "p": ["min", {"name": "pca", "c": [1, 2.5]}],
        "q": shared,
        "b": [True, None, "no"],
        "long": list(range(100, 130)),
    }
    text = dump(data)
    assert text.startswith(
        "name: é x\no:\n  lr: 1.0e-05\np:\n  - min\n  - name: pca\n    c: [1, 2.5]\n"
        "q:\n  lr: 1.0e-05\nb: [true, null, 'no']\nlong:\n  - 100\n  - 101\n"
    )


# -- whatever is read, it is a Node or a ConfigError -----------------------------------------------


def outcome(function: Callable[[], Node]) -> None:
    try:
        node = function()
    except ConfigError:
        return
    assert isinstance(plain(node), dict)


noise = st.text(st.sampled_from("ab1: -?[]{},&*!|>'\"%@`#\\\n\t<~.0xU\u2028\x07é"), max_size=40)
LOADERS = [getattr(yaml, name) for name in ("CSafeLoader", "SafeLoader") if hasattr(yaml, name)]


@quick
@given(st.text() | noise | noise.map("k: ".__add__), st.sampled_from(LOADERS))
def test_random_text(text: str, parser: Any) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(composer, "_LOADER", parser)
        outcome(lambda: parse(text, "f.yaml"))


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz") / "f.yaml"


replacement = st.binary(max_size=3) | noise.map(str.encode)
edits = st.lists(st.tuples(st.integers(0, len(CONFIG)), st.integers(0, 3), replacement), max_size=6)


@quick
@given(edits=edits)
def test_damaged_files(scratch: Path, edits: list[tuple[int, int, bytes]]) -> None:
    raw = CONFIG.encode()
    for start, length, new in edits:
        raw = raw[:start] + new + raw[start + length :]
    scratch.write_bytes(raw)
    outcome(lambda: read(scratch))


@quick
@given(
    option=st.text()
    | st.builds("{}={}".format, st.sampled_from(["name", "data.x.y", "preprocessing.1"]), noise)
)
def test_random_options(scratch: Path, option: str) -> None:
    scratch.write_text(CONFIG)
    outcome(lambda: load(scratch, [option]))
