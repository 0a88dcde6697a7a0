"""YAML text to nodes: data that knows where it was written.

A `Node` is a scalar, a list or a mapping together with its `Place`, so that whoever checks it later
can name the line of the file, or the `--set` option, that holds the mistake.

The language is the part of YAML 1.2 that configs need: the core schema's scalars (`1e-3` is a
number, `yes` and `2024-01-01` are text), text as keys, anchors and merge keys, one document a file.
Tags make no objects, and what is read is bounded in size, depth and number of nodes, so a file from
anywhere can be read.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import yaml

from nnexp.errors import ConfigError, Problem

MAX_BYTES = 1_000_000
MAX_NODES = 100_000
"""How many values a file may have, each counted as often as aliases repeat it."""
MAX_DEPTH = 50
MAX_DIGITS = 250
"""A number longer than this is refused; any shorter integer is finite as a float64."""

Scalar: TypeAlias = str | int | float | bool | None


@dataclass(frozen=True)
class Place:
    """Where something was written.

    source: the file's path as the user gave it, or the whole option (`--set optimizer.lr=0.1`).
    line, column: counted from 1; None for an option.
    file: the file's absolute path, which paths written in it are relative to; None for an option,
        where they are relative to the current directory.
    """

    source: str
    line: int | None = None
    column: int | None = None
    file: Path | None = None

    def __str__(self) -> str:
        return self.source if self.line is None else f"{self.source}:{self.line}:{self.column}"


@dataclass(frozen=True)
class Node:
    """A value, its place, and (in a mapping) the places of its keys."""

    value: Scalar | list[Node] | dict[str, Node]
    place: Place
    keys: dict[str, Place] = field(default_factory=dict)


Locate: TypeAlias = Callable[[int, int], Place]
"""The place of a line and a column, both counted from 0."""
_Path: TypeAlias = tuple[str | int, ...]


def plain(node: Node) -> Any:
    """The same as Python data, without the places."""
    if isinstance(node.value, dict):
        return {key: plain(item) for key, item in node.value.items()}
    if isinstance(node.value, list):
        return [plain(item) for item in node.value]
    return node.value


_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""libyaml's parser where there is one: several times as fast, with the same positions."""

