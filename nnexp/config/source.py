"""Configs as they are written: files, the files they inherit from, and `--set` options.

All becomes one tree of nodes (see `compose`), each of which knows where it was written.

Problems of structure (duplicate keys, tags, …) are all reported at once: every function here that
reads takes `problems`, a list to add them to and go on; without one they are raised together. What
leaves nothing to go on with (a YAML syntax error, no such file) is raised at once.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeAlias

import yaml

from nnexp.config.compose import (
    CORE,
    FLOAT,
    INT,
    LINE_BREAK,
    MAX_BYTES,
    MAX_DEPTH,
    Node,
    Place,
    Scalar,
    compose,
    line_and_column,
    plain,
    too_long,
)
from nnexp.errors import MISSING, ConfigError, Problem, nearest

__all__ = [
    "Loc",
    "Node",
    "Place",
    "Scalar",
    "dump",
    "find",
    "key_place",
    "load",
    "merge",
    "node_of",
    "override",
    "parse",
    "place_of",
    "plain",
    "put",
    "read",
    "without",
]

Loc: TypeAlias = Sequence[str | int]
"""Where in the data: keys and list indices from the top, such as `("preprocessing", 0, "name")`."""


# -- reading ---------------------------------------------------------------------------------------


def read(path: Path, problems: list[Problem] | None = None) -> Node:
    """The mapping that a YAML file holds; ConfigError when it can't be used."""
    return _parse_bytes(_bytes(path, str(path)), path, problems)


def parse(
    text: str, source: str, file: Path | None = None, problems: list[Problem] | None = None
) -> Node:
    """The mapping that YAML text holds; ConfigError when it can't be used.

    source, file: what places name (see `Place`).
    """
    found: list[Problem] = [] if problems is None else problems
    node = compose(text, lambda line, column: Place(source, line + 1, column + 1, file), found)
    if node is None or node.value is None:
        message, hint = "the file is empty", "a config needs at least `data` and `model`"
        raise ConfigError([*found, Problem(source, "", message, hint=hint)])
    if not isinstance(node.value, dict):
        message = "a config should be a mapping, that is, lines of `key: value`"
        raise ConfigError([*found, Problem(str(node.place), "", message, plain(node))])
    if problems is None and found:
        raise ConfigError(found)
    return node


def load(path: Path, overrides: Sequence[str] = (), problems: list[Problem] | None = None) -> Node:
    """A config with its `base` files under it and the `--set` options over it, in their order.

    Mappings merge deeply; scalars and lists replace; null takes a key away, so that its default
    holds again. A component (a mapping with `name`, or a bare name) is replaced as a whole by one
    of another name. `base` itself is not in the result.

    overrides: texts such as `optimizer.lr=0.1`, the value in YAML, list items by index.
    """
    found: list[Problem] = [] if problems is None else problems
    node = override(_inherit(path, found), overrides, found)
    if problems is None and found:
        raise ConfigError(found)
    return node


def override(node: Node, overrides: Sequence[str], problems: list[Problem]) -> Node:
    """`node` with options over it; see `load`."""
    for option in overrides:
        try:
            node = _set(node, option)
        except ConfigError as error:
            problems.extend(error.problems)
    return node


def _bytes(path: Path, place: str, key: str = "") -> bytes:
    """The file's content; a Problem at `place` and `key`, which named the file, if there is none.

    One byte over the limit is read, so that an endless file does no harm.
    """
    hint = ""
    try:
        with path.open("rb") as stream:
            return stream.read(MAX_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError):
        message, hint = "there is no such file", _nearest_file(path)
    except IsADirectoryError:
        message = "this is a directory, not a file"
    except (OSError, ValueError) as error:  # ValueError: a path with a null character
        message = f"the file can't be read ({getattr(error, 'strerror', None) or error})".lower()
    raise ConfigError([Problem(place, key, message, str(path) if key else MISSING, hint=hint)])


def _nearest_file(path: Path) -> str:
    if not path.parent.is_dir():
        return f"there is no directory {path.parent} either"
    names = [file.name for ending in ("*.yaml", "*.yml") for file in path.parent.glob(ending)]
    close = nearest(path.name, names) or nearest(path.stem, names)
    return f"did you mean {path.parent / close}?" if close else ""


