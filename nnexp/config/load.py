"""From a config file to a checked experiment, or to every reason why it is none."""

from __future__ import annotations

import copy
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from nnexp.components.table import Located
from nnexp.config import rules, source
from nnexp.config.experiment import Experiment
from nnexp.config.faults import Fault, Keys, faults, walk
from nnexp.config.source import Loc, Node
from nnexp.config.wording import Arm
from nnexp.errors import ConfigError, Problem

_LINE = re.compile(r"(.*):(\d+):(\d+)")
_VARIABLE = re.compile(r"\$\{(\w+)\}")
_ATTEMPTS = 5


@dataclass(frozen=True)
class Config:
    """A config that was read and checked.

    path: the file as it was given. text: what is written in it.
    node: the whole, with its bases and options, and where each value was written.
    overrides: the `--set` options.
    """

    path: Path
    text: str
    node: Node
    experiment: Experiment
    overrides: tuple[str, ...] = ()

    def locate(self, error: ConfigError) -> ConfigError:
        """The same error with a place for each problem that names its key only."""
        placed = [
            problem if problem.place else _placed(problem, self.node, self.path)
            for problem in error.problems
        ]
        return ConfigError(_sorted(placed, self.path))


def load_config(path: Path, overrides: Sequence[str] = ()) -> Config:
    """Reads a config, with its base files and `--set` options, and checks all that needs no data.

    Names of files in it become absolute, since each is relative to the file it is written in.
    Raises ConfigError with every problem, in the order of the lines.
    """
    problems: list[Problem] = []
    node = source.load(path, overrides, problems)
    return check_config(node, path, path.read_bytes().decode(), overrides, problems)


def check_config(
    node: Node, path: Path, text: str, overrides: Sequence[str] = (), known: Sequence[Problem] = ()
) -> Config:
    """The config that a node holds; see `load_config`.

    path, text, overrides: as `Config` has them. known: problems that were found before.
    """
    problems = list(known)
    data: dict[str, Any] = source.plain(_without_nulls(node, source.plain(node)))
    data.setdefault("name", path.stem[:100])
    experiment, found = _check(data)
    found += _within_misspelt(data, found)
    for fault in found:
        place = _place(fault.path, node, path, fault.at_key)
        problems.append(replace(fault.problem, place=place))
    if checked := experiment or _completed(data, found):
        checked, unknown = _with_files(checked, node)
        broken = [_placed(problem, node, path) for problem in rules.without_data(checked)]
        broken += [_placed(problem, node, path) for problem in unknown]
        problems += [p for p in broken if not _is_within(p, [f.problem for f in found])]
    if problems or checked is None:
        raise ConfigError(_sorted({str(p): p for p in problems}.values(), path))
    return Config(path, text, node, checked, tuple(overrides))


def _check(data: dict[str, Any]) -> tuple[Experiment | None, list[Fault]]:
    try:
        return Experiment.model_validate(data), []
    except ValidationError as error:
        return None, faults(error, Experiment, data)


def _within_misspelt(data: dict[str, Any], found: Sequence[Fault]) -> Iterator[Fault]:
    """What is wrong under keys that are misspelt themselves."""
    corrected = copy.deepcopy(data)
    renamed = {fault.path: _rename(corrected, fault) for fault in found if fault.meant}
    for fault in _check(corrected)[1] if renamed else ():
        for written, meant in renamed.items():
            if meant and fault.path[: len(meant)] == meant:
                path = (*written, *fault.path[len(meant) :])
                problem = replace(fault.problem, path=".".join(map(str, path)))
                yield replace(fault, path=path, problem=problem)


def _rename(data: dict[str, Any], fault: Fault) -> Keys:
    """Gives a misspelt key the name that was meant, unless that is there; the path it then has."""
    holder = walk(Experiment, data, fault.path[:-1]).value
    if not isinstance(holder, dict) or fault.meant in holder or fault.path[-1] not in holder:
        return ()
    if (value := holder.pop(fault.path[-1])) is not None:
        holder[fault.meant] = value
    return (*fault.path[:-1], fault.meant)


def _without_nulls(node: Node, data: dict[str, Any], path: Keys = ()) -> Node:
    """The same without the keys whose value is null: their defaults hold.

    data: the whole, as plain data. A key that doesn't exist stays, so that it is told.
    """
    if path == ("sweep", "search"):
        return node  # there, null stands for the key's own range
    if isinstance(node.value, dict):
        kept = {
            key: _without_nulls(value, data, (*path, key))
            for key, value in node.value.items()
            if value.value is not None or not _exists((*path, key), data)
        }
        return Node(kept, node.place, node.keys)
    if isinstance(node.value, list):
        items = enumerate(node.value)
        return Node([_without_nulls(v, data, (*path, i)) for i, v in items], node.place)
    return node


def _exists(path: Keys, data: dict[str, Any]) -> bool:
    return path[-1] == "name" or bool(walk(Experiment, data, path).arms)


# -- places ----------------------------------------------------------------------------------------


def _placed(problem: Problem, node: Node, path: Path) -> Problem:
    """The problem with a place for its dotted path."""
    return replace(problem, place=_place(_loc(problem.path, node), node, path))


