"""Components of a user's own, from Python files that a command line names.

Such a file is run because somebody asked for it by name, never because a config or a run does.
Its components are then held to what nnexp's own are held to by tests: a docstring, described
fields, numbers bounded on both sides.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import re
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import ForwardRef, get_args

from nnexp.config.wording import Arm, arms_of
from nnexp.errors import UsageError, count
from nnexp.plugins import (
    Averaged,
    Initializer,
    Layer,
    Loss,
    Metric,
    Model,
    Optimizer,
    Sampler,
    Schedule,
)
from nnexp.registry import FAMILIES, Spec

FILE_NAME = r"\w[\w.-]{0,95}\.py"
"""What a plugin's file may be called: a run keeps a copy under the same name."""

_PREFIX = "nnexp_plugin_"
_COMPONENT = re.compile(r"[a-z][a-z0-9_]*")
_IMPLEMENTED: dict[type[Spec], tuple[str, ...]] = {
    Averaged: ("per_example",),
    Initializer: ("draw", "sample"),
    Layer: ("forward", "parts"),
    Loss: ("per_example",),
    Metric: ("compute",),
    Model: ("build",),
    Optimizer: ("update",),
    Sampler: ("order",),
    Schedule: ("at", "factor"),
}
"""Methods of which every component below a class gives one; those of other classes are abstract."""


@dataclass(frozen=True)
class Plugin:
    """A file that was loaded, with the bytes that were run."""

    path: Path
    content: bytes

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()


_loaded: list[Plugin] = []


def loaded() -> tuple[Plugin, ...]:
    """The plugins whose components there are now."""
    return tuple(_loaded)


@contextmanager
def plugged(paths: Sequence[Path]) -> Iterator[None]:
    """Runs the files; their components are there until the end of the block.

    Raises UsageError, with file and line, for what is wrong in one.
    """
    families = [(base, dict(base.registered)) for base in FAMILIES.values()]
    before = tuple(_loaded)
    try:
        for path in paths:
            _loaded.append(_load(path))
        yield
    finally:
        _loaded[:] = before
        for base, components in families:
            base.registered.clear()
            base.registered.update(components)


def blame(error: BaseException) -> str:
    """Where a plugin's code failed, and how; empty if it was not a plugin's code."""
    frames = list(traceback.walk_tb(error.__traceback__))
    for frame, line in reversed(frames):
        if frame.f_globals.get("__name__", "").startswith(_PREFIX):
            where = f"{frame.f_code.co_filename}:{line}"
            return f"{where}: in {frame.f_code.co_qualname}: {_words(error)}"
    return ""


# -- loading ---------------------------------------------------------------------------------------


def _load(path: Path) -> Plugin:
    if re.fullmatch(FILE_NAME, path.name) is None:
        allowed = "letters, digits, _, . and - in its name, which ends in .py"
        raise UsageError(f"--plugin {path}: a plugin is a Python file with {allowed}")
    for other in _loaded:
        if other.name == path.name:
            raise UsageError(f"--plugin {path}: {other.path} has the same name")
    try:
        plugin = Plugin(path, path.read_bytes())
    except OSError as error:
        raise UsageError(f"--plugin {path} can't be read: {error.strerror or error}") from None
    module = ModuleType(_PREFIX + path.stem)
    module.__file__ = str(path)
    sys.modules[module.__name__] = module  # where pydantic looks up what annotations name
    try:
        exec(compile(plugin.content, path, "exec", dont_inherit=True), vars(module))
    except (Exception, SystemExit) as error:
        raise UsageError(_failure(path, error)) from error
    if problems := list(_problems(module, ast.parse(plugin.content))):
        told = [f"{path}:{line}: {text}" for line, text in sorted(problems)]
        if len(told) > 1:
            told.insert(0, f"{count(len(told), 'problem')} in {path}")
        raise UsageError("\n".join(told))
    return plugin


def _failure(path: Path, error: BaseException) -> str:
    """Where and why a file could not be run."""
    if isinstance(error, SyntaxError) and error.filename == str(path):
        return f"{path}:{error.lineno or 1}: SyntaxError: {error.msg}"
    lines = [n for f, n in traceback.walk_tb(error.__traceback__) if _is_of(f.f_code, path)]
    text = f"{path}:{lines[-1] if lines else 1}: {_words(error)}"
    sibling = isinstance(error, ModuleNotFoundError) and path.with_name(f"{error.name}.py")
    if sibling and sibling.is_file():
        text += f"; a plugin is one file, so {sibling.name} can't be imported"
    return text