def _parse_bytes(raw: bytes, path: Path, problems: list[Problem] | None) -> Node:
    if len(raw) > MAX_BYTES:
        raise too_long(str(path))
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        line, column = line_and_column(raw[: error.start].decode("utf-8"))
        place = Place(str(path), line + 1, column + 1)
        message, hint = "the file is not UTF-8 text", "save it in the encoding UTF-8"
        raise ConfigError([Problem(str(place), "", message, hint=hint)]) from None
    return parse(text, str(path), path.absolute(), problems)


# -- inheritance and options -----------------------------------------------------------------------


def _inherit(path: Path, problems: list[Problem]) -> Node:
    """The file's mapping merged over its base's, and so on down the chain."""
    layers = [read(path, problems)]
    chain = [path]
    while (base := _take(layers, "base")) is not None:
        place = str(base.place)
        if not isinstance(base.value, str):
            message = "should be the path of another YAML file"
            raise ConfigError([*problems, Problem(place, "base", message, plain(base))])
        path = chain[-1].parent / base.value
        try:
            raw = _bytes(path, place, "base")
        except ConfigError as error:
            raise ConfigError([*problems, *error.problems]) from None
        cycle = path.resolve() in [other.resolve() for other in chain]
        chain.append(path)
        if cycle:
            message = "the files inherit from each other: " + " → ".join(map(str, chain))
            raise ConfigError([*problems, Problem(place, "base", message)])
        layers.append(_parse_bytes(raw, path, problems))
    node = layers.pop()
    while layers:
        node = merge(node, layers.pop(), top=True)
    return node


def _take(layers: list[Node], key: str) -> Node | None:
    """Takes `key` out of the last layer; None when it isn't there, or null."""
    node = layers[-1]
    assert isinstance(node.value, dict)
    taken = node.value.get(key)
    if taken is None:
        return None
    values = {other: value for other, value in node.value.items() if other != key}
    keys = {other: place for other, place in node.keys.items() if other != key}
    layers[-1] = Node(values, node.place, keys)
    return taken if taken.value is not None else None


def merge(base: Node, child: Node, top: bool = False) -> Node:
    """`child` over `base`. At the top, `name` is the experiment's and not a component's.

    What comes from both keeps its place in a file: what is missing in it is not an option's fault.
    """
    if not isinstance(child.value, dict):
        return child
    if isinstance(base.value, str):
        base = _named(base)
    if not isinstance(base.value, dict) or (not top and _is_another(base.value, child.value)):
        return child
    values, keys = dict(base.value), dict(base.keys)
    for key, node in child.value.items():
        below = values.get(key)
        if below is not None and node.value is None:
            del values[key], keys[key]
            continue
        # A name is text: nothing merges into it.
        values[key] = node if below is None or key == "name" else merge(below, node)
        over_name = below is not None and isinstance(below.value, str) and node.place.file
        if values[key] is node or over_name:
            keys[key] = child.keys[key]
    return Node(values, base.place if child.place.file is None else child.place, keys)


def _named(node: Node) -> Node:
    """The mapping that a bare name is short for."""
    return Node({"name": node}, node.place, {"name": node.place})


def _is_another(base: dict[str, Node], child: dict[str, Node]) -> bool:
    """Whether two mappings are components of different names."""
    names = [mapping["name"].value for mapping in (base, child) if "name" in mapping]
    return len(names) == 2 and all(isinstance(n, str) for n in names) and names[0] != names[1]


def _set(root: Node, option: str) -> Node:
    """`root` with one option (`key.path=value`) over it."""
    place = Place(f"--set {option}")
    key, equals, text = option.partition("=")
    path = key.strip()
    parts = path.split(".")
    if not equals or not all(parts) or len(parts) > MAX_DEPTH:
        message, hint = "should be key.path=value", "for example --set optimizer.lr=0.1"
        raise ConfigError([Problem(str(place), "", message, hint=hint)])
    if parts[0] == "base":
        raise ConfigError([Problem(str(place), path, "can only be given in the file")])
    problems: list[Problem] = []
    value = compose(text, lambda *_: place, problems, path) or Node(None, place)
    if problems:
        raise ConfigError(problems)
    return merge(root, _overlay(root, parts, value, path), top=True)


def put(root: Node, path: str, value: Any, place: Place) -> Node:
    """`root` with a value at a dotted path, as an option puts it. Raises ConfigError."""
    return merge(root, _overlay(root, path.split("."), node_of(value, place), path), top=True)