def _place(loc: Loc, node: Node, path: Path, at_key: bool = False) -> str:
    """Where the value at `loc` is written: a long value by its key, a missing one by what should
    hold it.

    at_key: the key is meant.
    """
    while loc and source.find(node, loc) is None:
        loc, at_key = loc[:-1], True
    if not loc:
        return str(path) if node.place.line is None else f"{path}:1:1"
    there = source.find(node, loc)
    if at_key or there is None or isinstance(there.value, (dict, list)):
        return str(source.key_place(node, loc))
    return str(there.place)


def _is_within(problem: Problem, others: Sequence[Problem]) -> bool:
    """Whether a problem is about a key, or a part of it, that another one is about."""
    return any(f"{problem.path}.".startswith(f"{other.path}.") for other in others)


def _loc(dotted: str, node: Node) -> Keys:
    """The keys and indices that a dotted path stands for."""
    loc: Keys = ()
    for part in dotted.split(".") if dotted else ():
        here = source.find(node, loc)
        in_list = here is not None and isinstance(here.value, list) and part.isdigit()
        loc = (*loc, int(part) if in_list else part)
    return loc


def _sorted(problems: Iterable[Problem], path: Path) -> list[Problem]:
    """By file (the config itself first, options last) and line."""

    def key(problem: Problem) -> tuple[bool, bool, str, int, int]:
        match = _LINE.fullmatch(problem.place)
        if match is None:
            return True, True, "", 0, 0
        return False, match[1] != str(path), match[1], int(match[2]), int(match[3])

    return sorted(problems, key=key)


def _with_files(experiment: Experiment, node: Node) -> tuple[Experiment, list[Problem]]:
    """The experiment with absolute file names, each relative to where it was written.

    `${NAME}` in them stands for an environment variable; a problem for each that isn't set.
    """
    data, problems = experiment.data, list[Problem]()
    changes = {
        part: _with_absolute(spec, node, part, problems)
        for part, spec in (("source", data.source), ("split", data.split))
    }
    return experiment.model_copy(update={"data": data.model_copy(update=changes)}), problems


def _with_absolute(spec: Located, node: Node, part: str, problems: list[Problem]) -> Located:
    changes: dict[str, str] = {}
    for name in spec.paths:
        value, written = getattr(spec, name), source.find(node, ("data", part, name))
        if not isinstance(value, str) or written is None or written.value != value:
            continue
        for variable in _VARIABLE.findall(value):
            if variable not in os.environ:
                message, hint = f"{variable} is not set", f"for example export {variable}=~/data"
                problems.append(Problem("", f"data.{part}.{name}", message, value, hint=hint))
        known = _VARIABLE.sub(lambda match: os.environ.get(match[1], match[0]), value)
        folder = written.place.file.parent if written.place.file else Path.cwd()
        changes[name] = os.path.abspath(folder / os.path.expanduser(known))
    return spec.model_copy(update=changes)


# -- combinations, when some fields are wrong ------------------------------------------------------


def _completed(data: dict[str, Any], found: Sequence[Fault]) -> Experiment | None:
    """An experiment with something valid for whatever is wrong, so that the rest can be checked.

    A rule that it breaks is broken by the right parts of what was written.
    """
    whole = copy.deepcopy(data)
    for attempt in range(_ATTEMPTS):
        for fault in sorted(found, key=lambda fault: -len(fault.path)):
            _mend(whole, fault, first=attempt == 0)
        whole = {"data": {}, "model": "linear", **whole}
        if isinstance(whole["data"], dict):
            whole["data"].setdefault("source", "digits")
        try:
            return Experiment.model_validate(whole)
        except ValidationError as error:
            found = faults(error, Experiment, whole)
    return None


def _mend(data: dict[str, Any], fault: Fault, first: bool) -> None:
    """Puts something valid at a fault's path, or leaves it out; after that, what holds it."""
    path = fault.path
    holder: Any = walk(Experiment, data, path[:-1]).value
    if first and fault.meant and (renamed := _rename(data, fault)):
        path = renamed
        if path[-1] in holder:
            return
    valid = next(_valid(walk(Experiment, data, path).arms), None)
    if first and type(holder) in (dict, list) and valid is not None:
        holder[path[-1]] = valid
        return
    path = path if first else path[:-1] or path
    while path:
        holder = walk(Experiment, data, path[:-1]).value
        if isinstance(holder, dict) and path[-1] in holder:
            del holder[path[-1]]
            return
        path = path[:-1]


def _valid(arms: Sequence[Arm]) -> Iterator[Any]:
    """A valid value of each form of which absence may mean something.

    Numbers are small, so that sums of shares stay in bounds.
    """
    for arm in arms:
        low = arm.limits.get("ge", arm.limits.get("gt", 0))
        high = arm.limits.get("le", arm.limits.get("lt", low + 2))
        match arm.kind:
            case "int":
                yield min(low + 1, high)
            case "float":
                yield low + min(high - low, 1) * 1e-9
            case "str":
                yield "x"