CORE = "tag:yaml.org,2002:"
_WORDS: dict[str, bool | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
INT = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
FLOAT = re.compile(
    r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?"
    r"|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"
)
_TYPES: dict[str, tuple[type, ...]] = {
    "int": (int,),
    "float": (float, int),
    "bool": (bool,),
    "null": (type(None),),
}
LINE_BREAK = re.compile("\r\n|[\n\r\x85\u2028\u2029]")
_REFUSED = re.compile(
    # What YAML 1.2.2, section 5.1, has no place for; and what YAML 1.1 takes for the end of a line,
    # but editors don't, so that lines would be counted in two ways.
    "[^\t\n\r\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]"
)


def compose(text: str, locate: Locate, problems: list[Problem], path: str = "") -> Node | None:
    """The one document in `text`, or None if there is none; `path` is the key that it stands at."""
    text = text.removeprefix("\ufeff")
    if len(text) > MAX_BYTES:
        raise too_long(locate(0, 0).source, path)
    if bad := _REFUSED.search(text):
        place = locate(*line_and_column(text[: bad.start()]))
        message = f"the character U+{ord(bad.group()):04X} is not allowed in a config"
        raise ConfigError([Problem(str(place), path, message)])
    try:
        return _Composer(text, locate, problems).document((path,) if path else ())
    except yaml.MarkedYAMLError as error:
        raise ConfigError([_syntax_problem(error, text, locate, path)]) from None
    except (yaml.YAMLError, ValueError, OverflowError):  # such as "\U99999999" without libyaml
        place = locate(0, 0)
        raise ConfigError([Problem(place.source, path, "this is not valid YAML")]) from None


def too_long(place: str, path: str = "") -> ConfigError:
    message = f"this is too long for a config ({MAX_BYTES:,} bytes at most)"
    return ConfigError([Problem(place, path, message)])


def line_and_column(before: str) -> tuple[int, int]:
    """Line and column (from 0) of what follows the text `before`."""
    ends = [match.end() for match in LINE_BREAK.finditer(before)]
    return len(ends), len(before) - (ends[-1] if ends else 0)


class _Composer:
    """Builds nodes from the parser's events, which come one by one: a bomb is refused in time."""

    def __init__(self, text: str, locate: Locate, problems: list[Problem]) -> None:
        self._events: Iterator[Any] = yaml.parse(text, Loader=_LOADER)
        self._locate = locate
        self._problems = problems
        self._anchors: dict[str, Node | None] = {}  # None: not complete yet
        self._count = 0

    def document(self, path: _Path) -> Node | None:
        next(self._events)  # the start of the stream
        if isinstance(next(self._events), yaml.StreamEndEvent):
            return None
        node = self._node(next(self._events), path, 0)
        next(self._events)  # the end of the document
        after = next(self._events)
        if not isinstance(after, yaml.StreamEndEvent):
            self._problem(self._place(after), path, "a second document starts here; one is allowed")
        return node

    def _place(self, event: Any) -> Place:
        return self._locate(event.start_mark.line, event.start_mark.column)

    def _problem(self, place: Place, path: _Path, message: str, **more: Any) -> None:
        self._problems.append(Problem(str(place), _dotted(path), message, **more))

    def _admit(self, place: Place, path: _Path, depth: int) -> None:
        """Counts one more value and stops when there are too many, or one lies too deep."""
        self._count += 1
        if self._count > MAX_NODES:
            message = f"there are too many values (at most {MAX_NODES:,}, repetitions counted)"
        elif depth > MAX_DEPTH:
            message = f"this is nested too deeply (at most {MAX_DEPTH} levels)"
        else:
            return
        raise ConfigError([Problem(str(place), _dotted(path), message)])

    def _node(self, event: Any, path: _Path, depth: int) -> Node:
        place = self._place(event)
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event.anchor, place, path, depth)
        self._admit(place, path, depth)
        if event.anchor is not None:
            self._anchors[event.anchor] = None
        if isinstance(event, yaml.ScalarEvent):
            node = Node(self._scalar(event, place, path), place)
        elif isinstance(event, yaml.SequenceStartEvent):
            self._check_tag(event, "seq", place, path)
            node = Node(self._items(path, depth + 1), place)
        else:
            self._check_tag(event, "map", place, path)
            node = self._mapping(place, path, depth + 1)
        if event.anchor is not None:
            self._anchors[event.anchor] = node
        return node

    def _alias(self, name: Any, place: Place, path: _Path, depth: int) -> Node:
        node = self._anchors.get(name)
        if node is None:
            message = f"there is no &{name} before this"
            if name in self._anchors:
                message = f"*{name} stands inside what it refers to"
            self._problem(place, path, message)
            return Node(None, place)
        self._admit_all(node, place, path, depth)
        return node

    def _admit_all(self, node: Node, place: Place, path: _Path, depth: int) -> None:
        self._admit(place, path, depth)
        for child in _children(node):
            self._admit_all(child, place, path, depth + 1)

    def _items(self, path: _Path, depth: int) -> list[Node]:
        items: list[Node] = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            items.append(self._node(event, (*path, len(items)), depth))
        return items

    def _mapping(self, place: Place, path: _Path, depth: int) -> Node:
        values: dict[str, Node] = {}
        keys: dict[str, Place] = {}
        merged: list[Node] | None = None
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            at = self._place(event)
            key = self._node(event, path, depth).value
            inner = (*path, key) if isinstance(key, str) else path
            value = self._node(next(self._events), inner, depth)
            if not isinstance(key, str):
                self._bad_key(key, at, path)
            elif key in values or (merged is not None and _is_merge(event)):
                self._problem(at, inner, "this key is there twice", hint=_first(keys.get(key)))
            elif _is_merge(event):
                merged = self._merged(value, path)
            else:
                values[key], keys[key] = value, at
        for source in merged or []:  # what stands here itself wins, then the first of the sources
            assert isinstance(source.value, dict)
            values = {**source.value, **values}
            keys = {**source.keys, **keys}
        return Node(values, place, keys)

    def _merged(self, value: Node, path: _Path) -> list[Node]:
        sources = value.value if isinstance(value.value, list) else [value]
        for source in sources:
            if not isinstance(source.value, dict):
                message = "<< takes a mapping, or a list of mappings"
                self._problem(source.place, path, message, received=plain(source))
        return [source for source in sources if isinstance(source.value, dict)]

    def _bad_key(self, key: Any, place: Place, path: _Path) -> None:
        if isinstance(key, (list, dict)):
            self._problem(place, path, "a key should be text, not a list or a mapping")
        else:
            message, hint = "a key should be text", "put quotes around it if it is meant as text"
            self._problem(place, path, message, received=key, hint=hint)

    def _check_tag(self, event: Any, expected: str, place: Place, path: _Path) -> None:
        if event.tag is not None and event.tag != CORE + expected:
            self._bad_tag(event.tag, place, path)

    def _bad_tag(self, tag: str, place: Place, path: _Path) -> None:
        shown = tag.replace(CORE, "!!")
        self._problem(place, path, f"the tag {shown} is not allowed", hint="leave it out")

    def _scalar(self, event: Any, place: Place, path: _Path) -> Scalar:
        text: str = event.value
        kind = None if event.tag is None else event.tag.removeprefix(CORE)
        if kind == "str" or (kind is None and not event.implicit[0]):
            return text
        if kind is not None and kind not in _TYPES:
            self._bad_tag(event.tag, place, path)
            return text
        if len(text) > MAX_DIGITS and (INT.fullmatch(text) or FLOAT.fullmatch(text)):
            message = f"this number is too long (at most {MAX_DIGITS} digits)"
            self._problem(place, path, message, received=text)
            return text
        value = _resolve(text)
        if kind is not None and type(value) not in _TYPES[kind]:
            self._problem(place, path, f"the tag !!{kind} does not fit the value", received=text)
        return float(value) if kind == "float" and type(value) is int else value