def _is_of(code: object, path: Path) -> bool:
    return getattr(code, "co_filename", "") == str(path)


def _words(error: BaseException) -> str:
    """An exception on one line; a plain ValueError is a sentence of nnexp's."""
    first = str(error).partition("\n")[0]
    if type(error) is ValueError:
        return first
    return f"{type(error).__name__}: {first}" if first else type(error).__name__


# -- checking --------------------------------------------------------------------------------------


def _problems(module: ModuleType, tree: ast.Module) -> Iterator[tuple[int, str]]:
    """What the file's components lack: line and sentence."""
    lines = _lines(tree)
    classes = [
        cls
        for cls in vars(module).values()
        if inspect.isclass(cls) and issubclass(cls, Spec) and cls.__module__ == module.__name__
    ]
    components = [cls for cls in classes if cls.family and not _is_base(cls, classes)]
    if not components:
        families = ", ".join(sorted(base.__name__ for base in FAMILIES.values()))
        yield 1, f"defines no component: there is no class below one of {families}"
    for cls in components:
        start = lines.get(cls.__qualname__, 1)
        yield from ((start, f"{cls.__name__} {text}") for text in _missing(cls))
        for field in cls.model_fields:
            owner = next(c for c in cls.__mro__ if field in inspect.get_annotations(c))
            if field != "name" and owner.__module__ == module.__name__:
                line = lines.get(f"{owner.__qualname__}.{field}", start)
                for text in _missing_of_field(cls, field):
                    yield line, f"{cls.__name__}.{field} {text}"


def _lines(tree: ast.Module) -> dict[str, int]:
    """The line of each class, and of each annotated name in it."""
    lines = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            lines[node.name] = node.lineno
            for inner in node.body:
                if isinstance(inner, ast.AnnAssign) and isinstance(inner.target, ast.Name):
                    lines[f"{node.name}.{inner.target.id}"] = inner.lineno
    return lines


def _is_base(cls: type[Spec], others: Sequence[type[Spec]]) -> bool:
    """Whether it only holds what other classes of the file share."""
    has_name = "name" in inspect.get_annotations(cls)
    return not has_name and any(other is not cls and issubclass(other, cls) for other in others)


def _missing(cls: type[Spec]) -> Iterator[str]:
    """What a component lacks, but for its fields."""
    field = cls.model_fields.get("name")
    name = field.default if field is not None else None
    if field is None or not isinstance(name, str) or get_args(field.annotation) != (name,):
        example = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", cls.__name__).lower()
        yield f'has no name: write name: Literal["{example}"] = "{example}"'
    elif _COMPONENT.fullmatch(name) is None:
        yield f"is named {name!r}: a name has small letters, digits and _ only"
    if not (cls.__dict__.get("__doc__") or "").strip():
        yield "has no docstring: its first sentence is what `nnexp ls` shows"
    for base, methods in _IMPLEMENTED.items():
        if issubclass(cls, base) and all(getattr(cls, m) is getattr(base, m) for m in methods):
            yield f"has no method {' or '.join(methods)}"
    for method in sorted(getattr(cls, "__abstractmethods__", ())):
        yield f"has no method {method}"


def _missing_of_field(cls: type[Spec], field: str) -> Iterator[str]:
    """What a field lacks."""
    info = cls.model_fields[field]
    if isinstance(info.annotation, ForwardRef | str):
        yield "has a type that is not defined"
        return
    if not info.description:
        yield f'has no description: {field}: … = param(…, "what it is")'
    try:
        arms = arms_of(info.annotation, info.metadata)
    except KeyError:
        yield "has a type that no config can hold: numbers, text, bool, Literal, OneOf, list, dict"
        return
    if not _is_bounded(arms):
        yield "is a number and needs bounds on both sides: ge or gt, and le or lt"


def _is_bounded(arms: Sequence[Arm]) -> bool:
    """Whether every number among the forms has both bounds; with text it may name a column."""
    if any(arm.kind == "str" for arm in arms):
        return True
    for arm in arms:
        inside = arm.kind in ("list", "dict")
        if inside and not _is_bounded(arm.type):
            return False
        is_number = arm.kind in ("int", "float")
        if is_number and not (
            {"ge", "gt"} & arm.limits.keys() and {"le", "lt"} & arm.limits.keys()
        ):
            return False
    return True