def node_of(value: Any, place: Place) -> Node:
    """Plain data as a node, all of it written at one place."""
    if isinstance(value, dict):
        keys = dict.fromkeys(value, place)
        return Node({key: node_of(item, place) for key, item in value.items()}, place, keys)
    if isinstance(value, list):
        return Node([node_of(item, place) for item in value], place)
    return Node(value, place)


def without(root: Node, key: str) -> Node:
    """`root` without one of its uppermost keys."""
    assert isinstance(root.value, dict)
    values = {other: node for other, node in root.value.items() if other != key}
    return Node(values, root.place, {k: v for k, v in root.keys.items() if k != key})


def _overlay(under: Node | None, parts: list[str], value: Node, path: str) -> Node:
    """What merges over `under` to put `value` at `parts`: mappings of one key, and whole lists."""
    if not parts:
        return value
    part, rest = parts[0], parts[1:]
    if under is not None and isinstance(under.value, list):
        items = list(under.value)
        index = int(part) if part.isascii() and part.isdigit() and len(part) < 10 else len(items)
        if index >= len(items):
            allowed = f"0 to {len(items) - 1}" if items else "nothing, the list is empty"
            message = "there is no such item in the list"
            raise ConfigError([Problem(str(value.place), path, message, part, allowed)])
        over = _overlay(items[index], rest, value, path)
        items[index : index + 1] = [] if over.value is None else [merge(items[index], over)]
        return Node(items, under.place)
    below = under.value.get(part) if under is not None and isinstance(under.value, dict) else None
    return Node({part: _overlay(below, rest, value, path)}, value.place, {part: value.place})


# -- looking things up -----------------------------------------------------------------------------


def find(node: Node, loc: Loc) -> Node | None:
    """The node at `loc`, or None if there is none."""
    *_, last = _along(node, loc)
    return last


def place_of(node: Node, loc: Loc) -> Place:
    """The place of the value at `loc`, or of the nearest value around it that exists."""
    return [found for found in _along(node, loc) if found is not None][-1].place


def key_place(node: Node, loc: Loc) -> Place:
    """The place of the last key of `loc`; where it is no key that exists, the value's place."""
    parent = find(node, loc[:-1])
    if loc and parent is not None and loc[-1] in parent.keys:
        return parent.keys[str(loc[-1])]
    return place_of(node, loc)


def _along(node: Node, loc: Loc) -> Iterator[Node | None]:
    """The nodes from the top to `loc`; None once, and the end, where there is no more."""
    yield node
    for part in loc:
        value, found = node.value, None
        if isinstance(value, dict) and isinstance(part, str):
            found = value.get(part)
        elif isinstance(value, list) and isinstance(part, int) and 0 <= part < len(value):
            found = value[part]
        yield found
        if found is None:
            return
        node = found


# -- data to YAML ----------------------------------------------------------------------------------


class _Dumper(yaml.SafeDumper):
    """Writes text that this module and PyYAML's `safe_load` (YAML 1.1) read alike."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)

    def represent_text(self, data: Any) -> yaml.ScalarNode:
        # In other styles the emitter loses line breaks that are not \n.
        style = '"' if LINE_BREAK.search(data) else None
        return self.represent_scalar(CORE + "str", data, style=style)

    def represent_list(self, data: Any) -> yaml.SequenceNode:
        short = all(not isinstance(i, (list, tuple, dict)) for i in data) and len(str(data)) <= 80
        return self.represent_sequence(CORE + "seq", data, flow_style=short)


_Dumper.add_representer(str, _Dumper.represent_text)
for _type in (list, tuple):
    _Dumper.add_representer(_type, _Dumper.represent_list)
# Text that only this module would take for a number is put in quotes as well.
_Dumper.add_implicit_resolver(CORE + "int", re.compile(rf"({INT.pattern})\Z"), [*"-+0123456789"])
_Dumper.add_implicit_resolver(
    CORE + "float", re.compile(rf"({FLOAT.pattern})\Z"), [*"-+.0123456789"]
)


def dump(data: Any) -> str:
    """YAML text of plain data (a mapping at the top); `parse` reads the same back."""
    if not isinstance(data, dict) or not data:
        return _dump(data)
    return "".join(_section(key, json.dumps(value)) for key, value in data.items())


@lru_cache(maxsize=512)
def _section(key: str, value: str) -> str:
    """One key of the uppermost mapping: the configs of a sweep share most of them."""
    return _dump({key: json.loads(value)})


def _dump(data: Any) -> str:
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=float("inf"))