def _resolve(text: str) -> Scalar:
    """What an unquoted scalar means in YAML 1.2's core schema."""
    if text in _WORDS:
        return _WORDS[text]
    if INT.fullmatch(text):
        return int(text, 0) if text[:2] in ("0x", "0o") else int(text)
    if FLOAT.fullmatch(text):
        return float(text.replace(".", "") if text[-1] in "fFnN" else text)
    return text


def _children(node: Node) -> Sequence[Node]:
    if isinstance(node.value, dict):
        return list(node.value.values())
    return node.value if isinstance(node.value, list) else []


def _is_merge(event: Any) -> bool:
    return isinstance(event, yaml.ScalarEvent) and event.implicit[0] and event.value == "<<"


def _dotted(path: _Path) -> str:
    return ".".join(map(str, path))


def _first(place: Place | None) -> str:
    return f"first at {place}" if place else ""


# -- syntax errors in plain words ------------------------------------------------------------------

_INDENT = "keys of one mapping start in the same column"
_SYNTAX = {  # a part of the parser's message: what is wrong, and what to do
    "mapping values are not": (
        "a `:` is not expected here",
        "check the indentation, and the space after each `:`; text that contains `: ` needs quotes",
    ),
    "unexpected end of stream": ("this quote is never closed", ""),
    "could not find expected ':'": (
        "this line is no `key: value`",
        "`: ` is missing after the key",
    ),
    "sequence entries are not": ("a list can't start here", "start it on a line of its own"),
    "unknown escape": ("YAML knows no such escape", "in single quotes, \\ is just a \\"),
    "node content": ("a value is expected here", ""),
    "alphabetic or numeric": ("a value can't start with * or &", "put quotes around it"),
    "document start": ("this does not belong to what stands above", _INDENT),
    "expected key": ("this does not fit the lines above", _INDENT),
    "block end": ("this does not fit the lines above", _INDENT),
    "'-' indicator": ("a list item (`- …`) is expected here", "items start in the same column"),
}
_FROM_THE_BEGINNING = ("unexpected end of stream", "could not find expected ':'")
"""Errors that are better seen where the piece begins than where the parser gave up."""


def _syntax_problem(error: yaml.MarkedYAMLError, text: str, locate: Locate, path: str) -> Problem:
    said, begun = error.problem or "", error.context_mark
    mark = error.problem_mark or begun
    assert mark is not None
    lines = [*LINE_BREAK.split(text), ""]
    line = lines[mark.line]
    character = line[mark.column : mark.column + 1]
    if character == "\t" or "\t" in line[: len(line) - len(line.lstrip())]:
        message, hint = "a tab can't be used for indentation", "use spaces"
    elif "cannot start any token" in said:
        message, hint = f"a value can't start with {character}", "put quotes around it"
    elif "expected ',' or" in said and begun is not None:
        bracket, end = ("[", "]") if "]" in said else ("{", "}")
        opened = locate(begun.line, begun.column)
        message = f"a `,` or `{end}` is expected here"
        hint = f"the `{bracket}` at {opened} is still open" if opened.line else ""
    else:
        unknown = (f"this is not valid YAML ({said})", "")
        message, hint = next((_SYNTAX[part] for part in _SYNTAX if part in said), unknown)
        if begun is not None and any(part in said for part in _FROM_THE_BEGINNING):
            mark = begun
    at = mark.line, mark.column
    if not "".join([line[mark.column :], *lines[mark.line + 1 :]]).strip():
        at = line_and_column(text.rstrip())  # the end of the file: of what is written there
    return Problem(str(locate(*at)), path, message, hint=hint)
