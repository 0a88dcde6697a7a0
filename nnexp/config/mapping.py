"""Configs that a Python program builds: plain data to nodes, as if they had been written."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from nnexp.config.compose import MAX_DEPTH, Node, Place
from nnexp.errors import ConfigError, Problem
from nnexp.registry import Spec


def from_mapping(sections: Mapping[str, Mapping[str, Any]]) -> Node:
    """One mapping of sections that were given in several places.

    sections: by where they were given (such as `compile`), what was given there. Of a key that was
    given twice the later one holds. Values may be numbers, text, None, lists, tuples, mappings,
    components, paths, and numpy's numbers and arrays. ConfigError for anything else.
    """
    problems: list[Problem] = []
    values: dict[str, Node] = {}
    keys: dict[str, Place] = {}
    for where, given in sections.items():
        place = Place(where)
        for key, value in given.items():
            values[str(key)], keys[str(key)] = _node(value, place, (str(key),), problems), place
    if problems:
        raise ConfigError(problems)
    return Node(values, Place(next(iter(sections), "")), keys)


def without(node: Node, *path: str) -> Node:
    """The same without the value at `path`, if there is one."""
    if not isinstance(node.value, dict) or path[0] not in node.value:
        return node
    values, keys = dict(node.value), dict(node.keys)
    if len(path) > 1:
        values[path[0]] = without(values[path[0]], *path[1:])
    else:
        del values[path[0]]
        keys.pop(path[0], None)
    return Node(values, node.place, keys)


def as_plain(value: Any) -> Any:
    """What stands for plain data (components, paths, numpy's numbers and arrays) as that."""
    if isinstance(value, Spec):
        return value.dump()
    if isinstance(value, (np.ndarray, np.generic)):
        return value.tolist()
    return str(value) if isinstance(value, Path) else value


def _node(value: Any, place: Place, path: tuple[str, ...], problems: list[Problem]) -> Node:
    value = as_plain(value)
    if value is None or isinstance(value, (str, int, float)):
        return Node(value, place)
    if len(path) > MAX_DEPTH:
        problems.append(Problem(str(place), path[0], "is nested too deeply"))
    elif isinstance(value, Mapping):
        named = {str(key): item for key, item in value.items()}
        found = {key: _node(item, place, (*path, key), problems) for key, item in named.items()}
        return Node(found, place, dict.fromkeys(found, place))
    elif isinstance(value, (list, tuple)):
        items = enumerate(value)
        return Node([_node(v, place, (*path, str(i)), problems) for i, v in items], place)
    else:
        what = f"a config can't hold {type(value).__name__} values"
        allowed = "numbers, text, true or false, None, lists, and mappings of these"
        problems.append(Problem(str(place), ".".join(path), what, value, allowed))
    return Node(None, place)
